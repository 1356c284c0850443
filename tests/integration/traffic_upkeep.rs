//! Day-two work under a steady load of new connections, none of which may be lost: a root is rotated, intermediates and
//! tokens are renewed, a third cluster joins and leaves, the Pods of gateways and istiods are replaced.

use std::path::Path;
use std::time::Duration;

use lab::Proxies;
use lab::tools::Istio;
use lab::traffic::{Calls, eventually};
use serde_json::json;

use crate::bench;
use crate::links_topologies::Run;
use crate::support::cli::clis;
use crate::support::traffic::{
    SETTLED, Shows, chain, ends, envoy_version, is_answered, knock, lab, passes, with_short_certificates, workload,
    workload_among,
};
use crate::support::workload::workload as issued;

/// What a knock was told, where it could be made.
type Said = std::io::Result<Result<String, String>>;

/// Between two calls of the load.
pub const PAUSE: Duration = Duration::from_millis(50);

/// What the loads of both directions became while something was done. With `MESH_TRAFFIC_PAGE` it is written down.
#[track_caller]
pub fn lost_none(what: &str, loads: &[Calls]) {
    let count: usize = loads.iter().map(|calls| calls.count).sum();
    let lost: Vec<_> = loads.iter().flat_map(|calls| &calls.lost).collect();
    let gap = loads.iter().map(|calls| calls.longest_gap.as_millis()).max().unwrap_or_default();
    println!("{what}: {count} calls, {} lost, longest gap {gap} ms", lost.len());
    if std::env::var_os("MESH_TRAFFIC_PAGE").is_some() {
        write_down(what, &format!("{count} | {} | {gap} ms |", lost.len()));
    }
    assert!(count > 40, "{what}: the load was no load: {loads:?}");
    assert!(lost.is_empty(), "{what}: {lost:?} of {count}");
}

/// Replaces or adds a row of the page, which says with what and on what machine it was measured.
fn write_down(what: &str, figures: &str) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guides/traffic.md");
    let text = std::fs::read_to_string(&page).unwrap();
    let row =
        format!("| {what} | {figures} {}, {}, {} |", Istio::Current.version(), envoy_version(), bench::short_machine());
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let known = lines.iter().position(|line| line.starts_with(&format!("| {what} |")));
    let header = lines.iter().position(|line| line.starts_with("| --- | --: |")).expect("the table");
    match known {
        Some(at) => lines[at] = row,
        None => {
            let rows = lines[header..].iter().take_while(|line| line.starts_with('|')).count();
            lines.insert(header + rows, row);
        }
    }
    std::fs::write(page, lines.join("\n") + "\n").unwrap();
}

/// Proxies that renew their certificates every few seconds and hear of roots at once, so that a rotation of minutes has
/// what one of days has.
#[test]
fn no_call_is_lost_while_a_root_is_rotated() {
    let Some(cli) = clis().into_iter().next() else { return };
    let Some(lab) = lab(&["east", "west"], Proxies::OneNetwork) else { return };
    let run = Run::of_example(&cli, &lab, "root-rotation");
    let example = std::fs::read_to_string(run.workspace.path("main.tf")).unwrap();
    std::fs::write(run.workspace.path("main.tf"), with_short_certificates(&example)).unwrap();
    let generation = |n: u8| {
        // Longer than certificates last: the last that the old root vouches for has run out before the root goes.
        run.set_step(&json!({ "rotation_pause": "30s", "root_generation": n }));
    };
    generation(1);
    run.apply().ok();
    let orders = workload(&lab, "orders", 9001, "east");
    let cart = workload(&lab, "cart", 9000, "west");
    passes(&orders, &cart, 9000);
    passes(&cart, &orders, 9001);

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let before = runtime.block_on(issued(lab.cluster("east"), "traffic", "orders")).unwrap();
    let address = format!("{}:9000", cart.ip);
    let by_the_old_root = || knock(&orders, &address, "cart", Shows::Chain(chain(&before), &before.key));
    assert_eq!(by_the_old_root().as_deref(), Ok("west/cart"));

    generation(2);
    let (there, back) = (orders.keep_calling(9000, PAUSE), cart.keep_calling(9001, PAUSE));
    for step in ["step 1 of 3", "step 2 of 3", "step 3 of 3"] {
        // A step waits for `rotation_pause`, and its plan says so until then.
        let mut plan = run.plan();
        for _ in 0..60 {
            if plan.stdout.contains(step) {
                break;
            }
            std::thread::sleep(Duration::from_secs(2));
            plan = run.plan();
        }
        assert!(plan.stdout.contains(step), "{step}: {}{}", plan.stdout, plan.stderr);
        run.apply().ok();
    }
    // The certificates of before run out.
    std::thread::sleep(Duration::from_secs(20));
    lost_none("the root is rotated, in three steps", &[there.stop(), back.stop()]);
    // A proxy hears of its roots when it asks for them next.
    let is_out =
        |said: &Said| said.as_ref().is_ok_and(|said| said.as_ref().is_err_and(|why| why.contains("UnknownCA")));
    let said = eventually(SETTLED, || Ok(by_the_old_root()), is_out);
    assert!(said.is_ok(), "the root of before is out: {said:?}");
    run.settled();
    run.destroy().ok();
}

