//! Charts that bring objects of kinds which the provider's table lacks: the cluster says what they are, or a definition
//! that comes along, and they are kept as all other objects are.

use lab::tools::Istio;
use lab::{Cluster, Fault, Requests};
use serde_json::{Value as Json, json};
use terraform_provider_mesh::kept::kinds::Kinds;

use crate::charts_that_ask::{charts_with, core};
use crate::primary_lifecycle::{apply, assert_settled, config, destroy, plan, start};
use crate::rbac::restricted;
use crate::support::cli::clis;
use crate::support::core::{Action, Applied, Core, Planned, Stored};
use crate::support::one_primary::OnePrimary;

const PRIMARY: &str = "mesh_primary";
const MONITOR: &str = "ServiceMonitor.monitoring.coreos.com istio-system/istiod";
const WIDGET: &str = "Widget.example.com of-istiod";

/// As the Prometheus operator is told whom to ask. Like most charts it names no namespace.
const MONITORS: &str = r#"{{- if .Values.global.monitored }}
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata: {name: istiod}
spec:
  selector: {matchLabels: {app: istiod}}
  endpoints: [{port: http-monitoring, interval: 15s}]
{{- end }}
"#;

/// Of the cluster, and defined by the chart `base`.
const WIDGETS: &str = r#"apiVersion: example.com/v1
kind: Widget
metadata: {name: of-istiod}
spec: {namespace: {{ .Release.Namespace }}}
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_of_any_kind_are_kept_as_all_others() {
    let (_lab, east) = start();
    let charts = charts();
    let core = core(&east, charts.path()).await;
    let plain = config(Istio::Current, json!({}));
    let monitored = monitored(&plain);

    let refused = core.plan(PRIMARY, Some(monitored.clone()), None).await.expect_err("nobody serves the kind");
    let said = refused.to_string();
    assert!(said.contains("The chart brings a kind that the cluster does not serve"), "{said}");
    assert!(
        said.contains("ServiceMonitor istiod (monitoring.coreos.com/v1), and cluster east serves no such kind"),
        "{said}"
    );

    define_monitors(&east, &["v1"]);
    core.walk_anew().await;
    let first = plan(&core, &monitored, None).await;
    let objects = format!("{:?}", first.at("objects"));
    assert!(objects.contains(MONITOR) && objects.contains(WIDGET), "{objects}");
    let stored = apply(&core, &monitored, None).await;
    assert_eq!(
        monitor(&east).expect("it is there")["metadata"]["labels"]["terraform-provider-mesh/owner"],
        "mesh_primary.istiod"
    );
    assert_eq!(
        east.kubectl(&["get", "widgets", "of-istiod", "-o", "jsonpath={.spec.namespace}"]).expect("it is there"),
        "istio-system"
    );
    assert_settled(&core, &monitored, &stored).await;
    few_requests(&core, &east, &monitored, &stored).await;

    // A plan needs no answer of the cluster.
    east.fault(Fault::unreachable()).expect("a fault");
    core.walk_anew().await;
    assert_settled(&core, &monitored, &stored).await;
    east.clear_faults().expect("no fault");

    let stored = by_hand(&core, &east, &monitored, &stored).await;
    in_another_version(&core, &east, &monitored, &stored).await;
    let stored = without_memory(&core, &east, &monitored, &stored).await;

    let imported = core.import(PRIMARY, "east/istio-system/istiod").await.expect("an import").expect("a state");
    let state: Json = serde_json::from_str(&imported.json).expect("JSON");
    assert!(state["objects"].get(MONITOR).is_some(), "{}", state["objects"]);

    // No longer wanted.
    core.walk_anew().await;
    let stored = apply(&core, &plain, Some(&stored)).await;
    assert!(monitor(&east).is_none());
    assert_settled(&core, &plain, &stored).await;

    let stored = apply(&core, &monitored, Some(&stored)).await;
    the_definition_goes(&core, &east, &monitored, &stored).await;
    core.walk_anew().await;
    let stored = apply(&core, &plain, Some(&stored)).await;
    assert_settled(&core, &plain, &stored).await;

    // An apply that is killed: no state names what it has made, and the destroy finds it all the same.
    define_monitors(&east, &["v1"]);
    core.walk_anew().await;
    apply(&core, &monitored, Some(&stored)).await;
    assert!(monitor(&east).is_some());
    let killed = r#"{"spec": {"holderIdentity": "interrupted"}}"#;
    east.kubectl(&["-n", "istio-system", "patch", "lease", "mesh-primary.istiod", "--type=merge", "-p", killed])
        .expect("a Lease");
    core.walk_anew().await;
    destroy(&core, &stored).await;
    for left in [["get", "ns", "istio-system"], ["get", "crd", "widgets.example.com"]] {
        east.wait_until(&format!("{left:?} is gone"), || east.kubectl(&left).is_err()).expect("it goes");
    }
    assert!(monitor(&east).is_none());
}

