//! Which way clients of one cluster get to another, as their istiod decides it: by the network that it takes the other
//! cluster to be in, the gateways that it knows, and the endpoints that it tells. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json};

use super::judge::Way;
use crate::istiod::proxy::Endpoint;

/// Of the addresses that clients are given, so many are tried.
const MOST_ADDRESSES: usize = 4;

/// A gateway, as istiod knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownGateway {
    pub network: String,
    /// The id of the cluster it is in, where istiod says so: it does not of one that the mesh configuration lists.
    pub cluster: String,
    pub address: String,
    /// 0 for one that takes HBONE alone.
    pub port: u16,
}

/// Which endpoints belong to which network, by the mesh configuration (`meshNetworks`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Described {
    /// All of a cluster's, by its id.
    registries: BTreeMap<String, BTreeSet<String>>,
    /// Networks that have some by their addresses.
    ranges: BTreeSet<String>,
}

impl Described {
    pub fn read(networks: &Map<String, Json>) -> Described {
        let mut described = Described::default();
        for (network, body) in networks {
            for endpoints in body.get("endpoints").and_then(Json::as_array).into_iter().flatten() {
                if let Some(cluster) = endpoints.get("fromRegistry").and_then(Json::as_str) {
                    described.registries.entry(cluster.to_owned()).or_default().insert(network.clone());
                } else if endpoints.get("fromCidr").is_some() {
                    described.ranges.insert(network.clone());
                }
            }
        }
        described
    }

    /// The networks that endpoints of a cluster may be in, where nothing in the cluster says so.
    pub fn networks_of(&self, cluster: &str) -> BTreeSet<String> {
        self.registries.get(cluster).unwrap_or(&self.ranges).clone()
    }
}

/// Both ends of a call, as the caller's istiod has them.
pub(super) struct Ends<'a> {
    /// The network of the caller's proxies; empty where they name none.
    pub own: &'a str,
    /// The networks that endpoints of the other cluster may be in.
    pub networks: BTreeSet<String>,
    /// The id of the other cluster.
    pub to: &'a str,
    pub known: &'a [KnownGateway],
    /// Where clients are sent for the Service; `None` where none is named.
    pub told: Option<&'a [Endpoint]>,
}

/// The way, the gateways on it, and of the addresses that clients are told those that lead to the other cluster.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Route<'a> {
    pub way: Way,
    pub gateways: Vec<&'a KnownGateway>,
    pub endpoints: Vec<Endpoint>,
}

impl<'a> Ends<'a> {
    pub fn route(&self) -> Route<'a> {
        let gateways = self.gateways();
        let passing: Vec<&KnownGateway> = gateways.iter().copied().filter(|one| one.port != 0).collect();
        let is_within = self.networks.iter().all(|network| network == self.own);
        // Addresses decide over networks by range, and newer istiods send proxies without a network through gateways.
        let is_sure = self.networks.len() == 1 && !self.own.is_empty();
        let way = match (gateways.is_empty(), passing.is_empty()) {
            _ if is_within => Way::Direct,
            (true, _) if is_sure => Way::NoGateway,
            (true, _) => Way::Direct,
            _ if !is_sure && self.told.is_some() && !self.direct().is_empty() => Way::Direct,
            (false, true) => Way::Hbone,
            (false, false) => Way::Gateway,
        };
        match way {
            Way::Direct | Way::NoGateway => Route { way, gateways: Vec::new(), endpoints: few(self.direct()) },
            Way::Hbone => Route { way, gateways, endpoints: Vec::new() },
            Way::Gateway => {
                let at = |one: &&Endpoint| passing.iter().any(|known| is_at(known, one));
                let endpoints = self.told.unwrap_or_default().iter().filter(at).cloned().collect();
                Route { way, gateways: passing, endpoints: few(endpoints) }
            }
        }
    }

    /// Those of the other networks that istiod chooses: the cluster's own, or else all of the network.
    fn gateways(&self) -> Vec<&'a KnownGateway> {
        let others = self.networks.iter().filter(|network| *network != self.own);
        let chosen = others.flat_map(|network| {
            let all = self.known.iter().filter(|one| one.network == *network);
            let (its_own, rest): (Vec<_>, Vec<_>) = all.partition(|one| one.cluster == self.to);
            if its_own.is_empty() { rest } else { its_own }
        });
        chosen.collect()
    }

    /// Pods of the other cluster that clients call by their own addresses.
    fn direct(&self) -> Vec<Endpoint> {
        let is_pod = |one: &&Endpoint| one.cluster == self.to && !self.known.iter().any(|known| is_at(known, one));
        self.told.unwrap_or_default().iter().filter(is_pod).cloned().collect()
    }
}

fn is_at(known: &KnownGateway, one: &Endpoint) -> bool {
    known.address == one.address && known.port == one.port
}

