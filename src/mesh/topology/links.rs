//! What the control planes at both ends of a link disagree on. Both may be declared before the link, or one of them
//! after it: whoever comes last is told.

use std::collections::BTreeMap;

use super::{ControlPlaneAt, Finding, Mtls, Severity, Topology, WatchedCluster};

/// A disagreement, with the attribute to change: of the link, or of the control plane that is declared after it.
struct Disagreement {
    severity: Severity,
    of_link: &'static str,
    of_control_plane: &'static str,
    summary: &'static str,
    detail: String,
}

impl Topology {
    /// The disagreements at both ends of each link of a watched cluster.
    pub(super) fn links(&self, declared: &WatchedCluster) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (end, other) in self.planes_at(declared).pairs() {
            findings.extend(disagreements(end, other).into_iter().map(Disagreement::at_the_link));
        }
        findings.dedup();
        findings
    }

    /// The same for a control plane, over the links declared before it.
    pub(super) fn links_of(&self, id: &str, declared: &ControlPlaneAt) -> Vec<Finding> {
        let others = self.control_planes.iter().filter(|(other, _)| *other != id).map(|(_, plane)| plane);
        let mut findings = Vec::new();
        for watched in self.watched.values() {
            let pairs = Ends::of(watched, others.clone().chain([declared])).pairs();
            let is_own = |end: &ControlPlaneAt| std::ptr::eq(end, declared);
            let own = pairs.into_iter().filter(|(one, other)| is_own(one) || is_own(other));
            findings.extend(own.flat_map(|(end, other)| disagreements(end, other)));
        }
        let mut findings: Vec<Finding> = findings.into_iter().map(Disagreement::at_the_control_plane).collect();
        // Two that watch each other disagree once.
        let mut seen = std::collections::BTreeSet::new();
        findings.retain(|finding| seen.insert((finding.attribute, finding.summary)));
        findings
    }

    pub(super) fn planes_in(&self, cluster: &str) -> Vec<&ControlPlaneAt> {
        self.control_planes.values().filter(|control_plane| control_plane.cluster == cluster).collect()
    }

    /// The control planes at both ends of a link.
    pub(super) fn planes_at(&self, declared: &WatchedCluster) -> Ends<'_> {
        Ends::of(declared, self.control_planes.values())
    }
}

/// The control planes that a link connects. Meshes that share clusters have links between the same clusters, each in
/// its own namespace.
pub(super) struct Ends<'a> {
    namespace: String,
    pub watched: Vec<&'a ControlPlaneAt>,
    /// By the provider's name for their cluster.
    pub watchers: BTreeMap<String, Vec<&'a ControlPlaneAt>>,
}

impl<'a> Ends<'a> {
    fn of(link: &WatchedCluster, planes: impl Iterator<Item = &'a ControlPlaneAt> + Clone) -> Self {
        let there = |cluster: &String| {
            let there = planes.clone().filter(|plane| plane.cluster == *cluster);
            within(there, &link.namespace)
        };
        Ends {
            namespace: link.namespace.clone(),
            watched: there(&link.cluster),
            watchers: link.watchers.iter().map(|watcher| (watcher.clone(), there(watcher))).collect(),
        }
    }

    pub fn all(&self) -> Vec<&'a ControlPlaneAt> {
        self.watched.iter().chain(self.watchers.values().flatten()).copied().collect()
    }

    /// Those that the link is to connect. One in another namespace counts only if it is of the same mesh: the mesh of
    /// the link may be declared later.
    pub fn pairs(&self) -> Vec<(&'a ControlPlaneAt, &'a ControlPlaneAt)> {
        let are_meant = |(one, other): &(&ControlPlaneAt, &ControlPlaneAt)| {
            let both_within = one.namespace == self.namespace && other.namespace == self.namespace;
            one.mesh_id == other.mesh_id || both_within
        };
        let watchers = self.watchers.values().flatten();
        let pairs = watchers.flat_map(|other| self.watched.iter().map(move |end| (*end, *other)));
        pairs.filter(are_meant).collect()
    }
}

