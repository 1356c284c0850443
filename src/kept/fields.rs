//! What is recorded of a Kubernetes object: its fields by path, each with a short readable value.
//!
//! Pure. A rendered object and a live one are flattened by the same rules, so that they can be compared path by path;
//! what the API server adds to an object by itself has no recorded path and so is never a difference. No secret leaves
//! here: the data of a Secret is shown as a digest.

use std::collections::BTreeMap;
use std::ops::Bound;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::chart;
use crate::cluster::{INSTANCE_ANNOTATION, OWNER_LABEL, Object};

/// Field path to readable value: `spec.template.spec.containers[discovery].image` to `docker.io/istio/pilot:1.31.0`.
pub type Fields = BTreeMap<String, String>;

/// Bytes of a digest: nobody finds another text of the same one.
const DIGEST: usize = 16;

/// Values longer than this are shown as a digest.
const READABLE: usize = 160;

/// The fields of an object that are recorded: everything but what identifies it, its status and what the API server
/// writes.
pub fn fields(object: &Object) -> Fields {
    fields_where(object, &|_| true)
}

/// The same of a live object. Of the data of a ConfigMap only what `is_ours` is read: whoever may write there could put
/// a document beside ours whose reading costs more than all of them.
pub fn fields_where(object: &Object, is_ours: &dyn Fn(&str) -> bool) -> Fields {
    let (kind, custom) = (object.kind(), is_custom(object.api_version()));
    let mut walk = Walk { kind, custom, is_ours, fields: Fields::new() };
    let Some(members) = object.value().as_object() else { return walk.fields };
    for (member, value) in members {
        match member.as_str() {
            "apiVersion" | "kind" | "status" => {}
            "metadata" => walk.metadata(value),
            "spec" if object.kind() == "CustomResourceDefinition" => walk.definition(value),
            "data" | "binaryData" | "stringData" if object.kind() == "Secret" => walk.secret(member, value),
            "data" if object.kind() == "ConfigMap" => walk.documents(member, value),
            _ => walk.value(member, member, value),
        }
    }
    walk.fields
}

/// A short digest of fields, for the eye and for equality.
pub fn digest(fields: &Fields) -> String {
    let mut hasher = Sha256::new();
    for (path, value) in fields {
        for text in [path, value] {
            hasher.update(text.len().to_le_bytes());
            hasher.update(text);
        }
    }
    hex(&hasher.finalize()[..DIGEST])
}

/// Whether a live value (`None`: not there) is what was asked for, spelled differently or not.
pub fn same(path: &str, wanted: &str, live: Option<&str>) -> bool {
    match live {
        Some(live) if live == wanted => true,
        Some(live) => path.contains("resources.") && quantity(wanted).is_some() && quantity(wanted) == quantity(live),
        // The API server drops what says nothing.
        None => matches!(wanted, "" | "{}" | "[]" | "null") || matches!(wanted, "false" | "0") && !says_something(path),
    }
}

/// Whether `false` and `0` say something there: in texts, and where nothing means something else.
fn says_something(path: &str) -> bool {
    const NO_ZERO: [&str; 6] =
        ["allowPrivilegeEscalation", "automountServiceAccountToken", "hostUsers", "runAsUser", "runAsGroup", "fsGroup"];
    let is_text = ["metadata.labels", "metadata.annotations", "data", "stringData"]
        .iter()
        .any(|texts| path.strip_prefix(texts).is_some_and(|rest| rest.starts_with(['.', '['])));
    let last = path.rsplit('.').next().unwrap_or(path);
    is_text || NO_ZERO.contains(&last) || last == "value" && path.contains(".env[")
}

struct Walk<'a> {
    kind: &'a str,
    custom: bool,
    is_ours: &'a dyn Fn(&str) -> bool,
    fields: Fields,
}

