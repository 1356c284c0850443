//! Control planes: what they are called, which version they run, what they take over.

use std::collections::BTreeMap;

use super::{Cx, Restarts, values};
use crate::review::objects::Fate;
use crate::review::read::{Action, Instance, Reading, Type};
use crate::review::risk::{
    ADOPTED, CANNOT_TELL, CONTROL_PLANE_REMOVED, CONTROL_PLANE_REPLACED, DEFINITION, EXPOSED_TO_ALL, FORCED,
    IDENTITIES, IDENTITY_CHANGED, LEFT_BEHIND, Level, MTLS, NAMESPACE, NETWORK_CHANGED, VERSION_LOWERED, VERSION_SKEW,
    VERSION_SKIPPED, WEBHOOK,
};
use crate::review::section::Section;
use crate::review::text::{Name, Prose, count, names};

/// Returns the table of versions.
pub fn of_plan(cx: &mut Cx<'_>, _: &Restarts) -> Section {
    for primary in cx.of(Type::Primary) {
        fate(cx, primary);
        identity(cx, primary);
    }
    for instance in cx.plan.instances.iter() {
        taken(cx, instance);
        identities(cx, instance);
        weakened(cx, instance);
    }
    objects(cx);
    versions(cx)
}

fn fate(cx: &mut Cx<'_>, primary: &Instance) {
    let revision = primary.latest("revision").text().unwrap_or("default");
    match primary.action {
        Action::Replace => {
            let why = primary.reason.as_deref().unwrap_or("an attribute that cannot change in place");
            let what = format!(
                "The control plane {} is deleted and recreated ({}). In between there is none, unless `create_before_destroy` is set.",
                Name(revision),
                Name(why)
            );
            cx.risk(&CONTROL_PLANE_REPLACED, primary, what).sides("runs", "deleted and recreated");
        }
        Action::Delete => {
            let cluster = primary.cluster().unwrap_or_default();
            let after = cx.topology.after.clusters.get(cluster);
            let others = after.map_or(0, |cluster| cluster.control_planes.len());
            let level = if cx.all_goes() { Level::Note } else { CONTROL_PLANE_REMOVED.level };
            let after = if others > 0 { count(others, "other control plane").into() } else { Prose::from("none") };
            let what = format!("The control plane {} leaves {}.", Name(revision), Name(cluster));
            cx.risk(&CONTROL_PLANE_REMOVED, primary, what).at(level).sides(Prose::name(revision), after);
        }
        _ => {}
    }
}

fn identity(cx: &mut Cx<'_>, primary: &Instance) {
    let usual = |name: &str| if name == "trust_domain" { Some("cluster.local") } else { None };
    for (name, title) in [("mesh_id", "mesh id"), ("trust_domain", "trust domain"), ("cluster_name", "cluster name")] {
        let Some((before, after)) = primary.sides(name) else { continue };
        let of = |side: Reading<'_>| {
            if side.is_there() { side.text().map(str::to_owned) } else { usual(name).map(str::to_owned) }
        };
        if of(before) != of(after) || after.is_unknown() {
            let what = format!("The {title} changes under running proxies.");
            cx.risk(&IDENTITY_CHANGED, primary, what).sides(before.shown(), after.shown());
        }
    }
    if let Some((before, after)) = primary.sides("network").filter(|(before, after)| !before.is_same(*after)) {
        let what = "Pods that run keep the old network until they are restarted.";
        cx.risk(&NETWORK_CHANGED, primary, what).sides(before.shown(), after.shown());
    }
}

