//! The Kubernetes objects of a resource, and what becomes of them: the only place that knows how a plan tells it.
//!
//! `objects` maps the name of each object to a digest of its fields, and is always there. What changes within an object
//! stands in `changes`: by object, a line for each field (see [`crate::diag::FieldChange`]). A text that was there
//! before says nothing of this plan.

use std::collections::{BTreeMap, BTreeSet};

use super::read::{Action, InCluster, Instance, Reading, Type};
use super::secrets::{HIDDEN, HIDDEN_ANEW, leads_to_a_secret};
use super::text::Prose;
use crate::diag::{ALIKE, FieldChange};

/// What becomes of the objects that a resource keeps in one cluster.
#[derive(Debug, Default, Clone)]
pub struct Objects {
    pub cluster: String,
    pub changes: Vec<Object>,
    /// Which objects there will be is not known before the apply.
    pub unknown: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// `Deployment istio-system/istiod`.
    pub name: String,
    pub fate: Fate,
    /// Sorted by path.
    pub fields: Vec<Field>,
}

/// A field that changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Field {
    pub path: String,
    pub before: Option<String>,
    pub after: Option<String>,
    pub manager: Option<String>,
    /// Its value is judged and not shown.
    pub secret: bool,
}

impl Field {
    /// Both sides for people, with a word for none.
    pub fn sides(&self, none: &str) -> (Prose, Prose) {
        let anew = if self.before == self.after { HIDDEN } else { HIDDEN_ANEW };
        let side = |side: &Option<String>, hidden: &str| match side {
            None => none.into(),
            Some(_) if self.secret => hidden.into(),
            Some(text) => Prose::name(text),
        };
        (side(&self.before, HIDDEN), side(&self.after, anew))
    }

    /// As it was before that.
    pub fn turned(&self) -> Self {
        Self { before: self.after.clone(), after: self.before.clone(), ..self.clone() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    Added,
    Changed,
    /// Removed and made anew under the same name.
    Remade,
    Removed,
}

impl Fate {
    pub fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Remade => "recreated",
            Self::Removed => "removed",
        }
    }
}

impl Object {
    /// `Deployment`.
    pub fn kind(&self) -> &str {
        self.name.split([' ', '.']).next().unwrap_or_default()
    }

    /// Whether the plan says what changes within it.
    pub fn is_told(&self) -> bool {
        self.fate != Fate::Changed || !self.fields.is_empty()
    }

    /// Whether Pods are made anew: `None` where that cannot be told.
    pub fn restarts(&self) -> Option<bool> {
        if !matches!(self.kind(), "Deployment" | "DaemonSet" | "StatefulSet") {
            return Some(false);
        }
        match (self.fate, self.is_told()) {
            // Labels of a version too: whatever changes in the template makes new Pods.
            (Fate::Changed, true) => Some(self.fields.iter().any(|field| field.path.starts_with("spec.template"))),
            (Fate::Changed, false) => None,
            (Fate::Remade, _) => Some(true),
            _ => Some(false),
        }
    }

    /// Only in what repeats what others say.
    pub fn is_relabelled(&self) -> bool {
        self.fate == Fate::Changed && self.is_told() && self.fields.iter().all(|field| repeats(&field.path))
    }
}

/// The labels by which charts tell their version, and the values that they leave behind for debugging.
pub fn repeats(path: &str) -> bool {
    path.contains("labels")
        && (path.ends_with("[\"helm.sh/chart\"]") || path.ends_with("[\"app.kubernetes.io/version\"]"))
        || matches!(path, "data.merged-values" | "data.original-values")
}

/// By cluster.
pub fn of(instance: &Instance) -> Vec<Objects> {
    let mut all = Vec::new();
    if instance.kind != Type::Ca {
        all.extend(instance.in_clusters().into_iter().map(|one| compare(instance, one)));
    }
    // The old ones stay beside the new ones.
    let before = if instance.leaves_old { Reading::nothing() } else { instance.before() };
    let (before, after) = (before.get("exported"), instance.after().get("exported"));
    let clusters: BTreeSet<&str> = before.entries().into_keys().chain(after.entries().into_keys()).collect();
    for cluster in clusters {
        all.push(compare(instance, InCluster { cluster, before: before.get(cluster), after: after.get(cluster) }));
    }
    all.retain(|objects| !objects.changes.is_empty() || objects.unknown);
    all
}

fn compare(instance: &Instance, InCluster { cluster, before, after }: InCluster<'_>) -> Objects {
    let cluster = cluster.to_owned();
    let (was, will) = (before.get("objects"), after.get("objects"));
    if will.is_unknown() {
        let unknown = instance.action != Action::None;
        return Objects { cluster, changes: Vec::new(), unknown };
    }
    let (was, will) = (was.entries(), will.entries());
    let names: BTreeSet<&str> = was.keys().chain(will.keys()).copied().collect();
    let told = Told { before: texts(before), after: texts(after), guarded: instance.guarded };
    let mut changes = Vec::new();
    for name in names {
        let fate = match (was.get(name), will.get(name)) {
            (Some(_), Some(_)) if instance.action == Action::Replace && !instance.leaves_old => Fate::Remade,
            (Some(was), Some(will)) if was.value() == will.value() => continue,
            (Some(_), Some(_)) => Fate::Changed,
            (None, _) => Fate::Added,
            (_, None) => Fate::Removed,
        };
        let fields = if fate == Fate::Changed { told.of(name) } else { Vec::new() };
        changes.push(Object { name: name.to_owned(), fate, fields });
    }
    Objects { cluster, changes, unknown: false }
}

