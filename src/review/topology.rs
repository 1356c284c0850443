//! Who sees whom, and by which door: the mesh of a plan before and after.

use std::collections::{BTreeMap, BTreeSet};

use super::read::{Instance, Plan, Reading, Type};

/// One side of a plan.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Mesh {
    pub clusters: BTreeMap<String, Cluster>,
    pub links: BTreeSet<Link>,
    /// Clusters that hold a gateway which lets Services through, by network.
    pub gateways: BTreeMap<String, BTreeSet<String>>,
    /// Ids of the meshes that a cluster is in, as far as its control planes say.
    pub ids: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Cluster {
    pub networks: BTreeSet<String>,
    /// Revisions of its control planes; the default one is `default`.
    pub control_planes: BTreeSet<String>,
    /// Served by a control plane elsewhere.
    pub remote: bool,
}

/// The istiods of `watcher` read `watched`: clients there know its services.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    pub watcher: String,
    pub watched: String,
}

/// Stands for a name that is made in the same apply.
pub const UNKNOWN: &str = "(known after apply)";

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Topology {
    pub before: Mesh,
    pub after: Mesh,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Before,
    After,
}

impl Topology {
    pub fn of(plan: &Plan) -> Self {
        let side = |side| {
            let mut mesh = Mesh::default();
            plan.instances.iter().for_each(|instance| mesh.add(instance, side));
            mesh.share_ids();
            mesh
        };
        Self { before: side(Side::Before), after: side(Side::After) }
    }

    /// Of clusters and networks, as far as they are known.
    pub fn names(&self) -> BTreeSet<&str> {
        [&self.before, &self.after].into_iter().flat_map(Mesh::names).filter(|name| *name != UNKNOWN).collect()
    }

    /// With other names.
    pub fn renamed(&self, text: &dyn Fn(&str) -> String) -> Self {
        Self { before: self.before.renamed(text), after: self.after.renamed(text) }
    }

    pub fn joining(&self) -> Vec<&str> {
        self.after.clusters.keys().map(String::as_str).filter(|name| self.joins(name)).collect()
    }

    pub fn leaving(&self) -> Vec<&str> {
        self.before.clusters.keys().map(String::as_str).filter(|name| self.leaves(name)).collect()
    }

    pub fn joins(&self, cluster: &str) -> bool {
        self.after.keeps(cluster) && !self.before.keeps(cluster)
    }

    /// This plan kept the cluster in the mesh, and does so no more. Of a cluster that another state keeps it says
    /// nothing, and the cluster stays.
    pub fn leaves(&self, cluster: &str) -> bool {
        self.before.keeps(cluster) && !self.after.keeps(cluster)
    }

    pub fn new_links(&self) -> Vec<&Link> {
        self.after.links.difference(&self.before.links).collect()
    }

    /// Not those that may be among the ones that are not known yet.
    pub fn lost_links(&self) -> Vec<&Link> {
        let may_stay = |link: &&Link| self.after.watchers_of(&link.watched).any(|watcher| watcher == UNKNOWN);
        self.before.links.difference(&self.after.links).filter(|link| !may_stay(link)).collect()
    }
}

impl Mesh {
    fn names(&self) -> impl Iterator<Item = &str> {
        let links = self.links.iter().flat_map(|link| [&link.watcher, &link.watched]);
        let networks = self.clusters.values().flat_map(|cluster| &cluster.networks).chain(self.gateways.keys());
        let doors = self.gateways.values().flatten();
        self.clusters.keys().chain(links).chain(networks).chain(doors).map(String::as_str)
    }

    fn renamed(&self, text: &dyn Fn(&str) -> String) -> Self {
        let Self { clusters, links, gateways, ids } = self;
        // What stands for a name is nobody's secret.
        let text = |name: &str| if name == UNKNOWN { name.to_owned() } else { text(name) };
        let set = |names: &BTreeSet<String>| names.iter().map(|name| text(name)).collect::<BTreeSet<_>>();
        let sets =
            |of: &BTreeMap<String, BTreeSet<String>>| of.iter().map(|(name, all)| (text(name), set(all))).collect();
        let cluster = |Cluster { networks, control_planes, remote }: &Cluster| Cluster {
            networks: set(networks),
            control_planes: set(control_planes),
            remote: *remote,
        };
        let link = |Link { watcher, watched }: &Link| Link { watcher: text(watcher), watched: text(watched) };
        Self {
            clusters: clusters.iter().map(|(name, of)| (text(name), cluster(of))).collect(),
            links: links.iter().map(link).collect(),
            gateways: sets(gateways),
            ids: sets(ids),
        }
    }

    /// What makes the cluster one of the mesh is in this plan: a control plane, or what stands in for one.
    pub fn keeps(&self, cluster: &str) -> bool {
        self.clusters.get(cluster).is_some_and(|cluster| cluster.remote || !cluster.control_planes.is_empty())
    }

