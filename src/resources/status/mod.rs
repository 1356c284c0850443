//! `data.mesh_status`: the whole mesh at a look.

mod look;
mod model;

use std::collections::{BTreeMap, BTreeSet};

use self::model::ClusterStatus;
pub use self::model::Status;
use super::client::{self, Client};
use crate::diag::Diagnostics;
use crate::engine::{Ctx, DataSource};
use crate::value::Value;

/// The mesh at a look.
pub struct MeshStatus;

impl DataSource for MeshStatus {
    type Client = Client;
    type Model = Status;

    const NAME: &'static str = "status";

    async fn read(&self, cx: &mut Ctx<Client>, mut config: Status) -> Result<Status, Diagnostics> {
        let names: Vec<String> = match config.clusters.known() {
            Some(clusters) => clusters.iter().filter_map(|name| name.known().cloned()).collect(),
            None => cx.client()?.clusters.names().map(str::to_owned).collect(),
        };
        let namespace = config.namespace.text().to_owned();
        let mut looks = Vec::new();
        for name in names {
            let cluster = client::cluster(cx, &name)?;
            let namespace = &namespace;
            looks.push(async move { (name, look::look(&cluster, namespace).await) });
        }
        let mut seen: BTreeMap<String, ClusterStatus> = futures::future::join_all(looks).await.into_iter().collect();
        look::bring_together(&mut seen);
        let findings = findings(&seen);
        config.healthy = findings.is_empty().into();
        config.findings = findings.into_iter().collect();
        config.status = seen.into_iter().collect();
        Ok(config)
    }
}

/// What is wrong, cluster by cluster, then between them.
fn findings(seen: &BTreeMap<String, ClusterStatus>) -> Vec<String> {
    let mut findings = Vec::new();
    for (name, status) in seen {
        if let Some(error) = status.error.known() {
            findings.push(format!("{name}: {error}"));
            continue;
        }
        for (revision, plane) in status.control_planes.entries() {
            let (wanted, available) =
                (plane.replicas.get().unwrap_or_default(), plane.available_replicas.get().unwrap_or_default());
            if available < wanted {
                findings.push(format!("{name}: {available} of {wanted} replicas of istiod ({revision}) are available"));
            }
        }
        for (watched, watch) in status.watches.entries().filter(|(_, watch)| watch.verdict.text() != "synced") {
            findings.push(format!("{name}: its istiod says {} of cluster {watched}", watch.verdict.text()));
        }
        for (gateway, _) in status.gateways.entries().filter(|(_, gateway)| gateway.addresses.items().next().is_none())
        {
            findings.push(format!("{name}: gateway {gateway} has no address"));
        }
        if let Some(trust) = status.trust.known()
            && set(&trust.roots) != set(&trust.distributed_roots)
            && trust.distributed_roots.items().next().is_some()
        {
            findings.push(format!("{name}: istiod hands out other roots than those in `cacerts`"));
        }
    }
    findings.extend(differing_roots(seen));
    findings
}

/// Clusters of one mesh id that share no root.
fn differing_roots(seen: &BTreeMap<String, ClusterStatus>) -> Option<String> {
    let trusted: Vec<(&String, BTreeSet<&String>)> = seen
        .iter()
        .filter_map(|(name, status)| Some((name, set(&status.trust.known()?.roots))))
        .filter(|(_, roots)| !roots.is_empty())
        .collect();
    let (first, roots) = trusted.first()?;
    let other = trusted.iter().find(|(_, others)| roots.is_disjoint(others))?;
    Some(format!("{first} and {} have no root in common: their workloads do not trust each other", other.0))
}

fn set(fingerprints: &Value<crate::value::List<String>>) -> BTreeSet<&String> {
    fingerprints.items().collect()
}
