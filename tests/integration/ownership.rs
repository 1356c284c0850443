//! Objects belong to an instance and not to a name: what others make, keep or take over beside us stays, and nothing of
//! ours is lost to another run.

use std::sync::Arc;
use std::time::Duration;

use lab::tools::Istio;
use lab::{Cluster, Fault};
use serde_json::{Value as Json, json};

use crate::primary_lifecycle::{apply, assert_settled, config, core, destroy, plan, reconfigure, start};
use crate::support::core::{Action, Applied, Core, Planned, Stored};
use crate::support::unmarked::{unmark, without_marks};

const PRIMARY: &str = "mesh_primary";

fn kubectl_apply(cluster: &Cluster, object: &Json) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), object.to_string()).expect("written");
    cluster.kubectl(&["apply", "-f", &file.path().display().to_string()]).expect("kubectl");
}

fn there(cluster: &Cluster, arguments: &[&str]) -> bool {
    cluster.get(arguments).expect("kubectl").is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_this_instance_s_stays() {
    let (_lab, east) = start();
    let core = core(&east, Istio::Current).await;
    let config = config(Istio::Current, json!({}));
    let stored = apply(&core, &config, None).await;

    let stored = a_deleted_namespace_is_made_anew(&core, &east, &config, stored).await;
    let stored = an_apply_whose_namespace_goes_begins_again(&core, &east, &config, stored).await;
    let stored = an_apply_begins_while_its_namespace_goes(&core, &east, &config, stored).await;
    a_tenant_s_label_steers_nothing(&core, &east, &config, &stored).await;
    let stored = an_object_made_anew_by_hand(&core, &east, &config, &stored).await;
    let stored = a_state_older_than_marks(&core, &east, &config, stored).await;
    a_second_state_is_refused_and_its_run_waits(&core, &east, &config, &stored).await;

    // Nobody of ours made these: they would be gone with the namespace.
    for object in [
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": "istio-system"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
        json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly", "namespace": "istio-system"},
            "spec": {"schedule": "@daily", "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}}}}),
    ] {
        kubectl_apply(&east, &object);
    }
    let told = destroy(&core, &stored).await.to_string();
    assert!(told.contains("Namespace istio-system: ") && told.contains(" are in it"), "{told}");
    for kept in [["pvc", "data"], ["cronjob", "nightly"], ["serviceaccount", "istiod"]] {
        assert!(there(&east, &["-n", "istio-system", kept[0], kept[1]]), "{kept:?}");
    }
    assert!(!there(&east, &["-n", "istio-system", "deployment", "istiod"]));
    assert!(!there(&east, &["-n", "istio-system", "lease", "mesh-primary.istiod"]));
}

/// Deleted with all that was in it, while what has no namespace stays.
async fn a_deleted_namespace_is_made_anew(core: &Core, east: &Cluster, config: &Json, stored: Stored) -> Stored {
    east.kubectl(&["delete", "namespace", "istio-system"]).expect("kubectl");
    reconfigure(core, east).await;
    let refreshed = core.refresh(PRIMARY, &stored).await.expect("a refresh").expect("webhooks are there");
    let stored = apply(core, config, Some(&refreshed)).await;
    assert!(there(east, &["-n", "istio-system", "deployment", "istiod"]));
    assert_settled(core, config, &stored).await;
    stored
}

/// Objects and Lease of an apply go with their namespace: it waits for the end, and begins again in the same run.
async fn an_apply_whose_namespace_goes_begins_again(
    core: &Core,
    east: &Arc<Cluster>,
    config: &Json,
    stored: Stored,
) -> Stored {
    let mut changed = config.clone();
    changed["values"].as_array_mut().expect("documents").push(json!("pilot: {env: {TRIED: \"1\"}}"));
    reconfigure(core, east).await;
    let planned = plan(core, &changed, Some(&stored)).await;
    let late = Fault::late(Duration::from_secs(30));
    east.fault(late.for_request("PATCH /apis/apps/v1/namespaces/istio-system/deployments/istiod")).expect("a fault");
    let cluster = east.clone();
    let deleting = tokio::task::spawn_blocking(move || {
        let lease = |of: &str| {
            let path = format!("jsonpath={{{of}}}");
            cluster.kubectl(&["-n", "istio-system", "get", "lease", "mesh-primary.istiod", "-o", &path])
        };
        let held = || lease(".spec.holderIdentity").is_ok_and(|holder| !["", "nobody"].contains(&holder.trim()));
        cluster.wait_until("the Lease is held", held).expect("the apply begins");
        let held = lease(".metadata.uid").expect("it is held");
        cluster.kubectl(&["delete", "namespace", "istio-system", "--wait=false"]).expect("kubectl");
        // The apply may have made its next one before anybody looks again.
        let gone = || lease(".metadata.uid").map_or(true, |uid| uid != held);
        let went = cluster.wait_until("the Lease has gone with its namespace", gone);
        went.unwrap_or_else(|error| panic!("{error}: {:?}", cluster.get(&["namespace", "istio-system"])));
        cluster.clear_faults().expect("no fault");
    });
    let applying = tokio::time::timeout(Duration::from_secs(600), Box::pin(core.apply(PRIMARY, planned)));
    let (applied, deleted) = tokio::join!(applying, deleting);
    deleted.expect("the namespace is deleted");
    let Applied { stored: again, diagnostics } = applied.expect("it ends");
    assert!(!diagnostics.has_errors(), "{diagnostics}");
    let told = diagnostics.to_string();
    assert!(told.contains("Namespace istio-system of east was deleted during the apply"), "{told}");
    let again = again.expect("it is in state");
    assert_eq!(mark(&again), mark(&stored), "what has no namespace stays its own");
    assert_settled(core, &changed, &again).await;
    apply(core, config, Some(&again)).await
}

/// The namespace is on its way out when the plan is made, and still so when the apply begins: what the refresh has seen
/// goes with it. The apply waits for the end, and makes all of it.
async fn an_apply_begins_while_its_namespace_goes(
    core: &Core,
    east: &Arc<Cluster>,
    config: &Json,
    stored: Stored,
) -> Stored {
    let held = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "held", "namespace": "istio-system", "finalizers": ["example.com/held"]}});
    kubectl_apply(east, &held);
    east.kubectl(&["delete", "namespace", "istio-system", "--wait=false"]).expect("kubectl");
    reconfigure(core, east).await;
    let refreshed = core.refresh(PRIMARY, &stored).await.expect("a refresh").expect("webhooks are there");
    let planned = plan(core, config, Some(&refreshed)).await;
    let namespace = east.get(&["namespace", "istio-system"]).expect("kubectl").expect("it is still there");
    assert!(namespace["metadata"]["deletionTimestamp"].is_string(), "{namespace}");
    let released = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let release = ["-n", "istio-system", "patch", "configmap", "held", "--type=merge", "-p"];
        let nothing = r#"{"metadata":{"finalizers":null}}"#;
        east.kubectl(&[&release[..], &[nothing]].concat()).expect("the namespace is still there");
    };
    let applying = tokio::time::timeout(Duration::from_secs(600), Box::pin(core.apply(PRIMARY, planned)));
    let (applied, ()) = tokio::join!(applying, released);
    let Applied { stored, diagnostics } = applied.expect("it does not wait for what nobody makes");
    assert!(!diagnostics.has_errors(), "{diagnostics}");
    let stored = stored.expect("it is in state");
    assert!(there(east, &["-n", "istio-system", "deployment", "istiod"]));
    reconfigure(core, east).await;
    assert_settled(core, config, &stored).await;
    stored
}

