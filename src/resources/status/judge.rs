//! What is wrong with a mesh. Pure: what was seen in, sentences out. Of what should be there it believes what the
//! clusters say of one another; where they leave it open, it keeps silent.

mod crossing;
mod discovery;
mod trust;

use std::collections::{BTreeMap, BTreeSet};

use time::OffsetDateTime;

use super::crossing::{Asked, Crossing};
use super::model::{ClusterStatus, ControlPlane, Gateway};
use crate::mesh::{DiscoverySelectors, MeshPolicy};
use crate::resources::passthrough::Labels;
use crate::resources::token::{Claims, Lost};
use crate::value::Value;

/// One cluster: what is shown of it, and what else the findings need.
#[derive(Default, Clone)]
pub(super) struct Sight {
    pub shown: ClusterStatus,
    /// Istio's namespace here.
    pub system_namespace: String,
    pub has_cacerts: bool,
    /// Of an external control plane: whether it has the kubeconfig of its configuration cluster.
    pub has_kubeconfig: bool,
    /// istiod is told not to sign with what is in `cacerts`.
    pub signs_elsewhere: bool,
    /// The root by which what is in `cacerts` was signed.
    pub signed_by: Option<String>,
    /// Roots that the mesh configuration adds.
    pub more_roots: BTreeSet<String>,
    /// It adds some that could not be read.
    pub trusts_more_roots: bool,
    pub no_auto_mtls: bool,
    /// The ids of the control planes that the namespace says serve this cluster.
    pub serving: Vec<String>,
    /// The id that a cluster without an istiod of its own has in Istio, as far as it says.
    pub called: Option<String>,
    /// A Service here leads to an istiod elsewhere, or nobody could say.
    pub served_from_outside: bool,
    /// Networks with a gateway that is no Service of this cluster.
    pub led_to: BTreeSet<String>,
    pub gateways_unsure: bool,
    /// A mesh configuration puts clusters or addresses into networks.
    pub describes_networks: bool,
    /// Of each control plane here, the namespaces that it looks into.
    pub looks_into: Vec<DiscoverySelectors>,
    /// The namespaces of gateways, by their name in `gateways`.
    pub gateway_namespaces: BTreeMap<String, String>,
    /// The labels of namespaces, as far as they were asked for.
    pub namespaces: BTreeMap<String, Labels>,
    /// Injection here puts Pods into a network, whatever the label of the namespace says.
    pub injects_network: bool,
    /// The one that it is, where it is one for all.
    pub pods_network: Option<String>,
    /// Why gateways have no address, by name.
    pub no_address: BTreeMap<String, String>,
    /// Why an istiod could not be asked in full.
    pub unasked: Option<String>,
    pub crossing: Crossing,
    /// When the tokens end that are here for istiod: the Secret, the cluster that it names, the end.
    pub tokens: Vec<(String, String, OffsetDateTime)>,
    /// What those tokens say of themselves that are a ServiceAccount's.
    pub claims: Vec<(String, String, Claims)>,
    /// Those that their cluster refuses whatever their end, and what it has lost.
    pub revoked: Vec<(String, String, Lost)>,
    /// What `cacerts` signs by, in words, and from when to when it is valid.
    pub signs_by: Vec<(&'static str, OffsetDateTime, OffsetDateTime)>,
    /// Istio's namespace is being deleted.
    pub is_leaving: bool,
    /// What each control plane of this cluster itself has that the mesh must have alike, or why that could not be read.
    pub configured: Vec<Asked<Configured>>,
}

/// A control plane's part of what the mesh must have alike.
#[derive(Debug, Clone)]
pub(super) struct Configured {
    pub policy: MeshPolicy,
    pub trust_domain: String,
    pub aliases: BTreeSet<String>,
    /// It accepts every trust domain.
    pub any_trust_domain: bool,
    /// Ambient mode.
    pub is_ambient: bool,
}

impl Sight {
    /// The network that istiods take its Pods to be in: injection comes before the label of the namespace. Empty where
    /// there is none.
    fn network(&self) -> &str {
        self.pods_network.as_deref().unwrap_or_else(|| self.shown.network.text())
    }

    fn planes(&self) -> impl Iterator<Item = (&str, &ControlPlane)> {
        self.shown.control_planes.entries()
    }

    fn has_plane(&self) -> bool {
        self.planes().next().is_some()
    }

    /// Whether an external control plane runs here, which serves other clusters.
    pub fn is_host(&self) -> bool {
        self.planes().any(|(_, plane)| plane.external.get() == Some(true))
    }

