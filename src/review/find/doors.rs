//! What can be reached from outside: gateways, and control planes with a load balancer of their own.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::Cx;
use crate::review::read::{Action, Instance, Reading, Type, UNKNOWN};
use crate::review::risk::{
    API_SERVER_EXPOSED, EXPOSED_TO_ALL, GATEWAY_ADDRESS, HOSTS_WIDENED, LAST_GATEWAY_REMOVED, Level,
};
use crate::review::section::Section;
use crate::review::text::{Name, Prose, names};
use crate::review::topology::Topology;

/// The usual domain of Services' names.
const DOMAIN: &str = "cluster.local";

const COLUMNS: &[(&str, &str)] =
    &[("cluster", "cluster"), ("address", "resource"), ("what", "what"), ("before", "before"), ("after", "after")];

pub fn of_plan(cx: &mut Cx<'_>) -> Section {
    let mut section = Section::new("exposure", "Reachable from outside", COLUMNS);
    section.importance = 8;
    for gateway in cx.of(Type::Gateway) {
        let (before, after) = (Door::of_gateway(gateway.before()), Door::of_gateway(gateway.after()));
        rows(&mut section, gateway, before.as_ref(), after.as_ref());
        judge(cx, gateway, before.as_ref(), after.as_ref());
        address(cx, gateway, before.as_ref(), after.as_ref());
    }
    for primary in cx.of(Type::Primary) {
        let (before, after) = (Door::of_istiod(primary.before()), Door::of_istiod(primary.after()));
        rows(&mut section, primary, before.as_ref(), after.as_ref());
        judge(cx, primary, before.as_ref(), after.as_ref());
    }
    last_gateways(cx);
    section.sorted()
}

/// How something can be reached, as far as the configuration says.
#[derive(PartialEq)]
struct Door<'a> {
    service: String,
    class: Option<&'a str>,
    annotations: Vec<(&'a str, &'a str)>,
    /// `None` lets everyone in.
    ranges: Option<Vec<&'a str>>,
    /// Other ways to the Service.
    external_ips: Vec<&'a str>,
    asked_ip: Option<&'a str>,
    ports: Vec<i64>,
    /// Services that are let through.
    hosts: Vec<&'a str>,
    /// Domain of their names.
    domain: &'a str,
    /// There are hosts, or ranges, that are known after the apply only.
    hosts_unknown: bool,
    ranges_unknown: bool,
    control_plane: bool,
    api_server: bool,
    addresses: Prose,
    addresses_unknown: bool,
    network: Option<&'a str>,
}

impl<'a> Door<'a> {
    fn of_gateway(gateway: Reading<'a>) -> Option<Self> {
        let (service, expose) = (gateway.get("service"), gateway.get("expose"));
        let ports = service.get("ports");
        let port = |name, usual| ports.get(name).number().unwrap_or(usual);
        let (services, control_plane) = (expose.get("services").flag(), expose.get("control_plane").flag());
        let api_server = expose.get("api_server").flag();
        let mut open = Vec::new();
        open.extend((services || api_server).then(|| port("tls", 15443)));
        open.extend(control_plane.then(|| [port("istiod", 15012), port("webhook", 15017)]).into_iter().flatten());
        let hosts = expose.get("hosts");
        let hosts = match (services, hosts.is_there()) {
            (true, false) => vec!["*.local"],
            (true, true) => hosts.texts(),
            (false, _) => Vec::new(),
        };
        let door = Self {
            service: service.get("type").text().unwrap_or("LoadBalancer").to_owned(),
            hosts,
            hosts_unknown: services && expose.get("hosts").is_partly_unknown(),
            domain: gateway.get("cluster_domain").text().unwrap_or(DOMAIN),
            control_plane,
            api_server,
            ports: open,
            network: gateway.get("network").text(),
            ..Self::of_service(service, gateway.get("addresses"))
        };
        gateway.is_there().then_some(door)
    }

    fn of_istiod(primary: Reading<'a>) -> Option<Self> {
        let expose = primary.get("expose");
        let door = Self {
            control_plane: true,
            ports: vec![15012, 15017],
            ..Self::of_service(expose, primary.get("addresses"))
        };
        expose.is_there().then_some(door)
    }

