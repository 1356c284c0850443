//! Addresses of east-west gateways: an IP or a hostname, which Istio and its charts treat differently at every turn.

use std::fmt;
use std::net::IpAddr;

/// How an address is given. The remote profile of the istiod chart, ServiceEntry resolution and Gateway API each need
/// to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AddressKind {
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
    /// A DNS name, as AWS load balancers have.
    Hostname,
}

/// An address that a peer can dial.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// An IP address.
    Ip(IpAddr),
    /// A DNS name.
    Hostname(String),
}

/// Why a text is no address to dial.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Nothing there.
    #[error("the address is empty")]
    Empty,
    /// A URL, or host and port.
    #[error("{0:?} is not an address: give an IP address or a DNS name, without scheme, port or path")]
    NotBare(String),
    /// Reads like an IPv4 address without being one. The istiod chart's own test (`^([0-9]*\.){3}[0-9]*$`) takes
    /// such texts for IPv4 and renders an EndpointSlice that kube-apiserver refuses.
    #[error("{0:?} is neither an IPv4 address nor a DNS name")]
    AlmostIpv4(String),
    /// Not a DNS name.
    #[error("{0:?} is not a DNS name: its parts may hold letters, digits and `-` only, and at most 63 of them")]
    NotDns(String),
}

impl Address {
    /// Reads an address.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            // An IPv4 address in IPv6 clothes would be a hostname to the chart's tests.
            return Ok(Self::Ip(ip.to_canonical()));
        }
        if text.contains(['/', ':', '[', ' ', '@']) {
            return Err(AddressError::NotBare(text.to_owned()));
        }
        if chart_takes_for_ipv4(text) || text.rsplit('.').next().is_some_and(|part| part.parse::<u64>().is_ok()) {
            return Err(AddressError::AlmostIpv4(text.to_owned()));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_lowercase();
        let good = |part: &str| {
            (1..=63).contains(&part.len())
                && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
                && !part.starts_with('-')
                && !part.ends_with('-')
        };
        match name.len() <= 253 && name.split('.').all(good) {
            true => Ok(Self::Hostname(name)),
            false => Err(AddressError::NotDns(text.to_owned())),
        }
    }

    /// How the address is given.
    pub fn kind(&self) -> AddressKind {
        match self {
            Self::Ip(IpAddr::V4(_)) => AddressKind::Ipv4,
            Self::Ip(IpAddr::V6(_)) => AddressKind::Ipv6,
            Self::Hostname(_) => AddressKind::Hostname,
        }
    }
}

impl AddressKind {
    /// The word used in computed attributes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Hostname => "hostname",
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Hostname(name) => f.write_str(name),
        }
    }
}

/// The remote profile's own test for an IPv4 address, `^([0-9]*\.){3}[0-9]*$`: three dots with only digits, or nothing,
/// around them. What passes gets an EndpointSlice; what is no IPv6 address either gets an ExternalName Service.
pub fn chart_takes_for_ipv4(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    parts.len() == 4 && parts.iter().all(|part| part.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        let cases = [
            ("10.0.0.1", AddressKind::Ipv4),
            ("fd00::1", AddressKind::Ipv6),
            ("a1b2.elb.eu-west-1.amazonaws.com", AddressKind::Hostname),
            ("LB.Example.com.", AddressKind::Hostname),
        ];
        for (text, kind) in cases {
            assert_eq!(Address::parse(text).unwrap().kind(), kind, "{text}");
        }
    }

    #[test]
    fn the_chart_s_regular_expression_and_its_quirk() {
        for (text, taken) in [
            ("1.2.3.4", true),
            ("...", true),
            ("1.2.3.", true),
            ("999.1.1.1", true),
            ("1.2.3.4.", false),
            ("fd00::1", false),
            ("a.b.c.d", false),
        ] {
            assert_eq!(chart_takes_for_ipv4(text), taken, "{text}");
        }
        for text in ["...", "1.2.3.", "999.1.1.1", "1.2.3.4.5"] {
            assert_eq!(Address::parse(text), Err(AddressError::AlmostIpv4(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn refuses_urls_ports_and_non_names() {
        for text in ["", "https://a.b", "a.b:15443", "[fd00::1]", "a b", "-a.b", "a..b"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }
}
