//! The Kubernetes objects of a resource: what is wanted, what stands in state, what a cluster really holds, and what differs.
//!
//! Shared by every resource that keeps objects. State holds two maps: `objects` (each object with a digest of its fields, so that a
//! plan names what is added and removed) and `fields` (each object's fields by path, so that a plan names what changes; as JSON, which the cores
//! compare member by member when they show it, and of which they otherwise make one value and not a hundred).
//! At refresh both show the live values of these fields, and drift is a plain difference. Nothing here talks to a cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::fields::{self, Fields};
use crate::cluster::{Kind, OWNER_LABEL, Object, ObjectRef};
use crate::value::{Map, Value};

/// The objects a resource wants, by the name that state gives them.
#[derive(Clone, Debug, Default)]
pub struct Wanted(BTreeMap<String, Arc<Entry>>);

/// One wanted object.
#[derive(Clone, Debug)]
pub struct Entry {
    pub reference: ObjectRef,
    pub object: Object,
    pub fields: Fields,
    pub digest: String,
}

/// The two attributes of state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    pub objects: BTreeMap<String, String>,
    pub fields: BTreeMap<String, Fields>,
}

/// In place of a digest: an object that was met without knowing what it is like.
pub const UNKNOWN: &str = "unknown";

/// How the API server spelled what we applied where it differs from what we sent: by object and path. Kept in private state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spellings {
    #[serde(default)]
    fields: BTreeMap<String, Fields>,
    /// The generation of each definition as applied: while it stays, its large body need not be read.
    #[serde(default)]
    generations: BTreeMap<String, i64>,
}

/// One owned field, or a whole object, that is not as it was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    pub object: String,
    /// `None` where the object itself is missing, or another has taken its name: `is` then says whose.
    pub path: Option<String>,
    pub was: Option<String>,
    pub is: Option<String>,
    /// The field manager that wrote last, where managedFields tells.
    pub manager: Option<String>,
}

impl Wanted {
    /// Adds an object, with the label by which it is found again. A second object of the same name takes the place of the first.
    pub fn insert(&mut self, reference: ObjectRef, object: Object, owner: &str) {
        self.add(Arc::new(Entry::owned(reference, object, owner)));
    }

    /// Adds an object that others may own as well, such as a namespace: without our label.
    pub fn insert_shared(&mut self, reference: ObjectRef, object: Object) {
        self.add(Arc::new(Entry::new(reference, object)));
    }

    /// Adds what another resource of the same process may want just so.
    pub fn add(&mut self, entry: Arc<Entry>) {
        self.0.insert(state_key(&entry.reference), entry);
    }

    /// Changes what is sent without changing what is recorded: for what holds only until someone else takes it over.
    pub fn amend(&mut self, reference: &ObjectRef, change: impl FnOnce(&mut Object)) {
        if let Some(entry) = self.0.get_mut(&state_key(reference)) {
            change(&mut Arc::make_mut(entry).object);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.0.iter().map(|(key, entry)| (key.as_str(), &**entry))
    }

    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.0.get(key).map(|entry| &**entry)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What state says once all of it is applied.
    pub fn recorded(&self) -> Recorded {
        let mut recorded = Recorded::default();
        for (key, entry) in &self.0 {
            recorded.insert(key, entry);
        }
        recorded
    }
}

impl Entry {
    /// An object with the label by which it is found again.
    pub fn owned(reference: ObjectRef, mut object: Object, owner: &str) -> Entry {
        object.set_label(OWNER_LABEL, owner);
        Entry::new(reference, object)
    }

    fn new(reference: ObjectRef, mut object: Object) -> Entry {
        prune_nulls(object.value_mut());
        let fields = fields::fields(&object);
        let digest = fields::digest(&fields);
        // Istio's definitions are as large as all its other objects together, and several clusters are at work at once.
        if reference.kind == Kind::CUSTOM_RESOURCE_DEFINITION {
            object.freeze_spec();
        }
        Entry { reference, object, fields, digest }
    }
}

impl Recorded {
    /// From the two attributes.
    pub fn of(objects: &Value<Map<String>>, fields: &Value<Map<String>>) -> Recorded {
        let objects = objects.entries().map(|(key, digest)| (key.to_owned(), digest.clone())).collect();
        // What is no JSON somebody else has written: then nothing is known to be as it was applied.
        let fields =
            fields.entries().map(|(key, json)| (key.to_owned(), serde_json::from_str(json).unwrap_or_default()));
        Recorded { objects, fields: fields.collect() }
    }

    /// The attribute `objects`.
    pub fn objects_value(&self) -> Value<Map<String>> {
        self.objects.iter().map(|(key, digest)| (key.clone(), digest.clone())).collect()
    }

