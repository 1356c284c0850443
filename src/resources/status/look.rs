//! Reading one cluster: what is asked, and the pure functions from Kubernetes objects to the attributes.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::model::{ClusterStatus, ControlPlane, Gateway, Trust, Watch};
use crate::chart::Values;
use crate::cluster::{Cluster, Error, Kind, Object, ObjectRef, Query, ReplicaView, SyncStatus};
use crate::mesh::{CONFIG_SECRET, Credential, MULTI_CLUSTER_LABEL, NETWORK_LABEL, ParsedRemoteSecret, is_external};
use crate::pki::Certificate;
use crate::value::{List, Map, Value};

/// What a cluster holds, as read.
struct Seen {
    namespace: Option<Object>,
    deployments: Vec<Object>,
    config_maps: BTreeMap<String, Object>,
    cacerts: Option<Object>,
    remote_secrets: Vec<Object>,
    /// The kubeconfig of an external control plane.
    kubeconfig: Option<Object>,
    gateways: Vec<Object>,
    views: Vec<ReplicaView>,
}

/// Reads a cluster; what cannot be read is told in `error`, the rest stays null.
pub(super) async fn look(cluster: &Cluster, namespace: &str) -> ClusterStatus {
    match gather(cluster, namespace).await {
        Ok(seen) => status(&seen),
        Err(error) => {
            let detail = format!("{error}. {}", error.remedy());
            ClusterStatus {
                reachable: (error.is_answer()).into(),
                error: detail.trim().to_owned().into(),
                ..ClusterStatus::default()
            }
        }
    }
}

async fn gather(cluster: &Cluster, namespace: &str) -> Result<Seen, Error> {
    let deployments = Query::of(Kind::DEPLOYMENT).namespace(namespace).label("app", "istiod");
    let secrets = Query::of(Kind::SECRET).namespace(namespace).label(MULTI_CLUSTER_LABEL, "true");
    let gateways = Query { labels: NETWORK_LABEL.to_owned(), ..Query::of(Kind::SERVICE) };
    let (namespace_ref, cacerts_ref) =
        (ObjectRef::cluster(Kind::NAMESPACE, namespace), ObjectRef::namespaced(Kind::SECRET, namespace, "cacerts"));
    let kubeconfig_ref = ObjectRef::namespaced(Kind::SECRET, namespace, CONFIG_SECRET);
    let maps = Query::of(Kind::CONFIG_MAP).namespace(namespace);
    let istiod = cluster.istiod(namespace);
    let (namespace, deployments, config_maps, cacerts, remote_secrets, gateways, views) = futures::try_join!(
        cluster.get(&namespace_ref),
        cluster.list(&deployments),
        cluster.list(&maps),
        cluster.get(&cacerts_ref),
        cluster.list(&secrets),
        cluster.list(&gateways),
        istiod.clusterz_held(),
    )?;
    let kubeconfig = match deployments.iter().any(|deployment| is_external(deployment.value())) {
        true => cluster.get(&kubeconfig_ref).await?,
        false => None,
    };
    let config_maps = config_maps.iter().map(|object| (object.name().to_owned(), object.clone())).collect();
    Ok(Seen {
        namespace,
        deployments: deployments.to_vec(),
        config_maps,
        cacerts,
        remote_secrets: remote_secrets.to_vec(),
        kubeconfig,
        gateways: gateways.to_vec(),
        views: views.to_vec(),
    })
}

fn status(seen: &Seen) -> ClusterStatus {
    let network = seen.namespace.as_ref().and_then(|namespace| namespace.label(NETWORK_LABEL));
    let control_planes = seen.deployments.iter().map(|deployment| control_plane(deployment, &seen.config_maps));
    let distributed = seen.config_maps.get("istio-ca-root-cert");
    ClusterStatus {
        reachable: true.into(),
        error: Value::Null,
        network: network.map(str::to_owned).into(),
        control_planes: control_planes.collect(),
        trust: seen.cacerts.as_ref().map(|cacerts| trust(cacerts, distributed)).into(),
        watches: watches(seen),
        gateways: seen.gateways.iter().map(|service| (service.name().to_owned(), gateway(service))).collect(),
    }
}

fn control_plane(deployment: &Object, config_maps: &BTreeMap<String, Object>) -> (String, ControlPlane) {
    let revision = deployment.label("istio.io/rev").unwrap_or("default").to_owned();
    let map = if revision == "default" { "istio".to_owned() } else { format!("istio-{revision}") };
    let mesh = config_maps.get(&map).and_then(|map| Values::from_yaml(map.str("data.mesh")).ok());
    let mesh = mesh.as_ref().map(Values::as_map);
    let text = |value: Option<&serde_json::Value>| Value::from(value.and_then(|v| v.as_str()).map(str::to_owned));
    let containers = deployment.items("spec.template.spec.containers");
    let discovery = containers.iter().find(|container| container["name"] == "discovery").or(containers.first());
    let cluster_id = discovery.and_then(|container| {
        container["env"].as_array()?.iter().find(|entry| entry["name"] == "CLUSTER_ID")?.get("value")
    });
    let version = discovery.and_then(|container| container["image"].as_str()?.rsplit_once(':'));
    let plane = ControlPlane {
        version: version.map(|(_, tag)| tag.to_owned()).into(),
        cluster_name: text(cluster_id),
        mesh_id: text(mesh.and_then(|mesh| mesh.get("defaultConfig")?.get("meshId"))),
        external: is_external(deployment.value()).into(),
        trust_domain: text(mesh.and_then(|mesh| mesh.get("trustDomain"))),
        replicas: deployment.get("spec.replicas").and_then(|n| n.as_i64()).unwrap_or(1).into(),
        available_replicas: deployment.get("status.availableReplicas").and_then(|n| n.as_i64()).unwrap_or(0).into(),
    };
    (revision, plane)
}

