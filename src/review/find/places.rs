//! Where code comes from, and where tokens and calls go to: addresses, repositories, images. And what a cluster is to
//! the mesh.

use std::collections::BTreeSet;

use super::{Cx, values};
use crate::review::objects::Field;
use crate::review::read::{Action, Instance, Reading, Type};
use crate::review::risk::{
    DESTINATION_CHANGED, HOSTS_WIDENED, IDENTITIES, Level, RiskKind, SECRETS, SERVICE_REMOVED, SOURCE_CHANGED,
};
use crate::review::text::Name;

/// Ends of settings: who signs certificates, who is asked to inject.
const OF_VALUES: &[&str] =
    &["caaddress", "ca.address", "injectionurl", "clientconfig.url", "remotepilotaddress", "discoveryaddress"];

pub fn of_plan(cx: &mut Cx<'_>) {
    for instance in &cx.plan.instances {
        match instance.kind {
            Type::Remote => link(cx, instance),
            Type::ServiceEntry => service(cx, instance),
            Type::Ca => store(cx, instance),
            _ => {}
        }
        documents(cx, instance);
        if both(instance) {
            sources(cx, instance);
        }
    }
    fields(cx);
}

/// Attributes that say where charts and images are from.
fn sources(cx: &mut Cx<'_>, instance: &Instance) {
    for (path, what) in [
        (["charts", "repository"], "The charts come from another repository."),
        (
            ["charts", "directory"],
            "The charts come from another folder: whoever can change the repository of this configuration may have written them.",
        ),
        (["charts", "gateway_api"], "The definitions of the Gateway API come from elsewhere."),
        (["images", "hub"], "The images come from another registry."),
    ] {
        let [before, after] =
            [instance.before(), instance.after()].map(|side| path.iter().fold(side, |side, name| side.get(name)));
        let hidden = before.is_hidden() || after.is_hidden();
        if !hidden && !before.is_same(after) {
            cx.risk(&SOURCE_CHANGED, instance, what).sides(before.shown(), after.shown());
        }
    }
    digests(cx, instance);
}

/// Charts that are pinned: a pin may change with the version alone.
fn digests(cx: &mut Cx<'_>, instance: &Instance) {
    let [before, after] = [instance.before(), instance.after()].map(|side| side.get("charts").get("digests"));
    if after.is_partly_unknown() {
        return;
    }
    let differs = |name: &str| instance.sides(name).is_some_and(|(before, after)| !before.is_same(after));
    let version = |side: Reading<'_>| side.get("charts").get("version").value().clone();
    let upgrades =
        differs("istio_version") || differs("chart_version") || version(instance.before()) != version(instance.after());
    let entries = after.entries();
    for (chart, was) in before.entries() {
        let will = entries.get(chart).copied().unwrap_or(Reading::nothing());
        let what = match will.is_there() {
            false => "is no longer pinned to a digest",
            true if was.value() != will.value() && !upgrades => "is pinned to another digest, and its version stays",
            true => continue,
        };
        let what = format!("The chart {} {what}.", Name(chart));
        cx.risk(&SOURCE_CHANGED, instance, what).sides(was.shown(), will.shown());
    }
}

/// It is there before and after, and changes.
fn both(instance: &Instance) -> bool {
    instance.action != Action::None && instance.before().is_there() && instance.after().is_there()
}

fn link(cx: &mut Cx<'_>, remote: &Instance) {
    // The address of the provider's own entry, where the attribute says none.
    let (attribute, address) = (remote.sides("server"), remote.sides("server_url"));
    if let (Some((none, still)), Some((before, after))) = (attribute, address)
        && none.is_same(still)
        && before.text().zip(after.text()).is_some_and(|(before, after)| before != after)
    {
        let what = "The watchers send their tokens to another address of the API server.";
        cx.risk(&DESTINATION_CHANGED, remote, what).sides(before.shown(), after.shown());
    }
}

fn service(cx: &mut Cx<'_>, entry: &Instance) {
    if entry.action == Action::Delete {
        let host = entry.before().get("host");
        let what = format!("Clients no longer find {}.", host.shown());
        cx.risk(&SERVICE_REMOVED, entry, what).sides(host.shown(), "none");
    }
    if entry.action == Action::Replace && !entry.leaves_old {
        let what = "The entry is deleted and recreated: in between clients do not find the service.";
        cx.risk(&SERVICE_REMOVED, entry, what).sides("there", "recreated");
    }
    let Some((before, after)) = entry.sides("exporters") else { return };
    let before = before.entries();
    for (name, exporter) in after.entries() {
        let was = before.get(name).copied().unwrap_or(Reading::nothing());
        if exporter.get("expose").flag() && !was.get("expose").flag() {
            let what = format!("The gateway of the exporter {} lets calls to the service in.", Name(name));
            let cluster = exporter.get("cluster").text().unwrap_or_default();
            cx.risk(&HOSTS_WIDENED, entry, what).of(cluster).sides("not exposed", "exposed");
        }
    }
}

