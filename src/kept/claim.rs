//! The right to write an instance's objects. The instance's Lease gives it to one run at a time, and says whether a
//! first apply has come to its end.
//!
//! A create that finds a Lease belongs to one of three stories. Its holder renews it: another run is at work, and this
//! one waits. Nobody renews it and it is not complete: a first apply was killed, and this create takes up what it left.
//! It is complete: the instance is another state's, another block's, or the one that this create is to replace; then
//! nothing is written.

use std::io;
use std::time::{Duration, Instant as Clock};

use jiff::Timestamp;
use serde_json::json;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::holder::{Holder, new_mark};
use super::instance::{COMPLETE_ANNOTATION, Instance, MARKING, Place, UNFINISHED, is_complete, is_marked};
use super::namespace::{self, Departed};
use super::report;
use crate::cluster::{Cluster, Delete, Error, INSTANCE_ANNOTATION, Object, ObjectRef, Owner, Patched, Scope};
use crate::diag::Diagnostic;
use crate::value::Path;

/// The holder of a Lease that nobody holds. The API server takes no empty name.
const NOBODY: &str = "nobody";
/// In place of a holder that gave up before it came to the end.
const INTERRUPTED: &str = "interrupted";
/// How often a holder renews.
const RENEWED_EVERY: Duration = Duration::from_secs(6);
/// A holder that has not renewed for so long is gone. Counted from when it is first looked at: the clocks of two
/// machines differ.
const GONE_AFTER: Duration = Duration::from_secs(20);
/// No two clocks differ as much: what was renewed longer ago need not be watched.
const LONG_AGO: Duration = Duration::from_secs(600);
const PAUSE: Duration = Duration::from_millis(500);
/// Kept back of the time allowed, to say whom it was waited for.
const FOR_WORDS: Duration = Duration::from_secs(5);

/// What a claim is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// There is no state: whatever is there already is somebody else's, unless nobody finished it.
    Create {
        in_new_namespace: NewNamespace,
    },
    Update,
    Destroy,
}

/// What a create does where its namespace does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewNamespace {
    /// It is there, or misspelled.
    Refused,
    Made,
    /// It is made, and says that no Pod is meant for it.
    MadeWithoutPods,
}

/// A claim to make.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    pub cluster: &'a Cluster,
    pub place: Place<'a>,
    pub purpose: Purpose,
    /// The mark that state has.
    pub mark: Option<&'a str>,
    /// Take the instance over from whoever manages it.
    pub adopt: bool,
}

/// The right to write an instance's objects, until it is finished or dropped.
pub struct Claim {
    cluster: Cluster,
    pub(super) lease: ObjectRef,
    /// Whose the instance's objects are.
    pub owner: Owner,
    pub(super) namespace: String,
    /// Every object was marked by an apply that came to its end: what a refresh found as wanted need not be written.
    pub(super) all_marked: bool,
    /// Somebody was interrupted before: there may be objects that no state knows.
    pub interrupted: bool,
    /// At a destroy: the mark of another instance that has taken this one over.
    other: Option<String>,
    /// `None` once it is given back, and at a destroy where there is no Lease or another instance's.
    hold: Option<Hold>,
}

struct Hold {
    holder: Holder,
    /// Ends the renewal when it is dropped.
    renewal: Option<DropGuard>,
}

impl Purpose {
    /// What an apply is for: where there is no state, to create.
    pub fn of<M>(prior: Option<&M>) -> Purpose {
        if prior.is_some() { Purpose::Update } else { Purpose::Create { in_new_namespace: NewNamespace::Made } }
    }
}

impl Claim {
    /// The same cluster; its requests end when another run has taken the instance over.
    pub fn cluster(&self) -> Cluster {
        self.cluster.clone()
    }

    /// At a destroy: what says that the instance is another's by now. `None` where it is this one's, or nobody has
    /// marked it.
    pub fn taken_over_by(&self) -> Option<String> {
        let mark = self.other.as_ref()?;
        Some(format!("{} in cluster {} carries the mark {mark}", self.lease, self.cluster.name()))
    }

