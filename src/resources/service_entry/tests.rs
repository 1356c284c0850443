use serde_json::json;

use super::check::{self, findings};
use super::model::{Exporter, Gateway, Port, ServiceEntry};
use super::spec::Spec;
use super::{build, derive_names, describe};
use crate::cluster::Object;
use crate::resources::address::GATEWAY_NAME_LABEL;
use crate::resources::passthrough;
use crate::value::{Map, Value};

fn exporter() -> Exporter {
    Exporter {
        cluster: "west".into(),
        namespace: "shop".into(),
        service: "cart".into(),
        service_accounts: ["cart".to_owned()].into_iter().collect(),
        trust_domain: "west.example".into(),
        cluster_domain: "cluster.local".into(),
        gateways: [Gateway { value: "192.0.2.10".into(), port: 15443.into() }].into_iter().collect(),
        expose: false.into(),
        gateway_namespace: "istio-system".into(),
        ..Exporter::default()
    }
}

fn port(number: i64) -> Port {
    Port { number: number.into(), protocol: "HTTP".into(), ..Port::default() }
}

fn entry() -> ServiceEntry {
    let mut model = ServiceEntry {
        cluster: "east".into(),
        namespace: "istio-system".into(),
        host: "cart.shop.svc.cluster.local".into(),
        ports: [("http", port(8080))].into_iter().collect(),
        exporters: [("west", exporter())].into_iter().collect(),
        stub_service: false.into(),
        outlier_detection: false.into(),
        adopt: false.into(),
        force_conflicts: false.into(),
        ..ServiceEntry::default()
    };
    derive_names(&mut model);
    model
}

fn edit(model: &mut ServiceEntry, change: impl FnOnce(&mut Exporter)) {
    if let Some(Value::Known(exporter)) = model.exporters.known_mut().and_then(|map| map.get_mut("west")) {
        change(exporter);
    }
}

fn spec(model: &ServiceEntry) -> Spec {
    Spec::parse(model).unwrap().unwrap()
}

fn refusals(model: &ServiceEntry) -> Vec<String> {
    let errors = Spec::parse(model).unwrap_err();
    errors.iter().map(|error| error.path.as_ref().map(ToString::to_string).unwrap_or_default()).collect()
}

#[test]
fn a_service_called_by_its_own_name_is_one_object() {
    let mut model = entry();
    let spec = spec(&model);
    describe(&mut model, Some(&spec));
    assert_eq!(model.sni.entry("http").unwrap(), "outbound_.8080_._.cart.shop.svc.cluster.local");
    assert_eq!(model.subject_alt_names.items().collect::<Vec<_>>(), ["spiffe://west.example/ns/shop/sa/cart"]);
    assert_eq!((model.resolution.text(), model.name.text()), ("STATIC", "cart-shop-svc-cluster-local"));
    let wanted = build::imported(&spec, None);
    assert_eq!(
        wanted.iter().map(|(key, _)| key).collect::<Vec<_>>(),
        ["ServiceEntry istio-system/cart-shop-svc-cluster-local"]
    );
    assert!(build::exported(&spec).is_empty());
}

#[test]
fn an_alias_gets_a_destination_rule_here_and_an_entry_there() {
    let mut model = entry();
    model.host = "cart.west.mesh".into();
    model.exported_host = "cart.mesh".into();
    edit(&mut model, |exporter| {
        exporter.expose = true.into();
        exporter.workload_labels = [("app", "cart".to_owned())].into_iter().collect();
    });
    let spec = spec(&model);
    let imported = build::imported(&spec, None);
    let rule = imported.get("DestinationRule istio-system/cart-shop-svc-cluster-local").unwrap();
    let sni = "/spec/trafficPolicy/tls/sni";
    assert_eq!(rule.object.value().pointer(sni).unwrap(), "outbound_.8080_._.cart.mesh");
    let exported = &build::exported(&spec)["west"];
    assert_eq!(
        exported.iter().map(|(key, _)| key).collect::<Vec<_>>(),
        [
            "Gateway istio-system/export-cart-shop-svc-cluster-local",
            "ServiceEntry shop/export-cart-shop-svc-cluster-local",
        ]
    );
}

