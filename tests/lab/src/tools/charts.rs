//! Istio's own charts, taken from the Go module that istiod is built from.
//!
//! In the source tree they carry placeholder versions; Istio's release tooling puts the release in, and so
//! does this, with an image tag by which the lab later knows which istiod to run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Error, Istio, Tool, module_dir, module_home, path};

/// Charts of one version of Istio, as folders and, on demand, as archives.
#[derive(Clone, Debug)]
pub struct Charts {
    dir: PathBuf,
    version: &'static str,
}

impl Charts {
    /// The folder of charts: `base`, `istiod`, `gateway`, `cni`, `ztunnel`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// One chart's folder.
    pub fn folder(&self, chart: &str) -> PathBuf {
        self.dir.join(chart)
    }

    /// One chart's archive, packed on first use: helm takes minutes to build, and who needs no archive does not wait
    /// for it.
    pub fn archive(&self, chart: &str) -> Result<PathBuf, Error> {
        let name = format!("{chart}-{}.tgz", self.version);
        let packed = self.dir.with_file_name(format!("charts-{}-packed", self.version));
        if !packed.is_dir() {
            self.pack(&packed)?;
        }
        Ok(packed.join(name))
    }

    fn pack(&self, to: &Path) -> Result<(), Error> {
        let helm = path(Tool::Helm)?;
        let unfinished = to.with_file_name(format!(".packed.{}", std::process::id()));
        let _ = fs::remove_dir_all(&unfinished);
        for (_, name) in CHARTS {
            let failed = |why: &dyn std::fmt::Display| Error::Charts(format!("{name}: {why}"));
            let packed = Command::new(&helm).arg("package").arg(self.folder(name)).arg("-d").arg(&unfinished).output();
            match packed {
                Ok(out) if out.status.success() => {}
                Ok(out) => return Err(failed(&String::from_utf8_lossy(&out.stderr))),
                Err(error) => return Err(failed(&error)),
            }
        }
        moved(&unfinished, to)
    }

    pub fn version(&self) -> &'static str {
        self.version
    }
}

/// Chart folders in Istio's source and the names they are released under.
const CHARTS: [(&str, &str); 5] = [
    ("base", "base"),
    ("istio-control/istio-discovery", "istiod"),
    ("gateway", "gateway"),
    ("istio-cni", "cni"),
    ("ztunnel", "ztunnel"),
];

/// The charts of a version, prepared on first use.
pub fn charts(istio: Istio) -> Result<Charts, Error> {
    let version = istio.version();
    let home = module_home(istio.module())?;
    let dir = home.join(format!("charts-{version}"));
    if !dir.is_dir() {
        prepare(istio, &home, &dir)?;
    }
    Ok(Charts { dir, version })
}

fn prepare(istio: Istio, home: &Path, dir: &Path) -> Result<(), Error> {
    let source = source_dir(istio, "istio.io/istio")?.join("manifests/charts");
    let unfinished = home.join(format!(".charts.{}", std::process::id()));
    let _ = fs::remove_dir_all(&unfinished);
    for (from, name) in CHARTS {
        let copied = copy(&source.join(from), &unfinished.join(name), istio.version());
        copied.map_err(|error| Error::Charts(format!("{name}: {error}")))?;
    }
    moved(&unfinished, dir)
}

/// The folder of the Gateway API's CustomResourceDefinitions, of the version that istiod is built with; copied on first
/// use.
pub fn gateway_api() -> Result<PathBuf, Error> {
    let home = module_home(Istio::Current.module())?;
    let dir = home.join("gateway-api");
    if dir.is_dir() {
        return Ok(dir);
    }
    let failed = |error: std::io::Error| Error::Charts(format!("the Gateway API: {error}"));
    let source = source_dir(Istio::Current, "sigs.k8s.io/gateway-api")?.join("config/crd/standard");
    let unfinished = home.join(format!(".gateway-api.{}", std::process::id()));
    fs::create_dir_all(&unfinished).map_err(failed)?;
    for file in fs::read_dir(source).map_err(failed)? {
        let file = file.map_err(failed)?;
        // Beside the definitions there is a policy that guards their upgrades.
        if !file.file_name().to_string_lossy().contains("_vap_") {
            let content = fs::read(file.path()).map_err(failed)?;
            fs::write(unfinished.join(file.file_name()), content).map_err(failed)?;
        }
    }
    moved(&unfinished, &dir)?;
    Ok(dir)
}

