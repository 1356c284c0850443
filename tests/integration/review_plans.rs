//! Recreates the plans that the review's pages are kept for: real plans of real meshes, by both CLIs. On demand, since
//! a walk takes minutes: `make review-plans`.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use lab::tools::{self, Istio};
use lab::{ChartRepository, Lab, Options};
use regex::Regex;
use serde_json::{Value, json};

use crate::examples_in_steps::made_by_hand;
use crate::links_topologies::Run;
use crate::support::cli::{Cli, clis, newest};

const WALK: &str = "tests/fixtures/review/walk";

/// What all CLIs keep; the rest is kept of one.
const OF_ALL: &[&str] = &[
    "clusters-unknown",
    "first-mesh",
    "upgrade-in-place",
    "network-renamed",
    "gateway-exposed-to-all",
    "third-cluster-joins",
    "drift-by-managers",
    "rotation-1-widen",
    "rotation-2-switch",
    "rotation-3-narrow",
    "cluster-leaves",
    "destroy",
    "twenty-four-clusters",
    "canary-1-second-revision",
    "canary-2-tag-moves",
    "canary-3-first-leaves",
    "helm-mesh-imported",
];

pub fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/review")
}

#[test]
#[ignore = "writes tests/fixtures/review: make review-plans"]
fn plans_are_made_anew() {
    let clis: Vec<Cli> = clis().into_iter().chain(newest()).collect();
    let lab = Lab::start(&["east", "west", "north"], Options::default()).unwrap();
    for cli in &clis {
        walk(cli, &lab);
        canary(cli, &lab);
    }
    drop(lab);
    adopted(&clis);
}

struct Walk<'a> {
    cli: &'a Cli,
    run: Run<'a>,
    variables: Value,
}

impl<'a> Walk<'a> {
    fn new(cli: &'a Cli, lab: &'a Lab, folder: &str) -> Self {
        let run = Run::of_folder(cli, lab, folder);
        let variables = fs::read_to_string(run.workspace.path("lab.auto.tfvars.json")).unwrap();
        fs::remove_file(run.workspace.path("lab.auto.tfvars.json")).unwrap();
        Self { cli, run, variables: serde_json::from_str(&variables).unwrap() }
    }

    /// From now on.
    fn set(&mut self, variables: &Value) {
        merge(&mut self.variables, variables);
    }

    /// Plans with these variables besides, and keeps the plan.
    fn keep(&self, name: &str, variables: &Value, arguments: &[&str]) {
        self.plan(variables, arguments);
        let shown = self.run.workspace.run(&["show", "-json", "plan.bin"]).ok();
        println!("{name} ({}): {} bytes", self.cli.name, shown.stdout.len());
        if self.cli.name == "terraform" || OF_ALL.contains(&name) {
            let file = fixtures().join(format!("{name}.{}.json", self.cli.name.replace(' ', "-")));
            fs::write(file, without_ports(&lines(&reduced(shown.json())))).unwrap();
        }
    }

    fn plan(&self, variables: &Value, arguments: &[&str]) {
        let mut all = self.variables.clone();
        merge(&mut all, variables);
        self.run.set_step(&all);
        let plan = [&["plan", "-input=false", "-out=plan.bin"], arguments].concat();
        self.run.workspace.run(&plan).ok();
    }

    /// Applies what was planned last.
    fn apply(&self) {
        self.run.workspace.run(&["apply", "-input=false", "plan.bin"]).ok();
    }
}

fn merge(into: &mut Value, over: &Value) {
    for (name, value) in over.as_object().unwrap() {
        into[name] = value.clone();
    }
}

fn walk(cli: &Cli, lab: &Lab) {
    let folder = |istio| json!({ "charts": { "directory": tools::charts(istio).unwrap().dir() } });
    let none = json!({});
    let mut walk = Walk::new(cli, lab, WALK);
    walk.set(&folder(Istio::Old));
    walk.set(&json!({ "members": ["east", "west"] }));
    walk.keep("clusters-unknown", &json!({ "later": true }), &[]);
    walk.keep("first-mesh", &none, &[]);
    walk.apply();
    walk.keep("nothing", &none, &[]);
    walk.set(&folder(Istio::Current));
    walk.keep("upgrade-in-place", &none, &[]);
    walk.apply();
    one_change_each(&walk);

    walk.set(&json!({ "members": ["east", "west", "north"] }));
    walk.keep("third-cluster-joins", &none, &[]);
    walk.apply();
    drifted(&mut walk, lab);
    for step in ["rotation-1-widen", "rotation-2-switch", "rotation-3-narrow"] {
        walk.set(&json!({ "root_generation": 2 }));
        walk.keep(step, &none, &[]);
        walk.apply();
    }
    walk.set(&json!({ "members": ["east", "west"] }));
    walk.keep("cluster-leaves", &none, &[]);
    walk.apply();
    // Not before: an istiod that loses a cluster may not take it up again.
    lab.cluster("west").kubectl(&["delete", "secret", "istio-remote-secret-east", "-n", "istio-system"]).unwrap();
    walk.keep("remote-secret-deleted", &none, &[]);
    walk.keep("destroy", &none, &["-destroy"]);
    walk.apply();
    large(&walk);
}

