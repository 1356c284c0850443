//! The attribute `changes`: what an apply changes in the objects that stay, field by field.
//!
//! A plan shows it as it shows every attribute: what is new in it. State keeps what was last changed in each object
//! until that object changes again: emptied at a refresh, it would be taken for something that changed outside of
//! Terraform. An object that is added or removed is in `objects`, and needs no more words. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::fields;
use super::memory::Memory;
use super::objects::{Drift, Recorded};
use crate::diag::{ALIKE, FieldChange};
use crate::value::{Map, Value};

/// From so many objects on.
const SEVERAL: usize = 4;

/// What state says of the objects in one cluster.
#[derive(Clone, Copy, Debug)]
pub struct Before<'a> {
    pub objects: &'a Value<Map<String>>,
    pub changes: &'a Value<Map<String>>,
}

/// What an apply changes: from what is recorded to what is wanted.
pub fn planned(before: Option<Before<'_>>, memory: &Memory, wanted: &Recorded) -> Value<Map<String>> {
    let told = before.map(|before| before.changes);
    let before = before.map(|before| Recorded::of(before.objects, memory)).unwrap_or_default();
    between(told, &before, memory, wanted)
}

fn between(
    told: Option<&Value<Map<String>>>,
    before: &Recorded,
    memory: &Memory,
    wanted: &Recorded,
) -> Value<Map<String>> {
    let mut changes: BTreeMap<String, String> = BTreeMap::new();
    let mut lines: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (key, digest) in &wanted.objects {
        match before.objects.get(key) {
            None => {}
            Some(same) if same == digest => changes.extend(kept(told, key)),
            Some(_) => {
                lines.insert(key, changed(key, before, memory, wanted));
            }
        }
    }
    let alike = alike(&mut lines);
    changes.extend(if alike.is_empty() { kept(told, ALIKE) } else { Some((ALIKE.to_owned(), alike.join("\n"))) });
    for (key, lines) in lines {
        // All that changes in it is said of several objects.
        let said = if lines.is_empty() { kept(told, key) } else { Some((key.to_owned(), lines.join("\n"))) };
        changes.extend(said);
    }
    match (changes.is_empty(), told) {
        // A state of an earlier version has none, and is no reason for an apply.
        (true, Some(Value::Null)) => Value::Null,
        _ => changes.into_iter().collect(),
    }
}

/// What is true of it when an apply stopped on its way: of the objects that it has not reached, nothing has been
/// changed. `told` is the attribute in state.
pub fn reached(
    planned: &Value<Map<String>>,
    told: Option<&Value<Map<String>>>,
    wanted: &Recorded,
    reached: &Recorded,
) -> Value<Map<String>> {
    let is_reached = |key: &str| reached.objects.get(key) == wanted.objects.get(key);
    let all = wanted.objects.keys().all(|key| is_reached(key));
    if all {
        return planned.clone();
    }
    let done = planned.entries().filter(|(key, _)| *key != ALIKE && is_reached(key));
    let done: BTreeMap<String, String> = done.map(|(key, text)| (key.to_owned(), text.clone())).collect();
    let before = told
        .into_iter()
        .flat_map(Value::entries)
        .filter(|(key, _)| *key == ALIKE || reached.objects.contains_key(*key));
    let mut changes: BTreeMap<String, String> = before.map(|(key, text)| (key.to_owned(), text.clone())).collect();
    changes.extend(done);
    changes.into_iter().collect()
}

/// What others have changed since, as a refresh found it.
pub fn seen(told: &Value<Map<String>>, drifts: &[Drift], seen: &Recorded) -> Value<Map<String>> {
    let mut lines: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for drift in drifts {
        if let Some(path) = &drift.path {
            let change = FieldChange {
                path: path.clone(),
                before: drift.was.clone(),
                after: drift.is.clone(),
                manager: drift.manager.clone(),
            };
            lines.entry(&drift.object).or_default().push(change.to_string());
        }
    }
    let kept = told.entries().filter(|(key, _)| *key == ALIKE || seen.objects.contains_key(*key));
    let mut changes: BTreeMap<String, String> = kept.map(|(key, text)| (key.to_owned(), text.clone())).collect();
    changes.extend(lines.into_iter().map(|(key, lines)| (key.to_owned(), lines.join("\n"))));
    changes.into_iter().collect()
}

fn kept(told: Option<&Value<Map<String>>>, key: &str) -> Option<(String, String)> {
    Some((key.to_owned(), told?.entry(key)?.clone()))
}

fn changed(key: &str, before: &Recorded, memory: &Memory, wanted: &Recorded) -> Vec<String> {
    let nothing = BTreeMap::new();
    let after = wanted.fields.get(key).unwrap_or(&nothing);
    let Some(fields) = before.fields.get(key) else {
        return vec!["every field is written, since what is there now is not known".to_owned()];
    };
    let paths: BTreeSet<&String> = fields.keys().chain(after.keys()).collect();
    // What is shown as a digest is compared as one, and never shown as it was.
    let before = |path: &String| {
        let is = fields.get(path)?;
        Some(after.get(path).map_or_else(|| is.clone(), |wanted| fields::like(wanted, is)))
    };
    // How the API server spells it is no change.
    let same = |path: &String| match (before(path), after.get(path)) {
        (is, Some(wanted)) => fields::same(path, wanted, is.as_deref()),
        (is, None) => is.is_none(),
    };
    let differing = paths.into_iter().filter(|path| !same(path));
    let change = |path: &String| FieldChange {
        path: path.clone(),
        before: before(path),
        after: after.get(path).cloned(),
        manager: memory.manager(key, path).map(str::to_owned),
    };
    differing.map(|path| change(path).to_string()).collect()
}

