//! The examples that are a walk, each step a plain plan, apply and empty plan with a real CLI: what istiods do in
//! between is theirs to say.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use lab::tools::{self, Istio, Tool};
use lab::{ChartRepository, Cluster, Lab, Options};
use serde_json::{Value, json};
use terraform_provider_mesh::pki::Bundle;

use crate::ca_istiod::verifies;
use crate::examples::{no_secret_in, synced};
use crate::examples_laws::{called, is_found_whole, is_imported_whole, leftovers, outlives_an_outage};
use crate::lab_judge::{Outcome, install_istio, link, make_intermediate, make_roots};
use crate::links_topologies::Run;
use crate::queries;
use crate::rbac::IDENTITIES;
use crate::support::cli::{Cli, clis, newest};
use crate::support::workload::workload;

pub const CLUSTERS: [&str; 2] = ["east", "west"];

/// As the guide on day-two work tells it.
#[test]
fn a_root_is_rotated_by_three_plain_plans() {
    let lab = Lab::start(&CLUSTERS, Options::default()).unwrap();
    clis().iter().for_each(|cli| rotated(cli, &lab));
}

fn rotated(cli: &Cli, lab: &Lab) {
    let run = Run::of_example(cli, lab, "root-rotation").with_least_rights();
    run.set_step(&json!({ "rotation_pause": "0s" }));
    run.apply().ok();
    run.settled();
    let old = one_trust(lab, 1);

    run.set_step(&json!({ "rotation_pause": "0s", "root_generation": 2 }));
    let plan = step(&run, "step 1 of 3: widen trust");
    // Nothing of the control planes changes but what they wait for.
    assert!(!plan.contains("fields ") && !plan.contains("objects "), "{plan}");
    assert_eq!(one_trust(lab, 2), old);
    step(&run, "step 2 of 3: switch issuers");
    let new = one_trust(lab, 2);
    assert_ne!(new, old);
    step(&run, "step 3 of 3: narrow trust");
    assert_eq!(one_trust(lab, 1), new);
    run.settled();

    for name in CLUSTERS {
        assert_eq!(synced(lab.cluster(name)), CLUSTERS, "what the istiod of {name} is in sync with");
    }
    // How long a step waits stands nowhere in a cluster for an import to find.
    run.set_step(&json!({ "root_generation": 2 }));
    run.apply().ok();
    end(cli, &run, "root-rotation");
}

/// The plan of the next step, which is applied.
fn step(run: &Run<'_>, named: &str) -> String {
    let plan = run.plan();
    assert_eq!(plan.code, Some(2), "{}{}", plan.stdout, plan.stderr);
    assert!(plan.stdout.contains(named), "{}", plan.stdout);
    run.apply().ok();
    plan.stdout
}

/// Every istiod issues, every other one's roots verify it; the root that all of them issue from.
fn one_trust(lab: &Lab, trusted: usize) -> String {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut issuers = BTreeMap::new();
    for cluster in lab.clusters() {
        let chain = runtime.block_on(workload(cluster, "default", "default")).unwrap().chain;
        for judge in lab.clusters() {
            let roots = roots(judge);
            assert_eq!(roots.len(), trusted, "roots of {}", judge.name());
            let root = verifies(&chain, &roots);
            let root = root.unwrap_or_else(|error| panic!("{} refuses {}: {error}", judge.name(), cluster.name()));
            issuers.insert(root, cluster.name());
        }
    }
    assert_eq!(issuers.len(), 1, "{issuers:?}");
    issuers.into_keys().next().unwrap()
}

/// What the cluster's istiod hands out.
fn roots(cluster: &Arc<Cluster>) -> Bundle {
    let map = cluster.get(&["configmap", "istio-ca-root-cert", "-n", "default"]).unwrap().unwrap();
    Bundle::from_pem(map["data"]["root-cert.pem"].as_str().unwrap()).unwrap()
}