/// What a plan says of the fields.
struct Told {
    before: BTreeMap<String, String>,
    after: BTreeMap<String, String>,
    guarded: bool,
}

impl Told {
    fn of(&self, object: &str) -> Vec<Field> {
        let new = |key: &str| self.after.get(key).filter(|text| self.before.get(key) != Some(text));
        let texts = [new(object), new(ALIKE)];
        let lines = texts.into_iter().flatten().flat_map(|text| text.lines()).filter_map(FieldChange::parse);
        let field = |FieldChange { path, before, after, manager }| {
            let secret = self.guarded || is_secret(object, &path);
            Field { path, before, after, manager, secret }
        };
        let mut fields: Vec<Field> = lines.map(field).collect();
        fields.sort();
        fields.dedup();
        fields
    }
}

/// Whether a value is nobody's business, by where it stands.
fn is_secret(object: &str, path: &str) -> bool {
    // Which rights on Secrets somebody has is what a reviewer must see.
    let rights = ["ClusterRole ", "Role "].iter().any(|kind| object.starts_with(kind));
    object.starts_with("Secret ") || leads_to_a_secret(path) && !rights
}

/// The attribute `changes`, by object.
fn texts(side: Reading<'_>) -> BTreeMap<String, String> {
    let entries = side.get("changes").entries().into_iter();
    entries.filter_map(|(name, text)| Some((name.to_owned(), text.text()?.to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn instance(before: Value, after: Value, unknown: Value) -> Instance {
        Instance {
            address: "mesh_primary.a".into(),
            kind: Type::Primary,
            action: Action::Update,
            importing: false,
            deposed: false,
            previous_address: None,
            reason: None,
            leaves_old: false,
            guarded: false,
            creates_first: false,
            before,
            after,
            before_hidden: Value::Null,
            unknown,
        }
    }

    fn side(digest: &str, more: Value) -> Value {
        let mut side =
            json!({ "cluster": "east", "objects": { "Deployment a/istiod": digest, "Service a/istiod": "same" } });
        more.as_object().unwrap().iter().for_each(|(name, value)| side[name] = value.clone());
        side
    }

    fn changed(before: Value, after: Value) -> Object {
        let all = of(&instance(side("1", before), side("2", after), Value::Null));
        assert_eq!((all.len(), all[0].changes.len(), all[0].cluster.as_str()), (1, 1, "east"));
        all[0].changes[0].clone()
    }

    fn said(text: &str) -> Value {
        json!({ "changes": { "Deployment a/istiod": text } })
    }

    #[test]
    fn what_changes_is_read_and_what_was_said_before_is_not() {
        let told = |before: Value, after: Value| {
            let object = changed(before, after);
            object
                .fields
                .into_iter()
                .map(|field| (field.path, field.before, field.after, field.manager))
                .collect::<Vec<_>>()
        };
        let text = |text: &str| Some(text.to_owned());
        let line = "spec.replicas: 1 -> 2";
        assert_eq!(told(json!({}), said(line)), [("spec.replicas".to_owned(), text("1"), text("2"), None)]);
        assert_eq!(told(said(line), said(line)), []);
        let odd = "metadata.labels[\"a: b\"]: (none) -> \"a \\\"b\\\" -> c\" (set by kubectl-edit)";
        let wanted = ("metadata.labels[\"a: b\"]".to_owned(), None, text("a \"b\" -> c"), text("kubectl-edit"));
        assert_eq!(told(said(line), said(odd)), [wanted]);
        let alike = json!({ "changes": { ALIKE: "metadata.labels.v: 1 -> (none) (in 4 objects)" } });
        assert_eq!(told(json!({}), alike), [("metadata.labels.v".to_owned(), text("1"), None, None)]);
    }

    #[test]
    fn what_is_not_told_is_known_to_be_untold() {
        for (before, after) in [
            (json!({}), json!({})),
            (json!({ "changes": null }), json!({ "changes": [] })),
            (json!({ "changes": "nonsense" }), json!({ "changes": [7, null, {}, "Deployment"] })),
            (json!({}), said("every field is written")),
            (json!({}), said("spec.replicas: 1 ->\n: \"\nx: \"1")),
        ] {
            let object = changed(before, after);
            assert_eq!((object.is_told(), object.restarts()), (false, None), "{object:?}");
        }
        let all = of(&instance(side("1", json!({})), json!({ "cluster": "east" }), json!({ "objects": true })));
        assert!(all[0].unknown && all[0].changes.is_empty());
    }

    #[test]
    fn values_stay_hidden_where_a_path_or_the_configuration_says_so() {
        let line = |path: &str| said(&format!("{path}: one -> two"));
        let path = "spec.template.spec.containers[discovery].env[DB_PASSWORD].value";
        let field = &changed(json!({}), line(path)).fields[0];
        assert_eq!(field.sides("none"), (HIDDEN.into(), HIDDEN_ANEW.into()));
        let path = "spec.template.spec.containers[discovery].image";
        let (before, after) = (side("1", json!({})), side("2", line(path)));
        let guarded = Instance { guarded: true, ..instance(before, after, Value::Null) };
        assert_eq!(of(&guarded)[0].changes[0].fields[0].sides("none").1, HIDDEN_ANEW.into());
    }
}
