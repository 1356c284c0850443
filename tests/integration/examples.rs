//! The examples of the modes, as a user runs them: the real terraform and tofu, real clusters, Istio's own tools as the
//! judge.
//!
//! Each goes through the laws: one apply from empty clusters, an empty second plan, no secret in state, a destroy that
//! leaves nothing; and those of [`crate::examples_laws`]. All of it with the least rights, [`least_rights`].

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lab::tools::{self, Istio, Tool};
use lab::{Address, Cluster, Lab, Options};
use serde_json::{Value, json};

use crate::examples_laws::{
    becomes_as_if_made, fails_after, is_found_whole, is_imported_whole, is_made_changed, is_nobody_elses,
    is_not_replaced_by_itself, is_told_at_a_look, is_written_whole, leftovers, outlives_an_outage,
    tokens_read_what_is_accepted,
};
use crate::links_topologies::{injected_as, knows_the_pod, service, through_the_gateway, web};
use crate::rbac::least_rights;
use crate::support::cli::{Cli, Workspace, clis, newest};
use crate::support::plugin_process::BINARY;
use crate::support::xds::Proxy;

/// Without a host, as the examples name it: each CLI has a registry of its own.
const ADDRESS: &str = "terraform-provider-mesh/mesh";

/// Between them these have a resource of each type: both CLIs go through what is otherwise for one of them.
const OF_ALL_TYPES: [&str; 2] = ["multi-primary-two-networks", "independent-meshes"];

/// An example, the clusters it is for, and who must watch whom once it is applied.
pub struct Example {
    pub folder: &'static str,
    pub clusters: &'static [&'static str],
    /// Cluster with an istiod, and the clusters it must be in sync with, itself among them.
    pub watches: &'static [(&'static str, &'static [&'static str])],
    /// Namespace of Istio, of one of the meshes.
    pub namespace: &'static str,
    /// Variables beside those that every example has, as JSON.
    pub variables: &'static str,
    /// Its main.tf as it is applied.
    pub edit: fn(&str) -> String,
    /// What else must be so while it is applied.
    pub judge: fn(&Lab),
}

/// With certificates of one root, and without: every istiod then makes a root of its own, and nobody speaks mTLS. That
/// calls arrive is for the tests of traffic to show.
#[test]
fn multi_primary_on_one_network() {
    let example = Example {
        folder: "multi-primary-one-network",
        clusters: &["east", "west"],
        watches: &[("east", &["east", "west"]), ("west", &["east", "west"])],
        namespace: "istio-system",
        variables: "{}",
        edit: str::to_owned,
        judge: |lab| {
            let (east, west) = (lab.cluster("east"), lab.cluster("west"));
            let pod = web(west);
            service(east);
            knows_the_pod(east, &pod);
        },
    };
    let lab = Lab::start(example.clusters, Options::default()).unwrap();
    run_with_all(&example, &lab);
    without_workloads(&lab);
    let without = Example { folder: "multi-primary-without-certificates", ..example };
    clis().iter().take(1).for_each(|cli| run_with(cli, &without, &lab));
}

#[test]
fn multi_primary_on_two_networks() {
    run(&Example {
        folder: "multi-primary-two-networks",
        clusters: &["east", "west"],
        watches: &[("east", &["east", "west"]), ("west", &["east", "west"])],
        namespace: "istio-system",
        variables: "{}",
        edit: str::to_owned,
        judge: |lab| through_the_gateway(lab.cluster("east"), lab.cluster("west")),
    });
}

#[test]
fn primary_and_remote_on_one_network() {
    run(&Example {
        folder: "primary-remote-one-network",
        clusters: &["primary", "remote"],
        watches: &[("primary", &["primary", "remote"])],
        namespace: "istio-system",
        variables: "{}",
        edit: str::to_owned,
        judge: |lab| {
            let (primary, remote) = (lab.cluster("primary"), lab.cluster("remote"));
            let pod = web(remote);
            injected_as(remote, "remote", "net1");
            service(primary);
            knows_the_pod(primary, &pod);
        },
    });
}

#[test]
fn primary_and_remote_on_two_networks() {
    run(&Example {
        folder: "primary-remote-two-networks",
        clusters: &["primary", "remote"],
        watches: &[("primary", &["primary", "remote"])],
        namespace: "istio-system",
        variables: "{}",
        edit: str::to_owned,
        judge: |lab| {
            through_the_gateway(lab.cluster("primary"), lab.cluster("remote"));
            injected_as(lab.cluster("remote"), "remote", "net-remote");
        },
    });
}

