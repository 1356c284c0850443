//! What is there is found by `terraform query`, and the configuration that it writes changes nothing: judged by a
//! Terraform of today.

use std::fs;

use serde_json::{Value, json};
use terraform_provider_mesh::diag::Diagnostics;
use terraform_provider_mesh::engine::rpc::{ListResource, ListResourceEvent};
use terraform_provider_mesh::provider::Mesh;
use terraform_provider_mesh::resources::registry;

use crate::service_entry_laws;
use crate::support::cli::{Said, Workspace};
use crate::support::core::{self, Core};

/// Every type of the provider.
pub const TYPES: [&str; 6] = [
    "mesh_ca",
    "mesh_ca_request",
    "mesh_primary",
    "mesh_eastwest_gateway",
    "mesh_remote_cluster",
    "mesh_service_entry",
];

/// Lets a workspace search for everything with these filters, by type, and write what it finds. Its own resources are
/// put aside.
pub fn search(workspace: &Workspace, filters: &Value) -> Said {
    let lists = TYPES.map(|name| {
        let filters = filters[name].as_object().into_iter().flatten();
        let filters: String = filters.map(|(key, value)| format!("    {key} = {value}\n")).collect();
        format!("list \"{name}\" \"found\" {{\n  provider = mesh\n  config {{\n{filters}  }}\n}}\n")
    });
    fs::write(workspace.path("all.tfquery.hcl"), lists.concat()).unwrap();
    let _ = fs::rename(workspace.path("main.tf"), workspace.path("main.tf.aside"));
    let _ = fs::remove_file(workspace.path("found.tf"));
    workspace.run(&["query", "-generate-config-out=found.tf"])
}

/// A search finds every resource of a mesh that was applied, and what it writes is what is there: a plan imports all of
/// it and changes nothing.
pub fn finds_the_whole(workspace: &Workspace, resources: usize) -> Said {
    let said = search(workspace, &Value::Null).ok();
    let plan = workspace.run(&["plan", "-input=false"]).ok().stdout;
    let summary = format!("Plan: {resources} to import, 0 to add, 0 to change, 0 to destroy.");
    let written = fs::read_to_string(workspace.path("found.tf")).unwrap();
    assert!(plan.contains(&summary), "{plan}\n{}\n{written}", said.stdout);
    said
}

/// The provider with two clusters that nobody is at.
async fn nobody() -> Core {
    let at = |port: u16| json!({"host": format!("https://127.0.0.1:{port}"), "insecure": true});
    Core::new(Mesh, registry(), json!({"clusters": {"east": at(1), "west": at(2)}})).await.unwrap()
}

async fn events(core: &Core, type_name: &str, config: Value, limit: i64) -> Vec<ListResourceEvent> {
    let schema = &core.engine.schema().list_resources[type_name];
    let config = core::encode(&core::value(&config, &schema.ty()), schema);
    let asked = ListResource { type_name: type_name.to_owned(), config, include_resource_object: true, limit };
    let mut found = core.engine.list_resource(asked);
    let mut events = Vec::new();
    while let Some(event) = found.recv().await {
        events.push(event);
    }
    events
}

fn said(events: Vec<ListResourceEvent>) -> Diagnostics {
    events.into_iter().flat_map(|event| event.diagnostics).collect()
}

/// What a cluster is called by Istio, its own istiod alone says, also where only the watcher is asked for: it may be
/// neither its key nor at the address by which the provider reaches it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watched_cluster_is_found_by_what_its_own_istiod_says() {
    let core = service_entry_laws::core().await;
    let of_west = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "istiod", "namespace": "named", "labels": {"app": "istiod"}},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "istiod"}}, "template": {
            "metadata": {"labels": {"app": "istiod"}},
            "spec": {"containers": [{"name": "discovery", "image": "pilot", "env": [{"name": "CLUSTER_ID", "value": "prod-west"}]}]}}}});
    let kubeconfig = json!({"apiVersion": "v1", "kind": "Config", "current-context": "prod-west",
        "clusters": [{"name": "prod-west", "cluster": {"server": "https://west.internal:6443", "insecure-skip-tls-verify": true}}],
        "contexts": [{"name": "prod-west", "context": {"cluster": "prod-west", "user": "prod-west"}}],
        "users": [{"name": "prod-west", "user": {"token": "t"}}]});
    let of_east = json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"prod-west": kubeconfig.to_string()},
        "metadata": {"name": "istio-remote-secret-prod-west", "namespace": "named", "labels": {"istio/multiCluster": "true"}}});
    for (cluster, object) in [(service_entry_laws::west(), of_west), (service_entry_laws::east(), of_east)] {
        cluster.kubectl(&["create", "namespace", "named"]).unwrap();
        cluster.apply(&object.to_string()).unwrap();
    }
    for filters in [json!({"namespace": "named"}), json!({"namespace": "named", "watcher": "east"})] {
        let events = events(&core, "mesh_remote_cluster", filters.clone(), 10).await;
        let found: Vec<String> =
            events.iter().filter(|event| event.identity.is_some()).map(|event| event.display_name.clone()).collect();
        let said = said(events);
        assert_eq!(found, ["west/named/prod-west, watched by east"], "{filters}: {said}");
        assert!(!said.to_string().contains("is not the provider's"), "{filters}: {said}");
    }
    // The clusters are others' as well.
    for cluster in [service_entry_laws::west(), service_entry_laws::east()] {
        cluster.kubectl(&["delete", "namespace", "named", "--wait=false"]).unwrap();
    }
}

#[tokio::test]
async fn a_cluster_that_cannot_be_searched_is_said_and_is_not_an_empty_one() {
    let core = nobody().await;
    for name in TYPES {
        let events = events(&core, name, json!({}), 10).await;
        assert!(events.iter().all(|event| event.identity.is_none()), "{name}");
        let said = said(events);
        assert!(!said.has_errors(), "{name}: {said}");
        for cluster in ["east", "west"] {
            let summary = format!("Cluster {cluster} was not searched");
            assert_eq!(said.iter().filter(|one| one.summary == summary).count(), 1, "{name}: {said}");
        }
    }
}

#[tokio::test]
async fn a_cluster_that_is_not_the_provider_s_is_an_error() {
    let core = nobody().await;
    for name in TYPES {
        let said = said(events(&core, name, json!({"cluster": "north"}), 10).await);
        assert!(said.has_errors() && said.to_string().contains("north"), "{name}: {said}");
    }
    let said = said(events(&core, "mesh_remote_cluster", json!({"watcher": "north"}), 10).await);
    assert!(said.has_errors(), "{said}");
}

#[tokio::test]
async fn every_resource_can_be_searched_for() {
    let core = nobody().await;
    let schema = core.engine.schema();
    assert_eq!(schema.list_resources.keys().collect::<Vec<_>>(), schema.resources.keys().collect::<Vec<_>>());
}
