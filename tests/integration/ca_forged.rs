//! What somebody writes who passes for this provider, or puts back what was there before: keys, roots and intermediates
//! that look right. And clusters that join with certificates of their own. On a true API server, with an in-process
//! core: clusters are namespaces of it.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value as Json, json};
use terraform_provider_mesh::cluster::{Delete, INSTANCE_ANNOTATION, Kind, OWNER_LABEL, Object, ObjectRef};
use terraform_provider_mesh::value::Path;

use crate::ca_found::{Root, cacerts_of, put};
use crate::ca_lifecycle::{CA, Place, generation, merge};
use crate::ca_trust::revocation_list;
use crate::support::core::{Action, Stored};

/// The name by which this provider writes, and by which anybody may.
const PROVIDER: &str = "terraform-provider-mesh";

fn cacerts(place: &Place, cluster: &str) -> ObjectRef {
    ObjectRef::namespaced(Kind::SECRET, place.namespace(cluster), "cacerts")
}

/// Changes data of a cluster's `cacerts`.
async fn patch(place: &Place, manager: &str, cluster: &str, data: Json) {
    let body = json!({ "data": data });
    place.as_somebody(manager, &cacerts(place, cluster), "application/merge-patch+json", &body).await;
}

async fn data(place: &Place, namespace: &str, name: &str) -> Json {
    place.secret(namespace, name).await.map_or(Json::Null, |secret| secret.value()["data"].clone())
}

fn state_of(place: &Place, stored: &Stored, cluster: &str) -> String {
    place.text(stored, Path::root("clusters").key(cluster).attr("state"))
}

/// A refresh of its own run, with what it says.
async fn refresh(place: &Place, stored: &Stored) -> (Stored, String) {
    place.core.configure(place.provider()).await.unwrap();
    let (read, told) = place.core.refresh_told(CA, stored).await.unwrap();
    (read.expect("it is there"), told.to_string())
}

#[tokio::test]
async fn a_cluster_joins_with_a_root_of_its_own() {
    let Some(place) = Place::new("ca-joins-in").await else { return };
    let mut stored = place.settle(&place.config(&["east"], json!({})), None).await;
    let (ours, theirs) = (place.held("east").await, Root::new("Theirs"));
    let secret = Object::of(&cacerts(&place, "west")).with("data", cacerts_of(&theirs.certificate, &theirs.key));
    put(&place, "west", secret).await;
    let config = place.config(&["east", "west"], json!({ "adopt": true }));
    let planned = place.plan(&config, Some(&stored)).await;
    let words = planned.warnings.to_string();
    assert!(words.contains("A cluster joins with what it has (clusters): What west may bring"), "{words}");
    let fingerprint = Path::root("clusters").key("east").attr("fingerprint");
    assert!(!planned.planned.at(&fingerprint).unwrap().is_unknown(), "east keeps what it has");
    let applied = place.core.apply(CA, planned).await;
    let words = applied.diagnostics.to_string();
    assert!(!applied.diagnostics.has_errors(), "{words}");
    let root = theirs.certificate.fingerprint().to_string();
    for told in
        ["The certificates of west are taken over (clusters[\"west\"])", "CN=Signed outside", "CN=Theirs", &root]
    {
        assert!(words.contains(told), "{told:?} is missing: {words}");
    }
    stored = applied.stored.unwrap();
    assert_eq!(place.phase(&stored), "switching-issuers", "both trust both, and east issues from the new one already");
    assert_eq!(place.held("west").await.issuer, theirs.certificate, "its intermediate stays in use");
    for phase in ["issuers-switched", "settled"] {
        stored = place.apply(place.plan(&config, Some(&stored)).await).await;
        assert_eq!(place.phase(&stored), phase);
    }
    let west = place.held("west").await;
    assert_eq!((west.issuer, west.roots), (ours.issuer, ours.roots));
    assert_eq!(place.plan(&config, Some(&stored)).await.action, Action::Nothing, "`adopt` that stays changes nothing");
    place.destroy(&stored).await;
}

