//! What becomes of a create's Lease between the end of the create and the end of the process.
//!
//! A core that is killed, or whose provider is, may never write down a create that has come to its end: no state knows
//! the instance then, though all of it was made. So its Lease does not call it complete yet. It says `made`, this
//! process goes on renewing it, and calls it complete when the core asks the process to leave, which a core does once
//! the answers of the run have arrived. A create that finds `made` and nobody who renews it takes the instance up, as
//! it does what a killed create left.
//!
//! A run that is refused because another one is at work on the same at this moment gives up what it has made
//! ([`give_up`]): it says `made` to the end, and the other takes it up. Else each of two runs that were both first at
//! something would refuse, and neither would come to its end.
//!
//! A process that is killed after its answers have arrived, or whose last requests are refused, leaves `made` as well.
//! So that no other state takes up by mistake what this one knows, that word counts for [`TAKEN_UP_WITHIN`] only; from
//! then on it means complete. Until then a refresh of the state that knows the instance looks whether it is left so
//! ([`refresh`]): it writes nothing itself, but the plan then shows an update, which calls it complete.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::holder::Holder;
use super::instance::{COMPLETE_ANNOTATION, COMPLETED, Instance, MADE, lease_in};
use super::lease::{self, LeaseSays, Renewal, WAITING};
use crate::cluster::{Cluster, INSTANCE_ANNOTATION, Kind, Object, ObjectRef, Owner, Query, Scope, Why};
use crate::diag::Diagnostic;

/// How long after its last renewal a create may take up what is made and not called complete. Whoever repeats an apply
/// that was killed does so within it; the clocks of two machines differ by less.
const TAKEN_UP_WITHIN: Duration = Duration::from_secs(3600);
/// A core kills a process that has not ended two seconds after it was asked to.
const PATIENCE: Duration = Duration::from_millis(1500);

/// By mark, the instances that this process has made.
static MADE_HERE: Mutex<BTreeMap<String, Made>> = Mutex::new(BTreeMap::new());

/// Whether this process leaves what it has made to another run.
static GIVES_UP: AtomicBool = AtomicBool::new(false);

struct Made {
    cluster: Cluster,
    lease: ObjectRef,
    holder: Holder,
    _renewal: DropGuard,
}

/// Keeps the Lease of an instance that has just been made, until [`end`] or [`complete`].
pub(super) fn keep(cluster: &Cluster, lease: &ObjectRef, mark: &str, holder: Holder) {
    // The create is over, and so are its deadline and what could interrupt it.
    let over = CancellationToken::new();
    let cluster = cluster.within(Scope { deadline: None, cancel: over.clone() });
    let renewal = Renewal {
        cluster: cluster.clone(),
        lease: lease.clone(),
        holder: holder.name.clone(),
        pace: WAITING,
        why: Why::default(),
    };
    tokio::spawn(renewal.run(over.clone(), over.clone()));
    let made = Made { cluster, lease: lease.clone(), holder, _renewal: over.drop_guard() };
    made_here().insert(mark.to_owned(), made);
}

/// Calls the instance with this mark complete if this process has made it: whoever knows the mark has it from a state.
pub(super) async fn complete(mark: &str) {
    let made = made_here().remove(mark);
    if let Some(made) = made {
        made.complete().await;
    }
}

/// This run is refused while another one is at work on the same: that one may take up what this one has made.
pub(super) fn give_up() {
    GIVES_UP.store(true, Ordering::Relaxed);
}

/// The core has had its answers and asks this process to leave: what it made is complete, or another run's to take up.
pub async fn end() {
    let made: Vec<Made> = std::mem::take(&mut *made_here()).into_values().collect();
    join_all(made.into_iter().map(Made::end)).await;
}

/// Where a Lease is, and whose it is.
#[derive(Clone, Copy)]
pub struct LeaseOf<'a> {
    pub cluster: &'a Cluster,
    pub namespace: &'a str,
    pub owner: &'a Owner,
}

/// At a refresh: a state knows the instance by now. Where the run that made it ended before it could call it complete,
/// the next apply is to do it. One list for all instances of a namespace, in the hour after the create alone; what it
/// says is not remembered, for a refresh of what is as it was changes nothing in state.
pub async fn refresh(at: LeaseOf<'_>, instance: &mut Instance) -> Option<Diagnostic> {
    let LeaseOf { cluster, namespace, owner } = at;
    let (made, now) = (instance.made?, lease::now(cluster));
    if now.as_second().saturating_sub(made).unsigned_abs() >= TAKEN_UP_WITHIN.as_secs() {
        return None;
    }
    let reference = lease_in(namespace, &owner.label);
    let leases = cluster.list(&Query::owned(Kind::LEASE, namespace)).await.ok()?;
    let is_its = |lease: &&Object| {
        lease.name() == reference.name && lease.annotation(INSTANCE_ANNOTATION) == Some(owner.mark.as_str())
    };
    let lease = leases.iter().find(is_its)?;
    if lease.annotation(COMPLETE_ANNOTATION) == Some(COMPLETED) {
        return None;
    }
    let is_left = may_be_taken_up(lease, now) && !LeaseSays::of(lease).is_at_work(now, &mut None);
    is_left.then(|| {
        instance.unfinished = true;
        Diagnostic::warning(format!("{reference} could not be given back")).detail(format!(
            "The run that made this resource ended before it could say in {reference} of cluster {} that a state knows it. For an hour another state could take it up by mistake. The plan shows an update; apply it to give the Lease back.",
            cluster.name()
        ))
    })
}

/// Whether a create may take up an instance that is made and that nobody renews.
pub(super) fn may_be_taken_up(lease: &Object, now: Timestamp) -> bool {
    let renewed = lease.str("spec.renewTime").parse::<Timestamp>();
    lease.annotation(COMPLETE_ANNOTATION) == Some(MADE)
        && renewed.is_ok_and(|at| now.duration_since(at).unsigned_abs() < TAKEN_UP_WITHIN)
}

impl Made {
    async fn end(self) {
        match GIVES_UP.load(Ordering::Relaxed) {
            true => self.say(&lease::lets_go(&self.holder.name)).await,
            false => self.complete().await,
        }
    }

    async fn complete(self) {
        self.say(&lease::completes(&self.holder.name)).await;
    }

    async fn say(&self, operations: &serde_json::Value) {
        let cluster = self.cluster.within(Scope::lasting(PATIENCE, CancellationToken::new()));
        if let Err(error) = cluster.patch_if(&self.lease, operations).await {
            tracing::warn!("{} in cluster {} was not given back: {error}", self.lease, cluster.name());
        }
    }
}

fn made_here() -> std::sync::MutexGuard<'static, BTreeMap<String, Made>> {
    MADE_HERE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::Kind;
    use crate::kept::instance::COMPLETED;

    #[test]
    fn what_is_made_is_taken_up_for_an_hour() {
        let now = Timestamp::from_second(1_750_000_000).unwrap();
        let lease = |said: &str, age: i64| {
            let renewed = (now - jiff::SignedDuration::from_secs(age)).to_string();
            Object::of(&ObjectRef::namespaced(Kind::LEASE, "n", "l"))
                .with_annotation(COMPLETE_ANNOTATION, said)
                .with("spec", json!({ "renewTime": renewed }))
        };
        assert!(may_be_taken_up(&lease(MADE, 60), now));
        assert!(may_be_taken_up(&lease(MADE, -60), now), "the clock of its machine is ahead");
        assert!(!may_be_taken_up(&lease(MADE, 3601), now));
        assert!(!may_be_taken_up(&lease(COMPLETED, 60), now));
    }
}
