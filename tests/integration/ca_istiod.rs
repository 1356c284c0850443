//! `mesh_ca` before Istio's own code: two real istiods issue workload certificates over their real API, and each
//! certificate is verified with the roots that the other istiod hands out. A root is rotated under them, and at no
//! moment does a verification fail.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use lab::tools::{self, Istio};
use lab::{Cluster as LabCluster, Fault, Lab, Options};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, UnixTime};
use serde_json::{Value as Json, json};
use terraform_provider_mesh::cluster::{Cluster, ClusterConfig, Scope, TokenRequest};
use terraform_provider_mesh::pki::{Bundle, Certificate};
use terraform_provider_mesh::provider::Mesh;
use terraform_provider_mesh::resources::registry;
use terraform_provider_mesh::value::{Dyn, Path};
use tokio_util::sync::CancellationToken;
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::ca_found::{Root, cacerts_of};
use crate::support::core::{Applied, Core, Planned, Stored};
use crate::support::workload::issue;

const CA: &str = "mesh_ca";
const PRIMARY: &str = "mesh_primary";
const CLUSTERS: [&str; 2] = ["east", "west"];

#[test]
fn a_root_is_rotated_under_two_istiods_that_keep_trusting_each_other() {
    let lab = Lab::start(&CLUSTERS, Options::default()).expect("two clusters");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mesh = Arc::new(Meshed::new(&lab).await);
        let stored = mesh.settle(1, None).await;
        mesh.start_control_planes(&stored).await;
        let old = mesh.observe().await.expect("both istiods issue and verify");
        assert_eq!(old.roots["east"].len(), 1);
        assert_eq!(old.issuers["east"], old.issuers["west"], "one root for both");
        mesh.refuses_a_foreign_root().await;

        let watch = Watch::begin(Arc::clone(&mesh));
        watch.sees().await;

        // Widening is interrupted: west's API server is away. East has finished; west has not, and that is said.
        let planned = mesh.plan(2, Some(&stored)).await;
        lab.cluster("west").fault(Fault::unreachable()).unwrap();
        let Applied { stored: reached, diagnostics } = mesh.core.apply(CA, planned).await;
        lab.cluster("west").clear_faults().unwrap();
        let complaint = diagnostics.to_string();
        assert!(diagnostics.has_errors() && complaint.contains("clusters[\"west\"]"), "{complaint}");
        let reached = reached.expect("what was reached is kept");
        assert_eq!(mesh.phase(&reached), "widening-trust");

        let widened = mesh.step(&reached, "trust-widened").await;
        watch.sees().await;
        let seen = mesh.observe().await.unwrap();
        assert_eq!((seen.roots["east"].len(), seen.roots["west"].len()), (2, 2));
        assert_eq!(seen.issuers, old.issuers);

        let switched = mesh.step(&widened, "issuers-switched").await;
        watch.sees().await;
        let seen = mesh.observe().await.unwrap();
        assert_ne!(seen.issuers["east"], old.issuers["east"]);
        assert_eq!(seen.issuers["east"], seen.issuers["west"]);

        let settled = mesh.step(&switched, "settled").await;
        watch.sees().await;
        let seen = mesh.observe().await.unwrap();
        assert_eq!((seen.roots["east"].len(), seen.roots["west"].len()), (1, 1));

        let (rounds, failures) = watch.end().await;
        println!("{rounds} rounds of two certificates each were issued and verified across the rotation");
        assert_eq!(failures, [""; 0]);
        let again = mesh.plan(2, Some(&settled)).await;
        assert_eq!(again.action, crate::support::core::Action::Nothing);
    });
}

/// An istiod that would refuse in silence is asked before anything is written.
#[test]
fn an_istiod_that_expects_one_root_stops_the_rotation_before_it_begins() {
    let lab = Lab::start(&["east"], Options::default()).expect("a cluster");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mesh = Meshed { multi_root: false, ..Meshed::new(&lab).await };
        let stored = mesh.settle(1, None).await;
        let primary = mesh.start_control_planes(&stored).await.pop().unwrap();
        let Applied { diagnostics, .. } = mesh.core.apply(CA, mesh.plan(2, Some(&stored)).await).await;
        let complaint = diagnostics.to_string();
        assert!(complaint.contains("istiod would not take the new roots (clusters[\"east\"])"), "{complaint}");
        assert!(complaint.contains("multi_root = true"), "{complaint}");
        assert_eq!(mesh.roots("east").unwrap().len(), 1);
        mesh.comes_under_cert_manager(&primary).await;
    });
}

