//! Fleets: an istiod that is Helm's beside what is ours, and an upgrade that goes from wave to wave, each step a plain
//! plan and apply of a real CLI.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lab::tools::{self, Istio, Tool};
use lab::{ChartRepository, Cluster, Fault, Lab, Options};
use serde_json::{Value, json};

use crate::examples::{no_secret_in, synced};
use crate::examples_laws::{is_found_whole, leftovers, outlives_an_outage};
use crate::links_topologies::{Run, service};
use crate::support::cli::{clis, newest};
use crate::support::connected::ConnectedProxy;

/// Helm installs, upgrades and rolls out again between plans; of none of it a plan has anything to say. By a Terraform
/// of today, where there is one.
#[test]
fn helm_keeps_istiod_beside_our_certificates_links_and_gateways() {
    let Some(cli) = newest().or_else(|| clis().into_iter().next()) else { return };
    let names = ["east", "west"];
    let lab = Lab::start(&names, Options::default()).unwrap();
    let run = Run::of_example(&cli, &lab, "beside-helm").with_least_rights();
    let gateways = json!({ "directory": tools::charts(Istio::Old).unwrap().dir() });
    run.set_step(&json!({ "control_planes": false, "gateway_charts": gateways }));
    run.apply().ok();
    for cluster in lab.clusters() {
        let network = format!("topology.istio.io/network=net-{}", cluster.name());
        cluster.kubectl(&["label", "namespace", "istio-system", &network]).unwrap();
        helm(cluster, "install", Istio::Old, &[]);
    }
    run.set_step(&json!({ "control_planes": true, "gateway_charts": gateways }));
    run.apply().ok();
    run.settled();

    let east = lab.cluster("east");
    lab.clusters().iter().for_each(service);
    let policy = json!({ "outlierDetection": { "consecutive5xxErrors": 5 } });
    let rule = json!({ "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": { "name": "web", "namespace": "shop" },
        "spec": { "host": "web", "trafficPolicy": policy } });
    east.apply(&rule.to_string()).unwrap();
    let differs = |run: &Run<'_>| {
        let plan = run.plan();
        assert_eq!(plan.code, Some(0), "{}{}", plan.stdout, plan.stderr);
        plan.stdout.contains("Services of the mesh are configured differently by cluster")
    };
    assert!(differs(&run), "east alone has a rule for a Service of the mesh");
    let within = json!([{ "settings": { "clusterLocal": true }, "hosts": ["web.shop.svc.cluster.local"] }]);
    let within = format!("meshConfig.serviceSettings={within}");
    for (istio, more) in [(Istio::Current, &[][..]), (Istio::Current, &["--set-json", &within])] {
        for cluster in lab.clusters() {
            helm(cluster, "upgrade", istio, more);
        }
        for cluster in lab.clusters() {
            let version = || istiod_of(cluster).0 == istio.version() && synced(cluster) == names;
            cluster.wait_until("the new istiod to be in sync", version).unwrap();
        }
        run.settled();
    }
    assert!(!differs(&run), "Helm keeps the Service within its cluster");
    for cluster in lab.clusters() {
        let written = cluster.kubectl(&[
            "get",
            "deployment",
            "istiod",
            "-n",
            "istio-system",
            "--show-managed-fields",
            "-o",
            "json",
        ]);
        assert!(!written.unwrap().contains("terraform-provider-mesh"), "we wrote to istiod");
    }

    no_secret_in(&run.workspace.path("terraform.tfstate"), &lab);
    outlives_an_outage(&run.workspace, lab.cluster("west"));
    run.destroy().ok();
    for cluster in lab.clusters() {
        assert_eq!(istiod_of(cluster).0, "1.31.0", "istiod is left alone");
        let kinds = "secrets,serviceaccounts,services,deployments,clusterroles,clusterrolebindings,leases";
        let ours = cluster.get(&[kinds, "--all-namespaces", "-l", "terraform-provider-mesh/owner"]).unwrap();
        assert_eq!(ours, None, "left in {}", cluster.name());
    }
}