/// Where a root is kept that watchers can read.
fn store(cx: &mut Cx<'_>, ca: &Instance) {
    let readable = |side: Reading<'_>| side.get("root").get("store").get("readable_by_watchers").flag();
    if ca.action != Action::None && ca.before().is_there() && readable(ca.after()) && !readable(ca.before()) {
        let what = "Watchers of the cluster that keeps it can read the private key of the root: who has it signs any identity.";
        cx.risk(&SECRETS, ca, what).at(Level::Danger).sides("not readable", "readable");
    }
}

/// Settings in values documents.
fn documents(cx: &mut Cx<'_>, instance: &Instance) {
    for change in values::effective(instance) {
        let ends = |list: &[&str]| list.iter().any(|end| values::ends(&change.path, end));
        let what = format!("{} in the values of {}.", Name(&change.path), Name(&instance.address));
        let (before, after) = change.shown();
        let there = instance.before().is_there();
        // What is new says so for the first time.
        let level = if there { Level::Danger } else { Level::Warning };
        let found: Option<(&'static RiskKind, Level)> = match () {
            () if change.path.contains("caCertificates") && change.after.is_some() => Some((&IDENTITIES, level)),
            () if ends(OF_VALUES) => Some((&DESTINATION_CHANGED, level)),
            () if there && ends(&["hub", "image"]) && is_moved(change.before.as_deref(), change.after.as_deref()) => {
                Some((&SOURCE_CHANGED, level))
            }
            () => None,
        };
        if let Some((kind, level)) = found {
            cx.risk(kind, instance, what).at(level).sides(before, after);
        }
    }
}

/// Fields of objects.
fn fields(cx: &mut Cx<'_>) {
    let all: Vec<(&Instance, String, String, Field)> = cx
        .objects_of()
        .flat_map(|(instance, all)| all.iter().map(move |of| (instance, of)))
        .flat_map(|(instance, of)| of.changes.iter().map(move |object| (instance, of, object)))
        .flat_map(|(instance, of, object)| {
            object.fields.iter().map(move |field| (instance, of.cluster.clone(), object.name.clone(), field.clone()))
        })
        .collect();
    let mut told = BTreeSet::new();
    for (instance, cluster, object, field) in all {
        let (before, after) = (field.before.as_deref(), field.after.as_deref());
        let webhook = object.contains("WebhookConfiguration") && field.path.contains("clientConfig.");
        // istiod writes the bundle itself.
        let kind = match () {
            () if webhook && !field.path.ends_with("caBundle") => &DESTINATION_CHANGED,
            () if field.path.ends_with(".image") && is_moved(before, after) => &SOURCE_CHANGED,
            () => continue,
        };
        if !told.insert((cluster.clone(), object.clone(), field.path.clone())) {
            continue;
        }
        let (before, after) = field.sides("not set");
        let what = format!("{} of {}.", Name(&field.path), Name(&object));
        cx.risk(kind, instance, what).of(&cluster).sides(before, after);
    }
}

/// An image, or what images begin with, that comes from elsewhere. Another version of the same one does not.
fn is_moved(before: Option<&str>, after: Option<&str>) -> bool {
    let name = |image: &str| {
        let image = image.split('@').next().unwrap_or_default();
        let slash = image.rfind('/').map_or(0, |at| at + 1);
        let end = image[slash..].find(':').map_or(image.len(), |at| slash + at);
        image[..end].to_owned()
    };
    // `auto` is what istiod puts in, and a name alone is taken from the hub.
    after.is_some_and(|after| after != "auto" && before.map(name) != Some(name(after)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_of_an_image_is_no_other_image() {
        let image = "docker.io/istio/pilot:1.30.0";
        for (other, moved) in [
            ("docker.io/istio/pilot:1.31.0", false),
            ("docker.io/istio/pilot@sha256:aa", false),
            ("docker.io/istio/pilot", false),
            ("evil.example/istio/pilot:1.30.0", true),
            ("docker.io/istio/pilot2:1.30.0", true),
        ] {
            assert_eq!(is_moved(Some(image), Some(other)), moved, "{other}");
        }
        assert!(is_moved(Some("localhost:5000/a"), Some("localhost:5001/a")));
        assert!(is_moved(None, Some("evil.example/a")) && !is_moved(Some(image), None));
    }
}
