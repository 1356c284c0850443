//! From a cluster's configuration to what a connection needs: reads kubeconfig files, runs nothing, connects to
//! nothing.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use kube::config::{
    AuthInfo, KubeConfigOptions, Kubeconfig as KubeKubeconfig, KubeconfigError, NamedAuthInfo, NamedCluster,
    NamedContext, NamedExtension,
};
use serde_json::json;

use super::config::{ClusterConfig, Endpoint, Exec, Secret};
use super::error::Failure;
use super::kubeconfig::{self, Chosen, ClusterEntry, ExecEntry, ExecVariable, Kubeconfig, UserEntry};

/// All that is known of a cluster before the first byte goes out.
pub(super) struct Resolved {
    /// Server, trust, client certificate and auth provider; never an exec plugin or a token.
    pub kube: kube::Config,
    pub exec: Option<Exec>,
    pub authorization: Authorization,
    /// Names and values of the headers that say who else to be.
    pub impersonation: Vec<(String, String)>,
    /// For messages: `token`, `client certificate`, `exec plugin aws`, with the kubeconfig's user where there is one.
    pub credential: String,
    pub endpoint: Endpoint,
}

/// What the `Authorization` header is made of, exec plugins apart.
pub(super) enum Authorization {
    None,
    Bearer(Secret),
    /// Read anew from time to time. The token given beside it counts while the file cannot be read, as for client-go.
    TokenFile {
        path: String,
        instead: Option<Secret>,
    },
    Basic {
        username: String,
        password: Secret,
    },
    /// The kubeconfig's `auth-provider`, by the kube crate.
    Provider,
}

pub(super) fn resolve(config: &ClusterConfig) -> Result<Resolved, Failure> {
    if config.not_known {
        return Err(Failure::NotKnown);
    }
    let chosen = override_entry(config, kubeconfig_entry(config)?)?;
    let Chosen { mut cluster, mut user, origin } = chosen;
    let (server, uri) = server(cluster.server.take())?;
    cluster.check().map_err(unusable)?;
    user.check().map_err(unusable)?;
    if uri.scheme_str() == Some("http") && !has_credential(config) {
        // As client-go does with a kubeconfig: whoever is in between would have its credential. The provider block
        // warns of its own.
        user = without_credential(user);
    }

    let proxy_url = match cluster.proxy_url.take() {
        Some(proxy) => Some(proxy),
        None => environment_proxy(&uri, &|name| std::env::var(name).ok()),
    };
    let proxy: Option<Uri> = proxy_url.as_deref().map(proxy_uri).transpose()?;
    let tls_server_name = cluster.tls_server_name.clone();
    let insecure = cluster.insecure_skip_tls_verify.unwrap_or(false);
    let certificate_authority = certificate_authority(&cluster)?;
    let kube_cluster = kube_cluster(&cluster, &server, certificate_authority.as_deref(), proxy_url.as_deref());
    let authorization = authorization(&user)?;
    let credential = credential_name(&user, &authorization, &origin);
    let exec = match (&authorization, user.exec.take()) {
        // Any other credential speaks before the plugin is asked.
        (Authorization::None, Some(exec)) if !user.has_certificate() => Some(exec_plugin(exec, &kube_cluster)?),
        _ => None,
    };
    let impersonation = if config.alone { Vec::new() } else { kubeconfig::impersonation(&user) };
    let mut kube = load(kube_cluster, auth_info(&user, &authorization)?)?;
    kube.proxy_url = proxy;
    kube.default_retry = false;
    let endpoint = Endpoint { server, certificate_authority, tls_server_name, proxy_url, insecure };
    Ok(Resolved { kube, exec, authorization, impersonation, credential, endpoint })
}

/// The server's address as text and as URL.
fn server(server: Option<String>) -> Result<(String, Uri), Failure> {
    let server = server.ok_or_else(|| unusable("the kubeconfig's cluster has no `server`, and `host` is not set"))?;
    // kubectl takes an address without scheme for http where nothing says TLS; here it is never http unless it says so.
    let server = if server.contains("://") { server } else { format!("https://{server}") };
    let shown = without_user_info(&server);
    let uri: Uri =
        server.parse().map_err(|error| unusable(format!("the server address {shown:?} is no URL: {error}")))?;
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        let detail = format!("the server address {shown:?} holds a user or password: give credentials apart from it");
        return Err(unusable(detail));
    }
    if !matches!(uri.scheme_str(), Some("https" | "http")) || uri.host().is_none_or(str::is_empty) {
        return Err(unusable(format!("the server address {shown:?} is no http or https URL with a host")));
    }
    Ok((server, uri))
}

