//! From a spec and the chart to the objects wanted. Pure; what can fail here is the chart, with the values given to it.

use std::borrow::Cow;
use std::sync::Arc;

use super::form::Form;
use super::spec::Spec;
use crate::chart::{Chart, Values};
use crate::cluster::{Kind, Object};
use crate::kept::objects::Wanted;
use crate::kept::render::{self, Rendering};
use crate::kept::told::Answers;
use crate::mesh::{
    API_SERVER_GATEWAY, AmbientGateway, ApiServerExposure, CROSS_NETWORK_GATEWAY, ControlPlaneExposure, MadeGateway,
    Selector, ServiceExposure,
};

/// The name that Istio's documentation gives a gateway; its custom resource then has the documented name too.
const USUAL_NAME: &str = "istio-eastwestgateway";

/// Every kind of object a gateway consists of.
pub const KINDS: &[Kind] = &[
    Kind::SERVICE_ACCOUNT,
    Kind::ROLE,
    Kind::ROLE_BINDING,
    Kind::SERVICE,
    Kind::DEPLOYMENT,
    Kind::HORIZONTAL_POD_AUTOSCALER,
    Kind::POD_DISRUPTION_BUDGET,
    Kind::NETWORK_POLICY,
    Kind::ISTIO_GATEWAY,
    Kind::VIRTUAL_SERVICE,
];

/// A chart, and what goes into it beside the values.
#[derive(Clone, Copy, Debug)]
pub struct Rendered<'a> {
    pub chart: &'a Arc<Chart>,
    /// The name of the release where an import found another than the gateway's: the chart writes it into labels.
    pub release: Option<&'a str>,
    /// What the chart is told about the cluster.
    pub told: &'a Answers,
}

/// Renders everything the gateway consists of. The chart may be absent where istiod makes the gateway.
pub fn wanted(spec: &Spec, rendered: Option<Rendered<'_>>) -> Result<Wanted, render::Error> {
    let owner = spec.owner();
    let mut wanted = Wanted::default();
    if let Some(Rendered { chart, release, told }) = rendered.filter(|_| spec.form.has_chart()) {
        let (release, values) = named(spec, release);
        let (namespace, values, hidden) = (spec.namespace.as_str(), &values, &spec.hidden);
        let rendering = Rendering { chart, release, namespace, values, told, hidden };
        rendering.insert(&mut wanted, &owner)?;
    }
    for object in made(spec).into_iter().filter_map(Object::new) {
        wanted.insert(render::reference(&object)?, object, &owner);
    }
    wanted.hide(&spec.hidden);
    Ok(wanted)
}

/// What no chart brings.
fn made(spec: &Spec) -> Vec<serde_json::Value> {
    let exposed = || services(spec).into_iter().chain(control_plane(spec)).chain(api_server(spec));
    match spec.form {
        Form::Chart => exposed().collect(),
        Form::GatewayApi => by_gateway_api(spec).objects().into_iter().chain(exposed()).collect(),
        Form::Ambient => vec![ambient(spec).object()],
    }
}

fn ambient(spec: &Spec) -> AmbientGateway {
    AmbientGateway {
        name: spec.name.clone(),
        namespace: spec.namespace.clone(),
        network: spec.gateway.network.clone(),
        revision: spec.gateway.revision.clone(),
    }
}

/// The Gateway from which istiod makes it.
pub fn by_gateway_api(spec: &Spec) -> MadeGateway {
    MadeGateway {
        name: spec.name.clone(),
        namespace: spec.namespace.clone(),
        gateway: spec.gateway.clone(),
        pods_label: pods_label(spec).to_owned(),
        exposes_istiod: spec.exposure.control_plane.is_some(),
    }
}

/// The name of the release. Under another than the gateway's own, the values have to say what the gateway is called.
fn named<'a>(spec: &'a Spec, release: Option<&'a str>) -> (&'a str, Cow<'a, Values>) {
    match release.filter(|release| *release != spec.name) {
        None => (&spec.name, Cow::Borrowed(&spec.values)),
        Some(release) => {
            let mut values = spec.values.clone();
            values.merge(serde_json::Map::from_iter([("name".to_owned(), spec.name.clone().into())]).into());
            (release, Cow::Owned(values))
        }
    }
}

/// The Pods the chart makes, as it labels them.
fn selector(spec: &Spec) -> Selector {
    [("istio".to_owned(), pods_label(spec).to_owned())].into()
}

/// The label `istio` of its Pods.
pub fn pods_label(spec: &Spec) -> &str {
    let label =
        spec.values.as_map().get("labels").and_then(|labels| labels.get("istio")).and_then(|label| label.as_str());
    label.unwrap_or_else(|| spec.name.strip_prefix("istio-").unwrap_or(&spec.name))
}

/// What a custom resource of this gateway is called: others may be in its namespace.
fn called(spec: &Spec, usual: &str) -> String {
    match spec.name.as_str() {
        USUAL_NAME => usual.to_owned(),
        other => format!("{usual}-{other}"),
    }
}

