//! What fails beside the objects of a mesh: packets that are lost before a gateway, a reader without its rights, an
//! istiod that is stopped. Which calls end by it, which go on, and who says so.

use std::sync::Arc;
use std::time::Duration;

use lab::traffic::{RealPod, Workload};
use lab::{Cluster, Proxies};

use crate::links_topologies::Run;
use crate::support::cli::clis;
use crate::support::traffic::{door, ends, injects, is_answered, lab, passes, workload};
use crate::traffic_proof::Looking;
use crate::traffic_upkeep::PAUSE;

const EXAMPLE: &str = "multi-primary-two-networks";
const CART: u16 = 9000;
const ORDERS: u16 = 9001;

/// Two workloads that call each other, and those who look on.
struct Mesh<'a> {
    run: Run<'a>,
    look: Looking<'a>,
    orders: RealPod,
    cart: RealPod,
}

#[test]
fn what_fails_beside_the_objects_ends_the_calls_that_it_must_and_is_named() {
    let Some(cli) = clis().into_iter().next() else { return };
    let Some(lab) = lab(&["east", "west"], Proxies::NetworkEach) else { return };
    let run = Run::of_example(&cli, &lab, EXAMPLE);
    run.apply().ok();
    let look = Looking::new(Run::of_example(&cli, &lab, EXAMPLE), CART);
    let mesh = Mesh {
        run,
        look,
        orders: workload(&lab, "orders", ORDERS, "east"),
        cart: workload(&lab, "cart", CART, "west"),
    };
    passes(&mesh.orders, &mesh.cart, CART);
    passes(&mesh.cart, &mesh.orders, ORDERS);
    mesh.run.settled();
    mesh.a_firewall_is_unknown_to_whoever_does_not_try_the_address();
    mesh.without_an_istiod_calls_go_on_and_new_pods_do_not_come();
    mesh.a_reader_without_rights_is_named_and_ends_calls_at_the_next_start();
    mesh.run.destroy().ok();
}

impl Mesh<'_> {
    fn west(&self) -> &Arc<Cluster> {
        self.run.lab.cluster("west")
    }

    fn east(&self) -> &Arc<Cluster> {
        self.run.lab.cluster("east")
    }

    #[track_caller]
    fn is_whole(&self) {
        is_answered(&self.orders, CART, "west/cart");
        is_answered(&self.cart, ORDERS, "east/orders");
    }

    /// Packets to west's gateway are dropped. No cluster reports it: who wants to know it must try the address, and is
    /// not told that all is well.
    fn a_firewall_is_unknown_to_whoever_does_not_try_the_address(&self) {
        let address = door(self.west()).trim_end_matches(":15443").to_owned();
        self.west().lose(&address, true).unwrap();
        for _ in 0..3 {
            let lost = self.orders.talk(CART);
            assert!(lost.is_err(), "{lost:?}");
        }
        is_answered(&self.cart, ORDERS, "east/orders");
        self.look.cannot_tell(&address);
        self.run.settled();
        self.west().lose(&address, false).unwrap();
        self.is_whole();
    }

    /// Nothing configures west's proxies: those that are there go on, and new ones do not come.
    fn without_an_istiod_calls_go_on_and_new_pods_do_not_come(&self) {
        let late = Workload::new("late");
        late.declare(self.west(), self.west()).unwrap();
        let (there, back) = (self.orders.keep_calling(CART, PAUSE), self.cart.keep_calling(ORDERS, PAUSE));
        let scale = |replicas: &str| {
            self.west().kubectl(&["scale", "deployment", "istiod", "-n", "istio-system", replicas]).unwrap();
        };
        scale("--replicas=0");
        self.west().wait_until("the end of istiod", || self.west().istiods().is_empty()).unwrap();
        self.look.is_unhealthy("istiod (default) is scaled to none");
        let plan = self.run.plan();
        assert!(plan.stdout.contains("The istiod of west/istio-system/istiod does not run"), "{}", plan.stdout);
        let refused = late.run(self.west()).map(|pod| pod.name);
        let refused = refused.map_err(|error| error.to_string());
        assert!(refused.as_ref().is_err_and(|why| why.contains("failed calling webhook")), "{refused:?}");
        for calls in [there.stop(), back.stop()] {
            assert!(calls.count > 40 && calls.lost.is_empty(), "calls that were possible before go on: {calls:?}");
        }
        scale("--replicas=1");
        self.west().wait_for_istiods(1).unwrap();
        injects(self.west());
        late.run(self.west()).unwrap();
        self.run.apply().ok();
        self.run.settled();
        self.is_whole();
    }

    /// The rights of east's reader in west are revoked. What is known stays known; the istiod that starts next learns
    /// nothing of west.
    fn a_reader_without_rights_is_named_and_ends_calls_at_the_next_start(&self) {
        let bindings = self.west().kubectl(&["get", "clusterrolebindings", "-o", "name"]).unwrap();
        let reader = bindings.lines().find(|name| name.contains("istio-mesh-reader")).expect("a reader's rights");
        self.west().kubectl(&["delete", reader]).unwrap();
        is_answered(&self.orders, CART, "west/cart");
        let plan = self.run.plan();
        assert_eq!(plan.code, Some(2), "{}{}", plan.stdout, plan.stderr);
        assert!(plan.stdout.contains("+ \"ClusterRoleBinding "), "{}", plan.stdout);

        let before: Vec<String> = self.east().istiods().iter().map(|istiod| istiod.pod().to_owned()).collect();
        self.east().kubectl(&["delete", "pods", "-l", "app=istiod", "-n", "istio-system", "--wait=false"]).unwrap();
        let is_new = || {
            let istiods = self.east().istiods();
            !istiods.is_empty() && istiods.iter().all(|istiod| !before.contains(&istiod.pod().to_owned()))
        };
        self.east().wait_until("an istiod that starts anew", is_new).unwrap();
        self.east().wait_for_istiods(1).unwrap();
        ends(&self.orders, CART);
        self.look.names(&self.orders, "link", "west", Some("cluster west as"));
        is_answered(&self.cart, ORDERS, "east/orders");
        self.run.apply().ok();
        self.run.settled();
        let is_whole = || self.orders.talk(CART).is_ok();
        self.east().wait_until("calls to west", is_whole).unwrap();
        std::thread::sleep(Duration::from_secs(1));
        self.look.agrees(&self.orders);
        self.is_whole();
    }
}
