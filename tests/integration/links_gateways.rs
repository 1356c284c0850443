//! Addresses of `mesh_eastwest_gateway` of every kind: given late, never, as a name, two of them, and at nodes. One
//! cluster without an istiod is enough: its gateways' Pods are ready at once, and addresses come from the lab's load
//! balancer.

use std::sync::Arc;
use std::time::Instant;

use lab::tools::{self, Istio};
use serde_json::{Value as Json, json};
use terraform_provider_mesh::provider::Mesh;
use terraform_provider_mesh::resources::registry;
use terraform_provider_mesh::value::Path;

use crate::cluster_lab::lab_cluster;
use crate::support::core::{Action, Applied, Core, Stored};

pub const GATEWAY: &str = "mesh_eastwest_gateway";
const NAMESPACE: &str = "links-gateways";
/// On a Service: what the lab's load balancer gives it.
pub const LAB_ADDRESS: &str = "lab/address";
const NODE_SELECTOR: &str = "traffic.istio.io/nodeSelector";

struct Doors {
    core: Core,
    lab: Arc<lab::Cluster>,
}

impl Doors {
    async fn open() -> Option<Doors> {
        let lab = tokio::task::spawn_blocking(lab_cluster).await.unwrap()?;
        let charts = tools::charts(Istio::Current).expect("the charts can be unpacked");
        let provider = json!({
            "clusters": {"east": {"config_path": lab.kubeconfig_path()}},
            "charts": {"directory": charts.dir()},
        });
        let core = Core::new(Mesh, registry(), provider).await.expect("the provider can be configured");
        // Several tests may be the first at a time: whoever comes second is told that it exists.
        let _ = lab.kubectl(&["create", "namespace", NAMESPACE]);
        assert!(lab.get(&["namespace", NAMESPACE]).expect("kubectl").is_some());
        Some(Doors { core, lab })
    }

    async fn apply(&self, config: &Json, stored: Option<&Stored>) -> Applied {
        applied(&self.core, config, stored).await
    }

    async fn settled(&self, config: &Json, stored: Option<&Stored>) -> Stored {
        settled(&self.core, config, stored).await
    }

    async fn destroy(&self, stored: &Stored) {
        let planned = self.core.plan(GATEWAY, None, Some(stored)).await.expect("a plan");
        let gone = self.core.apply(GATEWAY, planned).await;
        assert!(gone.stored.is_none() && !gone.diagnostics.has_errors(), "{}", gone.diagnostics);
    }

    /// Someone else gives the Service what the lab's load balancer does not.
    fn status(&self, name: &str, status: Json) {
        let patch = json!({ "status": status }).to_string();
        let arguments =
            ["patch", "service", name, "-n", NAMESPACE, "--subresource=status", "--type=merge", "-p", &patch];
        self.lab.kubectl(&arguments).expect("a status");
    }
}

async fn applied(core: &Core, config: &Json, stored: Option<&Stored>) -> Applied {
    let planned = core.plan(GATEWAY, Some(config.clone()), stored).await.expect("a plan");
    core.apply(GATEWAY, planned).await
}

/// An apply, after which the next command of a user has nothing to do.
pub async fn settled(core: &Core, config: &Json, stored: Option<&Stored>) -> Stored {
    let Applied { stored, diagnostics } = applied(core, config, stored).await;
    assert!(!diagnostics.has_errors(), "{diagnostics}");
    let stored = stored.expect("a state");
    core.walk_anew().await;
    let stored = core.refresh(GATEWAY, &stored).await.expect("a refresh").expect("the gateway");
    let again = core.plan(GATEWAY, Some(config.clone()), Some(&stored)).await.expect("a plan");
    assert_eq!(again.action, Action::Nothing, "the second plan is not empty: {:?}", again.planned);
    stored
}

fn config(name: &str, service: Json) -> Json {
    json!({"cluster": "east", "namespace": NAMESPACE, "name": name, "network": "net-east", "service": service, "timeouts": {"create": "60s", "update": "60s"}})
}

fn balanced(name: &str, address: &str) -> Json {
    config(name, json!({"type": "LoadBalancer", "annotations": {LAB_ADDRESS: address}}))
}

