//! Reading one cluster: what is asked, and the pure functions from Kubernetes objects to the attributes.

mod networks;
mod proxies;

use std::collections::{BTreeMap, BTreeSet};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use self::networks::{described, injects_network, led_to, pods_network};
use super::crossing::{self, Asked, Crossing};
use super::judge::{Configured, Sight};
use super::model::{ClusterStatus, ControlPlane, Gateway, Trust, Watch};
use crate::chart::Values;
use crate::cluster::{Cluster, Error, Kind, Object, ObjectRef, Query, without_user_info};
use crate::istiod::cacerts;
use crate::istiod::{self, Connected, HANDED_OUT, Looks, ReplicaView, Way, added_roots};
use crate::mesh::{
    AMBIENT_CLASS, CONFIG_SECRET, Credential, DiscoverySelectors, InjectedAs, MULTI_CLUSTER_LABEL, MeshPolicy,
    NETWORK_LABEL, ParsedRemoteSecret, accepted_domains, is_external, mesh_field,
};
use crate::pki::Certificate;
use crate::resources::address::{
    self, Evidence, GATEWAY_NAME_LABEL, HBONE_PORT, MTLS_PORT, NODE_SELECTOR_ANNOTATION, PORT_LABEL, Reachable,
};
use crate::resources::token::{self, Claims};
use crate::resources::{passthrough, places};
use crate::value::{List, Map, Value};

/// With this istiod lets proxies accept every trust domain.
const SKIPS_DOMAINS: &str = "PILOT_SKIP_VALIDATE_TRUST_DOMAIN";
/// With this istiod serves ztunnels.
const ENABLES_AMBIENT: &str = "PILOT_ENABLE_AMBIENT";
const INSTEAD_OF_A_LOAD_BALANCER: &str = "service.external_ips or the type NodePort";

/// What a cluster holds, as read.
struct Seen {
    system_namespace: String,
    namespace: Option<Object>,
    deployments: Vec<Object>,
    config_maps: BTreeMap<String, Object>,
    cacerts: Option<Object>,
    remote_secrets: Vec<Object>,
    views: Vec<ReplicaView>,
    services: Vec<Object>,
    further: Further,
}

/// What is asked only where the first answers leave a question open.
#[derive(Default)]
struct Further {
    /// The kubeconfig of an external control plane.
    kubeconfig: Option<Object>,
    /// Roots that are handed out in another namespace than Istio's.
    roots_elsewhere: Option<Object>,
    nodes: Vec<Object>,
    /// Of the Gateway API, those that stand for a network; and whether there may be some that could not be listed.
    gateways: Vec<Object>,
    gateways_unsure: bool,
    /// Whether Services here lead to an istiod elsewhere, or that could not be asked.
    served_from_outside: bool,
    /// What a cluster without an istiod of its own tells the injector.
    injected: InjectedAs,
    /// Where it matters which labels they have.
    namespaces: Vec<Object>,
    crossing: Crossing,
    /// Proxies that are connected, by revision.
    proxies: BTreeMap<String, Connected>,
}

/// Reads a cluster; what cannot be read is told in `error`.
pub(super) async fn look(istiods: &Looks, cluster: &Cluster, namespace: &str) -> Sight {
    match gather(istiods, cluster, namespace).await {
        Ok(seen) => sight(&seen),
        Err(error) => {
            let detail = format!("{error}. {}", error.remedy());
            let shown = ClusterStatus {
                reachable: (error.is_answer()).into(),
                error: detail.trim().to_owned().into(),
                control_planes: Value::Known(Map::new()),
                watches: Value::Known(Map::new()),
                gateways: Value::Known(Map::new()),
                ..ClusterStatus::default()
            };
            Sight { shown, system_namespace: namespace.to_owned(), ..Sight::default() }
        }
    }
}

