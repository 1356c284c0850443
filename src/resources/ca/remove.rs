//! Taking things away: clusters that are no longer wanted, and the whole CA. No key stays behind; what could not be
//! removed is told.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{join, join_all};

use super::Cx;
use super::home::{self, Home};
use super::memory::Private;
use super::model::{Ca, ClusterCa};
use super::secret::{CaCerts, RootStore, request_in};
use super::spec::{Spec, StoreRef, owner, store_of};
use crate::cluster::{
    Cluster, Error, FIELD_MANAGER, INSTANCE_ANNOTATION, Kind, OWNER_LABEL, Object, ObjectRef, Owner, Query,
    is_managed_by,
};
use crate::diag::{Diagnostic, Diagnostics};
use crate::engine::Failed;
use crate::kept::claim::{Claim, Purpose};
use crate::kept::instance::Place;
use crate::kept::remove::{Doomed, Removed, Removing};
use crate::kept::{namespace, objects};
use crate::resources::client;
use crate::value::{Path, Value};

const STAYS: &str = "Something stays behind";

/// Removes what the prior state names and the spec does not. What fails stays in state, so that the next apply tries
/// again.
pub async fn no_longer_wanted(cx: &mut Cx, spec: &Spec, prior: Option<&Ca>, state: &mut Ca) -> Diagnostics {
    let Some(prior) = prior else { return Diagnostics::new() };
    let mark = state.instance.text().to_owned();
    let dropped: Vec<_> = prior.clusters.entries().filter(|(name, _)| !spec.clusters.contains_key(*name)).collect();
    let dropped = without_unreachable(cx, state, dropped).await;
    if dropped.is_empty() {
        return Diagnostics::new();
    }
    let shared: &Cx = cx;
    let wanted = spec.clusters.iter().map(|(name, cluster)| uid_of(shared, name, cluster.namespace.as_str()));
    let found = dropped.iter().map(|(name, model)| uid_of(shared, name, model.namespace.text()));
    let (wanted, found) = join(join_all(wanted), join_all(found)).await;
    // One that gives no answer, and is new, may be one of the dropped under another name.
    let mut newcomers =
        wanted.iter().zip(spec.clusters.keys()).filter(|(_, name)| prior.clusters.entry(name).is_none());
    let unseen = newcomers.any(|(uid, _)| uid.is_err());
    let wanted: BTreeSet<String> = wanted.into_iter().flatten().flatten().collect();
    let (mut doomed, mut stays, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for ((name, model), found) in dropped.into_iter().zip(found) {
        match found.map(|uid| fate(uid.as_deref(), &wanted, unseen)) {
            Ok(Fate::Stays) => stays.push(name.to_owned()),
            Ok(Fate::GoesOn) => {}
            Ok(Fate::Goes) => doomed.push((name, model)),
            // It may be what a cluster has under its new name.
            Err(error) => failures.push((name.to_owned(), error)),
        }
    }
    failures.extend(remove_clusters(cx, doomed, spec.root.store(), &mark).await);
    stays.extend(failures.iter().map(|(name, _)| name.clone()));
    for name in &stays {
        if let (Some(clusters), Some(cluster)) = (state.clusters.known_mut(), prior.clusters.entry(name)) {
            clusters.insert(name.clone(), Value::Known(cluster.clone()));
        }
    }
    failures.into_iter().map(|(_, diagnostic)| diagnostic).collect()
}

/// What becomes of the Secret of a cluster that the configuration names no longer.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// Whether it is one that goes on cannot be told.
    Stays,
    /// It is the same Secret, by another name of its cluster.
    GoesOn,
    Goes,
}

fn fate(uid: Option<&str>, wanted: &BTreeSet<String>, unseen: bool) -> Fate {
    match uid {
        Some(uid) if wanted.contains(uid) => Fate::GoesOn,
        _ if unseen => Fate::Stays,
        _ => Fate::Goes,
    }
}