/// The clusters with one provider over them.
struct Meshed {
    core: Core,
    provider: Json,
    names: Vec<String>,
    lab: BTreeMap<String, Arc<LabCluster>>,
    api: BTreeMap<String, Cluster>,
    multi_root: bool,
}

/// Why nothing was seen.
#[derive(Debug, thiserror::Error)]
enum Unseen {
    /// Somebody does not answer.
    #[error("{0}")]
    Away(String),
    /// An istiod's roots do not verify a certificate that an istiod issued.
    #[error("{0}")]
    Distrusted(String),
}

/// What both istiods showed at one moment.
struct Seen {
    /// Fingerprints of the roots their certificates chain to.
    issuers: BTreeMap<String, String>,
    roots: BTreeMap<String, Bundle>,
}

impl Meshed {
    async fn new(lab: &Lab) -> Self {
        let names: Vec<String> = lab.clusters().iter().map(|cluster| cluster.name().to_owned()).collect();
        let path = |name: &String| lab.cluster(name).kubeconfig_path();
        let clusters: BTreeMap<&String, Json> =
            names.iter().map(|name| (name, json!({ "config_path": path(name) }))).collect();
        // Unpacked once for both tests, which run side by side.
        static CHARTS: OnceLock<PathBuf> = OnceLock::new();
        let charts = CHARTS.get_or_init(|| tools::charts(Istio::Current).expect("the charts").dir().to_path_buf());
        let provider = json!({ "clusters": clusters, "charts": { "directory": charts } });
        let core = Core::new(Mesh, registry(), provider.clone()).await.unwrap();
        let api = names.iter().map(|name| {
            let paths = vec![path(name).display().to_string()];
            let config = ClusterConfig { config_paths: paths, ..ClusterConfig::default() };
            (name.clone(), Cluster::standalone(name, config, "0.0.0-test"))
        });
        let lab = names.iter().map(|name| (name.clone(), Arc::clone(lab.cluster(name)))).collect();
        Self { core, provider, api: api.collect(), lab, names, multi_root: true }
    }

    fn config(&self, generation: i64) -> Json {
        let clusters: BTreeMap<&String, Json> = self.names.iter().map(|name| (name, json!({}))).collect();
        json!({
            "root": { "store": { "cluster": "east" }, "generation": generation },
            "clusters": clusters,
            "rotation_pause": "0s",
            "timeouts": { "update": "5m" },
        })
    }

    async fn plan(&self, generation: i64, stored: Option<&Stored>) -> Planned {
        self.core.configure(self.provider.clone()).await.unwrap();
        self.core.plan(CA, Some(self.config(generation)), stored).await.unwrap_or_else(|errors| panic!("{errors}"))
    }

    async fn settle(&self, generation: i64, stored: Option<&Stored>) -> Stored {
        let Applied { stored, diagnostics } = self.core.apply(CA, self.plan(generation, stored).await).await;
        assert!(!diagnostics.has_errors(), "{diagnostics}");
        stored.unwrap()
    }

    /// The next plan of the rotation, and where it leads.
    async fn step(&self, stored: &Stored, phase: &str) -> Stored {
        let stored = self.settle(2, Some(stored)).await;
        assert_eq!(self.phase(&stored), phase);
        stored
    }

    fn phase(&self, stored: &Stored) -> String {
        self.text(stored, "phase")
    }

    fn text(&self, stored: &Stored, attribute: &str) -> String {
        let state = self.core.state(CA, stored);
        state.at(&Path::root(attribute)).and_then(Dyn::as_str).unwrap_or_default().to_owned()
    }

    fn control_plane(&self, name: &str, trust_root: &str, timeout: &str) -> Json {
        let values = json!({ "global": { "tag": Istio::Current.version() } });
        json!({
            "cluster": name, "mesh_id": "mesh1", "network": format!("net-{name}"), "timeouts": { "update": timeout },
            "trust_root": trust_root, "multi_root": self.multi_root, "values": [values.to_string()],
        })
    }

