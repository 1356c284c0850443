//! `mesh_eastwest_gateway`: the door between networks. Gather, parse, build, apply and wait, state: in this order, here to be read.

mod build;
mod import;
mod list;
mod model;
mod ready;
mod spec;
mod written;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use self::model::Gateway;
use self::ready::Waiting;
use self::spec::Spec;
pub use self::written::written;
use super::charts::{InFolder, Unavailable, Version};
use super::client::{self, Client};
use crate::chart::Chart;
use crate::cluster::{Error, Kind, Object, ObjectRef};
use crate::diag::Diagnostics;
use crate::engine::{Change, Ctx, Failed, Import, Plan, Resource};
use crate::kept::changes::{self, Before};
use crate::kept::claim::{self, Asked, Purpose};
use crate::kept::converge::{self, Converge, Converged};
use crate::kept::instance::{Instance, Place};
use crate::kept::memory::Memory;
use crate::kept::objects::{Recorded, Wanted, state_key};
use crate::kept::plan::Planning;
use crate::kept::read::{Look, Looked};
use crate::kept::remove::{Remaining, Removal};
use crate::kept::{self, render, report, vanished};
use crate::mesh::{DeclaredGateway, Pending, Revision};
use crate::model;
use crate::resources::absent;
use crate::resources::blocks::{Block, Seen};
use crate::resources::charts;
use crate::resources::leaving;
use crate::resources::parsing;
use crate::resources::versions::{self, Version as Followed};
use crate::value::Value;

/// An east-west gateway in one cluster.
pub struct MeshEastwestGateway;

model! {
    /// What tells a gateway from all others.
    pub struct Identity {
        /// Key of the provider's `clusters`.
        #[attr(required)]
        pub cluster: Value<String>,
        /// Namespace of the gateway.
        #[attr(optional)]
        pub namespace: Value<String>,
        /// Name of the gateway.
        #[attr(optional)]
        pub name: Value<String>,
    }
}

/// Kept beside the state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Private {
    #[serde(flatten)]
    instance: Instance,
    #[serde(default, alias = "spellings")]
    memory: Memory,
    /// Name of the release, where an import found another than the gateway's.
    #[serde(default)]
    release: Option<String>,
    /// The charts, as the last refresh saw them in a folder.
    #[serde(default)]
    charts: Option<InFolder>,
}

type Cx = Ctx<Client, Private>;

