//! What stands between a cluster's API server and everybody outside the lab: nothing, or a fault.
//!
//! Without faults bytes pass as they are. With one, connections end here and requests go on one by one
//! over HTTP/1.1, so that they can be delayed, answered or cut. Client certificates do not survive that.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, BodyStream, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::cluster::PATIENCE;
use crate::error::{Error, Result};
use crate::network::join;
use crate::pki::Pki;

/// What goes wrong with a cluster's API server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fault {
    pub(crate) effect: Effect,
    agent: Option<String>,
    request: Option<String>,
    after: usize,
    times: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Effect {
    Stopped,
    Frozen,
    Unreachable,
    TokensExpired,
    Slow(Duration),
    Held,
    Late(Duration),
    Status { code: u16, retry_after: Option<u32> },
    Cut,
}

impl Fault {
    /// The API server's process ends and connections are refused, until the faults are cleared.
    pub fn stopped() -> Fault {
        Fault::new(Effect::Stopped)
    }

    /// The API server accepts connections and never answers.
    pub fn frozen() -> Fault {
        Fault::new(Effect::Frozen)
    }

    /// Connections from outside are refused; the cluster itself goes on, and so does its own istiod.
    pub fn unreachable() -> Fault {
        Fault::new(Effect::Unreachable)
    }

    /// The API server restarts with another key: no token issued so far is valid any more.
    pub fn tokens_expired() -> Fault {
        Fault::new(Effect::TokensExpired)
    }

    /// Every request waits first.
    pub fn slow(by: Duration) -> Fault {
        Fault::new(Effect::Slow(by))
    }

    /// Every request waits until the faults are cleared.
    pub fn held() -> Fault {
        Fault::new(Effect::Held)
    }

    /// Requests are carried out at once, and answered so much later.
    pub fn late(by: Duration) -> Fault {
        Fault::new(Effect::Late(by))
    }

    /// Requests are answered with this status instead of reaching the API server.
    pub fn status(code: u16) -> Fault {
        Fault::new(Effect::Status { code, retry_after: None })
    }

    /// As [`Fault::status`], with a Retry-After header in seconds.
    pub fn status_retry_after(code: u16, seconds: u32) -> Fault {
        Fault::new(Effect::Status { code, retry_after: Some(seconds) })
    }

    /// The request is carried out, and the connection drops halfway through the answer.
    pub fn cut() -> Fault {
        Fault::new(Effect::Cut)
    }

    /// Only for requests whose user agent begins with the text.
    pub fn for_agent(mut self, prefix: &str) -> Fault {
        self.agent = Some(prefix.to_owned());
        self
    }

    /// Only for requests whose `METHOD path?query ` contains the text. With the space at the end a text can say that
    /// nothing follows.
    pub fn for_request(mut self, text: &str) -> Fault {
        self.request = Some(text.to_owned());
        self
    }

    /// Only once so many requests that fit have passed.
    pub fn after(mut self, passing: usize) -> Fault {
        self.after = passing;
        self
    }

    /// Only so many requests that fit, the first ones.
    pub fn times(mut self, times: usize) -> Fault {
        self.times = Some(times);
        self
    }

    fn new(effect: Effect) -> Fault {
        Fault { effect, agent: None, request: None, after: 0, times: None }
    }

    fn fits<B>(&self, request: &Request<B>) -> bool {
        let agent = request.headers().get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        let line = format!("{} {} ", request.method(), request.uri());
        self.agent.as_ref().is_none_or(|prefix| agent.unwrap_or_default().starts_with(prefix))
            && self.request.as_ref().is_none_or(|text| line.contains(text))
    }
}

struct Rule {
    fault: Fault,
    /// Requests that still pass.
    passing: AtomicUsize,
    /// Requests that are still met.
    left: AtomicUsize,
}

impl Rule {
    fn new(fault: Fault) -> Rule {
        let (passing, left) = (fault.after, fault.times.unwrap_or(usize::MAX));
        Rule { fault, passing: AtomicUsize::new(passing), left: AtomicUsize::new(left) }
    }

    /// Whether this request, which fits, is met; counts it.
    fn meets(&self) -> bool {
        let take = |counter: &AtomicUsize| {
            let less = |count: usize| if count == usize::MAX { Some(count) } else { count.checked_sub(1) };
            counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
        };
        !take(&self.passing) && take(&self.left)
    }
}

type Rules = Arc<Vec<Arc<Rule>>>;
type Body = UnsyncBoxBody<Bytes, hyper::Error>;
type CutBody = UnsyncBoxBody<Bytes, std::io::Error>;

