//! Gateways: who serves them, and who opens them.

use std::collections::BTreeSet;

use super::super::discovery::DiscoverySelectors;
use super::remotes::{NO_SUCH_REVISION, answers_to, no_such_revision, shown};
use super::{ControlPlaneAt, DeclaredGateway, Finding, Mtls, Pending, ServedBy, Severity, Topology, WatchedCluster};

impl Topology {
    /// Declares a gateway; what it contradicts.
    pub fn gateway(&mut self, id: &str, declared: DeclaredGateway) -> Vec<Finding> {
        let cluster = &declared.cluster;
        let there = self.planes_of(cluster);
        let answers = |control_plane: &&ControlPlaneAt| answers_to(control_plane, declared.revision.as_deref());
        let mut findings = Vec::new();
        if !there.is_empty() && !there.iter().any(answers) && !self.awaits_plane_of(cluster) {
            findings.push(no_such_revision(cluster, declared.revision.as_deref(), &there));
        }
        findings.extend(self.uninjected(&declared, &self.links_that_serve(cluster)));
        let answering: Vec<&ControlPlaneAt> = there.into_iter().filter(answers).collect();
        if let Some(namespace) = &declared.exposes_istiod_of
            && !self.awaits_plane_in(cluster)
            && !self.awaits_plane_of(cluster)
        {
            // An istiod is exposed where it runs, whomever it serves.
            let running: Vec<&ControlPlaneAt> = self.planes_in(cluster).into_iter().filter(answers).collect();
            findings.extend(no_istiod_there(cluster, namespace, &running));
        }
        findings.extend(without_a_class(&declared, &answering, "ambient"));
        findings.extend(without_mtls(&declared, &answering, "expose"));
        findings.extend(self.served_by(&declared.cluster).and_then(|by| unmade(&declared, by, "gateway_api")));
        findings.extend(self.unread(&declared));
        self.gateways.insert(id.to_owned(), declared);
        findings
    }

    /// What a control plane leaves of the gateways that were declared before it.
    pub(super) fn doors_of(&self, declared: &ControlPlaneAt) -> Vec<Finding> {
        let mut findings = Vec::new();
        for gateway in self.gateways.values().filter(|gateway| gateway.cluster == *declared.serves()) {
            let others = self.planes_of(declared.serves());
            // Itself, where it has been declared before, is another by then.
            let others = others.into_iter().filter(|other| other.revision != declared.revision);
            let answering = others.chain([declared]).filter(|plane| answers_to(plane, gateway.revision.as_deref()));
            let answering: Vec<&ControlPlaneAt> = answering.collect();
            findings.extend(without_a_class(gateway, &answering, "ambient"));
            findings.extend(without_mtls(gateway, &answering, "mtls"));
        }
        findings
    }

    /// The gateways of a cluster that becomes a remote.
    pub(super) fn unmade_in(&self, declared: &WatchedCluster) -> Vec<Finding> {
        let served_by = declared.served_by.as_ref().map(|served| served.control_plane.as_str());
        let Some(by) = served_by.filter(|by| *by != declared.name) else { return Vec::new() };
        let gateways = self.gateways.values().filter(|gateway| gateway.cluster == declared.cluster);
        gateways.filter_map(|gateway| unmade(gateway, by, "cluster")).collect()
    }

    /// The gateways of a cluster that becomes a remote, of revisions that it does not have.
    pub(super) fn uninjected_in(&self, id: &str, declared: &WatchedCluster) -> Vec<Finding> {
        let others = self.watched.iter().filter(|(other, one)| *other != id && one.cluster == declared.cluster);
        let served: Vec<&ServedBy> =
            others.map(|(_, one)| one).chain([declared]).filter_map(|one| one.served_by.as_ref()).collect();
        let gateways = self.gateways.values().filter(|gateway| gateway.cluster == declared.cluster);
        gateways.filter_map(|gateway| self.uninjected(gateway, &served)).collect()
    }

