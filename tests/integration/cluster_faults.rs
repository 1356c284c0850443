//! A true API server behind a front that fails on request: what was begun comes to its end, once.

use std::time::{Duration, Instant};

use futures::future::join_all;
use lab::Fault;
use serde_json::json;
use terraform_provider_mesh::cluster::{
    Adoption, Apply, ApplyAll, Delete, INSTANCE_ANNOTATION, Kind, Layer, Object, Owner, Patched, Scope, Secret, wait,
};

use crate::cluster_lab::place_with_faults;
use crate::support::best::best_of_three;

#[tokio::test]
async fn applies_survive_refusals_and_broken_connections() {
    let Some(place) = place_with_faults("faults-apply").await else { return };
    let agent = "terraform-provider-mesh/faults-apply";
    place.lab.fault(Fault::status_retry_after(429, 1).for_agent(agent).for_request("PATCH").times(5)).unwrap();
    place.lab.fault(Fault::status(503).for_agent(agent).times(5)).unwrap();
    place.lab.fault(Fault::cut().for_agent(agent).for_request("PATCH").times(5)).unwrap();
    let objects = (0..30).map(|number| place.config_map(&format!("c{number}"), json!({"x": "1"}))).collect();
    let applied = place
        .cluster
        .apply_all(ApplyAll { objects, owner: Owner::by_label(&place.owner()), ..ApplyAll::default() })
        .await
        .unwrap();
    assert_eq!(applied.len(), 30);
    assert!(place.cluster.requests() >= 46, "{} requests", place.cluster.requests());

    place.lab.fault(Fault::cut().for_agent(agent).for_request("DELETE").times(5)).unwrap();
    let deletions = applied
        .iter()
        .map(|applied| async { place.cluster.delete(&Delete::new(applied.reference.clone())).await.unwrap() });
    join_all(deletions).await;
    assert!(place.cluster.get(&applied[0].reference).await.unwrap().is_none());
}

/// The server makes an object, and its answer is lost: the request that is sent again is refused for what the first one
/// has done. What another has made of the same name stays another's.
#[tokio::test]
async fn a_write_whose_answer_is_lost_came_through() {
    let Some(place) = place_with_faults("faults-lost").await else { return };
    let lost = || {
        let fault = Fault::cut().for_agent("terraform-provider-mesh/faults-lost").for_request("PATCH");
        place.lab.fault(fault.times(2)).unwrap();
    };
    let marked =
        |name: &str, x: &str| place.config_map(name, json!({ "x": x })).with_annotation(INSTANCE_ANNOTATION, "m");
    lost();
    let made = place.cluster.apply_new(&marked("a", "1")).await.unwrap().expect("its own");
    assert!(made.created);
    lost();
    let mut changed = marked("a", "2").value().clone();
    changed["metadata"]["resourceVersion"] = json!(made.object.resource_version());
    let owner = Owner::by_label(&place.owner());
    let apply = Apply { adoption: Adoption::Take, ..Apply::new(Object::new(changed).unwrap(), owner) };
    let applied = place.cluster.apply(apply).await.unwrap();
    assert!(!applied.created && applied.object.value()["data"]["x"] == "2", "{:?}", applied.object);
    let from_to = |from: &str, to: &str| json!([{"op": "test", "path": "/data/x", "value": from}, {"op": "replace", "path": "/data/x", "value": to}]);
    for (from, is_done) in [("2", true), ("another", false)] {
        lost();
        let patched = place.cluster.patch_if(&place.at(Kind::CONFIG_MAP, "a"), &from_to(from, "3")).await.unwrap();
        assert_eq!(matches!(patched, Patched::Done(_)), is_done, "{patched:?}");
        place.lab.kubectl(&["-n", &place.namespace, "patch", "cm", "a", "-p", r#"{"data": {"x": "9"}}"#]).unwrap();
    }

    for theirs in [marked("b", "3"), place.config_map("b", json!({ "x": "1" }))] {
        place.lab.apply(&theirs.value().to_string()).unwrap();
        lost();
        assert!(place.cluster.apply_new(&marked("b", "1")).await.unwrap().is_none(), "{theirs:?}");
    }
    place.cluster.apply_new(&place.config_map("c", json!({}))).await.unwrap();
    lost();
    let unmarked = place.cluster.apply_new(&place.config_map("c", json!({}))).await.unwrap();
    assert!(unmarked.is_none(), "without a mark another run may have made it");
}

/// Another resource of the same run has written the definition, and did not wait for what it has no use for.
#[tokio::test]
async fn an_object_is_written_once_its_definition_is_served() {
    let Some(place) = place_with_faults("faults-defined").await else { return };
    let group = "faults-defined.example.com";
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("things.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": {"kind": "Thing", "plural": "things"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]},
    });
    place.lab.apply(&definition.to_string()).unwrap();
    let name = format!("crd/things.{group}");
    place.lab.kubectl(&["wait", "--for=condition=Established", &name]).unwrap();
    let unserved = Fault::status(404).for_agent("terraform-provider-mesh/faults-defined");
    place.lab.fault(unserved.for_request(&format!("/apis/{group}/v1/namespaces/")).times(3)).unwrap();
    let mut thing = place.config_map("a", json!({})).value().clone();
    thing["apiVersion"] = json!(format!("{group}/v1"));
    thing["kind"] = json!("Thing");
    let thing = Object::new(thing).unwrap();
    let applied = place.cluster.apply(Apply::new(thing, Owner::by_label(&place.owner()))).await.unwrap();
    assert!(applied.created, "{:?}", applied.reference);
    place.lab.kubectl(&["delete", &name]).unwrap();
}

