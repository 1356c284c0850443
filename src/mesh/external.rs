//! An external control plane: an istiod that runs in one cluster, and reads its configuration from another, whose Pods
//! it serves.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::injector::injection_config_map;
use super::name::{Namespace, Revision};

/// The Secret beside istiod that its chart mounts: the kubeconfig of the configuration cluster.
pub const CONFIG_SECRET: &str = "istio-kubeconfig";
/// Its key for the kubeconfig; istiod's `KUBECONFIG` names the file that becomes of it.
pub const CONFIG_KEY: &str = "config";
/// Its key for the token, which the kubeconfig refers to as a file beside itself: client-go reads that anew, so that a
/// renewed token needs no restart.
pub const CONFIG_TOKEN_KEY: &str = "token";

/// The name of istiod's Deployment, Service and ServiceAccount.
pub fn istiod_name_of(revision: Option<&str>) -> String {
    revision.map_or_else(|| "istiod".to_owned(), |revision| format!("istiod-{revision}"))
}

/// The same, of a revision that is one.
pub fn istiod_name(revision: Option<&Revision>) -> String {
    istiod_name_of(revision.map(Revision::as_str))
}

/// A load balancer in front of istiod itself, for clusters whose proxies and API servers dial it from elsewhere. Unlike
/// istiod's own Service it has no port that speaks in plain text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IstiodExposure {
    /// The system namespace.
    pub namespace: Namespace,
    /// The istiod exposed.
    pub revision: Option<Revision>,
    /// Annotations, for cloud load balancers mostly.
    pub annotations: BTreeMap<String, String>,
    /// `spec.loadBalancerClass`.
    pub load_balancer_class: Option<String>,
    /// `spec.loadBalancerSourceRanges`.
    pub source_ranges: Vec<String>,
    /// `spec.externalIPs`.
    pub external_ips: Vec<String>,
}

impl IstiodExposure {
    /// The name of the Service.
    pub fn name(revision: Option<&Revision>) -> String {
        format!("{}-external", istiod_name(revision))
    }

    /// The Service. Its selector is that of the chart's own.
    pub fn object(&self) -> Value {
        let revision = Revision::label(self.revision.as_ref());
        let selector = match &self.revision {
            Some(revision) => json!({ "app": "istiod", "istio.io/rev": revision }),
            None => json!({ "app": "istiod", "istio": "pilot" }),
        };
        let mut spec = json!({
            "type": "LoadBalancer",
            "selector": selector,
            "ports": [
                { "name": "tls-xds", "port": 15012, "targetPort": 15012, "protocol": "TCP" },
                { "name": "tls-webhook", "port": 15017, "targetPort": 15017, "protocol": "TCP" },
            ],
        });
        if let Some(class) = &self.load_balancer_class {
            spec["loadBalancerClass"] = json!(class);
        }
        if !self.source_ranges.is_empty() {
            spec["loadBalancerSourceRanges"] = json!(self.source_ranges);
        }
        if !self.external_ips.is_empty() {
            spec["externalIPs"] = json!(self.external_ips);
        }
        let mut metadata = Map::new();
        metadata.insert("name".into(), json!(Self::name(self.revision.as_ref())));
        metadata.insert("namespace".into(), json!(self.namespace));
        metadata.insert("labels".into(), json!({ "app": "istiod", "istio.io/rev": revision }));
        if !self.annotations.is_empty() {
            metadata.insert("annotations".into(), json!(self.annotations));
        }
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec })
    }
}

/// Changes the chart's Deployment into that of an external control plane. The chart takes the kubeconfig for optional:
/// an istiod that starts without it would take the cluster it runs in for its own. And mesh configuration and injection
/// templates are files from this cluster, not ConfigMaps of the other one.
pub fn externalize(deployment: &mut Value, revision: Option<&Revision>) {
    let suffix = revision.map(|revision| format!("-{revision}")).unwrap_or_default();
    let files = [
        ("config-volume", format!("istio{suffix}"), "/etc/istio/config"),
        ("inject-volume", injection_config_map(revision), "/var/lib/istio/inject"),
    ];
    let Some(pod) = deployment.pointer_mut("/spec/template/spec") else { return };
    if let Some(volumes) = pod.get_mut("volumes").and_then(Value::as_array_mut) {
        let kubeconfig = volumes.iter_mut().find(|volume| volume["name"] == CONFIG_SECRET);
        if let Some(secret) = kubeconfig.and_then(|volume| volume.get_mut("secret")?.as_object_mut()) {
            secret.insert("optional".into(), json!(false));
        }
        volumes.extend(files.iter().map(|(name, map, _)| json!({ "name": name, "configMap": { "name": map } })));
    }
    let mounts = pod.pointer_mut("/containers/0/volumeMounts").and_then(Value::as_array_mut);
    if let Some(mounts) = mounts {
        mounts.extend(files.iter().map(|(name, _, path)| json!({ "name": name, "mountPath": path })));
    }
}

/// Whether a Deployment of istiod is that of an external control plane: it waits for its kubeconfig.
pub fn is_external(deployment: &Value) -> bool {
    let volumes = deployment.pointer("/spec/template/spec/volumes").and_then(Value::as_array);
    let kubeconfig = volumes.into_iter().flatten().find(|volume| volume["name"] == CONFIG_SECRET);
    kubeconfig.is_some_and(|volume| volume["secret"]["optional"] != true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_waits_for_its_kubeconfig_and_reads_its_own_files() {
        let mut deployment = json!({ "spec": { "template": { "spec": {
            "containers": [{ "name": "discovery", "volumeMounts": [] }],
            "volumes": [{ "name": "istio-kubeconfig", "secret": { "secretName": "istio-kubeconfig", "optional": true } }],
        } } } });
        assert!(!is_external(&deployment));
        externalize(&mut deployment, Some(&Revision::new("canary").unwrap()));
        assert!(is_external(&deployment));
        let pod = &deployment["spec"]["template"]["spec"];
        assert_eq!(pod["volumes"][1], json!({ "name": "config-volume", "configMap": { "name": "istio-canary" } }));
        assert_eq!(
            pod["containers"][0]["volumeMounts"][1],
            json!({ "name": "inject-volume", "mountPath": "/var/lib/istio/inject" })
        );
    }

    #[test]
    fn the_load_balancer_shows_no_port_in_plain_text_and_selects_one_revision() {
        let exposure = IstiodExposure {
            namespace: Namespace::new("istio-system").unwrap(),
            revision: None,
            annotations: BTreeMap::new(),
            load_balancer_class: None,
            source_ranges: vec!["192.0.2.0/24".into()],
            external_ips: vec![],
        };
        let service = exposure.object();
        assert_eq!(service["metadata"]["name"], "istiod-external");
        assert_eq!(service["spec"]["selector"], json!({ "app": "istiod", "istio": "pilot" }));
        let ports: Vec<_> = service["spec"]["ports"].as_array().unwrap().iter().map(|port| &port["port"]).collect();
        assert_eq!(ports, [15012, 15017]);
        assert_eq!(service["spec"]["loadBalancerSourceRanges"], json!(["192.0.2.0/24"]));
        let canary = IstiodExposure { revision: Some(Revision::new("canary").unwrap()), ..exposure }.object();
        assert_eq!(canary["spec"]["selector"], json!({ "app": "istiod", "istio.io/rev": "canary" }));
    }
}