/// The clusters that something can be removed from. Those that cannot be reached are left out where the configuration
/// says so, and told.
async fn without_unreachable<'a>(
    cx: &mut Cx,
    state: &Ca,
    clusters: Vec<(&'a str, &'a ClusterCa)>,
) -> Vec<(&'a str, &'a ClusterCa)> {
    if !skips(state) {
        return clusters;
    }
    let shared: &Cx = cx;
    let looks = clusters.iter().map(|(name, model)| async move {
        let cluster = match client::cluster(shared, name) {
            Ok(cluster) => cluster,
            Err(missing) => return Some(missing.detail),
        };
        let look = cluster.get_metadata(&CaCerts::reference(model.namespace.text())).await;
        look.err().filter(Error::may_be_gone).map(|error| error.to_string())
    });
    let looks = join_all(looks).await;
    let (mut reached, mut left) = (Vec::new(), Vec::new());
    for ((name, model), gone) in clusters.into_iter().zip(looks) {
        match gone {
            Some(error) => left.push(format!("- {name}, {}: {error}", CaCerts::reference(model.namespace.text()))),
            None => reached.push((name, model)),
        }
    }
    if !left.is_empty() {
        cx.warn(Diagnostic::warning("Clusters that cannot be reached were left as they are").detail(format!(
            "{}\n\nThey are no longer in state. Each may still have its intermediate, which can sign for the mesh until it ends. If its key may come into other hands, rotate the root: raise `root.generation`, or give another `root.certificate`.",
            left.join("\n")
        )));
    }
    reached
}

/// Whether it goes on without clusters that cannot be reached.
pub fn skips(state: &Ca) -> bool {
    state.skip_unreachable_on_destroy.get() == Some(true)
}

/// The uid of a cluster's `cacerts`, if it has one.
async fn uid_of(cx: &Cx, name: &str, namespace: &str) -> Result<Option<String>, Diagnostic> {
    let cluster = client::cluster(cx, name).map_err(|error| in_cluster(error, name))?;
    let found = cluster.get_metadata(&CaCerts::reference(namespace)).await;
    let found = found.map_err(|error| not_removed(&error, name))?;
    Ok(found.and_then(|secret| secret.uid().map(str::to_owned)))
}

/// Removes what an apply that was cut off has written for clusters that nobody asks for any more: state has never heard
/// of it.
pub async fn strays(cx: &mut Cx, state: &Ca) -> Diagnostics {
    let store = store_of(state);
    let found = strays_of(cx, state).await;
    let found = found.iter().map(|(name, model)| (name.as_str(), model)).collect();
    let failures = remove_clusters(cx, found, store.as_ref(), state.instance.text()).await;
    failures.into_iter().map(|(_, diagnostic)| diagnostic).collect()
}

/// Clusters, each with a namespace, that hold a Secret of this instance and are not in state. Two names of the
/// provider's `clusters` may be of one cluster: what state has under one of them is found by its uid under the other.
/// Where a cluster in state cannot be looked at, nothing is known to be a stray.
async fn strays_of(cx: &mut Cx, state: &Ca) -> Vec<(String, ClusterCa)> {
    let Ok(client) = cx.client().cloned() else { return Vec::new() };
    let mut unseen_in_state: BTreeSet<&str> = state.clusters.keys().collect();
    let (mut known, mut others) = (BTreeSet::new(), BTreeMap::new());
    for name in client.clusters.names() {
        let Ok(cluster) = client::cluster(cx, name) else { continue };
        let secrets = match cluster.list(&Query::of(Kind::SECRET).selector(OWNER_LABEL).metadata_only()).await {
            Ok(secrets) => secrets,
            Err(error) => {
                cx.warn(unseen(name, &error));
                continue;
            }
        };
        unseen_in_state.remove(name);
        let in_state = state.clusters.entry(name).map(|model| model.namespace.text());
        for secret in secrets.iter().filter(|secret| is_of(secret, state.instance.text())) {
            let (Some(uid), Some(place)) = (secret.uid(), secret.namespace()) else { continue };
            match in_state == Some(place) {
                true => drop(known.insert(uid.to_owned())),
                false => drop(others.insert(uid.to_owned(), (name.to_owned(), place.to_owned()))),
            }
        }
    }
    if !unseen_in_state.is_empty() {
        return Vec::new();
    }
    others.retain(|uid, _| !known.contains(uid));
    let found: BTreeSet<(String, String)> = others.into_values().collect();
    let model = |namespace: String| ClusterCa { namespace: namespace.into(), ..ClusterCa::default() };
    found.into_iter().map(|(name, namespace)| (name, model(namespace))).collect()
}