/// Label and mark copied, by someone who may write in a namespace of their own and in the system namespace.
async fn a_tenant_s_label_steers_nothing(core: &Core, east: &Cluster, config: &Json, stored: &Stored) {
    east.kubectl(&["create", "namespace", "team-a"]).expect("kubectl");
    let mark = mark(stored);
    let copies = ["team-a", "istio-system"].map(|namespace| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "planted", "namespace": namespace,
            "labels": {"terraform-provider-mesh/owner": "mesh_primary.istiod"}, "annotations": {"terraform-provider-mesh/instance": mark}}})
    });
    copies.iter().for_each(|copy| kubectl_apply(east, copy));
    reconfigure(core, east).await;
    let refreshed = core.refresh(PRIMARY, stored).await.expect("a refresh").expect("it is there");
    assert_settled(core, config, &refreshed).await;
    let mut changed = config.clone();
    changed["values"].as_array_mut().expect("documents").push(json!("pilot: {cpu: {targetAverageUtilization: 70}}"));
    let stored = apply(core, &changed, Some(&refreshed)).await;
    apply(core, config, Some(&stored)).await;
    for namespace in ["team-a", "istio-system"] {
        assert!(there(east, &["-n", namespace, "configmap", "planted"]), "{namespace}");
    }
}

/// Deleted and made again by hand under its name: it is told, refused without being asked for, and not taken along by a
/// destroy.
async fn an_object_made_anew_by_hand(core: &Core, east: &Cluster, config: &Json, stored: &Stored) -> Stored {
    let account = ["-n", "istio-system", "serviceaccount", "istiod"];
    east.kubectl(&["-n", "istio-system", "delete", "serviceaccount", "istiod"]).expect("kubectl");
    east.kubectl(&["-n", "istio-system", "create", "serviceaccount", "istiod"]).expect("kubectl");
    reconfigure(core, east).await;
    let (refreshed, told) = core.refresh_told(PRIMARY, stored).await.expect("a refresh");
    let refreshed = refreshed.expect("it is there");
    assert!(told.to_string().contains("somebody else has recreated it"), "{told}");
    let planned = plan(core, config, Some(&refreshed)).await;
    assert_eq!(planned.action, Action::Update, "the plan wants its own back");
    let refused = core.apply(PRIMARY, planned).await;
    assert!(
        refused.diagnostics.to_string().contains("ServiceAccount istio-system/istiod exists already"),
        "{}",
        refused.diagnostics
    );
    assert!(there(east, &account));
    let kept = refused.stored.expect("it is there all the same");

    // A core keeps no private data of an update in which the provider was killed: the Lease remembers that everything
    // was marked.
    let forgotten = Stored { private: Vec::new(), ..stored.clone() };
    reconfigure(core, east).await;
    let refreshed = core.refresh(PRIMARY, &forgotten).await.expect("a refresh").expect("it is there");
    let refused = core.apply(PRIMARY, plan(core, config, Some(&refreshed)).await).await;
    assert!(
        refused.diagnostics.to_string().contains("ServiceAccount istio-system/istiod exists already"),
        "{}",
        refused.diagnostics
    );
    let annotations = east.kubectl(&[&["get"], &account[..], &["-o", "jsonpath={.metadata.annotations}"]].concat());
    assert_eq!(annotations.expect("kubectl"), "", "nobody has marked it");
    kept
}

