//! The processes of one cluster's control plane and the flags they run with. Pure but for `config`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::pki::Pki;
use crate::proxy;
use crate::signer;

/// Where one cluster lives on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub name: String,
    pub dir: PathBuf,
    /// Position within the lab: address ranges follow from it.
    pub index: usize,
    /// The API server itself.
    pub api_port: u16,
    /// What everybody outside the lab uses: the API server behind the faults.
    pub front_port: u16,
    /// Connections from the API server into the cluster's network. A Unix socket: over TCP, Kubernetes
    /// 1.37 reads TLS settings that need not be there, and crashes.
    pub egress_socket: PathBuf,
    pub etcd_port: u16,
    /// Whether injected pods are processes of the lab.
    pub proxies: bool,
    pub longest_token: Option<Duration>,
    /// Whether its tokens have an issuer of their own.
    pub own_issuers: bool,
}

/// Pods and Services of a cluster, by its position.
pub(crate) fn own_ranges(index: usize) -> [String; 2] {
    [format!("10.{}.0.0/16", 10 + index), service_range(index)]
}

/// What a pod reaches of its own cluster where pods are in several networks: istiods, which the lab runs, and Services.
pub(crate) fn inner_ranges(index: usize) -> [String; 2] {
    [format!("10.{}.192.0/18", 10 + index), service_range(index)]
}

/// The pods of a cluster that are in one of several networks, by its position.
pub(crate) fn network_range(index: usize, network: usize) -> String {
    format!("10.{}.{}.0/21", 10 + index, network_octet(network))
}

/// Behind what kwok gives, before what the lab gives to pods of no network.
fn network_octet(network: usize) -> usize {
    128 + 8 * network
}

/// More would leave their range.
pub(crate) const MOST_NETWORKS: usize = 8;

fn service_range(index: usize) -> String {
    format!("10.{}.0.0/16", 110 + index)
}

/// The addresses of a cluster's load balancers.
pub(crate) fn balancer_range(index: usize) -> String {
    format!("10.{}.0.0/16", 210 + index)
}

/// Names under which the lab's own parts and the user authenticate; the token is `<prefix>-<cluster>`.
const USERS: [(&str, &str, &str); 6] = [
    ("admin", "lab-admin", "system:masters"),
    ("lab", "lab", "system:masters"),
    ("kube-controller-manager", "system:kube-controller-manager", "system:masters"),
    ("kube-scheduler", "system:kube-scheduler", ""),
    ("kwok", "kwok", "system:masters"),
    ("viewer", "lab-viewer", ""),
];

/// What `--authentication-config` names while no other issuer is trusted.
const TRUSTS_NOBODY: &str = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt: []\n";

impl Layout {
    pub fn service_cidr(&self) -> String {
        service_range(self.index)
    }

    /// The first address of the Service range is the API server's own Service.
    pub fn api_service_ip(&self) -> String {
        format!("10.{}.0.1", 110 + self.index)
    }

    /// The API server in the pods' network, as its endpoint has it: on a node, which pods of its own cluster reach.
    pub fn api_endpoint(&self) -> (String, u16) {
        (self.node_ip(0), 6443)
    }

    /// Addresses of pods that the lab itself runs, away from those kwok gives.
    pub fn process_pod_ip(&self, n: usize) -> String {
        format!("10.{}.{}.{}", 10 + self.index, 200 + n / 250, 1 + n % 250)
    }

    /// The same in one of several networks.
    pub fn network_pod_ip(&self, network: usize, n: usize) -> String {
        format!("10.{}.{}.{}", 10 + self.index, network_octet(network) + n / 250, 1 + n % 250)
    }

    pub fn node_ip(&self, n: usize) -> String {
        format!("10.{}.255.{}", 10 + self.index, 1 + n)
    }

