//! One connection to an API server: name, TCP, proxy, TLS; each failure says which of them it was.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{HeaderValue, Uri};
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use kube::client::ConfigExt as _;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tower::{Service, service_fn};

use super::error::Failure;
use super::resolve::Resolved;

/// Time for name, TCP, proxy and TLS together; a server that takes longer does not help a plan.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// Opens connections to one API server; given to hyper's client.
#[derive(Clone)]
pub(super) struct Connector {
    route: Arc<Route>,
}

struct Route {
    host: String,
    port: u16,
    /// `host:port`, for messages.
    address: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    proxy: Option<Proxy>,
}

struct Proxy {
    uri: Uri,
    /// Without user and password, for messages.
    name: String,
    credentials: Option<(String, String)>,
    /// The proxy itself is spoken to over TLS, trusted as the machine trusts.
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// Which HTTP versions to offer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    /// HTTP/2 if the server speaks it: one connection for everything.
    Http2,
    /// HTTP/1.1 alone, for upgrades to WebSocket.
    Http1,
}

impl Connector {
    pub fn new(resolved: &Resolved, offer: Offer) -> Result<Connector, Failure> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Losing a race here means that another thread has installed the same one.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        }
        let kube = &resolved.kube;
        let uri = &kube.cluster_url;
        let host = bare_host(uri)?;
        let is_tls = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let tls = if is_tls {
            let name = kube.tls_server_name.clone().unwrap_or_else(|| host.clone());
            Some(tls_connector(kube, &name, offer)?)
        } else {
            None
        };
        let proxy = kube.proxy_url.clone().map(Proxy::new).transpose()?;
        let address = format!("{}:{port}", uri.host().unwrap_or_default());
        Ok(Connector { route: Arc::new(Route { host, port, address, tls, proxy }) })
    }

    pub fn address(&self) -> &str {
        &self.route.address
    }
}

fn tls_connector(
    kube: &kube::Config,
    name: &str,
    offer: Offer,
) -> Result<(TlsConnector, ServerName<'static>), Failure> {
    let mut config = kube.rustls_client_config().map_err(|error| Failure::Config { detail: error.to_string() })?;
    config.alpn_protocols = match offer {
        Offer::Http2 => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        Offer::Http1 => vec![b"http/1.1".to_vec()],
    };
    let server_name = ServerName::try_from(name.to_owned())
        .map_err(|_| Failure::Config { detail: format!("{name:?} cannot be the name in a server certificate") })?;
    Ok((TlsConnector::from(Arc::new(config)), server_name))
}

impl Proxy {
    fn new(uri: Uri) -> Result<Proxy, Failure> {
        let host = bare_host(&uri)?;
        let scheme = uri.scheme_str().unwrap_or("http");
        let port = uri.port_u16().unwrap_or(match scheme {
            "https" => 443,
            "socks5" | "socks5h" => 1080,
            _ => 80,
        });
        let name = format!("{scheme}://{}:{port}", uri.host().unwrap_or_default());
        let tls = match scheme {
            "http" | "socks5" | "socks5h" => None,
            "https" => Some(tls_connector(&kube::Config::new(uri.clone()), &host, Offer::Http1)?),
            other => {
                return Err(Failure::Config {
                    detail: format!("a proxy of scheme {other} is not supported: use http, https or socks5"),
                });
            }
        };
        let user_info = uri.authority().and_then(|authority| authority.as_str().rsplit_once('@'));
        let credentials = user_info.map(|(user_info, _)| {
            let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
            let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
            (decode(user), decode(password))
        });
        Ok(Proxy { uri, name, credentials, tls })
    }

    fn is_socks(&self) -> bool {
        self.uri.scheme_str().is_some_and(|scheme| scheme.starts_with("socks5"))
    }
}

/// The host without the brackets of an IPv6 address.
fn bare_host(uri: &Uri) -> Result<String, Failure> {
    let host = uri.host().ok_or_else(|| Failure::Config { detail: format!("{uri} has no host") })?;
    Ok(host.trim_start_matches('[').trim_end_matches(']').to_owned())
}

impl Route {
    async fn connect(&self) -> Result<Stream, Failure> {
        let stream = match &self.proxy {
            None => Stream::plain(dial(&self.host, self.port).await?),
            Some(proxy) => self.through(proxy).await?,
        };
        match &self.tls {
            None => Ok(stream),
            Some(tls) => handshake(stream, tls, &self.address).await,
        }
    }

