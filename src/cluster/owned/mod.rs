//! Whose field is it: `metadata.managedFields` read into paths and values. Pure.
//!
//! Paths look like `spec.template.spec.containers[name=discovery].image`; `metadata.annotations["a.b/c"]` where a key
//! is not a plain word; `metadata.finalizers["x"]` for an element of a set; `ports[port=443,protocol=TCP]` where several
//! keys identify an element; `spec.servers[0].hosts` inside a list that has no keys. Lists of scalars are one value.

mod path;

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use self::path::{Path, Step, keys_of, plain};
use super::Object;

/// One of our fields that is not as we applied it.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldDrift {
    pub path: String,
    /// What we applied.
    pub ours: Value,
    /// What is there now; `None` where it was removed.
    pub live: Option<Value>,
    /// Who has the field now, or who wrote last where it was removed; empty where nobody says.
    pub manager: String,
}

/// A field that others added inside an object of ours.
#[derive(Clone, Debug, PartialEq)]
pub struct ForeignField {
    pub path: String,
    pub value: Value,
    pub manager: String,
}

/// The leaf fields that `manager` owns by server-side apply in `object`, with their live values.
///
/// `apiVersion`, `kind` and the name are nobody's; keys that identify list elements are left out, as is what the server
/// did not store (an empty map, say).
pub fn fields(object: &Object, manager: &str) -> BTreeMap<String, Value> {
    let mut leaves = BTreeMap::new();
    for entry in
        entries(object).filter(|entry| entry.manager == manager && entry.is_apply && entry.subresource.is_empty())
    {
        owned_leaves(entry.fields, object.value(), &Path::default(), &mut leaves);
    }
    leaves
}

/// The leaf fields of a manifest as written, with paths in the form of [`fields`].
///
/// `like` is a live object of the same kind: its `managedFields` tell which lists are keyed by what. Without it the
/// keys of the built-in kinds are known.
pub fn flatten(manifest: &Object, like: Option<&Object>) -> BTreeMap<String, Value> {
    let trees: Vec<&Map<String, Value>> = like.into_iter().flat_map(entries).map(|entry| entry.fields).collect();
    let mut leaves = BTreeMap::new();
    let Value::Object(members) = manifest.value() else { return leaves };
    for (name, value) in members.iter().filter(|(name, _)| !matches!(name.as_str(), "apiVersion" | "kind" | "status")) {
        let step = Step::Field(name.clone());
        let below = descend(&trees, &step);
        manifest_leaves(value, &below, &Path::default().then(step), &mut leaves);
    }
    const NOT_OURS: &[&str] =
        &["name", "namespace", "creationTimestamp", "uid", "resourceVersion", "generation", "generateName", "selfLink"];
    leaves.retain(|path, _| match path.strip_prefix("metadata.") {
        Some(member) => !NOT_OURS.contains(&member) && !member.starts_with("managedFields"),
        None => true,
    });
    leaves
}

/// What [`fields`] will say once `manifest` is applied over `live`: the live value where it means the same, else the
/// manifest's. Comparing it with [`fields`] of the live object gives a plan field by field.
pub fn planned(manifest: &Object, live: &Object) -> BTreeMap<String, Value> {
    let mut leaves = flatten(manifest, Some(live));
    for (path, value) in &mut leaves {
        if let Some(found) = find(live, path)
            && same(Some(value), Some(found))
        {
            *value = found.clone();
        }
    }
    leaves.retain(|path, value| !is_empty(value) || find(live, path).is_some());
    leaves
}

/// Drift between the fields recorded when we applied and the live object.
///
/// A field is drift when its value differs or it is gone; not when someone else merely wrote the same value.
pub fn drift(applied: &BTreeMap<String, Value>, live: &Object, manager: &str) -> Vec<FieldDrift> {
    let mut drifts = Vec::new();
    for (text, ours) in applied {
        let path = Path::parse(text).unwrap_or_default();
        let found = path.find(live.value());
        // What was recorded had been stored: unlike in a manifest, `false` is not the same as absent here.
        if found.is_some() && same(Some(ours), found) {
            continue;
        }
        let owners = entries(live).filter(|entry| entry.manager != manager && owns(entry.fields, &path.0));
        let taker = owners.max_by_key(|entry| entry.time).or_else(|| last_writer(live, manager));
        let manager = taker.map(|entry| entry.manager.to_owned()).unwrap_or_default();
        drifts.push(FieldDrift { path: text.clone(), ours: ours.clone(), live: found.cloned(), manager });
    }
    drifts
}

/// Fields others added inside an object of ours. What subresources write (status, scale) is left out.
pub fn foreign(live: &Object, manager: &str) -> Vec<ForeignField> {
    let ours: Vec<Entry<'_>> = entries(live).filter(|entry| entry.manager == manager).collect();
    let mut found = BTreeMap::new();
    for entry in entries(live).filter(|entry| entry.manager != manager && entry.subresource.is_empty()) {
        let mut leaves = BTreeMap::new();
        owned_leaves(entry.fields, live.value(), &Path::default(), &mut leaves);
        for (text, value) in leaves {
            let path = Path::parse(&text).unwrap_or_default();
            if !text.starts_with("status.") && !ours.iter().any(|entry| owns(entry.fields, &path.0)) {
                let manager = entry.manager.to_owned();
                found.insert(text.clone(), ForeignField { path: text, value, manager });
            }
        }
    }
    found.into_values().collect()
}

