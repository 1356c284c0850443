//! Waiting: readiness is a pure predicate over an object that may not exist; one loop waits.

mod lines;
mod until;

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::answer;
use super::call::{Call, Ended};
use super::kind::path_segment;
use super::read::{METADATA_ALONE, METADATA_LIST, items, typed};
use super::{Applied, Cluster, Error, Failure, Kind, Object, ObjectRef, Query, Scope, Timeout};

use lines::Lines;
use until::in_words;
pub use until::{
    Until, Verdict, condition, daemon_set_available, deleted, deployment_available, secret_has_keys,
    stateful_set_available, webhook_ca_bundle_set,
};

/// How long a wait goes on when the scope sets no deadline.
const WAIT_TIME: Duration = Duration::from_secs(600);
/// A watch is asked to end by itself after this, and begun anew.
const WATCH_SECONDS: u32 = 290;
/// Between looks where watching is not allowed, or has just broken.
const POLL_TIME: Duration = Duration::from_secs(1);
/// How long many objects are waited for together.
const DEPARTURE_TIME: Duration = Duration::from_secs(10);
/// For finding out, after a timeout, what went wrong.
const EXPLAIN_TIME: Duration = Duration::from_secs(5);

impl Cluster {
    /// Waits until the predicate holds, and gives the object then seen (`None` after [`deleted`]).
    ///
    /// Watches where that is allowed, else polls; a server that does not answer for a while is waited for too. A
    /// timeout carries the last state in words, with what pods and events say.
    pub async fn wait(&self, reference: &ObjectRef, until: &Until) -> Result<Option<Object>, Error> {
        self.wait_from(reference, None, until).await
    }

    /// As [`Cluster::wait`], going on from the answer to an apply: no request at all where it satisfies already, else
    /// one.
    pub async fn wait_applied(&self, applied: &Applied, until: &Until) -> Result<Option<Object>, Error> {
        self.wait_from(&applied.reference, Some(&applied.object), until).await
    }

    async fn wait_from(
        &self,
        reference: &ObjectRef,
        seen: Option<&Object>,
        until: &Until,
    ) -> Result<Option<Object>, Error> {
        let started = Instant::now();
        let deadline = self.scope.deadline.unwrap_or(started + WAIT_TIME);
        let scope = Scope { deadline: Some(deadline), cancel: self.scope.cancel.clone() };
        let cluster = self.within(scope.clone());
        let mut waiting = Waiting { cluster, reference, until, last: None, reasons: Vec::new(), answered: false };
        // The scope ends the requests as well, and not a watch that tells nothing; whichever notices first, the words
        // are those of the wait.
        let error = match scope.bound(Box::pin(waiting.run(seen))).await {
            Ok(Ok(object)) => return Ok(object),
            Ok(Err(error)) if !matches!(error.failure, Failure::Timeout(_)) => return Err(error),
            Err(ended @ Ended::Cancelled) => {
                let doing = format!("waiting for {reference} {}", until.name());
                return Err(self.error(ended.failure(&doing, started)));
            }
            Ok(Err(_)) | Err(Ended::Late) => Timeout {
                waiting_for: format!("{reference} {}", until.name()),
                waited: started.elapsed(),
                last_state: std::mem::take(&mut waiting.reasons),
                unanswered: !waiting.answered,
            },
        };
        Err(self.error(Failure::Timeout(self.explained(error, waiting.last).await)))
    }

    /// Waits until nothing that the query finds is on its way out: one list and one watch, however many they are. What
    /// has not gone soon is waited for by itself, so that the error says what holds it.
    pub async fn wait_departed(&self, query: &Query) -> Result<(), Error> {
        loop {
            let call = Call { accept: METADATA_LIST, ..Call::get(query.path()) };
            let list = self.list_json(call, &query.kind).await.map_err(|error| self.kind_served(error, &query.kind))?;
            let version = list.get("metadata").and_then(|metadata| metadata.get("resourceVersion")?.as_str());
            let version = version.unwrap_or_default().to_owned();
            let listed = items(list).into_iter().map(|item| typed(item, &query.kind));
            let mut going: Vec<ObjectRef> =
                listed.filter(Object::is_terminating).map(|object| object.reference_as(query.kind.clone())).collect();
            if going.is_empty() {
                return Ok(());
            }
            let watched = timeout(DEPARTURE_TIME, self.watch_departures(query, &version, &mut going)).await;
            match (watched, going.first()) {
                (Ok(Err(error)), _) if error.is_cancelled() => return Err(error),
                (_, None) => return Ok(()),
                (_, Some(left)) => drop(self.wait(left, &deleted()).await?),
            }
        }
    }

