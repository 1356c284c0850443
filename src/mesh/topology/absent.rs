//! What is missing by what has been declared so far. Resources are planned in no fixed order: it is true only when
//! nothing more is declared, which the caller makes sure of. Each absence is told once.

use std::collections::{BTreeMap, BTreeSet};

use super::{ControlPlaneAt, DeclaredGateway, Mtls, Registry, Topology, WatchedCluster};
use crate::mesh::discovery::DiscoverySelectors;
use crate::mesh::mesh_networks::{MeshNetwork, NetworkEndpoints};
use crate::mesh::name::Network;

/// Something that nobody has declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Absence {
    Closed(Closed),
    Unrooted(Unrooted),
    Unopened(Unopened),
    Unlisted(Unlisted),
    Undefined(Undefined),
}

/// A declaration that waits for values which are not known yet: it may bring what is missing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pending {
    Authority,
    Gateway,
    /// A remote, by the provider's name for its cluster.
    Remote(String),
    /// A control plane, by the provider's names for the cluster that it runs in and for the one that it serves; `None`
    /// where that is not known yet.
    ControlPlane {
        cluster: String,
        serves: Option<String>,
    },
}

/// A network that a link crosses into, and of whose gateways nothing has been declared that lets calls in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// The id of the link.
    pub id: String,
    /// The provider's name for the watched cluster.
    pub watched: String,
    pub namespace: String,
    pub network: String,
    /// The provider's names of the clusters in it.
    pub members: BTreeSet<String>,
    /// The provider's names of the watchers in other networks.
    pub from: BTreeSet<String>,
    /// Of each of those the clusters in which Gateways and mesh configurations count for it: itself, and those that its
    /// istiods serve.
    pub configured_in: BTreeMap<String, BTreeSet<String>>,
    /// Gateways of the network that take none of these calls, as `cluster/name`.
    pub shut: BTreeSet<String>,
    /// The calls are ambient mode's, which take gateways of ambient mode alone.
    pub by_tunnels: bool,
}

/// A link whose ends may each sign by a root of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unrooted {
    /// The id of the link.
    pub id: String,
    /// The provider's names of the clusters.
    pub watched: String,
    pub watchers: BTreeSet<String>,
    pub namespace: String,
    /// Whether calls between them go through gateways.
    pub crosses: bool,
}

/// A gateway that lets nothing through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unopened {
    pub id: String,
    /// The provider's name for the cluster.
    pub cluster: String,
    pub name: String,
    pub selector: String,
    pub stands: bool,
    /// Of a remote's: the control plane that serves it, and the clusters where a Gateway would open it.
    pub served: Option<(String, BTreeSet<String>)>,
    /// The namespaces that the istiods look into which read Gateways for it, as far as they are declared.
    pub looks_into: Vec<DiscoverySelectors>,
    /// Names of gateways there that would, were they of this name.
    pub others: BTreeSet<String>,
}

/// A cluster that mesh networks name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unlisted {
    /// The id of the control plane.
    pub id: String,
    pub network: String,
    /// Which of the network's endpoints.
    pub index: usize,
    pub name: String,
}

/// A gateway that istiod is to make from a Gateway of the Gateway API, whose definitions no control plane brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undefined {
    pub id: String,
    /// The provider's name for the cluster.
    pub cluster: String,
    pub is_ambient: bool,
}

impl Absence {
    /// The id of the resource it is told at.
    pub fn id(&self) -> &str {
        match self {
            Self::Closed(closed) => &closed.id,
            Self::Unrooted(unrooted) => &unrooted.id,
            Self::Unopened(unopened) => &unopened.id,
            Self::Unlisted(unlisted) => &unlisted.id,
            Self::Undefined(undefined) => &undefined.id,
        }
    }

    fn key(&self) -> String {
        match self {
            Self::Closed(closed) => format!("closed {}", closed.id),
            Self::Unrooted(unrooted) => format!("unrooted {}", unrooted.id),
            Self::Unopened(unopened) => format!("unopened {}", unopened.id),
            Self::Unlisted(unlisted) => format!("unlisted {} {}", unlisted.id, unlisted.name),
            Self::Undefined(undefined) => format!("undefined {}", undefined.id),
        }
    }
}

/// Two clusters that have no root in common, in whichever order.
fn pair(one: &str, other: &str) -> String {
    format!("unrooted pair {} {}", one.min(other), one.max(other))
}

/// Whether control planes, if there are any, have ztunnels call across networks.
fn tunnels(planes: &[&ControlPlaneAt]) -> bool {
    !planes.is_empty() && planes.iter().all(|plane| plane.ambient_networks)
}

