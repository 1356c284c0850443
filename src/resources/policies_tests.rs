//! Which policies count, for whom, and which do not go together.

use serde_json::{Value, json};

use super::*;

fn object(kind: &str, namespace: &str, spec: Value) -> Object {
    let object =
        json!({"apiVersion": "x/v1", "kind": kind, "metadata": {"name": "n", "namespace": namespace}, "spec": spec});
    Object::new(object).expect("an object")
}

fn judged(policies: &[Object]) -> Policies {
    Policies::of(policies, &[], "istio-system", &[])
}

#[test]
fn policies_are_told_by_what_they_are_for() {
    let of = |namespace: &str, spec: Value| judged(&[object("PeerAuthentication", namespace, spec)]).off.pop();
    let off = json!({"mode": "DISABLE"});
    for (namespace, spec, told) in [
        ("istio-system", json!({"mtls": off}), Some("PeerAuthentication istio-system/n (for the whole mesh)")),
        ("shop", json!({"mtls": off}), Some("PeerAuthentication shop/n (for the whole namespace)")),
        (
            "shop",
            json!({"selector": {"matchLabels": {"a": "b"}}, "mtls": off}),
            Some("PeerAuthentication shop/n (for some workloads of the namespace)"),
        ),
        (
            "shop",
            json!({"selector": {"matchLabels": {"a": "b"}}, "mtls": {"mode": "STRICT"}, "portLevelMtls": {"8080": off}}),
            Some("PeerAuthentication shop/n (for port 8080 of some workloads)"),
        ),
        // Istio takes these for no selector.
        (
            "istio-system",
            json!({"selector": {}, "mtls": off}),
            Some("PeerAuthentication istio-system/n (for the whole mesh)"),
        ),
        (
            "shop",
            json!({"selector": {"matchLabels": {}}, "mtls": off}),
            Some("PeerAuthentication shop/n (for the whole namespace)"),
        ),
        // Ports count where workloads are selected.
        ("shop", json!({"mtls": {"mode": "STRICT"}, "portLevelMtls": {"8080": off}}), None),
        // And in the root namespace it takes none with one.
        ("istio-system", json!({"selector": {"matchLabels": {"a": "b"}}, "mtls": off}), None),
        ("istio-system", json!({"mtls": {"mode": "STRICT"}}), None),
        ("istio-system", json!({"mtls": {"mode": "PERMISSIVE"}}), None),
        ("istio-system", json!({}), None),
    ] {
        assert_eq!(of(namespace, spec.clone()).map(|off| off.what).as_deref(), told, "{spec}");
    }
}

#[test]
fn rules_for_services_of_the_mesh_are_told_unless_they_keep_its_mtls() {
    let told = |host: &str, policy: Value| {
        overrides(&object("DestinationRule", "shop", json!({"host": host, "trafficPolicy": policy})), &[]).is_some()
    };
    let tls = |mode: &str| json!({"tls": {"mode": mode}});
    for (host, policy, expected) in [
        ("web.shop.svc.cluster.local", tls("DISABLE"), true),
        ("web", tls("SIMPLE"), true),
        ("*.local", json!({"portLevelSettings": [{"port": {"number": 80}, "tls": {"mode": "DISABLE"}}]}), true),
        ("*.local", tls("ISTIO_MUTUAL"), false),
        ("web.shop.svc.cluster.local", json!({"loadBalancer": {}}), false),
        ("api.example.com", tls("SIMPLE"), false),
        // Of another domain, or of Services that never cross.
        ("mssql.corp.local", tls("SIMPLE"), false),
        ("*.corp.local", tls("SIMPLE"), false),
        ("kubernetes.default.svc.cluster.local", tls("DISABLE"), false),
        ("dns.kube-system.svc.cluster.local", tls("DISABLE"), false),
        ("web.shop.svc.mesh.example", tls("DISABLE"), true),
        ("*.svc.cluster.local", tls("DISABLE"), true),
        ("*.shop.svc.cluster.local", tls("DISABLE"), true),
        ("*.cluster.local", tls("DISABLE"), true),
        ("*", tls("DISABLE"), true),
    ] {
        assert_eq!(told(host, policy.clone()), expected, "{host} {policy}");
    }
    let subset = json!({"host": "web", "subsets": [{"name": "a", "trafficPolicy": tls("DISABLE")}]});
    assert!(overrides(&object("DestinationRule", "shop", subset), &[]).is_some());
}

