//! What can be reached from outside: gateways, and control planes with a load balancer of their own.

use std::collections::BTreeSet;

use super::Cx;
use super::door::{Door, covers, faces_internet, is_catch_all, lost_marks, more_ranges, stays_inside};
use crate::review::read::{Action, InCluster, Instance, Reading, Type, UNKNOWN};
use crate::review::risk::{
    ACCESS_NARROWED, API_SERVER_EXPOSED, DESTINATION_CHANGED, EXPOSED_TO_ALL, GATEWAY_ADDRESS, HOSTS_WIDENED,
    LAST_GATEWAY_REMOVED, Level,
};
use crate::review::section::Section;
use crate::review::text::{Name, Prose, names, names_or};
use crate::review::topology::Topology;

const COLUMNS: &[(&str, &str)] =
    &[("cluster", "cluster"), ("address", "resource"), ("what", "what"), ("before", "before"), ("after", "after")];

pub fn of_plan(cx: &mut Cx<'_>) -> Section {
    let mut section = Section::new("exposure", "Reachable from outside", COLUMNS);
    section.importance = 8;
    for gateway in cx.of(Type::Gateway) {
        door(cx, &mut section, gateway, Door::of_gateway);
        behind(cx, gateway);
    }
    for primary in cx.of(Type::Primary) {
        door(cx, &mut section, primary, Door::of_istiod);
    }
    moved(cx);
    last_gateways(cx);
    section.sorted()
}

fn door<'a>(cx: &mut Cx<'a>, section: &mut Section, instance: &'a Instance, of: fn(Reading<'a>) -> Option<Door<'a>>) {
    if !instance.changes() {
        return;
    }
    let (was, will) = (of(instance.before()), of(instance.after()));
    let parts = instance.in_clusters();
    // Another address without a `moved` block makes it none that is new.
    let formers: Vec<_> = formers(cx, instance).into_iter().filter_map(|one| Some((one, of(one.before())?))).collect();
    for InCluster { cluster, before, after } in &parts {
        let at = At { instance, cluster };
        let (before, after) = (of(*before), of(*after));
        rows(section, at, before.as_ref(), after.as_ref());
        if formers.is_empty() {
            judge(cx, at, before.as_ref(), after.as_ref());
        }
        narrowed(cx, at, before.as_ref(), after.as_ref());
    }
    // That a door is in another cluster than before makes it none that is new: it lets in more than it did.
    let at = At { instance, cluster: instance.cluster().unwrap_or_default() };
    if parts.len() > 1 && was.is_some() {
        judge(cx, at, was.as_ref(), will.as_ref());
    }
    address(cx, instance, was.as_ref(), will.as_ref());
    for (former, was) in &formers {
        let Some(will) = &will else { break };
        judge(cx, at, Some(was), Some(will));
        let what = format!("{} goes, and this takes its place with another address.", Name(&former.address));
        cx.risk(&GATEWAY_ADDRESS, instance, what).sides(was.addresses.clone(), will.addresses.clone());
    }
}

/// What goes where this one comes: in its cluster and its network, as far as both are known.
fn formers<'a>(cx: &Cx<'a>, instance: &'a Instance) -> Vec<&'a Instance> {
    let goes = |other: &&Instance| {
        let same = |name: &str| {
            let (was, will) = (other.before().get(name), instance.after().get(name));
            was.is_unknown() || will.is_unknown() || will.is_hidden() || was.value() == will.value()
        };
        other.action == Action::Delete && same("cluster") && same("network")
    };
    let is_new = instance.action == Action::Create && !instance.before().is_there();
    let all: Vec<&Instance> = cx.of(instance.kind).filter(goes).filter(|_| is_new).collect();
    // Of several doors of a network, the one of the same name, if there is one.
    let is_namesake = |other: &&Instance| {
        let same = |name: &str| other.before().get(name).value() == instance.after().get(name).value();
        same("namespace") && same("name")
    };
    let namesakes: Vec<&Instance> = all.iter().copied().filter(is_namesake).collect();
    if namesakes.is_empty() { all } else { namesakes }
}

