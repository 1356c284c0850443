//! JSON patches whose tests decide: one request that looks and writes in one step.

use http::Method;
use serde_json::{Value, json};

use super::call::Call;
use super::read::typed;
use super::{Cluster, Error, FIELD_MANAGER, Failure, Object, ObjectRef};

/// What came of a patch with tests in it.
#[derive(Clone, Debug)]
pub enum Patched {
    Done(Box<Object>),
    /// A test did not hold: the object is another than was thought.
    Refused,
    /// There is no such object.
    Absent,
}

impl Cluster {
    /// Sends a JSON patch (RFC 6902). `test` operations in it are the condition under which it is done.
    pub async fn patch_if(&self, reference: &ObjectRef, operations: &Value) -> Result<Patched, Error> {
        match self.json_patch(reference, operations).await {
            Ok(object) => Ok(Patched::Done(Box::new(object))),
            Err(Error { failure: Failure::Api(status), .. }) if status.is_absence_of(&reference.name) => {
                Ok(Patched::Absent)
            }
            Err(Error { failure: Failure::Api(status), repeated, .. }) if status.is_of_a_test() => {
                // It may be refused for what it has done itself, the first time.
                let live = if repeated { self.get(reference).await? } else { None };
                let done = live.filter(|live| is_done(live, operations));
                Ok(done.map_or(Patched::Refused, |live| Patched::Done(Box::new(live))))
            }
            Err(error) => Err(error),
        }
    }

    /// Says anew who manages which field of an object, if nobody has written it since it was looked at. Its fields stay
    /// as they are.
    pub(super) async fn set_managers(
        &self,
        reference: &ObjectRef,
        live: &Object,
        entries: &[&Value],
    ) -> Result<Object, Error> {
        let operations = json!([
            { "op": "replace", "path": "/metadata/managedFields", "value": entries },
            { "op": "replace", "path": "/metadata/resourceVersion", "value": live.resource_version() },
        ]);
        self.json_patch(reference, &operations).await
    }

    async fn json_patch(&self, reference: &ObjectRef, operations: &Value) -> Result<Object, Error> {
        let call = Call {
            method: Method::PATCH,
            content_type: Some("application/json-patch+json"),
            body: operations.to_string().into(),
            ..Call::get(format!("{}?fieldManager={FIELD_MANAGER}", reference.path()))
        };
        let answer = self.object_json(call, reference).await.map(|(_, value)| value);
        self.shared.held.forget_kind(&reference.kind);
        let answer = answer.map_err(|error| self.kind_served(error, &reference.kind));
        answer.map(|value| typed(value, &reference.kind))
    }
}

/// Whether an object is as these operations leave it.
fn is_done(live: &Object, operations: &Value) -> bool {
    let mut changes = operations.as_array().into_iter().flatten().filter(|one| one["op"] != "test").peekable();
    let is_as_left = |one: &Value| {
        let path = one["path"].as_str();
        path.is_some_and(|path| live.value().pointer(path) == one.get("value"))
    };
    changes.peek().is_some() && changes.all(is_as_left)
}

#[cfg(test)]
mod tests {
    use super::super::stub::answering;
    use super::*;
    use crate::cluster::Kind;

    async fn patched(code: u16, reason: &str, message: &str, details: Value) -> Result<Patched, Error> {
        let status =
            json!({ "kind": "Status", "code": code, "reason": reason, "message": message, "details": details });
        let cluster = answering("east", move |_, _| (code, status.clone()));
        cluster.patch_if(&ObjectRef::namespaced(Kind::LEASE, "istio-system", "lease"), &json!([])).await
    }

    /// The API server gives a policy's refusal the code of a test that fails, unless the policy says another reason.
    #[tokio::test]
    async fn a_policy_that_refuses_is_no_test_that_fails() {
        let lease = json!({ "name": "lease", "group": "coordination.k8s.io", "kind": "leases" });
        let policy = r#"leases.coordination.k8s.io "lease" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no"#;
        let webhook = r#"admission webhook "w.example.com" denied the request: no"#;
        for (code, message, details) in
            [(422, policy, lease.clone()), (422, webhook, json!({})), (409, webhook, json!({}))]
        {
            let refused = patched(code, "Invalid", message, details).await;
            assert!(refused.unwrap_err().remedy().contains("policy"), "{code} {message}");
        }
        let invalid = r#"Lease.coordination.k8s.io "lease" is invalid: spec.leaseDurationSeconds: must be positive"#;
        assert!(patched(422, "Invalid", invalid, lease.clone()).await.is_err());

        let test = "the server rejected our request due to an error in our request";
        assert!(matches!(patched(422, "Invalid", test, json!({})).await, Ok(Patched::Refused)));
        let overtaken = "Operation cannot be fulfilled on leases: the object has been modified";
        assert!(matches!(patched(409, "Conflict", overtaken, lease).await, Ok(Patched::Refused)));
    }
}