/// The handle by which faults are set.
pub(crate) struct Front {
    rules: watch::Sender<Rules>,
    faults: Mutex<Vec<Arc<Rule>>>,
    port: u16,
}

impl Front {
    /// Serves on the listener until the lab ends.
    pub fn start(listener: TcpListener, backend: u16, pki: &Pki) -> Result<Front> {
        let (rules, receiver) = watch::channel(Rules::default());
        let tls = Tls::load(pki)?;
        let port = listener.local_addr().map_err(Error::file("listen for", "the API server"))?.port();
        tokio::spawn(accept(listener, port, backend, Arc::new(tls), receiver));
        Ok(Front { rules, faults: Mutex::default(), port })
    }

    /// A fault beside those there are; they keep count of what they have done.
    pub fn add(&self, fault: Fault) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.push(Arc::new(Rule::new(fault)));
        self.rules.send_replace(Arc::new(faults.clone()));
    }

    pub fn clear(&self) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.clear();
        self.rules.send_replace(Rules::default());
    }

    /// Returns once connections are refused or accepted as the faults say, which those who listen hear a moment later.
    pub async fn settle(&self) {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let accepted = TcpStream::connect(("127.0.0.1", self.port)).await.is_ok();
            if accepted != unreachable(&self.rules.borrow()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

struct Tls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

impl Tls {
    fn load(pki: &Pki) -> Result<Tls> {
        let bad = |error: &dyn std::fmt::Display| Error::Usage(format!("the lab's own certificate: {error}"));
        let chain = rustls::pki_types::CertificateDer::from_pem_file(pki.file("server.crt")).map_err(|e| bad(&e))?;
        let key = rustls::pki_types::PrivateKeyDer::from_pem_file(pki.file("server.key")).map_err(|e| bad(&e))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut server = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|e| bad(&e))?
            .with_no_client_auth()
            .with_single_cert(vec![chain], key)
            .map_err(|e| bad(&e))?;
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut roots = rustls::RootCertStore::empty();
        let ca = rustls::pki_types::CertificateDer::from_pem_slice(pki.ca_pem.as_bytes()).map_err(|e| bad(&e))?;
        roots.add(ca).map_err(|e| bad(&e))?;
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| bad(&e))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Tls { acceptor: Arc::new(server).into(), connector: Arc::new(client).into() })
    }
}

fn unreachable(rules: &Rules) -> bool {
    rules.iter().any(|rule| matches!(rule.fault.effect, Effect::Unreachable | Effect::Stopped))
}

/// Whether requests must be looked at one by one.
fn terminating(rules: &Rules) -> bool {
    rules.iter().any(|rule| {
        matches!(
            rule.fault.effect,
            Effect::Slow(_) | Effect::Held | Effect::Late(_) | Effect::Status { .. } | Effect::Cut
        )
    })
}

async fn accept(listener: TcpListener, port: u16, backend: u16, tls: Arc<Tls>, mut rules: watch::Receiver<Rules>) {
    let (mut listener, mut kept) = (Some(listener), None);
    loop {
        if unreachable(&rules.borrow_and_update()) {
            listener = None; // refused, not merely closed
            // It does not listen, and nobody else is given the port.
            kept = kept.or_else(|| bound(port).ok());
            if rules.changed().await.is_err() {
                return;
            }
            continue;
        }
        if listener.is_none() {
            let socket = kept.take().map_or_else(|| bound(port), Ok);
            listener = socket.and_then(|socket| socket.listen(1024)).ok();
        }
        let Some(open) = &listener else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        tokio::select! {
            changed = rules.changed() => if changed.is_err() { return },
            accepted = open.accept() => if let Ok((stream, _)) = accepted {
                let _ = stream.set_nodelay(true);
                tokio::spawn(connection(stream, backend, tls.clone(), rules.clone()));
            },
        }
    }
}

fn bound(port: u16) -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    // What is left of connections over the port does not keep it.
    socket.set_reuseaddr(true)?;
    socket.bind(([127, 0, 0, 1], port).into())?;
    Ok(socket)
}

