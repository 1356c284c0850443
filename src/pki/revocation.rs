//! Certificate revocation lists, as `ca-crl.pem` holds them. A verifier that has a list of one CA asks for one of every
//! CA in a chain: a list that is missing refuses more than a list that is there.

use std::fmt;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;

use super::certificate::{Certificate, Signed};
use super::pem;

/// A revocation list. It prints as its issuer, how many certificates it revokes, and when it ends.
#[derive(Clone, PartialEq, Eq)]
pub struct RevocationList {
    der: Vec<u8>,
    issuer_der: Vec<u8>,
    issuer: String,
    revoked: usize,
    next_update: Option<OffsetDateTime>,
}

impl RevocationList {
    /// The lists in a text that is in use already, as istiod reads it. One that cannot be read is none.
    pub fn all_in(text: &str) -> Vec<Self> {
        let blocks = pem::found_in(text);
        blocks.iter().filter(|block| block.label == LIST).filter_map(|block| Self::from_der(&block.der)).collect()
    }

    /// Whether istiod can read the text: it refuses one without a list, and one with a block that is none.
    pub fn is_readable(text: &str) -> bool {
        let blocks = pem::found_in(text);
        !blocks.is_empty() && blocks.iter().all(|block| Self::from_der(&block.der).is_some())
    }

    fn from_der(der: &[u8]) -> Option<Self> {
        let (rest, list) = CertificateRevocationList::from_der(der).ok()?;
        rest.is_empty().then(|| Self {
            der: der.to_vec(),
            issuer_der: list.issuer().as_raw().to_vec(),
            issuer: list.issuer().to_string(),
            revoked: list.iter_revoked_certificates().count(),
            next_update: list.next_update().map(|at| at.to_datetime()),
        })
    }

    /// Whose list it is.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Whether it has ended: verifiers then refuse every certificate of its issuer.
    pub fn has_ended(&self, now: OffsetDateTime) -> bool {
        self.next_update.is_some_and(|end| end < now)
    }

    fn is_signed_by(&self, ca: &Certificate) -> bool {
        if self.issuer_der != ca.subject_der() {
            return false;
        }
        let (Ok((_, list)), Ok((_, ca))) =
            (CertificateRevocationList::from_der(&self.der), X509Certificate::from_der(ca.der()))
        else {
            return false;
        };
        let signed = Signed {
            algorithm: list.signature_algorithm.algorithm.to_id_string(),
            content: list.tbs_cert_list.as_ref(),
            signature: &list.signature_value.data,
        };
        list.verify_signature(ca.public_key()).is_ok() || signed.verify_with_long_hash(ca.public_key())
    }
}

impl fmt::Display for RevocationList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} revoked, ", self.issuer, self.revoked)?;
        match self.next_update.and_then(|end| end.format(&Rfc3339).ok()) {
            Some(end) => write!(f, "valid until {end}"),
            None => f.write_str("without an end"),
        }
    }
}

impl fmt::Debug for RevocationList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The first of these CAs that no list is signed by; `None` where there are no lists, or all are covered.
pub fn unlisted<'a>(
    lists: &[RevocationList],
    cas: impl IntoIterator<Item = &'a Certificate>,
) -> Option<&'a Certificate> {
    if lists.is_empty() {
        return None;
    }
    cas.into_iter().find(|ca| !lists.iter().any(|list| list.is_signed_by(ca)))
}

const LIST: &str = "X509 CRL";

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, SerialNumber};
    use rcgen::{IsCa, KeyUsagePurpose, RevokedCertParams};
    use time::Duration;

    use super::*;

    fn ca(name: &str) -> (Certificate, Issuer<'static, KeyPair>) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let certificate = Certificate::from_pem(&params.self_signed(&key).unwrap().pem()).unwrap();
        (certificate, Issuer::new(params, key))
    }

    fn list(of: &Issuer<'_, KeyPair>) -> String {
        let now = OffsetDateTime::UNIX_EPOCH;
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(7),
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: now,
            next_update: now + Duration::days(9),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(of).unwrap().pem().unwrap()
    }

    /// As our own intermediates are named.
    #[test]
    fn lists_of_our_own_cas_are_theirs() {
        use crate::pki::{IntermediateProfile, KeyAlgorithm, LocalSigner, PrivateKey, RootRequest, Serial};
        use crate::pki::{SignIntermediate, Signer as _, Subject, Validity};
        let validity = Validity {
            not_before: OffsetDateTime::UNIX_EPOCH,
            not_after: OffsetDateTime::UNIX_EPOCH + Duration::days(99),
        };
        let subject = |name: &str, locality: Option<&str>| Subject {
            organization: Some("Istio".into()),
            common_name: name.into(),
            locality: locality.map(str::to_owned),
        };
        let serial = |number| Serial::from_random([number; 16]);
        for algorithm in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::Rsa4096] {
            let key = PrivateKey::generate(algorithm).unwrap();
            let root = RootRequest { subject: subject("Root CA", None), validity, serial: serial(1) };
            let root = root.self_sign(&key).unwrap();
            let own = PrivateKey::generate(algorithm).unwrap();
            let profile = IntermediateProfile { subject: subject("Intermediate CA", Some("east")), dns_names: vec![] };
            let ask = SignIntermediate {
                request: &profile.request(&own).unwrap(),
                profile: &profile,
                validity,
                serial: serial(2),
            };
            let chain = LocalSigner { certificate: &root, key: &key }.sign(&ask).unwrap();
            let of = |ca: &Certificate, key: &PrivateKey| {
                let key = KeyPair::from_pem(&key.to_pem()).unwrap();
                list(&Issuer::from_ca_cert_pem(&ca.to_pem(), key).unwrap())
            };
            let lists = RevocationList::all_in(&[of(&root, &key), of(&chain[0], &own)].concat());
            assert_eq!(lists.len(), 2);
            assert_eq!(unlisted(&lists, [&root, &chain[0]]), None, "{algorithm:?}: {lists:?}");
        }
    }

    #[test]
    fn a_list_is_told_and_covers_whom_it_is_of() {
        let ((root, signer), (other, _)) = (ca("root"), ca("root"));
        let lists = RevocationList::all_in(&format!("as openssl writes it\n{}", list(&signer)));
        let told: Vec<String> = lists.iter().map(ToString::to_string).collect();
        assert!(told[0].contains("CN=root: 1 revoked, valid until 1970-01-10T00:00:00Z"), "{told:?}");
        assert_eq!(unlisted(&lists, [&root]), None);
        assert_eq!(unlisted(&lists, [&root, &other]), Some(&other), "a name is not a signature");
        assert_eq!(unlisted(&[], [&root]), None, "no lists, no demands");
        let (now, then) = (OffsetDateTime::UNIX_EPOCH, OffsetDateTime::UNIX_EPOCH + Duration::days(10));
        assert!(!lists[0].has_ended(now) && lists[0].has_ended(then));
        assert!(RevocationList::all_in("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n").is_empty());
    }
}
