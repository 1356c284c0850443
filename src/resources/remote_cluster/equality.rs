//! Rules for Services of the mesh that are not the same in the clusters of a link, told at plan.

use super::Cx;
use crate::diag::Diagnostic;
use crate::mesh::WatchedCluster;
use crate::resources::client::briefly;
use crate::resources::equality::{self, Compared, Primary};

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
    let primaries = configured.into_iter().filter_map(|(name, policies)| {
        let cluster = briefly(cx, &name)?;
        Some(Primary { name, cluster, policies })
    });
    let primaries: Vec<Primary> = primaries.collect();
    let Compared { mut unlike, unknown } = equality::compare(&primaries).await;
    unlike.retain(|what| client.walk.says_first(format!("unlike: {what}")));
    let mut told: Vec<Diagnostic> = unknown
        .iter()
        .filter(|(name, _)| client.walk.says_first(format!("rules unread: {name}")))
        .map(|(name, why)| unread(name, why))
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

fn unread(cluster: &str, why: &str) -> Diagnostic {
    Diagnostic::warning(format!("Whether {cluster} has the rules of the other clusters is unknown")).at("watchers").detail(format!(
        "DestinationRules, VirtualServices or Services of {cluster} cannot be read: {why}\n\nWhere one differs from those of another cluster, calls behave otherwise by where they come from. Grant \
         the provider the right to list these kinds, as examples/rbac/reader.yaml does."
    ))
}
