//! Waiting: readiness is a pure predicate over an object that may not exist; one loop waits.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::call::Call;
use super::object::path_segment;
use super::read::{items, typed};
use super::{Cluster, Condition, Error, Failure, Kind, Object, ObjectRef, Query, Scope, Timeout};

/// How long a wait goes on when the scope sets no deadline.
const WAIT_TIME: Duration = Duration::from_secs(600);
/// A watch is asked to end by itself after this, and begun anew.
const WATCH_SECONDS: u32 = 290;
/// Between looks where watching is not allowed, or has just broken.
const POLL_TIME: Duration = Duration::from_secs(1);
/// For finding out, after a timeout, what went wrong.
const EXPLAIN_TIME: Duration = Duration::from_secs(5);

/// What a predicate says of the state seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Ready,
    /// Not yet; why, in words.
    Pending(Vec<String>),
    /// Never, as things are; waiting ends at once.
    Failed(String),
}

impl Verdict {
    pub fn pending(why: impl Into<String>) -> Verdict {
        Verdict::Pending(vec![why.into()])
    }
}

type Check = dyn Fn(Option<&Object>) -> Verdict + Send + Sync;

/// A named predicate: pure, so that every one of them is tested on written-down objects.
#[derive(Clone)]
pub struct Until {
    name: String,
    check: Arc<Check>,
}

