//! The system namespace: the charts set neither its network label nor its annotation, and both decide over the mesh.

use serde_json::{Map, Value, json};

use super::NETWORK_LABEL;
use super::name::{ClusterName, Namespace, Network};

/// Names the primaries that may write into a remote cluster. istiod reads it once, when the cluster is attached.
pub const CONTROL_PLANE_CLUSTERS_ANNOTATION: &str = "topology.istio.io/controlPlaneClusters";

/// The namespace Istio runs in; it has the same name in every cluster of a mesh.
#[derive(Debug, Clone)]
pub struct SystemNamespace {
    /// Its name.
    pub name: Namespace,
    /// The network of all endpoints of this cluster that have no label of their own.
    pub network: Option<Network>,
    /// On a remote cluster: the primaries in charge.
    pub control_planes: Vec<ClusterName>,
}

impl SystemNamespace {
    /// The namespace with nothing but what is ours to set.
    pub fn object(&self) -> Value {
        let mut metadata = Map::new();
        metadata.insert("name".into(), json!(self.name));
        if let Some(network) = &self.network {
            metadata.insert("labels".into(), json!({ NETWORK_LABEL: network }));
        }
        if !self.control_planes.is_empty() {
            let names: Vec<&str> = self.control_planes.iter().map(ClusterName::as_str).collect();
            metadata.insert("annotations".into(), json!({ CONTROL_PLANE_CLUSTERS_ANNOTATION: names.join(",") }));
        }
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carries_label_and_annotation_only_when_asked() {
        let plain =
            SystemNamespace { name: Namespace::new("istio-system").unwrap(), network: None, control_planes: vec![] };
        assert_eq!(
            plain.object(),
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "istio-system" } })
        );
        let name = |text: &str| ClusterName::new(text).unwrap();
        let remote = SystemNamespace {
            network: Some(Network::new("n1").unwrap()),
            control_planes: vec![name("c1"), name("c2")],
            ..plain
        };
        assert_eq!(
            remote.object()["metadata"],
            json!({
                "name": "istio-system",
                "labels": { "topology.istio.io/network": "n1" },
                "annotations": { "topology.istio.io/controlPlaneClusters": "c1,c2" },
            })
        );
    }
}