    /// Whether a control plane of this cluster itself runs here.
    fn is_primary(&self) -> bool {
        self.planes().any(|(_, plane)| plane.external.get() != Some(true))
    }

    fn mesh_ids(&self) -> BTreeSet<&str> {
        self.planes().map(|(_, plane)| plane.mesh_id.text()).filter(|id| !id.is_empty()).collect()
    }

    fn ids(&self) -> BTreeSet<&str> {
        self.planes().map(|(_, plane)| plane.cluster_name.text()).filter(|id| !id.is_empty()).collect()
    }

    fn watches(&self, id: &str) -> bool {
        self.shown.watches.keys().any(|watched| watched == id)
    }

    /// Whether the cluster itself says that this is its id.
    fn is_called(&self, id: &str) -> bool {
        let own = self.planes().filter(|(_, plane)| plane.external.get() != Some(true));
        own.into_iter().any(|(_, plane)| plane.cluster_name.text() == id) || self.called.as_deref() == Some(id)
    }

    /// The roots that workloads are given, else those that istiod would give them; with those that the mesh
    /// configuration adds.
    fn roots(&self) -> BTreeSet<&String> {
        let Some(trust) = self.shown.trust.known() else { return BTreeSet::new() };
        let given: BTreeSet<&String> = trust.distributed_roots.items().collect();
        let mut roots = if given.is_empty() && self.signs() { trust.roots.items().collect() } else { given };
        if !roots.is_empty() {
            roots.extend(&self.more_roots);
        }
        roots
    }

    /// Whether an istiod here signs by what is in `cacerts`, if there is one.
    fn signs(&self) -> bool {
        self.has_plane() && !self.signs_elsewhere
    }

    fn read(&self) -> bool {
        self.shown.error.is_null()
    }
}

/// What is wrong, cluster by cluster, then between them. Each sentence names the cluster and the next step.
pub(super) fn findings(seen: &BTreeMap<String, Sight>, now: OffsetDateTime) -> Vec<String> {
    let mesh = Mesh { seen };
    let mut findings = Vec::new();
    for (name, sight) in seen {
        let found = match sight.shown.error.known() {
            Some(error) => vec![error.clone()],
            None => mesh.of_cluster(name, sight).into_iter().chain(mesh.out_of_date(name, sight, now)).collect(),
        };
        findings.extend(found.into_iter().map(|finding| format!("{name}: {finding}")));
    }
    findings.extend(mesh.differing_roots());
    findings
}

/// The cluster of an id in Istio, where it has been read.
pub(super) fn named<'a>(seen: &'a BTreeMap<String, Sight>, id: &str) -> Option<(&'a str, &'a Sight)> {
    let name = Mesh { seen }.who(id)?;
    seen.get(name).filter(|sight| sight.read()).map(|sight| (name, sight))
}

/// Clusters without a control plane of their own, with the names of those whose istiods serve them.
pub(super) fn served(seen: &BTreeMap<String, Sight>) -> BTreeMap<String, Vec<String>> {
    let mesh = Mesh { seen };
    let hosts = |name: &str, sight: &Sight| -> Vec<String> {
        mesh.read().filter(|(_, host)| mesh.serves(host, name, sight)).map(|(host, _)| host.to_owned()).collect()
    };
    let others = mesh.read().filter(|(_, sight)| !sight.is_primary());
    others.map(|(name, sight)| (name.to_owned(), hosts(name, sight))).filter(|(_, hosts)| !hosts.is_empty()).collect()
}

/// What Gateways let through to each gateway is shown, where they are known.
pub(super) fn show_hosts(seen: &mut BTreeMap<String, Sight>) {
    let mesh = Mesh { seen };
    let mut known = Vec::new();
    for (name, sight) in mesh.read() {
        let Some(Ok(openings)) = mesh.openings(name, sight) else { continue };
        for (gateway, door) in &sight.crossing.doors {
            let Ok(door) = door else { continue };
            known.push((name.to_owned(), gateway.clone(), door.judged(&openings).unwrap_or_default()));
        }
    }
    for (name, gateway, hosts) in known {
        let shown = seen.get_mut(&name).and_then(|sight| sight.shown.gateways.known_mut());
        if let Some(gateway) = shown.and_then(|gateways| gateways.get_mut(&gateway)).and_then(Value::known_mut) {
            gateway.hosts = hosts.into_iter().collect();
        }
    }
}