/// Plans of one change that are not applied.
fn one_change_each(walk: &Walk<'_>) {
    for (name, variables, arguments) in [
        ("values-change", json!({ "memory": "4Gi" }), &[][..]),
        ("network-renamed", json!({ "networks": { "west": "vpc-west" } }), &[]),
        ("gateway-exposed-to-all", json!({ "hosts": ["*.local"], "source_ranges": null }), &[]),
        ("host-added", json!({ "hosts": ["*.shop.svc.cluster.local", "cart.pay.svc.cluster.local"] }), &[]),
        ("watcher-removed", json!({ "blind": ["east/west"] }), &[]),
        ("gateway-removed", json!({ "gateways": ["east"] }), &[]),
        ("tokens-short", json!({ "token": { "lifetime": "7d" } }), &[]),
        ("tokens-for-ever", json!({ "token": { "long_lived": true } }), &[]),
        ("trust-domain-changed", json!({ "trust_domain": "mesh.example" }), &[]),
        ("mtls-off", json!({ "auto_mtls": false }), &[]),
        ("control-plane-replaced", json!({}), &["-replace=mesh_primary.this[\"east\"]"]),
        ("authority-replaced", json!({}), &["-replace=mesh_ca.this"]),
        ("one-resource-only", json!({ "memory": "4Gi" }), &["-target=mesh_primary.this[\"east\"]"]),
    ] {
        walk.keep(name, &variables, arguments);
    }
    // Values that are marked as sensitive in the configuration hide what is made of them, so no other plan has any.
    let main = fs::read_to_string(walk.run.workspace.path("main.tf")).unwrap();
    let with_password = main.replace(
        "{ ISTIO_MULTIROOT_MESH = \"true\" }",
        "{ ISTIO_MULTIROOT_MESH = \"true\", REGISTRY_LOGIN = var.password }",
    );
    assert_ne!(main, with_password);
    walk.run.workspace.configure(&with_password);
    walk.keep("password-in-values", &json!({ "password": "correct-horse-battery" }), &[]);
    walk.run.workspace.configure(&main);
}

/// Three managers change what is the provider's, and somebody deletes an object.
fn drifted(walk: &mut Walk<'_>, lab: &Lab) {
    let east = lab.cluster("east");
    let patch = |manager: &str, kind: &str, name: &str, patch: Value| {
        let manager = format!("--field-manager={manager}");
        let patch = patch.to_string();
        east.kubectl(&["patch", kind, name, "-n", "istio-system", "--type=merge", &manager, "-p", &patch]).unwrap();
    };
    let policy = json!({ "spec": { "minReplicas": 5 } });
    patch("kubectl-set", "horizontalpodautoscaler", "istiod", policy);
    patch("alice", "service", "istiod", json!({ "metadata": { "labels": { "app": "other" } } }));
    patch("argocd", "configmap", "istio", json!({ "data": { "meshNetworks": "networks: {stray: {}}" } }));
    lab.cluster("west").kubectl(&["delete", "clusterrole", "istio-mesh-reader-istio-system"]).unwrap();
    walk.keep("drift-by-managers", &json!({}), &[]);
    walk.keep("drift-forced", &json!({ "force": true }), &[]);
    walk.apply();
}

/// A plan of many clusters, for which one will do: nothing is asked of them that only they could answer.
fn large(walk: &Walk<'_>) {
    let east = walk.variables["kubeconfigs"]["east"].clone();
    let names: Vec<String> = (1..24).map(|number| format!("c{number:02}")).chain(["east".to_owned()]).collect();
    let kubeconfigs: serde_json::Map<String, Value> = names.iter().map(|name| (name.clone(), east.clone())).collect();
    walk.keep("twenty-four-clusters", &json!({ "kubeconfigs": kubeconfigs, "members": names }), &[]);
}

