//! From a spec and charts to the objects wanted. Pure; what can fail here is the chart, with the values given to it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::spec::Spec;
use crate::chart::{self, Capabilities, Chart, Release, Values};
use crate::cluster::{Kind, Object, ObjectRef};
use crate::mesh::NETWORK_LABEL;
use crate::resources::objects::Wanted;

/// The release of the chart `base`, as Istio's documentation names it.
pub const BASE_RELEASE: &str = "istio-base";

/// What the charts are told of the cluster. A plan must give the same answer with and without the cluster, so it is not asked.
const KUBE_VERSION: &str = "v1.33.0";

/// Both charts of one version of Istio.
#[derive(Clone, Debug)]
pub struct Charts {
    /// `None` where this control plane does not install the shared objects.
    pub base: Option<Arc<Chart>>,
    pub istiod: Arc<Chart>,
}

/// The names of the releases where an import found others than the usual: the charts write them into labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Releases {
    pub base: Option<String>,
    pub istiod: Option<String>,
}

/// Why the charts cannot be rendered with these values.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("chart {chart} cannot be rendered with these values")]
    Render { chart: String, source: chart::Error },
    #[error("the chart brings {what}, which is not a Kubernetes object of a kind the provider knows")]
    Kind { what: String },
}

/// Renders everything the control plane consists of, its namespace included.
pub fn wanted(spec: &Spec, charts: &Charts, releases: &Releases) -> Result<Wanted, Error> {
    let namespace = spec.control_plane.namespace.as_str();
    let owner = spec.owner();
    let mut wanted = Wanted::default();
    let (reference, object) = system_namespace(spec);
    wanted.insert_shared(reference, object);
    if let Some(base) = &charts.base {
        let release = releases.base.as_deref().unwrap_or(BASE_RELEASE);
        for object in render(base, release, namespace, &spec.base_values)? {
            insert(&mut wanted, object, namespace, &owner)?;
        }
    }
    let release = releases.istiod.clone().unwrap_or_else(|| spec.release());
    for object in render(&charts.istiod, &release, namespace, &spec.istiod_values)? {
        insert(&mut wanted, object, namespace, &owner)?;
    }
    Ok(wanted)
}

fn render(chart: &Chart, release: &str, namespace: &str, values: &Values) -> Result<Vec<Json>, Error> {
    // As an upgrade the charts leave out what only a first installation sets and istiod owns from then on.
    let release = Release { name: release.to_owned(), namespace: namespace.to_owned(), is_upgrade: true };
    let capabilities = Capabilities { kube_version: KUBE_VERSION.to_owned(), api_versions: Vec::new() };
    let manifests = chart::render(chart, &release, values, &capabilities)
        .map_err(|source| Error::Render { chart: format!("{} {}", chart.name(), chart.version()), source })?;
    Ok(manifests.into_iter().filter(|manifest| manifest.hooks.is_empty()).map(|manifest| manifest.object).collect())
}

fn insert(wanted: &mut Wanted, object: Json, namespace: &str, owner: &str) -> Result<(), Error> {
    let named = format!(
        "{} {}",
        object.get("kind").unwrap_or(&Json::Null),
        object.pointer("/metadata/name").unwrap_or(&Json::Null)
    );
    let unknown = || Error::Kind { what: named.clone() };
    let mut object = Object::new(object).ok_or_else(unknown)?;
    let kind = Kind::known(object.api_version(), object.kind()).ok_or_else(unknown)?;
    if kind.namespaced && object.namespace().is_none() {
        object.set_namespace(namespace);
    }
    disown(&mut object);
    wanted.insert(object.reference_as(kind), object, owner);
    Ok(())
}

/// Leaves out what istiod writes into webhooks. What a user asks for by values stays: then istiod keeps its hands off.
fn disown(object: &mut Object) {
    let validating = object.kind() == "ValidatingWebhookConfiguration";
    if !validating && object.kind() != "MutatingWebhookConfiguration" {
        return;
    }
    for webhook in object.value_mut().get_mut("webhooks").and_then(Json::as_array_mut).into_iter().flatten() {
        let Some(webhook) = webhook.as_object_mut() else { continue };
        let bundle = webhook
            .get("clientConfig")
            .and_then(|config| config.get("caBundle"))
            .and_then(Json::as_str)
            .unwrap_or_default();
        let own_bundle = !bundle.is_empty();
        if !own_bundle && let Some(config) = webhook.get_mut("clientConfig").and_then(Json::as_object_mut) {
            config.remove("caBundle");
        }
        // Older charts write `Ignore` on every render; istiod makes it `Fail` once it serves the webhook.
        if validating && !own_bundle && webhook.get("failurePolicy").and_then(Json::as_str) == Some("Ignore") {
            webhook.remove("failurePolicy");
        }
    }
}

/// The namespace, shared with whatever else is in it: only the label is ours.
fn system_namespace(spec: &Spec) -> (ObjectRef, Object) {
    let reference = ObjectRef::cluster(Kind::NAMESPACE, spec.control_plane.namespace.as_str());
    let mut object = Object::of(&reference);
    if let Some(network) = &spec.control_plane.network {
        object.set_label(NETWORK_LABEL, network.as_str());
    }
    (reference, object)
}

/// What a validating webhook must say until istiod serves it, lest it refuse everything: fail open.
pub fn fail_open(object: &mut Object) {
    for webhook in object.value_mut().get_mut("webhooks").and_then(Json::as_array_mut).into_iter().flatten() {
        if let Some(webhook) = webhook.as_object_mut() {
            webhook.entry("failurePolicy").or_insert(json!("Ignore"));
        }
    }
}
