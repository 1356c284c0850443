//! The custom resources that make an east-west gateway listen. They count only in the cluster of the istiod that serves
//! the gateway.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::name::{Namespace, Network, Revision};
use super::sni::Sni;

/// The name Istio's documents give the Gateway that exposes Services.
pub const CROSS_NETWORK_GATEWAY: &str = "cross-network-gateway";
/// The name they give the Gateway that exposes istiod.
pub const ISTIOD_GATEWAY: &str = "istiod-gateway";

/// Of the Gateway that exposes the API server.
pub const API_SERVER_GATEWAY: &str = "api-server-gateway";
/// The server name by which callers ask for it: certificates of API servers have it. It ends with no domain, so that no
/// pattern for Services has it too.
pub const API_SERVER_SNI: &str = "kubernetes.default.svc";

/// Which gateway Pods a Gateway resource configures.
pub type Selector = BTreeMap<String, String>;

/// The label the gateway chart derives from its release name.
pub fn east_west_selector() -> Selector {
    [("istio".to_owned(), "eastwestgateway".to_owned())].into()
}

/// Exposes Services to other networks: AUTO_PASSTHROUGH on 15443.
#[derive(Debug, Clone)]
pub struct ServiceExposure {
    /// The Gateway's name.
    pub name: String,
    /// Its namespace.
    pub namespace: Namespace,
    /// The gateway's Pods.
    pub selector: Selector,
    /// The allow-list: Service FQDNs or wildcards; `*.local` is every Service.
    pub hosts: Vec<String>,
}

impl ServiceExposure {
    /// The Gateway.
    pub fn object(&self) -> Value {
        json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "Gateway",
            "metadata": { "name": self.name, "namespace": self.namespace },
            "spec": {
                "selector": self.selector,
                "servers": [{
                    "port": { "number": 15443, "name": "tls", "protocol": "TLS" },
                    "tls": { "mode": "AUTO_PASSTHROUGH" },
                    "hosts": self.hosts,
                }],
            },
        })
    }
}

/// Whether a Gateway's host list lets an SNI through. A namespace part (`ns/host`) says which configuration may bind,
/// not which SNI.
pub fn hosts_admit(hosts: &[String], sni: &Sni) -> bool {
    let host = sni.host.as_str();
    hosts.iter().any(|entry| {
        let pattern = entry.rsplit('/').next().unwrap_or(entry);
        match pattern.strip_prefix('*') {
            Some("") => true,
            Some(suffix) => suffix.starts_with('.') && host.len() > suffix.len() && host.ends_with(suffix),
            None => pattern == host,
        }
    })
}

/// Exposes istiod to the proxies and API servers of remote clusters: PASSTHROUGH on 15012 and 15017.
#[derive(Debug, Clone)]
pub struct ControlPlaneExposure {
    /// The gateway's namespace.
    pub namespace: Namespace,
    /// The system namespace, which istiod is in.
    pub istiod_namespace: Namespace,
    /// The gateway's Pods.
    pub selector: Selector,
    /// The istiod exposed.
    pub revision: Option<Revision>,
    /// The domain of Service names, `cluster.local` by default.
    pub cluster_domain: String,
    /// Further names by which remotes dial this istiod; see [`super::ControlPlane::custom_hosts`].
    pub custom_hosts: Vec<String>,
}

impl ControlPlaneExposure {
    /// Gateway and VirtualService.
    pub fn objects(&self) -> [Value; 2] {
        let suffix = self.revision.as_ref().map(|revision| format!("-{revision}")).unwrap_or_default();
        let istiod = format!("istiod{suffix}.{}.svc", self.istiod_namespace);
        let destination = format!("{istiod}.{}", self.cluster_domain);
        // Several revisions share the ports; the SNI then tells their istiods apart. istiod drops, with a log line
        // only, a TLS server whose port and host another Gateway of the same Pods has: so only the default revision may
        // take `*`.
        let sni_hosts = match self.revision {
            None => vec!["*".to_owned()],
            Some(_) => [istiod, destination.clone()].into_iter().chain(self.custom_hosts.iter().cloned()).collect(),
        };
        let server = |number: u16, name: &str| {
            json!({
                "port": { "number": number, "name": name, "protocol": "tls" },
                "tls": { "mode": "PASSTHROUGH" },
                "hosts": sni_hosts,
            })
        };
        let route = |port: u16, target: u16| {
            json!({
                "match": [{ "port": port, "sniHosts": sni_hosts }],
                "route": [{ "destination": { "host": destination, "port": { "number": target } } }],
            })
        };
        let gateway = format!("{ISTIOD_GATEWAY}{suffix}");
        [
            json!({
                "apiVersion": "networking.istio.io/v1",
                "kind": "Gateway",
                "metadata": { "name": gateway, "namespace": self.namespace },
                "spec": {
                    "selector": self.selector,
                    "servers": [server(15012, "tls-istiod"), server(15017, "tls-istiodwebhook")],
                },
            }),
            json!({
                "apiVersion": "networking.istio.io/v1",
                "kind": "VirtualService",
                "metadata": { "name": format!("istiod-vs{suffix}"), "namespace": self.namespace },
                "spec": {
                    "hosts": sni_hosts,
                    "gateways": [gateway],
                    "tls": [route(15012, 15012), route(15017, 443)],
                },
            }),
        ]
    }
}

