//! The Kubernetes objects of a resource, and what becomes of them: the only place that knows how a plan tells it.
//!
//! `objects` maps the name of each object to a digest of its fields, and is always there. What changes within an object stands in `changes`, a list,
//! or in plans of earlier versions in `fields`, the fields themselves: where neither is, an object changes and nobody says how.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::read::{Action, Instance, Kind, Reading};
use super::secrets::{HIDDEN, HIDDEN_ANEW};

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

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    Added,
    Changed,
    /// Removed and made anew under the same name.
    Remade,
    Removed,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Field {
    pub path: String,
    pub before: Option<String>,
    pub after: Option<String>,
    /// Who set it last, where it was not this provider.
    pub manager: Option<String>,
}

impl Fate {
    pub fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Remade => "made anew",
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
    if instance.kind != Kind::Ca {
        let cluster = instance.cluster().unwrap_or_default().to_owned();
        all.push(compare(instance, cluster, instance.before(), instance.after()));
    }
    let exported = (instance.before().get("exported").entries(), instance.after().get("exported").entries());
    let clusters: BTreeSet<&str> = exported.0.keys().chain(exported.1.keys()).copied().collect();
    for cluster in clusters {
        let (before, after) = (exported.0.get(cluster).copied(), exported.1.get(cluster).copied());
        let nothing = Reading::nothing();
        all.push(compare(instance, cluster.to_owned(), before.unwrap_or(nothing), after.unwrap_or(nothing)));
    }
    all.retain(|objects| !objects.changes.is_empty() || objects.unknown);
    all
}

