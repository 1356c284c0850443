//! The attribute `mesh_networks`, read and checked for what istiod would resolve by chance or in silence.

use super::model::{Endpoints, Gateway, MeshNetwork, Primary};
use crate::diag::{Diagnostic, Diagnostics};
use crate::mesh::{
    self, Address, Cidr, ClusterName, GatewayAt, MeshNetworkAmbiguity, MeshNetworks, Network, NetworkEndpoints,
    NetworkGateway, Registry,
};
use crate::resources::client::Client;
use crate::resources::parsing::{Parser, each, sentence};
use crate::value::{Path, Value};

pub fn read(parser: &mut Parser, model: &Primary, own: Option<&Network>) -> MeshNetworks {
    let mut networks = MeshNetworks::default();
    let path = Path::root("mesh_networks");
    for (name, value) in parser.plain(&model.mesh_networks).unwrap_or_default() {
        let at = path.key(name.clone());
        let network = parser.parse(&Value::Known(name), at.clone(), Network::new);
        let Some(described) = parser.plain(&value) else { continue };
        let described = mesh_network(parser, &described, &at);
        if let Some(network) = network {
            networks.0.insert(network, described);
        }
    }
    for ambiguity in networks.ambiguities() {
        let (MeshNetworkAmbiguity::ClusterTwice { networks, .. } | MeshNetworkAmbiguity::Overlap { networks, .. }) =
            &ambiguity;
        let at = path.key(networks.1.to_string()).attr("endpoints");
        let detail =
            format!("{} istiod would choose one of them and report nothing.", sentence(&ambiguity.to_string()));
        parser.refuse(at, "Networks contradict each other", detail);
    }
    shadowed(parser, model, &networks, own);
    networks
}

/// Whether `from_registry` names any cluster.
pub fn names_clusters(networks: &MeshNetworks) -> bool {
    let mut endpoints = networks.0.values().flat_map(|described| &described.endpoints);
    endpoints.any(|endpoints| matches!(endpoints, NetworkEndpoints::FromRegistry(_)))
}

/// Clusters that `from_registry` names as only the provider does: istiod passes over them in silence. A name that
/// nobody knows is an absence, told when all has been planned.
pub fn registries(client: &Client, networks: &MeshNetworks) -> Diagnostics {
    let mut found = Diagnostics::new();
    for (network, described) in &networks.0 {
        for (index, endpoints) in described.endpoints.iter().enumerate() {
            let NetworkEndpoints::FromRegistry(name) = endpoints else { continue };
            if let Registry::CalledOtherwise(id) = client.walk.registry(name.as_str()) {
                let at = Path::root("mesh_networks")
                    .key(network.to_string())
                    .attr("endpoints")
                    .index(index)
                    .attr("from_registry");
                found.push(Diagnostic::error("The cluster has another name").at(at).detail(format!(
                    "{name} is the provider's name for a cluster that Istio knows as {id}, and istiod would ignore the entry and report nothing. Write {id:?}: the `cluster_name` of \
                     its `mesh_primary`."
                )));
            }
        }
    }
    found
}

/// The label of the namespace beats meshNetworks: an entry for this cluster in another network would never count.
fn shadowed(parser: &mut Parser, model: &Primary, networks: &MeshNetworks, own: Option<&Network>) {
    let (Some(own), Some(cluster)) = (own, model.cluster_name.known().or(model.cluster.known())) else { return };
    for (network, described) in networks.0.iter().filter(|(network, _)| *network != own) {
        let claims = |endpoints: &NetworkEndpoints| matches!(endpoints, NetworkEndpoints::FromRegistry(name) if name.as_str() == cluster);
        if described.endpoints.iter().any(claims) {
            parser.refuse(
                Path::root("mesh_networks").key(network.to_string()).attr("endpoints"),
                "This entry would never count",
                format!(
                    "It puts cluster {cluster} into network {network}, but `network` puts it into {own} by a label, and istiod lets labels \
                     win over mesh networks. Remove the entry, or remove `network`."
                ),
            );
        }
    }
}

fn mesh_network(parser: &mut Parser, described: &MeshNetwork, path: &Path) -> mesh::MeshNetwork {
    let endpoints = each(parser, &described.endpoints, &path.attr("endpoints"), endpoints);
    let gateways = each(parser, &described.gateways, &path.attr("gateways"), gateway);
    let registries = endpoints.iter().any(|endpoints| matches!(endpoints, NetworkEndpoints::FromRegistry(_)));
    for (index, gateway) in gateways.iter().enumerate() {
        if matches!(&gateway.at, GatewayAt::Service(_)) && !registries && parser.knows_all() {
            parser.refuse(
                path.attr("gateways").index(index).attr("registry_service_name"),
                "No cluster to find the gateway's Service in",
                "istiod looks the Service up only in clusters that `from_registry` of the same network names, and there is none. \
                 Name the cluster there, or give the gateway's `address`.",
            );
        }
    }
    mesh::MeshNetwork { endpoints, gateways }
}

fn endpoints(parser: &mut Parser, endpoints: &Endpoints, path: &Path) -> Option<NetworkEndpoints> {
    let registry = parser.plain(&endpoints.from_registry);
    let cidr = parser.plain(&endpoints.from_cidr);
    match (registry, cidr) {
        (Some(_), Some(_)) => {
            parser.refuse(
                path.clone(),
                "Two kinds of endpoints at once",
                "Give either `from_registry` or `from_cidr`; write two elements for both.",
            );
            None
        }
        (Some(_), None) => parser
            .parse(&endpoints.from_registry, path.attr("from_registry"), ClusterName::new)
            .map(NetworkEndpoints::FromRegistry),
        (None, Some(_)) => parser
            .parse(&endpoints.from_cidr, path.attr("from_cidr"), |text| Cidr::parse(&text))
            .map(NetworkEndpoints::FromCidr),
        (None, None) => {
            if !endpoints.from_registry.is_unknown() && !endpoints.from_cidr.is_unknown() {
                parser.refuse(path.clone(), "No endpoints", "Give either `from_registry` or `from_cidr`.");
            }
            None
        }
    }
}

fn gateway(parser: &mut Parser, gateway: &Gateway, path: &Path) -> Option<NetworkGateway> {
    let address = parser.plain(&gateway.address);
    let service = parser.plain(&gateway.registry_service_name);
    let port = parser.plain(&gateway.port).and_then(|port| u16::try_from(port).ok()).unwrap_or(15443);
    let at = match (address, service) {
        (Some(_), None) => {
            GatewayAt::Address(parser.parse(&gateway.address, path.attr("address"), |text| Address::parse(&text))?)
        }
        (None, Some(service)) => GatewayAt::Service(service),
        (None, None) if gateway.address.is_unknown() || gateway.registry_service_name.is_unknown() => return None,
        _ => {
            parser.refuse(
                path.clone(),
                "Gateway without an address",
                "Give either `address` or `registry_service_name`.",
            );
            return None;
        }
    };
    Some(NetworkGateway { at, port })
}
