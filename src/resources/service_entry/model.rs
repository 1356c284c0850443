//! The attributes of `mesh_service_entry`.

use crate::model;
use crate::value::{List, Map, Value};

model! {
    /// A service of another mesh, registered by hand: for meshes that have a root of trust in common but do not watch
    /// each other's clusters.
    ///
    /// In the importing cluster it makes the ServiceEntry and, where the name or port that clients use differs from the
    /// exporter's, the DestinationRule with the SNI that the exporter's gateway expects. In the exporting cluster, with
    /// `expose`, it makes what lets the gateway accept that SNI. What has to agree between the two (SNI, ports,
    /// identities, resolution) is computed and shown in the plan; what is wrong at the exporter is said by the plan
    /// that first sees it, as far as the exporter is among the provider's clusters.
    pub struct ServiceEntry {
        /// Cluster that imports the service: a key of the provider's `clusters`.
        #[attr(required, replace, validate(non_empty()))]
        pub cluster: Value<String>,
        /// Namespace of the objects in the importing cluster. With the default, Istio's root namespace, clients of all
        /// namespaces see the service.
        #[attr(default("istio-system"), replace, validate(dns_label()))]
        pub namespace: Value<String>,
        /// Name of the objects. `host` with dashes for dots where nothing is set.
        #[attr(optional, computed, keep, replace, validate(dns_subdomain()))]
        pub name: Value<String>,
        /// Name of the DestinationRule, where one is made. That of the other objects where nothing is set.
        #[attr(optional, computed, keep, validate(dns_subdomain()))]
        pub destination_rule_name: Value<String>,
        /// Name that clients call. No wildcard: the SNI names one host.
        #[attr(required)]
        pub host: Value<String>,
        /// Ports that clients dial, by name.
        #[attr(required, validate(non_empty()), validate(each_key(dns_label())))]
        pub ports: Value<Map<Port>>,
        /// Who exports the service, by a name of your choice. With several, traffic is spread over all by `weight`, or
        /// kept near by `locality`.
        #[attr(required, validate(non_empty()))]
        pub exporters: Value<Map<Exporter>>,
        /// Name by which the exporters' gateways know the service. The name of the exported Service where nothing is
        /// set; exporters whose Services have different names need a common one here, and `expose`.
        #[attr(optional, computed)]
        pub exported_host: Value<String>,
        /// Virtual IP addresses. Without any, istiod chooses one that only proxies with DNS capture learn of; a TCP
        /// port then needs `stub_service` or an address here.
        #[attr(optional, validate(each(ip_address())))]
        pub addresses: Value<List<String>>,
        /// Make a Service without Pods, so that the cluster's own DNS resolves `host`, which must be of the form
        /// `name.namespace.svc.domain`. Proxies do not see this Service.
        #[attr(default(false))]
        pub stub_service: Value<bool>,
        /// Namespaces that see the service, or `.` for that of the objects alone. All, unless listed.
        #[attr(optional, validate(each(non_empty())))]
        pub export_to: Value<List<String>>,
        /// Subsets that clients may choose in a VirtualService, by name. The name is part of the SNI, by which the
        /// exporter's gateway chooses the Pods: the exporters must have subsets of the same names. The labels choose
        /// among exporters by their `labels`; empty, `{}`, for all.
        #[attr(optional, validate(each_key(dns_label())))]
        pub subsets: Value<Map<Map<String>>>,
        /// Take exporters out of rotation that answer with errors, all of them if need be. Failover between exporters
        /// needs it.
        #[attr(default(false))]
        pub outlier_detection: Value<bool>,
        /// Take over objects of the same names that someone else made.
        #[attr(default(false))]
        pub adopt: Value<bool>,
        /// Take fields that another field manager owns.
        #[attr(default(false))]
        pub force_conflicts: Value<bool>,
        /// Leave clusters that cannot be reached as they are: exporting ones when they export no longer, and all of
        /// them on destroy. A cluster that is gone for good could not be taken out otherwise. What stays in it is
        /// reported.
        #[attr(optional)]
        pub skip_unreachable_on_destroy: Value<bool>,
        /// `cluster/namespace/name`.
        #[attr(computed, keep)]
        pub id: Value<String>,
        /// Mark of this instance, which each of its objects carries as an annotation: it tells them from those of
        /// another state or block with the same name.
        #[attr(computed, keep)]
        pub instance: Value<String>,
        /// ClusterIP of the Service that `stub_service` makes.
        #[attr(computed, keep)]
        pub stub_address: Value<String>,
        /// SNI of each port's connections, by port name: what the exporters' gateways choose the service by.
        #[attr(computed)]
        pub sni: Value<Map<String>>,
        /// Identities accepted of whoever answers.
        #[attr(computed)]
        pub subject_alt_names: Value<List<String>>,
        /// `STATIC`, or `DNS` when a gateway is given by name.
        #[attr(computed)]
        pub resolution: Value<String>,
        /// What an application calls: `host:port`, by port name.
        #[attr(computed)]
        pub endpoints: Value<Map<String>>,
        /// What does not fit at an exporter, as last seen; empty when all does.
        #[attr(computed)]
        pub findings: Value<List<String>>,
        /// The Kubernetes objects in the importing cluster, each with a digest of its owned fields.
        #[attr(computed)]
        pub objects: Value<Map<String>>,
        /// What is changed in those of these objects that stay: by object, a line for each field, with the value
        /// before, the value after and the field manager that had set it. A plan shows what an apply changes, a refresh
        /// what others have changed; after an apply it stays until the object changes again. What several objects have
        /// in common, such as the labels of a chart's version, is one line under `several objects`. The data of a
        /// Secret, schemas and long values are digests.
        #[attr(computed)]
        pub changes: Value<Map<String>>,
        /// The Kubernetes objects in exporting clusters, by the key of the provider's `clusters`.
        #[attr(computed)]
        pub exported: Value<Map<Exported>>,
    }
}

