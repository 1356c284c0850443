//! The objects that all control planes of a cluster share, those of the chart `base`, of the node agents and of the Gateway API: one control plane owns them, and they outlive it while others are there.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::build::{self, Charts, Releases};
use super::spec::Spec;
use crate::cluster::{Adoption, ApplyAll, Cluster, Error, Kind, OWNER_LABEL, ObjectRef, Query};
use crate::diag::{Diagnostic, Diagnostics};
use crate::kept::converge;
use crate::kept::objects::{Recorded, Wanted, state_key};
use crate::kept::render;
use crate::value::Path;

/// How long another control plane is waited for to give up the shared objects, or to be gone: both are one apply with what comes here.
const HAND_OVER: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(1);

/// Refuses to fight over the shared objects: of several control planes one installs them. Whether they are left from one that is gone.
pub async fn check_owner(cluster: &Cluster, spec: &Spec) -> Result<bool, Diagnostics> {
    if !spec.install_base || spec.adopt {
        return Ok(false);
    }
    let began = Instant::now();
    loop {
        let Owners { inherits, living } = owners(cluster, spec).await.map_err(|error| converge::diagnostic(&error))?;
        let Some(deployment) = living else { return Ok(inherits) };
        if began.elapsed() > HAND_OVER {
            return Err(Diagnostic::error("Another control plane installs the shared objects")
                .detail(format!(
                    "The CustomResourceDefinitions in cluster {} belong to the control plane of {deployment}, and {} seconds of waiting have not changed that. Set \
                     `install_base = false` here. To make this control plane the one that installs them, set it to `false` there in the same apply, or take them over \
                     with `adopt = true`.",
                    cluster.name(),
                    HAND_OVER.as_secs()
                ))
                .at(Path::root("install_base"))
                .into());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whose the shared objects are.
struct Owners {
    /// A control plane's that is gone.
    inherits: bool,
    /// Another one's, with its Deployment.
    living: Option<ObjectRef>,
}

async fn owners(cluster: &Cluster, spec: &Spec) -> Result<Owners, Error> {
    let definitions =
        Query { labels: OWNER_LABEL.to_owned(), ..Query::of(Kind::CUSTOM_RESOURCE_DEFINITION) }.metadata_only();
    let definitions = cluster.list_now(&definitions).await?;
    let own = spec.owner();
    let others: BTreeSet<&str> =
        definitions.iter().filter_map(|object| object.label(OWNER_LABEL)).filter(|owner| *owner != own).collect();
    let deployments: Vec<ObjectRef> = others.into_iter().filter_map(control_plane).collect();
    for deployment in &deployments {
        if cluster.get(deployment).await?.is_some() {
            return Ok(Owners { inherits: true, living: Some(deployment.clone()) });
        }
    }
    Ok(Owners { inherits: !deployments.is_empty(), living: None })
}

/// What may be taken over from other control planes of this provider without being asked: shared objects whose owner is gone, and tags,
/// which are made to be moved.
pub async fn inherit(
    cluster: &Cluster,
    wanted: &Wanted,
    base_is_left: bool,
    releases: &Releases,
    prior: &Recorded,
) -> Result<BTreeSet<ObjectRef>, Diagnostics> {
    let failed = |error: Error| Diagnostics::from(converge::diagnostic(&error));
    let mut taken = BTreeSet::new();
    for (_, entry) in wanted.iter().filter(|(key, _)| !prior.objects.contains_key(*key)) {
        let left = base_is_left && build::is_shared(&entry.object, releases);
        let moved = entry.object.label("istio.io/tag").is_some() && {
            let live = cluster.get(&entry.reference).await.map_err(failed)?;
            live.and_then(|live| control_plane(live.label(OWNER_LABEL)?)).is_some()
        };
        if left || moved {
            taken.insert(entry.reference.clone());
        }
    }
    Ok(taken)
}

/// The Deployment of the control plane that an owner label names.
pub fn control_plane(owner: &str) -> Option<ObjectRef> {
    let named = owner.strip_prefix("mesh_primary.")?;
    let (release, namespace) = named.split_once('.').unwrap_or((named, "istio-system"));
    Some(ObjectRef::namespaced(Kind::DEPLOYMENT, namespace, release))
}

/// Gives up the shared objects without removing them, for another control plane to take. Returns what state still says is there.
pub async fn release(
    cluster: &Cluster,
    spec: &Spec,
    charts: &Charts,
    releases: &Releases,
    prior: Recorded,
) -> Result<Recorded, Diagnostics> {
    if spec.install_base {
        return Ok(prior);
    }
    let mut prior = prior;
    let mut given_up = Vec::new();
    for rendering in build::shared(spec, charts, releases) {
        for object in rendering.objects().map_err(|error| render::diagnostic(&error))? {
            let key = state_key(&render::reference(&object).map_err(|error| render::diagnostic(&error))?);
            if prior.objects.contains_key(&key) {
                prior.remove(&key);
                given_up.push(object);
            }
        }
    }
    for entry in &charts.gateway_api {
        let key = state_key(&entry.reference);
        if prior.objects.contains_key(&key) {
            prior.remove(&key);
            let mut object = entry.object.clone();
            object.remove_label(OWNER_LABEL);
            given_up.push(object);
        }
    }
    if let Some(policy) = build::policy(&Spec { install_base: true, ..spec.clone() }, releases) {
        let key = state_key(&render::reference(&policy).map_err(|error| render::diagnostic(&error))?);
        if prior.objects.contains_key(&key) {
            prior.remove(&key);
            given_up.push(policy);
        }
    }
    // Without the label: the next control plane that installs them finds nobody's.
    let all = ApplyAll { objects: given_up, adoption: Adoption::Assume, ..ApplyAll::default() };
    cluster.apply_all(all).await.map_err(|failed| converge::diagnostics(&failed.errors))?;
    Ok(prior)
}

/// Whether state holds shared objects.
pub fn holds(recorded: &Recorded) -> bool {
    recorded.references().any(|(_, reference)| reference.kind == Kind::CUSTOM_RESOURCE_DEFINITION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_labels_lead_to_the_control_plane() {
        let shown = |owner| control_plane(owner).map(|reference| reference.to_string());
        assert_eq!(shown("mesh_primary.istiod-canary").as_deref(), Some("Deployment istio-system/istiod-canary"));
        assert_eq!(shown("mesh_primary.istiod.other").as_deref(), Some("Deployment other/istiod"));
        assert_eq!(shown("mesh_ca.x"), None);
    }
}
