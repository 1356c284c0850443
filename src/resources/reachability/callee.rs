//! Why a Service of a cluster is not reached: its objects there, its gateway, policies. Asked only when something is
//! wrong, or when an address does not answer.

use super::judge::{Asked, GatewayState, Names, ServiceState, There};
use super::look::Look;
use super::places::Ruled;
use super::route::KnownGateway;
use crate::cluster::{Cluster, Error, Kind, Object, ObjectRef, PodPort, Query};
use crate::mesh::{NETWORK_LABEL, Sni, hosts_admit};
use crate::resources::address;
use crate::resources::passthrough::Opening;
use crate::resources::policies::{self, Policies, Whom};

/// On an injected Pod.
const TLS_MODE_LABEL: &str = "security.istio.io/tlsMode";
/// On a Pod whose calls ztunnel takes.
const REDIRECTION: &str = "ambient.istio.io/redirection";

/// Which clusters say what. Gateways, and policies, count where the istiod reads its configuration that serves those
/// they are for; `None` where that is not among the clusters looked at.
pub(super) struct Asking<'a> {
    /// The one that is called.
    pub to: &'a Look,
    /// The one that the gateway is in.
    pub behind: &'a Look,
    pub opened_in: Option<Ruled<'a>>,
    pub ruled_in: Option<Ruled<'a>>,
}

/// What a message calls them.
pub(super) fn names(behind: &Look, opened_in: Option<Ruled<'_>>) -> Names {
    let opened_in = opened_in.map_or(behind, |ruled| ruled.by);
    Names { gateway: behind.name().to_owned(), opened_in: opened_in.name().to_owned() }
}

/// Looks at everything that may be the reason.
pub(super) async fn there(asking: Asking<'_>, service: &Sni, gateway: Option<&KnownGateway>) -> There {
    let Asking { to, behind, opened_in, ruled_in } = asking;
    let ((state, port_name), gateway, exposed, policies) = tokio::join!(
        service_state(&to.cluster, service),
        async {
            match gateway {
                Some(known) => gateway_state(&behind.cluster, known).await,
                None => Ok(GatewayState::Elsewhere),
            }
        },
        exposed(opened_in, service),
        policies_of(ruled_in),
    );
    let host = service.host.as_str();
    let plain_text = policies.as_ref().map(|policies| policies.plain_text(&called(host))).map_err(Clone::clone);
    let off = policies.map(|policies| turning_off(policies, host));
    let ruled_in = ruled_in.map_or(to, |ruled| ruled.by).name().to_owned();
    There { service: state, port_name, gateway, exposed, off, plain_text, places: names(behind, opened_in), ruled_in }
}

/// The istiod that serves it may be of a cluster that is not among the provider's.
fn not_among(what: &str) -> String {
    format!(
        "{what} are read in the cluster of the control plane that serves it, which is none of the provider's `clusters`"
    )
}

fn text(error: Error) -> String {
    error.to_string()
}

/// Policies of a cluster that may turn mTLS off for the host.
pub(super) async fn off(ruled_in: Option<Ruled<'_>>, host: &str) -> Asked<Vec<String>> {
    Ok(turning_off(policies_of(ruled_in).await?, host))
}

/// Whether a rule has clients speak mTLS with the host, whatever their mesh configuration says.
pub(super) async fn is_mutual(ruled_in: Option<Ruled<'_>>, host: &str) -> Asked<bool> {
    Ok(policies_of(ruled_in).await?.is_mutual_with(host))
}

async fn policies_of(ruled_in: Option<Ruled<'_>>) -> Asked<Policies> {
    let Ruled { by, host: istiod } = ruled_in.ok_or_else(|| not_among("policies"))?;
    policies::live(&istiod.cluster, &by.cluster, &istiod.namespace).await.map_err(text)
}

fn turning_off(policies: Policies, host: &str) -> Vec<String> {
    policies.off.into_iter().filter(|policy| policy.concerns(host)).map(|policy| policy.what).collect()
}

/// Whom policies mean by a host.
fn called(host: &str) -> Whom {
    Whom::Host { host: host.to_owned(), namespace: String::new() }
}

/// A Service by the name that callers know, if it is a Service's.
fn named(host: &str) -> Option<ObjectRef> {
    let mut labels = host.splitn(4, '.');
    match (labels.next()?, labels.next()?, labels.next()?) {
        (name, namespace, "svc") => Some(ObjectRef::namespaced(Kind::SERVICE, namespace, name)),
        _ => None,
    }
}

/// What there is of a Service, and what it calls the port, where that is known.
pub(super) async fn service_state(cluster: &Cluster, service: &Sni) -> (Asked<ServiceState>, Option<String>) {
    let Some(reference) = named(service.host.as_str()) else { return (Ok(ServiceState::Other), None) };
    match cluster.get(&reference).await {
        Err(error) => (Err(text(error)), None),
        Ok(None) => (Ok(ServiceState::Missing), None),
        Ok(Some(found)) => (state_of(cluster, &found, service.port).await, port_name(&found, service.port)),
    }
}

