//! The rights of examples/rbac are enough: a whole mesh made, looked at and destroyed by an identity that has them and
//! no others. The tests of the examples apply each of them with these identities as well ([`least_rights`]).

use std::path::Path;
use std::sync::Arc;

use lab::{Cluster, Lab, Options};
use serde_json::{Value, json};

use crate::links_topologies::{Run, nothing_is_left, synced};
use crate::support::cli::{APPLIER, PLANNER, Workspace, clis};

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
    let applied = run.apply();
    assert!(!applied.stdout.contains("Injection was not checked"), "{}", applied.stdout);
    applied.ok();
    run.settled();
    synced(lab.cluster("east"), &["west"]);
    plans_need_no_right_to_write(&run, &lab, &variables);
    std::fs::write(run.workspace.path("lab.auto.tfvars.json"), variables.to_string()).expect("the variables");
    run.destroy().ok();
    nothing_is_left(&lab);
}

/// The rights of examples/rbac/reader.yaml are enough to plan, and to say of a change what it would do; they are not
/// enough to apply it.
fn plans_need_no_right_to_write(run: &Run, lab: &Lab, variables: &Value) {
    let mut reading = variables.clone();
    for cluster in lab.clusters() {
        let file = run.workspace.path(&format!("{}-reader.kubeconfig", cluster.name()));
        reads(cluster, &file);
        reading["kubeconfigs"][cluster.name()] = json!(file);
    }
    std::fs::write(run.workspace.path("lab.auto.tfvars.json"), reading.to_string()).expect("the variables");
    let plan = run.workspace.run(&["plan", "-detailed-exitcode", "-input=false"]);
    assert_eq!(plan.code, Some(0), "{}{}", plan.stdout, plan.stderr);
    // The CLI's own warning says that it takes the provider of this test.
    let warnings = plan.stdout.matches("Warning: ").count();
    assert!(warnings == 1 && !plan.stdout.contains("forbidden"), "{}", plan.stdout);
    let replaced = run.workspace.run(&["apply", "-auto-approve", "-input=false", "-replace=mesh_ca.this"]);
    assert_ne!(replaced.code, Some(0), "it must not write");
    assert!(replaced.stderr.contains("pipeline:reader"), "{}", replaced.stderr);
}

/// What a cluster has for the identities of [`least_rights`], by kind, namespace and name: it is no part of a mesh.
pub const IDENTITIES: [&str; 4] = [
    "ClusterRole  terraform-provider-mesh",
    "ClusterRole  terraform-provider-mesh-reader",
    "ClusterRoleBinding  pipeline-terraform",
    "ClusterRoleBinding  pipeline-reader",
];

/// From here on the workspace applies with the rights of examples/rbac/provider.yaml, plans and searches with those of
/// reader.yaml, and has no others in any cluster. `clusters` are those that its variable `kubeconfigs` names.
pub fn least_rights(workspace: &Workspace, lab: &Lab, clusters: &[&str]) {
    let file = |name: &str, who: &str| lab.dir().join(format!("{name}-{who}.kubeconfig"));
    for name in clusters.iter().filter(|name| !file(name, "reader").exists()) {
        restricted(lab.cluster(name), &file(name, "terraform"));
        reads(lab.cluster(name), &file(name, "reader"));
    }
    let write = |to: &str, who: &str| {
        let files: serde_json::Map<String, Value> =
            clusters.iter().map(|name| ((*name).to_owned(), json!(file(name, who)))).collect();
        std::fs::write(workspace.path(to), json!({ "kubeconfigs": files }).to_string()).expect("the variables");
    };
    write(APPLIER, "terraform");
    write(PLANNER, "reader");
}

/// From here on the workspace only looks at a mesh that is there, by the rights of reader.yaml and reachability.yaml.
pub fn looks_alone(workspace: &Workspace, lab: &Lab) {
    let names: Vec<&str> = lab.clusters().iter().map(|cluster| cluster.name()).collect();
    least_rights(workspace, lab, &names);
    std::fs::copy(workspace.path(PLANNER), workspace.path(APPLIER)).expect("the variables");
    for cluster in lab.clusters() {
        let rights = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/rbac/reachability.yaml");
        cluster.kubectl(&["apply", "-f", &rights.display().to_string()]).expect("the role");
        let role = "--role=terraform-provider-mesh-reachability";
        let to = "--serviceaccount=pipeline:reader";
        cluster.kubectl(&["create", "rolebinding", "looks", "-n", "istio-system", role, to]).expect("a binding");
        let ask = ["auth", "can-i", "create", "serviceaccounts/default", "--subresource=token", "-n", "istio-system"];
        let ask = [&ask[..], &["--as", "system:serviceaccount:pipeline:reader"]].concat();
        cluster.wait_until("the role to be heard of", || cluster.kubectl(&ask).is_ok()).expect("the rights");
    }
}

