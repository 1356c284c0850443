//! Actions, by a Terraform of today: workloads whose proxies are behind are restarted, one after the other, and nothing
//! else is; by hand, and as the end of an upgrade and of a step of a rotation.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use lab::{ChartRepository, Cluster, Lab, Options};
use serde_json::{Value, json};
use terraform_provider_mesh::diag::Diagnostics;
use terraform_provider_mesh::engine::rpc::{Action, InvokeActionEvent};
use terraform_provider_mesh::provider::Mesh;
use terraform_provider_mesh::resources::registry;

use crate::rbac;
use crate::support::cli::{Said, Workspace, clis, newest};
use crate::support::core::{self, Core};
use crate::support::plugin_process::BINARY;

const PROVIDER: &str = r#"
terraform {
  required_providers {
    mesh = { source = "terraform-provider-mesh/mesh" }
  }
}

variable "kubeconfig" { type = string }
variable "charts" { type = string }
variable "namespaces" {
  type    = list(string)
  default = ["shop"]
}
variable "rollout_timeout" { default = "1m" }

provider "mesh" {
  clusters = { east = { config_path = var.kubeconfig } }
  charts   = { repository = var.charts }
}
"#;

const VARIABLES: &str = r#"
variable "istio_version" { type = string }
variable "generation" { default = 1 }
"#;

/// What is restarted after a change of the control plane, and by hand.
const ACTION: &str = r#"
action "mesh_restart_workloads" "shop" {
  config {
    cluster         = "east"
    namespaces      = var.namespaces
    rollout_timeout = var.rollout_timeout
  }
}
"#;

/// After a change of the roots. It names what triggers it.
const ROOTS: &str = r#"
action "mesh_restart_workloads" "roots" {
  config {
    cluster           = "east"
    namespaces        = var.namespaces
    behind_by         = ["roots"]
    root_certificates = mesh_ca.this.root_certificates
  }
}
"#;

/// A mesh of one cluster, with what is in the resources beside their arguments.
fn mesh(ca: &str, primary: &str) -> String {
    format!(
        r#"{VARIABLES}
resource "mesh_ca" "this" {{
  root           = {{ store = {{ cluster = "east" }}, generation = var.generation }}
  clusters       = {{ east = {{}} }}
  rotation_pause = "0s"
  {ca}
}}

resource "mesh_primary" "east" {{
  cluster       = "east"
  mesh_id       = "mesh1"
  istio_version = var.istio_version
  trust_root    = mesh_ca.this.root_fingerprint
  {primary}
}}
"#
    )
}

/// Invokes an action of that name after each update.
fn then(action: &str) -> String {
    format!(
        "lifecycle {{\n    action_trigger {{\n      events  = [after_update]\n      actions = [action.mesh_restart_workloads.{action}]\n    }}\n  }}"
    )
}

/// What is behind in shop, by the names of its Pods.
const OF_SHOP: [&str; 3] = ["shop/cart", "shop/db", "shop/log"];

const INVOKE: [&str; 4] = ["apply", "-auto-approve", "-input=false", "-invoke=action.mesh_restart_workloads.shop"];

