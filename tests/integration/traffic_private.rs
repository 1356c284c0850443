//! A private cluster whose API server its watcher reaches through the cluster's own gateway, and in no other way: the
//! module of the page, on real clusters.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use lab::tools::{self, Istio};
use lab::traffic::{RealPod, eventually};
use lab::{Cluster, Fault, Lab, Proxies};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::links_topologies::synced;
use crate::support::cli::{Said, Workspace, clis};
use crate::support::pages::blocks;
use crate::support::plugin_process::BINARY;
use crate::support::traffic::{SETTLED, door, injects, lab, passes, workload};

const PAGE: &str = include_str!("../../docs/guides/credentials.md");
const CART: u16 = 9000;
const ORDERS: u16 = 9001;
const NAME: &str = "kubernetes.default.svc";

#[test]
fn a_private_cluster_is_watched_and_called_through_its_own_gateway() {
    let Some(cli) = clis().into_iter().next() else { return };
    let Some(lab) = lab(&["east", "west"], Proxies::NetworkEach) else { return };
    let (east, west) = (lab.cluster("east"), lab.cluster("west"));
    let workspace =
        Workspace::overriding(&cli, "terraform-provider-mesh/mesh", std::path::Path::new(BINARY).parent().unwrap());
    let page = blocks(PAGE).into_iter().find(|block| block.text.contains("api_server = true")).expect("a module").text;
    // The provider runs where the watcher does: what it tries of the link goes the same way.
    let run = |arguments: &[&str]| -> Said {
        workspace.command(arguments).env("HTTPS_PROXY", east.way_out().expect("real pods")).output().unwrap().into()
    };
    std::fs::write(workspace.path("lab_override.tf"), of_the_lab(&lab)).unwrap();

    // Everybody may dial it unless somebody says who: refused before anything is made.
    let limit = "  service = { source_ranges = [\"203.0.113.0/24\"] } # from where Pods and istiods of east call\n";
    workspace.configure(&page.replace(limit, ""));
    let refused = run(&["plan", "-input=false"]);
    assert!(refused.stderr.contains("Nothing limits who dials the API server"), "{}{}", refused.stdout, refused.stderr);
    workspace.configure(&page);
    run(&["apply", "-auto-approve", "-input=false"]).ok();
    let plan = run(&["plan", "-detailed-exitcode", "-input=false"]);
    assert_eq!(plan.code, Some(0), "{}{}", plan.stdout, plan.stderr);
    synced(east, &["west"]);
    let address = door(west);
    assert_eq!(said_to_istiod(east, "west"), (format!("https://{address}"), NAME.to_owned()));

    let orders = workload(&lab, "orders", ORDERS, "east");
    let cart = workload(&lab, "cart", CART, "west");
    passes(&orders, &cart, CART);
    the_gateway_is_the_only_way(&orders, &cart, west, &address);

    // Nobody outside of west's network reaches the API server now but through the gateway: not this machine either. An
    // istiod that begins anew has nothing but what it reads there.
    west.fault(Fault::unreachable()).unwrap();
    assert!(west.kubectl(&["version"]).is_err(), "the API server is private");
    let before: Vec<String> = east.istiods().iter().map(|istiod| istiod.pod().to_owned()).collect();
    east.kubectl(&["delete", "pods", "-n", "istio-system", "-l", "app=istiod"]).unwrap();
    let anew = || east.istiods().iter().any(|istiod| !before.contains(&istiod.pod().to_owned()));
    east.wait_until("another istiod", anew).unwrap();
    east.wait_for_istiods(1).unwrap();
    east.wait_until("istiod to read west", || reads(east, "west")).unwrap();
    injects(east);
    let client = lab::traffic::Workload { ports: (80, ORDERS), ..lab::traffic::Workload::new("orders") };
    let orders = client.run_as("orders-2", east).unwrap();
    let answered = |answer: &std::io::Result<String>| answer.as_ref().is_ok_and(|who| who == "west/cart");
    eventually(SETTLED, || orders.talk(CART), answered).expect("a call by what the new istiod knows");
    west.clear_faults().unwrap();

    workspace.configure(&page.replace(", api_server = true", ""));
    run(&["apply", "-auto-approve", "-input=false"]).ok();
    let closed = |said: &std::io::Result<String>| said.is_err();
    eventually(SETTLED, || version(&orders, &address, NAME, west), closed).map(drop).unwrap_or_else(|said| {
        assert!(said.is_err(), "what is no longer exposed still answers: {said:?}");
    });
    workspace.configure(&page);
    run(&["destroy", "-auto-approve", "-input=false"]).ok();
}

