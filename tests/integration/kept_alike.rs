//! What every resource does alike with the objects it keeps, judged over the registry: a resource without a row in
//! [`ROWS`] fails. A bystander's objects lie beside everything that is deleted.

mod refusals;
mod same_cluster;

use std::collections::BTreeSet;
use std::sync::Arc;

use lab::tools::{self, Istio, Tool};
use lab::{Cluster, Lab, Options};
use serde_json::{Value as Json, json};
use terraform_provider_mesh::provider::Mesh;
use terraform_provider_mesh::resources::registry;
use terraform_provider_mesh::value::Dyn;

use crate::support::core::{Action, Core, Stored};
use crate::support::note::MeshNote;
use crate::support::unmarked::{unmark, without_marks};

const OWNER: &str = "terraform-provider-mesh/owner";
const MARK: &str = "terraform-provider-mesh/instance";
const COMPLETE: &str = "terraform-provider-mesh/complete";
const MANAGER: &str = "--field-manager=terraform-provider-mesh";

/// A resource, and objects of it that are easily made anew: cluster, kind, namespace and name. The first is easily
/// copied.
struct Row {
    resource: &'static str,
    config: fn() -> Json,
    objects: &'static [[&'static str; 4]],
    /// An apply that is killed may leave objects under names that state does not know.
    strays: bool,
}

/// In the order in which they are made.
const ROWS: &[Row] = &[
    // What a newcomer would write: see `support/note.rs`. One in each cluster.
    Row {
        resource: "mesh_note",
        config: || json!({"cluster": "east", "name": "first", "text": "of the east"}),
        objects: &[["east", "configmap", "notes", "first"]],
        strays: true,
    },
    Row {
        resource: "mesh_note",
        config: || json!({"cluster": "west", "name": "first", "text": "of the west"}),
        objects: &[["west", "configmap", "notes", "first"]],
        strays: true,
    },
    Row {
        resource: "mesh_ca_request",
        config: || json!({"cluster": "east", "namespace": "mesh-requests"}),
        objects: &[["east", "secret", "mesh-requests", "mesh-ca-request"]],
        strays: true,
    },
    Row {
        resource: "mesh_ca",
        config: || json!({"root": {"generation": 1, "store": {"cluster": "west"}}, "clusters": {"east": {"namespace": "mesh-ca"}}}),
        objects: &[["east", "secret", "mesh-ca", "cacerts"], ["west", "secret", "mesh-root-ca", "mesh-root-ca"]],
        // Its objects have the names that the configuration gives.
        strays: false,
    },
    Row {
        resource: "mesh_primary",
        config: || {
            let tag = format!("global: {{tag: {}}}", Istio::Current.version());
            json!({"cluster": "east", "mesh_id": "mesh1", "network": "net-east", "values": [tag]})
        },
        objects: &[["east", "configmap", "istio-system", "istio"]],
        strays: true,
    },
    Row {
        resource: "mesh_remote_cluster",
        config: || json!({"cluster": "west", "watchers": ["east"], "allow_loopback_server": true}),
        objects: &[["west", "serviceaccount", "istio-system", "istio-mesh-reader"]],
        strays: true,
    },
    Row {
        resource: "mesh_eastwest_gateway",
        config: || json!({"cluster": "east", "network": "net-east", "expose": {"services": true}, "wait": false}),
        objects: &[["east", "serviceaccount", "istio-system", "istio-eastwestgateway"]],
        strays: true,
    },
    Row {
        resource: "mesh_service_entry",
        config: || {
            json!({"cluster": "east", "host": "cart.shop.global", "ports": {"http": {"number": 8080}}, "exporters": {"west": {
                "cluster": "west", "namespace": "shop", "service": "cart", "service_accounts": ["cart"],
                "trust_domain": "west.example", "gateways": [{"value": "192.0.2.10"}]}}})
        },
        objects: &[["east", "serviceentry", "istio-system", "cart-shop-global"]],
        strays: true,
    },
];

struct Alike {
    lab: Lab,
    core: Core,
}

