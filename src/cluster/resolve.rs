//! From a cluster's configuration to what a connection needs: reads kubeconfig files, runs nothing, connects to nothing.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::Uri;
use kube::config::{
    AuthInfo, ExecInteractiveMode, KubeConfigOptions, Kubeconfig, KubeconfigError, NamedAuthInfo, NamedCluster,
    NamedContext,
};
use serde_json::json;

use super::config::{ClusterConfig, Exec, Secret};
use super::error::Failure;
use super::read::Endpoint;

/// All that is known of a cluster before the first byte goes out.
pub(super) struct Resolved {
    /// Server, trust, client certificate, tokens and impersonation; never an exec plugin.
    pub kube: kube::Config,
    pub exec: Option<Exec>,
    /// For messages: `token`, `client certificate`, `exec plugin aws`, with the kubeconfig's user where there is one.
    pub credential: String,
    pub endpoint: Endpoint,
}

pub(super) fn resolve(config: &ClusterConfig) -> Result<Resolved, Failure> {
    if *config == ClusterConfig::default() {
        return Err(unusable("it is not known yet: some of its values come from what this run is still to make"));
    }
    let entry = kubeconfig_entry(config)?;
    let Entry { mut cluster, mut user, origin } = override_entry(config, entry)?;

    let server = cluster.server.take().filter(|server| !server.is_empty());
    let server = server.ok_or_else(|| unusable("the kubeconfig's cluster has no `server`, and `host` is not set"))?;
    let server = if server.contains("://") { server } else { format!("https://{server}") };
    let uri: Uri =
        server.parse().map_err(|error| unusable(format!("the server address {server:?} is no URL: {error}")))?;
    if !matches!(uri.scheme_str(), Some("https" | "http")) || uri.host().is_none_or(str::is_empty) {
        return Err(unusable(format!("the server address {server:?} is no http or https URL with a host")));
    }
    cluster.server = Some(server.clone());

    let credential = credential_name(&user, &origin);
    let exec = user.exec.take().map(|exec| exec_plugin(exec, &cluster, config)).transpose()?;
    let proxy_url = match cluster.proxy_url.take().filter(|proxy| !proxy.is_empty()) {
        Some(proxy) => Some(proxy),
        None => environment_proxy(&uri, &|name| std::env::var(name).ok()),
    };
    let proxy: Option<Uri> = proxy_url
        .as_deref()
        .map(|proxy| if proxy.contains("://") { proxy.to_owned() } else { format!("http://{proxy}") })
        .map(|proxy| proxy.parse().map_err(|error| unusable(format!("the proxy URL is no URL: {error}"))))
        .transpose()?;

    let certificate_authority = certificate_authority(&cluster)?;
    let tls_server_name = cluster.tls_server_name.clone();
    let insecure = cluster.insecure_skip_tls_verify.unwrap_or(false);
    let mut kube = load(cluster, user)?;
    kube.proxy_url = proxy;
    kube.default_retry = false;
    let endpoint = Endpoint { server, certificate_authority, tls_server_name, proxy_url, insecure };
    Ok(Resolved { kube, exec, credential, endpoint })
}

struct Entry {
    cluster: kube::config::Cluster,
    user: AuthInfo,
    /// The user entry's name in the kubeconfig.
    origin: Option<String>,
}

