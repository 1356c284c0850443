//! Policies in the clusters of a link that keep its ends from speaking mTLS, told at plan.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;

use super::Cx;
use crate::diag::Diagnostic;
use crate::mesh::{DiscoverySelectors, MeshPolicy, Ruling, WatchedCluster};
use crate::resources::client::briefly;
use crate::resources::policies::{self, Policies};

/// What is found, each policy once in a plan, and what could not be read. A cluster that has no such kinds yet has
/// none.
pub async fn against(cx: &Cx, declared: &WatchedCluster) -> Vec<Diagnostic> {
    let Ok(client) = cx.client() else { return Vec::new() };
    let Ruling { own, near, crossing } = client.walk.ruling(declared);
    if crossing.is_empty() && near.is_empty() {
        return Vec::new();
    }
    let configured: BTreeMap<String, Vec<MeshPolicy>> = client.walk.configured(declared).into_iter().collect();
    let configured = &configured;
    let clusters: BTreeSet<&String> = own.iter().chain(&near).chain(&crossing).collect();
    let looks = clusters.into_iter().map(|cluster| async move {
        let configured = configured.get(cluster).map(Vec::as_slice).unwrap_or_default();
        let look = look(cx, cluster, &declared.namespace, configured);
        (cluster, client.walk.policies(cluster, &declared.namespace, look).await)
    });
    let (mut seen, mut told) = (BTreeMap::new(), Vec::new());
    for (cluster, look) in join_all(looks).await {
        match look {
            Ok(policies) => drop(seen.insert(cluster, policies)),
            Err(why) if client.walk.says_first(format!("policies unread: {cluster}")) => {
                told.push(unread(cluster, &why))
            }
            Err(_) => {}
        }
    }
    // Who is called says by its own policies what it accepts; who calls, by the rules of its own cluster.
    let apart = if crossing.is_empty() { BTreeSet::new() } else { own.union(&crossing).collect::<BTreeSet<_>>() };
    let off = apart.into_iter().filter_map(|cluster| Some((cluster, seen.get(cluster)?)));
    let off =
        off.flat_map(|(cluster, policies)| policies.off.iter().map(move |off| format!("{} in {cluster}", off.what)));
    let found: Vec<String> = off.filter(|what| client.walk.says_first(format!("without mTLS: {what}"))).collect();
    told.extend((!found.is_empty()).then(|| turned_off(&found)));
    for caller in &near {
        let found = |judge: fn(&Policies, &Policies) -> Vec<String>, once: &str| -> Vec<String> {
            let pairs = own.iter().filter_map(|called| Some((called, seen.get(caller)?, seen.get(called)?)));
            let told = pairs.flat_map(|(called, from, to)| {
                judge(from, to).into_iter().map(move |what| format!("{what} in {called}"))
            });
            told.filter(|what| client.walk.says_first(format!("{once}: {caller} {what}"))).collect()
        };
        let clashes = found(clashes_between, "plain text");
        told.extend((!clashes.is_empty()).then(|| plain_text(caller, &declared.cluster, &clashes)));
        let alone = found(unheard_between, "unheard");
        told.extend((!alone.is_empty()).then(|| unheard(caller, &declared.cluster, &alone)));
    }
    told
}

fn clashes_between(from: &Policies, to: &Policies) -> Vec<String> {
    let plain = to.strict.first().filter(|_| from.speaks_plain_text());
    let plain = plain.map(|strict| format!("`enableAutoMtls: false` against {}", strict.what));
    plain.into_iter().chain(policies::clashes(&from.off, to)).collect()
}

/// Of who is called what callers do not know, and so speak mTLS. Those that speak plain text arrive.
fn unheard_between(from: &Policies, to: &Policies) -> Vec<String> {
    if from.speaks_plain_text() { Vec::new() } else { policies::unheard(from, to) }
}

fn unheard(caller: &str, called: &str, found: &[String]) -> Diagnostic {
    let summary = format!("Workloads of {called} do not take the mTLS of clients in {caller}: {}", found[0]);
    Diagnostic::warning(summary).at("watchers").detail(format!(
        "{}\n\nBy each of these policies, workloads in {called} accept plain text only. The istiod of {caller} does not read them, because it reads PeerAuthentications in its own cluster only. So clients in {caller} use mTLS, \
         and the workloads refuse these calls. Apply the same PeerAuthentications in both clusters, or remove them.",
        lines(found)
    ))
}

fn plain_text(caller: &str, called: &str, found: &[String]) -> Diagnostic {
    let summary = format!("Clients of {caller} do not speak the mesh's mTLS with {called}: {}", found[0]);
    Diagnostic::warning(summary).at("watchers").detail(format!(
        "{}\n\nEach line names two settings. By the first one, clients in {caller} send plain text, or use TLS of their own. By the second one, workloads in {called} accept the mesh's mTLS only. So they refuse \
         these calls. Remove what turns mTLS off, use the mode ISTIO_MUTUAL in the rules, or the mode PERMISSIVE in {called}.",
        lines(found)
    ))
}

