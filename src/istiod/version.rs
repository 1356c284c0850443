//! Which version of Istio an istiod is.

use super::ReplicaView;
use crate::cluster::Object;

/// The version of a Deployment of istiod. The charts inside istioctl are all of version 1.0.0, so that its own label
/// comes first.
pub fn version_of(deployment: &Object) -> Option<String> {
    let istioctl = deployment.label("operator.istio.io/version");
    // A label takes no `+`, so that charts write `_` for it, which no version has.
    let chart = deployment.label("helm.sh/chart").and_then(|label| label.strip_prefix("istiod-"));
    let chart = chart.map(|version| version.replace('_', "+"));
    let image = deployment.str("spec.template.spec.containers.0.image").rsplit_once(':').map(|(_, tag)| tag);
    let candidates = [istioctl, chart.as_deref(), deployment.label("app.kubernetes.io/version"), image];
    let is_version = |text: &&str| text.starts_with(|first: char| first.is_ascii_digit()) && *text != "1.0.0";
    candidates.into_iter().flatten().find(is_version).map(str::to_owned)
}

/// The oldest version among the replicas, by their images.
pub fn oldest_version(views: &[ReplicaView]) -> Option<String> {
    let versions = views.iter().filter_map(|view| view.replica.version());
    versions.min_by_key(|version| numbers(version)).map(str::to_owned)
}

/// Whether a version is of this minor version of Istio, or newer; `None` where it says no number.
pub fn is_from(version: &str, minor: [u64; 2]) -> Option<bool> {
    let numbers = numbers(version);
    (numbers.len() >= minor.len()).then(|| numbers.as_slice() >= minor.as_slice())
}

/// Whether a version is older than another; one that says no number is not.
pub fn is_older(version: &str, than: &str) -> bool {
    let version = numbers(version);
    !version.is_empty() && version < numbers(than)
}

fn numbers(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_of_istio_and_not_of_charts_inside_istioctl() {
        let installed = |labels: serde_json::Value| {
            let deployment = serde_json::json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "istiod", "labels": labels},
                "spec": {"template": {"spec": {"containers": [{"image": "docker.io/istio/pilot:1.29.1"}]}}},
            });
            version_of(&Object::new(deployment).unwrap())
        };
        let istioctl = serde_json::json!({"helm.sh/chart": "istiod-1.0.0", "operator.istio.io/version": "1.31.0"});
        assert_eq!(installed(istioctl).as_deref(), Some("1.31.0"));
        assert_eq!(installed(serde_json::json!({"helm.sh/chart": "istiod-1.30.2"})).as_deref(), Some("1.30.2"));
        let with_build = serde_json::json!({"helm.sh/chart": "istiod-1.31.0_vendor.2"});
        assert_eq!(installed(with_build).as_deref(), Some("1.31.0+vendor.2"));
        assert_eq!(installed(serde_json::json!({"operator.istio.io/version": "unknown"})).as_deref(), Some("1.29.1"));
    }
}
