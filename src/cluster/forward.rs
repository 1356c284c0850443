//! Into pods, by way of the API server: port-forward, exec, service proxy.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::AttachParams;
use kube::client::Body;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tower::{BoxError, service_fn};

use super::call::Call;
use super::kind::path_segment;
use super::read::lock;
use super::{Cluster, Error, Failure, Status};

/// Time for an answer from a pod: its debug pages are made on the spot, and large meshes have large ones.
/// The most that is read of a page or an output of a Pod.
const MOST: usize = 64 << 20;
const POD_TIME: Duration = Duration::from_secs(20);

/// A port of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodPort {
    pub namespace: String,
    pub pod: String,
    pub port: u16,
}

/// A byte stream to a pod's port; arrives there from 127.0.0.1. Dropping it closes it.
pub type PodStream = Pin<Box<dyn ByteStream>>;

pub trait ByteStream: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> ByteStream for T {}

#[derive(Clone, Debug)]
pub struct HttpAnswer {
    pub status: u16,
    pub body: Bytes,
}

#[derive(Clone, Debug)]
pub struct ExecOutput {
    pub stdout: Bytes,
    pub stderr: String,
    /// 0 on success.
    pub code: i32,
}

impl Cluster {
    /// Port-forward: a stream to speak anything over (TLS, gRPC).
    pub async fn pod_stream(&self, port: &PodPort) -> Result<PodStream, Error> {
        let doing = format!("forwarding to port {} of pod {}/{}", port.port, port.namespace, port.pod);
        let opened = async {
            let pods: Api<Pod> = Api::namespaced(self.upgrading_client(), &port.namespace);
            let mut forwarder =
                pods.portforward(&port.pod, &[port.port]).await.map_err(|error| upgrade_failure(&doing, error))?;
            let stream = forwarder.take_stream(port.port);
            stream.ok_or_else(|| Failure::Unexpected { detail: format!("{doing} gives no stream") })
        };
        let stream = self.in_time(&doing, opened).await?;
        Ok(Box::pin(stream))
    }

    /// GET over a port-forward, HTTP/1.1. The connection is kept: a port-forward is a request to the API server, a
    /// further question over it is none.
    pub async fn pod_http_get(&self, port: &PodPort, path: &str) -> Result<HttpAnswer, Error> {
        let doing = format!("asking pod {}/{} for {path}", port.namespace, port.pod);
        if let Some(mut kept) = self.shared.pods.take(port) {
            // One that has ended since tells nothing of the pod.
            if let Ok(answer) = self.in_time(&doing, kept.get(port, path)).await {
                self.shared.pods.keep(port, kept);
                return Ok(answer);
            }
        }
        let stream = self.pod_stream(port).await?;
        let mut connection = self.in_time(&doing, PodConnection::open(port, stream)).await?;
        let answer = self.in_time(&doing, connection.get(port, path)).await?;
        self.shared.pods.keep(port, connection);
        Ok(answer)
    }

    /// Runs a command in a pod's container (the default one if `None`).
    pub async fn pod_exec(
        &self,
        namespace: &str,
        pod: &str,
        container: Option<&str>,
        command: &[&str],
    ) -> Result<ExecOutput, Error> {
        let doing = format!("running {} in pod {namespace}/{pod}", command.first().copied().unwrap_or_default());
        let ran = async {
            let pods: Api<Pod> = Api::namespaced(self.upgrading_client(), namespace);
            let mut parameters = AttachParams::default().stdin(false).stdout(true).stderr(true);
            parameters.container = container.map(str::to_owned);
            let mut process = pods
                .exec(pod, command.iter().copied(), &parameters)
                .await
                .map_err(|error| upgrade_failure(&doing, error))?;
            let (stdout, stderr, status) = (process.stdout(), process.stderr(), process.take_status());
            let (stdout, stderr) = tokio::join!(all_of(stdout), all_of(stderr));
            let status = match status {
                Some(status) => status.await,
                None => None,
            };
            let code = match status {
                Some(status) if status.status.as_deref() == Some("Success") => 0,
                Some(status) => exit_code(&status).unwrap_or(-1),
                None => -1,
            };
            Ok(ExecOutput { stdout: stdout.into(), stderr: String::from_utf8_lossy(&stderr).into_owned(), code })
        };
        self.in_time(&doing, ran).await
    }

    /// GET through the API server's service proxy; arrives unauthenticated at the service. `service_and_port` is
    /// `istiod:15014`.
    pub async fn service_proxy_get(
        &self,
        namespace: &str,
        service_and_port: &str,
        path: &str,
    ) -> Result<HttpAnswer, Error> {
        let (namespace, service) = (path_segment(namespace), path_segment(service_and_port));
        let call = Call {
            accept: "*/*",
            ..Call::get(format!("/api/v1/namespaces/{namespace}/services/{service}/proxy{path}"))
        };
        let answer = self.call(call).await?;
        Ok(HttpAnswer { status: answer.status.as_u16(), body: answer.body })
    }

