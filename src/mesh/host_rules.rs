//! DestinationRules and VirtualServices for Services of the mesh, compared over clusters: each istiod knows those of
//! its own configuration cluster alone, so that a call is treated by where it comes from. They are tenants' objects:
//! nothing of them is shown but names and the place of a difference, and the work grows as their size does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::policy::shown;
use super::service_host::{covers, service_host, without_domain};

/// What rules are for: where they count depends on their namespace, too.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place<'a> {
    kind: &'static str,
    host: String,
    namespace: &'a str,
}

/// The rules of one cluster.
#[derive(Debug, Default)]
pub struct HostRules<'a>(BTreeMap<Place<'a>, Vec<Rule<'a>>>);

#[derive(Debug)]
struct Rule<'a> {
    namespace: &'a str,
    name: &'a str,
    spec: &'a Value,
    digest: [u8; 32],
}

/// An object of Istio's, as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub struct RuleAt<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub spec: &'a Value,
}

/// Rules for one host that are not the same in all clusters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnlikeRules {
    /// Such as `DestinationRule shop/web`.
    pub object: String,
    pub host: String,
    pub how: Unlike,
}

/// How rules differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unlike {
    /// Clusters that have the same together, and the first place where the first two differ.
    Field { field: String, groups: Vec<BTreeSet<String>> },
    /// Some clusters have a rule and others none.
    Missing { with: BTreeSet<String>, without: BTreeSet<String> },
}

const DESTINATION_RULE: &str = "DestinationRule";
const VIRTUAL_SERVICE: &str = "VirtualService";

/// The members that say which host a rule is for, and at which gateways it counts beside the mesh.
const ELSEWHERE: &[&str] = &["gateways", "host", "hosts"];
/// The members by which a route names a Service.
const CALLED: &[&str] = &["destination", "mirror"];

impl<'a> HostRules<'a> {
    /// Adds a DestinationRule.
    pub fn destination_rule(&mut self, rule: RuleAt<'a>) {
        let host = rule.spec.get("host").and_then(Value::as_str);
        self.add(DESTINATION_RULE, host, rule);
    }

    /// Adds a VirtualService, if it counts within the mesh and not at gateways alone.
    pub fn virtual_service(&mut self, rule: RuleAt<'a>) {
        let mut gateways = rule.spec.get("gateways").and_then(Value::as_array).into_iter().flatten().peekable();
        if gateways.peek().is_some() && !gateways.any(|gateway| gateway == "mesh") {
            return;
        }
        let hosts = rule.spec.get("hosts").and_then(Value::as_array).into_iter().flatten();
        let hosts: BTreeSet<&str> = hosts.filter_map(Value::as_str).collect();
        self.add(VIRTUAL_SERVICE, hosts, rule);
    }

    fn add(&mut self, kind: &'static str, hosts: impl IntoIterator<Item = &'a str>, rule: RuleAt<'a>) {
        let mut digest = None;
        let RuleAt { namespace, name, spec } = rule;
        for host in hosts.into_iter().filter_map(|host| service_host(host, namespace)) {
            let digest = *digest.get_or_insert_with(|| digest_of(&in_one_form(spec, namespace)));
            self.0.entry(Place { kind, host, namespace }).or_default().push(Rule { namespace, name, spec, digest });
        }
    }
}

/// Where clusters have other rules for a Service than the others. Hosts that stay within their cluster are nobody
/// else's business.
pub fn unlike(clusters: &BTreeMap<&str, HostRules<'_>>, stays: impl Fn(&str) -> bool) -> Vec<UnlikeRules> {
    let mut places: BTreeMap<&Place<'_>, BTreeMap<&str, &[Rule<'_>]>> = BTreeMap::new();
    for (cluster, rules) in clusters {
        for (place, rules) in &rules.0 {
            places.entry(place).or_default().insert(cluster, rules);
        }
    }
    let mut found = Vec::new();
    for (place, with) in places {
        if with.len() == clusters.len() && with.values().all(|rules| alike(rules, with.values().next()))
            || stays(&place.host)
        {
            continue;
        }
        let Some(first) = with.values().next().and_then(|rules| rules.first()) else { continue };
        let object = format!("{} {}/{}", place.kind, place.namespace, first.name);
        let mut tell = |how| found.push(UnlikeRules { object: object.clone(), host: place.host.clone(), how });
        if let Some(how) = differing(&with) {
            tell(how);
        }
        let without: BTreeSet<String> =
            clusters.keys().filter(|name| !with.contains_key(*name)).map(|name| (*name).to_owned()).collect();
        if !without.is_empty() {
            tell(Unlike::Missing { with: with.keys().map(|name| (*name).to_owned()).collect(), without });
        }
    }
    found
}

