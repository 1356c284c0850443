//! The Pods of istiod.

use serde_json::Value;

use super::Istiod;
use crate::cluster::{Error, Kind, Object, Query};

/// One istiod Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replica {
    pub pod: String,
    /// Its label `istio.io/rev`; `default` where there is no other.
    pub revision: String,
    /// Of the container `discovery`.
    pub image: String,
    pub ready: bool,
    /// The id of the cluster that it was given; empty where it was given none.
    pub cluster_id: String,
    pub ips: Vec<String>,
}

impl Replica {
    /// istiod's version, from the tag of its image; `None` where a digest stands in its place.
    pub fn version(&self) -> Option<&str> {
        let name = self.image.split('@').next().unwrap_or_default();
        name.rsplit('/').next()?.split_once(':').map(|(_, tag)| tag)
    }

    fn read(pod: &Object) -> Replica {
        let ips = pod.items("status.podIPs").iter().filter_map(|entry| entry.get("ip")?.as_str());
        Replica {
            pod: pod.name().to_owned(),
            revision: pod.label("istio.io/rev").unwrap_or_default().to_owned(),
            image: image(pod).to_owned(),
            ready: pod.condition("Ready").is_some_and(|ready| ready.is_true()),
            cluster_id: env(pod, "CLUSTER_ID").to_owned(),
            ips: ips.map(str::to_owned).collect(),
        }
    }
}

impl Istiod {
    /// The replicas that run or are about to, of one revision or of all.
    pub async fn replicas(&self, revision: Option<&str>) -> Result<Vec<Replica>, Error> {
        let mut query = Query::of(Kind::POD).namespace(&self.namespace).label("app", "istiod");
        if let Some(revision) = revision {
            query = query.label("istio.io/rev", revision);
        }
        let pods = self.cluster.list_now(&query).await?;
        let running = pods
            .iter()
            .filter(|pod| !pod.is_terminating() && !matches!(pod.str("status.phase"), "Succeeded" | "Failed"));
        Ok(running.map(Replica::read).collect())
    }
}

fn discovery(pod: &Object) -> Option<&Value> {
    let containers = pod.items("spec.containers");
    let is_discovery = |container: &&Value| container.get("name").and_then(Value::as_str) == Some("discovery");
    containers.iter().find(is_discovery).or(containers.first())
}

fn image(pod: &Object) -> &str {
    discovery(pod).and_then(|container| container.get("image")?.as_str()).unwrap_or_default()
}

fn env<'a>(pod: &'a Object, name: &str) -> &'a str {
    let entries = discovery(pod).and_then(|container| container.get("env")?.as_array()).into_iter().flatten();
    let mut named = entries.filter(|entry| entry.get("name").and_then(Value::as_str) == Some(name));
    named.next().and_then(|entry| entry.get("value")?.as_str()).unwrap_or_default()
}
