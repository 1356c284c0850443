//! The attributes of `mesh_remote_cluster`.

use crate::model;
use crate::resources::charts::{Charts, not_plain_http};
use crate::value::{List, Map, Set, Value};

model! {
    /// Lets the istiods of other clusters watch a cluster: a reader with no more rights than istiod needs, a token for
    /// each watcher, and in each watcher the remote secret by which its istiod learns of the cluster. The resource is
    /// there when every replica of every watcher reports that it is in sync.
    ///
    /// In the mode `peer` the watched cluster has a control plane of its own. With `remote` it has none: its proxies
    /// are served by `control_plane`, through the gateway at `control_plane_address`, and the resource also installs
    /// the remote profile of Istio's charts. The mode `config` is for the cluster that an external control plane reads
    /// its configuration from, a `mesh_primary` with `config_cluster`. Its istiod gets the kubeconfig that it waits
    /// for, and serves the cluster as it would a remote.
    ///
    /// Tokens are bounded. The first apply within `token.rotate_before` of a token's end renews it: the new one is made
    /// and tried, every istiod replica uses it, and only then the old one is revoked. No token is written to plan or
    /// state.
    pub struct RemoteCluster {
        /// Cluster that is watched: a key of the provider's `clusters`.
        #[attr(required, replace, validate(non_empty()))]
        pub cluster: Value<String>,
        /// The id by which Istio knows the watched cluster; must be the `cluster_name` of its control plane. `cluster`
        /// where nothing is set.
        #[attr(optional, computed, keep, replace, validate(non_empty()))]
        pub cluster_name: Value<String>,
        /// Namespace of Istio, the same in every cluster of a mesh.
        #[attr(default("istio-system"), replace, validate(dns_label()))]
        pub namespace: Value<String>,
        /// Clusters whose istiods watch: keys of the provider's `clusters`.
        #[attr(required, validate(each(non_empty())))]
        pub watchers: Value<Set<String>>,
        /// `peer` (the watched cluster has its own control plane), `remote` (its proxies are served by `control_plane`)
        /// or `config` (an external control plane, in the one watcher, serves its proxies and reads its configuration
        /// from here).
        #[attr(default("peer"), replace, validate(one_of(&["peer", "remote", "config"])))]
        pub mode: Value<String>,
        /// In the mode `remote`: the `cluster_name` of the control plane that serves the cluster. The only watcher
        /// where nothing is set.
        #[attr(optional, validate(non_empty()))]
        pub control_plane: Value<String>,
        /// In the modes `remote` and `config`: where the control plane is reached, an IP address or a DNS name: one of
        /// its gateway's, or of the `addresses` of a `mesh_primary` with `expose`. For a DNS name the webhooks are
        /// called by URL, and the control plane must have the name in its certificate: add it to the `custom_hosts` of
        /// its `mesh_primary`.
        #[attr(optional, validate(non_empty()))]
        pub control_plane_address: Value<String>,
        /// For the mode `remote`, when the control plane is an external one: the cluster that it reads its
        /// configuration from, a key of the provider's `clusters`. Its remote secrets are kept there.
        #[attr(optional, replace, validate(non_empty()))]
        pub config_cluster: Value<String>,
        /// In the modes `remote` and `config`: network of the cluster.
        #[attr(optional, validate(non_empty()))]
        pub network: Value<String>,
        /// In the modes `remote` and `config`: revision of the control plane that serves the cluster.
        #[attr(optional, validate(dns_label()))]
        pub revision: Value<String>,
        /// The watched cluster's API server as the watchers dial it, `https://host:port`. As in the provider's
        /// `clusters` where nothing is set.
        #[attr(optional, validate(non_empty()))]
        pub server: Value<String>,
        /// PEM certificates to check the API server by. The cluster's own (ConfigMap `kube-root-ca.crt` in
        /// `kube-system`) where nothing is set.
        #[attr(optional, validate(non_empty()), document)]
        pub certificate_authority: Value<String>,
        /// Name to ask for, and to check in the API server's certificate, where it is not the host of `server`.
        #[attr(optional, validate(non_empty()))]
        pub tls_server_name: Value<String>,
        /// Proxy by which the watchers reach the API server.
        #[attr(optional, validate(non_empty()), validate(without_user_info()))]
        pub proxy_url: Value<String>,
        /// Accept a `server` such as `127.0.0.1`, which names another machine to each watcher. Only for istiods that
        /// run outside of containers on one machine; not for kind, k3d or minikube.
        #[attr(default(false))]
        pub allow_loopback_server: Value<bool>,
        /// The readers' tokens.
        #[attr(optional)]
        pub token: Value<Token>,
        /// Link without a stored token, in place of `token`. The istiod of each watcher comes with a token of its own
        /// ServiceAccount, by `link_token` of its `mesh_primary`, and the API server of the watched cluster trusts the
        /// issuer of it. The remote secret names a file and holds no token, and nothing has to be renewed. The guide on
        /// credentials says what the API server needs; an apply proves it before it writes. Not in the mode `config`,
        /// and not with `config_cluster`.
        #[attr(optional)]
        pub link_token: Value<LinkToken>,
        /// Name of the reader's ServiceAccount and, with the namespace, of its ClusterRole. In the mode `config`
        /// istiod's own are used, which its charts bring.
        #[attr(default("istio-mesh-reader"), replace, validate(dns_label()))]
        pub service_account: Value<String>,
        /// Let the watchers read all Secrets of the cluster, as every istiod asks to, for the credentials of gateways.
        /// Whoever has one of their tokens then has the cluster's `cacerts`, its remote secrets and, if `root.store` of
        /// a `mesh_ca` is there, the key of the root. With `false`, set `read_remote_secrets = false` on the
        /// `mesh_primary` of every watcher too, or its istiod never gets in sync. No istiod up to 1.31.0 works with
        /// `false`: 1.31.0 brought the switch and crashes at the first cluster that it watches.
        #[attr(default(true))]
        pub read_secrets: Value<bool>,
        /// Let the watchers export Services by the Multi-Cluster Services API, for istiods with
        /// `ENABLE_MCS_AUTO_EXPORT=true`.
        #[attr(default(false))]
        pub export_services: Value<bool>,
        /// In the modes `remote` and `config`: values for the charts `base` and `istiod`, YAML documents merged in
        /// order over those that the attributes here stand for.
        #[attr(optional, document)]
        pub values: Value<List<String>>,
        /// Paths of values whose content is secret, such as `pilot.env.AUTH_TOKEN`; a dot within a key is written `\.`.
        /// What the charts make of them is shown as digests in plans and kept as digests in state. What a key's name
        /// calls a password, token or secret is hidden unasked. Mark the variable `sensitive` as well: a provider
        /// cannot see that it is.
        #[attr(optional, validate(each(non_empty())))]
        pub sensitive_values: Value<List<String>>,
        /// In the modes `remote` and `config`: where the charts come from; what is not set is taken from the provider's
        /// `charts`.
        #[attr(optional, validate(not_plain_http(&["base", "istiod"])))]
        pub charts: Value<Charts>,
        /// Take over objects that exist and are not this resource's, for instance remote secrets by istioctl. By
        /// default that is an error.
        #[attr(default(false))]
        pub adopt: Value<bool>,
        /// Overwrite fields in this resource's objects that another field manager has set. By default that is an error
        /// that names object, field and manager.
        #[attr(default(false))]
        pub force_conflicts: Value<bool>,
        /// Wait until every istiod replica of every watcher is in sync.
        #[attr(default(true))]
        pub wait: Value<bool>,
        /// On destroy, and when watchers are removed, continue without clusters that cannot be reached, and report what
        /// had to be left in them.
        #[attr(default(false))]
        pub skip_unreachable_on_destroy: Value<bool>,
        /// `cluster/namespace/cluster_name`.
        #[attr(computed, keep)]
        pub id: Value<String>,
        /// Mark of this instance, which each of its objects carries as an annotation: it tells them from those of
        /// another state or block with the same name.
        #[attr(computed, keep)]
        pub instance: Value<String>,
        /// Name of the remote secret in each watcher.
        #[attr(computed, keep)]
        pub secret_name: Value<String>,
        /// The API server's address that the remote secrets carry.
        #[attr(computed)]
        pub server_url: Value<String>,
        /// SHA-256 fingerprint of the CA certificates that the remote secrets carry, in hexadecimal.
        #[attr(computed)]
        pub certificate_authority_fingerprint: Value<String>,
        /// What the istiods of each watcher report about this cluster: the worst of their replicas.
        #[attr(computed)]
        pub sync: Value<Map<Sync>>,
        /// Each watcher's token: until when it is valid, never the token itself.
        #[attr(computed)]
        pub tokens: Value<Map<TokenState>>,
        /// Earliest end of the tokens, in RFC 3339. Null where none ends, or where jobs renew them.
        #[attr(computed)]
        pub token_expires_at: Value<String>,
        /// How often an apply must come for no token to end: the `token.rotate_before` that counts, such as `30d`. Null
        /// with `long_lived`, with `token.renewal` and with `link_token`.
        #[attr(computed)]
        pub renew_within: Value<String>,
        /// The Kubernetes objects kept in the watched cluster, each with a digest of its owned fields.
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

/// `token.lifetime` where nobody says another.
pub const DEFAULT_LIFETIME: &str = "90d";

model! {
    /// The readers' tokens.
    pub struct Token {
        /// How long a token is valid. Managed clouds grant less: a day on EKS and AKS, two days on GKE. A new link is
        /// then refused, and an existing one renewed with a warning. Set what is granted and apply at least three
        /// times in that time, or use `renewal`, `link_token` or `long_lived`.
        #[attr(default("90d"), validate(duration()))]
        pub lifetime: Value<String>,
        /// How long before its end a token is renewed: 30 days, or a third of a `lifetime` of less than 90 days, where
        /// nothing is set. Where the API server grants less than `lifetime`, at most two thirds of what it grants
        /// count. With `renewal` the job's schedule counts in its place.
        #[attr(optional, validate(duration()))]
        pub rotate_before: Value<String>,
        /// Use tokens that never end, one for each watcher, each kept in a Secret of the watched cluster.
        #[attr(default(false))]
        pub long_lived: Value<bool>,
        /// Renew tokens also while a watcher runs Istio 1.30.0 to 1.30.3, which lose the cluster's endpoints when a
        /// remote secret changes.
        #[attr(default(false))]
        pub rotate_on_affected_versions: Value<bool>,
        /// Let a CronJob in each watcher renew its token, so that no apply has to, whatever the API server grants. It
        /// runs three times or more in a token's life, each link at a minute of its own. It can read and change that
        /// one remote secret. The reader may ask for tokens of its own that are bound to the Secrets of this resource,
        /// which a ValidatingAdmissionPolicy sees to (Kubernetes 1.30 or later). An apply proves the right, and a
        /// refresh warns when a renewal did not come. The guide on credentials compares the ways. Not with
        /// `long_lived`, and not with an external control plane.
        #[attr(optional)]
        pub renewal: Value<Renewal>,
    }
}

model! {
    /// How tokens are renewed inside the watchers.
    pub struct Renewal {
        /// Image of the job: one with bash, curl and base64. The image of the watcher's istiod where nothing is
        /// set; one of Istio's `distroless` images has no shell.
        #[attr(optional, validate(non_empty()))]
        pub image: Value<String>,
    }
}

model! {
    /// How istiods log in with tokens of their own clusters.
    pub struct LinkToken {
        /// What the API server demands of the tokens: one of the `audiences` in `link_token` of each watcher's
        /// `mesh_primary`. With an audience of its own for each watched cluster, no API server can use at another what
        /// istiods send to it.
        #[attr(default("istio-links"), validate(non_empty()))]
        pub audience: Value<String>,
        /// By watcher: the user name that the API server gives its istiod, which gets the reader's rights.
        /// `<watcher>:system:serviceaccount:<namespace>:istiod` where nothing is set: the claim `sub` after the prefix
        /// `<watcher>:`. Several revisions in a watcher need one name for all, by an expression of the API server's
        /// configuration.
        #[attr(optional, validate(each(non_empty())))]
        pub users: Value<Map<String>>,
    }
}

model! {
    /// What the istiods of a watcher say.
    pub struct Sync {
        /// `synced`, `syncing`, `timeout`, `closed`, `missing` (not known to istiod), `foreign` (registered from
        /// another secret) or `unknown` (no answer).
        #[attr(computed)]
        pub verdict: Value<String>,
        /// Version of istiod.
        #[attr(computed)]
        pub istiod_version: Value<String>,
        /// Digest of the remote secret's content in this watcher, the token left out.
        #[attr(computed)]
        pub secret: Value<String>,
    }
}

model! {
    /// A watcher's token.
    pub struct TokenState {
        /// When it ends, in RFC 3339. Null where it never does, and while a job renews it in time.
        #[attr(computed)]
        pub expires_at: Value<String>,
        /// `valid`, `leftover` (valid, and others that the watcher was given before still hold: the next apply revokes
        /// them), `rotate` (near its end), `expired`, `revoked` (what it was bound to is gone) or `unreadable`. With
        /// `link_token` it is `projected`: none is stored. Where a job renews it, it is `renewed`, or `unrenewed` if
        /// the job or what it needs is not as it was made.
        #[attr(computed)]
        pub condition: Value<String>,
    }
}