/// Both versions of Istio come from one Helm repository, as users have them.
#[test]
fn istio_is_upgraded_by_a_second_revision_and_a_tag() {
    let lab = Lab::start(&CLUSTERS, Options::default()).unwrap();
    let charts = ChartRepository::start().unwrap();
    clis().iter().for_each(|cli| upgraded(cli, &lab, &charts));
}

fn upgraded(cli: &Cli, lab: &Lab, charts: &ChartRepository) {
    let run = Run::of_example(cli, lab, "canary-upgrade").with_least_rights();
    let (old, new) = (json!({ "1-30": "1.30.0" }), json!({ "1-31": "1.31.0" }));
    let both = json!({ "1-30": "1.30.0", "1-31": "1.31.0" });
    let versions = |revisions: &Value, live: &str| {
        run.set_step(&json!({ "charts": { "repository": charts.url() }, "revisions": revisions, "live": live }));
    };

    versions(&old, "1-30");
    run.apply().ok();
    run.settled();
    for cluster in lab.clusters() {
        cluster.kubectl(&["create", "namespace", "shop"]).unwrap();
        cluster.kubectl(&["label", "namespace", "shop", "istio.io/rev=prod"]).unwrap();
        let account = || cluster.get(&["serviceaccount", "default", "-n", "shop"]).unwrap().is_some();
        cluster.wait_until("a service account", account).unwrap();
        assert_eq!(injected_by(cluster, "first"), "1.30.0");
    }

    versions(&both, "1-30");
    run.apply().ok();
    run.settled();
    for cluster in lab.clusters() {
        cluster.wait_for_istiods(2).unwrap();
        assert_eq!(injected_by(cluster, "second"), "1.30.0", "the tag has not moved yet");
        for revision in ["1-30", "1-31"] {
            let clusters = remote_clusters(cluster, revision);
            assert_eq!(clusters.matches("synced").count(), 2, "{revision} in {}: {clusters}", cluster.name());
        }
    }

    versions(&both, "1-31");
    run.apply().ok();
    run.settled();
    for cluster in lab.clusters() {
        assert_eq!(injected_by(cluster, "third"), "1.31.0", "the tag has moved");
    }

    versions(&new, "1-31");
    run.apply().ok();
    run.settled();
    for cluster in lab.clusters() {
        assert_eq!(injected_by(cluster, "fourth"), "1.31.0");
        let one = || cluster.istiods().len() == 1;
        cluster.wait_until("the old istiod is gone", one).unwrap();
        let deployments = cluster.kubectl(&["get", "deployments", "-n", "istio-system", "-o", "name"]).unwrap();
        assert!(!deployments.contains("1-30") && deployments.contains("1-31"), "{deployments}");
        let tags = cluster.run(Tool::Istioctl, &["tag", "list"], None).unwrap();
        let prod = tags.lines().find(|line| line.starts_with("prod")).unwrap_or_default();
        assert!(prod.contains("1-31"), "{tags}");
        let definitions = cluster.get(&["customresourcedefinitions", "gateways.networking.istio.io"]).unwrap().unwrap();
        assert!(definitions["metadata"]["labels"].to_string().contains("1.31.0"), "{}", definitions["metadata"]);
        cluster.kubectl(&["delete", "namespace", "shop"]).unwrap();
    }
    end(cli, &run, "canary-upgrade");
}

fn remote_clusters(cluster: &Arc<Cluster>, revision: &str) -> String {
    cluster.run(Tool::Istioctl, &["remote-clusters", "--revision", revision], None).unwrap()
}

/// The version of the proxy that a new Pod gets.
fn injected_by(cluster: &Arc<Cluster>, name: &str) -> String {
    cluster.kubectl(&["run", name, "-n", "shop", "--image=web"]).unwrap();
    let pod = cluster.get(&["pod", name, "-n", "shop"]).unwrap().unwrap();
    let containers = [&pod["spec"]["initContainers"], &pod["spec"]["containers"]];
    let mut images = containers.into_iter().flat_map(|list| list.as_array().into_iter().flatten());
    let proxy = images.find(|container| container["name"] == "istio-proxy").expect("a proxy");
    proxy["image"].as_str().unwrap().rsplit(':').next().unwrap().to_owned()
}

