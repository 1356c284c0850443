//! The proxies that are connected to the control planes of a cluster, by their versions.

use std::collections::BTreeMap;

use futures::future::join_all;

use crate::cluster::Cluster;
use crate::istiod::{self, Connected, Looks, ReplicaView};
use crate::value::{Map, Value};

/// Where proxies name no version.
const UNNAMED: &str = "unknown";

/// By revision; none of a revision of which a replica could not be asked, as the proxies of that would be missing.
pub(super) async fn look(
    istiods: &Looks,
    cluster: &Cluster,
    namespace: &str,
    views: &[ReplicaView],
) -> BTreeMap<String, Connected> {
    let each = views.iter().map(|view| async move {
        let revision = view.replica.revision.as_str();
        let answer = match view.replica.ready {
            true => istiods.connected(cluster, namespace, &view.replica.pod).await.ok(),
            false => Some(Connected::new()),
        };
        (if revision.is_empty() { "default" } else { revision }.to_owned(), answer)
    });
    together(join_all(each).await)
}

/// Each proxy is connected to one replica.
fn together(answers: Vec<(String, Option<Connected>)>) -> BTreeMap<String, Connected> {
    let mut all: BTreeMap<String, Option<Connected>> = BTreeMap::new();
    for (revision, answer) in answers {
        let sum = all.entry(revision).or_insert_with(|| Some(Connected::new()));
        match (sum.as_mut(), answer) {
            (Some(sum), Some(answer)) => {
                answer.into_iter().for_each(|(version, count)| *sum.entry(version).or_default() += count);
            }
            _ => *sum = None,
        }
    }
    all.into_iter().filter_map(|(revision, sum)| Some((revision, sum?))).collect()
}

/// What is shown of those of one control plane: how many by version, and how many are older than it.
pub(super) fn shown(connected: Option<&Connected>, version: Option<&str>) -> (Value<Map<i64>>, Value<i64>) {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let by_version = connected.map(|connected| {
        let name = |version: &String| if version.is_empty() { UNNAMED.to_owned() } else { version.clone() };
        connected.iter().map(|(version, count)| (name(version), number(*count))).collect::<Value<Map<i64>>>()
    });
    let behind = connected.zip(version.filter(|version| istiod::is_from(version, [0, 0]).is_some()));
    let behind = behind.map(|(connected, own)| {
        let older = connected.iter().filter(|(version, _)| istiod::is_older(version, own));
        number(older.map(|(_, count)| count).sum())
    });
    (by_version.unwrap_or(Value::Null), behind.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connected(counts: &[(&str, u64)]) -> Connected {
        counts.iter().map(|(version, count)| ((*version).to_owned(), *count)).collect()
    }

    #[test]
    fn proxies_of_all_replicas_count_and_none_where_one_does_not_answer() {
        let all = together(vec![
            ("default".to_owned(), Some(connected(&[("1.30.0", 3), ("1.31.0", 1)]))),
            ("canary".to_owned(), Some(connected(&[("1.31.0", 2)]))),
            ("default".to_owned(), Some(connected(&[("1.31.0", 4)]))),
            ("canary".to_owned(), None),
        ]);
        assert_eq!(all, [("default".to_owned(), connected(&[("1.30.0", 3), ("1.31.0", 5)]))].into());
    }

    #[test]
    fn those_older_than_their_control_plane_are_behind() {
        let all = connected(&[("1.30.2", 3), ("1.31.0", 5), ("", 1), ("1.32.0", 1)]);
        let (by_version, behind) = shown(Some(&all), Some("1.31.0"));
        let told: Vec<(&str, i64)> = by_version.entries().map(|(version, count)| (version, *count)).collect();
        assert_eq!(told, [("1.30.2", 3), ("1.31.0", 5), ("1.32.0", 1), ("unknown", 1)]);
        assert_eq!(behind.get(), Some(3));
        assert_eq!(shown(Some(&Connected::new()), Some("1.31.0")).1.get(), Some(0));
        assert_eq!(shown(Some(&all), Some("latest")).1, Value::Null, "no version to compare with");
        assert_eq!(shown(None, Some("1.31.0")), (Value::Null, Value::Null));
    }
}
