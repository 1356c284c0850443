//! Findings, each with its nearest neighbour that is right and silent.

use super::links::half_named;
use super::tests::{authority, control_plane, in_network, summaries, watched};
use super::*;
use crate::mesh::{Cidr, ClusterName, MeshNetworks, MeshPolicy, Network, NetworkEndpoints};

/// What is found at a link between two control planes; it must be the same, at another attribute, when one of them is
/// declared last.
pub(super) fn at_link(east: &ControlPlaneAt, west: &ControlPlaneAt) -> Vec<(&'static str, &'static str, Severity)> {
    let linked = |cluster: &str, other: &str| WatchedCluster { reads_secrets: true, ..watched(cluster, &[other]) };
    let mut last = Topology::default();
    last.control_plane("e", east.clone());
    last.control_plane("w", west.clone());
    let found = last.watched("w", linked("west", "east"));

    let mut first = Topology::default();
    first.watched("w", linked("west", "east"));
    first.watched("e", linked("east", "west"));
    assert_eq!(first.control_plane("e", east.clone()), []);
    let later = first.control_plane("w", west.clone());
    let texts = |found: &[Finding]| found.iter().map(|one| (one.summary, one.severity)).collect::<Vec<_>>();
    assert_eq!(texts(&found), texts(&later), "whoever is declared last");
    found.iter().zip(&later).map(|(found, later)| (later.attribute, found.summary, found.severity)).collect()
}

#[test]
fn trust_domains_of_linked_clusters_are_accepted_or_refused() {
    let of = |cluster: &str, domain: &str, aliases: &[&str]| ControlPlaneAt {
        trust_domain: domain.into(),
        trust_domain_aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
        ..control_plane(cluster)
    };
    let refused =
        [("trust_domain_aliases", "Linked clusters do not accept each other's trust domain", Severity::Error)];
    assert_eq!(at_link(&of("east", "mesh.east", &[]), &of("west", "mesh.west", &[])), refused);
    assert_eq!(
        at_link(&of("east", "mesh.east", &["mesh.west"]), &of("west", "mesh.west", &[])),
        refused,
        "one of them"
    );
    assert_eq!(at_link(&of("east", "cluster.local", &[]), &of("west", "mesh.west", &[])), refused, "the usual one");
    assert_eq!(at_link(&of("east", "a", &["b"]), &of("west", "b", &["a"])), []);
    assert_eq!(at_link(&of("east", "a", &[]), &of("west", "a", &[])), []);
    let any = |cluster: &str, domain: &str| ControlPlaneAt { any_trust_domain: true, ..of(cluster, domain, &[]) };
    assert_eq!(at_link(&any("east", "a"), &any("west", "b")), []);
}

#[test]
fn roots_may_differ_where_both_carry_more() {
    let of = |cluster: &str, root: &str, trusts_more_roots: bool| ControlPlaneAt {
        trust_root: Some(root.repeat(64)),
        trusts_more_roots,
        ..control_plane(cluster)
    };
    assert_eq!(at_link(&of("east", "a", true), &of("west", "b", true)), []);
    for (east, west) in [(true, false), (false, true), (false, false)] {
        let found = at_link(&of("east", "a", east), &of("west", "b", west));
        assert_eq!(found, [("trust_root", "Linked clusters trust different roots", Severity::Error)], "{east} {west}");
    }
}

