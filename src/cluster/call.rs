//! One request to an API server, sent until it is answered or there is no point in sending it again.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use jiff::{SignedDuration, Timestamp};
use kube::client::Body;
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard, OnceCell, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use super::answer;
use super::config::ClusterConfig;
use super::connect::{Connector, Offer};
use super::error::{Error, Failure, Status};
use super::login::{Login, log_in};
use super::read::Endpoint;
use super::resolve::{Resolved, resolve};
use super::secrets::Secrets;
use super::{Cluster, Scope};

/// Requests under way at once per cluster.
pub(super) const PARALLEL: usize = 16;
/// The most that is read of an answer. All Secrets of a large cluster are a tenth of it.
const MOST: usize = 256 << 20;
/// An API server that has not answered by then has lost the request; its own limit is a minute.
const ANSWER_TIME: Duration = Duration::from_secs(65);
/// How long a request is repeated when the scope sets no deadline, and at most when it does.
const PATIENCE: Duration = Duration::from_secs(60);
/// Attempts to reach a server that has never answered: enough for a lost packet, too few to stall a plan.
const FIRST_CONTACT_ATTEMPTS: u32 = 3;
const FIRST_CONTACT_TIME: Duration = Duration::from_secs(8);
/// For so long after a failed first contact other requests fail at once with the same words.
const DOWN_MEMORY: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A credential about to expire is renewed rather than tried.
const EXPIRY_MARGIN: SignedDuration = SignedDuration::from_secs(10);

/// A request as a value. Sent again as it is when that is safe.
#[derive(Clone)]
pub(super) struct Call {
    pub method: Method,
    /// Below the server's address, query included.
    pub path: String,
    pub accept: &'static str,
    pub content_type: Option<&'static str>,
    pub body: Bytes,
    /// Sending it twice has the effect of sending it once.
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

    fn describe(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// What all handles to one cluster share.
pub(super) struct Connections {
    config: ClusterConfig,
    user_agent: HeaderValue,
    session: Mutex<Option<Arc<Session>>>,
    /// Held by the first request so that the others find its connection instead of opening sixteen.
    first: Mutex<()>,
    answered: AtomicBool,
    down: std::sync::Mutex<Option<(Instant, Failure)>>,
    permits: Semaphore,
    requests: AtomicU64,
    /// By how many seconds this machine's clock is ahead of the server's, as its last answer told; [`i64::MIN`] where none did.
    ahead: AtomicI64,
}

/// A credential and the connections made with it.
struct Session {
    client: HttpClient<Connector, Body>,
    upgrading: OnceCell<HttpClient<Connector, Body>>,
    resolved: Resolved,
    login: Login,
    expires: Option<Timestamp>,
    base: String,
    address: String,
    /// A credential that just was refused is renewed once, not in a circle.
    renewed_after_refusal: bool,
}

impl Connections {
    fn note_time(&self, headers: &HeaderMap) {
        let told = headers.get(header::DATE).and_then(|date| date.to_str().ok());
        let Some(told) = told.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()) else { return };
        let ahead = Timestamp::now().as_second().saturating_sub(told.timestamp().as_second());
        self.ahead.store(ahead, Ordering::Relaxed);
    }

    /// By how many seconds this machine's clock is ahead of the server's; negative where it is behind.
    pub(super) fn ahead(&self) -> Option<i64> {
        Some(self.ahead.load(Ordering::Relaxed)).filter(|ahead| *ahead != i64::MIN)
    }

    pub fn new(config: ClusterConfig, version: &str) -> Connections {
        let user_agent = format!("terraform-provider-mesh/{version}");
        Connections {
            config,
            user_agent: HeaderValue::try_from(user_agent)
                .unwrap_or(HeaderValue::from_static("terraform-provider-mesh")),
            session: Mutex::new(None),
            first: Mutex::new(()),
            answered: AtomicBool::new(false),
            ahead: AtomicI64::new(i64::MIN),
            down: std::sync::Mutex::new(None),
            permits: Semaphore::new(PARALLEL),
            requests: AtomicU64::new(0),
        }
    }

    pub fn config(&self) -> &ClusterConfig {
        &self.config
    }

    pub fn user_agent(&self) -> &HeaderValue {
        &self.user_agent
    }

    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// The turn to be the first to reach the server; `None` once someone has.
    async fn first_turn(&self) -> Option<MutexGuard<'_, ()>> {
        if self.answered.load(Ordering::Relaxed) {
            return None;
        }
        let turn = self.first.lock().await;
        (!self.answered.load(Ordering::Relaxed)).then_some(turn)
    }

