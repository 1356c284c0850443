//! What is missing from the whole of a configuration: told once everything has been planned that can be planned, and
//! after a look at the clusters, which may have by other hands what nobody declares. All are warnings: a look at
//! clusters never fails a plan, and what it sees may be about to change.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;

use super::address;
use super::client::{Client, briefly};
use super::passthrough::{self, Chooses, Opening};
use super::{places, policies};
use crate::cluster::{Kind, OWNER_LABEL, Object, ObjectRef, Query};
use crate::diag::Diagnostic;
use crate::engine::Ctx;
use crate::istiod::{self, HANDED_OUT, roots_of};
use crate::mesh::{AMBIENT_CLASS, Absence, Closed, NETWORK_LABEL, Undefined, Unlisted, Unopened, Unrooted};
use crate::value::Path;

/// For how long the core must have asked for nothing else.
const QUIET: Duration = Duration::from_millis(300);
/// How often it is looked whether anything is still missing.
const PAUSE: Duration = Duration::from_millis(20);

/// Tells what is missing, of this resource and of those that were planned before. One at a time waits for the others,
/// so that they can be planned meanwhile.
pub async fn tell<P>(cx: &mut Ctx<Client, P>, own: &str) -> Result<(), Diagnostic> {
    let client = cx.client()?.clone();
    while !client.walk.absences().is_empty() {
        let Some(_turn) = client.walk.take_turn() else { return Ok(()) };
        // What another resource brings meanwhile need not be waited for any longer.
        let brought = async {
            while !client.walk.absences().is_empty() {
                tokio::time::sleep(PAUSE).await;
            }
        };
        let is_done = tokio::select! {
            is_done = cx.others_are_done(QUIET) => is_done,
            () = brought => false,
        };
        if !is_done {
            return Ok(());
        }
        for absence in client.walk.absences() {
            client.walk.tell(&absence);
            let Some(word) = word(cx, &absence).await else { continue };
            cx.warn(if absence.id() == own { word } else { Diagnostic { path: None, ..word } });
        }
    }
    Ok(())
}

async fn word<P>(cx: &Ctx<Client, P>, absence: &Absence) -> Option<Diagnostic> {
    match absence {
        Absence::Closed(closed) => {
            let looks = join_all(closed.members.iter().map(|member| has_gateway(cx, member, closed))).await;
            // A member that does not answer may have one.
            let none = looks.into_iter().all(|found| found == Some(false));
            // What was looked for counts, and not what lets nobody in.
            if !none && (closed.by_tunnels || closed.shut.is_empty()) {
                return None;
            }
            let knows = join_all(closed.from.iter().map(|watcher| knows_gateway(cx, watcher, closed))).await;
            let lost = closed.from.iter().zip(knows).filter(|(_, knows)| !knows);
            let from: BTreeSet<String> = lost.map(|(watcher, _)| watcher.clone()).collect();
            (!from.is_empty()).then(|| without_gateway(&Closed { from, ..closed.clone() }))
        }
        Absence::Unrooted(unrooted) => unrooted_word(cx, unrooted).await,
        Absence::Unlisted(unlisted) => {
            let keys: Vec<&str> = cx.client().ok()?.clusters.names().collect();
            // A cluster of the provider may be linked by other means.
            let is_key = keys.is_empty() || keys.contains(&unlisted.name.as_str());
            (!is_key).then(|| unknown_cluster(unlisted, &keys))
        }
        Absence::Unopened(unopened) => match &unopened.served {
            // Whose it is, is not known here.
            Some((_, places)) if places.is_empty() => None,
            Some((served_by, places)) => {
                let looks = join_all(places.iter().map(|place| is_opened(cx, place, unopened))).await;
                (!looks.contains(&true)).then(|| unopened_remote(unopened, served_by, places))
            }
            None => (!is_opened(cx, &unopened.cluster, unopened).await).then(|| lets_nothing_through(unopened)),
        },
        Absence::Undefined(undefined) => {
            let cluster = briefly(cx, &undefined.cluster)?;
            // What cannot be seen is left to the apply.
            let is_missing = cluster.lacks_definition_of(&Kind::GATEWAY_API_GATEWAY).await.unwrap_or(false);
            is_missing.then(|| without_gateway_api(undefined))
        }
    }
}

