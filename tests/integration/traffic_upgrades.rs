//! Istio's version changes under a steady load of new connections, none of which may be lost: beside itself, as a
//! second revision to which workloads move, and in place, with the gateways and the remote cluster that follow.

use std::sync::Arc;
use std::time::Duration;

use lab::tools::Istio;
use lab::traffic::{Caller, RealPod, Workload};
use lab::{ChartRepository, Cluster, Proxies};
use serde_json::{Value, json};

use crate::links_topologies::Run;
use crate::support::cli::clis;
use crate::support::traffic::{configured_workload, is_answered, lab, passes};
use crate::traffic_upkeep::{PAUSE, lost_none};

/// A pod of either cluster: each calls the other's Service.
struct Sides {
    orders: RealPod,
    cart: RealPod,
}

impl Sides {
    fn start(&self) -> (Caller, Caller) {
        (self.orders.keep_calling(9000, PAUSE), self.cart.keep_calling(9001, PAUSE))
    }

    /// Calls in both directions while something is done, and until proxies have heard of it.
    #[track_caller]
    fn under_load(&self, what: &str, change: &dyn Fn()) {
        let (there, back) = self.start();
        change();
        std::thread::sleep(Duration::from_secs(2));
        lost_none(what, &[there.stop(), back.stop()]);
    }
}

/// The version of each istiod that runs, by its image.
fn istiods(cluster: &Arc<Cluster>) -> Vec<String> {
    let pods = cluster.get(&["pods", "-n", "istio-system", "-l", "app=istiod"]).unwrap().unwrap_or_default();
    let pods = pods["items"].as_array().into_iter().flatten();
    let tag = |pod: &Value| pod["spec"]["containers"][0]["image"].as_str()?.rsplit(':').next().map(str::to_owned);
    pods.filter_map(tag).collect()
}

/// The version that a pod got its proxy from.
fn injected(cluster: &Arc<Cluster>, namespace: &str, label: &str) -> Vec<String> {
    let pods = cluster.get(&["pods", "-n", namespace, "-l", label]).unwrap().unwrap_or_default();
    let proxy = |pod: &Value| {
        let containers = [&pod["spec"]["initContainers"], &pod["spec"]["containers"]];
        let mut all = containers.into_iter().flat_map(|list| list.as_array().into_iter().flatten());
        let image = all.find(|container| container["name"] == "istio-proxy")?["image"].as_str()?.to_owned();
        image.rsplit(':').next().map(str::to_owned)
    };
    pods["items"].as_array().into_iter().flatten().filter_map(proxy).collect()
}

fn has_only(cluster: &Arc<Cluster>, what: &str, version: &str, found: &dyn Fn() -> Vec<String>) {
    let only = || found().iter().all(|one| one == version) && !found().is_empty();
    cluster.wait_until(&format!("{what} of {version} alone"), only).unwrap();
}

