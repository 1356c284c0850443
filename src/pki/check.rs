//! Whether a CA can do its work: what istiod checks when it loads `cacerts`, and what it only finds out later.

use time::{Duration, OffsetDateTime};

use super::bundle::Bundle;
use super::certificate::{Certificate, KeyKind};

/// What is wrong with a certificate, a chain or a key. `Display` is a sentence for users.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Before its time.
    #[error("the certificate {subject} is not valid before {not_before}")]
    NotYetValid {
        /// Whose.
        subject: String,
        /// From when.
        not_before: OffsetDateTime,
    },
    /// After its time.
    #[error("the certificate {subject} expired at {not_after}")]
    Expired {
        /// Whose.
        subject: String,
        /// Since when.
        not_after: OffsetDateTime,
    },
    /// A leaf where a CA is needed.
    #[error("the certificate {subject} is no CA certificate: basicConstraints does not say CA:true")]
    NotCa {
        /// Whose.
        subject: String,
    },
    /// A CA that may sign no certificates.
    #[error("the certificate {subject} is not allowed to sign certificates: its keyUsage lacks keyCertSign")]
    MayNotSign {
        /// Whose.
        subject: String,
    },
    /// Too long a chain.
    #[error("the certificate {subject} allows {allowed} CA(s) below it (pathlen), but the chain has {needed}")]
    PathLength {
        /// Whose.
        subject: String,
        /// Its pathlen.
        allowed: u32,
        /// How many stand below.
        needed: u32,
    },
    /// A root that is none.
    #[error("the certificate {subject} is not self-signed, so it cannot be a root")]
    NotSelfSigned {
        /// Whose.
        subject: String,
    },
    /// The next certificate up does not fit.
    #[error("the certificate {subject} is not signed by {issuer}, the next one of its chain")]
    BrokenChain {
        /// Whose.
        subject: String,
        /// The next one.
        issuer: String,
    },
    /// No root at the end.
    #[error("the certificate {subject} is signed by none of the roots; its issuer is {issuer}")]
    UnknownRoot {
        /// The last of the chain.
        subject: String,
        /// Its issuer.
        issuer: String,
    },
    /// Another key.
    #[error("the private key does not belong to the certificate {subject}")]
    KeyMismatch {
        /// Whose.
        subject: String,
    },
    /// Valid for longer than its signer.
    #[error(
        "the certificate {subject} is valid until {not_after}, longer than its issuer {issuer}, which ends at {issuer_end}"
    )]
    OutlivesIssuer {
        /// Whose.
        subject: String,
        /// Until when.
        not_after: OffsetDateTime,
        /// The issuer.
        issuer: String,
        /// Until when that one is.
        issuer_end: OffsetDateTime,
    },
    /// Too small a key.
    #[error("the certificate {subject} has a weak key ({key}); at least RSA-2048 or ECDSA-P256 is needed")]
    WeakKey {
        /// Whose.
        subject: String,
        /// Its kind.
        key: KeyKind,
    },
    /// An elliptic curve that no part of a mesh knows.
    #[error(
        "the certificate {subject} has a key on the elliptic curve {curve}, which istiod and Envoy cannot read; P-256, P-384 and P-521 are the curves they know"
    )]
    UnknownCurve {
        /// Whose.
        subject: String,
        /// The object identifier of the curve.
        curve: String,
    },
    /// A serial number below zero, which RFC 5280 forbids and Go refuses to read.
    #[error("the certificate {subject} has a negative serial number: istiod cannot read it")]
    NegativeSerial {
        /// Whose.
        subject: String,
    },
    /// Names that it may not sign for.
    #[error("the certificate {subject} has name constraints that forbid it to sign for {names}")]
    NameConstraints {
        /// Whose.
        subject: String,
        /// For what.
        names: String,
    },
    /// Extended key usages that leave out what a mesh needs.
    #[error("the certificate {subject} is limited to other purposes: its extendedKeyUsage lacks {lacks}")]
    Purpose {
        /// Whose.
        subject: String,
        /// Which purposes.
        lacks: String,
    },
    /// A critical extension that no verifier knows.
    #[error("the certificate {subject} has the critical extension {oid}, which verifiers do not know, and so refuse")]
    UnknownCritical {
        /// Whose.
        subject: String,
        /// Which.
        oid: String,
    },
    /// A verifier refused what it signed.
    #[error("a certificate that {subject} signed for trial is refused by a verifier: {why}")]
    Refused {
        /// The CA.
        subject: String,
        /// In the verifier's words.
        why: String,
    },
    /// MD5 or SHA-1.
    #[error("the certificate {subject} is signed with MD5 or SHA-1, which istiod refuses")]
    WeakSignature {
        /// Whose.
        subject: String,
    },
}

/// Problems of a root: alone, without what it signed.
pub fn check_root(root: &Certificate, now: OffsetDateTime) -> Vec<Problem> {
    let mut problems = check_ca(root, now);
    if !root.is_self_issued() || is_verifiable(root) && !root.is_signed_by(root) {
        problems.push(Problem::NotSelfSigned { subject: root.subject().to_owned() });
    }
    problems
}

