//! `mesh_ca_request` over its life, on a true API server with a core in process: a key that stays in its cluster, what
//! is found there, what was killed, and what a `mesh_ca` takes from it.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value as Json, json};
use terraform_provider_mesh::cluster::{Delete, INSTANCE_ANNOTATION, Kind, Object, ObjectRef, Query};
use terraform_provider_mesh::pki::{KeyAlgorithm, PrivateKey, SigningRequest};
use terraform_provider_mesh::value::{Dyn, Path};

use crate::ca_found::{Root, put};
use crate::ca_lifecycle::{CA, Place, merge};
use crate::support::core::{Action, Applied, Planned, Stored, UNKNOWN};

const REQUEST: &str = "mesh_ca_request";
const SECRET: &str = "mesh-ca-request";

fn config(place: &Place, changes: Json) -> Json {
    let mut config = json!({ "cluster": "east", "namespace": place.namespace("east") });
    merge(&mut config, changes);
    config
}

async fn plan(place: &Place, config: &Json, stored: Option<&Stored>) -> Planned {
    place.core.configure(place.provider()).await.unwrap();
    place.core.plan(REQUEST, Some(config.clone()), stored).await.unwrap_or_else(|errors| panic!("{errors}"))
}

async fn settle(place: &Place, config: &Json, stored: Option<&Stored>) -> Stored {
    let planned = plan(place, config, stored).await;
    let Applied { stored, diagnostics } = place.core.apply(REQUEST, planned).await;
    assert!(!diagnostics.has_errors(), "{diagnostics}");
    let stored = stored.unwrap();
    let second = plan(place, config, Some(&stored)).await;
    assert_eq!(second.action, Action::Nothing, "the second plan is not empty: {:?}", second.planned);
    stored
}

async fn destroy(place: &Place, stored: &Stored) -> String {
    place.core.configure(place.provider()).await.unwrap();
    let planned = place.core.plan(REQUEST, None, Some(stored)).await.unwrap();
    let applied = place.core.apply(REQUEST, planned).await;
    assert!(applied.stored.is_none() && !applied.diagnostics.has_errors(), "{}", applied.diagnostics);
    applied.diagnostics.to_string()
}

fn told(place: &Place, stored: &Stored) -> String {
    let state = place.core.state(REQUEST, stored);
    state.at(&Path::root("certificate_request")).and_then(Dyn::as_str).unwrap_or_default().to_owned()
}

fn text(secret: &Object, key: &str) -> String {
    String::from_utf8(secret.data(key).unwrap()).unwrap()
}

async fn secret(place: &Place) -> Object {
    place.secret("east", SECRET).await.expect("the Secret is there")
}

async fn delete(place: &Place) {
    let gone = Delete::new(ObjectRef::namespaced(Kind::SECRET, place.namespace("east"), SECRET));
    place.api.delete(&gone).await.unwrap();
}

#[tokio::test]
async fn a_key_is_made_once_and_never_leaves_its_cluster() {
    let Some(place) = Place::new("ca-request").await else { return };
    let first = config(&place, json!({}));
    let made = settle(&place, &first, None).await;
    let pem = told(&place, &made);
    let request = SigningRequest::from_pem(&pem).unwrap();
    let key = PrivateKey::from_pem(&text(&secret(&place).await, "ca-key.pem")).unwrap();
    assert_eq!(key.public_key_info(), request.public_key_info());

    // What takes effect with the next key changes nothing of this one.
    let other = config(&place, json!({ "algorithm": "ECDSA-P384", "organization": "Example" }));
    let same = settle(&place, &other, Some(&made)).await;
    assert_eq!(told(&place, &same), pem);
    let next = config(&place, json!({ "algorithm": "ECDSA-P384", "organization": "Example", "generation": 2 }));
    let planned = plan(&place, &next, Some(&same)).await;
    assert!(planned.planned.at(&Path::root("certificate_request")).unwrap().is_unknown());
    let next_made = settle(&place, &next, Some(&same)).await;
    assert_ne!(told(&place, &next_made), pem);
    let key = PrivateKey::from_pem(&text(&secret(&place).await, "ca-key.pem")).unwrap();
    assert_eq!(key.algorithm(), KeyAlgorithm::EcdsaP384);

    // Imported, it is what it was.
    place.core.configure(place.provider()).await.unwrap();
    let id = format!("east/{}/{SECRET}", place.namespace("east"));
    let imported = place.core.import(REQUEST, &id).await.unwrap().unwrap();
    let mut same = next.clone();
    merge(&mut same, json!({ "organization": "Istio" }));
    assert_eq!(plan(&place, &same, Some(&imported)).await.action, Action::Nothing);

    for stored in [&made, &next_made, &imported] {
        for key in place.keys().await {
            assert!(!stored.json.contains(&key) && !String::from_utf8_lossy(&stored.private).contains(&key));
        }
    }
    assert_eq!(destroy(&place, &next_made).await, "");
    assert!(place.secret("east", SECRET).await.is_none());
    let leases = place.api.list_now(&Query::of(Kind::LEASE).namespace(place.namespace("east"))).await.unwrap();
    assert!(leases.is_empty(), "{leases:?}");
}

