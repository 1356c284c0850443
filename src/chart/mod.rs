//! Helm charts rendered in Rust: archives, values, Go templates, Helm's functions, manifests.
//!
//! The bar is complete equality with `helm template`, text for text, failures included; facts that had to be
//! found out are stated where they are obeyed. Nothing about Istio, Kubernetes clients or where charts come from
//! may enter: the input is files and values, the output is manifests.
use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;

mod budget;
mod capabilities;
mod dependencies;
mod engine;
mod funcs;
mod json;
mod load;
mod manifest;
mod number;
mod print;
mod schema;
mod set;
mod template;
mod value;
mod values;
mod yaml;

pub use budget::Ends;
pub use capabilities::{Asks, Capabilities, KubeVersion};

/// The Helm whose behaviour is followed.
const HELM_VERSION: &str = "v4.3";

/// Values given to a chart, or the defaults inside it: one YAML mapping, numbers as in the document.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Values {
    map: serde_json::Map<String, Json>,
    /// Paths of numbers that came in as int64, which templates can tell from the float64 of YAML.
    integers: Vec<Vec<String>>,
}

/// A chart as loaded, with its dependencies; nothing is rendered or checked yet.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Chart.yaml.
    metadata: serde_json::Map<String, Json>,
    values: Values,
    schema: Option<Vec<u8>>,
    /// Name and text of what is below `templates/`.
    templates: Vec<(String, String)>,
    /// All else, for `.Files`.
    files: BTreeMap<String, Arc<[u8]>>,
    dependencies: Vec<Chart>,
    /// What its templates and files may ask about the cluster.
    asks: Asks,
    /// SHA-256 over its files, in hexadecimal.
    digest: String,
}

/// What a template sees as `.Release`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    pub name: String,
    pub namespace: String,
    /// `.Release.IsUpgrade`; an installation otherwise.
    pub is_upgrade: bool,
}

/// One rendered document, in the order in which Helm installs them.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The template it comes from, such as `istiod/templates/deployment.yaml`.
    pub template: String,
    /// The document's text as Helm prints it, without the leading `---`.
    pub text: String,
    /// The parsed object.
    pub object: Json,
    /// The events of a Helm hook (`helm.sh/hook`); empty for what belongs to the release.
    pub hooks: Vec<String>,
}

/// Why a chart could not be loaded or rendered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The archive or directory is not a chart, or is not safe to read.
    #[error("{0}")]
    Load(String),
    /// A values document is not YAML, or not a mapping.
    #[error("{0}")]
    Values(String),
    /// The same, worded as Helm words it, which shows what the document says.
    #[error("cannot unmarshal yaml document: {words}")]
    Document { words: String, unquoted: String },
    /// The values break the chart's `values.schema.json`.
    #[error("values don't meet the specifications of the schema(s) in the following chart(s):\n{0}")]
    Schema(String),
    /// A template does not parse, or fails (also on purpose: `fail`, `required`); worded as Helm words it.
    #[error("{0}")]
    Render(String),
    /// A rendered document is not YAML.
    #[error("YAML parse error on {template}: {message}")]
    Manifest { template: String, message: String },
    /// The cluster's version is outside the chart's `kubeVersion`.
    #[error("chart requires kubeVersion: {wanted} which is incompatible with Kubernetes {actual}")]
    KubeVersion { wanted: String, actual: String },
    /// Whoever asked for the rendering wants it no more.
    #[error("the run was stopped")]
    Stopped,
    /// The operation that it is for has had its time.
    #[error("the time allowed was over")]
    Late,
}

impl Error {
    /// The same with nothing out of a values document, which may hold secrets.
    pub fn unquoted(&self) -> String {
        match self {
            Self::Document { unquoted, .. } => format!("the document is not YAML: {unquoted}"),
            error => error.to_string(),
        }
    }
}

/// Reads and merges values documents, later over earlier, as Helm merges `--values` files.
pub fn merge_values<'a>(documents: impl IntoIterator<Item = &'a str>) -> Result<Values, Error> {
    let mut values = Values::default();
    for document in documents {
        values.merge(Values::from_yaml(document)?);
    }
    Ok(values)
}

/// Renders a chart. A null in `values` removes the chart's default; the schema of the chart is enforced.
///
/// Manifests come in Helm's order of installation, hooks last; documents that hold only comments are left out.
pub fn render(
    chart: &Chart,
    release: &Release,
    values: &Values,
    capabilities: &Capabilities,
) -> Result<Vec<Manifest>, Error> {
    let mut manifests = render_documents(chart, release, values, capabilities)?;
    manifests.retain(|manifest| !manifest.object.is_null());
    Ok(manifests)
}

/// As [`render`], one manifest after the other in the order of the templates: no more than one is held at a time, and a
/// definition is large. It ends with the operation that it is for.
pub fn render_each(
    chart: &Chart,
    release: &Release,
    values: &Values,
    capabilities: &Capabilities,
    ends: &Ends,
    take: &mut dyn FnMut(Manifest),
) -> Result<(), Error> {
    manifest::each(texts(chart, release, values, capabilities, ends)?, &mut |manifest| {
        if !manifest.object.is_null() {
            take(manifest);
        }
    })
}

/// The documents of a text that no template made, comments left out.
pub fn documents(text: &str) -> Result<Vec<Json>, Error> {
    let mut objects = Vec::new();
    manifest::each(BTreeMap::from([(String::new(), text.to_owned())]), &mut |manifest| objects.push(manifest.object))?;
    objects.retain(|object| !object.is_null());
    Ok(objects)
}

/// Renders a chart to the text that `helm template` prints.
pub fn template(
    chart: &Chart,
    release: &Release,
    values: &Values,
    capabilities: &Capabilities,
) -> Result<String, Error> {
    let documents = render_documents(chart, release, values, capabilities)?;
    let (hooks, release): (Vec<_>, Vec<_>) = documents.iter().partition(|document| !document.hooks.is_empty());
    let print = |document: &&Manifest| format!("---\n# Source: {}\n{}\n", document.template, document.text);
    let text: String = release.iter().map(print).collect();
    let hooks: String = hooks.iter().map(print).collect();
    Ok(format!("{}\n{hooks}", text.trim_matches(funcs::is_space)))
}

/// As [`render`], with the documents that hold only comments, which Helm prints.
fn render_documents(
    chart: &Chart,
    release: &Release,
    values: &Values,
    capabilities: &Capabilities,
) -> Result<Vec<Manifest>, Error> {
    manifest::manifests(texts(chart, release, values, capabilities, &Ends::default())?)
}

/// The rendered texts by template.
fn texts(
    chart: &Chart,
    release: &Release,
    values: &Values,
    capabilities: &Capabilities,
    ends: &Ends,
) -> Result<BTreeMap<String, String>, Error> {
    if chart.text("type") == "library" {
        return Err(Error::Render("library charts are not installable".to_owned()));
    }
    engine::on_a_deep_stack(ends, || {
        let chart = dependencies::enabled(chart, values)?;
        let values = values::coalesce(&chart, values)?;
        let violations = schema::violations(&chart, values.as_map());
        if !violations.is_empty() {
            return Err(Error::Schema(violations));
        }
        engine::render_all(&chart, release, &values, capabilities)
    })
}

fn glob_matches(pattern: &str, name: &str) -> bool {
    funcs::Glob::new(pattern.as_bytes()).matches(name.as_bytes()).unwrap_or_default()
}

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::archive as archive_of;
