//! Links that are renewed, refused, or cannot be looked at: what the user is told is the layer that failed and the next
//! step. One istiod, in east, watches west; west itself runs nothing, which makes no difference to being watched.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lab::tools::{self, Istio};
use lab::{Lab, Options};
use serde_json::{Value as Json, json};
use terraform_provider_mesh::cluster::{Cluster, ClusterConfig, Layer, Secret};
use terraform_provider_mesh::diag::{Diagnostic, Diagnostics};
use terraform_provider_mesh::provider::Mesh;
use terraform_provider_mesh::resources::registry;
use terraform_provider_mesh::value::Path;

use crate::links_topologies::{synced, web};
use crate::rbac::{may_within_moments, restricted};
use crate::support::cli::{Workspace, clis};
use crate::support::core::{Action, Applied, Core, Stored};

const REMOTE: &str = "mesh_remote_cluster";

struct Links {
    core: Core,
    lab: Lab,
    charts: std::path::PathBuf,
}

impl Links {
    async fn start() -> Links {
        let start = || Lab::start(&["east", "west"], Options::default()).expect("clusters");
        let lab = tokio::task::spawn_blocking(start).await.expect("a lab");
        let charts = tools::charts(Istio::Current).expect("the charts can be unpacked").dir().to_path_buf();
        let core = Core::new(Mesh, registry(), json!({})).await.expect("the provider can be configured");
        let links = Links { core, lab, charts };
        // A control plane of its own would have made it.
        links.lab.cluster("west").kubectl(&["create", "namespace", "istio-system"]).expect("a namespace");
        links.configure(&links.kubeconfig("east")).await;
        let primary = json!({"cluster": "east", "mesh_id": "mesh1", "network": "net-east", "external_istiod": true});
        let planned = links.core.plan("mesh_primary", Some(primary), None).await.expect("a plan");
        let applied = links.core.apply("mesh_primary", planned).await;
        assert!(!applied.diagnostics.has_errors(), "{}", applied.diagnostics);
        links
    }

    fn kubeconfig(&self, cluster: &str) -> std::path::PathBuf {
        self.lab.cluster(cluster).kubeconfig_path()
    }

    /// With these credentials for east. Nothing that was listed before is held any longer.
    async fn configure(&self, east: &std::path::Path) {
        let clusters = json!({"east": {"config_path": east}, "west": {"config_path": self.kubeconfig("west")}});
        let config = json!({"clusters": clusters, "charts": {"directory": self.charts}});
        self.core.configure(config).await.expect("the provider can be configured");
    }

    async fn again(&self) {
        self.configure(&self.kubeconfig("east")).await;
    }

    async fn apply(&self, config: &Json, stored: Option<&Stored>) -> Applied {
        let planned = self.core.plan(REMOTE, Some(config.clone()), stored).await.expect("a plan");
        self.core.apply(REMOTE, planned).await
    }

    /// One error, which says this where it says it; what was made so far.
    async fn refused(&self, config: &Json, stored: Option<&Stored>, told: Told<'_>) -> Stored {
        let applied = self.apply(config, stored).await;
        only_error(&applied.diagnostics, told);
        // As after `terraform untaint`.
        Stored { tainted: false, ..applied.stored.expect("what was made is in state") }
    }

    async fn linked(&self, config: &Json, stored: Option<&Stored>) -> Stored {
        self.linked_by(&self.kubeconfig("east"), config, stored).await
    }

    /// By the identity of this kubeconfig of east: no error, and nothing to do in the next plan.
    async fn linked_by(&self, east: &std::path::Path, config: &Json, stored: Option<&Stored>) -> Stored {
        let applied = self.apply(config, stored).await;
        assert!(!applied.diagnostics.has_errors(), "{}", applied.diagnostics);
        let stored = applied.stored.expect("a state");
        self.configure(east).await;
        let again = self.core.plan(REMOTE, Some(config.clone()), Some(&stored)).await.expect("a plan");
        assert_eq!(again.action, Action::Nothing, "the second plan is not empty: {:?}", again.planned);
        stored
    }

    async fn destroy(&self, stored: &Stored) {
        let planned = self.core.plan(REMOTE, None, Some(stored)).await.expect("a plan");
        let gone = self.core.apply(REMOTE, planned).await;
        assert!(gone.stored.is_none() && !gone.diagnostics.has_errors(), "{}", gone.diagnostics);
    }

    fn remote_secrets(&self) -> String {
        let secrets = ["get", "secrets", "-n", "istio-system", "-l", "istio/multiCluster=true", "-o", "name"];
        self.lab.cluster("east").kubectl(&secrets).expect("kubectl").trim().to_owned()
    }
}

