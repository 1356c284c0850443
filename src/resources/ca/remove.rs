//! Taking things away: clusters that are no longer wanted, and the whole CA. No key stays behind; what could not be removed is told.

use super::Cx;
use super::model::{Ca, ClusterCa};
use super::secret::{CaCerts, OpenRequest, RootStore};
use super::spec::{Spec, StoreRef, owner};
use crate::cluster::{Error, OWNER_LABEL};
use crate::diag::{Diagnostic, Diagnostics};
use crate::engine::Failed;
use crate::resources::converge::{self, Removal};
use crate::resources::namespace;
use crate::value::{Path, Value};

/// Removes what the prior state names and the spec does not. What fails stays in state, so that the next apply tries again.
pub async fn no_longer_wanted(cx: &mut Cx, spec: &Spec, prior: Option<&Ca>, state: &mut Ca) -> Diagnostics {
    let Some(prior) = prior else { return Diagnostics::new() };
    let dropped: Vec<_> = prior.clusters.entries().filter(|(name, _)| !spec.clusters.contains_key(*name)).collect();
    let (_, failures) = remove_clusters(cx, dropped, spec.root.store()).await;
    for (name, _) in &failures {
        if let (Some(clusters), Some(cluster)) = (state.clusters.known_mut(), prior.clusters.entry(name)) {
            clusters.insert(name.clone(), Value::Known(cluster.clone()));
        }
    }
    failures.into_iter().map(|(_, diagnostic)| diagnostic).collect()
}

/// Destroys the CA: first the clusters' intermediates, then the root.
pub async fn everything(cx: &mut Cx, mut state: Ca) -> Result<(), Failed<Ca>> {
    let store = store_of(&state);
    let (removed, failures) = remove_clusters(cx, state.clusters.entries().collect(), store.as_ref()).await;
    if let Some(clusters) = state.clusters.known_mut() {
        removed.iter().for_each(|name| drop(clusters.remove(name)));
    }
    let mut diagnostics: Diagnostics = failures.into_iter().map(|(_, diagnostic)| diagnostic).collect();
    if diagnostics.is_empty()
        && let Some(store) = &store
        && let Err(diagnostic) = remove_store(cx, store).await
    {
        diagnostics.push(diagnostic);
    }
    if diagnostics.is_empty() { Ok(()) } else { Err(Failed::from(diagnostics).keeping(state)) }
}

pub fn store_of(model: &Ca) -> Option<StoreRef> {
    StoreRef::of(model.root.known()?.store.known()?)
}

/// Removes the intermediates of all these clusters at once; tells whose are gone, and why the others' are not.
async fn remove_clusters(
    cx: &mut Cx,
    clusters: Vec<(&str, &ClusterCa)>,
    store: Option<&StoreRef>,
) -> (Vec<String>, Vec<(String, Diagnostic)>) {
    let shared: &Cx = cx;
    let removals = clusters
        .into_iter()
        .map(|(name, model)| async move { (name.to_owned(), remove_cluster(shared, name, model, store).await) });
    let (mut removed, mut failures, mut left) = (Vec::new(), Vec::new(), Vec::new());
    for (name, outcome) in futures::future::join_all(removals).await {
        match outcome {
            Ok(stays) => {
                left.extend(stays.into_iter().map(|stays| format!("- cluster {name}: {stays}")));
                removed.push(name);
            }
            Err(diagnostic) => failures.push((name, diagnostic)),
        }
    }
    if !left.is_empty() {
        cx.warn(Diagnostic::warning("Something stays behind").detail(left.join("\n")));
    }
    (removed, failures)
}

/// What of it stays, and why.
async fn remove_cluster(
    cx: &Cx,
    name: &str,
    model: &ClusterCa,
    store: Option<&StoreRef>,
) -> Result<Vec<String>, Diagnostic> {
    let at = |diagnostic: Diagnostic| diagnostic.at(Path::root("clusters").key(name));
    let cluster = crate::resources::cluster(cx, name).map_err(at)?;
    let place = model.namespace.text().to_owned();
    let owner = owner(store, &place);
    let removal = async {
        let mut left = Vec::new();
        for reference in [CaCerts::reference(&place), OpenRequest::reference(&place)] {
            let live = cluster.get(&reference).await?;
            if live.is_some_and(|live| live.label(OWNER_LABEL) != Some(owner.as_str())) {
                left.push(format!("{reference} is not this resource's any more"));
            } else if let Removal::Left(why) = converge::remove_one(&cluster, &reference, &owner).await? {
                left.push(format!("{reference}: {why}"));
            }
        }
        if store.is_none_or(|store| store.cluster != name || store.namespace != place) {
            let stays = namespace::leave(&cluster, &place, &[]).await?;
            left.extend(stays.map(|why| format!("Namespace {place}: {why}")));
        }
        Ok(left)
    };
    removal.await.map_err(|error: Error| at(converge::diagnostic(&error)))
}

async fn remove_store(cx: &mut Cx, store: &StoreRef) -> Result<(), Diagnostic> {
    let cluster = crate::resources::cluster(cx, &store.cluster)?;
    let owner = owner(Some(store), &store.namespace);
    let removal = async {
        converge::remove_one(&cluster, &RootStore::reference(store), &owner).await?;
        namespace::leave(&cluster, &store.namespace, &[]).await
    };
    removal.await.map(drop).map_err(|error: Error| converge::diagnostic(&error).at(Path::root("root").attr("store")))
}

/// What stops working, told before it does.
pub fn consequences(state: &Ca) -> Diagnostic {
    let clusters: Vec<&str> = state.clusters.keys().collect();
    let root = match store_of(state) {
        Some(store) => {
            format!(" The root's key in {store} is deleted too: no certificate of this root can be made any more.")
        }
        None => String::new(),
    };
    Diagnostic::warning("The mesh loses its certificate authority").detail(format!(
        "The Secret cacerts is deleted in {}. An istiod that runs goes on with what it has loaded until it restarts; then it makes a root of its own, and the clusters no longer trust each other.{root}",
        clusters.join(", ")
    ))
}
