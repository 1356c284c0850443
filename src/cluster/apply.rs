//! Server-side apply: of one object, and of many in the order their kinds ask for.

use std::collections::BTreeSet;

use thiserror::Error as ThisError;

use super::{Cluster, Error, Object, ObjectRef};

/// What to do where an object exists that is not ours (no field managed by us, not our owner label).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Adoption {
    /// Refuse with [`Failure::Foreign`](super::Failure::Foreign).
    #[default]
    Refuse,
    /// Take it over: apply with force, and take the fields from whoever installed it (helm, kubectl, istioctl, other
    /// Terraform providers) so that later changes do not conflict. Controllers keep what they manage.
    Take,
    /// Do not look. For objects known to be ours, and for those that several may share, such as a namespace.
    Assume,
}

/// One object to apply.
#[derive(Clone, Debug)]
pub struct Apply {
    pub object: Object,
    pub adoption: Adoption,
    /// Take conflicting fields from their managers.
    pub force: bool,
}

/// What came of an apply.
#[derive(Clone, Debug)]
pub struct Applied {
    pub reference: ObjectRef,
    /// As the server answered: with uid, `managedFields` and defaults.
    pub object: Object,
    pub created: bool,
}

/// Many objects to apply, in the order of their kinds, several at a time within one level.
///
/// CRDs are served before the objects of later levels are sent.
#[derive(Clone, Debug, Default)]
pub struct ApplyAll {
    pub objects: Vec<Object>,
    /// Objects known to be ours from state: for these nobody looks whether they are foreign.
    pub ours: BTreeSet<ObjectRef>,
    pub adoption: Adoption,
    pub force: bool,
}

/// Some objects were applied, then something failed.
#[derive(Debug, ThisError)]
#[error("{} of {wanted} objects were applied, then {} failed", .applied.len(), .errors.len())]
pub struct ApplyAllError {
    /// In the order applied: the partial state reached.
    pub applied: Vec<Applied>,
    pub wanted: usize,
    /// At least one; what failed in the same level.
    pub errors: Vec<Error>,
}

impl Apply {
    pub fn new(object: Object) -> Apply {
        Apply { object, adoption: Adoption::Refuse, force: false }
    }
}

impl Cluster {
    /// Applies one object: creates it, or brings the fields given to the values given. Repeated as is when the connection breaks.
    pub async fn apply(&self, apply: Apply) -> Result<Applied, Error> {
        todo!("{}", apply.object)
    }

    /// Applies all, level by level. On failure the level is finished and what was applied is told.
    pub async fn apply_all(&self, all: ApplyAll) -> Result<Vec<Applied>, ApplyAllError> {
        todo!("{}", all.objects.len())
    }

    /// What an apply would make of the object, through admission and defaulting, without storing it.
    pub async fn apply_dry_run(&self, apply: &Apply) -> Result<Object, Error> {
        todo!("{}", apply.object)
    }

    /// Creates with `dryRun=All`: what admission webhooks make of the object (an injected pod, say). Nothing is stored.
    pub async fn create_dry_run(&self, object: &Object) -> Result<Object, Error> {
        todo!("{object}")
    }

    /// Waits until the kinds that these CRDs define are served, all versions of them.
    pub async fn wait_served(&self, definitions: &[Object]) -> Result<(), Error> {
        todo!("{}", definitions.len())
    }
}
