//! The resources: one file or folder each, and the helpers they share. They name neither the wire protocol nor one
//! another.

pub mod absent;
pub mod address;
pub mod again;
pub mod blocks;
pub mod equality;
pub mod keeping;
pub mod leaving;
pub mod listing;
pub mod moved;
pub mod parsing;
pub mod passthrough;
pub mod places;
pub mod policies;
pub mod signing;
pub mod system_namespaces;
pub mod token;
pub mod unproved;
pub mod versions;
pub mod walk;
pub mod written;

pub mod ca;
pub mod ca_request;
pub mod charts;
pub mod client;
mod discovery;
pub mod eastwest_gateway;
pub mod functions;
pub mod primary;
pub mod reachability;
pub mod remote_cluster;
pub mod restart_workloads;
pub mod service_entry;
pub mod status;

use self::client::Client;
use crate::engine::Registry;

/// Everything the provider offers, one line each.
pub fn registry() -> Registry<Client> {
    Registry::new()
        .resource(ca::MeshCa)
        .listable(ca::MeshCa)
        .resource(ca_request::MeshCaRequest)
        .listable(ca_request::MeshCaRequest)
        .resource(primary::MeshPrimary)
        .listable(primary::MeshPrimary)
        .resource(eastwest_gateway::MeshEastwestGateway)
        .listable(eastwest_gateway::MeshEastwestGateway)
        .resource(remote_cluster::MeshRemoteCluster)
        .listable(remote_cluster::MeshRemoteCluster)
        .resource(service_entry::MeshServiceEntry)
        .listable(service_entry::MeshServiceEntry)
        .data_source(status::MeshStatus)
        .data_source(reachability::MeshReachability)
        .action(restart_workloads::MeshRestartWorkloads)
        .function(functions::SniFunction)
        .function(functions::SpiffeIdFunction)
        .function(functions::ParseRemoteSecretFunction)
}
