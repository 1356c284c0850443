//! One request to an API server, sent until it is answered or there is no point in sending it again.
//!
//! Other limits are where they are needed: connecting in `connect.rs`, login in `login.rs`, port-forwards in
//! `forward.rs`, waits in `wait`, writes that conflict with others' in `apply.rs`. All of them end with the [`Scope`].

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use kube::client::Body;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::answer;
use super::connect::{Connector, Offer};
use super::error::{Error, Failure};
use super::kind::Kind;
use super::object::ObjectRef;
use super::refusal::{foreign_answer, refusal, sending_failure, whole};
use super::secrets::Secrets;
use super::session::{Session, http_client};
use super::{Cluster, Scope};

/// An API server that has not answered by then has lost the request; its own limit is a minute.
const ANSWER_TIME: Duration = Duration::from_secs(65);
/// How long a request is repeated when the scope sets no deadline, and at most when it does.
const PATIENCE: Duration = Duration::from_secs(60);
/// Attempts to reach a server that has never answered: enough for a lost packet, too few to stall a plan.
const FIRST_CONTACT_ATTEMPTS: u32 = 3;
const FIRST_CONTACT_TIME: Duration = Duration::from_secs(8);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A request as a value. Sent again as it is when that is safe.
#[derive(Clone)]
pub(super) struct Call {
    pub method: Method,
    /// Below the server's address, query included.
    pub path: String,
    pub accept: &'static str,
    pub content_type: Option<&'static str>,
    pub body: Bytes,
    /// Sending it twice does no harm: so it is of reads, applies and deletions, and of those POSTs that are reviews,
    /// requests for tokens (`review.rs`) or dry runs (`apply.rs`).
    pub repeatable: bool,
}

impl Call {
    pub const JSON: &'static str = "application/json";

    pub fn get(path: impl Into<String>) -> Call {
        Call {
            method: Method::GET,
            path: path.into(),
            accept: Call::JSON,
            content_type: None,
            body: Bytes::new(),
            repeatable: true,
        }
    }

    pub fn post(path: impl Into<String>, body: &Value) -> Call {
        Call {
            method: Method::POST,
            content_type: Some(Call::JSON),
            body: body.to_string().into(),
            repeatable: false,
            ..Call::get(path)
        }
    }

    pub fn describe(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    async fn request(&self, session: &Session, user_agent: &HeaderValue) -> Result<Request<Body>, Failure> {
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(format!("{}{}", session.base, self.path))
            .body(Body::from(self.body.clone()))
            .map_err(|error| Failure::Unexpected { detail: format!("{} is no request: {error}", self.describe()) })?;
        let headers = request.headers_mut();
        session.sign(headers, user_agent).await?;
        headers.insert(header::ACCEPT, HeaderValue::from_static(self.accept));
        if let Some(content_type) = self.content_type {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        Ok(request)
    }
}

/// An answer that is not a failure of the way to the server.
pub(super) struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
    /// What was sent to be let in, to be struck from what is shown of the body.
    secrets: Secrets,
}

impl Cluster {
    /// Sends and decodes; any status but success is an error.
    pub(super) async fn json(&self, call: Call) -> Result<Value, Error> {
        self.json_answer(call).await.map(|(_, value)| value)
    }

    pub(super) async fn json_answer(&self, call: Call) -> Result<(StatusCode, Value), Error> {
        let request = call.describe();
        let answer = self.call(call).await?;
        let decoded = answer::read(&answer.body);
        let failed = |failure| Error { request: Some(request.as_str().into()), ..self.error(failure) };
        let value: Value = decoded.map_err(|error| {
            if error.is_data() {
                return failed(Failure::Unexpected {
                    detail: format!("the answer to {request} is too large: {error}"),
                });
            }
            if let Some(detail) = foreign_answer(answer.status, &HeaderMap::new(), &answer.body, &answer.secrets) {
                return failed(Failure::NotKubernetes { address: self.name().to_owned(), detail });
            }
            let detail = format!("{request} gives no JSON (byte {} of {})", error.column(), answer.body.len());
            failed(Failure::Unexpected { detail })
        })?;
        // The version has only the last of these.
        let is_object =
            ["kind", "metadata", "items", "status", "gitVersion"].iter().any(|member| value.get(member).is_some());
        if !is_object {
            return Err(self.no_answer_to(&request, "JSON that is no Kubernetes object"));
        }
        Ok((answer.status, value))
    }

