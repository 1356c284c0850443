//! What restarts, in which order, and whose restart is left to people.

use std::collections::BTreeSet;

use super::{Cx, are_one, values};
use crate::review::objects::{Fate, Object, Objects, repeats};
use crate::review::read::{Action, Instance, Type};
use crate::review::risk::ALL_AT_ONCE;
use crate::review::section::Section;
use crate::review::text::{Prose, count, names};

pub struct Restarts {
    pub section: Section,
    /// Addresses of control planes that surely restart.
    pub sure: BTreeSet<String>,
    /// Of those of which the plan does not tell.
    pub perhaps: BTreeSet<String>,
}

const COLUMNS: &[(&str, &str)] =
    &[("order", "order"), ("cluster", "cluster"), ("object", "what"), ("certainty", "restarts"), ("why", "because of")];

pub fn of_plan(cx: &mut Cx<'_>) -> Restarts {
    let mut section = Section::new("restarts", "Restarts", COLUMNS);
    section.importance = 7;
    section.note = "Order 1 is control planes, 2 gateways, 3 remote clusters, 4 workloads; what has one number goes side by side. Workloads follow when somebody restarts them.";
    let mut restarts = Restarts { section, sure: BTreeSet::new(), perhaps: BTreeSet::new() };
    for (instance, all) in cx.objects_of() {
        for objects in all {
            for object in &objects.changes {
                restarts.add(instance, &objects.cluster, object);
            }
            restarts.untold(instance, objects);
        }
        if let Some(why) = workloads(instance) {
            let cluster = instance.cluster().unwrap_or_default();
            restarts.section.row([
                "4".into(),
                Prose::name(cluster),
                "workloads and gateways with sidecars".into(),
                "by hand".into(),
                why.into(),
            ]);
        }
    }
    for invocation in &cx.plan.invocations {
        let (cluster, namespaces) = (invocation.config().get("cluster"), invocation.config().get("namespaces"));
        let of =
            if namespaces.is_partly_unknown() { "namespaces known after apply".into() } else { namespaces.shown() };
        let what = Prose::from(format!("workloads whose proxies are behind, in {of}"));
        let why = Prose::name(&invocation.address);
        restarts.section.row(["4".into(), cluster.shown(), what, "one by one".into(), why]);
    }
    restarts.section = restarts.section.sorted();
    at_once(cx, &restarts);
    restarts
}

impl Restarts {
    /// A control plane of which the plan does not say what changes.
    fn untold(&mut self, instance: &Instance, objects: &Objects) {
        let runs = instance.before().is_there() && instance.after().is_there();
        if !objects.unknown || !runs || instance.kind != Type::Primary {
            return;
        }
        self.perhaps.insert(instance.address.clone());
        let cells = ["1".into(), Prose::name(&objects.cluster), "control plane".into(), "perhaps".into()];
        self.section.row(cells.into_iter().chain(["its objects are known after the apply only".into()]));
    }

    fn add(&mut self, instance: &Instance, cluster: &str, object: &Object) {
        let certainty = match object.restarts() {
            Some(false) => return,
            Some(true) => "yes",
            None => "perhaps",
        };
        let order = match instance.kind {
            Type::Ca | Type::CaRequest | Type::Primary => "1",
            Type::Gateway => "2",
            Type::Remote | Type::ServiceEntry => "3",
        };
        if instance.kind == Type::Primary && object.kind() == "Deployment" {
            let of = if certainty == "yes" { &mut self.sure } else { &mut self.perhaps };
            of.insert(instance.address.clone());
        }
        let cells = [order.into(), Prose::name(cluster), Prose::name(&object.name), certainty.into(), why(object)];
        self.section.row(cells);
    }
}

fn why(object: &Object) -> Prose {
    if object.fate == Fate::Remade {
        return "it is deleted and recreated".into();
    }
    let paths = object.fields.iter().filter_map(|field| field.path.strip_prefix("spec.template."));
    let paths: Vec<&str> = paths.map(|path| path.trim_start_matches("spec.")).collect();
    let telling: Vec<&str> = paths.iter().filter(|path| !repeats(path)).copied().collect();
    match telling.len() {
        0 if paths.is_empty() => "the plan does not say".into(),
        0 => "version labels of its Pods".into(),
        few if few <= 3 => names(telling).into(),
        many => format!("{} and {} more", names(telling.iter().take(2).copied()), many - 2).into(),
    }
}

/// Why Pods that run go on with what they were injected with.
fn workloads(instance: &Instance) -> Option<String> {
    const OF_PRIMARIES: &[(&str, &str)] = &[
        ("istio_version", "the version"),
        ("network", "the network"),
        ("mesh_id", "the mesh id"),
        ("cluster_name", "the cluster name"),
        ("trust_domain", "the trust domain"),
        ("tags", "its tags"),
    ];
    const OF_REMOTES: &[(&str, &str)] = &[
        ("network", "the network"),
        ("control_plane", "the control plane"),
        ("control_plane_address", "the address of the control plane"),
        ("mode", "the mode"),
        ("revision", "the revision"),
    ];
    let words = match instance.kind {
        Type::Primary => OF_PRIMARIES,
        Type::Remote => OF_REMOTES,
        _ => return None,
    };
    if !matches!(instance.action, Action::Update | Action::Replace) {
        return None;
    }
    let differs = |name: &str| {
        instance.sides(name).is_some_and(|(before, after)| before.value() != after.value() || after.is_unknown())
    };
    let mut why: Vec<&str> = words.iter().filter(|(name, _)| differs(name)).map(|(_, words)| *words).collect();
    let injected = values::differences(instance).iter().any(|change| {
        change.path.starts_with("global.proxy")
            || values::leads_through(&change.path, "defaultconfig")
            || change.path.starts_with("sidecarInjectorWebhook")
    });
    if injected {
        why.push("settings of proxies");
    }
    (!why.is_empty()).then(|| why.join(", "))
}

/// Whether no control plane of a mesh is left alone.
fn at_once(cx: &mut Cx<'_>, restarts: &Restarts) {
    let both = |instance: &&Instance| instance.before().is_there() && instance.after().is_there();
    let all: Vec<&Instance> = cx.of(Type::Primary).filter(both).collect();
    let mesh = |instance: &Instance| instance.after().get("mesh_id").text().map(str::to_owned);
    let meshes: BTreeSet<Option<String>> = all.iter().map(|primary| mesh(primary)).collect();
    for of in meshes {
        let members = || all.iter().filter(|primary| are_one(mesh(primary).as_deref(), of.as_deref()));
        let clusters: BTreeSet<&str> = members().filter_map(|primary| primary.cluster()).collect();
        let sure = members().all(|primary| restarts.sure.contains(&primary.address));
        let moved = |primary: &&Instance| {
            restarts.sure.contains(&primary.address) || restarts.perhaps.contains(&primary.address)
        };
        if clusters.len() < 2 || !members().all(moved) {
            continue;
        }
        let verb = if sure { "restart" } else { "may restart" };
        let what = format!(
            "{} {verb} side by side: {}.",
            count(members().count(), "control plane"),
            names(clusters.iter().copied())
        );
        // A risk for each, so that a policy finds it by any of the addresses.
        for primary in members().filter(|primary| mesh(primary) == of) {
            cx.risk(&ALL_AT_ONCE, primary, what.clone()).of_all(clusters.iter().copied());
        }
    }
}