    /// The kube crate's client for what it does over WebSockets, on our own connections.
    fn upgrading_client(&self) -> kube::Client {
        let cluster = self.clone();
        let service = service_fn(
            move |request: Request<Body>| -> BoxFuture<'static, Result<Response<hyper::body::Incoming>, BoxError>> {
                let cluster = cluster.clone();
                Box::pin(async move { cluster.upgrading(request).await.map_err(BoxError::from) })
            },
        );
        kube::Client::new(service, "default")
    }

    async fn in_time<T>(&self, doing: &str, future: impl Future<Output = Result<T, Failure>>) -> Result<T, Error> {
        let started = Instant::now();
        let late = || Failure::Broken {
            address: self.name().to_owned(),
            detail: format!("{doing}: no answer in {} s", POD_TIME.as_secs()),
        };
        let bounded = self.scope.bound(timeout(POD_TIME, future)).await;
        let done = bounded.map_err(|ended| self.error(ended.failure(doing, started)))?;
        done.unwrap_or_else(|_| Err(late())).map_err(|failure| self.error(failure))
    }
}

/// Connections to pods that nobody speaks over at the moment, one for each port.
#[derive(Default)]
pub(super) struct PodConnections(Mutex<HashMap<PodPort, PodConnection>>);

impl PodConnections {
    fn take(&self, port: &PodPort) -> Option<PodConnection> {
        lock(&self.0).remove(port).filter(|connection| !connection.sender.is_closed())
    }

    fn keep(&self, port: &PodPort, connection: PodConnection) {
        if !connection.sender.is_closed() {
            lock(&self.0).insert(port.clone(), connection);
        }
    }
}

/// HTTP/1.1 over a port-forward; dropping it closes both.
struct PodConnection {
    sender: SendRequest<Empty<Bytes>>,
    /// Ends with the connection.
    _driver: JoinSet<()>,
}

impl PodConnection {
    async fn open(port: &PodPort, stream: PodStream) -> Result<PodConnection, Failure> {
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(port, &error))?;
        // What breaks it is told to whoever waits for an answer.
        let mut driver = JoinSet::new();
        driver.spawn(async move { drop(connection.await) });
        Ok(PodConnection { sender, _driver: driver })
    }

    async fn get(&mut self, port: &PodPort, path: &str) -> Result<HttpAnswer, Failure> {
        let request = Request::get(path)
            .header(header::HOST, format!("localhost:{}", port.port))
            .body(Empty::<Bytes>::new())
            .map_err(|error| Failure::Unexpected { detail: format!("{path} is no path: {error}") })?;
        let exchange = async {
            self.sender.ready().await?;
            let response = self.sender.send_request(request).await?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), MOST).collect().await?.to_bytes();
            Ok(HttpAnswer { status, body })
        };
        exchange.await.map_err(|error: Box<dyn std::error::Error + Send + Sync>| broken(port, &*error))
    }
}

fn broken(port: &PodPort, error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::Broken {
        address: format!("pod {}/{} port {}", port.namespace, port.pod, port.port),
        detail: deepest(error),
    }
}

/// What kept a WebSocket from being opened: our own failure passed through the kube crate, or the API server's answer.
fn upgrade_failure(doing: &str, error: kube::Error) -> Failure {
    match error {
        kube::Error::Api(status) => match status.code {
            403 => Failure::Forbidden { message: status.message },
            401 => {
                Failure::Unauthorized { source_of_credential: "the same as before".to_owned(), message: status.message }
            }
            code => Failure::Api(Box::new(Status {
                code,
                reason: status.reason,
                message: format!("{doing}: {}", status.message),
                ..Status::default()
            })),
        },
        kube::Error::Service(error) => match error.downcast::<Failure>() {
            Ok(failure) => *failure,
            Err(error) => Failure::Broken { address: doing.to_owned(), detail: deepest(error.as_ref()) },
        },
        other => Failure::Broken { address: doing.to_owned(), detail: deepest(&other) },
    }
}

fn deepest(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

async fn all_of(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        // What came before a break is what there is to show.
        let _ = stream.take(MOST as u64).read_to_end(&mut bytes).await;
    }
    bytes
}

fn exit_code(status: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Status) -> Option<i32> {
    let causes = status.details.as_ref()?.causes.as_ref()?;
    causes.iter().find(|cause| cause.reason.as_deref() == Some("ExitCode"))?.message.as_ref()?.parse().ok()
}
