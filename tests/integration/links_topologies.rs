//! A cluster joins a mesh and leaves it again, and what istiods know of each other's clusters: judged by istioctl and
//! by the debug pages of real istiods.

use std::path::Path;
use std::sync::Arc;

use lab::tools::{self, Istio, Tool};
use lab::{Cluster, Lab, Options};
use serde_json::{Value, json};

use crate::rbac::least_rights;
use crate::support::cli::{APPLIER, Cli, Said, Workspace, clis};

const PROVIDER: &str = "terraform-provider-mesh/mesh";
/// The file with the variables of a step.
const STEP: &str = "step.auto.tfvars.json";

/// An example of the repository, run against a lab.
pub struct Run<'a> {
    pub lab: &'a Lab,
    pub workspace: Workspace,
}

impl<'a> Run<'a> {
    /// Copies the example into a folder of its own and gives it its variables.
    pub fn of_example(cli: &Cli, lab: &'a Lab, example: &str) -> Run<'a> {
        Self::of_folder(cli, lab, &format!("examples/{example}"))
    }

    /// The same for any folder of this repository.
    pub fn of_folder(cli: &Cli, lab: &'a Lab, folder: &str) -> Run<'a> {
        Self::of_build(cli, lab, folder, Path::new(env!("CARGO_BIN_EXE_terraform-provider-mesh")))
    }

    /// The same with another build of the provider.
    pub fn of_build(cli: &Cli, lab: &'a Lab, folder: &str, executable: &Path) -> Run<'a> {
        let workspace = Workspace::overriding(cli, PROVIDER, executable.parent().expect("a folder"));
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for file in std::fs::read_dir(folder).expect("the example") {
            let file = file.expect("an entry");
            std::fs::copy(file.path(), workspace.path(&file.file_name().to_string_lossy())).expect("a copy");
        }
        let run = Run { lab, workspace };
        run.variables(&run.names());
        run
    }

    /// The same by identities that have the rights of examples/rbac and no others.
    pub fn with_least_rights(self) -> Run<'a> {
        least_rights(&self.workspace, self.lab, &self.names());
        self
    }

    pub fn names(&self) -> Vec<&str> {
        self.lab.clusters().iter().map(|cluster| cluster.name()).collect()
    }

    /// Lets only these clusters be part of the mesh, by whichever identities it has.
    pub fn variables(&self, names: &[&str]) {
        let paths: serde_json::Map<String, Value> =
            names.iter().map(|name| ((*name).to_owned(), json!(self.lab.cluster(name).kubeconfig_path()))).collect();
        let charts = tools::charts(Istio::Current).expect("the charts").dir().to_path_buf();
        let variables = json!({ "kubeconfigs": paths, "charts": { "directory": charts }, "one_machine": true });
        std::fs::write(self.workspace.path("lab.auto.tfvars.json"), variables.to_string()).expect("the variables");
        if self.workspace.path(APPLIER).exists() {
            least_rights(&self.workspace, self.lab, names);
        }
    }

    /// The variables of a step, in place of those of the step before.
    pub fn set_step(&self, variables: &Value) {
        std::fs::write(self.workspace.path(STEP), variables.to_string()).expect("the variables");
    }

    /// What another run of this example is told of its step.
    pub fn same_step_as(&self, other: &Run<'_>) {
        std::fs::copy(other.workspace.path(STEP), self.workspace.path(STEP)).expect("the variables");
    }

    pub fn apply(&self) -> Said {
        self.workspace.run(&["apply", "-auto-approve", "-input=false"])
    }

    /// The plan's exit code: 0 nothing to do, 2 something to do.
    pub fn plan(&self) -> Said {
        self.workspace.run(&["plan", "-detailed-exitcode", "-input=false"])
    }

    #[track_caller]
    pub fn settled(&self) {
        self.workspace.is_settled();
    }

    pub fn destroy(&self) -> Said {
        self.workspace.run(&["destroy", "-auto-approve", "-input=false"])
    }
}

fn start(names: &[&str]) -> Lab {
    Lab::start(names, Options::default()).expect("clusters")
}

#[test]
fn a_third_cluster_joins_by_a_word_and_leaves_without_a_trace() {
    let Some(cli) = clis().into_iter().next() else { return };
    let lab = start(&["east", "west", "north"]);
    let run = Run::of_example(&cli, &lab, "multi-primary-two-networks");
    run.variables(&["east", "west"]);
    run.apply().ok();
    let before = token_ids(&run);
    run.variables(&["east", "west", "north"]);
    run.apply().ok();
    run.settled();
    synced(lab.cluster("east"), &["west", "north"]);
    synced(lab.cluster("north"), &["east", "west"]);
    let after = token_ids(&run);
    assert!(
        before.iter().all(|token| after.contains(token)),
        "the links there were are left alone: {before:?} {after:?}"
    );

    // Out of the configuration, but still among the provider's clusters until it is taken down.
    let without = json!({ "clusters": ["east", "west"] });
    std::fs::write(run.workspace.path("leaves.auto.tfvars.json"), without.to_string()).expect("the variables");
    run.apply().ok();
    run.settled();
    for (cluster, other) in [("east", "west"), ("west", "east")] {
        synced(lab.cluster(cluster), &[other]);
        assert!(!remote_clusters(lab.cluster(cluster)).contains("north"), "{cluster} still knows north");
    }
    // The namespace is the CA's to keep; of the links nothing is left in it.
    let left = lab.cluster("north").kubectl(&[
        "get",
        "secrets,serviceaccounts,deployments",
        "-n",
        "istio-system",
        "-o",
        "name",
    ]);
    let left = left.expect("kubectl");
    assert!(!left.contains("istio-mesh-reader") && !left.contains("istio-remote-secret"), "{left}");
}

/// Ends of the tokens, by watched cluster and watcher: a token made anew ends later.
fn token_ids(run: &Run<'_>) -> Vec<String> {
    let state = run.workspace.run(&["show", "-json"]).ok().json();
    let mut found = Vec::new();
    for resource in state["values"]["root_module"]["resources"].as_array().into_iter().flatten() {
        for (watcher, token) in resource["values"]["tokens"].as_object().into_iter().flatten() {
            found.push(format!("{} {watcher} {}", resource["index"], token["expires_at"]));
        }
    }
    found
}

/// istioctl says that the cluster's istiods read these others, and no more.
#[track_caller]
pub fn synced(cluster: &Arc<Cluster>, others: &[&str]) {
    let text = remote_clusters(cluster);
    let line = |name: &str| text.lines().find(|line| line.split_whitespace().next() == Some(name)).unwrap_or_default();
    for other in others {
        assert!(line(other).contains("synced"), "{} does not read {other}:\n{text}", cluster.name());
    }
    assert_eq!(text.matches("istio-remote-secret-").count(), others.len(), "{text}");
}

/// What istioctl says of the clusters that this one's istiods read. A connection that the API server keeps to its
/// kubelets does not survive a fault that was lifted a moment ago: the first request over it fails, and the next one
/// opens another.
pub fn remote_clusters(cluster: &Cluster) -> String {
    let mut said = cluster.run(Tool::Istioctl, &["remote-clusters"], None);
    for _ in 0..30 {
        if !said.as_ref().is_err_and(|error| error.to_string().contains("port forward failed")) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
        said = cluster.run(Tool::Istioctl, &["remote-clusters"], None);
    }
    said.expect("istioctl")
}

/// A namespace that is injected.
pub fn shop(cluster: &Arc<Cluster>) {
    if cluster.get(&["namespace", "shop"]).expect("kubectl").is_some() {
        return;
    }
    cluster.kubectl(&["create", "namespace", "shop"]).expect("a namespace");
    cluster.kubectl(&["label", "namespace", "shop", "istio-injection=enabled"]).expect("a label");
    let account = || cluster.get(&["serviceaccount", "default", "-n", "shop"]).is_ok_and(|account| account.is_some());
    cluster.wait_until("a service account", account).expect("a service account");
}

pub fn service(cluster: &Arc<Cluster>) {
    shop(cluster);
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    });
    cluster.apply(&service.to_string()).expect("a Service");
}