/// Every kind of object a gateway consists of.
const KINDS: &[Kind] = &[
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

impl Resource for MeshEastwestGateway {
    type Client = Client;
    type Model = Gateway;
    type Identity = Identity;
    type Private = Private;

    const NAME: &'static str = "eastwest_gateway";
    const VERSION: i64 = 1;

    fn validate(&self, config: &Gateway, diagnostics: &mut Diagnostics) {
        if let Err(errors) = Spec::parse(config) {
            diagnostics.append(errors);
        }
    }

    async fn plan(&self, cx: &mut Cx, plan: &mut Plan<'_, Gateway>) -> Result<(), Diagnostics> {
        settle_names(&mut plan.planned);
        client::known_cluster(cx, &plan.planned.cluster)?;
        if let Some(id) = plan.planned.id.known() {
            let seen = Seen::of(plan, |gateway| &gateway.instance);
            let block = Block { resource: "mesh_eastwest_gateway", id, attribute: "name", seen };
            client::refuse_another(cx, block)?;
        }
        let spec = Spec::parse(&plan.planned)?;
        match &spec {
            Some(spec) => declare(cx, plan, spec).await?,
            None => cx.client()?.walk.pending(Pending::Gateway),
        }
        let wanted = match &spec {
            Some(spec) if !plan.planned.charts.is_unknown() => planned_objects(cx, plan, spec).await?,
            _ => None,
        };
        let Some(wanted) = wanted else {
            let planned = &mut plan.planned;
            (planned.objects, planned.changes, planned.addresses) = (Value::Unknown, Value::Unknown, Value::Unknown);
            return Ok(());
        };
        let planned = &mut plan.planned;
        let planning = Planning {
            id: planned.id.text(),
            before: plan.prior.map(before),
            memory: &cx.private.memory,
            force_conflicts: planned.force_conflicts,
        };
        let objects = planning.objects(&wanted);
        (planned.objects, planned.changes) = (objects.objects, objects.changes);
        objects.warning.into_iter().for_each(|warning| cx.warn(warning));
        planned.addresses = planned_addresses(plan.prior, planned);
        let is_update = plan.is_update();
        if plan.prior.is_some() {
            cx.private.instance.plan_mark(&mut plan.planned.instance, is_update);
        }
        Ok(())
    }

    async fn apply(&self, cx: &mut Cx, change: Change<Gateway>) -> Result<Gateway, Failed<Gateway>> {
        let Change { prior, planned: mut state, reached, .. } = change;
        settle_names(&mut state);
        let spec = parsing::settled(Spec::parse(&state)?)?;
        let cluster = client::cluster(cx, state.cluster.text())?;
        let version = match (state.chart_version.known(), follow(cx, &state, &spec)) {
            (Some(version), _) => Some(version.clone()),
            (None, following) => match following.await {
                Followed::Known(version) => Some(version),
                _ => prior.as_ref().and_then(|prior| prior.chart_version.known().cloned()),
            },
        };
        let chart = chart(cx, &state, &spec, version.as_deref()).await.map_err(Diagnostics::from)?;
        let wanted = build::wanted(&spec, chart.as_ref(), cx.private.release.as_deref())
            .map_err(|error| render::diagnostic(&error))?;
        ready::check_kinds(&cluster, &wanted).await?;

        let recorded = prior.as_ref().map(|prior| recorded_of(prior, &cx.private.memory)).unwrap_or_default();
        if state.changes.is_unknown() {
            state.changes = changes::planned(prior.as_ref().map(before), &cx.private.memory, &wanted.recorded());
        }
        let label = spec.owner();
        let asked = Asked {
            cluster: &cluster,
            place: place(&state, &label),
            purpose: Purpose::of(prior.as_ref()),
            mark: prior.as_ref().and_then(|prior| prior.instance.as_deref()),
            adopt: spec.adopt,
        };
        let claim = claim::claim(asked, &mut cx.private.instance).await?;
        state.instance.fill(|| claim.owner.mark.clone());
        let cluster = claim.cluster();
        let step = Converge {
            cluster: &cluster,
            wanted: &wanted,
            prior: &recorded,
            taken: &BTreeSet::new(),
            adopt: spec.adopt,
            force: spec.force_conflicts,
            kinds: KINDS,
        };
        let converged = claim.converge(step, &mut cx.private.memory).await;
        let warning = converged.warning();
        let Converged { recorded, errors, .. } = converged;
        state.objects = cx.private.memory.record(&recorded);
        let told = prior.as_ref().map(|prior| &prior.changes);
        state.changes = changes::reached(&state.changes, told, &wanted.recorded(), &recorded);
        state.chart_version.fill(|| chart.as_ref().map(|chart| chart.version().to_owned()).unwrap_or_default());
        reached.set(state.clone());
        warning.into_iter().for_each(|warning| cx.warn(warning));
        if !errors.is_empty() {
            return Err(Failed::from(converge::diagnostics(&errors)).keeping(state));
        }
        let hurried = client::hurried(cx, &cluster, ready::FOR_REASONS);
        let waiting = Waiting { cluster: &cluster, hurried: &hurried, spec: &spec, is_new: prior.is_none() };
        match vanished::while_there(&cluster, &recorded, ready::wait(waiting)).await {
            Ok(found) => state.addresses.fill(|| ready::addresses(&found)),
            Err(diagnostics) => return Err(Failed::from(diagnostics).keeping(state)),
        }
        claim.finish(&mut cx.private.instance).await.into_iter().for_each(|warning| cx.warn(warning));
        Ok(state)
    }

    async fn read(&self, cx: &mut Cx, mut state: Gateway) -> Result<Option<Gateway>, Diagnostics> {
        if client::without_clusters(cx)? {
            return Ok(Some(state));
        }
        let charts = cx.client()?.charts.in_folder(state.charts.known(), &["gateway"]).await;
        cx.private.charts = charts;
        let cluster = client::cluster(cx, state.cluster.text())?;
        let look = Look {
            cluster: &cluster,
            recorded: &recorded_of(&state, &cx.private.memory),
            memory: &cx.private.memory,
            owner: &cx.private.instance.owner(&owner(&state), &state.instance),
            lease_in: Some(state.namespace.text()),
        };
        let seen = match look.look().await? {
            Looked::Seen(seen) => seen,
            Looked::Silent(warning) => {
                cx.warn(warning);
                return Ok(Some(state));
            }
        };
        leaving::namespace(&cluster, state.namespace.text(), &seen)
            .await
            .into_iter()
            .for_each(|warning| cx.warn(warning));
        if seen.is_gone {
            return Ok(None);
        }
        seen.warnings(state.id.text()).into_iter().for_each(|warning| cx.warn(warning));
        (state.objects, state.changes) = seen.note(&mut cx.private.memory, &state.changes);
        if let Some(door) = seen.live.get(&state_key(&door(&state))) {
            let found = ready::reachable(&cluster, door).await.map_err(|error| converge::diagnostic(&error))?;
            state.addresses = ready::addresses(&found).into();
        }
        Ok(Some(state))
    }

    async fn delete(&self, cx: &mut Cx, state: Gateway) -> Result<(), Failed<Gateway>> {
        let cluster = client::cluster(cx, state.cluster.text())?;
        let label = owner(&state);
        let (place, mark) = (place(&state, &label), state.instance.as_deref());
        let asked = Asked { cluster: &cluster, place, purpose: Purpose::Destroy, mark, adopt: false };
        let claim = claim::claim(asked, &mut cx.private.instance).await?;
        let cluster = claim.cluster();
        let removal = Removal {
            cluster: &cluster,
            recorded: &recorded_of(&state, &cx.private.memory),
            memory: &cx.private.memory,
            owner: &claim.owner,
            orphan_kinds: if claim.interrupted { KINDS } else { &[] },
            namespace: state.namespace.text(),
            wait: true,
            stays: |_: &Object| None,
        };
        let Remaining { recorded, mut left, errors, .. } = removal.run().await;
        if !errors.is_empty() {
            report::left(&left).into_iter().for_each(|warning| cx.warn(warning));
            let state = Gateway { objects: cx.private.memory.record(&recorded), ..state };
            return Err(Failed::from(converge::diagnostics(&errors)).keeping(state));
        }
        let failed = |error: Error, state: &Gateway| Failed::from(converge::diagnostic(&error)).keeping(state.clone());
        let stays = claim.leave(&[]).await.map_err(|error| failed(error, &state))?;
        left.extend(stays.map(|why| format!("Namespace {}: {why}", state.namespace.text())));
        report::left(&left).into_iter().for_each(|warning| cx.warn(warning));
        Ok(())
    }

    async fn import(&self, cx: &mut Cx, from: Import<Identity>) -> Result<Gateway, Diagnostics> {
        import::import(cx, from).await
    }

    fn upgrade(&self, _from: i64, state: serde_json::Value) -> Result<serde_json::Value, Diagnostics> {
        Ok(crate::kept::objects::upgraded(state))
    }

    fn identity(&self, model: &Gateway) -> Identity {
        Identity { cluster: model.cluster.clone(), namespace: model.namespace.clone(), name: model.name.clone() }
    }
}

fn recorded_of(model: &Gateway, memory: &Memory) -> Recorded {
    Recorded::of(&model.objects, memory)
}

fn before(prior: &Gateway) -> Before<'_> {
    Before { objects: &prior.objects, changes: &prior.changes }
}

