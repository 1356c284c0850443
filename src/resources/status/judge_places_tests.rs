//! Which cluster is which, where what counts for it is read, and what istiods do not see.

use super::*;
use crate::mesh::DiscoverySelectors;

#[test]
fn what_counts_for_an_external_control_plane_is_in_its_configuration_cluster() {
    let opening = Opening {
        what: "Gateway istio-system/cross".into(),
        namespace: "istio-system".into(),
        chooses: Chooses::Pods([("istio".to_owned(), "eastwestgateway".to_owned())].into()),
        port: 15443,
        hosts: vec!["*.local".into()],
    };
    let door = || {
        let mut door = Door { port: 15443, ports: vec![15443], target: Some(15443), ..Door::default() };
        door.service.selector = [("istio".to_owned(), "eastwestgateway".to_owned())].into();
        door
    };
    let fine = || Crossing {
        by_mtls: true,
        doors: [("gw".to_owned(), Ok(door()))].into(),
        open: Some(Ok(vec![opening.clone()])),
        policies: Some(Ok(Policies::default())),
        ..Crossing::default()
    };
    let two = |east: Crossing, west: Crossing| {
        let mut all = external();
        for (name, network, crossing) in [("east", "net1", east), ("west", "net2", west)] {
            let one = all.get_mut(name).unwrap();
            (one.shown.network, one.shown.gateways) = (network.into(), gateway(network));
            one.crossing = crossing;
        }
        all
    };
    silent(&two(fine(), Crossing { open: Some(Ok(Vec::new())), ..fine() }));
    let shut = two(Crossing { open: Some(Ok(Vec::new())), ..fine() }, fine());
    assert!(told(&shut).iter().all(|told| told.contains("gateway gw lets nothing through")) && told(&shut).len() == 2);
    let off = || Crossing { policies: off_by("PeerAuthentication shop/a"), ..fine() };
    one(&two(off(), fine()), "east: policies turn mTLS off", "PeerAuthentication shop/a");
    silent(&two(fine(), off()));
}

#[test]
fn a_remote_is_known_by_the_id_that_it_tells_the_injector() {
    let called = |id: &str, watched: &str| {
        let mut first = primary("primary", "mesh1", "net1", &[watched]);
        first.shown.gateways = gateway("net1");
        let mut second = remote("net1", &["primary"]);
        second.called = Some(id.to_owned());
        seen([("primary", first), ("west", second)])
    };
    silent(&called("west-eu", "west-eu"));
    silent(&called("west", "west"));
    // Under its name here somebody else is watched.
    let other = change(called("west-eu", "west"), "primary", |_| {});
    silent(&other);
    one(
        &change(called("west-eu", "west-eu"), "primary", |primary| primary.shown.watches = Value::Known(Map::new())),
        "west: no remote secret of it is in primary",
        "mesh_remote_cluster",
    );
    // Its gateway counts for whoever watches it, by that id.
    let apart = |id: &str| {
        let whole = change(called("west-eu", id), "west", |west| west.shown.network = "net2".into());
        change(whole, "primary", |primary| primary.shown.gateways = gateway("net1"))
    };
    one(&apart("west-eu"), "west: no gateway leads to its network net2", "mesh_eastwest_gateway");
}