/// Made with openssl, helm and istioctl as Istio's documentation tells; then taken over by `import` blocks.
#[test]
fn a_mesh_of_helm_and_istioctl_is_taken_over_as_it_runs() {
    // What helm leaves behind is no ground for a second mesh: clusters of its own for each CLI.
    for cli in clis() {
        taken_over(&cli, &Lab::start(&CLUSTERS, Options::default()).unwrap());
    }
}

fn taken_over(cli: &Cli, lab: &Lab) {
    let pems = lab.dir().join("pems");
    made_by_hand(lab, &pems).unwrap_or_else(|error| panic!("{}", lab::describe(&*error)));
    let before = lab.clusters().iter().map(running).collect::<Vec<_>>();
    let run = adopting(cli, lab, &pems);
    let plan = run.workspace.run(&["plan", "-input=false", "-out=plan"]).ok();
    assert!(plan.stdout.contains("Plan: 7 to import, 0 to add, 7 to change, 0 to destroy."), "{}", plan.stdout);
    let plan = run.workspace.run(&["show", "-json", "plan"]).ok().json();
    for change in plan["resource_changes"].as_array().unwrap() {
        let (before, after) = (&change["change"]["before"], &change["change"]["after"]);
        match change["type"].as_str().unwrap() {
            "mesh_primary" | "mesh_eastwest_gateway" => {
                assert_eq!(before["objects"], after["objects"], "{}", change["address"]);
                assert_eq!(before["changes"], after["changes"], "{}", change["address"]);
            }
            "mesh_ca" => {
                let serial = |state: &Value, name| state["clusters"][name]["serial"].clone();
                for name in CLUSTERS {
                    assert!(serial(before, name).is_string(), "{before}");
                    assert_eq!(serial(before, name), serial(after, name), "an intermediate is issued anew");
                }
            }
            _ => {}
        }
    }
    run.apply().ok();
    run.settled();
    for name in CLUSTERS {
        assert_eq!(synced(lab.cluster(name)), CLUSTERS, "what the istiod of {name} is in sync with");
    }
    assert_eq!(lab.clusters().iter().map(running).collect::<Vec<_>>(), before, "no istiod was restarted");
    no_secret_in(&run.workspace.path("terraform.tfstate"), lab);
    outlives_an_outage(&run.workspace, lab.cluster("west"));

    // Imported, and no longer said to be: the blocks can go.
    let main = std::fs::read_to_string(run.workspace.path("main.tf")).unwrap();
    std::fs::write(run.workspace.path("main.tf"), main.split("\nimport {").next().unwrap()).unwrap();
    run.settled();
    for cluster in lab.clusters() {
        cluster.kubectl(&["delete", "secrets", "-n", "istio-system", "-l", "owner=helm"]).unwrap();
    }
    run.destroy().ok();
    // A namespace that the provider did not make is not its to remove, and Kubernetes keeps two objects in each.
    let stays =
        ["Namespace  istio-system", "ServiceAccount istio-system default", "ConfigMap istio-system kube-root-ca.crt"];
    for cluster in lab.clusters() {
        assert_eq!(leftovers(cluster), stays, "left in {}", cluster.name());
    }
}

/// The example, with the root that was made by hand.
pub fn adopting<'a>(cli: &Cli, lab: &'a Lab, pems: &Path) -> Run<'a> {
    let run = Run::of_example(cli, lab, "adoption").with_least_rights();
    run.variables(&CLUSTERS);
    let pem = |name: &str| std::fs::read_to_string(pems.join(name)).unwrap();
    run.set_step(&json!({ "root_certificate": pem("root-cert.pem"), "root_private_key": pem("root-key.pem") }));
    run
}