    /// A remote's gateway whose revision is none of those that the remote is served by: there is no webhook for it.
    /// Values may give one a tag.
    fn uninjected(&self, gateway: &DeclaredGateway, served: &[&ServedBy]) -> Option<Finding> {
        let cluster = &gateway.cluster;
        let waits = self.awaits_plane_of(cluster) || self.pending.contains(&Pending::Remote(cluster.clone()));
        let is_there = served.iter().any(|served| served.revision == gateway.revision);
        if served.is_empty() || is_there || waits || !self.planes_of(cluster).is_empty() {
            return None;
        }
        let named: BTreeSet<String> = served.iter().map(|served| shown(served.revision.as_deref())).collect();
        Some(Finding {
            severity: Severity::Warning,
            attribute: "revision",
            summary: NO_SUCH_REVISION,
            detail: format!(
                "The gateway {} asks for {}. Cluster {cluster} is a remote, and its `mesh_remote_cluster` has {}: only the webhook of that injects Pods there, and those of this gateway would get no \
                 proxy. Set `revision` to the same in both, unless values of the chart give the webhook this name as a tag.",
                gateway.name,
                shown(gateway.revision.as_deref()),
                named.into_iter().collect::<Vec<_>>().join(", ")
            ),
        })
    }

    /// The links by which a cluster is served.
    fn links_that_serve(&self, cluster: &str) -> Vec<&ServedBy> {
        let links = self.watched.values().filter(|watched| watched.cluster == cluster);
        links.filter_map(|watched| watched.served_by.as_ref()).collect()
    }

    /// The control planes that serve the Pods of a cluster, wherever they run.
    fn planes_of(&self, cluster: &str) -> Vec<&ControlPlaneAt> {
        self.control_planes.values().filter(|control_plane| control_plane.serves() == cluster).collect()
    }

    /// A remote's gateway that exposes something: the Gateway would lie where no istiod looks for it.
    fn unread(&self, declared: &DeclaredGateway) -> Option<Finding> {
        let exposes = declared.exposes_services || declared.exposes_istiod_of.is_some();
        let served_by = self.served_by(&declared.cluster).filter(|_| exposes)?;
        Some(Finding {
            severity: Severity::Warning,
            attribute: "expose",
            summary: "Nobody reads what this gateway exposes",
            detail: format!(
                "Cluster {} is a remote of {served_by}, whose istiod reads Gateways in its own configuration cluster alone. Leave `expose` out here: the `mesh_eastwest_gateway` there, with \
                 `expose` and the same `name`, opens this one as well.",
                declared.cluster
            ),
        })
    }

    /// The control plane that serves a cluster which has none of its own.
    pub(super) fn served_by(&self, cluster: &str) -> Option<&str> {
        let mut remotes = self.watched.values().filter(|watched| watched.cluster == cluster);
        let served = remotes
            .find_map(|watched| watched.served_by.as_ref().filter(|served| served.control_plane != watched.name));
        served.map(|served| served.control_plane.as_str())
    }

    /// The same, where no other control plane is declared to take its configuration from there.
    pub fn remote_of(&self, cluster: &str) -> Option<&str> {
        let has_own = self.control_planes.values().any(|plane| plane.serves() == cluster);
        self.served_by(cluster).filter(|_| !has_own)
    }

    /// The clusters in which Gateways count for the gateways of a cluster; none where nobody has declared them.
    pub(super) fn configuration_of(&self, cluster: &str) -> BTreeSet<String> {
        match self.served_by(cluster) {
            Some(name) => {
                let planes = self.control_planes.values().filter(|plane| plane.name == name);
                planes.map(|plane| plane.serves().clone()).collect()
            }
            None => [cluster.to_owned()].into(),
        }
    }

    /// The control planes for which a gateway in this cluster and namespace must be there, by what they look into. Of
    /// one that is in this very namespace it is told at the control plane.
    pub fn discovering(&self, cluster: &str, namespace: &str) -> Vec<DiscoverySelectors> {
        let elsewhere = self.planes_for(cluster).filter(|plane| plane.namespace != namespace);
        elsewhere.map(|plane| plane.discovery.clone()).collect()
    }

    /// The control planes that serve a cluster: its own, or as a remote's the one that it names.
    pub(super) fn planes_for(&self, cluster: &str) -> impl Iterator<Item = &ControlPlaneAt> {
        let serving = self.served_by(cluster);
        self.control_planes.values().filter(move |plane| match serving {
            Some(name) => plane.name == name,
            None => plane.serves() == cluster,
        })
    }

    /// What the control planes look into whose configuration is in a cluster, of the meshes of a namespace.
    pub fn selectors_of(&self, cluster: &str, namespace: &str) -> Vec<DiscoverySelectors> {
        let planes = self.control_planes.values();
        let planes = planes.filter(|plane| plane.serves() == cluster && plane.namespace == namespace);
        planes.map(|plane| plane.discovery.clone()).collect()
    }