/// The istiod of the hub serves two clusters and has nothing of its own: its configuration and its proxies are theirs.
#[test]
fn external_control_plane() {
    run(&Example {
        folder: "external-control-plane",
        clusters: &["hub", "east", "west"],
        watches: &[("hub", &["east", "west"])],
        namespace: "istio-system",
        variables: "{}",
        edit: str::to_owned,
        judge: |lab| {
            let (hub, east, west) = (lab.cluster("hub"), lab.cluster("east"), lab.cluster("west"));
            let mut pods: Vec<String> = [east, west].map(|cluster| format!("{}:8080", web(cluster))).into();
            pods.sort();
            for cluster in [east, west] {
                injected_as(cluster, cluster.name(), "net1");
            }
            let told = Proxy::sidecar("east", "net1", "shop");
            told.ask_until(hub, "the hub's istiod to tell a proxy of east of the Pods in both clusters", |told| {
                (told.upstream("web.shop.svc.cluster.local", 80)?.endpoints == pods).then_some(())
            });
            east.wait_until("east's configuration to be validated by the hub", || refuses_nonsense(east)).unwrap();
            let bindings = hub.kubectl(&["get", "clusterrolebindings", "-o", "name"]).unwrap();
            assert!(!bindings.contains("istio"), "istiod has no rights in its own cluster: {bindings}");
        },
    });
}

/// Whether an istiod keeps what is wrong out of the mesh's configuration.
fn refuses_nonsense(cluster: &Cluster) -> bool {
    let server = json!({ "port": { "number": 99999, "name": "http", "protocol": "HTTP" }, "hosts": ["*"] });
    let gateway = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": { "name": "nonsense", "namespace": "shop" },
        "spec": { "selector": { "istio": "ingress" }, "servers": [server] },
    });
    let refused = cluster.apply(&gateway.to_string()).err().map(|error| error.to_string());
    refused.is_some_and(|why| why.contains("validation.istio.io"))
}

/// What ztunnels of each cluster are told: for a Service of the other network its gateway, where HBONE is spoken.
#[test]
fn ambient_on_two_networks() {
    let example = Example {
        folder: "ambient-two-networks",
        clusters: &["east", "west"],
        watches: &[("east", &["east", "west"]), ("west", &["east", "west"])],
        namespace: "istio-system",
        variables: "{}",
        edit: str::to_owned,
        judge: told_to_ztunnels,
    };
    let lab = Lab::start(example.clusters, Options::default()).unwrap();
    for cluster in lab.clusters() {
        // Late enough that istiod gives the ClusterIP for the address in the meantime.
        cluster.set_address(Address::IpAfter(Duration::from_secs(5)));
    }
    for (n, cli) in clis().iter().enumerate() {
        if n > 0 {
            without_workloads(&lab);
        }
        run_with(cli, &example, &lab);
        for cluster in lab.clusters() {
            let left = cluster.kubectl(&["get", "customresourcedefinitions,daemonsets", "-A", "-o", "name"]).unwrap();
            assert_eq!(left.trim(), "", "left in {}", cluster.name());
        }
    }
}

