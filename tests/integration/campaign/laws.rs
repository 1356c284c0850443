//! What holds after every round, whatever was done in it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use lab::{Cluster, Lab};
use serde_json::Value as Json;

use super::bystanders::Bystanders;
use super::world::{Wanted, World};
use crate::examples::synced;

/// Kinds that a mesh is made of.
const KINDS: &str = "namespaces,customresourcedefinitions,clusterroles,clusterrolebindings,mutatingwebhookconfigurations,\
                     validatingwebhookconfigurations,deployments,services,secrets,serviceaccounts,configmaps,roles,rolebindings,\
                     poddisruptionbudgets,horizontalpodautoscalers,networkpolicies,leases,validatingadmissionpolicies,\
                     validatingadmissionpolicybindings";
const OWNER: &str = "terraform-provider-mesh/owner";

/// Every object with the provider's label that a bystander has not copied it to: kind, namespace, name.
pub fn ours(cluster: &Cluster) -> Vec<(String, String, String)> {
    let mut kinds = KINDS.to_owned();
    for (definition, kind) in
        [("gateways", "gateways.networking.istio.io"), ("serviceentries", "serviceentries.networking.istio.io")]
    {
        let defined = ["customresourcedefinition", &format!("{definition}.networking.istio.io")];
        if cluster.get(&defined).is_ok_and(|found| found.is_some()) {
            kinds = format!("{kinds},{kind}");
        }
    }
    named(&labelled(cluster, &kinds))
}

fn labelled(cluster: &Cluster, kinds: &str) -> Json {
    let selector = format!("{OWNER},{}", super::bystanders::NOT_THEIRS);
    cluster.get(&[kinds, "-A", "-l", &selector]).ok().flatten().unwrap_or_default()
}

/// Label and mark of every instance that is in a cluster.
pub fn marks(cluster: &Cluster) -> BTreeSet<(String, String)> {
    let listed = labelled(cluster, "leases");
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let leases = listed["items"].as_array().into_iter().flatten().map(|lease| &lease["metadata"]);
    leases
        .map(|it| (text(&it["labels"][OWNER]), text(&it["annotations"]["terraform-provider-mesh/instance"])))
        .collect()
}

fn named(list: &Json) -> Vec<(String, String, String)> {
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let objects = list["items"].as_array().into_iter().flatten();
    objects
        .map(|one| (text(&one["kind"]), text(&one["metadata"]["namespace"]), text(&one["metadata"]["name"])))
        .collect()
}

/// Everything that there is in a cluster, by kind and name, but for what is a bystander's and what controllers put into
/// every namespace.
pub fn everything(cluster: &Cluster) -> BTreeSet<(String, String, String)> {
    let listed = cluster.get(&[KINDS, "-A", "-l", super::bystanders::NOT_THEIRS]).expect("a list").unwrap_or_default();
    let unasked = |object: &(String, String, String)| {
        object.2 == "kube-root-ca.crt"
            || object.0 == "ServiceAccount" && object.2 == "default"
            || object.0 == "Lease" && object.1 == "kube-node-lease"
    };
    named(&listed).into_iter().filter(|object| !unasked(object)).collect()
}

/// A destroy has left nothing but what was there before.
pub fn nothing_left(lab: &Lab, before: &BTreeMap<String, BTreeSet<(String, String, String)>>) -> Vec<String> {
    let mut broken = Vec::new();
    for cluster in lab.clusters() {
        let left = || -> Vec<_> { everything(cluster).difference(&before[cluster.name()]).cloned().collect() };
        let (begun, mut found) = (Instant::now(), left());
        // Controllers and the garbage collector take a moment.
        while !found.is_empty() && begun.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(500));
            found = left();
        }
        if !found.is_empty() {
            broken.push(format!("left in {}: {found:?}", cluster.name()));
        }
    }
    broken
}

