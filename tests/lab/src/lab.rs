//! A lab: some clusters, the etcd they share, and the network between them.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use crate::balancer::Address;
use crate::cluster::{Cluster, Start, socket_path};
use crate::control_plane;
use crate::error::{Error, Result};
use crate::fabric::{self, Fabric};
use crate::home::Home;
use crate::network::{Network, free_ports};
use crate::process::{Process, Processes, Program};
use crate::slots::{self, Slots};
use crate::tools::{self, Istio, Tool};

/// How a lab differs from the usual.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where its files are; a temporary folder by default.
    pub dir: Option<PathBuf>,
    /// What LoadBalancer Services get.
    pub address: Address,
    /// Whether it waits for its share of the machine, as tests must.
    pub limited: bool,
    /// Whether pods labelled `app=istiod` are run.
    pub istiod: bool,
    /// Whether injected pods are real.
    pub proxies: Proxies,
    /// The longest token that API servers grant, as managed clouds limit them; no limit by default. Ten minutes are the
    /// least.
    pub longest_token: Option<Duration>,
    /// Whether each cluster's tokens have an issuer of its own, which others can be told to trust ([`Cluster::trust`]).
    /// Otherwise all say the same one, as clusters do that nobody has configured.
    pub own_issuers: bool,
}

/// What becomes of injected pods, gateways among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proxies {
    /// They are Ready at once and do nothing.
    #[default]
    None,
    /// Each has a network of its own, Istio's agent and an upstream Envoy. Pods of one cluster reach each other, and
    /// load balancers. istiods are told to leave out what only Istio's own Envoy can do, ALPN of its own among it.
    NetworkEach,
    /// The same, and pods of all clusters reach each other.
    OneNetwork,
    /// The same, and pods reach those of their own network in all clusters, and no others: the one that the annotation
    /// `lab/network` names, else the label `topology.istio.io/network`. Pods that name none reach what is in none.
    Networks(&'static [&'static str]),
}

impl Default for Options {
    fn default() -> Self {
        Options {
            dir: None,
            address: Address::Ip,
            limited: true,
            istiod: true,
            proxies: Proxies::None,
            longest_token: None,
            own_issuers: false,
        }
    }
}

/// Running clusters; they end when this is dropped, and when the process ends however it ends.
pub struct Lab {
    clusters: Vec<Arc<Cluster>>,
    etcd: Arc<Etcd>,
    processes: Processes,
    runtime: Option<tokio::runtime::Runtime>,
    home: Home,
    _slots: Slots,
}

/// What every lab needs.
pub(crate) const FOR_CLUSTERS: [Tool; 7] =
    [Tool::Etcd, Tool::ApiServer, Tool::ControllerManager, Tool::Scheduler, Tool::Kubelet, Tool::Kwok, Tool::Kubectl];

/// What a lab with proxies needs beside the rest.
pub(crate) const FOR_PROXIES: [Tool; 3] = [Tool::PilotAgent, Tool::Namespaces, Tool::Envoy];

/// More would leave the address ranges.
const MOST_CLUSTERS: usize = 24;

