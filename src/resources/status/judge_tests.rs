use super::super::crossing::Asked;
use super::super::door::Door;
use super::super::model::{Gateway, Trust, Watch};
use super::*;
use crate::resources::passthrough::{Chooses, Opening};
use crate::resources::policies::{Off, Picked, Policies, Scope, Strict, Takes, Whom};
use crate::value::{Map, Value};

/// The clusters of an example as they are seen once it is applied.
type Seen = BTreeMap<String, Sight>;

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn plane(id: &str, mesh: &str) -> ControlPlane {
    ControlPlane {
        cluster_name: id.into(),
        mesh_id: mesh.into(),
        external: false.into(),
        replicas: 1.into(),
        available_replicas: 1.into(),
        ..ControlPlane::default()
    }
}

fn trust(kept: &[&str], given: &[&str]) -> Value<Trust> {
    let list = |roots: &[&str]| roots.iter().map(|root| (*root).to_owned()).collect();
    Value::Known(Trust { roots: list(kept), distributed_roots: list(given), ..Trust::default() })
}

fn watches(verdict: &str, ids: &[&str]) -> Value<Map<Watch>> {
    ids.iter().map(|id| ((*id).to_owned(), Watch { verdict: verdict.into(), ..Watch::default() })).collect()
}

fn gateway(network: &str) -> Value<Map<Gateway>> {
    let addresses = ["192.0.2.1".to_owned()].into_iter().collect();
    let gateway = Gateway { network: network.into(), addresses, port: 15443.into(), hosts: Value::Null };
    [("istio-eastwestgateway".to_owned(), gateway)].into_iter().collect()
}

fn nothing() -> Sight {
    let shown = ClusterStatus {
        reachable: true.into(),
        error: Value::Null,
        control_planes: Value::Known(Map::new()),
        watches: Value::Known(Map::new()),
        gateways: Value::Known(Map::new()),
        ..ClusterStatus::default()
    };
    Sight { shown, system_namespace: "istio-system".into(), ..Sight::default() }
}

fn primary(id: &str, mesh: &str, network: &str, watched: &[&str]) -> Sight {
    let mut sight = Sight { has_cacerts: true, ..nothing() };
    sight.shown.control_planes = [("default".to_owned(), plane(id, mesh))].into_iter().collect();
    sight.shown.network = network.into();
    sight.shown.watches = watches("synced", watched);
    sight.shown.trust = trust(&["root"], &["root"]);
    sight
}

fn remote(network: &str, serving: &[&str]) -> Sight {
    let mut sight = Sight { serving: serving.iter().map(|id| (*id).to_owned()).collect(), ..nothing() };
    sight.shown.network = network.into();
    sight.shown.trust = trust(&[], &["root"]);
    sight
}

fn seen<const N: usize>(clusters: [(&str, Sight); N]) -> Seen {
    clusters.map(|(name, sight)| (name.to_owned(), sight)).into()
}

fn change(mut seen: Seen, name: &str, change: impl FnOnce(&mut Sight)) -> Seen {
    change(seen.get_mut(name).unwrap());
    seen
}

fn told(seen: &Seen) -> Vec<String> {
    findings(seen, NOW)
}

/// One finding and no other, which begins and goes on like this.
#[track_caller]
fn one(seen: &Seen, begins: &str, holds: &str) {
    let told = told(seen);
    assert!(told.len() == 1 && told[0].starts_with(begins) && told[0].contains(holds), "{told:#?}");
}

#[track_caller]
fn silent(seen: &Seen) {
    assert_eq!(told(seen), Vec::<String>::new());
}

fn one_network() -> Seen {
    seen([("east", primary("east", "mesh1", "net1", &["west"])), ("west", primary("west", "mesh1", "net1", &["east"]))])
}

fn two_networks() -> Seen {
    let with = |id: &str, network: &str, watched: &[&str]| {
        let mut sight = primary(id, "mesh1", network, watched);
        sight.shown.gateways = gateway(network);
        sight
    };
    seen([("east", with("east", "net-east", &["west"])), ("west", with("west", "net-west", &["east"]))])
}

