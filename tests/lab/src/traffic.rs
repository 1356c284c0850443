//! Calls between pods that are real, and what is known of each afterwards.
//!
//! A [`Workload`] is a Service with one injected pod, whose application says who it is. Pods have no traffic captured,
//! as that takes root: their proxies listen on the loopback address instead, by `Sidecar` objects. Clusters, endpoints,
//! SNI and certificates are the same.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::app;
use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::fabric::Fabric;
use crate::http1;

/// The namespace of workloads where none is named.
pub const NAMESPACE: &str = "traffic";
/// The port of a workload's Service for HTTP.
pub const HTTP: u16 = 80;
/// The port of a workload's Service for TCP: a connection is a call, which nothing keeps for the next.
pub const TCP: u16 = 9000;

/// The label that tells one pod of a Service from another.
const POD: &str = "lab/pod";

/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a call of a load may take, which is lost otherwise: a busy machine holds one up for seconds. It is less
/// than the ten seconds in which Istio's proxies give up an endpoint: a call that went to nobody at first is lost.
const PATIENCE_OF_LOAD: Duration = Duration::from_secs(9);

/// A Service and its pods, by name.
#[derive(Clone, Debug)]
pub struct Workload<'a> {
    pub name: &'a str,
    pub namespace: &'a str,
    /// The namespace's label that has pods injected.
    pub injection: (&'a str, &'a str),
    /// Ports of the Service for HTTP and TCP.
    pub ports: (u16, u16),
    /// What its proxy knows beside the Services of its own namespace, as a `Sidecar` names it.
    pub imports: &'a [&'a str],
    /// The network that its pods are in, where a lab has several; and whether a label tells Istio so, and not the
    /// address alone.
    pub network: Option<(&'a str, bool)>,
}

impl<'a> Workload<'a> {
    pub fn new(name: &'a str) -> Workload<'a> {
        let injection = ("istio-injection", "enabled");
        Workload { name, namespace: NAMESPACE, injection, ports: (HTTP, TCP), imports: &[], network: None }
    }

    /// Makes the Service, and where there is the mesh's configuration, what sends its traffic through the proxies.
    pub fn declare(&self, cluster: &Cluster, configuration: &Cluster) -> Result<()> {
        let Workload { name, namespace, .. } = self;
        let labels = json!({ self.injection.0: self.injection.1 });
        let space = |labels: Value| json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace, "labels": labels } });
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": name, "namespace": namespace },
            "spec": { "selector": { "app": name }, "ports": [
                { "name": "http", "port": self.ports.0, "targetPort": 8080 },
                { "name": "tcp-words", "port": self.ports.1, "targetPort": 9000 },
            ] },
        });
        let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name, "namespace": namespace } });
        cluster.apply(&space(labels.clone()).to_string())?;
        for object in [&service, &account] {
            cluster.apply(&object.to_string())?;
        }
        configuration.apply(&space(labels).to_string())?;
        for object in self.routed() {
            configuration.apply(&object.to_string())?;
        }
        Ok(())
    }

    /// Makes a pod, and waits until its proxy is ready.
    pub fn run(&self, cluster: &Arc<Cluster>) -> Result<RealPod> {
        self.run_as(self.name, cluster)
    }

    /// The same under a name of its own, beside others of the Service. When it is deleted it has the time of any other
    /// pod to close what it has.
    pub fn run_as(&self, name: &str, cluster: &Arc<Cluster>) -> Result<RealPod> {
        let mut meta = json!({
            "name": name, "namespace": self.namespace, "labels": { "app": self.name, POD: name },
            "annotations": { "sidecar.istio.io/interceptionMode": "NONE" },
        });
        if let Some((network, labelled)) = self.network {
            meta["annotations"]["lab/network"] = json!(network);
            if labelled {
                meta["labels"]["topology.istio.io/network"] = json!(network);
            }
        }
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": meta,
            "spec": {
                "serviceAccountName": self.name, "terminationGracePeriodSeconds": 30,
                "containers": [{ "name": "app", "image": "app", "ports": [{ "containerPort": 8080 }, { "containerPort": 9000 }] }],
            },
        });
        cluster.apply(&pod.to_string())?;
        cluster.real_pod(self.namespace, (POD, name))
    }

    /// What stands in for the capture of traffic, and what lets a call say who answered.
    fn routed(&self) -> [Value; 2] {
        let mut hosts: Vec<&str> = vec!["./*"];
        hosts.extend(self.imports);
        let ingress = |number: u16, protocol: &str, name: &str, to: u16| {
            json!({ "port": { "number": number, "protocol": protocol, "name": name },
                    "defaultEndpoint": format!("127.0.0.1:{to}"), "captureMode": "NONE" })
        };
        let header = |name: &str, value: &str| json!({ "header": { "key": name, "value": value } });
        let meta = json!({ "name": self.name, "namespace": self.namespace });
        let selector = json!({ "labels": { "app": self.name } });
        [
            json!({
                "apiVersion": "networking.istio.io/v1", "kind": "Sidecar", "metadata": meta,
                "spec": {
                    "workloadSelector": selector,
                    "ingress": [ingress(8080, "HTTP", "http", app::HTTP), ingress(9000, "TCP", "tcp-words", app::TCP)],
                    "egress": [{ "hosts": hosts, "captureMode": "NONE" }],
                },
            }),
            json!({
                "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter", "metadata": meta,
                "spec": {
                    "workloadSelector": selector,
                    "configPatches": [{
                        "applyTo": "ROUTE_CONFIGURATION", "match": { "context": "SIDECAR_OUTBOUND" },
                        "patch": { "operation": "MERGE", "value": { "response_headers_to_add": [
                            header("lab-server", "%UPSTREAM_PEER_URI_SAN%"), header("lab-issuer", "%UPSTREAM_PEER_ISSUER%"),
                            header("lab-endpoint", "%UPSTREAM_REMOTE_ADDRESS%"),
                        ] } },
                    }],
                },
            }),
        ]
    }
}

