//! Gateways that let other networks in, whoever made them: servers that pass calls on by their SNI. Istio's own have
//! the mode `AUTO_PASSTHROUGH`; those of the Gateway API have a listener that istiod takes for one. Pure but for one
//! look.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::address::{GATEWAY_NAME_LABEL, MTLS_PORT, PORT_LABEL};
use crate::cluster::{Cluster, Error, Kind, Object, Query};
use crate::mesh::{NETWORK_LABEL, SIDECAR_CLASS};

/// Of the Gateway API: stands for a gateway that istiod cannot watch, so that nothing is made for it.
pub const REMOTE_CLASS: &str = "istio-remote";
/// By this a listener says itself that it passes calls on.
const LISTENER_MODE: &str = "gateway.istio.io/listener-protocol";
const TUNNEL: &str = "HBONE";

pub type Labels = BTreeMap<String, String>;

/// A server that passes calls on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// The Gateway, and the namespace that it is in.
    pub what: String,
    pub namespace: String,
    pub chooses: Chooses,
    pub port: u64,
    pub hosts: Vec<String>,
}

/// Which Pods it configures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chooses {
    /// Those with these labels, in any namespace.
    Pods(Labels),
    /// Those that istiod makes for this Gateway.
    MadeFor { namespace: String, gateway: String },
    /// Those behind these Services, each with its namespace.
    Services(BTreeSet<(String, String)>),
}

/// What a cluster has of them. A cluster without these kinds has none.
pub async fn of_cluster(cluster: &Cluster) -> Result<Vec<Opening>, Error> {
    let (own, api) = (Query::of(Kind::ISTIO_GATEWAY), Query::of(Kind::GATEWAY_API_GATEWAY));
    let (own, api) = tokio::try_join!(cluster.list_if_served(&own), cluster.list_if_served(&api))?;
    Ok(openings(&own).into_iter().chain(openings_of_api(&api)).collect())
}

/// Those of Istio's Gateways.
pub fn openings(gateways: &[Object]) -> Vec<Opening> {
    let of = |gateway: &Object| {
        let (what, selector) = (gateway.to_string(), labels(gateway, "spec.selector"));
        let opening = |server: &Json| Opening {
            what: what.clone(),
            namespace: gateway.namespace().unwrap_or_default().to_owned(),
            chooses: Chooses::Pods(selector.clone()),
            port: server.pointer("/port/number").and_then(Json::as_u64).unwrap_or_default(),
            hosts: hosts_of(server).map(str::to_owned).collect(),
        };
        servers(gateway).map(opening).collect::<Vec<_>>()
    };
    gateways.iter().flat_map(of).collect()
}

/// Those of Gateways of the Gateway API.
pub fn openings_of_api(gateways: &[Object]) -> Vec<Opening> {
    let served = gateways.iter().filter(|gateway| gateway.str("spec.gatewayClassName") != REMOTE_CLASS);
    let of = |gateway: &Object| {
        let passes = |listener: &&Json| {
            is_auto_passthrough(gateway, listener)
                && listener.pointer("/tls/mode").and_then(Json::as_str) == Some("Passthrough")
        };
        let opening = |listener: &Json| Opening {
            what: gateway.to_string(),
            namespace: gateway.namespace().unwrap_or_default().to_owned(),
            chooses: chooses(gateway),
            port: listener.get("port").and_then(Json::as_u64).unwrap_or_default(),
            hosts: vec![listener.get("hostname").and_then(Json::as_str).unwrap_or("*").to_owned()],
        };
        gateway.items("spec.listeners").iter().filter(passes).map(opening).collect::<Vec<_>>()
    };
    served.flat_map(of).collect()
}

/// Whether a Gateway of the Gateway API is by itself a way into its network: istiod reads the addresses that its
/// specification names, for listeners that pass calls on and for tunnels. Where it names none, the Service that is made
/// for it is the way.
pub fn leads(gateway: &Object) -> bool {
    let is_typed = |address: &&Json| {
        matches!(address.get("type").and_then(Json::as_str), Some("IPAddress" | "Hostname"))
            && address.get("value").and_then(Json::as_str).is_some_and(|value| !value.is_empty())
    };
    let takes_calls = |listener: &Json| {
        is_auto_passthrough(gateway, listener) || listener.get("protocol").and_then(Json::as_str) == Some(TUNNEL)
    };
    gateway.label(NETWORK_LABEL).is_some_and(|network| !network.is_empty())
        && gateway.items("spec.addresses").iter().any(|address| is_typed(&address))
        && gateway.items("spec.listeners").iter().any(takes_calls)
}

