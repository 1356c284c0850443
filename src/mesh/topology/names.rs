//! Two names for one thing, and one name for two.

use super::{ControlPlaneAt, Finding, Severity, WatchedCluster};

/// Whether two control planes are meant to be of one mesh. The trust domain is the id of a mesh that nobody has named.
pub(super) fn of_one_mesh(one: &ControlPlaneAt, other: &ControlPlaneAt) -> bool {
    one.mesh_id == other.mesh_id && one.mesh_id != one.trust_domain
}

/// Whether an istiod is to watch another cluster under the name that it has itself.
pub(super) fn watches_itself(control_plane: &ControlPlaneAt, watched: &WatchedCluster) -> bool {
    let is_another =
        control_plane.cluster != watched.cluster && control_plane.config_cluster.as_ref() != Some(&watched.cluster);
    is_another
        && control_plane.name == watched.name
        && control_plane.namespace == watched.namespace
        && watched.watchers.contains(&control_plane.cluster)
}

pub(super) fn same_name(name: &str, cluster: &str, other: &str) -> Finding {
    Finding {
        severity: Severity::Error,
        attribute: "cluster_name",
        summary: "Two clusters of one name",
        detail: format!(
            "{name:?} is to be the name of cluster {cluster} and of cluster {other}. istiod tells clusters apart by it and would ignore one of them."
        ),
    }
}

pub(super) fn two_names(cluster: &str, name: &str, other: &str) -> Finding {
    Finding {
        severity: Severity::Error,
        attribute: "cluster_name",
        summary: "Two names for one cluster",
        detail: format!(
            "Cluster {cluster} is called {name:?} here and {other:?} elsewhere in the configuration. Proxies that name themselves otherwise than the remote secret does are refused: \
             take the `cluster_name` of its `mesh_primary`."
        ),
    }
}
