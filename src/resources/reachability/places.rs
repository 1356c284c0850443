//! The clusters that were looked at, and which of them does what for another: whose istiod serves it, and where the
//! configuration is read that counts for it.

use std::collections::BTreeMap;

use super::caller;
use super::judge::{Asked, Watched};
use super::look::Look;
use crate::istiod::{self, RemoteCluster};

/// Every cluster by the provider's name for it.
pub(super) type Seen = BTreeMap<String, Asked<Look>>;

pub(super) struct Places<'a> {
    pub looks: Seen,
    istiods: &'a istiod::Looks,
    /// What the istiods of a cluster say of those they read, by the provider's name for it; only where some cluster has
    /// none of its own.
    views: BTreeMap<String, Asked<Vec<RemoteCluster>>>,
}

/// What decides over the calls of a cluster.
#[derive(Clone, Copy)]
pub(super) struct Ruled<'a> {
    /// Where policies and Gateways are read.
    pub by: &'a Look,
    /// Where the istiod runs: its mesh configuration is beside it.
    pub host: &'a Look,
}

impl<'a> Places<'a> {
    pub async fn of(istiods: &'a istiod::Looks, looks: Seen) -> Places<'a> {
        let mut places = Places { looks, istiods, views: BTreeMap::new() };
        if places.all().any(|look| look.istiods.is_empty()) {
            let hosts = places.all().filter(|look| look.istiod().is_some());
            let views = hosts.map(|host| async { (host.name().to_owned(), places.view(host).await) });
            places.views = futures::future::join_all(views).await.into_iter().collect();
        }
        places
    }

    /// What its istiods say, of all revisions: each reads what the remote secrets name.
    async fn view(&self, host: &Look) -> Asked<Vec<RemoteCluster>> {
        let views = self.istiods.held(&host.cluster, &host.namespace).await.map_err(|error| error.to_string())?;
        let asked: Vec<_> = views.iter().map(|view| view.clusters.as_ref()).collect();
        match asked.iter().find_map(|asked| asked.as_ref().err()) {
            Some(error) if asked.iter().all(Result::is_err) => Err(error.to_string()),
            _ => Ok(asked.into_iter().flatten().flat_map(|(clusters, _)| clusters.clone()).collect()),
        }
    }

    fn all(&self) -> impl Iterator<Item = &Look> {
        self.looks.values().flatten()
    }

    /// The cluster of this id: of an external control plane's two, the one that it serves.
    pub fn by_id(&self, id: &str) -> Option<&Look> {
        let mut named = self.all().filter(|look| look.has_id(id));
        let first = named.next()?;
        Some(named.find(|look| look.istiods.is_empty()).filter(|_| !first.istiods.is_empty()).unwrap_or(first))
    }

    /// Of clusters that nobody has named those whose Pods may be in a mesh; all that somebody has.
    pub fn with_workloads(&self, is_named: bool, mut names: Vec<String>) -> Vec<String> {
        let hosts = |name: &String| {
            self.looks.get(name).and_then(|look| look.as_ref().ok()).is_some_and(|look| self.hosts_for(look).is_some())
        };
        names.retain(|name| is_named || !hosts(name));
        names
    }

    /// The cluster that an external control plane here serves first of all: the Pods of this one are in no mesh.
    pub fn hosts_for(&self, look: &Look) -> Option<&Look> {
        self.by_id(look.id()).filter(|served| served.name() != look.name() && !look.istiods.is_empty())
    }

    /// The cluster whose istiod serves this one: itself, or the one that Istio's namespace names, or, where that names
    /// none, one that reads it.
    pub fn served_by<'b>(&'b self, look: &'b Look) -> Option<&'b Look> {
        if !look.istiods.is_empty() {
            return Some(look);
        }
        let is_named =
            |host: &Look| look.serving.is_empty() || look.serving.iter().any(|id| id == "*" || host.has_id(id));
        let reads = |host: &Look| matches!(self.views.get(host.name()), Some(Ok(clusters)) if clusters.iter().any(|one| look.has_id(&one.id)));
        self.all().filter(|host| host.istiod().is_some()).find(|host| is_named(host) && reads(host))
    }

    /// The cluster whose PeerAuthentications, DestinationRules and Gateways count for this one: where the istiod runs
    /// that serves it, or, of an external one, the cluster whose id that has. `None` where that is not among those
    /// looked at. With the cluster that the istiod runs in.
    pub fn ruled<'b>(&'b self, look: &'b Look) -> Option<Ruled<'b>> {
        let host = self.served_by(look)?;
        Some(Ruled { by: self.hosts_for(host).unwrap_or(host), host })
    }

    /// What the istiod that serves one cluster says of another.
    pub async fn reads(&self, look: &Look, to: &Look) -> Watched {
        let Some(host) = self.served_by(look) else {
            return Watched::Unknown("whose istiod serves it is not known".to_owned());
        };
        if host.id() == to.id() {
            return Watched::As("synced".to_owned());
        }
        match self.view(host).await {
            Ok(clusters) => caller::watched(&clusters, to),
            Err(why) => Watched::Unknown(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Cluster, ClusterConfig};
    use crate::istiod::{Replica, SyncStatus};
    use crate::mesh::InjectedAs;

    fn look(name: &str, istiod: Option<&str>, called: Option<&str>, serving: &[&str]) -> Look {
        let istiod = istiod.map(|id| Replica { ready: true, cluster_id: id.to_owned(), ..Replica::default() });
        Look {
            cluster: Cluster::standalone(name, ClusterConfig::default(), "test"),
            namespace: "istio-system".to_owned(),
            network: None,
            istiods: istiod.into_iter().collect(),
            injected: InjectedAs { cluster: called.map(str::to_owned), network: None },
            serving: serving.iter().map(|id| (*id).to_owned()).collect(),
        }
    }

    fn places<'a>(istiods: &'a istiod::Looks, looks: Vec<Look>, views: &[(&str, &[&str])]) -> Places<'a> {
        let read = |ids: &[&str]| {
            let one =
                |id: &&str| RemoteCluster { id: (*id).to_owned(), secret: String::new(), status: SyncStatus::Synced };
            Ok(ids.iter().map(one).collect())
        };
        Places {
            looks: looks.into_iter().map(|look| (look.name().to_owned(), Ok(look))).collect(),
            istiods,
            views: views.iter().map(|(name, ids)| ((*name).to_owned(), read(ids))).collect(),
        }
    }

    fn names<'a>(places: &'a Places<'_>, name: &str) -> [Option<&'a str>; 3] {
        let look = places.looks[name].as_ref().unwrap();
        let found = [places.served_by(look), places.ruled(look).map(|ruled| ruled.by), places.hosts_for(look)];
        found.map(|found| found.map(Look::name))
    }

