//! What istiod itself says, replica by replica: its debug pages through port-forward, exec as fallback, metrics as last.

use serde_json::Value;

use super::{Cluster, Error, Object};

/// The istiods of one namespace of a cluster.
#[derive(Clone, Debug)]
pub struct Istiod {
    pub(super) cluster: Cluster,
    pub(super) namespace: String,
}

/// One istiod pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    pub pod: String,
    pub revision: String,
    pub ready: bool,
}

/// A cluster as one istiod replica sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteCluster {
    pub id: String,
    /// `namespace/name` of the remote secret; empty for istiod's own cluster.
    pub secret: String,
    pub status: SyncStatus,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyncStatus {
    Synced,
    Syncing,
    Timeout,
    Closed,
    Other(String),
}

/// By which way an answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    PortForward,
    Exec,
    Metrics,
}

/// What one replica says, or why it could not be asked.
#[derive(Clone, Debug)]
pub struct ReplicaView {
    pub replica: Replica,
    pub clusters: Result<(Vec<RemoteCluster>, Way), Error>,
}

impl Cluster {
    pub fn istiod(&self, namespace: &str) -> Istiod {
        Istiod { cluster: self.clone(), namespace: namespace.to_owned() }
    }
}

impl Istiod {
    /// The running replicas, of one revision or of all.
    pub async fn replicas(&self, revision: Option<&str>) -> Result<Vec<Replica>, Error> {
        todo!("{revision:?} {} {}", self.namespace, self.cluster.name())
    }

    /// Which clusters every replica sees, asked now, of all replicas at once.
    pub async fn clusterz(&self, revision: Option<&str>) -> Result<Vec<ReplicaView>, Error> {
        todo!("{revision:?}")
    }

    /// As [`Istiod::clusterz`] over all revisions, but asked once and held for the length of the walk.
    pub async fn clusterz_held(&self) -> Result<std::sync::Arc<[ReplicaView]>, Error> {
        todo!()
    }

    /// Any debug page as JSON: `networkz`, `endpointShardz`, `mesh`.
    pub async fn debug(&self, replica: &Replica, page: &str) -> Result<Value, Error> {
        todo!("{replica:?} {page}")
    }
}

#[allow(dead_code, reason = "until the bodies are here")]
fn replica_of(_pod: &Object) -> Option<Replica> {
    None
}
