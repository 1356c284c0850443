//! What istiod makes of a Gateway: whether it is as it is asked for, and what istiod says of it.

use serde_json::{Value as Json, json};

use super::Cx;
use super::build;
use super::form::Form;
use super::model::Gateway;
use super::spec::Spec;
use crate::cluster::{Cluster, Kind, Object, ObjectRef, Until, Verdict, wait};
use crate::diag::Diagnostic;
use crate::engine::Failed;
use crate::mesh::{AMBIENT_CLASS, SIDECAR_CLASS, made_name};
use crate::resources::{client, keeping};

/// The Gateway of a gateway that istiod makes.
pub fn gateway(spec: &Spec) -> ObjectRef {
    ObjectRef::namespaced(Kind::GATEWAY_API_GATEWAY, spec.namespace.as_str(), spec.name.as_str())
}

/// The Service that istiod makes for a live Gateway, by which peers find the gateway; none for ambient mode, whose
/// peers read the Gateway.
pub fn service_of(gateway: &Object) -> Option<ObjectRef> {
    let namespace = gateway.namespace().filter(|_| gateway.str("spec.gatewayClassName") == SIDECAR_CLASS)?;
    Some(ObjectRef::namespaced(Kind::SERVICE, namespace, made_name(gateway.name())))
}

/// Removes a gateway, and waits for what goes with one that istiod has made.
pub async fn remove(cx: &mut Cx, state: Gateway) -> Result<(), Failed<Gateway>> {
    let (made, gateway) = (
        departing(&state),
        ObjectRef::namespaced(Kind::GATEWAY_API_GATEWAY, state.namespace.text(), state.name.text()),
    );
    let cluster = client::cluster(cx, state.cluster.text());
    keeping::remove(cx, state).await?;
    if let (Some(service), Ok(cluster)) = (made, cluster) {
        gone(&cluster, &gateway, &service).await.into_iter().for_each(|warning| cx.warn(warning));
    }
    Ok(())
}

/// The Service that goes with the Gateway: Kubernetes deletes it a while after.
fn departing(model: &Gateway) -> Option<ObjectRef> {
    let name = match Form::of(model) {
        Form::Chart => return None,
        Form::GatewayApi => made_name(model.name.text()),
        Form::Ambient => format!("{}-{AMBIENT_CLASS}", model.name.text()),
    };
    Some(ObjectRef::namespaced(Kind::SERVICE, model.namespace.text(), name))
}

/// Waits until it is gone, and the cloud's load balancer with it: whoever destroys the cluster next would leave that
/// behind. What is to be said where it stays. A Gateway that others have taken over is left, and its Service with it.
async fn gone(cluster: &Cluster, gateway: &ObjectRef, service: &ObjectRef) -> Option<Diagnostic> {
    if let Ok(Some(left)) = cluster.get_metadata(gateway).await
        && !left.is_terminating()
    {
        return None;
    }
    let error = cluster.wait(service, &wait::deleted()).await.err()?;
    Some(Diagnostic::warning("The gateway's Service is still there").detail(format!(
        "The Gateway is deleted, and with it Kubernetes deletes {service}, which istiod had made. That has not happened in the time allowed: {error}. Wait until it is gone before you destroy the cluster, or the cloud's load balancer stays behind."
    )))
}

/// Whether istiod has understood the Gateway, and has made of it what can be dialled.
pub fn programmed(spec: &Spec) -> Until {
    // Of another type than this istiod waits for no address.
    let balanced = spec.gateway.service.service_type.as_deref().is_none_or(|said| said == "LoadBalancer");
    wait::condition(if balanced { "Programmed" } else { "Accepted" })
}

/// The Service is as it is asked for: istiod changes it a moment after the Gateway and its ConfigMap.
pub fn as_asked(spec: &Spec) -> Until {
    let mut asked = Json::Object(build::by_gateway_api(spec).service());
    let asked_type = &mut asked["spec"]["type"];
    if asked_type.is_null() {
        *asked_type = json!("LoadBalancer");
    }
    Until::new("to be as it is asked for", move |service| match service {
        None => Verdict::pending("istiod has not made it"),
        Some(service) => match differs(&asked, service.value(), "") {
            None => Verdict::Ready,
            Some(what) => Verdict::pending(format!("istiod has not set its {what} yet")),
        },
    })
}

