//! docs/guides/day-two.md on nodes that are drained: what it says to write makes two replicas and their budgets, of
//! istiod and of a gateway.

use serde_json::json;
use terraform_provider_mesh::resources::written::Written;
use terraform_provider_mesh::resources::{eastwest_gateway, primary};
use terraform_provider_mesh::schema::Model as _;

use crate::support::pages::blocks;
use crate::support::planned_page::{PlannedPage, object};

const PAGE: &str = include_str!("../../docs/guides/day-two.md");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_guide_says_makes_replicas_and_budgets() {
    let module = blocks(PAGE).into_iter().find(|block| block.file_name() == "replicas.tf").expect("the block");
    let terraform = "terraform {\n  required_providers {\n    mesh = { source = \"terraform-provider-mesh/mesh\" }\n  }\n}\n\nprovider \"mesh\" {}\n";
    let files = [("main.tf".to_owned(), format!("{terraform}\n{}", module.text))];
    let Some(page) = PlannedPage::of(&files).await else { return };
    let planned = async |kind: &str| {
        page.planned(page.resources.iter().find(|resource| resource["type"] == kind).expect("it is planned")).await
    };
    let model = primary::Primary::decode(&planned("mesh_primary").await).expect("what was planned");
    has_replicas(&primary::written(&model, &page.store).await.expect("it renders"), "istiod", ("app", "istiod"));
    let model = eastwest_gateway::Gateway::decode(&planned("mesh_eastwest_gateway").await).expect("what was planned");
    let written = eastwest_gateway::written(&model, &page.store).await.expect("it renders");
    has_replicas(&written, "istio-eastwestgateway", ("istio", "eastwestgateway"));
}

/// Two replicas, on different nodes, of which one stays; and the labels are those of the Pods.
fn has_replicas(written: &Written, name: &str, (key, value): (&str, &str)) {
    let of_kind = |kind: &str| object(written, kind, name);
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
