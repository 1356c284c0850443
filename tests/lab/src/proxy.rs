//! Injected pods are real, and so are those that istiod makes for Gateways of the Gateway API: each is a network
//! namespace with the pod's address, in which its `istio-proxy` container runs as injected, a pilot-agent that starts
//! an Envoy. The pod is Ready when its proxy says so, and drains when it is deleted.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams, Preconditions};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::app;
use crate::cluster::PATIENCE;
use crate::control_plane::Layout;
use crate::doors;
use crate::environment::{Here, variables};
use crate::fabric::{Fabric, Inside, Running};
use crate::kubelet::{failures_allowed, name, namespace, now, tell_status, versions};
use crate::lab::Routes;
use crate::network::{Network, ProxyPod};
use crate::projection::{Problem, Root, references};
use crate::reflect::{Objects, reflect};
use crate::tools::{self, Tool};

/// What the runs of pods need of their cluster.
#[derive(Clone)]
pub(crate) struct Proxies {
    pub client: kube::Client,
    pub layout: Layout,
    pub network: Arc<Network>,
    pub fabric: Arc<Fabric>,
    /// Counts the addresses given to pods that the lab runs.
    pub addresses: Arc<AtomicUsize>,
    /// What pods reach.
    pub routes: Routes,
}

/// What the names of istiods lead to follows from these.
#[derive(Clone)]
pub(crate) struct Names {
    pub services: watch::Receiver<Objects<Service>>,
    pub slices: watch::Receiver<Objects<EndpointSlice>>,
}

/// Whether Istio injected it: what it writes there is what the pod got.
const INJECTED: &str = "sidecar.istio.io/status";
/// Whether istiod made it, as a gateway for sidecars.
pub(crate) const MADE: (&str, &str) = ("gateway.istio.io/managed", "istio.io-gateway-controller");

/// How often a proxy is asked for its health before and after it is ready.
const PROBES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// Runs a proxy for every scheduled pod that has one, until the lab ends.
pub(crate) async fn run(proxies: Proxies) {
    let names = Names {
        services: reflect(Api::all(proxies.client.clone()), None, None),
        slices: reflect(Api::all(proxies.client.clone()), None, None),
    };
    tokio::spawn(doors::run(proxies.clone(), names.clone()));
    let mut pods = reflect::<Pod>(Api::all(proxies.client.clone()), None, None);
    // By uid, whether it is to leave, and how long it may take over it.
    let mut running: HashMap<String, watch::Sender<Option<u64>>> = HashMap::new();
    while pods.changed().await.is_ok() {
        let now = pods.borrow_and_update().clone();
        let mine = now.values().filter(|pod| {
            let injected = pod.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(INJECTED));
            let made = pod.metadata.labels.as_ref().is_some_and(|all| all.get(MADE.0).is_some_and(|by| by == MADE.1));
            (injected || made) && pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())
        });
        let mine: HashMap<String, &Arc<Pod>> =
            mine.map(|pod| (pod.metadata.uid.clone().unwrap_or_default(), pod)).collect();
        running.retain(|uid, leave| {
            let there = mine.contains_key(uid);
            if !there {
                leave.send_replace(Some(0));
            }
            there
        });
        for (uid, pod) in mine {
            let leave = running.entry(uid).or_insert_with(|| {
                let (leave, told) = watch::channel(None);
                let life = Life::new(proxies.clone(), names.clone(), Arc::clone(pod));
                tokio::spawn(life.live(told));
                leave
            });
            if pod.metadata.deletion_timestamp.is_some() && leave.borrow().is_none() {
                let seconds = pod.metadata.deletion_grace_period_seconds.unwrap_or(30);
                leave.send_replace(Some(u64::try_from(seconds).unwrap_or(0)));
            }
        }
    }
}

/// What a pod is called in the fabric.
pub(crate) fn fabric_name(layout: &Layout, namespace: &str, name: &str) -> String {
    format!("{}/{namespace}/{name}", layout.name)
}

/// One pod's life.
struct Life {
    proxies: Proxies,
    names: Names,
    pod: Arc<Pod>,
    ip: String,
    /// What it reaches.
    routes: Vec<String>,
    root: Root,
    restarts: u32,
    plumbed: bool,
    running: Option<Running>,
}

