//! A certificate with the facts the mesh turns on, read once.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA512_ASN1, ECDSA_P384_SHA512_ASN1, ECDSA_P521_SHA256_ASN1, ECDSA_P521_SHA384_ASN1,
    ECDSA_P521_SHA512_ASN1, UnparsedPublicKey, VerificationAlgorithm,
};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use x509_parser::extensions::GeneralSubtree;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::{SubjectPublicKeyInfo, X509Name};

use super::pem::{self, PemError};

/// A certificate. Equality is equality of the DER.
#[derive(Clone)]
pub struct Certificate {
    der: Vec<u8>,
    facts: Facts,
}

/// What constraints of a CA say of one kind of name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subtrees {
    /// Any of these, unless there are none.
    pub permitted: Vec<String>,
    /// None of these.
    pub excluded: Vec<String>,
}

/// What a CA of a mesh may not be, whoever uses it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// For DNS names.
    pub dns: Subtrees,
    /// For the hosts of URIs.
    pub uri: Subtrees,
    /// Critical extensions, by object identifier, that verifiers do not know, and therefore refuse.
    pub unknown_critical: Vec<String>,
    /// It has extended key usages, and these are not among them.
    pub lacks_usages: Vec<&'static str>,
}

#[derive(Clone)]
struct Facts {
    subject: Name,
    issuer: Name,
    serial: Serial,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
    ca: bool,
    path_len: Option<u32>,
    may_sign_certificates: bool,
    key: KeyKind,
    public_key_info: Vec<u8>,
    weak_signature: bool,
    negative_serial: bool,
    dns_names: Vec<String>,
    uris: Vec<String>,
    limits: Limits,
}

#[derive(Clone, PartialEq, Eq)]
struct Name {
    der: Vec<u8>,
    text: String,
}

/// The kind and strength of a public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA with so many bits.
    Rsa(usize),
    /// ECDSA on a NIST curve of so many bits.
    Ecdsa(usize),
    /// ECDSA on another curve, by its object identifier: neither Go nor Envoy knows it.
    UnknownCurve(String),
    /// Anything else, by its object identifier.
    Other(String),
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(bits) => write!(f, "RSA-{bits}"),
            Self::Ecdsa(bits) => write!(f, "ECDSA-P{bits}"),
            Self::UnknownCurve(oid) => write!(f, "ECDSA on the curve {oid}"),
            Self::Other(oid) => write!(f, "algorithm {oid}"),
        }
    }
}

