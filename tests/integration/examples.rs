//! The examples of the modes, as a user runs them: the real terraform and tofu, real clusters, Istio's own tools as the judge.
//!
//! Each goes through the laws: one apply from empty clusters, an empty second plan, no secret in state, a destroy that leaves nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lab::tools::{self, Istio, Tool};
use lab::{Cluster, Lab, Options};
use serde_json::{Value, json};

use crate::links_topologies::{injected_as, knows_the_pod, service, through_the_gateway, web};
use crate::support::cli::{Cli, Workspace, clis};
use crate::support::plugin_process::BINARY;

/// Without a host, as the examples name it: each CLI has a registry of its own.
const ADDRESS: &str = "terraform-provider-mesh/mesh";

/// An example, the clusters it is for, and who must watch whom once it is applied.
struct Example {
    folder: &'static str,
    clusters: &'static [&'static str],
    /// Cluster with an istiod, and the clusters it must be in sync with, itself among them.
    watches: &'static [(&'static str, &'static [&'static str])],
    /// What else must be so while it is applied.
    judge: fn(&Lab),
}

#[test]
fn multi_primary_on_one_network() {
    run(&Example {
        folder: "multi-primary-one-network",
        clusters: &["east", "west"],
        watches: &[("east", &["east", "west"]), ("west", &["east", "west"])],
        judge: |lab| {
            let (east, west) = (lab.cluster("east"), lab.cluster("west"));
            let pod = web(west);
            service(east);
            knows_the_pod(east, &pod);
        },
    });
}

#[test]
fn multi_primary_on_two_networks() {
    run(&Example {
        folder: "multi-primary-two-networks",
        clusters: &["east", "west"],
        watches: &[("east", &["east", "west"]), ("west", &["east", "west"])],
        judge: |lab| through_the_gateway(lab.cluster("east"), lab.cluster("west")),
    });
}

#[test]
fn primary_and_remote_on_one_network() {
    run(&Example {
        folder: "primary-remote-one-network",
        clusters: &["primary", "remote"],
        watches: &[("primary", &["primary", "remote"])],
        judge: |lab| {
            let (primary, remote) = (lab.cluster("primary"), lab.cluster("remote"));
            let pod = web(remote);
            injected_as(remote, "remote", "net1");
            service(primary);
            knows_the_pod(primary, &pod);
        },
    });
}

#[test]
fn primary_and_remote_on_two_networks() {
    run(&Example {
        folder: "primary-remote-two-networks",
        clusters: &["primary", "remote"],
        watches: &[("primary", &["primary", "remote"])],
        judge: |lab| {
            through_the_gateway(lab.cluster("primary"), lab.cluster("remote"));
            injected_as(lab.cluster("remote"), "remote", "net-remote");
        },
    });
}

#[test]
fn independent_meshes() {
    run(&Example {
        folder: "independent-meshes",
        clusters: &["east", "west"],
        watches: &[("east", &["east"]), ("west", &["west"])],
        judge: |_| {},
    });
}

fn run(example: &Example) {
    let lab = Lab::start(example.clusters, Options::default()).unwrap();
    for cli in clis() {
        println!("{} with {}", example.folder, cli.name);
        let workspace = workspace(&cli, example, &lab);
        workspace.run(&["apply", "-auto-approve"]).ok();
        let second = workspace.run(&["plan", "-detailed-exitcode"]);
        assert_eq!(second.code, Some(0), "the second plan is not empty:\n{}\n{}", second.stdout, second.stderr);
        for (cluster, watched) in example.watches {
            assert_eq!(synced(lab.cluster(cluster)), *watched, "what the istiod of {cluster} is in sync with");
        }
        (example.judge)(&lab);
        no_secret_in(&workspace.path("terraform.tfstate"), &lab);
        workspace.run(&["destroy", "-auto-approve"]).ok();
        for cluster in lab.clusters() {
            assert_eq!(leftovers(cluster), Vec::<String>::new(), "left in {}", cluster.name());
            if cluster.get(&["namespace", "shop"]).unwrap().is_some() {
                cluster.kubectl(&["delete", "namespace", "shop"]).unwrap();
            }
        }
    }
}

