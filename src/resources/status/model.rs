//! The attributes of `data.mesh_status`.

use crate::model;
use crate::value::{List, Map, Set, Value};

model! {
    /// The mesh at a glance: for each cluster its control planes, roots, gateways, and what its istiods report about
    /// the clusters they watch. Costs a handful of requests for each cluster, and answers with what it has when some
    /// clusters are down.
    ///
    /// Use it in an output, in a `check` block, or in a `postcondition`.
    pub struct Status {
        /// Clusters to look at: keys of the provider's `clusters`. All of them where nothing is set. One without
        /// anything of Istio is a finding: leave out what is not meant to be in a mesh, such as a cluster that only
        /// keeps the root.
        #[attr(optional, validate(each(non_empty())))]
        pub clusters: Value<Set<String>>,
        /// Namespace of Istio.
        #[attr(default("istio-system"), validate(dns_label()))]
        pub namespace: Value<String>,
        /// Namespace of Istio in clusters where it is another than `namespace`, by the provider's name for the cluster.
        #[attr(optional, validate(each(dns_label())))]
        pub namespaces: Value<Map<String>>,
        /// True when every cluster answered and nothing that a mesh needs is missing, ended or at odds between its
        /// clusters, as far as the clusters themselves tell. [What is
        /// judged](../guides/day-two.md#what-mesh_status-judges) is in a list. A cluster that could not be asked is not
        /// healthy.
        ///
        /// What users decide is not judged, such as hosts that a Gateway leaves out (`hosts` of the gateway says which
        /// it has) or a Service without a Pod. Nor is what no cluster reports, such as a firewall before a gateway. No
        /// calls are made through the mesh; `mesh_reachability` makes them, to the Services that you name.
        #[attr(computed)]
        pub healthy: Value<bool>,
        /// What is wrong, in words: the cluster first, then what to do about it; empty when `healthy`.
        #[attr(computed)]
        pub findings: Value<List<String>>,
        /// What was seen, by cluster.
        #[attr(computed)]
        pub status: Value<Map<ClusterStatus>>,
    }
}

model! {
    /// A cluster.
    pub struct ClusterStatus {
        /// Whether the cluster answered.
        #[attr(computed)]
        pub reachable: Value<bool>,
        /// Why it could not be read. Null when it could.
        #[attr(computed)]
        pub error: Value<String>,
        /// Network of the cluster's endpoints, by the label of the namespace.
        #[attr(computed)]
        pub network: Value<String>,
        /// Control planes, by revision; `default` is the one without. As `watches` and `gateways`, empty where there is
        /// none or the cluster could not be read.
        #[attr(computed)]
        pub control_planes: Value<Map<ControlPlane>>,
        /// What signs here and what is trusted. Without a Secret `cacerts`, where istiod signs with a root of its own,
        /// only what is trusted; null where there is neither.
        #[attr(computed)]
        pub trust: Value<Trust>,
        /// What the istiods here say about the clusters they watch, by cluster id: the worst of their replicas. An
        /// external control plane's configuration cluster is among them.
        #[attr(computed)]
        pub watches: Value<Map<Watch>>,
        /// East-west gateways, by name of the Service; by `namespace/name` where several have the same.
        #[attr(computed)]
        pub gateways: Value<Map<Gateway>>,
    }
}

model! {
    /// A control plane.
    pub struct ControlPlane {
        /// Tag of istiod's image.
        #[attr(computed)]
        pub version: Value<String>,
        /// The id of the cluster that istiod was given.
        #[attr(computed)]
        pub cluster_name: Value<String>,
        /// Id of the mesh.
        #[attr(computed)]
        pub mesh_id: Value<String>,
        /// Whether it is an external control plane, which reads its configuration from the cluster of this name and
        /// serves it, and not the one it runs in.
        #[attr(computed)]
        pub external: Value<bool>,
        /// Trust domain.
        #[attr(computed)]
        pub trust_domain: Value<String>,
        /// Replicas that are wanted.
        #[attr(computed)]
        pub replicas: Value<i64>,
        /// Replicas that are available.
        #[attr(computed)]
        pub available_replicas: Value<i64>,
        /// How many proxies are connected to it, by the version that they name; `unknown` where they name none. Null
        /// where a replica could not be asked.
        #[attr(computed)]
        pub proxies: Value<Map<i64>>,
        /// How many of them are older than `version`, and wait for a restart of their Pods. Null where that is not
        /// known.
        #[attr(computed)]
        pub proxies_behind: Value<i64>,
    }
}

model! {
    /// What signs, and what is trusted.
    pub struct Trust {
        /// SHA-256 fingerprints of the roots in `cacerts`, in order.
        #[attr(computed)]
        pub roots: Value<List<String>>,
        /// SHA-256 fingerprints of the roots that istiod hands to workloads (ConfigMap `istio-ca-root-cert`, of Istio's
        /// namespace or any other).
        #[attr(computed)]
        pub distributed_roots: Value<List<String>>,
        /// When the first of the roots ends, in RFC 3339.
        #[attr(computed)]
        pub root_not_after: Value<String>,
        /// SHA-256 fingerprint of the certificate that signs workloads' certificates.
        #[attr(computed)]
        pub intermediate: Value<String>,
        /// When it ends, in RFC 3339.
        #[attr(computed)]
        pub intermediate_not_after: Value<String>,
    }
}

model! {
    /// A watched cluster.
    pub struct Watch {
        /// `synced`, `syncing`, `timeout`, `closed`, `missing` (there is a remote secret that istiod does not know)
        /// or `unknown` (istiod did not answer, or the identity can read its metrics only, which do not name every
        /// cluster).
        #[attr(computed)]
        pub verdict: Value<String>,
        /// The remote secret, `namespace/name`; an external control plane's are in its configuration cluster.
        #[attr(computed)]
        pub secret: Value<String>,
        /// API server in the remote secret.
        #[attr(computed)]
        pub server: Value<String>,
        /// When the token in it ends, in RFC 3339. Null where it never does, or is no token.
        #[attr(computed)]
        pub token_expires_at: Value<String>,
    }
}

model! {
    /// An east-west gateway.
    pub struct Gateway {
        /// The network it is the door of.
        #[attr(computed)]
        pub network: Value<String>,
        /// IP addresses and host names given to it; of the type NodePort those of the nodes that are chosen.
        #[attr(computed)]
        pub addresses: Value<List<String>>,
        /// Port for traffic between Services.
        #[attr(computed)]
        pub port: Value<i64>,
        /// Hosts that Gateways let through to its Pods at this port, as they are written there: `*.local` is every
        /// Service, and none is a finding. A shorter list is a fact and no fault: calls to hosts that are not in it end
        /// here. Null where the Gateways are in a cluster that was not looked at, could not be read, or for ambient's
        /// gateways.
        #[attr(computed)]
        pub hosts: Value<List<String>>,
    }
}