/// What Istio's agent makes Envoy's first configuration from, as it lies in the images; copied on first use.
pub fn bootstrap_template() -> Result<PathBuf, Error> {
    let home = module_home(Istio::Current.module())?;
    let file = home.join("envoy_bootstrap.json");
    if file.is_file() {
        return Ok(file);
    }
    let failed = |error: std::io::Error| Error::Charts(format!("Envoy's bootstrap: {error}"));
    let source = source_dir(Istio::Current, "istio.io/istio")?.join("tools/packaging/common/envoy_bootstrap.json");
    let unfinished = home.join(format!(".bootstrap.{}", std::process::id()));
    let content = fs::read(source).map_err(failed)?;
    fs::write(&unfinished, content).and_then(|()| fs::rename(&unfinished, &file)).map_err(failed)?;
    Ok(file)
}

fn source_dir(istio: Istio, module: &str) -> Result<PathBuf, Error> {
    let run = |args: &[&str]| Command::new("go").args(args).current_dir(module_dir(istio.module())).output();
    let _ = run(&["mod", "download", module]);
    let out = run(&["list", "-m", "-f", "{{.Dir}}", module]).map_err(|_| Error::NoGo("charts".into()))?;
    let dir = String::from_utf8_lossy(&out.stdout).trim().to_owned();
    if dir.is_empty() {
        return Err(Error::Charts(String::from_utf8_lossy(&out.stderr).trim().to_owned()));
    }
    Ok(PathBuf::from(dir))
}

/// Puts what is prepared in its place, unless another was faster.
fn moved(unfinished: &Path, dir: &Path) -> Result<(), Error> {
    match fs::rename(unfinished, dir) {
        Err(_) if dir.is_dir() => {
            let _ = fs::remove_dir_all(unfinished);
            Ok(())
        }
        Err(error) => Err(Error::Charts(format!("rename: {error}"))),
        Ok(()) => Ok(()),
    }
}

/// Copies a chart (the module cache is read-only, so permissions are not kept) and puts the version in.
fn copy(from: &Path, to: &Path, version: &str) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target, version)?;
            continue;
        }
        let content = fs::read(entry.path())?;
        let content = match entry.file_name().to_str() {
            Some("Chart.yaml") => edit(content, |line| match line.split_once(": ") {
                Some((key @ ("version" | "appVersion"), _)) => Some(format!("{key}: {version}")),
                _ => None,
            }),
            Some("values.yaml") => edit(content, |line| match line.trim_start().split_once(": ") {
                Some(("hub", "registry.istio.io/testing" | "gcr.io/istio-testing")) => {
                    Some(indented(line, "hub: docker.io/istio"))
                }
                Some(("tag", "latest")) => Some(indented(line, &format!("tag: {version}"))),
                _ => None,
            }),
            _ => content,
        };
        fs::write(target, content)?;
    }
    Ok(())
}

fn indented(like: &str, text: &str) -> String {
    let indent = like.len() - like.trim_start().len();
    format!("{:indent$}{text}", "")
}

fn edit(content: Vec<u8>, change: impl Fn(&str) -> Option<String>) -> Vec<u8> {
    let text = String::from_utf8_lossy(&content);
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        out.push_str(&change(line).unwrap_or_else(|| line.to_owned()));
        out.push('\n');
    }
    out.into_bytes()
}