    #[test]
    fn a_remote_is_served_and_configured_by_whom_its_namespace_names() {
        let istiods = istiod::Looks::default();
        let looks = vec![
            look("a-peer", Some("peer"), None, &[]),
            look("primary", Some("first"), None, &[]),
            look("remote", None, Some("remote-1"), &["first"]),
        ];
        let reads: [(&str, &[&str]); 2] = [("a-peer", &["remote-1"]), ("primary", &["remote-1"])];
        let all = places(&istiods, looks, &reads);
        assert_eq!(names(&all, "remote"), [Some("primary"), Some("primary"), None], "and not by another that reads it");
        assert_eq!(names(&all, "primary"), [Some("primary"), Some("primary"), None]);
        assert_eq!(all.by_id("remote-1").map(Look::name), Some("remote"));
        assert_eq!(all.by_id("remote").map(Look::name), None, "that is its name here");
        let nobody = places(&istiods, vec![look("remote", None, None, &["first"])], &[]);
        assert_eq!(names(&nobody, "remote"), [None, None, None]);
    }

    #[test]
    fn an_external_control_plane_is_configured_in_the_cluster_whose_id_it_has() {
        let istiods = istiod::Looks::default();
        let looks = || {
            vec![
                look("a-hub", Some("east"), None, &[]),
                look("config", None, Some("east"), &[]),
                look("west", None, Some("west"), &["east"]),
            ]
        };
        let all = places(&istiods, looks(), &[("a-hub", &["east", "west"])]);
        assert_eq!(names(&all, "config"), [Some("a-hub"), Some("config"), None]);
        assert_eq!(names(&all, "west"), [Some("a-hub"), Some("config"), None]);
        assert_eq!(names(&all, "a-hub")[2], Some("config"));
        let every = || ["a-hub", "config", "west"].map(str::to_owned).to_vec();
        assert_eq!(all.with_workloads(false, every()), ["config", "west"]);
        assert_eq!(all.with_workloads(true, every()), every());
    }
}