/// Of control planes those in this namespace; all of them, if none is.
pub(super) fn within<'a>(planes: impl Iterator<Item = &'a ControlPlaneAt>, namespace: &str) -> Vec<&'a ControlPlaneAt> {
    let (within, others): (Vec<_>, Vec<_>) = planes.partition(|plane| plane.namespace == namespace);
    if within.is_empty() { others } else { within }
}

impl Disagreement {
    fn at_the_link(self) -> Finding {
        Finding { severity: self.severity, attribute: self.of_link, summary: self.summary, detail: self.detail }
    }

    fn at_the_control_plane(self) -> Finding {
        let attribute = self.of_control_plane;
        Finding { severity: self.severity, attribute, summary: self.summary, detail: self.detail }
    }
}

fn disagreements(watched: &ControlPlaneAt, watcher: &ControlPlaneAt) -> Vec<Disagreement> {
    let found = [
        roots(watched, watcher),
        meshes(watched, watcher),
        namespaces(watched, watcher),
        versions(watched, watcher),
        trust_domains(watched, watcher),
        ambient(watched, watcher),
        ambient_domains(watched, watcher),
        mtls(watched, watcher),
        networks(watched, watcher),
    ];
    found.into_iter().flatten().collect()
}

fn roots(watched: &ControlPlaneAt, watcher: &ControlPlaneAt) -> Option<Disagreement> {
    // Roots that both mesh configurations add may be each other's.
    if watched.trusts_more_roots && watcher.trusts_more_roots {
        return None;
    }
    let (root, other_root) = (watched.trust_root.as_ref()?, watcher.trust_root.as_ref()?);
    (root != other_root).then(|| Disagreement {
        severity: Severity::Error,
        of_link: "watchers",
        of_control_plane: "trust_root",
        summary: "Linked clusters trust different roots",
        detail: format!(
            "The control plane of {} must have the root {}…, that of {} {}…. Their proxies would refuse one another: give both an intermediate of one `mesh_ca`.",
            watched.cluster,
            shortened(root),
            watcher.cluster,
            shortened(other_root)
        ),
    })
}

fn meshes(watched: &ControlPlaneAt, watcher: &ControlPlaneAt) -> Option<Disagreement> {
    (watched.mesh_id != watcher.mesh_id).then(|| Disagreement {
        severity: Severity::Error,
        of_link: "watchers",
        of_control_plane: "mesh_id",
        summary: "Linked clusters belong to different meshes",
        detail: format!(
            "The control plane of {} has the mesh id {:?}, that of {} {:?}. Clusters that watch each other are one mesh: give them one `mesh_id`. Services of another mesh \
             are imported with `mesh_service_entry`.",
            watched.cluster, watched.mesh_id, watcher.cluster, watcher.mesh_id
        ),
    })
}

fn namespaces(watched: &ControlPlaneAt, watcher: &ControlPlaneAt) -> Option<Disagreement> {
    (watched.namespace != watcher.namespace).then(|| Disagreement {
        severity: Severity::Error,
        of_link: "namespace",
        of_control_plane: "namespace",
        summary: "Istio is in different namespaces",
        detail: format!(
            "Istio is in {} in cluster {} and in {} in {}; an istiod looks for the others under its own namespace's name.",
            watched.namespace, watched.cluster, watcher.namespace, watcher.cluster
        ),
    })
}

fn versions(watched: &ControlPlaneAt, watcher: &ControlPlaneAt) -> Option<Disagreement> {
    let (version, other_version) = (watched.version.as_deref()?, watcher.version.as_deref()?);
    (minor(version)?.abs_diff(minor(other_version)?) > 1).then(|| Disagreement {
        severity: Severity::Warning,
        of_link: "watchers",
        of_control_plane: "istio_version",
        summary: "Linked control planes are far apart in version",
        detail: format!(
            "{} runs Istio {version}, {} {other_version}: more than one minor version apart. Upgrade them one minor version at a time, all of them before the next.",
            watched.cluster, watcher.cluster
        ),
    })
}

