//! The module against itself; `tests/integration/pki_judges.rs` asks openssl and webpki.

use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use super::*;

const NOW: OffsetDateTime = datetime!(2026-11-23 12:00 UTC);

struct Ca {
    key: PrivateKey,
    root: Certificate,
}

fn subject(common_name: &str) -> Subject {
    Subject { organization: Some("Istio".into()), common_name: common_name.into(), locality: None }
}

fn ca(algorithm: KeyAlgorithm) -> Ca {
    ca_until(algorithm, NOW + Duration::days(3650))
}

fn ca_until(algorithm: KeyAlgorithm, not_after: OffsetDateTime) -> Ca {
    let key = PrivateKey::generate(algorithm).unwrap();
    let request = RootRequest {
        subject: subject("Root CA"),
        validity: Validity { not_before: NOW - Duration::hours(1), not_after },
        serial: Serial::from_random([1; 16]),
    };
    let root = request.self_sign(&key).unwrap();
    Ca { key, root }
}

struct Intermediate {
    key: PrivateKey,
    chain: Vec<Certificate>,
}

fn intermediate(ca: &Ca, days: i64) -> Intermediate {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let profile = IntermediateProfile {
        subject: Subject { locality: Some("east".into()), ..subject("Intermediate CA") },
        dns_names: vec!["istiod.istio-system.svc".into()],
    };
    let request = profile.request(&key).unwrap();
    let ask = SignIntermediate {
        request: &request,
        profile: &profile,
        validity: Validity { not_before: NOW - Duration::hours(1), not_after: NOW + Duration::days(days) },
        serial: Serial::from_random([2; 16]),
    };
    let chain = LocalSigner { certificate: &ca.root, key: &ca.key }.sign(&ask).unwrap();
    Intermediate { key, chain }
}

fn check(intermediate: &Intermediate, roots: &Bundle, now: OffsetDateTime) -> Vec<Problem> {
    let key = intermediate.key.public_key_info();
    check_intermediate(CheckIntermediate { chain: &intermediate.chain, roots, public_key_info: Some(&key), now })
}

#[test]
fn an_intermediate_has_istio_s_shape() {
    let ca = ca(KeyAlgorithm::EcdsaP256);
    let made = intermediate(&ca, 365);
    let certificate = &made.chain[0];
    assert_eq!(certificate.subject(), "O=Istio, CN=Intermediate CA, L=east");
    assert_eq!(certificate.issuer(), "O=Istio, CN=Root CA");
    assert_eq!(certificate.dns_names(), ["istiod.istio-system.svc"]);
    assert_eq!((certificate.is_ca(), certificate.path_len()), (true, Some(0)));
    assert!(certificate.may_sign_certificates());
    assert_eq!(certificate.serial().to_string(), "42020202020202020202020202020202");
    assert_eq!(certificate.not_after(), NOW + Duration::days(365));
    assert_eq!(check(&made, &Bundle::from_iter([ca.root.clone()]), NOW), []);
    assert_eq!(check_root(&ca.root, NOW), []);
}

#[test]
fn an_intermediate_never_outlives_its_root() {
    let ca = ca_until(KeyAlgorithm::EcdsaP256, NOW + Duration::days(30));
    let made = intermediate(&ca, 365);
    assert_eq!(made.chain[0].not_after(), ca.root.not_after());
}

#[test]
fn faults_are_named() {
    let (ca, other) = (ca(KeyAlgorithm::EcdsaP256), ca_until(KeyAlgorithm::EcdsaP384, NOW + Duration::days(3650)));
    let roots = Bundle::from_iter([ca.root.clone()]);
    let made = intermediate(&ca, 365);
    let foreign = Bundle::from_iter([other.root.clone()]);
    assert!(matches!(check(&made, &foreign, NOW)[..], [Problem::UnknownRoot { .. }]));
    let mixed = Intermediate { key: PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap(), chain: made.chain.clone() };
    assert!(matches!(check(&mixed, &roots, NOW)[..], [Problem::KeyMismatch { .. }]));
    assert!(matches!(check(&made, &roots, NOW + Duration::days(366))[..], [Problem::Expired { .. }]));
    assert!(matches!(
        check(&made, &roots, NOW + Duration::days(4000))[..],
        [Problem::Expired { .. }, Problem::Expired { .. }]
    ));
    assert!(matches!(
        check(&made, &roots, NOW - Duration::days(1))[..],
        [Problem::NotYetValid { .. }, Problem::NotYetValid { .. }]
    ));
    assert!(matches!(check_root(&made.chain[0], NOW)[..], [Problem::NotSelfSigned { .. }]));
}

