//! `mesh_primary`: a control plane. Gather, parse, build, apply and wait, state: in this order, here to be read.

mod agents;
mod ahead;
mod base;
mod build;
mod declare;
mod exposure;
mod findings;
mod gateway_api;
mod import;
mod list;
mod model;
mod moved;
mod networks;
mod ready;
mod remove;
mod rollout;
mod spec;
mod values;
mod written;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use self::ahead::Ahead;
use self::build::{Agents, Charts, Releases};
pub use self::model::Primary;
use self::spec::Spec;
pub use self::written::written;
use super::charts::{FETCHING, Noted, Store, Unavailable, Version};
use super::client::{self, Client};
use crate::cluster::{Cluster, Kind};
use crate::diag::{Diagnostic, Diagnostics};
use crate::engine::{Change, Ctx, Failed, Import, Moved, Plan, Reached, Resource};
use crate::keeps;
use crate::kept::changes;
use crate::kept::claim::{Claim, Purpose};
use crate::kept::converge::{self, Converge, Converged, Strays};
use crate::kept::instance::Instance;
use crate::kept::memory::Memory;
use crate::kept::objects::{Recorded, Wanted, state_key};
use crate::kept::told::Told;
use crate::kept::{fixed, namespace, render, vanished};
use crate::mesh::{Platform, istiod_name_of};
use crate::model;
use crate::resources::again;
use crate::resources::charts;
use crate::resources::keeping::{self, Claiming, Refreshed};
use crate::resources::parsing;
use crate::value::{Map, Value};

/// A control plane in one cluster.
pub struct MeshPrimary;

model! {
    /// What tells a control plane from all others.
    pub struct Identity {
        /// Key of the provider's `clusters`.
        #[attr(required)]
        pub cluster: Value<String>,
        /// System namespace.
        #[attr(optional)]
        pub namespace: Value<String>,
        /// Revision; none for the default control plane.
        #[attr(optional)]
        pub revision: Value<String>,
    }
}

/// Kept beside the state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Private {
    #[serde(flatten)]
    instance: Instance,
    #[serde(default, alias = "spellings")]
    memory: Memory,
    /// Names of the releases, where an import found others than the usual.
    #[serde(default)]
    releases: Releases,
    /// Control planes that come first, by cluster, as the last refresh saw them.
    #[serde(default)]
    ahead: BTreeMap<String, Ahead>,
    /// The version of Istio at the end of the last apply that came to its end. Not in private data of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    finished: Option<String>,
    /// The charts, as the last apply or refresh saw them where they come from.
    #[serde(default)]
    charts: Option<Noted>,
}

type Cx = Ctx<Client, Private>;

keeps!(Primary, Private, "mesh_primary" by "revision", owner, |model| Cow::Owned(kinds(model)));

impl Resource for MeshPrimary {
    type Client = Client;
    type Model = Primary;
    type Identity = Identity;
    type Private = Private;

    const NAME: &'static str = "primary";
    const VERSION: i64 = 1;

    fn validate(&self, config: &Primary, diagnostics: &mut Diagnostics) {
        if let Err(errors) = Spec::parse(config) {
            diagnostics.append(errors);
        }
    }