fn primary_remote() -> Seen {
    let mut first = primary("primary", "mesh1", "net-primary", &["remote"]);
    first.shown.gateways = gateway("net-primary");
    let mut second = remote("net-remote", &["primary"]);
    second.shown.gateways = gateway("net-remote");
    seen([("primary", first), ("remote", second)])
}

fn external() -> Seen {
    let mut hub = primary("east", "mesh1", "net1", &["east", "west"]);
    let plane = ControlPlane { external: true.into(), ..plane("east", "mesh1") };
    hub.shown.control_planes = [("default".to_owned(), plane)].into_iter().collect();
    hub.shown.trust = trust(&["root"], &[]);
    hub.has_kubeconfig = true;
    seen([("east", remote("net1", &[])), ("hub", hub), ("west", remote("net1", &["east"]))])
}

fn intersecting() -> Seen {
    let mut all = seen([
        ("east", primary("east", "mesh1", "backbone", &["north", "west"])),
        ("north", primary("north", "mesh1", "", &["east", "west"])),
        ("west", primary("west", "mesh1", "backbone", &["east", "north"])),
    ]);
    all.get_mut("north").unwrap().shown.network = Value::Null;
    all.values_mut().for_each(|sight| sight.describes_networks = true);
    change(all, "west", |west| west.shown.gateways = gateway("backbone"))
}

#[test]
fn every_mode_is_silent_while_it_is_whole() {
    for whole in [one_network(), two_networks(), primary_remote(), external(), intersecting()] {
        silent(&whole);
    }
    let independent = seen([
        ("east", primary("east", "mesh-east", "net-east", &[])),
        ("west", primary("west", "mesh-west", "net-west", &[])),
    ]);
    silent(&change(independent, "west", |west| west.shown.trust = trust(&["other"], &["other"])));
}

#[test]
fn nothing_is_told_of_as_nothing() {
    one(&seen([("east", nothing())]), "east: nothing of Istio is here", "leave it out of `clusters`");
    let all = seen([("east", nothing()), ("west", nothing())]);
    assert_eq!(told(&all).len(), 2);
}

#[test]
fn of_a_cluster_that_lost_everything_each_step_is_told() {
    let mut all = two_networks();
    all = change(all, "west", |west| west.shown.watches = Value::Known(Map::new()));
    one(&all, "west: no remote secret here names east", "with west among its `watchers`");
    all = change(all, "west", |west| {
        west.has_cacerts = false;
        west.shown.trust = trust(&[], &["root"]);
    });
    assert_eq!(told(&all).len(), 2);
    assert!(told(&all)[1].starts_with("west: the Secret `cacerts` is missing, and east of the same mesh has one"));
    all = change(all, "west", |west| west.shown.gateways = Value::Known(Map::new()));
    assert_eq!(told(&all).len(), 3);
    assert!(told(&all)[1].starts_with("west: no gateway leads to its network net-west"), "{:#?}", told(&all));
    all = change(all, "west", |west| west.shown.control_planes = Value::Known(Map::new()));
    assert!(told(&all)[0].starts_with("west: no istiod runs in namespace istio-system"), "{:#?}", told(&all));
    assert!(told(&all)[0].contains("east has a remote secret of it"));
    let gone = change(two_networks(), "west", |west| *west = nothing());
    one(&gone, "west: no istiod runs", "east has a remote secret of it");
}

#[test]
fn an_istiod_that_is_scaled_to_none_or_not_available_is_told() {
    let plane_with = |replicas: i64, available: i64| {
        change(one_network(), "west", |west| {
            let plane = ControlPlane {
                replicas: replicas.into(),
                available_replicas: available.into(),
                ..plane("west", "mesh1")
            };
            west.shown.control_planes = [("default".to_owned(), plane)].into_iter().collect();
            west.shown.watches = watches("unknown", &["east"]);
        })
    };
    one(&plane_with(0, 0), "west: istiod (default) is scaled to none", "Scale its Deployment");
    one(&plane_with(2, 0), "west: 0 of 2 replicas of istiod (default) are available", "describe pods");
}

