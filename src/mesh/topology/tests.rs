//! Contradictions between declared resources.

use super::*;
use crate::mesh::address::Address;
use crate::mesh::mesh_networks::{GatewayAt, MeshNetwork, NetworkGateway};
use crate::mesh::name::Network;

pub(super) fn control_plane(cluster: &str) -> ControlPlaneAt {
    ControlPlaneAt {
        cluster: cluster.into(),
        name: cluster.into(),
        namespace: "istio-system".into(),
        mesh_id: "mesh1".into(),
        trust_domain: "cluster.local".into(),
        auto_mtls: true,
        ..ControlPlaneAt::default()
    }
}

pub(super) fn watched(cluster: &str, watchers: &[&str]) -> WatchedCluster {
    WatchedCluster {
        cluster: cluster.into(),
        name: cluster.into(),
        namespace: "istio-system".into(),
        watchers: watchers.iter().map(|name| (*name).to_owned()).collect(),
        ..WatchedCluster::default()
    }
}

pub(super) fn summaries(findings: &[Finding]) -> Vec<(&str, &str)> {
    findings.iter().map(|finding| (finding.attribute, finding.summary)).collect()
}

#[test]
fn a_mesh_that_agrees_has_no_findings_and_neither_has_a_second_look() {
    let mut topology = Topology::default();
    for _ in 0..2 {
        for cluster in ["east", "west"] {
            assert_eq!(topology.control_plane(cluster, control_plane(cluster)), []);
        }
        assert_eq!(topology.watched("east", watched("east", &["west"])), []);
        assert_eq!(topology.watched("west", watched("west", &["east"])), []);
    }
}

#[test]
fn names_collide_or_differ_whichever_is_declared_first() {
    let mut topology = Topology::default();
    topology.control_plane("east", control_plane("east"));
    let twin = ControlPlaneAt { name: "east".into(), ..control_plane("west") };
    assert_eq!(summaries(&topology.control_plane("west", twin)), [("cluster_name", "Two clusters of one name")]);

    let mut topology = Topology::default();
    topology.watched("east", watched("east", &["west"]));
    let other = ControlPlaneAt { name: "orient".into(), ..control_plane("east") };
    assert_eq!(summaries(&topology.control_plane("east", other)), [("cluster_name", "Two names for one cluster")]);
}

#[test]
fn independent_meshes_may_call_a_cluster_otherwise() {
    let plane = |namespace: &str, name: &str, mesh: &str| ControlPlaneAt {
        name: name.into(),
        namespace: namespace.into(),
        mesh_id: mesh.into(),
        ..control_plane("east")
    };
    let link = |namespace: &str, name: &str| WatchedCluster {
        name: name.into(),
        namespace: namespace.into(),
        ..watched("east", &["west"])
    };
    let told = [("cluster_name", "Two names for one cluster")];
    let mut topology = Topology::default();
    assert_eq!(topology.control_plane("a", plane("mesh-a", "east-a", "a")), []);
    assert_eq!(topology.control_plane("b", plane("mesh-b", "east-b", "b")), []);
    // Each link is of the mesh of its namespace, whichever is declared first.
    assert_eq!(topology.watched("a", link("mesh-a", "east-a")), []);
    assert_eq!(topology.watched("b", link("mesh-b", "east-b")), []);
    assert_eq!(summaries(&topology.watched("b", link("mesh-b", "east-a"))), told);
    let mut topology = Topology::default();
    assert_eq!(topology.watched("a", link("mesh-a", "east-a")), []);
    assert_eq!(topology.control_plane("b", plane("mesh-b", "east-b", "b")), []);
    assert_eq!(summaries(&topology.control_plane("a", plane("mesh-a", "east", "a"))), told);
    // Control planes of one mesh in two namespaces are revisions of one, and so are those of one namespace.
    for (namespace, mesh) in [("mesh-b", "a"), ("mesh-a", "b")] {
        let mut topology = Topology::default();
        topology.control_plane("a", plane("mesh-a", "east-a", "a"));
        assert_eq!(summaries(&topology.control_plane("b", plane(namespace, "east-b", mesh))), told);
    }
}