async fn gather(istiods: &Looks, cluster: &Cluster, namespace: &str) -> Result<Seen, Error> {
    let deployments = istiod::deployments(namespace);
    let secrets = Query::of(Kind::SECRET).namespace(namespace).label(MULTI_CLUSTER_LABEL, "true");
    let services = Query::of(Kind::SERVICE).selector(NETWORK_LABEL);
    let (namespace_ref, cacerts_ref) =
        (ObjectRef::cluster(Kind::NAMESPACE, namespace), ObjectRef::namespaced(Kind::SECRET, namespace, "cacerts"));
    let maps = Query::of(Kind::CONFIG_MAP).namespace(namespace);
    let (system, deployments, config_maps, cacerts, remote_secrets, services, views) = futures::try_join!(
        cluster.get(&namespace_ref),
        cluster.list(&deployments),
        cluster.list(&maps),
        cluster.get(&cacerts_ref),
        cluster.list(&secrets),
        cluster.list(&services),
        istiods.held(cluster, namespace),
    )?;
    let config_maps = config_maps.iter().map(|object| (object.name().to_owned(), object.clone())).collect();
    let mut seen = Seen {
        system_namespace: namespace.to_owned(),
        namespace: system,
        deployments: deployments.to_vec(),
        config_maps,
        cacerts,
        remote_secrets: remote_secrets.to_vec(),
        views: views.to_vec(),
        services: doors(&services),
        further: Further::default(),
    };
    let proxies = proxies::look(istiods, cluster, namespace, &seen.views);
    let (further, proxies) = tokio::join!(further(cluster, namespace, &seen), proxies);
    seen.further = Further { proxies, ..further? };
    Ok(seen)
}

/// The gateways among Services that have a network.
fn doors(services: &[Object]) -> Vec<Object> {
    services.iter().filter(|service| !address::is_waypoint(service)).cloned().collect()
}

async fn further(cluster: &Cluster, namespace: &str, seen: &Seen) -> Result<Further, Error> {
    let mut further = Further::default();
    let external = seen.deployments.iter().any(|deployment| is_external(deployment.value()));
    if external {
        let kubeconfig = ObjectRef::namespaced(Kind::SECRET, namespace, CONFIG_SECRET);
        further.kubeconfig = cluster.get(&kubeconfig).await?;
    }
    if !external && !seen.config_maps.contains_key(HANDED_OUT) {
        let maps = Query::of(Kind::CONFIG_MAP).field("metadata.name", HANDED_OUT);
        // Whoever may not look there knows no roots from there.
        further.roots_elsewhere = cluster.list(&maps).await.ok().and_then(|maps| maps.first().cloned());
    }
    if seen.services.iter().any(is_dialled_at_nodes) {
        further.nodes = cluster.list(&Query::of(Kind::NODE)).await?.to_vec();
    }
    if seen.deployments.is_empty() {
        // Whoever may not read webhooks knows the cluster by its name here.
        let webhooks = cluster.list(&Query::of(Kind::MUTATING_WEBHOOK_CONFIGURATION)).await;
        further.injected = webhooks.map(|webhooks| places::injected_as(&webhooks, namespace)).unwrap_or_default();
    }
    let network = seen.namespace.as_ref().and_then(|system| system.label(NETWORK_LABEL));
    let has_network = network.is_some() || injects_network(&seen.config_maps, &further.injected);
    // One may stand for another network as well. Where this is asked, so is what opens gateways, by the same list.
    if !seen.services.is_empty() || has_network {
        match cluster.list_if_served(&Query::of(Kind::GATEWAY_API_GATEWAY)).await {
            Ok(gateways) => {
                let of_networks = gateways.iter().filter(|gateway| gateway.label(NETWORK_LABEL).is_some());
                further.gateways = of_networks.cloned().collect();
            }
            Err(_) => further.gateways_unsure = true,
        }
    }
    let is_apart = seen.services.iter().any(|service| service.namespace() != Some(namespace));
    if is_apart || discovery_selectors(seen).iter().any(|selectors| !selectors.is_empty()) {
        further.namespaces = cluster.list(&Query::of(Kind::NAMESPACE).metadata_only()).await?.to_vec();
    }
    let calls = within(seen).next().is_some();
    if !seen.services.is_empty() || calls {
        let meshes = seen.deployments.iter().filter_map(|one| mesh_config(one, &seen.config_maps));
        let configured = meshes.map(|mesh| MeshPolicy::of(mesh.as_map())).collect();
        let serves = !seen.deployments.is_empty() && !seen.services.is_empty();
        let repeated = repeated(&seen.services, &further.gateways);
        // Where no version is known, it may be an older one.
        let keeps_apart =
            |one: &Object| istiod::version_of(one).and_then(|it| istiod::is_from(&it, [1, 31])) == Some(true);
        let merges = seen.deployments.is_empty() || !seen.deployments.iter().all(keeps_apart);
        let services = &seen.services;
        let looks_into = discovery_selectors(seen);
        let known = crossing::Known { namespace, services, repeated, serves, calls, configured, looks_into, merges };
        further.crossing = crossing::look(cluster, known).await;
    }
    if seen.deployments.is_empty() && serving(seen).is_empty() {
        let services = Query::of(Kind::SERVICE).namespace(namespace);
        let leads_elsewhere =
            |service: &Object| service.name().starts_with("istiod") && service.strings("spec.selector").is_empty();
        further.served_from_outside =
            cluster.list(&services).await.map_or(true, |services| services.iter().any(leads_elsewhere));
    }
    Ok(further)
}