/// Whether a Secret is a cluster's intermediate or request of this instance, by its mark and by who wrote it. Its label
/// may be of a root that the CA had before.
fn is_of(secret: &Object, mark: &str) -> bool {
    let place = secret.namespace().unwrap_or_default();
    let is_clusters = [CaCerts::reference(place), request_in(place)].iter().any(|one| one.name == secret.name());
    is_clusters
        && secret.label(OWNER_LABEL).is_some_and(|label| label.starts_with("mesh_ca."))
        && secret.annotation(INSTANCE_ANNOTATION) == Some(mark)
        && is_managed_by(secret, FIELD_MANAGER)
}

fn unseen(name: &str, error: &Error) -> Diagnostic {
    Diagnostic::warning(format!("What an interrupted apply left in {name} is not known")).detail(format!(
        "An apply of this certificate authority was cut off. It may have written a Secret `cacerts` in cluster {name} for which there is no configuration any more: {error}. {}",
        error.remedy()
    ))
}

/// Destroys the CA: first the clusters' keys, then the root's. Namespaces go last and side by side, as each takes
/// Kubernetes some seconds; that of the Lease begins last.
pub async fn everything(cx: &mut Cx, mut state: Ca) -> Result<(), Failed<Ca>> {
    let store = store_of(&state);
    let claim = match super::claim(cx, &state, Purpose::Destroy, state.instance.as_deref()).await {
        Ok(claim) => claim,
        // Who is to go on without the cluster of the Lease cannot ask it whether another run is at work.
        Err(error) if skips(&state) && is_home_silent(cx, &state).await => {
            tracing::debug!("no claim on a cluster that does not answer: {error:?}");
            None
        }
        Err(error) => return Err(Failed::from(error)),
    };
    if let Some(why) = claim.as_ref().and_then(Claim::taken_over_by) {
        cx.warn(Diagnostic::warning("The certificate authority stays").detail(format!(
            "{why}: it belongs to another instance by now, which another state or block manages. Nothing of it was removed."
        )));
        return Ok(());
    }
    if claim.as_ref().is_some_and(|claim| claim.interrupted) {
        let errors = strays(cx, &state).await;
        if errors.has_errors() {
            return Err(Failed::from(errors).keeping(state));
        }
    }
    let all = without_unreachable(cx, &state, state.clusters.entries().collect()).await;
    let mut outcome =
        each(&all, |name, model| remove_keys(cx, name, model, store.as_ref(), state.instance.text())).await;
    let mut diagnostics = Diagnostics::new();
    let stores: BTreeSet<StoreRef> =
        store.clone().into_iter().chain(cx.private.former_stores(store.as_ref())).collect();
    for store in stores.iter().filter(|_| outcome.failures.is_empty()) {
        match root(cx, store, state.instance.text()).await {
            Ok(stays) => outcome.left.extend(stays.iter().map(|why| format!("- cluster {}: {why}", store.cluster))),
            Err(error) => diagnostics.push(error),
        }
    }
    let keyless: Vec<_> = all.into_iter().filter(|(name, _)| outcome.removed.iter().any(|gone| gone == name)).collect();
    let home = cx.private.home.clone();
    let place = home.as_ref().map(|home| (home.cluster.as_str(), home.namespace.as_str()));
    outcome.then(each(&keyless, |name, model| depart(cx, name, model, place)).await);
    // A run that is killed before the Lease goes leaves what the next destroy finds.
    let claim = claim.filter(|_| outcome.failures.is_empty() && diagnostics.is_empty());
    let last = async {
        match claim {
            Some(claim) => claim.leave(&[]).await.map_err(|error| in_store(&error)),
            None => Ok(None),
        }
    };
    let (gone, last) = join(each(&keyless, |name, model| gone(cx, name, model, place)), last).await;
    outcome.failures.extend(gone.failures);
    match (last, place) {
        (Ok(Some(why)), Some((name, namespace))) => {
            outcome.left.push(format!("- cluster {name}: Namespace {namespace}: {why}"));
        }
        (Ok(_), _) => {}
        (Err(error), _) => diagnostics.push(error),
    }
    if let Some(clusters) = state.clusters.known_mut() {
        outcome.removed.iter().for_each(|name| drop(clusters.remove(name)));
    }
    diagnostics.extend(outcome.told(cx).into_iter().map(|(_, diagnostic)| diagnostic));
    if diagnostics.is_empty() { Ok(()) } else { Err(Failed::from(diagnostics).keeping(state)) }
}