/// The live value at a path in the form of [`fields`].
pub fn find<'a>(object: &'a Object, path: &str) -> Option<&'a Value> {
    Path::parse(path)?.find(object.value())
}

/// Whether two values mean the same to the API server: absent and empty do, and so do two spellings of a quantity.
pub fn same(a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(value), None) | (None, Some(value)) => is_empty(value),
        (Some(a), Some(b)) => {
            a == b || is_empty(a) && is_empty(b) || quantity(a).is_some_and(|a| Some(a) == quantity(b))
        }
    }
}

/// A digest of recorded fields: equal exactly when paths and values are.
pub fn digest(fields: &BTreeMap<String, Value>) -> String {
    let mut hasher = Sha256::new();
    for (path, value) in fields {
        // Lengths keep one field's end from being another's beginning.
        let value = value.to_string();
        hasher.update((path.len() as u64).to_be_bytes());
        hasher.update(path);
        hasher.update((value.len() as u64).to_be_bytes());
        hasher.update(value);
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `manager` owns fields of the object by server-side apply.
pub fn is_managed_by(object: &Object, manager: &str) -> bool {
    entries(object).any(|entry| entry.manager == manager && entry.is_apply)
}

/// All managers of the object, subresources (status, scale) left out.
pub fn managers(object: &Object) -> Vec<String> {
    let mut managers: Vec<String> =
        entries(object).filter(|entry| entry.subresource.is_empty()).map(|entry| entry.manager.to_owned()).collect();
    managers.sort();
    managers.dedup();
    managers
}

/// One entry of `metadata.managedFields`.
struct Entry<'a> {
    manager: &'a str,
    is_apply: bool,
    subresource: &'a str,
    time: &'a str,
    fields: &'a Map<String, Value>,
}

fn entries(object: &Object) -> impl Iterator<Item = Entry<'_>> {
    object.items("metadata.managedFields").iter().filter_map(|entry| {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        Some(Entry {
            manager: text("manager"),
            is_apply: text("operation") == "Apply",
            subresource: text("subresource"),
            time: text("time"),
            fields: entry.get("fieldsV1")?.as_object()?,
        })
    })
}

/// Who wrote last, others than us and subresources: the best guess at who removed a field.
fn last_writer<'a>(object: &'a Object, manager: &str) -> Option<Entry<'a>> {
    entries(object)
        .filter(|entry| entry.manager != manager && entry.subresource.is_empty())
        .max_by_key(|entry| entry.time)
}

/// Follows one manager's tree down the live value.
fn owned_leaves(tree: &Map<String, Value>, value: &Value, path: &Path, leaves: &mut BTreeMap<String, Value>) {
    for (key, below) in tree {
        let Some(step) = tree_step(key) else { continue };
        let Some(found) = step.find(value) else { continue };
        let Some(below) = below.as_object() else { continue };
        let path = path.then(step);
        let is_node_alone = below.keys().all(|key| key == ".");
        match (below.is_empty(), is_node_alone) {
            // All of the value is owned: it has no structure of its own, or one that belongs together.
            (true, _) => value_leaves(found, &path, leaves),
            // The map or element is owned, nothing in it.
            (false, true) if !matches!(found, Value::Object(_) | Value::Array(_)) => value_leaves(found, &path, leaves),
            (false, true) => {}
            (false, false) => owned_leaves(below, found, &path, leaves),
        }
    }
    // The keys of an element stand in its path.
    if let Some(Step::Keyed(keys)) = path.0.last() {
        for (key, _) in keys {
            leaves.remove(&path.then(Step::Field(key.clone())).to_string());
        }
    }
}

/// The leaves of a value that is owned as a whole.
fn value_leaves(value: &Value, path: &Path, leaves: &mut BTreeMap<String, Value>) {
    manifest_leaves(value, &[], path, leaves);
}

/// The leaves of a value; `trees` are what managers say of the place, from which the keys of lists are seen.
fn manifest_leaves(value: &Value, trees: &[&Map<String, Value>], path: &Path, leaves: &mut BTreeMap<String, Value>) {
    match value {
        Value::Null => {}
        Value::Object(map) if !map.is_empty() => {
            for (name, value) in map {
                let step = Step::Field(name.clone());
                manifest_leaves(value, &descend(trees, &step), &path.then(step), leaves);
            }
            if let Some(Step::Keyed(keys)) = path.0.last() {
                for (key, _) in keys {
                    leaves.remove(&path.then(Step::Field(key.clone())).to_string());
                }
            }
        }
        Value::Array(items) if items.iter().any(|item| matches!(item, Value::Object(_) | Value::Array(_))) => {
            let keys = list_keys(items, trees, path);
            for (index, item) in items.iter().enumerate() {
                let step = keys.as_ref().and_then(|keys| keyed_step(item, keys)).unwrap_or(Step::Index(index));
                manifest_leaves(item, &descend(trees, &step), &path.then(step), leaves);
            }
        }
        Value::Array(items) if trees.iter().any(|tree| tree.keys().any(|key| key.starts_with("v:"))) => {
            for item in items {
                leaves.insert(path.then(Step::Item(plain(item))).to_string(), item.clone());
            }
        }
        leaf => {
            leaves.insert(path.to_string(), leaf.clone());
        }
    }
}

