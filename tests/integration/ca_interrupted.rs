//! A rotation of the root under a real CLI that is killed, CLI and provider, at chosen moments of every step; that
//! meets a cluster whose API server is down; and that is turned back. At no moment does a cluster issue what another
//! would refuse, and each next apply goes on where the killed one was.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use lab::{Fault, Lab, Options};
use serde_json::Value as Json;
use terraform_provider_mesh::pki::{Bundle, Certificate};

use crate::support::cli::{Said, Workspace, clis};
use crate::support::plugin_process::BINARY;

const CLUSTERS: [&str; 2] = ["east", "west"];
const WEST: [&str; 1] = ["west"];

/// Requests that a killed apply does not get answered.
const KEEPS_ROOT: &str = "PATCH /api/v1/namespaces/mesh-root-ca/secrets/mesh-root-ca";
const WRITES: &str = "PATCH /api/v1/namespaces/istio-system/secrets/cacerts";
/// The proof, which begins when the Secrets are written.
const PROVES: &str = "/pods?";

#[test]
fn a_rotation_survives_kills_a_cluster_that_is_down_and_a_change_of_mind() {
    let Some(cli) = clis().into_iter().next() else { return };
    let lab = Lab::start(&CLUSTERS, Options { istiod: false, ..Options::default() }).expect("two clusters");
    let workspace = Workspace::overriding(&cli, "terraform-provider-mesh/mesh", Path::new(BINARY).parent().unwrap());
    let run = Run { lab: &lab, workspace };
    a_cluster_is_given_up(&run);
    killed_at_every_step(&run);
    a_cluster_is_down(&run);
    turned_back(&run);
    a_cluster_is_gone_for_good(&run);
    run.workspace.run(&["destroy", "-auto-approve", "-input=false"]).ok();
}

/// An apply is killed when it has written to a cluster, and the configuration then goes without that cluster: no key of
/// the CA stays in it. A key of another instance does.
fn a_cluster_is_given_up(run: &Run<'_>) {
    let bystander = r#"{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cacerts", "namespace": "default",
        "labels": {"terraform-provider-mesh/owner": "mesh_ca.mesh-root-ca.default"}}, "data": {}}"#;
    run.lab.cluster("west").apply(bystander).unwrap();
    let given_up = || {
        run.asks("east = {}", 1, "0s");
        run.apply().ok();
        run.asks("east = {}, west = {}", 1, "0s");
        run.killed(&WEST, PROVES, "", |run| run.has_cacerts("west"));
    };
    given_up();
    run.asks("east = {}", 1, "1s");
    run.apply().ok();
    assert!(run.has_cacerts("east") && !run.has_cacerts("west"), "by the next apply");
    let plan = run.workspace.run(&["plan", "-detailed-exitcode", "-input=false"]);
    assert_eq!(plan.code, Some(0), "{}{}", plan.stdout, plan.stderr);

    given_up();
    run.asks("east = {}", 1, "0s");
    run.workspace.run(&["destroy", "-auto-approve", "-input=false"]).ok();
    assert!(!run.has_cacerts("east") && !run.has_cacerts("west"), "by a destroy");
    let west = run.lab.cluster("west");
    assert!(west.get(&["namespace", "istio-system"]).unwrap().is_none(), "its namespace was ours");
    assert!(west.get(&["secret", "cacerts", "-n", "default"]).unwrap().is_some(), "the bystander's");
    west.kubectl(&["delete", "secret", "cacerts", "-n", "default"]).unwrap();
}

fn killed_at_every_step(run: &Run<'_>) {
    run.generation(1);
    run.apply().ok();
    let old = run.issuer("east");
    run.generation(2);

    run.killed(&["east"], KEEPS_ROOT, "", |run| run.stored() == ["root-1"]);
    run.killed(&CLUSTERS, WRITES, "step 1 of 3", |run| run.stored() == ["root-1", "root-2"]);
    run.killed(&WEST, WRITES, "step 1 of 3", |run| run.trusted("east") == 2);
    assert_eq!((run.trusted("west"), run.issuer("east")), (1, old.clone()));
    run.killed(&WEST, PROVES, "step 1 of 3", |run| run.trusted("west") == 2);
    assert_eq!((run.issuer("east"), run.issuer("west")), (old.clone(), old.clone()));

    // Everything of the first step is done, although no apply of it ever ended: the next plan is the second.
    run.killed(&WEST, WRITES, "step 2 of 3", |run| run.issuer("east") != old);
    assert_eq!(run.issuer("west"), old);
    run.killed(&WEST, PROVES, "step 2 of 3", |run| run.issuer("west") != old);
    let new = run.issuer("east");
    assert_eq!((run.issuer("west"), run.trusted("east"), run.trusted("west")), (new.clone(), 2, 2));

    run.killed(&WEST, WRITES, "step 3 of 3", |run| run.trusted("east") == 1);
    run.killed(&["east"], KEEPS_ROOT, "step 3 of 3", |run| run.trusted("west") == 1);
    assert_eq!(run.stored(), ["root-1", "root-2"], "the old key could not be removed");

    run.apply().ok();
    run.ends_on(&new, "root-2");
}