/// `None` where it cannot be known.
async fn has_gateway<P>(cx: &Ctx<Client, P>, member: &str, closed: &Closed) -> Option<bool> {
    let cluster = briefly(cx, member)?;
    let walk = &cx.client().ok()?.walk;
    let leads = |door: &Object| {
        if !is_door(door, closed.by_tunnels) {
            return false;
        }
        let network = door.label(NETWORK_LABEL);
        // One of this provider's that nobody has planned yet may be moved to this network: it is planned after the
        // link.
        let owner = door.label(OWNER_LABEL).is_some_and(|owner| owner.starts_with("mesh_eastwest_gateway."));
        let id = format!("{member}/{}/{}", door.namespace().unwrap_or_default(), door.name());
        network == Some(&closed.network) || network.is_some() && owner && !walk.knows_gateway(&id)
    };
    if closed.by_tunnels {
        let gateways = Query::of(Kind::GATEWAY_API_GATEWAY).selector(NETWORK_LABEL);
        return Some(cluster.list_if_served(&gateways).await.ok()?.iter().any(leads));
    }
    // The list that every refresh asks for anyhow; someone else's gateway costs one more.
    if cluster.list(&Query::owned(Kind::SERVICE, &closed.namespace)).await.ok()?.iter().any(leads) {
        return Some(true);
    }
    let labelled = cluster.list(&Query::of(Kind::SERVICE).label(NETWORK_LABEL, &closed.network)).await.ok()?;
    Some(labelled.iter().any(leads))
}

/// Whether it may be a gateway for these calls: a Service for those of sidecars, and for tunnels a Gateway that istiods
/// know by its class.
fn is_door(door: &Object, by_tunnels: bool) -> bool {
    match by_tunnels {
        true => door.str("spec.gatewayClassName") == AMBIENT_CLASS,
        false => !address::is_waypoint(door),
    }
}

/// Whether a cluster tells its istiods of a gateway of the network by other means than a Service in it: one that a mesh
/// configuration lists, or that a Gateway of the Gateway API stands for. One that cannot be asked is taken to have
/// none: hardly anybody has.
async fn has_configured<P>(cx: &Ctx<Client, P>, place: &str, closed: &Closed) -> bool {
    let Some(cluster) = briefly(cx, place) else { return false };
    let maps = Query::of(Kind::CONFIG_MAP).namespace(&closed.namespace);
    let gateways = Query::of(Kind::GATEWAY_API_GATEWAY).label(NETWORK_LABEL, &closed.network);
    let (maps, gateways) = tokio::join!(cluster.list(&maps), cluster.list_if_served(&gateways));
    let (maps, gateways) = (maps.unwrap_or_default(), gateways.unwrap_or_default());
    let maps = maps.iter().filter(|map| istiod::is_mesh_config_map(map.name()));
    lists_gateway(maps, &closed.network) || gateways.iter().any(passthrough::leads)
}

/// Whether one of those is so where the configuration of a watcher's istiods is.
async fn knows_gateway<P>(cx: &Ctx<Client, P>, watcher: &str, closed: &Closed) -> bool {
    let places = closed.configured_in.get(watcher).into_iter().flatten();
    join_all(places.map(|place| has_configured(cx, place, closed))).await.contains(&true)
}

fn lists_gateway<'a>(mut maps: impl Iterator<Item = &'a Object>, network: &str) -> bool {
    maps.any(|map| {
        let networks = places::described_networks(map);
        let gateways = networks.get(network).and_then(|body| body.get("gateways")?.as_array().cloned());
        gateways.is_some_and(|gateways| !gateways.is_empty())
    })
}

