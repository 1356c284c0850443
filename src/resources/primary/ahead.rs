//! A control plane that has to come first in an upgrade in waves: what it is like.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use serde::{Deserialize, Serialize};

use super::{Cx, ready, spec};
use crate::cluster::{Cluster, Error};
use crate::istiod::{self, Connected, Istiod, Looks, ReplicaView, SyncStatus};
use crate::kept::unfinished;
use crate::mesh::istiod_name_of;
use crate::resources::client;

/// A cluster that is silent holds a refresh up no longer than this.
const LOOK_WITHIN: Duration = Duration::from_secs(20);

/// A control plane that has to come first, as it was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ahead {
    pub version: Option<String>,
    /// Why it is not done, whatever its version.
    pub trouble: Option<String>,
    /// Its proxies, where a share of them counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxies: Option<Proxies>,
}

/// The proxies that are connected to a control plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Proxies {
    Connected(Connected),
    /// Why they are not known.
    Unknown(String),
}

/// Which control plane is looked at, and how.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    pub cluster: &'a str,
    pub namespace: &'a str,
    pub revision: Option<&'a str>,
    /// Whether its proxies count.
    pub proxies: bool,
    /// As it is now. Else what others have seen in the same walk will do: a wave that ten follow is looked at once.
    pub now: bool,
}

impl Ahead {
    fn unknown(trouble: String) -> Ahead {
        Ahead { trouble: Some(trouble), ..Ahead::default() }
    }
}

impl Proxies {
    /// How many run this version of Istio, of how many.
    pub fn of_version(connected: &Connected, version: &str) -> (u64, u64) {
        let runs = connected.iter().filter(|(runs, _)| is_version(runs, version));
        (runs.map(|(_, count)| count).sum(), connected.values().sum())
    }
}

/// Proxies know no `v` and no `+`, and those of some vendors nothing of what follows it.
fn is_version(proxy: &str, version: &str) -> bool {
    let version = version.trim_start_matches('v');
    let without_build = version.split('+').next().unwrap_or_default();
    !proxy.is_empty() && [version, &version.replace('+', "-"), without_build].contains(&proxy)
}

/// Looks at a control plane. What cannot be told is trouble, and never taken for done.
pub async fn look(cx: &Cx, asks: Question<'_>) -> Ahead {
    let found = cx.client().and_then(|client| Ok((client, client::cluster(cx, asks.cluster)?)));
    let (client, cluster) = match found {
        Ok((client, cluster)) => (client, client::shortened(cx, &cluster, LOOK_WITHIN)),
        Err(error) => return Ahead::unknown(error.summary),
    };
    // Another resource may have asked first, with more patience.
    match tokio::time::timeout(LOOK_WITHIN, seen(&client.walk.istiods, &cluster, asks)).await {
        Ok(seen) => seen.unwrap_or_else(Ahead::unknown),
        Err(_) => Ahead::unknown(format!("it did not answer within {} seconds", LOOK_WITHIN.as_secs())),
    }
}

async fn seen(istiods: &Looks, cluster: &Cluster, asks: Question<'_>) -> Result<Ahead, String> {
    let Question { namespace, revision, .. } = asks;
    let release = istiod_name_of(revision);
    let unread = |error: Error| format!("it could not be read: {error}");
    let query = istiod::deployments(namespace);
    let deployments = async { if asks.now { cluster.list_now(&query).await } else { cluster.list(&query).await } };
    let label = spec::owner(namespace, &release);
    let lease = unfinished::why(unfinished::Of { cluster, namespace, label: &label }, asks.now);
    let (deployments, unfinished) = tokio::join!(deployments, lease);
    let deployments = deployments.map_err(unread)?;
    let deployment = deployments.iter().find(|deployment| deployment.name() == release);
    let deployment = deployment.ok_or_else(|| format!("it has no Deployment {namespace}/{release}"))?;
    let version = istiod::version_of(deployment);
    let trouble = match (ready::status(Some(deployment)).available.get(), unfinished) {
        (Some(true), Ok(None)) => None,
        (Some(true), Ok(Some(why))) => Some(why.to_owned()),
        (Some(true), Err(error)) => Some(format!("whether its last apply finished is not known: {error}")),
        _ => Some("its rollout is not complete".to_owned()),
    };
    if trouble.is_some() {
        return Ok(Ahead { version, trouble, proxies: None });
    }
    let views = if asks.now {
        istiods.since(cluster, namespace, Instant::now()).await
    } else {
        istiods.held(cluster, namespace).await
    };
    let views = match views {
        Ok(views) => views,
        Err(error) => {
            let trouble = Some(format!("its istiods could not be asked: {error}"));
            return Ok(Ahead { version, trouble, proxies: None });
        }
    };
    let revision = revision.unwrap_or("default");
    let own: Vec<&ReplicaView> = views.iter().filter(|view| view.replica.revision == revision).collect();
    let proxies = if asks.proxies { Some(proxies(istiods, cluster, asks, &own).await) } else { None };
    Ok(Ahead { version, trouble: unsynced(&own), proxies })
}

