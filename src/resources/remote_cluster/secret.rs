//! A remote secret, read: which cluster it describes, what it says of it, and what else it holds. Pure.

use serde_json::json;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::spec::{self, Endpoint, Spec};
use crate::cluster::{INSTANCE_ANNOTATION, Kind, OWNER_LABEL, Object, ObjectRef, Owner};
use crate::mesh::{
    CLUSTER_ANNOTATION, CONFIG_SECRET, Credential, Login, MULTI_CLUSTER_LABEL, ParsedRemoteSecret, RemoteSecret,
    SecretForm, Token,
};

/// Where the Secret is, in the cluster of the watcher's remote secrets.
pub fn reference(spec: &Spec, name: &str) -> ObjectRef {
    ObjectRef::namespaced(Kind::SECRET, spec.namespace.as_str(), name)
}

/// What the Secret says of the cluster.
pub fn remote(spec: &Spec, endpoint: &Endpoint, login: Login) -> RemoteSecret {
    let Endpoint { server, certificate_authority, tls_server_name, proxy_url } = endpoint.clone();
    RemoteSecret {
        cluster: spec.id.clone(),
        namespace: spec.namespace.clone(),
        server,
        certificate_authority,
        tls_server_name,
        proxy_url,
        login,
        form: spec.form(),
    }
}

/// The Secret as it is written.
pub fn object(reference: &ObjectRef, remote: &RemoteSecret, owner: &Owner) -> Object {
    let mut object = Object::of(reference);
    if let (Some(object), serde_json::Value::Object(members)) = (object.value_mut().as_object_mut(), remote.object()) {
        for (member, value) in members.into_iter().filter(|(member, _)| member != "metadata") {
            object.insert(member, value);
        }
    }
    let object = match remote.form {
        SecretForm::Remote => object.with_label(MULTI_CLUSTER_LABEL, "true"),
        SecretForm::Config => object,
    };
    owner.put_on(object).with_annotation(CLUSTER_ANNOTATION, remote.cluster.as_str())
}

/// The token in a live remote secret.
pub fn token_of(live: &Object, id: &str) -> Option<Token> {
    match described(live, id)?.credential {
        Credential::Token(token) => Some(token),
        _ => None,
    }
}

/// All tokens in a live remote secret.
pub fn tokens_of(live: &Object) -> Vec<Token> {
    let token = |parsed: ParsedRemoteSecret| match parsed.credential {
        Credential::Token(token) => Some(token),
        _ => None,
    };
    if live.name() == CONFIG_SECRET {
        let parsed = ParsedRemoteSecret::from_config_object(live.value()).ok();
        return parsed.and_then(|(_, parsed)| token(parsed)).into_iter().collect();
    }
    live.strings("data").keys().filter_map(|id| token(described(live, id)?)).collect()
}

/// What a live remote secret says of the cluster `id`.
pub fn described(secret: &Object, id: &str) -> Option<ParsedRemoteSecret> {
    if secret.name() == CONFIG_SECRET {
        let (name, parsed) = ParsedRemoteSecret::from_config_object(secret.value()).ok()?;
        return (name == id).then_some(parsed);
    }
    // Each by itself: what others have put beside it is theirs.
    let text = Zeroizing::new(String::from_utf8(secret.data(id)?).ok()?);
    ParsedRemoteSecret::from_kubeconfig(&text).ok()
}

/// Whether the live secret holds these very bytes already: then istiod has nothing to notice.
pub fn says(live: &Object, remote: &RemoteSecret) -> bool {
    remote.data().keys().all(|key| says_of(live, remote, key))
}

/// The same of one key.
pub fn says_of(live: &Object, remote: &RemoteSecret, key: &str) -> bool {
    remote.data().get(key).is_some_and(|text| live.data(key).is_some_and(|data| data == text.as_bytes()))
}

/// SHA-256 over the certificates of a PEM text, in hexadecimal: text around and order of blocks count, white space does
/// not.
pub fn fingerprint(pem: &str) -> String {
    let mut hasher = Sha256::new();
    match spec::certificates(pem) {
        Ok(certificates) => certificates.iter().for_each(|certificate| hasher.update(certificate)),
        Err(_) => hasher.update(pem),
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A digest of all that a remote secret says but the token: what drift is found by.
pub fn shape(described: &Described<'_>) -> String {
    let mut hasher = Sha256::new();
    for text in [
        Some(described.id),
        Some(described.server),
        described.authority,
        described.tls_server_name,
        described.proxy_url,
        Some(if described.labelled { "labelled" } else { "unlabelled" }),
    ]
    .into_iter()
    // Digests of links by tokens are as they were before there were others.
    .chain(described.own.map(Some))
    {
        let text = text.unwrap_or_default();
        hasher.update(text.len().to_le_bytes());
        hasher.update(text);
    }
    format!("sha256:{}", hasher.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// A remote secret's content, the token left out.
#[derive(Clone, Copy, Debug)]
pub struct Described<'a> {
    /// The data key.
    pub id: &'a str,
    pub server: &'a str,
    /// Fingerprint of its certificates.
    pub authority: Option<&'a str>,
    pub tls_server_name: Option<&'a str>,
    pub proxy_url: Option<&'a str>,
    /// The audience of the token of its own that istiod logs in by, if it does.
    pub own: Option<&'a str>,
    /// Whether istiod finds it, and takes it for what it is.
    pub labelled: bool,
}

/// Whether the Secret describes other clusters as well.
pub fn has_others(live: &Object, id: &str) -> bool {
    live.strings("data").keys().any(|key| *key != id)
}

/// The JSON patch that takes this cluster's key out, and with it what says that the Secret is this resource's.
pub fn without_key(live: &Object, id: &str, version: &str) -> serde_json::Value {
    let escaped = |text: &str| text.replace('~', "~0").replace('/', "~1");
    let mut operations = vec![json!({ "op": "test", "path": "/metadata/resourceVersion", "value": version })];
    if live.data(id).is_some() {
        operations.push(json!({ "op": "remove", "path": format!("/data/{}", escaped(id)) }));
    }
    for (member, key) in
        [("labels", OWNER_LABEL), ("annotations", INSTANCE_ANNOTATION), ("annotations", CLUSTER_ANNOTATION)]
    {
        let is_there = if member == "labels" { live.label(key).is_some() } else { live.annotation(key).is_some() };
        if is_there {
            operations.push(json!({ "op": "remove", "path": format!("/metadata/{member}/{}", escaped(key)) }));
        }
    }
    operations.into()
}