fn is_dialled_at_nodes(service: &Object) -> bool {
    service.str("spec.type") == "NodePort" && service.annotation(NODE_SELECTOR_ANNOTATION).is_some()
}

/// The control planes that the namespace names as those that serve this cluster.
fn serving(seen: &Seen) -> Vec<String> {
    seen.namespace.as_ref().map(places::serving).unwrap_or_default()
}

fn sight(seen: &Seen) -> Sight {
    let network = seen.namespace.as_ref().and_then(|system| system.label(NETWORK_LABEL));
    let control_planes = seen.deployments.iter().map(|deployment| control_plane(deployment, seen));
    // Where an external istiod runs, another hands out roots, if any does.
    let hands_out = seen.deployments.is_empty() || within(seen).next().is_some();
    let distributed = seen.config_maps.get(HANDED_OUT).or(seen.further.roots_elsewhere.as_ref()).filter(|_| hands_out);
    let any_trust = seen.cacerts.is_some() || distributed.is_some();
    let (gateways, no_address) = gateways(seen);
    let repeated = repeated(&seen.services, &seen.further.gateways);
    let doors = seen
        .services
        .iter()
        .map(|service| (crossing::named(service, &repeated), service.namespace().unwrap_or_default().to_owned()));
    let namespaces = seen.further.namespaces.iter().chain(&seen.namespace);
    let shown = ClusterStatus {
        reachable: true.into(),
        error: Value::Null,
        network: network.map(str::to_owned).into(),
        control_planes: control_planes.collect(),
        trust: any_trust.then(|| trust(seen.cacerts.as_ref(), distributed)).into(),
        watches: watches(seen),
        gateways: gateways.into_iter().collect(),
    };
    let meshes: Vec<Values> = seen.deployments.iter().filter_map(|one| mesh_config(one, &seen.config_maps)).collect();
    let added: Vec<Option<Vec<Certificate>>> = meshes.iter().flat_map(|mesh| added_roots(mesh.as_map())).collect();
    let any_mesh = |holds: fn(&serde_json::Value) -> bool, key: &str| {
        meshes.iter().any(|mesh| mesh_field(mesh.as_map(), key).is_some_and(holds))
    };
    Sight {
        system_namespace: seen.system_namespace.clone(),
        shown,
        has_cacerts: seen.cacerts.is_some(),
        has_kubeconfig: seen.further.kubeconfig.is_some(),
        signs_elsewhere: seen.deployments.iter().any(signs_elsewhere),
        signed_by: seen.cacerts.as_ref().and_then(signed_by).map(|root| root.fingerprint().to_string()),
        more_roots: added.iter().flatten().flatten().map(|root| root.fingerprint().to_string()).collect(),
        trusts_more_roots: added.contains(&None),
        no_auto_mtls: any_mesh(|value| value.as_bool() == Some(false), "enableAutoMtls"),
        serving: serving(seen),
        called: seen.further.injected.cluster.clone(),
        served_from_outside: seen.further.served_from_outside,
        led_to: led_to(seen),
        gateways_unsure: seen.further.gateways_unsure,
        describes_networks: described(seen).next().is_some(),
        injects_network: injects_network(&seen.config_maps, &seen.further.injected),
        pods_network: pods_network(seen),
        looks_into: discovery_selectors(seen),
        gateway_namespaces: doors.collect(),
        namespaces: namespaces
            .map(|one| (one.name().to_owned(), passthrough::labels(one, "metadata.labels")))
            .collect(),
        no_address,
        unasked: unasked(seen),
        crossing: seen.further.crossing.clone(),
        configured: within(seen).map(|deployment| configured(deployment, &seen.config_maps)).collect(),
        tokens: tokens(seen, expiry),
        claims: tokens(seen, claims),
        revoked: Vec::new(),
        signs_by: signs_by(seen),
        is_leaving: seen.namespace.as_ref().is_some_and(Object::is_terminating),
    }
}

