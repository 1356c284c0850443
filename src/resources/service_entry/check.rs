//! Whether an import fits what the exporters really have: their Services, Pods, gateways, trust domains and roots.
//!
//! Gathering asks the clusters; comparing is pure. What cannot be read is said, and stops nothing.

use std::collections::BTreeSet;

use super::model::ServiceEntry;
use super::spec::{ExporterSpec, Spec};
use crate::chart::Values;
use crate::cluster::{Cluster, Error, Kind, Object, ObjectRef, Query};
use crate::istiod::{HANDED_OUT, added_roots, every_deployment, is_mesh_config_map};
use crate::mesh::{
    GATEWAY_PORT, MeshPolicy, Protocol, Selector, ServiceExposure, accepted_domains, hosts_admit,
    is_injection_config_map, mesh_field,
};
use crate::pki::Certificate;
use crate::resources::address::GATEWAY_NAME_LABEL;
use crate::resources::passthrough::{Chooses, Opening};
use crate::resources::places::serving;
use crate::resources::policies;
use crate::value::Path;

/// Something that does not fit, and the attribute that says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub path: Path,
    pub text: String,
}

/// What an exporting cluster holds.
#[derive(Debug, Default)]
pub struct Exporter {
    pub(super) service: Option<Object>,
    /// ServiceAccounts of the Pods behind the Service.
    pub(super) accounts: BTreeSet<String>,
    /// Whether any of these Pods speaks mTLS; `None` where there is no Pod.
    pub(super) mutual: Option<bool>,
    /// What Gateways let through; `None` where the cluster is a remote, whose Gateways are with its control plane.
    pub(super) open: Option<Vec<Opening>>,
    pub(super) mesh: Mesh,
}

/// How a control plane is set up.
#[derive(Debug, Default)]
pub struct Mesh {
    /// `None` where no control plane could be found.
    pub(super) trust_domain: Option<String>,
    /// Further trust domains that its proxies accept.
    pub(super) aliases: BTreeSet<String>,
    /// Fingerprints of the roots that workloads trust; empty where these are not all known.
    pub(super) roots: BTreeSet<String>,
    /// Proxies answer DNS queries, unless a Pod says otherwise.
    pub(super) captures_dns: bool,
    /// Proxies speak plain text unless a rule says otherwise.
    pub(super) is_plain: bool,
    /// The domain of Service names, where it is known.
    pub(super) cluster_domain: Option<String>,
}

/// Whether a Service is there for DNS alone: hidden from proxies, and nobody behind it.
pub fn is_stub(service: &Object) -> bool {
    service.annotation("networking.istio.io/exportTo") == Some("~") && service.strings("spec.selector").is_empty()
}

/// Reads what an exporter has.
pub async fn exporter(cluster: &Cluster, spec: &ExporterSpec) -> Result<Exporter, Error> {
    let reference = ObjectRef::namespaced(Kind::SERVICE, spec.namespace.as_str(), &spec.service);
    let system = ObjectRef::cluster(Kind::NAMESPACE, spec.istiod_namespace.as_str());
    // Where nobody has defined Gateways yet, as before the first apply, it is not known what they will let through.
    let gateways = Query::of(Kind::ISTIO_GATEWAY);
    let looks_into = policies::looks_into(cluster, spec.istiod_namespace.as_str()).await?;
    let (service, _, open, mesh, system) = futures::try_join!(
        cluster.get(&reference),
        cluster.list(&gateways),
        policies::openings(cluster, &looks_into),
        mesh(cluster, spec.istiod_namespace.as_str()),
        cluster.get(&system),
    )?;
    let is_served = system.as_ref().is_some_and(|system| !serving(system).is_empty());
    let is_remote = is_served && cluster.list(&every_deployment()).await?.is_empty();
    let selector = service.as_ref().map(|service| service.strings("spec.selector")).unwrap_or_default();
    let (mut accounts, mut mutual) = (BTreeSet::new(), None);
    if !selector.is_empty() {
        let selected = |query: Query, (key, value): (&&str, &&str)| query.label(key, value);
        let pods = selector.iter().fold(Query::of(Kind::POD).namespace(spec.namespace.as_str()), selected);
        for pod in cluster.list(&pods).await?.iter().filter(|pod| answers(pod)) {
            let account = pod.str("spec.serviceAccountName");
            let speaks = pod.label("security.istio.io/tlsMode") == Some("istio");
            mutual = Some(speaks || mutual == Some(true));
            accounts.insert(if account.is_empty() { "default" } else { account }.to_owned());
        }
    }
    Ok(Exporter { service, accounts, mutual, open: (!is_remote).then_some(open), mesh })
}

/// Whether a Pod may answer calls. One that has ended, or is about to, says nothing of those that do.
pub(super) fn answers(pod: &Object) -> bool {
    !pod.is_terminating() && !matches!(pod.str("status.phase"), "Succeeded" | "Failed")
}