impl Rule<'_> {
    fn in_one_form(&self) -> Value {
        in_one_form(self.spec, self.namespace)
    }
}

fn digests(rules: &[Rule<'_>]) -> Vec<[u8; 32]> {
    let mut digests: Vec<[u8; 32]> = rules.iter().map(|rule| rule.digest).collect();
    digests.sort_unstable();
    digests
}

fn alike(rules: &[Rule<'_>], other: Option<&&[Rule<'_>]>) -> bool {
    other.is_some_and(|other| digests(rules) == digests(other))
}

fn differing(with: &BTreeMap<&str, &[Rule<'_>]>) -> Option<Unlike> {
    let mut groups: BTreeMap<Vec<[u8; 32]>, BTreeSet<String>> = BTreeMap::new();
    for (cluster, rules) in with {
        groups.entry(digests(rules)).or_default().insert((*cluster).to_owned());
    }
    let mut groups: Vec<BTreeSet<String>> = groups.into_values().collect();
    groups.sort();
    let of = |group: Option<&BTreeSet<String>>| with.get(group?.first()?.as_str()).copied();
    let (one, other) = (of(groups.first())?, of(groups.get(1))?);
    let field = match (one, other) {
        ([one], [other]) => first_difference(&one.in_one_form(), &other.in_one_form()),
        _ if one.len() != other.len() => "how many there are".to_owned(),
        _ => "spec".to_owned(),
    };
    Some(Unlike::Field { field, groups })
}

impl fmt::Display for UnlikeRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |clusters: &BTreeSet<String>| clusters.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let (object, host) = (&self.object, shown(&self.host));
        match &self.how {
            Unlike::Field { field, groups } => {
                let groups: Vec<String> = groups.iter().map(list).collect();
                write!(f, "{object} (for {host}) differs between {}: {field}", groups.join(" and "))
            }
            Unlike::Missing { with, without } => {
                write!(f, "{object} (for {host}) is in {}, and missing in {}", list(with), list(without))
            }
        }
    }
}

/// Whether a Service, by name and namespace, may be called by this host.
pub fn is_called(host: &str, name: &str, namespace: &str) -> bool {
    let (pattern, service) = (without_domain(host), format!("{name}.{namespace}.svc"));
    covers(pattern, &service)
}

/// The same for the same content: members are written in order.
fn digest_of(spec: &Value) -> [u8; 32] {
    Sha256::digest(spec.to_string()).into()
}

/// What a rule says, written as any other that means the same: short names completed, and without what is told
/// otherwise, or has no value.
fn in_one_form(spec: &Value, namespace: &str) -> Value {
    let mut spec = without_nulls(spec);
    if let Some(members) = spec.as_object_mut() {
        members.retain(|key, _| !ELSEWHERE.contains(&key.as_str()));
        if let Some(Value::Array(namespaces)) = members.get_mut("exportTo") {
            namespaces.sort_by_key(ToString::to_string);
            namespaces.dedup();
        }
    }
    complete(&mut spec, namespace);
    spec
}

fn complete(value: &mut Value, namespace: &str) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                if let Some(Value::String(host)) = value.get_mut("host").filter(|_| CALLED.contains(&key.as_str()))
                    && let Some(full) = service_host(host, namespace)
                {
                    *host = full;
                }
                complete(value, namespace);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| complete(item, namespace)),
        _ => {}
    }
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let said = members.iter().filter(|(_, value)| !value.is_null());
            said.map(|(key, value)| (key.clone(), without_nulls(value))).collect()
        }
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

