//! Istio's own charts, taken from the Go module that istiod is built from.
//!
//! In the source tree they carry placeholder versions; Istio's release tooling puts the release in, and so
//! does this, with an image tag by which the lab later knows which istiod to run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Error, Istio, Tool, module_dir, module_home, path};

/// Charts of one version of Istio, as folders and as archives.
#[derive(Clone, Debug)]
pub struct Charts {
    dir: PathBuf,
    version: &'static str,
}

impl Charts {
    /// The folder of charts: `base`, `istiod`, `gateway`, `cni`, `ztunnel`, and their archives.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// One chart's folder.
    pub fn folder(&self, chart: &str) -> PathBuf {
        self.dir.join(chart)
    }

    /// One chart's archive.
    pub fn archive(&self, chart: &str) -> PathBuf {
        self.dir.join(format!("{chart}-{}.tgz", self.version))
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
    let failed = |what: &str, error: &dyn std::fmt::Display| Error::Charts(format!("{what}: {error}"));
    let helm = path(Tool::Helm)?;
    let source = source_dir(istio)?;
    let unfinished = home.join(format!(".charts.{}", std::process::id()));
    let _ = fs::remove_dir_all(&unfinished);
    for (from, name) in CHARTS {
        let to = unfinished.join(name);
        copy(&source.join(from), &to, istio.version()).map_err(|e| failed(name, &e))?;
        let packed = Command::new(&helm).arg("package").arg(&to).arg("-d").arg(&unfinished).output();
        match packed {
            Ok(out) if out.status.success() => {}
            Ok(out) => return Err(failed(name, &String::from_utf8_lossy(&out.stderr))),
            Err(error) => return Err(failed("helm", &error)),
        }
    }
    match fs::rename(&unfinished, dir) {
        Err(_) if dir.is_dir() => {
            // Another was faster; what is left of ours is swept with the cache.
            let _ = fs::remove_dir_all(&unfinished);
            Ok(())
        }
        Err(error) => Err(failed("rename", &error)),
        Ok(()) => Ok(()),
    }
}

fn source_dir(istio: Istio) -> Result<PathBuf, Error> {
    let run = |args: &[&str]| Command::new("go").args(args).current_dir(module_dir(istio.module())).output();
    let _ = run(&["mod", "download", "istio.io/istio"]);
    let out = run(&["list", "-m", "-f", "{{.Dir}}", "istio.io/istio"]).map_err(|_| Error::NoGo("charts".into()))?;
    let dir = String::from_utf8_lossy(&out.stdout).trim().to_owned();
    if dir.is_empty() {
        return Err(Error::Charts(String::from_utf8_lossy(&out.stderr).trim().to_owned()));
    }
    Ok(Path::new(&dir).join("manifests/charts"))
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
