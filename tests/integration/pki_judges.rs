//! Certificates before judges nobody here wrote: openssl (what administrators look with) and webpki (what ztunnel
//! verifies with).

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, UnixTime};
use terraform_provider_mesh::pki::*;
use time::{Duration, OffsetDateTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};

#[test]
fn every_pair_of_algorithms_verifies() {
    let Some(bench) = Bench::new("every_pair_of_algorithms_verifies") else { return };
    for root in KeyAlgorithm::ALL {
        let ca = Ca::generate(root);
        for algorithm in KeyAlgorithm::ALL {
            let made = ca.issue(algorithm);
            bench.verifies(&ca.root, &made.chain, &made.key);
            webpki_verifies(&ca.root, &made.chain, &made.key);
        }
    }
}

#[test]
fn openssl_reads_istio_s_shape() {
    let Some(bench) = Bench::new("openssl_reads_istio_s_shape") else { return };
    let ca = Ca::generate(KeyAlgorithm::EcdsaP256);
    let made = ca.issue(KeyAlgorithm::EcdsaP256);
    let file = bench.write("ca.pem", &made.chain[0].to_pem());
    let text = bench.openssl(&["x509", "-noout", "-text", "-in", &file]);
    for line in [
        "Issuer: O = Istio, CN = Root CA",
        "Subject: O = Istio, CN = Intermediate CA, L = east",
        "CA:TRUE, pathlen:0",
        "X509v3 Basic Constraints: critical",
        "X509v3 Key Usage: critical",
        "Digital Signature, Non Repudiation, Key Encipherment, Certificate Sign, CRL Sign\n",
        "DNS:istiod.istio-system.svc",
        "X509v3 Authority Key Identifier",
        "X509v3 Subject Key Identifier",
    ] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    let fingerprint = bench.openssl(&["x509", "-noout", "-fingerprint", "-sha256", "-in", &file]);
    assert_eq!(Fingerprint::parse(fingerprint.trim().split_once('=').unwrap().1), Some(made.chain[0].fingerprint()));
    let serial = bench.openssl(&["x509", "-noout", "-serial", "-in", &file]);
    assert_eq!(serial.trim().to_lowercase(), format!("serial={}", made.chain[0].serial()));
}

#[test]
fn roots_and_keys_made_by_openssl_are_taken() {
    let Some(bench) = Bench::new("roots_and_keys_made_by_openssl_are_taken") else { return };
    let keys: [(&str, &[&str]); 6] = [
        ("pkcs1.key", &["genrsa", "-traditional", "-out", "pkcs1.key", "2048"]),
        ("pkcs8.key", &["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072", "-out", "pkcs8.key"]),
        ("sec1.key", &["ecparam", "-genkey", "-name", "prime256v1", "-out", "sec1.key"]),
        ("sec1-bare.key", &["ecparam", "-genkey", "-noout", "-name", "secp384r1", "-out", "sec1-bare.key"]),
        ("ec8.key", &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "ec8.key"]),
        ("ec8-384.key", &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out", "ec8-384.key"]),
    ];
    // Names as corporate directories have them: several values of one kind, and others than UTF8String.
    let subjects = [
        "/O=Istio/CN=Root CA",
        "/DC=com/DC=example/OU=a/OU=b/CN=Root",
        "/C=DE/emailAddress=ca@example.com/CN=Wurzel Ü",
    ];
    for (index, (file, command)) in keys.iter().enumerate() {
        bench.openssl(command);
        let subject = subjects[index % subjects.len()];
        bench.openssl(&[
            "req", "-x509", "-new", "-utf8", "-key", file, "-days", "3650", "-subj", subject, "-addext", USAGE, "-out",
            "root.pem",
        ]);
        let key = PrivateKey::from_pem(&bench.read(file)).unwrap();
        let root = Certificate::from_pem(&bench.read("root.pem")).unwrap();
        assert_eq!(check_root(&root, OffsetDateTime::now_utc()), [], "{file}");
        assert_eq!(key.public_key_info(), root.public_key_info(), "{file}");
        let made = Ca { key, root: root.clone() }.issue(KeyAlgorithm::EcdsaP256);
        bench.verifies(&root, &made.chain, &made.key);
        webpki_verifies(&root, &made.chain, &made.key);
    }
}