#[test]
fn rules_for_hosts_that_stay_within_a_cluster_matter_to_nobody_else() {
    let spec = json!({"host": "db", "trafficPolicy": {"tls": {"mode": "DISABLE"}}});
    let rule = object("DestinationRule", "shop", spec);
    let local =
        json!({"serviceSettings": [{"settings": {"clusterLocal": true}, "hosts": ["*.shop.svc.cluster.local"]}]});
    let local = MeshPolicy::of(local.as_object().expect("an object"));
    assert_eq!(overrides(&rule, std::slice::from_ref(&local)), None);
    assert!(overrides(&rule, &[local, MeshPolicy::default()]).is_some(), "a canary of which it does not");
    assert!(overrides(&rule, &[]).is_some(), "nothing is known");
}

#[test]
fn plain_text_clashes_with_who_takes_mtls_alone() {
    let peer = |namespace: &str, spec: Value| object("PeerAuthentication", namespace, spec);
    let mode = |mode: &str| json!({"mtls": {"mode": mode}});
    let called = judged;
    let rule = |host: &str| {
        let spec = json!({"host": host, "trafficPolicy": {"tls": {"mode": "DISABLE"}}});
        overrides(&object("DestinationRule", "shop", spec), &[]).expect("one")
    };
    let off = |namespace: &str| turned_off(&peer(namespace, mode("DISABLE")), "istio-system").expect("one");
    let (all, shop) = (called(&[peer("istio-system", mode("STRICT"))]), called(&[peer("shop", mode("STRICT"))]));
    let but_shop = called(&[peer("istio-system", mode("STRICT")), peer("shop", mode("PERMISSIVE"))]);
    let none = called(&[peer("istio-system", mode("PERMISSIVE")), peer("shop", json!({}))]);
    let some = called(&[peer("shop", json!({"selector": {"matchLabels": {"a": "b"}}, "mtls": {"mode": "STRICT"}}))]);
    for (caller, called, clash) in [
        (rule("web.shop.svc.cluster.local"), &all, true),
        (rule("web.shop.svc.cluster.local"), &shop, true),
        (rule("web.bank.svc.cluster.local"), &shop, false),
        (rule("web"), &shop, true),
        (rule("*.shop.svc.cluster.local"), &shop, true),
        (rule("*.local"), &shop, true),
        (rule("web"), &but_shop, false),
        (rule("web.bank.svc.cluster.local"), &but_shop, true),
        (rule("web"), &none, false),
        (rule("web"), &some, false),
        (off("shop"), &all, true),
        (off("shop"), &but_shop, false),
        (off("bank"), &shop, false),
        (off("istio-system"), &shop, true),
    ] {
        let found = clashes(std::slice::from_ref(&caller), called);
        assert_eq!(found.len(), usize::from(clash), "{caller:?} {called:?}: {found:?}");
    }
    assert_eq!(
        clashes(&[rule("web")], &all),
        [
            "DestinationRule shop/n (for web: DISABLE) against PeerAuthentication istio-system/n (STRICT for the whole mesh)"
        ]
    );
    let empty = called(&[peer("istio-system", json!({"selector": {}, "mtls": {"mode": "STRICT"}}))]);
    assert_eq!(clashes(&[rule("web")], &empty).len(), 1, "an empty selector is none");
    // A rule changes clients, and never what servers take.
    let both =
        Policies { off: vec![rule("web.shop.svc.cluster.local")], ..called(&[peer("istio-system", mode("STRICT"))]) };
    assert_eq!(clashes(&both.off, &both).len(), 1);
    // The mesh has the exception everywhere.
    let picked = json!({"selector": {"matchLabels": {"a": "b"}}, "mtls": {"mode": "DISABLE"}});
    let alike = called(&[peer("istio-system", mode("STRICT")), peer("shop", picked)]);
    assert_eq!(clashes(&alike.off, &alike), [""; 0]);
}