    pub fn balancer_ip(&self, n: usize) -> String {
        format!("10.{}.{}.{}", 210 + self.index, n / 250, 1 + n % 250)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn log(&self, process: &str) -> PathBuf {
        self.dir.join("logs").join(format!("{process}.log"))
    }

    pub fn token(&self, user: &str) -> String {
        format!("{user}-{}", self.name)
    }

    pub fn api_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.api_port)
    }

    /// What the cluster's tokens say of who issued them; where others shall trust them, it is an address at which they
    /// find the keys.
    pub fn issuer(&self) -> String {
        if self.own_issuers { self.front_url() } else { "https://kubernetes.default.svc".into() }
    }

    pub fn front_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.front_port)
    }

    /// Writes the files that the processes read.
    pub fn write_config(&self, pki: &Pki) -> Result<()> {
        let tokens: String = USERS
            .iter()
            .map(|(prefix, user, group)| format!("{},{user},{user},{group}\n", self.token(prefix)))
            .collect();
        self.write("tokens.csv", &tokens)?;
        self.write("audit-policy.json", &audit_policy().to_string())?;
        if self.own_issuers {
            self.trust(TRUSTS_NOBODY)?;
        }
        self.write("egress.json", &self.egress_config().to_string())?;
        self.write("kwok.yaml", &kwok_config(self.proxies))?;
        for user in ["kube-controller-manager", "kube-scheduler", "kwok"] {
            let config = kubeconfig(&self.name, &self.api_url(), &pki.ca_pem, &self.token(user));
            self.write(&format!("{user}.kubeconfig"), &config.to_string())?;
        }
        let admin = kubeconfig(&self.name, &self.front_url(), &pki.ca_pem, &self.token("admin"));
        self.write("kubeconfig", &format!("{admin:#}\n"))
    }

    pub fn api_server(&self, pki: &Pki) -> Vec<String> {
        let file = |name: &str| pki.file(name).display().to_string();
        let mut all = flags(&[
            ("etcd-servers", format!("http://127.0.0.1:{}", self.etcd_port)),
            ("etcd-prefix", format!("/registry-{}", self.name)),
            ("bind-address", "127.0.0.1".into()),
            ("secure-port", self.api_port.to_string()),
            ("tls-cert-file", file("server.crt")),
            ("tls-private-key-file", file("server.key")),
            ("client-ca-file", file("ca.crt")),
            ("token-auth-file", self.path("tokens.csv")),
            ("authorization-mode", "RBAC".into()),
            ("service-account-issuer", self.issuer()),
            ("service-cluster-ip-range", self.service_cidr()),
            // Loopback addresses may not stand in Endpoints, and nothing in the cluster needs them.
            ("endpoint-reconciler-type", "none".into()),
            ("allow-privileged", "true".into()),
            ("audit-policy-file", self.path("audit-policy.json")),
            ("audit-log-path", self.path("audit.log")),
            ("egress-selector-config-file", self.path("egress.json")),
            // Webhooks are called at their pods' addresses, which the lab knows, not at their Services'.
            ("enable-aggregator-routing", "true".into()),
            ("kubelet-preferred-address-types", "InternalIP".into()),
            // It taints new nodes until a controller that is not run here sees their heartbeats.
            ("disable-admission-plugins", "TaintNodesByCondition".into()),
            ("profiling", "false".into()),
        ]);
        if self.own_issuers {
            all.extend(flags(&[
                ("service-account-jwks-uri", format!("{}/openid/v1/jwks", self.front_url())),
                ("authentication-config", self.path("authentication.yaml")),
            ]));
        }
        if let Some(socket) = signer::socket(self) {
            all.extend(flags(&[("service-account-signing-endpoint", socket.display().to_string())]));
            return all;
        }
        all.extend(flags(&[
            ("service-account-key-file", file("service-account.pub")),
            ("service-account-signing-key-file", file("service-account.key")),
        ]));
        let limit = self.longest_token.map(|longest| format!("{}s", longest.as_secs()));
        all.extend(limit.iter().flat_map(|limit| flags(&[("service-account-max-token-expiration", limit.clone())])));
        all
    }

    pub fn controller_manager(&self, pki: &Pki) -> Vec<String> {
        let file = |name: &str| pki.file(name).display().to_string();
        flags(&[
            ("kubeconfig", self.path("kube-controller-manager.kubeconfig")),
            ("secure-port", "0".into()),
            ("leader-elect", "false".into()),
            ("service-account-private-key-file", file("service-account.key")),
            ("root-ca-file", file("ca.crt")),
            ("cluster-signing-cert-file", file("ca.crt")),
            ("cluster-signing-key-file", file("ca.key")),
            // Nodes that have no kubelet send no heartbeats: their life is not the point here.
            (
                "controllers",
                "*,-node-lifecycle-controller,-node-ipam-controller,-persistentvolume-attach-detach-controller,\
              -persistentvolume-binder-controller,-persistentvolume-expander-controller,-ephemeral-volume-controller,\
              -persistentvolumeclaim-protection-controller,-persistentvolume-protection-controller"
                    .into(),
            ),
            ("kube-api-qps", "300".into()),
            ("kube-api-burst", "600".into()),
            ("profiling", "false".into()),
        ])
    }

    pub fn scheduler(&self) -> Vec<String> {
        flags(&[
            ("kubeconfig", self.path("kube-scheduler.kubeconfig")),
            ("secure-port", "0".into()),
            ("leader-elect", "false".into()),
            ("kube-api-qps", "300".into()),
            ("kube-api-burst", "600".into()),
            ("profiling", "false".into()),
        ])
    }

    pub fn kwok(&self) -> Vec<String> {
        flags(&[
            ("kubeconfig", self.path("kwok.kubeconfig")),
            ("config", self.path("kwok.yaml")),
            ("manage-all-nodes", "true".into()),
            ("cidr", format!("10.{}.0.1/17", 10 + self.index)),
            ("node-ip", self.node_ip(0)),
            ("node-lease-duration-seconds", "0".into()),
        ])
    }

    fn egress_config(&self) -> Value {
        let via = json!({ "proxyProtocol": "HTTPConnect",
            "transport": { "uds": { "udsName": self.egress_socket } } });
        let direct = json!({ "proxyProtocol": "Direct" });
        json!({
            "apiVersion": "apiserver.k8s.io/v1beta1", "kind": "EgressSelectorConfiguration",
            "egressSelections": [
                { "name": "cluster", "connection": via },
                { "name": "controlplane", "connection": direct },
                { "name": "etcd", "connection": direct },
            ],
        })
    }

    fn path(&self, name: &str) -> String {
        self.file(name).display().to_string()
    }

    /// Changes whom the API server trusts beside itself; it reads the file anew by itself.
    pub fn trust(&self, configuration: &str) -> Result<()> {
        let (next, file) = (self.file("authentication.next"), self.file("authentication.yaml"));
        fs::write(&next, configuration).map_err(Error::file("write", &next))?;
        fs::rename(&next, &file).map_err(Error::file("write", &file))
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let file = self.file(name);
        fs::write(&file, text).map_err(Error::file("write", &file))
    }
}

