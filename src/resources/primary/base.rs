//! The objects that all control planes of a cluster share, those of the chart `base`, of the node agents and of the
//! Gateway API: one control plane owns them, and they outlive it while others are there.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::build::{self, Charts, Releases};
use super::spec::Spec;
use crate::cluster::{
    Adoption, ApplyAll, Cluster, Error, INSTANCE_ANNOTATION, Kind, OWNER_LABEL, Object, ObjectRef, Owner, Query,
};
use crate::diag::{Diagnostic, Diagnostics};
use crate::kept::converge;
use crate::kept::memory::Memory;
use crate::kept::objects::{Recorded, Wanted};
use crate::kept::telling;
use crate::value::Path;

/// How long another control plane is waited for to give up the shared objects, or to be gone: both are one apply with
/// what comes here.
const HAND_OVER: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(1);

/// Refuses to fight over the shared objects: of several control planes one installs them. Returns the owner labels of
/// control planes that are gone and have left some.
pub async fn check_owner(cluster: &Cluster, spec: &Spec, owner: &Owner) -> Result<BTreeSet<String>, Diagnostics> {
    if !spec.install_base || spec.adopt {
        return Ok(BTreeSet::new());
    }
    let began = Instant::now();
    loop {
        let Owners { gone, living } = owners(cluster, owner).await.map_err(|error| converge::diagnostic(&error))?;
        let Some(deployment) = living else { return Ok(gone) };
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
    /// Control planes that are gone, by their owner labels. One of the own label is an instance that was destroyed
    /// before this one was made.
    gone: BTreeSet<String>,
    /// Another one's, with its Deployment.
    living: Option<ObjectRef>,
}

async fn owners(cluster: &Cluster, owner: &Owner) -> Result<Owners, Error> {
    let definitions =
        Query { labels: OWNER_LABEL.to_owned(), ..Query::of(Kind::CUSTOM_RESOURCE_DEFINITION) }.metadata_only();
    let definitions = cluster.list_now(&definitions).await?;
    let others: BTreeSet<&str> = definitions
        .iter()
        .filter(|definition| is_anothers(definition, owner))
        .filter_map(|definition| definition.label(OWNER_LABEL))
        .collect();
    let mut gone = BTreeSet::new();
    for label in others {
        let Some(deployment) = control_plane(label) else { continue };
        match cluster.get_metadata(&deployment).await? {
            Some(_) if label != owner.label => return Ok(Owners { gone, living: Some(deployment) }),
            // Of one's own name: what another instance runs is refused object by object.
            Some(live) if !live.is_terminating() && live.annotation(INSTANCE_ANNOTATION) != Some(&owner.mark) => {}
            _ => _ = gone.insert(label.to_owned()),
        }
    }
    Ok(Owners { gone, living: None })
}

/// Whether a shared object is of another control plane, or of another instance of this one.
fn is_anothers(object: &Object, owner: &Owner) -> bool {
    object.label(OWNER_LABEL).is_some_and(|label| label != owner.label) || owner.is_taken_over(object)
}

/// What may be taken over from other control planes of this provider without being asked: shared objects whose owner is
/// gone, and tags, which are made to be moved.
pub async fn inherit(
    cluster: &Cluster,
    wanted: &Wanted,
    gone: &BTreeSet<String>,
    owner: &Owner,
    releases: &Releases,
    prior: &Recorded,
) -> Result<BTreeSet<ObjectRef>, Diagnostics> {
    let left =
        |live: &Object| live.label(OWNER_LABEL).is_some_and(|label| gone.contains(label)) && is_anothers(live, owner);
    let moved = |live: &Object| live.label(OWNER_LABEL).and_then(control_plane).is_some();
    let looks = wanted.iter().filter(|(key, _)| !prior.objects.contains_key(*key)).map(|(_, entry)| async {
        let is_tag = entry.object.label("istio.io/tag").is_some();
        let may_be_left = !gone.is_empty() && build::is_shared(&entry.object, releases);
        if !is_tag && !may_be_left {
            return Ok(None);
        }
        let live = match cluster.get_metadata(&entry.reference).await {
            // Its definition may be among what is to be made.
            Err(error) if error.is_unknown_kind() => None,
            live => live?,
        };
        let is_taken = live.is_some_and(|live| may_be_left && left(&live) || is_tag && moved(&live));
        Ok(is_taken.then(|| entry.reference.clone()))
    });
    let taken = futures::future::try_join_all(looks).await;
    Ok(taken.map_err(|error: Error| converge::diagnostic(&error))?.into_iter().flatten().collect())
}

/// The Deployment of the control plane that an owner label names.
pub fn control_plane(owner: &str) -> Option<ObjectRef> {
    let named = owner.strip_prefix("mesh_primary.")?;
    let (release, namespace) = named.split_once('.').unwrap_or((named, "istio-system"));
    Some(ObjectRef::namespaced(Kind::DEPLOYMENT, namespace, release))
}

/// Gives up the shared objects without removing them, for another control plane to take. Returns what state still says
/// is there.
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
    let (mut charts, mut memory) = (charts.clone(), Memory::default());
    let shared = telling::rendered(&mut memory, cluster, charts.told.clone(), |told| {
        charts.told.clone_from(told);
        build::shared(spec, &charts, releases)
    });
    let shared = shared.await.map_err(|error| error.diagnostic())?;
    let mut prior = prior;
    let mut given_up = Vec::new();
    for (key, entry) in shared.iter().filter(|(key, _)| prior.objects.contains_key(*key)).collect::<Vec<_>>() {
        prior.remove(key);
        let mut object = entry.object.clone();
        object.remove_label(OWNER_LABEL);
        given_up.push(object);
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