/// A state that this provider wrote before there were marks: nothing of it says whose the objects are but their label.
async fn a_state_older_than_marks(core: &Core, east: &Cluster, config: &Json, stored: Stored) -> Stored {
    const KINDS: &str = "configmaps,serviceaccounts,services,deployments,clusterroles,clusterrolebindings,roles,rolebindings,\
                         mutatingwebhookconfigurations,validatingwebhookconfigurations,customresourcedefinitions,hpa,pdb";
    unmark(east, KINDS, "mesh_primary.istiod");
    let old = without_marks(&stored);

    reconfigure(core, east).await;
    let refreshed = core.refresh(PRIMARY, &old).await.expect("a refresh").expect("it is there");
    // The account that was made by hand is still refused; without it the state is as it was.
    let marked = core.apply(PRIMARY, plan(core, config, Some(&refreshed)).await).await;
    let stored = marked.stored.clone().expect("it is there");
    assert_eq!(mark(&stored).len(), 32, "an apply marks what it keeps: {}", marked.diagnostics);
    let owned = east.kubectl(&[
        "get",
        "clusterroles",
        "-l",
        "terraform-provider-mesh/owner=mesh_primary.istiod",
        "-o",
        "jsonpath={.items[*].metadata.annotations.terraform-provider-mesh/instance}",
    ]);
    let owned = owned.expect("kubectl");
    assert!(owned.split(' ').count() >= 3 && owned.split(' ').all(|found| found == mark(&stored)), "{owned}");
    stored
}