/// `kind value port` of every address in state.
pub fn addresses(stored: &Stored) -> Vec<String> {
    let state: Json = serde_json::from_str(&stored.json).expect("JSON");
    let addresses = state["addresses"].as_array().cloned().unwrap_or_default();
    let text = |address: &Json, key: &str| address[key].as_str().unwrap_or_default().to_owned();
    addresses
        .iter()
        .map(|address| format!("{} {} {}", text(address, "kind"), text(address, "value"), address["port"]))
        .collect()
}

#[tokio::test]
async fn an_address_is_waited_for_and_told_whatever_its_kind() {
    let Some(doors) = Doors::open().await else { return };
    let begun = Instant::now();
    let (late, named) = (balanced("late", "ip after 4s"), balanced("named", "hostname"));
    let (late, named) = tokio::join!(doors.settled(&late, None), doors.settled(&named, None));
    assert!(begun.elapsed().as_secs() >= 4, "the address was waited for");
    let [late_address] = &addresses(&late)[..] else { panic!("{:?}", addresses(&late)) };
    assert!(late_address.starts_with("ipv4 10.") && late_address.ends_with(" 15443"), "{late_address}");
    let [name] = &addresses(&named)[..] else { panic!("{:?}", addresses(&named)) };
    assert!(name.starts_with("hostname lb-") && name.ends_with(".east.example.com 15443"), "{name}");

    // The balancer gives another address and one more: seen at refresh, and no reason to change anything.
    doors.status("late", json!({"loadBalancer": {"ingress": [{"ip": "198.51.100.8"}, {"ip": "198.51.100.7"}]}}));
    doors.core.walk_anew().await;
    let late = doors.core.refresh(GATEWAY, &late).await.expect("a refresh").expect("the gateway");
    assert_eq!(addresses(&late), ["ipv4 198.51.100.7 15443", "ipv4 198.51.100.8 15443"]);
    tokio::join!(doors.destroy(&late), doors.destroy(&named));
}