impl Walk<'_> {
    fn metadata(&mut self, metadata: &Value) {
        for member in ["labels", "annotations"] {
            let entries = metadata.get(member).and_then(Value::as_object).into_iter().flatten();
            // An adopted object has our label and mark only after its first apply: they say whose, not what.
            for (key, value) in entries.filter(|(key, _)| ![OWNER_LABEL, INSTANCE_ANNOTATION].contains(&key.as_str())) {
                self.leaf(join(&format!("metadata.{member}"), key), value);
            }
        }
    }

    /// A schema of thousands of lines would bury the plan: one digest for each version, and what people ask for beside
    /// it.
    fn definition(&mut self, spec: &Value) {
        for version in spec.get("versions").and_then(Value::as_array).into_iter().flatten() {
            let name = version.get("name").and_then(Value::as_str).unwrap_or_default();
            let path = format!("spec.versions[{name}]");
            for member in ["served", "storage", "deprecated"] {
                if let Some(value) = version.get(member) {
                    self.leaf(format!("{path}.{member}"), value);
                }
            }
            if let Some(schema) = version.get("schema") {
                self.put(format!("{path}.schema"), shown_digest(schema.to_string().as_bytes()));
            }
        }
        for member in ["group", "scope"] {
            if let Some(value) = spec.get(member) {
                self.leaf(format!("spec.{member}"), value);
            }
        }
    }

    fn secret(&mut self, member: &str, data: &Value) {
        for (key, value) in data.as_object().into_iter().flatten() {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            self.put(join(member, key), shown_digest(text.as_bytes()));
        }
    }

    /// A ConfigMap of Istio holds documents: they are shown by their fields, so that a plan names what changes in them.
    /// The values that the chart leaves behind for debugging are not: they repeat everything else.
    fn documents(&mut self, member: &str, data: &Value) {
        for (key, value) in data.as_object().into_iter().flatten() {
            let path = join(member, key);
            if !(self.is_ours)(&path) {
                continue;
            }
            let shown = value.as_str().filter(|_| !matches!(key.as_str(), "original-values" | "merged-values"));
            match shown.and_then(document) {
                Some(document) => self.value(&path, "", &document),
                None => self.leaf(path, value),
            }
        }
    }

    fn value(&mut self, path: &str, member: &str, value: &Value) {
        match value {
            Value::Null => {}
            Value::Object(members) if !members.is_empty() => {
                for (name, value) in members {
                    self.value(&join(path, name), name, value);
                }
            }
            Value::Array(items) if items.iter().any(Value::is_object) => self.list(path, member, items),
            leaf => self.leaf(path.to_owned(), leaf),
        }
    }

    fn list(&mut self, path: &str, member: &str, items: &[Value]) {
        if let Some(keys) = self.keys(member, items) {
            for ((by, key), item) in keys.iter().zip(items) {
                self.item(&format!("{path}[{key}]"), by, item);
            }
            return;
        }
        // A list that is one value to the API server: an element more is a difference too, of the list itself.
        self.put(path.to_owned(), counted(items.len()));
        for (index, item) in items.iter().enumerate() {
            self.value(&format!("{path}[{index}]"), "", item);
        }
    }

    /// The path names the element already: its key is shown again only where it is all there is.
    fn item(&mut self, path: &str, by: &str, item: &Value) {
        for (name, value) in item.as_object().into_iter().flatten() {
            if name != by || item.as_object().is_some_and(|members| members.len() == 1) {
                self.value(&join(path, name), name, value);
            }
        }
    }

    /// The keys, by member and value, of a list that the API server merges element by element.
    fn keys(&self, member: &str, items: &[Value]) -> Option<Vec<(&'static str, String)>> {
        let by: &[&'static str] = match (self.kind, member) {
            ("Gateway", "listeners") => &["name"],
            _ if self.custom => return None,
            ("Service" | "EndpointSlice", "ports") => &["name", "port"],
            (_, "ports") => &["name", "containerPort"],
            (_, "volumeMounts") => &["mountPath"],
            (
                _,
                "volumes" | "containers" | "initContainers" | "env" | "imagePullSecrets" | "webhooks" | "variables"
                | "matchConditions",
            ) => &["name"],
            _ => return None,
        };
        let key = |item: &Value| by.iter().find_map(|by| Some((*by, plain(item.get(by)?))));
        let keys: Vec<(&'static str, String)> = items.iter().map(key).collect::<Option<_>>()?;
        let distinct = keys.iter().collect::<std::collections::BTreeSet<_>>().len() == keys.len();
        distinct.then_some(keys)
    }

    fn leaf(&mut self, path: String, value: &Value) {
        let text = plain(value);
        let readable = text.len() <= READABLE && !text.contains('\n');
        self.put(path, if readable { text } else { shown_digest(text.as_bytes()) });
    }

    fn put(&mut self, path: String, value: String) {
        self.fields.insert(path, value);
    }
}