/// SHA-256 over the DER; prints as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Reads what `Display` writes, and openssl's form with colons and capitals.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: Vec<u8> = text.bytes().filter(|b| *b != b':').collect();
        if digits.len() != 64 {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A serial number; prints as lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Serial(Vec<u8>);

impl Serial {
    /// Makes a positive serial from random bytes; RFC 5280 wants at most 20 and Go refuses negative ones.
    pub fn from_random(mut bytes: [u8; 16]) -> Self {
        bytes[0] = (bytes[0] & 0x7f) | 0x40;
        Self(bytes.to_vec())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why there is no certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// The text is not PEM.
    #[error("cannot read the certificate")]
    Pem(#[source] PemError),
    /// Another block among certificates.
    #[error("line {line} begins a {label} block where a certificate is expected")]
    NotACertificate {
        /// Its label.
        label: String,
        /// Counted from 1.
        line: usize,
    },
    /// The block holds no certificate.
    #[error("the block that begins at line {line} is not an X.509 certificate")]
    Malformed {
        /// Counted from 1.
        line: usize,
    },
    /// More than one where one is expected.
    #[error("there are {0} certificates where one is expected")]
    Several(usize),
}

impl Certificate {
    /// Reads DER; `None` if it is no certificate.
    pub fn from_der(der: &[u8]) -> Option<Self> {
        let (rest, parsed) = X509Certificate::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let facts = Facts::read(&parsed)?;
        Some(Self { der: der.to_vec(), facts })
    }

    /// Reads exactly one certificate.
    pub fn from_pem(text: &str) -> Result<Self, CertificateError> {
        let mut all = Self::all_from_pem(text)?;
        match all.len() {
            1 => Ok(all.remove(0)),
            count => Err(CertificateError::Several(count)),
        }
    }

    /// Reads one or more certificates, in order.
    pub fn all_from_pem(text: &str) -> Result<Vec<Self>, CertificateError> {
        let blocks = pem::parse(text).map_err(CertificateError::Pem)?;
        blocks
            .iter()
            .map(|block| match block.label.as_str() {
                CERTIFICATE => Self::from_der(&block.der).ok_or(CertificateError::Malformed { line: block.line }),
                label => Err(CertificateError::NotACertificate { label: label.to_owned(), line: block.line }),
            })
            .collect()
    }

    /// Reads the certificates in a text that is in use already, as [`pem::found_in`] does. One that cannot be read is
    /// an error, and so is a text without any.
    pub fn all_in(text: &str) -> Result<Vec<Self>, CertificateError> {
        let blocks = pem::found_in(text);
        let certificates = blocks.iter().filter(|block| block.label == CERTIFICATE);
        let read =
            |block: &pem::Block| Self::from_der(&block.der).ok_or(CertificateError::Malformed { line: block.line });
        let certificates: Vec<Self> = certificates.map(read).collect::<Result<_, _>>()?;
        if certificates.is_empty() { Self::all_from_pem(text) } else { Ok(certificates) }
    }

    /// The certificate as PEM.
    pub fn to_pem(&self) -> String {
        pem::encode(CERTIFICATE, &self.der).to_string()
    }

    /// The DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// SHA-256 over the DER.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(Sha256::digest(&self.der).into())
    }

    /// The serial number.
    pub fn serial(&self) -> &Serial {
        &self.facts.serial
    }

    /// Start of validity.
    pub fn not_before(&self) -> OffsetDateTime {
        self.facts.not_before
    }

    /// End of validity.
    pub fn not_after(&self) -> OffsetDateTime {
        self.facts.not_after
    }

    /// The subject, such as `O=Istio, CN=Root CA`.
    pub fn subject(&self) -> &str {
        &self.facts.subject.text
    }

    /// The first common name of the subject, as it is: in the text of the subject a comma ends nothing for sure.
    pub fn common_name(&self) -> Option<String> {
        let (_, name) = X509Name::from_der(&self.facts.subject.der).ok()?;
        Some(name.iter_common_name().next()?.as_str().ok()?.to_owned())
    }

    /// The first organization of the subject.
    pub fn organization(&self) -> Option<String> {
        let (_, name) = X509Name::from_der(&self.facts.subject.der).ok()?;
        Some(name.iter_organization().next()?.as_str().ok()?.to_owned())
    }

    /// The issuer.
    pub fn issuer(&self) -> &str {
        &self.facts.issuer.text
    }

    pub(super) fn subject_der(&self) -> &[u8] {
        &self.facts.subject.der
    }

    pub(super) fn issuer_der(&self) -> &[u8] {
        &self.facts.issuer.der
    }

    /// Whether basicConstraints says CA:true.
    pub fn is_ca(&self) -> bool {
        self.facts.ca
    }

    /// How many further CAs may stand below; `None` is no limit.
    pub fn path_len(&self) -> Option<u32> {
        self.facts.path_len
    }

    /// Whether keyUsage has keyCertSign, or is absent.
    pub fn may_sign_certificates(&self) -> bool {
        self.facts.may_sign_certificates
    }

    /// The public key's kind and strength.
    pub fn key_kind(&self) -> &KeyKind {
        &self.facts.key
    }

    /// The public key, as DER of a SubjectPublicKeyInfo.
    pub fn public_key_info(&self) -> &[u8] {
        &self.facts.public_key_info
    }

    /// Whether it is signed with MD5 or SHA-1, which Go refuses.
    pub fn has_weak_signature(&self) -> bool {
        self.facts.weak_signature
    }

    /// Whether its serial number is below zero, which Go refuses to read.
    pub fn has_negative_serial(&self) -> bool {
        self.facts.negative_serial
    }

    /// Whether subject and issuer are the same.
    pub fn is_self_issued(&self) -> bool {
        self.facts.subject == self.facts.issuer
    }

    /// DNS names among the SANs.
    pub fn dns_names(&self) -> &[String] {
        &self.facts.dns_names
    }

    /// URIs among the SANs: SPIFFE ids.
    pub fn uris(&self) -> &[String] {
        &self.facts.uris
    }

    /// For what it may not be used, if it is a CA.
    pub fn limits(&self) -> &Limits {
        &self.facts.limits
    }

    /// Whether `issuer` signed this certificate: its name is the issuer's, and the signature verifies.
    pub fn is_signed_by(&self, issuer: &Certificate) -> bool {
        if self.facts.issuer.der != issuer.facts.subject.der {
            return false;
        }
        let (Ok((_, child)), Ok((_, parent))) =
            (X509Certificate::from_der(&self.der), X509Certificate::from_der(&issuer.der))
        else {
            return false;
        };
        let signed = Signed {
            algorithm: child.signature_algorithm.algorithm.to_id_string(),
            content: child.tbs_certificate.as_ref(),
            signature: &child.signature_value.data,
        };
        child.verify_signature(Some(parent.public_key())).is_ok() || signed.verify_with_long_hash(parent.public_key())
    }
}

/// What a CA has signed: a certificate, or a revocation list.
pub(super) struct Signed<'a> {
    /// The signature's, as an object identifier.
    pub algorithm: String,
    pub content: &'a [u8],
    pub signature: &'a [u8],
}

impl Signed<'_> {
    /// x509-parser knows neither SHA-512 with ECDSA nor P-521; brought roots use both.
    pub(super) fn verify_with_long_hash(&self, key: &SubjectPublicKeyInfo<'_>) -> bool {
        let Ok(PublicKey::EC(point)) = key.parsed() else { return false };
        let algorithm: &dyn VerificationAlgorithm = match (curve_bits(point.key_size()), self.algorithm.as_str()) {
            (256, ECDSA_WITH_SHA512) => &ECDSA_P256_SHA512_ASN1,
            (384, ECDSA_WITH_SHA512) => &ECDSA_P384_SHA512_ASN1,
            (521, "1.2.840.10045.4.3.2") => &ECDSA_P521_SHA256_ASN1,
            (521, "1.2.840.10045.4.3.3") => &ECDSA_P521_SHA384_ASN1,
            (521, ECDSA_WITH_SHA512) => &ECDSA_P521_SHA512_ASN1,
            _ => return false,
        };
        UnparsedPublicKey::new(algorithm, &key.subject_public_key.data).verify(self.content, self.signature).is_ok()
    }
}