#[test]
fn what_cannot_work_is_refused_at_its_attribute() {
    type Change = fn(&mut ServiceEntry);
    let cases: [(Change, &str); 13] = [
        (|model| model.host = "*.shop.svc.cluster.local".into(), "host"),
        (|model| model.host = "10.0.0.1".into(), "host"),
        (
            |model| {
                let labels: Map<String> = [("version".to_owned(), "v2".to_owned().into())].into();
                let subsets: Map<Map<String>> = [("v2".to_owned(), labels.into())].into();
                model.subsets = subsets.into();
            },
            "subsets[\"v2\"]",
        ),
        (|model| model.ports = [("a", port(80)), ("b", port(80))].into_iter().collect(), "ports"),
        (|model| edit(model, |exporter| exporter.gateways = Value::Null), "exporters[\"west\"]"),
        (|model| edit(model, |exporter| exporter.network = "net-west".into()), "exporters[\"west\"]"),
        (
            |model| {
                let address = Gateway { value: "https://lb".into(), port: 15443.into() };
                edit(model, |exporter| exporter.gateways = [address].into_iter().collect());
            },
            "exporters[\"west\"].gateways[0].value",
        ),
        (
            |model| edit(model, |exporter| exporter.trust_domain = "spiffe://td".into()),
            "exporters[\"west\"].trust_domain",
        ),
        (
            |model| {
                edit(model, |exporter| {
                    exporter.expose = true.into();
                    exporter.cluster = Value::Null;
                });
            },
            "exporters[\"west\"].expose",
        ),
        (
            |model| {
                model.exported_host = "cart.mesh".into();
                edit(model, |exporter| exporter.expose = true.into());
            },
            "exporters[\"west\"].workload_labels",
        ),
        (
            |model| {
                let tcp = Port { protocol: "TCP".into(), ..port(5432) };
                model.ports = [("tcp", tcp)].into_iter().collect();
            },
            "addresses",
        ),
        (
            |model| {
                model.host = "cart.example.com".into();
                model.exported_host = "cart.shop.svc.cluster.local".into();
                model.stub_service = true.into();
            },
            "stub_service",
        ),
        (
            |model| {
                let other = Exporter { namespace: "elsewhere".into(), ..exporter() };
                let exporters: Map<Exporter> =
                    [("west".to_owned(), exporter().into()), ("north".to_owned(), other.into())].into();
                model.exporters = exporters.into();
            },
            "exported_host",
        ),
    ];
    for (change, path) in cases {
        let mut model = entry();
        change(&mut model);
        assert_eq!(refusals(&model), [path]);
    }
}

#[test]
fn a_gateway_in_a_namespace_of_its_own_moves_no_istiod() {
    let of = |istiod: Value<String>| {
        let mut model = entry();
        edit(&mut model, |exporter| {
            (exporter.gateway_namespace, exporter.istiod_namespace) = ("istio-gateways".into(), istiod);
            exporter.expose = true.into();
        });
        let exporter = spec(&model).exporters.remove(0);
        (exporter.exposure.unwrap().namespace.to_string(), exporter.istiod_namespace.to_string())
    };
    assert_eq!(of(Value::Null), ("istio-gateways".to_owned(), "istio-system".to_owned()));
    assert_eq!(of("mesh-b".into()), ("istio-gateways".to_owned(), "mesh-b".to_owned()));
}

#[test]
fn unknown_values_refuse_nothing() {
    let mut model = entry();
    edit(&mut model, |exporter| exporter.gateways = Value::Unknown);
    assert!(Spec::parse(&model).unwrap().is_none());
    model.ports = Value::Unknown;
    model.exporters = Value::Unknown;
    assert!(Spec::parse(&model).unwrap().is_none());
}