    /// The apply has come to its end: everything is marked, the instance is complete, and others may write. The warning
    /// says that its Lease could not be told.
    pub async fn finish(mut self, instance: &mut Instance) -> Option<Diagnostic> {
        instance.finish();
        let hold = self.hold.take()?;
        let operations = json!([
            { "op": "test", "path": "/spec/holderIdentity", "value": hold.holder.name },
            { "op": "replace", "path": "/spec/holderIdentity", "value": NOBODY },
            { "op": "add", "path": pointer(COMPLETE_ANNOTATION), "value": "true" },
        ]);
        let why = match self.cluster.patch_if(&self.lease, &operations).await {
            Ok(Patched::Done(_)) => return None,
            Ok(Patched::Refused) => "another run has taken it meanwhile".to_owned(),
            Ok(Patched::Absent) => "somebody has deleted it meanwhile".to_owned(),
            Err(error) => error.to_string(),
        };
        instance.unfinished = true;
        Some(Diagnostic::warning(format!("{} could not be given back", self.lease)).detail(format!(
            "The apply is done, but the Lease was not given back: {why}. The next plan shows an update; apply it to give the Lease back."
        )))
    }

    /// The instance is gone, and its Lease with it.
    pub async fn end(mut self) -> Result<(), Error> {
        match self.hold.take() {
            Some(_) => self.cluster.delete(&Delete::new(self.lease.clone())).await.map(drop),
            None => Ok(()),
        }
    }
}

impl Claim {
    /// The objects are gone: the instance leaves its namespace, as [`namespace::depart`] says, and its Lease goes last.
    /// Until then a run that is killed leaves what the next destroy finds.
    pub async fn leave(mut self, written: &[String]) -> Result<Option<String>, Error> {
        if let Some(hold) = &mut self.hold {
            // A Lease that goes with its namespace is not taken from anybody.
            hold.renewal = None;
        }
        let lease = self.hold.as_ref().map(|_| &self.lease);
        let Departed { left, goes } = namespace::depart(&self.cluster, &self.namespace, written, lease).await?;
        self.hold = None;
        if goes {
            namespace::gone(&self.cluster, &self.namespace).await?;
        }
        Ok(left)
    }
}

impl Drop for Claim {
    /// An apply that fails lets others write, as far as that can still be told. A process that ends first is found out
    /// by the next run.
    fn drop(&mut self) {
        let Some(hold) = self.hold.take() else { return };
        let operations = json!([
            { "op": "test", "path": "/spec/holderIdentity", "value": hold.holder.name },
            { "op": "replace", "path": "/spec/holderIdentity", "value": INTERRUPTED },
        ]);
        let cluster = self.cluster.within(Scope::lasting(FOR_WORDS, CancellationToken::new()));
        let lease = self.lease.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                // Whether it arrives or not: the Lease runs out.
                drop(cluster.patch_if(&lease, &operations).await);
                drop(hold);
            });
        }
    }
}

/// Claims the instance for this run. Waits for another run that is at work on it; nothing is written to anything that
/// is another instance's.
pub async fn claim(asked: Asked<'_>, instance: &mut Instance) -> Result<Claim, Diagnostic> {
    let all_marked = instance.is_all_marked();
    let mut claim = Box::pin(claimed(asked, instance)).await?;
    claim.owner.unmarked = !instance.marked;
    claim.all_marked = all_marked && !claim.interrupted;
    if claim.interrupted {
        claim.cluster.forget();
    }
    instance.unfinished = true;
    Ok(claim)
}