/// The root by which what signs was signed.
fn signed_by(secret: &Object) -> Option<Certificate> {
    let intermediate = cacerts::intermediate(secret)?;
    cacerts::roots(secret).into_iter().find(|root| intermediate.is_signed_by(root))
}

/// The control planes of this cluster itself.
fn within(seen: &Seen) -> impl Iterator<Item = &Object> {
    seen.deployments.iter().filter(|deployment| !is_external(deployment.value()))
}

/// Whether istiod is told not to sign, or whom to ask: then `cacerts` is no matter of its.
fn signs_elsewhere(deployment: &Object) -> bool {
    environment(deployment).any(|(name, value)| match name {
        "ENABLE_CA_SERVER" => value == "false",
        "EXTERNAL_CA" => !value.is_empty(),
        _ => false,
    })
}

/// Why an istiod could not be asked in full.
fn unasked(seen: &Seen) -> Option<String> {
    seen.views.iter().find_map(|view| match &view.clusters {
        Err(error) => Some(error.to_string()),
        Ok((_, Way::Metrics)) => Some("only its metrics could be read".to_owned()),
        Ok(_) => None,
    })
}

fn mesh_config(deployment: &Object, config_maps: &BTreeMap<String, Object>) -> Option<Values> {
    let map = istiod::mesh_config_map(deployment.label("istio.io/rev"));
    config_maps.get(&map).and_then(|map| Values::from_yaml(map.strings("data").get("mesh")?).ok())
}

/// The namespaces that each control plane looks into.
fn discovery_selectors(seen: &Seen) -> Vec<DiscoverySelectors> {
    let meshes = seen.deployments.iter().filter_map(|one| mesh_config(one, &seen.config_maps));
    meshes.map(|mesh| DiscoverySelectors::of(mesh.as_map())).collect()
}

/// What a control plane has that its mesh must have alike.
fn configured(deployment: &Object, config_maps: &BTreeMap<String, Object>) -> Asked<Configured> {
    let name = istiod::mesh_config_map(deployment.label("istio.io/rev"));
    let map = config_maps.get(&name).ok_or_else(|| format!("its ConfigMap {name} is missing"))?;
    let mesh = Values::from_yaml(map.strings("data").get("mesh").copied().unwrap_or_default());
    let mesh = mesh.map_err(|error| format!("its ConfigMap {name}: {error}"))?;
    let mesh = mesh.as_map();
    Ok(Configured {
        policy: MeshPolicy::of(mesh),
        trust_domain: mesh_field(mesh, "trustDomain")
            .and_then(|domain| domain.as_str())
            .unwrap_or("cluster.local")
            .to_owned(),
        aliases: accepted_domains(mesh),
        any_trust_domain: environment(deployment).any(|(name, value)| name == SKIPS_DOMAINS && value == "true"),
        is_ambient: environment(deployment).any(|(name, value)| name == ENABLES_AMBIENT && value == "true"),
    })
}

/// What the containers of a Deployment are given, where it is written out.
fn environment(deployment: &Object) -> impl Iterator<Item = (&str, &str)> {
    let containers = deployment.items("spec.template.spec.containers").iter();
    let env = containers.filter_map(|container| container["env"].as_array()).flatten();
    env.filter_map(|entry| Some((entry["name"].as_str()?, entry["value"].as_str()?)))
}