/// A resource in one of its clusters.
#[derive(Clone, Copy)]
struct At<'a> {
    instance: &'a Instance,
    cluster: &'a str,
}

fn rows(section: &mut Section, at: At<'_>, before: Option<&Door<'_>>, after: Option<&Door<'_>>) {
    let At { instance, cluster } = at;
    let cells = |door: Option<&Door<'_>>| door.map(Door::cells);
    let (before, after) = (cells(before), cells(after));
    let names = before.iter().chain(&after).next().map(|cells| cells.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    for (at, what) in names.unwrap_or_default().into_iter().enumerate() {
        let side = |cells: &Option<Vec<(&str, Prose)>>| {
            cells.as_ref().map_or_else(|| "none".into(), |cells| cells[at].1.clone())
        };
        let (was, will) = (side(&before), side(&after));
        // Where a door comes or goes the picture shows its network.
        let told = what == "network" && (before.is_none() || after.is_none());
        if was != will && !told {
            section.row([Prose::name(cluster), Prose::name(&instance.address), what.into(), was, will]);
        }
    }
}

fn judge(cx: &mut Cx<'_>, at: At<'_>, before: Option<&Door<'_>>, after: Option<&Door<'_>>) {
    let Some(after) = after else { return };
    let was: &[&str] = before.map_or(&[], |before| &before.hosts);
    let more: Vec<&str> =
        after.hosts.iter().filter(|host| !was.iter().any(|pattern| covers(pattern, host))).copied().collect();
    let list = |hosts: &[&str]| names_or(hosts.iter().copied(), "none");
    if !more.is_empty() {
        let all = more.iter().any(|host| is_catch_all(host, after.domain));
        let level = match (before, all) {
            // A door that is new: the usual way to begin.
            (None, _) => Level::Note,
            (Some(_), true) => Level::Danger,
            (Some(_), false) => Level::Warning,
        };
        let what = match all {
            true => format!(
                "Every Service of every namespace that {} matches becomes callable.",
                names(more.iter().copied())
            ),
            false => format!("{} becomes callable.", names(more.iter().copied())),
        };
        cx.risk(&HOSTS_WIDENED, at.instance, what).of(at.cluster).at(level).sides(list(was), list(&after.hosts));
    }
    widened(cx, at, before, after);
    api_server(cx, at, before, after);
}

/// Who can connect to a door.
fn callers(door: Option<&Door<'_>>) -> Prose {
    match door {
        Some(Door { service: None, .. }) => UNKNOWN.into(),
        Some(door) if door.is_balancer() => door.callers("everyone"),
        Some(door) => Prose::name(door.service.unwrap_or_default()),
        None => "nobody".into(),
    }
}

/// An API server becomes reachable, or reachable for more.
fn api_server(cx: &mut Cx<'_>, at: At<'_>, before: Option<&Door<'_>>, after: &Door<'_>) {
    let before = before.filter(|before| before.api_server == Some(true));
    let more = before.is_none_or(|before| more_ranges(before, after) || !before.is_open() && after.is_open());
    if after.api_server != Some(true) || !more {
        return;
    }
    let (what, level) = match after.is_open() {
        true => ("Everyone can connect to the cluster's API server.", Level::Danger),
        false => ("The networks listed can connect to the cluster's API server.", Level::Warning),
    };
    cx.risk(&API_SERVER_EXPOSED, at.instance, what)
        .of(at.cluster)
        .at(level)
        .sides(callers(before), callers(Some(after)));
}

/// Who can connect to it.
fn widened(cx: &mut Cx<'_>, at: At<'_>, before: Option<&Door<'_>>, after: &Door<'_>) {
    let (what, level) = match before {
        _ if after.service.is_none() && after.is_open() && before.is_none_or(|before| !before.is_balancer()) => (
            "The type of its Service is known after the apply only. A load balancer lets everyone connect.",
            Level::Warning,
        ),
        None if after.is_open() && after.control_plane == Some(true) => {
            ("The control plane gets a load balancer that everyone can connect to.", Level::Warning)
        }
        None if after.is_open() => ("It gets a load balancer that everyone can connect to.", Level::Note),
        None => return,
        Some(before) if !before.is_balancer() && after.is_open() => {
            ("It gets a load balancer that everyone can connect to.", Level::Danger)
        }
        Some(before) if !before.is_open() && after.is_open() => {
            ("Everyone can connect to it from now on.", Level::Danger)
        }
        Some(before) if after.control_plane == Some(true) && before.control_plane == Some(false) && after.is_open() => {
            ("The control plane becomes reachable by everyone who can connect to the gateway.", Level::Warning)
        }
        Some(before) if before.is_balancer() && more_ranges(before, after) => {
            ("Further networks can connect to it.", Level::Warning)
        }
        Some(before) if before.service == Some("ClusterIP") && after.service == Some("NodePort") => {
            ("It gets a port on every node of the cluster, which source ranges do not guard.", Level::Warning)
        }
        Some(before) if faces_internet(after) && !faces_internet(before) => {
            let level = if after.is_open() { Level::Danger } else { Level::Warning };
            ("Its load balancer is asked to face the internet.", level)
        }
        Some(before) if after.is_balancer() && stays_inside(before) && !stays_inside(after) && !after.marks_unknown => {
            let level = if after.is_open() { Level::Danger } else { Level::Warning };
            ("Nothing asks for its load balancer to stay inside any more.", level)
        }
        Some(before) if lost_marks(before, after) && !after.marks_unknown => {
            ("What may keep the load balancer inside (annotations or class) changes.", Level::Warning)
        }
        Some(before) if after.control_plane == Some(true) && before.control_plane == Some(false) => {
            ("Whoever can connect to the gateway can dial the control plane.", Level::Note)
        }
        Some(_) => return,
    };
    cx.risk(&EXPOSED_TO_ALL, at.instance, what).of(at.cluster).at(level).sides(callers(before), callers(Some(after)));
}

fn address(cx: &mut Cx<'_>, gateway: &Instance, before: Option<&Door<'_>>, after: Option<&Door<'_>>) {
    let (Some(before), Some(after)) = (before, after) else { return };
    let asked = |door: &Door<'_>| {
        (
            door.service.map(str::to_owned),
            door.class.map(str::to_owned),
            door.asked_ip.map(str::to_owned),
            door.external_ips.join(","),
            door.families.map(str::to_owned),
            format!("{:?}", door.annotations),
        )
    };
    let (what, level) = match () {
        // The old one stays as it is.
        () if gateway.leaves_old => return,
        () if gateway.left_cluster().is_some() => {
            let to = gateway.after().get("cluster").shown();
            (format!("It goes, and the one in {to} has another address."), Level::Warning)
        }
        () if gateway.action == Action::Replace => {
            ("The Service is recreated: a cloud may give it another address.".to_owned(), Level::Warning)
        }
        () if gateway.action != Action::Update => return,
        () if before.ambient != after.ambient => {
            ("A gateway of another kind, with a Service of its own, takes its place.".to_owned(), Level::Warning)
        }
        () if asked(before) != asked(after) => ("The settings of its load balancer change.".to_owned(), Level::Warning),
        () if before.ports != after.ports && !before.ports.is_empty() && !after.ports.is_empty() => {
            ("The ports that other clusters connect to change.".to_owned(), Level::Warning)
        }
        () if after.addresses_unknown && !before.addresses_unknown => (
            "The plan does not say whether the address stays. Nothing in the plan asks for another one.".to_owned(),
            Level::Note,
        ),
        () if before.addresses != after.addresses => ("The gateway has another address.".to_owned(), Level::Warning),
        () => return,
    };
    cx.risk(&GATEWAY_ADDRESS, gateway, what).at(level).sides(before.addresses.clone(), after.addresses.clone());
}

