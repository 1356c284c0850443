//! `mesh_primary` on a real API server with a real istiod, driven by a core in process.

use std::path::Path as File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lab::tools::{self, Istio, Tool};
use lab::{Cluster, Fault, Lab, Options};
use serde_json::{Value as Json, json};
use terraform_provider_mesh::diag::Diagnostics;
use terraform_provider_mesh::provider::Mesh;
use terraform_provider_mesh::resources::registry;
use terraform_provider_mesh::value::{Dyn, Path};

use crate::support::core::{Action, Applied, Core, Planned, Stored};

const PRIMARY: &str = "mesh_primary";
const DEPLOYMENT: &str = "Deployment istio-system/istiod";

pub async fn core(cluster: &Cluster, istio: Istio) -> Core {
    Core::new(Mesh, registry(), provider(cluster, istio)).await.expect("the provider can be configured")
}

/// What every run of terraform begins with: nothing is held from the run before.
pub async fn reconfigure(core: &Core, cluster: &Cluster) {
    core.configure(provider(cluster, Istio::Current)).await.expect("the provider can be configured");
}

pub fn provider(cluster: &Cluster, istio: Istio) -> Json {
    let charts = tools::charts(istio).expect("the charts can be unpacked");
    json!({
        "clusters": {"east": {"config_path": cluster.kubeconfig_path()}},
        "charts": {"directory": charts.dir()},
    })
}

/// The images' tag chooses the version of the istiod that the lab runs.
pub fn config(istio: Istio, more: Json) -> Json {
    let mut config = json!({
        "cluster": "east", "mesh_id": "mesh1", "network": "net-east",
        "values": [format!("global: {{tag: {}}}", istio.version())],
    });
    config.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    config
}

pub async fn plan(core: &Core, config: &Json, stored: Option<&Stored>) -> Planned {
    core.plan(PRIMARY, Some(config.clone()), stored).await.expect("a plan")
}

pub async fn apply(core: &Core, config: &Json, stored: Option<&Stored>) -> Stored {
    let Applied { stored, diagnostics } = core.apply(PRIMARY, plan(core, config, stored).await).await;
    assert!(!diagnostics.has_errors(), "{diagnostics}");
    stored.expect("something was made")
}

pub async fn assert_settled(core: &Core, config: &Json, stored: &Stored) {
    let planned = plan(core, config, Some(stored)).await;
    assert_eq!(planned.action, Action::Nothing, "{}", differences(core, &planned).join("\n"));
}

/// What a plan changes: fields as `object path: before -> after`, and objects as `object added`.
fn differences(core: &Core, planned: &Planned) -> Vec<String> {
    let before = planned.prior.as_ref().map_or(Dyn::Null, |prior| core.state(PRIMARY, prior));
    let texts = |name: &str| (texts_of(&before, name), texts_of(&planned.planned, name));
    let (was, will) = texts("changes");
    let new = will.iter().filter(|(object, text)| was.get(*object) != Some(text));
    let fields = new.flat_map(|(object, text)| text.lines().map(move |line| format!("{object} {line}")));
    let (was, will) = texts("objects");
    let added = will.keys().filter(|object| !was.contains_key(*object)).map(|object| format!("{object} added"));
    let removed = was.keys().filter(|object| !will.contains_key(*object)).map(|object| format!("{object} removed"));
    fields.chain(added).chain(removed).collect()
}

fn texts_of(state: &Dyn, name: &str) -> std::collections::BTreeMap<String, String> {
    let Some(Dyn::Map(objects)) = state.at(&Path::root(name)) else { return Default::default() };
    let texts = objects.iter().filter_map(|(object, text)| Some((object.clone(), text_of(text)?)));
    texts.collect()
}

fn text_of(value: &Dyn) -> Option<String> {
    match value {
        Dyn::String(text) => Some(text.clone()),
        _ => None,
    }
}

pub async fn destroy(core: &Core, stored: &Stored) -> Diagnostics {
    let planned = core.plan(PRIMARY, None, Some(stored)).await.expect("a plan to destroy");
    let Applied { stored, diagnostics } = core.apply(PRIMARY, planned).await;
    assert!(stored.is_none() && !diagnostics.has_errors(), "{diagnostics}");
    diagnostics
}

