//! One test per row of what decides whether an imported service works: the "otherwise" cannot be produced.

use super::*;
use crate::mesh::hosts_admit;

fn host(text: &str) -> Host {
    Host::new(text).unwrap()
}

fn at_gateway(address: &str) -> ImportEndpoint {
    at(ImportAt::Gateway { address: Address::parse(address).unwrap(), port: GATEWAY_PORT })
}

fn at_network(network: &str) -> ImportEndpoint {
    at(ImportAt::Network(Network::new(network).unwrap()))
}

fn at(at: ImportAt) -> ImportEndpoint {
    ImportEndpoint { at, locality: None, weight: None, labels: BTreeMap::new() }
}

fn port(number: u16, remote_number: u16, name: &str, protocol: Protocol) -> ImportPort {
    ImportPort { number, remote_number, name: name.into(), protocol }
}

fn import(endpoints: Vec<ImportEndpoint>) -> Import {
    Import {
        name: "cart".into(),
        rule_name: "cart-rule".into(),
        namespace: Namespace::new("shop").unwrap(),
        host: host("cart.shop.svc.cluster.local"),
        remote_host: host("cart.shop.svc.cluster.local"),
        ports: vec![port(80, 80, "http", Protocol::Http)],
        endpoints,
        identities: vec![SpiffeId::parse("spiffe://west.example/ns/shop/sa/cart").unwrap()],
        addresses: vec![],
        export_to: vec![],
        subsets: BTreeMap::new(),
        outlier_detection: false,
    }
}

/// Every form an import can take.
fn forms() -> Vec<Import> {
    let alias = |import: Import| Import { host: host("cart.west.mesh"), ..import };
    let endpoints = [
        vec![at_network("n2")],
        vec![at_gateway("1.2.3.4")],
        vec![at_gateway("lb.example")],
        vec![at_gateway("1.2.3.4"), at_gateway("lb.example")],
    ];
    endpoints.into_iter().flat_map(|endpoints| [import(endpoints.clone()), alias(import(endpoints))]).collect()
}

#[test]
fn host_is_one_name_that_the_gateway_can_have_a_chain_for() {
    assert!(Host::new("*.shop.svc.cluster.local").is_err());
    for import in forms() {
        assert_eq!(import.service_entry()["spec"]["hosts"], json!([import.host]));
        let sni = import.sni(&import.ports[0], None);
        assert_eq!(sni.host, import.remote_host);
        assert!(hosts_admit(&["*.local".into()], &sni));
        assert!(!hosts_admit(&["other.shop.svc.cluster.local".into()], &sni));
    }
}

#[test]
fn sni_holds_the_exporter_s_port() {
    let import = Import { ports: vec![port(8080, 80, "http", Protocol::Http)], ..import(vec![at_network("n2")]) };
    assert_eq!(import.sni(&import.ports[0], None).to_string(), "outbound_.80_._.cart.shop.svc.cluster.local");
    let rule = import.destination_rule().unwrap();
    assert_eq!(rule["metadata"]["name"], "cart-rule");
    assert_eq!(rule["spec"]["trafficPolicy"]["tls"]["sni"], "outbound_.80_._.cart.shop.svc.cluster.local");
}

#[test]
fn protocol_is_always_said() {
    for protocol in Protocol::ALL {
        let import = Import { ports: vec![port(80, 80, "p", protocol)], ..import(vec![at_network("n2")]) };
        assert_eq!(import.service_entry()["spec"]["ports"][0]["protocol"], protocol.as_str());
    }
}

#[test]
fn location_is_inside_the_mesh() {
    for import in forms() {
        assert_eq!(import.service_entry()["spec"]["location"], "MESH_INTERNAL");
    }
}

#[test]
fn every_endpoint_says_that_it_speaks_mtls() {
    for mut import in forms() {
        import.endpoints[0].labels.insert("security.istio.io/tlsMode".into(), "disabled".into());
        for endpoint in import.service_entry()["spec"]["endpoints"].as_array().unwrap() {
            assert_eq!(endpoint["labels"]["security.istio.io/tlsMode"], "istio");
        }
    }
}

#[test]
fn an_address_is_dialled_at_the_gateway_s_port_a_network_has_neither() {
    let entry = import(vec![at_gateway("1.2.3.4")]).service_entry();
    assert_eq!(entry["spec"]["endpoints"][0]["ports"], json!({ "http": 15443 }));
    let entry = import(vec![at_network("n2")]).service_entry();
    let endpoint = entry["spec"]["endpoints"][0].as_object().unwrap();
    assert_eq!(endpoint["network"], "n2");
    assert!(!endpoint.contains_key("address") && !endpoint.contains_key("ports"));
}

