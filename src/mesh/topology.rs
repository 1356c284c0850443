//! Who is linked to whom, and what contradicts that: found over what several resources declare, which each of them alone cannot see.
//!
//! Only what is certain whatever is declared later is an error: resources are planned in no fixed order. What a later declaration could still set right is
//! at most a warning, or left to the caller to make sure of ([`Topology::closed`]).

use std::collections::{BTreeMap, BTreeSet};

/// A control plane as declared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ControlPlaneAt {
    /// The provider's name for the cluster.
    pub cluster: String,
    /// The provider's name for the cluster whose configuration it reads and whose Pods it serves, where that is another.
    pub config_cluster: Option<String>,
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
    /// Whether its istiod waits until it has read the Secrets of the clusters it watches.
    pub reads_remote_secrets: bool,
    /// Revision tags that point to it.
    pub tags: BTreeSet<String>,
    /// Networks whose gateways its mesh networks name.
    pub gateways_named: BTreeSet<String>,
}

/// An east-west gateway as declared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeclaredGateway {
    /// The provider's name for the cluster.
    pub cluster: String,
    pub network: String,
    /// The revision that injects it; `None` is the default one.
    pub revision: Option<String>,
    /// The namespace of the istiod that it exposes, if it exposes one.
    pub exposes_istiod_of: Option<String>,
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
    /// Whether the watchers may read its Secrets.
    pub reads_secrets: bool,
    /// It, or that they may, is not there yet.
    pub is_new: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServedBy {
    pub control_plane: String,
    pub revision: Option<String>,
}

/// A certificate authority as declared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeclaredCa {
    /// Where the key of its root is kept.
    pub store: Option<SecretPlace>,
    /// Clusters that get an intermediate, by the provider's name for them, each with the system namespace.
    pub clusters: BTreeMap<String, String>,
    /// It does not exist yet.
    pub is_new: bool,
    /// That watchers may read the key is accepted.
    pub is_readable: bool,
}

/// A Secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecretPlace {
    /// The provider's name for the cluster.
    pub cluster: String,
    pub namespace: String,
    pub name: String,
}

/// What has been declared so far, by the id of the resource.
#[derive(Debug, Clone, Default)]
pub struct Topology {
    authorities: BTreeMap<String, DeclaredCa>,
    control_planes: BTreeMap<String, ControlPlaneAt>,
    watched: BTreeMap<String, WatchedCluster>,
    gateways: BTreeMap<String, DeclaredGateway>,
}

/// A network that a link crosses into, and of whose gateways nothing has been declared so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    pub network: String,
    /// The provider's names of the clusters in it.
    pub members: BTreeSet<String>,
    /// The provider's names of the watchers in other networks.
    pub from: BTreeSet<String>,
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

impl ControlPlaneAt {
    /// The provider's name for the cluster whose Pods it serves first of all.
    fn serves(&self) -> &String {
        self.config_cluster.as_ref().unwrap_or(&self.cluster)
    }
}

impl DeclaredCa {
    /// Whether the key is in the cluster, and not meant to be read by its watchers.
    fn is_kept_in(&self, cluster: &str) -> bool {
        !self.is_readable && self.store.as_ref().is_some_and(|store| store.cluster == cluster)
    }
}

