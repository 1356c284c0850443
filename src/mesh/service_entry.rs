//! A service of another mesh, on both sides of the border: what the importing mesh needs so that its proxies dial the
//! exporter's gateway with mTLS and the right SNI, and what the exporting mesh needs so that its gateway has a filter
//! chain for that SNI.
//!
//! Each field that decides over success is computed, not taken from the user: location, resolution, tlsMode, ports,
//! SNI.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::address::{Address, AddressKind};
use super::identity::SpiffeId;
use super::name::{Host, Namespace, Network, ServiceName, SubsetName};
use super::sni::Sni;

/// The port of an east-west gateway that takes traffic between Services.
pub const GATEWAY_PORT: u16 = 15443;

/// A port's application protocol, in Istio's spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1, or HTTP/2 by upgrade.
    Http,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// gRPC.
    Grpc,
    /// TLS that the application itself speaks, carrying HTTP.
    Https,
    /// TLS that the application itself speaks.
    Tls,
    /// Anything.
    Tcp,
    /// MongoDB.
    Mongo,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 7] = [Self::Http, Self::Http2, Self::Grpc, Self::Https, Self::Tls, Self::Tcp, Self::Mongo];

    /// The name in a ServiceEntry.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Http2 => "HTTP2",
            Self::Grpc => "GRPC",
            Self::Https => "HTTPS",
            Self::Tls => "TLS",
            Self::Tcp => "TCP",
            Self::Mongo => "MONGO",
        }
    }

    /// Reads that name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.as_str().eq_ignore_ascii_case(name))
    }

    /// What istiod takes a Service's port for: by `appProtocol`, else by the name's first word, else TCP (istiod
    /// detects HTTP there).
    pub fn of_service_port(app_protocol: Option<&str>, name: &str) -> Option<Self> {
        match app_protocol {
            Some("kubernetes.io/h2c") => Some(Self::Http2),
            Some(text) => Self::from_name(text),
            None => Self::from_name(name.split('-').next().unwrap_or_default()),
        }
    }

    /// Whether a proxy treats it request by request.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2 | Self::Grpc)
    }
}

/// A port of the imported service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportPort {
    /// What clients of this mesh dial.
    pub number: u16,
    /// The Service's port in the exporting mesh; the SNI holds it.
    pub remote_number: u16,
    /// The port's name.
    pub name: String,
    /// What is spoken there, the same as at the exporter.
    pub protocol: Protocol,
}

/// One way to the exporter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportEndpoint {
    /// Where.
    pub at: ImportAt,
    /// `region/zone/subzone`, for failover by locality.
    pub locality: Option<String>,
    /// Share of the traffic against the other endpoints.
    pub weight: Option<u32>,
    /// Labels, for subsets.
    pub labels: BTreeMap<String, String>,
}

/// Where an exporter is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportAt {
    /// Through whatever gateways istiod knows for that network: the address then stands in one place for all services.
    Network(Network),
    /// Through this gateway.
    Gateway {
        /// Its address.
        address: Address,
        /// Its port, mostly [`GATEWAY_PORT`].
        port: u16,
    },
}

/// The importing side, as asked for.
#[derive(Debug, Clone)]
pub struct Import {
    /// The name of the objects.
    pub name: String,
    /// The name of the DestinationRule.
    pub rule_name: String,
    /// Where they live.
    pub namespace: Namespace,
    /// What clients call.
    pub host: Host,
    /// What the exporter's gateway has a filter chain for: its Service's FQDN, or an alias it knows.
    pub remote_host: Host,
    /// At least one.
    pub ports: Vec<ImportPort>,
    /// At least one, all of one form.
    pub endpoints: Vec<ImportEndpoint>,
    /// Whom the exporter's workloads may be; certificates of anyone else are refused.
    pub identities: Vec<SpiffeId>,
    /// Virtual IPs. Empty leaves the choice to istiod, which only proxies with DNS capture learn of.
    pub addresses: Vec<IpAddr>,
    /// Namespaces that see it; empty is all.
    pub export_to: Vec<String>,
    /// Subsets that clients may choose; the exporter's gateway must know the same. Their labels choose among the
    /// endpoints, mostly none: all.
    pub subsets: BTreeMap<SubsetName, BTreeMap<String, String>>,
    /// Take endpoints out of rotation that fail; without it neither failover nor locality weighting works.
    pub outlier_detection: bool,
}