#[test]
fn sni_and_identities_are_known_before_the_gateways_are() {
    let mut model = entry();
    edit(&mut model, |exporter| exporter.gateways = Value::Unknown);
    describe(&mut model, None);
    assert_eq!(model.sni.entry("http").unwrap(), "outbound_.8080_._.cart.shop.svc.cluster.local");
    assert_eq!(model.endpoints.entry("http").unwrap(), "cart.shop.svc.cluster.local:8080");
    assert_eq!(model.subject_alt_names.items().collect::<Vec<_>>(), ["spiffe://west.example/ns/shop/sa/cart"]);
    assert_eq!(model.exported_host.text(), "cart.shop.svc.cluster.local");
    assert!(model.resolution.is_unknown() && model.objects.is_unknown(), "these follow from the addresses");
}

#[test]
fn the_stub_s_address_enters_the_entry() {
    let mut model = entry();
    model.stub_service = true.into();
    let spec = spec(&model);
    let wanted = build::imported(&spec, "10.1.2.3".parse().ok());
    let entry = wanted.get("ServiceEntry istio-system/cart-shop-svc-cluster-local").unwrap();
    assert_eq!(entry.object.items("spec.addresses"), ["10.1.2.3"]);
    assert!(wanted.get("Service shop/cart").is_some());
}

fn object(value: serde_json::Value) -> Object {
    Object::new(value).unwrap()
}

fn there() -> check::Exporter {
    check::Exporter {
        service: Some(object(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "cart", "namespace": "shop" },
            "spec": { "clusterIP": "10.0.0.1", "selector": { "app": "cart" }, "ports": [{ "name": "http", "port": 8080 }] },
        }))),
        accounts: ["cart".to_owned()].into(),
        mutual: Some(true),
        open: Some(passthrough::openings(&[object(json!({
            "apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": { "name": "g", "namespace": "istio-system" },
            "spec": { "servers": [{ "port": { "number": 15443 }, "tls": { "mode": "AUTO_PASSTHROUGH" }, "hosts": ["*.local"] }] },
        }))])),
        mesh: mesh("west.example", "east.example", "a"),
    }
}

fn mesh(trust_domain: &str, alias: &str, root: &str) -> check::Mesh {
    check::Mesh {
        trust_domain: Some(trust_domain.to_owned()),
        aliases: [alias.to_owned()].into(),
        roots: [root.to_owned()].into(),
        captures_dns: true,
        ..check::Mesh::default()
    }
}

fn found(change: impl FnOnce(&mut check::Exporter)) -> Vec<(String, String)> {
    let spec = spec(&entry());
    let mut there = there();
    change(&mut there);
    let here = mesh("east.example", "west.example", "a");
    let findings = findings(&spec, &spec.exporters[0], &there, Some(&here));
    findings.into_iter().map(|finding| (finding.path.to_string(), finding.text)).collect()
}

#[test]
fn what_fits_is_not_remarked_upon() {
    assert_eq!(found(|_| {}), []);
}

