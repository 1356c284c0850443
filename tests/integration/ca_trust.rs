//! What others put where `mesh_ca` looks: stores that were there before, roots that nobody decided on, keys that are
//! lost or exchanged, and two runs at once. On a true API server, with an in-process core: two clusters are two
//! namespaces of it.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value as Json, json};
use terraform_provider_mesh::cluster::{Apply, Delete, Kind, Object, ObjectRef};
use terraform_provider_mesh::pki::{Certificate, KeyAlgorithm, PrivateKey, RootRequest, Serial, Subject, Validity};
use terraform_provider_mesh::value::Path;
use time::{Duration, OffsetDateTime};

use crate::ca_lifecycle::{CA, Place, generation, merge};
use crate::support::core::{Action, Stored};

/// A root that somebody else made, and whose key they know.
struct Evil {
    certificate: Certificate,
    key: PrivateKey,
}

impl Evil {
    fn new() -> Self {
        let (key, now) = (PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap(), OffsetDateTime::now_utc());
        let request = RootRequest {
            subject: Subject { organization: Some("Evil".into()), common_name: "Evil root".into(), locality: None },
            validity: Validity { not_before: now - Duration::hours(1), not_after: now + Duration::days(900) },
            serial: Serial::from_random([9; 16]),
        };
        Self { certificate: request.self_sign(&key).unwrap(), key }
    }

    fn fingerprint(&self) -> String {
        self.certificate.fingerprint().to_string()
    }

    /// Data of a store that holds it.
    fn stored(&self, generation: i64) -> Json {
        let encoded = |text: &str| BASE64_STANDARD.encode(text);
        json!({
            format!("root-{generation}.crt"): encoded(&self.certificate.to_pem()),
            format!("root-{generation}.key"): encoded(&self.key.to_pem()),
        })
    }
}

fn store(place: &Place) -> ObjectRef {
    ObjectRef::namespaced(Kind::SECRET, place.namespace("root"), "root")
}

/// Writes the store as somebody else does, who manages what they write.
async fn plant(place: &Place, data: Json) {
    let home = Object::of(&ObjectRef::cluster(Kind::NAMESPACE, place.namespace("root")));
    place.api.apply(Apply::shared(home)).await.unwrap();
    let body = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "root" }, "data": data });
    place.as_somebody("kubectl-patch", &store(place), "application/apply-patch+yaml", &body).await;
}

async fn roots(place: &Place) -> Json {
    place.secret("root", "root").await.map_or(Json::Null, |secret| secret.value()["data"].clone())
}

#[tokio::test]
async fn a_store_that_was_there_is_taken_only_when_asked_for_and_told() {
    let Some(place) = Place::new("ca-planted").await else { return };
    let evil = Evil::new();
    plant(&place, evil.stored(1)).await;
    let config = place.config(&["east"], json!({}));
    let refused = place.core.apply(CA, place.plan(&config, None).await).await;
    let words = refused.diagnostics.to_string();
    for told in [
        "The root's store exists already (root.store)",
        "O=Evil, CN=Evil root",
        evil.fingerprint().as_str(),
        "kubectl-patch",
        "adopt = true",
        "Nothing was written",
    ] {
        assert!(words.contains(told), "{told:?} is missing: {words}");
    }
    assert!(refused.stored.is_none() && place.secret("east", "cacerts").await.is_none());
    assert_eq!(roots(&place).await, evil.stored(1));

    // Whatever labels it bears.
    let labelled = Object::of(&store(&place)).with_label("terraform-provider-mesh/owner", "mesh_ca.root");
    place.api.apply(Apply::shared(labelled)).await.unwrap();
    let refused = place.core.apply(CA, place.plan(&config, None).await).await.diagnostics.to_string();
    assert!(refused.contains("The root's store exists already"), "{refused}");

    let mut adopting = config.clone();
    merge(&mut adopting, json!({ "adopt": true }));
    let applied = place.core.apply(CA, place.plan(&adopting, None).await).await;
    let words = applied.diagnostics.to_string();
    assert!(!applied.diagnostics.has_errors(), "{words}");
    assert!(words.contains("A root that was there is taken over") && words.contains(&evil.fingerprint()), "{words}");
    assert_eq!(place.held("east").await.issuer, evil.certificate);
    place.destroy(&applied.stored.unwrap()).await;

    // An empty Secret of the name is somebody's too.
    plant(&place, json!({ "password": BASE64_STANDARD.encode("x") })).await;
    let refused = place.core.apply(CA, place.plan(&config, None).await).await.diagnostics.to_string();
    assert!(refused.contains("The root's store exists already") && refused.contains("no root"), "{refused}");
    place.api.delete(&Delete::new(store(&place))).await.unwrap();
}