/// Proxies accept their own trust domain and its aliases, as servers in whoever calls them and as clients in whom they
/// call.
fn trust_domains(watched: &ControlPlaneAt, watcher: &ControlPlaneAt) -> Option<Disagreement> {
    if watched.mtls == Mtls::Off && watcher.mtls == Mtls::Off {
        return None;
    }
    let refuses = |one: &ControlPlaneAt, other: &ControlPlaneAt| {
        let domain = &other.trust_domain;
        !one.any_trust_domain && one.trust_domain != *domain && !one.trust_domain_aliases.contains(domain)
    };
    let (one, other) = match (refuses(watched, watcher), refuses(watcher, watched)) {
        (true, _) => (watched, watcher),
        (false, true) => (watcher, watched),
        (false, false) => return None,
    };
    Some(Disagreement {
        severity: Severity::Error,
        of_link: "watchers",
        of_control_plane: "trust_domain_aliases",
        summary: "Linked clusters do not accept each other's trust domain",
        detail: format!(
            "Workloads of {} have the trust domain {:?}, which those of {} (trust domain {:?}) do not accept: calls between them are refused. Give both control planes one `trust_domain`, or \
             each the other's in `trust_domain_aliases`.",
            other.cluster, other.trust_domain, one.cluster, one.trust_domain
        ),
    })
}

fn ambient(watched: &ControlPlaneAt, watcher: &ControlPlaneAt) -> Option<Disagreement> {
    let (one, other) = (&watched.cluster, &watcher.cluster);
    let warning = |summary, detail| Disagreement {
        severity: Severity::Warning,
        of_link: "watchers",
        of_control_plane: "ambient",
        summary,
        detail,
    };
    if watched.is_ambient != watcher.is_ambient {
        let (ambient, sidecars) = if watched.is_ambient { (one, other) } else { (other, one) };
        return Some(warning(
            "Ambient mode at one end of a link",
            format!(
                "The control plane of {ambient} is in ambient mode, that of {sidecars} is not. With a `network`, the istiod of {ambient} tells its proxies of no endpoints in {sidecars} but those \
                 of Services with the label `istio.io/global=true`, and between networks {sidecars} reaches ambient workloads through a gateway for sidecars alone. Use one mode in both, or \
                 label the Services and keep a gateway of each kind."
            ),
        ));
    }
    let one_network = watched.network.is_none() || watcher.network.is_none() || watched.network == watcher.network;
    (watched.is_ambient && one_network).then(|| {
        warning(
            "Ambient mode over clusters of one network",
            format!(
                "{one} and {other} are in one network. Istio's multi-cluster support for ambient mode is for clusters that are each a network of their own; within one network it is untested. Give \
                 each a `network` of its own with a `mesh_eastwest_gateway` that has `ambient = true`."
            ),
        )
    })
}

/// ztunnel knows no aliases: it takes calls from its own trust domain alone, and expects that of its own istiod
/// wherever it calls.
fn ambient_domains(watched: &ControlPlaneAt, watcher: &ControlPlaneAt) -> Option<Disagreement> {
    let are_apart = watched.trust_domain != watcher.trust_domain;
    (watched.is_ambient && watcher.is_ambient && are_apart).then(|| Disagreement {
        severity: Severity::Warning,
        of_link: "watchers",
        of_control_plane: "trust_domain",
        summary: "Ambient mode takes one trust domain",
        detail: format!(
            "The trust domain of {} is {:?}, that of {} {:?}, and both are in ambient mode. The ztunnels of Istio known so far take no other trust domain than their own, whatever \
             `trust_domain_aliases` and `meshConfig.caCertificates` say: calls between the two fail. Give both control planes one `trust_domain`.",
            watched.cluster, watched.trust_domain, watcher.cluster, watcher.trust_domain
        ),
    })
}

