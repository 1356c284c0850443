//! A namespace is shared: the CA, control planes, gateways and remotes each may need it and write labels of their own to it, and all of them are one
//! field manager to the API server, which takes away what a manager no longer sends. So whoever writes one sends what the others wrote as well.

use serde_json::Value as Json;
use tokio::sync::Mutex;

use crate::cluster::{
    Adoption, Applied, Apply, Cluster, Delete, Error, FIELD_MANAGER, Kind, OWNER_LABEL, Object, ObjectRef, Query,
};

/// Reading and writing a namespace is one step within this process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// What one resource writes to a namespace.
pub struct Share<'a> {
    /// The namespace with this resource's labels and annotations.
    pub object: &'a Object,
    /// Labels and annotations this resource wrote before: those it no longer wants are taken away.
    pub written: &'a [String],
    /// Owner label, set if the namespace is made here: on destroy its maker removes it, if nobody else is in it.
    pub owner: &'a str,
}

/// Applies a resource's share; makes the namespace if there is none.
pub async fn apply(cluster: &Cluster, share: Share<'_>) -> Result<Applied, Error> {
    let _turn = ONE_AT_A_TIME.lock().await;
    let reference = ObjectRef::cluster(Kind::NAMESPACE, share.object.name());
    let live = cluster.get(&reference).await?;
    let object = merged(live.as_ref(), &share);
    cluster.apply(Apply { object, adoption: Adoption::Assume, force: false }).await
}

/// Makes the namespace if there is none, and leaves it alone if there is.
pub async fn ensure(cluster: &Cluster, name: &str, owner: &str) -> Result<(), Error> {
    made(cluster, Object::of(&ObjectRef::cluster(Kind::NAMESPACE, name)), owner).await
}

/// The same for a namespace that no Pod is meant for: it says so, and `istioctl analyze` does not ask whether injection was forgotten.
pub async fn ensure_without_pods(cluster: &Cluster, name: &str, owner: &str) -> Result<(), Error> {
    let object = Object::of(&ObjectRef::cluster(Kind::NAMESPACE, name));
    made(cluster, object.with_label("istio-injection", "disabled"), owner).await
}

async fn made(cluster: &Cluster, object: Object, owner: &str) -> Result<(), Error> {
    let _turn = ONE_AT_A_TIME.lock().await;
    if cluster.get(&object.reference_as(Kind::NAMESPACE)).await?.is_none() {
        let object = object.with_label(OWNER_LABEL, owner);
        cluster.apply(Apply { object, adoption: Adoption::Assume, force: false }).await?;
    }
    Ok(())
}

/// Takes this resource's labels and annotations away, and leaves the others'.
pub async fn withdraw(cluster: &Cluster, name: &str, written: &[String]) -> Result<(), Error> {
    let _turn = ONE_AT_A_TIME.lock().await;
    let reference = ObjectRef::cluster(Kind::NAMESPACE, name);
    let Some(live) = cluster.get(&reference).await? else { return Ok(()) };
    let object = merged(Some(&live), &Share { object: &Object::of(&reference), written, owner: "" });
    cluster.apply(Apply { object, adoption: Adoption::Assume, force: false }).await?;
    Ok(())
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

/// Kinds that say a namespace is in use, and the names that Kubernetes and istiod put into every one.
const RESIDENTS: &[(Kind, &[&str])] = &[
    (Kind::POD, &[]),
    (Kind::SERVICE, &[]),
    (Kind::DEPLOYMENT, &[]),
    (Kind::DAEMON_SET, &[]),
    (Kind::STATEFUL_SET, &[]),
    // The root that an istiod without `cacerts` makes for itself is of no use to anyone once that istiod is gone.
    (Kind::SECRET, &["istio-ca-secret"]),
    (
        Kind::CONFIG_MAP,
        &[
            "kube-root-ca.crt",
            "istio-ca-root-cert",
            "istio-ca-crl",
            "istio-leader",
            "istio-gateway-status-leader",
            "istio-gateway-deployment-leader",
            "istio-namespace-controller-election",
            "istio-gateway-deployment-default",
            "istio-ip-autoallocate",
        ],
    ),
    (Kind::SERVICE_ACCOUNT, &["default"]),
];

/// Removes the namespace if we made it and nothing else is in it; `Some` says why it stays. One we did not make stays silently.
pub async fn remove(cluster: &Cluster, name: &str, owner: &str) -> Result<Option<String>, Error> {
    let reference = ObjectRef::cluster(Kind::NAMESPACE, name);
    let Some(live) = cluster.get(&reference).await? else { return Ok(None) };
    if live.label(OWNER_LABEL) != Some(owner) || live.is_terminating() {
        return Ok(None);
    }
    for (kind, ignored) in RESIDENTS {
        let listed = cluster.list_now(&Query::of(kind.clone()).namespace(name).metadata_only()).await?;
        let mut others = listed.iter().filter(|object| {
            !ignored.contains(&object.name())
                && !object.is_terminating()
                && object.get("metadata.ownerReferences").is_none()
        });
        if let Some(other) = others.next() {
            return Ok(Some(format!("{other} is in it")));
        }
    }
    cluster.delete(&Delete { uid: live.uid().map(str::to_owned), ..Delete::new(reference) }).await?;
    Ok(None)
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
    fn the_maker_signs() {
        let mine = Object::of(&ObjectRef::cluster(Kind::NAMESPACE, "istio-system"));
        assert_eq!(merged(None, &Share { object: &mine, written: &[], owner: "me" }).label(OWNER_LABEL), Some("me"));
    }
}
