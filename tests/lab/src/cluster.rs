//! One cluster: how it comes up, and what a test can do with it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

use crate::audit::{self, Requests};
use crate::balancer::{self, Address};
use crate::control_plane::{self, Layout};
use crate::error::{Error, Result};
use crate::fabric::Fabric;
use crate::front::{Effect, Fault, Front};
use crate::kubelet::{self, Kubelet};
use crate::lab::Routes;
use crate::network::{Network, PodProcess, ProxyPod, free_ports};
use crate::pki::Pki;
use crate::populate::populate;
use crate::process::{Process, Processes, Program};
use crate::proxy::{self, Proxies};
use crate::signer;
use crate::tools::{self, Tool};
use crate::traffic::RealPod;
use crate::{direct, egress, lab};

/// Time for anything to become ready on a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// A running cluster.
pub struct Cluster {
    pub(crate) layout: Layout,
    pki: Pki,
    client: kube::Client,
    front: Front,
    processes: Processes,
    network: Arc<Network>,
    fabric: Option<Arc<Fabric>>,
    runtime: tokio::runtime::Handle,
    parts: Mutex<Parts>,
    tokens: watch::Sender<u64>,
    addresses: balancer::Default,
    way_out: Option<String>,
    counted_from: AtomicU64,
    /// Jobs made so far.
    pub(crate) jobs: AtomicU64,
}

#[derive(Clone)]
struct Parts {
    api_server: Process,
    controllers: Vec<Process>,
}

/// What the lab prepares for a cluster before it starts.
pub(crate) struct Start {
    pub name: String,
    pub index: usize,
    pub dir: PathBuf,
    pub etcd_port: u16,
    pub resolver: TcpListener,
    pub processes: Processes,
    pub network: Arc<Network>,
    pub address: Address,
    pub istiod: bool,
    pub fabric: Option<Arc<Fabric>>,
    /// What its pods reach.
    pub routes: Routes,
    pub longest_token: Option<Duration>,
    pub own_issuers: bool,
}

impl Cluster {
    pub(crate) async fn start(start: Start) -> Result<Cluster> {
        let bind = || TcpListener::bind(("127.0.0.1", 0));
        let listen = |what: &'static str| Error::file("listen for", what);
        let egress_socket = socket_path(&start.dir.join(format!("{}.sock", start.name)), start.index);
        let egress = UnixListener::bind(&egress_socket).map_err(Error::file("listen at", &egress_socket))?;
        let front = bind().await.map_err(listen("the API server"))?;
        let port = |listener: &TcpListener| listener.local_addr().map(|at| at.port());
        let mut layout = Layout {
            name: start.name.clone(),
            dir: start.dir.join(&start.name),
            index: start.index,
            api_port: 0,
            front_port: port(&front).map_err(listen("the API server"))?,
            egress_socket,
            etcd_port: start.etcd_port,
            proxies: start.fabric.is_some(),
            longest_token: start.longest_token,
            own_issuers: start.own_issuers,
        };
        let names = [layout.api_service_ip(), format!("api.{}.example.com", layout.name)];
        let pki = Pki::create(&layout.file("pki"), &layout.name, &names)?;
        tokio::spawn(egress::serve(egress, start.index, start.network.clone()));
        let inside = start.fabric.clone().map(|fabric| egress::Inside { fabric, cluster: layout.name.clone() });
        tokio::spawn(egress::serve_kubelet(start.resolver, start.index, start.network.clone(), inside));

        let (api_server, client) = start_api_server(&mut layout, &pki, &start.processes).await?;
        let front = Front::start(front, layout.api_port, &pki)?;
        let controllers = start_controllers(&layout, &pki, &start.processes).await?;
        populate(&client, &layout, &controllers).await?;

        let (tokens, token_epoch) = watch::channel(0);
        let addresses = Arc::new(Mutex::new(start.address));
        tokio::spawn(balancer::run(client.clone(), layout.clone(), start.network.clone(), addresses.clone()));
        let given = Arc::new(AtomicUsize::new(0));
        let mut way_out = None;
        if let Some(fabric) = start.fabric.clone() {
            let (ip, routes) = (layout.process_pod_ip(given.fetch_add(1, Ordering::Relaxed)), start.routes.clone());
            way_out = Some(egress::open_to_istiods(&layout, fabric.clone(), &ip, &routes).await?);
            tokio::spawn(proxy::run(Proxies {
                client: client.clone(),
                layout: layout.clone(),
                network: start.network.clone(),
                fabric,
                addresses: given.clone(),
                routes: start.routes,
            }));
        }
        if start.istiod {
            tokio::spawn(kubelet::run(Kubelet {
                client: client.clone(),
                layout: layout.clone(),
                ca_pem: pki.ca_pem.clone(),
                network: start.network.clone(),
                processes: start.processes.clone(),
                tokens: token_epoch,
                addresses: given,
                way_out: way_out.clone(),
            }));
        }
        Ok(Cluster {
            counted_from: AtomicU64::new(audit::end(&layout.file("audit.log"))),
            jobs: AtomicU64::new(0),
            layout,
            pki,
            client,
            front,
            processes: start.processes,
            network: start.network,
            fabric: start.fabric,
            runtime: tokio::runtime::Handle::current(),
            parts: Mutex::new(Parts { api_server, controllers }),
            tokens,
            addresses,
            way_out,
        })
    }

