//! What a proxy asks of istiod: a certificate, and the endpoints of Services.

mod messages;

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use http::Uri;
use http::uri::PathAndQuery;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;
use tower::Service;

use self::messages::{
    ClusterLoadAssignment, DiscoveryRequest, DiscoveryResponse, IstioCertificateRequest, IstioCertificateResponse,
    LbEndpoint, texts,
};
use super::{Istiod, served};
use crate::cluster::Secret;
use crate::pki::{Certificate, Observer};

const ORIGIN: &str = "https://istiod.istio-system.svc:15012";
const SIGN: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";
const DISCOVER: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
const ENDPOINTS: &str = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
/// What the provider's certificates last: long enough for one look by clocks that differ a little.
const LIFETIME: Duration = Duration::from_secs(15 * 60);
/// Time for each answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The most that is read of an answer, in bytes: endpoints of the Services that were asked for.
const MOST: usize = 16 << 20;

/// Why istiod did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The way to it.
    #[error("{0}")]
    Way(String),
    /// It serves no such thing: certificates come from elsewhere.
    #[error("it does not sign certificates itself")]
    Unserved,
    /// The status and message of gRPC.
    #[error("it says: {message} (gRPC status {status})")]
    Said { status: i32, message: String },
    /// It answered with something else.
    #[error("its answer cannot be read: {0}")]
    Unreadable(String),
}

/// A connection to one istiod, as the proxy of one ServiceAccount.
pub struct Connection {
    sender: SendRequest<Body>,
    bearer: MetadataValue<Ascii>,
    cluster_id: String,
    /// Ends with the connection.
    _driver: JoinSet<()>,
}

/// A certificate, what is between it and the roots, and its key, which is nowhere else.
pub struct Certified {
    pub chain: Vec<Certificate>,
    pub roots: Vec<Certificate>,
    pub key: KeyPair,
}

/// Where a Service's requests go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    pub address: String,
    pub port: u16,
    /// Whether the proxy speaks the mesh's TLS with it.
    pub mtls: bool,
    /// The cluster it is in, as far as istiod says; of a gateway that of the gateway.
    pub cluster: String,
}

/// A proxy as it presents itself.
pub struct Node<'a> {
    pub namespace: &'a str,
    pub service_account: &'a str,
    pub network: &'a str,
    /// The addresses of a Pod of the cluster: only gateways of their families are told.
    pub ips: &'a [String],
}

impl Connection {
    /// To one replica. The token is the ServiceAccount's, for the audience `istio-ca`, of the cluster with this id.
    pub async fn open(istiod: &Istiod, pod: &str, token: &Secret, cluster_id: &str) -> Result<Connection, Refused> {
        let stream = istiod.xds_port(pod).await.map_err(|error| Refused::Way(error.to_string()))?;
        let stream = served::handshake(stream, &Observer::new()).await;
        let stream = stream.map_err(|error| Refused::Way(error.to_string()))?;
        let opened = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = in_time(opened).await?.map_err(|error| Refused::Way(error.to_string()))?;
        let mut driver = JoinSet::new();
        driver.spawn(async move { drop(connection.await) });
        let no_header = |_| Refused::Way("the token is no header value".to_owned());
        let mut bearer: MetadataValue<Ascii> = format!("Bearer {}", token.expose()).parse().map_err(no_header)?;
        bearer.set_sensitive(true);
        Ok(Connection { sender, bearer, cluster_id: cluster_id.to_owned(), _driver: driver })
    }