#[test]
fn a_policy_for_some_workloads_leaves_in_doubt_what_a_service_takes() {
    let peer = |namespace: &str, spec: Value| object("PeerAuthentication", namespace, spec);
    let picked = |mode: &str| peer("shop", json!({"selector": {"matchLabels": {"a": "b"}}, "mtls": {"mode": mode}}));
    let all = || peer("istio-system", json!({"mtls": {"mode": "STRICT"}}));
    let rule = |host: &str| {
        let spec = json!({"host": host, "trafficPolicy": {"tls": {"mode": "DISABLE"}}});
        [overrides(&object("DestinationRule", "shop", spec), &[]).expect("one")]
    };
    for (host, policies, clash, doubt) in [
        ("web", vec![picked("STRICT")], 0, 1),
        ("*.shop.svc.cluster.local", vec![picked("STRICT")], 1, 0),
        ("*.local", vec![picked("STRICT")], 1, 0),
        ("web.bank.svc.cluster.local", vec![picked("STRICT")], 0, 0),
        ("web", vec![picked("PERMISSIVE")], 0, 0),
        ("web", vec![all(), picked("PERMISSIVE")], 0, 1),
        ("*.local", vec![all(), picked("DISABLE")], 1, 0),
        ("web", vec![all(), picked("STRICT")], 1, 0),
    ] {
        let called = judged(&policies);
        let found = (clashes(&rule(host), &called).len(), doubts(&rule(host), &called).len());
        assert_eq!(found, (clash, doubt), "{host} {called:?}");
    }
    let told = doubts(&rule("web"), &judged(&[picked("STRICT")]));
    assert_eq!(
        told,
        ["DestinationRule shop/n (for web: DISABLE) and PeerAuthentication shop/n (STRICT for some workloads)"]
    );
}

#[test]
fn of_two_policies_for_one_namespace_the_oldest_counts() {
    let peer = |name: &str, created: &str, mode: &str| {
        let metadata = json!({"name": name, "namespace": "shop", "creationTimestamp": created});
        let spec = json!({"mtls": {"mode": mode}});
        let whole = json!({"apiVersion": "x/v1", "kind": "PeerAuthentication", "metadata": metadata, "spec": spec});
        Object::new(whole).expect("an object")
    };
    let (old, new) = ("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z");
    let of = |policies: &[Object]| {
        let Policies { off, strict, .. } = judged(policies);
        (off.len(), strict.len())
    };
    assert_eq!(of(&[peer("b", old, "STRICT"), peer("a", new, "DISABLE")]), (0, 1));
    assert_eq!(of(&[peer("b", new, "STRICT"), peer("a", old, "DISABLE")]), (1, 0));
    assert_eq!(of(&[peer("b", old, "STRICT"), peer("a", old, "DISABLE")]), (1, 0), "by name, then");
}

#[test]
fn callers_do_not_know_what_the_called_cluster_alone_turns_off() {
    let peer = |namespace: &str, spec: Value| judged(&[object("PeerAuthentication", namespace, spec)]);
    let off = || json!({"mtls": {"mode": "DISABLE"}});
    let some = || json!({"selector": {"matchLabels": {"a": "b"}}, "mtls": {"mode": "DISABLE"}});
    let rule = |host: &str, mode: &str| {
        let spec = json!({"host": host, "trafficPolicy": {"tls": {"mode": mode}}});
        let rule = object("DestinationRule", "shop", spec);
        Policies::of(&[], &[rule], "istio-system", &[])
    };
    for (callers, called, expected) in [
        (Policies::default(), peer("shop", off()), 1),
        (Policies::default(), peer("istio-system", off()), 1),
        (Policies::default(), peer("shop", some()), 1),
        (peer("shop", off()), peer("shop", off()), 0),
        (peer("shop", some()), peer("shop", some()), 0),
        (peer("istio-system", off()), peer("shop", off()), 0),
        (peer("bank", off()), peer("shop", off()), 1),
        (peer("shop", some()), peer("shop", off()), 1),
        (peer("shop", off()), peer("shop", some()), 0),
        (rule("web", "DISABLE"), peer("shop", off()), 1),
        (rule("*.shop.svc.cluster.local", "DISABLE"), peer("shop", off()), 0),
        (rule("*.local", "DISABLE"), peer("shop", off()), 0),
        (rule("*.bank.svc.cluster.local", "DISABLE"), peer("shop", off()), 1),
        (rule("*.local", "SIMPLE"), peer("shop", off()), 1),
        // Nobody calls a Service there from another cluster.
        (Policies::default(), peer("kube-system", off()), 0),
        (Policies::default(), rule("web", "DISABLE"), 0),
        (peer("shop", off()), Policies::default(), 0),
    ] {
        let found = unheard(&callers, &called);
        assert_eq!(found.len(), expected, "{callers:?} {called:?}: {found:?}");
    }
}

