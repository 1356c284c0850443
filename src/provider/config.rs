//! The provider block: one declaration per attribute, and the rules each obeys on its own.
//!
//! The rules never repeat the value of an attribute that may hold a credential.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::mesh::ClusterName;
use crate::model;
use crate::resources::charts::{ProviderCharts, not_plain_http};
use crate::schema::Validator;
use crate::schema::validate::text;
use crate::value::{List, Map, Value};

model! {
    /// The mesh provider builds and keeps Istio meshes that span several Kubernetes clusters. It talks to all of them
    /// in one process.
    pub struct Config {
        /// The clusters that resources can name, by a name of your choice. A cluster's connection is made when a
        /// resource first needs it, so a cluster that the same configuration creates can be named here too.
        #[attr(optional, validate(each_key(cluster_name())))]
        pub clusters: Value<Map<ClusterModel>>,
        /// Where Istio's charts come from, for all resources that do not say otherwise.
        #[attr(optional, validate(not_plain_http(&["base", "istiod", "gateway"])))]
        pub charts: Value<ProviderCharts>,
        /// What a refresh does about a cluster that does not answer: `warn` (the default) continues with what state
        /// holds, so that one cluster's outage stops no work on the others; `error` fails. Use `error` for runs that
        /// look for drift: a cluster that cannot be looked at is then not taken for one without changes.
        #[attr(optional, validate(one_of(&["warn", "error"])))]
        pub unreachable_clusters: Value<String>,
    }
}

model! {
    /// How a cluster is reached: by a kubeconfig (`config_path`, `config_paths` or `config`), by `host` with a
    /// credential, or by a kubeconfig of which some entries are overridden. Nothing is taken from the environment but
    /// HTTPS_PROXY and NO_PROXY.
    pub struct ClusterModel {
        /// Path of a kubeconfig file. `~` is the home directory.
        #[attr(optional, validate(non_empty()))]
        pub config_path: Value<String>,
        /// Paths of kubeconfig files, merged as kubectl merges those of `KUBECONFIG`. A file
        /// that is not there is an error, which kubectl passes over.
        #[attr(optional, validate(non_empty()), validate(each(non_empty())))]
        pub config_paths: Value<List<String>>,
        /// A kubeconfig as text, YAML or JSON.
        #[attr(optional, sensitive, validate(non_empty()), document)]
        pub config: Value<String>,
        /// Context of the kubeconfig. Its current context if not set.
        #[attr(optional, validate(non_empty()))]
        pub config_context: Value<String>,
        /// Address of the API server, such as `https://203.0.113.7:6443`. Overrides the kubeconfig's.
        #[attr(optional, validate(server_url()), document)]
        pub host: Value<String>,
        /// Certificate authority of the API server, PEM. The system's authorities count if not set.
        #[attr(optional, validate(certificates()), document)]
        pub cluster_ca_certificate: Value<String>,
        /// Bearer token.
        #[attr(optional, sensitive, validate(bearer_token()))]
        pub token: Value<String>,
        /// Client certificate, PEM. Needs `client_key`.
        #[attr(optional, validate(certificates()), document)]
        pub client_certificate: Value<String>,
        /// Key of the client certificate, PEM.
        #[attr(optional, sensitive, validate(private_key()), document)]
        pub client_key: Value<String>,
        /// User name for basic authentication. Needs `password`.
        #[attr(optional, validate(non_empty()))]
        pub username: Value<String>,
        /// Password for basic authentication.
        #[attr(optional, sensitive)]
        pub password: Value<String>,
        /// Credential plugin to run for a token or client certificate. It runs before the first request to the cluster,
        /// which a refresh makes; configuring the provider does not run it.
        #[attr(optional)]
        pub exec: Value<Exec>,
        /// Name to ask for, and to check in the API server's certificate, when it is not the host of the address.
        #[attr(optional, validate(dns_subdomain()))]
        pub tls_server_name: Value<String>,
        /// Proxy on the way to the API server: `http://`, `https://` or `socks5://`. Sensitive, since it may hold a
        /// user and password.
        #[attr(optional, sensitive, validate(proxy()))]
        pub proxy_url: Value<String>,
        /// Accept any certificate of the API server. For experiments only: whoever sits in between reads the
        /// credential.
        #[attr(optional)]
        pub insecure: Value<bool>,
        /// Which cluster is meant: the uid of its namespace `kube-system`. Resources refuse any other cluster that
        /// answers under this name. Without it they refuse any other than the one they were applied to. After a cluster
        /// was rebuilt, set the uid of the new one, which the message names.
        #[attr(optional, validate(non_empty()))]
        pub uid: Value<String>,
    }
}