    async fn plan(&self, cx: &mut Cx, plan: &mut Plan<'_, Primary>) -> Result<(), Diagnostics> {
        // A name that another resource has yet to give is not the cluster's key.
        if !plan.config.cluster_name.is_unknown() {
            derive_names(&mut plan.planned);
        }
        derive_defaults(plan);
        keeping::begin(cx, plan)?;
        client::known_cluster(cx, &plan.planned.config_cluster).map_err(|error| error.at("config_cluster"))?;
        rollout::check(cx, &plan.planned)?;
        let kept = rollout::keeps(cx, plan).await?;
        if let Some(kept) = &kept {
            // As it stands in state, `v` included: the core takes nothing else beside what is configured.
            plan.planned.istio_version = kept.clone().into();
        }
        let spec = Spec::parse(&with_any_root(&plan.planned))?;
        let wanted = match &spec {
            Some(spec) => planned_objects(cx, plan, spec, kept.as_deref()).await?,
            None => None,
        };
        keeping::plan(cx, plan, wanted.as_ref());
        let planned = &mut plan.planned;
        planned.addresses = exposure::planned(plan.prior, planned);
        planned.status = ready::planned(plan.prior, planned);
        keeping::end(cx, plan);
        let version = plan.planned.istio_version.known().cloned();
        cx.client()?.walk.note_version(plan.planned.id.text(), version);
        let Some(spec) = spec else {
            cx.client()?.walk.pending(declare::pending(&plan.planned));
            return Ok(());
        };
        declare::declare(cx, plan, &spec, wanted.as_ref()).await?;
        if plan.prior != Some(&plan.planned)
            && let (Some(wanted), Some(cluster)) = (wanted, client::briefly(cx, plan.planned.cluster.text()))
        {
            let tags: Vec<String> = plan.planned.tags.items().cloned().collect();
            findings::look(&cluster, &spec, &tags, &wanted).await.into_iter().for_each(|warning| cx.warn(warning));
        }
        declare::interlock(cx, plan, &spec).await
    }

    async fn apply(&self, cx: &mut Cx, change: Change<Primary>) -> Result<Primary, Failed<Primary>> {
        again::apply(cx, change, |cx, change| Box::pin(attempt(cx, change))).await
    }

    async fn read(&self, cx: &mut Cx, mut state: Primary) -> Result<Option<Primary>, Diagnostics> {
        if client::without_clusters(cx)? {
            return Ok(Some(state));
        }
        cx.private.ahead = rollout::look(cx, &state).await;
        let has_base = base::holds(&keeping::recorded(&state, &cx.private.memory));
        note_charts(cx, &state, has_base).await?;
        let cluster = cluster(cx, &state).await?;
        let seen = match keeping::refresh(cx, &cluster, &mut state).await? {
            Refreshed::Silent => return Ok(Some(state)),
            Refreshed::Gone => return Ok(None),
            Refreshed::Seen(seen) => seen,
        };
        let istiod = ready::deployment(&state).and_then(|reference| seen.live.get(&state_key(&reference)));
        istiod.and_then(|istiod| ready::at_fault(&state, istiod)).into_iter().for_each(|warning| cx.warn(warning));
        let live = seen.live;
        state.addresses = exposure::seen(&state, &live);
        let deployment = ready::deployment(&state);
        state.status = ready::status(deployment.and_then(|reference| live.get(&state_key(&reference)))).into();
        Ok(Some(state))
    }

    async fn delete(&self, cx: &mut Cx, state: Primary) -> Result<(), Failed<Primary>> {
        remove::remove(cx, state).await
    }

    async fn import(&self, cx: &mut Cx, from: Import<Identity>) -> Result<Primary, Diagnostics> {
        import::import(cx, from).await
    }

    fn upgrade(&self, _from: i64, state: serde_json::Value) -> Result<serde_json::Value, Diagnostics> {
        Ok(crate::kept::objects::upgraded(state))
    }

    fn adopt(&self, source: Moved) -> Result<Option<Primary>, Diagnostics> {
        Ok(moved::adopt(&source)?)
    }

    async fn find(&self, cx: &mut Ctx<Client>, moved: Primary) -> Result<Identity, Diagnostics> {
        moved::find(cx, &moved).await
    }

    fn identity(&self, model: &Primary) -> Identity {
        Identity {
            cluster: model.cluster.clone(),
            namespace: model.namespace.clone(),
            revision: model.revision.clone(),
        }
    }

    fn generate_config(&self, state: &Primary, config: &mut Primary) {
        let namesake = if state.config_cluster.is_null() { &state.cluster } else { &state.config_cluster };
        if state.cluster_name == *namesake {
            config.cluster_name = Value::Null;
        }
    }
}

