//! Helm values for Istio's charts (base, istiod, cni, ztunnel) from typed input. One value feeds every place that must
//! agree: cluster name, network and revision each stand in several, and Istio checks none of them against the other.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::address::Address;
use super::images::Images;
use super::injection_path::injection_path;
use super::mesh_networks::MeshNetworks;
use super::name::{ClusterName, MeshId, Namespace, Network, Revision, TrustDomain};
use super::platform::Platform;
use super::topology::Mtls;

/// A control plane: what mesh_primary sets in the charts base and istiod.
#[derive(Debug, Clone)]
pub struct ControlPlane {
    /// `global.multiCluster.clusterName`, CLUSTER_ID and ISTIO_META_CLUSTER_ID.
    pub cluster: ClusterName,
    /// `global.meshID`.
    pub mesh_id: MeshId,
    /// `global.network` and ISTIO_META_NETWORK; the namespace label must say the same.
    pub network: Option<Network>,
    /// The system namespace.
    pub namespace: Namespace,
    /// No revision: the default installation.
    pub revision: Option<Revision>,
    /// Istio's own default is `cluster.local`.
    pub trust_domain: Option<TrustDomain>,
    /// Further trust domains whose identities count as this mesh's.
    pub trust_domain_aliases: Vec<TrustDomain>,
    /// `global.meshNetworks`.
    pub mesh_networks: MeshNetworks,
    /// Whether this istiod serves the proxies of remote clusters.
    pub external_istiod: bool,
    /// An external control plane: the cluster it is named after, reads its configuration from and serves is not the one
    /// it runs in.
    pub is_external: bool,
    /// Ambient mode: node agents in place of sidecars.
    pub ambient: bool,
    /// What the cluster runs on.
    pub platform: Option<Platform>,
    /// Sidecars too leave the network of their Pod to the node agent.
    pub cni: bool,
    /// Where images come from.
    pub images: Images,
    /// Where the node agents run, if not beside istiod.
    pub agents_namespace: Option<Namespace>,
    /// What becomes of mTLS between workloads.
    pub mtls: Mtls,
    /// Names added to istiod's serving certificate (ISTIOD_CUSTOM_HOST): remotes behind a hostname load balancer dial
    /// them.
    pub custom_hosts: Vec<String>,
    /// Accept root bundles that grow and shrink, in istiod and in proxies: what a rotation of the root needs.
    pub multi_root: bool,
    /// Read the Secrets of the clusters it watches, for the credentials of gateways that it serves there; without, it
    /// needs no right to (Istio 1.31).
    pub remote_credentials: bool,
    /// Further environment of istiod.
    pub env: BTreeMap<String, String>,
    /// Further `meshConfig.defaultConfig.proxyMetadata`.
    pub proxy_metadata: BTreeMap<String, String>,
}

/// Istio's profile of values for ambient mode.
const AMBIENT_PROFILE: &str = "ambient";

/// Whether istiod reads Secrets of the clusters it watches.
pub const REMOTE_CREDENTIALS: &str = "PILOT_ENABLE_REMOTE_CREDENTIALS_CONTROLLER";

impl ControlPlane {
    /// For the chart `base`.
    pub fn base_values(&self) -> Value {
        let mut values = json!({ "global": { "istioNamespace": self.namespace } });
        if let Some(revision) = &self.revision {
            // The validating webhook of the default revision points at the revision named here.
            values["defaultRevision"] = json!(revision);
        }
        self.add_platform(&mut values);
        values
    }

    /// Where the node agents run.
    pub fn namespace_of_agents(&self) -> &Namespace {
        self.agents_namespace.as_ref().unwrap_or(&self.namespace)
    }

    fn add_platform(&self, values: &mut Value) {
        if let Some(profile) = self.platform.and_then(Platform::profile) {
            values["global"]["platform"] = json!(profile);
        }
    }

    /// For the chart `istiod`.
    pub fn istiod_values(&self) -> Value {
        let mut global = common_global(&self.cluster, self.network.as_ref(), &self.namespace);
        global.insert("meshID".into(), json!(self.mesh_id));
        if self.external_istiod || self.is_external {
            global.insert("externalIstiod".into(), json!(true));
        }
        if self.is_external {
            // It acts on its configuration cluster alone: webhooks and cluster-wide rights belong there.
            global.insert("resourceScope".into(), json!("namespace"));
        }
        if !self.mesh_networks.is_empty() {
            global.insert("meshNetworks".into(), self.mesh_networks.to_values());
        }
        let mut values = json!({ "global": global });
        if self.ambient {
            values["profile"] = json!(AMBIENT_PROFILE);
        }
        if let Some(revision) = &self.revision {
            values["revision"] = json!(revision);
        }
        let mesh_config = self.mesh_config();
        if !mesh_config.is_empty() {
            values["meshConfig"] = Value::Object(mesh_config);
        }
        let env = self.environment();
        if !env.is_empty() {
            values["pilot"] = json!({ "env": env });
        }
        if self.cni {
            values["pilot"]["cni"] = json!({ "enabled": true });
        }
        self.add_platform(&mut values);
        self.images.add_to(&mut values);
        values
    }

