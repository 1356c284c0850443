//! What an instance left in a cluster when it was destroyed, such as definitions of which there were objects. Whoever
//! comes next and wants it takes it over: nobody is there to ask.

use std::collections::BTreeSet;

use super::instance::{COMPLETE_ANNOTATION, COMPLETED, lease_in};
use super::lease::{INTERRUPTED, LeaseSays, NOBODY};
use crate::cluster::{
    Cluster, Error, Failure, INSTANCE_ANNOTATION, Kind, OWNER_LABEL, Object, ObjectRef, Owner, Query,
};

/// Those of the definitions an apply was refused as somebody else's whose instance is gone: it has no Lease in any
/// namespace, and nothing that runs.
pub(super) async fn behind(cluster: &Cluster, refused: &[Error], owner: &Owner) -> Result<BTreeSet<ObjectRef>, Error> {
    let mut left = Vec::new();
    for definition in refused.iter().filter_map(definition) {
        let Some(live) = cluster.get_metadata(definition).await? else { continue };
        if owner.is_taken_over(&live)
            && let Some(mark) = live.annotation(INSTANCE_ANNOTATION)
        {
            left.push((definition.clone(), mark.to_owned()));
        }
    }
    if left.is_empty() {
        return Ok(BTreeSet::new());
    }
    let mut alive = BTreeSet::new();
    for kind in [Kind::LEASE, Kind::DEPLOYMENT, Kind::SERVICE_ACCOUNT] {
        let found = cluster.list_now(&Query::of(kind).selector(OWNER_LABEL).metadata_only()).await?;
        alive.extend(
            found.iter().filter_map(|object: &Object| object.annotation(INSTANCE_ANNOTATION)).map(str::to_owned),
        );
    }
    Ok(left.into_iter().filter(|(_, mark)| !alive.contains(mark)).map(|(definition, _)| definition).collect())
}

/// Whether objects with this label and one of these marks are of an instance that is there, by its Lease.
pub async fn is_kept(cluster: &Cluster, namespace: &str, label: &str, marks: &BTreeSet<String>) -> Result<bool, Error> {
    let lease = cluster.get(&lease_in(namespace, label)).await?;
    Ok(lease.is_some_and(|lease| keeps(&lease, marks)))
}

/// The Lease of an instance that is destroyed goes last: of one that was complete and is held, the instance is most
/// likely on its way out, and keeps nothing.
fn keeps(lease: &Object, marks: &BTreeSet<String>) -> bool {
    let says = LeaseSays::of(lease);
    let is_held = ![NOBODY, INTERRUPTED, ""].contains(&says.holder.as_str());
    let may_go = is_held && lease.annotation(COMPLETE_ANNOTATION) == Some(COMPLETED);
    marks.contains(&says.mark) && !lease.is_terminating() && !may_go
}

fn definition(error: &Error) -> Option<&ObjectRef> {
    match &error.failure {
        Failure::Foreign(foreign) if foreign.object.kind == Kind::CUSTOM_RESOURCE_DEFINITION => Some(&foreign.object),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kept::instance::{MADE, UNFINISHED};

    #[test]
    fn an_instance_keeps_its_objects_until_it_goes() {
        let lease = |complete: &str, holder: &str| {
            Object::of(&lease_in("istio-system", "mesh_primary.istiod"))
                .with_annotation(INSTANCE_ANNOTATION, "m1")
                .with_annotation(COMPLETE_ANNOTATION, complete)
                .with("spec", json!({"holderIdentity": holder}))
        };
        let marks = |mark: &str| BTreeSet::from([mark.to_owned()]);
        let held = "machine/1/m/x";
        for (complete, holder) in [(COMPLETED, NOBODY), (COMPLETED, INTERRUPTED), (MADE, held), (UNFINISHED, held)] {
            assert!(keeps(&lease(complete, holder), &marks("m1")), "{complete} {holder}");
            assert!(
                !keeps(&lease(complete, holder), &marks("m2")),
                "{complete} {holder}: an instance of before left it"
            );
        }
        assert!(!keeps(&lease(COMPLETED, held), &marks("m1")), "it may be on its way out");
        let mut going = lease(COMPLETED, NOBODY);
        going.value_mut()["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert!(!keeps(&going, &marks("m1")));
    }
}
