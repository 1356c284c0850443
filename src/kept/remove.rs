//! Removal of what state names, the last applied first.

use super::converge;
use super::objects::{Recorded, Spellings, state_key};
use crate::cluster::{Cluster, DeleteAll, Error, Kind, OWNER_LABEL, Object, ObjectRef};

/// What is left after a removal: nothing, or the objects that could not be removed.
#[derive(Debug, Default)]
pub struct Remaining {
    pub recorded: Recorded,
    pub errors: Vec<Error>,
}

/// Removes the recorded objects, the last applied first, waiting for each kind to be gone. What another resource has taken over stays.
pub async fn remove_all(cluster: &Cluster, recorded: &Recorded, owner: &str) -> Remaining {
    let live = match converge::live(cluster, recorded, &Spellings::default()).await {
        Ok(live) => live,
        Err(error) => return Remaining { recorded: recorded.clone(), errors: vec![error] },
    };
    let ours = |object: &&Object| object.label(OWNER_LABEL).is_none_or(|other| other == owner);
    // A namespace may hold what others put there, and definitions what others made of them.
    let removable =
        |reference: &ObjectRef| reference.kind != Kind::NAMESPACE && reference.kind != Kind::CUSTOM_RESOURCE_DEFINITION;
    let objects = live.values().filter(ours).filter_map(Object::reference).filter(removable).collect();
    match cluster.delete_all(&DeleteAll { objects, wait: true }).await {
        Ok(_) => Remaining::default(),
        Err(failed) => {
            let mut recorded = recorded.clone();
            for deleted in &failed.deleted {
                recorded.remove(&state_key(deleted));
            }
            Remaining { recorded, errors: failed.errors }
        }
    }
}
