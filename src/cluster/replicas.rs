//! Gives up the number of replicas without changing it.
//!
//! A field that the last manager to hold it no longer applies falls back to its default: of a Deployment that is handed
//! over to an autoscaler one Pod would be left until the autoscaler is heard. Kubernetes asks to transfer the field
//! first (server-side apply, "Transferring ownership"). So our share of it is taken out of managedFields before the
//! apply: the number stays as it is, and whoever writes it next holds it.

use serde_json::Value;

use super::apply::CONTENTION_ATTEMPTS;
use super::{Cluster, Error, FIELD_MANAGER, Object, ObjectRef};

/// Kinds of the group `apps` that count Pods, and default to one.
const SCALED: [&str; 3] = ["Deployment", "StatefulSet", "ReplicaSet"];

impl Cluster {
    /// Before an apply of `object`: `live` is what was found of it, where somebody has looked already; its metadata is
    /// enough.
    pub(super) async fn keep_replicas(
        &self,
        reference: &ObjectRef,
        object: &Object,
        live: Option<Object>,
    ) -> Result<(), Error> {
        let is_scaled = reference.kind.group == "apps" && SCALED.contains(&&*reference.kind.kind);
        if !is_scaled || object.get("spec.replicas").is_some() {
            return Ok(());
        }
        let mut live = live;
        for attempt in 0_u32.. {
            let looked = match live.take() {
                Some(live) => Some(live),
                None => self.get_metadata(reference).await?,
            };
            let given_up = looked.as_ref().and_then(given_up);
            let (Some(looked), Some(entries)) = (looked, given_up) else { break };
            let entries: Vec<&Value> = entries.iter().collect();
            match self.set_managers(reference, &looked, &entries).await {
                Ok(_) => break,
                Err(error) if error.is_not_found() => break,
                // Someone has written in between: look again.
                Err(refused) if refused.is_contention() && attempt < CONTENTION_ATTEMPTS => {
                    self.let_others_write(attempt, refused).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The managedFields without our share of the replicas; `None` where we have none, or others hold them too, so that
/// they stay anyway.
fn given_up(live: &Object) -> Option<Vec<Value>> {
    let mut entries = live.items("metadata.managedFields").to_vec();
    if entries.iter().any(|entry| !is_ours(entry) && holds_replicas(entry)) {
        return None;
    }
    let mut found = false;
    for entry in entries.iter_mut().filter(|entry| is_ours(entry)) {
        let spec = entry.pointer_mut("/fieldsV1/f:spec").and_then(Value::as_object_mut);
        found |= spec.and_then(|fields| fields.remove("f:replicas")).is_some();
    }
    found.then_some(entries)
}

fn is_ours(entry: &Value) -> bool {
    entry["manager"] == FIELD_MANAGER && entry["operation"] == "Apply"
}

fn holds_replicas(entry: &Value) -> bool {
    entry.pointer("/fieldsV1/f:spec/f:replicas").is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn our_share_alone_is_given_up_and_only_where_nobody_else_holds_it() {
        let ours = || json!({"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}, "f:template": {}}}});
        let other =
            |manager: &str, fields: Value| json!({"manager": manager, "operation": "Update", "fieldsV1": fields});
        let live = |entries: Value| {
            Object::new(json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "managedFields": entries}}))
                .unwrap()
        };
        let status = other("controller", json!({"f:status": {"f:replicas": {}}}));
        let left = given_up(&live(json!([ours(), status]))).unwrap();
        assert_eq!(left[0]["fieldsV1"], json!({"f:spec": {"f:template": {}}}));
        assert_eq!(left[1], status);
        let scaled = other("kube-controller-manager", json!({"f:spec": {"f:replicas": {}}}));
        assert_eq!(given_up(&live(json!([ours(), scaled]))), None);
        assert_eq!(given_up(&live(json!([other("helm", json!({"f:spec": {"f:template": {}}}))]))), None);
    }
}