/// A root that is the mesh's CA itself: nothing is above it that its path length could forbid.
#[test]
fn a_root_of_path_length_0_may_be_the_mesh_s_ca() {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    params.distinguished_name.push(rcgen::DnType::CommonName, "Root CA");
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    (params.not_before, params.not_after) = (NOW - Duration::hours(1), NOW + Duration::days(100));
    let issued = params.self_signed(&key).unwrap();
    let root = Certificate::from_der(issued.der()).unwrap();
    let roots = Bundle::from_iter([root.clone()]);
    let made = Intermediate { key, chain: vec![root.clone()] };
    assert_eq!((check(&made, &roots, NOW), check_root(&root, NOW)), (vec![], vec![]));
    assert!(
        uses(&Ca { key: PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap(), root }, &made).1,
        "webpki takes it"
    );
}

/// Made by `openssl ecparam -name brainpoolP256r1`.
const BRAINPOOL: &str = "\
-----BEGIN CERTIFICATE-----
MIIBuDCCAV6gAwIBAgIUe4UEqu+lnidQgBjhq+aE0qamY60wCgYIKoZIzj0EAwIw
KDENMAsGA1UECgwEVGVzdDEXMBUGA1UEAwwOQnJhaW5wb29sIFJvb3QwIBcNMjYx
MTMwMjMyODA0WhgPMjEyNjExMDYyMzI4MDRaMCgxDTALBgNVBAoMBFRlc3QxFzAV
BgNVBAMMDkJyYWlucG9vbCBSb290MFowFAYHKoZIzj0CAQYJKyQDAwIIAQEHA0IA
BIC2vkm0uTFZRdtDDngyH8LjoqyAOtjNI0ahz82meu6ghMtVoOlKNKvwlWL/J1Ex
844MWyJJM9dUSqA2+DvZbBKjYzBhMB0GA1UdDgQWBBTIAkBczBP39ZaZpiUM9D9i
vffBUTAfBgNVHSMEGDAWgBTIAkBczBP39ZaZpiUM9D9ivffBUTAPBgNVHRMBAf8E
BTADAQH/MA4GA1UdDwEB/wQEAwIBBjAKBggqhkjOPQQDAgNIADBFAiEAqLytiPV0
qrl0pFWAuxNIOwRD2K6WN7hn/Nk4iVsgvOYCICGlN8ukg6GOF531i6xNfmrhiqSO
o8ZLyq4ph2yx/2FR
-----END CERTIFICATE-----
";

#[test]
fn a_curve_that_no_part_of_a_mesh_knows_is_named() {
    let root = Certificate::from_pem(BRAINPOOL).unwrap();
    let problems = check_root(&root, root.not_before());
    assert!(
        matches!(&problems[..], [Problem::UnknownCurve { curve, .. }] if curve == "1.3.36.3.3.2.8.1.1.7"),
        "{problems:?}"
    );
    // Nor can what it signed be verified: that is no other root's for it.
    let check = CheckIntermediate {
        chain: std::slice::from_ref(&root),
        public_key_info: None,
        roots: &Bundle::from_iter([root.clone()]),
        now: root.not_before(),
    };
    let problems = check_intermediate(check);
    assert!(problems.iter().all(|problem| matches!(problem, Problem::UnknownCurve { .. })), "{problems:?}");
}

#[test]
fn a_chain_longer_than_pathlen_allows_is_refused() {
    let ca = ca(KeyAlgorithm::EcdsaP256);
    let first = intermediate(&ca, 365);
    // Pathlen 0 forbids what this signs.
    let below = intermediate(&Ca { key: first.key, root: first.chain[0].clone() }, 100);
    assert_eq!(below.chain.len(), 2, "the signer belongs into the chain");
    let problems = check(&below, &Bundle::from_iter([ca.root]), NOW);
    assert!(matches!(problems[..], [Problem::PathLength { allowed: 0, needed: 1, .. }]), "{problems:?}");
}

#[test]
fn a_root_at_the_end_of_the_chain_changes_nothing() {
    let ca = ca(KeyAlgorithm::EcdsaP256);
    let mut made = intermediate(&ca, 365);
    made.chain.push(ca.root.clone());
    let roots = Bundle::from_iter([ca.root.clone()]);
    assert_eq!(check(&made, &roots, NOW), []);
    assert_eq!(root_of(&made.chain, &roots), Some(&ca.root));
}