/// A run without this state is refused; and while another run is at work it waits, and is refused then.
async fn a_second_state_is_refused_and_its_run_waits(core: &Core, east: &Cluster, config: &Json, stored: &Stored) {
    let refused = core.apply(PRIMARY, plan(core, config, None).await).await;
    let told = refused.diagnostics.to_string();
    assert!(refused.stored.is_none() && told.contains("exists already") && told.contains(&mark(stored)), "{told}");
    let holder = json!([{"op": "replace", "path": "/spec/holderIdentity", "value": "elsewhere/1/another-machine/x"},
        {"op": "replace", "path": "/spec/renewTime", "value": "2999-01-01T00:00:00.000000Z"}]);
    let lease = ["-n", "istio-system", "patch", "lease", "mesh-primary.istiod", "--type=json", "-p"];
    east.kubectl(&[&lease[..], &[holder.to_string().as_str()]].concat()).expect("kubectl");
    let hurried = {
        let mut config = config.clone();
        config["timeouts"] = json!({"create": "15s"});
        config
    };
    let waited = core.apply(PRIMARY, plan(core, &hurried, None).await).await.diagnostics.to_string();
    assert!(waited.contains("Another run is at work") && waited.contains("process 1 on elsewhere"), "{waited}");
    let nobody = json!([{"op": "replace", "path": "/spec/holderIdentity", "value": "nobody"}]).to_string();
    east.kubectl(&[&lease[..], &[nobody.as_str()]].concat()).expect("kubectl");
}

fn mark(stored: &Stored) -> String {
    let json: Json = serde_json::from_str(&stored.json).expect("JSON");
    json["instance"].as_str().unwrap_or_default().to_owned()
}

/// Two runs that know nothing of each other, at the same moment: one makes it, the other writes nothing and says why.
/// And two control planes that go at once leave no webhook that nobody serves, and no definition.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_at_the_same_time_do_not_meet() {
    let (_lab, east) = start();
    let (first, second) = (core(&east, Istio::Current).await, core(&east, Istio::Current).await);
    let alone = config(Istio::Current, json!({}));
    let (one, other) = (plan(&first, &alone, None).await, plan(&second, &alone, None).await);
    let run = |core: Core, planned: Planned| async move { core.apply(PRIMARY, planned).await };
    let (one, other) = tokio::join!(run(first, one), run(second, other));
    let (made, refused): (Vec<Applied>, Vec<Applied>) =
        [one, other].into_iter().partition(|applied| !applied.diagnostics.has_errors());
    assert_eq!((made.len(), refused.len()), (1, 1), "{made:?} {refused:?}");
    assert!(refused[0].diagnostics.to_string().contains("exists already"), "{}", refused[0].diagnostics);
    let stored = made.into_iter().next().and_then(|made| made.stored).expect("made");

    let core = core(&east, Istio::Current).await;
    a_create_that_only_waited_leaves_no_lease(&core, &east).await;
    let canary = config(Istio::Current, json!({"revision": "canary", "install_base": false}));
    let second = apply(&core, &canary, None).await;
    assert_settled(&core, &alone, &stored).await;
    let stored = what_an_instance_left_is_taken_over_by_the_next(&core, &east, &alone, &stored).await;
    let (told, too) = tokio::join!(destroy(&core, &stored), destroy(&core, &second));
    let anew = what_a_resource_of_another_type_left_is_taken_over(&core, &east, &alone).await;
    destroy(&core, &anew).await;
    let left = east.kubectl(&[
        "get",
        "crd,validatingwebhookconfigurations,mutatingwebhookconfigurations,clusterroles",
        "-o",
        "name",
    ]);
    let left: Vec<String> =
        left.expect("kubectl").lines().filter(|name| name.contains("istio")).map(str::to_owned).collect();
    assert_eq!(left, Vec::<String>::new(), "{told} {too}");
    assert!(!there(&east, &["namespace", "istio-system"]), "{told} {too}");
}

/// Its time ends while it waits for another control plane to give up what they share: it has written nothing, and no
/// state knows it.
async fn a_create_that_only_waited_leaves_no_lease(core: &Core, east: &Cluster) {
    let both = config(Istio::Current, json!({"revision": "second", "timeouts": {"create": "15s"}}));
    let planned = plan(core, &both, None).await;
    east.reset_requests();
    let refused = core.apply(PRIMARY, planned).await;
    assert!(refused.stored.is_none() && refused.diagnostics.has_errors(), "{}", refused.diagnostics);
    // It had one all the time that it waited, and no longer when it has given up.
    const LEASE: &str = "mesh-primary.istiod-second";
    assert!(!there(east, &["-n", "istio-system", "lease", LEASE]), "its Lease stays: {}", refused.diagnostics);
    let asked = || east.requests().by_agent("terraform-provider-mesh").by_resource("leases");
    let deleted = || !asked().by_verb("delete").only(|one| one.name == LEASE && one.status == 200).is_empty();
    east.wait_until("the audit log", deleted).unwrap_or_else(|error| panic!("{error}: {}", asked().listing()));
}

