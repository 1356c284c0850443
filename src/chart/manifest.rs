//! Rendered texts to manifests: splitting, hooks, and the order in which Helm installs.
use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::budget::Budget;
use super::funcs::is_space;
use super::{Error, Manifest, yaml};

/// What is of none of these kinds comes after them, by kind.
const INSTALL_ORDER: [&str; 38] = [
    "PriorityClass",
    "Namespace",
    "NetworkPolicy",
    "ResourceQuota",
    "LimitRange",
    "PodSecurityPolicy",
    "PodDisruptionBudget",
    "ServiceAccount",
    "Secret",
    "SecretList",
    "ConfigMap",
    "StorageClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleList",
    "ClusterRoleBinding",
    "ClusterRoleBindingList",
    "Role",
    "RoleList",
    "RoleBinding",
    "RoleBindingList",
    "Service",
    "DaemonSet",
    "Pod",
    "ReplicationController",
    "ReplicaSet",
    "Deployment",
    "HorizontalPodAutoscaler",
    "StatefulSet",
    "Job",
    "CronJob",
    "IngressClass",
    "Ingress",
    "APIService",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
];

const HOOK_EVENTS: [&str; 10] = [
    "pre-install",
    "post-install",
    "pre-delete",
    "post-delete",
    "pre-upgrade",
    "post-upgrade",
    "pre-rollback",
    "post-rollback",
    "test",
    "test-success",
];

/// The documents of all rendered templates, in the order of their paths.
pub(super) fn each(rendered: BTreeMap<String, String>, take: &mut dyn FnMut(Manifest)) -> Result<(), Error> {
    let mut budget = Budget::of_length(rendered.values().map(String::len).sum());
    for (template, text) in rendered {
        for text in split(&text) {
            if let Some(manifest) = manifest(&template, text, &mut budget)? {
                take(manifest);
            }
        }
    }
    Ok(())
}

/// The same in the order in which Helm installs them.
pub(super) fn manifests(rendered: BTreeMap<String, String>) -> Result<Vec<Manifest>, Error> {
    let mut manifests = Vec::new();
    each(rendered, &mut |manifest| manifests.push(manifest))?;
    manifests.sort_by(|a, b| {
        let key = |m: &Manifest| {
            let kind = m.object.get("kind").map(scalar_text).unwrap_or_default();
            let place = INSTALL_ORDER.iter().position(|known| *known == kind);
            // A kind that is not in the list has the last place, and is told from others like it by name.
            let name = if place.is_none() { kind } else { String::new() };
            (!m.hooks.is_empty(), place.unwrap_or(INSTALL_ORDER.len()), name)
        };
        key(a).cmp(&key(b))
    });
    Ok(manifests)
}

/// Splits at every line that begins with `---`, wherever it is; that is Helm's rule.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let text = text.trim_start_matches(is_space);
    let mut starts = vec![0];
    let mut ends = Vec::new();
    let mut line_start = 0;
    for line in text.split_inclusive('\n') {
        if let Some(after) = line.strip_prefix("---") {
            ends.push(line_start);
            let blanks = after.len() - after.trim_start_matches([' ', '\t']).len();
            starts.push(line_start + 3 + blanks);
        }
        line_start += line.len();
    }
    ends.push(text.len());
    starts
        .into_iter()
        .zip(ends)
        .map(|(start, end)| text[start..end].trim_start_matches(is_space))
        .filter(|document| !document.is_empty())
}

fn manifest(template: &str, text: &str, budget: &mut Budget) -> Result<Option<Manifest>, Error> {
    let fail = |message: String| Error::Manifest { template: template.to_owned(), message };
    let object = yaml::parse_within(text, budget).map_err(|error| fail(error.to_string()))?;
    let annotations = head_annotations(&object).map_err(|message| {
        fail(format!("error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {message}"))
    })?;
    let mut hooks = Vec::new();
    if let Some(events) = annotations.and_then(|a| a.get("helm.sh/hook")) {
        for event in scalar_text(events).split(',') {
            let event = event.trim().to_lowercase();
            if !HOOK_EVENTS.contains(&event.as_str()) {
                // Helm leaves a hook that waits for an unknown event out.
                return Ok(None);
            }
            hooks.push(event);
        }
    }
    Ok(Some(Manifest { template: template.to_owned(), text: text.to_owned(), object, hooks }))
}

/// The annotations, after the same checks that reading a document's head makes in Helm.
fn head_annotations(object: &Json) -> Result<Option<&Map<String, Json>>, String> {
    let fields = match object {
        Json::Object(fields) => fields,
        Json::Null => return Ok(None),
        other => return Err(format!("{} into Go value of type util.SimpleHead", kind(other))),
    };
    for key in ["apiVersion", "kind"] {
        text_field(fields, key, &format!("SimpleHead.{key}"))?;
    }
    let metadata = match fields.get("metadata") {
        None | Some(Json::Null) => return Ok(None),
        Some(Json::Object(metadata)) => metadata,
        Some(other) => {
            return Err(format!(
                "{} into Go struct field SimpleHead.metadata of type struct {{ Name string \"json:\\\"name\\\"\"; \
                 Annotations map[string]string \"json:\\\"annotations\\\"\" }}",
                kind(other)
            ));
        }
    };
    text_field(metadata, "name", ".metadata.name")?;
    let annotations = match metadata.get("annotations") {
        None | Some(Json::Null) => return Ok(None),
        Some(Json::Object(annotations)) => annotations,
        Some(other) => {
            return Err(format!(
                "{} into Go struct field .metadata.annotations of type map[string]string",
                kind(other)
            ));
        }
    };
    for key in annotations.keys() {
        text_field(annotations, key, ".metadata.annotations")?;
    }
    Ok(Some(annotations))
}

fn text_field(fields: &Map<String, Json>, key: &str, path: &str) -> Result<(), String> {
    match fields.get(key) {
        Some(value @ (Json::Object(_) | Json::Array(_))) => {
            Err(format!("{} into Go struct field {path} of type string", kind(value)))
        }
        _ => Ok(()),
    }
}

fn kind(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "bool",
        Json::Number(_) => "number",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    }
}

fn scalar_text(json: &Json) -> String {
    match json {
        Json::String(s) => s.clone(),
        Json::Null => String::new(),
        other => other.to_string(),
    }
}
