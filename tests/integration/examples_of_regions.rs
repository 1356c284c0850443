//! Large meshes: regions with zones, and a state for each cluster. One lab for both, since what they share is its
//! price.

use lab::{Fault, Lab, Options};
use serde_json::{Value, json};

use crate::examples::{no_secret_in, synced};
use crate::examples_laws::{all_is_complete, is_found_whole, is_imported_whole, is_written_whole, outlives_an_outage};
use crate::links_topologies::{Run, injected_as, nothing_is_left, page_says, service, web};
use crate::rbac::least_rights;
use crate::support::cli::{Cli, Workspace, clis, newest};

/// The second is a zone of the first one's region.
const CLUSTERS: [&str; 3] = ["east", "east-b", "west"];

#[test]
fn regions_and_states_of_their_own() {
    let Some(cli) = clis().into_iter().next_back() else { return };
    let lab = Lab::start(&CLUSTERS, Options::default()).unwrap();
    regions_with_zones(&cli, &lab);
    a_state_for_each_cluster(&cli, &lab);
}

fn regions_with_zones(cli: &Cli, lab: &Lab) {
    let regions = json!({ "east": { "primary": "east", "zones": ["east-b"] }, "west": { "primary": "west" } });
    let of_example = |cli: &Cli| {
        let run = Run::of_example(cli, lab, "regional").with_least_rights();
        let file = run.workspace.path("regions.auto.tfvars.json");
        std::fs::write(file, json!({ "regions": regions }).to_string()).unwrap();
        run
    };
    let run = of_example(cli);
    run.apply().ok();
    all_is_complete(lab);
    run.settled();
    let (east, zone, west) = (lab.cluster("east"), lab.cluster("east-b"), lab.cluster("west"));
    assert_eq!((synced(east), synced(west)), (CLUSTERS.map(str::to_owned).into(), CLUSTERS.map(str::to_owned).into()));
    // The zone is served by its own region, and called from the other one through the gateway of the region.
    let pod = web(zone);
    injected_as(zone, "east-b", "east");
    service(west);
    let door = east.get(&["service", "istio-eastwestgateway", "-n", "istio-system"]).unwrap().unwrap();
    let door = door["status"]["loadBalancer"]["ingress"][0]["ip"].as_str().unwrap().to_owned();
    page_says(west, "networkz", &["east", &door, "15443"]);
    page_says(west, "endpointShardz", &["web.shop.svc.cluster.local", &pod, "east"]);
    no_secret_in(&run.workspace.path("terraform.tfstate"), lab);
    outlives_an_outage(&run.workspace, zone);
    is_imported_whole(&run.workspace, &of_example(cli).workspace);
    is_written_whole(&run.workspace, &of_example(cli).workspace, lab);
    if let Some(newest) = newest() {
        is_found_whole(&[&run.workspace], &of_example(&newest).workspace, lab);
    }
    run.destroy().ok();
    nothing_is_left(lab);
}

/// A folder of the example, with a state of its own.
fn state(cli: &Cli, lab: &Lab, folder: &str, more: Value) -> Workspace {
    let run = Run::of_example(cli, lab, &format!("split-state/{folder}"));
    run.variables(&["east", "west"]);
    least_rights(&run.workspace, lab, &["east", "west"]);
    std::fs::write(run.workspace.path("more.auto.tfvars.json"), more.to_string()).unwrap();
    run.workspace
}

/// Every state has nothing to do, every istiod reads both clusters, and the check across them has nothing to say.
fn linked(lab: &Lab, states: &[&Workspace]) {
    for name in ["east", "west"] {
        let cluster = lab.cluster(name);
        cluster.wait_until("its istiod to read both", || synced(cluster) == ["east", "west"]).unwrap();
    }
    for state in states {
        let plan = state.run(&["plan", "-detailed-exitcode", "-input=false"]);
        let said = format!("{}{}", plan.stdout, plan.stderr);
        assert!(plan.code == Some(0) && !said.contains("Check block assertion failed"), "{said}");
    }
}

