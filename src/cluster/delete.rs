//! Delete and prune, in the reverse of the order of an apply, saying what a deletion waits for.

use std::collections::BTreeSet;

use thiserror::Error as ThisError;

use super::{Cluster, Error, Kind, Object, ObjectRef};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    /// The object goes at once, what it owns after it.
    #[default]
    Background,
    /// The object goes when all it owns has gone.
    Foreground,
    Orphan,
}

/// One object to delete.
#[derive(Clone, Debug)]
pub struct Delete {
    pub object: ObjectRef,
    pub propagation: Propagation,
    /// Delete only the object of this uid: not one that took its name since.
    pub uid: Option<String>,
    /// Delete only this version of the object.
    pub resource_version: Option<String>,
}

/// Many objects to delete, the highest level of their kinds first, several at a time within one level.
#[derive(Clone, Debug, Default)]
pub struct DeleteAll {
    pub objects: Vec<ObjectRef>,
    /// Wait until each level is gone before the next is touched.
    pub wait: bool,
}

#[derive(Debug, ThisError)]
#[error("{} objects were deleted, then {} failed", .deleted.len(), .errors.len())]
pub struct DeleteAllError {
    pub deleted: Vec<ObjectRef>,
    pub errors: Vec<Error>,
}

/// Removes what we own and no longer want.
#[derive(Clone, Debug, Default)]
pub struct Prune {
    /// Value of [`OWNER_LABEL`](super::OWNER_LABEL).
    pub owner: String,
    /// Kinds to look at; one request each, none if the list is held.
    pub kinds: Vec<Kind>,
    /// `None` looks in all namespaces.
    pub namespace: Option<String>,
    pub keep: BTreeSet<ObjectRef>,
}

impl Delete {
    pub fn new(object: ObjectRef) -> Delete {
        Delete { object, propagation: Propagation::Background, uid: None, resource_version: None }
    }
}

impl Cluster {
    /// Asks for deletion; `false` where there was nothing to delete.
    pub async fn delete(&self, delete: &Delete) -> Result<bool, Error> {
        todo!("{}", delete.object)
    }

    /// Deletes and waits until the object is gone; a timeout names finalizers, conditions and, for a namespace, what is left in it.
    pub async fn delete_and_wait(&self, delete: &Delete) -> Result<bool, Error> {
        todo!("{}", delete.object)
    }

    /// Deletes all, from webhooks down to namespaces. What is not there is no error.
    pub async fn delete_all(&self, all: &DeleteAll) -> Result<Vec<ObjectRef>, DeleteAllError> {
        todo!("{}", all.objects.len())
    }

    /// What [`Cluster::prune`] would delete.
    pub async fn prunable(&self, prune: &Prune) -> Result<Vec<ObjectRef>, Error> {
        todo!("{}", prune.owner)
    }

    pub async fn prune(&self, prune: &Prune) -> Result<Vec<ObjectRef>, DeleteAllError> {
        todo!("{}", prune.owner)
    }

    /// Objects of the kind that this CRD defines, over all namespaces: a CRD goes only when there are none.
    pub async fn instances(&self, definition: &Object) -> Result<Vec<ObjectRef>, Error> {
        todo!("{definition}")
    }
}