#[tokio::test]
async fn a_lost_key_is_told_and_made_anew_and_a_killed_apply_is_taken_up() {
    let Some(place) = Place::new("ca-request-lost").await else { return };
    let config = config(&place, json!({ "force_conflicts": true }));
    let made = settle(&place, &config, None).await;

    delete(&place).await;
    let planned = plan(&place, &config, Some(&made)).await;
    assert_eq!(planned.action, Action::Update);
    let found = place.core.refresh_told(REQUEST, &made).await.unwrap().1.to_string();
    assert!(found.contains("The key of east/"), "{found}");
    let again = settle(&place, &config, Some(&made)).await;
    assert_ne!(told(&place, &again), told(&place, &made));

    // Another key beside the request.
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let reference = ObjectRef::namespaced(Kind::SECRET, place.namespace("east"), SECRET);
    let data = json!({ "data": { "ca-key.pem": BASE64_STANDARD.encode(&*key.to_pem()) } });
    place.as_somebody("kubectl-edit", &reference, "application/merge-patch+json", &data).await;
    assert_eq!(plan(&place, &config, Some(&again)).await.action, Action::Update);
    let mended = settle(&place, &config, Some(&again)).await;
    assert_ne!(told(&place, &mended), told(&place, &again));
    let now = text(&secret(&place).await, "ca-key.pem");
    assert_ne!(now, *key.to_pem(), "what others put there is not used");

    // An apply that was killed when everything was written: the core knows nothing of it.
    let lease = "mesh-ca-request.mesh-ca-request";
    let leases = place.api.list_now(&Query::of(Kind::LEASE).namespace(place.namespace("east"))).await.unwrap();
    let lease = leases.iter().find(|found| found.name().starts_with(lease)).expect("the instance has a Lease");
    let unfinished = json!({
        "metadata": { "annotations": { "terraform-provider-mesh/complete": "false" } }, "spec": { "holderIdentity": "interrupted" }
    });
    let lease = lease.reference_as(Kind::LEASE);
    place.as_somebody("terraform-provider-mesh", &lease, "application/merge-patch+json", &unfinished).await;
    let applied = place.core.apply(REQUEST, plan(&place, &config, None).await).await;
    let words = applied.diagnostics.to_string();
    assert!(!applied.diagnostics.has_errors() && words.contains("was there before"), "{words}");
    let taken_up = settle(&place, &config, applied.stored.as_ref()).await;
    assert_eq!(told(&place, &taken_up), told(&place, &mended), "one key, and one signature");

    // A key with its request, by hand: nothing is wrong with the pair but who made it.
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let request = Root::new("planted").request(&key);
    let encoded = |text: &str| BASE64_STANDARD.encode(text);
    let pair = json!({ "request.pem": encoded(&request.to_pem()), "ca-key.pem": encoded(&key.to_pem()) });
    place.as_somebody("kubectl-edit", &reference, "application/merge-patch+json", &json!({ "data": pair })).await;
    place.core.configure(place.provider()).await.unwrap();
    let (refreshed, found) = place.core.refresh_told(REQUEST, &taken_up).await.unwrap();
    let found = found.to_string();
    assert_eq!(told(&place, &refreshed.unwrap()), told(&place, &taken_up), "no signer gets the request of others");
    let refused = place.core.apply(REQUEST, plan(&place, &config, Some(&taken_up)).await).await;
    assert!(refused.diagnostics.to_string().contains("raise `generation`"), "{}", refused.diagnostics);
    assert!(found.contains("was exchanged") && found.contains("kubectl-edit"), "{found}");
    let mut next = config.clone();
    merge(&mut next, json!({ "generation": 2 }));
    let taken_up = settle(&place, &next, Some(&taken_up)).await;
    assert_ne!(text(&secret(&place).await, "ca-key.pem"), *key.to_pem());
    destroy(&place, &taken_up).await;
}

