use serde_json::Value as Json;

use super::super::fixtures::{self, Ca};
use super::*;
use crate::cluster::OWNER_LABEL;

fn object() -> (Ca, Object) {
    let root = fixtures::root();
    let object = fixtures::cacerts(&root, 365).object("istio-system", &Owner::by_label("mesh_ca.x"));
    (root, object)
}

/// The Secret without one data key, or with another value for it.
fn changed(object: &Object, key: &str, value: Option<&[u8]>) -> Object {
    let mut object = object.clone();
    let data = object.value_mut()["data"].as_object_mut().unwrap();
    match value {
        Some(value) => drop(data.insert(key.into(), BASE64.encode(value).into())),
        None => drop(data.remove(key)),
    }
    object
}

#[test]
fn cacerts_is_istiod_s_plain_form_and_reads_back() {
    let (root, object) = object();
    let keys: Vec<&str> = object.strings("data").into_keys().collect();
    assert_eq!(keys, ["ca-cert.pem", "ca-key.pem", "cert-chain.pem", "root-cert.pem"]);
    assert_eq!(object.label(OWNER_LABEL), Some("mesh_ca.x"));
    let held = CaCerts::read(&object).unwrap();
    assert_eq!(held.chain.len(), 1);
    assert_eq!(held.issuer(), Some(&root.certificate));
    let chain = String::from_utf8(object.data("cert-chain.pem").unwrap()).unwrap();
    assert_eq!(Certificate::all_from_pem(&chain).unwrap(), [held.chain[0].clone(), root.certificate.clone()]);
}

#[test]
fn a_root_written_twice_changes_bytes_and_not_the_set() {
    let root = fixtures::root();
    let plain = fixtures::cacerts(&root, 365);
    let roots = plain.roots.clone();
    let twice = CaCerts { twice: Some(root.certificate.clone()), ..plain };
    let object = twice.object("n", &Owner::by_label("o"));
    let text = String::from_utf8(object.data("root-cert.pem").unwrap()).unwrap();
    assert_eq!(text, root.certificate.to_pem().repeat(2));
    assert_eq!(CaCerts::read(&object).unwrap().roots, roots);
}

#[test]
fn what_other_tools_wrote_is_recognised() {
    let (_, object) = object();
    let manager =
        changed(&object, "tls.crt", Some(b"x")).with_annotation("cert-manager.io/certificate-name", "istio-ca");
    assert_eq!(CaCerts::read(&manager).unwrap_err(), Fault::CertManager { certificate: Some("istio-ca".into()) });
    let generated = changed(&object, "istio-generated", Some(b""));
    assert_eq!(CaCerts::read(&generated).unwrap_err(), Fault::IstioGenerated);
}

/// Istio's two forms: the plain one, and that of a TLS Secret.
#[test]
fn both_forms_read_alike() {
    let (root, object) = object();
    let plain = CaCerts::read(&object).unwrap();
    let text = |key: &str| object.data(key).unwrap();
    let mut tls = object.clone();
    tls.value_mut()["data"] = serde_json::json!({
        "tls.crt": BASE64.encode(text("cert-chain.pem")),
        "tls.key": BASE64.encode(text("ca-key.pem")),
        "ca.crt": BASE64.encode(text("root-cert.pem")),
    });
    let read = CaCerts::read_tls(&tls).unwrap();
    assert_eq!((&read.chain, &read.roots, read.issuer()), (&plain.chain, &plain.roots, Some(&root.certificate)));
    assert_eq!(read.key.public_key_info(), plain.key.public_key_info());
    assert_eq!(CaCerts::read(&tls).unwrap_err(), Fault::CertManager { certificate: None });
    let without_root = changed(&tls, "ca.crt", None);
    assert_eq!(CaCerts::read_tls(&without_root).unwrap_err(), Fault::Missing("ca.crt"));
}

#[test]
fn damage_is_named() {
    let (_, object) = object();
    let fault = |key: &str, value: Option<&[u8]>| CaCerts::read(&changed(&object, key, value)).unwrap_err();
    assert_eq!(fault("ca-key.pem", None), Fault::Missing("ca-key.pem"));
    assert!(
        matches!(fault("root-cert.pem", Some(b"# junk")), Fault::Unreadable("root-cert.pem", why) if why.contains("line 1"))
    );
    assert!(matches!(fault("ca-key.pem", Some(b"junk")), Fault::Unreadable("ca-key.pem", _)));
    let other = fixtures::root().certificate.to_pem();
    assert_eq!(fault("root-cert.pem", Some(other.as_bytes())), Fault::NoRoot);
}

#[test]
fn the_store_keeps_every_generation() {
    let (first, second) = (fixtures::root(), fixtures::root());
    let fingerprints = [first.certificate.fingerprint(), second.certificate.fingerprint()];
    let stored = |root: Ca| StoredRoot { certificate: root.certificate, key: root.key };
    let store = RootStore([(1, stored(first)), (12, stored(second))].into());
    let place = StoreRef { cluster: "east".into(), namespace: "mesh-root-ca".into(), name: "mesh-root-ca".into() };
    let read = RootStore::read(&store.object(&place, &Owner::by_label("o"))).unwrap();
    let found: Vec<_> = read.0.iter().map(|(number, root)| (*number, root.certificate.fingerprint())).collect();
    assert_eq!(found, [(1, fingerprints[0]), (12, fingerprints[1])]);
    let mut damaged = store.object(&place, &Owner::by_label("o"));
    damaged.value_mut()["data"]["root-12.key"] = Json::Null;
    assert_eq!(RootStore::read(&damaged).unwrap_err(), "root-12.key");
}

#[test]
fn debug_shows_no_key() {
    let root = fixtures::root();
    let held = fixtures::cacerts(&root, 365);
    let pem = held.key.to_pem();
    let secret_line = pem.lines().nth(1).unwrap();
    assert!(!format!("{held:?} {:?}", held.object("n", &Owner::by_label("o"))).contains(secret_line));
}

/// What istiod starts with, it is read by: with text around the blocks, bag attributes before the key, the chain from
/// the root down, no last line break.
#[test]
fn what_others_wrote_is_read_as_istiod_reads_it() {
    let (root, object) = object();
    let plain = CaCerts::read(&object).unwrap();
    let text = |key: &str| String::from_utf8(object.data(key).unwrap()).unwrap();
    let with_text =
        |key: &str| changed(&object, key, Some(format!("Certificate:\n    Data: 1\n{}# end", text(key)).as_bytes()));
    let bag = format!("Bag Attributes\n    localKeyID: 01 02\nKey Attributes: <No Attributes>\n{}", text("ca-key.pem"));
    let reversed = format!("{}{}", root.certificate.to_pem(), plain.chain[0].to_pem());
    for theirs in [
        with_text("ca-cert.pem"),
        with_text("cert-chain.pem"),
        with_text("root-cert.pem"),
        changed(&object, "ca-key.pem", Some(bag.as_bytes())),
        changed(&object, "cert-chain.pem", Some(reversed.as_bytes())),
        changed(&object, "root-cert.pem", Some(text("root-cert.pem").trim_end().as_bytes())),
    ] {
        let read = CaCerts::read_theirs(&theirs).unwrap();
        assert_eq!((read.chain, read.roots), (plain.chain.clone(), plain.roots.clone()));
        assert_eq!(read.key.public_key_info(), plain.key.public_key_info());
    }
    let broken =
        changed(&object, "root-cert.pem", Some(b"\n-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n"));
    assert!(
        matches!(CaCerts::read_theirs(&broken), Err(Fault::Unreadable("root-cert.pem", why)) if why.contains("line 2"))
    );
}