    async fn through(&self, proxy: &Proxy) -> Result<Stream, Failure> {
        let refused =
            |detail: String| Failure::Proxy { proxy: proxy.name.clone(), address: self.address.clone(), detail };
        let (host, port) = (bare_host(&proxy.uri)?, proxy.uri.port_u16());
        let port = port.unwrap_or(if proxy.is_socks() {
            1080
        } else if proxy.tls.is_some() {
            443
        } else {
            80
        });
        let stream = dial(&host, port).await.map_err(|failure| refused(failure.to_string()))?;
        let stream = match &proxy.tls {
            None => Stream::plain(stream),
            Some(tls) => handshake(Stream::plain(stream), tls, &proxy.name)
                .await
                .map_err(|failure| refused(failure.to_string()))?,
        };
        let destination: Uri = format!("http://{}", self.address)
            .parse()
            .map_err(|error: http::uri::InvalidUri| refused(error.to_string()))?;
        // The dialled stream is handed in by a connector that has just this one.
        let mut stream = Some(TokioIo::new(stream));
        let dialled = service_fn(move |_: Uri| {
            let stream = stream.take().ok_or_else(|| io::Error::other("the proxy connection is used up"));
            futures::future::ready(stream)
        });
        let connected = if proxy.is_socks() {
            let mut socks = SocksV5::new(proxy.uri.clone(), dialled);
            if let Some((user, password)) = &proxy.credentials {
                socks = socks.with_auth(user.clone(), password.clone());
            }
            socks.call(destination).await.map_err(|error| refused(error.to_string()))?
        } else {
            let mut tunnel = Tunnel::new(proxy.uri.clone(), dialled);
            if let Some(value) = proxy.credentials.as_ref().and_then(basic) {
                tunnel = tunnel.with_auth(value);
            }
            tunnel.call(destination).await.map_err(|error| refused(error.to_string()))?
        };
        Ok(connected.into_inner())
    }
}

fn basic((user, password): &(String, String)) -> Option<HeaderValue> {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    HeaderValue::try_from(format!("Basic {text}")).ok()
}

/// Resolves and connects, trying each address; the last failure is told.
async fn dial(host: &str, port: u16) -> Result<TcpStream, Failure> {
    let resolved = tokio::net::lookup_host((host, port)).await;
    let addresses: Vec<_> = match resolved {
        Ok(addresses) => addresses.collect(),
        Err(error) => return Err(Failure::Resolve { host: host.to_owned(), detail: error.to_string() }),
    };
    let mut failure = Failure::Resolve { host: host.to_owned(), detail: "it has no address".to_owned() };
    // One silent address must not use up the time of all.
    let share = CONNECT_TIME / u32::try_from(addresses.len()).unwrap_or(1).clamp(1, 4);
    for address in addresses {
        let detail = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Requests are small and answered at once: waiting to fill a segment only costs time.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer in {} s", share.as_secs_f32()),
        };
        let named = if host == address.ip().to_string() { address.to_string() } else { format!("{address} ({host})") };
        failure = Failure::Connect { address: named, detail };
    }
    Err(failure)
}

async fn handshake(
    stream: Stream,
    (connector, name): &(TlsConnector, ServerName<'static>),
    address: &str,
) -> Result<Stream, Failure> {
    let stream = connector.connect(name.clone(), stream).await;
    let stream = stream.map_err(|error| refused(&error, address))?;
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok(Stream { inner: Box::pin(stream), is_h2 })
}

/// What TLS itself objects to stays so. A connection that ends in the middle of a handshake says nothing about
/// certificates: nobody is ready behind a load balancer, or a gateway does not know the server name yet.
fn refused(error: &std::io::Error, address: &str) -> Failure {
    let address = address.to_owned();
    match error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) {
        true => Failure::Tls { address, detail: error.to_string() },
        false => Failure::Connect { address, detail: format!("it ended during the TLS handshake: {error}") },
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Self::Response, Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let route = self.route.clone();
        Box::pin(async move {
            let connected = timeout(CONNECT_TIME, route.connect()).await;
            let late = || Failure::Connect {
                address: route.address.clone(),
                detail: format!("no connection in {} s", CONNECT_TIME.as_secs()),
            };
            Ok(TokioIo::new(connected.unwrap_or_else(|_| Err(late()))?))
        })
    }
}

trait Bytes: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Bytes for T {}

/// What hyper reads and writes: TCP, or TLS over it, through a proxy or not.
pub(super) struct Stream {
    inner: Pin<Box<dyn Bytes>>,
    is_h2: bool,
}

impl Stream {
    fn plain(stream: TcpStream) -> Stream {
        Stream { inner: Box::pin(stream), is_h2: false }
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        if self.is_h2 { Connected::new().negotiated_h2() } else { Connected::new() }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.inner.as_mut().poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        self.inner.as_mut().poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.as_mut().poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.inner.as_mut().poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_without_a_port_is_at_the_usual_one_of_its_scheme() {
        let name = |url: &str| Proxy::new(url.parse().unwrap()).unwrap_or_else(|failure| panic!("{failure}")).name;
        assert_eq!(name("http://p"), "http://p:80");
        assert_eq!(name("socks5://p"), "socks5://p:1080");
        assert_eq!(name("socks5h://p"), "socks5h://p:1080");
        assert_eq!(name("socks5://p:9"), "socks5://p:9");
    }
}
