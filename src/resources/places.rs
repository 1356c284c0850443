//! Where istiod takes a cluster to be: by which id and in which network, as labels, injection and the mesh
//! configuration say. Pure: live objects in.

use serde_json::{Map, Value};

use crate::chart::Values;
use crate::cluster::Object;
use crate::mesh::{CONTROL_PLANE_CLUSTERS_ANNOTATION, INJECTION, InjectedAs};

/// What a cluster without an istiod of its own tells the injector of another: its id there may be another than its name
/// here.
pub fn injected_as(webhooks: &[Object], namespace: &str) -> InjectedAs {
    let all = webhooks.iter().flat_map(|configuration| {
        configuration.items("webhooks").iter().filter_map(move |webhook| {
            let config = webhook.get("clientConfig")?;
            let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
            match config.get("service") {
                Some(service) => {
                    let is_here = service.get("namespace").and_then(Value::as_str) == Some(namespace);
                    text(service.get("path").filter(|_| is_here))
                }
                None => text(config.get("url").filter(|_| is_named_for(configuration.name(), namespace))),
            }
        })
    });
    let mut said = all.map(|path| InjectedAs::parse(&path)).filter(|said| said.cluster.is_some());
    said.next().unwrap_or_default()
}

/// A URL names no namespace; the chart's name for the configuration ends with any but the usual one.
fn is_named_for(configuration: &str, namespace: &str) -> bool {
    let is_istio_s = configuration.starts_with(INJECTION);
    is_istio_s && (namespace == "istio-system" || configuration.ends_with(&format!("-{namespace}")))
}

/// The ConfigMap of one revision.
pub fn injector(revision: Option<&str>) -> String {
    match revision {
        None | Some("" | "default") => INJECTION.to_owned(),
        Some(revision) => format!("{INJECTION}-{revision}"),
    }
}

/// The network that injection puts Pods into, whatever the label of the namespace says.
pub fn injected_network(map: &Object) -> Option<String> {
    let values = Values::from_yaml(map.strings("data").get("values")?).ok()?;
    let network = values.as_map().get("global")?.get("network")?.as_str()?;
    (!network.is_empty()).then(|| network.to_owned())
}

/// The networks that a ConfigMap of the mesh configuration describes.
pub fn described_networks(map: &Object) -> Map<String, Value> {
    let values = map.strings("data").get("meshNetworks").and_then(|text| Values::from_yaml(text).ok());
    let networks = values.and_then(|values| values.as_map().get("networks").and_then(Value::as_object).cloned());
    networks.unwrap_or_default()
}

/// The ids of the control planes that Istio's namespace names as those that serve its cluster; `*` is any.
pub fn serving(namespace: &Object) -> Vec<String> {
    let named = namespace.annotation(CONTROL_PLANE_CLUSTERS_ANNOTATION).unwrap_or_default();
    named.split(',').map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn webhook(name: &str, config: &Value) -> Object {
        let kind = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name}, "webhooks": [{"name": "a", "clientConfig": config}],
        });
        Object::new(kind).unwrap()
    }

    #[test]
    fn a_remote_s_id_is_what_its_webhook_says_for_istio_s_namespace() {
        let here = |path: &str| webhook("w", &json!({"service": {"namespace": "istio-system", "path": path}}));
        let other = webhook("x", &json!({"service": {"namespace": "istio-two", "path": "/inject/cluster/two"}}));
        let found = injected_as(&[other.clone(), here("/inject/cluster/west-1/net/n2")], "istio-system");
        assert_eq!((found.cluster.as_deref(), found.network.as_deref()), (Some("west-1"), Some("n2")));
        assert_eq!(injected_as(std::slice::from_ref(&other), "istio-two").cluster.as_deref(), Some("two"));
        assert_eq!(injected_as(&[other, here("/inject")], "istio-system"), InjectedAs::default());
        let url = |name: &str| webhook(name, &json!({"url": "https://lb:15017/inject/cluster/west-2"}));
        for (name, namespace, is_it) in [
            ("istio-sidecar-injector", "istio-system", true),
            ("istio-sidecar-injector-istio-two", "istio-two", true),
            ("istio-sidecar-injector", "istio-two", false),
            ("somebody-else", "istio-system", false),
        ] {
            assert_eq!(injected_as(&[url(name)], namespace).cluster.is_some(), is_it, "{name} {namespace}");
        }
    }

    #[test]
    fn networks_are_read_from_the_mesh_configuration_and_from_what_injects() {
        let map = |data: Value| {
            Object::new(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": data}))
                .unwrap()
        };
        let described = described_networks(&map(json!({"meshNetworks": "networks:\n  n1: {endpoints: []}\n"})));
        assert_eq!(described.keys().collect::<Vec<_>>(), ["n1"]);
        assert!(described_networks(&map(json!({"mesh": ""}))).is_empty());
        let with = |network: &str| {
            injected_network(&map(json!({"values": json!({"global": {"network": network}}).to_string()})))
        };
        assert_eq!([with("net-east"), with("")], [Some("net-east".to_owned()), None]);
    }

    #[test]
    fn a_namespace_names_who_serves_its_cluster() {
        let of = |named: &str| {
            let annotations = json!({CONTROL_PLANE_CLUSTERS_ANNOTATION: named});
            let namespace =
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n", "annotations": annotations}});
            serving(&Object::new(namespace).unwrap())
        };
        assert_eq!(of("a, b,"), ["a", "b"]);
        assert_eq!(of(""), [""; 0]);
    }
}