async fn claimed(asked: Asked<'_>, instance: &mut Instance) -> Result<Claim, Diagnostic> {
    let began = Clock::now();
    let holder = Holder::new().map_err(|error| no_randomness(&error))?;
    let mut watched: Option<Watched> = None;
    let mut first = true;
    let failed = |error: Error| report::diagnostic(&error);
    loop {
        let lease = match (std::mem::take(&mut first), asked.mark, asked.purpose) {
            (true, Some(mark), Purpose::Update | Purpose::Destroy) => {
                if let Some(lease) = reclaim(asked, mark, &holder).await.map_err(failed)? {
                    instance.marked |= is_marked(&lease);
                    return Ok(held(asked, holder, mark, instance.unfinished));
                }
                look(asked).await.map_err(failed)?
            }
            // Most likely there is none: it is tried before it is looked.
            (true, _, Purpose::Create { .. } | Purpose::Update) => None,
            _ => look(asked).await.map_err(failed)?,
        };
        let Some(lease) = lease else {
            if asked.purpose == Purpose::Destroy {
                return Ok(unheld(asked));
            }
            let mark = match asked.mark {
                Some(mark) => mark.to_owned(),
                None => new_mark().map_err(|error| no_randomness(&error))?,
            };
            if make(asked, &mark, &holder).await.map_err(failed)? {
                instance.marked |= matches!(asked.purpose, Purpose::Create { .. });
                let older = asked.purpose == Purpose::Update;
                return Ok(held(asked, holder, &mark, older || instance.unfinished));
            }
            continue;
        };
        let found = LeaseSays::of(&lease);
        if found.is_at_work(Timestamp::now(), &mut watched) {
            let time_left = asked
                .cluster
                .scope()
                .deadline
                .map(|deadline| deadline.into_std().saturating_duration_since(Clock::now()));
            if time_left.is_some_and(|left| left < FOR_WORDS) {
                return Err(at_work(asked, &found, began.elapsed()));
            }
            wait(asked.cluster).await?;
            // What was read of the cluster before is of the time when that run was at work.
            asked.cluster.forget();
            continue;
        }
        let is_own = asked.mark == Some(found.mark.as_str());
        let unfinished = !found.complete;
        // Who has no mark yet, by a new state or one that is older than marks, takes up what nobody finished.
        let may_take_up = asked.mark.is_none()
            && match asked.purpose {
                Purpose::Create { .. } => lease.annotation(COMPLETE_ANNOTATION) == Some(UNFINISHED),
                Purpose::Update => unfinished,
                Purpose::Destroy => false,
            };
        let may_take = is_own || asked.adopt || may_take_up;
        match (may_take, asked.purpose) {
            (false, Purpose::Destroy) => {
                let mut claim = unheld(asked);
                claim.other = Some(found.mark);
                return Ok(claim);
            }
            (false, _) => return Err(refused(asked, &lease, &found)),
            (true, _) => {}
        }
        // Its objects are taken up under the mark they have; what was another's to its end is taken over under a mark
        // of one's own.
        let mark = match (asked.mark, may_take_up || is_own) {
            (_, true) => found.mark.clone(),
            (Some(own), false) => own.to_owned(),
            (None, false) => new_mark().map_err(|error| no_randomness(&error))?,
        };
        if take(asked, &lease, &mark, &holder).await.map_err(failed)? {
            instance.marked |= matches!(asked.purpose, Purpose::Create { .. }) || is_own && is_marked(&lease);
            let interrupted = unfinished || found.holder != NOBODY || instance.unfinished;
            return Ok(held(asked, holder, &mark, interrupted));
        }
    }
}

async fn wait(cluster: &Cluster) -> Result<(), Diagnostic> {
    tokio::select! {
        () = cluster.scope().cancel.cancelled() => Err(Diagnostic::error("Interrupted").detail("The run was stopped while it waited for another run to end.")),
        () = tokio::time::sleep(PAUSE) => Ok(()),
    }
}

/// What a Lease says.
struct LeaseSays {
    mark: String,
    complete: bool,
    holder: String,
    renewed: String,
}

impl LeaseSays {
    fn of(lease: &Object) -> LeaseSays {
        LeaseSays {
            mark: lease.annotation(INSTANCE_ANNOTATION).unwrap_or_default().to_owned(),
            complete: is_complete(lease),
            holder: lease.str("spec.holderIdentity").to_owned(),
            renewed: lease.str("spec.renewTime").to_owned(),
        }
    }

    /// Whether its holder may be writing. `watched` remembers since when it has not been renewed.
    fn is_at_work(&self, now: Timestamp, watched: &mut Option<Watched>) -> bool {
        if [NOBODY, INTERRUPTED, ""].contains(&self.holder.as_str()) || Holder::is_gone(&self.holder) {
            return false;
        }
        let age = self.renewed.parse::<Timestamp>().ok().map(|at| now.duration_since(at));
        if age.is_some_and(|age| age.as_secs() > i64::try_from(LONG_AGO.as_secs()).unwrap_or(i64::MAX)) {
            return false;
        }
        let same = watched.as_ref().filter(|watched| watched.renewed == self.renewed && watched.holder == self.holder);
        match same {
            Some(watched) => watched.since.elapsed() < GONE_AFTER,
            None => {
                *watched =
                    Some(Watched { since: Clock::now(), renewed: self.renewed.clone(), holder: self.holder.clone() });
                true
            }
        }
    }
}

struct Watched {
    since: Clock,
    renewed: String,
    holder: String,
}

