//! Calls between meshes, judged by whether they arrive: what several tests of traffic share.

use std::io::{Read, Write};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use lab::tools::{self, Tool};
use lab::traffic::{Answer, RealPod, Workload, eventually};
use lab::{Cluster, Lab, Options, Proxies};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::json;

use super::workload::{Account, Anyone, Workload as Issued, issued_by, workload as issued};

/// A change has reached every proxy after this long, on a machine that is busy with other things as well. What waits
/// for one goes on as soon as it is there.
pub const SETTLED: Duration = Duration::from_secs(180);

/// A lab with proxies. Says why there can be none, and fails for it where `CI` is set.
pub fn lab(names: &[&str], proxies: Proxies) -> Option<Lab> {
    if let Err(why) = lab::proxies_possible() {
        assert!(std::env::var_os("CI").is_none(), "{why}");
        println!("skipped: {why}");
        return None;
    }
    Some(Lab::start(names, Options { proxies, ..Options::default() }).expect("clusters"))
}

/// The version of the Envoy that proxies run, as it says itself.
pub fn envoy_version() -> String {
    let envoy = tools::path(Tool::Envoy).expect("an Envoy");
    let said = Command::new(envoy).arg("--version").output().expect("Envoy's version");
    version_of(&String::from_utf8_lossy(&said.stdout))
}

/// Of `… version: COMMIT/VERSION/STATE/BUILD/TLS`.
fn version_of(said: &str) -> String {
    let version = said.split_once("version: ").and_then(|(_, rest)| rest.split('/').nth(1));
    version.unwrap_or_else(|| panic!("no version: {said}")).to_owned()
}

#[test]
fn the_version_of_an_envoy_is_the_one_it_says() {
    let said = "\n/usr/bin/envoy  version: 8f4b6ff/1.40.0/Clean/RELEASE/BoringSSL\n\n";
    assert_eq!(version_of(said), "1.40.0");
}

/// A Service in all clusters, whose one pod is in the named one and calls others as well. Each cluster has its own
/// configuration.
pub fn workload(lab: &Lab, name: &'static str, tcp: u16, at: &str) -> RealPod {
    workload_among(&lab.clusters().iter().collect::<Vec<_>>(), name, tcp, at)
}

/// The same in some of the clusters.
pub fn workload_among(among: &[&Arc<Cluster>], name: &'static str, tcp: u16, at: &str) -> RealPod {
    let workload = Workload { ports: (80, tcp), ..Workload::new(name) };
    for cluster in among {
        workload.declare(cluster, cluster).expect("a Service");
    }
    let at = among.iter().find(|cluster| cluster.name() == at).expect("one of them");
    workload.run(at).expect("a pod")
}

/// The same where the first of the clusters has the configuration of all.
pub fn configured_workload(among: &[&Arc<Cluster>], name: &'static str, tcp: u16, at: &str) -> RealPod {
    let workload = Workload { ports: (80, tcp), ..Workload::new(name) };
    for cluster in among {
        workload.declare(cluster, among[0]).expect("a Service");
    }
    let at = among.iter().find(|cluster| cluster.name() == at).expect("one of them");
    workload.run(at).expect("a pod")
}

/// Calls by HTTP and by TCP arrive, and either end has seen who the other is.
#[track_caller]
pub fn passes(from: &RealPod, to: &RealPod, words: u16) -> Answer {
    let by = format!("{}/{}", to.cluster, to.name);
    let answer = arrives(from, &host(&to.name), 80, &by);
    let account = |pod: &RealPod| Some(format!("spiffe://cluster.local/ns/traffic/sa/{}", pod.name));
    assert_eq!((&answer.server, &answer.client), (&account(to), &account(from)), "{answer:?}");
    is_answered(from, words, &by);
    answer
}

/// The name of a workload's Service.
pub fn host(name: &str) -> String {
    format!("{name}.traffic.svc.cluster.local")
}

/// A call by HTTP arrives, within the time that proxies take to hear of a change.
#[track_caller]
pub fn arrives(from: &RealPod, host: &str, port: u16, by: &str) -> Answer {
    let answered =
        |answer: &std::io::Result<Answer>| answer.as_ref().is_ok_and(|answer| answer.by.as_deref() == Some(by));
    match eventually(SETTLED, || from.get(host, port), answered) {
        Ok(answer) => answer,
        Err(last) => panic!("{}'s call to {host}:{port} does not arrive at {by}: {last:?}\n{}", from.name, seen(from)),
    }
}

