//! Why a Service of a cluster is not reached: its objects there, its gateway, policies. Asked only when something is
//! wrong, or when an address does not answer.

use super::caller::{KnownGateway, Look};
use super::judge::{Asked, GatewayState, ServiceState, There};
use crate::cluster::{Cluster, Error, Kind, Object, ObjectRef, PodPort, Query};
use crate::mesh::{NETWORK_LABEL, Sni, hosts_admit};
use crate::resources::address;
use crate::resources::passthrough;
use crate::resources::policies;

/// On an injected Pod.
const TLS_MODE_LABEL: &str = "security.istio.io/tlsMode";

/// Looks at everything that may be the reason.
pub(super) async fn there(to: &Look, namespace: &str, service: &Sni, gateway: Option<&KnownGateway>) -> There {
    let (state, gateway, exposed, off) = tokio::join!(
        service_state(&to.cluster, service),
        async {
            match gateway {
                Some(known) => gateway_state(&to.cluster, known).await,
                None => Ok(GatewayState::Elsewhere),
            }
        },
        exposed(&to.cluster, service),
        off(&to.cluster, namespace, service.host.as_str()),
    );
    There { service: state, gateway, exposed, off }
}

fn text(error: Error) -> String {
    error.to_string()
}

/// Policies of a cluster that may turn mTLS off for the host.
pub(super) async fn off(cluster: &Cluster, namespace: &str, host: &str) -> Asked<Vec<String>> {
    let found = policies::off(cluster, namespace, &[]).await.map_err(text)?;
    Ok(found.into_iter().filter(|policy| policy.concerns(host)).map(|policy| policy.what).collect())
}

/// A Service by the name that callers know, if it is a Service's.
fn named(host: &str) -> Option<ObjectRef> {
    let mut labels = host.splitn(4, '.');
    match (labels.next()?, labels.next()?, labels.next()?) {
        (name, namespace, "svc") => Some(ObjectRef::namespaced(Kind::SERVICE, namespace, name)),
        _ => None,
    }
}

pub(super) async fn service_state(cluster: &Cluster, service: &Sni) -> Asked<ServiceState> {
    let Some(reference) = named(service.host.as_str()) else { return Ok(ServiceState::Other) };
    let asked = service.port;
    let Some(service) = cluster.get(&reference).await.map_err(text)? else { return Ok(ServiceState::Missing) };
    let ports = service.items("spec.ports").iter().filter_map(|port| port.get("port")?.as_u64());
    let ports: Vec<u16> = ports.filter_map(|port| port.try_into().ok()).collect();
    if !ports.contains(&asked) {
        return Ok(ServiceState::Ports(ports));
    }
    let pods = pods_of(cluster, &service).await?;
    let ready = pods.iter().filter(|pod| is_ready(pod));
    let (mut any, mut injected) = (false, false);
    for pod in ready {
        any = true;
        injected |= pod.label(TLS_MODE_LABEL) == Some("istio");
    }
    Ok(match (service.strings("spec.selector").is_empty(), any, injected) {
        (true, ..) => ServiceState::Other,
        (_, false, _) => ServiceState::NoPods,
        (_, true, false) => ServiceState::NoSidecar,
        _ => ServiceState::Ready,
    })
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
    let of_network = || services.iter().filter(|service| service.label(NETWORK_LABEL) == Some(&known.network));
    let has_address = |service: &&Object| {
        let found = address::of_service(service, &[]);
        found.iter().any(|one| one.address.to_string() == known.address && one.port == known.port)
    };
    // An address that was looked up by name, or that of a node, is on none: then any of the network's.
    let Some(service) = of_network().find(has_address).or_else(|| of_network().next()) else {
        return Ok(GatewayState::Elsewhere);
    };
    if service.strings("spec.selector").is_empty() {
        return Ok(GatewayState::Elsewhere);
    }
    let pods = pods_of(cluster, service).await?;
    let Some(pod) = pods.iter().find(|pod| is_ready(pod)) else {
        return Ok(GatewayState::NotReady { service: service.to_string(), pods: pods.len() });
    };
    let namespace = service.namespace().unwrap_or_default().to_owned();
    let port = target_port(service, pod, known.port);
    Ok(GatewayState::Ready(PodPort { namespace, pod: pod.name().to_owned(), port }))
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

/// Whether any Gateway passes calls on by their SNI; those of a cluster without istiod are elsewhere.
pub(super) async fn passes_on(cluster: &Cluster, elsewhere: bool) -> Asked<bool> {
    if elsewhere {
        return Ok(true);
    }
    let gateways = cluster.list_if_served(&Query::of(Kind::ISTIO_GATEWAY)).await.map_err(text)?;
    Ok(gateways.iter().any(passthrough::is_open))
}

/// Whether a Gateway there lets the host through by its SNI.
async fn exposed(cluster: &Cluster, service: &Sni) -> Asked<bool> {
    let gateways = cluster.list_if_served(&Query::of(Kind::ISTIO_GATEWAY)).await.map_err(text)?;
    let hosts: Vec<String> = gateways.iter().flat_map(passthrough::hosts).map(str::to_owned).collect();
    Ok(hosts_admit(&hosts, service))
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
    fn only_names_of_services_are_looked_up() {
        assert!(named("cart.shop.svc.cluster.local").is_some_and(|named| named.name == "cart"));
        assert!(named("api.example.com").is_none() && named("cart").is_none());
    }
}