    pub fn name(&self) -> &str {
        &self.layout.name
    }

    /// A kubeconfig of a cluster administrator; its one context has the cluster's name.
    pub fn kubeconfig_path(&self) -> PathBuf {
        self.layout.file("kubeconfig")
    }

    /// The API server's URL, as the kubeconfig has it.
    pub fn server(&self) -> String {
        self.layout.front_url()
    }

    /// The API server's URL without the place where things go wrong.
    pub fn direct_server(&self) -> String {
        self.layout.api_url()
    }

    /// Where pods of this cluster reach the API server, and pods of no other.
    pub fn inner_server(&self) -> String {
        let (ip, port) = self.layout.api_endpoint();
        format!("{ip}:{port}")
    }

    /// The HTTP proxy by which programs of this machine call as this cluster's pods do, where pods are real.
    pub fn way_out(&self) -> Option<&str> {
        self.way_out.as_deref()
    }

    /// The administrator's bearer token.
    pub fn token(&self) -> String {
        self.layout.token("admin")
    }

    /// A bearer token of a user that has no rights but those a test gives to `lab-viewer`.
    pub fn powerless_token(&self) -> String {
        self.layout.token("viewer")
    }

    /// The certificate authority of the API server, PEM.
    pub fn certificate_authority(&self) -> &str {
        &self.pki.ca_pem
    }

    /// Folder of the cluster's files and logs.
    pub fn dir(&self) -> &Path {
        &self.layout.dir
    }

    /// The lab's own threads.
    pub(crate) fn runtime(&self) -> &tokio::runtime::Handle {
        &self.runtime
    }

    /// A client for use on the lab's own runtime; its requests are not counted.
    pub(crate) fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// A request of an administrator, sent on the lab's own runtime: a connection ends with the runtime that it was
    /// made on, and each test has one of its own.
    pub async fn request(&self, request: http::Request<Vec<u8>>) -> Result<serde_json::Value> {
        let client = self.client();
        let sent = self.runtime.spawn(async move { client.request(request).await });
        let failed = |error: &dyn std::fmt::Display| Error::Usage(format!("a request to {}: {error}", self.name()));
        sent.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
    }