fn control_plane(deployment: &Object, seen: &Seen) -> (String, ControlPlane) {
    let revision = deployment.label("istio.io/rev").unwrap_or("default").to_owned();
    let mesh = mesh_config(deployment, &seen.config_maps);
    let mesh = mesh.as_ref().map(Values::as_map);
    let text = |value: Option<&serde_json::Value>| Value::from(value.and_then(|v| v.as_str()).map(str::to_owned));
    let containers = deployment.items("spec.template.spec.containers");
    let discovery = containers.iter().find(|container| container["name"] == "discovery").or(containers.first());
    let cluster_id = discovery.and_then(|container| {
        container["env"].as_array()?.iter().find(|entry| entry["name"] == "CLUSTER_ID")?.get("value")
    });
    let version = discovery.and_then(|container| container["image"].as_str()?.rsplit_once(':')).map(|(_, tag)| tag);
    let (proxies, proxies_behind) = proxies::shown(seen.further.proxies.get(&revision), version);
    let plane = ControlPlane {
        version: version.map(str::to_owned).into(),
        cluster_name: text(cluster_id),
        mesh_id: text(mesh.and_then(|mesh| mesh_field(mesh, "defaultConfig.meshId"))),
        external: is_external(deployment.value()).into(),
        trust_domain: text(mesh.and_then(|mesh| mesh_field(mesh, "trustDomain"))),
        replicas: deployment.get("spec.replicas").and_then(|n| n.as_i64()).unwrap_or(1).into(),
        available_replicas: deployment.get("status.availableReplicas").and_then(|n| n.as_i64()).unwrap_or(0).into(),
        proxies,
        proxies_behind,
    };
    (revision, plane)
}

fn trust(secret: Option<&Object>, distributed: Option<&Object>) -> Trust {
    let roots = secret.map(cacerts::roots).unwrap_or_default();
    let intermediate = secret.and_then(cacerts::intermediate);
    let distributed = distributed
        .and_then(|map| Certificate::all_from_pem(map.strings("data").get("root-cert.pem").copied()?).ok())
        .unwrap_or_default();
    let fingerprints = |certificates: &[Certificate]| -> Value<List<String>> {
        certificates.iter().map(|certificate| certificate.fingerprint().to_string()).collect()
    };
    Trust {
        roots: fingerprints(&roots),
        distributed_roots: fingerprints(&distributed),
        root_not_after: roots.iter().map(Certificate::not_after).min().map(rfc3339).into(),
        intermediate: intermediate.as_ref().map(|certificate| certificate.fingerprint().to_string()).into(),
        intermediate_not_after: intermediate.as_ref().map(|certificate| rfc3339(certificate.not_after())).into(),
    }
}

/// Every cluster that a remote secret, a kubeconfig or an istiod names.
fn watches(seen: &Seen) -> Value<Map<Watch>> {
    let Seen { remote_secrets, views, .. } = seen;
    let mut watches: BTreeMap<String, Watch> = BTreeMap::new();
    let unanswered = views.is_empty() || unasked(seen).is_some();
    let watch = |secret: &Object, parsed: Option<&ParsedRemoteSecret>| Watch {
        verdict: (if unanswered { "unknown" } else { "missing" }).into(),
        secret: format!("{}/{}", secret.namespace().unwrap_or_default(), secret.name()).into(),
        server: parsed.map(|parsed| without_user_info(&parsed.server)).into(),
        token_expires_at: parsed.and_then(|parsed| expiry(&parsed.credential)).map(rfc3339).into(),
    };
    for secret in remote_secrets {
        let Ok(clusters) = ParsedRemoteSecret::from_object(secret.value()) else { continue };
        let each = clusters.iter().map(|(cluster, parsed)| (cluster.to_string(), watch(secret, parsed.as_ref().ok())));
        watches.extend(each);
    }
    let read = seen.further.kubeconfig.as_ref().and_then(|secret| {
        let (cluster, parsed) = ParsedRemoteSecret::from_config_object(secret.value()).ok()?;
        Some((cluster, watch(secret, Some(&parsed))))
    });
    let own = read.as_ref().map(|(cluster, _)| cluster.clone());
    watches.extend(read);
    let external = seen.deployments.iter().any(|deployment| is_external(deployment.value()));
    let kept: BTreeSet<String> = watches.keys().cloned().collect();
    let mut worst: BTreeMap<&str, &str> = BTreeMap::new();
    let said = views.iter().filter_map(|view| Some((view.clusters.as_ref().ok()?, view.replica.revision.as_str())));
    let said =
        said.flat_map(|((clusters, way), revision)| clusters.iter().map(move |cluster| (cluster, *way, revision)));
    for (cluster, way, revision) in said {
        // Metrics tell no secret. Of what they name, the cluster that istiod runs in is told apart by having none; an
        // external istiod runs in none of them.
        let watched = match way {
            Way::Metrics => external || watches.contains_key(&cluster.id),
            _ => !cluster.secret.is_empty() || own.as_ref() == Some(&cluster.id),
        };
        if !watched {
            continue;
        }
        let watch = watches.entry(cluster.id.clone()).or_default();
        if !cluster.secret.is_empty() {
            watch.secret = cluster.secret.clone().into();
        }
        // Where the secret is gone, the replicas forget the cluster one after the other.
        let beside = external || kept.contains(&cluster.id);
        let absent = beside.then(|| absent(views, revision, &cluster.id)).into_iter().flatten();
        for said in absent.chain([cluster.status.as_str()]) {
            let worst = worst.entry(cluster.id.as_str()).or_insert(said);
            if rank(said) > rank(worst) {
                *worst = said;
            }
        }
    }
    for (id, said) in worst {
        watches.entry(id.to_owned()).or_default().verdict = said.into();
    }
    watches.into_iter().collect()
}

