//! API servers that grant shorter tokens than asked for, as those of managed clouds do: nobody is linked by a token
//! that ends before anybody renews it. And links that store no token.

use std::time::Duration;

use lab::{Lab, Options};

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