fn helm(cluster: &Arc<Cluster>, verb: &str, istio: Istio, more: &[&str]) {
    let charts = tools::charts(istio).unwrap();
    let name = cluster.name();
    // istiod sets fields of the webhooks: Helm is told to go on.
    let force: &[&str] = if verb == "upgrade" { &["--force-conflicts"] } else { &[] };
    let base = charts.folder("base").display().to_string();
    cluster.run(Tool::Helm, &[&[verb, "istio-base", &base, "-n", "istio-system"], force].concat(), None).unwrap();
    let values = format!("global.meshID=mesh1,global.multiCluster.clusterName={name},global.network=net-{name}");
    let istiod = charts.folder("istiod").display().to_string();
    let istiod = [verb, "istiod", &istiod, "-n", "istio-system", "--set", &values, "--wait", "--timeout", "3m"];
    cluster.run(Tool::Helm, &[&istiod, force, more].concat(), None).unwrap();
}

/// Version and generation of the istiod that a cluster is to run.
fn istiod_of(cluster: &Arc<Cluster>) -> (String, i64) {
    let istiod = cluster.get(&["deployment", "istiod", "-n", "istio-system"]).unwrap().unwrap();
    let image = istiod["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap().to_owned();
    let tag = image.rsplit(':').next().unwrap_or_default().to_owned();
    (tag, istiod["metadata"]["generation"].as_i64().unwrap())
}

/// The second wave fails on purpose: the third is never touched, and goes on when the second is mended.
#[test]
fn a_fleet_is_upgraded_wave_by_wave_and_a_wave_that_fails_is_the_end_of_it() {
    let Some(cli) = clis().into_iter().next_back() else { return };
    let names = ["east", "north", "west"];
    let lab = Lab::start(&names, Options::default()).unwrap();
    let charts = ChartRepository::start().unwrap();
    let run = Run::of_example(&cli, &lab, "upgrade-in-waves").with_least_rights();
    let to = |version: &str| {
        let charts = json!({ "repository": charts.url() });
        run.set_step(&json!({ "charts": charts, "istio_version": version, "updated_proxies_percent": 60 }));
    };
    // Its other spelling, which a plan that keeps the version keeps as well.
    to("v1.30.0");
    run.apply().ok();
    run.settled();
    let untouched = istiod_of(lab.cluster("west"));
    assert_eq!(untouched.0, "1.30.0");

    to("1.31.0");
    let plan = upgrades(&run, &["east"]);
    assert!(plan.contains("north stays at Istio v1.30.0 for now") && plan.contains("east runs Istio 1.30.0"), "{plan}");
    assert!(plan.contains("west stays at Istio v1.30.0 for now") && plan.contains("north runs Istio 1.30.0"), "{plan}");
    // What is recreated is made of the new version, and cannot wait for its wave.
    let recreated = ["plan", "-input=false", "-replace=mesh_primary.this[\"west\"]"];
    let refused = run.workspace.run(&recreated);
    let said = refused.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(refused.code == Some(1) && said.contains("recreates the control plane out of its turn"), "{said}");
    to("v1.30.0");
    run.workspace.run(&recreated).ok();
    to("1.31.0");
    run.apply().ok();
    assert_eq!(
        planned_versions(&run),
        [("east", "1.31.0"), ("north", "1.31.0"), ("west", "v1.30.0")].map(named).into()
    );

    proxies_have_to_follow(&run, lab.cluster("east"));
    let north = lab.cluster("north");
    // What has failed once is no more done when it fails again. The last time its istiod is upgraded, and what comes
    // behind it is not: that is not done either.
    for (what, is_upgraded) in [
        ("apps/v1/namespaces/istio-system/deployments/istiod", false),
        ("apps/v1/namespaces/istio-system/deployments/istiod", false),
        ("admissionregistration.k8s.io/v1/mutatingwebhookconfigurations", true),
    ] {
        let refused =
            Fault::status(403).for_agent("terraform-provider-mesh").for_request(&format!("PATCH /apis/{what}"));
        north.fault(refused).unwrap();
        let failed = run.apply();
        assert_eq!(failed.code, Some(1), "{}", failed.stdout);
        north.clear_faults().unwrap();
        if is_upgraded {
            runs(north, "1.31.0", &names);
        }
        let plan = upgrades(&run, &["north"]);
        assert!(plan.contains("west stays at Istio v1.30.0 for now"), "{plan}");
    }
    assert_eq!(istiod_of(lab.cluster("west")), untouched, "the third wave was touched");
    // The way back is a plan: what failed goes back with the first wave, and need not wait for it.
    to("v1.30.0");
    upgrades(&run, &["east", "north"]);
    to("1.31.0");

    run.apply().ok();
    assert_eq!((istiod_of(north).0.as_str(), istiod_of(lab.cluster("west"))), ("1.31.0", untouched.clone()));
    upgrades(&run, &["west"]);
    // What comes first breaks between the plan and its apply.
    run.workspace.plans_to_apply("step.plan");
    north.kubectl(&["scale", "deployment/istiod", "-n", "istio-system", "--replicas=0"]).unwrap();
    let late = run.workspace.run(&["apply", "-input=false", "step.plan"]);
    let said = format!("{}{}", late.stdout, late.stderr);
    assert!(late.code == Some(1) && said.contains("The clusters have changed since the plan"), "{said}");
    assert_eq!(istiod_of(lab.cluster("west")), untouched, "the third wave was touched");
    north.kubectl(&["scale", "deployment/istiod", "-n", "istio-system", "--replicas=1"]).unwrap();
    runs(north, "1.31.0", &names);
    run.apply().ok();
    run.settled();
    assert!(lab.clusters().iter().all(|cluster| istiod_of(cluster).0 == "1.31.0"));

    // The way back begins with the first wave, too.
    to("1.30.0");
    let plan = upgrades(&run, &["east"]);
    assert!(plan.contains("north stays at Istio 1.31.0 for now"), "{plan}");
    to("1.31.0");
    run.settled();
    a_wave_is_looked_at_once(&run, &lab);
    no_secret_in(&run.workspace.path("terraform.tfstate"), &lab);
    outlives_an_outage(&run.workspace, lab.cluster("west"));
    if let Some(newest) = newest() {
        let other = Run::of_example(&newest, &lab, "upgrade-in-waves").with_least_rights();
        other.same_step_as(&run);
        is_found_whole(&[&run.workspace], &other.workspace, &lab);
    }
    run.destroy().ok();
    for cluster in lab.clusters() {
        assert_eq!(leftovers(cluster), Vec::<String>::new(), "left in {}", cluster.name());
    }
}

/// East runs the new version, and north comes next once the proxies of east have followed.
fn proxies_have_to_follow(run: &Run<'_>, east: &Arc<Cluster>) {
    let start = |version: &str| ConnectedProxy::start(&east.wait_for_istiods(1).unwrap()[0], version);
    let (old, _new) = (start("1.30.0"), start("1.31.0"));
    let plan = upgrades(run, &[]);
    assert!(plan.contains("north stays at Istio v1.30.0 for now"), "{plan}");
    assert!(plan.contains("1 of 2 proxies of east run Istio 1.31.0, asked for are 60 %"), "{plan}");
    assert!(plan.contains("`mesh_restart_workloads`"), "{plan}");
    drop(old);
    let connected = || {
        let said = east.run(Tool::Istioctl, &["x", "internal-debug", "syncz"], None);
        // Of an istiod that does not answer nothing is known.
        said.is_ok_and(|all| all.contains("proxy-1.31.0") && !all.contains("proxy-1.30.0"))
    };
    east.wait_until("istiod to miss the proxy that left, and no other", connected).unwrap();
    upgrades(run, &["north"]);
}

/// Two clusters follow east, and share with it what a refresh asks of it.
fn a_wave_is_looked_at_once(run: &Run<'_>, lab: &Lab) {
    let main = run.workspace.path("main.tf");
    let text = std::fs::read_to_string(&main).unwrap();
    let two_waves = text.replace("[\"north\"],\n    [\"west\"],", "[\"north\", \"west\"],");
    assert_ne!(text, two_waves);
    std::fs::write(&main, two_waves).unwrap();
    run.apply().ok();
    let _proxy = ConnectedProxy::start(&lab.cluster("east").wait_for_istiods(1).unwrap()[0], "1.31.0");
    lab.clusters().iter().for_each(|cluster| cluster.reset_requests());
    run.settled();
    // The audit log is written a little later, and must say no more a moment after it has said so.
    for cluster in lab.clusters() {
        let asked = || cluster.requests().by_agent("terraform-provider-mesh").by_verb("list").by_resource("pods");
        cluster.wait_until("the audit log", || !asked().is_empty()).unwrap();
    }
    std::thread::sleep(Duration::from_secs(1));
    for cluster in lab.clusters() {
        let asked = cluster.requests().by_agent("terraform-provider-mesh");
        let told = || format!("{}: {}", cluster.name(), asked.listing());
        let count = |verb: &str, resource: &str| asked.by_verb(verb).by_resource(resource).len();
        assert_eq!(count("list", "pods"), 1, "{}", told());
        assert!(asked.by_resource("pods/portforward").len() <= 1, "{}", told());
        assert!(count("get", "deployments") == 0 && count("list", "deployments") <= 2, "{}", told());
        assert!(count("list", "leases") <= 1, "{}", told());
    }
    std::fs::write(&main, text).unwrap();
    run.apply().ok();
}

/// Waits until istiod is of this version, is available, and has read these clusters.
fn runs(cluster: &Arc<Cluster>, version: &str, names: &[&str]) {
    let available = || {
        let istiod = cluster.get(&["deployment", "istiod", "-n", "istio-system"]).unwrap().unwrap();
        let (status, generation) = (&istiod["status"], &istiod["metadata"]["generation"]);
        status["observedGeneration"] == *generation
            && status["updatedReplicas"] == 1
            && status["availableReplicas"] == 1
            && status["replicas"] == 1
    };
    let is_done = || istiod_of(cluster).0 == version && available() && synced(cluster) == names;
    cluster.wait_until(&format!("istiod of {version}, in sync"), is_done).unwrap();
}

fn named((cluster, version): (&str, &str)) -> (String, String) {
    (cluster.to_owned(), version.to_owned())
}

/// The plan changes these control planes and no others.
#[track_caller]
fn upgrades(run: &Run<'_>, clusters: &[&str]) -> String {
    let (plan, shown) = planned(run);
    let changes = shown["resource_changes"].as_array().unwrap().iter();
    let changed = changes.filter(|change| change["change"]["actions"] != json!(["no-op"]));
    let changed: Vec<String> = changed.map(|change| change["address"].as_str().unwrap().to_owned()).collect();
    let wanted: Vec<String> = clusters.iter().map(|name| format!("mesh_primary.this[\"{name}\"]")).collect();
    assert_eq!(changed, wanted, "{plan}");
    plan
}

/// The version that each control plane has after the plan.
fn planned_versions(run: &Run<'_>) -> BTreeMap<String, String> {
    let (_, shown) = planned(run);
    let changes = shown["resource_changes"].as_array().unwrap().iter();
    let primaries = changes.filter(|change| change["type"] == "mesh_primary");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    primaries.map(|change| (text(&change["index"]), text(&change["change"]["after"]["istio_version"]))).collect()
}

fn planned(run: &Run<'_>) -> (String, Value) {
    let plan = run.workspace.run(&["plan", "-input=false", "-out=step.plan"]).ok();
    let text = plan.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    let shown = run.workspace.run(&["show", "-json", "step.plan"]).ok().json();
    // Long lines are wrapped and framed.
    (text.replace("│ ", ""), shown)
}