#[test]
fn an_istiod_knows_gateways_of_the_clusters_that_it_reads_alone() {
    let gateway = |cluster: &str| DeclaredGateway {
        cluster: cluster.into(),
        name: "gw".into(),
        network: format!("net-{cluster}"),
        ..DeclaredGateway::default()
    };
    let mut topology = Topology::default();
    for cluster in ["east", "west", "north", "hub"] {
        topology.gateway(cluster, gateway(cluster));
    }
    topology.control_plane("east", control_plane("east"));
    topology.watched("west", watched("west", &["east"]));
    topology.watched("north", watched("north", &["west"]));
    let led_to = |topology: &Topology, cluster: &str| topology.led_to(cluster).into_iter().collect::<Vec<_>>();
    assert_eq!(led_to(&topology, "east"), ["net-east", "net-west"]);
    assert_eq!(led_to(&topology, "north"), ["net-north"]);
    // Mesh networks are those of its own istiod, which may run elsewhere and watches in the name of where it runs.
    let described = |network: &str| -> MeshNetworks {
        let at = GatewayAt::Address(Address::parse("192.0.2.1").unwrap());
        let network_of = MeshNetwork { endpoints: vec![], gateways: vec![NetworkGateway { at, port: 15443 }] };
        MeshNetworks([(Network::new(network).unwrap(), network_of)].into())
    };
    let external = ControlPlaneAt {
        config_cluster: Some("west".into()),
        mesh_networks: described("net-described"),
        ..control_plane("hub")
    };
    topology.control_plane("hub", external);
    topology.watched("east", watched("east", &["hub"]));
    assert_eq!(led_to(&topology, "west"), ["net-described", "net-east", "net-north", "net-west"]);
    assert_eq!(led_to(&topology, "east"), ["net-east", "net-west"]);
}

#[test]
fn a_remote_has_the_control_plane_that_it_names() {
    let mut topology = Topology::default();
    let served = ServedBy { control_plane: "hub".into(), revision: None };
    topology.watched("east", WatchedCluster { served_by: Some(served.clone()), ..watched("east", &["hub"]) });
    // The configuration cluster of an external control plane, which has its id.
    topology.watched("hub", WatchedCluster { served_by: Some(served), ..watched("hub", &["outside"]) });
    topology.watched("west", watched("west", &["hub"]));
    assert_eq!(topology.remote_of("east"), Some("hub"));
    assert_eq!((topology.remote_of("hub"), topology.remote_of("west")), (None, None));
    topology.control_plane("east", control_plane("east"));
    assert_eq!(topology.remote_of("east"), None, "another mesh has its control plane there");
}

#[test]
fn one_name_for_clusters_that_no_istiod_sees_both_of_is_no_error() {
    let same = [("cluster_name", "Two clusters of one name")];
    // As two installations by Helm are imported that say neither name nor mesh.
    let plane = |cluster: &str, mesh: &str| ControlPlaneAt {
        name: "Kubernetes".into(),
        mesh_id: mesh.into(),
        ..control_plane(cluster)
    };
    let link =
        |cluster: &str, watchers: &[&str]| WatchedCluster { name: "Kubernetes".into(), ..watched(cluster, watchers) };
    for (mesh, other) in [("cluster.local", "cluster.local"), ("blue", "green")] {
        let mut topology = Topology::default();
        assert_eq!(topology.control_plane("a", plane("east", mesh)), []);
        assert_eq!(topology.control_plane("b", plane("west", other)), []);
        assert_eq!(topology.watched("n", watched("north", &["east"])), []);
        // Clusters that others watch, each for itself.
        assert_eq!(topology.watched("a", link("east", &["north"])), []);
        assert_eq!(topology.watched("b", link("west", &["south"])), []);
    }
    // One watcher of both, in whichever order.
    for (first, second) in [("east", "west"), ("west", "east")] {
        let mut topology = Topology::default();
        assert_eq!(topology.watched(first, link(first, &["north"])), []);
        assert_eq!(summaries(&topology.watched(second, link(second, &["north"]))), same);
        let elsewhere = WatchedCluster { namespace: "istio-2".into(), ..link("south", &["north"]) };
        assert_eq!(topology.watched("south", elsewhere), [], "another istiod");
    }
    // One of them watches the other, and the control planes come before or after the link.
    let mut topology = Topology::default();
    topology.control_plane("a", plane("east", "cluster.local"));
    topology.control_plane("b", plane("west", "cluster.local"));
    assert_eq!(summaries(&topology.watched("a", link("east", &["west"]))), same);
    let mut topology = Topology::default();
    topology.watched("a", link("east", &["west"]));
    assert_eq!(summaries(&topology.control_plane("b", plane("west", "cluster.local"))), same);
}