/// Whether mesh networks list a gateway of a network.
fn lists(plane: &ControlPlaneAt, network: &str) -> bool {
    let is_listed =
        |(name, described): (&Network, &MeshNetwork)| name.as_str() == network && !described.gateways.is_empty();
    plane.mesh_networks.0.iter().any(is_listed)
}

impl Topology {
    /// What is missing so far and has not been told.
    pub fn absences(&self) -> Vec<Absence> {
        let closed = self.watched.iter().filter_map(|(id, watched)| self.closed(id, watched)).map(Absence::Closed);
        // Clusters that watch each other are one pair, and told once.
        let mut pairs = self.told.clone();
        let unrooted = self.watched.iter().filter_map(move |(id, watched)| {
            let mut unrooted = self.unrooted(id, watched)?;
            let Unrooted { watched, watchers, .. } = &mut unrooted;
            watchers.retain(|watcher| pairs.insert(pair(watched, watcher)));
            (!unrooted.watchers.is_empty()).then_some(Absence::Unrooted(unrooted))
        });
        let unopened = self.gateways.keys().filter_map(|id| self.unopened(id)).map(Absence::Unopened);
        let unlisted = self.control_planes.iter().flat_map(|(id, plane)| self.unlisted(id, plane));
        let undefined = self.gateways.iter().filter_map(|(id, gateway)| self.undefined(id, gateway));
        let absences = closed.chain(unrooted).chain(unopened).chain(unlisted.map(Absence::Unlisted));
        let absences = absences.chain(undefined.map(Absence::Undefined));
        absences.filter(|absence| !self.told.contains(&absence.key())).collect()
    }

    /// Declares something that is not known in full yet.
    pub fn pending(&mut self, what: Pending) {
        self.pending.insert(what);
    }

    /// Whether a control plane that runs in this cluster waits for values.
    pub(super) fn awaits_plane_in(&self, name: &str) -> bool {
        let is_here = |what: &Pending| matches!(what, Pending::ControlPlane { cluster, .. } if cluster == name);
        self.pending.iter().any(is_here)
    }

    /// Whether one does that serves this cluster, or may.
    pub(super) fn awaits_plane_of(&self, name: &str) -> bool {
        let serves = |what: &Pending| match what {
            Pending::ControlPlane { serves, .. } => serves.as_ref().is_none_or(|serves| serves == name),
            _ => false,
        };
        self.pending.iter().any(serves)
    }

    /// Whether any does.
    pub(super) fn awaits_a_plane(&self) -> bool {
        self.pending.iter().any(|what| matches!(what, Pending::ControlPlane { .. }))
    }

    /// Nothing more is to be said of it.
    pub fn tell(&mut self, absence: &Absence) {
        self.told.insert(absence.key());
        if let Absence::Unrooted(unrooted) = absence {
            self.told.extend(unrooted.watchers.iter().map(|watcher| pair(&unrooted.watched, watcher)));
        }
    }

    /// Whether a gateway of this id has been declared.
    pub fn knows_gateway(&self, id: &str) -> bool {
        self.gateways.contains_key(id)
    }

    /// The network of a watched cluster, where watchers in other networks know of no gateway to it.
    pub(super) fn closed(&self, id: &str, declared: &WatchedCluster) -> Option<Closed> {
        // A new remote's gateway comes after the link: it needs an injector.
        if declared.served_by.is_some() && !declared.stands || self.pending.contains(&Pending::Gateway) {
            return None;
        }
        let own = self.network(&declared.cluster, &declared.namespace).flatten()?;
        let ends = self.planes_at(declared);
        let at = |watcher: &String| ends.watchers.get(watcher).map(Vec::as_slice).unwrap_or_default();
        let by_tunnels = |watcher: &String| tunnels(&ends.watched) && tunnels(at(watcher));
        let doors: Vec<_> = self.gateways.values().filter(|gateway| gateway.network == own).collect();
        let leads = |door: &DeclaredGateway, watcher: &String| match by_tunnels(watcher) {
            true => door.is_ambient,
            // One that lets nothing at all through is told for itself.
            false => self.opens(door) || door.exposes_istiod_of.is_none(),
        };
        let is_lost = |watcher: &String| {
            !at(watcher).iter().any(|plane| lists(plane, own)) && !doors.iter().any(|door| leads(door, watcher))
        };
        let from: BTreeSet<String> = self.crossing(declared).into_iter().filter(is_lost).collect();
        if from.is_empty() {
            return None;
        }
        let configured_in = from.iter().map(|watcher| {
            let served = at(watcher).iter().map(|plane| plane.serves().clone());
            (watcher.clone(), served.chain([watcher.clone()]).collect())
        });
        let planes = self.control_planes.values().filter(|plane| plane.network.as_deref() == Some(own));
        let remotes = self.watched.values().filter(|watched| watched.network.as_deref() == Some(own));
        let members = planes.map(|plane| plane.serves().clone()).chain(remotes.map(|watched| watched.cluster.clone()));
        Some(Closed {
            id: id.to_owned(),
            watched: declared.cluster.clone(),
            namespace: declared.namespace.clone(),
            network: own.to_owned(),
            members: members.collect(),
            configured_in: configured_in.collect(),
            by_tunnels: from.iter().all(by_tunnels),
            from,
            shut: doors.iter().map(|door| format!("{}/{}", door.cluster, door.name)).collect(),
        })
    }

