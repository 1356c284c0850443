//! Who is linked to whom, and what contradicts that: found over what several resources declare, which each of them
//! alone cannot see.
//!
//! Only what is certain whatever is declared later is an error: resources are planned in no fixed order. What a later
//! declaration could still set right is at most a warning, or left to the caller to make sure of
//! ([`Topology::absences`]).

mod absent;
mod aliases;
mod doors;
mod links;
mod names;
mod networks;
mod remotes;
mod secrets;
mod unlike;

use std::collections::{BTreeMap, BTreeSet};

pub use absent::{Absence, Closed, Pending, Undefined, Unlisted, Unopened, Unrooted};
pub use unlike::Ruling;

use super::discovery::DiscoverySelectors;
use super::mesh_networks::MeshNetworks;
use super::policy::MeshPolicy;
use aliases::Aliases;
use names::{of_one_mesh, same_name, two_names, watches_itself};
use remotes::{of_control_plane, own_control_plane, serving};
use secrets::{another_account, ends_at_once, readable_root, same_store, two_authorities, unreadable, without_token};

/// A control plane as declared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ControlPlaneAt {
    /// The provider's name for the cluster.
    pub cluster: String,
    /// The provider's name for the cluster whose configuration it reads and whose Pods it serves, where that is
    /// another.
    pub config_cluster: Option<String>,
    /// The id in Istio.
    pub name: String,
    pub namespace: String,
    pub revision: Option<String>,
    pub mesh_id: String,
    pub network: Option<String>,
    /// Fingerprint of the root it must have.
    pub trust_root: Option<String>,
    /// It must have a root whose fingerprint is not known yet.
    pub root_follows: bool,
    /// Its mesh configuration adds roots (`caCertificates`) to that one.
    pub trusts_more_roots: bool,
    /// The trust domain of its workloads.
    pub trust_domain: String,
    /// Further trust domains that its proxies accept: aliases, and those of roots that are added.
    pub trust_domain_aliases: BTreeSet<String>,
    /// Its proxies accept every trust domain.
    pub any_trust_domain: bool,
    /// Ambient mode.
    pub is_ambient: bool,
    /// It tells ztunnels, and its proxies, of endpoints in other clusters as ambient mode does: of those of global
    /// Services alone.
    pub ambient_networks: bool,
    pub mtls: Mtls,
    /// Proxies use mTLS towards whoever can, unasked.
    pub auto_mtls: bool,
    pub version: Option<String>,
    /// Whether it serves remotes.
    pub external_istiod: bool,
    /// The audiences of the tokens of its own that its istiod has for links.
    pub link_audiences: BTreeSet<String>,
    /// Whether its istiod waits until it has read the Secrets of the clusters it watches.
    pub reads_remote_secrets: bool,
    /// Whether it brings the definitions of the Gateway API, or may.
    pub brings_gateway_api: bool,
    /// Revision tags that point to it.
    pub tags: BTreeSet<String>,
    /// Networks that labels do not describe.
    pub mesh_networks: MeshNetworks,
    /// What its mesh configuration says that must be alike in the mesh, where that is known.
    pub policy: Option<MeshPolicy>,
    /// The namespaces that it looks into.
    pub discovery: DiscoverySelectors,
}

/// What a control plane makes of mTLS between its workloads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mtls {
    /// Nobody uses it.
    Off,
    /// Who can uses it, and plain text is taken as well.
    #[default]
    Permissive,
    /// Plain text is refused.
    Strict,
}

/// An east-west gateway as declared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeclaredGateway {
    /// The provider's name for the cluster.
    pub cluster: String,
    pub name: String,
    pub network: String,
    /// The label `istio` of its Pods, by which the Gateway of another one may open it as well.
    pub selector: String,
    pub is_ambient: bool,
    /// An istiod makes it, from a Gateway of the Gateway API.
    pub is_made_by_istiod: bool,
    pub exposes_services: bool,
    /// It has been there since an earlier apply.
    pub stands: bool,
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
    /// The audience of the istiods' own tokens by which they log in, if they do.
    pub link_audience: Option<String>,
    /// The watchers whose istiods are taken to have the usual user name there, by such a token.
    pub usual_users: BTreeSet<String>,
    /// Whether the watchers may read its Secrets.
    pub reads_secrets: bool,
    /// It, or that they may, is not there yet.
    pub is_new: bool,
    /// In the mode remote: its network.
    pub network: Option<String>,
    /// It has been linked since an earlier apply.
    pub stands: bool,
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
    aliases: Aliases,
    /// Declared, and not known in full yet.
    pending: BTreeSet<Pending>,
    /// Absences and differences that have been told.
    told: BTreeSet<String>,
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