fn a_cluster_is_down(run: &Run<'_>) {
    let (old, west) = (run.issuer("east"), run.lab.cluster("west"));
    run.generation(3);
    west.fault(Fault::stopped()).unwrap();
    let begun = run.apply();
    assert_eq!(begun.code, Some(1), "{}", begun.stdout);
    assert!(begun.stderr.contains("west"), "{}", begun.stderr);
    assert_eq!((run.trusted("east"), run.issuer("east")), (2, old.clone()));
    // As often as it is asked: the second step does not begin.
    let plan = run.workspace.run(&["plan", "-input=false"]).ok();
    for told in ["A cluster is down", "No answer from west"] {
        assert!(plan.stdout.contains(told), "{told:?} is missing: {}", plan.stdout);
    }
    assert!(!plan.stdout.contains("step 2 of 3"), "{}", plan.stdout);
    run.apply();
    assert_eq!(run.issuer("east"), old, "east issues from a root that west does not trust");
    west.clear_faults().unwrap();
    let resumed = run.apply().ok();
    assert!(resumed.stdout.contains("step 1 of 3"), "{}", resumed.stdout);
    run.whole();

    // Down after the plan of the second step, and before it is applied.
    let plan = run.workspace.run(&["plan", "-input=false", "-out=switch"]).ok();
    assert!(plan.stdout.contains("step 2 of 3"), "{}", plan.stdout);
    west.fault(Fault::stopped()).unwrap();
    let refused = run.workspace.run(&["apply", "-input=false", "switch"]);
    assert_eq!(refused.code, Some(1), "{}", refused.stdout);
    assert!(refused.stderr.contains("west"), "{}", refused.stderr);
    assert_eq!(run.issuer("east"), old, "no cluster switches before all can");
    let plan = run.workspace.run(&["plan", "-input=false"]).ok();
    let words = plan.stdout.split_whitespace().collect::<Vec<_>>().join(" ").replace("│ ", "");
    assert!(words.contains("No answer from west. Step 2 of the rotation (switch issuers) begins only when"), "{words}");
    west.clear_faults().unwrap();
    run.apply().ok();
    assert_ne!(run.issuer("east"), old);
    assert_eq!(run.issuer("east"), run.issuer("west"));
}

/// From the second step back, by the old number.
fn turned_back(run: &Run<'_>) {
    let new = run.issuer("east");
    run.generation(2);
    run.apply().ok();
    let old = run.issuer("east");
    assert_ne!(old, new);
    assert_eq!((run.trusted("east"), run.trusted("west")), (2, 2), "one phase back, and no further");

    // All that a kill at the very end leaves to do is the key of the root that was given up.
    run.killed(&["east"], KEEPS_ROOT, "step 3 of 3", |run| run.trusted("west") == 1);
    assert_eq!(run.stored(), ["root-2", "root-3"]);
    let last = run.apply().ok();
    assert!(last.stdout.contains("The key of an old root is still kept"), "{}", last.stdout);
    run.ends_on(&old, "root-2");
}

/// Taken out of `clusters` when it no longer answers: an error that says how, and then it is left and told.
fn a_cluster_is_gone_for_good(run: &Run<'_>) {
    let west = run.lab.cluster("west");
    west.fault(Fault::stopped()).unwrap();
    run.asks("east = {}", 2, "0s");
    let refused = run.apply();
    assert_eq!(refused.code, Some(1), "{}", refused.stdout);
    assert!(refused.stderr.contains("skip_unreachable_on_destroy"), "{}", refused.stderr);
    let main = std::fs::read_to_string(run.workspace.path("main.tf")).unwrap();
    let skips = "skip_unreachable_on_destroy = true\n  rotation_pause";
    run.workspace.configure(&main.replacen("rotation_pause", skips, 1));
    let left = run.apply().ok();
    assert!(left.stdout.contains("Clusters that cannot be reached were left as they are"), "{}", left.stdout);
    let plan = run.workspace.run(&["plan", "-detailed-exitcode", "-input=false"]);
    assert_eq!(plan.code, Some(0), "{}{}", plan.stdout, plan.stderr);
    west.clear_faults().unwrap();
    assert!(run.has_cacerts("west"), "nobody could remove it");
}

struct Run<'a> {
    lab: &'a Lab,
    workspace: Workspace,
}

