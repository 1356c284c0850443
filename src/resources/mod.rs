//! The resources: one file or folder each, and the helpers they share. They name neither the wire protocol nor one another.

pub mod address;
pub mod converge;
pub mod fields;
pub mod kept;
pub mod namespace;
pub mod objects;
pub mod parsing;
pub mod render;
pub mod walk;

pub mod ca;
pub mod charts;
pub mod eastwest_gateway;
pub mod functions;
pub mod primary;
pub mod remote_cluster;
pub mod service_entry;
pub mod status;
mod traces;
mod validators;

use crate::cluster::{Cluster, Clusters, Scope};
use crate::diag::Diagnostic;
use crate::engine::{Ctx, Registry};
use crate::value::Value;

/// What Configure makes and every resource gets: no connection is open, no chart fetched.
#[derive(Debug)]
pub struct Client {
    pub clusters: Clusters,
    pub charts: charts::Store,
    pub walk: walk::Walk,
}

/// Everything the provider offers, one line each.
pub fn registry() -> Registry<Client> {
    Registry::new()
        .resource(ca::MeshCa)
        .resource(primary::MeshPrimary)
        .listable(primary::MeshPrimary)
        .resource(eastwest_gateway::MeshEastwestGateway)
        .resource(remote_cluster::MeshRemoteCluster)
        .resource(service_entry::MeshServiceEntry)
        .data_source(status::MeshStatus)
        .function(functions::SniFunction)
        .function(functions::SpiffeIdFunction)
        .function(functions::ParseRemoteSecretFunction)
}

/// A cluster of the provider, its requests bounded by the call's deadline and by cancellation.
pub fn cluster<P>(cx: &Ctx<Client, P>, name: &str) -> Result<Cluster, Diagnostic> {
    let scope = Scope { deadline: Some(cx.deadline().into()), cancel: cx.cancellation().clone() };
    let cluster = cx.client()?.clusters.cluster(name).map_err(|error| converge::diagnostic(&error))?;
    Ok(cluster.within(scope))
}

/// Whether the provider has no clusters at all, as when they are not known until apply. Then a refresh has nothing to read, and says so.
pub fn without_clusters<P>(cx: &mut Ctx<Client, P>) -> Result<bool, Diagnostic> {
    let none = cx.client()?.clusters.names().next().is_none();
    if none {
        cx.warn(Diagnostic::warning("The provider has no clusters yet").detail(
            "`clusters` of the provider block is empty or not known before apply. The plan goes on with what state remembers.",
        ));
    }
    Ok(none)
}

/// A cluster that resources name must be one of the provider's, as far as both are known when planning.
pub fn known_cluster<P>(cx: &Ctx<Client, P>, name: &Value<String>) -> Result<(), Diagnostic> {
    let clusters = &cx.client()?.clusters;
    match name.known() {
        Some(name) if clusters.names().next().is_some() => {
            clusters.cluster(name).map(drop).map_err(|error| converge::diagnostic(&error))
        }
        _ => Ok(()),
    }
}
