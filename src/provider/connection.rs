//! From the provider block to how each cluster is reached: the rules over several attributes, and the connection's
//! configuration. Looks at files (are they there, may they be read) and reads none.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;

use super::config::{ClusterModel, Config, Exec};
use crate::cluster::{self, ClusterConfig, Secret};
use crate::diag::{Diagnostic, Diagnostics};
use crate::files;
use crate::value::{Path, Value};

/// The rules over several attributes. Never complains of what is unknown.
pub(super) fn validate(config: &Config, diagnostics: &mut Diagnostics) {
    for (name, cluster) in config.clusters.entries() {
        let at = Path::root("clusters").key(name);
        one_kubeconfig(cluster, &at, diagnostics);
        some_address(name, cluster, &at, diagnostics);
        one_credential(cluster, &at, diagnostics);
        complete_pairs(cluster, &at, diagnostics);
        readable_files(cluster, &at, diagnostics);
        plain_http(cluster, &at, diagnostics);
    }
}

/// On this machine nobody is in between.
fn plain_http(cluster: &ClusterModel, at: &Path, diagnostics: &mut Diagnostics) {
    let Some(uri) = cluster.host.known().and_then(|host| host.trim().parse::<http::Uri>().ok()) else { return };
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let is_local = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    let has_credential = [&cluster.token, &cluster.username, &cluster.client_certificate].iter().any(|v| v.is_known())
        || cluster.exec.is_known();
    if uri.scheme_str() == Some("http") && !is_local && has_credential {
        diagnostics.push(
            Diagnostic::warning("A credential goes over plain http")
                .detail("Anybody between this machine and the API server can read and use it. Use an https address.")
                .at(at.attr("host")),
        );
    }
}

fn one_kubeconfig(cluster: &ClusterModel, at: &Path, diagnostics: &mut Diagnostics) {
    let sources = [
        ("config_path", cluster.config_path.is_known()),
        ("config_paths", cluster.config_paths.is_known()),
        ("config", cluster.config.is_known()),
    ];
    let mut given = sources.iter().filter(|(_, given)| *given).map(|(name, _)| *name);
    if let (Some(first), Some(second)) = (given.next(), given.next()) {
        let detail = format!("Both `{first}` and `{second}` are set. Keep one of them.");
        diagnostics.error_at(at.attr(second), "Two kubeconfigs for one cluster", detail);
    }
    let none = cluster.config_path.is_null() && cluster.config_paths.is_null() && cluster.config.is_null();
    if none && !cluster.config_context.is_null() {
        let detail = "`config_context` chooses a context of a kubeconfig, and no kubeconfig is set. \
                      Set `config_path`, `config_paths` or `config` as well.";
        diagnostics.error_at(at.attr("config_context"), "Context without a kubeconfig", detail);
    }
}

fn some_address(name: &str, cluster: &ClusterModel, at: &Path, diagnostics: &mut Diagnostics) {
    let none = cluster.config_path.is_null()
        && cluster.config_paths.is_null()
        && cluster.config.is_null()
        && cluster.host.is_null();
    if none {
        let detail = format!(
            "Nothing says where cluster {name:?} is. Set `config_path`, `config_paths`, `config` or `host`. \
             The environment and the default kubeconfig are not consulted, since they may name another cluster."
        );
        diagnostics.error_at(at.clone(), "Cluster without an address", detail);
    }
    if cluster.insecure.get() == Some(true) && cluster.cluster_ca_certificate.is_known() {
        let detail = "`insecure` accepts any certificate, so `cluster_ca_certificate` would not be used. \
                      Keep one of them, preferably the certificate.";
        diagnostics.error_at(at.attr("insecure"), "Certificate authority and `insecure`", detail);
    }
}

fn one_credential(cluster: &ClusterModel, at: &Path, diagnostics: &mut Diagnostics) {
    let credentials = [
        ("token", cluster.token.is_known()),
        ("client_certificate", cluster.client_certificate.is_known()),
        ("username", cluster.username.is_known()),
        ("exec", cluster.exec.is_known()),
    ];
    let mut given = credentials.iter().filter(|(_, given)| *given).map(|(name, _)| *name);
    if let (Some(first), Some(second)) = (given.next(), given.next()) {
        let detail =
            format!("Both `{first}` and `{second}` are set. A cluster takes one credential; keep one of them.");
        diagnostics.error_at(at.attr(second), "Two credentials for one cluster", detail);
    }
}

fn complete_pairs(cluster: &ClusterModel, at: &Path, diagnostics: &mut Diagnostics) {
    let pairs = [
        ("client_certificate", &cluster.client_certificate, "client_key", &cluster.client_key),
        ("username", &cluster.username, "password", &cluster.password),
    ];
    for (one, first, other, second) in pairs {
        let alone = if first.is_known() && second.is_null() {
            (one, other)
        } else if first.is_null() && second.is_known() {
            (other, one)
        } else {
            continue;
        };
        let detail = format!("`{}` is set without `{}`. Set both or neither.", alone.0, alone.1);
        diagnostics.error_at(at.attr(alone.0), "Incomplete credential", detail);
    }
}

