//! The steps of every resource that keeps its objects in one cluster: planned, claimed, applied, read and removed, each
//! in one place.
//!
//! A resource says what it wants and how it is called; what only it has, such as a wait, it does between these steps.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::blocks::{Block, Seen as SeenBlock};
use super::client::{self, Client};
use super::leaving;
use crate::chart::{Asks, Ends};
use crate::cluster::{Cluster, Error, Kind, Object};
use crate::diag::{Diagnostic, Diagnostics};
use crate::engine::{Ctx, Failed, Plan};
use crate::kept::changes::{self, Before};
use crate::kept::claim::{self, Asked, Claim, Purpose};
use crate::kept::converge::{self, Converge, Converged, Strays};
use crate::kept::fixed;
use crate::kept::handover::{self, LeaseOf};
use crate::kept::instance::{HasInstance, Instance, Place};
use crate::kept::memory::Memory;
use crate::kept::objects::{Recorded, Wanted};
use crate::kept::plan::{self as planning, Planned};
use crate::kept::read::{Look, Looked, Seen};
use crate::kept::remove::{Remaining, Removal};
use crate::kept::render;
use crate::kept::report::{self, FORGETTING};
use crate::kept::telling::{self, Unrendered};
use crate::kept::told::Answers;
use crate::schema::Model;
use crate::value::{Map, Value};

/// The model of such a resource. Implemented by [`keeps!`](crate::keeps).
pub trait Keeps: Model {
    /// Its type, such as `mesh_primary`.
    const RESOURCE: &'static str;
    /// The attribute that tells its blocks apart.
    const ATTRIBUTE: &'static str;

    /// Value of the owner label.
    fn label(&self) -> String;
    /// Every kind in which there may be objects of it.
    fn kinds(&self) -> Cow<'static, [Kind]>;
    fn kept(&self) -> Kept<'_>;
    fn note(&mut self, objects: Value<Map<String>>, changes: Value<Map<String>>);
    fn mark(&mut self) -> &mut Value<String>;
}

/// The attributes that they all have.
#[derive(Clone, Copy)]
pub struct Kept<'a> {
    pub id: &'a Value<String>,
    pub cluster: &'a Value<String>,
    pub namespace: &'a Value<String>,
    pub instance: &'a Value<String>,
    pub objects: &'a Value<Map<String>>,
    pub changes: &'a Value<Map<String>>,
    pub adopt: bool,
    pub force_conflicts: Value<bool>,
}

/// What such a resource remembers beside its state.
pub trait Remembers: HasInstance {
    fn memory(&mut self) -> &mut Memory;
}

/// What a resource remembers that has nothing more to remember.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Remembered {
    #[serde(flatten)]
    pub instance: Instance,
    #[serde(default)]
    pub memory: Memory,
}

/// Says that a model has the attributes of a resource that keeps objects in one cluster, and what is remembered beside
/// it, where that is more than [`Remembered`](crate::resources::keeping::Remembered).
#[macro_export]
macro_rules! keeps {
    ($model:ty, $private:ty, $resource:literal by $attribute:literal, $label:expr, $kinds:expr) => {
        $crate::keeps!($model, $resource by $attribute, $label, $kinds);

        impl $crate::kept::instance::HasInstance for $private {
            fn instance(&mut self) -> &mut $crate::kept::instance::Instance {
                &mut self.instance
            }
        }

        impl $crate::resources::keeping::Remembers for $private {
            fn memory(&mut self) -> &mut $crate::kept::memory::Memory {
                &mut self.memory
            }
        }
    };
    ($model:ty, $resource:literal by $attribute:literal, $label:expr, $kinds:expr) => {
        impl $crate::resources::keeping::Keeps for $model {
            const RESOURCE: &'static str = $resource;
            const ATTRIBUTE: &'static str = $attribute;

            fn label(&self) -> String {
                $label(self)
            }

            fn kinds(&self) -> std::borrow::Cow<'static, [$crate::cluster::Kind]> {
                $kinds(self)
            }

            fn kept(&self) -> $crate::resources::keeping::Kept<'_> {
                $crate::resources::keeping::Kept {
                    id: &self.id,
                    cluster: &self.cluster,
                    namespace: &self.namespace,
                    instance: &self.instance,
                    objects: &self.objects,
                    changes: &self.changes,
                    adopt: self.adopt.get() == Some(true),
                    force_conflicts: self.force_conflicts,
                }
            }

            fn note(
                &mut self,
                objects: $crate::value::Value<$crate::value::Map<String>>,
                changes: $crate::value::Value<$crate::value::Map<String>>,
            ) {
                (self.objects, self.changes) = (objects, changes);
            }

            fn mark(&mut self) -> &mut $crate::value::Value<String> {
                &mut self.instance
            }
        }
    };
}