/// What follows from the replicas of one revision that do not name a cluster. Of one that is not ready, that alone is
/// told.
fn absent<'a>(views: &'a [ReplicaView], revision: &'a str, id: &'a str) -> impl Iterator<Item = &'a str> {
    let ready = views.iter().filter(move |view| view.replica.ready && view.replica.revision == revision);
    ready.filter_map(move |view| match &view.clusters {
        Ok((clusters, _)) if clusters.iter().any(|cluster| cluster.id == id) => None,
        Ok((_, Way::Metrics)) | Err(_) => Some("unknown"),
        Ok(_) => Some("missing"),
    })
}

/// The remote secrets of an external control plane are in its configuration cluster, where no istiod runs: what they
/// say belongs to those of the cluster it runs in.
pub(super) fn bring_together(seen: &mut BTreeMap<String, Sight>) {
    let hosts: Vec<String> = seen.iter().filter(|(_, sight)| sight.is_host()).map(|(name, _)| name.clone()).collect();
    for host in hosts {
        let Some(mut watches) = seen.get(&host).and_then(|sight| sight.shown.watches.known().cloned()) else {
            continue;
        };
        let kept_elsewhere = seen
            .iter_mut()
            .filter(|(name, sight)| **name != host && sight.shown.control_planes.keys().next().is_none());
        for (_, sight) in kept_elsewhere {
            let Value::Known(there) = &mut sight.shown.watches else { continue };
            there.retain(|id, secret| {
                let Some(said) = watches.get_mut(id).and_then(Value::known_mut) else { return true };
                let same = |secret: &&Watch| said.secret.text().is_empty() || secret.secret == said.secret;
                let Some(secret) = secret.known().filter(same) else { return true };
                said.secret = secret.secret.clone();
                said.server = secret.server.clone();
                said.token_expires_at = secret.token_expires_at.clone();
                false
            });
        }
        if let Some(sight) = seen.get_mut(&host) {
            sight.shown.watches = Value::Known(watches);
        }
    }
}

fn expiry(credential: &Credential) -> Option<OffsetDateTime> {
    match credential {
        Credential::Token(token) => OffsetDateTime::from_unix_timestamp(token::end(token.reveal())?).ok(),
        _ => None,
    }
}

/// What a token of a ServiceAccount says of itself.
fn claims(credential: &Credential) -> Option<Claims> {
    match credential {
        Credential::Token(token) => token::read(token.reveal()).ok(),
        _ => None,
    }
}

/// What is read of the credentials in remote secrets and in an external control plane's kubeconfig: each with its
/// Secret and the cluster that it is for.
fn tokens<T>(seen: &Seen, read: impl Fn(&Credential) -> Option<T>) -> Vec<(String, String, T)> {
    let of = |secret: &Object, cluster: &str, parsed: &ParsedRemoteSecret| {
        let secret = format!("{}/{}", secret.namespace().unwrap_or_default(), secret.name());
        read(&parsed.credential).map(|found| (secret, cluster.to_owned(), found))
    };
    let mut tokens = Vec::new();
    for secret in &seen.remote_secrets {
        let Ok(clusters) = ParsedRemoteSecret::from_object(secret.value()) else { continue };
        let each = clusters.iter().filter_map(|(cluster, parsed)| Some((cluster, parsed.as_ref().ok()?)));
        tokens.extend(each.filter_map(|(cluster, parsed)| of(secret, cluster.as_ref(), parsed)));
    }
    if let Some(secret) = &seen.further.kubeconfig
        && let Ok((cluster, parsed)) = ParsedRemoteSecret::from_config_object(secret.value())
    {
        tokens.extend(of(secret, &cluster, &parsed));
    }
    tokens
}