impl Finding {
    fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl ControlPlaneAt {
    /// The provider's name for the cluster whose Pods it serves first of all.
    fn serves(&self) -> &String {
        self.config_cluster.as_ref().unwrap_or(&self.cluster)
    }
}

impl DeclaredCa {
    /// Where the key is that is not meant to be read by watchers.
    fn hidden(&self) -> Option<&SecretPlace> {
        self.store.as_ref().filter(|_| !self.is_readable)
    }
}

/// The one that is in this namespace, or else the only one.
pub fn only_or_in<'a, T>(there: impl Iterator<Item = (&'a str, T)>, namespace: &str) -> Option<T> {
    let mut others = Vec::new();
    for (place, found) in there {
        if place == namespace {
            return Some(found);
        }
        others.push(found);
    }
    (others.len() == 1).then(|| others.pop()).flatten()
}

impl Topology {
    /// Notes what tells a cluster from all others, by the provider's name for it.
    pub fn note_uid(&mut self, name: &str, uid: &str) {
        self.aliases.note(name, uid);
    }

    /// The key of a root that the watchers of a cluster may read there, as it calls the cluster.
    fn read_by_watchers(&self, authority: &DeclaredCa, watched: &WatchedCluster) -> Option<String> {
        let store = authority.hidden().filter(|_| watched.reads_secrets)?;
        let is_there = self.aliases.is_one(&store.cluster, &watched.cluster);
        is_there.then(|| self.aliases.shown(&store.cluster, &watched.cluster))
    }

    /// Declares a control plane; what it contradicts.
    pub fn control_plane(&mut self, id: &str, declared: ControlPlaneAt) -> Vec<Finding> {
        let mut findings = Vec::new();
        for other in self.control_planes.iter().filter(|(other, _)| *other != id).map(|(_, other)| other) {
            // One cluster may have two of them: a revision in another hub, or beside the istiods within.
            if other.name == declared.name && other.serves() != declared.serves() && of_one_mesh(&declared, other) {
                findings.push(same_name(&declared.name, declared.serves(), other.serves()));
            }
            let both_within = other.config_cluster.is_none() && declared.config_cluster.is_none();
            // Independent meshes, each in a namespace of the cluster, call it what they like.
            let both_within = both_within && (other.namespace == declared.namespace || of_one_mesh(&declared, other));
            if other.cluster == declared.cluster && other.name != declared.name && both_within {
                findings.push(two_names(&declared.cluster, &declared.name, &other.name));
            }
        }
        findings.extend(ends_at_once(&declared));
        for watched in self.watched.values() {
            let own = watched.cluster == declared.cluster && declared.config_cluster.is_none();
            let is_its = own && watched.namespace == declared.namespace;
            if is_its && watched.served_by.is_none() && watched.name != declared.name {
                findings.push(two_names(&declared.cluster, &declared.name, &watched.name));
            }
            if watches_itself(&declared, watched) {
                findings.push(same_name(&declared.name, &declared.cluster, &watched.cluster));
            }
            findings.extend(unreadable(watched, &declared, "read_remote_secrets"));
            findings.extend(without_token(watched, &declared));
            findings.extend(another_account(watched, &declared));
            findings.extend(
                serving(watched, &declared).map(|finding| Finding { attribute: of_control_plane(&finding), ..finding }),
            );
        }
        findings.extend(self.links_of(id, &declared));
        findings.extend(self.remotes_apart(&declared));
        findings.extend(self.shadowed(id, &declared));
        findings.extend(self.doors_of(&declared));
        if !findings.iter().any(Finding::is_error) {
            findings.extend(self.unlike_others(id, &declared));
        }
        self.control_planes.insert(id.to_owned(), declared);
        findings
    }