#[test]
fn workloads_whose_proxies_are_behind_are_restarted_and_no_others() {
    let Some(cli) = newest() else { return };
    let lab = Lab::start(&["east"], Options::default()).unwrap();
    let charts = ChartRepository::start().unwrap();
    let east = lab.cluster("east");
    let workspace = Workspace::overriding(&cli, "terraform-provider-mesh/mesh", Path::new(BINARY).parent().unwrap());
    workspace.configure(&[PROVIDER, &mesh(&then("roots"), &then("shop")), ACTION, ROOTS].concat());
    let variables = |more: Value| {
        let mut variables = json!({ "kubeconfig": east.kubeconfig_path(), "charts": charts.url() });
        variables.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        std::fs::write(workspace.path("lab.auto.tfvars.json"), variables.to_string()).unwrap();
    };
    variables(json!({ "istio_version": "1.30.0" }));
    workspace.run(&["apply", "-auto-approve", "-input=false"]).ok();
    for namespace in ["shop", "other"] {
        inhabited(east, namespace);
    }
    let made = pods(east);

    let said = workspace.run(&INVOKE).ok();
    assert!(said.stdout.contains("shop: nothing is behind. Workloads with a proxy: 4."), "{}", said.stdout);
    assert_eq!(pods(east), made, "nothing was restarted");

    // The upgrade, and the action that it triggers.
    variables(json!({ "istio_version": "1.31.0" }));
    review_says_so(&workspace);
    let said = workspace.run(&["apply", "-auto-approve", "-input=false"]).ok();
    let progress = restarted(&said);
    let of_shop = ["DaemonSet shop/log", "Deployment shop/cart", "StatefulSet shop/db"];
    assert_eq!(progress, of_shop.map(str::to_owned), "one after the other: {}", said.stdout);
    assert!(said.stdout.contains("1.30.0, and would be"), "{}", said.stdout);
    assert!(said.stdout.contains("Deployment shop/held: its rollout is paused"), "{}", said.stdout);
    assert!(said.stdout.contains("Pod shop/alone: no Deployment"), "{}", said.stdout);
    let upgraded = pods(east);
    changed_alone(&made, &upgraded, &OF_SHOP);
    for (pod, (_, image)) in upgraded.iter().filter(|(pod, _)| of(pod, &OF_SHOP)) {
        assert!(image.ends_with(":1.31.0"), "{pod}: {image}");
    }
    workspace.is_settled();
    let again = workspace.run(&INVOKE).ok();
    assert!(restarted(&again).is_empty(), "{}", again.stdout);

    // The first step of a rotation: every cluster trusts the new root beside the old one.
    std::thread::sleep(std::time::Duration::from_secs(1));
    variables(json!({ "istio_version": "1.31.0", "generation": 2 }));
    let said = workspace.run(&["apply", "-auto-approve", "-input=false"]).ok();
    assert!(said.stdout.contains("older than the roots of its namespace"), "{}", said.stdout);
    assert_eq!(restarted(&said), of_shop.map(str::to_owned), "{}", said.stdout);
    let rotated = pods(east);
    changed_alone(&upgraded, &rotated, &OF_SHOP);

    refuses_what_it_cannot_judge(&workspace, east);
    stops_at_a_rollout_that_does_not_finish(&workspace, east);
    needs_no_more_than_its_role(&workspace, east);
}

/// The page of the plan says that workloads follow in the same apply, and by which action.
fn review_says_so(workspace: &Workspace) {
    workspace.run(&["plan", "-input=false", "-out=upgrade.plan"]).ok();
    let plan = workspace.run(&["show", "-json", "upgrade.plan"]).ok().stdout;
    std::fs::write(workspace.path("upgrade.json"), plan).unwrap();
    let page = Command::new(BINARY).arg("review").arg(workspace.path("upgrade.json")).output().unwrap();
    let page = String::from_utf8(page.stdout).unwrap();
    let row = "| 4 | `east` | workloads whose proxies are behind, in `shop` | one by one | \
               `action.mesh_restart_workloads.shop` |";
    assert!(page.contains(row), "{page}");
}

