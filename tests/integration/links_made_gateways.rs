//! `mesh_eastwest_gateway` with `gateway_api`: a Gateway API resource of which a real istiod makes Deployment and
//! Service, in a cluster whose control plane and Gateway API another test has made. That calls pass through it is for
//! `traffic_primary_remote` to show.

use lab::Cluster;
use serde_json::{Value as Json, json};
use terraform_provider_mesh::value::Path;

use crate::links_gateways::{GATEWAY, LAB_ADDRESS, addresses, settled};
use crate::support::core::{Action, Applied, Core, Stored};

const MADE: &str = "istio-eastwestgateway-istio";

fn config(service: Json, expose: Json) -> Json {
    json!({"cluster": "east", "network": "net-east", "gateway_api": true, "service": service, "expose": expose, "timeouts": {"create": "60s", "update": "60s"}})
}

/// Without the definitions the plan warns, and the apply is refused before it writes.
pub async fn needs_the_gateway_api(core: &Core, east: &Cluster) {
    let config = config(Json::Null, json!({"services": true}));
    core.walk_anew().await;
    core.ask_side_by_side().await;
    let planned = core.plan(GATEWAY, Some(config), None).await.expect("a plan");
    let warned = planned.warnings.to_string();
    assert!(warned.contains("The Gateway API is not installed") && warned.contains("the apply would fail"), "{warned}");
    let Applied { stored, diagnostics } = core.apply(GATEWAY, planned).await;
    let refused = diagnostics.iter().find(|one| one.summary == "The Gateway API is not installed").expect("an error");
    assert_eq!(refused.path, Some(Path::root("gateway_api")), "{diagnostics}");
    assert!(stored.is_none());
    let left = east.kubectl(&["get", "leases", "-A", "-l", "terraform-provider-mesh/owner", "-o", "name"]);
    assert_eq!(left.expect("a list"), "");
}

/// It is made, changed, lost, imported and destroyed.
pub async fn lives(core: &Core, east: &Cluster) {
    let named = config(
        json!({"type": "LoadBalancer", "annotations": {LAB_ADDRESS: "hostname", "cloud/internal": "true"}}),
        json!({"services": true, "control_plane": true}),
    );
    let stored = settled(core, &named, None).await;
    assert!(addresses(&stored)[0].starts_with("hostname lb-"), "{:?}", addresses(&stored));
    let service = made(east);
    assert_eq!(service["metadata"]["annotations"]["cloud/internal"], "true");
    assert_eq!(service["metadata"]["labels"]["topology.istio.io/network"], "net-east", "peers find it");
    assert_eq!(service["metadata"]["labels"].get("terraform-provider-mesh/owner"), None, "it is istiod's");
    assert_eq!(ports(&service), [15012, 15017, 15021, 15443]);
    let pods = east.get(&["pods", "-n", "istio-system", "-l", "istio=eastwestgateway"]).expect("an answer");
    assert!(pods.is_some(), "Istio's Gateways select its Pods by the label of the chart");

    // What is asked for otherwise is waited for: the addresses are those of the Service that istiod changes.
    let routed = config(json!({"type": "ClusterIP", "external_ips": ["192.0.2.7"]}), json!({"services": true}));
    let stored = settled(core, &routed, Some(&stored)).await;
    assert_eq!(addresses(&stored), ["ipv4 192.0.2.7 15443"]);
    assert_eq!((made(east)["spec"]["type"].as_str(), ports(&made(east))), (Some("ClusterIP"), vec![15021, 15443]));
    let plain = config(Json::Null, json!({"services": true}));
    let stored = settled(core, &plain, Some(&stored)).await;
    assert!(addresses(&stored)[0].starts_with("ipv4 10."), "{:?}", addresses(&stored));
    let maps = ["configmap", "istio-eastwestgateway", "-n", "istio-system"];
    assert!(east.get(&maps).expect("an answer").is_none(), "nothing is asked of the Service any more");

    let stored = comes_back(core, east, &plain, &stored).await;
    let imported = core.import(GATEWAY, "east/istio-system/istio-eastwestgateway").await.expect("an import");
    let imported = imported.expect("a state");
    let (found, kept) = (state(&imported), state(&stored));
    for attribute in ["gateway_api", "ambient", "network", "service", "expose", "addresses", "chart_version"] {
        assert_eq!(found[attribute], kept[attribute], "{attribute}");
    }

    let planned = core.plan(GATEWAY, None, Some(&stored)).await.expect("a plan");
    let gone = core.apply(GATEWAY, planned).await;
    assert!(gone.stored.is_none() && gone.diagnostics.is_empty(), "{}", gone.diagnostics);
    assert!(
        east.get(&["service", MADE, "-n", "istio-system"]).expect("an answer").is_none(),
        "it went with the Gateway"
    );
    let left = ["gateways.networking.istio.io,gateways.gateway.networking.k8s.io", "-n", "istio-system"];
    assert!(east.get(&left).expect("an answer").is_none(), "nothing of it stays");
}

/// With a Gateway that somebody deletes, all is deleted that istiod had made of it.
async fn comes_back(core: &Core, east: &Cluster, config: &Json, stored: &Stored) -> Stored {
    let gateway = "gateways.gateway.networking.k8s.io/istio-eastwestgateway";
    east.kubectl(&["delete", gateway, "-n", "istio-system"]).expect("it can be deleted");
    core.walk_anew().await;
    let refreshed = core.refresh(GATEWAY, stored).await.expect("a refresh").expect("the gateway");
    let planned = core.plan(GATEWAY, Some(config.clone()), Some(&refreshed)).await.expect("a plan");
    assert_eq!(planned.action, Action::Update);
    assert!(planned.at(Path::root("addresses")).is_unknown(), "another load balancer gives another address");
    settled(core, config, Some(&refreshed)).await
}

fn state(stored: &Stored) -> Json {
    serde_json::from_str(&stored.json).expect("JSON")
}

/// The Service that istiod has made.
fn made(east: &Cluster) -> Json {
    east.get(&["service", MADE, "-n", "istio-system"]).expect("an answer").expect("the Service")
}

fn ports(service: &Json) -> Vec<u64> {
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let mut numbers: Vec<u64> = ports.filter_map(|port| port["port"].as_u64()).collect();
    numbers.sort_unstable();
    numbers
}