/// By both command lines, with the documented rights and one rule more.
#[test]
fn an_identity_with_rights_on_the_kind_keeps_them() {
    let (_lab, east) = start();
    define_monitors(&east, &["v1"]);
    let charts = charts();
    let kubeconfig = charts.path().join("restricted.kubeconfig");
    restricted(&east, &kubeconfig);
    let role = [
        "create",
        "clusterrole",
        "monitors",
        "--verb=get,list,create,patch,delete",
        "--resource=servicemonitors.monitoring.coreos.com,widgets.example.com",
    ];
    // kubectl looks the kinds up.
    east.apply(&definition("example.com", "Widget", "Cluster", &["v1"])).expect("a definition");
    east.wait_until("kubectl knows the kinds", || east.kubectl(&role).is_ok()).expect("it does");
    east.kubectl(&["delete", "crd", "widgets.example.com"]).expect("kubectl");
    east.kubectl(&[
        "create",
        "clusterrolebinding",
        "monitors",
        "--clusterrole=monitors",
        "--serviceaccount=pipeline:terraform",
    ])
    .expect("a binding");
    for cli in clis() {
        let run = OnePrimary {
            charts: charts.path().to_owned(),
            kubeconfig: kubeconfig.clone(),
            ..OnePrimary::new(&cli, &OnePrimary::provider(), &east)
        };
        run.configure("global: {monitored: true}");
        run.apply().ok();
        run.workspace.is_settled_and_known();
        assert!(run.workspace.state().to_string().contains(MONITOR));
        east.kubectl(&["-n", "istio-system", "label", "servicemonitors", "istiod", "release=another", "app=none"])
            .expect("kubectl");
        run.settled();
        east.kubectl(&["-n", "istio-system", "delete", "servicemonitors", "istiod"]).expect("kubectl");
        assert_eq!(run.plan().code, Some(2), "a deletion by hand is seen");
        run.apply().ok();
        assert!(monitor(&east).is_some());
        run.configure("global: {monitored: false}");
        run.apply().ok();
        assert!(monitor(&east).is_none());
        run.configure("global: {monitored: true}");
        run.apply().ok();
        run.destroy();
        assert!(monitor(&east).is_none());
        east.kubectl(&["get", "crd", "servicemonitors.monitoring.coreos.com"]).expect("the definition is not ours");
    }
}

/// Whatever others do to it is seen, and brought back.
async fn by_hand(core: &Core, east: &Cluster, config: &Json, stored: &Stored) -> Stored {
    east.kubectl(&[
        "-n",
        "istio-system",
        "patch",
        "servicemonitors",
        "istiod",
        "--type=json",
        "-p",
        r#"[{"op":"replace","path":"/spec/endpoints/0/interval","value":"1s"}]"#,
    ])
    .expect("a change by hand");
    core.walk_anew().await;
    let mut forcing = config.clone();
    forcing["force_conflicts"] = true.into();
    let planned = plan(core, &forcing, Some(stored)).await;
    let changes = format!("{:?}", planned.at("changes"));
    assert!(changes.contains("spec.endpoints[0].interval: 1s -> 15s"), "{changes}");
    let stored = applied(core, planned).await;
    assert_eq!(monitor(east).expect("it is there")["spec"]["endpoints"][0]["interval"], "15s");

    east.kubectl(&["-n", "istio-system", "delete", "servicemonitors", "istiod"]).expect("a deletion by hand");
    core.walk_anew().await;
    let stored = apply(core, config, Some(&stored)).await;
    assert!(monitor(east).is_some());
    assert_settled(core, config, &stored).await;
    stored
}

/// The cluster comes to prefer a version other than that of the chart.
async fn in_another_version(core: &Core, east: &Cluster, config: &Json, stored: &Stored) {
    define_monitors(east, &["v2", "v1"]);
    core.walk_anew().await;
    assert_settled(core, config, stored).await;
}

