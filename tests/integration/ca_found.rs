//! `mesh_ca` and what it finds in clusters and in state: certificates signed outside, roots that differ, Secrets of
//! other tools and broken ones, the state of another version of this provider. On a true API server, with an in-process
//! core.

use std::process::Command;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use lab::Fault;
use serde_json::{Value as Json, json};
use terraform_provider_mesh::cluster::{
    Apply, Delete, INSTANCE_ANNOTATION, Kind, OWNER_LABEL, Object, ObjectRef, Query,
};
use terraform_provider_mesh::pki::{
    Bundle, Certificate, IntermediateProfile, KeyAlgorithm, LocalSigner, PrivateKey, RootRequest, Serial,
    SignIntermediate, Signer, SigningRequest, Subject, Validity,
};
use terraform_provider_mesh::value::Path;
use time::{Duration, OffsetDateTime};

use crate::ca_lifecycle::{CA, Place, generation, merge};
use crate::support::core::{Action, Stored};

/// A root of somebody else's.
pub struct Root {
    pub certificate: Certificate,
    pub key: PrivateKey,
}

impl Root {
    pub fn new(name: &str) -> Self {
        let (key, now) = (PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap(), OffsetDateTime::now_utc());
        let request = RootRequest {
            subject: subject(name),
            validity: Validity { not_before: now - Duration::hours(1), not_after: now + Duration::days(800) },
            serial: Serial::from_random([3; 16]),
        };
        Self { certificate: request.self_sign(&key).unwrap(), key }
    }

    /// A request with a key of its own.
    pub fn request(&self, key: &PrivateKey) -> SigningRequest {
        IntermediateProfile { subject: subject("Theirs"), dns_names: vec![] }.request(key).unwrap()
    }

    pub fn signs(&self, request: &SigningRequest) -> Vec<Certificate> {
        let now = OffsetDateTime::now_utc();
        let ask = SignIntermediate {
            request,
            profile: &IntermediateProfile { subject: subject("Signed outside"), dns_names: vec![] },
            validity: Validity { not_before: now - Duration::hours(1), not_after: now + Duration::days(400) },
            serial: Serial::from_random([4; 16]),
        };
        LocalSigner { certificate: &self.certificate, key: &self.key }.sign(&ask).unwrap()
    }

    /// The data of a `cacerts` Secret of this root, in istiod's plain form.
    pub fn cacerts(&self) -> Json {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let profile = IntermediateProfile { subject: subject("Theirs"), dns_names: vec![] };
        let chain = self.signs(&profile.request(&key).unwrap());
        let encoded = |text: &str| BASE64_STANDARD.encode(text);
        let (intermediate, root) = (chain[0].to_pem(), self.certificate.to_pem());
        json!({
            "ca-cert.pem": encoded(&intermediate),
            "ca-key.pem": encoded(&key.to_pem()),
            "cert-chain.pem": encoded(&format!("{intermediate}{root}")),
            "root-cert.pem": encoded(&root),
        })
    }
}

fn subject(name: &str) -> Subject {
    Subject { organization: Some("Theirs".into()), common_name: name.into(), locality: None }
}

/// The data of a `cacerts` Secret of a root of somebody else's.
pub fn cacerts_of(certificate: &Certificate, key: &PrivateKey) -> Json {
    Root { certificate: certificate.clone(), key: PrivateKey::from_pem(&key.to_pem()).unwrap() }.cacerts()
}

/// Writes a Secret as somebody else does.
pub async fn put(place: &Place, cluster: &str, secret: Object) {
    let home = Object::of(&ObjectRef::cluster(Kind::NAMESPACE, place.namespace(cluster)));
    place.api.apply(Apply::shared(home)).await.unwrap();
    place.api.apply(Apply { force: true, ..Apply::shared(secret) }).await.unwrap();
}

fn cacerts(place: &Place, cluster: &str) -> Object {
    Object::of(&ObjectRef::namespaced(Kind::SECRET, place.namespace(cluster), "cacerts"))
}

