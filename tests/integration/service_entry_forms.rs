//! Every form of `mesh_service_entry` in one apply, as two real istiods take it: what a client's sidecar is told of
//! each, and what the exporter's gateway is. The rows of what decides over an imported service: that what would break
//! it cannot come about.

use std::collections::BTreeSet;
use std::sync::Arc;

use lab::{Cluster, Lab, Options};
use serde_json::json;

use crate::links_topologies::{Run, shop};
use crate::service_entry_meshes::{analysis_is_silent, cart, cart_pod, gateway, gateway_address};
use crate::support::cli::clis;
use crate::support::xds::{Proxy, Socket, Told, Upstream};

const IDENTITY: &str = "spiffe://west.example/ns/shop/sa/cart";
const SERVICE: &str = "cart.shop.svc.cluster.local";

#[test]
fn every_form_is_what_the_istiods_on_both_sides_need() {
    let Some(cli) = clis().into_iter().next() else { return };
    let lab = Lab::start(&["east", "west"], Options::default()).expect("clusters");
    let (east, west) = (lab.cluster("east"), lab.cluster("west"));
    shop(east);
    cart(west);
    more_services(west);
    let run = Run::of_folder(&cli, &lab, "tests/fixtures/service-entries");
    let applied = run.apply().ok();
    assert!(!applied.stdout.contains("does not fit"), "{}", applied.stdout);
    run.settled();
    the_validator_is_on_guard(east);
    // Of every endpoint that leaves its address to its network, Istio's own recommendation, the analysis says that it
    // does.
    analysis_is_silent(&lab, &["Schema validation warning: address is unset with network"]);

    let client = Proxy::sidecar("east", "net-east", "shop");
    let names = [
        "cart.west.mesh",
        "ports.west.mesh",
        "cart.mesh",
        "named.west.mesh",
        SERVICE,
        "private.west.mesh",
        "two.west.mesh",
    ];
    let told = client.ask_until(east, "all names", |told| {
        names.iter().all(|name| !told.addresses(name).is_empty()).then(|| told.clone())
    });
    what_a_sidecar_is_told(&told, &gateway_address(west));
    tcp_services_do_not_collide(&told, east);
    let stranger = Proxy::sidecar("east", "net-east", "other").ask(east).expect("an answer");
    assert!(
        stranger.upstream("private.west.mesh", 8080).is_none() && stranger.addresses("private.west.mesh").is_empty()
    );
    assert!(stranger.upstream("cart.west.mesh", 80).is_some());

    let pod = cart_pod(west);
    what_the_gateway_is_told(west, &pod);
    a_service_of_the_same_name_is_told_and_wins(&run, east, &client);
    run.destroy().ok();
}

/// A database, and subsets of the cart, in the exporting mesh.
fn more_services(west: &Arc<Cluster>) {
    let objects = json!({ "apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "db", "namespace": "shop" },
            "spec": { "selector": { "app": "cart" }, "ports": [{ "name": "tcp", "port": 5432 }] },
        },
    ]});
    west.apply(&objects.to_string()).expect("a Service");
    let ports = json!([{ "name": "http", "port": 8080, "targetPort": 9080 }, { "name": "grpc", "port": 9090 }]);
    let patch = json!({ "spec": { "ports": ports } }).to_string();
    west.kubectl(&["patch", "service/cart", "-n", "shop", "--type=merge", "-p", &patch]).expect("two ports");
}

/// It did judge what we made: what is wrong is refused.
fn the_validator_is_on_guard(east: &Arc<Cluster>) {
    let wrong = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": { "name": "wrong", "namespace": "shop" },
        "spec": {
            "hosts": ["wrong.west.mesh"], "location": "MESH_INTERNAL", "resolution": "STATIC",
            "ports": [{ "number": 80, "name": "http" }], "endpoints": [{ "address": "lb.example.com" }],
        },
    });
    let error = east
        .apply(&wrong.to_string())
        .expect_err("a name in place of an address is refused where resolution is STATIC");
    assert!(error.to_string().contains("validation.istio.io"), "{error}");
}

fn tls(sni: &str) -> Socket {
    tls_with(sni, &[IDENTITY])
}

fn tls_with(sni: &str, sans: &[&str]) -> Socket {
    Socket::Tls {
        sni: sni.to_owned(),
        sans: sans.iter().map(|san| (*san).to_owned()).collect(),
        alpn: vec!["istio-peer-exchange".to_owned(), "istio".to_owned()],
        mutual: true,
    }
}

/// gRPC needs it, and sidecars then offer it beside Istio's own.
fn with_http2(socket: Socket) -> Socket {
    match socket {
        Socket::Tls { sni, sans, mut alpn, mutual } => {
            alpn.push("h2".to_owned());
            Socket::Tls { sni, sans, alpn, mutual }
        }
        Socket::Plain => Socket::Plain,
    }
}

