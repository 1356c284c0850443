//! The door of a network of sidecars as a resource of the Gateway API: istiod makes its Deployment and its Service.
//!
//! What it lets through is said by Istio's own Gateways, as for a gateway of the chart: they select its Pods by the
//! same label, and with them those of remote clusters. The one listener that the Gateway API demands lets nothing
//! through.

use serde_json::{Map, Value, json};

use super::gateway_values::{EastWestGateway, GatewayPorts};
use super::name::Namespace;

/// Class of the gateways that istiod makes for sidecars.
pub const SIDECAR_CLASS: &str = "istio";
/// The server name of the listener, which no Service has: `invalid` is kept free by RFC 2606.
pub const NO_SERVICE: &str = "no-service.invalid";
/// On what istiod makes, in place of copies of the Gateway's own annotations: those change with the instance, and with
/// them the Pods would be restarted.
const MADE_FOR: &str = "terraform-provider-mesh/gateway";

/// A Gateway from which istiod makes the door of a network, and what its Service is to be like.
#[derive(Debug, Clone)]
pub struct MadeGateway {
    pub name: String,
    pub namespace: Namespace,
    pub gateway: EastWestGateway,
    /// The label `istio` of the Pods, by which Istio's Gateways select them.
    pub pods_label: String,
    /// Whether remote clusters reach istiod through it.
    pub exposes_istiod: bool,
}

/// What istiod calls the Deployment, the Service and the ServiceAccount that it makes.
pub fn made_name(gateway: &str) -> String {
    format!("{gateway}-{SIDECAR_CLASS}")
}

impl MadeGateway {
    /// The Gateway, and the ConfigMap by which the Service differs from what istiod makes unasked.
    pub fn objects(&self) -> Vec<Value> {
        let service = self.service();
        let mut infrastructure = json!({ "labels": self.labels(), "annotations": { MADE_FOR: self.name } });
        if !service.is_empty() {
            infrastructure["parametersRef"] = json!({ "group": "", "kind": "ConfigMap", "name": self.name });
        }
        let mut labels = json!({ super::NETWORK_LABEL: self.gateway.network });
        if let Some(revision) = &self.gateway.revision {
            labels["istio.io/rev"] = json!(revision);
        }
        let gateway = json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": { "name": self.name, "namespace": self.namespace, "labels": labels },
            "spec": {
                "gatewayClassName": SIDECAR_CLASS,
                "infrastructure": infrastructure,
                "listeners": [{
                    "name": "tls",
                    "hostname": NO_SERVICE,
                    "port": GatewayPorts::default().tls,
                    "protocol": "TLS",
                    "tls": { "mode": "Passthrough", "options": { "gateway.istio.io/listener-protocol": "auto-passthrough" } },
                }],
            },
        });
        let config_map = (!service.is_empty()).then(|| {
            json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": { "name": self.name, "namespace": self.namespace },
                "data": { "service": Value::Object(service).to_string() },
            })
        });
        [gateway].into_iter().chain(config_map).collect()
    }

    /// Of all that istiod makes. It copies the Gateway's own where it is given none, unless it is told not to.
    fn labels(&self) -> Map<String, Value> {
        let mut labels = Map::new();
        labels.insert(super::NETWORK_LABEL.into(), json!(self.gateway.network));
        labels.insert("istio".into(), json!(self.pods_label));
        labels.extend(self.gateway.added_labels().into_iter().map(|(key, value)| (key, json!(value))));
        labels
    }

    /// What is merged into the Service; nothing where it is as istiod makes it.
    pub fn service(&self) -> Map<String, Value> {
        let mut spec = self.gateway.service.to_values();
        let annotations = spec.remove("annotations");
        if self.exposes_istiod || self.gateway.ports != GatewayPorts::default() {
            // All of them, as the chart has them: istiod knows of those alone that listeners name.
            let replaced = json!({ "$patch": "replace" });
            spec.insert("ports".into(), [replaced].into_iter().chain(self.gateway.ports.of_service()).collect());
        }
        let mut service = Map::new();
        if let Some(annotations) = annotations {
            service.insert("metadata".into(), json!({ "annotations": annotations }));
        }
        if !spec.is_empty() {
            service.insert("spec".into(), Value::Object(spec));
        }
        service
    }
}

