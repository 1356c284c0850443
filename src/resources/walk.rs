//! What is shared by all resources of the process while Terraform walks the configuration: looks at istiod that several wait for at once, and
//! what each resource declares of the mesh, so that contradictions between resources are found at plan. Dropped when Configure comes again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, Error, Replica, ReplicaView};
use crate::diag::{Diagnostic, Diagnostics};
use crate::mesh::{
    Closed, ControlPlaneAt, DeclaredCa, DeclaredGateway, Finding, FindingSeverity, Registry, Topology, WatchedCluster,
};

/// Shared by the resources of one walk.
#[derive(Debug, Default)]
pub struct Walk {
    looks: Mutex<BTreeMap<Place, Arc<tokio::sync::Mutex<Option<Look>>>>>,
    topology: Mutex<Topology>,
}

/// A cluster's name and a namespace in it.
type Place = (String, String);

#[derive(Debug)]
struct Look {
    begun: Instant,
    /// When the replicas were listed.
    listed: Instant,
    views: Arc<[ReplicaView]>,
}

/// How long an answer of the istiods is good for whoever asks next.
const LOOK_LASTS: Duration = Duration::from_millis(200);

impl Look {
    /// The replicas, unless there were none, or one of them was not ready or did not answer: then they are listed again.
    fn replicas(&self) -> Option<Vec<Replica>> {
        let steady = |view: &ReplicaView| view.replica.ready && view.clusters.is_ok();
        let known = !self.views.is_empty() && self.views.iter().all(steady);
        known.then(|| self.views.iter().map(|view| view.replica.clone()).collect())
    }
}

impl Walk {
    /// What every istiod replica says of the clusters it watches, since something was `changed`. Of several who ask at the same time, one does.
    pub async fn istiods(
        &self,
        cluster: &Cluster,
        namespace: &str,
        changed: Instant,
    ) -> Result<Arc<[ReplicaView]>, Error> {
        let place = (cluster.name().to_owned(), namespace.to_owned());
        let look = self.looks.lock().unwrap_or_else(PoisonError::into_inner).entry(place).or_default().clone();
        let mut look = look.lock().await;
        if let Some(look) = look.as_ref().filter(|look| look.begun >= changed && look.begun.elapsed() < LOOK_LASTS) {
            return Ok(look.views.clone());
        }
        let (begun, istiod) = (Instant::now(), cluster.istiod(namespace));
        // A replica that has started since the change has read what was changed before it was ready.
        let known = look.as_ref().filter(|look| look.listed >= changed).and_then(Look::replicas);
        let (listed, replicas) = match (known, look.as_ref()) {
            (Some(replicas), Some(look)) => (look.listed, replicas),
            _ => (begun, istiod.replicas(None).await?),
        };
        let views: Arc<[ReplicaView]> = istiod.views(replicas).await.into();
        *look = Some(Look { begun, listed, views: views.clone() });
        Ok(views)
    }

    /// Declares a control plane, by the id of its resource; what it and earlier declarations contradict each other in.
    pub fn control_plane(&self, id: &str, declared: ControlPlaneAt) -> Diagnostics {
        diagnostics(self.topology.lock().unwrap_or_else(PoisonError::into_inner).control_plane(id, declared))
    }

    /// The same for a watched cluster.
    pub fn watched(&self, id: &str, declared: WatchedCluster) -> Diagnostics {
        diagnostics(self.topology.lock().unwrap_or_else(PoisonError::into_inner).watched(id, declared))
    }

    /// The same for a certificate authority.
    pub fn authority(&self, id: &str, declared: DeclaredCa) -> Diagnostics {
        diagnostics(self.topology.lock().unwrap_or_else(PoisonError::into_inner).authority(id, declared))
    }

    /// The same for a gateway.
    pub fn gateway(&self, id: &str, declared: DeclaredGateway) -> Diagnostics {
        diagnostics(self.topology.lock().unwrap_or_else(PoisonError::into_inner).gateway(id, declared))
    }

    /// The network of a watched cluster, where nothing declared so far leads into it.
    pub fn closed(&self, watched: &WatchedCluster) -> Option<Closed> {
        self.topology.lock().unwrap_or_else(PoisonError::into_inner).closed(watched)
    }

    /// The watchers that are in the network of the cluster they watch.
    pub fn neighbours(&self, watched: &WatchedCluster) -> Vec<String> {
        self.topology.lock().unwrap_or_else(PoisonError::into_inner).neighbours(watched)
    }

    /// What a registry that mesh networks name is known as so far.
    pub fn registry(&self, name: &str) -> Registry {
        self.topology.lock().unwrap_or_else(PoisonError::into_inner).registry(name)
    }
}

fn diagnostics(findings: Vec<Finding>) -> Diagnostics {
    let diagnostic = |finding: Finding| {
        let diagnostic = match finding.severity {
            FindingSeverity::Error => Diagnostic::error(finding.summary),
            FindingSeverity::Warning => Diagnostic::warning(finding.summary),
        };
        diagnostic.detail(finding.detail).at(finding.attribute)
    };
    findings.into_iter().map(diagnostic).collect()
}