fn services(spec: &Spec) -> Option<serde_json::Value> {
    let hosts = spec.exposure.hosts.clone()?;
    let name = called(spec, CROSS_NETWORK_GATEWAY);
    Some(ServiceExposure { name, namespace: spec.namespace.clone(), selector: selector(spec), hosts }.object())
}

fn control_plane(spec: &Spec) -> Vec<serde_json::Value> {
    let Some(istiod_namespace) = spec.exposure.control_plane.clone() else { return Vec::new() };
    let exposure = ControlPlaneExposure {
        namespace: spec.namespace.clone(),
        istiod_namespace,
        selector: selector(spec),
        revision: spec.gateway.revision.clone(),
        cluster_domain: spec.cluster_domain.clone(),
        custom_hosts: spec.exposure.control_plane_hosts.clone(),
    };
    exposure.objects().into()
}

fn api_server(spec: &Spec) -> Vec<serde_json::Value> {
    if !spec.exposure.api_server {
        return Vec::new();
    }
    let exposure = ApiServerExposure {
        name: called(spec, API_SERVER_GATEWAY),
        namespace: spec.namespace.clone(),
        selector: selector(spec),
        cluster_domain: spec.cluster_domain.clone(),
    };
    exposure.objects().into()
}

#[cfg(test)]
mod tests {
    use super::super::model::{Expose, Gateway, Service};
    use super::*;
    use crate::kept::told::Told;
    use crate::value::{List, Value};

    /// Names and labels as Istio's chart makes them.
    const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata:\n  name: {{ .Values.name | default .Release.Name }}\n  labels: {app.kubernetes.io/instance: {{ .Release.Name }}}\n";

    #[test]
    fn a_release_of_another_name_stays_what_it_is() {
        let files = [("Chart.yaml", "apiVersion: v2\nname: gateway\nversion: 1.0.0\n"), ("templates/s.yaml", SERVICE)];
        let files = files.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
        let chart = Arc::new(Chart::from_files(files.into()).unwrap());
        let model = Gateway {
            namespace: "istio-system".into(),
            name: "door".into(),
            network: "n1".into(),
            cluster_domain: "cluster.local".into(),
            ..Gateway::default()
        };
        let spec = Spec::parse(&model).unwrap().unwrap();
        for (found, release) in [(None, "door"), (Some("door"), "door"), (Some("ew"), "ew")] {
            let told = Told::default().answers_to_charts();
            let rendered = Rendered { chart: &chart, release: found, told: &told };
            let wanted = wanted(&spec, Some(rendered)).unwrap();
            let (_, service) = wanted.iter().next().unwrap();
            assert_eq!(service.object.name(), "door");
            assert_eq!(service.object.label("app.kubernetes.io/instance"), Some(release));
        }
    }

    #[test]
    fn an_api_server_is_exposed_to_listed_networks_alone() {
        let exposing = |service: Value<Service>| {
            let expose = Expose { services: true.into(), api_server: true.into(), ..Expose::default() };
            let (namespace, name) = ("istio-system".into(), "istio-eastwestgateway".into());
            let (network, cluster_domain) = ("n1".into(), "cluster.local".into());
            Spec::parse(&Gateway {
                namespace,
                name,
                network,
                cluster_domain,
                service,
                expose: expose.into(),
                ..Gateway::default()
            })
        };
        let of = |r#type: &str, source_ranges: Value<List<String>>, external_ips: Value<List<String>>| {
            Value::Known(Service { r#type: r#type.into(), source_ranges, external_ips, ..Service::default() })
        };
        let listed = |text: &str| Value::Known(vec![Value::Known(text.to_owned())]);
        let balanced = |ranges| of("LoadBalancer", ranges, Value::Null);
        let without_ranges = [
            Value::Null,
            balanced(Value::Null),
            balanced(Value::Known(Vec::new())),
            of("ClusterIP", Value::Null, listed("192.0.2.1")),
        ];
        for service in without_ranges {
            let refused = exposing(service).expect_err("everybody could dial it");
            let said: Vec<_> = refused.iter().map(|one| (one.summary.as_str(), one.path.clone())).collect();
            let at = Some(crate::value::Path::root("service").attr("source_ranges"));
            assert_eq!(said, [("Nothing limits who dials the API server", at)]);
        }
        for service in [Value::Unknown, balanced(Value::Unknown)] {
            assert!(exposing(service).unwrap().is_none(), "what is not known is not refused");
        }
        let spec = exposing(balanced(listed("192.0.2.0/24"))).unwrap().unwrap();
        let made = wanted(&spec, None).unwrap();
        let made: Vec<String> = made.iter().map(|(reference, _)| reference.to_string()).collect();
        for object in ["api-server-gateway", "cross-network-gateway"] {
            assert!(made.iter().any(|name| name.contains(object)), "{object}: {made:?}");
        }
        assert_eq!(made.iter().filter(|name| name.contains("api-server-gateway")).count(), 2, "{made:?}");
    }
}
