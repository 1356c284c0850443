//! A Kubernetes object as the API server speaks of it, and the name that finds it. No I/O here.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::kind::{Kind, path_segment};

/// An object of any kind: JSON with the accessors that every kind shares.
///
/// `Debug` shows only what identifies the object, since a Secret is an object too.
#[derive(Clone, PartialEq)]
pub struct Object(Value, Option<Frozen>);

/// The `spec` of an object as JSON text: a tenth of the memory that a tree of values takes.
type Frozen = Arc<str>;

/// What finds one object in a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    pub kind: Kind,
    /// `None` for cluster-scoped kinds.
    pub namespace: Option<String>,
    pub name: String,
}

impl Object {
    /// Takes any JSON; `None` where it is not an object with `apiVersion`, `kind` and `metadata.name`.
    pub fn new(value: Value) -> Option<Object> {
        let object = Object(value, None);
        let complete = !object.api_version().is_empty() && !object.kind().is_empty() && !object.name().is_empty();
        complete.then_some(object)
    }

    /// What a server sent, of which it is known to be an object.
    pub(super) fn raw(value: Value) -> Object {
        Object(value, None)
    }

    /// Starts an object of a known kind with a name; fill the rest with [`Object::with`], [`Object::with_label`] and
    /// the like.
    pub fn of(reference: &ObjectRef) -> Object {
        let mut metadata = Map::new();
        metadata.insert("name".into(), reference.name.clone().into());
        if let Some(namespace) = &reference.namespace {
            metadata.insert("namespace".into(), namespace.clone().into());
        }
        let mut object = Map::new();
        object.insert("apiVersion".into(), reference.kind.api_version().into());
        object.insert("kind".into(), reference.kind.kind.clone().into_owned().into());
        object.insert("metadata".into(), Value::Object(metadata));
        Object(Value::Object(object), None)
    }

    /// Sets one top-level member: `spec`, `data`, `rules`, …
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Object {
        if let Value::Object(map) = &mut self.0 {
            map.insert(member.to_owned(), value.into());
        }
        self
    }

    pub fn with_label(mut self, key: &str, value: &str) -> Object {
        self.set_label(key, value);
        self
    }

    pub fn with_annotation(mut self, key: &str, value: &str) -> Object {
        self.metadata_map("annotations").insert(key.to_owned(), value.into());
        self
    }

    pub fn set_label(&mut self, key: &str, value: &str) {
        self.metadata_map("labels").insert(key.to_owned(), value.into());
    }