/// A bare `host:port`, which kubectl refuses, is taken for a proxy of http, as HTTPS_PROXY takes it. A scheme in
/// capitals is the same scheme.
fn proxy_uri(proxy: &str) -> Result<Uri, Failure> {
    let url = match proxy.split_once("://") {
        Some((scheme, rest)) => format!("{}://{rest}", scheme.to_ascii_lowercase()),
        None => format!("http://{proxy}"),
    };
    url.parse().map_err(|error| unusable(format!("the proxy URL is no URL: {error}")))
}

/// An address as it may be shown, and lie in state.
pub fn without_user_info(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{host}{}", &rest[end..]),
        None => url.to_owned(),
    }
}

/// The cluster and user that the kubeconfig's context names; empty ones where there is no kubeconfig but a host.
fn kubeconfig_entry(config: &ClusterConfig) -> Result<Chosen, Failure> {
    let mut kubeconfig: Option<Kubeconfig> = None;
    let mut add = |next: Kubeconfig| {
        kubeconfig = Some(match kubeconfig.take() {
            Some(first) => first.or(next),
            None => next,
        });
    };
    for path in &config.config_paths {
        add(Kubeconfig::read(&expand_home(path))?);
    }
    if let Some(text) = &config.config {
        add(Kubeconfig::parse(text.expose()).map_err(|detail| unusable(format!("`config`: {detail}")))?);
    }
    match kubeconfig {
        Some(kubeconfig) => kubeconfig.choose(config.config_context.as_deref()).map_err(unusable),
        None if config.host.is_some() => {
            Ok(Chosen { cluster: ClusterEntry::default(), user: UserEntry::default(), origin: None })
        }
        None => Err(unusable("it names no server: set `config_path`, `config` or `host`")),
    }
}

