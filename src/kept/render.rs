//! Rendering a chart to the objects of a resource: shared by every resource that installs one of Istio's charts. Pure.

use std::sync::Arc;

use serde_json::Value as Json;

use super::hidden::Hidden;
use super::objects::{Entry, Wanted};
use super::renderer::{Brought, Remembered};
use super::told::Answers;
use crate::chart::{self, Chart, Release, Values};
use crate::cluster::{Kind, Object, ObjectRef};
use crate::diag::Diagnostic;
use crate::value::Path;

/// A chart, and what to render it with.
#[derive(Clone, Copy, Debug)]
pub struct Rendering<'a> {
    pub chart: &'a Arc<Chart>,
    pub release: &'a str,
    pub namespace: &'a str,
    pub values: &'a Values,
    /// What it is told about the cluster.
    pub told: &'a Answers,
    /// What no message shows, though the chart's own error may hold it.
    pub hidden: &'a Hidden,
}

/// Why a chart cannot be rendered with these values.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("chart {chart} cannot be rendered with these values")]
    Render { chart: String, why: String },
    /// Nobody waits for it any more; by the deadline, or because the run was stopped.
    #[error("rendering chart {chart} was given up")]
    Ended { chart: String, stopped: bool },
    #[error("the chart brings {what}, which is no Kubernetes object")]
    NoObject { what: String },
    /// Who renders is to find out what it is.
    #[error("{0} is of a kind that is not known yet")]
    Kind(Unknown),
    #[error("the chart brings {unknown}, and cluster {cluster} serves no such kind")]
    NotServed { unknown: Unknown, cluster: String },
}

/// An object of a kind that neither the table nor a definition beside it knows.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{object} ({api_version})")]
pub struct Unknown {
    pub api_version: String,
    pub kind: String,
    object: String,
}

impl Rendering<'_> {
    /// Adds the objects of the release to those wanted, each with the label of its owner. What definitions among those
    /// wanted bring is known.
    pub fn insert(&self, wanted: &mut Wanted, owner: &str) -> Result<(), Error> {
        let Brought { entries, custom } = self.brought(owner)?;
        for entry in entries {
            wanted.add(entry);
        }
        for mut object in custom {
            let (api_version, kind) = (object.api_version(), object.kind());
            let found = wanted.defined(api_version, kind).or_else(|| self.told.kinds.find(api_version, kind));
            let kind = found.ok_or_else(|| Error::Kind(Unknown::of(&object)))?;
            self.place(&mut object, &kind);
            wanted.insert(object.reference_as(kind), object, owner);
        }
        Ok(())
    }

    /// Renders definitions beforehand, off the threads that serve requests: it takes longer than anything else.
    pub async fn prepare(&self, owner: &str) -> Result<(), Error> {
        let _turn = self.told.renderer.preparing().await;
        if self.remembered(owner).is_some() {
            return Ok(());
        }
        let (chart, values, told) = (self.chart.clone(), self.values.clone(), self.told.clone());
        let hidden = self.hidden.clone();
        let (release, namespace, owner) = (self.release.to_owned(), self.namespace.to_owned(), owner.to_owned());
        let rendered = tokio::task::spawn_blocking(move || {
            let (release, namespace, hidden) = (&release, &namespace, &hidden);
            let rendering = Rendering { chart: &chart, release, namespace, values: &values, told: &told, hidden };
            rendering.brought(&owner).map(drop)
        });
        // Should it panic, it does so again where it is needed.
        rendered.await.unwrap_or(Ok(()))
    }

    fn brought(&self, owner: &str) -> Result<Brought, Error> {
        if let Some(brought) = self.remembered(owner) {
            return Ok(brought);
        }
        let mut brought = Brought::default();
        self.each(|mut object| match Kind::known(object.api_version(), object.kind()) {
            Some(kind) => {
                self.place(&mut object, &kind);
                brought.entries.push(Arc::new(Entry::owned(object.reference_as(kind), object, owner)));
            }
            None => brought.custom.push(object),
        })?;
        if brought.entries.iter().any(|entry| entry.reference.kind == Kind::CUSTOM_RESOURCE_DEFINITION) {
            self.remember(owner, brought.clone());
        }
        Ok(brought)
    }

    fn remembered(&self, owner: &str) -> Option<Brought> {
        let is_it = |known: &&Remembered| {
            Arc::ptr_eq(&known.chart, self.chart)
                && known.release == self.release
                && known.namespace == self.namespace
                && known.values == *self.values
                && known.owner == owner
                && known.capabilities.as_ref().is_none_or(|capabilities| *capabilities == self.told.capabilities)
        };
        self.told.renderer.find(is_it)
    }

    fn remember(&self, owner: &str, brought: Brought) {
        self.told.renderer.remember(Remembered {
            chart: self.chart.clone(),
            release: self.release.to_owned(),
            namespace: self.namespace.to_owned(),
            values: self.values.clone(),
            capabilities: (!self.chart.asks(self.values).is_nothing()).then(|| self.told.capabilities.clone()),
            owner: owner.to_owned(),
            brought,
        });
    }

    /// The objects of the release, hooks left out.
    fn each(&self, mut take: impl FnMut(Object)) -> Result<(), Error> {
        // As an upgrade the charts leave out what only a first installation sets and istiod owns from then on.
        let release = Release { name: self.release.to_owned(), namespace: self.namespace.to_owned(), is_upgrade: true };
        let Answers { capabilities, ends, renderer, .. } = self.told;
        let mut taken = Ok(());
        let mut take = |manifest: chart::Manifest| {
            if manifest.hooks.is_empty() && taken.is_ok() {
                taken = object(manifest.object).map(&mut take);
            }
        };
        let mut render = || chart::render_each(self.chart, &release, self.values, capabilities, ends, &mut take);
        let rendered = beside_the_server(|| renderer.in_turn(&mut render));
        let chart = || format!("{} {}", self.chart.name(), self.chart.version());
        rendered.map_err(|error| match error {
            chart::Error::Stopped => Error::Ended { chart: chart(), stopped: true },
            chart::Error::Late => Error::Ended { chart: chart(), stopped: false },
            error => Error::Render { chart: chart(), why: self.hidden.struck_from(&error.to_string()) },
        })?;
        taken
    }

    /// Gives an object the namespace of the release where it names none.
    fn place(&self, object: &mut Object, kind: &Kind) {
        if kind.namespaced && object.namespace().is_none() {
            object.set_namespace(self.namespace);
        }
    }
}

