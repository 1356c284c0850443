//! Gateways and remotes beside the control planes that serve them, each finding with its nearest neighbour that is
//! right and silent.

use super::findings_tests::plane_pending;
use super::tests::{control_plane, summaries, watched};
use super::*;

const REVISION: (&str, &str) = ("revision", "No control plane of this revision is known");

fn gateway(cluster: &str, revision: Option<&str>) -> DeclaredGateway {
    DeclaredGateway {
        cluster: cluster.into(),
        name: "istio-eastwestgateway".into(),
        network: "n1".into(),
        revision: revision.map(str::to_owned),
        ..DeclaredGateway::default()
    }
}

fn remote(cluster: &str, watcher: &str, control_plane: &str, revision: Option<&str>) -> WatchedCluster {
    let served = ServedBy { control_plane: control_plane.into(), revision: revision.map(str::to_owned) };
    WatchedCluster { served_by: Some(served), ..watched(cluster, &[watcher]) }
}

fn external(revision: Option<&str>) -> ControlPlaneAt {
    ControlPlaneAt {
        config_cluster: Some("west".into()),
        name: "west".into(),
        external_istiod: true,
        revision: revision.map(str::to_owned),
        ..control_plane("hub")
    }
}

#[test]
fn a_control_plane_that_waits_for_values_may_be_the_one_asked_for() {
    let told = |pending: Option<Pending>| {
        let mut topology = Topology::default();
        topology.control_plane("e", control_plane("east"));
        pending.into_iter().for_each(|pending| topology.pending(pending));
        let exposing = DeclaredGateway { exposes_istiod_of: Some("mesh-b".into()), ..gateway("east", None) };
        let mut found = topology.gateway("g", gateway("east", Some("canary")));
        found.extend(topology.gateway("h", exposing));
        found.extend(topology.watched("w", remote("west", "east", "east", Some("canary"))));
        found.extend(topology.watched("n", remote("north", "east", "north", None)));
        found.into_iter().map(|finding| (finding.attribute, finding.summary)).collect::<Vec<_>>()
    };
    let elsewhere = ("expose", "No control plane is known in this namespace");
    let unread = ("watchers", "The control plane reads another configuration");
    assert_eq!(told(None), [REVISION, elsewhere, REVISION, unread]);
    assert_eq!(told(Some(plane_pending("east", "east"))), []);
    assert_eq!(told(Some(plane_pending("hub", "hub"))), [REVISION, elsewhere, unread], "ids may be any cluster's");
    assert_eq!(told(Some(plane_pending("hub", "east"))), [unread], "an external one serves gateways elsewhere");
    let unknown = Pending::ControlPlane { cluster: "hub".into(), serves: None };
    assert_eq!(told(Some(unknown)), [unread]);
}

#[test]
fn gateways_are_served_by_the_control_planes_of_their_own_cluster() {
    let told = |gateway: DeclaredGateway| {
        let mut topology = Topology::default();
        topology.control_plane("x", external(Some("ext")));
        summaries(&topology.gateway("g", gateway)) == [REVISION]
    };
    assert!(!told(gateway("hub", None)), "who serves the hub's own Pods nobody has declared");
    assert!(told(gateway("west", None)), "the external one is of another revision");
    assert!(!told(gateway("west", Some("ext"))));

    // So are the classes and mTLS of its control planes, whichever is declared first.
    let needed = ["Calls between networks need mTLS"];
    let off = || ControlPlaneAt { mtls: Mtls::Off, ..external(None) };
    for (cluster, wanted) in [("west", &needed[..]), ("hub", &[])] {
        let open = || DeclaredGateway { exposes_services: true, ..gateway(cluster, None) };
        let texts = |found: Vec<Finding>| found.into_iter().map(|finding| finding.summary).collect::<Vec<_>>();
        let mut topology = Topology::default();
        topology.control_plane("x", off());
        assert_eq!(texts(topology.gateway("g", open())), wanted, "{cluster}");
        let mut topology = Topology::default();
        topology.gateway("g", open());
        assert_eq!(texts(topology.control_plane("x", off())), wanted, "{cluster}");
    }
    // An istiod is exposed where it runs.
    let mut topology = Topology::default();
    topology.control_plane("x", ControlPlaneAt { namespace: "external-istiod".into(), ..external(None) });
    let exposing =
        |namespace: &str| DeclaredGateway { exposes_istiod_of: Some(namespace.into()), ..gateway("hub", None) };
    assert_eq!(topology.gateway("g", exposing("external-istiod")), []);
    let found = topology.gateway("g", exposing("istio-system"));
    assert_eq!(summaries(&found), [("expose", "No control plane is known in this namespace")]);
}

