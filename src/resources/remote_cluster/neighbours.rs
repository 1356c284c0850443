//! What a plan sees of the clusters at both ends of a link, beside what the configuration says of them: Pod ranges that overlap within one network, and a
//! network that nobody can enter. Both are warnings: a look at clusters never fails a plan, and what it sees may be about to change.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;

use super::Cx;
use super::model::RemoteCluster;
use crate::cluster::{Cluster, Kind, Object, Query, Scope};
use crate::diag::Diagnostic;
use crate::mesh::{Cidr, Closed, NETWORK_LABEL, WatchedCluster};
use crate::resources::client;

/// A cluster that is silent holds a plan up no longer than this.
const LOOK_WITHIN: Duration = Duration::from_secs(5);

/// Watchers of the cluster's own network whose Pods may have the addresses of its Pods. Looked for when a link is planned that there was not before: it costs a
/// list of the nodes at both ends.
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
         reach the wrong Pods. Give one of the clusters another range, or each a `network` of its own with a `mesh_eastwest_gateway`. (Ignore this if a network plugin does not take \
         addresses from the `podCIDR` of nodes.)",
        own.0, own.1, theirs.0, theirs.1
    ))
}

/// A link into another network that has stood since an earlier apply, and still no gateway there, neither in the configuration nor in the clusters.
pub async fn gateways(cx: &Cx, declared: &WatchedCluster) -> Option<Diagnostic> {
    let closed = cx.client().ok()?.walk.closed(declared)?;
    let looks =
        join_all(closed.members.iter().map(|member| has_gateway(cx, member, &declared.namespace, &closed.network)))
            .await;
    // A member that does not answer may have one.
    looks.into_iter().all(|found| found == Some(false)).then(|| without_gateway(&declared.cluster, &closed))
}

/// `None` where it cannot be known.
async fn has_gateway(cx: &Cx, member: &str, namespace: &str, network: &str) -> Option<bool> {
    let cluster = briefly(cx, member)?;
    let leads = |services: &[Object]| services.iter().any(|service| service.label(NETWORK_LABEL) == Some(network));
    // The list that every refresh asks for anyhow; someone else's gateway costs one more.
    if leads(&cluster.list(&Query::owned(Kind::SERVICE, namespace)).await.ok()?) {
        return Some(true);
    }
    cluster.list(&Query::of(Kind::SERVICE).label(NETWORK_LABEL, network)).await.ok().map(|services| leads(&services))
}

fn without_gateway(watched: &str, closed: &Closed) -> Diagnostic {
    let list = |names: &BTreeSet<String>| names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let Closed { network, members, from } = closed;
    Diagnostic::warning(format!("No gateway leads to {watched}")).at("cluster").detail(format!(
        "Its network {network} (clusters {}) has no east-west gateway, and {} would call its Pods from another network, by addresses that mean nothing there: connections time out. Add a \
         `mesh_eastwest_gateway` with `network = {network:?}` and `expose = {{ services = true }}` to one of these clusters.",
        list(members),
        list(from)
    ))
}

/// A handle that waits little.
fn briefly(cx: &Cx, name: &str) -> Option<Cluster> {
    let cluster = client::cluster(cx, name).ok()?;
    Some(cluster.within(Scope::lasting(LOOK_WITHIN, cx.cancellation().clone())))
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