/// What holds of a mesh that an apply has made.
pub fn of_mesh(world: &World, lab: &Lab, wanted: &Wanted, bystanders: &Bystanders) -> Vec<String> {
    let mut broken = one_root(lab, wanted);
    for cluster in lab.clusters().iter().filter(|cluster| wanted.members().contains(&cluster.name())) {
        let watched: Vec<&str> =
            if wanted.watch_each_other(world.scene) { wanted.members().to_vec() } else { vec![cluster.name()] };
        let (begun, mut found) = (Instant::now(), synced(cluster));
        // An istiod that was told to forget a cluster takes a moment.
        while found != watched && begun.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(500));
            found = synced(cluster);
        }
        if found != watched {
            broken.push(format!("the istiod of {} is in sync with {found:?}, not {watched:?}", cluster.name()));
        }
    }
    broken.extend(no_orphans(world, lab, wanted));
    broken.extend(bystanders.untouched(lab));
    broken
}

/// One root is kept, and all clusters trust it alone.
fn one_root(lab: &Lab, wanted: &Wanted) -> Vec<String> {
    let mut broken = Vec::new();
    let kept = data(lab.cluster("east"), "mesh-root-ca", "mesh-root-ca");
    let keys: Vec<&String> = kept.keys().filter(|key| key.ends_with(".key")).collect();
    if keys.len() != 1 {
        broken.push(format!("the store has the keys {keys:?}"));
    }
    let roots: BTreeSet<String> = wanted
        .members()
        .iter()
        .map(|name| data(lab.cluster(name), "istio-system", "cacerts").remove("root-cert.pem").unwrap_or_default())
        .collect();
    let certificates: usize = roots.iter().map(|root| root.matches("BEGIN CERTIFICATE").count()).sum();
    if roots.len() != 1 || certificates != 1 {
        broken.push(format!("the clusters trust {certificates} roots in {} bundles", roots.len()));
    }
    broken
}

/// How many roots there are: those that are kept, and those that any cluster trusts.
pub fn roots(lab: &Lab) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for cluster in lab.clusters() {
        for (namespace, name) in [("mesh-root-ca", "mesh-root-ca"), ("istio-system", "cacerts")] {
            for (key, text) in data(cluster, namespace, name) {
                if key.starts_with("root") && text.contains("BEGIN CERTIFICATE") {
                    found.insert(text.trim().to_owned());
                }
            }
        }
    }
    found
}

fn data(cluster: &Cluster, namespace: &str, name: &str) -> BTreeMap<String, String> {
    let secret = cluster.get(&["secret", name, "-n", namespace]).ok().flatten().unwrap_or_default();
    let text = |value: &Json| {
        let bytes = BASE64_STANDARD.decode(value.as_str().unwrap_or_default()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    secret["data"].as_object().into_iter().flatten().map(|(key, value)| (key.clone(), text(value))).collect()
}

/// What carries our label is in state.
fn no_orphans(world: &World, lab: &Lab, wanted: &Wanted) -> Vec<String> {
    let known: String = world.instances().iter().map(|(_, attributes)| attributes.to_string()).collect();
    // Not by its name in state: the authority's Secrets, Leases, and what a link consists of.
    let told_elsewhere = |kind: &str, name: &str| match kind {
        "Namespace" | "Lease" => true,
        "Secret" if name.starts_with("istio-remote-secret") || name.starts_with("istio-mesh-reader") => {
            wanted.watch_each_other(world.scene)
        }
        "Secret" => ["cacerts", "mesh-root-ca"].contains(&name),
        _ => false,
    };
    let mut broken = Vec::new();
    for cluster in lab.clusters() {
        for (kind, namespace, name) in ours(cluster) {
            let key =
                if namespace.is_empty() { format!("{kind} {name}") } else { format!("{kind} {namespace}/{name}") };
            if !told_elsewhere(&kind, &name) && !known.contains(&key) {
                broken.push(format!("{key} in {} is in no state", cluster.name()));
            }
        }
    }
    broken
}