    pub fn remove_label(&mut self, key: &str) {
        if let Some(labels) = self.0.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
            labels.remove(key);
        }
    }

    pub fn set_namespace(&mut self, namespace: &str) {
        self.member_map("metadata").insert("namespace".to_owned(), namespace.into());
    }

    pub fn api_version(&self) -> &str {
        self.str("apiVersion")
    }

    pub fn kind(&self) -> &str {
        self.str("kind")
    }

    pub fn name(&self) -> &str {
        self.str("metadata.name")
    }

    pub fn namespace(&self) -> Option<&str> {
        self.get("metadata.namespace").and_then(Value::as_str).filter(|namespace| !namespace.is_empty())
    }

    pub fn uid(&self) -> Option<&str> {
        self.get("metadata.uid").and_then(Value::as_str)
    }

    pub fn resource_version(&self) -> Option<&str> {
        self.get("metadata.resourceVersion").and_then(Value::as_str)
    }

    pub fn generation(&self) -> Option<i64> {
        self.get("metadata.generation").and_then(Value::as_i64)
    }

    pub fn creation_timestamp(&self) -> Option<&str> {
        self.get("metadata.creationTimestamp").and_then(Value::as_str)
    }

    /// Deletion has been asked for; finalizers may still hold the object.
    pub fn is_terminating(&self) -> bool {
        self.get("metadata.deletionTimestamp").is_some_and(|value| !value.is_null())
    }

    pub fn finalizers(&self) -> Vec<&str> {
        self.items("metadata.finalizers").iter().filter_map(Value::as_str).collect()
    }

    pub fn labels(&self) -> BTreeMap<&str, &str> {
        self.strings("metadata.labels")
    }

    pub fn label(&self, key: &str) -> Option<&str> {
        self.get("metadata.labels")?.get(key)?.as_str()
    }

    pub fn annotations(&self) -> BTreeMap<&str, &str> {
        self.strings("metadata.annotations")
    }

    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.get("metadata.annotations")?.get(key)?.as_str()
    }

    /// The value at a dotted path: `spec.template.spec.containers.0.image`. A number is an index where the value is a
    /// list.
    ///
    /// Keys that hold dots themselves (labels, annotations, data) have accessors of their own or are reached by
    /// [`Object::value`].
    pub fn get(&self, path: &str) -> Option<&Value> {
        path.split('.').try_fold(&self.0, |value, step| match value {
            Value::Array(items) => items.get(step.parse::<usize>().ok()?),
            other => other.get(step),
        })
    }

    /// The text at a dotted path, empty where there is none.
    pub fn str(&self, path: &str) -> &str {
        self.get(path).and_then(Value::as_str).unwrap_or_default()
    }

    /// The list at a dotted path, empty where there is none.
    pub fn items(&self, path: &str) -> &[Value] {
        self.get(path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }

    /// The texts of a map at a dotted path.
    pub fn strings(&self, path: &str) -> BTreeMap<&str, &str> {
        let entries = self.get(path).and_then(Value::as_object).into_iter().flatten();
        entries.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))).collect()
    }

    /// One entry of a Secret's `data` or `binaryData`, decoded. `None` where there is none or it is not base64.
    pub fn data(&self, key: &str) -> Option<Vec<u8>> {
        use base64::Engine as _;
        let text = self.get("data")?.get(key)?.as_str()?;
        base64::engine::general_purpose::STANDARD.decode(text).ok()
    }

    /// The status condition of a type: its `status` (`True`, `False`, `Unknown`), reason and message.
    pub fn condition(&self, kind: &str) -> Option<Condition<'_>> {
        self.conditions().find(|condition| condition.kind == kind)
    }

    pub fn conditions(&self) -> impl Iterator<Item = Condition<'_>> {
        fn text<'a>(value: &'a Value, key: &str) -> &'a str {
            value.get(key).and_then(Value::as_str).unwrap_or_default()
        }
        self.items("status.conditions").iter().map(|value| Condition {
            kind: text(value, "type"),
            status: text(value, "status"),
            reason: text(value, "reason"),
            message: text(value, "message"),
            seen: value.get("observedGeneration").and_then(Value::as_i64),
        })
    }

    /// What finds this object, when its kind is in the table. For kinds that only the cluster knows use
    /// `Cluster::reference`.
    pub fn reference(&self) -> Option<ObjectRef> {
        Some(self.reference_as(Kind::known(self.api_version(), self.kind())?))
    }

    /// What finds this object, its kind being known to the caller.
    pub fn reference_as(&self, kind: Kind) -> ObjectRef {
        let namespace = if kind.namespaced { self.namespace().map(str::to_owned) } else { None };
        ObjectRef { namespace, name: self.name().to_owned(), kind }
    }

    /// Keeps `spec` as text from here on, for objects that are large and only sent: a CustomResourceDefinition.
    /// [`Object::get`] and [`Object::value`] do not show it any more.
    pub fn freeze_spec(&mut self) {
        if let Some(spec) = self.0.as_object_mut().and_then(|members| members.remove("spec")) {
            self.1 = Some(spec.to_string().into());
        }
    }

    /// The kind that a CustomResourceDefinition defines, in each version that it serves. None of any other object.
    pub fn defined(&self) -> Vec<Kind> {
        if self.kind() != Kind::CUSTOM_RESOURCE_DEFINITION.kind {
            return Vec::new();
        }
        let thawed = self.thawed();
        let (group, kind, plural) =
            (thawed.str("spec.group"), thawed.str("spec.names.kind"), thawed.str("spec.names.plural"));
        let namespaced = thawed.str("spec.scope") == "Namespaced";
        let served = thawed.items("spec.versions").iter().filter(|version| version["served"] == true);
        let names = served.filter_map(|version| version["name"].as_str());
        names.map(|name| Kind::discovered(&format!("{group}/{name}"), kind, plural, namespaced)).collect()
    }

    /// With its `spec` as values again.
    pub(super) fn thawed(&self) -> Object {
        match self.1.as_deref().and_then(|spec| serde_json::from_str::<Value>(spec).ok()) {
            Some(spec) => Object(self.0.clone(), None).with("spec", spec),
            None => self.clone(),
        }
    }

    /// The whole object as JSON text.
    pub(super) fn to_json(&self) -> String {
        let mut text = self.0.to_string();
        if let Some(spec) = &self.1 {
            // An object has an apiVersion at least, so there is a member before this one.
            text.truncate(text.len() - 1);
            text.push_str(",\"spec\":");
            text.push_str(spec);
            text.push('}');
        }
        text
    }

    pub fn value(&self) -> &Value {
        &self.0
    }

    pub fn value_mut(&mut self) -> &mut Value {
        &mut self.0
    }

    fn metadata_map(&mut self, member: &str) -> &mut Map<String, Value> {
        let metadata = self.member_map("metadata");
        map_at(metadata.entry(member).or_insert(Value::Null))
    }

    fn member_map(&mut self, member: &str) -> &mut Map<String, Value> {
        map_at(map_at(&mut self.0).entry(member).or_insert(Value::Null))
    }
}