impl Alike {
    async fn start() -> Alike {
        let start = || Lab::start(&["east", "west"], Options::default()).expect("clusters");
        let lab = tokio::task::spawn_blocking(start).await.expect("a lab");
        // A control plane of its own would have made it.
        lab.cluster("west").kubectl(&["create", "namespace", "istio-system"]).expect("a namespace");
        let registry = registry().resource(MeshNote);
        let core = Core::new(Mesh, registry, json!({})).await.expect("the provider can be configured");
        Alike { lab, core }
    }

    fn cluster(&self, name: &str) -> &Arc<Cluster> {
        self.lab.cluster(name)
    }

    /// What every run of terraform begins with.
    async fn configure(&self, clusters: Json) {
        let charts = tools::charts(Istio::Current).expect("the charts can be unpacked");
        let config = json!({"clusters": clusters, "charts": {"directory": charts.dir()}});
        self.core.configure(config).await.expect("the provider can be configured");
    }

    async fn again(&self) {
        let clusters =
            ["east", "west"].map(|name| (name, json!({"config_path": self.cluster(name).kubeconfig_path()})));
        self.configure(clusters.into_iter().map(|(name, entry)| (name.to_owned(), entry)).collect()).await;
    }

    async fn apply(&self, row: &Row, config: &Json, stored: Option<&Stored>) -> Stored {
        self.again().await;
        let planned = self.core.plan(row.resource, Some(config.clone()), stored).await;
        let planned = planned.unwrap_or_else(|errors| panic!("{}: {errors}", row.resource));
        let applied = self.core.apply(row.resource, planned).await;
        assert!(!applied.diagnostics.has_errors(), "{}: {}", row.resource, applied.diagnostics);
        applied.stored.expect("something was made")
    }

    /// A refresh in a run of its own: what state says then, and the warnings.
    async fn refresh(&self, row: &Row, stored: &Stored) -> (Stored, String) {
        self.again().await;
        let (stored, told) = self.refresh_by_these(row, stored).await;
        (stored.unwrap_or_else(|| panic!("{}: it is there: {told}", row.resource)), told)
    }

    async fn refresh_by_these(&self, row: &Row, stored: &Stored) -> (Option<Stored>, String) {
        let read = self.core.refresh_told(row.resource, stored).await;
        let (stored, told) = read.unwrap_or_else(|errors| panic!("{}: {errors}", row.resource));
        (stored, told.to_string())
    }

    async fn next(&self, row: &Row, config: Option<&Json>, stored: &Stored) -> Action {
        let planned = self.core.plan(row.resource, config.cloned(), Some(stored)).await;
        planned.unwrap_or_else(|errors| panic!("{}: {errors}", row.resource)).action
    }

    /// Everything that carries the instance's mark, but for its Lease: cluster, kind, namespace and name.
    fn marked(&self, stored: &Stored) -> Vec<String> {
        let mark = mark(stored);
        let mut found = Vec::new();
        for name in ["east", "west"] {
            let listed = self.cluster(name).get(&[
                "-A",
                "configmaps,secrets,serviceaccounts,services,deployments,roles,clusterroles,serviceentries",
            ]);
            let listed = listed.or_else(|_| {
                self.cluster(name)
                    .get(&["-A", "configmaps,secrets,serviceaccounts,services,deployments,roles,clusterroles"])
            });
            for object in listed.expect("kubectl").unwrap_or_default()["items"].as_array().into_iter().flatten() {
                if object["metadata"]["annotations"][MARK].as_str() == Some(&mark) {
                    found.push(format!("{name} {} {}", object["kind"], object["metadata"]["name"]));
                }
            }
        }
        found
    }

    /// Takes the mark from everything that carries it, and from what is remembered; the Lease goes.
    fn as_of_before_marks(&self, stored: &Stored) -> Stored {
        const KINDS: &str = "secrets,configmaps,serviceaccounts,services,deployments,roles,rolebindings,clusterroles,clusterrolebindings,hpa,pdb,\
                             mutatingwebhookconfigurations,validatingwebhookconfigurations,customresourcedefinitions";
        let mark = mark(stored);
        for cluster in ["east", "west"].map(|name| self.cluster(name)) {
            let more = format!("{KINDS},serviceentries,destinationrules,gateways.networking.istio.io");
            let (kinds, list) = match cluster.get(&["-A", &more, "-l", OWNER]) {
                Ok(list) => (more.as_str(), list),
                Err(_) => (KINDS, cluster.get(&["-A", KINDS, "-l", OWNER]).expect("kubectl")),
            };
            let list = list.unwrap_or_default();
            let marked = list["items"].as_array().into_iter().flatten();
            let marked = marked.filter(|object| object["metadata"]["annotations"][MARK].as_str() == Some(&mark));
            let owners: BTreeSet<&str> =
                marked.filter_map(|object| object["metadata"]["labels"][OWNER].as_str()).collect();
            owners.into_iter().for_each(|owner| unmark(cluster, kinds, owner));
        }
        without_marks(stored)
    }

