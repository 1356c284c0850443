//! Handshakes with servers that are real, over loopback.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use super::*;

struct Authority(Issuer<'static, KeyPair>, Certificate);

fn authority(name: &str) -> Authority {
    let (key, mut params) = (KeyPair::generate().unwrap(), CertificateParams::default());
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = Certificate::from_der(params.self_signed(&key).unwrap().der()).unwrap();
    Authority(Issuer::new(params, key), root)
}

impl Authority {
    fn identity(&self, account: &str) -> Certified {
        let (key, mut params) = (KeyPair::generate().unwrap(), CertificateParams::default());
        params.distinguished_name = DistinguishedName::new();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let name = format!("spiffe://cluster.local/ns/a/sa/{account}");
        params.subject_alt_names = vec![SanType::URI(name.as_str().try_into().unwrap())];
        let leaf = params.signed_by(&key, &self.0).unwrap();
        Certified { chain: vec![Certificate::from_der(leaf.der()).unwrap()], roots: vec![self.1.clone()], key }
    }
}

/// Takes clients of `trusted`, and shows a certificate of `own`.
fn server(
    own: &Certified,
    trusted: &Authority,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(trusted.1.der().to_vec())).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let chain = own.chain.iter().map(|part| CertificateDer::from(part.der().to_vec())).collect();
    let key = rustls::pki_types::PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.key.serialize_der()));
    let config = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let mut config = config.with_client_cert_verifier(verifier).with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"istio".to_vec()];
    Arc::new(config)
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// What a client is told that is of one authority, by a server that trusts another or the same.
async fn met(
    client: &Authority,
    own: &Authority,
    trusted: &Authority,
    version: &'static rustls::SupportedProtocolVersion,
) -> Spoken {
    let (listener, port) = listen().await;
    let acceptor = tokio_rustls::TlsAcceptor::from(server(&own.identity("server"), trusted, &[version]));
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        if let Ok(mut stream) = acceptor.accept(stream).await {
            let _ = stream.read(&mut [0; 1]).await;
        }
    });
    let stream = dial("127.0.0.1", port).await.unwrap();
    speak(stream, "outbound_.80_._.a.b.svc.cluster.local", &client.identity("client")).await
}

#[tokio::test]
async fn both_sides_judge_and_the_identity_is_seen() {
    let (ours, other) = (authority("ours"), authority("other"));
    let now = OffsetDateTime::now_utc();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let spoken = met(&ours, &ours, &ours, version).await;
        assert_eq!(spoken.outcome, Outcome::Accepted);
        assert_eq!(spoken.shown[0].uris(), ["spiffe://cluster.local/ns/a/sa/server"]);
        assert_eq!(vouched(&spoken.shown, std::slice::from_ref(&ours.1), now), Ok(()));
        // The server's own is of a root that the client does not know.
        let spoken = met(&ours, &other, &ours, version).await;
        assert_eq!(spoken.outcome, Outcome::Accepted);
        assert!(vouched(&spoken.shown, std::slice::from_ref(&ours.1), now).unwrap_err().contains("no root among them"));
        // The client's is of a root that the server does not know.
        let spoken = met(&ours, &ours, &other, version).await;
        assert!(matches!(&spoken.outcome, Outcome::Refused(alert) if alert == "UnknownCA"), "{spoken:?}");
    }
}

#[tokio::test]
async fn what_is_no_tls_is_told_apart() {
    let ours = authority("ours");
    let answers: [(&str, Outcome); 2] = [("", Outcome::Closed), ("HTTP/1.1 400 Bad Request\r\n\r\n", Outcome::NotTls)];
    for (answer, expected) in answers {
        let (listener, port) = listen().await;
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut hello = [0; 4096];
            let _ = stream.read(&mut hello).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        let stream = dial("127.0.0.1", port).await.unwrap();
        let spoken = speak(stream, "outbound_.80_._.a.b.svc.cluster.local", &ours.identity("client")).await;
        assert_eq!((spoken.outcome, spoken.shown.len()), (expected, 0), "{answer:?}");
    }
}

#[tokio::test]
async fn who_says_nothing_is_not_waited_for() {
    let ours = authority("ours");
    let (listener, port) = listen().await;
    let held = tokio::spawn(async move { listener.accept().await });
    let stream = dial("127.0.0.1", port).await.unwrap();
    let spoken = speak(stream, "outbound_.80_._.a.b.svc.cluster.local", &ours.identity("client")).await;
    assert_eq!(spoken.outcome, Outcome::Silent);
    drop(held);
    let (listener, port) = listen().await;
    drop(listener);
    assert!(dial("127.0.0.1", port).await.unwrap_err().contains("refused"));
}