    /// Takes out of `going` what a watch from the version on tells as deleted, until it is empty or the watch ends.
    async fn watch_departures(&self, query: &Query, version: &str, going: &mut Vec<ObjectRef>) -> Result<(), Error> {
        let path = query.path();
        let separator = if path.contains('?') { '&' } else { '?' };
        let path =
            format!("{path}{separator}watch=1&resourceVersion={version}&timeoutSeconds={}", DEPARTURE_TIME.as_secs());
        let call = Call { accept: METADATA_ALONE, ..Call::get(path) };
        let mut lines = Lines::of(self.stream(call).await?);
        while !going.is_empty() {
            let Some(line) = lines.next().await else { return Ok(()) };
            let Ok(mut event) = answer::read(&line) else { return Ok(()) };
            match event.get("type").and_then(Value::as_str) {
                Some("DELETED") => {
                    let object = event.get_mut("object").map(Value::take).unwrap_or_default();
                    let gone = typed(object, &query.kind).reference_as(query.kind.clone());
                    going.retain(|left| *left != gone);
                }
                Some("ADDED" | "MODIFIED" | "BOOKMARK") => {}
                _ => return Ok(()),
            }
        }
        Ok(())
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
    async fn run(&mut self, seen: Option<&Object>) -> Result<Option<Object>, Error> {
        let mut may_watch = true;
        let mut looked = match seen.and_then(|seen| Some((seen, seen.resource_version()?))) {
            Some((seen, version)) => {
                self.answered = true;
                Ok((self.judge(Some(seen.clone())), version.to_owned()))
            }
            // A watch from no version on begins with the object as it is, which saves the look.
            None if self.is_pending_without_object() => Ok((false, String::new())),
            None => self.look().await,
        };
        loop {
            match looked {
                Ok((true, _)) => return Ok(self.last.take()),
                Ok((false, version)) if may_watch => match self.watch(&version).await {
                    Ok(true) => return Ok(self.last.take()),
                    Ok(false) => {}
                    Err(error) if error.is_forbidden() => {
                        may_watch = false;
                        looked = self.look().await;
                        continue;
                    }
                    Err(error) if passes(&error) => {}
                    Err(error) => return Err(error),
                },
                Ok((false, _)) => {}
                // A server that has answered comes back; one that never has may not exist.
                Err(error) if passes(&error) && self.answered => self.reasons = vec![error.failure.to_string()],
                Err(error) => return Err(error),
            }
            sleep(POLL_TIME).await;
            looked = self.look().await;
        }
    }

    /// There is something to wait for as long as there is no object.
    fn is_pending_without_object(&mut self) -> bool {
        let Verdict::Pending(reasons) = self.until.check(None) else { return false };
        self.reasons = reasons;
        true
    }

    /// Lists the one object, which unlike a GET gives the version to watch from when it is not there.
    async fn look(&mut self) -> Result<(bool, String), Error> {
        let kind = &self.reference.kind;
        let call = Call::get(format!("{}?{}", kind.path(self.reference.namespace.as_deref()), self.selector()));
        let list = self.cluster.list_json(call, kind).await.map_err(|error| self.cluster.kind_served(error, kind))?;
        self.answered = true;
        let version = list.get("metadata").and_then(|metadata| metadata.get("resourceVersion")).and_then(Value::as_str);
        let version = version.unwrap_or_default().to_owned();
        let object = items(list).into_iter().next().map(|item| typed(item, kind));
        Ok((self.judge(object), version))
    }

    /// Follows changes from a version on, or all from the object as it is; `false` where the watch ended before the
    /// predicate held.
    async fn watch(&mut self, version: &str) -> Result<bool, Error> {
        let kind = &self.reference.kind;
        let from = if version.is_empty() { String::new() } else { format!("&resourceVersion={version}") };
        let call = Call::get(format!(
            "{}?watch=1&{}{from}&timeoutSeconds={WATCH_SECONDS}",
            kind.path(self.reference.namespace.as_deref()),
            self.selector()
        ));
        let mut lines = Lines::of(self.cluster.stream(call).await?);
        self.answered = true;
        while let Some(line) = lines.next().await {
            let Ok(mut event) = answer::read(&line) else { return Ok(false) };
            let change = event.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
            let object = event.get_mut("object").map(Value::take).unwrap_or_default();
            let object = match change.as_str() {
                "ADDED" | "MODIFIED" => Some(typed(object, kind)),
                "DELETED" => None,
                // The version has become too old, or the server asks to begin anew.
                _ => return Ok(false),
            };
            if self.judge(object) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn selector(&self) -> String {
        format!("fieldSelector={}", path_segment(&format!("metadata.name={}", self.reference.name)))
    }

    /// Whether the predicate holds.
    fn judge(&mut self, object: Option<Object>) -> bool {
        let verdict = self.until.check(object.as_ref());
        self.last = object;
        match verdict {
            Verdict::Ready => true,
            Verdict::Pending(reasons) => {
                self.reasons = reasons;
                false
            }
        }
    }
}

/// Worth another look later.
fn passes(error: &Error) -> bool {
    error.is_unreachable()
        || matches!(error.failure, Failure::Broken { .. })
        || matches!(&error.failure, Failure::Api(status) if matches!(status.code, 410 | 429 | 500..))
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
