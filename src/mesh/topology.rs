//! Who is linked to whom, and what contradicts that: found over what several resources declare, which each of them alone cannot see.
//!
//! Only what is certain whatever is declared later is a finding: resources are planned in no fixed order.

use std::collections::{BTreeMap, BTreeSet};

/// A control plane as declared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ControlPlaneAt {
    /// The provider's name for the cluster.
    pub cluster: String,
    /// The id in Istio.
    pub name: String,
    pub namespace: String,
    pub revision: Option<String>,
    pub mesh_id: String,
    pub network: Option<String>,
    /// Fingerprint of the root it must have.
    pub trust_root: Option<String>,
    pub version: Option<String>,
    /// Whether it serves remotes.
    pub external_istiod: bool,
}

/// A watched cluster as declared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WatchedCluster {
    /// The provider's name for the cluster.
    pub cluster: String,
    /// The id in Istio.
    pub name: String,
    pub namespace: String,
    /// The provider's names of the clusters that watch.
    pub watchers: BTreeSet<String>,
    /// In the mode remote: the id of the control plane that serves it, and the revision it uses of it.
    pub served_by: Option<ServedBy>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServedBy {
    pub control_plane: String,
    pub revision: Option<String>,
}

/// What has been declared so far, by the id of the resource.
#[derive(Debug, Clone, Default)]
pub struct Topology {
    control_planes: BTreeMap<String, ControlPlaneAt>,
    watched: BTreeMap<String, WatchedCluster>,
}

/// A contradiction that a declaration takes part in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    /// The attribute, of the resource declared last, to change.
    pub attribute: &'static str,
    pub summary: &'static str,
    pub detail: String,
}

/// What a registry that mesh networks name is known as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registry {
    Known,
    /// It is a name of the provider's; in Istio the cluster has this one.
    CalledOtherwise(String),
    /// Nobody has declared it so far; somebody may still, or it is a cluster of others.
    Undeclared,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
}

impl Topology {
    /// Declares a control plane; what it contradicts.
    pub fn control_plane(&mut self, id: &str, declared: ControlPlaneAt) -> Vec<Finding> {
        let mut findings = Vec::new();
        for other in self.control_planes.iter().filter(|(other, _)| *other != id).map(|(_, other)| other) {
            if other.name == declared.name && other.cluster != declared.cluster {
                findings.push(same_name(&declared.name, &declared.cluster, &other.cluster));
            }
            if other.cluster == declared.cluster && other.name != declared.name {
                findings.push(two_names(&declared.cluster, &declared.name, &other.name));
            }
        }
        for watched in self.watched.values() {
            if watched.cluster == declared.cluster && watched.served_by.is_none() && watched.name != declared.name {
                findings.push(two_names(&declared.cluster, &declared.name, &watched.name));
            }
            findings.extend(
                serving(watched, &declared)
                    .map(|finding| Finding { attribute: of_control_plane(finding.attribute), ..finding }),
            );
        }
        self.control_planes.insert(id.to_owned(), declared);
        findings
    }

    /// Declares a watched cluster; what it contradicts.
    pub fn watched(&mut self, id: &str, declared: WatchedCluster) -> Vec<Finding> {
        let mut findings = Vec::new();
        for other in self.watched.iter().filter(|(other, _)| *other != id).map(|(_, other)| other) {
            if other.name == declared.name && other.cluster != declared.cluster {
                findings.push(same_name(&declared.name, &declared.cluster, &other.cluster));
            }
            if other.cluster == declared.cluster
                && other.name == declared.name
                && !other.watchers.is_disjoint(&declared.watchers)
            {
                findings.push(watched_twice(&declared, other));
            }
        }
        for control_plane in self.control_planes.values() {
            let own = control_plane.cluster == declared.cluster;
            if own && declared.served_by.is_none() && control_plane.name != declared.name {
                findings.push(two_names(&declared.cluster, &declared.name, &control_plane.name));
            }
            if !own && control_plane.name == declared.name {
                findings.push(same_name(&declared.name, &declared.cluster, &control_plane.cluster));
            }
            if own && let Some(served) = &declared.served_by {
                findings.push(own_control_plane(&declared, served));
            }
            findings.extend(serving(&declared, control_plane));
        }
        findings.extend(self.links(&declared));
        self.watched.insert(id.to_owned(), declared);
        findings
    }

