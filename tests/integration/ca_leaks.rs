//! No byte of a private key or token where it does not belong: a real CLI plans, applies, rotates, fails and destroys,
//! and everything it leaves behind (plan files, saved plans as JSON, state with the provider's private data, the log at
//! its finest, all it prints) is searched for every key there is in the clusters.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use lab::tools::{self, Istio};
use lab::{Fault, Lab, Options};

use crate::support::cli::{Cli, Said, Workspace, clis};
use crate::support::leaks::Secrets;
use crate::support::plugin_process::BINARY;

const ADDRESS: &str = "terraform-provider-mesh/mesh";

/// Roots of an administrator's own, with keys in each form that there is.
const BROUGHT: [(&str, &[&str]); 3] = [
    ("pkcs1", &["genrsa", "-traditional", "-out", "pkcs1.key", "2048"]),
    ("pkcs8", &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out", "pkcs8.key"]),
    ("sec1", &["ecparam", "-genkey", "-noout", "-name", "prime256v1", "-out", "sec1.key"]),
];

const RESOURCES: &str = r#"
variable "generation" { default = 1 }

variable "again" { default = 1 }

variable "tag" {}

resource "mesh_ca" "generated" {
  root           = { store = { cluster = "east", readable_by_watchers = true }, algorithm = "RSA-4096", generation = var.generation }
  clusters       = { east = {}, west = { generation = var.again } }
  intermediate   = { algorithm = "ECDSA-P384" }
  rotation_pause = "0s"
}

resource "mesh_ca" "brought" {
  for_each = toset(["pkcs1", "pkcs8", "sec1"])
  root     = { certificate = file("${each.key}.pem"), private_key_wo = file("${each.key}.key"), private_key_wo_version = 1 }
  clusters = { west = { namespace = "brought-${each.key}" } }
}

resource "mesh_ca" "outside" {
  root     = { certificate = file("sec1.pem") }
  clusters = { east = { namespace = "outside" } }
}

# One's own PKI in one apply: the key is made in the cluster, its request is signed by openssl, and the mesh takes the answer.
resource "mesh_ca_request" "own" {
  cluster    = "east"
  namespace  = "own"
  generation = var.generation
}

resource "terraform_data" "signed" {
  input            = "${path.module}/own-chain.pem"
  triggers_replace = [mesh_ca_request.own.certificate_request]

  provisioner "local-exec" {
    command     = <<-SH
      printf '%s' "$REQUEST" > own-request.pem
      openssl x509 -req -in own-request.pem -CA pkcs8.pem -CAkey pkcs8.key -days 730 -out own-chain.pem -extfile /dev/stdin <<'EXT'
      basicConstraints = critical, CA:TRUE, pathlen:0
      keyUsage = critical, digitalSignature, keyCertSign, cRLSign
      subjectAltName = DNS:istiod.own.svc
      EXT
    SH
    environment = { REQUEST = mesh_ca_request.own.certificate_request }
  }
}

resource "mesh_ca" "own" {
  root = { certificate = file("pkcs8.pem") }
  clusters = {
    east = {
      namespace         = "own"
      request           = mesh_ca_request.own.name
      certificate_chain = file(terraform_data.signed.output)
    }
  }
}

resource "mesh_primary" "east" {
  cluster    = "east"
  mesh_id    = "mesh1"
  network    = "net1"
  trust_root = mesh_ca.generated.root_fingerprint
  values     = [yamlencode({ global = { tag = var.tag }, pilot = { env = { ISTIO_MULTIROOT_MESH = "true" } } })]
}

resource "mesh_remote_cluster" "west" {
  depends_on            = [mesh_ca.generated]
  cluster               = "west"
  watchers              = [mesh_primary.east.cluster]
  allow_loopback_server = true
}

output "request" { value = mesh_ca.outside.clusters["east"].certificate_request }
"#;

#[test]
fn no_key_and_no_token_is_anywhere_but_in_its_secret() {
    let clis = clis();
    if clis.is_empty() || Command::new("openssl").arg("version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "a CLI and openssl are needed in CI");
        println!("skipped: there is no CLI or no openssl");
        return;
    }
    let lab = Lab::start(&["east", "west"], Options::default()).expect("two clusters");
    for (index, cli) in clis.iter().enumerate() {
        a_leak_would_be_found(cli);
        let mut run = Run::new(cli, &lab);
        run.creates();
        // What a core writes and where, a second one shows with less.
        if index == 0 {
            run.rotates();
            run.is_refused();
        }
        run.destroys();
        run.verdict();
    }
}

struct Run<'a> {
    cli: &'a Cli,
    lab: &'a Lab,
    workspace: Workspace,
    secrets: Secrets,
    /// What was left, by what it is called.
    left: Vec<(String, Vec<u8>)>,
    steps: usize,
}

