//! An exporting cluster that is gone for good.

use super::*;

/// Left where the user says so, and never a state that nobody can change any more: the exporting cluster first, then
/// the importing one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_gone_for_good_is_left() {
    let core = core().await;
    let (host, name) = ("gone.west.mesh", "gone-west-mesh");
    let owner = format!("mesh_service_entry.{name}");
    let north = exporter(json!({ "cluster": null, "trust_domain": "north.example" }));
    let west_exports = exporter(json!({ "expose": true }));
    let both = config(host, json!({ "exporters": { "west": west_exports, "north": north.clone() } }));
    let stored = apply(&core, &both, None).await;
    let stored = under_a_new_name(&core, &both, stored, &owner).await;
    let one = |skips: Json| {
        config(host, json!({ "exporters": { "north": north.clone() }, "skip_unreachable_on_destroy": skips }))
    };
    let without = async |gone: &[&str], config: Option<Json>, stored: &Stored| {
        let mut provider = provider();
        for cluster in gone {
            provider["clusters"][cluster] = json!({ "host": "https://127.0.0.1:1", "insecure": true });
        }
        core.configure(provider).await.expect("the provider can be configured");
        let planned = core.plan(ENTRY, config, Some(stored)).await.unwrap_or_else(|errors| panic!("{errors}"));
        core.apply(ENTRY, planned).await
    };
    // It has left the provider as well, and no refresh has said so: what is in it goes on being known.
    let mut only_east = provider();
    only_east["clusters"].as_object_mut().expect("a map").remove("west");
    core.configure(only_east).await.expect("the provider can be configured");
    let unread = core.plan_against(ENTRY, core.config(ENTRY, one(Json::Null)), Some(stored.clone())).await;
    let refused = core.apply(ENTRY, unread.unwrap_or_else(|errors| panic!("{errors}"))).await;
    let exported = |stored: &Stored| {
        let state: Json = serde_json::from_str(&stored.json).expect("JSON");
        state["exported"]["west"].clone()
    };
    assert!(refused.diagnostics.has_errors() && exported(&stored).is_object(), "{}", refused.diagnostics);
    let kept = refused.stored.expect("a state");
    assert_eq!(exported(&kept), exported(&stored), "{}", refused.diagnostics);

    let refused = without(&["west"], Some(one(Json::Null)), &kept).await;
    assert!(refused.diagnostics.has_errors());
    let told = refused.diagnostics.to_string();
    assert!(told.contains("If cluster west is gone for good") && told.contains("skip_unreachable"), "{told}");
    let refused = without(&["west"], None, &refused.stored.expect("a state")).await;
    let told = refused.diagnostics.to_string();
    assert!(refused.diagnostics.has_errors() && told.contains("skip_unreachable_on_destroy"), "{told}");

    let left = without(&["west"], Some(one(true.into())), &refused.stored.expect("a state")).await;
    let told = left.diagnostics.to_string();
    assert!(!left.diagnostics.has_errors(), "{told}");
    let stays = format!(
        "cluster west does not answer, so these objects stay in it if it still exists: Gateway istio-system/export-{name}"
    );
    assert!(told.contains(&stays), "{told}");
    let stored = left.stored.expect("it is there");
    settled(&core, &one(true.into()), &stored).await;
    assert_eq!(owned(west(), &owner), [format!("Gateway export-{name}")], "nobody could remove it");

    // Nothing can be done in the importing cluster, and yet the way out that the error names can be taken.
    core.configure(provider()).await.expect("the provider can be configured");
    let stored = apply(&core, &one(Json::Null), Some(&stored)).await;
    let refused = without(&["east", "west"], Some(one(true.into())), &stored).await;
    assert!(refused.diagnostics.has_errors(), "nobody has asked the Lease");
    let stored = refused.stored.expect("a state");
    let left = without(&["east", "west"], None, &stored).await;
    let told = left.diagnostics.to_string();
    assert!(!left.diagnostics.has_errors() && told.contains("cluster east does not answer"), "{told}");
    assert!(left.stored.is_none(), "state knows nothing of it any more");
    // Nobody else removes it from clusters that others use as well.
    let selector = format!("terraform-provider-mesh/owner={owner}");
    for cluster in [east(), west()] {
        cluster.kubectl(&["delete", &format!("{KINDS},leases"), "-A", "-l", &selector]).expect("kubectl");
    }
}

/// What was just written under the new name is not removed with the old one. Ends under the name that it had.
async fn under_a_new_name(core: &Core, config: &Json, mut stored: Stored, owner: &str) -> Stored {
    let mut renamed = config.clone();
    renamed["exporters"]["west"]["cluster"] = json!("another");
    let mut clusters = provider();
    clusters["clusters"]["another"] = clusters["clusters"]["west"].clone();
    let uid = || {
        west()
            .kubectl(&[
                "get",
                "gateways.networking.istio.io",
                "-A",
                "-l",
                &format!("terraform-provider-mesh/owner={owner}"),
                "-o",
                "jsonpath={.items[*].metadata.uid}",
            ])
            .expect("kubectl")
    };
    let there = (owned(west(), owner), uid());
    assert!(!there.1.is_empty());
    for (config, name) in [(&renamed, "another"), (config, "west")] {
        core.configure(clusters.clone()).await.expect("the provider can be configured");
        let planned = core.plan(ENTRY, Some(config.clone()), Some(&stored)).await;
        let applied = core.apply(ENTRY, planned.unwrap_or_else(|errors| panic!("{errors}"))).await;
        assert!(!applied.diagnostics.has_errors(), "{}", applied.diagnostics);
        stored = applied.stored.expect("it is there");
        assert_eq!((owned(west(), owner), uid()), there, "{name}");
        let state: Json = serde_json::from_str(&stored.json).expect("JSON");
        let exported = state["exported"].as_object().expect("a map").keys().cloned().collect::<Vec<_>>();
        assert_eq!(exported, [name]);
    }
    stored
}