/// Edits a Secret of this provider's and leaves its label.
async fn edit(place: &Place, cluster: &str, change: Json) {
    let secret = place.secret(cluster, "cacerts").await.unwrap();
    let mut data = secret.value()["data"].clone();
    merge(&mut data, change);
    let owner = secret.label(OWNER_LABEL).expect("a label of ours").to_owned();
    let edited = cacerts(place, cluster).with_label(OWNER_LABEL, &owner).with("type", "Opaque").with("data", data);
    place.api.apply(Apply { force: true, ..Apply::shared(edited) }).await.unwrap();
}

#[tokio::test]
async fn an_outside_signer_is_asked_and_its_answer_taken() {
    let Some(place) = Place::new("ca-outside").await else { return };
    let (root, other) = (Root::new("HSM"), Root::new("Other"));
    let config = |certificate: &Certificate, chain: Option<&str>| {
        let changes = json!({
            "root": { "store": null, "certificate": certificate.to_pem() },
            "clusters": { "east": { "certificate_chain": chain } },
        });
        place.config(&["east"], changes)
    };
    let planned = place.plan(&config(&root.certificate, None), None).await;
    let asked = place.apply(planned).await;
    let told =
        |stored: &Stored, attribute: &str| place.text(stored, Path::root("clusters").key("east").attr(attribute));
    assert_eq!(told(&asked, "state"), "awaiting-signature");
    assert!(place.secret("east", "cacerts").await.is_none(), "istiod refuses to start on half a Secret");
    let pem = told(&asked, "certificate_request");
    let request = SigningRequest::from_pem(&pem).unwrap();
    let again = place.plan(&config(&root.certificate, None), Some(&asked)).await;
    assert_eq!(again.action, Action::Nothing, "an open request stays open");
    let words = again.warnings.to_string();
    assert!(words.contains("A signature is needed (clusters[\"east\"].certificate_chain)"), "{words}");

    // The answer to somebody else's request.
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let profile = IntermediateProfile { subject: subject("Mixed up"), dns_names: vec![] };
    let mixed = root.signs(&profile.request(&key).unwrap())[0].to_pem();
    let planned = place.plan(&config(&root.certificate, Some(&mixed)), Some(&asked)).await;
    let refused = place.core.apply(CA, planned).await.diagnostics.to_string();
    assert!(refused.contains("The chain answers another request (clusters[\"east\"].certificate_chain)"), "{refused}");

    let chain = root.signs(&request)[0].to_pem();
    let ready = place.settle(&config(&root.certificate, Some(&chain)), Some(&asked)).await;
    let held = place.held("east").await;
    assert_eq!((held.intermediate.to_pem(), &held.issuer), (chain.clone(), &root.certificate));
    assert_eq!((told(&ready, "state"), told(&ready, "certificate_request")), ("ready".into(), String::new()));
    assert!(place.secret("east", "cacerts-request").await.is_none(), "the key is in one place only");

    // The rotation to another root that signs outside: trust first, then a request, then the switch.
    let widened = place.apply(place.plan(&config(&other.certificate, Some(&chain)), Some(&ready)).await).await;
    assert_eq!(place.phase(&widened), "trust-widened");
    let asked = place.apply(place.plan(&config(&other.certificate, Some(&chain)), Some(&widened)).await).await;
    let request = SigningRequest::from_pem(&told(&asked, "certificate_request")).unwrap();
    assert_eq!(place.held("east").await.issuer, root.certificate, "the old one issues until the new one is signed");
    let next = other.signs(&request)[0].to_pem();
    let switched = place.apply(place.plan(&config(&other.certificate, Some(&next)), Some(&asked)).await).await;
    assert_eq!(place.phase(&switched), "issuers-switched");
    let settled = place.settle(&config(&other.certificate, Some(&next)), Some(&switched)).await;
    assert_eq!(place.held("east").await.roots, Bundle::from_iter([other.certificate.clone()]));
    place.destroy(&settled).await;
    assert!(place.secret("east", "cacerts").await.is_none());
}