impl Topology {
    /// Declares a control plane; what it contradicts.
    pub fn control_plane(&mut self, id: &str, declared: ControlPlaneAt) -> Vec<Finding> {
        let mut findings = Vec::new();
        for other in self.control_planes.iter().filter(|(other, _)| *other != id).map(|(_, other)| other) {
            if other.name == declared.name && other.cluster != declared.cluster {
                findings.push(same_name(&declared.name, &declared.cluster, &other.cluster));
            }
            let both_within = other.config_cluster.is_none() && declared.config_cluster.is_none();
            if other.cluster == declared.cluster && other.name != declared.name && both_within {
                findings.push(two_names(&declared.cluster, &declared.name, &other.name));
            }
        }
        findings.extend(ends_at_once(&declared));
        for watched in self.watched.values() {
            let own = watched.cluster == declared.cluster && declared.config_cluster.is_none();
            if own && watched.served_by.is_none() && watched.name != declared.name {
                findings.push(two_names(&declared.cluster, &declared.name, &watched.name));
            }
            findings.extend(unreadable(watched, &declared, "read_remote_secrets"));
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
            let own = control_plane.cluster == declared.cluster && control_plane.config_cluster.is_none();
            let serves = control_plane.config_cluster.as_ref() == Some(&declared.cluster);
            if own && declared.served_by.is_none() && control_plane.name != declared.name {
                findings.push(two_names(&declared.cluster, &declared.name, &control_plane.name));
            }
            if !own && !serves && control_plane.name == declared.name {
                findings.push(same_name(&declared.name, &declared.cluster, &control_plane.cluster));
            }
            if own && let Some(served) = &declared.served_by {
                findings.push(own_control_plane(&declared, served));
            }
            findings.extend(serving(&declared, control_plane));
        }
        for store in
            self.authorities.values().filter(|other| declared.reads_secrets && other.is_kept_in(&declared.cluster))
        {
            findings.push(readable_root(&declared, store, "read_secrets"));
        }
        findings.extend(self.control_planes.values().filter_map(|other| unreadable(&declared, other, "read_secrets")));
        findings.extend(self.config_cluster(&declared));
        findings.extend(self.links(&declared));
        findings.extend(self.revision_served(&declared));
        self.watched.insert(id.to_owned(), declared);
        findings
    }

    /// Declares a gateway; what it contradicts.
    pub fn gateway(&mut self, id: &str, declared: DeclaredGateway) -> Vec<Finding> {
        let there: Vec<&ControlPlaneAt> =
            self.control_planes.values().filter(|control_plane| control_plane.cluster == declared.cluster).collect();
        let answers = |control_plane: &&ControlPlaneAt| answers_to(control_plane, declared.revision.as_deref());
        let mut findings = Vec::new();
        if !there.is_empty() && !there.iter().any(answers) {
            findings.push(no_such_revision(&declared.cluster, declared.revision.as_deref(), &there));
        }
        if let Some(namespace) = &declared.exposes_istiod_of {
            let answering: Vec<&ControlPlaneAt> = there.into_iter().filter(answers).collect();
            findings.extend(no_istiod_there(&declared.cluster, namespace, &answering));
        }
        self.gateways.insert(id.to_owned(), declared);
        findings
    }

    /// Declares a certificate authority, by what tells it from all others; what it contradicts.
    pub fn authority(&mut self, id: &str, declared: DeclaredCa) -> Vec<Finding> {
        let mut findings = Vec::new();
        for other in self.authorities.iter().filter(|(other, _)| *other != id).map(|(_, other)| other) {
            if let Some(store) = declared.store.as_ref().filter(|store| other.store.as_ref() == Some(*store)) {
                findings.push(same_store(store));
            }
            let both = |(cluster, namespace): &(&String, &String)| other.clusters.get(*cluster) == Some(*namespace);
            let both: Vec<&str> = declared.clusters.iter().filter(both).map(|(cluster, _)| cluster.as_str()).collect();
            if !both.is_empty() {
                findings.push(two_authorities(&both));
            }
        }
        for watched in
            self.watched.values().filter(|watched| watched.reads_secrets && declared.is_kept_in(&watched.cluster))
        {
            findings.push(readable_root(watched, &declared, "root"));
        }
        self.authorities.insert(id.to_owned(), declared);
        findings
    }

    /// The network of a watched cluster, where watchers in other networks know of no gateway to it by what has been declared so far. More may be declared later.
    pub fn closed(&self, declared: &WatchedCluster) -> Option<Closed> {
        let own = self.network(&declared.cluster)?;
        let crossing = |watcher: &&String| self.network(watcher).is_some_and(|network| network != own);
        let named = |watcher: &&String| {
            let mut there = self.control_planes.values().filter(|control_plane| control_plane.cluster == **watcher);
            there.any(|control_plane| control_plane.gateways_named.contains(own))
        };
        let from: BTreeSet<String> =
            declared.watchers.iter().filter(crossing).filter(|watcher| !named(watcher)).cloned().collect();
        if from.is_empty() || self.gateways.values().any(|gateway| gateway.network == own) {
            return None;
        }
        let members = self.control_planes.values().filter(|other| other.network.as_deref() == Some(own));
        Some(Closed { network: own.to_owned(), members: members.map(|other| other.cluster.clone()).collect(), from })
    }