/// The same by TCP, over a new connection.
#[track_caller]
pub fn is_answered(from: &RealPod, port: u16, by: &str) {
    let answered = |answer: &std::io::Result<String>| answer.as_ref().is_ok_and(|who| who == by);
    if let Err(last) = eventually(SETTLED, || from.talk(port), answered) {
        panic!("{}'s call to port {port} is not answered by {by}: {last:?}\n{}", from.name, seen(from));
    }
}

/// New connections end without an answer, from some moment on: several in a row.
#[track_caller]
pub fn ends(from: &RealPod, port: u16) {
    let mut refused = 0;
    let ask = || {
        let answer = from.talk(port);
        refused = if answer.is_err() { refused + 1 } else { 0 };
        match (refused, answer) {
            (5.., Err(_)) => Ok("refused".to_owned()),
            (_, answer) => answer,
        }
    };
    // A proxy whose istiod is gone may pause for half a minute before it asks another.
    if let Err(last) = eventually(SETTLED, ask, |answer| answer.as_ref().is_ok_and(|said| said == "refused")) {
        panic!("{}'s calls to port {port} still arrive: {last:?}", from.name);
    }
}

/// What a proxy knows of the way, for a message.
fn seen(pod: &RealPod) -> String {
    let clusters = pod.admin("/clusters").unwrap_or_else(|error| error.to_string());
    let lines = clusters.lines().filter(|line| line.contains("traffic.svc") && line.contains("::health_flags"));
    let listeners = pod.admin("/listeners").unwrap_or_default();
    let log = std::fs::read_to_string(&pod.log).unwrap_or_default();
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains("warn") || line.contains("error")).collect();
    format!(
        "{}\n{listeners}\n{}",
        lines.collect::<Vec<_>>().join("\n"),
        warnings[warnings.len().saturating_sub(8)..].join("\n")
    )
}

/// The address of a cluster's gateway, with the port for other networks.
pub fn door(cluster: &Arc<Cluster>) -> String {
    door_of(cluster, "istio-eastwestgateway")
}

/// The same of a gateway of this name.
pub fn door_of(cluster: &Arc<Cluster>, name: &str) -> String {
    let service = cluster.get(&["service", name, "-n", "istio-system"]).unwrap().expect("a gateway");
    let ip = service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str().expect("an address");
    format!("{ip}:15443")
}

/// What a client shows of itself.
pub enum Shows<'a> {
    Nothing,
    Chain(Vec<CertificateDer<'static>>, &'a KeyPair),
}

/// What a workload was issued.
pub fn chain(issued: &Issued) -> Vec<CertificateDer<'static>> {
    issued.chain.iter().map(|part| CertificateDer::from(part.der().to_vec())).collect()
}

/// A certificate with a workload's name, by an authority that the mesh does not know.
pub fn of_another_root(name: &str) -> (Vec<CertificateDer<'static>>, KeyPair) {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = authority.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::default();
    leaf.subject_alt_names = vec![SanType::URI(name.try_into().unwrap())];
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    (vec![leaf.der().clone(), root.der().clone()], key)
}

/// What nobody may do, tried by one pod against another.
pub struct Refusals<'a> {
    pub lab: &'a Lab,
    pub from: &'a RealPod,
    /// Whom a client of the mesh reaches here.
    pub to: &'a RealPod,
    /// The port of its Service at which it takes words.
    pub words: u16,
    /// Where calls come in: a gateway, or the pod itself where nothing but mTLS is taken.
    pub address: &'a str,
    /// The cluster whose istiod issues to the one that calls.
    pub istiod: &'a str,
}