#[test]
fn meshes_that_share_clusters_are_linked_each_for_itself() {
    let plane = |mesh: &str, cluster: &str, root: &str| ControlPlaneAt {
        namespace: format!("istio-{mesh}"),
        mesh_id: mesh.into(),
        revision: Some(mesh.into()),
        trust_root: Some(root.repeat(64)),
        trust_domain: mesh.into(),
        network: Some(format!("{mesh}-{cluster}")),
        ..control_plane(cluster)
    };
    let link = |mesh: &str, cluster: &str, watcher: &str| WatchedCluster {
        namespace: format!("istio-{mesh}"),
        ..watched(cluster, &[watcher])
    };
    let mut declarations = Vec::new();
    for (mesh, root) in [("blue", "b"), ("green", "a")] {
        for (cluster, watcher) in [("c1", "c2"), ("c2", "c1")] {
            declarations.push((Some(plane(mesh, cluster, root)), None));
            declarations.push((None, Some(link(mesh, cluster, watcher))));
        }
    }
    // Every rotation of the order, and its reverse.
    for at in 0..declarations.len() * 2 {
        let mut order = declarations.clone();
        order.rotate_left(at % declarations.len());
        if at >= declarations.len() {
            order.reverse();
        }
        let mut topology = Topology::default();
        for (plane, link) in &order {
            if let Some(plane) = plane {
                let id = format!("{}/{}", plane.cluster, plane.namespace);
                assert_eq!(topology.control_plane(&id, plane.clone()), [], "{at}: {id}");
            }
            if let Some(link) = link {
                let id = format!("{}/{}", link.cluster, link.namespace);
                assert_eq!(topology.watched(&id, link.clone()), [], "{at}: {id}");
            }
        }
        // Within one of them all is judged as ever.
        let apart = ControlPlaneAt { namespace: "istio-blue".into(), ..plane("green", "c2", "a") };
        let found = topology.control_plane("c2/istio-blue", apart);
        let found: Vec<&str> = found.iter().map(|finding| finding.summary).collect();
        assert!(found.contains(&"Linked clusters belong to different meshes"), "{found:?}");
        assert!(found.contains(&"Linked clusters trust different roots"), "{found:?}");
    }
}

#[test]
fn a_registry_is_named_by_its_id_in_istio() {
    let mut topology = Topology::default();
    topology.control_plane("east", control_plane("east"));
    topology.watched("west", WatchedCluster { name: "west-prod".into(), ..watched("west", &["east"]) });
    assert_eq!(topology.registry("east"), Registry::Known);
    assert_eq!(topology.registry("west-prod"), Registry::Known);
    assert_eq!(topology.registry("west"), Registry::CalledOtherwise("west-prod".into()));
    assert_eq!(topology.registry("north"), Registry::Undeclared);
}

#[test]
fn links_compare_roots_meshes_and_versions() {
    let mut topology = Topology::default();
    let with = |cluster: &str, root: &str, mesh: &str, version: &str| ControlPlaneAt {
        trust_root: Some(root.repeat(64)),
        mesh_id: mesh.into(),
        version: Some(version.into()),
        ..control_plane(cluster)
    };
    topology.control_plane("east", with("east", "a", "mesh1", "1.29.2"));
    topology.control_plane("west", with("west", "b", "mesh2", "1.31.0"));
    let findings = topology.watched("east", watched("east", &["west"]));
    assert_eq!(
        summaries(&findings),
        [
            ("watchers", "Linked clusters trust different roots"),
            ("watchers", "Linked clusters belong to different meshes"),
            ("watchers", "Linked control planes are far apart in version"),
        ]
    );
    assert_eq!(findings[2].severity, Severity::Warning);
}