/// etcd serves all clusters of a lab, each under its own prefix.
pub(crate) fn etcd(dir: &Path, client_port: u16, peer_port: u16) -> Vec<String> {
    let client = format!("http://127.0.0.1:{client_port}");
    let peer = format!("http://127.0.0.1:{peer_port}");
    flags(&[
        ("name", "lab".into()),
        ("data-dir", dir.display().to_string()),
        ("listen-client-urls", client.clone()),
        ("advertise-client-urls", client),
        ("listen-peer-urls", peer.clone()),
        ("initial-advertise-peer-urls", peer.clone()),
        ("initial-cluster", format!("lab={peer}")),
        ("unsafe-no-fsync", "true".into()),
        ("auto-compaction-mode", "periodic".into()),
        ("auto-compaction-retention", "10m".into()),
        ("log-level", "warn".into()),
    ])
}

/// A kubeconfig as JSON, which every reader of YAML accepts.
pub(crate) fn kubeconfig(cluster: &str, server: &str, ca_pem: &str, token: &str) -> Value {
    use base64::Engine;
    let ca = base64::engine::general_purpose::STANDARD.encode(ca_pem);
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": cluster,
        "clusters": [{ "name": cluster, "cluster": { "server": server, "certificate-authority-data": ca } }],
        "contexts": [{ "name": cluster, "context": { "cluster": cluster, "user": cluster } }],
        "users": [{ "name": cluster, "user": { "token": token } }],
    })
}

fn flags(pairs: &[(&str, String)]) -> Vec<String> {
    pairs.iter().map(|(name, value)| format!("--{name}={value}")).collect()
}

fn audit_policy() -> Value {
    json!({
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy",
        "omitStages": ["RequestReceived"], "omitManagedFields": true,
        "rules": [
            { "level": "None", "users": ["lab", "kwok", "system:kube-controller-manager", "system:kube-scheduler",
                                         "system:apiserver"] },
            { "level": "None", "nonResourceURLs": ["/livez*", "/readyz*", "/healthz*"] },
            { "level": "Metadata" },
        ],
    })
}

/// What kwok does with nodes and pods. Those that the lab runs are left to it.
fn kwok_config(proxies: bool) -> String {
    let config = include_str!("kwok.yaml");
    if !proxies {
        return config.to_owned();
    }
    let (label, made) = proxy::MADE;
    config.replace("# with proxies: ", "").replace("MADE", label).replace("FOR_SIDECARS", made)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of all that istiod makes, the lab has proxies for the gateways of sidecars alone: nobody else would make the
    /// pod of a waypoint ready, or end it.
    #[test]
    fn kwok_leaves_to_the_lab_the_pods_that_it_runs_and_no_others() {
        let (plain, with_proxies) = (kwok_config(false), kwok_config(true));
        let rule = "- { key: '.metadata.labels[\"gateway.istio.io/managed\"]', operator: NotIn, values: [istio.io-gateway-controller] }";
        let count = |config: &str| config.lines().filter(|line| line.trim() == rule).count();
        assert_eq!((count(&plain), count(&with_proxies)), (0, 2), "{with_proxies}");
        let rules = |config: &str| config.lines().filter(|line| line.trim_start().starts_with("- { key:")).count();
        assert_eq!(rules(&with_proxies), rules(&plain) + 4);
    }
}