/// Whether the cluster that has the Lease gives no answer.
async fn is_home_silent(cx: &Cx, state: &Ca) -> bool {
    let Ok(Some(home)) = home::of(cx, state, state.instance.as_deref()).await else { return false };
    match client::cluster(cx, &home.cluster) {
        Ok(cluster) => !client::answers(&cluster).await,
        Err(_) => false,
    }
}

/// The CA has left the cluster that has its Lease: the Lease is made where the CA goes on, and the one before leaves
/// its namespace. What fails the next apply tries again.
pub async fn leave_home(cx: &mut Cx, claim: Claim, next: Home, state: Ca) -> Result<Ca, Failed<Ca>> {
    match moved(cx, claim, &next, &state).await {
        Ok(stays) => {
            let before = cx.private.home.replace(next);
            if let Some((home, why)) = before.zip(stays) {
                let told = format!("- cluster {}: Namespace {}: {why}", home.cluster, home.namespace);
                cx.warn(Diagnostic::warning(STAYS).detail(told));
            }
            cx.private.instance.finish();
            let places = super::places(&cx.private, [&state]);
            cx.private.instance.is_only_in(places.iter().map(String::as_str));
            Ok(state)
        }
        Err(error) => Err(Failed::from(error).keeping(state)),
    }
}

/// Returns why the namespace that is left stays, if it should not.
async fn moved(cx: &Cx, claim: Claim, next: &Home, state: &Ca) -> Result<Option<String>, Diagnostic> {
    let cluster = client::cluster(cx, &next.cluster)?;
    let id = super::id_of(state, next);
    let place = Place { resource: "mesh_ca", id: &id, namespace: &next.namespace, label: &next.label };
    namespace::ensure(&cluster, &next.namespace, &next.label).await?;
    if !claim.moves_to(&cluster, place, &cx.private.instance).await? {
        let (lease, namespace) = (place.lease(), &next.namespace);
        return Err(Diagnostic::error("The Lease of the certificate authority cannot move").at("clusters").detail(format!(
            "The cluster that had the Lease was taken out of `clusters`, so the Lease moves to namespace {namespace} of cluster {}. Another instance has {lease} there (`kubectl get leases -n {namespace}`). Everything else is done. If nobody uses the other instance any more, delete that Lease, then apply again.",
            next.cluster
        )));
    }
    Ok(claim.leave(&[]).await?)
}