/// Exposes the API server of the gateway's own cluster: PASSTHROUGH on 15443, for one server name. TLS ends at the API
/// server, which sees the gateway's Pods as its callers.
#[derive(Debug, Clone)]
pub struct ApiServerExposure {
    /// Name of Gateway and VirtualService.
    pub name: String,
    /// Their namespace.
    pub namespace: Namespace,
    /// The gateway's Pods.
    pub selector: Selector,
    /// The domain of Service names, `cluster.local` by default.
    pub cluster_domain: String,
}

impl ApiServerExposure {
    /// Gateway and VirtualService.
    pub fn objects(&self) -> [Value; 2] {
        let metadata = json!({ "name": self.name, "namespace": self.namespace });
        // istiod takes this Service for a cluster's own unless its mesh configuration says otherwise, so that no other
        // cluster's API server is behind it.
        let destination = format!("{API_SERVER_SNI}.{}", self.cluster_domain);
        [
            json!({
                "apiVersion": "networking.istio.io/v1",
                "kind": "Gateway",
                "metadata": metadata,
                "spec": {
                    "selector": self.selector,
                    "servers": [{
                        "port": { "number": 15443, "name": "tls-api-server", "protocol": "TLS" },
                        "tls": { "mode": "PASSTHROUGH" },
                        "hosts": [API_SERVER_SNI],
                    }],
                },
            }),
            json!({
                "apiVersion": "networking.istio.io/v1",
                "kind": "VirtualService",
                "metadata": metadata,
                "spec": {
                    "hosts": [API_SERVER_SNI],
                    "gateways": [self.name],
                    "tls": [{
                        "match": [{ "port": 15443, "sniHosts": [API_SERVER_SNI] }],
                        "route": [{ "destination": { "host": destination, "port": { "number": 443 } } }],
                    }],
                },
            }),
        ]
    }
}

/// Class of the gateways that istiod makes for ambient mode.
pub const AMBIENT_CLASS: &str = "istio-east-west";

/// Ambient's HBONE gateway: a Gateway API resource from which istiod makes Deployment and Service.
#[derive(Debug, Clone)]
pub struct AmbientGateway {
    /// Its name, `istio-eastwestgateway` by custom.
    pub name: String,
    /// The system namespace.
    pub namespace: Namespace,
    /// The network whose door it is.
    pub network: Network,
    /// The revision that serves it.
    pub revision: Option<Revision>,
}

