//! A cluster whose API server nobody reaches but through a proxy: neither the provider nor the istiods that watch it.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use lab::tools::{self, Istio};
use lab::{Cluster, Lab, Options};
use serde_json::{Value, json};

use crate::links_topologies::synced;
use crate::support::cli::{Workspace, clis};
use crate::support::plugin_process::BINARY;

/// As the private network calls the API server: no resolver of this machine knows it.
const NAME: &str = "api.west.invalid";

const CONFIGURATION: &str = r#"
terraform {
  required_providers {
    mesh = { source = "terraform-provider-mesh/mesh" }
  }
}

variable "kubeconfigs" { type = map(string) }
variable "charts" { type = any }
variable "proxy" { type = string }

provider "mesh" {
  clusters = { for name, path in var.kubeconfigs : name => { config_path = path } }
  charts   = var.charts
}

resource "mesh_primary" "this" {
  for_each = toset(["east", "west"])
  cluster  = each.key
  mesh_id  = "mesh1"
}

resource "mesh_remote_cluster" "west" {
  cluster         = mesh_primary.this["west"].cluster
  watchers        = [mesh_primary.this["east"].cluster]
  server          = "https://api.west.invalid"
  tls_server_name = "localhost"
  proxy_url       = var.proxy
}
"#;

/// An HTTP proxy that connects one name to one address, and nothing else.
struct Proxy {
    url: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// First lines of requests.
    asked: Mutex<Vec<String>>,
    open: Mutex<Vec<TcpStream>>,
    closed: Mutex<bool>,
}

impl Proxy {
    fn start(target: String) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::<Shared>::default();
        let kept = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (target, kept) = (target.clone(), Arc::clone(&kept));
                thread::spawn(move || drop(serve(client, &target, &kept)));
            }
        });
        Proxy { url, shared }
    }

    fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// Cuts what is connected, and refuses what comes.
    fn close(&self, closed: bool) {
        *self.shared.closed.lock().unwrap() = closed;
        for stream in self.shared.open.lock().unwrap().drain(..).filter(|_| closed) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn serve(mut client: TcpStream, target: &str, shared: &Shared) -> std::io::Result<()> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
    shared.asked.lock().unwrap().push(line.clone());
    if *shared.closed.lock().unwrap() || line != format!("CONNECT {NAME}:443 HTTP/1.1") {
        return client.write_all(b"HTTP/1.1 503 Service Unavailable\r\n\r\n");
    }
    let mut server = TcpStream::connect(target)?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    shared.open.lock().unwrap().extend([client.try_clone()?, server.try_clone()?]);
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    let back = thread::spawn(move || {
        let _ = std::io::copy(&mut server, &mut client);
        let _ = client.shutdown(Shutdown::Write);
    });
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
    let _ = back.join();
    Ok(())
}

/// The cluster's kubeconfig with the address that the private network has, and the proxy.
fn kubeconfig(cluster: &Cluster, proxy: &str, file: &Path) {
    let config = cluster.kubectl(&["config", "view", "--raw", "--minify", "-o", "json"]).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    let cluster = &mut config["clusters"][0]["cluster"];
    cluster["server"] = json!(format!("https://{NAME}"));
    cluster["tls-server-name"] = json!("localhost");
    cluster["proxy-url"] = json!(proxy);
    std::fs::write(file, config.to_string()).unwrap();
}

#[test]
fn a_cluster_behind_a_proxy_is_made_linked_watched_and_left() {
    let Some(cli) = clis().into_iter().next() else { return };
    let lab = Lab::start(&["east", "west"], Options::default()).unwrap();
    let (east, west) = (lab.cluster("east"), lab.cluster("west"));
    let proxy = Proxy::start(west.server().trim_start_matches("https://").to_owned());
    let workspace = Workspace::overriding(&cli, "terraform-provider-mesh/mesh", Path::new(BINARY).parent().unwrap());
    workspace.configure(CONFIGURATION);
    let file = workspace.path("west.kubeconfig");
    kubeconfig(west, &proxy.url, &file);
    let variables = json!({
        "kubeconfigs": { "east": east.kubeconfig_path(), "west": file },
        "charts": { "directory": tools::charts(Istio::Current).unwrap().dir() },
        "proxy": proxy.url,
    });
    std::fs::write(workspace.path("lab.auto.tfvars.json"), variables.to_string()).unwrap();

    // Every name but the one that it is for would be refused.
    workspace.run(&["apply", "-auto-approve", "-input=false"]).ok();
    workspace.is_settled();
    synced(east, &["west"]);
    let asked = proxy.asked();
    assert!(asked.iter().all(|line| line.contains(NAME)) && asked.len() > 2, "{asked:?}");

    // istiod has the way by the proxy alone: what happens in west reaches it as long as the proxy is open.
    let before = proxy.asked().len();
    proxy.close(true);
    let tried = || proxy.asked().len() > before + 1;
    east.wait_until("istiod to try again", tried).unwrap();
    let plan = workspace.run(&["plan", "-detailed-exitcode", "-input=false"]);
    assert_eq!(plan.code, Some(0), "unreachable is not gone: {}{}", plan.stdout, plan.stderr);
    let said = plan.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("Cluster west cannot be read") && said.contains("the proxy"), "{said}");
    proxy.close(false);
    thread::sleep(Duration::from_secs(1));
    workspace.is_settled();
    synced(east, &["west"]);
    workspace.run(&["destroy", "-auto-approve", "-input=false"]).ok();
    assert!(west.get(&["namespace", "istio-system"]).unwrap().is_none());
}