fn only_registered(cluster: &str, known: bool) -> ControlPlaneAt {
    let mesh = serde_json::json!({"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}});
    let policy = known.then(|| MeshPolicy::of(mesh.as_object().expect("an object")));
    ControlPlaneAt { policy, ..control_plane(cluster) }
}

fn as_usual(cluster: &str) -> ControlPlaneAt {
    ControlPlaneAt { policy: Some(MeshPolicy::default()), ..control_plane(cluster) }
}

#[test]
fn mesh_configurations_of_linked_clusters_are_compared_where_they_are_known() {
    let unlike = [("values", "Control planes of one mesh are configured differently", Severity::Warning)];
    assert_eq!(at_link(&only_registered("east", true), &as_usual("west")), unlike);
    assert_eq!(at_link(&only_registered("east", true), &only_registered("west", true)), []);
    assert_eq!(at_link(&only_registered("east", false), &as_usual("west")), [], "not known");
}

#[test]
fn what_a_mesh_says_unlike_is_told_once_and_names_the_clusters() {
    let mut topology = Topology::default();
    topology.control_plane("e", only_registered("east", true));
    topology.control_plane("n", as_usual("north"));
    topology.control_plane("w", as_usual("west"));
    let found = topology.watched("e", watched("east", &["north", "west"]));
    assert_eq!(summaries(&found), [("watchers", "Control planes of one mesh are configured differently")]);
    let line = "- `outboundTrafficPolicy.mode` is ALLOW_ANY in north, west; REGISTRY_ONLY in east";
    assert!(found[0].detail.contains(line), "{}", found[0].detail);
    assert_eq!(topology.watched("n", watched("north", &["east", "west"])), []);
    // Nobody reads the configuration of a remote.
    let remote = WatchedCluster {
        served_by: Some(ServedBy { control_plane: "east".into(), revision: None }),
        ..watched("south", &["east"])
    };
    let read = |declared: &WatchedCluster| -> Vec<String> {
        topology.configured(declared).into_iter().map(|(cluster, _)| cluster).collect()
    };
    assert_eq!(read(&remote), ["east"]);
    assert_eq!(read(&watched("east", &["west"])), ["east", "west"]);
}

#[test]
fn each_mesh_of_a_link_is_compared() {
    let of = |mesh: &str, plane: ControlPlaneAt| ControlPlaneAt { mesh_id: mesh.into(), ..plane };
    let mut topology = Topology::default();
    // Another revision in the namespace of the link, of another mesh.
    topology.control_plane("a", of("a", as_usual("east")));
    topology.control_plane("e", ControlPlaneAt { revision: Some("x".into()), ..only_registered("east", true) });
    topology.control_plane("w", as_usual("west"));
    let declared = watched("east", &["west"]);
    let told: Vec<Finding> = topology.unlike_at(&declared);
    assert_eq!(summaries(&told), [("watchers", "Control planes of one mesh are configured differently")]);
}

#[test]
fn both_ends_of_a_link_name_a_network_or_neither_does() {
    let told = [("network", "Only one end of a link names a network", Severity::Warning)];
    assert_eq!(at_link(&in_network("east", "n1"), &control_plane("west")), told);
    assert_eq!(at_link(&control_plane("east"), &in_network("west", "n1")), told);
    let detail = half_named(("east", Some("n1")), ("west", None)).expect("a sentence");
    for words in ["calls from east go to the addresses of Pods of west", "calls from west go through a gateway of n1"] {
        assert!(detail.contains(words), "{detail}");
    }
    assert_eq!(at_link(&control_plane("east"), &control_plane("west")), []);
    assert_eq!(at_link(&in_network("east", "n1"), &in_network("west", "n1")), []);
    assert_eq!(at_link(&in_network("east", "n1"), &in_network("west", "n2")), []);
    // Mesh networks may name it.
    let described =
        |plane: ControlPlaneAt| ControlPlaneAt { mesh_networks: networks(&[("n2", range("10.2.0.0/16"))]), ..plane };
    assert_eq!(at_link(&described(in_network("east", "n1")), &control_plane("west")), []);
    assert_eq!(at_link(&in_network("east", "n1"), &described(control_plane("west"))), []);
}

#[test]
fn a_remote_names_a_network_where_its_control_plane_does() {
    let plane = |network: Option<&str>| ControlPlaneAt {
        external_istiod: true,
        network: network.map(str::to_owned),
        ..control_plane("east")
    };
    let remote = |network: Option<&str>| WatchedCluster {
        served_by: Some(ServedBy { control_plane: "east".into(), revision: None }),
        network: network.map(str::to_owned),
        ..watched("west", &["east"])
    };
    let told = [("network", "Only one end of a link names a network")];
    for (east, west, wanted) in [
        (Some("n1"), None, &told[..]),
        (None, Some("n1"), &told[..]),
        (None, None, &[]),
        (Some("n1"), Some("n1"), &[]),
        (Some("n1"), Some("n2"), &[]),
    ] {
        let mut topology = Topology::default();
        topology.control_plane("e", plane(east));
        assert_eq!(summaries(&topology.watched("w", remote(west))), wanted, "{east:?} {west:?}");
        let mut topology = Topology::default();
        topology.watched("w", remote(west));
        assert_eq!(summaries(&topology.control_plane("e", plane(east))), wanted, "{east:?} {west:?}");
    }
}

#[test]
fn clusters_without_a_network_are_neighbours_unless_mesh_networks_part_them() {
    let neighbours = |east: ControlPlaneAt, west: Option<ControlPlaneAt>| {
        let mut topology = Topology::default();
        topology.control_plane("e", east);
        west.map(|west| topology.control_plane("w", west));
        topology.neighbours(&watched("west", &["east"]))
    };
    assert_eq!(neighbours(control_plane("east"), Some(control_plane("west"))), ["east"]);
    assert_eq!(neighbours(in_network("east", "n1"), Some(control_plane("west"))), [""; 0]);
    assert_eq!(neighbours(control_plane("east"), Some(in_network("west", "n1"))), [""; 0]);
    assert_eq!(neighbours(control_plane("east"), None), [""; 0], "nobody has declared it");
    let described =
        ControlPlaneAt { mesh_networks: networks(&[("n2", range("10.2.0.0/16"))]), ..control_plane("east") };
    assert_eq!(neighbours(described, Some(control_plane("west"))), [""; 0]);
}

fn gateway(cluster: &str, network: &str) -> DeclaredGateway {
    DeclaredGateway {
        cluster: cluster.into(),
        name: "istio-eastwestgateway".into(),
        selector: "eastwestgateway".into(),
        network: network.into(),
        exposes_services: true,
        ..DeclaredGateway::default()
    }
}

#[test]
fn an_ambient_gateway_has_an_ambient_control_plane() {
    let door = || DeclaredGateway { is_ambient: true, exposes_services: false, ..gateway("east", "n1") };
    let ambient = |network: Option<&str>| ControlPlaneAt {
        is_ambient: true,
        ambient_networks: network.is_some(),
        ..control_plane("east")
    };
    for (plane, told) in [(control_plane("east"), true), (ambient(None), true), (ambient(Some("n1")), false)] {
        let wanted: &[_] = if told { &[("ambient", "No ambient control plane serves this gateway")] } else { &[] };
        let mut topology = Topology::default();
        topology.control_plane("e", plane.clone());
        assert_eq!(summaries(&topology.gateway("g", door())), wanted);
        let mut topology = Topology::default();
        assert_eq!(topology.gateway("g", door()), []);
        assert_eq!(summaries(&topology.control_plane("e", plane)), wanted);
    }
    let mut topology = Topology::default();
    topology.control_plane("e", control_plane("east"));
    assert_eq!(topology.gateway("g", gateway("east", "n1")), [], "one for sidecars");
    // What was set on istiod past the values is in none of them.
    for (stands, network, told) in [(true, Some("n1"), false), (false, Some("n1"), true), (true, None, true)] {
        let mut topology = Topology::default();
        let unsaid =
            ControlPlaneAt { ambient_networks: false, network: network.map(str::to_owned), ..ambient(network) };
        topology.control_plane("e", unsaid);
        let found = topology.gateway("g", DeclaredGateway { stands, ..door() });
        assert_eq!(!found.is_empty(), told, "{stands} {network:?}: {found:?}");
    }
}

#[test]
fn a_remote_s_gateway_is_not_made_by_an_istiod() {
    let by_istiod = || DeclaredGateway { is_made_by_istiod: true, exposes_services: false, ..gateway("west", "n2") };
    let remote = || WatchedCluster {
        cluster: "west".into(),
        name: "west".into(),
        namespace: "istio-system".into(),
        watchers: ["east".to_owned()].into(),
        served_by: Some(ServedBy { control_plane: "east".into(), revision: None }),
        ..WatchedCluster::default()
    };
    let refused = |findings: &[Finding]| {
        let found = findings.iter().find(|finding| finding.summary == "No istiod makes this gateway");
        found.map(|finding| (finding.attribute, finding.severity))
    };
    for (door, told) in [(by_istiod(), true), (DeclaredGateway { is_made_by_istiod: false, ..by_istiod() }, false)] {
        let at = |attribute| told.then_some((attribute, Severity::Error));
        let mut topology = Topology::default();
        topology.watched("w", remote());
        assert_eq!(refused(&topology.gateway("g", door.clone())), at("gateway_api"));
        let mut topology = Topology::default();
        assert_eq!(refused(&topology.gateway("g", door)), None, "nobody has said that it is a remote");
        assert_eq!(refused(&topology.watched("w", remote())), at("cluster"));
    }
}

#[test]
fn mtls_is_off_in_one_network_and_in_all_of_it_or_nowhere() {
    let of = |cluster: &str, network: &str, mtls: Mtls| ControlPlaneAt { mtls, ..in_network(cluster, network) };
    let differ = [("mtls", "Linked clusters differ in mTLS", Severity::Error)];
    let needed = [("mtls", "Calls between networks need mTLS", Severity::Error)];
    assert_eq!(at_link(&of("east", "n1", Mtls::Off), &of("west", "n1", Mtls::Off)), []);
    assert_eq!(at_link(&of("east", "n1", Mtls::Off), &of("west", "n2", Mtls::Off)), needed);
    assert_eq!(at_link(&of("east", "n1", Mtls::Off), &of("west", "n1", Mtls::Permissive)), differ);
    assert_eq!(at_link(&of("east", "n1", Mtls::Strict), &of("west", "n1", Mtls::Off)), differ);
    assert_eq!(at_link(&of("east", "n1", Mtls::Strict), &of("west", "n2", Mtls::Permissive)), []);
    let by_hand = |cluster: &str, network: &str| ControlPlaneAt { auto_mtls: false, ..in_network(cluster, network) };
    let may = [("mtls", "Calls between networks may go without mTLS", Severity::Warning)];
    assert_eq!(at_link(&by_hand("east", "n1"), &in_network("west", "n2")), may);
    assert_eq!(at_link(&by_hand("east", "n1"), &in_network("west", "n1")), []);
    let refused = [("mtls", "Clients speak plain text where servers take none", Severity::Warning)];
    assert_eq!(at_link(&by_hand("east", "n1"), &of("west", "n1", Mtls::Strict)), refused);
    assert_eq!(at_link(&of("east", "n1", Mtls::Strict), &of("west", "n1", Mtls::Strict)), []);

    let mut topology = Topology::default();
    topology.control_plane("e", of("east", "n1", Mtls::Off));
    let found = topology.gateway("g", gateway("east", "n1"));
    assert_eq!(summaries(&found), [("expose", "Calls between networks need mTLS")]);
    let istiod_alone = DeclaredGateway {
        exposes_services: false,
        exposes_istiod_of: Some("istio-system".into()),
        ..gateway("east", "n1")
    };
    assert_eq!(topology.gateway("g", istiod_alone), [], "istiod's own certificate has nothing to do with it");
}

fn networks(entries: &[(&str, NetworkEndpoints)]) -> MeshNetworks {
    let mut networks = MeshNetworks::default();
    for (name, endpoints) in entries {
        let network = networks.0.entry(Network::new(*name).unwrap()).or_default();
        network.endpoints.push(endpoints.clone());
    }
    networks
}

fn registry(name: &str) -> NetworkEndpoints {
    NetworkEndpoints::FromRegistry(ClusterName::new(name).unwrap())
}

fn range(text: &str) -> NetworkEndpoints {
    NetworkEndpoints::FromCidr(Cidr::parse(text).unwrap())
}

#[test]
fn mesh_networks_do_not_contradict_the_labels_of_other_clusters() {
    let naming = |network: &str| ControlPlaneAt {
        mesh_networks: networks(&[(network, registry("west"))]),
        ..in_network("east", "n1")
    };
    const SUMMARY: &str = "An entry of mesh networks would never count";
    for (network, told) in [("n3", true), ("n2", false)] {
        let wanted = |attribute| -> Vec<(&str, &str)> { if told { vec![(attribute, SUMMARY)] } else { vec![] } };
        let mut topology = Topology::default();
        topology.control_plane("w", in_network("west", "n2"));
        assert_eq!(summaries(&topology.control_plane("e", naming(network))), wanted("mesh_networks"));
        let mut topology = Topology::default();
        topology.control_plane("e", naming(network));
        assert_eq!(summaries(&topology.control_plane("w", in_network("west", "n2"))), wanted("network"));
        assert_eq!(topology.control_plane("w", control_plane("west")), [], "without a label mesh networks count");

        let remote = WatchedCluster { network: Some("n2".into()), ..watched("west", &["north"]) };
        let mut topology = Topology::default();
        topology.watched("w", remote.clone());
        assert_eq!(summaries(&topology.control_plane("e", naming(network))), wanted("mesh_networks"));
        let mut topology = Topology::default();
        topology.control_plane("e", naming(network));
        assert_eq!(summaries(&topology.watched("w", remote)), wanted("network"));
    }
}

#[test]
fn control_planes_of_one_mesh_see_the_same_networks() {
    let with = |cluster: &str, entries: &[(&str, NetworkEndpoints)]| ControlPlaneAt {
        mesh_networks: networks(entries),
        ..control_plane(cluster)
    };
    let found = |east: &ControlPlaneAt, west: &ControlPlaneAt| {
        let mut topology = Topology::default();
        topology.control_plane("e", east.clone());
        topology.control_plane("w", west.clone()).iter().map(|finding| finding.attribute).collect::<Vec<_>>()
    };
    let east = with("east", &[("n1", registry("north")), ("n2", range("10.0.0.0/8"))]);
    assert_eq!(found(&east, &with("west", &[("n3", registry("north"))])), ["mesh_networks"]);
    assert_eq!(found(&east, &with("west", &[("n1", range("10.1.0.0/16"))])), ["mesh_networks"]);
    assert_eq!(found(&east, &with("west", &[("n1", registry("north")), ("n2", range("10.0.0.0/8"))])), [""; 0]);
    let other_mesh = ControlPlaneAt { mesh_id: "mesh2".into(), ..with("west", &[("n3", registry("north"))]) };
    assert_eq!(found(&east, &other_mesh), [""; 0]);
}

pub(super) fn plane_pending(cluster: &str, serves: &str) -> Pending {
    Pending::ControlPlane { cluster: cluster.into(), serves: Some(serves.into()) }
}

/// The ids at which something is missing.
fn missing(topology: &Topology) -> Vec<(&'static str, String)> {
    let kind = |absence: &Absence| match absence {
        Absence::Closed(_) => "closed",
        Absence::Unrooted(_) => "unrooted",
        Absence::Unopened(_) => "unopened",
        Absence::Unlisted(_) => "unlisted",
        Absence::Undefined(_) => "undefined",
    };
    topology.absences().iter().map(|absence| (kind(absence), absence.id().to_owned())).collect()
}

/// Both ends must have the root of one CA, so that nothing is missing there.
fn rooted(cluster: &str, network: &str) -> ControlPlaneAt {
    ControlPlaneAt { trust_root: Some("a".repeat(64)), ..in_network(cluster, network) }
}

#[test]
fn the_gateway_api_is_brought_by_the_control_plane_beside_the_gateway() {
    let mut topology = Topology::default();
    let door = DeclaredGateway { is_made_by_istiod: true, ..gateway("east", "n1") };
    topology.gateway("g", door.clone());
    let undefined = [("undefined", "g".to_owned())];
    assert_eq!(missing(&topology), undefined);
    topology.control_plane("west", ControlPlaneAt { brings_gateway_api: true, ..rooted("west", "n2") });
    topology.control_plane("east", rooted("east", "n1"));
    assert_eq!(missing(&topology), undefined, "another cluster's are not here");
    let with = |change: &dyn Fn(&mut Topology)| {
        let mut changed = topology.clone();
        change(&mut changed);
        missing(&changed)
    };
    let brings = ControlPlaneAt { brings_gateway_api: true, ..rooted("east", "n1") };
    assert_eq!(with(&|topology| drop(topology.control_plane("east", brings.clone()))), []);
    assert_eq!(with(&|topology| topology.pending(plane_pending("east", "east"))), []);
    let stands = DeclaredGateway { stands: true, ..door.clone() };
    assert_eq!(with(&|topology| drop(topology.gateway("g", stands.clone()))), [], "it has found them before");
    assert_eq!(with(&|topology| drop(topology.gateway("g", gateway("east", "n1")))), [], "the chart needs none");
}

#[test]
fn a_network_is_closed_until_a_gateway_of_it_lets_services_through() {
    let mut topology = Topology::default();
    for (cluster, network) in [("east", "n1"), ("west", "n2"), ("north", "n2")] {
        topology.control_plane(cluster, rooted(cluster, network));
    }
    let link = |watchers: &[&str]| watched("west", watchers);
    topology.watched("link", link(&["east", "north"]));
    let absences = topology.absences();
    let [Absence::Closed(closed)] = absences.as_slice() else { panic!("{absences:?}") };
    assert_eq!((closed.network.as_str(), &closed.from), ("n2", &BTreeSet::from(["east".to_owned()])));
    assert_eq!(closed.members, BTreeSet::from(["north".to_owned(), "west".to_owned()]));
    assert_eq!(topology.neighbours(&link(&["east", "north"])), ["north"]);
    assert_eq!(topology.crossing(&link(&["east", "north"])), ["east"]);

    let mut told = topology.clone();
    told.tell(&absences[0]);
    assert_eq!(missing(&told), [], "told once");
    let mut near = topology.clone();
    near.watched("link", link(&["north"]));
    assert_eq!(missing(&near), [], "nobody comes from another network");
    let mut naming = topology.clone();
    let mut named = networks(&[("n2", range("10.0.0.0/8"))]);
    let at = crate::mesh::GatewayAt::Address(crate::mesh::Address::parse("192.0.2.1").unwrap());
    let door = crate::mesh::NetworkGateway { at, port: 15443 };
    named.0.values_mut().for_each(|network| network.gateways.push(door.clone()));
    naming.control_plane("east", ControlPlaneAt { mesh_networks: named, ..rooted("east", "n1") });
    assert_eq!(missing(&naming), [], "the watcher names a gateway");

    // Of an external control plane the network counts that it serves, wherever it runs.
    let external = |network: &str| ControlPlaneAt {
        cluster: "hub".into(),
        config_cluster: Some("south".into()),
        external_istiod: true,
        ..rooted("south", network)
    };
    let mut served = topology.clone();
    served.watched("link", link(&["hub"]));
    served.control_plane("hub", external("n2"));
    assert_eq!(missing(&served), [], "it serves the same network");
    served.control_plane("hub", external("n1"));
    let absences = served.absences();
    let [Absence::Closed(closed)] = absences.as_slice() else { panic!("{absences:?}") };
    assert_eq!(closed.from, BTreeSet::from(["hub".to_owned()]));
    assert_eq!(closed.configured_in["hub"], BTreeSet::from(["hub".to_owned(), "south".to_owned()]));
    served.gateway("g", gateway("west", "n2"));
    assert_eq!(missing(&served), []);

    let mut open = topology.clone();
    open.gateway("g", gateway("north", "n2"));
    assert_eq!(missing(&open), [], "a gateway in another member will do");
    let mut shut = topology.clone();
    let istiod_alone = DeclaredGateway {
        exposes_services: false,
        exposes_istiod_of: Some("istio-system".into()),
        ..gateway("north", "n2")
    };
    shut.gateway("g", istiod_alone);
    assert_eq!(missing(&shut), [("closed", "link".to_owned())], "one that exposes the control plane alone will not");
    let mut nothing = topology.clone();
    nothing.gateway("g", DeclaredGateway { exposes_services: false, ..gateway("west", "n2") });
    assert_eq!(missing(&nothing), [("unopened", "g".to_owned())], "told at the gateway");
    nothing.gateway("h", DeclaredGateway { name: "other".into(), ..gateway("west", "n2") });
    assert_eq!(missing(&nothing), [], "the Gateway of another one selects its Pods");
}

#[test]
fn clusters_that_watch_each_other_without_a_common_root_are_told_once() {
    let mut topology = Topology::default();
    let clusters = ["east", "north", "west"];
    for cluster in clusters {
        topology.control_plane(cluster, in_network(cluster, "n1"));
    }
    for cluster in clusters {
        let others: Vec<&str> = clusters.into_iter().filter(|other| *other != cluster).collect();
        topology.watched(cluster, watched(cluster, &others));
    }
    let pairs = |topology: &Topology| {
        let pairs = topology.absences().into_iter().flat_map(|absence| match absence {
            Absence::Unrooted(Unrooted { watched, watchers, .. }) => {
                watchers.into_iter().map(|watcher| format!("{watched} {watcher}")).collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        });
        pairs.collect::<Vec<_>>()
    };
    assert_eq!(pairs(&topology), ["east north", "east west", "north west"]);
    let first = topology.absences().remove(0);
    topology.tell(&first);
    assert_eq!(pairs(&topology), ["north west"]);
}

#[test]
fn a_remote_s_gateway_is_opened_by_the_one_of_the_same_name_at_its_control_plane() {
    let served = || WatchedCluster {
        served_by: Some(ServedBy { control_plane: "east".into(), revision: None }),
        network: Some("n2".into()),
        ..watched("west", &["east"])
    };
    let door = |name: &str| DeclaredGateway {
        name: name.into(),
        selector: name.into(),
        exposes_services: false,
        ..gateway("west", "n2")
    };
    let mut topology = Topology::default();
    topology.control_plane("e", ControlPlaneAt { external_istiod: true, ..in_network("east", "n1") });
    topology.gateway("primary", gateway("east", "n1"));
    topology.watched("w", served());
    assert_eq!(missing(&topology), [], "a new remote's gateway comes after the link");
    let mut same = topology.clone();
    same.gateway("remote", door("eastwestgateway"));
    assert_eq!(missing(&same), []);
    let mut other = topology.clone();
    other.gateway("remote", door("westgateway"));
    let absences = other.absences();
    let [Absence::Unopened(unopened)] = absences.as_slice() else { panic!("{absences:?}") };
    assert_eq!(unopened.served, Some(("east".to_owned(), BTreeSet::from(["east".to_owned()]))));
    assert_eq!(unopened.others, BTreeSet::from(["istio-eastwestgateway".to_owned()]));

    let mut exposing = topology.clone();
    let found = exposing.gateway("remote", gateway("west", "n2"));
    assert_eq!(summaries(&found), [("expose", "Nobody reads what this gateway exposes")]);
    assert_eq!(topology.gateway("north", gateway("north", "n3")), [], "a cluster of its own");
}

#[test]
fn ends_of_a_link_have_one_root_or_do_without_certificates() {
    let link = |topology: &mut Topology| drop(topology.watched("link", watched("west", &["east"])));
    let of = |east: ControlPlaneAt, west: ControlPlaneAt, cas: &[&[&str]]| {
        let mut topology = Topology::default();
        topology.control_plane("e", east);
        topology.control_plane("w", west);
        link(&mut topology);
        for (index, clusters) in cas.iter().enumerate() {
            topology.authority(&index.to_string(), DeclaredCa { store: None, ..authority(clusters) });
        }
        topology.gateway("g", gateway("west", "n2"));
        !missing(&topology).is_empty()
    };
    let (east, west) = (in_network("east", "n1"), in_network("west", "n2"));
    let follows = |plane: &ControlPlaneAt| ControlPlaneAt { root_follows: true, ..plane.clone() };
    assert!(of(east.clone(), west.clone(), &[]), "each istiod makes a root of its own");
    assert!(!of(east.clone(), west.clone(), &[&["east", "west"]]), "a CA for both, whatever refers to it");
    assert!(of(east.clone(), west.clone(), &[&["east"], &["west"]]), "a CA for each");
    assert!(of(east.clone(), west.clone(), &[&["east"]]));
    assert!(!of(follows(&east), follows(&west), &[]), "not known yet is not missing");
    assert!(!of(rooted("east", "n1"), rooted("west", "n2"), &[]), "by another tool");
    assert!(of(rooted("east", "n1"), west.clone(), &[]), "one of them alone");
    assert!(!of(rooted("east", "n1"), west, &[&["west"]]));

    let near = |mtls| ControlPlaneAt { mtls, ..in_network("west", "n1") };
    assert!(of(east.clone(), near(Mtls::Permissive), &[]), "in one network sidecars speak mTLS as well");
    assert!(!of(ControlPlaneAt { mtls: Mtls::Off, ..east }, near(Mtls::Off), &[]));
}

/// What waits for values that are known only after the apply may bring what is missing.
#[test]
fn what_is_not_known_yet_is_not_missing() {
    let mut topology = Topology::default();
    topology.control_plane("e", in_network("east", "n1"));
    topology.control_plane("w", in_network("west", "n2"));
    topology.watched("link", watched("west", &["east"]));
    topology.gateway("g", DeclaredGateway { exposes_services: false, ..gateway("north", "n3") });
    let all = ["closed", "unrooted", "unopened"];
    assert_eq!(missing(&topology).into_iter().map(|(kind, _)| kind).collect::<Vec<_>>(), all);
    for (pending, kind) in
        [(Pending::Gateway, "closed"), (Pending::Authority, "unrooted"), (Pending::Remote("north".into()), "unopened")]
    {
        let mut topology = topology.clone();
        topology.pending(pending);
        assert!(missing(&topology).iter().all(|(found, _)| *found != kind), "{kind}");
        assert_eq!(missing(&topology).len(), 2);
    }
    let mut naming = Topology::default();
    let named = networks(&[("n2", registry("west-1"))]);
    naming.control_plane("e", ControlPlaneAt { mesh_networks: named, ..in_network("east", "n1") });
    naming.pending(Pending::Gateway);
    assert_eq!(missing(&naming), [("unlisted", "e".to_owned())]);
    for pending in [Pending::Remote("west".into()), plane_pending("west", "west")] {
        let mut naming = naming.clone();
        naming.pending(pending.clone());
        assert_eq!(missing(&naming), [], "{pending:?} may have this name");
    }
}

#[test]
fn an_istiod_that_logs_in_by_a_token_of_its_own_is_given_one() {
    let linked = WatchedCluster { link_audience: Some("links".into()), ..watched("east", &["west"]) };
    let given =
        |audience: &str| ControlPlaneAt { link_audiences: [audience.to_owned()].into(), ..control_plane("west") };
    for without in [control_plane("west"), given("other")] {
        let mut topology = Topology::default();
        topology.control_plane("west", without.clone());
        let found = topology.watched("east", linked.clone());
        assert_eq!(summaries(&found), [("link_token", "An istiod has no token for this link")]);
        let mut topology = Topology::default();
        topology.watched("east", linked.clone());
        let found = topology.control_plane("west", without);
        assert_eq!(summaries(&found), [("link_token", "An istiod has no token for this link")]);
    }
    let mut topology = Topology::default();
    topology.control_plane("west", given("links"));
    assert_eq!(topology.watched("east", linked.clone()), []);
    assert_eq!(topology.watched("east", watched("east", &["west"])), [], "by a token of the reader");
    // Of a cluster that does not watch, nothing is asked.
    assert_eq!(topology.control_plane("north", control_plane("north")), []);
}