fn without_gateway(closed: &Closed) -> Diagnostic {
    let Closed { watched, network, members, from, shut, by_tunnels, .. } = closed;
    let (members, from) = (listed(members), listed(from));
    let detail = match shut.is_empty() {
        true if *by_tunnels => format!(
            "Network {network} (clusters {members}) has no gateway for ambient mode, and ztunnels of {from} call Pods of other networks through nothing else: these calls fail. Add a \
             `mesh_eastwest_gateway` with `network = {network:?}` and `ambient = true` to one of these clusters."
        ),
        false if *by_tunnels => format!(
            "The gateways of its network {network} ({}) are for sidecars alone, so that the network has no gateway for ambient mode, and ztunnels of {from} call through nothing else: these calls fail. \
             Set `ambient = true` on one of the `mesh_eastwest_gateway`, or add another one with it if sidecars call from there as well.",
            listed(shut)
        ),
        true => format!(
            "Network {network} (clusters {members}) has no east-west gateway, and {from} would call Pods of this network from another one, by addresses that mean nothing there: connections time out. \
             Add a `mesh_eastwest_gateway` with `network = {network:?}` and `expose = {{ services = true }}` to one of these clusters."
        ),
        false => format!(
            "The gateways of its network {network} ({}) expose the control plane alone, and {from} would call its Pods from another network through them. Set `services = true` in their `expose`.",
            listed(shut)
        ),
    };
    Diagnostic::warning(format!("No gateway leads to {watched}")).at("cluster").detail(detail)
}