fn counted(elements: usize) -> String {
    format!("{elements} element{}", if elements == 1 { "" } else { "s" })
}

/// Text as it is, anything else as JSON; a whole number without a fraction, however it was written.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 1e15 => format!("{float:.0}"),
            _ => number.to_string(),
        },
        other => other.to_string(),
    }
}

/// JSON, or a YAML mapping of more than one line.
fn document(text: &str) -> Option<Value> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).ok();
    }
    let mapping = text.trim_end().contains('\n').then(|| chart::Values::from_yaml(text).ok()).flatten()?;
    Some(Value::Object(mapping.into_map()))
}

fn join(path: &str, key: &str) -> String {
    let simple =
        !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if simple { format!("{path}.{key}") } else { format!("{path}[{key:?}]") }
}

/// Whether a path or something below it is among the fields.
pub fn is_above(fields: &Fields, path: &str) -> bool {
    let from = (Bound::Included(path), Bound::Unbounded);
    let beginning = fields.range::<str, _>(from).map(|(found, _)| found).take_while(|found| found.starts_with(path));
    beginning.map(|found| &found[path.len()..]).any(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// The key of a label or annotation, of a path of one.
pub fn metadata_key(path: &str) -> Option<String> {
    let rest = path.strip_prefix("metadata.labels").or_else(|| path.strip_prefix("metadata.annotations"))?;
    match rest.strip_prefix('.') {
        Some(key) => Some(key.to_owned()),
        None => Some(rest.strip_prefix("[\"")?.strip_suffix("\"]")?.to_owned()),
    }
}

fn is_custom(api_version: &str) -> bool {
    match api_version.split_once('/') {
        None => false,
        Some((group, _)) => group.contains('.') && !group.ends_with(".k8s.io") || group == "gateway.networking.k8s.io",
    }
}

/// Twelve digits that stand for a text too long to write.
pub fn short(text: &str) -> String {
    hex(&Sha256::digest(text)[..6])
}

/// Whether a field is shown as a digest.
pub fn is_digest(text: &str) -> bool {
    text.starts_with("sha256:") && text.ends_with(" bytes)")
}

/// A live text in the manner of the recorded one: where that is a digest, this is as well.
pub fn like(recorded: &str, live: &str) -> String {
    match is_digest(recorded) && !is_digest(live) {
        true => shown_digest(live.as_bytes()),
        false => live.to_owned(),
    }
}

pub(super) fn shown_digest(bytes: &[u8]) -> String {
    format!("sha256:{} ({} bytes)", hex(&Sha256::digest(bytes)[..DIGEST]), bytes.len())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A Kubernetes quantity in thousandths: `0.5`, `500m`, `2Gi`.
fn quantity(text: &str) -> Option<i128> {
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-')).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor: f64 = match unit {
        "m" => 1.0,
        "" => 1e3,
        "k" => 1e6,
        "M" => 1e9,
        "G" => 1e12,
        "T" => 1e15,
        "Ki" => 1e3 * 1024.0,
        "Mi" => 1e3 * 1024.0 * 1024.0,
        "Gi" => 1e3 * 1024.0 * 1024.0 * 1024.0,
        "Ti" => 1e3 * 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let number: f64 = number.parse().ok()?;
    Some((number * factor).round() as i128)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(value: Value) -> Fields {
        fields(&Object::new(value).unwrap())
    }

    #[test]
    fn merged_lists_are_named_and_whole_ones_are_counted() {
        let fields = of(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "istiod", "namespace": "istio-system", "labels": {"app": "istiod", "istio.io/rev": "default", OWNER_LABEL: "x"}},
            "spec": {"template": {"spec": {
                "containers": [{"name": "discovery", "env": [{"name": "CLUSTER_ID", "value": "east"}], "args": ["discovery", "--domain"]}],
                "tolerations": [{"key": "a", "operator": "Exists"}],
            }}},
            "status": {"replicas": 1},
        }));
        let shown: Vec<String> = fields.iter().map(|(path, value)| format!("{path} = {value}")).collect();
        assert_eq!(
            shown,
            [
                "metadata.labels.app = istiod",
                "metadata.labels[\"istio.io/rev\"] = default",
                "spec.template.spec.containers[discovery].args = [\"discovery\",\"--domain\"]",
                "spec.template.spec.containers[discovery].env[CLUSTER_ID].value = east",
                "spec.template.spec.tolerations = 1 element",
                "spec.template.spec.tolerations[0].key = a",
                "spec.template.spec.tolerations[0].operator = Exists",
            ]
        );
    }

    #[test]
    fn documents_of_others_in_a_live_config_map_are_not_read() {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"},
            "data": {"mesh": "a: 1\nb: 2\n", "mesh-2": "c: 3\nd: 4\n", "other": "e: 5\nf: 6\n"}});
        let map = Object::new(map).unwrap();
        let recorded =
            Fields::from([("data.mesh.a".to_owned(), "1".to_owned()), ("data.mesh-3".to_owned(), String::new())]);
        let live: Vec<String> = fields_where(&map, &|path| is_above(&recorded, path)).into_keys().collect();
        assert_eq!(live, ["data.mesh.a", "data.mesh.b"]);
    }

    #[test]
    fn a_secret_shows_digests_only() {
        let fields = of(
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "aHVzaA=="}, "stringData": {"t": "hush"}}),
        );
        assert!(fields.values().all(|value| value.starts_with("sha256:")), "{fields:?}");
    }

    #[test]
    fn json_documents_of_a_config_map_are_shown_by_field() {
        let fields = of(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"values": "{\"global\": {\"network\": \"n\"}}", "other": "x"}}),
        );
        assert_eq!(fields["data.values.global.network"], "n");
        assert_eq!(fields["data.other"], "x");
    }

    #[test]
    fn spellings_are_no_difference() {
        assert!(same("spec.x.resources.requests.cpu", "0.5", Some("500m")));
        assert!(same("spec.x.resources.limits.memory", "1024Mi", Some("1Gi")));
        assert!(!same("spec.x.resources.limits.memory", "1024Mi", Some("1G")));
        assert!(same("spec.hostNetwork", "false", None));
        assert!(!same("spec.hostNetwork", "false", Some("true")));
        // The API server drops none of these, and what reads them takes nothing for something else.
        for (path, wanted) in [
            ("metadata.labels[\"istio-injection\"]", "false"),
            ("data.mesh.enableAutoMtls", "false"),
            ("spec.template.spec.containers[discovery].env[PILOT_X].value", "false"),
            ("spec.template.spec.containers[discovery].securityContext.allowPrivilegeEscalation", "false"),
            ("spec.template.spec.securityContext.runAsUser", "0"),
        ] {
            assert!(!same(path, wanted, None), "{path}");
        }
        assert!(!same("spec.image", "a", None));
    }
}