    /// The attribute `fields`.
    pub fn fields_value(&self) -> Value<Map<String>> {
        self.fields.iter().map(|(key, fields)| (key.clone(), serde_json::json!(fields).to_string())).collect()
    }

    /// Whether an object is recorded just as it is wanted. After a refresh that is what the cluster holds: it need not be written.
    pub fn holds(&self, key: &str, entry: &Entry) -> bool {
        self.objects.get(key) == Some(&entry.digest) && self.fields.get(key) == Some(&entry.fields)
    }

    pub fn insert(&mut self, key: &str, entry: &Entry) {
        self.objects.insert(key.to_owned(), entry.digest.clone());
        self.fields.insert(key.to_owned(), entry.fields.clone());
    }

    pub fn remove(&mut self, key: &str) {
        self.objects.remove(key);
        self.fields.remove(key);
    }

    /// Takes an object's entry from another record.
    pub fn keep(&mut self, key: &str, from: &Recorded) {
        if let Some(digest) = from.objects.get(key) {
            self.objects.insert(key.to_owned(), digest.clone());
        }
        if let Some(fields) = from.fields.get(key) {
            self.fields.insert(key.to_owned(), fields.clone());
        }
    }

    /// Forgets all objects but those that `keep` names.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.objects.retain(|key, _| keep(key));
        self.fields.retain(|key, _| keep(key));
    }

    /// Labels and annotations of an object that are recorded as ours.
    pub fn written(&self, key: &str) -> Vec<String> {
        let paths = self.fields.get(key).into_iter().flat_map(Fields::keys);
        paths.filter_map(|path| fields::metadata_key(path)).collect()
    }

    /// The objects state names, as far as their kinds are known.
    pub fn references(&self) -> impl Iterator<Item = (&str, ObjectRef)> {
        self.objects.keys().filter_map(|key| Some((key.as_str(), parse_key(key)?)))
    }

    /// What the cluster holds in place of what is recorded: the same maps with live values, and each difference.
    pub fn seen(&self, live: &BTreeMap<String, Object>, spellings: &Spellings) -> (Recorded, Vec<Drift>) {
        let mut seen = Recorded::default();
        let mut drifts = Vec::new();
        for (key, digest) in &self.objects {
            let Some(object) = live.get(key) else {
                drifts.push(Drift { object: key.clone(), path: None, was: None, is: None, manager: None });
                continue;
            };
            let recorded = self.fields.get(key).cloned().unwrap_or_default();
            let mut differences = differences(&recorded, object, spellings.fields.get(key));
            if object.get("spec").is_none() && spellings.is_settled(key, object) {
                differences.retain(|difference| difference.path.starts_with("metadata."));
            }
            let mut fields = recorded;
            for difference in &differences {
                match &difference.is {
                    Some(is) => fields.insert(difference.path.clone(), is.clone()),
                    None => fields.remove(&difference.path),
                };
            }
            let digest = if differences.is_empty() { digest.clone() } else { fields::digest(&fields) };
            seen.objects.insert(key.clone(), digest);
            seen.fields.insert(key.clone(), fields);
            drifts.extend(differences.into_iter().map(|difference| Drift {
                object: key.clone(),
                manager: manager_of(object, &difference.path),
                path: Some(difference.path),
                was: difference.was,
                is: difference.is,
            }));
        }
        (seen, drifts)
    }
}

impl Spellings {
    /// Notes how the API server answered the apply of `entry`.
    pub fn note(&mut self, key: &str, entry: &Entry, answer: &Object) {
        self.forget(key);
        // Of a definition the answer is its metadata alone.
        let bodiless = answer.get("spec").is_none() && entry.reference.kind == Kind::CUSTOM_RESOURCE_DEFINITION;
        let differences = match bodiless {
            true => Vec::new(),
            false => differences(&entry.fields, answer, Some(&Fields::new())),
        };
        let spelled: Fields =
            differences.into_iter().map(|difference| (difference.path, difference.is.unwrap_or_default())).collect();
        if !spelled.is_empty() {
            self.fields.insert(key.to_owned(), spelled);
        }
        if let Some(generation) =
            answer.generation().filter(|_| entry.reference.kind == Kind::CUSTOM_RESOURCE_DEFINITION)
        {
            self.generations.insert(key.to_owned(), generation);
        }
    }

    pub fn forget(&mut self, key: &str) {
        self.fields.remove(key);
        self.generations.remove(key);
    }

    /// Whether the specification of an object is what it was when it was applied, by its metadata alone.
    pub fn is_settled(&self, key: &str, live: &Object) -> bool {
        self.generations.get(key).is_some_and(|generation| live.generation() == Some(*generation))
    }
}

