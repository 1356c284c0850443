//! The Secret by which an istiod learns of another cluster: a kubeconfig under a data key that is the cluster's id.
//!
//! Writing gives the same bytes for the same input, because istiod rebuilds its client whenever the hash of the
//! kubeconfig changes. Reading takes istioctl's YAML, JSON and our own, and refuses what istiod would refuse. No
//! message repeats the kubeconfig's text: it holds a credential.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::external::{CONFIG_KEY, CONFIG_SECRET, CONFIG_TOKEN_KEY};
use super::link_token::Audience;
use super::name::{ClusterName, Namespace};
use super::server::ServerUrl;

/// The label, with value `"true"`, by which istiod finds remote secrets.
pub const MULTI_CLUSTER_LABEL: &str = "istio/multiCluster";
/// Repeats the cluster's id for people and tools; istiod does not read it.
pub const CLUSTER_ANNOTATION: &str = "networking.istio.io/cluster";

/// A bearer token. Prints as nothing and is wiped from memory.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Zeroizing<String>);

impl Token {
    /// Takes over the token's text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The token itself, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// By which of its Secrets an istiod is told of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretForm {
    /// A remote secret: one cluster more to watch.
    Remote,
    /// [`CONFIG_SECRET`], which istiod mounts: the cluster that it reads its configuration from.
    Config,
}

impl SecretForm {
    /// The Secret's name for a cluster.
    pub fn secret_name(self, cluster: &ClusterName) -> String {
        match self {
            Self::Remote => cluster.remote_secret_name(),
            Self::Config => CONFIG_SECRET.to_owned(),
        }
    }
}

/// How a watching istiod logs in to the watched cluster.
#[derive(Debug, Clone)]
pub enum Login {
    /// By the reader's token, which the Secret holds.
    Token(Token),
    /// By a token of its own ServiceAccount, of this audience, which its Pod has as a file.
    Own(Audience),
}

/// A remote secret to be written.
#[derive(Debug, Clone)]
pub struct RemoteSecret {
    /// The watched cluster; the data key.
    pub cluster: ClusterName,
    /// The namespace of the watching istiod; it reads no other.
    pub namespace: Namespace,
    /// The watched cluster's API server as the watching istiod dials it.
    pub server: ServerUrl,
    /// PEM of the authority that signed the server's certificate; without it the system's roots count.
    pub certificate_authority: Option<String>,
    /// The name to ask for and to check in the server's certificate, if it is not the URL's host.
    pub tls_server_name: Option<String>,
    /// An HTTP or SOCKS5 proxy on the way.
    pub proxy_url: Option<String>,
    /// How the watching istiod logs in.
    pub login: Login,
    /// How the Secret is laid out.
    pub form: SecretForm,
}

impl RemoteSecret {
    /// The kubeconfig with the token in it. Keys are in istioctl's order; texts are quoted, so none becomes a number.
    pub fn kubeconfig(&self) -> Zeroizing<String> {
        match &self.login {
            Login::Token(token) => self.kubeconfig_with("token", token.reveal()),
            Login::Own(audience) => self.kubeconfig_with("tokenFile", &audience.file()),
        }
    }

    fn kubeconfig_with(&self, credential: &str, value: &str) -> Zeroizing<String> {
        let quoted = |text: &str| Value::from(text).to_string();
        let name = quoted(self.cluster.as_str());
        let mut out = Zeroizing::new(String::from("apiVersion: v1\nclusters:\n- cluster:\n"));
        let mut entry = |key: &str, text: &str| out.push_str(&format!("    {key}: {}\n", quoted(text)));
        if let Some(pem) = &self.certificate_authority {
            entry("certificate-authority-data", &BASE64.encode(pem));
        }
        if let Some(url) = &self.proxy_url {
            entry("proxy-url", url);
        }
        entry("server", self.server.as_str());
        if let Some(name) = &self.tls_server_name {
            entry("tls-server-name", name);
        }
        out.push_str(&format!("  name: {name}\n"));
        out.push_str(&format!("contexts:\n- context:\n    cluster: {name}\n    user: {name}\n  name: {name}\n"));
        out.push_str(&format!("current-context: {name}\nkind: Config\npreferences: {{}}\n"));
        out.push_str(&format!("users:\n- name: {name}\n  user:\n    {credential}: "));
        let value = Zeroizing::new(quoted(value));
        out.push_str(&value);
        out.push('\n');
        out
    }