/// Puts the attributes of the provider block over the kubeconfig's. A credential replaces that of the user; whom the
/// user is to act as stays, as with `kubectl --token`.
fn override_entry(config: &ClusterConfig, chosen: Chosen) -> Result<Chosen, Failure> {
    let Chosen { mut cluster, mut user, mut origin } = chosen;
    if let Some(host) = &config.host {
        cluster.server = Some(host.clone());
    }
    if let Some(pem) = &config.cluster_ca_certificate {
        cluster.certificate_authority = None;
        cluster.certificate_authority_data = Some(BASE64.encode(pem));
        cluster.insecure_skip_tls_verify = None;
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
    if let Some(replaced) = given_user(config, &user)? {
        (user, origin) = (replaced, None);
    }
    Ok(Chosen { cluster, user, origin })
}

fn has_credential(config: &ClusterConfig) -> bool {
    config.token.is_some() || config.exec.is_some() || config.client_certificate.is_some() || config.username.is_some()
}

/// The credential that the attributes give, for whoever the user acts as.
fn given_user(config: &ClusterConfig, user: &UserEntry) -> Result<Option<UserEntry>, Failure> {
    let user = without_credential(user.clone());
    Ok(Some(if let Some(token) = &config.token {
        UserEntry { token: Some(token.clone()), ..user }
    } else if let Some(exec) = &config.exec {
        let variable =
            |(name, value): &(String, Secret)| ExecVariable { name: Some(name.clone()), value: Some(value.clone()) };
        let exec = ExecEntry {
            api_version: Some(exec.api_version.clone()),
            command: Some(exec.command.clone()),
            args: Some(exec.args.iter().cloned().map(Some).collect()),
            env: Some(exec.env.iter().map(|pair| Some(variable(pair))).collect()),
            install_hint: exec.install_hint.clone(),
            ..ExecEntry::default()
        };
        UserEntry { exec: Some(exec), ..user }
    } else if config.client_certificate.is_some() || config.client_key.is_some() {
        let (Some(certificate), Some(key)) = (&config.client_certificate, &config.client_key) else {
            return Err(unusable("`client_certificate` and `client_key` go together"));
        };
        UserEntry {
            client_certificate_data: Some(BASE64.encode(certificate)),
            client_key_data: Some(Secret::new(BASE64.encode(key.expose()))),
            ..user
        }
    } else if let Some(username) = &config.username {
        UserEntry { username: Some(username.clone()), password: config.password.clone(), ..user }
    } else {
        return Ok(None);
    }))
}

/// The user with nothing but what says who else to be.
fn without_credential(user: UserEntry) -> UserEntry {
    UserEntry {
        impersonate: user.impersonate,
        impersonate_uid: user.impersonate_uid,
        impersonate_groups: user.impersonate_groups,
        impersonate_extra: user.impersonate_extra,
        ..UserEntry::default()
    }
}

/// Of several credentials the one that client-go sends.
fn authorization(user: &UserEntry) -> Result<Authorization, Failure> {
    if let Some(path) = &user.token_file {
        return Ok(Authorization::TokenFile { path: path.clone(), instead: user.token.clone() });
    }
    if let Some(token) = &user.token {
        return Ok(Authorization::Bearer(token.clone()));
    }
    if let Some(username) = &user.username {
        let (username, password) = (username.clone(), user.password.clone().unwrap_or_default());
        return Ok(Authorization::Basic { username, password });
    }
    match &user.auth_provider {
        None => Ok(Authorization::None),
        Some(provider) if provider.name.as_deref() == Some("oidc") => Ok(Authorization::Provider),
        // As kubectl since 1.26; the kube crate would still run the command that stands there.
        Some(provider) => Err(unusable(format!(
            "the auth provider {:?} is supported no more: use the exec plugin of its vendor",
            provider.name.as_deref().unwrap_or_default()
        ))),
    }
}

/// The kube crate's user: its client certificate, and what its auth provider needs. The secrets' type is made by the
/// deserialiser, so that no second crate is needed to name it.
fn auth_info(user: &UserEntry, authorization: &Authorization) -> Result<AuthInfo, Failure> {
    let mut value = json!({});
    if user.has_certificate() {
        let certificate = embedded(user.client_certificate_data.as_deref(), user.client_certificate.as_deref())?;
        let key = embedded(user.client_key_data.as_ref().map(Secret::expose), user.client_key.as_deref())?;
        value["client-certificate-data"] = certificate.into();
        value["client-key-data"] = key.into();
    }
    if let (Authorization::Provider, Some(provider)) = (authorization, &user.auth_provider) {
        let settings = provider.config.iter().flatten();
        let settings: serde_json::Map<_, _> =
            settings.filter_map(|(name, value)| Some((name.clone(), value.as_ref()?.expose().into()))).collect();
        value["auth-provider"] = json!({ "name": provider.name, "config": settings });
    }
    serde_json::from_value(value).map_err(|_| unusable("the credential cannot be represented in a kubeconfig"))
}

/// Base64 of what stands there or in the file.
fn embedded(data: Option<&str>, path: Option<&str>) -> Result<String, Failure> {
    match (data, path) {
        (Some(data), _) => match BASE64.decode(data) {
            Ok(_) => Ok(data.to_owned()),
            Err(_) => Err(unusable("client-certificate-data or client-key-data is not base64")),
        },
        (None, path) => {
            let path = path.unwrap_or_default();
            let bytes = kubeconfig::bounded(Path::new(path)).map_err(|error| named_file(path, &error))?;
            Ok(BASE64.encode(bytes))
        }
    }
}

/// A file that a kubeconfig names has to be there when the kubeconfig is.
fn named_file(path: &str, error: &std::io::Error) -> Failure {
    Failure::ConfigFile { path: path.to_owned(), detail: error.to_string(), missing: false }
}

fn exec_plugin(exec: ExecEntry, cluster: &kube::config::Cluster) -> Result<Exec, Failure> {
    let command = exec
        .command
        .filter(|command| !command.is_empty())
        .ok_or_else(|| unusable("the exec plugin has no `command`"))?;
    match exec.interactive_mode.as_deref() {
        // kubectl wants one said; that nobody is asked here is so in any case.
        None | Some("" | "Never" | "IfAvailable") => {}
        Some("Always") => {
            let detail = "asks for a terminal (interactiveMode: Always), and there is none here".to_owned();
            return Err(Failure::Exec { command, detail, install_hint: None });
        }
        Some(other) => {
            return Err(unusable(format!("the exec plugin has the interactiveMode {other:?}, which is none")));
        }
    }
    let cluster_info = if exec.provide_cluster_info == Some(true) {
        let info = kube::config::ExecAuthCluster::try_from(cluster).map_err(|error| unusable(describe(&error)))?;
        Some(serde_json::to_value(info).map_err(|error| unusable(error.to_string()))?)
    } else {
        None
    };
    let mut env = Vec::new();
    for ExecVariable { name, value } in exec.env.into_iter().flatten().flatten() {
        let name = name.filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| unusable("the exec plugin has an environment variable without a name"))?;
        env.push((name, value.unwrap_or_default()));
    }
    Ok(Exec {
        // kubectl wants one said, and refuses v1alpha1, which kubeconfigs of old still say: plugins answer it as they
        // answer v1.
        api_version: exec
            .api_version
            .filter(|version| !version.is_empty())
            .unwrap_or_else(|| "client.authentication.k8s.io/v1".to_owned()),
        command,
        args: exec.args.into_iter().flatten().map(Option::unwrap_or_default).collect(),
        env,
        install_hint: exec.install_hint,
        cluster_info,
    })
}

