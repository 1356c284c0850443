//! Waiting: readiness is a pure predicate over an object that may not exist; one loop waits.

use std::sync::Arc;

use super::{Cluster, Error, Object, ObjectRef};

/// What a predicate says of the state seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Ready,
    /// Not yet; why, in words.
    Pending(Vec<String>),
    /// Never, as things are; waiting ends at once.
    Failed(String),
}

/// A named predicate: pure, so that every one of them is tested on written-down objects.
#[derive(Clone)]
pub struct Until {
    name: String,
    check: Arc<dyn Fn(Option<&Object>) -> Verdict + Send + Sync>,
}

impl Until {
    /// `name` completes "waited for Deployment x/y …": `to be available`.
    pub fn new(name: &str, check: impl Fn(Option<&Object>) -> Verdict + Send + Sync + 'static) -> Until {
        Until { name: name.to_owned(), check: Arc::new(check) }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn check(&self, object: Option<&Object>) -> Verdict {
        (self.check)(object)
    }

    pub fn and(self, other: Until) -> Until {
        todo!("{}", other.name)
    }

    pub fn or(self, other: Until) -> Until {
        todo!("{}", other.name)
    }

    pub fn negated(self) -> Until {
        todo!()
    }
}

/// The rollout has finished: the current generation is seen, all replicas updated and available, and no old ones left.
pub fn deployment_available() -> Until {
    todo!()
}

/// A CRD is established and its names accepted; refused names end the wait.
pub fn crd_established() -> Until {
    todo!()
}

/// A Service of type LoadBalancer has an address, IP or hostname. Other types are ready as they are.
pub fn service_has_address() -> Until {
    todo!()
}

/// Every webhook of the configuration has a CA bundle.
pub fn webhook_ca_bundle_set() -> Until {
    todo!()
}

/// The object is not there; while it is, its finalizers and conditions tell why.
pub fn deleted() -> Until {
    todo!()
}

pub fn exists() -> Until {
    todo!()
}

/// The status condition of this type is `True`, seen at the current generation.
pub fn condition(kind: &str) -> Until {
    todo!("{kind}")
}

/// The default ServiceAccount's token Secret, or any Secret, has these data keys.
pub fn secret_has_keys(keys: &[&str]) -> Until {
    todo!("{}", keys.len())
}

impl Cluster {
    /// Waits until the predicate holds, and gives the object then seen (`None` after [`deleted`]).
    ///
    /// Watches where that is allowed, else polls. A timeout carries the last state in words, events of the object included.
    pub async fn wait(&self, reference: &ObjectRef, until: &Until) -> Result<Option<Object>, Error> {
        todo!("{reference} {}", until.name)
    }

    /// The object's events, newest last, as `reason: message (×count)`.
    pub async fn events(&self, object: &Object) -> Result<Vec<String>, Error> {
        todo!("{object}")
    }
}
