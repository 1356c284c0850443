//! What a proxy asks of istiod, asked over port-forward: a certificate, and the endpoints of Services. gRPC by hand, as it is two calls.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, Request, Response, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::pki_types::ServerName;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::door;
use super::wire::{self, Message};
use crate::cluster::{Cluster, PodPort, Secret};
use crate::pki::Certificate;

const PORT: u16 = 15012;
const SIGN: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";
const DISCOVER: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
const ENDPOINTS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
/// What the provider's certificates last: long enough for one look by clocks that differ a little.
const LIFETIME: Duration = Duration::from_secs(15 * 60);
/// Time for each answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most that is read of an answer: endpoints of the Services that were asked for.
const MOST: usize = 16 << 20;

/// Why istiod did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// The way to it.
    #[error("{0}")]
    Way(String),
    /// It serves no such thing: certificates come from elsewhere.
    #[error("it does not sign certificates itself")]
    Unserved,
    /// gRPC's status and message.
    #[error("it says: {message} (gRPC status {status})")]
    Said { status: String, message: String },
    /// It answered with something else.
    #[error("its answer cannot be read: {0}")]
    Unreadable(String),
}

/// Whom to ask, and as whom.
pub(super) struct Ask<'a> {
    /// Where istiod runs.
    pub cluster: &'a Cluster,
    pub namespace: &'a str,
    pub pod: &'a str,
    /// The ServiceAccount's, for the audience `istio-ca`.
    pub token: &'a Secret,
    /// The id of the cluster that the token is of.
    pub cluster_id: &'a str,
}

/// A connection to one istiod.
pub(super) struct Istiod {
    sender: SendRequest<UnsyncBoxBody<Bytes, std::convert::Infallible>>,
    headers: HeaderMap,
    /// Ends with the connection.
    _driver: JoinSet<()>,
}

/// A certificate, what is between it and the roots, and its key, which is nowhere else.
pub(super) struct Identity {
    pub chain: Vec<Certificate>,
    pub roots: Vec<Certificate>,
    pub key: KeyPair,
}

/// Where a Service's requests go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Endpoint {
    pub address: String,
    pub port: u16,
    /// Whether the proxy speaks the mesh's TLS with it.
    pub mtls: bool,
    /// The cluster it is in, as far as istiod says; of a gateway that of the gateway.
    pub cluster: String,
}

/// A proxy as it presents itself.
pub(super) struct Node<'a> {
    pub namespace: &'a str,
    pub service_account: &'a str,
    pub network: &'a str,
    /// The addresses of a Pod of the cluster: only gateways of their families are told.
    pub ips: &'a [String],
}

