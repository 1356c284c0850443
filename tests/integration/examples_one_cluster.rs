//! The example whose meshes share a cluster: what keeps them apart.

use std::sync::Arc;

use lab::Cluster;
use serde_json::json;

use crate::examples::{Example, run};
use crate::support::xds::Proxy;

/// Each istiod injects and tells its own namespaces alone, and its certificates are of its own root.
#[test]
fn two_meshes_in_one_cluster() {
    run(&Example {
        folder: "two-meshes-in-one-cluster",
        clusters: &["east"],
        watches: &[],
        namespace: "istio-blue",
        variables: "{}",
        edit: str::to_owned,
        judge: |lab| apart(lab.cluster("east")),
    });
}

fn apart(east: &Arc<Cluster>) {
    let meshes = ["blue", "green"];
    for mesh in meshes {
        let labels = json!({ "mesh": mesh, "istio.io/rev": mesh });
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": format!("shop-{mesh}"), "labels": labels } });
        east.apply(&namespace.to_string()).unwrap();
        let of = format!("shop-{mesh}");
        let account = || east.get(&["serviceaccount", "default", "-n", &of]).is_ok_and(|account| account.is_some());
        east.wait_until("a service account", account).unwrap();
        let spec = json!({ "selector": { "app": "web" }, "ports": [{ "port": 80, "targetPort": 8080 }] });
        let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web", "namespace": of }, "spec": spec });
        east.apply(&service.to_string()).unwrap();
        east.kubectl(&["run", "web", "-n", &of, "--image=web", "--labels=app=web", "--port=8080"]).unwrap();
    }
    for (mesh, other) in [("blue", "green"), ("green", "blue")] {
        let of = format!("shop-{mesh}");
        let pod = east.get(&["pod", "web", "-n", &of]).unwrap().unwrap().to_string();
        assert!(pod.contains(&format!("istiod-{mesh}.istio-{mesh}.svc:15012")), "{mesh}: {pod}");
        assert!(!pod.contains(&format!("istio-{other}")), "{mesh}: {pod}");
        let istiods = east.istiods();
        let istiod = istiods.iter().find(|istiod| istiod.namespace() == format!("istio-{mesh}")).unwrap();
        let told = || {
            let known = Proxy::sidecar("east", "", &of).ask_of(east, istiod).ok();
            known.is_some_and(|told| {
                let knows = |mesh: &str| told.upstream(&format!("web.shop-{mesh}.svc.cluster.local"), 80).is_some();
                knows(mesh) && !knows(other)
            })
        };
        east.wait_until(&format!("the istiod of {mesh} to know its own Services alone"), told).unwrap();
    }
    let root = |mesh: &str| {
        let mut root = None;
        let handed_out = || {
            let place = ["configmap", "istio-ca-root-cert", "-n", &format!("shop-{mesh}")];
            let live = east.get(&place).unwrap().unwrap_or_default();
            root = live["data"]["root-cert.pem"].as_str().map(str::to_owned);
            root.is_some()
        };
        east.wait_until(&format!("the istiod of {mesh} to hand out its root"), handed_out).unwrap();
        root.unwrap()
    };
    assert_ne!(root("blue"), root("green"), "each mesh has a root of its own");
    for mesh in meshes {
        east.kubectl(&["delete", "namespace", &format!("shop-{mesh}")]).unwrap();
    }
}
