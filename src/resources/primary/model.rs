//! The attributes of `mesh_primary`, each declared once.

use super::values;
use crate::mesh::Platform;
use crate::model;
use crate::resources::charts::{Charts, not_plain_http};
use crate::value::{List, Map, Set, Value};

model! {
    /// An Istio control plane in one cluster: Istio's own charts `base` and `istiod`, rendered by the provider and
    /// applied object by object with server-side apply.
    ///
    /// A plan names every Kubernetes object that is added or removed (`objects`) and every field that changes
    /// (`changes`). A refresh finds what others changed in them, and names the field manager that did. What istiod
    /// itself writes (the webhooks' `caBundle` and the validators' `failurePolicy`) and what an autoscaler owns
    /// (`replicas`) is never a difference.
    ///
    /// Give one cluster several control planes by `revision`; of these, one installs the objects they share
    /// (`install_base`).
    pub struct Primary {
        /// `cluster/namespace/release`.
        #[attr(computed, keep)]
        pub id: Value<String>,
        /// Mark of this instance, which each of its objects carries as an annotation: it tells them from those of
        /// another state or block with the same name.
        #[attr(computed, keep)]
        pub instance: Value<String>,
        /// The cluster it runs in: a key of the provider's `clusters`.
        #[attr(required, replace)]
        pub cluster: Value<String>,
        /// The system namespace. Must be the same in all clusters of a mesh. Created if it does not exist; a namespace
        /// that the provider created is deleted again once it is empty.
        #[attr(default("istio-system"), replace)]
        pub namespace: Value<String>,
        /// For an external control plane: the cluster that istiod reads its configuration from and whose Pods it
        /// serves, where that is not the one it runs in. A key of the provider's `clusters`, attached by a
        /// `mesh_remote_cluster` in the mode `config`: its istiod starts once that has brought the kubeconfig, and it
        /// has no rights in `cluster`.
        #[attr(optional, replace, validate(non_empty()))]
        pub config_cluster: Value<String>,
        /// The id by which istiods and proxies know this cluster. The default is the value of `config_cluster` or else
        /// of `cluster`, never Istio's own `Kubernetes`, in which two clusters collide.
        #[attr(optional, computed, keep)]
        pub cluster_name: Value<String>,
        /// Id of the mesh: the same in all its clusters.
        #[attr(required)]
        pub mesh_id: Value<String>,
        /// The network the cluster's Pods are in: clusters of one network reach each other's Pods directly, others
        /// through an east-west gateway. Written to the label of the namespace and to the injected proxies, which must
        /// agree. Without it all clusters count as one network.
        #[attr(optional)]
        pub network: Value<String>,
        /// Revision: the name of this control plane beside others in the cluster. Without it this is the cluster's
        /// default control plane. To go from one revision to the next, declare both, move the workloads, then remove
        /// the old one.
        #[attr(optional, replace)]
        pub revision: Value<String>,
        /// Tags: stable names for namespaces to select this revision by, as in the label `istio.io/rev=prod`. A tag may
        /// be moved from one control plane to another in one apply.
        #[attr(optional)]
        pub tags: Value<Set<String>>,
        /// Version of Istio: of the charts and, unless `values` say otherwise, of the images. The default is the
        /// version that `charts` of this resource or of the provider names, else 1.31.1, a release of the newest minor
        /// version that the tests run. Where nobody names a version, a control plane keeps the one that it has, also
        /// when a later provider has another default.
        #[attr(optional, computed)]
        pub istio_version: Value<String>,
        /// Trust domain of the workload identities. Istio's default is `cluster.local`.
        #[attr(optional)]
        pub trust_domain: Value<String>,
        /// Further trust domains whose identities count as this mesh's own.
        #[attr(optional)]
        pub trust_domain_aliases: Value<List<String>>,
        /// SHA-256 fingerprint of the root certificate that the cluster's `cacerts` must hold: `root_fingerprint` of a
        /// `mesh_ca`. Makes the control plane wait for the CA, and refuses to start istiod under another root, or under
        /// none. A `cacerts` in cert-manager's form counts by its `ca.crt`. Where `values` leave signing to istio-csr
        /// (`ENABLE_CA_SERVER`), the ConfigMap `istio-ca-root-cert` counts, which it gives every namespace. An apply
        /// ends when workloads are given this root.
        #[attr(optional)]
        pub trust_root: Value<String>,
        /// Lets istiod and the proxies take roots that are added and removed, as a rotation of the root does: sets
        /// `ISTIO_MULTIROOT_MESH` and, for the proxies, `PROXY_CONFIG_XDS_AGENT`. The default is whether `trust_root`
        /// is set; for a control plane that an earlier version of this provider made, or that was imported, it is null
        /// and what `values` say goes. A change of it restarts istiod; workloads follow when they are restarted.
        #[attr(optional, computed)]
        pub multi_root: Value<bool>,
        /// Whether istiod reads the Secrets of the clusters it watches, for gateways there that it serves and that name
        /// credentials, and waits for the right to. With `false` it asks for none, so that its readers need none
        /// (`read_secrets` of `mesh_remote_cluster`). Istio's own default, `true`, where nothing is set. Not with Istio
        /// 1.31.0, which brought the switch and whose istiod then ends at the first cluster that it is to watch;
        /// earlier versions have no such switch.
        #[attr(optional)]
        pub read_remote_secrets: Value<bool>,
        /// Networks that labels do not describe, by name. Labels win over it: endpoints of a cluster whose namespace
        /// carries a network label (as `network` writes it) never fall under `from_registry` or `from_cidr` of another
        /// network.
        #[attr(optional)]
        pub mesh_networks: Value<Map<MeshNetwork>>,
        /// Whether this istiod also serves the proxies of remote clusters, those attached with `mesh_remote_cluster` in
        /// mode `remote`.
        #[attr(default(false))]
        pub external_istiod: Value<bool>,
        /// Makes istiod reachable from other clusters by a load balancer of its own, for proxies and API servers of
        /// remote clusters that are not to come through an east-west gateway. Its ports are 15012 (configuration and
        /// certificates) and 15017 (webhooks), both with TLS.
        #[attr(optional)]
        pub expose: Value<Expose>,
        /// Gives istiod tokens of its own ServiceAccount, by which it logs in to the clusters it watches whose
        /// `mesh_remote_cluster` has `link_token`. They are in a projected volume, which the kubelet keeps fresh, and a
        /// setting lets istiod read them from there. Not with `config_cluster`.
        #[attr(optional)]
        pub link_token: Value<LinkTokens>,
        /// Ambient mode: also installs Istio's node agents, the charts `cni` and `ztunnel`, gives istiod the profile
        /// `ambient`, and with a `network` lets it tell ztunnels of Services in other networks. Workloads join by the
        /// label `istio.io/dataplane-mode=ambient` of their namespace; a Service is visible to other clusters by the
        /// label `istio.io/global=true`. The agents take `values` as well, and are among what `install_base` shares.
        #[attr(default(false))]
        pub ambient: Value<bool>,
        /// What the cluster runs on: `aks`, `eks`, `gke`, `k3d`, `k3s`, `microk8s`, `minikube` or `openshift`. Gives
        /// all charts Istio's own profile of the platform (EKS and AKS need none) and changes two defaults on
        /// OpenShift: `cni` is `true` there, and `agents_namespace` is `kube-system`.
        #[attr(optional, validate(one_of(Platform::NAMES)))]
        pub platform: Value<String>,
        /// Installs Istio's node agent, the chart `cni`, for sidecars too, and has istiod inject Pods without the init
        /// container `istio-init`. That container needs the capabilities `NET_ADMIN` and `NET_RAW`, which OpenShift and
        /// namespaces with a Pod security standard refuse. The agent runs on every node before istiod is told, and goes
        /// only once istiod injects without it. The default is `true` on OpenShift. In ambient mode the agent is
        /// installed in any case; `true` gives it to sidecars as well.
        #[attr(optional)]
        pub cni: Value<bool>,
        /// The namespace of the node agents `cni` and `ztunnel`. The default is `kube-system` on OpenShift and
        /// `namespace` elsewhere. Made, with a label that lets Pods have rights on the node, if it does not exist.
        /// istiod is told to trust the ztunnels there.
        #[attr(optional, validate(non_empty()))]
        pub agents_namespace: Value<String>,
        /// Where the images of istiod, of the node agents and of every proxy that istiod injects come from, gateways
        /// included. `docker.io/istio`, without a login, where nothing is set.
        #[attr(optional)]
        pub images: Value<Images>,
        /// Release of the Gateway API, such as `1.6.0`, whose CustomResourceDefinitions are installed too: waypoints
        /// and the east-west gateways of ambient mode are resources of that API. `gateway_api` of `charts` says where
        /// they come from. They are among what `install_base` shares. Leave it out where the platform brings them, as
        /// GKE and OpenShift do: definitions of somebody else are refused unless `adopt` is set.
        #[attr(optional, validate(non_empty()))]
        pub gateway_api: Value<String>,
        /// Go through with `ambient` and a `network` although Pods with sidecars run in the cluster: from then on
        /// istiod tells them only of those endpoints in other clusters whose Service has the label
        /// `istio.io/global=true`. Without it a plan refuses. The default is `false`.
        #[attr(optional)]
        pub ambient_beside_sidecars: Value<bool>,
        /// mTLS between workloads. `permissive`, which is Istio's own default and the one where nothing is set: clients
        /// with a proxy use mTLS, and workloads accept plain text too. `strict`: a mesh-wide PeerAuthentication refuses
        /// plain text. `off`: mTLS is turned off by a mesh-wide PeerAuthentication and `meshConfig.enableAutoMtls`.
        /// That is for clusters of one network that have no common root, and must be set in all of them. Calls between
        /// networks need mTLS. The policy is among what `install_base` shares.
        #[attr(optional, validate(one_of(&["strict", "permissive", "off"])))]
        pub mtls: Value<String>,
        /// Further DNS names in istiod's serving certificate: those by which remote clusters dial this control plane
        /// where their `control_plane_address` is a name and not an IP address. Not for names in the cluster, which are
        /// in the certificate anyway.
        #[attr(optional, validate(each(dns_subdomain())))]
        pub custom_hosts: Value<List<String>>,
        /// Values for the charts: YAML documents, merged as Helm merges its `--values` files, later over earlier. They
        /// may set whatever no attribute of this resource does. Documents that mean the same are no change.
        #[attr(optional, same(values::same), document)]
        pub values: Value<List<String>>,
        /// Values documents for single charts, merged over `values`. What `values` says at the top level goes to istiod
        /// and to the node agents alike; what is meant for one of them belongs here.
        #[attr(optional)]
        pub chart_values: Value<ChartValues>,
        /// Values documents for the chart `base` alone, in place of `values`: for an installation whose charts were
        /// given different values.
        #[attr(optional, same(values::same), document)]
        pub base_values: Value<List<String>>,
        /// Paths of values whose content is secret, such as `pilot.env.AUTH_TOKEN`; a dot within a key is written `\.`.
        /// What the charts make of them is shown as digests in plans and kept as digests in state. What a key's name
        /// calls a password, token or secret is hidden unasked. Mark the variable `sensitive` as well: a provider
        /// cannot see that it is.
        #[attr(optional, validate(each(non_empty())))]
        pub sensitive_values: Value<List<String>>,
        /// Where the charts come from, attribute by attribute over the provider's `charts`.
        #[attr(optional, validate(not_plain_http(&["base", "istiod"])))]
        pub charts: Value<Charts>,
        /// Whether this control plane also owns what all control planes of a cluster share: the chart `base` with the
        /// CustomResourceDefinitions, the reader's ServiceAccount and the default validator. Of several control planes
        /// in a cluster set it to `false` in all but one. Ignored when `config_cluster` is set: the shared objects then
        /// belong to that cluster.
        #[attr(default(true))]
        pub install_base: Value<bool>,
        /// When another version comes to this control plane, of those of a fleet. Without it at once.
        #[attr(optional)]
        pub rollout: Value<Rollout>,
        /// Take over objects that exist and are not this resource's, for instance an installation by Helm or istioctl.
        /// By default that is an error.
        #[attr(default(false))]
        pub adopt: Value<bool>,

        /// Overwrite fields in this resource's objects that another field manager has set (a person with
        /// `kubectl edit`, another tool). By default that is an error that names object, field and manager.
        #[attr(default(false))]
        pub force_conflicts: Value<bool>,
        /// The Kubernetes objects, each with a digest of the fields this resource owns in it.
        #[attr(computed)]
        pub objects: Value<Map<String>>,
        /// What is changed in those of these objects that stay: by object, a line for each field, with the value
        /// before, the value after and the field manager that had set it. A plan shows what an apply changes, a refresh
        /// what others have changed; after an apply it stays until the object changes again. What several objects have
        /// in common, such as the labels of a chart's version, is one line under `several objects`. The data of a
        /// Secret, schemas and long values are digests.
        #[attr(computed)]
        pub changes: Value<Map<String>>,
        /// With `expose`: where istiod can be dialled, sorted. Null without it.
        #[attr(computed)]
        pub addresses: Value<List<Address>>,
        /// The control plane as last seen.
        #[attr(computed)]
        pub status: Value<Status>,
    }
}

