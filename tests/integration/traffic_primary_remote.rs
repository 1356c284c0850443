//! One control plane for several clusters: the proxies of a remote cluster get certificates and configuration from an
//! istiod that is not in their cluster, and call and are called all the same.

use std::sync::Arc;

use lab::tools::{self, Istio};
use lab::traffic::RealPod;
use lab::{Cluster, Proxies};
use serde_json::json;

use crate::links_topologies::Run;
use crate::support::cli::clis;
use crate::support::traffic::{Refusals, configured_workload, door, host, lab, passes, plain_text_ends, strict};

#[test]
fn a_remote_cluster_of_another_network_calls_and_is_called_through_gateways() {
    calls("primary-remote-two-networks", &["primary", "remote"], "primary", Proxies::NetworkEach);
}

#[test]
fn a_remote_cluster_of_the_same_network_calls_and_is_called() {
    calls("primary-remote-one-network", &["primary", "remote"], "primary", Proxies::OneNetwork);
}

/// The hub's own pods are in no mesh: the calls are between the clusters that it serves.
#[test]
fn clusters_that_an_external_control_plane_serves_call_each_other() {
    calls("external-control-plane", &["east", "hub", "west"], "hub", Proxies::OneNetwork);
}

/// The first cluster has the mesh's configuration; the last is a remote. The named cluster has the istiod.
fn calls(example: &str, clusters: &[&str], istiod: &str, proxies: Proxies) {
    let Some(cli) = clis().into_iter().next() else { return };
    let Some(lab) = lab(clusters, proxies) else { return };
    let run = Run::of_example(&cli, &lab, example);
    if example == "primary-remote-two-networks" {
        // To Istio a remote may have another name than to the provider.
        let file = run.workspace.path("main.tf");
        let text = std::fs::read_to_string(&file).unwrap();
        let mode = "mode                  = \"remote\"";
        assert!(text.contains(mode), "{text}");
        std::fs::write(&file, text.replace(mode, &format!("{mode}\n  cluster_name = \"${{each.key}}-1\""))).unwrap();
    }
    run.apply().ok();
    let (near, far) = (clusters[0], clusters[clusters.len() - 1]);
    let among = [lab.cluster(near), lab.cluster(far)];
    let orders = configured_workload(&among, "orders", 9001, near);
    let cart = configured_workload(&among, "cart", 9000, far);
    let through_gateways = proxies == Proxies::NetworkEach;
    passes_both_ways(&orders, &cart, through_gateways);
    is_told(&run, near, far, through_gateways);
    // In one network the pods themselves refuse, as the configuration of the first cluster tells them.
    strict(among[0]);
    for (from, to, words) in [(&orders, &cart, 9000), (&cart, &orders, 9001)] {
        let address = match through_gateways {
            true => door(lab.cluster(&to.cluster)),
            false => {
                plain_text_ends(from, to);
                format!("{}:9000", to.ip)
            }
        };
        Refusals { lab: &lab, from, to, words, address: &address, istiod }.hold();
    }
    run.settled();
    if through_gateways {
        let chart_s = answers_at(&orders, &cart);
        made_by_istiod(&run, lab.cluster(near));
        passes_both_ways(&orders, &cart, through_gateways);
        assert_eq!(answers_at(&orders, &cart), chart_s, "the remote's door is still the chart's");
        run.settled();
    }
    run.destroy().ok();
}

/// From here on the istiod of the primary makes its gateway, through which the remote's proxies reach istiod as well,
/// and whose Gateways open the remote's door.
fn made_by_istiod(run: &Run<'_>, primary: &Arc<Cluster>) {
    let charts = tools::charts(Istio::Current).unwrap().dir().display().to_string();
    let gateway_api = tools::gateway_api().unwrap().display().to_string();
    let changed = format!(
        "provider \"mesh\" {{\n  charts = {{ directory = {charts:?}, gateway_api = {gateway_api:?} }}\n}}\n\n\
         resource \"mesh_primary\" \"this\" {{\n  gateway_api = \"1.6.0\"\n}}\n\n\
         resource \"mesh_eastwest_gateway\" \"primary\" {{\n  gateway_api = true\n}}\n"
    );
    std::fs::write(run.workspace.path("made_override.tf"), changed).unwrap();
    run.apply().ok();
    let services = primary.kubectl(&["get", "services", "-n", "istio-system", "-o", "name"]).unwrap();
    assert!(services.contains("istio-eastwestgateway-istio"), "{services}");
    assert!(!services.lines().any(|name| name == "service/istio-eastwestgateway"), "the chart's is gone: {services}");
}

fn answers_at(from: &RealPod, to: &RealPod) -> Option<String> {
    passes(from, to, 9000).endpoint
}

fn passes_both_ways(orders: &RealPod, cart: &RealPod, through_gateways: bool) {
    for (from, to, words) in [(orders, cart, 9000), (cart, orders, 9001)] {
        let answer = passes(from, to, words);
        let direct = format!("{}:8080", to.ip);
        let door = answer.endpoint.clone().unwrap_or_default();
        assert_eq!(door != direct, through_gateways, "{answer:?}");
        assert!(!through_gateways || door.ends_with(":15443"), "{answer:?}");
        assert_eq!(from.exchange(&format!("{}:9000", to.ip)).is_err(), through_gateways, "a Pod by its address");
    }
}

/// What the data sources say of these calls: whose istiod a cluster has, and by which id it knows the other.
fn is_told(run: &Run<'_>, near: &str, far: &str, through_gateways: bool) {
    let proof = |from: &str, to: &str, service: &str| {
        format!(
            r#"
data "mesh_reachability" "{from}" {{
  from               = ["{from}"]
  to                 = ["{to}"]
  services           = [{{ host = "{}", port = 80 }}]
  unanswered_address = "ignored"
}}
"#,
            host(service)
        )
    };
    let look = format!(
        "data \"mesh_status\" \"this\" {{}}\n{}{}output \"look\" {{\n  value = {{ status = data.mesh_status.this, \
         there = data.mesh_reachability.{near}, back = data.mesh_reachability.{far} }}\n}}\n",
        proof(near, far, "cart"),
        proof(far, near, "orders"),
    );
    let file = run.workspace.path("look.tf");
    std::fs::write(&file, look).unwrap();
    run.apply().ok();
    let look = run.workspace.state()["outputs"]["look"]["value"].clone();
    assert_eq!(look["status"]["findings"], json!([]), "{:#}", look["status"]);
    for (way, service) in [("there", "cart"), ("back", "orders")] {
        let pair = &look[way]["pairs"][0];
        // Nobody here is in the network of the Pods, and some machines answer for every address.
        let expected = if through_gateways { "reachable" } else { "unknown" };
        assert_eq!(pair["verdict"], expected, "{pair:#}");
        assert_eq!(pair["layer"].is_null(), through_gateways, "{pair:#}");
        let identity = json!(format!("spiffe://cluster.local/ns/traffic/sa/{service}"));
        assert!(!through_gateways || pair["identity"] == identity, "{pair:#}");
    }
    std::fs::remove_file(&file).unwrap();
    run.apply().ok();
}