/// Reads how a cluster's control plane is set up.
pub async fn mesh(cluster: &Cluster, namespace: &str) -> Result<Mesh, Error> {
    Ok(Mesh::of(&cluster.list(&Query::of(Kind::CONFIG_MAP).namespace(namespace)).await?))
}

impl Mesh {
    /// By the ConfigMaps of Istio's namespace.
    pub(super) fn of(maps: &[Object]) -> Mesh {
        let read = |map: &Object, key: &str| Values::from_yaml(map.strings("data").get(key)?).ok();
        let mut settings = maps.iter().filter(|map| is_mesh_config_map(map.name())).filter_map(|map| read(map, "mesh"));
        let Some(settings) = settings.next() else { return Mesh::default() };
        let settings = settings.as_map();
        let captures = mesh_field(settings, "defaultConfig.proxyMetadata.ISTIO_META_DNS_CAPTURE")
            .is_some_and(|value| value.as_str() == Some("true") || value.as_bool() == Some(true));
        let mut injectors =
            maps.iter().filter(|map| is_injection_config_map(map.name())).filter_map(|map| read(map, "values"));
        let domain = injectors.find_map(|values| {
            let domain = values.as_map().get("global")?.get("proxy")?.get("clusterDomain")?.as_str()?;
            (!domain.is_empty()).then(|| domain.to_owned())
        });
        let handed_out = maps.iter().find(|map| map.name() == HANDED_OUT);
        let handed_out =
            handed_out.and_then(|map| Certificate::all_from_pem(map.strings("data").get("root-cert.pem")?).ok());
        // With one that cannot be read, it is not known which roots there are in all.
        let added: Option<Vec<Vec<Certificate>>> = added_roots(settings).into_iter().collect();
        let roots = handed_out.filter(|roots| !roots.is_empty()).zip(added);
        let roots = roots.into_iter().flat_map(|(handed_out, added)| handed_out.into_iter().chain(added.concat()));
        Mesh {
            captures_dns: captures,
            trust_domain: Some(
                mesh_field(settings, "trustDomain").and_then(|td| td.as_str()).unwrap_or("cluster.local").to_owned(),
            ),
            aliases: accepted_domains(settings),
            roots: roots.map(|root| root.fingerprint().to_string()).collect(),
            is_plain: MeshPolicy::of(settings).is_plain(),
            cluster_domain: domain,
        }
    }
}

/// The Service of the importing cluster that would have the host's name, as `(name, namespace)`, if one can have it.
pub(super) fn namesake<'a>(host: &'a str, here: &Mesh) -> Option<(&'a str, &'a str)> {
    let mut parts = host.splitn(4, '.');
    let (name, namespace) = (parts.next()?, parts.next()?);
    let is_service = parts.next() == Some("svc");
    let domain = here.cluster_domain.as_deref().unwrap_or("cluster.local");
    (is_service && parts.next().is_none_or(|rest| rest == domain)).then_some((name, namespace))
}

/// A Service of the importing cluster that has the host's name takes its place.
pub async fn shadow(cluster: &Cluster, spec: &Spec, here: &Mesh) -> Option<Finding> {
    let (name, namespace) = namesake(spec.import.host.as_str(), here)?;
    let own = cluster.get(&ObjectRef::namespaced(Kind::SERVICE, namespace, name)).await.ok().flatten();
    let own = own.filter(|service| !is_stub(service))?;
    Some(Finding {
        path: Path::root("host"),
        text: format!(
            "cluster {} has a Service {namespace}/{} of its own, which proxies prefer: no request would leave the cluster. Call the exporter's service by another name, such as {name}.{}",
            cluster.name(),
            own.name(),
            spec.exporters.first().map_or("another.mesh", |exporter| exporter.trust_domain.as_str()),
        ),
    })
}

/// An import into a remote: no istiod reads it.
pub fn unread_here(cluster: &str, served_by: &[String]) -> Option<Finding> {
    let other = match served_by {
        [] => return None,
        [any] if any == "*" => "another cluster".to_owned(),
        ids => ids.join(", "),
    };
    Some(Finding {
        path: Path::root("cluster"),
        text: format!(
            "{cluster} is a remote of {other}, and istiods read ServiceEntries in the cluster of their own configuration alone: this one is never read. Set `cluster` to the cluster whose istiod serves {cluster}"
        ),
    })
}