    /// The session, logged in anew where the credential runs out.
    async fn session(&self) -> Result<Arc<Session>, Failure> {
        let mut slot = self.session.lock().await;
        match &*slot {
            Some(session) if !session.is_expiring() => Ok(session.clone()),
            _ => Session::open(&self.config, false).await.map(|session| slot.insert(session).clone()),
        }
    }

    /// After a 401: another credential than the refused one, or `None` where there is no other to be had.
    async fn renew(&self, refused: &Arc<Session>) -> Result<Option<Arc<Session>>, Failure> {
        let mut slot = self.session.lock().await;
        match &*slot {
            Some(current) if !Arc::ptr_eq(current, refused) => return Ok(Some(current.clone())),
            _ => {}
        }
        if refused.renewed_after_refusal {
            return Ok(None);
        }
        // Exec plugins run again; files are read again, and may hold what another program has renewed.
        Ok(Some(slot.insert(Session::open(&self.config, true).await?).clone()))
    }

    fn remembered_down(&self) -> Option<Failure> {
        let down = self.down.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        down.as_ref().filter(|(since, _)| since.elapsed() < DOWN_MEMORY).map(|(_, failure)| failure.clone())
    }

    fn remember_down(&self, failure: &Failure) {
        if !self.answered.load(Ordering::Relaxed) {
            let mut down = self.down.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            *down = Some((Instant::now(), failure.clone()));
        }
    }
}

impl Session {
    async fn open(config: &ClusterConfig, renewed_after_refusal: bool) -> Result<Arc<Session>, Failure> {
        let mut resolved = resolve(config)?;
        let logged_in = log_in(&mut resolved).await?;
        let connector = Connector::new(&resolved, Offer::Http2)?;
        let address = connector.address().to_owned();
        let client = http_client(connector);
        let uri = &resolved.kube.cluster_url;
        let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        // A path is kept: clusters behind a management server live below one.
        let base = format!("{}://{authority}{}", uri.scheme_str().unwrap_or("https"), uri.path().trim_end_matches('/'));
        let (login, expires) = (logged_in.login, logged_in.expires);
        Ok(Arc::new(Session {
            client,
            upgrading: OnceCell::new(),
            resolved,
            login,
            expires,
            base,
            address,
            renewed_after_refusal,
        }))
    }

    fn is_expiring(&self) -> bool {
        self.expires.is_some_and(|expires| Timestamp::now() + EXPIRY_MARGIN >= expires)
    }

