//! What the istiods of a watcher say together of one cluster. Pure: the answers come from elsewhere.

use super::{RemoteCluster, ReplicaView, SyncStatus, Way};

/// What all replicas of one watcher say together of one cluster. The order is that of severity: the worst replica
/// speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    Synced,
    /// Reading for the first time, or again after the secret changed.
    Syncing,
    /// Not within istiod's `PILOT_REMOTE_CLUSTER_TIMEOUT`: it goes on trying.
    Timeout,
    /// The replica stopped watching and has not started again.
    Closed,
    /// The replica does not know the cluster: it has not seen the secret, or refused it.
    Missing,
    /// The cluster is registered from another secret, so ours is ignored.
    Foreign,
    /// There is no replica, or one could not be asked.
    Unknown,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Synced => "synced",
            Self::Syncing => "syncing",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Missing => "missing",
            Self::Foreign => "foreign",
            Self::Unknown => "unknown",
        }
    }
}

/// The cluster `id`, which the remote secret `secret` (`namespace/name`) describes, as these replicas see it.
pub fn verdict(views: &[ReplicaView], id: &str, secret: &str) -> Verdict {
    let each = views.iter().map(|view| match &view.clusters {
        Ok((clusters, way)) => of_replica(clusters, *way, id, secret),
        Err(_) => Verdict::Unknown,
    });
    each.max().unwrap_or(Verdict::Unknown)
}

fn of_replica(clusters: &[RemoteCluster], way: Way, id: &str, secret: &str) -> Verdict {
    let mut found = Verdict::Missing;
    for cluster in clusters.iter().filter(|cluster| cluster.id == id) {
        // Metrics do not tell the secret. Elsewhere an empty one means the replica's own cluster, which then has this
        // id.
        if cluster.secret != secret && way != Way::Metrics {
            found = Verdict::Foreign;
            continue;
        }
        return match &cluster.status {
            SyncStatus::Synced => Verdict::Synced,
            SyncStatus::Syncing => Verdict::Syncing,
            SyncStatus::Timeout => Verdict::Timeout,
            SyncStatus::Closed => Verdict::Closed,
            SyncStatus::Other(_) => Verdict::Unknown,
        };
    }
    found
}

/// The secret by which the cluster is registered instead of ours.
pub fn other_secret<'a>(views: &'a [ReplicaView], id: &str, secret: &str) -> Option<&'a str> {
    let known = views.iter().filter_map(|view| view.clusters.as_ref().ok()).flat_map(|(clusters, _)| clusters);
    known.filter(|cluster| cluster.id == id && cluster.secret != secret).map(|cluster| cluster.secret.as_str()).next()
}

/// Whether an istiod of this version loses the endpoints of a cluster, or never takes the change, when its remote
/// secret changes: 1.30.0 to 1.30.3.
pub fn loses_endpoints_on_rotation(version: &str) -> bool {
    let numbers = version.trim_start_matches('v').split(['-', '+']).next().unwrap_or_default();
    matches!(numbers.split('.').collect::<Vec<_>>()[..], ["1", "30", "0" | "1" | "2" | "3"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::istiod::Replica;

    fn view(clusters: &[(&str, &str, SyncStatus)]) -> ReplicaView {
        let cluster = |(id, secret, status): &(&str, &str, SyncStatus)| RemoteCluster {
            id: (*id).into(),
            secret: (*secret).into(),
            status: status.clone(),
        };
        ReplicaView {
            replica: Replica {
                pod: "istiod-1".into(),
                revision: "default".into(),
                image: "docker.io/istio/pilot:1.31.0".into(),
                ready: true,
                ..Replica::default()
            },
            clusters: Ok((clusters.iter().map(cluster).collect(), Way::PortForward)),
        }
    }

    #[test]
    fn a_verdict_counts_only_for_our_own_secret() {
        let views = [view(&[
            ("west", "s/ours-west", SyncStatus::Synced),
            ("north", "s/by-hand", SyncStatus::Synced),
            ("south", "s/ours-south", SyncStatus::Timeout),
        ])];
        let of = |id: &str| verdict(&views, id, &format!("s/ours-{id}"));
        assert_eq!(of("west"), Verdict::Synced);
        assert_eq!(of("south"), Verdict::Timeout);
        assert_eq!(of("north"), Verdict::Foreign);
        assert_eq!(other_secret(&views, "north", "s/ours-north"), Some("s/by-hand"));
        assert_eq!(of("gone"), Verdict::Missing);
    }

    #[test]
    fn the_worst_replica_speaks() {
        let views = [view(&[("west", "s/w", SyncStatus::Synced)]), view(&[("west", "s/w", SyncStatus::Syncing)])];
        assert_eq!(verdict(&views, "west", "s/w"), Verdict::Syncing);
        assert_eq!(verdict(&[views[0].clone(), view(&[])], "west", "s/w"), Verdict::Missing);
        assert_eq!(verdict(&[], "west", "s/w"), Verdict::Unknown);
    }

    #[test]
    fn only_1_30_0_to_1_30_3_lose_endpoints() {
        for (version, loses) in [
            ("1.29.9", false),
            ("1.30.0", true),
            ("1.30.3-distroless", true),
            ("v1.30.2", true),
            ("1.30.4", false),
            ("1.31.0", false),
            ("1.30-dev", false),
            ("unknown", false),
        ] {
            assert_eq!(loses_endpoints_on_rotation(version), loses, "{version}");
        }
    }
}
