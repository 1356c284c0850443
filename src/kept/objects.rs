//! The Kubernetes objects of a resource: what is wanted, what stands in state, what a cluster really holds, and what
//! differs.
//!
//! Shared by every resource that keeps objects. State holds two maps: `objects` (each object with a digest of its
//! fields, so that a plan names what is added, changed and removed) and `changes` (see [`super::changes`]). The fields
//! themselves, by path, are remembered beside the state (see [`super::memory`]): in state, a plan would show all of
//! them for every object that goes. At refresh the digests are those of the live values of these fields. Nothing here
//! talks to a cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::fields::{self, Fields};
use super::hidden::Hidden;
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

/// What is recorded of the objects in one cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Each object with a digest of its fields: an attribute of state.
    pub objects: BTreeMap<String, String>,
    /// The fields of each object, where they are remembered.
    pub fields: BTreeMap<String, Fields>,
}

/// In place of a digest: an object that was met without knowing what it is like.
pub const UNKNOWN: &str = "unknown";

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
    /// Adds an object, with the label by which it is found again. A second object of the same name takes the place of
    /// the first.
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

    /// Shows what is secret in the values that these are made of as digests, in all that is recorded. What is sent
    /// stays.
    pub fn hide(&mut self, hidden: &Hidden) {
        if hidden.is_empty() {
            return;
        }
        for entry in self.0.values_mut() {
            if let Some(fields) = hidden.fields(&entry.fields) {
                let entry = Arc::make_mut(entry);
                (entry.digest, entry.fields) = (fields::digest(&fields), fields);
            }
        }
    }

    /// Changes what is sent without changing what is recorded: for what holds only until someone else takes it over.
    pub fn amend(&mut self, reference: &ObjectRef, change: impl FnOnce(&mut Object)) {
        if let Some(entry) = self.0.get_mut(&state_key(reference)) {
            change(&mut Arc::make_mut(entry).object);
        }
    }

    /// What the definitions among them let the API server serve: `group/version` and `group/version/Kind`.
    pub fn served(&self) -> Vec<String> {
        let defined = self.0.values().flat_map(|entry| entry.object.defined());
        defined.flat_map(|kind| [kind.api_version(), format!("{}/{kind}", kind.api_version())]).collect()
    }

    /// The kind, where a definition among them brings it.
    pub fn defined(&self, api_version: &str, kind: &str) -> Option<Kind> {
        let (group, _) = api_version.split_once('/')?;
        // The bodies of definitions are large. Their names say which group each is of.
        let is_of_group = |entry: &&Arc<Entry>| entry.reference.name.split_once('.').is_some_and(|(_, of)| of == group);
        let mut defined = self.0.values().filter(is_of_group).flat_map(|entry| entry.object.defined());
        defined.find(|defined| defined.api_version() == api_version && defined.kind == kind)
    }

    /// Leaves only what `keep` names.
    pub fn retain(&mut self, keep: impl Fn(&Entry) -> bool) {
        self.0.retain(|_, entry| keep(entry));
    }

    /// Adds all that another has.
    pub fn extend(&mut self, other: Wanted) {
        self.0.extend(other.0);
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
    /// The attribute `objects`.
    pub fn objects_value(&self) -> Value<Map<String>> {
        self.objects.iter().map(|(key, digest)| (key.clone(), digest.clone())).collect()
    }

    /// Whether an object is recorded just as it is wanted. After a refresh that is what the cluster holds: it need not
    /// be written.
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

    /// The objects that state names, as far as the table has their kinds. [`super::kinds::references`] finds all.
    pub fn references(&self) -> impl Iterator<Item = (&str, ObjectRef)> {
        self.objects.keys().filter_map(|key| Some((key.as_str(), parse_key(key)?)))
    }
}

/// State of before version 1: the fields were in state, and digests had twelve digits.
pub fn upgraded(mut state: serde_json::Value) -> serde_json::Value {
    let exported = state.get_mut("exported").and_then(serde_json::Value::as_object_mut);
    exported.into_iter().flat_map(|exported| exported.values_mut()).for_each(digest_anew);
    digest_anew(&mut state);
    state
}

fn digest_anew(state: &mut serde_json::Value) {
    let fields = state.get_mut("fields").map(serde_json::Value::take).unwrap_or_default();
    let objects = state.get_mut("objects").and_then(serde_json::Value::as_object_mut);
    for (key, digest) in objects.into_iter().flatten() {
        let fields = fields.get(key).and_then(serde_json::Value::as_str).map(serde_json::from_str::<Fields>);
        if let Some(Ok(fields)) = fields {
            *digest = fields::digest(&fields).into();
        }
    }
}

