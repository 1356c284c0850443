//! Which network a cluster is in, and which have a gateway, as its objects say.

use std::collections::{BTreeMap, BTreeSet};

use super::{Seen, is_ambient, serving, within};
use crate::cluster::Object;
use crate::istiod;
use crate::mesh::{InjectedAs, NETWORK_LABEL, is_injection_config_map};
use crate::resources::{passthrough, places};

/// The networks that have a gateway which no Service here stands for: in the mesh configuration, or as a Gateway of the
/// Gateway API.
pub(super) fn led_to(seen: &Seen) -> BTreeSet<String> {
    // Whoever reads no configuration here reads no Gateway either that stands for one elsewhere.
    let reads = |gateway: &&Object| {
        let is_remote_s = seen.deployments.is_empty() && !serving(seen).is_empty();
        gateway.str("spec.gatewayClassName") != passthrough::REMOTE_CLASS || !is_remote_s
    };
    // Those of ambient are among the gateways that are shown.
    let gateways = seen.further.gateways.iter().filter(|gateway| passthrough::leads(gateway) && !is_ambient(gateway));
    let named = gateways.filter(reads).filter_map(|gateway| gateway.label(NETWORK_LABEL)).map(str::to_owned);
    let configured = described(seen).filter(|(_, body)| {
        body.get("gateways").and_then(|gateways| gateways.as_array()).is_some_and(|gateways| !gateways.is_empty())
    });
    named.chain(configured.map(|(network, _)| network)).collect()
}

/// The networks that mesh configurations describe.
pub(super) fn described(seen: &Seen) -> impl Iterator<Item = (String, serde_json::Value)> {
    let maps = seen.config_maps.values().filter(|map| istiod::is_mesh_config_map(map.name()));
    maps.flat_map(places::described_networks)
}

/// Whether the values that Pods are injected by name a network.
pub(super) fn injects_network(config_maps: &BTreeMap<String, Object>, injected: &InjectedAs) -> bool {
    injected_networks(config_maps).flatten().next().is_some() || injected.network.is_some()
}

/// The network that the values of each revision name, if they do.
fn injected_networks(config_maps: &BTreeMap<String, Object>) -> impl Iterator<Item = Option<String>> {
    let maps = config_maps.values().filter(|map| is_injection_config_map(map.name()));
    maps.map(places::injected_network)
}

/// The one network that new Pods of this cluster are put into; where one revision names a network and another none,
/// there is no such network. Those of a cluster without an istiod are injected by another's, as its webhook asks.
pub(super) fn pods_network(seen: &Seen) -> Option<String> {
    if seen.deployments.is_empty() {
        return seen.further.injected.network.clone();
    }
    within(seen).next()?;
    let networks: BTreeSet<Option<String>> = injected_networks(&seen.config_maps).collect();
    networks.first().filter(|_| networks.len() == 1).cloned().flatten()
}
