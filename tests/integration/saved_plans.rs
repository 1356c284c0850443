//! Between a plan that is saved and its apply the world goes on: objects are deleted, changed, made anew by hand. The
//! apply does what the plan promised, or says in its own words what is not as it was; never does the core have to say
//! that the provider broke its word.

use std::path::Path;

use lab::tools::{self, Istio};
use lab::{Cluster, Lab, Options};

use crate::support::cli::{Said, Workspace, clis};
use crate::support::plugin_process::BINARY;

const SOURCE: &str = "terraform-provider-mesh/mesh";

/// Objects of every resource, one of each kind: cluster, kind, name. Without its account or its rights an istiod that
/// is restarted is waited for in vain, for minutes.
const OBJECTS: &[(&str, &str, &str)] = &[
    ("east", "secret", "cacerts"),
    ("west", "secret", "cacerts"),
    ("east", "service", "istiod"),
    ("east", "mutatingwebhookconfiguration", "istio-sidecar-injector"),
    ("east", "service", "istio-eastwestgateway"),
    ("east", "serviceaccount", "istio-eastwestgateway"),
    ("east", "deployment", "istio-eastwestgateway"),
    ("east", "gateways.networking.istio.io", "cross-network-gateway"),
    ("west", "serviceaccount", "istio-mesh-reader"),
    ("west", "clusterrole", "istio-mesh-reader-istio-system"),
    ("west", "clusterrolebinding", "istio-mesh-reader-istio-system"),
    ("east", "secret", "istio-remote-secret-west"),
    ("east", "serviceentry", "cart-shop-global"),
    ("east", "destinationrule", "cart-shop-global"),
];

#[test]
fn a_changed_world_is_met_with_what_was_promised_or_with_words_of_ours() {
    let Some(cli) = clis().into_iter().next() else { return };
    let lab = Lab::start(&["east", "west"], Options::default()).expect("clusters");
    lab.cluster("west").kubectl(&["create", "namespace", "istio-system"]).expect("a namespace");
    let run = Run {
        workspace: Workspace::overriding(&cli, SOURCE, Path::new(BINARY).parent().expect("a folder")),
        lab: &lab,
    };
    std::fs::copy(lab.cluster("west").kubeconfig_path(), run.workspace.path("west.kubeconfig")).expect("a kubeconfig");
    copy(tools::charts(Istio::Current).expect("the charts").dir(), &run.workspace.path("charts"));
    let definitions = run.workspace.path("gateway-api");
    copy(&tools::gateway_api().expect("the Gateway API"), &definitions);
    run.configure(1);
    run.apply().ok();
    run.workspace.is_settled();
    let all: Vec<bool> = OBJECTS.iter().map(|object| run.there(object)).collect();
    let missing: Vec<_> = OBJECTS.iter().zip(&all).filter(|(_, there)| !**there).collect();
    assert!(missing.is_empty(), "this test knows other names than the provider: {missing:?}");

    type Change = fn(&Cluster, &str, &str);
    let changes: [(&str, Change); 3] = [("deleted", delete), ("changed", change), ("made anew", remake)];
    for (generation, (what, how)) in (2..).zip(changes) {
        run.configure(generation);
        let plan = run.workspace.run(&["plan", "-input=false", "-out=saved"]).ok().stdout;
        // A provider cannot see that its input is sensitive: what a key calls a secret is shown as a digest all the
        // same.
        assert!(plan.contains("AUTH_TOKEN") && plan.contains("sha256:") && !plan.contains("hunter2"), "{plan}");
        for (cluster, kind, name) in OBJECTS {
            how(lab.cluster(cluster), kind, name);
        }
        let applied = run.workspace.run(&["apply", "-input=false", "saved"]);
        in_our_words(what, &applied);
        if what == "changed" {
            // What the API server would refuse at apply stands in the plan already, with who holds it.
            let plan = run.workspace.run(&["plan", "-input=false"]).ok().stdout;
            let flat = plan.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
            for told in ["that this plan sets", ", by kubectl-label", "`force_conflicts = true`"] {
                assert!(flat.contains(told), "{told:?} is not in {plan}");
            }
        }
        run.repaired(what);
    }

    // The watched cluster has another address by now: what the plan said of it does not hold, and no remote secret is
    // written for it.
    run.configure(7);
    run.workspace.run(&["plan", "-input=false", "-out=saved"]).ok();
    let kubeconfig = run.workspace.path("west.kubeconfig");
    let here = std::fs::read_to_string(&kubeconfig).expect("a kubeconfig");
    assert!(here.contains("https://127.0.0.1:"), "{here}");
    std::fs::write(&kubeconfig, here.replace("https://127.0.0.1:", "https://localhost:")).expect("the kubeconfig");
    let secret = || lab.cluster("east").get(&["-n", "istio-system", "secret", "istio-remote-secret-west"]);
    let before = secret().expect("kubectl").expect("the remote secret");
    let applied = run.workspace.run(&["apply", "-input=false", "saved"]);
    in_our_words("another address", &applied);
    assert_eq!(applied.code, Some(1), "{}", applied.stdout);
    assert!(applied.stderr.contains("The cluster has changed since the plan"), "{}", applied.stderr);
    assert_eq!(secret().expect("kubectl").expect("the remote secret")["data"], before["data"]);
    std::fs::write(&kubeconfig, here).expect("the kubeconfig");

    // So do charts that somebody changes between the plan and its apply: nobody has seen what would come out of them.
    run.configure(8);
    run.workspace.run(&["plan", "-input=false", "-out=saved"]).ok();
    for (chart, template) in [("istiod", "service.yaml"), ("gateway", "service.yaml")] {
        let template = run.workspace.path("charts").join(chart).join("templates").join(template);
        let text = std::fs::read_to_string(&template).expect("a template");
        std::fs::write(&template, format!("# Changed after the plan.\n{text}")).expect("the template");
    }
    let applied = run.workspace.run(&["apply", "-input=false", "saved"]);
    in_our_words("other charts", &applied);
    assert_eq!(applied.code, Some(1), "{}", applied.stdout);
    assert!(applied.stderr.contains("The charts have changed since the plan"), "{}", applied.stderr);
    run.repaired("other charts");

    // And so do the definitions of the Gateway API.
    run.configure(9);
    run.workspace.run(&["plan", "-input=false", "-out=saved"]).ok();
    let written = || lab.cluster("east").kubectl(&["get", "customresourcedefinition", ROUTES, "-o", "yaml"]);
    let before = written().expect("a definition");
    edit(&definitions);
    let applied = run.workspace.run(&["apply", "-input=false", "saved"]);
    in_our_words("other definitions", &applied);
    assert_eq!(applied.code, Some(1), "{}", applied.stdout);
    assert!(applied.stderr.contains("The charts have changed since the plan"), "{}", applied.stderr);
    assert!(applied.stderr.contains("charts.gateway_api") || applied.stderr.contains("definitions of the Gateway"));
    assert_eq!(written().expect("a definition"), before, "nothing was written");
    run.repaired("other definitions");
    assert!(written().expect("a definition").contains(EDITED), "the next plan has seen it");
}