fn trust(cacerts: &Object, distributed: Option<&Object>) -> Trust {
    let certificates = |keys: &[&str]| -> Vec<Certificate> {
        let text = keys.iter().find_map(|key| cacerts.data(key)).and_then(|bytes| String::from_utf8(bytes).ok());
        text.and_then(|text| Certificate::all_from_pem(&text).ok()).unwrap_or_default()
    };
    let roots = certificates(&["root-cert.pem", "ca.crt"]);
    let intermediate = certificates(&["ca-cert.pem", "tls.crt"]).into_iter().next();
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
fn watches(Seen { remote_secrets, kubeconfig, views, .. }: &Seen) -> Value<Map<Watch>> {
    let mut watches: BTreeMap<String, Watch> = BTreeMap::new();
    let unanswered = views.is_empty() || views.iter().any(|view| view.clusters.is_err());
    let watch = |secret: &Object, parsed: Option<&ParsedRemoteSecret>| Watch {
        verdict: (if unanswered { "unknown" } else { "missing" }).into(),
        secret: format!("{}/{}", secret.namespace().unwrap_or_default(), secret.name()).into(),
        server: parsed.map(|parsed| parsed.server.clone()).into(),
        token_expires_at: parsed.and_then(|parsed| expiry(&parsed.credential)).into(),
    };
    for secret in remote_secrets {
        let Ok(clusters) = ParsedRemoteSecret::from_object(secret.value()) else { continue };
        let each = clusters.iter().map(|(cluster, parsed)| (cluster.to_string(), watch(secret, parsed.as_ref().ok())));
        watches.extend(each);
    }
    let read = kubeconfig.as_ref().and_then(|secret| {
        let (cluster, parsed) = ParsedRemoteSecret::from_config_object(secret.value()).ok()?;
        Some((cluster, watch(secret, Some(&parsed))))
    });
    let own = read.as_ref().map(|(cluster, _)| cluster.clone());
    watches.extend(read);
    let said = views.iter().filter_map(|view| view.clusters.as_ref().ok()).flat_map(|(clusters, _)| clusters);
    for cluster in said.filter(|cluster| !cluster.secret.is_empty() || own.as_ref() == Some(&cluster.id)) {
        let watch = watches.entry(cluster.id.clone()).or_default();
        let said = verdict(&cluster.status);
        if rank(&said) >= rank(watch.verdict.text()) {
            watch.verdict = said.into();
        }
        if !cluster.secret.is_empty() {
            watch.secret = cluster.secret.clone().into();
        }
    }
    watches.into_iter().collect()
}

/// The remote secrets of an external control plane are in its configuration cluster, where no istiod runs: what they say belongs to those of the cluster it runs in.
pub(super) fn bring_together(seen: &mut BTreeMap<String, ClusterStatus>) {
    let hosts: Vec<String> = seen
        .iter()
        .filter(|(_, status)| status.control_planes.entries().any(|(_, plane)| plane.external.get() == Some(true)))
        .map(|(name, _)| name.clone())
        .collect();
    for host in hosts {
        let Some(mut watches) = seen.get(&host).and_then(|status| status.watches.known().cloned()) else { continue };
        let kept_elsewhere =
            seen.iter_mut().filter(|(name, status)| **name != host && status.control_planes.keys().next().is_none());
        for (_, status) in kept_elsewhere {
            let Value::Known(there) = &mut status.watches else { continue };
            there.retain(|id, secret| {
                let Some(said) = watches.get_mut(id).and_then(Value::known_mut) else { return true };
                let Some(secret) = secret.known().filter(|secret| secret.secret == said.secret) else { return true };
                said.server = secret.server.clone();
                said.token_expires_at = secret.token_expires_at.clone();
                false
            });
        }
        if let Some(status) = seen.get_mut(&host) {
            status.watches = Value::Known(watches);
        }
    }
}

fn expiry(credential: &Credential) -> Option<String> {
    match credential {
        Credential::Token(token) => expires_at(token.reveal()).map(rfc3339),
        _ => None,
    }
}

/// The `exp` claim of a JSON web token.
fn expires_at(token: &str) -> Option<OffsetDateTime> {
    let claims = token.split('.').nth(1)?;
    let claims: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    OffsetDateTime::from_unix_timestamp(claims.get("exp")?.as_i64()?).ok()
}

fn rfc3339(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_default()
}

fn verdict(status: &SyncStatus) -> String {
    match status {
        SyncStatus::Synced => "synced".to_owned(),
        SyncStatus::Syncing => "syncing".to_owned(),
        SyncStatus::Timeout => "timeout".to_owned(),
        SyncStatus::Closed => "closed".to_owned(),
        SyncStatus::Other(other) => other.clone(),
    }
}

/// The worst verdict of several replicas counts; `missing` and `unknown` give way to any istiod that answers.
fn rank(verdict: &str) -> u8 {
    match verdict {
        "" | "missing" | "unknown" => 0,
        "synced" => 1,
        "syncing" => 2,
        _ => 3,
    }
}

fn gateway(service: &Object) -> Gateway {
    let ingress = service.items("status.loadBalancer.ingress").iter();
    let balancers = ingress.filter_map(|entry| entry["ip"].as_str().or(entry["hostname"].as_str())).map(str::to_owned);
    let external = service.items("spec.externalIPs").iter().filter_map(|ip| ip.as_str()).map(str::to_owned);
    let labelled = service.label("networking.istio.io/gatewayPort").and_then(|port| port.parse().ok());
    Gateway {
        network: service.label(NETWORK_LABEL).map(str::to_owned).into(),
        addresses: balancers.chain(external).collect(),
        port: labelled.unwrap_or(15443).into(),
    }
}
