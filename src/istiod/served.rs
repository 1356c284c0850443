//! The certificate by which an istiod serves its proxies.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};

use super::{Istiod, XDS_PORT};
use crate::cluster::{Error, PodPort, PodStream};
use crate::pki::Certificate;

const ANSWER_WITHIN: Duration = Duration::from_secs(10);

impl Istiod {
    /// The certificate that a replica shows its proxies; `None` where it shows none yet. Whether to trust it is for the caller to judge.
    pub async fn served_certificate(&self, pod: &str) -> Result<Option<Certificate>, Error> {
        let port = PodPort { namespace: self.namespace.clone(), pod: pod.to_owned(), port: XDS_PORT };
        Ok(shown_certificate(self.cluster.pod_stream(&port).await?).await)
    }
}

async fn shown_certificate(stream: PodStream) -> Option<Certificate> {
    let seen = Arc::new(Observer::default());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&seen) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    let name = ServerName::try_from("istiod.istio-system.svc").ok()?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    // The handshake may fail for want of a client certificate; what was shown was shown.
    let _ = tokio::time::timeout(ANSWER_WITHIN, connector.connect(name, stream)).await;
    seen.0.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Notes the server's certificate. Nothing is sent over the connection, so that nothing has to be trusted.
#[derive(Debug, Default)]
struct Observer(Mutex<Option<Certificate>>);

impl ServerCertVerifier for Observer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Certificate::from_der(end_entity);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