fn mtls(watched: &ControlPlaneAt, watcher: &ControlPlaneAt) -> Option<Disagreement> {
    let (one, other) = (&watched.cluster, &watcher.cluster);
    let found = |severity, summary, detail| {
        Some(Disagreement { severity, of_link: "watchers", of_control_plane: "mtls", summary, detail })
    };
    let crosses = crosses(watched, watcher);
    let is_off = |plane: &ControlPlaneAt| plane.mtls == Mtls::Off;
    match (is_off(watched), is_off(watcher)) {
        (true, true) if crosses => found(
            Severity::Error,
            "Calls between networks need mTLS",
            format!(
                "{one} and {other} are in different networks, and their control planes have `mtls = \"off\"`. An east-west gateway learns only from mTLS where a call goes: without it no call crosses. Leave `mtls` out, or set it to \"strict\", on both, and give them one root (`mesh_ca`)."
            ),
        ),
        (true, false) | (false, true) => {
            let (off, on) = if is_off(watched) { (one, other) } else { (other, one) };
            found(
                Severity::Error,
                "Linked clusters differ in mTLS",
                format!(
                    "The control plane of {off} has `mtls = \"off\"`, that of {on} has not: workloads of {on} would call those of {off} with mTLS, and be refused. Set `mtls` to the same in both."
                ),
            )
        }
        (false, false) if crosses && !(watched.auto_mtls && watcher.auto_mtls) => {
            let without = if watched.auto_mtls { other } else { one };
            found(
                Severity::Warning,
                "Calls between networks may go without mTLS",
                format!(
                    "The values of {without} set `meshConfig.enableAutoMtls` to false, so that proxies use mTLS only where a DestinationRule says `ISTIO_MUTUAL`. {one} and {other} are in different \
                     networks, and no other call crosses. Remove the value, or write that rule for every Service that is called across."
                ),
            )
        }
        // Who watches calls.
        (false, false) if !crosses && !watcher.auto_mtls && watched.mtls == Mtls::Strict => found(
            Severity::Warning,
            "Clients speak plain text where servers take none",
            format!(
                "The values of {other} set `meshConfig.enableAutoMtls` to false, so that its proxies speak plain text, and the control plane of {one} has `mtls = \"strict\"`: workloads of {one} refuse calls from {other}, except where a DestinationRule says `ISTIO_MUTUAL`. Remove the value, or set `mtls` to \"permissive\"."
            ),
        ),
        _ => None,
    }
}

/// Mesh networks may put the end without a network into one, and ambient mode in one network is told for itself.
fn networks(watched: &ControlPlaneAt, watcher: &ControlPlaneAt) -> Option<Disagreement> {
    let ends = [watched, watcher];
    if ends.iter().any(|end| !end.mesh_networks.is_empty()) || ends.iter().all(|end| end.is_ambient) {
        return None;
    }
    let [one, other] = ends.map(|end| (end.serves().as_str(), end.network.as_deref()));
    half_named(one, other).map(|detail| Disagreement {
        severity: Severity::Warning,
        of_link: "watchers",
        of_control_plane: "network",
        summary: HALF_NAMED,
        detail,
    })
}

/// Of two ends of a link one alone names a network.
pub(super) const HALF_NAMED: &str = "Only one end of a link names a network";

/// What comes of it, where it is so. Each end is a cluster and its network. To istiod a proxy or an endpoint without a
/// network is in every network.
pub(super) fn half_named(one: (&str, Option<&str>), other: (&str, Option<&str>)) -> Option<String> {
    let ((named, network), unnamed) = match (one, other) {
        ((named, Some(network)), (unnamed, None)) | ((unnamed, None), (named, Some(network))) => {
            ((named, network), unnamed)
        }
        _ => return None,
    };
    Some(format!(
        "{named} is in network {network}, and {unnamed} names no network. istiod takes no network for every network: calls from {named} go to the addresses of Pods of {unnamed}. The \
         other way round, calls from {unnamed} go through a gateway of {network}, if there is one. Where Pods of one \
         cluster do not reach those of the other, these calls time out. Set `network` for {unnamed}: to {network} if it is the same network, else to another \
         name, with a `mesh_eastwest_gateway` for each network."
    ))
}

/// Whether calls between two clusters go through gateways.
pub(super) fn crosses(one: &ControlPlaneAt, other: &ControlPlaneAt) -> bool {
    one.network.is_some() && other.network.is_some() && one.network != other.network
}

pub(super) fn minor(version: &str) -> Option<u64> {
    let mut parts = version.trim_start_matches('v').split('.');
    (parts.next()? == "1").then(|| parts.next()?.parse().ok()).flatten()
}

fn shortened(fingerprint: &str) -> &str {
    fingerprint.get(..16).unwrap_or(fingerprint)
}