/// What is taken from others, or left to them.
fn taken(cx: &mut Cx<'_>, instance: &Instance) {
    if instance.raises("force_conflicts") {
        let what = "Fields that other managers hold are overwritten by this apply, and by each that follows.";
        cx.risk(&FORCED, instance, what).sides("an error", "taken");
    }
    if instance.importing {
        cx.risk(&ADOPTED, instance, "What runs is imported into this configuration.")
            .sides("of others", "of this resource");
    } else if instance.raises("adopt") {
        cx.risk(&ADOPTED, instance, "Objects of the same names are taken over where there are any.")
            .sides("an error", "taken over");
    }
    if instance.action == Action::Forget {
        cx.risk(&LEFT_BEHIND, instance, "The configuration forgets it, and it stays as it is.")
            .sides("kept", "nobody's");
    }
    if instance.leaves_old {
        cx.risk(&LEFT_BEHIND, instance, "The old one is forgotten and stays as it is, beside the new one.")
            .sides("kept", "nobody's");
    }
    if instance.action == Action::Delete && instance.before().get("skip_unreachable_on_destroy").flag() {
        let what = "Clusters that do not answer are left as they are.";
        cx.risk(&LEFT_BEHIND, instance, what).sides("kept", "left where a cluster does not answer");
    }
}

/// How much the attribute `mtls` asks for; nothing where it is not known.
fn strictness(side: Reading<'_>) -> Option<u8> {
    match side.get("mtls") {
        mtls if mtls.is_unknown() => None,
        mtls => Some(match mtls.text() {
            Some("strict") => 2,
            Some("off") => 0,
            _ => 1,
        }),
    }
}

/// Encryption and identity checks, as attributes and values have them.
fn weakened(cx: &mut Cx<'_>, instance: &Instance) {
    let (before, after) = (instance.before(), instance.after());
    if instance.kind == Type::Primary && after.is_there() && instance.changes() {
        // Of what is new the usual is taken for what was before.
        let was = if before.is_there() { strictness(before) } else { Some(1) };
        if let (Some(was), Some(will)) = (was, strictness(after))
            && will < was
        {
            let what = match will {
                0 => "No workload of the cluster uses mTLS.",
                _ => "Plain text is accepted again.",
            };
            cx.risk(&MTLS, instance, what).sides(before.get("mtls").shown(), after.get("mtls").shown());
        }
    }
    for change in values::effective(instance) {
        if values::weakens(&change.path, change.before.as_deref(), change.after.as_deref()) {
            let what = format!("{} in the values of {}.", Name(&change.path), Name(&instance.address));
            let (before, after) = change.shown();
            cx.risk(&MTLS, instance, what).sides(before, after);
        }
    }
    for documents in values::unreadable(instance) {
        let what = format!(
            "What changes in {} cannot be compared: a document is hidden, or no map in YAML.",
            Name(&documents)
        );
        cx.risk(&CANNOT_TELL, instance, what);
    }
}

/// Names, and roots, that are accepted from now on.
fn identities(cx: &mut Cx<'_>, instance: &Instance) {
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
            let shown = |side: Reading<'_>| if side.value().is_object() { "there".into() } else { side.shown() };
            cx.risk(&IDENTITIES, instance, what).at(level).sides(shown(before), shown(after));
        }
    }
    if instance.raises("migrate_self_signed") {
        let what = "Roots that istiods have made for themselves are accepted in the whole mesh.";
        cx.risk(&IDENTITIES, instance, what).sides("false", "true");
    }
}

const ROOTS: &str = "roots";

/// What single objects bring.
fn objects(cx: &mut Cx<'_>) {
    let all: Vec<_> = cx.objects_of().map(|(instance, objects)| (instance, objects.clone())).collect();
    // What one control plane hands to another in the same cluster is not removed.
    let mut added = BTreeMap::new();
    for (instance, objects) in &all {
        for (cluster, object) in objects.iter().flat_map(|of| of.changes.iter().map(|object| (&of.cluster, object))) {
            if object.fate == Fate::Added {
                added.insert((cluster.clone(), object.name.clone()), instance.address.clone());
            }
        }
    }
    for (instance, objects) in &all {
        for (cluster, object) in objects.iter().flat_map(|of| of.changes.iter().map(|object| (&of.cluster, object))) {
            let handed_over = added.contains_key(&(cluster.clone(), object.name.clone()));
            if object.fate == Fate::Removed && !handed_over {
                removed(cx, instance, cluster, &object.name);
            }
            for field in &object.fields {
                changed(cx, At { instance, cluster, object: &object.name }, field);
            }
        }
    }
}

