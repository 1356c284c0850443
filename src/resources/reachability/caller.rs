//! What one cluster's istiod tells its clients: a certificate, gateways, endpoints. Asked once for each cluster,
//! whatever the number of pairs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Map, Value as Json};
use tokio::time::sleep;

use super::judge::{Asked, Trouble, Watched};
use super::look::Look;
use super::route::{Described, KnownGateway};
use crate::chart::Values;
use crate::cluster::{Cluster, Kind, ObjectRef, TokenRequest};
use crate::istiod::proxy::{Certified, Connection, Endpoint, Node, Refused};
use crate::istiod::{Istiod, RemoteCluster, Replica, added_roots, is_from, mesh_config_map};
use crate::mesh::{Sni, SpiffeId, accepted_domains, mesh_field};
use crate::pki::Certificate;
use crate::resources::places::described_networks;

/// For whom the token is.
const AUDIENCE: &str = "istio-ca";
/// The least that an API server grants.
const TOKEN_LASTS: Duration = Duration::from_secs(600);
/// What istiod has not told yet may be on its way, as after an apply.
const ASKED: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// Since this version istiod reads the mesh configurations of other clusters.
const READS_DOMAINS: [u64; 2] = [1, 31];

/// A Service, as callers know it.
pub(super) type Service = (String, u16);

pub(super) fn named(service: &Sni) -> Service {
    (service.host.to_string(), service.port)
}

/// A client in a cluster.
pub(super) struct Caller {
    pub identity: Certified,
    pub gateways: Vec<KnownGateway>,
    /// Networks that its mesh configuration describes.
    pub described: Described,
    pub watched: Result<Vec<RemoteCluster>, String>,
    pub endpoints: BTreeMap<Service, Vec<Endpoint>>,
    /// Whether clients speak mTLS on their own.
    pub auto_mtls: bool,
    /// Roots that the mesh configuration adds.
    pub more_roots: Vec<Certificate>,
    /// Trust domains that clients accept; empty where nobody knows.
    pub domains: BTreeSet<String>,
    istiod: Serving,
}

/// The istiod that was asked.
struct Serving {
    revision: String,
    version: Option<String>,
    /// The id of the cluster whose configuration it reads.
    configured_in: String,
}

/// Who acts, and what for.
pub(super) struct Act<'a> {
    pub from: &'a Look,
    /// Whose istiod serves the cluster.
    pub served_by: &'a Look,
    pub account_namespace: &'a str,
    pub account: &'a str,
    pub services: &'a [Sni],
}

impl Caller {
    pub async fn new(act: &Act<'_>) -> Result<Caller, Trouble> {
        let Act { from, served_by, account_namespace, account, services } = *act;
        let namespace = served_by.namespace.as_str();
        let istiod = served_by.istiod().ok_or_else(|| {
            Trouble::unknown(format!("no istiod of it is ready in namespace {namespace}, so there is nobody to ask"))
        })?;
        let request = TokenRequest {
            namespace: account_namespace.to_owned(),
            service_account: account.to_owned(),
            audiences: vec![AUDIENCE.to_owned()],
            expires_in: TOKEN_LASTS,
            bound_to: None,
        };
        let token = from.cluster.request_token(&request).await.map_err(|error| {
            Trouble::unknown(format!(
                "no token for the ServiceAccount {account_namespace}/{account}: {error}. {}",
                error.remedy()
            ))
        })?;
        let at = Istiod::of(&served_by.cluster, namespace);
        let connection = Connection::open(&at, &istiod.pod, &token.token, from.id()).await;
        let connection = connection.map_err(|why| {
            let right = format!(
                "Asking it takes the right to create pods/portforward in namespace {namespace} of {}",
                served_by.name()
            );
            Trouble::unknown(format!("istiod {} cannot be asked: {why}. {right}", istiod.pod))
        })?;
        let identity = connection.certificate().await.map_err(|why| no_certificate(&istiod.pod, &why))?;
        let (gateways, watched) = known(&at, istiod).await?;
        let Configured { auto_mtls, more_roots, trust_domain, mut domains, described } =
            mesh_config(&served_by.cluster, namespace, &istiod.revision).await?;
        let own = identity.chain.iter().take(1).flat_map(Certificate::uris).find_map(|uri| domain_of(uri));
        match trust_domain.or(own) {
            Some(domain) => domains.extend([domain]),
            None => domains.clear(),
        }
        let node = Node {
            namespace: account_namespace,
            service_account: account,
            network: from.proxies_network(),
            ips: &istiod.ips,
        };
        let endpoints = endpoints(&connection, &node, services).await?;
        let istiod = Serving {
            revision: istiod.revision.clone(),
            version: istiod.version().map(str::to_owned),
            configured_in: served_by.id().to_owned(),
        };
        Ok(Caller { identity, gateways, described, watched, endpoints, auto_mtls, more_roots, domains, istiod })
    }