    /// A certificate for the token's ServiceAccount and a key made here.
    pub async fn certificate(&self) -> Result<Certified, Refused> {
        let key = KeyPair::generate().map_err(|error| Refused::Way(error.to_string()))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&key).and_then(|request| request.pem());
        let csr = request.map_err(|error| Refused::Way(error.to_string()))?;
        let validity_duration = LIFETIME.as_secs().try_into().unwrap_or(i64::MAX);
        let request = self.request(IstioCertificateRequest { csr, validity_duration })?;
        let mut client = self.client();
        let asked = async {
            client.ready().await.map_err(|error| Refused::Way(error.to_string()))?;
            let codec = ProstCodec::<_, IstioCertificateResponse>::default();
            client.unary(request, PathAndQuery::from_static(SIGN), codec).await.map_err(refused)
        };
        let answer = in_time(asked).await??.into_inner();
        let mut parts = Vec::new();
        for text in answer.cert_chain {
            parts.push(Certificate::all_from_pem(&text).map_err(|error| Refused::Unreadable(error.to_string()))?);
        }
        let roots = parts.pop().filter(|roots| !parts.is_empty() && !roots.is_empty());
        let roots = roots.ok_or_else(|| Refused::Unreadable("no roots".to_owned()))?;
        Ok(Certified { chain: parts.into_iter().flatten().collect(), roots, key })
    }

    /// Where the requests of a proxy in this cluster go, by Service: `host:port` as `(host, port)`.
    pub async fn endpoints(
        &self,
        node: &Node<'_>,
        services: &[(String, u16)],
    ) -> Result<BTreeMap<(String, u16), Vec<Endpoint>>, Refused> {
        let names: Vec<String> = services.iter().map(|(host, port)| format!("outbound|{port}||{host}")).collect();
        let asks = DiscoveryRequest {
            node: Some(node_of(node, &self.cluster_id)),
            resource_names: names.clone(),
            type_url: ENDPOINTS.to_owned(),
        };
        // istiod answers while the stream is open.
        let request = self.request(stream::once(async { asks }).chain(stream::pending()))?;
        let mut client = self.client();
        let asked = async {
            client.ready().await.map_err(|error| Refused::Way(error.to_string()))?;
            let codec = ProstCodec::<_, DiscoveryResponse>::default();
            let answers = client.streaming(request, PathAndQuery::from_static(DISCOVER), codec).await;
            let ended = || Refused::Way("it ended the stream without an answer".to_owned());
            answers.map_err(refused)?.into_inner().message().await.map_err(refused)?.ok_or_else(ended)
        };
        let answer = in_time(asked).await??;
        let mut found: BTreeMap<_, _> = services.iter().map(|service| (service.clone(), Vec::new())).collect();
        for resource in answer.resources {
            let assignment = ClusterLoadAssignment::decode(&*resource.value)
                .map_err(|error| Refused::Unreadable(error.to_string()))?;
            let name = names.iter().position(|name| *name == assignment.cluster_name);
            if let Some(place) = name.and_then(|place| found.get_mut(&services[place])) {
                *place = endpoints_of(assignment);
            }
        }
        Ok(found)
    }

    fn client(
        &self,
    ) -> Grpc<impl Service<http::Request<Body>, Response = http::Response<Incoming>, Error = hyper::Error, Future: Send>>
    {
        let sender = self.sender.clone();
        let service = tower::service_fn(move |request| {
            let mut sender = sender.clone();
            async move {
                sender.ready().await?;
                sender.send_request(request).await
            }
        });
        Grpc::with_origin(service, Uri::from_static(ORIGIN)).max_decoding_message_size(MOST)
    }

    fn request<M>(&self, message: M) -> Result<Request<M>, Refused> {
        let mut request = Request::new(message);
        let cluster_id = self.cluster_id.parse();
        let cluster_id = cluster_id.map_err(|_| Refused::Way("the cluster's id is no header value".to_owned()))?;
        request.metadata_mut().insert("authorization", self.bearer.clone());
        request.metadata_mut().insert("clusterid", cluster_id);
        Ok(request)
    }
}

async fn in_time<T>(work: impl Future<Output = T>) -> Result<T, Refused> {
    let late = || Refused::Way(format!("it has not answered within {} s", PATIENCE.as_secs()));
    timeout(PATIENCE, work).await.map_err(|_| late())
}

fn refused(status: Status) -> Refused {
    match status.code() {
        Code::Unimplemented => Refused::Unserved,
        // What is told by no istiod, but by the connection.
        _ if std::error::Error::source(&status).is_some() => Refused::Way(status.message().to_owned()),
        code => Refused::Said { status: code.into(), message: status.message().to_owned() },
    }
}