    /// All that it names is kept by this plan: no other state has a part of it.
    pub fn is_whole(&self) -> bool {
        let linked = self.links.iter().flat_map(|link| [&link.watcher, &link.watched]);
        let doors = self.gateways.values().flatten();
        self.clusters.keys().chain(linked).chain(doors).all(|name| self.keeps(name) || name == UNKNOWN)
    }

    /// Clusters that are in it, or that a link names.
    pub fn clusters_named(&self) -> BTreeSet<&str> {
        let linked = self.links.iter().flat_map(|link| [&link.watcher, &link.watched]);
        self.clusters.keys().chain(linked).map(String::as_str).filter(|name| *name != UNKNOWN).collect()
    }

    /// Whether two clusters can be of one mesh: what does not say which it is of can be of any.
    pub fn are_related(&self, one: &str, other: &str) -> bool {
        match (self.ids.get(one), self.ids.get(other)) {
            (Some(one), Some(other)) => one.intersection(other).next().is_some(),
            _ => true,
        }
    }

    fn add(&mut self, instance: &Instance, side: Side) {
        // What an earlier replacement left over is of the mesh no more.
        if instance.deposed {
            return;
        }
        for one in instance.in_clusters() {
            self.add_part(instance.kind, if side == Side::Before { one.before } else { one.after });
        }
    }

    fn add_part(&mut self, kind: Type, reading: Reading<'_>) {
        if !reading.is_there() {
            return;
        }
        match kind {
            Type::Primary => self.add_control_plane(reading),
            Type::Remote => self.add_links(reading),
            Type::Gateway if leads_in(reading) => {
                let clusters = self.gateways.entry(name(reading.get("network"))).or_default();
                clusters.insert(name(reading.get("cluster")));
            }
            Type::Gateway | Type::Ca | Type::CaRequest | Type::ServiceEntry => {}
        }
    }

    fn add_control_plane(&mut self, reading: Reading<'_>) {
        let runs_in = name(reading.get("cluster"));
        let serves = reading.get("config_cluster");
        let node = self.clusters.entry(runs_in.clone()).or_default();
        let revision = reading.get("revision");
        node.control_planes.insert(if revision.is_there() { name(revision) } else { "default".to_owned() });
        let serves = if serves.is_there() { name(serves) } else { runs_in.clone() };
        for cluster in [&runs_in, &serves] {
            self.ids.entry(cluster.clone()).or_default().insert(name(reading.get("mesh_id")));
        }
        let network = reading.get("network");
        if network.is_there() {
            self.clusters.entry(serves).or_default().networks.insert(name(network));
        }
    }

    fn add_links(&mut self, reading: Reading<'_>) {
        let watched = name(reading.get("cluster"));
        let node = self.clusters.entry(watched.clone()).or_default();
        if matches!(reading.get("mode").text(), Some("remote" | "config")) {
            node.remote = true;
            let network = reading.get("network");
            if network.is_there() {
                node.networks.insert(name(network));
            }
        }
        for watcher in watchers(reading) {
            self.links.insert(Link { watcher, watched: watched.clone() });
        }
    }

    /// A cluster without a control plane is of the meshes of those that serve it.
    fn share_ids(&mut self) {
        for Link { watcher, watched } in &self.links {
            let served = self.clusters.get(watched).is_some_and(|cluster| cluster.control_planes.is_empty());
            if let Some(ids) = self.ids.get(watcher).filter(|_| served).cloned() {
                self.ids.entry(watched.clone()).or_default().extend(ids);
            }
        }
    }

    /// Clusters in a network that can be of the mesh of another.
    pub fn members<'a>(&'a self, network: &'a str, of: &'a str) -> impl Iterator<Item = &'a str> {
        let all = self.clusters.iter().filter(|(_, cluster)| cluster.networks.contains(network));
        all.map(|(name, _)| name.as_str()).filter(move |name| self.are_related(name, of))
    }

    pub fn watchers_of<'a>(&'a self, watched: &'a str) -> impl Iterator<Item = &'a str> {
        self.links.iter().filter(move |link| link.watched == watched).map(|link| link.watcher.as_str())
    }
}

/// Whether calls from other networks come in by a gateway, as far as is known.
fn leads_in(gateway: Reading<'_>) -> bool {
    let services = gateway.get("expose").get("services");
    let hosts = gateway.get("expose").get("hosts");
    let none = hosts.value().as_array().is_some_and(Vec::is_empty) && !hosts.is_unknown();
    gateway.get("ambient").flag() || (services.flag() || services.is_unknown() || services.is_hidden()) && !none
}

/// Those that watch a cluster, by a `mesh_remote_cluster`.
pub fn watchers(reading: Reading<'_>) -> BTreeSet<String> {
    let watchers = reading.get("watchers");
    match watchers.is_unknown() || watchers.is_hidden() {
        true => [UNKNOWN.to_owned()].into(),
        false => watchers.items().into_iter().map(name).collect(),
    }
}

fn name(reading: Reading<'_>) -> String {
    reading.text().unwrap_or(UNKNOWN).to_owned()
}