/// Where a Service has one port, that may have no name.
fn port_name(service: &Object, asked: u16) -> Option<String> {
    let port = service.items("spec.ports").iter().find(|port| port["port"].as_u64() == Some(asked.into()))?;
    Some(port["name"].as_str().unwrap_or_default().to_owned())
}

async fn state_of(cluster: &Cluster, service: &Object, asked: u16) -> Asked<ServiceState> {
    let ports = service.items("spec.ports").iter().filter_map(|port| port.get("port")?.as_u64());
    let ports: Vec<u16> = ports.filter_map(|port| port.try_into().ok()).collect();
    if !ports.contains(&asked) {
        return Ok(ServiceState::Ports(ports));
    }
    let pods = pods_of(cluster, service).await?;
    let ready: Vec<&Object> = pods.iter().filter(|pod| is_ready(pod)).collect();
    Ok(match proxied(&ready) {
        _ if service.strings("spec.selector").is_empty() => ServiceState::Other,
        _ if ready.is_empty() => ServiceState::NoPods,
        Proxied::No => ServiceState::NoSidecar,
        Proxied::ByZtunnel => ServiceState::Tunnelled,
        Proxied::BySidecar if service.str("spec.internalTrafficPolicy") == "Local" => ServiceState::NodeLocal,
        Proxied::BySidecar => ServiceState::Ready,
    })
}

/// By whom calls to Pods are taken.
#[derive(Debug, PartialEq, Eq)]
enum Proxied {
    No,
    BySidecar,
    ByZtunnel,
}

/// One with a sidecar counts before all others: callers reach it.
fn proxied(pods: &[&Object]) -> Proxied {
    if pods.iter().any(|pod| pod.label(TLS_MODE_LABEL) == Some("istio")) {
        return Proxied::BySidecar;
    }
    match pods.iter().any(|pod| pod.annotation(REDIRECTION) == Some("enabled")) {
        true => Proxied::ByZtunnel,
        false => Proxied::No,
    }
}

/// Whether the Service has no cluster IP: by the caller's cluster, or where it is not there, by the one that is called.
pub(super) async fn is_headless(from: &Cluster, to: &Cluster, service: &Sni) -> Asked<bool> {
    let Some(reference) = named(service.host.as_str()) else { return Ok(false) };
    let service = match from.get(&reference).await.map_err(text)? {
        None => to.get(&reference).await.map_err(text)?,
        own => own,
    };
    Ok(service.is_some_and(|service| service.str("spec.clusterIP") == "None"))
}

fn is_ready(pod: &Object) -> bool {
    !pod.is_terminating() && pod.condition("Ready").is_some_and(|ready| ready.is_true())
}

async fn pods_of(cluster: &Cluster, service: &Object) -> Asked<Vec<Object>> {
    let selector = service.strings("spec.selector");
    if selector.is_empty() {
        return Ok(Vec::new());
    }
    let query = Query::of(Kind::POD).namespace(service.namespace().unwrap_or_default());
    let query = selector.iter().fold(query, |query, (key, value)| query.label(key, value));
    Ok(cluster.list_now(&query).await.map_err(text)?.to_vec())
}

/// The Service whose address it is, and a Pod behind it.
pub(super) async fn gateway_state(cluster: &Cluster, known: &KnownGateway) -> Asked<GatewayState> {
    let services = cluster.list(&Query::of(Kind::SERVICE).selector(NETWORK_LABEL)).await.map_err(text)?;
    let doors = || services.iter().filter(|service| !address::is_waypoint(service));
    let of_network = || doors().filter(|service| service.label(NETWORK_LABEL) == Some(&known.network));
    // An address that was looked up by name, or that of a node, is on none: then any of the network's.
    let labelled = of_network().find(|service| is_at(service, known)).or_else(|| of_network().next()).cloned();
    let service = match labelled {
        // What the mesh configuration lists may be any Service.
        None if known.cluster.is_empty() => {
            let all = cluster.list(&Query::of(Kind::SERVICE)).await.map_err(text)?;
            all.iter().find(|service| is_at(service, known)).cloned()
        }
        labelled => labelled,
    };
    let Some(service) = service.filter(|service| !service.strings("spec.selector").is_empty()) else {
        return Ok(GatewayState::Elsewhere);
    };
    let pods = pods_of(cluster, &service).await?;
    let Some(pod) = pods.iter().find(|pod| is_ready(pod)) else {
        return Ok(GatewayState::NotReady { service: service.to_string(), pods: pods.len() });
    };
    let namespace = service.namespace().unwrap_or_default().to_owned();
    let port = target_port(&service, pod, known.port);
    Ok(GatewayState::Ready(PodPort { namespace, pod: pod.name().to_owned(), port }))
}