impl HasInstance for Remembered {
    fn instance(&mut self) -> &mut Instance {
        &mut self.instance
    }
}

impl Remembers for Remembered {
    fn memory(&mut self) -> &mut Memory {
        &mut self.memory
    }
}

/// The id of a resource that is one of its name in a namespace, once all of it is known.
pub fn id(cluster: &Value<String>, namespace: &Value<String>, name: &Value<String>) -> Option<String> {
    Some(format!("{}/{}/{}", cluster.known()?, namespace.known()?, name.known()?))
}

pub fn place<'a, M: Keeps>(model: &'a M, label: &'a str) -> Place<'a> {
    let Kept { id, namespace, .. } = model.kept();
    Place { resource: M::RESOURCE, id: id.text(), namespace: namespace.text(), label }
}

/// What state says of the objects.
pub fn before<M: Keeps>(prior: &M) -> Before<'_> {
    let Kept { objects, changes, .. } = prior.kept();
    Before { objects, changes }
}

pub fn recorded<M: Keeps>(model: &M, memory: &Memory) -> Recorded {
    Recorded::of(model.kept().objects, memory)
}

/// What an import found is of an instance where its Lease says so: its mark is in state from here on.
pub async fn imported<M: Keeps, P: Remembers>(
    cx: &mut Ctx<Client, P>,
    cluster: &Cluster,
    model: &mut M,
) -> Result<(), Error> {
    let label = model.label();
    (*cx.private.instance(), *model.mark()) = Instance::imported(cluster, &place(model, &label)).await?;
    Ok(())
}

/// What every plan begins with: a cluster that the provider has, and a block that no other one stands for.
pub fn begin<M: Keeps, P>(cx: &Ctx<Client, P>, plan: &Plan<'_, M>) -> Result<(), Diagnostics> {
    let Kept { id, cluster, .. } = plan.planned.kept();
    client::known_cluster(cx, cluster)?;
    if let Some(id) = id.known() {
        let seen = SeenBlock::of(plan, |model| model.kept().instance);
        client::refuse_another(cx, Block { resource: M::RESOURCE, id, attribute: M::ATTRIBUTE, seen })?;
    }
    Ok(())
}

/// Plans the objects; what cannot be told yet is unknown.
pub fn plan<M: Keeps, P: Remembers>(cx: &mut Ctx<Client, P>, plan: &mut Plan<'_, M>, wanted: Option<&Wanted>) {
    let kept = plan.planned.kept();
    let held = cx.client().map(|client| client.walk.handed_on(kept.id.text())).unwrap_or_default();
    cx.private.memory().give_held(held);
    let unchangeable = plan.prior.zip(wanted).and_then(|(prior, wanted)| {
        let before = recorded(prior, cx.private.memory());
        fixed::warning(prior.kept().id.text(), &before, wanted)
    });
    let planned = wanted.map(|wanted| {
        let memory = &*cx.private.memory();
        let before = plan.prior.map(before);
        planning::Planning { id: kept.id.text(), before, memory, force_conflicts: kept.force_conflicts }.objects(wanted)
    });
    let Planned { objects, changes, warning } =
        planned.unwrap_or(Planned { objects: Value::Unknown, changes: Value::Unknown, warning: None });
    let differ = |prior: &M| !objects.is_unknown() && *prior.kept().objects != objects;
    let explained = plan.prior.filter(|prior| differ(prior)).and_then(|prior| {
        let cluster = prior.kept().cluster.text();
        telling::explained(cx.private.memory(), cluster)
    });
    plan.planned.note(objects, changes);
    warning.into_iter().chain(explained).chain(unchangeable).for_each(|warning| cx.warn(warning));
}

