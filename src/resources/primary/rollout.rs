//! Upgrades in waves: a control plane that comes after others keeps its version until these run the new one, are
//! available and in sync.
//!
//! What the others are like, a refresh sees and notes beside the state: a plan asks no cluster, and comes out the same
//! when it is made again.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use serde::{Deserialize, Serialize};

use super::model::{Primary, Rollout};
use super::{Cx, charts, ready};
use crate::cluster::{Cluster, Kind, ObjectRef};
use crate::diag::Diagnostic;
use crate::engine::Plan;
use crate::istiod::{self, Istiod, ReplicaView, SyncStatus};
use crate::mesh::istiod_name_of;
use crate::resources::charts::{Unavailable, Version};
use crate::resources::client;
use crate::resources::walk::Followed;
use crate::value::{Path, Set, Value};

/// A cluster that is silent holds a refresh up no longer than this.
const LOOK_WITHIN: Duration = Duration::from_secs(20);

/// A control plane that has to come first, as the last refresh saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ahead {
    version: Option<String>,
    /// Why it is not done, whatever its version.
    trouble: Option<String>,
}

/// Looks at the control planes that have to come first. What cannot be told is trouble, and never taken for done.
pub async fn look(cx: &Cx, state: &Primary) -> BTreeMap<String, Ahead> {
    let Some(rollout) = state.rollout.known() else { return BTreeMap::new() };
    let looks = rollout.after.items().map(|name| async move { (name.clone(), ahead(cx, name, state).await) });
    join_all(looks).await.into_iter().collect()
}

async fn ahead(cx: &Cx, name: &str, state: &Primary) -> Ahead {
    let trouble = |trouble: String| Ahead { version: None, trouble: Some(trouble) };
    let cluster = match client::cluster(cx, name) {
        Ok(cluster) => client::shortened(cx, &cluster, LOOK_WITHIN),
        Err(error) => return trouble(error.summary.clone()),
    };
    let release = istiod_name_of(state.revision.as_deref());
    let place = ObjectRef::namespaced(Kind::DEPLOYMENT, state.namespace.text(), release.as_str());
    match cluster.get(&place).await {
        Ok(Some(deployment)) => Ahead {
            version: istiod::version_of(&deployment),
            trouble: match ready::status(Some(&deployment)).available.get() {
                Some(true) => out_of_sync(&cluster, state).await,
                _ => Some("its rollout is not complete".to_owned()),
            },
        },
        Ok(None) => trouble(format!("it has no Deployment {}/{release}", state.namespace.text())),
        Err(error) => trouble(format!("it could not be read: {error}")),
    }
}

/// Why not every istiod there says that it is in sync with all clusters it watches.
async fn out_of_sync(cluster: &Cluster, state: &Primary) -> Option<String> {
    let istiod = Istiod::of(cluster, state.namespace.text());
    let revision = state.revision.as_deref().unwrap_or("default");
    match istiod.clusterz(Some(revision)).await {
        Ok(views) => unsynced(&views),
        Err(error) => Some(format!("its istiods could not be asked: {error}")),
    }
}

