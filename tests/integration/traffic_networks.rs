//! Networks and clusters that intersect: Pods of one network call each other directly, whatever cluster they are in,
//! and those of another through its gateway, even in the same cluster.

use lab::traffic::Workload;
use lab::{Lab, Proxies};
use serde_json::json;

use crate::links_topologies::Run;
use crate::support::cli::clis;
use crate::support::traffic::{Refusals, door_of, lab, passes};

/// In the order of the lab's address ranges.
const NETWORKS: [&str; 5] = ["backbone", "net-east", "net-west", "net-north-a", "net-north-b"];

/// A workload's name, its port for words, cluster and network; and whether a label says which.
const WORKLOADS: [(&str, u16, &str, &str, bool); 5] = [
    ("orders", 9001, "east", "backbone", false),
    ("cart", 9002, "west", "backbone", false),
    ("stock", 9003, "west", "net-west", true),
    ("parcels", 9004, "north", "net-north-a", false),
    ("labels", 9005, "north", "net-north-b", false),
];

#[test]
fn calls_arrive_directly_in_a_network_of_two_clusters_and_by_gateways_in_a_cluster_of_two_networks() {
    let Some(cli) = clis().into_iter().next() else { return };
    let Some(lab) = lab(&["east", "north", "west"], Proxies::Networks(&NETWORKS)) else { return };
    let run = Run::of_example(&cli, &lab, "intersecting-networks");
    let north = |network: usize| lab.cluster("north").network_range(network);
    let variables = json!({ "ranges": { "net-north-a": north(3), "net-north-b": north(4) } });
    std::fs::write(run.workspace.path("ranges.auto.tfvars.json"), variables.to_string()).unwrap();
    run.apply().ok();
    for (name, words, ..) in WORKLOADS {
        for cluster in lab.clusters() {
            Workload { ports: (80, words), ..Workload::new(name) }.declare(cluster, cluster).unwrap();
        }
    }
    let pods = WORKLOADS.map(|(name, words, at, network, labelled)| {
        let workload = Workload { ports: (80, words), network: Some((network, labelled)), ..Workload::new(name) };
        workload.run(lab.cluster(at)).unwrap()
    });
    // Each calls every other one: twenty ways, both directions of each.
    for (from, (.., near, _)) in pods.iter().zip(WORKLOADS) {
        for (to, (_, words, at, network, _)) in pods.iter().zip(WORKLOADS).filter(|(to, _)| to.name != from.name) {
            let answer = passes(from, to, words);
            let reached = answer.endpoint.clone().unwrap_or_default();
            let direct = from.exchange(&format!("{}:9000", to.ip));
            if near == network {
                assert_eq!(reached, format!("{}:8080", to.ip), "{near} is one network: {answer:?}");
                assert_eq!(direct.ok(), Some(format!("{at}/{}", to.name)));
            } else {
                let doors = doors(&lab, network);
                assert!(doors.contains(&reached), "{} calls {} by {doors:?}: {answer:?}", from.name, to.name);
                assert!(direct.is_err(), "a Pod of {network} is reached from {near} by its address: {direct:?}");
            }
        }
    }
    // At every gateway, from a pod of another network.
    for (n, (to, (_, words, _, network, _))) in pods.iter().zip(WORKLOADS).enumerate() {
        let from = &pods[(n + 2) % pods.len()];
        for address in &doors(&lab, network) {
            Refusals { lab: &lab, from, to, words, address, istiod: &from.cluster }.hold();
        }
    }
    run.settled();
    run.destroy().ok();
}

/// The gateways that a network has: one in each of its clusters.
fn doors(lab: &Lab, network: &str) -> Vec<String> {
    let at: &[&str] = match network {
        "backbone" => &["east", "west"],
        "net-west" => &["west"],
        _ => &["north"],
    };
    at.iter().map(|name| door_of(lab.cluster(name), &format!("eastwest-{network}"))).collect()
}
