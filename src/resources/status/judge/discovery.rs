//! What istiods do not see, as `discoverySelectors` leave its namespace out.

use std::collections::{BTreeMap, BTreeSet};

use super::{Mesh, Sight};
use crate::resources::discovery;

impl Mesh<'_> {
    /// Gateways, what opens them, and Services that they expose by name, in namespaces that the istiod does not look
    /// into which serves the cluster.
    pub(super) fn unseen(&self, name: &str, sight: &Sight) -> Vec<String> {
        if !self.has_several_networks(name) {
            return Vec::new();
        }
        let selectors: Vec<_> = match sight.is_primary() {
            true => sight.looks_into.iter().collect(),
            false => self.hosts(name, sight).into_iter().flat_map(|host| &host.looks_into).collect(),
        };
        let is_left_out = |namespace: &str| {
            sight
                .namespaces
                .get(namespace)
                .is_some_and(|labels| selectors.iter().any(|one| !one.select(namespace, labels)))
        };
        let gateways = sight
            .gateway_namespaces
            .iter()
            .map(|(gateway, namespace)| (namespace.as_str(), format!("gateway {gateway}")));
        // Gateways of a remote are with its control plane.
        let openings = sight.crossing.open.iter().flatten().flatten().filter(|_| sight.is_primary());
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
}

/// The namespace of the Services that a host names, where it names one.
fn namespace_of(host: &str) -> Option<&str> {
    let host = host.rsplit('/').next().unwrap_or(host);
    let mut labels = host.split('.');
    let (_, namespace, svc) = (labels.next()?, labels.next()?, labels.next()?);
    (svc == "svc").then_some(namespace)
}