/// What only one of the clusters has is told by the plan and by the check, and with the others having it too nobody
/// says a word; what may not be read is unknown.
fn rules_are_compared(lab: &Lab, state: &Workspace) {
    let (east, west) = (lab.cluster("east"), lab.cluster("west"));
    let rule = |errors: u32| {
        let policy = json!({ "outlierDetection": { "consecutive5xxErrors": errors } });
        let metadata = json!({ "name": "web", "namespace": "shop" });
        let spec = json!({ "host": "web", "trafficPolicy": policy });
        json!({ "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": metadata, "spec": spec })
            .to_string()
    };
    let plan = || {
        let plan = state.run(&["plan", "-detailed-exitcode", "-input=false"]);
        assert_eq!(plan.code, Some(0), "{}{}", plan.stdout, plan.stderr);
        let said = format!("{}{}", plan.stdout, plan.stderr).replace('│', " ");
        said.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let differs = "Services of the mesh are configured differently by cluster";
    let found = |said: &str, finding: &str| said.contains(differs) && said.matches(finding).count() >= 2;
    service(west);
    service(east);
    east.apply(&rule(5)).unwrap();
    let missing = "DestinationRule shop/web (for web.shop.svc) is in east, and missing in west";
    let said = plan();
    assert!(found(&said, missing), "{said}");
    west.apply(&rule(7)).unwrap();
    let unlike =
        "(for web.shop.svc) differs between east and west: spec.trafficPolicy.outlierDetection.consecutive5xxErrors";
    let said = plan();
    assert!(found(&said, unlike), "{said}");
    west.apply(&rule(5)).unwrap();
    let said = plan();
    assert!(!said.contains("Warning") || said.contains("development overrides") && !said.contains(differs), "{said}");
    assert!(!said.contains("Check block assertion failed"), "{said}");

    let forbidden = Fault::status(403)
        .for_agent("terraform-provider-mesh")
        .for_request("GET /apis/networking.istio.io/v1/virtualservices");
    west.fault(forbidden).unwrap();
    let said = plan();
    west.clear_faults().unwrap();
    assert!(said.contains("Whether west has the rules of the other clusters is unknown"), "{said}");
    assert!(
        said.contains("west: whether it has the DestinationRules and VirtualServices of the other clusters"),
        "{said}"
    );
    for cluster in [east, west] {
        cluster.kubectl(&["delete", "namespace", "shop"]).unwrap();
    }
}

/// Made in one order, and after one of them is gone in the other.
fn a_state_for_each_cluster(cli: &Cli, lab: &Lab) {
    let trust = state(cli, lab, "trust", json!({}));
    let path = trust.path("terraform.tfstate");
    let of = |cluster: &str| state(cli, lab, "cluster", json!({ "cluster": cluster, "trust_state": path }));
    let (east, west) = (of("east"), of("west"));
    let apply = |state: &Workspace| state.run(&["apply", "-auto-approve", "-input=false"]).ok();
    let destroy = |state: &Workspace| state.run(&["destroy", "-auto-approve", "-input=false"]).ok();
    apply(&trust);
    let first = apply(&east);
    let said = format!("{}{}", first.stdout, first.stderr);
    assert!(said.contains("Check block assertion failed") && said.contains("west"), "what is still to come: {said}");
    apply(&west);
    linked(lab, &[&trust, &east, &west]);
    rules_are_compared(lab, &east);

    destroy(&east);
    west.is_settled();
    trust.is_settled();
    for state in [&trust, &west] {
        no_secret_in(&state.path("terraform.tfstate"), lab);
    }
    apply(&east);
    linked(lab, &[&trust, &east, &west]);

    // `wait` only directs the provider: no cluster knows it, so an import takes it to be as it is by default.
    let imported = of("east");
    let main = std::fs::read_to_string(imported.path("main.tf")).unwrap();
    let waits = main.replace("  wait                  = false\n", "");
    assert_ne!(waits, main);
    std::fs::write(imported.path("main.tf"), waits).unwrap();
    is_imported_whole(&east, &imported);
    is_imported_whole(&trust, &state(cli, lab, "trust", json!({})));
    is_written_whole(&trust, &state(cli, lab, "trust", json!({})), lab);
    is_written_whole(&east, &of("east"), lab);
    if let Some(newest) = newest() {
        // What all of them know is found by one search.
        is_found_whole(&[&trust, &east, &west], &state(&newest, lab, "trust", json!({})), lab);
    }
    for state in [&west, &east, &trust] {
        destroy(state);
    }
    nothing_is_left(lab);
}
