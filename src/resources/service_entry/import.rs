//! Import: rebuilds the configuration from a ServiceEntry, and the DestinationRule of its host, however they were made.
//! Where the exporter is among the provider's clusters, its gateway's address tells which it is.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::model::{Exported, Exporter, Gateway, Port, ServiceEntry};
use super::{Cx, Identity, Private, Spec, build, check};
use crate::cluster::{Cluster, Kind, OWNER_LABEL, Object, ObjectRef, Query};
use crate::diag::{Diagnostic, Diagnostics};
use crate::engine::Import;
use crate::kept::memory::Memory;
use crate::kept::objects::{Wanted, state_key};
use crate::mesh::{NETWORK_LABEL, Sni, SpiffeId};
use crate::resources::client;
use crate::resources::keeping;
use crate::resources::parsing;
use crate::value::{List, Map, Value};

pub async fn import(cx: &mut Cx, from: Import<Identity>) -> Result<ServiceEntry, Diagnostics> {
    let (cluster_name, namespace, name) = target(from)?;
    parsing::import_of(&namespace, &[&name])?;
    let cluster = client::cluster(cx, &cluster_name)?;
    let live = Live::read(&cluster, &namespace, &name).await?;
    let host = live.host();
    let rule = live.rule.as_ref();

    let mut model = ServiceEntry {
        cluster: cluster_name.into(),
        namespace: namespace.into(),
        name: name.into(),
        destination_rule_name: rule.map(|rule| rule.name().to_owned()).into(),
        host: host.to_owned().into(),
        adopt: false.into(),
        force_conflicts: false.into(),
        ..ServiceEntry::default()
    };
    super::derive_names(&mut model);
    let snis = snis(rule);
    let remote_host = snis.values().next().map_or(host.to_owned(), |sni| sni.host.to_string());
    model.ports = ports(&live.entry, &snis).into();
    let doors = doors(cx, cluster.name()).await;
    model.exporters = exporters(cx, &live.entry, &remote_host, &doors).into();
    model.exported_host = remote_host.into();
    model.subsets = subsets(rule);
    model.outlier_detection = rule.is_some_and(|rule| rule.get("spec.trafficPolicy.outlierDetection").is_some()).into();
    model.export_to = texts(&live.entry, "spec.exportTo", |_| true);
    let stub = live.stub.as_ref().map(|stub| stub.str("spec.clusterIP").to_owned());
    model.addresses = texts(&live.entry, "spec.addresses", |address| Some(address) != stub.as_deref());
    (model.stub_service, model.stub_address) = (stub.is_some().into(), stub.into());
    let exported = exposed(cx, &mut model).await;
    if live.entry.items("spec.hosts").len() > 1 {
        cx.warn(Diagnostic::warning("The ServiceEntry has more than one host").detail(format!(
            "One mesh_service_entry is for one host, because a connection carries one SNI. {host} is imported. The next apply removes the other hosts: create a resource for each of them first.",
        )));
    }
    keeping::imported(cx, &cluster, &mut model).await.map_err(Diagnostic::from)?;
    record(&mut model, &mut cx.private, &live, &exported);
    Ok(model)
}

/// What is there in the importing cluster.
struct Live {
    entry: Object,
    rule: Option<Object>,
    /// The Service without Pods, if it looks like one of ours.
    stub: Option<Object>,
}

impl Live {
    async fn read(cluster: &Cluster, namespace: &str, name: &str) -> Result<Self, Diagnostics> {
        let reference = ObjectRef::namespaced(Kind::SERVICE_ENTRY, namespace, name);
        let Some(entry) = cluster.get(&reference).await? else {
            return Err(Diagnostic::error("No such ServiceEntry")
                .detail(format!("Cluster {} has no ServiceEntry {namespace}/{name}.", cluster.name()))
                .into());
        };
        let rules = cluster.list(&Query::of(Kind::DESTINATION_RULE).namespace(namespace)).await?;
        let host = first_host(&entry);
        let rule = rules.iter().find(|rule| rule.str("spec.host") == host).cloned();
        let mut stub = None;
        if let [service, namespace, "svc", ..] = host.split('.').collect::<Vec<_>>()[..] {
            let reference = ObjectRef::namespaced(Kind::SERVICE, namespace, service);
            stub = cluster.get(&reference).await?.filter(check::is_stub);
        }
        Ok(Self { entry, rule, stub })
    }

    fn host(&self) -> &str {
        first_host(&self.entry)
    }

