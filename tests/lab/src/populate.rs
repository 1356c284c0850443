//! What a new cluster has before anything is made in it: nodes, an account for pods, and where pods find the API
//! server.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, PostParams};
use serde_json::json;

use crate::cluster::PATIENCE;
use crate::control_plane::Layout;
use crate::error::{Error, Result, describe};
use crate::process::Process;

/// Makes the nodes and waits until pods can be made.
pub(crate) async fn populate(client: &kube::Client, layout: &Layout, controllers: &[Process]) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    for n in 0..2 {
        let region = format!("region-{}", layout.name);
        let node: Node = serde_json::from_value(json!({
            "metadata": {
                "name": format!("{}-{n}", layout.name),
                "annotations": { "lab/ip": layout.node_ip(n) },
                "labels": {
                    "kubernetes.io/hostname": format!("{}-{n}", layout.name),
                    "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
                    "topology.kubernetes.io/region": region,
                    "topology.kubernetes.io/zone": format!("{region}-{}", ["a", "b"][n % 2]),
                },
            },
        }))
        .map_err(|error| Error::Usage(error.to_string()))?;
        let made = nodes.create(&PostParams::default(), &node).await;
        made.map_err(|source| kubernetes(layout, "make nodes", source))?;
    }
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    let began = Instant::now();
    loop {
        let listed =
            nodes.list(&Default::default()).await.map_err(|source| kubernetes(layout, "list nodes", source))?;
        let ready = listed.items.iter().filter(|node| is_ready(node)).count() == 2;
        if ready && accounts.get_opt("default").await.is_ok_and(|account| account.is_some()) {
            return match layout.proxies {
                true => publish_api_server(client, layout).await,
                false => Ok(()),
            };
        }
        if let Some(ended) = controllers.iter().find(|process| !process.running()) {
            return Err(ended.ended_error());
        }
        if began.elapsed() > PATIENCE {
            let name = format!("the nodes of cluster {}", layout.name);
            let log = std::fs::read_to_string(layout.log("kwok")).unwrap_or_default();
            return Err(Error::NotReady { name, seconds: PATIENCE.as_secs(), log });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What leads to the API server in the pods' network: no API server of the lab says so by itself.
async fn publish_api_server(client: &kube::Client, layout: &Layout) -> Result<()> {
    let (ip, port) = layout.api_endpoint();
    let slice: EndpointSlice = serde_json::from_value(json!({
        "metadata": { "name": "kubernetes", "labels": { "kubernetes.io/service-name": "kubernetes" } },
        "addressType": "IPv4",
        "endpoints": [{ "addresses": [ip], "conditions": { "ready": true } }],
        "ports": [{ "name": "https", "port": port, "protocol": "TCP" }],
    }))
    .map_err(|error| Error::Usage(error.to_string()))?;
    let made = Api::namespaced(client.clone(), "default").create(&PostParams::default(), &slice).await;
    made.map(drop).map_err(|source| kubernetes(layout, "publish the API server", source))
}

fn is_ready(node: &Node) -> bool {
    let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn kubernetes(layout: &Layout, action: &str, source: kube::Error) -> Error {
    let action = format!("{action} ({})", describe(&source));
    Error::Kubernetes { cluster: layout.name.clone(), action, source: Box::new(source) }
}