#[test]
fn a_remote_without_a_secret_is_told_and_one_of_another_id_is_not() {
    let without = change(primary_remote(), "primary", |first| first.shown.watches = Value::Known(Map::new()));
    one(&without, "remote: no remote secret of it is in primary", "among its `watchers`");
    silent(&change(primary_remote(), "primary", |first| first.shown.watches = watches("synced", &["the-remote"])));
    let unread = change(without, "primary", |first| first.shown.error = "no answer".into());
    one(&unread, "primary: no answer", "");
}

#[test]
fn a_link_in_one_direction_is_told_within_one_mesh_only() {
    let other_mesh = change(one_network(), "west", |west| {
        west.shown.control_planes = [("default".to_owned(), plane("west", "mesh2"))].into_iter().collect();
        west.shown.watches = Value::Known(Map::new());
    });
    silent(&other_mesh);
    let named_otherwise =
        seen([("e", primary("east", "mesh1", "net1", &["west"])), ("w", primary("west", "mesh1", "net1", &["east"]))]);
    silent(&named_otherwise);
    let back = change(named_otherwise, "w", |west| west.shown.watches = Value::Known(Map::new()));
    one(&back, "w: no remote secret here names e,", "the istiod of e watches w");
}

#[test]
fn roots_are_those_that_workloads_have_within_one_mesh() {
    let self_signed = |more: fn(&mut Sight)| {
        let mut all = one_network();
        for (name, sight) in &mut all {
            sight.has_cacerts = false;
            sight.shown.trust = trust(&[], &[name]);
            more(sight);
        }
        all
    };
    one(&self_signed(|_| ()), "east and west have no root in common", "mesh_ca");
    silent(&self_signed(|sight| sight.no_auto_mtls = true));
    silent(&self_signed(|sight| sight.trusts_more_roots = true));
    let third = seen([
        ("a", primary("a", "mesh1", "net1", &["b", "c"])),
        ("b", primary("b", "mesh1", "net1", &["a", "c"])),
        ("c", primary("c", "mesh1", "net1", &["a", "b"])),
    ]);
    let third = change(third, "b", |b| b.shown.trust = trust(&["root", "two"], &["root", "two"]));
    let third = change(third, "c", |c| c.shown.trust = trust(&["two"], &["two"]));
    one(&third, "a and c have no root in common", "");
    let remote = change(primary_remote(), "remote", |remote| remote.shown.trust = trust(&[], &["old"]));
    one(&remote, "primary and remote have no root in common", "");
    let not_taken = change(one_network(), "west", |west| west.shown.trust = trust(&["root", "new"], &["root"]));
    one(&not_taken, "west: istiod hands out other roots than those in `cacerts`", "log");
    // What is left of a Secret that no istiod here signs by.
    let csr = change(one_network(), "west", |west| west.shown.trust = trust(&["old"], &["root"]));
    silent(&change(csr, "west", |west| west.signs_elsewhere = true));
    let left = |sight: &mut Sight| {
        sight.has_cacerts = true;
        sight.shown.trust = trust(&["old"], &["root"]);
    };
    silent(&change(primary_remote(), "remote", left));
    silent(&change(external(), "west", left));
    silent(&change(primary_remote(), "remote", |remote| {
        remote.has_cacerts = true;
        remote.shown.trust = trust(&["old"], &[]);
    }));
}

#[test]
fn a_control_plane_without_cacerts_is_told_beside_others_that_sign_with_one() {
    let without = |more: fn(&mut Sight)| {
        change(one_network(), "west", |west| {
            west.has_cacerts = false;
            west.shown.trust = trust(&[], &["root"]);
            more(west);
        })
    };
    one(&without(|_| ()), "west: the Secret `cacerts` is missing", "Apply mesh_ca");
    silent(&without(|west| west.signs_elsewhere = true));
}

