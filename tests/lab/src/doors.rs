//! Addresses in the pods' network that are no pod's: those of load balancers, and those of istiods and API servers,
//! which are processes outside of it.
//!
//! The bridge has each address, and a connection is joined to whoever is ready behind it. A load balancer leads to the
//! gateway pods that its Service selects; where there are none, to an istiod.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::{JoinHandle, JoinSet};

use crate::network::{ProxyPod, selects};
use crate::proxy::{Names, Proxies, blocking};

/// The port at which istiods serve proxies.
const ISTIOD: i32 = 15012;

/// Who stands behind an address and port.
#[derive(Clone, Debug, PartialEq)]
enum Behind {
    ApiServer,
    Istiod { ip: String },
    Istiods { namespace: String, selector: BTreeMap<String, String> },
    Balancer { namespace: String, selector: BTreeMap<String, String>, target: IntOrString },
}

type At = (String, u16);

/// What has come in by an address and port.
type Connections = Arc<Mutex<JoinSet<()>>>;

/// An address and port that is open.
struct Door {
    behind: Behind,
    accepts: JoinHandle<()>,
    connections: Connections,
}

/// Keeps the addresses of a cluster until the lab ends.
pub(crate) async fn run(proxies: Proxies, mut names: Names) {
    let mut open: BTreeMap<At, Door> = BTreeMap::new();
    loop {
        let wanted = wanted(&proxies, &names);
        let is_other = |at: &&At| wanted.get(*at) != open.get(*at).map(|door| &door.behind);
        let gone: Vec<At> = open.keys().filter(is_other).cloned().collect();
        // Where an address leads elsewhere from now on, what has come in goes on.
        let mut stay: BTreeMap<At, Connections> = BTreeMap::new();
        for at in gone {
            if let Some(Door { accepts, connections, .. }) = open.remove(&at) {
                accepts.abort();
                // The listener is closed when this ends: the address can be listened on again.
                let _ = accepts.await;
                if wanted.contains_key(&at) {
                    stay.insert(at.clone(), connections);
                } else {
                    // What a load balancer carried ends with it, while there is still an address to say so from. Else
                    // both ends would wait for the other until a keepalive fails.
                    connections.lock().await.shutdown().await;
                }
            }
            if !wanted.keys().any(|(ip, _)| *ip == at.0) && !open.keys().any(|(ip, _)| *ip == at.0) {
                let fabric = proxies.fabric.clone();
                let _ = blocking(move || fabric.set_address(&at.0, false)).await;
            }
        }
        for (at, behind) in wanted {
            if open.contains_key(&at) {
                continue;
            }
            if let Ok(listener) = listen(&proxies, &at).await {
                let connections = stay.remove(&at).unwrap_or_default();
                let served = serve(listener, proxies.clone(), at.clone(), behind.clone(), connections.clone());
                if let Some(accepts) = proxies.fabric.carry(served) {
                    open.insert(at, Door { behind, accepts, connections });
                }
            }
        }
        // What istiods there are is told by nobody.
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(250)) => {}
            Ok(()) = names.services.changed() => {}
        }
    }
}

fn wanted(proxies: &Proxies, names: &Names) -> BTreeMap<At, Behind> {
    let mut all = BTreeMap::from([(proxies.layout.api_endpoint(), Behind::ApiServer)]);
    for pod in proxies.network.pods(proxies.layout.index).into_iter().filter(|pod| pod.log.is_some()) {
        all.insert((pod.ip.clone(), ISTIOD as u16), Behind::Istiod { ip: pod.ip });
    }
    let services = names.services.borrow().clone();
    for service in services.values() {
        let (namespace, selector) = (namespace(service), selector(service));
        if let Some(ip) = cluster_ip(service).filter(|_| is_istiod(service) && !selector.is_empty()) {
            let behind = Behind::Istiods { namespace: namespace.clone(), selector: selector.clone() };
            all.insert((ip, ISTIOD as u16), behind);
        }
        for ip in balancer_ips(service) {
            for port in ports(service) {
                let target = port.target_port.clone().unwrap_or(IntOrString::Int(port.port));
                let behind = Behind::Balancer { namespace: namespace.clone(), selector: selector.clone(), target };
                all.insert((ip.clone(), port.port as u16), behind);
            }
        }
    }
    all
}

async fn listen(proxies: &Proxies, at: &At) -> std::io::Result<StdListener> {
    let (fabric, (ip, port)) = (proxies.fabric.clone(), at.clone());
    blocking(move || {
        fabric.set_address(&ip, true)?;
        let listener = fabric.listen("", &format!("{ip}:{port}"))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    })
    .await
}

