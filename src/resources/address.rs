//! Where a gateway, or an istiod, can be dialled: the addresses of its Service, as istiod would take them, and, while
//! there are none, why. Pure: live objects in, findings out.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::cluster::{Object, Until, Verdict};
use crate::mesh;
use crate::value::{List, Map, Value};

/// The port number peers dial unless the Service says otherwise.
pub const MTLS_PORT: u16 = 15443;
/// The same for ambient's tunnels.
pub const HBONE_PORT: u16 = 15008;
/// On the Service: another port number than [`MTLS_PORT`].
pub const PORT_LABEL: &str = "networking.istio.io/gatewayPort";
/// On the Service: which nodes' external addresses are the gateway's, where the type is NodePort. A JSON object of
/// labels.
pub const NODE_SELECTOR_ANNOTATION: &str = "traffic.istio.io/nodeSelector";
/// On whatever a controller makes for a Gateway API gateway: the gateway's name.
pub const GATEWAY_NAME_LABEL: &str = "gateway.networking.k8s.io/gateway-name";

/// On whatever a controller makes for a Gateway API gateway: the name of its class.
const CLASS_NAME_LABEL: &str = "gateway.networking.k8s.io/gateway-class-name";

/// Whether a Service is a waypoint's. istiod writes the network onto it, too, and it is no way into that network.
pub fn is_waypoint(service: &Object) -> bool {
    service.label(CLASS_NAME_LABEL).is_some_and(|class| class.contains("waypoint"))
}

/// One way to dial a gateway.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reachable {
    pub address: mesh::Address,
    /// The port peers dial for services: 15443, the Service's own choice, a node port, or 15008 for ambient.
    pub port: u16,
}

/// The addresses istiod takes from `service`, sorted; `nodes` matter for the type NodePort only.
///
/// istiod skips an address it cannot read, and so does this.
pub fn of_service(service: &Object, nodes: &[Object]) -> Vec<Reachable> {
    let wanted = service.label(PORT_LABEL).and_then(|port| port.parse().ok()).unwrap_or(MTLS_PORT);
    let ports = service.items("spec.ports");
    let port = ports.iter().find(|port| number(port, "port") == Some(wanted));
    if service.str("spec.type") == "NodePort"
        && let Some(selector) = service.annotation(NODE_SELECTOR_ANNOTATION)
    {
        let Some(port) = port.and_then(|port| number(port, "nodePort")) else { return Vec::new() };
        return reachable(node_addresses(nodes, selector), port);
    }
    let ingress = service.items("status.loadBalancer.ingress").iter();
    let balanced = ingress.filter_map(|entry| {
        ["ip", "hostname"].iter().find_map(|key| entry.get(key)?.as_str().filter(|text| !text.is_empty()))
    });
    let external = service.items("spec.externalIPs").iter().filter_map(|ip| ip.as_str());
    reachable(balanced.chain(external).map(str::to_owned), wanted)
}

/// The annotations of a live Service that a user would have written: not those of Helm, of kubectl and of this
/// provider.
pub fn annotations(service: &Object) -> Value<Map<String>> {
    const TOOLS: &[&str] = &["meta.helm.sh/", "kubectl.kubernetes.io/", "terraform-provider-mesh/"];
    let of_tools = |key: &str| TOOLS.iter().any(|tool| key.starts_with(tool));
    let annotations = service.annotations().into_iter().filter(|(key, _)| !of_tools(key));
    let annotations: Map<String> =
        annotations.map(|(key, value)| (key.to_owned(), Value::Known(value.to_owned()))).collect();
    if annotations.is_empty() { Value::Null } else { Value::Known(annotations) }
}

/// A list of texts in a live object; null where there is none.
pub fn texts(object: &Object, path: &str) -> Value<List<String>> {
    let texts: List<String> =
        object.items(path).iter().filter_map(|item| Some(Value::Known(item.as_str()?.to_owned()))).collect();
    if texts.is_empty() { Value::Null } else { Value::Known(texts) }
}

/// The addresses of a Gateway API Gateway, which ambient's peers read from its status.
pub fn of_gateway(gateway: &Object) -> Vec<Reachable> {
    let addresses = gateway.items("status.addresses").iter();
    reachable(addresses.filter_map(|entry| Some(entry.get("value")?.as_str()?.to_owned())), HBONE_PORT)
}

/// What is waited for: that other clusters can dial a Service, or an ambient gateway. `nodes` as in [`of_service`].
pub fn until_reachable(nodes: Arc<[Object]>) -> Until {
    Until::new("to have an address that other clusters can dial", move |door| match door {
        None => Verdict::Pending(vec!["it does not exist".to_owned()]),
        Some(door) if door.kind() == "Gateway" && of_gateway(door).is_empty() => {
            Verdict::Pending(vec!["its status has no address".to_owned()])
        }
        Some(door) if door.kind() == "Service" && of_service(door, &nodes).is_empty() => {
            Verdict::Pending(vec!["it has no address".to_owned()])
        }
        Some(_) => Verdict::Ready,
    })
}

