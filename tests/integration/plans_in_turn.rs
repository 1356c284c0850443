//! A plan does not depend on the order in which the core asks, nor on how much it asks for at once: with
//! `-parallelism=1` no resource sees what comes after it, however long it waits.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lab::tools::{self, Istio};
use lab::{ChartRepository, Lab, Options};
use serde_json::{Value as Json, json};
use terraform_provider_mesh::provider::Mesh;
use terraform_provider_mesh::resources::registry;
use terraform_provider_mesh::value::Path as Attribute;

use crate::links_plan::{IN_TIME, kept};
use crate::support::cli::{Cli, Workspace, clis};
use crate::support::core::Core;
use crate::support::plugin_process::BINARY;

const ADDRESS: &str = "terraform-provider-mesh/mesh";
const USUAL: [&str; 2] = ["east", "west"];
/// Examples that need other clusters.
const CLUSTERS: [(&str, &[&str]); 6] = [
    ("external-control-plane", &["hub", "east", "west"]),
    ("primary-remote-one-network", &["primary", "remote"]),
    ("primary-remote-two-networks", &["primary", "remote"]),
    ("intersecting-networks", &["east", "north", "west"]),
    ("regional", &["east", "north", "west"]),
    ("upgrade-in-waves", &["east", "north", "west"]),
];
/// What they import is in clusters alone.
const NEED_CLUSTERS: [&str; 1] = ["adoption"];

/// One empty cluster stands for all: what a plan says is then about the configuration alone.
#[test]
fn every_example_is_planned_alike_one_after_the_other_and_side_by_side() {
    let lab = Lab::start(&["east"], Options::default()).expect("a cluster");
    let charts = ChartRepository::start().expect("a chart repository");
    let given = Given { kubeconfig: &lab.cluster("east").kubeconfig_path(), charts: &charts };
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut names: Vec<String> = fs::read_dir(&folder)
        .expect("the examples")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| !NEED_CLUSTERS.contains(&name.as_str()) && has_several(&folder.join(name)))
        .collect();
    names.sort();
    assert!(names.len() > 10, "{names:?}");
    for cli in clis() {
        for name in &names {
            let workspace = workspace(&cli, &folder.join(name), name, given);
            let beside = Plan::of(&workspace, 10);
            for _ in 0..2 {
                let in_turn = Plan::of(&workspace, 1);
                assert_eq!(in_turn.warnings, beside.warnings, "{name} by {}", cli.name);
                for (address, change) in &beside.changes {
                    assert_eq!(in_turn.changes.get(address), Some(change), "{name} by {}: {address}", cli.name);
                }
                assert_eq!(in_turn.changes.len(), beside.changes.len(), "{name} by {}", cli.name);
            }
        }
    }
}

/// Nothing refers to anything here, and the core plans one after the other: who comes first cannot know what comes
/// after it.
#[tokio::test]
async fn who_is_planned_alone_says_nothing_about_what_may_still_come() {
    let lab = tokio::task::spawn_blocking(|| Lab::start(&["east"], Options::default()).expect("a cluster"));
    let lab = lab.await.expect("a cluster");
    let charts = ChartRepository::start().expect("a chart repository");
    let cluster = json!({"config_path": lab.cluster("east").kubeconfig_path()});
    let provider = json!({"clusters": {"east": cluster, "west": cluster}, "charts": {"repository": charts.url()}});
    let mut core = Core::new(Mesh, registry(), provider.clone()).await.expect("the provider can be configured");
    core.one_walk = true;
    let primary = |cluster: &str| {
        let config = json!({"cluster": cluster, "mesh_id": "mesh1", "network": format!("net-{cluster}"), "istio_version": "1.30.0"});
        ("mesh_primary", config)
    };
    let gateway = json!({"cluster": "west", "network": "net-west", "expose": {"services": true}});
    let link = json!({"cluster": "west", "watchers": ["east"], "allow_loopback_server": true});
    let ca = json!({"root": {"store": {"cluster": "east", "readable_by_watchers": true}}, "clusters": {"east": {}, "west": {}}});
    let (gateway, link, ca) = (("mesh_eastwest_gateway", gateway), ("mesh_remote_cluster", link), ("mesh_ca", ca));
    let of_primaries = [primary("east"), primary("west")];
    let orders = [
        [of_primaries[0].clone(), of_primaries[1].clone(), link.clone(), gateway.clone(), ca.clone()],
        [gateway.clone(), link.clone(), of_primaries[0].clone(), of_primaries[1].clone(), ca.clone()],
        [link.clone(), of_primaries[1].clone(), of_primaries[0].clone(), ca.clone(), gateway.clone()],
    ];
    for order in orders {
        core.configure(provider.clone()).await.expect("the provider can be configured");
        for (kind, config) in order {
            let planned = core.plan(kind, Some(config), None).await.expect("a plan");
            let said = planned.warnings.to_string();
            for absent in ["No gateway leads to", "different roots", "lets nothing through"] {
                assert!(!said.contains(absent), "{kind}: {said}");
            }
            if let Some(version) = planned.planned.at(&Attribute::root("chart_version")) {
                let version = format!("{version:?}");
                assert!(version.contains("Unknown") || version.contains("1.30.0"), "of its control plane: {version}");
            }
        }
    }
}