struct Difference {
    path: String,
    was: Option<String>,
    is: Option<String>,
}

/// Where a live object differs from recorded fields. `spelled` is `None` where nobody noted how the API server spells them: then what it
/// adds inside lists is not a difference.
fn differences(recorded: &Fields, object: &Object, spelled: Option<&Fields>) -> Vec<Difference> {
    let live = fields::fields(object);
    let as_spelled = |path: &str, is: Option<&String>| {
        spelled
            .and_then(|spelled| spelled.get(path))
            .is_some_and(|noted| noted.as_str() == is.map_or("", String::as_str))
    };
    let mut differences = Vec::new();
    for (path, was) in recorded {
        let is = live.get(path);
        if !fields::same(path, was, is.map(String::as_str)) && !as_spelled(path, is) {
            differences.push(Difference { path: path.clone(), was: Some(was.clone()), is: is.cloned() });
        }
    }
    if spelled.is_none() {
        return differences;
    }
    let lists: std::collections::BTreeSet<&str> = recorded.keys().filter_map(|path| whole_list(path)).collect();
    for (path, is) in &live {
        let ours = whole_list(path).is_some_and(|list| lists.contains(list));
        if ours && !recorded.contains_key(path) && !as_spelled(path, Some(is)) {
            differences.push(Difference { path: path.clone(), was: None, is: Some(is.clone()) });
        }
    }
    differences
}

/// The path of the outermost list that is one value to the API server: `rules` of `rules[0].verbs`.
fn whole_list(path: &str) -> Option<&str> {
    let mut from = 0;
    while let Some(at) = path[from..].find('[') {
        let at = from + at;
        let digits = path[at + 1..].bytes().take_while(u8::is_ascii_digit).count();
        if digits > 0 && path[at + 1 + digits..].starts_with(']') {
            return Some(&path[..at]);
        }
        from = at + 1;
    }
    None
}

/// The manager that wrote last among those that hold the field.
fn manager_of(object: &Object, path: &str) -> Option<String> {
    let entries = object.items("metadata.managedFields");
    let holds = |entry: &&serde_json::Value| entry.get("fieldsV1").is_some_and(|set| holds(set, path));
    let newest = entries
        .iter()
        .filter(holds)
        .max_by_key(|entry| entry.get("time").and_then(|time| time.as_str()).unwrap_or_default().to_owned())?;
    Some(newest.get("manager")?.as_str()?.to_owned())
}

/// Whether a field set of managedFields holds a path. The set is walked alongside the path as far as it goes: where it ends (a list held as one
/// value), it holds all below.
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

/// `k:{"name":"discovery"}` has the key `discovery`; a port element is keyed by numbers we may know by name only, so any will do.
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

/// The name of an object in state: `Deployment istio-system/istiod`, with the group where two known kinds share the name.
pub fn state_key(reference: &ObjectRef) -> String {
    let first = Kind::ALL.iter().find(|known| known.kind == reference.kind.kind);
    match first {
        Some(first) if first.group != reference.kind.group => {
            let shown = reference.to_string();
            let name = shown.strip_prefix(&*reference.kind.kind).unwrap_or(&shown);
            format!("{}.{}{name}", reference.kind.kind, reference.kind.group)
        }
        _ => reference.to_string(),
    }
}

/// The object that a name in state stands for; `None` where its kind is not in the table.
pub fn parse_key(key: &str) -> Option<ObjectRef> {
    let (kind, name) = key.split_once(' ')?;
    let (kind, group) = kind.split_once('.').map_or((kind, None), |(kind, group)| (kind, Some(group)));
    let kind =
        Kind::ALL.iter().find(|known| known.kind == kind && group.is_none_or(|group| known.group == group))?.clone();
    Some(match name.split_once('/') {
        Some((namespace, name)) => ObjectRef::namespaced(kind, namespace, name),
        None => ObjectRef::cluster(kind, name),
    })
}