impl Istiod {
    /// The API server leads to the Pod, which is as far as its certificate would prove.
    pub async fn connect(ask: &Ask<'_>) -> Result<Istiod, Refused> {
        let way = |error: &dyn std::fmt::Display| Refused::Way(error.to_string());
        let port = PodPort { namespace: ask.namespace.to_owned(), pod: ask.pod.to_owned(), port: PORT };
        let opened = async {
            let stream = ask.cluster.pod_stream(&port).await.map_err(|error| way(&error))?;
            let name = ServerName::try_from("istiod.istio-system.svc").map_err(|error| way(&error))?;
            let mut config = door::config(&Arc::default(), None).map_err(|error| way(&error))?;
            config.alpn_protocols = vec![b"h2".to_vec()];
            let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
            let stream = connector.connect(name, stream).await.map_err(|error| way(&error))?;
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(|error| way(&error))
        };
        let (sender, connection) = in_time(opened).await??;
        let mut driver = JoinSet::new();
        driver.spawn(async move { drop(connection.await) });
        let mut headers = HeaderMap::new();
        let value = |text: String| {
            http::HeaderValue::try_from(text).map_err(|_| Refused::Way("the token is no header value".to_owned()))
        };
        let mut bearer = value(format!("Bearer {}", ask.token.expose()))?;
        bearer.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, bearer);
        headers.insert("clusterid", value(ask.cluster_id.to_owned())?);
        Ok(Istiod { sender, headers, _driver: driver })
    }

    /// A certificate for the token's ServiceAccount and a key made here.
    pub async fn certificate(&mut self) -> Result<Identity, Refused> {
        let unreadable = |what: &str| Refused::Unreadable(what.to_owned());
        let key = KeyPair::generate().map_err(|error| Refused::Way(error.to_string()))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&key).and_then(|request| request.pem());
        let request = request.map_err(|error| Refused::Way(error.to_string()))?;
        let message = Message::default().text(1, &request).number(3, LIFETIME.as_secs());
        let body = Full::new(Bytes::from(message.framed())).boxed_unsync();
        let asked = async {
            let response = self.send(SIGN, body).await?;
            let headers = response.headers().clone();
            let collected = http_body_util::Limited::new(response.into_body(), MOST).collect().await;
            let collected = collected.map_err(|error| Refused::Way(error.to_string()))?;
            judged(collected.trailers().filter(|trailers| trailers.contains_key("grpc-status")).unwrap_or(&headers))?;
            Ok(collected.to_bytes())
        };
        let body = in_time(asked).await??;
        let message = wire::first_frame(&body).ok().flatten().ok_or_else(|| unreadable("no message"))?;
        let mut parts = Vec::new();
        for text in wire::all(message, 1) {
            let text = std::str::from_utf8(text).map_err(|_| unreadable("no PEM"))?;
            parts.push(Certificate::all_from_pem(text).map_err(|error| Refused::Unreadable(error.to_string()))?);
        }
        // The roots are one element, the last; before it each certificate is its own.
        let roots =
            parts.pop().filter(|roots| !parts.is_empty() && !roots.is_empty()).ok_or_else(|| unreadable("no roots"))?;
        Ok(Identity { chain: parts.into_iter().flatten().collect(), roots, key })
    }

    /// Where the requests of a proxy in this cluster go, by Service: `host:port` as `(host, port)`.
    pub async fn endpoints(
        &mut self,
        node: &Node<'_>,
        services: &[(String, u16)],
    ) -> Result<BTreeMap<(String, u16), Vec<Endpoint>>, Refused> {
        let names: Vec<String> = services.iter().map(|(host, port)| format!("outbound|{port}||{host}")).collect();
        let request = discovery_request(node, self.headers.get("clusterid"), &names);
        // The stream stays open until it is dropped: istiod answers while it is.
        let first = stream::once(async move { Ok(Frame::data(Bytes::from(request.framed()))) });
        let body = StreamBody::new(futures::StreamExt::chain(first, stream::pending())).boxed_unsync();
        let asked = async {
            let response = self.send(DISCOVER, body).await?;
            judged(response.headers())?;
            first_message(response).await
        };
        let message = in_time(asked).await??;
        let mut found: BTreeMap<_, _> = services.iter().map(|service| (service.clone(), Vec::new())).collect();
        for resource in wire::all(&message, 2) {
            let assignment = wire::one(resource, 2);
            let name = names.iter().position(|name| name == wire::text(assignment, 1));
            if let Some(place) = name.and_then(|place| found.get_mut(&services[place])) {
                *place = endpoints_of(assignment);
            }
        }
        Ok(found)
    }

    async fn send(
        &mut self,
        path: &str,
        body: UnsyncBoxBody<Bytes, std::convert::Infallible>,
    ) -> Result<Response<Incoming>, Refused> {
        let way = |error: &dyn std::fmt::Display| Refused::Way(error.to_string());
        let mut request = Request::post(format!("https://istiod.istio-system.svc:{PORT}{path}"))
            .body(body)
            .map_err(|error| way(&error))?;
        let headers = request.headers_mut();
        headers.extend(self.headers.clone());
        headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/grpc"));
        headers.insert(header::TE, http::HeaderValue::from_static("trailers"));
        self.sender.ready().await.map_err(|error| way(&error))?;
        self.sender.send_request(request).await.map_err(|error| way(&error))
    }
}

async fn in_time<T>(work: impl Future<Output = T>) -> Result<T, Refused> {
    let late = || Refused::Way(format!("it has not answered within {} s", PATIENCE.as_secs()));
    timeout(PATIENCE, work).await.map_err(|_| late())
}

/// A status that says no. Where there is none, a message is to come.
fn judged(headers: &HeaderMap) -> Result<(), Refused> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    match text("grpc-status").as_str() {
        "" | "0" => Ok(()),
        "12" => Err(Refused::Unserved),
        status => {
            let message = text("grpc-message");
            let message = percent_encoding::percent_decode_str(&message).decode_utf8_lossy().into_owned();
            Err(Refused::Said { status: status.to_owned(), message })
        }
    }
}