impl Lab {
    /// Starts clusters of these names and returns when all are ready. Builds missing tools first.
    pub fn start(names: &[&str], options: Options) -> Result<Lab> {
        check(names)?;
        let mut needed = FOR_CLUSTERS.to_vec();
        if options.istiod {
            needed.push(Istio::Current.pilot_discovery());
        }
        if let Proxies::Networks(networks) = options.proxies
            && networks.len() > control_plane::MOST_NETWORKS
        {
            return Err(Error::Usage(format!("a lab has at most {} networks", control_plane::MOST_NETWORKS)));
        }
        if options.proxies != Proxies::None {
            fabric::possible().map_err(Error::Usage)?;
            needed.extend(FOR_PROXIES);
        }
        if options.longest_token.is_some() {
            needed.push(Tool::Signer);
        }
        tools::ensure(&needed)?;
        let slots = if options.limited { slots::acquire(names.len())? } else { Slots::default() };
        let home = match &options.dir {
            Some(dir) => Home::at(dir)?,
            None => Home::temporary()?,
        };
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let processes = Processes::new(&home.dir)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("lab")
            .enable_all()
            .build()
            .map_err(Error::file("start threads in", &home.dir))?;
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let starting = start_all(names, home.dir.clone(), processes.clone(), options);
        match block(runtime.handle(), starting) {
            Ok((etcd, clusters)) => {
                let lab = Lab { clusters, etcd, processes, runtime: Some(runtime), home, _slots: slots };
                lab.write_kubeconfig()?;
                Ok(lab)
            }
            Err(error) => {
                processes.kill_all();
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    /// The cluster of that name; a name that was not started is a mistake of the test.
    pub fn cluster(&self, name: &str) -> &Arc<Cluster> {
        let found = self.clusters.iter().find(|cluster| cluster.name() == name);
        found.unwrap_or_else(|| panic!("no cluster {name:?} in this lab"))
    }

    pub fn clusters(&self) -> &[Arc<Cluster>] {
        &self.clusters
    }

    /// The lab's folder.
    pub fn dir(&self) -> &Path {
        &self.home.dir
    }

    /// One kubeconfig with a context for each cluster.
    pub fn kubeconfig_path(&self) -> PathBuf {
        self.home.dir.join("kubeconfig")
    }

    /// etcd stops answering, for all clusters; or goes on.
    pub fn freeze_etcd(&self, frozen: bool) {
        self.etcd.process().freeze(frozen);
    }

    /// etcd ends, for all clusters.
    pub fn stop_etcd(&self) {
        let process = self.etcd.process();
        self.wait_for(async move { process.kill().await });
    }

    /// etcd starts again with the data it had.
    pub fn start_etcd(&self) -> Result<()> {
        let etcd = self.etcd.clone();
        self.wait_for(async move { etcd.start().await })
    }

    /// Memory of the lab's shared processes in KiB.
    pub fn memory(&self) -> Vec<(String, u64)> {
        let mut all = Vec::new();
        for cluster in &self.clusters {
            all.extend(cluster.memory().into_iter().map(|(name, kib)| (format!("{} {name}", cluster.name()), kib)));
        }
        all
    }

    fn wait_for<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let runtime = self.runtime.as_ref().expect("the runtime lives as long as the lab");
        block(runtime.handle(), work)
    }

    fn write_kubeconfig(&self) -> Result<()> {
        let mut merged = json!({ "apiVersion": "v1", "kind": "Config", "clusters": [], "contexts": [], "users": [] });
        for cluster in &self.clusters {
            let file = cluster.kubeconfig_path();
            let text = std::fs::read_to_string(&file).map_err(Error::file("read", &file))?;
            let one: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
            for list in ["clusters", "contexts", "users"] {
                if let (Some(all), Some(some)) = (merged[list].as_array_mut(), one[list].as_array()) {
                    all.extend(some.iter().cloned());
                }
            }
        }
        merged["current-context"] = json!(self.clusters[0].name());
        let file = self.kubeconfig_path();
        std::fs::write(&file, format!("{merged:#}\n")).map_err(Error::file("write", &file))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.clusters.iter().for_each(|cluster| cluster.end_traffic());
        self.processes.kill_all(); // while there still are threads that see them end
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Runs work on the lab's threads and waits for it, whatever runtime the caller is in.
pub(crate) fn block<T: Send + 'static>(
    runtime: &tokio::runtime::Handle,
    work: impl Future<Output = T> + Send + 'static,
) -> T {
    let (tell, told) = std::sync::mpsc::channel();
    runtime.spawn(async move { tell.send(work.await) });
    told.recv().expect("the lab's own work does not panic")
}

fn check(names: &[&str]) -> Result<()> {
    if names.is_empty() || names.len() > MOST_CLUSTERS {
        return Err(Error::Usage(format!("a lab has between 1 and {MOST_CLUSTERS} clusters")));
    }
    for (n, name) in names.iter().enumerate() {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || !name.chars().all(fits) || name.starts_with('-') || name.ends_with('-') {
            return Err(Error::Usage(format!("{name:?} is no name for a cluster: use a-z, 0-9 and -")));
        }
        if names[..n].contains(name) {
            return Err(Error::Usage(format!("the cluster name {name:?} stands there twice")));
        }
    }
    Ok(())
}

async fn start_all(
    names: Vec<String>,
    dir: PathBuf,
    processes: Processes,
    options: Options,
) -> Result<(Arc<Etcd>, Vec<Arc<Cluster>>)> {
    let etcd = Arc::new(Etcd::new(&dir, &processes).await?);
    let network = Arc::new(Network::default());
    let fabric = match options.proxies {
        Proxies::None => None,
        _ => Some(Arc::new(Fabric::start(socket_path(&dir.join("net.sock"), names.len()), &dir, &processes).await?)),
    };
    let routes = Routes { clusters: names.len(), proxies: options.proxies };
    let (mut serve, mut starts) = (Vec::new(), Vec::new());
    for (index, name) in names.into_iter().enumerate() {
        let listen = Error::file("listen for", "the kubelet");
        let resolver = TcpListener::bind(("127.0.0.1", 0)).await.map_err(listen)?;
        let at = resolver.local_addr().map_err(Error::file("listen for", "the kubelet"))?;
        serve.push(format!("--serve={at}"));
        starts.push(tokio::spawn(Cluster::start(Start {
            name,
            index,
            dir: dir.clone(),
            etcd_port: etcd.port,
            resolver,
            processes: processes.clone(),
            network: network.clone(),
            address: options.address,
            istiod: options.istiod,
            fabric: fabric.clone(),
            routes: routes.clone(),
            longest_token: options.longest_token,
            own_issuers: options.own_issuers,
        })));
    }
    let mut clusters = Vec::new();
    for start in starts {
        let started = start.await.map_err(|error| Error::Usage(format!("starting a cluster: {error}")))?;
        clusters.push(Arc::new(started?));
    }
    let ports = start_kubelet(&dir, clusters[0].dir(), serve, &processes).await?;
    ports.into_iter().enumerate().for_each(|(index, port)| network.set_kubelet(index, port));
    Ok((etcd, clusters))
}

/// What pods reach.
#[derive(Clone, Debug)]
pub(crate) struct Routes {
    clusters: usize,
    proxies: Proxies,
}

impl Routes {
    /// The position of a network among those that the lab was given.
    pub fn network(&self, name: &str) -> Option<usize> {
        let Proxies::Networks(names) = self.proxies else { return None };
        names.iter().position(|known| *known == name)
    }

    /// The networks that a pod of a cluster is in, and every load balancer.
    pub fn of(&self, index: usize, network: Option<usize>) -> Vec<String> {
        let together = self.proxies == Proxies::OneNetwork;
        let clusters = || 0..self.clusters;
        let pods: Vec<String> = match network {
            Some(network) => {
                let all = clusters().map(|cluster| control_plane::network_range(cluster, network));
                all.chain(control_plane::inner_ranges(index)).collect()
            }
            None => {
                let all = clusters().filter(|other| together || *other == index);
                all.flat_map(control_plane::own_ranges).collect()
            }
        };
        pods.into_iter().chain(clusters().map(control_plane::balancer_range)).collect()
    }
}

/// Starts the program that all API servers call as a kubelet; the ports it listens on, one a cluster.
async fn start_kubelet(dir: &Path, cluster: &Path, serve: Vec<String>, processes: &Processes) -> Result<Vec<u16>> {
    let file = |name: &str| cluster.join("pki").join(name).display().to_string();
    let mut args = vec![format!("--cert={}", file("server.crt")), format!("--key={}", file("server.key"))];
    args.extend(serve);
    let program = tools::path(Tool::Kubelet)?;
    let log = dir.join("kubelet.log");
    let what = Program { name: "kubelet", program: &program, args, env: Vec::new(), dir, log };
    let process = processes.spawn(what).await?;
    let began = Instant::now();
    loop {
        let said = std::fs::read_to_string(&process.log).unwrap_or_default();
        if let Some((ports, _)) = said.strip_prefix("serving ").and_then(|said| said.split_once('\n')) {
            return Ok(ports.split(' ').filter_map(|port| port.parse().ok()).collect());
        }
        if !process.running() {
            return Err(process.ended_error());
        }
        if began.elapsed() > Duration::from_secs(60) {
            return Err(Error::NotReady { name: "the kubelet".into(), seconds: 60, log: process.tail() });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

struct Etcd {
    port: u16,
    peer_port: u16,
    dir: PathBuf,
    processes: Processes,
    process: Mutex<Option<Process>>,
}

impl Etcd {
    async fn new(dir: &Path, processes: &Processes) -> Result<Etcd> {
        let mut tries = 0;
        loop {
            let ports = free_ports(2).map_err(Error::file("find ports for", "etcd"))?;
            let etcd = Etcd {
                port: ports[0],
                peer_port: ports[1],
                dir: dir.to_owned(),
                processes: processes.clone(),
                process: Mutex::new(None),
            };
            match etcd.start().await {
                Ok(()) => return Ok(etcd),
                // Somebody took a port between finding and using it. It was noted as the member's own.
                Err(Error::Ended { log, .. }) if log.contains("address already in use") && tries < 3 => {
                    let _ = std::fs::remove_dir_all(dir.join("etcd"));
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn start(&self) -> Result<()> {
        let program = tools::path(Tool::Etcd)?;
        let args = control_plane::etcd(&self.dir.join("etcd"), self.port, self.peer_port);
        let log = self.dir.join("etcd.log");
        let what = Program { name: "etcd", program: &program, args, env: Vec::new(), dir: &self.dir, log };
        let process = self.processes.spawn(what).await?;
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = Some(process.clone());
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            if !process.running() {
                return Err(process.ended_error());
            }
            if began.elapsed() > Duration::from_secs(60) {
                return Err(Error::NotReady { name: "etcd".into(), seconds: 60, log: process.tail() });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    fn process(&self) -> Process {
        let process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        process.clone().expect("etcd was started with the lab")
    }
}
