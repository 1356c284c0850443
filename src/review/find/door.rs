//! A door: how a gateway or a control plane can be reached, as far as the configuration says.

use std::net::IpAddr;

use crate::review::read::{Reading, UNKNOWN};
use crate::review::secrets::HIDDEN;
use crate::review::text::{Prose, names, names_or};

/// The usual domain of Services' names.
const DOMAIN: &str = "cluster.local";
/// The usual type of a Service.
const BALANCER: &str = "LoadBalancer";

/// How something can be reached, as far as the configuration says.
pub struct Door<'a> {
    /// The type of its Service; `None` where that is known after the apply only, and may be any.
    pub service: Option<&'a str>,
    pub class: Option<&'a str>,
    pub annotations: Vec<(&'a str, &'a str)>,
    /// Not all of them, nor perhaps the class, are known.
    pub marks_unknown: bool,
    /// `None` lets everyone in.
    pub ranges: Option<Vec<&'a str>>,
    /// Other ways to the Service.
    pub external_ips: Vec<&'a str>,
    pub asked_ip: Option<&'a str>,
    pub families: Option<&'a str>,
    pub ports: Vec<i64>,
    /// Services that are let through.
    pub hosts: Vec<&'a str>,
    /// Domain of their names.
    pub domain: &'a str,
    /// There are hosts, or ranges, that are known after the apply only.
    pub hosts_unknown: bool,
    pub ranges_unknown: bool,
    /// What is let through; nothing where that is not known.
    pub control_plane: Option<bool>,
    pub api_server: Option<bool>,
    pub ambient: Option<bool>,
    pub addresses: Prose,
    pub addresses_unknown: bool,
    pub network: Option<&'a str>,
}

impl<'a> Door<'a> {
    pub fn of_gateway(gateway: Reading<'a>) -> Option<Self> {
        let (service, expose) = (gateway.get("service"), gateway.get("expose"));
        let ports = service.get("ports");
        let port = |name, usual| ports.get(name).number().unwrap_or(usual);
        let flag = |name| maybe(expose.get(name));
        let (services, control_plane, api_server) = (flag("services"), flag("control_plane"), flag("api_server"));
        let mut open = Vec::new();
        open.extend((services == Some(true) || api_server == Some(true)).then(|| port("tls", 15443)));
        let istiod = || [port("istiod", 15012), port("webhook", 15017)];
        open.extend((control_plane == Some(true)).then(istiod).into_iter().flatten());
        let hosts = expose.get("hosts");
        let hosts_unknown = services.is_none() || services == Some(true) && hosts.is_partly_unknown();
        let hosts = match (services, hosts.is_there()) {
            (Some(true), false) => vec!["*.local"],
            (Some(true), true) => listed(hosts),
            _ => Vec::new(),
        };
        let door = Self {
            service: match service.get("type") {
                kind if kind.is_unknown() => None,
                kind => Some(kind.text().unwrap_or(BALANCER)),
            },
            hosts,
            hosts_unknown,
            domain: gateway.get("cluster_domain").text().unwrap_or(DOMAIN),
            control_plane,
            api_server,
            ambient: maybe(gateway.get("ambient")),
            ports: open,
            network: gateway.get("network").text(),
            ..Self::of_service(service, gateway.get("addresses"))
        };
        gateway.is_there().then_some(door)
    }

    pub fn of_istiod(primary: Reading<'a>) -> Option<Self> {
        let expose = primary.get("expose");
        let door = Self {
            control_plane: Some(true),
            ports: vec![15012, 15017],
            ..Self::of_service(expose, primary.get("addresses"))
        };
        expose.is_there().then_some(door)
    }

    fn of_service(service: Reading<'a>, addresses: Reading<'a>) -> Self {
        let ranges = service.get("source_ranges");
        let (annotations, class) = (service.get("annotations"), service.get("load_balancer_class"));
        let known: Vec<&str> = addresses.items().iter().filter_map(|address| address.get("value").text()).collect();
        Self {
            service: Some(BALANCER),
            class: class.text(),
            marks_unknown: annotations.is_partly_unknown() || class.is_unknown(),
            annotations: annotations
                .entries()
                .into_iter()
                .filter_map(|(name, value)| Some((name, value.text()?)))
                .collect(),
            ranges: (!listed(ranges).is_empty() || ranges.is_partly_unknown()).then(|| listed(ranges)),
            external_ips: service.get("external_ips").texts(),
            asked_ip: service.get("load_balancer_ip").text(),
            families: service.get("ip_family_policy").text(),
            ranges_unknown: ranges.is_partly_unknown(),
            ports: Vec::new(),
            hosts: Vec::new(),
            domain: DOMAIN,
            hosts_unknown: false,
            control_plane: Some(false),
            api_server: Some(false),
            ambient: Some(false),
            addresses_unknown: addresses.is_partly_unknown(),
            addresses: names_or(known, if addresses.is_partly_unknown() { UNKNOWN } else { "none" }),
            network: None,
        }
    }

    pub fn is_balancer(&self) -> bool {
        self.service.is_none_or(|kind| kind == BALANCER)
    }

    pub fn is_open(&self) -> bool {
        self.is_balancer() && self.ranges.as_ref().is_none_or(|ranges| are_everyone(ranges))
    }

    /// Who can connect, with a word for where nothing says it.
    pub fn callers(&self, all: &str) -> Prose {
        self.ranges.as_ref().map_or_else(|| all.into(), |ranges| partly(ranges, self.ranges_unknown))
    }

