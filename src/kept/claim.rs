//! The right to write an instance's objects. The instance's Lease gives it to one run at a time, and says whether a
//! first apply has come to its end.
//!
//! A create that finds a Lease belongs to one of three stories. Its holder renews it: another run is at work, and this
//! one waits. Nobody renews it (`lease.rs`, `holder.rs`) and it is not complete: a first apply was killed, and this
//! create takes up what it left. It is complete: the instance is another state's, another block's, or the one that this
//! create is to replace; then nothing is written. Between being made and being complete lies [`handover`].

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant as Clock};

use serde_json::json;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::holder::{Holder, new_mark, no_randomness};
use super::instance::{
    COMPLETE_ANNOTATION, COMPLETED, CREATION_ANNOTATION, Instance, MADE, MARKING, Place, UNFINISHED, created_by,
    is_marked,
};
use super::lease::{self, LeaseSays, NOBODY, Renewal, WRITING, Watched, pointer};
use super::namespace::{self, Departed};
use super::refused::{Before, Fresh, Refused};
use super::{claim_words as words, handover, report};
use crate::cluster::{Cluster, Delete, Error, INSTANCE_ANNOTATION, Kind, Object, ObjectRef, Owner, Patched, Why};
use crate::diag::Diagnostic;

const PAUSE: Duration = Duration::from_millis(500);
/// How long a create waits for the end of a run that has begun before its own: long enough for one that has been
/// refused to come to its end.
const FOR_THE_OLDER: Duration = Duration::from_secs(15);
/// Kept back of the time allowed, to say whom it was waited for.
const FOR_WORDS: Duration = Duration::from_secs(5);

/// What a claim is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// There is no state: whatever is there already is somebody else's, unless nobody finished it.
    Create {
        in_new_namespace: NewNamespace,
        /// Whether it takes up what a killed run has made to its end. Not where whoever made it may know a key.
        trusts_what_is_made: bool,
    },
    Update {
        in_new_namespace: NewNamespace,
    },
    Destroy,
}

/// What is done where the namespace does not exist; of an update, where somebody has deleted it.
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
    /// In which another instance's objects are looked for, to name them where it is refused.
    pub kinds: &'a [Kind],
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
    /// The instance is being made: no state knows it yet, and the next create may take it up.
    creates: bool,
    /// What this create has made so far, where it began with nothing.
    fresh: Option<Fresh>,
    /// What the Lease said, where it was another instance's or nobody's to its end.
    before: Option<Before>,
    /// Objects are written, or may have been.
    writes: AtomicBool,
    /// At a destroy: the mark of another instance that has taken this one over.
    other: Option<String>,
    /// At a destroy: another create has taken the instance up, with its mark.
    owns_nothing: bool,
    /// What is to be said of what was claimed.
    pub notice: Option<Diagnostic>,
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
        if prior.is_some() {
            Purpose::Update { in_new_namespace: NewNamespace::Made }
        } else {
            Purpose::Create { in_new_namespace: NewNamespace::Made, trusts_what_is_made: true }
        }
    }
}

impl Claim {
    /// The same cluster; its requests end when another run has taken the instance over.
    pub fn cluster(&self) -> Cluster {
        self.cluster.clone()
    }

    /// Objects are written from here on: a create that fails leaves its Lease, by which the next one finds them.
    pub fn begin(&self) {
        self.writes.store(true, Ordering::Relaxed);
    }

    /// The apply was refused. A create that has written nothing leaves nothing: its Lease goes again, and a namespace
    /// that it has made. A Lease that was another's says again what it said. The warning says what stays all the same.
    pub async fn refused(mut self, instance: &mut Instance) -> Option<Diagnostic> {
        if self.has_written() || self.fresh.is_none() && self.before.is_none() {
            return None;
        }
        if self.fresh.is_some() {
            // What goes here was not taken away by anybody.
            instance.claimed = None;
        }
        if let Some(before) = &self.before {
            instance.creation.clone_from(&before.remembered);
        }
        let (refused, hold) = self.given_back()?;
        let stays = refused.give_back().await;
        drop(hold);
        report::left(&stays.into_iter().collect::<Vec<_>>())
    }

    fn has_written(&self) -> bool {
        self.writes.load(Ordering::Relaxed)
    }

