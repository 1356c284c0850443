//! Names that Kubernetes and Istio allow and few people give: dots, a digit first, as long as they may be. All of it is
//! made, imported, written by a CLI as configuration, and removed.

use std::path::Path;

use lab::tools::{self, Istio};
use lab::{Lab, Options};

use crate::examples_laws::{is_found_whole, is_imported_whole, is_written_whole};
use crate::links_topologies::nothing_is_left;
use crate::support::cli::{Cli, Workspace, clis, newest};
use crate::support::plugin_process::BINARY;

const SOURCE: &str = "terraform-provider-mesh/mesh";

/// A label of 63 characters, the longest that Kubernetes takes, with a digit first.
fn long(of: &str) -> String {
    format!("0-{of}-{}9", "x".repeat(63 - 4 - of.len()))
}

/// The key of the one exporter: of its own choice, and as an import calls it, which knows no other.
const ODD: &str = "9.exporter_0";
const IMPORTED: &str = "exporter";

fn workspace(cli: &Cli, lab: &Lab, exporter: &str) -> Workspace {
    let workspace = Workspace::overriding(cli, SOURCE, Path::new(BINARY).parent().expect("a folder"));
    let path = |name: &str| lab.cluster(name).kubeconfig_path().display().to_string();
    let charts = tools::charts(Istio::Current).expect("the charts").dir().display().to_string();
    let (east, west) = (path("east"), path("west"));
    let provider = format!(
        r#"terraform {{
  required_providers {{
    mesh = {{ source = "{SOURCE}" }}
  }}
}}

provider "mesh" {{
  clusters = {{
    "1.East_1"        = {{ config_path = "{east}" }}
    "9-west.example" = {{ config_path = "{west}" }}
  }}
  charts = {{ directory = "{charts}" }}
}}
"#
    );
    std::fs::write(workspace.path("provider.tf"), provider).expect("written");
    let (system, roots, requests) = (long("istio"), long("roots"), long("requests"));
    workspace.configure(&format!(
        r#"resource "mesh_ca" "this" {{
  root     = {{ store = {{ cluster = "9-west.example", namespace = "{roots}", name = "0.root.{roots}", readable_by_watchers = true }} }}
  clusters = {{ "1.East_1" = {{ namespace = "{system}" }} }}
}}

resource "mesh_ca_request" "this" {{
  cluster   = "1.East_1"
  namespace = "{requests}"
  name      = "0.request.{requests}"
}}

resource "mesh_primary" "this" {{
  cluster      = "1.East_1"
  cluster_name = "0.Cluster_of.the-East.9"
  namespace    = "{system}"
  revision     = "1-31-1-0"
  mesh_id      = "0.Mesh_1"
  network      = "0.Net_east.9"
  trust_domain = "0.example.9"
  trust_root   = mesh_ca.this.root_fingerprint
}}

resource "mesh_eastwest_gateway" "this" {{
  cluster   = "1.East_1"
  namespace = "{system}"
  name      = "0-gateway-9"
  revision  = mesh_primary.this.revision
  network   = mesh_primary.this.network
  expose    = {{ services = true }}
  wait      = true
}}

resource "mesh_remote_cluster" "this" {{
  cluster               = "9-west.example"
  cluster_name          = "9.Cluster_of.the-West.0"
  namespace             = "{system}"
  watchers              = [mesh_primary.this.cluster]
  allow_loopback_server = true
}}

resource "mesh_service_entry" "this" {{
  cluster   = mesh_primary.this.cluster
  namespace = "{system}"
  name      = "0.entry.9"
  host      = "0-cart.9.shop.global"
  ports     = {{ "0-http" = {{ number = 8080 }} }}
  exporters = {{
    "{exporter}" = {{ namespace = "0-shop", service = "cart", service_accounts = ["0.cart.9"], gateways = [{{ value = "192.0.2.10" }}] }}
  }}
}}
"#
    ));
    workspace
}

#[test]
fn odd_names_are_made_imported_written_and_removed() {
    let Some(cli) = clis().into_iter().next() else { return };
    let lab = Lab::start(&["east", "west"], Options::default()).expect("clusters");
    let made = workspace(&cli, &lab, ODD);
    made.run(&["apply", "-auto-approve", "-input=false"]).ok();
    made.is_settled();
    let renamed = std::fs::read_to_string(made.path("main.tf")).expect("the configuration");
    made.configure(&renamed.replace(&format!("\"{ODD}\""), &format!("\"{IMPORTED}\"")));
    made.run(&["apply", "-auto-approve", "-input=false"]).ok();
    made.is_settled();
    let other = |cli: &Cli| workspace(cli, &lab, IMPORTED);
    is_imported_whole(&made, &other(&cli));
    is_written_whole(&made, &other(&cli), &lab);
    if let Some(newest) = newest() {
        is_found_whole(&[&made], &other(&newest), &lab);
    }
    made.run(&["destroy", "-auto-approve", "-input=false"]).ok();
    nothing_is_left(&lab);
}