/// cert-manager writes into the Secret that this provider has made, or istiod does: its keys count for istiod, ours no
/// more.
#[tokio::test]
async fn a_key_that_istiod_prefers_is_told_and_not_written_over_for_ever() {
    let Some(place) = Place::new("ca-preferred").await else { return };
    let config = place.config(&["east", "west"], json!({}));
    let stored = place.settle(&config, None).await;
    let kept = data(&place, "east", "cacerts").await;
    let ours =
        json!({ "tls.crt": kept["cert-chain.pem"], "tls.key": kept["ca-key.pem"], "ca.crt": kept["root-cert.pem"] });
    for (keys, told) in [(ours, "form of cert-manager"), (json!({ "istio-generated": "" }), "istio-generated")] {
        patch(&place, "cert-manager-certificates", "east", keys.clone()).await;
        let (read, words) = refresh(&place, &stored).await;
        assert_eq!(state_of(&place, &read, "east"), "invalid");
        for told in ["The certificates of east are invalid", told, "cert-manager-certificates"] {
            assert!(words.contains(told), "{told:?} is missing: {words}");
        }
        let before = data(&place, "east", "cacerts").await;
        let refused = place.core.apply(CA, place.plan(&config, Some(&stored)).await).await.diagnostics.to_string();
        for told in ["istiod prefers another key in cacerts (clusters[\"east\"])", told, "cert-manager-certificates"] {
            assert!(refused.contains(told), "{told:?} is missing: {refused}");
        }
        assert_eq!(data(&place, "east", "cacerts").await, before, "nothing was written");
        let gone: serde_json::Map<String, Json> =
            keys.as_object().unwrap().keys().map(|key| (key.clone(), Json::Null)).collect();
        patch(&place, "cert-manager-certificates", "east", gone.into()).await;
    }
    assert_eq!(place.plan(&config, Some(&stored)).await.action, Action::Nothing, "as it was");

    // A root of somebody else's in that form.
    let evil = Root::new("Evil");
    let theirs = cacerts_of(&evil.certificate, &evil.key);
    let tls = json!({ "tls.crt": theirs["cert-chain.pem"], "tls.key": theirs["ca-key.pem"], "ca.crt": theirs["root-cert.pem"] });
    patch(&place, "cert-manager-certificates", "east", tls).await;
    place.core.configure(place.provider()).await.unwrap();
    let refused =
        place.core.plan(CA, Some(config.clone()), Some(&stored)).await.expect_err("it is refused").to_string();
    assert!(refused.contains("A cluster has a root of somebody else (clusters[\"east\"])"), "{refused}");
    assert!(refused.contains("CN=Evil") && refused.contains("cert-manager-certificates"), "{refused}");
    place.api.delete(&Delete::new(cacerts(&place, "east"))).await.unwrap();
    place.destroy(&place.settle(&config, Some(&stored)).await).await;
}

/// A root for the next generation, written under this provider's name: the mesh's next root is another.
#[tokio::test]
async fn a_root_that_was_planted_for_the_next_generation_is_never_used() {
    let Some(place) = Place::new("ca-next").await else { return };
    let config = |number: i64| place.config(&["east"], generation(number));
    let stored = place.settle(&config(1), None).await;
    let evil = Root::new("Evil");
    let plant = async || {
        let kept = place.secret("root", "root").await.unwrap();
        let mut all = kept.value()["data"].clone();
        let encoded = |text: &str| BASE64_STANDARD.encode(text);
        let root = (encoded(&evil.certificate.to_pem()), encoded(&evil.key.to_pem()));
        merge(&mut all, json!({ "root-2.crt": root.0, "root-2.key": root.1 }));
        let body = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": all,
            "metadata": {
                "name": "root",
                "labels": { OWNER_LABEL: kept.label(OWNER_LABEL) },
                "annotations": { INSTANCE_ANNOTATION: kept.annotation(INSTANCE_ANNOTATION) },
            },
        });
        let reference = ObjectRef::namespaced(Kind::SECRET, place.namespace("root"), "root");
        place.as_somebody(PROVIDER, &reference, "application/apply-patch+yaml", &body).await;
    };
    plant().await;
    let (_, words) = refresh(&place, &stored).await;
    assert!(!words.contains("root"), "{words}");
    // Without another generation it goes, as what an apply that was cut off has left does.
    let planned = place.plan(&config(1), Some(&stored)).await;
    assert!(planned.warnings.to_string().contains("The key of an old root is still kept"), "{}", planned.warnings);
    let mut stored = place.apply(planned).await;
    let keys = |data: Json| data.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(data(&place, "root", "root").await), ["root-1.crt", "root-1.key"]);

    plant().await;
    stored = place.apply(place.plan(&config(2), Some(&stored)).await).await;
    let held = place.held("east").await;
    assert_eq!(held.roots.len(), 2);
    assert!(!held.roots.contains(&evil.certificate), "the planted root is trusted");
    for _ in 0..2 {
        stored = place.apply(place.plan(&config(2), Some(&stored)).await).await;
    }
    let held = place.held("east").await;
    assert_eq!((place.phase(&stored).as_str(), held.issuer == evil.certificate), ("settled", false));
    place.destroy(&stored).await;
}

