//! After an apply: are the gateway's Pods there, has it an address, and if not, why?

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::form::Form;
use super::made;
use super::model::{Address, Gateway};
use super::spec::Spec;
use crate::cluster::{Cluster, Delete, Error, Failure, Kind, Object, ObjectRef, Query, wait};
use crate::diag::{Diagnostic, Diagnostics};
use crate::kept::objects::{Wanted, state_key};
use crate::resources::address::{self, Evidence, GATEWAY_NAME_LABEL, NODE_SELECTOR_ANNOTATION, Reachable};
use crate::value::{List, Path, Value};

/// How often Pods that nobody injected are looked for and removed.
const HEAL_EVERY: Duration = Duration::from_secs(5);
/// Kept back from the time allowed, to find out why it was not enough.
pub const FOR_REASONS: Duration = Duration::from_secs(5);

/// Custom resources need their definitions: better to say so than to pass on the API server's 404.
pub async fn check_kinds(cluster: &Cluster, form: Form) -> Result<(), Diagnostics> {
    if form.has_chart() {
        return Ok(());
    }
    let reference = ObjectRef::cluster(Kind::CUSTOM_RESOURCE_DEFINITION, "gateways.gateway.networking.k8s.io");
    match cluster.get(&reference).await {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(Diagnostic::error("The Gateway API is not installed")
            .detail(format!(
                "istiod makes this gateway from a Gateway API resource, and cluster {} does not know the kind. Set `gateway_api` of this cluster's `mesh_primary`, or install the Gateway API's CustomResourceDefinitions first.",
                cluster.name()
            ))
            .at(form.attribute())
            .into()),
        // Who may not read definitions may still make Gateways.
        Err(error) if error.is_forbidden() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What to wait for, and until when.
#[derive(Clone, Copy)]
pub struct Waiting<'a> {
    pub cluster: &'a Cluster,
    /// The same cluster, its waits ending early enough to find out why.
    pub hurried: &'a Cluster,
    pub spec: &'a Spec,
    pub wanted: &'a Wanted,
    /// The gateway is being made: what fails now leaves it tainted.
    pub is_new: bool,
}

/// Waits until peers can dial the gateway; says why they cannot when the time is over.
pub async fn wait(waiting: Waiting<'_>) -> Result<Vec<Reachable>, Diagnostics> {
    let Waiting { cluster, hurried, spec, wanted, .. } = waiting;
    let door = door(spec);
    if !spec.wait {
        let live = cluster.get(&door).await?;
        return match live {
            Some(live) => reachable(cluster, &live).await.map_err(Diagnostics::from),
            None => Ok(Vec::new()),
        };
    }
    let workload = workload(spec, wanted);
    let available = match workload.kind == Kind::DAEMON_SET {
        true => wait::daemon_set_available(),
        false => wait::deployment_available(),
    };
    let rollout = async {
        match spec.form {
            Form::Ambient => Ok(()),
            Form::GatewayApi => {
                let (gateway, programmed) = (made::gateway(spec), made::programmed(spec));
                tokio::try_join!(hurried.wait(&gateway, &programmed), hurried.wait(&workload, &available)).map(drop)
            }
            Form::Chart => tokio::select! {
                done = hurried.wait(&workload, &available) => done.map(drop),
                never = heal(hurried, spec) => never,
            },
        }
    };
    let address = async {
        let nodes = nodes_for(hurried, spec.gateway.service.annotations.contains_key(NODE_SELECTOR_ANNOTATION)).await?;
        let reachable = address::until_reachable(nodes);
        let until = match spec.form {
            Form::Chart => reachable,
            Form::GatewayApi => made::as_asked(spec).and(reachable),
            // At one and the same time: while it is not programmed, istiod gives the ClusterIP for the address that the
            // load balancer still owes.
            Form::Ambient => wait::condition("Programmed").and(reachable),
        };
        hurried.wait(&door, &until).await
    };
    match tokio::try_join!(rollout, address) {
        Ok(((), Some(live))) => reachable(cluster, &live).await.map_err(Diagnostics::from),
        Ok(((), None)) => Ok(Vec::new()),
        Err(error) if matches!(error.failure, Failure::Timeout(_)) => Err(explain(waiting, &error).await.into()),
        Err(error) => Err(error.into()),
    }
}

/// The addresses of a Service, of an ambient gateway, or of the Service that istiod has made for a Gateway.
pub async fn reachable(cluster: &Cluster, door: &Object) -> Result<Vec<Reachable>, Error> {
    let made = made::service_of(door).filter(|_| door.kind() == "Gateway");
    let service = match &made {
        Some(service) => cluster.get(service).await?,
        None => None,
    };
    let door = match (door.kind(), &made, &service) {
        ("Gateway", None, _) => return Ok(address::of_gateway(door)),
        ("Gateway", Some(_), None) => return Ok(Vec::new()),
        (_, _, made) => made.as_ref().unwrap_or(door),
    };
    let by_nodes = door.str("spec.type") == "NodePort" && door.annotation(NODE_SELECTOR_ANNOTATION).is_some();
    let nodes = nodes_for(cluster, by_nodes).await?;
    Ok(address::of_service(door, &nodes))
}

/// As the attribute shows them.
pub fn addresses(found: &[Reachable]) -> List<Address> {
    let address = |one: &Reachable| Address {
        value: one.address.to_string().into(),
        kind: one.address.kind().as_str().into(),
        port: i64::from(one.port).into(),
    };
    found.iter().map(|one| Value::Known(address(one))).collect()
}

async fn nodes_for(cluster: &Cluster, wanted: bool) -> Result<Arc<[Object]>, Error> {
    match wanted {
        true => cluster.list(&Query::of(Kind::NODE)).await,
        false => Ok(Arc::new([])),
    }
}

/// A Pod made before its injector was there keeps the image `auto` for ever: removing it lets the Deployment make
/// another. Never ends by itself.
async fn heal(cluster: &Cluster, spec: &Spec) -> Result<(), Error> {
    let mut removed = BTreeSet::new();
    loop {
        tokio::time::sleep(HEAL_EVERY).await;
        let Ok(pods) = cluster.list_now(&pods_of(spec)).await else { continue };
        for pod in pods.iter().filter(|pod| uninjected(pod) && !pod.is_terminating()) {
            let Some(reference) = pod.reference().filter(|reference| removed.insert(reference.clone())) else {
                continue;
            };
            // What cannot be removed is told when the time is over.
            let _ = cluster.delete(&Delete { uid: pod.uid().map(str::to_owned), ..Delete::new(reference) }).await;
        }
    }
}

fn uninjected(pod: &Object) -> bool {
    pod.items("spec.containers")
        .iter()
        .any(|container| container.get("image").and_then(|image| image.as_str()) == Some("auto"))
}

async fn explain(waiting: Waiting<'_>, error: &Error) -> Diagnostic {
    let Waiting { cluster, spec, is_new, .. } = waiting;
    let namespace = spec.namespace.as_str();
    let door = door(spec);
    let (nodes, events, pods) = (Query::of(Kind::NODE), events_of(spec), pods_of(spec));
    let (live, nodes, events, pods) =
        tokio::join!(cluster.get(&door), cluster.list(&nodes), cluster.list_now(&events), cluster.list_now(&pods));
    let live = live.ok().flatten();
    let (nodes, events, pods) = (nodes.unwrap_or_default(), events.unwrap_or_default(), pods.unwrap_or_default());
    let not_ready: Vec<Object> =
        pods.iter().filter(|pod| pod.condition("Ready").is_none_or(|ready| !ready.is_true())).cloned().collect();
    let evidence = Evidence {
        instead: "service.external_ips or the type NodePort",
        service: live.as_ref().filter(|live| live.kind() == "Service"),
        nodes: &nodes,
        events: &events,
        pods: &not_ready,
    };
    let mut reasons = address::reasons(&evidence);
    reasons.extend(made::complaints(cluster, spec).await);
    let listed = match reasons.is_empty() {
        true => format!("{error}."),
        false => reasons.iter().map(|reason| format!("- {reason}")).collect::<Vec<_>>().join("\n"),
    };
    let has_address = live.as_ref().is_some_and(|live| !address::of_service(live, &nodes).is_empty());
    let summary = if has_address { "The gateway's Pods are not ready" } else { "The gateway has no address" };
    // Another Service would get another address, or wait as this one does.
    let next = match is_new {
        true => {
            "\n\nThe gateway stays in the cluster and in state, but is marked as tainted: the next apply deletes it and creates it \
                 again. To keep it, run `terraform untaint` (or `tofu untaint`) with the address of the resource before the next apply; that apply changes what you have changed, and continues to wait. \
                 To wait longer, raise `timeouts`."
        }
        false => "\n\nWhat was changed stays; the next apply continues to wait. To wait longer, raise `timeouts`.",
    };
    let detail = format!(
        "In cluster {}, {}/{} was not ready in the time allowed.\n{listed}{next}",
        cluster.name(),
        namespace,
        spec.name
    );
    let path = if spec.form == Form::Ambient || has_address { Path::empty() } else { Path::root("service") };
    Diagnostic::error(summary).detail(detail).at(path)
}

/// The addresses stay while the object that has them does not change, and are there.
pub fn planned(prior: Option<&Gateway>, planned: &Gateway) -> Value<List<Address>> {
    let Some(prior) = prior else { return Value::Unknown };
    let door = door_of(planned);
    let key = state_key(&door);
    // By this istiod makes the Service of a Gateway.
    let parameters = state_key(&ObjectRef { kind: Kind::CONFIG_MAP, ..door });
    let same = planned.objects.entry(&key).is_some()
        && [key, parameters].iter().all(|key| prior.objects.entry(key) == planned.objects.entry(key));
    let missing = planned.wait.get() == Some(true) && prior.addresses.items().next().is_none();
    if same && !missing { prior.addresses.clone() } else { Value::Unknown }
}

/// The object of its own whose address is the gateway's, or from which istiod makes the one that is.
pub fn door_of(model: &Gateway) -> ObjectRef {
    let kind = if Form::of(model).has_chart() { Kind::SERVICE } else { Kind::GATEWAY_API_GATEWAY };
    ObjectRef::namespaced(kind, model.namespace.text(), model.name.text())
}

/// The object whose address is the gateway's.
fn door(spec: &Spec) -> ObjectRef {
    let kind = if spec.form == Form::Ambient { Kind::GATEWAY_API_GATEWAY } else { Kind::SERVICE };
    ObjectRef::namespaced(kind, spec.namespace.as_str(), spec.form.called(&spec.name))
}

/// What runs the gateway's Pods: a Deployment, unless the chart's `kind` says DaemonSet.
fn workload(spec: &Spec, wanted: &Wanted) -> ObjectRef {
    let of = |kind| ObjectRef::namespaced(kind, spec.namespace.as_str(), spec.form.called(&spec.name));
    let daemon_set = of(Kind::DAEMON_SET);
    if wanted.get(&state_key(&daemon_set)).is_some() { daemon_set } else { of(Kind::DEPLOYMENT) }
}

fn events_of(spec: &Spec) -> Query {
    Query {
        fields: format!("involvedObject.name={}", spec.form.called(&spec.name)),
        ..Query::of(Kind::EVENT).namespace(spec.namespace.as_str())
    }
}

fn pods_of(spec: &Spec) -> Query {
    let pods = Query::of(Kind::POD).namespace(spec.namespace.as_str());
    match spec.form.has_chart() {
        true => pods.label("app", &spec.name),
        false => pods.label(GATEWAY_NAME_LABEL, &spec.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_chart_brings_is_what_is_waited_for() {
        let model = Gateway {
            cluster: "east".into(),
            namespace: "istio-system".into(),
            name: "door".into(),
            network: "n1".into(),
            cluster_domain: "cluster.local".into(),
            ..Gateway::default()
        };
        let spec = Spec::parse(&model).unwrap().unwrap();
        for kind in [Kind::DEPLOYMENT, Kind::DAEMON_SET] {
            let brought = ObjectRef::namespaced(kind, "istio-system", "door");
            let mut wanted = Wanted::default();
            wanted.insert(brought.clone(), Object::of(&brought), "mesh_eastwest_gateway.door");
            assert_eq!(workload(&spec, &wanted), brought);
        }
    }
}
