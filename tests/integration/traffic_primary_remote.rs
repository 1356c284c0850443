//! One control plane for several clusters: the proxies of a remote cluster get certificates and configuration from an
//! istiod that is not in their cluster, and call and are called all the same.

use std::sync::Arc;

use lab::tools::{self, Istio};
use lab::traffic::RealPod;
use lab::{Cluster, Proxies};

use crate::links_topologies::Run;
use crate::support::cli::clis;
use crate::support::traffic::{configured_workload, lab, passes};

#[test]
fn a_remote_cluster_of_another_network_calls_and_is_called_through_gateways() {
    calls("primary-remote-two-networks", &["primary", "remote"], Proxies::NetworkEach);
}

#[test]
fn a_remote_cluster_of_the_same_network_calls_and_is_called() {
    calls("primary-remote-one-network", &["primary", "remote"], Proxies::OneNetwork);
}

/// The hub's own pods are in no mesh: the calls are between the clusters that it serves.
#[test]
fn clusters_that_an_external_control_plane_serves_call_each_other() {
    calls("external-control-plane", &["east", "hub", "west"], Proxies::OneNetwork);
}

/// The first cluster has the mesh's configuration; the last is a remote.
fn calls(example: &str, clusters: &[&str], proxies: Proxies) {
    let Some(cli) = clis().into_iter().next() else { return };
    let Some(lab) = lab(clusters, proxies) else { return };
    let run = Run::of_example(&cli, &lab, example);
    run.apply().ok();
    let (near, far) = (clusters[0], clusters[clusters.len() - 1]);
    let among = [lab.cluster(near), lab.cluster(far)];
    let orders = configured_workload(&among, "orders", 9001, near);
    let cart = configured_workload(&among, "cart", 9000, far);
    let through_gateways = proxies == Proxies::NetworkEach;
    passes_both_ways(&orders, &cart, through_gateways);
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