/// Nothing that is remembered is needed to find an object again, or to remove it.
async fn without_memory(core: &Core, east: &Cluster, config: &Json, stored: &Stored) -> Stored {
    let mut private: Json = serde_json::from_slice(&stored.private).expect("JSON");
    let kinds = private["memory"]["tells"]["kinds"].take();
    let remembered: Kinds = serde_json::from_value(kinds).expect("kinds are remembered");
    assert!(remembered.find("monitoring.coreos.com/v1", "ServiceMonitor").is_some());
    private.as_object_mut().expect("private data").remove("memory");
    let forgetful = Stored { private: private.to_string().into_bytes(), ..stored.clone() };
    core.walk_anew().await;
    let planned = plan(core, config, Some(&forgetful)).await;
    assert!(format!("{:?}", planned.at("objects")).contains(MONITOR));
    let stored = apply(core, config, Some(&forgetful)).await;
    core.walk_anew().await;
    assert_settled(core, config, &stored).await;
    assert!(monitor(east).is_some());
    stored
}

/// With its definition an object is gone. A plan that still wants it says what is to be done; one that does not forgets
/// it.
async fn the_definition_goes(core: &Core, east: &Cluster, config: &Json, stored: &Stored) {
    east.kubectl(&["delete", "crd", "servicemonitors.monitoring.coreos.com"]).expect("kubectl");
    east.wait_until("discovery knows", || east.kubectl(&["get", "--raw", "/apis/monitoring.coreos.com"]).is_err())
        .expect("it does");
    core.walk_anew().await;
    let read = core.refresh(PRIMARY, stored).await.expect("a refresh").expect("the control plane is there");
    let state: Json = serde_json::from_str(&read.json).expect("JSON");
    assert!(state["objects"].get(MONITOR).is_none(), "{}", state["objects"]);
    let refused = core.plan(PRIMARY, Some(config.clone()), Some(stored)).await.expect_err("nobody serves the kind");
    assert!(refused.to_string().contains("serves no such kind"), "{refused}");
}

/// What the table lacks costs a refresh three requests: for the versions of each group, and for their kinds.
async fn few_requests(core: &Core, east: &Cluster, config: &Json, stored: &Stored) {
    core.walk_anew().await;
    east.reset_requests();
    assert_settled(core, config, stored).await;
    // The audit log is written a little later, and must say no more a moment after it has said so.
    let paths = ["/apis/monitoring.coreos.com", "/apis/monitoring.coreos.com/v1", "/apis/example.com"];
    let asked = || east.requests().by_agent("terraform-provider-mesh");
    let of = |all: &Requests, path: &str| all.only(|request| request.uri.split('?').next() == Some(path)).len();
    let all_there = || paths.iter().all(|path| of(&asked(), path) > 0);
    east.wait_until("the audit log", all_there).unwrap_or_else(|error| panic!("{error}: {}", asked().listing()));
    std::thread::sleep(std::time::Duration::from_secs(1));
    let requests = asked();
    for path in paths {
        assert_eq!(of(&requests, path), 1, "{path}: {}", requests.listing());
    }
}

async fn applied(core: &Core, planned: Planned) -> Stored {
    assert_eq!(planned.action, Action::Update);
    let Applied { stored, diagnostics } = core.apply(PRIMARY, planned).await;
    assert!(!diagnostics.has_errors(), "{diagnostics}");
    stored.expect("a state")
}

fn charts() -> tempfile::TempDir {
    let widgets = definition("example.com", "Widget", "Cluster", &["v1"]);
    charts_with(&[
        ("istiod/templates/monitors.yaml", MONITORS),
        ("istiod/templates/widgets.yaml", WIDGETS),
        ("base/templates/widgets.yaml", &widgets),
    ])
}

fn monitored(config: &Json) -> Json {
    let mut config = config.clone();
    config["values"].as_array_mut().expect("documents").push(json!("global: {monitored: true}"));
    config
}

fn monitor(east: &Cluster) -> Option<Json> {
    east.get(&["servicemonitors", "istiod", "-n", "istio-system"]).ok().flatten()
}

fn define_monitors(east: &Cluster, versions: &[&str]) {
    east.apply(&definition("monitoring.coreos.com", "ServiceMonitor", "Namespaced", versions)).expect("a definition");
    let path = format!("/apis/monitoring.coreos.com/{}", versions[0]);
    east.wait_until("the kind is served", || {
        east.kubectl(&["get", "--raw", &path]).is_ok_and(|kinds| kinds.contains("servicemonitors"))
    })
    .expect("it is");
}

/// The first of the versions is the one stored.
fn definition(group: &str, kind: &str, scope: &str, versions: &[&str]) -> String {
    let plural = format!("{}s", kind.to_lowercase());
    let version = |(at, name): (usize, &&str)| {
        json!({"name": name, "served": true, "storage": at == 0, "schema": {"openAPIV3Schema": {"type": "object",
            "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}})
    };
    let versions: Vec<Json> = versions.iter().enumerate().map(version).collect();
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {"group": group, "scope": scope, "names": {"kind": kind, "plural": plural}, "versions": versions}})
    .to_string()
}