/// Whether a Service has the address, and the port.
fn is_at(service: &Object, known: &KnownGateway) -> bool {
    let number = |port: &serde_json::Value| port.get("port").and_then(serde_json::Value::as_u64);
    let has_port = service.items("spec.ports").iter().any(|port| number(port) == Some(known.port.into()));
    let found = address::of_service(service, &[]);
    has_port && found.iter().any(|one| one.address.to_string() == known.address)
}

/// Where a port of the Service leads in the Pod.
fn target_port(service: &Object, pod: &Object, port: u16) -> u16 {
    let of = |entry: &serde_json::Value, key: &str| entry.get(key).and_then(|port| port.as_u64()?.try_into().ok());
    let ports = service.items("spec.ports");
    let entry = ports.iter().find(|entry| of(entry, "port") == Some(port) || of(entry, "nodePort") == Some(port));
    let Some(target) = entry.and_then(|entry| entry.get("targetPort")) else { return port };
    let by_name = || {
        let containers = pod.items("spec.containers").iter();
        let mut ports = containers.filter_map(|container| container.get("ports")?.as_array()).flatten();
        ports.find(|port| port.get("name") == Some(target)).and_then(|port| of(port, "containerPort"))
    };
    target.as_u64().and_then(|port| port.try_into().ok()).or_else(by_name).unwrap_or(port)
}

/// Whether any Gateway passes calls on by their SNI.
pub(super) async fn passes_on(opened_in: Option<Ruled<'_>>) -> Asked<bool> {
    Ok(!openings(opened_in).await?.is_empty())
}

/// Whether a Gateway there lets the host through by its SNI.
async fn exposed(opened_in: Option<Ruled<'_>>, service: &Sni) -> Asked<bool> {
    let hosts: Vec<String> = openings(opened_in).await?.into_iter().flat_map(|opening| opening.hosts).collect();
    Ok(hosts_admit(&hosts, service))
}

async fn openings(opened_in: Option<Ruled<'_>>) -> Asked<Vec<Opening>> {
    let Ruled { by, host: istiod } = opened_in.ok_or_else(|| not_among("Gateways"))?;
    let looks_into = policies::looks_into(&istiod.cluster, &istiod.namespace).await.map_err(text)?;
    policies::openings(&by.cluster, &looks_into).await.map_err(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_service_s_port_is_found_in_the_pod_by_number_and_by_name() {
        let service = |target: serde_json::Value| {
            let spec = json!({"ports": [{"port": 15443, "nodePort": 31443, "targetPort": target}]});
            Object::new(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "g"}, "spec": spec}))
                .unwrap()
        };
        let spec = json!({"containers": [{"ports": [{"name": "tls", "containerPort": 8443}]}]});
        let pod =
            Object::new(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "g"}, "spec": spec})).unwrap();
        for (target, dialled, expected) in [
            (json!(15443), 15443, 15443),
            (json!("tls"), 15443, 8443),
            (json!(9443), 31443, 9443),
            (json!(1), 15008, 15008),
        ] {
            assert_eq!(target_port(&service(target.clone()), &pod, dialled), expected, "{target} {dialled}");
        }
    }

    #[test]
    fn a_service_is_at_the_address_and_port_that_clients_are_told() {
        let service = |port: u16| {
            let spec = json!({"type": "LoadBalancer", "ports": [{"port": port}]});
            let status = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}});
            let all = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "g"}, "spec": spec, "status": status});
            Object::new(all).unwrap()
        };
        let known = |address: &str| KnownGateway {
            network: "n2".into(),
            cluster: String::new(),
            address: address.into(),
            port: 8443,
        };
        assert!(is_at(&service(8443), &known("192.0.2.7")));
        assert!(!is_at(&service(15443), &known("192.0.2.7")) && !is_at(&service(8443), &known("192.0.2.8")));
    }

    #[test]
    fn a_pod_of_ambient_mode_is_told_from_one_without_a_proxy() {
        let pod = |labels: serde_json::Value, annotations: serde_json::Value| {
            let metadata = json!({"name": "p", "labels": labels, "annotations": annotations});
            Object::new(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata})).unwrap()
        };
        let bare = pod(json!({}), json!({}));
        let ambient = pod(json!({}), json!({"ambient.istio.io/redirection": "enabled"}));
        let sidecar = pod(json!({"security.istio.io/tlsMode": "istio"}), json!({}));
        assert_eq!(proxied(&[&bare]), Proxied::No);
        assert_eq!(proxied(&[&pod(json!({}), json!({"ambient.istio.io/redirection": "disabled"}))]), Proxied::No);
        assert_eq!(proxied(&[&bare, &ambient]), Proxied::ByZtunnel);
        assert_eq!(proxied(&[&ambient, &sidecar]), Proxied::BySidecar);
    }

    #[test]
    fn only_names_of_services_are_looked_up() {
        assert!(named("cart.shop.svc.cluster.local").is_some_and(|named| named.name == "cart"));
        assert!(named("api.example.com").is_none() && named("cart").is_none());
    }
}