/// Without its label the namespace would lose its proxies by a restart.
fn refuses_what_it_cannot_judge(workspace: &Workspace, east: &Arc<Cluster>) {
    let before = pods(east);
    east.kubectl(&["label", "namespace", "shop", "istio-injection-"]).unwrap();
    let said = workspace.run(&INVOKE);
    assert_eq!(said.code, Some(1), "{}", said.stdout);
    assert!(said.stderr.contains("Nothing was restarted"), "{}", said.stderr);
    assert!(said.stderr.contains("Deployment shop/cart has a proxy, and a new Pod of it would"), "{}", said.stderr);
    east.kubectl(&["label", "namespace", "shop", "istio-injection=enabled"]).unwrap();
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "full", "namespace": "shop"},
        "spec": {"hard": {"pods": "1"}},
    });
    east.apply(&quota.to_string()).unwrap();
    let counted = || {
        let quota = east.get(&["resourcequota", "full", "-n", "shop"]).unwrap().unwrap_or_default();
        quota["status"]["used"]["pods"].is_string()
    };
    east.wait_until("the quota to count", counted).unwrap();
    let said = workspace.run(&INVOKE);
    assert_eq!(said.code, Some(1), "{}", said.stdout);
    assert!(said.stderr.contains("Nothing was restarted") && said.stderr.contains("exceeded quota"), "{}", said.stderr);
    east.kubectl(&["delete", "resourcequota", "full", "-n", "shop"]).unwrap();
    assert_eq!(pods(east), before, "nothing was restarted");
}

/// New Pods find no node: the first workload is the last, the old Pods stay, and the next run continues.
fn stops_at_a_rollout_that_does_not_finish(workspace: &Workspace, east: &Arc<Cluster>) {
    roots_are_written_again(east);
    let nodes = east.kubectl(&["get", "nodes", "-o", "name"]).unwrap();
    let nodes: Vec<&str> = nodes.lines().collect();
    nodes.iter().for_each(|node| drop(east.kubectl(&["cordon", node]).unwrap()));
    let before = pods(east);
    // Each workload has so long: the DaemonSet must come to its end in it, and the Deployment waits it out.
    let said = workspace.run(&[&INVOKE[..], &["-var=rollout_timeout=25s"]].concat());
    assert_eq!(said.code, Some(1), "{}", said.stdout);
    // The controller of a DaemonSet asks no scheduler.
    assert_eq!(restarted(&said), ["DaemonSet shop/log", "Deployment shop/cart"], "{}", said.stdout);
    let words = said.stderr.replace(['\n', '│'], " ").split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("A rollout did not finish"), "{words}");
    assert!(words.contains("Restarted before: 1. Not restarted: StatefulSet shop/db."), "{words}");
    let stuck = pods(east);
    let of_cart = before.iter().filter(|(pod, _)| of(pod, &["shop/cart"]));
    assert_eq!(of_cart.filter(|(pod, _)| stuck.contains_key(*pod)).count(), 2, "the old Pods stay");
    nodes.iter().for_each(|node| drop(east.kubectl(&["uncordon", node]).unwrap()));
    available(east, "shop");
    let said = workspace.run(&INVOKE).ok();
    assert_eq!(restarted(&said), ["StatefulSet shop/db"], "{}", said.stdout);
    changed_alone(&before, &pods(east), &OF_SHOP);
}

/// From now on every Pod of shop is older than its roots.
fn roots_are_written_again(east: &Arc<Cluster>) {
    // The API server tells times by the second.
    std::thread::sleep(std::time::Duration::from_secs(1));
    let patch = json!({ "data": { "root-cert.pem": "" } }).to_string();
    east.kubectl(&["patch", "configmap", "istio-ca-root-cert", "-n", "shop", "--type=merge", "-p", &patch]).unwrap();
    let given = || {
        let map = east.get(&["configmap", "istio-ca-root-cert", "-n", "shop"]).unwrap().unwrap_or_default();
        map["data"]["root-cert.pem"].as_str().is_some_and(|text| !text.is_empty())
    };
    east.wait_until("istiod to write the roots again", given).unwrap();
}

