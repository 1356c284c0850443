//! `mesh_primary` planned where no cluster answers: what a plan shows, and what it refuses, needs the charts alone.

use lab::ChartRepository;
use lab::tools::{self, Istio};
use serde_json::{Value as Json, json};
use terraform_provider_mesh::provider::Mesh;
use terraform_provider_mesh::resources::registry;
use terraform_provider_mesh::value::{Dyn, Path};

use crate::cluster_lab::lab_cluster;
use crate::support::core::{Action, Core, Planned, Stored, UNKNOWN};

const PRIMARY: &str = "mesh_primary";

/// A provider whose only cluster refuses connections.
async fn core() -> Core {
    let charts = tools::charts(Istio::Current).expect("the charts can be unpacked");
    let config = json!({
        "clusters": {"east": {"host": "https://127.0.0.1:9", "token": "t"}},
        "charts": {"directory": charts.dir()},
    });
    Core::new(Mesh, registry(), config).await.expect("the provider can be configured")
}

fn config(more: Json) -> Json {
    let mut config = json!({"cluster": "east", "mesh_id": "mesh1", "network": "net-east"});
    let more = more.as_object().expect("an object").clone();
    config.as_object_mut().expect("an object").extend(more);
    config
}

fn objects(planned: &Planned) -> Vec<String> {
    match planned.planned.at(&Path::root("objects")) {
        Some(Dyn::Map(objects)) => objects.keys().cloned().collect(),
        other => panic!("objects are {other:?}"),
    }
}

async fn refusals(core: &Core, more: Json) -> Vec<String> {
    let refused = core.plan(PRIMARY, Some(config(more)), None).await.expect_err("this must be refused");
    refused
        .iter()
        .map(|refusal| format!("{}: {}", refusal.path.as_ref().unwrap_or(&Path::empty()), refusal.summary))
        .collect()
}

#[tokio::test]
async fn a_plan_names_every_object_although_no_cluster_answers() {
    let core = core().await;
    let planned = core.plan(PRIMARY, Some(config(json!({}))), None).await.expect("a plan");
    assert_eq!(planned.action, Action::Create);
    let objects = objects(&planned);
    for object in [
        "Namespace istio-system",
        "Deployment istio-system/istiod",
        "CustomResourceDefinition virtualservices.networking.istio.io",
        "MutatingWebhookConfiguration istio-sidecar-injector",
        "ServiceAccount istio-system/istio-reader-service-account",
    ] {
        assert!(objects.iter().any(|found| found == object), "{object} is not in {objects:#?}");
    }
    assert!(matches!(planned.planned.at(&Path::root("changes")), Some(Dyn::Map(changes)) if changes.is_empty()));

    let canary = json!({"revision": "canary", "tags": ["prod"], "install_base": false});
    let planned = core.plan(PRIMARY, Some(config(canary)), None).await.expect("a plan");
    let objects = self::objects(&planned);
    assert!(objects.contains(&"MutatingWebhookConfiguration istio-revision-tag-prod".to_owned()), "{objects:#?}");
    assert!(objects.contains(&"Deployment istio-system/istiod-canary".to_owned()), "{objects:#?}");
    assert!(!objects.iter().any(|object| object.starts_with("CustomResourceDefinition")), "{objects:#?}");
}

#[tokio::test]
async fn unknown_inputs_make_unknown_objects() {
    let core = core().await;
    let planned = core.plan(PRIMARY, Some(config(json!({"network": UNKNOWN}))), None).await.expect("a plan");
    assert!(matches!(planned.planned.at(&Path::root("objects")), Some(Dyn::Unknown(_))));
    let refused = refusals(&core, json!({"network": UNKNOWN, "revision": "1.31"})).await;
    assert_eq!(refused, ["revision: Unsuitable value"]);
}

#[tokio::test]
async fn bad_input_is_refused_at_its_attribute_before_anything_is_applied() {
    let core = core().await;
    for (more, refusal) in [
        (json!({"cluster": "west"}), "cluster: No such cluster"),
        (json!({"namespace": "Istio"}), "namespace: Unsuitable value"),
        (json!({"values": ["- a"]}), "values[0]: Not a values document"),
        (json!({"values": ["global: {network: other}"]}), "values: A value contradicts an attribute"),
        (json!({"values": ["profile: nonsense"]}), "values: The chart refuses these values"),
        (json!({"trust_root": "no"}), "trust_root: Unsuitable value"),
        (
            json!({"mesh_networks": {"a": {"endpoints": [{"from_cidr": "10.0.0.0/33"}]}}}),
            "mesh_networks[\"a\"].endpoints[0].from_cidr: Unsuitable value",
        ),
        (
            json!({"mesh_networks": {
                "a": {"endpoints": [{"from_cidr": "10.0.0.0/8"}]},
                "b": {"endpoints": [{"from_cidr": "10.1.0.0/16"}]},
            }}),
            "mesh_networks[\"b\"].endpoints: Networks contradict each other",
        ),
        (
            json!({"mesh_networks": {"a": {"endpoints": [{"from_registry": "east"}]}}}),
            "mesh_networks[\"a\"].endpoints: This entry would never count",
        ),
        (
            json!({"cluster_name": "prod-east", "mesh_networks": {"net-east": {"endpoints": [{"from_registry": "east"}]}}}),
            "mesh_networks[\"net-east\"].endpoints[0].from_registry: The cluster has another name",
        ),
        (json!({"istio_version": "1.2.3"}), "istio_version: No charts of this version"),
        (json!({"charts": {"directory": "/nowhere"}}), "charts.directory: Chart istiod cannot be loaded"),
        (json!({"custom_hosts": ["https://lb.example"]}), "custom_hosts[0]: Unsuitable value"),
    ] {
        core.walk_anew().await;
        assert_eq!(refusals(&core, more.clone()).await, [refusal], "{more}");
    }
}