/// As istiod judges: by the listener's own word, or by the port that other networks dial.
fn is_auto_passthrough(gateway: &Object, listener: &Json) -> bool {
    let Some(tls) = listener.get("tls").filter(|tls| !tls.is_null()) else { return false };
    let says_so = || {
        let options = tls.get("options").and_then(Json::as_object);
        options.and_then(|options| options.get(LISTENER_MODE)?.as_str()) == Some("auto-passthrough")
    };
    let dialled = gateway.label(PORT_LABEL).map_or_else(|| MTLS_PORT.to_string(), str::to_owned);
    let is_dialled = || listener.get("port").and_then(Json::as_u64).is_some_and(|port| port.to_string() == dialled);
    says_so() || (gateway.label(NETWORK_LABEL).is_some() && is_dialled())
}

/// A Gateway that names a Service by its host uses that; for any other, istiod makes Pods.
fn chooses(gateway: &Object) -> Chooses {
    let namespace = gateway.namespace().unwrap_or_default();
    let named = gateway.items("spec.addresses").iter().filter_map(|address| {
        let is_host = address.get("type").and_then(Json::as_str) == Some("Hostname");
        let host = address.get("value").and_then(Json::as_str).filter(|_| is_host)?;
        let mut labels = host.split('.');
        Some((labels.next().filter(|name| !name.is_empty())?.to_owned(), labels.next().unwrap_or(namespace).to_owned()))
    });
    let services: BTreeSet<(String, String)> = named.map(|(name, namespace)| (namespace, name)).collect();
    if services.is_empty() {
        return Chooses::MadeFor { namespace: namespace.to_owned(), gateway: gateway.name().to_owned() };
    }
    Chooses::Services(services)
}

/// A gateway's Service, as those who choose it see it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Chosen {
    pub namespace: String,
    pub name: String,
    /// The Gateway of the Gateway API that it was made for.
    pub made_for: Option<String>,
    /// What the Service chooses its Pods by, and where that was not enough, the labels of each Pod.
    pub selector: Labels,
    pub pods: Vec<Labels>,
}

impl Chosen {
    pub fn of(service: &Object) -> Chosen {
        Chosen {
            namespace: service.namespace().unwrap_or_default().to_owned(),
            name: service.name().to_owned(),
            made_for: service.label(GATEWAY_NAME_LABEL).map(str::to_owned),
            selector: labels(service, "spec.selector"),
            pods: Vec::new(),
        }
    }
}

impl Chooses {
    /// Whether the Pods behind a Service are known to be among them.
    pub fn is_known_to(&self, service: &Chosen) -> bool {
        match self {
            Chooses::Pods(selector) => {
                let all = |labels: &Labels| selector.iter().all(|(key, value)| labels.get(key) == Some(value));
                all(&service.selector) || service.pods.iter().any(all)
            }
            Chooses::MadeFor { namespace, gateway } => {
                *namespace == service.namespace && service.made_for.as_ref() == Some(gateway)
            }
            Chooses::Services(services) => {
                services.iter().any(|(namespace, name)| *namespace == service.namespace && *name == service.name)
            }
        }
    }
}

/// The labels at a path.
pub fn labels(object: &Object, path: &str) -> Labels {
    object.strings(path).into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// The servers of one of Istio's Gateways that pass calls on.
pub fn servers(gateway: &Object) -> impl Iterator<Item = &Json> {
    let servers = gateway.items("spec.servers").iter();
    servers.filter(|server| server.pointer("/tls/mode").is_some_and(|mode| mode == "AUTO_PASSTHROUGH"))
}

/// The hosts of one server, as they are written there: a pattern, or a namespace before it (`shop/*.local`).
pub fn hosts_of(server: &Json) -> impl Iterator<Item = &str> {
    server.get("hosts").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str)
}

/// Of a Gateway of the Gateway API from which istiod makes a gateway for sidecars: its listeners that pass calls on.
pub fn listeners(gateway: &Object) -> impl Iterator<Item = &Json> {
    let is_one = gateway.str("spec.gatewayClassName") == SIDECAR_CLASS;
    gateway.items("spec.listeners").iter().filter(move |listener| is_one && is_auto_passthrough(gateway, listener))
}

