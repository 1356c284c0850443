//! On a true API server: apply, conflicts, adoption, drift, prune, waits, deletion, tokens.

use std::time::Duration;

use serde_json::json;
use terraform_provider_mesh::cluster::{
    Access, Adoption, Apply, ApplyAll, Delete, FIELD_MANAGER, Failure, INSTANCE_ANNOTATION, Kind, Layer, OWNER_LABEL,
    Object, ObjectRef, Owner, Query, TokenRequest, managers, wait,
};
use terraform_provider_mesh::kept::remove::{Doomed, Removed, Removing};

use crate::cluster_lab::{Place, place};

/// By the label that the object has, as states go by that are older than marks.
fn apply(object: Object) -> Apply {
    let owner = Owner::by_label(object.label(OWNER_LABEL).unwrap_or_default());
    Apply::new(object, owner)
}

fn deployment(place: &Place, image: &str, replicas: i64) -> Object {
    Object::of(&place.at(Kind::DEPLOYMENT, "web")).with_label(OWNER_LABEL, &place.owner()).with(
        "spec",
        json!({
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{
                    "name": "web", "image": image, "env": [{"name": "A", "value": "1"}],
                    "ports": [{"containerPort": 8080}],
                    "resources": {"requests": {"cpu": "0.5", "memory": "2048Mi"}},
                }]},
            },
        }),
    )
}

#[tokio::test]
async fn an_object_is_applied_read_and_deleted() {
    let Some(place) = place("apply").await else { return };
    let object = place.config_map("a", json!({"x": "1", "y": "2"}));
    let first = place.cluster.apply(apply(object.clone())).await.unwrap();
    assert!(first.created);
    let again = place.cluster.apply(apply(object.clone())).await.unwrap();
    assert!(!again.created);
    assert_eq!(again.object.resource_version(), first.object.resource_version(), "the same again changes nothing");

    let less = place.config_map("a", json!({"x": "1"}));
    place.cluster.apply(apply(less)).await.unwrap();
    let live = place.cluster.get(&first.reference).await.unwrap().unwrap();
    assert_eq!(live.strings("data").into_keys().collect::<Vec<_>>(), ["x"], "what we no longer apply goes");
    let wrong =
        Delete { uid: Some("00000000-0000-0000-0000-000000000000".into()), ..Delete::new(first.reference.clone()) };
    assert!(!place.cluster.delete(&wrong).await.unwrap(), "another object of that name is not the one meant");
    assert!(place.cluster.delete(&Delete::new(first.reference.clone())).await.unwrap());
    assert!(!place.cluster.delete(&Delete::new(first.reference.clone())).await.unwrap());
    assert!(place.cluster.get(&first.reference).await.unwrap().is_none());
}

#[tokio::test]
async fn a_conflict_names_object_field_and_manager() {
    let Some(place) = place("conflict").await else { return };
    place.cluster.apply(apply(place.config_map("a", json!({"x": "1"})))).await.unwrap();
    let reference = place.at(Kind::CONFIG_MAP, "a");
    place.other("their-tool", "PATCH", &reference.path(), json!({"data": {"x": "theirs"}})).await;

    let error = place.cluster.apply(apply(place.config_map("a", json!({"x": "2"})))).await.unwrap_err();
    let conflict = error.conflict().unwrap();
    assert_eq!((conflict.fields[0].field.as_str(), conflict.fields[0].manager.as_str()), ("data.x", "their-tool"));
    assert_eq!(
        error.to_string(),
        format!("cluster east: ConfigMap {}/a has fields that others manage: data.x (their-tool)", place.namespace)
    );
    let forced = Apply { force: true, ..apply(place.config_map("a", json!({"x": "2"}))) };
    assert_eq!(place.cluster.apply(forced).await.unwrap().object.strings("data")["x"], "2");
}

#[tokio::test]
async fn conflicts_of_all_levels_are_told_at_once() {
    let Some(place) = place("conflicts").await else { return };
    let objects = |x: &str| vec![place.config_map("a", json!({"x": x})), deployment(&place, x, 1)];
    let all = |x: &str| ApplyAll { objects: objects(x), owner: Owner::by_label(&place.owner()), ..ApplyAll::default() };
    place.cluster.apply_all(all("1")).await.unwrap();
    place.other("tool", "PATCH", &place.at(Kind::CONFIG_MAP, "a").path(), json!({"data": {"x": "theirs"}})).await;
    let paused = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "theirs"}]}}}});
    place.other("tool", "PATCH", &place.at(Kind::DEPLOYMENT, "web").path(), paused).await;

    let failed = place.cluster.apply_all(all("2")).await.unwrap_err();
    let named: Vec<String> = failed.errors.iter().map(|error| error.conflict().unwrap().object.to_string()).collect();
    assert_eq!(named, ["ConfigMap conflicts/a", "Deployment conflicts/web"]);
}