/// The rights of examples/rbac/restarts.yaml, in that namespace alone.
fn needs_no_more_than_its_role(workspace: &Workspace, east: &Arc<Cluster>) {
    let file = workspace.path("restarts.kubeconfig");
    rbac::may_restart(east, "shop", &file);
    let executables = Path::new(BINARY).parent().unwrap();
    let restarts = Workspace::overriding(&newest().unwrap(), "terraform-provider-mesh/mesh", executables);
    restarts.configure(&[PROVIDER, ACTION].concat());
    let variables = json!({ "kubeconfig": file, "charts": "https://charts.example" });
    std::fs::write(restarts.path("lab.auto.tfvars.json"), variables.to_string()).unwrap();
    roots_are_written_again(east);
    let before = pods(east);
    let said = restarts.run(&INVOKE).ok();
    assert_eq!(restarted(&said).len(), 3, "{}", said.stdout);
    changed_alone(&before, &pods(east), &OF_SHOP);
    let elsewhere = restarts.run(&[&INVOKE[..], &["-var=namespaces=[\"other\"]"]].concat());
    assert_eq!(elsewhere.code, Some(1), "{}", elsewhere.stdout);
    assert!(elsewhere.stderr.contains("Not allowed in the cluster"), "{}", elsewhere.stderr);
}

/// The CLIs that know no actions take the provider as before.
#[test]
fn a_cli_without_actions_is_not_disturbed() {
    for cli in clis() {
        let workspace =
            Workspace::overriding(&cli, "terraform-provider-mesh/mesh", Path::new(BINARY).parent().unwrap());
        workspace.configure(&[PROVIDER, &mesh("", "")].concat());
        workspace.run(&["validate"]).ok();
        let schema = workspace.run(&["providers", "schema", "-json"]).ok().json();
        let schema = schema["provider_schemas"].as_object().unwrap().values().next().unwrap().clone();
        assert!(schema["resource_schemas"]["mesh_ca"].is_object(), "{}", cli.name);
        assert!(schema["action_schemas"].is_null(), "{} has come to know actions: test more", cli.name);
    }
}

#[tokio::test]
async fn a_cluster_that_does_not_answer_is_an_error_of_the_action() {
    let clusters = json!({ "east": { "host": "https://127.0.0.1:1", "insecure": true } });
    let core = Core::new(Mesh, registry(), json!({ "clusters": clusters })).await.unwrap();
    let told = invoked(&core, "mesh_restart_workloads", json!({ "cluster": "east", "namespaces": ["shop"] })).await;
    assert!(told.iter().any(|one| one.summary == "The cluster cannot be reached"), "{told}");
    let told = invoked(&core, "mesh_restart_workloads", json!({ "cluster": "north", "namespaces": ["shop"] })).await;
    assert!(told.iter().any(|one| one.summary == "No such cluster"), "{told}");
    let schema = &core.engine.schema().actions["mesh_restart_workloads"];
    let config = core::encode(&core::value(&json!({}), &schema.ty()), schema);
    let unknown =
        core.engine.plan_action(Action { type_name: "mesh_nothing".into(), config, ..Action::default() }).await;
    assert!(unknown.diagnostics.has_errors());
}

async fn invoked(core: &Core, type_name: &str, config: Value) -> Diagnostics {
    let schema = &core.engine.schema().actions[type_name];
    let config = core::encode(&core::value(&config, &schema.ty()), schema);
    let action = Action { type_name: type_name.to_owned(), config, ..Action::default() };
    let mut events = core.engine.invoke_action(action);
    while let Some(event) = events.recv().await {
        if let InvokeActionEvent::Completed(diagnostics) = event {
            return diagnostics;
        }
    }
    panic!("an action ends by saying so")
}

