//! What an istiod writes into a cluster on its own, and nobody takes away when it goes: not Helm, not istioctl.

use super::HANDED_OUT;
use crate::cluster::{Cluster, Delete, Error, Kind, Object, ObjectRef, Query, managers};

/// ConfigMaps in every namespace, for the proxies in it.
const IN_EVERY_NAMESPACE: &[&str] = &[HANDED_OUT, "istio-ca-crl"];

/// On each of them.
const HANDED_OUT_LABEL: &str = "istio.io/config";

/// Marks the ConfigMaps in which replicas elect a leader; client-go's name for it.
const LEADER_ANNOTATION: &str = "control-plane.alpha.kubernetes.io/leader";

/// The object is an istiod's leader election, or one of the ConfigMaps it gives every namespace. Anybody may give such
/// a name to an object of another kind.
pub fn is_own_object(object: &Object) -> bool {
    let is_handed_out = object.kind() == Kind::CONFIG_MAP.kind && IN_EVERY_NAMESPACE.contains(&object.name());
    is_election_by_lease(object) || is_election_by_config_map(object) || is_handed_out
}

fn is_election_by_config_map(object: &Object) -> bool {
    object.kind() == Kind::CONFIG_MAP.kind
        && object.name().starts_with("istio-")
        && object.annotation(LEADER_ANNOTATION).is_some()
}

/// Newer istiods elect by Leases, as Kubernetes' own controllers do.
fn is_election_by_lease(object: &Object) -> bool {
    object.kind() == Kind::LEASE.kind
        && object.name().starts_with("istio-")
        && managers(object).iter().all(|manager| manager == ISTIOD)
}

/// The field manager of what an istiod writes.
const ISTIOD: &str = "pilot-discovery";

/// Removes them once the last istiod that served the cluster is gone, or may no longer write to it.
pub async fn remove_own_objects(cluster: &Cluster, istiod_namespace: &str) -> Result<(), Error> {
    let elections = Query::of(Kind::CONFIG_MAP).namespace(istiod_namespace).metadata_only();
    // By the label that istiod puts on them: one list for all of their names.
    let handed_out = Query::of(Kind::CONFIG_MAP).label(HANDED_OUT_LABEL, "true").metadata_only();
    let leases = Query::of(Kind::LEASE).namespace(istiod_namespace).metadata_only();
    let queries = [elections, handed_out, leases];
    let listed = futures::future::try_join_all(queries.iter().map(|query| cluster.list_now(query))).await?;
    let written_by_istiod = |object: &&Object| {
        is_election_by_lease(object)
            || is_election_by_config_map(object)
            || IN_EVERY_NAMESPACE.contains(&object.name()) && object.label(HANDED_OUT_LABEL) == Some("true")
    };
    let doomed: std::collections::BTreeSet<ObjectRef> = listed
        .iter()
        .flat_map(|objects| objects.iter())
        .filter(written_by_istiod)
        .filter_map(Object::reference)
        .collect();
    let deletions =
        doomed.into_iter().map(|reference| async move { cluster.delete(&Delete::new(reference)).await.map(drop) });
    futures::future::try_join_all(deletions).await?;
    remove_gateway_classes(cluster).await
}

/// Where there is the Gateway API, istiod adds classes that nobody can serve once it is gone.
async fn remove_gateway_classes(cluster: &Cluster) -> Result<(), Error> {
    for class in gateway_classes(cluster).await?.iter().filter(|class| is_class_of_istiod(class)) {
        cluster.delete(&Delete::new(class.reference_as(Kind::GATEWAY_CLASS))).await?;
    }
    Ok(())
}

/// Classes that no istiod has made of itself. An istiod that runs makes its own anew whenever they go, so that these
/// alone say whether anybody uses the definition.
pub async fn gateway_classes_of_others(cluster: &Cluster) -> Result<Vec<ObjectRef>, Error> {
    let classes = gateway_classes(cluster).await?;
    let others = classes.iter().filter(|class| !is_class_of_istiod(class));
    Ok(others.map(|class| class.reference_as(Kind::GATEWAY_CLASS)).collect())
}

async fn gateway_classes(cluster: &Cluster) -> Result<std::sync::Arc<[Object]>, Error> {
    cluster.list_now_if_served(&Query::of(Kind::GATEWAY_CLASS)).await
}

fn is_class_of_istiod(class: &Object) -> bool {
    class.str("spec.controllerName").starts_with("istio.io/") && managers(class).iter().any(|manager| manager == ISTIOD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_alone_makes_nothing_istiod_s() {
        let named = |kind: Kind, name: &'static str| Object::of(&ObjectRef::namespaced(kind, "istio-system", name));
        let elects = |object: Object| object.with_annotation(LEADER_ANNOTATION, "{}");
        for name in IN_EVERY_NAMESPACE {
            assert!(is_own_object(&named(Kind::CONFIG_MAP, name)), "{name}");
        }
        assert!(is_own_object(&elects(named(Kind::CONFIG_MAP, "istio-leader"))));
        let theirs = [
            named(Kind::SECRET, "istio-ca-root-cert"),
            named(Kind::SERVICE, "istio-ca-crl"),
            named(Kind::CONFIG_MAP, "istio-leader"),
            elects(named(Kind::CONFIG_MAP, "their-leader")),
            elects(named(Kind::SECRET, "istio-leader")),
        ];
        for theirs in theirs {
            assert!(!is_own_object(&theirs), "{} {}", theirs.kind(), theirs.name());
        }
    }
}
