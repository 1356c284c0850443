//! `moved` blocks from the resources of other providers: the state is of their shape, the objects are what Helm and
//! istioctl made, and nothing is rolled unasked.

use std::path::Path;

use lab::tools::{self, Istio};
use lab::{Lab, Options};
use serde_json::{Value, json};
use terraform_provider_mesh::engine::rpc::MoveResourceState;
use terraform_provider_mesh::provider::Mesh;
use terraform_provider_mesh::resources::registry;

use crate::examples_in_steps::{made_by_hand, running};
use crate::support::cli::{Cli, Workspace, clis, newest};
use crate::support::core::Core;
use crate::support::plugin_process::BINARY;

const CONFIGURATION: &str = r#"
terraform {
  required_providers {
    mesh = { source = "terraform-provider-mesh/mesh" }
  }
}

variable "kubeconfigs" { type = map(string) }
variable "charts" { type = any }

provider "mesh" {
  clusters = { for name, path in var.kubeconfigs : name => { config_path = path } }
  charts   = var.charts
}

resource "mesh_primary" "east" {
  cluster = "east"
  mesh_id = "mesh1"
  network = "net-east"
  values  = [yamlencode({ meshConfig = { accessLogFile = "/dev/stdout" } })]
}

resource "mesh_eastwest_gateway" "east" {
  cluster = "east"
  network = "net-east"
  expose  = { services = true }
}

resource "mesh_remote_cluster" "west" {
  cluster               = "west"
  watchers              = ["east"]
  allow_loopback_server = true
}

moved {
  from = helm_release.istiod
  to   = mesh_primary.east
}

moved {
  from = helm_release.eastwest
  to   = mesh_eastwest_gateway.east
}

moved {
  from = kubernetes_secret_v1.west
  to   = mesh_remote_cluster.west
}
"#;

/// A CLI with this provider, and stand-ins for the two others: they are asked for schemas of what no configuration has
/// any more, and for nothing else.
fn workspace(cli: &Cli, lab: &Lab) -> Workspace {
    let registry = if cli.name == "tofu" { "registry.opentofu.org" } else { "registry.terraform.io" };
    let others = lab.dir().join("others");
    std::fs::create_dir_all(&others).unwrap();
    for name in ["helm", "kubernetes"] {
        let file = others.join(format!("terraform-provider-{name}"));
        if !file.exists() {
            std::os::unix::fs::symlink(Path::new(BINARY), file).unwrap();
        }
    }
    let own = Path::new(BINARY).parent().unwrap();
    let workspace = Workspace::overriding_all(
        cli,
        &[("terraform-provider-mesh/mesh", own), ("hashicorp/helm", &others), ("hashicorp/kubernetes", &others)],
    );
    workspace.configure(CONFIGURATION);
    let kubeconfigs: serde_json::Map<String, Value> =
        lab.clusters().iter().map(|cluster| (cluster.name().to_owned(), json!(cluster.kubeconfig_path()))).collect();
    let charts = json!({ "directory": tools::charts(Istio::Current).unwrap().dir() });
    let variables = json!({ "kubeconfigs": kubeconfigs, "charts": charts });
    std::fs::write(workspace.path("lab.auto.tfvars.json"), variables.to_string()).unwrap();
    let release = |name: &str, label: &str, chart: &str, values: Value| {
        let recorded = json!([{ "name": label, "namespace": "istio-system", "values": values.to_string() }]);
        let attributes =
            json!({ "id": label, "name": label, "namespace": "istio-system", "chart": chart, "metadata": recorded });
        of_state(registry, "helm", "helm_release", name, attributes)
    };
    let istiod = json!({
        "global": { "meshID": "mesh1", "multiCluster": { "clusterName": "east" }, "network": "net-east" },
        "meshConfig": { "accessLogFile": "/dev/stdout" },
    });
    let metadata = json!([{ "name": "istio-remote-secret-west", "namespace": "istio-system", "labels": { "istio/multiCluster": "true" } }]);
    let secret = json!({ "id": "istio-system/istio-remote-secret-west", "metadata": metadata, "data": { "west": "a kubeconfig with a t0ken" } });
    let resources = [
        release("istiod", "istiod", "istiod", istiod),
        release("eastwest", "istio-eastwestgateway", "gateway", json!({ "networkGateway": "net-east" })),
        of_state(registry, "kubernetes", "kubernetes_secret_v1", "west", secret),
    ];
    let state = json!({
        "version": 4, "terraform_version": "1.9.0", "serial": 1, "lineage": "0f0e0d0c-0000-4000-8000-000000000001",
        "outputs": {}, "resources": resources,
    });
    std::fs::write(workspace.path("terraform.tfstate"), state.to_string()).unwrap();
    workspace
}

