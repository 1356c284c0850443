//! A workload as Istio's agent makes it: a key, a service account's token, and the certificate that a real istiod
//! issues for them over its real API.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use lab::Cluster;
use rcgen::{CertificateParams, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, RootCertStore};
use terraform_provider_mesh::pki::Certificate;

/// A certificate, what is between it and the root, and its key.
pub struct Workload {
    pub chain: Vec<Certificate>,
    pub key: KeyPair,
}

/// The certificate that a cluster's istiod issues to a service account.
pub async fn workload(cluster: &Cluster, namespace: &str, account: &str) -> Result<Workload, String> {
    let token = token_of(cluster, namespace, account)?;
    issue(port_of(cluster)?, &token, None).await
}

/// A service account, and where it is.
pub struct Account<'a> {
    pub cluster: &'a Cluster,
    pub namespace: &'a str,
    pub name: &'a str,
}

/// The same where the istiod is in another cluster, which knows the account's cluster by this id.
pub async fn issued_by(istiod: &Cluster, account: &Account<'_>, id: &str) -> Result<Workload, String> {
    let token = token_of(account.cluster, account.namespace, account.name)?;
    issue(port_of(istiod)?, &token, Some(id)).await
}

fn token_of(cluster: &Cluster, namespace: &str, account: &str) -> Result<String, String> {
    let token = cluster.kubectl(&["create", "token", account, "-n", namespace, "--audience=istio-ca"]);
    token.map(|token| token.trim().to_owned()).map_err(|error| error.to_string())
}

fn port_of(cluster: &Cluster) -> Result<u16, String> {
    let port = cluster.istiods().first().and_then(|istiod| istiod.port(15012));
    port.ok_or_else(|| "there is no istiod".to_owned())
}

/// `istio.v1.auth.IstioCertificateService/CreateCertificate`, spoken by hand: one message each way. Istio's agent names
/// the cluster of its token, so that an istiod knows whom to ask about it; without, it asks its own.
pub async fn issue(port: u16, token: &str, cluster: Option<&str>) -> Result<Workload, String> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI("spiffe://cluster.local/ns/default/sa/default".try_into().unwrap())];
    let csr = params.serialize_request(&key).unwrap().pem().unwrap();

    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.map_err(|error| error.to_string())?;
    let name = ServerName::try_from("istiod.istio-system.svc").unwrap();
    let stream = tokio_rustls::TlsConnector::from(Arc::new(client_config())).connect(name, stream);
    let stream = stream.await.map_err(|error| format!("TLS: {error}"))?;
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    tokio::spawn(connection);

    // Field 1, `csr`, a string.
    let mut message = vec![0x0a];
    varint(&mut message, csr.len());
    message.extend_from_slice(csr.as_bytes());
    let mut body = vec![0];
    body.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    body.extend_from_slice(&message);
    let request =
        http::Request::post("https://istiod.istio-system.svc/istio.v1.auth.IstioCertificateService/CreateCertificate")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("authorization", format!("Bearer {token}"))
            .header("clusterid", cluster.unwrap_or_default())
            .body(Full::new(Bytes::from(body)))
            .unwrap();
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let headers = response.headers().clone();
    let collected = response.into_body().collect().await.map_err(|error| error.to_string())?;
    let status = |name: &str| {
        let trailer = collected.trailers().and_then(|trailers| trailers.get(name)).or(headers.get(name));
        trailer.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    if status("grpc-status") != "0" {
        return Err(format!("grpc status {} {}", status("grpc-status"), status("grpc-message")));
    }
    let body = collected.to_bytes();
    let mut chain = Vec::new();
    let mut rest = body.get(5..).unwrap_or_default();
    // Field 1, `cert_chain`, repeated strings: the leaf first, the roots last.
    while let Some((0x0a, tail)) = rest.split_first().map(|(tag, tail)| (*tag, tail)) {
        let (length, tail) = read_varint(tail);
        let text = std::str::from_utf8(&tail[..length]).map_err(|error| error.to_string())?;
        chain.extend(Certificate::all_from_pem(text).map_err(|error| error.to_string())?);
        rest = &tail[length..];
    }
    Ok(Workload { chain, key })
}

/// The server's certificate is no matter here: what it issues is judged.
fn client_config() -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    config.dangerous().set_certificate_verifier(Arc::new(Anyone));
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

#[derive(Debug)]
pub struct Anyone;

impl rustls::client::danger::ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

fn varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn read_varint(bytes: &[u8]) -> (usize, &[u8]) {
    let end = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap_or(0);
    let value = bytes[..=end].iter().rev().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7f));
    (value, &bytes[end + 1..])
}
