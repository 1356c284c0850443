//! Whether who dials a gateway is let through: where its Service's port leads, and which Gateways choose its Pods and
//! listen there. Pure.

use crate::cluster::Object;
use crate::resources::address::{MTLS_PORT, PORT_LABEL};
use crate::resources::passthrough::{self, Chooses, Chosen, Opening};

/// A gateway's Service, and what is behind its port.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Door {
    /// The port that other networks dial.
    pub port: u64,
    /// All ports of the Service.
    pub ports: Vec<u64>,
    /// The port of the Pods that it leads to.
    pub target: Option<u64>,
    pub service: Chosen,
    /// Where it was made for a Gateway of the Gateway API: an istiod that is older than 1.31, or may be, takes
    /// Gateways of other namespaces for it as well.
    pub merges: bool,
}

/// Why nobody is let through.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shut {
    /// The Service lacks the port; those it has.
    NoPort(Vec<u64>),
    /// The port leads to no port of a ready Pod.
    NoTarget,
    /// No Gateway passes calls on.
    Unopened,
    /// These do, and choose other Pods.
    NotChosen(Vec<String>),
    /// These do, and are of another namespace than what istiod made.
    Apart(Vec<String>),
    /// Those that choose the Pods listen at other ports.
    OtherPorts(Vec<u64>),
}

impl Door {
    /// The Service's side, by its EndpointSlices.
    pub fn of(service: &Object, slices: &[Object]) -> Door {
        let port = service.label(PORT_LABEL).and_then(|port| port.parse().ok()).unwrap_or(u64::from(MTLS_PORT));
        let number = |entry: &serde_json::Value| entry.get("port").and_then(serde_json::Value::as_u64);
        let ports = service.items("spec.ports");
        let own = ports.iter().find(|entry| number(entry) == Some(port));
        let name =
            |entry: &serde_json::Value| entry.get("name").and_then(|name| name.as_str()).unwrap_or("").to_owned();
        let ready = slices.iter().filter(|slice| slice.items("endpoints").iter().any(is_ready));
        let mut told = ready.flat_map(|slice| slice.items("ports"));
        let target = own.and_then(|own| told.find(|entry| name(entry) == name(own)).and_then(number));
        Door {
            port,
            ports: ports.iter().filter_map(number).collect(),
            target,
            service: Chosen::of(service),
            merges: false,
        }
    }

    pub fn with_pods(mut self, pods: &[Object]) -> Door {
        self.service.pods = pods.iter().map(|pod| passthrough::labels(pod, "metadata.labels")).collect();
        self
    }

    /// Whether the Gateway is known to choose the Pods behind the Service.
    pub fn is_chosen_by(&self, opening: &Opening) -> bool {
        opening.chooses.is_known_to(&self.service) && !self.is_apart(opening)
    }

    /// What istiod makes for a Gateway takes no other of Istio's Gateways than those of its namespace.
    fn is_apart(&self, opening: &Opening) -> bool {
        let is_made = self.service.made_for.is_some() && !self.merges;
        is_made && matches!(opening.chooses, Chooses::Pods(_)) && opening.namespace != self.service.namespace
    }

    /// The hosts that are let through.
    pub fn judged(&self, openings: &[Opening]) -> Result<Vec<String>, Shut> {
        if !self.ports.contains(&self.port) {
            return Err(Shut::NoPort(self.ports.clone()));
        }
        let target = self.target.ok_or(Shut::NoTarget)?;
        if openings.is_empty() {
            return Err(Shut::Unopened);
        }
        let choosing: Vec<&Opening> = openings.iter().filter(|opening| self.is_chosen_by(opening)).collect();
        let is_one_apart = |opening: &&Opening| opening.chooses.is_known_to(&self.service) && self.is_apart(opening);
        let apart = sorted(openings.iter().filter(is_one_apart).map(|opening| opening.what.clone()));
        if choosing.is_empty() && !apart.is_empty() {
            return Err(Shut::Apart(apart));
        }
        if choosing.is_empty() {
            return Err(Shut::NotChosen(sorted(openings.iter().map(|opening| opening.what.clone()))));
        }
        // A server's number is a port of the Service, whose target istiod opens; one that the Service does not have is
        // opened as it is.
        let leads = |number: u64| number == self.port || (number == target && !self.ports.contains(&number));
        let here: Vec<&&Opening> = choosing.iter().filter(|opening| leads(opening.port)).collect();
        if here.is_empty() {
            return Err(Shut::OtherPorts(sorted(choosing.iter().map(|opening| opening.port))));
        }
        Ok(sorted(here.into_iter().flat_map(|opening| opening.hosts.clone())))
    }
}

/// A condition that is not told counts as true.
pub(super) fn is_ready(endpoint: &serde_json::Value) -> bool {
    endpoint.pointer("/conditions/ready").and_then(|ready| ready.as_bool()).unwrap_or(true)
}