#[test]
fn what_is_in_a_namespace_that_istiod_does_not_look_into_is_not_there_for_it() {
    let selectors = |label: &str| {
        let mesh = serde_json::json!({"discoverySelectors": [{"matchLabels": {label: "one"}}]});
        vec![DiscoverySelectors::of(mesh.as_object().unwrap())]
    };
    let labels = |label: &str| -> BTreeMap<String, String> { [(label.to_owned(), "one".to_owned())].into() };
    let with = |whole: Seen, at: &str, label: &str| {
        let whole = change(whole, at, |one| one.looks_into = selectors("mesh"));
        change(whole, "west", |west| {
            west.gateway_namespaces = [("istio-eastwestgateway".to_owned(), "gateways".to_owned())].into();
            west.namespaces = [("gateways".to_owned(), labels(label)), ("shop".to_owned(), labels("other"))].into();
        })
    };
    silent(&with(two_networks(), "west", "mesh"));
    let told = "west: `discoverySelectors` leave out its namespace gateways";
    one(&with(two_networks(), "west", "other"), told, "gateway istio-eastwestgateway");
    silent(&with(one_network(), "west", "other"));
    // Whose istiod is in another cluster.
    let remote = |label: &str| {
        let whole = change(primary_remote(), "primary", |primary| primary.looks_into = selectors("mesh"));
        change(whole, "remote", |remote| {
            remote.gateway_namespaces = [("istio-eastwestgateway".to_owned(), "gateways".to_owned())].into();
            remote.namespaces = [("gateways".to_owned(), labels(label))].into();
        })
    };
    silent(&remote("mesh"));
    one(
        &remote("other"),
        "remote: `discoverySelectors` leave out its namespace gateways",
        "kubernetes.io/metadata.name",
    );
    // What opens the gateway, and what it exposes.
    let opening = |namespace: &str, host: &str| Opening {
        what: format!("Gateway {namespace}/cross"),
        namespace: namespace.into(),
        chooses: Chooses::Pods(BTreeMap::new()),
        port: 15443,
        hosts: vec![host.into()],
    };
    let opened = |namespace: &str, host: &str| {
        change(with(two_networks(), "west", "mesh"), "west", |west| {
            west.crossing.open = Some(Ok(vec![opening(namespace, host)]));
        })
    };
    silent(&opened("gateways", "*.local"));
    one(&opened("shop", "*.local"), "west: `discoverySelectors` leave out its namespace shop", "Gateway shop/cross");
    one(
        &opened("gateways", "*.shop.svc.cluster.local"),
        "west: `discoverySelectors` leave out its namespace shop",
        "*.shop.svc",
    );
    one(&opened("gateways", "web.shop.svc.cluster.local"), "west: `discoverySelectors`", "web.shop.svc.cluster.local");
    silent(&opened("gateways", "web.bank.svc.cluster.local"));
}

#[test]
fn what_another_mesh_has_in_a_namespace_of_its_own_is_no_matter_of_this_one() {
    let mesh = serde_json::json!({"discoverySelectors": [{"matchLabels": {"mesh": "one"}}]});
    let labels = |of: &str| -> BTreeMap<String, String> { [("mesh".to_owned(), of.to_owned())].into() };
    let selector = |of: &str| -> BTreeMap<String, String> { [("istio".to_owned(), of.to_owned())].into() };
    let opening = |namespace: &str, chooses: &str| Opening {
        what: format!("Gateway {namespace}/cross"),
        namespace: namespace.into(),
        chooses: Chooses::Pods(selector(chooses)),
        port: 15443,
        hosts: vec!["*.local".into()],
    };
    let door = || {
        let mut door = Door { port: 15443, ports: vec![15443], target: Some(15443), ..Door::default() };
        door.service.selector = selector("eastwestgateway");
        door
    };
    // Beside its own gateway there is another mesh's, of the same network or of one of its own.
    let with = |its_network: &str, change_of: &dyn Fn(&mut Sight)| {
        change(two_networks(), "west", |west| {
            west.looks_into = vec![DiscoverySelectors::of(mesh.as_object().unwrap())];
            west.namespaces = [("istio-system".to_owned(), labels("one")), ("mesh-b".to_owned(), labels("b"))].into();
            let its = Gateway { network: its_network.into(), port: 15443.into(), ..Gateway::default() };
            west.shown.gateways.known_mut().unwrap().insert("its".to_owned(), its.into());
            west.gateway_namespaces = [("istio-eastwestgateway", "istio-system"), ("its", "mesh-b")]
                .map(|(a, b)| (a.into(), b.into()))
                .into();
            west.crossing = Crossing {
                by_mtls: true,
                no_pod: [("its".to_owned(), Ok(()))].into(),
                doors: [("istio-eastwestgateway".to_owned(), Ok(door()))].into(),
                open: Some(Ok(vec![
                    opening("istio-system", "eastwestgateway"),
                    opening("mesh-b", "eastwestgateway"),
                    opening("mesh-b", "its"),
                ])),
                policies: Some(Ok(Policies::default())),
            };
            change_of(west);
        })
    };
    for network in ["net-west", "net-b"] {
        // It has no address and no Pod, and what opens it is in no namespace of this mesh.
        silent(&with(network, &|_| ()));
    }
    // In a namespace that is looked into, all of that counts.
    let seen = told(&with("net-west", &|west| drop(west.namespaces.insert("mesh-b".to_owned(), labels("one")))));
    assert!(seen.len() == 2 && seen.iter().all(|told| told.starts_with("west: gateway its has no ")), "{seen:#?}");
    // The other mesh's Gateway does not open the door of this one.
    let shut = told(&with("net-west", &|west| {
        west.crossing.open = Some(Ok(vec![opening("mesh-b", "eastwestgateway")]));
    }));
    assert!(shut.len() == 2 && shut[0].contains("gateway istio-eastwestgateway lets nothing through"), "{shut:#?}");
    assert!(shut[1].contains("leave out its namespace mesh-b"), "{shut:#?}");
}