fn removed(cx: &mut Cx<'_>, instance: &Instance, cluster: &str, object: &str) {
    let update = instance.action == Action::Update;
    // What mTLS policy there was said `strict`, unless the attribute had turned it off; a change of the attribute is
    // told as such.
    let was_strict = || {
        let (was, will) = (strictness(instance.before()), strictness(instance.after()));
        was != Some(0) && was == will
    };
    let kind = match object.split_once(' ') {
        Some(("CustomResourceDefinition", _)) if update => &DEFINITION,
        Some(("Namespace", _)) => &NAMESPACE,
        Some(("PeerAuthentication", _)) if update && was_strict() => &MTLS,
        _ => return,
    };
    // Both stay while somebody uses them: a definition that has objects, and a namespace that is not empty.
    let level = match (update, *kind == MTLS) {
        (_, true) => kind.level,
        (true, false) => Level::Warning,
        (false, false) => Level::Note,
    };
    let what = format!("{} goes.", Name(object));
    cx.risk(kind, instance, what).at(level).of(cluster).sides("there", "removed");
}

#[derive(Clone, Copy)]
struct At<'a> {
    instance: &'a Instance,
    cluster: &'a str,
    object: &'a str,
}

fn changed(cx: &mut Cx<'_>, at: At<'_>, field: &crate::review::objects::Field) {
    let path = field.path.as_str();
    let is = |kind: &str| at.object.starts_with(kind);
    let (before, after) = (field.before.as_deref(), field.after.as_deref());
    let kind = if is("CustomResourceDefinition") && path.starts_with("spec.versions[") {
        let lost = (path.ends_with(".storage") || path.ends_with(".served"))
            && before == Some("true")
            && after != Some("true");
        lost.then_some(&DEFINITION)
    } else if is("ValidatingWebhookConfiguration") || is("MutatingWebhookConfiguration") {
        if path.ends_with("failurePolicy") && after == Some("Ignore") && before == Some("Fail") && is("Mutating") {
            let what = "Pods that start while istiod does not answer run without a proxy, and in plain text.";
            cx.risk(&MTLS, at.instance, what).of(at.cluster).at(Level::Warning).sides("Fail", "Ignore");
        }
        let closed = path.ends_with("failurePolicy") && after == Some("Fail") && before != Some("Fail");
        let selects = ["Selector", "rules", "matchPolicy", "matchConditions"].iter().any(|part| path.contains(part));
        (closed || selects).then_some(&WEBHOOK)
    } else if is("Service ") && path.starts_with("spec.loadBalancerSourceRanges") {
        (after.is_none() || after.is_some_and(|after| after.contains("/0"))).then_some(&EXPOSED_TO_ALL)
    } else {
        values::weakens(path, before, after).then_some(&MTLS)
    };
    if let Some(kind) = kind {
        let shown = |side: Option<&str>| side.map_or_else(|| "not set".into(), Prose::name);
        let what = format!("{} of {}.", Name(path), Name(at.object));
        let level = if *kind == EXPOSED_TO_ALL { Level::Danger } else { kind.level };
        cx.risk(kind, at.instance, what).of(at.cluster).at(level).sides(shown(before), shown(after));
    }
}

const COLUMNS: &[(&str, &str)] = &[("cluster", "cluster"), ("what", "what"), ("before", "before"), ("after", "after")];