impl Until {
    /// `name` completes "waited for Deployment x/y …": `to be available`.
    pub fn new(name: &str, check: impl Fn(Option<&Object>) -> Verdict + Send + Sync + 'static) -> Until {
        Until { name: name.to_owned(), check: Arc::new(check) }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn check(&self, object: Option<&Object>) -> Verdict {
        (self.check)(object)
    }

    pub fn and(self, other: Until) -> Until {
        let name = format!("{} and {}", self.name, other.name);
        Until::new(&name, move |object| match (self.check(object), other.check(object)) {
            (Verdict::Failed(why), _) | (_, Verdict::Failed(why)) => Verdict::Failed(why),
            (Verdict::Pending(mut reasons), Verdict::Pending(more)) => {
                reasons.extend(more);
                Verdict::Pending(reasons)
            }
            (Verdict::Ready, verdict) | (verdict, Verdict::Ready) => verdict,
        })
    }

    pub fn or(self, other: Until) -> Until {
        let name = format!("{} or {}", self.name, other.name);
        Until::new(&name, move |object| match (self.check(object), other.check(object)) {
            (Verdict::Ready, _) | (_, Verdict::Ready) => Verdict::Ready,
            (Verdict::Failed(why), Verdict::Failed(_)) => Verdict::Failed(why),
            (Verdict::Pending(mut reasons), Verdict::Pending(more)) => {
                reasons.extend(more);
                Verdict::Pending(reasons)
            }
            (Verdict::Pending(reasons), _) | (_, Verdict::Pending(reasons)) => Verdict::Pending(reasons),
        })
    }

    pub fn negated(self) -> Until {
        let name = format!("not {}", self.name);
        Until::new(&name, move |object| match self.check(object) {
            Verdict::Ready => Verdict::Pending(Vec::new()),
            Verdict::Pending(_) | Verdict::Failed(_) => Verdict::Ready,
        })
    }
}

/// The rollout has finished: the current generation is seen, all replicas updated and available, and no old ones left.
pub fn deployment_available() -> Until {
    Until::new("to be available", |object| {
        let Some(deployment) = object else { return absent() };
        let count = |path: &str| deployment.get(path).and_then(Value::as_i64).unwrap_or(0);
        if count("status.observedGeneration") < deployment.generation().unwrap_or(0) {
            return Verdict::pending("the controller manager has not seen the current generation");
        }
        let wanted = deployment.get("spec.replicas").and_then(Value::as_i64).unwrap_or(1);
        let (updated, total, available) =
            (count("status.updatedReplicas"), count("status.replicas"), count("status.availableReplicas"));
        let mut reasons = Vec::new();
        if updated < wanted {
            reasons.push(format!("{updated} of {wanted} replicas are of the current revision"));
        } else if total > updated {
            reasons.push(format!("{} replicas of an older revision remain", total - updated));
        } else if available < updated {
            reasons.push(format!("{available} of {updated} replicas are available"));
        }
        if reasons.is_empty() {
            return Verdict::Ready;
        }
        reasons.extend(deployment.conditions().filter(|condition| !condition.is_true()).map(in_words));
        if let Some(failure) = deployment.condition("ReplicaFailure").filter(Condition::is_true) {
            reasons.push(in_words(failure));
        }
        Verdict::Pending(reasons)
    })
}

/// A CRD is established and its names accepted; refused names end the wait.
pub fn crd_established() -> Until {
    Until::new("to be established", |object| {
        let Some(definition) = object else { return absent() };
        match (definition.condition("Established"), definition.condition("NamesAccepted")) {
            (Some(established), _) if established.is_true() => Verdict::Ready,
            (_, Some(names)) if names.status == "False" => Verdict::Failed(in_words(names)),
            (Some(condition), _) => Verdict::pending(in_words(condition)),
            (None, _) => Verdict::pending("it has no conditions yet"),
        }
    })
}

/// A Service of type LoadBalancer has an address, IP or hostname. Other types are ready as they are.
pub fn service_has_address() -> Until {
    Until::new("to have an address", |object| {
        let Some(service) = object else { return absent() };
        let has_address = |entry: &Value| {
            ["ip", "hostname"]
                .iter()
                .any(|key| entry.get(key).and_then(Value::as_str).is_some_and(|text| !text.is_empty()))
        };
        if service.str("spec.type") != "LoadBalancer"
            || service.items("status.loadBalancer.ingress").iter().any(has_address)
        {
            return Verdict::Ready;
        }
        let class = service.str("spec.loadBalancerClass");
        let who = if class.is_empty() {
            "the cluster's load balancer controller".to_owned()
        } else {
            format!("the controller of load balancer class {class}")
        };
        let mut reasons = vec![format!("{who} has given it no address")];
        reasons.extend(service.conditions().map(in_words));
        Verdict::Pending(reasons)
    })
}

/// Every webhook of the configuration has a CA bundle.
pub fn webhook_ca_bundle_set() -> Until {
    Until::new("to have its CA bundle", |object| {
        let Some(configuration) = object else { return absent() };
        let bundle =
            |webhook: &Value| webhook.get("clientConfig")?.get("caBundle")?.as_str().map(|text| !text.is_empty());
        let bare = configuration.items("webhooks").iter().filter(|webhook| bundle(webhook) != Some(true));
        let names: Vec<&str> = bare.filter_map(|webhook| webhook.get("name")?.as_str()).collect();
        match names.as_slice() {
            [] => Verdict::Ready,
            names => Verdict::pending(format!("istiod has not written the CA bundle of {}", names.join(", "))),
        }
    })
}

/// The object is not there; while it is, its finalizers and conditions tell why.
pub fn deleted() -> Until {
    Until::new("to be gone", |object| {
        let Some(object) = object else { return Verdict::Ready };
        let mut reasons = Vec::new();
        match object.get("metadata.deletionTimestamp").and_then(Value::as_str) {
            Some(since) => reasons.push(format!("it is being deleted since {since}")),
            None => reasons.push("its deletion has not been asked for, or it has been made again".to_owned()),
        }
        let finalizers = object.finalizers();
        if !finalizers.is_empty() {
            reasons.push(format!("it waits for the finalizers {}", finalizers.join(", ")));
        }
        reasons.extend(object.conditions().filter(Condition::is_true).map(in_words));
        Verdict::Pending(reasons)
    })
}

pub fn exists() -> Until {
    Until::new("to exist", |object| if object.is_some() { Verdict::Ready } else { absent() })
}

/// The status condition of this type is `True`, where it says so seen at the current generation.
pub fn condition(kind: &str) -> Until {
    let kind = kind.to_owned();
    Until::new(&format!("to be {kind}"), move |object| {
        let Some(object) = object else { return absent() };
        let seen = object.get("status.observedGeneration").and_then(Value::as_i64);
        if seen.is_some_and(|seen| seen < object.generation().unwrap_or(0)) {
            return Verdict::pending("its controller has not seen the current generation");
        }
        match object.condition(&kind) {
            Some(condition) if condition.is_true() => Verdict::Ready,
            Some(condition) => Verdict::pending(in_words(condition)),
            None => Verdict::pending(format!("it has no condition {kind}")),
        }
    })
}

/// A Secret has these data keys, none empty.
pub fn secret_has_keys(keys: &[&str]) -> Until {
    let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
    Until::new(&format!("to have the keys {}", keys.join(", ")), move |object| {
        let Some(secret) = object else { return absent() };
        let data = secret.strings("data");
        let missing: Vec<&str> =
            keys.iter().map(String::as_str).filter(|key| data.get(key).is_none_or(|value| value.is_empty())).collect();
        match missing.as_slice() {
            [] => Verdict::Ready,
            missing => Verdict::pending(format!("it lacks {}", missing.join(", "))),
        }
    })
}

fn absent() -> Verdict {
    Verdict::pending("it does not exist")
}

/// `Available is False (MinimumReplicasUnavailable): Deployment does not have minimum availability.`
fn in_words(condition: Condition<'_>) -> String {
    let mut words = format!("{} is {}", condition.kind, condition.status);
    if !condition.reason.is_empty() {
        words = format!("{words} ({})", condition.reason);
    }
    if !condition.message.is_empty() {
        words = format!("{words}: {}", condition.message);
    }
    words
}

impl Cluster {
    /// Waits until the predicate holds, and gives the object then seen (`None` after [`deleted`]).
    ///
    /// Watches where that is allowed, else polls; a server that does not answer for a while is waited for too. A timeout
    /// carries the last state in words, with what pods and events say.
    pub async fn wait(&self, reference: &ObjectRef, until: &Until) -> Result<Option<Object>, Error> {
        let started = Instant::now();
        let deadline = self.scope.deadline.unwrap_or(started + WAIT_TIME);
        let cluster = self.within(Scope { deadline: Some(deadline), cancel: self.scope.cancel.clone() });
        let mut waiting = Waiting { cluster, reference, until, last: None, reasons: Vec::new(), answered: false };
        // The scope ends the requests as well; whichever notices first, the words are those of the wait.
        let error = match timeout_at(deadline, waiting.run()).await {
            Ok(Ok(object)) => return Ok(object),
            Ok(Err(error)) if !matches!(error.failure, Failure::Timeout(_)) => return Err(error),
            Ok(Err(_)) | Err(_) => Timeout {
                waiting_for: format!("{reference} {}", until.name),
                waited: started.elapsed(),
                last_state: std::mem::take(&mut waiting.reasons),
                unanswered: !waiting.answered,
            },
        };
        Err(self.error(Failure::Timeout(self.explained(error, waiting.last).await)))
    }

