//! `mesh_primary` on platforms: node agents for sidecars, their namespace, the Gateway API, and what namespaces refuse.

use lab::Cluster;
use lab::tools::{self, Istio};
use serde_json::{Value as Json, json};
use terraform_provider_mesh::provider::Mesh;
use terraform_provider_mesh::resources::registry;

use crate::links_made_gateways::{lives, needs_the_gateway_api};
use crate::primary_lifecycle::{apply, assert_settled, config, destroy, plan, provider, start};
use crate::support::core::{Applied, Core, Stored};

const PRIMARY: &str = "mesh_primary";
const HUB: &str = "registry.example:5000/istio";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_agents_come_first_and_go_last_and_the_gateway_api_comes_and_goes() {
    let (_lab, east) = start();
    let mut provider = provider(&east, Istio::Current);
    provider["charts"]["gateway_api"] = tools::gateway_api().expect("the Gateway API").display().to_string().into();
    let core = Core::new(Mesh, registry(), provider).await.expect("the provider can be configured");

    namespaces_that_refuse_are_told(&core, &east).await;
    needs_the_gateway_api(&core, &east).await;

    let tag = format!("global: {{tag: {}}}", Istio::Current.version());
    let with_cni = config(
        Istio::Current,
        json!({
            "cni": true, "agents_namespace": "istio-agents", "gateway_api": "1.6.0", "values": [tag],
            "images": {"hub": HUB, "pull_secrets": ["pull"]},
            "chart_values": {"istiod": ["resources: {requests: {memory: 3Gi}}"], "cni": ["resources: {requests: {memory: 77Mi}}"]},
        }),
    );
    let stored = apply(&core, &with_cni, None).await;
    assert_settled(&core, &with_cni, &stored).await;
    assert_eq!(injected(&east, "shop").expect("a Pod"), ["istio-validation"], "the node agent sets up its network");
    let memory = |kind: &str, name: &str, namespace: &str| {
        let object = east.get(&[kind, name, "-n", namespace]).expect("an answer").expect("the object");
        object["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["memory"].clone()
    };
    assert_eq!(memory("daemonset", "istio-cni-node", "istio-agents"), "77Mi");
    assert_eq!(memory("deployment", "istiod", "istio-system"), "3Gi");
    images_come_from_the_hub(&east);
    let label =
        east.kubectl(&["get", "ns", "istio-agents", "-o", "jsonpath={.metadata.labels}"]).expect("the namespace");
    assert!(label.contains("\"pod-security.kubernetes.io/enforce\":\"privileged\""), "{label}");
    east.kubectl(&["get", "crd", "gateways.gateway.networking.k8s.io"]).expect("the Gateway API");
    comes_back_by_import(&core, &with_cni, &stored).await;
    lives(&core, &east).await;

    // The agent goes, and only then: a Pod that relies on it is told of.
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "old", "namespace": "shop"},
        "spec": {"containers": [{"name": "app", "image": "app"}]}});
    east.apply(&pod.to_string()).expect("a Pod");
    let without = config(Istio::Current, json!({}));
    let Applied { stored, diagnostics } = core.apply(PRIMARY, plan(&core, &without, Some(&stored)).await).await;
    assert!(!diagnostics.has_errors(), "{diagnostics}");
    assert!(diagnostics.to_string().contains("shop (1)"), "{diagnostics}");
    let stored = stored.expect("a state");
    assert_settled(&core, &without, &stored).await;
    assert_eq!(injected(&east, "shop").expect("a Pod"), ["istio-init"], "Pods set up their network themselves again");
    for gone in [["ns", "istio-agents"], ["crd", "gateways.gateway.networking.k8s.io"], ["clusterrole", "istio-cni"]] {
        east.wait_until(&format!("{gone:?} is gone"), || east.get(&gone).is_ok_and(|found| found.is_none()))
            .expect("it goes");
    }

    let stored = openshift(&core, &east, &stored).await;
    destroy(&core, &stored).await;
    for gone in [["clusterrole", "istio-cni"], ["crd", "gateways.networking.istio.io"]] {
        east.wait_until(&format!("{gone:?} is gone"), || east.get(&gone).is_ok_and(|found| found.is_none()))
            .expect("it goes");
    }
    assert_eq!(east.kubectl(&["get", "daemonsets", "-A", "-o", "name"]).expect("a list"), "");
    east.kubectl(&["get", "ns", "kube-system", "istio-system"]).expect("what nobody here has made stays");
}

/// The images of istiod and the node agent, and those that istiod gives workloads and gateways, with their logins.
fn images_come_from_the_hub(east: &Cluster) {
    let of = |kind: &str, name: &str, namespace: &str| {
        east.get(&[kind, name, "-n", namespace]).expect("an answer").expect("the object")
    };
    let tag = Istio::Current.version();
    let image = |object: &Json| object["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    assert_eq!(image(&of("deployment", "istiod", "istio-system")), format!("{HUB}/pilot:{tag}"));
    assert_eq!(image(&of("daemonset", "istio-cni-node", "istio-agents")), format!("{HUB}/install-cni:{tag}"));
    for (account, namespace) in [("istiod", "istio-system"), ("istio-cni", "istio-agents")] {
        assert_eq!(of("serviceaccount", account, namespace)["imagePullSecrets"], json!([{"name": "pull"}]));
    }
    let gateway = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": "g-", "namespace": "shop", "annotations": {"inject.istio.io/templates": "gateway"}},
        "spec": {"containers": [{"name": "istio-proxy", "image": "auto"}]}});
    let workload = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "p-", "namespace": "shop"},
        "spec": {"containers": [{"name": "app", "image": "app"}]}});
    for pod in [gateway, workload] {
        let spec = admitted(east, &pod).expect("a Pod")["spec"].clone();
        assert_eq!(spec["imagePullSecrets"], json!([{"name": "pull"}]), "{spec}");
        let containers = ["containers", "initContainers"].map(|key| spec[key].as_array().cloned().unwrap_or_default());
        let ours = containers.iter().flatten().filter(|container| container["name"] != "app");
        let images: Vec<&str> = ours.filter_map(|container| container["image"].as_str()).collect();
        assert!(
            !images.is_empty() && images.iter().all(|image| *image == format!("{HUB}/proxyv2:{tag}")),
            "{images:?}"
        );
    }
}