/// Takes out the lines that several objects have in common. What a Pod template changes stays with its object: it
/// starts Pods anew.
fn alike(lines: &mut BTreeMap<&str, Vec<String>>) -> Vec<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for line in lines.values().flatten().filter(|line| !line.starts_with("spec.template")) {
        *counts.entry(line.clone()).or_default() += 1;
    }
    counts.retain(|_, count| *count >= SEVERAL);
    for lines in lines.values_mut() {
        lines.retain(|line| !counts.contains_key(line));
    }
    counts.into_iter().map(|(line, count)| format!("{line} (in {count} objects)")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kept::fields::Fields;

    fn recorded(objects: &[(&str, &[(&str, &str)])]) -> Recorded {
        let mut recorded = Recorded::default();
        for (key, fields) in objects {
            let fields: Fields = fields.iter().map(|(path, value)| ((*path).to_owned(), (*value).to_owned())).collect();
            recorded.objects.insert((*key).to_owned(), fields::digest(&fields));
            recorded.fields.insert((*key).to_owned(), fields);
        }
        recorded
    }

    fn told(texts: &[(&str, &str)]) -> Value<Map<String>> {
        texts.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect()
    }

    const OLD: &[(&str, &str)] = &[("label", "1.30"), ("spec.replicas", "1")];
    const NEW: &[(&str, &str)] = &[("label", "1.31"), ("spec.replicas", "1")];

    #[test]
    fn what_changes_is_said_and_what_stays_keeps_its_word() {
        let before = recorded(&[("Deployment a/b", OLD), ("Service a/b", OLD), ("Role a/b", OLD)]);
        let wanted = recorded(&[("Deployment a/b", NEW), ("Service a/b", OLD), ("Secret a/b", NEW)]);
        let was = told(&[("Service a/b", "x: 1 -> 2"), ("Role a/b", "gone with it")]);
        let planned = between(Some(&was), &before, &Memory::of(&before), &wanted);
        assert_eq!(planned, told(&[("Deployment a/b", "label: 1.30 -> 1.31"), ("Service a/b", "x: 1 -> 2")]));
    }

    #[test]
    fn an_element_more_is_said_of_the_list() {
        let map = |pems: &[&str]| {
            let entries: String = pems.iter().map(|pem| format!("\n- pem: {pem}")).collect();
            let mesh = format!("trustDomain: a\ncaCertificates:{entries}\n");
            let object = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio"}, "data": {"mesh": mesh}});
            fields::fields(&crate::cluster::Object::new(object).unwrap())
        };
        let of = |fields: Fields| {
            let mut recorded = recorded(&[]);
            recorded.objects.insert("ConfigMap a/istio".to_owned(), fields::digest(&fields));
            recorded.fields.insert("ConfigMap a/istio".to_owned(), fields);
            recorded
        };
        let (before, wanted) = (of(map(&["one"])), of(map(&["one", "two"])));
        let planned = between(None, &before, &Memory::of(&before), &wanted);
        let said = "data.mesh.caCertificates: 1 element -> 2 elements\ndata.mesh.caCertificates[1].pem: (none) -> two";
        assert_eq!(planned, told(&[("ConfigMap a/istio", said)]));
    }

    #[test]
    fn what_several_objects_have_in_common_is_said_once() {
        let keys = ["A a", "B b", "C c", "D d"];
        let all = |fields: &'static [(&'static str, &'static str)]| recorded(&keys.map(|key| (key, fields)));
        let planned = between(None, &all(OLD), &Memory::of(&all(OLD)), &all(NEW));
        assert_eq!(planned, told(&[(ALIKE, "label: 1.30 -> 1.31 (in 4 objects)")]));
    }

    #[test]
    fn an_object_of_unknown_fields_is_said_to_be_written_anew() {
        let (mut before, wanted) = (recorded(&[("Role a/b", OLD)]), recorded(&[("Role a/b", NEW)]));
        before.fields.clear();
        let planned = between(None, &before, &Memory::default(), &wanted);
        assert!(planned.entry("Role a/b").unwrap().starts_with("every field is written"));
    }

    #[test]
    fn a_refresh_says_who_changed_it_and_the_plan_repeats_it() {
        let before = recorded(&[("Role a/b", OLD)]);
        let live = recorded(&[("Role a/b", &[("label", "1.30"), ("spec.replicas", "3")])]);
        let drift = Drift {
            object: "Role a/b".into(),
            path: Some("spec.replicas".into()),
            was: Some("1".into()),
            is: Some("3".into()),
            manager: Some("kubectl-edit".into()),
        };
        let state = seen(&told(&[("Role a/b", "earlier")]), std::slice::from_ref(&drift), &live);
        assert_eq!(state, told(&[("Role a/b", "spec.replicas: 1 -> 3 (set by kubectl-edit)")]));
        let mut memory = Memory::of(&live);
        memory.note_drifts(&[drift]);
        let planned = between(Some(&state), &live, &memory, &before);
        assert_eq!(planned, told(&[("Role a/b", "spec.replicas: 3 -> 1 (set by kubectl-edit)")]));
    }

    #[test]
    fn an_apply_that_stopped_keeps_to_what_it_reached() {
        let wanted = recorded(&[("Role a/b", NEW), ("Role a/c", NEW)]);
        let half = recorded(&[("Role a/b", NEW), ("Role a/c", OLD)]);
        let plan = told(&[("Role a/b", "new"), ("Role a/c", "new")]);
        let before = told(&[("Role a/c", "old")]);
        assert_eq!(reached(&plan, Some(&before), &wanted, &half), told(&[("Role a/b", "new"), ("Role a/c", "old")]));
        assert_eq!(reached(&plan, Some(&before), &wanted, &wanted), plan);
    }
}
