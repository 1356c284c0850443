//! The Lease of an instance: what it says, and how its holder keeps it.

use std::sync::OnceLock;
use std::time::{Duration, Instant as Clock};

use jiff::Timestamp;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::holder::Holder;
use super::instance::{COMPLETE_ANNOTATION, COMPLETED, MADE, UNFINISHED, is_complete};
use crate::cluster::{Cluster, INSTANCE_ANNOTATION, Object, ObjectRef, Patched, Why};

/// The holder of a Lease that nobody holds. The API server takes no empty name.
pub(super) const NOBODY: &str = "nobody";
/// In place of a holder that gave up before it came to the end.
pub(super) const INTERRUPTED: &str = "interrupted";
/// Of a holder that writes: others wait for it, so it is soon found out when it is gone.
pub(super) const WRITING: Pace = Pace { every: Duration::from_secs(6), gone_after: Duration::from_secs(20) };
/// Of a holder that only waits for the end of its run: there may be hundreds of them, and a run may be long.
pub(super) const WAITING: Pace = Pace { every: Duration::from_secs(30), gone_after: Duration::from_secs(75) };
/// No holder's clock is as much behind the API server's: what was renewed longer ago need not be watched.
const LONG_AGO: Duration = Duration::from_secs(600);
/// Clocks that differ by less count as one. An answer tells whole seconds: put right by it, the times that two runs on
/// one machine write could change their order.
const ALIKE: Duration = Duration::from_secs(60);

/// How a holder renews.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    pub every: Duration,
    /// A holder that has not renewed for so long is gone. Counted from when it is first looked at: the clocks of two
    /// machines differ. A Lease says it as its duration.
    pub gone_after: Duration,
}

/// What a Lease says.
pub(super) struct LeaseSays {
    pub mark: String,
    pub complete: bool,
    pub holder: String,
    /// When the run of its holder began, in the form of a Lease's times.
    pub begun: String,
    renewed: String,
    gone_after: Duration,
}

impl LeaseSays {
    pub fn of(lease: &Object) -> LeaseSays {
        LeaseSays {
            mark: lease.annotation(INSTANCE_ANNOTATION).unwrap_or_default().to_owned(),
            complete: is_complete(lease),
            holder: lease.str("spec.holderIdentity").to_owned(),
            begun: lease.str("spec.acquireTime").to_owned(),
            renewed: lease.str("spec.renewTime").to_owned(),
            // Somebody else may have written anything there.
            gone_after: match lease.get("spec.leaseDurationSeconds").and_then(serde_json::Value::as_u64) {
                Some(seconds) if seconds > WRITING.gone_after.as_secs() => WAITING.gone_after,
                _ => WRITING.gone_after,
            },
        }
    }

    /// Whether somebody has written it since this run began: both are there at once.
    pub fn is_of_now(&self, cluster: &Cluster) -> bool {
        self.renewed.as_str() >= began(cluster)
    }

    /// Whether its holder may be writing. `now` is by the API server's clock as well as it is known. `watched`
    /// remembers since when it has not been renewed.
    pub fn is_at_work(&self, now: Timestamp, watched: &mut Option<Watched>) -> bool {
        let is_here = Holder::is_at_work(&self.holder);
        if [NOBODY, INTERRUPTED, ""].contains(&self.holder.as_str()) || is_here == Some(false) {
            return false;
        }
        let age = self.renewed.parse::<Timestamp>().ok().map(|at| now.duration_since(at));
        if age.is_some_and(|age| age.as_secs() > i64::try_from(LONG_AGO.as_secs()).unwrap_or(i64::MAX)) {
            return false;
        }
        let same = watched.as_ref().filter(|watched| watched.renewed == self.renewed && watched.holder == self.holder);
        match same {
            Some(watched) => watched.since.elapsed() < self.gone_after,
            None => {
                let has_renewed = watched.as_ref().is_some_and(|watched| watched.holder == self.holder);
                let is_alive = has_renewed || is_here == Some(true);
                let (renewed, holder) = (self.renewed.clone(), self.holder.clone());
                *watched = Some(Watched { since: Clock::now(), renewed, holder, is_alive });
                true
            }
        }
    }
}

/// Whether a first apply has not come to its end, and nobody is at work on it: whether a state knows the instance is
/// not known then.
pub(super) fn is_cut_off(lease: &Object, now: Timestamp) -> bool {
    lease.annotation(COMPLETE_ANNOTATION) == Some(UNFINISHED) && !LeaseSays::of(lease).is_at_work(now, &mut None)
}

