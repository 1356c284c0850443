//! Making certificates: roots, requests for intermediates, and signers that turn a request into a chain.

use std::fmt;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyUsagePurpose, SanType, SigningKey,
    SubjectPublicKeyInfo,
};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509CertificationRequest};

use super::certificate::{Certificate, Serial};
use super::der;
use super::key::PrivateKey;
use super::pem::{self, PemError};

/// The subject of a CA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// O; Istio's own is `Istio`.
    pub organization: Option<String>,
    /// CN.
    pub common_name: String,
    /// L; Istio's makefile puts the cluster here.
    pub locality: Option<String>,
}

/// From when to when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Start; a little in the past, for peers whose clocks lag.
    pub not_before: OffsetDateTime,
    /// End.
    pub not_after: OffsetDateTime,
}

/// Why a certificate or request was not made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// A name that X.509 cannot hold.
    #[error("the name {0:?} cannot be in a certificate; use ASCII in DNS names")]
    Name(String),
    /// The validity is empty.
    #[error("the certificate would end before it begins")]
    EmptyValidity,
    /// The library failed.
    #[error("cannot encode or sign the certificate")]
    Encode(#[source] rcgen::Error),
    /// The result is not what it should be; a fault of this provider.
    #[error("the certificate just made cannot be read")]
    Unreadable,
    /// The request is not one.
    #[error("the certificate signing request cannot be read, or its signature is wrong")]
    Request,
    /// The text of a request is not PEM.
    #[error("cannot read the certificate signing request")]
    RequestPem(#[source] PemError),
}

/// A root to be made.
#[derive(Debug, Clone)]
pub struct RootRequest {
    /// Its subject and issuer.
    pub subject: Subject,
    /// From when to when.
    pub validity: Validity,
    /// Its serial number.
    pub serial: Serial,
}

impl RootRequest {
    /// Makes the root, signed by its own key.
    pub fn self_sign(&self, key: &PrivateKey) -> Result<Certificate, IssueError> {
        let mut params = ca_params(&self.subject, BasicConstraints::Unconstrained);
        params.serial_number = Some(self.serial.bytes().to_vec().into());
        set_validity(&mut params, self.validity)?;
        let issued = params.self_signed(key).map_err(IssueError::Encode)?;
        Certificate::from_der(issued.der()).ok_or(IssueError::Unreadable)
    }
}

/// What an intermediate is to be, whoever signs it: Istio's shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntermediateProfile {
    /// Its subject.
    pub subject: Subject,
    /// DNS names; Istio's is `istiod.<system namespace>.svc`.
    pub dns_names: Vec<String>,
}

impl IntermediateProfile {
    fn params(&self) -> Result<CertificateParams, IssueError> {
        // Path length 0: what istiod signs are workloads, never another CA.
        let mut params = ca_params(&self.subject, BasicConstraints::Constrained(0));
        for name in &self.dns_names {
            let name_ia5 = name.as_str().try_into().map_err(|_| IssueError::Name(name.clone()))?;
            params.subject_alt_names.push(SanType::DnsName(name_ia5));
        }
        Ok(params)
    }

    /// Asks for the intermediate; the key stays where it is.
    pub fn request(&self, key: &PrivateKey) -> Result<SigningRequest, IssueError> {
        let request = self.params()?.serialize_request(key).map_err(IssueError::Encode)?;
        SigningRequest::from_der(request.der())
    }
}

/// A certificate signing request (PKCS#10) whose signature was checked.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningRequest {
    der: Vec<u8>,
    public_key_info: Vec<u8>,
}

impl SigningRequest {
    /// Reads DER.
    pub fn from_der(der: &[u8]) -> Result<Self, IssueError> {
        let (rest, request) = X509CertificationRequest::from_der(der).map_err(|_| IssueError::Request)?;
        if !rest.is_empty() || request.verify_signature().is_err() {
            return Err(IssueError::Request);
        }
        let public_key_info = request.certification_request_info.subject_pki.raw.to_vec();
        Ok(Self { der: der.to_vec(), public_key_info })
    }

    /// Reads PEM of exactly one request.
    pub fn from_pem(text: &str) -> Result<Self, IssueError> {
        match pem::parse(text).map_err(IssueError::RequestPem)?.as_slice() {
            [block] if matches!(block.label.as_str(), CSR | "NEW CERTIFICATE REQUEST") => Self::from_der(&block.der),
            _ => Err(IssueError::Request),
        }
    }

    /// The request as PEM.
    pub fn to_pem(&self) -> String {
        pem::encode(CSR, &self.der).to_string()
    }

