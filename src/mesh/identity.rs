//! SPIFFE identities as Istio forms them: `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.

use std::fmt;

use super::name::{NameError, Namespace, ServiceAccountName, TrustDomain};

/// The identity of a workload, the URI SAN of its certificate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    /// The trust domain of the mesh that issued it.
    pub trust_domain: TrustDomain,
    /// The workload's namespace.
    pub namespace: Namespace,
    /// The workload's ServiceAccount.
    pub service_account: ServiceAccountName,
}

/// Why a text is not such an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeIdError {
    /// It has another shape altogether.
    #[error("{0:?} is not of the form spiffe://<trust domain>/ns/<namespace>/sa/<service account>")]
    Shape(String),
    /// One of its parts is not a name.
    #[error("a part of the SPIFFE id is refused")]
    Name(#[source] NameError),
}

impl SpiffeId {
    /// Reads an identity.
    pub fn parse(text: &str) -> Result<Self, SpiffeIdError> {
        let shape = || SpiffeIdError::Shape(text.to_owned());
        let rest = text.strip_prefix("spiffe://").ok_or_else(shape)?;
        let [trust_domain, "ns", namespace, "sa", service_account] = rest.split('/').collect::<Vec<_>>()[..] else {
            return Err(shape());
        };
        Ok(Self {
            trust_domain: TrustDomain::new(trust_domain).map_err(SpiffeIdError::Name)?,
            namespace: Namespace::new(namespace).map_err(SpiffeIdError::Name)?,
            service_account: ServiceAccountName::new(service_account).map_err(SpiffeIdError::Name)?,
        })
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/ns/{}/sa/{}", self.trust_domain, self.namespace, self.service_account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_and_reads_the_same_text() {
        let text = "spiffe://west.example/ns/shop/sa/cart";
        let id = SpiffeId::parse(text).unwrap();
        assert_eq!((id.namespace.as_str(), id.to_string()), ("shop", text.to_owned()));
    }

    #[test]
    fn refuses_other_texts() {
        for text in [
            "",
            "spiffe://td",
            "spiffe://td/ns/a",
            "https://td/ns/a/sa/b",
            "spiffe://td/sa/b/ns/a",
            "spiffe:///ns/a/sa/b",
            "spiffe://td/ns/a/sa/b/c",
        ] {
            assert!(SpiffeId::parse(text).is_err(), "{text}");
        }
    }
}