    /// The ends of a link that nobody gives a common root, where they speak mTLS.
    fn unrooted(&self, id: &str, declared: &WatchedCluster) -> Option<Unrooted> {
        if self.pending.contains(&Pending::Authority) {
            return None;
        }
        let pairs = self.planes_at(declared).pairs();
        let apart = pairs.iter().filter(|(end, other)| self.are_apart(end, other));
        let watchers: BTreeSet<String> = apart.map(|(_, other)| other.cluster.clone()).collect();
        let crosses =
            pairs.iter().any(|(end, other)| watchers.contains(&other.cluster) && super::links::crosses(end, other));
        (!watchers.is_empty()).then(|| Unrooted {
            id: id.to_owned(),
            watched: declared.cluster.clone(),
            namespace: declared.namespace.clone(),
            crosses,
            watchers,
        })
    }

    fn are_apart(&self, end: &ControlPlaneAt, other: &ControlPlaneAt) -> bool {
        let both_off = end.mtls == Mtls::Off && other.mtls == Mtls::Off;
        // Roots that both mesh configurations add may be each other's. A mesh of another id is an error for itself.
        let add_roots = end.trusts_more_roots && other.trusts_more_roots;
        if both_off || add_roots || end.mesh_id != other.mesh_id {
            return false;
        }
        let signs_for =
            |plane: &ControlPlaneAt, ca: &super::DeclaredCa| ca.clusters.get(&plane.cluster) == Some(&plane.namespace);
        let named = |plane: &ControlPlaneAt| plane.trust_root.is_some() || plane.root_follows;
        let signed = |plane: &ControlPlaneAt| self.authorities.values().any(|ca| signs_for(plane, ca));
        let by_one = self.authorities.values().any(|ca| signs_for(end, ca) && signs_for(other, ca));
        let by_name = (named(end) || named(other)) && (named(end) || signed(end)) && (named(other) || signed(other));
        !by_one && !by_name
    }

    fn unlisted(&self, id: &str, plane: &ControlPlaneAt) -> Vec<Unlisted> {
        let may_be_named = |what: &Pending| matches!(what, Pending::Remote(_) | Pending::ControlPlane { .. });
        if self.pending.iter().any(may_be_named) {
            return Vec::new();
        }
        let mut unlisted = Vec::new();
        for (network, described) in &plane.mesh_networks.0 {
            for (index, endpoints) in described.endpoints.iter().enumerate() {
                let NetworkEndpoints::FromRegistry(name) = endpoints else { continue };
                if self.registry(name.as_str()) == Registry::Undeclared {
                    let (network, name) = (network.to_string(), name.to_string());
                    unlisted.push(Unlisted { id: id.to_owned(), network, index, name });
                }
            }
        }
        unlisted
    }

    /// One that is there already has found its definitions. A control plane that is not known in full may bring them.
    fn undefined(&self, id: &str, gateway: &DeclaredGateway) -> Option<Undefined> {
        let here = |plane: &&ControlPlaneAt| plane.cluster == gateway.cluster;
        let brought = self.control_planes.values().filter(here).any(|plane| plane.brings_gateway_api);
        let pending = self.awaits_plane_in(&gateway.cluster);
        (gateway.is_made_by_istiod && !gateway.stands && !brought && !pending).then(|| Undefined {
            id: id.to_owned(),
            cluster: gateway.cluster.clone(),
            is_ambient: gateway.is_ambient,
        })
    }

    fn unopened(&self, id: &str) -> Option<Unopened> {
        let gateway = self.gateways.get(id)?;
        if self.pending.contains(&Pending::Remote(gateway.cluster.clone()))
            || self.opens(gateway)
            || gateway.exposes_istiod_of.is_some()
        {
            return None;
        }
        let served =
            self.served_by(&gateway.cluster).map(|name| (name.to_owned(), self.configuration_of(&gateway.cluster)));
        Some(Unopened {
            id: id.to_owned(),
            cluster: gateway.cluster.clone(),
            name: gateway.name.clone(),
            selector: gateway.selector.clone(),
            stands: gateway.stands,
            served,
            looks_into: self.planes_for(&gateway.cluster).map(|plane| plane.discovery.clone()).collect(),
            others: self.exposing_for(gateway).into_iter().map(|other| other.name.clone()).collect(),
        })
    }
}