async fn attempt(cx: &mut Cx, change: Change<Primary>) -> Result<Primary, Failed<Primary>> {
    let Change { prior, planned: mut state, reached, .. } = change;
    derive_names(&mut state);
    let _applying = cx.client()?.walk.applies(state.id.text());
    if let Some(prior) = prior.as_ref().filter(|_| !cx.private.instance.unfinished) {
        cx.private.finished = prior.istio_version.known().cloned();
    }
    let spec = parsing::complete(Spec::parse(&state)?)?;
    let cluster = cluster(cx, &state).await?;
    let recorded = prior.as_ref().map(|prior| keeping::recorded(prior, &cx.private.memory)).unwrap_or_default();
    let (charts, wanted) = rendered(cx, &state, &spec, base::holds(&recorded)).await?;
    note_charts(cx, &state, spec.install_base || base::holds(&recorded)).await?;
    state.changes = keeping::planned_changes(cx, &wanted, prior.as_ref(), &state);
    ready::check_trust_root(&cluster, &spec).await?;
    if let Some(refused) = fixed::refusal(state.id.text(), &recorded, &wanted) {
        return Err(refused.into());
    }
    rollout::look_again(cx, prior.as_ref(), &state, charts.istiod.version()).await?;

    let adopt = spec.adopt || cx.private.instance.imported;
    let claiming = Claiming { purpose: Purpose::of(prior.as_ref()), adopt };
    let claim = keeping::claim(cx, &cluster, &mut state, prior.as_ref(), claiming).await?;
    let job = Job { spec: &spec, charts: &charts, wanted: &wanted, prior: prior.as_ref(), adopt, reached };
    let outcome = job.run(cx, &claim, recorded, state).await;
    if let Ok(state) = &outcome {
        cx.private.finished = state.istio_version.known().cloned();
    }
    keeping::end_apply(cx, claim, outcome).await
}

/// What is written, and waited for, once the control plane is claimed.
struct Job<'a> {
    spec: &'a Spec,
    charts: &'a Charts,
    wanted: &'a Wanted,
    prior: Option<&'a Primary>,
    adopt: bool,
    reached: Reached<Primary>,
}

impl Job<'_> {
    async fn run(
        self,
        cx: &mut Cx,
        claim: &Claim,
        recorded: Recorded,
        mut state: Primary,
    ) -> Result<Primary, Failed<Primary>> {
        let Job { spec, charts, wanted, prior, adopt, reached } = self;
        let cluster = claim.cluster();
        let gone = base::check_owner(&cluster, spec, &claim.owner).await?;
        let recorded = outside_the_namespace(claim, spec, &state, recorded).await?;
        let recorded = base::release(&cluster, spec, &claim.owner, charts, &cx.private.releases, recorded).await?;
        let taken = base::inherit(&cluster, wanted, &gone, &claim.owner, &cx.private.releases, &recorded).await?;
        let kinds = kinds(&state);
        let step = Converge {
            cluster: &cluster,
            wanted,
            prior: &recorded,
            taken: &taken,
            adopt,
            force: spec.force_conflicts,
            kinds: &kinds,
            strays: Strays::AtHome,
        };
        let reach = Reach {
            told: prior.map(|prior| &prior.changes),
            wanted: &wanted.recorded(),
            version: charts.istiod.version(),
        };
        let recorded = match agents::come(claim, step, spec, &mut cx.private.memory).await {
            Ok(recorded) => recorded,
            Err((recorded, diagnostics)) => {
                reach.note(&mut state, &mut cx.private.memory, &recorded);
                return Err(Failed::from(diagnostics).keeping(state));
            }
        };
        let (going, recorded) = agents::departing(&recorded, wanted);
        let step = Converge { prior: &recorded, ..step };
        let converged = claim.converge_serving(step, &mut cx.private.memory).await;
        let converged = converged.map_err(|error| Diagnostic::from(&error))?;
        let warning = converged.warning();
        let Converged { mut recorded, errors, .. } = converged;
        going.objects.keys().for_each(|key| recorded.keep(key, &going));
        reach.note(&mut state, &mut cx.private.memory, &recorded);
        reached.set(state.clone());
        warning.into_iter().for_each(|warning| cx.warn(warning));
        if !errors.is_empty() {
            return Err(Failed::from(converge::diagnostics(&errors)).keeping(state));
        }
        match vanished::while_there(&cluster, &recorded, ready::wait(&cluster, spec, wanted)).await {
            Ok((status, warning)) => {
                state.status.fill(|| status);
                warning.into_iter().for_each(|warning| cx.warn(warning));
            }
            Err(diagnostics) => return Err(Failed::from(diagnostics).keeping(state)),
        }
        if !going.objects.is_empty() {
            let relied_on = !spec.control_plane.cni;
            let going = agents::Going { cluster: &cluster, owner: &claim.owner, going, relied_on };
            let gone = going.go(&mut recorded, &mut cx.private.memory).await;
            state.objects = cx.private.memory.record(&recorded);
            reached.set(state.clone());
            gone.warnings.into_iter().for_each(|warning| cx.warn(warning));
            if !gone.errors.is_empty() {
                return Err(Failed::from(converge::diagnostics(&gone.errors)).keeping(state));
            }
        }
        let hurried = client::hurried(cx, &cluster, exposure::FOR_REASONS);
        let exposed = async { exposure::wait(&cluster, &hurried, spec).await.map_err(Diagnostics::from) };
        match vanished::while_there(&cluster, &recorded, exposed).await {
            // What the plan has promised of an address is kept to, though the balancer may have given another since.
            Ok(addresses) if state.addresses.is_unknown() => state.addresses = addresses,
            Ok(_) => {}
            Err(diagnostics) => return Err(Failed::from(diagnostics).keeping(state)),
        }
        Ok(state)
    }
}

