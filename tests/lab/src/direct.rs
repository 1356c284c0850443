//! What a test asks for most, one object of a common kind, asked of the API server itself: kubectl is a program that
//! starts, which costs a tenth of a second of a core, and many questions are asked until the answer is yes.

/// Names of a kind, and where its objects are.
const KINDS: [([&str; 2], &str); 8] = [
    (["namespace", "namespaces"], "api/v1"),
    (["configmap", "configmaps"], "api/v1"),
    (["pod", "pods"], "api/v1"),
    (["secret", "secrets"], "api/v1"),
    (["service", "services"], "api/v1"),
    (["serviceaccount", "serviceaccounts"], "api/v1"),
    (["deployment", "deployments"], "apis/apps/v1"),
    (["lease", "leases"], "apis/coordination.k8s.io/v1"),
];

/// The path of the one object that arguments of `kubectl get` name; `None` for whatever else kubectl is asked.
pub(crate) fn path(args: &[&str]) -> Option<String> {
    let (kind, name, namespace) = match *args {
        [kind @ ("namespace" | "namespaces"), name] => (kind, name, None),
        [kind, name, "-n", namespace] | ["-n", namespace, kind, name] => (kind, name, Some(namespace)),
        _ => return None,
    };
    let ([_, plural], group) = KINDS.iter().find(|(names, _)| names.contains(&kind))?;
    let is_name = |text: &str| !text.is_empty() && !text.starts_with('-') && !text.contains([',', '/']);
    match namespace {
        _ if !is_name(name) => None,
        Some(namespace) if is_name(namespace) && *plural != "namespaces" => {
            Some(format!("/{group}/namespaces/{namespace}/{plural}/{name}"))
        }
        None if *plural == "namespaces" => Some(format!("/{group}/{plural}/{name}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_object_of_a_common_kind_has_a_path_and_all_else_is_kubectls() {
        let known = |args: &[&str]| path(args).unwrap_or_default();
        assert_eq!(known(&["namespace", "shop"]), "/api/v1/namespaces/shop");
        assert_eq!(known(&["secret", "cacerts", "-n", "a"]), "/api/v1/namespaces/a/secrets/cacerts");
        assert_eq!(known(&["-n", "a", "deployments", "b"]), "/apis/apps/v1/namespaces/a/deployments/b");
        for other in [
            &["pods", "-n", "a"][..],
            &["pod", "-A", "-n", "a"],
            &["service", "name"],
            &["namespace", "a", "-n", "b"],
            &["secrets,configmaps", "a", "-n", "b"],
            &["gateways.networking.istio.io", "a", "-n", "b"],
            &["pod", "a,b", "-n", "c"],
            &["pod", "a", "-n", "b", "-w"],
        ] {
            assert_eq!(path(other), None, "{other:?}");
        }
    }
}
