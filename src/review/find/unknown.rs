//! What cannot be told before the apply.

use super::Cx;
use super::values::is_document;
use crate::review::read::{Action, Instance, UNKNOWN};
use crate::review::risk::{CANNOT_TELL, Level};
use crate::review::secrets::{HIDDEN, HIDDEN_ANEW};
use crate::review::section::Section;
use crate::review::text::{Prose, count, names, own_names};
use crate::schema::{Attribute, Schema};

/// What decides nothing but how long an apply waits.
const HARMLESS: &[&str] = &["timeouts", "wait"];

/// By what clusters are told apart.
const NAMES: &[&str] = &["cluster", "cluster_name", "config_cluster", "mesh_id", "network", "revision", "watchers"];

pub fn of_plan(cx: &mut Cx<'_>) -> Section {
    let mut section =
        Section::new("unknown", "Unknown until the apply", &[("address", "resource"), ("attributes", "what")]);
    section.importance = 5;
    for instance in &cx.plan.instances {
        let Some(schema) = cx.schemas.get(instance.kind.resource()) else { continue };
        if instance.action == Action::None || !instance.after().is_there() {
            continue;
        }
        hidden(cx, instance, schema);
        // What only the provider sets is expected to be unknown, but for the objects, which a plan is there to tell.
        let open = schema.attributes.iter().filter(|attribute| {
            let value = instance.after().get(&attribute.name);
            let told = match attribute.name.as_str() {
                "objects" => true,
                "exported" => value.is_unknown(),
                _ => is_configured(attribute),
            };
            let unknown = if attribute.name == "clusters" { value.is_unknown() } else { value.is_partly_unknown() };
            told && unknown && !value.is_partly_hidden()
        });
        let open: Vec<&str> = open.map(|attribute| attribute.name.as_str()).collect();
        if open.is_empty() {
            continue;
        }
        section.row([Prose::name(&instance.address), own_names(open.iter().copied()).into()]);
        // The root that is made in the same apply is waited for; it decides nothing else. Nor does the version of what
        // is new.
        let is_new = !instance.before().is_there();
        let waits = |name: &&str| *name == "trust_root" || *name == "istio_version" && is_new;
        let matters: Vec<&str> = open.iter().filter(|name| !waits(name)).copied().collect();
        if !matters.is_empty() {
            let what = format!("Known only after the apply: {}.", own_names(matters.iter().copied()));
            let harmless = matters.iter().all(|name| HARMLESS.contains(name));
            let before = was(instance, &matters);
            let level = if harmless { Level::Note } else { Level::Warning };
            cx.risk(&CANNOT_TELL, instance, what).at(level).sides(before, UNKNOWN);
        }
    }
    nameless(cx);
    untold(cx);
    if cx.plan.unread > 0 {
        let what = format!(
            "{} of the mesh are not looked at: the plan is too large. Divide the configuration into several states, or plan fewer resources at a time with `-target`.",
            count(cx.plan.unread, "change")
        );
        cx.risk_at(&CANNOT_TELL, "", what).at(Level::Forbidden);
    }
    for doubt in &cx.plan.doubts {
        let topology = cx.topology;
        let all = topology.before.clusters.keys().chain(topology.after.clusters.keys()).map(String::as_str);
        cx.risk_at(&CANNOT_TELL, "", format!("Of the plan as a whole: {doubt}.")).of_all(all);
    }
    section.sorted()
}

fn is_configured(attribute: &Attribute) -> bool {
    !attribute.is_computed_only() && !attribute.write_only
}

/// What is marked as sensitive at its place and changes: nobody can review it. Documents are judged where values are.
fn hidden(cx: &mut Cx<'_>, instance: &Instance, schema: &Schema) {
    let hidden = schema.attributes.iter().filter(|attribute| {
        let sides = [instance.before(), instance.after()].map(|side| side.get(&attribute.name));
        let document = is_document(&attribute.name);
        is_configured(attribute) && !document && sides.iter().any(|side| side.is_partly_hidden())
    });
    let hidden: Vec<&str> = hidden.map(|attribute| attribute.name.as_str()).collect();
    if hidden.is_empty() {
        return;
    }
    let what = format!(
        "Marked as sensitive and changed: {}. The review does not judge the new values.",
        own_names(hidden.iter().copied())
    );
    let level = if hidden.iter().all(|name| HARMLESS.contains(name)) { Level::Warning } else { Level::Danger };
    cx.risk(&CANNOT_TELL, instance, what).at(level).sides(HIDDEN, HIDDEN_ANEW);
}

/// Marked names, changed or not: with all of them hidden, several clusters look like one.
fn nameless(cx: &mut Cx<'_>) {
    let plan = cx.plan;
    if plan.instances.iter().all(|instance| instance.action == Action::None) {
        return;
    }
    for instance in &plan.instances {
        let Some(schema) = cx.schemas.get(instance.kind.resource()) else { continue };
        let is_hidden = |name: &&&str| {
            if schema.attribute(name).is_none() {
                return false;
            }
            let side = instance.latest(name);
            side.is_hidden() || side.items().iter().any(|item| item.is_hidden())
        };
        let hidden: Vec<&str> = NAMES.iter().filter(is_hidden).copied().collect();
        if !hidden.is_empty() {
            let what = format!(
                "Marked as sensitive: {}. The review cannot tell clusters apart by these names.",
                own_names(hidden.iter().copied())
            );
            cx.risk(&CANNOT_TELL, instance, what).at(Level::Danger);
        }
    }
}

/// The one of them that there is, as it was.
fn was(instance: &Instance, attributes: &[&str]) -> Prose {
    match attributes {
        ["objects"] | [_, _, ..] | [] => Prose::default(),
        [_] if !instance.before().is_there() => "none".into(),
        [only] => instance.before().get(only).shown(),
    }
}

/// Objects that change without a word on how.
fn untold(cx: &mut Cx<'_>) {
    let mut untold = Vec::new();
    for (instance, all) in cx.objects_of() {
        for of in all {
            let silent = of.changes.iter().filter(|object| !object.is_told()).map(|object| object.name.as_str());
            let silent: Vec<&str> = silent.collect();
            if !silent.is_empty() {
                untold.push((instance, of.cluster.clone(), names(silent)));
            }
        }
    }
    for (instance, cluster, objects) in untold {
        cx.risk(&CANNOT_TELL, instance, format!("The plan does not say what changes in {objects}.")).of(&cluster);
    }
}