#[tokio::test]
async fn a_planted_key_is_refused_and_never_used() {
    let Some(place) = Place::new("ca-request-planted").await else { return };
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let planted = Root::new("planted").request(&key);
    let encoded = |text: &str| BASE64_STANDARD.encode(text);
    let data = json!({ "request.pem": encoded(&planted.to_pem()), "ca-key.pem": encoded(&key.to_pem()) });
    let reference = ObjectRef::namespaced(Kind::SECRET, place.namespace("east"), SECRET);
    // With the label that anybody may write.
    let label = format!("mesh_ca_request.{SECRET}.{}", place.namespace("east"));
    let secret_of_others = Object::of(&reference).with_label("terraform-provider-mesh/owner", &label);
    put(&place, "east", secret_of_others.with("type", "Opaque").with("data", data)).await;
    let adopting = config(&place, json!({ "adopt": true, "force_conflicts": true }));
    let planned = plan(&place, &config(&place, json!({})), None).await;
    let refused = place.core.apply(REQUEST, planned).await;
    assert!(refused.diagnostics.has_errors(), "{}", refused.diagnostics);
    assert_eq!(text(&secret(&place).await, "ca-key.pem"), *key.to_pem(), "it is left alone");
    let taken = settle(&place, &adopting, refused.stored.as_ref()).await;
    assert_ne!(told(&place, &taken), planted.to_pem());
    assert_ne!(text(&secret(&place).await, "ca-key.pem"), *key.to_pem());

    // Another instance takes it over: this one neither writes nor deletes it.
    let mark = json!({ "metadata": { "annotations": { INSTANCE_ANNOTATION: "another" } } });
    place.as_somebody("terraform-provider-mesh", &reference, "application/merge-patch+json", &mark).await;
    assert_eq!(told(&place, &taken), told(&place, &place.core.refresh(REQUEST, &taken).await.unwrap().unwrap()));
    destroy(&place, &taken).await;
    assert!(place.secret("east", SECRET).await.is_some());
}

/// Request, signer and CA in one walk: what is not known at the plan is there at the apply.
#[tokio::test]
async fn a_ca_takes_the_chain_for_a_key_that_another_resource_keeps() {
    let Some(place) = Place::new("ca-request-signed").await else { return };
    let root = Root::new("PKI");
    let ca = |chain: &str| {
        place.config(
            &["east"],
            json!({
                "root": { "store": null, "certificate": root.certificate.to_pem() },
                "clusters": { "east": { "certificate_chain": chain, "request": SECRET } },
            }),
        )
    };
    let asks = config(&place, json!({}));
    let waits = plan(&place, &asks, None).await;
    let planned = place.core.plan(CA, Some(ca(UNKNOWN)), None).await.unwrap();
    let too_early = place.core.plan(CA, Some(ca(UNKNOWN)), None).await.unwrap();
    let asked = place.core.apply(REQUEST, waits).await.stored.unwrap();
    // The signer gave a chain of another root. Were it left out, istiod would sign for itself.
    let of_another = Root::new("Another").signs(&SigningRequest::from_pem(&told(&place, &asked)).unwrap())[0].to_pem();
    let refused = place.core.apply_with(CA, too_early, place.core.config(CA, ca(&of_another))).await;
    let said = refused.diagnostics.to_string();
    assert!(said.contains("The chain does not fit") && refused.stored.is_none(), "{said}");
    assert!(place.secret("east", "cacerts").await.is_none());
    let signed = |asked: &Stored| root.signs(&SigningRequest::from_pem(&told(&place, asked)).unwrap())[0].to_pem();
    let chain = signed(&asked);
    let applied = place.core.apply_with(CA, planned, place.core.config(CA, ca(&chain))).await;
    assert!(!applied.diagnostics.has_errors(), "{}", applied.diagnostics);
    let made = applied.stored.unwrap();
    let held = place.held("east").await;
    assert_eq!(held.intermediate.to_pem(), chain);
    assert!(place.secret("east", "cacerts-request").await.is_none(), "nothing is asked twice");
    assert_eq!(place.plan(&ca(&chain), Some(&made)).await.action, Action::Nothing);

    // A signature of the same request is the next intermediate; so is one of the next key.
    let renewed = signed(&asked);
    let made = place.settle(&ca(&renewed), Some(&made)).await;
    assert_eq!(place.held("east").await.intermediate.to_pem(), renewed);
    let asked = settle(&place, &config(&place, json!({ "generation": 2 })), Some(&asked)).await;
    assert_eq!(place.plan(&ca(&renewed), Some(&made)).await.action, Action::Nothing, "the old one stays until then");
    let next = signed(&asked);
    let made = place.settle(&ca(&next), Some(&made)).await;
    assert_eq!(place.held("east").await.intermediate.to_pem(), next);

    // The answer to somebody else's request.
    let mixed = root.signs(&root.request(&PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()))[0].to_pem();
    let planned = place.plan(&ca(&mixed), Some(&made)).await;
    let refused = place.core.apply(CA, planned).await.diagnostics.to_string();
    assert!(refused.contains("The chain answers another request") && refused.contains(SECRET), "{refused}");

    // Deleted, the Secret of istiod is written from the key that is there.
    let gone = Delete::new(ObjectRef::namespaced(Kind::SECRET, place.namespace("east"), "cacerts"));
    place.api.delete(&gone).await.unwrap();
    let made = place.settle(&ca(&next), Some(&made)).await;
    assert_eq!(place.held("east").await.intermediate.to_pem(), next);
    place.destroy(&made).await;
    destroy(&place, &asked).await;
}