/// The cluster and user that the kubeconfig's context names; empty ones where there is no kubeconfig but a host.
fn kubeconfig_entry(config: &ClusterConfig) -> Result<Entry, Failure> {
    let mut kubeconfig: Option<Kubeconfig> = None;
    for path in &config.config_paths {
        let path = expand_home(path);
        let next = Kubeconfig::read_from(&path).map_err(|error| file_failure(&path, &error))?;
        kubeconfig = Some(match kubeconfig {
            Some(first) => first.merge(next).map_err(|error| file_failure(&path, &error))?,
            None => next,
        });
    }
    if let Some(text) = &config.config {
        let next = Kubeconfig::from_yaml(text.expose())
            .map_err(|error| unusable(format!("`config`: {}", describe(&error))))?;
        kubeconfig = Some(match kubeconfig {
            Some(first) => first.merge(next).map_err(|error| unusable(describe(&error)))?,
            None => next,
        });
    }
    let Some(kubeconfig) = kubeconfig else {
        return match config.host {
            Some(_) => Ok(Entry { cluster: Default::default(), user: Default::default(), origin: None }),
            None => Err(unusable("it names no server: set `config_path`, `config` or `host`")),
        };
    };

    let context = match config.config_context.as_ref().or(kubeconfig.current_context.as_ref()) {
        Some(name) if !name.is_empty() => name,
        _ => return Err(unusable("the kubeconfig has no current context, and `config_context` is not set")),
    };
    let found =
        kubeconfig.contexts.iter().find(|entry| entry.name == *context).and_then(|entry| entry.context.as_ref());
    let Some(found) = found else {
        let names: Vec<&str> = kubeconfig.contexts.iter().map(|entry| entry.name.as_str()).collect();
        return Err(unusable(format!("the kubeconfig has no context {context:?}; it has: {}", names.join(", "))));
    };
    let cluster =
        kubeconfig.clusters.iter().find(|entry| entry.name == found.cluster).and_then(|entry| entry.cluster.clone());
    let cluster = cluster.ok_or_else(|| {
        unusable(format!("the context {context:?} names the cluster {:?}, which the kubeconfig lacks", found.cluster))
    })?;
    let user = match found.user.as_ref().filter(|user| !user.is_empty()) {
        None => AuthInfo::default(),
        Some(name) => {
            let entry = kubeconfig.auth_infos.iter().find(|entry| entry.name == *name);
            let missing =
                || unusable(format!("the context {context:?} names the user {name:?}, which the kubeconfig lacks"));
            entry.ok_or_else(missing)?.auth_info.clone().unwrap_or_default()
        }
    };
    Ok(Entry { cluster, user, origin: found.user.clone() })
}

/// Puts the attributes of the provider block over the kubeconfig's. A credential replaces the whole user.
fn override_entry(config: &ClusterConfig, entry: Entry) -> Result<Entry, Failure> {
    let Entry { mut cluster, mut user, mut origin } = entry;
    if let Some(host) = &config.host {
        cluster.server = Some(host.clone());
    }
    if let Some(pem) = &config.cluster_ca_certificate {
        cluster.certificate_authority = None;
        cluster.certificate_authority_data = Some(BASE64.encode(pem));
    }
    if let Some(name) = &config.tls_server_name {
        cluster.tls_server_name = Some(name.clone());
    }
    if let Some(proxy) = &config.proxy_url {
        cluster.proxy_url = Some(proxy.clone());
    }
    if config.insecure {
        cluster.insecure_skip_tls_verify = Some(true);
        cluster.certificate_authority = None;
        cluster.certificate_authority_data = None;
    }

    let expose = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.expose().to_owned());
    if let Some(token) = expose(&config.token) {
        user = auth_info(json!({ "token": token.trim() }))?;
        origin = None;
    } else if let Some(exec) = &config.exec {
        let env: Vec<_> =
            exec.env.iter().map(|(name, value)| json!({ "name": name, "value": value.expose() })).collect();
        let api_version =
            if exec.api_version.is_empty() { "client.authentication.k8s.io/v1" } else { &exec.api_version };
        user = auth_info(json!({ "exec": {
            "apiVersion": api_version, "command": exec.command, "args": exec.args, "env": env,
            "installHint": exec.install_hint, "interactiveMode": "Never",
        }}))?;
        origin = None;
    } else if config.client_certificate.is_some() || config.client_key.is_some() {
        let (Some(certificate), Some(key)) = (&config.client_certificate, expose(&config.client_key)) else {
            return Err(unusable("`client_certificate` and `client_key` go together"));
        };
        user = auth_info(json!({
            "client-certificate-data": BASE64.encode(certificate), "client-key-data": BASE64.encode(key),
        }))?;
        origin = None;
    } else if let Some(username) = &config.username {
        user = auth_info(json!({ "username": username, "password": expose(&config.password).unwrap_or_default() }))?;
        origin = None;
    }
    Ok(Entry { cluster, user, origin })
}