/// Both names of the provider's `clusters` lead to one cluster, as while a key is renamed.
#[tokio::test]
async fn a_cluster_under_another_name_keeps_its_certificates() {
    let Some(place) = Place::new("ca-renamed").await else { return };
    let stored = place.settle(&place.config(&["east"], json!({})), None).await;
    let before = place.secret("east", "cacerts").await.unwrap();
    let renamed = place.config(&["west"], json!({ "clusters": { "west": { "namespace": place.namespace("east") } } }));
    let stored = place.settle(&renamed, Some(&stored)).await;
    let after = place.secret("east", "cacerts").await.expect("it is still there");
    assert_eq!((after.uid(), &after.value()["data"]), (before.uid(), &before.value()["data"]));
    place.destroy(&stored).await;
    assert!(place.secret("east", "cacerts").await.is_none());
}

/// An intermediate was stolen, and replaced for that; the thief puts the old pair back, or another cluster's.
#[tokio::test]
async fn an_intermediate_that_was_put_back_is_replaced() {
    let Some(place) = Place::new("ca-put-back").await else { return };
    let config = place.config(&["east", "west"], json!({}));
    let stored = place.settle(&config, None).await;
    let (stolen, of_east) = (data(&place, "west", "cacerts").await, data(&place, "east", "cacerts").await);
    let config = place.config(
        &["east", "west"],
        json!({ "clusters": { "west": { "generation": 2, "namespace": place.namespace("west") } } }),
    );
    let mut stored = place.settle(&config, Some(&stored)).await;
    for (manager, pair) in [("kubectl-patch", &stolen), (PROVIDER, &stolen), (PROVIDER, &of_east)] {
        let east = place.held("east").await.intermediate;
        patch(&place, manager, "west", pair.clone()).await;
        let (read, words) = refresh(&place, &stored).await;
        assert_eq!(state_of(&place, &read, "west"), "invalid", "{manager}");
        assert!(words.contains("The certificates of west are invalid") && words.contains("written last"), "{words}");
        let planned = place.plan(&config, Some(&stored)).await;
        assert_eq!(planned.action, Action::Update, "{manager}");
        stored = place.apply(planned).await;
        let now = data(&place, "west", "cacerts").await;
        assert!(now["ca-cert.pem"] != stolen["ca-cert.pem"] && now["ca-cert.pem"] != of_east["ca-cert.pem"]);
        assert_eq!(place.held("east").await.intermediate, east, "a neighbour is left alone");
        assert_eq!(place.plan(&config, Some(&stored)).await.action, Action::Nothing, "{manager}");
    }

    // States of before do not say what was written: what is there is taken as it is.
    let mut private: Json = serde_json::from_slice(&stored.private).unwrap();
    assert!(private.as_object_mut().unwrap().remove("issued").is_some(), "{private}");
    let older = Stored { private: private.to_string().into_bytes(), ..stored.clone() };
    assert_eq!(place.plan(&config, Some(&older)).await.action, Action::Nothing);
    place.destroy(&stored).await;
}