/// Of two control planes that go at once one sees the other at first, and is alone when it has gone itself; the other
/// one went while that was still there. What they share goes all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_planes_that_go_at_once_leave_nothing_to_each_other() {
    let (_lab, east) = start();
    let core = core(&east, Istio::Current).await;
    let first = apply(&core, &config(Istio::Current, json!({})), None).await;
    let canary = config(Istio::Current, json!({"revision": "canary", "install_base": false}));
    let second = apply(&core, &canary, None).await;
    // Held up between its looks: its istiod stays while the other one goes.
    let path = "DELETE /apis/apps/v1/namespaces/istio-system/deployments/istiod ";
    east.fault(Fault::held().for_request(path).times(1)).expect("a fault");
    let other = async {
        let watched = east.clone();
        let gone = move || !there(&watched, &["mutatingwebhookconfiguration", "istio-sidecar-injector"]);
        let watched = east.clone();
        let seen = move || watched.wait_until("the webhooks of the first one to go", gone);
        tokio::task::spawn_blocking(seen).await.expect("no panic").expect("they go first");
        let told = destroy(&core, &second).await;
        assert!(there(&east, &["-n", "istio-system", "deployment", "istiod"]), "the first one is still held up");
        east.clear_faults().expect("no fault");
        told
    };
    let (told, too) = tokio::join!(destroy(&core, &first), other);
    let left = east.kubectl(&["get", "crd,validatingwebhookconfigurations", "-o", "name"]).expect("kubectl");
    let left: Vec<&str> = left.lines().filter(|name| name.contains("istio")).collect();
    assert_eq!(left, [] as [&str; 0], "{told} {too}");
    assert!(!told.to_string().contains("uses it too"), "{told}");
    assert!(!there(&east, &["namespace", "istio-system"]), "{told} {too}");
}

/// Of what two control planes share, whoever gives it up leaves alone what the other one has taken over; and whoever
/// goes leaves all of one that lives on without its Deployment, which somebody has deleted by hand.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_control_plane_has_stays_with_it() {
    let (_lab, east) = start();
    let core = core(&east, Istio::Current).await;
    let first = apply(&core, &config(Istio::Current, json!({})), None).await;
    let canary = config(Istio::Current, json!({"revision": "canary", "adopt": true}));
    let second = apply(&core, &canary, None).await;
    reconfigure(&core, &east).await;
    let giving_up = config(Istio::Current, json!({"install_base": false}));
    let first = apply(&core, &giving_up, Some(&first)).await;
    let definition = ["customresourcedefinition", "gateways.networking.istio.io"];
    let mark_of = "jsonpath={.metadata.annotations.terraform-provider-mesh/instance}";
    let found = east.kubectl(&["get", definition[0], definition[1], "-o", mark_of]).expect("kubectl");
    assert_eq!(found, mark(&second), "it was taken over before it was given up");
    reconfigure(&core, &east).await;
    assert_settled(&core, &canary, &second).await;

    east.kubectl(&["-n", "istio-system", "delete", "deployment", "istiod"]).expect("kubectl");
    reconfigure(&core, &east).await;
    let told = destroy(&core, &second).await;
    for kept in [["serviceaccount", "istiod"], ["configmap", "istio"], ["lease", "mesh-primary.istiod"]] {
        assert!(there(&east, &["-n", "istio-system", kept[0], kept[1]]), "{kept:?}: {told}");
    }
    reconfigure(&core, &east).await;
    let first = apply(&core, &config(Istio::Current, json!({})), Some(&first)).await;
    assert!(there(&east, &["-n", "istio-system", "deployment", "istiod"]));
    let told = destroy(&core, &first).await;
    assert!(!there(&east, &["namespace", "istio-system"]), "{told}");

    let first = apply(&core, &config(Istio::Current, json!({})), None).await;
    what_the_last_one_finds_by_its_label_is_somebodys(&core, &east, &first).await;
}