/// The secrets' type of [`AuthInfo`] is made by its deserialiser, so that no second crate is needed to name it.
fn auth_info(value: serde_json::Value) -> Result<AuthInfo, Failure> {
    serde_json::from_value(value).map_err(|_| unusable("the credential cannot be represented in a kubeconfig"))
}

fn exec_plugin(
    exec: kube::config::ExecConfig,
    cluster: &kube::config::Cluster,
    config: &ClusterConfig,
) -> Result<Exec, Failure> {
    let command = exec
        .command
        .filter(|command| !command.is_empty())
        .ok_or_else(|| unusable("the exec plugin has no `command`"))?;
    if exec.interactive_mode == Some(ExecInteractiveMode::Always) {
        let detail = "asks for a terminal (interactiveMode: Always), and there is none here".to_owned();
        return Err(Failure::Exec { command, detail, install_hint: None });
    }
    let cluster_info = if exec.provide_cluster_info {
        let mut cluster = cluster.clone();
        cluster.proxy_url = cluster.proxy_url.filter(|proxy| !proxy.is_empty());
        let info = kube::config::ExecAuthCluster::try_from(&cluster).map_err(|error| unusable(describe(&error)))?;
        Some(serde_json::to_value(info).map_err(|error| unusable(error.to_string()))?)
    } else {
        None
    };
    let env = exec.env.unwrap_or_default().into_iter();
    Ok(Exec {
        api_version: exec.api_version.unwrap_or_else(|| "client.authentication.k8s.io/v1".to_owned()),
        command: beside_kubeconfig(command, config),
        args: exec.args.unwrap_or_default(),
        env: env.filter_map(|mut pair| Some((pair.remove("name")?, Secret::new(pair.remove("value")?)))).collect(),
        install_hint: exec.install_hint,
        cluster_info,
    })
}

/// A relative path (not a bare command) is meant from where the kubeconfig lies, as for kubectl.
fn beside_kubeconfig(command: String, config: &ClusterConfig) -> String {
    let is_relative_path = command.contains('/') && Path::new(&command).is_relative();
    match (is_relative_path && config.exec.is_none(), config.config_paths.as_slice()) {
        (true, [path]) => match expand_home(path).parent() {
            Some(folder) => folder.join(&command).to_string_lossy().into_owned(),
            None => command,
        },
        _ => command,
    }
}

fn credential_name(user: &AuthInfo, origin: &Option<String>) -> String {
    let kind = if let Some(exec) = &user.exec {
        format!("exec plugin {}", exec.command.as_deref().unwrap_or_default())
    } else if let Some(provider) = &user.auth_provider {
        format!("auth provider {}", provider.name)
    } else if user.token.is_some() {
        "token".to_owned()
    } else if let Some(path) = &user.token_file {
        format!("token file {path}")
    } else if user.username.is_some() {
        "user name and password".to_owned()
    } else if user.client_certificate.is_some() || user.client_certificate_data.is_some() {
        "client certificate".to_owned()
    } else {
        "none".to_owned()
    };
    match origin {
        Some(name) => format!("{kind} of the kubeconfig's user {name}"),
        None => kind,
    }
}

fn certificate_authority(cluster: &kube::config::Cluster) -> Result<Option<String>, Failure> {
    if let Some(data) = cluster.certificate_authority_data.as_ref().filter(|data| !data.is_empty()) {
        let pem = BASE64.decode(data.trim()).ok().and_then(|pem| String::from_utf8(pem).ok());
        return pem.map(Some).ok_or_else(|| unusable("certificate-authority-data is not base64 of PEM"));
    }
    let Some(path) = cluster.certificate_authority.as_ref().filter(|path| !path.is_empty()) else { return Ok(None) };
    let read = std::fs::read_to_string(path);
    read.map(Some).map_err(|error| Failure::ConfigFile { path: path.clone(), detail: error.to_string() })
}