/// First none of it is this provider's, then all of it but for what is in one cluster, and what leads there.
#[test]
fn a_mesh_of_three_is_found_whoever_has_made_it() {
    let Some(newest) = newest() else { return };
    let lab = Lab::start(&["east", "north", "west"], Options::default()).unwrap();
    let pems = lab.dir().join("pems");
    made_by_hand(&lab, &pems).unwrap_or_else(|error| panic!("{}", lab::describe(&*error)));
    is_found_as_others_made_it(&Run::of_example(&newest, &lab, "adoption").with_least_rights());

    adopting(&newest, &lab, &pems).apply().ok();
    let run = Run::of_example(&newest, &lab, "adoption").with_least_rights();
    let said = queries::search(&run.workspace, &json!({})).ok().stdout;
    for found in [
        "east/istio-system/istiod, Istio 1.31.0, by this provider",
        "west/istio-system/istio-eastwestgateway, network net-west, by this provider",
        "north/istio-system/istiod, Istio 1.31.0, by Helm",
        "north/istio-system/istio-eastwestgateway, network net-north, by Helm",
        "north/istio-system/north, watched by east, west",
        "west/istio-system/west, watched by east, north, by this provider",
    ] {
        assert!(said.contains(found), "{found}: {said}");
    }
    for (managed, clusters) in [(true, &["\"east\"", "\"west\""][..]), (false, &["\"north\""])] {
        queries::search(
            &run.workspace,
            &json!({ "mesh_ca": { "cluster": "east", "managed": managed },
            "mesh_primary": { "managed": managed }, "mesh_eastwest_gateway": { "network": "none" },
            "mesh_remote_cluster": { "namespace": "none" } }),
        )
        .ok();
        let written = std::fs::read_to_string(run.workspace.path("found.tf")).unwrap();
        assert_eq!(clusters_of(&written, "mesh_primary"), clusters, "{written}");
    }
    for file in
        ["found.tf", "terraform.tfstate"].map(|file| run.workspace.path(file)).iter().filter(|file| file.exists())
    {
        no_secret_in(file, &lab);
    }
}

/// A search finds what helm, openssl and istioctl made, and writes a configuration of it that takes nothing over by
/// itself: a plan imports it, changes nothing, and says what that means.
fn is_found_as_others_made_it(run: &Run<'_>) {
    let workspace = &run.workspace;
    let said = queries::search(workspace, &json!({})).ok().stdout;
    for found in [
        "east/istio-system/cacerts, root O=Istio, CN=Root of east, north, west",
        "west/istio-system/istiod, Istio 1.31.0, by Helm",
        "east/istio-system/istio-eastwestgateway, network net-east, by Helm",
        "west/istio-system/west, watched by east, north",
    ] {
        assert!(said.contains(found), "{found}: {said}");
    }
    let plan = workspace.run(&["plan", "-input=false"]).ok().stdout;
    assert!(plan.contains("Plan: 10 to import, 0 to add, 0 to change, 0 to destroy."), "{plan}");
    for word in ["The certificates stay as they were found", "The link to west stays as it was found", "`adopt = true`"]
    {
        assert!(plan.contains(word), "{word}: {plan}");
    }
    workspace.run(&["apply", "-auto-approve", "-input=false"]).ok();
    workspace.is_settled();
    assert!(run.lab.clusters().iter().all(is_untouched), "nothing was written");
    for file in ["found.tf", "terraform.tfstate"] {
        no_secret_in(&workspace.path(file), run.lab);
    }
    let filters = json!({
        "mesh_ca": { "managed": true }, "mesh_primary": { "cluster": "west", "managed": false }, "mesh_eastwest_gateway": { "network": "net-south" },
        "mesh_remote_cluster": { "watcher": "east" }, "mesh_service_entry": { "namespace": "shop" },
    });
    queries::search(workspace, &filters).ok();
    let written = std::fs::read_to_string(workspace.path("found.tf")).unwrap();
    let found: Vec<&str> = written.lines().filter(|line| line.starts_with("resource ")).collect();
    let of_type = |name: &str| found.iter().filter(|line| line.contains(name)).count();
    assert_eq!((found.len(), of_type("\"mesh_remote_cluster\""), of_type("\"mesh_primary\"")), (3, 2, 1), "{written}");
    assert_eq!(clusters_of(&written, "mesh_remote_cluster"), ["\"north\"", "\"west\""], "{written}");
    assert_eq!(clusters_of(&written, "mesh_primary"), ["\"west\""], "{written}");
}

