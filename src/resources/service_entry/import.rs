//! Import: rebuilds the configuration from a ServiceEntry, and the DestinationRule of its host, however they were made.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::model::{Exporter, Gateway, Port, ServiceEntry};
use super::{Cx, Identity, Spec};
use crate::cluster::{Kind, Object, ObjectRef, Query};
use crate::diag::{Diagnostic, Diagnostics};
use crate::engine::Import;
use crate::mesh::{Sni, SpiffeId};
use crate::resources::converge;
use crate::value::{List, Map, Value};

pub async fn import(cx: &mut Cx, from: Import<Identity>) -> Result<ServiceEntry, Diagnostics> {
    let (cluster_name, namespace, name) = target(from)?;
    let cluster = crate::resources::cluster(cx, &cluster_name)?;
    let reference = ObjectRef::namespaced(Kind::SERVICE_ENTRY, &namespace, &name);
    let entry = cluster.get(&reference).await.map_err(|error| converge::diagnostic(&error))?;
    let Some(entry) = entry else {
        return Err(Diagnostic::error("No such ServiceEntry")
            .detail(format!("Cluster {cluster_name} has no ServiceEntry {namespace}/{name}."))
            .into());
    };
    let rules = cluster.list(&Query::of(Kind::DESTINATION_RULE).namespace(&namespace)).await;
    let rules = rules.map_err(|error| converge::diagnostic(&error))?;
    let host = first_host(&entry);
    let rule = rules.iter().find(|rule| rule.str("spec.host") == host);

    let mut model = ServiceEntry {
        cluster: cluster_name.into(),
        namespace: namespace.into(),
        name: name.into(),
        host: host.to_owned().into(),
        stub_service: false.into(),
        adopt: false.into(),
        force_conflicts: false.into(),
        ..ServiceEntry::default()
    };
    super::settle_names(&mut model);
    let snis = snis(rule);
    let remote_host = snis.values().next().map_or(host.to_owned(), |sni| sni.host.to_string());
    model.ports = ports(&entry, &snis).into();
    model.exporters = exporters(cx, &entry, &remote_host)?.into();
    model.exported_host = remote_host.into();
    let texts = |path: &str| -> Value<List<String>> {
        let texts: Vec<String> = entry.items(path).iter().filter_map(|text| text.as_str().map(str::to_owned)).collect();
        if texts.is_empty() { Value::Null } else { texts.into_iter().collect() }
    };
    (model.addresses, model.export_to) = (texts("spec.addresses"), texts("spec.exportTo"));
    model.outlier_detection = rule.is_some_and(|rule| rule.get("spec.trafficPolicy.outlierDetection").is_some()).into();
    record(&mut model, &entry, rule);
    Ok(model)
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

/// One exporter for each network or locality; what a ServiceEntry does not say is read off its host and identities.
fn exporters(cx: &mut Cx, entry: &Object, remote_host: &str) -> Result<Map<Exporter>, Diagnostics> {
    let mut labels = remote_host.splitn(4, '.');
    let (service, namespace) = (labels.next().unwrap_or_default(), labels.next().unwrap_or_default());
    let domain = labels.nth(1).unwrap_or("cluster.local");
    let identities: Vec<SpiffeId> =
        entry.items("spec.subjectAltNames").iter().filter_map(|san| SpiffeId::parse(san.as_str()?).ok()).collect();
    if identities.is_empty() {
        cx.warn(Diagnostic::warning("Whoever answers is accepted").detail(
            "The ServiceEntry names no `subjectAltNames`. Set `service_accounts` of the exporter; the next apply then pins the identities.",
        ));
    }
    let mut exporters: BTreeMap<String, Exporter> = BTreeMap::new();
    let mut taken = BTreeSet::new();
    for endpoint in entry.items("spec.endpoints") {
        let network = endpoint["network"].as_str();
        let locality = endpoint["locality"].as_str();
        let key = network.or(locality).unwrap_or("exporter").replace('/', "-");
        let exporter = exporters.entry(key).or_insert_with(|| Exporter {
            namespace: namespace.to_owned().into(),
            service: service.to_owned().into(),
            service_accounts: identities.iter().map(|id| id.service_account.to_string()).collect(),
            trust_domain: identities
                .first()
                .map_or("cluster.local".to_owned(), |id| id.trust_domain.to_string())
                .into(),
            cluster_domain: domain.to_owned().into(),
            network: endpoint["address"].as_str().map_or(network.map(str::to_owned), |_| None).into(),
            locality: locality.map(str::to_owned).into(),
            weight: endpoint["weight"].as_i64().into(),
            expose: false.into(),
            gateway_namespace: "istio-system".into(),
            ..Exporter::default()
        });
        if let Some(address) = endpoint["address"].as_str().filter(|address| taken.insert(address.to_owned())) {
            let port = endpoint["ports"].as_object().and_then(|ports| ports.values().next()?.as_i64()).unwrap_or(15443);
            let mut gateways = exporter.gateways.clone().or_default();
            gateways.push(Gateway { value: address.to_owned().into(), port: port.into() }.into());
            exporter.gateways = gateways.into();
        }
    }
    Ok(exporters.into_iter().map(|(key, exporter)| (key, exporter.into())).collect())
}

/// What is there counts as ours from now on: the next plan shows the difference to what the configuration makes of it.
fn record(model: &mut ServiceEntry, entry: &Object, rule: Option<&Object>) {
    let mut wanted = crate::resources::objects::Wanted::default();
    let owner = super::owner(model.namespace.text(), model.name.text());
    let strip = |object: &Object| {
        let mut bare = serde_json::json!({
            "apiVersion": object.api_version(), "kind": object.kind(),
            "metadata": { "name": object.name(), "namespace": object.namespace() },
        });
        bare["spec"] = object.get("spec").cloned().unwrap_or_default();
        Object::new(bare)
    };
    for (kind, object) in [(Kind::SERVICE_ENTRY, Some(entry)), (Kind::DESTINATION_RULE, rule)] {
        if let Some(object) = object.and_then(strip) {
            wanted.insert(object.reference_as(kind), object, &owner);
        }
    }
    let recorded = wanted.recorded();
    (model.objects, model.fields) = (recorded.objects_value(), recorded.fields_value());
    model.exported = Map::new().into();
    if let Ok(Some(spec)) = Spec::parse(model) {
        super::describe(model, Some(&spec));
    }
}
