//! What istiod itself says, replica by replica: its debug pages through port-forward, exec as fallback, metrics as last.

use std::sync::Arc;

use futures::future::join_all;
use serde::Deserialize;
use serde_json::Value;

use super::answer;
use super::read::lock;
use super::{Cluster, Error, Failure, Kind, Layer, Object, PodPort, Query};

/// istiod's monitoring port: always open, unrestricted for callers from 127.0.0.1, as which a port-forward arrives.
const MONITORING_PORT: u16 = 15014;

/// The istiods of one namespace of a cluster.
#[derive(Clone, Debug)]
pub struct Istiod {
    cluster: Cluster,
    namespace: String,
}

/// One istiod pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    pub pod: String,
    pub revision: String,
    /// Of the container `discovery`.
    pub image: String,
    pub ready: bool,
}

impl Replica {
    /// istiod's version, from the tag of its image; `None` where a digest stands in its place.
    pub fn version(&self) -> Option<&str> {
        let name = self.image.split('@').next().unwrap_or_default();
        name.rsplit('/').next()?.split_once(':').map(|(_, tag)| tag)
    }
}

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

impl Cluster {
    pub fn istiod(&self, namespace: &str) -> Istiod {
        Istiod { cluster: self.clone(), namespace: namespace.to_owned() }
    }
}

impl Istiod {
    /// The running replicas, of one revision or of all.
    pub async fn replicas(&self, revision: Option<&str>) -> Result<Vec<Replica>, Error> {
        let mut query = Query::of(Kind::POD).namespace(&self.namespace).label("app", "istiod");
        if let Some(revision) = revision {
            query = query.label("istio.io/rev", revision);
        }
        let pods = self.cluster.list_now(&query).await?;
        let running = pods
            .iter()
            .filter(|pod| !pod.is_terminating() && !matches!(pod.str("status.phase"), "Succeeded" | "Failed"));
        Ok(running.map(replica).collect())
    }

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

    /// As [`Istiod::clusterz`] over all revisions, but asked once and held for the length of the walk.
    pub async fn clusterz_held(&self) -> Result<Arc<[ReplicaView]>, Error> {
        let cell = lock(&self.cluster.shared.held.istiods).entry(self.namespace.clone()).or_default().clone();
        let asked = cell.get_or_try_init(|| async { self.clusterz(None).await.map(Arc::from) });
        asked.await.cloned()
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
            return Err(self.cluster.error(Failure::Unexpected { detail }));
        }
        self.decode(replica, path, &answer.body)
    }

    async fn executed(&self, replica: &Replica, path: &str) -> Result<Value, Error> {
        let command = ["pilot-discovery", "request", "GET", path];
        let output = self.cluster.pod_exec(&self.namespace, &replica.pod, Some("discovery"), &command).await?;
        if output.code != 0 {
            let detail = format!("pilot-discovery request in {} failed: {}", replica.pod, output.stderr.trim());
            return Err(self.cluster.error(Failure::Unexpected { detail }));
        }
        self.decode(replica, path, &output.stdout)
    }

    fn decode(&self, replica: &Replica, path: &str, body: &[u8]) -> Result<Value, Error> {
        let wrong = |_| {
            self.cluster
                .error(Failure::Unexpected { detail: format!("istiod {} answers {path} without JSON", replica.pod) })
        };
        answer::read(body).map_err(wrong)
    }

    async fn clusters_of(&self, replica: &Replica) -> Result<(Vec<RemoteCluster>, Way), Error> {
        let error = match self.debug_by(replica, "clusterz").await {
            Ok((page, way)) => {
                let clusters = parse_clusterz(&page);
                let wrong = || {
                    self.cluster.error(Failure::Unexpected {
                        detail: format!("istiod {}: /debug/clusterz is not a list of clusters", replica.pod),
                    })
                };
                return clusters.map(|clusters| (clusters, way)).ok_or_else(wrong);
            }
            Err(error) => error,
        };
        let service = match replica.revision.as_str() {
            "" | "default" => format!("istiod:{MONITORING_PORT}"),
            revision => format!("istiod-{revision}:{MONITORING_PORT}"),
        };
        match self.cluster.service_proxy_get(&self.namespace, &service, "/metrics").await {
            Ok(answer) => Ok((parse_metrics(&String::from_utf8_lossy(&answer.body)), Way::Metrics)),
            Err(_) => Err(error),
        }
    }
}

fn replica(pod: &Object) -> Replica {
    Replica {
        pod: pod.name().to_owned(),
        revision: pod.label("istio.io/rev").unwrap_or_default().to_owned(),
        image: image(pod).to_owned(),
        ready: pod.condition("Ready").is_some_and(|ready| ready.is_true()),
    }
}

fn image(pod: &Object) -> &str {
    let containers = pod.items("spec.containers");
    let is_discovery = |container: &&Value| container.get("name").and_then(Value::as_str) == Some("discovery");
    let discovery = containers.iter().find(is_discovery).or(containers.first());
    discovery.and_then(|container| container.get("image")?.as_str()).unwrap_or_default()
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
