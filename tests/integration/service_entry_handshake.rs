//! What Envoy does at both ends of a connection between meshes, done with rustls: the client dials with the SNI that
//! its istiod told it and accepts the names that it was told; a gateway lets pass what it has a filter chain for; the
//! server shows its certificate and checks the client's.

use std::collections::BTreeSet;
use std::sync::Arc;

use lab::Cluster;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::Acceptor;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme};
use terraform_provider_mesh::pki::{Bundle, Certificate};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::{LazyConfigAcceptor, TlsConnector};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::support::workload::{Workload, workload};
use crate::support::xds::Socket;

/// A workload and the roots that its istiod handed it.
pub struct Peer {
    pub workload: Workload,
    pub roots: Bundle,
}

impl Peer {
    pub async fn of(cluster: &Cluster, namespace: &str, account: &str) -> Self {
        let map = cluster.get(&["configmap", "istio-ca-root-cert", "-n", namespace]).unwrap().unwrap();
        let roots = Bundle::from_pem(map["data"]["root-cert.pem"].as_str().unwrap()).unwrap();
        Self { workload: workload(cluster, namespace, account).await.unwrap(), roots }
    }

    /// Names that its certificate holds.
    pub fn identities(&self) -> &[String] {
        self.workload.chain[0].uris()
    }

    fn certificates(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = self.workload.chain.iter().map(|part| CertificateDer::from(part.der().to_vec()));
        (chain.collect(), PrivatePkcs8KeyDer::from(self.workload.key.serialize_der()).into())
    }
}

/// The server's end, with the gateway before it.
#[derive(Clone, Copy)]
pub struct Exporter<'a> {
    pub peer: &'a Peer,
    /// SNIs that the gateway has a filter chain for.
    pub admitted: &'a BTreeSet<String>,
    /// What the names of clients may begin with.
    pub accepted: &'a BTreeSet<String>,
}

/// A connection over which something is said and answered; the client's error where there is one.
pub async fn handshake(client: &Peer, socket: &Socket, exporter: &Exporter<'_>) -> Result<(), String> {
    let Socket::Tls { sni, sans, alpn, .. } = socket else { return Err("no TLS".to_owned()) };
    let (near, far) = tokio::io::duplex(64 * 1024);
    let answering = async {
        let start = LazyConfigAcceptor::new(Acceptor::default(), far).await.map_err(|error| error.to_string())?;
        let asked = start.client_hello().server_name().unwrap_or_default().to_owned();
        if !exporter.admitted.contains(&asked) {
            return Err(format!("filter_chain_not_found for {asked}")); // and the connection is dropped
        }
        let mut stream = start.into_stream(server(exporter)).await.map_err(|error| error.to_string())?;
        let mut word = [0; 4];
        stream.read_exact(&mut word).await.map_err(|error| error.to_string())?;
        stream.write_all(&word).await.map_err(|error| error.to_string())?;
        stream.flush().await.map_err(|error| error.to_string())
    };
    let asking = async {
        let name = ServerName::try_from(sni.clone()).map_err(|error| error.to_string())?;
        let stream = TlsConnector::from(client_config(client, sans, alpn)).connect(name, near).await;
        let mut stream = stream.map_err(|error| error.to_string())?;
        stream.write_all(b"ping").await.map_err(|error| error.to_string())?;
        let mut word = [0; 4];
        stream.read_exact(&mut word).await.map_err(|error| error.to_string())?;
        Ok(())
    };
    let (server_said, client_said): (Result<(), String>, Result<(), String>) = tokio::join!(answering, asking);
    client_said.map_err(|error| format!("{error}; the exporter: {server_said:?}"))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn client_config(peer: &Peer, sans: &[String], alpn: &[String]) -> Arc<ClientConfig> {
    let judge = Judge { roots: peer.roots.clone(), accepted: sans.to_vec(), whole: true };
    let (chain, key) = peer.certificates();
    let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let config = config.dangerous().with_custom_certificate_verifier(Arc::new(judge));
    let mut config = config.with_client_auth_cert(chain, key).unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.clone().into_bytes()).collect();
    Arc::new(config)
}

fn server(exporter: &Exporter<'_>) -> Arc<ServerConfig> {
    let accepted = exporter.accepted.iter().cloned().collect();
    let judge = Judge { roots: exporter.peer.roots.clone(), accepted, whole: false };
    let (chain, key) = exporter.peer.certificates();
    let config = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_client_cert_verifier(Arc::new(judge)).with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"istio-peer-exchange".to_vec(), b"istio".to_vec()];
    Arc::new(config)
}

/// Envoy's validation context: a root, and a name that is equal to one accepted, or begins with it.
#[derive(Debug)]
struct Judge {
    roots: Bundle,
    accepted: Vec<String>,
    whole: bool,
}

impl Judge {
    fn judge(&self, leaf: &CertificateDer<'_>, behind: &[CertificateDer<'_>], usage: KeyUsage) -> Result<(), Error> {
        let refused = |why: String| Error::General(why);
        let ders: Vec<CertificateDer<'_>> = self.roots.iter().map(|root| CertificateDer::from(root.der())).collect();
        let anchors: Vec<_> = ders.iter().map(|der| anchor_from_trusted_cert(der).unwrap()).collect();
        let entity = EndEntityCert::try_from(leaf).map_err(|error| refused(error.to_string()))?;
        entity
            .verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, behind, UnixTime::now(), usage, None, None)
            .map_err(|error| refused(format!("root: {error}")))?;
        let certificate = Certificate::from_der(leaf).ok_or_else(|| refused("no certificate".to_owned()))?;
        let fits = |name: &String, accepted: &String| match self.whole {
            true => name == accepted,
            false => name.starts_with(accepted.as_str()),
        };
        let known = certificate.uris().iter().any(|name| self.accepted.iter().any(|accepted| fits(name, accepted)));
        match known {
            true => Ok(()),
            false => Err(refused(format!("SAN: {:?} is none of {:?}", certificate.uris(), self.accepted))),
        }
    }
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        behind: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge(leaf, behind, KeyUsage::server_auth()).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, leaf, signed, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, leaf, signed, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Judge {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        behind: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.judge(leaf, behind, KeyUsage::client_auth()).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls12_signature(self, message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls13_signature(self, message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ServerCertVerifier::supported_verify_schemes(self)
    }
}