async fn connection(stream: TcpStream, backend: u16, tls: Arc<Tls>, mut rules: watch::Receiver<Rules>) {
    let now = rules.borrow_and_update().clone();
    if unreachable(&now) {
        return; // accepted a moment before the port was closed
    }
    if terminating(&now) {
        let serving = terminate(stream, backend, &tls, rules.clone());
        let until = async { while rules.wait_for(unreachable).await.is_err() {} };
        tokio::select! { _ = serving => {}, () = until => {} }
        return;
    }
    // A connection made before a fault would not feel it: it is cut, as by a load balancer's restart.
    tokio::select! { _ = join(stream, backend) => {}, _ = rules.changed() => {} }
}

async fn terminate(stream: TcpStream, backend: u16, tls: &Tls, rules: watch::Receiver<Rules>) -> std::io::Result<()> {
    let incoming = tls.acceptor.accept(stream).await?;
    let outgoing = TcpStream::connect(("127.0.0.1", backend)).await?;
    let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
    let outgoing = tls.connector.connect(name, outgoing).await?;
    let (sender, upstream) =
        hyper::client::conn::http1::handshake(TokioIo::new(outgoing)).await.map_err(std::io::Error::other)?;
    tokio::spawn(upstream.with_upgrades());
    let sender = Arc::new(tokio::sync::Mutex::new(sender));
    let service = hyper::service::service_fn(move |request| {
        let (sender, rules) = (sender.clone(), rules.clone());
        async move { Ok::<_, Infallible>(handle(request, &sender, rules).await) }
    });
    let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(incoming), service);
    serving.with_upgrades().await.map_err(std::io::Error::other)
}

async fn handle(
    request: Request<Incoming>,
    upstream: &tokio::sync::Mutex<SendRequest<Incoming>>,
    mut changing: watch::Receiver<Rules>,
) -> Response<CutBody> {
    let (mut cut, mut late) = (false, Duration::ZERO);
    let rules = changing.borrow().clone();
    for rule in rules.iter().filter(|rule| rule.fault.fits(&request) && rule.meets()) {
        match &rule.fault.effect {
            Effect::Slow(by) => tokio::time::sleep(*by).await,
            Effect::Held => {
                let is_over = |now: &Rules| !now.iter().any(|one| Arc::ptr_eq(one, rule));
                let _ = changing.wait_for(is_over).await;
            }
            Effect::Status { code, retry_after } => return status(*code, *retry_after),
            Effect::Late(by) => late += *by,
            Effect::Cut => cut = true,
            _ => {}
        }
    }
    let answer = forward(request, upstream).await;
    tokio::time::sleep(late).await;
    match answer {
        Ok(response) if cut => response.map(cut_in_half),
        Ok(response) => response.map(|body| body.map_err(std::io::Error::other).boxed_unsync()),
        Err(_) => status(StatusCode::BAD_GATEWAY.as_u16(), None),
    }
}

async fn forward(
    mut request: Request<Incoming>,
    upstream: &tokio::sync::Mutex<SendRequest<Incoming>>,
) -> hyper::Result<Response<Body>> {
    let client_side = request.headers().contains_key(header::UPGRADE).then(|| hyper::upgrade::on(&mut request));
    let mut sender = upstream.lock().await;
    sender.ready().await?;
    let mut response = sender.send_request(request).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS
        && let Some(client_side) = client_side
    {
        let server_side = hyper::upgrade::on(&mut response);
        tokio::spawn(async move {
            if let (Ok(client), Ok(server)) = (client_side.await, server_side.await) {
                let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            }
        });
    }
    Ok(response.map(BodyExt::boxed_unsync))
}

/// Half of the first piece, then an error, by which hyper drops the connection.
fn cut_in_half(body: Body) -> CutBody {
    let first = BodyStream::new(body).take(1).map(|frame| {
        let data = frame.ok().and_then(|frame| frame.into_data().ok()).unwrap_or_default();
        Ok(Frame::data(data.slice(..data.len() / 2)))
    });
    let end = futures::stream::once(async { Err(std::io::Error::other("cut by the lab")) });
    BodyExt::boxed_unsync(StreamBody::new(first.chain(end)))
}

/// A failure as the API server words it.
fn status(code: u16, retry_after: Option<u32>) -> Response<CutBody> {
    let reason = match code {
        401 => "Unauthorized",
        403 => "Forbidden",
        409 => "Conflict",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "",
    };
    let text = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
        "message": format!("the lab answers {code}"), "reason": reason,
    });
    let body = Full::new(Bytes::from(text.to_string())).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::builder().status(code).header(header::CONTENT_TYPE, "application/json");
    if let Some(seconds) = retry_after {
        response = response.header(header::RETRY_AFTER, seconds);
    }
    response.body(body).unwrap_or_default()
}