#[tokio::test]
async fn two_cas_never_share_a_store() {
    let Some(mut place) = Place::new("ca-twice").await else { return };
    let (one, other) = (place.config(&["east"], json!({})), place.config(&["west"], json!({})));
    // In one configuration, which is one walk: at plan.
    place.core.one_walk = true;
    place.plan(&one, None).await;
    let refused = place.core.plan(CA, Some(other.clone()), None).await.expect_err("it is refused").to_string();
    place.core.one_walk = false;
    assert!(refused.contains("Two CAs with one store (root)"), "{refused}");

    // In two runs at the same moment: one makes the root, the other is refused. As often as it is tried, there is one
    // root.
    let first = place.plan(&one, None).await;
    let rival = Place::new("ca-twice").await.unwrap();
    let second = rival.plan(&other, None).await;
    let (first, second) = tokio::join!(place.core.apply(CA, first), rival.core.apply(CA, second));
    let failed: Vec<String> = [&first, &second]
        .into_iter()
        .filter(|applied| applied.diagnostics.has_errors())
        .map(|applied| applied.diagnostics.to_string())
        .collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert!(failed[0].contains("exists already"), "{failed:?}");
    let won = if first.diagnostics.has_errors() { second } else { first };
    let root = place.text(won.stored.as_ref().unwrap(), Path::root("root_fingerprint"));
    let kept = roots(&place).await;
    let pem = String::from_utf8(BASE64_STANDARD.decode(kept["root-1.crt"].as_str().unwrap()).unwrap()).unwrap();
    assert_eq!(Certificate::from_pem(&pem).unwrap().fingerprint().to_string(), root);
    place.destroy(&won.stored.unwrap()).await;
}

/// A step of a rotation that is decided on what somebody has changed since is not written.
#[tokio::test]
async fn a_store_that_changes_meanwhile_loses_nothing() {
    let Some(place) = Place::new("ca-meanwhile").await else { return };
    let stored = place.settle(&place.config(&["east"], json!({})), None).await;
    let planned = place.plan(&place.config(&["east"], generation(2)), Some(&stored)).await;
    let rival = Place::new("ca-meanwhile").await.unwrap();
    let theirs = rival.plan(&rival.config(&["east"], generation(2)), Some(&stored)).await;
    let (ours, theirs) = tokio::join!(place.core.apply(CA, planned), rival.core.apply(CA, theirs));
    let finished = [&ours, &theirs].into_iter().find(|applied| !applied.diagnostics.has_errors());
    let finished = finished.expect("one of them goes through").stored.clone().unwrap();
    let kept = roots(&place).await;
    assert_eq!(kept.as_object().unwrap().len(), 4, "two roots with their keys, and not one of them made twice");
    assert!(place.held("east").await.roots.len() <= 2);
    let stored = place.apply(place.plan(&place.config(&["east"], generation(2)), Some(&finished)).await).await;
    place.destroy(&stored).await;
}

fn west_again(place: &Place) -> Json {
    json!({ "clusters": { "west": { "generation": 2, "namespace": place.namespace("west") } } })
}