fn credential_name(user: &UserEntry, authorization: &Authorization, origin: &Option<String>) -> String {
    let kind = match authorization {
        Authorization::Bearer(_) => "token".to_owned(),
        Authorization::TokenFile { path, .. } => format!("token file {path}"),
        Authorization::Basic { .. } => "user name and password".to_owned(),
        Authorization::Provider => "auth provider oidc".to_owned(),
        Authorization::None if user.has_certificate() => "client certificate".to_owned(),
        Authorization::None => match &user.exec {
            Some(exec) => format!("exec plugin {}", exec.command.as_deref().unwrap_or_default()),
            None => "none".to_owned(),
        },
    };
    match origin {
        Some(name) => format!("{kind} of the kubeconfig's user {name}"),
        None => kind,
    }
}

fn certificate_authority(cluster: &ClusterEntry) -> Result<Option<String>, Failure> {
    if let Some(data) = &cluster.certificate_authority_data {
        let pem = BASE64.decode(data).ok().and_then(|pem| String::from_utf8(pem).ok());
        return pem.map(Some).ok_or_else(|| unusable("certificate-authority-data is not base64 of PEM"));
    }
    let Some(path) = &cluster.certificate_authority else { return Ok(None) };
    let bytes = kubeconfig::bounded(Path::new(path)).map_err(|error| named_file(path, &error))?;
    let not_text = |_| Failure::ConfigFile { path: path.clone(), detail: "it is not PEM".to_owned(), missing: false };
    String::from_utf8(bytes).map(Some).map_err(not_text)
}

fn kube_cluster(
    cluster: &ClusterEntry,
    server: &str,
    certificate_authority: Option<&str>,
    proxy_url: Option<&str>,
) -> kube::config::Cluster {
    let exec = cluster.exec_config().map(|config| NamedExtension {
        name: "client.authentication.k8s.io/exec".to_owned(),
        extension: config.clone(),
    });
    kube::config::Cluster {
        server: Some(server.to_owned()),
        insecure_skip_tls_verify: cluster.insecure_skip_tls_verify,
        certificate_authority_data: certificate_authority.map(|pem| BASE64.encode(pem)),
        proxy_url: proxy_url.map(str::to_owned),
        tls_server_name: cluster.tls_server_name.clone(),
        extensions: exec.map(|exec| vec![exec]),
        ..Default::default()
    }
}

/// Has the kube crate read certificates and keys, by way of a kubeconfig that holds just this entry.
fn load(mut cluster: kube::config::Cluster, user: AuthInfo) -> Result<kube::Config, Failure> {
    const NAME: &str = "mesh";
    // It goes its own way, with its own errors.
    cluster.proxy_url = None;
    let kubeconfig = KubeKubeconfig {
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

/// The kube crate's errors in our words: its own name Rust's types, and some quote their source.
fn describe(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::LoadCertificateAuthority(_) | KubeconfigError::ParseCertificates(_) => {
            "the certificate authority is not PEM with certificates".to_owned()
        }
        KubeconfigError::LoadClientCertificate(_) => "the client certificate cannot be read".to_owned(),
        KubeconfigError::LoadClientKey(_) => "the client key cannot be read".to_owned(),
        KubeconfigError::ParseProxyUrl(error) => {
            format!("the proxy URL of the environment is no URL: {error}")
        }
        other => other.to_string(),
    }
}

fn unusable(detail: impl Into<String>) -> Failure {
    Failure::Config { detail: detail.into() }
}

fn expand_home(path: &str) -> PathBuf {
    match (path.strip_prefix('~'), std::env::home_dir()) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with(std::path::is_separator) => {
            home.join(rest.trim_start_matches(std::path::is_separator))
        }
        _ => PathBuf::from(path),
    }
}

