//! Addresses for Services of type LoadBalancer: an IP or a hostname, at once, late or never.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use kube::api::Api;
use serde_json::json;

use crate::control_plane::Layout;
use crate::kubelet::tell_status;
use crate::network::Network;
use crate::reflect::reflect;

/// What a LoadBalancer Service gets. A Service says otherwise for itself by the annotation
/// `lab/address`: `ip`, `hostname`, `never`, or one of the first two with a delay, as `ip after 5s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    Ip,
    Hostname,
    IpAfter(Duration),
    HostnameAfter(Duration),
    Never,
}

impl Address {
    fn parse(text: &str) -> Option<Address> {
        let (kind, delay) = match text.split_once(" after ") {
            Some((kind, delay)) => (kind, Some(Duration::from_secs(delay.strip_suffix('s')?.parse().ok()?))),
            None => (text, None),
        };
        match (kind, delay) {
            ("ip", None) => Some(Address::Ip),
            ("ip", Some(delay)) => Some(Address::IpAfter(delay)),
            ("hostname", None) => Some(Address::Hostname),
            ("hostname", Some(delay)) => Some(Address::HostnameAfter(delay)),
            ("never", None) => Some(Address::Never),
            _ => None,
        }
    }
}

/// Shared with the test, which may change it at any time.
pub(crate) type Default = Arc<Mutex<Address>>;

/// Gives addresses until the lab ends.
pub(crate) async fn run(client: kube::Client, layout: Layout, network: Arc<Network>, default: Default) {
    let api: Api<Service> = Api::all(client.clone());
    let mut services = reflect(api, None, None);
    // The number of its address, by the Service. What is free again is given again: who makes a Service anew finds it
    // where it was.
    let mut given: HashMap<String, (usize, String)> = HashMap::new();
    while services.changed().await.is_ok() {
        let now = services.borrow_and_update().clone();
        given.retain(|uid, (_, address)| {
            let kept = now.values().any(|service| service.metadata.uid.as_ref() == Some(uid) && is_balancer(service));
            if !kept {
                network.remove_balancer(address);
            }
            kept
        });
        for service in now.values().filter(|service| is_balancer(service)) {
            let uid = service.metadata.uid.clone().unwrap_or_default();
            if given.contains_key(&uid) {
                continue;
            }
            let asked = service.metadata.annotations.as_ref().and_then(|all| all.get("lab/address"));
            let default = *default.lock().unwrap_or_else(PoisonError::into_inner);
            let wanted = asked.and_then(|text| Address::parse(text)).unwrap_or(default);
            let (kind, delay) = match wanted {
                Address::Never => continue,
                Address::Ip => ("ip", Duration::ZERO),
                Address::IpAfter(delay) => ("ip", delay),
                Address::Hostname => ("hostname", Duration::ZERO),
                Address::HostnameAfter(delay) => ("hostname", delay),
            };
            let free = |n: &usize| given.values().all(|(taken, _)| taken != n);
            let number = (0..).find(free).unwrap_or_default();
            let address = match kind {
                "ip" => layout.balancer_ip(number),
                _ => format!("lb-{number}.{}.example.com", layout.name),
            };
            given.insert(uid, (number, address.clone()));
            tokio::spawn(give(client.clone(), service.clone(), kind, address, delay, layout.index, network.clone()));
        }
    }
}

async fn give(
    client: kube::Client,
    service: Arc<Service>,
    kind: &'static str,
    address: String,
    delay: Duration,
    cluster: usize,
    network: Arc<Network>,
) {
    tokio::time::sleep(delay).await;
    let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
    network.set_balancer(&address, cluster, namespace);
    let name = service.metadata.name.as_deref().unwrap_or_default();
    let api: Api<Service> = Api::namespaced(client, namespace);
    let status = json!({ "status": { "loadBalancer": { "ingress": [{ kind: address }] } } });
    tell_status(&api, name, &status).await;
}

fn is_balancer(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    // A class that nobody here implements is somebody else's to serve.
    spec.is_some_and(|spec| spec.type_.as_deref() == Some("LoadBalancer") && spec.load_balancer_class.is_none())
        && service.metadata.deletion_timestamp.is_none()
}