/// As where autoscaling is turned on: an apply that no longer says how many hands the number over as it is.
#[tokio::test]
async fn replicas_that_are_given_up_stay() {
    let Some(place) = place("replicas").await else { return };
    let reference = place.at(Kind::DEPLOYMENT, "web");
    let ours = |replicas: i64| apply(deployment(&place, "v1", replicas));
    let without = |image: &str| {
        let mut object = deployment(&place, image, 3);
        object.value_mut()["spec"].as_object_mut().unwrap().remove("replicas");
        apply(object)
    };
    let replicas = async || {
        let live = place.cluster.get(&reference).await.unwrap().unwrap();
        live.get("spec.replicas").and_then(|count| count.as_i64())
    };
    let taken = |apply: Apply| Apply { adoption: Adoption::Assume, ..apply };
    let known = |apply: Apply| Apply { known: true, ..apply };
    for (at, handing) in [without("v2"), known(without("v3")), taken(without("v4"))].into_iter().enumerate() {
        place.cluster.apply(Apply { force: true, ..ours(3) }).await.unwrap();
        place.cluster.apply(handing).await.unwrap();
        assert_eq!(replicas().await, Some(3), "{at}");
    }
    // The number is nobody's now: an autoscaler writes it, and so may we again.
    place.cluster.apply(ours(2)).await.unwrap();
    assert_eq!(replicas().await, Some(2));
    // Another instance that adopts the object has never said how many.
    let other = Owner { mark: "another".into(), ..Owner::by_label("other") };
    let adopting = Apply { adoption: Adoption::Take, owner: other, ..without("v5") };
    place.cluster.apply(adopting).await.unwrap();
    assert_eq!(replicas().await, Some(2));
    let scale = json!({"spec": {"replicas": 5}});
    place.other("autoscaler", "PATCH", &format!("{}/scale", reference.path()), scale).await;
    place.cluster.apply(Apply { adoption: Adoption::Assume, ..without("v6") }).await.unwrap();
    assert_eq!(replicas().await, Some(5), "an autoscaler holds what it has set");
}

#[tokio::test]
async fn what_is_on_its_way_out_is_waited_for_and_made_anew() {
    let Some(place) = place("leaving").await else { return };
    let reference = place.at(Kind::CONFIG_MAP, "a");
    let first = place.cluster.apply(apply(place.config_map("a", json!({"x": "1"})))).await.unwrap();
    let held = json!({"metadata": {"finalizers": ["test.example/held"]}});
    place.other("holder", "PATCH", &reference.path(), held).await;
    assert!(place.cluster.delete(&Delete::new(reference.clone())).await.unwrap());

    let again = apply(place.config_map("a", json!({"x": "2"})));
    let let_go = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        place.other("holder", "PATCH", &reference.path(), json!({"metadata": {"finalizers": null}})).await;
    };
    let (again, ()) = tokio::join!(place.cluster.apply(again), let_go);
    let again = again.unwrap();
    assert!(again.created && again.object.uid() != first.object.uid());
}

#[tokio::test]
async fn a_foreign_object_is_refused_and_adopted_when_asked() {
    let Some(place) = place("adopt").await else { return };
    let reference = place.at(Kind::CONFIG_MAP, "theirs");
    let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs",
        "annotations": {"meta.helm.sh/release-name": "istiod", "meta.helm.sh/release-namespace": "istio-system"}}, "data": {"x": "1"}});
    let collection = Kind::CONFIG_MAP.path(Some(&place.namespace));
    place.other("helm", "POST", &collection, theirs).await;

    let ours = || place.config_map("theirs", json!({"x": "2"}));
    let error = place.cluster.apply(apply(ours())).await.unwrap_err();
    assert!(matches!(error.failure, Failure::Foreign(_)));
    assert_eq!(
        error.to_string(),
        format!(
            "cluster east: ConfigMap {}/theirs exists already and is managed by the Helm release istio-system/istiod",
            place.namespace
        )
    );
    let objects = vec![place.config_map("new", json!({})), ours()];
    let failed = place
        .cluster
        .apply_all(ApplyAll { objects, owner: Owner::by_label(&place.owner()), ..ApplyAll::default() })
        .await
        .unwrap_err();
    let told: Vec<&str> = failed.applied.iter().map(|applied| applied.reference.name.as_str()).collect();
    assert_eq!((told, failed.errors.len()), (vec!["new"], 1), "what was written is told, for state to keep");
    let live = place.cluster.get(&reference).await.unwrap().unwrap();
    assert_eq!((live.strings("data")["x"], managers(&live)), ("1", vec!["helm".to_owned()]), "theirs is untouched");

    let adopted = place.cluster.apply(Apply { adoption: Adoption::Take, ..apply(ours()) }).await.unwrap();
    assert_eq!(adopted.object.strings("data")["x"], "2");
    assert_eq!(managers(&adopted.object), [FIELD_MANAGER]);
    let next = place.cluster.apply(apply(place.config_map("theirs", json!({"x": "3"})))).await.unwrap();
    assert_eq!(next.object.strings("data")["x"], "3", "helm no longer holds the field");

    let other_owner = place.config_map("theirs", json!({})).with_label(OWNER_LABEL, "test.b");
    let error = place.cluster.apply(apply(other_owner)).await.unwrap_err();
    assert!(error.to_string().ends_with("is managed by test.adopt of this provider"), "{error}");
    assert!(place.cluster.get(&reference).await.unwrap().is_some());
}