/// A pod whose network, proxy and application are real.
#[derive(Clone, Debug)]
pub struct RealPod {
    pub(crate) fabric: Arc<Fabric>,
    pub(crate) fabric_name: String,
    pub cluster: String,
    pub namespace: String,
    pub name: String,
    pub ip: String,
    pub log: std::path::PathBuf,
}

/// What came of a call over HTTP.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    pub status: u16,
    /// Who answered, where it was an application: `cluster/pod`.
    pub by: Option<String>,
    /// The identity in the certificate that the client's proxy was shown, and who issued it.
    pub server: Option<String>,
    pub issuer: Option<String>,
    /// Where the client's proxy sent it.
    pub endpoint: Option<String>,
    /// The identity in the certificate that the server's proxy was shown.
    pub client: Option<String>,
    pub millis: u64,
    pub body: String,
}

impl RealPod {
    /// Calls a Service by HTTP through the pod's proxy. An error where not even the proxy answered.
    pub fn get(&self, host: &str, port: u16) -> std::io::Result<Answer> {
        let began = Instant::now();
        let stream = self.connect(&format!("127.0.0.1:{port}"))?;
        let response = http1::get(stream, host, "/", PATIENCE)?;
        let said: Value = serde_json::from_str(&response.body).unwrap_or_default();
        let by = said["cluster"].as_str().zip(said["pod"].as_str());
        let header =
            |name: &str| response.header(name).filter(|text| !text.is_empty() && *text != "-").map(str::to_owned);
        let forwarded = said["headers"]["x-forwarded-client-cert"].as_str().unwrap_or_default();
        let client = forwarded.split([';', ',']).filter_map(|part| part.strip_prefix("URI=")).next_back();
        Ok(Answer {
            status: response.status,
            by: by.map(|(cluster, pod)| format!("{cluster}/{pod}")),
            server: header("lab-server"),
            issuer: header("lab-issuer"),
            endpoint: header("lab-endpoint"),
            client: client.map(str::to_owned),
            millis: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            body: response.body,
        })
    }

    /// Calls a Service by TCP through the pod's proxy, over a connection of its own; who answered, as `cluster/pod`.
    pub fn talk(&self, port: u16) -> std::io::Result<String> {
        self.exchange(&format!("127.0.0.1:{port}"))
    }

    /// The same with any address, past the pod's proxy.
    pub fn exchange(&self, address: &str) -> std::io::Result<String> {
        self.exchange_within(address, PATIENCE)
    }

    fn exchange_within(&self, address: &str, patience: Duration) -> std::io::Result<String> {
        use std::io::{Read, Write};
        let mut stream = self.fabric.connect(&self.fabric_name, address, patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.write_all(b"hello\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        match text.trim() {
            "" => Err(std::io::Error::other("the connection was closed without an answer")),
            who => Ok(who.to_owned()),
        }
    }

    /// A connection from the pod's network, past its proxy.
    pub fn connect(&self, address: &str) -> std::io::Result<TcpStream> {
        self.fabric.connect(&self.fabric_name, address, PATIENCE)
    }

    /// What the proxy's own page says.
    pub fn admin(&self, path: &str) -> std::io::Result<String> {
        http1::get(self.connect("127.0.0.1:15000")?, "admin", path, PATIENCE).map(|response| response.body)
    }

    /// Calls by TCP again and again, each over a connection of its own, until it is told to stop.
    pub fn keep_calling(&self, port: u16, pause: Duration) -> Caller {
        let (pod, stop) = (self.clone(), Arc::new(AtomicBool::new(false)));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || calls(&pod, port, pause, &stopped));
        Caller { stop, thread: Some(thread) }
    }
}

/// Calls that go on while something else does.
pub struct Caller {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Calls>>,
}