/// A holder, and since when it has not renewed.
pub(super) struct Watched {
    since: Clock,
    renewed: String,
    holder: String,
    /// It has renewed while it was watched, or this machine sees it.
    pub is_alive: bool,
}

/// Gives back the Lease of an instance that is complete.
pub(super) fn completes(holder: &str) -> serde_json::Value {
    json!([
        { "op": "test", "path": "/spec/holderIdentity", "value": holder },
        { "op": "replace", "path": "/spec/holderIdentity", "value": NOBODY },
        { "op": "add", "path": pointer(COMPLETE_ANNOTATION), "value": COMPLETED },
    ])
}

/// Lets others take it, and says no more than it has said.
pub(super) fn lets_go(holder: &str) -> serde_json::Value {
    json!([
        { "op": "test", "path": "/spec/holderIdentity", "value": holder },
        { "op": "replace", "path": "/spec/holderIdentity", "value": INTERRUPTED },
    ])
}

/// Says that all of an instance is made, and that its holder waits for a state to know it.
pub(super) fn says_made(holder: &str) -> serde_json::Value {
    json!([
        { "op": "test", "path": "/spec/holderIdentity", "value": holder },
        { "op": "add", "path": "/spec/leaseDurationSeconds", "value": WAITING.gone_after.as_secs() },
        { "op": "add", "path": pointer(COMPLETE_ANNOTATION), "value": MADE },
    ])
}

/// The path of an annotation, for a patch.
pub(super) fn pointer(annotation: &str) -> String {
    format!("/metadata/annotations/{}", annotation.replace('~', "~0").replace('/', "~1"))
}

pub(super) fn spec(holder: &str, cluster: &Cluster) -> serde_json::Value {
    json!({
        "holderIdentity": holder, "leaseDurationSeconds": WRITING.gone_after.as_secs(),
        "renewTime": time(now(cluster)), "acquireTime": began(cluster),
    })
}

/// When this run began to write, in the form of a Lease's times: with its first claim, by the clock of that cluster.
/// It stays the same, since two runs are put in order by it.
pub(super) fn began(cluster: &Cluster) -> &'static str {
    static BEGAN: OnceLock<String> = OnceLock::new();
    BEGAN.get_or_init(|| time(now(cluster)))
}

/// The time that the Leases of a cluster say, and are judged by. It is the cluster's: the clock of this machine may be
/// wrong, and others would take a holder that is at work for one that is gone.
pub(super) fn now(cluster: &Cluster) -> Timestamp {
    match cluster.clock_ahead() {
        Some(ahead) if ahead.unsigned_abs() < ALIKE.as_secs() => Timestamp::now(),
        _ => cluster.now(),
    }
}