/// A null asks for nothing, and server-side apply would own it.
fn prune_nulls(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(members) => {
            members.retain(|_, value| !value.is_null());
            members.values_mut().for_each(prune_nulls);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(prune_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn role(verbs: serde_json::Value) -> Object {
        Object::new(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "r", "labels": {"app": "istiod"}},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": verbs}],
        }))
        .unwrap()
    }

    fn wanted(object: Object) -> Wanted {
        let mut wanted = Wanted::default();
        wanted.insert(object.reference().unwrap(), object, "mesh_primary.istiod");
        wanted
    }

    #[test]
    fn an_unchanged_object_is_as_recorded_and_a_changed_field_is_shown_with_its_manager() {
        let wanted = wanted(role(json!(["get"])));
        let recorded = wanted.recorded();
        let mut spellings = Spellings::default();
        let (key, entry) = wanted.iter().next().unwrap();
        spellings.note(key, entry, &role(json!(["get"])));

        let live = BTreeMap::from([(key.to_owned(), role(json!(["get"])))]);
        assert_eq!(recorded.seen(&live, &spellings), (recorded.clone(), vec![]));

        let mut changed = role(json!(["get", "list"]));
        changed.value_mut()["metadata"]["managedFields"] = json!([
            {"manager": "terraform-provider-mesh", "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:metadata": {"f:labels": {"f:app": {}}}}},
            {"manager": "kubectl-edit", "time": "2026-01-02T00:00:00Z", "fieldsV1": {"f:rules": {}}},
        ]);
        changed.set_label("foreign", "label");
        let (seen, drifts) = recorded.seen(&BTreeMap::from([(key.to_owned(), changed)]), &spellings);
        assert_ne!(seen.objects[key], recorded.objects[key]);
        assert_eq!(
            drifts,
            [Drift {
                object: "ClusterRole r".into(),
                path: Some("rules[0].verbs".into()),
                was: Some("[\"get\"]".into()),
                is: Some("[\"get\",\"list\"]".into()),
                manager: Some("kubectl-edit".into()),
            }]
        );
    }

    #[test]
    fn a_missing_object_is_dropped_from_what_is_seen() {
        let recorded = wanted(role(json!(["get"]))).recorded();
        let (seen, drifts) = recorded.seen(&BTreeMap::new(), &Spellings::default());
        assert_eq!(seen, Recorded::default());
        assert_eq!(drifts.len(), 1);
    }

    #[test]
    fn what_the_api_server_adds_in_a_list_is_noted_and_what_others_add_later_is_not() {
        let wanted = wanted(role(json!(["get"])));
        let (key, entry) = wanted.iter().next().unwrap();
        let mut answered = role(json!(["get"]));
        answered.value_mut()["rules"][0]["scope"] = json!("*");
        let mut spellings = Spellings::default();
        spellings.note(key, entry, &answered);
        let live = |object| BTreeMap::from([(key.to_owned(), object)]);
        assert_eq!(wanted.recorded().seen(&live(answered.clone()), &spellings).1, []);

        answered.value_mut()["rules"][0]["scope"] = json!("Namespaced");
        let drifts = wanted.recorded().seen(&live(answered), &spellings).1;
        assert_eq!(drifts[0].path.as_deref(), Some("rules[0].scope"));
    }

    #[test]
    fn a_definition_of_unchanged_generation_is_judged_by_its_metadata() {
        let definition = |labels: serde_json::Value, spec: Option<serde_json::Value>| {
            let mut definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": "d", "labels": labels, "generation": 1}});
            if let Some(spec) = spec {
                definition["spec"] = spec;
            }
            Object::new(definition).unwrap()
        };
        let whole =
            definition(json!({"a": "b"}), Some(json!({"group": "g", "versions": [{"name": "v1", "schema": {}}]})));
        let wanted = wanted(whole.clone());
        let (key, entry) = wanted.iter().next().unwrap();
        let mut spellings = Spellings::default();
        spellings.note(key, entry, &whole);
        let seen = |live| wanted.recorded().seen(&BTreeMap::from([(key.to_owned(), live)]), &spellings);
        assert_eq!(seen(definition(json!({"a": "b"}), None)).1, []);
        assert_eq!(seen(definition(json!({"a": "c"}), None)).1.len(), 1);
    }

    #[test]
    fn names_in_state_find_their_object_again() {
        for reference in [
            ObjectRef::namespaced(Kind::DEPLOYMENT, "istio-system", "istiod"),
            ObjectRef::cluster(Kind::CLUSTER_ROLE, "istiod"),
            ObjectRef::namespaced(Kind::ISTIO_GATEWAY, "a", "g"),
            ObjectRef::namespaced(Kind::GATEWAY_API_GATEWAY, "a", "g"),
        ] {
            assert_eq!(parse_key(&state_key(&reference)), Some(reference));
        }
    }

    #[test]
    fn managed_fields_are_followed_through_keyed_lists_and_quoted_members() {
        let set = json!({"f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"discovery\"}": {".": {}, "f:env": {"k:{\"name\":\"A\"}": {"f:value": {}}}}}}}},
            "f:metadata": {"f:labels": {"f:istio.io/rev": {}}}});
        assert!(holds(&set, "spec.template.spec.containers[discovery].env[A].value"));
        assert!(!holds(&set, "spec.template.spec.containers[discovery].env[B].value"));
        assert!(!holds(&set, "spec.template.spec.containers[other].image"));
        assert!(holds(&set, "metadata.labels[\"istio.io/rev\"]"));
    }
}
