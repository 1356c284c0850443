//! Two meshes, each with its own control plane, mesh id and trust domain, that share a root and one service. What came
//! of one apply is judged by the real istiods: over xDS as the client's sidecar and as the exporter's gateway, and by a
//! TLS handshake with certificates that both issued.

use std::collections::BTreeSet;
use std::sync::Arc;

use lab::tools::Tool;
use lab::{Cluster, Lab, Options};
use rcgen::{CertificateParams, KeyPair};
use serde_json::json;
use terraform_provider_mesh::pki::{Bundle, Certificate};

use crate::links_topologies::{Run, no_secret_in_state, nothing_is_left, shop};
use crate::service_entry_handshake::{Exporter, Peer, handshake};
use crate::support::cli::{Cli, clis};
use crate::support::xds::{Proxy, Socket, Upstream};

const HOST: &str = "cart.shop.svc.cluster.local";
const SNI: &str = "outbound_.8080_._.cart.shop.svc.cluster.local";
const IDENTITY: &str = "spiffe://west.example/ns/shop/sa/cart";

#[test]
fn a_service_of_another_mesh_is_called_by_its_name() {
    for cli in clis() {
        println!("with {}", cli.name);
        one_service_between_two_meshes(&cli);
    }
}

fn one_service_between_two_meshes(cli: &Cli) {
    let lab = Lab::start(&["east", "west"], Options::default()).expect("clusters");
    let (east, west) = (lab.cluster("east"), lab.cluster("west"));
    cart(west);
    exported(east, "orders");
    let run = Run::of_example(cli, &lab, "independent-meshes");
    the_first_plan_shows_what_is_computed(&run);
    let applied = run.apply().ok();
    assert!(!applied.stdout.contains("does not fit"), "{}", applied.stdout);
    run.settled();
    let pod = cart_pod(west);
    let called = run.workspace.run(&["output", "-json", "call"]).ok().json();
    assert_eq!(called, json!({ "cart": format!("{HOST}:8080"), "orders": "orders.shop.svc.cluster.local:8080" }));
    let upstream = a_sidecar_is_led_to_the_gateway(east, west);
    the_gateway_has_a_chain_for_this_and_nothing_else(west, &pod);
    certificates_of_both_meshes_shake_hands(&lab, &upstream.sockets[0], &pod);
    nobody_watches_the_other(&lab);
    analysis_is_silent(&lab, &[]);
    no_secret_in_state(&run);
    what_changes_at_the_exporter_is_said(&run, west);
    run.settled();
    run.destroy().ok();
    east.kubectl(&["delete", "namespace", "shop", "--ignore-not-found"]).expect("kubectl");
    nothing_is_left(&lab);
}

/// Nothing is there yet, no gateway has an address: what clients will call, and whom they will accept, is to be seen
/// all the same.
fn the_first_plan_shows_what_is_computed(run: &Run<'_>) {
    let plan = run.workspace.run(&["plan", "-input=false"]).ok();
    for shown in [format!("= \"{SNI}\""), format!("= \"{HOST}:8080\""), format!("\"{IDENTITY}\",")] {
        assert!(plan.stdout.contains(&shown), "{shown} is missing: {}", plan.stdout);
    }
}

/// The exporting team's Service; nothing of it is the provider's.
pub fn cart(cluster: &Arc<Cluster>) {
    exported(cluster, "cart");
}

fn exported(cluster: &Arc<Cluster>, name: &str) {
    shop(cluster);
    let objects = json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name, "namespace": "shop" } },
        {
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": name, "namespace": "shop" },
            "spec": { "selector": { "app": name }, "ports": [{ "name": "http", "port": 8080, "targetPort": 9080 }] },
        },
    ]});
    cluster.apply(&objects.to_string()).expect("a Service");
}

/// A Pod behind it, injected by the mesh's own istiod; its address.
pub fn cart_pod(cluster: &Arc<Cluster>) -> String {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "cart", "namespace": "shop", "labels": { "app": "cart" } },
        "spec": {
            "serviceAccountName": "cart",
            "containers": [{ "name": "cart", "image": "cart", "ports": [{ "containerPort": 9080 }] }],
        },
    });
    cluster.apply(&pod.to_string()).expect("a Pod");
    pod_address(cluster, "app=cart", "shop")
}

fn pod_address(cluster: &Arc<Cluster>, label: &str, namespace: &str) -> String {
    let mut ip = String::new();
    let addressed = || {
        let pods = cluster.get(&["pods", "-l", label, "-n", namespace]).ok().flatten().unwrap_or_default();
        pods["items"][0]["status"]["podIP"].as_str().unwrap_or_default().clone_into(&mut ip);
        !ip.is_empty()
    };
    cluster.wait_until("the Pod's address", addressed).expect("an address");
    ip
}