    /// Gateways that expose Services where those of this one count.
    pub(super) fn exposing_for<'a>(&'a self, gateway: &DeclaredGateway) -> Vec<&'a DeclaredGateway> {
        let places = self.configuration_of(&gateway.cluster);
        let exposing = self.gateways.values().filter(|other| other.exposes_services && !other.is_ambient);
        exposing.filter(|other| places.contains(&other.cluster)).collect()
    }

    /// Whether it lets calls to Services through.
    pub(super) fn opens(&self, gateway: &DeclaredGateway) -> bool {
        gateway.is_ambient || self.exposing_for(gateway).iter().any(|other| other.selector == gateway.selector)
    }
}

/// Ambient's gateway where its class is not known: nobody would make its Pods.
fn without_a_class(
    gateway: &DeclaredGateway,
    answering: &[&ControlPlaneAt],
    attribute: &'static str,
) -> Option<Finding> {
    if !gateway.is_ambient || answering.is_empty() || answering.iter().any(|plane| plane.ambient_networks) {
        return None;
    }
    // A variable that no values say: the istiod that has made the gateway knows its class.
    if gateway.stands && answering.iter().any(|plane| plane.is_ambient && plane.network.is_some()) {
        return None;
    }
    let why = match answering.iter().any(|plane| plane.is_ambient) {
        true => "has `ambient = true` but no `network`",
        false => "is not in ambient mode",
    };
    Some(Finding {
        severity: Severity::Error,
        attribute,
        summary: "No ambient control plane serves this gateway",
        detail: format!(
            "The gateway {} in cluster {} has `ambient = true`, but the control plane that serves it {why}: its istiod knows no class `istio-east-west`, and would never make the gateway's Pods. Set \
             `ambient = true` and `network` on the `mesh_primary`, or leave `ambient` out on the gateway.",
            gateway.name, gateway.cluster
        ),
    })
}

/// A gateway of sidecars that an istiod is to make where none runs. Ambient mode has no remotes.
fn unmade(gateway: &DeclaredGateway, served_by: &str, attribute: &'static str) -> Option<Finding> {
    (gateway.is_made_by_istiod && !gateway.is_ambient).then(|| Finding {
        severity: Severity::Error,
        attribute,
        summary: "No istiod makes this gateway",
        detail: format!(
            "The gateway {} in cluster {} has `gateway_api = true`, and the cluster is a remote of {served_by}: its istiod makes gateways in its own configuration cluster alone. Leave `gateway_api` \
             out there: the chart needs no istiod in the cluster.",
            gateway.name, gateway.cluster
        ),
    })
}

/// A door that tells by mTLS where a call goes, where nobody uses it.
fn without_mtls(gateway: &DeclaredGateway, answering: &[&ControlPlaneAt], attribute: &'static str) -> Option<Finding> {
    let opens = gateway.exposes_services || gateway.is_ambient;
    let is_off = !answering.is_empty() && answering.iter().all(|plane| plane.mtls == Mtls::Off);
    (opens && is_off).then(|| Finding {
        severity: Severity::Error,
        attribute: if gateway.is_ambient && attribute == "expose" { "ambient" } else { attribute },
        summary: "Calls between networks need mTLS",
        detail: format!(
            "The gateway {} in cluster {} lets calls from other networks through, and learns only from mTLS where each goes; the control plane has `mtls = \"off\"`. Leave `mtls` out on the \
             `mesh_primary`, or remove the gateway, where all clusters are in one network.",
            gateway.name, gateway.cluster
        ),
    })
}

/// A gateway that leads to the istiod of a namespace, where the control planes known are in others.
fn no_istiod_there(cluster: &str, namespace: &str, answering: &[&ControlPlaneAt]) -> Option<Finding> {
    if answering.is_empty() || answering.iter().any(|control_plane| control_plane.namespace == namespace) {
        return None;
    }
    let known: BTreeSet<&str> = answering.iter().map(|control_plane| control_plane.namespace.as_str()).collect();
    Some(Finding {
        severity: Severity::Warning,
        attribute: "expose",
        summary: "No control plane is known in this namespace",
        detail: format!(
            "`expose` opens the istiod of the namespace {namespace} in cluster {cluster}; the control plane known there is in {}. Set `istiod_namespace` in `expose` to the `namespace` \
             of its `mesh_primary`.",
            known.into_iter().collect::<Vec<_>>().join(", ")
        ),
    })
}