pub fn start() -> (Lab, Arc<Cluster>) {
    let lab = Lab::start(&["east"], Options::default()).expect("a cluster");
    let east = lab.cluster("east").clone();
    (lab, east)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_comes_is_kept_and_goes() {
    let (_lab, east) = start();
    let core = core(&east, Istio::Current).await;
    let config = config(Istio::Current, json!({}));
    let stored = apply(&core, &config, None).await;
    assert_settled(&core, &config, &stored).await;

    let stored = a_network_is_renamed_in_one_apply(&core, &config, &stored).await;
    let stored = mtls_is_a_policy_and_a_setting(&core, &east, &config, &stored).await;
    let stored = what_is_remembered_is_read_anew(&core, &east, &config, &stored).await;
    let stored = apply(&core, &config, Some(&stored)).await;
    let stored = an_istiod_on_its_way_is_waited_for(&core, &config, &stored).await;
    hand_made_changes_are_shown_rightly(&core, &east, &config, &stored).await;
    a_field_of_another_manager_is_named(&core, &east, &config, &stored).await;
    let forcing = forcing(&config);
    let stored = apply(&core, &forcing, Some(&stored)).await;
    assert_settled(&core, &forcing, &stored).await;
    let stored = replicas_are_ours_without_an_autoscaler(&core, &east, &forcing, &stored).await;

    destroy(&core, &stored).await;
    for left in [
        ["get", "ns", "istio-system"],
        ["get", "crd", "gateways.networking.istio.io"],
        ["get", "mutatingwebhookconfigurations", "istio-sidecar-injector"],
    ] {
        east.wait_until(&format!("{left:?} is gone"), || east.kubectl(&left).is_err()).expect("it goes");
    }
}

/// Private data is lost when a provider is killed in the middle of an update: an apply writes anew what cannot be told.
/// A state of an earlier version has its fields in state and digests of twelve digits, and is taken as it is.
async fn what_is_remembered_is_read_anew(core: &Core, east: &Cluster, config: &Json, stored: &Stored) -> Stored {
    let mut private: Json = serde_json::from_slice(&stored.private).expect("JSON");
    let memory = private.as_object_mut().expect("private data").remove("memory").expect("what is remembered");
    assert!(memory["recorded"].is_string(), "{memory}");
    private["spellings"] = json!({"fields": memory["fields"], "generations": memory["generations"]});
    let mut state: Json = serde_json::from_str(&stored.json).expect("JSON");
    state.as_object_mut().expect("attributes").remove("changes");
    let fields = |key: &str| match key {
        "Namespace istio-system" => "{}",
        _ => r#"{"spec.x":"y"}"#,
    };
    let keys: Vec<String> = state["objects"].as_object().expect("objects").keys().cloned().collect();
    state["fields"] =
        keys.iter().map(|key| (key.clone(), json!(fields(key)))).collect::<serde_json::Map<_, _>>().into();
    let upgraded = terraform_provider_mesh::kept::objects::upgraded(state.clone());
    assert!(upgraded["fields"].is_null());
    for key in keys {
        assert_ne!(upgraded["objects"][&key], state["objects"][&key], "{key}");
    }
    // The digests of a state of an earlier version are of the fields as they were sent: here those of this one's stand
    // for them.
    let mut old: Json = serde_json::from_str(&stored.json).expect("JSON");
    old.as_object_mut().expect("attributes").remove("changes");
    let old = Stored { json: old.to_string(), private: private.to_string().into_bytes(), version: 0, ..stored.clone() };
    assert_settled(core, config, &old).await;
    let seen = core.refresh(PRIMARY, &old).await.expect("a refresh").expect("the control plane");
    east.kubectl(&["-n", "istio-system", "label", "deployment", "istiod", "app=other", "--overwrite"])
        .expect("kubectl");
    reconfigure(core, east).await;
    let shown = differences(core, &plan(core, config, Some(&seen)).await);
    let label = format!("{DEPLOYMENT} metadata.labels.app: other -> istiod (set by kubectl-label)");
    assert!(shown.contains(&label) && shown.iter().all(|line| line.starts_with(DEPLOYMENT)), "{shown:#?}");

    let lost = Stored { private: Vec::new(), ..seen };
    let stored = apply(core, &forcing(config), Some(&lost)).await;
    assert_settled(core, &forcing(config), &stored).await;
    stored
}

/// istiod goes by its old configuration for a moment, which is no reason to fail; and the plan says what running Pods
/// keep.
async fn a_network_is_renamed_in_one_apply(core: &Core, config: &Json, stored: &Stored) -> Stored {
    let mut renamed = config.clone();
    renamed["network"] = "vpc-east".into();
    let planned = plan(core, &renamed, Some(stored)).await;
    let said = planned.warnings.to_string();
    assert!(said.contains("the network net-east (it becomes vpc-east)"), "{said}");
    let stored = apply(core, &renamed, Some(stored)).await;
    assert_settled(core, &renamed, &stored).await;
    let stored = apply(core, config, Some(&stored)).await;
    assert_settled(core, config, &stored).await;
    stored
}

async fn mtls_is_a_policy_and_a_setting(core: &Core, east: &Cluster, config: &Json, stored: &Stored) -> Stored {
    let policy = ["-n", "istio-system", "get", "peerauthentications.security.istio.io", "default"];
    let mut stored = stored.clone();
    for (mtls, mode) in [("strict", "STRICT"), ("off", "DISABLE")] {
        let mut asked = config.clone();
        asked["mtls"] = mtls.into();
        stored = apply(core, &asked, Some(&stored)).await;
        assert_settled(core, &asked, &stored).await;
        let live = east.kubectl(&[&policy[..], &["-o", "jsonpath={.spec.mtls.mode}"]].concat()).expect("the policy");
        assert_eq!(live, mode);
        let mesh = east.kubectl(&["-n", "istio-system", "get", "configmap", "istio", "-o", "jsonpath={.data.mesh}"]);
        assert_eq!(mesh.expect("the mesh configuration").contains("enableAutoMtls: false"), mtls == "off");
    }
    stored = apply(core, config, Some(&stored)).await;
    assert_settled(core, config, &stored).await;
    assert!(east.kubectl(&policy).is_err(), "the policy goes");
    stored
}

fn forcing(config: &Json) -> Json {
    let mut forcing = config.clone();
    forcing["force_conflicts"] = true.into();
    forcing
}

/// A refresh found istiod unavailable; by the time of the apply it is not any more, or the apply waits for it.
async fn an_istiod_on_its_way_is_waited_for(core: &Core, config: &Json, stored: &Stored) -> Stored {
    let mut state: Json = serde_json::from_str(&stored.json).expect("JSON");
    assert_eq!(state["status"]["available"].take(), true);
    state["status"]["available"] = false.into();
    let found = Stored { json: state.to_string(), ..stored.clone() };
    let plan = |config: &Json| core.plan_against(PRIMARY, core.config(PRIMARY, config.clone()), Some(found.clone()));
    assert_eq!(plan(config).await.expect("a plan").action, Action::Nothing, "it is nothing to do by itself");
    let mut adopting = config.clone();
    adopting["adopt"] = true.into();
    let planned = plan(&adopting).await.expect("a plan");
    assert_eq!(planned.action, Action::Update);
    let Applied { stored, diagnostics } = core.apply(PRIMARY, planned).await;
    assert!(!diagnostics.has_errors(), "{diagnostics}");
    let stored = stored.expect("the control plane");
    let state: Json = serde_json::from_str(&stored.json).expect("JSON");
    assert_eq!(state["status"]["available"], true);
    apply(core, config, Some(&stored)).await
}

async fn hand_made_changes_are_shown_rightly(core: &Core, east: &Cluster, config: &Json, stored: &Stored) {
    let kubectl = |args: &[&str]| east.kubectl(args).expect("kubectl");
    // Not ours: what others add, what the autoscaler owns.
    kubectl(&["-n", "istio-system", "label", "deployment", "istiod", "foreign=label"]);
    kubectl(&["-n", "istio-system", "scale", "deployment", "istiod", "--replicas=2"]);
    kubectl(&["-n", "istio-system", "set", "env", "deployment/istiod", "FOREIGN=1"]);
    reconfigure(core, east).await;
    assert_settled(core, config, stored).await;

    kubectl(&["-n", "istio-system", "set", "env", "deployment/istiod", "CLUSTER_ID=other"]);
    kubectl(&["-n", "istio-system", "delete", "service", "istiod"]);
    kubectl(&[
        "-n",
        "istio-system",
        "patch",
        "configmap",
        "istio",
        "--type=merge",
        "-p",
        r#"{"data":{"meshNetworks":"networks: {a: {}}"}}"#,
    ]);
    reconfigure(core, east).await;
    let planned = plan(core, config, Some(stored)).await;
    let shown = differences(core, &planned);
    let env = format!(
        "{DEPLOYMENT} spec.template.spec.containers[discovery].env[CLUSTER_ID].value: other -> east (set by kubectl-set)"
    );
    assert!(shown.contains(&env), "{shown:#?}");
    assert!(shown.iter().any(|line| line == "Service istio-system/istiod added"), "{shown:#?}");
    assert!(shown.iter().any(|line| line.starts_with("ConfigMap istio-system/istio ")), "{shown:#?}");
    assert!(shown.iter().all(|line| !line.contains("caBundle") && !line.contains("failurePolicy")), "{shown:#?}");
}

async fn replicas_are_ours_without_an_autoscaler(
    core: &Core,
    east: &Cluster,
    config: &Json,
    stored: &Stored,
) -> Stored {
    let mut fixed = config.clone();
    fixed["values"].as_array_mut().expect("documents").push(json!("autoscaleEnabled: false"));
    east.reset_requests();
    let stored = apply(core, &fixed, Some(stored)).await;
    let written = east.requests().by_agent("terraform-provider-mesh").by_verb("patch");
    let leases = written.by_resource("leases").len();
    assert!(written.len() - leases <= 3, "the Deployment, its values and the namespace:\n{}", written.listing());
    assert!(leases <= 2, "taken and given back:\n{}", written.listing());
    assert!(east.kubectl(&["-n", "istio-system", "get", "hpa", "istiod"]).is_err(), "the autoscaler goes");
    assert_settled(core, &fixed, &stored).await;
    east.kubectl(&["-n", "istio-system", "scale", "deployment", "istiod", "--replicas=2"]).expect("kubectl");
    reconfigure(core, east).await;
    let planned = plan(core, &fixed, Some(&stored)).await;
    assert_eq!(differences(core, &planned), [format!("{DEPLOYMENT} spec.replicas: 2 -> 1 (set by kubectl)")]);
    stored
}

async fn a_field_of_another_manager_is_named(core: &Core, _east: &Cluster, config: &Json, stored: &Stored) {
    let planned = plan(core, config, Some(stored)).await;
    let refused = core.apply(PRIMARY, planned).await.diagnostics.to_string();
    for named in [DEPLOYMENT, "CLUSTER_ID", "kubectl"] {
        assert!(refused.contains(named), "{named} is not in: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_by_helm_is_imported_with_an_empty_plan() {
    let (_lab, east) = start();
    let charts = tools::charts(Istio::Current).expect("the charts can be unpacked");
    let helm = |args: &[&str]| east.run(Tool::Helm, args, None).expect("helm");
    let tag = format!("global.tag={}", Istio::Current.version());
    east.kubectl(&["create", "namespace", "istio-system"]).expect("kubectl");
    east.kubectl(&["label", "namespace", "istio-system", "topology.istio.io/network=net-east"]).expect("kubectl");
    let path = |chart: &str| charts.folder(chart).display().to_string();
    helm(&["install", "istio-base", &path("base"), "-n", "istio-system"]);
    helm(&[
        "install",
        "istiod",
        &path("istiod"),
        "-n",
        "istio-system",
        "--wait",
        "--set",
        "global.meshID=mesh1",
        "--set",
        "global.network=net-east",
        "--set",
        "global.multiCluster.clusterName=east",
        "--set",
        "profile=stable",
        "--set-string",
        &tag,
    ]);
    let core = core(&east, Istio::Current).await;
    let imported =
        core.import(PRIMARY, "east/istio-system/istiod").await.expect("it can be imported").expect("it is there");
    let mut config = config(Istio::Current, json!({}));
    config["values"] = json!([format!("profile: stable\nglobal:\n  tag: \"{}\"\n", Istio::Current.version())]);
    config["base_values"] = json!(["{}"]);
    assert_settled(&core, &config, &imported).await;

    config["trust_domain"] = json!("east.example");
    let stored = apply(&core, &config, Some(&imported)).await;
    assert_settled(&core, &config, &stored).await;
    destroy(&core, &stored).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_by_istioctl_is_taken_over() {
    let (_lab, east) = start();
    let tag = format!("tag={}", Istio::Current.version());
    let settings = [
        "profile=minimal",
        "values.global.meshID=mesh1",
        "values.global.network=net-east",
        "values.global.multiCluster.clusterName=east",
        "values.global.configValidation=true",
        &tag,
    ];
    let set = settings.iter().flat_map(|setting| ["--set", setting]);
    let arguments: Vec<&str> = ["install", "--skip-confirmation"].into_iter().chain(set).collect();
    east.run(Tool::Istioctl, &arguments, None).expect("istioctl");
    let tagged = ["get", "mutatingwebhookconfiguration", "istio-revision-tag-default"];
    east.kubectl(&tagged).expect("istioctl tags its control plane");

    let core = core(&east, Istio::Current).await;
    let imported = core.import(PRIMARY, "east").await.expect("it can be imported").expect("it is there");
    let state = core.state(PRIMARY, &imported);
    let text = |name: &str| state.at(&Path::root(name)).and_then(|value| value.as_str().map(str::to_owned));
    assert_eq!(text("istio_version").as_deref(), Some(Istio::Current.version()));
    assert_eq!(text("mesh_id").as_deref(), Some("mesh1"));
    let config = config(Istio::Current, json!({}));
    let stored = apply(&core, &config, Some(&imported)).await;
    assert_settled(&core, &config, &stored).await;
    // Two injectors for the same Pods are one too many: istioctl had turned the chart's off.
    assert!(east.kubectl(&tagged).is_err(), "the tag goes");
    east.kubectl(&["get", "validatingwebhookconfiguration", "istiod-default-validator"]).expect("the validator stays");

    destroy(&core, &stored).await;
    for kind in ["mutatingwebhookconfigurations", "validatingwebhookconfigurations", "deployments", "services"] {
        let left = east.kubectl(&["get", kind, "-A", "-l", "operator.istio.io/managed", "-o", "name"]);
        assert_eq!(left.expect("kubectl").trim(), "");
    }
}

/// The older charts, and beside what they bring a ConfigMap.
async fn with_an_object_more(cluster: &Cluster) -> (tempfile::TempDir, Core) {
    let folder = tempfile::tempdir().expect("a folder");
    let charts = tools::charts(Istio::Old).expect("the charts can be unpacked");
    for chart in ["base", "istiod"] {
        copy(&charts.folder(chart), &folder.path().join(chart));
    }
    let object = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one-more, namespace: istio-system}\ndata: {a: b}\n";
    std::fs::write(folder.path().join("istiod/templates/one-more.yaml"), object).expect("a template");
    let mut provider = provider(cluster, Istio::Old);
    provider["charts"] = json!({"directory": folder.path()});
    let core = Core::new(Mesh, registry(), provider).await.expect("the provider can be configured");
    (folder, core)
}

fn copy(from: &File, to: &File) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry")) {
        let there = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&entry.path(), &there),
            false => drop(std::fs::copy(entry.path(), there).expect("a copy")),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_in_place_and_one_by_revision_are_plain_plans() {
    let (_lab, east) = start();
    let (_charts, old) = with_an_object_more(&east).await;
    let config_old = config(Istio::Old, json!({"tags": ["prod"]}));
    let stored = apply(&old, &config_old, None).await;
    let more = ["-n", "istio-system", "get", "configmap", "one-more"];
    east.kubectl(&more).expect("the old version has it");
    let new = core(&east, Istio::Current).await;
    let config_new = config(Istio::Current, json!({"tags": ["prod"]}));
    let planned = plan(&new, &config_new, Some(&stored)).await;
    let shown = differences(&new, &planned);
    let gone = |line: &String| line == "ConfigMap istio-system/one-more removed";
    assert!(shown.iter().any(gone), "{shown:#?}");
    let stored = apply(&new, &config_new, Some(&stored)).await;
    assert!(east.kubectl(&more).is_err(), "what the new version lacks goes");
    assert_settled(&new, &config_new, &stored).await;

    let both =
        new.plan(PRIMARY, Some(config(Istio::Current, json!({"revision": "canary"}))), None).await.expect("a plan");
    let refused = new.apply(PRIMARY, both).await.diagnostics.to_string();
    assert!(refused.contains("(install_base)"), "{refused}");
    assert!(!refused.contains("was deleted during the apply"), "{refused}");
    // The tag moves with the workloads that it selects.
    let canary = config(Istio::Current, json!({"revision": "canary", "install_base": false, "tags": ["prod"]}));
    let config_new = config(Istio::Current, json!({}));
    let leaving = plan(&new, &config_new, Some(&stored)).await;
    let second = apply(&new, &canary, None).await;
    let Applied { stored, diagnostics } = new.apply(PRIMARY, leaving).await;
    assert_eq!(diagnostics.len(), 0, "{diagnostics}");
    let stored = stored.expect("it stays");
    let tag = [
        "get",
        "mutatingwebhookconfiguration",
        "istio-revision-tag-prod",
        "-o",
        "jsonpath={.metadata.labels.istio\\.io/rev}",
    ];
    assert_eq!(east.kubectl(&tag).expect("the tag is there"), "canary");
    assert_settled(&new, &canary, &second).await;
    assert_settled(&new, &config_new, &stored).await;

    // The default goes: what both share stays, and the canary takes it over.
    goes_after_its_pods(&new, &east, &stored).await;
    east.kubectl(&["get", "crd", "gateways.networking.istio.io"]).expect("the definitions stay");
    let canary = config(Istio::Current, json!({"revision": "canary", "tags": ["prod"]}));
    let second = apply(&new, &canary, Some(&second)).await;
    assert_settled(&new, &canary, &second).await;
    destroy(&new, &second).await;
    assert!(east.kubectl(&["get", "crd", "gateways.networking.istio.io"]).is_err(), "the definitions go with the last");
}

/// As long as a Pod of istiod is there, which a finalizer sees to, the control plane is not gone.
async fn goes_after_its_pods(core: &Core, east: &Cluster, stored: &Stored) {
    let pods = ["get", "pods", "-n", "istio-system", "-l", "app=istiod,istio.io/rev=default", "-o", "name"];
    let pod = east.kubectl(&pods).expect("kubectl").trim().to_owned();
    let hold = |finalizers: &str| {
        let patch = format!("{{\"metadata\": {{\"finalizers\": {finalizers}}}}}");
        east.kubectl(&["patch", &pod, "-n", "istio-system", "--type=merge", "-p", &patch]).expect("kubectl");
    };
    hold("[\"example.com/held\"]");
    let release = async {
        tokio::time::sleep(Duration::from_secs(10)).await;
        hold("null");
        Instant::now()
    };
    let destroyed = async {
        destroy(core, stored).await;
        Instant::now()
    };
    let (destroyed, released) = tokio::join!(destroyed, release);
    assert!(destroyed > released, "{pod} was there, and the control plane was said to be gone");
    assert_eq!(east.kubectl(&pods).expect("kubectl").trim(), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_in_trouble_delays_and_does_not_break() {
    let (_lab, east) = start();
    let core = core(&east, Istio::Current).await;
    let config = config(Istio::Current, json!({}));
    for status in [429, 503] {
        east.fault(Fault::status(status).times(5).for_request("PATCH ")).expect("a fault");
    }
    // Carried out, but nobody hears of it: the request is sent again.
    east.fault(Fault::cut().times(5).for_request("PATCH ")).expect("a fault");
    let stored = apply(&core, &config, None).await;
    east.clear_faults().expect("no faults");
    for status in [429, 503] {
        east.fault(Fault::status(status).times(3).for_request("GET ")).expect("a fault");
    }
    east.fault(Fault::cut().times(3).for_request("GET ")).expect("a fault");
    reconfigure(&core, &east).await;
    assert_settled(&core, &config, &stored).await;
    east.clear_faults().expect("no faults");

    // Down, it stops no plan.
    east.fault(Fault::unreachable()).expect("a fault");
    reconfigure(&core, &east).await;
    assert_settled(&core, &config, &stored).await;
    east.clear_faults().expect("no faults");
    reconfigure(&core, &east).await;

    // A definition with objects left stays, and the provider says so.
    let gateway = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g, namespace: default}\nspec: {servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}\n";
    east.apply(gateway).expect("a gateway");
    let said = destroy(&core, &stored).await.to_string();
    assert!(
        said.contains("CustomResourceDefinition gateways.networking.istio.io") && said.contains("default/g"),
        "{said}"
    );
    east.kubectl(&["-n", "default", "get", "gateways.networking.istio.io", "g"]).expect("the gateway is still there");
}