pub fn gateway_address(west: &Arc<Cluster>) -> String {
    let service = ["service", "istio-eastwestgateway", "-n", "istio-system"];
    let service = west.get(&service).expect("kubectl").expect("a gateway");
    service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str().expect("an address").to_owned()
}

/// The importing istiod: one endpoint, the gateway; mTLS, with this SNI, and nobody but the exporter's ServiceAccount
/// accepted. And the name resolves.
fn a_sidecar_is_led_to_the_gateway(east: &Arc<Cluster>, west: &Arc<Cluster>) -> Upstream {
    let client = Proxy::sidecar("east", "net-east", "shop");
    let (upstream, addresses) = client.ask_until(east, "the name and its cluster", |told| {
        let addresses = told.addresses(HOST);
        Some((told.upstream(HOST, 8080)?, addresses)).filter(|(_, addresses)| !addresses.is_empty())
    });
    let socket = Socket::Tls {
        sni: SNI.to_owned(),
        sans: vec![IDENTITY.to_owned()],
        alpn: vec!["istio-peer-exchange".to_owned(), "istio".to_owned()],
        mutual: true,
    };
    let expected = Upstream { endpoints: vec![format!("{}:15443", gateway_address(west))], sockets: vec![socket] };
    assert_eq!(upstream, expected);
    assert!(addresses[0].starts_with("240.240."), "a virtual IP of istiod's choice: {addresses:?}");
    upstream
}

/// The exporting istiod: its gateway has a filter chain for exactly this SNI, and it leads to the Service's Pods.
fn the_gateway_has_a_chain_for_this_and_nothing_else(west: &Arc<Cluster>, pod: &str) {
    let (endpoints, names) = gateway(west).ask_until(west, "a filter chain that leads to the Pod", |told| {
        let [cluster] = &told.chain(SNI)[..] else { return None };
        let upstream = told.upstream_of(cluster)?;
        Some((upstream.endpoints, told.server_names())).filter(|(endpoints, _)| !endpoints.is_empty())
    });
    assert_eq!(endpoints, [format!("{pod}:9080")]);
    assert_eq!(names, BTreeSet::from([SNI.to_owned()]));
}

/// With what both istiods issued and said: who must get through does, and nobody else.
fn certificates_of_both_meshes_shake_hands(lab: &Lab, told: &Socket, pod: &str) {
    let (east, west) = (lab.cluster("east"), lab.cluster("west"));
    let admitted = gateway(west).ask(west).expect("what the gateway is told").server_names();
    let server = Proxy::sidecar("west", "net-west", "shop").labelled("app", "cart").at(pod);
    let accepted = server.ask(west).expect("what the server is told").accepted_peers();
    let domains = ["spiffe://east.example/".to_owned(), "spiffe://west.example/".to_owned()];
    assert_eq!(accepted, BTreeSet::from(domains), "both trust domains, since each is the other's alias");
    shop(east);
    let roots = || east.get(&["configmap", "istio-ca-root-cert", "-n", "shop"]).is_ok_and(|map| map.is_some());
    east.wait_until("roots in the clients' namespace", roots).expect("roots");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = Peer::of(east, "shop", "default").await;
        let server = Peer::of(west, "shop", "cart").await;
        assert_eq!(client.identities(), ["spiffe://east.example/ns/shop/sa/default"]);
        assert_eq!(server.identities(), [IDENTITY]);
        let exporter = Exporter { peer: &server, admitted: &admitted, accepted: &accepted };
        handshake(&client, told, &exporter).await.expect("the connection that is meant");

        let Socket::Tls { sni, sans, alpn, mutual } = told.clone() else { panic!("{told:?}") };
        let refused = async |client: &Peer, socket: &Socket, exporter: &Exporter<'_>, why: &str| {
            let error = handshake(client, socket, exporter).await.expect_err(why);
            assert!(error.contains(why), "{why}: {error}");
        };
        for sni in [sni.replace("8080", "9090"), HOST.to_owned(), sni.replace("cart", "web")] {
            let socket = Socket::Tls { sni, sans: sans.clone(), alpn: alpn.clone(), mutual };
            refused(&client, &socket, &exporter, "filter_chain_not_found").await;
        }
        let sans = vec!["spiffe://west.example/ns/shop/sa/thief".to_owned()];
        refused(&client, &Socket::Tls { sni, sans, alpn, mutual }, &exporter, "SAN").await;

        let key = KeyPair::generate().expect("a key");
        let foreign = CertificateParams::default().self_signed(&key).expect("a root of somebody else");
        let foreign = Bundle::from_iter([Certificate::from_der(foreign.der()).expect("a certificate")]);
        let stranger = Peer { roots: foreign.clone(), ..Peer::of(east, "shop", "default").await };
        refused(&stranger, told, &exporter, "root").await;
        let suspicious = Peer { roots: foreign, ..Peer::of(west, "shop", "cart").await };
        refused(&client, told, &Exporter { peer: &suspicious, ..exporter }, "root").await;
        let without_aliases = BTreeSet::from(["spiffe://west.example/".to_owned()]);
        refused(&client, told, &Exporter { accepted: &without_aliases, ..exporter }, "SAN").await;
    });
}

