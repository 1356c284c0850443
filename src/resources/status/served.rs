//! Clusters that the istiods of others serve: what counts there is for these to say.

use std::collections::BTreeMap;

use futures::future::join_all;

use super::judge::{Sight, served};
use crate::cluster::Cluster;
use crate::resources::policies;

/// Reads policies again where the istiods of other clusters decide over them: by what these look into, and by their
/// mesh configurations.
pub(super) async fn read_policies(seen: &mut BTreeMap<String, Sight>, clusters: &BTreeMap<String, Cluster>) {
    let looked_at = |name: &String| seen.get(name).is_some_and(|sight| sight.crossing.policies.is_some());
    let served: Vec<_> = served(seen).into_iter().filter(|(name, _)| looked_at(name)).collect();
    let looks = served.into_iter().map(|(name, hosts)| {
        let istiods = hosts.iter().filter_map(|host| Some((clusters.get(host)?, &*seen.get(host)?.system_namespace)));
        let (istiods, cluster): (Vec<_>, _) = (istiods.collect(), clusters.get(&name));
        async move {
            let found = policies::live_by(&istiods, cluster?).await.map_err(|error| error.to_string());
            Some((name, found))
        }
    });
    let found: Vec<_> = join_all(looks).await.into_iter().flatten().collect();
    for (name, policies) in found {
        if let Some(sight) = seen.get_mut(&name) {
            sight.crossing.policies = Some(policies);
        }
    }
}
