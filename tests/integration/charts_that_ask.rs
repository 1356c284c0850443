//! Charts that ask the cluster (`.Capabilities`): told what helm tells them there, asked once in a walk, and
//! remembered, so that a plan depends on no answer of the moment.

use std::path::Path;
use std::sync::Arc;

use lab::tools::{self, Istio, Tool};
use lab::{Cluster, Fault, Requests};
use serde_json::{Value as Json, json};
use terraform_provider_mesh::provider::Mesh;
use terraform_provider_mesh::resources::registry;
use terraform_provider_mesh::value::{Dyn, Path as Attribute};

use crate::primary_lifecycle::{apply, assert_settled, config, destroy, plan, provider, start};
use crate::support::core::{Action, Applied, Core, Planned, Stored};

const PRIMARY: &str = "mesh_primary";

/// All that can be asked, the kinds that the chart `base` defines among it.
const ASKS: &str = r#"apiVersion: v1
kind: ConfigMap
metadata: {name: asked, namespace: {{ .Release.Namespace }}}
data:
  version: {{ .Capabilities.KubeVersion.Version | quote }}
  shown: "{{ .Capabilities.KubeVersion }} {{ .Capabilities.KubeVersion.String }} {{ .Capabilities.KubeVersion | toString }}"
  numbers: "{{ .Capabilities.KubeVersion.Major }} {{ .Capabilities.KubeVersion.Minor }}"
  budgets: {{ .Capabilities.APIVersions.Has "policy/v1/PodDisruptionBudget" | quote }}
  scale: {{ .Capabilities.APIVersions.Has "apps/v1/Scale" | quote }}
  gateways: {{ .Capabilities.APIVersions.Has "networking.istio.io/v1/Gateway" | quote }}
  extensions: {{ .Capabilities.APIVersions.Has "extensions/v1beta1" | quote }}
  things: {{ .Capabilities.APIVersions.Has "example.com/v1/Thing" | quote }}
"#;

/// The version alone, as Istio's chart `cni` does.
const ASKS_VERSION: &str = r#"apiVersion: v1
kind: ConfigMap
metadata: {name: asked, namespace: {{ .Release.Namespace }}}
data: {bin: {{ .Capabilities.KubeVersion.GitVersion | contains "-gke" | ternary "gke" "usual" }}}
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn charts_are_told_what_helm_tells_them() {
    let (_lab, east) = start();
    let charts = charts_that_ask(ASKS);
    let core = core(&east, charts.path()).await;
    let config = config(Istio::Current, json!({}));

    let first = plan(&core, &config, None).await;
    assert!(objects(&first).is_unknown(), "the apply itself brings definitions, so that only it can know");
    let stored = apply(&core, &config, None).await;
    assert_eq!(asked(&east)["gateways"], "true", "defined by this very apply");
    assert_eq!(asked(&east)["things"], "false");
    as_helm_has_it(&east);
    assert_settled(&core, &config, &stored).await;

    // Another kind comes, and goes.
    let thing = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "things.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"kind": "Thing", "plural": "things"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    east.apply(&thing.to_string()).expect("a definition");
    served(&east, true);
    core.walk_anew().await;
    let stored = changed(&core, &config, &stored, "It serves now example.com/v1, example.com/v1/Thing").await;
    assert_eq!(asked(&east)["things"], "true");
    as_helm_has_it(&east);
    assert_settled(&core, &config, &stored).await;
    one_request_each(&core, &east, &config, &stored).await;

    // An answer that cannot be had is the one of before.
    east.fault(Fault::unreachable()).expect("a fault");
    core.walk_anew().await;
    assert_settled(&core, &config, &stored).await;
    east.clear_faults().expect("no fault");

    east.kubectl(&["delete", "crd", "things.example.com"]).expect("kubectl");
    served(&east, false);
    core.walk_anew().await;
    let stored = changed(&core, &config, &stored, "It no longer serves example.com/v1").await;
    as_helm_has_it(&east);
    assert_settled(&core, &config, &stored).await;

    let imported = core.import(PRIMARY, "east/istio-system/istiod").await.expect("an import").expect("a state");
    let again = plan(&core, &config, Some(&imported)).await;
    assert!(!again.warnings.to_string().contains("which has changed"), "{}", again.warnings);
    let texts = format!("{:?}", again.planned.at(&Attribute::root("changes")));
    assert!(!texts.contains("ConfigMap istio-system/asked"), "an import tells the charts the same: {texts}");
    destroy(&core, &stored).await;
}

/// The version does not depend on what an apply does, so that a first plan has it; where the cluster does not answer,
/// the apply does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_plan_knows_the_version_of_a_cluster_that_answers() {
    let (_lab, east) = start();
    let charts = charts_that_ask(ASKS_VERSION);
    let core = core(&east, charts.path()).await;
    let config = config(Istio::Current, json!({}));
    let first = plan(&core, &config, None).await;
    assert!(format!("{:?}", objects(&first)).contains("ConfigMap istio-system/asked"), "{:?}", objects(&first));

    east.fault(Fault::unreachable()).expect("a fault");
    core.walk_anew().await;
    let blind = plan(&core, &config, None).await;
    assert!(objects(&blind).is_unknown());
    east.clear_faults().expect("no fault");
    let Applied { stored, diagnostics } = core.apply(PRIMARY, blind).await;
    assert!(!diagnostics.has_errors(), "{diagnostics}");
    let stored = stored.expect("a state");
    assert_eq!(asked(&east)["bin"], "usual");
    assert_settled(&core, &config, &stored).await;
    destroy(&core, &stored).await;
}

