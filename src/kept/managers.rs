//! Who holds which field of a live object, by its managedFields.

use std::collections::BTreeMap;

use super::fields::{self, Fields};
use crate::cluster::{FIELD_MANAGER, Object};

/// The manager that wrote last among those that hold the field.
pub fn last_of(object: &Object, path: &str) -> Option<String> {
    let entries = object.items("metadata.managedFields");
    let holds = |entry: &&serde_json::Value| entry.get("fieldsV1").is_some_and(|set| holds(set, path));
    let newest = entries
        .iter()
        .filter(holds)
        .max_by_key(|entry| entry.get("time").and_then(|time| time.as_str()).unwrap_or_default().to_owned())?;
    Some(newest.get("manager")?.as_str()?.to_owned())
}

/// The live fields that the API server has as applied by this provider.
pub fn ours(object: &Object) -> Fields {
    let text =
        |entry: &serde_json::Value, member: &str| entry.get(member).and_then(|value| value.as_str()).map(str::to_owned);
    let entries = object.items("metadata.managedFields").iter();
    let sets: Vec<&serde_json::Value> = entries
        .filter(|entry| text(entry, "manager").as_deref() == Some(FIELD_MANAGER))
        .filter(|entry| text(entry, "operation").as_deref() == Some("Apply"))
        .filter_map(|entry| entry.get("fieldsV1"))
        .collect();
    let is_ours = |path: &str| sets.iter().any(|set| holds(set, path));
    fields::fields_where(object, &is_ours).into_iter().filter(|(path, _)| is_ours(path)).collect()
}

/// Whether a field set of managedFields holds a path. The set is walked alongside the path as far as it goes: where it
/// ends (a list held as one value), it holds all below.
fn holds(set: &serde_json::Value, path: &str) -> bool {
    let mut set = set;
    let mut rest = path;
    while !rest.is_empty() {
        let Some(members) = set.as_object().filter(|members| members.keys().any(|key| key != ".")) else { return true };
        let (step, tail) = next_step(rest);
        rest = tail;
        let field = match &step {
            Step::Member(name) => members.get(&format!("f:{name}")),
            Step::Item(key) => members.iter().find(|(name, _)| item_has_key(name, key)).map(|(_, set)| set),
        };
        match field {
            Some(field) => set = field,
            None => return false,
        }
    }
    true
}

/// A field that another manager holds and that is not recorded as ours: who, and a digest of the value.
pub type Held = (String, String);

/// Such fields of several objects, by the object's key in state and by path.
pub type HeldByOthers = BTreeMap<String, BTreeMap<String, Held>>;

/// More of one object would be somebody's who fills our records.
const HELD_AT_MOST: usize = 200;

/// What others hold of an object beside what is recorded. An apply that comes to want one of these fields otherwise is
/// refused.
pub fn others(object: &Object, recorded: &Fields) -> BTreeMap<String, Held> {
    let is_other = |entry: &serde_json::Value| {
        entry.get("manager").and_then(|manager| manager.as_str()).is_some_and(|manager| manager != FIELD_MANAGER)
            // Nobody's status is a field of ours; `scale` is where autoscalers set `replicas`.
            && entry.get("subresource").and_then(|name| name.as_str()) != Some("status")
    };
    if !object.items("metadata.managedFields").iter().any(is_other) {
        return BTreeMap::new();
    }
    // The documents of others are not read.
    let live = fields::fields_where(object, &|path| fields::is_above(recorded, path));
    let unrecorded = live.into_iter().filter(|(path, _)| !recorded.contains_key(path));
    let held = unrecorded.filter_map(|(path, value)| {
        let manager = last_of(object, &path).filter(|manager| manager != FIELD_MANAGER)?;
        Some((path, (manager, digest_of(&value))))
    });
    held.take(HELD_AT_MOST).collect()
}

/// What others write may be secret.
pub fn digest_of(value: &str) -> String {
    match fields::is_digest(value) {
        true => value.to_owned(),
        false => fields::shown_digest(value.as_bytes()),
    }
}

enum Step {
    Member(String),
    Item(String),
}