/// What a cluster's ztunnels are told: the way to a Service's Pods in the other network is that network's gateway, by
/// HBONE, and who must answer there is known.
fn told_to_ztunnels(lab: &Lab) {
    let (east, west) = (lab.cluster("east"), lab.cluster("west"));
    let labelled = json!({ "name": "shop", "labels": { "istio.io/dataplane-mode": "ambient" } });
    let web = json!({ "name": "web", "namespace": "shop", "labels": { "istio.io/global": "true" } });
    for cluster in [east, west] {
        cluster.apply(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": labelled }).to_string()).unwrap();
        let spec = json!({ "selector": { "app": "web" }, "ports": [{ "port": 80, "targetPort": 8080 }] });
        let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": web, "spec": spec });
        cluster.apply(&service.to_string()).unwrap();
    }
    pod(west, "web", &json!({ "app": "web" }), None);
    let gateway = west.get(&["service", "istio-eastwestgateway", "-n", "istio-system"]).unwrap().unwrap();
    let gateway = gateway["status"]["loadBalancer"]["ingress"][0]["ip"].as_str().unwrap();
    let way = json!({
        "address": { "network": "net-west", "address": STANDARD.encode(gateway) },
        "hboneMtlsPort": 15008,
    });
    let told = || {
        let page = east.run(Tool::Istioctl, &["x", "internal-debug", "ambientz"], None).unwrap();
        let page: Value = serde_json::from_str(&page[page.find('{').unwrap()..]).unwrap();
        let any = |list: &str, is: &dyn Fn(&Value) -> bool| page[list].as_array().into_iter().flatten().any(is);
        let is_way = |workload: &Value| {
            workload["networkGateway"] == way && workload["services"].get("shop/web.shop.svc.cluster.local").is_some()
        };
        let is_named = |service: &Value| {
            service["hostname"] == "web.shop.svc.cluster.local"
                && service["subjectAltNames"] == json!(["spiffe://cluster.local/ns/shop/sa/default"])
        };
        any("workloads", &is_way) && any("services", &is_named)
    };
    east.wait_until("ztunnels of east to be told the way to west", told).unwrap();
}

#[test]
fn independent_meshes() {
    run(&Example {
        folder: "independent-meshes",
        clusters: &["east", "west"],
        watches: &[("east", &["east"]), ("west", &["west"])],
        namespace: "istio-system",
        variables: "{}",
        edit: str::to_owned,
        judge: |_| {},
    });
}

/// Networks by labels, by address ranges, and shared by clusters: what proxies of each are told. The lab's second
/// cluster has 10.11.0.0/17.
#[test]
fn networks_that_intersect() {
    run(&Example {
        folder: "intersecting-networks",
        clusters: &["east", "north", "west"],
        watches: &[
            ("east", &["east", "north", "west"]),
            ("north", &["east", "north", "west"]),
            ("west", &["east", "north", "west"]),
        ],
        namespace: "istio-system",
        variables: r#"{ "ranges": { "net-north-a": "10.11.0.0/18", "net-north-b": "10.11.64.0/18" } }"#,
        edit: str::to_owned,
        judge: intersecting,
    });
}

fn intersecting(lab: &Lab) {
    let (east, north, west) = (lab.cluster("east"), lab.cluster("north"), lab.cluster("west"));
    let far = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": "far", "annotations": { "lab/ip": "10.11.255.9" } },
        "spec": { "podCIDR": "10.11.64.0/18", "podCIDRs": ["10.11.64.0/18"] },
    });
    north.apply(&far.to_string()).unwrap();
    for cluster in [east, north, west] {
        service(cluster);
    }
    let labelled = |network: &str| json!({ "app": "web", "topology.istio.io/network": network });
    let plain = json!({ "app": "web" });
    let pods = [
        ("backbone, in east", pod(east, "web", &plain, None)),
        ("backbone, in west", pod(west, "web", &plain, None)),
        ("net-east", pod(east, "second", &labelled("net-east"), None)),
        ("net-west", pod(west, "second", &labelled("net-west"), None)),
        ("net-north-a", pod(north, "near", &plain, Some("north-0"))),
        ("net-north-b", pod(north, "far", &plain, Some("far"))),
    ];
    let doors = [
        ("backbone, in east", door(east, "backbone")),
        ("backbone, in west", door(west, "backbone")),
        ("net-east", door(east, "net-east")),
        ("net-west", door(west, "net-west")),
        ("net-north-a", door(north, "net-north-a")),
        ("net-north-b", door(north, "net-north-b")),
    ];
    // A proxy is told the Pods of its own network, whatever cluster they are in, and the doors of the Pods of all
    // others.
    for (cluster, network) in [
        (east, "backbone"),
        (west, "backbone"),
        (east, "net-east"),
        (west, "net-west"),
        (north, "net-north-a"),
        (north, "net-north-b"),
        (north, ""), // What injection makes of a Pod whose network is told by its address alone: it uses the doors of its own network, too.
    ] {
        let of = |name: &str| name.split(',').next() == Some(network);
        let direct = pods.iter().filter(|(name, _)| of(name)).map(|(_, ip)| format!("{ip}:8080"));
        let through = doors.iter().filter(|(name, _)| !of(name)).map(|(_, ip)| format!("{ip}:15443"));
        let mut wanted: Vec<String> = direct.chain(through).collect();
        wanted.sort();
        let what = format!("a proxy of {} in {network:?} is told {wanted:?}", cluster.name());
        Proxy::sidecar(cluster.name(), network, "shop").ask_until(cluster, &what, |told| {
            let upstream = told.upstream("web.shop.svc.cluster.local", 80)?;
            (upstream.endpoints == wanted).then_some(())
        });
    }
    // The network of an unlabelled Pod, as the istiod of another cluster sees it by the Pod's address.
    for (network, ip) in &pods[4..] {
        assert_eq!(network_of(east, ip).as_deref(), Some(*network), "{ip}");
    }
    north.kubectl(&["delete", "node", "far"]).unwrap();
}