/// What came of them.
#[derive(Clone, Debug, Default)]
pub struct Calls {
    pub count: usize,
    /// When after the start, and why.
    pub lost: Vec<(Duration, String)>,
    /// Between two that were answered, and from the start to the first.
    pub longest_gap: Duration,
    /// How many each answered.
    pub by: BTreeMap<String, usize>,
}

impl Caller {
    pub fn stop(mut self) -> Calls {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it is taken here alone");
        thread.join().expect("a caller does not panic")
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn calls(pod: &RealPod, port: u16, pause: Duration, stop: &AtomicBool) -> Calls {
    let (mut calls, began) = (Calls::default(), Instant::now());
    let mut answered = began;
    while !stop.load(Ordering::Relaxed) {
        calls.count += 1;
        match pod.exchange_within(&format!("127.0.0.1:{port}"), PATIENCE_OF_LOAD) {
            Ok(who) => {
                calls.longest_gap = calls.longest_gap.max(answered.elapsed());
                answered = Instant::now();
                *calls.by.entry(who).or_default() += 1;
            }
            Err(error) => calls.lost.push((began.elapsed(), error.to_string())),
        }
        std::thread::sleep(pause);
    }
    calls.longest_gap = calls.longest_gap.max(answered.elapsed());
    calls
}

/// A call from a pod of one cluster to a Service whose only pod is in another; both are made first if need be. What
/// earlier calls have left of the Service in `others` is removed.
pub fn call(from: &Arc<Cluster>, to: &Arc<Cluster>, others: &[Arc<Cluster>]) -> Result<Answer> {
    let (client, server) = (Workload::new("client"), Workload::new("server"));
    for cluster in [from, to] {
        let istio = cluster.get(&["crd", "sidecars.networking.istio.io"])?;
        if istio.is_none() {
            return Err(Error::Usage(format!("there is no control plane in {} yet", cluster.name())));
        }
        client.declare(cluster, cluster)?;
        server.declare(cluster, cluster)?;
    }
    for cluster in others {
        cluster.kubectl(&["-n", NAMESPACE, "delete", "pod", server.name, "--ignore-not-found", "--wait=false"])?;
    }
    server.run(to)?;
    let pod = client.run(from)?;
    let host = format!("server.{NAMESPACE}.svc.cluster.local");
    let there = format!("{}/", to.name());
    let fits = |answer: &std::io::Result<Answer>| {
        let answer = answer.as_ref().ok();
        answer.is_some_and(|answer| answer.status == 200 && answer.by.as_ref().is_some_and(|by| by.starts_with(&there)))
    };
    match eventually(Duration::from_secs(30), || pod.get(&host, HTTP), fits) {
        Ok(answer) | Err(Ok(answer)) => Ok(answer),
        Err(Err(error)) => Err(Error::Usage(format!("the proxy of {} did not answer: {error}", pod.name))),
    }
}

/// Asks until the answer is as wanted; the last answer if it never is.
pub fn eventually<T>(
    patience: Duration,
    mut ask: impl FnMut() -> std::io::Result<T>,
    wanted: impl Fn(&std::io::Result<T>) -> bool,
) -> std::result::Result<T, std::io::Result<T>> {
    let began = Instant::now();
    loop {
        let answer = ask();
        if wanted(&answer) {
            return match answer {
                Ok(answer) => Ok(answer),
                refused => Err(refused),
            };
        }
        if began.elapsed() > patience {
            return Err(answer);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

impl Cluster {
    /// The pods of this cluster that are real and ready.
    pub fn real_pods(&self) -> Vec<RealPod> {
        self.proxies().into_iter().filter(|(pod, _)| pod.ready).map(|(_, real)| real).collect()
    }

    /// The pod with the label, as soon as its proxy is ready.
    pub fn real_pod(&self, namespace: &str, label: (&str, &str)) -> Result<RealPod> {
        let find = || {
            let mut all = self.proxies().into_iter();
            let fits = |labels: &BTreeMap<String, String>| labels.get(label.0).is_some_and(|value| value == label.1);
            all.find(|(pod, _)| pod.ready && pod.namespace == namespace && fits(&pod.labels)).map(|(_, real)| real)
        };
        let what = format!("a ready proxy in {namespace} with {}={}", label.0, label.1);
        match self.wait_until(&what, || find().is_some()) {
            Ok(()) => find().ok_or_else(|| Error::Usage(format!("{what} went again"))),
            Err(Error::NotReady { name, seconds, .. }) => {
                let logs = self.proxies().into_iter().map(|(pod, _)| tail(&pod.log));
                Err(Error::NotReady { name, seconds, log: logs.collect::<Vec<_>>().join("\n") })
            }
            Err(error) => Err(error),
        }
    }
}

fn tail(log: &std::path::Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    format!("{}:\n{}", log.display(), lines[lines.len().saturating_sub(12)..].join("\n"))
}