fn next_step(path: &str) -> (Step, &str) {
    let path = path.strip_prefix('.').unwrap_or(path);
    if let Some(quoted) = path.strip_prefix("[\"") {
        let end = quoted.find("\"]").unwrap_or(quoted.len());
        return (Step::Member(quoted[..end].replace("\\\"", "\"")), quoted.get(end + 2..).unwrap_or_default());
    }
    if let Some(item) = path.strip_prefix('[') {
        let end = item.find(']').unwrap_or(item.len());
        return (Step::Item(item[..end].to_owned()), item.get(end + 1..).unwrap_or_default());
    }
    let end = path.find(['.', '[']).unwrap_or(path.len());
    (Step::Member(path[..end].to_owned()), &path[end..])
}

/// `k:{"name":"discovery"}` has the key `discovery`; a port element is keyed by numbers we may know by name only, so
/// any will do.
fn item_has_key(name: &str, key: &str) -> bool {
    let Some(keys) = name.strip_prefix("k:").and_then(|keys| serde_json::from_str::<serde_json::Value>(keys).ok())
    else {
        return false;
    };
    let named = keys.get("name").or_else(|| keys.get("mountPath"));
    match named {
        Some(named) => named.as_str() == Some(key),
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn managed_fields_are_followed_through_keyed_lists_and_quoted_members() {
        let set = json!({"f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"discovery\"}": {".": {}, "f:env": {"k:{\"name\":\"A\"}": {"f:value": {}}}}}}}},
            "f:metadata": {"f:labels": {"f:istio.io/rev": {}}}});
        assert!(holds(&set, "spec.template.spec.containers[discovery].env[A].value"));
        assert!(!holds(&set, "spec.template.spec.containers[discovery].env[B].value"));
        assert!(!holds(&set, "spec.template.spec.containers[other].image"));
        assert!(holds(&set, "metadata.labels[\"istio.io/rev\"]"));
    }

    #[test]
    fn what_others_hold_is_known_by_manager_and_digest() {
        let live = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "annotations": {"a": "theirs"}, "managedFields": [
            {"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
            {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:metadata": {"f:annotations": {"f:a": {}}}, "f:spec": {"f:paused": {}}}},
            {"manager": "controller", "operation": "Update", "subresource": "status", "fieldsV1": {"f:status": {}}},
        ]}, "spec": {"replicas": 1, "paused": true, "minReadySeconds": 3}});
        let recorded = Fields::from([("spec.replicas".to_owned(), "1".to_owned())]);
        let held = others(&Object::new(live.clone()).unwrap(), &recorded);
        let told: Vec<_> = held.iter().map(|(path, (by, _))| (path.as_str(), by.as_str())).collect();
        assert_eq!(told, [("metadata.annotations.a", "kubectl-edit"), ("spec.paused", "kubectl-edit")]);
        assert!(held.values().all(|(_, value)| fields::is_digest(value)), "{held:?}");
        let mut scaled = live.clone();
        scaled["metadata"]["managedFields"] = json!([
            {"manager": "kube-controller-manager", "operation": "Update", "subresource": "scale", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
        ]);
        let held = others(&Object::new(scaled).unwrap(), &Fields::new());
        assert_eq!(held.into_keys().collect::<Vec<_>>(), ["spec.replicas"], "an autoscaler holds what it has set");
        let mut alone = live;
        alone["metadata"]["managedFields"].as_array_mut().unwrap().remove(1);
        assert_eq!(others(&Object::new(alone).unwrap(), &recorded), BTreeMap::new());
    }

    #[test]
    fn what_others_added_is_not_ours() {
        let live = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "labels": {"app": "a", "theirs": "b"}, "managedFields": [
            {"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:metadata": {"f:labels": {"f:app": {}}}, "f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}, "f:name": {}}}}}},
            {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:metadata": {"f:labels": {"f:theirs": {}}}}},
        ]}, "spec": {"ports": [{"name": "http", "port": 80, "protocol": "TCP"}], "clusterIP": "10.0.0.1"}});
        let ours: Vec<String> = ours(&Object::new(live).unwrap()).into_keys().collect();
        assert_eq!(ours, ["metadata.labels.app", "spec.ports[http].port"]);
    }
}
