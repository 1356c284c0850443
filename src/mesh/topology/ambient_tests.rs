//! Findings of ambient mode, each with its nearest neighbour that is right and silent.

use super::findings_tests::at_link;
use super::tests::{control_plane, in_network, summaries, watched};
use super::*;

#[test]
fn ambient_mode_is_in_both_ends_of_a_link_and_between_networks() {
    let ambient = |cluster: &str, network: Option<&str>| ControlPlaneAt {
        is_ambient: true,
        ambient_networks: network.is_some(),
        network: network.map(str::to_owned),
        ..control_plane(cluster)
    };
    let one_end = [("ambient", "Ambient mode at one end of a link", Severity::Warning)];
    let one_network = [("ambient", "Ambient mode over clusters of one network", Severity::Warning)];
    assert_eq!(at_link(&ambient("east", Some("n1")), &in_network("west", "n2")), one_end);
    assert_eq!(at_link(&in_network("east", "n1"), &ambient("west", Some("n1"))), one_end);
    assert_eq!(at_link(&ambient("east", Some("n1")), &ambient("west", Some("n1"))), one_network);
    assert_eq!(at_link(&ambient("east", None), &ambient("west", None)), one_network);
    assert_eq!(at_link(&ambient("east", Some("n1")), &ambient("west", Some("n2"))), []);
    assert_eq!(at_link(&in_network("east", "n1"), &in_network("west", "n2")), []);
}

#[test]
fn ambient_mode_takes_one_trust_domain_whatever_aliases_say() {
    let of = |cluster: &str, domain: &str, other: &str, is_ambient: bool| ControlPlaneAt {
        is_ambient,
        ambient_networks: is_ambient,
        trust_domain: domain.into(),
        trust_domain_aliases: [other.to_owned()].into(),
        ..in_network(cluster, cluster)
    };
    let told = [("trust_domain", "Ambient mode takes one trust domain", Severity::Warning)];
    assert_eq!(at_link(&of("east", "a", "b", true), &of("west", "b", "a", true)), told);
    assert_eq!(at_link(&of("east", "a", "b", true), &of("west", "a", "b", true)), []);
    assert_eq!(at_link(&of("east", "a", "b", false), &of("west", "b", "a", false)), [], "sidecars take aliases");
}

#[test]
fn ambient_mode_serves_no_remote() {
    let remote = || WatchedCluster {
        served_by: Some(ServedBy { control_plane: "east".into(), revision: None }),
        ..watched("west", &["east"])
    };
    let ambient = || ControlPlaneAt { is_ambient: true, external_istiod: true, ..control_plane("east") };
    let mut topology = Topology::default();
    topology.control_plane("e", ambient());
    let found = topology.watched("w", remote());
    assert_eq!(summaries(&found), [("control_plane", "An ambient control plane serves no remotes")]);
    let mut topology = Topology::default();
    topology.watched("w", remote());
    let found = topology.control_plane("e", ambient());
    assert_eq!(summaries(&found), [("ambient", "An ambient control plane serves no remotes")]);
    let mut topology = Topology::default();
    topology.control_plane("e", ControlPlaneAt { is_ambient: false, ..ambient() });
    assert_eq!(topology.watched("w", remote()), []);
}

#[test]
fn tunnels_go_through_gateways_of_ambient_mode_alone() {
    let plane = |cluster: &str, network: &str, is_ambient: bool| ControlPlaneAt {
        is_ambient,
        ambient_networks: is_ambient,
        trust_root: Some("a".repeat(64)),
        ..in_network(cluster, network)
    };
    let door = |is_ambient: bool| DeclaredGateway {
        cluster: "west".into(),
        name: if is_ambient { "tunnels" } else { "sidecars" }.into(),
        network: "n2".into(),
        exposes_services: !is_ambient,
        is_ambient,
        ..DeclaredGateway::default()
    };
    let closed = |ambient: [bool; 3], doors: &[bool]| {
        let mut topology = Topology::default();
        for (at, (cluster, network)) in [("east", "n1"), ("north", "n3"), ("west", "n2")].into_iter().enumerate() {
            topology.control_plane(cluster, plane(cluster, network, ambient[at]));
        }
        topology.watched("link", watched("west", &["east", "north"]));
        for is_ambient in doors {
            topology.gateway(if *is_ambient { "tunnels" } else { "sidecars" }, door(*is_ambient));
        }
        topology.absences().into_iter().find_map(|absence| match absence {
            Absence::Closed(closed) => Some((closed.from, closed.shut, closed.by_tunnels)),
            _ => None,
        })
    };
    let names = |names: &[&str]| -> BTreeSet<String> { names.iter().map(|name| (*name).to_owned()).collect() };
    let all = [true; 3];
    let told = Some((names(&["east", "north"]), names(&["west/sidecars"]), true));
    assert_eq!(closed(all, &[false]), told, "ztunnels know none for sidecars");
    assert_eq!(closed(all, &[]), Some((names(&["east", "north"]), names(&[]), true)));
    for doors in [&[true][..], &[false, true]] {
        assert_eq!(closed(all, doors), None, "{doors:?}");
    }
    // Of watchers that differ, those are told whom no gateway lets in.
    assert_eq!(closed([true, false, true], &[false]), Some((names(&["east"]), names(&["west/sidecars"]), true)));
    assert_eq!(closed([true, false, true], &[]), Some((names(&["east", "north"]), names(&[]), false)));
    assert_eq!(closed([true, true, false], &[false]), None, "sidecars are called");
}