/// The proxy that HTTPS_PROXY and NO_PROXY ask for. The kube crate holds NO_PROXY against the proxy's name instead of
/// the server's.
fn environment_proxy(server: &Uri, env: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let either = |upper: &str, lower: &str| env(upper).or_else(|| env(lower)).filter(|value| !value.is_empty());
    let proxy = either("HTTPS_PROXY", "https_proxy")?;
    let host = server.host()?.trim_start_matches('[').trim_end_matches(']');
    if host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()) {
        return None;
    }
    let port = server.port_u16().unwrap_or(443);
    let excluded = either("NO_PROXY", "no_proxy").unwrap_or_default();
    let rules: Vec<&str> = excluded.split(',').filter_map(|rule| rule_for(rule.trim(), port)).collect();
    let matcher = Matcher::builder().all("http://proxy").no(rules.join(",")).build();
    (!rules.contains(&"*") && matcher.intercept(server).is_some()).then_some(proxy)
}

/// A rule of NO_PROXY in the form that the shared matcher knows, if it is for this port. The matcher has neither ports
/// nor `*.example`, and its `*` is for names alone.
fn rule_for(rule: &str, port: u16) -> Option<&str> {
    let (rule, its_port) = match rule.rsplit_once(':').map(|(name, port)| (name, port.parse::<u16>())) {
        Some((name, Ok(port))) if rule.parse::<IpAddr>().is_err() => (name, Some(port)),
        _ => (rule, None),
    };
    let rule = rule.strip_prefix("*.").unwrap_or(rule);
    let rule = rule.strip_prefix('[').and_then(|rule| rule.strip_suffix(']')).unwrap_or(rule);
    its_port.is_none_or(|its_port| its_port == port).then_some(rule)
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
    fn a_credential_of_the_provider_block_keeps_whom_the_user_acts_as() {
        let kubeconfig = KUBECONFIG.replacen("user: {", "user: {as: auditor, ", 1);
        assert_ne!(kubeconfig, KUBECONFIG);
        let resolved = resolve(&ClusterConfig { token: Some("abc".into()), ..inline(&kubeconfig) }).unwrap();
        assert_eq!(resolved.impersonation, [("impersonate-user".to_owned(), "auditor".to_owned())]);
        let alone = ClusterConfig { token: Some("abc".into()), alone: true, ..inline(&kubeconfig) };
        assert!(resolve(&alone).unwrap().impersonation.is_empty(), "a token to prove is its own");
    }

    #[test]
    fn nothing_stands_in_for_a_missing_connection() {
        assert_eq!(
            failure(&ClusterConfig { not_known: true, must_answer: true, ..ClusterConfig::default() }),
            "the connection configuration is not known yet: some of its values come from what this run is still to make"
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
    fn the_scheme_of_a_proxy_may_be_in_capitals() {
        for (proxy, scheme) in
            [("SOCKS5://p:1", "socks5"), ("Socks5h://p", "socks5h"), ("p:3128", "http"), ("HTTPS://p", "https")]
        {
            assert_eq!(proxy_uri(proxy).unwrap().scheme_str(), Some(scheme), "{proxy}");
        }
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
        assert!(!proxy("a.example:443", "https://a.example"));
        assert!(!proxy("A.example", "https://a.EXAMPLE"));
        assert!(!proxy("*.example", "https://a.example"));
        assert!(proxy("*.example", "https://a.example.org"));
        assert!(!proxy(" x , *", "https://a.example"));
        assert!(!proxy("*", "https://10.1.2.3:6443"));
        assert!(!proxy("10.1.2.3:6443", "https://10.1.2.3:6443"));
        assert!(proxy("10.1.2.3:443", "https://10.1.2.3:6443"));
        assert!(!proxy("fd00::1", "https://[fd00::1]:6443"));
        assert!(!proxy("[fd00::1]:6443", "https://[fd00::1]:6443"));
        assert!(!proxy("fd00::/8", "https://[fd00::1]:6443"));
        assert!(proxy("fe80::/10", "https://[fd00::1]:6443"));
        assert!(!proxy("", "https://127.0.0.1:6443"));
        assert!(!proxy("", "https://[::1]:6443"));
    }
}
