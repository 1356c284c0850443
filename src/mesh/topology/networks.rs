//! Which clusters are in one network, and which in none; mesh networks that other declarations make dead letters, or
//! contradict.

use std::collections::BTreeSet;

use super::links::{HALF_NAMED, half_named, within};
use super::{ControlPlaneAt, DeclaredGateway, Finding, Severity, Topology, WatchedCluster};
use crate::mesh::mesh_networks::NetworkEndpoints;

/// A cluster, by its id in Istio, with the network that its label puts it into.
struct Labelled<'a> {
    name: &'a str,
    network: &'a str,
}

impl Topology {
    /// The watchers of a cluster that are declared to be in its own network. Clusters that name none are in one, unless
    /// mesh networks put them into others.
    pub fn neighbours(&self, declared: &WatchedCluster) -> Vec<String> {
        let network = |cluster: &String| self.network(cluster, &declared.namespace);
        let Some(own) = network(&declared.cluster) else { return Vec::new() };
        if own.is_none() && self.planes_at(declared).all().iter().any(|plane| !plane.mesh_networks.is_empty()) {
            return Vec::new();
        }
        declared.watchers.iter().filter(|watcher| network(watcher) == Some(own)).cloned().collect()
    }

    /// Those that are declared to be in another one.
    pub fn crossing(&self, declared: &WatchedCluster) -> Vec<String> {
        let Some(own) = self.network(&declared.cluster, &declared.namespace).flatten() else { return Vec::new() };
        let crosses = |watcher: &&String| {
            // An external control plane is in the network of those it serves, wherever it runs.
            let planes = within(self.planes_in(watcher).into_iter(), &declared.namespace);
            let served = planes.into_iter().filter_map(|plane| plane.network.as_deref());
            let own_network = self.network(watcher, &declared.namespace).flatten();
            served.chain(own_network).any(|network| network != own)
        };
        declared.watchers.iter().filter(crosses).cloned().collect()
    }

    /// The networks that the istiod whose configuration is in a cluster is declared to know a gateway of: one in a
    /// cluster that it reads, or one that its mesh networks list.
    pub fn led_to(&self, cluster: &str) -> BTreeSet<String> {
        let planes = || self.control_planes.values().filter(|plane| self.aliases.is_one(plane.serves(), cluster));
        let watches = |watched: &&WatchedCluster| {
            let mut here = planes().map(|plane| plane.cluster.as_str()).chain([cluster]);
            here.any(|here| watched.watchers.iter().any(|watcher| self.aliases.is_one(watcher, here)))
        };
        let watched = self.watched.values().filter(watches).map(|watched| watched.cluster.as_str());
        let read: BTreeSet<&str> = watched.chain([cluster]).collect();
        let is_read = |gateway: &&DeclaredGateway| read.iter().any(|one| self.aliases.is_one(one, &gateway.cluster));
        let gateways = self.gateways.values().filter(is_read).map(|gateway| gateway.network.clone());
        let described = planes().flat_map(|plane| &plane.mesh_networks.0);
        let listed = described.filter(|(_, network)| !network.gateways.is_empty()).map(|(name, _)| name.to_string());
        gateways.chain(listed).collect()
    }

    /// The network that a cluster is declared to be in, by its control plane or as a remote; the inner `None` where
    /// these name none, the outer where there are none. Meshes that share it, each in a namespace, may say different
    /// ones.
    pub(super) fn network(&self, cluster: &str, namespace: &str) -> Option<Option<&str>> {
        let planes = self.control_planes.values().filter(|control_plane| control_plane.serves() == cluster);
        let remotes = self.watched.values().filter(|watched| watched.cluster == cluster && watched.served_by.is_some());
        let planes = within(planes, namespace).into_iter().map(|control_plane| control_plane.network.as_deref());
        let mut said = planes.chain(remotes.map(|watched| watched.network.as_deref())).peekable();
        said.peek()?;
        Some(said.flatten().next())
    }

    /// A remote and those of its control planes declared before it, of which one alone names a network.
    pub(super) fn remote_apart(&self, declared: &WatchedCluster) -> Vec<Finding> {
        let found = self.control_planes.values().filter_map(|plane| remote_apart(declared, plane));
        let mut found: Vec<Finding> = found.collect();
        found.dedup();
        found
    }

    /// The same of a control plane and the remotes declared before it.
    pub(super) fn remotes_apart(&self, declared: &ControlPlaneAt) -> Vec<Finding> {
        self.watched.values().filter_map(|watched| remote_apart(watched, declared)).collect()
    }

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

fn remote_apart(watched: &WatchedCluster, plane: &ControlPlaneAt) -> Option<Finding> {
    let are_linked = watched.served_by.is_some()
        && watched.namespace == plane.namespace
        && watched.watchers.contains(&plane.cluster)
        && plane.serves() != &watched.cluster;
    if !are_linked || !plane.mesh_networks.is_empty() {
        return None;
    }
    let detail =
        half_named((plane.serves(), plane.network.as_deref()), (&watched.cluster, watched.network.as_deref()))?;
    Some(Finding { severity: Severity::Warning, attribute: "network", summary: HALF_NAMED, detail })
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