    fn objects(&self) -> BTreeMap<String, Object> {
        let kinds = [
            (Kind::SERVICE_ENTRY, Some(&self.entry)),
            (Kind::DESTINATION_RULE, self.rule.as_ref()),
            (Kind::SERVICE, self.stub.as_ref()),
        ];
        let there = kinds.into_iter().filter_map(|(kind, object)| Some((kind, object?)));
        there.map(|(kind, object)| (state_key(&object.reference_as(kind)), object.clone())).collect()
    }
}

fn target(from: Import<Identity>) -> Result<(String, String, String), Diagnostics> {
    match from {
        Import::Identity(identity) => {
            let namespace = identity.namespace.known().cloned().unwrap_or_else(|| "istio-system".to_owned());
            Ok((identity.cluster.or_default(), namespace, identity.name.or_default()))
        }
        Import::Id(id) => match id.split('/').collect::<Vec<_>>()[..] {
            [cluster, namespace, name] => Ok((cluster.to_owned(), namespace.to_owned(), name.to_owned())),
            _ => Err(Diagnostic::error("Not an id of a service entry")
                .detail(format!(
                    "{id:?} is not of the form `cluster/namespace/name`, such as `east/istio-system/reviews`."
                ))
                .into()),
        },
    }
}

fn first_host(entry: &Object) -> &str {
    entry.items("spec.hosts").first().and_then(Json::as_str).unwrap_or_default()
}

/// The SNI that a DestinationRule gives each port, by the port's number; 0 stands for all ports.
fn snis(rule: Option<&Object>) -> BTreeMap<u64, Sni> {
    let Some(rule) = rule else { return BTreeMap::new() };
    let sni = |settings: &Json| Sni::parse(settings["tls"]["sni"].as_str()?).ok();
    let ports = rule.items("spec.trafficPolicy.portLevelSettings").iter();
    let by_port = ports.filter_map(|settings| Some((settings["port"]["number"].as_u64()?, sni(settings)?)));
    let whole = rule.get("spec.trafficPolicy").and_then(sni).map(|sni| (0, sni));
    by_port.chain(whole).collect()
}

fn ports(entry: &Object, snis: &BTreeMap<u64, Sni>) -> Map<Port> {
    let port = |port: &Json| {
        let number = port["number"].as_u64()?;
        let remote =
            snis.get(&number).or(snis.get(&0)).map(|sni| u64::from(sni.port)).filter(|remote| *remote != number);
        let port_model = Port {
            number: i64::try_from(number).ok()?.into(),
            protocol: port["protocol"].as_str().unwrap_or("TCP").to_uppercase().into(),
            exporter_port: remote.and_then(|remote| i64::try_from(remote).ok()).into(),
            target_port: Value::Null,
        };
        Some((port["name"].as_str()?.to_owned(), port_model.into()))
    };
    entry.items("spec.ports").iter().filter_map(port).collect()
}

fn subsets(rule: Option<&Object>) -> Value<Map<Map<String>>> {
    let Some(rule) = rule else { return Value::Null };
    let subset = |subset: &Json| {
        let labels = subset["labels"].as_object().into_iter().flatten();
        let labels: Map<String> =
            labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned().into()))).collect();
        Some((subset["name"].as_str()?.to_owned(), Value::Known(labels)))
    };
    let subsets: Map<Map<String>> = rule.items("spec.subsets").iter().filter_map(subset).collect();
    if subsets.is_empty() { Value::Null } else { subsets.into() }
}

fn texts(object: &Object, path: &str, keep: impl Fn(&str) -> bool) -> Value<List<String>> {
    let texts = object.items(path).iter().filter_map(Json::as_str).filter(|text| keep(text));
    let texts: Vec<String> = texts.map(str::to_owned).collect();
    if texts.is_empty() { Value::Null } else { texts.into_iter().collect() }
}

/// An east-west gateway of one of the provider's other clusters.
struct Door {
    cluster: String,
    namespace: String,
    network: String,
    addresses: BTreeSet<String>,
    trust_domain: Option<String>,
}

