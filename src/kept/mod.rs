//! The objects that a resource keeps in a cluster: what is wanted, what is recorded, what drifted, whose it is;
//! planned, applied, read and removed in one place.
//!
//! A resource says what it wants ([`objects::Wanted`]); everything else about its objects happens here. Nothing here
//! knows a particular resource, the engine, or the wire.

pub mod changes;
pub mod claim;
mod claim_words;
mod contested;
pub mod converge;
pub mod fields;
pub mod fixed;
pub mod handover;
pub mod hidden;
mod holder;
pub mod instance;
pub mod kinds;
mod lease;
pub mod left;
pub mod managers;
pub mod memory;
pub mod namespace;
pub mod noted;
pub mod objects;
mod packed;
pub mod plan;
pub mod read;
mod refused;
pub mod remove;
pub mod render;
pub mod renderer;
pub mod report;
pub mod same;
pub mod telling;
pub mod told;
pub mod unfinished;
pub mod validators;
pub mod vanished;

/// The owner label of a resource's objects. A namespace other than the usual one is told too: the label is also on
/// objects of the cluster.
pub fn owner(resource: &str, namespace: &str, name: &str) -> String {
    let owner = match namespace {
        "istio-system" => format!("{resource}.{name}"),
        other => format!("{resource}.{name}.{other}"),
    };
    if owner.len() <= 63 { owner } else { format!("{}.{}", &owner[..50], fields::short(&owner)) }
}
