//! Names, and roots, that are accepted from now on. Those that no longer are, are told attribute by attribute.

use super::Cx;
use crate::review::read::{Instance, Reading, Type};
use crate::review::risk::{IDENTITIES, Level};
use crate::review::text::{Name, names};

const ROOTS: &str = "roots";

pub fn of_plan(cx: &mut Cx<'_>) {
    for instance in &cx.plan.instances {
        widened(cx, instance);
    }
    for ca in cx.of(Type::Ca) {
        handed_out(cx, ca);
    }
}

/// Intermediates for clusters that have no control plane of the mesh, as far as this plan says.
fn handed_out(cx: &mut Cx<'_>, ca: &Instance) {
    let Some((before, after)) = ca.sides("clusters") else { return };
    let before = before.entries();
    for name in after.entries().into_keys().filter(|name| !before.contains_key(name)) {
        if !cx.topology.after.keeps(name) {
            let what = format!(
                "{} gets an intermediate, and this plan has no control plane there. Who has its key can make any identity of the mesh.",
                Name(name)
            );
            cx.risk(&IDENTITIES, ca, what).of(name).sides("none", "an intermediate");
        }
    }
}

fn widened(cx: &mut Cx<'_>, instance: &Instance) {
    let more = |before: Reading<'_>, after: Reading<'_>| {
        let was = before.texts();
        after.texts().into_iter().filter(|name| !was.contains(name)).map(str::to_owned).collect::<Vec<_>>()
    };
    let Some((before, after)) = instance.sides("trust_domain_aliases") else { return };
    let mut widened = vec![("trust domains", more(before, after), before, after)];
    if let Some((before, after)) = instance.sides("accept_roots") {
        widened.push((ROOTS, more(before, after), before, after));
    }
    let exporters = instance.sides("exporters").map(|(before, after)| (before.entries(), after.entries()));
    for (name, exporter) in exporters.iter().flat_map(|(_, after)| after) {
        let before = exporters.as_ref().and_then(|(before, _)| before.get(name)).copied().unwrap_or(Reading::nothing());
        if !before.is_there() {
            widened.push(("exporters", vec![(*name).to_owned()], before, *exporter));
            continue;
        }
        let (was, will) = (before.get("service_accounts"), exporter.get("service_accounts"));
        widened.push(("service accounts", more(was, will), was, will));
        let (was, will) = (before.get("trust_domain"), exporter.get("trust_domain"));
        let other = will.text().filter(|_| !was.is_same(will));
        widened.push(("trust domains", other.into_iter().map(str::to_owned).collect(), was, will));
    }
    for (kind, more, before, after) in widened {
        if !more.is_empty() {
            let what = format!("Further {kind} are accepted: {}.", names(more.iter().map(String::as_str)));
            let level = if kind == ROOTS { Level::Danger } else { IDENTITIES.level };
            cx.risk(&IDENTITIES, instance, what).at(level).sides(before.shown_or_there(), after.shown_or_there());
        }
    }
    if instance.raises("migrate_self_signed") {
        let what = "Roots that istiods have made for themselves are accepted in the whole mesh.";
        cx.risk(&IDENTITIES, instance, what).sides("false", "true");
    }
}
