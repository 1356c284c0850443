//! Tokens of an istiod's own ServiceAccount for the clusters it watches: the kubelet keeps them fresh in the istiod's
//! Pod, and the watched API servers trust their issuer. A remote secret then names a file, and holds no token.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

/// The volume of an istiod's Pod that the tokens are in.
const VOLUME: &str = "istio-link-tokens";
const MOUNT: &str = "/var/run/secrets/istio-links";
/// The kinds of credentials that an istiod takes from a remote secret beside those that are whole in it.
const OPTIONS: &str = "PILOT_INSECURE_MULTICLUSTER_KUBECONFIG_OPTIONS";
const TOKEN_FILE: &str = "tokenFile";
/// The audience where nobody says another.
pub const DEFAULT_AUDIENCE: &str = "istio-links";

/// What an API server must find in a token to accept it; also the name of the token's file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Audience(String);

impl Audience {
    /// Names of which a file may be called.
    pub fn new(text: impl Into<String>) -> Result<Self, &'static str> {
        let text = text.into();
        let ends = |text: &str| text.starts_with(char::is_alphanumeric) && text.ends_with(char::is_alphanumeric);
        let fits = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'));
        if text.is_empty() || text.len() > 200 || !fits || !ends(&text) {
            return Err(
                "an audience is also the name of a file: use letters, digits, `-`, `_` and `.`, such as `istio-links`",
            );
        }
        Ok(Self(text))
    }

    /// As API servers compare it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The file in an istiod's container. Relative, as all files are that istiod looks for by itself.
    pub fn file(&self) -> String {
        format!(".{MOUNT}/{}", self.0)
    }

    /// The audience whose file it is.
    pub fn of_file(file: &str) -> Option<Self> {
        let name = file.strip_prefix('.')?.strip_prefix(MOUNT)?.strip_prefix('/')?;
        Self::new(name).ok()
    }
}

/// The tokens that an istiod is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkTokens {
    /// One token for each.
    pub audiences: BTreeSet<Audience>,
    /// How long a token is valid; the kubelet brings the next when four fifths are over.
    pub lifetime: Duration,
}

impl LinkTokens {
    /// Adds the tokens to the chart's Deployment, and lets istiod use them. What the user has it accept already stays.
    pub fn give(&self, deployment: &mut Value) {
        let Some(pod) = deployment.pointer_mut("/spec/template/spec") else { return };
        let sources: Vec<Value> = self.audiences.iter().map(|audience| self.source(audience)).collect();
        push(pod, "/volumes", json!({ "name": VOLUME, "projected": { "sources": sources } }));
        let Some(container) = pod.pointer_mut("/containers/0") else { return };
        push(container, "/volumeMounts", json!({ "name": VOLUME, "mountPath": MOUNT, "readOnly": true }));
        let said = container["env"].as_array_mut().and_then(|env| env.iter_mut().find(|one| one["name"] == OPTIONS));
        match said {
            Some(said) => said["value"] = json!(with_token_file(said["value"].as_str().unwrap_or_default())),
            None => push(container, "/env", json!({ "name": OPTIONS, "value": TOKEN_FILE })),
        }
    }

    fn source(&self, audience: &Audience) -> Value {
        json!({ "serviceAccountToken": {
            "audience": audience.as_str(), "expirationSeconds": self.lifetime.as_secs(), "path": audience.as_str() } })
    }

    /// The tokens that a live Deployment of istiod is given.
    pub fn of(deployment: &Value) -> Option<Self> {
        let pod = deployment.pointer("/spec/template/spec")?;
        let volume = pod["volumes"].as_array()?.iter().find(|volume| volume["name"] == VOLUME)?;
        let sources = volume["projected"]["sources"].as_array()?;
        let tokens: Vec<&Value> = sources.iter().filter_map(|source| source.get("serviceAccountToken")).collect();
        let audiences = tokens.iter().filter_map(|token| Audience::new(token["audience"].as_str()?).ok()).collect();
        let lifetime = tokens.first().and_then(|token| token["expirationSeconds"].as_u64()).unwrap_or(3600);
        Some(Self { audiences, lifetime: Duration::from_secs(lifetime) })
    }
}

/// The list with `tokenFile` in it.
fn with_token_file(options: &str) -> String {
    let mut all: Vec<&str> = options.split(',').map(str::trim).filter(|option| !option.is_empty()).collect();
    if !all.contains(&TOKEN_FILE) {
        all.push(TOKEN_FILE);
    }
    all.join(",")
}

fn push(value: &mut Value, list: &str, element: Value) {
    if let Some(list) = value.pointer_mut(list).and_then(Value::as_array_mut) {
        list.push(element);
    } else if let Some(object) = value.as_object_mut() {
        object.insert(list.trim_start_matches('/').to_owned(), json!([element]));
    }
}

