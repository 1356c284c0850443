//! From a spec and the chart to the objects wanted. Pure; what can fail here is the chart, with the values given to it.

use std::sync::Arc;

use super::spec::Spec;
use crate::chart::Chart;
use crate::cluster::Object;
use crate::kept::objects::Wanted;
use crate::kept::render::{self, Rendering};
use crate::mesh::{AmbientGateway, CROSS_NETWORK_GATEWAY, ControlPlaneExposure, Selector, ServiceExposure};

/// The name that Istio's documentation gives a gateway; its custom resource then has the documented name too.
const USUAL_NAME: &str = "istio-eastwestgateway";

/// Renders everything the gateway consists of. `chart` may be absent for an ambient gateway only.
pub fn wanted(spec: &Spec, chart: Option<&Arc<Chart>>) -> Result<Wanted, render::Error> {
    let owner = spec.owner();
    let mut wanted = Wanted::default();
    for object in objects(spec, chart)? {
        let reference = render::reference(&object)?;
        wanted.insert(reference, object, &owner);
    }
    Ok(wanted)
}

fn objects(spec: &Spec, chart: Option<&Arc<Chart>>) -> Result<Vec<Object>, render::Error> {
    if spec.ambient {
        let gateway = AmbientGateway {
            name: spec.name.clone(),
            namespace: spec.namespace.clone(),
            network: spec.gateway.network.clone(),
            revision: spec.gateway.revision.clone(),
        };
        return Ok(Object::new(gateway.object()).into_iter().collect());
    }
    let mut objects = Vec::new();
    if let Some(chart) = chart {
        let rendering =
            Rendering { chart, release: &spec.name, namespace: spec.namespace.as_str(), values: &spec.values };
        objects.extend(rendering.objects()?);
    }
    let exposing = services(spec).into_iter().chain(control_plane(spec));
    objects.extend(exposing.filter_map(Object::new));
    Ok(objects)
}

/// The Pods the chart makes, as it labels them.
fn selector(spec: &Spec) -> Selector {
    let label =
        spec.values.as_map().get("labels").and_then(|labels| labels.get("istio")).and_then(|label| label.as_str());
    let istio = label.unwrap_or_else(|| spec.name.strip_prefix("istio-").unwrap_or(&spec.name));
    [("istio".to_owned(), istio.to_owned())].into()
}

fn services(spec: &Spec) -> Option<serde_json::Value> {
    let name = match spec.name.as_str() {
        USUAL_NAME => CROSS_NETWORK_GATEWAY.to_owned(),
        other => format!("{CROSS_NETWORK_GATEWAY}-{other}"),
    };
    let hosts = spec.exposure.hosts.clone()?;
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