/// The owner label of the gateway that state describes.
fn owner(model: &Gateway) -> String {
    kept::owner("mesh_eastwest_gateway", model.namespace.text(), model.name.text())
}

fn place<'a>(model: &'a Gateway, label: &'a str) -> Place<'a> {
    Place { resource: "mesh_eastwest_gateway", id: model.id.text(), namespace: model.namespace.text(), label }
}

/// Computed names that follow from others.
fn settle_names(model: &mut Gateway) {
    if let (Some(cluster), Some(namespace), Some(name)) =
        (model.cluster.known(), model.namespace.known(), model.name.known())
    {
        model.id = format!("{cluster}/{namespace}/{name}").into();
    }
}

/// What other resources contradict, and what is missing.
async fn declare(cx: &mut Cx, plan: &Plan<'_, Gateway>, spec: &Spec) -> Result<(), Diagnostics> {
    let id = plan.planned.id.text();
    let declared = DeclaredGateway {
        cluster: plan.planned.cluster.text().to_owned(),
        name: spec.name.clone(),
        network: spec.gateway.network.to_string(),
        selector: build::pods_label(spec).to_owned(),
        is_ambient: spec.ambient,
        exposes_services: spec.exposure.hosts.is_some(),
        stands: plan.prior.is_some(),
        revision: spec.gateway.revision.as_ref().map(ToString::to_string),
        exposes_istiod_of: spec.exposure.control_plane.as_ref().map(ToString::to_string),
    };
    let mut found = cx.client()?.walk.gateway(id, declared);
    found.check()?;
    found.into_iter().chain(spec.unmatched_hosts()).for_each(|warning| cx.warn(warning));
    absent::tell(cx, id).await?;
    Ok(())
}

