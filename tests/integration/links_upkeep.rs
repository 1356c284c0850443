//! Links after the first apply: a revoked token, a cluster that is gone, and what the user is told when a link cannot
//! be made.

use lab::{Lab, Options};

use crate::links_topologies::{Run, remote_clusters, synced};
use crate::support::cli::clis;

const EXAMPLE: &str = "multi-primary-one-network";

/// Puts further attributes into the example's `mesh_remote_cluster`.
fn with(run: &Run<'_>, attributes: &str) {
    let original = include_str!("../../examples/multi-primary-one-network/main.tf");
    let last = "allow_loopback_server = var.one_machine";
    assert!(original.contains(last));
    let text = original.replace(last, &format!("{last}\n  {attributes}"));
    std::fs::write(run.workspace.path("main.tf"), text).expect("the configuration");
}

#[test]
fn a_revoked_token_is_seen_and_replaced_and_a_link_that_cannot_be_made_is_explained() {
    let Some(cli) = clis().into_iter().next() else { return };
    let lab = Lab::start(&["east", "west"], Options::default()).expect("clusters");
    let run = Run::of_example(&cli, &lab, EXAMPLE);
    let (east, west) = (lab.cluster("east"), lab.cluster("west"));
    an_untrusted_server_is_refused(&run);
    with(&run, "");
    run.apply().ok();
    run.settled();

    west.kubectl(&["delete", "secret", "-n", "istio-system", "istio-mesh-reader.west.east.1"]).expect("kubectl");
    let plan = run.plan();
    assert_eq!(plan.code, Some(2), "{}{}", plan.stdout, plan.stderr);
    assert!(
        plan.stdout.contains("mesh_remote_cluster.this[\"west\"]")
            && !plan.stdout.contains("mesh_remote_cluster.this[\"east\"] will"),
        "{}",
        plan.stdout
    );
    run.apply().ok();
    run.settled();
    synced(east, &["west"]);
    let secrets = west.kubectl(&["get", "secrets", "-n", "istio-system", "-o", "name"]).expect("kubectl");
    assert_eq!(secrets.matches("istio-mesh-reader.west.east.").count(), 1, "{secrets}");
    let said = run.plan();
    assert!(!said.stdout.contains("has lost its link"), "{}", said.stdout);
    west.kubectl(&["delete", "secret", "-n", "istio-system", "istio-remote-secret-east"]).expect("kubectl");
    let plan = run.plan();
    assert_eq!(plan.code, Some(2), "{}{}", plan.stdout, plan.stderr);
    assert!(plan.stdout.contains("west has lost its link to east"), "{}", plan.stdout);
    // Whoever deleted the Secret may have its token.
    run.apply().ok();
    run.settled();
    let bindings = east.kubectl(&["get", "secrets", "-n", "istio-system", "-o", "name"]).expect("kubectl");
    let given: Vec<&str> = bindings.lines().filter(|name| name.contains("istio-mesh-reader.east.west.")).collect();
    assert_eq!(given, ["secret/istio-mesh-reader.east.west.2"]);
    west.kubectl(&["delete", "secret", "-n", "istio-system", "istio-remote-secret-east"]).expect("kubectl");
    an_unreachable_server_is_explained(&run);
}

/// A certificate that no watcher would accept: no istiod is told of such a cluster.
fn an_untrusted_server_is_refused(run: &Run<'_>) {
    with(run, "tls_server_name = \"another.example.com\"");
    let refused = run.apply();
    assert_eq!(refused.code, Some(1), "{}", refused.stdout);
    assert!(refused.stderr.contains("Watchers would not trust this API server"), "{}", refused.stderr);
    let secrets =
        run.lab.cluster("east").kubectl(&["get", "secrets", "-A", "-l", "istio/multiCluster=true", "-o", "name"]);
    assert_eq!(secrets.expect("kubectl").trim(), "");
}