/// What a plan tells charts that ask this about the cluster; `None` where only the apply can know.
pub async fn told<M: Keeps, P: Remembers>(cx: &mut Ctx<Client, P>, plan: &Plan<'_, M>, asks: Asks) -> Option<Answers> {
    let cluster = plan.planned.kept().cluster.known().and_then(|name| client::briefly(cx, name));
    let planning = telling::Planning { cluster, is_new: plan.prior.is_none(), asks };
    let told = telling::planned(cx.private.memory(), planning).await;
    told.map(|told| for_call(cx, told))
}

/// With what renders for all resources, and what ends it for this call.
pub fn for_call<P>(cx: &Ctx<Client, P>, told: Answers) -> Answers {
    let stopped = cx.cancellation().clone();
    let ends = Ends::new(cx.deadline(), move || stopped.is_cancelled());
    let renderer = cx.client().map(|client| client.renderer.clone()).unwrap_or_default();
    Answers { ends, renderer, ..told }
}

/// What an apply tells them.
pub async fn told_to_apply<P: Remembers>(
    cx: &mut Ctx<Client, P>,
    cluster: &Cluster,
    asks: Asks,
) -> Result<Answers, Diagnostic> {
    let told = telling::to_apply(cx.private.memory(), cluster, asks).await?;
    Ok(for_call(cx, told))
}

/// Renders for a plan, and asks what kinds are that nobody knows yet; `None` where only the apply can know.
pub async fn rendered<M: Keeps, P: Remembers, T>(
    cx: &mut Ctx<Client, P>,
    plan: &Plan<'_, M>,
    told: Answers,
    mut render: impl FnMut(&Answers) -> Result<T, render::Error>,
) -> Result<Option<T>, Diagnostics> {
    let cluster = plan.planned.kept().cluster.known().and_then(|name| client::briefly(cx, name));
    let rendered = match &cluster {
        Some(cluster) => telling::rendered(cx.private.memory(), cluster, told, render).await,
        None => render(&told).map_err(Unrendered::Refused),
    };
    match rendered {
        Ok(rendered) => Ok(Some(rendered)),
        Err(Unrendered::Refused(render::Error::Kind(_))) => Ok(None),
        Err(Unrendered::Unanswered(_)) => Ok(None),
        Err(Unrendered::Refused(error)) => Err(render::diagnostic(&error).into()),
    }
}

/// Renders for an apply.
pub async fn rendered_to_apply<P: Remembers, T>(
    cx: &mut Ctx<Client, P>,
    cluster: &Cluster,
    told: Answers,
    render: impl FnMut(&Answers) -> Result<T, render::Error>,
) -> Result<T, Diagnostic> {
    let rendered = telling::rendered(cx.private.memory(), cluster, told, render).await;
    rendered.map_err(|error| error.diagnostic())
}

/// The mark of an instance that is there: what every plan ends with.
pub fn end<M: Keeps, P: Remembers>(cx: &mut Ctx<Client, P>, plan: &mut Plan<'_, M>) {
    let is_update = plan.is_update();
    if plan.prior.is_some() {
        cx.private.instance().plan_mark(plan.planned.mark(), is_update);
    }
}

/// What a claim is for.
pub struct Claiming {
    pub purpose: Purpose,
    /// Take the instance over from whoever manages it.
    pub adopt: bool,
}