#[test]
fn a_remote_s_gateway_is_injected_by_the_webhook_of_the_remote() {
    let door = |revision: Option<&str>| DeclaredGateway { stands: true, ..gateway("west", revision) };
    let link = |revision: Option<&str>| remote("west", "east", "east", revision);
    for (asked, served, told) in [
        (Some("canary"), None, true),
        (None, Some("canary"), true),
        (Some("canary"), Some("canary"), false),
        (None, None, false),
    ] {
        let wanted: &[_] = if told { &[REVISION] } else { &[] };
        let mut topology = Topology::default();
        topology.watched("w", link(served));
        let found = topology.gateway("g", door(asked));
        assert_eq!(summaries(&found), wanted, "{asked:?} {served:?}");
        assert!(found.iter().all(|finding| finding.detail.contains("mesh_remote_cluster")), "{found:?}");
        let mut topology = Topology::default();
        topology.gateway("g", door(asked));
        assert_eq!(summaries(&topology.watched("w", link(served))), wanted, "{asked:?} {served:?}");
    }
    let mut topology = Topology::default();
    topology.watched("w", link(None));
    topology.pending(Pending::Remote("west".into()));
    assert_eq!(topology.gateway("g", door(Some("canary"))), [], "a second mesh may serve it");
    // Its own control plane counts, once there is one.
    let mut topology = Topology::default();
    topology.watched("w", remote("west", "hub", "west", Some("ext")));
    topology.control_plane("x", ControlPlaneAt { tags: ["prod".to_owned()].into(), ..external(Some("ext")) });
    assert_eq!(topology.gateway("g", door(Some("prod"))), []);
    assert_eq!(topology.watched("w", remote("west", "hub", "west", Some("ext"))), []);
    // A link that is planned again, by another revision than before, is judged by the new one.
    let mut topology = Topology::default();
    topology.watched("w", link(Some("canary")));
    topology.gateway("g", door(Some("canary")));
    assert_eq!(summaries(&topology.watched("w", link(None))), [REVISION]);
}

#[test]
fn a_gateway_is_opened_by_what_its_istiods_look_into() {
    let selecting = |label: &str| {
        let mesh = serde_json::json!({"discoverySelectors": [{"matchLabels": {"mesh": label}}]});
        DiscoverySelectors::of(mesh.as_object().expect("an object"))
    };
    let looks_into = |topology: &Topology| {
        topology.absences().into_iter().find_map(|absence| match absence {
            Absence::Unopened(unopened) => Some(unopened.looks_into),
            _ => None,
        })
    };
    let mut topology = Topology::default();
    topology.gateway("g", gateway("west", None));
    assert_eq!(looks_into(&topology), Some(Vec::new()), "nobody is known who reads Gateways there");
    // Where the external one runs, its own mesh looks elsewhere.
    topology.control_plane("x", ControlPlaneAt { discovery: selecting("ours"), ..external(None) });
    topology.control_plane("h", ControlPlaneAt { discovery: selecting("hub"), ..control_plane("hub") });
    assert_eq!(looks_into(&topology), Some(vec![selecting("ours")]));
    topology.watched("w", remote("far", "hub", "west", None));
    topology.gateway("g", gateway("far", None));
    assert_eq!(looks_into(&topology), Some(vec![selecting("ours")]), "a remote's are read there too");
}