/// The names of the members that identify the elements of a list, if it has such.
fn list_keys(items: &[Value], trees: &[&Map<String, Value>], path: &Path) -> Option<Vec<String>> {
    let named = trees.iter().flat_map(|tree| tree.keys()).find_map(|key| match tree_step(key) {
        Some(Step::Keyed(keys)) => Some(keys.into_iter().map(|(key, _)| key).collect()),
        _ => None,
    });
    let says_otherwise = !trees.is_empty();
    named.or_else(|| if says_otherwise { None } else { known_keys(items, path) })
}

/// The keys that the built-in kinds give their lists.
fn known_keys(items: &[Value], path: &Path) -> Option<Vec<String>> {
    let Some(Step::Field(name)) = path.0.last() else { return None };
    // Custom resources have no keyed lists unless their schema says so, and Istio's do not.
    let is_built_in = path.0.first() == Some(&Step::Field("webhooks".into()))
        || path.0.iter().any(|step| *step == Step::Field("template".into()));
    let has = |key: &str| items.iter().all(|item| item.get(key).is_some());
    let keys: &[&str] = match name.as_str() {
        "containers" | "initContainers" | "volumes" | "env" | "webhooks" | "imagePullSecrets" if is_built_in => {
            &["name"]
        }
        "matchConditions" if is_built_in => &["name"],
        "volumeMounts" if is_built_in => &["mountPath"],
        "ports" if has("containerPort") && is_built_in => &["containerPort", "protocol"],
        "ports" if has("port") && path.0.len() == 2 && items.iter().all(|item| item.get("number").is_none()) => {
            &["port", "protocol"]
        }
        "secrets" if path.0.len() == 1 => &["name"],
        "ownerReferences" => &["uid"],
        _ => return None,
    };
    Some(keys.iter().map(|key| (*key).to_owned()).collect())
}

fn keyed_step(item: &Value, keys: &[String]) -> Option<Step> {
    let value = |key: &String| match item.get(key) {
        Some(value) => Some((key.clone(), plain(value))),
        None if key == "protocol" => Some((key.clone(), "TCP".to_owned())),
        None => None,
    };
    keys.iter().map(value).collect::<Option<Vec<_>>>().map(Step::Keyed)
}

/// One key of a `fieldsV1` tree; `None` for the node itself (`.`).
fn tree_step(key: &str) -> Option<Step> {
    let (form, rest) = key.split_once(':')?;
    match form {
        "f" => Some(Step::Field(rest.to_owned())),
        "k" => Some(Step::Keyed(keys_of(serde_json::from_str::<Value>(rest).ok()?.as_object()?))),
        "v" => Some(Step::Item(plain(&serde_json::from_str(rest).ok()?))),
        "i" => Some(Step::Index(rest.parse().ok()?)),
        _ => None,
    }
}

fn descend<'a>(trees: &[&'a Map<String, Value>], step: &Step) -> Vec<&'a Map<String, Value>> {
    trees.iter().filter_map(|tree| child(tree, step)).collect()
}

fn child<'a>(tree: &'a Map<String, Value>, step: &Step) -> Option<&'a Map<String, Value>> {
    let is_step = |candidate: Step| match (&candidate, step) {
        // A path in text does not tell a member with an odd name from an element of a set.
        (Step::Field(name), Step::Item(text)) => name == text,
        (Step::Keyed(theirs), Step::Keyed(ours)) => {
            theirs.len() == ours.len() && ours.iter().all(|key| theirs.contains(key))
        }
        (candidate, step) => candidate == step,
    };
    tree.iter().find(|(key, _)| tree_step(key).is_some_and(is_step)).and_then(|(_, below)| below.as_object())
}

/// The tree owns the field at these steps, by itself or as part of a value owned as a whole.
fn owns(tree: &Map<String, Value>, steps: &[Step]) -> bool {
    match steps {
        [] => true,
        [step, rest @ ..] => match child(tree, step) {
            Some(below) if below.is_empty() => true,
            Some(below) => owns(below, rest),
            None => false,
        },
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(value) => value.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}

/// A resource quantity in thousandths: `500m`, `2Gi`, `1.5`.
fn quantity(value: &Value) -> Option<i128> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let thousandths: i128 = match suffix {
        "m" => 1,
        "" => 1_000,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 1_000_000_000_000,
        "T" => 1_000_000_000_000_000,
        "Ki" => 1_000 << 10,
        "Mi" => 1_000 << 20,
        "Gi" => 1_000 << 30,
        "Ti" => 1_000 << 40,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let scale = 10i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let product = digits.checked_mul(thousandths)?;
    (product % scale == 0).then_some(product / scale)
}

#[cfg(test)]
mod tests;