impl Refusals<'_> {
    /// What a client of the mesh is told comes first; then who has the certificate of another root, or none; and at a
    /// gateway the name of nobody.
    #[track_caller]
    pub fn hold(&self) {
        let Refusals { from, to, address, .. } = *self;
        let sni = |name: &str| format!("outbound_.{}_._.{}", self.words, host(name));
        let own = self.own();
        let said = knock(from, address, &sni(&to.name), Shows::Chain(chain(&own), &own.key));
        let by = format!("{}/{}", to.cluster, to.name);
        assert_eq!(said, Ok(by), "what {} as a client of the mesh is told at {address}", from.name);
        let (foreign, key) = of_another_root(&format!("spiffe://cluster.local/ns/traffic/sa/{}", from.name));
        let said = knock(from, address, &sni(&to.name), Shows::Chain(foreign, &key));
        assert!(said.as_ref().is_err_and(|why| why.contains("UnknownCA")), "the same name by another root: {said:?}");
        let said = knock(from, address, &sni(&to.name), Shows::Nothing);
        assert!(said.as_ref().is_err_and(|why| why.contains("CertificateRequired")), "no certificate: {said:?}");
        if !address.starts_with(&format!("{}:", to.ip)) {
            let said = knock(from, address, &sni("nobody"), Shows::Chain(chain(&own), &own.key));
            assert!(said.is_err(), "a name of nobody: {said:?}");
            let direct = from.exchange(&format!("{}:9000", to.ip));
            assert!(direct.is_err(), "{}, of another network, is reached by its address: {direct:?}", to.name);
        }
    }

    /// What the istiod issues to the account of the pod that calls.
    fn own(&self) -> Issued {
        let (istiod, own) = (self.lab.cluster(self.istiod), self.lab.cluster(&self.from.cluster));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let made = match self.istiod == self.from.cluster {
            true => runtime.block_on(issued(own, "traffic", &self.from.name)),
            false => {
                let account = Account { namespace: "traffic", name: &self.from.name, cluster: own };
                runtime.block_on(issued_by(istiod, &account, &self.id()))
            }
        };
        made.unwrap_or_else(|why| panic!("{} of {}: {why}", self.from.name, self.from.cluster))
    }

    /// Istio's id of the caller's cluster, as injection has told the pod.
    fn id(&self) -> String {
        let pod = self.lab.cluster(&self.from.cluster).get(&["pod", &self.from.name, "-n", "traffic"]);
        let pod = pod.unwrap().expect("the pod");
        let containers = ["initContainers", "containers"].map(|list| &pod["spec"][list]);
        let env = containers.into_iter().flat_map(|list| list.as_array().into_iter().flatten());
        let mut env = env.flat_map(|container| container["env"].as_array().into_iter().flatten());
        let id = env.find(|variable| variable["name"] == "ISTIO_META_CLUSTER_ID").expect("an injected pod");
        id["value"].as_str().expect("an id").to_owned()
    }
}

/// The example with proxies that renew their certificates every few seconds.
pub fn with_short_certificates(example: &str) -> String {
    let known = "trust_root = mesh_ca.this.root_fingerprint\n";
    assert!(example.contains(known), "{example}");
    let metadata = "{ SECRET_TTL = \"20s\" }";
    let quick =
        format!("  values = [yamlencode({{ meshConfig = {{ defaultConfig = {{ proxyMetadata = {metadata} }} }} }})]\n");
    example.replace(known, &format!("{known}{quick}"))
}

/// Waits until this API server reaches the webhook that injects. It hears of an istiod's endpoint after the istiod is
/// ready, and refuses Pods of injected namespaces until then.
pub fn injects(cluster: &Cluster) {
    let probe = ["run", "probe", "-n", "traffic", "--image=probe", "--dry-run=server"];
    cluster.wait_until("the webhook to be reached", || cluster.kubectl(&probe).is_ok()).unwrap();
}

/// From now on pods take nothing but mTLS, as the configuration of this cluster says.
pub fn strict(cluster: &Cluster) {
    let strict = json!({
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication", "metadata": { "name": "default", "namespace": "traffic" },
        "spec": { "mtls": { "mode": "STRICT" } },
    });
    cluster.apply(&strict.to_string()).unwrap();
}

/// Plain text, past the proxy of the one that calls, is answered no longer.
#[track_caller]
pub fn plain_text_ends(from: &RealPod, to: &RealPod) {
    let refused = eventually(SETTLED, || from.exchange(&format!("{}:9000", to.ip)), |answer| answer.is_err());
    assert!(matches!(refused, Err(Err(_))), "plain text of {} is still answered: {refused:?}", from.name);
}

/// Speaks TLS with this server name from a pod's network, past its proxy; what the far end said in the end.
pub fn knock(from: &RealPod, address: &str, sni: &str, shows: Shows<'_>) -> Result<String, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.dangerous().with_custom_certificate_verifier(Arc::new(Anyone));
    let mut config = match shows {
        Shows::Nothing => config.with_no_client_auth(),
        Shows::Chain(chain, key) => {
            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
            config.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"istio".to_vec()];
    let name = ServerName::try_from(sni.to_owned()).map_err(|error| error.to_string())?;
    let connection = ClientConnection::new(Arc::new(config), name).map_err(|error| error.to_string())?;
    let socket = from.connect(address).map_err(|error| error.to_string())?;
    socket.set_read_timeout(Some(Duration::from_secs(5))).map_err(|error| error.to_string())?;
    let mut stream = StreamOwned::new(connection, socket);
    stream.write_all(b"hello\n").map_err(|error| error.to_string())?;
    let mut said = String::new();
    match stream.read_to_string(&mut said) {
        Ok(_) => {}
        // An Envoy closes without the goodbye that TLS has.
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof && !said.is_empty() => {}
        Err(error) => return Err(error.to_string()),
    }
    match said.trim() {
        "" => Err("closed without an answer".to_owned()),
        said => Ok(said.to_owned()),
    }
}
