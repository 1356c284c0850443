//! What a gateway writes, for the page that lists it.

use super::build::Rendered;
use super::spec::Spec;
use super::{Gateway, build};
use crate::diag::Diagnostics;
use crate::kept::told::Told;
use crate::kept::{namespace, render};
use crate::resources::charts::{Store, Version};
use crate::resources::keeping;
use crate::resources::parsing;
use crate::resources::written::Written;

pub async fn written(planned: &Gateway, store: &Store) -> Result<Written, Diagnostics> {
    let spec = parsing::complete(Spec::parse(planned)?)?;
    let chart = match spec.form.has_chart() {
        true => Some(store.chart("gateway", planned.charts.known(), Version::default()).await?),
        false => None,
    };
    let told = &Told::default().answers_to_charts();
    let rendered = chart.as_ref().map(|chart| Rendered { chart, release: None, told });
    let wanted = build::wanted(&spec, rendered).map_err(|error| render::diagnostic(&error))?;
    let (label, cluster) = (spec.owner(), planned.cluster.text());
    let mut written = Written::default();
    written.add(cluster, namespace::plain(spec.namespace.as_str(), &label))?;
    written.keep(cluster, &wanted);
    written.claim(cluster, keeping::place(planned, &label))?;
    chart.iter().for_each(|chart| written.give(chart, &spec.name, &spec.values));
    Ok(written)
}