    /// For the chart `cni`, the agent on each node that sets up the network of Pods: to ztunnel in ambient mode, to
    /// their sidecar otherwise.
    pub fn cni_values(&self) -> Value {
        let mut values = if self.ambient { json!({ "profile": AMBIENT_PROFILE }) } else { json!({}) };
        self.add_platform(&mut values);
        self.images.add_to(&mut values);
        values
    }

    /// For the chart `ztunnel`, ambient's proxy on each node. It names cluster and network itself, and must agree with
    /// istiod.
    pub fn ztunnel_values(&self) -> Value {
        let mut values = json!({ "multiCluster": { "clusterName": self.cluster }, "istioNamespace": self.namespace });
        if let Some(network) = &self.network {
            values["network"] = json!(network);
        }
        if let Some(revision) = &self.revision {
            values["revision"] = json!(revision);
        }
        self.add_platform(&mut values);
        self.images.add_to(&mut values);
        values
    }

    /// The policy for the whole mesh, in the namespace that Istio looks for it in; none where its own default will do.
    pub fn mtls_policy(&self, namespace: &str) -> Option<Value> {
        let mode = match self.mtls {
            Mtls::Off => "DISABLE",
            Mtls::Permissive => return None,
            Mtls::Strict => "STRICT",
        };
        Some(json!({
            "apiVersion": "security.istio.io/v1",
            "kind": "PeerAuthentication",
            "metadata": { "name": "default", "namespace": namespace },
            "spec": { "mtls": { "mode": mode } },
        }))
    }

    fn mesh_config(&self) -> Map<String, Value> {
        let mut config = Map::new();
        if let Some(trust_domain) = &self.trust_domain {
            config.insert("trustDomain".into(), json!(trust_domain));
        }
        if !self.trust_domain_aliases.is_empty() {
            config.insert("trustDomainAliases".into(), json!(self.trust_domain_aliases));
        }
        if self.mtls == Mtls::Off {
            config.insert("enableAutoMtls".into(), json!(false));
        }
        let mut metadata = self.proxy_metadata.clone();
        if self.multi_root {
            metadata.entry("PROXY_CONFIG_XDS_AGENT".into()).or_insert_with(|| "true".into());
        }
        if !metadata.is_empty() {
            config.insert("defaultConfig".into(), json!({ "proxyMetadata": metadata }));
        }
        config
    }

    fn environment(&self) -> BTreeMap<String, String> {
        let mut env = self.env.clone();
        if self.multi_root {
            env.entry("ISTIO_MULTIROOT_MESH".into()).or_insert_with(|| "true".into());
        }
        if !self.remote_credentials {
            env.entry(REMOTE_CREDENTIALS.into()).or_insert_with(|| "false".into());
        }
        if self.ambient && self.network.is_some() {
            // Off by default: without it istiod tells ztunnels nothing of Services in other networks.
            env.entry("AMBIENT_ENABLE_MULTI_NETWORK".into()).or_insert_with(|| "true".into());
        }
        if !self.custom_hosts.is_empty() {
            env.entry("ISTIOD_CUSTOM_HOST".into()).or_insert_with(|| self.custom_hosts.join(","));
        }
        env
    }
}

/// A cluster whose proxies are served by another cluster's istiod: the remote profile of base and istiod.
#[derive(Debug, Clone)]
pub struct RemoteDataPlane {
    /// The remote cluster's own name.
    pub cluster: ClusterName,
    /// Its network.
    pub network: Option<Network>,
    /// Must be the primary's system namespace: istiod looks for it under its own name.
    pub namespace: Namespace,
    /// Must be the primary's revision: injected proxies dial `istiod-<revision>` here.
    pub revision: Option<Revision>,
    /// Where the primary's istiod is reached, the address of its east-west gateway.
    pub istiod: Address,
    /// The port of istiod's webhook on that gateway, used when the address is a hostname.
    pub webhook_port: u16,
    /// The istiod reads its configuration from here, so that its validator counts here.
    pub is_config_cluster: bool,
}

impl RemoteDataPlane {
    /// The port the gateway chart gives istiod's webhook.
    pub const DEFAULT_WEBHOOK_PORT: u16 = 15017;