impl Facts {
    fn read(parsed: &X509Certificate<'_>) -> Option<Self> {
        let constraints = parsed.basic_constraints().ok()?.map(|extension| extension.value);
        let usage = parsed.key_usage().ok()?.map(|extension| extension.value);
        let mut dns_names = Vec::new();
        let mut uris = Vec::new();
        for name in parsed.subject_alternative_name().ok()?.iter().flat_map(|extension| &extension.value.general_names)
        {
            match name {
                GeneralName::DNSName(name) => dns_names.push((*name).to_owned()),
                GeneralName::URI(uri) => uris.push((*uri).to_owned()),
                _ => {}
            }
        }
        let name =
            |name: &x509_parser::x509::X509Name<'_>| Name { der: name.as_raw().to_vec(), text: name.to_string() };
        Some(Self {
            subject: name(parsed.subject()),
            issuer: name(parsed.issuer()),
            serial: Serial(without_leading_zeros(parsed.raw_serial())),
            not_before: parsed.validity().not_before.to_datetime(),
            not_after: parsed.validity().not_after.to_datetime(),
            ca: constraints.is_some_and(|constraints| constraints.ca),
            path_len: constraints.and_then(|constraints| constraints.path_len_constraint),
            may_sign_certificates: usage.is_none_or(|usage| usage.key_cert_sign()),
            key: key_kind(parsed)?,
            public_key_info: parsed.public_key().raw.to_vec(),
            weak_signature: WEAK_SIGNATURES.contains(&parsed.signature_algorithm.algorithm.to_id_string().as_str()),
            // The highest bit of the first byte is its sign.
            negative_serial: parsed.raw_serial().first().is_some_and(|byte| byte & 0x80 != 0),
            dns_names,
            uris,
            limits: limits(parsed)?,
        })
    }
}