#[tokio::test]
async fn a_gateway_without_an_address_says_why_and_the_next_apply_goes_on() {
    let Some(doors) = Doors::open().await else { return };
    event(&doors.lab, "never");
    let impatient = |mut config: Json| {
        config["timeouts"] = json!({"create": "30s"});
        config
    };
    let never = impatient(balanced("never", "never"));
    let mut classy = impatient(balanced("classy", "ip"));
    classy["service"]["load_balancer_class"] = json!("example.com/nlb");
    let conditions = async {
        let made = || doors.lab.get(&["service", "classy", "-n", NAMESPACE]).is_ok_and(|service| service.is_some());
        while !made() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        let refused = json!({"type": "LoadBalancerReady", "status": "False", "reason": "QuotaExceeded",
            "message": "no address left in the project", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        doors.status("classy", json!({ "conditions": [refused] }));
    };
    let (without, other, ()) = tokio::join!(doors.apply(&never, None), doors.apply(&classy, None), conditions);

    explained(
        &without,
        &[
            "In cluster east, links-gateways/never",
            "the cluster's load balancer has given the Service no address",
            "MetalLB",
            "service.external_ips",
            "event on Service never: SyncLoadBalancerFailed: no address left in pool \"public\"",
            "terraform untaint",
        ],
    );
    explained(
        &other,
        &["class \"example.com/nlb\"", "LoadBalancerReady is False: QuotaExceeded no address left in the project"],
    );

    // What was made is in state. An untainted gateway is waited for again and not made anew.
    let reached = without.stored.expect("the objects that were made");
    assert!(reached.json.contains("Service links-gateways/never"), "{}", reached.json);
    assert_eq!(addresses(&reached), [""; 0]);
    let made = uid(&doors.lab, "never");
    doors.status("never", json!({"loadBalancer": {"ingress": [{"ip": "198.51.100.2"}, {"ip": "198.51.100.1"}]}}));
    doors.core.walk_anew().await;
    let stored = doors.settled(&never, Some(&Stored { tainted: false, ..reached })).await;
    assert_eq!(addresses(&stored), ["ipv4 198.51.100.1 15443", "ipv4 198.51.100.2 15443"]);
    assert_eq!(uid(&doors.lab, "never"), made, "the same Service");
    let other = other.stored.expect("the objects that were made");
    tokio::join!(doors.destroy(&stored), doors.destroy(&other));
}

#[tokio::test]
async fn node_ports_and_routed_addresses_are_told_with_their_ports() {
    let Some(doors) = Doors::open().await else { return };
    node(&doors.lab, "links-outer-1", "yes", Some("198.51.100.11"));
    node(&doors.lab, "links-outer-2", "yes", Some("198.51.100.12"));
    node(&doors.lab, "links-inner", "no", Some("198.51.100.13"));
    node(&doors.lab, "links-hidden", "hidden", None);
    let by_nodes = |name: &str, label: &str| {
        let selector = json!({"links-gateways": label}).to_string();
        config(name, json!({"type": "NodePort", "annotations": {NODE_SELECTOR: selector}}))
    };
    let routed = json!({"type": "ClusterIP", "external_ips": ["198.51.100.21"], "ports": {"tls": 443}});
    let (nodes, routed) = (by_nodes("nodes", "yes"), config("routed", routed));
    let mut hidden = by_nodes("hidden", "hidden");
    hidden["timeouts"] = json!({"create": "30s"});
    let (nodes, routed, hidden) =
        tokio::join!(doors.settled(&nodes, None), doors.settled(&routed, None), doors.apply(&hidden, None));
    let service = doors.lab.get(&["service", "nodes", "-n", NAMESPACE]).expect("kubectl").expect("the Service");
    let ports = service["spec"]["ports"].as_array().expect("ports");
    let tls = ports.iter().find(|port| port["port"] == 15443).expect("the port for peers")["nodePort"].to_string();
    assert_eq!(addresses(&nodes), [format!("ipv4 198.51.100.11 {tls}"), format!("ipv4 198.51.100.12 {tls}")]);
    assert_eq!(addresses(&routed), ["ipv4 198.51.100.21 443"]);
    explained(
        &hidden,
        &["no node that the node selector chooses has an external address", "kubectl get nodes -o wide"],
    );
    let hidden = hidden.stored.expect("the objects that were made");
    tokio::join!(doors.destroy(&nodes), doors.destroy(&routed), doors.destroy(&hidden));
    doors.lab.kubectl(&["delete", "nodes", "-l", "links-gateways"]).expect("kubectl");
}

/// The one error, at the Service, and these words in it.
#[track_caller]
fn explained(applied: &Applied, words: &[&str]) {
    let errors: Vec<_> = applied.diagnostics.iter().filter(|one| one.is_error()).collect();
    let [error] = &errors[..] else { panic!("one error expected: {}", applied.diagnostics) };
    assert_eq!((error.summary.as_str(), &error.path), ("The gateway has no address", &Some(Path::root("service"))));
    for word in words {
        assert!(error.detail.contains(word), "{word:?} is missing: {}", error.detail);
    }
}

fn uid(lab: &lab::Cluster, name: &str) -> Json {
    let service = lab.get(&["service", name, "-n", NAMESPACE]).expect("kubectl").expect("the Service");
    service["metadata"]["uid"].clone()
}

/// What a cloud's controller says when it has no address to give.
fn event(lab: &lab::Cluster, service: &str) {
    let about = json!({"apiVersion": "v1", "kind": "Service", "name": service, "namespace": NAMESPACE});
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": format!("{service}.1"), "namespace": NAMESPACE}, "type": "Warning",
        "reason": "SyncLoadBalancerFailed", "message": "no address left in pool \"public\"", "involvedObject": about,
    });
    lab.apply(&event.to_string()).expect("an Event");
}

/// A node on which nothing runs.
fn node(lab: &lab::Cluster, name: &str, label: &str, external: Option<&str>) {
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"links-gateways": label}},
        "spec": {"unschedulable": true}});
    lab.apply(&node.to_string()).expect("a Node");
    let mut addresses = vec![json!({"type": "InternalIP", "address": "10.1.1.1"})];
    addresses.extend(external.map(|external| json!({"type": "ExternalIP", "address": external})));
    let status = json!({"status": {"addresses": addresses}}).to_string();
    lab.kubectl(&["patch", "node", name, "--subresource=status", "--type=merge", "-p", &status]).expect("a status");
}
