//! API servers that grant shorter tokens than asked for, as those of managed clouds do: nobody is linked by a token
//! that ends before anybody renews it. And links that store no token.

use std::time::Duration;

use lab::{Fault, Lab, Options};
use serde_json::json;

use crate::links_topologies::{Run, synced};
use crate::support::cli::clis;

const EXAMPLE: &str = "multi-primary-one-network";

fn with(run: &Run<'_>, attributes: &str) {
    let original = include_str!("../../examples/multi-primary-one-network/main.tf");
    let last = "allow_loopback_server = var.one_machine";
    assert!(original.contains(last));
    let text = original.replace(last, &format!("{last}\n  {attributes}"));
    std::fs::write(run.workspace.path("main.tf"), text).expect("the configuration");
}

#[test]
fn a_token_cut_short_makes_no_link_unless_that_is_asked_for() {
    let Some(cli) = clis().into_iter().next() else { return };
    let day = Duration::from_secs(86_400);
    let lab =
        Lab::start(&["east", "west"], Options { longest_token: Some(day), ..Options::default() }).expect("clusters");
    let run = Run::of_example(&cli, &lab, EXAMPLE);
    let east = lab.cluster("east");
    let refused = run.apply();
    assert_eq!(refused.code, Some(1), "{}", refused.stdout);
    for said in ["grants shorter tokens", "long_lived = true", "lifetime = \"1d\"", "asks for 90d"] {
        let words = refused.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(said), "{said}: {}", refused.stderr);
    }
    let linked =
        || east.kubectl(&["get", "secrets", "-A", "-l", "istio/multiCluster=true", "-o", "name"]).expect("kubectl");
    assert_eq!(linked().trim(), "", "no watcher was told");
    let bindings = east.kubectl(&["get", "secrets", "-n", "istio-system", "-o", "name"]).expect("kubectl");
    assert!(!bindings.contains("istio-mesh-reader."), "the token is revoked: {bindings}");

    // Who asks for a day gets a day, and nobody is surprised.
    with(&run, "token = { lifetime = \"1d\" }");
    let said = run.apply().ok();
    assert!(!said.stdout.contains("shorter tokens"), "{}", said.stdout);
    synced(east, &["west"]);
    run.settled();

    // A link that is there is renewed all the same, and the warning says how long it lasts.
    with(&run, "token = { lifetime = \"30d\" }");
    let said = run.apply().ok();
    assert!(said.stdout.contains("gets shorter tokens than asked for"), "{}", said.stdout);
    synced(east, &["west"]);

    with(&run, "token = { long_lived = true }");
    let said = run.apply().ok();
    assert!(!said.stdout.contains("shorter tokens"), "{}", said.stdout);
    synced(east, &["west"]);
    run.settled();
}

/// The Secrets that tokens are bound to in a cluster.
fn bindings(cluster: &std::sync::Arc<lab::Cluster>) -> Vec<String> {
    let names = cluster.kubectl(&["get", "secrets", "-n", "istio-system", "-o", "name"]).expect("kubectl");
    names.lines().filter(|name| name.contains("istio-mesh-reader")).map(str::to_owned).collect()
}

/// Tokens that a run could not revoke, or whose state was lost, are found and revoked; and then the plan is empty.
#[test]
fn tokens_that_were_left_are_revoked_and_what_others_labelled_is_no_token() {
    let Some(cli) = clis().into_iter().next() else { return };
    let lab = Lab::start(&["east", "west"], Options::default()).expect("clusters");
    let run = Run::of_example(&cli, &lab, EXAMPLE);
    let east = lab.cluster("east");
    run.apply().ok();

    // Before it comes to the old token, a renewal is cut off.
    let refused = Fault::status(403)
        .for_agent("terraform-provider-mesh")
        .for_request("DELETE /api/v1/namespaces/istio-system/secrets/istio-mesh-reader");
    lab.clusters().iter().for_each(|cluster| cluster.fault(refused.clone()).expect("a fault"));
    with(&run, "token = { lifetime = \"60d\" }");
    assert_eq!(run.apply().code, Some(1));
    lab.clusters().iter().for_each(|cluster| cluster.clear_faults().expect("no fault"));
    assert_eq!(bindings(east).len(), 2, "the old token still lets in whoever has it");
    run.apply().ok();
    run.settled();
    let kept = bindings(east);
    assert_eq!(kept.len(), 1, "{kept:?}");

    // The state of the links is lost, and another takes them over.
    let addresses = run.workspace.run(&["state", "list"]).ok().stdout;
    for address in addresses.lines().filter(|address| address.starts_with("mesh_remote_cluster.")) {
        run.workspace.run(&["state", "rm", address]).ok();
    }
    with(&run, "token = { lifetime = \"60d\" }\n  adopt = true");
    run.apply().ok();
    run.settled();
    let now = bindings(east);
    assert!(now.len() == 1 && now != kept, "{kept:?} {now:?}");
    synced(east, &["west"]);

    // Anybody's Secret with our label and a watcher's name is no token.
    let labels = east.get(&[now[0].as_str(), "-n", "istio-system"]).expect("kubectl").expect("the Secret");
    let planted = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {
            "name": "planted", "namespace": "istio-system",
            "labels": labels["metadata"]["labels"], "annotations": labels["metadata"]["annotations"],
        },
    });
    east.apply(&planted.to_string()).expect("kubectl");
    run.settled();
    east.kubectl(&["delete", "secret", "planted", "-n", "istio-system"]).expect("kubectl");
    a_killed_create_leaves_no_token(&run, &lab);
}

/// Of the token of a create that was killed nobody knows who has it: the next create makes another, and revokes it.
fn a_killed_create_leaves_no_token(run: &Run<'_>, lab: &Lab) {
    let east = lab.cluster("east");
    let left = bindings(east);
    let addresses = run.workspace.run(&["state", "list"]).ok().stdout;
    for address in addresses.lines().filter(|address| address.starts_with("mesh_remote_cluster.")) {
        run.workspace.run(&["state", "rm", address]).ok();
    }
    let unfinished = json!({
        "metadata": { "annotations": { "terraform-provider-mesh/complete": "false" } }, "spec": { "holderIdentity": "interrupted" }
    });
    for cluster in lab.clusters() {
        let leases = cluster.kubectl(&["get", "leases", "-n", "istio-system", "-o", "name"]).expect("kubectl");
        let of_links: Vec<&str> = leases.lines().filter(|name| name.contains("mesh-remote-cluster")).collect();
        assert_eq!(of_links.len(), 1, "{leases}");
        let patch = ["patch", of_links[0], "-n", "istio-system", "--type", "merge", "-p", &unfinished.to_string()];
        cluster.kubectl(&patch).expect("kubectl");
    }
    with(run, "token = { lifetime = \"60d\" }");
    run.apply().ok();
    run.settled();
    let now = bindings(east);
    assert!(now.len() == 1 && now != left, "{left:?} {now:?}");
}