fn versions(cx: &mut Cx<'_>) -> Section {
    let mut section = Section::new("versions", "Versions", COLUMNS);
    section.importance = 4;
    let mut control_planes: BTreeMap<(String, String), (u64, String)> = BTreeMap::new();
    for instance in cx.plan.instances.iter().filter(|instance| !instance.deposed) {
        let (name, what) = match instance.kind {
            Type::Primary => ("istio_version", "control plane"),
            Type::Gateway => ("chart_version", "gateway"),
            _ => continue,
        };
        let (before, after) = (instance.before().get(name), instance.after().get(name));
        if let Some((was, will)) = before.text().zip(after.text()) {
            step(cx, instance, what, (was, will));
        }
        if instance.changes() && !before.is_same(after) {
            let cluster = Prose::name(instance.cluster().unwrap_or_default());
            let none = |reading: Reading<'_>| if reading.is_there() { reading.shown() } else { "none".into() };
            section.row([cluster, what.into(), none(before), none(after)]);
        }
        if let (Type::Primary, Some(version)) = (instance.kind, after.text())
            && let Some(minor) = minor(version)
        {
            let revision = instance.after().get("revision").text().unwrap_or_default().to_owned();
            let at = (instance.cluster().unwrap_or_default().to_owned(), revision);
            control_planes.insert(at, (minor, version.to_owned()));
        }
    }
    skew(cx, &control_planes);
    section.sorted()
}

fn minor(version: &str) -> Option<u64> {
    let mut parts = version.trim_start_matches('v').split('.');
    let (major, minor) = (parts.next()?.parse::<u64>().ok()?, parts.next()?.parse::<u64>().ok()?);
    major.checked_mul(1_000)?.checked_add(minor)
}

fn step(cx: &mut Cx<'_>, instance: &Instance, what: &str, (was, will): (&str, &str)) {
    let (Some(from), Some(to)) = (minor(was), minor(will)) else { return };
    let kind = match () {
        () if from > to => &VERSION_LOWERED,
        () if to - from > 1 => &VERSION_SKIPPED,
        () => return,
    };
    let what = format!("The {what} goes from {} to {}.", Name(was), Name(will));
    cx.risk(kind, instance, what).sides(Prose::name(was), Prose::name(will));
}

/// Only what the plan makes so: a skew that stood before is not this plan's.
fn skew(cx: &mut Cx<'_>, control_planes: &BTreeMap<(String, String), (u64, String)>) {
    let moved = |instance: &Instance, name: &str| {
        instance.changes() && !instance.before().get(name).is_same(instance.after().get(name))
    };
    let newest = control_planes.values().max();
    for primary in cx.of(Type::Primary) {
        let Some(version) = primary.after().get("istio_version").text() else { continue };
        let any = cx.of(Type::Primary).any(|primary| moved(primary, "istio_version"));
        if let (Some((newest, newest_version)), Some(own)) = (newest, minor(version))
            && any
            && newest - own.min(*newest) > 1
        {
            let what = format!("Another control plane of the mesh runs {}.", Name(newest_version));
            cx.risk(&VERSION_SKEW, primary, what).sides(Prose::name(version), Prose::name(newest_version));
        }
    }
    for gateway in cx.of(Type::Gateway) {
        let after = gateway.after();
        let at = (
            gateway.cluster().unwrap_or_default().to_owned(),
            after.get("revision").text().unwrap_or_default().to_owned(),
        );
        let (Some(version), Some((plane, plane_version))) =
            (after.get("chart_version").text(), control_planes.get(&at))
        else {
            continue;
        };
        let Some(own) = minor(version) else { continue };
        let any =
            moved(gateway, "chart_version") || cx.of(Type::Primary).any(|primary| moved(primary, "istio_version"));
        let what = match () {
            () if !any => continue,
            () if own > *plane => "The gateway is newer than its control plane.",
            () if plane - own > 2 => "The gateway is more than two minor versions older than its control plane.",
            () => continue,
        };
        cx.risk(&VERSION_SKEW, gateway, what).sides(Prose::name(version), Prose::name(plane_version));
    }
}