async fn first_message(response: Response<Incoming>) -> Result<Vec<u8>, Refused> {
    let (mut body, mut read) = (response.into_body(), Vec::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Refused::Way(error.to_string()))?;
        if let Some(trailers) = frame.trailers_ref() {
            judged(trailers)?;
            break;
        }
        read.extend_from_slice(frame.data_ref().map(Bytes::as_ref).unwrap_or_default());
        let compressed = |()| Refused::Unreadable("it is compressed".to_owned());
        if let Some(message) = wire::first_frame(&read).map_err(compressed)? {
            return Ok(message.to_vec());
        }
        if read.len() > MOST {
            return Err(Refused::Unreadable("it is too long".to_owned()));
        }
    }
    Err(Refused::Way("it ended the stream without an answer".to_owned()))
}

/// As a sidecar's: an id of type, address, name and domain, and metadata.
fn discovery_request(node: &Node<'_>, cluster_id: Option<&http::HeaderValue>, names: &[String]) -> Message {
    let Node { namespace, service_account, network, ips } = node;
    let ip = ips.first().map_or("127.0.0.6", String::as_str);
    let id = format!("sidecar~{ip}~mesh-reachability.{namespace}~{namespace}.svc.cluster.local");
    let all = ips.join(",");
    let metadata = Message::texts(&[
        ("NAMESPACE", namespace),
        ("SERVICE_ACCOUNT", service_account),
        ("CLUSTER_ID", cluster_id.and_then(|id| id.to_str().ok()).unwrap_or_default()),
        ("NETWORK", network),
        ("INSTANCE_IPS", if all.is_empty() { ip } else { &all }),
    ]);
    let node = Message::default().text(1, &id).message(3, &metadata);
    let request = Message::default().message(2, &node);
    names.iter().fold(request, |request, name| request.text(3, name)).text(4, ENDPOINTS)
}

fn endpoints_of(assignment: &[u8]) -> Vec<Endpoint> {
    let localities = wire::all(assignment, 2);
    let each = localities.flat_map(|locality| wire::all(locality, 2));
    let mut found: Vec<Endpoint> = each.filter_map(endpoint_of).collect();
    found.sort();
    found.dedup();
    found
}

fn endpoint_of(endpoint: &[u8]) -> Option<Endpoint> {
    let socket = wire::one(wire::one(wire::one(endpoint, 1), 1), 1);
    let address = Some(wire::text(socket, 2)).filter(|address| !address.is_empty())?;
    let metadata = wire::one(endpoint, 3);
    let value = |of: &str, key: &str| wire::text(wire::entry(wire::entry(metadata, 1, of), 1, key), 3).to_owned();
    // Name, namespace, two of telemetry's names, cluster.
    let workload = value("istio", "workload");
    Some(Endpoint {
        address: address.to_owned(),
        port: u16::try_from(wire::number(socket, 3)).ok()?,
        mtls: value("envoy.transport_socket_match", "tlsMode") == "istio",
        cluster: workload.rsplit_once(';').map(|(_, cluster)| cluster.to_owned()).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_with_their_cluster_and_whether_they_are_spoken_to_by_tls() {
        let socket = Message::default().text(2, "10.0.0.1").number(3, 15443);
        let address = Message::default().message(1, &Message::default().message(1, &socket));
        let entry = |key: &str, value: &Message| Message::default().text(1, key).message(2, value);
        let metadata = Message::default()
            .message(1, &entry("istio", &Message::texts(&[("workload", ";;;;west")])))
            .message(1, &entry("envoy.transport_socket_match", &Message::texts(&[("tlsMode", "istio")])));
        let endpoint = Message::default().message(1, &address).message(3, &metadata);
        let plain = Message::default().message(1, &address);
        let locality = Message::default().message(2, &endpoint).message(2, &plain).message(2, &endpoint);
        let assignment = Message::default().text(1, "outbound|80||a").message(2, &locality).framed();
        let of =
            |mtls, cluster: &str| Endpoint { address: "10.0.0.1".into(), port: 15443, mtls, cluster: cluster.into() };
        assert_eq!(endpoints_of(&assignment[5..]), [of(false, ""), of(true, "west")]);
        assert!(endpoints_of(b"").is_empty());
    }

    #[test]
    fn a_status_that_says_no_is_told_with_its_message() {
        let mut headers = HeaderMap::new();
        assert_eq!(judged(&headers), Ok(()));
        headers.insert("grpc-status", "16".parse().unwrap());
        headers.insert("grpc-message", "request%20authenticate failure".parse().unwrap());
        let said = Refused::Said { status: "16".into(), message: "request authenticate failure".into() };
        assert_eq!(judged(&headers), Err(said));
        headers.insert("grpc-status", "12".parse().unwrap());
        assert_eq!(judged(&headers), Err(Refused::Unserved));
    }
}