    /// A cluster as `from_registry` of mesh networks names it: by its id in Istio, not by the provider's name for it.
    pub fn registry(&self, name: &str) -> Registry {
        let control_planes = self.control_planes.values().map(|declared| (&declared.cluster, &declared.name));
        let watched = self.watched.values().map(|declared| (&declared.cluster, &declared.name));
        let mut registry = Registry::Undeclared;
        for (cluster, id) in control_planes.chain(watched) {
            if id == name {
                return Registry::Known;
            }
            if cluster == name {
                registry = Registry::CalledOtherwise(id.clone());
            }
        }
        registry
    }

    /// What the control planes at both ends of each link disagree on.
    fn links<'a>(&'a self, declared: &'a WatchedCluster) -> impl Iterator<Item = Finding> + 'a {
        let at = |cluster: &str| {
            self.control_planes
                .values()
                .filter(move |control_plane| control_plane.cluster == cluster)
                .collect::<Vec<_>>()
        };
        let ends = at(&declared.cluster);
        declared.watchers.iter().flat_map(move |watcher| {
            let others = at(watcher);
            let pairs = ends.iter().flat_map(|end| others.iter().map(move |other| (*end, *other))).collect::<Vec<_>>();
            pairs.into_iter().flat_map(|(end, other)| disagreements(end, other)).collect::<Vec<_>>()
        })
    }
}

fn disagreements(watched: &ControlPlaneAt, watcher: &ControlPlaneAt) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (one, other) = (&watched.cluster, &watcher.cluster);
    if let (Some(root), Some(other_root)) = (&watched.trust_root, &watcher.trust_root)
        && root != other_root
    {
        findings.push(Finding {
            severity: Severity::Error,
            attribute: "watchers",
            summary: "Linked clusters trust different roots",
            detail: format!(
                "The control plane of {one} must have the root {}…, that of {other} {}…. Their proxies would refuse one another: give both an intermediate of one `mesh_ca`.",
                shortened(root),
                shortened(other_root)
            ),
        });
    }
    if watched.mesh_id != watcher.mesh_id {
        findings.push(Finding {
            severity: Severity::Error,
            attribute: "watchers",
            summary: "Linked clusters belong to different meshes",
            detail: format!(
                "The control plane of {one} has the mesh id {:?}, that of {other} {:?}. Clusters that watch each other are one mesh: give them one `mesh_id`. Services of another mesh \
                 are imported with `mesh_service_entry`.",
                watched.mesh_id, watcher.mesh_id
            ),
        });
    }
    if watched.namespace != watcher.namespace {
        findings.push(Finding {
            severity: Severity::Error,
            attribute: "namespace",
            summary: "Istio is in different namespaces",
            detail: format!("It is in {} in cluster {one} and in {} in {other}; an istiod looks for the others under its own namespace's name.", watched.namespace, watcher.namespace),
        });
    }
    if let (Some(version), Some(other_version)) = (watched.version.as_deref(), watcher.version.as_deref())
        && let (Some(minor), Some(other_minor)) = (minor(version), minor(other_version))
        && minor.abs_diff(other_minor) > 1
    {
        findings.push(Finding {
            severity: Severity::Warning,
            attribute: "watchers",
            summary: "Linked control planes are far apart in version",
            detail: format!("{one} runs Istio {version}, {other} {other_version}. Istio tests control planes of one mesh up to one minor version apart."),
        });
    }
    findings
}