    /// The trust domain of a cluster's own mesh configuration, where clients accept it: from Istio 1.31 on, istiod
    /// takes the Pods of another cluster to be of that.
    pub async fn domain_of_remote(&self, to: &Look) -> Asked<Option<String>> {
        if !self.istiod.takes_domain_of(to)? {
            return Ok(None);
        }
        let there = mesh_config(&to.cluster, &to.namespace, &self.istiod.revision).await;
        there.map(|there| there.trust_domain).map_err(|trouble| trouble.why)
    }

    /// What the caller's istiod says of the cluster.
    pub fn watched(&self, to: &Look) -> Watched {
        match &self.watched {
            Err(why) => Watched::Unknown(why.clone()),
            Ok(clusters) => watched(clusters, to),
        }
    }

    /// The networks that endpoints of a cluster may be in, as the caller's istiod judges: Pods say it themselves, then
    /// the namespace's label counts, then the mesh configuration.
    pub fn networks_of(&self, to: &Look) -> BTreeSet<String> {
        match to.proxies_network() {
            "" => self.described.networks_of(to.id()),
            network => [network.to_owned()].into(),
        }
    }

    /// The trust domain of an identity, where clients do not accept it.
    pub fn other_domain(&self, identity: &str) -> Option<String> {
        other_domain(&self.domains, identity)
    }

    /// Certificates that are trusted.
    pub fn roots(&self) -> Vec<Certificate> {
        self.identity.roots.iter().chain(&self.more_roots).cloned().collect()
    }
}

impl Serving {
    /// Whether it takes the trust domain of a cluster from the mesh configuration there.
    fn takes_domain_of(&self, to: &Look) -> Asked<bool> {
        if to.has_id(&self.configured_in) {
            return Ok(false);
        }
        let version = self.version.as_deref().and_then(|version| is_from(version, READS_DOMAINS));
        version.ok_or_else(|| "the image of its istiod does not say which version of Istio it is".to_owned())
    }
}

/// What one who reads these clusters says of a cluster.
pub(super) fn watched(clusters: &[RemoteCluster], to: &Look) -> Watched {
    match clusters.iter().find(|cluster| to.has_id(&cluster.id)) {
        Some(cluster) => Watched::As(cluster.status.as_str().to_owned()),
        None => Watched::Not,
    }
}

fn domain_of(identity: &str) -> Option<String> {
    SpiffeId::parse(identity).ok().map(|id| id.trust_domain.to_string())
}

fn other_domain(accepted: &BTreeSet<String>, identity: &str) -> Option<String> {
    domain_of(identity).filter(|domain| !accepted.is_empty() && !accepted.contains(domain))
}

async fn endpoints(
    istiod: &Connection,
    node: &Node<'_>,
    services: &[Sni],
) -> Result<BTreeMap<Service, Vec<Endpoint>>, Trouble> {
    let mut told = BTreeMap::new();
    if services.is_empty() {
        return Ok(told);
    }
    let services: Vec<Service> = services.iter().map(named).collect();
    for attempt in 1..=ASKED {
        let untold =
            |why: Refused| Trouble::unknown(format!("its istiod does not tell where its clients' calls go: {why}"));
        told = istiod.endpoints(node, &services).await.map_err(untold)?;
        if told.values().all(|endpoints: &Vec<Endpoint>| !endpoints.is_empty()) || attempt == ASKED {
            break;
        }
        sleep(PAUSE).await;
    }
    Ok(told)
}

fn no_certificate(pod: &str, why: &Refused) -> Trouble {
    match why {
        Refused::Said { .. } => Trouble::broken(format!(
            "istiod {pod} gives no certificate: {why}. New workloads get none either; its log says why"
        )),
        Refused::Unserved => Trouble::unknown(format!(
            "istiod {pod} gives no certificate: {why}. Where workloads get theirs from elsewhere, this data source cannot act as one"
        )),
        Refused::Way(_) | Refused::Unreadable(_) => {
            Trouble::unknown(format!("istiod {pod} gives no certificate: {why}"))
        }
    }
}

async fn known(
    istiod: &Istiod,
    replica: &Replica,
) -> Result<(Vec<KnownGateway>, Result<Vec<RemoteCluster>, String>), Trouble> {
    let page = istiod.debug(replica, "networkz").await;
    let page =
        page.map_err(|error| Trouble::unknown(format!("its istiod does not tell which gateways it knows: {error}")))?;
    let views = istiod.views(vec![replica.clone()]).await;
    let watched = views.into_iter().next().map(|view| view.clusters);
    let watched = match watched {
        Some(Ok((clusters, _))) => Ok(clusters),
        Some(Err(error)) => Err(error.to_string()),
        None => Err("nobody was asked".to_owned()),
    };
    Ok((gateways(&page), watched))
}

/// The page is a list; `null` where there is none.
fn gateways(page: &Json) -> Vec<KnownGateway> {
    let text = |gateway: &Json, key: &str| gateway[key].as_str().unwrap_or_default().to_owned();
    let each = page.as_array().into_iter().flatten().map(|gateway| KnownGateway {
        network: text(gateway, "Network"),
        cluster: text(gateway, "Cluster"),
        address: text(gateway, "Addr"),
        port: gateway["Port"].as_u64().and_then(|port| port.try_into().ok()).unwrap_or_default(),
    });
    each.collect()
}

