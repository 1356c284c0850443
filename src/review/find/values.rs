//! Values documents, merged as Helm merges them and compared leaf by leaf.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::review::read::{Instance, Reading};

/// A leaf that differs.
pub struct Change {
    pub path: String,
    pub before: Option<String>,
    pub after: Option<String>,
}

/// Of `values` and `base_values`; nothing where a document cannot be read or is not known yet.
pub fn differences(instance: &Instance) -> Vec<Change> {
    ["values", "base_values"]
        .iter()
        .flat_map(|name| between(instance.before().get(name), instance.after().get(name)))
        .collect()
}

fn between(before: Reading<'_>, after: Reading<'_>) -> Vec<Change> {
    if after.is_partly_unknown() || before.value() == after.value() {
        return Vec::new();
    }
    let (Some(before), Some(after)) = (leaves(before), leaves(after)) else { return Vec::new() };
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changed = paths.into_iter().filter(|path| before.get(*path) != after.get(*path));
    changed
        .map(|path| Change { path: path.clone(), before: before.get(path).cloned(), after: after.get(path).cloned() })
        .collect()
}

fn leaves(documents: Reading<'_>) -> Option<BTreeMap<String, String>> {
    let mut merged = Map::new();
    for text in documents.texts() {
        match serde_saphyr::from_str::<Value>(text) {
            Ok(Value::Object(document)) => merge(&mut merged, document),
            Ok(Value::Null) => {}
            _ => return None,
        }
    }
    let mut leaves = BTreeMap::new();
    flatten("", &Value::Object(merged), &mut leaves);
    Some(leaves)
}

fn merge(into: &mut Map<String, Value>, over: Map<String, Value>) {
    for (name, value) in over {
        match (into.get_mut(&name), value) {
            (Some(Value::Object(into)), Value::Object(over)) => merge(into, over),
            (_, value) => {
                into.insert(name, value);
            }
        }
    }
}

fn flatten(path: &str, value: &Value, leaves: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, value) in members {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(&path, value, leaves);
            }
        }
        Value::Object(_) if path.is_empty() => {}
        Value::String(text) => drop(leaves.insert(path.to_owned(), text.clone())),
        other => drop(leaves.insert(path.to_owned(), other.to_string())),
    }
}

/// Whether a setting, in values or in a field of an object, takes encryption or a check of identity away.
pub fn weakens(path: &str, before: Option<&str>, after: Option<&str>) -> bool {
    /// What ends a path, and the value that is the weak one.
    const SETTINGS: &[(&str, &str)] = &[
        ("enableautomtls", "false"),
        ("mtls.enabled", "false"),
        ("mtls.mode", "PERMISSIVE"),
        ("mtls.mode", "DISABLE"),
        ("controlplanesecurityenabled", "false"),
        ("pilot_skip_validate_trust_domain", "true"),
        ("pilot_enable_xds_identity_check", "false"),
        ("xds_auth", "false"),
        ("xds_auth_plaintext", "false"),
        ("verify_certificate_at_client", "false"),
        ("minprotocolversion", "TLSV1_2"),
        ("enable_auto_sni", "false"),
    ];
    let path = path.to_lowercase();
    // `env[NAME].value` of a Deployment is the setting NAME.
    let path = path.trim_end_matches(".value").trim_end_matches(']').replace('[', ".");
    let ends = |end: &str| path == end || path.strip_suffix(end).is_some_and(|rest| rest.ends_with('.'));
    SETTINGS.iter().any(|(end, weak)| {
        ends(end)
            && after.is_some_and(|after| after.eq_ignore_ascii_case(weak))
            && !before.is_some_and(|before| before.eq_ignore_ascii_case(weak))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weak_setting_is_known_in_values_and_in_fields() {
        assert!(weakens("meshConfig.enableAutoMtls", Some("true"), Some("false")));
        assert!(weakens("data.mesh.enableAutoMtls", None, Some("false")));
        assert!(weakens(
            "spec.template.spec.containers[discovery].env[PILOT_SKIP_VALIDATE_TRUST_DOMAIN].value",
            None,
            Some("true")
        ));
        assert!(!weakens("meshConfig.enableAutoMtls", Some("false"), Some("true")));
        assert!(!weakens("meshConfig.enableAutoMtls", Some("false"), Some("false")));
        assert!(!weakens("meshConfig.accessLogFile", None, Some("false")));
    }
}
