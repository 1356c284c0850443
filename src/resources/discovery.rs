//! Namespaces that `discoverySelectors` leave out: what is in one is not there for istiod. Told at plan.

use std::collections::BTreeMap;

use super::client::{Client, briefly};
use crate::cluster::{Kind, Object, ObjectRef};
use crate::diag::Diagnostic;
use crate::engine::Ctx;
use crate::mesh::DiscoverySelectors;
use crate::resources::passthrough::labels;
use crate::value::Path;

/// A namespace, and whose selectors are to select it.
#[derive(Debug, Clone, Copy)]
pub struct Namespace<'a> {
    /// The provider's name for the cluster.
    pub cluster: &'a str,
    pub name: &'a str,
    /// Labels that a plan gives it.
    pub given: &'a [(&'a str, &'a str)],
}

/// Whether the selectors leave a namespace out; `false` where that is not known. One that is not there yet gets no
/// labels but those that a plan gives it.
pub async fn is_left_out<P>(cx: &Ctx<Client, P>, selectors: &DiscoverySelectors, namespace: Namespace<'_>) -> bool {
    if selectors.is_empty() {
        return false;
    }
    let Some(cluster) = briefly(cx, namespace.cluster) else { return false };
    match cluster.get_metadata(&ObjectRef::cluster(Kind::NAMESPACE, namespace.name)).await {
        Ok(live) => leaves_out(selectors, namespace, live.as_ref()),
        Err(_) => false,
    }
}

fn leaves_out(selectors: &DiscoverySelectors, namespace: Namespace<'_>, live: Option<&Object>) -> bool {
    let given = namespace.given.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let labels: BTreeMap<String, String> =
        live.map(|live| labels(live, "metadata.labels")).unwrap_or_default().into_iter().chain(given).collect();
    !selectors.select(namespace.name, &labels)
}

/// What to do about it.
pub fn way_out(namespace: &str) -> String {
    format!(
        "Give the namespace a label that a selector asks for, or add the selector `matchLabels: {{kubernetes.io/metadata.name: {namespace}}}` to `meshConfig.discoverySelectors` in the `values` of the `mesh_primary`, in every cluster of the mesh"
    )
}

/// Told at the control plane, of its own namespace.
pub fn own_namespace(cluster: &str, namespace: &str) -> Diagnostic {
    Diagnostic::warning("istiod would not look into its own namespace").at(Path::root("values")).detail(format!(
        "The `discoverySelectors` in these values leave out the namespace {namespace} of cluster {cluster}. istiod takes what is in it for absent: policies for the whole mesh, gateways, and \
         the objects that let other networks in. {}.",
        way_out(namespace)
    ))
}

/// Told at a gateway, of the namespace that it is in.
pub fn of_gateway(namespace: Namespace<'_>, gateway: &str) -> Diagnostic {
    let Namespace { cluster, name, .. } = namespace;
    Diagnostic::warning(format!("istiod would not see gateway {gateway} of {cluster}")).at("namespace").detail(format!(
        "The `discoverySelectors` of the mesh configuration leave out the namespace {name} of cluster {cluster}: istiods find no gateway there, and nothing opens it, so that calls from other \
         networks have no way in. {}.",
        way_out(name)
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_namespace_is_judged_by_the_labels_that_it_has_and_will_have() {
        let mesh = json!({"discoverySelectors": [{"matchLabels": {"mesh": "one"}}]});
        let selectors = DiscoverySelectors::of(mesh.as_object().unwrap());
        let live = |labels: serde_json::Value| {
            let namespace =
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "gw", "labels": labels}});
            Object::new(namespace).unwrap()
        };
        let given = [("mesh", "one")];
        let of = |given, live: Option<&Object>| {
            leaves_out(&selectors, Namespace { cluster: "east", name: "gw", given }, live)
        };
        assert!(of(&[], None) && of(&[], Some(&live(json!({"mesh": "two"})))));
        assert!(!of(&[], Some(&live(json!({"mesh": "one"})))) && !of(&given, None));
        let by_name = json!({"discoverySelectors": [{"matchLabels": {"kubernetes.io/metadata.name": "gw"}}]});
        let by_name = DiscoverySelectors::of(by_name.as_object().unwrap());
        assert!(!leaves_out(&by_name, Namespace { cluster: "east", name: "gw", given: &[] }, None));
    }
}
