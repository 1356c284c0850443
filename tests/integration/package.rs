//! What `make package` makes can be installed: both CLIs take the archive from a mirror on disk, and apply with it.

use std::path::Path;
use std::process::Command;

use crate::cluster_lab::lab_cluster;
use crate::support::cli::{Workspace, clis};
use crate::support::plugin_process::BINARY;

pub const PLATFORM: &str = if cfg!(target_arch = "aarch64") { "linux_arm64" } else { "linux_amd64" };

#[test]
fn an_archive_is_installed_and_applied() {
    let Some(cluster) = lab_cluster() else { return };
    let mirror = tempfile::tempdir().unwrap();
    for cli in clis() {
        pack(&mirror.path().join(registry(cli.name)).join("terraform-provider-mesh/mesh"));
        let workspace = Workspace::mirrored(&cli, mirror.path());
        let (store, issued) = (format!("package-root-{}", cli.name), format!("package-{}", cli.name));
        workspace.configure(&format!(
            r#"
terraform {{
  required_providers {{
    mesh = {{
      source  = "terraform-provider-mesh/mesh"
      version = "{}"
    }}
  }}
}}

provider "mesh" {{
  clusters = {{ east = {{ config_path = "{}" }} }}
}}

resource "mesh_ca" "this" {{
  root     = {{ store = {{ cluster = "east", namespace = "{store}" }} }}
  clusters = {{ east = {{ namespace = "{issued}" }} }}
}}
"#,
            env!("CARGO_PKG_VERSION"),
            cluster.kubeconfig_path().display()
        ));
        workspace.run(&["init", "-input=false"]).ok();
        workspace.run(&["apply", "-auto-approve", "-input=false"]).ok();
        assert!(cluster.get(&["secret", "cacerts", "-n", &issued]).unwrap().is_some());
        assert_eq!(workspace.run(&["plan", "-detailed-exitcode", "-input=false"]).code, Some(0));
        workspace.run(&["destroy", "-auto-approve", "-input=false"]).ok();
        assert!(cluster.get(&["namespace", &issued]).unwrap().is_none());
    }
}

/// Each CLI completes the provider's address by its own registry.
pub fn registry(cli: &str) -> &'static str {
    if cli == "tofu" { "registry.opentofu.org" } else { "registry.terraform.io" }
}

fn pack(folder: &Path) {
    script(&["pack", BINARY, PLATFORM, &folder.display().to_string()]);
}

/// An archive is the same whenever it is made of the same binary, and what lies beside it fits it.
#[test]
fn what_a_release_consists_of_is_reproducible_and_checks_out() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let binary = one.path().join("binary");
    std::fs::write(&binary, "what a build has made").unwrap();
    let folders = [one.path().join("dist"), other.path().join("dist")];
    for folder in &folders {
        let folder = folder.display().to_string();
        for platform in ["linux_amd64", "windows_arm64"] {
            script(&["pack", &binary.display().to_string(), platform, &folder]);
        }
        script(&["list", &folder]);
        // An archive of another moment must not differ.
        std::fs::File::options().write(true).open(&binary).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    }
    let names = |folder: &Path| {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        entries.collect::<std::collections::BTreeSet<_>>()
    };
    let found = names(&folders[0]);
    assert_eq!(found.len(), 6, "{found:?}");
    assert_eq!(found, names(&folders[1]));
    for name in &found {
        let [a, b] = [0, 1].map(|at: usize| std::fs::read(folders[at].join(name)).unwrap());
        assert!(a == b, "{name} differs from one time to the next");
    }
    for sums in found.iter().filter(|name| name.ends_with("SHA256SUMS") || name.ends_with(".sha256")) {
        let checked = Command::new("sha256sum").arg("-c").arg(sums).current_dir(&folders[0]).output().unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    }
    let listed =
        Command::new("python3").args(["-m", "zipfile", "-l"]).arg(folders[0].join(archive("windows_arm64"))).output();
    let listed = String::from_utf8(listed.unwrap().stdout).unwrap();
    assert!(listed.contains(&format!("terraform-provider-mesh_v{}.exe", env!("CARGO_PKG_VERSION"))), "{listed}");
    let sbom = format!("terraform-provider-mesh_{}_sbom.cdx.json", env!("CARGO_PKG_VERSION"));
    let sbom: serde_json::Value = serde_json::from_slice(&std::fs::read(folders[0].join(sbom)).unwrap()).unwrap();
    let component =
        |name: &str| sbom["components"].as_array().unwrap().iter().find(|component| component["name"] == name).cloned();
    let linked = component("aws-lc-rs").expect("what is linked is listed");
    assert!(linked["hashes"][0]["content"].as_str().is_some_and(|sum| sum.len() == 64), "{linked}");
    assert!(linked["licenses"][0]["expression"].is_string(), "{linked}");
    assert!(component("protox").is_none(), "what only tests need is not part of a release");
}

fn archive(platform: &str) -> String {
    format!("terraform-provider-mesh_{}_{platform}.zip", env!("CARGO_PKG_VERSION"))
}

fn script(arguments: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/package");
    let done = Command::new(script).args(arguments).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}