#[test]
fn no_call_is_lost_while_clusters_come_and_go_and_credentials_are_renewed() {
    let Some(cli) = clis().into_iter().next() else { return };
    let Some(lab) = lab(&["east", "north", "west"], Proxies::NetworkEach) else { return };
    let run = Run::of_example(&cli, &lab, "multi-primary-two-networks");
    let example = std::fs::read_to_string(run.workspace.path("main.tf")).unwrap();
    let members = |names: &str, from: &str, to: &str| {
        assert!(example.contains(from), "{from}");
        let text = example.replace("toset(keys(var.kubeconfigs))", &format!("toset([{names}])")).replace(from, to);
        std::fs::write(run.workspace.path("main.tf"), text).unwrap();
    };
    let (two, three) = ("\"east\", \"west\"", "\"east\", \"north\", \"west\"");
    members(two, "net-", "net-");
    run.apply().ok();
    let declare = |at: &'static str, name: &'static str, port: u16, clusters: &[&str]| {
        let among: Vec<_> = clusters.iter().map(|name| lab.cluster(name)).collect();
        workload_among(&among, name, port, at)
    };
    let orders = declare("east", "orders", 9001, &["east", "west"]);
    let cart = declare("west", "cart", 9000, &["east", "west"]);
    passes(&orders, &cart, 9000);
    passes(&cart, &orders, 9001);

    let under_load = |what: &str, change: &dyn Fn()| {
        let (there, back) = (orders.keep_calling(9000, PAUSE), cart.keep_calling(9001, PAUSE));
        change();
        std::thread::sleep(Duration::from_secs(2)); // for proxies to hear of it
        lost_none(what, &[there.stop(), back.stop()]);
    };
    under_load("a third cluster joins", &|| {
        members(three, "net-", "net-");
        run.apply().ok();
    });
    let parcels = declare("north", "parcels", 9002, &["east", "north", "west"]);
    for (from, to, words) in
        [(&orders, &parcels, 9002), (&cart, &parcels, 9002), (&parcels, &cart, 9000), (&parcels, &orders, 9001)]
    {
        passes(from, to, words);
    }
    let credentials = || {
        let east = lab.cluster("east");
        let secret = |name: &str| east.get(&["secret", name, "-n", "istio-system"]).unwrap().unwrap()["data"].clone();
        (secret("cacerts"), secret("istio-remote-secret-west"))
    };
    let before = credentials();
    under_load("intermediates and tokens of all clusters are renewed", &|| {
        let own = "clusters = { for name in local.clusters : name => {} }";
        members(three, own, &format!("{own}\n  intermediate = {{ renew_before = \"17519h59m50s\" }}"));
        let text = std::fs::read_to_string(run.workspace.path("main.tf")).unwrap();
        let last = "allow_loopback_server = var.one_machine";
        let text = text.replace(last, &format!("{last}\n  token = {{ lifetime = \"40d\" }}"));
        std::fs::write(run.workspace.path("main.tf"), text).unwrap();
        run.apply().ok();
    });
    let after = credentials();
    assert!(before.0 != after.0 && before.1 != after.1, "both are renewed");
    under_load("the third cluster leaves", &|| {
        members(two, "net-", "net-");
        run.apply().ok();
    });
    is_answered(&orders, 9000, "west/cart");
    ends(&orders, 9002); // who has left is called no more
    let changed = |to: &str, values: &str| {
        let text = std::fs::read_to_string(run.workspace.path("main.tf")).unwrap();
        assert!(text.contains(to), "{to}");
        let text = text.replace(to, &format!("{to}\n  values = [yamlencode({values})]"));
        std::fs::write(run.workspace.path("main.tf"), text).unwrap();
    };
    let west = lab.cluster("west");
    for (what, app, to, values) in [
        (
            "the gateways' values change, and their Pods are replaced",
            "istio-eastwestgateway",
            "expose   = { services = true }",
            "{ podAnnotations = { changed = \"once\" } }",
        ),
        (
            "istiods' values change in place, and they restart",
            "istiod",
            "trust_root = mesh_ca.this.root_fingerprint",
            "{ podAnnotations = { changed = \"once\" } }",
        ),
    ] {
        let selector = format!("app={app}");
        let pods = || west.kubectl(&["-n", "istio-system", "get", "pods", "-l", &selector, "-o", "name"]).unwrap();
        let before = pods();
        under_load(what, &|| {
            changed(to, values);
            run.apply().ok();
            // The Pods of before have their grace period.
            let gone = || before.lines().all(|pod| !pods().contains(pod));
            west.wait_until("the end of the Pods of before", gone).unwrap();
        });
        assert!(!pods().is_empty() && pods() != before, "{what}: {before}");
    }
    run.settled();
    run.destroy().ok();
}
