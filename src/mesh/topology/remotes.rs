//! Remotes and the control planes that serve them.

use super::{ControlPlaneAt, Finding, ServedBy, Severity, Topology, WatchedCluster};

impl Topology {
    /// A configuration cluster whose control plane is declared to have another, or none.
    pub(super) fn config_cluster(&self, declared: &WatchedCluster) -> Option<Finding> {
        declared.served_by.as_ref().filter(|served| served.control_plane == declared.name)?;
        let there = |control_plane: &&ControlPlaneAt| {
            declared.watchers.contains(&control_plane.cluster) && control_plane.namespace == declared.namespace
        };
        if declared.watchers.iter().any(|watcher| self.awaits_plane_in(watcher)) {
            return None;
        }
        let there: Vec<&ControlPlaneAt> = self.control_planes.values().filter(there).collect();
        let read = there.iter().any(|control_plane| control_plane.config_cluster.as_ref() == Some(&declared.cluster));
        (!there.is_empty() && !read).then(|| Finding {
            // Another control plane of that namespace may be declared later.
            severity: Severity::Warning,
            attribute: "watchers",
            summary: "The control plane reads another configuration",
            detail: format!(
                "No known control plane of cluster {} has `config_cluster = {:?}`. An istiod that does not wait for this cluster is not given its kubeconfig: take the `cluster` of the \
                 `mesh_primary` that has.",
                there[0].cluster, declared.cluster
            ),
        })
    }

    /// A remote that asks for a revision of its control plane which nobody has declared.
    pub(super) fn revision_served(&self, declared: &WatchedCluster) -> Option<Finding> {
        let served = declared.served_by.as_ref()?;
        let named = self.control_planes.values().filter(|control_plane| control_plane.name == served.control_plane);
        let named: Vec<&ControlPlaneAt> = named.collect();
        // A control plane looks for webhooks of its own revision; tags do not count.
        // One that waits for values may have this id.
        let missing = !named.is_empty()
            && !self.awaits_a_plane()
            && named.iter().all(|control_plane| control_plane.revision != served.revision);
        missing.then(|| no_such_revision(&served.control_plane, served.revision.as_deref(), &named))
    }
}

/// A remote and the control plane that is to serve it.
pub(super) fn serving(watched: &WatchedCluster, control_plane: &ControlPlaneAt) -> impl Iterator<Item = Finding> {
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
        if control_plane.is_ambient {
            findings.push(error(
                "control_plane",
                "An ambient control plane serves no remotes",
                format!(
                    "{} is in ambient mode, for which Istio supports no cluster without a control plane of its own: ztunnels of {} would not find their configuration. Give {} a \
                     `mesh_primary` and use `mode = \"peer\"`, or leave `ambient` out on the `mesh_primary` of {}.",
                    served.control_plane, watched.name, watched.name, served.control_plane
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

/// The attribute of `mesh_primary` that decides what one of `mesh_remote_cluster` names.
pub(super) fn of_control_plane(finding: &Finding) -> &'static str {
    match finding.attribute {
        "control_plane" if finding.summary.contains("ambient") => "ambient",
        "control_plane" => "external_istiod",
        "watchers" => "cluster",
        other => other,
    }
}

pub(super) fn own_control_plane(declared: &WatchedCluster, served: &ServedBy) -> Finding {
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

/// Whether Pods that ask for this revision are injected by the control plane.
pub(super) fn answers_to(control_plane: &ControlPlaneAt, revision: Option<&str>) -> bool {
    control_plane.revision.as_deref() == revision || control_plane.tags.contains(revision.unwrap_or("default"))
}

pub(super) const NO_SUCH_REVISION: &str = "No control plane of this revision is known";

/// A revision as sentences name it.
pub(super) fn shown(revision: Option<&str>) -> String {
    revision.map_or("the default revision".to_owned(), |revision| format!("the revision {revision:?}"))
}

pub(super) fn no_such_revision(cluster: &str, revision: Option<&str>, there: &[&ControlPlaneAt]) -> Finding {
    let names = |control_plane: &&ControlPlaneAt| {
        let own = control_plane.revision.clone().unwrap_or_else(|| "the default one".to_owned());
        control_plane.tags.iter().cloned().fold(own, |names, tag| format!("{names}, {tag} (a tag)"))
    };
    Finding {
        // One that the configuration makes without being referred to may be declared later.
        severity: Severity::Warning,
        attribute: "revision",
        summary: NO_SUCH_REVISION,
        detail: format!(
            "`revision` asks for {}. Known about {cluster}: {}. Nothing would be injected or served by another one. If that control plane is in this configuration, take the \
             `revision` of its `mesh_primary`, so that it is there first.",
            shown(revision),
            there.iter().map(names).collect::<Vec<_>>().join("; ")
        ),
    }
}