model! {
    /// Values documents for single charts.
    pub struct ChartValues {
        /// For the chart `base`, over `base_values` where that is set.
        #[attr(optional, document, same(values::same))]
        pub base: Value<List<String>>,
        /// For the chart `istiod`.
        #[attr(optional, document, same(values::same))]
        pub istiod: Value<List<String>>,
        /// For the chart `cni`.
        #[attr(optional, document, same(values::same))]
        pub cni: Value<List<String>>,
        /// For the chart `ztunnel`.
        #[attr(optional, document, same(values::same))]
        pub ztunnel: Value<List<String>>,
    }
}

model! {
    /// Where images come from.
    pub struct Images {
        /// Registry and path in place of `docker.io/istio`, such as `registry.example:5000/istio`. It must have the
        /// images `pilot` and `proxyv2` of `istio_version`, for node agents also `install-cni`, and for ambient mode
        /// `ztunnel`. A chart whose `values` give a whole image name keeps that.
        #[attr(optional)]
        pub hub: Value<String>,
        /// Names of Secrets of the type `kubernetes.io/dockerconfigjson` by which the kubelets log in there. A Pod
        /// reads them in its own namespace: they must be in `namespace`, in `agents_namespace`, and wherever Pods with
        /// proxies run. The provider makes none.
        #[attr(optional, validate(non_empty()), validate(each(dns_subdomain())))]
        pub pull_secrets: Value<Set<String>>,
    }
}