/// What the lab has, and no page: kubeconfigs, charts, and API servers at loopback addresses.
fn of_the_lab(lab: &Lab) -> String {
    let config = |cluster: &Arc<Cluster>| {
        format!("    {} = {{ config_path = {:?} }}\n", cluster.name(), cluster.kubeconfig_path())
    };
    let clusters: String = lab.clusters().iter().map(config).collect();
    let charts = tools::charts(Istio::Current).unwrap().dir().display().to_string();
    format!(
        "provider \"mesh\" {{\n  charts = {{ directory = {charts:?} }}\n  clusters = {{\n{clusters}  }}\n}}\n\n\
         resource \"mesh_remote_cluster\" \"east\" {{\n  allow_loopback_server = true\n}}\n"
    )
}

/// Server and TLS server name of a remote secret.
fn said_to_istiod(watcher: &Arc<Cluster>, watched: &str) -> (String, String) {
    use base64::Engine;
    let name = format!("istio-remote-secret-{watched}");
    let secret = watcher.get(&["secret", &name, "-n", "istio-system"]).unwrap().expect("a remote secret");
    let data = secret["data"][watched].as_str().expect("a kubeconfig");
    let text = base64::engine::general_purpose::STANDARD.decode(data).unwrap();
    let text = String::from_utf8(text).unwrap();
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.trim().trim_start_matches("- ").strip_prefix(key));
        line.unwrap_or_default().trim().trim_matches('"').to_owned()
    };
    (value("server:"), value("tls-server-name:"))
}

/// Of the ways to west's API server that east's network could have, one is open, for one name.
fn the_gateway_is_the_only_way(orders: &RealPod, cart: &RealPod, west: &Arc<Cluster>, gateway: &str) {
    let own = west.inner_server();
    let said = version(cart, &own, NAME, west).expect("a Pod of west reaches its API server");
    assert!(said.contains("gitVersion"), "{said}");
    assert!(orders.connect(&own).is_err(), "a Pod of east reaches west's API server by its address");
    let said = version(orders, gateway, NAME, west).expect("the API server, by its own certificate");
    assert!(said.contains("gitVersion"), "{said}");
    for other in ["kubernetes", "kubernetes.default", "localhost", "istiod.istio-system.svc"] {
        let said = version(orders, gateway, other, west);
        assert!(said.is_err(), "{other} is let through: {said:?}");
    }
}

/// What the API server at an address says to nobody in particular, if it shows a certificate for this name.
fn version(from: &RealPod, address: &str, name: &str, of: &Arc<Cluster>) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(of.certificate_authority().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let server = ServerName::try_from(name.to_owned()).unwrap();
    let connection = ClientConnection::new(Arc::new(config), server).unwrap();
    let socket = from.connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut stream = StreamOwned::new(connection, socket);
    stream.write_all(format!("GET /version HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    Ok(said)
}

/// Whether the watcher's istiod says that it is in sync with the cluster.
fn reads(watcher: &Arc<Cluster>, watched: &str) -> bool {
    crate::links_topologies::remote_clusters(watcher)
        .lines()
        .any(|line| line.split_whitespace().next() == Some(watched) && line.contains("synced"))
}
