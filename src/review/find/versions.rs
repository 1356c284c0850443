//! Versions: which control planes and gateways run, and what does not fit together.

use std::collections::BTreeMap;

use super::{Cx, are_one, values};
use crate::review::read::{InCluster, Instance, Reading, Type};
use crate::review::risk::{Level, VERSION_LOWERED, VERSION_SKEW, VERSION_SKIPPED};
use crate::review::section::Section;
use crate::review::text::{Name, Prose};

const COLUMNS: &[(&str, &str)] = &[("cluster", "cluster"), ("what", "what"), ("before", "before"), ("after", "after")];

pub fn of_plan(cx: &mut Cx<'_>) -> Section {
    let mut section = Section::new("versions", "Versions", COLUMNS);
    section.importance = 4;
    let mut control_planes: BTreeMap<(String, String), Runs> = BTreeMap::new();
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
        for InCluster { cluster, before, after } in instance.in_clusters() {
            let (before, after) = (before.get(name), after.get(name));
            if instance.changes() && !before.is_same(after) {
                let none = |reading: Reading<'_>| if reading.is_there() { reading.shown() } else { "none".into() };
                section.row([Prose::name(cluster), what.into(), none(before), none(after)]);
            }
        }
        if let (Type::Primary, Some(version)) = (instance.kind, after.text())
            && let Some(minor) = minor(version)
        {
            let revision = instance.after().get("revision").text().unwrap_or_default().to_owned();
            let at = (instance.cluster().unwrap_or_default().to_owned(), revision);
            let mesh = instance.after().get("mesh_id").text().map(str::to_owned);
            control_planes.insert(at, Runs { minor, version: version.to_owned(), mesh });
        }
        images(cx, instance);
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

/// Images of another version than the charts, by the values.
fn images(cx: &mut Cx<'_>, instance: &Instance) {
    let charts = ["istio_version", "chart_version"].iter().find_map(|name| instance.after().get(name).text());
    for change in values::effective(instance).iter().filter(|change| values::ends(&change.path, "tag")) {
        let Some(tag) = change.after.as_deref() else { continue };
        if charts.is_some_and(|version| version.trim_start_matches('v') == tag.trim_start_matches('v')) {
            continue;
        }
        let what = format!(
            "Images run by the tag in {} of the values, and not by the version of the charts.",
            Name(&change.path)
        );
        let lower = charts.and_then(minor).zip(minor(tag)).is_some_and(|(charts, tag)| tag < charts);
        let level = if lower { Level::Danger } else { VERSION_SKEW.level };
        let charts = charts.map_or_else(|| "not told".into(), Prose::name);
        cx.risk(&VERSION_SKEW, instance, what).at(level).sides(charts, change.shown().1);
    }
}

/// What a control plane will run.
struct Runs {
    minor: u64,
    version: String,
    mesh: Option<String>,
}

/// Only what the plan makes so: a skew that stood before is not this plan's.
fn skew(cx: &mut Cx<'_>, control_planes: &BTreeMap<(String, String), Runs>) {
    let moved = |instance: &Instance, name: &str| {
        instance.changes() && !instance.before().get(name).is_same(instance.after().get(name))
    };
    for primary in cx.of(Type::Primary) {
        let Some(version) = primary.after().get("istio_version").text() else { continue };
        let mesh = primary.after().get("mesh_id").text();
        let newest =
            control_planes.values().filter(|other| are_one(mesh, other.mesh.as_deref())).max_by_key(|runs| runs.minor);
        let of_mesh = |other: &Instance| are_one(mesh, other.after().get("mesh_id").text());
        let any = cx.of(Type::Primary).any(|other| of_mesh(other) && moved(other, "istio_version"));
        if let (Some(newest), Some(own)) = (newest, minor(version))
            && any
            && newest.minor - own.min(newest.minor) > 1
        {
            let what = format!("Another control plane of the mesh runs {}.", Name(&newest.version));
            cx.risk(&VERSION_SKEW, primary, what).sides(Prose::name(version), Prose::name(&newest.version));
        }
    }
    for gateway in cx.of(Type::Gateway) {
        let after = gateway.after();
        let cluster = gateway.cluster().unwrap_or_default();
        let at = (cluster.to_owned(), after.get("revision").text().unwrap_or_default().to_owned());
        let (Some(version), Some(plane)) = (after.get("chart_version").text(), control_planes.get(&at)) else {
            continue;
        };
        let Some(own) = minor(version) else { continue };
        let beside = |primary: &Instance| primary.cluster() == Some(cluster) && moved(primary, "istio_version");
        let any = moved(gateway, "chart_version") || cx.of(Type::Primary).any(beside);
        let what = match () {
            () if !any => continue,
            () if own > plane.minor => "The gateway is newer than its control plane.",
            () if plane.minor - own > 2 => "The gateway is more than two minor versions older than its control plane.",
            () => continue,
        };
        cx.risk(&VERSION_SKEW, gateway, what).sides(Prose::name(version), Prose::name(&plane.version));
    }
}
