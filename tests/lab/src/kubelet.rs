//! Pods of istiod are real: each is a pilot-discovery process with the pod's own environment, arguments,
//! files and account, and the pod is Ready when the process says so.
//!
//! Everything but the network comes from the cluster. istiod reads its files by relative paths, so a
//! folder stands for the pod's root; its ports are on loopback and the lab's network knows them.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, Secret};
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::cluster::PATIENCE;
use crate::control_plane::Layout;
use crate::environment::{Here, variables};
use crate::network::{Network, PodProcess, free_ports};
use crate::process::{Process, Processes, Program};
use crate::projection::{ACCOUNT_DIR, Problem, Root, references, token_renewal, without_metrics};
use crate::reflect::reflect;
use crate::tools::{self, Istio};

/// What the runs of pods need of their cluster.
#[derive(Clone)]
pub(crate) struct Kubelet {
    pub client: kube::Client,
    pub layout: Layout,
    pub ca_pem: String,
    pub network: Arc<Network>,
    pub processes: Processes,
    /// Changes when every token must be asked for again.
    pub tokens: watch::Receiver<u64>,
    /// Counts the addresses given to pods that the lab runs.
    pub addresses: Arc<AtomicUsize>,
    /// The HTTP proxy by which istiods reach the pods' network, where there is one.
    pub way_out: Option<String>,
}

/// Istio's proxy is an Envoy with filters of Istio's own, which no package has: an upstream Envoy refuses what names
/// them. What else names them, [`Root`] leaves out of the mesh's configuration.
const PLAIN_ENVOY: [(&str, &str); 2] =
    [("PILOT_ENABLE_METADATA_EXCHANGE", "false"), ("PILOT_ENABLE_ALPN_FILTER", "false")];

/// istiod's ports and the flags that move them.
const PORTS: [(u16, &str); 5] = [
    (8080, "--httpAddr"),
    (15010, "--grpcAddr"),
    (15012, "--secureGRPCAddr"),
    (15014, "--monitoringAddr"),
    (15017, "--httpsAddr"),
];

/// Runs a process for every scheduled pod labelled `app=istiod`, until the lab ends.
pub(crate) async fn run(kubelet: Kubelet) {
    let mut pods = reflect::<Pod>(Api::all(kubelet.client.clone()), Some("app=istiod"), None);
    let mut running: HashMap<String, watch::Sender<bool>> = HashMap::new();
    while pods.changed().await.is_ok() {
        let now = pods.borrow_and_update().clone();
        let wanted: HashMap<String, &Arc<Pod>> = now
            .values()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none())
            .filter(|pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()))
            .map(|pod| (pod.metadata.uid.clone().unwrap_or_default(), pod))
            .collect();
        running.retain(|uid, stop| {
            let keep = wanted.contains_key(uid);
            stop.send_replace(!keep);
            keep
        });
        for (uid, pod) in wanted {
            running.entry(uid).or_insert_with(|| {
                let (stop, stopped) = watch::channel(false);
                let ip = kubelet.layout.process_pod_ip(kubelet.addresses.fetch_add(1, Ordering::Relaxed));
                let pod = Arc::clone(pod);
                tokio::spawn(PodRun::new(kubelet.clone(), pod, ip).run(stopped));
                stop
            });
        }
    }
}

/// One pod's life.
struct PodRun {
    kubelet: Kubelet,
    pod: Arc<Pod>,
    ip: String,
    root: Root,
    log: PathBuf,
    restarts: u32,
}

struct Started {
    process: Process,
    program: PathBuf,
    /// The pod's ports and the loopback ports that stand for them.
    ports: BTreeMap<u16, u16>,
}

/// Why a container is not running, in a kubelet's words.
struct Waiting {
    reason: &'static str,
    message: String,
}

impl PodRun {
    fn new(kubelet: Kubelet, pod: Arc<Pod>, ip: String) -> Self {
        let dir = kubelet.layout.file("pods").join(name(&pod));
        let log = kubelet.layout.log(name(&pod));
        let root = Root { dir, client: kubelet.client.clone(), plain_envoy: kubelet.layout.proxies };
        PodRun { kubelet, pod, ip, root, log, restarts: 0 }
    }