#[test]
fn a_cluster_without_a_network_beside_one_with_one_is_told() {
    let none = |sight: &mut Sight| sight.shown.network = Value::Null;
    // The Pods of both reach each other: nothing says that they are apart.
    silent(&change(one_network(), "west", none));
    silent(&change(external(), "west", none));
    let without = || {
        change(two_networks(), "west", |west| {
            west.shown.network = Value::Null;
            west.shown.gateways = Value::Known(Map::new());
        })
    };
    one(&without(), "west: it is in no network", "(east in net-east)");
    let led_to = |seen: Seen| change(seen, "east", |east| east.led_to = ["net1".to_owned()].into());
    one(&led_to(change(one_network(), "west", none)), "west: it is in no network", "(east in net1)");
    // Where Pods are put counts, with a label or without one.
    let injects = |sight: &mut Sight| {
        sight.shown.network = Value::Null;
        (sight.injects_network, sight.pods_network) = (true, Some("net-pods".to_owned()));
    };
    let injected = change(without(), "east", injects);
    let injected = told(&change(injected, "east", |east| east.led_to = ["net-pods".to_owned()].into()));
    let words = "clusters that are in one are linked with it (east in net-pods)";
    assert!(injected.iter().any(|told| told.starts_with("west: it is in no") && told.contains(words)), "{injected:#?}");
    silent(&change(without(), "east", none));
    silent(&change(without(), "east", |east| east.describes_networks = true));
    silent(&change(without(), "west", |west| west.injects_network = true));
    one(&led_to(change(external(), "west", none)), "west: it is in no network", "(east in net1)");
    // A second name among the linked.
    let third = seen([
        ("a", primary("a", "mesh1", "net-a", &["b", "c"])),
        ("b", primary("b", "mesh1", "net-b", &["a", "c"])),
        ("c", primary("c", "mesh1", "", &["a", "b"])),
    ]);
    let third = told(&change(third, "c", none));
    assert!(third.iter().any(|told| told.starts_with("c: it is in no network")), "{third:#?}");
    // No link, so that nobody calls it.
    let apart = change(without(), "west", |west| {
        west.shown.watches = Value::Known(Map::new());
        west.shown.control_planes = [("default".to_owned(), plane("west", "mesh2"))].into_iter().collect();
    });
    silent(&change(apart, "east", |east| east.shown.watches = Value::Known(Map::new())));
}

#[test]
fn gateways_that_are_labelled_with_each_other_s_network_are_told() {
    let stand_ins = change(two_networks(), "east", |east| east.shown.gateways = gateway("net-west"));
    let stand_ins = told(&change(stand_ins, "west", |west| west.shown.gateways = gateway("net-east")));
    assert!(!stand_ins.iter().any(|told| told.contains("is itself in")), "Services without Pods: {stand_ins:#?}");
    let labelled = |sight: &mut Sight, network: &str| {
        sight.shown.gateways = gateway(network);
        let names: Vec<String> = sight.shown.gateways.keys().map(str::to_owned).collect();
        sight.crossing.doors.extend(names.into_iter().map(|name| (name, Ok(Door::default()))));
    };
    let swapped = change(two_networks(), "east", |east| labelled(east, "net-west"));
    let swapped = told(&change(swapped, "west", |west| labelled(west, "net-east")));
    assert_eq!(swapped.len(), 2, "{swapped:#?}");
    for (told, cluster, words) in [
        (&swapped[0], "east: gateway", "network net-west, which is that of west, and is itself in net-east"),
        (&swapped[1], "west: gateway", "network net-east, which is that of east, and is itself in net-west"),
    ] {
        assert!(told.starts_with(cluster) && told.contains(words), "{told}");
    }
}

#[test]
fn a_network_without_a_gateway_is_told_where_nothing_else_can_lead_to_it() {
    let without = change(two_networks(), "west", |west| west.shown.gateways = Value::Known(Map::new()));
    one(&without, "west: no gateway leads to its network net-west", "mesh_eastwest_gateway");
    silent(&change(without.clone(), "east", |east| east.led_to = ["net-west".to_owned()].into()));
    silent(&change(without.clone(), "west", |west| west.gateways_unsure = true));
    silent(&change(without.clone(), "east", |east| east.shown.watches = watches("synced", &["west", "north"])));
    let apart = change(without.clone(), "east", |east| east.shown.watches = Value::Known(Map::new()));
    let apart = change(apart, "west", |west| west.shown.watches = Value::Known(Map::new()));
    one(&apart, "west: it and east have control planes of one mesh", "neither has a remote secret");
}

