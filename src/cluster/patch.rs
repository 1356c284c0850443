//! JSON patches whose tests decide: one request that looks and writes in one step.

use http::{Method, StatusCode};
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
            // The API server answers a test that fails with 422, and one overtaken by another write with 409.
            Err(Error { failure: Failure::Api(status), .. })
                if status.code == StatusCode::UNPROCESSABLE_ENTITY.as_u16() || status.code == 409 =>
            {
                Ok(Patched::Refused)
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