    /// Runs kubectl as administrator; its output, or its error as an error.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        self.run(Tool::Kubectl, args, None)
    }

    /// Applies manifests with kubectl.
    pub fn apply(&self, manifests: &str) -> Result<String> {
        self.run(Tool::Kubectl, &["apply", "-f", "-"], Some(manifests))
    }

    /// An object as JSON, `None` if there is none. Faults of the API server are no matter.
    pub fn get(&self, args: &[&str]) -> Result<Option<serde_json::Value>> {
        if let Some(path) = direct::path(args) {
            return self.get_directly(&path);
        }
        let all: Vec<&str> = ["get", "-o", "json", "--ignore-not-found"].iter().chain(args).copied().collect();
        let text = self.run(Tool::Kubectl, &all, None)?;
        Ok(serde_json::from_str(&text).ok())
    }

    /// As kubectl prints it.
    fn get_directly(&self, path: &str) -> Result<Option<serde_json::Value>> {
        let request = http::Request::get(path).body(Vec::new()).unwrap_or_default();
        let (client, (tell, answer)) = (self.client(), std::sync::mpsc::sync_channel(1));
        // This thread may be one of a runtime, which must not wait for another: it waits for the answer alone.
        self.runtime.spawn(async move { tell.send(client.request::<serde_json::Value>(request).await) });
        let failed = |error: &dyn std::fmt::Display| Error::Usage(format!("{path} of {}: {error}", self.name()));
        match answer.recv().map_err(|error| failed(&error))? {
            Ok(mut object) => {
                if let Some(metadata) = object["metadata"].as_object_mut() {
                    metadata.remove("managedFields");
                }
                Ok(Some(object))
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(failed(&error)),
        }
    }

    /// Runs a tool with this cluster's kubeconfig in KUBECONFIG.
    pub fn run(&self, tool: Tool, args: &[&str], input: Option<&str>) -> Result<String> {
        let mut command = Command::new(tools::path(tool)?);
        command.args(args).env("KUBECONFIG", self.kubeconfig_path());
        command.env("KUBECACHEDIR", self.layout.file("cache"));
        output(command, input)
    }

    /// Asks the question until the answer is yes, as long as the lab's patience lasts: ever less often, since a
    /// question is most often a run of kubectl, which costs a tenth of a second of a core.
    pub fn wait_until(&self, what: &str, mut question: impl FnMut() -> bool) -> Result<()> {
        let began = Instant::now();
        let mut pause = Duration::from_millis(50);
        while !question() {
            if began.elapsed() > PATIENCE {
                let name = format!("{what} in cluster {}", self.name());
                return Err(Error::NotReady { name, seconds: PATIENCE.as_secs(), log: String::new() });
            }
            std::thread::sleep(pause);
            pause = (pause * 3 / 2).min(Duration::from_millis(500));
        }
        Ok(())
    }

    /// The istiod pods that run now, with the loopback ports that stand for theirs.
    pub fn istiods(&self) -> Vec<Istiod> {
        self.network.pods(self.layout.index).into_iter().filter(|pod| pod.log.is_some()).map(Istiod).collect()
    }

    /// Waits for so many ready istiods and returns them.
    pub fn wait_for_istiods(&self, count: usize) -> Result<Vec<Istiod>> {
        let ready = || self.istiods().into_iter().filter(|istiod| istiod.0.ready).collect::<Vec<_>>();
        let waited = self.wait_until(&format!("{count} ready istiods"), || ready().len() == count);
        match waited {
            Err(Error::NotReady { name, seconds, .. }) => {
                let log = self.istiods().iter().map(|istiod| istiod.log_tail()).collect::<Vec<_>>().join("\n");
                Err(Error::NotReady { name, seconds, log })
            }
            other => other.map(|()| ready()),
        }
    }

    /// The addresses of this cluster's pods that are in the network of this position, where a lab has several.
    pub fn network_range(&self, network: usize) -> String {
        control_plane::network_range(self.layout.index, network)
    }

    /// Lets everything be lost that pods send to the address of a load balancer, without a word, as a firewall does
    /// that drops; or lets it arrive again.
    pub fn lose(&self, address: &str, lost: bool) -> Result<()> {
        let fabric = self.fabric.as_ref().ok_or_else(|| Error::Usage("this lab has no proxies".into()))?;
        fabric.lose(address, lost).map_err(Error::file("change the address", Path::new(address)))
    }

    /// Ends what carries calls of real pods, in all clusters of the lab.
    pub(crate) fn end_traffic(&self) {
        if let Some(fabric) = &self.fabric {
            fabric.end();
        }
    }

    /// The pods that are real, ready or not.
    pub(crate) fn proxies(&self) -> Vec<(ProxyPod, RealPod)> {
        let Some(fabric) = &self.fabric else { return Vec::new() };
        let real = |pod: ProxyPod| {
            let real = RealPod {
                fabric: fabric.clone(),
                fabric_name: proxy::fabric_name(&self.layout, &pod.namespace, &pod.name),
                cluster: self.layout.name.clone(),
                namespace: pod.namespace.clone(),
                name: pod.name.clone(),
                ip: pod.ip.clone(),
                log: pod.log.clone(),
            };
            (pod, real)
        };
        self.network.proxies(self.layout.index).into_iter().map(real).collect()
    }

    /// Lets a local port stand for a pod's port, for port-forward and for webhooks.
    pub fn serve_pod_port(&self, namespace: &str, pod: &str, ip: &str, port: u16, local: u16) {
        let existing = self.network.pod(self.layout.index, namespace, pod);
        let mut process = existing.unwrap_or(PodProcess {
            cluster: self.layout.index,
            namespace: namespace.to_owned(),
            name: pod.to_owned(),
            ip: ip.to_owned(),
            ports: Default::default(),
            log: None,
            program: None,
            ready: true,
            labels: Default::default(),
        });
        process.ports.insert(port, local);
        self.network.set_pod(process);
    }

    /// What LoadBalancer Services made from now on get, unless they say otherwise.
    pub fn set_address(&self, address: Address) {
        *self.addresses.lock().unwrap_or_else(PoisonError::into_inner) = address;
    }

    /// Requests answered since the start or the last [`Cluster::reset_requests`]; those of the cluster's own
    /// controllers and of the lab are left out.
    pub fn requests(&self) -> Requests {
        let from = self.counted_from.load(Ordering::Relaxed);
        audit::read(&self.layout.file("audit.log"), from).map(|(requests, _)| requests).unwrap_or_default()
    }

    /// Counts from here on.
    pub fn reset_requests(&self) {
        self.counted_from.store(audit::end(&self.layout.file("audit.log")), Ordering::Relaxed);
    }

    /// Lets something go wrong, until [`Cluster::clear_faults`].
    pub fn fault(self: &Arc<Self>, fault: Fault) -> Result<()> {
        let cluster = Arc::clone(self);
        self.front.add(fault.clone());
        lab::block(&self.runtime, async move {
            let parts = cluster.parts();
            match fault.effect {
                Effect::Stopped => {
                    parts.api_server.kill().await;
                    cluster.front.settle().await;
                }
                Effect::Unreachable => cluster.front.settle().await,
                Effect::Frozen => parts.api_server.freeze(true),
                Effect::TokensExpired => cluster.expire_tokens().await?,
                _ => {}
            }
            Ok(())
        })
    }

    /// Everything works again; a stopped API server is started and ready when this returns.
    pub fn clear_faults(self: &Arc<Self>) -> Result<()> {
        let cluster = Arc::clone(self);
        lab::block(&self.runtime, async move {
            let api_server = cluster.parts().api_server;
            api_server.freeze(false);
            if !api_server.running() {
                cluster.restart_api_server().await?;
            }
            cluster.front.clear();
            cluster.front.settle().await;
            Ok(())
        })
    }

    /// The cluster is gone for good: nothing listens, nothing comes back.
    pub fn destroy(self: &Arc<Self>) -> Result<()> {
        self.front.add(Fault::unreachable());
        let cluster = Arc::clone(self);
        lab::block(&self.runtime, async move {
            let parts = cluster.parts();
            for process in parts.controllers.iter().chain([&parts.api_server]) {
                process.kill().await;
            }
            for pod in cluster.network.pods(cluster.layout.index) {
                cluster.network.remove_pod(pod.cluster, &pod.namespace, &pod.name);
                let name = format!("{}/{}/{}", cluster.layout.name, pod.namespace, pod.name);
                cluster.processes.kill_named(&name).await;
            }
            Ok(())
        })
    }

    /// Memory of the cluster's own processes in KiB, by process; istiods included.
    pub fn memory(&self) -> Vec<(String, u64)> {
        let parts = self.parts();
        let own = parts.controllers.iter().chain([&parts.api_server]).map(|p| (p.name.clone(), p.pid()));
        let pods = self.processes.named(&format!("{}/", self.layout.name));
        own.chain(pods).map(|(name, pid)| (name, resident_kib(pid))).collect()
    }

    fn parts(&self) -> Parts {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn expire_tokens(&self) -> Result<()> {
        self.pki.renew_service_account_key()?;
        for process in &self.parts().controllers {
            process.kill().await;
        }
        self.parts().api_server.kill().await;
        self.restart_api_server().await?;
        let controllers = start_controllers(&self.layout, &self.pki, &self.processes).await?;
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).controllers = controllers;
        self.tokens.send_modify(|epoch| *epoch += 1);
        Ok(())
    }

    async fn restart_api_server(&self) -> Result<()> {
        let api_server = spawn_api_server(&self.layout, &self.pki, &self.processes).await?;
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).api_server = api_server.clone();
        wait_for_api_server(&self.client, &api_server).await
    }
}