#[test]
fn what_changed_at_the_exporter_is_said_in_words() {
    let service = |change: fn(&mut serde_json::Value)| {
        move |there: &mut check::Exporter| {
            if let Some(service) = &mut there.service {
                change(service.value_mut());
            }
        }
    };
    let only = |findings: Vec<(String, String)>| {
        assert_eq!(findings.len(), 1, "{findings:?}");
        findings.into_iter().next().unwrap()
    };
    let (path, text) = only(found(|there| there.service = None));
    assert_eq!(
        (path.as_str(), text.as_str()),
        ("exporters[\"west\"].service", "cluster west has no Service shop/cart")
    );
    let (path, text) = only(found(service(|service| service["spec"]["ports"][0]["port"] = json!(9090))));
    assert_eq!(path, "ports[\"http\"].exporter_port");
    assert!(text.contains("has no port 8080; it has 9090"), "{text}");
    let (path, _) = only(found(service(|service| service["spec"]["ports"][0]["name"] = json!("tcp-x"))));
    assert_eq!(path, "ports[\"http\"].protocol");
    // A gateway has a filter chain for a headless Service as for any other.
    assert_eq!(found(service(|service| service["spec"]["clusterIP"] = json!("None"))), []);
    let (path, text) = only(found(|there| {
        there.open.as_mut().unwrap()[0].hosts = vec!["web.shop.svc.cluster.local".to_owned()];
    }));
    assert_eq!(path, "exporters[\"west\"].expose");
    assert!(text.contains("hosts admitted: web.shop.svc.cluster.local"), "{text}");
    let (path, _) = only(found(|there| there.accounts = ["other".to_owned()].into()));
    assert_eq!(path, "exporters[\"west\"].service_accounts");
    let (path, text) = only(found(|there| there.mutual = Some(false)));
    assert_eq!(path, "exporters[\"west\"].service");
    assert!(text.contains("no Pod behind cart.shop.svc.cluster.local in cluster west has a sidecar"), "{text}");
    let findings = found(|there| there.mesh = mesh("north.example", "east.example", "a"));
    assert!(findings[0].1.contains("the trust domain of cluster west is north.example"), "{findings:?}");
    let (_, text) = only(found(|there| there.mesh = mesh("west.example", "other.example", "a")));
    assert!(text.contains("does not list east.example"), "{text}");
    let (path, _) = only(found(|there| there.mesh = mesh("west.example", "east.example", "b")));
    assert_eq!(path, "exporters[\"west\"].cluster");
}

#[test]
fn gateways_of_a_remote_are_with_its_control_plane() {
    // Whatever lies in the remote itself, nobody reads it; what its control plane's cluster has is not looked at.
    assert_eq!(found(|there| there.open = None), []);
    let mut model = entry();
    edit(&mut model, |exporter| exporter.expose = true.into());
    let spec = spec(&model);
    let exporter = &spec.exporters[0];
    let told = |there: &check::Exporter| findings(&spec, exporter, there, None);
    let remote = told(&check::Exporter { open: None, ..there() });
    assert_eq!(remote.len(), 1, "{remote:?}");
    assert_eq!(remote[0].path.to_string(), "exporters[\"west\"].expose");
    assert!(remote[0].text.contains("no istiod reads a Gateway in it"), "{remote:?}");
}

#[test]
fn two_gateways_that_admit_one_name_in_other_words_are_told() {
    let mut model = entry();
    edit(&mut model, |exporter| exporter.expose = true.into());
    let spec = spec(&model);
    let told = |selector: &serde_json::Value, port: u16, hosts: &[&str], name: &str| {
        let server = json!({ "port": { "number": port }, "tls": { "mode": "AUTO_PASSTHROUGH" }, "hosts": hosts });
        let gateway = object(json!({
            "apiVersion": "networking.istio.io/v1", "kind": "Gateway",
            "metadata": { "name": name, "namespace": "istio-system" },
            "spec": { "selector": selector, "servers": [server] },
        }));
        let there = check::Exporter { open: Some(passthrough::openings(&[gateway])), ..there() };
        findings(&spec, &spec.exporters[0], &there, None)
    };
    let (own, host) = ("export-cart-shop-svc-cluster-local", "cart.shop.svc.cluster.local");
    let (usual, none, other) =
        (json!({ "istio": "eastwestgateway" }), json!({}), json!({ "istio": "another-gateway" }));
    let narrow = json!({ "istio": "eastwestgateway", "app": "door" });
    for selector in [&usual, &none, &narrow] {
        for hosts in [&["*.local"][..], &[host, "web.shop.svc.cluster.local"]] {
            let found = told(selector, 15443, hosts, "cross-network-gateway");
            assert_eq!(found.len(), 1, "{selector} {hosts:?}: {found:?}");
            assert_eq!(found[0].path.to_string(), "exporters[\"west\"].expose");
            assert!(found[0].text.contains("cross-network-gateway") && found[0].text.contains("Remove `expose`"));
        }
    }
    for (selector, port, hosts, name, why) in [
        (&usual, 15443, &["*.local"][..], own, "its own"),
        (&usual, 15443, &[host], "another", "what is written alike, istiod leaves out"),
        (&usual, 15443, &["web.shop.svc.cluster.local"], "another", "another Service"),
        (&usual, 443, &["*.local"], "another", "another port"),
        (&other, 15443, &["*.local"], "another", "other Pods"),
    ] {
        assert_eq!(told(selector, port, hosts, name), [], "{why}");
    }
}

