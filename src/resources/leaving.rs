//! A namespace on its way out: what was in it is missing, and nothing can be made there before it is gone.

use crate::cluster::{Cluster, Kind, Object, ObjectRef};
use crate::diag::Diagnostic;
use crate::kept::read::Seen;

/// Told where objects are missing and their namespace is being deleted. Asked for only then.
pub async fn namespace(cluster: &Cluster, namespace: &str, seen: &Seen) -> Option<Diagnostic> {
    let is_missing = seen.drifts.iter().any(|drift| drift.path.is_none() && drift.is.is_none());
    if !is_missing {
        return None;
    }
    let found = cluster.get(&ObjectRef::cluster(Kind::NAMESPACE, namespace)).await.ok().flatten()?;
    found.is_terminating().then(|| told(cluster.name(), &found))
}

fn told(cluster: &str, namespace: &Object) -> Diagnostic {
    let name = namespace.name();
    let reasons = namespace.conditions().filter(|condition| condition.is_true() && !condition.message.is_empty());
    let mut reasons: Vec<String> =
        reasons.map(|condition| format!("- {}: {}", condition.kind, condition.message)).collect();
    reasons.extend(
        namespace.items("spec.finalizers").iter().filter_map(|one| Some(format!("- finalizer {}", one.as_str()?))),
    );
    let held = match reasons.is_empty() {
        true => String::new(),
        false => format!("\n{}\n", reasons.join("\n")),
    };
    Diagnostic::warning(format!("Namespace {name} of {cluster} is being deleted")).detail(format!(
        "Nothing can be made in it before it is gone, and an apply waits for that.{held}\nFind out who deletes it, and what its finalizers wait for: `kubectl get namespace {name} -o yaml`."
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_holds_a_namespace_is_told() {
        let condition =
            |kind: &str, status: &str, message: &str| json!({"type": kind, "status": status, "message": message});
        let namespace = Object::new(
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "istio-system"},
            "spec": {"finalizers": ["kubernetes"]},
            "status": {"conditions": [
                condition("NamespaceFinalizersRemaining", "True", "Some content has finalizers remaining: example.com/hold in 1 instance"),
                condition("NamespaceDeletionDiscoveryFailure", "False", "All resources successfully discovered"),
            ]}}),
        );
        let told = told("west", &namespace.expect("an object")).detail;
        assert!(told.contains("example.com/hold") && told.contains("finalizer kubernetes"), "{told}");
        assert!(!told.contains("successfully"), "{told}");
    }
}