/// Of a kind in the table the metadata of its definition is enough; where another version than the table's is served,
/// its body tells which.
#[tokio::test]
async fn a_definition_is_asked_for_its_objects_in_a_version_that_is_served() {
    let Some(place) = place("served").await else { return };
    let reference = ObjectRef::cluster(Kind::CUSTOM_RESOURCE_DEFINITION, "sidecars.networking.istio.io");
    let sidecar = Object::new(
        json!({"apiVersion": "networking.istio.io/v1alpha3", "kind": "Sidecar", "metadata": {"name": "s", "namespace": place.namespace}}),
    );
    let sidecar = sidecar.unwrap().with_label(OWNER_LABEL, "test.served");
    for (served, costs) in [(&["v1alpha3"][..], 3), (&["v1alpha3", "v1"], 1)] {
        let version = |name: &&str| json!({"name": name, "served": true, "storage": *name == "v1alpha3", "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}});
        let versions: Vec<_> = served.iter().map(version).collect();
        let definition = Object::of(&reference).with_label(OWNER_LABEL, "test.served").with(
            "spec",
            json!({"group": "networking.istio.io", "scope": "Namespaced", "names": {"kind": "Sidecar", "plural": "sidecars"}, "versions": versions}),
        );
        let objects = vec![definition, sidecar.clone()];
        let owner = Owner::by_label("test.served");
        place.cluster.apply_all(ApplyAll { objects, owner, ..ApplyAll::default() }).await.unwrap();
        let in_v1 = Query::of(Kind::SIDECAR).namespace(&place.namespace);
        for _ in 0..50 {
            // The second version is served a moment after the first.
            match place.cluster.list_now(&in_v1).await.is_ok() == served.contains(&"v1") {
                true => break,
                false => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
        let alone = place.cluster.get_metadata(&reference).await.unwrap().unwrap();
        let before = place.cluster.requests();
        let instances = place.cluster.instances(&alone).await.unwrap();
        assert_eq!(instances.len(), 1, "{served:?}");
        assert_eq!(place.cluster.requests() - before, costs, "{served:?}");
    }
}

#[tokio::test]
async fn many_objects_go_in_order_and_cost_little() {
    let Some(place) = place("many").await else { return };
    let group = format!("{}.example.com", place.namespace);
    let definition = Object::of(&ObjectRef::cluster(Kind::CUSTOM_RESOURCE_DEFINITION, format!("things.{group}"))).with_label(OWNER_LABEL, "test.many").with(
        "spec",
        json!({
            "group": group, "scope": "Namespaced", "names": {"kind": "Thing", "plural": "things"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
        }),
    );
    let thing = Object::new(json!({"apiVersion": format!("{group}/v1"), "kind": "Thing", "metadata": {"name": "t", "namespace": place.namespace}, "spec": {"a": [{"b": 1}]}})).unwrap();
    let mut objects = vec![thing.clone(), definition.clone(), deployment(&place, "web:1", 0)];
    objects.extend((0..12).map(|number| place.config_map(&format!("c{number}"), json!({}))));
    let before = place.cluster.requests();
    let applied = place
        .cluster
        .apply_all(ApplyAll { objects, owner: Owner::by_label(&place.owner()), ..ApplyAll::default() })
        .await
        .unwrap();
    let cost = place.cluster.requests() - before;
    assert_eq!(applied.len(), 15);
    assert_eq!(applied[0].reference.kind, Kind::CUSTOM_RESOURCE_DEFINITION);
    assert!(applied.iter().all(|applied| applied.created));
    println!("15 objects cost {cost} requests");
    assert!(cost <= 15 + 5 + 10, "{cost} requests");
    let again = vec![deployment(&place, "web:2", 0)];
    let taken = applied.iter().map(|applied| applied.reference.clone()).collect();
    let before = place.cluster.requests();
    place.cluster.apply_all(ApplyAll { objects: again, taken, ..ApplyAll::default() }).await.unwrap();
    assert_eq!(place.cluster.requests() - before, 1, "nothing is looked up for what may be taken");

    let alone = place.cluster.get_metadata(&applied[0].reference).await.unwrap().unwrap();
    for definition in [&definition, &alone] {
        let instances = place.cluster.instances(definition).await.unwrap();
        let named: Vec<String> = instances.iter().map(ToString::to_string).collect();
        assert_eq!(named, [format!("Thing {}/t", place.namespace)]);
    }

    for object in applied.iter().rev().map(|applied| applied.reference.clone()) {
        place.cluster.delete_and_wait(&Delete::new(object)).await.unwrap();
    }
    assert!(
        place
            .cluster
            .list_now(&Query::of(Kind::CUSTOM_RESOURCE_DEFINITION).label(OWNER_LABEL, "test.many").metadata_only())
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn waits_end_with_the_change_or_with_reasons() {
    let Some(place) = place("wait").await else { return };
    let reference = place.at(Kind::CONFIG_MAP, "late");
    let until = wait::Until::new("to have data.ready", |object| {
        match object.is_some_and(|object| object.str("data.ready") == "yes") {
            true => wait::Verdict::Ready,
            false => wait::Verdict::pending("data.ready is not set"),
        }
    });
    let before = place.cluster.requests();
    let (seen, ()) = tokio::join!(place.cluster.wait(&reference, &until), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        place
            .other(
                "x",
                "POST",
                &Kind::CONFIG_MAP.path(Some(&place.namespace)),
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late"}}),
            )
            .await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        place.other("x", "PATCH", &reference.path(), json!({"data": {"ready": "yes"}})).await;
    });
    assert_eq!(seen.unwrap().unwrap().str("data.ready"), "yes");
    assert_eq!(place.cluster.requests() - before, 1, "a watch, however long it takes");

    // Time for a first look, which says what was seen last.
    let brief = place.for_seconds(6);
    let until = wait::Until::new("to have data.more", |_| wait::Verdict::pending("data.more is not set"));
    let error = brief.wait(&reference, &until).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cluster east: waited 6 s for ConfigMap {}/late to have data.more; last seen: data.more is not set",
            place.namespace
        )
    );
    assert!(!error.is_unreachable());

    let mut homeless = deployment(&place, "web:1", 1);
    homeless.value_mut()["spec"]["template"]["spec"]["nodeSelector"] = json!({"none": "such"});
    place.cluster.apply(apply(homeless)).await.unwrap();
    let events = || place.lab.kubectl(&["get", "events", "-n", &place.namespace]).unwrap();
    place.lab.wait_until("an event", || events().contains("ScalingReplicaSet")).unwrap();
    let brief = place.for_seconds(6);
    let error = brief.wait(&place.at(Kind::DEPLOYMENT, "web"), &wait::deployment_available()).await.unwrap_err();
    println!("{error}");
    assert!(error.to_string().contains("0 of 1 replicas are available"), "{error}");
    assert!(error.to_string().contains("ScalingReplicaSet"), "{error}");
}

/// Between the look and the removal: what has the name then is not what was looked at.
#[tokio::test]
async fn what_others_make_anew_before_it_is_removed_stays() {
    let Some(place) = place("anew").await else { return };
    let owner = Owner { label: place.owner(), mark: "ours".into(), unmarked: false };
    let removing =
        Removing { cluster: &place.cluster, owner: &owner, wait_for_definitions: false, stays: &|_: &Object| None };
    let reference = place.at(Kind::CONFIG_MAP, "a");
    let looked_at = async || {
        let ours = place.config_map("a", json!({"x": "1"})).with_annotation(INSTANCE_ANNOTATION, "ours");
        let ours = Apply::new(ours, owner.clone());
        let live = Some(place.cluster.apply(ours).await.unwrap().object);
        place.cluster.delete(&Delete::new(reference.clone())).await.unwrap();
        Doomed { key: reference.to_string(), reference: reference.clone(), live, known: true }
    };
    let doomed = looked_at().await;
    assert!(matches!(removing.one(&doomed).await.unwrap(), Removed::Gone), "nobody has made it anew");

    let doomed = looked_at().await;
    let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    place.other("their-tool", "POST", reference.path().trim_end_matches("/a"), theirs).await;
    let removed = removing.one(&doomed).await.unwrap();
    assert!(matches!(&removed, Removed::NotOurs(why) if why.contains("somebody else")), "{:?}", removed.stays());
    assert!(place.cluster.get(&reference).await.unwrap().is_some());
}

#[tokio::test]
async fn deletion_waits_and_says_for_what() {
    let Some(place) = place("gone").await else { return };
    let object = place.config_map("held", json!({}));
    let mut object = object;
    object.value_mut()["metadata"]["finalizers"] = json!(["example.com/hold"]);
    place.cluster.apply(apply(object.clone())).await.unwrap();
    let namespace = ObjectRef::cluster(Kind::NAMESPACE, &place.namespace);

    // The controller takes five seconds before it looks at what is in the namespace: the time that may end begins once
    // it has said what it found.
    place.cluster.delete(&Delete::new(namespace.clone())).await.unwrap();
    let told = || {
        let found = place.lab.get(&["namespace", &place.namespace]).unwrap();
        found.is_some_and(|found| found["status"].to_string().contains("example.com/hold"))
    };
    place.lab.wait_until("the controller's word", told).unwrap();
    let brief = place.for_seconds(5);
    let error = brief.delete_and_wait(&Delete::new(namespace.clone())).await.unwrap_err();
    println!("{error}");
    assert!(error.to_string().contains("example.com/hold"), "{error}");

    let held = place.at(Kind::CONFIG_MAP, "held");
    place.other("x", "PATCH", &held.path(), json!({"metadata": {"finalizers": null}})).await;
    place.cluster.wait(&namespace, &wait::deleted()).await.unwrap();
    assert!(!place.cluster.delete_and_wait(&Delete::new(namespace)).await.unwrap());
}

#[tokio::test]
async fn a_token_is_made_proved_and_its_rights_asked() {
    let Some(place) = place("token").await else { return };
    place.cluster.apply(apply(Object::of(&place.at(Kind::SERVICE_ACCOUNT, "reader")))).await.unwrap();
    let request = TokenRequest {
        namespace: place.namespace.clone(),
        service_account: "reader".into(),
        audiences: vec![],
        bound_to: None,
        expires_in: Duration::from_secs(600),
    };
    let token = place.cluster.request_token(&request).await.unwrap();
    let left = token.expires_at.duration_since(jiff::Timestamp::now());
    assert!((500..=700).contains(&left.as_secs()), "{left:?}");
    assert!(!format!("{token:?}").contains(token.token.expose()));

    let theirs = place.cluster.with_token(token.token);
    assert_eq!(theirs.whoami().await.unwrap().username, format!("system:serviceaccount:{}:reader", place.namespace));
    let access = Access { verb: "list".into(), resource: "secrets".into(), ..Access::default() };
    assert!(!theirs.may(&access).await.unwrap().allowed);
    assert!(place.cluster.may(&access).await.unwrap().allowed);
    let error = theirs.list(&Query::of(Kind::SECRET)).await.unwrap_err();
    assert_eq!(error.layer(), Layer::Authorization);
    assert!(error.to_string().contains("cannot list resource \"secrets\""), "{error}");

    place.cluster.delete(&Delete::new(place.at(Kind::SERVICE_ACCOUNT, "reader"))).await.unwrap();
    let missing =
        place.cluster.request_token(&TokenRequest { service_account: "nobody".into(), ..request }).await.unwrap_err();
    assert!(missing.is_not_found(), "{missing}");
}

#[tokio::test]
async fn the_cluster_is_looked_at_cheaply() {
    let Some(place) = place("look").await else { return };
    let version = place.cluster.version().await.unwrap();
    assert!(version.minor > 20, "{version:?}");
    assert!(place.cluster.endpoint().await.unwrap().server.starts_with("https://"));
    let lease = place.cluster.kind("coordination.k8s.io/v1", "Lease").await.unwrap();
    assert_eq!((lease.plural.as_ref(), lease.namespaced), ("leases", true));
    assert!(place.cluster.kind("coordination.k8s.io/v1", "Leash").await.unwrap_err().is_unknown_kind());
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": place.namespace}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let made = place.cluster.create_dry_run(&Object::new(pod).unwrap()).await;
    // The service account of a new namespace takes a moment.
    if let Ok(made) = made {
        assert_eq!(made.str("spec.restartPolicy"), "Always");
    }
    assert!(place.cluster.get(&place.at(Kind::POD, "p")).await.unwrap().is_none());
}
