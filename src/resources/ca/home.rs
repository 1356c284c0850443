//! Where a CA's Lease is. It stays where the create has put it, whatever root the CA has later and whichever other
//! clusters come and go: with two Leases two runs could write at once. It moves only when the CA leaves its cluster.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Cx;
use super::model::Ca;
use super::secret::CACERTS;
use super::spec::{self, StoreRef, store_of};
use crate::diag::Diagnostics;
use crate::kept::read;
use crate::resources::client;

/// Where a Lease is, and the owner label that it has its name from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Home {
    pub cluster: String,
    pub namespace: String,
    pub label: String,
}

impl Home {
    /// Where the create of a CA puts its Lease: with its root, or beside the first `cacerts`.
    fn of_create(store: Option<&StoreRef>, cluster: &str, namespace: &str) -> Home {
        Home { cluster: cluster.to_owned(), namespace: namespace.to_owned(), label: spec::label(store, namespace) }
    }

    pub fn is_in(&self, cluster: &str, namespace: &str) -> bool {
        self.cluster == cluster && self.namespace == namespace
    }
}

/// The home of a CA that is to be made, and what is taken for that of one of which nothing else is known: with its
/// root, or beside the `cacerts` that were its first. `None` where there is neither. `has` says which clusters the
/// provider has.
pub fn usual(model: &Ca, has: impl Fn(&str) -> bool) -> Option<Home> {
    if let Some(store) = store_of(model) {
        return Some(Home::of_create(Some(&store), &store.cluster, &store.namespace));
    }
    // The id is of the creation: `east/istio-system/cacerts`.
    let created = model.id.known().and_then(|id| id.strip_suffix(CACERTS)?.strip_suffix('/')?.rsplit_once('/'));
    let (cluster, namespace) = created.filter(|(name, _)| has(name)).or_else(|| first(model, &has))?;
    Some(Home::of_create(None, cluster, namespace))
}

/// The first cluster, with the namespace of its `cacerts`.
fn first(model: &Ca, has: impl Fn(&str) -> bool) -> Option<(&str, &str)> {
    let clusters = model.clusters.entries().filter(|(name, _)| has(name));
    clusters.map(|(name, cluster)| (name, cluster.namespace.text())).next()
}

/// Where the Lease goes when the CA leaves the cluster that has it: what stays there would keep the namespace, and
/// nobody would find it. `None` where something of the CA stays in that cluster.
pub fn next(home: &Home, model: &Ca) -> Option<Home> {
    let store = store_of(model);
    let stays = store.as_ref().is_some_and(|store| store.cluster == home.cluster);
    if stays || model.clusters.entry(&home.cluster).is_some() {
        return None;
    }
    if let Some(store) = store {
        return Some(Home::of_create(Some(&store), &store.cluster, &store.namespace));
    }
    let (cluster, namespace) = first(model, |_| true)?;
    Some(Home::of_create(None, cluster, namespace))
}

/// The home of a CA: what is remembered; else where the Lease with its mark is found. A cluster that the provider does
/// not have any more is no home.
pub async fn of(cx: &Cx, model: &Ca, mark: Option<&str>) -> Result<Option<Home>, Diagnostics> {
    let has = |name: &str| client::cluster(cx, name).is_ok();
    if let Some(home) = cx.private.home.as_ref().filter(|home| has(&home.cluster)) {
        return Ok(Some(home.clone()));
    }
    let usual = usual(model, has);
    let Some(mark) = mark else { return Ok(usual) };
    let made_in = model.id.known().and_then(|id| id.split('/').next());
    let clusters = model.clusters.keys().chain(made_in).filter(|name| has(name)).map(str::to_owned).collect();
    Ok(find(cx, usual.as_ref(), clusters, mark).await?.or(usual))
}

/// Where the Lease with this mark is: in the usual place, or else anywhere in these clusters. One that does not answer
/// may have it.
pub async fn find(
    cx: &Cx,
    usual: Option<&Home>,
    clusters: BTreeSet<String>,
    mark: &str,
) -> Result<Option<Home>, Diagnostics> {
    if let Some(home) = usual {
        let owner = spec::owner_of(&home.label, mark);
        let cluster = client::cluster(cx, &home.cluster)?;
        if read::holds_lease(&cluster, Some(&home.namespace), &owner).await? {
            return Ok(Some(home.clone()));
        }
    }
    let mut silent = None;
    for name in clusters {
        match read::lease_of("mesh_ca", &client::cluster(cx, &name)?, mark).await {
            Ok(Some((namespace, label))) => return Ok(Some(Home { cluster: name, namespace, label })),
            Ok(None) => {}
            Err(error) => silent = Some(error),
        }
    }
    silent.map_or(Ok(None), |error| Err(error.into()))
}