/// The objects as they can be told at plan; `None` while the chart cannot be had.
async fn planned_objects(
    cx: &mut Cx,
    plan: &mut Plan<'_, Gateway>,
    spec: &Spec,
) -> Result<Option<Wanted>, Diagnostics> {
    let remembered = plan.prior.and_then(|prior| prior.chart_version.known().cloned());
    let planned = &mut plan.planned;
    let version = match follow(cx, planned, spec).await {
        Followed::Known(version) => Some(version),
        Followed::Unknown => remembered,
        Followed::Open => return Ok(None),
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
    build::wanted(spec, chart.as_ref(), cx.private.release.as_deref())
        .map(Some)
        .map_err(|error| render::diagnostic(&error).into())
}

/// The control plane that serves the gateway, as far as this resource says where that is.
fn followed<'a>(model: &'a Gateway, spec: &'a Spec) -> versions::Followed<'a> {
    let istiod = spec.exposure.control_plane.as_ref().unwrap_or(&spec.namespace);
    let revision = spec.gateway.revision.as_ref().map(Revision::as_str);
    versions::Followed { cluster: model.cluster.text(), namespace: istiod.as_str(), revision }
}

/// The version of the control plane that serves it; nobody's for an ambient gateway, which has no chart.
async fn follow(cx: &Cx, model: &Gateway, spec: &Spec) -> Followed {
    match spec.ambient {
        true => Followed::Unknown,
        false => versions::follow(cx, model.charts.known(), followed(model, spec)).await,
    }
}

/// The chart, of the version there was where nobody names one: a new default upgrades nothing. An ambient gateway has none.
async fn chart(
    cx: &Cx,
    model: &Gateway,
    spec: &Spec,
    remembered: Option<&str>,
) -> Result<Option<Arc<Chart>>, Unavailable> {
    if spec.ambient {
        return Ok(None);
    }
    let store = &cx.client().map_err(Unavailable::Wrong)?.charts;
    let version = Version { asked: None, remembered: remembered.filter(|version| !version.is_empty()) };
    store.chart("gateway", model.charts.known(), version).await.map(Some)
}

/// The addresses stay while the object that has them does not change, and are there.
fn planned_addresses(prior: Option<&Gateway>, planned: &Gateway) -> Value<crate::value::List<model::Address>> {
    let Some(prior) = prior else { return Value::Unknown };
    let key = state_key(&door(planned));
    let same = prior.objects.entry(&key) == planned.objects.entry(&key) && planned.objects.entry(&key).is_some();
    let missing = planned.wait.get() == Some(true) && prior.addresses.items().next().is_none();
    if same && !missing { prior.addresses.clone() } else { Value::Unknown }
}

/// The object whose address is the gateway's.
fn door(model: &Gateway) -> ObjectRef {
    let kind = if model.ambient.get() == Some(true) { Kind::GATEWAY_API_GATEWAY } else { Kind::SERVICE };
    ObjectRef::namespaced(kind, model.namespace.text(), model.name.text())
}