/// Has the kube crate read certificates and keys, by way of a kubeconfig that holds just this entry.
fn load(cluster: kube::config::Cluster, user: AuthInfo) -> Result<kube::Config, Failure> {
    const NAME: &str = "mesh";
    let kubeconfig = Kubeconfig {
        clusters: vec![NamedCluster { name: NAME.into(), cluster: Some(cluster), ..Default::default() }],
        auth_infos: vec![NamedAuthInfo { name: NAME.into(), auth_info: Some(user), ..Default::default() }],
        contexts: vec![NamedContext {
            name: NAME.into(),
            context: Some(kube::config::Context {
                cluster: NAME.into(),
                user: Some(NAME.into()),
                ..Default::default()
            }),
            ..Default::default()
        }],
        current_context: Some(NAME.into()),
        ..Default::default()
    };
    let options = KubeConfigOptions::default();
    let loading = kube::Config::from_custom_kubeconfig(kubeconfig, &options);
    // The loader is async in name only: it reads files and never suspends.
    let loaded = futures::FutureExt::now_or_never(loading);
    loaded.ok_or_else(|| unusable("the kubeconfig could not be loaded"))?.map_err(|error| unusable(describe(&error)))
}

/// The kube crate's errors quote their sources, and its YAML errors quote the file, which may hold a token: only the place is told.
fn describe(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::Parse(error) => match error.location() {
            Some(place) => format!("it is not a kubeconfig in YAML (line {}, column {})", place.line(), place.column()),
            None => "it is not a kubeconfig in YAML".to_owned(),
        },
        KubeconfigError::ReadConfig(error, _) => error.to_string(),
        other => other.to_string(),
    }
}

fn file_failure(path: &Path, error: &KubeconfigError) -> Failure {
    Failure::ConfigFile { path: path.display().to_string(), detail: describe(error) }
}

fn unusable(detail: impl Into<String>) -> Failure {
    Failure::Config { detail: detail.into() }
}

fn expand_home(path: &str) -> PathBuf {
    match (path.strip_prefix('~'), std::env::home_dir()) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
        _ => PathBuf::from(path),
    }
}

/// The proxy that HTTPS_PROXY and NO_PROXY ask for. The kube crate holds NO_PROXY against the proxy's name instead of the server's.
fn environment_proxy(server: &Uri, env: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let either = |upper: &str, lower: &str| env(upper).or_else(|| env(lower)).filter(|value| !value.is_empty());
    let proxy = either("HTTPS_PROXY", "https_proxy")?;
    let host = server.host()?.trim_start_matches('[').trim_end_matches(']');
    let address: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return None;
    }
    let excluded = either("NO_PROXY", "no_proxy").unwrap_or_default();
    let port = server.port_u16().unwrap_or(443);
    let is_excluded = excluded
        .split(',')
        .map(str::trim)
        .filter(|rule| !rule.is_empty())
        .any(|rule| no_proxy_rule_matches(rule, host, address, port));
    (!is_excluded).then_some(proxy)
}

/// One rule of NO_PROXY: `*`, an address, a CIDR, a domain with or without leading dot, each with or without a port.
fn no_proxy_rule_matches(rule: &str, host: &str, address: Option<IpAddr>, port: u16) -> bool {
    if rule == "*" {
        return true;
    }
    if let Some(address) = address {
        if let Some((network, bits)) = rule.split_once('/') {
            let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
            return in_network(address, network, bits);
        }
        if rule.parse::<IpAddr>() == Ok(address) {
            return true;
        }
    }
    let rule = match rule.rsplit_once(':') {
        Some((name, rule_port)) if rule_port.parse::<u16>().is_ok() => {
            if rule_port.parse::<u16>() != Ok(port) {
                return false;
            }
            name
        }
        _ => rule,
    };
    let domain = rule.trim_start_matches("*").trim_start_matches('.').to_ascii_lowercase();
    let host = host.to_ascii_lowercase();
    host == domain || host.strip_suffix(&domain).is_some_and(|rest| rest.ends_with('.'))
}

