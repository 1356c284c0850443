//! What a plan sees of the clusters at both ends of a link, beside what the configuration says of them: Pod ranges that
//! overlap within one network. It is a warning: a look at clusters never fails a plan, and what it sees may be about to
//! change.

use futures::future::join_all;

use super::Cx;
use super::model::RemoteCluster;
use crate::cluster::{Kind, Object, Query};
use crate::diag::Diagnostic;
use crate::mesh::{Cidr, WatchedCluster};
use crate::resources::client::briefly;

/// Watchers of the cluster's own network whose Pods may have the addresses of its Pods. Looked for when a link is
/// planned that there was not before: it costs a list of the nodes at both ends.
pub async fn pod_ranges(cx: &Cx, declared: &WatchedCluster, prior: Option<&RemoteCluster>) -> Vec<Diagnostic> {
    let Ok(client) = cx.client() else { return Vec::new() };
    let mut neighbours = client.walk.neighbours(declared);
    neighbours.retain(|watcher| prior.is_none_or(|prior| prior.sync.entry(watcher).is_none()));
    if neighbours.is_empty() {
        return Vec::new();
    }
    let own = ranges_of(cx, &declared.cluster).await;
    if own.is_empty() {
        return Vec::new();
    }
    let theirs = join_all(neighbours.iter().map(|watcher| ranges_of(cx, watcher))).await;
    let shared = neighbours.iter().zip(&theirs).filter_map(|(watcher, theirs)| {
        let (own, theirs) = overlap(&own, theirs)?;
        Some(overlapping(&declared.cluster, watcher, (own, theirs)))
    });
    shared.collect()
}

/// Ranges of Pod addresses, by node; none where the nodes cannot be read, or say nothing.
async fn ranges_of(cx: &Cx, name: &str) -> Vec<(String, Cidr)> {
    let Some(cluster) = briefly(cx, name) else { return Vec::new() };
    let Ok(nodes) = cluster.list(&Query::of(Kind::NODE)).await else { return Vec::new() };
    nodes.iter().flat_map(ranges).collect()
}

fn ranges(node: &Object) -> Vec<(String, Cidr)> {
    let ranges = node.items("spec.podCIDRs").iter().filter_map(|range| Cidr::parse(range.as_str()?).ok());
    ranges.map(|range| (node.name().to_owned(), range)).collect()
}

type Range<'a> = &'a (String, Cidr);

fn overlap<'a>(own: &'a [(String, Cidr)], theirs: &'a [(String, Cidr)]) -> Option<(Range<'a>, Range<'a>)> {
    own.iter().find_map(|own| Some((own, theirs.iter().find(|their| own.1.overlaps(&their.1))?)))
}

fn overlapping(watched: &str, watcher: &str, (own, theirs): (Range<'_>, Range<'_>)) -> Diagnostic {
    Diagnostic::warning(format!("Pods of {watched} and {watcher} may have the same addresses")).at("watchers").detail(format!(
        "Both clusters are in one network, where Pods call each other by address. But node {} in {watched} assigns Pod addresses from {}, and node {} in {watcher} from {}; these overlap, so calls would \
         reach the wrong Pods. Give each cluster a `network` of its own (`mesh_primary` or `mesh_remote_cluster`) and a `mesh_eastwest_gateway`, or build one cluster with another range of Pod addresses. \
         Ignore this warning if your network plugin does not assign addresses from the `podCIDR` of nodes, as Calico and the plugins of clouds may not.",
        own.0, own.1, theirs.0, theirs.1
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(name: &str, ranges: &[&str]) -> Object {
        Object::new(
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"podCIDRs": ranges}}),
        )
        .expect("an object")
    }

    #[test]
    fn ranges_of_either_family_overlap_or_not() {
        let east = ranges(&node("e1", &["10.1.0.0/24", "fd00:1::/64"]));
        for (theirs, overlaps) in [
            (&["10.2.0.0/24", "fd00:2::/64"][..], false),
            (&["10.1.0.128/25"], true),
            (&["10.2.0.0/24", "fd00:1::/64"], true),
            (&["no range"], false),
            (&[], false),
        ] {
            assert_eq!(overlap(&east, &ranges(&node("w1", theirs))).is_some(), overlaps, "{theirs:?}");
        }
        let west = ranges(&node("w1", &["10.1.0.0/16"]));
        let told = overlapping("east", "west", overlap(&east, &west).expect("an overlap"));
        assert!(told.detail.contains("node e1 in east assigns Pod addresses from 10.1.0.0/24"), "{}", told.detail);
    }
}
