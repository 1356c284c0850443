//! Mesh networks that other declarations make dead letters, or contradict.

use super::{ControlPlaneAt, Finding, Severity, Topology, WatchedCluster};
use crate::mesh::mesh_networks::NetworkEndpoints;

/// A cluster, by its id in Istio, with the network that its label puts it into.
struct Labelled<'a> {
    name: &'a str,
    network: &'a str,
}

impl Topology {
    /// What a control plane's mesh networks and those declared before it make of each other.
    pub(super) fn shadowed(&self, id: &str, declared: &ControlPlaneAt) -> Vec<Finding> {
        let others: Vec<&ControlPlaneAt> =
            self.control_planes.iter().filter(|(other, _)| *other != id).map(|(_, other)| other).collect();
        let mut findings = Vec::new();
        for labelled in
            others.iter().filter_map(|other| of_plane(other)).chain(self.watched.values().filter_map(of_remote))
        {
            findings.extend(dead_letter(declared, &labelled, "mesh_networks"));
        }
        for other in &others {
            findings.extend(of_plane(declared).and_then(|own| dead_letter(other, &own, "network")));
            if other.mesh_id == declared.mesh_id
                && let Some(ambiguity) = declared.mesh_networks.contradicts(&other.mesh_networks)
            {
                findings.push(Finding {
                    severity: Severity::Warning,
                    attribute: "mesh_networks",
                    summary: "Control planes of one mesh see different networks",
                    detail: format!(
                        "By the `mesh_networks` of {} and of {} together, {ambiguity}. Each istiod goes by its own: calls from one of the clusters would be sent to where the other does not expect \
                         them. Give all control planes of a mesh the same `mesh_networks`.",
                        declared.cluster, other.cluster
                    ),
                });
            }
        }
        findings
    }

    /// Mesh networks declared before a remote that is put into another network by its label.
    pub(super) fn shadowed_by(&self, declared: &WatchedCluster) -> Vec<Finding> {
        let Some(labelled) = of_remote(declared) else { return Vec::new() };
        self.control_planes.values().filter_map(|other| dead_letter(other, &labelled, "network")).collect()
    }
}

fn of_plane(declared: &ControlPlaneAt) -> Option<Labelled<'_>> {
    let network = declared.network.as_deref().filter(|_| declared.config_cluster.is_none())?;
    Some(Labelled { name: &declared.name, network })
}

fn of_remote(declared: &WatchedCluster) -> Option<Labelled<'_>> {
    Some(Labelled { name: &declared.name, network: declared.network.as_deref()? })
}

fn dead_letter(of: &ControlPlaneAt, labelled: &Labelled<'_>, attribute: &'static str) -> Option<Finding> {
    let Labelled { name, network } = labelled;
    let claims = |endpoints: &NetworkEndpoints| matches!(endpoints, NetworkEndpoints::FromRegistry(named) if named.as_str() == *name);
    let elsewhere = of.mesh_networks.0.iter().filter(|(other, _)| other.as_str() != *network);
    let (other, _) = elsewhere.into_iter().find(|(_, described)| described.endpoints.iter().any(claims))?;
    Some(Finding {
        severity: Severity::Error,
        attribute,
        summary: "An entry of mesh networks would never count",
        detail: format!(
            "The `mesh_networks` of {} put cluster {name} into network {other} by `from_registry`, but its `network` puts it into {network} by a label, and istiod lets labels win over mesh \
             networks. Remove the entry, or remove that `network`.",
            of.cluster
        ),
    })
}
