//! The rights of examples/rbac are enough: a whole mesh made, looked at and destroyed by an identity that has them and no others.

use std::path::Path;
use std::sync::Arc;

use lab::{Cluster, Lab, Options};
use serde_json::{Value, json};

use crate::links_topologies::{Run, nothing_is_left, synced};
use crate::support::cli::clis;

#[test]
fn the_documented_rights_are_enough() {
    let Some(cli) = clis().into_iter().next() else { return };
    let lab = Lab::start(&["east", "west"], Options::default()).expect("clusters");
    let run = Run::of_example(&cli, &lab, "multi-primary-two-networks");
    let mut variables: Value = serde_json::from_str(
        &std::fs::read_to_string(run.workspace.path("lab.auto.tfvars.json")).expect("the variables"),
    )
    .expect("JSON");
    for cluster in lab.clusters() {
        let file = run.workspace.path(&format!("{}.kubeconfig", cluster.name()));
        restricted(cluster, &file);
        variables["kubeconfigs"][cluster.name()] = json!(file);
    }
    std::fs::write(run.workspace.path("lab.auto.tfvars.json"), variables.to_string()).expect("the variables");
    run.apply().ok();
    run.settled();
    synced(lab.cluster("east"), &["west"]);
    run.destroy().ok();
    nothing_is_left(&lab);
}

/// A kubeconfig for a ServiceAccount that has the documented rights.
pub fn restricted(cluster: &Arc<Cluster>, file: &Path) {
    let role = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/rbac/provider.yaml");
    cluster.kubectl(&["apply", "-f", &role.display().to_string()]).expect("the role");
    cluster.kubectl(&["create", "namespace", "pipeline"]).expect("a namespace");
    cluster.kubectl(&["create", "serviceaccount", "terraform", "-n", "pipeline"]).expect("an account");
    let binding = [
        "create",
        "clusterrolebinding",
        "pipeline",
        "--clusterrole=terraform-provider-mesh",
        "--serviceaccount=pipeline:terraform",
    ];
    cluster.kubectl(&binding).expect("a binding");
    let token = cluster.kubectl(&["create", "token", "terraform", "-n", "pipeline"]).expect("a token");
    let config = cluster.kubectl(&["config", "view", "--raw", "--minify", "-o", "json"]).expect("the kubeconfig");
    let mut config: Value = serde_json::from_str(&config).expect("JSON");
    config["users"][0]["user"] = json!({ "token": token.trim() });
    std::fs::write(file, config.to_string()).expect("the kubeconfig");
    may_within_moments(cluster, ["list", "namespaces"], true);
}

/// Waits until the API server, which hears of changed roles a little later, lets the restricted identity do this, or no longer does.
#[track_caller]
pub fn may_within_moments(cluster: &Cluster, [verb, resource]: [&str; 2], may: bool) {
    let ask = ["auth", "can-i", verb, resource, "--all-namespaces", "--as", "system:serviceaccount:pipeline:terraform"];
    // Its exit code says it too: "no" is an error.
    let allowed = || cluster.kubectl(&ask).is_ok_and(|said| said.trim() == "yes");
    cluster.wait_until("the role to be heard of", || allowed() == may).expect("the rights");
}