/// Two meshes of their own become one: each trusts the other's root before either issues from the common one.
#[tokio::test]
async fn roots_that_differ_between_clusters_become_one() {
    let Some(place) = Place::new("ca-differ").await else { return };
    let (ours, theirs) = (Root::new("Ours"), Root::new("Theirs"));
    put(&place, "east", cacerts(&place, "east").with("data", ours.cacerts())).await;
    put(&place, "west", cacerts(&place, "west").with("data", theirs.cacerts())).await;
    let key = ours.key.to_pem().to_string();
    let root = json!({ "store": null, "certificate": ours.certificate.to_pem(), "private_key_wo": key });
    let mut config = place.config(&["east", "west"], json!({ "root": root }));
    let refused = place.core.apply(CA, place.plan(&config, None).await).await.diagnostics.to_string();
    for name in ["east", "west"] {
        assert!(refused.contains(&format!("The Secret cacerts exists already (clusters[\"{name}\"])")), "{refused}");
    }
    merge(&mut config, json!({ "adopt": true }));
    let mut stored = place.apply(place.plan(&config, None).await).await;
    assert_eq!(place.phase(&stored), "switching-issuers", "one of them issues from the common root already");
    let both = Bundle::from_iter([ours.certificate.clone(), theirs.certificate.clone()]);
    for (name, root) in [("east", &ours), ("west", &theirs)] {
        let held = place.held(name).await;
        assert_eq!((&held.issuer, &held.roots), (&root.certificate, &both), "{name}");
    }
    for phase in ["issuers-switched", "settled"] {
        stored = place.apply(place.plan(&config, Some(&stored)).await).await;
        assert_eq!(place.phase(&stored), phase);
        assert_eq!(place.held("west").await.issuer, ours.certificate);
    }
    let held = (place.held("east").await, place.held("west").await);
    assert_eq!((held.0.roots.len(), held.1.roots.len()), (1, 1));

    // Somebody puts another root into one cluster, under our label, and it is to be trusted: the same way back, and it
    // is said.
    let strange = Root::new("Strange");
    edit(&place, "west", strange.cacerts()).await;
    merge(&mut config, json!({ "accept_roots": [strange.certificate.fingerprint().to_string()] }));
    let planned = place.plan(&config, Some(&stored)).await;
    let words = planned.warnings.to_string();
    assert!(words.contains("step 1 of 3: widen trust"), "{words}");
    stored = place.apply(planned).await;
    let held = place.held("west").await;
    assert_eq!((held.issuer, held.roots.len()), (strange.certificate, 2));
    for _ in 0..2 {
        stored = place.apply(place.plan(&config, Some(&stored)).await).await;
    }
    assert_eq!((place.phase(&stored).as_str(), place.held("west").await.issuer), ("settled", ours.certificate));
    place.destroy(&stored).await;
}

/// The Lease of a CA whose root is brought stays where the first of its clusters was, whatever joins and leaves.
#[tokio::test]
async fn clusters_join_a_brought_root_in_any_order() {
    let Some(place) = Place::new("ca-joins").await else { return };
    let ours = Root::new("Ours");
    let key = ours.key.to_pem().to_string();
    let root = json!({ "store": null, "certificate": ours.certificate.to_pem(), "private_key_wo": key });
    let config = |clusters: &[&str]| place.config(clusters, json!({ "root": root }));
    let leases = async || {
        let leases = place.api.list_now(&Query::of(Kind::LEASE)).await.unwrap();
        let places = leases.iter().filter_map(|lease| lease.namespace().map(str::to_owned));
        places.filter(|name| name.starts_with("ca-joins")).collect::<Vec<_>>()
    };
    let mut stored = place.settle(&config(&["west"]), None).await;
    // It sorts before the other one, and has no namespace yet. The Lease leaves with the cluster that has it, and no
    // sooner.
    for (clusters, home) in [(&["east", "west"][..], "west"), (&["east"], "east"), (&["east", "west"], "east")] {
        stored = place.settle(&config(clusters), Some(&stored)).await;
        assert_eq!(leases().await, [place.namespace(home)], "{clusters:?}");
    }
    place.destroy(&stored).await;
    assert_eq!(leases().await, [] as [String; 0]);
}