/// A second revision, a tag that moves, the first revision gone.
fn canary(cli: &Cli, lab: &Lab) {
    let charts = ChartRepository::start().unwrap();
    let mut walk = Walk::new(cli, lab, "examples/canary-upgrade");
    walk.set(&json!({ "charts": { "repository": charts.url() }, "live": "1-30", "revisions": { "1-30": "1.30.0" } }));
    let east = lab.cluster("east").kubeconfig_path();
    let west = lab.cluster("west").kubeconfig_path();
    walk.set(&json!({ "kubeconfigs": { "east": east, "west": west } }));
    walk.plan(&json!({}), &[]);
    walk.apply();
    for (name, variables) in [
        ("canary-1-second-revision", json!({ "revisions": { "1-30": "1.30.0", "1-31": "1.31.0" } })),
        ("canary-2-tag-moves", json!({ "live": "1-31" })),
        ("canary-3-first-leaves", json!({ "revisions": { "1-31": "1.31.0" } })),
    ] {
        walk.set(&variables);
        walk.keep(name, &json!({}), &[]);
        walk.apply();
    }
    walk.run.destroy().ok();
}

/// What helm and istioctl made is imported.
fn adopted(clis: &[Cli]) {
    let lab = Lab::start(&["east", "west"], Options::default()).unwrap();
    let pems = lab.dir().join("pems");
    made_by_hand(&lab, &pems).unwrap();
    let pem = |name: &str| fs::read_to_string(pems.join(name)).unwrap();
    let brought = json!({ "root_certificate": pem("root-cert.pem"), "root_private_key": pem("root-key.pem") });
    for cli in clis {
        let mut walk = Walk::new(cli, &lab, "examples/adoption");
        walk.set(&brought);
        walk.keep("helm-mesh-imported", &json!({}), &[]);
    }
}

/// What the review reads.
fn reduced(mut plan: Value) -> Value {
    for (name, path) in plan["variables"]["kubeconfigs"]["value"].as_object_mut().into_iter().flatten() {
        *path = format!("/lab/{name}/kubeconfig").into();
    }
    if let Some(folder) = plan.pointer_mut("/variables/charts/value/directory") {
        *folder = "/lab/charts".into();
    }
    let configuration = json!({ "root_module": { "variables": plan["configuration"]["root_module"]["variables"] } });
    let kept = [
        "format_version",
        "terraform_version",
        "timestamp",
        "resource_changes",
        "resource_drift",
        "output_changes",
        "variables",
        "complete",
        "errored",
        "applyable",
    ];
    let mut reduced: serde_json::Map<String, Value> =
        kept.iter().filter_map(|name| Some(((*name).to_owned(), plan.get(*name)?.clone()))).collect();
    reduced.insert("configuration".to_owned(), configuration);
    let left_out = left_out(&plan);
    if !left_out.is_empty() {
        let state = json!({ "values": { "root_module": { "resources": left_out } } });
        reduced.insert("prior_state".to_owned(), state);
    }
    Value::Object(reduced)
}

/// What state knows and the plan leaves out, as with `-target`. The rest of state `resource_changes` has once more.
fn left_out(plan: &Value) -> Vec<Value> {
    let of = |list: &Value| list.as_array().cloned().unwrap_or_default();
    let planned = of(&plan["resource_changes"]);
    let is_planned = |resource: &Value| planned.iter().any(|change| change["address"] == resource["address"]);
    let is_of_mesh = |resource: &Value| resource["type"].as_str().is_some_and(|kind| kind.starts_with("mesh_"));
    let known = of(&plan["prior_state"]["values"]["root_module"]["resources"]);
    known.into_iter().filter(|resource| is_of_mesh(resource) && !is_planned(resource)).collect()
}

/// A line for each resource, so that a difference can be read.
fn lines(plan: &Value) -> String {
    let member = |(name, value): (&String, &Value)| match value {
        Value::Array(items) if name.starts_with("resource_") => {
            let items: Vec<String> = items.iter().map(Value::to_string).collect();
            format!("\"{name}\":[\n{}\n]", items.join(",\n"))
        }
        value => format!("\"{name}\":{value}"),
    };
    let members: Vec<String> = plan.as_object().unwrap().iter().map(member).collect();
    format!("{{\n{}\n}}\n", members.join(",\n"))
}

/// Each run has ports of its own.
fn without_ports(text: &str) -> String {
    static PORT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"127\.0\.0\.1:\d+").unwrap());
    PORT.replace_all(text, "127.0.0.1:6443").into_owned()
}
