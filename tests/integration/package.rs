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
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/package");
    let done = Command::new(script).args(["pack", BINARY, PLATFORM]).arg(folder).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}