/// As a sidecar's: an id of type, address, name and domain, and metadata.
fn node_of(node: &Node<'_>, cluster_id: &str) -> messages::Node {
    let Node { namespace, service_account, network, ips } = node;
    let ip = ips.first().map_or("127.0.0.6", String::as_str);
    let all = ips.join(",");
    let metadata = texts([
        ("NAMESPACE", namespace),
        ("SERVICE_ACCOUNT", service_account),
        ("CLUSTER_ID", cluster_id),
        ("NETWORK", network),
        ("INSTANCE_IPS", if all.is_empty() { ip } else { &all }),
        // Ambient's Pods have an address, too, and not only a tunnel that is not tried here.
        ("DISABLE_HBONE_SEND", "true"),
    ]);
    let id = format!("sidecar~{ip}~mesh-reachability.{namespace}~{namespace}.svc.cluster.local");
    messages::Node { id, metadata: Some(metadata) }
}

fn endpoints_of(assignment: ClusterLoadAssignment) -> Vec<Endpoint> {
    let each = assignment.endpoints.into_iter().flat_map(|locality| locality.lb_endpoints);
    let mut found: Vec<Endpoint> = each.filter_map(endpoint_of).collect();
    found.sort();
    found.dedup();
    found
}

fn endpoint_of(endpoint: LbEndpoint) -> Option<Endpoint> {
    let socket = endpoint.endpoint?.address?.socket_address?;
    let metadata = endpoint.metadata.unwrap_or_default();
    // Name, namespace, two of telemetry's names, cluster.
    let workload = metadata.text("istio", "workload");
    (!socket.address.is_empty()).then_some(())?;
    Some(Endpoint {
        port: u16::try_from(socket.port_value).ok()?,
        mtls: metadata.text("envoy.transport_socket_match", "tlsMode") == "istio",
        cluster: workload.rsplit_once(';').map(|(_, cluster)| cluster.to_owned()).unwrap_or_default(),
        address: socket.address,
    })
}

#[cfg(test)]
mod tests {
    use super::messages::{Address, LocalityLbEndpoints, Metadata, SocketAddress};
    use super::*;

    #[test]
    fn endpoints_are_read_with_their_cluster_and_whether_they_are_spoken_to_by_tls() {
        let socket_address = SocketAddress { address: "10.0.0.1".into(), port_value: 15443 };
        let address = Address { socket_address: Some(socket_address) };
        let endpoint = messages::Endpoint { address: Some(address) };
        let told = [
            ("istio".to_owned(), texts([("workload", ";;;;west")])),
            ("envoy.transport_socket_match".to_owned(), texts([("tlsMode", "istio")])),
        ];
        let plain = LbEndpoint { endpoint: Some(endpoint.clone()), metadata: None };
        let metadata = Some(Metadata { filter_metadata: told.into() });
        let mutual = LbEndpoint { endpoint: Some(endpoint), metadata };
        let locality = LocalityLbEndpoints { lb_endpoints: vec![mutual.clone(), plain, mutual, LbEndpoint::default()] };
        let assignment = ClusterLoadAssignment { cluster_name: "outbound|80||a".into(), endpoints: vec![locality] };
        let of =
            |mtls, cluster: &str| Endpoint { address: "10.0.0.1".into(), port: 15443, mtls, cluster: cluster.into() };
        assert_eq!(endpoints_of(assignment), [of(false, ""), of(true, "west")]);
    }

    #[test]
    fn a_proxy_asks_for_addresses_and_not_for_tunnels() {
        let node = Node { namespace: "shop", service_account: "web", network: "n1", ips: &["10.0.0.1".to_owned()] };
        let metadata = node_of(&node, "east").metadata.unwrap();
        for (key, value) in [("DISABLE_HBONE_SEND", "true"), ("CLUSTER_ID", "east"), ("INSTANCE_IPS", "10.0.0.1")] {
            let [(_, expected)] =
                <[_; 1]>::try_from(texts([(key, value)]).fields.into_iter().collect::<Vec<_>>()).unwrap();
            assert_eq!(metadata.fields.get(key), Some(&expected), "{key}");
        }
    }

    #[test]
    fn a_status_that_says_no_is_told_with_its_message() {
        let said = Refused::Said { status: 16, message: "request authenticate failure".into() };
        assert_eq!(refused(Status::unauthenticated("request authenticate failure")), said);
        assert_eq!(refused(Status::unimplemented("unknown service")), Refused::Unserved);
    }
}