    fn of_service(service: Reading<'a>, addresses: Reading<'a>) -> Self {
        let ranges = service.get("source_ranges");
        let annotations = service.get("annotations").entries();
        let listed: Vec<&str> = addresses.items().iter().filter_map(|address| address.get("value").text()).collect();
        Self {
            service: "LoadBalancer".to_owned(),
            class: service.get("load_balancer_class").text(),
            annotations: annotations.into_iter().filter_map(|(name, value)| Some((name, value.text()?))).collect(),
            ranges: (ranges.is_there() && !ranges.items().is_empty() || ranges.is_unknown()).then(|| ranges.texts()),
            external_ips: service.get("external_ips").texts(),
            asked_ip: service.get("load_balancer_ip").text(),
            ranges_unknown: ranges.is_partly_unknown(),
            ports: Vec::new(),
            hosts: Vec::new(),
            domain: DOMAIN,
            hosts_unknown: false,
            control_plane: false,
            api_server: false,
            addresses_unknown: addresses.is_partly_unknown(),
            addresses: match listed.is_empty() {
                true if addresses.is_partly_unknown() => UNKNOWN.into(),
                true => "none".into(),
                false => names(listed).into(),
            },
            network: None,
        }
    }

    fn is_balancer(&self) -> bool {
        self.service == "LoadBalancer"
    }

    fn is_open(&self) -> bool {
        self.is_balancer() && self.ranges.as_ref().is_none_or(|ranges| are_everyone(ranges))
    }

    fn cells(&self) -> Vec<(&'static str, Prose)> {
        let list =
            |list: &[&str]| if list.is_empty() { Prose::from("none") } else { names(list.iter().copied()).into() };
        let partly = |shown: &[&str], unknown: bool| match (shown.is_empty(), unknown) {
            (_, false) => list(shown),
            (true, true) => UNKNOWN.into(),
            (false, true) => format!("{} and more, {UNKNOWN}", list(shown)).into(),
        };
        let text = |text: Option<&str>| text.map_or_else(|| "none".into(), Prose::name);
        let ports = self.ports.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
        let annotations = self.annotations.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
        vec![
            ("network", text(self.network)),
            ("services", partly(&self.hosts, self.hosts_unknown)),
            ("control plane", if self.control_plane { "yes".into() } else { "none".into() }),
            ("API server", if self.api_server { "yes".into() } else { "none".into() }),
            ("ports", if ports.is_empty() { "none".into() } else { ports.into() }),
            ("Service", Prose::name(&self.service)),
            ("class", text(self.class)),
            ("annotations", list(&annotations.iter().map(String::as_str).collect::<Vec<_>>())),
            (
                "can connect",
                self.ranges.as_ref().map_or_else(
                    || if self.is_balancer() { "everyone".into() } else { "none".into() },
                    |ranges| partly(ranges, self.ranges_unknown),
                ),
            ),
            ("external IPs", list(&self.external_ips)),
            ("asked address", text(self.asked_ip)),
            ("addresses", self.addresses.clone()),
        ]
    }
}

fn rows(section: &mut Section, instance: &Instance, before: Option<&Door<'_>>, after: Option<&Door<'_>>) {
    if !instance.changes() {
        return;
    }
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
            let cluster = instance.cluster().unwrap_or_default();
            section.row([Prose::name(cluster), Prose::name(&instance.address), what.into(), was, will]);
        }
    }
}

fn judge(cx: &mut Cx<'_>, instance: &Instance, before: Option<&Door<'_>>, after: Option<&Door<'_>>) {
    let Some(after) = after.filter(|_| instance.changes()) else { return };
    let was: &[&str] = before.map_or(&[], |before| &before.hosts);
    let more: Vec<&str> =
        after.hosts.iter().filter(|host| !was.iter().any(|pattern| covers(pattern, host))).copied().collect();
    let list =
        |hosts: &[&str]| if hosts.is_empty() { Prose::from("none") } else { names(hosts.iter().copied()).into() };
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
        cx.risk(&HOSTS_WIDENED, instance, what).at(level).sides(list(was), list(&after.hosts));
    }
    widened(cx, instance, before, after);
    api_server(cx, instance, before, after);
}

/// Who can connect to a door.
fn callers(door: Option<&Door<'_>>) -> Prose {
    match door {
        Some(door) if door.is_balancer() => {
            door.ranges.as_ref().map_or_else(|| "everyone".into(), |ranges| names(ranges.iter().copied()).into())
        }
        Some(door) => Prose::name(&door.service),
        None => "nobody".into(),
    }
}

/// An API server becomes reachable, or reachable for more.
fn api_server(cx: &mut Cx<'_>, instance: &Instance, before: Option<&Door<'_>>, after: &Door<'_>) {
    let before = before.filter(|before| before.api_server);
    let more = before.is_none_or(|before| more_ranges(before, after) || !before.is_open() && after.is_open());
    if !after.api_server || !more {
        return;
    }
    let (what, level) = match after.is_open() {
        true => ("Everyone can connect to the cluster's API server.", Level::Danger),
        false => ("The networks listed can connect to the cluster's API server.", Level::Warning),
    };
    cx.risk(&API_SERVER_EXPOSED, instance, what).at(level).sides(callers(before), callers(Some(after)));
}