pub(super) struct Difference {
    pub path: String,
    pub was: Option<String>,
    pub is: Option<String>,
}

/// Where a live object differs from recorded fields. `spelled` is `None` where nobody noted how the API server spells
/// them: then what it adds inside lists is not a difference.
pub(super) fn differences(recorded: &Fields, object: &Object, spelled: Option<&Fields>) -> Vec<Difference> {
    let live = fields::fields_where(object, &|path| fields::is_above(recorded, path));
    let as_spelled = |path: &str, is: Option<&String>| {
        spelled
            .and_then(|spelled| spelled.get(path))
            .is_some_and(|noted| noted.as_str() == is.map_or("", String::as_str))
    };
    let mut differences = Vec::new();
    for (path, was) in recorded {
        let is = live.get(path).map(|is| fields::like(was, is));
        if !fields::same(path, was, is.as_deref()) && !as_spelled(path, is.as_ref()) {
            differences.push(Difference { path: path.clone(), was: Some(was.clone()), is });
        }
    }
    // A document in a ConfigMap is one value to the API server: a line more in it is a change of what is ours.
    let is_line = |path: &str| {
        let rest = path.strip_prefix("data").filter(|_| object.kind() == Kind::CONFIG_MAP.kind);
        rest.is_some_and(|rest| rest.starts_with(['.', '[']))
    };
    let lists = recorded.keys().filter(|_| spelled.is_some()).filter_map(|path| whole_list(path));
    let lists: std::collections::BTreeSet<&str> = lists.collect();
    for (path, is) in &live {
        let ours = is_line(path) || whole_list(path).is_some_and(|list| lists.contains(list));
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

/// The name of an object in state: `Deployment istio-system/istiod`, with the group where another kind in the table has
/// the name, or none.
pub fn state_key(reference: &ObjectRef) -> String {
    let kind = &reference.kind;
    let shown = reference.to_string();
    match Kind::ALL.iter().find(|known| known.kind == kind.kind) {
        Some(first) if first.group == kind.group => shown,
        None if kind.group.is_empty() => shown,
        _ => format!("{kind}.{}{}", kind.group, shown.strip_prefix(&*kind.kind).unwrap_or(&shown)),
    }
}

/// What the name of an object in state says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named<'a> {
    pub kind: &'a str,
    /// `None` where the name has none.
    pub group: Option<&'a str>,
    pub namespace: Option<&'a str>,
    pub name: &'a str,
}

impl<'a> Named<'a> {
    pub fn parse(key: &'a str) -> Option<Named<'a>> {
        let (kind, name) = key.split_once(' ')?;
        let (kind, group) = kind.split_once('.').map_or((kind, None), |(kind, group)| (kind, Some(group)));
        let (namespace, name) = name.split_once('/').map_or((None, name), |(namespace, name)| (Some(namespace), name));
        Some(Named { kind, group, namespace, name })
    }

    /// Its kind, where the table has it.
    pub fn known(&self) -> Option<Kind> {
        let is_its = |known: &&Kind| known.kind == self.kind && self.group.is_none_or(|group| known.group == group);
        Kind::ALL.iter().find(is_its).cloned()
    }

    /// What finds it, its kind being known.
    pub fn reference(&self, kind: Kind) -> ObjectRef {
        match self.namespace {
            Some(namespace) => ObjectRef::namespaced(kind, namespace, self.name),
            None => ObjectRef::cluster(kind, self.name),
        }
    }
}

/// The object that a name in state stands for; `None` where its kind is not in the table.
pub fn parse_key(key: &str) -> Option<ObjectRef> {
    let named = Named::parse(key)?;
    Some(named.reference(named.known()?))
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
    use crate::kept::memory::Memory;

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
        let mut memory = Memory::of(&wanted.recorded());
        let (key, entry) = wanted.iter().next().unwrap();
        memory.note(key, entry, &role(json!(["get"])));

        let live = BTreeMap::from([(key.to_owned(), role(json!(["get"])))]);
        assert_eq!(recorded.seen(&live, &memory), (recorded.clone(), vec![]));

        let mut changed = role(json!(["get", "list"]));
        changed.value_mut()["metadata"]["managedFields"] = json!([
            {"manager": "terraform-provider-mesh", "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:metadata": {"f:labels": {"f:app": {}}}}},
            {"manager": "kubectl-edit", "time": "2026-01-02T00:00:00Z", "fieldsV1": {"f:rules": {}}},
        ]);
        changed.set_label("foreign", "label");
        let (seen, drifts) = recorded.seen(&BTreeMap::from([(key.to_owned(), changed)]), &memory);
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
    fn a_line_that_others_put_into_our_document_is_a_change_of_it() {
        let map = |data: serde_json::Value| {
            let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio", "namespace": "a"}, "data": data});
            Object::new(map).unwrap()
        };
        let wanted = wanted(map(json!({"mesh": "a: 1\nb: {c: 2}\n"})));
        let live = map(json!({"mesh": "a: 1\nb: {c: 2}\nevil: x\n", "theirs": "d: 3\n"}));
        let live = [(wanted.iter().next().unwrap().0.to_owned(), live)].into();
        let (_, drifts) = wanted.recorded().seen(&live, &Memory::default());
        let paths: Vec<&str> = drifts.iter().filter_map(|drift| drift.path.as_deref()).collect();
        assert_eq!(paths, ["data.mesh.evil"], "a key of others is theirs");
    }

    #[test]
    fn a_missing_object_is_dropped_from_what_is_seen() {
        let recorded = wanted(role(json!(["get"]))).recorded();
        let (seen, drifts) = recorded.seen(&BTreeMap::new(), &Memory::default());
        assert_eq!(seen, Recorded::default());
        assert_eq!(drifts.len(), 1);
    }

    #[test]
    fn what_the_api_server_adds_in_a_list_is_noted_and_what_others_add_later_is_not() {
        let wanted = wanted(role(json!(["get"])));
        let (key, entry) = wanted.iter().next().unwrap();
        let mut answered = role(json!(["get"]));
        answered.value_mut()["rules"][0]["scope"] = json!("*");
        let mut memory = Memory::of(&wanted.recorded());
        memory.note(key, entry, &answered);
        let live = |object| BTreeMap::from([(key.to_owned(), object)]);
        assert_eq!(wanted.recorded().seen(&live(answered.clone()), &memory).1, []);

        answered.value_mut()["rules"][0]["scope"] = json!("Namespaced");
        let drifts = wanted.recorded().seen(&live(answered), &memory).1;
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
        let mut memory = Memory::of(&wanted.recorded());
        memory.note(key, entry, &whole);
        let seen = |live| wanted.recorded().seen(&BTreeMap::from([(key.to_owned(), live)]), &memory);
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
    fn names_of_kinds_that_the_table_lacks_say_their_group() {
        let monitor = Kind::discovered("monitoring.coreos.com/v1", "ServiceMonitor", "servicemonitors", true);
        let gateway = Kind::discovered("example.com/v1", "Gateway", "gateways", false);
        let template = Kind::discovered("v1", "PodTemplate", "podtemplates", true);
        for (reference, key) in [
            (ObjectRef::namespaced(monitor, "a", "b"), "ServiceMonitor.monitoring.coreos.com a/b"),
            (ObjectRef::cluster(gateway, "b"), "Gateway.example.com b"),
            (ObjectRef::namespaced(template, "a", "b"), "PodTemplate a/b"),
        ] {
            assert_eq!(state_key(&reference), key);
            let named = Named::parse(key).unwrap();
            assert_eq!(named.known(), None);
            assert_eq!(named.group.unwrap_or_default(), reference.kind.group);
            assert_eq!(named.reference(reference.kind.clone()), reference);
        }
    }

    #[test]
    fn a_definition_among_them_tells_what_it_defines() {
        let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "widgets.example.com"}, "spec": {"group": "example.com", "scope": "Cluster",
            "names": {"kind": "Widget", "plural": "widgets"},
            "versions": [{"name": "v1", "served": true}, {"name": "v2", "served": true}, {"name": "v0", "served": false}]}});
        let wanted = wanted(Object::new(definition).unwrap());
        assert_eq!(
            wanted.served(),
            ["example.com/v1", "example.com/v1/Widget", "example.com/v2", "example.com/v2/Widget"]
        );
        let widget = wanted.defined("example.com/v2", "Widget").unwrap();
        assert_eq!(widget.path(Some("a")), "/apis/example.com/v2/widgets");
        assert_eq!(wanted.defined("example.com/v0", "Widget"), None);
        assert_eq!(wanted.defined("example.com/v1", "Gadget"), None);
    }
}