    /// As [`Cluster::json_answer`], of one object: whoever answers with another is not the API server.
    pub(super) async fn object_json(&self, call: Call, asked: &ObjectRef) -> Result<(StatusCode, Value), Error> {
        let request = call.describe();
        let (status, value) = self.json_answer(call).await?;
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let kind = text(value.get("kind"));
        let name = text(value.get("metadata").and_then(|metadata| metadata.get("name")));
        if (kind == asked.kind.kind || kind == "PartialObjectMetadata") && name == *asked.name {
            return Ok((status, value));
        }
        Err(self.no_answer_to(&request, "another object than was asked for"))
    }

    /// As [`Cluster::json`], of a list: what is none, or one of something else, is never read as an empty one.
    pub(super) async fn list_json(&self, call: Call, asked: &Kind) -> Result<Value, Error> {
        let request = call.describe();
        let value = self.json(call).await?;
        let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
        let is_list = match (text("apiVersion"), text("kind")) {
            (version, "PartialObjectMetadataList") => version.starts_with("meta.k8s.io/"),
            // Who defines a kind chooses what its list is called.
            (version, kind) if asked.group.contains('.') => version == asked.api_version() && kind.ends_with("List"),
            (version, kind) => version == asked.api_version() && kind.strip_suffix("List") == Some(&asked.kind),
        };
        // A list of none may be null, and is never left out.
        if is_list && value.get("items").is_some_and(|items| items.is_array() || items.is_null()) {
            return Ok(value);
        }
        Err(self.no_answer_to(&request, "something that is no list of what was asked for"))
    }

    /// As [`Cluster::json`], of what is of this kind and has no name.
    pub(super) async fn kind_json(&self, call: Call, kind: &str) -> Result<Value, Error> {
        let request = call.describe();
        let value = self.json(call).await?;
        match value.get("kind").and_then(Value::as_str) == Some(kind) {
            true => Ok(value),
            false => Err(self.no_answer_to(&request, &format!("something that is no {kind}"))),
        }
    }

    /// An answer that no API server gives to this request.
    pub(super) fn no_answer_to(&self, request: &str, what: &str) -> Error {
        let detail = format!("it answers {request} with {what}");
        let failure = Failure::NotKubernetes { address: self.name().to_owned(), detail };
        Error { request: Some(request.into()), ..self.error(failure) }
    }