/// Removes keys and namespaces of all these clusters; tells why those that failed are still there.
async fn remove_clusters(
    cx: &mut Cx,
    clusters: Vec<(&str, &ClusterCa)>,
    store: Option<&StoreRef>,
    mark: &str,
) -> Vec<(String, Diagnostic)> {
    let shared: &Cx = cx;
    let outcome = each(&clusters, |name, model| async move {
        let mut left = remove_keys(shared, name, model, store, mark).await?;
        let place = store.map(|store| (store.cluster.as_str(), store.namespace.as_str()));
        left.extend(depart(shared, name, model, place).await?);
        gone(shared, name, model, place).await?;
        Ok(left)
    })
    .await;
    outcome.told(cx)
}

/// What came of a step in several clusters.
#[derive(Default)]
struct Outcome {
    /// Clusters in which it was done.
    removed: Vec<String>,
    failures: Vec<(String, Diagnostic)>,
    /// What stays all the same, and why.
    left: Vec<String>,
}

impl Outcome {
    /// Goes on with the step after, taken where this one was done.
    fn then(&mut self, next: Outcome) {
        self.removed = next.removed;
        self.failures.extend(next.failures);
        self.left.extend(next.left);
    }

    /// Warns of what stays; the failures are returned.
    fn told(self, cx: &mut Cx) -> Vec<(String, Diagnostic)> {
        if !self.left.is_empty() {
            cx.warn(Diagnostic::warning(STAYS).detail(self.left.join("\n")));
        }
        self.failures
    }
}

/// Takes a step in all these clusters at once.
async fn each<'a, F>(clusters: &[(&'a str, &'a ClusterCa)], step: impl Fn(&'a str, &'a ClusterCa) -> F) -> Outcome
where
    F: Future<Output = Result<Vec<String>, Diagnostic>>,
{
    let mut outcome = Outcome::default();
    let steps = clusters.iter().map(|(name, model)| step(name, model));
    for ((name, _), done) in clusters.iter().zip(join_all(steps).await) {
        match done {
            Ok(stays) => {
                outcome.left.extend(stays.into_iter().map(|stays| format!("- cluster {name}: {stays}")));
                outcome.removed.push((*name).to_owned());
            }
            Err(diagnostic) => outcome.failures.push(((*name).to_owned(), diagnostic)),
        }
    }
    outcome
}

/// The cluster's intermediate and its open request. Returns what of it stays, and why.
async fn remove_keys(
    cx: &Cx,
    name: &str,
    model: &ClusterCa,
    store: Option<&StoreRef>,
    mark: &str,
) -> Result<Vec<String>, Diagnostic> {
    let cluster = client::cluster(cx, name).map_err(|error| in_cluster(error, name))?;
    let place = model.namespace.text();
    let owner = owner(store, place, mark);
    let removal = async {
        let mut left = Vec::new();
        for reference in [CaCerts::reference(place), request_in(place)] {
            let removed = remove_one(&cluster, &reference, &owner).await?;
            left.extend(removed.stays().map(|why| format!("{reference}: {why}")));
        }
        Ok(left)
    };
    removal.await.map_err(|error: Error| not_removed(&error, name))
}

fn not_removed(error: &Error, name: &str) -> Diagnostic {
    let diagnostic = Diagnostic::from(error);
    let advice = match error.may_be_gone() {
        true => format!(" If cluster {name} is gone for good, set `skip_unreachable_on_destroy = true` and apply."),
        false => String::new(),
    };
    let detail = format!("{}{advice}", diagnostic.detail);
    in_cluster(diagnostic.detail(detail), name)
}

/// Leaves the namespace that held them, unless it is the one in `place`, which holds something else as well. Returns
/// why it stays, if it should not.
async fn depart(
    cx: &Cx,
    name: &str,
    model: &ClusterCa,
    place: Option<(&str, &str)>,
) -> Result<Vec<String>, Diagnostic> {
    let namespace = model.namespace.text();
    if place == Some((name, namespace)) {
        return Ok(Vec::new());
    }
    let cluster = client::cluster(cx, name).map_err(|error| in_cluster(error, name))?;
    let stays = namespace::depart(&cluster, namespace, &[], None).await;
    let stays = stays.map_err(|error| in_cluster(Diagnostic::from(&error), name))?;
    Ok(stays.left.map(|why| format!("Namespace {namespace}: {why}")).into_iter().collect())
}

