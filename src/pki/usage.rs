//! Whether what a CA signs will be taken: the names that its chain permits, the purposes, the extensions, as Go's
//! verifier judges them (istiod, its agents), and a certificate signed for trial as webpki does (ztunnel). Beside
//! [`super::check`], which tells what is wrong with the chain itself.

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, SanType};
use rustls::pki_types::{CertificateDer, UnixTime};
use time::{Duration, OffsetDateTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::bundle::Bundle;
use super::certificate::{Certificate, Subtrees};
use super::check::{Problem, root_of, without_root};
use super::issue::{IssueError, LocalSigner};
use super::key::PrivateKey;

/// The names for which a CA of a mesh must be able to sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshNames {
    /// Of istiod's own certificate.
    pub dns: Vec<String>,
    /// Of its workloads' ids.
    pub trust_domain: String,
}

/// What would keep certificates of this chain, of workloads and of istiod itself, from being taken. The root counts,
/// where the chain leads to one.
pub fn check_use(chain: &[Certificate], roots: &Bundle, names: &MeshNames) -> Vec<Problem> {
    let root = root_of(chain, roots);
    without_root(chain, roots).iter().chain(root).flat_map(|ca| check_limits(ca, names)).collect()
}

/// The same of one CA.
pub fn check_limits(ca: &Certificate, names: &MeshNames) -> Vec<Problem> {
    let subject = || ca.subject().to_owned();
    let limits = ca.limits();
    let mut problems = Vec::new();
    for oid in &limits.unknown_critical {
        problems.push(Problem::UnknownCritical { subject: subject(), oid: oid.clone() });
    }
    if !limits.lacks_usages.is_empty() {
        problems.push(Problem::Purpose { subject: subject(), lacks: limits.lacks_usages.join(" and ") });
    }
    let refused = names.dns.iter().find(|name| !limits.dns.admit_dns(name)).map(|name| format!("the DNS name {name}"));
    let refused_id = (!limits.uri.admit_host(&names.trust_domain))
        .then(|| format!("the workload ids of the trust domain {}", names.trust_domain));
    for names in refused.into_iter().chain(refused_id) {
        problems.push(Problem::NameConstraints { subject: subject(), names });
    }
    problems
}

impl Subtrees {
    fn admit_dns(&self, name: &str) -> bool {
        self.admit(name, is_within)
    }

    /// The host of a URI. Go lets names below a permitted host through; Envoy (BoringSSL) does only where the
    /// constraint begins with a dot, and lets nothing through by an empty one. Both must take the certificate.
    fn admit_host(&self, host: &str) -> bool {
        let exactly = |host: &str, constraint: &str| match constraint.starts_with('.') {
            true => is_within(host, constraint),
            false => host.eq_ignore_ascii_case(constraint),
        };
        self.admit(host, exactly)
    }

    fn admit(&self, name: &str, permits: impl Fn(&str, &str) -> bool) -> bool {
        (self.permitted.is_empty() || self.permitted.iter().any(|subtree| permits(name, subtree)))
            && !self.excluded.iter().any(|subtree| is_within(name, subtree))
    }
}

/// Whether a name is that of the constraint, or below it; only below it, where the constraint begins with a dot.
fn is_within(name: &str, constraint: &str) -> bool {
    let (name, constraint) = (name.to_ascii_lowercase(), constraint.to_ascii_lowercase());
    if constraint.is_empty() {
        return true;
    }
    match constraint.strip_prefix('.') {
        Some(_) => name.ends_with(&constraint) && name.len() > constraint.len(),
        None => name == constraint || name.ends_with(&format!(".{constraint}")),
    }
}

/// A certificate signed for trial with the CA's key, as istiod will sign them, and verified as server and as client.
/// Says why it is refused.
#[derive(Debug, Clone, Copy)]
pub struct Probe<'a> {
    /// The CA, and behind it those up to the root.
    pub chain: &'a [Certificate],
    /// The CA's key.
    pub key: &'a PrivateKey,
    /// The trusted roots.
    pub roots: &'a Bundle,
    /// What is signed for.
    pub names: &'a MeshNames,
    /// The time to verify for.
    pub now: OffsetDateTime,
}

/// The trial. `Ok(None)` where the certificate is taken.
pub fn probe(probe: Probe<'_>) -> Result<Option<Problem>, IssueError> {
    let Some(ca) = probe.chain.first() else { return Ok(None) };
    let leaf = trial(&probe, ca)?;
    let chain = without_root(probe.chain, probe.roots);
    let intermediates: Vec<CertificateDer<'_>> = chain.iter().map(|ca| CertificateDer::from(ca.der())).collect();
    let roots: Vec<CertificateDer<'_>> = probe.roots.iter().map(|root| CertificateDer::from(root.der())).collect();
    let anchors: Vec<_> = roots.iter().filter_map(|root| anchor_from_trusted_cert(root).ok()).collect();
    let seconds = probe.now.unix_timestamp().try_into().unwrap_or_default();
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    let der = CertificateDer::from(leaf.as_slice());
    let verified = EndEntityCert::try_from(&der).and_then(|leaf| {
        for usage in [KeyUsage::server_auth(), KeyUsage::client_auth()] {
            leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &intermediates, time, usage, None, None)?;
        }
        Ok(())
    });
    Ok(verified.err().map(|error| Problem::Refused { subject: ca.subject().to_owned(), why: error.to_string() }))
}

fn trial(probe: &Probe<'_>, ca: &Certificate) -> Result<Vec<u8>, IssueError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.serial_number = Some(vec![1].into());
    (params.not_before, params.not_after) = (probe.now - Duration::minutes(1), probe.now + Duration::minutes(1));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let id = format!("spiffe://{}/ns/probe/sa/probe", probe.names.trust_domain);
    // webpki takes no certificate with a URI below a CA that limits URIs at all; Go and Envoy do, and those limits are
    // checked apart.
    let limits_uris = probe.chain.iter().chain(probe.roots).any(|ca| ca.limits().uri != Subtrees::default());
    let uri = Some(id).filter(|_| !limits_uris).map(|id| (id, true));
    for (name, is_uri) in uri.into_iter().chain(probe.names.dns.iter().map(|name| (name.clone(), false))) {
        let text = name.as_str().try_into().map_err(|_| IssueError::Name(name.clone()))?;
        params.subject_alt_names.push(if is_uri { SanType::URI(text) } else { SanType::DnsName(text) });
    }
    let issuer = Issuer::from_ca_cert_der(&ca.der().into(), probe.key).map_err(IssueError::Encode)?;
    let issued = params.signed_by(probe.key, &issuer).map_err(IssueError::Encode)?;
    let signer = LocalSigner { certificate: ca, key: probe.key };
    Ok(signer.with_exact_issuer(issued.der())?.der().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraints_admit_as_go_reads_them() {
        let cases = [
            ("istiod.istio-system.svc", "", true),
            ("istiod.istio-system.svc", "svc", true),
            ("istiod.istio-system.svc", "SVC", true),
            ("istiod.istio-system.svc", "istio-system.svc", true),
            ("istiod.istio-system.svc", ".istio-system.svc", true),
            ("istiod.istio-system.svc", "istiod.istio-system.svc", true),
            ("istiod.istio-system.svc", ".istiod.istio-system.svc", false),
            ("istiod.istio-system.svc", "system.svc", false),
            ("istiod.istio-system.svc", "example.com", false),
            ("cluster.local", "local", true),
            ("cluster.local", ".cluster.local", false),
        ];
        for (name, constraint, admitted) in cases {
            assert_eq!(is_within(name, constraint), admitted, "{name} within {constraint:?}");
        }
    }
}