/// The gateways of the other clusters, as far as they can be read: a cluster that is away hinders no import.
async fn doors(cx: &Cx, importer: &str) -> Vec<Door> {
    let names: Vec<String> = match cx.client() {
        Ok(client) => client.clusters.names().filter(|name| *name != importer).map(str::to_owned).collect(),
        Err(_) => Vec::new(),
    };
    let mut doors = Vec::new();
    for name in names {
        let Ok(cluster) = client::cluster(cx, &name) else { continue };
        let query = Query { labels: NETWORK_LABEL.to_owned(), ..Query::of(Kind::SERVICE) };
        let Ok(services) = cluster.list(&query).await else { continue };
        for service in services.iter() {
            let namespace = service.namespace().unwrap_or_default().to_owned();
            let ingress = service.items("status.loadBalancer.ingress").iter();
            let balanced = ingress.flat_map(|at| [at["ip"].as_str(), at["hostname"].as_str()]).flatten();
            let external = service.items("spec.externalIPs").iter().filter_map(Json::as_str);
            doors.push(Door {
                cluster: name.clone(),
                network: service.label(NETWORK_LABEL).unwrap_or_default().to_owned(),
                addresses: balanced.chain(external).map(str::to_owned).collect(),
                trust_domain: check::mesh(&cluster, &namespace).await.ok().and_then(|mesh| mesh.trust_domain),
                namespace,
            });
        }
    }
    doors
}

/// One exporter for each cluster or network, and for each locality and weight in it; what a ServiceEntry does not say
/// is read off its host and identities.
fn exporters(cx: &mut Cx, entry: &Object, remote_host: &str, doors: &[Door]) -> Map<Exporter> {
    let identities: Vec<SpiffeId> =
        entry.items("spec.subjectAltNames").iter().filter_map(|san| SpiffeId::parse(san.as_str()?).ok()).collect();
    if identities.is_empty() {
        cx.warn(Diagnostic::warning("Any identity is accepted").detail(
            "The ServiceEntry names no `subjectAltNames`. Set `service_accounts` of the exporter; the next apply then pins the identities.",
        ));
    }
    let endpoints = entry.items("spec.endpoints");
    let found: Vec<(String, Exporter)> = endpoints
        .iter()
        .map(|endpoint| {
            let (address, network) = (endpoint["address"].as_str(), endpoint["network"].as_str());
            let door = doors.iter().find(|door| match address {
                Some(address) => door.addresses.contains(address),
                None => Some(door.network.as_str()) == network,
            });
            let name = door.map(|door| door.cluster.as_str()).or(network).unwrap_or("exporter").to_owned();
            (name, exporter(endpoint, remote_host, door, &identities))
        })
        .collect();
    let mut exporters: BTreeMap<String, Exporter> = BTreeMap::new();
    for (name, mut exporter) in found {
        // Gateways of one exporter differ in nothing but where they are.
        let gateways = std::mem::take(&mut exporter.gateways);
        let alike = |(key, held): &(&String, &mut Exporter)| {
            key.starts_with(&name) && Exporter { gateways: Value::Null, ..(*held).clone() } == exporter
        };
        if let Some((_, held)) = exporters.iter_mut().find(alike) {
            if let (Value::Known(held), Value::Known(more)) = (&mut held.gateways, gateways) {
                held.extend(more);
            }
            continue;
        }
        let by_locality = exporter.locality.known().map(|locality| format!("{name}-{}", locality.replace('/', "-")));
        let numbered = (2..).map(|number| format!("{name}-{number}"));
        let mut keys = std::iter::once(name.clone()).chain(by_locality).chain(numbered);
        if let Some(key) = keys.find(|key| !exporters.contains_key(key)) {
            exporters.insert(key, Exporter { gateways, ..exporter });
        }
    }
    exporters.into_iter().map(|(key, exporter)| (key, exporter.into())).collect()
}

fn exporter(endpoint: &Json, remote_host: &str, door: Option<&Door>, identities: &[SpiffeId]) -> Exporter {
    let trust_domain = door
        .and_then(|door| door.trust_domain.clone())
        .filter(|domain| identities.iter().any(|id| id.trust_domain.as_str() == domain))
        .or_else(|| identities.first().map(|id| id.trust_domain.to_string()))
        .unwrap_or_else(|| "cluster.local".to_owned());
    let own: Vec<&SpiffeId> = identities.iter().filter(|id| id.trust_domain.as_str() == trust_domain).collect();
    let mut labels = remote_host.splitn(4, '.');
    let (service, second, third) = (labels.next().unwrap_or_default(), labels.next(), labels.next());
    let (namespace, domain) = match (third, labels.next()) {
        (Some("svc"), Some(domain)) => (second.map(str::to_owned), domain),
        _ => (own.first().map(|id| id.namespace.to_string()), "cluster.local"),
    };
    let port = endpoint["ports"].as_object().and_then(|ports| ports.values().next()?.as_i64()).unwrap_or(15443);
    let gateway = endpoint["address"].as_str().map(|address| Gateway { value: address.into(), port: port.into() });
    let labels = endpoint["labels"].as_object().into_iter().flatten();
    let labels: Map<String> = labels
        .filter(|(key, _)| key.as_str() != "security.istio.io/tlsMode")
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned().into())))
        .collect();
    Exporter {
        cluster: door.map(|door| door.cluster.clone()).into(),
        namespace: namespace.unwrap_or_default().into(),
        service: service.into(),
        service_accounts: own.iter().map(|id| id.service_account.to_string()).collect(),
        trust_domain: trust_domain.into(),
        cluster_domain: domain.into(),
        network: endpoint["network"].as_str().filter(|_| gateway.is_none()).map(str::to_owned).into(),
        gateways: gateway.map_or(Value::Null, |gateway| [gateway].into_iter().collect()),
        locality: endpoint["locality"].as_str().map(str::to_owned).into(),
        weight: endpoint["weight"].as_i64().into(),
        labels: if labels.is_empty() { Value::Null } else { labels.into() },
        expose: false.into(),
        gateway_namespace: door.map_or("istio-system", |door| door.namespace.as_str()).into(),
        ..Exporter::default()
    }
}

