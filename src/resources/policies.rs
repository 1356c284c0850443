//! Policies in a cluster that turn mTLS off: between networks no call crosses without it, and istiod leaves such
//! endpoints out in silence. Pure but for the two lists.

use crate::cluster::{Cluster, Error, Kind, Object, Query};
use crate::mesh::{MeshPolicy, service_host};

/// A policy that turns mTLS off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Off {
    /// Its kind and name, and what it is for.
    pub what: String,
    whom: Whom,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Whom {
    Everybody,
    /// Workloads of a namespace, all or some.
    Namespace(String),
    /// Whoever calls this host, which may be a pattern or, within the namespace, a short name.
    Host {
        host: String,
        namespace: String,
    },
}

/// What a cluster has of them, beside rules for hosts that stay within it by all that is known of its mesh
/// configurations. A cluster without these kinds has none; one that does not let them be read is an error.
pub async fn off(cluster: &Cluster, system: &str, configured: &[MeshPolicy]) -> Result<Vec<Off>, Error> {
    let (policies, rules) = (Query::of(Kind::PEER_AUTHENTICATION), Query::of(Kind::DESTINATION_RULE));
    let (policies, rules) = tokio::try_join!(cluster.list_if_served(&policies), cluster.list_if_served(&rules))?;
    let policies = policies.iter().filter_map(|policy| turned_off(policy, system));
    Ok(policies.chain(rules.iter().filter_map(|rule| overrides(rule, configured))).collect())
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
fn turned_off(policy: &Object, system: &str) -> Option<Off> {
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
        (false, true, _) if namespace == system => "the whole mesh".to_owned(),
        (false, true, _) => "the whole namespace".to_owned(),
    };
    let whole_mesh = namespace == system && policy.get("spec.selector").is_none();
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