    pub fn cells(&self) -> Vec<(&'static str, Prose)> {
        let list = |all: &[&str]| names_or(all.iter().copied(), "none");
        let text = |text: Option<&str>| text.map_or_else(|| "none".into(), Prose::name);
        let ports: Vec<String> = self.ports.iter().map(|port| Prose::number(port).to_string()).collect();
        let flag = |flag: Option<bool>| match flag {
            Some(true) => "yes".into(),
            Some(false) => "none".into(),
            None => Prose::from(UNKNOWN),
        };
        let annotations = self.annotations.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
        vec![
            ("network", text(self.network)),
            ("services", partly(&self.hosts, self.hosts_unknown)),
            ("control plane", flag(self.control_plane)),
            ("API server", flag(self.api_server)),
            ("ambient", flag(self.ambient)),
            ("ports", if ports.is_empty() { "none".into() } else { ports.join(", ").into() }),
            ("Service", self.service.map_or_else(|| UNKNOWN.into(), Prose::name)),
            ("class", text(self.class)),
            ("annotations", list(&annotations.iter().map(String::as_str).collect::<Vec<_>>())),
            ("can connect", self.callers(if self.is_balancer() { "everyone" } else { "none" })),
            ("external IPs", list(&self.external_ips)),
            ("asked address", text(self.asked_ip)),
            ("addresses", self.addresses.clone()),
        ]
    }
}

/// A flag; nothing where it is not known, or hidden.
fn maybe(flag: Reading<'_>) -> Option<bool> {
    (!flag.is_unknown() && !flag.is_hidden()).then(|| flag.flag())
}

/// The texts of a list; where the whole of it is hidden, what stands for it.
fn listed(list: Reading<'_>) -> Vec<&str> {
    match list.is_hidden() && !list.is_unknown() {
        true => vec![HIDDEN],
        false => list.texts(),
    }
}

fn partly(shown: &[&str], unknown: bool) -> Prose {
    match (shown.is_empty(), unknown) {
        (_, false) => names_or(shown.iter().copied(), "none"),
        (true, true) => UNKNOWN.into(),
        (false, true) => format!("{} and more, {UNKNOWN}", names(shown.iter().copied())).into(),
    }
}

pub fn more_ranges(before: &Door<'_>, after: &Door<'_>) -> bool {
    let (Some(was), Some(will)) = (&before.ranges, &after.ranges) else { return false };
    will.iter().any(|range| !was.iter().any(|wider| contains(wider, range)))
}

/// Whether a cloud is told to give the load balancer a public address.
pub fn faces_internet(door: &Door<'_>) -> bool {
    door.is_balancer() && door.annotations.iter().any(|(name, value)| is_public(name, value))
}

/// An annotation by which a cloud is told to give a load balancer a public address.
fn is_public(name: &str, value: &str) -> bool {
    let public = ["internet-facing", "external", "public"].iter().any(|word| value.eq_ignore_ascii_case(word));
    public && ["scheme", "load-balancer-type", "address-type"].iter().any(|word| name.contains(word))
}

/// Whether a cloud is told to keep the load balancer inside.
pub fn stays_inside(door: &Door<'_>) -> bool {
    door.annotations.iter().any(|(name, value)| is_private(name, value)) || door.class.is_some_and(says_inside)
}

fn says_inside(text: &str) -> bool {
    ["internal", "private"].iter().any(|word| text.to_lowercase().contains(word))
}

/// An annotation by which a cloud is told to keep a load balancer inside.
fn is_private(name: &str, value: &str) -> bool {
    let off = ["false", "no", "off", "0"].iter().any(|word| value.eq_ignore_ascii_case(word));
    says_inside(value) || says_inside(name) && !off && !value.is_empty()
}

/// Whether an annotation decides by its name who can reach a load balancer.
fn places(name: &str) -> bool {
    ["internal", "scheme", "load-balancer-type", "subnet", "private"].iter().any(|word| name.contains(word))
}

/// What a change of one annotation opens, and whether it surely does.
pub fn opened_by(name: &str, before: Option<&str>, after: Option<&str>) -> Option<(&'static str, bool)> {
    let says = |side: Option<&str>, is: fn(&str, &str) -> bool| side.is_some_and(|value| is(name, value));
    match () {
        () if says(after, is_public) && !says(before, is_public) => {
            Some(("Its load balancer is asked to face the internet.", true))
        }
        () if says(before, is_private) && !says(after, is_private) => {
            Some(("An annotation no longer asks for its load balancer to stay inside.", places(name)))
        }
        () if places(name) && before.is_some() && before != after && !says(after, is_private) => {
            Some(("What may keep the load balancer inside (annotations or class) changes.", false))
        }
        () => None,
    }
}

/// Whether something goes by which clouds are told to keep a load balancer inside.
pub fn lost_marks(before: &Door<'_>, after: &Door<'_>) -> bool {
    let lost = before.annotations.iter().any(|mark| places(mark.0) && !after.annotations.contains(mark));
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
pub fn are_everyone(ranges: &[&str]) -> bool {
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
pub fn contains(wider: &str, range: &str) -> bool {
    match (bounds(wider), bounds(range)) {
        (Some((first, last, family)), Some((from, to, same))) => family == same && first <= from && to <= last,
        _ => wider == range,
    }
}

/// Whether a host pattern lets through what another does.
pub fn covers(pattern: &str, host: &str) -> bool {
    let strip = |host: &'_ str| host.rsplit('/').next().unwrap_or_default().to_owned();
    let (pattern, host) = (strip(pattern), strip(host));
    match pattern.strip_prefix('*') {
        Some(end) => host.trim_start_matches('*').ends_with(end),
        None => pattern == host,
    }
}

pub fn is_catch_all(host: &str, domain: &str) -> bool {
    let host = host.rsplit('/').next().unwrap_or_default();
    let all = [format!("svc.{domain}"), format!("svc.{DOMAIN}")];
    host.strip_prefix('*').is_some_and(|end| all.iter().any(|all| all.ends_with(end.trim_start_matches('.'))))
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