/// A Service with one injected Pod; the Pod's address.
pub fn web(cluster: &Arc<Cluster>) -> String {
    service(cluster);
    cluster.kubectl(&["run", "web", "-n", "shop", "--image=web", "--labels=app=web", "--port=8080"]).expect("a Pod");
    let mut ip = String::new();
    let ready = || {
        let pod = cluster.get(&["pod", "web", "-n", "shop"]).ok().flatten().unwrap_or_default();
        ip = pod["status"]["podIP"].as_str().unwrap_or_default().to_owned();
        !ip.is_empty()
    };
    cluster.wait_until("the Pod's address", ready).expect("an address");
    ip
}

/// Waits until an istiod's debug page, asked for by istioctl, says all of this.
pub fn page_says(cluster: &Arc<Cluster>, page: &str, wanted: &[&str]) {
    let mut text = String::new();
    let says = || {
        text =
            cluster.run(Tool::Istioctl, &["x", "internal-debug", page], None).unwrap_or_else(|error| error.to_string());
        std::thread::sleep(std::time::Duration::from_millis(300));
        wanted.iter().all(|wanted| text.contains(wanted))
    };
    cluster.wait_until(&format!("{wanted:?} in {page}"), says).unwrap_or_else(|error| panic!("{error}: {text}"));
}

