//! A key that waits in a cluster for its signature, with the request for it: `mesh_ca` keeps one while it is signed
//! outside, `mesh_ca_request` is one. No I/O but what a key's making costs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;
use zeroize::Zeroizing;

use super::parsing::sentence;
use crate::cluster::{Object, ObjectRef};
use crate::diag::Diagnostic;
use crate::pki::{IntermediateProfile, KeyAlgorithm, PrivateKey, SigningRequest, Subject};

/// The names of [`KeyAlgorithm`].
pub const ALGORITHMS: &[&str] = &["ECDSA-P256", "ECDSA-P384", "RSA-4096"];

/// A request that waits for its signature, with its key.
#[derive(Debug)]
pub struct OpenRequest {
    pub request: SigningRequest,
    pub key: PrivateKey,
}

/// For whom a request is.
#[derive(Clone, Copy, Debug)]
pub struct Requester<'a> {
    pub organization: Option<&'a str>,
    pub cluster: &'a str,
    /// Of its istiod.
    pub namespace: &'a str,
}

impl OpenRequest {
    /// A new key, and the request for it.
    pub async fn make(profile: &IntermediateProfile, algorithm: KeyAlgorithm) -> Result<Self, Diagnostic> {
        let key = generate(algorithm).await?;
        Ok(Self { request: profile.request(&key).map_err(|error| unmade(&error))?, key })
    }

    /// The Secret with both.
    pub fn object(&self, reference: &ObjectRef) -> Object {
        with_key(requested(reference, &self.request.to_pem()), &self.key.to_pem())
    }

    /// Reads what [`OpenRequest::object`] writes; nothing where the key is not the request's.
    pub fn read(secret: &Object) -> Option<Self> {
        let text = |key| String::from_utf8(secret.data(key)?).ok();
        let request = SigningRequest::from_pem(&text(REQUEST)?).ok()?;
        let key = PrivateKey::from_pem(&Zeroizing::new(text(KEY)?)).ok()?;
        (key.public_key_info() == request.public_key_info()).then_some(Self { request, key })
    }

    /// The key once more, for a Secret of its own.
    pub fn copied(&self) -> Result<Self, Diagnostic> {
        Ok(Self { request: self.request.clone(), key: copied(&self.key)? })
    }
}

/// The keys of the Secret.
const REQUEST: &str = "request.pem";
const KEY: &str = "ca-key.pem";

/// The Secret as far as everybody may know it: without the key.
pub fn requested(reference: &ObjectRef, request: &str) -> Object {
    Object::of(reference).with("type", "Opaque").with("data", json!({ REQUEST: BASE64.encode(request) }))
}

fn with_key(mut object: Object, key: &str) -> Object {
    put_key(&mut object, key);
    object
}

/// Puts the key beside its request.
pub fn put_key(object: &mut Object, key: &str) {
    if let Some(data) = object.value_mut().get_mut("data").and_then(serde_json::Value::as_object_mut) {
        data.insert(KEY.to_owned(), BASE64.encode(key).into());
    }
}

/// What istiod needs of an intermediate, whoever signs it.
pub fn profile(requester: Requester<'_>) -> IntermediateProfile {
    let Requester { organization, cluster, namespace } = requester;
    IntermediateProfile {
        subject: Subject {
            organization: organization.map(str::to_owned),
            common_name: "Intermediate CA".to_owned(),
            locality: Some(cluster.to_owned()),
        },
        dns_names: vec![format!("istiod.{namespace}.svc")],
    }
}

/// RSA takes a second or more of computing: not on the threads that serve requests.
pub async fn generate(algorithm: KeyAlgorithm) -> Result<PrivateKey, Diagnostic> {
    let made = tokio::task::spawn_blocking(move || PrivateKey::generate(algorithm)).await;
    match made {
        Ok(Ok(key)) => Ok(key),
        Ok(Err(error)) => Err(unmade(&error)),
        Err(_) => Err(Diagnostic::bug("Generating a key panicked.")),
    }
}

/// Keys are not cloned by the way.
pub fn copied(key: &PrivateKey) -> Result<PrivateKey, Diagnostic> {
    PrivateKey::from_pem(&key.to_pem()).map_err(|error| unmade(&error))
}

pub fn unmade(error: &dyn std::error::Error) -> Diagnostic {
    Diagnostic::error("The certificate cannot be made").detail(chained(error))
}

/// An error with its causes as a sentence.
pub fn chained(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    sentence(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Kind;

    fn open() -> OpenRequest {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let requester = Requester { organization: Some("Example"), cluster: "east", namespace: "istio-system" };
        OpenRequest { request: profile(requester).request(&key).unwrap(), key }
    }

    #[test]
    fn a_secret_is_read_as_it_was_written_and_not_with_another_key() {
        let reference = ObjectRef::namespaced(Kind::SECRET, "n", "r");
        let (one, other) = (open(), open());
        let read = OpenRequest::read(&one.object(&reference)).unwrap();
        assert!(read.request == one.request && read.key.public_key_info() == one.key.public_key_info());
        let mut mixed = one.object(&reference);
        put_key(&mut mixed, &other.key.to_pem());
        assert!(OpenRequest::read(&mixed).is_none());
        assert!(OpenRequest::read(&requested(&reference, &one.request.to_pem())).is_none(), "without its key");
    }
}