/// The user name that an API server gives an istiod of another cluster, as the guide has it configured: the cluster
/// before the name of the ServiceAccount.
pub fn usual_user(watcher: &str, namespace: &str, service_account: &str) -> String {
    format!("{watcher}:system:serviceaccount:{namespace}:{service_account}")
}

/// The part of an API server's `AuthenticationConfiguration` by which it trusts the tokens of one istiod.
#[derive(Debug, Clone, Copy)]
pub struct TrustedIssuer<'a> {
    /// `iss` of the tokens.
    pub issuer: &'a str,
    pub audience: &'a Audience,
    /// `sub` of the tokens.
    pub subject: &'a str,
    /// The user name to give it.
    pub user: &'a str,
}

impl TrustedIssuer<'_> {
    /// As YAML, for the file of `--authentication-config`.
    pub fn configuration(&self) -> String {
        let Self { issuer, audience, subject, user } = self;
        let prefix = user.strip_suffix(subject);
        let username = match prefix {
            Some(prefix) => format!("claim: sub\n      prefix: {}", json!(prefix)),
            None => format!("expression: {}", json!(format!("'{user}'"))),
        };
        let rule = format!("claims.sub == '{subject}'");
        format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- issuer:\n    url: {}\n    audiences: [{}]\n  claimValidationRules:\n  - expression: {}\n    \
             message: not the istiod of this issuer\n  claimMappings:\n    username:\n      {username}\n",
            json!(issuer),
            json!(audience.as_str()),
            json!(rule),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> LinkTokens {
        let audiences = ["east", "istio-links"].into_iter().filter_map(|text| Audience::new(text).ok()).collect();
        LinkTokens { audiences, lifetime: Duration::from_secs(3600) }
    }

    fn deployment(env: Value) -> Value {
        json!({ "spec": { "template": { "spec": {
            "containers": [{ "name": "discovery", "env": env, "volumeMounts": [{ "name": "cacerts", "mountPath": "/etc/cacerts" }] }],
            "volumes": [{ "name": "cacerts" }] } } } })
    }

    #[test]
    fn an_istiod_gets_a_token_for_each_audience_and_may_use_files() {
        let mut given = deployment(json!([]));
        tokens().give(&mut given);
        let pod = &given["spec"]["template"]["spec"];
        let sources = pod["volumes"][1]["projected"]["sources"].as_array().unwrap();
        assert_eq!(sources.len(), 2);
        let token = json!({ "audience": "east", "expirationSeconds": 3600, "path": "east" });
        assert_eq!(sources[0]["serviceAccountToken"], token);
        assert_eq!(pod["containers"][0]["volumeMounts"][1]["mountPath"], MOUNT);
        assert_eq!(pod["containers"][0]["env"], json!([{ "name": OPTIONS, "value": "tokenFile" }]));
        assert_eq!(LinkTokens::of(&given), Some(tokens()), "and it is read back");
        assert_eq!(LinkTokens::of(&deployment(json!([]))), None);
    }

    #[test]
    fn what_the_user_lets_istiod_use_stays() {
        for (said, then) in [("exec", "exec,tokenFile"), ("tokenFile, gcp", "tokenFile,gcp"), ("", "tokenFile")] {
            let mut given = deployment(json!([{ "name": OPTIONS, "value": said }]));
            tokens().give(&mut given);
            let env = &given["spec"]["template"]["spec"]["containers"][0]["env"];
            assert_eq!(*env, json!([{ "name": OPTIONS, "value": then }]));
        }
    }

    #[test]
    fn an_audience_is_a_file_and_no_way_out_of_its_folder() {
        let audience = Audience::new("istio-links").unwrap();
        assert_eq!(audience.file(), "./var/run/secrets/istio-links/istio-links");
        assert_eq!(Audience::of_file(&audience.file()), Some(audience));
        for wrong in ["", "..", "a/b", "../token", "https://a", ".a", "a b"] {
            assert!(Audience::new(wrong).is_err(), "{wrong}");
        }
        for other in
            ["/var/run/secrets/kubernetes.io/serviceaccount/token", "token", "./var/run/secrets/istio-links/../x/y"]
        {
            assert_eq!(Audience::of_file(other), None, "{other}");
        }
    }

    #[test]
    fn the_configuration_maps_the_subject_to_the_user() {
        let subject = "system:serviceaccount:istio-system:istiod";
        let audience = Audience::new("east").unwrap();
        let of = |user: &str| {
            let trusted = TrustedIssuer { issuer: "https://issuer.example", audience: &audience, subject, user };
            trusted.configuration()
        };
        let usual = of(&usual_user("west", "istio-system", "istiod"));
        assert!(usual.contains("claim: sub\n      prefix: \"west:\"\n"), "{usual}");
        assert!(of("istiods-of-west").contains("expression: \"'istiods-of-west'\""));
        let read: Value = serde_saphyr::from_str(&usual).unwrap();
        assert_eq!(read["jwt"][0]["issuer"], json!({ "url": "https://issuer.example", "audiences": ["east"] }));
    }
}
