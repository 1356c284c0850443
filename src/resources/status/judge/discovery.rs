//! What istiods do not see, as `discoverySelectors` leave its namespace out.

use std::collections::{BTreeMap, BTreeSet};

use super::{Mesh, Sight};
use crate::mesh::DiscoverySelectors;
use crate::resources::discovery;

impl Mesh<'_> {
    /// Gateways, what opens them, and Services that they expose by name, in namespaces that the istiod does not look
    /// into which serves the cluster. What another mesh has in a namespace of its own is meant not to be seen.
    pub(super) fn unseen(&self, name: &str, sight: &Sight) -> Vec<String> {
        if !self.has_several_networks(name) {
            return Vec::new();
        }
        let selectors = self.selectors_for(name, sight);
        let is_left_out = |namespace: &str| {
            sight
                .namespaces
                .get(namespace)
                .is_some_and(|labels| selectors.iter().any(|one| !one.select(namespace, labels)))
        };
        let gateways = sight.gateway_namespaces.iter();
        let gateways = gateways.filter(|(gateway, _)| !self.is_of_others(name, sight, gateway));
        let gateways = gateways.map(|(gateway, namespace)| (namespace.as_str(), format!("gateway {gateway}")));
        // Gateways of a remote are with its control plane.
        let all = || sight.crossing.open.iter().flatten().flatten().filter(|_| sight.is_primary());
        let seen: Vec<_> = all().filter(|opening| !is_left_out(&opening.namespace)).collect();
        let mut doors = sight.crossing.doors.values().flatten().peekable();
        let are_open =
            doors.peek().is_some() && doors.all(|door| seen.iter().any(|opening| door.is_chosen_by(opening)));
        let openings = all().filter(|opening| !(are_open && is_left_out(&opening.namespace)));
        let opened = openings.flat_map(|opening| {
            let exposed =
                opening.hosts.iter().filter_map(|host| Some((namespace_of(host)?, format!("Services {host}"))));
            exposed.chain([(opening.namespace.as_str(), opening.what.clone())])
        });
        let mut unseen: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for (namespace, what) in gateways.chain(opened).filter(|(namespace, _)| is_left_out(namespace)) {
            unseen.entry(namespace).or_default().insert(what);
        }
        let told = unseen.into_iter().map(|(namespace, what)| {
            format!(
                "`discoverySelectors` leave out its namespace {namespace}, so that istiods see nothing of what is in it: {}. {}",
                what.into_iter().collect::<Vec<_>>().join(", "),
                discovery::way_out(namespace)
            )
        });
        told.collect()
    }

    /// Whether a gateway is in a namespace that no istiod looks into which serves the cluster, and is not needed there:
    /// it leads into another network, or others that are seen lead into the same. It is another mesh's then.
    pub(super) fn is_of_others(&self, name: &str, sight: &Sight, gateway: &str) -> bool {
        let selectors = self.selectors_for(name, sight);
        let is_left_out = |gateway: &str| {
            let namespace = sight.gateway_namespaces.get(gateway);
            let labels = namespace.and_then(|namespace| Some((namespace, sight.namespaces.get(namespace)?)));
            labels.is_some_and(|(namespace, labels)| DiscoverySelectors::all_leave_out(&selectors, namespace, labels))
        };
        if !is_left_out(gateway) {
            return false;
        }
        let networks = || sight.shown.gateways.entries().map(|(name, gateway)| (name, gateway.network.text()));
        let Some((_, network)) = networks().find(|(other, _)| *other == gateway) else { return false };
        let leads_elsewhere = !sight.network().is_empty() && network != sight.network();
        leads_elsewhere || networks().any(|(other, its)| other != gateway && its == network && !is_left_out(other))
    }

    /// What the istiods that serve a cluster look into.
    pub(super) fn selectors_for(&self, name: &str, sight: &Sight) -> Vec<DiscoverySelectors> {
        match sight.is_primary() {
            true => sight.looks_into.clone(),
            false => self.hosts(name, sight).into_iter().flat_map(|host| host.looks_into.clone()).collect(),
        }
    }
}

/// The namespace of the Services that a host names, where it names one.
fn namespace_of(host: &str) -> Option<&str> {
    let host = host.rsplit('/').next().unwrap_or(host);
    let mut labels = host.split('.');
    let (_, namespace, svc) = (labels.next()?, labels.next()?, labels.next()?);
    (svc == "svc").then_some(namespace)
}