#[test]
fn what_nobody_could_ask_is_unknown_with_its_reason() {
    let unasked = change(one_network(), "west", |west| {
        west.shown.watches = watches("unknown", &["east"]);
        west.unasked = Some("forbidden".to_owned());
    });
    one(&unasked, "west: whether its istiod is in sync with cluster east is unknown: forbidden", "pods/portforward");
    let late = change(one_network(), "west", |west| west.shown.watches = watches("timeout", &["east"]));
    one(&late, "west: its istiod reports cluster east as timeout", "its API server");
}

#[test]
fn an_external_control_plane_needs_its_kubeconfig() {
    let without = change(external(), "hub", |hub| hub.has_kubeconfig = false);
    one(&without, "hub: the kubeconfig of its configuration cluster", "istio-kubeconfig");
    // Its host is not looked at: a Service that leads to an istiod elsewhere is all there is to see.
    let config = change(seen([("east", remote("net1", &[]))]), "east", |east| east.served_from_outside = true);
    silent(&config);
}

#[test]
fn a_gateway_without_an_address_is_told_with_the_reason() {
    let without = change(two_networks(), "west", |west| {
        let gateway = Gateway { network: "net-west".into(), ..Gateway::default() };
        west.shown.gateways = [("istio-eastwestgateway".to_owned(), gateway)].into_iter().collect();
        west.no_address = [("istio-eastwestgateway".to_owned(), "no controller".to_owned())].into();
    });
    one(&without, "west: gateway istio-eastwestgateway has no address: no controller", "");
}

fn off_by(what: &str) -> Option<Asked<Policies>> {
    let off = Off { what: what.to_owned(), whom: Whom::Namespace("shop".to_owned()), is_plain: true };
    Some(Ok(Policies { off: vec![off], ..Policies::default() }))
}

