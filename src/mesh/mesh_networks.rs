//! `global.meshNetworks`: endpoints and gateways of networks that labels do not describe. Labels beat it, against its
//! API documentation: for a cluster whose system namespace carries the network label, `fromRegistry` and `fromCidr` are
//! dead letters.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::address::Address;
use super::name::{ClusterName, Network};

/// Networks by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MeshNetworks(pub BTreeMap<Network, MeshNetwork>);

/// One network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MeshNetwork {
    /// Which endpoints belong to it.
    pub endpoints: Vec<NetworkEndpoints>,
    /// How peers reach it.
    pub gateways: Vec<NetworkGateway>,
}

/// Endpoints of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkEndpoints {
    /// All of a cluster's.
    FromRegistry(ClusterName),
    /// Those in an address range.
    FromCidr(Cidr),
}

/// A gateway of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkGateway {
    /// Where it is.
    pub at: GatewayAt,
    /// What to dial there.
    pub port: u16,
}

/// Where a gateway is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GatewayAt {
    /// An address.
    Address(Address),
    /// A Service's FQDN; looked up only in clusters that `fromRegistry` of the same network names.
    Service(String),
}

impl MeshNetworks {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of `global.meshNetworks`.
    pub fn to_values(&self) -> Value {
        let networks = self.0.iter().map(|(name, network)| {
            let endpoints: Vec<Value> = network.endpoints.iter().map(NetworkEndpoints::to_values).collect();
            let gateways: Vec<Value> = network.gateways.iter().map(NetworkGateway::to_values).collect();
            (name.to_string(), json!({ "endpoints": endpoints, "gateways": gateways }))
        });
        Value::Object(networks.collect())
    }

    /// What the entries of two control planes say of one cluster or range, and say differently.
    pub fn contradicts(&self, other: &Self) -> Option<MeshNetworkAmbiguity> {
        let own = self.0.iter().flat_map(|(name, network)| network.endpoints.iter().map(move |one| (name, one)));
        own.flat_map(|own| {
            let theirs =
                other.0.iter().flat_map(|(name, network)| network.endpoints.iter().map(move |one| (name, one)));
            theirs.filter_map(move |theirs| contradiction(own, theirs))
        })
        .next()
    }

    /// What istiod would resolve by chance or in silence.
    pub fn ambiguities(&self) -> Vec<MeshNetworkAmbiguity> {
        let mut found = Vec::new();
        let all: Vec<(&Network, &NetworkEndpoints)> = self
            .0
            .iter()
            .flat_map(|(name, network)| network.endpoints.iter().map(move |endpoints| (name, endpoints)))
            .collect();
        for (index, (network, endpoints)) in all.iter().enumerate() {
            found.extend(all.iter().skip(index + 1).filter_map(|other| contradiction((network, endpoints), *other)));
        }
        found
    }
}

type Claimed<'a> = (&'a Network, &'a NetworkEndpoints);

fn contradiction(
    (network, endpoints): Claimed<'_>,
    (other_network, other): Claimed<'_>,
) -> Option<MeshNetworkAmbiguity> {
    let networks = (network.clone(), other_network.clone());
    match (endpoints, other) {
        _ if network == other_network => None,
        (NetworkEndpoints::FromRegistry(a), NetworkEndpoints::FromRegistry(b)) if a == b => {
            Some(MeshNetworkAmbiguity::ClusterTwice { cluster: a.clone(), networks })
        }
        (NetworkEndpoints::FromCidr(a), NetworkEndpoints::FromCidr(b)) if a.overlaps(b) => {
            Some(MeshNetworkAmbiguity::Overlap { cidrs: (*a, *b), networks })
        }
        _ => None,
    }
}

/// Two entries of meshNetworks that contradict each other; istiod says so in its log only.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MeshNetworkAmbiguity {
    /// Which of the two counts is random per istiod process.
    #[error("cluster {cluster} is listed by fromRegistry of both network {} and network {}", .networks.0, .networks.1)]
    ClusterTwice {
        /// The cluster.
        cluster: ClusterName,
        /// The networks that claim it.
        networks: (Network, Network),
    },
    /// The broader range wins.
    #[error("the ranges {} of network {} and {} of network {} overlap", .cidrs.0, .networks.0, .cidrs.1, .networks.1)]
    Overlap {
        /// The ranges.
        cidrs: (Cidr, Cidr),
        /// Their networks.
        networks: (Network, Network),
    },
}

impl NetworkEndpoints {
    fn to_values(&self) -> Value {
        match self {
            Self::FromRegistry(cluster) => json!({ "fromRegistry": cluster }),
            Self::FromCidr(cidr) => json!({ "fromCidr": cidr.to_string() }),
        }
    }
}

