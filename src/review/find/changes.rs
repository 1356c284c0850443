//! What changes, one by one: attributes of the configuration, then objects and their fields.

use std::collections::{BTreeMap, BTreeSet};

use super::{Cx, values};
use crate::review::objects::{Fate, Field, Object, repeats};
use crate::review::read::{Action, Reading, UNKNOWN};
use crate::review::section::Section;
use crate::review::text::{Name, Prose, count};
use crate::schema::{Attribute, Nesting};

const SETTINGS: &[(&str, &str)] =
    &[("address", "resource"), ("attribute", "attribute"), ("before", "before"), ("after", "after")];

/// Attributes that the configuration sets, of resources that stay.
pub fn settings(cx: &Cx<'_>) -> Section {
    let mut section = Section::new("settings", "Attributes that change", SETTINGS);
    (section.importance, section.open) = (3, false);
    for instance in &cx.plan.instances {
        let both = matches!(instance.action, Action::Update | Action::Replace);
        let Some(schema) = cx.schemas.get(instance.kind.resource()).filter(|_| both) else { continue };
        let mut differences = Vec::new();
        between(&mut differences, "", &schema.attributes, (instance.before(), instance.after()));
        // Documents are shown leaf by leaf, and not as a text that nobody could look through for secrets.
        differences.retain(|(path, _, after)| !values::is_document(path) || *after == UNKNOWN.into());
        for (path, before, after) in differences {
            // The key of a map is a name, and all else of a path our own.
            let path = if path.contains('[') { Prose::name(&path) } else { Prose::own(&path) };
            section.row([Prose::name(&instance.address), path, before, after]);
        }
        for documents in values::unreadable(instance) {
            let untold = Prose::from("not told");
            section.row([Prose::name(&instance.address), Prose::name(&documents), untold.clone(), untold]);
        }
        for leaf in values::differences(instance) {
            let path = format!("{} {}", leaf.documents, Name(&leaf.path));
            let (before, after) = leaf.shown();
            section.row([Prose::name(&instance.address), path.into(), before, after]);
        }
    }
    section.sorted()
}

/// What the configuration sets otherwise, attribute by attribute.
fn between(
    into: &mut Vec<(String, Prose, Prose)>,
    path: &str,
    attributes: &[Attribute],
    (before, after): (Reading<'_>, Reading<'_>),
) {
    let configured = attributes.iter().filter(|attribute| !attribute.is_computed_only() && !attribute.write_only);
    for attribute in configured {
        let path = if path.is_empty() { attribute.name.clone() } else { format!("{path}.{}", attribute.name) };
        let sides = (before.get(&attribute.name), after.get(&attribute.name));
        if sides.0.is_same(sides.1) {
            continue;
        }
        let objects = sides.0.value().is_object() && sides.1.value().is_object() && !sides.1.is_unknown();
        match attribute.nested().filter(|_| objects) {
            Some(nested) if nested.nesting == Nesting::Single => between(into, &path, &nested.attributes, sides),
            Some(nested) if nested.nesting == Nesting::Map => {
                let (was, will) = (sides.0.entries(), sides.1.entries());
                let names: BTreeSet<&str> = was.keys().chain(will.keys()).copied().collect();
                for name in names {
                    let path = format!("{path}[{name}]");
                    match (was.get(name), will.get(name)) {
                        (Some(was), Some(will)) => between(into, &path, &nested.attributes, (*was, *will)),
                        (was, will) => {
                            let there = |side: Option<&Reading<'_>>| {
                                if side.is_some() { "there".into() } else { "not set".into() }
                            };
                            into.push((path, there(was), there(will)));
                        }
                    }
                }
            }
            _ => into.push((path, sides.0.shown(), sides.1.shown())),
        }
    }
}

const OBJECTS: &[(&str, &str)] = &[
    ("cluster", "cluster"),
    ("address", ""),
    ("object", "object"),
    ("fate", "what"),
    ("field", "field"),
    ("before", "before"),
    ("after", "after"),
    ("by", ""),
];

/// Objects and their fields. Whole sets that come or go are counted.
pub fn objects(cx: &mut Cx<'_>) -> Section {
    let mut section = Section::new("objects", "Objects and fields, by cluster", OBJECTS);
    (section.importance, section.open) = (1, false);
    for (instance, all) in cx.objects_of() {
        for of in all {
            let head = |object: Prose, fate: &str| {
                [Prose::name(&of.cluster), Prose::name(&instance.address), object, fate.into()]
            };
            let empty = || std::iter::repeat_n(Prose::default(), 4);
            let whole = instance.action != Action::Update;
            let mut counted: BTreeMap<Fate, BTreeMap<&str, usize>> = BTreeMap::new();
            let mut relabelled = 0;
            for object in &of.changes {
                match object.fate {
                    Fate::Changed if object.is_relabelled() => relabelled += 1,
                    Fate::Changed => changed(&mut section, &head(Prose::name(&object.name), "changed"), object),
                    fate if whole => *counted.entry(fate).or_default().entry(object.kind()).or_default() += 1,
                    fate => section.row(head(Prose::name(&object.name), fate.word()).into_iter().chain(empty())),
                }
            }
            for (fate, kinds) in counted {
                let all = count(kinds.values().sum(), "object");
                let kinds: Vec<String> =
                    kinds.iter().map(|(kind, number)| format!("{number} {}", Name(kind))).collect();
                let words = format!("{all} of {}: {}", Name(instance.kind.resource()), kinds.join(", "));
                section.row(head(words.into(), fate.word()).into_iter().chain(empty()));
            }
            if relabelled > 0 {
                let words = format!(
                    "{} of {}: nothing but version labels",
                    count(relabelled, "object"),
                    Name(instance.kind.resource())
                );
                section.row(head(words.into(), "changed").into_iter().chain(empty()));
            }
        }
    }
    section.sorted()
}

fn changed(section: &mut Section, head: &[Prose; 4], object: &Object) {
    for field in in_all_versions(object).iter().filter(|field| !repeats(&field.path)) {
        let by = field.manager.as_deref().map(Prose::name).unwrap_or_default();
        let (before, after) = field.sides("not set");
        let cells = [Prose::name(&field.path), before, after, by];
        section.row(head.iter().cloned().chain(cells));
    }
    if object.fields.is_empty() {
        let cells = [Prose::from("not told"), Prose::default(), Prose::default(), Prose::default()];
        section.row(head.iter().cloned().chain(cells));
    }
}

/// What is the same in several versions of a definition as one field: `spec.versions[v1, v1beta1].schema`.
fn in_all_versions(object: &Object) -> Vec<Field> {
    let mut merged: Vec<Field> = Vec::new();
    let mut versions: BTreeMap<(&str, &Field), Vec<&str>> = BTreeMap::new();
    let without_path = |field: &Field| Field { path: String::new(), ..field.clone() };
    let bare: Vec<Field> = object.fields.iter().map(without_path).collect();
    for (field, bare) in object.fields.iter().zip(&bare) {
        let version = field.path.strip_prefix("spec.versions[").and_then(|rest| rest.split_once(']'));
        match version.filter(|_| object.kind() == "CustomResourceDefinition") {
            Some((version, member)) => versions.entry((member, bare)).or_default().push(version),
            None => merged.push(field.clone()),
        }
    }
    let path = |member: &str, names: &[&str]| format!("spec.versions[{}]{member}", names.join(", "));
    merged
        .extend(versions.iter().map(|((member, bare), names)| Field { path: path(member, names), ..(*bare).clone() }));
    merged
}