    /// The public key, as DER of a SubjectPublicKeyInfo.
    pub fn public_key_info(&self) -> &[u8] {
        &self.public_key_info
    }
}

impl fmt::Debug for SigningRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningRequest(..)")
    }
}

/// What a signer is asked: the request, and what this provider wants the certificate to be.
#[derive(Debug, Clone)]
pub struct SignIntermediate<'a> {
    /// Whose key; the signer may also take everything else from it.
    pub request: &'a SigningRequest,
    /// Subject and names.
    pub profile: &'a IntermediateProfile,
    /// From when to when; an external signer may shorten it.
    pub validity: Validity,
    /// The serial number; an external signer chooses its own.
    pub serial: Serial,
}

/// Whoever holds a CA's key: this process, or some day Vault, a cloud's private CA, or an HSM. Request in, chain out:
/// the certificate first, then the CAs up to but without the root. An implementation that performs I/O does it before
/// or blocks; the caller checks whatever comes back with [`super::check_intermediate`].
pub trait Signer {
    /// Signs an intermediate.
    fn sign(&self, ask: &SignIntermediate<'_>) -> Result<Vec<Certificate>, IssueError>;
}

/// A CA whose key is at hand.
#[derive(Debug)]
pub struct LocalSigner<'a> {
    /// The CA.
    pub certificate: &'a Certificate,
    /// Its key.
    pub key: &'a PrivateKey,
}

impl Signer for LocalSigner<'_> {
    fn sign(&self, ask: &SignIntermediate<'_>) -> Result<Vec<Certificate>, IssueError> {
        let mut params = ask.profile.params()?;
        params.serial_number = Some(ask.serial.bytes().to_vec().into());
        params.use_authority_key_identifier_extension = true;
        // A signature cannot be trusted for longer than its signer.
        let not_after = ask.validity.not_after.min(self.certificate.not_after());
        set_validity(&mut params, Validity { not_after, ..ask.validity })?;
        let public_key = SubjectPublicKeyInfo::from_der(ask.request.public_key_info()).map_err(IssueError::Encode)?;
        let issuer = Issuer::from_ca_cert_der(&self.certificate.der().into(), self.key).map_err(IssueError::Encode)?;
        let issued = params.signed_by(&public_key, &issuer).map_err(IssueError::Encode)?;
        let issued = self.with_exact_issuer(issued.der())?;
        let mut chain = vec![issued];
        if !self.certificate.is_self_issued() {
            chain.push(self.certificate.clone());
        }
        Ok(chain)
    }
}

impl LocalSigner<'_> {
    /// rcgen keeps one value per kind of name attribute, but corporate roots have several (`DC=example, DC=com`): the
    /// issuer it writes is then not the root's subject, and no verifier finds the root. In that case the issuer's bytes
    /// are put in and the result signed again.
    pub(super) fn with_exact_issuer(&self, issued: &[u8]) -> Result<Certificate, IssueError> {
        let certificate = Certificate::from_der(issued).ok_or(IssueError::Unreadable)?;
        if certificate.issuer_der() == self.certificate.subject_der() {
            return Ok(certificate);
        }
        let outer = der::children(issued).ok_or(IssueError::Unreadable)?;
        let [tbs, algorithm, _signature] = outer.as_slice() else {
            return Err(IssueError::Unreadable);
        };
        // Version, serial number, signature algorithm, issuer, validity, ...
        let mut fields = der::children(tbs).ok_or(IssueError::Unreadable)?;
        let issuer = fields.get_mut(3).ok_or(IssueError::Unreadable)?;
        *issuer = self.certificate.subject_der();
        let tbs = der::sequence(&fields);
        let signature = der::bit_string(&self.key.sign(&tbs).map_err(IssueError::Encode)?);
        Certificate::from_der(&der::sequence(&[&tbs, algorithm, &signature])).ok_or(IssueError::Unreadable)
    }
}

fn ca_params(subject: &Subject, constraints: BasicConstraints) -> CertificateParams {
    let mut name = DistinguishedName::new();
    if let Some(organization) = &subject.organization {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, &subject.common_name);
    if let Some(locality) = &subject.locality {
        name.push(DnType::LocalityName, locality);
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::ContentCommitment,
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::KeyCertSign,
        // Without it, verifiers take no revocation list of this CA.
        KeyUsagePurpose::CrlSign,
    ];
    params
}

fn set_validity(params: &mut CertificateParams, validity: Validity) -> Result<(), IssueError> {
    if validity.not_after <= validity.not_before {
        return Err(IssueError::EmptyValidity);
    }
    params.not_before = validity.not_before;
    params.not_after = validity.not_after;
    Ok(())
}

const CSR: &str = "CERTIFICATE REQUEST";