    /// An object of a row, as it is now.
    fn object(&self, object: [&str; 4]) -> Option<Json> {
        let [cluster, kind, namespace, name] = object;
        self.cluster(cluster).get(&["-n", namespace, kind, name]).expect("kubectl")
    }

    /// What an apply that was killed may have left: an object like the row's, written by this provider under this mark,
    /// that no state knows.
    fn leave_a_stray(&self, row: &Row) {
        let copied = row.objects[0];
        let mut object = self.object(copied).unwrap_or_else(|| panic!("{}: {copied:?} is missing", row.resource));
        let labels = object["metadata"]["labels"].clone();
        let annotations = object["metadata"]["annotations"].clone();
        object["metadata"] =
            json!({"name": "stray", "namespace": row.objects[0][2], "labels": labels, "annotations": annotations});
        self.write(copied[0], &object, &["--server-side", MANAGER]);
    }

    fn has_stray(&self, row: &Row) -> bool {
        let [cluster, kind, namespace, _] = row.objects[0];
        self.cluster(cluster).get(&["-n", namespace, kind, "stray"]).expect("kubectl").is_some()
    }

    fn write(&self, cluster: &str, object: &Json, more: &[&str]) {
        let arguments: Vec<&str> = ["apply", "-f", "-"].iter().chain(more).copied().collect();
        self.cluster(cluster).run(Tool::Kubectl, &arguments, Some(&object.to_string())).expect("kubectl");
    }

    /// The instance's Lease, in whatever cluster and namespace it is, as a run that gave up leaves it.
    fn interrupt(&self, stored: &Stored) {
        self.leave_the_lease(stored, "true", "interrupted");
    }

    /// The Lease says this of the instance and of its holder, and was renewed a quarter of an hour ago. Returns it.
    fn leave_the_lease(&self, stored: &Stored, complete: &str, holder: &str) -> Json {
        for name in ["east", "west"] {
            let leases = self.cluster(name).get(&["-A", "leases"]).expect("kubectl").expect("a list");
            for lease in leases["items"].as_array().expect("a list") {
                if lease["metadata"]["annotations"][MARK].as_str() != Some(&mark(stored)) {
                    continue;
                }
                let text = |key: &str| lease["metadata"][key].as_str().expect("text").to_owned();
                let annotations = json!({COMPLETE: complete});
                let renewed = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(15);
                let renewed = renewed.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
                let spec = json!({"holderIdentity": holder, "renewTime": renewed});
                let patch = json!({"metadata": {"annotations": annotations}, "spec": spec}).to_string();
                let (namespace, name_of) = (text("namespace"), text("name"));
                let arguments = ["-n", &namespace, "patch", "lease", &name_of, "--type=merge", "-p", &patch];
                self.cluster(name).kubectl(&arguments).expect("kubectl");
                return self.object([name, "lease", &namespace, &name_of]).expect("it is there");
            }
        }
        panic!("no Lease of instance {}", mark(stored));
    }

    /// One of its objects, deleted and made anew by hand: a copy without label, mark and manager.
    fn make_anew(&self, object: [&str; 4]) -> String {
        let [cluster, kind, namespace, name] = object;
        let mut object = self.object(object).expect("it is there");
        object["metadata"] = json!({"name": name, "namespace": namespace});
        self.cluster(cluster).kubectl(&["-n", namespace, "delete", kind, name]).expect("kubectl");
        self.write(cluster, &object, &[]);
        self.object([cluster, kind, namespace, name]).expect("made")["metadata"]["uid"]
            .as_str()
            .expect("a uid")
            .to_owned()
    }
}

fn attribute_of(stored: &Stored, name: &str) -> Json {
    let state: Json = serde_json::from_str(&stored.json).expect("JSON");
    state[name].clone()
}

