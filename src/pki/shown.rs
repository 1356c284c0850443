//! What a TLS server shows, without trusting it: for looks that judge the certificate afterwards, or send nothing.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};

use super::certificate::Certificate;

/// Notes the certificates that a server shows, and takes any. That the server has the key to its own is checked.
#[derive(Debug)]
pub struct Observer {
    provider: Arc<CryptoProvider>,
    shown: Mutex<Vec<Certificate>>,
}

impl Observer {
    pub fn new() -> Arc<Observer> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        Arc::new(Observer { provider, shown: Mutex::default() })
    }

    /// TLS that lets this one see. The client shows the chain, its own certificate first, if it has one.
    ///
    /// # Errors
    ///
    /// Of a key that does not fit the chain.
    pub fn config(
        self: &Arc<Self>,
        client: Option<(&[Certificate], PrivateKeyDer<'static>)>,
    ) -> Result<ClientConfig, rustls::Error> {
        let config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(self) as Arc<dyn ServerCertVerifier>);
        let Some((chain, key)) = client else { return Ok(config.with_no_client_auth()) };
        let chain = chain.iter().map(|part| CertificateDer::from(part.der().to_vec())).collect();
        config.with_client_auth_cert(chain, key)
    }

    /// What was shown, the server's own certificate first; empty where it came to nothing.
    pub fn take(&self) -> Vec<Certificate> {
        std::mem::take(&mut *self.shown.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ServerCertVerifier for Observer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown = std::iter::once(end_entity).chain(intermediates);
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) =
            shown.filter_map(|der| Certificate::from_der(der)).collect();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