/// The network that a cluster's istiod puts an endpoint into.
fn network_of(cluster: &Arc<Cluster>, ip: &str) -> Option<String> {
    let page = cluster.run(Tool::Istioctl, &["x", "internal-debug", "endpointShardz"], None).unwrap();
    let start = page.find('{')?;
    let page: Value = serde_json::from_str(&page[start..]).unwrap();
    let shards = page["web.shop.svc.cluster.local"]["shop"]["Shards"].as_object()?;
    let endpoints = shards.values().flat_map(|endpoints| endpoints.as_array().into_iter().flatten());
    let mut found = endpoints.filter(|endpoint| endpoint["Addresses"].to_string().contains(&format!("{ip:?}")));
    found.next().map(|endpoint| endpoint["Network"].as_str().unwrap_or_default().to_owned())
}

/// An injected Pod; its address.
fn pod(cluster: &Arc<Cluster>, name: &str, labels: &Value, node: Option<&str>) -> String {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": "shop", "labels": labels },
        "spec": {
            "nodeName": node,
            "containers": [{ "name": "web", "image": "web", "ports": [{ "containerPort": 8080 }] }],
        },
    });
    cluster.apply(&pod.to_string()).unwrap();
    let mut ip = String::new();
    let given = || {
        let pod = cluster.get(&["pod", name, "-n", "shop"]).unwrap().unwrap_or_default();
        ip = pod["status"]["podIP"].as_str().unwrap_or_default().to_owned();
        !ip.is_empty()
    };
    cluster.wait_until("the Pod's address", given).unwrap();
    ip
}

/// The address of a network's gateway in a cluster.
fn door(cluster: &Arc<Cluster>, network: &str) -> String {
    let service = cluster.get(&["service", &format!("eastwest-{network}"), "-n", "istio-system"]).unwrap().unwrap();
    service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str().unwrap().to_owned()
}

#[test]
fn ranges_of_networks_that_overlap_are_refused_at_plan() {
    for cli in clis() {
        let workspace = Workspace::overriding(&cli, ADDRESS, Path::new(BINARY).parent().unwrap());
        copy("intersecting-networks", &workspace);
        let path = workspace.path("no-cluster-is-asked");
        let variables = json!({
            "kubeconfigs": { "east": path, "north": path, "west": path },
            "charts": { "directory": tools::charts(Istio::Current).unwrap().dir() },
            "ranges": { "net-north-a": "10.11.0.0/16", "net-north-b": "10.11.64.0/18" },
        });
        fs::write(workspace.path("terraform.tfvars.json"), variables.to_string()).unwrap();
        let said = workspace.run(&["plan", "-input=false"]);
        let text: String = said.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(said.code, Some(1), "{text}");
        assert!(text.contains("Networks contradict each other"), "{text}");
        assert!(
            text.contains("10.11.0.0/16 of network net-north-a and 10.11.64.0/18 of network net-north-b"),
            "{text}"
        );
        assert!(text.contains("mesh_networks[\"net-north-b\"].endpoints"), "{text}");
    }
}

/// Every example is as `terraform fmt` writes it, and valid as it stands.
#[test]
fn all_examples_are_formatted_and_valid() {
    for cli in clis() {
        let workspace = Workspace::overriding(&cli, ADDRESS, Path::new(BINARY).parent().unwrap());
        let examples = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples");
        workspace.run(&["fmt", "-check", "-recursive", "-diff", &examples.display().to_string()]).ok();
        for folder in root_modules(&examples) {
            let name = folder.strip_prefix(&examples).unwrap().to_string_lossy().into_owned();
            let workspace = Workspace::overriding(&cli, ADDRESS, Path::new(BINARY).parent().unwrap());
            copy(&name, &workspace);
            let said = workspace.run(&["validate"]);
            assert_eq!(said.code, Some(0), "{name} by {}: {}{}", cli.name, said.stdout, said.stderr);
        }
    }
}