/// The intermediate in `cacerts` and the root that signed it, each with its time.
fn signs_by(seen: &Seen) -> Vec<(&'static str, OffsetDateTime, OffsetDateTime)> {
    let Some(secret) = &seen.cacerts else { return Vec::new() };
    let Some(intermediate) = cacerts::intermediate(secret) else { return Vec::new() };
    let root = signed_by(secret).filter(|root| root.fingerprint() != intermediate.fingerprint());
    let each = [("intermediate", Some(intermediate)), ("root", root)];
    each.into_iter().filter_map(|(what, one)| one.map(|one| (what, one.not_before(), one.not_after()))).collect()
}

fn rfc3339(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_default()
}

/// The worst verdict of several replicas counts.
fn rank(verdict: &str) -> u8 {
    match verdict {
        "synced" => 0,
        "syncing" => 1,
        "missing" => 3,
        "unknown" => 4,
        _ => 2,
    }
}

/// Names of gateways that stand in several namespaces.
fn repeated(services: &[Object], gateways: &[Object]) -> BTreeSet<String> {
    let gateways = gateways.iter().filter(|gateway| is_ambient(gateway));
    let all = services.iter().chain(gateways).map(|door| (door.name(), door.namespace()));
    let mut names = BTreeSet::new();
    let mut each: Vec<&str> = all.collect::<BTreeSet<_>>().into_iter().map(|(name, _)| name).collect();
    each.retain(|name| !names.insert(*name));
    each.into_iter().map(str::to_owned).collect()
}

fn is_ambient(gateway: &Object) -> bool {
    gateway.str("spec.gatewayClassName") == AMBIENT_CLASS
}

/// The gateways, and of those without an address why.
fn gateways(seen: &Seen) -> (BTreeMap<String, Gateway>, BTreeMap<String, String>) {
    let (mut gateways, mut no_address) = (BTreeMap::new(), BTreeMap::new());
    let nodes = &seen.further.nodes;
    let repeated = repeated(&seen.services, &seen.further.gateways);
    let mut insert = |door: &Object, service: Option<&Object>, found: &[Reachable], usual: u16| {
        if found.is_empty() {
            let evidence = Evidence { service, nodes, instead: INSTEAD_OF_A_LOAD_BALANCER, ..Evidence::default() };
            no_address.insert(crossing::named(door, &repeated), address::reasons(&evidence).join("; "));
        }
        let gateway = Gateway {
            network: door.label(NETWORK_LABEL).map(str::to_owned).into(),
            addresses: found.iter().map(|one| one.address.to_string()).collect(),
            port: i64::from(found.first().map_or(usual, |one| one.port)).into(),
            hosts: Value::Null,
        };
        gateways.insert(crossing::named(door, &repeated), gateway);
    };
    let ambient = || seen.further.gateways.iter().filter(|gateway| is_ambient(gateway));
    let belongs = |service: &Object, gateway: &Object| {
        service.label(GATEWAY_NAME_LABEL) == Some(gateway.name()) && service.namespace() == gateway.namespace()
    };
    for service in seen.services.iter().filter(|service| !ambient().any(|gateway| belongs(service, gateway))) {
        let usual = service.label(PORT_LABEL).and_then(|port| port.parse().ok()).unwrap_or(MTLS_PORT);
        insert(service, Some(service), &address::of_service(service, nodes), usual);
    }
    for gateway in ambient() {
        // Until then istiod gives the ClusterIP for the address that the load balancer still owes.
        let programmed = gateway.condition("Programmed").is_some_and(|condition| condition.is_true());
        let found = if programmed { address::of_gateway(gateway) } else { Vec::new() };
        let service = seen.services.iter().find(|service| belongs(service, gateway));
        insert(gateway, service, &found, HBONE_PORT);
    }
    (gateways, no_address)
}

#[cfg(test)]
#[path = "look_tests.rs"]
mod tests;
