//! Whose field is it: `metadata.managedFields` read into paths and values. Pure.
//!
//! Paths look like `spec.template.spec.containers[name=discovery].image`; `metadata.annotations["a.b/c"]` where a key
//! is not a plain word; `finalizers["x"]` for an element of a set; `ports[name=a,port=1]` where several keys identify an element.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Object;

/// One of our fields that is not as we applied it.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldDrift {
    pub path: String,
    /// What we applied.
    pub ours: Option<Value>,
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
/// `apiVersion`, `kind` and the name are nobody's; keys that identify list elements are left out.
pub fn fields(object: &Object, manager: &str) -> BTreeMap<String, Value> {
    todo!("{object} {manager}")
}

/// The leaf fields of a manifest as written, with paths in the form of [`fields`].
///
/// `like` is a live object of the same kind: its `managedFields` tell which lists are maps keyed by what.
pub fn flatten(manifest: &Object, like: Option<&Object>) -> BTreeMap<String, Value> {
    todo!("{manifest} {like:?}")
}

/// Drift between the fields recorded when we applied and the live object.
///
/// A field is drift when it is no longer ours (or gone) and its value differs; not when someone else merely wrote the same value.
pub fn drift(applied: &BTreeMap<String, Value>, live: &Object, manager: &str) -> Vec<FieldDrift> {
    todo!("{} {live} {manager}", applied.len())
}

/// Fields others added inside an object of ours, `status` left out.
pub fn foreign(live: &Object, manager: &str) -> Vec<ForeignField> {
    todo!("{live} {manager}")
}

/// A digest of recorded fields: equal exactly when paths and values are.
pub fn digest(fields: &BTreeMap<String, Value>) -> String {
    todo!("{}", fields.len())
}

/// `manager` owns fields of the object by server-side apply.
pub fn is_managed_by(object: &Object, manager: &str) -> bool {
    todo!("{object} {manager}")
}

/// All managers of the object, subresources (status, scale) left out.
pub fn managers(object: &Object) -> Vec<String> {
    todo!("{object}")
}