    /// The Secret's data, by key.
    pub fn data(&self) -> BTreeMap<String, Zeroizing<String>> {
        match (self.form, &self.login) {
            (SecretForm::Remote, _) => BTreeMap::from([(self.cluster.to_string(), self.kubeconfig())]),
            (SecretForm::Config, Login::Own(_)) => BTreeMap::from([(CONFIG_KEY.to_owned(), self.kubeconfig())]),
            (SecretForm::Config, Login::Token(token)) => BTreeMap::from([
                (CONFIG_KEY.to_owned(), self.kubeconfig_with("tokenFile", CONFIG_TOKEN_KEY)),
                (CONFIG_TOKEN_KEY.to_owned(), Zeroizing::new(token.reveal().to_owned())),
            ]),
        }
    }

    /// The Secret for the watching cluster.
    pub fn object(&self) -> Value {
        let data: BTreeMap<String, String> =
            self.data().into_iter().map(|(key, text)| (key, BASE64.encode(text.as_bytes()))).collect();
        let mut metadata = json!({
            "name": self.form.secret_name(&self.cluster),
            "namespace": self.namespace,
            "annotations": { CLUSTER_ANNOTATION: self.cluster },
        });
        if self.form == SecretForm::Remote {
            metadata["labels"] = json!({ MULTI_CLUSTER_LABEL: "true" });
        }
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data })
    }
}

/// What an istiod would find in one data key of a remote secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedRemoteSecret {
    /// As written; may be an address that other clusters cannot reach.
    pub server: String,
    /// PEM.
    pub certificate_authority: Option<String>,
    /// See [`RemoteSecret::tls_server_name`].
    pub tls_server_name: Option<String>,
    /// See [`RemoteSecret::proxy_url`].
    pub proxy_url: Option<String>,
    /// Whether the server's certificate goes unchecked.
    pub insecure_skip_tls_verify: bool,
    /// How istiod logs in.
    pub credential: Credential,
}

/// The ways to log in that istiod accepts without an opt-in, and the one that this provider opts in to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A bearer token.
    Token(Token),
    /// The token of this audience of istiod's own ServiceAccount, a file that `mesh_primary` gives its Pod.
    Own(Audience),
    /// An embedded client certificate with its key.
    ClientCertificate,
    /// User name and password.
    Basic,
    /// The `oidc` auth provider.
    Oidc,
}

/// Why a kubeconfig is not one istiod can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseRemoteSecretError {
    /// The Secret has no data at all.
    #[error("the Secret holds no kubeconfig: its data is empty")]
    NoData,
    /// A data key that is not a cluster's id.
    #[error("the data key {0:?} is not a valid cluster name")]
    Key(String),
    /// The value is not base64 or not UTF-8.
    #[error("the data under {0:?} is not base64 of a text")]
    Encoding(String),
    /// Not YAML, or not of a kubeconfig's shape.
    #[error("the kubeconfig cannot be read{}", .line.map(|line| format!(" (line {line})")).unwrap_or_default())]
    Unreadable {
        /// Where reading stopped.
        line: Option<u64>,
    },
    /// A reference leads nowhere.
    #[error("the kubeconfig's {what} {name:?} is not defined in it")]
    Missing {
        /// `current-context`, `cluster` or `user`.
        what: &'static str,
        /// The name looked for.
        name: String,
    },
    /// The cluster entry names no server.
    #[error("the kubeconfig names no server")]
    NoServer,
    /// Embedded data is not base64 of PEM text.
    #[error("the kubeconfig's {0} is not base64 of a text")]
    Data(&'static str),
    /// Something istiod's sanitiser refuses.
    #[error(
        "the kubeconfig uses `{option}`, which istiod refuses unless PILOT_INSECURE_MULTICLUSTER_KUBECONFIG_OPTIONS lists {option}"
    )]
    Disallowed {
        /// The option's name in that variable.
        option: String,
    },
    /// Refers to a file that would have to exist in istiod's container.
    #[error(
        "the kubeconfig refers to the file of `{0}`, which istiod's container does not have; embed the data instead"
    )]
    File(&'static str),
    /// Nothing to log in with.
    #[error(
        "the kubeconfig has no credential that istiod accepts: no token, client certificate, password or oidc provider"
    )]
    NoCredential,
}