/// The example's own files, and the variables it asks for.
fn workspace(cli: &Cli, example: &Example, lab: &Lab) -> Workspace {
    let workspace = Workspace::overriding(cli, ADDRESS, Path::new(BINARY).parent().unwrap());
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples").join(example.folder);
    for entry in fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_some_and(|extension| extension == "tf") {
            fs::copy(&file, workspace.path(&file.file_name().unwrap().to_string_lossy())).unwrap();
        }
    }
    let kubeconfigs: serde_json::Map<String, Value> =
        example.clusters.iter().map(|name| ((*name).to_owned(), json!(lab.cluster(name).kubeconfig_path()))).collect();
    let charts = tools::charts(Istio::Current).unwrap();
    let variables = json!({ "kubeconfigs": kubeconfigs, "charts": { "directory": charts.dir() }, "one_machine": true });
    fs::write(workspace.path("terraform.tfvars.json"), variables.to_string()).unwrap();
    workspace
}

/// The clusters that `istioctl remote-clusters` calls synced, sorted.
fn synced(cluster: &Arc<Cluster>) -> Vec<String> {
    let table = cluster.run(Tool::Istioctl, &["remote-clusters"], None).unwrap();
    let mut names: Vec<String> = table
        .lines()
        .filter(|line| line.split_whitespace().any(|word| word == "synced"))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect();
    names.sort();
    names
}

/// Looks for every key and token that the clusters hold, in the encodings they could have been written in.
fn no_secret_in(file: &Path, lab: &Lab) {
    let text = fs::read_to_string(file).unwrap();
    assert!(!text.contains("PRIVATE KEY"), "a private key is in {}", file.display());
    let mut secrets = 0;
    for cluster in lab.clusters() {
        let list = cluster.get(&["secrets", "--all-namespaces"]).unwrap().unwrap();
        for secret in list["items"].as_array().unwrap() {
            for (key, value) in secret["data"].as_object().into_iter().flatten() {
                let encoded = value.as_str().unwrap_or_default();
                let plain = STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                let public = key.ends_with("cert.pem") || key.ends_with("chain.pem") || key.ends_with(".crt");
                let Some(plain) = plain.filter(|plain| !public && plain.len() > 20) else { continue };
                secrets += 1;
                let name = format!("{}/{} {key}", secret["metadata"]["namespace"], secret["metadata"]["name"]);
                assert!(!text.contains(encoded), "{name} is in state, in base64");
                for line in plain.lines().map(str::trim).filter(|line| line.len() > 40 && !line.contains("CERTIFICATE"))
                {
                    let word = line.rsplit(' ').next().unwrap_or(line);
                    let is_public = word.starts_with("LS0tLS1CRUdJTiBDRVJU") || word.starts_with("https://");
                    assert!(is_public || word.len() < 40 || !text.contains(word), "a line of {name} is in state");
                }
            }
        }
    }
    assert!(secrets > 0, "there was no secret to look for");
}

/// What of the mesh is still in a cluster, by kind and name.
fn leftovers(cluster: &Arc<Cluster>) -> Vec<String> {
    let kinds = "namespaces,customresourcedefinitions,clusterroles,clusterrolebindings,mutatingwebhookconfigurations,\
                 validatingwebhookconfigurations,deployments,services,secrets,serviceaccounts,configmaps,roles,rolebindings,\
                 poddisruptionbudgets,horizontalpodautoscalers";
    let list = cluster.get(&[kinds, "--all-namespaces"]).unwrap().unwrap();
    let named = list["items"].as_array().unwrap().iter().map(|object| {
        let metadata = &object["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        format!("{} {} {}", text(&object["kind"]), text(&metadata["namespace"]), text(&metadata["name"]))
    });
    let mesh = |name: &String| name.contains("istio") || name.contains("mesh") || name.contains("cacerts");
    named.filter(mesh).collect()
}
