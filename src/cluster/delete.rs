//! Deletes objects, and says what a deletion waits for.

use http::Method;
use serde_json::{Value, json};

use super::apply::first_defined;
use super::call::Call;
use super::read::{METADATA_LIST, items, typed, unknown_kind};
use super::{Cluster, Error, Failure, Kind, Object, ObjectRef, wait};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    /// The object goes at once, what it owns after it.
    #[default]
    Background,
    /// The object goes when all it owns has gone.
    Foreground,
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

impl Delete {
    pub fn new(object: ObjectRef) -> Delete {
        Delete { object, propagation: Propagation::Background, uid: None, resource_version: None }
    }
}

impl Cluster {
    /// Asks for deletion; `false` where there was nothing to delete.
    pub async fn delete(&self, delete: &Delete) -> Result<bool, Error> {
        Ok(self.send_delete(delete).await? != Outcome::Absent)
    }

    /// Deletes and waits until the object is gone; a timeout names finalizers and conditions: for a namespace, what is
    /// left in it.
    pub async fn delete_and_wait(&self, delete: &Delete) -> Result<bool, Error> {
        let outcome = self.send_delete(delete).await?;
        if outcome == Outcome::Going {
            self.wait(&delete.object, &wait::deleted()).await?;
        }
        Ok(outcome != Outcome::Absent)
    }

    /// Objects of the kind that this CRD defines, over all namespaces (the first hundred): a CRD goes only when there
    /// are none.
    ///
    /// Of a CRD in the table its metadata is enough, where the cluster serves the table's version.
    pub async fn instances(&self, definition: &Object) -> Result<Vec<ObjectRef>, Error> {
        let known = first_defined(definition).or_else(|| Kind::defined_by(definition.name()));
        if let Some(kind) = known
            && let Some(found) = self.some_of(&kind).await?
        {
            return Ok(found);
        }
        let reference = definition.reference_as(Kind::CUSTOM_RESOURCE_DEFINITION);
        let live = self.get(&reference).await?.filter(|live| !live.is_terminating());
        let Some((live, kind)) = live.and_then(|live| first_defined(&live).map(|kind| (live, kind))) else {
            return Ok(Vec::new());
        };
        let is_established = live.condition("Established").is_some_and(|condition| condition.status == "True");
        match self.some_of(&kind).await? {
            Some(found) => Ok(found),
            // One of several API servers may not know it yet. Objects that are not seen are not gone.
            None if is_established => Err(self.error(unknown_kind(&kind.api_version(), &kind.kind))),
            None => Ok(Vec::new()),
        }
    }

    /// Objects of a kind; `None` where the cluster does not serve it.
    async fn some_of(&self, kind: &Kind) -> Result<Option<Vec<ObjectRef>>, Error> {
        let call = Call { accept: METADATA_LIST, ..Call::get(format!("{}?limit=100", kind.path(None))) };
        match self.list_json(call, kind).await.map_err(|error| self.kind_served(error, kind)) {
            Err(error) if error.is_unknown_kind() => Ok(None),
            list => {
                let found = items(list?).into_iter().map(|item| typed(item, kind).reference_as(kind.clone()));
                Ok(Some(found.collect()))
            }
        }
    }

    async fn send_delete(&self, delete: &Delete) -> Result<Outcome, Error> {
        let propagation = match delete.propagation {
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
        };
        let mut options = json!({ "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation });
        if let Some(uid) = &delete.uid {
            options["preconditions"]["uid"] = uid.as_str().into();
        }
        if let Some(version) = &delete.resource_version {
            options["preconditions"]["resourceVersion"] = version.as_str().into();
        }
        let call = Call {
            method: Method::DELETE,
            content_type: Some(Call::JSON),
            body: options.to_string().into(),
            ..Call::get(delete.object.path())
        };
        let answer = self.json(call).await;
        let outcome = self.outcome(delete, answer);
        match outcome {
            Ok(Outcome::Gone) => self.shared.held.forget_object(&delete.object),
            Ok(Outcome::Absent | Outcome::Going) | Err(_) => self.shared.held.forget_kind(&delete.object.kind),
        }
        outcome
    }

    fn outcome(&self, delete: &Delete, answer: Result<Value, Error>) -> Result<Outcome, Error> {
        match answer.map_err(|error| self.kind_served(error, &delete.object.kind)) {
            // What still has finalizers or a grace period comes back as it is; what is gone is a Status.
            Ok(value) if value.get("metadata").is_some_and(|metadata| metadata.get("deletionTimestamp").is_some()) => {
                Ok(Outcome::Going)
            }
            Ok(value) if is_answer_to(delete, &value) => Ok(Outcome::Gone),
            Ok(_) => {
                Err(self.no_answer_to(&format!("DELETE {}", delete.object.path()), "neither a Status nor the object"))
            }
            Err(Error { failure: Failure::Api(status), .. }) if status.is_absence_of(&delete.object.name) => {
                Ok(Outcome::Absent)
            }
            // Another object has taken the name: the one meant is gone.
            Err(Error { failure: Failure::Api(status), .. })
                if status.code == 409 && delete.uid.is_some() && is_other_uid(&status.message) =>
            {
                Ok(Outcome::Absent)
            }
            Err(error) => Err(error),
        }
    }
}

/// A Status of success, or the object as it was.
fn is_answer_to(delete: &Delete, answer: &Value) -> bool {
    let text = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default();
    match text("kind") {
        "Status" => text("status") == "Success",
        kind => kind == delete.object.kind.kind || kind == "PartialObjectMetadata",
    }
}

/// The server has no reason code of its own for it, and words it differently from version to version.
fn is_other_uid(message: &str) -> bool {
    message.contains("UID in") && message.contains("precondition")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Absent,
    Going,
    Gone,
}

#[cfg(test)]
mod tests {
    use super::super::stub::answering;
    use super::*;

    fn definition(conditions: &Value) -> Value {
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "things.example.com"},
            "spec": {
                "group": "example.com", "scope": "Namespaced", "names": {"kind": "Thing", "plural": "things"},
                "versions": [{"name": "v1", "served": true, "storage": true}],
            },
            "status": {"conditions": conditions},
        })
    }

    /// What is said of the objects of a definition whose kind the API server does not serve.
    async fn unserved(conditions: Value) -> Result<Vec<ObjectRef>, Error> {
        let live = definition(&conditions);
        let handed = Object::new(live.clone()).expect("an object");
        let cluster = answering("east", move |_, path| match path.contains("customresourcedefinitions") {
            true => (200, live.clone()),
            false => (404, json!("404 page not found")),
        });
        cluster.instances(&handed).await
    }

    #[tokio::test]
    async fn objects_of_a_kind_that_is_not_served_at_the_moment_are_not_none() {
        let established = |status: &str| json!([{"type": "Established", "status": status}]);
        let error = unserved(established("True")).await.unwrap_err();
        assert!(error.is_unknown_kind() && error.remedy().contains("again"), "{error}");
        assert_eq!(unserved(established("False")).await.unwrap(), []);
        assert_eq!(unserved(json!([])).await.unwrap(), []);
    }
}