    /// Declares a watched cluster; what it contradicts.
    pub fn watched(&mut self, id: &str, declared: WatchedCluster) -> Vec<Finding> {
        let mut findings = Vec::new();
        for other in self.watched.iter().filter(|(other, _)| *other != id).map(|(_, other)| other) {
            let by_one = other.namespace == declared.namespace && !other.watchers.is_disjoint(&declared.watchers);
            if other.name == declared.name && other.cluster != declared.cluster && by_one {
                findings.push(same_name(&declared.name, &declared.cluster, &other.cluster));
            }
        }
        for control_plane in self.control_planes.values() {
            let own = control_plane.cluster == declared.cluster && control_plane.config_cluster.is_none();
            let is_its = own && control_plane.namespace == declared.namespace;
            if is_its && declared.served_by.is_none() && control_plane.name != declared.name {
                findings.push(two_names(&declared.cluster, &declared.name, &control_plane.name));
            }
            if watches_itself(control_plane, &declared) {
                findings.push(same_name(&declared.name, &declared.cluster, &control_plane.cluster));
            }
            if own && let Some(served) = &declared.served_by {
                findings.push(own_control_plane(&declared, served));
            }
            findings.extend(serving(&declared, control_plane));
        }
        for authority in self.authorities.values() {
            let place = self.read_by_watchers(authority, &declared);
            findings.extend(place.map(|place| readable_root(&declared, authority, &place, "read_secrets")));
        }
        findings.extend(self.aliases.of_link(&declared));
        findings.extend(self.control_planes.values().filter_map(|other| unreadable(&declared, other, "read_secrets")));
        findings.extend(self.control_planes.values().filter_map(|other| without_token(&declared, other)));
        findings.extend(self.control_planes.values().filter_map(|other| another_account(&declared, other)));
        findings.extend(self.config_cluster(&declared));
        findings.extend(self.links(&declared));
        findings.extend(self.remote_apart(&declared));
        findings.extend(self.shadowed_by(&declared));
        findings.extend(self.revision_served(&declared));
        findings.extend(self.unmade_in(&declared));
        findings.extend(self.uninjected_in(id, &declared));
        // What is refused says already what differs.
        if !findings.iter().any(Finding::is_error) {
            findings.extend(self.unlike_at(&declared));
        }
        self.watched.insert(id.to_owned(), declared);
        findings
    }

    /// Declares a certificate authority, by what tells it from all others; what it contradicts.
    pub fn authority(&mut self, id: &str, declared: DeclaredCa) -> Vec<Finding> {
        let mut findings = Vec::new();
        for other in self.authorities.iter().filter(|(other, _)| *other != id).map(|(_, other)| other) {
            let stores = declared.store.as_ref().zip(other.store.as_ref());
            let is_same = |(store, other): &(&SecretPlace, &SecretPlace)| {
                let place = |store: &SecretPlace| (store.namespace.clone(), store.name.clone());
                place(store) == place(other) && self.aliases.is_one(&store.cluster, &other.cluster)
            };
            if let Some((store, other)) = stores.filter(is_same) {
                findings.push(same_store(store, &self.aliases.shown(&store.cluster, &other.cluster)));
            }
            let both = declared.clusters.iter().filter_map(|(cluster, namespace)| {
                let mut others = other.clusters.iter().filter(|(_, place)| *place == namespace);
                let (as_other, _) = others.find(|(other, _)| self.aliases.is_one(cluster, other))?;
                Some((cluster == as_other, self.aliases.shown(cluster, as_other)))
            });
            let (certain, by_uid): (Vec<_>, Vec<_>) = both.partition(|(by_name, _)| *by_name);
            for (both, severity) in [(certain, Severity::Error), (by_uid, Severity::Warning)] {
                let both: Vec<String> = both.into_iter().map(|(_, shown)| shown).collect();
                if !both.is_empty() {
                    findings.push(two_authorities(&both, severity));
                }
            }
        }
        for watched in self.watched.values() {
            let place = self.read_by_watchers(&declared, watched);
            findings.extend(place.map(|place| readable_root(watched, &declared, &place, "root")));
        }
        findings.extend(self.aliases.within(&declared));
        self.authorities.insert(id.to_owned(), declared);
        findings
    }

    /// The version of a control plane that serves a revision, or a tag, in a cluster.
    pub fn version_of(&self, cluster: &str, namespace: &str, revision: Option<&str>) -> Option<Option<String>> {
        let planes = self.control_planes.values().filter(|plane| plane.cluster == cluster);
        let there = planes.filter(|plane| remotes::answers_to(plane, revision));
        only_or_in(there.map(|plane| (plane.namespace.as_str(), plane.version.clone())), namespace)
    }

    /// The provider's name for the cluster in which the control plane of this id in Istio runs.
    pub fn runs_in(&self, name: &str, revision: Option<&str>) -> Option<String> {
        let mut named = self.control_planes.values().filter(|plane| plane.name == name);
        named.find(|plane| plane.revision.as_deref() == revision).map(|plane| plane.cluster.clone())
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
}

#[cfg(test)]
mod ambient_tests;
#[cfg(test)]
mod doors_tests;
#[cfg(test)]
mod findings_tests;
#[cfg(test)]
mod tests;