/// Whether istiod makes a door between networks of it.
pub fn is_made_of(gateway: &Object) -> bool {
    listeners(gateway).next().is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_gateway_that_passes_on_by_the_sni_lets_services_through() {
        let gateway = |mode: &str| {
            let spec =
                json!({"servers": [{"tls": {"mode": mode}, "hosts": ["*.local", "shop/a.shop.svc.cluster.local"]}]});
            Object::new(json!({"apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": {"name": "g"}, "spec": spec})).unwrap()
        };
        let open = openings(&[gateway("AUTO_PASSTHROUGH")]);
        assert_eq!(open[0].hosts, ["*.local", "shop/a.shop.svc.cluster.local"]);
        assert_eq!(openings(&[gateway("PASSTHROUGH")]), []);
    }

    fn api(class: &str, labels: &Json, addresses: &Json, listener: &Json) -> Object {
        Object::new(json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {"name": "door", "namespace": "istio-system", "labels": labels},
            "spec": {"gatewayClassName": class, "addresses": addresses, "listeners": [listener]},
        }))
        .unwrap()
    }

    fn listener(port: u16, mode: &str, options: &Json) -> Json {
        json!({"name": "l", "port": port, "protocol": "TLS", "hostname": "*.local", "tls": {"mode": mode, "options": options}})
    }

    #[test]
    fn a_listener_passes_calls_on_as_istiod_judges_it() {
        let network = json!({NETWORK_LABEL: "n1"});
        let moved = json!({NETWORK_LABEL: "n1", PORT_LABEL: "15444"});
        let option = json!({LISTENER_MODE: "auto-passthrough"});
        let none = json!({});
        for (class, labels, listener, opens) in [
            ("istio", &network, listener(15443, "Passthrough", &none), true),
            ("istio-east-west", &network, listener(15443, "Passthrough", &none), true),
            ("istio", &moved, listener(15444, "Passthrough", &none), true),
            ("istio", &none, listener(443, "Passthrough", &option), true),
            ("istio", &none, listener(15443, "Passthrough", &none), false),
            ("istio", &network, listener(443, "Passthrough", &none), false),
            ("istio", &moved, listener(15443, "Passthrough", &none), false),
            ("istio", &network, listener(15443, "Terminate", &none), false),
            ("istio-remote", &network, listener(15443, "Passthrough", &none), false),
        ] {
            let found = openings_of_api(&[api(class, labels, &json!([]), &listener)]);
            assert_eq!(
                found.iter().map(|one| one.hosts.len()).sum::<usize>() > 0,
                opens,
                "{class} {labels} {listener}"
            );
        }
    }

    #[test]
    fn a_gateway_of_the_api_configures_what_was_made_for_it_or_what_it_names() {
        let network = json!({NETWORK_LABEL: "n1"});
        let of = |addresses: Json| {
            let gateway = api("istio", &network, &addresses, &listener(15443, "Passthrough", &json!({})));
            openings_of_api(&[gateway]).remove(0).chooses
        };
        let service = |name: &str, made_for: Option<&str>| Chosen {
            namespace: "istio-system".into(),
            name: name.into(),
            made_for: made_for.map(str::to_owned),
            ..Chosen::default()
        };
        let made = of(json!([]));
        assert!(made.is_known_to(&service("door-istio", Some("door"))));
        assert!(!made.is_known_to(&service("door-istio", Some("other"))) && !made.is_known_to(&service("door", None)));
        let elsewhere = Chosen { namespace: "shop".into(), ..service("door-istio", Some("door")) };
        assert!(!made.is_known_to(&elsewhere));
        let named = of(json!([{"type": "Hostname", "value": "gw.istio-system.svc.cluster.local"}]));
        assert!(named.is_known_to(&service("gw", None)) && !named.is_known_to(&service("door-istio", Some("door"))));
    }

    #[test]
    fn a_gateway_of_the_api_leads_by_the_addresses_that_it_names() {
        let (network, passes) = (json!({NETWORK_LABEL: "n1"}), listener(15443, "Passthrough", &json!({})));
        let address = json!([{"type": "IPAddress", "value": "192.0.2.1"}]);
        for (labels, addresses, listener, expected) in [
            (&network, &address, &passes, true),
            (&network, &address, &json!({"port": 15008, "protocol": "HBONE"}), true),
            (&network, &json!([]), &passes, false),
            (&network, &json!([{"value": "192.0.2.1"}]), &passes, false),
            (&network, &address, &listener(443, "Passthrough", &json!({})), false),
            (&json!({}), &address, &passes, false),
        ] {
            assert_eq!(
                leads(&api("istio-remote", labels, addresses, listener)),
                expected,
                "{labels} {addresses} {listener}"
            );
        }
    }
}