model! {
    /// Tokens of istiod's own ServiceAccount.
    pub struct LinkTokens {
        /// What the watched API servers demand of the tokens: istiod gets one for each. The one audience `istio-links`
        /// where nothing is set.
        #[attr(optional, validate(non_empty()), validate(each(non_empty())))]
        pub audiences: Value<Set<String>>,
        /// How long a token is valid, at least `10m`. The kubelet brings the next one when four fifths are over; what
        /// the API server grants counts.
        #[attr(default("1h"), validate(duration()))]
        pub lifetime: Value<String>,
    }
}

model! {
    /// A place in a row of upgrades.
    pub struct Rollout {
        /// Clusters that come first, keys of the provider's `clusters`. A plan keeps the version, and the objects of
        /// that version, until the control planes of the same namespace and revision there run the version that is
        /// wanted here. They must also be available, and report that they are in sync with every cluster they watch.
        /// Until then a warning of each plan says what it waits for. So an upgrade, or a way back, is a row of plain
        /// plans and applies, one for each wave, and a failure ends it. All other changes are made at once. A cluster
        /// that a refresh could not read is waited for, and so is one whose last apply did not finish. A control plane
        /// whose own upgrade did not finish does not wait to go back. The apply of an upgrade looks once more, and
        /// refuses where a cluster is not as the plan saw it.
        #[attr(required, validate(non_empty()), validate(each(non_empty())))]
        pub after: Value<Set<String>>,
        /// How many proxies must run the wanted version too, in percent of those that are connected to the control
        /// plane, in each cluster of `after`. Proxies of remote clusters that that control plane serves count as well.
        /// A control plane without proxies is not waited for. Sidecars change when their Pods restart, for instance by
        /// the action `mesh_restart_workloads`, and no upgrade restarts them. So no proxy is waited for where nothing
        /// is set, or 0.
        #[attr(optional, validate(between(0, 100)))]
        pub updated_proxies_percent: Value<i64>,
    }
}

