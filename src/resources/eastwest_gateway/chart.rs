//! The chart of a gateway: in the version of the control plane that serves it, unless it is told another.

use std::sync::Arc;

use super::build::Rendered;
use super::form::Form;
use super::spec::Spec;
use super::{Cx, Gateway, build};
use crate::chart::{Asks, Chart};
use crate::cluster::Cluster;
use crate::diag::{Diagnostic, Diagnostics};
use crate::engine::Plan;
use crate::kept::objects::Wanted;
use crate::kept::render;
use crate::kept::told::Answers;
use crate::mesh::Revision;
use crate::resources::charts::{self, FETCHING, Unavailable, Version};
use crate::resources::keeping;
use crate::resources::versions::{self, Version as Followed};
use crate::resources::walk::Walk;

/// The objects as they can be told at plan; `None` while the chart cannot be had.
pub async fn planned_objects(
    cx: &mut Cx,
    plan: &mut Plan<'_, Gateway>,
    spec: &Spec,
) -> Result<Option<Wanted>, Diagnostics> {
    let remembered = plan.prior.and_then(|prior| prior.chart_version.known().cloned());
    let planned = &mut plan.planned;
    if spec.form.has_chart() {
        let followed = followed(planned, spec);
        let is_declared = |walk: &Walk| walk.version_of(followed).is_some();
        versions::wait_for(cx, planned.charts.known(), is_declared).await;
    }
    let version = match follow(cx, planned, spec).await {
        Followed::Known(version) => Some(version),
        Followed::Named => remembered,
        // It may be planned after this one.
        Followed::Unknown if plan.prior.is_some() => remembered,
        Followed::Unknown | Followed::Open => return Ok(None),
    };
    if plan.prior.is_some() {
        cx.client()?.charts.refuse_changed(cx.private.charts.as_ref(), planned.charts.known()).await?;
    }
    let chart = match chart(cx, planned, spec, version.as_deref()).await {
        Ok(chart) => chart,
        Err(unavailable) => return charts::without_chart(cx, unavailable),
    };
    let newer = chart.as_ref().and_then(|chart| versions::ahead(cx, chart.version(), followed(planned, spec)));
    newer.into_iter().for_each(|warning| cx.warn(warning));
    planned.chart_version = chart.as_ref().map(|chart| chart.version().to_owned()).unwrap_or_default().into();
    let Some(told) = keeping::told(cx, plan, asks(chart.as_ref(), spec)).await else { return Ok(None) };
    let render = of(cx, spec, chart.as_ref());
    keeping::rendered(cx, plan, told, render).await
}

/// What the chart asks about the cluster.
fn asks(chart: Option<&Arc<Chart>>, spec: &Spec) -> Asks {
    chart.map(|chart| chart.asks(&spec.values)).unwrap_or_default()
}

/// The objects of an apply or import.
pub async fn wanted(
    cx: &mut Cx,
    cluster: &Cluster,
    spec: &Spec,
    chart: Option<&Arc<Chart>>,
) -> Result<Wanted, Diagnostics> {
    let told = keeping::told_to_apply(cx, cluster, asks(chart, spec)).await?;
    let render = of(cx, spec, chart);
    Ok(keeping::rendered_to_apply(cx, cluster, told, render).await?)
}

/// The objects of a gateway, by what its chart is told about the cluster.
fn of<'a>(
    cx: &Cx,
    spec: &'a Spec,
    chart: Option<&'a Arc<Chart>>,
) -> impl Fn(&Answers) -> Result<Wanted, render::Error> + use<'a> {
    let release = cx.private.release.clone();
    move |told| build::wanted(spec, chart.map(|chart| Rendered { chart, release: release.as_deref(), told }))
}

/// The control plane that serves the gateway, as far as this resource says where that is.
fn followed<'a>(model: &'a Gateway, spec: &'a Spec) -> versions::Followed<'a> {
    let istiod = spec.exposure.control_plane.as_ref().unwrap_or(&spec.namespace);
    let revision = spec.gateway.revision.as_ref().map(Revision::as_str);
    versions::Followed { cluster: model.cluster.text(), namespace: istiod.as_str(), revision }
}

/// The version of the control plane that serves it; nobody's where it has no chart.
async fn follow(cx: &Cx, model: &Gateway, spec: &Spec) -> Followed {
    match spec.form.has_chart() {
        true => versions::follow(cx, model.charts.known(), followed(model, spec)).await,
        false => Followed::Named,
    }
}

/// The chart, of the version there was where nobody names one: a new default upgrades nothing. A gateway that istiod
/// makes has none.
pub async fn chart(
    cx: &Cx,
    model: &Gateway,
    spec: &Spec,
    remembered: Option<&str>,
) -> Result<Option<Arc<Chart>>, Unavailable> {
    if !spec.form.has_chart() {
        return Ok(None);
    }
    let store = &cx.client().map_err(Unavailable::Wrong)?.charts;
    let version = Version { asked: None, remembered: remembered.filter(|version| !version.is_empty()) };
    let fetched = cx.run(FETCHING, store.chart("gateway", model.charts.known(), version)).await;
    fetched.map_err(Unavailable::Wrong)?.map(Some)
}

/// Remembers what the chart is now, for the plans that follow.
pub async fn note(cx: &mut Cx, model: &Gateway) -> Result<(), Diagnostic> {
    let names: &[&str] = if Form::of(model).has_chart() { &["gateway"] } else { &[] };
    let version = model.chart_version.as_deref().filter(|version| !version.is_empty());
    // Where the time is over, what was noted before stays.
    let noted = cx.client()?.charts.noted(model.charts.known(), names, version);
    let Ok(noted) = cx.run(FETCHING, noted).await else { return Ok(()) };
    charts::remember(cx, |private| &mut private.charts, noted);
    Ok(())
}

/// The chart of an apply, in the version that was planned.
pub async fn to_apply(
    cx: &Cx,
    state: &Gateway,
    spec: &Spec,
    prior: Option<&Gateway>,
) -> Result<Option<Arc<Chart>>, Diagnostics> {
    let version = match (state.chart_version.known(), follow(cx, state, spec)) {
        (Some(version), _) => Some(version.clone()),
        (None, following) => match following.await {
            Followed::Known(version) => Some(version),
            _ => prior.and_then(|prior| prior.chart_version.known().cloned()),
        },
    };
    chart(cx, state, spec, version.as_deref()).await.map_err(Diagnostics::from)
}