    async fn request(&self, call: &Call, user_agent: &HeaderValue) -> Result<Request<Body>, Failure> {
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(format!("{}{}", self.base, call.path))
            .body(Body::from(call.body.clone()))
            .map_err(|error| Failure::Unexpected { detail: format!("{} is no request: {error}", call.describe()) })?;
        let headers = request.headers_mut();
        self.sign(headers, user_agent).await?;
        headers.insert(header::ACCEPT, HeaderValue::from_static(call.accept));
        if let Some(content_type) = call.content_type {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        Ok(request)
    }

    /// Puts on who we are.
    async fn sign(&self, headers: &mut HeaderMap, user_agent: &HeaderValue) -> Result<(), Failure> {
        headers.insert(header::USER_AGENT, user_agent.clone());
        if let Some(value) = self.login.header().await? {
            headers.insert(header::AUTHORIZATION, value);
        }
        let unusable = || Failure::Config {
            detail: "the user to impersonate (`as` of the kubeconfig, or what goes with it) is no header value"
                .to_owned(),
        };
        for (name, value) in &self.resolved.impersonation {
            let name = HeaderName::try_from(name).map_err(|_| unusable())?;
            headers.append(name, HeaderValue::from_str(value).map_err(|_| unusable())?);
        }
        Ok(())
    }
}

fn http_client(connector: Connector) -> HttpClient<Connector, Body> {
    HttpClient::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        // A connection that a firewall has dropped without a word is found out before a request waits a minute on it.
        .http2_keep_alive_interval(Duration::from_secs(15))
        .http2_keep_alive_timeout(Duration::from_secs(10))
        .build(connector)
}

/// An answer that is not a failure of the way to the server.
pub(super) struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
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
            if let Some(detail) = foreign_answer(answer.status, &HeaderMap::new(), &answer.body) {
                return failed(Failure::NotKubernetes { address: self.name().to_owned(), detail });
            }
            let detail = format!("{request} gives no JSON (byte {} of {})", error.column(), answer.body.len());
            failed(Failure::Unexpected { detail })
        })?;
        // The version has only the last of these.
        let is_object =
            ["kind", "metadata", "items", "status", "gitVersion"].iter().any(|member| value.get(member).is_some());
        if !is_object {
            let detail = format!("it answers {request} with JSON that is no Kubernetes object");
            return Err(failed(Failure::NotKubernetes { address: self.name().to_owned(), detail }));
        }
        Ok((answer.status, value))
    }

    /// As [`Cluster::json`], of a list: what is none is never read as an empty one.
    pub(super) async fn list_json(&self, call: Call) -> Result<Value, Error> {
        let request = call.describe();
        let value = self.json(call).await?;
        let is_list = value.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"));
        let has_items = value.get("items").is_some_and(Value::is_array);
        if has_items || is_list && value.get("items").is_none_or(Value::is_null) {
            return Ok(value);
        }
        let detail = format!("it answers {request} with something that is no list");
        let failure = Failure::NotKubernetes { address: self.name().to_owned(), detail };
        Err(Error { request: Some(request.into()), ..self.error(failure) })
    }

    /// Sends until there is an answer; any status but success is an error.
    pub(super) async fn call(&self, call: Call) -> Result<Answer, Error> {
        let connections = &self.shared.connections;
        let started = Instant::now();
        let mut repetition = Repetition::new(&self.scope);
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
                return Err(Error { request: Some(call.describe().into()), ..self.error(failure) });
            };
            tracing::debug!(cluster = self.name(), request = call.describe(), %failure, ?pause, "sending again");
            self.bounded(&call, started, sleep(pause)).await?;
        }
    }

    /// Sends once (twice where a renewed credential is to be had).
    async fn attempt(&self, call: &Call) -> Result<Answer, Failure> {
        let connections = &self.shared.connections;
        let mut session = connections.session().await?;
        loop {
            let sent = self.send(&session, call).await;
            match sent {
                Err(Failure::Unauthorized { .. }) if !session.renewed_after_refusal => {
                    match connections.renew(&session).await? {
                        Some(renewed) => session = renewed,
                        None => return sent,
                    }
                }
                other => return other,
            }
        }
    }

    async fn send(&self, session: &Session, call: &Call) -> Result<Answer, Failure> {
        let connections = &self.shared.connections;
        let request = session.request(call, &connections.user_agent).await?;
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
            return Ok(Answer { status: parts.status, body });
        }
        Err(refusal(session, &secrets, &parts, &body))
    }

    /// Sends a request whose answer is read as it comes: a watch. Sent once.
    pub(super) async fn stream(&self, call: Call) -> Result<Incoming, Error> {
        let started = Instant::now();
        let connections = &self.shared.connections;
        let sent = async {
            let session = connections.session().await?;
            let request = session.request(&call, &connections.user_agent).await?;
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
        self.bounded(&call, started, sent).await?.map_err(failed)
    }

    /// Sends a request that asks for an upgrade, over HTTP/1.1.
    pub(super) async fn upgrading(&self, mut request: Request<Body>) -> Result<Response<Incoming>, Failure> {
        let connections = &self.shared.connections;
        let session = connections.session().await?;
        let path = request.uri().path_and_query().map(|path| path.as_str()).unwrap_or_default();
        *request.uri_mut() = format!("{}{path}", session.base)
            .parse()
            .map_err(|_| Failure::Unexpected { detail: format!("{path} is no path") })?;
        session.sign(request.headers_mut(), connections.user_agent()).await?;
        let client = session
            .upgrading
            .get_or_try_init(|| async { Connector::new(&session.resolved, Offer::Http1).map(http_client) });
        let client = client.await?;
        connections.count_request();
        client.request(request).await.map_err(|error| sending_failure(&session, &error))
    }

    pub(super) fn error(&self, failure: Failure) -> Error {
        let must_answer = self.shared.connections.config().must_answer;
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
            Failure::Api(status) if matches!(status.code, 500 | 502 | 503 | 504) && repeatable => {
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
        (Instant::now() + pause < self.until).then_some(pause)
    }
}

/// Between half of the pause and all of it, so that many clients do not come back at once.
fn jittered(pause: Duration) -> Duration {
    let random = RandomState::new().hash_one(0u8);
    let share = 0.5 + (random % 1024) as f64 / 2048.0;
    pause.mul_f64(share)
}

fn sending_failure(session: &Session, error: &hyper_util::client::legacy::Error) -> Failure {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = source {
        if let Some(failure) = current.downcast_ref::<Failure>() {
            return failure.clone();
        }
        source = current.source();
    }
    broken(session, error)
}

/// All of a body, as far as one may reach: a far end that never ends is not waited for, nor kept.
async fn whole(session: &Session, body: Incoming) -> Result<Bytes, Failure> {
    match Limited::new(body, MOST).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let detail = format!("{} answers with more than {} MiB", session.address, MOST >> 20);
            Err(Failure::Unexpected { detail })
        }
        Err(error) => Err(broken(session, &*error)),
    }
}

