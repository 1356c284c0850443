//! Two control planes, each in a network of its own: what passes from one network to the other, and what does not.

use std::io::{Read, Write};

use lab::traffic::RealPod;
use lab::{Lab, Proxies};

use crate::links_topologies::Run;
use crate::support::cli::clis;
use crate::support::traffic::{Refusals, door, ends, is_answered, lab, passes, with_short_certificates, workload};
use crate::traffic_proof::{Looking, another_root_is_named, each_break_is_named, plans, put_port};

const EXAMPLE: &str = "multi-primary-two-networks";
/// The ports at which the two workloads take words.
const CART: u16 = 9000;
const ORDERS: u16 = 9001;

#[test]
fn calls_between_two_networks_arrive_with_their_identities_and_nothing_else_does() {
    let Some(cli) = clis().into_iter().next() else { return };
    let Some(lab) = lab(&["east", "west"], Proxies::NetworkEach) else { return };
    let run = Run::of_example(&cli, &lab, EXAMPLE);
    run.apply().ok();
    let orders = workload(&lab, "orders", ORDERS, "east");
    let cart = workload(&lab, "cart", CART, "west");

    for (from, to, words) in [(&orders, &cart, CART), (&cart, &orders, ORDERS)] {
        through_the_door(&lab, from, to, words);
        let address = &door(lab.cluster(&to.cluster));
        Refusals { lab: &lab, from, to, words, address, istiod: &from.cluster }.hold();
    }
    run.settled();
    let look = Looking::new(Run::of_example(&cli, &lab, EXAMPLE), CART);
    look.agrees(&orders);
    look.is_honest();
    each_break_is_named(&run, &look, &orders);
    what_is_taken_back_ends(&run, &look, &orders, &cart);
    let (orders, cart) = with_proxies_that_renew_soon(&run, [&orders, &cart]);
    another_root_is_named(&run, &look, &orders);
    ends(&cart, ORDERS);
    run.destroy().ok();
}

/// Until now all of it was the example as it is. A proxy hears of another root when it renews its certificate, which
/// from here on is within seconds, for pods that are injected anew.
fn with_proxies_that_renew_soon(run: &Run<'_>, [orders, cart]: [&RealPod; 2]) -> (RealPod, RealPod) {
    let example = std::fs::read_to_string(run.workspace.path("main.tf")).unwrap();
    std::fs::write(run.workspace.path("main.tf"), with_short_certificates(&example)).unwrap();
    run.apply().ok();
    for pod in [orders, cart] {
        run.lab.cluster(&pod.cluster).kubectl(&["delete", "pod", &pod.name, "-n", &pod.namespace]).unwrap();
    }
    let [orders, cart] =
        [("orders", ORDERS, "east"), ("cart", CART, "west")].map(|(name, tcp, at)| workload(run.lab, name, tcp, at));
    is_answered(&orders, CART, "west/cart");
    is_answered(&cart, ORDERS, "east/orders");
    (orders, cart)
}

/// Through the gateway of the network that is called, which shows a certificate of that cluster's own intermediate.
fn through_the_door(lab: &Lab, from: &RealPod, to: &RealPod, words: u16) {
    let answer = passes(from, to, words);
    assert_eq!(answer.endpoint, Some(door(lab.cluster(&to.cluster))), "{answer:?}");
    let issuer = answer.issuer.clone().unwrap_or_default();
    assert!(issuer.contains(&to.cluster), "who issued what the server shows: {answer:?}");
}

/// The exposure of a host, the Gateway and the link: each is taken away and comes back.
fn what_is_taken_back_ends(run: &Run<'_>, look: &Looking<'_>, orders: &RealPod, cart: &RealPod) {
    let example = std::fs::read_to_string(run.workspace.path("main.tf")).unwrap();
    let edit = |from: &str, to: &str| {
        assert!(example.contains(from), "{from}");
        std::fs::write(run.workspace.path("main.tf"), example.replace(from, to)).unwrap();
        run.apply().ok();
    };
    let restore = || {
        std::fs::write(run.workspace.path("main.tf"), &example).unwrap();
        run.apply().ok();
    };

    let mut standing = orders.connect(&format!("127.0.0.1:{CART}")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(500)); // its way through the gateway
    edit("{ services = true }", "{ services = true, hosts = [\"orders.traffic.svc.cluster.local\"] }");
    look.names(orders, "exposure", "no Gateway in west exposes", None);
    is_answered(cart, ORDERS, "east/orders");
    standing.write_all(b"hello\n").unwrap();
    let mut said = String::new();
    standing.read_to_string(&mut said).unwrap();
    assert_eq!(said.trim(), "west/cart", "a connection that stood before outlives the exposure");
    restore();
    is_answered(orders, CART, "west/cart");

    let west = run.lab.cluster("west");
    // What callers dial, the Gateway no longer listens at.
    let gateway = ["gateways.networking.istio.io", "cross-network-gateway"];
    put_port(west, &gateway, "/spec/servers/0/port/number", 15444);
    let alone = "Gateways let calls in at 15444 alone";
    look.names(orders, "exposure", "though a Gateway in west exposes", Some(alone));
    plans(run, "15444");
    put_port(west, &gateway, "/spec/servers/0/port/number", 15443);
    is_answered(orders, CART, "west/cart");
    let load = orders.keep_calling(CART, std::time::Duration::from_millis(50));
    west.kubectl(&["delete", "gateways.networking.istio.io", "--all", "-n", "istio-system"]).unwrap();
    look.names(orders, "exposure", "no Gateway in west exposes", Some("lets nothing through"));
    let plan = run.plan();
    assert_eq!(plan.code, Some(2), "{}", plan.stdout);
    assert!(plan.stdout.contains("+ \"Gateway "), "{}", plan.stdout);
    restore();
    is_answered(orders, CART, "west/cart");
    let load = load.stop();
    assert!(load.lost.len() > 5 && load.longest_gap.as_millis() > 500, "the outage is seen by a load: {load:?}");

    let links = "resource \"mesh_remote_cluster\" \"this\" {\n  for_each              = local.clusters";
    edit(links, &links.replace("local.clusters", "toset([])"));
    look.names(orders, "link", "no remote secret", Some("neither has a remote secret"));
    ends(cart, ORDERS);
    restore();
    look.agrees(orders);
    is_answered(cart, ORDERS, "east/orders");
}