model! {
    /// A credential plugin of client-go, as kubeconfigs name them.
    pub struct Exec {
        /// Version of the plugin interface: `client.authentication.k8s.io/v1` (the default) or
        /// `client.authentication.k8s.io/v1beta1`.
        #[attr(optional, validate(one_of(&["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"])))]
        pub api_version: Value<String>,
        /// Program to run.
        #[attr(required, validate(non_empty()))]
        pub command: Value<String>,
        /// Arguments of the program.
        #[attr(optional, document)]
        pub args: Value<List<String>>,
        /// Environment variables added to the provider's own.
        #[attr(optional, sensitive, document)]
        pub env: Value<Map<String>>,
    }
}

fn cluster_name() -> Validator {
    text("a name that Istio can know a cluster by", |name| {
        ClusterName::new(name).map(drop).map_err(|error| format!("{error}."))
    })
}

fn server_url() -> Validator {
    text("the address of an API server", |host| {
        let host = host.trim();
        if host.is_empty() {
            return Err("It is empty.".to_owned());
        }
        let address = if host.contains("://") { host.to_owned() } else { format!("https://{host}") };
        if address
            .parse::<http::Uri>()
            .map_or(address.contains('@'), |uri| uri.authority().is_some_and(|a| a.as_str().contains('@')))
        {
            return Err(
                "It holds a user or password, or is no URL: give credentials in attributes of their own.".to_owned()
            );
        }
        match address.parse::<http::Uri>() {
            Ok(uri) if !matches!(uri.scheme_str(), Some("https" | "http")) => {
                Err(format!("{host:?} is neither an https nor an http address."))
            }
            Ok(uri) if uri.host().is_some_and(|name| !name.is_empty()) => Ok(()),
            _ => Err(format!("{host:?} is no URL with a host.")),
        }
    })
}

fn proxy() -> Validator {
    // All the advice stands in the rule's own words: of a sensitive attribute nothing else is shown.
    text("the address of a proxy: http://host:port, https://host:port or socks5://host:port (or socks5h://)", |url| {
        let is_proxy =
            |scheme: &str| ["http", "https", "socks5", "socks5h"].contains(&scheme.to_ascii_lowercase().as_str());
        match url.parse::<http::Uri>() {
            Ok(uri) if uri.scheme_str().is_some_and(is_proxy) && uri.host().is_some() => Ok(()),
            _ => Err("It is not.".to_owned()),
        }
    })
}

fn bearer_token() -> Validator {
    // All the advice stands in the rule's own words: of a sensitive attribute nothing else is shown.
    text("a bearer token without white space around it (trimspace() takes off what a file had)", |token| {
        let blank = |c: char| c.is_whitespace() || c.is_control();
        if token.is_empty() || !token.is_ascii() || token.chars().any(blank) {
            Err("It is not.".to_owned())
        } else {
            Ok(())
        }
    })
}

fn certificates() -> Validator {
    text("certificates in PEM form", |pem| {
        let mut found = CertificateDer::pem_slice_iter(pem.as_bytes()).peekable();
        if found.peek().is_some() && found.all(|certificate| certificate.is_ok()) { Ok(()) } else { Err(no_pem(pem)) }
    })
}

fn private_key() -> Validator {
    text("a private key in PEM form, not its base64 and not a path", |pem| {
        PrivateKeyDer::from_pem_slice(pem.as_bytes()).map(drop).map_err(|_| no_pem(pem))
    })
}

/// What is wrong with a text that should be PEM, without showing any of it.
fn no_pem(text: &str) -> String {
    if text.trim_start().starts_with("LS0tLS1") {
        "It is base64 of a PEM text, as kubeconfigs have it: use base64decode().".to_owned()
    } else if text.trim().is_empty() {
        "It is empty.".to_owned()
    } else if !text.contains("-----BEGIN ") && !text.contains('\n') {
        "It has no PEM block; if it is the path of a file, use file().".to_owned()
    } else {
        "It has no readable PEM block of that kind.".to_owned()
    }
}