/// Every kind of object that Istio's charts base and istiod bring.
const KINDS: &[Kind] = &[
    Kind::SERVICE_ACCOUNT,
    Kind::CONFIG_MAP,
    Kind::CUSTOM_RESOURCE_DEFINITION,
    Kind::CLUSTER_ROLE,
    Kind::CLUSTER_ROLE_BINDING,
    Kind::ROLE,
    Kind::ROLE_BINDING,
    Kind::SERVICE,
    Kind::ENDPOINT_SLICE,
    Kind::DEPLOYMENT,
    Kind::HORIZONTAL_POD_AUTOSCALER,
    Kind::POD_DISRUPTION_BUDGET,
    Kind::NETWORK_POLICY,
    Kind::MUTATING_WEBHOOK_CONFIGURATION,
    Kind::VALIDATING_WEBHOOK_CONFIGURATION,
    Kind::VALIDATING_ADMISSION_POLICY,
    Kind::VALIDATING_ADMISSION_POLICY_BINDING,
];

/// What the charts of the node agents bring beside those.
const KINDS_OF_AGENTS: &[Kind] = &[Kind::DAEMON_SET, Kind::RESOURCE_QUOTA, Kind::NETWORK_ATTACHMENT_DEFINITION];

/// The kinds in which an apply of this control plane may have left objects that state does not know.
fn kinds(model: &Primary) -> Vec<Kind> {
    let agents = if has_agents(model) { KINDS_OF_AGENTS } else { &[] };
    let policies: &[Kind] = if model.mtls.is_known() { &[Kind::PEER_AUTHENTICATION] } else { &[] };
    KINDS.iter().chain(agents).chain(policies).cloned().collect()
}

/// Whether a control plane has node agents.
fn has_agents(model: &Primary) -> bool {
    let asked = model.ambient.known() == Some(&true) || model.cni.known() == Some(&true);
    asked || model.cni.is_null() && platform(model).is_some_and(Platform::needs_cni)
}

fn platform(model: &Primary) -> Option<Platform> {
    model.platform.known().and_then(|name| Platform::parse(name))
}

/// The namespace of the node agents that are this control plane's to install, where it is not the system namespace.
fn agents_elsewhere(spec: &Spec) -> Option<&str> {
    let namespace = spec.control_plane.agents_namespace.as_ref().filter(|_| spec.install_base)?;
    (*namespace != spec.control_plane.namespace).then_some(namespace.as_str())
}

/// The owner label of the control plane that state describes.
fn owner(model: &Primary) -> String {
    spec::owner(model.namespace.text(), &istiod_name_of(model.revision.as_deref()))
}