#[tokio::test]
async fn other_tools_secrets_are_told_and_left_alone() {
    let Some(place) = Place::new("ca-tools").await else { return };
    let root = Root::new("Vault");
    let plain = root.cacerts();
    let tls = json!({
        "tls.crt": plain["cert-chain.pem"], "tls.key": plain["ca-key.pem"], "ca.crt": plain["root-cert.pem"],
    });
    let manager =
        cacerts(&place, "east").with("data", tls).with_annotation("cert-manager.io/certificate-name", "mesh-ca");
    put(&place, "east", manager).await;
    let generated = cacerts(&place, "west").with("data", json!({ "istio-generated": "" }));
    put(&place, "west", generated).await;
    let before = (place.secret("east", "cacerts").await.unwrap(), place.secret("west", "cacerts").await.unwrap());
    for adopt in [false, true] {
        let config = place.config(&["east", "west"], json!({ "adopt": adopt }));
        let refused = place.core.apply(CA, place.plan(&config, None).await).await.diagnostics.to_string();
        for told in [
            "Somebody else makes this cluster's certificates (clusters[\"east\"])",
            "belongs to the Certificate mesh-ca",
            "It holds the intermediate O=Theirs, CN=Signed outside of the root O=Theirs, CN=Vault, valid until 20",
            "Somebody else makes this cluster's certificates (clusters[\"west\"])",
            "istiod generated it for itself",
        ] {
            assert!(refused.contains(told), "{told:?} is missing: {refused}");
        }
    }
    let after = (place.secret("east", "cacerts").await.unwrap(), place.secret("west", "cacerts").await.unwrap());
    assert_eq!(before.0.value()["data"], after.0.value()["data"]);
    assert_eq!(before.1.value()["data"], after.1.value()["data"]);
}

#[tokio::test]
async fn a_secret_that_was_spoilt_is_made_anew() {
    let Some(place) = Place::new("ca-spoilt").await else { return };
    let config = place.config(&["east", "west"], json!({}));
    let mut stored = place.settle(&config, None).await;
    let other = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap().to_pem().to_string();
    for (key, value) in [
        ("ca-key.pem", other),
        ("ca-key.pem", "junk".to_owned()),
        ("root-cert.pem", format!("# edited by hand\n{}", place.held("west").await.issuer.to_pem())),
        ("cert-chain.pem", String::new()),
    ] {
        let (west, root) = (place.held("west").await.intermediate, place.held("west").await.issuer);
        edit(&place, "east", json!({ key: BASE64_STANDARD.encode(&value) })).await;
        let planned = place.plan(&config, Some(&stored)).await;
        assert_eq!(planned.action, Action::Update, "{key}");
        let seen = place.text(planned.prior.as_ref().unwrap(), Path::root("clusters").key("east").attr("state"));
        assert_eq!(seen, "invalid", "{key}");
        stored = place.apply(planned).await;
        let held = place.held("east").await;
        assert_eq!((held.issuer, held.roots.len()), (root, 1), "{key}");
        assert_eq!(place.held("west").await.intermediate, west, "{key}: a neighbour is left alone");
        assert_eq!(place.plan(&config, Some(&stored)).await.action, Action::Nothing, "{key}");
    }
    place.destroy(&stored).await;
}

/// The API server does what it is asked, and its answers are lost on their way. What was written is this resource's own
/// all the same. What nobody can tell is in state, so that the next apply deletes it.
#[tokio::test]
async fn a_write_whose_answer_is_lost_is_its_own() {
    let Some(place) = Place::new("ca-lost").await else { return };
    let lab = tokio::task::spawn_blocking(crate::cluster_lab::lab_cluster).await.unwrap().unwrap();
    let lost = |namespace: &str, secret: &str| {
        let path = format!("PATCH /api/v1/namespaces/{}/secrets/{secret}?", place.namespace(namespace));
        Fault::cut().for_request(&path)
    };
    lab.fault(lost("root", "doubtful")).unwrap();
    let changes = json!({ "root": { "store": { "name": "doubtful" } }, "timeouts": { "create": "10s" } });
    let planned = place.plan(&place.config(&["east"], changes), None).await;
    let in_doubt = place.core.apply(CA, planned).await;
    let told = in_doubt.diagnostics.to_string();
    assert!(told.contains("Whether the root was written is not known"), "{told}");
    let stored = in_doubt.stored.expect("it may be there");
    assert!(stored.tainted && place.secret("root", "doubtful").await.is_some());
    place.destroy(&stored).await;
    assert!(place.secret("root", "doubtful").await.is_none(), "it was there, and nobody would have known of it");

    let two_lost = || {
        for (namespace, secret) in [("root", "root"), ("east", "cacerts")] {
            lab.fault(lost(namespace, secret).times(2)).unwrap();
        }
    };
    two_lost();
    let config = place.config(&["east"], json!({}));
    let mut stored = place.settle(&config, None).await;
    two_lost();
    let rotated = place.config(&["east"], generation(2));
    while place.plan(&rotated, Some(&stored)).await.action != Action::Nothing {
        stored = place.apply(place.plan(&rotated, Some(&stored)).await).await;
    }
    assert_eq!(place.held("east").await.roots.len(), 1);
    place.destroy(&stored).await;
}