    /// What is to be given back by a run that did not come to its end, once.
    fn given_back(&mut self) -> Option<(Refused, Hold)> {
        let (fresh, before) = match self.has_written() {
            true => (None, None),
            false => (self.fresh.take(), self.before.take()),
        };
        let hold = self.hold.take()?;
        let (cluster, lease, holder) = (self.cluster.clone(), self.lease.clone(), hold.holder.name.clone());
        Some((Refused { cluster, lease, holder, fresh, before }, hold))
    }

    /// At a destroy: what says that the instance is another's by now. `None` where it is this one's, or nobody has
    /// marked it.
    pub fn taken_over_by(&self) -> Option<String> {
        let mark = self.other.as_ref()?;
        let says = match self.owns_nothing {
            true => format!("names a later create of the same mark, {mark}"),
            false => format!("carries the mark {mark}"),
        };
        Some(format!("{} in cluster {} {says}", self.lease, self.cluster.name()))
    }

    /// The apply has come to its end: everything is marked, the instance is complete, and others may write. One that
    /// was just made stays with this process until a state knows it: see [`handover`]. The warning says that its Lease
    /// could not be told.
    pub async fn finish(mut self, instance: &mut Instance) -> Option<Diagnostic> {
        instance.finish();
        let hold = self.hold.take()?;
        let holder = &hold.holder.name;
        let operations = if self.creates { lease::says_made(holder) } else { lease::completes(holder) };
        let why = match self.cluster.patch_if(&self.lease, &operations).await {
            Ok(Patched::Done(_)) => {
                if self.creates {
                    instance.made = Some(lease::now(&self.cluster).as_second());
                    handover::keep(&self.cluster, &self.lease, &self.owner.mark, hold.holder);
                }
                return None;
            }
            Ok(Patched::Refused) => "another run has taken it meanwhile".to_owned(),
            Ok(Patched::Absent) => "somebody has deleted it meanwhile".to_owned(),
            Err(error) => error.to_string(),
        };
        instance.unfinished = true;
        Some(Diagnostic::warning(format!("{} could not be given back", self.lease)).detail(format!(
            "The apply is done, but the Lease was not given back: {why}. The next plan shows an update; apply it to give the Lease back."
        )))
    }