#[tokio::test]
async fn a_lost_root_is_not_made_anew_under_its_number() {
    let Some(place) = Place::new("ca-lost").await else { return };
    let config = place.config(&["east", "west"], json!({}));
    let stored = place.settle(&config, None).await;
    let (backup, old) = (roots(&place).await, place.held("west").await);
    place.api.delete(&Delete::new(store(&place))).await.unwrap();

    let idle = place.plan(&config, Some(&stored)).await;
    assert_eq!(idle.action, Action::Nothing, "{:?}", idle.planned);
    let again = place.config(&["east", "west"], west_again(&place));
    place.core.configure(place.provider()).await.unwrap();
    let refused = place.core.plan(CA, Some(again.clone()), Some(&stored)).await.expect_err("it is refused").to_string();
    assert!(refused.contains("The root's key is lost (clusters[\"west\"].generation)"), "{refused}");
    assert!(roots(&place).await.is_null(), "nothing was written");

    // What needs no key goes on without it.
    let alone = place.apply(place.plan(&place.config(&["west"], json!({})), Some(&stored)).await).await;
    assert!(place.secret("east", "cacerts").await.is_none() && roots(&place).await.is_null());
    assert_eq!(place.text(&alone, Path::root("root_fingerprint")), old.issuer.fingerprint().to_string());

    // The backup comes back: as if nothing had been.
    plant(&place, backup).await;
    let config = place.config(&["west"], west_again(&place));
    let healed = place.apply(place.plan(&config, Some(&alone)).await).await;
    let held = place.held("west").await;
    assert_eq!(held.issuer, old.issuer);
    assert_ne!(held.intermediate, old.intermediate);
    place.destroy(&healed).await;
}

/// An old backup of the store is brought back after a rotation: the present key is gone, and the old number makes no
/// new root.
#[tokio::test]
async fn an_old_backup_is_told_and_a_new_number_leads_out() {
    let Some(place) = Place::new("ca-backup").await else { return };
    let config = |number: i64| place.config(&["east"], generation(number));
    let mut stored = place.settle(&config(1), None).await;
    let backup = roots(&place).await;
    for _ in 0..3 {
        stored = place.apply(place.plan(&config(2), Some(&stored)).await).await;
    }
    assert_eq!(place.phase(&stored), "settled");
    let present = place.held("east").await.issuer;
    place.api.delete(&Delete::new(store(&place))).await.unwrap();
    plant(&place, backup.clone()).await;
    let (_, told) = place.core.refresh_told(CA, &stored).await.unwrap();
    assert!(told.to_string().contains("The root's key is lost"), "{told}");
    let idle = place.plan(&config(2), Some(&stored)).await;
    assert_eq!(idle.action, Action::Nothing, "the backup stays as it is: {:?}", idle.planned);
    assert_eq!(roots(&place).await, backup);
    for _ in 0..3 {
        stored = place.apply(place.plan(&config(3), Some(&stored)).await).await;
    }
    assert_eq!(place.phase(&stored), "settled");
    assert_ne!(place.held("east").await.issuer, present);
    place.core.configure(place.provider()).await.unwrap();
    let refused = place.core.plan(CA, Some(config(2)), Some(&stored)).await.expect_err("it is refused").to_string();
    assert!(refused.contains("This generation of the root is over (root.generation)"), "{refused}");
    place.destroy(&stored).await;
}

#[tokio::test]
async fn a_root_that_was_exchanged_signs_nothing() {
    let Some(place) = Place::new("ca-exchanged").await else { return };
    let config = |number: i64| place.config(&["east", "west"], generation(number));
    let stored = place.settle(&config(1), None).await;
    let (kept, evil) = (roots(&place).await, Evil::new());
    let held = place.held("east").await;
    let key_alone = json!({ "root-1.crt": kept["root-1.crt"], "root-1.key": evil.stored(1)["root-1.key"] });
    let mut both = kept.clone();
    merge(&mut both, evil.stored(2));
    for (case, data) in
        [("another root", evil.stored(1)), ("another key", key_alone), ("one for the next rotation", both)]
    {
        plant(&place, data.clone()).await;
        for number in [1, 2] {
            place.core.configure(place.provider()).await.unwrap();
            let refused = place.core.plan(CA, Some(config(number)), Some(&stored)).await.err();
            let refused = refused.unwrap_or_else(|| panic!("{case}: it is planned")).to_string();
            assert!(refused.contains("The root's store was changed (root.store)"), "{case}: {refused}");
        }
        assert_eq!(roots(&place).await, data, "{case}");
    }
    assert_eq!(place.held("east").await.intermediate, held.intermediate);
    plant(&place, kept).await;
    place.api.delete(&Delete::new(store(&place))).await.unwrap();
    place.destroy(&stored).await;
}