#[test]
fn what_keeps_calls_from_crossing_is_told_where_networks_differ() {
    let of = |whole: Seen, crossing: Crossing| change(whole, "west", |west| west.crossing = crossing);
    let door = |port: u64| Door { port, ports: vec![15443], target: Some(15443), ..Door::default() };
    let opening = |selector: &[(&str, &str)], port: u64| Opening {
        what: "Gateway istio-system/cross".into(),
        namespace: "istio-system".into(),
        chooses: Chooses::Pods(selector.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()),
        port,
        hosts: vec!["*.local".into()],
    };
    let with = |door: Asked<Door>, open: Asked<Vec<Opening>>| Crossing {
        by_mtls: true,
        doors: [("gw".to_owned(), door)].into(),
        open: Some(open),
        policies: Some(Ok(Policies::default())),
        ..Crossing::default()
    };
    let fine = || with(Ok(door(15443)), Ok(vec![opening(&[], 15443)]));
    silent(&of(two_networks(), fine()));
    let no_pod = |unread: Result<(), String>| Crossing { no_pod: [("gw".to_owned(), unread)].into(), ..fine() };
    one(&of(two_networks(), no_pod(Ok(()))), "west: gateway gw has no Pod that is ready", "scaled to none");
    one(&of(two_networks(), no_pod(Err("forbidden".into()))), "west: whether gateway gw has a Pod", "forbidden");
    let shut = || Crossing { open: Some(Ok(Vec::new())), ..fine() };
    one(&of(two_networks(), shut()), "west: gateway gw lets nothing through: no Gateway passes calls on", "`expose`");
    silent(&of(one_network(), shut()));
    for (door, opening, words) in [
        (door(15444), opening(&[], 15443), "other networks dial its port 15444, and its Service has only 15443"),
        (Door { target: None, ..door(15443) }, opening(&[], 15443), "port 15443 of its Service leads to no port"),
        (
            door(15443),
            opening(&[("istio", "other")], 15443),
            "Gateway istio-system/cross passes calls on, and chooses other Pods",
        ),
        (door(15443), opening(&[], 15444), "Gateways let calls in at 15444 alone"),
    ] {
        one(&of(two_networks(), with(Ok(door), Ok(vec![opening]))), "west: gateway gw lets nothing through", words);
    }
    one(
        &of(two_networks(), with(Err("forbidden".into()), Ok(Vec::new()))),
        "west: whether gateway gw lets",
        "forbidden",
    );
    // Whose Gateway objects are in another cluster, the one that serves it.
    let remote = |open: Option<Asked<Vec<Opening>>>| {
        let whole = change(primary_remote(), "remote", |remote| remote.crossing = Crossing { open: None, ..fine() });
        change(whole, "primary", |primary| primary.crossing.open = open)
    };
    silent(&remote(None));
    silent(&remote(Some(Ok(vec![opening(&[], 15443)]))));
    one(&remote(Some(Ok(Vec::new()))), "remote: gateway gw lets nothing through", "no Gateway passes calls on");
    let off = || Crossing { policies: off_by("PeerAuthentication shop/a"), ..fine() };
    one(&of(two_networks(), off()), "west: policies turn mTLS off", "PeerAuthentication shop/a");
    silent(&of(one_network(), off()));
    // Nobody reads what lies in a remote; what counts for it is with its control plane.
    let at = |name: &str| {
        let whole = change(primary_remote(), "remote", |remote| remote.crossing = Crossing { open: None, ..fine() });
        let whole = change(whole, "primary", |primary| primary.crossing.open = fine().open);
        change(whole, name, |one| one.crossing.policies = off().policies)
    };
    silent(&at("remote"));
    one(&at("primary"), "primary: policies turn mTLS off", "PeerAuthentication shop/a");
    // The gateway may be another cluster's.
    let elsewhere = change(of(two_networks(), fine()), "east", |east| {
        east.crossing.policies = off_by("PeerAuthentication shop/b");
    });
    one(&elsewhere, "east: policies turn mTLS off", "PeerAuthentication shop/b");
    one(
        &of(two_networks(), Crossing { policies: Some(Err("forbidden".into())), ..fine() }),
        "west: whether policies",
        "forbidden",
    );
    one(
        &of(two_networks(), Crossing { open: Some(Err("forbidden".into())), ..fine() }),
        "west: whether its gateway",
        "forbidden",
    );
    let plain = change(of(two_networks(), fine()), "west", |west| west.no_auto_mtls = true);
    one(&plain, "west: `enableAutoMtls` is false", "plain text");
    silent(&change(plain, "west", |west| {
        west.crossing.policies = Some(Ok(Policies { mutual: vec![Whom::Everybody], ..Policies::default() }));
    }));
}

#[test]
fn control_planes_of_one_mesh_that_are_not_linked_at_all_are_told_once() {
    let apart = |mesh: &str| {
        seen([("east", primary("east", "mesh1", "net1", &[])), ("west", primary("west", mesh, "net1", &[]))])
    };
    one(&apart("mesh1"), "west: it and east have control planes of one mesh", "neither has a remote secret");
    silent(&apart("mesh2"));
    silent(&change(apart("mesh1"), "east", |east| east.shown.watches = watches("synced", &["of-another-id"])));
}

#[test]
fn control_planes_that_watch_each_other_under_several_mesh_ids_are_told_once_and_judged_as_one_mesh() {
    let other = |watched: &[&str]| {
        let west = primary("west", "mesh2", "net1", watched);
        seen([("east", primary("east", "mesh1", "net1", &["west"])), ("west", west)])
    };
    one(&other(&["east"]), "west: it and east watch each other", "mesh2 here, and mesh1 in east");
    let roots = change(other(&["east"]), "west", |west| west.shown.trust = trust(&["own"], &["own"]));
    let roots = told(&roots);
    assert!(roots.len() == 2 && roots[1].starts_with("east and west have no root in common"), "{roots:#?}");
    silent(&change(other(&[]), "west", |west| west.shown.trust = trust(&["own"], &["own"])));
}