/// The folders of examples that can be applied; one may consist of several.
fn root_modules(folder: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let with_own = |folder: PathBuf| {
        let is_one = folder.join("main.tf").is_file();
        if is_one { vec![folder] } else { root_modules(&folder) }
    };
    folders.flat_map(with_own).collect()
}

pub fn run(example: &Example) {
    let lab = Lab::start(example.clusters, Options::default()).unwrap();
    run_with_all(example, &lab);
}

fn run_with_all(example: &Example, lab: &Lab) {
    for (n, cli) in clis().iter().enumerate() {
        if n > 0 {
            without_workloads(lab);
        }
        run_with(cli, example, lab);
    }
}

fn run_with(cli: &Cli, example: &Example, lab: &Lab) {
    println!("{} with {}", example.folder, cli.name);
    let workspace = workspace(cli, example, lab);
    // Between them the two go through all steps, as each costs an apply; and the one makes the example changed and
    // changes it back.
    let makes = |refused_after: &[usize]| {
        fails_after(refused_after, &workspace, lab);
        workspace.run(&["apply", "-auto-approve"]).ok();
    };
    let made = match cli.name {
        "terraform" => Some(is_made_changed(&workspace, || makes(&[4]))),
        _ => {
            // Who only reads can plan what is still to be made, too.
            workspace.run(&["plan", "-input=false"]).ok();
            makes(&[0, 20]);
            None
        }
    };
    if example.folder == "external-control-plane" {
        workspace.is_settled();
        // It starts after the apply of its mesh_primary, so that only a refresh can see that it is available.
        workspace.run(&["apply", "-refresh-only", "-auto-approve"]).ok();
    }
    workspace.is_settled_and_known();
    for (cluster, watched) in example.watches {
        assert_eq!(synced(lab.cluster(cluster)), *watched, "what the istiod of {cluster} is in sync with");
    }
    (example.judge)(lab);
    if cli.name == "terraform" {
        sees_what_is_deleted_by_hand(&workspace, lab);
    } else {
        is_told_at_a_look(&self::workspace(cli, example, lab), lab, example.namespace);
    }
    no_secret_in(&workspace.path("terraform.tfstate"), lab);
    let main = fs::read_to_string(workspace.path("main.tf")).unwrap();
    // Without a CA there is no key of ours to keep from them: each istiod has a Secret of its own making.
    if main.contains("mesh_ca") {
        let watch_each_other = example.watches.iter().any(|(_, watched)| watched.len() > 1);
        tokens_read_what_is_accepted(&workspace, lab, watch_each_other);
    }
    outlives_an_outage(&workspace, &lab.clusters()[lab.clusters().len() - 1]);
    let has_types = OF_ALL_TYPES.contains(&example.folder);
    if has_types || cli.name == "terraform" {
        is_nobody_elses(&workspace, &self::workspace(cli, example, lab), lab);
    }
    if has_types || cli.name != "terraform" {
        is_not_replaced_by_itself(&workspace, lab);
    }
    is_imported_whole(&workspace, &self::workspace(cli, example, lab));
    is_written_whole(&workspace, &self::workspace(cli, example, lab), lab);
    if let Some(made) = &made {
        if let Some(newest) = newest() {
            is_found_whole(&[&workspace], &self::workspace(&newest, example, lab), lab);
        }
        becomes_as_if_made(&workspace, made);
    }
    workspace.run(&["destroy", "-auto-approve"]).ok();
    for cluster in lab.clusters() {
        assert_eq!(leftovers(cluster), Vec::<String>::new(), "left in {}", cluster.name());
    }
}

/// What the judges made goes, so that the next CLI finds empty clusters: in all at the same time, and Pods first, for
/// whose grace period a namespace waits.
fn without_workloads(lab: &Lab) {
    for cluster in lab.clusters() {
        cluster.kubectl(&["delete", "pods", "--all", "-n", "shop", "--grace-period=0", "--force"]).unwrap();
        cluster.kubectl(&["delete", "namespace", "shop", "--ignore-not-found", "--wait=false"]).unwrap();
    }
    for cluster in lab.clusters() {
        let gone = || cluster.get(&["namespace", "shop"]).unwrap().is_none();
        cluster.wait_until("the end of the namespace of workloads", gone).unwrap();
    }
}