    /// Sends until there is an answer; any status but success is an error.
    pub(super) async fn call(&self, call: Call) -> Result<Answer, Error> {
        let connections = &self.shared.connections;
        let started = Instant::now();
        let mut repetition = Repetition::new(&self.scope);
        let mut repeated = false;
        let mut first = self.bounded(&call, started, connections.first_turn()).await?;
        if let (Some(_), Some(failure)) = (&first, connections.remembered_down()) {
            return Err(Error { request: Some(call.describe().into()), ..self.error(failure) });
        }
        loop {
            let _permit = self.bounded(&call, started, async { connections.permits.acquire().await.ok() }).await?;
            let attempt = self.bounded(&call, started, self.attempt(&call)).await?;
            drop(_permit);
            let failure = match attempt {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let answered = connections.answered.load(Ordering::Relaxed);
            if answered {
                first = None;
            }
            let Some(pause) = repetition.pause(&failure, call.repeatable, !answered) else {
                if first.is_some() {
                    connections.remember_down(&failure);
                }
                return Err(Error { request: Some(call.describe().into()), repeated, ..self.error(failure) });
            };
            repeated |= failure.may_have_come_through();
            tracing::debug!(cluster = self.name(), request = call.describe(), %failure, ?pause, "sending again");
            self.bounded(&call, started, sleep(pause)).await?;
        }
    }

    /// Sends once (twice where a renewed credential is to be had).
    async fn attempt(&self, call: &Call) -> Result<Answer, Failure> {
        self.shared.connections.renewing(|session| async move { self.send(&session, call).await }).await
    }

    async fn send(&self, session: &Session, call: &Call) -> Result<Answer, Failure> {
        let connections = &self.shared.connections;
        let request = call.request(session, connections.user_agent()).await?;
        let secrets = Secrets::of_header(request.headers().get(header::AUTHORIZATION));
        connections.count_request();
        tracing::trace!(cluster = self.name(), request = call.describe(), "sending");
        let exchange = async {
            let response = session.client.request(request).await.map_err(|error| sending_failure(session, &error))?;
            let (parts, body) = response.into_parts();
            connections.answered.store(true, Ordering::Relaxed);
            connections.note_time(&parts.headers);
            let body = whole(session, body).await?;
            Ok((parts, body))
        };
        let (parts, body) = timeout(ANSWER_TIME, exchange).await.unwrap_or_else(|_| {
            Err(Failure::Broken {
                address: session.address.clone(),
                detail: format!("no answer in {} s", ANSWER_TIME.as_secs()),
            })
        })?;
        if parts.status.is_success() {
            return Ok(Answer { status: parts.status, body, secrets });
        }
        Err(refusal(session, &secrets, &parts, &body))
    }

    /// Sends a request whose answer is read as it comes: a watch. Sent once (twice where a renewed credential is to be
    /// had).
    pub(super) async fn stream(&self, call: Call) -> Result<Incoming, Error> {
        let started = Instant::now();
        let (call, connections) = (&call, &self.shared.connections);
        let send = |session: Arc<Session>| async move {
            let request = call.request(&session, connections.user_agent()).await?;
            let secrets = Secrets::of_header(request.headers().get(header::AUTHORIZATION));
            connections.count_request();
            let response = session.client.request(request).await.map_err(|error| sending_failure(&session, &error))?;
            let (parts, body) = response.into_parts();
            if parts.status.is_success() {
                return Ok(body);
            }
            let body = whole(&session, body).await?;
            Err(refusal(&session, &secrets, &parts, &body))
        };
        let failed = |failure| Error { request: Some(call.describe().into()), ..self.error(failure) };
        // The permit is for being answered: a watch that goes on takes nobody's place.
        let _permit = self.bounded(call, started, async { connections.permits.acquire().await.ok() }).await?;
        self.bounded(call, started, connections.renewing(send)).await?.map_err(failed)
    }

    /// Sends a request that asks for an upgrade, over HTTP/1.1. It has no body.
    pub(super) async fn upgrading(&self, request: Request<Body>) -> Result<Response<Incoming>, Failure> {
        let connections = &self.shared.connections;
        let (asked, _) = request.into_parts();
        let path = asked.uri.path_and_query().map(|path| path.as_str()).unwrap_or_default();
        let asked = &asked;
        let send = |session: Arc<Session>| async move {
            let mut parts = asked.clone();
            parts.uri = format!("{}{path}", session.base)
                .parse()
                .map_err(|_| Failure::Unexpected { detail: format!("{path} is no path") })?;
            session.sign(&mut parts.headers, connections.user_agent()).await?;
            let secrets = Secrets::of_header(parts.headers.get(header::AUTHORIZATION));
            let client = session
                .upgrading
                .get_or_try_init(|| async { Connector::new(&session.resolved, Offer::Http1).map(http_client) });
            let client = client.await?;
            connections.count_request();
            let request = Request::from_parts(parts, Body::empty());
            let response = client.request(request).await.map_err(|error| sending_failure(&session, &error))?;
            if response.status() != StatusCode::UNAUTHORIZED {
                return Ok(response);
            }
            let (parts, body) = response.into_parts();
            let body = whole(&session, body).await?;
            Err(refusal(&session, &secrets, &parts, &body))
        };
        connections.renewing(send).await
    }

    /// What somebody in the cluster answered, and should not have.
    pub fn unexpected(&self, detail: impl Into<String>) -> Error {
        self.error(Failure::Unexpected { detail: detail.into() })
    }

    /// JSON that somebody in the cluster answered, read as the API server's own; `None` where it is none.
    pub fn read_json(&self, body: &[u8]) -> Option<Value> {
        answer::read(body).ok()
    }

    pub(super) fn error(&self, failure: Failure) -> Error {
        let must_answer = self.shared.connections.config().must_answer;
        let failure = match (failure, self.why_ended.get()) {
            (Failure::Cancelled { doing }, Some(why)) => Failure::Cancelled { doing: format!("{doing}, since {why}") },
            (failure, _) => failure,
        };
        Error { must_answer, ..Error::new(self.name(), failure) }
    }

    async fn bounded<T>(&self, call: &Call, started: Instant, future: impl Future<Output = T>) -> Result<T, Error> {
        self.scope.bound(future).await.map_err(|ended| {
            let failure = ended.failure(&call.describe(), started);
            Error { request: Some(call.describe().into()), ..self.error(failure) }
        })
    }
}

/// Why a scope ended.
pub(super) enum Ended {
    Cancelled,
    Late,
}

impl Ended {
    pub fn failure(self, doing: &str, started: Instant) -> Failure {
        match self {
            Ended::Cancelled => Failure::Cancelled { doing: doing.to_owned() },
            Ended::Late => Failure::Timeout(super::error::Timeout {
                waiting_for: format!("an answer to {doing}"),
                waited: started.elapsed(),
                last_state: Vec::new(),
                unanswered: true,
            }),
        }
    }
}

impl Scope {
    /// Runs a future until the scope ends.
    pub(super) async fn bound<T>(&self, future: impl Future<Output = T>) -> Result<T, Ended> {
        let deadline = async {
            match self.deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Ended::Cancelled),
            done = future => Ok(done),
            () = deadline => Err(Ended::Late),
        }
    }
}

/// Decides whether and when a failed request is sent again.
struct Repetition {
    since: Instant,
    until: Instant,
    attempts: u32,
    pause: Duration,
}

impl Repetition {
    fn new(scope: &Scope) -> Repetition {
        let now = Instant::now();
        let patient = now + PATIENCE;
        Repetition {
            since: now,
            until: scope.deadline.map_or(patient, |deadline| deadline.min(patient)),
            attempts: 0,
            pause: FIRST_PAUSE,
        }
    }