fn of_state(registry: &str, provider: &str, type_name: &str, name: &str, attributes: Value) -> Value {
    json!({
        "mode": "managed", "type": type_name, "name": name,
        "provider": format!("provider[\"{registry}/hashicorp/{provider}\"]"),
        "instances": [{ "schema_version": 1, "attributes": attributes, "sensitive_attributes": [] }],
    })
}

/// A key of the provider `tls` is in a state and in no cluster: what to do with it is said, and nothing of it.
#[tokio::test]
async fn what_is_only_in_a_state_is_refused_with_the_way_to_keep_it() {
    let core = Core::new(Mesh, registry(), json!({})).await.unwrap();
    for (target, word) in [("mesh_ca", "root.private_key_wo"), ("mesh_ca_request", "certificate_request")] {
        let request = MoveResourceState {
            source_provider_address: "registry.terraform.io/hashicorp/tls".to_owned(),
            source_type_name: "tls_private_key".to_owned(),
            source_schema_version: 1,
            source_state: br#"{"private_key_pem": "pr1vate"}"#.to_vec(),
            target_type_name: target.to_owned(),
        };
        let said = core.engine.move_resource_state(request).await.diagnostics.to_string();
        for word in ["This cannot be moved here", "`tls_private_key`", "`removed` block", word] {
            assert!(said.contains(word), "{target}: {word}: {said}");
        }
        assert!(!said.contains("pr1vate"), "{target}: {said}");
    }
}

#[test]
fn helm_releases_and_remote_secrets_become_resources_of_this_provider() {
    let lab = Lab::start(&["east", "west"], Options::default()).unwrap();
    made_by_hand(&lab, &lab.dir().join("pems")).unwrap_or_else(|error| panic!("{}", lab::describe(&*error)));
    let before: Vec<_> = lab.clusters().iter().map(running).collect();
    let all: Vec<Cli> = clis().into_iter().chain(newest()).collect();
    for cli in &all {
        let workspace = workspace(cli, &lab);
        // Without a refresh nothing is known of what was moved.
        let blind = workspace.run(&["plan", "-refresh=false", "-input=false"]);
        assert!(blind.code == Some(1) && blind.stderr.contains("has not been read"), "{}: {blind:?}", cli.name);
        let plan = workspace.run(&["plan", "-input=false", "-out=moved.plan"]);
        assert_eq!(plan.code, Some(0), "{}: {}{}", cli.name, plan.stdout, plan.stderr);
        assert!(plan.stdout.contains("The link to west stays as it was found"), "{}: {}", cli.name, plan.stdout);
        let shown = workspace.run(&["show", "-json", "moved.plan"]).ok();
        assert!(!shown.stdout.contains("t0ken"), "{}: a token is in the plan", cli.name);
        changes_marks_alone(&shown.json(), cli);
    }
    let Some(last) = all.last() else { return };
    let workspace = workspace(last, &lab);
    workspace.run(&["apply", "-auto-approve", "-input=false"]).ok();
    workspace.is_settled();
    assert_eq!(lab.clusters().iter().map(running).collect::<Vec<_>>(), before, "no istiod was restarted");
    assert!(!workspace.state().to_string().contains("t0ken"), "a token is in state");
    refused_with_the_import_block(last, &lab);
}

/// Nothing is created, replaced or destroyed, and of the objects only what says whose they are.
fn changes_marks_alone(plan: &Value, cli: &Cli) {
    for change in plan["resource_changes"].as_array().unwrap() {
        let actions = &change["change"]["actions"];
        assert!(*actions == json!(["update"]) || *actions == json!(["no-op"]), "{}: {change}", cli.name);
        assert!(change["previous_address"].is_string(), "{}: {change}", cli.name);
        assert_eq!(change["change"]["before"]["objects"], change["change"]["after"]["objects"], "{}", cli.name);
    }
}

/// A state that does not say which cluster it is about, where two have such a control plane.
fn refused_with_the_import_block(cli: &Cli, lab: &Lab) {
    let workspace = workspace(cli, lab);
    let mut state = workspace.state();
    let metadata =
        json!([{ "values": json!({ "global": { "multiCluster": { "clusterName": "north" } } }).to_string() }]);
    state["resources"][0]["instances"][0]["attributes"]["metadata"] = metadata;
    std::fs::write(workspace.path("terraform.tfstate"), state.to_string()).unwrap();
    let said = workspace.run(&["plan", "-input=false"]);
    let text = said.stderr.replace('│', " ").split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(said.code, Some(1), "{text}");
    assert!(
        text.contains("Which object is moved cannot be known")
            && text.contains("id = \"<cluster>/istio-system/istiod\""),
        "{text}"
    );
}
