//! Two meshes with trust domains and control planes of their own: what one exports, the other calls by its name, and
//! nothing else.

use std::cell::Cell;

use lab::traffic::{Answer, RealPod, Workload, eventually};
use lab::{Cluster, Lab, Proxies};

use crate::links_topologies::Run;
use crate::support::cli::clis;
use crate::support::traffic::{SETTLED, Shows, arrives, chain, door, knock, lab, of_another_root};
use crate::support::workload::workload as issued;

/// The port of both Services.
const PORT: u16 = 8080;
const CART: &str = "cart.shop.svc.cluster.local";
/// What else west's cart is called in east, at a port of its own; and where it must be somebody whom it is not.
const OTHER_NAME: &str = "cart.west.mesh";
const WRONG_ACCOUNT: &str = "stranger.west.mesh";
const OTHER_PORT: u16 = 8081;

#[test]
fn an_exported_service_is_called_by_its_name_and_no_other_is() {
    let Some(cli) = clis().into_iter().next() else { return };
    let Some(lab) = lab(&["east", "north", "west"], Proxies::NetworkEach) else { return };
    let run = Run::of_example(&cli, &lab, "independent-meshes");
    of_three(&run);
    run.apply().ok();
    // In a mesh there is only what it has itself: the other's Service is known by the entry alone.
    let start = |name: &'static str, at: &str, imports: &[&str]| -> RealPod {
        let workload = Workload { namespace: "shop", ports: (PORT, 9000), imports, ..Workload::new(name) };
        let cluster = lab.cluster(at);
        workload.declare(cluster, cluster).expect("a Service");
        workload.run(cluster).expect("a pod")
    };
    let of_cart = [CART, OTHER_NAME, WRONG_ACCOUNT].map(|host| format!("*/{host}"));
    let orders = start("orders", "east", &of_cart.each_ref().map(String::as_str));
    let cart = start("cart", "west", &["*/orders.shop.svc.cluster.local"]);
    for (from, to) in [(&orders, &cart), (&cart, &orders)] {
        let host = format!("{}.shop.svc.cluster.local", to.name);
        let answer = arrives(from, &host, PORT, &format!("{}/{}", to.cluster, to.name));
        let identity = |pod: &RealPod| Some(format!("spiffe://{}.example/ns/shop/sa/{}", pod.cluster, pod.name));
        assert_eq!((&answer.server, &answer.client), (&identity(to), &identity(from)), "{answer:?}");
        assert_eq!(answer.endpoint, Some(door(lab.cluster(&to.cluster))), "{answer:?}");
        refuses(&lab, from, to);
    }
    by_another_name_and_port(&orders, &cart);
    let cart_too = start("cart", "north", &["*/orders.shop.svc.cluster.local"]);
    without_an_ip(lab.cluster("north"));
    let found = [&cart, &cart_too].map(|pod| format!("{}/{}", pod.cluster, pod.name));
    both_answer(&orders, &found);
    for gone in ["west", "north"] {
        without_a_gateway(&lab, &orders, gone, &found);
    }
    run.apply().ok(); // what there was to say of Services that were not there yet
    run.settled();
    run.destroy().ok();
}

/// The example with a third mesh, which exports one of the services as well.
fn of_three(run: &Run<'_>) {
    let mut text = std::fs::read_to_string(run.workspace.path("main.tf")).unwrap();
    for (from, to) in [
        ("toset([\"east\", \"west\"])", "toset([\"east\", \"north\", \"west\"])"),
        (
            "from = \"west\", to = \"east\", namespace = \"shop\"",
            "from = \"west\", too = [\"north\"], to = \"east\", namespace = \"shop\"",
        ),
        (
            "from = \"east\", to = \"west\", namespace = \"shop\"",
            "from = \"east\", too = [], to = \"west\", namespace = \"shop\"",
        ),
        ("if service.from == each.key]", "if contains(concat([service.from], service.too), each.key)]"),
        (
            "  exporters = {\n    (each.value.from) = {",
            "  outlier_detection = true\n  exporters = { for name in concat([each.value.from], each.value.too) :\n    name => {",
        ),
        ("cluster          = each.value.from", "cluster          = name"),
        ("local.trust_domains[each.value.from]", "local.trust_domains[name]"),
        ("mesh_eastwest_gateway.this[each.value.from].addresses", "mesh_eastwest_gateway.this[name].addresses"),
    ] {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    for (name, host, account) in [("other_name", OTHER_NAME, "cart"), ("wrong_account", WRONG_ACCOUNT, "stranger")] {
        text.push_str(&format!(
            r#"
resource "mesh_service_entry" "{name}" {{
  cluster = mesh_primary.this["east"].cluster
  host    = "{host}"
  ports   = {{ http = {{ number = {OTHER_PORT}, exporter_port = {PORT} }} }}
  exporters = {{
    west = {{
      cluster          = "west"
      namespace        = "shop"
      service          = "cart"
      service_accounts = ["{account}"]
      trust_domain     = local.trust_domains["west"]
      gateways         = mesh_eastwest_gateway.this["west"].addresses
    }}
  }}
}}
"#
        ));
    }
    std::fs::write(run.workspace.path("main.tf"), text).unwrap();
}

/// A Service is exported whether it has an IP address or not.
fn without_an_ip(cluster: &Cluster) {
    let service = serde_json::json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "cart", "namespace": "shop" },
        "spec": {
            "clusterIP": "None", "selector": { "app": "cart" },
            "ports": [{ "name": "http", "port": PORT, "targetPort": PORT }],
        },
    });
    cluster.kubectl(&["delete", "service", "cart", "-n", "shop"]).expect("it is there");
    cluster.apply(&service.to_string()).expect("a Service");
}