/// Computed names that follow from others.
fn derive_names(model: &mut Primary) {
    if !model.cluster_name.is_known() {
        let namesake = if model.config_cluster.is_null() { &model.cluster } else { &model.config_cluster };
        model.cluster_name = namesake.clone();
    }
    if let (Some(cluster), Some(namespace), false) =
        (model.cluster.known(), model.namespace.known(), model.revision.is_unknown())
    {
        model.id = format!("{cluster}/{namespace}/{}", istiod_name_of(model.revision.as_deref())).into();
    }
}

/// What other attributes decide where nothing is said, once: a control plane of before, or an imported one, stays as it
/// is.
fn derive_defaults(plan: &mut Plan<'_, Primary>) {
    let (config, planned) = (plan.config, &mut plan.planned);
    if config.multi_root.is_null() {
        let with_root = !config.trust_root.is_null();
        planned.multi_root = match plan.prior {
            Some(prior) if prior.multi_root.is_null() || !(with_root && prior.trust_root.is_null()) => prior.multi_root,
            _ => with_root.into(),
        };
    }
}

/// A root that is still to be made is waited for by the apply and is in no object: what the objects will be can be told
/// without it.
fn with_any_root(planned: &Primary) -> Cow<'_, Primary> {
    match planned.trust_root.is_unknown() {
        true => Cow::Owned(Primary { trust_root: Value::Null, ..planned.clone() }),
        false => Cow::Borrowed(planned),
    }
}

/// What an apply came to, to be noted in state.
struct Reach<'a> {
    /// `changes` in the state of before.
    told: Option<&'a Value<Map<String>>>,
    wanted: &'a Recorded,
    version: &'a str,
}

impl Reach<'_> {
    fn note(&self, state: &mut Primary, memory: &mut Memory, recorded: &Recorded) {
        state.objects = memory.record(recorded);
        state.changes = changes::reached(&state.changes, self.told, self.wanted, recorded);
        state.istio_version.fill(|| self.version.to_owned());
    }
}

/// The charts, and what they make of the configuration; the base's too where they are asked for or there already.
async fn rendered(
    cx: &mut Cx,
    state: &Primary,
    spec: &Spec,
    holds_base: bool,
) -> Result<(Charts, Wanted), Diagnostics> {
    let version = Version { asked: state.istio_version.as_deref(), remembered: None };
    let mut charts = charts(cx, state, spec.install_base || holds_base, version).await.map_err(Diagnostics::from)?;
    let cluster = cluster(cx, state).await?;
    charts.told = keeping::told_to_apply(cx, &cluster, charts.asks(spec)).await?;
    let (told, releases) = (charts.told.clone(), cx.private.releases.clone());
    build::prepare(spec, &charts, &releases).await.map_err(|error| render::diagnostic(&error))?;
    let wanted = keeping::rendered_to_apply(cx, &cluster, told, |told| {
        charts.told.clone_from(told);
        build::wanted(spec, &charts, &releases)
    });
    let wanted = wanted.await?;
    Ok((charts, wanted))
}

/// Makes the namespace of the node agents, and adds what an interrupted apply has left in one.
async fn outside_the_namespace(
    claim: &Claim,
    spec: &Spec,
    state: &Primary,
    mut recorded: Recorded,
) -> Result<Recorded, Diagnostic> {
    let cluster = claim.cluster();
    if let Some(namespace) = agents_elsewhere(spec) {
        claim.begin();
        namespace::ensure_for_agents(&cluster, namespace, &claim.owner.label).await?;
    }
    if claim.interrupted {
        let elsewhere = remove::places_of_agents(state, &recorded);
        agents::strays(claim, elsewhere, &mut recorded).await?;
    }
    Ok(recorded)
}

