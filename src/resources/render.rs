//! Rendering a chart to the objects of a resource: shared by every resource that installs one of Istio's charts. Pure.

use std::sync::{Mutex, PoisonError};

use serde_json::Value as Json;

use crate::chart::{self, Capabilities, Chart, Release, Values};
use crate::cluster::{Kind, Object, ObjectRef};

/// What the charts are told of the cluster. A plan must give the same answer with and without the cluster, so it is not asked.
const KUBE_VERSION: &str = "v1.33.0";

static TURN: Mutex<()> = Mutex::new(());

/// A chart, and what to render it with.
#[derive(Clone, Copy, Debug)]
pub struct Rendering<'a> {
    pub chart: &'a Chart,
    pub release: &'a str,
    pub namespace: &'a str,
    pub values: &'a Values,
}

/// Why a chart cannot be rendered with these values.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("chart {chart} cannot be rendered with these values")]
    Render { chart: String, source: chart::Error },
    #[error("the chart brings {what}, which is not a Kubernetes object of a kind the provider knows")]
    Kind { what: String },
}

impl Rendering<'_> {
    /// The objects of the release, hooks left out, each with its namespace.
    pub fn objects(&self) -> Result<Vec<Object>, Error> {
        // As an upgrade the charts leave out what only a first installation sets and istiod owns from then on.
        let release = Release { name: self.release.to_owned(), namespace: self.namespace.to_owned(), is_upgrade: true };
        // One at a time: what rendering needs on the way is many times what comes of it.
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let capabilities = Capabilities { kube_version: KUBE_VERSION.to_owned(), api_versions: Vec::new() };
        let manifests = chart::render(self.chart, &release, self.values, &capabilities).map_err(|source| {
            Error::Render { chart: format!("{} {}", self.chart.name(), self.chart.version()), source }
        })?;
        manifests
            .into_iter()
            .filter(|manifest| manifest.hooks.is_empty())
            .map(|manifest| self.object(manifest.object))
            .collect()
    }

    fn object(&self, object: Json) -> Result<Object, Error> {
        let named = format!(
            "{} {}",
            object.get("kind").unwrap_or(&Json::Null),
            object.pointer("/metadata/name").unwrap_or(&Json::Null)
        );
        let mut object = Object::new(object).ok_or(Error::Kind { what: named })?;
        if reference(&object)?.kind.namespaced && object.namespace().is_none() {
            object.set_namespace(self.namespace);
        }
        disown(&mut object);
        Ok(object)
    }
}

/// What finds an object whose kind the provider knows.
pub fn reference(object: &Object) -> Result<ObjectRef, Error> {
    let kind =
        Kind::known(object.api_version(), object.kind()).ok_or_else(|| Error::Kind { what: object.to_string() })?;
    Ok(object.reference_as(kind))
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
