//! The Secrets of a CA as text: `cacerts` in the form istiod reads, and the store of generated roots. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;
use zeroize::Zeroizing;

use crate::cluster::{Kind, Object, ObjectRef, Owner};
use crate::mesh::Holding;
use crate::pki::{
    Bundle, Certificate, CertificateError, Fingerprint, KeyError, PrivateKey, RevocationList, check_root, root_of,
};

use super::spec::StoreRef;

/// The Secret that istiod mounts.
pub const CACERTS: &str = "cacerts";
/// Where the key waits while an intermediate is being signed outside. Not in `cacerts`: istiod refuses to start on an
/// incomplete one.
pub const REQUEST: &str = "cacerts-request";
/// Where an istiod without `cacerts` keeps the root it made for itself.
pub const SELF_SIGNED: &str = "istio-ca-secret";

/// In `cacerts`: revocation lists, which others put there.
const LISTS: &str = "ca-crl.pem";

/// Of the CAs that lead to a root. Go's verifier and webpki follow fewer or as many.
const LONGEST_CHAIN: usize = 10;

/// What a `cacerts` Secret holds.
#[derive(Debug)]
pub struct CaCerts {
    /// The intermediate, then the CAs up to but without the root.
    pub chain: Vec<Certificate>,
    pub key: PrivateKey,
    pub roots: Bundle,
    /// What it holds beside them: lists by which proxies refuse certificates. They are others', and stay.
    pub lists: Vec<RevocationList>,
    /// The lists are there, and istiod cannot read them.
    pub has_unreadable_lists: bool,
    /// A root to write twice, so that agents notice a change where the set stays the same.
    pub twice: Option<Certificate>,
}