/// What an error is expected to say.
#[derive(Clone, Copy)]
struct Told<'a> {
    summary: &'a str,
    at: &'a str,
    words: &'a [&'a str],
}

#[track_caller]
fn only_error(diagnostics: &Diagnostics, told: Told<'_>) {
    let errors: Vec<&Diagnostic> = diagnostics.iter().filter(|one| one.is_error()).collect();
    let [error] = &errors[..] else { panic!("one error expected: {diagnostics}") };
    assert_eq!((error.summary.as_str(), &error.path), (told.summary, &Some(Path::root(told.at))), "{diagnostics}");
    for word in told.words {
        assert!(error.detail.contains(word), "{word:?} is missing: {}", error.detail);
    }
}

fn peer(more: Json) -> Json {
    let mut config = json!({"cluster": "west", "watchers": ["east"], "allow_loopback_server": true,
        "timeouts": {"create": "90s", "update": "90s"}});
    let more = more.as_object().expect("an object").clone();
    config.as_object_mut().expect("an object").extend(more);
    config
}

/// The verdict in state on what east says.
fn verdict(stored: &Stored) -> String {
    let state: Json = serde_json::from_str(&stored.json).expect("JSON");
    state["sync"]["east"]["verdict"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_says_which_layer_failed_and_what_to_do() {
    if clis().is_empty() {
        return;
    }
    let links = Arc::new(Links::start().await);
    let stored = wrong_endpoints_are_refused_before_an_istiod_is_told(&links).await;
    an_authority_that_a_tenant_planted_is_not_taken(&links, &stored).await;
    what_may_not_be_asked_is_not_known(&links, &stored).await;
    links.again().await;
    links.destroy(&stored).await;
    a_reader_without_rights_is_told_and_the_next_apply_mends_it(&links).await;
    a_webhook_that_nobody_answers_is_explained(&links).await;
}

async fn wrong_endpoints_are_refused_before_an_istiod_is_told(links: &Links) -> Stored {
    let east = links.lab.cluster("east");
    let (authority, server) = (east.certificate_authority(), east.server());
    let foreign = peer(json!({"certificate_authority": authority}));
    let told = Told {
        summary: "Watchers would not trust this API server",
        at: "certificate_authority",
        words: &["certificate is not accepted", "TLS with", "Otherwise set `certificate_authority`"],
    };
    let stored = links.refused(&foreign, None, told).await;

    let elsewhere = peer(json!({"server": server}));
    let told = Told { at: "server", words: &["If another cluster", "set `server` to this cluster's own"], ..told };
    let stored = links.refused(&elsewhere, Some(&stored), told).await;

    let wholly = peer(json!({"server": server, "certificate_authority": authority}));
    let told = Told {
        summary: "This is not the watched cluster's API server",
        at: "server",
        words: &["does not accept the reader's token", &server, "cluster west has just issued", "Is another cluster"],
    };
    let stored = links.refused(&wholly, Some(&stored), told).await;
    assert_eq!(links.remote_secrets(), "", "no istiod was told of any of them");

    let stored = links.linked(&peer(json!({})), Some(&stored)).await;
    assert_eq!(verdict(&stored), "synced");
    stored
}

/// Who may write in Istio's namespace can add an authority to the copy of the cluster's own that lies there, and keep
/// Kubernetes from taking that back.
async fn an_authority_that_a_tenant_planted_is_not_taken(links: &Links, stored: &Stored) {
    let west = links.lab.cluster("west");
    let both = format!("{}{}", west.certificate_authority(), links.lab.cluster("east").certificate_authority());
    let planted = json!({"immutable": true, "data": {"ca.crt": both}}).to_string();
    let copy = ["-n", "istio-system", "patch", "configmap", "kube-root-ca.crt", "--type=merge", "-p", &planted];
    west.kubectl(&copy).expect("kubectl");
    links.again().await;
    let stored = links.core.refresh(REMOTE, stored).await.expect("a refresh").expect("it is there");
    let planned = links.core.plan(REMOTE, Some(peer(json!({}))), Some(&stored)).await.expect("a plan");
    assert_eq!(planned.action, Action::Nothing, "{:?}", planned.planned);
    west.kubectl(&["-n", "istio-system", "delete", "configmap", "kube-root-ca.crt"]).expect("kubectl");
}

/// Without port-forward: exec where that is allowed, else the metrics where they may be read, else an honest "unknown",
/// and no plan that would do something about it.
async fn what_may_not_be_asked_is_not_known(links: &Links, stored: &Stored) {
    let east = links.lab.cluster("east");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("east.kubeconfig");
    restricted(east, &file);
    let role = ["get", "clusterrole", "terraform-provider-mesh", "-o", "json"];
    let mut role: Json = serde_json::from_str(&east.kubectl(&role).expect("the role")).expect("JSON");
    let rules = role["rules"].as_array_mut().expect("rules");
    rules.retain(|rule| !rule["resources"].to_string().contains("portforward"));
    let without = json!({"apiVersion": role["apiVersion"], "kind": role["kind"], "metadata": {"name": "terraform-provider-mesh"}, "rules": role["rules"]});
    let granted = |rules: &Json| {
        let mut role = without.clone();
        role["rules"].as_array_mut().expect("rules").extend(rules.as_array().expect("rules").clone());
        east.kubectl(&["delete", "clusterrole", "terraform-provider-mesh"]).expect("kubectl");
        may_within_moments(east, ["list", "namespaces"], false);
        east.apply(&role.to_string()).expect("the role");
        may_within_moments(east, ["list", "namespaces"], true);
    };
    granted(&json!([]));
    links.configure(&file).await;
    let (seen, told) = links.core.refresh_told(REMOTE, stored).await.expect("a refresh");
    let seen = seen.expect("the link");
    assert_eq!(verdict(&seen), "unknown");
    let told = told.to_string();
    for word in ["cannot be asked", "Whether cluster east is in sync is not known", "pods/portforward", "Grant"] {
        assert!(told.contains(word), "{word:?} is missing: {told}");
    }
    let planned = links.core.plan(REMOTE, Some(peer(json!({}))), Some(stored)).await.expect("a plan");
    assert_eq!(planned.action, Action::Nothing, "nobody can bring about what cannot be seen");

    let other = json!({"cluster_name": "west-unseen", "service_account": "reader-unseen"});
    let told = Told {
        summary: "Not allowed to query the watcher's istiod",
        at: "watchers",
        words: &["The remote secret is written", "pods/portforward", "istio-system", "wait = false"],
    };
    let unseen = links.refused(&peer(other.clone()), None, told).await;
    let mut unwaited = peer(other);
    unwaited["wait"] = json!(false);
    let applied = links.apply(&unwaited, Some(&unseen)).await;
    assert!(!applied.diagnostics.has_errors(), "{}", applied.diagnostics);
    let unseen = applied.stored.expect("a state");
    assert_eq!(verdict(&unseen), "unknown");
    links.again().await;
    links.destroy(&unseen).await;

    granted(&json!([{"apiGroups": [""], "resources": ["pods/exec"], "verbs": ["create", "get"]}]));
    links.configure(&file).await;
    let seen = links.core.refresh(REMOTE, stored).await.expect("a refresh").expect("the link");
    assert_eq!(verdict(&seen), "synced", "istiod's own command says so");
    let by_exec = peer(json!({"cluster_name": "west-by-exec", "service_account": "reader-by-exec"}));
    east.reset_requests();
    let by_exec = links.linked_by(&file, &by_exec, None).await;
    assert_eq!(verdict(&by_exec), "synced");
    let commands = east.requests().only(|request| request.uri.contains("/exec?"));
    assert!(!commands.is_empty() && commands.0.iter().all(|command| command.status == 101), "{}", commands.listing());
    links.destroy(&by_exec).await;

    granted(&json!([{"apiGroups": [""], "resources": ["services/proxy"], "verbs": ["get"]}]));
    links.configure(&file).await;
    let seen = links.core.refresh(REMOTE, stored).await.expect("a refresh").expect("the link");
    assert_eq!(verdict(&seen), "synced", "istiod's metrics say so");
}

async fn a_webhook_that_nobody_answers_is_explained(links: &Links) {
    let remote = json!({"mode": "remote", "network": "net-west", "control_plane": "east", "control_plane_address": "10.99.99.99",
        "timeouts": {"create": "50s"}});
    let told = Told {
        summary: "The injection webhook does not answer",
        at: "control_plane_address",
        words: &["cluster west was not injected", "10.99.99.99", "port 15017", "firewalls", "`expose.control_plane`"],
    };
    let stored = links.refused(&peer(remote), None, told).await;
    assert_eq!(verdict(&stored), "synced", "the link itself is made");
    links.again().await;
    links.destroy(&stored).await;
}

/// A policy of the cluster takes the reader's rights away as they are given.
async fn a_reader_without_rights_is_told_and_the_next_apply_mends_it(links: &Links) {
    let config = peer(json!({"cluster_name": "west-bare", "service_account": "reader-bare"}));
    let west = links.lab.cluster("west").clone();
    west.apply(&policy("reader-bare-istio-system").to_string()).expect("the policy");
    west.wait_until("the policy to be in force", || taken_away(&west)).expect("the policy");
    let told = Told {
        summary: "east does not read west-bare",
        at: "service_account",
        words: &[
            "The reader is not allowed to list namespaces",
            "in cluster west",
            "Is its ClusterRole as this resource made it",
        ],
    };
    let stored = links.refused(&config, None, told).await;
    west.kubectl(&["delete", "mutatingadmissionpolicy,mutatingadmissionpolicybinding", "no-subjects"])
        .expect("kubectl");
    west.wait_until("the policy to be forgotten", || !taken_away(&west)).expect("no policy");
    links.again().await;
    let planned = links.core.plan(REMOTE, Some(config.clone()), Some(&stored)).await.expect("a plan");
    let Some(planned) = planned.planned.at(&Path::root("objects")).cloned() else { panic!("no objects") };
    assert!(format!("{planned:?}").contains("ClusterRoleBinding"), "{planned:?}");
    let stored = links.linked(&config, Some(&stored)).await;
    assert_eq!(verdict(&stored), "synced");
    links.destroy(&stored).await;
}

/// Takes the subjects out of this ClusterRoleBinding, and out of one that shows whether the policy is in force.
fn policy(binding: &str) -> Json {
    let api = "admissionregistration.k8s.io/v1";
    let rule = json!({"apiGroups": ["rbac.authorization.k8s.io"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
        "resources": ["clusterrolebindings"]});
    let subjects = r#"[JSONPatch{op: "remove", path: "/subjects"}]"#;
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": api, "kind": "MutatingAdmissionPolicy", "metadata": {"name": "no-subjects"}, "spec": {
            "failurePolicy": "Fail", "reinvocationPolicy": "Never",
            "matchConstraints": {"resourceRules": [rule]},
            "matchConditions": [
                {"name": "named", "expression": format!("object.metadata.name in ['{binding}', 'probe']")},
                {"name": "bound", "expression": "has(object.subjects)"},
            ],
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": subjects}}],
        }},
        {"apiVersion": api, "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": "no-subjects"},
            "spec": {"policyName": "no-subjects"}},
    ]})
}