    /// The watchers of a cluster that are declared to be in its own network.
    pub fn neighbours(&self, declared: &WatchedCluster) -> Vec<String> {
        let Some(own) = self.network(&declared.cluster) else { return Vec::new() };
        declared.watchers.iter().filter(|watcher| self.network(watcher) == Some(own)).cloned().collect()
    }

    /// The network that a cluster's control plane is declared to be in.
    fn network(&self, cluster: &str) -> Option<&str> {
        let mut there = self.control_planes.values().filter(|control_plane| control_plane.cluster == cluster);
        there.find_map(|control_plane| control_plane.network.as_deref())
    }

    /// A configuration cluster whose control plane is declared to have another, or none.
    fn config_cluster(&self, declared: &WatchedCluster) -> Option<Finding> {
        declared.served_by.as_ref().filter(|served| served.control_plane == declared.name)?;
        let there = |control_plane: &&ControlPlaneAt| {
            declared.watchers.contains(&control_plane.cluster) && control_plane.namespace == declared.namespace
        };
        let there: Vec<&ControlPlaneAt> = self.control_planes.values().filter(there).collect();
        let read = there.iter().any(|control_plane| control_plane.config_cluster.as_ref() == Some(&declared.cluster));
        (!there.is_empty() && !read).then(|| Finding {
            // Another control plane of that namespace may be declared later.
            severity: Severity::Warning,
            attribute: "watchers",
            summary: "The control plane reads another configuration",
            detail: format!(
                "No control plane known of in cluster {} has `config_cluster = {:?}`. An istiod that does not wait for this cluster is not given its kubeconfig: take the `cluster` of the \
                 `mesh_primary` that has.",
                there[0].cluster, declared.cluster
            ),
        })
    }

    /// A remote that asks for a revision of its control plane which nobody has declared.
    fn revision_served(&self, declared: &WatchedCluster) -> Option<Finding> {
        let served = declared.served_by.as_ref()?;
        let named = self.control_planes.values().filter(|control_plane| control_plane.name == served.control_plane);
        let named: Vec<&ControlPlaneAt> = named.collect();
        // A control plane looks for webhooks of its own revision; tags do not count.
        let missing = !named.is_empty() && named.iter().all(|control_plane| control_plane.revision != served.revision);
        missing.then(|| no_such_revision(&served.control_plane, served.revision.as_deref(), &named))
    }