/// A definition of the Gateway API, and what is written into it where it comes from.
const ROUTES: &str = "httproutes.gateway.networking.k8s.io";
const EDITED: &str = "edited-after-the-plan";

/// Edits that definition where it comes from.
fn edit(folder: &Path) {
    let files = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut edited = 0;
    for file in files.filter(|file| file.is_file()) {
        let text = std::fs::read_to_string(&file).expect("a file");
        let line = format!("  name: {ROUTES}\n");
        if text.contains(&line) {
            edited += 1;
            std::fs::write(&file, text.replace(&line, &format!("  labels:\n    {EDITED}: \"yes\"\n{line}")))
                .expect("written");
        }
    }
    assert_eq!(edited, 1, "files that define {ROUTES} in {}", folder.display());
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("a file");
        }
    }
}

struct Run<'a> {
    workspace: Workspace,
    lab: &'a Lab,
}

impl Run<'_> {
    /// Each generation changes something in every resource.
    fn configure(&self, generation: u32) {
        let path = |name: &str| self.lab.cluster(name).kubeconfig_path().display().to_string();
        let charts = self.workspace.path("charts").display().to_string();
        let definitions = self.workspace.path("gateway-api").display().to_string();
        let (east, odd) = (path("east"), generation % 2 == 1);
        let west = self.workspace.path("west.kubeconfig").display().to_string();
        self.workspace.configure(&format!(
            r#"terraform {{
  required_providers {{
    mesh = {{ source = "{SOURCE}" }}
  }}
}}

provider "mesh" {{
  clusters = {{
    east = {{ config_path = "{east}" }}
    west = {{ config_path = "{west}" }}
  }}
  charts = {{ directory = "{charts}", gateway_api = "{definitions}" }}
}}

resource "mesh_ca" "this" {{
  root           = {{ store = {{ cluster = "west", readable_by_watchers = true }} }}
  rotation_pause = "0s"
  clusters = {{
    east = {{ generation = {generation} }}
    west = {{ generation = {generation} }}
  }}
}}

resource "mesh_primary" "this" {{
  cluster      = "east"
  mesh_id      = "mesh1"
  network      = "net-east"
  custom_hosts = ["g{generation}.example"]
  gateway_api  = "1.6.0"
  timeouts     = {{ update = "1m" }}
  values       = [sensitive(yamlencode({{ pilot = {{ env = {{ AUTH_TOKEN = "hunter2-of-{generation}" }} }} }}))]
}}

resource "mesh_eastwest_gateway" "this" {{
  cluster = "east"
  network = "net-east"
  wait    = false
  service = {{ annotations = {{ generation = "{generation}" }} }}
  expose  = {{ services = true }}
  depends_on = [mesh_primary.this]
}}

resource "mesh_remote_cluster" "west" {{
  cluster               = "west"
  watchers              = ["east"]
  allow_loopback_server = true
  export_services       = {odd}
  wait                  = false
  depends_on            = [mesh_primary.this]
}}

resource "mesh_service_entry" "cart" {{
  cluster           = "east"
  host              = "cart.shop.global"
  ports             = {{ http = {{ number = 80 }} }}
  outlier_detection = {odd}
  exporters = {{
    west = {{ namespace = "shop", service = "cart", service_accounts = ["cart"], gateways = [{{ value = "192.0.2.9" }}] }}
  }}
  depends_on = [mesh_primary.this]
}}
"#
        ));
    }

    fn apply(&self) -> Said {
        self.workspace.run(&["apply", "-auto-approve", "-input=false"])
    }

    fn there(&self, (cluster, kind, name): &(&str, &str, &str)) -> bool {
        let cluster = self.lab.cluster(cluster);
        let of_namespace = cluster.get(&["-n", "istio-system", kind, name]).expect("kubectl");
        of_namespace.is_some()
    }

    /// The next runs bring about what is asked for; what others hold by now is taken.
    fn repaired(&self, what: &str) {
        let mut said = Vec::new();
        for _ in 0..3 {
            let applied = self.apply();
            in_our_words(what, &applied);
            if applied.code == Some(0)
                && self.workspace.run(&["plan", "-detailed-exitcode", "-input=false"]).code == Some(0)
            {
                return;
            }
            said.push(format!("{}{}", applied.stdout, applied.stderr));
            self.forget_what_others_made();
        }
        panic!("{what}: no apply repairs it:\n{}", said.join("\n-----\n"));
    }

    /// What was made anew or edited by hand is somebody else's, which an apply says and leaves: here it goes.
    fn forget_what_others_made(&self) {
        for (cluster, kind, name) in OBJECTS {
            delete(self.lab.cluster(cluster), kind, name);
        }
    }
}