/// Each change is made behind the provider's back, seen by the next plan, and taken back.
fn what_changes_at_the_exporter_is_said(run: &Run<'_>, west: &Arc<Cluster>) {
    let says = |words: &[&str]| {
        let plan = run.plan();
        let text = plan.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        for word in words
            .iter()
            .chain(&["cart.shop.svc.cluster.local does not fit its exporter", "mesh_service_entry.this[\"cart\"]"])
        {
            assert!(text.contains(word), "{word:?} is missing:\n{}{}", plan.stdout, plan.stderr);
        }
    };
    let patch = |object: &str, namespace: &str, patch: &str| {
        west.kubectl(&["patch", object, "-n", namespace, "--type=merge", "-p", patch]).expect("a patch");
    };
    let port = |number: u16| {
        let port = json!({ "name": "http", "port": number, "targetPort": 9080 });
        patch("service/cart", "shop", &json!({ "spec": { "ports": [port] } }).to_string());
    };
    port(9090);
    says(&[
        "The Service cart.shop.svc.cluster.local in cluster west has no port 8080; it has 9090. The gateway would reset every connection.",
        "ports[\"http\"].exporter_port",
    ]);
    port(8080);

    west.kubectl(&["delete", "service", "cart", "-n", "shop"]).expect("kubectl");
    says(&["Cluster west has no Service shop/cart.", "exporters[\"west\"].service"]);
    cart(west);

    let gateways =
        west.get(&["gateways.networking.istio.io", "-n", "istio-system"]).expect("kubectl").expect("gateways");
    let gateway =
        format!("gateways.networking.istio.io/{}", gateways["items"][0]["metadata"]["name"].as_str().expect("a name"));
    let mut spec = gateways["items"][0]["spec"].clone();
    let before = json!({ "spec": spec }).to_string();
    spec["servers"][0]["hosts"] = json!(["web.shop.svc.cluster.local"]);
    patch(&gateway, "istio-system", &json!({ "spec": spec }).to_string());
    says(&[
        "No gateway of cluster west admits cart.shop.svc.cluster.local (hosts admitted: web.shop.svc.cluster.local)",
        "`expose.hosts`",
    ]);
    patch(&gateway, "istio-system", &before);

    let settings =
        west.get(&["configmap", "istio", "-n", "istio-system"]).expect("kubectl").expect("the mesh's settings");
    let settings = settings["data"]["mesh"].as_str().expect("text");
    let with =
        |domain: &str| json!({ "data": { "mesh": settings.replace("trustDomain: west.example", domain) } }).to_string();
    patch("configmap/istio", "istio-system", &with("trustDomain: north.example"));
    says(&[
        "The trust domain of cluster west is north.example, not west.example.",
        "(exporters[\"west\"].trust_domain)",
    ]);
    patch("configmap/istio", "istio-system", &with("trustDomain: west.example"));
}

pub fn gateway(west: &Arc<Cluster>) -> Proxy {
    let gateway = Proxy::gateway("west", "net-west", "istio-system").labelled("istio", "eastwestgateway");
    gateway.at(&pod_address(west, "istio=eastwestgateway", "istio-system"))
}

fn nobody_watches_the_other(lab: &Lab) {
    for cluster in lab.clusters() {
        let secrets = cluster.kubectl(&["get", "secrets", "-A", "-l", "istio/multiCluster", "-o", "name"]);
        assert_eq!(secrets.expect("kubectl").trim(), "", "{}", cluster.name());
    }
}

/// `istioctl analyze` finds nothing, in the namespaces that the mesh lives in, but what is expected.
pub fn analysis_is_silent(lab: &Lab, expected: &[&str]) {
    for cluster in lab.clusters() {
        let text = cluster.run(Tool::Istioctl, &["analyze", "-A"], None).unwrap_or_else(|error| panic!("{error}"));
        let about_us = |line: &&str| line.contains('[') && !line.contains("Namespace default)");
        let news = |line: &&str| !expected.iter().any(|expected| line.contains(expected));
        assert_eq!(text.lines().filter(about_us).filter(news).collect::<Vec<_>>(), [""; 0], "{}", cluster.name());
    }
}
