//! A run that looks for drift, such as one every night: where state holds objects of a cluster and the cluster's entry
//! is wrong, it fails. "No changes" (exit code 0) of a cluster that nobody has looked at would hide every change in it.

use std::path::Path;

use serde_json::{Value, json};

use crate::cluster_server::{Say, Server};
use crate::support::cli::{Cli, Said, Workspace, clis};
use crate::support::plugin_process::BINARY;

const SOURCE: &str = "terraform-provider-mesh/mesh";
const KINDS: [&str; 5] =
    ["mesh_ca", "mesh_eastwest_gateway", "mesh_primary", "mesh_remote_cluster", "mesh_service_entry"];

/// One way in which a cluster's entry can be wrong.
struct Wrong {
    what: &'static str,
    entry: String,
    /// What the error says of it.
    said: &'static str,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_whose_entry_is_wrong_is_never_without_changes() {
    let refuses = Server::start(|_, _| Say::Text(401, "go away")).await;
    let login = Server::start(|_, _| Say::Text(200, "<!DOCTYPE html><html><body>Log in</body></html>")).await;
    let balancer = Server::start(|_, _| Say::Text(404, "default backend - 404")).await;
    let other_ca = Server::start_tls(|_, _| Say::Json(200, json!({}))).await;
    let ca = Server::start_tls(|_, _| Say::Json(200, json!({}))).await.certificate.clone().expect("TLS");
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).expect("a file");
        format!("config_path = \"{}\"", folder.path().join(name).display())
    };
    let kubeconfig = |server: &str| {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "a", "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
            "clusters": [{"name": "a", "cluster": {"server": server}}], "users": [{"name": "a", "user": {"token": "t"}}],
        })
    };
    let good = kubeconfig(&format!("http://{}", refuses.address)).to_string();
    let host = |server: &Server| format!("host = \"http://{}\"\n      token = \"t\"", server.address);
    let exec = "host = \"https://127.0.0.1:9\"\n      exec = { command = \"/nowhere/at/all\" }";
    let wrong = [
        Wrong { what: "no file", entry: format!("config_path = \"{}/none\"", folder.path().display()), said: "none" },
        Wrong { what: "not YAML", entry: file("broken", "apiVersion: [\n"), said: "not a kubeconfig" },
        Wrong { what: "another file", entry: file("other", "kind: Secret\n"), said: "no current context" },
        Wrong {
            what: "no such context",
            entry: format!("{}\n      config_context = \"tipo\"", file("good", &good)),
            said: "tipo",
        },
        Wrong { what: "no such plugin", entry: exec.to_owned(), said: "/nowhere/at/all" },
        Wrong { what: "a credential that is refused", entry: host(&refuses), said: "Cluster east" },
        Wrong { what: "a login page", entry: host(&login), said: "Kubernetes" },
        Wrong { what: "a load balancer", entry: host(&balancer), said: "Kubernetes" },
        Wrong {
            what: "another CA",
            entry: format!(
                "host = \"https://{}\"\n      token = \"t\"\n      cluster_ca_certificate = {}",
                other_ca.address,
                Value::from(ca)
            ),
            said: "TLS",
        },
        // What cannot be told from an outage, which stops no plan unless that is asked for.
        Wrong {
            what: "nobody there",
            entry: "host = \"https://127.0.0.1:9\"\n      token = \"t\"".to_owned(),
            said: "127.0.0.1:9",
        },
        Wrong {
            what: "no such name",
            entry: "host = \"https://api.invalid\"\n      token = \"t\"".to_owned(),
            said: "api.invalid",
        },
    ];
    let clis = clis();
    for (index, wrong) in wrong.iter().enumerate() {
        // Both command lines by turns: what they do with an error is the same.
        let cli = &clis[index % clis.len()];
        let is_outage = wrong.what.starts_with("no such name") || wrong.what.starts_with("nobody");
        for kind in KINDS {
            let said = plan(cli, kind, &wrong.entry, is_outage);
            let all = format!("{}{}", said.stdout, said.stderr);
            assert_eq!(said.code, Some(1), "{kind} with {}: {all}", wrong.what);
            let flat = all.replace(['\n', '│', ' '], "");
            assert!(flat.contains(&wrong.said.replace(' ', "")), "{kind} with {}: {all}", wrong.what);
        }
    }
}