#[test]
fn a_rule_for_the_mesh_s_mtls_counts_whatever_the_mesh_configuration_says() {
    let of = |namespace: &str, host: &str, policy: Value| {
        let rule = object("DestinationRule", namespace, json!({"host": host, "trafficPolicy": policy}));
        let policies = Policies::of(&[], &[rule], "istio-system", &[]);
        (policies.is_mutual(), policies.is_mutual_with("web.shop.svc.cluster.local"))
    };
    let mutual = || json!({"tls": {"mode": "ISTIO_MUTUAL"}});
    for (namespace, host, expected) in [
        ("istio-system", "*.local", (true, true)),
        ("istio-system", "*", (true, true)),
        ("istio-system", "*.svc.cluster.local", (true, true)),
        ("istio-system", "*.shop.svc.cluster.local", (false, true)),
        ("istio-system", "*.bank.svc.cluster.local", (false, false)),
        ("shop", "*.local", (false, true)),
        ("bank", "*.local", (false, false)),
        ("shop", "web", (false, true)),
        ("bank", "web.shop.svc.cluster.local", (false, false)),
    ] {
        assert_eq!(of(namespace, host, mutual()), expected, "{namespace} {host}");
    }
    assert_eq!(of("istio-system", "*.local", json!({"tls": {"mode": "DISABLE"}})), (false, false));
    assert_eq!(of("istio-system", "*.local", json!({})), (false, false));
    // A rule that says nothing of TLS stands in place of the one for the mesh.
    let beside = |namespace: &str, host: &str, policy: Value| {
        let all = json!({"host": "*.local", "trafficPolicy": mutual()});
        let own = json!({"host": host, "trafficPolicy": policy});
        let rules = [object("DestinationRule", "istio-system", all), object("DestinationRule", namespace, own)];
        let policies = Policies::of(&[], &rules, "istio-system", &[]);
        (policies.is_mutual(), policies.is_mutual_with("web.shop.svc.cluster.local"))
    };
    let bare = || json!({"outlierDetection": {}});
    assert_eq!(beside("shop", "web", bare()), (false, false));
    assert_eq!(beside("shop", "cart", bare()), (false, true));
    assert_eq!(beside("shop", "*.local", bare()), (false, false));
    assert_eq!(beside("bank", "web.shop.svc.cluster.local", bare()), (true, true), "for clients in bank");
    assert_eq!(beside("shop", "web", mutual()), (true, true));
    let port = json!({"port": {"number": 80}, "tls": {"mode": "DISABLE"}});
    let but_a_port = json!({"tls": {"mode": "ISTIO_MUTUAL"}, "portLevelSettings": [port]});
    assert_eq!(of("istio-system", "*.local", but_a_port), (false, false));
}

