//! Mutual TLS with exactly one client: the core that started this process.
//!
//! go-plugin's client certificate is a self-signed P-521 certificate that calls itself a CA, so it cannot be judged as
//! a chain. It need not be: the core hands it over in the environment, and we compare bytes. The handshake signature
//! then proves that the other side holds its key.

use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot make the certificate of this run")]
    MakeCertificate(#[source] rcgen::Error),
    #[error("cannot set up TLS")]
    Configure(#[source] rustls::Error),
}

pub(super) struct Tls {
    pub(super) config: Arc<ServerConfig>,
    /// Made for this run and known to nobody before; the handshake line carries it to the core.
    pub(super) certificate: CertificateDer<'static>,
}

/// TLS that serves the holder of `client` and refuses everybody else.
pub(super) fn only_for(client: CertificateDer<'static>) -> Result<Tls, Error> {
    let (certificate, key) = own_certificate()?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(OnlyThisClient { certificate: client, provider: Arc::clone(&provider) });
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::Configure)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate.clone()], key)
        .map_err(Error::Configure)?;
    // grpc-go ends a connection that agreed on no protocol.
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Tls { config: Arc::new(config), certificate })
}

fn own_certificate() -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(Error::MakeCertificate)?;
    // The core puts this very certificate in its pool and asks for the name "localhost". rcgen's default dates span
    // any clock, and the certificate dies with the process.
    let parameters = CertificateParams::new(vec!["localhost".to_owned()]).map_err(Error::MakeCertificate)?;
    let certificate = parameters.self_signed(&key).map_err(Error::MakeCertificate)?;
    Ok((certificate.der().clone(), PrivatePkcs8KeyDer::from(key.serialize_der()).into()))
}

#[derive(Debug)]
struct OnlyThisClient {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for OnlyThisClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if *end_entity == self.certificate {
            return Ok(ClientCertVerified::assertion());
        }
        Err(rustls::Error::InvalidCertificate(rustls::CertificateError::ApplicationVerificationFailure))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
