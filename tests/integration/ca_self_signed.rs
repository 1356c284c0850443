//! Two meshes whose istiods have signed for themselves are brought under one root, by plain plans under a real CLI:
//! what a workload got before is accepted all the way, and in the end everybody accepts everybody.

use std::collections::BTreeMap;

use lab::tools::{self, Istio};
use lab::{Lab, Options};
use serde_json::json;
use terraform_provider_mesh::pki::{Bundle, Certificate};

use crate::ca_istiod::verifies;
use crate::support::cli::{Workspace, clis};
use crate::support::plugin_process::BINARY;
use crate::support::workload::workload;

const CLUSTERS: [&str; 2] = ["east", "west"];

#[test]
fn istiods_that_signed_for_themselves_come_under_one_root() {
    let Some(cli) = clis().into_iter().next() else { return };
    let lab = Lab::start(&CLUSTERS, Options::default()).expect("two clusters");
    let folder = std::path::Path::new(BINARY).parent().unwrap();
    let run = Run { lab: &lab, workspace: Workspace::overriding(&cli, "terraform-provider-mesh/mesh", folder) };
    run.configure("");
    run.apply().ok();
    for cluster in lab.clusters() {
        cluster.wait_for_istiods(1).expect("istiod runs");
    }
    let before = run.workloads();
    assert!(verifies(&before["east"], &run.roots("west")).is_err(), "they begin as strangers");

    run.with_ca("");
    let refused = run.apply();
    assert_eq!(refused.code, Some(1), "{}", refused.stdout);
    for told in ["istiod signs with a root of its own", "`migrate_self_signed", "clusters[\"east\"]"] {
        assert!(refused.stderr.contains(told), "{told:?} is missing: {}", refused.stderr);
    }

    run.with_ca("migrate_self_signed = true");
    run.apply().ok();
    let between = run.workloads();
    for judge in CLUSTERS {
        let roots = run.roots(judge);
        assert_eq!(roots.len(), 3, "the new root, and both old ones");
        for (name, chain) in before.iter().chain(&between) {
            verifies(chain, &roots).unwrap_or_else(|error| panic!("{judge} refuses {name}: {error}"));
        }
    }

    let narrowed = run.apply().ok();
    assert!(narrowed.stdout.contains("step 3 of 3: narrow trust"), "{}", narrowed.stdout);
    let after = run.workloads();
    for judge in CLUSTERS {
        let roots = run.roots(judge);
        assert_eq!(roots.len(), 1, "{judge}");
        for (name, chain) in between.iter().chain(&after) {
            verifies(chain, &roots).unwrap_or_else(|error| panic!("{judge} refuses {name}: {error}"));
        }
        assert!(verifies(&before[judge], &roots).is_err(), "the self-signed root of {judge} is still trusted");
    }
    let plan = run.workspace.run(&["plan", "-detailed-exitcode", "-input=false"]);
    assert_eq!(plan.code, Some(0), "{}{}", plan.stdout, plan.stderr);
}

/// One cluster has the mesh's root already; another joins whose istiod has signed for itself. And what that istiod has
/// left behind is not taken for its root when `cacerts` is made again.
#[test]
fn an_istiod_that_signed_for_itself_joins_later() {
    let Some(cli) = clis().into_iter().next() else { return };
    let lab = Lab::start(&CLUSTERS, Options::default()).expect("two clusters");
    let folder = std::path::Path::new(BINARY).parent().unwrap();
    let run = Run { lab: &lab, workspace: Workspace::overriding(&cli, "terraform-provider-mesh/mesh", folder) };
    let migrate = "migrate_self_signed = true";
    run.configure("");
    run.apply().ok();
    for cluster in lab.clusters() {
        cluster.wait_for_istiods(1).expect("istiod runs");
    }
    run.with_ca_of(&CLUSTERS[..1], migrate);
    run.apply().ok();
    run.apply().ok();
    let before = run.workloads();
    run.with_ca(migrate);
    let joined = run.apply().ok();
    assert!(joined.stdout.contains("A cluster joins with what it has"), "{}", joined.stdout);
    assert_eq!(run.roots("west").len(), 2, "the mesh's root, and its own of before");
    verifies(&before["west"], &run.roots("west")).expect("its workloads go on among themselves");
    run.apply().ok();
    assert_eq!(run.roots("west"), run.roots("east"));
    run.with_ca("");
    run.apply().ok();
    run.workspace.is_settled();

    let west = lab.cluster("west");
    assert!(west.get(&["secret", "istio-ca-secret", "-n", "istio-system"]).unwrap().is_some(), "it stays behind");
    west.kubectl(&["delete", "secret", "cacerts", "-n", "istio-system"]).unwrap();
    run.apply().ok();
    assert_eq!(run.roots("west"), run.roots("east"));
    run.workspace.is_settled();
}

