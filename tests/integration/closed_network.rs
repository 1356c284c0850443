//! The example of a closed network: applied in a network namespace that reaches a mirror and an API server, and nothing
//! else.

use std::path::{Path, PathBuf};
use std::process::Command;

use lab::tools::{self, Istio};
use lab::{ChartRepository, ClosedNetwork, Cluster, Lab, Options};
use serde_json::{Value, json};

use crate::links_topologies::Run;
use crate::rbac::{reads, restricted};
use crate::source_fetch::{Asked, Reply, base64, sha256, tls_server};
use crate::support::cli::clis;
use crate::support::leaks;

const MIRROR: &str = "mirror.example";
const HUB: &str = "registry.example:5000/istio";
const PASSWORD: &str = "Zq7-mirror-password";

#[test]
fn a_mesh_is_made_where_nothing_but_a_mirror_is_reached() {
    // The one that comes last: any that has ephemeral variables does.
    let Some(cli) = clis().into_iter().next_back() else { return };
    let lab = Lab::start(&["east"], Options::default()).expect("a cluster");
    let east = lab.cluster("east");
    let charts = ChartRepository::start().expect("charts");
    let (mirror, authority) = tls_server(behind_a_login(charts.dir()));
    let api_server = port(&east.server());
    let closed = ClosedNetwork::reaching(&[mirror.port, api_server]).expect("a network without a way out");
    let reaches = |port: u16| {
        let mut dial = Command::new("/bin/bash");
        dial.args(["-c", &format!("exec 3<>/dev/tcp/127.0.0.1/{port}")]);
        closed.run(&dial, &[]).expect("bash").0
    };
    assert!(reaches(mirror.port) && reaches(api_server), "what it has to reach");
    assert!(!reaches(port(&charts.url())), "another port of this machine");

    let run = Run::of_example(&cli, &lab, "closed-network");
    // As in a pipeline: one job plans and another applies what it planned, each with an identity of its own.
    let (planner, applier) = (run.workspace.path("planner.kubeconfig"), run.workspace.path("applier.kubeconfig"));
    restricted(east, &applier);
    reads(east, &planner);
    let kubeconfig = run.workspace.path("east.kubeconfig");
    let by = |who: &Path| std::fs::copy(who, &kubeconfig).map(|_| ()).expect("a kubeconfig");
    let variables = json!({
        "kubeconfigs": { "east": kubeconfig },
        "mirror": { "repository": format!("https://{MIRROR}:{}", mirror.port), "version": Istio::Current.version(), "digests": digests() },
        "images": { "hub": HUB, "pull_secrets": ["registry-login"] },
        "one_machine": true,
    });
    std::fs::write(run.workspace.path("lab.auto.tfvars.json"), variables.to_string()).expect("the variables");
    let login = json!({ "username": "mesh", "password": PASSWORD }).to_string();
    let cache = tempfile::tempdir().expect("a folder");
    let said = |arguments: &[&str]| {
        let mut command = run.workspace.command(arguments);
        command.env("SSL_CERT_FILE", authority.path()).env("XDG_CACHE_HOME", cache.path());
        command.env("TF_VAR_mirror_login", &login);
        let (succeeded, printed) = closed.run(&command, &[MIRROR]).expect("the CLI");
        assert!(succeeded, "{arguments:?}: {printed}");
        assert!(!printed.contains(PASSWORD), "{printed}");
        assert!(!printed.contains("serviceaccount:pipeline:"), "it lacks a right: {printed}");
        printed
    };

    logs_in(east);
    by(&planner);
    said(&["plan", "-input=false", "-out=saved.plan"]);
    let plan = std::fs::read(run.workspace.path("saved.plan")).expect("the plan");
    assert!(leaks::unzipped(&plan).iter().all(|file| !holds(file)), "a plan keeps no login");
    by(&applier);
    said(&["apply", "-input=false", "saved.plan"]);
    let state = std::fs::read(run.workspace.path("terraform.tfstate")).expect("the state");
    assert!(!holds(&state), "the state keeps no login");
    all_is_from_the_registry(east);
    for chart in ["base", "istiod", "gateway"] {
        let path = format!("/{chart}-{}.tgz", Istio::Current.version());
        assert!(mirror.paths().contains(&path), "{path}: {:?}", mirror.paths());
    }
    by(&planner);
    said(&["plan", "-input=false", "-detailed-exitcode"]);
    by(&applier);
    said(&["destroy", "-input=false", "-auto-approve"]);
    let left = east.kubectl(&["get", "deployments", "-n", "istio-system", "-o", "name"]).expect("kubectl");
    assert_eq!(left, "", "what was made is gone");
    let login = east.get(&["secret", "registry-login", "-n", "istio-system"]).expect("an answer");
    assert!(login.is_some(), "what others have made stays");
}

/// A Helm repository for those who log in.
fn behind_a_login(folder: PathBuf) -> impl Fn(&Asked) -> Reply + Send + Sync + 'static {
    let right = format!("Basic {}", base64(&format!("mesh:{PASSWORD}")));
    move |asked| match std::fs::read(folder.join(asked.path.trim_start_matches('/'))) {
        _ if asked.header("authorization") != Some(&right) => Reply::status(401),
        Ok(file) => Reply::ok(file),
        Err(_) => Reply::status(404),
    }
}

fn digests() -> Value {
    let charts = tools::charts(Istio::Current).expect("the charts");
    let digest = |name: &str| {
        let archive = std::fs::read(charts.archive(name).expect("an archive")).expect("an archive");
        (name.to_owned(), format!("sha256:{}", sha256(&archive)))
    };
    json!(["base", "istiod", "gateway"].map(digest).into_iter().collect::<std::collections::BTreeMap<_, _>>())
}

fn port(url: &str) -> u16 {
    url.rsplit(':').next().and_then(|port| port.trim_end_matches('/').parse().ok()).expect("a port")
}

fn holds(file: &[u8]) -> bool {
    file.windows(PASSWORD.len()).any(|part| part == PASSWORD.as_bytes())
}

/// The namespace and the Secret, as whoever guards the registry makes them.
fn logs_in(cluster: &Cluster) {
    cluster.kubectl(&["create", "namespace", "istio-system"]).expect("a namespace");
    let server = format!("--docker-server={HUB}");
    let login = [&server, "--docker-username=u", "--docker-password=p", "-n", "istio-system"];
    cluster
        .kubectl(&[&["create", "secret", "docker-registry", "registry-login"], &login[..]].concat())
        .expect("a Secret");
}

/// Every Pod of Istio's has its image from the registry, and the Secret that opens it.
fn all_is_from_the_registry(cluster: &Cluster) {
    let pods = cluster.get(&["pods", "-n", "istio-system"]).expect("an answer").expect("Pods");
    let pods = pods["items"].as_array().expect("a list");
    let of = |app: &str| pods.iter().any(|pod| pod["metadata"]["labels"]["app"] == app);
    assert!(of("istiod") && of("istio-eastwestgateway"), "{pods:?}");
    for pod in pods {
        let (name, spec) = (&pod["metadata"]["name"], &pod["spec"]);
        let containers = ["containers", "initContainers"].map(|key| spec[key].as_array().cloned().unwrap_or_default());
        for container in containers.iter().flatten() {
            assert!(container["image"].as_str().is_some_and(|image| image.starts_with(HUB)), "{name}: {container}");
        }
        assert_eq!(spec["imagePullSecrets"], json!([{ "name": "registry-login" }]), "{name}");
    }
}