/// Exchanged between plan and apply: the plan was good, and nothing is written all the same.
#[tokio::test]
async fn what_is_exchanged_after_the_plan_is_refused_by_the_apply() {
    let Some(place) = Place::new("ca-after").await else { return };
    let stored = place.settle(&place.config(&["east", "west"], json!({})), None).await;
    let planned = place.plan(&place.config(&["east", "west"], west_again(&place)), Some(&stored)).await;
    let (evil, held) = (Evil::new(), place.held("west").await);
    plant(&place, evil.stored(1)).await;
    let refused = place.core.apply(CA, planned).await.diagnostics.to_string();
    assert!(refused.contains("The root's store was changed (root.store)"), "{refused}");
    assert_eq!(place.held("west").await.intermediate, held.intermediate);
    place.destroy(&stored).await;
}

/// The fields of a Secret that somebody else holds.
async fn replace_cacerts(place: &Place, cluster: &str, data: Json) {
    let reference = ObjectRef::namespaced(Kind::SECRET, place.namespace(cluster), "cacerts");
    let body = json!({ "data": data });
    place.as_somebody("kubectl-patch", &reference, "application/merge-patch+json", &body).await;
}

#[tokio::test]
async fn a_root_found_in_one_cluster_is_given_to_no_other() {
    let Some(place) = Place::new("ca-evil").await else { return };
    let config = |number: i64| place.config(&["east", "west"], generation(number));
    let stored = place.settle(&config(1), None).await;
    let evil = Evil::new();
    let theirs = crate::ca_found::cacerts_of(&evil.certificate, &evil.key);
    let before = place.held("east").await;
    replace_cacerts(&place, "west", theirs).await;
    place.core.configure(place.provider()).await.unwrap();
    let read = place.core.refresh(CA, &stored).await.unwrap().unwrap();
    let trusted = place.text(&read, Path::root("root_certificates"));
    assert_eq!(trusted, before.issuer.to_pem(), "who reads the roots of the mesh gets those that it trusts");
    for number in [1, 2] {
        place.core.configure(place.provider()).await.unwrap();
        let refused = place.core.plan(CA, Some(config(number)), Some(&stored)).await.expect_err("it is refused");
        let refused = refused.to_string();
        for told in [
            "A cluster has a root of somebody else (clusters[\"west\"])",
            "O=Evil, CN=Evil root",
            evil.fingerprint().as_str(),
            "kubectl-patch",
        ] {
            assert!(refused.contains(told), "{told:?} is missing: {refused}");
        }
    }
    assert_eq!(place.held("east").await.roots, before.roots);
    // The Secret is deleted, as the error says: one apply, and the mesh is clean.
    place
        .api
        .delete(&Delete::new(ObjectRef::namespaced(Kind::SECRET, place.namespace("west"), "cacerts")))
        .await
        .unwrap();
    let clean = place.settle(&config(1), Some(&stored)).await;
    let held = place.held("west").await;
    assert_eq!((held.issuer, held.roots), (before.issuer, before.roots));
    place.destroy(&clean).await;
}

