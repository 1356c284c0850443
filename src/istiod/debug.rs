//! What istiod itself says, replica by replica: its debug pages through port-forward, exec as fallback, metrics as
//! last.

use futures::future::join_all;
use serde::Deserialize;
use serde_json::Value;

use super::{Istiod, MONITORING_PORT, Replica};
use crate::cluster::{Error, Layer, PodPort};
use crate::mesh::istiod_name_of;

/// A cluster as one istiod replica sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteCluster {
    pub id: String,
    /// `namespace/name` of the remote secret; empty for istiod's own cluster, and where only metrics could be asked.
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
    /// Through the service proxy: of some replica, not necessarily this one.
    Metrics,
}

/// What one replica says, or why it could not be asked.
#[derive(Clone, Debug)]
pub struct ReplicaView {
    pub replica: Replica,
    pub clusters: Result<(Vec<RemoteCluster>, Way), Error>,
}

impl Istiod {
    /// Which clusters every replica sees, asked now, of all replicas at once.
    pub async fn clusterz(&self, revision: Option<&str>) -> Result<Vec<ReplicaView>, Error> {
        Ok(self.views(self.replicas(revision).await?).await)
    }

    /// The same of replicas that are known already.
    pub async fn views(&self, replicas: Vec<Replica>) -> Vec<ReplicaView> {
        let views = replicas.into_iter().map(|replica| async {
            let clusters = self.clusters_of(&replica).await;
            ReplicaView { replica, clusters }
        });
        join_all(views).await
    }

    /// Any debug page as JSON: `networkz`, `endpointShardz`, `mesh`. By port-forward, else by exec.
    pub async fn debug(&self, replica: &Replica, page: &str) -> Result<Value, Error> {
        self.debug_by(replica, page).await.map(|(value, _)| value)
    }

    async fn debug_by(&self, replica: &Replica, page: &str) -> Result<(Value, Way), Error> {
        let path = format!("/debug/{page}");
        let first = match self.forwarded(replica, &path).await {
            Ok(value) => return Ok((value, Way::PortForward)),
            // Only another way in is tried: who has no time left, or finds no server, finds none for exec either.
            Err(error) if matches!(error.layer(), Layer::Progress | Layer::Dns | Layer::Proxy | Layer::Credential) => {
                return Err(error);
            }
            Err(error) => error,
        };
        match self.executed(replica, &path).await {
            Ok(value) => Ok((value, Way::Exec)),
            // The first way is the one to be granted or repaired.
            Err(_) => Err(first),
        }
    }

    async fn forwarded(&self, replica: &Replica, path: &str) -> Result<Value, Error> {
        let port = PodPort { namespace: self.namespace.clone(), pod: replica.pod.clone(), port: MONITORING_PORT };
        let answer = self.cluster.pod_http_get(&port, path).await?;
        if answer.status != 200 {
            let detail = format!("istiod {} answers {path} with HTTP status {}", replica.pod, answer.status);
            return Err(self.cluster.unexpected(detail));
        }
        self.decode(replica, path, &answer.body)
    }

    async fn executed(&self, replica: &Replica, path: &str) -> Result<Value, Error> {
        let command = ["pilot-discovery", "request", "GET", path];
        let output = self.cluster.pod_exec(&self.namespace, &replica.pod, Some("discovery"), &command).await?;
        if output.code != 0 {
            let detail = format!("pilot-discovery request in {} failed: {}", replica.pod, output.stderr.trim());
            return Err(self.cluster.unexpected(detail));
        }
        self.decode(replica, path, &output.stdout)
    }

    fn decode(&self, replica: &Replica, path: &str, body: &[u8]) -> Result<Value, Error> {
        let what = || format!("istiod {} answers {path} without JSON", replica.pod);
        self.cluster.read_json(body).ok_or_else(|| self.cluster.unexpected(what()))
    }