    /// Somebody's `cacerts` in cert-manager's form, of another root: what counts is what istiod hands out, not what the
    /// Secret promises.
    async fn comes_under_cert_manager(&self, primary: &Stored) {
        let (east, root) = (&self.lab["east"], Root::new("cert-manager's"));
        let plain = cacerts_of(&root.certificate, &root.key);
        let data = json!({ "tls.crt": plain["cert-chain.pem"], "tls.key": plain["ca-key.pem"], "ca.crt": plain["root-cert.pem"] });
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "cacerts", "namespace": "istio-system" }, "data": data,
        });
        east.kubectl(&["delete", "secret", "cacerts", "-n", "istio-system"]).unwrap();
        east.apply(&secret.to_string()).unwrap();
        let trust_root = root.certificate.fingerprint().to_string();
        let apply = async |stored: &Stored, timeout: &str| {
            self.core.configure(self.provider.clone()).await.unwrap();
            let config = self.control_plane("east", &trust_root, timeout);
            let planned =
                self.core.plan(PRIMARY, Some(config), Some(stored)).await.unwrap_or_else(|errors| panic!("{errors}"));
            self.core.apply(PRIMARY, planned).await
        };
        let Applied { stored, diagnostics } = apply(primary, "30s").await;
        assert!(diagnostics.to_string().contains("Workloads are given another root (trust_root)"), "{diagnostics}");
        east.kubectl(&["delete", "pod", "-n", "istio-system", "-l", "app=istiod"]).unwrap();
        let Applied { stored, diagnostics } = apply(&stored.unwrap(), "3m").await;
        assert!(stored.is_some() && !diagnostics.has_errors(), "{diagnostics}");
        assert_eq!(self.roots("east").unwrap().fingerprints(), [root.certificate.fingerprint()]);
    }

    async fn start_control_planes(&self, ca: &Stored) -> Vec<Stored> {
        let trust_root = self.text(ca, "root_fingerprint");
        let mut made = Vec::new();
        for name in &self.names {
            let config = self.control_plane(name, &trust_root, "5m");
            let planned = self.core.plan(PRIMARY, Some(config), None).await.unwrap_or_else(|errors| panic!("{errors}"));
            let applied = self.core.apply(PRIMARY, planned).await;
            assert!(!applied.diagnostics.has_errors(), "{}", applied.diagnostics);
            self.lab[name].wait_for_istiods(1).expect("istiod runs");
            made.extend(applied.stored);
        }
        made
    }

    /// The roots that the cluster's istiod hands out.
    fn roots(&self, name: &str) -> Result<Bundle, String> {
        let cluster = &self.lab[name];
        for _ in 0..900 {
            let map = cluster.get(&["configmap", "istio-ca-root-cert", "-n", "istio-system"]);
            let map = map.map_err(|error| error.to_string())?;
            if let Some(pem) = map.as_ref().and_then(|map| map["data"]["root-cert.pem"].as_str()) {
                return Ok(Bundle::from_pem(pem).unwrap());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Err(format!("istiod of {name} hands out no roots"))
    }

    /// Has both istiods issue, and verifies each certificate with both istiods' roots.
    async fn observe(self: &Arc<Self>) -> Result<Seen, Unseen> {
        // Tokens first: while an API server is away they take long, and the roots would be those of long ago.
        let mut tokens = Vec::new();
        for name in &self.names {
            tokens.push((name, self.token(name).await.map_err(Unseen::Away)?));
        }
        // Then roots: a proxy has its roots before it meets a certificate that was issued later.
        let this = Arc::clone(self);
        let roots: Result<BTreeMap<String, Bundle>, String> = tokio::task::spawn_blocking(move || {
            this.names.iter().map(|name| Ok((name.clone(), this.roots(name)?))).collect()
        })
        .await
        .unwrap();
        let roots = roots.map_err(Unseen::Away)?;
        let mut issuers = BTreeMap::new();
        for (name, token) in &tokens {
            let chain = self.certificate(name, token).await;
            let chain = chain.map_err(|error| Unseen::Away(format!("{name} issues nothing: {error}")))?;
            for (judge, bundle) in &roots {
                let root = verifies(&chain, bundle);
                let root = root.map_err(|error| Unseen::Distrusted(format!("{judge} refuses {name}: {error}")))?;
                issuers.insert((*name).clone(), root);
            }
        }
        Ok(Seen { issuers, roots })
    }

    async fn refuses_a_foreign_root(&self) {
        let token = self.token("east").await.unwrap();
        let chain = self.certificate("east", &token).await.unwrap();
        let key = KeyPair::generate().unwrap();
        let foreign = CertificateParams::default().self_signed(&key).unwrap();
        let foreign = Certificate::from_der(foreign.der()).unwrap();
        assert!(verifies(&chain, &Bundle::from_iter([foreign])).is_err());
    }

    /// A service account's token, as an agent has it.
    async fn token(&self, name: &str) -> Result<String, String> {
        let token = TokenRequest {
            namespace: "default".into(),
            service_account: "default".into(),
            audiences: vec!["istio-ca".into()],
            expires_in: Duration::from_secs(3600),
            bound_to: None,
        };
        // No longer: who waits for an API server that is away sees nothing of what goes on meanwhile.
        let briefly = Scope::lasting(Duration::from_secs(5), CancellationToken::new());
        let token = self.api[name].within(briefly).request_token(&token).await.map_err(|error| error.to_string())?;
        Ok(token.token.expose().to_owned())
    }

    /// A workload's certificate from a cluster's istiod, as an agent gets it.
    async fn certificate(&self, name: &str, token: &str) -> Result<Vec<Certificate>, String> {
        let istiods = self.lab[name].istiods();
        let port = istiods.first().and_then(|istiod| istiod.port(15012)).ok_or("there is no istiod")?;
        issue(port, token, None).await.map(|workload| workload.chain)
    }
}

/// Verifies a leaf behind its intermediates with some roots; tells the root it leads to.
pub fn verifies(chain: &[Certificate], roots: &Bundle) -> Result<String, String> {
    let (leaf, behind) = chain.split_first().ok_or("an empty chain")?;
    let ders: Vec<CertificateDer<'_>> = roots.iter().map(|root| CertificateDer::from(root.der())).collect();
    let anchors: Vec<_> = ders.iter().map(|der| anchor_from_trusted_cert(der).unwrap()).collect();
    let intermediates: Vec<CertificateDer<'_>> = behind.iter().map(|ca| CertificateDer::from(ca.der())).collect();
    let der = CertificateDer::from(leaf.der());
    let entity = EndEntityCert::try_from(&der).map_err(|error| error.to_string())?;
    for usage in [KeyUsage::client_auth(), KeyUsage::server_auth()] {
        entity
            .verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, &intermediates, UnixTime::now(), usage, None, None)
            .map_err(|error| error.to_string())?;
    }
    let intermediate = behind.iter().find(|ca| leaf.is_signed_by(ca)).ok_or("the chain lacks its intermediate")?;
    let root = roots.iter().find(|root| intermediate.is_signed_by(root)).ok_or("no root signed the intermediate")?;
    Ok(root.fingerprint().to_string())
}

