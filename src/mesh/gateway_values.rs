//! What an east-west gateway is like: values for Istio's chart `gateway`, and the same for istiod where it makes one.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::name::{Network, Revision};

/// An east-west gateway.
#[derive(Debug, Clone)]
pub struct EastWestGateway {
    /// The network whose door it is; the label by which istiods find it.
    pub network: Network,
    /// The revision that injects and serves it.
    pub revision: Option<Revision>,
    /// How its Service gets an address.
    pub service: GatewayService,
    /// Service ports that differ from the chart's.
    pub ports: GatewayPorts,
    /// Labels added to Service and Pods.
    pub labels: BTreeMap<String, String>,
}

/// The gateway's Service.
#[derive(Debug, Clone, Default)]
pub struct GatewayService {
    /// `LoadBalancer` (the chart's default), `NodePort` or `ClusterIP`.
    pub service_type: Option<String>,
    /// Annotations, for cloud load balancers mostly.
    pub annotations: BTreeMap<String, String>,
    /// `spec.loadBalancerClass`.
    pub load_balancer_class: Option<String>,
    /// `spec.loadBalancerIP`.
    pub load_balancer_ip: Option<String>,
    /// `spec.loadBalancerSourceRanges`.
    pub source_ranges: Vec<String>,
    /// `spec.externalIPs`.
    pub external_ips: Vec<String>,
    /// `spec.externalTrafficPolicy`.
    pub external_traffic_policy: Option<String>,
    /// `spec.ipFamilyPolicy`.
    pub ip_family_policy: Option<String>,
}

/// The Service ports of an east-west gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatewayPorts {
    /// Health checks of load balancers.
    pub status: u16,
    /// Traffic between Services.
    pub tls: u16,
    /// istiod's xDS.
    pub istiod: u16,
    /// istiod's webhook.
    pub webhook: u16,
}

impl Default for GatewayPorts {
    fn default() -> Self {
        Self { status: 15021, tls: 15443, istiod: 15012, webhook: 15017 }
    }
}

impl EastWestGateway {
    /// For the chart `gateway`.
    pub fn values(&self) -> Value {
        let mut values = json!({ "networkGateway": self.network });
        if let Some(revision) = &self.revision {
            values["revision"] = json!(revision);
        }
        let service = self.service.to_values();
        if !service.is_empty() {
            values["service"] = Value::Object(service);
        }
        if self.ports != GatewayPorts::default() {
            let port = |(name, port, target): (&str, u16, u16)| {
                (name.to_owned(), json!({ "port": port, "targetPort": target }))
            };
            values["networkGatewayPorts"] = Value::Object(self.ports.named().map(port).into_iter().collect());
        }
        let labels = self.added_labels();
        if !labels.is_empty() {
            values["labels"] = json!(labels);
        }
        values
    }

    /// Labels of Service and Pods beside those that every gateway has.
    pub(super) fn added_labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.labels.clone();
        if self.ports.tls != GatewayPorts::default().tls {
            labels.insert("networking.istio.io/gatewayPort".into(), self.ports.tls.to_string());
        }
        labels
    }
}

impl GatewayPorts {
    /// Name, port and where it leads: the listeners keep their ports; only what peers dial moves.
    fn named(&self) -> [(&'static str, u16, u16); 4] {
        let usual = GatewayPorts::default();
        [
            ("status-port", self.status, usual.status),
            ("tls", self.tls, usual.tls),
            ("tls-istiod", self.istiod, usual.istiod),
            ("tls-webhook", self.webhook, usual.webhook),
        ]
    }

    /// The ports of the Service, as the chart writes them.
    pub(super) fn of_service(&self) -> [Value; 4] {
        self.named()
            .map(|(name, port, target)| json!({ "name": name, "port": port, "targetPort": target, "protocol": "TCP" }))
    }
}

impl GatewayService {
    /// As the chart takes them, and as a Service spells them but for `annotations`.
    pub(super) fn to_values(&self) -> Map<String, Value> {
        let mut service = Map::new();
        let mut text = |key: &str, value: &Option<String>| {
            if let Some(value) = value {
                service.insert(key.to_owned(), json!(value));
            }
        };
        text("type", &self.service_type);
        text("loadBalancerClass", &self.load_balancer_class);
        text("loadBalancerIP", &self.load_balancer_ip);
        text("externalTrafficPolicy", &self.external_traffic_policy);
        text("ipFamilyPolicy", &self.ip_family_policy);
        if !self.annotations.is_empty() {
            service.insert("annotations".into(), json!(self.annotations));
        }
        if !self.source_ranges.is_empty() {
            service.insert("loadBalancerSourceRanges".into(), json!(self.source_ranges));
        }
        if !self.external_ips.is_empty() {
            service.insert("externalIPs".into(), json!(self.external_ips));
        }
        service
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateway_ports_move_all_four_or_none() {
        let gateway = EastWestGateway {
            network: Network::new("n1").unwrap(),
            revision: None,
            service: GatewayService::default(),
            ports: GatewayPorts::default(),
            labels: BTreeMap::new(),
        };
        assert_eq!(gateway.values(), json!({ "networkGateway": "n1" }));
        let moved = EastWestGateway {
            ports: GatewayPorts { tls: 443, ..GatewayPorts::default() },
            service: GatewayService {
                service_type: Some("NodePort".into()),
                source_ranges: vec!["10.0.0.0/8".into()],
                ..GatewayService::default()
            },
            ..gateway
        };
        let values = moved.values();
        assert_eq!(values["networkGatewayPorts"].as_object().unwrap().len(), 4);
        assert_eq!(values["networkGatewayPorts"]["tls"], json!({ "port": 443, "targetPort": 15443 }));
        assert_eq!(values["labels"], json!({ "networking.istio.io/gatewayPort": "443" }));
        assert_eq!(values["service"], json!({ "type": "NodePort", "loadBalancerSourceRanges": ["10.0.0.0/8"] }));
    }
}