/// Has it done where it keeps no thread from serving: with all of them at work on charts nobody would hear that the run
/// is to stop.
fn beside_the_server<T>(work: impl FnOnce() -> T) -> T {
    let flavor = tokio::runtime::Handle::try_current().map(|runtime| runtime.runtime_flavor());
    match flavor {
        Ok(tokio::runtime::RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

impl Unknown {
    fn of(object: &Object) -> Unknown {
        Unknown {
            api_version: object.api_version().to_owned(),
            kind: object.kind().to_owned(),
            object: object.to_string(),
        }
    }
}

fn object(json: Json) -> Result<Object, Error> {
    let what = format!(
        "{} {}",
        json.get("kind").unwrap_or(&Json::Null),
        json.pointer("/metadata/name").unwrap_or(&Json::Null)
    );
    let mut object = Object::new(json).ok_or(Error::NoObject { what })?;
    disown(&mut object);
    Ok(object)
}

/// What finds an object of a kind that the table has.
pub fn reference(object: &Object) -> Result<ObjectRef, Error> {
    object.reference().ok_or_else(|| Error::Kind(Unknown::of(object)))
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
        Error::Render { why, .. } => Diagnostic::error("The chart refuses these values")
            .detail(format!("{error}:\n\n{why}"))
            .at(Path::root("values")),
        Error::Ended { chart, stopped: true } => Diagnostic::error("Interrupted")
            .detail(format!("The run was stopped while chart {chart} was rendered. Run it again to continue.")),
        Error::Ended { chart, stopped: false } => Diagnostic::error("Timed out").detail(format!(
            "The time allowed was over while chart {chart} was rendered. Run it again, or allow more time in the attribute `timeouts`."
        )),
        Error::NoObject { .. } => Diagnostic::error("The chart brings no Kubernetes object")
            .detail(format!("{error}. Use Istio's own charts, or correct yours."))
            .at(Path::root("charts")),
        Error::Kind(_) | Error::NotServed { .. } => {
            Diagnostic::error("The chart brings a kind that the cluster does not serve")
                .detail(format!(
                    "{error}. Install its CustomResourceDefinition first, in an apply of its own, or put it into the templates of the chart, or leave the object out where the \
                     chart has a value for that."
                ))
                .at(Path::root("charts"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::told::Told;
    use super::*;

    const DEFINITION: &str = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: things.example.com}\nspec: {group: example.com}\n";

    #[tokio::test]
    async fn definitions_are_rendered_once_for_all_who_want_the_same() {
        let files = [("Chart.yaml", "apiVersion: v2\nname: c\nversion: 1.0.0\n"), ("templates/d.yaml", DEFINITION)];
        let files = files.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
        let chart = Arc::new(Chart::from_files(files.into()).unwrap());
        let values = [Values::default(), Values::from_yaml("a: 1").unwrap()];
        let told = Told::default().answers_to_charts();
        let hidden = Hidden::default();
        let rendering =
            |values| Rendering { chart: &chart, release: "r", namespace: "n", values, told: &told, hidden: &hidden };
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

    /// Longer than any test waits, were it not for the end of its operation.
    const LONG: &str = "{{range until 1000}}{{range until 1000}}{{$_ := sha512sum (repeat 1000 \"x\")}}{{end}}{{end}}";

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_rendering_ends_with_the_operation_that_it_is_for() {
        use std::time::{Duration, Instant};
        let files = [("Chart.yaml", "apiVersion: v2\nname: c\nversion: 1.0.0\n"), ("templates/d.yaml", LONG)];
        let files = files.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
        let chart = Arc::new(Chart::from_files(files.into()).unwrap());
        let stop = tokio_util::sync::CancellationToken::new();
        let ended = |at: Instant, stop: tokio_util::sync::CancellationToken| {
            let mut told = Told::default().answers_to_charts();
            told.ends = chart::Ends::new(at, move || stop.is_cancelled());
            let chart = chart.clone();
            async move {
                let (values, hidden) = (Values::default(), Hidden::default());
                let (chart, values, told, hidden) = (&chart, &values, &told, &hidden);
                let rendering = Rendering { chart, release: "r", namespace: "n", values, told, hidden };
                let told = diagnostic(&rendering.insert(&mut Wanted::default(), "one").unwrap_err());
                format!("{}: {}", told.summary, told.detail)
            }
        };
        // As many as there are threads, and the stop has to be heard all the same.
        let far = Instant::now() + Duration::from_secs(3600);
        let renderings = [(); 2].map(|()| tokio::spawn(ended(far, stop.clone())));
        let stopper = stop.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(200)).await;
            stopper.cancel();
        });
        for rendering in renderings {
            let said = rendering.await.unwrap();
            assert!(said.starts_with("Interrupted: The run was stopped while chart c 1.0.0"), "{said}");
        }
        let soon = Instant::now() + Duration::from_millis(200);
        let said = ended(soon, tokio_util::sync::CancellationToken::new()).await;
        assert!(said.starts_with("Timed out: The time allowed was over while chart c 1.0.0"), "{said}");
    }

    #[test]
    fn what_the_chart_says_of_a_secret_is_struck() {
        let text = "{{ fail (printf \"%s and %q\" .Values.env.AUTH_TOKEN .Values.env.AUTH_TOKEN) }}";
        let files = [("Chart.yaml", "apiVersion: v2\nname: c\nversion: 1.0.0\n"), ("templates/d.yaml", text)];
        let files = files.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
        let chart = Arc::new(Chart::from_files(files.into()).unwrap());
        let values = Values::from_yaml("env: {AUTH_TOKEN: 'hunter2\"quoted'}").unwrap();
        let mut hidden = Hidden::default();
        hidden.add_named(values.as_map());
        let told = Told::default().answers_to_charts();
        let rendering =
            Rendering { chart: &chart, release: "r", namespace: "n", values: &values, told: &told, hidden: &hidden };
        let error = rendering.insert(&mut Wanted::default(), "one").unwrap_err();
        let detail = diagnostic(&error).detail;
        assert!(!detail.contains("hunter2"), "{detail}");
        assert!(detail.contains("execution error at (c/templates/d.yaml"), "{detail}");
    }
}