    /// The object's events, newest last, as `reason: message (×count)`.
    pub async fn events(&self, object: &Object) -> Result<Vec<String>, Error> {
        let Some(uid) = object.uid() else { return Ok(Vec::new()) };
        let query =
            Query::of(Kind::EVENT).namespace(object.namespace().unwrap_or("default")).field("involvedObject.uid", uid);
        let events = self.list_now(&query).await?;
        let mut events: Vec<&Object> = events.iter().collect();
        let time = |event: &Object| {
            ["lastTimestamp", "eventTime", "metadata.creationTimestamp"]
                .iter()
                .map(|path| event.str(path))
                .find(|text| !text.is_empty())
                .unwrap_or_default()
                .to_owned()
        };
        events.sort_by_key(|event| time(event));
        Ok(events.into_iter().map(event_in_words).collect())
    }

    /// Adds to a timeout what pods and events say, within a short time of its own.
    async fn explained(&self, mut timeout: Timeout, last: Option<Object>) -> Timeout {
        let Some(object) = last.filter(|_| !timeout.unanswered) else { return timeout };
        let cluster = self.within(Scope::lasting(EXPLAIN_TIME, CancellationToken::new()));
        if let Ok(events) = cluster.events(&object).await {
            timeout.last_state.extend(newest(events, 3).into_iter().map(|event| format!("event {event}")));
        }
        if object.kind() == Kind::DEPLOYMENT.kind {
            timeout.last_state.extend(cluster.pod_troubles(&object).await);
        }
        timeout
    }

    /// Why the pods of a workload are not ready, in their own words; nothing where that cannot be found out.
    async fn pod_troubles(&self, workload: &Object) -> Vec<String> {
        let Some(namespace) = workload.namespace() else { return Vec::new() };
        let mut query = Query::of(Kind::POD).namespace(namespace);
        for (key, value) in workload.strings("spec.selector.matchLabels") {
            query = query.label(key, value);
        }
        let Ok(pods) = self.list_now(&query).await else { return Vec::new() };
        let mut troubles = Vec::new();
        for pod in pods.iter().filter(|pod| !pod.condition("Ready").is_some_and(|ready| ready.is_true())).take(2) {
            troubles.extend(pod_in_words(pod));
            if let Ok(events) = self.events(pod).await {
                troubles.extend(newest(events, 2).into_iter().map(|event| format!("{pod}: event {event}")));
            }
        }
        troubles
    }
}

/// One wait under way.
struct Waiting<'a> {
    cluster: Cluster,
    reference: &'a ObjectRef,
    until: &'a Until,
    last: Option<Object>,
    reasons: Vec<String>,
    answered: bool,
}