/// The first field that is asked for and not there.
fn differs(asked: &Json, live: &Json, path: &str) -> Option<String> {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match asked {
        Json::Object(fields) => {
            fields.iter().find_map(|(key, asked)| differs(asked, live.get(key).unwrap_or(&Json::Null), &below(key)))
        }
        // An item that is no field but says how to merge the others is not among those of the Service.
        Json::Array(items) if items.iter().all(Json::is_object) => {
            let has = |item: &&Json| live.as_array().into_iter().flatten().any(|one| differs(item, one, "").is_none());
            items.iter().filter(|item| item.get("$patch").is_none()).find(|item| !has(item)).map(|_| path.to_owned())
        }
        asked => (asked != live).then(|| path.to_owned()),
    }
}

/// What istiod says against a Gateway, each with its reason.
pub async fn complaints(cluster: &Cluster, spec: &Spec) -> Vec<String> {
    if spec.form == Form::Chart {
        return Vec::new();
    }
    match cluster.get(&gateway(spec)).await {
        Ok(Some(live)) => against(&live),
        _ => Vec::new(),
    }
}

fn against(gateway: &Object) -> Vec<String> {
    let mut conditions = gateway.conditions().peekable();
    if conditions.peek().is_none() {
        return vec![
            "no istiod has taken up the Gateway: is the control plane of its revision running, and was the Gateway API installed before it?".to_owned(),
        ];
    }
    let refused = conditions.filter(|condition| condition.status == "False");
    refused
        .map(|one| format!("the Gateway's condition {} is False: {} {}", one.kind, one.reason, one.message))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::model::{Expose, Service};
    use super::*;
    use crate::value::Value;

    fn spec(service: Value<Service>, control_plane: bool) -> Spec {
        let expose = Expose { services: true.into(), control_plane: control_plane.into(), ..Expose::default() };
        Spec::parse(&Gateway {
            cluster: "east".into(),
            namespace: "istio-system".into(),
            name: "door".into(),
            network: "n1".into(),
            cluster_domain: "cluster.local".into(),
            gateway_api: true.into(),
            expose: expose.into(),
            service,
            ..Gateway::default()
        })
        .unwrap()
        .unwrap()
    }

    fn service(spec: Json, annotations: Json) -> Object {
        let metadata = json!({"name": "door-istio", "namespace": "istio-system", "annotations": annotations});
        Object::new(json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})).unwrap()
    }

    #[test]
    fn a_service_of_before_is_not_taken_for_the_one_asked_for() {
        let ports = json!([{"name": "status-port", "port": 15021}, {"name": "tls", "port": 15443}]);
        let balanced = service(json!({"type": "LoadBalancer", "ports": ports}), json!({"a": "b"}));
        let plain = spec(Value::Null, false);
        assert_eq!(as_asked(&plain).check(Some(&balanced)), Verdict::Ready);
        let by_nodes = service(json!({"type": "NodePort", "ports": ports}), json!({}));
        let waits = |spec: &Spec, service: &Object| match as_asked(spec).check(Some(service)) {
            Verdict::Pending(reasons) => reasons.join(", "),
            other => panic!("{other:?}"),
        };
        assert!(waits(&plain, &by_nodes).contains("spec.type"));
        let annotations = [("a".to_owned(), Value::Known("c".to_owned()))].into_iter().collect();
        let annotated =
            Service { r#type: "LoadBalancer".into(), annotations: Value::Known(annotations), ..Service::default() };
        assert!(waits(&spec(annotated.into(), false), &balanced).contains("metadata.annotations.a"));
        assert!(waits(&spec(Value::Null, true), &balanced).contains("spec.ports"), "istiod's ports are not there yet");
    }

    #[test]
    fn istiod_s_own_words_are_told() {
        let gateway = |conditions: Json| {
            let status = json!({"conditions": conditions});
            Object::new(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "g"}, "status": status}))
                .unwrap()
        };
        let condition =
            json!({"type": "Programmed", "status": "False", "reason": "Invalid", "message": "no such class"});
        assert!(against(&gateway(json!([condition])))[0].contains("Programmed is False: Invalid no such class"));
        assert!(against(&gateway(json!([])))[0].contains("no istiod has taken up"));
        assert!(against(&gateway(json!([{"type": "Programmed", "status": "True"}]))).is_empty());
    }
}