/// The objects as they can be told at plan; `None` while the charts cannot be had.
async fn planned_objects(
    cx: &mut Cx,
    plan: &mut Plan<'_, Primary>,
    spec: &Spec,
    kept: Option<&str>,
) -> Result<Option<Wanted>, Diagnostics> {
    if plan.config.istio_version.is_unknown() || cx.client()?.charts.is_open(&plan.planned.charts) {
        return Ok(None);
    }
    if plan.prior.is_some() {
        let (store, saw, charts) = (&cx.client()?.charts, cx.private.charts.as_ref(), plan.planned.charts.known());
        store.refuse_changed(saw, charts).await?;
        if let Some(version) = plan.planned.gateway_api.known() {
            store.refuse_changed_definitions(saw, charts, version.trim_start_matches('v')).await?;
        }
    }
    let remembered = plan.prior.and_then(|prior| prior.istio_version.as_deref());
    let version = Version { asked: kept.or(plan.config.istio_version.as_deref()), remembered };
    let mut charts = match charts(cx, &plan.planned, spec.install_base, version).await {
        Ok(charts) => charts,
        Err(unavailable) => return charts::without_chart(cx, unavailable),
    };
    if kept.is_none() && plan.config.istio_version.is_null() {
        plan.planned.istio_version = charts.istiod.version().to_owned().into();
    }
    let Some(told) = keeping::told(cx, plan, charts.asks(spec)).await else { return Ok(None) };
    charts.told.clone_from(&told);
    let releases = cx.private.releases.clone();
    build::prepare(spec, &charts, &releases).await.map_err(|error| render::diagnostic(&error))?;
    keeping::rendered(cx, plan, told, |told| {
        charts.told.clone_from(told);
        build::wanted(spec, &charts, &releases)
    })
    .await
}

/// Remembers what the charts are now, for the plans that follow.
async fn note_charts(cx: &mut Cx, model: &Primary, has_base: bool) -> Result<(), Diagnostic> {
    let agents = match model.ambient.known() {
        _ if !has_base => &[][..],
        Some(true) => &["cni", "ztunnel"],
        _ if has_agents(model) => &["cni"],
        _ => &[],
    };
    let names: Vec<&str> =
        ["istiod"].into_iter().chain(has_base.then_some("base")).chain(agents.iter().copied()).collect();
    let (version, store) = (model.istio_version.as_deref(), &cx.client()?.charts);
    // Where the time is over, what was noted before stays.
    let noted = store.noted(model.charts.known(), &names, version);
    let Ok(mut noted) = cx.run(FETCHING, noted).await else { return Ok(()) };
    if let (Some(noted), Some(version)) = (&mut noted, model.gateway_api.known().filter(|_| has_base)) {
        store.note_definitions(noted, model.charts.known(), version.trim_start_matches('v')).await;
    }
    charts::remember(cx, |private| &mut private.charts, noted);
    Ok(())
}

/// The charts of one version; what control planes share only where it is needed.
async fn charts<P>(
    cx: &Ctx<Client, P>,
    model: &Primary,
    base: bool,
    version: Version<'_>,
) -> Result<Charts, Unavailable> {
    let store = &cx.client().map_err(Unavailable::Wrong)?.charts;
    cx.run(FETCHING, charts_of(store, model, base, version)).await.map_err(Unavailable::Wrong)?
}

async fn charts_of(store: &Store, model: &Primary, base: bool, version: Version<'_>) -> Result<Charts, Unavailable> {
    let istiod = store.chart("istiod", model.charts.known(), version).await?;
    let base = match base {
        true => Some(store.chart("base", model.charts.known(), version).await?),
        false => None,
    };
    let agents = match base.is_some() && has_agents(model) {
        true => Some(Agents {
            cni: store.chart("cni", model.charts.known(), version).await?,
            ztunnel: match model.ambient.known() {
                Some(true) => Some(store.chart("ztunnel", model.charts.known(), version).await?),
                _ => None,
            },
        }),
        false => None,
    };
    let gateway_api = match model.gateway_api.known().filter(|_| base.is_some()) {
        Some(version) => {
            let version = version.trim_start_matches('v');
            gateway_api::entries(store, model.charts.known(), version, &owner(model)).await?
        }
        None => Vec::new(),
    };
    Ok(Charts { base, istiod, agents, gateway_api, told: Told::default().answers_to_charts() })
}

async fn cluster(cx: &mut Cx, model: &Primary) -> Result<Cluster, Diagnostic> {
    client::own(cx, model.cluster.text()).await
}