/// A kubeconfig that is not there yet may be written later in the same run, so that is a warning only.
fn readable_files(cluster: &ClusterModel, at: &Path, diagnostics: &mut Diagnostics) {
    let single = cluster.config_path.known().map(|path| (path, at.attr("config_path")));
    let several = cluster.config_paths.known().into_iter().flat_map(|paths| {
        paths.iter().enumerate().filter_map(|(i, path)| Some((path.known()?, at.attr("config_paths").index(i))))
    });
    for (path, at) in single.into_iter().chain(several).filter(|(path, _)| !path.is_empty()) {
        match files::open(&expanded(path)) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => diagnostics.push(
                Diagnostic::warning("No such kubeconfig")
                    .detail(format!("There is no file {path:?} yet. If this run writes it, there is nothing to do. Otherwise correct the path."))
                    .at(at),
            ),
            Err(error) => diagnostics.error_at(at, "Unreadable kubeconfig", format!("{path:?}: {error}.")),
        }
    }
}

fn expanded(path: &str) -> PathBuf {
    let in_home = path.strip_prefix('~').and_then(|rest| rest.strip_prefix(std::path::is_separator));
    match (in_home, std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}

/// Whether a refresh fails without an answer from each cluster of which state holds something.
pub(super) fn must_answer(config: &Config) -> bool {
    config.unreachable_clusters.as_deref() == Some("error")
}

/// How each cluster is reached; `None` while not even their names are known. One whose description has unknown parts
/// stays without a connection.
pub(super) fn clusters(config: &Config) -> Option<BTreeMap<String, ClusterConfig>> {
    if config.clusters.is_unknown() {
        return None;
    }
    let must_answer = must_answer(config);
    let clusters = config.clusters.known().into_iter().flatten();
    let connected = clusters.map(|(name, cluster)| {
        let connection = cluster.known().filter(|cluster| is_complete(cluster)).map(connection);
        let connection = connection.unwrap_or_else(|| ClusterConfig { not_known: true, ..ClusterConfig::default() });
        (name.clone(), ClusterConfig { must_answer, ..connection })
    });
    Some(connected.collect())
}

/// Whether everything that decides where the cluster is, which one it is and who asks is known.
fn is_complete(cluster: &ClusterModel) -> bool {
    let texts = [
        &cluster.config_path,
        &cluster.config,
        &cluster.config_context,
        &cluster.host,
        &cluster.cluster_ca_certificate,
        &cluster.token,
        &cluster.client_certificate,
        &cluster.client_key,
        &cluster.username,
        &cluster.password,
        &cluster.tls_server_name,
        &cluster.proxy_url,
        &cluster.uid,
    ];
    let exec = cluster.exec.known().is_none_or(|exec| {
        !exec.api_version.is_unknown()
            && !exec.command.is_unknown()
            && exec.args.is_wholly_known()
            && exec.env.is_wholly_known()
    });
    texts.iter().all(|text| !text.is_unknown())
        && cluster.config_paths.is_wholly_known()
        && !cluster.insecure.is_unknown()
        && !cluster.exec.is_unknown()
        && exec
}

fn connection(cluster: &ClusterModel) -> ClusterConfig {
    let text = |value: &Value<String>| value.known().cloned();
    let secret = |value: &Value<String>| value.known().map(|text| Secret::new(text.as_str()));
    let paths = cluster.config_paths.items().chain(cluster.config_path.known()).cloned();
    ClusterConfig {
        config_paths: paths.collect(),
        config: secret(&cluster.config),
        config_context: text(&cluster.config_context),
        host: text(&cluster.host).map(|host| host.trim().to_owned()),
        token: secret(&cluster.token),
        username: text(&cluster.username),
        password: secret(&cluster.password),
        client_certificate: text(&cluster.client_certificate),
        client_key: secret(&cluster.client_key),
        cluster_ca_certificate: text(&cluster.cluster_ca_certificate),
        exec: cluster.exec.known().map(exec),
        tls_server_name: text(&cluster.tls_server_name),
        proxy_url: text(&cluster.proxy_url),
        insecure: cluster.insecure.get().unwrap_or_default(),
        not_known: false,
        alone: false,
        must_answer: false,
        uid: text(&cluster.uid),
    }
}

fn exec(exec: &Exec) -> cluster::Exec {
    cluster::Exec {
        api_version: exec.api_version.as_deref().unwrap_or("client.authentication.k8s.io/v1").to_owned(),
        command: exec.command.text().to_owned(),
        args: exec.args.items().cloned().collect(),
        env: exec.env.entries().map(|(name, value)| (name.to_owned(), Secret::new(value.as_str()))).collect(),
        install_hint: None,
        cluster_info: None,
    }
}