#[cfg(test)]
mod tests {
    use super::super::gateway_values::GatewayService;
    use super::super::name::{Network, Revision};
    use super::*;

    fn made() -> MadeGateway {
        MadeGateway {
            name: "istio-eastwestgateway".into(),
            namespace: Namespace::new("istio-system").unwrap(),
            gateway: EastWestGateway {
                network: Network::new("n1").unwrap(),
                revision: None,
                service: GatewayService::default(),
                ports: GatewayPorts::default(),
                labels: Default::default(),
            },
            pods_label: "eastwestgateway".into(),
            exposes_istiod: false,
        }
    }

    /// What is merged into the Service.
    fn merged(made: &MadeGateway) -> Value {
        let objects = made.objects();
        let text = objects[1]["data"]["service"].as_str().expect("the Service");
        serde_json::from_str(text).expect("JSON")
    }

    #[test]
    fn istiod_is_told_the_network_and_lets_nothing_through_by_itself() {
        let [gateway] = &made().objects()[..] else { panic!("one object") };
        let spec = &gateway["spec"];
        assert_eq!(spec["gatewayClassName"], "istio");
        let labels = json!({ "topology.istio.io/network": "n1", "istio": "eastwestgateway" });
        assert_eq!(
            spec["infrastructure"]["labels"], labels,
            "peers find the Service by one, Gateways the Pods by the other"
        );
        assert_eq!(spec["infrastructure"].get("parametersRef"), None);
        let listener = &spec["listeners"][0];
        assert_eq!((&listener["port"], &listener["hostname"]), (&json!(15443), &json!("no-service.invalid")));
        assert_eq!(gateway["metadata"]["labels"], json!({ "topology.istio.io/network": "n1" }));
        let revision = Revision::new("canary").ok();
        let of_revision = MadeGateway { gateway: EastWestGateway { revision, ..made().gateway }, ..made() };
        assert_eq!(of_revision.objects()[0]["metadata"]["labels"]["istio.io/rev"], "canary");
    }

    #[test]
    fn the_service_is_as_it_is_asked_for() {
        let service = GatewayService {
            service_type: Some("LoadBalancer".into()),
            annotations: [("cloud/internal".to_owned(), "true".to_owned())].into(),
            source_ranges: vec!["10.0.0.0/8".into()],
            ..GatewayService::default()
        };
        let private = MadeGateway { gateway: EastWestGateway { service, ..made().gateway }, ..made() };
        let spec = json!({ "type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0/8"] });
        assert_eq!(
            merged(&private),
            json!({ "metadata": { "annotations": { "cloud/internal": "true" } }, "spec": spec })
        );
        let parameters = &private.objects()[0]["spec"]["infrastructure"]["parametersRef"];
        assert_eq!(*parameters, json!({ "group": "", "kind": "ConfigMap", "name": "istio-eastwestgateway" }));
    }

    #[test]
    fn the_service_has_the_ports_of_the_chart_where_istiod_or_another_number_asks_for_them() {
        let numbers = |made: &MadeGateway| -> Vec<(Value, Value)> {
            let ports = merged(made)["spec"]["ports"].as_array().expect("ports").clone();
            assert_eq!(ports[0], json!({ "$patch": "replace" }));
            ports[1..].iter().map(|port| (port["port"].clone(), port["targetPort"].clone())).collect()
        };
        let same = [15021, 15443, 15012, 15017].map(|port| (json!(port), json!(port)));
        assert_eq!(numbers(&MadeGateway { exposes_istiod: true, ..made() }), same);
        let ports = GatewayPorts { tls: 443, ..GatewayPorts::default() };
        let moved = MadeGateway { gateway: EastWestGateway { ports, ..made().gateway }, ..made() };
        assert_eq!(numbers(&moved)[1], (json!(443), json!(15443)));
        let labels = &moved.objects()[0]["spec"]["infrastructure"]["labels"];
        assert_eq!(labels["networking.istio.io/gatewayPort"], "443");
    }
}