impl Run<'_> {
    fn generation(&self, number: i64) {
        self.asks("east = {}, west = {}", number, "0s");
    }

    fn asks(&self, clusters: &str, number: i64, pause: &str) {
        let named = |name: &str, cluster: &str| {
            format!("{name} = {{ config_path = \"{}\" }}", self.lab.cluster(cluster).kubeconfig_path().display())
        };
        let cluster = |name: &str| named(name, name);
        self.workspace.configure(&format!(
            r#"terraform {{
  required_providers {{
    mesh = {{ source = "terraform-provider-mesh/mesh" }}
  }}
}}

provider "mesh" {{
  clusters = {{
    {}
    {}
    {}
  }}
}}

resource "mesh_ca" "this" {{
  root           = {{ store = {{ cluster = "east" }}, generation = {number} }}
  clusters       = {{ {clusters} }}
  rotation_pause = "{pause}"
}}
"#,
            cluster("east"),
            cluster("west"),
            // A second name of a cluster: what is there is the same.
            named("again", "east")
        ));
    }

    fn apply(&self) -> Said {
        self.workspace.run(&["apply", "-auto-approve", "-input=false"])
    }

    /// An apply that is killed when these clusters have been sent such a request, which none of them answers, and the
    /// rest has come about. Its plan names the step.
    #[track_caller]
    fn killed(&self, clusters: &[&str], request: &str, step: &str, come_about: impl Fn(&Self) -> bool) {
        // An apply tells its warnings when it is over: a killed one never does.
        let plan = self.workspace.run(&["plan", "-input=false"]).ok();
        assert!(plan.stdout.contains(step), "{step:?} is not planned: {}", plan.stdout);
        for name in clusters {
            let held = Fault::slow(Duration::from_secs(300)).for_agent("terraform-provider-mesh").for_request(request);
            self.lab.cluster(name).fault(held).unwrap();
        }
        let mut core = self.workspace.start(&["apply", "-auto-approve", "-input=false"]);
        let begun = std::time::Instant::now();
        loop {
            // What holds from the start, as that nothing was written, is given the time to be broken.
            if begun.elapsed() > Duration::from_secs(4) && come_about(self) {
                break;
            }
            assert!(core.try_wait().unwrap().is_none(), "the apply ended: {:?}", core.wait_with_output());
            assert!(begun.elapsed() < Duration::from_secs(120), "{request} is never reached");
            std::thread::sleep(Duration::from_millis(200));
        }
        let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", core.id())]).output();
        let said = Said::from(core.wait_with_output().unwrap());
        assert_eq!(said.code, None, "it was killed");
        for name in clusters {
            self.lab.cluster(name).clear_faults().unwrap();
        }
        self.whole();
    }

    /// Every cluster trusts what every cluster issues from.
    #[track_caller]
    fn whole(&self) {
        let issuers: BTreeSet<String> = CLUSTERS.iter().map(|name| self.issuer(name)).collect();
        for name in CLUSTERS {
            let trusted: BTreeSet<String> = self.roots(name).fingerprints().iter().map(ToString::to_string).collect();
            assert!(issuers.is_subset(&trusted), "{name} trusts {trusted:?}, and {issuers:?} issue");
        }
    }

    #[track_caller]
    fn ends_on(&self, root: &str, kept: &str) {
        let plan = self.workspace.run(&["plan", "-detailed-exitcode", "-input=false"]);
        assert_eq!(plan.code, Some(0), "{}{}", plan.stdout, plan.stderr);
        for name in CLUSTERS {
            assert_eq!((self.issuer(name).as_str(), self.trusted(name)), (root, 1), "{name}");
        }
        assert_eq!(self.stored(), [kept]);
        let state = self.workspace.state();
        let told = &state["resources"][0]["instances"][0]["attributes"];
        assert_eq!((&told["phase"], &told["root_fingerprint"]), (&"settled".into(), &root.into()));
    }

    /// The generations in the store.
    fn stored(&self) -> Vec<String> {
        let data = self.data("east", "mesh-root-ca", "mesh-root-ca");
        data.keys().filter_map(|key| key.strip_suffix(".key")).map(str::to_owned).collect()
    }

    /// Fingerprint of the root that the cluster's intermediate is of.
    fn issuer(&self, name: &str) -> String {
        let data = self.data(name, "istio-system", "cacerts");
        let intermediate = Certificate::from_pem(&data["ca-cert.pem"]).unwrap();
        let roots = self.roots(name);
        let root = roots.iter().find(|root| intermediate.is_signed_by(root)).expect("a root of its own");
        root.fingerprint().to_string()
    }

    fn has_cacerts(&self, name: &str) -> bool {
        self.lab.cluster(name).get(&["secret", "cacerts", "-n", "istio-system"]).unwrap().is_some()
    }

    fn trusted(&self, name: &str) -> usize {
        self.roots(name).len()
    }

    fn roots(&self, name: &str) -> Bundle {
        Bundle::from_pem(&self.data(name, "istio-system", "cacerts")["root-cert.pem"]).unwrap()
    }

    fn data(&self, cluster: &str, namespace: &str, name: &str) -> BTreeMap<String, String> {
        let secret = self.lab.cluster(cluster).get(&["secret", name, "-n", namespace]).unwrap().expect("the Secret");
        let data = secret["data"].as_object().unwrap();
        let text = |value: &Json| String::from_utf8(BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap()).unwrap();
        data.iter().map(|(key, value)| (key.clone(), text(value))).collect()
    }
}