/// What a mesh configuration says of clients.
#[derive(Debug)]
struct Configured {
    /// Whether clients speak mTLS unless told otherwise.
    auto_mtls: bool,
    /// Which roots are trusted beside istiod's own.
    more_roots: Vec<Certificate>,
    trust_domain: Option<String>,
    /// Trust domains that are accepted beside that one.
    domains: BTreeSet<String>,
    described: Described,
}

async fn mesh_config(cluster: &Cluster, namespace: &str, revision: &str) -> Result<Configured, Trouble> {
    let name = mesh_config_map(Some(revision));
    let map = cluster.get(&ObjectRef::namespaced(Kind::CONFIG_MAP, namespace, &name)).await;
    let map = map.map_err(|error| {
        Trouble::unknown(format!("the mesh configuration (ConfigMap {namespace}/{name}) cannot be read: {error}"))
    })?;
    let mesh = map.as_ref().and_then(|map| Values::from_yaml(map.strings("data").get("mesh")?).ok());
    let described = map.as_ref().map(|map| Described::read(&described_networks(map))).unwrap_or_default();
    Ok(Configured { described, ..configured(mesh.as_ref().map(Values::as_map)) })
}

fn configured(mesh: Option<&Map<String, Json>>) -> Configured {
    let auto_mtls = mesh.and_then(|mesh| mesh_field(mesh, "enableAutoMtls")?.as_bool()).unwrap_or(true);
    let roots = mesh.map(added_roots).unwrap_or_default();
    let trust_domain =
        mesh.and_then(|mesh| mesh_field(mesh, "trustDomain")?.as_str()).filter(|domain| !domain.is_empty());
    Configured {
        auto_mtls,
        more_roots: roots.into_iter().flatten().flatten().collect(),
        trust_domain: trust_domain.map(str::to_owned),
        domains: mesh.map(accepted_domains).unwrap_or_default(),
        described: Described::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_trust_domain_is_accepted_where_the_mesh_configuration_names_it() {
        let mesh = json!({"trustDomain": "a", "trustDomainAliases": ["c"]});
        let Configured { trust_domain, mut domains, auto_mtls, .. } = configured(mesh.as_object());
        assert!(auto_mtls && trust_domain.as_deref() == Some("a"));
        domains.extend(trust_domain);
        let of = |domain: &str| other_domain(&domains, &format!("spiffe://{domain}/ns/shop/sa/cart"));
        assert_eq!([of("a"), of("b"), of("c")], [None, Some("b".to_owned()), None]);
        assert_eq!(other_domain(&BTreeSet::new(), "spiffe://b/ns/shop/sa/cart"), None, "nobody knows");
        assert_eq!(other_domain(&domains, "spiffe://b"), None);
        assert_eq!(configured(None).trust_domain, None);
        let mesh = json!({"trust_domain": "a", "enable_auto_mtls": false});
        let Configured { trust_domain, auto_mtls, .. } = configured(mesh.as_object());
        assert!(!auto_mtls && trust_domain.as_deref() == Some("a"), "by the names of protobuf");
    }

    #[test]
    fn the_trust_domain_of_another_cluster_counts_from_1_31_on() {
        let look = |name: &str| Look {
            cluster: Cluster::standalone(name, crate::cluster::ClusterConfig::default(), "test"),
            namespace: "istio-system".to_owned(),
            network: None,
            istiods: Vec::new(),
            injected: crate::mesh::InjectedAs::default(),
            serving: Vec::new(),
        };
        let of = |version: Option<&str>, to: &str| {
            let version = version.map(str::to_owned);
            Serving { revision: String::new(), version, configured_in: "east".to_owned() }.takes_domain_of(&look(to))
        };
        for (version, to, expected) in
            [("1.31.0", "west", true), ("1.32.1", "west", true), ("1.30.2", "west", false), ("1.31.0", "east", false)]
        {
            assert_eq!(of(Some(version), to), Ok(expected), "{version} {to}");
        }
        assert!(of(None, "west").is_err() && of(Some("latest"), "west").is_err());
    }

    #[test]
    fn gateways_are_read_as_istiod_writes_them() {
        let page = json!([
            {"Network": "net-west", "Cluster": "west", "Addr": "10.0.0.2", "Port": 15443, "HBONEPort": 0, "ServiceAccount": {"Namespace": "", "Name": ""}},
            {"Network": "net-north", "Cluster": "north", "Addr": "10.0.0.3", "Port": 0, "HBONEPort": 15008},
        ]);
        let of = |network: &str, cluster: &str, address: &str, port| KnownGateway {
            network: network.into(),
            cluster: cluster.into(),
            address: address.into(),
            port,
        };
        assert_eq!(
            gateways(&page),
            [of("net-west", "west", "10.0.0.2", 15443), of("net-north", "north", "10.0.0.3", 0)]
        );
        assert_eq!(gateways(&Json::Null), []);
    }
}