    /// For the chart `base`.
    pub fn base_values(&self) -> Value {
        let mut values =
            json!({ "profile": "remote", "global": { "istioNamespace": self.namespace, "externalIstiod": true } });
        if let Some(revision) = self.revision.as_ref().filter(|_| self.is_config_cluster) {
            values["defaultRevision"] = json!(revision);
        }
        self.add_validation_url(&mut values);
        values
    }

    /// For the chart `istiod`.
    pub fn istiod_values(&self) -> Value {
        let mut global = common_global(&self.cluster, self.network.as_ref(), &self.namespace);
        global.insert("configCluster".into(), json!(true));
        global.insert("externalIstiod".into(), json!(true));
        global.insert("remotePilotAddress".into(), json!(self.istiod.to_string()));
        let istiod_remote = match self.injection_url() {
            Some(url) => json!({ "injectionURL": url }),
            None => json!({ "injectionPath": self.injection_path() }),
        };
        let mut values = json!({ "profile": "remote", "global": global, "istiodRemote": istiod_remote });
        if let Some(revision) = &self.revision {
            values["revision"] = json!(revision);
        }
        self.add_validation_url(&mut values);
        values
    }

    /// The path that tells the primary's injector which cluster and network a Pod belongs to.
    pub fn injection_path(&self) -> String {
        injection_path(&self.cluster, self.network.as_ref())
    }

    /// The webhook's URL when the gateway's address is a hostname. The chart would make the Service an ExternalName,
    /// and kube-apiserver refuses to call webhooks through those; the primary then needs the host among
    /// [`ControlPlane::custom_hosts`].
    pub fn injection_url(&self) -> Option<String> {
        self.webhook_url(&self.injection_path())
    }

    fn add_validation_url(&self, values: &mut Value) {
        if let Some(url) = self.webhook_url("/validate").filter(|_| self.is_config_cluster) {
            values["base"] = json!({ "validationURL": url });
        }
    }

    fn webhook_url(&self, path: &str) -> Option<String> {
        match &self.istiod {
            Address::Ip(_) => None,
            Address::Hostname(host) => Some(format!("https://{host}:{}{path}", self.webhook_port)),
        }
    }
}

