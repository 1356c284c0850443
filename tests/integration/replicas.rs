//! docs/guides/day-two.md on nodes that are drained: what it says to write makes two replicas and their budgets, of
//! istiod and of a gateway.

use lab::tools::{self, Istio};
use serde_json::{Value as Json, json};
use terraform_provider_mesh::provider::Mesh;
use terraform_provider_mesh::resources::charts::{ProviderCharts, Store};
use terraform_provider_mesh::resources::registry;
use terraform_provider_mesh::resources::written::Written;
use terraform_provider_mesh::resources::{eastwest_gateway, primary};
use terraform_provider_mesh::schema::Model as _;
use terraform_provider_mesh::value::Value::Known;

use crate::pages::mirror;
use crate::support::cli::{Workspace, clis};
use crate::support::core::Core;
use crate::support::pages::blocks;

const PAGE: &str = include_str!("../../docs/guides/day-two.md");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_guide_says_makes_replicas_and_budgets() {
    let Some(cli) = clis().into_iter().next() else { return };
    let charts = tools::charts(Istio::Current).expect("the charts").dir().display().to_string();
    let provider = json!({
        "clusters": {"east": {"host": "https://127.0.0.1:9", "token": "t"}}, "charts": {"directory": charts},
    });
    let mirror = mirror();
    let workspace = Workspace::mirrored(&cli, mirror.path());
    let module = blocks(PAGE).into_iter().find(|block| block.file_name() == "replicas.tf").expect("the block");
    let terraform = "terraform {\n  required_providers {\n    mesh = { source = \"terraform-provider-mesh/mesh\" }\n  }\n}\n\nprovider \"mesh\" {}\n";
    workspace.configure(&format!("{terraform}\n{}", module.text));
    let override_ = json!({"provider": {"mesh": provider}});
    std::fs::write(workspace.path("lab_override.tf.json"), override_.to_string()).expect("a file");
    workspace.run(&["init", "-input=false"]).ok();
    workspace.run(&["plan", "-input=false", "-out=plan.bin"]).ok();
    let plan = workspace.run(&["show", "-json", "plan.bin"]).ok().json();

    let core = Core::new(Mesh, registry(), provider).await.expect("the provider can be configured");
    let store = Store::new(Known(ProviderCharts { directory: charts.into(), ..ProviderCharts::default() }));
    let values = |kind: &str| {
        let planned = plan["planned_values"]["root_module"]["resources"].as_array().expect("resources");
        planned.iter().find(|resource| resource["type"] == kind).expect("it is planned")["values"].clone()
    };
    let planned = core.plan("mesh_primary", Some(values("mesh_primary")), None).await.expect("a plan").planned;
    let model = primary::Primary::decode(&planned).expect("what was planned");
    has_replicas(&primary::written(&model, &store).await.expect("it renders"), "istiod", ("app", "istiod"));
    let planned = core.plan("mesh_eastwest_gateway", Some(values("mesh_eastwest_gateway")), None).await;
    let model = eastwest_gateway::Gateway::decode(&planned.expect("a plan").planned).expect("what was planned");
    let written = eastwest_gateway::written(&model, &store).await.expect("it renders");
    has_replicas(&written, "istio-eastwestgateway", ("istio", "eastwestgateway"));
}

/// Two replicas, on different nodes, of which one stays; and the labels are those of the Pods.
fn has_replicas(written: &Written, name: &str, (key, value): (&str, &str)) {
    let of_kind = |kind: &str| -> &Json {
        let mut objects = written.objects.iter().map(|placed| &placed.object);
        let found = objects.find(|object| object.kind() == kind && object.name() == name);
        found.unwrap_or_else(|| panic!("no {kind} {name}")).value()
    };
    assert_eq!(of_kind("HorizontalPodAutoscaler")["spec"]["minReplicas"], 2, "{name}");
    let budget = of_kind("PodDisruptionBudget");
    assert_eq!(budget["spec"]["minAvailable"], 1, "{name}");
    let pod = &of_kind("Deployment")["spec"]["template"];
    let labels = pod["metadata"]["labels"].as_object().expect("labels");
    for (key, value) in budget["spec"]["selector"]["matchLabels"].as_object().expect("labels") {
        assert_eq!(labels.get(key), Some(value), "{name}: the budget is of other Pods");
    }
    let spread = &pod["spec"]["topologySpreadConstraints"][0];
    assert_eq!(spread["topologyKey"], "kubernetes.io/hostname", "{name}");
    assert_eq!(spread["labelSelector"]["matchLabels"], json!({ key: value }), "{name}");
    assert_eq!(labels.get(key), Some(&json!(value)), "{name}: the constraint is of other Pods");
}
