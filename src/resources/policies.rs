//! Policies in a cluster that decide over mTLS. Between networks no call crosses without it, and istiod leaves
//! endpoints that turn it off out in silence; within one network, who speaks plain text is refused by who takes none.
//! Pure but for the lists.

use std::collections::BTreeSet;

use crate::chart::Values;
use crate::cluster::{Cluster, Error, Kind, Object, Query};
use crate::istiod::is_mesh_config_map;
use crate::mesh::{MeshPolicy, service_host};

/// What a cluster has of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policies {
    pub off: Vec<Off>,
    pub strict: Vec<Strict>,
    /// A mesh configuration has proxies speak plain text unless a rule says otherwise.
    pub is_plain: bool,
}

/// A policy that turns mTLS off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Off {
    /// Its kind and name, and what it is for.
    pub what: String,
    pub whom: Whom,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whom {
    Everybody,
    /// Workloads of a namespace, all or some.
    Namespace(String),
    /// Whoever calls this host, which may be a pattern or, within the namespace, a short name.
    Host {
        host: String,
        namespace: String,
    },
}

/// A policy by which workloads take mTLS alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strict {
    pub what: String,
    pub scope: Scope,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// The whole mesh, but for namespaces that say otherwise.
    AllBut(BTreeSet<String>),
    Namespace(String),
}

/// What a cluster has of them, but for rules for hosts that stay within it by all that is known of its mesh
/// configurations. A cluster without these kinds has none; one that does not let them be read is an error.
pub async fn of_cluster(cluster: &Cluster, system: &str, configured: &[MeshPolicy]) -> Result<Policies, Error> {
    let (policies, rules) = (Query::of(Kind::PEER_AUTHENTICATION), Query::of(Kind::DESTINATION_RULE));
    let (policies, rules) = tokio::try_join!(cluster.list_if_served(&policies), cluster.list_if_served(&rules))?;
    let root = root(system, configured);
    let off = policies.iter().filter_map(|policy| turned_off(policy, root));
    let off = off.chain(rules.iter().filter_map(|rule| overrides(rule, configured))).collect();
    Ok(Policies { off, strict: strict(&policies, root), is_plain: configured.iter().any(MeshPolicy::is_plain) })
}

/// What the mesh configurations of a cluster say. For those that are not declared or read otherwise: what policies mean
/// depends on them.
pub async fn configured(cluster: &Cluster, system: &str) -> Result<Vec<MeshPolicy>, Error> {
    Ok(read(&cluster.list(&Query::of(Kind::CONFIG_MAP).namespace(system)).await?))
}

/// The same, of the ConfigMaps of Istio's namespace.
fn read(maps: &[Object]) -> Vec<MeshPolicy> {
    let meshes = maps.iter().filter(|map| is_mesh_config_map(map.name()));
    let meshes = meshes.filter_map(|map| Values::from_yaml(map.strings("data").get("mesh")?).ok());
    meshes.map(|mesh| MeshPolicy::of(mesh.as_map())).collect()
}

/// The namespace whose policies are for the whole mesh: what the mesh configurations say as one, else Istio's.
fn root<'a>(system: &'a str, configured: &'a [MeshPolicy]) -> &'a str {
    let said: BTreeSet<&str> = configured.iter().map(MeshPolicy::root_namespace).collect();
    match (said.first(), said.len()) {
        (Some(one), 1) if !one.is_empty() => one,
        _ => system,
    }
}

/// Policies of callers, and those of who is called, that do not go together, in words: the first speak plain text, or
/// TLS of their own, with workloads that take the mesh's mTLS alone.
pub fn clashes(callers: &[Off], called: &Policies) -> Vec<String> {
    let told = callers.iter().filter_map(|off| {
        // Where the called cluster has the same policy, it counts there before the strict one.
        let is_alike = called.off.iter().any(|other| other.what == off.what);
        let strict = called.strict.iter().find(|strict| strict.concerns(&off.whom)).filter(|_| !is_alike)?;
        Some(format!("{} against {}", off.what, strict.what))
    });
    told.collect()
}