fn mark(stored: &Stored) -> String {
    attribute_of(stored, "instance").as_str().expect("a mark").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_resource_keeps_its_objects_alike() {
    let alike = Alike::start().await;
    let rows: BTreeSet<&str> = ROWS.iter().map(|row| row.resource).collect();
    let resources: BTreeSet<&str> = alike.core.engine.schema().resources.keys().map(String::as_str).collect();
    assert_eq!(rows, resources, "a row for each resource");

    let mut made = Vec::new();
    for row in ROWS {
        let config = (row.config)();
        let stored = alike.apply(row, &config, None).await;
        alike.again().await;
        assert_eq!(alike.next(row, Some(&config), &stored).await, Action::Nothing, "{}", row.resource);
        assert!(!alike.marked(&stored).is_empty(), "{}: nothing is marked", row.resource);
        Box::pin(who_cannot_look_says_so(&alike, row, &stored)).await;
        if row.resource == "mesh_remote_cluster" {
            Box::pin(refusals::a_watcher_that_cannot_be_read_is_never_without_changes(&alike, row, &stored)).await;
        }
        let stored = match row.resource {
            "mesh_remote_cluster" => {
                Box::pin(same_cluster::a_watcher_under_a_new_name_stays_linked(&alike, row, &config, stored)).await
            }
            _ => stored,
        };
        same_cluster::another_is_not_taken_for_its_own(&alike, row, &config, &stored).await;
        let stored = Box::pin(a_state_of_before_marks_goes_on(&alike, row, &config, stored)).await;
        let stored = match row.strays {
            true => Box::pin(what_a_killed_apply_left_is_seen(&alike, row, &config, stored)).await,
            false => stored,
        };
        // A root that is found is not trusted, whatever it is marked with: nobody takes it up unasked.
        let stored = match row.resource {
            "mesh_ca" => {
                let stored = Box::pin(what_is_made_stays_as_it_is(&alike, row, &config, stored)).await;
                Box::pin(refusals::a_create_that_is_refused_leaves_what_it_found_to_its_state(
                    &alike, row, &config, stored,
                ))
                .await
            }
            _ => Box::pin(what_is_taken_up_outlives_the_state_before(&alike, row, &config, stored)).await,
        };
        let stored = match row.resource {
            "mesh_ca" => stored,
            _ => Box::pin(what_no_run_called_complete_is_completed(&alike, row, &config, stored)).await,
        };
        let stored = Box::pin(what_is_taken_over_outlives_the_state_before(&alike, row, &config, stored)).await;
        made.push((row, stored));
    }
    same_cluster::names_of_one_are_taken_for_one(&alike).await;
    let bystanders = bystanders(&alike);
    for (row, stored) in made.iter().rev() {
        a_destroy_finds_what_is_its_own(&alike, row, stored).await;
    }
    whatever_keeps_a_namespace_is_said(&alike).await;
    for (cluster, object) in bystanders {
        let metadata = &object["metadata"];
        let [kind, namespace, name] =
            [&object["kind"], &metadata["namespace"], &metadata["name"]].map(|text| text.as_str().expect("text"));
        assert_eq!(alike.cluster(cluster).get(&["-n", namespace, kind, name]).expect("kubectl"), Some(object.clone()));
    }
}

/// Without clusters, and with one that does not answer: a warning, and what state says of the objects stays.
async fn who_cannot_look_says_so(alike: &Alike, row: &Row, stored: &Stored) {
    let nobody = json!({"host": "https://127.0.0.1:1", "insecure": true});
    for clusters in [json!({}), json!({"east": nobody, "west": nobody})] {
        alike.configure(clusters).await;
        let (read, told) = alike.refresh_by_these(row, stored).await;
        let read = read.unwrap_or_else(|| panic!("{}: taken for gone: {told}", row.resource));
        for attribute in ["id", "instance", "objects", "root_certificate"] {
            assert_eq!(attribute_of(&read, attribute), attribute_of(stored, attribute), "{}", row.resource);
        }
        assert!(!told.is_empty(), "{}: nothing is said", row.resource);
    }
}

/// A state that an earlier version wrote has no mark, nor has anything in the clusters. It is no change by itself, and
/// the next change marks all of it again.
async fn a_state_of_before_marks_goes_on(alike: &Alike, row: &Row, config: &Json, stored: Stored) -> Stored {
    let before = alike.marked(&stored);
    let old = alike.as_of_before_marks(&stored);
    let (seen, told) = alike.refresh(row, &old).await;
    assert_eq!(alike.next(row, Some(config), &seen).await, Action::Nothing, "{}: {told}", row.resource);
    let mut changed = config.clone();
    changed["adopt"] = json!(true);
    let stored = alike.apply(row, &changed, Some(&seen)).await;
    let stored = alike.apply(row, config, Some(&stored)).await;
    assert_eq!(alike.marked(&stored), before, "{}", row.resource);
    alike.again().await;
    assert_eq!(alike.next(row, Some(config), &stored).await, Action::Nothing, "{}", row.resource);
    stored
}

/// The refresh sees it, the next apply removes it.
async fn what_a_killed_apply_left_is_seen(alike: &Alike, row: &Row, config: &Json, stored: Stored) -> Stored {
    alike.leave_a_stray(row);
    let (seen, told) = alike.refresh(row, &stored).await;
    assert_eq!(alike.next(row, Some(config), &seen).await, Action::Update, "{}: {told}", row.resource);
    let stored = alike.apply(row, config, Some(&seen)).await;
    assert!(!alike.has_stray(row), "{}: the stray is still there", row.resource);
    alike.again().await;
    assert_eq!(alike.next(row, Some(config), &stored).await, Action::Nothing, "{}", row.resource);
    stored
}

/// A create that failed stays in state, tainted, and `create_before_destroy` makes its replacement first: that takes up
/// what there is. The destroy of the tainted one comes after it, and must find nothing of its own.
async fn what_is_taken_up_outlives_the_state_before(
    alike: &Alike,
    row: &Row,
    config: &Json,
    tainted: Stored,
) -> Stored {
    alike.leave_the_lease(&tainted, "false", "interrupted");
    let stored = alike.apply(row, config, None).await;
    let there = alike.marked(&stored);
    assert!(!there.is_empty(), "{}", row.resource);
    alike.again().await;
    let planned = alike.core.plan(row.resource, None, Some(&tainted)).await;
    let planned = planned.unwrap_or_else(|errors| panic!("{}: {errors}", row.resource));
    let gone = alike.core.apply(row.resource, planned).await;
    assert!(gone.stored.is_none() && !gone.diagnostics.has_errors(), "{}: {}", row.resource, gone.diagnostics);
    assert_eq!(alike.marked(&stored), there, "{}: {}", row.resource, gone.diagnostics);
    alike.again().await;
    assert_eq!(alike.next(row, Some(config), &stored).await, Action::Nothing, "{}", row.resource);
    stored
}

/// A create that does not take up what a killed run has made says so before it writes, to the Lease as well: another
/// state may know the instance.
async fn what_is_made_stays_as_it_is(alike: &Alike, row: &Row, config: &Json, stored: Stored) -> Stored {
    let lease = alike.leave_the_lease(&stored, "made", "elsewhere/1/gone/x");
    let text = |key: &str| lease["metadata"][key].as_str().expect("text").to_owned();
    alike.again().await;
    let planned = alike.core.plan(row.resource, Some(config.clone()), None).await;
    let refused = alike.core.apply(row.resource, planned.unwrap_or_else(|errors| panic!("{errors}"))).await;
    let told = refused.diagnostics.to_string();
    assert!(refused.stored.is_none() && told.contains("exists already") && told.contains("import {"), "{told}");
    assert!(told.contains("Its objects here are "), "{told}");
    let (namespace, name) = (text("namespace"), text("name"));
    assert_eq!(alike.object([row.objects[1][0], "lease", &namespace, &name]), Some(lease), "{told}");
    // Whoever knows its mark continues with it.
    let stored = alike.apply(row, config, Some(&stored)).await;
    alike.again().await;
    assert_eq!(alike.next(row, Some(config), &stored).await, Action::Nothing, "{}", row.resource);
    stored
}

/// A run whose last requests are refused leaves its instance called made, and not complete. A refresh writes nothing;
/// it says so, and the next apply of this state completes it.
async fn what_no_run_called_complete_is_completed(alike: &Alike, row: &Row, config: &Json, stored: Stored) -> Stored {
    let lease = alike.leave_the_lease(&stored, "made", "elsewhere/1/gone/x");
    let (seen, told) = alike.refresh(row, &stored).await;
    assert!(told.contains("could not be given back"), "{}: {told}", row.resource);
    let metadata = &lease["metadata"];
    let [namespace, name] = ["namespace", "name"].map(|key| metadata[key].as_str().expect("text"));
    let reference = [row.objects[0][0], "lease", namespace, name];
    assert_eq!(alike.object(reference).as_ref(), Some(&lease), "{}: a refresh writes nothing", row.resource);
    assert_eq!(alike.next(row, Some(config), &seen).await, Action::Update, "{}: {told}", row.resource);
    let stored = alike.apply(row, config, Some(&seen)).await;
    let said = alike.object(reference).expect("a Lease")["metadata"]["annotations"][COMPLETE].clone();
    assert_eq!(said, "true", "{}", row.resource);
    alike.again().await;
    assert_eq!(alike.next(row, Some(config), &stored).await, Action::Nothing, "{}", row.resource);
    stored
}

/// Another state takes the instance over. The destroy of the first one leaves all of it, and what is around it.
async fn what_is_taken_over_outlives_the_state_before(
    alike: &Alike,
    row: &Row,
    config: &Json,
    before: Stored,
) -> Stored {
    let mut adopting = config.clone();
    adopting["adopt"] = json!(true);
    let stored = alike.apply(row, &adopting, None).await;
    let around = || {
        let kinds = ["namespaces", "configmaps", "gatewayclasses"];
        let all = ["east", "west"].iter().flat_map(|name| kinds.map(|kind| (name, kind)));
        let listed = all.filter_map(|(name, kind)| Some((name, alike.cluster(name).get(&["-A", kind]).ok()??)));
        let items = listed.flat_map(|(name, list)| {
            let items = list["items"].as_array().cloned().unwrap_or_default();
            items.into_iter().map(move |item| (name, item))
        });
        let named = items.map(|(name, item)| {
            let metadata = &item["metadata"];
            format!("{name} {} {}/{} {}", item["kind"], metadata["namespace"], metadata["name"], metadata["labels"])
        });
        named.filter(|line| !line.contains("leader")).collect::<Vec<_>>()
    };
    let there = (alike.marked(&stored), around());
    alike.again().await;
    let planned = alike.core.plan(row.resource, None, Some(&before)).await;
    let planned = planned.unwrap_or_else(|errors| panic!("{}: {errors}", row.resource));
    let gone = alike.core.apply(row.resource, planned).await;
    assert!(gone.stored.is_none() && !gone.diagnostics.has_errors(), "{}: {}", row.resource, gone.diagnostics);
    assert_eq!((alike.marked(&stored), around()), there, "{}: {}", row.resource, gone.diagnostics);
    stored
}

/// What nobody of ours made, in every namespace that a destroy may take along.
fn bystanders(alike: &Alike) -> Vec<(&'static str, Json)> {
    let places =
        ROWS.iter().flat_map(|row| row.objects).map(|object| (object[0], object[2])).chain([("west", "istio-system")]);
    let mut places: Vec<(&str, &str)> = places.collect();
    places.sort_unstable();
    places.dedup();
    let made = places.into_iter().map(|(cluster, namespace)| {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "bystander", "namespace": namespace,
            "labels": {OWNER: "mesh_primary.istiod"}}, "data": {"of": "nobody"}});
        alike.write(cluster, &object, &[]);
        (cluster, alike.cluster(cluster).get(&["-n", namespace, "configmap", "bystander"]).expect("kubectl").expect("made"))
    });
    made.collect()
}