/// One object of a control plane is deleted with kubectl: the plan names it, an apply brings it back, and then there is
/// nothing to do.
fn sees_what_is_deleted_by_hand(workspace: &Workspace, lab: &Lab) {
    let roles = lab.clusters().iter().find_map(|cluster| {
        let names = cluster.kubectl(&["get", "clusterroles", "-o", "name"]).unwrap();
        let role =
            names.lines().find_map(|name| name.split('/').nth(1).filter(|name| name.starts_with("istio-reader-")));
        Some((cluster, role?.to_owned()))
    });
    let (cluster, role) = roles.expect("a role");
    cluster.kubectl(&["delete", "clusterrole", &role]).unwrap();
    let plan = workspace.run(&["plan", "-detailed-exitcode"]);
    assert_eq!(plan.code, Some(2), "{}{}", plan.stdout, plan.stderr);
    assert!(plan.stdout.contains(&format!("+ \"ClusterRole {role}\"")), "{}", plan.stdout);
    workspace.run(&["apply", "-auto-approve"]).ok();
    assert!(cluster.get(&["clusterrole", &role]).unwrap().is_some(), "the role is back");
    workspace.is_settled();
}

/// The example's own files, and the variables it asks for.
fn workspace(cli: &Cli, example: &Example, lab: &Lab) -> Workspace {
    let workspace = Workspace::overriding(cli, ADDRESS, Path::new(BINARY).parent().unwrap());
    copy(example.folder, &workspace);
    let main = fs::read_to_string(workspace.path("main.tf")).unwrap();
    fs::write(workspace.path("main.tf"), (example.edit)(&main)).unwrap();
    let kubeconfigs: serde_json::Map<String, Value> =
        example.clusters.iter().map(|name| ((*name).to_owned(), json!(lab.cluster(name).kubeconfig_path()))).collect();
    let charts = tools::charts(Istio::Current).unwrap();
    let charts = json!({ "directory": charts.dir(), "gateway_api": tools::gateway_api().unwrap() });
    let variables = json!({ "kubeconfigs": kubeconfigs, "charts": charts, "one_machine": true });
    fs::write(workspace.path("terraform.tfvars.json"), variables.to_string()).unwrap();
    fs::write(workspace.path("more.auto.tfvars.json"), example.variables).unwrap();
    least_rights(&workspace, lab, example.clusters);
    workspace
}

fn copy(example: &str, workspace: &Workspace) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples").join(example);
    for entry in fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_some_and(|extension| extension == "tf") {
            fs::copy(&file, workspace.path(&file.file_name().unwrap().to_string_lossy())).unwrap();
        }
    }
}

/// The clusters that `istioctl remote-clusters` calls synced, sorted.
pub fn synced(cluster: &Arc<Cluster>) -> Vec<String> {
    let table = cluster.run(Tool::Istioctl, &["remote-clusters"], None).unwrap();
    let mut names: Vec<String> = table
        .lines()
        .filter(|line| line.split_whitespace().any(|word| word == "synced"))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect();
    names.sort();
    names
}

/// Looks for every key and token that the clusters hold, in the encodings they could have been written in.
pub fn no_secret_in(file: &Path, lab: &Lab) {
    let text = fs::read_to_string(file).unwrap();
    assert!(!text.contains("PRIVATE KEY"), "a private key is in {}", file.display());
    let mut secrets = 0;
    for cluster in lab.clusters() {
        let list = cluster.get(&["secrets", "--all-namespaces"]).unwrap().unwrap_or_default();
        for secret in list["items"].as_array().into_iter().flatten() {
            for (key, value) in secret["data"].as_object().into_iter().flatten() {
                let encoded = value.as_str().unwrap_or_default();
                let plain = STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                let public = key.ends_with("cert.pem") || key.ends_with("chain.pem") || key.ends_with(".crt");
                let Some(plain) = plain.filter(|plain| !public && plain.len() > 20) else { continue };
                secrets += 1;
                let name = format!("{}/{} {key}", secret["metadata"]["namespace"], secret["metadata"]["name"]);
                assert!(!text.contains(encoded), "{name} is in state, in base64");
                for line in plain.lines().map(str::trim).filter(|line| line.len() > 40 && !line.contains("CERTIFICATE"))
                {
                    let word = line.rsplit(' ').next().unwrap_or(line);
                    let is_public = word.starts_with("LS0tLS1CRUdJTiBDRVJU") || word.starts_with("https://");
                    assert!(is_public || word.len() < 40 || !text.contains(word), "a line of {name} is in state");
                }
            }
        }
    }
    assert!(secrets > 0, "there was no secret to look for");
}