impl Claiming {
    /// An apply, as the model asks for it.
    pub fn of<M: Keeps>(state: &M, prior: Option<&M>) -> Claiming {
        Claiming { purpose: Purpose::of(prior), adopt: state.kept().adopt }
    }
}

/// Claims the instance for an apply; its mark is in state from here on.
pub async fn claim<M: Keeps, P: Remembers>(
    cx: &mut Ctx<Client, P>,
    cluster: &Cluster,
    state: &mut M,
    prior: Option<&M>,
    claiming: Claiming,
) -> Result<Claim, Diagnostic> {
    let Claiming { purpose, adopt } = claiming;
    let label = state.label();
    let mark = match prior {
        Some(prior) => prior.kept().instance.known(),
        // Of a create that begins again.
        None => state.kept().instance.known(),
    };
    let mark = mark.map(String::as_str);
    let kinds = state.kinds();
    let asked = Asked { cluster, place: place(state, &label), purpose, kinds: &kinds, mark, adopt };
    let mut claim = claim::claim(asked, cx.private.instance()).await?;
    claim.notice.take().into_iter().for_each(|warning| cx.warn(warning));
    state.mark().fill(|| claim.owner.mark.clone());
    Ok(claim)
}

/// Brings the cluster to what is wanted, and notes in state what was reached; with errors, on the way.
pub async fn converge<M: Keeps, P: Remembers>(
    cx: &mut Ctx<Client, P>,
    claim: &Claim,
    wanted: &Wanted,
    prior: Option<&M>,
    state: &mut M,
) -> Result<Recorded, Diagnostics> {
    let recorded = prior.map(|prior| recorded(prior, cx.private.memory())).unwrap_or_default();
    let planned = planned_changes(cx, wanted, prior, state);
    let told = prior.map(|prior| prior.kept().changes);
    if let Some(refused) = fixed::refusal(state.kept().id.text(), &recorded, wanted) {
        let changes = changes::reached(&planned, told, &wanted.recorded(), &recorded);
        state.note(cx.private.memory().record(&recorded), changes);
        return Err(refused.into());
    }
    let Kept { adopt, force_conflicts, .. } = state.kept();
    let step = Converge {
        cluster: &claim.cluster(),
        wanted,
        prior: &recorded,
        taken: &BTreeSet::new(),
        adopt,
        force: force_conflicts.get() == Some(true),
        kinds: &state.kinds(),
        strays: Strays::AtHome,
    };
    // Who brings webhooks waits for what serves them.
    let converged = claim.converge_serving(step, cx.private.memory()).await;
    let converged = converged?;
    converged.warning().into_iter().for_each(|warning| cx.warn(warning));
    let Converged { recorded, errors, .. } = converged;
    let changes = changes::reached(&planned, told, &wanted.recorded(), &recorded);
    state.note(cx.private.memory().record(&recorded), changes);
    if errors.is_empty() { Ok(recorded) } else { Err(converge::diagnostics(&errors)) }
}

/// What the plan said of changes, or would have.
pub fn planned_changes<M: Keeps, P: Remembers>(
    cx: &mut Ctx<Client, P>,
    wanted: &Wanted,
    prior: Option<&M>,
    state: &M,
) -> Value<Map<String>> {
    let planned = state.kept().changes;
    match planned.is_unknown() {
        true => changes::planned(prior.map(before), cx.private.memory(), &wanted.recorded()),
        false => planned.clone(),
    }
}

/// The apply has come to its end.
pub async fn finish<P: Remembers>(cx: &mut Ctx<Client, P>, claim: Claim) {
    claim.finish(cx.private.instance()).await.into_iter().for_each(|warning| cx.warn(warning));
}

/// The end of an apply that may be refused between its claim and its first write: nothing stays of a create that was.
pub async fn end_apply<M, P: Remembers>(
    cx: &mut Ctx<Client, P>,
    claim: Claim,
    outcome: Result<M, Failed<M>>,
) -> Result<M, Failed<M>> {
    match &outcome {
        Ok(_) => finish(cx, claim).await,
        Err(_) => claim.refused(cx.private.instance()).await.into_iter().for_each(|warning| cx.warn(warning)),
    }
    outcome
}

