//! What several resources say together and contradict each other in, found by a plan at the attribute to change. No
//! cluster answers: the configuration is enough. Only what a plan sees of clusters themselves (ranges of Pod addresses,
//! gateways) needs them.

use std::time::{Duration, Instant};

use lab::ChartRepository;
use lab::tools::{self, Istio};
use serde_json::{Value as Json, json};
use terraform_provider_mesh::diag::Diagnostics;
use terraform_provider_mesh::provider::Mesh;
use terraform_provider_mesh::resources::registry;
use terraform_provider_mesh::value::{Dyn, Path};

use crate::cluster_lab::lab_cluster;
use crate::support::core::{Applied, Core, Planned, Stored, UNKNOWN};

/// Its type and its configuration.
type Resource = (&'static str, Json);

const PRIMARY: &str = "mesh_primary";
const REMOTE: &str = "mesh_remote_cluster";
const GATEWAY: &str = "mesh_eastwest_gateway";
const TWO_NAMES: &str = "One cluster under two names";

async fn core() -> Core {
    let charts = tools::charts(Istio::Current).expect("the charts can be unpacked");
    let nobody = json!({"host": "https://127.0.0.1:9", "token": "t"});
    let config = json!({
        "clusters": {"east": nobody, "west": nobody, "north": nobody},
        "charts": {"directory": charts.dir()},
    });
    let mut core = Core::new(Mesh, registry(), config).await.expect("the provider can be configured");
    core.one_walk = true;
    core
}

fn with(mut config: Json, more: Json) -> Json {
    let more = more.as_object().expect("an object").clone();
    config.as_object_mut().expect("an object").extend(more);
    config
}

fn primary(cluster: &str, more: Json) -> Resource {
    let usual = json!({
        "cluster": cluster, "mesh_id": "mesh1", "network": format!("net-{cluster}"), "trust_root": "a".repeat(64),
    });
    (PRIMARY, with(usual, more))
}

fn remote(cluster: &str, watchers: &[&str], more: Json) -> Resource {
    (REMOTE, with(json!({"cluster": cluster, "watchers": watchers, "allow_loopback_server": true}), more))
}

fn gateway(cluster: &str, more: Json) -> Resource {
    let usual = json!({"cluster": cluster, "network": format!("net-{cluster}"), "expose": {"services": true}});
    (GATEWAY, with(usual, more))
}

/// Plans all of them in this order; what the last plan says.
async fn last(resources: &[Resource]) -> Result<Planned, Diagnostics> {
    let core = core().await;
    core.ask_side_by_side().await;
    let ((type_name, config), before) = resources.split_last().expect("at least one resource");
    for (type_name, config) in before {
        let planned = core.plan(type_name, Some(config.clone()), None).await;
        planned.unwrap_or_else(|error| panic!("{config}: {error}"));
    }
    core.plan(type_name, Some(config.clone()), None).await
}

/// `path: summary`, of errors or else of warnings.
async fn findings(resources: &[Resource]) -> Vec<String> {
    let found = match last(resources).await {
        Ok(planned) => planned.warnings,
        Err(errors) => errors,
    };
    let path = |path: &Option<Path>| path.clone().unwrap_or_else(Path::empty);
    found
        .iter()
        .map(|one| format!("{} {}: {}", if one.is_error() { "error" } else { "warning" }, path(&one.path), one.summary))
        .collect()
}

/// What comes so long after the first plan comes before a plan that waits for others takes their silence for the end.
pub const IN_TIME: Duration = Duration::from_millis(250);

/// The first round that kept its times. Where the machine held it up, the core was silent for as long as it is at the
/// end of a walk, and a plan rightly goes on without the rest.
pub async fn kept<T>(mut round: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..20 {
        if let Some(found) = round().await {
            return found;
        }
    }
    panic!("no round of twenty kept its times");
}

/// A gateway that refers to nothing of its control plane may be planned before it: its charts follow all the same.
#[tokio::test]
async fn charts_follow_the_control_plane_in_whatever_order_the_core_plans() {
    let charts = ChartRepository::start().expect("a chart repository");
    let core = core().await;
    let nobody = json!({"host": "https://127.0.0.1:9", "token": "t"});
    let configure = async || {
        let config = json!({"clusters": {"east": nobody, "west": nobody}, "charts": {"repository": charts.url()}});
        core.configure(config).await.expect("the provider can be configured");
    };
    let control_plane = primary("east", json!({"istio_version": "1.30.0"})).1;
    let (_, door) = gateway("east", json!({}));
    let after = Duration::from_millis(150);
    for (gateway_after, primary_after) in [(after, Duration::ZERO), (Duration::ZERO, after)] {
        let planned = kept(async || {
            configure().await;
            let begun = Instant::now();
            let planned = async {
                tokio::time::sleep(gateway_after).await;
                let in_time = begun.elapsed() < IN_TIME;
                (core.plan(GATEWAY, Some(door.clone()), None).await.expect("a plan"), in_time)
            };
            let control_plane = async {
                tokio::time::sleep(primary_after).await;
                let in_time = begun.elapsed() < IN_TIME;
                core.plan(PRIMARY, Some(control_plane.clone()), None).await.expect("a plan");
                in_time
            };
            let ((planned, in_time), other_in_time) = tokio::join!(planned, control_plane);
            (in_time && other_in_time).then_some(planned)
        });
        let planned = planned.await;
        let version = format!("{:?}", planned.at(Path::root("chart_version")));
        assert!(version.contains("1.30.0"), "the gateway comes {gateway_after:?} after: {version}");
    }
}

#[tokio::test]
async fn control_planes_that_wait_for_each_other_are_told() {
    let after = |cluster: &str, first: &[&str]| primary(cluster, json!({"rollout": {"after": first}}));
    let circle = [after("east", &["north"]), after("north", &["west"]), after("west", &["east"])];
    assert_eq!(findings(&circle).await, ["error rollout.after: Control planes wait for each other"]);
    let said = last(&circle).await.expect_err("an error").to_string();
    assert!(said.contains("west comes after east comes after north comes after west"), "{said}");
    let row = [primary("east", json!({})), after("north", &["east"]), after("west", &["east", "north"])];
    assert_eq!(findings(&row).await, [""; 0]);
}

#[tokio::test]
async fn mesh_configurations_that_differ_are_told_by_the_values_that_charts_make_of_them() {
    let values =
        |mode: &str| json!({"values": [json!({"meshConfig": {"outboundTrafficPolicy": {"mode": mode}}}).to_string()]});
    let mesh = |east: Json, west: Json| {
        [
            primary("east", east),
            gateway("east", json!({})),
            primary("west", west),
            gateway("west", json!({})),
            remote("east", &["west"], json!({})),
        ]
    };
    let told = |found: Vec<String>| -> Vec<String> {
        found.into_iter().filter(|one| one.contains("configured differently")).collect()
    };
    let unlike = told(findings(&mesh(values("REGISTRY_ONLY"), json!({}))).await);
    assert_eq!(unlike, ["warning watchers: Control planes of one mesh are configured differently"]);
    // What is said in one and is the chart's own in the other is the same.
    assert_eq!(told(findings(&mesh(values("ALLOW_ANY"), json!({}))).await), [""; 0]);
    assert_eq!(told(findings(&mesh(values("REGISTRY_ONLY"), values("REGISTRY_ONLY"))).await), [""; 0]);
}

#[tokio::test]
async fn resources_that_contradict_each_other_are_told_at_the_attribute() {
    let root = |digit: &str| json!({"trust_root": digit.repeat(64)});
    let served = json!({"mode": "remote", "control_plane_address": "192.0.2.9", "network": "net-west"});
    let none: [&str; 0] = [];
    let cases: [(&[Resource], &[&str]); 18] = [
        (
            &[
                primary("east", json!({})),
                primary("west", json!({})),
                gateway("east", json!({})),
                remote("east", &["west"], json!({})),
            ],
            &none,
        ),
        (
            &[primary("east", json!({})), primary("west", json!({"cluster_name": "east"}))],
            &["error cluster_name: Two clusters of one name"],
        ),
        (
            &[primary("east", json!({})), remote("west", &["east"], json!({"cluster_name": "east"}))],
            &["error cluster_name: Two clusters of one name"],
        ),
        (
            &[
                primary("east", json!({"cluster_name": "one", "mesh_id": "a"})),
                primary("west", json!({"cluster_name": "one", "mesh_id": "b"})),
            ],
            &none,
        ),
        (
            &[primary("east", json!({"cluster_name": "prod-east"})), remote("east", &["west"], json!({}))],
            &["error cluster_name: Two names for one cluster"],
        ),
        (&[remote("east", &["east", "west"], json!({}))], &["error watchers: A cluster cannot watch itself"]),
        (&[remote("east", &["south"], json!({}))], &["error watchers: No such cluster"]),
        (
            &[
                remote("east", &["west"], json!({})),
                remote("east", &["west", "north"], json!({"namespace": "istio-2"})),
            ],
            &none,
        ),
        (
            &[primary("east", root("a")), primary("west", root("b")), remote("east", &["west"], json!({}))],
            &["error watchers: Linked clusters trust different roots"],
        ),
        (
            &[
                primary("east", json!({})),
                primary("west", json!({"mesh_id": "mesh2"})),
                remote("east", &["west"], json!({})),
            ],
            &["error watchers: Linked clusters belong to different meshes"],
        ),
        (
            &[
                primary("east", json!({})),
                primary("west", json!({"namespace": "istio-2"})),
                remote("east", &["west"], json!({})),
            ],
            &["error namespace: Istio is in different namespaces"],
        ),
        (
            &[primary("east", json!({})), remote("west", &["east"], served.clone())],
            &["error control_plane: The control plane serves no remotes"],
        ),
        (
            &[
                primary("east", json!({"external_istiod": true})),
                primary("west", json!({})),
                remote("west", &["east"], served.clone()),
            ],
            &["error mode: A remote with a control plane of its own"],
        ),
        (
            &[
                primary("east", json!({"external_istiod": true})),
                remote("west", &["north"], with(served.clone(), json!({"control_plane": "east"}))),
            ],
            &["error watchers: The control plane does not watch its remote"],
        ),
        (
            &[
                primary("east", json!({"external_istiod": true, "revision": "stable"})),
                remote("west", &["east"], with(served.clone(), json!({"revision": "canary"}))),
            ],
            &["warning revision: No control plane of this revision is known"],
        ),
        (
            &[primary("east", json!({"revision": "stable"})), gateway("east", json!({"revision": "canary"}))],
            &["warning revision: No control plane of this revision is known"],
        ),
        (&[primary("east", json!({"revision": "stable", "tags": ["default"]})), gateway("east", json!({}))], &none),
        (&[gateway("south", json!({}))], &["error cluster: No such cluster"]),
    ];
    for (resources, wanted) in cases {
        assert_eq!(findings(resources).await, *wanted, "{resources:?}");
    }
}

/// First plans that could not work, each beside the one that can.
#[tokio::test]
async fn first_plans_that_cannot_work_are_told() {
    let none: [&str; 0] = [];
    let unrooted = |cluster: &str, more: Json| primary(cluster, with(json!({"trust_root": null}), more));
    let domain = |cluster: &str, aliases: Json| {
        primary(cluster, json!({"trust_domain": format!("mesh.{cluster}"), "trust_domain_aliases": aliases}))
    };
    let off = |cluster: &str| unrooted(cluster, json!({"network": "net1", "mtls": "off"}));
    let ambient = |cluster: &str| primary(cluster, json!({"ambient": true}));
    let (door, link) = (gateway("east", json!({})), remote("east", &["west"], json!({})));
    let ca = |store: &str, clusters: Json| {
        let store = json!({"cluster": "north", "namespace": "root", "name": store});
        ("mesh_ca", json!({"root": {"store": store}, "clusters": clusters}))
    };
    let cases: [(&[Resource], &[&str]); 16] = [
        (
            &[unrooted("east", json!({})), unrooted("west", json!({})), door.clone(), link.clone()],
            &["warning watchers: east and west may trust different roots"],
        ),
        (
            &[
                ca("one", json!({"east": {}, "west": {}})),
                unrooted("east", json!({})),
                unrooted("west", json!({})),
                door.clone(),
                link.clone(),
            ],
            &none,
        ),
        (&[off("east"), off("west"), link.clone()], &none),
        (
            &[off("east"), primary("west", json!({"network": "net1"})), link.clone()],
            &["error watchers: Linked clusters differ in mTLS"],
        ),
        (
            &[off("east"), unrooted("west", json!({"mtls": "off"})), link.clone()],
            &["error watchers: Calls between networks need mTLS"],
        ),
        (
            &[domain("east", json!(null)), domain("west", json!(null)), door.clone(), link.clone()],
            &["error watchers: Linked clusters do not accept each other's trust domain"],
        ),
        (
            &[domain("east", json!(["mesh.west"])), domain("west", json!(["mesh.east"])), door.clone(), link.clone()],
            &none,
        ),
        (
            &[ambient("east"), primary("west", json!({})), door.clone(), link.clone()],
            &["warning watchers: Ambient mode at one end of a link"],
        ),
        (
            &[primary("east", json!({})), gateway("east", json!({"ambient": true, "expose": null}))],
            &["error ambient: No ambient control plane serves this gateway"],
        ),
        (&[ambient("east"), gateway("east", json!({"ambient": true, "expose": null}))], &none),
        (
            &[gateway("east", json!({"expose": null}))],
            &["warning expose: Gateway istio-eastwestgateway of east lets nothing through"],
        ),
        (&[gateway("east", json!({"cluster_domain": "corp.example"}))], &none),
        (
            &[gateway(
                "east",
                json!({"cluster_domain": "corp.example", "expose": {"services": true, "hosts": ["*.local"]}}),
            )],
            &["warning expose.hosts[0]: No Service of this cluster has this name"],
        ),
        (
            &[primary("east", json!({})), primary("east", json!({"mesh_id": "mesh2", "network": "n2"}))],
            &["error revision: Two blocks for east/istio-system/istiod"],
        ),
        (&[ca("one", json!({"east": {}})), ca("one", json!({"west": {}}))], &["error root: Two CAs with one store"]),
        (&[ca("one", json!({"east": {}})), ca("two", json!({"west": {}}))], &none),
    ];
    for (resources, wanted) in cases {
        assert_eq!(findings(resources).await, *wanted, "{resources:?}");
    }
}

/// A folder is what it is: another version that is asked for there is an error, and never silence.
#[tokio::test]
async fn a_folder_of_another_version_than_asked_for_is_named() {
    let charts = tools::charts(Istio::Current).expect("the charts can be unpacked");
    let folder = charts.dir().display().to_string();
    let asking = |version: &str| json!({"charts": {"directory": charts.dir(), "version": version}});
    for (resource, path) in [
        (primary("east", asking("1.29.9")), "charts.version"),
        (gateway("east", asking("1.29.9")), "charts.version"),
        (primary("east", json!({"istio_version": "1.29.9"})), "istio_version"),
    ] {
        let refused = last(&[resource]).await.expect_err("another version");
        let shown: Vec<String> =
            refused.iter().map(|one| format!("{}: {}", one.path.clone().unwrap_or_default(), one.summary)).collect();
        assert_eq!(shown, [format!("{path}: No charts of this version")]);
        let text = refused.to_string();
        assert!([folder.as_str(), "1.29.9", charts.version()].iter().all(|word| text.contains(word)), "{text}");
    }
    assert_eq!(findings(&[primary("east", asking(charts.version()))]).await, [""; 0]);
}

#[tokio::test]
async fn versions_far_apart_are_pointed_at() {
    let old = tools::charts(Istio::Old).expect("the charts can be unpacked");
    let older = tempfile::tempdir().expect("a folder");
    for chart in ["base", "istiod"] {
        let copied = std::process::Command::new("cp").arg("-r").arg(old.folder(chart)).arg(older.path()).status();
        assert!(copied.expect("cp").success());
        let file = older.path().join(chart).join("Chart.yaml");
        let text = std::fs::read_to_string(&file).expect("the chart");
        std::fs::write(&file, text.replace(old.version(), "1.29.4")).expect("the chart");
    }
    let of = |charts: &std::path::Path| {
        let west = primary("west", json!({"charts": {"directory": charts}}));
        [primary("east", json!({})), west, gateway("east", json!({})), remote("east", &["west"], json!({}))]
    };
    assert_eq!(findings(&of(old.dir())).await, [""; 0], "one minor version apart is what Istio tests");
    let apart = ["warning watchers: Linked control planes are far apart in version"];
    assert_eq!(findings(&of(older.path())).await, apart);
}

#[tokio::test]
async fn an_address_that_means_another_machine_to_each_watcher_is_refused() {
    let own = remote("east", &["west"], json!({"allow_loopback_server": false}));
    assert_eq!(
        findings(&[own]).await,
        ["error server: Watchers cannot use this address"],
        "the provider's own address"
    );
    let given = remote("east", &["west"], json!({"allow_loopback_server": false, "server": "https://localhost:6443"}));
    assert_eq!(findings(std::slice::from_ref(&given)).await, ["error server: Watchers cannot use this address"]);
    let told = last(&[given]).await.expect_err("refused").to_string();
    for word in ["loopback", "istiod Pod itself"] {
        assert!(told.contains(word), "{word} is missing: {told}");
    }
}

/// A lifetime alone is enough, and what is not known yet is no contradiction.
#[tokio::test]
async fn what_is_left_open_is_filled_in() {
    let short = remote("east", &["west"], json!({"token": {"lifetime": "24h"}}));
    let planned = last(&[short]).await.expect("a plan");
    let token = planned.planned.at(&Path::root("tokens").key("west").attr("condition"));
    assert_eq!(token, Some(&Dyn::from("valid")), "the plan says that a token will be made");
    let open = [primary("east", json!({})), remote("east", &["west"], json!({"cluster_name": UNKNOWN}))];
    assert_eq!(findings(&open).await, [""; 0]);
}

/// One API server under two names is enough to see what a plan makes of nodes and gateways.
#[tokio::test]
async fn overlapping_pod_ranges_and_networks_without_a_gateway_are_pointed_at() {
    const NAMESPACE: &str = "links-plan";
    let Some(lab) = tokio::task::spawn_blocking(lab_cluster).await.unwrap() else { return };
    let core = core().await;
    let configure = async || {
        let cluster = json!({"config_path": lab.kubeconfig_path()});
        let charts = tools::charts(Istio::Current).expect("the charts can be unpacked");
        let config = json!({"clusters": {"east": cluster, "west": cluster}, "charts": {"directory": charts.dir()}});
        core.configure(config).await.expect("the provider can be configured");
        core.ask_side_by_side().await;
    };
    let link = remote("west", &["east"], json!({"namespace": NAMESPACE, "wait": false})).1;
    let planned = async |networks: [Json; 2], stored: Option<&Stored>| {
        configure().await;
        for (cluster, network) in ["east", "west"].into_iter().zip(networks) {
            let (_, config) = primary(cluster, json!({"namespace": NAMESPACE, "network": network}));
            core.plan(PRIMARY, Some(config), None).await.expect("a plan");
        }
        core.plan(REMOTE, Some(link.clone()), stored).await.expect("a plan")
    };
    let networks = |east: &str, west: &str| [json!(east), json!(west)];
    // East and west are one cluster here, which every plan may say.
    let two_names = |planned: &Planned| planned.warnings.iter().any(|one| one.summary == TWO_NAMES);
    let warnings = |planned: &Planned| -> Vec<String> {
        planned
            .warnings
            .iter()
            .filter(|one| one.summary != TWO_NAMES)
            .map(|one| format!("{}: {}", one.path.clone().unwrap_or_default(), one.summary))
            .collect()
    };
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "links-plan"},
        "spec": {"unschedulable": true, "podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24"]}});
    lab.kubectl(&["create", "namespace", NAMESPACE]).expect("a namespace");
    lab.apply(&node.to_string()).expect("a Node");

    let first = planned(networks("net1", "net1"), None).await;
    assert!(two_names(&first), "{}", first.warnings);
    assert_eq!(warnings(&first), ["watchers: Pods of west and east may have the same addresses"]);
    assert!(first.warnings.to_string().contains("node links-plan in west assigns Pod addresses from 10.244.1.0/24"));
    let nowhere = planned([Json::Null, Json::Null], None).await;
    assert_eq!(warnings(&nowhere), ["watchers: Pods of west and east may have the same addresses"]);
    let half = planned([json!("net1"), Json::Null], None).await;
    assert_eq!(warnings(&half), ["watchers: Only one end of a link names a network"]);
    assert!(half.warnings.to_string().contains("east is in network net1, and west names no network"));
    let alone = planned(networks("net-east", "net-west"), None).await;
    assert_eq!(warnings(&alone), ["cluster: No gateway leads to west"], "nobody plans one");
    // What comes beside the link, in whatever order the core asks, is waited for.
    let door = gateway("west", json!({"namespace": NAMESPACE})).1;
    let beside = kept(async || {
        configure().await;
        for cluster in ["east", "west"] {
            let (_, config) = primary(cluster, json!({"namespace": NAMESPACE}));
            core.plan(PRIMARY, Some(config), None).await.expect("a plan");
        }
        let begun = Instant::now();
        let late = async {
            tokio::time::sleep(Duration::from_millis(150)).await;
            let in_time = begun.elapsed() < IN_TIME;
            core.plan(GATEWAY, Some(door.clone()), None).await.expect("a plan");
            in_time
        };
        let (beside, in_time) = tokio::join!(core.plan(REMOTE, Some(link.clone()), None), late);
        in_time.then_some(beside)
    });
    let beside = beside.await;
    assert_eq!(warnings(&beside.expect("a plan")), [""; 0], "the gateway comes after the link");

    let Applied { stored, diagnostics } = core.apply(REMOTE, first).await;
    assert!(!diagnostics.has_errors(), "{diagnostics}");
    let stored = stored.expect("a state");
    assert_eq!(
        warnings(&planned(networks("net1", "net1"), Some(&stored)).await),
        [""; 0],
        "told when the link was planned"
    );
    let closed = planned(networks("net-east", "net-west"), Some(&stored)).await;
    assert_eq!(warnings(&closed), ["cluster: No gateway leads to west"]);
    for word in ["Network net-west (clusters west)", "network = \"net-west\"", "expose = { services = true }"] {
        assert!(closed.warnings.to_string().contains(word), "{word} is missing: {}", closed.warnings);
    }
    let door = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "by-hand", "namespace": NAMESPACE, "labels": {"topology.istio.io/network": "net-west"}},
        "spec": {"ports": [{"name": "tls", "port": 15443}]}});
    lab.apply(&door.to_string()).expect("a Service");
    assert_eq!(
        warnings(&planned(networks("net-east", "net-west"), Some(&stored)).await),
        [""; 0],
        "someone else's gateway will do"
    );

    // A copy of the block replaces nothing, though its configuration is the same to a letter.
    planned(networks("net1", "net1"), Some(&stored)).await;
    let copy = core.plan(REMOTE, Some(link.clone()), None).await.expect_err("two blocks").to_string();
    assert!(copy.contains("Two blocks for west/links-plan/west"), "{copy}");

    configure().await;
    let gone = core.plan(REMOTE, None, Some(&stored)).await.expect("a plan");
    let gone = core.apply(REMOTE, gone).await;
    assert!(gone.stored.is_none(), "{}", gone.diagnostics);
    lab.kubectl(&["delete", "node", "links-plan"]).expect("kubectl");
    lab.kubectl(&["delete", "namespace", NAMESPACE, "--wait=false"]).expect("kubectl");
}
