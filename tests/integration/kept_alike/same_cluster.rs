//! Whether a cluster is the one that a resource was applied to, for all resources.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::*;

/// A kubeconfig that leads to another cluster under the same name: nobody takes its emptiness for a deletion, writes a
/// key into it, or destroys what is not there. Who says which cluster is meant has it accepted.
pub(super) async fn another_is_not_taken_for_its_own(alike: &Alike, row: &Row, config: &Json, stored: &Stored) {
    let uid = |name: &str| {
        let system = alike.cluster(name).get(&["namespace", "kube-system"]).expect("kubectl").expect("a namespace");
        system["metadata"]["uid"].as_str().expect("a uid").to_owned()
    };
    let (east, west) = (uid("east"), uid("west"));
    let entry = |name: &str| json!({"config_path": alike.cluster(name).kubeconfig_path()});
    let meant = |name: &str, uid: &str| json!({"config_path": alike.cluster(name).kubeconfig_path(), "uid": uid});
    let there = alike.marked(stored);
    let reads = ["get", "list", "watch"];
    // Leases of what is just made are renewed meanwhile.
    let changed = |name: &str| {
        let requests = alike.cluster(name).requests().by_agent("terraform-provider-mesh");
        let leases = alike.cluster(name).kubectl(&["get", "leases", "-A", "-l", OWNER, "-o", "name"]).expect("kubectl");
        let writes = requests.only(|one| !reads.contains(&one.verb.as_str()) && one.resource != "leases");
        (writes.len(), leases)
    };
    let changes = async || {
        // The audit log is written a little later.
        tokio::time::sleep(Duration::from_secs(1)).await;
        (changed("east"), changed("west"))
    };
    let before = changes().await;
    let refused = |told: &str| {
        let names = told.contains("is another one than before") && told.contains(&east) && told.contains(&west);
        assert!(names, "{}: {told}", row.resource);
    };
    let exchanged = json!({"east": entry("west"), "west": entry("east")});
    alike.configure(exchanged).await;
    refused(&alike.core.refresh_told(row.resource, stored).await.expect_err("a refusal").to_string());
    let mut updated = config.clone();
    updated["adopt"] = json!(true);
    for asked in [Some(updated), None] {
        // Without a refresh.
        let config = asked.map_or(Dyn::Null, |config| alike.core.config(row.resource, config));
        let planned = alike.core.plan_against(row.resource, config, Some(stored.clone())).await;
        let planned = planned.unwrap_or_else(|errors| panic!("{}: {errors}", row.resource));
        let applied = alike.core.apply(row.resource, planned).await;
        refused(&applied.diagnostics.to_string());
        assert!(applied.stored.is_some(), "{}: forgotten", row.resource);
    }
    assert_eq!(changes().await, before, "{}: something was written", row.resource);
    assert_eq!(alike.marked(stored), there, "{}", row.resource);

    // Rebuilt, and accepted: what is missing in the new clusters is missing.
    alike.configure(json!({"east": meant("west", &west), "west": meant("east", &east)})).await;
    let (read, told) = alike.refresh_by_these(row, stored).await;
    // Of another instance's objects of these names it is said whose they are.
    assert!(read.is_none() || told.contains("were taken over"), "{}: {told}", row.resource);
    // What is meant counts also where nobody has been before.
    alike.configure(json!({"east": meant("east", &west), "west": meant("west", &east)})).await;
    let told = alike.core.refresh_told(row.resource, stored).await.expect_err("a refusal").to_string();
    assert!(told.contains("is not the one that is meant") && told.contains(&east), "{}: {told}", row.resource);
    alike.configure(json!({"east": meant("east", &east), "west": meant("west", &west)})).await;
    assert_eq!(alike.next(row, Some(config), stored).await, Action::Nothing, "{}", row.resource);
}

/// A root that watchers may read is not hidden by another name of its cluster; and two names for one cluster are said.
pub(super) async fn names_of_one_are_taken_for_one(alike: &Alike) {
    let entry = |name: &str| json!({"config_path": alike.cluster(name).kubeconfig_path()});
    let clusters = json!({"east": entry("east"), "west": entry("west"), "west-admin": entry("west")});
    alike.configure(clusters).await;
    let plan = async |resource: &str, config: Json| {
        let planned = alike.core.plan(resource, Some(config), None).await;
        planned.map_or_else(|errors| errors.to_string(), |planned| planned.warnings.to_string())
    };
    let link = json!({"cluster": "west", "watchers": ["east"], "allow_loopback_server": true, "read_secrets": true});
    let told = plan("mesh_remote_cluster", link).await;
    assert!(!told.contains("reach"), "{told}");
    let store = json!({"cluster": "west-admin", "namespace": "roots"});
    let told = plan("mesh_ca", json!({"root": {"store": store}, "clusters": {"east": {}}})).await;
    assert!(told.contains("within the watchers' reach"), "{told}");
    assert!(told.contains("west-admin (the same cluster as west"), "{told}");
    let told =
        plan("mesh_ca", json!({"root": {"store": {"cluster": "east"}}, "clusters": {"west": {}, "west-admin": {}}}))
            .await;
    assert!(told.contains("One cluster under two names"), "{told}");
}

/// The link that has just been written under the new name is not taken away with the old one; the old one's token is.
pub(super) async fn a_watcher_under_a_new_name_stays_linked(
    alike: &Alike,
    row: &Row,
    config: &Json,
    mut stored: Stored,
) -> Stored {
    let entry = |name: &str| json!({"config_path": alike.cluster(name).kubeconfig_path()});
    let clusters = json!({"east": entry("east"), "west": entry("west"), "twin": entry("east")});
    let mut renamed = config.clone();
    renamed["watchers"] = json!(["twin"]);
    for (config, watcher) in [(&renamed, "twin"), (config, "east")] {
        alike.configure(clusters.clone()).await;
        let planned = alike.core.plan(row.resource, Some(config.clone()), Some(&stored)).await;
        let applied = alike.core.apply(row.resource, planned.unwrap_or_else(|errors| panic!("{errors}"))).await;
        let told = applied.diagnostics.to_string();
        assert!(!applied.diagnostics.has_errors() && !told.contains("stay"), "{told}");
        stored = applied.stored.expect("it is there");
        let secret = alike.object(["east", "secret", "istio-system", "istio-remote-secret-west"]);
        assert!(secret.is_some(), "{watcher}: unlinked: {told}");
        let given = alike.cluster("west").kubectl(&["get", "secrets", "-n", "istio-system", "-o", "name"]);
        let given = given.expect("kubectl");
        let given: Vec<&str> = given.lines().filter(|name| name.contains("istio-mesh-reader.west.")).collect();
        assert_eq!(given, [format!("secret/istio-mesh-reader.west.{watcher}.1")], "{told}");
        alike.configure(clusters.clone()).await;
        assert_eq!(alike.next(row, Some(config), &stored).await, Action::Nothing, "{watcher}: {told}");
    }
    stored
}