/// A list of the CA, which revokes nothing, until so many days from now.
pub fn revocation_list(certificate: &str, key: &str, days: i64) -> String {
    let signer = rcgen::Issuer::from_ca_cert_pem(certificate, rcgen::KeyPair::from_pem(key).unwrap()).unwrap();
    let end = OffsetDateTime::now_utc() + Duration::days(days);
    let params = rcgen::CertificateRevocationListParams {
        this_update: end - Duration::days(30),
        next_update: end,
        crl_number: rcgen::SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    params.signed_by(&signer).unwrap().pem().unwrap()
}

/// The `ca-crl.pem` that somebody puts into east: shown, kept, and never left without a list of an intermediate that
/// comes.
#[tokio::test]
async fn revocation_lists_are_shown_and_kept_and_refuse_what_they_do_not_know() {
    let Some(place) = Place::new("ca-lists").await else { return };
    let config = |number: i64| place.config(&["east", "west"], generation(number));
    let stored = place.settle(&config(1), None).await;
    let text = |secret: &Object, key: &str| String::from_utf8(secret.data(key).unwrap()).unwrap();
    let root = place.secret("root", "root").await.unwrap();
    let (certificate, key) = (text(&root, "root-1.crt"), text(&root, "root-1.key"));
    let mut lists = vec![revocation_list(&certificate, &key, 9)];
    let put = async |lists: &[String]| {
        let encoded = BASE64_STANDARD.encode(lists.concat());
        let data = if lists.is_empty() { Json::Null } else { encoded.into() };
        replace_cacerts(&place, "east", json!({ "ca-crl.pem": data })).await;
    };
    // Another run: what one has listed, it goes by.
    let refresh = async |stored: &Stored| {
        place.core.configure(place.provider()).await.unwrap();
        place.core.refresh_told(CA, stored).await.unwrap()
    };
    put(&lists).await;
    let planned = place.plan(&config(1), Some(&stored)).await;
    let words = planned.warnings.to_string();
    assert_eq!(planned.action, Action::Nothing, "{:?}", planned.planned);
    let (_, told) = refresh(&stored).await;
    let told = told.to_string();
    for missing in ["istiod refuses this Secret", "Proxies of this cluster refuse those of cluster west"] {
        assert!(told.contains(missing), "{missing:?} is missing: {told} {words}");
    }

    put(&["no list".to_owned()]).await;
    let told = refresh(&stored).await.1.to_string();
    assert!(told.contains("cannot be read as revocation lists"), "{told}");

    for cluster in ["east", "west"] {
        let held = place.secret(cluster, "cacerts").await.unwrap();
        lists.push(revocation_list(&text(&held, "ca-cert.pem"), &text(&held, "ca-key.pem"), 9));
    }
    put(&lists).await;
    let (read, told) = refresh(&stored).await;
    assert!(!told.to_string().contains("revocation list"), "{told}");
    let shown = place.state(&read.unwrap());
    let shown = shown.at(&Path::root("clusters").key("east").attr("revocation_lists")).cloned();
    assert!(format!("{shown:?}").matches("0 revoked, valid until").count() == 3, "{shown:?}");

    // A root beside the one in use needs no list of its own yet; an intermediate of it does.
    let widened = place.apply(place.plan(&config(2), Some(&stored)).await).await;
    assert_eq!(place.phase(&widened), "trust-widened");
    assert_eq!(text(&place.secret("east", "cacerts").await.unwrap(), "ca-crl.pem"), lists.concat(), "they stay");
    let before = place.held("west").await.intermediate;
    let refused = place.core.plan(CA, Some(config(2)), Some(&widened)).await.expect_err("it is refused").to_string();
    assert!(refused.contains("do not cover a new intermediate (clusters[\"east\"])"), "{refused}");
    put(&[]).await;
    let planned = place.plan(&config(2), Some(&widened)).await;
    put(&lists).await;
    let refused = place.core.apply(CA, planned).await.diagnostics.to_string();
    assert!(refused.contains("do not cover a new intermediate (clusters[\"east\"])"), "{refused}");
    assert_eq!(place.held("west").await.intermediate, before, "nothing was written");

    put(&[revocation_list(&certificate, &key, -1)]).await;
    let (_, told) = refresh(&widened).await;
    assert!(told.to_string().contains("A revocation list has ended in east"), "{told}");
    put(&[]).await;
    let switched = place.apply(place.plan(&config(2), Some(&widened)).await).await;
    let settled = place.settle(&config(2), Some(&switched)).await;
    assert_eq!(place.phase(&settled), "settled");
    place.destroy(&settled).await;
}

/// The drill of the guide (*When a key was stolen*): east's intermediate is stolen, and west's `cacerts` replaced. What
/// the plan says, in how many applies the mesh is clean, and what never happened in between.
#[tokio::test]
async fn a_breach_is_cleaned_up_in_four_applies_and_spreads_nowhere() {
    let Some(place) = Place::new("ca-breach").await else { return };
    let config = |number: i64| place.config(&["east", "west"], generation(number));
    let mut stored = place.settle(&config(1), None).await;
    let stolen = Thief::of(&place, "east").await;
    let evil = Evil::new();
    replace_cacerts(&place, "west", crate::ca_found::cacerts_of(&evil.certificate, &evil.key)).await;
    assert!(stolen.is_accepted_by(&place, "east").await, "what was stolen is worth something");
    for number in [1, 2] {
        place.core.configure(place.provider()).await.unwrap();
        let refused = place.core.plan(CA, Some(config(number)), Some(&stored)).await.expect_err("it is refused");
        let refused = refused.to_string();
        assert!(refused.contains(&evil.fingerprint()) && refused.contains("kubectl-patch"), "{refused}");
    }

    // First the Secret of west, as the error says; then the root, by its three steps.
    let replaced = ObjectRef::namespaced(Kind::SECRET, place.namespace("west"), "cacerts");
    place.api.delete(&Delete::new(replaced)).await.unwrap();
    let mut phases = Vec::new();
    for number in [1, 2, 2, 2] {
        assert!(stolen.is_accepted_by(&place, "east").await, "until the last step the old root is trusted");
        let planned = place.plan(&config(number), Some(&stored)).await;
        assert_eq!(planned.action, Action::Update, "{:?}", planned.planned);
        stored = place.apply(planned).await;
        phases.push(place.phase(&stored));
        let held = [place.held("east").await, place.held("west").await];
        for (own, other) in [(&held[0], &held[1]), (&held[1], &held[0])] {
            assert!(own.roots.contains(&other.issuer), "the clusters trust each other all the way: {phases:?}");
            assert!(!own.roots.contains(&evil.certificate), "the other root was given to a cluster: {phases:?}");
        }
    }
    assert_eq!(phases, ["settled", "trust-widened", "issuers-switched", "settled"]);
    for cluster in ["east", "west"] {
        assert!(!stolen.is_accepted_by(&place, cluster).await, "{cluster} accepts what was signed with the stolen key");
    }
    assert_eq!(place.plan(&config(2), Some(&stored)).await.action, Action::Nothing);
    place.destroy(&stored).await;
}

/// Who has read a cluster's `cacerts`, and signs with it.
struct Thief {
    /// A workload's certificate, and the stolen intermediate behind it.
    chain: Vec<Certificate>,
}

impl Thief {
    async fn of(place: &Place, cluster: &str) -> Self {
        let secret = place.secret(cluster, "cacerts").await.unwrap();
        let text = |key: &str| String::from_utf8(secret.data(key).unwrap()).unwrap();
        let intermediate = Certificate::from_pem(&text("ca-cert.pem")).unwrap();
        let signer = rcgen::Issuer::from_ca_cert_pem(
            &text("ca-cert.pem"),
            rcgen::KeyPair::from_pem(&text("ca-key.pem")).unwrap(),
        );
        let mut leaf = rcgen::CertificateParams::default();
        let identity = "spiffe://cluster.local/ns/bank/sa/vault".try_into().unwrap();
        leaf.subject_alt_names.push(rcgen::SanType::URI(identity));
        let leaf = leaf.signed_by(&rcgen::KeyPair::generate().unwrap(), &signer.unwrap()).unwrap();
        Self { chain: vec![Certificate::from_pem(&leaf.pem()).unwrap(), intermediate] }
    }

    async fn is_accepted_by(&self, place: &Place, cluster: &str) -> bool {
        crate::ca_istiod::verifies(&self.chain, &place.held(cluster).await.roots).is_ok()
    }
}

/// After the plan was made: the apply looks again.
#[tokio::test]
async fn a_root_that_comes_after_the_plan_is_refused_by_the_apply() {
    let Some(place) = Place::new("ca-late").await else { return };
    let stored: Stored = place.settle(&place.config(&["east", "west"], json!({})), None).await;
    let planned = place.plan(&place.config(&["east", "west"], generation(2)), Some(&stored)).await;
    let (evil, kept) = (Evil::new(), roots(&place).await);
    replace_cacerts(&place, "west", crate::ca_found::cacerts_of(&evil.certificate, &evil.key)).await;
    let refused = place.core.apply(CA, planned).await.diagnostics.to_string();
    assert!(refused.contains("A cluster has a root of somebody else (clusters[\"west\"])"), "{refused}");
    assert_eq!(roots(&place).await, kept, "no new root was made for it");
    assert_eq!(place.held("east").await.roots.len(), 1);
    place.destroy(&stored).await;
}

/// A running CA's key is not thrown away because its Secret is written otherwise than this provider would.
#[tokio::test]
async fn what_istiod_starts_with_is_taken_over_as_it_is_or_refused() {
    let Some(place) = Place::new("ca-forms").await else { return };
    let theirs = Evil::new();
    let plain = crate::ca_found::cacerts_of(&theirs.certificate, &theirs.key);
    let text = |key: &str| String::from_utf8(BASE64_STANDARD.decode(plain[key].as_str().unwrap()).unwrap()).unwrap();
    let encoded = |text: String| BASE64_STANDARD.encode(text);
    let with_text = |key: &str| json!({ key: encoded(format!("Certificate:\n    Data: 1\n{}", text(key))) });
    let reversed = format!("{}{}", theirs.certificate.to_pem(), text("ca-cert.pem"));
    let bag = format!("Bag Attributes\n    localKeyID: 01\nKey Attributes: <No Attributes>\n{}", text("ca-key.pem"));
    let forms = [
        ("text", with_text("ca-cert.pem")),
        ("text before the roots", with_text("root-cert.pem")),
        ("from the root down", json!({ "cert-chain.pem": encoded(reversed) })),
        ("bag", json!({ "ca-key.pem": encoded(bag) })),
        ("no last line break", json!({ "root-cert.pem": encoded(text("root-cert.pem").trim_end().to_owned()) })),
    ];
    let root = json!({ "store": null, "certificate": theirs.certificate.to_pem() });
    let config = place.config(&["east"], json!({ "root": root, "adopt": true }));
    let reference = ObjectRef::namespaced(Kind::SECRET, place.namespace("east"), "cacerts");
    for (form, change) in forms {
        let mut data = plain.clone();
        merge(&mut data, change);
        crate::ca_found::put(&place, "east", Object::of(&reference).with("data", data)).await;
        replace_cacerts(&place, "east", json!({ "ca-crl.pem": encoded("a list that istiod reads too".to_owned()) }))
            .await;
        let adopted = place.settle(&config, None).await;
        assert_eq!(place.held("east").await.intermediate.to_pem(), text("ca-cert.pem"), "{form}");
        let kept = place.secret("east", "cacerts").await.unwrap();
        assert!(kept.data("ca-crl.pem").is_some(), "{form}: the list of revoked certificates is kept");
        place.destroy(&adopted).await;
    }
    let mut data = plain.clone();
    merge(&mut data, json!({ "ca-key.pem": encoded("# moved to the vault\n".to_owned()) }));
    crate::ca_found::put(&place, "east", Object::of(&reference).with("data", data.clone())).await;
    let refused = place.core.apply(CA, place.plan(&config, None).await).await.diagnostics.to_string();
    assert!(
        refused.contains("The Secret cacerts cannot be read (clusters[\"east\"])")
            && refused.contains("ca-key.pem")
            && refused.contains("line 1"),
        "{refused}"
    );
    assert_eq!(place.secret("east", "cacerts").await.unwrap().value()["data"], data);
    place.api.delete(&Delete::new(reference)).await.unwrap();
}