    /// Makes the Lease of an instance that goes on in another place, where nobody holds it. `false` where another
    /// instance has the name there.
    pub async fn moves_to(&self, cluster: &Cluster, place: Place<'_>, instance: &Instance) -> Result<bool, Error> {
        let mark = self.owner.mark.as_str();
        let mut lease = place.object(mark, COMPLETED, json!({ "holderIdentity": NOBODY }));
        if let Some(creation) = &instance.creation {
            lease = lease.with_annotation(CREATION_ANNOTATION, creation);
        }
        if cluster.apply_new(&lease).await?.is_some() {
            return Ok(true);
        }
        // As an apply before this one may have made it.
        let there = cluster.get(&place.lease()).await?;
        Ok(there.is_some_and(|lease| lease.annotation(INSTANCE_ANNOTATION) == Some(mark)))
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
        let Some((refused, hold)) = self.given_back() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                // Whether it arrives or not: the Lease runs out.
                drop(refused.give_back().await);
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
    instance.claimed = Some(claim.owner.mark.clone());
    Ok(claim)
}

async fn claimed(asked: Asked<'_>, instance: &mut Instance) -> Result<Claim, Diagnostic> {
    let began = Clock::now();
    let holder = Holder::new().map_err(|error| no_randomness(&error))?;
    let (mut watched, mut met): (Option<Watched>, Option<Clock>) = (None, None);
    let (mut first, mut tried) = (true, false);
    let failed = |error: Error| match asked.purpose {
        Purpose::Destroy => report::one_at_destroy(&error, report::way_out(asked.place.resource)),
        Purpose::Create { .. } | Purpose::Update { .. } => error.into(),
    };
    if let Some(mark) = asked.mark {
        handover::complete(mark).await;
    }
    loop {
        let lease = match (std::mem::take(&mut first), asked.mark, asked.purpose) {
            (true, Some(mark), Purpose::Update { .. } | Purpose::Destroy) => {
                let creation = instance.creation.as_deref();
                if let Some(lease) = reclaim(asked, mark, creation, &holder).await.map_err(failed)? {
                    instance.marked |= is_marked(&lease);
                    instance.creation = instance.creation.take().or_else(|| created_by(&lease));
                    return Ok(held(asked, holder, mark, instance.unfinished));
                }
                look(asked).await.map_err(failed)?
            }
            // Most likely there is none: it is tried before it is looked.
            (true, _, Purpose::Create { .. } | Purpose::Update { .. }) => None,
            _ => look(asked).await.map_err(failed)?,
        };
        let Some(lease) = lease else {
            if asked.purpose == Purpose::Destroy {
                return Ok(unheld(asked));
            }
            let mark = asked.mark.map_or_else(drawn, |mark| Ok(mark.to_owned()))?;
            let creates = matches!(asked.purpose, Purpose::Create { .. });
            // A state that is older than the names of creates gets one with its Lease.
            let creation = instance.creation.clone().filter(|_| !creates).map_or_else(drawn, Ok)?;
            if let Some(fresh) = make(asked, &mark, &creation, &holder).await.map_err(failed)? {
                instance.creation = Some(creation);
                instance.marked |= creates;
                let older = matches!(asked.purpose, Purpose::Update { .. });
                let mut claim = held(asked, holder, &mark, older || instance.unfinished);
                claim.fresh = creates.then_some(fresh);
                return Ok(claim);
            }
            // Somebody was quicker, which the next look shows; or it is on its way out, and something keeps it.
            if std::mem::replace(&mut tried, true) {
                wait(asked.cluster).await?;
            }
            continue;
        };
        let found = LeaseSays::of(&lease);
        let standing = standing(asked, instance, &lease, &found, &mut watched);
        match (standing, asked.purpose) {
            (Standing::AtWork, _) => {
                let deadline = asked.cluster.scope().deadline;
                let time_left = deadline.map(|deadline| deadline.into_std().saturating_duration_since(Clock::now()));
                if time_left.is_some_and(|left| left < FOR_WORDS) {
                    return Err(words::at_work((asked.cluster, asked.place), &found, began.elapsed()));
                }
                wait(asked.cluster).await?;
                // What was read of the cluster before is of the time when that run was at work.
                asked.cluster.forget();
                continue;
            }
            (Standing::Beside, _) if waits_for(asked, &found, *met.get_or_insert_with(Clock::now)) => {
                wait(asked.cluster).await?;
                asked.cluster.forget();
                continue;
            }
            (Standing::Anothers, Purpose::Destroy) => return Ok(of_another(asked, found.mark)),
            (Standing::Anothers | Standing::Beside, _) => {
                let is_another_run = !Holder::is_of_this_run(&found.holder);
                if standing == Standing::Beside || found.is_of_now(asked.cluster) && is_another_run {
                    handover::give_up();
                }
                let is_update = matches!(asked.purpose, Purpose::Update { .. });
                return Err(words::refused((asked.cluster, asked.place), asked.kinds, is_update, &lease).await);
            }
            (Standing::Own | Standing::LeftBehind | Standing::Adopted, _) => {}
        }
        // Its objects are taken up under the mark they have; what was another's to its end is taken over under a mark
        // of one's own.
        let mark = match (standing, asked.mark) {
            (Standing::Adopted, Some(own)) => own.to_owned(),
            (Standing::Adopted, None) => drawn()?,
            _ => found.mark.clone(),
        };
        let creation = match standing {
            Standing::Own => instance.creation.clone().or_else(|| created_by(&lease)),
            _ => Some(drawn()?),
        };
        if take(asked, &lease, Taken { mark: &mark, creation: creation.as_deref() }, &holder).await.map_err(failed)? {
            let is_marked = standing == Standing::Own && is_marked(&lease);
            instance.marked |= matches!(asked.purpose, Purpose::Create { .. }) || is_marked;
            let remembered = std::mem::replace(&mut instance.creation, creation);
            let interrupted = !found.complete || found.holder != NOBODY || instance.unfinished;
            let mut claim = held(asked, holder, &mark, interrupted);
            claim.before = (standing != Standing::Own).then(|| {
                // A state without a mark that comes to know this one knows the create that the Lease names.
                let remembered = if asked.mark.is_some() { remembered } else { created_by(&lease) };
                Before::of(&lease, remembered)
            });
            let was_made = standing == Standing::LeftBehind && found.complete;
            claim.notice = was_made.then(|| words::taken_up((asked.cluster, asked.place), &found));
            return Ok(claim);
        }
        wait(asked.cluster).await?;
    }
}

/// What a Lease that is there means to who asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Its holder may be writing: it is waited for.
    AtWork,
    /// Another run has made it, and is still there.
    Beside,
    /// It is of the instance that state knows.
    Own,
    /// Nobody finished it, or nobody can have written down that it is finished.
    LeftBehind,
    /// It is another instance's, and `adopt` takes it over.
    Adopted,
    Anothers,
}

