//! Two names for one thing, and one name for two.

use super::{Finding, Severity, WatchedCluster};

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

pub(super) fn watched_twice(declared: &WatchedCluster, other: &WatchedCluster) -> Finding {
    let both: Vec<&str> = declared.watchers.intersection(&other.watchers).map(String::as_str).collect();
    Finding {
        severity: Severity::Error,
        attribute: "watchers",
        summary: "A watcher is listed twice",
        detail: format!(
            "Another `mesh_remote_cluster` already lets {} watch {}; the two would overwrite each other's remote secret.",
            both.join(", "),
            declared.name
        ),
    }
}