/// The clusters with control planes of their own, by mesh; meshes of one are left out.
pub(super) fn meshes(seen: &BTreeMap<String, Sight>) -> Vec<Vec<&str>> {
    let mesh = Mesh { seen };
    let mut meshes: Vec<Vec<&str>> = Vec::new();
    for (name, _) in mesh.read().filter(|(_, sight)| sight.is_primary()) {
        match meshes.iter_mut().find(|members| members.iter().any(|member| mesh.is_one_mesh(member, name))) {
            Some(members) => members.push(name),
            None => meshes.push(vec![name]),
        }
    }
    meshes.retain(|members| members.len() > 1);
    meshes
}

struct Mesh<'a> {
    seen: &'a BTreeMap<String, Sight>,
}

impl<'a> Mesh<'a> {
    fn of_cluster(&self, name: &str, sight: &Sight) -> Vec<String> {
        let mut found = Vec::new();
        if sight.is_leaving {
            found.push(format!(
                "its namespace {} is being deleted: nothing new is made in it, and what is left of Istio there goes. Once it is gone, apply its mesh_primary or mesh_remote_cluster again; where it stays, see the finalizers of what is in it",
                sight.system_namespace
            ));
        }
        found.extend(self.without_control_plane(name, sight));
        found.extend(self.not_available(sight));
        found.extend(self.unwatched_remote(name, sight));
        found.extend(self.not_linked_back(name, sight));
        found.extend(self.not_linked(name, sight));
        found.extend(self.under_other_ids(name, sight));
        found.extend(self.out_of_sync(sight));
        let without_address = |(gateway, one): &(&str, &Gateway)| {
            one.addresses.items().next().is_none() && !self.is_of_others(name, sight, gateway)
        };
        for (gateway, _) in sight.shown.gateways.entries().filter(without_address) {
            let why = sight.no_address.get(gateway).filter(|why| !why.is_empty());
            let why = why.map_or("it has none that its controller has confirmed", String::as_str);
            found.push(format!("gateway {gateway} has no address: {why}"));
        }
        found.extend(self.without_network(name, sight));
        found.extend(self.labelled_otherwise(name, sight));
        found.extend(self.labelled_for_others(name, sight));
        found.extend(self.without_gateway(name, sight));
        found.extend(self.not_crossing(name, sight));
        found.extend(self.unseen(name, sight));
        found.extend(self.plain_against_strict(name, sight));
        found.extend(self.trust(name, sight));
        found
    }

    fn without_control_plane(&self, name: &str, sight: &Sight) -> Option<String> {
        if sight.has_plane() || self.is_served(name, sight) {
            return None;
        }
        let namespace = &sight.system_namespace;
        let watchers: Vec<&str> =
            self.read().filter(|(_, other)| self.watches_cluster(other, name)).map(|(name, _)| name).collect();
        let mut left = Vec::new();
        if sight.has_cacerts {
            left.push("the Secret `cacerts`");
        }
        if sight.shown.watches.keys().next().is_some() {
            left.push("remote secrets");
        }
        if sight.shown.gateways.keys().next().is_some() {
            left.push("a gateway");
        }
        if sight.shown.network.is_known() {
            left.push("a network label");
        }
        if watchers.is_empty() && left.is_empty() {
            return Some(format!(
                "nothing of Istio is here (namespace {namespace}). Apply its mesh_primary or mesh_remote_cluster; where it is not meant to be in a mesh, leave it out of `clusters`"
            ));
        }
        let watchers = (!watchers.is_empty()).then(|| format!("{} has a remote secret of it", watchers.join(", ")));
        let left = (!left.is_empty()).then(|| format!("{} is left here", left.join(", ")));
        let known: Vec<String> = watchers.into_iter().chain(left).collect();
        Some(format!(
            "no istiod runs in namespace {namespace}, and nothing says that another cluster's serves it; {}. Apply its mesh_primary again, or, if it is a remote, its mesh_remote_cluster",
            known.join("; ")
        ))
    }

    /// Whether the istiod of another cluster is known to serve this one, or may do so.
    fn is_served(&self, name: &str, sight: &Sight) -> bool {
        let has_id = |other: &Sight| other.ids().into_iter().any(|id| id == name || self.who(id) == Some(name));
        let by_host = |other: &Sight| other.is_host() && (self.watches_cluster(other, name) || has_id(other));
        !sight.serving.is_empty() || sight.served_from_outside || self.read().any(|(_, other)| by_host(other))
    }