#[test]
fn a_remote_needs_a_control_plane_that_serves_remotes() {
    let mut topology = Topology::default();
    topology.control_plane("east", control_plane("east"));
    let remote = WatchedCluster {
        served_by: Some(ServedBy { control_plane: "east".into(), revision: None }),
        ..watched("west", &["east"])
    };
    assert_eq!(
        summaries(&topology.watched("west", remote.clone())),
        [("control_plane", "The control plane serves no remotes")]
    );
    topology.control_plane("west", control_plane("west"));
    assert!(
        summaries(&topology.watched("west", remote)).contains(&("mode", "A remote with a control plane of its own"))
    );
}

#[test]
fn an_external_control_plane_has_the_name_of_the_cluster_it_serves() {
    let mut topology = Topology::default();
    let external = ControlPlaneAt {
        config_cluster: Some("west".into()),
        name: "west".into(),
        external_istiod: true,
        ..control_plane("hub")
    };
    assert_eq!(topology.control_plane("external", external.clone()), []);
    assert_eq!(topology.control_plane("own", control_plane("hub")), [], "the hub may have a mesh of its own");
    let served = |cluster: &str| WatchedCluster {
        served_by: Some(ServedBy { control_plane: "west".into(), revision: None }),
        ..watched(cluster, &["hub"])
    };
    for cluster in ["west", "north"] {
        assert_eq!(topology.watched(cluster, served(cluster)), []);
    }
    assert_eq!(topology.registry("west"), Registry::Known);
    // The next one, in another hub; and beside it an istiod within the cluster, of a revision of its own.
    let next = ControlPlaneAt { cluster: "hub2".into(), revision: Some("b".into()), ..external.clone() };
    assert_eq!(topology.control_plane("next", next), []);
    let within = ControlPlaneAt { revision: Some("c".into()), ..control_plane("west") };
    let found = topology.control_plane("within", within);
    assert!(found.iter().all(|finding| finding.summary != "Two clusters of one name"), "{found:?}");
    // Two clusters that one hub serves are two.
    let north = ControlPlaneAt { config_cluster: Some("north".into()), revision: Some("n".into()), ..external };
    let found = topology.control_plane("north", north);
    let named = found.iter().find(|finding| finding.summary == "Two clusters of one name").expect("an error");
    assert!(named.detail.contains("cluster north and of cluster west"), "{}", named.detail);

    let mut topology = Topology::default();
    topology.control_plane("own", control_plane("hub"));
    let found = topology.watched("west", served("west"));
    assert_eq!(summaries(&found), [("watchers", "The control plane reads another configuration")]);
}

pub(super) fn in_network(cluster: &str, network: &str) -> ControlPlaneAt {
    ControlPlaneAt { network: Some(network.into()), ..control_plane(cluster) }
}

#[test]
fn a_revision_is_one_of_a_control_plane_or_its_tags() {
    let mut topology = Topology::default();
    let gateway = |revision: Option<&str>| DeclaredGateway {
        cluster: "east".into(),
        network: "n1".into(),
        revision: revision.map(str::to_owned),
        ..DeclaredGateway::default()
    };
    assert_eq!(topology.gateway("g", gateway(Some("canary"))), [], "nothing is known of the cluster yet");
    let canary = ControlPlaneAt {
        revision: Some("canary".into()),
        tags: ["prod".to_owned()].into(),
        external_istiod: true,
        ..control_plane("east")
    };
    topology.control_plane("canary", canary);
    for (revision, known) in [(Some("canary"), true), (Some("prod"), true), (Some("stable"), false), (None, false)] {
        assert_eq!(topology.gateway("g", gateway(revision)).is_empty(), known, "{revision:?}");
    }
    let remote = |revision: &str| WatchedCluster {
        served_by: Some(ServedBy { control_plane: "east".into(), revision: Some(revision.into()) }),
        ..watched("west", &["east"])
    };
    assert_eq!(topology.watched("west", remote("canary")), []);
    let found = topology.watched("west", remote("prod"));
    assert_eq!(summaries(&found), [("revision", "No control plane of this revision is known")]);
    assert!(found[0].detail.contains("canary, prod (a tag)"), "{}", found[0].detail);
}