/// Another version of the provider wrote the state: attributes are missing that came later, others are gone by now,
/// what were defaults then are others today, and its private data is of another shape.
#[tokio::test]
async fn a_provider_upgrade_re_issues_nothing() {
    let Some(place) = Place::new("ca-upgrade").await else { return };
    let config = place.config(&["east", "west"], generation(1));
    let stored = place.settle(&config, None).await;
    let before = (place.held("east").await, place.held("west").await, place.secret("root", "root").await.unwrap());
    let private = String::from_utf8(stored.private.clone()).unwrap();
    let changed = |change: &dyn Fn(&mut Json), private: &[u8]| {
        let mut state: Json = serde_json::from_str(&stored.json).unwrap();
        change(&mut state);
        Stored { json: state.to_string(), private: private.to_vec(), ..stored.clone() }
    };
    let without = |names: &[&str], state: &mut Json| {
        names.iter().for_each(|name| drop(state.as_object_mut().unwrap().remove(*name)));
    };
    let cases = [
        (
            "before phases and pauses were told",
            changed(
                &|state| {
                    without(
                        &[
                            "phase",
                            "phase_since",
                            "rotation_pause",
                            "root_certificates",
                            "migrate_self_signed",
                            "adopt",
                        ],
                        state,
                    );
                },
                private.as_bytes(),
            ),
        ),
        (
            "before clusters told what they trust",
            changed(
                &|state| {
                    for (_, cluster) in state["clusters"].as_object_mut().unwrap() {
                        without(&["trusted", "issuer", "state", "serial", "certificate_request"], cluster);
                    }
                },
                private.as_bytes(),
            ),
        ),
        (
            "with other defaults",
            changed(
                &|state| {
                    merge(
                        state,
                        json!({ "rotation_pause": "1h", "root": {
                "algorithm": "RSA-4096", "validity": "1825d", "organization": "mesh", "common_name": "mesh root" } }),
                    );
                },
                private.as_bytes(),
            ),
        ),
        (
            "with attributes that are gone",
            changed(
                &|state| {
                    merge(state, json!({ "key_size": 2048, "root": { "backend": "secret" } }));
                },
                private.as_bytes(),
            ),
        ),
        ("without private data", changed(&|_| (), b"")),
        (
            "with private data of a later one",
            changed(&|_| (), private.replacen('{', "{\"later\":{\"x\":1},", 1).as_bytes()),
        ),
    ];
    for (case, old) in cases {
        let planned = place.plan(&config, Some(&old)).await;
        let fixed = [Path::root("root_fingerprint"), Path::root("root_certificate")].into_iter().chain(
            ["east", "west"].into_iter().flat_map(|name| {
                ["fingerprint", "serial", "issuer"].map(|attribute| Path::root("clusters").key(name).attr(attribute))
            }),
        );
        for path in fixed {
            assert!(planned.planned.at(&path).is_some_and(|value| value.as_str().is_some()), "{case}: {path} is open");
        }
        let stored = place.apply(planned).await;
        assert_eq!(place.plan(&config, Some(&stored)).await.action, Action::Nothing, "{case}");
        let after = (place.held("east").await, place.held("west").await, place.secret("root", "root").await.unwrap());
        assert_eq!(after.0.intermediate, before.0.intermediate, "{case}");
        assert_eq!(after.1.intermediate, before.1.intermediate, "{case}");
        assert_eq!(after.2.value()["data"], before.2.value()["data"], "{case}: the root");
    }
    let older = changed(&|state| without(&["instance"], state), b"");
    let stored = what_carries_no_mark_is_marked(&place, &config, older).await;
    place.destroy(&stored).await;
}

