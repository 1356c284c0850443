//! The shipped binary under the real terraform and tofu, without any cluster.

use std::fs;
use std::path::Path;

use crate::support::cli::{Workspace, clis, complaints};
use crate::support::plugin_process::BINARY;

const ADDRESS: &str = "registry.terraform.io/terraform-provider-mesh/mesh";

const USER: &str = r#"
resource "mesh_primary" "it" {
  cluster = "east"
  mesh_id = "mesh1"
  network = "net1"
}
"#;

fn configuration(body: &str) -> String {
    format!(
        "terraform {{\n  required_providers {{\n    mesh = {{\n      source = \"{ADDRESS}\"\n    }}\n  }}\n}}\n\n{body}\n"
    )
}

#[test]
fn schema_loads_by_override_without_a_complaint() {
    for cli in clis() {
        let workspace = Workspace::overriding(&cli, ADDRESS, Path::new(BINARY).parent().unwrap());
        workspace.configure(&configuration(""));
        let (said, log) = workspace.run_traced(&["providers", "schema", "-json"]);
        let schema = said.ok().json();
        let schema = &schema["provider_schemas"][ADDRESS];
        assert!(schema["provider"]["block"]["attributes"]["clusters"]["nested_type"].is_object(), "{schema}");
        assert!(schema["resource_schemas"]["mesh_primary"].is_object());
        assert!(schema["functions"]["sni"].is_object());
        assert_eq!(complaints(&log), Vec::<&str>::new(), "{}", cli.name);
        assert!(log.contains("tf_rpc=GetProviderSchema"), "our log lines do not arrive as such");
    }
}

#[test]
fn mirror_and_init_work_without_a_network() {
    let mirror = tempfile::tempdir().unwrap();
    let os_arch = format!(
        "{}_{}",
        if cfg!(target_os = "macos") { "darwin" } else { "linux" },
        if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
    );
    let place = mirror.path().join(ADDRESS).join(env!("CARGO_PKG_VERSION")).join(os_arch);
    fs::create_dir_all(&place).unwrap();
    std::os::unix::fs::symlink(BINARY, place.join(concat!("terraform-provider-mesh_v", env!("CARGO_PKG_VERSION"))))
        .unwrap();
    for cli in clis() {
        let workspace = Workspace::mirrored(&cli, mirror.path());
        workspace.configure(&configuration(""));
        workspace.run(&["init"]).ok();
        let (said, log) = workspace.run_traced(&["providers", "schema", "-json"]);
        assert!(said.ok().json()["provider_schemas"][ADDRESS].is_object());
        assert_eq!(complaints(&log), Vec::<&str>::new(), "{}", cli.name);
    }
}

#[test]
fn functions_answer_and_name_the_wrong_argument() {
    for cli in clis() {
        let workspace = Workspace::overriding(&cli, ADDRESS, Path::new(BINARY).parent().unwrap());
        workspace.configure(&configuration(
            r#"
output "sni" {
  value = provider::mesh::sni("cart.shop.svc.cluster.local", 8080)
}

output "subset" {
  value = provider::mesh::sni("cart.shop.svc.cluster.local", 80, "v2")
}

output "id" {
  value = provider::mesh::spiffe_id("west.example", "shop", "cart")
}

output "remote" {
  value = provider::mesh::parse_remote_secret(<<-EOT
    apiVersion: v1
    kind: Secret
    metadata:
      name: istio-remote-secret-west
    stringData:
      west: |
        apiVersion: v1
        kind: Config
        current-context: west
        clusters: [{name: west, cluster: {server: "https://west:6443"}}]
        contexts: [{name: west, context: {cluster: west, user: west}}]
        users: [{name: west, user: {token: abc}}]
  EOT
  )
}
"#,
        ));
        workspace.run(&["apply", "-auto-approve"]).ok();
        let outputs = workspace.run(&["output", "-json"]).ok().json();
        assert_eq!(outputs["sni"]["value"], "outbound_.8080_._.cart.shop.svc.cluster.local");
        assert_eq!(outputs["subset"]["value"], "outbound_.80_.v2_.cart.shop.svc.cluster.local");
        assert_eq!(outputs["id"]["value"], "spiffe://west.example/ns/shop/sa/cart");
        let remote = &outputs["remote"]["value"]["west"];
        assert_eq!((&remote["server"], &remote["credential"]), (&"https://west:6443".into(), &"token".into()));
        assert!(!outputs.to_string().contains("abc"), "the token is in the output");

        workspace.configure(&configuration("output \"sni\" {\n  value = provider::mesh::sni(\"*.local\", 80)\n}"));
        let said = workspace.run(&["plan"]);
        assert_ne!(said.code, Some(0));
        assert!(said.stderr.contains("host"), "{}", said.stderr);
    }
}

#[test]
fn bad_provider_configuration_is_an_error_at_the_attribute() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        (r#"east = { host = "" }"#.to_owned(), "host", "It is empty"),
        (r#"east = { host = "ftp://x" }"#.to_owned(), "host", "neither an https"),
        (r#""e/st" = { host = "https://x" }"#.to_owned(), "e/st", "not a valid cluster name"),
        (r#"east = { token = "abc" }"#.to_owned(), "east", "Nothing says where cluster"),
        (
            r#"east = { host = "https://x", token = "abc", exec = { command = "aws" } }"#.to_owned(),
            "exec",
            "Two credentials",
        ),
        (r#"east = { host = "https://x", token = "abc\n" }"#.to_owned(), "token", "trimspace()"),
        (r#"east = { host = "https://x", client_key = "abc" }"#.to_owned(), "client_key", "Incomplete credential"),
        (
            r#"east = { host = "https://x", cluster_ca_certificate = "LS0tLS1C" }"#.to_owned(),
            "cluster_ca_certificate",
            "base64decode()",
        ),
        (format!(r#"east = {{ config_path = "{}" }}"#, folder.path().display()), "config_path", "leads to a folder"),
        (r#"east = { config_path = "/x", config = "y" }"#.to_owned(), "config", "Two kubeconfigs"),
        (r#"east = { host = "https://x", config_context = "y" }"#.to_owned(), "config_context", "Context without"),
        (r#"east = { host = "https://x", proxy_url = "y" }"#.to_owned(), "proxy_url", "socks5://"),
    ];
    for cli in clis() {
        let workspace = Workspace::overriding(&cli, ADDRESS, Path::new(BINARY).parent().unwrap());
        for (cluster, attribute, text) in &cases {
            // The cores look at a provider's configuration only where something uses the provider.
            let body = format!("provider \"mesh\" {{\n  clusters = {{\n    {cluster}\n  }}\n}}\n\n{USER}");
            workspace.configure(&configuration(&body));
            let said = workspace.run(&["validate", "-json"]).json();
            let found = said["diagnostics"].as_array().unwrap().iter().any(|diagnostic| {
                let said = format!("{} {}", diagnostic["summary"], diagnostic["detail"]);
                diagnostic["severity"] == "error" && said.contains(text) && said.contains(attribute)
            });
            assert!(found, "{}: {cluster} should say {text:?} at {attribute}: {said:#}", cli.name);
        }
        workspace.configure(&configuration(&format!(
            "variable \"host\" {{}}\n\nprovider \"mesh\" {{\n  clusters = {{\n    east = {{ host = var.host, insecure = true }}\n  }}\n}}\n\n{USER}",
        )));
        workspace.run(&["validate"]).ok();
    }
}
