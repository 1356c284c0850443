//! TLS with an istiod at its port for proxies, and the certificate that it shows there.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Istiod, XDS_PORT};
use crate::cluster::{Error, PodPort, PodStream};
use crate::pki::{Certificate, Observer};

const ANSWER_WITHIN: Duration = Duration::from_secs(10);

impl Istiod {
    /// The certificate that a replica shows its proxies; `None` where it shows none yet. Whether to trust it is for the
    /// caller to judge.
    pub async fn served_certificate(&self, pod: &str) -> Result<Option<Certificate>, Error> {
        let seen = Observer::new();
        // The handshake may fail for want of a client certificate; what was shown was shown.
        drop(handshake(self.xds_port(pod).await?, &seen).await);
        Ok(seen.take().into_iter().next())
    }

    /// A stream to a replica's port for proxies.
    pub(super) async fn xds_port(&self, pod: &str) -> Result<PodStream, Error> {
        let port = PodPort { namespace: self.namespace.clone(), pod: pod.to_owned(), port: XDS_PORT };
        self.cluster.pod_stream(&port).await
    }
}

/// HTTP/2 over TLS. The API server has led to the Pod: whoever is in it, its certificate would prove no more.
pub(super) async fn handshake(stream: PodStream, seen: &Arc<Observer>) -> io::Result<TlsStream<PodStream>> {
    let mut config = seen.config(None).map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("istiod.istio-system.svc").map_err(io::Error::other)?;
    timeout(ANSWER_WITHIN, TlsConnector::from(Arc::new(config)).connect(name, stream)).await?
}
