//! What cannot be told before the apply.

use super::Cx;
use crate::review::read::Action;
use crate::review::risk::{CANNOT_TELL, Level};
use crate::review::section::Section;
use crate::review::text::{Prose, names};

/// What changes, who comes in, and whether it is encrypted.
const DECIDE: &[&str] =
    &["objects", "service", "expose", "mtls", "values", "base_values", "chart_values", "accept_roots"];

pub fn of_plan(cx: &mut Cx<'_>) -> Section {
    let mut section =
        Section::new("unknown", "Unknown until the apply", &[("address", "resource"), ("attributes", "what")]);
    section.importance = 5;
    for instance in &cx.plan.instances {
        if instance.action == Action::None || !instance.after().is_there() {
            continue;
        }
        let Some(schema) = cx.schemas.get(instance.kind.resource()) else { continue };
        // What only the provider sets is expected to be unknown, but for the objects, which a plan is there to tell.
        let open = schema.attributes.iter().filter(|attribute| {
            let told = attribute.name == "objects" || !attribute.is_computed_only() && !attribute.write_only;
            let value = instance.after().get(&attribute.name);
            told && if attribute.name == "clusters" { value.is_unknown() } else { value.is_partly_unknown() }
        });
        let open: Vec<&str> = open.map(|attribute| attribute.name.as_str()).collect();
        if open.is_empty() {
            continue;
        }
        section.row([Prose::name(&instance.address), names(open.iter().copied()).into()]);
        // The root that is made in the same apply is waited for; it decides nothing else.
        let matters: Vec<&str> =
            open.iter().filter(|name| !["trust_root", "istio_version"].contains(*name)).copied().collect();
        if !matters.is_empty() {
            let what = format!("{} is known after the apply only.", names(matters.iter().copied()));
            let decides = matters.iter().any(|name| DECIDE.contains(name));
            cx.risk(&CANNOT_TELL, instance, what).at(if decides { Level::Warning } else { Level::Note });
        }
    }
    untold(cx);
    for doubt in &cx.plan.doubts {
        let topology = cx.topology;
        let all = topology.before.clusters.keys().chain(topology.after.clusters.keys()).map(String::as_str);
        cx.risk_at(&CANNOT_TELL, "", format!("Of the plan as a whole: {doubt}.")).of_all(all);
    }
    section.sorted()
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