/// The layer that failed, and the attribute to change.
fn an_unreachable_server_is_explained(run: &Run<'_>) {
    with(run, "server = \"https://127.0.0.1:1\"");
    let refused = run.apply();
    assert_eq!(refused.code, Some(1), "{}", refused.stdout);
    let words = refused.stderr.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
    for told in ["cannot be reached", "127.0.0.1:1", "server"] {
        assert!(words.contains(told), "{told:?} is missing: {words}");
    }
}

/// The apply that replaces a token leaves the one before to the istiods that may still use it; the next one revokes it,
/// and then there is nothing to do.
fn links_that_wait_for_nobody_settle(run: &Run<'_>) {
    let west = run.lab.cluster("west");
    let bindings = || {
        let secrets = west.kubectl(&["get", "secrets", "-n", "istio-system", "-o", "name"]).expect("kubectl");
        secrets.matches("istio-mesh-reader.west.east").count()
    };
    with(run, "wait = false");
    run.apply().ok();
    assert_eq!(bindings(), 1);
    with(run, "wait = false\n  token = { long_lived = true }");
    run.apply().ok();
    assert_eq!(bindings(), 2, "istiod may still use the one before");
    run.apply().ok();
    assert_eq!(bindings(), 1);
    // What istiods say is seen at the refresh alone.
    let said = run.apply().ok().stdout;
    assert!(said.contains("0 added, 0 changed, 0 destroyed"), "{said}");
    run.settled();
}

#[test]
fn a_cluster_that_is_gone_holds_up_nobody_and_is_removed_on_request() {
    let Some(cli) = clis().into_iter().next() else { return };
    let lab = Lab::start(&["east", "west"], Options::default()).expect("clusters");
    let run = Run::of_example(&cli, &lab, EXAMPLE);
    links_that_wait_for_nobody_settle(&run);
    with(&run, "");
    run.apply().ok();
    lab.cluster("west").destroy().expect("gone for good");
    let plan = run.plan();
    assert!(matches!(plan.code, Some(0 | 2)), "{}{}", plan.stdout, plan.stderr);

    // As where its tokens are due: nothing can be made in it, and yet what the user asks for is remembered.
    let flag = "skip_unreachable_on_destroy = true";
    let due = r#"token = each.key == "west" ? { long_lived = true } : null"#;
    with(&run, &format!("{flag}\n  {due}"));
    let refused =
        run.workspace.run(&["apply", "-auto-approve", "-input=false", "-target=mesh_remote_cluster.this[\"west\"]"]);
    assert_eq!(refused.code, Some(1), "{}", refused.stdout);
    let state = run.workspace.run(&["state", "show", "mesh_remote_cluster.this[\"west\"]"]).ok().stdout;
    let said = state.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains(flag), "{said}");
    it_is_removed_as_the_guide_says(&run, flag);
    assert!(!remote_clusters(lab.cluster("east")).contains("istio-remote-secret-west"));
}

/// The way of the guide "Day two", without `-target`.
fn it_is_removed_as_the_guide_says(run: &Run<'_>, flag: &str) {
    with(run, flag);
    run.apply().ok();
    run.workspace.run(&["state", "rm", "mesh_primary.this[\"west\"]"]).ok();
    let main = run.workspace.path("main.tf");
    let clusters = "clusters = { for name in local.clusters : name => {} }";
    let text = std::fs::read_to_string(&main).expect("the configuration");
    assert!(text.contains(clusters));
    std::fs::write(&main, text.replace(clusters, &format!("{clusters}\n  {flag}"))).expect("the configuration");
    run.set_step(&serde_json::json!({ "clusters": ["east"] }));
    let removed = run.apply().ok();
    let told = format!("{}{}", removed.stdout, removed.stderr);
    assert!(told.contains("Some objects stay behind") && told.contains("cluster west does not answer"), "{told}");
    assert!(told.contains("Clusters that cannot be reached were left as they are"), "{told}");
    run.variables(&["east"]);
    run.settled();
}