/// Why an import cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// Nothing to dial.
    #[error("at least one port is needed")]
    NoPort,
    /// Nowhere to go.
    #[error("at least one endpoint is needed: a network, or a gateway's address")]
    NoEndpoint,
    /// Two ports with one number.
    #[error("port {0} is listed twice")]
    PortTwice(u16),
    /// Two ports with one name.
    #[error("the port name {0:?} is used twice")]
    PortNameTwice(String),
    /// Both forms in one ServiceEntry.
    #[error(
        "endpoints by network and endpoints by gateway address do not mix in one ServiceEntry; use one form for all"
    )]
    MixedForms,
    /// istiod could not tell whose certificate to accept.
    #[error(
        "at least one identity is needed: without subjectAltNames any workload of the exporting mesh could answer in the service's place"
    )]
    NoIdentity,
}

impl Import {
    /// Checks what types alone do not.
    pub fn check(&self) -> Result<(), ImportError> {
        if self.ports.is_empty() {
            return Err(ImportError::NoPort);
        }
        for (index, port) in self.ports.iter().enumerate() {
            if self.ports[..index].iter().any(|other| other.number == port.number) {
                return Err(ImportError::PortTwice(port.number));
            }
            if self.ports[..index].iter().any(|other| other.name == port.name) {
                return Err(ImportError::PortNameTwice(port.name.clone()));
            }
        }
        let by_network = self.endpoints.iter().filter(|endpoint| matches!(endpoint.at, ImportAt::Network(_))).count();
        match by_network {
            _ if self.endpoints.is_empty() => Err(ImportError::NoEndpoint),
            count if count != 0 && count != self.endpoints.len() => Err(ImportError::MixedForms),
            _ if self.identities.is_empty() => Err(ImportError::NoIdentity),
            _ => Ok(()),
        }
    }

    /// Subsets that choose no endpoint: requests to them would find nobody.
    pub fn empty_subsets(&self) -> impl Iterator<Item = &SubsetName> {
        let chooses = |labels: &BTreeMap<String, String>| {
            let carries =
                |endpoint: &ImportEndpoint| labels.iter().all(|(key, value)| endpoint.labels.get(key) == Some(value));
            self.endpoints.iter().any(carries)
        };
        self.subsets.iter().filter(move |(_, labels)| !chooses(labels)).map(|(name, _)| name)
    }

    /// The SNI a port's connections carry.
    pub fn sni(&self, port: &ImportPort, subset: Option<&SubsetName>) -> Sni {
        Sni { port: port.remote_number, subset: subset.cloned(), host: self.remote_host.clone() }
    }

