//! The kubeconfig of an external control plane: who gets one, and what its istiod does when it is renewed, points
//! elsewhere, or is deleted by hand.

use std::sync::Arc;

use lab::{Cluster, Lab, Options};

use crate::links_topologies::{Run, remote_clusters};
use crate::support::cli::clis;

const EXAMPLE: &str = include_str!("../../examples/external-control-plane/main.tf");
const SECRET: [&str; 4] = ["secret", "istio-kubeconfig", "-n", "istio-system"];

/// Puts further attributes into the example's resource of the mode `config`.
fn with(run: &Run<'_>, attributes: &str) {
    let mode = "mode                  = \"config\"";
    assert!(EXAMPLE.contains(mode));
    let text = EXAMPLE.replace(mode, &format!("{mode}\n  {attributes}"));
    std::fs::write(run.workspace.path("main.tf"), text).expect("the configuration");
}

/// The Pods of istiod.
fn pods(hub: &Cluster) -> String {
    hub.kubectl(&["get", "pods", "-n", "istio-system", "-l", "app=istiod", "-o", "name"]).expect("kubectl")
}

/// The hub's istiod writes what every new namespace of the configuration cluster gets: its token holds.
fn serves(east: &Arc<Cluster>, namespace: &str) {
    east.kubectl(&["create", "namespace", namespace]).expect("a namespace");
    let written = || east.get(&["configmap", "istio-ca-root-cert", "-n", namespace]).is_ok_and(|map| map.is_some());
    east.wait_until("istiod to serve a new namespace", written).expect("a root certificate");
}

#[test]
fn a_kubeconfig_goes_to_an_istiod_that_waits_for_it_and_is_kept_alive() {
    let Some(cli) = clis().into_iter().next() else { return };
    let lab = Lab::start(&["hub", "east"], Options::default()).expect("clusters");
    let run = Run::of_example(&cli, &lab, "external-control-plane");
    let (hub, east) = (lab.cluster("hub"), lab.cluster("east"));
    an_istiod_of_its_own_cluster_is_left_alone(&run, hub);

    with(&run, "");
    run.apply().ok();
    run.settled();
    assert!(remote_clusters(hub).contains("east"), "{}", remote_clusters(hub));
    serves(east, "first");

    hub.kubectl(&["delete", SECRET[0], SECRET[1], SECRET[2], SECRET[3]]).expect("kubectl");
    let plan = run.plan();
    assert_eq!(plan.code, Some(2), "{}{}", plan.stdout, plan.stderr);
    run.apply().ok();
    run.settled();

    let before = pods(hub);
    with(&run, "token = { lifetime = \"40d\" }");
    run.apply().ok();
    run.settled();
    assert_eq!(pods(hub), before, "a new token restarts nothing");
    let bindings = east.kubectl(&["get", "secrets", "-n", "istio-system", "-o", "name"]).expect("kubectl");
    assert!(
        bindings.matches("istiod.east.hub.").count() >= 2,
        "the token that istiod may still use is left: {bindings}"
    );

    let server = east.server().replace("127.0.0.1", "localhost");
    with(&run, &format!("token  = {{ lifetime = \"40d\" }}\n  server = \"{server}\""));
    run.apply().ok();
    run.settled();
    assert_ne!(pods(hub), before, "istiod reads its kubeconfig only when it starts");
    serves(east, "second");
    run.destroy().ok();
    assert!(hub.get(&["namespace", "istio-system"]).expect("kubectl").is_none());
}

/// The cluster that runs the control plane of others may have a mesh of its own: each leaves without a trace of itself,
/// and with nothing of the other's.
#[test]
fn a_hub_has_a_mesh_of_its_own_beside_the_control_plane_of_another() {
    let Some(cli) = clis().into_iter().next() else { return };
    let lab = Lab::start(&["hub", "east"], Options::default()).expect("clusters");
    let run = Run::of_example(&cli, &lab, "external-control-plane");
    let (hub, east) = (lab.cluster("hub"), lab.cluster("east"));
    let apart = |text: &str| text.replace(" \"this\" {\n", " \"this\" {\n  namespace = \"mesh-east\"\n");
    let (ca, rest) = EXAMPLE.split_once("resource \"mesh_primary\"").expect("a control plane");
    let external = apart(&format!("resource \"mesh_primary\"{rest}"))
        .replace(
            "mode                  = \"config\"",
            "mode                  = \"config\"\n  namespace = \"mesh-east\"",
        )
        .replace("trust_root     = mesh_ca.this.root_fingerprint", "");
    let (variables, _) = ca.split_once("resource \"mesh_ca\"").expect("a CA");
    let own = "resource \"mesh_primary\" \"own\" {\n  cluster = \"hub\"\n  mesh_id = \"hub\"\n}\n";
    let configure = |text: &str| std::fs::write(run.workspace.path("main.tf"), text).expect("the configuration");

    configure(&format!("{variables}{external}{own}"));
    run.apply().ok();
    run.settled();
    serves(east, "first");
    serves(hub, "first");

    configure(&format!("{variables}{own}"));
    run.apply().ok();
    run.settled();
    assert!(hub.get(&["namespace", "mesh-east"]).expect("kubectl").is_none(), "the control plane's namespace is left");
    serves(hub, "second");

    configure(&format!("{variables}{external}{own}"));
    run.apply().ok();
    configure(&format!("{variables}{external}"));
    run.apply().ok();
    run.settled();
    let left = hub.kubectl(&["get", "customresourcedefinitions,clusterroles", "-o", "name"]).expect("kubectl");
    assert!(!left.contains("istio"), "left of the hub's own mesh: {left}");
    serves(east, "second");
    run.destroy().ok();
}

/// It would take the kubeconfig at its next start, and forget the cluster that it serves.
fn an_istiod_of_its_own_cluster_is_left_alone(run: &Run<'_>, hub: &Arc<Cluster>) {
    let own = EXAMPLE.replace("  config_cluster = var.config\n", "");
    assert_ne!(own, EXAMPLE);
    std::fs::write(run.workspace.path("main.tf"), own).expect("the configuration");
    let refused = run.apply();
    assert_eq!(refused.code, Some(1), "{}", refused.stdout);
    assert!(refused.stdout.contains("The control plane reads another configuration"), "{}", refused.stdout);
    assert!(refused.stderr.contains("The control plane is not an external one"), "{}", refused.stderr);
    assert!(hub.get(&SECRET).expect("kubectl").is_none(), "no kubeconfig was written");
}