#[tokio::test]
async fn an_object_that_others_write_as_well_is_written_in_the_end() {
    let Some(place) = place_with_faults("faults-contended").await else { return };
    let refused = |times| {
        let fault = Fault::status(409).for_agent("terraform-provider-mesh/faults-contended").for_request("PATCH");
        place.lab.fault(fault.times(times)).unwrap();
    };
    let apply = || Apply::shared(place.config_map("a", json!({"x": "1"})));
    refused(6);
    assert!(place.cluster.apply(apply()).await.unwrap().created);
    refused(7);
    let error = place.cluster.apply(apply()).await.unwrap_err();
    assert_eq!(error.layer(), Layer::Api, "{error}");
    assert!(!error.is_unreachable() && error.remedy().contains("apply again"), "{error}: {}", error.remedy());

    // All pauses together last 1260 ms, and the last one 640 ms: there the time ends, unless requests are so slow that
    // it ends in one of them. Such an attempt says nothing about pauses.
    let mut layers = Vec::new();
    while !layers.contains(&Layer::Api) {
        assert!(layers.len() < 20, "that time is up says less than why: {layers:?}");
        refused(7);
        let hurried = place.cluster.within(Scope::lasting(Duration::from_millis(900), Default::default()));
        layers.push(hurried.apply(apply()).await.unwrap_err().layer());
    }
}

#[tokio::test]
async fn a_wait_outlives_a_server_that_goes_and_comes_back() {
    let Some(place) = place_with_faults("faults-wait").await else { return };
    let agent = "terraform-provider-mesh/faults-wait";
    let applied = place.cluster.apply(Apply::shared(place.config_map("a", json!({})))).await.unwrap();
    let until = wait::Until::new("to have data.x", |object| {
        match object.is_some_and(|object| object.get("data.x").is_some()) {
            true => wait::Verdict::Ready,
            false => wait::Verdict::pending("data.x is not set"),
        }
    });
    place.lab.fault(Fault::cut().for_agent(agent).times(4)).unwrap();
    place.lab.fault(Fault::status(503).for_agent(agent).times(4)).unwrap();
    let (waited, ()) = tokio::join!(place.cluster.wait_applied(&applied, &until), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        place.other("x", "PATCH", &applied.reference.path(), json!({"data": {"x": "1"}})).await;
    });
    assert_eq!(waited.unwrap().unwrap().str("data.x"), "1");
}

#[tokio::test]
async fn a_refused_token_is_an_answer_at_once() {
    let Some(place) = place_with_faults("faults-token").await else { return };
    // The neighbours of this test set faults, which drops whatever connection is being made at that moment: it is made
    // again.
    best_of_three(Duration::from_secs(5), async || {
        let started = Instant::now();
        let refused = async |token: &str| {
            place.cluster.with_token(Secret::new(token)).get(&place.at(Kind::SECRET, "a")).await.unwrap_err()
        };
        let error = refused("wrong").await;
        assert_eq!(error.layer(), Layer::Authentication, "{error}");
        let error = refused(&place.lab.powerless_token()).await;
        assert_eq!(error.layer(), Layer::Authorization, "{error}");
        started.elapsed()
    })
    .await;
}