fn compare(instance: &Instance, cluster: String, before: Reading<'_>, after: Reading<'_>) -> Objects {
    let (was, will) = (before.get("objects"), after.get("objects"));
    if will.is_unknown() {
        let unknown = instance.action != Action::None;
        return Objects { cluster, changes: Vec::new(), unknown };
    }
    let (was, will) = (was.entries(), will.entries());
    let names: BTreeSet<&str> = was.keys().chain(will.keys()).copied().collect();
    let told = Told {
        before: fields(before),
        after: fields(after),
        changes: changes(after, &names),
        guarded: instance.guarded,
    };
    let mut changes = Vec::new();
    for name in names {
        let fate = match (was.get(name), will.get(name)) {
            // What is forgotten stays where it is.
            _ if instance.action == Action::Forget => continue,
            (Some(_), Some(_)) if instance.action == Action::Replace => Fate::Remade,
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
    before: BTreeMap<String, BTreeMap<String, String>>,
    after: BTreeMap<String, BTreeMap<String, String>>,
    changes: BTreeMap<String, Vec<Field>>,
    guarded: bool,
}

impl Told {
    fn of(&self, object: &str) -> Vec<Field> {
        let mut fields = match (self.changes.get(object), self.before.get(object), self.after.get(object)) {
            (Some(changes), ..) => changes.clone(),
            (None, Some(before), Some(after)) => differences(before, after),
            _ => Vec::new(),
        };
        fields.sort();
        fields.dedup();
        for field in &mut fields {
            if self.guarded || is_secret(object, field) {
                let same = field.before == field.after;
                if let Some(before) = &mut field.before {
                    HIDDEN.clone_into(before);
                }
                if let Some(after) = &mut field.after {
                    if same { HIDDEN } else { HIDDEN_ANEW }.clone_into(after);
                }
            }
        }
        fields
    }
}

fn differences(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<Field> {
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let field = |path: &String| {
        let (before, after) = (before.get(path).cloned(), after.get(path).cloned());
        (before != after).then(|| Field { path: path.clone(), before, after, manager: None })
    };
    paths.into_iter().filter_map(field).collect()
}

/// Whether a value is nobody's business, by where it stands.
fn is_secret(object: &str, field: &Field) -> bool {
    const WORDS: &[&str] = &[
        "password",
        "passwd",
        "secret",
        "token",
        "apikey",
        "api_key",
        "api-key",
        "credential",
        "privatekey",
        "private_key",
        "private-key",
    ];
    /// Names of such things, not the things.
    const NAMES: &[&str] = &[
        "secretname",
        "secretref",
        "secretkeyref",
        "imagepullsecrets",
        "tokenaudience",
        "jwt_policy",
        "serviceaccounttoken",
        "automountserviceaccounttoken",
    ];
    let path = field.path.to_lowercase();
    let named = WORDS.iter().any(|word| path.contains(word)) && !NAMES.iter().any(|name| path.contains(name));
    // Which rights on Secrets somebody has is what a reviewer must see.
    let rights = ["ClusterRole ", "Role "].iter().any(|kind| object.starts_with(kind));
    object.starts_with("Secret ") || named && !rights
}

/// `fields` in whichever form: a map of JSON texts, of maps, or one JSON text.
fn fields(side: Reading<'_>) -> BTreeMap<String, BTreeMap<String, String>> {
    let fields = side.get("fields");
    if fields.is_unknown() {
        return BTreeMap::new();
    }
    let objects = opened(fields.value());
    let objects = objects.as_ref().and_then(Value::as_object).into_iter().flatten();
    objects.filter_map(|(name, of)| Some((name.clone(), flat(opened(of)?.as_object()?)))).collect()
}

fn opened(value: &Value) -> Option<Value> {
    match value {
        Value::String(text) => serde_json::from_str(text).ok(),
        Value::Object(_) => Some(value.clone()),
        _ => None,
    }
}

fn flat(fields: &serde_json::Map<String, Value>) -> BTreeMap<String, String> {
    fields.iter().map(|(path, value)| (path.clone(), plain(value))).collect()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// `changes` in whichever form: objects that name what they are about, or texts that begin with the object.
fn changes(side: Reading<'_>, names: &BTreeSet<&str>) -> BTreeMap<String, Vec<Field>> {
    let mut changes: BTreeMap<String, Vec<Field>> = BTreeMap::new();
    for entry in side.get("changes").items() {
        if let Some((object, field)) = entry.text().map_or_else(|| structured(entry), |text| worded(text, names)) {
            changes.entry(object).or_default().push(field);
        }
    }
    changes
}

fn structured(entry: Reading<'_>) -> Option<(String, Field)> {
    let member = |names: &[&str]| {
        let found = names.iter().map(|name| entry.get(name)).find(|found| found.is_there() && !found.is_unknown())?;
        Some(plain(found.value()))
    };
    let field = Field {
        path: member(&["field", "path"])?,
        before: member(&["before", "was", "old"]),
        after: member(&["after", "is", "wanted", "new"]),
        manager: member(&["manager", "by"]),
    };
    Some((member(&["object", "name"])?, field))
}

/// `Deployment istio-system/istiod: spec.replicas "1" -> "2", by alice`, or as warnings have it `… is "1" in place of "2", by alice`.
fn worded(text: &str, names: &BTreeSet<&str>) -> Option<(String, Field)> {
    let object = names.iter().filter(|name| text.starts_with(**name)).max_by_key(|name| name.len())?;
    let rest = text[object.len()..].trim_start_matches([':', ' ', '.']);
    let (rest, manager) =
        rest.rsplit_once(", by ").map_or((rest, None), |(rest, manager)| (rest, Some(manager.to_owned())));
    let (path, values) = rest.split_once(' ').unwrap_or((rest, ""));
    let sides = values.split_once(" -> ").or_else(|| values.strip_prefix("is ")?.split_once(" in place of "));
    let (before, after) = sides.map_or((None, Some(values)), |(before, after)| (Some(before), Some(after)));
    let side =
        |text: Option<&str>| text.map(|text| text.trim().trim_matches('"').to_owned()).filter(|text| !text.is_empty());
    let path = path.trim_end_matches(':').to_owned();
    let field = Field { path, before: side(before), after: side(after), manager };
    (!rest.is_empty()).then(|| ((*object).to_owned(), field))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn instance(before: Value, after: Value, unknown: Value) -> Instance {
        Instance {
            address: "mesh_primary.a".into(),
            kind: Kind::Primary,
            action: Action::Update,
            importing: false,
            deposed: false,
            previous_address: None,
            reason: None,
            guarded: false,
            before,
            after,
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

    #[test]
    fn fields_are_told_in_every_form_that_plans_have() {
        let json_text = |value: &str| json!({ "fields": { "Deployment a/istiod": json!({ "spec.replicas": value, "x": "y" }).to_string() } });
        let told = |object: &Object| {
            assert_eq!(object.fields.len(), 1, "{object:?}");
            let field = &object.fields[0];
            (field.path.clone(), field.before.clone(), field.after.clone(), field.manager.clone())
        };
        let wanted = |manager: Option<&str>| {
            ("spec.replicas".to_owned(), Some("1".to_owned()), Some("2".to_owned()), manager.map(str::to_owned))
        };
        assert_eq!(told(&changed(json_text("1"), json_text("2"))), wanted(None));
        let maps = |value: &str| json!({ "fields": { "Deployment a/istiod": { "spec.replicas": value } } });
        assert_eq!(told(&changed(maps("1"), maps("2"))), wanted(None));
        let entry = json!({ "object": "Deployment a/istiod", "field": "spec.replicas", "before": 1, "after": "2", "manager": "alice" });
        assert_eq!(told(&changed(json!({}), json!({ "changes": [entry] }))), wanted(Some("alice")));
        let text = "Deployment a/istiod: spec.replicas \"1\" -> \"2\"";
        assert_eq!(told(&changed(json!({}), json!({ "changes": [text] }))), wanted(None));
        let text = "Deployment a/istiod: spec.replicas is \"1\" in place of \"2\", by alice";
        assert_eq!(told(&changed(json!({}), json!({ "changes": [text] }))), wanted(Some("alice")));
    }

    #[test]
    fn what_is_not_told_is_known_to_be_untold() {
        for (before, after) in [
            (json!({}), json!({})),
            (json!({ "fields": null }), json!({ "changes": [] })),
            (json!({ "fields": "nonsense" }), json!({ "changes": [7, null, {}, "Deployment"] })),
        ] {
            let object = changed(before, after);
            assert_eq!((object.is_told(), object.restarts()), (false, None), "{object:?}");
        }
        let all = of(&instance(side("1", json!({})), json!({ "cluster": "east" }), json!({ "objects": true })));
        assert!(all[0].unknown && all[0].changes.is_empty());
    }

    #[test]
    fn values_stay_hidden_where_a_path_or_the_configuration_says_so() {
        let fields = |path: &str, value: &str| json!({ "fields": { "Deployment a/istiod": json!({ (path): value }).to_string() } });
        let path = "spec.template.spec.containers[discovery].env[DB_PASSWORD].value";
        let field = &changed(fields(path, "one"), fields(path, "two")).fields[0];
        assert_eq!((field.before.as_deref(), field.after.as_deref()), (Some(HIDDEN), Some(HIDDEN_ANEW)));
        let path = "spec.template.spec.containers[discovery].image";
        let (before, after) = (side("1", fields(path, "one")), side("2", fields(path, "two")));
        let guarded = Instance { guarded: true, ..instance(before, after, Value::Null) };
        assert_eq!(of(&guarded)[0].changes[0].fields[0].after.as_deref(), Some(HIDDEN_ANEW));
    }
}
