//! Brings a cluster to what a resource wants: applies, removes what is no longer wanted, and tells state what was reached.
//!
//! Shared by every resource that keeps objects; the only place where their objects are written. What is half done
//! when something fails is told exactly, so that the next apply goes on from there.

use std::collections::BTreeMap;

use super::namespace;
use super::objects::{Drift, Recorded, Spellings, Wanted, parse_key, state_key};
use crate::cluster::{
    Adoption, Applied, ApplyAll, Cluster, Delete, Error, Failure, Kind, OWNER_LABEL, Object, ObjectRef, Prune, Query,
};
use crate::diag::{Diagnostic, Diagnostics};
use crate::value::Path;

/// What to bring about in one cluster.
#[derive(Clone, Copy)]
pub struct Converge<'a> {
    pub cluster: &'a Cluster,
    pub wanted: &'a Wanted,
    /// What state says is there.
    pub prior: &'a Recorded,
    /// An apply of ours has reached it, to the end, and a refresh has looked since: what it says is as wanted is not written again.
    pub settled: bool,
    /// Value of the owner label.
    pub owner: &'a str,
    /// Take over what is someone else's.
    pub adopt: bool,
    /// Take fields that other managers hold.
    pub force: bool,
    /// Kinds in which an interrupted apply may have left objects that state does not know. None are looked at when empty.
    pub orphan_kinds: &'a [Kind],
}

/// What was reached; with errors, on the way.
#[derive(Debug, Default)]
pub struct Converged {
    pub recorded: Recorded,
    pub removed: Vec<String>,
    /// Objects that are no longer wanted and had to stay, and why.
    pub left: Vec<(String, String)>,
    pub errors: Vec<Error>,
}

/// Applies in the order of kinds, then removes what is no longer wanted. Spellings are noted on the way.
pub async fn converge(step: Converge<'_>, spellings: &mut Spellings) -> Converged {
    let mut reached = Converged { recorded: step.prior.clone(), ..Converged::default() };
    let (applied, errors) = apply(&step).await;
    // An apply that was interrupted has left at least one of the objects that come first.
    let resumed = applied.iter().any(|applied| !applied.created && applied.reference.kind != Kind::NAMESPACE);
    for applied in &applied {
        let key = state_key(&applied.reference);
        if let Some(entry) = step.wanted.get(&key) {
            reached.recorded.insert(&key, entry);
            spellings.note(&key, entry, &applied.object);
        }
    }
    reached.errors = errors;
    if reached.errors.is_empty() {
        let orphan_kinds = if resumed { step.orphan_kinds } else { &[] };
        remove(&step, orphan_kinds, spellings, &mut reached).await;
    }
    reached
}

async fn apply(step: &Converge<'_>) -> (Vec<Applied>, Vec<Error>) {
    let mut applied: Vec<Applied> = Vec::new();
    let mut objects = Vec::new();
    for (key, entry) in step.wanted.iter() {
        if step.settled && step.prior.holds(key, entry) && entry.reference.kind != Kind::NAMESPACE {
            continue;
        }
        if entry.reference.kind != Kind::NAMESPACE {
            objects.push(entry.object.clone());
            continue;
        }
        let written = step.prior.written(key);
        let share = namespace::Share { object: &entry.object, written: &written, owner: step.owner };
        match namespace::apply(step.cluster, share).await {
            Ok(made) => applied.push(made),
            Err(error) => return (applied, vec![error]),
        }
    }
    // To adopt is to take even what state names: an import names what is still someone else's.
    let known = step.prior.references().map(|(_, reference)| reference).filter(|_| !step.adopt);
    let ours = known.collect();
    let adoption = if step.adopt { Adoption::Take } else { Adoption::Refuse };
    match step.cluster.apply_all(ApplyAll { objects, ours, adoption, force: step.force }).await {
        Ok(all) => {
            applied.extend(all);
            (applied, Vec::new())
        }
        Err(failed) => {
            applied.extend(failed.applied);
            (applied, failed.errors)
        }
    }
}

async fn remove(step: &Converge<'_>, orphan_kinds: &[Kind], spellings: &mut Spellings, reached: &mut Converged) {
    let known: Vec<String> =
        reached.recorded.objects.keys().filter(|key| step.wanted.get(key).is_none()).cloned().collect();
    let mut doomed: BTreeMap<ObjectRef, String> =
        known.iter().filter_map(|key| Some((parse_key(key)?, key.clone()))).collect();
    if !orphan_kinds.is_empty() {
        let keep = step.wanted.iter().map(|(_, entry)| entry.reference.clone()).collect();
        let prune = Prune { owner: step.owner.to_owned(), kinds: orphan_kinds.to_vec(), namespace: None, keep };
        match step.cluster.prunable(&prune).await {
            Ok(orphans) => doomed.extend(orphans.into_iter().map(|orphan| (orphan.clone(), state_key(&orphan)))),
            Err(error) => reached.errors.push(error),
        }
    }
    let doomed = doomed.into_iter().map(|(reference, key)| Doomed { key, reference, live: None }).collect();
    for (key, outcome) in remove_all(step.cluster, doomed, step.owner, |_| None).await {
        match outcome {
            Ok(removal) => {
                reached.recorded.remove(&key);
                spellings.forget(&key);
                match removal {
                    Removal::Gone => reached.removed.push(key),
                    Removal::TakenOver => {}
                    Removal::Left(why) => reached.left.push((key, why)),
                }
            }
            Err(error) => reached.errors.push(error),
        }
    }
}

