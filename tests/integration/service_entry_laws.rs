//! `mesh_service_entry` over its life, on two real API servers without istiods, driven by a core in process: what is
//! made, kept, found again, taken over and removed.

mod gone;

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use lab::tools::{self, Istio};
use lab::{Cluster, Fault, Lab, Options};
use serde_json::{Value as Json, json};
use terraform_provider_mesh::diag::Diagnostics;
use terraform_provider_mesh::provider::Mesh;
use terraform_provider_mesh::resources::registry;
use terraform_provider_mesh::value::{Dyn, Path};
use tokio::sync::{RwLock, RwLockReadGuard};

use crate::support::core::{Action, Applied, Core, Planned, Stored};

const ENTRY: &str = "mesh_service_entry";
/// What it is made of.
const KINDS: &str = "serviceentries,destinationrules,gateways.networking.istio.io,services";
const IDENTITY: &str = "spiffe://west.example/ns/shop/sa/cart";

/// The two clusters that all tests here share; each test has names of its own.
fn lab() -> &'static Lab {
    static LAB: OnceLock<Lab> = OnceLock::new();
    LAB.get_or_init(|| {
        let lab = Lab::start(&["east", "west"], Options { istiod: false, ..Options::default() }).expect("clusters");
        let charts = tools::charts(Istio::Current).expect("the charts");
        let definitions = charts.folder("base").join("files/crd-all.gen.yaml");
        for cluster in lab.clusters() {
            cluster.kubectl(&["create", "-f", &definitions.display().to_string()]).expect("definitions");
            cluster.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]).expect("definitions");
            for namespace in ["istio-system", "shop"] {
                cluster.kubectl(&["create", "namespace", namespace]).expect("a namespace");
            }
            let (own, other) = if cluster.name() == "east" { ("east", "west") } else { ("west", "east") };
            let settings = format!(
                "trustDomain: {own}.example\ntrustDomainAliases: [{other}.example]\n\
                 defaultConfig: {{proxyMetadata: {{ISTIO_META_DNS_CAPTURE: \"true\"}}}}"
            );
            cluster
                .kubectl(&[
                    "create",
                    "configmap",
                    "istio",
                    "-n",
                    "istio-system",
                    &format!("--from-literal=mesh={settings}"),
                ])
                .expect("the mesh's settings");
        }
        let door = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {
                "name": "istio-eastwestgateway", "namespace": "istio-system",
                "labels": { "topology.istio.io/network": "net-west" },
            },
            "spec": { "externalIPs": ["192.0.2.10"], "ports": [{ "name": "tls", "port": 15443 }] },
        });
        lab.cluster("west").apply(&door.to_string()).expect("a gateway");
        lab
    })
}

fn provider() -> Json {
    let path = |name: &str| lab().cluster(name).kubeconfig_path();
    json!({ "clusters": { "east": { "config_path": path("east") }, "west": { "config_path": path("west") } } })
}

/// Held by those who need the clusters as they are, and alone by who sets a fault: that drops the connections of all.
static FAULTS: RwLock<()> = RwLock::const_new(());

/// A core beside which no fault is set or cleared.
pub struct Undisturbed {
    core: Core,
    _turn: RwLockReadGuard<'static, ()>,
}

impl Deref for Undisturbed {
    type Target = Core;

    fn deref(&self) -> &Core {
        &self.core
    }
}

pub async fn core() -> Undisturbed {
    let turn = FAULTS.read().await;
    Undisturbed { core: new_core().await, _turn: turn }
}

/// Begins as every run of terraform does: nothing is held from the run before.
async fn new_core() -> Core {
    let provider = tokio::task::spawn_blocking(provider).await.expect("clusters");
    Core::new(Mesh, registry(), provider).await.expect("the provider can be configured")
}

pub fn east() -> &'static Arc<Cluster> {
    lab().cluster("east")
}

pub fn west() -> &'static Arc<Cluster> {
    lab().cluster("west")
}