fn what_a_sidecar_is_told(told: &Told, gateway: &str) {
    let door = format!("{gateway}:15443");
    let cases: [(&str, u16, &[&str], Socket); 10] = [
        // The SNI is of the exporter's name and port, whatever clients call and dial.
        ("cart.west.mesh", 80, &[&door], tls("outbound_.8080_._.cart.shop.svc.cluster.local")),
        ("ports.west.mesh", 80, &[&door], tls("outbound_.8080_._.cart.shop.svc.cluster.local")),
        ("ports.west.mesh", 90, &[&door], with_http2(tls("outbound_.9090_._.cart.shop.svc.cluster.local"))),
        ("cart.mesh", 8080, &[&door], tls("outbound_.8080_._.cart.mesh")),
        ("named.west.mesh", 8080, &["lb.example.com:31443"], tls("outbound_.8080_._.cart.shop.svc.cluster.local")),
        // istiod puts the network's gateway in place of the endpoint without an address.
        (SERVICE, 8080, &[&door], tls("outbound_.8080_._.cart.shop.svc.cluster.local")),
        ("db.shop.svc.cluster.local", 5432, &[&door], tls("outbound_.5432_._.db.shop.svc.cluster.local")),
        ("db.west.mesh", 5432, &[&door], tls("outbound_.5432_._.db.shop.svc.cluster.local")),
        ("private.west.mesh", 8080, &[&door], tls("outbound_.8080_._.cart.shop.svc.cluster.local")),
        (
            "two.west.mesh",
            8080,
            &[&door, "192.0.2.44:15443"],
            tls_with(
                "outbound_.8080_._.cart.shop.svc.cluster.local",
                &["spiffe://north.example/ns/shop/sa/cart", IDENTITY],
            ),
        ),
    ];
    for (host, port, endpoints, socket) in cases {
        let endpoints: BTreeSet<String> = endpoints.iter().map(|endpoint| (*endpoint).to_owned()).collect();
        let expected = Upstream { endpoints: endpoints.into_iter().collect(), sockets: vec![socket] };
        assert_eq!(told.upstream(host, port), Some(expected), "{host}:{port}");
    }
    let localities = told.0["endpoints"]["outbound|8080||two.west.mesh"]["endpoints"].as_array().expect("localities");
    let shares: BTreeSet<String> = localities
        .iter()
        .map(|at| {
            let weight = &at["lbEndpoints"][0]["loadBalancingWeight"];
            format!("{}/{} {weight}", at["locality"]["region"], at["locality"]["zone"]).replace('"', "")
        })
        .collect();
    assert_eq!(shares, BTreeSet::from(["eu/a 80".to_owned(), "eu/b 20".to_owned()]));
    let subset = told.upstream_of(&format!("outbound|8080|v2|{SERVICE}")).expect("a cluster for the subset");
    assert_eq!(subset.sockets, [tls("outbound_.8080_.v2_.cart.shop.svc.cluster.local")]);
    // Without the share, Envoy takes none out of fewer than ten.
    let ejects = |name: &str| told.0["clusters"][name]["outlierDetection"]["maxEjectionPercent"].as_u64();
    for name in ["outbound|90||ports.west.mesh", "outbound|8080||two.west.mesh"] {
        assert_eq!(ejects(name), Some(100), "{name}");
    }
    assert!(told.0["clusters"]["outbound|80||cart.west.mesh"]["outlierDetection"].is_null());
}

/// Each has an address of its own to listen on, which is also what its name resolves to.
fn tcp_services_do_not_collide(told: &Told, east: &Arc<Cluster>) {
    let stub = east.get(&["service", "db", "-n", "shop"]).expect("kubectl").expect("a Service for DNS");
    let stub = stub["spec"]["clusterIP"].as_str().expect("an address").to_owned();
    for (host, address) in [("db.shop.svc.cluster.local", stub.as_str()), ("db.west.mesh", "240.10.0.1")] {
        assert_eq!(told.addresses(host), [address], "{host}");
        assert!(told.0["listeners"].get(format!("{address}_5432")).is_some(), "{host}: {}", told.names());
    }
    assert!(told.0["listeners"].get("0.0.0.0_5432").is_none());
}

fn what_the_gateway_is_told(west: &Arc<Cluster>, pod: &str) {
    let rule = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": { "name": "cart", "namespace": "shop" },
        "spec": { "host": SERVICE, "subsets": [{ "name": "v2", "labels": { "app": "cart" } }] },
    });
    west.apply(&rule.to_string()).expect("subsets at the exporter");
    let snis = [
        "outbound_.8080_._.cart.shop.svc.cluster.local",
        "outbound_.9090_._.cart.shop.svc.cluster.local",
        "outbound_.8080_.v2_.cart.shop.svc.cluster.local",
        "outbound_.9090_.v2_.cart.shop.svc.cluster.local",
        "outbound_.5432_._.db.shop.svc.cluster.local",
        "outbound_.8080_._.cart.mesh",
    ];
    let leads = |told: &Told, sni: &str| {
        let [cluster] = &told.chain(sni)[..] else { return Vec::new() };
        told.upstream_of(cluster).map(|upstream| upstream.endpoints).unwrap_or_default()
    };
    let told = gateway(west).ask_until(west, "a chain to the Pod for every SNI", |told| {
        snis.iter().all(|sni| !leads(told, sni).is_empty()).then(|| told.clone())
    });
    assert_eq!(told.server_names(), snis.iter().map(|sni| (*sni).to_owned()).collect());
    for (sni, port) in snis.iter().zip([9080, 9090, 9080, 9090, 5432, 9080]) {
        assert_eq!(leads(&told, sni), [format!("{pod}:{port}")], "{sni}");
    }
}

/// Why the plan warns of it: proxies no longer hear of the exporter.
fn a_service_of_the_same_name_is_told_and_wins(run: &Run<'_>, east: &Arc<Cluster>, client: &Proxy) {
    cart(east);
    let plan = run.plan();
    let said = plan.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("Cluster east has a Service shop/cart of its own, which proxies prefer"), "{}", plan.stdout);
    client.ask_until(east, "the cluster's own Service instead", |told| {
        told.upstream(SERVICE, 8080).filter(|upstream| upstream.endpoints.is_empty())
    });
}