fn in_network(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            (address.to_bits() & mask) == (network.to_bits() & mask)
        }
        (IpAddr::V6(address), IpAddr::V6(network)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            (address.to_bits() & mask) == (network.to_bits() & mask)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBECONFIG: &str = r#"
apiVersion: v1
kind: Config
current-context: a
clusters:
- name: one
  cluster: {server: "https://one.example:6443"}
users:
- name: admin
  user: {token: very-secret}
contexts:
- name: a
  context: {cluster: one, user: admin}
- name: broken
  context: {cluster: two, user: admin}
"#;

    fn inline(text: &str) -> ClusterConfig {
        ClusterConfig { config: Some(Secret::new(text)), ..Default::default() }
    }

    fn failure(config: &ClusterConfig) -> String {
        match resolve(config) {
            Ok(_) => panic!("resolved"),
            Err(failure) => failure.to_string(),
        }
    }

    #[test]
    fn attributes_override_the_kubeconfig() {
        let config = ClusterConfig {
            host: Some("two.example".into()),
            token: Some("other".into()),
            tls_server_name: Some("kubernetes".into()),
            ..inline(KUBECONFIG)
        };
        let resolved = resolve(&config).unwrap();
        assert_eq!(resolved.endpoint.server, "https://two.example");
        assert_eq!(resolved.endpoint.tls_server_name.as_deref(), Some("kubernetes"));
        assert_eq!(resolved.credential, "token");
        assert_eq!(resolve(&inline(KUBECONFIG)).unwrap().credential, "token of the kubeconfig's user admin");
    }

    #[test]
    fn nothing_stands_in_for_a_missing_connection() {
        assert_eq!(
            failure(&ClusterConfig::default()),
            "the connection configuration is not usable: it is not known yet: some of its values come from what this run is still to make"
        );
    }

    #[test]
    fn wrong_names_are_told_with_the_right_ones() {
        let config = ClusterConfig { config_context: Some("b".into()), ..inline(KUBECONFIG) };
        assert!(failure(&config).ends_with(r#"the kubeconfig has no context "b"; it has: a, broken"#));
        let config = ClusterConfig { config_context: Some("broken".into()), ..inline(KUBECONFIG) };
        assert!(
            failure(&config).ends_with(r#"the context "broken" names the cluster "two", which the kubeconfig lacks"#)
        );
    }

    #[test]
    fn a_broken_kubeconfig_is_not_quoted() {
        let text = failure(&inline("users:\n- user: {token: very-secret\n  x: [\n"));
        assert!(text.contains("line"), "{text}");
        assert!(!text.contains("very-secret"), "{text}");
    }

    #[test]
    fn no_proxy_is_held_against_the_server() {
        let proxy = |no_proxy: &'static str, server: &str| {
            let env = move |name: &str| match name {
                "HTTPS_PROXY" => Some("http://proxy:3128".to_owned()),
                "NO_PROXY" => Some(no_proxy.to_owned()),
                _ => None,
            };
            environment_proxy(&server.parse().unwrap(), &env).is_some()
        };
        assert!(proxy("", "https://a.example"));
        assert!(!proxy(".example", "https://a.example"));
        assert!(!proxy("example", "https://a.example"));
        assert!(proxy("ample", "https://a.example"));
        assert!(!proxy("10.0.0.0/8", "https://10.1.2.3:6443"));
        assert!(proxy("10.0.0.0/16", "https://10.1.2.3:6443"));
        assert!(proxy("a.example:443", "https://a.example:6443"));
        assert!(!proxy("*", "https://a.example"));
        assert!(!proxy("", "https://127.0.0.1:6443"));
        assert!(!proxy("", "https://[::1]:6443"));
    }
}