model! {
    /// The load balancer in front of istiod.
    pub struct Expose {
        /// Annotations of the Service, which most cloud load balancers are configured by.
        #[attr(optional, document)]
        pub annotations: Value<Map<String>>,
        /// Class of the load balancer.
        #[attr(optional, validate(non_empty()))]
        pub load_balancer_class: Value<String>,
        /// Networks that can connect to the load balancer. Everyone, unless listed.
        #[attr(optional, validate(each(cidr())))]
        pub source_ranges: Value<List<String>>,
        /// Addresses that are routed to the Service by other means.
        #[attr(optional, validate(each(ip_address())))]
        pub external_ips: Value<List<String>>,
    }
}

model! {
    /// One way to dial istiod.
    pub struct Address {
        /// IP address or DNS name.
        #[attr(computed)]
        pub value: Value<String>,
        /// `ipv4`, `ipv6` or `hostname`.
        #[attr(computed)]
        pub kind: Value<String>,
    }
}

model! {
    /// A network of `mesh_networks`.
    pub struct MeshNetwork {
        /// Which endpoints belong to the network.
        #[attr(optional)]
        pub endpoints: Value<List<Endpoints>>,
        /// How other networks reach it.
        #[attr(optional)]
        pub gateways: Value<List<Gateway>>,
    }
}

model! {
    /// Endpoints of a network: give one of the two.
    pub struct Endpoints {
        /// All endpoints of the cluster of this name.
        #[attr(optional, validate(non_empty()))]
        pub from_registry: Value<String>,
        /// The endpoints in this address range.
        #[attr(optional, validate(non_empty()))]
        pub from_cidr: Value<String>,
    }
}

model! {
    /// A gateway of a network: give an address or a Service.
    pub struct Gateway {
        /// IP address or host name.
        #[attr(optional, validate(non_empty()))]
        pub address: Value<String>,
        /// Fully qualified name of a Service in a cluster that `from_registry` of the same network names.
        #[attr(optional, validate(non_empty()))]
        pub registry_service_name: Value<String>,
        /// Port.
        #[attr(default(15443), validate(between(1, 65535)))]
        pub port: Value<i64>,
    }
}

model! {
    /// A control plane as last seen.
    pub struct Status {
        /// Whether the rollout is complete: all replicas of this specification are available.
        #[attr(computed)]
        pub available: Value<bool>,
        /// Image of istiod.
        #[attr(computed)]
        pub image: Value<String>,
    }
}