#[test]
fn renewal_is_due_inside_the_window() {
    let ca = ca(KeyAlgorithm::EcdsaP256);
    let made = intermediate(&ca, 100);
    let due = |now| renewal_due(&made.chain[0], Duration::days(30), now);
    assert!(!due(NOW + Duration::days(69)));
    assert!(due(NOW + Duration::days(70)));
    assert!(due(NOW + Duration::seconds(1_000_000_000)));
    assert!(renewal_due(&made.chain[0], Duration::MAX, NOW));
}

#[test]
fn bundles_are_sets_that_keep_their_order() {
    let (a, b, c) =
        (ca(KeyAlgorithm::EcdsaP256).root, ca(KeyAlgorithm::EcdsaP256).root, ca(KeyAlgorithm::EcdsaP256).root);
    let bundle = |roots: &[&Certificate]| roots.iter().copied().cloned().collect::<Bundle>();
    let ab = bundle(&[&a, &b, &a]);
    assert_eq!(ab.len(), 2);
    assert_eq!(ab, bundle(&[&b, &a]));
    assert_eq!(ab.relation(&bundle(&[&a])), Relation::Wider);
    assert_eq!(bundle(&[&b]).relation(&ab), Relation::Narrower);
    assert_eq!(ab.relation(&bundle(&[&b, &c])), Relation::Overlapping);
    assert_eq!(ab.relation(&bundle(&[&c])), Relation::Disjoint);
    assert_eq!(Bundle::from_pem(&ab.to_pem()).unwrap().fingerprints(), [a.fingerprint(), b.fingerprint()]);
    let twice = ab.to_pem_with_duplicate(&b);
    assert_ne!(twice, ab.to_pem());
    assert_eq!(Bundle::from_pem(&twice).unwrap(), ab);
}

#[test]
fn requests_are_read_back_and_forged_ones_refused() {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP384).unwrap();
    let profile = IntermediateProfile { subject: subject("Intermediate CA"), dns_names: vec![] };
    let request = profile.request(&key).unwrap();
    let read = SigningRequest::from_pem(&request.to_pem()).unwrap();
    assert_eq!(read.public_key_info(), key.public_key_info());
    let mut forged = pem::parse(&request.to_pem()).unwrap()[0].der.to_vec();
    *forged.last_mut().unwrap() ^= 1;
    assert!(matches!(SigningRequest::from_der(&forged), Err(IssueError::Request)));
}

#[test]
fn fingerprints_read_both_spellings() {
    let root = ca(KeyAlgorithm::EcdsaP256).root;
    let plain = root.fingerprint().to_string();
    let colons = plain
        .as_bytes()
        .chunks(2)
        .map(|pair| String::from_utf8_lossy(pair).to_uppercase())
        .collect::<Vec<_>>()
        .join(":");
    assert_eq!(Fingerprint::parse(&plain), Some(root.fingerprint()));
    assert_eq!(Fingerprint::parse(&colons), Some(root.fingerprint()));
    assert_eq!(Fingerprint::parse("ab"), None);
}

#[test]
fn certificates_are_refused_with_their_place() {
    let root = ca(KeyAlgorithm::EcdsaP256).root;
    let key = "-----BEGIN PRIVATE KEY-----\nAAEC\n-----END PRIVATE KEY-----\n";
    let text = root.to_pem() + key;
    let line = root.to_pem().lines().count() + 1;
    assert_eq!(
        Certificate::all_from_pem(&text).unwrap_err(),
        CertificateError::NotACertificate { label: "PRIVATE KEY".into(), line }
    );
    assert_eq!(Certificate::from_pem(&(root.to_pem() + &root.to_pem())).unwrap_err(), CertificateError::Several(2));
    assert_eq!(
        Certificate::from_pem("-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n").unwrap_err(),
        CertificateError::Malformed { line: 1 }
    );
}

/// An intermediate that a signer outside made in a way of its own.
fn signed_as(ca: &Ca, change: impl FnOnce(&mut rcgen::CertificateParams)) -> Intermediate {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    params.distinguished_name.push(rcgen::DnType::CommonName, "Signed outside");
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    (params.not_before, params.not_after) = (NOW - Duration::hours(1), NOW + Duration::days(100));
    change(&mut params);
    let issuer = rcgen::Issuer::from_ca_cert_der(&ca.root.der().into(), &ca.key).unwrap();
    let issued = params.signed_by(&key, &issuer).unwrap();
    Intermediate { chain: vec![Certificate::from_der(issued.der()).unwrap()], key }
}