fn unsynced(views: &[ReplicaView]) -> Option<String> {
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

/// Who comes first must be one of the provider's clusters, and must not come after this one in turn.
pub fn check(cx: &Cx, planned: &Primary) -> Result<(), Diagnostic> {
    let at = || Path::root("rollout").attr("after");
    for name in planned.rollout.known().into_iter().flat_map(names) {
        client::known_cluster(cx, name).map_err(|error| error.at(at()))?;
        if name.is_known() && *name == planned.cluster {
            return Err(Diagnostic::error("A control plane cannot come after itself").at(at()).detail(format!(
                "{} is the cluster of this control plane: it would never be upgraded. Leave it out of `rollout.after`.",
                name.text()
            )));
        }
    }
    let Some(cluster) = planned.cluster.known() else { return Ok(()) };
    let followed = Followed { cluster, namespace: planned.namespace.text(), revision: planned.revision.as_deref() };
    let others = planned.rollout.known().into_iter().flat_map(names).filter_map(|name| name.known().cloned()).collect();
    match cx.client()?.walk.upgraded_after(followed, others) {
        Some(circle) => Err(Diagnostic::error("Control planes wait for each other").at(at()).detail(format!(
            "{}: none of them would ever be upgraded. Leave one of these clusters out of `rollout.after`.",
            circle.join(" comes after ")
        ))),
        None => Ok(()),
    }
}

/// The version that the control plane keeps although another is asked for, and a word on what it waits for.
pub async fn keeps(cx: &mut Cx, plan: &Plan<'_, Primary>) -> Result<Option<String>, Unavailable> {
    let Some(old) = plan.prior.and_then(|prior| prior.istio_version.known().cloned()) else { return Ok(None) };
    // An apply that did not come to its end has left it between two versions, where it cannot stay: it goes on, or
    // back.
    if plan.planned.rollout.is_null() || cx.private.instance.unfinished {
        return Ok(None);
    }
    let wanted = match plan.config.istio_version.known() {
        Some(version) => version.trim_start_matches('v').to_owned(),
        None => {
            let remembered = Version { asked: None, remembered: Some(&old) };
            charts(cx, &plan.planned, false, remembered).await?.istiod.version().to_owned()
        }
    };
    if wanted == old.trim_start_matches('v') {
        return Ok(None);
    }
    let known = |rollout: &&Rollout| rollout.after.is_known() && names(rollout).all(Value::is_known);
    let Some(rollout) = plan.planned.rollout.known().filter(known) else {
        return Err(Unavailable::Wrong(not_known()));
    };
    let waits: Vec<String> =
        rollout.after.items().filter_map(|name| waits_for(name, cx.private.ahead.get(name), &wanted)).collect();
    if waits.is_empty() {
        return Ok(None);
    }
    cx.warn(held(&plan.planned, &old, &wanted, &waits));
    Ok(Some(old))
}

fn names(rollout: &Rollout) -> impl Iterator<Item = &Value<String>> {
    rollout.after.known().into_iter().flat_map(Set::iter)
}

/// What is still to come of a cluster; `None` when it is done.
fn waits_for(name: &str, seen: Option<&Ahead>, wanted: &str) -> Option<String> {
    let Some(Ahead { version, trouble }) = seen else {
        return Some(format!("{name} has not been looked at yet, which the next plan does"));
    };
    let version = version.as_deref();
    match (version, trouble) {
        (Some(version), None) if version == wanted => None,
        (Some(version), None) => Some(format!("{name} runs Istio {version}")),
        (Some(version), Some(trouble)) => Some(format!("{name} has Istio {version}, and {trouble}")),
        (None, Some(trouble)) => Some(format!("of {name} the version is not known: {trouble}")),
        (None, None) => Some(format!("of {name} the version is not known")),
    }
}

fn held(planned: &Primary, old: &str, wanted: &str, waits: &[String]) -> Diagnostic {
    Diagnostic::warning(format!("{} stays at Istio {old} for now", planned.cluster.text())).at(Path::root("rollout")).detail(format!(
        "The control plane is upgraded to Istio {wanted} once the clusters of `rollout.after` run it, are available and in sync. It waits, as of the last refresh: {}. Apply this plan, then plan again. To go no \
         further, set `istio_version` back.",
        waits.join("; ")
    ))
}

fn not_known() -> Diagnostic {
    Diagnostic::error("`rollout.after` is not known yet")
        .detail("The plan must know the clusters that this control plane waits for. Set `rollout.after` to keys of the provider's `clusters` that are known when planning, not to values of an apply.")
        .at(Path::root("rollout").attr("after"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::istiod::{RemoteCluster, Replica, Way};

    fn seen(version: Option<&str>, trouble: Option<&str>) -> Ahead {
        Ahead { version: version.map(str::to_owned), trouble: trouble.map(str::to_owned) }
    }

    #[test]
    fn only_a_cluster_that_runs_the_version_without_trouble_is_done() {
        let waits = |seen: Option<Ahead>| waits_for("east", seen.as_ref(), "1.31.0");
        assert_eq!(waits(Some(seen(Some("1.31.0"), None))), None);
        for (seen, why) in [
            (None, "has not been looked at"),
            (Some(seen(Some("1.30.0"), None)), "runs Istio 1.30.0"),
            (Some(seen(Some("1.31.0"), Some("its rollout is not complete"))), "its rollout is not complete"),
            (Some(seen(None, Some("it could not be read"))), "could not be read"),
            (Some(seen(None, None)), "not known"),
        ] {
            assert!(waits(seen.clone()).is_some_and(|said| said.contains(why)), "{seen:?}");
        }
    }

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
        assert_eq!(unsynced(&[view(&[SyncStatus::Synced]), view(&[])]), None);
        assert!(unsynced(&[]).is_some());
        let late = unsynced(&[view(&[SyncStatus::Synced]), view(&[SyncStatus::Synced, SyncStatus::Syncing])]).unwrap();
        assert!(late.contains("istiod-0 is not in sync with cluster west"), "{late}");
    }
}