/// A backup of `cacerts` comes back, of the same root: whoever restored it knows the key, and `adopt`, which was given
/// for what was there at first, does not speak of it.
#[tokio::test]
async fn a_backup_of_cacerts_is_told_and_not_taken_over_unasked() {
    let Some(place) = Place::new("ca-restored").await else { return };
    let config = place.config(&["east", "west"], json!({ "adopt": true }));
    let stored = place.settle(&config, None).await;
    let live = place.secret("west", "cacerts").await.unwrap();
    let backup = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": live.value()["data"],
        "metadata": {
            "name": "cacerts",
            "labels": { OWNER_LABEL: live.label(OWNER_LABEL) },
            "annotations": { INSTANCE_ANNOTATION: live.annotation(INSTANCE_ANNOTATION) },
        },
    });
    place.api.delete(&Delete::new(cacerts(&place, "west"))).await.unwrap();
    place.as_somebody("kubectl", &cacerts(&place, "west"), "application/apply-patch+yaml", &backup).await;
    let (read, words) = refresh(&place, &stored).await;
    assert_eq!(state_of(&place, &read, "west"), "foreign");
    for told in
        ["The certificates of west are somebody else's", "remove the cluster from `clusters`, apply, and add it"]
    {
        assert!(words.contains(told), "{told:?} is missing: {words}");
    }
    assert_eq!(place.plan(&config, Some(&stored)).await.action, Action::Nothing, "it is not taken over");

    // The way out that keeps it.
    let without =
        place.apply(place.plan(&place.config(&["east"], json!({ "adopt": true })), Some(&stored)).await).await;
    let again = place.settle(&config, Some(&without)).await;
    assert_eq!(data(&place, "west", "cacerts").await, live.value()["data"]);
    assert_eq!(state_of(&place, &again, "west"), "ready");
    place.destroy(&again).await;
    assert!(place.secret("west", "cacerts").await.is_none());
}

/// A state of before a rotation comes back together with its configuration: the root that was given up is not trusted
/// again.
#[tokio::test]
async fn a_state_of_before_brings_no_root_back() {
    let Some(place) = Place::new("ca-rolled-back").await else { return };
    let config = |number: i64| place.config(&["east", "west"], generation(number));
    let old = place.settle(&config(1), None).await;
    let given_up = place.held("east").await.issuer;
    let mut stored = old.clone();
    for _ in 0..3 {
        stored = place.apply(place.plan(&config(2), Some(&stored)).await).await;
    }
    assert_eq!(place.phase(&stored), "settled");
    place.core.configure(place.provider()).await.unwrap();
    let refused = place.core.plan(CA, Some(config(1)), Some(&old)).await.expect_err("it is refused").to_string();
    for told in ["This generation of the root is over (root.generation)", "`generation = 2`", "`generation = 3`"] {
        assert!(refused.contains(told), "{told:?} is missing: {refused}");
    }
    let caught_up = place.settle(&config(2), Some(&old)).await;
    assert!(!place.held("east").await.roots.contains(&given_up));
    place.destroy(&caught_up).await;
}

/// The lists go with the Secret, and nobody but who put them there can bring them back.
#[tokio::test]
async fn revocation_lists_that_are_gone_are_named() {
    let Some(place) = Place::new("ca-lists-gone").await else { return };
    let config = place.config(&["east"], json!({}));
    let stored = place.settle(&config, None).await;
    let text = |secret: &Object, key: &str| String::from_utf8(secret.data(key).unwrap()).unwrap();
    let (root, held) = (place.secret("root", "root").await.unwrap(), place.secret("east", "cacerts").await.unwrap());
    let lists = [
        revocation_list(&text(&root, "root-1.crt"), &text(&root, "root-1.key"), 9),
        revocation_list(&text(&held, "ca-cert.pem"), &text(&held, "ca-key.pem"), 9),
    ];
    patch(&place, "kubectl-patch", "east", json!({ "ca-crl.pem": BASE64_STANDARD.encode(lists.concat()) })).await;
    let (seen, _) = refresh(&place, &stored).await;
    place.api.delete(&Delete::new(cacerts(&place, "east"))).await.unwrap();
    let (_, words) = refresh(&place, &seen).await;
    for told in ["The certificates of east are gone", "ca-crl.pem", "CN=Root CA", "CN=Intermediate CA"] {
        assert!(words.contains(told), "{told:?} is missing: {words}");
    }
    place.destroy(&place.settle(&config, Some(&seen)).await).await;
}