fn limits(parsed: &X509Certificate<'_>) -> Option<Limits> {
    let mut limits = Limits::default();
    for extension in parsed.extensions().iter().filter(|extension| extension.critical) {
        let oid = extension.oid.to_id_string();
        if !KNOWN_EXTENSIONS.contains(&oid.as_str()) {
            limits.unknown_critical.push(oid);
        }
    }
    if let Some(usages) = parsed.extended_key_usage().ok()?.map(|extension| extension.value)
        && !usages.any
    {
        let needed = [("serverAuth", usages.server_auth), ("clientAuth", usages.client_auth)];
        limits.lacks_usages = needed.into_iter().filter(|(_, has)| !has).map(|(name, _)| name).collect();
    }
    if let Some(constraints) = parsed.name_constraints().ok()? {
        let mut read = |subtrees: &Option<Vec<GeneralSubtree<'_>>>, excluded: bool| {
            for subtree in subtrees.iter().flatten() {
                let (list, name) = match &subtree.base {
                    GeneralName::DNSName(name) => (&mut limits.dns, *name),
                    GeneralName::URI(name) => (&mut limits.uri, *name),
                    // What istiod signs has neither addresses nor mail.
                    GeneralName::IPAddress(_) | GeneralName::RFC822Name(_) => continue,
                    // Go reads no other kinds, and refuses what it must not pass over.
                    _ => {
                        if constraints.critical {
                            limits.unknown_critical.push(NAME_CONSTRAINTS.to_owned());
                        }
                        continue;
                    }
                };
                if excluded { &mut list.excluded } else { &mut list.permitted }.push(name.to_owned());
            }
        };
        read(&constraints.value.permitted_subtrees, false);
        read(&constraints.value.excluded_subtrees, true);
    }
    limits.unknown_critical.dedup();
    Some(limits)
}

fn key_kind(parsed: &X509Certificate<'_>) -> Option<KeyKind> {
    Some(match parsed.public_key().parsed().ok()? {
        PublicKey::RSA(key) => {
            let modulus = without_leading_zeros(key.modulus);
            KeyKind::Rsa(modulus.len() * 8 - modulus.first().map_or(0, |byte| byte.leading_zeros() as usize))
        }
        PublicKey::EC(point) => {
            let curve = parsed.public_key().algorithm.parameters().and_then(|named| named.as_oid().ok());
            match curve.map(|curve| curve.to_id_string()) {
                Some(curve) if NIST_CURVES.contains(&curve.as_str()) => KeyKind::Ecdsa(curve_bits(point.key_size())),
                curve => KeyKind::UnknownCurve(curve.unwrap_or_else(|| "that it describes itself".to_owned())),
            }
        }
        _ => KeyKind::Other(parsed.public_key().algorithm.algorithm.to_id_string()),
    })
}

/// P-224, P-256, P-384 and P-521, by their object identifiers.
const NIST_CURVES: [&str; 4] = ["1.3.132.0.33", "1.2.840.10045.3.1.7", "1.3.132.0.34", "1.3.132.0.35"];

/// A point's coordinates come in whole bytes; of the NIST curves only P-521 is not one.
fn curve_bits(coordinate_bits: usize) -> usize {
    if coordinate_bits == 528 { 521 } else { coordinate_bits }
}

fn without_leading_zeros(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count().min(bytes.len().saturating_sub(1));
    bytes[zeros..].to_vec()
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("subject", &self.facts.subject.text)
            .field("serial", &self.facts.serial)
            .field("fingerprint", &self.fingerprint())
            .finish_non_exhaustive()
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for Certificate {}

const CERTIFICATE: &str = "CERTIFICATE";
const ECDSA_WITH_SHA512: &str = "1.2.840.10045.4.3.4";
/// RSA with MD2, MD5 and SHA-1, and ECDSA with SHA-1.
const WEAK_SIGNATURES: [&str; 5] =
    ["1.2.840.113549.1.1.2", "1.2.840.113549.1.1.4", "1.2.840.113549.1.1.5", "1.3.14.3.2.29", "1.2.840.10045.4.1"];
const NAME_CONSTRAINTS: &str = "2.5.29.30";
/// The extensions that Go's verifier knows where they are critical: key usage, alternative names, basic constraints,
/// name constraints, distribution points, policies and their constraints, extended key usage, and what inhibits any
/// policy. It refuses to read a certificate whose key ids are critical.
const KNOWN_EXTENSIONS: [&str; 10] = [
    "2.5.29.15",
    "2.5.29.17",
    "2.5.29.19",
    NAME_CONSTRAINTS,
    "2.5.29.31",
    "2.5.29.32",
    "2.5.29.33",
    "2.5.29.36",
    "2.5.29.37",
    "2.5.29.54",
];