/// An object to remove, and what is known of it already.
pub struct Doomed {
    pub key: String,
    pub reference: ObjectRef,
    pub live: Option<Object>,
}

/// Removes objects, webhooks before what serves them: in the reverse of the order of an apply, a level at a time, and no further than a level that fails.
/// What `stays` gives a reason for stays.
pub async fn remove_all(
    cluster: &Cluster,
    mut doomed: Vec<Doomed>,
    owner: &str,
    stays: impl Fn(&Object) -> Option<String>,
) -> Vec<(String, Result<Removal, Error>)> {
    doomed.sort_by(|a, b| b.reference.kind.order.cmp(&a.reference.kind.order).then_with(|| a.key.cmp(&b.key)));
    let mut outcomes = Vec::new();
    for level in doomed.chunk_by(|a, b| a.reference.kind.order == b.reference.kind.order) {
        let removals = level.iter().map(|doomed| remove_live(cluster, doomed, owner, &stays));
        let level: Vec<_> =
            level.iter().map(|doomed| doomed.key.clone()).zip(futures::future::join_all(removals).await).collect();
        let failed = level.iter().any(|(_, outcome)| outcome.is_err());
        outcomes.extend(level);
        if failed {
            break;
        }
    }
    outcomes
}

/// What came of a removal.
pub enum Removal {
    Gone,
    /// It stays, and is now another resource's of this provider, as a tag that was moved.
    TakenOver,
    /// It stays, and is no longer ours.
    Left(String),
}

/// Removes an object unless another resource has taken it over, or it is a CustomResourceDefinition in use.
pub async fn remove_one(cluster: &Cluster, reference: &ObjectRef, owner: &str) -> Result<Removal, Error> {
    let doomed = Doomed { key: state_key(reference), reference: reference.clone(), live: None };
    remove_live(cluster, &doomed, owner, &|_| None).await
}

async fn remove_live(
    cluster: &Cluster,
    doomed: &Doomed,
    owner: &str,
    stays: &impl Fn(&Object) -> Option<String>,
) -> Result<Removal, Error> {
    let Doomed { reference, live, .. } = doomed;
    let live = match live {
        Some(live) => Some(live.clone()),
        None => cluster.get(reference).await?,
    };
    let Some(live) = live else { return Ok(Removal::Gone) };
    if live.label(OWNER_LABEL).is_some_and(|other| other != owner) {
        return Ok(Removal::TakenOver);
    }
    if reference.kind == Kind::NAMESPACE {
        return Ok(Removal::Left("it may hold what others put there".to_owned()));
    }
    if let Some(why) = stays(&live) {
        return Ok(Removal::Left(why));
    }
    if reference.kind == Kind::CUSTOM_RESOURCE_DEFINITION {
        let instances = cluster.instances(&live).await?;
        if !instances.is_empty() {
            return Ok(Removal::Left(in_use(&instances)));
        }
    }
    let delete = Delete { uid: live.uid().map(str::to_owned), ..Delete::new(reference.clone()) };
    cluster.delete(&delete).await?;
    Ok(Removal::Gone)
}

fn in_use(instances: &[ObjectRef]) -> String {
    let named: Vec<String> = instances.iter().take(3).map(ToString::to_string).collect();
    let more = if instances.len() > 3 { format!(" and {} more", instances.len() - 3) } else { String::new() };
    format!("it still has objects, which would be deleted with it: {}{more}", named.join(", "))
}

/// The live objects that state names: one request per kind, and one per object that does not carry our label yet.
pub async fn live(
    cluster: &Cluster,
    recorded: &Recorded,
    spellings: &Spellings,
) -> Result<BTreeMap<String, Object>, Error> {
    let mut by_kind: BTreeMap<Kind, Vec<(&str, ObjectRef)>> = BTreeMap::new();
    for (key, reference) in recorded.references() {
        by_kind.entry(reference.kind.clone()).or_default().push((key, reference));
    }
    let kinds = by_kind.into_iter().map(|(kind, references)| live_of_kind(cluster, kind, references, spellings));
    let found = futures::future::try_join_all(kinds).await?;
    Ok(found.into_iter().flatten().collect())
}

/// Objects with our label that state does not know: what an apply made that was killed before it could tell. Nothing is asked for that [`live`] has not asked for.
pub async fn strays(cluster: &Cluster, recorded: &Recorded, owner: &str) -> Result<Vec<String>, Error> {
    let kinds: std::collections::BTreeSet<Kind> = recorded.references().map(|(_, reference)| reference.kind).collect();
    let mut strays = Vec::new();
    for kind in kinds.into_iter().filter(|kind| *kind != Kind::NAMESPACE) {
        let listed = cluster.list(&labelled(&kind)).await?;
        let ours = listed.iter().filter(|object| object.label(OWNER_LABEL) == Some(owner));
        let keys = ours.map(|object| state_key(&object.reference_as(kind.clone())));
        strays.extend(keys.filter(|key| !recorded.objects.contains_key(key)));
    }
    Ok(strays)
}