fn standing(
    asked: Asked<'_>,
    instance: &Instance,
    lease: &Object,
    found: &LeaseSays,
    watched: &mut Option<Watched>,
) -> Standing {
    let now = asked.cluster.now();
    let is_held = found.is_at_work(now, watched);
    let said = lease.annotation(COMPLETE_ANNOTATION);
    let is_own = asked.mark == Some(found.mark.as_str()) && instance.may_be_of(lease);
    let is_alive = watched.as_ref().is_some_and(|watched| watched.is_alive);
    // Whoever made it writes nothing more but that it is complete. It is waited for only to see whether it is there.
    let writes = said != Some(MADE) || !is_own && !asked.adopt && !is_alive;
    if is_held && writes {
        return Standing::AtWork;
    }
    let creates = matches!(asked.purpose, Purpose::Create { .. }) && !is_own && !asked.adopt;
    if creates && is_held && said == Some(MADE) && !Holder::is_of_this_run(&found.holder) {
        return Standing::Beside;
    }
    // Who has no mark yet, by a new state or one that is older than marks, takes up what nobody finished.
    let left_behind = asked.mark.is_none()
        && match asked.purpose {
            Purpose::Create { trusts_what_is_made, .. } if said == Some(MADE) => {
                trusts_what_is_made && !is_held && handover::may_be_taken_up(lease, now)
            }
            Purpose::Create { .. } => said == Some(UNFINISHED),
            Purpose::Update { .. } => !found.complete,
            Purpose::Destroy => false,
        };
    match (is_own, left_behind, asked.adopt) {
        (true, ..) => Standing::Own,
        (_, true, _) => Standing::LeftBehind,
        (.., true) => Standing::Adopted,
        _ => Standing::Anothers,
    }
}

/// Whether a create waits for the end of a run that has made the instance beside it. That run may be refused where this
/// one was first, and then gives up what it has made. Where each waits for the other, the one that began later is
/// refused.
fn waits_for(asked: Asked<'_>, found: &LeaseSays, since: Clock) -> bool {
    let deadline = asked.cluster.scope().deadline;
    let time_left = deadline.map(|deadline| deadline.into_std().saturating_duration_since(Clock::now()));
    let has_time = time_left.is_none_or(|left| left >= FOR_WORDS);
    has_time && (lease::began(asked.cluster) < found.begun.as_str() || since.elapsed() < FOR_THE_OLDER)
}

/// At a destroy: the instance is another's by now.
fn of_another(asked: Asked<'_>, mark: String) -> Claim {
    let mut claim = unheld(asked);
    if asked.mark == Some(mark.as_str()) {
        // Another create has taken it up: what has the mark is what that one made.
        (claim.owner.mark, claim.owner.unmarked, claim.owns_nothing) = (String::new(), false, true);
    }
    claim.other = Some(mark);
    claim
}

/// A mark, or the name of a create.
fn drawn() -> Result<String, Diagnostic> {
    new_mark().map_err(|error| no_randomness(&error))
}

async fn wait(cluster: &Cluster) -> Result<(), Diagnostic> {
    tokio::select! {
        () = cluster.scope().cancel.cancelled() => Err(Diagnostic::error("Interrupted").detail("The run was stopped while it waited for another run to end.")),
        () = tokio::time::sleep(PAUSE) => Ok(()),
    }
}

/// The usual case in one request: the Lease is there, ours and nobody's at the moment.
async fn reclaim(
    asked: Asked<'_>,
    mark: &str,
    creation: Option<&str>,
    holder: &Holder,
) -> Result<Option<Object>, Error> {
    let mut operations = vec![
        json!({ "op": "test", "path": pointer(INSTANCE_ANNOTATION), "value": mark }),
        json!({ "op": "test", "path": "/spec/holderIdentity", "value": NOBODY }),
    ];
    if let Some(creation) = creation {
        operations.push(json!({ "op": "test", "path": pointer(CREATION_ANNOTATION), "value": creation }));
    }
    operations.push(json!({ "op": "replace", "path": "/spec", "value": lease::spec(&holder.name, asked.cluster) }));
    Ok(match asked.cluster.patch_if(&asked.place.lease(), &json!(operations)).await? {
        Patched::Done(lease) => Some(*lease),
        Patched::Refused | Patched::Absent => None,
    })
}