/// An end as it was promised, or an error that the provider worded.
#[track_caller]
fn in_our_words(what: &str, said: &Said) {
    let all = format!("{}{}", said.stdout, said.stderr);
    let flat = all.replace(['\n', '│'], " ");
    let flat = flat.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in
        ["inconsistent", "bug in the provider", "Provider bug", "defect of the provider", "did not respond", "panicked"]
    {
        assert!(!flat.contains(words), "{what}: {words:?} in\n{all}");
    }
}

fn delete(cluster: &Cluster, kind: &str, name: &str) {
    cluster
        .kubectl(&["-n", "istio-system", "delete", kind, name, "--ignore-not-found", "--wait=false"])
        .expect("kubectl");
}

fn change(cluster: &Cluster, kind: &str, name: &str) {
    cluster
        .kubectl(&["-n", "istio-system", "label", kind, name, "istio=edited", "app=edited", "--overwrite"])
        .expect("kubectl");
}

/// The same name by another hand, without what the provider writes into it.
fn remake(cluster: &Cluster, kind: &str, name: &str) {
    let Some(mut object) = cluster.get(&["-n", "istio-system", kind, name]).expect("kubectl") else { return };
    delete(cluster, kind, name);
    let metadata = object["metadata"].as_object_mut().expect("metadata");
    metadata.retain(|member, _| ["name", "namespace"].contains(&member.as_str()));
    if let Some(spec) = object.get_mut("spec").and_then(serde_json::Value::as_object_mut) {
        spec.retain(|member, _| !["clusterIP", "clusterIPs"].contains(&member.as_str()));
    }
    object.as_object_mut().expect("an object").remove("status");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), object.to_string()).expect("written");
    cluster.kubectl(&["create", "-f", &file.path().display().to_string()]).expect("kubectl");
}
