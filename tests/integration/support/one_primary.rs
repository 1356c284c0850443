//! One `mesh_primary` in one lab cluster, under a real command line.

use std::path::{Path, PathBuf};

use lab::Cluster;
use lab::tools::{self, Istio};
use serde_json::json;

use super::cli::{Cli, Said, Workspace};

pub struct OnePrimary<'a> {
    pub workspace: Workspace,
    pub cluster: &'a Cluster,
    /// Istio's, unless a test has its own.
    pub charts: PathBuf,
    /// All rights, unless a test has its own.
    pub kubeconfig: PathBuf,
}

impl<'a> OnePrimary<'a> {
    pub fn new(cli: &Cli, provider: &Path, cluster: &'a Cluster) -> OnePrimary<'a> {
        let folder = provider.parent().expect("a folder");
        OnePrimary {
            workspace: Workspace::overriding(cli, "terraform-provider-mesh/mesh", folder),
            cluster,
            charts: tools::charts(Istio::Current).expect("the charts").dir().to_owned(),
            kubeconfig: cluster.kubeconfig_path(),
        }
    }

    /// The provider that this test run has built, or the one that `MESH_TEST_BINARY` names.
    pub fn provider() -> PathBuf {
        let named = std::env::var_os("MESH_TEST_BINARY").map(PathBuf::from);
        named.unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_terraform-provider-mesh")))
    }

    /// With these values beside those that choose the version of the istiod that the lab runs.
    pub fn configure(&self, values: &str) {
        let (charts, kubeconfig) = (self.charts.display(), self.kubeconfig.display());
        let documents = json!([format!("global: {{tag: {}}}", Istio::Current.version()), values]).to_string();
        self.workspace.configure(&format!(
            r#"terraform {{
  required_providers {{
    mesh = {{ source = "terraform-provider-mesh/mesh" }}
  }}
}}

provider "mesh" {{
  clusters = {{ east = {{ config_path = "{kubeconfig}" }} }}
  charts   = {{ directory = "{charts}" }}
}}

resource "mesh_primary" "this" {{
  cluster = "east"
  mesh_id = "mesh1"
  network = "net-east"
  values  = {documents}
}}
"#
        ));
    }

    pub fn apply(&self) -> Said {
        self.workspace.run(&["apply", "-auto-approve", "-input=false"])
    }

    /// The exit code: 0 nothing to do, 2 something to do.
    pub fn plan(&self) -> Said {
        self.workspace.run(&["plan", "-detailed-exitcode", "-input=false"])
    }

    #[track_caller]
    pub fn settled(&self) {
        let plan = self.plan();
        assert_eq!(plan.code, Some(0), "the plan is not empty:\n{}\n{}", plan.stdout, plan.stderr);
    }

    #[track_caller]
    pub fn destroy(&self) {
        let said = self.workspace.run(&["destroy", "-auto-approve", "-input=false"]).ok();
        assert!(!said.stdout.contains("stay behind"), "something stays behind:\n{}", said.stdout);
        self.namespace_goes();
    }

    #[track_caller]
    pub fn namespace_goes(&self) {
        let gone = || self.cluster.get(&["namespace", "istio-system"]).is_ok_and(|namespace| namespace.is_none());
        self.cluster.wait_until("the namespace is gone", gone).expect("it goes");
    }
}