/// Exported by west at an address that nobody is at: what is asked of west's API server alone is at issue here.
fn config(host: &str, more: Json) -> Json {
    let mut config = json!({
        "cluster": "east",
        "host": host,
        "ports": { "http": { "number": 8080 } },
        "exporters": { "west": exporter(json!({})) },
    });
    merge(&mut config, more);
    config
}

fn exporter(more: Json) -> Json {
    let mut exporter = json!({
        "cluster": "west", "namespace": "shop", "service": "cart", "service_accounts": ["cart"],
        "trust_domain": "west.example", "gateways": [{ "value": "192.0.2.10" }],
    });
    merge(&mut exporter, more);
    exporter
}

fn merge(into: &mut Json, more: Json) {
    let (Json::Object(into), Json::Object(more)) = (into, more) else { panic!("objects") };
    into.extend(more);
}

async fn plan(core: &Core, config: &Json, stored: Option<&Stored>) -> Planned {
    core.configure(provider()).await.expect("the provider can be configured");
    core.plan(ENTRY, Some(config.clone()), stored).await.unwrap_or_else(|errors| panic!("{errors}"))
}

async fn try_apply(core: &Core, config: &Json, stored: Option<&Stored>) -> (Option<Stored>, Diagnostics) {
    let planned = plan(core, config, stored).await;
    let Applied { stored, diagnostics } = core.apply(ENTRY, planned).await;
    (stored, diagnostics)
}

async fn apply(core: &Core, config: &Json, stored: Option<&Stored>) -> Stored {
    let (stored, diagnostics) = try_apply(core, config, stored).await;
    assert!(!diagnostics.has_errors(), "{diagnostics}");
    let stored = stored.expect("something was made");
    settled(core, config, &stored).await;
    stored
}

async fn settled(core: &Core, config: &Json, stored: &Stored) {
    let planned = plan(core, config, Some(stored)).await;
    let prior = planned.prior.as_ref().map(|prior| core.state(ENTRY, prior));
    assert_eq!(planned.action, Action::Nothing, "{prior:#?}\nbecomes\n{:#?}", planned.planned);
}

async fn destroy(core: &Core, stored: &Stored) {
    core.configure(provider()).await.expect("the provider can be configured");
    let planned = core.plan(ENTRY, None, Some(stored)).await.expect("a plan to destroy");
    let Applied { stored, diagnostics } = core.apply(ENTRY, planned).await;
    assert!(stored.is_none() && !diagnostics.has_errors(), "{diagnostics}");
}

/// The objects of one resource in a cluster, as `Kind name`, sorted.
fn owned(cluster: &Cluster, owner: &str) -> Vec<String> {
    let selector = format!("terraform-provider-mesh/owner={owner}");
    let list = cluster.get(&[KINDS, "-A", "-l", &selector]).expect("kubectl").unwrap_or_else(|| json!({ "items": [] }));
    let name = |object: &Json| format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"]));
    let mut names: Vec<String> = list["items"].as_array().expect("items").iter().map(name).collect();
    names.sort();
    names
}

fn text(value: &Json) -> &str {
    value.as_str().unwrap_or_default()
}

fn at(core: &Core, stored: &Stored, path: Path) -> Dyn {
    core.state(ENTRY, stored).at(&path).cloned().unwrap_or(Dyn::Null)
}

