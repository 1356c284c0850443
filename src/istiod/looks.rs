//! What the istiods of a cluster said, asked once by all who want to know at the same time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;

use super::{Connected, Istiod, Replica, ReplicaView};
use crate::cluster::{Cluster, Error};

/// The answers of a walk.
#[derive(Debug, Default)]
pub struct Looks {
    /// Of the clusters they read, by cluster and namespace.
    views: Mutex<BTreeMap<Place, Arc<tokio::sync::Mutex<Option<Look>>>>>,
    /// Of the proxies that are connected, by cluster, namespace and Pod.
    connected: Mutex<BTreeMap<Pod, Arc<OnceCell<Connected>>>>,
}

/// A cluster's name, a namespace in it, and a Pod there.
type Pod = (String, String, String);

/// A cluster's name, a namespace in it, and whether the answer is held for the whole walk: an apply that waits must not
/// leave its first answers to a data source that is read after it.
type Place = (String, String, bool);

#[derive(Debug)]
struct Look {
    begun: Instant,
    /// When the replicas were listed.
    listed: Instant,
    views: Arc<[ReplicaView]>,
}

/// How long an answer of the istiods is good for whoever waits for a change.
const LOOK_LASTS: Duration = Duration::from_millis(200);

impl Look {
    /// The replicas, unless there were none, or one of them was not ready or did not answer: then they are listed
    /// again.
    fn replicas(&self) -> Option<Vec<Replica>> {
        let steady = |view: &ReplicaView| view.replica.ready && view.clusters.is_ok();
        let known = !self.views.is_empty() && self.views.iter().all(steady);
        known.then(|| self.views.iter().map(|view| view.replica.clone()).collect())
    }
}

impl Looks {
    /// What every replica says of the clusters it reads, asked once and held for the length of the walk: for a refresh.
    pub async fn held(&self, cluster: &Cluster, namespace: &str) -> Result<Arc<[ReplicaView]>, Error> {
        self.look(cluster, namespace, None).await
    }

    /// The same, since something was `changed`: for an apply that waits until the istiods have seen it.
    pub async fn since(
        &self,
        cluster: &Cluster,
        namespace: &str,
        changed: Instant,
    ) -> Result<Arc<[ReplicaView]>, Error> {
        self.look(cluster, namespace, Some(changed)).await
    }

    /// Which proxies are connected to a replica, asked once and held for the length of the walk: for a refresh.
    pub async fn connected(&self, cluster: &Cluster, namespace: &str, pod: &str) -> Result<Connected, Error> {
        let place = (cluster.name().to_owned(), namespace.to_owned(), pod.to_owned());
        let held = self.connected.lock().unwrap_or_else(PoisonError::into_inner).entry(place).or_default().clone();
        let istiod = Istiod::of(cluster, namespace);
        held.get_or_try_init(|| istiod.connected(pod)).await.cloned()
    }

    /// Of several who ask at the same time, one does.
    async fn look(
        &self,
        cluster: &Cluster,
        namespace: &str,
        changed: Option<Instant>,
    ) -> Result<Arc<[ReplicaView]>, Error> {
        let place = (cluster.name().to_owned(), namespace.to_owned(), changed.is_none());
        let look = self.views.lock().unwrap_or_else(PoisonError::into_inner).entry(place).or_default().clone();
        let mut look = look.lock().await;
        let is_good =
            |look: &&Look| changed.is_none_or(|changed| look.begun >= changed && look.begun.elapsed() < LOOK_LASTS);
        if let Some(look) = look.as_ref().filter(is_good) {
            return Ok(look.views.clone());
        }
        let (begun, istiod) = (Instant::now(), Istiod::of(cluster, namespace));
        // A replica that has started since the change has read what was changed before it was ready.
        let steady = look.as_ref().filter(|look| changed.is_some_and(|changed| look.listed >= changed));
        let known = steady.and_then(|look| Some((look.listed, look.replicas()?)));
        let (listed, replicas) = match known {
            Some(known) => known,
            None => (begun, istiod.replicas(None).await?),
        };
        let views: Arc<[ReplicaView]> = istiod.views(replicas).await.into();
        *look = Some(Look { begun, listed, views: views.clone() });
        Ok(views)
    }
}