/// Without being asked, an outage is a warning, and the plan goes on with what state remembers.
#[test]
fn an_outage_is_a_warning_unless_a_run_asks_for_answers() {
    let cli = &clis()[0];
    let said = plan(cli, "mesh_service_entry", "host = \"https://127.0.0.1:9\"\n      token = \"t\"", false);
    assert_ne!(said.code, Some(1), "{}{}", said.stdout, said.stderr);
    assert!(said.stdout.contains("Warning: Cluster east cannot be read"), "{}", said.stdout);
}

/// A variables file that was not read, or a `for` that matches nothing: that there are no clusters is known, and nobody
/// has looked at what state holds.
#[test]
fn a_provider_without_clusters_is_never_without_changes() {
    let clis = clis();
    for (index, clusters) in ["\n  clusters = {}", ""].into_iter().enumerate() {
        let block = format!("unreachable_clusters = \"error\"{clusters}");
        for kind in KINDS {
            let said = plan_with(&clis[index % clis.len()], kind, &block);
            assert_eq!(said.code, Some(1), "{kind}: {}{}", said.stdout, said.stderr);
            assert!(said.stderr.contains("The provider has no clusters"), "{kind}: {}", said.stderr);
        }
    }
}

/// In a first run there is nothing to miss: that answers are asked for changes nothing while the clusters are made.
#[test]
fn a_first_run_may_ask_for_answers_of_clusters_that_are_still_to_be_made() {
    for (cli, clusters) in clis().iter().cycle().zip([
        "{ east = { host = terraform_data.made.output, token = \"t\" }, west = { host = terraform_data.made.output, token = \"t\" } }",
        "{ for name in [\"east\", \"west\"] : name => { host = terraform_data.made.output, token = \"t\" } }",
        "{ for name in toset([terraform_data.made.output]) : name => { host = name, token = \"t\" } }",
    ]) {
        let workspace = Workspace::overriding(cli, SOURCE, Path::new(BINARY).parent().expect("a folder"));
        let (body, _) = kept("mesh_remote_cluster");
        workspace.configure(&configuration(
            "mesh_remote_cluster",
            &format!("unreachable_clusters = \"error\"\n  clusters = {clusters}"),
            &format!("{body}\n}}\n\nresource \"terraform_data\" \"made\" {{\n  input = \"https://192.0.2.1:6443\""),
        ));
        let said = workspace.run(&["plan", "-detailed-exitcode", "-input=false"]);
        assert_eq!(said.code, Some(2), "{clusters}: {}{}", said.stdout, said.stderr);
    }
}

fn plan(cli: &Cli, kind: &str, entry: &str, must_answer: bool) -> Said {
    let unreachable = if must_answer { "unreachable_clusters = \"error\"" } else { "" };
    let clusters = format!(
        "{unreachable}\n  clusters = {{\n    east = {{\n      {entry}\n    }}\n    west = {{\n      {entry}\n    }}\n  }}"
    );
    plan_with(cli, kind, &clusters)
}

fn configuration(kind: &str, block: &str, body: &str) -> String {
    format!(
        "terraform {{\n  required_providers {{\n    mesh = {{ source = \"{SOURCE}\" }}\n  }}\n}}\n\n\
         provider \"mesh\" {{\n  {block}\n}}\n\nresource \"{kind}\" \"this\" {{\n{body}\n}}\n"
    )
}

/// A plan of what state holds, with this in the provider block.
fn plan_with(cli: &Cli, kind: &str, block: &str) -> Said {
    let workspace = Workspace::overriding(cli, SOURCE, Path::new(BINARY).parent().expect("a folder"));
    let (body, attributes) = kept(kind);
    workspace.configure(&configuration(kind, block, body));
    let host = if cli.name == "tofu" { "registry.opentofu.org" } else { "registry.terraform.io" };
    let state = json!({
        "version": 4, "terraform_version": "1.11.0", "serial": 1, "lineage": "b1a1a1a1-0000-0000-0000-000000000001", "outputs": {},
        "resources": [{
            "mode": "managed", "type": kind, "name": "this", "provider": format!("provider[\"{host}/{SOURCE}\"]"),
            "instances": [{"schema_version": 0, "attributes": attributes}],
        }],
    });
    std::fs::write(workspace.path("terraform.tfstate"), state.to_string()).expect("a state");
    workspace.run(&["plan", "-detailed-exitcode", "-input=false"])
}