/// Who can connect to it.
fn widened(cx: &mut Cx<'_>, instance: &Instance, before: Option<&Door<'_>>, after: &Door<'_>) {
    let (what, level) = match before {
        None if after.is_open() && after.control_plane => {
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
        Some(before) if after.control_plane && !before.control_plane && after.is_open() => {
            ("The control plane becomes reachable by everyone who can connect to the gateway.", Level::Warning)
        }
        Some(before) if before.is_balancer() && more_ranges(before, after) => {
            ("Further networks can connect to it.", Level::Warning)
        }
        Some(before) if before.service == "ClusterIP" && after.service == "NodePort" => {
            ("It gets a port on every node of the cluster, which source ranges do not guard.", Level::Warning)
        }
        Some(before) if faces_internet(after) && !faces_internet(before) => {
            let level = if after.is_open() { Level::Danger } else { Level::Warning };
            ("Its load balancer is asked to face the internet.", level)
        }
        Some(before) if lost_marks(before, after) => {
            ("What may keep the load balancer inside (annotations or class) changes.", Level::Warning)
        }
        Some(_) => return,
    };
    cx.risk(&EXPOSED_TO_ALL, instance, what).at(level).sides(callers(before), callers(Some(after)));
}

fn more_ranges(before: &Door<'_>, after: &Door<'_>) -> bool {
    let (Some(was), Some(will)) = (&before.ranges, &after.ranges) else { return false };
    will.iter().any(|range| !was.iter().any(|wider| contains(wider, range)))
}

/// Whether a cloud is told to give the load balancer a public address.
fn faces_internet(door: &Door<'_>) -> bool {
    let public =
        |value: &str| ["internet-facing", "external", "public"].iter().any(|word| value.eq_ignore_ascii_case(word));
    let placed = |name: &str| ["scheme", "load-balancer-type", "address-type"].iter().any(|word| name.contains(word));
    door.is_balancer() && door.annotations.iter().any(|(name, value)| placed(name) && public(value))
}

/// Whether something goes by which clouds are told to keep a load balancer inside.
fn lost_marks(before: &Door<'_>, after: &Door<'_>) -> bool {
    let inside = |name: &str| {
        ["internal", "scheme", "load-balancer-type", "subnet", "private"].iter().any(|word| name.contains(word))
    };
    let lost = before.annotations.iter().any(|mark| inside(mark.0) && !after.annotations.contains(mark));
    after.is_balancer() && (lost || before.class.is_some() && before.class != after.class)
}

/// The first and the last address of a range, and its family.
fn bounds(range: &str) -> Option<(u128, u128, u32)> {
    let (address, length) = range.split_once('/')?;
    let length: u32 = length.parse().ok()?;
    let (base, length, family) = match address.parse().ok()? {
        IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, length.min(32), 4),
        IpAddr::V6(address) => (address.to_bits(), length.min(128), 6),
    };
    let rest = u128::MAX.checked_shr(length).unwrap_or(0);
    Some((base & !rest, base | rest, family))
}

/// Whether ranges together hold all addresses of a family: two halves are a whole.
fn are_everyone(ranges: &[&str]) -> bool {
    [4, 6].into_iter().any(|family| {
        let bounds = ranges.iter().filter_map(|range| bounds(range)).filter(|bounds| bounds.2 == family);
        let mut bounds: Vec<(u128, u128)> = bounds.map(|(first, last, _)| (first, last)).collect();
        bounds.sort_unstable();
        // The first address that none has held so far; `None` behind the last.
        let mut next = Some(0);
        for (first, last) in bounds {
            match next {
                Some(at) if first <= at => next = last.max(at.saturating_sub(1)).checked_add(1),
                _ => break,
            }
        }
        next.is_none()
    })
}

/// Whether a range holds another.
fn contains(wider: &str, range: &str) -> bool {
    match (bounds(wider), bounds(range)) {
        (Some((first, last, family)), Some((from, to, same))) => family == same && first <= from && to <= last,
        _ => wider == range,
    }
}

/// Whether a host pattern lets through what another does.
fn covers(pattern: &str, host: &str) -> bool {
    let strip = |host: &'_ str| host.rsplit('/').next().unwrap_or_default().to_owned();
    let (pattern, host) = (strip(pattern), strip(host));
    match pattern.strip_prefix('*') {
        Some(end) => host.trim_start_matches('*').ends_with(end),
        None => pattern == host,
    }
}

