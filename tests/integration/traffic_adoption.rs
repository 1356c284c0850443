//! A mesh that helm and istioctl made is taken over under a steady load of new connections: none is lost, and no Pod is
//! replaced.

use lab::Proxies;

use crate::examples_in_steps::{CLUSTERS, adopting, made_by_hand, running};
use crate::support::cli::clis;
use crate::support::traffic::{lab, passes, workload};
use crate::traffic_upkeep::{PAUSE, lost_none};

#[test]
fn no_call_is_lost_while_a_mesh_of_helm_is_taken_over() {
    let Some(cli) = clis().into_iter().next() else { return };
    let Some(lab) = lab(&CLUSTERS, Proxies::NetworkEach) else { return };
    let pems = lab.dir().join("pems");
    made_by_hand(&lab, &pems).unwrap_or_else(|error| panic!("{}", lab::describe(&*error)));
    let orders = workload(&lab, "orders", 9001, "east");
    let cart = workload(&lab, "cart", 9000, "west");
    passes(&orders, &cart, 9000);
    passes(&cart, &orders, 9001);

    let pods = || {
        let gateways = lab.clusters().iter().map(|cluster| {
            let gateways = ["-n", "istio-system", "get", "pods", "-l", "istio=eastwestgateway", "-o", "name"];
            cluster.kubectl(&gateways).unwrap()
        });
        (lab.clusters().iter().map(running).collect::<Vec<_>>(), gateways.collect::<Vec<_>>())
    };
    let before = pods();
    assert!(before.1.iter().all(|gateways| !gateways.is_empty()), "{before:?}");
    let run = adopting(&cli, &lab, &pems);
    let (there, back) = (orders.keep_calling(9000, PAUSE), cart.keep_calling(9001, PAUSE));
    run.apply().ok();
    std::thread::sleep(std::time::Duration::from_secs(2)); // for proxies to hear of it
    lost_none("a mesh of helm and istioctl is taken over", &[there.stop(), back.stop()]);
    assert_eq!(pods(), before, "no istiod and no gateway was restarted");
    run.settled();
    passes(&orders, &cart, 9000);
    passes(&cart, &orders, 9001);
}
