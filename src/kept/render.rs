//! Rendering a chart to the objects of a resource: shared by every resource that installs one of Istio's charts. Pure.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value as Json;

use super::objects::{Entry, Wanted};
use crate::chart::{self, Capabilities, Chart, Release, Values};
use crate::cluster::{Kind, Object, ObjectRef};
use crate::diag::Diagnostic;
use crate::value::Path;

/// One at a time: what rendering needs on the way is many times what comes of it.
static TURN: Mutex<()> = Mutex::new(());

/// What the last renderings with definitions came to: they are rendered and kept once for all clusters of which the
/// charts are told the same.
static SHARED: Mutex<Vec<Shared>> = Mutex::new(Vec::new());
/// More would be several versions of Istio at once.
const SHARED_AT_MOST: usize = 4;

/// One at a time, so that whoever comes while it is under way finds it done.
static PREPARING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A chart, and what to render it with.
#[derive(Clone, Copy, Debug)]
pub struct Rendering<'a> {
    pub chart: &'a Arc<Chart>,
    pub release: &'a str,
    pub namespace: &'a str,
    pub values: &'a Values,
    /// What it is told about the cluster.
    pub capabilities: &'a Capabilities,
}

/// Why a chart cannot be rendered with these values.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("chart {chart} cannot be rendered with these values")]
    Render { chart: String, source: chart::Error },
    #[error("the chart brings {what}, which is not a Kubernetes object of a kind the provider knows")]
    Kind { what: String },
}

/// A rendering, and what came of it.
struct Shared {
    chart: Arc<Chart>,
    release: String,
    namespace: String,
    values: Values,
    /// Where the chart asks.
    capabilities: Option<Capabilities>,
    owner: String,
    entries: Vec<Arc<Entry>>,
}

fn shared() -> MutexGuard<'static, Vec<Shared>> {
    SHARED.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn is_of(&self, asked: &Rendering<'_>, owner: &str) -> bool {
        Arc::ptr_eq(&self.chart, asked.chart)
            && self.release == asked.release
            && self.namespace == asked.namespace
            && self.values == *asked.values
            && self.owner == owner
            && self.capabilities.as_ref().is_none_or(|capabilities| capabilities == asked.capabilities)
    }
}

impl Rendering<'_> {
    /// Adds the objects of the release to those wanted, each with the label of its owner.
    pub fn insert(&self, wanted: &mut Wanted, owner: &str) -> Result<(), Error> {
        for entry in self.entries(owner)? {
            wanted.add(entry);
        }
        Ok(())
    }

    /// Renders definitions beforehand, off the threads that serve requests: it takes longer than anything else.
    pub async fn prepare(&self, owner: &str) -> Result<(), Error> {
        let _turn = PREPARING.lock().await;
        if shared().iter().any(|known| known.is_of(self, owner)) {
            return Ok(());
        }
        let (chart, values, capabilities) = (self.chart.clone(), self.values.clone(), self.capabilities.clone());
        let (release, namespace, owner) = (self.release.to_owned(), self.namespace.to_owned(), owner.to_owned());
        let rendered = tokio::task::spawn_blocking(move || {
            let rendering = Rendering {
                chart: &chart,
                release: &release,
                namespace: &namespace,
                values: &values,
                capabilities: &capabilities,
            };
            rendering.entries(&owner).map(drop)
        });
        // Should it panic, it does so again where it is needed.
        rendered.await.unwrap_or(Ok(()))
    }

    fn entries(&self, owner: &str) -> Result<Vec<Arc<Entry>>, Error> {
        if let Some(known) = shared().iter().find(|known| known.is_of(self, owner)) {
            return Ok(known.entries.clone());
        }
        let mut entries = Vec::new();
        self.each(|object| {
            entries.push(Arc::new(Entry::owned(reference(&object)?, object, owner)));
            Ok(())
        })?;
        if entries.iter().any(|entry| entry.reference.kind == Kind::CUSTOM_RESOURCE_DEFINITION) {
            let mut shared = shared();
            shared.truncate(SHARED_AT_MOST - 1);
            shared.insert(0, self.remembered(owner, entries.clone()));
        }
        Ok(entries)
    }

    fn remembered(&self, owner: &str, entries: Vec<Arc<Entry>>) -> Shared {
        Shared {
            chart: self.chart.clone(),
            release: self.release.to_owned(),
            namespace: self.namespace.to_owned(),
            values: self.values.clone(),
            capabilities: (!self.chart.asks(self.values).is_nothing()).then(|| self.capabilities.clone()),
            owner: owner.to_owned(),
            entries,
        }
    }

    /// The objects of the release, hooks left out, each with its namespace.
    pub fn objects(&self) -> Result<Vec<Object>, Error> {
        let mut objects = Vec::new();
        self.each(|object| {
            objects.push(object);
            Ok(())
        })?;
        Ok(objects)
    }

    fn each(&self, mut take: impl FnMut(Object) -> Result<(), Error>) -> Result<(), Error> {
        // As an upgrade the charts leave out what only a first installation sets and istiod owns from then on.
        let release = Release { name: self.release.to_owned(), namespace: self.namespace.to_owned(), is_upgrade: true };
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = Ok(());
        let rendered = chart::render_each(self.chart, &release, self.values, self.capabilities, &mut |manifest| {
            if manifest.hooks.is_empty() && taken.is_ok() {
                taken = self.object(manifest.object).and_then(&mut take);
            }
        });
        rendered.map_err(|source| Error::Render {
            chart: format!("{} {}", self.chart.name(), self.chart.version()),
            source,
        })?;
        taken
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

/// What it means to the user.
pub fn diagnostic(error: &Error) -> Diagnostic {
    match error {
        Error::Render { source, .. } => Diagnostic::error("The chart refuses these values")
            .detail(format!("{error}:\n\n{source}"))
            .at(Path::root("values")),
        Error::Kind { .. } => Diagnostic::error("The chart brings an unknown kind of object")
            .detail(error.to_string())
            .at(Path::root("charts")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFINITION: &str = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: things.example.com}\nspec: {group: example.com}\n";

    #[tokio::test]
    async fn definitions_are_rendered_once_for_all_who_want_the_same() {
        let files = [("Chart.yaml", "apiVersion: v2\nname: c\nversion: 1.0.0\n"), ("templates/d.yaml", DEFINITION)];
        let files = files.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
        let chart = Arc::new(Chart::from_files(files.into()).unwrap());
        let values = [Values::default(), Values::from_yaml("a: 1").unwrap()];
        let capabilities = Capabilities::default();
        let rendering =
            |values| Rendering { chart: &chart, release: "r", namespace: "n", values, capabilities: &capabilities };
        let wanted = |values, owner| {
            let mut wanted = Wanted::default();
            rendering(values).insert(&mut wanted, owner).unwrap();
            wanted
        };
        let shared = |a: &Wanted, b: &Wanted| a.iter().zip(b.iter()).all(|(a, b)| std::ptr::eq(a.1, b.1));
        rendering(&values[0]).prepare("one").await.unwrap();
        let first = wanted(&values[0], "one");
        assert_eq!(first.len(), 1);
        assert!(shared(&first, &wanted(&values[0], "one")));
        assert!(!shared(&first, &wanted(&values[0], "another")));
        assert!(!shared(&first, &wanted(&values[1], "one")));
    }
}
