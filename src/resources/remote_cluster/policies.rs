//! Policies in the clusters of a link that turn mTLS off: between networks no call crosses without it, and istiod leaves such endpoints out in silence.

use futures::future::join_all;

use super::Cx;
use crate::cluster::{Kind, Object, Query};
use crate::diag::Diagnostic;
use crate::mesh::WatchedCluster;
use crate::resources::client::briefly;

/// What is found, each policy once in a plan. A cluster that does not answer, or has no such kinds yet, has none.
pub async fn against(cx: &Cx, declared: &WatchedCluster) -> Option<Diagnostic> {
    let client = cx.client().ok()?;
    let crossing = client.walk.crossing(declared);
    if crossing.is_empty() {
        return None;
    }
    // Who is called says by its own policies what it accepts; who calls, by the rules of its own cluster.
    let clusters = std::iter::once(&declared.cluster).chain(&crossing);
    let looks = clusters.map(|cluster| async move {
        let found = off(cx, cluster, &declared.namespace).await;
        found.into_iter().map(move |what| format!("{what} in {cluster}"))
    });
    let found = join_all(looks).await.into_iter().flatten();
    let found: Vec<String> = found.filter(|what| client.walk.says_first(format!("without mTLS: {what}"))).collect();
    (!found.is_empty()).then(|| told(&found))
}

fn told(found: &[String]) -> Diagnostic {
    const SHOWN: usize = 6;
    let lines: Vec<String> = found.iter().take(SHOWN).map(|what| format!("- {what}")).collect();
    let more = found.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!("\n- and {more} more") } else { String::new() };
    // Of several warnings with one summary Terraform shows the first alone.
    let summary = format!("Policies turn mTLS off between networks: {}", found[0]);
    Diagnostic::warning(summary).at("watchers").detail(format!(
        "{}{more}\n\nAn east-west gateway tells by mTLS alone where a call is to go. What these are for cannot be called from another network: istiod leaves its endpoints there out, in silence. \
         Remove them, use the mode ISTIO_MUTUAL in the rules, or keep what they are for to callers of its own network.",
        lines.join("\n")
    ))
}

async fn off(cx: &Cx, name: &str, system: &str) -> Vec<String> {
    let Some(cluster) = briefly(cx, name) else { return Vec::new() };
    let (policies, rules) = (Query::of(Kind::PEER_AUTHENTICATION), Query::of(Kind::DESTINATION_RULE));
    let (policies, rules) = tokio::join!(cluster.list(&policies), cluster.list(&rules));
    let (policies, rules) = (policies.unwrap_or_default(), rules.unwrap_or_default());
    let policies = policies.iter().filter_map(|policy| turned_off(policy, system));
    policies.chain(rules.iter().filter_map(overrides)).collect()
}

/// A policy by which somebody takes plain text alone.
fn turned_off(policy: &Object, system: &str) -> Option<String> {
    let whole = policy.str("spec.mtls.mode") == "DISABLE";
    let ports = policy.get("spec.portLevelMtls").and_then(|ports| ports.as_object());
    let port = ports
        .into_iter()
        .flatten()
        .find(|(_, port)| port.get("mode").and_then(|mode| mode.as_str()) == Some("DISABLE"));
    let namespace = policy.namespace().unwrap_or_default();
    let of = match (policy.get("spec.selector").is_some(), whole, port) {
        (_, false, None) => return None,
        (true, true, _) => "some workloads of the namespace".to_owned(),
        (_, false, Some((port, _))) => format!("port {port} of some workloads"),
        (false, true, _) if namespace == system => "the whole mesh".to_owned(),
        (false, true, _) => "the whole namespace".to_owned(),
    };
    Some(format!("PeerAuthentication {namespace}/{} (for {of})", policy.name()))
}

