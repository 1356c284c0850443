//! Who stands behind an address inside the clusters: pods that are processes of the lab, and the
//! addresses of LoadBalancer Services.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::TcpStream;

/// A pod that is a process of the lab.
#[derive(Clone, Debug)]
pub(crate) struct PodProcess {
    pub cluster: usize,
    pub namespace: String,
    pub name: String,
    pub ip: String,
    /// The pod's ports and the loopback ports that stand for them.
    pub ports: BTreeMap<u16, u16>,
    pub log: Option<PathBuf>,
    /// What runs in it, which exec runs once more with other arguments.
    pub program: Option<PathBuf>,
    pub ready: bool,
    pub labels: BTreeMap<String, String>,
}

/// A pod with a network namespace of its own, in which a proxy runs.
#[derive(Clone, Debug)]
pub(crate) struct ProxyPod {
    pub cluster: usize,
    pub namespace: String,
    pub name: String,
    pub ip: String,
    pub labels: BTreeMap<String, String>,
    /// Ports of its containers that have names.
    pub ports: BTreeMap<String, u16>,
    pub ready: bool,
    pub log: PathBuf,
}

/// Shared by all clusters of a lab, as a network between them would be.
#[derive(Debug, Default)]
pub(crate) struct Network {
    pods: Mutex<HashMap<String, PodProcess>>,
    proxies: Mutex<HashMap<String, ProxyPod>>,
    /// Address or hostname of a LoadBalancer, and the cluster and namespace of its Service.
    balancers: Mutex<HashMap<String, (usize, String)>>,
    /// Loopback ports of each cluster's kubelet.
    kubelets: Mutex<HashMap<usize, u16>>,
}

/// istiod's ports that an east-west gateway passes through when it exposes the control plane.
const ISTIOD_PORTS: [u16; 2] = [15012, 15017];

impl Network {
    pub fn set_pod(&self, pod: PodProcess) {
        lock(&self.pods).insert(pod_key(pod.cluster, &pod.namespace, &pod.name), pod);
    }

    pub fn remove_pod(&self, cluster: usize, namespace: &str, name: &str) {
        lock(&self.pods).remove(&pod_key(cluster, namespace, name));
    }

    pub fn pod(&self, cluster: usize, namespace: &str, name: &str) -> Option<PodProcess> {
        lock(&self.pods).get(&pod_key(cluster, namespace, name)).cloned()
    }

    pub fn pods(&self, cluster: usize) -> Vec<PodProcess> {
        let mut pods: Vec<_> = lock(&self.pods).values().filter(|pod| pod.cluster == cluster).cloned().collect();
        pods.sort_by(|a, b| a.name.cmp(&b.name));
        pods
    }

    pub fn set_proxy(&self, pod: ProxyPod) {
        lock(&self.proxies).insert(pod_key(pod.cluster, &pod.namespace, &pod.name), pod);
    }

    pub fn remove_proxy(&self, cluster: usize, namespace: &str, name: &str) {
        lock(&self.proxies).remove(&pod_key(cluster, namespace, name));
    }

    pub fn proxies(&self, cluster: usize) -> Vec<ProxyPod> {
        let mut pods: Vec<_> = lock(&self.proxies).values().filter(|pod| pod.cluster == cluster).cloned().collect();
        pods.sort_by(|a, b| a.name.cmp(&b.name));
        pods
    }

    pub fn set_kubelet(&self, cluster: usize, port: u16) {
        lock(&self.kubelets).insert(cluster, port);
    }

    pub fn set_balancer(&self, address: &str, cluster: usize, namespace: &str) {
        lock(&self.balancers).insert(address.to_owned(), (cluster, namespace.to_owned()));
    }

    pub fn remove_balancer(&self, address: &str) {
        lock(&self.balancers).remove(address);
    }

    /// The loopback port behind an address, as seen from inside a cluster.
    pub fn resolve(&self, cluster: usize, host: &str, port: u16) -> Option<u16> {
        if host == "localhost" || host.starts_with("127.") {
            return Some(port);
        }
        if port == 10250 {
            return lock(&self.kubelets).get(&cluster).copied();
        }
        if let Some((owner, namespace)) = lock(&self.balancers).get(host).cloned() {
            // A gateway or an istiod of its own: either leads to the istiod of the Service's namespace.
            let leads = |pod: &PodProcess| pod.ready && pod.namespace == namespace && ISTIOD_PORTS.contains(&port);
            return self.pods(owner).into_iter().find(leads)?.ports.get(&port).copied();
        }
        let pods = lock(&self.pods);
        let pod = pods.values().find(|pod| pod.cluster == cluster && pod.ip == host)?;
        pod.ports.get(&port).copied()
    }
}

/// Joins a connection to a loopback port until both sides are done.
pub(crate) async fn join(mut from: impl AsyncRead + AsyncWrite + Unpin, port: u16) -> std::io::Result<()> {
    let mut to = TcpStream::connect(("127.0.0.1", port)).await?;
    to.set_nodelay(true)?;
    copy_bidirectional(&mut from, &mut to).await.map(|_| ())
}

/// Ports that are free now. They are let go together, so that one call never gives a port twice.
pub(crate) fn free_ports(count: usize) -> std::io::Result<Vec<u16>> {
    let listeners: Vec<_> =
        (0..count).map(|_| std::net::TcpListener::bind(("127.0.0.1", 0))).collect::<std::io::Result<_>>()?;
    listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

/// Whether a Service's selector is for a pod of these labels.
pub(crate) fn selects(selector: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn pod_key(cluster: usize, namespace: &str, name: &str) -> String {
    format!("{cluster}/{namespace}/{name}")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