    /// STATIC, or DNS once a gateway is given by name.
    pub fn resolution(&self) -> &'static str {
        let by_name = |endpoint: &ImportEndpoint| match &endpoint.at {
            ImportAt::Network(_) => false,
            ImportAt::Gateway { address, .. } => address.kind() == AddressKind::Hostname,
        };
        if self.endpoints.iter().any(by_name) { "DNS" } else { "STATIC" }
    }

    /// The SANs accepted.
    pub fn subject_alt_names(&self) -> Vec<String> {
        self.identities.iter().map(ToString::to_string).collect()
    }

    /// Whether sidecars would compute another SNI than the exporter's gateway knows, from host and port as clients see
    /// them.
    pub fn needs_sni_override(&self) -> bool {
        self.host != self.remote_host || self.ports.iter().any(|port| port.number != port.remote_number)
    }

    /// Whether TCP ports would collide: they have no name in the traffic, so only a virtual IP tells services apart.
    pub fn lacks_virtual_ip(&self) -> bool {
        self.addresses.is_empty()
            && self.ports.iter().any(|port| matches!(port.protocol, Protocol::Tcp | Protocol::Mongo))
    }

    /// The ServiceEntry.
    pub fn service_entry(&self) -> Value {
        let ports: Vec<Value> = self
            .ports
            .iter()
            .map(|port| json!({ "number": port.number, "name": port.name, "protocol": port.protocol.as_str() }))
            .collect();
        let endpoints: Vec<Value> = self.endpoints.iter().map(|endpoint| self.endpoint(endpoint)).collect();
        let mut spec = json!({
            "hosts": [self.host],
            "location": "MESH_INTERNAL",
            "resolution": self.resolution(),
            "ports": ports,
            "endpoints": endpoints,
            "subjectAltNames": self.subject_alt_names(),
        });
        if !self.addresses.is_empty() {
            spec["addresses"] = json!(self.addresses.iter().map(ToString::to_string).collect::<Vec<_>>());
        }
        if !self.export_to.is_empty() {
            spec["exportTo"] = json!(self.export_to);
        }
        json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "ServiceEntry",
            "metadata": { "name": self.name, "namespace": self.namespace },
            "spec": spec,
        })
    }

    fn endpoint(&self, endpoint: &ImportEndpoint) -> Value {
        let mut labels = endpoint.labels.clone();
        // Tells sidecars that mTLS is spoken there; without it they would send plaintext to 15443.
        labels.insert("security.istio.io/tlsMode".into(), "istio".into());
        let mut value = match &endpoint.at {
            ImportAt::Network(network) => json!({ "network": network, "labels": labels }),
            ImportAt::Gateway { address, port } => {
                let ports: Map<String, Value> = self.ports.iter().map(|own| (own.name.clone(), json!(port))).collect();
                json!({ "address": address.to_string(), "ports": ports, "labels": labels })
            }
        };
        if let Some(locality) = &endpoint.locality {
            value["locality"] = json!(locality);
        }
        if let Some(weight) = endpoint.weight {
            value["weight"] = json!(weight);
        }
        value
    }

    /// The DestinationRule, where one is needed: for the SNI, for subsets, or for outlier detection.
    pub fn destination_rule(&self) -> Option<Value> {
        if !self.needs_sni_override() && self.subsets.is_empty() && !self.outlier_detection {
            return None;
        }
        let mut spec = json!({ "host": self.host });
        let policy = self.traffic_policy(None);
        if !policy.is_empty() {
            spec["trafficPolicy"] = Value::Object(policy);
        }
        if !self.subsets.is_empty() {
            let subsets = self.subsets.iter().map(|(name, labels)| {
                let mut subset = json!({ "name": name });
                if !labels.is_empty() {
                    subset["labels"] = json!(labels);
                }
                let policy = self.traffic_policy(Some(name));
                if self.needs_sni_override() {
                    subset["trafficPolicy"] = Value::Object(policy);
                }
                subset
            });
            spec["subsets"] = subsets.collect();
        }
        if !self.export_to.is_empty() {
            spec["exportTo"] = json!(self.export_to);
        }
        Some(json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "DestinationRule",
            "metadata": { "name": self.rule_name, "namespace": self.namespace },
            "spec": spec,
        }))
    }

    /// With one port, as anybody would write it. With more, each port has an SNI of its own; settings per port replace
    /// those of the whole, they do not add to them: so each port carries everything.
    fn traffic_policy(&self, subset: Option<&SubsetName>) -> Map<String, Value> {
        let mut policy = Map::new();
        // By Envoy's default of a tenth, none of fewer than ten exporters is ever taken out.
        let outlier = json!({
            "consecutive5xxErrors": 5, "interval": "10s", "baseEjectionTime": "30s", "maxEjectionPercent": 100,
        });
        if self.outlier_detection {
            policy.insert("outlierDetection".into(), outlier.clone());
        }
        let tls = |port: &ImportPort| {
            json!({
                // ISTIO_MUTUAL also keeps the ALPN that the gateway's chain asks for.
                "mode": "ISTIO_MUTUAL",
                "sni": self.sni(port, subset).to_string(),
                "subjectAltNames": self.subject_alt_names(),
            })
        };
        match &self.ports[..] {
            _ if !self.needs_sni_override() => {}
            [port] => {
                policy.insert("tls".into(), tls(port));
            }
            ports => {
                let settings = ports.iter().map(|port| {
                    let mut settings = json!({ "port": { "number": port.number }, "tls": tls(port) });
                    if self.outlier_detection {
                        settings["outlierDetection"] = outlier.clone();
                    }
                    settings
                });
                policy.insert("portLevelSettings".into(), settings.collect());
            }
        }
        policy
    }

    /// A Service without Pods, by which the cluster's DNS resolves the host for clients without DNS capture; `None`
    /// unless the host is `<name>.<namespace>.svc.<domain>`. It is hidden from proxies: since Istio 1.30 a Service wins
    /// over a ServiceEntry of the same name. For TCP ports its ClusterIP must stand in [`Import::addresses`].
    pub fn stub_service(&self) -> Option<Value> {
        let mut parts = self.host.as_str().splitn(4, '.');
        let (name, namespace) = (parts.next()?, parts.next()?);
        let name = ServiceName::new(name).ok().filter(|_| parts.next() == Some("svc"))?;
        let namespace = Namespace::new(namespace).ok()?;
        let ports: Vec<Value> = self
            .ports
            .iter()
            .map(|port| json!({ "name": port.name, "port": port.number, "protocol": "TCP" }))
            .collect();
        Some(json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "annotations": { "networking.istio.io/exportTo": "~" },
            },
            "spec": { "ports": ports },
        }))
    }
}

