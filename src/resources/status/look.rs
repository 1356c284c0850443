//! Reading one cluster: what is asked, and the pure functions from Kubernetes objects to the attributes.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::model::{ClusterStatus, ControlPlane, Gateway, Trust, Watch};
use crate::chart::Values;
use crate::cluster::{Cluster, Error, Kind, Object, ObjectRef, Query, ReplicaView, SyncStatus};
use crate::mesh::{Credential, MULTI_CLUSTER_LABEL, NETWORK_LABEL, ParsedRemoteSecret};
use crate::pki::Certificate;
use crate::value::{List, Map, Value};

/// What a cluster holds, as read.
struct Seen {
    namespace: Option<Object>,
    deployments: Vec<Object>,
    config_maps: BTreeMap<String, Object>,
    cacerts: Option<Object>,
    remote_secrets: Vec<Object>,
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
                reachable: (!error.is_unreachable()).into(),
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
    let config_maps = config_maps.iter().map(|object| (object.name().to_owned(), object.clone())).collect();
    Ok(Seen {
        namespace,
        deployments: deployments.to_vec(),
        config_maps,
        cacerts,
        remote_secrets: remote_secrets.to_vec(),
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
        watches: watches(&seen.remote_secrets, &seen.views),
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

/// Every cluster that a remote secret or an istiod names.
fn watches(secrets: &[Object], views: &[ReplicaView]) -> Value<Map<Watch>> {
    let mut watches: BTreeMap<String, Watch> = BTreeMap::new();
    let unanswered = views.is_empty() || views.iter().any(|view| view.clusters.is_err());
    for secret in secrets {
        let name = format!("{}/{}", secret.namespace().unwrap_or_default(), secret.name());
        let Ok(clusters) = ParsedRemoteSecret::from_object(secret.value()) else { continue };
        for (cluster, parsed) in clusters {
            let (server, token_expires_at) = match &parsed {
                Ok(parsed) => (Some(parsed.server.clone()), expiry(&parsed.credential)),
                Err(_) => (None, None),
            };
            watches.insert(
                cluster.to_string(),
                Watch {
                    verdict: (if unanswered { "unknown" } else { "missing" }).into(),
                    secret: name.clone().into(),
                    server: server.into(),
                    token_expires_at: token_expires_at.into(),
                },
            );
        }
    }
    let said = views.iter().filter_map(|view| view.clusters.as_ref().ok()).flat_map(|(clusters, _)| clusters);
    for cluster in said.filter(|cluster| !cluster.secret.is_empty()) {
        let watch = watches.entry(cluster.id.clone()).or_default();
        let said = verdict(&cluster.status);
        if rank(&said) >= rank(watch.verdict.text()) {
            watch.verdict = said.into();
        }
        watch.secret = cluster.secret.clone().into();
    }
    watches.into_iter().collect()
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