/// An intermediate with everything that must fit it.
#[derive(Debug, Clone, Copy)]
pub struct CheckIntermediate<'a> {
    /// `ca-cert.pem`, and behind it the CAs up to but without the root; a root at the end is looked for among `roots`
    /// like any other.
    pub chain: &'a [Certificate],
    /// The trusted roots.
    pub roots: &'a Bundle,
    /// The public half of `ca-key.pem`, where it is to be checked.
    pub public_key_info: Option<&'a [u8]>,
    /// The time to check for.
    pub now: OffsetDateTime,
}

/// Problems of an intermediate and its chain. The root's own validity is checked too.
pub fn check_intermediate(check: CheckIntermediate<'_>) -> Vec<Problem> {
    let chain = without_root(check.chain, check.roots);
    let Some((intermediate, last)) = chain.first().zip(chain.last()) else {
        return Vec::new();
    };
    let mut problems = Vec::new();
    if check.public_key_info.is_some_and(|key| key != intermediate.public_key_info()) {
        problems.push(Problem::KeyMismatch { subject: intermediate.subject().to_owned() });
    }
    for certificate in chain {
        problems.extend(check_ca(certificate, check.now));
        if certificate.has_weak_signature() {
            problems.push(Problem::WeakSignature { subject: certificate.subject().to_owned() });
        }
    }
    let mut issuers: Vec<&Certificate> = chain.iter().skip(1).collect();
    let signed_by =
        |root: &&Certificate| last.is_signed_by(root) || (!is_verifiable(root) && root.subject() == last.issuer());
    match check.roots.iter().find(signed_by) {
        Some(root) => {
            problems.extend(check_ca(root, check.now));
            issuers.push(root);
        }
        None => {
            problems.push(Problem::UnknownRoot { subject: last.subject().to_owned(), issuer: last.issuer().to_owned() })
        }
    }
    // A root that is used itself as the mesh's CA has nothing above it.
    let links = chain.iter().zip(issuers).filter(|(certificate, issuer)| certificate.der() != issuer.der());
    for (below, (certificate, issuer)) in (1..).zip(links) {
        problems.extend(check_link(certificate, issuer, below));
    }
    problems
}

/// The root at the end of a chain, where the chain leads to one of the roots.
pub fn root_of<'a>(chain: &[Certificate], roots: &'a Bundle) -> Option<&'a Certificate> {
    let last = without_root(chain, roots).last()?;
    roots.iter().find(|root| last.is_signed_by(root))
}

pub(super) fn without_root<'a>(chain: &'a [Certificate], roots: &Bundle) -> &'a [Certificate] {
    match chain.split_last() {
        Some((last, rest)) if !rest.is_empty() && (roots.contains(last) || last.is_self_issued()) => rest,
        _ => chain,
    }
}

/// A signature on a curve that nobody knows cannot be verified.
fn is_verifiable(issuer: &Certificate) -> bool {
    !matches!(issuer.key_kind(), KeyKind::UnknownCurve(_))
}

fn check_ca(certificate: &Certificate, now: OffsetDateTime) -> Vec<Problem> {
    let subject = || certificate.subject().to_owned();
    let mut problems = Vec::new();
    if now < certificate.not_before() {
        problems.push(Problem::NotYetValid { subject: subject(), not_before: certificate.not_before() });
    }
    if now > certificate.not_after() {
        problems.push(Problem::Expired { subject: subject(), not_after: certificate.not_after() });
    }
    if !certificate.is_ca() {
        problems.push(Problem::NotCa { subject: subject() });
    }
    if !certificate.may_sign_certificates() {
        problems.push(Problem::MayNotSign { subject: subject() });
    }
    if matches!(certificate.key_kind(), KeyKind::Rsa(..2048) | KeyKind::Ecdsa(..256)) {
        problems.push(Problem::WeakKey { subject: subject(), key: certificate.key_kind().clone() });
    }
    if let KeyKind::UnknownCurve(curve) = certificate.key_kind() {
        problems.push(Problem::UnknownCurve { subject: subject(), curve: curve.clone() });
    }
    if certificate.has_negative_serial() {
        problems.push(Problem::NegativeSerial { subject: subject() });
    }
    problems
}

fn check_link(certificate: &Certificate, issuer: &Certificate, below: u32) -> Vec<Problem> {
    let (subject, issuer_name) = (certificate.subject().to_owned(), issuer.subject().to_owned());
    let mut problems = Vec::new();
    if is_verifiable(issuer) && !certificate.is_signed_by(issuer) {
        problems.push(Problem::BrokenChain { subject: subject.clone(), issuer: issuer_name.clone() });
    }
    if let Some(allowed) = issuer.path_len().filter(|allowed| *allowed < below) {
        problems.push(Problem::PathLength { subject: issuer_name.clone(), allowed, needed: below });
    }
    if certificate.not_after() > issuer.not_after() {
        problems.push(Problem::OutlivesIssuer {
            subject,
            not_after: certificate.not_after(),
            issuer: issuer_name,
            issuer_end: issuer.not_after(),
        });
    }
    problems
}

/// Whether a certificate is within its renewal window.
pub fn renewal_due(certificate: &Certificate, renew_before: Duration, now: OffsetDateTime) -> bool {
    // Saturating: a window longer than the calendar means always.
    now >= certificate.not_after().checked_sub(renew_before).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