/// What a door no longer lets in. Whole gateways that go are told by their network.
fn narrowed(cx: &mut Cx<'_>, at: At<'_>, before: Option<&Door<'_>>, after: Option<&Door<'_>>) {
    let At { instance, cluster } = at;
    let goes = cx.topology.leaves(cluster) || cx.all_goes();
    let Some(before) = before.filter(|_| !goes) else { return };
    let closes =
        |was: Option<bool>, will: Option<Option<bool>>| was == Some(true) && will.unwrap_or(Some(false)) == Some(false);
    if closes(before.control_plane, after.map(|after| after.control_plane)) {
        closed(cx, at);
    }
    if closes(before.api_server, after.map(|after| after.api_server)) {
        let what = "Watchers that dial the API server through this gateway no longer see the cluster.";
        cx.risk(&ACCESS_NARROWED, instance, what).of(cluster).sides("API server", "none");
    }
    let Some(after) = after else { return };
    let lost = before.hosts.iter().filter(|host| !after.hosts.iter().any(|pattern| covers(pattern, host)));
    let lost: Vec<&str> = lost.copied().collect();
    let list = |hosts: &[&str]| names_or(hosts.iter().copied(), "none");
    if !lost.is_empty() && !after.hosts_unknown {
        let what = format!("What {} names can no longer be called from other networks.", names(lost.iter().copied()));
        cx.risk(&ACCESS_NARROWED, instance, what).of(cluster).sides(list(&before.hosts), list(&after.hosts));
    }
    let fewer = after.ranges.is_some() && (before.ranges.is_none() || more_ranges(after, before));
    if before.is_balancer() && after.is_balancer() && fewer && !before.ranges_unknown && !after.ranges_unknown {
        let what = "Networks that are not listed can no longer connect.";
        let sides = (callers(Some(before)), callers(Some(after)));
        cx.risk(&ACCESS_NARROWED, instance, what).of(cluster).sides(sides.0, sides.1);
    }
}