/// What a refresh found.
pub enum Refreshed {
    /// Nobody could be asked: state stays as it is.
    Silent,
    Gone,
    Seen(Box<Seen>),
}

/// Reads the objects, says what is to be said of them, and notes in state what is there.
pub async fn refresh<M: Keeps, P: Remembers>(
    cx: &mut Ctx<Client, P>,
    cluster: &Cluster,
    state: &mut M,
) -> Result<Refreshed, Diagnostics> {
    let kept = state.kept();
    let (id, namespace) = (kept.id.text().to_owned(), kept.namespace.text().to_owned());
    let owner = cx.private.instance().owner(&state.label(), kept.instance);
    let memory = cx.private.memory().clone();
    let recorded = Recorded::of(kept.objects, &memory);
    let look = Look { cluster, recorded: &recorded, memory: &memory, owner: &owner, lease_in: Some(&namespace) };
    let seen = match look.look().await? {
        Looked::Seen(seen) => seen,
        Looked::Silent(warning) => {
            cx.warn(warning);
            return Ok(Refreshed::Silent);
        }
    };
    telling::refresh(cx.private.memory(), cluster).await;
    leaving::namespace(cluster, &namespace, &seen).await.into_iter().for_each(|warning| cx.warn(warning));
    if seen.is_gone {
        return Ok(Refreshed::Gone);
    }
    let lease = LeaseOf { cluster, namespace: &namespace, owner: &owner };
    handover::refresh(lease, cx.private.instance()).await.into_iter().for_each(|warning| cx.warn(warning));
    seen.warnings(&id).into_iter().for_each(|warning| cx.warn(warning));
    let (objects, changes) = seen.note(cx.private.memory(), state.kept().changes);
    state.note(objects, changes);
    let held = cx.private.memory().take_held();
    cx.client()?.walk.hand_on(&id, held);
    Ok(Refreshed::Seen(seen))
}

/// Removes the objects, and leaves the namespace. What had to stay is said.
pub async fn remove<M: Keeps, P: Remembers>(cx: &mut Ctx<Client, P>, mut state: M) -> Result<(), Failed<M>> {
    let kept = state.kept();
    let cluster = client::own(cx, kept.cluster.text()).await?;
    let (label, namespace) = (state.label(), kept.namespace.text().to_owned());
    let (place, mark) = (place(&state, &label), kept.instance.as_deref());
    let asked = Asked { cluster: &cluster, place, purpose: Purpose::Destroy, kinds: &[], mark, adopt: false };
    let claim = claim::claim(asked, cx.private.instance()).await?;
    let kinds = claim.orphan_kinds(&state.kinds()).await;
    let kinds = kinds.map_err(|error| report::one_at_destroy(&error, FORGETTING))?;
    let removal = Removal {
        cluster: &claim.cluster(),
        recorded: &recorded(&state, cx.private.memory()),
        memory: cx.private.memory(),
        owner: &claim.owner,
        orphan_kinds: &kinds,
        namespace: &namespace,
        wait_for_definitions: true,
        stays: |_: &Object| None,
    };
    let Remaining { recorded, mut left, errors, .. } = removal.run().await;
    if !errors.is_empty() {
        report::left(&left).into_iter().for_each(|warning| cx.warn(warning));
        let changes = state.kept().changes.clone();
        state.note(cx.private.memory().record(&recorded), changes);
        return Err(Failed::from(report::at_destroy(&errors, FORGETTING)).keeping(state));
    }
    match claim.leave(&[]).await {
        Ok(stays) => left.extend(stays.map(|why| format!("Namespace {namespace}: {why}"))),
        Err(error) => return Err(Failed::from(report::at_destroy([&error], FORGETTING)).keeping(state)),
    }
    report::left(&left).into_iter().for_each(|warning| cx.warn(warning));
    Ok(())
}