impl ParsedRemoteSecret {
    /// Reads all clusters of a Secret as kube-apiserver gives it: one result per data key, so that one broken entry
    /// does not hide the others.
    pub fn from_object(
        secret: &Value,
    ) -> Result<BTreeMap<ClusterName, Result<Self, ParseRemoteSecretError>>, ParseRemoteSecretError> {
        let data = secret["data"].as_object().filter(|data| !data.is_empty()).ok_or(ParseRemoteSecretError::NoData)?;
        let mut clusters = BTreeMap::new();
        for (key, value) in data {
            let cluster = ClusterName::new(key.as_str()).map_err(|_| ParseRemoteSecretError::Key(key.clone()))?;
            let text = value.as_str().and_then(decode).map(Zeroizing::new);
            let parsed = match text {
                Some(text) => Self::from_kubeconfig(&text),
                None => Err(ParseRemoteSecretError::Encoding(key.clone())),
            };
            clusters.insert(cluster, parsed);
        }
        Ok(clusters)
    }

    /// Reads the Secret that istiod mounts, as kube-apiserver gives it: the name of its cluster, and what istiod would
    /// find. The token may be a file beside the kubeconfig, which is another key of the Secret.
    pub fn from_config_object(secret: &Value) -> Result<(String, Self), ParseRemoteSecretError> {
        let text = |key: &str| {
            let data = secret["data"][key].as_str()?;
            Some(decode(data).map(Zeroizing::new).ok_or_else(|| ParseRemoteSecretError::Encoding(key.to_owned())))
        };
        let kubeconfig = text(CONFIG_KEY).ok_or(ParseRemoteSecretError::NoData)??;
        let mut config = Kubeconfig::read(&kubeconfig)?;
        for user in config.users.iter_mut().map(|entry| &mut entry.user) {
            if user.token_file.as_deref() == Some(CONFIG_TOKEN_KEY) {
                user.token_file = None;
                user.token = text(CONFIG_TOKEN_KEY).transpose()?;
            }
        }
        let parsed = config.parse()?;
        Ok((config.current_context, parsed))
    }

    /// Reads one kubeconfig, YAML or JSON.
    pub fn from_kubeconfig(text: &str) -> Result<Self, ParseRemoteSecretError> {
        Kubeconfig::read(text)?.parse()
    }
}

impl Kubeconfig {
    fn read(text: &str) -> Result<Self, ParseRemoteSecretError> {
        serde_saphyr::from_str(text).map_err(|error| ParseRemoteSecretError::Unreadable {
            line: error.location().map(|location| location.line()).filter(|line| *line > 0),
        })
    }

