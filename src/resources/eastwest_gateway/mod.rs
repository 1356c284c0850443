//! `mesh_eastwest_gateway`: the door between networks. Gather, parse, build, apply and wait, state: in this order, here
//! to be read.

mod build;
mod chart;
mod declare;
mod form;
mod import;
mod list;
mod made;
mod model;
mod moved;
mod ready;
mod spec;
mod written;

use std::borrow::Cow;

pub use self::model::{Gateway, Identity, Private};
use self::ready::Waiting;
use self::spec::{Spec, derive_names};
pub use self::written::written;
use super::client::{self, Client};
use crate::diag::Diagnostics;
use crate::engine::{Change, Ctx, Failed, Import, Moved, Plan, Resource};
use crate::keeps;
use crate::kept::objects::state_key;
use crate::kept::vanished;
use crate::mesh::Pending;
use crate::resources::keeping::{self, Claiming, Refreshed};
use crate::resources::{again, parsing};
use crate::value::Value;

/// An east-west gateway in one cluster.
pub struct MeshEastwestGateway;

type Cx = Ctx<Client, Private>;

keeps!(Gateway, Private, "mesh_eastwest_gateway" by "name", spec::label, |_| Cow::Borrowed(build::KINDS));

impl Resource for MeshEastwestGateway {
    type Client = Client;
    type Model = Gateway;
    type Identity = Identity;
    type Private = Private;

    const NAME: &'static str = "eastwest_gateway";
    const VERSION: i64 = 2;

    fn validate(&self, config: &Gateway, diagnostics: &mut Diagnostics) {
        diagnostics.append(Spec::parse(config).err().unwrap_or_default());
    }

    async fn plan(&self, cx: &mut Cx, plan: &mut Plan<'_, Gateway>) -> Result<(), Diagnostics> {
        derive_names(&mut plan.planned);
        keeping::begin(cx, plan)?;
        let spec = Spec::parse(&plan.planned)?;
        match &spec {
            Some(spec) => declare::declare(cx, plan, spec).await?,
            None => cx.client()?.walk.pending(Pending::Gateway),
        }
        let wanted = match &spec {
            Some(spec) if !cx.client()?.charts.is_open(&plan.planned.charts) => {
                chart::planned_objects(cx, plan, spec).await?
            }
            _ => None,
        };
        keeping::plan(cx, plan, wanted.as_ref());
        let addresses = wanted.map(|_| ready::planned(plan.prior, &plan.planned));
        plan.planned.addresses = addresses.unwrap_or(Value::Unknown);
        keeping::end(cx, plan);
        Ok(())
    }

    async fn apply(&self, cx: &mut Cx, change: Change<Gateway>) -> Result<Gateway, Failed<Gateway>> {
        again::apply(cx, change, |cx, change| Box::pin(attempt(cx, change))).await
    }

    async fn read(&self, cx: &mut Cx, mut state: Gateway) -> Result<Option<Gateway>, Diagnostics> {
        if client::without_clusters(cx)? {
            return Ok(Some(state));
        }
        chart::note(cx, &state).await?;
        let cluster = client::own(cx, state.cluster.text()).await?;
        match keeping::refresh(cx, &cluster, &mut state).await? {
            Refreshed::Silent => {}
            Refreshed::Gone => return Ok(None),
            Refreshed::Seen(seen) => {
                if let Some(door) = seen.live.get(&state_key(&ready::door_of(&state))) {
                    let found = ready::reachable(&cluster, door).await?;
                    state.addresses = ready::addresses(&found).into();
                }
            }
        }
        Ok(Some(state))
    }

    async fn delete(&self, cx: &mut Cx, state: Gateway) -> Result<(), Failed<Gateway>> {
        made::remove(cx, state).await
    }

    async fn import(&self, cx: &mut Cx, from: Import<Identity>) -> Result<Gateway, Diagnostics> {
        import::import(cx, from).await
    }

    fn upgrade(&self, from: i64, state: serde_json::Value) -> Result<serde_json::Value, Diagnostics> {
        Ok(form::upgraded(from, state))
    }

    fn adopt(&self, source: Moved) -> Result<Option<Gateway>, Diagnostics> {
        Ok(moved::adopt(&source)?)
    }

    async fn find(&self, cx: &mut Ctx<Client>, moved: Gateway) -> Result<Identity, Diagnostics> {
        moved::find(cx, &moved).await
    }

    fn identity(&self, model: &Gateway) -> Identity {
        Identity { cluster: model.cluster.clone(), namespace: model.namespace.clone(), name: model.name.clone() }
    }
}

async fn attempt(cx: &mut Cx, change: Change<Gateway>) -> Result<Gateway, Failed<Gateway>> {
    let Change { prior, planned: mut state, reached, .. } = change;
    derive_names(&mut state);
    let spec = parsing::complete(Spec::parse(&state)?)?;
    let cluster = client::own(cx, state.cluster.text()).await?;
    let chart = chart::to_apply(cx, &state, &spec, prior.as_ref()).await?;
    chart::note(cx, &state).await?;
    let wanted = chart::wanted(cx, &cluster, &spec, chart.as_ref()).await?;
    ready::check_kinds(&cluster, spec.form).await?;

    let claiming = Claiming::of(&state, prior.as_ref());
    let claim = keeping::claim(cx, &cluster, &mut state, prior.as_ref(), claiming).await?;
    let converged = keeping::converge(cx, &claim, &wanted, prior.as_ref(), &mut state).await;
    state.chart_version.fill(|| chart.as_ref().map(|chart| chart.version().to_owned()).unwrap_or_default());
    reached.set(state.clone());
    let recorded = converged.map_err(|errors| Failed::from(errors).keeping(state.clone()))?;

    let cluster = claim.cluster();
    let hurried = &client::hurried(cx, &cluster, ready::FOR_REASONS);
    let waiting = Waiting { cluster: &cluster, hurried, spec: &spec, wanted: &wanted, is_new: prior.is_none() };
    match vanished::while_there(&cluster, &recorded, ready::wait(waiting)).await {
        Ok(found) => state.addresses.fill(|| ready::addresses(&found)),
        Err(diagnostics) => return Err(Failed::from(diagnostics).keeping(state)),
    }
    keeping::finish(cx, claim).await;
    Ok(state)
}