/// `terraform-provider-mesh template` takes the flags by which `helm template` is told what it cannot ask.
#[test]
fn the_command_is_told_by_the_flags_of_helm() {
    let charts = charts_that_ask(ASKS);
    let chart = charts.path().join("istiod");
    let flags = ["--show-only", "templates/asked.yaml"];
    let told = [
        "--kube-version",
        "v1.35.2-eks.1",
        "--api-versions",
        "example.com/v1/Thing",
        "-a",
        "networking.istio.io/v1/Gateway",
    ];
    let helm = tools::path(Tool::Helm).expect("helm");
    let theirs =
        printed(std::process::Command::new(helm).args(["template", "istiod"]).arg(&chart).args(flags).args(told));
    let ours = printed(
        std::process::Command::new(env!("CARGO_BIN_EXE_terraform-provider-mesh"))
            .args(["template", "istiod"])
            .arg(&chart)
            .args(told),
    );
    let part = theirs.trim_start_matches("---\n").trim();
    assert!(part.contains("things: \"true\"") && part.contains("v1.35.2-eks.1"), "{part}");
    assert!(ours.contains(part), "helm: {part}\nours: {ours}");
}

fn printed(command: &mut std::process::Command) -> String {
    let said = command.output().expect("it runs");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).expect("a text")
}

/// Istio's charts, of which `istiod` brings one template more.
fn charts_that_ask(template: &str) -> tempfile::TempDir {
    charts_with(&[("istiod/templates/asked.yaml", template)])
}

/// Istio's charts, and more files in them.
pub fn charts_with(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["base", "istiod"] {
        copy(&tools::charts(Istio::Current).expect("the charts").dir().join(name), &folder.path().join(name));
    }
    for (name, text) in files {
        let file = folder.path().join(name);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(file, text).expect("a file");
    }
    folder
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), &to).expect("a copy")),
        }
    }
}

pub async fn core(east: &Cluster, charts: &Path) -> Core {
    let mut provider = provider(east, Istio::Current);
    provider["charts"]["directory"] = charts.display().to_string().into();
    Core::new(Mesh, registry(), provider).await.expect("the provider can be configured")
}

fn objects(planned: &Planned) -> &Dyn {
    planned.planned.at(&Attribute::root("objects")).expect("the attribute")
}

/// What the chart was told, as it lies in the cluster.
fn asked(east: &Cluster) -> Json {
    east.get(&["configmap", "asked", "-n", "istio-system"]).expect("an answer").expect("the object")["data"].clone()
}

/// Helm, told by the same cluster, makes the same of the same template.
fn as_helm_has_it(east: &Arc<Cluster>) {
    let chart = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(chart.path().join("templates")).expect("a folder");
    std::fs::write(chart.path().join("Chart.yaml"), "apiVersion: v2\nname: asks\nversion: 1.0.0\n").expect("a file");
    std::fs::write(chart.path().join("templates/asked.yaml"), ASKS.replace("name: asked", "name: of-helm"))
        .expect("a file");
    let path = chart.path().display().to_string();
    let args = ["template", "x", &path, "-n", "istio-system", "--dry-run=server"];
    let said = east.run(Tool::Helm, &args, None).expect("helm");
    let theirs: Json = said
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split_once(": "))
        .map(|(key, value)| (key.to_owned(), Json::from(value.trim_matches('"'))))
        .collect::<serde_json::Map<_, _>>()
        .into();
    assert_eq!(asked(east), theirs, "{said}");
}

/// Waits until the API server says that it serves the kind, or no longer.
fn served(east: &Cluster, wanted: bool) {
    let is_served = || east.kubectl(&["get", "--raw", "/apis/example.com"]).is_ok();
    east.wait_until("discovery knows", || is_served() == wanted).expect("it does");
    // `/apis` is put together a little later.
    east.wait_until("all of discovery knows", || {
        let all = east.kubectl(&["api-resources", "--api-group", "example.com", "-o", "name", "--cached=false"]);
        all.is_ok_and(|all| all.contains("things") == wanted)
    })
    .expect("it does");
}

/// The one object changes, and the plan says why.
async fn changed(core: &Core, config: &Json, stored: &Stored, why: &str) -> Stored {
    let planned = plan(core, config, Some(stored)).await;
    assert_eq!(planned.action, Action::Update);
    let said = planned.warnings.to_string();
    assert!(said.contains("The charts ask about cluster east, which has changed") && said.contains(why), "{said}");
    let Applied { stored, diagnostics } = core.apply(PRIMARY, planned).await;
    assert!(!diagnostics.has_errors(), "{diagnostics}");
    stored.expect("a state")
}

/// A walk asks for the version, and for what is served, once each.
async fn one_request_each(core: &Core, east: &Cluster, config: &Json, stored: &Stored) {
    core.walk_anew().await;
    east.reset_requests();
    assert_settled(core, config, stored).await;
    // The audit log is written a little later, and must say no more a moment after it has said so.
    let paths = ["/version", "/apis", "/api"];
    let asked = || east.requests().by_agent("terraform-provider-mesh");
    let of = |all: &Requests, path: &str| all.only(|one| one.uri.trim_end_matches("?timeout=32s") == path).len();
    let all_there = || paths.iter().all(|path| of(&asked(), path) > 0);
    east.wait_until("the audit log", all_there).unwrap_or_else(|error| panic!("{error}: {}", asked().listing()));
    std::thread::sleep(std::time::Duration::from_secs(1));
    let requests = asked();
    for path in paths {
        assert_eq!(of(&requests, path), 1, "{path}: {}", requests.listing());
    }
}