/// An injected namespace with a workload of each kind, one whose rollout is paused, one that is not injected, and a Pod
/// of its own.
fn inhabited(cluster: &Arc<Cluster>, namespace: &str) {
    cluster.kubectl(&["create", "namespace", namespace]).unwrap();
    cluster.kubectl(&["label", "namespace", namespace, "istio-injection=enabled"]).unwrap();
    let account = || cluster.get(&["serviceaccount", "default", "-n", namespace]).is_ok_and(|found| found.is_some());
    cluster.wait_until("a service account", account).unwrap();
    let template = |labels: Value| {
        json!({
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "app", "image": "app", "volumeMounts": []}]},
        })
    };
    let workload = |kind: &str, name: &str, more: Value| {
        // One of them asks for no proxy.
        let labels = match name {
            "batch" => json!({"app": name, "sidecar.istio.io/inject": "false"}),
            _ => json!({"app": name}),
        };
        let mut spec = json!({ "selector": {"matchLabels": {"app": name}}, "template": template(labels) });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let metadata = json!({ "name": name, "namespace": namespace });
        let object = json!({ "apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": spec });
        cluster.apply(&object.to_string()).unwrap();
    };
    workload("Deployment", "cart", json!({ "replicas": 2 }));
    workload("Deployment", "held", json!({ "replicas": 1 }));
    workload("Deployment", "batch", json!({ "replicas": 1 }));
    workload("StatefulSet", "db", json!({ "replicas": 2, "serviceName": "db" }));
    workload("DaemonSet", "log", json!({}));
    cluster.kubectl(&["run", "alone", "-n", namespace, "--image=app"]).unwrap();
    available(cluster, namespace);
    cluster.kubectl(&["rollout", "pause", "deployment/held", "-n", namespace]).unwrap();
}

fn available(cluster: &Arc<Cluster>, namespace: &str) {
    for workload in ["deployment/cart", "deployment/batch", "statefulset/db"] {
        cluster.kubectl(&["rollout", "status", workload, "-n", namespace, "--timeout=180s"]).unwrap();
    }
    let running = || {
        let pods = cluster.get(&["pods", "-n", namespace]).unwrap().unwrap_or_default();
        pods["items"].as_array().into_iter().flatten().all(|pod| pod["status"]["phase"] == "Running")
    };
    cluster.wait_until("all Pods to run", running).unwrap();
}

/// Pods with proxies or without, by namespace and name: their ids, and the images of their proxies.
type Pods = BTreeMap<String, (String, String)>;

fn pods(cluster: &Arc<Cluster>) -> Pods {
    let mut found = Pods::new();
    for namespace in ["shop", "other"] {
        let pods = cluster.get(&["pods", "-n", namespace]).unwrap().unwrap_or_default();
        let living = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
        for pod in pods["items"].as_array().into_iter().flatten().filter(living) {
            let lists = [&pod["spec"]["containers"], &pod["spec"]["initContainers"]];
            let mut containers = lists.into_iter().flat_map(|list| list.as_array().into_iter().flatten());
            let proxy = containers.find(|container| container["name"] == "istio-proxy");
            let image = proxy.and_then(|proxy| proxy["image"].as_str()).unwrap_or_default().to_owned();
            let text = |member: &str| pod["metadata"][member].as_str().unwrap().to_owned();
            found.insert(format!("{namespace}/{}", text("name")), (text("uid"), image));
        }
    }
    found
}

fn of(pod: &str, workloads: &[&str]) -> bool {
    workloads.iter().any(|workload| pod.starts_with(&format!("{workload}-")))
}

/// Of these workloads every Pod is another, and of all others none.
#[track_caller]
fn changed_alone(before: &Pods, after: &Pods, workloads: &[&str]) {
    for (pod, told) in before {
        let kept = after.get(pod) == Some(told);
        assert_eq!(kept, !of(pod, workloads), "{pod}: {told:?}, then {:?}", after.get(pod));
    }
    assert_eq!(before.len(), after.len(), "{before:?} {after:?}");
}

/// The workloads that an action said it restarts, in the order.
fn restarted(said: &Said) -> Vec<String> {
    let lines = said.stdout.lines().filter_map(|line| line.split_once(" is restarted: "));
    let mut found: Vec<String> = Vec::new();
    for (before, _) in lines {
        let workload = before.rsplit(": ").next().unwrap_or_default().to_owned();
        if !found.contains(&workload) {
            found.push(workload);
        }
    }
    found
}