async fn look(asked: Asked<'_>) -> Result<Option<Object>, Error> {
    Ok(asked.cluster.get(&asked.place.lease()).await?.filter(|lease| !lease.is_terminating()))
}

/// `None` where there is a Lease by now.
async fn make(asked: Asked<'_>, mark: &str, creation: &str, holder: &Holder) -> Result<Option<Fresh>, Error> {
    let complete = if matches!(asked.purpose, Purpose::Update { .. }) { MARKING } else { UNFINISHED };
    let object = asked.place.object(mark, complete, lease::spec(&holder.name, asked.cluster));
    let object = object.with_annotation(CREATION_ANNOTATION, creation);
    match asked.cluster.apply_new(&object).await {
        Ok(made) => Ok(made.map(|_| Fresh { namespace: None })),
        // Where there is no namespace no other instance can be. One that goes is waited for, and made anew.
        Err(error) if error.is_not_found() || error.is_of_a_namespace_that_goes() => {
            let (namespace, label) = (asked.place.namespace, asked.place.label);
            let asked_for = match asked.purpose {
                Purpose::Create { in_new_namespace, .. } | Purpose::Update { in_new_namespace } => in_new_namespace,
                Purpose::Destroy => NewNamespace::Refused,
            };
            let is_made = match asked_for {
                NewNamespace::Made => namespace::ensure(asked.cluster, namespace, label).await?,
                NewNamespace::MadeWithoutPods => {
                    namespace::ensure_without_pods(asked.cluster, namespace, label).await?
                }
                NewNamespace::Refused => return Err(error),
            };
            let fresh = Fresh { namespace: is_made.then(|| namespace.to_owned()) };
            Ok(asked.cluster.apply_new(&object).await?.map(|_| fresh))
        }
        Err(error) => Err(error),
    }
}

/// What a Lease that is taken says from then on.
struct Taken<'a> {
    mark: &'a str,
    creation: Option<&'a str>,
}

/// Takes a Lease that nobody holds any more, if it is still as it was looked at.
async fn take(asked: Asked<'_>, lease: &Object, taken: Taken<'_>, holder: &Holder) -> Result<bool, Error> {
    let Taken { mark, creation } = taken;
    let mut operations = vec![
        json!({ "op": "test", "path": "/metadata/resourceVersion", "value": lease.resource_version().unwrap_or_default() }),
        json!({ "op": "replace", "path": "/spec", "value": lease::spec(&holder.name, asked.cluster) }),
        json!({ "op": "add", "path": pointer(INSTANCE_ANNOTATION), "value": mark }),
    ];
    if let Some(creation) = creation {
        operations.push(json!({ "op": "add", "path": pointer(CREATION_ANNOTATION), "value": creation }));
    }
    if lease.annotation(COMPLETE_ANNOTATION) == Some(MADE) {
        // A state that has the mark knows the instance; a create begins again.
        let said = if asked.mark == Some(mark) { COMPLETED } else { UNFINISHED };
        operations.push(json!({ "op": "add", "path": pointer(COMPLETE_ANNOTATION), "value": said }));
    }
    Ok(matches!(asked.cluster.patch_if(&asked.place.lease(), &json!(operations)).await?, Patched::Done(_)))
}

fn held(asked: Asked<'_>, holder: Holder, mark: &str, interrupted: bool) -> Claim {
    let lost = asked.cluster.scope().cancel.child_token();
    let over = CancellationToken::new();
    let why = Why::default();
    let cluster = asked.cluster.until(lost.clone(), why.clone());
    let renewal = Renewal {
        cluster: asked.cluster.clone(),
        lease: asked.place.lease(),
        holder: holder.name.clone(),
        pace: WRITING,
        why,
    };
    tokio::spawn(renewal.run(over.clone(), lost));
    let hold = Some(Hold { holder, renewal: Some(over.drop_guard()) });
    let mut claim = unheld(asked);
    (claim.cluster, claim.interrupted, claim.hold) = (cluster, interrupted, hold);
    // What nobody takes up once it is made need not wait for a state to know it.
    claim.creates = matches!(asked.purpose, Purpose::Create { trusts_what_is_made: true, .. });
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
        creates: false,
        fresh: None,
        before: None,
        writes: AtomicBool::new(false),
        other: None,
        owns_nothing: false,
        notice: None,
        hold: None,
    }
}