async fn serve(listener: StdListener, proxies: Proxies, at: At, behind: Behind, connections: Connections) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let proxies = Arc::new(proxies);
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { return };
        let (proxies, at, behind) = (proxies.clone(), at.clone(), behind.clone());
        let mut connections = connections.lock().await;
        while connections.try_join_next().is_some() {}
        connections.spawn(async move {
            let Some(mut to) = reach(&proxies, &at, &behind).await else { return };
            let _ = (stream.set_nodelay(true), to.set_nodelay(true));
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut to).await;
        });
    }
}

/// A connection to whoever is ready; none if nobody is.
async fn reach(proxies: &Proxies, at: &At, behind: &Behind) -> Option<TcpStream> {
    let (index, network) = (proxies.layout.index, &proxies.network);
    let port = match behind {
        Behind::ApiServer => proxies.layout.api_port,
        Behind::Istiod { ip } => network.resolve(index, ip, at.1)?,
        Behind::Istiods { namespace, selector } => {
            let pods = network.pods(index);
            let fits = |pod: &&crate::network::PodProcess| {
                pod.ready && pod.namespace == *namespace && selects(selector, &pod.labels)
            };
            *pods.iter().find(fits)?.ports.get(&at.1)?
        }
        Behind::Balancer { namespace, selector, target } => {
            let chosen = |pod: &ProxyPod| pod.namespace == *namespace && selects(selector, &pod.labels);
            let gateways: Vec<ProxyPod> = network.proxies(index).into_iter().filter(chosen).collect();
            if !gateways.is_empty() {
                let pod = gateways.into_iter().find(|pod| pod.ready)?;
                return dial(proxies, &at.0, &pod, target).await;
            }
            network.resolve(index, &at.0, at.1)?
        }
    };
    TcpStream::connect(("127.0.0.1", port)).await.ok()
}

async fn dial(proxies: &Proxies, own: &str, pod: &ProxyPod, target: &IntOrString) -> Option<TcpStream> {
    let port = match target {
        IntOrString::Int(port) => u16::try_from(*port).ok()?,
        IntOrString::String(name) => *pod.ports.get(name)?,
    };
    let (fabric, own, to) = (proxies.fabric.clone(), own.to_owned(), format!("{}:{port}", pod.ip));
    let stream = blocking(move || fabric.connect_from(&own, &to, Duration::from_secs(3))).await.ok()?;
    stream.set_nonblocking(true).ok()?;
    TcpStream::from_std(stream).ok()
}

/// What a pod of the cluster finds in /etc/hosts: the names of istiods. One without a selector stands for an istiod
/// elsewhere.
pub(crate) fn hosts(names: &Names) -> String {
    let mut text = String::from("127.0.0.1 localhost\n");
    let (services, slices) = (names.services.borrow().clone(), names.slices.borrow().clone());
    for service in services.values().filter(|service| is_istiod(service)) {
        let (name, namespace) = (service.metadata.name.as_deref().unwrap_or_default(), namespace(service));
        let mut elsewhere = BTreeSet::new();
        for slice in slices.values() {
            let labels = slice.metadata.labels.as_ref();
            let of = labels.and_then(|labels| labels.get("kubernetes.io/service-name"));
            if of.is_some_and(|of| of == name) && slice.metadata.namespace.as_deref() == Some(namespace.as_str()) {
                elsewhere.extend(slice.endpoints.iter().flat_map(|endpoint| endpoint.addresses.clone()));
            }
        }
        let ip = match selector(service).is_empty() {
            true => elsewhere.into_iter().next(),
            false => cluster_ip(service),
        };
        if let Some(ip) = ip {
            text += &format!("{ip} {name}.{namespace}.svc {name}.{namespace}.svc.cluster.local\n");
        }
    }
    text
}

fn is_istiod(service: &Service) -> bool {
    ports(service).any(|port| port.port == ISTIOD) && balancer_ips(service).is_empty()
}

fn ports(service: &Service) -> impl Iterator<Item = &ServicePort> {
    service.spec.iter().flat_map(|spec| spec.ports.iter().flatten())
}

fn namespace(service: &Service) -> String {
    service.metadata.namespace.clone().unwrap_or_default()
}

fn selector(service: &Service) -> BTreeMap<String, String> {
    service.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default()
}

fn cluster_ip(service: &Service) -> Option<String> {
    let ip = service.spec.as_ref()?.cluster_ip.clone()?;
    (ip.parse::<std::net::Ipv4Addr>().is_ok()).then_some(ip)
}

fn balancer_ips(service: &Service) -> Vec<String> {
    let status = service.status.iter().filter_map(|status| status.load_balancer.as_ref());
    status.flat_map(|balancer| balancer.ingress.iter().flatten()).filter_map(|ingress| ingress.ip.clone()).collect()
}