/// A kubeconfig for a ServiceAccount that may plan, in a cluster that has been [`restricted`].
pub fn reads(cluster: &Arc<Cluster>, file: &Path) {
    let token = account(cluster, "reader.yaml", "terraform-provider-mesh-reader", "reader");
    kubeconfig(cluster, &token, file);
    let ask = ["auth", "can-i", "list", "secrets", "-A", "--as", "system:serviceaccount:pipeline:reader"];
    cluster.wait_until("the role to be heard of", || cluster.kubectl(&ask).is_ok()).expect("the rights");
}

/// A kubeconfig for a ServiceAccount that has the documented rights.
pub fn restricted(cluster: &Arc<Cluster>, file: &Path) {
    cluster.kubectl(&["create", "namespace", "pipeline"]).expect("a namespace");
    let token = account(cluster, "provider.yaml", "terraform-provider-mesh", "terraform");
    kubeconfig(cluster, &token, file);
    may_within_moments(cluster, ["list", "namespaces"], true);
}

/// The token of a new ServiceAccount that has the rights of a file of examples/rbac.
fn account(cluster: &Cluster, file: &str, role: &str, name: &str) -> String {
    bound(cluster, file, &["clusterrolebinding", &format!("pipeline-{name}"), &format!("--clusterrole={role}")], name)
}

/// The same, by a binding of one's own.
fn bound(cluster: &Cluster, file: &str, binding: &[&str], name: &str) -> String {
    let rights = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/rbac").join(file);
    cluster.kubectl(&["apply", "-f", &rights.display().to_string()]).expect("the role");
    cluster.kubectl(&["create", "serviceaccount", name, "-n", "pipeline"]).expect("an account");
    let account = format!("--serviceaccount=pipeline:{name}");
    cluster.kubectl(&[&["create"], binding, &[&account]].concat()).expect("a binding");
    cluster.kubectl(&["create", "token", name, "-n", "pipeline"]).expect("a token")
}

/// A kubeconfig for a ServiceAccount that may restart the workloads of one namespace, and nothing else.
pub fn may_restart(cluster: &Cluster, namespace: &str, file: &Path) {
    cluster.kubectl(&["create", "namespace", "pipeline"]).expect("a namespace");
    let role = "--clusterrole=terraform-provider-mesh-restarts";
    let token = bound(cluster, "restarts.yaml", &["rolebinding", "restarts", "-n", namespace, role], "restarts");
    kubeconfig(cluster, &token, file);
    let ask = ["auth", "can-i", "create", "pods", "-n", namespace, "--as", "system:serviceaccount:pipeline:restarts"];
    cluster.wait_until("the role to be heard of", || cluster.kubectl(&ask).is_ok()).expect("the rights");
}

fn kubeconfig(cluster: &Cluster, token: &str, file: &Path) {
    let config = cluster.kubectl(&["config", "view", "--raw", "--minify", "-o", "json"]).expect("the kubeconfig");
    let mut config: Value = serde_json::from_str(&config).expect("JSON");
    config["users"][0]["user"] = json!({ "token": token.trim() });
    std::fs::write(file, config.to_string()).expect("the kubeconfig");
}

/// Waits until the API server, which hears of changed roles a little later, lets the restricted identity do this, or no
/// longer does.
#[track_caller]
pub fn may_within_moments(cluster: &Cluster, [verb, resource]: [&str; 2], may: bool) {
    let ask = ["auth", "can-i", verb, resource, "--all-namespaces", "--as", "system:serviceaccount:pipeline:terraform"];
    // Its exit code says it too: "no" is an error.
    let allowed = || cluster.kubectl(&ask).is_ok_and(|said| said.trim() == "yes");
    cluster.wait_until("the role to be heard of", || allowed() == may).expect("the rights");
}