fn sorted<T: Ord>(all: impl Iterator<Item = T>) -> Vec<T> {
    all.collect::<std::collections::BTreeSet<T>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn object(kind: &str, version: &str, rest: &Value) -> Object {
        let mut whole =
            json!({"apiVersion": version, "kind": kind, "metadata": {"name": "gw", "namespace": "istio-system"}});
        whole.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        Object::new(whole).unwrap()
    }

    fn door(ports: &Value, told: &Value) -> Door {
        let spec = json!({"spec": {"selector": {"istio": "eastwestgateway"}, "ports": ports}});
        let slice = json!({"endpoints": [{"addresses": ["10.0.0.1"]}], "ports": told});
        Door::of(&object("Service", "v1", &spec), &[object("EndpointSlice", "discovery.k8s.io/v1", &slice)])
    }

    #[test]
    fn what_is_made_for_a_gateway_of_the_api_is_opened_by_it_alone() {
        let labels = |gateway: &str| json!({"gateway.networking.k8s.io/gateway-name": gateway});
        let service = |gateway: &str| {
            object(
                "Service",
                "v1",
                &json!({
                    "metadata": {"name": "gw-istio", "namespace": "istio-system", "labels": labels(gateway)},
                    "spec": {"selector": labels(gateway), "ports": [{"name": "cross", "port": 15443}]},
                }),
            )
        };
        let slice = json!({"endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"name": "cross", "port": 15443}]});
        let slice = [object("EndpointSlice", "discovery.k8s.io/v1", &slice)];
        let listener = json!({"port": 15443, "protocol": "TLS", "tls": {"mode": "Passthrough"}});
        let gateway = object(
            "Gateway",
            "gateway.networking.k8s.io/v1",
            &json!({
                "metadata": {"name": "gw", "namespace": "istio-system", "labels": {"topology.istio.io/network": "n1"}},
                "spec": {"gatewayClassName": "istio", "listeners": [listener]},
            }),
        );
        let open = passthrough::openings_of_api(&[gateway]);
        assert_eq!(Door::of(&service("gw"), &slice).judged(&open), Ok(vec!["*".to_owned()]));
        let Err(Shut::NotChosen(_)) = Door::of(&service("other"), &slice).judged(&open) else { panic!("chosen") };
    }

    fn opened(selector: &Value, port: u64) -> Vec<Opening> {
        let server = json!({"port": {"number": port}, "tls": {"mode": "AUTO_PASSTHROUGH"}, "hosts": ["*.local"]});
        let spec = json!({"spec": {"selector": selector, "servers": [server, {"port": {"number": 15012}, "tls": {"mode": "PASSTHROUGH"}, "hosts": ["*"]}]}});
        passthrough::openings(&[object("Gateway", "networking.istio.io/v1", &spec)])
    }

    #[test]
    fn a_door_is_open_where_its_port_leads_to_what_a_gateway_listens_at() {
        let (ports, told) = (json!([{"name": "tls", "port": 15443}]), json!([{"name": "tls", "port": 8443}]));
        let (ours, others) = (json!({"istio": "eastwestgateway"}), json!({"istio": "ingressgateway"}));
        let fine = door(&ports, &told);
        assert_eq!(fine.judged(&opened(&ours, 15443)), Ok(vec!["*.local".to_owned()]));
        assert_eq!(
            fine.judged(&opened(&json!({}), 8443)),
            Ok(vec!["*.local".to_owned()]),
            "one that the Service lacks is opened as it is"
        );
        assert_eq!(fine.judged(&[]), Err(Shut::Unopened));
        assert_eq!(fine.judged(&opened(&ours, 15444)), Err(Shut::OtherPorts(vec![15444])));
        let Err(Shut::NotChosen(gateways)) = fine.judged(&opened(&others, 15443)) else { panic!("chosen") };
        assert!(gateways[0].contains("gw"), "{gateways:?}");
        // A label that the Service does not choose by.
        let pod = object("Pod", "v1", &json!({"metadata": {"name": "p", "labels": {"istio": "ingressgateway"}}}));
        assert!(fine.with_pods(&[pod]).judged(&opened(&others, 15443)).is_ok());
        let moved = door(&json!([{"name": "tls", "port": 15444}]), &told);
        assert_eq!(moved.judged(&opened(&ours, 15443)), Err(Shut::NoPort(vec![15444])));
        let nowhere = door(&ports, &json!([{"name": "status", "port": 15021}]));
        assert_eq!(nowhere.judged(&opened(&ours, 15443)), Err(Shut::NoTarget));
    }

    #[test]
    fn what_istiod_makes_for_a_gateway_takes_none_of_other_namespaces() {
        let labels = json!({"gateway.networking.k8s.io/gateway-name": "gw"});
        let door = |labels: &Value| {
            let service = json!({
                "metadata": {"name": "gw-istio", "namespace": "istio-system", "labels": labels},
                "spec": {"selector": {"istio": "eastwestgateway"}, "ports": [{"name": "tls", "port": 15443}]},
            });
            let slice = json!({"endpoints": [{}], "ports": [{"name": "tls", "port": 15443}]});
            let slice = object("EndpointSlice", "discovery.k8s.io/v1", &slice);
            Door::of(&object("Service", "v1", &service), &[slice])
        };
        let own = opened(&json!({"istio": "eastwestgateway"}), 15443);
        let other = vec![Opening { namespace: "shop".to_owned(), ..own[0].clone() }];
        assert!(door(&labels).judged(&own).is_ok());
        let Err(Shut::Apart(_)) = door(&labels).judged(&other) else { panic!("chosen") };
        assert!(Door { merges: true, ..door(&labels) }.judged(&other).is_ok(), "by an older istiod");
        assert!(door(&json!({})).judged(&other).is_ok(), "one that was not made for a Gateway");
    }

    #[test]
    fn an_endpoint_is_ready_unless_it_says_otherwise() {
        assert!(is_ready(&json!({"conditions": {"ready": true}})) && is_ready(&json!({"conditions": {}})));
        assert!(!is_ready(&json!({"conditions": {"ready": false}})));
    }
}