/// Calls would leave as plain text, which no gateway passes on. The rule with an SNI has them speak mTLS; `by_rule`
/// says whether another one does.
pub fn plain(cluster: &str, spec: &Spec, here: &Mesh, by_rule: bool) -> Option<Finding> {
    if !here.is_plain || spec.import.needs_sni_override() {
        return None;
    }
    // A rule for the host itself stands in place of wider ones.
    let is_mutual = by_rule && spec.import.destination_rule().is_none();
    (!is_mutual).then(|| Finding {
        path: Path::root("cluster"),
        text: format!(
            "the mesh configuration of {cluster} sets `enableAutoMtls` to false: its proxies call {} in plain text, and no gateway passes that on. Set `mtls` of its mesh_primary to \"permissive\" or \"strict\", or call the service by another name, for which a DestinationRule with mTLS is made",
            spec.import.host
        ),
    })
}

/// The networks whose gateways are to lead to exporters, by the key of these.
pub fn networks(model: &ServiceEntry) -> Vec<(String, String)> {
    let exporters = model.exporters.entries();
    exporters.filter_map(|(key, exporter)| Some((key.to_owned(), exporter.network.known()?.clone()))).collect()
}

/// Those of which the importing istiod knows no gateway: it leaves their endpoints out, and reports nothing.
pub fn unknown_networks(cluster: &Cluster, asked: &[(String, String)], known: &BTreeSet<String>) -> Vec<Finding> {
    let unknown = asked.iter().filter(|(_, network)| !known.contains(network));
    let finding = |(key, network): &(String, String)| Finding {
        path: Path::root("exporters").key(key.as_str()).attr("network"),
        text: format!(
            "the istiod of cluster {} knows no gateway of network {network}, so that no request leaves. List its gateways in `mesh_networks` of the mesh_primary of {}, or give `gateways` here",
            cluster.name(),
            cluster.name()
        ),
    };
    unknown.map(finding).collect()
}

/// What does not fit between an import and one of its exporters.
pub fn findings(spec: &Spec, exporter: &ExporterSpec, there: &Exporter, here: Option<&Mesh>) -> Vec<Finding> {
    let path = Path::root("exporters").key(exporter.key.as_str());
    let mut findings = Findings { path, found: Vec::new() };
    match &there.service {
        None => findings.push(
            "service",
            format!("{} has no Service {}/{}", cluster(exporter), exporter.namespace, exporter.service),
        ),
        Some(service) => check_ports(&mut findings, spec, exporter, service),
    }
    check_pods(&mut findings, exporter, there);
    check_gateways(&mut findings, spec, exporter, there);
    check_trust(&mut findings, exporter, there, here);
    findings.found
}

struct Findings {
    path: Path,
    found: Vec<Finding>,
}

impl Findings {
    fn push(&mut self, attribute: &str, text: String) {
        self.found.push(Finding { path: self.path.attr(attribute), text });
    }
}

fn cluster(exporter: &ExporterSpec) -> String {
    format!("cluster {}", exporter.cluster.as_deref().unwrap_or(&exporter.key))
}

fn check_ports(findings: &mut Findings, spec: &Spec, exporter: &ExporterSpec, service: &Object) {
    let ports = service.items("spec.ports");
    let numbers: Vec<String> = ports.iter().filter_map(|port| port["port"].as_u64()).map(|n| n.to_string()).collect();
    for port in &spec.import.ports {
        let own = Path::root("ports").key(port.name.as_str());
        let Some(live) = ports.iter().find(|live| live["port"].as_u64() == Some(port.remote_number.into())) else {
            // An alias has ports of its own.
            if exporter.alias.is_none() {
                findings.found.push(Finding {
                    path: own.attr("exporter_port"),
                    text: format!(
                        "the Service {} in {} has no port {}; it has {}. The gateway would reset every connection",
                        exporter.fqdn,
                        cluster(exporter),
                        port.remote_number,
                        numbers.join(", ")
                    ),
                });
            }
            continue;
        };
        let name = live["name"].as_str().unwrap_or_default();
        let spoken = Protocol::of_service_port(live["appProtocol"].as_str(), name);
        if let Some(spoken) = spoken.filter(|spoken| spoken.is_http() != port.protocol.is_http()) {
            findings.found.push(Finding {
                path: own.attr("protocol"),
                text: format!(
                    "port {} of {} speaks {} in {}, not {}",
                    port.remote_number,
                    exporter.fqdn,
                    spoken.as_str(),
                    cluster(exporter),
                    port.protocol.as_str()
                ),
            });
        }
    }
}

fn check_pods(findings: &mut Findings, exporter: &ExporterSpec, there: &Exporter) {
    if there.mutual == Some(false) {
        findings.push(
            "service",
            format!(
                "no Pod behind {} in {} has a sidecar: a gateway reaches only Pods that accept mTLS, so calls fail",
                exporter.fqdn,
                cluster(exporter)
            ),
        );
    }
    for account in there.accounts.iter().filter(|account| !exporter.service_accounts.contains(account)) {
        findings.push(
            "service_accounts",
            format!(
                "Pods behind {} in {} run as {account}, which is not listed: connections to them fail",
                exporter.fqdn,
                cluster(exporter)
            ),
        );
    }
}