impl Waiting<'_> {
    async fn run(&mut self) -> Result<Option<Object>, Error> {
        let mut may_watch = true;
        loop {
            match self.look().await {
                Ok((true, _)) => return Ok(self.last.take()),
                Ok((false, version)) if may_watch => match self.watch(&version).await {
                    Ok(true) => return Ok(self.last.take()),
                    Ok(false) => {}
                    Err(error) if error.is_forbidden() => may_watch = false,
                    Err(error) if passes(&error) => {}
                    Err(error) => return Err(error),
                },
                Ok((false, _)) => {}
                // A server that has answered comes back; one that never has may not exist.
                Err(error) if passes(&error) && self.answered => self.reasons = vec![error.failure.to_string()],
                Err(error) => return Err(error),
            }
            sleep(POLL_TIME).await;
        }
    }

    /// Lists the one object, which unlike a GET gives the version to watch from when it is not there.
    async fn look(&mut self) -> Result<(bool, String), Error> {
        let kind = &self.reference.kind;
        let call = Call::get(format!("{}?{}", kind.path(self.reference.namespace.as_deref()), self.selector()));
        let list = self.cluster.json(call).await.map_err(|error| self.cluster.kind_served(error, kind))?;
        self.answered = true;
        let version = list.get("metadata").and_then(|metadata| metadata.get("resourceVersion")).and_then(Value::as_str);
        let version = version.unwrap_or_default().to_owned();
        let object = items(list).into_iter().next().map(|item| typed(item, kind));
        Ok((self.judge(object)?, version))
    }

    /// Follows changes; `false` where the watch ended before the predicate held.
    async fn watch(&mut self, version: &str) -> Result<bool, Error> {
        let kind = &self.reference.kind;
        let call = Call::get(format!(
            "{}?watch=1&{}&resourceVersion={version}&timeoutSeconds={WATCH_SECONDS}",
            kind.path(self.reference.namespace.as_deref()),
            self.selector()
        ));
        let mut lines = Lines { body: self.cluster.stream(call).await?, buffer: BytesMut::new() };
        while let Some(line) = lines.next().await {
            let Ok(mut event) = serde_json::from_slice::<Value>(&line) else { return Ok(false) };
            let change = event.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
            let object = event.get_mut("object").map(Value::take).unwrap_or_default();
            let object = match change.as_str() {
                "ADDED" | "MODIFIED" => Some(typed(object, kind)),
                "DELETED" => None,
                // The version has become too old, or the server asks to begin anew.
                _ => return Ok(false),
            };
            if self.judge(object)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn selector(&self) -> String {
        format!("fieldSelector={}", path_segment(&format!("metadata.name={}", self.reference.name)))
    }

    fn judge(&mut self, object: Option<Object>) -> Result<bool, Error> {
        let verdict = self.until.check(object.as_ref());
        self.last = object;
        match verdict {
            Verdict::Ready => Ok(true),
            Verdict::Pending(reasons) => {
                self.reasons = reasons;
                Ok(false)
            }
            Verdict::Failed(why) => Err(self
                .cluster
                .error(Failure::Hopeless { waiting_for: format!("{} {}", self.reference, self.until.name), why })),
        }
    }
}

/// Worth another look later.
fn passes(error: &Error) -> bool {
    error.is_unreachable()
        || matches!(error.failure, Failure::Broken { .. })
        || matches!(&error.failure, Failure::Api(status) if matches!(status.code, 410 | 429 | 500..))
}

/// A watch's body, line by line.
struct Lines {
    body: Incoming,
    buffer: BytesMut,
}

impl Lines {
    async fn next(&mut self) -> Option<BytesMut> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                return Some(line);
            }
            // A broken watch ends like any other: the caller looks again.
            let frame = self.body.frame().await?.ok()?;
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }
}

fn event_in_words(event: &Object) -> String {
    let count = event.get("count").and_then(Value::as_i64).unwrap_or(1);
    let times = if count > 1 { format!(" (×{count})") } else { String::new() };
    format!("{}: {}{times}", event.str("reason"), event.str("message"))
}

fn newest(events: Vec<String>, count: usize) -> Vec<String> {
    let skipped = events.len().saturating_sub(count);
    events.into_iter().skip(skipped).collect()
}

/// Why a pod is not ready: not scheduled, or what its containers wait for.
fn pod_in_words(pod: &Object) -> Vec<String> {
    let scheduled = pod.condition("PodScheduled").filter(|condition| condition.status == "False");
    let mut words: Vec<String> =
        scheduled.map(|condition| format!("{pod}: {}", in_words(condition))).into_iter().collect();
    for path in ["status.initContainerStatuses", "status.containerStatuses"] {
        for status in pod.items(path) {
            let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
            let name = text(status.get("name"));
            let state = status.get("state");
            let waiting = state.and_then(|state| state.get("waiting").or_else(|| state.get("terminated")));
            if let Some(waiting) =
                waiting.filter(|waiting| waiting.get("reason").is_some_and(|reason| reason != "Completed"))
            {
                words.push(
                    format!(
                        "{pod}: container {name}: {} {}",
                        text(waiting.get("reason")),
                        text(waiting.get("message"))
                    )
                    .trim_end()
                    .to_owned(),
                );
            }
        }
    }
    words
}