/// A second revision comes, gateways and workloads move to it, the first goes.
#[test]
fn no_call_is_lost_while_istio_is_upgraded_beside_itself() {
    let Some(cli) = clis().into_iter().next() else { return };
    let Some(lab) = lab(&["east", "west"], Proxies::NetworkEach) else { return };
    let charts = ChartRepository::start().unwrap();
    let run = Run::of_example(&cli, &lab, "canary-upgrade");
    let versions = |revisions: &Value, live: &str| {
        let variables = json!({ "charts": { "repository": charts.url() }, "revisions": revisions, "live": live });
        run.set_step(&variables);
        run.apply().ok();
    };
    let both = json!({ "1-30": "1.30.0", "1-31": "1.31.0" });
    versions(&json!({ "1-30": "1.30.0" }), "1-30");
    let workload = |name: &'static str, port: u16| Workload {
        ports: (80, port),
        injection: ("istio.io/rev", "prod"),
        ..Workload::new(name)
    };
    let (orders, cart) = (workload("orders", 9001), workload("cart", 9000));
    for cluster in lab.clusters() {
        orders.declare(cluster, cluster).unwrap();
        cart.declare(cluster, cluster).unwrap();
    }
    let (east, west) = (lab.cluster("east"), lab.cluster("west"));
    let sides = Sides { orders: orders.run(east).unwrap(), cart: cart.run(west).unwrap() };
    passes(&sides.orders, &sides.cart, 9000);
    passes(&sides.cart, &sides.orders, 9001);

    sides.under_load("a second revision of Istio joins the first", &|| versions(&both, "1-30"));
    sides.under_load("the tag and the gateways move to the second revision", &|| {
        versions(&both, "1-31");
        let gateways = || injected(west, "istio-system", "app=istio-eastwestgateway");
        has_only(west, "gateways", "1.31.0", &gateways);
    });
    assert_eq!(injected(west, "traffic", "app=cart"), ["1.30.0"], "workloads move when they restart");
    // As Deployments do it: one Pod more, then one less. Each of the loads is from Pods that stay meanwhile.
    let (there, back) = sides.start();
    let next = Sides { orders: orders.run_as("orders-2", east).unwrap(), cart: cart.run_as("cart-2", west).unwrap() };
    let before = [there.stop(), back.stop()];
    let (there, back) = next.start();
    for (name, cluster) in [("orders", east), ("cart", west)] {
        cluster.kubectl(&["delete", "pod", name, "-n", "traffic", "--wait=false"]).unwrap();
        has_only(cluster, "Pods", "1.31.0", &|| injected(cluster, "traffic", &format!("app={name}")));
    }
    std::thread::sleep(Duration::from_secs(2));
    let [one, two] = before;
    lost_none("workloads restart, and move to the second revision", &[one, two, there.stop(), back.stop()]);
    let sides = next;
    is_answered(&sides.orders, 9000, "west/cart-2");
    is_answered(&sides.cart, 9001, "east/orders-2");
    sides.under_load("the first revision leaves", &|| {
        versions(&json!({ "1-31": "1.31.0" }), "1-31");
        for cluster in lab.clusters() {
            has_only(cluster, "istiods", "1.31.0", &|| istiods(cluster));
        }
    });
    run.settled();
    run.destroy().ok();
}

/// The primary's istiod, then its gateway, the remote and the remote's gateway: one apply.
#[test]
fn no_call_is_lost_while_istio_is_upgraded_in_place() {
    let Some(cli) = clis().into_iter().next() else { return };
    let Some(lab) = lab(&["primary", "remote"], Proxies::NetworkEach) else { return };
    let charts = ChartRepository::start().unwrap();
    let run = Run::of_example(&cli, &lab, "primary-remote-two-networks");
    let to = |istio: Istio| {
        let variables = json!({ "charts": { "repository": charts.url(), "version": istio.version() } });
        run.set_step(&variables);
        run.apply().ok();
    };
    to(Istio::Old);
    let clusters = [lab.cluster("primary"), lab.cluster("remote")];
    let sides = Sides {
        orders: configured_workload(&clusters, "orders", 9001, "primary"),
        cart: configured_workload(&clusters, "cart", 9000, "remote"),
    };
    passes(&sides.orders, &sides.cart, 9000);
    passes(&sides.cart, &sides.orders, 9001);
    let (old, new) = (Istio::Old.version(), Istio::Current.version());
    assert_eq!(istiods(clusters[0]), [old]);
    let all_are = |version: &str| {
        has_only(clusters[0], "istiods", version, &|| istiods(clusters[0]));
        for cluster in clusters {
            let gateways = || injected(cluster, "istio-system", "istio=eastwestgateway");
            has_only(cluster, "gateways", version, &gateways);
        }
    };
    sides.under_load("Istio is upgraded in place, with its gateways and a remote cluster", &|| {
        to(Istio::Current);
        all_are(new);
    });
    run.settled();
    sides.under_load("Istio goes back to the earlier version, in place", &|| {
        to(Istio::Old);
        all_are(old);
    });
    passes(&sides.orders, &sides.cart, 9000);
    passes(&sides.cart, &sides.orders, 9001);
    run.settled();
    run.destroy().ok();
}
