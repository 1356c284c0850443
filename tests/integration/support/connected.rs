//! A proxy that stays connected to a real istiod, and names a version of Istio: all that an upgrade asks of one.

use std::net::Ipv4Addr;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use http::Uri;
use http::uri::PathAndQuery;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use lab::Istiod;
use prost::Message;
use prost_types::value::Kind;
use prost_types::{Struct, Value};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tonic::client::Grpc;
use tonic_prost::ProstCodec;

const DISCOVER: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
const CLUSTERS: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
const PATIENCE: Duration = Duration::from_secs(180);

/// Of Envoy's `service/discovery/v3/discovery.proto`.
#[derive(Clone, PartialEq, Message)]
struct DiscoveryRequest {
    #[prost(message, optional, tag = "2")]
    node: Option<Node>,
    #[prost(string, tag = "4")]
    type_url: String,
}

/// Of Envoy's `config/core/v3/base.proto`.
#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(message, optional, tag = "3")]
    metadata: Option<Struct>,
}

/// It leaves when it is dropped.
pub struct ConnectedProxy {
    _runtime: Runtime,
}

impl ConnectedProxy {
    /// Returns when istiod has answered it. Its name has the version in it.
    pub fn start(istiod: &Istiod, version: &str) -> ConnectedProxy {
        let port = istiod.port(15010).expect("istiod has a plain-text xDS port");
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let asks = DiscoveryRequest { node: Some(node(version)), type_url: CLUSTERS.to_owned() };
        runtime
            .block_on(async { tokio::time::timeout(PATIENCE, connect(port, asks)).await })
            .expect("an answer in time");
        ConnectedProxy { _runtime: runtime }
    }
}

/// As a sidecar's: an id of type, address, name and domain, and metadata.
fn node(version: &str) -> Node {
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    let metadata = [("NAMESPACE", "shop"), ("SERVICE_ACCOUNT", "default"), ("ISTIO_VERSION", version)];
    let fields = metadata.map(|(name, value)| (name.to_owned(), text(value)));
    let id = format!("sidecar~10.255.255.253~proxy-{version}.shop~shop.svc.cluster.local");
    Node { id, metadata: Some(Struct { fields: fields.into() }) }
}

async fn connect(port: u16, asks: DiscoveryRequest) {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("istiod listens");
    let (sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("istiod speaks HTTP/2");
    tokio::spawn(async move { drop(connection.await) });
    let service = tower::service_fn(move |request: http::Request<tonic::body::Body>| {
        let mut sender = sender.clone();
        async move {
            sender.ready().await?;
            sender.send_request(request).await
        }
    });
    let mut client = Grpc::with_origin(service, Uri::from_static("http://istiod.istio-system.svc:15010"));
    client.ready().await.map_err(|error: hyper::Error| error.to_string()).expect("a connection");
    let request = tonic::Request::new(stream::once(async { asks }).chain(stream::pending()));
    let codec = ProstCodec::<DiscoveryRequest, ()>::default();
    let answers = client.streaming(request, PathAndQuery::from_static(DISCOVER), codec).await;
    let mut answers = answers.expect("istiod takes it for a proxy").into_inner();
    answers.message().await.expect("istiod answers").expect("istiod keeps the stream open");
    // It stays as long as somebody reads.
    tokio::spawn(async move {
        let _client = client;
        while let Ok(Some(())) = answers.message().await {}
    });
}