#[test]
fn a_gateway_exposes_an_istiod_that_is_there() {
    let mut topology = Topology::default();
    let exposing = |namespace: &str| DeclaredGateway {
        cluster: "east".into(),
        network: "n1".into(),
        exposes_istiod_of: Some(namespace.into()),
        ..DeclaredGateway::default()
    };
    assert_eq!(topology.gateway("g", exposing("mesh-b")), [], "nothing is known of the cluster yet");
    topology.control_plane("b", ControlPlaneAt { namespace: "mesh-b".into(), ..control_plane("east") });
    assert_eq!(topology.gateway("g", exposing("mesh-b")), []);
    let found = topology.gateway("g", exposing("istio-system"));
    assert_eq!(summaries(&found), [("expose", "No control plane is known in this namespace")]);
    assert!(found[0].detail.contains("is in mesh-b"), "{}", found[0].detail);
}

pub(super) fn authority(clusters: &[&str]) -> DeclaredCa {
    let store = SecretPlace { cluster: "hub".into(), namespace: "mesh-root-ca".into(), name: "mesh-root-ca".into() };
    let clusters = clusters.iter().map(|name| ((*name).to_owned(), "istio-system".to_owned())).collect();
    DeclaredCa { store: Some(store), clusters, is_new: true, is_readable: false }
}

#[test]
fn two_authorities_share_neither_a_store_nor_a_cluster() {
    let mut topology = Topology::default();
    assert_eq!(topology.authority("a", authority(&["east"])), []);
    let same = topology.authority("b", authority(&["west"]));
    assert_eq!(summaries(&same), [("root", "Two CAs with one store")]);

    let mut topology = Topology::default();
    topology.authority("a", authority(&["east"]));
    let brought = DeclaredCa { store: None, ..authority(&["east", "west"]) };
    assert_eq!(summaries(&topology.authority("b", brought)), [("clusters", "Two CAs for one cluster")]);
}

/// A watcher that may read a store reads it whatever the provider calls the cluster.
#[test]
fn names_of_one_cluster_are_taken_for_one() {
    let one = || {
        let mut topology = Topology::default();
        topology.note_uid("hub", "uid-1");
        topology.note_uid("hub-admin", "uid-1");
        topology.note_uid("west", "uid-2");
        topology
    };
    let reads = |name: &str| WatchedCluster { reads_secrets: true, is_new: true, ..watched(name, &["west"]) };
    let mut topology = one();
    topology.watched("hub-admin", reads("hub-admin"));
    let found = topology.authority("ca", authority(&["west"]));
    assert_eq!(summaries(&found), [("root", "The root's key is within the watchers' reach")]);
    assert_eq!(found[0].severity, Severity::Error);
    assert!(found[0].detail.contains("cluster hub (the same cluster as hub-admin"), "{}", found[0].detail);
    let mut topology = one();
    topology.authority("ca", authority(&["west"]));
    let found = topology.watched("hub-admin", reads("hub-admin"));
    assert_eq!(summaries(&found), [("read_secrets", "The root's key is within the watchers' reach")]);
    assert_eq!(topology.watched("west", reads("west")), [], "another cluster");
    assert_eq!(topology.watched("north", reads("north")), [], "of one that is not known nothing is guessed");

    let mut topology = one();
    topology.authority("a", authority(&["west"]));
    let store = SecretPlace { cluster: "hub-admin".into(), ..authority(&[]).store.unwrap() };
    let found = topology.authority("b", DeclaredCa { store: Some(store), ..authority(&["hub"]) });
    assert_eq!(summaries(&found), [("root", "Two CAs with one store")]);
    let brought = |clusters: &[&str]| DeclaredCa { store: None, ..authority(clusters) };
    let found = topology.authority("c", brought(&["hub-admin"]));
    assert_eq!(summaries(&found), [("clusters", "Two CAs for one cluster")]);
    assert_eq!(found[0].severity, Severity::Warning, "clones of one cluster have its uid");
}

#[test]
fn one_cluster_under_two_names_is_said() {
    let mut topology = Topology::default();
    for name in ["hub", "hub-admin"] {
        topology.note_uid(name, "uid-1");
    }
    let once = [("clusters", "One cluster under two names")];
    assert_eq!(summaries(&topology.authority("ca", authority(&["east", "hub", "hub-admin"]))), once);
    let once = [("watchers", "One cluster under two names")];
    assert_eq!(summaries(&topology.watched("hub", watched("hub", &["hub-admin"]))), once);
    assert_eq!(summaries(&topology.watched("east", watched("east", &["hub", "hub-admin"]))), once);
    assert_eq!(topology.watched("east", watched("east", &["hub", "west"])), []);
}