impl<'a> Run<'a> {
    fn new(cli: &'a Cli, lab: &'a Lab) -> Self {
        let workspace = Workspace::overriding(cli, ADDRESS, Path::new(BINARY).parent().unwrap());
        let cluster =
            |name: &str| format!("{name} = {{ config_path = \"{}\" }}", lab.cluster(name).kubeconfig_path().display());
        let charts = tools::charts(Istio::Current).expect("the charts").dir().display().to_string();
        std::fs::write(workspace.path("terraform.tfvars"), format!("tag = \"{}\"\n", Istio::Current.version()))
            .unwrap();
        workspace.configure(&format!(
            "terraform {{\n  required_providers {{\n    mesh = {{ source = \"{ADDRESS}\" }}\n  }}\n}}\n\nprovider \"mesh\" {{\n  clusters = {{\n    {}\n    {}\n  }}\n  charts = {{ directory = \"{charts}\" }}\n}}\n{RESOURCES}",
            cluster("east"),
            cluster("west"),
        ));
        let mut secrets = Secrets::default();
        for (name, command) in BROUGHT {
            openssl(workspace.folder.path(), command);
            let (key, root) = (format!("{name}.key"), format!("{name}.pem"));
            let usage = "keyUsage=critical,keyCertSign,cRLSign";
            let subject = format!("/CN={name}");
            openssl(
                workspace.folder.path(),
                &[
                    "req", "-x509", "-new", "-key", &key, "-days", "3650", "-subj", &subject, "-addext", usage, "-out",
                    &root,
                ],
            );
            secrets.add_keys(&key, &std::fs::read_to_string(workspace.path(&key)).unwrap());
        }
        Self { cli, lab, workspace, secrets, left: Vec::new(), steps: 0 }
    }

    /// One command with the finest log; what it says and leaves is kept.
    fn command(&mut self, arguments: &[&str]) -> Said {
        self.steps += 1;
        let step = format!("{} {}", self.steps, arguments.join(" "));
        let (said, log) = self.workspace.run_traced(arguments);
        // What a log says again and again is searched once.
        let lines: BTreeSet<&str> = log.lines().map(without_time).collect();
        assert!(arguments[0] == "show" || log.contains("tf_rpc="), "there is no trace of {step}");
        self.left.push((format!("log of {step}"), lines.into_iter().collect::<Vec<_>>().join("\n").into_bytes()));
        self.left.push((format!("output of {step}"), said.stdout.clone().into_bytes()));
        self.left.push((format!("complaints of {step}"), said.stderr.clone().into_bytes()));
        for entry in std::fs::read_dir(self.workspace.folder.path()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let own = BROUGHT.iter().any(|(brought, _)| name.starts_with(brought));
            if path.is_file() && !own && name != "trace.log" {
                self.left.push((format!("{name} after {step}"), std::fs::read(&path).unwrap()));
            }
        }
        self.gather();
        said
    }

    /// Every key and token that there is by now.
    fn gather(&mut self) {
        for cluster in self.lab.clusters() {
            let list = cluster.get(&["secrets", "--all-namespaces"]).unwrap().unwrap_or_default();
            for secret in list["items"].as_array().into_iter().flatten() {
                let meta = &secret["metadata"];
                for (key, value) in secret["data"].as_object().into_iter().flatten() {
                    let bytes = BASE64_STANDARD.decode(value.as_str().unwrap()).unwrap();
                    let Ok(text) = String::from_utf8(bytes) else { continue };
                    let name = format!("{key} of {}/{} in {}", meta["namespace"], meta["name"], cluster.name());
                    self.secrets.add_all_of(&name.replace('"', ""), &text);
                }
            }
        }
    }

    /// By a plan that is saved, shown and applied, as in a pipeline.
    fn creates(&mut self) {
        self.command(&["plan", "-input=false", "-out=first.plan"]).ok();
        self.command(&["show", "-json", "first.plan"]).ok();
        self.command(&["apply", "-input=false", "first.plan"]).ok();
        self.command(&["show", "-json"]).ok();
        let settled = self.command(&["plan", "-input=false", "-detailed-exitcode"]);
        assert_eq!(settled.code, Some(0), "{}{}", settled.stdout, settled.stderr);
        let names: Vec<&str> = self.secrets.names().iter().map(String::as_str).collect();
        for expected in [
            "root-1.key of mesh-root-ca/",
            "ca-key.pem of istio-system/cacerts in east",
            "ca-key.pem of istio-system/cacerts in west",
            "ca-key.pem of brought-pkcs1/",
            "ca-key.pem of brought-pkcs8/",
            "ca-key.pem of brought-sec1/",
            "ca-key.pem of outside/cacerts-request in east",
            "ca-key.pem of own/mesh-ca-request in east",
            "ca-key.pem of own/cacerts in east",
            "west of istio-system/istio-remote-secret-west in east",
        ] {
            assert!(names.iter().any(|name| name.starts_with(expected)), "{expected} is not among {names:?}");
        }
    }

    fn rotates(&mut self) {
        self.command(&["plan", "-input=false", "-out=rotation.plan", "-var=generation=2"]).ok();
        self.command(&["show", "-json", "rotation.plan"]).ok();
        self.command(&["apply", "-input=false", "rotation.plan"]).ok();
        for _ in 0..2 {
            self.command(&["apply", "-input=false", "-auto-approve", "-var=generation=2"]).ok();
        }
        let names = self.secrets.names();
        assert!(names.iter().any(|name| name.starts_with("root-2.key")), "{names:?}");
    }

