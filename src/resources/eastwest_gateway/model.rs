//! The attributes of `mesh_eastwest_gateway`.

use serde::{Deserialize, Serialize};

use crate::kept::instance::Instance;
use crate::kept::memory::Memory;
use crate::model;
use crate::resources::charts::{Charts, Noted, not_plain_http};
use crate::value::{List, Map, Value};

/// Kept beside the state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Private {
    #[serde(flatten)]
    pub instance: Instance,
    #[serde(default, alias = "spellings")]
    pub memory: Memory,
    /// Name of the release, where an import found another than the gateway's.
    #[serde(default)]
    pub release: Option<String>,
    /// The chart, as the last refresh saw it where it comes from.
    #[serde(default)]
    pub charts: Option<Noted>,
}

model! {
    /// What tells a gateway from all others.
    pub struct Identity {
        /// Key of the provider's `clusters`.
        #[attr(required)]
        pub cluster: Value<String>,
        /// Namespace of the gateway.
        #[attr(optional)]
        pub namespace: Value<String>,
        /// Name of the gateway.
        #[attr(optional)]
        pub name: Value<String>,
    }
}

model! {
    /// The door between networks: an east-west gateway rendered from Istio's `gateway` chart, or made by istiod from a
    /// Gateway API resource, found by the istiods of all clusters through its network label, and what it lets through.
    ///
    /// Services are exposed by an allow-list of hosts (`expose.services`, `expose.hosts`), the control plane to remote
    /// clusters by `expose.control_plane`, the API server of a private cluster to its watchers by `expose.api_server`.
    /// Custom resources count only in the cluster of the istiod that serves the gateway: in a remote cluster expose
    /// nothing here; the primary's own gateway resource also opens this one.
    ///
    /// The gateway's Pods run the image that the istiod of its `revision` injects, with the pull secrets of that istiod
    /// (`images` of `mesh_primary`).
    ///
    /// What is no longer exposed is closed to new connections. Open connections stay, and proxies keep some for later
    /// requests: restart the gateway's Pods to cut them.
    pub struct Gateway {
        /// Cluster the gateway runs in: a key of the provider's `clusters`.
        #[attr(required, replace, validate(non_empty()))]
        pub cluster: Value<String>,
        /// Namespace the gateway runs in.
        #[attr(default("istio-system"), replace, validate(dns_label()))]
        pub namespace: Value<String>,
        /// Name of Deployment, Service and ServiceAccount. The label `istio` of the Pods is this name without a leading
        /// `istio-`. With `gateway_api` it is the name of the Gateway, and istiod adds `-istio` for what it makes.
        #[attr(default("istio-eastwestgateway"), replace, validate(dns_label()))]
        pub name: Value<String>,
        /// Network this gateway is the door of.
        #[attr(required, validate(non_empty()))]
        pub network: Value<String>,
        /// Revision of the control plane that injects and serves the gateway. Without it the default one.
        #[attr(optional, validate(dns_label()))]
        pub revision: Value<String>,
        /// How the gateway's Service gets an address that other clusters can dial.
        #[attr(optional)]
        pub service: Value<Service>,
        /// What the gateway lets through. Nothing, unless it is listed here.
        #[attr(optional)]
        pub expose: Value<Expose>,
        /// An HBONE gateway for ambient mode instead: a Gateway API resource of the class `istio-east-west`, from which
        /// istiod makes Deployment and Service. Needs the Gateway API's CRDs (`gateway_api` of `mesh_primary`) and a
        /// `mesh_primary` with `ambient = true`.
        #[attr(default(false), replace)]
        pub ambient: Value<bool>,
        /// Have istiod make Deployment and Service, from a Gateway API resource of the class `istio`, in place of the
        /// chart. Needs the Gateway API's CRDs (`gateway_api` of `mesh_primary`) and an istiod in this cluster: a
        /// remote's gateway is the chart's. It has one Pod, unless istiod's defaults for the class say otherwise.
        #[attr(default(false), replace)]
        pub gateway_api: Value<bool>,
        /// Values for the `gateway` chart, YAML documents merged in order over those that the attributes here stand
        /// for.
        #[attr(optional, document)]
        pub values: Value<List<String>>,
        /// Paths of values whose content is secret, such as `pilot.env.AUTH_TOKEN`; a dot within a key is written `\.`.
        /// What the charts make of them is shown as digests in plans and kept as digests in state. What a key's name
        /// calls a password, token or secret is hidden unasked. Mark the variable `sensitive` as well: a provider
        /// cannot see that it is.
        #[attr(optional, validate(each(non_empty())))]
        pub sensitive_values: Value<List<String>>,
        /// Where the `gateway` chart comes from; what is not set is taken from the provider's `charts`.
        #[attr(optional, validate(not_plain_http(&["gateway"])))]
        pub charts: Value<Charts>,
        /// Domain of the cluster's Service names.
        #[attr(default("cluster.local"), validate(dns_subdomain()))]
        pub cluster_domain: Value<String>,
        /// Take over objects of the same names that someone else installed.
        #[attr(default(false))]
        pub adopt: Value<bool>,
        /// Take fields that other managers hold with other values. Without it a conflict is an error that names
        /// the manager.
        #[attr(default(false))]
        pub force_conflicts: Value<bool>,
        /// Wait until peers can dial the gateway: Pods ready and an address given.
        #[attr(default(true))]
        pub wait: Value<bool>,
        /// `cluster/namespace/name`.
        #[attr(computed, keep)]
        pub id: Value<String>,
        /// Mark of this instance, which each of its objects carries as an annotation: it tells them from those of
        /// another state or block with the same name.
        #[attr(computed, keep)]
        pub instance: Value<String>,
        /// Every way for other clusters to dial the gateway, sorted by address.
        #[attr(computed)]
        pub addresses: Value<List<Address>>,
        /// Version of the chart that was rendered.
        #[attr(computed)]
        pub chart_version: Value<String>,
        /// The Kubernetes objects kept, each with a digest of its owned fields.
        #[attr(computed)]
        pub objects: Value<Map<String>>,
        /// What is changed in those of these objects that stay: by object, a line for each field, with the value
        /// before, the value after and the field manager that had set it. A plan shows what an apply changes, a refresh
        /// what others have changed; after an apply it stays until the object changes again. What several objects have
        /// in common, such as the labels of a chart's version, is one line under `several objects`. The data of a
        /// Secret, schemas and long values are digests.
        #[attr(computed)]
        pub changes: Value<Map<String>>,
    }
}

