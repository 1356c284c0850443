//! Where the images of a control plane, of its node agents and of the proxies that it injects come from.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::name::ImageHub;

/// What a control plane says of images; nothing, where Istio's own default will do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Images {
    /// In place of `docker.io/istio`.
    pub hub: Option<ImageHub>,
    /// Names of the Secrets by which kubelets log in there, in the namespace of each Pod.
    pub pull_secrets: BTreeSet<String>,
}

impl Images {
    /// Tells a chart. The charts istiod and cni read these places; ztunnel copies them to its top level.
    pub fn add_to(&self, values: &mut Value) {
        if let Some(hub) = &self.hub {
            values["global"]["hub"] = json!(hub);
        }
        if !self.pull_secrets.is_empty() {
            values["global"]["imagePullSecrets"] = json!(self.pull_secrets);
        }
    }

    /// What values say where an attribute could say it as well.
    pub fn of(global: &Value) -> Self {
        let hub = global.get("hub").and_then(Value::as_str).and_then(|hub| ImageHub::new(hub).ok());
        let listed = global.get("imagePullSecrets").and_then(Value::as_array);
        let names: Option<Vec<&str>> = listed.and_then(|listed| listed.iter().map(Value::as_str).collect());
        // In another order, or twice, the charts write them otherwise.
        let names = names.filter(|names| names.is_sorted_by(|a, b| a < b) && names.iter().all(|name| !name.is_empty()));
        Self { hub, pull_secrets: names.into_iter().flatten().map(str::to_owned).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_read_back() {
        let mut values = json!({});
        Images::default().add_to(&mut values);
        assert_eq!(values, json!({}));
        let images = Images {
            hub: ImageHub::new("registry.example:5000/istio").ok(),
            pull_secrets: ["a".to_owned(), "b".to_owned()].into(),
        };
        images.add_to(&mut values);
        let global = json!({ "hub": "registry.example:5000/istio", "imagePullSecrets": ["a", "b"] });
        assert_eq!(values["global"], global);
        assert_eq!(Images::of(&global), images);
        for odd in [json!(["b", "a"]), json!(["a", "a"]), json!([1]), json!("a"), json!([""])] {
            assert_eq!(Images::of(&json!({ "hub": "https://a", "imagePullSecrets": odd })), Images::default());
        }
    }
}