fn taken_away(cluster: &lab::Cluster) -> bool {
    let probe = [
        "create",
        "clusterrolebinding",
        "probe",
        "--clusterrole=view",
        "--user=nobody",
        "--dry-run=server",
        "-o",
        "json",
    ];
    let bound: Json = serde_json::from_str(&cluster.kubectl(&probe).expect("kubectl")).expect("JSON");
    bound["subjects"].is_null()
}

/// A token that ends in minutes, renewed within seconds by a real command line, while the watcher never stops reading.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_near_its_end_is_renewed_and_the_watcher_reads_on() {
    let Some(cli) = clis().into_iter().next() else { return };
    let links = Links::start().await;
    let executable = std::path::Path::new(env!("CARGO_BIN_EXE_terraform-provider-mesh"));
    let workspace = Workspace::overriding(&cli, "terraform-provider-mesh/mesh", executable.parent().expect("a folder"));
    workspace.configure(&format!(
        r#"terraform {{
  required_providers {{
    mesh = {{ source = "terraform-provider-mesh/mesh" }}
  }}
}}

provider "mesh" {{
  clusters = {{ east = {{ config_path = "{}" }}, west = {{ config_path = "{}" }} }}
}}

resource "mesh_remote_cluster" "west" {{
  cluster               = "west"
  watchers              = ["east"]
  allow_loopback_server = true
  token                 = {{ lifetime = "10m", rotate_before = "8m45s" }}
}}
"#,
        links.kubeconfig("east").display(),
        links.kubeconfig("west").display()
    ));
    let (east, west) = (links.lab.cluster("east").clone(), links.lab.cluster("west").clone());
    tokio::task::spawn_blocking(move || rotation(&workspace, &east, &west)).await.expect("the rotation");
}