struct Run<'a> {
    lab: &'a Lab,
    workspace: Workspace,
}

impl Run<'_> {
    /// Control planes without a CA.
    fn configure(&self, more: &str) {
        let charts = tools::charts(Istio::Current).expect("the charts").dir().display().to_string();
        let clusters: BTreeMap<&str, String> =
            CLUSTERS.map(|name| (name, self.lab.cluster(name).kubeconfig_path().display().to_string())).into();
        let clusters = json!(clusters);
        let values = json!({
            "global": { "tag": Istio::Current.version() },
            "pilot": { "env": { "ISTIO_MULTIROOT_MESH": "true" } },
            "meshConfig": { "defaultConfig": { "proxyMetadata": { "PROXY_CONFIG_XDS_AGENT": "true" } } },
        });
        let values = json!([values.to_string()]);
        self.workspace.configure(&format!(
            r#"terraform {{
  required_providers {{
    mesh = {{ source = "terraform-provider-mesh/mesh" }}
  }}
}}

locals {{ kubeconfigs = {clusters} }}

provider "mesh" {{
  clusters = {{ for name, path in local.kubeconfigs : name => {{ config_path = path }} }}
  charts   = {{ directory = "{charts}" }}
}}

resource "mesh_primary" "this" {{
  for_each = local.kubeconfigs
  cluster  = each.key
  mesh_id  = "mesh1"
  network  = "net-${{each.key}}"
  values   = {values}
}}
{more}"#
        ));
    }

    fn with_ca(&self, attribute: &str) {
        self.with_ca_of(&CLUSTERS, attribute);
    }

    fn with_ca_of(&self, clusters: &[&str], attribute: &str) {
        let clusters = json!(clusters);
        self.configure(&format!(
            "\nresource \"mesh_ca\" \"this\" {{\n  root           = {{ store = {{ cluster = \"east\" }} }}\n  clusters       = {{ for name in {clusters} : name => {{}} }}\n  rotation_pause = \"0s\"\n  {attribute}\n}}\n"
        ));
    }

    fn apply(&self) -> crate::support::cli::Said {
        self.workspace.run(&["apply", "-auto-approve", "-input=false"])
    }

    /// A certificate of each cluster's istiod.
    fn workloads(&self) -> BTreeMap<&'static str, Vec<Certificate>> {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        CLUSTERS
            .map(|name| (name, runtime.block_on(workload(self.lab.cluster(name), "default", "default")).unwrap().chain))
            .into()
    }

    /// The roots that a cluster's istiod hands out.
    fn roots(&self, name: &str) -> Bundle {
        let cluster = self.lab.cluster(name);
        let mut pem = None;
        let handed_out = || {
            let map = cluster.get(&["configmap", "istio-ca-root-cert", "-n", "default"]).ok().flatten();
            pem = map.and_then(|map| map["data"]["root-cert.pem"].as_str().map(str::to_owned));
            pem.is_some()
        };
        cluster.wait_until("roots are handed out", handed_out).unwrap();
        Bundle::from_pem(&pem.unwrap()).unwrap()
    }
}
