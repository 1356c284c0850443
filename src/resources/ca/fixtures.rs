//! Certificates and models for the tests of this folder.

use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use super::secret::CaCerts;
use crate::pki::{
    Bundle, Certificate, IntermediateProfile, KeyAlgorithm, LocalSigner, PrivateKey, RootRequest, Serial,
    SignIntermediate, Signer, Subject, Validity,
};

pub const NOW: OffsetDateTime = datetime!(2026-11-23 12:00 UTC);

pub struct Ca {
    pub certificate: Certificate,
    pub key: PrivateKey,
}

pub fn root() -> Ca {
    root_until(NOW + Duration::days(3650))
}

pub fn root_until(not_after: OffsetDateTime) -> Ca {
    made(subject("Root CA"), not_after)
}

pub fn root_of(subject: Subject) -> Ca {
    made(subject, NOW + Duration::days(3650))
}

fn made(subject: Subject, not_after: OffsetDateTime) -> Ca {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let request = RootRequest {
        subject,
        validity: Validity { not_before: NOW - Duration::days(1), not_after },
        serial: Serial::from_random([1; 16]),
    };
    Ca { certificate: request.self_sign(&key).unwrap(), key }
}

fn subject(common_name: &str) -> Subject {
    Subject { organization: Some("Istio".into()), common_name: common_name.into(), locality: None }
}

/// What a cluster of this root holds, with an intermediate of so many days.
pub fn cacerts(root: &Ca, days: i64) -> CaCerts {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let profile = IntermediateProfile { subject: subject("Intermediate CA"), dns_names: vec![] };
    let ask = SignIntermediate {
        request: &profile.request(&key).unwrap(),
        profile: &profile,
        validity: Validity { not_before: NOW - Duration::days(1), not_after: NOW + Duration::days(days) },
        serial: Serial::from_random([2; 16]),
    };
    let chain = LocalSigner { certificate: &root.certificate, key: &root.key }.sign(&ask).unwrap();
    CaCerts {
        chain,
        key,
        roots: Bundle::from_iter([root.certificate.clone()]),
        lists: Vec::new(),
        has_unreadable_lists: false,
        twice: None,
    }
}

/// An intermediate that a careless signer let end after its root. The provider's own signer never does: it knows the
/// root by another end here.
pub fn outliving(root: &Ca, not_after: OffsetDateTime) -> Certificate {
    let request = RootRequest {
        subject: subject("Root CA"),
        validity: Validity { not_before: NOW - Duration::days(1), not_after: not_after + Duration::days(1) },
        serial: Serial::from_random([1; 16]),
    };
    let longer = Ca {
        certificate: request.self_sign(&root.key).unwrap(),
        key: PrivateKey::from_pem(&root.key.to_pem()).unwrap(),
    };
    cacerts(&longer, (not_after - NOW).whole_days()).chain.remove(0)
}
