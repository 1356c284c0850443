//! An API server that says what a test wants it to say: a real server on loopback, with real TLS where asked.
//!
//! For what a true kube-apiserver cannot be made to do on request: faults, refusals, hangs.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use serde_json::{Value, json};
use terraform_provider_mesh::cluster::{Cluster, ClusterConfig};
use tokio::net::TcpListener;

/// What came in.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub authorization: String,
    pub user_agent: String,
    pub version: http::Version,
}

/// What goes out.
pub enum Say {
    Json(u16, Value),
    /// With a `Retry-After` in seconds.
    Later(u16, u64),
    Text(u16, &'static str),
    /// The connection is cut without an answer.
    Cut,
    /// Nothing, for as long as anyone waits.
    Hang,
}

pub struct Server {
    pub address: SocketAddr,
    pub certificate: Option<String>,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<AtomicUsize>,
    busiest: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Over plain HTTP; `answer` is called with the request and its number, from 0.
    pub async fn start(answer: impl Fn(&Seen, usize) -> Say + Send + Sync + 'static) -> Server {
        Server::serve(None, answer).await
    }

    /// Over TLS with a certificate for 127.0.0.1 of its own, and HTTP/2.
    pub async fn start_tls(answer: impl Fn(&Seen, usize) -> Say + Send + Sync + 'static) -> Server {
        let signed = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned(), "api.test".to_owned()]).unwrap();
        Server::serve(Some(signed), answer).await
    }

    async fn serve(
        signed: Option<rcgen::CertifiedKey<rcgen::KeyPair>>,
        answer: impl Fn(&Seen, usize) -> Say + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let certificate = signed.as_ref().map(|signed| signed.cert.pem());
        let acceptor = signed.map(|signed| {
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
            let key = rustls::pki_types::PrivateKeyDer::try_from(signed.signing_key.serialize_der()).unwrap();
            let mut config = rustls::ServerConfig::builder()
                .with_no_client_auth()
                .with_single_cert(vec![signed.cert.der().clone()], key)
                .unwrap();
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            tokio_rustls::TlsAcceptor::from(Arc::new(config))
        });
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let connections = Arc::new(AtomicUsize::new(0));
        let busiest = Arc::new(AtomicUsize::new(0));
        let desk = Arc::new(Desk {
            answer: Box::new(answer),
            seen: seen.clone(),
            busy: AtomicUsize::new(0),
            busiest: busiest.clone(),
        });
        let counter = connections.clone();
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                counter.fetch_add(1, Ordering::SeqCst);
                let (desk, acceptor) = (desk.clone(), acceptor.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let desk = desk.clone();
                        async move { desk.answer(request).await }
                    });
                    let builder = Builder::new(TokioExecutor::new());
                    match acceptor {
                        None => drop(builder.serve_connection(TokioIo::new(stream), service).await),
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                drop(builder.serve_connection(TokioIo::new(stream), service).await);
                            }
                        }
                    }
                });
            }
        });
        Server { address, certificate, seen, connections, busiest, task }
    }

    pub fn config(&self) -> ClusterConfig {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        ClusterConfig {
            host: Some(format!("{scheme}://{}", self.address)),
            cluster_ca_certificate: self.certificate.clone(),
            ..ClusterConfig::default()
        }
    }

    pub fn cluster(&self) -> Cluster {
        Cluster::standalone("east", self.config(), "0.0.0-test")
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The most requests that were under way at once.
    pub fn busiest(&self) -> usize {
        self.busiest.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Answer = Box<dyn Fn(&Seen, usize) -> Say + Send + Sync>;

struct Desk {
    answer: Answer,
    seen: Arc<Mutex<Vec<Seen>>>,
    busy: AtomicUsize,
    busiest: Arc<AtomicUsize>,
}

impl Desk {
    async fn answer(&self, request: http::Request<Incoming>) -> Result<http::Response<Full<Bytes>>, Cut> {
        let busy = self.busy.fetch_add(1, Ordering::SeqCst) + 1;
        self.busiest.fetch_max(busy, Ordering::SeqCst);
        let said = self.say(request).await;
        self.busy.fetch_sub(1, Ordering::SeqCst);
        said
    }

    async fn say(&self, request: http::Request<Incoming>) -> Result<http::Response<Full<Bytes>>, Cut> {
        let (parts, body) = request.into_parts();
        let _ = body.collect().await;
        let header = |name: http::HeaderName| {
            parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        let seen = Seen {
            method: parts.method.to_string(),
            path: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            authorization: header(http::header::AUTHORIZATION),
            user_agent: header(http::header::USER_AGENT),
            version: parts.version,
        };
        let number = {
            let mut all = self.seen.lock().unwrap();
            all.push(seen.clone());
            all.len() - 1
        };
        // Long enough for requests sent together to meet here.
        tokio::time::sleep(Duration::from_millis(5)).await;
        let response = http::Response::builder();
        let response = match (self.answer)(&seen, number) {
            Say::Json(code, value) => {
                response.status(code).header("content-type", "application/json").body(Full::from(value.to_string()))
            }
            Say::Later(code, seconds) => response.status(code).header("retry-after", seconds).body(Full::default()),
            Say::Text(code, text) => response.status(code).body(Full::from(text)),
            Say::Cut => return Err(Cut),
            Say::Hang => std::future::pending().await,
        };
        Ok(response.unwrap())
    }
}

/// An error of the service makes hyper close the connection.
#[derive(Debug)]
pub struct Cut;

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cut")
    }
}

impl std::error::Error for Cut {}

impl From<Infallible> for Cut {
    fn from(never: Infallible) -> Cut {
        match never {}
    }
}

pub fn status(code: u16, reason: &str, message: &str) -> Say {
    Say::Json(
        code,
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message}),
    )
}

pub fn config_map(name: &str) -> Say {
    Say::Json(200, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "n"}}))
}