    /// Errors too say nothing: of an API server, and of the configuration.
    fn is_refused(&mut self) {
        let west = self.lab.cluster("west");
        west.fault(Fault::status(403).for_request("PATCH /api/v1/namespaces/istio-system/secrets/cacerts")).unwrap();
        let refused = self.command(&["apply", "-input=false", "-auto-approve", "-var=generation=2", "-var=again=2"]);
        west.clear_faults().unwrap();
        assert_eq!(refused.code, Some(1), "{}", refused.stdout);
        assert!(refused.stderr.contains("403") || refused.stderr.contains("orbidden"), "{}", refused.stderr);

        let main = std::fs::read_to_string(self.workspace.path("main.tf")).unwrap();
        let mixed = main.replace("private_key_wo = file(\"${each.key}.key\")", "private_key_wo = file(\"sec1.key\")");
        assert_ne!(main, mixed);
        self.workspace.configure(&mixed);
        let refused = self.command(&["plan", "-input=false", "-var=generation=2"]);
        assert_eq!(refused.code, Some(1), "{}", refused.stdout);
        assert!(refused.stderr.contains("Key and certificate do not match"), "{}", refused.stderr);
        self.workspace.configure(&main);
    }

    fn destroys(&mut self) {
        let said = self.command(&["destroy", "-input=false", "-auto-approve", "-var=generation=2"]).ok();
        let words = said.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        for told in ["The mesh loses its certificate authority", "no certificate of this root can be made any more"] {
            assert!(words.contains(told), "{told:?} is missing: {words}");
        }
        let mut left = Secrets::default();
        for cluster in self.lab.clusters() {
            let list = cluster.get(&["secrets,configmaps", "--all-namespaces"]).unwrap().unwrap_or_default();
            for object in list["items"].as_array().into_iter().flatten() {
                for (key, value) in object["data"].as_object().into_iter().flatten() {
                    let bytes = value.as_str().unwrap();
                    let text = BASE64_STANDARD.decode(bytes).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                    left.add_all_of(&format!("{key} of {}", object["metadata"]["name"]), &text.unwrap_or_default());
                }
            }
        }
        for cluster in self.lab.clusters() {
            let gone = || {
                let namespaces = cluster.kubectl(&["get", "namespaces", "-o", "name"]).unwrap_or_default();
                namespaces.lines().all(|name| name == "namespace/default" || name.starts_with("namespace/kube-"))
            };
            cluster.wait_until("the namespaces are gone", gone).unwrap();
        }
        assert_eq!(left.names().iter().collect::<Vec<_>>(), Vec::<&String>::new(), "left behind by a destroy");
    }

    fn verdict(&self) {
        let bytes: usize = self.left.iter().map(|(_, bytes)| bytes.len()).sum();
        println!(
            "{}: {} secrets looked for in {} texts of {} KiB",
            self.cli.name,
            self.secrets.names().len(),
            self.left.len(),
            bytes / 1024
        );
        for (name, bytes) in &self.left {
            let found = self.secrets.found_in(bytes);
            assert!(found.is_empty(), "{}: {found:?} stands in: {name}", self.cli.name);
            // Too short for windows, and the lab's alone.
            for cluster in self.lab.clusters() {
                let token = cluster.token();
                let found = String::from_utf8_lossy(bytes).contains(&token);
                assert!(!found, "{}: the provider's own token stands in: {name}", self.cli.name);
            }
        }
    }
}

/// The same search over the same artefacts of a configuration that does leak: a key in an attribute of a resource.
fn a_leak_would_be_found(cli: &Cli) {
    let workspace = Workspace::overriding(cli, ADDRESS, Path::new(BINARY).parent().unwrap());
    workspace.configure("resource \"terraform_data\" \"leak\" {\n  input = file(\"my.key\")\n}\n");
    openssl(workspace.folder.path(), &["ecparam", "-genkey", "-noout", "-name", "prime256v1", "-out", "my.key"]);
    let mut secrets = Secrets::default();
    secrets.add_keys("my.key", &std::fs::read_to_string(workspace.path("my.key")).unwrap());
    let found =
        |name: &str, bytes: &[u8]| assert!(!secrets.found_in(bytes).is_empty(), "{name} of {} hides a key", cli.name);
    let plan = workspace.run(&["plan", "-input=false", "-out=plan"]).ok();
    found("what the plan prints", plan.stdout.as_bytes());
    found("the plan file", &std::fs::read(workspace.path("plan")).unwrap());
    found("the plan as JSON", workspace.run(&["show", "-json", "plan"]).ok().stdout.as_bytes());
    workspace.run(&["apply", "-input=false", "plan"]).ok();
    found("the state", &std::fs::read(workspace.path("terraform.tfstate")).unwrap());
}

/// A line of a log behind its time.
fn without_time(line: &str) -> &str {
    line.split_once(' ').map_or(line, |(_, rest)| rest)
}

fn openssl(folder: &Path, arguments: &[&str]) {
    let done = Command::new("openssl").args(arguments).current_dir(folder).output().unwrap();
    assert!(done.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}