/// Waits for the end of a namespace that was left.
async fn gone(cx: &Cx, name: &str, model: &ClusterCa, place: Option<(&str, &str)>) -> Result<Vec<String>, Diagnostic> {
    let namespace = model.namespace.text();
    if place != Some((name, namespace)) {
        let cluster = client::cluster(cx, name).map_err(|error| in_cluster(error, name))?;
        let gone = namespace::gone(&cluster, namespace).await;
        gone.map_err(|error| in_cluster(Diagnostic::from(&error), name))?;
    }
    Ok(Vec::new())
}

fn in_cluster(diagnostic: Diagnostic, name: &str) -> Diagnostic {
    diagnostic.at(Path::root("clusters").key(name))
}

/// A Secret of roots, and the namespace that held it, unless the CA's Lease is there. Returns what of it stays, and
/// why.
pub async fn root(cx: &Cx, store: &StoreRef, mark: &str) -> Result<Vec<String>, Diagnostic> {
    let cluster = client::cluster(cx, &store.cluster)?;
    let (reference, namespace) = (RootStore::reference(store), &store.namespace);
    let removal = async {
        let owner = owner(Some(store), namespace, mark);
        let removed = remove_one(&cluster, &reference, &owner).await?;
        let mut left: Vec<String> = removed.stays().map(|why| format!("{reference}: {why}")).into_iter().collect();
        if !cx.private.home.as_ref().is_some_and(|home| home.is_in(&store.cluster, namespace)) {
            let departed = namespace::depart(&cluster, namespace, &[], None).await?;
            left.extend(departed.left.map(|why| format!("Namespace {namespace}: {why}")));
            if departed.goes {
                namespace::gone(&cluster, namespace).await?;
            }
        }
        Ok(left)
    };
    removal.await.map_err(|error: Error| in_store(&error))
}

async fn remove_one(cluster: &Cluster, reference: &ObjectRef, owner: &Owner) -> Result<Removed, Error> {
    let removing = Removing { cluster, owner, wait_for_definitions: false, stays: &|_: &Object| None };
    let key = objects::state_key(reference);
    removing.one(&Doomed { key, reference: reference.clone(), live: None, known: false }).await
}

fn in_store(error: &Error) -> Diagnostic {
    Diagnostic::from(error).at(Path::root("root").attr("store"))
}

/// What stops working, told before it does.
pub fn consequences(state: &Ca, memory: &Private) -> Diagnostic {
    let clusters: Vec<&str> = state.clusters.keys().collect();
    let store = store_of(state);
    let stores = store.clone().into_iter().chain(memory.former_stores(store.as_ref()));
    let root: String = stores
        .map(|store| {
            format!(" The root's key in {store} is deleted too: no certificate of this root can be made any more.")
        })
        .collect();
    Diagnostic::warning("The mesh loses its certificate authority").detail(format!(
        "The Secret cacerts is deleted in {}. A running istiod keeps what it has loaded until it restarts; then it makes a root of its own, and the clusters no longer trust each other.{root}",
        clusters.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cluster_has_under_its_new_name_is_not_removed_under_the_old_one() {
        let wanted = BTreeSet::from(["new".to_owned()]);
        for (uid, unseen, expected) in [
            (Some("new"), false, Fate::GoesOn),
            (Some("new"), true, Fate::GoesOn),
            (Some("old"), false, Fate::Goes),
            (Some("old"), true, Fate::Stays),
            (None, true, Fate::Stays),
            (None, false, Fate::Goes),
        ] {
            assert_eq!(fate(uid, &wanted, unseen), expected, "{uid:?} {unseen}");
        }
    }
}
