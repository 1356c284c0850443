//! From a [`Spec`] to Kubernetes objects. Pure, and cannot fail.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value as Json;

use super::spec::{ExporterSpec, Spec};
use crate::cluster::{Kind, Object};
use crate::kept::objects::Wanted;

/// The objects of the importing cluster. `stub_address` is the ClusterIP of the stub Service, once it has one.
pub fn imported(spec: &Spec, stub_address: Option<IpAddr>) -> Wanted {
    let mut import = spec.import.clone();
    import.addresses.extend(stub_address);
    let mut wanted = Wanted::default();
    insert(&mut wanted, spec, Kind::SERVICE_ENTRY, import.service_entry());
    if let Some(rule) = import.destination_rule() {
        insert(&mut wanted, spec, Kind::DESTINATION_RULE, rule);
    }
    if let Some(stub) = stub(spec) {
        wanted.insert(stub.reference_as(Kind::SERVICE), stub, &spec.owner());
    }
    wanted
}

/// The Service without Pods, where one is asked for.
pub fn stub(spec: &Spec) -> Option<Object> {
    spec.stub_service.then(|| spec.import.stub_service()).flatten().and_then(Object::new)
}

/// The namespace of a Service for this host, if there can be one.
pub fn stub_namespace(host: &str) -> Option<&str> {
    let mut parts = host.splitn(4, '.').skip(1);
    let namespace = parts.next()?;
    (parts.next() == Some("svc")).then_some(namespace)
}

/// The objects of exporting clusters, by cluster.
pub fn exported(spec: &Spec) -> BTreeMap<String, Wanted> {
    let mut exported: BTreeMap<String, Wanted> = BTreeMap::new();
    for exporter in &spec.exporters {
        let Some(cluster) = &exporter.cluster else { continue };
        let objects = exporter_objects(exporter);
        if !objects.is_empty() {
            let wanted = exported.entry(cluster.clone()).or_default();
            objects.into_iter().for_each(|(kind, object)| insert(wanted, spec, kind, object));
        }
    }
    exported
}

fn exporter_objects(exporter: &ExporterSpec) -> Vec<(Kind, Json)> {
    let gateway = exporter.exposure.as_ref().map(|exposure| (Kind::ISTIO_GATEWAY, exposure.object()));
    let alias = exporter.alias.as_ref().map(|alias| (Kind::SERVICE_ENTRY, alias.service_entry()));
    gateway.into_iter().chain(alias).collect()
}

fn insert(wanted: &mut Wanted, spec: &Spec, kind: Kind, object: Json) {
    if let Some(object) = Object::new(object) {
        wanted.insert(object.reference_as(kind), object, &spec.owner());
    }
}
