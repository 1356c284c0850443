//! istiod as a cluster runs it: what it is called, which replicas there are, what they say of the clusters they read,
//! how they inject Pods, which certificate and roots they hand out, what they leave behind, and how they are restarted.
//!
//! Everything is asked through [`crate::cluster`]; nothing here knows of Terraform. What a resource makes of an answer
//! is its own affair.

pub mod cacerts;
mod debug;
pub mod injection;
mod lifetimes;
mod looks;
mod metrics;
mod own_objects;
pub mod proxy;
mod replicas;
mod restart;
mod roots;
mod served;
mod verdict;
mod version;

pub use debug::{RemoteCluster, ReplicaView, SyncStatus, Way};
pub use looks::Looks;
pub use metrics::Connected;
pub use own_objects::{gateway_classes_of_others, is_own_object, remove_own_objects};
pub use replicas::Replica;
pub use roots::{HANDED_OUT, added_roots, handed_out_since, roots_of};
pub use verdict::{Verdict, loses_endpoints_on_rotation, other_secret, verdict};
pub use version::{is_from, is_older, oldest_version, version_of};

use crate::cluster::{Cluster, Kind, Query};

/// The release of the chart `base`, whose objects all control planes of a cluster share, as Istio's own guides call it.
pub const BASE_RELEASE: &str = "istio-base";

/// istiod's monitoring port: always open, unrestricted for callers from 127.0.0.1, as which a port-forward arrives.
const MONITORING_PORT: u16 = 15014;
/// The port at which proxies ask for configuration and certificates.
const XDS_PORT: u16 = 15012;

/// The istiods of one namespace of a cluster, of all revisions.
#[derive(Clone, Debug)]
pub struct Istiod {
    cluster: Cluster,
    namespace: String,
}

impl Istiod {
    pub fn of(cluster: &Cluster, namespace: &str) -> Istiod {
        Istiod { cluster: cluster.clone(), namespace: namespace.to_owned() }
    }
}

/// The ConfigMap that holds a revision's mesh configuration, in its key `mesh`.
pub fn mesh_config_map(revision: Option<&str>) -> String {
    match revision {
        None | Some("" | "default") => "istio".to_owned(),
        Some(revision) => format!("istio-{revision}"),
    }
}

/// Whether a ConfigMap of this name is that of some revision.
pub fn is_mesh_config_map(name: &str) -> bool {
    name == "istio" || name.starts_with("istio-")
}

/// The Deployments of istiod in a namespace, whatever their revision and whoever installed them.
pub fn deployments(namespace: &str) -> Query {
    every_deployment().namespace(namespace)
}

/// The same in all namespaces of a cluster.
pub fn every_deployment() -> Query {
    Query::of(Kind::DEPLOYMENT).label("app", "istiod")
}
