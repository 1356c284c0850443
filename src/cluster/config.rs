//! How a cluster is reached, as the provider block says it; nothing is read, run or resolved before the first request.

use std::fmt;

use serde_json::Value;

/// How the cluster is reached from here, as the configuration says; no request is made to find out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `https://host:port`
    pub server: String,
    /// PEM; `None` where the machine's own trust store decides.
    pub certificate_authority: Option<String>,
    pub tls_server_name: Option<String>,
    pub proxy_url: Option<String>,
    pub insecure: bool,
}

/// One entry of the provider's `clusters`. Values given here override what the kubeconfig says.
///
/// Without `config_paths`, `config` or `host` there is no connection: no environment variable, in-cluster account or
/// localhost stands in for it, because what stands in may be the wrong cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterConfig {
    /// Kubeconfig files, merged in order as kubectl does; `~` is the home directory.
    pub config_paths: Vec<String>,
    /// A kubeconfig as text (YAML or JSON).
    pub config: Option<Secret>,
    /// The context of the kubeconfig; the current one if not given.
    pub config_context: Option<String>,
    /// `https://host:port`
    pub host: Option<String>,
    pub token: Option<Secret>,
    pub username: Option<String>,
    pub password: Option<Secret>,
    /// PEM.
    pub client_certificate: Option<String>,
    /// PEM.
    pub client_key: Option<Secret>,
    /// PEM, one or several certificates.
    pub cluster_ca_certificate: Option<String>,
    pub exec: Option<Exec>,
    pub tls_server_name: Option<String>,
    pub proxy_url: Option<String>,
    /// Accept any server certificate.
    pub insecure: bool,
    /// Some of these values come from what the run is still to make: there is no connection yet.
    pub not_known: bool,
    /// The credential speaks for itself: whom the kubeconfig's user acts as is left out.
    pub alone: bool,
    /// A refresh that gets no answer fails, instead of going on with what state remembers.
    pub must_answer: bool,
    /// Which cluster is meant, by [`Cluster::uid`](super::Cluster::uid), whoever answers.
    pub uid: Option<String>,
}

/// A client-go credential plugin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exec {
    /// `client.authentication.k8s.io/v1` or `…/v1beta1`.
    pub api_version: String,
    pub command: String,
    pub args: Vec<String>,
    pub env: Vec<(String, Secret)>,
    /// Shown when the command is not there.
    pub install_hint: Option<String>,
    /// The `cluster` part of `KUBERNETES_EXEC_INFO`, for plugins that ask for it.
    pub cluster_info: Option<Value>,
}

/// Text that no log, error or debug output may show.
#[derive(Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Secret {
        Secret(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Secret {
        Secret(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