impl AmbientGateway {
    /// The Gateway.
    pub fn object(&self) -> Value {
        let mut object = json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": {
                "name": self.name,
                "namespace": self.namespace,
                "labels": { super::NETWORK_LABEL: self.network },
            },
            "spec": {
                "gatewayClassName": AMBIENT_CLASS,
                "listeners": [{
                    "name": "mesh",
                    "port": 15008,
                    "protocol": "HBONE",
                    "tls": { "mode": "Terminate", "options": { "gateway.istio.io/tls-terminate-mode": "ISTIO_MUTUAL" } },
                }],
            },
        });
        if let Some(revision) = &self.revision {
            object["metadata"]["labels"]["istio.io/rev"] = json!(revision);
        }
        object
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace() -> Namespace {
        Namespace::new("istio-system").unwrap()
    }

    #[test]
    fn services_are_exposed_by_auto_passthrough() {
        let exposure = ServiceExposure {
            name: CROSS_NETWORK_GATEWAY.into(),
            namespace: namespace(),
            selector: east_west_selector(),
            hosts: vec!["*.local".into()],
        };
        assert_eq!(
            exposure.object()["spec"],
            json!({
                "selector": { "istio": "eastwestgateway" },
                "servers": [{ "port": { "number": 15443, "name": "tls", "protocol": "TLS" }, "tls": { "mode": "AUTO_PASSTHROUGH" }, "hosts": ["*.local"] }],
            })
        );
    }

    #[test]
    fn host_lists_admit_as_envoy_matches_server_names() {
        let sni = Sni::parse("outbound_.80_._.a.shop.svc.cluster.local").unwrap();
        for (hosts, admitted) in [
            (vec!["*.local"], true),
            (vec!["*"], true),
            (vec!["shop/*.svc.cluster.local"], true),
            (vec!["a.shop.svc.cluster.local"], true),
            (vec!["b.shop.svc.cluster.local", "*.other.svc.cluster.local"], false),
            (vec!["*.a.shop.svc.cluster.local"], false),
            (vec![], false),
        ] {
            let hosts: Vec<String> = hosts.into_iter().map(str::to_owned).collect();
            assert_eq!(hosts_admit(&hosts, &sni), admitted, "{hosts:?}");
        }
    }

    #[test]
    fn control_plane_is_exposed_by_passthrough() {
        let exposure = ControlPlaneExposure {
            namespace: namespace(),
            istiod_namespace: namespace(),
            selector: east_west_selector(),
            revision: None,
            cluster_domain: "cluster.local".into(),
            custom_hosts: vec!["lb.example".into()],
        };
        let [gateway, routes] = exposure.objects();
        assert_eq!(
            (&gateway["metadata"]["name"], &routes["metadata"]["name"]),
            (&json!("istiod-gateway"), &json!("istiod-vs"))
        );
        assert_eq!(routes["spec"]["tls"][0]["match"], json!([{ "port": 15012, "sniHosts": ["*"] }]));
        assert_eq!(
            routes["spec"]["tls"][1]["route"][0]["destination"],
            json!({ "host": "istiod.istio-system.svc.cluster.local", "port": { "number": 443 } })
        );
        let revisioned = ControlPlaneExposure { revision: Some(Revision::new("canary").unwrap()), ..exposure };
        let [gateway, routes] = revisioned.objects();
        assert_eq!(
            (&gateway["metadata"]["name"], &routes["metadata"]["name"]),
            (&json!("istiod-gateway-canary"), &json!("istiod-vs-canary"))
        );
        assert_eq!(
            routes["spec"]["hosts"],
            json!(["istiod-canary.istio-system.svc", "istiod-canary.istio-system.svc.cluster.local", "lb.example"])
        );
        assert_eq!(gateway["spec"]["servers"][0]["hosts"], routes["spec"]["hosts"]);
    }

    #[test]
    fn the_api_server_is_exposed_by_one_name_to_its_own_cluster_s_service() {
        let exposure = ApiServerExposure {
            name: API_SERVER_GATEWAY.into(),
            namespace: namespace(),
            selector: east_west_selector(),
            cluster_domain: "corp.example".into(),
        };
        let [gateway, routes] = exposure.objects();
        let server = &gateway["spec"]["servers"][0];
        assert_eq!((&server["tls"]["mode"], &server["hosts"]), (&json!("PASSTHROUGH"), &json!([API_SERVER_SNI])));
        assert_eq!(routes["spec"]["gateways"], json!([gateway["metadata"]["name"]]));
        let route = &routes["spec"]["tls"][0];
        assert_eq!(route["match"], json!([{ "port": server["port"]["number"], "sniHosts": server["hosts"] }]));
        let to = json!({ "host": "kubernetes.default.svc.corp.example", "port": { "number": 443 } });
        assert_eq!(route["route"], json!([{ "destination": to }]));
        for all in ["*.local", "*.corp.example"] {
            assert!(!API_SERVER_SNI.ends_with(&all[1..]), "{all} has a server name of its own");
        }
    }

    #[test]
    fn ambient_gateway_carries_the_network() {
        let gateway = AmbientGateway {
            name: "istio-eastwestgateway".into(),
            namespace: namespace(),
            network: Network::new("n1").unwrap(),
            revision: None,
        };
        let object = gateway.object();
        assert_eq!(object["metadata"]["labels"], json!({ "topology.istio.io/network": "n1" }));
        assert_eq!(object["spec"]["listeners"][0]["protocol"], "HBONE");
    }
}