/// The first of them, and how many more.
fn lines(found: &[String]) -> String {
    const SHOWN: usize = 6;
    let lines: Vec<String> = found.iter().take(SHOWN).map(|what| format!("- {what}")).collect();
    let more = found.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!("\n- and {more} more") } else { String::new() };
    format!("{}{more}", lines.join("\n"))
}

fn turned_off(found: &[String]) -> Diagnostic {
    // Of several warnings with one summary Terraform shows the first alone.
    let summary = format!("Policies turn mTLS off between networks: {}", found[0]);
    Diagnostic::warning(summary).at("watchers").detail(format!(
        "{}\n\nAn east-west gateway learns only from mTLS where a call goes. So the workloads of these policies cannot be called from another network: istiod leaves their endpoints out, and reports nothing. Remove the policies, use the mode ISTIO_MUTUAL in the rules, or call these workloads from their own network only.",
        lines(found)
    ))
}

fn unread(cluster: &str, why: &str) -> Diagnostic {
    Diagnostic::warning(format!("Whether policies in {cluster} turn mTLS off is unknown")).at("watchers").detail(format!(
        "PeerAuthentications, DestinationRules or the mesh configuration of {cluster} cannot be read: {why}\n\nWhere one turns mTLS off, or takes nothing else, calls from other clusters may not arrive. Grant the provider the right to list these kinds, \
         as examples/rbac/reader.yaml does."
    ))
}

/// Of control planes that somebody else keeps nobody has declared the mesh configuration: it is read.
async fn look(cx: &Cx, name: &str, system: &str, configured: &[MeshPolicy]) -> Result<Policies, String> {
    let Some(cluster) = briefly(cx, name) else { return Ok(Policies::default()) };
    let found = async {
        match configured {
            [] => policies::live(&cluster, &cluster, system).await,
            declared => policies::of_cluster(&cluster, system, declared, &declared_selectors(cx, name, system)).await,
        }
    };
    match found.await {
        Ok(policies) => Ok(policies),
        // That it is out of reach is told by whatever is kept there.
        Err(error) if !error.is_answer() => Ok(Policies::default()),
        Err(error) => Err(error.to_string()),
    }
}

/// What the control planes that are declared to read a cluster's policies look into.
fn declared_selectors(cx: &Cx, cluster: &str, system: &str) -> Vec<DiscoverySelectors> {
    cx.client().map(|client| client.walk.selectors_of(cluster, system)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::policies::{Off, Scope, Strict, Whom};

    #[test]
    fn plain_text_is_told_where_the_other_end_takes_none() {
        let off = Off { what: "DestinationRule shop/web".into(), whom: Whom::Namespace("shop".into()), is_plain: true };
        let strict = Strict { what: "PeerAuthentication a/b".into(), scope: Scope::AllBut(BTreeSet::new()) };
        let rule = Policies { off: vec![off], ..Policies::default() };
        let takes_none = Policies { strict: vec![strict], ..Policies::default() };
        let plain = Policies { is_plain: true, ..Policies::default() };
        let none = Policies::default();
        assert_eq!(clashes_between(&rule, &takes_none), ["DestinationRule shop/web against PeerAuthentication a/b"]);
        assert_eq!(clashes_between(&plain, &takes_none), ["`enableAutoMtls: false` against PeerAuthentication a/b"]);
        for (from, to) in [(&rule, &none), (&plain, &none), (&none, &takes_none)] {
            assert_eq!(clashes_between(from, to), [""; 0]);
        }
        let mutual = Policies { mutual: vec![Whom::Everybody], ..plain };
        assert_eq!(clashes_between(&mutual, &takes_none), [""; 0]);
        let told = plain_text("east", "west", &["a in west".to_owned()]);
        assert!(told.summary.contains("Clients of east") && told.detail.contains("- a in west"), "{told:?}");
    }

    #[test]
    fn mtls_is_told_where_the_other_end_takes_plain_text_alone() {
        let off = |what: &str| Off { what: what.into(), whom: Whom::Namespace("shop".into()), is_plain: true };
        let alone = Policies { off: vec![off("PeerAuthentication shop/a")], ..Policies::default() };
        let alike = Policies { off: vec![off("PeerAuthentication shop/b")], ..Policies::default() };
        let plain = Policies { is_plain: true, ..Policies::default() };
        let mutual = Policies { mutual: vec![Whom::Everybody], ..plain.clone() };
        let none = Policies::default();
        for (from, to, count) in
            [(&none, &alone, 1), (&mutual, &alone, 1), (&plain, &alone, 0), (&alike, &alone, 0), (&alone, &none, 0)]
        {
            assert_eq!(unheard_between(from, to).len(), count, "{from:?} {to:?}");
        }
        let told = unheard("east", "west", &["a in west".to_owned()]);
        assert!(told.summary.contains("clients in east") && told.detail.contains("- a in west"), "{told:?}");
    }
}