/// The policies that count where nothing more exact is said.
fn strict(policies: &[Object], root: &str) -> Vec<Strict> {
    let for_all = || policies.iter().filter(|policy| policy.get("spec.selector").is_none());
    let mode = |policy: &Object| policy.str("spec.mtls.mode").to_owned();
    let says = |policy: &&Object| !matches!(mode(policy).as_str(), "" | "UNSET");
    let other = for_all().filter(says).filter(|policy| mode(policy) != "STRICT");
    let other: BTreeSet<String> = other.filter_map(|policy| policy.namespace().map(str::to_owned)).collect();
    let strict = for_all().filter(|policy| mode(policy) == "STRICT").map(|policy| {
        let namespace = policy.namespace().unwrap_or_default().to_owned();
        let (of, scope) = match namespace == root {
            true => ("the whole mesh", Scope::AllBut(other.clone())),
            false => ("the whole namespace", Scope::Namespace(namespace.clone())),
        };
        Strict { what: format!("PeerAuthentication {namespace}/{} (STRICT for {of})", policy.name()), scope }
    });
    strict.collect()
}

impl Strict {
    fn concerns(&self, whom: &Whom) -> bool {
        let of_host = |host: &str, namespace: &str| {
            let service = service_host(host, namespace)?;
            let mut labels = service.split('.').skip(1);
            let within = labels.next()?.to_owned();
            (labels.next() == Some("svc")).then_some(within)
        };
        let namespace = match whom {
            Whom::Everybody => None,
            Whom::Namespace(namespace) => Some(namespace.clone()),
            Whom::Host { host, namespace } => of_host(host, namespace),
        };
        match (&self.scope, namespace) {
            (_, None) => true,
            (Scope::AllBut(others), Some(namespace)) => !others.contains(&namespace),
            (Scope::Namespace(own), Some(namespace)) => *own == namespace,
        }
    }
}

impl Off {
    /// Whether it may be the reason that a Service is not called by mTLS.
    pub fn concerns(&self, service: &str) -> bool {
        let mut labels = service.split('.');
        let (name, within) = (labels.next().unwrap_or_default(), labels.next().unwrap_or_default());
        match &self.whom {
            Whom::Everybody => true,
            Whom::Namespace(namespace) => namespace == within,
            Whom::Host { host, namespace } => match host.strip_prefix('*') {
                Some(end) => service.ends_with(end),
                None if !host.contains('.') => host == name && namespace == within,
                None => {
                    service == host || service.strip_prefix(host.as_str()).is_some_and(|rest| rest.starts_with('.'))
                }
            },
        }
    }
}

/// A policy by which somebody takes plain text alone.
fn turned_off(policy: &Object, root: &str) -> Option<Off> {
    let whole = policy.str("spec.mtls.mode") == "DISABLE";
    let ports = policy.get("spec.portLevelMtls").and_then(|ports| ports.as_object());
    let port = ports
        .into_iter()
        .flatten()
        .find(|(_, port)| port.get("mode").and_then(|mode| mode.as_str()) == Some("DISABLE"));
    let namespace = policy.namespace().unwrap_or_default();
    let of = match (policy.get("spec.selector").is_some(), whole, port) {
        (_, false, None) => return None,
        (true, true, _) => "some workloads of the namespace".to_owned(),
        (_, false, Some((port, _))) => format!("port {port} of some workloads"),
        (false, true, _) if namespace == root => "the whole mesh".to_owned(),
        (false, true, _) => "the whole namespace".to_owned(),
    };
    let whole_mesh = namespace == root && policy.get("spec.selector").is_none();
    let whom = if whole_mesh { Whom::Everybody } else { Whom::Namespace(namespace.to_owned()) };
    Some(Off { what: format!("PeerAuthentication {namespace}/{} (for {of})", policy.name()), whom })
}