/// Clusters without a control plane of their own need the one that can be dialled no more.
fn closed(cx: &mut Cx<'_>, At { instance, cluster }: At<'_>) {
    let of_cluster = |other: &&Instance| other.address != instance.address && other.cluster() == Some(cluster);
    let gateway =
        |other: &Instance| Door::of_gateway(other.after()).is_some_and(|door| door.control_plane == Some(true));
    let others = cx.of(Type::Gateway).filter(of_cluster).any(gateway)
        || cx.of(Type::Primary).filter(of_cluster).any(|other| Door::of_istiod(other.after()).is_some());
    let after = &cx.topology.after;
    let served = after.clusters.iter().any(|(name, node)| node.remote && after.are_related(name, cluster));
    let (what, level) = match (others, served) {
        (true, _) => (
            "The control plane can still be reached, but only through another gateway or load balancer of the cluster.",
            Level::Warning,
        ),
        (false, true) => (
            "Remote clusters that dial the control plane at this address get no configuration and no certificate.",
            Level::Danger,
        ),
        (false, false) => ("The control plane can no longer be reached at this address.", Level::Warning),
    };
    cx.risk(&ACCESS_NARROWED, instance, what).of(cluster).at(level).sides("control plane", "none");
}

/// Whose Services and whose control plane a gateway leads to.
fn behind(cx: &mut Cx<'_>, gateway: &Instance) {
    let both = gateway.action == Action::Update;
    let Some((before, after)) = gateway.sides("expose").filter(|_| both) else { return };
    let (was, will) = (before.get("istiod_namespace"), after.get("istiod_namespace"));
    if !was.is_same(will) && after.get("control_plane").flag() {
        let what = "The control plane of another namespace answers proxies that come in.";
        cx.risk(&DESTINATION_CHANGED, gateway, what).at(Level::Warning).sides(was.shown(), will.shown());
    }
    let names_of = [before, after].map(|side| side.get("control_plane_hosts"));
    let kept = names_of[1].texts();
    let lost: Vec<&str> = names_of[0].texts().into_iter().filter(|name| !kept.contains(name)).collect();
    if !lost.is_empty() && !names_of[1].is_partly_unknown() {
        let what = format!("Remote clusters no longer reach the control plane by the name {}.", names(lost));
        cx.risk(&ACCESS_NARROWED, gateway, what).sides(names_of[0].shown(), names_of[1].shown());
    }
    if let Some((was, will)) = gateway.sides("cluster_domain").filter(|(was, will)| !was.is_same(*will)) {
        let what = "Services can be called only by names in the new domain.";
        cx.risk(&ACCESS_NARROWED, gateway, what).sides(was.shown(), will.shown());
    }
}