fn is_catch_all(host: &str, domain: &str) -> bool {
    let host = host.rsplit('/').next().unwrap_or_default();
    let all = [format!("svc.{domain}"), format!("svc.{DOMAIN}")];
    host.strip_prefix('*').is_some_and(|end| all.iter().any(|all| all.ends_with(end.trim_start_matches('.'))))
}

fn address(cx: &mut Cx<'_>, gateway: &Instance, before: Option<&Door<'_>>, after: Option<&Door<'_>>) {
    let (Some(before), Some(after)) = (before, after) else { return };
    let asked = |door: &Door<'_>| {
        (
            door.service.clone(),
            door.class.map(str::to_owned),
            door.asked_ip.map(str::to_owned),
            door.external_ips.join(","),
            format!("{:?}", door.annotations),
        )
    };
    let (what, level) = match () {
        () if gateway.action == Action::Replace => {
            ("Its Service is recreated: a cloud gives it another address.", Level::Warning)
        }
        () if gateway.action != Action::Update => return,
        () if asked(before) != asked(after) => ("What its load balancer is asked for changes.", Level::Warning),
        () if before.ports != after.ports && !before.ports.is_empty() && !after.ports.is_empty() => {
            ("The ports that other clusters connect to change.", Level::Warning)
        }
        () if after.addresses_unknown && !before.addresses_unknown => {
            ("The plan does not promise that it stays; nothing in it asks for another.", Level::Note)
        }
        () if before.addresses != after.addresses => ("It has another address.", Level::Warning),
        () => return,
    };
    cx.risk(&GATEWAY_ADDRESS, gateway, what).at(level).sides(before.addresses.clone(), after.addresses.clone());
}

fn last_gateways(cx: &mut Cx<'_>) {
    let Topology { before, after } = cx.topology;
    let networks: BTreeSet<&String> = after.clusters.values().flat_map(|cluster| &cluster.networks).collect();
    // Another network may be in another state.
    let several = networks.len() != 1 || !after.is_whole();
    let unknown = after.gateways.contains_key(crate::review::topology::UNKNOWN);
    for (network, was) in before.gateways.iter().filter(|_| !unknown) {
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
        let address = gone.map(|gateway| gateway.address.clone()).unwrap_or_default();
        let what = format!("No gateway of this configuration leads to {} any more.", Name(network));
        let level = if several { Level::Danger } else { Level::Warning };
        cx.risk_at(&LAST_GATEWAY_REMOVED, &address, what)
            .of_all(lost.iter().copied())
            .at(level)
            .sides(names(lost.iter().copied()), "none");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_and_ranges_are_compared_by_what_they_let_in() {
        assert!(covers("*.local", "cart.shop.svc.cluster.local"));
        assert!(covers("*", "*.local"));
        assert!(covers("*.svc.cluster.local", "*.shop.svc.cluster.local"));
        assert!(!covers("*.shop.svc.cluster.local", "*.local"));
        assert!(!covers("cart.shop.svc.cluster.local", "cart.other.svc.cluster.local"));
        for all in ["*", "*.local", "*.svc.cluster.local", "*/*.cluster.local"] {
            assert!(is_catch_all(all, DOMAIN), "{all}");
        }
        assert!(!is_catch_all("*.shop.svc.cluster.local", DOMAIN));
        assert!(is_catch_all("*.svc.corp.internal", "corp.internal"));
        assert!(!is_catch_all("*.svc.corp.internal", DOMAIN));
        for (ranges, everyone) in [
            (&["0.0.0.0/0"][..], true),
            (&["128.0.0.0/1", "0.0.0.0/1"], true),
            (&["0.0.0.0/1", "128.0.0.0/2", "192.0.0.0/2"], true),
            (&["0.0.0.0/1", "192.0.0.0/2"], false),
            (&["::/1", "8000::/1"], true),
            (&["::/1", "128.0.0.0/1"], false),
            (&["10.0.0.0/8", "nonsense"], false),
            (&[], false),
        ] {
            assert_eq!(are_everyone(ranges), everyone, "{ranges:?}");
        }
        assert!(contains("10.0.0.0/8", "10.1.0.0/16") && !contains("10.1.0.0/16", "10.0.0.0/8"));
        assert!(contains("::/0", "2001:db8::/32") && !contains("0.0.0.0/0", "2001:db8::/32"));
        assert!(!contains("10.0.0.0/8", "192.168.0.0/16") && contains("nonsense", "nonsense"));
    }
}