/// The exporting side where the name called is no Service there: a ServiceEntry that gives the gateway a filter chain
/// for the alias.
#[derive(Debug, Clone)]
pub struct ExportAlias {
    /// The object's name.
    pub name: String,
    /// The workloads' namespace.
    pub namespace: Namespace,
    /// The name under which the service is exported.
    pub alias: Host,
    /// Port number, name, protocol, and the workloads' port behind it.
    pub ports: Vec<ExportPort>,
    /// Which Pods answer.
    pub workload_labels: BTreeMap<String, String>,
    /// The namespace of the gateway, which alone is to see the alias.
    pub gateway_namespace: Namespace,
}

/// A port of an exported alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportPort {
    /// The number in the SNI.
    pub number: u16,
    /// Where the workload listens.
    pub target: u16,
    /// The port's name.
    pub name: String,
    /// What is spoken there.
    pub protocol: Protocol,
}

impl ExportAlias {
    /// The ServiceEntry. Seen by all, it would change the sidecars of the exporting mesh: a TCP port would take all
    /// traffic to its number, and an alias that both meshes use would lead each of them to itself.
    pub fn service_entry(&self) -> Value {
        let ports: Vec<Value> = self
            .ports
            .iter()
            .map(|port| {
                json!({ "number": port.number, "targetPort": port.target, "name": port.name, "protocol": port.protocol.as_str() })
            })
            .collect();
        json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "ServiceEntry",
            "metadata": { "name": self.name, "namespace": self.namespace },
            "spec": {
                "hosts": [self.alias],
                "location": "MESH_INTERNAL",
                "resolution": "STATIC",
                "ports": ports,
                "workloadSelector": { "labels": self.workload_labels },
                "exportTo": [self.gateway_namespace],
            },
        })
    }
}

#[cfg(test)]
#[path = "service_entry_tests.rs"]
mod tests;
