//! Chains that were signed outside: why one is no answer to the request that is open. Pure.

use std::collections::BTreeMap;

use super::decide::{Decision, Wait};
use super::gather::Live;
use super::model::Ca;
use super::spec::{RootSpec, Spec};
use crate::diag::{Diagnostic, Diagnostics};
use crate::pki::{Bundle, Certificate, SigningRequest, root_of};
use crate::value::Path;

/// Chains that were given for requests that are open, and do not lead from their keys to the root.
pub fn refuse_misfits(spec: &Spec, prior: &Ca) -> Diagnostics {
    let mut refused = Diagnostics::new();
    let RootSpec::Brought { certificate: root, .. } = &spec.root else { return refused };
    for (name, cluster) in &spec.clusters {
        let open = prior.clusters.entry(name).and_then(|was| was.certificate_request.known());
        let request = open.and_then(|pem| SigningRequest::from_pem(pem).ok());
        let (Some(chain), Some(request)) = (&cluster.chain, request) else { continue };
        refused.extend(misfit(chain, root, request.public_key_info()).map(|why| does_not_fit(name, &why, root)));
    }
    refused
}

/// Chains that were given for requests of another resource, to clusters that have no certificates: an apply that left
/// them out would end well, and istiod would sign for itself.
pub fn refuse_unused(spec: &Spec, decision: &Decision, live: &BTreeMap<String, Live>) -> Diagnostics {
    let mut refused = Diagnostics::new();
    let RootSpec::Brought { certificate: root, .. } = &spec.root else { return refused };
    for wait in &decision.waits {
        let Wait::Signature { cluster: name } = wait else { continue };
        let (Some(cluster), Some(live)) = (spec.clusters.get(name), live.get(name)) else { continue };
        let (Some(chain), Some(_), None) = (&cluster.chain, &cluster.request, &live.held) else { continue };
        let why = match &live.requested {
            Some(open) => misfit(chain, root, open.request.public_key_info()),
            None => Some(format!("The Secret with the key of this request is not in the cluster {name}.")),
        };
        let why = why.unwrap_or_else(|| "It has the key of another request.".to_owned());
        refused.push(does_not_fit(name, &why, root));
    }
    refused
}

fn does_not_fit(name: &str, why: &str, root: &Certificate) -> Diagnostic {
    Diagnostic::error("The chain does not fit")
        .detail(format!("{why} Give the signed certificate first, behind it each CA that signed the one before, up to the root {}, which may be left out.", root.subject()))
        .at(Path::root("clusters").key(name).attr("certificate_chain"))
}

/// Why a chain with the key of the request does not lead to the root; nothing of one that has another key, which is the
/// answer to a request before.
fn misfit(chain: &[Certificate], root: &Certificate, key: &[u8]) -> Option<String> {
    let place = chain.iter().position(|certificate| certificate.public_key_info() == key)?;
    if place > 0 {
        return Some(format!(
            "The certificate that answers the request, {}, is number {} of it.",
            chain[place].subject(),
            place + 1
        ));
    }
    let roots = Bundle::from_iter([root.clone()]);
    let broken = chain.windows(2).find(|pair| !pair[0].is_signed_by(&pair[1]));
    match (broken, root_of(chain, &roots)) {
        (Some([lower, upper]), _) if lower.is_signed_by(root) => {
            Some(format!("{} is of the root already, but {} follows it.", lower.subject(), upper.subject()))
        }
        (Some([lower, upper]), _) => Some(format!(
            "{} is not signed by {}, which follows it; its issuer is {}.",
            lower.subject(),
            upper.subject(),
            lower.issuer()
        )),
        (_, Some(_)) => None,
        _ => {
            let last = chain.last()?;
            Some(match last.is_self_issued() {
                true => format!("It leads to another root, {}.", last.subject()),
                false => format!("Behind {} its issuer is missing, {}.", last.subject(), last.issuer()),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{self, NOW};
    use super::*;
    use crate::pki::{
        IntermediateProfile, KeyAlgorithm, LocalSigner, PrivateKey, Serial, SignIntermediate, Signer, Subject, Validity,
    };
    use time::Duration;

    fn signed(by: (&Certificate, &PrivateKey), name: &str) -> (Certificate, PrivateKey) {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let subject = Subject { organization: None, common_name: name.into(), locality: None };
        let profile = IntermediateProfile { subject, dns_names: vec![] };
        let ask = SignIntermediate {
            request: &profile.request(&key).unwrap(),
            profile: &profile,
            validity: Validity { not_before: NOW, not_after: NOW + Duration::days(9) },
            serial: Serial::from_random([7; 16]),
        };
        let mut chain = LocalSigner { certificate: by.0, key: by.1 }.sign(&ask).unwrap();
        (chain.remove(0), key)
    }

    #[test]
    fn says_which_issuer_is_missing_or_that_the_order_is_wrong() {
        let root = fixtures::root();
        let (policy, policy_key) = signed((&root.certificate, &root.key), "policy");
        let (issuing, issuing_key) = signed((&policy, &policy_key), "issuing");
        let (leaf, leaf_key) = signed((&issuing, &issuing_key), "east");
        let key = leaf_key.public_key_info();
        let why = |chain: &[&Certificate]| {
            let chain: Vec<Certificate> = chain.iter().map(|certificate| (*certificate).clone()).collect();
            misfit(&chain, &root.certificate, &key).unwrap_or_default()
        };
        let other = fixtures::root();
        assert_eq!(why(&[&leaf, &issuing, &policy]), "");
        assert_eq!(why(&[&leaf, &issuing, &policy, &root.certificate]), "");
        assert_eq!(why(&[&leaf, &issuing]), "Behind CN=issuing its issuer is missing, CN=policy.");
        assert_eq!(
            why(&[&leaf, &policy]),
            "CN=east is not signed by CN=policy, which follows it; its issuer is CN=issuing."
        );
        assert_eq!(
            why(&[&root.certificate, &policy, &issuing, &leaf]),
            "The certificate that answers the request, CN=east, is number 4 of it."
        );
        assert!(why(&[&leaf, &issuing, &policy, &other.certificate]).contains("is of the root already"));
        assert_eq!(why(&[&issuing, &policy]), "", "the answer to another request");
    }
}