fn check_gateways(findings: &mut Findings, spec: &Spec, exporter: &ExporterSpec, there: &Exporter) {
    let Some(open) = &there.open else {
        if exporter.exposure.is_some() {
            findings.push(
                "expose",
                format!(
                    "{} is a remote, and no istiod reads a Gateway in it. Leave `expose` out here, and add {} to `expose.hosts` of the mesh_eastwest_gateway of its control plane",
                    cluster(exporter),
                    spec.import.remote_host
                ),
            );
        }
        return;
    };
    if let Some(exposure) = &exporter.exposure {
        if let Some(other) = open.iter().find(|other| collides(other, exposure, spec)) {
            findings.push(
                "expose",
                format!(
                    "{} of {} admits {} already (hosts: {}). Of two Gateways with different hosts for one name, Envoy refuses the listener, so that the gateway takes no change any more. Remove `expose` here",
                    other.what,
                    cluster(exporter),
                    spec.import.remote_host,
                    other.hosts.join(", ")
                ),
            );
        }
        return;
    }
    let hosts: Vec<String> = open.iter().flat_map(|opening| opening.hosts.clone()).collect();
    let refused = spec.import.ports.iter().any(|port| !hosts_admit(&hosts, &spec.import.sni(port, None)));
    if refused {
        let admitted = if hosts.is_empty() { "none".to_owned() } else { hosts.join(", ") };
        findings.push(
            "expose",
            format!(
                "no gateway of {} admits {} (hosts admitted: {admitted}). Add it to `expose.hosts` of its mesh_eastwest_gateway, or set `expose = true` here",
                cluster(exporter),
                spec.import.remote_host
            ),
        );
    }
    if exporter.alias.is_none() && exporter.fqdn != spec.import.remote_host.as_str() {
        findings.push(
            "expose",
            format!(
                "the gateway of {} has no chain for {} unless something there exports {} by that name",
                cluster(exporter),
                spec.import.remote_host,
                exporter.fqdn
            ),
        );
    }
}

/// Whether another Gateway gives the same Pods a second filter chain for an SNI. istiod finds only hosts that are
/// written alike, and then leaves one of the two out.
fn collides(other: &Opening, exposure: &ServiceExposure, spec: &Spec) -> bool {
    let is_own = Object::new(exposure.object()).is_some_and(|own| own.to_string() == other.what);
    let snis = spec.import.ports.iter().map(|port| spec.import.sni(port, None));
    !is_own
        && other.port == u64::from(GATEWAY_PORT)
        && other.hosts != exposure.hosts
        && choose_the_same(&other.chooses, exposure)
        && snis.into_iter().any(|sni| hosts_admit(&other.hosts, &sni))
}

/// Whether whatever Pods the narrower of two selectors chooses are chosen by the other as well. Of labels without
/// relation nothing is guessed.
fn choose_the_same(chooses: &Chooses, exposure: &ServiceExposure) -> bool {
    let selector = &exposure.selector;
    let within = |wide: &Selector, narrow: &Selector| wide.iter().all(|(key, value)| narrow.get(key) == Some(value));
    match chooses {
        Chooses::Pods(labels) => within(labels, selector) || within(selector, labels),
        Chooses::MadeFor { namespace, gateway } => {
            namespace == exposure.namespace.as_str() && selector.get(GATEWAY_NAME_LABEL) == Some(gateway)
        }
        Chooses::Services(_) => false,
    }
}

fn check_trust(findings: &mut Findings, exporter: &ExporterSpec, there: &Exporter, here: Option<&Mesh>) {
    let Some(theirs) = &there.mesh.trust_domain else { return };
    if theirs != exporter.trust_domain.as_str() {
        findings.push(
            "trust_domain",
            format!("the trust domain of {} is {theirs}, not {}", cluster(exporter), exporter.trust_domain),
        );
    }
    let Some((here, ours)) = here.and_then(|here| Some((here, here.trust_domain.as_ref()?))) else { return };
    if ours != theirs && !here.aliases.contains(theirs) {
        findings.push(
            "trust_domain",
            format!("the importing mesh ({ours}) does not list {theirs} in `trust_domain_aliases`"),
        );
    }
    if ours != theirs && !there.mesh.aliases.contains(ours) {
        findings.push(
            "trust_domain",
            format!(
                "the mesh of {} ({theirs}) does not list {ours} in `trust_domain_aliases`: it refuses our workloads",
                cluster(exporter)
            ),
        );
    }
    if !here.roots.is_empty() && !there.mesh.roots.is_empty() && here.roots.is_disjoint(&there.mesh.roots) {
        findings.push(
            "cluster",
            format!("{} and the importing cluster have no root certificate in common", cluster(exporter)),
        );
    }
}
