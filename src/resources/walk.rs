//! What is shared by all resources of the process while Terraform walks the configuration: looks at istiod that several wait for at once, and
//! what each resource declares of the mesh, so that contradictions between resources are found at plan. Dropped when Configure comes again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::cluster::{Cluster, Error, ReplicaView};
use crate::diag::{Diagnostic, Diagnostics};
use crate::mesh::{ControlPlaneAt, Finding, FindingSeverity, Registry, Topology, WatchedCluster};

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

    /// Declares a control plane, by the id of its resource; what it and earlier declarations contradict each other in.
    pub fn control_plane(&self, id: &str, declared: ControlPlaneAt) -> Diagnostics {
        diagnostics(self.topology.lock().unwrap_or_else(PoisonError::into_inner).control_plane(id, declared))
    }

    /// The same for a watched cluster.
    pub fn watched(&self, id: &str, declared: WatchedCluster) -> Diagnostics {
        diagnostics(self.topology.lock().unwrap_or_else(PoisonError::into_inner).watched(id, declared))
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