/// Makes a map of whatever is there and hands it out.
fn map_at(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("made an object above"),
    }
}

/// One entry of `status.conditions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition<'a> {
    pub kind: &'a str,
    pub status: &'a str,
    pub reason: &'a str,
    pub message: &'a str,
    /// The generation of the object that this is said of, where its writer tells.
    pub seen: Option<i64>,
}

impl Condition<'_> {
    pub fn is_true(&self) -> bool {
        self.status == "True"
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Object({self})")
    }
}

/// What came of an apply.
#[derive(Clone, Debug)]
pub struct Applied {
    pub reference: ObjectRef,
    /// As the server answered: with uid, `managedFields` and defaults. Of a CRD its metadata alone.
    pub object: Object,
    pub created: bool,
}

/// `Deployment istio-system/istiod`.
impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_name(f, self.kind(), self.namespace(), self.name())
    }
}

impl ObjectRef {
    pub fn cluster(kind: Kind, name: impl Into<String>) -> ObjectRef {
        ObjectRef { kind, namespace: None, name: name.into() }
    }

    pub fn namespaced(kind: Kind, namespace: impl Into<String>, name: impl Into<String>) -> ObjectRef {
        ObjectRef { kind, namespace: Some(namespace.into()), name: name.into() }
    }

    /// The path of the object on the API server.
    pub fn path(&self) -> String {
        format!("{}/{}", self.kind.path(self.namespace.as_deref()), path_segment(&self.name))
    }
}

/// `Deployment istio-system/istiod`, `ClusterRole istiod`.
impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_name(f, &self.kind.kind, self.namespace.as_deref(), &self.name)
    }
}

fn write_name(f: &mut fmt::Formatter<'_>, kind: &str, namespace: Option<&str>, name: &str) -> fmt::Result {
    match namespace {
        Some(namespace) => write!(f, "{kind} {namespace}/{name}"),
        None => write!(f, "{kind} {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_walk_maps_and_lists() {
        let object = Object::new(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "n", "labels": {"a.b/c": "d"}},
            "spec": {"containers": [{"image": "i"}]},
        }))
        .unwrap();
        assert_eq!(object.str("spec.containers.0.image"), "i");
        assert_eq!(object.get("spec.containers.1"), None);
        assert_eq!(object.label("a.b/c"), Some("d"));
        assert_eq!(object.to_string(), "Pod n/a");
    }

    #[test]
    fn debug_shows_no_data() {
        let secret =
            Object::of(&ObjectRef::namespaced(Kind::SECRET, "n", "s")).with("data", json!({"token": "c2VjcmV0"}));
        assert_eq!(secret.data("token").as_deref(), Some(&b"secret"[..]));
        assert_eq!(format!("{secret:?}"), "Object(Secret n/s)");
    }

    #[test]
    fn a_frozen_spec_is_sent_as_it_was() {
        let whole =
            Object::of(&ObjectRef::namespaced(Kind::SERVICE, "n", "s")).with("spec", json!({"a": ["}", 1.5, null]}));
        let mut frozen = whole.clone();
        frozen.freeze_spec();
        assert!(frozen.get("spec").is_none());
        assert_eq!(serde_json::from_str::<Value>(&frozen.to_json()).unwrap(), *whole.value());
        assert!(frozen.thawed() == whole);
    }

    #[test]
    fn incomplete_objects_are_refused() {
        assert!(Object::new(json!({"kind": "Pod", "metadata": {"name": "a"}})).is_none());
        assert!(Object::new(json!("text")).is_none());
    }
}
