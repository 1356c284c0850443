//! What a run that is refused leaves as it was.

use serde_json::{Value as Json, json};

use super::*;

/// A run that looks for drift, and a watcher that it cannot look at: "No changes" would hide that its link is gone.
pub(super) async fn a_watcher_that_cannot_be_read_is_never_without_changes(alike: &Alike, row: &Row, stored: &Stored) {
    let entry = |name: &str| json!({"config_path": alike.cluster(name).kubeconfig_path()});
    let mut no_context = entry("east");
    no_context["config_context"] = json!("tipo");
    for (watcher, said, unreachable) in [
        (json!({"host": "https://127.0.0.1:1", "insecure": true}), "127.0.0.1:1", json!("error")),
        (no_context, "tipo", Json::Null),
    ] {
        let config = json!({"clusters": {"east": watcher, "west": entry("west")}, "unreachable_clusters": unreachable});
        alike.core.configure(config).await.expect("the provider can be configured");
        let told = alike.core.refresh_told(row.resource, stored).await.expect_err("a refusal").to_string();
        assert!(told.contains(said), "{told}");
    }
    // It left the provider: nothing can be seen of it, and the rest goes on.
    alike.configure(json!({"west": entry("west")})).await;
    let (read, told) = alike.refresh_by_these(row, stored).await;
    let kept = attribute_of(&read.expect("it is there"), "tokens");
    assert_eq!(kept, attribute_of(stored, "tokens"), "{told}");
    assert!(told.contains("east"), "{told}");
}

/// A create that stays in state, tainted, has written a root; the create that replaces it is refused, since a root that
/// is found is not trusted. The Lease is still of the first one, whose destroy removes all of it.
pub(super) async fn a_create_that_is_refused_leaves_what_it_found_to_its_state(
    alike: &Alike,
    row: &Row,
    config: &Json,
    tainted: Stored,
) -> Stored {
    let lease = alike.leave_the_lease(&tainted, "false", "interrupted");
    alike.again().await;
    let planned = alike.core.plan(row.resource, Some(config.clone()), None).await;
    let refused = alike.core.apply(row.resource, planned.unwrap_or_else(|errors| panic!("{errors}"))).await;
    let told = refused.diagnostics.to_string();
    assert!(refused.stored.is_none() && refused.diagnostics.has_errors(), "{told}");
    let text = |key: &str| lease["metadata"][key].as_str().expect("text").to_owned();
    let (namespace, name) = (text("namespace"), text("name"));
    let left = alike.object([row.objects[1][0], "lease", &namespace, &name]).expect("the Lease stays");
    assert_eq!(left["metadata"]["annotations"], lease["metadata"]["annotations"], "{told}");
    assert_eq!(left["spec"]["holderIdentity"], "interrupted", "{told}");
    alike.again().await;
    let planned = alike.core.plan(row.resource, None, Some(&tainted)).await;
    let gone = alike.core.apply(row.resource, planned.unwrap_or_else(|errors| panic!("{errors}"))).await;
    assert!(gone.stored.is_none() && !gone.diagnostics.has_errors(), "{}", gone.diagnostics);
    assert_eq!(alike.marked(&tainted), Vec::<String>::new(), "{}", gone.diagnostics);
    alike.apply(row, config, None).await
}