/// An istiod process and the pod it stands for.
#[derive(Clone, Debug)]
pub struct Istiod(PodProcess);

impl Istiod {
    pub fn pod(&self) -> &str {
        &self.0.name
    }

    pub fn namespace(&self) -> &str {
        &self.0.namespace
    }

    /// The loopback port that stands for the pod's: 8080, 15010, 15012, 15014 or 15017.
    pub fn port(&self, port: u16) -> Option<u16> {
        self.0.ports.get(&port).copied()
    }

    pub fn log(&self) -> String {
        let bytes = self.0.log.as_ref().and_then(|file| std::fs::read(file).ok()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

/// Runs a command with its input; its output, or an error that holds what it said.
pub(crate) fn output(mut command: Command, input: Option<&str>) -> Result<String> {
    use std::io::Write;
    use std::process::Stdio;
    let line = format!(
        "{} {}",
        command.get_program().display(),
        command.get_args().map(|a| a.display().to_string()).collect::<Vec<_>>().join(" ")
    );
    let failed = |output: String| Error::Command { command: line.clone(), output };
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(|e| failed(e.to_string()))?;
    if let (Some(mut pipe), Some(text)) = (child.stdin.take(), input) {
        let text = text.to_owned();
        std::thread::spawn(move || pipe.write_all(text.as_bytes()));
    }
    let Output { status, stdout, stderr } = child.wait_with_output().map_err(|e| failed(e.to_string()))?;
    let stdout = String::from_utf8_lossy(&stdout).into_owned();
    match status.success() {
        true => Ok(stdout),
        false => Err(failed(format!("{stdout}{}", String::from_utf8_lossy(&stderr)))),
    }
}

/// The path, or a shorter one: the system takes some hundred bytes.
pub(crate) fn socket_path(wanted: &Path, index: usize) -> PathBuf {
    if wanted.as_os_str().len() < 100 {
        return wanted.to_owned();
    }
    let short = std::env::temp_dir().join(format!("mesh-lab-{}-{index}.sock", std::process::id()));
    let _ = std::fs::remove_file(&short);
    short
}

async fn start_api_server(layout: &mut Layout, pki: &Pki, processes: &Processes) -> Result<(Process, kube::Client)> {
    let mut tries = 0;
    loop {
        layout.api_port = free_ports(1).map_err(Error::file("find a port for", "the API server"))?[0];
        layout.write_config(pki)?;
        signer::start(layout, pki, processes).await?;
        let process = spawn_api_server(layout, pki, processes).await?;
        let client = client(layout, pki)?;
        match wait_for_api_server(&client, &process).await {
            Ok(()) => return Ok((process, client)),
            // Somebody took the port between finding and using it.
            Err(Error::Ended { log, .. }) if log.contains("address already in use") && tries < 3 => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

async fn spawn_api_server(layout: &Layout, pki: &Pki, processes: &Processes) -> Result<Process> {
    spawn(layout, processes, Tool::ApiServer, "kube-apiserver", layout.api_server(pki)).await
}

async fn start_controllers(layout: &Layout, pki: &Pki, processes: &Processes) -> Result<Vec<Process>> {
    let controllers = layout.controller_manager(pki);
    Ok(vec![
        spawn(layout, processes, Tool::ControllerManager, "kube-controller-manager", controllers).await?,
        spawn(layout, processes, Tool::Scheduler, "kube-scheduler", layout.scheduler()).await?,
        spawn(layout, processes, Tool::Kwok, "kwok", layout.kwok()).await?,
    ])
}

async fn spawn(layout: &Layout, processes: &Processes, tool: Tool, name: &str, args: Vec<String>) -> Result<Process> {
    let program = tools::path(tool)?;
    let what = Program { name, program: &program, args, env: Vec::new(), dir: &layout.dir, log: layout.log(name) };
    processes.spawn(what).await
}

fn client(layout: &Layout, pki: &Pki) -> Result<kube::Client> {
    let bad = |error: &dyn std::fmt::Display| Error::Usage(format!("the lab's own kubeconfig: {error}"));
    let mut config = kube::Config::new(layout.api_url().parse().map_err(|e| bad(&e))?);
    let ca = layout.file("pki/ca.crt");
    debug_assert_eq!(ca, pki.file("ca.crt"));
    config.root_cert_file = Some(ca);
    config.auth_info = serde_json::from_value(json!({ "token": layout.token("lab") })).map_err(|e| bad(&e))?;
    kube::Client::try_from(config).map_err(|e| bad(&e))
}

async fn wait_for_api_server(client: &kube::Client, process: &Process) -> Result<()> {
    let began = Instant::now();
    loop {
        let request = http::Request::get("/readyz").body(Vec::new()).unwrap_or_default();
        let asked = tokio::time::timeout(Duration::from_secs(5), client.request_text(request)).await;
        if matches!(asked, Ok(Ok(_))) {
            return Ok(());
        }
        if !process.running() {
            return Err(process.ended_error());
        }
        if began.elapsed() > PATIENCE {
            let seconds = PATIENCE.as_secs();
            return Err(Error::NotReady { name: process.name.clone(), seconds, log: process.tail() });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn resident_kib(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}