fn few(mut found: Vec<Endpoint>) -> Vec<Endpoint> {
    found.sort();
    found.dedup_by(|a, b| (&a.address, a.port) == (&b.address, b.port));
    found.truncate(MOST_ADDRESSES);
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn gateway(network: &str, cluster: &str, address: &str) -> KnownGateway {
        KnownGateway { network: network.into(), cluster: cluster.into(), address: address.into(), port: 15443 }
    }

    fn endpoint(address: &str, port: u16, cluster: &str) -> Endpoint {
        Endpoint { address: address.into(), port, mtls: true, cluster: cluster.into() }
    }

    fn ends<'a>(own: &'a str, networks: &[&str], known: &'a [KnownGateway], told: Option<&'a [Endpoint]>) -> Ends<'a> {
        Ends { own, networks: networks.iter().map(|one| (*one).to_owned()).collect(), to: "west", known, told }
    }

    /// The way, the gateways, and the addresses.
    fn way(ends: &Ends<'_>) -> (Way, Vec<String>, Vec<String>) {
        let Route { way, gateways, endpoints } = ends.route();
        let gateways = gateways.into_iter().map(|one| one.address.clone()).collect();
        (way, gateways, endpoints.into_iter().map(|one| one.address).collect())
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn a_cluster_s_own_gateways_count_before_its_neighbours() {
        let known = [gateway("n2", "west", "10.0.0.2"), gateway("n2", "north", "10.0.0.3")];
        let told = [endpoint("10.0.0.2", 15443, "west"), endpoint("10.0.0.3", 15443, "north")];
        let of = |known| way(&ends("n1", &["n2"], known, Some(&told)));
        assert_eq!(of(&known[..]), (Way::Gateway, texts(&["10.0.0.2"]), texts(&["10.0.0.2"])));
        assert_eq!(of(&known[1..]), (Way::Gateway, texts(&["10.0.0.3"]), texts(&["10.0.0.3"])));
        assert_eq!(of(&[]).0, Way::NoGateway);
        let ambient = [KnownGateway { port: 0, ..known[0].clone() }, known[1].clone()];
        assert_eq!(of(&ambient).0, Way::Hbone, "istiod chooses before it asks what a gateway takes");
    }

    #[test]
    fn within_a_network_pods_are_called() {
        let known = [gateway("n1", "west", "10.0.0.2")];
        let told = [
            endpoint("10.1.0.1", 8080, "west"),
            endpoint("10.0.0.2", 15443, "west"),
            endpoint("10.1.0.9", 8080, "east"),
        ];
        let expected = (Way::Direct, texts(&[]), texts(&["10.1.0.1"]));
        assert_eq!(way(&ends("n1", &["n1"], &known, Some(&told))), expected);
        assert_eq!(way(&ends("n1", &[], &known, Some(&told))), expected, "no network is every network");
        assert_eq!(way(&ends("", &[], &[], Some(&told[..1]))), expected);
    }

    #[test]
    fn a_gateway_that_the_mesh_configuration_lists_leads_to_a_cluster_without_a_label() {
        let networks = json!({"n2": {"endpoints": [{"fromRegistry": "west"}], "gateways": []}, "n3": {"endpoints": [{"fromCidr": "10.3.0.0/16"}]}});
        let described = Described::read(networks.as_object().unwrap());
        assert_eq!(described.networks_of("west"), ["n2".to_owned()].into());
        assert_eq!(described.networks_of("north"), ["n3".to_owned()].into());
        assert!(Described::default().networks_of("west").is_empty());
        let known = [gateway("n2", "", "192.0.2.7")];
        let told = [endpoint("192.0.2.7", 15443, "")];
        let found = way(&Ends { networks: described.networks_of("west"), ..ends("n1", &[], &known, Some(&told)) });
        assert_eq!(found, (Way::Gateway, texts(&["192.0.2.7"]), texts(&["192.0.2.7"])));
    }

    #[test]
    fn where_networks_leave_it_open_what_istiod_tells_decides() {
        let known = [gateway("n2", "west", "10.0.0.2")];
        let (through, straight) = ([endpoint("10.0.0.2", 15443, "west")], [endpoint("10.1.0.1", 8080, "west")]);
        // A proxy without a network, by what its istiod's version makes of it; a network by ranges.
        for (own, networks) in [("", vec!["n2"]), ("n1", vec!["n1", "n2"])] {
            let of = |told| way(&ends(own, &networks, &known, told));
            assert_eq!(of(Some(&through[..])).0, Way::Gateway);
            assert_eq!(of(Some(&straight[..])), (Way::Direct, texts(&[]), texts(&["10.1.0.1"])));
            assert_eq!(of(None).0, Way::Gateway);
            assert_eq!(way(&ends(own, &networks, &[], Some(&straight))).0, Way::Direct);
        }
    }
}
