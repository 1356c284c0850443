//! What no API server says is never believed: neither as an empty list, nor as an object, nor as a removal.

use std::time::Duration;

use serde_json::{Value, json};
use terraform_provider_mesh::cluster::{
    Apply, Cluster, ClusterConfig, Delete, Error, Failure, Kind, Object, ObjectRef, Owner, Query, Scope,
};
use terraform_provider_mesh::kept::memory::Memory;
use terraform_provider_mesh::kept::objects::Recorded;
use terraform_provider_mesh::kept::remove::Removal;
use terraform_provider_mesh::kept::report;

use crate::cluster_server::{Say, Server, status};

/// It answers whatever it is asked with this, until it is dropped.
async fn answering(answer: &Value) -> Server {
    let answer = answer.clone();
    Server::start(move |_, _| Say::Json(200, answer.clone())).await
}

fn is_foreign(error: &Error) -> bool {
    matches!(error.failure, Failure::NotKubernetes { .. }) && !error.is_answer() && !error.is_unreachable()
}

#[tokio::test]
async fn only_a_list_of_what_was_asked_for_is_one() {
    let secrets = Query::of(Kind::SECRET);
    for answer in [
        json!({"items": [], "total": 0}),
        json!({"kind": "SecretList", "apiVersion": "v1"}),
        json!({"kind": "SecretList", "items": []}),
        json!({"kind": "PodList", "apiVersion": "v1", "items": []}),
        json!({"kind": "FooList", "apiVersion": "foo/v1", "items": null}),
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403, "items": []}),
        json!({"kind": "SecretList", "apiVersion": "v1", "items": "none"}),
    ] {
        let server = answering(&answer).await;
        let error = server.cluster().list(&secrets).await.expect_err("it is no list");
        assert!(is_foreign(&error), "{answer}: {error}");
    }
    for (kind, answer) in [
        (Kind::SECRET, json!({"kind": "SecretList", "apiVersion": "v1", "items": null})),
        (
            Kind::SECRET,
            json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "items": []}),
        ),
        // Who defines a kind may call its list otherwise.
        (Kind::ISTIO_GATEWAY, json!({"kind": "GateList", "apiVersion": "networking.istio.io/v1", "items": []})),
    ] {
        let server = answering(&answer).await;
        assert!(server.cluster().list(&Query::of(kind)).await.unwrap().is_empty(), "{answer}");
    }
}

#[tokio::test]
async fn only_the_object_that_was_asked_for_is_it() {
    let reference = ObjectRef::namespaced(Kind::CONFIG_MAP, "n", "a");
    for answer in [
        json!({"kind": "Login", "metadata": {}}),
        json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "b", "namespace": "n"}}),
        json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "a", "namespace": "n"}}),
        json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}),
    ] {
        let server = answering(&answer).await;
        let error = server.cluster().get(&reference).await.expect_err("it is not there");
        assert!(is_foreign(&error), "{answer}: {error}");
    }
    for answer in [json!({"kind": "Login", "metadata": {}}), json!({"status": "ok"})] {
        let server = answering(&answer).await;
        let removed = server.cluster().delete(&Delete::new(reference.clone())).await;
        let error = removed.expect_err("nobody has deleted it");
        assert!(is_foreign(&error), "{answer}: {error}");
    }
}

/// A webhook chooses the status code of what it refuses; by the code alone the object would be gone, its kind not
/// served, or the credential wrong.
#[tokio::test]
async fn what_a_webhook_refuses_is_refused_whatever_its_code() {
    let reference = ObjectRef::namespaced(Kind::CONFIG_MAP, "n", "a");
    for code in [400, 401, 403, 404] {
        let message = "admission webhook \"x.y\" denied the request: no";
        let server = Server::start(move |_, _| status(code, "Denied", message)).await;
        let error = server.cluster().delete(&Delete::new(reference.clone())).await.expect_err("it is refused");
        assert!(error.is_forbidden() && error.is_answer(), "{code}: {error}");
        assert!(error.remedy().contains("admission webhook"), "{code}: {}", error.remedy());
    }
}

