//! The load balancer in front of istiod: its address waited for and, while there is none, why.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::model::{Address, Expose, Primary};
use super::spec::Spec;
use crate::cluster::{Cluster, Failure, Kind, Object, ObjectRef, Query};
use crate::diag::Diagnostic;
use crate::kept::objects::state_key;
use crate::mesh::{IstiodExposure, Revision};
use crate::resources::address::{self, Evidence};
use crate::value::{List, Value};

/// Kept back from the time allowed, to find out why it was not enough.
pub const FOR_REASONS: Duration = Duration::from_secs(5);

/// The Service of a control plane.
pub fn service(namespace: &str, revision: Option<&str>) -> ObjectRef {
    let revision = revision.and_then(|revision| Revision::new(revision).ok());
    ObjectRef::namespaced(Kind::SERVICE, namespace, IstiodExposure::name(revision.as_ref()))
}

/// The addresses stay while the Service does not change, and are there.
pub fn planned(prior: Option<&Primary>, planned: &Primary) -> Value<List<Address>> {
    if planned.expose.is_null() {
        return Value::Null;
    }
    let Some(prior) = prior else { return Value::Unknown };
    let key = state_key(&service(planned.namespace.text(), planned.revision.as_deref()));
    let same = planned.objects.entry(&key).is_some() && prior.objects.entry(&key) == planned.objects.entry(&key);
    let found = prior.addresses.items().next().is_some();
    if same && found { prior.addresses.clone() } else { Value::Unknown }
}

/// Waits until the load balancer has an address; says why it has none when the time is over. `hurried` ends early
/// enough to find out.
pub async fn wait(cluster: &Cluster, hurried: &Cluster, spec: &Spec) -> Result<Value<List<Address>>, Diagnostic> {
    let Some(exposure) = &spec.exposure else { return Ok(Value::Null) };
    let service = service(exposure.namespace.as_str(), exposure.revision.as_ref().map(Revision::as_str));
    match hurried.wait(&service, &address::until_reachable(Arc::default())).await {
        Ok(live) => Ok(live.as_ref().map(addresses).into()),
        Err(error) if matches!(error.failure, Failure::Timeout(_)) => Err(explain(cluster, &service).await),
        Err(error) => Err(error.into()),
    }
}

async fn explain(cluster: &Cluster, service: &ObjectRef) -> Diagnostic {
    let namespace = service.namespace.as_deref().unwrap_or_default();
    let events = Query {
        fields: format!("involvedObject.name={}", service.name),
        ..Query::of(Kind::EVENT).namespace(namespace)
    };
    let (live, events) = tokio::join!(cluster.get(service), cluster.list_now(&events));
    let (live, events) = (live.ok().flatten(), events.unwrap_or_default());
    let evidence =
        Evidence { service: live.as_ref(), instead: "expose.external_ips", events: &events, ..Evidence::default() };
    let reasons = address::reasons(&evidence).into_iter().map(|reason| format!("\n- {reason}")).collect::<String>();
    Diagnostic::error("istiod has no address for other clusters").at("expose").detail(format!(
        "{service} in cluster {} got no address in the time allowed.{reasons}\n\nWhat was made stays, and is in state. More time is given by `timeouts`.",
        cluster.name()
    ))
}

/// As the attribute shows them.
pub fn addresses(service: &Object) -> List<Address> {
    let found = address::of_service(service, &[]).into_iter();
    let address = |one: address::Reachable| Address {
        value: one.address.to_string().into(),
        kind: one.address.kind().as_str().into(),
    };
    found.map(|one| Value::Known(address(one))).collect()
}

/// The addresses among the live objects of a control plane.
pub fn seen(state: &Primary, live: &BTreeMap<String, Object>) -> Value<List<Address>> {
    if state.expose.is_null() {
        return Value::Null;
    }
    let key = state_key(&service(state.namespace.text(), state.revision.as_deref()));
    Value::Known(live.get(&key).map(addresses).unwrap_or_default())
}

/// The attribute that a live Service stands for.
pub fn attribute(live: &Object) -> Expose {
    let class = live.str("spec.loadBalancerClass");
    Expose {
        annotations: address::annotations(live),
        load_balancer_class: Some(class).filter(|class| !class.is_empty()).map(str::to_owned).into(),
        source_ranges: address::texts(live, "spec.loadBalancerSourceRanges"),
        external_ips: address::texts(live, "spec.externalIPs"),
    }
}