/// Why a Secret named `cacerts` is not one this provider can work with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("it has the form of cert-manager (tls.crt, tls.key, ca.crt){}", .certificate.as_ref().map(|name| format!(" and belongs to the Certificate {name}")).unwrap_or_default())]
    CertManager { certificate: Option<String> },
    #[error("istiod generated it for itself (it has the key istio-generated)")]
    IstioGenerated,
    #[error("its key {0} is missing")]
    Missing(&'static str),
    #[error("its key {0} cannot be read: {1}")]
    Unreadable(&'static str, String),
    #[error("its intermediate chains to none of its roots")]
    NoRoot,
}

impl CaCerts {
    pub fn reference(namespace: &str) -> ObjectRef {
        ObjectRef::namespaced(Kind::SECRET, namespace, CACERTS)
    }

    /// The Secret, all keys at once.
    pub fn object(&self, namespace: &str, owner: &Owner) -> Object {
        let issuer = root_of(&self.chain, &self.roots);
        let intermediate = self.chain.first().map(Certificate::to_pem).unwrap_or_default();
        let chain: String = self.chain.iter().chain(issuer).map(Certificate::to_pem).collect();
        let roots = match &self.twice {
            Some(root) => self.roots.to_pem_with_duplicate(root),
            None => self.roots.to_pem(),
        };
        let key = self.key.to_pem();
        secret(
            &Self::reference(namespace),
            owner,
            [
                ("ca-cert.pem", intermediate.as_bytes()),
                ("ca-key.pem", key.as_bytes()),
                ("cert-chain.pem", chain.as_bytes()),
                ("root-cert.pem", roots.as_bytes()),
            ],
        )
    }

    /// Reads istiod's plain form, as [`CaCerts::object`] writes it.
    pub fn read(secret: &Object) -> Result<Self, Fault> {
        Self::read_by(secret, Certificate::all_from_pem, PrivateKey::from_pem)
    }

    /// Reads a Secret that somebody else wrote, as istiod reads it: what it starts with counts, whatever stands beside
    /// it.
    pub fn read_theirs(secret: &Object) -> Result<Self, Fault> {
        Self::read_by(secret, Certificate::all_in, PrivateKey::first_in)
    }

    fn read_by(secret: &Object, certificates_of: ReadCertificates, key_of: ReadKey) -> Result<Self, Fault> {
        // istiod prefers this form where both are there.
        if secret.data("tls.crt").is_some() {
            let certificate = secret.annotation("cert-manager.io/certificate-name").map(str::to_owned);
            return Err(Fault::CertManager { certificate });
        }
        if secret.data("istio-generated").is_some() {
            return Err(Fault::IstioGenerated);
        }
        let certificates = |key| certificates(secret, key, certificates_of);
        let intermediate = certificates("ca-cert.pem")?.into_iter().take(1);
        let behind = certificates("cert-chain.pem")?;
        let roots = certificates("root-cert.pem")?;
        let held = Self::of(intermediate.chain(behind), roots, private_key(secret, "ca-key.pem", key_of)?)?;
        let lists = text(secret, LISTS);
        Ok(Self {
            has_unreadable_lists: secret.data(LISTS).is_some_and(|data| !data.is_empty())
                && !lists.as_deref().is_ok_and(RevocationList::is_readable),
            lists: lists.map(|text| RevocationList::all_in(&text)).unwrap_or_default(),
            ..held
        })
    }

    /// Reads the form of a TLS Secret, which istiod takes too and cert-manager writes: to tell what is there, as only
    /// the plain form is ever written.
    pub fn read_tls(secret: &Object) -> Result<Self, Fault> {
        let chain = certificates(secret, "tls.crt", Certificate::all_in)?;
        let roots = certificates(secret, "ca.crt", Certificate::all_in)?;
        Self::of(chain, roots, private_key(secret, "tls.key", PrivateKey::first_in)?)
    }

    fn of(
        certificates: impl IntoIterator<Item = Certificate>,
        roots: Vec<Certificate>,
        key: PrivateKey,
    ) -> Result<Self, Fault> {
        let roots: Bundle = roots.into_iter().collect();
        // The first is the intermediate, whatever it looks like. Of the others those count that lead to a root, in
        // whatever order they are listed.
        let mut certificates = certificates.into_iter();
        let mut chain: Vec<Certificate> = certificates.next().into_iter().collect();
        let behind: Vec<Certificate> = certificates.filter(|ca| !ca.is_self_issued()).collect();
        // Each step tries every certificate, and no verifier follows a long chain.
        while chain.len() < LONGEST_CHAIN
            && let Some(last) = chain.last().filter(|last| !roots.iter().any(|root| last.is_signed_by(root)))
        {
            let Some(next) = behind.iter().find(|ca| last.is_signed_by(ca) && !chain.contains(ca)) else { break };
            chain.push(next.clone());
        }
        let held = Self { chain, key, roots, lists: Vec::new(), has_unreadable_lists: false, twice: None };
        if held.issuer().is_none() {
            return Err(Fault::NoRoot);
        }
        Ok(held)
    }

    /// The root the intermediate chains to.
    pub fn issuer(&self) -> Option<&Certificate> {
        root_of(&self.chain, &self.roots)
    }

    /// The CAs that a verifier meets on the way to the root, and the root.
    pub fn authorities(&self) -> impl Iterator<Item = &Certificate> {
        self.chain.iter().chain(self.issuer())
    }

    /// What counts for a rotation.
    pub fn holding(&self) -> Option<Holding<String>> {
        let issuer = self.issuer()?.fingerprint().to_string();
        Some(Holding { issuer, trusted: self.roots.fingerprints().iter().map(Fingerprint::to_string).collect() })
    }
}

/// The roots that are generated and kept, by generation.
#[derive(Debug, Default)]
pub struct RootStore(pub BTreeMap<i64, StoredRoot>);

#[derive(Debug)]
pub struct StoredRoot {
    pub certificate: Certificate,
    pub key: PrivateKey,
}

impl RootStore {
    pub fn reference(store: &StoreRef) -> ObjectRef {
        ObjectRef::namespaced(Kind::SECRET, &store.namespace, &store.name)
    }

    pub fn object(&self, store: &StoreRef, owner: &Owner) -> Object {
        let mut data: Vec<(String, Zeroizing<String>)> = Vec::new();
        for (generation, root) in &self.0 {
            data.push((format!("root-{generation}.crt"), root.certificate.to_pem().into()));
            data.push((format!("root-{generation}.key"), root.key.to_pem()));
        }
        secret(&Self::reference(store), owner, data.iter().map(|(key, value)| (key.as_str(), value.as_bytes())))
    }

    /// Reads what [`RootStore::object`] writes.
    pub fn read(secret: &Object) -> Result<Self, String> {
        let mut roots = BTreeMap::new();
        for key in secret.strings("data").keys() {
            let Some(generation) = key.strip_prefix("root-").and_then(|rest| rest.strip_suffix(".crt")) else {
                continue;
            };
            let broken = || key.to_string();
            let number: i64 = generation.parse().map_err(|_| broken())?;
            let pem = text(secret, key).map_err(|_| broken())?;
            let certificate = Certificate::from_pem(&pem).map_err(|_| broken())?;
            let key_name = format!("root-{generation}.key");
            let pem = Zeroizing::new(text(secret, &key_name).map_err(|_| key_name.clone())?);
            let key = PrivateKey::from_pem(&pem).map_err(|_| key_name)?;
            roots.insert(number, StoredRoot { certificate, key });
        }
        Ok(Self(roots))
    }

    /// What is wrong with a store whatever it was before: a key that is not its certificate's signs what nobody takes.
    pub fn check(&self) -> Result<(), String> {
        for (number, StoredRoot { certificate, key }) in &self.0 {
            if key.public_key_info() != certificate.public_key_info() {
                return Err(format!("the key root-{number}.key does not belong to the certificate root-{number}.crt"));
            }
            let unfit = check_root(certificate, certificate.not_before());
            if let Some(problem) = unfit.first() {
                return Err(format!("root-{number}.crt is no root: {problem}"));
            }
        }
        Ok(())
    }

    /// The fingerprints, by generation.
    pub fn fingerprints(&self) -> BTreeMap<i64, String> {
        self.0.iter().map(|(number, root)| (*number, root.certificate.fingerprint().to_string())).collect()
    }

    pub fn by_fingerprint(&self, fingerprint: &str) -> Option<&StoredRoot> {
        self.0.values().find(|root| root.certificate.fingerprint().to_string() == fingerprint)
    }
}

/// Where an open request is.
pub fn request_in(namespace: &str) -> ObjectRef {
    ObjectRef::namespaced(Kind::SECRET, namespace, REQUEST)
}

/// The object, to be written only where the live one is still of this version.
pub fn at_version(mut object: Object, version: &str) -> Object {
    if let Some(metadata) = object.value_mut().get_mut("metadata").and_then(serde_json::Value::as_object_mut) {
        metadata.insert("resourceVersion".to_owned(), version.into());
    }
    object
}

fn secret<'a>(reference: &ObjectRef, owner: &Owner, data: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Object {
    let data: serde_json::Map<_, _> =
        data.into_iter().map(|(key, value)| (key.to_owned(), BASE64.encode(value).into())).collect();
    owner.put_on(Object::of(reference)).with("type", "Opaque").with("data", json!(data))
}