/// Secrets of before marks, and a state that knows of none: the next apply marks all of them, and makes no key.
async fn what_carries_no_mark_is_marked(place: &Place, config: &Json, older: Stored) -> Stored {
    let secrets = [("east", "cacerts"), ("west", "cacerts"), ("root", "root")];
    let mut before = Vec::new();
    for (namespace, name) in secrets {
        let live = place.secret(namespace, name).await.unwrap();
        let reference = ObjectRef::namespaced(Kind::SECRET, live.namespace().unwrap(), name);
        let unmarked = Object::of(&reference)
            .with_label(OWNER_LABEL, live.label(OWNER_LABEL).unwrap())
            .with("type", "Opaque")
            .with("data", live.value()["data"].clone());
        place.api.apply(Apply { force: true, ..Apply::shared(unmarked) }).await.unwrap();
        assert!(place.secret(namespace, name).await.unwrap().annotation(INSTANCE_ANNOTATION).is_none());
        before.push(live.value()["data"].clone());
    }
    let leases = Query::of(Kind::LEASE).namespace(place.namespace("root"));
    for lease in place.api.list_now(&leases).await.unwrap().iter() {
        place.api.delete(&Delete::new(lease.reference_as(Kind::LEASE))).await.unwrap();
    }
    // An apply that has something else to do: marks alone are no reason for a plan.
    let mut config = config.clone();
    merge(&mut config, json!({ "rotation_pause": "2h" }));
    let stored = place.apply(place.plan(&config, Some(&older)).await).await;
    let mark = place.text(&stored, Path::root("instance"));
    for ((namespace, name), before) in secrets.into_iter().zip(before) {
        let live = place.secret(namespace, name).await.unwrap();
        assert_eq!(live.annotation(INSTANCE_ANNOTATION), Some(mark.as_str()), "{namespace}/{name}");
        assert_eq!(live.value()["data"], before, "{namespace}/{name}");
    }
    assert_eq!(place.plan(&config, Some(&stored)).await.action, Action::Nothing);
    stored
}

/// Weak keys of openssl, which this provider never makes: refused where they stand.
#[tokio::test]
async fn a_weak_root_is_refused_at_its_attribute() {
    let Some(place) = Place::new("ca-weak").await else { return };
    if Command::new("openssl").arg("version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "openssl is needed in CI");
        return println!("skipped: there is no openssl");
    }
    let folder = tempfile::tempdir().unwrap();
    let openssl = |arguments: &[&str]| {
        let done = Command::new("openssl").args(arguments).current_dir(folder.path()).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    openssl(&["genrsa", "-traditional", "-out", "weak.key", "1024"]);
    openssl(&["req", "-x509", "-new", "-key", "weak.key", "-days", "10", "-subj", "/CN=weak", "-out", "weak.pem"]);
    openssl(&["ecparam", "-genkey", "-noout", "-name", "prime256v1", "-out", "short.key"]);
    // As a configuration: openssl's own would add a second set of constraints.
    std::fs::write(
        folder.path().join("short.conf"),
        "[req]\ndistinguished_name = name\nx509_extensions = ca\nprompt = no\n[name]\nCN = short\n[ca]\nbasicConstraints = critical,CA:TRUE,pathlen:0\nkeyUsage = critical,keyCertSign\n",
    )
    .unwrap();
    openssl(&[
        "req",
        "-x509",
        "-new",
        "-key",
        "short.key",
        "-days",
        "10",
        "-config",
        "short.conf",
        "-out",
        "short.pem",
    ]);
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let refusal = async |root: Json| {
        let config = place.config(&["east"], json!({ "root": root }));
        place.core.validate(CA, config).await.to_string()
    };
    let weak =
        refusal(json!({ "store": null, "certificate": read("weak.pem"), "private_key_wo": read("weak.key") })).await;
    assert!(
        weak.contains("Unfit as a root (root.certificate): The certificate CN=weak has a weak key (RSA-1024)"),
        "{weak}"
    );
    assert!(
        weak.contains("Not a usable private key (root.private_key_wo): The RSA private key has less than 2048 bits"),
        "{weak}"
    );
    let short = refusal(json!({ "store": null, "certificate": read("short.pem") })).await;
    assert!(short.contains("Unfit as a root (root.certificate): The certificate CN=short has pathlen 0"), "{short}");
    let junk = refusal(json!({ "store": null, "certificate": format!("{}# end", read("short.pem")) })).await;
    assert!(
        junk.contains("Not a certificate (root.certificate)") && junk.contains("outside of any PEM block"),
        "{junk}"
    );
}