/// The usual case in one request: the Lease is there, ours and nobody's at the moment.
async fn reclaim(asked: Asked<'_>, mark: &str, holder: &Holder) -> Result<Option<Object>, Error> {
    let operations = json!([
        { "op": "test", "path": pointer(INSTANCE_ANNOTATION), "value": mark },
        { "op": "test", "path": "/spec/holderIdentity", "value": NOBODY },
        { "op": "replace", "path": "/spec", "value": lease_spec(&holder.name, Timestamp::now()) },
    ]);
    Ok(match asked.cluster.patch_if(&asked.place.lease(), &operations).await? {
        Patched::Done(lease) => Some(*lease),
        Patched::Refused | Patched::Absent => None,
    })
}

async fn look(asked: Asked<'_>) -> Result<Option<Object>, Error> {
    Ok(asked.cluster.get(&asked.place.lease()).await?.filter(|lease| !lease.is_terminating()))
}

async fn make(asked: Asked<'_>, mark: &str, holder: &Holder) -> Result<bool, Error> {
    let complete = if asked.purpose == Purpose::Update { MARKING } else { UNFINISHED };
    let object = asked.place.object(mark, complete, lease_spec(&holder.name, Timestamp::now()));
    match asked.cluster.apply_new(&object).await {
        Ok(made) => Ok(made.is_some()),
        // Where there is no namespace no other instance can be.
        Err(error) if error.is_not_found() => {
            let (namespace, label) = (asked.place.namespace, asked.place.label);
            match asked.purpose {
                Purpose::Create { in_new_namespace: NewNamespace::Made } => {
                    namespace::ensure(asked.cluster, namespace, label).await?;
                }
                Purpose::Create { in_new_namespace: NewNamespace::MadeWithoutPods } => {
                    namespace::ensure_without_pods(asked.cluster, namespace, label).await?;
                }
                _ => return Err(error),
            }
            Ok(asked.cluster.apply_new(&object).await?.is_some())
        }
        Err(error) => Err(error),
    }
}

/// Takes a Lease that nobody holds any more, if it is still as it was looked at.
async fn take(asked: Asked<'_>, lease: &Object, mark: &str, holder: &Holder) -> Result<bool, Error> {
    let operations = json!([
        { "op": "test", "path": "/metadata/resourceVersion", "value": lease.resource_version().unwrap_or_default() },
        { "op": "replace", "path": "/spec", "value": lease_spec(&holder.name, Timestamp::now()) },
        { "op": "add", "path": pointer(INSTANCE_ANNOTATION), "value": mark },
    ]);
    Ok(matches!(asked.cluster.patch_if(&asked.place.lease(), &operations).await?, Patched::Done(_)))
}

/// The path of an annotation, for a patch.
pub(super) fn pointer(annotation: &str) -> String {
    format!("/metadata/annotations/{}", annotation.replace('~', "~0").replace('/', "~1"))
}

fn held(asked: Asked<'_>, holder: Holder, mark: &str, interrupted: bool) -> Claim {
    let lost = asked.cluster.scope().cancel.child_token();
    let over = CancellationToken::new();
    let cluster = asked.cluster.until(lost.clone());
    let renewal = Renewal { cluster: asked.cluster.clone(), lease: asked.place.lease(), holder: holder.name.clone() };
    tokio::spawn(renewal.run(over.clone(), lost));
    let hold = Some(Hold { holder, renewal: Some(over.drop_guard()) });
    let mut claim = unheld(asked);
    (claim.cluster, claim.interrupted, claim.hold) = (cluster, interrupted, hold);
    claim.owner.mark = mark.to_owned();
    claim
}

/// A destroy where there is no Lease, or another instance's: it removes what carries its own mark and nothing else.
fn unheld(asked: Asked<'_>) -> Claim {
    Claim {
        cluster: asked.cluster.clone(),
        lease: asked.place.lease(),
        owner: Owner {
            label: asked.place.label.to_owned(),
            mark: asked.mark.unwrap_or_default().to_owned(),
            unmarked: true,
        },
        namespace: asked.place.namespace.to_owned(),
        all_marked: false,
        interrupted: true,
        other: None,
        hold: None,
    }
}

/// Says again and again that the holder is at work.
struct Renewal {
    cluster: Cluster,
    lease: ObjectRef,
    holder: String,
}