    fn pause(&mut self, failure: &Failure, repeatable: bool, first_contact: bool) -> Option<Duration> {
        self.attempts += 1;
        let asked = match failure {
            // Refused before it was looked at: safe for every verb.
            Failure::Api(status) if status.code == 429 => status.retry_after.unwrap_or_default(),
            Failure::Api(status) if status.refuses_content() => return None,
            Failure::Api(status) if (status.code == 500 || status.is_of_a_front()) && repeatable => {
                status.retry_after.unwrap_or_default()
            }
            Failure::Resolve { .. } | Failure::Connect { .. } | Failure::Proxy { .. } => {
                if first_contact
                    && (self.attempts >= FIRST_CONTACT_ATTEMPTS || self.since.elapsed() >= FIRST_CONTACT_TIME)
                {
                    return None;
                }
                Duration::ZERO
            }
            Failure::Broken { .. } if repeatable => Duration::ZERO,
            _ => return None,
        };
        let pause = jittered(self.pause).max(asked);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        (pause < self.until.saturating_duration_since(Instant::now())).then_some(pause)
    }
}

/// Between half of the pause and all of it, so that many clients do not come back at once.
fn jittered(pause: Duration) -> Duration {
    let random = RandomState::new().hash_one(0u8);
    let share = 0.5 + (random % 1024) as f64 / 2048.0;
    pause.mul_f64(share)
}

#[cfg(test)]
mod tests {
    use super::super::error::Status;
    use super::*;

    fn api(code: u16, retry_after: Option<u64>) -> Failure {
        Failure::Api(Box::new(Status { code, retry_after: retry_after.map(Duration::from_secs), ..Status::default() }))
    }

    fn first_pause(failure: &Failure, repeatable: bool) -> Option<Duration> {
        Repetition::new(&Scope::default()).pause(failure, repeatable, false)
    }

    #[test]
    fn only_what_is_safe_is_sent_again() {
        let broken = Failure::Broken { address: String::new(), detail: String::new() };
        assert!(first_pause(&api(503, None), true).is_some());
        assert!(first_pause(&api(521, None), true).is_some(), "a front that does not reach the server");
        assert!(first_pause(&api(503, None), false).is_none());
        assert!(first_pause(&api(429, None), false).is_some(), "it was not looked at");
        assert!(first_pause(&broken, true).is_some());
        assert!(first_pause(&broken, false).is_none());
        assert!(first_pause(&api(404, None), true).is_none());
        let message = "failed to create typed patch object (a/b; apps/v1, Kind=Deployment): .spec.x: field not declared in schema";
        let misfit = Failure::Api(Box::new(Status { code: 500, message: message.into(), ..Status::default() }));
        assert!(first_pause(&misfit, true).is_none(), "asking again cannot help");
        assert!(first_pause(&Failure::Forbidden { message: String::new() }, true).is_none());
    }

    #[test]
    fn the_server_says_how_long_to_pause() {
        assert_eq!(first_pause(&api(429, Some(7)), true), Some(Duration::from_secs(7)));
        assert_eq!(first_pause(&api(429, Some(3600)), true), None, "longer than there is time");
        assert_eq!(first_pause(&api(429, Some(u64::MAX)), true), None, "longer than a clock counts");
    }

    #[test]
    fn an_unknown_server_is_given_up_soon() {
        let failure = Failure::Connect { address: String::new(), detail: String::new() };
        let mut repetition = Repetition::new(&Scope::default());
        let attempts = std::iter::from_fn(|| repetition.pause(&failure, true, true)).count();
        assert_eq!(attempts as u32 + 1, FIRST_CONTACT_ATTEMPTS);
    }
}