#[test]
fn an_intermediate_signed_outside_is_taken() {
    let Some(bench) = Bench::new("an_intermediate_signed_outside_is_taken") else { return };
    bench.openssl(&["ecparam", "-genkey", "-noout", "-name", "secp521r1", "-out", "root.key"]);
    bench.openssl(&[
        "req", "-x509", "-new", "-sha512", "-key", "root.key", "-days", "3650", "-subj", "/CN=HSM", "-addext", USAGE,
        "-out", "root.pem",
    ]);
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let request = profile().request(&key).unwrap();
    let file = bench.write("request.pem", &request.to_pem());
    bench.openssl(&["req", "-verify", "-noout", "-in", &file]);
    let text = bench.openssl(&["req", "-noout", "-text", "-in", &file]);
    assert!(text.contains("CA:TRUE, pathlen:0") && text.contains("DNS:istiod.istio-system.svc"), "{text}");
    bench.openssl(&[
        "x509",
        "-req",
        "-sha512",
        "-in",
        &file,
        "-CA",
        "root.pem",
        "-CAkey",
        "root.key",
        "-CAcreateserial",
        "-days",
        "100",
        "-copy_extensions",
        "copy",
        "-out",
        "signed.pem",
    ]);
    let root = Certificate::from_pem(&bench.read("root.pem")).unwrap();
    let chain = Certificate::all_from_pem(&bench.read("signed.pem")).unwrap();
    let (roots, public) = (Bundle::from_iter([root.clone()]), key.public_key_info());
    let now = OffsetDateTime::now_utc();
    let check = CheckIntermediate { chain: &chain, roots: &roots, public_key_info: Some(&public), now };
    assert_eq!(check_intermediate(check), []);
    let other = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap().public_key_info();
    let problems = check_intermediate(CheckIntermediate { public_key_info: Some(&other), ..check });
    assert!(matches!(problems[..], [Problem::KeyMismatch { .. }]), "{problems:?}");
    bench.verifies(&root, &chain, &key);
}

#[test]
fn weak_and_unfit_material_is_refused() {
    let Some(bench) = Bench::new("weak_and_unfit_material_is_refused") else { return };
    bench.openssl(&["genrsa", "-traditional", "-out", "weak.key", "1024"]);
    bench
        .openssl(&["req", "-x509", "-new", "-key", "weak.key", "-days", "10", "-subj", "/CN=weak", "-out", "weak.pem"]);
    assert_eq!(PrivateKey::from_pem(&bench.read("weak.key")).unwrap_err(), KeyError::Weak);
    let weak = Certificate::from_pem(&bench.read("weak.pem")).unwrap();
    let problems = check_root(&weak, OffsetDateTime::now_utc());
    assert!(
        problems.contains(&Problem::WeakKey { subject: "CN=weak".into(), key: KeyKind::Rsa(1024) }),
        "{problems:?}"
    );

    // Go reads neither a serial number below zero nor key ids that are critical.
    for (name, arguments, problem) in [
        ("negative", ["-set_serial", "-5"], Problem::NegativeSerial { subject: "CN=negative".into() }),
        (
            "critical",
            ["-addext", "subjectKeyIdentifier=critical,hash"],
            Problem::UnknownCritical { subject: "CN=critical".into(), oid: "2.5.29.14".into() },
        ),
    ] {
        let (key, subject, out) = (format!("{name}.key"), format!("/CN={name}"), format!("{name}.pem"));
        bench.openssl(&["ecparam", "-genkey", "-noout", "-name", "prime256v1", "-out", &key]);
        let made =
            ["req", "-x509", "-new", "-key", &key, "-days", "10", "-subj", &subject, "-addext", USAGE, "-out", &out];
        bench.openssl(&[&made[..], &arguments].concat());
        let root = Certificate::from_pem(&bench.read(&out)).unwrap();
        let mut problems = check_root(&root, OffsetDateTime::now_utc());
        problems.extend(check_limits(&root, &MeshNames { dns: Vec::new(), trust_domain: "cluster.local".into() }));
        assert_eq!(problems, [problem]);
    }

    bench.openssl(&["genpkey", "-algorithm", "ED25519", "-out", "ed.key"]);
    assert!(matches!(PrivateKey::from_pem(&bench.read("ed.key")), Err(KeyError::Unusable { .. })));
    bench.openssl(&["genrsa", "-traditional", "-aes128", "-passout", "pass:x", "-out", "old.key", "2048"]);
    assert!(matches!(
        PrivateKey::from_pem(&bench.read("old.key")),
        Err(KeyError::Pem(pem::PemError::Header { line: 2, .. }))
    ));
    bench.openssl(&["genpkey", "-algorithm", "RSA", "-aes128", "-pass", "pass:x", "-out", "new.key"]);
    assert_eq!(PrivateKey::from_pem(&bench.read("new.key")).unwrap_err(), KeyError::Encrypted);

    bench.openssl(&["ecparam", "-genkey", "-noout", "-name", "prime256v1", "-out", "leaf.key"]);
    bench.openssl(&[
        "req",
        "-x509",
        "-new",
        "-key",
        "leaf.key",
        "-days",
        "10",
        "-subj",
        "/CN=leaf",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-addext",
        "keyUsage=digitalSignature",
        "-out",
        "leaf.pem",
    ]);
    let leaf = Certificate::from_pem(&bench.read("leaf.pem")).unwrap();
    let problems = check_root(&leaf, OffsetDateTime::now_utc());
    let subject = || "CN=leaf".to_owned();
    assert_eq!(problems, [Problem::NotCa { subject: subject() }, Problem::MayNotSign { subject: subject() }]);
}