#[tokio::test]
async fn a_registry_that_nobody_declares_is_pointed_at() {
    let core = core().await;
    let charts = tools::charts(Istio::Current).expect("the charts can be unpacked");
    let nobody = json!({"host": "https://127.0.0.1:9", "token": "t"});
    let two = json!({"clusters": {"east": nobody, "west": nobody}, "charts": {"directory": charts.dir()}});
    core.configure(two).await.expect("the provider can be configured");
    core.ask_side_by_side().await;
    let networks =
        |registry: &str| json!({"mesh_networks": {"net-west": {"endpoints": [{"from_registry": registry}]}}});
    let planned = core.plan(PRIMARY, Some(config(networks("wset"))), None).await.expect("a plan");
    let said = planned.warnings.to_string();
    for named in ["mesh_networks[\"net-west\"].endpoints[0].from_registry", "\"wset\"", "(east, west)"] {
        assert!(said.contains(named), "{named} is not in: {said}");
    }
    core.walk_anew().await;
    let west = json!({"cluster": "west", "cluster_name": "prod-west", "network": "net-west"});
    core.plan(PRIMARY, Some(config(west)), None).await.expect("a plan");
    let planned = core.plan(PRIMARY, Some(config(networks("prod-west"))), None).await.expect("a plan");
    assert!(!planned.warnings.to_string().contains("from_registry"), "{}", planned.warnings);
}

/// Two clusters that refuse connections.
async fn fleet(charts: &Json) -> Core {
    let nobody = json!({"host": "https://127.0.0.1:9", "token": "t"});
    let config = json!({"clusters": {"north": nobody, "west": nobody}, "charts": charts});
    Core::new(Mesh, registry(), config).await.expect("the provider can be configured")
}

fn after_north(more: Json) -> Json {
    let after = json!({"cluster": "west", "network": null, "rollout": {"after": ["north"]}});
    let mut config = config(after);
    config.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    config
}

/// Plans a change of a control plane of this version that comes after another one.
async fn plan_after_north(core: &Core, version: &str, private: &Json, more: Json) -> Planned {
    let state = after_north(json!({
        "id": "west/istio-system/istiod", "instance": "m", "namespace": "istio-system", "cluster_name": "west",
        "istio_version": version, "install_base": true, "objects": {}, "changes": {},
    }));
    let private = private.to_string().into_bytes();
    let stored = Stored { json: state.to_string(), version: 1, private, identity: None, tainted: false };
    let config = core.config(PRIMARY, after_north(more));
    core.plan_against(PRIMARY, config, Some(stored)).await.expect("a plan")
}

fn version(planned: &Planned) -> &str {
    planned.at("istio_version").as_str().expect("a version")
}

/// An apply plans once more when all is known, and must come to the same.
#[tokio::test]
async fn a_control_plane_waits_for_its_turn_although_its_objects_cannot_be_told_yet() {
    let charts = tools::charts(Istio::Current).expect("the charts can be unpacked");
    let core = fleet(&json!({"directory": charts.dir()})).await;
    for more in [
        json!({"custom_hosts": [UNKNOWN]}),
        json!({"values": UNKNOWN}),
        json!({"network": UNKNOWN}),
        json!({"charts": {"directory": UNKNOWN}}),
    ] {
        let mut raised = more.clone();
        raised["istio_version"] = "1.31.0".into();
        let planned = plan_after_north(&core, "v1.30.0", &json!({}), raised).await;
        assert_eq!(version(&planned), "v1.30.0", "{more}");
        let told = planned.warnings.to_string();
        assert!(told.contains("west stays at Istio v1.30.0 for now"), "{more}: {told}");
        // The version that `charts` name is one that is known as well.
        if more.get("charts").is_none() {
            let mut raised = more.clone();
            raised["charts"] = json!({"repository": "https://charts.example.com", "version": "1.31.0"});
            let planned = plan_after_north(&core, "1.30.0", &json!({}), raised).await;
            assert_eq!(version(&planned), "1.30.0", "{more}");
        }
    }
}

