//! The Secret of a generated root that the CA had before it was told to have another, brought one. Its key is kept as
//! long as any cluster trusts the root. After that nothing uses the key, and whoever gets hold of it could still sign:
//! it goes.

use std::collections::BTreeSet;

use super::Cx;
use super::memory::{Private, roots_held};
use super::model::Ca;
use super::remove;
use super::secret::{RootStore, StoredRoot};
use super::spec::{StoreRef, owner, store_of};
use crate::diag::Diagnostic;
use crate::resources::client;

/// At a refresh, when nothing else is to be done: whether there is such a Secret that the next apply removes.
pub async fn is_over(cx: &Cx, state: &Ca) -> bool {
    for store in cx.private.former_stores(store_of(state).as_ref()) {
        if let Ok(Standing::Over) = found(cx, &store, state).await {
            return true;
        }
    }
    false
}

/// Removes such Secrets at the end of an apply. What stays is said; it fails no apply.
pub async fn retire(cx: &mut Cx, state: &Ca) {
    for store in cx.private.former_stores(store_of(state).as_ref()) {
        let removed = match found(cx, &store, state).await {
            Ok(Standing::InUse) => continue,
            Ok(Standing::Unreadable(key)) => {
                let why = format!("Its key {key} cannot be read, so that nobody knows which root it holds.");
                cx.warn(stays(&store, &why));
                continue;
            }
            Ok(Standing::Over | Standing::NotOurs) => remove::root(cx, &store, state.instance.text()).await,
            Err(error) => Err(error),
        };
        match removed {
            Ok(left) => {
                cx.private.forget_store(&store);
                if store_of(state).is_none() {
                    cx.private.roots.clear();
                }
                left.iter().for_each(|why| cx.warn(stays(&store, &format!("{why}."))));
            }
            Err(error) => cx.warn(stays(&store, &format!("{}: {}", error.summary, error.detail))),
        }
    }
}

impl Private {
    /// At a plan: a Secret in which this CA has kept no root yet holds none, whatever another one holds. The apply
    /// finds it so.
    pub fn turn_to(&mut self, store: &StoreRef, prior: &Ca) {
        if store_of(prior).as_ref() != Some(store) && !self.former_stores(None).contains(store) {
            self.roots.clear();
        }
    }
}

/// What such a Secret is by now.
enum Standing {
    /// A cluster trusts one of its roots, or may.
    InUse,
    /// Nobody uses it, and it is this instance's.
    Over,
    /// Gone, or somebody else's.
    NotOurs,
    /// What in it is no certificate or no key.
    Unreadable(String),
}

async fn found(cx: &Cx, store: &StoreRef, state: &Ca) -> Result<Standing, Diagnostic> {
    let cluster = client::cluster(cx, &store.cluster)?;
    let secret = cluster.get(&RootStore::reference(store)).await?;
    let owner = owner(Some(store), &store.namespace, state.instance.text());
    let Some(secret) = secret.filter(|secret| owner.has(secret, false)) else { return Ok(Standing::NotOurs) };
    let roots = match RootStore::read(&secret) {
        Ok(roots) => roots,
        Err(key) => return Ok(Standing::Unreadable(key)),
    };
    let used: BTreeSet<String> = state.clusters.entries().flat_map(|(_, cluster)| roots_held(cluster)).collect();
    let trusts = |root: &StoredRoot| used.contains(&root.certificate.fingerprint().to_string());
    // Of a cluster that issues from nothing, or from another root, it is not known what it may need.
    let root = state.root_fingerprint.known();
    let has_followed = root.is_some() && state.clusters.entries().all(|(_, cluster)| cluster.issuer.known() == root);
    Ok(if has_followed && !roots.0.values().any(trusts) { Standing::Over } else { Standing::InUse })
}

/// Where it is, and how it goes.
fn stays(store: &StoreRef, why: &str) -> Diagnostic {
    let StoreRef { cluster, namespace, name } = store;
    Diagnostic::warning("The key of an old root is still kept").detail(format!(
        "The Secret {store} held the key of a root that this CA no longer issues from. {why} If the Secret is not needed, delete it: `kubectl delete secret {name} -n {namespace}` in cluster {cluster}. Whoever reads this key can sign for every cluster that trusts its root."
    ))
}
