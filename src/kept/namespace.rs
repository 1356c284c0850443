//! A namespace is shared: the CA, control planes, gateways and remotes each may need it and write labels of their own
//! to it, and all of them are one field manager to the API server, which takes away what a manager no longer sends. So
//! whoever writes one sends what the others wrote as well.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, PoisonError};

use serde_json::Value as Json;
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::instance::Place;
use super::lease;
use crate::cluster::{
    Applied, Apply, Cluster, Delete, Error, FIELD_MANAGER, Inventory, Kind, OWNER_LABEL, Object, ObjectRef, Query,
    is_managed_by, wait,
};
use crate::istiod;

/// Names of the Leases of instances that were in each namespace when it was last looked at.
type Neighbours = HashMap<String, Vec<String>>;

/// Reading and writing a namespace is one step within this process: one resource at a time in each cluster. Each hands
/// on what it has seen of others.
async fn turn(cluster: &Cluster) -> OwnedMutexGuard<Neighbours> {
    static TURNS: LazyLock<std::sync::Mutex<HashMap<String, Arc<Mutex<Neighbours>>>>> = LazyLock::new(Default::default);
    let turn = {
        let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
        turns.entry(cluster.name().to_owned()).or_default().clone()
    };
    turn.lock_owned().await
}

/// The namespace as it is, once one that is on its way out is gone.
async fn live(cluster: &Cluster, reference: &ObjectRef) -> Result<Option<Object>, Error> {
    match cluster.get(reference).await? {
        Some(object) if object.is_terminating() => {
            let seen = Applied { reference: reference.clone(), object, created: false };
            cluster.wait_applied(&seen, &wait::deleted()).await?;
            Ok(None)
        }
        live => Ok(live),
    }
}

/// What one resource writes to a namespace.
pub struct Share<'a> {
    /// The namespace with this resource's labels and annotations.
    pub object: &'a Object,
    /// Labels and annotations this resource wrote before: those it no longer wants are taken away.
    pub written: &'a [String],
    /// Owner label, set if the namespace is made here: only such a namespace is ever removed.
    pub owner: &'a str,
}