/// A remote and the control plane that is to serve it.
fn serving(watched: &WatchedCluster, control_plane: &ControlPlaneAt) -> impl Iterator<Item = Finding> {
    let mut findings = Vec::new();
    if let Some(served) = watched
        .served_by
        .as_ref()
        .filter(|served| served.control_plane == control_plane.name && served.revision == control_plane.revision)
    {
        let error = |attribute, summary, detail| Finding { severity: Severity::Error, attribute, summary, detail };
        if !control_plane.external_istiod {
            findings.push(error(
                "control_plane",
                "The control plane serves no remotes",
                format!(
                    "{} is to serve the remote cluster {}: set `external_istiod = true` on its `mesh_primary`.",
                    served.control_plane, watched.name
                ),
            ));
        }
        if control_plane.namespace != watched.namespace {
            findings.push(error(
                "namespace",
                "Istio is in different namespaces",
                format!("The control plane {} is in {}, the remote cluster {} has {}; istiod looks for its remotes under its own namespace's name.", served.control_plane, control_plane.namespace, watched.name, watched.namespace),
            ));
        }
        if !watched.watchers.contains(&control_plane.cluster) {
            findings.push(error(
                "watchers",
                "The control plane does not watch its remote",
                format!(
                    "{} is to serve the remote cluster {}, so its cluster {} must be among `watchers`.",
                    served.control_plane, watched.name, control_plane.cluster
                ),
            ));
        }
    }
    findings.into_iter()
}