/// Addresses that a refresh found to be others than those that state remembers.
fn moved(cx: &mut Cx<'_>) {
    let plan = cx.plan;
    let doors = plan.drift.iter().filter(|one| matches!(one.kind, Type::Gateway | Type::Primary));
    for drifted in doors {
        let Some((before, after)) = drifted.sides("addresses") else { continue };
        let values = |side: crate::review::read::Reading<'_>| {
            side.items().iter().filter_map(|address| address.get("value").text()).map(str::to_owned).collect::<Vec<_>>()
        };
        let (was, is) = (values(before), values(after));
        if was.iter().any(|address| !is.contains(address)) {
            let what = "It has other addresses than at the last apply.";
            let list = |all: &[String]| names_or(all.iter().map(String::as_str), "none");
            cx.risk(&GATEWAY_ADDRESS, drifted, what).sides(list(&was), list(&is));
        }
    }
}

fn last_gateways(cx: &mut Cx<'_>) {
    let Topology { before, after } = cx.topology;
    let networks: BTreeSet<&String> = after.clusters.values().flat_map(|cluster| &cluster.networks).collect();
    // Another network may be in another state.
    let several = networks.len() != 1 || !after.is_whole();
    let unknown = after.gateways.contains_key(crate::review::topology::UNKNOWN);
    for (network, was) in &before.gateways {
        let is = after.gateways.get(network).into_iter().flatten().collect::<Vec<_>>();
        let lost = |cluster: &&String| {
            let others = is.iter().any(|other| after.are_related(other, cluster) && before.are_related(other, cluster));
            let emptied =
                before.members(network, cluster).next().is_some() && after.members(network, cluster).next().is_none();
            !others && !emptied
        };
        let lost: BTreeSet<&str> = was.iter().filter(lost).map(String::as_str).collect();
        if lost.is_empty() {
            continue;
        }
        let gone = cx.of(Type::Gateway).find(|gateway| {
            gateway.before().get("network").text() == Some(network.as_str())
                && gateway.before().get("cluster").text().is_some_and(|cluster| lost.contains(cluster))
        });
        let unless = if unknown { ", unless one does whose network is known after the apply only" } else { "" };
        let what = format!("No gateway of this configuration leads to {} any more{unless}.", Name(network));
        let level = if several && !unknown { Level::Danger } else { Level::Warning };
        let risk = match gone {
            Some(gateway) => cx.risk(&LAST_GATEWAY_REMOVED, gateway, what),
            None => cx.risk_at(&LAST_GATEWAY_REMOVED, "", what),
        };
        risk.of_all(lost.iter().copied()).at(level).sides(names(lost.iter().copied()), "none");
    }
    for primary in cx.of(Type::Primary).filter(|primary| primary.action == Action::Update) {
        let Some((was, network)) = primary.sides("network") else { continue };
        let doorless = network.text().filter(|network| !after.gateways.contains_key(*network) && !unknown);
        if let Some(network) =
            doorless.filter(|_| !was.is_same(primary.after().get("network")) && several && !before.gateways.is_empty())
        {
            let what =
                format!("No gateway of this configuration leads to {}, which the cluster moves to.", Name(network));
            cx.risk(&LAST_GATEWAY_REMOVED, primary, what).sides(was.shown(), Prose::name(network));
        }
    }
}