    /// A cluster as `from_registry` of mesh networks names it: by its id in Istio, not by the provider's name for it.
    pub fn registry(&self, name: &str) -> Registry {
        let control_planes = self.control_planes.values().map(|declared| (declared.serves(), &declared.name));
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

/// The key of the root within reach of whoever has a watcher's token. What is there already is no error: it works, and a plan is how it is changed.
fn readable_root(watched: &WatchedCluster, authority: &DeclaredCa, attribute: &'static str) -> Finding {
    let severity = if watched.is_new || authority.is_new { Severity::Error } else { Severity::Warning };
    let cluster = &watched.cluster;
    let watchers: Vec<&str> = watched.watchers.iter().map(String::as_str).collect();
    Finding {
        severity,
        attribute,
        summary: "The root's key is within the watchers' reach",
        detail: format!(
            "The key of a `mesh_ca` is kept in cluster {cluster}, whose Secrets the tokens of {} may read, as every istiod asks to: whoever gets hold of one of them can issue certificates for \
             the whole mesh. Keep `root.store` in a cluster that nobody watches, or keep the key yourself: `root.certificate` with `private_key_wo`. To accept it all the same, set \
             `readable_by_watchers = true` in `root.store`.",
            watchers.join(", ")
        ),
    }
}

/// An istiod that waits for Secrets that it may not read: it never gets in sync.
fn unreadable(watched: &WatchedCluster, watcher: &ControlPlaneAt, attribute: &'static str) -> Option<Finding> {
    let waits =
        watcher.reads_remote_secrets || watcher.version.as_deref().and_then(minor).is_some_and(|minor| minor < 31);
    if watched.reads_secrets
        || !waits
        || !watched.watchers.contains(&watcher.cluster)
        || watched.namespace != watcher.namespace
    {
        return None;
    }
    let (cluster, other) = (&watched.cluster, &watcher.cluster);
    let ways = match watcher.version.as_deref().and_then(minor) {
        Some(before @ ..31) => format!(
            "Istio 1.{before} always does. Leave `read_secrets` of the `mesh_remote_cluster` of {cluster} at `true`: whoever has a token of {other} can then read every Secret of \
             {cluster}, its `cacerts` among them."
        ),
        _ => format!(
            "Leave `read_secrets` of the `mesh_remote_cluster` of {cluster} at `true`; or, with Istio later than 1.31.0, set `read_remote_secrets = false` on the `mesh_primary` of \
             {other}, unless it serves gateways of other clusters that name credentials."
        ),
    };
    Some(Finding {
        severity: Severity::Error,
        attribute,
        summary: "An istiod waits for Secrets that it may not read",
        detail: format!(
            "The istiod of {other} watches {cluster}, and is in sync with it only when it has read its Secrets, for which it is given no right. {ways}"
        ),
    })
}

/// The version that brought the switch: its istiod takes what it does not start for started, and ends (a nil `CredentialsController` is asked whether it has synced).
fn ends_at_once(declared: &ControlPlaneAt) -> Option<Finding> {
    let broken = declared.version.as_deref().is_some_and(|version| version.trim_start_matches('v') == "1.31.0");
    (broken && !declared.reads_remote_secrets).then(|| Finding {
        severity: Severity::Error,
        attribute: "read_remote_secrets",
        summary: "This istiod would crash at the first cluster that it watches",
        detail: "With this setting istiod 1.31.0 crashes at the first remote secret. Leave `read_remote_secrets` out, or use a later version of Istio.".to_owned(),
    })
}

fn same_store(store: &SecretPlace) -> Finding {
    let SecretPlace { cluster, namespace, name } = store;
    Finding {
        severity: Severity::Error,
        attribute: "root",
        summary: "Two CAs with one store",
        detail: format!(
            "Another `mesh_ca` keeps its root in the Secret {cluster}/{namespace}/{name} too: each would make a root there, and one of the keys would be lost. One `mesh_ca` is \
             the CA of all clusters of a mesh: list them in its `clusters`. For meshes apart give each `store` another `name` or `namespace`."
        ),
    }
}

fn two_authorities(clusters: &[&str]) -> Finding {
    Finding {
        severity: Severity::Error,
        attribute: "clusters",
        summary: "Two CAs for one cluster",
        detail: format!(
            "Another `mesh_ca` writes the Secret cacerts in the same namespace of {} too; the two would overwrite each other's intermediate.",
            clusters.join(", ")
        ),
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

/// Whether Pods that ask for this revision are injected by the control plane.
fn answers_to(control_plane: &ControlPlaneAt, revision: Option<&str>) -> bool {
    control_plane.revision.as_deref() == revision || control_plane.tags.contains(revision.unwrap_or("default"))
}

fn no_such_revision(cluster: &str, revision: Option<&str>, there: &[&ControlPlaneAt]) -> Finding {
    let names = |control_plane: &&ControlPlaneAt| {
        let own = control_plane.revision.clone().unwrap_or_else(|| "the default one".to_owned());
        control_plane.tags.iter().cloned().fold(own, |names, tag| format!("{names}, {tag} (a tag)"))
    };
    let asked = revision.map_or("the default revision".to_owned(), |revision| format!("the revision {revision:?}"));
    Finding {
        // One that the configuration makes without being referred to may be declared later.
        severity: Severity::Warning,
        attribute: "revision",
        summary: "No control plane of this revision is known",
        detail: format!(
            "This asks for {asked}. Known of {cluster}: {}. Nothing would be injected or served by another one. If that control plane is in this configuration, take the \
             `revision` of its `mesh_primary`, so that it is there first.",
            there.iter().map(names).collect::<Vec<_>>().join("; ")
        ),
    }
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
            "This exposes the istiod of the namespace {namespace} in cluster {cluster}; the control plane known there is in {}. Set `istiod_namespace` in `expose` to the `namespace` \
             of its `mesh_primary`.",
            known.into_iter().collect::<Vec<_>>().join(", ")
        ),
    })
}

fn minor(version: &str) -> Option<u64> {
    let mut parts = version.trim_start_matches('v').split('.');
    (parts.next()? == "1").then(|| parts.next()?.parse().ok()).flatten()
}

fn shortened(fingerprint: &str) -> &str {
    fingerprint.get(..16).unwrap_or(fingerprint)
}

#[cfg(test)]
#[path = "topology_tests.rs"]
mod tests;
