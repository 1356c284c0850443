//! Rules for Services of the mesh that are not the same in the clusters of a link, told at plan.

use std::collections::BTreeMap;

use futures::future::join_all;

use super::Cx;
use crate::diag::Diagnostic;
use crate::mesh::WatchedCluster;
use crate::resources::client::briefly;
use crate::resources::equality::{self, Compared, Primary};
use crate::resources::policies;

/// Lines in one warning.
const SHOWN: usize = 6;

/// What is found: each once in a plan, and the same clusters are compared once.
pub async fn against(cx: &Cx, declared: &WatchedCluster) -> Vec<Diagnostic> {
    let Ok(client) = cx.client() else { return Vec::new() };
    let configured = client.walk.configured(declared);
    let names: Vec<&str> = configured.iter().map(|(name, _)| name.as_str()).collect();
    if names.len() < 2 || !client.walk.says_first(format!("rules compared: {}", names.join(","))) {
        return Vec::new();
    }
    let looks = configured.into_iter().map(|(name, said)| async {
        let cluster = briefly(cx, &name)?;
        let said = match said.is_empty() {
            true => policies::configured(&cluster, &declared.namespace).await,
            false => Ok(said),
        };
        Some((name, cluster, said))
    });
    let (mut primaries, mut unread) = (Vec::new(), BTreeMap::new());
    for (name, cluster, said) in join_all(looks).await.into_iter().flatten() {
        match said {
            Ok(policies) => primaries.push(Primary { name, cluster, policies }),
            Err(error) if error.is_answer() => drop(unread.insert(name, error.to_string())),
            // That it is out of reach is told by whatever is kept there.
            Err(_) => {}
        }
    }
    let Compared { mut unlike, mut unknown } = equality::compare(&primaries).await;
    unknown.append(&mut unread);
    unlike.retain(|what| client.walk.says_first(format!("unlike: {what}")));
    let mut told: Vec<Diagnostic> = unknown
        .iter()
        .filter(|(name, _)| client.walk.says_first(format!("rules unread: {name}")))
        .map(|(name, why)| not_compared(name, why))
        .collect();
    told.extend((!unlike.is_empty()).then(|| differ(&unlike)));
    told
}

fn differ(unlike: &[String]) -> Diagnostic {
    let lines: Vec<String> = unlike.iter().take(SHOWN).map(|what| format!("- {what}")).collect();
    let more = unlike.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!("\n- and {more} more") } else { String::new() };
    Diagnostic::warning("Services of the mesh are configured differently by cluster").at("watchers").detail(format!(
        "{}{more}\n\nEach istiod reads the rules of its own cluster alone. So a call is treated by the rules of the cluster it comes from: without the same rule everywhere, retries, subsets and the \
         failover to another cluster differ or are missing. Apply the same rules to every cluster with a control plane. Keep a host that is meant for one cluster out of the mesh: set `clusterLocal` for \
         it in `meshConfig.serviceSettings`. The guide \"One policy\" says more.",
        lines.join("\n")
    ))
}

fn not_compared(cluster: &str, why: &str) -> Diagnostic {
    Diagnostic::warning(format!("Whether {cluster} has the rules of the other clusters is unknown")).at("watchers").detail(format!(
        "DestinationRules, VirtualServices, Services or the mesh configuration of {cluster} cannot be read: {why}\n\nWhere one differs from those of another cluster, calls behave otherwise by where they come from. Grant \
         the provider the right to list these kinds, as examples/rbac/reader.yaml does."
    ))
}