    fn not_available(&self, sight: &Sight) -> Vec<String> {
        let namespace = &sight.system_namespace;
        let mut found = Vec::new();
        for (revision, plane) in sight.planes() {
            let (wanted, available) =
                (plane.replicas.get().unwrap_or_default(), plane.available_replicas.get().unwrap_or_default());
            if wanted == 0 {
                found.push(format!(
                    "istiod ({revision}) is scaled to none: nothing configures its proxies or signs for them. Scale its Deployment in namespace {namespace} up again"
                ));
            } else if available < wanted {
                found.push(format!(
                    "{available} of {wanted} replicas of istiod ({revision}) are available. What its Pods wait for: `kubectl -n {namespace} describe pods -l app=istiod`"
                ));
            }
        }
        if sight.is_host() && !sight.has_kubeconfig {
            found.push(
                "the kubeconfig of its configuration cluster (Secret istio-kubeconfig) is missing: istiod does not start again without it. Apply the mesh_remote_cluster with mode \"config\""
                    .to_owned(),
            );
        }
        found
    }

    /// A remote that none of the control planes which its namespace names has a remote secret of.
    fn unwatched_remote(&self, name: &str, sight: &Sight) -> Option<String> {
        if sight.has_plane() || sight.serving.is_empty() || !self.all_read() {
            return None;
        }
        let mut hosts = Vec::new();
        for id in &sight.serving {
            let is_it = |host: &&Sight| if id == "*" { host.has_plane() } else { host.ids().contains(id.as_str()) };
            let found: Vec<(&str, &Sight)> = self.read().filter(|(_, host)| is_it(host)).collect();
            if found.is_empty() {
                return None;
            }
            hosts.extend(found);
        }
        // Its id may be another than its name here: then some secret names a cluster that is none of those looked at.
        if hosts.iter().any(|(_, host)| self.watches_cluster(host, name) || self.watches_strangers(host)) {
            return None;
        }
        let names: Vec<&str> = hosts.iter().map(|(name, _)| *name).collect();
        let names = names.join(", ");
        Some(format!(
            "no remote secret of it is in {names}, whose istiod is to serve it: its proxies get no configuration of its own services, and new ones no certificate. Apply its mesh_remote_cluster with {names} among its `watchers`"
        ))
    }

    /// Control planes of the same mesh that watch this one and are not watched by it.
    fn not_linked_back(&self, name: &str, sight: &Sight) -> Vec<String> {
        if !sight.is_primary() || !sight.read() {
            return Vec::new();
        }
        let others = self.read().filter(|(other, _)| *other != name).filter(|(_, other)| {
            let ids = other.ids();
            let watched_back = ids.is_empty() || ids.iter().any(|id| sight.watches(id));
            let watching = other.shown.watches.keys().any(|id| self.who(id) == Some(name));
            let one_mesh = !other.mesh_ids().is_disjoint(&sight.mesh_ids());
            other.is_primary() && one_mesh && watching && !watched_back
        });
        let told = others.map(|(other, _)| {
            format!(
                "no remote secret here names {other}, though the istiod of {other} watches {name} and both are control planes of one mesh: proxies here do not see the services of {other}. Apply the mesh_remote_cluster of {other} with {name} among its `watchers`"
            )
        });
        told.collect()
    }

    /// Control planes of the same mesh none of which watches the other, each pair told once.
    fn not_linked(&self, name: &str, sight: &Sight) -> Vec<String> {
        if !sight.is_primary() || !self.all_read() {
            return Vec::new();
        }
        let apart = |other_name: &str, other: &Sight| {
            let one_mesh = !other.mesh_ids().is_disjoint(&sight.mesh_ids());
            let linked = self.watches_cluster(sight, other_name) || self.watches_cluster(other, name);
            // Its id may be another than is known here, and an istiod that was not asked may know more than its secrets
            // say.
            let unsure = [sight, other].iter().any(|one| self.watches_strangers(one) || one.ids().is_empty());
            other.is_primary() && one_mesh && !linked && !unsure
        };
        let others = self.read().filter(|(other, one)| *other < name && apart(other, one));
        let told = others.map(|(other, _)| {
            format!(
                "it and {other} have control planes of one mesh, and neither has a remote secret of the other: no calls cross between them. Apply the mesh_remote_cluster of each with the other among its `watchers`"
            )
        });
        told.collect()
    }