#[test]
fn resolution_follows_the_kind_of_address() {
    let cases = [
        (vec![at_network("n2")], "STATIC"),
        (vec![at_gateway("1.2.3.4"), at_gateway("fd00::1")], "STATIC"),
        (vec![at_gateway("lb.example")], "DNS"),
        (vec![at_gateway("1.2.3.4"), at_gateway("lb.example")], "DNS"),
    ];
    for (endpoints, resolution) in cases {
        assert_eq!(import(endpoints).service_entry()["spec"]["resolution"], resolution);
    }
}

#[test]
fn the_exporter_s_identity_is_pinned() {
    for import in forms() {
        assert_eq!(import.service_entry()["spec"]["subjectAltNames"], json!(["spiffe://west.example/ns/shop/sa/cart"]));
        if let Some(rule) = import.destination_rule() {
            let tls = &rule["spec"]["trafficPolicy"]["tls"];
            assert_eq!(tls["subjectAltNames"], json!(["spiffe://west.example/ns/shop/sa/cart"]));
        }
    }
    let nobody = Import { identities: vec![], ..import(vec![at_network("n2")]) };
    assert_eq!(nobody.check(), Err(ImportError::NoIdentity));
}

#[test]
fn tcp_without_a_virtual_ip_is_told() {
    let tcp = Import { ports: vec![port(5432, 5432, "tcp", Protocol::Tcp)], ..import(vec![at_network("n2")]) };
    assert!(tcp.lacks_virtual_ip());
    let with = Import { addresses: vec!["240.0.0.1".parse().unwrap()], ..tcp };
    assert!(!with.lacks_virtual_ip());
    assert_eq!(with.service_entry()["spec"]["addresses"], json!(["240.0.0.1"]));
    assert!(!import(vec![at_network("n2")]).lacks_virtual_ip());
}

#[test]
fn visibility_is_the_same_for_both_objects() {
    let import = Import { export_to: vec![".".into()], host: host("cart.west.mesh"), ..import(vec![at_network("n2")]) };
    assert_eq!(import.service_entry()["spec"]["exportTo"], json!(["."]));
    assert_eq!(import.destination_rule().unwrap()["spec"]["exportTo"], json!(["."]));
}

#[test]
fn a_stub_service_gives_the_name_to_dns_and_hides_from_proxies() {
    let stub = import(vec![at_network("n2")]).stub_service().unwrap();
    assert_eq!((&stub["metadata"]["name"], &stub["metadata"]["namespace"]), (&json!("cart"), &json!("shop")));
    assert_eq!(stub["metadata"]["annotations"]["networking.istio.io/exportTo"], "~");
    assert!(stub["spec"].get("selector").is_none());
    let foreign = Import { host: host("cart.west.mesh"), ..import(vec![at_network("n2")]) };
    assert_eq!(foreign.stub_service(), None);
}

#[test]
fn an_alias_overrides_the_sni_and_keeps_istio_s_mtls() {
    let alias = Import {
        host: host("cart.west.mesh"),
        ports: vec![port(80, 80, "http", Protocol::Http), port(9090, 90, "grpc", Protocol::Grpc)],
        outlier_detection: true,
        ..import(vec![at_gateway("lb.example")])
    };
    let rule = alias.destination_rule().unwrap();
    assert_eq!(rule["spec"]["host"], "cart.west.mesh");
    let settings = rule["spec"]["trafficPolicy"]["portLevelSettings"].as_array().unwrap();
    let snis: Vec<&str> = settings.iter().map(|setting| setting["tls"]["sni"].as_str().unwrap()).collect();
    assert!(rule["spec"]["trafficPolicy"].get("tls").is_none(), "one SNI for two ports would be wrong for one");
    assert_eq!(snis, ["outbound_.80_._.cart.shop.svc.cluster.local", "outbound_.90_._.cart.shop.svc.cluster.local"]);
    for setting in settings {
        assert_eq!(setting["tls"]["mode"], "ISTIO_MUTUAL");
        assert!(setting["outlierDetection"].is_object(), "settings of a port replace those of the whole");
    }
}

#[test]
fn every_exporter_may_be_taken_out_of_rotation() {
    let outlier = |import: &Import, path: &str| import.destination_rule().unwrap().pointer(path).cloned();
    let share = "outlierDetection/maxEjectionPercent";
    let one = Import { outlier_detection: true, ..import(vec![at_gateway("1.2.3.4"), at_gateway("1.2.3.5")]) };
    assert_eq!(outlier(&one, &format!("/spec/trafficPolicy/{share}")), Some(json!(100)));
    let ports = vec![port(80, 80, "http", Protocol::Http), port(9090, 90, "grpc", Protocol::Grpc)];
    let several = Import { host: host("cart.west.mesh"), ports, ..one };
    for at in ["", "/portLevelSettings/0", "/portLevelSettings/1"] {
        assert_eq!(outlier(&several, &format!("/spec/trafficPolicy{at}/{share}")), Some(json!(100)), "{at}");
    }
}