/// The istiod of this cluster knows the Service's Pod in the other one, by its own address.
pub fn knows_the_pod(cluster: &Arc<Cluster>, ip: &str) {
    page_says(cluster, "endpointShardz", &["web.shop.svc.cluster.local", ip]);
}

/// The istiod of `client` knows the Pod of `server` to be in another network, and the gateway to it.
pub fn through_the_gateway(client: &Arc<Cluster>, server: &Arc<Cluster>) {
    let pod = web(server);
    service(client);
    let gateway = ["service", "istio-eastwestgateway", "-n", "istio-system"];
    let gateway = server.get(&gateway).expect("kubectl").expect("a gateway");
    let address = gateway["status"]["loadBalancer"]["ingress"][0]["ip"].as_str().expect("an address").to_owned();
    let network = format!("net-{}", server.name());
    page_says(client, "networkz", &[&network, &address, "15443"]);
    page_says(client, "endpointShardz", &["web.shop.svc.cluster.local", &pod, &network]);
}

/// The Pod was injected by an istiod that knows where it is.
pub fn injected_as(cluster: &Arc<Cluster>, id: &str, network: &str) {
    let pod = cluster.get(&["pod", "web", "-n", "shop"]).expect("kubectl").expect("the Pod");
    let spec = pod["spec"].to_string();
    for (variable, value) in [("ISTIO_META_CLUSTER_ID", id), ("ISTIO_META_NETWORK", network)] {
        let wanted = json!({ "name": variable, "value": value }).to_string();
        assert!(spec.contains(&wanted), "{variable} is not {value} in {spec}");
    }
}

/// No token and no private key, in state or backup.
pub fn no_secret_in_state(run: &Run<'_>) {
    for file in ["terraform.tfstate", "terraform.tfstate.backup"] {
        let Ok(state) = std::fs::read_to_string(run.workspace.path(file)) else { continue };
        assert!(!state.contains("PRIVATE KEY"), "{file} holds a private key");
        assert!(!state.contains("eyJhbGci"), "{file} holds a token");
    }
}

/// No object of the provider, and nothing that Istio left because of it.
pub fn nothing_is_left(lab: &Lab) {
    const KINDS: &str = "leases,secrets,configmaps,serviceaccounts,services,deployments,cronjobs,jobs,clusterroles,clusterrolebindings,roles,rolebindings,\
                         mutatingwebhookconfigurations,validatingwebhookconfigurations,customresourcedefinitions";
    for cluster in lab.clusters() {
        let owned = cluster
            .kubectl(&["get", KINDS, "-A", "-l", "terraform-provider-mesh/owner", "-o", "name"])
            .expect("kubectl");
        assert_eq!(owned.trim(), "", "left in {}", cluster.name());
        let remote =
            cluster.kubectl(&["get", "secrets", "-A", "-l", "istio/multiCluster=true", "-o", "name"]).expect("kubectl");
        assert_eq!(remote.trim(), "", "left in {}", cluster.name());
        let gone = || cluster.get(&["namespace", "istio-system"]).is_ok_and(|namespace| namespace.is_none());
        cluster.wait_until("the namespace is gone", gone).unwrap_or_else(|error| panic!("{}: {error}", cluster.name()));
    }
}