/// The init containers that istiod gives a Pod of this namespace, in the order they run, but for the proxy itself.
fn injected(cluster: &Cluster, namespace: &str) -> Result<Vec<String>, String> {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "p-", "namespace": namespace},
        "spec": {"containers": [{"name": "app", "image": "app"}]}});
    let pod = admitted(cluster, &pod)?;
    let names = pod["spec"]["initContainers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|container| container["name"].as_str());
    Ok(names.filter(|name| *name != "istio-proxy").map(str::to_owned).collect())
}

/// The Pod that becomes of this one, by the API server and the webhooks.
fn admitted(cluster: &Cluster, pod: &Json) -> Result<Json, String> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), pod.to_string()).expect("a file");
    let path = file.path().display().to_string();
    let said = cluster
        .kubectl(&["create", "--dry-run=server", "-o", "json", "-f", &path])
        .map_err(|error| error.to_string())?;
    Ok(serde_json::from_str(&said).expect("JSON"))
}

/// What a plan tells is what the API server does.
async fn namespaces_that_refuse_are_told(core: &Core, east: &Cluster) {
    for (name, level) in [("shop", "privileged"), ("strict", "baseline"), ("istio-system", "restricted")] {
        let label = format!("pod-security.kubernetes.io/enforce={level}");
        east.kubectl(&["create", "ns", name]).expect("a namespace");
        east.kubectl(&["label", "ns", name, &label]).expect("a label");
        if name != "istio-system" {
            east.kubectl(&["label", "ns", name, "istio-injection=enabled"]).expect("a label");
        }
    }
    let told = |more: Json| async move { plan(core, &config(Istio::Current, more), None).await.warnings.to_string() };
    let warned = told(json!({})).await;
    assert!(
        warned.contains("restricted")
            && warned.contains("Deployment istio-system/istiod: container discovery lacks seccompProfile"),
        "{warned}"
    );
    assert!(warned.contains("strict (baseline)") && !warned.contains("shop ("), "{warned}");
    let seccomp = |text: &str| json!({"cni": true, "agents_namespace": "agents", "chart_values": {"istiod": [text]}});
    let fine = told(seccomp("seccompProfile: {type: RuntimeDefault}")).await;
    assert!(!fine.contains("refuse"), "{fine}");
    let beside = told(json!({"cni": true})).await;
    assert!(beside.contains("DaemonSet istio-system/istio-cni-node: it mounts paths of the node"), "{beside}");
    for values in ["global: {platform: openshift}", "platform: openshift", "pilot: {cni: {enabled: true}}"] {
        let waits = told(json!({"values": [values]})).await;
        assert!(waits.contains("Injected Pods would wait for a node agent"), "{values}: {waits}");
    }
    let scattered = told(json!({"cni": true, "values": ["resources: {requests: {memory: 16Gi}}"]})).await;
    assert!(scattered.contains("`resources`"), "{scattered}");
    east.kubectl(&["label", "ns", "istio-system", "pod-security.kubernetes.io/enforce-"]).expect("no label");
}

async fn comes_back_by_import(core: &Core, config: &Json, stored: &Stored) {
    let imported = core.import(PRIMARY, "east/istio-system/istiod").await.expect("an import").expect("a state");
    let (found, kept): (Json, Json) =
        (serde_json::from_str(&imported.json).expect("JSON"), serde_json::from_str(&stored.json).expect("JSON"));
    for attribute in ["cni", "agents_namespace", "gateway_api", "images", "platform", "ambient"] {
        assert_eq!(found[attribute], kept[attribute], "{attribute}");
    }
    let names = |state: &Json| state["objects"].as_object().expect("objects").keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&found), names(&kept));
    assert!(config["cni"] == true);
}

/// OpenShift: the agent in kube-system, its Pods allowed by the security context constraint, the networks of Multus.
async fn openshift(core: &Core, east: &Cluster, stored: &Stored) -> Stored {
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "network-attachment-definitions.k8s.cni.cncf.io"},
        "spec": {"group": "k8s.cni.cncf.io", "scope": "Namespaced",
            "names": {"kind": "NetworkAttachmentDefinition", "plural": "network-attachment-definitions"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}});
    east.apply(&definition.to_string()).expect("what OpenShift's network brings");
    let config = config(Istio::Current, json!({"platform": "openshift"}));
    let stored = apply(core, &config, Some(stored)).await;
    assert_settled(core, &config, &stored).await;
    east.get(&["daemonset", "istio-cni-node", "-n", "kube-system"]).expect("an answer").expect("the agent");
    east.get(&["network-attachment-definitions", "istio-cni", "-n", "default"])
        .expect("an answer")
        .expect("the network");
    let role = east.get(&["clusterrole", "istio-cni"]).expect("an answer").expect("the role").to_string();
    assert!(role.contains("securitycontextconstraints"), "{role}");
    assert_eq!(injected(east, "shop").expect("a Pod"), ["istio-validation"]);
    stored
}