fn listed(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

async fn unrooted_word<P>(cx: &Ctx<Client, P>, unrooted: &Unrooted) -> Option<Diagnostic> {
    let Unrooted { watched, watchers, namespace, .. } = unrooted;
    let own = roots(cx, watched, namespace).await;
    let theirs = join_all(watchers.iter().map(|watcher| roots(cx, watcher, namespace))).await;
    let pairs = watchers.iter().zip(&theirs);
    let is_common = |(_, theirs): &(&String, &BTreeSet<String>)| !own.is_empty() && !own.is_disjoint(theirs);
    let apart: BTreeSet<String> = pairs.filter(|pair| !is_common(pair)).map(|(watcher, _)| watcher.clone()).collect();
    let is_seen =
        !own.is_empty() && watchers.iter().zip(&theirs).all(|(name, roots)| !apart.contains(name) || !roots.is_empty());
    (!apart.is_empty()).then(|| without_a_root(unrooted, &apart, is_seen))
}

fn unknown_cluster(unlisted: &Unlisted, keys: &[&str]) -> Diagnostic {
    let Unlisted { network, index, name, .. } = unlisted;
    let at = Path::root("mesh_networks").key(network.clone()).attr("endpoints").index(*index).attr("from_registry");
    Diagnostic::warning("No cluster of this name is known").at(at).detail(format!(
        "{name:?} is neither among the provider's `clusters` ({}) nor the `cluster_name` of a resource here. istiod ignores this entry and reports nothing, unless a cluster of this name is linked by \
         other means. Taken from a resource, as in `mesh_primary.west.cluster_name`, the name is known to be right.",
        keys.join(", ")
    ))
}

/// Fingerprints of the roots that a cluster's istiod hands out; none where that cannot be seen.
async fn roots<P>(cx: &Ctx<Client, P>, cluster: &str, namespace: &str) -> BTreeSet<String> {
    let reference = ObjectRef::namespaced(Kind::CONFIG_MAP, namespace, HANDED_OUT);
    let Some(cluster) = briefly(cx, cluster) else { return BTreeSet::new() };
    let Ok(Some(map)) = cluster.get(&reference).await else { return BTreeSet::new() };
    roots_of(&map).unwrap_or_default().fingerprints().iter().map(ToString::to_string).collect()
}

fn without_a_root(unrooted: &Unrooted, apart: &BTreeSet<String>, is_seen: bool) -> Diagnostic {
    let Unrooted { watched, crosses, .. } = unrooted;
    let others = listed(apart);
    let what = match is_seen {
        true => format!("The istiods of {watched} and {others} hand out different roots"),
        false => format!(
            "Nothing here gives {watched} and {others} one root of trust, and an istiod that finds no `cacerts` signs with a root that it makes for itself"
        ),
    };
    let own = match is_seen {
        true => {
            " An istiod that has made a root for itself takes another one only with `migrate_self_signed = true` on the `mesh_ca`."
        }
        false => "",
    };
    let ways = match crosses {
        true => "They are in different networks, between which no call crosses without mTLS.",
        false => {
            "Where all of them are in one network, `mtls = \"off\"` on every `mesh_primary` does without certificates."
        }
    };
    let summary = match is_seen {
        true => format!("{watched} and {others} trust different roots"),
        false => format!("{watched} and {others} may trust different roots"),
    };
    Diagnostic::warning(summary).at("watchers").detail(format!(
        "{what}: their workloads would refuse each other's certificates, and calls fail with 503. Give all of them to one `mesh_ca` and set `trust_root` on each `mesh_primary`; where another tool \
         keeps the Secret `cacerts`, set `trust_root` to the fingerprint of its root.{own} {ways}"
    ))
}

/// Whether somebody else's Gateway opens it, among those of this cluster. What cannot be seen is left to those who made
/// it.
async fn is_opened<P>(cx: &Ctx<Client, P>, place: &str, unopened: &Unopened) -> bool {
    let Some(cluster) = briefly(cx, place) else { return unopened.stands };
    let Ok(open) = policies::openings(&cluster, &unopened.looks_into).await else { return unopened.stands };
    open.iter().any(|opening| opens(opening, unopened))
}

/// By the labels that the chart gives the Pods, and by the namespace's name where a Gateway names the Service.
fn opens(opening: &Opening, unopened: &Unopened) -> bool {
    match &opening.chooses {
        Chooses::Pods(selector) => selector.iter().all(|(key, value)| match key.as_str() {
            "istio" => *value == unopened.selector,
            "app" => *value == unopened.name,
            // A label of the Service, or of whoever made the Pods: not to be known here.
            _ => unopened.stands,
        }),
        Chooses::MadeFor { .. } => false,
        Chooses::Services(services) => services.iter().any(|(_, name)| *name == unopened.name),
    }
}

fn lets_nothing_through(unopened: &Unopened) -> Diagnostic {
    let Unopened { cluster, name, .. } = unopened;
    Diagnostic::warning(format!("Gateway {name} of {cluster} lets nothing through")).at("expose").detail(
        "The gateway exposes neither Services nor the control plane, and no Gateway is known that would open it: nothing listens on it, load balancers find it unhealthy, and calls from other networks \
         fail. Set `expose = { services = true }`, with `hosts` for less than all Services. In a remote cluster the gateway of the control plane's cluster, of the same `name`, opens it.",
    )
}

fn unopened_remote(unopened: &Unopened, served_by: &str, places: &BTreeSet<String>) -> Diagnostic {
    let Unopened { cluster, name, others, .. } = unopened;
    let places = listed(places);
    let why = match others.is_empty() {
        true => format!(
            "no gateway there exposes Services. Add a `mesh_eastwest_gateway` with `name = {name:?}` and `expose = {{ services = true }}` to {places}."
        ),
        false => format!(
            "those are for gateways named {}. Give this gateway the same `name`: Gateways select their Pods by it.",
            listed(others)
        ),
    };
    Diagnostic::warning(format!("No Gateway applies to gateway {name} of {cluster}"))
        .at("name")
        .detail(format!("{cluster} is a remote of {served_by}, whose istiod reads Gateways in {places} only: {why}"))
}

fn without_gateway_api(undefined: &Undefined) -> Diagnostic {
    let cluster = &undefined.cluster;
    let attribute = if undefined.is_ambient { "ambient" } else { "gateway_api" };
    Diagnostic::warning("The Gateway API is not installed").at(attribute).detail(format!(
        "istiod makes this gateway from a Gateway API resource. Cluster {cluster} does not know the kind, and no `mesh_primary` of this plan installs it there: the apply would fail. Set `gateway_api` on \
         the `mesh_primary` of {cluster}, or let whoever else installs the Gateway API come first."
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_gateway_by_hand_opens_the_pods_it_selects() {
        let of = |mode: &str, selector: serde_json::Value| {
            let servers = json!([{"port": {"number": 15443}, "tls": {"mode": mode}, "hosts": ["*.local"]}]);
            let spec = json!({"selector": selector, "servers": servers});
            let gateway = json!({"apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": {"name": "g"}, "spec": spec});
            passthrough::openings(&[Object::new(gateway).expect("an object")])
        };
        let unopened = |stands: bool| Unopened {
            id: "west/istio-system/istio-eastwestgateway".into(),
            cluster: "west".into(),
            name: "istio-eastwestgateway".into(),
            selector: "eastwestgateway".into(),
            stands,
            served: None,
            looks_into: Vec::new(),
            others: BTreeSet::new(),
        };
        let ours = json!({"istio": "eastwestgateway"});
        for (mode, selector, stands, expected) in [
            ("AUTO_PASSTHROUGH", ours.clone(), false, true),
            ("AUTO_PASSTHROUGH", json!({"app": "istio-eastwestgateway"}), false, true),
            ("AUTO_PASSTHROUGH", json!({}), false, true),
            ("AUTO_PASSTHROUGH", json!({"istio": "other"}), false, false),
            ("AUTO_PASSTHROUGH", json!({"app": "other", "istio": "eastwestgateway"}), false, false),
            ("AUTO_PASSTHROUGH", json!({"team": "a"}), false, false),
            ("AUTO_PASSTHROUGH", json!({"team": "a"}), true, true),
            // istiod alone.
            ("PASSTHROUGH", ours, false, false),
        ] {
            let found = of(mode, selector.clone()).iter().any(|opening| opens(opening, &unopened(stands)));
            assert_eq!(found, expected, "{mode} {selector} {stands}");
        }
    }

    #[test]
    fn a_gateway_that_the_mesh_configuration_lists_is_one() {
        let map = |networks: &str| {
            let data = json!({"meshNetworks": networks});
            Object::new(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio"}, "data": data}))
                .expect("an object")
        };
        let lists = |networks: &str| lists_gateway([map(networks)].iter(), "n2");
        assert!(lists("networks: {n2: {gateways: [{address: 192.0.2.1, port: 15443}]}}"));
        assert!(!lists("networks: {n2: {gateways: []}, n3: {gateways: [{address: 192.0.2.1, port: 15443}]}}"));
        assert!(!lists("") && !lists("networks: ["));
    }

    #[test]
    fn tunnels_are_let_in_by_gateways_of_their_class_alone() {
        let door = |kind: &str, class: &str| {
            let spec = json!({"gatewayClassName": class});
            Object::new(json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "g"}, "spec": spec})).unwrap()
        };
        assert!(is_door(&door("Gateway", "istio-east-west"), true));
        assert!(!is_door(&door("Gateway", "istio"), true) && !is_door(&door("Service", ""), true));
        assert!(is_door(&door("Service", ""), false));
        let names = |names: &[&str]| -> BTreeSet<String> { names.iter().map(|name| (*name).to_owned()).collect() };
        let closed = |shut: &[&str], by_tunnels: bool| {
            let closed = Closed {
                id: "west/istio-system/west".into(),
                watched: "west".into(),
                namespace: "istio-system".into(),
                network: "n2".into(),
                members: names(&["west"]),
                from: names(&["east"]),
                configured_in: [("east".to_owned(), names(&["east"]))].into(),
                shut: names(shut),
                by_tunnels,
            };
            without_gateway(&closed).detail
        };
        for shut in [&[][..], &["west/eastwest"]] {
            let detail = closed(shut, true);
            assert!(detail.contains("no gateway for ambient mode") && detail.contains("`ambient = true`"), "{detail}");
            assert!(shut.iter().all(|gateway| detail.contains(gateway)), "{detail}");
            assert!(!closed(shut, false).contains("ambient"));
        }
    }

    #[test]
    fn words_say_what_to_do_where_roots_were_seen_and_where_not() {
        let names = |names: &[&str]| -> BTreeSet<String> { names.iter().map(|name| (*name).to_owned()).collect() };
        let unrooted = Unrooted {
            id: "east/istio-system/east".into(),
            watched: "east".into(),
            watchers: names(&["west"]),
            namespace: "istio-system".into(),
            crosses: true,
        };
        let guessed = without_a_root(&unrooted, &names(&["west"]), false);
        assert!(guessed.summary == "east and west may trust different roots" && !guessed.detail.contains("mtls ="));
        let seen = without_a_root(&Unrooted { crosses: false, ..unrooted }, &names(&["west"]), true);
        assert_eq!(seen.summary, "east and west trust different roots");
        assert!(seen.detail.contains("mtls = \"off\""), "{}", seen.detail);
    }
}
