//! A cluster at first sight: by which id and in which network istiods take it to be, and which istiods run in it.

use crate::cluster::{Cluster, Error, Kind, ObjectRef, Query};
use crate::istiod::{Istiod, Replica};
use crate::mesh::{InjectedAs, NETWORK_LABEL};
use crate::resources::places;

/// What was read of it.
pub(super) struct Look {
    pub cluster: Cluster,
    /// Istio's namespace in it.
    pub namespace: String,
    /// By the label of Istio's namespace.
    pub network: Option<String>,
    pub istiods: Vec<Replica>,
    /// Where no istiod runs in it: what its webhook tells the injector of another. Where one does: the network that
    /// injection puts Pods into, whatever the label says.
    pub injected: InjectedAs,
    /// The ids of the control planes that the namespace says serve it.
    pub serving: Vec<String>,
}

/// Who injects Pods of a cluster.
#[derive(Debug, PartialEq, Eq)]
enum Injector {
    /// An istiod that runs in it, by the ConfigMap of its revision.
    Here(String),
    /// That of another cluster.
    Elsewhere,
    /// No istiod in it is ready.
    Nobody,
}

impl Look {
    pub async fn at(cluster: &Cluster, namespace: &str) -> Result<Look, Error> {
        let system = ObjectRef::cluster(Kind::NAMESPACE, namespace);
        let at = Istiod::of(cluster, namespace);
        let (system, istiods) = futures::try_join!(cluster.get(&system), at.replicas(None))?;
        let network = system.as_ref().and_then(|system| system.label(NETWORK_LABEL)).map(str::to_owned);
        let serving = system.as_ref().map(places::serving).unwrap_or_default();
        let (cluster, namespace) = (cluster.clone(), namespace.to_owned());
        let mut look = Look { cluster, namespace, network, istiods, injected: InjectedAs::default(), serving };
        look.injected = look.injected().await;
        Ok(look)
    }

    /// Whoever may not read this takes the cluster to be as its name and label say.
    async fn injected(&self) -> InjectedAs {
        let namespace = self.namespace.as_str();
        match self.injector() {
            Injector::Elsewhere => {
                let webhooks = self.cluster.list(&Query::of(Kind::MUTATING_WEBHOOK_CONFIGURATION)).await;
                webhooks.map(|webhooks| places::injected_as(&webhooks, namespace)).unwrap_or_default()
            }
            Injector::Here(map) => {
                let map = self.cluster.get(&ObjectRef::namespaced(Kind::CONFIG_MAP, namespace, &map)).await;
                let network = map.ok().flatten().and_then(|map| places::injected_network(&map));
                InjectedAs { cluster: None, network }
            }
            Injector::Nobody => InjectedAs::default(),
        }
    }

    fn injector(&self) -> Injector {
        match self.istiod() {
            Some(istiod) => Injector::Here(places::injector(Some(&istiod.revision))),
            None if self.istiods.is_empty() => Injector::Elsewhere,
            None => Injector::Nobody,
        }
    }

    pub fn name(&self) -> &str {
        self.cluster.name()
    }

    /// The id by which istiods know the cluster.
    pub fn id(&self) -> &str {
        let own = self.istiods.iter().map(|istiod| istiod.cluster_id.as_str());
        let said = own.chain(self.injected.cluster.as_deref());
        said.into_iter().find(|id| !id.is_empty()).unwrap_or_else(|| self.name())
    }

    /// Whether an istiod that names this id means the cluster.
    pub fn has_id(&self, id: &str) -> bool {
        id == self.id()
    }

    /// The network that proxies here say they are in: empty where there is none.
    pub fn proxies_network(&self) -> &str {
        self.injected.network.as_ref().or(self.network.as_ref()).map_or("", String::as_str)
    }

    /// The istiod to ask: one that is ready, without a revision if there is one.
    pub fn istiod(&self) -> Option<&Replica> {
        let ready = self.istiods.iter().filter(|istiod| istiod.ready);
        ready.min_by_key(|istiod| (!matches!(istiod.revision.as_str(), "" | "default"), istiod.pod.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ClusterConfig;

    #[test]
    fn where_pods_are_put_is_asked_of_who_injects_them_whatever_the_label_says() {
        let replica = |ready| Replica { revision: "canary".to_owned(), ready, ..Replica::default() };
        let look = |network: Option<&str>, istiods: Vec<Replica>| Look {
            cluster: Cluster::standalone("east", ClusterConfig::default(), "test"),
            namespace: "istio-system".to_owned(),
            network: network.map(str::to_owned),
            istiods,
            injected: InjectedAs::default(),
            serving: Vec::new(),
        };
        for network in [None, Some("labelled")] {
            let injector = |istiods| look(network, istiods).injector();
            assert_eq!(injector(vec![replica(true)]), Injector::Here("istio-sidecar-injector-canary".to_owned()));
            assert_eq!(injector(vec![replica(false)]), Injector::Nobody);
            assert_eq!(injector(Vec::new()), Injector::Elsewhere);
        }
        let mut look = look(Some("labelled"), vec![replica(true)]);
        assert_eq!(look.proxies_network(), "labelled");
        look.injected.network = Some("injected".to_owned());
        assert_eq!(look.proxies_network(), "injected");
    }
}