#[test]
fn policies_of_the_configured_root_namespace_are_for_the_whole_mesh() {
    let of = |root: &str| {
        let mesh = json!({ "rootNamespace": root });
        MeshPolicy::of(mesh.as_object().expect("an object"))
    };
    let peer = object("PeerAuthentication", "istio-config", json!({"mtls": {"mode": "STRICT"}}));
    for (configured, is_root) in [
        (vec![of("istio-config")], true),
        (vec![of("istio-config"), of("istio-config")], true),
        (vec![of("istio-config"), of("istio-system")], false),
        (vec![MeshPolicy::default()], false),
        (Vec::new(), false),
    ] {
        let found = strict(&[&peer], root("istio-system", &configured));
        assert_eq!(matches!(found[0].scope, Scope::AllBut(_)), is_root, "{configured:?}");
    }
    assert_eq!(root("istio-two", &[]), "istio-two");
}

#[test]
fn only_what_is_for_a_service_may_be_its_reason() {
    let service = "web.shop.svc.cluster.local";
    let policy = |namespace: &str| {
        turned_off(&object("PeerAuthentication", namespace, json!({"mtls": {"mode": "DISABLE"}})), "istio-system")
    };
    for (namespace, expected) in [("istio-system", true), ("shop", true), ("other", false)] {
        assert_eq!(policy(namespace).expect("one").concerns(service), expected, "{namespace}");
    }
    let rule = |namespace: &str, host: &str| {
        let spec = json!({"host": host, "trafficPolicy": {"tls": {"mode": "DISABLE"}}});
        overrides(&object("DestinationRule", namespace, spec), &[]).expect("one")
    };
    for (namespace, host, expected) in [
        ("shop", "web", true),
        ("other", "web", false),
        ("other", service, true),
        ("other", "*.local", true),
        ("other", "*.shop.svc.cluster.local", true),
        ("other", "*.bank.svc.cluster.local", false),
        ("shop", "cart.shop.svc.cluster.local", false),
    ] {
        assert_eq!(rule(namespace, host).concerns(service), expected, "{namespace} {host}");
    }
}

#[test]
fn a_live_mesh_configuration_counts_as_a_declared_one_does() {
    let map = |name: &str, data: Value| {
        Object::of(&crate::cluster::ObjectRef::namespaced(Kind::CONFIG_MAP, "istio-system", name)).with("data", data)
    };
    let mesh = "rootNamespace: istio-config\nenableAutoMtls: false\n";
    let maps = [
        map("istio-canary", json!({ "mesh": mesh })),
        map("istio-leader", json!({})),
        map("shop", json!({ "mesh": "rootNamespace: shop" })),
    ];
    let found = read(&maps);
    assert!(found.len() == 1 && found[0].is_plain(), "{found:?}");
    assert_eq!(root("istio-system", &found), "istio-config");
}

#[test]
fn what_no_control_plane_looks_at_counts_for_nobody() {
    let selectors = |of: &str| {
        let mesh = json!({"discoverySelectors": [{"matchLabels": {"mesh": of}}]});
        DiscoverySelectors::of(mesh.as_object().unwrap())
    };
    let policy = |namespace: &str| {
        let metadata = json!({"name": "a", "namespace": namespace});
        Object::new(json!({"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "metadata": metadata}))
            .unwrap()
    };
    let labels = |of: &str| BTreeMap::from([("mesh".to_owned(), of.to_owned())]);
    let namespaces = BTreeMap::from([("one".to_owned(), labels("one")), ("two".to_owned(), labels("two"))]);
    let all = [policy("one"), policy("two"), policy("unknown")];
    let counted = |looks_into: &[DiscoverySelectors]| -> Vec<String> {
        let in_view = InView { looks_into, labels: namespaces.clone() };
        in_view.those(&all).iter().filter_map(|one| one.namespace().map(str::to_owned)).collect()
    };
    assert_eq!(counted(&[]), ["one", "two", "unknown"]);
    assert_eq!(counted(&[selectors("one")]), ["one", "unknown"], "of what is not known nothing is left out");
    assert_eq!(counted(&[selectors("one"), selectors("two")]), ["one", "two", "unknown"]);
    assert_eq!(counted(&[selectors("one"), DiscoverySelectors::default()]), ["one", "two", "unknown"]);
    assert!(DiscoverySelectors::matter(&[selectors("one")]));
    assert!(!DiscoverySelectors::matter(&[]));
    assert!(!DiscoverySelectors::matter(&[selectors("one"), DiscoverySelectors::default()]));
}