/// Observes for as long as the rotation lasts.
struct Watch {
    over: Arc<AtomicBool>,
    rounds: Arc<AtomicUsize>,
    failures: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Watch {
    fn begin(mesh: Arc<Meshed>) -> Self {
        let (over, rounds, failures) = <(Arc<AtomicBool>, Arc<AtomicUsize>, Arc<Mutex<Vec<String>>>)>::default();
        let task = tokio::spawn({
            let (over, rounds, failures) = (Arc::clone(&over), Arc::clone(&rounds), Arc::clone(&failures));
            async move {
                while !over.load(Ordering::SeqCst) {
                    match mesh.observe().await {
                        Ok(_) => drop(rounds.fetch_add(1, Ordering::SeqCst)),
                        Err(Unseen::Distrusted(error)) => failures.lock().unwrap().push(error),
                        // While its API server is away on purpose, an istiod cannot check tokens.
                        Err(Unseen::Away(_)) => {}
                    }
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
            }
        });
        Self { over, rounds, failures, task }
    }

    /// Waits until a round that began after this moment has gone well, or some round has not.
    async fn sees(&self) {
        // The round under way may have begun before.
        let enough = self.rounds.load(Ordering::SeqCst) + 2;
        let seen = || self.rounds.load(Ordering::SeqCst) >= enough || !self.failures.lock().unwrap().is_empty();
        for _ in 0..3000 {
            if seen() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the istiods issued nothing for five minutes");
    }

    async fn end(self) -> (usize, Vec<String>) {
        self.over.store(true, Ordering::SeqCst);
        self.task.await.unwrap();
        let failures = self.failures.lock().unwrap().clone();
        (self.rounds.load(Ordering::SeqCst), failures)
    }
}