/// A Gateway of the Gateway API configures the Pods that were made for it, which are in its own namespace.
#[test]
fn a_gateway_of_the_api_that_admits_the_name_is_told_where_its_pods_are_chosen() {
    let mut model = entry();
    edit(&mut model, |exporter| {
        exporter.expose = true.into();
        exporter.gateway_selector = [(GATEWAY_NAME_LABEL, "door".to_owned())].into_iter().collect();
    });
    let spec = spec(&model);
    let told = |namespace: &str, name: &str| {
        let listener = json!({ "name": "l", "port": 15443, "protocol": "TLS", "hostname": "*.local", "tls": { "mode": "Passthrough" } });
        let gateway = object(json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": { "name": name, "namespace": namespace, "labels": { "topology.istio.io/network": "n1" } },
            "spec": { "gatewayClassName": "istio", "listeners": [listener] },
        }));
        let there = check::Exporter { open: Some(passthrough::openings_of_api(&[gateway])), ..there() };
        findings(&spec, &spec.exporters[0], &there, None)
    };
    let found = told("istio-system", "door");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].text.contains("Gateway istio-system/door of"), "{found:?}");
    assert_eq!(told("team-a", "door"), [], "another's of this name");
    assert_eq!(told("istio-system", "window"), [], "other Pods");
}

#[test]
fn an_import_that_nobody_reads_is_told() {
    let text = |served_by: &[&str]| {
        let served_by: Vec<String> = served_by.iter().map(|id| (*id).to_owned()).collect();
        check::unread_here("east", &served_by).map(|finding| (finding.path.to_string(), finding.text))
    };
    assert_eq!(text(&[]), None);
    let (path, told) = text(&["hub"]).unwrap();
    assert!(path == "cluster" && told.starts_with("east is a remote of hub, and istiods read"), "{told}");
    assert!(text(&["*"]).unwrap().1.starts_with("east is a remote of another cluster"));
}

#[test]
fn an_import_that_is_called_in_plain_text_is_told() {
    let (mut model, plain) = (entry(), check::Mesh { is_plain: true, ..mesh("east.example", "west.example", "a") });
    let told = |model: &ServiceEntry, here: &check::Mesh, by_rule: bool| {
        check::plain("east", &spec(model), here, by_rule).map(|finding| finding.path.to_string())
    };
    let told_at_cluster = Some("cluster".to_owned());
    assert_eq!(told(&model, &plain, false), told_at_cluster);
    assert_eq!(told(&model, &mesh("east.example", "west.example", "a"), false), None, "the mesh speaks mTLS");
    assert_eq!(told(&model, &plain, true), None, "a rule for all has it speak mTLS");
    model.outlier_detection = true.into();
    assert_eq!(told(&model, &plain, true), told_at_cluster, "its own rule stands in place of that one");
    model.host = "cart.west.mesh".into();
    model.exported_host = "cart.shop.svc.cluster.local".into();
    assert_eq!(told(&model, &plain, false), None, "the rule with the SNI says mTLS");
}