#[test]
fn plain_text_is_told_where_the_other_side_takes_none() {
    let strict = || Strict {
        what: "PeerAuthentication istio-system/default (STRICT)".into(),
        scope: Scope::AllBut(BTreeSet::new()),
    };
    let with = |whole: Seen, name: &str, crossing: Crossing| change(whole, name, |one| one.crossing = crossing);
    let takes_none = || Crossing {
        policies: Some(Ok(Policies { strict: vec![strict()], ..Policies::default() })),
        ..Crossing::default()
    };
    let takes_all = || Crossing { policies: Some(Ok(Policies::default())), ..Crossing::default() };
    let plain = || {
        let whom = Whom::Host { host: "web".to_owned(), namespace: "shop".to_owned() };
        let off = Off { what: "DestinationRule shop/web (for web: DISABLE)".to_owned(), whom, is_plain: true };
        let policies = Policies { off: vec![off], ..Policies::default() };
        Crossing { policies: Some(Ok(policies)), ..Crossing::default() }
    };
    let both = |whole: Seen, east: Crossing, west: Crossing| with(with(whole, "east", east), "west", west);
    one(
        &both(one_network(), plain(), takes_none()),
        "east: its clients do not speak the mesh's mTLS with workloads of west",
        "DestinationRule shop/web (for web: DISABLE) against PeerAuthentication istio-system/default",
    );
    silent(&both(one_network(), plain(), takes_all()));
    silent(&both(one_network(), takes_none(), takes_none()));
    // By the mesh configuration.
    let automatic =
        |west: Crossing| change(both(one_network(), takes_all(), west), "east", |east| east.no_auto_mtls = true);
    one(&automatic(takes_none()), "east: its clients do not speak the mesh's mTLS", "`enableAutoMtls` is false");
    silent(&automatic(takes_all()));
    // Unless a rule has them speak mTLS.
    let by_rule = |whole: Seen| {
        change(whole, "east", |east| {
            let mutual = Policies { mutual: vec![Whom::Everybody], ..Policies::default() };
            east.crossing.policies = Some(Ok(mutual));
        })
    };
    silent(&by_rule(automatic(takes_none())));
    // Nobody calls there.
    let unlinked = change(both(one_network(), plain(), takes_none()), "east", |east| {
        east.shown.control_planes = [("default".to_owned(), plane("east", "mesh9"))].into_iter().collect();
        east.shown.watches = Value::Known(Map::new());
    });
    assert!(told(&unlinked).iter().all(|told| !told.contains("mTLS")), "{:?}", told(&unlinked));
    // Between networks a gateway is in between, which is told for itself.
    silent(&both(two_networks(), plain(), takes_none()));
    let unread = || Crossing { policies: Some(Err("forbidden".into())), ..Crossing::default() };
    // Nobody knows then what either takes.
    let neither = told(&both(one_network(), unread(), takes_none()));
    assert!(neither.len() == 2 && neither.iter().all(|told| told.contains("is unknown: forbidden")), "{neither:?}");
    one(
        &both(one_network(), unread(), takes_all()),
        "west: whether its clients speak plain text with east",
        "forbidden",
    );
    // It depends on which workloads a policy is for.
    let picked = || {
        let what = "PeerAuthentication shop/a (STRICT for some workloads)".to_owned();
        Picked { what, namespace: "shop".to_owned(), takes: Takes::MtlsAlone }
    };
    let takes = |picked: Picked| {
        let policies = Policies { picked: vec![picked], ..Policies::default() };
        Crossing { policies: Some(Ok(policies)), ..Crossing::default() }
    };
    one(
        &both(one_network(), plain(), takes(picked())),
        "east: whether workloads of west take the plain text of its clients is unknown",
        "DestinationRule shop/web (for web: DISABLE) and PeerAuthentication shop/a",
    );
    silent(&both(one_network(), plain(), takes(Picked { namespace: "bank".to_owned(), ..picked() })));
}

