//! The objects that all control planes of a cluster share, those of the chart `base`, of the node agents and of the
//! Gateway API: one control plane owns them, and they outlive it while others are there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::build::{self, Charts, Releases};
use super::spec::Spec;
use crate::cluster::{
    Adoption, ApplyAll, Cluster, Error, INSTANCE_ANNOTATION, Kind, OWNER_LABEL, Object, ObjectRef, Owner, Query,
};
use crate::diag::{Diagnostic, Diagnostics};
use crate::kept::converge;
use crate::kept::left;
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
        let Owners { gone, living } = owners(cluster, owner).await?;
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
    /// Another one's, by its Deployment, which need not be there at the moment.
    living: Option<ObjectRef>,
}

async fn owners(cluster: &Cluster, owner: &Owner) -> Result<Owners, Error> {
    let definitions =
        Query { labels: OWNER_LABEL.to_owned(), ..Query::of(Kind::CUSTOM_RESOURCE_DEFINITION) }.metadata_only();
    let definitions = cluster.list_now(&definitions).await?;
    let others = marks(definitions.iter().filter(|definition| is_anothers(definition, owner)));
    let mut gone = BTreeSet::new();
    for (label, marks) in &others {
        let Some(deployment) = control_plane(label) else { continue };
        match cluster.get_metadata(&deployment).await? {
            Some(_) if *label != owner.label => return Ok(Owners { gone, living: Some(deployment) }),
            None if *label != owner.label && is_kept(cluster, label, marks).await? => {
                return Ok(Owners { gone, living: Some(deployment) });
            }
            // Of one's own name: what another instance runs is refused object by object.
            Some(live) if !live.is_terminating() && live.annotation(INSTANCE_ANNOTATION) != Some(&owner.mark) => {}
            _ => _ = gone.insert(label.clone()),
        }
    }
    Ok(Owners { gone, living: None })
}

/// The owner labels of objects, each with the marks of its instances.
pub fn marks<'a>(objects: impl Iterator<Item = &'a Object>) -> BTreeMap<String, BTreeSet<String>> {
    let mut marks: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for object in objects {
        let Some(label) = object.label(OWNER_LABEL) else { continue };
        let of_label = marks.entry(label.to_owned()).or_default();
        of_label.extend(object.annotation(INSTANCE_ANNOTATION).map(str::to_owned));
    }
    marks
}

/// Whether a control plane whose Deployment is not there is a living instance all the same: somebody may have deleted
/// the Deployment by hand, or its first apply has not come that far.
pub async fn is_kept(cluster: &Cluster, label: &str, marks: &BTreeSet<String>) -> Result<bool, Error> {
    let place = control_plane(label).and_then(|deployment| deployment.namespace);
    left::is_kept(cluster, &place.unwrap_or_default(), label, marks).await
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
    let taken: Result<Vec<_>, Error> = futures::future::try_join_all(looks).await;
    Ok(taken?.into_iter().flatten().collect())
}

/// The Deployment of the control plane that an owner label names.
pub fn control_plane(owner: &str) -> Option<ObjectRef> {
    let named = owner.strip_prefix("mesh_primary.")?;
    let (release, namespace) = named.split_once('.').unwrap_or((named, "istio-system"));
    Some(ObjectRef::namespaced(Kind::DEPLOYMENT, namespace, release))
}

/// Gives up the shared objects without removing them, for another control plane to take; what another one has taken
/// over already stays as it is. Returns what state still says is there.
pub async fn release(
    cluster: &Cluster,
    spec: &Spec,
    owner: &Owner,
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
    let held: Vec<_> = shared.iter().filter(|(key, _)| prior.objects.contains_key(*key)).collect();
    let looks = held.iter().map(|(_, entry)| cluster.get_metadata_if_defined(&entry.reference));
    let lives = futures::future::try_join_all(looks).await?;
    let mut given_up = Vec::new();
    for ((key, entry), live) in held.into_iter().zip(lives) {
        prior.remove(key);
        if !live.is_some_and(|live| is_to_give_up(&live, owner)) {
            continue;
        }
        let mut object = entry.object.clone();
        object.remove_label(OWNER_LABEL);
        given_up.push(object);
    }
    // Without the label: the next control plane that installs them finds nobody's.
    let all = ApplyAll { objects: given_up, adoption: Adoption::Assume, ..ApplyAll::default() };
    cluster.apply_all(all).await.map_err(|failed| converge::diagnostics(&failed.errors))?;
    Ok(prior)
}

/// Whether an object that state names is still this control plane's, so that there is something to give up.
fn is_to_give_up(live: &Object, owner: &Owner) -> bool {
    !live.is_terminating() && owner.has(live, true)
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

    fn definition(label: Option<&str>, mark: Option<&str>) -> Object {
        let reference = ObjectRef::cluster(Kind::CUSTOM_RESOURCE_DEFINITION, "gateways.networking.istio.io");
        let mut definition = Object::of(&reference);
        if let Some(label) = label {
            definition.set_label(OWNER_LABEL, label);
        }
        match mark {
            Some(mark) => definition.with_annotation(INSTANCE_ANNOTATION, mark),
            None => definition,
        }
    }

    #[test]
    fn what_another_control_plane_took_over_is_not_given_up_for_it() {
        let (own, other) = ("mesh_primary.istiod", "mesh_primary.istiod-canary");
        let owner = |unmarked| Owner { label: own.to_owned(), mark: "m1".to_owned(), unmarked };
        assert!(is_to_give_up(&definition(Some(own), Some("m1")), &owner(false)));
        for unmarked in [false, true] {
            assert!(!is_to_give_up(&definition(Some(other), Some("m2")), &owner(unmarked)), "adopted");
            assert!(!is_to_give_up(&definition(Some(own), Some("m2")), &owner(unmarked)), "of another state");
        }
        assert!(!is_to_give_up(&definition(None, None), &owner(false)), "given up already");
        assert!(is_to_give_up(&definition(None, None), &owner(true)), "imported, and not marked yet");
    }

    #[test]
    fn marks_of_objects_are_told_by_label() {
        let (default, canary) = ("mesh_primary.istiod", "mesh_primary.istiod-canary");
        let objects = [
            definition(Some(default), Some("m1")),
            definition(Some(default), Some("m2")),
            definition(Some(canary), None),
            definition(None, Some("m3")),
        ];
        let expected =
            [(default.to_owned(), ["m1", "m2"].map(str::to_owned).into()), (canary.to_owned(), BTreeSet::new())];
        assert_eq!(marks(objects.iter()), expected.into());
    }
}