/// What the first control plane leaves to the second, that takes along when it goes as the last one, and nothing that
/// anybody has given the label of the first.
async fn what_the_last_one_finds_by_its_label_is_somebodys(core: &Core, east: &Cluster, first: &Stored) {
    let canary = config(Istio::Current, json!({"revision": "canary", "install_base": false}));
    let second = apply(core, &canary, None).await;
    let labels = json!({"terraform-provider-mesh/owner": "mesh_primary.istiod"});
    for object in [
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs", "namespace": "istio-system", "labels": labels}}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "theirs", "labels": labels}}),
    ] {
        kubectl_apply(east, &object);
    }
    reconfigure(core, east).await;
    destroy(core, first).await;
    reconfigure(core, east).await;
    let told = destroy(core, &second).await.to_string();
    assert!(there(east, &["clusterrole", "theirs"]), "{told}");
    assert!(there(east, &["-n", "istio-system", "configmap", "theirs"]), "{told}");
    assert!(told.contains("Namespace istio-system: ConfigMap istio-system/theirs"), "{told}");
    let gone = || !there(east, &["customresourcedefinition", "gateways.networking.istio.io"]);
    east.wait_until("what the first one has left to go", gone).expect("it goes");
}

/// A destroy leaves what others use: the definitions of a tenant's objects, and what another control plane shares. The
/// next instance of the same name takes it over without being asked, while what somebody else keeps under such a name
/// is refused as ever.
async fn what_an_instance_left_is_taken_over_by_the_next(
    core: &Core,
    east: &Cluster,
    config: &Json,
    stored: &Stored,
) -> Stored {
    let gateway = json!({"apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": {"name": "theirs", "namespace": "default"},
        "spec": {"selector": {"istio": "theirs"}, "servers": [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}]}});
    kubectl_apply(east, &gateway);
    let told = destroy(core, stored).await.to_string();
    assert!(told.contains("the control plane istio-system/istiod-canary uses it too"), "{told}");
    let definition = "customresourcedefinition/gateways.networking.istio.io";
    let foreign = ["clusterrole", "istio-reader-clusterrole-istio-system"];
    east.kubectl(&["delete", foreign[0], foreign[1], "--ignore-not-found"]).expect("kubectl");
    east.kubectl(&["create", foreign[0], foreign[1], "--verb=get", "--resource=pods"]).expect("kubectl");
    reconfigure(core, east).await;
    let refused = core.apply(PRIMARY, plan(core, config, None).await).await;
    let told = refused.diagnostics.to_string();
    assert!(told.contains(&format!("ClusterRole {} exists already", foreign[1])), "{told}");
    assert!(!told.contains("CustomResourceDefinition"), "{told}");
    east.kubectl(&["delete", foreign[0], foreign[1]]).expect("kubectl");

    reconfigure(core, east).await;
    let stored = apply(core, config, refused.stored.as_ref()).await;
    assert_settled(core, config, &stored).await;
    let mark_of = "jsonpath={.metadata.annotations.terraform-provider-mesh/instance}";
    let found = east.kubectl(&["get", definition, "-o", mark_of]).expect("kubectl");
    assert_eq!(found, mark(&stored), "the definition is the new instance's");
    stored
}

/// The same where a resource of another type has left the definition, as a cluster without a control plane has when it
/// becomes one with a control plane.
async fn what_a_resource_of_another_type_left_is_taken_over(core: &Core, east: &Cluster, config: &Json) -> Stored {
    let definition = ["customresourcedefinition", "gateways.networking.istio.io"];
    let owner = "terraform-provider-mesh/owner=mesh_remote_cluster.gone";
    east.kubectl(&["label", definition[0], definition[1], owner, "--overwrite"]).expect("kubectl");
    reconfigure(core, east).await;
    let mut config = config.clone();
    // For the label that was just written by hand.
    config["force_conflicts"] = json!(true);
    let stored = apply(core, &config, None).await;
    assert_settled(core, &config, &stored).await;
    east.kubectl(&["delete", "gateways.networking.istio.io", "theirs"]).expect("kubectl");
    stored
}