#[test]
fn what_has_ended_or_not_begun_is_told_where_it_is_in_use() {
    let day = time::Duration::days(1);
    let token = |end: OffsetDateTime| {
        move |sight: &mut Sight| sight.tokens = vec![("istio-system/remote".into(), "west".into(), end)]
    };
    silent(&change(one_network(), "east", token(NOW + day)));
    one(
        &change(one_network(), "east", token(NOW)),
        "east: the token in the Secret istio-system/remote ended at",
        "west",
    );
    // The remote secrets of an external control plane are in its configuration cluster. Elsewhere nobody reads them.
    one(&change(external(), "east", token(NOW - day)), "east: the token in the Secret", "1969-12-31T00:00:00Z");
    silent(&change(external(), "west", token(NOW - day)));
    let signs = |what: &'static str, begin: OffsetDateTime, end: OffsetDateTime| {
        change(one_network(), "west", move |west| west.signs_by = vec![(what, begin, end)])
    };
    silent(&signs("root", NOW, NOW + day));
    one(&signs("root", NOW - day, NOW), "west: the root in `cacerts` ended at", "mesh_ca");
    one(&signs("intermediate", NOW + day, NOW + day), "west: the intermediate in `cacerts` is valid only from", "");
    silent(&change(signs("root", NOW - day, NOW), "west", |west| west.signs_elsewhere = true));
}

#[test]
fn a_token_that_its_cluster_refuses_is_told_though_istiod_is_in_sync() {
    let revoked = |lost: &Lost| {
        let lost = lost.clone();
        move |sight: &mut Sight| sight.revoked = vec![("istio-system/remote".into(), "west".into(), lost)]
    };
    let account = Lost::Account("reader".into());
    let begins = "east: the token in the Secret istio-system/remote";
    one(
        &change(one_network(), "east", revoked(&account)),
        begins,
        "is of the ServiceAccount reader, which cluster west",
    );
    let secret = Lost::Secret("r.w.1".into());
    one(&change(one_network(), "east", revoked(&secret)), begins, "is bound to the Secret r.w.1, which cluster west");
    one(&change(external(), "east", revoked(&account)), begins, "Apply its mesh_remote_cluster");
    silent(&change(external(), "west", revoked(&account)));
    let ended = change(change(one_network(), "east", revoked(&account)), "east", |east| {
        east.tokens = vec![("istio-system/remote".into(), "west".into(), NOW)];
    });
    one(&ended, begins, "ended at");
}

#[test]
fn who_is_served_by_the_istiods_of_others_is_known() {
    let of = |seen: &Seen| {
        served(seen).into_iter().map(|(name, hosts)| format!("{name} by {}", hosts.join(", "))).collect::<Vec<_>>()
    };
    assert_eq!(of(&external()), ["east by hub", "west by hub"]);
    assert_eq!(of(&primary_remote()), ["remote by primary"]);
    assert_eq!(of(&two_networks()), [""; 0]);
}

#[test]
fn a_namespace_that_is_being_deleted_is_told() {
    one(
        &change(one_network(), "west", |west| west.is_leaving = true),
        "west: its namespace istio-system is being deleted",
        "apply",
    );
}

#[test]
fn a_root_in_common_is_not_enough_where_the_other_is_signed_by() {
    let west = |signed_by: &str| {
        change(one_network(), "west", |west| {
            west.shown.trust = trust(&["root", "new"], &["root", "new"]);
            west.signed_by = Some(signed_by.to_owned());
        })
    };
    silent(&west("root"));
    one(&west("new"), "west: its `cacerts` signs by a root that east does not trust", "mesh_ca");
    let more = |root: &'static str| move |sight: &mut Sight| sight.more_roots = [root.to_owned()].into();
    silent(&change(west("new"), "east", more("new")));
    silent(&change(west("new"), "west", |west| west.signs_elsewhere = true));
    // An added root is one more that is trusted, and ends no comparison.
    let apart = change(one_network(), "west", |west| west.shown.trust = trust(&["own"], &["own"]));
    one(&change(apart.clone(), "west", more("third")), "east and west have no root in common", "");
    silent(&change(apart, "west", more("root")));
}

#[path = "judge_places_tests.rs"]
mod places;
