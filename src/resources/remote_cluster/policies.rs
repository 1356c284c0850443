//! Policies in the clusters of a link that turn mTLS off, told at plan.

use std::collections::BTreeMap;

use futures::future::join_all;

use super::Cx;
use crate::diag::Diagnostic;
use crate::mesh::{MeshPolicy, WatchedCluster};
use crate::resources::client::briefly;
use crate::resources::policies;

/// What is found, each policy once in a plan, and what could not be read. A cluster that has no such kinds yet has
/// none.
pub async fn against(cx: &Cx, declared: &WatchedCluster) -> Vec<Diagnostic> {
    let Ok(client) = cx.client() else { return Vec::new() };
    let crossing = client.walk.crossing(declared);
    if crossing.is_empty() {
        return Vec::new();
    }
    // Who is called says by its own policies what it accepts; who calls, by the rules of its own cluster.
    let clusters = std::iter::once(&declared.cluster).chain(&crossing);
    let configured: BTreeMap<String, Vec<MeshPolicy>> = client.walk.configured(declared).into_iter().collect();
    let configured = &configured;
    let looks = clusters.map(|cluster| async move {
        let configured = configured.get(cluster).map(Vec::as_slice).unwrap_or_default();
        let look = off(cx, cluster, &declared.namespace, configured);
        (cluster, client.walk.policies_off(cluster, &declared.namespace, look).await)
    });
    let (mut found, mut told) = (Vec::new(), Vec::new());
    for (cluster, look) in join_all(looks).await {
        match look {
            Ok(policies) => found.extend(policies.into_iter().map(|what| format!("{what} in {cluster}"))),
            Err(why) if client.walk.says_first(format!("policies unread: {cluster}")) => {
                told.push(unread(cluster, &why))
            }
            Err(_) => {}
        }
    }
    found.retain(|what| client.walk.says_first(format!("without mTLS: {what}")));
    told.extend((!found.is_empty()).then(|| turned_off(&found)));
    told
}

fn turned_off(found: &[String]) -> Diagnostic {
    const SHOWN: usize = 6;
    let lines: Vec<String> = found.iter().take(SHOWN).map(|what| format!("- {what}")).collect();
    let more = found.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!("\n- and {more} more") } else { String::new() };
    // Of several warnings with one summary Terraform shows the first alone.
    let summary = format!("Policies turn mTLS off between networks: {}", found[0]);
    Diagnostic::warning(summary).at("watchers").detail(format!(
        "{}{more}\n\nAn east-west gateway learns only from mTLS where a call goes. So the workloads of these policies cannot be called from another network: istiod leaves their endpoints out, and reports nothing. Remove the policies, use the mode ISTIO_MUTUAL in the rules, or call these workloads from their own network only.",
        lines.join("\n")
    ))
}

fn unread(cluster: &str, why: &str) -> Diagnostic {
    Diagnostic::warning(format!("Whether policies in {cluster} turn mTLS off is unknown")).at("watchers").detail(format!(
        "PeerAuthentications and DestinationRules of {cluster} cannot be read: {why}\n\nWhere one turns mTLS off, calls from other networks do not arrive. Grant the provider the right to list both kinds, \
         as examples/rbac/reader.yaml does."
    ))
}

async fn off(cx: &Cx, name: &str, system: &str, configured: &[MeshPolicy]) -> Result<Vec<String>, String> {
    let Some(cluster) = briefly(cx, name) else { return Ok(Vec::new()) };
    match policies::off(&cluster, system, configured).await {
        Ok(policies) => Ok(policies.into_iter().map(|policy| policy.what).collect()),
        // That it is out of reach is told by whatever is kept there.
        Err(error) if !error.is_answer() => Ok(Vec::new()),
        Err(error) => Err(error.to_string()),
    }
}
