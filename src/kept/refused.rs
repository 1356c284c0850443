//! What becomes of a Lease whose apply did not come to its end.
//!
//! Others may write then, and the next apply continues. A create that was refused before it wrote anything leaves
//! nothing to continue: no state knows it, and nobody would ever remove its Lease. So the Lease goes again, and with it
//! the namespace that was made for it. A Lease that was taken from another instance, or from a create that was killed,
//! says again whose it was: what it stands for is still theirs, and only they can remove it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::instance::{COMPLETE_ANNOTATION, CREATION_ANNOTATION, created_by};
use super::lease::{INTERRUPTED, NOBODY, lets_go, pointer};
use super::namespace;
use crate::cluster::{Cluster, Delete, Error, INSTANCE_ANNOTATION, Object, ObjectRef, Patched, Scope};

/// How long a cluster is asked to take it. Whether it does or not: a Lease runs out.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a create has made before it writes an object.
#[derive(Clone, Debug)]
pub(super) struct Fresh {
    /// The namespace, where there was none.
    pub namespace: Option<String>,
}

/// What a Lease said before it was taken.
#[derive(Clone, Debug)]
pub(super) struct Before {
    mark: Option<String>,
    creation: Option<String>,
    complete: Option<String>,
    spec: Option<Value>,
    /// The create that private data is to remember again.
    pub remembered: Option<String>,
}

impl Before {
    pub fn of(lease: &Object, remembered: Option<String>) -> Before {
        let said = |annotation: &str| lease.annotation(annotation).map(str::to_owned);
        Before {
            mark: said(INSTANCE_ANNOTATION),
            creation: created_by(lease),
            complete: said(COMPLETE_ANNOTATION),
            spec: lease.get("spec").cloned().map(unheld),
            remembered,
        }
    }

    /// What was written when it was taken: mark, create and spec always, and how far it came where it had said that.
    fn operations(self) -> impl Iterator<Item = Value> {
        let put_back = |annotation: &str, said: Option<String>| match said {
            Some(said) => json!({ "op": "add", "path": pointer(annotation), "value": said }),
            None => json!({ "op": "remove", "path": pointer(annotation) }),
        };
        let complete = self.complete.map(|said| put_back(COMPLETE_ANNOTATION, Some(said)));
        let spec = self.spec.map(|spec| json!({ "op": "replace", "path": "/spec", "value": spec }));
        [put_back(INSTANCE_ANNOTATION, self.mark), put_back(CREATION_ANNOTATION, self.creation)]
            .into_iter()
            .chain(complete)
            .chain(spec)
    }
}

/// What a Lease said, with the times of then: for how long others may take up what was made is counted from its last
/// renewal. Who held it is gone. A Lease that nobody held is not one that a run was interrupted under.
fn unheld(mut spec: Value) -> Value {
    let holder = spec.get("holderIdentity").and_then(Value::as_str).unwrap_or_default();
    let holder = if ["", NOBODY].contains(&holder) { NOBODY } else { INTERRUPTED };
    if let Value::Object(spec) = &mut spec {
        spec.insert("holderIdentity".to_owned(), holder.into());
    }
    spec
}

/// A Lease that is given back by a run that did not come to its end.
pub(super) struct Refused {
    pub cluster: Cluster,
    pub lease: ObjectRef,
    pub holder: String,
    /// Nothing else was made, and no state knows of it: it goes again.
    pub fresh: Option<Fresh>,
    /// Nothing was written under it: it says again what it said.
    pub before: Option<Before>,
}

impl Refused {
    /// Returns what stays all the same, and why.
    pub async fn give_back(self) -> Option<String> {
        // The time of the apply may be over, and the user may have stopped it.
        let cluster = self.cluster.within(Scope::lasting(PATIENCE, CancellationToken::new()));
        let failed = |error: &Error| Some(format!("{} in cluster {}: {error}", self.lease, cluster.name()));
        let mut operations = lets_go(&self.holder);
        if let Value::Array(operations) = &mut operations {
            operations.extend(self.before.into_iter().flat_map(Before::operations));
        }
        let lease = match cluster.patch_if(&self.lease, &operations).await {
            Ok(Patched::Done(lease)) => lease,
            Ok(Patched::Refused | Patched::Absent) => return None,
            Err(error) => return failed(&error),
        };
        let Fresh { namespace } = self.fresh?;
        let resource_version = lease.resource_version().map(str::to_owned);
        match cluster.delete(&Delete { resource_version, ..Delete::new(self.lease.clone()) }).await {
            Ok(_) => {}
            // Another create has taken it up meanwhile.
            Err(error) if error.is_contention() => return None,
            Err(error) => return failed(&error),
        }
        let namespace = namespace?;
        let why = match namespace::depart(&cluster, &namespace, &[], None).await {
            Ok(departed) => departed.left?,
            Err(error) => error.to_string(),
        };
        Some(format!("Namespace {namespace} of cluster {}: {why}", cluster.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Kind;

    #[test]
    fn a_lease_says_again_what_it_said() {
        let spec = |holder: &str| json!({ "holderIdentity": holder, "renewTime": "then", "acquireTime": "before" });
        let path = |annotation: &str| format!("/metadata/annotations/terraform-provider-mesh~1{annotation}");
        for (holder, again) in [(NOBODY, NOBODY), ("", NOBODY), (INTERRUPTED, INTERRUPTED), ("killed", INTERRUPTED)] {
            let lease = Object::of(&ObjectRef::namespaced(Kind::LEASE, "n", "l"))
                .with_annotation(INSTANCE_ANNOTATION, "mark")
                .with_annotation(COMPLETE_ANNOTATION, "made")
                .with("spec", spec(holder));
            let operations: Vec<Value> = Before::of(&lease, None).operations().collect();
            let wanted = [
                json!({ "op": "add", "path": path("instance"), "value": "mark" }),
                json!({ "op": "remove", "path": path("creation") }),
                json!({ "op": "add", "path": path("complete"), "value": "made" }),
                json!({ "op": "replace", "path": "/spec", "value": spec(again) }),
            ];
            assert_eq!(operations, wanted, "{holder}");
        }
    }
}