#[tokio::test]
async fn a_control_plane_waits_for_its_turn_although_the_charts_of_its_version_cannot_be_fetched() {
    let repository = tokio::task::spawn_blocking(ChartRepository::start).await.unwrap().expect("a repository");
    let charts = json!({"repository": repository.url()});
    let new = config(json!({"cluster": "west", "istio_version": "1.31.0"}));
    fleet(&charts).await.plan(PRIMARY, Some(new), None).await.expect("a plan that fetches the new charts");
    repository.fail_next(usize::MAX);
    let planned =
        plan_after_north(&fleet(&charts).await, "1.30.0", &json!({}), json!({"istio_version": "1.31.0"})).await;
    assert_eq!(version(&planned), "1.30.0");
    let told = planned.warnings.to_string();
    assert!(told.contains("west stays at Istio 1.30.0 for now") && told.contains("cannot be fetched now"), "{told}");
}

/// Only an upgrade that did not come to its end goes back out of turn.
#[tokio::test]
async fn an_apply_that_failed_upgrades_no_control_plane_out_of_its_turn() {
    let charts = tools::charts(Istio::Current).expect("the charts can be unpacked");
    let core = fleet(&json!({"directory": charts.dir()})).await;
    for (what, finished, state, wanted, planned) in [
        ("a change of values failed, and the version is raised", "1.30.0", "1.30.0", "1.31.0", "1.30.0"),
        ("an upgrade failed, and goes back", "1.30.0", "1.31.0", "v1.30.0", "v1.30.0"),
        ("an upgrade failed, and goes on", "1.30.0", "1.31.0", "1.31.0", "1.31.0"),
        ("an upgrade failed, and another version is wanted", "1.30.0", "1.31.0", "1.32.0", "1.31.0"),
        ("an upgrade is done, and its Lease was not given back", "1.31.0", "1.31.0", "1.32.0", "1.31.0"),
        ("a state of before does not know where it began", "", "1.31.0", "1.30.0", "1.31.0"),
    ] {
        let mut private = json!({"marked": true, "unfinished": true});
        if !finished.is_empty() {
            private["finished"] = finished.into();
        }
        let more = json!({"istio_version": wanted, "network": UNKNOWN});
        let came_to = plan_after_north(&core, state, &private, more).await;
        assert_eq!(version(&came_to), planned, "{what}");
    }
}

/// Over several networks ambient mode hides most endpoints of other clusters from sidecars.
#[tokio::test]
async fn ambient_mode_over_running_sidecars_is_refused_unless_it_is_asked_for() {
    const NAMESPACE: &str = "primary-plan";
    let Some(lab) = tokio::task::spawn_blocking(lab_cluster).await.unwrap() else { return };
    let charts = tools::charts(Istio::Current).expect("the charts can be unpacked");
    let provider =
        json!({"clusters": {"east": {"config_path": lab.kubeconfig_path()}}, "charts": {"directory": charts.dir()}});
    let core = Core::new(Mesh, registry(), provider.clone()).await.expect("the provider can be configured");
    let told = async |more: Json| -> Vec<String> {
        // A walk of its own: what is listed is held for its length.
        core.configure(provider.clone()).await.expect("the provider can be configured");
        match core.plan(PRIMARY, Some(config(more)), None).await {
            Ok(_) => Vec::new(),
            Err(errors) => errors.iter().map(|error| error.summary.clone()).collect(),
        }
    };
    let pod = |name: &str, role: &str| {
        let container = json!({"name": "istio-proxy", "image": "proxyv2", "args": ["proxy", role]});
        json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [container]},
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"security.istio.io/tlsMode": "istio"}}})
        .to_string()
    };
    lab.kubectl(&["create", "namespace", NAMESPACE]).expect("a namespace");
    let account = || lab.get(&["serviceaccount", "default", "-n", NAMESPACE]).is_ok_and(|account| account.is_some());
    lab.wait_until("a ServiceAccount", account).expect("a ServiceAccount");

    lab.apply(&pod("gateway", "router")).expect("a gateway");
    assert_eq!(told(json!({"ambient": true})).await, [""; 0], "a gateway is no sidecar");
    lab.apply(&pod("web", "sidecar")).expect("a sidecar");
    let refused = ["Ambient mode would cut sidecars off from other clusters"];
    assert_eq!(told(json!({"ambient": true})).await, refused);
    assert_eq!(told(json!({"ambient": true, "ambient_beside_sidecars": true})).await, [""; 0], "it is asked for");
    assert_eq!(told(json!({"ambient": true, "network": null})).await, [""; 0], "nothing is hidden in one network");
    assert_eq!(told(json!({})).await, [""; 0]);

    // Who may not list Pods does not know.
    let token = lab.kubectl(&["create", "token", "default", "-n", NAMESPACE]).expect("a token");
    let mut nobody = provider.clone();
    nobody["clusters"]["east"]["token"] = token.trim().into();
    core.configure(nobody).await.expect("the provider can be configured");
    let planned = core.plan(PRIMARY, Some(config(json!({"ambient": true}))), None).await.expect("a plan");
    let told = planned.warnings.to_string();
    assert!(told.contains("Whether sidecars run in east is not known"), "{told}");
    lab.kubectl(&["delete", "namespace", NAMESPACE, "--wait=false"]).expect("kubectl");
}