/// The attribute of `mesh_primary` that settles what one of `mesh_remote_cluster` names.
fn of_control_plane(attribute: &'static str) -> &'static str {
    match attribute {
        "control_plane" => "external_istiod",
        "watchers" => "cluster",
        other => other,
    }
}

fn same_name(name: &str, cluster: &str, other: &str) -> Finding {
    Finding {
        severity: Severity::Error,
        attribute: "cluster_name",
        summary: "Two clusters of one name",
        detail: format!(
            "{name:?} is to be the name of cluster {cluster} and of cluster {other}. istiod tells clusters apart by it and would ignore one of them."
        ),
    }
}

fn two_names(cluster: &str, name: &str, other: &str) -> Finding {
    Finding {
        severity: Severity::Error,
        attribute: "cluster_name",
        summary: "Two names for one cluster",
        detail: format!(
            "Cluster {cluster} is called {name:?} here and {other:?} elsewhere in the configuration. Proxies that name themselves otherwise than the remote secret does are refused: \
             take the `cluster_name` of its `mesh_primary`."
        ),
    }
}

fn watched_twice(declared: &WatchedCluster, other: &WatchedCluster) -> Finding {
    let both: Vec<&str> = declared.watchers.intersection(&other.watchers).map(String::as_str).collect();
    Finding {
        severity: Severity::Error,
        attribute: "watchers",
        summary: "A watcher is listed twice",
        detail: format!(
            "Another `mesh_remote_cluster` already lets {} watch {}; the two would overwrite each other's remote secret.",
            both.join(", "),
            declared.name
        ),
    }
}

fn own_control_plane(declared: &WatchedCluster, served: &ServedBy) -> Finding {
    Finding {
        severity: Severity::Error,
        attribute: "mode",
        summary: "A remote with a control plane of its own",
        detail: format!(
            "Cluster {} has a `mesh_primary`, and is to be served by {} as well: both would answer for its Pods. Use `mode = \"peer\"`, or remove its control plane.",
            declared.cluster, served.control_plane
        ),
    }
}

fn minor(version: &str) -> Option<u64> {
    let mut parts = version.trim_start_matches('v').split('.');
    (parts.next()? == "1").then(|| parts.next()?.parse().ok()).flatten()
}

fn shortened(fingerprint: &str) -> &str {
    fingerprint.get(..16).unwrap_or(fingerprint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control_plane(cluster: &str) -> ControlPlaneAt {
        ControlPlaneAt {
            cluster: cluster.into(),
            name: cluster.into(),
            namespace: "istio-system".into(),
            mesh_id: "mesh1".into(),
            ..ControlPlaneAt::default()
        }
    }

    fn watched(cluster: &str, watchers: &[&str]) -> WatchedCluster {
        WatchedCluster {
            cluster: cluster.into(),
            name: cluster.into(),
            namespace: "istio-system".into(),
            watchers: watchers.iter().map(|name| (*name).to_owned()).collect(),
            served_by: None,
        }
    }

    fn summaries(findings: &[Finding]) -> Vec<(&str, &str)> {
        findings.iter().map(|finding| (finding.attribute, finding.summary)).collect()
    }

    #[test]
    fn a_mesh_that_agrees_has_no_findings_and_neither_has_a_second_look() {
        let mut topology = Topology::default();
        for _ in 0..2 {
            for cluster in ["east", "west"] {
                assert_eq!(topology.control_plane(cluster, control_plane(cluster)), []);
            }
            assert_eq!(topology.watched("east", watched("east", &["west"])), []);
            assert_eq!(topology.watched("west", watched("west", &["east"])), []);
        }
    }

    #[test]
    fn names_collide_or_differ_whichever_is_declared_first() {
        let mut topology = Topology::default();
        topology.control_plane("east", control_plane("east"));
        let twin = ControlPlaneAt { name: "east".into(), ..control_plane("west") };
        assert_eq!(summaries(&topology.control_plane("west", twin)), [("cluster_name", "Two clusters of one name")]);

        let mut topology = Topology::default();
        topology.watched("east", watched("east", &["west"]));
        let other = ControlPlaneAt { name: "orient".into(), ..control_plane("east") };
        assert_eq!(summaries(&topology.control_plane("east", other)), [("cluster_name", "Two names for one cluster")]);
    }

    #[test]
    fn a_registry_is_named_by_its_id_in_istio() {
        let mut topology = Topology::default();
        topology.control_plane("east", control_plane("east"));
        topology.watched("west", WatchedCluster { name: "west-prod".into(), ..watched("west", &["east"]) });
        assert_eq!(topology.registry("east"), Registry::Known);
        assert_eq!(topology.registry("west-prod"), Registry::Known);
        assert_eq!(topology.registry("west"), Registry::CalledOtherwise("west-prod".into()));
        assert_eq!(topology.registry("north"), Registry::Undeclared);
    }

    #[test]
    fn links_compare_roots_meshes_and_versions() {
        let mut topology = Topology::default();
        let with = |cluster: &str, root: &str, mesh: &str, version: &str| ControlPlaneAt {
            trust_root: Some(root.repeat(64)),
            mesh_id: mesh.into(),
            version: Some(version.into()),
            ..control_plane(cluster)
        };
        topology.control_plane("east", with("east", "a", "mesh1", "1.29.2"));
        topology.control_plane("west", with("west", "b", "mesh2", "1.31.0"));
        let findings = topology.watched("east", watched("east", &["west"]));
        assert_eq!(
            summaries(&findings),
            [
                ("watchers", "Linked clusters trust different roots"),
                ("watchers", "Linked clusters belong to different meshes"),
                ("watchers", "Linked control planes are far apart in version"),
            ]
        );
        assert_eq!(findings[2].severity, Severity::Warning);
    }

    #[test]
    fn a_remote_needs_a_control_plane_that_serves_remotes() {
        let mut topology = Topology::default();
        topology.control_plane("east", control_plane("east"));
        let remote = WatchedCluster {
            served_by: Some(ServedBy { control_plane: "east".into(), revision: None }),
            ..watched("west", &["east"])
        };
        assert_eq!(
            summaries(&topology.watched("west", remote.clone())),
            [("control_plane", "The control plane serves no remotes")]
        );
        topology.control_plane("west", control_plane("west"));
        assert!(
            summaries(&topology.watched("west", remote))
                .contains(&("mode", "A remote with a control plane of its own"))
        );
    }

    #[test]
    fn one_watcher_in_two_resources_is_refused() {
        let mut topology = Topology::default();
        topology.watched("a", watched("east", &["west", "north"]));
        assert_eq!(topology.watched("b", watched("east", &["south"])), []);
        assert_eq!(
            summaries(&topology.watched("c", watched("east", &["north"]))),
            [("watchers", "A watcher is listed twice")]
        );
    }
}
