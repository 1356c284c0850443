//! The getting-started page, word by word: its module, its commands and its manifests, on real clusters.

use std::fs;
use std::path::Path;
use std::process::Command;

use lab::tools::{self, Istio, Tool};
use lab::{Lab, Options};
use serde_json::json;

use crate::pages::mirror;
use crate::support::cli::{Said, Workspace, clis};
use crate::support::pages::blocks;
use crate::support::xds::Proxy;

const PAGE: &str = include_str!("../../docs/guides/getting-started.md");

#[test]
fn getting_started_leads_to_a_mesh_that_calls_across() {
    let Some(cli) = clis().into_iter().next() else { return };
    let lab = Lab::start(&["east", "west", "admin"], Options::default()).unwrap();
    let (mirror, home) = (mirror(), tempfile::tempdir().unwrap());
    fs::create_dir(home.path().join(".kube")).unwrap();
    fs::copy(lab.kubeconfig_path(), home.path().join(".kube/config")).unwrap();
    let workspace = Workspace::mirrored(&cli, mirror.path());
    let blocks = blocks(PAGE);
    workspace.configure(&blocks.iter().find(|block| block.text.contains("required_providers")).unwrap().text);
    // What is the lab's own: no repository of charts, and istiods outside of containers.
    let charts = tools::charts(Istio::Current).unwrap().dir().display().to_string();
    let lab_only = format!(
        "provider \"mesh\" {{\n  charts = {{ directory = {charts:?} }}\n}}\n\nresource \"mesh_remote_cluster\" \"this\" {{\n  allow_loopback_server = true\n}}\n"
    );
    fs::write(workspace.path("lab_override.tf"), lab_only).unwrap();
    let manifests = blocks.iter().find(|block| block.language == "yaml").unwrap();
    fs::write(workspace.path("hello.yaml"), &manifests.text).unwrap();

    let mut ran = Vec::new();
    let shell = blocks.iter().filter(|block| block.language == "sh").flat_map(|block| block.text.lines());
    for line in shell {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[0] {
            "terraform" => ran.push((line, terraform(&workspace, home.path(), &words[1..]))),
            // The lab's Pods have no containers to run a command in.
            "kubectl" if !words.contains(&"exec") => ran.push((line, kubectl(&workspace, home.path(), &words[1..]))),
            "kubectl" | "cargo" | "scripts/package" => {}
            _ => panic!("what is to be done with {line:?}?"),
        }
    }
    let ran: Vec<_> = ran.into_iter().map(|(line, said)| (line, said.ok())).collect();
    let said = |line: &str| &ran.iter().find(|(ran, _)| *ran == line).unwrap_or_else(|| panic!("{line}")).1.stdout;
    let promised = blocks.iter().find(|block| block.language == "text").unwrap();
    assert!(said("terraform apply").contains(&promised.text), "{}\n{}", promised.text, said("terraform apply"));
    assert!(said("terraform plan").contains("No changes"), "{}", said("terraform plan"));
    assert!(said("kubectl --context west -n sample get pods -l app=hello").contains("hello-"));

    // What a client in either cluster calls: the Pod beside it, and the other cluster's through the gateway there.
    let (east, west) = (lab.cluster("east"), lab.cluster("west"));
    for (here, there) in [(east, west), (west, east)] {
        let pods = here.get(&["pods", "-n", "sample", "-l", "app=hello"]).unwrap().unwrap();
        let door = there.get(&["service", "istio-eastwestgateway", "-n", "istio-system"]).unwrap().unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let mut wanted = [
            format!("{}:8080", text(&pods["items"][0]["status"]["podIP"])),
            format!("{}:15443", text(&door["status"]["loadBalancer"]["ingress"][0]["ip"])),
        ];
        wanted.sort();
        let client = Proxy::sidecar(here.name(), &format!("net-{}", here.name()), "sample");
        client.ask_until(here, &format!("{} to be told {wanted:?}", here.name()), |told| {
            (told.upstream("hello.sample.svc.cluster.local", 80)?.endpoints == wanted).then_some(())
        });
    }

    // What day-two's nightly job reads.
    terraform(&workspace, home.path(), &["plan", "-input=false", "-detailed-exitcode", "-out=plan.bin"]).ok();
    let plan = terraform(&workspace, home.path(), &["show", "-json", "plan.bin"]).ok().json();
    assert_eq!(plan["planned_values"]["outputs"]["healthy"]["value"], json!(true));
    terraform(&workspace, home.path(), &["destroy"]).ok();
}

fn terraform(workspace: &Workspace, home: &Path, words: &[&str]) -> Said {
    let asks: &[&str] = if ["apply", "destroy"].contains(&words[0]) { &["-auto-approve"] } else { &[] };
    workspace.command(&[words, asks].concat()).env("HOME", home).output().unwrap().into()
}

fn kubectl(workspace: &Workspace, home: &Path, words: &[&str]) -> Said {
    let mut command = Command::new(tools::path(Tool::Kubectl).unwrap());
    command
        .args(words)
        .current_dir(workspace.folder.path())
        .env("HOME", home)
        .env_remove("KUBECONFIG")
        .output()
        .unwrap()
        .into()
}