/// A rule for Services of the mesh by which callers use something else than the mesh's own mTLS.
fn overrides(rule: &Object) -> Option<String> {
    let host = rule.str("spec.host");
    let of_mesh = !host.contains('.')
        || host.ends_with(".svc")
        || host.contains(".svc.")
        || host.ends_with(".local")
        || host == "*";
    let mode = modes(rule.get("spec.trafficPolicy"))
        .or_else(|| rule.items("spec.subsets").iter().find_map(|subset| modes(subset.get("trafficPolicy"))))?;
    let named = format!("DestinationRule {}/{}", rule.namespace().unwrap_or_default(), rule.name());
    of_mesh.then(|| format!("{named} (for {host}: {mode})"))
}

/// A mode other than the mesh's own, if a traffic policy says one.
fn modes(policy: Option<&serde_json::Value>) -> Option<&str> {
    let policy = policy?;
    let ports = policy.get("portLevelSettings").and_then(|ports| ports.as_array()).into_iter().flatten();
    let mut modes = std::iter::once(policy)
        .chain(ports)
        .filter_map(|one| one.get("tls"))
        .map(|tls| tls.get("mode").and_then(|mode| mode.as_str()).unwrap_or("DISABLE"));
    modes.find(|mode| *mode != "ISTIO_MUTUAL")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(kind: &str, namespace: &str, spec: Value) -> Object {
        let object = json!({"apiVersion": "x/v1", "kind": kind, "metadata": {"name": "n", "namespace": namespace}, "spec": spec});
        Object::new(object).expect("an object")
    }

    #[test]
    fn policies_are_told_by_what_they_are_for() {
        let of =
            |namespace: &str, spec: Value| turned_off(&object("PeerAuthentication", namespace, spec), "istio-system");
        let off = json!({"mode": "DISABLE"});
        for (namespace, spec, told) in [
            ("istio-system", json!({"mtls": off}), Some("PeerAuthentication istio-system/n (for the whole mesh)")),
            ("shop", json!({"mtls": off}), Some("PeerAuthentication shop/n (for the whole namespace)")),
            (
                "shop",
                json!({"selector": {"matchLabels": {"a": "b"}}, "mtls": off}),
                Some("PeerAuthentication shop/n (for some workloads of the namespace)"),
            ),
            (
                "shop",
                json!({"selector": {"matchLabels": {"a": "b"}}, "mtls": {"mode": "STRICT"}, "portLevelMtls": {"8080": off}}),
                Some("PeerAuthentication shop/n (for port 8080 of some workloads)"),
            ),
            ("istio-system", json!({"mtls": {"mode": "STRICT"}}), None),
            ("istio-system", json!({"mtls": {"mode": "PERMISSIVE"}}), None),
            ("istio-system", json!({}), None),
        ] {
            assert_eq!(of(namespace, spec.clone()).as_deref(), told, "{spec}");
        }
    }

    #[test]
    fn rules_for_services_of_the_mesh_are_told_unless_they_keep_its_mtls() {
        let told = |host: &str, policy: Value| {
            overrides(&object("DestinationRule", "shop", json!({"host": host, "trafficPolicy": policy}))).is_some()
        };
        let tls = |mode: &str| json!({"tls": {"mode": mode}});
        for (host, policy, expected) in [
            ("web.shop.svc.cluster.local", tls("DISABLE"), true),
            ("web", tls("SIMPLE"), true),
            ("*.local", json!({"portLevelSettings": [{"port": {"number": 80}, "tls": {"mode": "DISABLE"}}]}), true),
            ("*.local", tls("ISTIO_MUTUAL"), false),
            ("web.shop.svc.cluster.local", json!({"loadBalancer": {}}), false),
            ("api.example.com", tls("SIMPLE"), false),
        ] {
            assert_eq!(told(host, policy.clone()), expected, "{host} {policy}");
        }
        let subset = json!({"host": "web", "subsets": [{"name": "a", "trafficPolicy": tls("DISABLE")}]});
        assert!(overrides(&object("DestinationRule", "shop", subset)).is_some());
    }
}