/// The proxies of all replicas: each is connected to one.
async fn proxies(istiods: &Looks, cluster: &Cluster, asks: Question<'_>, own: &[&ReplicaView]) -> Proxies {
    let istiod = &Istiod::of(cluster, asks.namespace);
    let each = own.iter().map(|view| async move {
        let pod = &view.replica.pod;
        match asks.now {
            true => istiod.connected(pod).await,
            false => istiods.connected(cluster, asks.namespace, pod).await,
        }
    });
    match try_join_all(each).await {
        Ok(each) => {
            let mut all = BTreeMap::new();
            each.into_iter().flatten().for_each(|(version, count)| *all.entry(version).or_default() += count);
            Proxies::Connected(all)
        }
        Err(error) => Proxies::Unknown(error.to_string()),
    }
}

/// Why not every istiod says that it is in sync with all clusters it watches.
fn unsynced(views: &[&ReplicaView]) -> Option<String> {
    if views.is_empty() {
        return Some("no istiod of it runs".to_owned());
    }
    views.iter().find_map(|view| match &view.clusters {
        Err(error) => Some(format!("its istiod {} could not be asked: {error}", view.replica.pod)),
        Ok((clusters, _)) => clusters.iter().find(|one| one.status != SyncStatus::Synced).map(|one| {
            format!("its istiod {} is not in sync with cluster {} ({})", view.replica.pod, one.id, one.status.as_str())
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::istiod::{RemoteCluster, Replica, Way};

    #[test]
    fn every_replica_must_be_in_sync_with_every_cluster() {
        let view = |statuses: &[SyncStatus]| ReplicaView {
            replica: Replica { pod: "istiod-0".into(), revision: "default".into(), ready: true, ..Replica::default() },
            clusters: Ok((
                statuses
                    .iter()
                    .map(|status| RemoteCluster { id: "west".into(), secret: String::new(), status: status.clone() })
                    .collect(),
                Way::PortForward,
            )),
        };
        assert_eq!(unsynced(&[&view(&[SyncStatus::Synced]), &view(&[])]), None);
        assert!(unsynced(&[]).is_some());
        let late = view(&[SyncStatus::Synced, SyncStatus::Syncing]);
        let late = unsynced(&[&view(&[SyncStatus::Synced]), &late]).unwrap();
        assert!(late.contains("istiod-0 is not in sync with cluster west"), "{late}");
    }

    #[test]
    fn a_proxy_counts_by_the_version_that_it_names() {
        let connected: Connected =
            [("", 1), ("1.30.0", 2), ("1.31.0", 4), ("1.31.0-fips", 8)].map(|(v, n)| (v.to_owned(), n)).into();
        for (version, runs) in
            [("1.31.0", 4), ("v1.31.0", 4), ("1.30.0", 2), ("1.31.0+fips", 12), ("1.31.0-fips", 8), ("1.32.0", 0)]
        {
            assert_eq!(Proxies::of_version(&connected, version), (runs, 15), "{version}");
        }
        assert_eq!(Proxies::of_version(&Connected::new(), "1.31.0"), (0, 0));
    }
}
