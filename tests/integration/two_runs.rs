//! Two runs at once that are each first at something the other wants as well: one of them refuses and gives up what it
//! has made, and the other comes to its end.

use std::path::Path;
use std::time::Duration;

use lab::{Cluster, Fault, Lab, Options};
use serde_json::Value as Json;

use crate::campaign::ended;
use crate::support::cli::{Cli, Said, Workspace, clis};
use crate::support::one_primary::OnePrimary;

const LIMIT: Duration = Duration::from_secs(600);
const APPLY: [&str; 4] = ["apply", "-auto-approve", "-input=false", "-parallelism=1"];

/// A state that wants two requests, one after the other.
fn state(cli: &Cli, kubeconfig: &Path, [first, then]: [&str; 2]) -> Workspace {
    let provider = std::fs::canonicalize(OnePrimary::provider()).expect("the build");
    let workspace = Workspace::overriding(cli, "terraform-provider-mesh/mesh", provider.parent().expect("a folder"));
    workspace.configure(&format!(
        r#"terraform {{
  required_providers {{
    mesh = {{ source = "terraform-provider-mesh/mesh" }}
  }}
}}

provider "mesh" {{
  clusters = {{ east = {{ config_path = "{}" }} }}
}}

resource "mesh_ca_request" "{first}" {{
  cluster   = "east"
  namespace = "{first}"
}}

resource "mesh_ca_request" "{then}" {{
  cluster    = "east"
  namespace  = "{then}"
  depends_on = [mesh_ca_request.{first}]
}}
"#,
        kubeconfig.display()
    ));
    workspace
}

/// Whether a run is at work on what is in this namespace.
fn is_held(east: &Cluster, namespace: &str) -> bool {
    let leases = east.get(&["leases", "-n", namespace]).expect("kubectl").unwrap_or_default();
    let mut leases = leases["items"].as_array().into_iter().flatten();
    leases.any(|lease| lease["spec"]["holderIdentity"].as_str().is_some_and(|holder| !["", "nobody"].contains(&holder)))
}

#[test]
fn of_two_runs_that_are_each_first_somewhere_one_comes_to_its_end() {
    let Some(cli) = clis().into_iter().next() else { return };
    let lab = Lab::start(&["east"], Options { istiod: false, ..Options::default() }).expect("a cluster");
    let east = lab.cluster("east");
    for namespace in ["one", "two"] {
        east.kubectl(&["create", "namespace", namespace]).expect("kubectl");
        // Neither comes to its second request before the other one has begun with its own.
        let path = format!("PATCH /api/v1/namespaces/{namespace}/secrets");
        east.fault(Fault::status_retry_after(429, 1).for_request(&path)).expect("a fault");
    }
    let kubeconfig = east.kubeconfig_path();
    let states = [["one", "two"], ["two", "one"]].map(|order| state(&cli, &kubeconfig, order));
    let runs = [0, 1].map(|which| states[which].start(&APPLY));
    let said = runs.map(|run| std::thread::spawn(move || ended(run, LIMIT)));
    east.wait_until("a Lease of each run", || ["one", "two"].iter().all(|namespace| is_held(east, namespace)))
        .expect("both have begun");
    east.clear_faults().expect("no fault");
    let said: [Said; 2] = said.map(|run| run.join().expect("it ends"));
    let done: Vec<usize> = (0..2).filter(|which| said[*which].code == Some(0)).collect();
    let [done] = done[..] else { panic!("{} runs came to their end: {said:#?}", done.len()) };
    let refused = &said[1 - done];
    assert!(refused.stderr.contains("exists already"), "{}", refused.stderr);
    assert!(said[done].stdout.contains("was taken up"), "{}", said[done].stdout);
    states[done].is_settled();

    // The state of the run that was refused has a request that is no longer its own: it removes nothing.
    states[1 - done].run(&["destroy", "-auto-approve", "-input=false"]).ok();
    for namespace in ["one", "two"] {
        let secret = east.get(&["-n", namespace, "secret", "mesh-ca-request"]).expect("kubectl");
        assert!(secret.is_some_and(|secret: Json| secret["metadata"]["name"] == "mesh-ca-request"), "{namespace}");
    }
    states[done].is_settled();
    states[done].run(&["destroy", "-auto-approve", "-input=false"]).ok();
}