fn spec(cluster: &Cluster, kind: &str, namespace: &str, name: &str) -> Json {
    cluster.get(&[kind, name, "-n", namespace]).expect("kubectl").expect("the object")["spec"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_for_is_there_and_what_is_no_longer_asked_for_is_gone() {
    let core = core().await;
    let (host, name) = ("life.west.mesh", "life-west-mesh");
    let owner = format!("mesh_service_entry.{name}");
    let alias = json!({ "workload_labels": { "app": "cart" }, "expose": true });
    let everything = json!({
        "exported_host": "life.mesh",
        "ports": { "http": { "number": 80, "exporter_port": 8080, "target_port": 9080 }, "grpc": { "number": 90, "protocol": "GRPC" } },
        "exporters": { "west": exporter(alias.clone()) },
        "subsets": { "v2": {} }, "export_to": ["."], "outlier_detection": true, "addresses": ["240.1.1.1"],
    });
    let whole = config(host, everything.clone());
    let stored = apply(&core, &whole, None).await;
    assert_eq!(owned(east(), &owner), [format!("DestinationRule {name}"), format!("ServiceEntry {name}")]);
    assert_eq!(owned(west(), &owner), [format!("Gateway export-{name}"), format!("ServiceEntry export-{name}")]);
    assert_eq!(at(&core, &stored, Path::root("sni").key("http")).as_str(), Some("outbound_.8080_._.life.mesh"));
    assert_eq!(at(&core, &stored, Path::root("endpoints").key("grpc")).as_str(), Some("life.west.mesh:90"));

    // A Gateway that admits the name is enough where the Service has it.
    let plain = config(host, json!({ "exporters": { "west": exporter(json!({ "expose": true })) } }));
    let stored = apply(&core, &plain, Some(&stored)).await;
    assert_eq!(owned(west(), &owner), [format!("Gateway export-{name}")]);
    let rule = spec(east(), "destinationrule", "istio-system", name);
    assert_eq!(rule["trafficPolicy"]["tls"]["sni"], "outbound_.8080_._.cart.shop.svc.cluster.local");
    let entry = spec(east(), "serviceentry", "istio-system", name);
    assert!(entry.get("exportTo").is_none() && entry.get("addresses").is_none(), "{entry}");

    // Two ways to go, one of them not a cluster of ours.
    let north = exporter(json!({ "cluster": null, "trust_domain": "north.example", "locality": "eu/b", "weight": 20 }));
    let both = config(host, json!({ "exporters": { "west": exporter(json!({})), "north": north } }));
    let stored = apply(&core, &both, Some(&stored)).await;
    assert_eq!(owned(west(), &owner), [""; 0]);
    let entry = spec(east(), "serviceentry", "istio-system", name);
    assert_eq!(entry["endpoints"].as_array().expect("endpoints").len(), 2);
    assert_eq!(entry["subjectAltNames"], json!(["spiffe://north.example/ns/shop/sa/cart", IDENTITY]));

    // Another name for the objects is another resource; the host is not.
    let planned = plan(&core, &config("other.west.mesh", json!({})), Some(&stored)).await;
    assert_eq!((planned.action, planned.replace.len()), (Action::Update, 0));
    let renamed = config(host, json!({ "name": "life" }));
    assert_eq!(plan(&core, &renamed, Some(&stored)).await.action, Action::Replace);
    let stored = apply(&core, &renamed, Some(&stored)).await;
    assert_eq!(owned(east(), &owner), [""; 0]);
    assert_eq!(owned(east(), "mesh_service_entry.life"), ["DestinationRule life", "ServiceEntry life"]);
    destroy(&core, &stored).await;
    assert_eq!(owned(east(), "mesh_service_entry.life"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_change_is_seen_and_put_back() {
    let core = core().await;
    let (host, name) = ("drift.west.mesh", "drift-west-mesh");
    let alias = exporter(json!({ "workload_labels": { "app": "cart" }, "expose": true }));
    let config = config(host, json!({ "exported_host": "drift.mesh", "exporters": { "west": alias } }));
    let stored = apply(&core, &config, None).await;
    for (cluster, object, namespace, patch) in [
        (east(), format!("serviceentry/{name}"), "istio-system", json!({ "spec": { "location": "MESH_EXTERNAL" } })),
        (
            east(),
            format!("destinationrule/{name}"),
            "istio-system",
            json!({ "spec": { "trafficPolicy": { "tls": { "mode": "DISABLE" } } } }),
        ),
        (
            west(),
            format!("gateways.networking.istio.io/export-{name}"),
            "istio-system",
            json!({ "spec": { "selector": { "istio": "other" } } }),
        ),
        (
            west(),
            format!("serviceentry/export-{name}"),
            "shop",
            json!({ "spec": { "workloadSelector": { "labels": { "app": "other" } } } }),
        ),
    ] {
        cluster
            .kubectl(&["patch", &object, "-n", namespace, "--type=merge", "-p", &patch.to_string()])
            .expect("a patch");
        let planned = plan(&core, &config, Some(&stored)).await;
        assert_eq!(planned.action, Action::Update, "{object}");
        let forced = {
            let mut config = config.clone();
            merge(&mut config, json!({ "force_conflicts": true }));
            config
        };
        let repaired = apply(&core, &forced, Some(&stored)).await;
        apply(&core, &config, Some(&repaired)).await;

        cluster.kubectl(&["delete", &object, "-n", namespace]).expect("kubectl");
        assert_eq!(plan(&core, &config, Some(&stored)).await.action, Action::Update, "{object}");
        apply(&core, &config, Some(&stored)).await;
    }

    // All of it gone in the importing cluster, but not at the exporter: there is still something to remove.
    let delete = || {
        for object in [format!("serviceentry/{name}"), format!("destinationrule/{name}")] {
            east().kubectl(&["delete", &object, "-n", "istio-system"]).expect("kubectl");
        }
    };
    delete();
    assert_eq!(plan(&core, &config, Some(&stored)).await.action, Action::Update);
    destroy(&core, &stored).await;
    assert_eq!(owned(west(), &format!("mesh_service_entry.{name}")), [""; 0]);

    let unexposed = self::config(host, json!({}));
    let stored = apply(&core, &unexposed, None).await;
    delete();
    // Nothing of it is left but its Lease: it is still this one, and its objects are made anew.
    assert_eq!(plan(&core, &unexposed, Some(&stored)).await.action, Action::Update);
    let stored = apply(&core, &unexposed, Some(&stored)).await;
    destroy(&core, &stored).await;
    assert_eq!(owned(east(), &format!("mesh_service_entry.{name}")), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_someone_else_s_is_taken_over_on_request_only() {
    let core = core().await;
    let (host, name) = ("foreign.west.mesh", "foreign-west-mesh");
    east().apply(&hand_written(host, name, name)).expect("kubectl");
    let (stored, diagnostics) = try_apply(&core, &config(host, json!({})), None).await;
    let said = diagnostics.to_string();
    assert!(diagnostics.has_errors() && said.contains(name) && said.contains("adopt"), "{said}");
    let adopting = config(host, json!({ "adopt": true, "force_conflicts": true }));
    let stored = apply(&core, &adopting, stored.as_ref()).await;
    destroy(&core, &stored).await;
    assert_eq!(owned(east(), &format!("mesh_service_entry.{name}")), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_apply_that_stops_half_way_is_finished_by_the_next() {
    let _alone = FAULTS.write().await;
    let core = new_core().await;
    let (host, name) = ("halfway.west.mesh", "halfway-west-mesh");
    let owner = format!("mesh_service_entry.{name}");
    let config = config(host, json!({ "exporters": { "west": exporter(json!({ "expose": true })) } }));
    let planned = plan(&core, &config, None).await;
    east().fault(Fault::status(403).for_request("PATCH /apis/networking.istio.io")).expect("a fault");
    let Applied { stored: reached, diagnostics } = core.apply(ENTRY, planned).await;
    east().clear_faults().expect("no fault");
    assert!(diagnostics.has_errors(), "no object can be written to east");
    assert_eq!(owned(west(), &owner), [format!("Gateway export-{name}")], "the exporter comes first");
    let reached = reached.expect("what was reached is kept");
    assert!(reached.tainted || reached.json.contains("export-"), "{}", reached.json);
    let stored = apply(&core, &config, Some(&Stored { tainted: false, ..reached })).await;
    assert_eq!(owned(east(), &owner).len(), 2);
    destroy(&core, &stored).await;
    assert_eq!((owned(east(), &owner).len(), owned(west(), &owner).len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_for_dns_gives_the_entry_its_address() {
    let core = core().await;
    let host = "stub.shop.svc.cluster.local";
    let tcp = json!({ "tcp": { "number": 5432, "protocol": "TCP" } });
    let exporters = json!({ "west": exporter(json!({ "service": "stub" })) });
    let config = config(host, json!({ "stub_service": true, "ports": tcp, "exporters": exporters }));
    let stored = apply(&core, &config, None).await;
    let address = spec(east(), "service", "shop", "stub")["clusterIP"].clone();
    let entry = spec(east(), "serviceentry", "istio-system", "stub-shop-svc-cluster-local");
    assert_eq!(entry["addresses"], json!([address]));
    assert_eq!(at(&core, &stored, Path::root("stub_address")).as_str(), address.as_str());
    imports_to_nothing(&core, &config, "stub-shop-svc-cluster-local").await;
    destroy(&core, &stored).await;
    assert_eq!(owned(east(), "mesh_service_entry.stub-shop-svc-cluster-local"), [""; 0]);
}

/// The Lease, as a run that was cut off leaves it.
fn interrupt(name: &str) {
    let lease = format!("mesh-service-entry.{name}");
    let spec = json!({ "spec": { "holderIdentity": "interrupted" } }).to_string();
    let patch = ["-n", "istio-system", "patch", "lease", &lease, "--type=merge", "-p", &spec];
    east().kubectl(&patch).expect("kubectl");
}

/// An apply that was to add the Service for DNS, and was cut off when it had: no state knows of the Service, which is
/// in the namespace of the host.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_for_dns_that_no_state_knows_is_removed() {
    let core = core().await;
    let (host, name) = ("cutoff.shop.svc.cluster.local", "cutoff-shop-svc-cluster-local");
    let owner = format!("mesh_service_entry.{name}");
    let config = config(host, json!({ "exporters": { "west": exporter(json!({ "service": "cutoff" })) } }));
    let stray = |stored: &Stored| {
        let mark = at(&core, stored, Path::root("instance")).as_str().expect("a mark").to_owned();
        let metadata = json!({ "name": "cutoff", "namespace": "shop", "labels": { "terraform-provider-mesh/owner": owner },
            "annotations": { "terraform-provider-mesh/instance": mark } });
        let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": { "ports": [{ "port": 8080 }] } });
        let server_side = ["apply", "-f", "-", "--server-side", "--field-manager=terraform-provider-mesh"];
        east().run(lab::tools::Tool::Kubectl, &server_side, Some(&service.to_string())).expect("kubectl");
        interrupt(name);
    };
    let stored = apply(&core, &config, None).await;
    stray(&stored);
    let mut changed = config.clone();
    changed["ports"]["http"]["number"] = json!(8081);
    let stored = apply(&core, &changed, Some(&stored)).await;
    assert!(!owned(east(), &owner).contains(&"Service cutoff".to_owned()), "by the next apply");
    stray(&stored);
    destroy(&core, &stored).await;
    assert_eq!(owned(east(), &owner), [""; 0], "by a destroy");
}

/// Where a cluster both imports and exports, what one side has is no stray of the other: callers are not without the
/// service for a moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_exports_to_itself_keeps_both_sides() {
    let core = core().await;
    let (host, name) = ("itself.east.mesh", "itself-east-mesh");
    let here = json!({ "cluster": "east", "service": "itself", "trust_domain": "east.example", "expose": true, "workload_labels": { "app": "itself" } });
    let config = config(host, json!({ "exported_host": "itself.shop.mesh", "exporters": { "east": exporter(here) } }));
    let stored = apply(&core, &config, None).await;
    let uids = || {
        let selector = format!("terraform-provider-mesh/owner=mesh_service_entry.{name}");
        let kinds = "serviceentries,destinationrules,gateways.networking.istio.io";
        let found = east().kubectl(&["get", kinds, "-A", "-l", &selector, "-o", "jsonpath={.items[*].metadata.uid}"]);
        let mut uids: Vec<String> = found.expect("kubectl").split(' ').map(str::to_owned).collect();
        uids.sort();
        uids
    };
    let before = uids();
    assert_eq!(before.len(), 4, "{:?}", owned(east(), &format!("mesh_service_entry.{name}")));
    let refreshed = core.refresh(ENTRY, &stored).await.expect("a refresh").expect("it is there");
    settled(&core, &config, &refreshed).await;
    interrupt(name);
    let mut changed = config.clone();
    changed["exporters"]["east"]["service_accounts"] = json!(["cart", "itself"]);
    let stored = apply(&core, &changed, Some(&refreshed)).await;
    assert_eq!(uids(), before, "nothing was made anew");
    interrupt(name);
    destroy(&core, &stored).await;
    assert_eq!(owned(east(), &format!("mesh_service_entry.{name}")), [""; 0]);
}

/// By id and by identity: the plan after it is empty.
async fn imports_to_nothing(core: &Core, config: &Json, name: &str) -> Stored {
    core.configure(provider()).await.expect("the provider can be configured");
    let by_id =
        core.import(ENTRY, &format!("east/istio-system/{name}")).await.unwrap_or_else(|errors| panic!("{errors}"));
    let by_id = by_id.expect("it is there");
    settled(core, config, &by_id).await;
    let identity = json!({ "cluster": "east", "namespace": "istio-system", "name": name });
    let by_identity = core.import_by_identity(ENTRY, identity).await.unwrap_or_else(|errors| panic!("{errors}"));
    settled(core, config, &by_identity.expect("it is there")).await;
    by_id
}

/// As the recipes that people pass around write it.
fn hand_written(host: &str, entry: &str, rule: &str) -> String {
    json!({ "apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
            "metadata": { "name": entry, "namespace": "istio-system" },
            "spec": {
                "hosts": [host], "location": "MESH_INTERNAL", "resolution": "STATIC",
                "ports": [{ "number": 8080, "name": "http", "protocol": "HTTP" }],
                "endpoints": [{
                    "address": "192.0.2.10", "ports": { "http": 15443 }, "labels": { "security.istio.io/tlsMode": "istio" },
                }],
                "subjectAltNames": [IDENTITY],
            },
        },
        {
            "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
            "metadata": { "name": rule, "namespace": "istio-system" },
            "spec": { "host": host, "trafficPolicy": { "tls": {
                "mode": "ISTIO_MUTUAL", "sni": "outbound_.8080_._.cart.shop.svc.cluster.local", "subjectAltNames": [IDENTITY],
            } } },
        },
    ]})
    .to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hand_written_entry_and_rule_are_imported_and_the_plan_is_empty() {
    let core = core().await;
    // Who exports is found by the address of its gateway: the endpoint that is written is that of west's.
    let host = "hand.west.mesh";
    east().apply(&hand_written(host, "hand", "hand-mtls")).expect("kubectl");
    let config = config(host, json!({ "name": "hand" }));
    let stored = imports_to_nothing(&core, &config, "hand").await;
    assert_eq!(at(&core, &stored, Path::root("exported_host")).as_str(), Some("cart.shop.svc.cluster.local"));
    assert_eq!(at(&core, &stored, Path::root("destination_rule_name")).as_str(), Some("hand-mtls"));

    // A change takes it over where it may.
    let mut adopting = config.clone();
    merge(&mut adopting, json!({ "adopt": true, "force_conflicts": true, "outlier_detection": true }));
    let stored = apply(&core, &adopting, Some(&stored)).await;
    let rule = spec(east(), "destinationrule", "istio-system", "hand-mtls");
    assert!(rule["trafficPolicy"]["outlierDetection"].is_object(), "{rule}");
    destroy(&core, &stored).await;
    assert!(east().get(&["serviceentry", "hand", "-n", "istio-system"]).expect("kubectl").is_none());

    for (id, told) in [("east/hand", "cluster/namespace/name"), ("east/shop/nothing", "no ServiceEntry shop/nothing")] {
        let errors = core.import(ENTRY, id).await.expect_err(id);
        assert!(errors.to_string().contains(told), "{errors}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_made_here_is_imported_with_all_it_has() {
    let core = core().await;
    let (host, name) = ("back.west.mesh", "back-west-mesh");
    let gateways = json!([{ "value": "192.0.2.77", "port": 31443 }]);
    let alias = exporter(json!({
        "workload_labels": { "app": "cart" }, "expose": true, "namespace": "shop", "service": "back", "gateways": gateways,
        "locality": "eu/a", "weight": 50,
    }));
    let door = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": "another-door", "namespace": "istio-system", "labels": { "topology.istio.io/network": "net-west" } },
        "spec": { "externalIPs": ["192.0.2.77"], "ports": [{ "name": "tls", "port": 15443 }] },
    });
    west().apply(&door.to_string()).expect("kubectl");
    let config = config(
        host,
        json!({
            "exported_host": "back.mesh", "exporters": { "west": alias },
            "ports": { "http": { "number": 80, "exporter_port": 8080, "target_port": 9080 }, "grpc": { "number": 90, "protocol": "GRPC" } },
            "subsets": { "v2": {} }, "export_to": ["."], "outlier_detection": true, "addresses": ["240.1.1.1"],
        }),
    );
    let stored = apply(&core, &config, None).await;
    imports_to_nothing(&core, &config, name).await;
    destroy(&core, &stored).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_is_found_at_plan_and_at_refresh() {
    let core = core().await;
    let host = "found.shop.svc.cluster.local";
    let config = config(host, json!({ "exporters": { "west": exporter(json!({ "service": "found" })) } }));
    let planned = plan(&core, &config, None).await;
    let said = planned.warnings.to_string();
    for told in ["has no Service shop/found", "no gateway of cluster west admits", "exporters[\"west\"].service"] {
        assert!(said.to_lowercase().contains(&told.to_lowercase()), "{told:?} is missing: {said}");
    }
    let stored = apply(&core, &config, None).await;
    let findings = at(&core, &stored, Path::root("findings"));
    assert!(format!("{findings:?}").contains("has no Service shop/found"), "{findings:?}");

    let service = |cluster: &Cluster| {
        let spec = json!({ "selector": { "app": "found" }, "ports": [{ "name": "http", "port": 8080 }] });
        let metadata = json!({ "name": "found", "namespace": "shop" });
        cluster.apply(&json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec }).to_string())
    };
    service(west()).expect("kubectl");
    service(east()).expect("kubectl");
    core.configure(provider()).await.expect("the provider can be configured");
    let read = core.refresh(ENTRY, &stored).await.unwrap_or_else(|errors| panic!("{errors}")).expect("it is there");
    let findings = format!("{:?}", at(&core, &read, Path::root("findings")));
    assert!(!findings.contains("has no Service"), "{findings}");
    assert!(findings.contains("a Service shop/found of its own, which proxies prefer"), "{findings}");
    destroy(&core, &read).await;
}

/// The exporter is away: the plan says so and goes on, and so does the refresh.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exporter_that_cannot_be_read_stops_nothing_and_is_said() {
    let core = core().await;
    let nobody = json!({ "host": "https://127.0.0.1:1", "insecure": true });
    let mut provider = provider();
    provider["clusters"]["north"] = nobody;
    let north = json!({ "north": exporter(json!({ "cluster": "north" })) });
    let config = config("away.west.mesh", json!({ "exporters": north }));
    core.configure(provider.clone()).await.expect("the provider can be configured");
    let planned = core.plan(ENTRY, Some(config.clone()), None).await.unwrap_or_else(|errors| panic!("{errors}"));
    let said = planned.warnings.to_string();
    assert!(
        said.contains("The exporter north of away.west.mesh could not be checked")
            && said.contains("exporters[\"north\"]"),
        "{said}"
    );
    let Applied { stored, diagnostics } = core.apply(ENTRY, planned).await;
    assert!(!diagnostics.has_errors(), "{diagnostics}");
    let stored = stored.expect("it is made");
    core.configure(provider).await.expect("the provider can be configured");
    let planned = core.plan(ENTRY, Some(config), Some(&stored)).await.unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(planned.action, Action::Nothing);
    let planned = core.plan(ENTRY, None, Some(&stored)).await.expect("a plan to destroy");
    assert!(!core.apply(ENTRY, planned).await.diagnostics.has_errors());
}
