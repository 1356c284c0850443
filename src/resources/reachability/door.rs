//! A connection as a client's proxy makes it, and what becomes of it. Nothing is sent over it but the handshake.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use time::OffsetDateTime;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::istiod::proxy::Certified;
use crate::pki::{Certificate, Observer, Subtrees};

/// Time for a connection, and for a handshake over it.
const CONNECTS_WITHIN: Duration = Duration::from_secs(3);
const SPEAKS_WITHIN: Duration = Duration::from_secs(5);
/// A server that does not take a client's certificate says so after the handshake, as soon as it has seen it.
const COMPLAINS_WITHIN: Duration = Duration::from_millis(1500);

/// What became of a handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spoken {
    /// What the other side showed, its own first; empty where it came to nothing.
    pub shown: Vec<Certificate>,
    pub outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The other side took the client's certificate.
    Accepted,
    /// It closed the connection without a word, as gateways do with an SNI that they do not know.
    Closed,
    /// It refused, by this alert of TLS.
    Refused(String),
    /// It answered with something that is no TLS.
    NotTls,
    /// It took the connection and has said nothing.
    Silent,
    /// Something else.
    Failed(String),
}

/// A TCP connection; why there is none.
pub(super) async fn dial(address: &str, port: u16) -> Result<TcpStream, String> {
    let late = || format!("no answer within {} s", CONNECTS_WITHIN.as_secs());
    let connected = timeout(CONNECTS_WITHIN, TcpStream::connect((address, port))).await.map_err(|_| late())?;
    connected.map_err(|error| error.to_string())
}

/// Speaks TLS with this SNI, as the identity.
pub(super) async fn speak<S>(stream: S, sni: &str, identity: &Certified) -> Spoken
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let seen = Observer::new();
    let Certified { chain, key, .. } = identity;
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let outcome = match (seen.config(Some((chain, key))), ServerName::try_from(sni.to_owned())) {
        (Ok(config), Ok(name)) => shake(stream, config, name).await,
        (Err(error), _) => Outcome::Failed(error.to_string()),
        (_, Err(_)) => Outcome::Failed(format!("{sni} cannot be an SNI")),
    };
    Spoken { shown: seen.take(), outcome }
}

async fn shake<S>(stream: S, mut config: ClientConfig, name: ServerName<'static>) -> Outcome
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // By this a sidecar tells the mesh's TLS from an application's own.
    config.alpn_protocols = vec![b"istio".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = match timeout(SPEAKS_WITHIN, connector.connect(name, stream)).await {
        Err(_) => return Outcome::Silent,
        Ok(Err(error)) => return outcome_of(&error),
        Ok(Ok(stream)) => stream,
    };
    // With TLS 1.2 the handshake ends after the server has judged the client; with 1.3 before. A ticket comes only
    // after that.
    let judged_later = stream.get_ref().1.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3);
    let until = Instant::now() + COMPLAINS_WITHIN;
    let mut byte = [0; 1];
    while judged_later && Instant::now() < until {
        let heard = timeout(Duration::from_millis(20), stream.read(&mut byte)).await;
        let accepted = stream.get_ref().1.tls13_tickets_received() > 0;
        match heard {
            _ if accepted => return Outcome::Accepted,
            Err(_) => {}
            Ok(Ok(0)) => return Outcome::Closed,
            Ok(Ok(_)) => return Outcome::Accepted,
            Ok(Err(error)) => return outcome_of(&error),
        }
    }
    Outcome::Accepted
}

fn outcome_of(error: &io::Error) -> Outcome {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::AlertReceived(alert)) => Outcome::Refused(format!("{alert:?}")),
        Some(rustls::Error::InvalidMessage(_)) => Outcome::NotTls,
        Some(error) => Outcome::Failed(error.to_string()),
        None => match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => Outcome::Closed,
            _ => Outcome::Failed(error.to_string()),
        },
    }
}

/// Whether these roots vouch for what was shown, as Envoy judges it: the chain, the dates and the use, whatever the
/// name.
pub(super) fn vouched(shown: &[Certificate], roots: &[Certificate], now: OffsetDateTime) -> Result<(), String> {
    let (leaf, between) = shown.split_first().ok_or("it showed no certificate")?;
    let limits_uris = between.iter().chain(roots).any(|ca| ca.limits().uri != Subtrees::default());
    if limits_uris {
        // webpki takes no certificate with a URI below a CA that limits URIs; Go and Envoy do.
        return signed_for(leaf, between, roots, now);
    }
    let anchors: Vec<CertificateDer<'_>> = roots.iter().map(|root| CertificateDer::from(root.der())).collect();
    let anchors: Vec<_> = anchors.iter().filter_map(|root| anchor_from_trusted_cert(root).ok()).collect();
    let intermediates: Vec<CertificateDer<'_>> = between.iter().map(|ca| CertificateDer::from(ca.der())).collect();
    let seconds = u64::try_from(now.unix_timestamp()).unwrap_or_default();
    let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let der = CertificateDer::from(leaf.der());
    let verified = EndEntityCert::try_from(&der).and_then(|leaf| {
        let usage = KeyUsage::server_auth();
        leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &intermediates, time, usage, None, None)
            .map(drop)
    });
    verified.map_err(|error| match error {
        // Roots of other meshes have the same name, as a rule.
        webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => {
            "no root among them has signed the chain".to_owned()
        }
        webpki::Error::CertExpired { .. } => "a certificate in it has ended".to_owned(),
        webpki::Error::CertNotValidYet { .. } => "a certificate in it begins later".to_owned(),
        error => error.to_string(),
    })
}

fn signed_for(
    leaf: &Certificate,
    between: &[Certificate],
    roots: &[Certificate],
    now: OffsetDateTime,
) -> Result<(), String> {
    let mut last = leaf;
    for _ in 0..=between.len() {
        if now < last.not_before() || now > last.not_after() {
            return Err("a certificate in it is not valid now".to_owned());
        }
        if roots.iter().any(|root| last.is_signed_by(root)) {
            return Ok(());
        }
        match between.iter().find(|ca| last.is_signed_by(ca)) {
            Some(issuer) => last = issuer,
            None => break,
        }
    }
    Err("no root among them has signed the chain".to_owned())
}

#[cfg(test)]
#[path = "door_tests.rs"]
mod tests;
