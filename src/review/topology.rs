//! Who sees whom, and by which door: the mesh of a plan before and after.

use std::collections::{BTreeMap, BTreeSet};

use super::read::{Action, Instance, Plan, Reading, Type};

/// One side of a plan.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Mesh {
    pub clusters: BTreeMap<String, Cluster>,
    pub links: BTreeSet<Link>,
    /// Clusters that hold a gateway, by network.
    pub gateways: BTreeMap<String, BTreeSet<String>>,
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
            mesh
        };
        Self { before: side(Side::Before), after: side(Side::After) }
    }

    pub fn joining(&self) -> Vec<&str> {
        missing(&self.after, &self.before)
    }

    pub fn leaving(&self) -> Vec<&str> {
        missing(&self.before, &self.after)
    }

    pub fn new_links(&self) -> Vec<&Link> {
        self.after.links.difference(&self.before.links).collect()
    }

    pub fn lost_links(&self) -> Vec<&Link> {
        self.before.links.difference(&self.after.links).collect()
    }
}

fn missing<'a>(of: &'a Mesh, there: &Mesh) -> Vec<&'a str> {
    of.clusters.keys().filter(|name| !there.clusters.contains_key(*name)).map(String::as_str).collect()
}

impl Mesh {
    fn add(&mut self, instance: &Instance, side: Side) {
        let reading = match side {
            Side::Before => instance.before(),
            Side::After if instance.action == Action::Forget => instance.before(),
            Side::After => instance.after(),
        };
        // What an earlier replacement left over is of the mesh no more.
        if !reading.is_there() || instance.deposed {
            return;
        }
        match instance.kind {
            Type::Primary => self.add_control_plane(reading),
            Type::Remote => self.add_links(reading),
            Type::Gateway => {
                let clusters = self.gateways.entry(name(reading.get("network"))).or_default();
                clusters.insert(name(reading.get("cluster")));
            }
            Type::Ca | Type::CaRequest | Type::ServiceEntry => {}
        }
    }

    fn add_control_plane(&mut self, reading: Reading<'_>) {
        let runs_in = name(reading.get("cluster"));
        let serves = reading.get("config_cluster");
        let node = self.clusters.entry(runs_in.clone()).or_default();
        let revision = reading.get("revision");
        node.control_planes.insert(if revision.is_there() { name(revision) } else { "default".to_owned() });
        let serves = if serves.is_there() { name(serves) } else { runs_in };
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

    /// Clusters in a network.
    pub fn members(&self, network: &str) -> usize {
        self.clusters.values().filter(|cluster| cluster.networks.contains(network)).count()
    }

    pub fn watchers_of<'a>(&'a self, watched: &'a str) -> impl Iterator<Item = &'a str> {
        self.links.iter().filter(move |link| link.watched == watched).map(|link| link.watcher.as_str())
    }
}

/// Those that watch a cluster, by a `mesh_remote_cluster`.
pub fn watchers(reading: Reading<'_>) -> BTreeSet<String> {
    let watchers = reading.get("watchers");
    match watchers.is_unknown() {
        true => [UNKNOWN.to_owned()].into(),
        false => watchers.items().into_iter().map(name).collect(),
    }
}

fn name(reading: Reading<'_>) -> String {
    reading.text().unwrap_or(UNKNOWN).to_owned()
}