model! {
    /// The gateway's Service.
    pub struct Service {
        /// `LoadBalancer`, `NodePort` or `ClusterIP`. With `NodePort`, peers dial the external addresses of the nodes
        /// that the annotation `traffic.istio.io/nodeSelector` chooses; with `ClusterIP` only `external_ips` can be
        /// dialled.
        #[attr(default("LoadBalancer"), validate(one_of(&["LoadBalancer", "NodePort", "ClusterIP"])))]
        pub r#type: Value<String>,
        /// Annotations, which most cloud load balancers are configured by.
        #[attr(optional, document)]
        pub annotations: Value<Map<String>>,
        /// Class of the load balancer.
        #[attr(optional, validate(non_empty()))]
        pub load_balancer_class: Value<String>,
        /// Address to ask of the load balancer, where it can be asked.
        #[attr(optional, validate(ip_address()))]
        pub load_balancer_ip: Value<String>,
        /// Networks that can connect to the load balancer. Everyone, unless listed.
        #[attr(optional, validate(each(cidr())))]
        pub source_ranges: Value<List<String>>,
        /// Addresses that are routed to the Service by other means.
        #[attr(optional, validate(each(ip_address())))]
        pub external_ips: Value<List<String>>,
        /// `Cluster` or `Local`.
        #[attr(optional, validate(one_of(&["Cluster", "Local"])))]
        pub external_traffic_policy: Value<String>,
        /// `SingleStack`, `PreferDualStack` or `RequireDualStack`.
        #[attr(optional, validate(one_of(&["SingleStack", "PreferDualStack", "RequireDualStack"])))]
        pub ip_family_policy: Value<String>,
        /// Ports that differ from Istio's.
        #[attr(optional)]
        pub ports: Value<Ports>,
    }
}

model! {
    /// Port numbers of the gateway's Service. The Pods listen on Istio's ports whatever is set here.
    pub struct Ports {
        /// Health checks of load balancers.
        #[attr(default(15021), validate(between(1, 65535)))]
        pub status: Value<i64>,
        /// Traffic between Services. Peers learn of another number by a label on the Service.
        #[attr(default(15443), validate(between(1, 65535)))]
        pub tls: Value<i64>,
        /// istiod's xDS and certificates, for remote clusters, which dial Istio's own number: with
        /// `expose.control_plane` it cannot be another.
        #[attr(default(15012), validate(between(1, 65535)))]
        pub istiod: Value<i64>,
        /// istiod's injection webhook, for remote clusters, of which the same is true.
        #[attr(default(15017), validate(between(1, 65535)))]
        pub webhook: Value<i64>,
    }
}

model! {
    /// What the gateway lets through.
    pub struct Expose {
        /// Services, to the other networks.
        #[attr(default(false))]
        pub services: Value<bool>,
        /// Hosts of the Services exposed: names such as `web.shop.svc.cluster.local`, or with a leading `*`. All
        /// Services of `cluster_domain` where nothing is set, which is `["*.local"]` for the usual one.
        #[attr(optional, validate(non_empty()), validate(each(non_empty())))]
        pub hosts: Value<List<String>>,
        /// The control plane, to the proxies and API servers of remote clusters.
        #[attr(default(false))]
        pub control_plane: Value<bool>,
        /// With `control_plane`: namespace of the istiod exposed, `istio-system` where nothing is set. The gateway may
        /// be in a namespace of its own.
        #[attr(optional, validate(dns_label()))]
        pub istiod_namespace: Value<String>,
        /// With `control_plane` and a `revision`: further names by which remote clusters dial the control plane, those
        /// in the `custom_hosts` of its `mesh_primary`.
        #[attr(optional, validate(each(dns_subdomain())))]
        pub control_plane_hosts: Value<List<String>>,
        /// The API server of the gateway's own cluster, to istiods that reach it in no other way: at the port for
        /// Services, by the TLS server name `kubernetes.default.svc`. TLS passes through, so that the API server's own
        /// login is all that guards it, and its own lists of allowed networks see the gateway. Needs
        /// `service.source_ranges`, and an istiod in the same cluster.
        #[attr(optional)]
        pub api_server: Value<bool>,
    }
}

model! {
    /// One way to dial a gateway.
    pub struct Address {
        /// IP address or DNS name.
        #[attr(computed)]
        pub value: Value<String>,
        /// `ipv4`, `ipv6` or `hostname`.
        #[attr(computed)]
        pub kind: Value<String>,
        /// Port for traffic between Services.
        #[attr(computed)]
        pub port: Value<i64>,
    }
}