/// All objects of a kind that any resource of this provider owns: one request for all of them. Of definitions only the metadata.
fn labelled(kind: &Kind) -> Query {
    let metadata_only = *kind == Kind::CUSTOM_RESOURCE_DEFINITION;
    Query { labels: OWNER_LABEL.to_owned(), metadata_only, ..Query::of(kind.clone()) }
}

async fn live_of_kind(
    cluster: &Cluster,
    kind: Kind,
    references: Vec<(&str, ObjectRef)>,
    spellings: &Spellings,
) -> Result<Vec<(String, Object)>, Error> {
    let metadata_only = kind == Kind::CUSTOM_RESOURCE_DEFINITION;
    let query = labelled(&kind);
    let listed = if kind == Kind::NAMESPACE { None } else { Some(cluster.list(&query).await?) };
    let listed: BTreeMap<(Option<&str>, &str), &Object> = listed
        .iter()
        .flat_map(|listed| listed.iter())
        .map(|object| ((object.namespace(), object.name()), object))
        .collect();
    let looks = references.into_iter().map(|(key, reference)| {
        let held = listed.get(&(reference.namespace.as_deref(), reference.name.as_str())).copied();
        let held = held.filter(|object| !metadata_only || spellings.is_settled(key, object)).cloned();
        async move {
            let object = if held.is_some() { held } else { cluster.get(&reference).await? };
            Ok(object.map(|object| (key.to_owned(), object)))
        }
    });
    Ok(futures::future::try_join_all(looks).await?.into_iter().flatten().collect())
}

/// What a failed request means to the user: whose fault it is, and what to do.
pub fn diagnostic(error: &Error) -> Diagnostic {
    let summary = match &error.failure {
        Failure::Conflict(_) => "Another field manager owns a field",
        Failure::Foreign(_) => "An object of this name exists already",
        Failure::Forbidden { .. } => "Not allowed in the cluster",
        Failure::Timeout(_) => "Not ready in time",
        Failure::Cancelled { .. } => "Interrupted",
        _ if error.is_unreachable() => "The cluster cannot be reached",
        _ if error.is_not_configured() => "The cluster's connection is not configured",
        Failure::UnknownCluster { .. } => "No such cluster",
        _ => "The cluster refused",
    };
    let diagnostic = Diagnostic::error(summary)
        .detail(format!("{}. {}", sentence(&error.to_string()), error.remedy()).trim().to_owned());
    match &error.failure {
        Failure::UnknownCluster { .. } => diagnostic.at(Path::root("cluster")),
        Failure::Foreign(_) => diagnostic.at(Path::root("adopt")),
        Failure::Conflict(_) => diagnostic.at(Path::root("force_conflicts")),
        _ => diagnostic,
    }
}

pub fn diagnostics<'a>(errors: impl IntoIterator<Item = &'a Error>) -> Diagnostics {
    errors.into_iter().map(diagnostic).collect()
}

/// A refresh that has to do without the cluster.
pub fn stale(error: &Error) -> Diagnostic {
    // Of several warnings with one summary Terraform shows the first alone.
    Diagnostic::warning(format!("Cluster {} cannot be read", error.cluster)).detail(format!(
        "{}. {} The plan goes on with what state remembers.",
        sentence(&error.to_string()),
        error.remedy()
    ))
}

/// One warning for what others changed, at most a dozen lines long.
pub fn drift_warning(id: &str, drifts: &[Drift]) -> Option<Diagnostic> {
    const SHOWN: usize = 12;
    if drifts.is_empty() {
        return None;
    }
    let mut lines: Vec<String> = drifts.iter().take(SHOWN).map(|drift| format!("- {}", drift_line(drift))).collect();
    if drifts.len() > SHOWN {
        lines.push(format!("- and {} more", drifts.len() - SHOWN));
    }
    Some(
        Diagnostic::warning(format!("Objects of {id} were changed outside of Terraform"))
            .detail(format!("{}\n\nThe plan shows what an apply would put back.", lines.join("\n"))),
    )
}

fn drift_line(drift: &Drift) -> String {
    let Some(path) = &drift.path else { return format!("{} is missing", drift.object) };
    let by = drift.manager.as_ref().map(|manager| format!(", by {manager}")).unwrap_or_default();
    match (&drift.was, &drift.is) {
        (Some(was), Some(is)) => format!("{}: {path} is {is:?} in place of {was:?}{by}", drift.object),
        (Some(was), None) => format!("{}: {path} was removed (was {was:?}){by}", drift.object),
        (None, is) => format!("{}: {path} was added ({:?}){by}", drift.object, is.as_deref().unwrap_or_default()),
    }
}

fn sentence(text: &str) -> String {
    let mut chars = text.trim_end_matches('.').chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