/// Finds what an earlier apply made in the exporting clusters, and says so in the model. By cluster and name.
async fn exposed(cx: &Cx, model: &mut ServiceEntry) -> BTreeMap<String, BTreeMap<String, Object>> {
    let owner = super::owner(model.namespace.text(), model.name.text());
    let name = format!("export-{}", model.name.text());
    let mut found: BTreeMap<String, BTreeMap<String, Object>> = BTreeMap::new();
    let (mut exporters, mut ports) = (model.exporters.clone().or_default(), model.ports.clone().or_default());
    for exporter in exporters.values_mut().filter_map(Value::known_mut) {
        let Some(cluster_name) = exporter.cluster.known().cloned() else { continue };
        let Ok(cluster) = client::cluster(cx, &cluster_name) else { continue };
        let places = [
            ObjectRef::namespaced(Kind::ISTIO_GATEWAY, exporter.gateway_namespace.text(), &name),
            ObjectRef::namespaced(Kind::SERVICE_ENTRY, exporter.namespace.text(), &name),
        ];
        for place in places {
            let Ok(Some(object)) = cluster.get(&place).await else { continue };
            if object.label(OWNER_LABEL) != Some(owner.as_str()) {
                continue;
            }
            exporter.expose = true.into();
            let labels = object.strings("spec.workloadSelector.labels");
            if !labels.is_empty() {
                exporter.workload_labels =
                    labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
            }
            for port in object.items("spec.ports") {
                let own = port["name"].as_str().and_then(|name| ports.get_mut(name)).and_then(Value::known_mut);
                let target = port["targetPort"].as_i64().filter(|target| Some(*target) != port["number"].as_i64());
                if let (Some(own), Some(target)) = (own, target) {
                    own.target_port = target.into();
                }
            }
            found.entry(cluster_name.clone()).or_default().insert(state_key(&place), object);
        }
    }
    (model.exporters, model.ports) = (exporters.into(), ports.into());
    found
}

/// What is there of what the configuration makes counts as ours from now on: the next plan shows the difference. What
/// else others wrote stays theirs.
fn record(
    model: &mut ServiceEntry,
    private: &mut Private,
    live: &Live,
    exported: &BTreeMap<String, BTreeMap<String, Object>>,
) {
    let Ok(Some(spec)) = Spec::parse(model) else {
        // Something in it is refused: the next plan says what. Until then it is the ServiceEntry as found.
        let owner = super::owner(model.namespace.text(), model.name.text());
        let mut found = Wanted::default();
        found.insert(live.entry.reference_as(Kind::SERVICE_ENTRY), live.entry.clone(), &owner);
        model.objects = private.memory.record(&found.recorded());
        model.exported = Map::new().into();
        return;
    };
    super::describe(model, Some(&spec));
    let stub = model.stub_address.as_deref().and_then(|address| address.parse().ok());
    let (recorded, _) = build::imported(&spec, stub).recorded().seen(&live.objects(), &Memory::default());
    (model.objects, model.changes) = (private.memory.record(&recorded), Value::Known(Map::new()));
    let exported = build::exported(&spec).into_iter().filter_map(|(cluster, wanted)| {
        let (recorded, _) = wanted.recorded().seen(exported.get(&cluster)?, &Memory::default());
        let objects = private.exported.entry(cluster.clone()).or_default().record(&recorded);
        Some((cluster, Exported { objects, changes: Value::Known(Map::new()) }))
    });
    model.exported = exported.collect();
}
