//! The attributes of `data.mesh_reachability`.

use crate::model;
use crate::value::{List, Map, Set, Value};

model! {
    /// Proof that calls cross: for each ordered pair of clusters, whether a client of the first can reach the second,
    /// layer by layer. `data.mesh_status` says what clusters report; this tries it.
    ///
    /// For each pair the provider does what a client's proxy does. It asks the caller's istiod for a certificate and
    /// for the addresses of the Service. It connects to the gateway of the other network with the SNI of the Service,
    /// and speaks TLS with whoever answers. No request is sent through the connection. The key stays in memory, the
    /// certificate ends after 15 minutes, nothing is written to a cluster, and nothing is left behind. For a moment,
    /// `istioctl proxy-status` of the caller shows a proxy `mesh-reachability`.
    ///
    /// Use it in a `check` block or in a `postcondition`. A look at two clusters costs eleven requests to the API
    /// server of each. With `services` that answer it costs seven, and one for each Service. Each pair of clusters and
    /// each Service cost a connection to a gateway.
    pub struct Reachability {
        /// Clusters that call: keys of the provider's `clusters`. Where nothing is set, all of them but those that only
        /// host an external control plane.
        #[attr(optional, validate(each(non_empty())))]
        pub from: Value<Set<String>>,
        /// Clusters that are called: keys of the provider's `clusters`. Where nothing is set, all of them but those
        /// that only host an external control plane. A cluster is not tried against itself.
        #[attr(optional, validate(each(non_empty())))]
        pub to: Value<Set<String>>,
        /// Services to try, each of which must be in every cluster of `to`. Where nothing is set, links, gateways,
        /// addresses and trust are tried, and a pair in which they are right is `unknown`: that calls arrive is proven
        /// only by a Service that answers.
        #[attr(optional, validate(non_empty()))]
        pub services: Value<List<Service>>,
        /// Namespace of Istio.
        #[attr(default("istio-system"), validate(dns_label()))]
        pub namespace: Value<String>,
        /// Namespace of Istio in clusters where it is another than `namespace`, by the provider's name for the cluster.
        #[attr(optional, validate(each(dns_label())))]
        pub namespaces: Value<Map<String>>,
        /// Namespace of the ServiceAccount that the provider acts as in the cluster that calls. That cluster's
        /// namespace of Istio where nothing is set.
        #[attr(optional, validate(dns_label()))]
        pub caller_namespace: Value<String>,
        /// ServiceAccount that the provider acts as in the cluster that calls. The identity needs the right to create
        /// tokens for it (`serviceaccounts/token`).
        #[attr(default("default"), validate(dns_subdomain()))]
        pub caller_service_account: Value<String>,
        /// What it means that an address does not lead to the gateway, while a Pod of the gateway answers through the
        /// API server. The address is tried from where Terraform runs, and the callers may reach it from where they
        /// run: a private address, a load balancer with `source_ranges`, a firewall in front of the machine that plans.
        /// `unknown` (default): the pair is unknown. `broken`: this machine must reach every gateway, so the pair is
        /// broken. `ignored`: the rest decides, and the way to the address remains untried.
        #[attr(default("unknown"), validate(one_of(&["unknown", "broken", "ignored"])))]
        pub unanswered_address: Value<String>,
        /// True when every pair is reachable, false when at least one is broken, null when some are unknown and none is
        /// broken.
        #[attr(computed)]
        pub reachable: Value<bool>,
        /// What is broken or unknown, in words: the pair first, then the next step. Empty when `reachable` is true.
        #[attr(computed)]
        pub findings: Value<List<String>>,
        /// Each pair, and in it each Service.
        #[attr(computed)]
        pub pairs: Value<List<Pair>>,
    }
}

model! {
    /// A Service.
    pub struct Service {
        /// Name of the Service as callers know it, such as `cart.shop.svc.cluster.local`.
        #[attr(required, validate(dns_subdomain()))]
        pub host: Value<String>,
        /// Port of the Service.
        #[attr(required, validate(between(1, 65535)))]
        pub port: Value<i64>,
    }
}

model! {
    /// One Service of one cluster, as another cluster calls it.
    pub struct Pair {
        /// Cluster that calls.
        #[attr(computed)]
        pub from: Value<String>,
        /// Cluster that is called.
        #[attr(computed)]
        pub to: Value<String>,
        /// Name of the Service. Null where none is named.
        #[attr(computed)]
        pub host: Value<String>,
        /// Port of the Service. Null where none is named.
        #[attr(computed)]
        pub port: Value<i64>,
        /// `reachable`, `broken` or `unknown`.
        #[attr(computed)]
        pub verdict: Value<String>,
        /// The first layer that fails or is unknown: `caller`, `link`, `service`, `port`, `mtls`, `address`, `gateway`,
        /// `exposure`, `trust` or `identity`. The guide "Day-two work" says what each means. Null when reachable.
        #[attr(computed)]
        pub layer: Value<String>,
        /// What was found and what to do, in words.
        #[attr(computed)]
        pub detail: Value<String>,
        /// Address and port that the caller's istiod gives its proxies, as far as it was tried.
        #[attr(computed)]
        pub address: Value<String>,
        /// By which way the other side was reached: `address`, or `port-forward` to a Pod of the gateway where the
        /// address did not lead to it.
        #[attr(computed)]
        pub through: Value<String>,
        /// SNI of the connection. Null within one network, where a Pod is called by its own address.
        #[attr(computed)]
        pub sni: Value<String>,
        /// SPIFFE id of whoever answers. Null where nobody did.
        #[attr(computed)]
        pub identity: Value<String>,
    }
}