/// The form of a Lease's times.
fn time(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Says again and again that the holder is at work.
pub(super) struct Renewal {
    pub cluster: Cluster,
    pub lease: ObjectRef,
    pub holder: String,
    pub pace: Pace,
    /// Says why the holder has lost the Lease, once it has.
    pub why: Why,
}

impl Renewal {
    pub async fn run(self, over: CancellationToken, lost: CancellationToken) {
        let mut renewed = Clock::now();
        let why = loop {
            tokio::select! {
                () = over.cancelled() => return,
                () = tokio::time::sleep(self.pace.every) => {}
            }
            let operations = json!([
                { "op": "test", "path": "/spec/holderIdentity", "value": self.holder },
                { "op": "replace", "path": "/spec/renewTime", "value": time(now(&self.cluster)) },
            ]);
            let patched = tokio::select! {
                () = over.cancelled() => return,
                patched = tokio::time::timeout(WRITING.every, self.cluster.patch_if(&self.lease, &operations)) => patched,
            };
            match patched {
                Ok(Ok(Patched::Done(_))) => renewed = Clock::now(),
                // Others write the Lease only once it is theirs. Gone with its namespace it keeps nobody out any more.
                Ok(Ok(Patched::Refused)) => break format!("another run has taken {}", self.lease),
                Ok(Ok(Patched::Absent)) => break format!("somebody has deleted {}", self.lease),
                Ok(Err(_)) | Err(_) if renewed.elapsed() < self.pace.gone_after => {}
                // By now another run may think that this one is gone.
                Ok(Err(error)) => break format!("{} could not be renewed ({error})", self.lease),
                Err(_) => break format!("{} could not be renewed: the cluster does not answer", self.lease),
            }
        };
        let _ = self.why.set(why);
        lost.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Kind;
    use crate::cluster::stub::{answering, with_clock};

    #[test]
    fn a_lease_that_is_not_renewed_is_given_up_in_time_and_not_at_once() {
        let now = Timestamp::from_second(1_750_000_000).unwrap();
        let found = |age: i64| LeaseSays {
            mark: "m".into(),
            complete: false,
            holder: "elsewhere/1/m/x".into(),
            begun: String::new(),
            gone_after: WRITING.gone_after,
            renewed: (now - jiff::SignedDuration::from_secs(age)).to_string(),
        };
        let mut watched = None;
        assert!(found(30).is_at_work(now, &mut watched), "its clock may be another");
        watched = watched.map(|watched| Watched { since: Clock::now() - WRITING.gone_after, ..watched });
        let renewed = watched.as_ref().unwrap().renewed.clone();
        assert!(!LeaseSays { renewed, ..found(30) }.is_at_work(now, &mut watched));
        let mut watched = None;
        assert!(found(30).is_at_work(now, &mut watched) && !watched.as_ref().unwrap().is_alive, "it may have ended");
        assert!(found(24).is_at_work(now, &mut watched) && watched.unwrap().is_alive);
        assert!(!found(3600).is_at_work(now, &mut None));
        assert!(!LeaseSays { holder: NOBODY.into(), ..found(0) }.is_at_work(now, &mut None));
    }

    /// What a request says that ends because its holder has lost the Lease.
    async fn said_at_the_end(code: u16, details: serde_json::Value) -> String {
        let message = "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no";
        let status = json!({ "kind": "Status", "code": code, "message": message, "details": details });
        let cluster = answering("east", move |_, _| (code, status.clone()));
        let (lost, why) = (CancellationToken::new(), Why::default());
        let lease = ObjectRef::namespaced(Kind::LEASE, "n", "l");
        let pace = Pace { every: Duration::from_millis(10), gone_after: Duration::from_millis(50) };
        let renewal =
            Renewal { cluster: cluster.clone(), lease: lease.clone(), holder: "h".into(), pace, why: why.clone() };
        renewal.run(CancellationToken::new(), lost.clone()).await;
        let error = cluster.until(lost, why).get(&lease).await.unwrap_err();
        format!("{error}. {}", error.remedy())
    }

    /// What a renewal writes in a cluster whose clock is so much ahead of that of this machine.
    async fn renewed_at(ahead: jiff::SignedDuration) -> Timestamp {
        let (tell, told) = std::sync::mpsc::channel();
        let cluster = with_clock("east", Timestamp::now() + ahead, move |method, _, body| {
            if method == "PATCH" {
                let _ = tell.send(body.to_owned());
            }
            (404, json!({ "kind": "Status", "code": 404, "message": "not found", "details": { "name": "l" } }))
        });
        let lease = ObjectRef::namespaced(Kind::LEASE, "n", "l");
        assert!(cluster.get(&lease).await.unwrap().is_none());
        let pace = Pace { every: Duration::from_millis(10), gone_after: Duration::from_millis(50) };
        let renewal = Renewal { cluster, lease, holder: "h".into(), pace, why: Why::default() };
        renewal.run(CancellationToken::new(), CancellationToken::new()).await;
        let operations: serde_json::Value = serde_json::from_str(&told.recv().unwrap()).unwrap();
        operations[1]["value"].as_str().unwrap().parse().unwrap()
    }

    #[tokio::test]
    async fn a_holder_renews_by_the_clock_of_the_cluster() {
        for minutes in [20, -20] {
            let ahead = jiff::SignedDuration::from_mins(minutes);
            let off = renewed_at(ahead).await.duration_since(Timestamp::now() + ahead);
            assert!(off.abs() < jiff::SignedDuration::from_mins(1), "{minutes}: off by {off}");
        }
    }

    #[tokio::test]
    async fn the_runs_of_a_machine_keep_their_order() {
        let before = Timestamp::now();
        let renewed = renewed_at(jiff::SignedDuration::from_secs(-30)).await;
        assert!(renewed >= before, "an answer tells whole seconds: {renewed} {before}");
    }

    #[tokio::test]
    async fn who_loses_a_lease_is_told_why() {
        let refused = said_at_the_end(422, json!({ "name": "l" })).await;
        assert!(refused.contains("Lease n/l could not be renewed") && refused.contains("Policy 'p'"), "{refused}");
        assert!(!refused.contains("another run"), "{refused}");
        assert!(said_at_the_end(422, json!({})).await.contains("another run has taken Lease n/l"));
        assert!(said_at_the_end(404, json!({ "name": "l" })).await.contains("somebody has deleted Lease n/l"));
    }
}