#[test]
fn a_mesh_trusts_what_its_configuration_adds() {
    let root = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        let fingerprint = crate::pki::Certificate::from_pem(&pem).unwrap().fingerprint().to_string();
        (pem, fingerprint)
    };
    let (own, added) = (root("own"), root("added"));
    let map = |name: &str, data: serde_json::Value| {
        object(json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": data }))
    };
    let of = |pems: &[&str]| {
        let entries: Vec<serde_json::Value> =
            pems.iter().map(|pem| json!({ "pem": pem, "trustDomains": ["west.example"] })).collect();
        let settings = json!({
            "trustDomain": "east.example", "trustDomainAliases": ["old.example"], "caCertificates": entries,
            "enableAutoMtls": false,
        });
        let values = json!({ "global": { "proxy": { "clusterDomain": "corp.example" } } });
        check::Mesh::of(&[
            map("istio", json!({ "mesh": settings.to_string() })),
            map("istio-sidecar-injector", json!({ "values": values.to_string() })),
            map("istio-ca-root-cert", json!({ "root-cert.pem": own.0 })),
        ])
    };
    let mesh = of(&[&added.0]);
    assert_eq!(mesh.aliases.iter().collect::<Vec<_>>(), ["old.example", "west.example"]);
    assert_eq!(mesh.roots, [own.1.clone(), added.1.clone()].into());
    assert!(mesh.is_plain && mesh.cluster_domain.as_deref() == Some("corp.example"));
    assert_eq!(of(&[]).roots, [own.1.clone()].into());
    assert!(of(&[&added.0, "no certificate"]).roots.is_empty(), "roots that cannot be read are not compared");
    // So an exporter of another domain and root fits.
    let (spec, west) =
        (spec(&entry()), check::Mesh { roots: [added.1].into(), ..self::mesh("west.example", "east.example", "") });
    let exporter = check::Exporter { mesh: west, ..there() };
    assert_eq!(findings(&spec, &spec.exporters[0], &exporter, Some(&mesh)), []);
}

#[test]
fn pods_that_have_ended_answer_for_nobody() {
    let pod = |metadata: serde_json::Value, phase: &str| {
        object(json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": { "phase": phase } }))
    };
    let (there, going) = (json!({ "name": "p" }), json!({ "name": "p", "deletionTimestamp": "2024-01-01T00:00:00Z" }));
    for (metadata, phase, expected) in [
        (&there, "Running", true),
        (&there, "Pending", true),
        (&there, "Succeeded", false),
        (&there, "Failed", false),
        (&going, "Running", false),
    ] {
        assert_eq!(check::answers(&pod(metadata.clone(), phase)), expected, "{metadata} {phase}");
    }
}

#[test]
fn only_a_service_of_the_cluster_s_own_domain_takes_the_host_s_place() {
    let of = |domain: Option<&str>| check::Mesh { cluster_domain: domain.map(str::to_owned), ..check::Mesh::default() };
    for (host, domain, expected) in [
        ("cart.shop.svc.cluster.local", None, true),
        ("cart.shop.svc.cluster.local", Some("cluster.local"), true),
        ("cart.shop.svc.west.example", None, false),
        ("cart.shop.svc.west.example", Some("east.example"), false),
        ("cart.shop.svc.east.example", Some("east.example"), true),
        ("cart.shop.svc.cluster.local", Some("east.example"), false),
        ("cart.shop.svc", None, true),
        ("cart.west.mesh", None, false),
    ] {
        let found = check::namesake(host, &of(domain));
        assert_eq!(found, expected.then_some(("cart", "shop")), "{host} {domain:?}");
    }
}

#[test]
fn a_network_that_no_gateway_leads_to_is_told() {
    use crate::cluster::{Cluster, ClusterConfig};
    let cluster = Cluster::standalone("east", ClusterConfig::default(), "test");
    let mut model = entry();
    assert_eq!(check::networks(&model), []);
    edit(&mut model, |exporter| (exporter.network, exporter.gateways) = ("net-west".into(), Value::Null));
    let asked = check::networks(&model);
    let told = |known: &str| check::unknown_networks(&cluster, &asked, &[known.to_owned()].into());
    assert_eq!(told("net-west"), []);
    let unknown = told("net-wset");
    assert_eq!(unknown[0].path.to_string(), "exporters[\"west\"].network");
    assert!(unknown.len() == 1 && unknown[0].text.contains("`mesh_networks`"), "{unknown:?}");
}