/// What `openssl verify -x509_strict` wants of a root.
const USAGE: &str = "keyUsage=critical,keyCertSign,cRLSign";

struct Ca {
    key: PrivateKey,
    root: Certificate,
}

struct Intermediate {
    key: PrivateKey,
    chain: Vec<Certificate>,
}

impl Ca {
    fn generate(algorithm: KeyAlgorithm) -> Self {
        let key = PrivateKey::generate(algorithm).unwrap();
        let now = OffsetDateTime::now_utc();
        let request = RootRequest {
            subject: Subject { organization: Some("Istio".into()), common_name: "Root CA".into(), locality: None },
            validity: Validity { not_before: now - Duration::hours(1), not_after: now + Duration::days(3650) },
            serial: Serial::from_random([0xa1; 16]),
        };
        let root = request.self_sign(&key).unwrap();
        Self { key, root }
    }

    fn issue(&self, algorithm: KeyAlgorithm) -> Intermediate {
        let key = PrivateKey::generate(algorithm).unwrap();
        let (profile, now) = (profile(), OffsetDateTime::now_utc());
        let ask = SignIntermediate {
            request: &profile.request(&key).unwrap(),
            profile: &profile,
            validity: Validity { not_before: now - Duration::hours(1), not_after: now + Duration::days(365) },
            serial: Serial::from_random([0xb2; 16]),
        };
        let chain = LocalSigner { certificate: &self.root, key: &self.key }.sign(&ask).unwrap();
        let roots = Bundle::from_iter([self.root.clone()]);
        let public = key.public_key_info();
        let check = CheckIntermediate { chain: &chain, roots: &roots, public_key_info: Some(&public), now };
        assert_eq!(check_intermediate(check), []);
        Intermediate { key, chain }
    }
}

fn profile() -> IntermediateProfile {
    IntermediateProfile {
        subject: Subject {
            organization: Some("Istio".into()),
            common_name: "Intermediate CA".into(),
            locality: Some("east".into()),
        },
        dns_names: vec!["istiod.istio-system.svc".into()],
    }
}

const WORKLOAD: &str = "spiffe://cluster.local/ns/shop/sa/cart";

/// A certificate as istiod issues it to a workload, made without this project's code.
fn workload(ca: &Certificate, key: &PrivateKey) -> CertificateDer<'static> {
    let signer = KeyPair::from_pem(&key.to_pem()).unwrap();
    let issuer = Issuer::from_ca_cert_der(&ca.der().into(), signer).unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(WORKLOAD.try_into().unwrap())];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::hours(1);
    params.not_after = now + Duration::days(1);
    params.use_authority_key_identifier_extension = true;
    let leaf_key = KeyPair::generate().unwrap();
    params.signed_by(&leaf_key, &issuer).unwrap().into()
}

fn webpki_verifies(root: &Certificate, chain: &[Certificate], key: &PrivateKey) {
    let leaf = workload(&chain[0], key);
    let root = CertificateDer::from(root.der());
    let anchors = [anchor_from_trusted_cert(&root).unwrap()];
    let intermediates: Vec<CertificateDer<'_>> = chain.iter().map(|ca| CertificateDer::from(ca.der())).collect();
    let leaf = EndEntityCert::try_from(&leaf).unwrap();
    for usage in [KeyUsage::server_auth(), KeyUsage::client_auth()] {
        leaf.verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, &intermediates, UnixTime::now(), usage, None, None)
            .unwrap();
    }
    assert_eq!(leaf.valid_uri_names().collect::<Vec<_>>(), [WORKLOAD]);
}

/// A folder to run openssl in.
struct Bench(tempfile::TempDir);

impl Bench {
    /// `None`, said aloud, where there is no openssl; in CI that is a failure.
    fn new(test: &str) -> Option<Self> {
        if Command::new("openssl").arg("version").output().is_err() {
            assert!(std::env::var_os("CI").is_none(), "{test}: openssl is needed in CI");
            println!("{test}: skipped, there is no openssl");
            return None;
        }
        Some(Self(tempfile::tempdir().unwrap()))
    }

    fn verifies(&self, root: &Certificate, chain: &[Certificate], key: &PrivateKey) {
        let leaf = Certificate::from_der(&workload(&chain[0], key)).unwrap();
        let root = self.write("judge-root.pem", &root.to_pem());
        let chain: String = chain.iter().map(Certificate::to_pem).collect();
        let chain = self.write("judge-chain.pem", &chain);
        let leaf = self.write("judge-leaf.pem", &leaf.to_pem());
        self.openssl(&["verify", "-x509_strict", "-CAfile", &root, "-untrusted", &chain, &leaf]);
    }

    fn openssl(&self, arguments: &[&str]) -> String {
        let Output { status, stdout, stderr } =
            Command::new("openssl").args(arguments).current_dir(self.0.path()).output().unwrap();
        let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        assert!(status.success(), "openssl {arguments:?}: {stdout}{stderr}");
        stdout.into_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new(self.0.path()).join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).unwrap();
        name.to_owned()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }
}