    fn parse(&self) -> Result<ParsedRemoteSecret, ParseRemoteSecretError> {
        let missing = |what, name: &str| ParseRemoteSecretError::Missing { what, name: name.to_owned() };
        let context = self.contexts.iter().find(|entry| entry.name == self.current_context);
        let context = &context.ok_or_else(|| missing("current-context", &self.current_context))?.context;
        let cluster = self.clusters.iter().find(|entry| entry.name == context.cluster);
        let cluster = &cluster.ok_or_else(|| missing("cluster", &context.cluster))?.cluster;
        let user = self.users.iter().find(|entry| entry.name == context.user);
        let user = &user.ok_or_else(|| missing("user", &context.user))?.user;
        cluster.parse(user.credential()?)
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct Kubeconfig {
    clusters: Vec<NamedCluster>,
    contexts: Vec<NamedContext>,
    users: Vec<NamedUser>,
    current_context: String,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: ClusterEntry,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: ContextEntry,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    #[serde(default)]
    user: UserEntry,
}

#[derive(Deserialize)]
struct ContextEntry {
    cluster: String,
    user: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct ClusterEntry {
    server: Option<String>,
    certificate_authority: Option<String>,
    certificate_authority_data: Option<String>,
    tls_server_name: Option<String>,
    proxy_url: Option<String>,
    insecure_skip_tls_verify: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct UserEntry {
    #[serde(deserialize_with = "wiped")]
    token: Option<Zeroizing<String>>,
    #[serde(rename = "tokenFile")]
    token_file: Option<String>,
    client_certificate: Option<String>,
    client_certificate_data: Option<String>,
    client_key: Option<String>,
    #[serde(deserialize_with = "wiped")]
    client_key_data: Option<Zeroizing<String>>,
    username: Option<String>,
    #[serde(deserialize_with = "wiped")]
    password: Option<Zeroizing<String>>,
    exec: Option<serde::de::IgnoredAny>,
    auth_provider: Option<AuthProvider>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct AuthProvider {
    name: String,
}

impl ClusterEntry {
    fn parse(&self, credential: Credential) -> Result<ParsedRemoteSecret, ParseRemoteSecretError> {
        if given(&self.certificate_authority) {
            return Err(ParseRemoteSecretError::File("certificate-authority"));
        }
        let server = self.server.clone().filter(|server| !server.is_empty()).ok_or(ParseRemoteSecretError::NoServer)?;
        let certificate_authority = match self.certificate_authority_data.as_deref() {
            None | Some("") => None,
            Some(data) => Some(decode(data).ok_or(ParseRemoteSecretError::Data("certificate-authority-data"))?),
        };
        Ok(ParsedRemoteSecret {
            server,
            certificate_authority,
            tls_server_name: self.tls_server_name.clone().filter(|name| !name.is_empty()),
            proxy_url: self.proxy_url.clone().filter(|url| !url.is_empty()),
            insecure_skip_tls_verify: self.insecure_skip_tls_verify,
            credential,
        })
    }
}

impl UserEntry {
    /// Refusals first: istiod's sanitiser drops the whole cluster for one of them, whatever else is there.
    fn credential(&self) -> Result<Credential, ParseRemoteSecretError> {
        let disallowed = |option: &str| Err(ParseRemoteSecretError::Disallowed { option: option.to_owned() });
        if self.exec.is_some() {
            return disallowed("exec");
        }
        let own = self.token_file.as_deref().and_then(Audience::of_file);
        if given(&self.token_file) && own.is_none() {
            return disallowed("tokenFile");
        }
        if given(&self.client_certificate) {
            return disallowed("clientCertificate");
        }
        if given(&self.client_key) {
            return disallowed("clientKey");
        }
        match &self.auth_provider {
            Some(provider) if provider.name != "oidc" => return disallowed(&provider.name),
            _ => {}
        }
        if let Some(audience) = own {
            return Ok(Credential::Own(audience)); // a file goes before a token
        }
        if let Some(token) = self.token.as_ref().filter(|token| !token.is_empty()) {
            Ok(Credential::Token(Token(token.clone())))
        } else if given(&self.client_certificate_data)
            && self.client_key_data.as_ref().is_some_and(|key| !key.is_empty())
        {
            Ok(Credential::ClientCertificate)
        } else if given(&self.username) && self.password.is_some() {
            Ok(Credential::Basic)
        } else if self.auth_provider.is_some() {
            Ok(Credential::Oidc)
        } else {
            Err(ParseRemoteSecretError::NoCredential)
        }
    }
}

/// Texts that are secret are wiped after use.
fn wiped<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Zeroizing<String>>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Zeroizing::new))
}

fn given(text: &Option<String>) -> bool {
    text.as_deref().is_some_and(|text| !text.is_empty())
}

fn decode(base64: &str) -> Option<String> {
    let compact: String = base64.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    BASE64.decode(compact).ok().and_then(|bytes| String::from_utf8(bytes).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CA: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

    fn secret() -> RemoteSecret {
        RemoteSecret {
            cluster: ClusterName::new("east").unwrap(),
            namespace: Namespace::new("istio-system").unwrap(),
            server: ServerUrl::parse("https://10.0.0.1:6443").unwrap(),
            certificate_authority: Some(CA.to_owned()),
            tls_server_name: Some("kubernetes.default".to_owned()),
            proxy_url: None,
            login: Login::Token(Token::new("s3cret-token")),
            form: SecretForm::Remote,
        }
    }

    #[test]
    fn kubeconfig_bytes_are_pinned() {
        let expected = r#"apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCkFBQUEKLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo="
    server: "https://10.0.0.1:6443"
    tls-server-name: "kubernetes.default"
  name: "east"
contexts:
- context:
    cluster: "east"
    user: "east"
  name: "east"
current-context: "east"
kind: Config
preferences: {}
users:
- name: "east"
  user:
    token: "s3cret-token"
"#;
        assert_eq!(*secret().kubeconfig(), expected);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let parsed = ParsedRemoteSecret::from_object(&secret().object()).unwrap();
        let (cluster, parsed) = parsed.into_iter().next().unwrap();
        let parsed = parsed.unwrap();
        assert_eq!(cluster.as_str(), "east");
        assert_eq!(parsed.certificate_authority.as_deref(), Some(CA));
        assert_eq!(parsed.tls_server_name.as_deref(), Some("kubernetes.default"));
        assert_eq!(parsed.credential, Credential::Token(Token::new("s3cret-token")));
    }

    #[test]
    fn the_config_cluster_s_token_is_a_file_beside_its_kubeconfig() {
        let secret = RemoteSecret { form: SecretForm::Config, ..secret() };
        let object = secret.object();
        assert_eq!(object["metadata"]["name"], "istio-kubeconfig");
        assert_eq!(object["metadata"].get("labels"), None, "or istiod would watch it as a remote as well");
        let data = secret.data();
        assert!(data["config"].ends_with("    tokenFile: \"token\"\n"), "{:?}", data["config"]);
        assert!(!data["config"].contains("s3cret"));
        let (name, parsed) = ParsedRemoteSecret::from_config_object(&object).unwrap();
        assert_eq!((name.as_str(), parsed.server.as_str()), ("east", "https://10.0.0.1:6443"));
        assert_eq!(parsed.credential, Credential::Token(Token::new("s3cret-token")));
        let inline = RemoteSecret { form: SecretForm::Remote, ..secret }.kubeconfig();
        let by_istioctl = json!({ "data": { "config": BASE64.encode(inline.as_bytes()) } });
        assert_eq!(ParsedRemoteSecret::from_config_object(&by_istioctl).unwrap().1, parsed);
        assert_eq!(
            ParsedRemoteSecret::from_config_object(&json!({ "data": { "other": "" } })),
            Err(ParseRemoteSecretError::NoData)
        );
    }

    #[test]
    fn a_login_by_istiod_s_own_token_names_its_file_and_nothing_else() {
        let audience = Audience::new("istio-links").unwrap();
        let text = RemoteSecret { login: Login::Own(audience.clone()), ..secret() }.kubeconfig();
        assert!(text.ends_with("    tokenFile: \"./var/run/secrets/istio-links/istio-links\"\n"), "{text:?}");
        assert_eq!(ParsedRemoteSecret::from_kubeconfig(&text).unwrap().credential, Credential::Own(audience));
    }

    #[test]
    fn a_cluster_named_like_a_number_stays_a_text() {
        let secret = RemoteSecret { cluster: ClusterName::new("1e3").unwrap(), ..secret() };
        assert!(ParsedRemoteSecret::from_kubeconfig(&secret.kubeconfig()).is_ok());
    }

    #[test]
    fn object_has_the_label_and_the_key_istiod_looks_for() {
        let object = secret().object();
        assert_eq!(object["metadata"]["labels"][MULTI_CLUSTER_LABEL], "true");
        assert_eq!(object["metadata"]["annotations"][CLUSTER_ANNOTATION], "east");
        assert_eq!(object["metadata"]["name"], "istio-remote-secret-east");
        assert_eq!(object["data"].as_object().unwrap().keys().collect::<Vec<_>>(), ["east"]);
    }

    #[test]
    fn reads_istioctl_s_yaml_and_json() {
        let yaml = "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: QUJD\n    server: https://172.18.0.2:6443\n  name: west\ncontexts:\n- context:\n    cluster: west\n    user: west\n  name: west\ncurrent-context: west\nkind: Config\nusers:\n- name: west\n  user:\n    token: abc.def\n";
        let json = r#"{"kind":"Config","current-context":"w","contexts":[{"name":"w","context":{"cluster":"w","user":"w"}}],
            "clusters":[{"name":"w","cluster":{"server":"https://172.18.0.2:6443","certificate-authority-data":"QUJD"}}],"users":[{"name":"w","user":{"token":"abc.def"}}]}"#;
        for text in [yaml, json] {
            let parsed = ParsedRemoteSecret::from_kubeconfig(text).unwrap();
            assert_eq!(parsed.server, "https://172.18.0.2:6443");
            assert_eq!(parsed.certificate_authority.as_deref(), Some("ABC"));
            assert_eq!(parsed.credential, Credential::Token(Token::new("abc.def")));
        }
    }

    fn with_user(user: &str) -> Result<ParsedRemoteSecret, ParseRemoteSecretError> {
        ParsedRemoteSecret::from_kubeconfig(&format!(
            r#"{{"current-context":"w","contexts":[{{"name":"w","context":{{"cluster":"w","user":"w"}}}}],"clusters":[{{"name":"w","cluster":{{"server":"https://a"}}}}],"users":[{{"name":"w","user":{user}}}]}}"#
        ))
    }

    #[test]
    fn refuses_what_istiod_refuses() {
        for (user, option) in [
            (r#"{"token":"t","exec":{"command":"aws"}}"#, "exec"),
            (r#"{"tokenFile":"/x"}"#, "tokenFile"),
            (r#"{"client-certificate":"/x"}"#, "clientCertificate"),
            (r#"{"client-key":"/x"}"#, "clientKey"),
            (r#"{"auth-provider":{"name":"gcp"}}"#, "gcp"),
        ] {
            assert_eq!(with_user(user), Err(ParseRemoteSecretError::Disallowed { option: option.into() }), "{user}");
        }
        assert_eq!(with_user("{}"), Err(ParseRemoteSecretError::NoCredential));
        assert_eq!(with_user(r#"{"auth-provider":{"name":"oidc"}}"#).unwrap().credential, Credential::Oidc);
        assert_eq!(with_user(r#"{"username":"a","password":"b"}"#).unwrap().credential, Credential::Basic);
        assert_eq!(
            with_user(r#"{"client-certificate-data":"QQ==","client-key-data":"QQ=="}"#).unwrap().credential,
            Credential::ClientCertificate
        );
    }

    #[test]
    fn nothing_prints_the_token() {
        let secret = secret();
        let parsed = ParsedRemoteSecret::from_kubeconfig(&secret.kubeconfig());
        let broken = ParsedRemoteSecret::from_kubeconfig("users:\n- token: s3cret-token\n  : [}").unwrap_err();
        for text in [format!("{secret:?}"), format!("{parsed:?}"), format!("{broken} {broken:?}")] {
            assert!(!text.contains("s3cret"), "{text}");
        }
        assert_eq!(broken.to_string(), "the kubeconfig cannot be read (line 3)");
    }
}