/// The same Service by another name, at another port; and not where who answers is not who must.
fn by_another_name_and_port(orders: &RealPod, cart: &RealPod) {
    let answer = arrives(orders, OTHER_NAME, OTHER_PORT, &format!("{}/{}", cart.cluster, cart.name));
    assert_eq!(answer.server.as_deref(), Some("spiffe://west.example/ns/shop/sa/cart"), "{answer:?}");
    let refused = |answer: &std::io::Result<Answer>| answer.as_ref().is_ok_and(|answer| answer.status == 503);
    let last = eventually(SETTLED, || orders.get(WRONG_ACCOUNT, OTHER_PORT), refused);
    assert!(last.is_ok(), "the account of who answers is not the one that is accepted: {last:?}");
}

/// What does not pass from one mesh to the other, beside what does.
fn refuses(lab: &Lab, from: &RealPod, to: &RealPod) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let own = runtime.block_on(issued(lab.cluster(&from.cluster), "shop", &from.name)).unwrap();
    let door = door(lab.cluster(&to.cluster));
    let exported = format!("outbound_.8080_._.{}.shop.svc.cluster.local", to.name);
    let passes_on = knock(from, &door, &exported, Shows::Chain(chain(&own), &own.key));
    // It speaks no HTTP: that the server says so shows that it was let through to it.
    assert!(passes_on.as_ref().is_ok_and(|said| said.starts_with("HTTP/1.1 400")), "{passes_on:?}");
    // Another Service there, one that is not there, and a pod by its address.
    let not_there = format!("outbound_.8080_._.{}.shop.svc.cluster.local", from.name);
    for sni in ["outbound_.443_._.kubernetes.default.svc.cluster.local", &not_there] {
        let said = knock(from, &door, sni, Shows::Chain(chain(&own), &own.key));
        assert!(said.is_err(), "{sni} is not exported: {said:?}");
    }
    let direct = from.exchange(&format!("{}:9000", to.ip));
    assert!(direct.is_err(), "{direct:?}");
    let (foreign, key) = of_another_root(&format!("spiffe://{}.example/ns/shop/sa/{}", from.cluster, from.name));
    let said = knock(from, &door, &exported, Shows::Chain(foreign, &key));
    assert!(said.as_ref().is_err_and(|why| why.contains("UnknownCA")), "the same name by another root: {said:?}");
    let said = knock(from, &door, &exported, Shows::Nothing);
    assert!(said.as_ref().is_err_and(|why| why.contains("CertificateRequired")), "no certificate: {said:?}");
}

/// So many calls in a row, each of which is answered.
fn answered(orders: &RealPod, count: usize) -> Result<Vec<String>, String> {
    let ask = |_| match orders.get(CART, PORT) {
        Ok(Answer { status: 200, by: Some(by), .. }) => Ok(by),
        other => Err(format!("{other:?}")),
    };
    (0..count).map(ask).collect()
}

/// Calls go to either exporter, and none is lost.
#[track_caller]
fn both_answer(orders: &RealPod, found: &[String; 2]) {
    let answered = || answered(orders, 20).map_err(std::io::Error::other);
    let both =
        |calls: &std::io::Result<Vec<String>>| calls.as_ref().is_ok_and(|by| found.iter().all(|one| by.contains(one)));
    // An exporter that was out of rotation comes back after half a minute, and longer each time.
    let patience = std::time::Duration::from_secs(90);
    if let Err(last) = lab::traffic::eventually(patience, answered, both) {
        panic!("{found:?} do not both answer: {last:?}");
    }
}

/// The gateway of one exporter goes, and calls go to the other.
fn without_a_gateway(lab: &Lab, orders: &RealPod, gone: &str, found: &[String; 2]) {
    let cluster = lab.cluster(gone);
    let scale = |replicas: &str| {
        let to = format!("--replicas={replicas}");
        cluster.kubectl(&["scale", "deployment", "istio-eastwestgateway", "-n", "istio-system", &to]).unwrap();
    };
    scale("0");
    let lost = Cell::new(0);
    let other = |calls: &std::io::Result<Vec<String>>| {
        lost.set(lost.get() + usize::from(calls.is_err()));
        calls.as_ref().is_ok_and(|by| by.iter().all(|one| !one.starts_with(gone)))
    };
    let calls = || answered(orders, 20).map_err(std::io::Error::other);
    if let Err(last) = lab::traffic::eventually(std::time::Duration::from_secs(60), calls, other) {
        panic!("without the gateway of {gone} calls do not go to the other exporter: {last:?}");
    }
    println!("without the gateway of {gone}: {} of the rounds of calls had one that was lost", lost.get());
    scale("1");
    both_answer(orders, found);
}