fn rotation(workspace: &Workspace, east: &Arc<lab::Cluster>, west: &Arc<lab::Cluster>) {
    let apply = || workspace.run(&["apply", "-auto-approve", "-input=false"]).ok();
    let plan = || workspace.run(&["plan", "-detailed-exitcode", "-input=false"]);
    // A Pod of west, by which east's istiod shows that it reads the cluster.
    let ip = web(west);
    apply();
    let issued = Instant::now();
    east.wait_until("the Pod of west", || debug_page(east, "endpointShardz").contains(&ip)).expect("its endpoint");
    let token = || token_of(east);
    let (before, first_end) = (token(), end(workspace));
    let quiet = plan();
    assert_eq!(quiet.code, Some(0), "{}{}", quiet.stdout, quiet.stderr);
    std::thread::sleep(Duration::from_secs(76).saturating_sub(issued.elapsed()));
    let due = plan();
    assert_eq!(due.code, Some(2), "{}{}", due.stdout, due.stderr);
    assert!(due.stdout.contains("\"rotate\" -> \"valid\""), "the plan says it in words: {}", due.stdout);
    assert!(!due.stdout.contains(&before), "a token in the plan");

    let stop = Arc::new(AtomicBool::new(false));
    // While the new credential is read, the debug page says `syncing` of it; what was read by the old one has to serve
    // until then.
    let watching = {
        let (stop, east, ip) = (stop.clone(), east.clone(), ip.clone());
        std::thread::spawn(move || {
            let mut said = std::collections::BTreeMap::<(String, bool), usize>::new();
            while !stop.load(Ordering::Relaxed) {
                let knows_the_pod = debug_page(&east, "endpointShardz").contains(&ip);
                *said.entry((status_of_west(&east), knows_the_pod)).or_default() += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            said
        })
    };
    apply();
    stop.store(true, Ordering::Relaxed);
    let said = watching.join().expect("the watching");
    let reads_on =
        |(status, knows_the_pod): &(String, bool)| *knows_the_pod && (status == "synced" || status == "syncing");
    assert!(said.keys().all(reads_on) && said.values().sum::<usize>() > 10, "{said:?}");
    assert_eq!(status_of_west(east), "synced", "when the apply ends, the new credential is the one in use");
    let settled = plan();
    assert_eq!(settled.code, Some(0), "{}{}", settled.stdout, settled.stderr);
    synced(east, &["west"]);
    assert!(end(workspace) > first_end, "the new token ends later");
    assert_ne!(token(), before);
    let secrets = west.kubectl(&["get", "secrets", "-n", "istio-system", "-o", "name"]).expect("kubectl");
    assert_eq!(secrets.trim(), "secret/istio-mesh-reader.west.east.2", "the old credential is gone");
    is_refused(west, &before);
}

fn end(workspace: &Workspace) -> String {
    let state = workspace.state();
    state["resources"][0]["instances"][0]["attributes"]["token_expires_at"].as_str().expect("an end").to_owned()
}

/// The token that east reads west with.
fn token_of(east: &lab::Cluster) -> String {
    let secret = ["secret", "istio-remote-secret-west", "-n", "istio-system"];
    let secret = east.get(&secret).expect("kubectl").expect("the remote secret");
    use base64::Engine as _;
    let kubeconfig = secret["data"]["west"].as_str().expect("the key of the cluster");
    let kubeconfig = base64::engine::general_purpose::STANDARD.decode(kubeconfig).expect("base64");
    let kubeconfig = String::from_utf8(kubeconfig).expect("a text");
    let (_, after) = kubeconfig.split_once("eyJ").expect("a token");
    format!("eyJ{}", after.split(['"', '\n', ' ']).next().unwrap_or_default())
}

/// What east's istiod says of west on its debug page.
fn status_of_west(east: &lab::Cluster) -> String {
    let page: Json = serde_json::from_str(&debug_page(east, "clusterz")).expect("JSON");
    let west = page.as_array().into_iter().flatten().find(|cluster| cluster["id"] == "west").cloned();
    west.map_or("gone".to_owned(), |west| west["syncStatus"].as_str().unwrap_or_default().to_owned())
}

fn debug_page(east: &lab::Cluster, page: &str) -> String {
    let port = east.istiods()[0].port(15014).expect("the debug port");
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("istiod");
    let request = format!("GET /debug/{page} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer.split_once("\r\n\r\n").expect("a body").1.to_owned()
}

/// The API server remembers a token that it accepted for ten seconds.
fn is_refused(west: &lab::Cluster, token: &str) {
    let config =
        ClusterConfig { config_paths: vec![west.kubeconfig_path().display().to_string()], ..ClusterConfig::default() };
    let cluster = Cluster::standalone("west", config, "test").with_token(Secret::new(token));
    let asked = || tokio::runtime::Handle::current().block_on(cluster.whoami()).map_err(|error| error.layer());
    west.wait_until("the old token is refused", || asked().err() == Some(Layer::Authentication)).expect("refused");
}