fn configured(is_ambient: bool) -> Configured {
    Configured {
        policy: MeshPolicy::default(),
        trust_domain: "cluster.local".to_owned(),
        aliases: BTreeSet::new(),
        any_trust_domain: false,
        is_ambient,
    }
}

#[test]
fn mtls_is_told_where_the_other_side_takes_plain_text_alone() {
    let off = || Crossing { policies: off_by("PeerAuthentication shop/a"), ..Crossing::default() };
    let none = || Crossing { policies: Some(Ok(Policies::default())), ..Crossing::default() };
    let both = |whole: Seen, east: Crossing, west: Crossing| {
        let whole = change(whole, "east", |one| one.crossing = east);
        change(whole, "west", |one| one.crossing = west)
    };
    one(
        &both(one_network(), none(), off()),
        "east: its clients speak mTLS with workloads of west, which take plain text alone",
        "PeerAuthentication shop/a",
    );
    silent(&both(one_network(), off(), off()));
    silent(&both(one_network(), none(), none()));
    // Who speaks plain text arrives.
    silent(&change(both(one_network(), none(), off()), "east", |east| east.no_auto_mtls = true));
    // Between networks that is told for itself.
    silent(&both(two_networks(), none(), off()));
    // The tunnels of ambient mode are taken whatever policies say.
    let ambient = |is_ambient: bool| {
        change(both(one_network(), none(), off()), "west", |west| west.configured = vec![Ok(configured(is_ambient))])
    };
    one(&ambient(false), "east: its clients speak mTLS", "PeerAuthentication shop/a");
    silent(&ambient(true));
}

#[test]
fn the_network_is_the_one_that_injection_puts_pods_into() {
    let unlabelled = |sight: &mut Sight, network: &str| {
        sight.shown.network = Value::Null;
        sight.injects_network = true;
        sight.pods_network = Some(network.to_owned());
    };
    let whole = change(two_networks(), "east", |east| unlabelled(east, "net-east"));
    let whole = change(whole, "west", |west| unlabelled(west, "net-west"));
    silent(&whole);
    let without = change(whole, "west", |west| west.shown.gateways = Value::Known(Map::new()));
    one(&without, "west: no gateway leads to its network net-west", "mesh_eastwest_gateway");
    let alike = change(two_networks(), "west", |west| west.pods_network = Some("net-west".to_owned()));
    silent(&alike);
    // Injection alone was changed.
    let other = change(one_network(), "west", |west| west.pods_network = Some("net2".to_owned()));
    let other = change(other, "east", |east| east.led_to = ["net1".to_owned(), "net2".to_owned()].into());
    one(&other, "west: its namespace istio-system is labelled with the network net1", "puts Pods into net2");
    let alone = change(seen([("west", primary("west", "mesh1", "net1", &[]))]), "west", |west| {
        west.pods_network = Some("net2".to_owned());
    });
    silent(&alone);
    let moved = told(&change(two_networks(), "west", |west| west.pods_network = Some("other".to_owned())));
    assert!(moved.len() == 2 && moved[0].contains("labelled with the network net-west"), "{moved:#?}");
    assert!(moved[1].starts_with("west: no gateway leads to its network other"), "{moved:#?}");
}

#[test]
fn gateways_of_ambient_mode_lead_no_sidecars_in() {
    let tunnels = |east_is_ambient: bool| {
        let ambient = change(two_networks(), "west", |west| {
            let gateway = west.shown.gateways.known_mut().unwrap().get_mut("istio-eastwestgateway").unwrap();
            gateway.known_mut().unwrap().port = 15008.into();
            west.configured = vec![Ok(configured(true))];
        });
        change(ambient, "east", |east| east.configured = vec![Ok(configured(east_is_ambient))])
    };
    one(&tunnels(false), "west: only gateways of ambient mode lead to its network net-west", "sidecars of east");
    silent(&tunnels(true));
    silent(&change(tunnels(false), "east", |east| east.led_to = ["net-west".to_owned()].into()));
    silent(&change(tunnels(false), "east", |east| east.configured.push(Err("it is missing".to_owned()))));
    silent(&change(tunnels(false), "east", |east| east.configured.push(Ok(configured(true)))));
    silent(&change(tunnels(false), "west", |west| west.crossing.by_mtls = true));
}