/// What our own checks say of a CA, and whether a verifier takes what it signs.
fn uses(ca: &Ca, made: &Intermediate) -> (Vec<Problem>, bool) {
    let names = MeshNames { dns: vec!["istiod.istio-system.svc".into()], trust_domain: "cluster.local".into() };
    let roots = Bundle::from_iter([ca.root.clone()]);
    let trial = Probe { chain: &made.chain, key: &made.key, roots: &roots, names: &names, now: NOW };
    let taken = probe(trial).unwrap();
    (check_use(&made.chain, &roots, &names), taken.is_none())
}

fn permitting(dns: &str) -> rcgen::NameConstraints {
    let permitted_subtrees = vec![rcgen::GeneralSubtree::DnsName(dns.into())];
    rcgen::NameConstraints { permitted_subtrees, excluded_subtrees: vec![] }
}

/// nameConstraints that permit, or exclude, one subtree of URIs, as DER.
fn limiting_uris(host: &str, excluded: bool) -> rcgen::CustomExtension {
    let tagged = |tag: u8, content: &[u8]| [&[tag, content.len() as u8], content].concat();
    let subtree = tagged(0x30, &tagged(0x86, host.as_bytes()));
    let content = tagged(0x30, &tagged(if excluded { 0xa1 } else { 0xa0 }, &subtree));
    let mut extension = rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 30], content);
    extension.set_criticality(true);
    extension
}

#[test]
fn what_a_mesh_s_ca_signs_is_taken_whatever_key_it_has() {
    for algorithm in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::EcdsaP384] {
        let ca = ca(algorithm);
        assert_eq!(uses(&ca, &intermediate(&ca, 365)), (vec![], true));
        assert_eq!(uses(&ca, &signed_as(&ca, |_| ())), (vec![], true));
        let permitted = signed_as(&ca, |params| params.name_constraints = Some(permitting("istio-system.svc")));
        assert_eq!(uses(&ca, &permitted), (vec![], true));
        let any = signed_as(&ca, |params| params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::Any]);
        assert_eq!(uses(&ca, &any).0, []);
        let ids = signed_as(&ca, |params| params.custom_extensions.push(limiting_uris("cluster.local", false)));
        assert_eq!(uses(&ca, &ids), (vec![], true));
    }
}

#[test]
fn a_ca_that_may_not_sign_what_istiod_signs_is_refused() {
    let ca = ca(KeyAlgorithm::EcdsaP256);
    let of = |change: &dyn Fn(&mut rcgen::CertificateParams)| uses(&ca, &signed_as(&ca, change));
    let (problems, taken) = of(&|params| params.name_constraints = Some(permitting("example.com")));
    assert!(
        matches!(&problems[..], [Problem::NameConstraints { names, .. }] if names.contains("istiod.istio-system.svc"))
    );
    assert!(!taken);
    for (host, excluded) in
        [("example.com", false), ("cluster.local", true), (".cluster.local", false), ("local", false), ("", false)]
    {
        let (problems, _) = of(&|params| params.custom_extensions.push(limiting_uris(host, excluded)));
        assert!(
            matches!(&problems[..], [Problem::NameConstraints { names, .. }] if names.contains("cluster.local")),
            "{host}"
        );
    }
    let (problems, taken) = of(&|params| params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth]);
    assert!(matches!(&problems[..], [Problem::Purpose { lacks, .. }] if lacks == "clientAuth"), "{problems:?}");
    assert!(!taken);
    let (problems, taken) = of(&|params| {
        let mut unknown = rcgen::CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
        unknown.set_criticality(true);
        params.custom_extensions.push(unknown);
    });
    assert!(matches!(&problems[..], [Problem::UnknownCritical { oid, .. }] if oid == "1.3.6.1.4.1.99999.1"));
    assert!(!taken);
}

/// The trial is a judge of its own: it refuses a chain with a hole, and a CA whose root is another.
#[test]
fn a_trial_is_refused_where_the_chain_does_not_lead_to_a_root() {
    let (ca, other) = (ca(KeyAlgorithm::EcdsaP256), ca(KeyAlgorithm::EcdsaP256));
    assert!(!uses(&other, &intermediate(&ca, 100)).1);
}
