//! The SNI by which an AUTO_PASSTHROUGH gateway chooses a Service: `outbound_.<port>_.<subset or empty>_.<host>`.

use std::fmt;

use super::name::{Host, NameError, SubsetName};

/// What a sidecar puts into the TLS handshake with another network's gateway, and what that gateway has a filter chain
/// for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sni {
    /// The Service's port number in the exporting cluster, not the gateway's 15443.
    pub port: u16,
    /// The DestinationRule subset, known under the same name on both sides.
    pub subset: Option<SubsetName>,
    /// The Service's FQDN or an alias the gateway knows.
    pub host: Host,
}

/// Why a text is not such an SNI.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SniError {
    /// It has another shape altogether.
    #[error("{0:?} is not an SNI of Istio's form outbound_.<port>_.<subset or empty>_.<host>")]
    Shape(String),
    /// The port is not a port.
    #[error("the port {0:?} of the SNI is not a number from 1 to 65535")]
    Port(String),
    /// Its host or subset is not a name.
    #[error("a name in the SNI is refused")]
    Name(#[source] NameError),
}

impl Sni {
    /// Reads an SNI.
    pub fn parse(text: &str) -> Result<Self, SniError> {
        let shape = || SniError::Shape(text.to_owned());
        let mut parts = text.strip_prefix("outbound_.").ok_or_else(shape)?.splitn(3, "_.");
        let (Some(port), Some(subset), Some(host)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(shape());
        };
        let number = port.parse().ok().filter(|n| *n != 0).ok_or_else(|| SniError::Port(port.to_owned()))?;
        let subset = match subset {
            "" => None,
            name => Some(SubsetName::new(name).map_err(SniError::Name)?),
        };
        Ok(Self { port: number, subset, host: Host::new(host).map_err(SniError::Name)? })
    }
}

impl fmt::Display for Sni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subset = self.subset.as_ref().map_or("", SubsetName::as_str);
        write!(f, "outbound_.{}_.{}_.{}", self.port, subset, self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_and_reads_istio_s_form() {
        for text in
            ["outbound_.8080_._.svc.ns.svc.cluster.local", "outbound_.80_.v2_.reviews.default.svc.cluster.local"]
        {
            assert_eq!(Sni::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn refuses_other_texts() {
        for text in [
            "",
            "svc.ns.svc.cluster.local",
            "outbound|80||svc",
            "outbound_.80_.svc",
            "outbound_.0_._.svc",
            "outbound_.x_._.svc",
            "outbound_.65536_._.svc",
            "outbound_.80_._.*.local",
            "outbound_.80_._.",
        ] {
            assert!(Sni::parse(text).is_err(), "{text}");
        }
    }
}