/// After a run that gave up it finds what no state knows; what somebody else has made anew stays and is named; nothing
/// else of it is left.
async fn a_destroy_finds_what_is_its_own(alike: &Alike, row: &Row, stored: &Stored) {
    if row.strays {
        alike.leave_a_stray(row);
    }
    alike.interrupt(stored);
    let uids = row.objects.iter().map(|object| alike.make_anew(*object)).collect::<Vec<_>>();
    alike.again().await;
    let planned = alike.core.plan(row.resource, None, Some(stored)).await;
    let planned = planned.unwrap_or_else(|errors| panic!("{}: {errors}", row.resource));
    let refreshed = alike.core.refresh_told(row.resource, stored).await.expect("a refresh").1.to_string();
    let gone = alike.core.apply(row.resource, planned).await;
    let told = gone.diagnostics.to_string();
    assert!(gone.stored.is_none() && !gone.diagnostics.has_errors(), "{}: {told}", row.resource);
    for (object, uid) in row.objects.iter().zip(uids) {
        let stays = alike.object(*object).unwrap_or_else(|| panic!("{}: {object:?} is gone", row.resource));
        assert_eq!(stays["metadata"]["uid"].as_str(), Some(uid.as_str()), "{}: {object:?}", row.resource);
        // In words as `Secret mesh-ca/cacerts`, already by the refresh.
        let [_, kind, namespace, name] = object;
        let line = refreshed.lines().find(|line| {
            let line = line.to_lowercase();
            line.contains(kind)
                && line.contains(&format!("{namespace}/{name}"))
                && line.contains("somebody else has recreated it")
        });
        assert!(line.is_some(), "{}: {object:?} is not named: {refreshed}", row.resource);
        // What has its name from the configuration is not forgotten by that: the destroy says that it stays.
        let stays = told.contains(&format!("{namespace}/{name}: somebody else has recreated it"));
        assert!(row.strays || stays, "{}: {object:?} is not named by the destroy: {told}", row.resource);
    }
    assert!(!alike.has_stray(row), "{}: the stray is still there", row.resource);
    assert_eq!(alike.marked(stored), Vec::<String>::new(), "{}: left behind; {told}", row.resource);
}