#[test]
fn an_authority_is_no_contradiction_to_itself() {
    let mut topology = Topology::default();
    let there = DeclaredCa { is_new: false, ..authority(&["east"]) };
    for _ in 0..2 {
        assert_eq!(topology.authority("a", there.clone()), []);
    }
    // To be replaced: planned as a new one too.
    assert_eq!(topology.authority("a", authority(&["east"])), []);
}

#[test]
fn a_root_within_the_watchers_reach_is_refused_whichever_is_declared_first() {
    let reads = |is_new| WatchedCluster { reads_secrets: true, is_new, ..watched("hub", &["west"]) };
    let there = |is_new| DeclaredCa { is_new, ..authority(&["hub", "west"]) };
    for (link_is_new, ca_is_new) in [(true, true), (true, false), (false, true), (false, false)] {
        let expected = if link_is_new || ca_is_new { Severity::Error } else { Severity::Warning };
        let mut topology = Topology::default();
        topology.watched("hub", reads(link_is_new));
        let found = topology.authority("ca", there(ca_is_new));
        assert_eq!(summaries(&found), [("root", "The root's key is within the watchers' reach")]);
        assert_eq!(found[0].severity, expected);

        let mut topology = Topology::default();
        topology.authority("ca", there(ca_is_new));
        let found = topology.watched("hub", reads(link_is_new));
        assert_eq!(summaries(&found), [("read_secrets", "The root's key is within the watchers' reach")]);
        assert_eq!(found[0].severity, expected);
        assert!(
            ["`root.store`", "private_key_wo", "readable_by_watchers"].iter().all(|way| found[0].detail.contains(way))
        );
    }
    let mut topology = Topology::default();
    topology.authority("ca", DeclaredCa { is_readable: true, ..there(true) });
    assert_eq!(topology.watched("hub", reads(true)), [], "accepted");
    let mut topology = Topology::default();
    topology.authority("ca", there(true));
    assert_eq!(topology.watched("hub", watched("hub", &["west"])), [], "without Secrets");
    assert_eq!(topology.watched("west", WatchedCluster { reads_secrets: true, ..watched("west", &["hub"]) }), []);
}

#[test]
fn an_istiod_is_given_the_secrets_it_waits_for() {
    let waiting = ControlPlaneAt { reads_remote_secrets: true, ..control_plane("west") };
    let old = ControlPlaneAt { version: Some("1.30.4".into()), ..control_plane("west") };
    for (control_plane, way) in [(waiting, "`read_remote_secrets = false`"), (old, "Istio 1.30 always does")] {
        let mut topology = Topology::default();
        topology.control_plane("west", control_plane.clone());
        let found = topology.watched("east", watched("east", &["west"]));
        assert_eq!(summaries(&found), [("read_secrets", "An istiod waits for Secrets that it is not allowed to read")]);
        assert!(found[0].detail.contains(way) && found[0].severity == Severity::Error, "{}", found[0].detail);
        let reads = WatchedCluster { reads_secrets: true, ..watched("east", &["west"]) };
        assert_eq!(topology.watched("east", reads), []);

        let mut topology = Topology::default();
        topology.watched("east", watched("east", &["west"]));
        let found = topology.control_plane("west", control_plane);
        assert_eq!(
            summaries(&found),
            [("read_remote_secrets", "An istiod waits for Secrets that it is not allowed to read")]
        );
    }
    let mut topology = Topology::default();
    topology.control_plane("west", ControlPlaneAt { version: Some("1.31.1".into()), ..control_plane("west") });
    assert_eq!(topology.watched("east", watched("east", &["west"])), []);
    let broken = ControlPlaneAt { version: Some("1.31.0".into()), ..control_plane("west") };
    let found = Topology::default().control_plane("west", broken.clone());
    assert_eq!(
        summaries(&found),
        [("read_remote_secrets", "This istiod would crash at the first cluster that it watches")]
    );
    let asking = ControlPlaneAt { reads_remote_secrets: true, ..broken };
    assert_eq!(Topology::default().control_plane("west", asking), []);
}