fn common_global(cluster: &ClusterName, network: Option<&Network>, namespace: &Namespace) -> Map<String, Value> {
    let mut global = Map::new();
    global.insert("istioNamespace".into(), json!(namespace));
    global.insert("multiCluster".into(), json!({ "clusterName": cluster }));
    if let Some(network) = network {
        global.insert("network".into(), json!(network));
    }
    global
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control_plane() -> ControlPlane {
        ControlPlane {
            cluster: ClusterName::new("east").unwrap(),
            mesh_id: MeshId::new("mesh1").unwrap(),
            network: Some(Network::new("net-east").unwrap()),
            namespace: Namespace::new("istio-system").unwrap(),
            revision: None,
            trust_domain: None,
            trust_domain_aliases: vec![],
            mesh_networks: MeshNetworks::default(),
            external_istiod: false,
            is_external: false,
            ambient: false,
            platform: None,
            cni: false,
            images: Images::default(),
            agents_namespace: None,
            mtls: Mtls::default(),
            custom_hosts: vec![],
            multi_root: false,
            remote_credentials: true,
            env: BTreeMap::new(),
            proxy_metadata: BTreeMap::new(),
        }
    }

    #[test]
    fn plain_control_plane() {
        assert_eq!(
            control_plane().istiod_values(),
            json!({ "global": { "istioNamespace": "istio-system", "meshID": "mesh1", "multiCluster": { "clusterName": "east" }, "network": "net-east" } })
        );
        assert_eq!(control_plane().base_values(), json!({ "global": { "istioNamespace": "istio-system" } }));
    }

    #[test]
    fn control_plane_with_everything() {
        let full = ControlPlane {
            revision: Some(Revision::new("1-31").unwrap()),
            trust_domain: Some(TrustDomain::new("east.example").unwrap()),
            trust_domain_aliases: vec![TrustDomain::new("west.example").unwrap()],
            external_istiod: true,
            custom_hosts: vec!["lb.example".into()],
            multi_root: true,
            remote_credentials: false,
            env: [("PILOT_X".to_owned(), "1".to_owned())].into(),
            proxy_metadata: [("ISTIO_META_DNS_CAPTURE".to_owned(), "true".to_owned())].into(),
            ..control_plane()
        };
        let values = full.istiod_values();
        assert_eq!(values["revision"], "1-31");
        assert_eq!(values["global"]["externalIstiod"], true);
        assert_eq!(
            values["meshConfig"],
            json!({
                "trustDomain": "east.example", "trustDomainAliases": ["west.example"],
                "defaultConfig": { "proxyMetadata": { "ISTIO_META_DNS_CAPTURE": "true", "PROXY_CONFIG_XDS_AGENT": "true" } },
            })
        );
        assert_eq!(
            values["pilot"]["env"],
            json!({
                "PILOT_X": "1", "ISTIO_MULTIROOT_MESH": "true", "ISTIOD_CUSTOM_HOST": "lb.example",
                "PILOT_ENABLE_REMOTE_CREDENTIALS_CONTROLLER": "false",
            })
        );
        assert_eq!(full.base_values()["defaultRevision"], "1-31");
    }

    #[test]
    fn ambient_agents_agree_with_istiod() {
        let ambient = ControlPlane { ambient: true, revision: Some(Revision::new("1-31").unwrap()), ..control_plane() };
        let istiod = ambient.istiod_values();
        assert_eq!(
            (&istiod["profile"], &istiod["pilot"]["env"]),
            (&json!("ambient"), &json!({ "AMBIENT_ENABLE_MULTI_NETWORK": "true" }))
        );
        assert_eq!(
            ambient.ztunnel_values(),
            json!({ "multiCluster": { "clusterName": "east" }, "istioNamespace": "istio-system", "network": "net-east", "revision": "1-31" })
        );
        let one_network = ControlPlane { network: None, ..ambient };
        assert_eq!(one_network.istiod_values().get("pilot"), None);
    }

    #[test]
    fn a_platform_is_told_to_every_chart_and_cni_to_istiod() {
        let gke = ControlPlane { platform: Some(Platform::Gke), cni: true, ambient: true, ..control_plane() };
        for values in [gke.base_values(), gke.istiod_values(), gke.cni_values(), gke.ztunnel_values()] {
            assert_eq!(values["global"]["platform"], "gke");
        }
        assert_eq!(gke.istiod_values()["pilot"]["cni"]["enabled"], true);
        let eks = ControlPlane { platform: Some(Platform::Eks), cni: true, ..control_plane() };
        assert_eq!(eks.cni_values(), json!({}), "sidecars need no profile of ambient, EKS none of Istio's");
        assert_eq!(control_plane().istiod_values().get("pilot"), None);
    }

    fn remote(istiod: &str) -> RemoteDataPlane {
        RemoteDataPlane {
            cluster: ClusterName::new("west").unwrap(),
            network: Some(Network::new("n2").unwrap()),
            namespace: Namespace::new("istio-system").unwrap(),
            revision: None,
            istiod: Address::parse(istiod).unwrap(),
            webhook_port: RemoteDataPlane::DEFAULT_WEBHOOK_PORT,
            is_config_cluster: false,
        }
    }

    #[test]
    fn remote_by_ip_injects_through_the_service() {
        let values = remote("10.0.0.9").istiod_values();
        assert_eq!(values["profile"], "remote");
        assert_eq!(values["istiodRemote"], json!({ "injectionPath": "/inject/cluster/west/net/n2" }));
        assert_eq!(values["global"]["remotePilotAddress"], "10.0.0.9");
        assert_eq!(values["global"]["configCluster"], true);
        assert_eq!(remote("10.0.0.9").base_values()["profile"], "remote");
    }

    #[test]
    fn remote_by_hostname_injects_by_url() {
        let values = remote("lb.example.com").istiod_values();
        assert_eq!(
            values["istiodRemote"],
            json!({ "injectionURL": "https://lb.example.com:15017/inject/cluster/west/net/n2" })
        );
        assert_eq!(values["global"]["remotePilotAddress"], "lb.example.com");
    }

    #[test]
    fn validators_count_in_the_config_cluster_alone() {
        let config = |istiod: &str| RemoteDataPlane { is_config_cluster: true, ..remote(istiod) };
        assert_eq!(config("10.0.0.9").istiod_values(), remote("10.0.0.9").istiod_values());
        let url = json!({ "validationURL": "https://lb.example.com:15017/validate" });
        assert_eq!(
            (&config("lb.example.com").istiod_values()["base"], &config("lb.example.com").base_values()["base"]),
            (&url, &url)
        );
        assert_eq!(remote("lb.example.com").istiod_values().get("base"), None);
    }

    #[test]
    fn an_external_control_plane_has_no_rights_where_it_runs() {
        let values = ControlPlane { is_external: true, ..control_plane() }.istiod_values();
        assert_eq!(
            (&values["global"]["externalIstiod"], &values["global"]["resourceScope"]),
            (&json!(true), &json!("namespace"))
        );
    }
}