/// A configuration, and a state of it that names an object: as a version before this may have written it.
fn kept(kind: &str) -> (&'static str, Value) {
    let fields = |key: &str| json!({key: "{\"metadata.labels.a\":\"b\"}"});
    match kind {
        "mesh_ca" => (
            "  root = { store = { cluster = \"east\" } }\n  clusters = { east = {} }",
            json!({
                "id": "east/mesh-root-ca/mesh-root-ca", "root": {"store": {"cluster": "east", "namespace": "mesh-root-ca", "name": "mesh-root-ca"}, "generation": 1,
                    "algorithm": "ECDSA-P256", "validity": "3650d", "organization": "Istio", "common_name": "Root CA"},
                "clusters": {"east": {"namespace": "istio-system", "generation": 1, "fingerprint": "a", "trusted": ["b"], "state": "ready"}}, "rotation_pause": "24h",
                "adopt": false, "migrate_self_signed": false, "root_fingerprint": "b", "phase": "stable",
            }),
        ),
        "mesh_primary" => (
            "  cluster = \"east\"\n  mesh_id = \"mesh1\"",
            json!({
                "id": "east/istio-system/istiod", "cluster": "east", "cluster_name": "east", "namespace": "istio-system", "mesh_id": "mesh1", "install_base": true, "adopt": false,
                "force_conflicts": false, "ambient": false, "external_istiod": false, "istio_version": "1.31.0", "multi_root": false, "addresses": [],
                "objects": {"Deployment istio-system/istiod": "012345678901"}, "fields": fields("Deployment istio-system/istiod"), "status": {"available": true, "image": "a"},
            }),
        ),
        "mesh_eastwest_gateway" => (
            "  cluster = \"east\"\n  network = \"net-east\"",
            json!({
                "id": "east/istio-system/istio-eastwestgateway", "cluster": "east", "namespace": "istio-system", "name": "istio-eastwestgateway", "network": "net-east", "ambient": false,
                "cluster_domain": "cluster.local", "adopt": false, "force_conflicts": false, "wait": true, "addresses": [], "chart_version": "1.31.0",
                "objects": {"Service istio-system/istio-eastwestgateway": "012345678901"}, "fields": fields("Service istio-system/istio-eastwestgateway"),
            }),
        ),
        "mesh_remote_cluster" => (
            "  cluster = \"east\"\n  watchers = [\"west\"]",
            json!({
                "id": "east/istio-system/east", "cluster": "east", "cluster_name": "east", "namespace": "istio-system", "watchers": ["west"], "mode": "peer", "service_account": "istio-mesh-reader",
                "read_secrets": true, "export_services": false, "adopt": false, "force_conflicts": false, "wait": true, "skip_unreachable_on_destroy": false, "allow_loopback_server": false,
                "secret_name": "istio-remote-secret-east", "server_url": "https://192.0.2.1", "certificate_authority_fingerprint": "a", "sync": {}, "tokens": {}, "token_expires_at": "2027-01-01T00:00:00Z",
                "objects": {"ServiceAccount istio-system/istio-mesh-reader": "012345678901"}, "fields": fields("ServiceAccount istio-system/istio-mesh-reader"),
            }),
        ),
        _ => (
            "  cluster = \"east\"\n  host = \"cart.shop.global\"\n  ports = { http = { number = 80 } }\n  exporters = { a = { namespace = \"shop\", service = \"cart\", service_accounts = [\"cart\"], gateways = [{ value = \"192.0.2.9\" }] } }",
            json!({
                "id": "east/istio-system/cart-shop-global", "cluster": "east", "namespace": "istio-system", "name": "cart-shop-global", "destination_rule_name": "cart-shop-global",
                "host": "cart.shop.global", "ports": {"http": {"number": 80, "protocol": "HTTP"}},
                "exporters": {"a": {"namespace": "shop", "service": "cart", "service_accounts": ["cart"], "trust_domain": "cluster.local", "cluster_domain": "cluster.local",
                    "gateways": [{"value": "192.0.2.9", "port": 15443}], "expose": false, "gateway_namespace": "istio-system"}},
                "exported_host": "cart.shop.svc.cluster.local", "stub_service": false, "outlier_detection": false, "adopt": false, "force_conflicts": false, "resolution": "STATIC",
                "sni": {}, "subject_alt_names": [], "endpoints": {}, "findings": [], "exported": {},
                "objects": {"ServiceEntry istio-system/cart-shop-global": "012345678901"}, "fields": fields("ServiceEntry istio-system/cart-shop-global"),
            }),
        ),
    }
}