#[test]
fn policies_count_where_the_istiods_read_them_and_never_in_a_remote() {
    let plane =
        |cluster: &str, network: &str| ControlPlaneAt { network: Some(network.into()), ..control_plane(cluster) };
    let names = |names: &[&str]| -> BTreeSet<String> { names.iter().map(|name| (*name).to_owned()).collect() };
    let mut topology = Topology::default();
    topology.control_plane("east", plane("east", "n1"));
    topology.control_plane("west", plane("west", "n2"));
    let ruling = |own: &[&str], near: &[&str], crossing: &[&str]| Ruling {
        own: names(own),
        near: names(near),
        crossing: names(crossing),
    };
    assert_eq!(topology.ruling(&watched("west", &["east"])), ruling(&["west"], &[], &["east"]));
    let mut one = topology.clone();
    one.control_plane("west", plane("west", "n1"));
    assert_eq!(one.ruling(&watched("west", &["east"])), ruling(&["west"], &["east"], &[]));
    let remote = WatchedCluster {
        served_by: Some(ServedBy { control_plane: "east".into(), revision: None }),
        network: Some("n3".into()),
        ..watched("far", &["east"])
    };
    topology.watched("far", remote.clone());
    assert_eq!(topology.ruling(&remote), ruling(&["east"], &[], &["east"]));
    // In the network of its control plane both go by the same.
    let near = WatchedCluster { network: Some("n1".into()), ..remote.clone() };
    topology.watched("far", near.clone());
    assert_eq!(topology.ruling(&near), ruling(&["east"], &[], &[]));
    topology.watched("far", remote.clone());
    // Of an external control plane, in the cluster that it reads, though it runs in another.
    let external = ControlPlaneAt {
        cluster: "hub".into(),
        config_cluster: Some("south".into()),
        external_istiod: true,
        ..plane("south", "n4")
    };
    topology.control_plane("hub", external);
    let served = ServedBy { control_plane: "south".into(), revision: None };
    let remote = WatchedCluster { served_by: Some(served), watchers: names(&["hub"]), ..remote };
    topology.watched("far", remote.clone());
    assert_eq!(topology.crossing(&remote), ["hub"]);
    assert_eq!(topology.ruling(&remote), ruling(&["south"], &[], &["south"]));
    let config = WatchedCluster { name: "south".into(), cluster: "south".into(), network: Some("n4".into()), ..remote };
    topology.watched("south", config.clone());
    assert_eq!(topology.crossing(&config), [""; 0]);
    assert_eq!(topology.ruling(&config), ruling(&["south"], &[], &[]));
}

/// A further revision's istiod has a ServiceAccount of its own, which an API server calls otherwise.
#[test]
fn the_user_of_a_link_is_every_revision_s() {
    let plane = |revision: Option<&str>| ControlPlaneAt {
        revision: revision.map(str::to_owned),
        link_audiences: ["links".to_owned()].into(),
        ..control_plane("west")
    };
    let link = |usual: &[&str]| WatchedCluster {
        link_audience: Some("links".into()),
        usual_users: usual.iter().map(|name| (*name).to_owned()).collect(),
        ..watched("east", &["west"])
    };
    let told = [("link_token", "The API server may know this istiod by another name")];
    for (revision, usual, wanted) in
        [(Some("canary"), &["west"][..], &told[..]), (Some("canary"), &[], &[]), (None, &["west"], &[])]
    {
        let mut topology = Topology::default();
        topology.control_plane("w", plane(revision));
        assert_eq!(summaries(&topology.watched("l", link(usual))), wanted, "{revision:?}");
        let mut topology = Topology::default();
        topology.watched("l", link(usual));
        let found = topology.control_plane("w", plane(revision));
        assert_eq!(summaries(&found), wanted, "{revision:?}");
        for finding in found {
            assert_eq!(finding.severity, Severity::Warning);
            assert!(finding.detail.contains("istiod-canary"), "{}", finding.detail);
        }
    }
    // By tokens of the reader nobody's name counts, and neither does who watches nothing.
    let mut topology = Topology::default();
    topology.control_plane("w", plane(Some("canary")));
    assert_eq!(topology.watched("l", WatchedCluster { link_audience: None, ..link(&["west"]) }), []);
    let elsewhere = WatchedCluster { namespace: "istio-2".into(), ..link(&["west"]) };
    assert_eq!(topology.watched("l", elsewhere), []);
}