    /// Control planes that watch each other under different mesh ids, each pair told once.
    fn under_other_ids(&self, name: &str, sight: &Sight) -> Vec<String> {
        let ids = |sight: &Sight| sight.mesh_ids().into_iter().collect::<Vec<_>>().join(", ");
        let others = self.read().filter(|(other, one)| {
            let one_id = !one.mesh_ids().is_disjoint(&sight.mesh_ids());
            *other < name && !one_id && !ids(one).is_empty() && !ids(sight).is_empty() && self.is_mutual(other, name)
        });
        let told = others.map(|(other, one)| {
            format!(
                "it and {other} watch each other, and their mesh ids differ ({} here, and {} in {other}): control planes that are linked are of one mesh. Give both the same `mesh_id`, or take the one out of the other's `watchers`",
                ids(sight),
                ids(one)
            )
        });
        told.collect()
    }

    /// Whether the control planes of two clusters watch each other.
    fn is_mutual(&self, one: &str, other: &str) -> bool {
        let (Some(a), Some(b)) = (self.seen.get(one), self.seen.get(other)) else { return false };
        a.is_primary() && b.is_primary() && self.watches_cluster(a, other) && self.watches_cluster(b, one)
    }

    fn out_of_sync(&self, sight: &Sight) -> Vec<String> {
        // Of an istiod that does not run, that alone is told.
        let runs = sight.planes().any(|(_, plane)| plane.available_replicas.get().unwrap_or_default() > 0);
        let watches = sight.shown.watches.entries().filter(|(_, watch)| runs && watch.verdict.text() != "synced");
        let told = watches.map(|(watched, watch)| {
            let secret = watch.secret.text();
            match watch.verdict.text() {
                "unknown" => {
                    let why = sight.unasked.as_deref().unwrap_or("none of its Pods runs");
                    format!(
                        "whether its istiod is in sync with cluster {watched} is unknown: {why}. Asking it takes the right to create pods/portforward in namespace {}",
                        sight.system_namespace
                    )
                }
                "missing" => format!(
                    "its istiod reports cluster {watched} as missing: it has not read the remote secret {secret}. Its log says why"
                ),
                verdict => format!(
                    "its istiod reports cluster {watched} as {verdict}. Can its Pods reach {}, and is the token in {secret} still valid?",
                    if watch.server.text().is_empty() { "its API server" } else { watch.server.text() }
                ),
            }
        });
        told.collect()
    }

    /// Whether clusters of several networks are linked with this one.
    fn has_several_networks(&self, name: &str) -> bool {
        let linked = self.linked(name);
        let members = linked.iter().filter_map(|name| self.seen.get(*name));
        let workloads = members.filter(|member| member.is_primary() || !member.is_host());
        let networks: BTreeSet<&str> = workloads.map(Sight::network).collect();
        networks.iter().filter(|network| !network.is_empty()).count() > 1
    }

    /// Of clusters that are linked, one without a network beside those with one: to istiod it is in every network. It
    /// may well be in the one there is, unless something says that networks are apart: a second name, or a gateway.
    fn without_network(&self, name: &str, sight: &Sight) -> Option<String> {
        let has_workloads = |sight: &Sight| sight.is_primary() || !sight.is_host();
        let linked: Vec<(&str, &Sight)> =
            self.linked(name).into_iter().filter_map(|member| Some((member, self.seen.get(member)?))).collect();
        let is_described = linked.iter().any(|(_, member)| member.describes_networks);
        let is_member = sight.is_primary() || (!sight.has_plane() && self.is_served(name, sight));
        if sight.shown.network.is_known() || sight.injects_network || !is_member || is_described {
            return None;
        }
        let others: Vec<(&str, &str)> = linked
            .iter()
            .filter(|(_, member)| has_workloads(member))
            .map(|(other, one)| (*other, one.network()))
            .filter(|(_, network)| !network.is_empty())
            .collect();
        let networks: BTreeSet<&str> = others.iter().map(|(_, network)| *network).collect();
        let leads = |member: &Sight, network: &str| {
            let gateways = member.shown.gateways.entries();
            member.led_to.contains(network) || gateways.into_iter().any(|(_, one)| one.network.text() == network)
        };
        let is_apart = |network: &&str| linked.iter().any(|(_, member)| leads(member, network));
        if networks.len() < 2 && !networks.iter().any(is_apart) {
            return None;
        }
        let named: Vec<String> = others.iter().map(|(other, network)| format!("{other} in {network}")).collect();
        (!named.is_empty()).then(|| {
            format!(
                "it is in no network, and clusters that are in one are linked with it ({}): istiod takes no network for every network, so calls from these go to the addresses of its Pods, whether they reach them or not. The other way round, calls go through a gateway of the other network, if there is one. Set `network` of its mesh_primary or mesh_remote_cluster, to the same name where Pods reach each other",
                named.join(", ")
            )
        })
    }