fn broken(session: &Session, error: &(dyn std::error::Error + 'static)) -> Failure {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    let (address, detail) = (session.address.clone(), last.to_string());
    // With TLS 1.3 a server refuses a client certificate only after the handshake.
    match detail.contains("fatal alert") {
        true => Failure::Tls { address, detail },
        false => Failure::Broken { address, detail },
    }
}

fn refusal(session: &Session, secrets: &Secrets, parts: &http::response::Parts, body: &[u8]) -> Failure {
    let (code, headers) = (parts.status, &parts.headers);
    if let Some(detail) = foreign_answer(code, headers, body) {
        let detail = secrets.struck_from(&detail);
        return Failure::NotKubernetes { address: session.address.clone(), detail };
    }
    let mut status = Status::parse(code.as_u16(), body);
    status.message = secrets.struck_from(&status.message);
    for cause in &mut status.causes {
        cause.message = secrets.struck_from(&cause.message);
    }
    let header = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    status.retry_after = header.map(Duration::from_secs).or(status.retry_after);
    match code {
        StatusCode::UNAUTHORIZED => {
            Failure::Unauthorized { source_of_credential: session.resolved.credential.clone(), message: status.message }
        }
        StatusCode::FORBIDDEN => Failure::Forbidden { message: status.message },
        _ => Failure::Api(Box::new(status)),
    }
}

/// What answered, where it was no API server: a redirect, a page for people, a load balancer that knows no such host or path.
///
/// 5xx are left out: what stands before an API server that is down answers so, and it is that which is down.
fn foreign_answer(code: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<String> {
    if code.is_redirection() {
        let to = headers.get(header::LOCATION).and_then(|to| to.to_str().ok()).unwrap_or_default();
        // What comes after the path may hold a session.
        let to = to.split(['?', '#']).next().unwrap_or_default();
        return Some(format!("it redirects to {to:?} (HTTP status {})", code.as_u16()));
    }
    if code.is_server_error() {
        return None;
    }
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    if text.starts_with('<') {
        return Some(format!("it answers with a web page{} (HTTP status {})", title(text), code.as_u16()));
    }
    // Where it knows no such path, an API server says just this.
    let is_own = text == "404 page not found" || answer::read(body).is_ok_and(|json| json.get("kind").is_some());
    if code == StatusCode::NOT_FOUND && !is_own {
        let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(100).collect();
        return Some(format!("it answers {text:?} (HTTP status 404), which no API server says"));
    }
    None
}

/// The title of a web page, as far as it has one.
fn title(page: &str) -> String {
    let lower = page.to_ascii_lowercase();
    let found = lower.find("<title>").map(|start| start + 7).and_then(|start| {
        let end = lower[start..].find('<')? + start;
        Some(page[start..end].split_whitespace().collect::<Vec<_>>().join(" "))
    });
    match found.filter(|title| !title.is_empty()) {
        Some(title) => format!(" ({:?})", title.chars().take(80).collect::<String>()),
        None => String::new(),
    }
}

/// What the configuration says of the server, without logging in.
pub(super) fn endpoint(connections: &Connections) -> Result<Endpoint, Failure> {
    resolve(&connections.config).map(|resolved| resolved.endpoint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(code: u16, retry_after: Option<u64>) -> Failure {
        Failure::Api(Box::new(Status { code, retry_after: retry_after.map(Duration::from_secs), ..Status::default() }))
    }

    fn first_pause(failure: &Failure, repeatable: bool) -> Option<Duration> {
        Repetition::new(&Scope::default()).pause(failure, repeatable, false)
    }

    #[test]
    fn what_is_no_api_server_is_told_from_one() {
        let none = HeaderMap::new();
        let foreign =
            |code: u16, body: &str| foreign_answer(StatusCode::from_u16(code).unwrap(), &none, body.as_bytes());
        let page = "<!doctype html>\n<html><head><title>Sign\n in</title>";
        assert_eq!(foreign(200, page).as_deref(), Some("it answers with a web page (\"Sign in\") (HTTP status 200)"));
        assert!(foreign(403, page).is_some() && foreign(404, "default backend - 404").is_some());
        assert_eq!(foreign(404, "404 page not found\n"), None, "an API server without this kind");
        assert_eq!(foreign(404, r#"{"kind":"Status","code":404}"#), None);
        assert_eq!(foreign(503, page), None, "what stands before an API server that is down");
        let location =
            HeaderMap::from_iter([(header::LOCATION, HeaderValue::from_static("https://sso/login?state=secret"))]);
        let redirect = foreign_answer(StatusCode::FOUND, &location, b"").unwrap();
        assert_eq!(redirect, "it redirects to \"https://sso/login\" (HTTP status 302)");
    }

    #[test]
    fn only_what_is_safe_is_sent_again() {
        let broken = Failure::Broken { address: String::new(), detail: String::new() };
        assert!(first_pause(&api(503, None), true).is_some());
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
    }

    #[test]
    fn an_unknown_server_is_given_up_soon() {
        let failure = Failure::Connect { address: String::new(), detail: String::new() };
        let mut repetition = Repetition::new(&Scope::default());
        let attempts = std::iter::from_fn(|| repetition.pause(&failure, true, true)).count();
        assert_eq!(attempts as u32 + 1, FIRST_CONTACT_ATTEMPTS);
    }
}