fn reachable(addresses: impl IntoIterator<Item = String>, port: u16) -> Vec<Reachable> {
    let unique: BTreeSet<mesh::Address> =
        addresses.into_iter().filter_map(|text| mesh::Address::parse(&text).ok()).collect();
    unique.into_iter().map(|address| Reachable { address, port }).collect()
}

fn node_addresses(nodes: &[Object], selector: &str) -> Vec<String> {
    let Ok(selector) = serde_json::from_str::<std::collections::BTreeMap<String, String>>(selector) else {
        return Vec::new();
    };
    let selected = nodes.iter().filter(|node| selector.iter().all(|(key, value)| node.label(key) == Some(value)));
    let addresses = selected.flat_map(|node| node.items("status.addresses"));
    let external = addresses.filter(|entry| entry.get("type").and_then(|kind| kind.as_str()) == Some("ExternalIP"));
    external.filter_map(|entry| Some(entry.get("address")?.as_str()?.to_owned())).collect()
}

fn number(port: &serde_json::Value, key: &str) -> Option<u16> {
    port.get(key)?.as_u64()?.try_into().ok()
}

/// What is known of a gateway that has no address yet.
#[derive(Debug, Default)]
pub struct Evidence<'a> {
    pub service: Option<&'a Object>,
    /// The attributes that give an address where no load balancer does.
    pub instead: &'a str,
    pub nodes: &'a [Object],
    pub events: &'a [Object],
    pub pods: &'a [Object],
}

/// Why the gateway is not ready, each reason a sentence with the next step, the most telling first.
pub fn reasons(evidence: &Evidence<'_>) -> Vec<String> {
    let mut reasons = Vec::new();
    for pod in evidence.pods {
        reasons.extend(pod_reason(pod));
    }
    if let Some(service) = evidence.service {
        reasons.extend(service_reason(service, evidence.nodes, evidence.instead));
        reasons.extend(service.conditions().filter(|condition| condition.status == "False").map(|condition| {
            format!("the Service's condition {} is False: {} {}", condition.kind, condition.reason, condition.message)
        }));
    }
    let warnings = evidence.events.iter().filter(|event| event.str("type") == "Warning");
    reasons.extend(warnings.map(|event| {
        let about = format!("{} {}", event.str("involvedObject.kind"), event.str("involvedObject.name"));
        format!("event on {about}: {}: {}", event.str("reason"), event.str("message"))
    }));
    let mut seen = BTreeSet::new();
    reasons.retain(|reason| seen.insert(reason.clone()));
    reasons
}

fn service_reason(service: &Object, nodes: &[Object], instead: &str) -> Option<String> {
    if !of_service(service, nodes).is_empty() {
        return None;
    }
    match service.str("spec.type") {
        "LoadBalancer" => Some(match service.str("spec.loadBalancerClass") {
            "" => format!(
                "the cluster's load balancer has given the Service no address: is a cloud controller or a load balancer such as MetalLB \
                 installed, with addresses left? Where there is none, use {instead}"
            ),
            class => format!(
                "no controller has given the Service an address for the load balancer class {class:?}: is the controller of this class \
                 installed, and does it know the class by that name?"
            ),
        }),
        "NodePort" if service.annotation(NODE_SELECTOR_ANNOTATION).is_none() => Some(format!(
            "peers find a gateway of the type NodePort only with the annotation {NODE_SELECTOR_ANNOTATION} on its Service"
        )),
        "NodePort" => Some(
            "no node that the node selector chooses has an external address, so peers cannot dial the node port: see `kubectl get nodes -o wide`"
                .to_owned(),
        ),
        _ => Some("a Service of the type ClusterIP has no address for other clusters unless service.external_ips gives one".to_owned()),
    }
}