/// A Secret of before marks, with the mark and what else this provider wrote in it.
pub fn with_mark(secret: &Object, own: &BTreeSet<String>, owner: &Owner) -> Object {
    let data = secret.get("data").and_then(serde_json::Value::as_object);
    let data: serde_json::Map<_, _> = data
        .into_iter()
        .flatten()
        .filter(|(key, _)| own.contains(*key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let reference = ObjectRef::namespaced(Kind::SECRET, secret.namespace().unwrap_or_default(), secret.name());
    owner.put_on(Object::of(&reference)).with("type", secret.str("type").to_owned()).with("data", json!(data))
}

type ReadCertificates = fn(&str) -> Result<Vec<Certificate>, CertificateError>;
type ReadKey = fn(&str) -> Result<PrivateKey, KeyError>;

fn certificates(secret: &Object, key: &'static str, read: ReadCertificates) -> Result<Vec<Certificate>, Fault> {
    read(&text(secret, key)?).map_err(|error| Fault::Unreadable(key, reason(&error)))
}

fn private_key(secret: &Object, key: &'static str, read: ReadKey) -> Result<PrivateKey, Fault> {
    let pem = Zeroizing::new(text(secret, key)?);
    read(&pem).map_err(|error| Fault::Unreadable(key, reason(&error)))
}

/// An error with its causes; none of them repeats the text.
fn reason(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |error| error.source())
        .fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn text<K: AsRef<str> + ?Sized>(secret: &Object, key: &K) -> Result<String, Fault> {
    let known =
        ["ca-cert.pem", "ca-key.pem", "cert-chain.pem", "root-cert.pem", "ca-crl.pem", "tls.crt", "tls.key", "ca.crt"];
    let name = known.into_iter().find(|name| *name == key.as_ref()).unwrap_or("root");
    let bytes = secret.data(key.as_ref()).ok_or(Fault::Missing(name))?;
    String::from_utf8(bytes).map_err(|_| Fault::Unreadable(name, "it is not text".to_owned()))
}

#[cfg(test)]
#[path = "secret_tests.rs"]
mod tests;