/// Applies a resource's share; makes the namespace if there is none.
pub async fn apply(cluster: &Cluster, share: Share<'_>) -> Result<Applied, Error> {
    let _turn = turn(cluster).await;
    let reference = ObjectRef::cluster(Kind::NAMESPACE, share.object.name());
    let mut attempts = 0;
    // As another resource of this run has just left it, if one did: whoever has written it since is told by its
    // version.
    let mut known = cluster.remembered(&reference);
    loop {
        let live = match known.take() {
            Some(known) => Some(known),
            None => live(cluster, &reference).await?,
        };
        let mut object = merged(live.as_ref(), &share);
        // Another process may write its share between the look and this: then it is looked at again, lest its labels be
        // taken away.
        if let Some(version) = live.as_ref().and_then(Object::resource_version) {
            object.value_mut()["metadata"]["resourceVersion"] = version.into();
        }
        attempts += 1;
        match cluster.apply(Apply::shared(object)).await {
            Err(error) if error.is_overtaken() && attempts < 8 => {}
            Ok(applied) => {
                cluster.remember(&applied);
                return Ok(applied);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Makes the namespace if there is none, which it returns, and leaves it alone if there is.
pub async fn ensure(cluster: &Cluster, name: &str, owner: &str) -> Result<bool, Error> {
    made(cluster, plain(name, owner)).await
}

/// The same for a namespace that no Pod is meant for: it says so, and `istioctl analyze` does not ask whether injection
/// was forgotten.
pub async fn ensure_without_pods(cluster: &Cluster, name: &str, owner: &str) -> Result<bool, Error> {
    made(cluster, without_pods(name, owner)).await
}

/// The same for a namespace of node agents: its Pods may have rights on the node, whatever the cluster enforces where
/// no label says.
pub async fn ensure_for_agents(cluster: &Cluster, name: &str, owner: &str) -> Result<bool, Error> {
    made(cluster, for_agents(name, owner)).await
}

/// A namespace as it is made for the resource with this owner label.
pub fn plain(name: &str, owner: &str) -> Object {
    Object::of(&ObjectRef::cluster(Kind::NAMESPACE, name)).with_label(OWNER_LABEL, owner)
}

pub fn without_pods(name: &str, owner: &str) -> Object {
    plain(name, owner).with_label("istio-injection", "disabled")
}

pub fn for_agents(name: &str, owner: &str) -> Object {
    plain(name, owner).with_label("pod-security.kubernetes.io/enforce", "privileged")
}

async fn made(cluster: &Cluster, object: Object) -> Result<bool, Error> {
    let _turn = turn(cluster).await;
    match cluster.apply_new(&object).await {
        Ok(Some(made)) => {
            cluster.remember(&made);
            return Ok(true);
        }
        Ok(None) => {}
        // Who may not make namespaces may still use one.
        Err(error) if error.is_forbidden() => {}
        Err(error) => return Err(error),
    }
    let is_missing = live(cluster, &object.reference_as(Kind::NAMESPACE)).await?.is_none();
    if is_missing {
        cluster.apply(Apply::shared(object)).await?;
    }
    Ok(is_missing)
}

fn merged(live: Option<&Object>, share: &Share<'_>) -> Object {
    let mut object = share.object.clone();
    let Some(live) = live else {
        object.set_label(OWNER_LABEL, share.owner);
        return object;
    };
    for (member, key) in ours(live) {
        let Some(value) = live.get("metadata").and_then(|metadata| metadata.get(&member)?.get(&key)?.as_str()) else {
            continue;
        };
        let wanted = object.get("metadata").and_then(|metadata| metadata.get(&member)?.get(&key)).is_some();
        if wanted || share.written.contains(&key) {
            continue;
        }
        object = match member.as_str() {
            "labels" => object.with_label(&key, value),
            _ => object.with_annotation(&key, value),
        };
    }
    object
}

/// Labels and annotations that any resource of this provider applied.
fn ours(live: &Object) -> Vec<(String, String)> {
    let of_this_provider = |entry: &&Json| entry.get("manager").and_then(Json::as_str) == Some(FIELD_MANAGER);
    let sets = live
        .items("metadata.managedFields")
        .iter()
        .filter(of_this_provider)
        .filter_map(|entry| entry.get("fieldsV1")?.get("f:metadata"));
    let mut found = Vec::new();
    for set in sets {
        for member in ["labels", "annotations"] {
            let fields = set.get(format!("f:{member}")).and_then(Json::as_object).into_iter().flatten();
            found.extend(
                fields.filter_map(|(field, _)| Some((member.to_owned(), field.strip_prefix("f:")?.to_owned()))),
            );
        }
    }
    found
}

/// Whether a resource of this provider made the namespace. Anybody can set our label: it counts where we wrote it.
fn is_made_by_us(live: &Object) -> bool {
    let label = ("labels".to_owned(), OWNER_LABEL.to_owned());
    live.label(OWNER_LABEL).is_some() && ours(live).contains(&label)
}

/// Leaves the namespace: the last resource to go takes it along, if one of this provider's made it and nothing of
/// anybody else is in it. Otherwise only the labels and annotations in `written` go. `Some` says why a namespace that
/// we made stays, where it is not for another resource of this provider to take along.
pub async fn leave(cluster: &Cluster, name: &str, written: &[String]) -> Result<Option<String>, Error> {
    let Departed { left, goes } = depart(cluster, name, written, None).await?;
    if goes {
        gone(cluster, name).await?;
    }
    Ok(left)
}

/// What came of leaving a namespace.
#[derive(Debug)]
pub struct Departed {
    /// Why a namespace that we made stays, as [`leave`] says.
    pub left: Option<String>,
    /// The namespace is on its way out.
    pub goes: bool,
}

/// The same, without a wait for the end of a namespace that goes: see [`gone`]. An instance whose `lease` is in the
/// namespace takes it along or removes it last: whoever is killed before that finds the instance again, and finishes.
pub async fn depart(
    cluster: &Cluster,
    name: &str,
    written: &[String],
    lease: Option<&ObjectRef>,
) -> Result<Departed, Error> {
    let mut turn = turn(cluster).await;
    let mut lease = lease;
    if let Some(own) = lease.filter(|_| written.is_empty())
        && turn.get(name).is_some_and(|seen| seen.iter().any(|other| *other != own.name))
    {
        // Others were there a moment ago, and a namespace with others stays. Whether they still are is looked at when
        // this one is no longer there for them to see: of two that leave at once, one sees that it is the last.
        cluster.delete(&Delete::new(own.clone())).await?;
        lease = None;
        if instances(cluster, name, &mut turn).await?.is_some_and(|leases| !leases.kept.is_empty()) {
            return Ok(Departed { left: None, goes: false });
        }
    }
    let reference = ObjectRef::cluster(Kind::NAMESPACE, name);
    let live = match cluster.get(&reference).await? {
        Some(live) if live.is_terminating() => return Ok(Departed { left: None, goes: true }),
        Some(live) => live,
        None => return Ok(Departed { left: None, goes: false }),
    };
    let made_by_us = is_made_by_us(&live);
    let mut resident = if made_by_us { resident(cluster, name, lease, &mut turn).await? } else { None };
    let mut goes = made_by_us && resident.is_none();
    if !goes {
        if ours(&live).iter().any(|(_, key)| written.contains(key)) {
            let object = merged(Some(&live), &Share { object: &Object::of(&reference), written, owner: "" });
            cluster.apply(Apply::shared(object)).await?;
        }
        if let Some(lease) = lease {
            cluster.delete(&Delete::new(lease.clone())).await?;
            // What kept it may have been the Lease of an instance that leaves at this moment, and that was kept by this
            // one's.
            if resident.as_ref().is_some_and(|resident| resident.is_leaving) {
                resident = self::resident(cluster, name, None, &mut turn).await?;
                goes = resident.is_none();
            }
        }
    }
    if goes {
        drop(cluster.remembered(&reference));
        let delete = Delete { uid: live.uid().map(str::to_owned), ..Delete::new(reference.clone()) };
        cluster.delete(&delete).await?;
    }
    let foreign = resident.filter(|resident| !resident.ours);
    Ok(Departed { left: foreign.map(|resident| resident.what), goes })
}

/// Waits for the end of a namespace that is on its way out. Whoever needs it meanwhile sees it going, and waits as
/// well.
pub async fn gone(cluster: &Cluster, name: &str) -> Result<(), Error> {
    live(cluster, &ObjectRef::cluster(Kind::NAMESPACE, name)).await.map(drop)
}

/// Whether an instance that has claimed its place has lost its namespace since, or its Lease alone. A namespace on its
/// way out is waited for.
pub async fn is_lost(cluster: &Cluster, place: &Place<'_>) -> Result<bool, Error> {
    Ok(live(cluster, &ObjectRef::cluster(Kind::NAMESPACE, place.namespace)).await?.is_none()
        || cluster.get_metadata(&place.lease()).await?.is_none())
}

/// What Kubernetes, OpenShift and istiod put into a namespace unasked, by kind and name. The root that an istiod
/// without `cacerts` makes for itself is of no use to anyone once that istiod is gone.
const UNASKED: &[(&str, &str)] = &[
    ("Secret", "istio-ca-secret"),
    ("ConfigMap", "kube-root-ca.crt"),
    ("ServiceAccount", "default"),
    ("ConfigMap", "openshift-service-ca.crt"),
    ("ServiceAccount", "builder"),
    ("ServiceAccount", "deployer"),
    ("RoleBinding", "system:deployers"),
    ("RoleBinding", "system:image-builders"),
    ("RoleBinding", "system:image-pullers"),
];

/// On the Secrets that hold tokens of a ServiceAccount: its name.
const ACCOUNT_ANNOTATION: &str = "kubernetes.io/service-account.name";

/// Kinds whose objects come and go with others, and do not say so by an owner: events, and the Endpoints of a Service.
/// They are not looked at.
const FOLLOWERS: &[&str] = &["Event", "Endpoints"];

/// What keeps a namespace.
struct Resident {
    what: String,
    /// Made by a resource of this provider.
    ours: bool,
    /// As far as is known there is nothing but Leases of instances.
    is_leaving: bool,
}

/// Somebody's object in the namespace, if there is one. Unless another instance keeps it, every kind that the cluster
/// serves is looked at: what goes with a namespace is gone for good.
async fn resident(
    cluster: &Cluster,
    namespace: &str,
    but: Option<&ObjectRef>,
    seen: &mut Neighbours,
) -> Result<Option<Resident>, Error> {
    let leases = instances(cluster, namespace, seen).await?;
    if let Some(leases) = &leases
        && let Some(kept) = kept_by_another(cluster, namespace, but, leases).await?
    {
        return Ok(Some(kept));
    }
    let inventory = cluster.inventory(namespace, FOLLOWERS).await?;
    let Inventory { objects, unseen, .. } = &inventory;
    let is_somebodys =
        |object: &Object| is_resident(object) && !inventory.goes_with_its_owners(object) && !is_own(object, but);
    let residents = objects.iter().filter(|(_, object)| is_somebodys(object));
    let mut residents: Vec<&(ObjectRef, Object)> = residents.collect();
    let is_cut_off = |object: &Object| {
        is_lease(object)
            && leases.as_ref().is_some_and(|leases| leases.cut_off.iter().any(|name| name == object.name()))
    };
    // Whose namespace it is decides what is said: somebody else's object before one of ours, and before a Lease that
    // may be nobody's.
    residents.sort_by_key(|(_, object)| (is_ours(object), !is_cut_off(object)));
    if let Some((reference, object)) = residents.first() {
        let cut_off = is_cut_off(object);
        let ours = is_ours(object) && !cut_off;
        let more = if residents.len() > 1 {
            format!(" and {} more objects are", residents.len() - 1)
        } else {
            " is".to_owned()
        };
        let advice = if cut_off { OF_A_CREATE_CUT_OFF } else { "" };
        let is_leaving = unseen.is_empty() && residents.iter().all(|(_, object)| is_lease(object));
        return Ok(Some(Resident { what: format!("{reference}{more} in it{advice}"), ours, is_leaving }));
    }
    let what = format!("it could not be looked through: {}", unseen.join(", "));
    Ok((!unseen.is_empty()).then_some(Resident { what, ours: false, is_leaving: false }))
}

/// Said of such a Lease: what its create has written, also in other clusters, is found by it alone.
const OF_A_CREATE_CUT_OFF: &str = ", of a create that did not come to its end. If a state has its resource, destroying that resource removes the namespace. If no state has it, create the resource again and destroy it, or delete the Lease";

/// Another instance of this provider in the namespace, by its Lease, or by a Secret where a CA keeps its own in another
/// cluster. Whoever leaves last looks the namespace through: as long as there is one, it stays anyway. Who may not look
/// at these kinds learns it from the look at all.
async fn kept_by_another(
    cluster: &Cluster,
    namespace: &str,
    but: Option<&ObjectRef>,
    leases: &Leases,
) -> Result<Option<Resident>, Error> {
    let kept = |kind: Kind, name: &str, is_leaving: bool| {
        let what = format!("{} is in it", ObjectRef::namespaced(kind, namespace, name));
        Some(Resident { what, ours: true, is_leaving })
    };
    if let Some(other) = leases.kept.iter().find(|name| but.is_none_or(|own| own.name != **name)) {
        return Ok(kept(Kind::LEASE, other, true));
    }
    let secrets = cluster.list_now(&marked(Kind::SECRET, namespace).metadata_only()).await;
    let secrets = match secrets {
        Err(error) if error.is_forbidden() => return Ok(None),
        secrets => secrets?,
    };
    let found = secrets.iter().find(|secret| is_instance(secret));
    Ok(found.and_then(|secret| kept(Kind::SECRET, secret.name(), false)))
}

/// Names of the Leases of instances in a namespace.
struct Leases {
    kept: Vec<String>,
    /// Those that perhaps nobody will ever remove.
    cut_off: Vec<String>,
}

/// The Leases of instances in the namespace, for those as well who leave it next. None where they may not be listed.
async fn instances(cluster: &Cluster, namespace: &str, seen: &mut Neighbours) -> Result<Option<Leases>, Error> {
    let listed = match cluster.list_now(&marked(Kind::LEASE, namespace)).await {
        Err(error) if error.is_forbidden() => {
            seen.remove(namespace);
            return Ok(None);
        }
        listed => listed?,
    };
    let leases = listed.iter().filter(|lease| is_instance(lease));
    let (cut_off, kept): (Vec<&Object>, Vec<&Object>) =
        leases.partition(|found| lease::is_cut_off(found, lease::now(cluster)));
    let names = |leases: Vec<&Object>| leases.iter().map(|lease| lease.name().to_owned()).collect::<Vec<_>>();
    let leases = Leases { kept: names(kept), cut_off: names(cut_off) };
    seen.insert(namespace.to_owned(), leases.kept.clone());
    Ok(Some(leases))
}

/// Objects of a kind that instances of this provider keep in the namespace, or seem to.
fn marked(kind: Kind, namespace: &str) -> Query {
    Query::of(kind).namespace(namespace).selector(OWNER_LABEL)
}

fn is_instance(object: &Object) -> bool {
    is_resident(object) && is_ours(object) && object.get("metadata.ownerReferences").is_none()
}

/// Anybody can set our label: it counts on what this provider has written.
fn is_ours(object: &Object) -> bool {
    object.label(OWNER_LABEL).is_some() && is_managed_by(object, FIELD_MANAGER)
}

fn is_lease(object: &Object) -> bool {
    object.kind() == Kind::LEASE.kind && is_ours(object)
}

fn is_own(object: &Object, lease: Option<&ObjectRef>) -> bool {
    is_lease(object) && lease.is_some_and(|lease| lease.name == object.name())
}

fn is_resident(object: &Object) -> bool {
    let unasked_account =
        object.annotation(ACCOUNT_ANNOTATION).is_some_and(|account| UNASKED.contains(&("ServiceAccount", account)));
    !unasked_account
        && !UNASKED.contains(&(object.kind(), object.name()))
        && !object.is_terminating()
        && !istiod::is_own_object(object)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn live() -> Object {
        Object::new(json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {
                "name": "istio-system",
                "labels": {"network": "n1", OWNER_LABEL: "mesh_ca.x", "foreign": "y"},
                "annotations": {"controlPlaneClusters": "east"},
                "managedFields": [
                    {"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:metadata": {
                        "f:labels": {"f:network": {}, format!("f:{OWNER_LABEL}"): {}}, "f:annotations": {"f:controlPlaneClusters": {}}}}},
                    {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:metadata": {"f:labels": {"f:foreign": {}}}}},
                ],
            },
        }))
        .unwrap()
    }

    #[test]
    fn what_other_resources_of_the_provider_wrote_is_sent_again() {
        let mine = Object::of(&ObjectRef::cluster(Kind::NAMESPACE, "istio-system")).with_label("mine", "1");
        let share = Share { object: &mine, written: &[], owner: "mesh_primary.istiod" };
        let sent = merged(Some(&live()), &share);
        assert_eq!(sent.labels(), [("mine", "1"), ("network", "n1"), (OWNER_LABEL, "mesh_ca.x")].into());
        assert_eq!(sent.annotation("controlPlaneClusters"), Some("east"));
    }

    #[test]
    fn what_this_resource_no_longer_wants_goes() {
        let mine = Object::of(&ObjectRef::cluster(Kind::NAMESPACE, "istio-system"));
        let sent = merged(Some(&live()), &Share { object: &mine, written: &["network".into()], owner: "x" });
        assert_eq!(sent.label("network"), None);
        assert_eq!(sent.label(OWNER_LABEL), Some("mesh_ca.x"));
    }

    #[test]
    fn a_label_alone_makes_no_namespace_ours() {
        assert!(is_made_by_us(&live()));
        let mut labelled = live();
        labelled.value_mut()["metadata"]["managedFields"] = json!([
            {"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:metadata": {"f:labels": {"f:network": {}}}}},
            {"manager": "kubectl-label", "operation": "Update", "fieldsV1": {"f:metadata": {"f:labels": {format!("f:{OWNER_LABEL}"): {}}}}},
        ]);
        assert!(!is_made_by_us(&labelled), "somebody else has labelled it");
    }

    #[test]
    fn the_maker_signs() {
        let mine = Object::of(&ObjectRef::cluster(Kind::NAMESPACE, "istio-system"));
        assert_eq!(merged(None, &Share { object: &mine, written: &[], owner: "me" }).label(OWNER_LABEL), Some("me"));
    }
}
