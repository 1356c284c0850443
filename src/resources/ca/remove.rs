//! Taking things away: clusters that are no longer wanted, and the whole CA. No key stays behind; what could not be removed is told.

use std::collections::BTreeSet;

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
    let mut diagnostics = Diagnostics::new();
    let Some(prior) = prior else { return diagnostics };
    let store = spec.root.store();
    for (name, cluster) in prior.clusters.entries().filter(|(name, _)| !spec.clusters.contains_key(*name)) {
        if let Err(diagnostic) = remove_cluster(cx, name, cluster, store).await {
            diagnostics.push(diagnostic);
            if let Some(clusters) = state.clusters.known_mut() {
                clusters.insert(name.to_owned(), Value::Known(cluster.clone()));
            }
        }
    }
    diagnostics
}

/// Destroys the CA: first the clusters' intermediates, then the root.
pub async fn everything(cx: &mut Cx, state: Ca) -> Result<(), Failed<Ca>> {
    let store = store_of(&state);
    let mut left = state.clone();
    let mut diagnostics = Diagnostics::new();
    let names: Vec<String> = state.clusters.keys().map(str::to_owned).collect();
    for name in names {
        let Some(cluster) = state.clusters.entry(&name) else { continue };
        match remove_cluster(cx, &name, cluster, store.as_ref()).await {
            Ok(()) => {
                if let Some(clusters) = left.clusters.known_mut() {
                    clusters.remove(&name);
                }
            }
            Err(diagnostic) => diagnostics.push(diagnostic),
        }
    }
    if diagnostics.is_empty()
        && let Some(store) = &store
        && let Err(diagnostic) = remove_store(cx, store).await
    {
        diagnostics.push(diagnostic);
    }
    if diagnostics.is_empty() { Ok(()) } else { Err(Failed::from(diagnostics).keeping(left)) }
}

pub fn store_of(model: &Ca) -> Option<StoreRef> {
    StoreRef::of(model.root.known()?.store.known()?)
}

async fn remove_cluster(
    cx: &mut Cx,
    name: &str,
    model: &ClusterCa,
    store: Option<&StoreRef>,
) -> Result<(), Diagnostic> {
    let at = |diagnostic: Diagnostic| diagnostic.at(Path::root("clusters").key(name));
    let cluster = crate::resources::cluster(cx, name).map_err(at)?;
    let place = model.namespace.text().to_owned();
    let owner = owner(store, &place);
    let mut left = BTreeSet::new();
    let removal = async {
        for reference in [CaCerts::reference(&place), OpenRequest::reference(&place)] {
            let live = cluster.get(&reference).await?;
            if live.is_some_and(|live| live.label(OWNER_LABEL) != Some(owner.as_str())) {
                left.insert(format!("{reference} is not this resource's any more"));
            } else if let Removal::Left(why) = converge::remove_one(&cluster, &reference, &owner).await? {
                left.insert(format!("{reference}: {why}"));
            }
        }
        if store.is_none_or(|store| store.cluster != name || store.namespace != place) {
            namespace::remove(&cluster, &place, &owner).await?;
        }
        Ok(())
    };
    removal.await.map_err(|error: Error| at(converge::diagnostic(&error)))?;
    if !left.is_empty() {
        let detail = left.into_iter().collect::<Vec<_>>().join("; ");
        cx.warn(Diagnostic::warning("A Secret stays behind").detail(format!("{detail}.")));
    }
    Ok(())
}

async fn remove_store(cx: &mut Cx, store: &StoreRef) -> Result<(), Diagnostic> {
    let cluster = crate::resources::cluster(cx, &store.cluster)?;
    let owner = owner(Some(store), &store.namespace);
    let removal = async {
        converge::remove_one(&cluster, &RootStore::reference(store), &owner).await?;
        namespace::remove(&cluster, &store.namespace, &owner).await
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