    async fn clusters_of(&self, replica: &Replica) -> Result<(Vec<RemoteCluster>, Way), Error> {
        let error = match self.debug_by(replica, "clusterz").await {
            Ok((page, way)) => {
                let clusters = parse_clusterz(&page);
                let what = || format!("istiod {}: /debug/clusterz is not a list of clusters", replica.pod);
                let wrong = || self.cluster.unexpected(what());
                return clusters.map(|clusters| (clusters, way)).ok_or_else(wrong);
            }
            Err(error) => error,
        };
        let revision = Some(replica.revision.as_str()).filter(|revision| !matches!(*revision, "" | "default"));
        let service = format!("{}:{MONITORING_PORT}", istiod_name_of(revision));
        match self.cluster.service_proxy_get(&self.namespace, &service, "/metrics").await {
            Ok(answer) => Ok((parse_metrics(&String::from_utf8_lossy(&answer.body)), Way::Metrics)),
            Err(_) => Err(error),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClusterzEntry {
    id: String,
    #[serde(default)]
    secret_name: String,
    #[serde(default)]
    sync_status: String,
}

/// The page is a list; `null` where there is no remote cluster.
fn parse_clusterz(page: &Value) -> Option<Vec<RemoteCluster>> {
    let entries = Option::<Vec<ClusterzEntry>>::deserialize(page).ok()?.unwrap_or_default();
    let cluster = |entry: ClusterzEntry| RemoteCluster {
        id: entry.id,
        secret: entry.secret_name,
        status: SyncStatus::parse(&entry.sync_status),
    };
    Some(entries.into_iter().map(cluster).collect())
}

/// `istiod_remote_cluster_sync_status{cluster="west",cluster_type="remote",status="synced"} 1`
fn parse_metrics(text: &str) -> Vec<RemoteCluster> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("istiod_remote_cluster_sync_status{"));
    let parsed = lines.filter_map(|line| {
        let (labels, value) = line.rsplit_once('}')?;
        let label = |name: &str| {
            let (_, after) = labels.split_once(&format!("{name}=\""))?;
            after.split_once('"').map(|(value, _)| value.to_owned())
        };
        let holds = value.trim().parse::<f64>().is_ok_and(|value| value > 0.0);
        let id = labels.split(',').find_map(|pair| pair.strip_prefix("cluster=\"")?.strip_suffix('"'))?;
        holds.then(|| {
            Some(RemoteCluster {
                id: id.to_owned(),
                secret: String::new(),
                status: SyncStatus::parse(&label("status")?),
            })
        })?
    });
    parsed.collect()
}

impl SyncStatus {
    fn parse(text: &str) -> SyncStatus {
        match text {
            "synced" => SyncStatus::Synced,
            "syncing" => SyncStatus::Syncing,
            "timeout" => SyncStatus::Timeout,
            "closed" => SyncStatus::Closed,
            other => SyncStatus::Other(other.to_owned()),
        }
    }

    pub fn as_str(&self) -> &str {
        match self {
            SyncStatus::Synced => "synced",
            SyncStatus::Syncing => "syncing",
            SyncStatus::Timeout => "timeout",
            SyncStatus::Closed => "closed",
            SyncStatus::Other(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn clusterz_is_read() {
        let page = json!([
            {"id": "east", "secretName": "", "syncStatus": "synced"},
            {"id": "west", "secretName": "istio-system/istio-remote-secret-west", "syncStatus": "timeout"},
        ]);
        let clusters = parse_clusterz(&page).unwrap();
        assert_eq!(clusters[1].secret, "istio-system/istio-remote-secret-west");
        assert_eq!(clusters[1].status, SyncStatus::Timeout);
        assert_eq!(parse_clusterz(&Value::Null), Some(vec![]));
        assert_eq!(parse_clusterz(&json!("x")), None);
    }

    #[test]
    fn metrics_are_read() {
        let text = "# HELP istiod_remote_cluster_sync_status x\n\
            istiod_remote_cluster_sync_status{cluster=\"west\",cluster_type=\"remote\",status=\"synced\"} 1\n\
            istiod_remote_cluster_sync_status{cluster=\"west\",cluster_type=\"remote\",status=\"timeout\"} 0\n";
        let clusters = parse_metrics(text);
        assert_eq!(clusters, [RemoteCluster { id: "west".into(), secret: String::new(), status: SyncStatus::Synced }]);
    }
}