    /// Of several networks that are linked, one that no gateway leads to.
    fn without_gateway(&self, name: &str, sight: &Sight) -> Option<String> {
        let network = Some(sight.network()).filter(|network| !network.is_empty())?;
        if !self.all_read() || (sight.is_host() && !sight.is_primary()) {
            return None;
        }
        let linked = self.linked(name);
        let members = || linked.iter().filter_map(|name| self.seen.get(*name));
        // A gateway may be where nobody looked.
        if members().any(|member| member.gateways_unsure || self.watches_strangers(member)) {
            return None;
        }
        let led_to = members().any(|member| {
            member.led_to.contains(network)
                || member.shown.gateways.entries().any(|(_, gateway)| gateway.network.text() == network)
        });
        if !self.has_several_networks(name) {
            return None;
        }
        if led_to {
            return self.by_tunnels_alone(name, network, &linked);
        }
        Some(format!(
            "no gateway leads to its network {network}, and clusters of other networks are linked with it: calls from there find no way in. Apply a mesh_eastwest_gateway for {network}"
        ))
    }

    /// Whether two clusters are of one mesh: by its id, or because their control planes watch each other, or, where
    /// there is no id to compare, because the one serves or watches the other.
    fn is_one_mesh(&self, one: &str, other: &str) -> bool {
        let (Some(a), Some(b)) = (self.seen.get(one), self.seen.get(other)) else { return false };
        let (a_ids, b_ids) = (a.mesh_ids(), b.mesh_ids());
        if !a_ids.is_empty() && !b_ids.is_empty() {
            return !a_ids.is_disjoint(&b_ids) || self.is_mutual(one, other);
        }
        match (a.has_plane(), b.has_plane()) {
            (true, true) => self.watches_cluster(a, other) && self.watches_cluster(b, one),
            (true, false) => self.serves(a, other, b),
            (false, true) => self.serves(b, one, a),
            (false, false) => false,
        }
    }

    fn serves(&self, host: &Sight, name: &str, remote: &Sight) -> bool {
        let named = remote.serving.iter().any(|id| host.ids().contains(id.as_str()));
        self.watches_cluster(host, name) && (named || host.is_host())
    }

    fn watches_cluster(&self, sight: &Sight, name: &str) -> bool {
        sight.shown.watches.keys().any(|id| self.who(id) == Some(name))
    }

    /// Whether a remote secret names a cluster that is none of those looked at.
    fn watches_strangers(&self, sight: &Sight) -> bool {
        sight.shown.watches.keys().any(|id| self.who(id).is_none())
    }

    /// The clusters that remote secrets connect with this one, itself among them.
    fn linked<'b>(&self, name: &'b str) -> BTreeSet<&'b str>
    where
        'a: 'b,
    {
        let mut linked = BTreeSet::from([name]);
        loop {
            let next: Vec<&str> = self
                .read()
                .filter(|(other, _)| !linked.contains(other))
                .filter(|(other, sight)| {
                    linked.iter().any(|member| {
                        let watching = self.seen.get(*member).is_some_and(|one| self.watches_cluster(one, other));
                        watching || self.watches_cluster(sight, member)
                    })
                })
                .map(|(other, _)| other)
                .collect();
            if next.is_empty() {
                return linked;
            }
            linked.extend(next);
        }
    }

    /// The cluster of this id: the one that says so, by its own istiod or by what it tells the injector; else the one
    /// of that name, if it says nothing else.
    fn who(&self, id: &str) -> Option<&'a str> {
        let claims: Vec<&str> = self.read().filter(|(_, sight)| sight.is_called(id)).map(|(name, _)| name).collect();
        match claims[..] {
            [one] => Some(one),
            [] => {
                let silent = |sight: &Sight| sight.called.is_none() && (!sight.is_primary() || sight.ids().is_empty());
                self.seen.get_key_value(id).filter(|(_, sight)| silent(sight)).map(|(name, _)| name.as_str())
            }
            _ => None,
        }
    }

    fn read(&self) -> impl Iterator<Item = (&'a str, &'a Sight)> + use<'a> {
        self.seen.iter().filter(|(_, sight)| sight.read()).map(|(name, sight)| (name.as_str(), sight))
    }

    fn all_read(&self) -> bool {
        self.seen.values().all(Sight::read)
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
