//! Control planes: what they are called, what they take over, what their objects say.

use std::collections::BTreeMap;

use super::{Cx, balancers, tokens, values};
use crate::review::objects::Fate;
use crate::review::read::{Action, InCluster, Instance, Reading, Type};
use crate::review::risk::{
    ACCESS_NARROWED, ADOPTED, CANNOT_TELL, CONTROL_PLANE_REMOVED, CONTROL_PLANE_REPLACED, DEFINITION, EXPOSED_TO_ALL,
    FORCED, IDENTITY_CHANGED, INJECTION_CHANGES, LEFT_BEHIND, LEFT_OVER_REMOVED, Level, MTLS, NAMESPACE,
    NETWORK_CHANGED, WEBHOOK,
};
use crate::review::text::{Name, Prose, count, names};

pub fn of_plan(cx: &mut Cx<'_>) {
    for primary in cx.of(Type::Primary) {
        fate(cx, primary);
        identity(cx, primary);
        tags(cx, primary);
    }
    for instance in cx.plan.instances.iter() {
        taken(cx, instance);
        weakened(cx, instance);
    }
    objects(cx);
}

fn fate(cx: &mut Cx<'_>, primary: &Instance) {
    let revision = primary.latest("revision").text().unwrap_or("default");
    match primary.action {
        Action::Replace => {
            let why = primary.reason.as_deref().unwrap_or("an attribute that cannot change in place");
            let (how, after) = match (primary.creates_first, primary.leaves_old, primary.left_cluster()) {
                (_, true, _) => ("gets a successor, and stays as it is".to_owned(), "beside another one"),
                (_, false, Some(left)) => {
                    let to = primary.after().get("cluster").shown();
                    (format!("leaves {}, and another one is created in {to}", Name(left)), "in another cluster")
                }
                (true, false, None) => ("is replaced, the new one before the old one goes".to_owned(), "replaced"),
                (false, false, None) => {
                    ("is deleted and recreated, in between there is none".to_owned(), "deleted and recreated")
                }
            };
            let what = format!("The control plane {} {how} ({}).", Name(revision), Name(why));
            cx.risk(&CONTROL_PLANE_REPLACED, primary, what).sides("runs", after);
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

/// Tags that go, and that no other control plane of the cluster takes up. Where the control plane goes as a whole, that
/// is told.
fn tags(cx: &mut Cx<'_>, primary: &Instance) {
    if primary.action == Action::None || primary.sides("tags").is_none() {
        return;
    }
    for InCluster { cluster, before, after } in primary.in_clusters() {
        let (before, after) = (before.get("tags"), after.get("tags"));
        if before.is_partly_unknown() || after.is_partly_unknown() {
            continue;
        }
        let all = cx.of(Type::Primary).flat_map(Instance::in_clusters).filter(|other| other.cluster == cluster);
        let kept: Vec<&str> = all.flat_map(|other| other.after.get("tags").texts()).collect();
        let lost: Vec<&str> = before.texts().into_iter().filter(|tag| !kept.contains(tag)).collect();
        if !lost.is_empty() {
            let what = format!("No control plane has the tag {} any more.", names(lost));
            cx.risk(&INJECTION_CHANGES, primary, what).of(cluster).sides(before.shown(), after.shown());
        }
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
    if let Some(address) = instance.moved_from() {
        let what = format!("What {} kept becomes this resource's.", Name(address));
        cx.risk(&ADOPTED, instance, what).sides(Prose::name(address), "of this resource");
    }
    if instance.action == Action::Forget {
        let what = format!("The configuration forgets it, and it stays as it is.{}", unkept(instance));
        cx.risk(&LEFT_BEHIND, instance, what).sides("kept", "nobody's");
    }
    if instance.deposed && instance.action == Action::Delete {
        let what = "What an earlier replacement of it has left over is removed.";
        cx.risk(&LEFT_OVER_REMOVED, instance, what).sides("left over", "removed");
    }
    if instance.leaves_old {
        let what = format!("The old one is forgotten and stays as it is, beside the new one.{}", unkept(instance));
        cx.risk(&LEFT_BEHIND, instance, what).sides("kept", "nobody's");
    }
    if instance.action == Action::Delete && instance.before().get("skip_unreachable_on_destroy").flag() {
        let what = match instance.kind {
            Type::Remote => {
                "Clusters that do not answer are left as they are: a watcher keeps its remote secret, the watched cluster accepts the tokens that it has issued."
            }
            _ => "Clusters that do not answer are left as they are.",
        };
        cx.risk(&LEFT_BEHIND, instance, what).sides("kept", "left where a cluster does not answer");
    }
}

/// What becomes of credentials that no apply renews or revokes any more.
fn unkept(instance: &Instance) -> &'static str {
    match instance.kind {
        Type::Remote => tokens::forgotten(instance.before()),
        Type::Ca => {
            " No apply renews its intermediates: each is valid until its end, and then istiod issues no certificate that is accepted."
        }
        _ => "",
    }
}

/// How much the attribute `mtls` asks for; nothing where it is not known, or hidden.
fn strictness(side: Reading<'_>) -> Option<u8> {
    match side.get("mtls") {
        mtls if mtls.is_unknown() || mtls.is_hidden() => None,
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
        // What is hidden may have been strict.
        if let (was, Some(will)) = (was.unwrap_or(2), strictness(after))
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
            "The documents in {} cannot be compared: one of them is marked as sensitive, or is not a YAML map.",
            Name(&documents)
        );
        cx.risk(&CANNOT_TELL, instance, what);
    }
}

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
        // Tags are told as such.
        Some(("MutatingWebhookConfiguration", name)) if update && !name.contains("-tag-") => &INJECTION_CHANGES,
        Some(("ValidatingWebhookConfiguration", _)) if update => {
            let what = format!("{} goes: what is wrong in a configuration is no longer refused.", Name(object));
            cx.risk(&WEBHOOK, instance, what).of(cluster).sides("there", "removed");
            return;
        }
        _ => return,
    };
    // Both stay while somebody uses them: a definition that has objects, and a namespace that is not empty.
    let level = match (update, *kind == MTLS || *kind == INJECTION_CHANGES) {
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
    } else if is("Deployment ") && path == "spec.replicas" {
        let kind = if at.instance.kind == Type::Primary { &CONTROL_PLANE_REMOVED } else { &ACCESS_NARROWED };
        (after == Some("0") && before != after).then_some(kind)
    } else {
        values::weakens(path, before, after).then_some(&MTLS)
    };
    let (before, after) = field.sides("not set");
    if let Some((level, words)) = balancers::opened(at.instance, field).filter(|_| is("Service ")) {
        let what = format!("{} of {}. {words}", Name(path), Name(at.object));
        cx.risk(&EXPOSED_TO_ALL, at.instance, what.trim_end()).of(at.cluster).at(level).sides(before, after);
    } else if let Some(kind) = kind {
        let what = format!("{} of {}.", Name(path), Name(at.object));
        cx.risk(kind, at.instance, what).of(at.cluster).sides(before, after);
    }
}
