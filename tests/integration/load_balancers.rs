//! docs/guides/load-balancers.md: what the page says is planned, rendered by Istio's gateway chart as helm renders it,
//! and taken by an API server.

use std::collections::BTreeMap;
use std::process::Command;

use lab::tools::{self, Tool};
use lab::{Lab, Options};
use serde_json::Value as Json;
use terraform_provider_mesh::chart::Values;
use terraform_provider_mesh::cluster::{INSTANCE_ANNOTATION, OWNER_LABEL};
use terraform_provider_mesh::resources::eastwest_gateway;
use terraform_provider_mesh::resources::written::Written;
use terraform_provider_mesh::schema::Model as _;

use crate::support::pages::blocks;
use crate::support::planned_page::{PlannedPage, object};

const PAGE: &str = include_str!("../../docs/guides/load-balancers.md");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_load_balancer_of_the_page_is_what_helm_makes_of_it() {
    let (module, additions): (Vec<_>, Vec<_>) = blocks(PAGE)
        .into_iter()
        .filter(|block| block.is_configuration())
        .partition(|block| block.text.contains("required_providers"));
    let mut files = vec![("main.tf".to_owned(), module[0].text.clone())];
    files.extend(additions.iter().map(|addition| (addition.file_name(), addition.text.clone())));
    let Some(page) = PlannedPage::of(&files).await else { return };
    assert_eq!(page.resources.len(), additions.len(), "each block is planned");

    let lab = Lab::start(&["east"], Options::default()).expect("a cluster");
    let east = lab.cluster("east");
    east.kubectl(&["create", "namespace", "istio-system"]).expect("a namespace");
    for resource in &page.resources {
        let values = &resource["values"];
        let model = eastwest_gateway::Gateway::decode(&page.planned(resource).await).expect("what was planned");
        let written = eastwest_gateway::written(&model, &page.store).await.expect("it renders");
        let name = values["name"].as_str().expect("a name");
        as_helm_renders(name, &page.charts, &written);
        let service = object(&written, "Service", name);
        for (key, value) in values["service"]["annotations"].as_object().expect("annotations") {
            assert_eq!(service["metadata"]["annotations"][key], *value, "{name}");
        }
        let accepted = east.run(
            Tool::Kubectl,
            &["create", "--dry-run=server", "-o", "json", "-f", "-"],
            Some(&service.to_string()),
        );
        let accepted: Json = serde_json::from_str(&accepted.expect("the API server takes it")).expect("JSON");
        for (field, asked) in [
            ("loadBalancerClass", "load_balancer_class"),
            ("loadBalancerSourceRanges", "source_ranges"),
            ("externalTrafficPolicy", "external_traffic_policy"),
        ] {
            let asked = &values["service"][asked];
            assert!(asked.is_null() || accepted["spec"][field] == *asked, "{name} {field}: {}", accepted["spec"]);
        }
        let ports: Vec<&Json> =
            accepted["spec"]["ports"].as_array().expect("ports").iter().map(|port| &port["port"]).collect();
        assert_eq!(ports, [15021, 15443, 15012, 15017], "{name}");
    }
}

/// Every object of helm's is one of ours, but for our own marks.
fn as_helm_renders(name: &str, charts: &str, written: &Written) {
    let given = &written.charts[0];
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), given.values.to_string()).expect("a file");
    let helm = tools::path(Tool::Helm).expect("helm");
    let said = Command::new(helm)
        .args(["template", &given.release, &format!("{charts}/gateway"), "-n", "istio-system", "--is-upgrade", "-f"])
        .arg(file.path())
        .output()
        .expect("helm");
    assert!(said.status.success(), "{name}: {}", String::from_utf8_lossy(&said.stderr));
    let text = String::from_utf8(said.stdout).expect("a text");
    let theirs: BTreeMap<String, Json> = text
        .split("\n---\n")
        .map(|document| {
            Json::Object(Values::from_yaml(document.trim_start_matches("---\n")).expect("YAML").as_map().clone())
        })
        .filter(|object| object["kind"].is_string())
        .map(keyed)
        .collect();
    let ours: BTreeMap<String, Json> =
        written.objects.iter().map(|placed| keyed(without_marks(placed.object.value().clone()))).collect();
    assert!(theirs.len() >= 4, "{name}: {:?}", theirs.keys());
    for (key, object) in &theirs {
        assert_eq!(ours.get(key), Some(&without_marks(without_nulls(object.clone()))), "{name}: {key}");
    }
}

fn keyed(object: Json) -> (String, Json) {
    (format!("{} {}", object["kind"], object["metadata"]["name"]), object)
}

/// Without what every object of ours carries beside what the chart makes, and what is empty then.
fn without_marks(mut object: Json) -> Json {
    for (map, key) in [("labels", OWNER_LABEL), ("annotations", INSTANCE_ANNOTATION)] {
        let entries = object.pointer_mut(&format!("/metadata/{map}")).and_then(Json::as_object_mut);
        let Some(entries) = entries else { continue };
        entries.remove(key);
        if entries.is_empty() {
            object["metadata"].as_object_mut().expect("metadata").remove(map);
        }
    }
    object
}

/// A null asks for nothing, and is not sent.
fn without_nulls(json: Json) -> Json {
    match json {
        Json::Object(members) => {
            let members = members.into_iter().filter(|(_, value)| !value.is_null());
            members.map(|(key, value)| (key, without_nulls(value))).collect::<serde_json::Map<_, _>>().into()
        }
        Json::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}
