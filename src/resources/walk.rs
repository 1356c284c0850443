//! What is shared by all resources of the process while Terraform walks the configuration: looks at istiod that several wait for at once, and
//! what each resource declares of the mesh, so that contradictions between resources are found at plan. Dropped when Configure comes again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::cluster::{Cluster, Error, ReplicaView};

/// Shared by the resources of one walk.
#[derive(Debug, Default)]
pub struct Walk {
    looks: Mutex<BTreeMap<Place, Arc<tokio::sync::Mutex<Option<Look>>>>>,
}

/// A cluster's name and a namespace in it.
type Place = (String, String);

#[derive(Debug)]
struct Look {
    begun: Instant,
    views: Arc<[ReplicaView]>,
}

impl Walk {
    /// What every istiod replica says of the clusters it watches, asked no earlier than `since`. Of several who ask at the same time, one does.
    pub async fn istiods(
        &self,
        cluster: &Cluster,
        namespace: &str,
        since: Instant,
    ) -> Result<Arc<[ReplicaView]>, Error> {
        let place = (cluster.name().to_owned(), namespace.to_owned());
        let look = self.looks.lock().unwrap_or_else(PoisonError::into_inner).entry(place).or_default().clone();
        let mut look = look.lock().await;
        if let Some(look) = look.as_ref().filter(|look| look.begun >= since) {
            return Ok(look.views.clone());
        }
        let begun = Instant::now();
        let views: Arc<[ReplicaView]> = cluster.istiod(namespace).clusterz(None).await?.into();
        *look = Some(Look { begun, views: views.clone() });
        Ok(views)
    }
}
