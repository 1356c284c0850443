//! Definitions that an instance left in a cluster when it was destroyed, since there were objects of them. Whoever
//! comes next and wants them takes them over: nobody is there to ask.

use std::collections::BTreeSet;

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

fn definition(error: &Error) -> Option<&ObjectRef> {
    match &error.failure {
        Failure::Foreign(foreign) if foreign.object.kind == Kind::CUSTOM_RESOURCE_DEFINITION => Some(&foreign.object),
        _ => None,
    }
}