/// A quota that others write at the same time is refused with the status of an object that is there already.
#[tokio::test]
async fn a_conflict_over_something_else_ends_with_what_was_said() {
    let said = "Operation cannot be fulfilled on resourcequotas \"q\": the object has been modified";
    let server = Server::start(move |seen, _| match seen.method.as_str() {
        "PATCH" => status(409, "Conflict", said),
        _ => {
            let missing = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound",
                "message": "configmaps \"a\" not found", "details": {"name": "a", "kind": "configmaps"}});
            Say::Json(404, missing)
        }
    })
    .await;
    let object = Object::of(&ObjectRef::namespaced(Kind::CONFIG_MAP, "n", "a"));
    let apply = server.cluster();
    let apply = apply.apply(Apply::new(object, Owner::by_label("x")));
    let ended = tokio::time::timeout(Duration::from_secs(30), apply).await.expect("it ends");
    let error = ended.expect_err("it is refused");
    assert!(error.to_string().contains("resourcequotas"), "{error}");
}

/// A finalizer keeps it, as that of a cloud keeps the Service of a load balancer: the removal that is asked for again
/// waits again, and does not end before the object has.
#[tokio::test]
async fn what_is_on_its_way_out_is_not_gone() {
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "b", "namespace": "a", "uid": "u", "resourceVersion": "5",
        "labels": {"terraform-provider-mesh/owner": "x"}, "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["example.com/held"],
        "managedFields": [{"manager": "terraform-provider-mesh", "operation": "Apply", "fieldsV1": {}}]}});
    let server = Server::start(move |seen, _| match seen.path.as_str() {
        path if path.contains("watch=1") => Say::Hang,
        path if path.contains("/services/b") => Say::Json(200, service.clone()),
        _ => {
            let list = json!({"kind": "ServiceList", "apiVersion": "v1", "metadata": {"resourceVersion": "6"}, "items": [service]});
            Say::Json(200, list)
        }
    })
    .await;
    let recorded =
        Recorded { objects: [("Service a/b".to_owned(), "digest".to_owned())].into(), ..Recorded::default() };
    // As state names it, and as after a refresh, which took it for gone: then it is found by its label.
    for (recorded, orphan_kinds) in [(recorded, &[][..]), (Recorded::default(), &[Kind::SERVICE][..])] {
        let removal = Removal {
            cluster: &server.cluster().within(Scope::lasting(Duration::from_secs(2), Default::default())),
            recorded: &recorded,
            memory: &Memory::default(),
            owner: &Owner::by_label("x"),
            orphan_kinds,
            namespace: "a",
            wait_for_definitions: false,
            stays: |_: &Object| None,
        };
        let remaining = removal.run().await;
        assert!(remaining.errors.iter().any(|error| error.to_string().contains("Service a/b")), "{remaining:?}");
        assert_eq!(remaining.recorded, recorded, "the next attempt goes on from there");
    }
}

/// No state is a dead end: what stops a destroy says how to go on without a cluster that is gone for good.
#[tokio::test]
async fn a_destroy_says_how_to_go_on_without_a_cluster() {
    let config = ClusterConfig { host: Some("http://127.0.0.1:1".to_owned()), ..ClusterConfig::default() };
    let cluster = Cluster::standalone("east", config, "test");
    let service = ObjectRef::namespaced(Kind::SERVICE, "a", "b");
    let error = cluster.get(&service).await.expect_err("nobody is there");
    for (resource, way) in [("mesh_primary", "state rm"), ("mesh_service_entry", "skip_unreachable_on_destroy = true")]
    {
        let told = report::at_destroy([&error], report::way_out(resource)).to_string();
        assert!(told.contains("If cluster east is gone for good") && told.contains(way), "{told}");
    }
    let server = Server::start(|_, _| status(403, "Forbidden", "no")).await;
    let refused = server.cluster().get(&service).await.expect_err("it is refused");
    let told = report::at_destroy([&refused], report::way_out("mesh_primary")).to_string();
    assert!(!told.contains("gone for good"), "who answers is there: {told}");
}

#[tokio::test]
async fn a_refusal_that_is_not_kubernetes_own_is_no_answer() {
    let reference = ObjectRef::namespaced(Kind::CONFIG_MAP, "n", "a");
    for (code, body) in [
        (403, "Access denied by corporate proxy"),
        (407, "Proxy Authentication Required"),
        (404, "page not found"),
        (200, ""),
        (200, "OK"),
    ] {
        let server = Server::start(move |_, _| Say::Text(code, body)).await;
        let error = server.cluster().get(&reference).await.expect_err("nobody answers");
        assert!(is_foreign(&error), "{code} {body}: {error}");
        assert!(error.remedy().contains("a proxy, a load balancer or a login page"), "{}", error.remedy());
    }
}