impl NetworkGateway {
    fn to_values(&self) -> Value {
        match &self.at {
            GatewayAt::Address(address) => json!({ "address": address.to_string(), "port": self.port }),
            GatewayAt::Service(name) => json!({ "registryServiceName": name, "port": self.port }),
        }
    }
}

/// An address range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    first: IpAddr,
    prefix: u8,
}

/// Why a text is no address range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// No address, or no `/`, or a prefix out of range.
    #[error("{0:?} is not an address range such as 10.1.0.0/16")]
    Shape(String),
    /// Bits are set behind the prefix.
    #[error("{given:?} is not the first address of its range; write {canonical}")]
    HostBits {
        /// The refused text.
        given: String,
        /// The same range, written right.
        canonical: String,
    },
}

impl Cidr {
    /// Reads a range.
    pub fn parse(text: &str) -> Result<Self, CidrError> {
        let shape = || CidrError::Shape(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(shape)?;
        let address: IpAddr = address.parse().map_err(|_| shape())?;
        let prefix: u8 = prefix.parse().map_err(|_| shape())?;
        if prefix > if address.is_ipv4() { 32 } else { 128 } {
            return Err(shape());
        }
        let first = masked(address, prefix);
        let cidr = Self { first, prefix };
        match first == address {
            true => Ok(cidr),
            false => Err(CidrError::HostBits { given: text.to_owned(), canonical: cidr.to_string() }),
        }
    }

    /// Whether the two have addresses in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        let prefix = self.prefix.min(other.prefix);
        self.first.is_ipv4() == other.first.is_ipv4() && masked(self.first, prefix) == masked(other.first, prefix)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((u32::from(ip) & mask).into())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6((u128::from(ip) & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        Cidr::parse(text).unwrap()
    }

    #[test]
    fn values_have_istio_s_shape() {
        let network = MeshNetwork {
            endpoints: vec![
                NetworkEndpoints::FromRegistry(ClusterName::new("east").unwrap()),
                NetworkEndpoints::FromCidr(cidr("10.1.0.0/16")),
            ],
            gateways: vec![
                NetworkGateway { at: GatewayAt::Address(Address::parse("1.2.3.4").unwrap()), port: 15443 },
                NetworkGateway {
                    at: GatewayAt::Service("istio-eastwestgateway.istio-system.svc.cluster.local".into()),
                    port: 15443,
                },
            ],
        };
        let networks = MeshNetworks([(Network::new("n1").unwrap(), network)].into());
        assert_eq!(
            networks.to_values(),
            json!({ "n1": {
                "endpoints": [{ "fromRegistry": "east" }, { "fromCidr": "10.1.0.0/16" }],
                "gateways": [
                    { "address": "1.2.3.4", "port": 15443 },
                    { "registryServiceName": "istio-eastwestgateway.istio-system.svc.cluster.local", "port": 15443 },
                ],
            } })
        );
    }

    #[test]
    fn ranges_overlap_or_not() {
        for (a, b, overlap) in [
            ("10.0.0.0/8", "10.1.0.0/16", true),
            ("10.0.0.0/16", "10.1.0.0/16", false),
            ("0.0.0.0/0", "192.168.0.0/24", true),
            ("fd00::/8", "fd00:1::/32", true),
            ("::/0", "10.0.0.0/8", false),
        ] {
            assert_eq!(cidr(a).overlaps(&cidr(b)), overlap, "{a} {b}");
            assert_eq!(cidr(b).overlaps(&cidr(a)), overlap, "{b} {a}");
        }
    }

    #[test]
    fn refuses_what_is_no_range() {
        for text in ["", "10.0.0.0", "10.0.0.0/33", "::/129", "a/8"] {
            assert!(matches!(Cidr::parse(text), Err(CidrError::Shape(_))), "{text}");
        }
        assert_eq!(
            Cidr::parse("10.1.2.3/16").unwrap_err().to_string(),
            r#""10.1.2.3/16" is not the first address of its range; write 10.1.0.0/16"#
        );
    }

    #[test]
    fn contradictions_are_found_across_networks_only() {
        let network = |endpoints| MeshNetwork { endpoints, gateways: vec![] };
        let name = |text: &str| Network::new(text).unwrap();
        let east = || NetworkEndpoints::FromRegistry(ClusterName::new("east").unwrap());
        let range = |text| NetworkEndpoints::FromCidr(cidr(text));
        let networks = MeshNetworks(
            [
                (name("a"), network(vec![east(), range("10.0.0.0/8"), range("10.1.0.0/16")])),
                (name("b"), network(vec![east(), range("10.2.0.0/16")])),
            ]
            .into(),
        );
        let texts: Vec<String> = networks.ambiguities().iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "cluster east is listed by fromRegistry of both network a and network b",
                "the ranges 10.0.0.0/8 of network a and 10.2.0.0/16 of network b overlap",
            ]
        );
    }
}