/// The path of the first difference, to where users have a say in names.
fn first_difference(one: &Value, other: &Value) -> String {
    let mut path = "spec".to_owned();
    let (mut one, mut other) = (one, other);
    loop {
        let (step, deeper) = match (one, other) {
            (Value::Object(ones), Value::Object(others)) => {
                let keys: BTreeSet<&String> = ones.keys().chain(others.keys()).collect();
                let differs = |key: &&String| ones.get(*key) != others.get(*key);
                let Some(key) = keys.into_iter().find(differs) else { return path };
                (format!(".{}", shown(key)), ones.get(key).zip(others.get(key)))
            }
            (Value::Array(ones), Value::Array(others)) if ones.len() == others.len() => {
                let mut pairs = ones.iter().zip(others).enumerate();
                let Some((at, pair)) = pairs.find(|(_, (one, other))| one != other) else { return path };
                (format!("[{at}]"), Some(pair))
            }
            _ => return path,
        };
        path.push_str(&step);
        match deeper {
            // What lies deeper is no longer told by anybody.
            Some(pair) if path.len() < 120 => (one, other) = pair,
            _ => return path,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A kind, a namespace, a name and a spec.
    type Written = (&'static str, &'static str, &'static str, Value);

    fn told(clusters: &[(&str, Vec<Written>)]) -> Vec<String> {
        let mut seen = BTreeMap::new();
        for (cluster, rules) in clusters {
            let mut of_cluster = HostRules::default();
            for (kind, namespace, name, spec) in rules {
                let rule = RuleAt { namespace, name, spec };
                match *kind {
                    "dr" => of_cluster.destination_rule(rule),
                    _ => of_cluster.virtual_service(rule),
                }
            }
            seen.insert(*cluster, of_cluster);
        }
        let stays = |host: &str| host.contains(".kube-system.");
        unlike(&seen, stays).iter().map(ToString::to_string).collect()
    }

    fn pair(east: &Written, west: &Written) -> Vec<String> {
        told(&[("east", vec![east.clone()]), ("west", vec![west.clone()])])
    }

    #[test]
    fn rules_that_differ_are_told_and_those_that_say_the_same_are_not() {
        let dr = |name: &'static str, host: &str, policy: Value| -> Written {
            ("dr", "shop", name, json!({"host": host, "trafficPolicy": policy}))
        };
        let failover = json!({"outlierDetection": {"consecutive5xxErrors": 5}});
        let full = "web.shop.svc.cluster.local";
        let found = pair(
            &dr("web", "web", failover.clone()),
            &dr("web", "web", json!({"outlierDetection": {"consecutive5xxErrors": 7}})),
        );
        assert_eq!(
            found,
            [
                "DestinationRule shop/web (for web.shop.svc) differs between east and west: spec.trafficPolicy.outlierDetection.consecutive5xxErrors"
            ]
        );
        let found = pair(&dr("web", "web", failover.clone()), &dr("web", "web", json!({})));
        assert!(found[0].ends_with(": spec.trafficPolicy.outlierDetection"), "{found:?}");
        // Another name of the object, a full host, an explicit null and another order say nothing else.
        assert_eq!(
            pair(
                &dr("web", "web", failover.clone()),
                &dr("other", full, json!({"outlierDetection": {"consecutive5xxErrors": 5}, "tls": null}))
            ),
            [""; 0]
        );
        // What is not in the mesh, or stays in its cluster, is no business of others.
        assert_eq!(
            pair(&dr("web", "api.example.com", failover.clone()), &dr("web", "api.example.com", json!({}))),
            [""; 0]
        );
        assert_eq!(
            pair(
                &dr("dns", "dns.kube-system.svc.cluster.local", failover),
                &dr("dns", "dns.kube-system.svc.cluster.local", json!({}))
            ),
            [""; 0]
        );
    }

    #[test]
    fn routes_count_where_they_are_for_the_mesh() {
        let vs = |gateways: Value, weight: i64| -> Written {
            let http = json!([{"route": [{"destination": {"host": "web"}, "weight": weight}]}]);
            ("vs", "shop", "web", json!({"hosts": ["web", "www.example.com"], "gateways": gateways, "http": http}))
        };
        let found = pair(&vs(json!(["mesh"]), 90), &vs(json!(["mesh"]), 10));
        assert_eq!(
            found,
            ["VirtualService shop/web (for web.shop.svc) differs between east and west: spec.http[0].route[0].weight"]
        );
        assert_eq!(pair(&vs(Value::Null, 90), &vs(Value::Null, 10)).len(), 1, "without gateways it is for the mesh");
        assert_eq!(pair(&vs(json!(["ingress"]), 90), &vs(json!(["ingress"]), 10)), [""; 0]);
        assert_eq!(pair(&vs(json!(["mesh"]), 90), &vs(json!(["mesh"]), 90)), [""; 0]);
    }

    #[test]
    fn what_means_the_same_is_written_in_several_ways() {
        let vs = |gateways: Value, to: &str, export: Value| -> Written {
            let http = json!([{"route": [{"destination": {"host": to}}], "mirror": {"host": to}, "mirrors": [{"destination": {"host": to}}]}]);
            ("vs", "shop", "web", json!({"hosts": ["web"], "gateways": gateways, "http": http, "exportTo": export}))
        };
        let plain = vs(Value::Null, "web", json!(["a", "b"]));
        for same in [
            vs(json!(["mesh"]), "web", json!(["b", "a"])),
            vs(json!(["mesh", "ingress/east-gw"]), "web.shop.svc.cluster.local", json!(["a", "b", "a"])),
            vs(json!(["ingress/west-gw", "mesh"]), "WEB.shop.svc.mesh.example", json!(["a", "b"])),
        ] {
            assert_eq!(pair(&plain, &same), [""; 0], "{}", same.3);
        }
        for (unlike, field) in [
            (vs(Value::Null, "web", json!(["a"])), "spec.exportTo"),
            (vs(Value::Null, "db", json!(["a", "b"])), "spec.http[0].mirror.host"),
            (vs(Value::Null, "web.bank.svc.cluster.local", json!(["a", "b"])), "spec.http[0].mirror.host"),
            (vs(Value::Null, "web.example.com", json!(["a", "b"])), "spec.http[0].mirror.host"),
        ] {
            let found = pair(&plain, &unlike);
            assert!(found.len() == 1 && found[0].ends_with(field), "{found:?}");
        }
        // The order of routes decides.
        let routes = |first: &str, second: &str| -> Written {
            let route = |to: &str| json!({"route": [{"destination": {"host": to}}]});
            ("vs", "shop", "web", json!({"hosts": ["web"], "http": [route(first), route(second)]}))
        };
        assert_eq!(pair(&routes("a", "b"), &routes("b", "a")).len(), 1);
    }

    #[test]
    fn a_cluster_may_have_a_domain_of_its_own() {
        let dr = |host: &str, errors: i64| -> Written {
            let policy = json!({"outlierDetection": {"consecutive5xxErrors": errors}});
            ("dr", "shop", "web", json!({"host": host, "trafficPolicy": policy}))
        };
        for host in ["web", "web.shop.svc.cluster.local", "web.shop.svc.mesh.example"] {
            assert_eq!(pair(&dr("web", 5), &dr(host, 5)), [""; 0], "{host}");
            assert_eq!(pair(&dr("web", 5), &dr(host, 7)).len(), 1, "{host}");
        }
        for host in ["mssql.corp.local", "*.corp.local", "web.shop.svc"] {
            assert_eq!(pair(&dr(host, 5), &dr(host, 7)), [""; 0], "{host} is none of the mesh");
        }
        for host in ["*.cluster.local", "*.local", "*", "*.svc.cluster.local", "*.shop.svc.mesh.example"] {
            assert_eq!(pair(&dr(host, 5), &dr(host, 7)).len(), 1, "{host}");
        }
    }

    #[test]
    fn what_some_clusters_lack_is_told_with_those_that_have_it() {
        let rule =
            || -> Written { ("dr", "shop", "web", json!({"host": "web", "trafficPolicy": {"outlierDetection": {}}})) };
        let found = told(&[("east", vec![rule()]), ("north", vec![rule()]), ("west", vec![])]);
        assert_eq!(found, ["DestinationRule shop/web (for web.shop.svc) is in east, north, and missing in west"]);
        assert_eq!(told(&[("east", vec![rule()]), ("north", vec![rule()]), ("west", vec![rule()])]), [""; 0]);
        // Two for one host are one more than one.
        let found = told(&[("east", vec![rule(), rule()]), ("west", vec![rule()])]);
        assert!(found[0].ends_with("how many there are"), "{found:?}");
    }

    #[test]
    fn a_host_calls_the_services_it_names() {
        for (host, called) in [
            ("web.shop.svc.cluster.local", true),
            ("web.bank.svc.cluster.local", false),
            ("db.shop.svc.cluster.local", false),
            ("*.shop.svc.cluster.local", true),
            ("*.bank.svc.cluster.local", false),
            ("*.local", true),
            ("*", true),
        ] {
            assert_eq!(is_called(host, "web", "shop"), called, "{host}");
        }
    }

    #[test]
    fn values_that_tenants_write_are_not_shown() {
        let header = "x\u{1b}[31m-secret-".to_owned() + &"a".repeat(500);
        let vs = |value: &str| -> Written {
            (
                "vs",
                "shop",
                "web",
                json!({"hosts": ["web"], "http": [{"headers": {"request": {"set": {header.clone(): value}}}}]}),
            )
        };
        let found = pair(&vs("password-1"), &vs("password-2"));
        assert_eq!(found.len(), 1);
        assert!(found[0].len() < 300 && !found[0].contains("password") && !found[0].contains('\u{1b}'), "{found:?}");
    }
}