fn pod_reason(pod: &Object) -> Option<String> {
    let name = pod.name();
    let containers = pod.items("status.containerStatuses").iter();
    let waiting = containers.filter_map(|status| {
        let waiting = status.get("state")?.get("waiting")?;
        let text = |key: &str| waiting.get(key).and_then(|value| value.as_str()).unwrap_or_default().to_owned();
        Some((text("reason"), text("message")))
    });
    let uninjected = pod
        .items("spec.containers")
        .iter()
        .any(|container| container.get("image").and_then(|image| image.as_str()) == Some("auto"));
    if uninjected {
        return Some(format!(
            "Pod {name} still has the image \"auto\": no istiod injected it. Is the control plane of the gateway's revision running, and its webhook \
             reachable from the API server?"
        ));
    }
    if let Some((reason, message)) =
        waiting.into_iter().find(|(reason, _)| !reason.is_empty() && reason != "ContainerCreating")
    {
        return Some(format!("Pod {name} waits: {reason} {message}").trim_end().to_owned());
    }
    let scheduled = pod.condition("PodScheduled").filter(|condition| condition.status == "False")?;
    Some(format!("Pod {name} cannot be scheduled: {}", scheduled.message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn object(value: Value) -> Object {
        Object::new(value).unwrap()
    }

    fn service(spec: Value, metadata: Value, ingress: Value) -> Object {
        let mut metadata = metadata;
        metadata["name"] = "istio-eastwestgateway".into();
        object(
            json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec, "status": {"loadBalancer": {"ingress": ingress}}}),
        )
    }

    fn shown(found: &[Reachable]) -> Vec<String> {
        found.iter().map(|one| format!("{} {} {}", one.address.kind().as_str(), one.address, one.port)).collect()
    }

    #[test]
    fn load_balancers_give_addresses_names_or_both() {
        let ports = json!([{"port": 15021}, {"port": 15443}]);
        let of = |ingress| {
            shown(&of_service(&service(json!({"type": "LoadBalancer", "ports": ports}), json!({}), ingress), &[]))
        };
        assert_eq!(of(json!([{"ip": "10.0.0.2"}, {"ip": "10.0.0.1"}])), ["ipv4 10.0.0.1 15443", "ipv4 10.0.0.2 15443"]);
        assert_eq!(of(json!([{"hostname": "lb.example.com"}])), ["hostname lb.example.com 15443"]);
        assert_eq!(of(json!([{"ip": "fd00::1", "hostname": "ignored.example.com"}])), ["ipv6 fd00::1 15443"]);
        assert!(of(Value::Null).is_empty());
    }

    #[test]
    fn external_ips_count_for_every_type() {
        let spec = json!({"type": "ClusterIP", "externalIPs": ["192.0.2.7"], "ports": [{"port": 15443}]});
        assert_eq!(shown(&of_service(&service(spec, json!({}), Value::Null), &[])), ["ipv4 192.0.2.7 15443"]);
    }

    #[test]
    fn label_names_another_port() {
        let found = of_service(
            &service(
                json!({"type": "LoadBalancer", "ports": [{"port": 443}]}),
                json!({"labels": {PORT_LABEL: "443"}}),
                json!([{"ip": "10.0.0.1"}]),
            ),
            &[],
        );
        assert_eq!(shown(&found), ["ipv4 10.0.0.1 443"]);
    }

    #[test]
    fn node_ports_are_dialled_at_the_selected_nodes() {
        let node = |name: &str, label: &str, ip: &str| {
            object(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"gateway": label}},
                "status": {"addresses": [{"type": "InternalIP", "address": "10.1.1.1"}, {"type": "ExternalIP", "address": ip}]}}))
        };
        let nodes = [node("a", "yes", "198.51.100.1"), node("b", "no", "198.51.100.2")];
        let spec = json!({"type": "NodePort", "ports": [{"port": 15443, "nodePort": 31443}]});
        let chosen = service(
            spec.clone(),
            json!({"annotations": {NODE_SELECTOR_ANNOTATION: "{\"gateway\":\"yes\"}"}}),
            Value::Null,
        );
        assert_eq!(shown(&of_service(&chosen, &nodes)), ["ipv4 198.51.100.1 31443"]);
        let unmarked = service(spec, json!({}), Value::Null);
        assert!(of_service(&unmarked, &nodes).is_empty());
        assert!(
            reasons(&Evidence { service: Some(&unmarked), nodes: &nodes, ..Evidence::default() })[0]
                .contains(NODE_SELECTOR_ANNOTATION)
        );
    }

    #[test]
    fn a_pending_load_balancer_is_explained_by_class_condition_and_event() {
        let pending = service(
            json!({"type": "LoadBalancer", "loadBalancerClass": "example.com/nlb", "ports": [{"port": 15443}]}),
            json!({}),
            Value::Null,
        );
        let event = object(
            json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "type": "Warning", "reason": "SyncLoadBalancerFailed",
            "message": "quota exceeded", "involvedObject": {"kind": "Service", "name": "istio-eastwestgateway"}}),
        );
        let found = reasons(&Evidence { service: Some(&pending), events: &[event], ..Evidence::default() });
        assert!(found[0].contains("example.com/nlb"), "{found:?}");
        assert_eq!(found[1], "event on Service istio-eastwestgateway: SyncLoadBalancerFailed: quota exceeded");
    }

    #[test]
    fn a_pod_that_nobody_injected_is_named() {
        let pod = object(
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "gw-1"}, "spec": {"containers": [{"image": "auto"}]}}),
        );
        assert!(
            reasons(&Evidence { pods: &[pod], ..Evidence::default() })[0]
                .starts_with("Pod gw-1 still has the image \"auto\"")
        );
    }
}