/// A cluster that mesh networks name may be one that is planned later.
#[tokio::test]
async fn a_name_of_a_cluster_is_unknown_only_when_all_has_been_planned() {
    let nobody = json!({"host": "https://127.0.0.1:9", "token": "t"});
    let charts = tools::charts(Istio::Current).expect("the charts");
    let provider = json!({"clusters": {"east": nobody, "west": nobody}, "charts": {"directory": charts.dir()}});
    let mut core = Core::new(Mesh, registry(), provider.clone()).await.expect("the provider can be configured");
    core.one_walk = true;
    let network = json!({"net-west": {"endpoints": [{"from_registry": "prod-west"}], "gateways": [{"address": "192.0.2.1", "port": 15443}]}});
    let east = json!({"cluster": "east", "mesh_id": "mesh1", "network": "net-east", "mesh_networks": network});
    let west = json!({"cluster": "west", "mesh_id": "mesh1", "network": "net-west", "cluster_name": "prod-west"});
    let plan = async |config: &Json| {
        let planned = core.plan("mesh_primary", Some(config.clone()), None).await.expect("a plan");
        planned.warnings.to_string()
    };
    const UNKNOWN: &str = "No cluster of this name is known";
    for in_turn in [[&east, &west], [&west, &east]] {
        core.configure(provider.clone()).await.expect("the provider can be configured");
        for config in in_turn {
            let said = plan(config).await;
            assert!(!said.contains(UNKNOWN), "{said}");
        }
    }
    for beside in [true, false] {
        let said = kept(async || {
            core.configure(provider.clone()).await.expect("the provider can be configured");
            core.ask_side_by_side().await;
            let begun = Instant::now();
            let late = async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                let in_time = begun.elapsed() < IN_TIME;
                (if beside { plan(&west).await } else { String::new() }, in_time)
            };
            let (said, (later, in_time)) = futures::join!(plan(&east), late);
            in_time.then_some((said, later))
        });
        let (said, later) = said.await;
        assert_eq!(said.contains(UNKNOWN) || later.contains(UNKNOWN), !beside, "{said} {later}");
    }
}

/// Whether more than one resource of this provider is in it.
fn has_several(example: &Path) -> bool {
    let main = fs::read_to_string(example.join("main.tf")).unwrap_or_default();
    main.lines().filter(|line| line.starts_with("resource \"mesh_")).count() > 1
}

/// The variables that every example has.
#[derive(Clone, Copy)]
struct Given<'a> {
    kubeconfig: &'a Path,
    charts: &'a ChartRepository,
}

fn workspace(cli: &Cli, example: &Path, name: &str, given: Given<'_>) -> Workspace {
    let workspace = Workspace::overriding(cli, ADDRESS, Path::new(BINARY).parent().expect("a folder"));
    for entry in fs::read_dir(example).expect("the example") {
        let file = entry.expect("an entry").path();
        if file.extension().is_some_and(|extension| extension == "tf") {
            fs::copy(&file, workspace.path(&file.file_name().expect("a name").to_string_lossy())).expect("a copy");
        }
    }
    let clusters = CLUSTERS.iter().find(|(of, _)| *of == name).map_or(&USUAL[..], |(_, clusters)| clusters);
    let kubeconfigs: BTreeMap<&str, &Path> = clusters.iter().map(|cluster| (*cluster, given.kubeconfig)).collect();
    // Of those that name versions, charts follow control planes.
    let main = fs::read_to_string(example.join("main.tf")).expect("the example");
    let place = match main.contains("istio_version") {
        true => json!({"repository": given.charts.url()}),
        false => json!({
            "directory": tools::charts(Istio::Current).expect("the charts").dir(),
            "gateway_api": tools::gateway_api().expect("the Gateway API"),
        }),
    };
    let mut variables = json!({"kubeconfigs": kubeconfigs, "charts": place, "one_machine": true});
    if main.contains("variable \"istio_version\"") {
        variables["istio_version"] = "1.30.0".into();
    }
    if name == "closed-network" {
        variables["mirror"] =
            json!({"repository": given.charts.url(), "version": Istio::Current.version(), "digests": {}});
        variables["mirror_login"] = json!({"username": "mesh", "password": "p"});
        variables["images"] = json!({"hub": "registry.example/istio"});
    }
    if main.contains("variable \"regions\"") {
        let (near, far) = clusters.split_at(1);
        variables["regions"] = json!({"near": {"primary": near[0]}, "far": {"primary": far[0], "zones": &far[1..]}});
    }
    fs::write(workspace.path("terraform.tfvars.json"), variables.to_string()).expect("the variables");
    workspace
}

/// What a plan shows.
struct Plan {
    warnings: BTreeSet<(String, String)>,
    /// By address: what becomes of it, and which values are known.
    changes: BTreeMap<String, Json>,
}

impl Plan {
    fn of(workspace: &Workspace, parallelism: usize) -> Plan {
        let parallelism = format!("-parallelism={parallelism}");
        let said = workspace.run(&["plan", "-json", "-input=false", "-out=planned", &parallelism]).ok();
        let lines = said.stdout.lines().filter_map(|line| serde_json::from_str::<Json>(line).ok());
        let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
        let warnings = lines
            .map(|line| line["diagnostic"].clone())
            .filter(|told| told["severity"] == "warning")
            .map(|told| (text(&told["summary"]), text(&told["detail"])))
            .collect();
        let plan = workspace.run(&["show", "-json", "planned"]).ok().json();
        let changes = plan["resource_changes"].as_array().expect("changes").iter();
        let changes = changes.map(|change| (text(&change["address"]), change["change"].clone())).collect();
        Plan { warnings, changes }
    }
}