model! {
    /// A port.
    pub struct Port {
        /// Number that clients dial.
        #[attr(required, validate(between(1, 65535)))]
        pub number: Value<i64>,
        /// What is spoken: `HTTP`, `HTTP2`, `GRPC`, `HTTPS`, `TLS`, `TCP` or `MONGO`. The same as at the exporter.
        #[attr(default("HTTP"), validate(one_of(&["HTTP", "HTTP2", "GRPC", "HTTPS", "TLS", "TCP", "MONGO"])))]
        pub protocol: Value<String>,
        /// Number of the Service's port at the exporter. `number` where nothing is set.
        #[attr(optional, validate(between(1, 65535)))]
        pub exporter_port: Value<i64>,
        /// With `expose` and an `exported_host` that is not the Service's own name: port that the Pods listen on. The
        /// exporter's port number where nothing is set.
        #[attr(optional, validate(between(1, 65535)))]
        pub target_port: Value<i64>,
    }
}

model! {
    /// An exporting mesh.
    pub struct Exporter {
        /// Cluster that the service runs in, if it is among the provider's: then the plan checks what it finds there,
        /// and `expose` works.
        #[attr(optional, validate(non_empty()))]
        pub cluster: Value<String>,
        /// Namespace of the Service.
        #[attr(required, validate(dns_label()))]
        pub namespace: Value<String>,
        /// Name of the Service.
        #[attr(required, validate(dns_label()))]
        pub service: Value<String>,
        /// ServiceAccounts of the Pods behind the Service. Whoever answers must be one of them.
        #[attr(required, validate(non_empty()), validate(each(non_empty())))]
        pub service_accounts: Value<List<String>>,
        /// Trust domain of the exporting mesh.
        #[attr(default("cluster.local"), validate(dns_subdomain()))]
        pub trust_domain: Value<String>,
        /// Domain of the exporter's Service names.
        #[attr(default("cluster.local"), validate(dns_subdomain()))]
        pub cluster_domain: Value<String>,
        /// Addresses of the exporter's east-west gateway, such as `mesh_eastwest_gateway.west.addresses`. Give these or
        /// `network`.
        #[attr(optional, validate(non_empty()))]
        pub gateways: Value<List<Gateway>>,
        /// Network whose gateways the importing istiod knows, by `mesh_networks` of its `mesh_primary` or a Gateway of
        /// the class `istio-remote`. Keeps the address in one place for all services. Give this or `gateways`.
        #[attr(optional, validate(non_empty()))]
        pub network: Value<String>,
        /// Where it runs, `region`, `region/zone` or `region/zone/subzone`.
        #[attr(optional, validate(non_empty()))]
        pub locality: Value<String>,
        /// Share of the traffic against the other exporters.
        #[attr(optional, validate(between(0, 4_294_967_295)))]
        pub weight: Value<i64>,
        /// Labels by which `subsets` tell the exporters apart.
        #[attr(optional)]
        pub labels: Value<Map<String>>,
        /// Make what lets the exporter's gateway accept the SNI: a Gateway that admits `exported_host` and, where that
        /// is not the Service's own name, a ServiceEntry for it. Needs `cluster`. Leave it out
        /// where another Gateway admits the host for the same gateway Pods, as that of a `mesh_eastwest_gateway` does:
        /// Envoy would refuse both.
        #[attr(default(false))]
        pub expose: Value<bool>,
        /// Labels of the Pods behind the Service, for the ServiceEntry that `expose` makes for an alias.
        #[attr(optional)]
        pub workload_labels: Value<Map<String>>,
        /// Namespace of the exporter's east-west gateway. What `expose` makes for an alias is seen in this namespace
        /// alone.
        #[attr(default("istio-system"), validate(dns_label()))]
        pub gateway_namespace: Value<String>,
        /// Namespace of the exporter's istiod, whose roots and trust domain the plan reads: `istio-system` where
        /// nothing is set.
        #[attr(optional, validate(dns_label()))]
        pub istiod_namespace: Value<String>,
        /// Labels that choose the Pods of the exporter's east-west gateway. `{ istio = "eastwestgateway" }` where
        /// nothing is set.
        #[attr(optional)]
        pub gateway_selector: Value<Map<String>>,
    }
}

model! {
    /// A gateway's address.
    pub struct Gateway {
        /// IP address or DNS name.
        #[attr(required, validate(non_empty()))]
        pub value: Value<String>,
        /// Port for traffic between Services.
        #[attr(default(15443), validate(between(1, 65535)))]
        pub port: Value<i64>,
    }
}

model! {
    /// Objects in an exporting cluster.
    pub struct Exported {
        /// Each object with a digest of its owned fields.
        #[attr(computed)]
        pub objects: Value<Map<String>>,
        /// What is changed in those that stay, as in `changes` of the resource.
        #[attr(computed)]
        pub changes: Value<Map<String>>,
    }
}