    async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        loop {
            let ended = {
                let once = self.once();
                tokio::select! {
                    waiting = once => Some(waiting),
                    _ = stopped.wait_for(|stop| *stop) => None,
                }
            };
            let cluster = self.kubelet.layout.index;
            let process = self.kubelet.network.pod(cluster, namespace(&self.pod), name(&self.pod));
            self.kubelet.network.remove_pod(cluster, namespace(&self.pod), name(&self.pod));
            let Some(waiting) = ended else {
                self.kubelet.processes.kill_named(&self.process_name()).await;
                drop(process);
                let _ = std::fs::remove_dir_all(&self.root.dir);
                return;
            };
            self.tell(false, Some(&waiting)).await;
            let pause = Duration::from_millis(if self.restarts > 3 { 5000 } else { 500 });
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stopped.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Runs the process until it ends.
    async fn once(&mut self) -> Waiting {
        let creating = |message: String| Waiting { reason: "ContainerCreating", message };
        let Some(container) = self.container() else {
            return creating("the pod has no container".into());
        };
        let Some(istio) = Istio::from_image(container.image.as_deref().unwrap_or_default()) else {
            let message = format!("Back-off pulling image {:?}", container.image.unwrap_or_default());
            return Waiting { reason: "ImagePullBackOff", message };
        };
        match self.root.project(&self.pod, true).await {
            Ok(()) => {}
            Err(Problem::Missing(message)) => return creating(message),
            Err(Problem::Failed(message)) => return creating(message),
        }
        self.mesh_for_plain_envoys(&container).await;
        let started = match self.start(istio, &container).await {
            Ok(started) => started,
            Err(message) => return creating(message),
        };
        self.tell(false, None).await;
        self.attend(&started).await;
        self.restarts += 1;
        Waiting { reason: "CrashLoopBackOff", message: started.process.tail() }
    }

    async fn start(&self, istio: Istio, container: &Container) -> Result<Started, String> {
        let program = tools::path(istio.pilot_discovery()).map_err(|error| error.to_string())?;
        let locals = free_ports(PORTS.len() + 1).map_err(|error| error.to_string())?;
        let mut ports: BTreeMap<u16, u16> = PORTS.iter().map(|(port, _)| *port).zip(locals.iter().copied()).collect();
        ports.insert(9876, locals[PORTS.len()]);
        let mut args = container.args.clone().unwrap_or_default();
        args.extend(PORTS.iter().map(|(port, flag)| format!("{flag}=127.0.0.1:{}", ports[port])));
        args.push(format!("--ctrlz_port={}", ports[&9876]));
        let what = Program {
            name: &self.process_name(),
            program: &program,
            args,
            env: self.environment(container).await?,
            dir: &self.root.dir,
            log: self.log.clone(),
        };
        let process = self.kubelet.processes.spawn(what).await.map_err(|error| error.to_string())?;
        Ok(Started { process, program, ports })
    }

    /// Watches over a running process: its readiness, and the files it reads.
    async fn attend(&self, Started { process, program, ports }: &Started) {
        let (secrets, maps) = references(&self.pod);
        let namespace = namespace(&self.pod);
        let mut all_secrets = reflect::<Secret>(Api::namespaced(self.kubelet.client.clone(), namespace), None, None);
        let mut all_maps = reflect::<ConfigMap>(Api::namespaced(self.kubelet.client.clone(), namespace), None, None);
        let mut tokens = self.kubelet.tokens.clone();
        let mut renewal = tokio::time::interval(token_renewal(&self.pod, self.kubelet.layout.longest_token));
        renewal.tick().await;
        let mut known = (0, 0);
        let (mut ready, mut failed) = (None, 0);
        let container = self.container();
        loop {
            let pause = Duration::from_millis(if ready == Some(true) { 1000 } else { 100 });
            let renew = tokio::select! {
                () = process.ended() => return,
                () = tokio::time::sleep(pause) => None,
                Ok(()) = all_secrets.changed() => Some(false),
                Ok(()) = all_maps.changed() => Some(false),
                Ok(()) = tokens.changed() => Some(true),
                _ = renewal.tick() => Some(true),
            };
            if let Some(renew) = renew {
                if let Some(container) = self.container() {
                    self.mesh_for_plain_envoys(&container).await;
                }
                let seen = (versions(&all_secrets, namespace, &secrets), versions(&all_maps, namespace, &maps));
                if renew || seen != known {
                    known = seen;
                    let _ = self.root.project(&self.pod, renew).await;
                }
                continue;
            }
            let answer = says_ready(ports[&8080]).await;
            failed = if answer { 0 } else { failed + 1 };
            if ready != Some(answer) && (ready != Some(true) || failed >= failures_allowed(container.as_ref())) {
                ready = Some(answer);
                self.kubelet.network.set_pod(PodProcess {
                    cluster: self.kubelet.layout.index,
                    namespace: namespace.to_owned(),
                    name: name(&self.pod).to_owned(),
                    ip: self.ip.clone(),
                    ports: ports.clone(),
                    log: Some(self.log.clone()),
                    program: Some(program.clone()),
                    ready: answer,
                    labels: self.pod.metadata.labels.clone().unwrap_or_default(),
                });
                self.tell(answer, None).await;
            }
        }
    }

    async fn environment(&self, container: &Container) -> Result<Vec<(String, String)>, String> {
        // Of a machine that is not there: this one has two cores for everything.
        let limits = [("limits.cpu", "2")];
        let here = Here { client: &self.kubelet.client, pod: &self.pod, ip: &self.ip, limits: &limits };
        let mut env = variables(&here, container).await?;
        for (_, value) in &mut env {
            *value = self.on_this_machine(container, std::mem::take(value));
        }
        if self.kubelet.layout.proxies {
            env.extend(PLAIN_ENVOY.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        env.extend(self.kubelet.way_out.iter().map(|url| ("HTTPS_PROXY".to_owned(), url.clone())));
        let kubeconfig = env.iter_mut().find(|(name, _)| name == "KUBECONFIG");
        let own = self.own_kubeconfig()?;
        match kubeconfig {
            Some((_, path)) if std::path::Path::new(path).exists() => {}
            Some((_, path)) => *path = own,
            None => env.push(("KUBECONFIG".into(), own)),
        }
        Ok(env)
    }

    /// An istiod that would read the mesh's configuration from the API server finds it as a file first, without what a
    /// plain Envoy lacks.
    async fn mesh_for_plain_envoys(&self, container: &Container) {
        let file = self.root.path("/etc/istio/config/mesh");
        if !self.kubelet.layout.proxies || std::fs::symlink_metadata(&file).is_ok_and(|found| found.is_symlink()) {
            return; // mounted: the projection sees to it
        }
        let mut env = container.env.iter().flatten();
        let revision = env.find(|var| var.name == "REVISION").and_then(|var| var.value.clone()).unwrap_or_default();
        let name = match revision.as_str() {
            "" | "default" => "istio".to_owned(),
            revision => format!("istio-{revision}"),
        };
        let api: Api<ConfigMap> = Api::namespaced(self.kubelet.client.clone(), namespace(&self.pod));
        let found = api.get_opt(&name).await.ok().flatten().and_then(|map| map.data?.remove("mesh"));
        let Some(text) = found.map(|mesh| without_metrics(mesh.as_bytes())) else { return };
        if std::fs::read_to_string(&file).is_ok_and(|old| old == text) {
            return;
        }
        let next = file.with_extension("next");
        let folder = std::fs::create_dir_all(file.parent().unwrap_or(&self.root.dir));
        let _ = folder.and_then(|()| std::fs::write(&next, text)).and_then(|()| std::fs::rename(&next, &file));
    }

    /// A path under one of the pod's mounts, moved to the folder that stands for the pod's root.
    fn on_this_machine(&self, container: &Container, value: String) -> String {
        let mut mounts = container.volume_mounts.iter().flatten();
        match mounts.any(|mount| value == mount.mount_path || value.starts_with(&format!("{}/", mount.mount_path))) {
            true => self.root.path(&value).display().to_string(),
            false => value,
        }
    }

    /// The pod's own account against its own API server. In a pod this is found by fixed paths and
    /// variables; here a kubeconfig says the same.
    fn own_kubeconfig(&self) -> Result<String, String> {
        let account = self.root.path(ACCOUNT_DIR);
        let mut config =
            crate::control_plane::kubeconfig("own", &self.kubelet.layout.api_url(), &self.kubelet.ca_pem, "");
        config["users"][0]["user"] = json!({ "tokenFile": account.join("token") });
        let file = self.root.dir.join("own.kubeconfig");
        std::fs::write(&file, config.to_string()).map_err(|error| error.to_string())?;
        Ok(file.display().to_string())
    }

    async fn tell(&self, ready: bool, waiting: Option<&Waiting>) {
        let api: Api<Pod> = Api::namespaced(self.kubelet.client.clone(), namespace(&self.pod));
        let status = json!({ "status": self.status(ready, waiting) });
        tell_status(&api, name(&self.pod), &status).await;
    }

    fn status(&self, ready: bool, waiting: Option<&Waiting>) -> Value {
        let now = now();
        let flag = |kind: &str, yes: bool| json!({ "type": kind, "status": if yes { "True" } else { "False" }, "lastTransitionTime": now });
        let state = match waiting {
            Some(waiting) => json!({ "waiting": { "reason": waiting.reason, "message": waiting.message } }),
            None => json!({ "running": { "startedAt": now } }),
        };
        let container = self.container().unwrap_or_default();
        let mut status = json!({
            "phase": if waiting.is_some() && self.restarts == 0 { "Pending" } else { "Running" },
            "startTime": now,
            "hostIP": self.kubelet.layout.node_ip(0),
            "podIP": self.ip, "podIPs": [{ "ip": self.ip }],
            "conditions": [flag("PodScheduled", true), flag("Initialized", true),
                           flag("ContainersReady", ready), flag("Ready", ready)],
            "containerStatuses": [{ "name": container.name, "image": container.image, "imageID": "", "ready": ready,
                                    "started": waiting.is_none(), "restartCount": self.restarts, "state": state }],
        });
        if waiting.is_some() && self.restarts == 0 {
            status["podIP"] = Value::Null;
            status["podIPs"] = Value::Null;
        }
        status
    }

    fn container(&self) -> Option<Container> {
        let containers = &self.pod.spec.as_ref()?.containers;
        containers.iter().find(|container| container.name == "discovery").or(containers.first()).cloned()
    }

    fn process_name(&self) -> String {
        format!("{}/{}/{}", self.kubelet.layout.name, namespace(&self.pod), name(&self.pod))
    }
}

/// How many probes in a row must fail until a Pod that was ready is so no longer: as the container says, or else what
/// Kubernetes takes.
pub(crate) fn failures_allowed(container: Option<&Container>) -> i32 {
    let probe = container.and_then(|container| container.readiness_probe.as_ref());
    probe.and_then(|probe| probe.failure_threshold).unwrap_or(3)
}

async fn says_ready(port: u16) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(b"GET /ready HTTP/1.0\r\nHost: istiod\r\n\r\n").await?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await?;
        Ok::<_, std::io::Error>(answer.ends_with(b" 200"))
    };
    tokio::time::timeout(Duration::from_secs(5), ask).await.is_ok_and(|answer| answer.unwrap_or(false))
}

/// Writes a status as soon as the API server takes it, which may be away for long: nobody writes it again. What is
/// refused as invalid stays so.
pub(crate) async fn tell_status<K>(api: &Api<K>, name: &str, status: &Value)
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        match api.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await {
            Ok(_) => return,
            Err(kube::Error::Api(status)) if matches!(status.code, 400 | 404 | 422) => return,
            Err(_) => tokio::time::sleep(Duration::from_millis(250)).await,
        }
    }
}

/// A number that changes when one of the named objects does.
pub(crate) fn versions<K: kube::Resource>(
    objects: &watch::Receiver<crate::reflect::Objects<K>>,
    namespace: &str,
    names: &[String],
) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let objects = objects.borrow();
    let mut hash = DefaultHasher::new();
    for name in names {
        objects.get(&format!("{namespace}/{name}")).and_then(|o| o.meta().resource_version.clone()).hash(&mut hash);
    }
    hash.finish()
}

pub(crate) fn now() -> String {
    let now = time::OffsetDateTime::now_utc().replace_nanosecond(0).unwrap_or(time::OffsetDateTime::UNIX_EPOCH);
    now.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}

pub(crate) fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

pub(crate) fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or_default()
}
