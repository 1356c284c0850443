//! Control planes that links connect, and what their mesh configurations say unlike: told once for all of them, by
//! whoever is declared last.

use std::collections::BTreeSet;

use super::{ControlPlaneAt, Finding, Severity, Topology, WatchedCluster};
use crate::mesh::policy::{MeshPolicy, differences};

/// The clusters whose policies count at both ends of a link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ruling {
    /// For the watched cluster.
    pub own: BTreeSet<String>,
    /// For watchers in its network that go by others.
    pub near: BTreeSet<String>,
    /// For watchers in other networks.
    pub crossing: BTreeSet<String>,
}

impl Topology {
    /// Of the control planes at the ends of a link.
    pub(super) fn unlike_at(&mut self, declared: &WatchedCluster) -> Vec<Finding> {
        let planes = self.planes_at(declared).all();
        let meshes: BTreeSet<&str> = planes.iter().map(|plane| plane.mesh_id.as_str()).collect();
        let told: Vec<String> = meshes.into_iter().filter_map(|mesh| told(mesh, &planes)).collect();
        told.into_iter().filter_map(|detail| self.tell_unlike("watchers", detail)).collect()
    }

    /// Of a control plane and those that links declared before it connect it with.
    pub(super) fn unlike_others(&mut self, id: &str, declared: &ControlPlaneAt) -> Option<Finding> {
        let links = self
            .watched
            .values()
            .filter(|watched| watched.cluster == declared.cluster || watched.watchers.contains(&declared.cluster))
            .filter(|watched| watched.namespace == declared.namespace);
        let clusters: BTreeSet<&String> =
            links.flat_map(|watched| std::iter::once(&watched.cluster).chain(&watched.watchers)).collect();
        let others = self.control_planes.iter().filter(|(other, plane)| {
            *other != id && clusters.contains(&plane.cluster) && plane.namespace == declared.namespace
        });
        let planes: Vec<&ControlPlaneAt> = others.map(|(_, plane)| plane).chain([declared]).collect();
        let told = told(&declared.mesh_id, &planes)?;
        self.tell_unlike("values", told)
    }

    fn tell_unlike(&mut self, attribute: &'static str, detail: String) -> Option<Finding> {
        self.told.insert(format!("unlike {detail}")).then_some(Finding {
            severity: Severity::Warning,
            attribute,
            summary: "Control planes of one mesh are configured differently",
            detail,
        })
    }

    /// The clusters whose policies count at both ends of a link: those in which the istiods read their configuration
    /// that serve them. Nobody reads what lies in a remote.
    pub fn ruling(&self, declared: &WatchedCluster) -> Ruling {
        let read_by = |cluster: &String| -> BTreeSet<String> {
            let planes = super::links::within(self.planes_in(cluster).into_iter(), &declared.namespace);
            let read: BTreeSet<String> = planes.iter().map(|plane| plane.serves().clone()).collect();
            if read.is_empty() { [cluster.clone()].into() } else { read }
        };
        let own: BTreeSet<String> = match declared.served_by.as_ref().map(|served| &served.control_plane) {
            None => read_by(&declared.cluster),
            Some(name) if *name == declared.name => [declared.cluster.clone()].into(),
            Some(name) => {
                let planes = self.control_planes.values().filter(|plane| plane.name == *name);
                planes.map(|plane| plane.serves().clone()).collect()
            }
        };
        let near: BTreeSet<String> = self.neighbours(declared).iter().flat_map(read_by).collect();
        let crossing = self.crossing(declared).iter().flat_map(read_by).collect();
        Ruling { near: near.difference(&own).cloned().collect(), own, crossing }
    }

    /// The clusters whose rules the istiods of a link read, each with what is known of their mesh configurations.
    pub fn configured(&self, declared: &WatchedCluster) -> Vec<(String, Vec<MeshPolicy>)> {
        let own = declared.served_by.is_none().then_some(&declared.cluster);
        let ends: BTreeSet<&String> = own.into_iter().chain(&declared.watchers).collect();
        let read = ends.into_iter().map(|cluster| {
            let planes = super::links::within(self.planes_in(cluster).into_iter(), &declared.namespace);
            let read = planes.first().map_or(cluster, |plane| plane.serves());
            (read.clone(), planes.iter().filter_map(|plane| plane.policy.clone()).collect())
        });
        read.collect()
    }
}

/// What the control planes of one mesh, among these, say unlike.
fn told(mesh: &str, planes: &[&ControlPlaneAt]) -> Option<String> {
    let planes: Vec<&ControlPlaneAt> = planes.iter().filter(|plane| plane.mesh_id == mesh).copied().collect();
    let first = planes.first()?;
    // Ambient mode at one end is told for itself, and brings a mesh configuration of its own.
    if planes.iter().any(|plane| plane.is_ambient != first.is_ambient) {
        return None;
    }
    let known = planes.iter().filter_map(|plane| Some((plane.cluster.as_str(), plane.policy.as_ref()?)));
    let mut differences = differences(known);
    // Between networks the link says so itself.
    let crosses = planes.iter().any(|plane| super::links::crosses(first, plane));
    differences.retain(|difference| !(crosses && difference.field == "enableAutoMtls"));
    let lines: Vec<String> = differences.iter().map(|difference| format!("- {difference}")).collect();
    (!lines.is_empty()).then(|| {
        format!(
            "Each istiod configures its own proxies alone, by its own mesh configuration. So these count for calls from some clusters of the mesh, and not from others:\n\n{}\n\n\
             Keep what is meant for the whole mesh in one local, and give it to every `mesh_primary` in `values`.",
            lines.join("\n")
        )
    })
}