#[test]
fn without_alias_no_rule_is_needed() {
    assert_eq!(import(vec![at_network("n2")]).destination_rule(), None);
}

#[test]
fn subsets_carry_their_own_sni() {
    let subsets = [(SubsetName::new("v2").unwrap(), BTreeMap::from([("version".to_owned(), "v2".to_owned())]))];
    let same = Import { subsets: subsets.into(), ..import(vec![at_network("n2")]) };
    assert_eq!(
        same.destination_rule().unwrap()["spec"]["subsets"],
        json!([{ "name": "v2", "labels": { "version": "v2" } }])
    );
    let alias = Import { host: host("cart.west.mesh"), ..same };
    assert_eq!(
        alias.destination_rule().unwrap()["spec"]["subsets"][0]["trafficPolicy"]["tls"]["sni"],
        "outbound_.80_.v2_.cart.shop.svc.cluster.local"
    );
}

#[test]
fn a_subset_chooses_some_endpoint() {
    let subset = |labels: &[(&str, &str)]| {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        BTreeMap::from([(SubsetName::new("v2").unwrap(), labels)])
    };
    let mut near = at_gateway("1.2.3.4");
    near.labels.insert("near".into(), "yes".into());
    let with = |subsets| Import { subsets, ..import(vec![near.clone(), at_gateway("1.2.3.5")]) };
    for (labels, empty) in [(vec![], 0), (vec![("near", "yes")], 0), (vec![("version", "v2")], 1)] {
        assert_eq!(with(subset(&labels)).empty_subsets().count(), empty, "{labels:?}");
    }
    assert_eq!(
        with(subset(&[])).destination_rule().unwrap()["spec"]["subsets"],
        json!([{ "name": "v2" }]),
        "no labels choose all"
    );
}

#[test]
fn locality_and_weight_reach_the_endpoint() {
    let mut endpoint = at_gateway("1.2.3.4");
    endpoint.locality = Some("eu/a".into());
    endpoint.weight = Some(80);
    let entry = import(vec![endpoint]).service_entry();
    assert_eq!(
        (&entry["spec"]["endpoints"][0]["locality"], &entry["spec"]["endpoints"][0]["weight"]),
        (&json!("eu/a"), &json!(80))
    );
}

#[test]
fn what_cannot_work_is_refused() {
    let good = import(vec![at_network("n2")]);
    assert_eq!(good.check(), Ok(()));
    let cases = [
        (Import { ports: vec![], ..good.clone() }, ImportError::NoPort),
        (Import { endpoints: vec![], ..good.clone() }, ImportError::NoEndpoint),
        (import(vec![at_network("n2"), at_gateway("1.2.3.4")]), ImportError::MixedForms),
        (
            Import {
                ports: vec![port(80, 80, "a", Protocol::Http), port(80, 81, "b", Protocol::Http)],
                ..good.clone()
            },
            ImportError::PortTwice(80),
        ),
        (
            Import { ports: vec![port(80, 80, "a", Protocol::Http), port(81, 81, "a", Protocol::Http)], ..good },
            ImportError::PortNameTwice("a".into()),
        ),
    ];
    for (import, error) in cases {
        assert_eq!(import.check(), Err(error));
    }
}

#[test]
fn an_exported_alias_selects_workloads_and_keeps_the_sni_s_port() {
    let alias = ExportAlias {
        name: "cart-export".into(),
        namespace: Namespace::new("shop").unwrap(),
        alias: host("cart.west.mesh"),
        ports: vec![ExportPort { number: 80, target: 8080, name: "http".into(), protocol: Protocol::Http }],
        workload_labels: [("app".to_owned(), "cart".to_owned())].into(),
        gateway_namespace: Namespace::new("istio-gateways").unwrap(),
    };
    assert_eq!(
        alias.service_entry()["spec"],
        json!({
            "hosts": ["cart.west.mesh"], "location": "MESH_INTERNAL", "resolution": "STATIC",
            "ports": [{ "number": 80, "targetPort": 8080, "name": "http", "protocol": "HTTP" }],
            "workloadSelector": { "labels": { "app": "cart" } },
            // Its gateway alone: no sidecar of the exporting mesh is to know the alias.
            "exportTo": ["istio-gateways"],
        })
    );
}

#[test]
fn protocols_of_service_ports_are_istiod_s_reading() {
    let cases = [
        (None, "http", Some(Protocol::Http)),
        (None, "http-web", Some(Protocol::Http)),
        (None, "grpc-x", Some(Protocol::Grpc)),
        (None, "web", None),
        (Some("https"), "http", Some(Protocol::Https)),
        (Some("kubernetes.io/h2c"), "x", Some(Protocol::Http2)),
    ];
    for (app_protocol, name, protocol) in cases {
        assert_eq!(Protocol::of_service_port(app_protocol, name), protocol, "{app_protocol:?} {name}");
    }
}