impl Life {
    fn new(proxies: Proxies, names: Names, pod: Arc<Pod>) -> Life {
        let number = proxies.addresses.fetch_add(1, Ordering::Relaxed);
        let network = network(&pod).and_then(|name| proxies.routes.network(name));
        let ip = match network {
            Some(network) => proxies.layout.network_pod_ip(network, number),
            None => proxies.layout.process_pod_ip(number),
        };
        let routes = proxies.routes.of(proxies.layout.index, network);
        // Agents speak over sockets in there: a short path.
        let dir = proxies.layout.file("pods").join(format!("{}.{}", namespace(&pod), name(&pod)));
        let root = Root { dir, client: proxies.client.clone(), plain_envoy: false };
        Life { proxies, names, pod, ip, routes, root, restarts: 0, plumbed: false, running: None }
    }

    async fn live(mut self, mut leave: watch::Receiver<Option<u64>>) {
        let grace = loop {
            let ended = {
                let once = self.once();
                tokio::select! {
                    why = once => Ok(why),
                    grace = told_to_leave(&mut leave) => Err(grace),
                }
            };
            let why = match ended {
                Err(grace) => break grace,
                Ok(why) => why,
            };
            self.running = None;
            self.tell(false, Some(&why)).await;
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(500)) => {}
                grace = told_to_leave(&mut leave) => break grace,
            }
        };
        self.leave(grace).await;
    }

    /// Runs the proxy until it ends; why it did, or why it cannot run yet.
    async fn once(&mut self) -> String {
        if let Err(error) = self.plumb().await {
            return format!("the pod's network: {error}");
        }
        self.tell(false, None).await;
        match self.root.project(&self.pod, true).await {
            Ok(()) => {}
            Err(Problem::Missing(message) | Problem::Failed(message)) => return message,
        }
        let running = match self.start().await {
            Ok(running) => running,
            Err(message) => return message,
        };
        self.running = Some(running.clone());
        self.attend(&running).await;
        self.restarts += 1;
        format!("the proxy ended: {}", running.ended().await)
    }

    /// The pod's network, and the application in it.
    async fn plumb(&mut self) -> std::io::Result<()> {
        if self.plumbed {
            return Ok(());
        }
        let (fabric, pod, ip) = (self.proxies.fabric.clone(), self.name(), self.ip.clone());
        let routes = self.routes.clone();
        blocking(move || fabric.add_pod(&pod, &ip, &routes)).await?;
        self.plumbed = true;
        if !self.is_gateway() {
            let who = app::Who { cluster: self.proxies.layout.name.clone(), pod: name(&self.pod).to_owned() };
            app::start(self.proxies.fabric.clone(), self.name(), who).await?;
        }
        self.known(false);
        Ok(())
    }

    async fn start(&self) -> Result<Running, String> {
        let container = self.container().ok_or("the pod has no proxy")?;
        let failed = |error: &dyn std::fmt::Display| error.to_string();
        let template = self.root.path("/var/lib/istio/envoy/envoy_bootstrap_tmpl.json");
        std::fs::create_dir_all(template.parent().unwrap_or(Path::new("/"))).map_err(|e| failed(&e))?;
        std::fs::copy(tools::bootstrap_template().map_err(|e| failed(&e))?, template).map_err(|e| failed(&e))?;
        self.write_hosts().map_err(|e| failed(&e))?;
        let env = self.environment(container).await?;
        let mut args = vec![tools::path(Tool::PilotAgent).map_err(|e| failed(&e))?.display().to_string()];
        args.extend(container.args.iter().flatten().map(|arg| expanded(arg, &env)));
        let (hosts, log) = (self.hosts(), self.log());
        let pod = self.name();
        let what = Inside { pod: &pod, dir: &self.root.dir, hosts: &hosts, log: &log, env: &env, args: &args };
        self.proxies.fabric.run(&what).map_err(|e| failed(&e))
    }

    /// As injected, but for where Envoy is and how much of the machine it may take.
    async fn environment(&self, container: &Container) -> Result<Vec<(String, String)>, String> {
        let limits = [("limits.cpu", "1"), ("limits.memory", "1073741824")];
        let here = Here { client: &self.proxies.client, pod: &self.pod, ip: &self.ip, limits: &limits };
        let mut env = variables(&here, container).await?;
        let envoy = tools::path(Tool::Envoy).map_err(|error| error.to_string())?;
        let at = env.iter().position(|(name, _)| name == "PROXY_CONFIG");
        let given = at.map(|at| env.remove(at).1).unwrap_or_default();
        let mut config: Value = serde_json::from_str(&given).unwrap_or_else(|_| json!({}));
        config["binaryPath"] = json!(envoy);
        config["concurrency"] = json!(1);
        env.push(("PROXY_CONFIG".into(), config.to_string()));
        env.push(("PATH".into(), "/usr/bin:/bin".into()));
        Ok(env)
    }

    /// Watches over a running proxy: its health, and the files that it reads.
    async fn attend(&self, running: &Running) {
        let (_, maps) = references(&self.pod);
        let api: Api<ConfigMap> = Api::namespaced(self.proxies.client.clone(), namespace(&self.pod));
        let mut all_maps = reflect::<ConfigMap>(api, None, None);
        let (mut services, mut slices) = (self.names.services.clone(), self.names.slices.clone());
        let mut renewal = tokio::time::interval(Duration::from_secs(1200));
        renewal.tick().await;
        let (mut known, mut ready, mut failed) = (0, None, 0);
        let allowed = failures_allowed(self.container());
        loop {
            let pause = if ready == Some(true) { PROBES.1 } else { PROBES.0 };
            tokio::select! {
                _ = running.ended() => {
                    self.known(false);
                    return;
                }
                () = tokio::time::sleep(pause) => {
                    let answer = self.says_ready().await;
                    failed = if answer { 0 } else { failed + 1 };
                    if ready != Some(answer) && (ready != Some(true) || failed >= allowed) {
                        ready = Some(answer);
                        self.known(answer);
                        self.tell(answer, None).await;
                    }
                }
                Ok(()) = services.changed() => drop(self.write_hosts()),
                Ok(()) = slices.changed() => drop(self.write_hosts()),
                Ok(()) = all_maps.changed() => {
                    let seen = versions(&all_maps, namespace(&self.pod), &maps);
                    if seen != known {
                        known = seen;
                        let _ = self.root.project(&self.pod, false).await;
                    }
                }
                _ = renewal.tick() => drop(self.root.project(&self.pod, true).await),
            }
        }
    }

    async fn says_ready(&self) -> bool {
        let (fabric, pod) = (self.proxies.fabric.clone(), self.name());
        let asked = blocking(move || {
            let stream = fabric.connect(&pod, "127.0.0.1:15021", Duration::from_secs(1))?;
            crate::http1::get(stream, "probe", "/healthz/ready", Duration::from_secs(2))
        });
        asked.await.is_ok_and(|answer| answer.status == 200)
    }

    /// The pod is deleted: the proxy is told, drains, and is ended when its time is up.
    async fn leave(&mut self, grace: u64) {
        self.known(false);
        if let Some(running) = self.running.take() {
            let _ = self.proxies.fabric.signal(&running, Signal::TERM);
            if tokio::time::timeout(Duration::from_secs(grace), running.ended()).await.is_err() {
                let _ = self.proxies.fabric.signal(&running, Signal::KILL);
                let _ = tokio::time::timeout(Duration::from_secs(5), running.ended()).await;
            }
        }
        let index = self.proxies.layout.index;
        self.proxies.network.remove_proxy(index, namespace(&self.pod), name(&self.pod));
        let (fabric, pod) = (self.proxies.fabric.clone(), self.name());
        let _ = blocking(move || fabric.remove_pod(&pod)).await;
        let _ = std::fs::remove_dir_all(&self.root.dir);
        let api: Api<Pod> = Api::namespaced(self.proxies.client.clone(), namespace(&self.pod));
        let same = Preconditions { uid: self.pod.metadata.uid.clone(), ..Preconditions::default() };
        let params = DeleteParams { preconditions: Some(same), ..DeleteParams::default().grace_period(0) };
        // The API server may be away for long, and nobody else ends the Pod.
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            match api.delete(name(&self.pod), &params).await {
                Ok(_) | Err(kube::Error::Api(_)) => return,
                Err(_) => tokio::time::sleep(Duration::from_millis(250)).await,
            }
        }
    }

    /// What the lab's network knows of it.
    fn known(&self, ready: bool) {
        let spec = self.pod.spec.iter();
        let ports = spec.flat_map(|spec| &spec.containers).flat_map(|container| container.ports.iter().flatten());
        let named = ports.filter_map(|port| Some((port.name.clone()?, u16::try_from(port.container_port).ok()?)));
        self.proxies.network.set_proxy(ProxyPod {
            cluster: self.proxies.layout.index,
            namespace: namespace(&self.pod).to_owned(),
            name: name(&self.pod).to_owned(),
            ip: self.ip.clone(),
            labels: self.pod.metadata.labels.clone().unwrap_or_default(),
            ports: named.collect(),
            ready,
            log: self.log(),
        });
    }

    async fn tell(&self, ready: bool, waiting: Option<&str>) {
        let api: Api<Pod> = Api::namespaced(self.proxies.client.clone(), namespace(&self.pod));
        let status = json!({ "status": self.status(ready, waiting) });
        tell_status(&api, name(&self.pod), &status).await;
    }

    fn status(&self, ready: bool, waiting: Option<&str>) -> Value {
        let now = now();
        let flag = |kind: &str, yes: bool| json!({ "type": kind, "status": if yes { "True" } else { "False" }, "lastTransitionTime": now });
        let state = match waiting {
            Some(message) => json!({ "waiting": { "reason": "ContainerCreating", "message": message } }),
            None => json!({ "running": { "startedAt": now } }),
        };
        let told = |container: &Container| {
            let done =
                json!({ "terminated": { "exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now } });
            let once = self.is_init(container) && container.restart_policy.as_deref() != Some("Always");
            json!({ "name": container.name, "image": container.image, "imageID": "", "ready": once || ready,
                    "started": waiting.is_none(), "restartCount": self.restarts, "state": if once { &done } else { &state } })
        };
        let spec = self.pod.spec.as_ref();
        let of = |containers: Option<&Vec<Container>>| containers.into_iter().flatten().map(told).collect::<Vec<_>>();
        json!({
            "phase": "Running", "startTime": now,
            "hostIP": self.proxies.layout.node_ip(0),
            "podIP": self.ip, "podIPs": [{ "ip": self.ip }],
            "conditions": [flag("PodScheduled", true), flag("Initialized", true), flag("ContainersReady", ready), flag("Ready", ready)],
            "containerStatuses": of(spec.map(|spec| &spec.containers)),
            "initContainerStatuses": of(spec.and_then(|spec| spec.init_containers.as_ref())),
        })
    }

    /// With native sidecars it stands among the containers that come first.
    fn container(&self) -> Option<&Container> {
        let spec = self.pod.spec.as_ref()?;
        spec.init_containers.iter().flatten().chain(&spec.containers).find(|container| container.name == "istio-proxy")
    }

    fn is_init(&self, container: &Container) -> bool {
        let spec = self.pod.spec.as_ref();
        spec.and_then(|spec| spec.init_containers.as_ref())
            .is_some_and(|all| all.iter().any(|c| c.name == container.name))
    }

    fn is_gateway(&self) -> bool {
        self.container().is_some_and(|container| container.args.iter().flatten().any(|arg| arg == "router"))
    }

    fn write_hosts(&self) -> std::io::Result<()> {
        // In its place: it is mounted.
        std::fs::write(self.hosts(), doors::hosts(&self.names))
    }

    fn hosts(&self) -> PathBuf {
        self.root.dir.join("hosts")
    }

    fn log(&self) -> PathBuf {
        self.proxies.layout.log(&format!("{}.{}", namespace(&self.pod), name(&self.pod)))
    }

    fn name(&self) -> String {
        fabric_name(&self.proxies.layout, namespace(&self.pod), name(&self.pod))
    }
}

/// The network that a pod says it is in.
fn network(pod: &Pod) -> Option<&str> {
    let annotated = pod.metadata.annotations.as_ref().and_then(|all| all.get("lab/network"));
    let labelled = || pod.metadata.labels.as_ref().and_then(|all| all.get("topology.istio.io/network"));
    annotated.or_else(labelled).map(String::as_str)
}

async fn told_to_leave(leave: &mut watch::Receiver<Option<u64>>) -> u64 {
    leave.wait_for(Option::is_some).await.ok().and_then(|grace| *grace).unwrap_or(0)
}

/// `$(NAME)`, as a kubelet replaces it.
fn expanded(arg: &str, env: &[(String, String)]) -> String {
    env.iter().fold(arg.to_owned(), |arg, (name, value)| arg.replace(&format!("$({name})"), value))
}

/// Work that waits for the fabric, off the lab's own threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(std::io::Error::other(error.to_string())))
}
