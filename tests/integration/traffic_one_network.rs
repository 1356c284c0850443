//! Two control planes in one network: pods of both clusters reach each other directly, and trust each other by the root
//! that their istiods share.

use lab::traffic::RealPod;
use lab::{Lab, Proxies};
use serde_json::json;

use crate::links_topologies::Run;
use crate::support::cli::clis;
use crate::support::traffic::{
    Refusals, arrives, ends, host, is_answered, lab, passes, plain_text_ends, strict, workload,
};
use crate::traffic_proof::Looking;

const EXAMPLE: &str = "multi-primary-one-network";

#[test]
fn calls_in_one_network_arrive_at_pods_of_either_cluster_where_the_root_is_one() {
    let Some(cli) = clis().into_iter().next() else { return };
    let Some(lab) = lab(&["east", "west"], Proxies::OneNetwork) else { return };
    let run = Run::of_example(&cli, &lab, EXAMPLE);
    run.apply().ok();
    let orders = workload(&lab, "orders", 9001, "east");
    let cart = workload(&lab, "cart", 9000, "west");
    for (from, to, words) in [(&orders, &cart, 9000), (&cart, &orders, 9001)] {
        let answer = passes(from, to, words);
        assert_eq!(answer.endpoint, Some(format!("{}:8080", to.ip)), "past any gateway: {answer:?}");
    }
    who_has_no_certificate_is_let_in_until_a_policy_says_otherwise(&lab, &orders, &cart);
    run.settled();
    who_does_not_speak_as_the_other_side_does_is_told(
        &Looking::new(Run::of_example(&cli, &lab, EXAMPLE), 9000),
        &orders,
    );
    run.destroy().ok();
}

/// Without a common root proxies could not verify each other: the example turns mTLS off, and calls arrive in plain
/// text.
#[test]
fn calls_in_one_network_arrive_without_certificates_where_nobody_speaks_mtls() {
    let Some(cli) = clis().into_iter().next() else { return };
    let Some(lab) = lab(&["east", "west"], Proxies::OneNetwork) else { return };
    let run = Run::of_example(&cli, &lab, "multi-primary-without-certificates");
    let said = run.apply().ok();
    assert!(!said.stdout.contains("different roots"), "{}", said.stdout);
    let orders = workload(&lab, "orders", 9001, "east");
    let cart = workload(&lab, "cart", 9000, "west");
    for (from, to, words) in [(&orders, &cart, 9000), (&cart, &orders, 9001)] {
        let by = format!("{}/{}", to.cluster, to.name);
        let answer = arrives(from, &host(&to.name), 80, &by);
        assert_eq!((&answer.server, &answer.client), (&None, &None), "nobody says who they are: {answer:?}");
        is_answered(from, words, &by);
    }
    run.settled();
    run.destroy().ok();
}

/// Past the client's proxy, in plain text: Istio takes it unless told otherwise, and `STRICT` says otherwise.
fn who_has_no_certificate_is_let_in_until_a_policy_says_otherwise(lab: &Lab, orders: &RealPod, cart: &RealPod) {
    let plain = format!("{}:9000", cart.ip);
    assert_eq!(orders.exchange(&plain).map_err(|error| error.to_string()), Ok("west/cart".to_owned()));
    lab.clusters().iter().for_each(|cluster| strict(cluster));
    for (from, to, words) in [(orders, cart, 9000), (cart, orders, 9001)] {
        plain_text_ends(from, to);
        let address = &format!("{}:9000", to.ip);
        Refusals { lab, from, to, words, address, istiod: &from.cluster }.hold();
    }
    is_answered(orders, 9000, "west/cart");
    is_answered(cart, 9001, "east/orders");
}

/// Both clusters take mTLS alone at first. In each break no call arrives, and what looks says so.
fn who_does_not_speak_as_the_other_side_does_is_told(look: &Looking<'_>, orders: &RealPod) {
    let (east, west) = (look.cluster("east"), look.cluster("west"));
    let rule = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": { "name": "plain", "namespace": "traffic" },
        "spec": { "host": host("cart"), "trafficPolicy": { "tls": { "mode": "DISABLE" } } },
    });
    // A rule is for clients: that the called cluster has it as well changes nothing.
    for cluster in [east, west] {
        cluster.apply(&rule.to_string()).unwrap();
        look.names(orders, "mtls", "take mTLS alone", Some("do not speak the mesh's mTLS with workloads of west"));
    }
    for cluster in [east, west] {
        cluster.kubectl(&["delete", "destinationrule", "plain", "-n", "traffic"]).unwrap();
    }
    is_answered(orders, 9000, "west/cart");
    // Clients do not know what the called cluster alone turns off.
    let policy = json!({
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "metadata": { "name": "default", "namespace": "traffic" },
        "spec": { "mtls": { "mode": "DISABLE" } },
    });
    west.apply(&policy.to_string()).unwrap();
    ends(orders, 9000);
    look.is_unhealthy("its clients speak mTLS with workloads of west, which take plain text alone");
    for cluster in [east, west] {
        cluster.kubectl(&["delete", "peerauthentication", "default", "-n", "traffic"]).unwrap();
    }
    is_answered(orders, 9000, "west/cart");
}