/// Somebody's object keeps the namespace, and that is said: whatever its name or its label, and also where it goes with
/// something that is in no namespace. So does a Lease by which what a killed create has written may be found.
async fn whatever_keeps_a_namespace_is_said(alike: &Alike) {
    let row = ROWS.iter().find(|row| row.resource == "mesh_ca_request").expect("a row");
    let config = json!({"cluster": "east", "namespace": "labelled"});
    let role = alike.object(["east", "clusterrole", "default", "cluster-admin"]).expect("every cluster has it");
    let (label, mark) = (json!({OWNER: "mesh_ca_request.labelled"}), "f".repeat(32));
    let lease = json!({OWNER: "mesh_eastwest_gateway.gone.labelled"});
    let objects: [(Json, &[&str]); 6] = [
        (json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "theirs", "labels": label}}), &[]),
        (json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs", "labels": label}}), &[]),
        (json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "istio-ca-root-cert"}}), &[]),
        (
            json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "theirs"},
                "addressType": "IPv4", "endpoints": [{"addresses": ["192.0.2.1"]}], "ports": []}),
            &[],
        ),
        (
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs", "ownerReferences": [
                {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "name": "cluster-admin", "uid": role["metadata"]["uid"]}]}}),
            &[],
        ),
        (
            json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "mesh-eastwest-gateway.gone",
                "labels": lease, "annotations": {MARK: mark, COMPLETE: "false"}}, "spec": {"holderIdentity": "interrupted"}}),
            &["--server-side", MANAGER],
        ),
    ];
    for (mut object, how) in objects {
        let stored = alike.apply(row, &config, None).await;
        object["metadata"]["namespace"] = json!("labelled");
        alike.write("east", &object, how);
        alike.again().await;
        let planned = alike.core.plan(row.resource, None, Some(&stored)).await.expect("a plan");
        let gone = alike.core.apply(row.resource, planned).await;
        let told = gone.diagnostics.to_string();
        assert!(gone.stored.is_none() && told.contains("Namespace labelled: "), "{object}: {told}");
        let named = [&object["kind"], &object["metadata"]["name"]].map(|text| text.as_str().expect("text"));
        assert!(told.contains(&format!("{} labelled/{}", named[0], named[1])), "{object}: {told}");
        alike.cluster("east").kubectl(&["delete", "namespace", "labelled"]).expect("kubectl");
    }
}

/// What the room leaves for a resource to write: one without waits of its own, and the order of one with them.
#[test]
fn a_resource_needs_few_lines() {
    let lines = |text: &str| text.lines().count();
    assert!(lines(include_str!("support/note.rs")) <= 300);
    assert!(lines(include_str!("../../src/resources/eastwest_gateway/mod.rs")) <= 150);
}