impl Renewal {
    async fn run(self, over: CancellationToken, lost: CancellationToken) {
        let mut renewed = Clock::now();
        loop {
            tokio::select! {
                () = over.cancelled() => return,
                () = tokio::time::sleep(RENEWED_EVERY) => {}
            }
            let operations = json!([
                { "op": "test", "path": "/spec/holderIdentity", "value": self.holder },
                { "op": "replace", "path": "/spec/renewTime", "value": time(Timestamp::now()) },
            ]);
            let patched = tokio::select! {
                () = over.cancelled() => return,
                patched = tokio::time::timeout(RENEWED_EVERY, self.cluster.patch_if(&self.lease, &operations)) => patched,
            };
            match patched {
                Ok(Ok(Patched::Done(_))) => renewed = Clock::now(),
                // Others write the Lease only once it is theirs. Gone with its namespace it keeps nobody out any more.
                Ok(Ok(Patched::Refused | Patched::Absent)) => return lost.cancel(),
                Ok(Err(_)) | Err(_) if renewed.elapsed() < GONE_AFTER => {}
                // By now another run may think that this one is gone.
                Ok(Err(_)) | Err(_) => return lost.cancel(),
            }
        }
    }
}

fn lease_spec(holder: &str, now: Timestamp) -> serde_json::Value {
    json!({ "holderIdentity": holder, "leaseDurationSeconds": GONE_AFTER.as_secs(), "renewTime": time(now) })
}

/// The form of a Lease's times.
fn time(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

fn no_randomness(error: &io::Error) -> Diagnostic {
    Diagnostic::error("No randomness").detail(format!("The operating system gave no random bytes for the mark of this instance: {error}. Nothing was written. Apply again."))
}

fn at_work(asked: Asked<'_>, found: &LeaseSays, waited: Duration) -> Diagnostic {
    let Asked { cluster, place, .. } = asked;
    Diagnostic::error(format!("Another run is at work on {} {}", place.resource, place.id)).detail(format!(
        "{} holds {} in cluster {} and renews it; {} seconds of waiting have not changed that. Nothing was written. Wait until that run has ended, then apply again.",
        Holder::shown(&found.holder),
        place.lease(),
        cluster.name(),
        waited.as_secs()
    ))
}

fn refused(asked: Asked<'_>, lease: &Object, found: &LeaseSays) -> Diagnostic {
    let Asked { cluster, place, purpose, .. } = asked;
    let since = lease.creation_timestamp().unwrap_or("an unknown time");
    let whose =
        format!("{} in cluster {} says so: instance {}, made {since}.", place.lease(), cluster.name(), found.mark);
    let import =
        format!("import {{\n  to = {}.NAME # the address of this resource\n  id = {:?}\n}}", place.resource, place.id);
    if purpose == Purpose::Update {
        return Diagnostic::error(format!("{} {} was taken over", place.resource, place.id))
            .detail(format!(
                "It belongs to another instance by now, which another state or another block manages. {whose} Nothing was written.\n\nRemove this resource from state \
                 (`removed` block or `state rm`) if the other is to keep it. To take it back, set `adopt = true`."
            ))
            .at(Path::root("adopt"));
    }
    Diagnostic::error(format!("{} {} exists already", place.resource, place.id))
        .detail(format!(
            "It belongs to another instance of this resource, which another state or another block manages. {whose} Nothing was written.\n\n\
             If this apply replaces the resource, `create_before_destroy` is in effect: it is set in the `lifecycle` of this resource, or in that of a resource that refers to this one, from where Terraform spreads it. Two instances cannot have one id at the same time. Remove `create_before_destroy` there, or give the new instance another name or place.\n\n\
             To manage the instance that is there, import it:\n\n{import}\n\n\
             To take it over from whoever manages it now, set `adopt = true`."
        ))
        .at(Path::root("adopt"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_is_not_renewed_is_given_up_in_time_and_not_at_once() {
        let now = Timestamp::from_second(1_750_000_000).unwrap();
        let found = |age: i64| LeaseSays {
            mark: "m".into(),
            complete: false,
            holder: "elsewhere/1/m/x".into(),
            renewed: (now - jiff::SignedDuration::from_secs(age)).to_string(),
        };
        let mut watched = None;
        assert!(found(30).is_at_work(now, &mut watched), "its clock may be another");
        watched = watched.map(|watched| Watched { since: Clock::now() - GONE_AFTER, ..watched });
        let renewed = watched.as_ref().unwrap().renewed.clone();
        assert!(!LeaseSays { renewed, ..found(30) }.is_at_work(now, &mut watched));
        assert!(!found(3600).is_at_work(now, &mut None));
        assert!(!LeaseSays { holder: NOBODY.into(), ..found(0) }.is_at_work(now, &mut None));
    }
}