/// A rule for Services of the mesh by which callers use something else than the mesh's own mTLS.
fn overrides(rule: &Object, configured: &[MeshPolicy]) -> Option<Off> {
    let (host, namespace) = (rule.str("spec.host"), rule.namespace().unwrap_or_default());
    let service = service_host(host, namespace)?;
    let usual = [MeshPolicy::default()];
    let configured = if configured.is_empty() { &usual } else { configured };
    if configured.iter().all(|policy| policy.keeps_within(&service)) {
        return None;
    }
    let mode = modes(rule.get("spec.trafficPolicy"))
        .or_else(|| rule.items("spec.subsets").iter().find_map(|subset| modes(subset.get("trafficPolicy"))))?;
    let what = format!("DestinationRule {namespace}/{} (for {host}: {mode})", rule.name());
    Some(Off { what, whom: Whom::Host { host: host.to_owned(), namespace: namespace.to_owned() } })
}

/// A mode other than the mesh's own, if a traffic policy says one.
fn modes(policy: Option<&serde_json::Value>) -> Option<&str> {
    let policy = policy?;
    let ports = policy.get("portLevelSettings").and_then(|ports| ports.as_array()).into_iter().flatten();
    let mut modes = std::iter::once(policy)
        .chain(ports)
        .filter_map(|one| one.get("tls"))
        .map(|tls| tls.get("mode").and_then(|mode| mode.as_str()).unwrap_or("DISABLE"));
    modes.find(|mode| *mode != "ISTIO_MUTUAL")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(kind: &str, namespace: &str, spec: Value) -> Object {
        let object = json!({"apiVersion": "x/v1", "kind": kind, "metadata": {"name": "n", "namespace": namespace}, "spec": spec});
        Object::new(object).expect("an object")
    }

    #[test]
    fn policies_are_told_by_what_they_are_for() {
        let of =
            |namespace: &str, spec: Value| turned_off(&object("PeerAuthentication", namespace, spec), "istio-system");
        let off = json!({"mode": "DISABLE"});
        for (namespace, spec, told) in [
            ("istio-system", json!({"mtls": off}), Some("PeerAuthentication istio-system/n (for the whole mesh)")),
            ("shop", json!({"mtls": off}), Some("PeerAuthentication shop/n (for the whole namespace)")),
            (
                "shop",
                json!({"selector": {"matchLabels": {"a": "b"}}, "mtls": off}),
                Some("PeerAuthentication shop/n (for some workloads of the namespace)"),
            ),
            (
                "shop",
                json!({"selector": {"matchLabels": {"a": "b"}}, "mtls": {"mode": "STRICT"}, "portLevelMtls": {"8080": off}}),
                Some("PeerAuthentication shop/n (for port 8080 of some workloads)"),
            ),
            ("istio-system", json!({"mtls": {"mode": "STRICT"}}), None),
            ("istio-system", json!({"mtls": {"mode": "PERMISSIVE"}}), None),
            ("istio-system", json!({}), None),
        ] {
            assert_eq!(of(namespace, spec.clone()).map(|off| off.what).as_deref(), told, "{spec}");
        }
    }

    #[test]
    fn rules_for_services_of_the_mesh_are_told_unless_they_keep_its_mtls() {
        let told = |host: &str, policy: Value| {
            overrides(&object("DestinationRule", "shop", json!({"host": host, "trafficPolicy": policy})), &[]).is_some()
        };
        let tls = |mode: &str| json!({"tls": {"mode": mode}});
        for (host, policy, expected) in [
            ("web.shop.svc.cluster.local", tls("DISABLE"), true),
            ("web", tls("SIMPLE"), true),
            ("*.local", json!({"portLevelSettings": [{"port": {"number": 80}, "tls": {"mode": "DISABLE"}}]}), true),
            ("*.local", tls("ISTIO_MUTUAL"), false),
            ("web.shop.svc.cluster.local", json!({"loadBalancer": {}}), false),
            ("api.example.com", tls("SIMPLE"), false),
            // Of another domain, or of Services that never cross.
            ("mssql.corp.local", tls("SIMPLE"), false),
            ("*.corp.local", tls("SIMPLE"), false),
            ("kubernetes.default.svc.cluster.local", tls("DISABLE"), false),
            ("dns.kube-system.svc.cluster.local", tls("DISABLE"), false),
            ("web.shop.svc.mesh.example", tls("DISABLE"), true),
            ("*.svc.cluster.local", tls("DISABLE"), true),
            ("*.shop.svc.cluster.local", tls("DISABLE"), true),
            ("*.cluster.local", tls("DISABLE"), true),
            ("*", tls("DISABLE"), true),
        ] {
            assert_eq!(told(host, policy.clone()), expected, "{host} {policy}");
        }
        let subset = json!({"host": "web", "subsets": [{"name": "a", "trafficPolicy": tls("DISABLE")}]});
        assert!(overrides(&object("DestinationRule", "shop", subset), &[]).is_some());
    }

    #[test]
    fn rules_for_hosts_that_stay_within_a_cluster_matter_to_nobody_else() {
        let spec = json!({"host": "db", "trafficPolicy": {"tls": {"mode": "DISABLE"}}});
        let rule = object("DestinationRule", "shop", spec);
        let local =
            json!({"serviceSettings": [{"settings": {"clusterLocal": true}, "hosts": ["*.shop.svc.cluster.local"]}]});
        let local = MeshPolicy::of(local.as_object().expect("an object"));
        assert_eq!(overrides(&rule, std::slice::from_ref(&local)), None);
        assert!(overrides(&rule, &[local, MeshPolicy::default()]).is_some(), "a canary of which it does not");
        assert!(overrides(&rule, &[]).is_some(), "nothing is known");
    }

    #[test]
    fn plain_text_clashes_with_who_takes_mtls_alone() {
        let peer = |namespace: &str, spec: Value| object("PeerAuthentication", namespace, spec);
        let mode = |mode: &str| json!({"mtls": {"mode": mode}});
        let called = |policies: &[Object]| Policies {
            off: policies.iter().filter_map(|policy| turned_off(policy, "istio-system")).collect(),
            strict: strict(policies, "istio-system"),
            is_plain: false,
        };
        let rule = |host: &str| {
            let spec = json!({"host": host, "trafficPolicy": {"tls": {"mode": "DISABLE"}}});
            overrides(&object("DestinationRule", "shop", spec), &[]).expect("one")
        };
        let off = |namespace: &str| turned_off(&peer(namespace, mode("DISABLE")), "istio-system").expect("one");
        let (all, shop) = (called(&[peer("istio-system", mode("STRICT"))]), called(&[peer("shop", mode("STRICT"))]));
        let but_shop = called(&[peer("istio-system", mode("STRICT")), peer("shop", mode("PERMISSIVE"))]);
        let none = called(&[peer("istio-system", mode("PERMISSIVE")), peer("shop", json!({}))]);
        let some =
            called(&[peer("shop", json!({"selector": {"matchLabels": {"a": "b"}}, "mtls": {"mode": "STRICT"}}))]);
        for (caller, called, clash) in [
            (rule("web.shop.svc.cluster.local"), &all, true),
            (rule("web.shop.svc.cluster.local"), &shop, true),
            (rule("web.bank.svc.cluster.local"), &shop, false),
            (rule("web"), &shop, true),
            (rule("*.shop.svc.cluster.local"), &shop, true),
            (rule("*.local"), &shop, true),
            (rule("web"), &but_shop, false),
            (rule("web.bank.svc.cluster.local"), &but_shop, true),
            (rule("web"), &none, false),
            (rule("web"), &some, false),
            (off("shop"), &all, true),
            (off("shop"), &but_shop, false),
            (off("bank"), &shop, false),
            (off("istio-system"), &shop, true),
        ] {
            let found = clashes(std::slice::from_ref(&caller), called);
            assert_eq!(found.len(), usize::from(clash), "{caller:?} {called:?}: {found:?}");
        }
        assert_eq!(
            clashes(&[rule("web")], &all),
            [
                "DestinationRule shop/n (for web: DISABLE) against PeerAuthentication istio-system/n (STRICT for the whole mesh)"
            ]
        );
        // The mesh has the exception everywhere.
        let picked = json!({"selector": {"matchLabels": {"a": "b"}}, "mtls": {"mode": "DISABLE"}});
        let alike = called(&[peer("istio-system", mode("STRICT")), peer("shop", picked)]);
        assert_eq!(clashes(&alike.off, &alike), [""; 0]);
    }

    #[test]
    fn policies_of_the_configured_root_namespace_are_for_the_whole_mesh() {
        let of = |root: &str| {
            let mesh = json!({ "rootNamespace": root });
            MeshPolicy::of(mesh.as_object().expect("an object"))
        };
        let peer = object("PeerAuthentication", "istio-config", json!({"mtls": {"mode": "STRICT"}}));
        for (configured, is_root) in [
            (vec![of("istio-config")], true),
            (vec![of("istio-config"), of("istio-config")], true),
            (vec![of("istio-config"), of("istio-system")], false),
            (vec![MeshPolicy::default()], false),
            (Vec::new(), false),
        ] {
            let found = strict(std::slice::from_ref(&peer), root("istio-system", &configured));
            assert_eq!(matches!(found[0].scope, Scope::AllBut(_)), is_root, "{configured:?}");
        }
        assert_eq!(root("istio-two", &[]), "istio-two");
    }

    #[test]
    fn a_live_mesh_configuration_counts_as_a_declared_one_does() {
        let map = |name: &str, data: Value| {
            Object::of(&crate::cluster::ObjectRef::namespaced(Kind::CONFIG_MAP, "istio-system", name))
                .with("data", data)
        };
        let mesh = "rootNamespace: istio-config\nenableAutoMtls: false\n";
        let maps = [
            map("istio-canary", json!({ "mesh": mesh })),
            map("istio-leader", json!({})),
            map("shop", json!({ "mesh": "rootNamespace: shop" })),
        ];
        let found = read(&maps);
        assert!(found.len() == 1 && found[0].is_plain(), "{found:?}");
        assert_eq!(root("istio-system", &found), "istio-config");
    }

    #[test]
    fn only_what_is_for_a_service_may_be_its_reason() {
        let service = "web.shop.svc.cluster.local";
        let policy = |namespace: &str| {
            turned_off(&object("PeerAuthentication", namespace, json!({"mtls": {"mode": "DISABLE"}})), "istio-system")
        };
        for (namespace, expected) in [("istio-system", true), ("shop", true), ("other", false)] {
            assert_eq!(policy(namespace).expect("one").concerns(service), expected, "{namespace}");
        }
        let rule = |namespace: &str, host: &str| {
            let spec = json!({"host": host, "trafficPolicy": {"tls": {"mode": "DISABLE"}}});
            overrides(&object("DestinationRule", namespace, spec), &[]).expect("one")
        };
        for (namespace, host, expected) in [
            ("shop", "web", true),
            ("other", "web", false),
            ("other", service, true),
            ("other", "*.local", true),
            ("other", "*.shop.svc.cluster.local", true),
            ("other", "*.bank.svc.cluster.local", false),
            ("shop", "cart.shop.svc.cluster.local", false),
        ] {
            assert_eq!(rule(namespace, host).concerns(service), expected, "{namespace} {host}");
        }
    }
}