/// The clusters that a written configuration gives to its resources of a type, sorted.
fn clusters_of<'a>(written: &'a str, kind: &str) -> Vec<&'a str> {
    let named = format!("\"{kind}\"");
    let blocks = written.split("\nresource ").filter(|block| block.starts_with(&named));
    let mut clusters: Vec<&str> = blocks
        .filter_map(|block| block.lines().find_map(|line| line.trim().strip_prefix("cluster ")))
        .map(|value| value.trim().trim_start_matches('=').trim())
        .collect();
    clusters.sort_unstable();
    clusters
}

/// Whether this provider has written anything, by who Kubernetes says wrote what.
fn is_untouched(cluster: &Arc<Cluster>) -> bool {
    let kinds = "secrets,serviceaccounts,configmaps,services,deployments.apps,leases,clusterroles,clusterrolebindings,roles,rolebindings,\
                 gateways.networking.istio.io,customresourcedefinitions,mutatingwebhookconfigurations";
    let all = ["get", kinds, "--all-namespaces", "--show-managed-fields", "-o", "json"];
    let all: Value = serde_json::from_str(&cluster.kubectl(&all).unwrap()).unwrap();
    let all = all["items"].as_array().unwrap().iter().filter(|object| !IDENTITIES.contains(&called(object).as_str()));
    let written: Vec<String> = all.map(Value::to_string).collect();
    assert!(written.iter().any(|object| object.contains("\"manager\":\"helm\"")), "managers are shown");
    !written.iter().any(|object| object.contains("terraform-provider-mesh"))
}

pub fn made_by_hand(lab: &Lab, pems: &Path) -> Outcome {
    std::fs::create_dir(pems)?;
    make_roots(pems)?;
    let gateway = tools::charts(Istio::Current)?.folder("gateway").display().to_string();
    for cluster in lab.clusters() {
        make_intermediate(pems, cluster.name())?;
        install_istio(cluster, pems)?;
        let network = format!("networkGateway=net-{}", cluster.name());
        let install = ["install", "istio-eastwestgateway", &gateway, "-n", "istio-system", "--set", &network];
        cluster.run(Tool::Helm, &install, None)?;
        let opened = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "Gateway",
            "metadata": { "name": "cross-network-gateway", "namespace": "istio-system" },
            "spec": {
                "selector": { "istio": "eastwestgateway" },
                "servers": [{
                    "port": { "number": 15443, "name": "tls", "protocol": "TLS" },
                    "tls": { "mode": "AUTO_PASSTHROUGH" },
                    "hosts": ["*.local"],
                }],
            },
        });
        cluster.apply(&opened.to_string())?;
    }
    for (watcher, watched) in lab.clusters().iter().flat_map(|one| lab.clusters().iter().map(move |other| (one, other)))
    {
        if watcher.name() != watched.name() {
            link(watched, watcher)?;
        }
    }
    Ok(())
}

/// Names of the istiods: a restart gives another.
pub fn running(cluster: &Arc<Cluster>) -> Vec<String> {
    cluster.istiods().iter().map(|istiod| istiod.pod().to_owned()).collect()
}

/// What holds for every example that is applied, whatever has become of it on the way.
fn end(cli: &Cli, run: &Run<'_>, example: &str) {
    no_secret_in(&run.workspace.path("terraform.tfstate"), run.lab);
    outlives_an_outage(&run.workspace, run.lab.cluster("west"));
    let other = |cli: &Cli| {
        let other = Run::of_example(cli, run.lab, example).with_least_rights();
        other.same_step_as(run);
        other
    };
    is_imported_whole(&run.workspace, &other(cli).workspace);
    if cli.name == "terraform"
        && let Some(newest) = newest()
    {
        is_found_whole(&[&run.workspace], &other(&newest).workspace, run.lab);
    }
    run.destroy().ok();
    for cluster in run.lab.clusters() {
        assert_eq!(leftovers(cluster), Vec::<String>::new(), "left in {}", cluster.name());
    }
}
