//! Where code comes from, and where tokens and calls go to: addresses, repositories, images. And what a cluster is to
//! the mesh.

use std::collections::BTreeSet;

use super::Cx;
use super::values::{self, Change};
use crate::review::objects::Field;
use crate::review::read::{Action, Instance, Reading, Type};
use crate::review::risk::{
    DESTINATION_CHANGED, HOSTS_WIDENED, IDENTITIES, INJECTION_CHANGES, Level, MTLS, RiskKind, SECRETS, SERVICE_REMOVED,
    SOURCE_CHANGED,
};
use crate::review::text::Name;

/// Ends of settings: who signs certificates, who is asked to inject and to check configuration.
const OF_VALUES: &[&str] = &[
    "caaddress",
    "ca.address",
    "ca_addr",
    "external_ca",
    "k8s_signer",
    "pilotcertprovider",
    "injectionurl",
    "validationurl",
    "clientconfig.url",
    "remotepilotaddress",
    "discoveryaddress",
];

/// Ends of settings: who may speak for others, and whose keys count.
const OF_TRUST: &[&str] = &[
    "trustedztunnelnamespace",
    "trustedztunnelname",
    "ca_trusted_node_accounts",
    "trusted_gateway_cidr",
    "jwksresolverextrarootca",
];

/// Steps of paths: what is put into every Pod that is injected.
const OF_CODE: &[&str] = &["templates", "defaulttemplates"];

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
        } else if instance.action == Action::Create && !instance.importing {
            sources_of_new(cx, instance);
        }
    }
    fields(cx);
}

/// Attributes that say where charts and images are from.
struct Source {
    path: [&'static str; 2],
    what: &'static str,
}

const SOURCES: &[Source] = &[
    Source { path: ["charts", "repository"], what: "The charts come from another repository." },
    Source {
        path: ["charts", "directory"],
        what: "The charts come from another folder: whoever can change the repository of this configuration may have written them.",
    },
    Source { path: ["charts", "gateway_api"], what: "The definitions of the Gateway API come from elsewhere." },
    Source { path: ["images", "hub"], what: "The images come from another registry." },
];

impl Source {
    fn of<'a>(&self, side: Reading<'a>) -> Reading<'a> {
        self.path.iter().fold(side, |side, name| side.get(name))
    }
}

/// What is new beside others of its kind, and is from where none of them is. Of the first ones nobody knows what is
/// usual, and what is not said is as Istio has it.
fn sources_of_new(cx: &mut Cx<'_>, instance: &Instance) {
    let others: Vec<&Instance> = cx.of(instance.kind).filter(|other| other.before().is_there()).collect();
    let Some(first) = others.first() else { return };
    for source in SOURCES {
        let after = source.of(instance.after());
        let is_usual = others.iter().any(|other| source.of(other.before()).is_same(after));
        if after.is_there() && !after.is_hidden() && !is_usual {
            let what = format!("{} No other resource of this kind uses it so far.", source.what);
            let usual = source.of(first.before()).shown();
            cx.risk(&SOURCE_CHANGED, instance, what).at(Level::Warning).sides(usual, after.shown());
        }
    }
}

fn sources(cx: &mut Cx<'_>, instance: &Instance) {
    for source in SOURCES {
        let [before, after] = [instance.before(), instance.after()].map(|side| source.of(side));
        let hidden = before.is_hidden() || after.is_hidden();
        if !hidden && !before.is_same(after) {
            cx.risk(&SOURCE_CHANGED, instance, source.what).sides(before.shown(), after.shown());
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
    let before = entry.before().get("exporters").entries();
    for (name, exporter) in entry.after().get("exporters").entries() {
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
        let through = |list: &[&str]| list.iter().any(|name| values::leads_through(&change.path, name));
        let what = format!("{} in the values of {}.", Name(&change.path), Name(&instance.address));
        let (before, after) = change.shown();
        let there = instance.before().is_there();
        // What is new says so for the first time.
        let (level, lower) = if there { (Level::Danger, Level::Warning) } else { (Level::Warning, Level::Note) };
        let found: Option<(&'static RiskKind, Level)> = match () {
            () if change.after.is_some() && (through(&["cacertificates"]) || ends(OF_TRUST)) => {
                Some((&IDENTITIES, level))
            }
            () if ends(OF_VALUES) => Some((&DESTINATION_CHANGED, level)),
            () if change.after.is_some() && through(&["sidecarinjectorwebhook"]) && through(OF_CODE) => {
                Some((&SOURCE_CHANGED, level))
            }
            () if passes_by(&change) => Some((&MTLS, level)),
            () if leaves_out(&change) => Some((&INJECTION_CHANGES, lower)),
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

/// Whether traffic of Pods no longer goes through their proxies: ports and ranges are left out, or are no longer among
/// those that are named, which are all where nothing is said.
fn passes_by(change: &Change) -> bool {
    let list = |side: &Option<String>, usual: &str| {
        let text = side.clone().unwrap_or_else(|| usual.to_owned());
        text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect::<BTreeSet<_>>()
    };
    let lists = |usual: &str| (list(&change.before, usual), list(&change.after, usual));
    let ends = |names: &[&str]| names.iter().any(|name| values::ends(&change.path, &format!("proxy.{name}")));
    let (before, after) = lists(if ends(&["includeinboundports", "includeipranges"]) { "*" } else { "" });
    if ends(&["excludeinboundports", "excludeoutboundports", "excludeipranges"]) {
        return !after.is_subset(&before);
    }
    let includes = ends(&["includeinboundports", "includeipranges", "includeoutboundports"]);
    includes && !after.contains("*") && !before.is_subset(&after)
}

/// Whether Pods may get no proxy any more, or istiod looks into fewer namespaces.
fn leaves_out(change: &Change) -> bool {
    let through = |name: &str| values::leads_through(&change.path, name);
    let is_off = || change.after.as_deref().is_some_and(|after| after != "enabled");
    values::ends(&change.path, "proxy.autoinject") && is_off()
        || through("neverinjectselector") && change.after.as_deref().is_some_and(|after| after != "[]")
        || through("discoveryselectors") && change.after.as_deref() != Some("[]")
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
