//! `mesh_remote_cluster`: lets istiods watch a cluster. Gather, parse, build, apply and wait, state: in this order,
//! here to be read.

mod build;
mod credential;
mod diagnose;
mod equality;
mod gather;
mod import;
mod link;
mod link_token;
mod list;
mod model;
mod moved;
mod neighbours;
mod plan;
mod policies;
mod refresh;
mod remote;
mod remove;
mod renewal;
mod secret;
mod short;
mod spec;
mod state;
mod token_spec;
mod trusted;
mod unlink;
mod watcher;
mod written;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use self::build::Charts;
use self::link::Established;
pub use self::model::RemoteCluster;
use self::model::Sync;
use self::spec::{Endpoint, Spec};
use self::watcher::{Link, RenewalBefore};
pub use self::written::written;
use super::charts::{FETCHING, Noted, Store, Unavailable, Version};
use super::client::{self, Client};
use crate::cluster::{Cluster, Error, Kind, Owner};
use crate::diag::{Diagnostic, Diagnostics};
use crate::engine::{Change, Ctx, Failed, Import, Moved, Plan, Reached, Resource};
use crate::keeps;
use crate::kept::claim::Claim;
use crate::kept::instance::Instance;
use crate::kept::memory::Memory;
use crate::kept::noted::Place;
use crate::kept::told::Told;
use crate::mesh::{Revision, SecretForm};
use crate::model;
use crate::resources::again;
use crate::resources::keeping::{self, Claiming};
use crate::resources::parsing;
use crate::resources::versions::{self, Version as Followed};
use crate::resources::walk::Walk;
use crate::value::{Map, Value};

/// A cluster that istiods watch.
pub struct MeshRemoteCluster;

model! {
    /// What tells a watched cluster from all others.
    pub struct Identity {
        /// Key of the provider's `clusters`.
        #[attr(required)]
        pub cluster: Value<String>,
        /// Namespace of Istio.
        #[attr(optional)]
        pub namespace: Value<String>,
        /// The id by which Istio knows the cluster; `cluster` where nothing is set.
        #[attr(optional)]
        pub cluster_name: Value<String>,
    }
}

/// Kept beside the state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Private {
    #[serde(flatten)]
    instance: Instance,
    #[serde(default, alias = "spellings")]
    memory: Memory,
    /// Version of the charts that were applied: a new default must not upgrade what is there.
    #[serde(default)]
    chart_version: Option<String>,
    /// The API server's address by which the provider reaches the watched cluster, as the last refresh saw it: a
    /// kubeconfig that is changed between a saved plan and its apply must not change the plan.
    #[serde(default)]
    server: Option<String>,
    /// The charts, as the last refresh saw them where they come from.
    #[serde(default)]
    charts: Option<Noted>,
    /// Fingerprint of the watched cluster's own certificate authority, as the last refresh saw it.
    #[serde(default)]
    authority: Option<String>,
}

type Cx = Ctx<Client, Private>;

/// How many watchers are linked at a time.
const AT_ONCE: usize = 8;
/// Kept back from the time allowed, to find out why it was not enough.
const FOR_REASONS: Duration = Duration::from_secs(15);

/// Every kind of object that the resource keeps in the watched cluster.
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
    Kind::MUTATING_WEBHOOK_CONFIGURATION,
    Kind::VALIDATING_WEBHOOK_CONFIGURATION,
    Kind::VALIDATING_ADMISSION_POLICY,
    Kind::VALIDATING_ADMISSION_POLICY_BINDING,
];

keeps!(RemoteCluster, Private, "mesh_remote_cluster" by "cluster", spec::label, |_| Cow::Borrowed(KINDS));

impl Resource for MeshRemoteCluster {
    type Client = Client;
    type Model = RemoteCluster;
    type Identity = Identity;
    type Private = Private;

    const NAME: &'static str = "remote_cluster";
    const VERSION: i64 = 1;

    fn validate(&self, config: &RemoteCluster, diagnostics: &mut Diagnostics) {
        if let Err(errors) = Spec::parse(config) {
            diagnostics.append(errors);
        }
    }

    async fn plan(&self, cx: &mut Cx, plan: &mut Plan<'_, RemoteCluster>) -> Result<(), Diagnostics> {
        plan::plan(cx, plan).await?;
        keeping::end(cx, plan);
        Ok(())
    }

    async fn apply(&self, cx: &mut Cx, change: Change<RemoteCluster>) -> Result<RemoteCluster, Failed<RemoteCluster>> {
        match change.prior {
            None => again::apply(cx, change, |cx, change| Box::pin(attempt(cx, change))).await,
            Some(_) => attempt(cx, change).await,
        }
    }

    async fn read(&self, cx: &mut Cx, state: RemoteCluster) -> Result<Option<RemoteCluster>, Diagnostics> {
        refresh::refresh(cx, state, Timestamp::now().as_second()).await
    }

    async fn delete(&self, cx: &mut Cx, state: RemoteCluster) -> Result<(), Failed<RemoteCluster>> {
        remove::remove(cx, state).await
    }

    async fn import(&self, cx: &mut Cx, from: Import<Identity>) -> Result<RemoteCluster, Diagnostics> {
        import::import(cx, from).await
    }

    fn upgrade(&self, _from: i64, state: serde_json::Value) -> Result<serde_json::Value, Diagnostics> {
        Ok(crate::kept::objects::upgraded(state))
    }

    fn adopt(&self, source: Moved) -> Result<Option<RemoteCluster>, Diagnostics> {
        Ok(moved::adopt(&source)?)
    }

    async fn find(&self, cx: &mut Ctx<Client>, moved: RemoteCluster) -> Result<Identity, Diagnostics> {
        moved::find(cx, &moved).await
    }

    fn identity(&self, model: &RemoteCluster) -> Identity {
        Identity {
            cluster: model.cluster.clone(),
            namespace: model.namespace.clone(),
            cluster_name: model.cluster_name.clone(),
        }
    }

    fn generate_config(&self, state: &RemoteCluster, config: &mut RemoteCluster) {
        if state.cluster_name == state.cluster {
            config.cluster_name = Value::Null;
        }
    }
}

async fn attempt(cx: &mut Cx, change: Change<RemoteCluster>) -> Result<RemoteCluster, Failed<RemoteCluster>> {
    let Change { prior, planned: mut state, reached, .. } = change;
    derive_names(&mut state);
    let spec = parsing::complete(Spec::parse(&state)?)?;
    if state.renew_within.is_unknown() {
        state.renew_within = spec.renew_within().into();
    }
    client::all_own(cx, places(&spec, prior.as_ref().into_iter().chain([&state]))).await?;
    if !state.instance.is_unknown() && prior.as_ref().is_some_and(|prior| state::untouched(prior, &state)) {
        return Ok(state);
    }
    let watched = client::own(cx, state.cluster.text()).await?;
    let found = gather::refuse_another_endpoint(&watched, &spec, &state).await?;
    let claiming = Claiming::of(&state, prior.as_ref());
    let claim = match keeping::claim(cx, &watched, &mut state, prior.as_ref(), claiming).await {
        Ok(claim) => claim,
        // Nothing was written. What a destroy is to do without a cluster that is gone is remembered all the same: no
        // other apply could say it.
        Err(error) => {
            let skip_unreachable_on_destroy = state.skip_unreachable_on_destroy;
            let partial = prior.map(|prior| RemoteCluster { skip_unreachable_on_destroy, ..prior });
            return Err(Failed { diagnostics: error.into(), partial });
        }
    };
    let job = Job { spec: &spec, prior: prior.as_ref(), found, reached };
    let outcome = job.run(cx, &claim, state).await;
    if let Ok(state) = &outcome {
        let places = places(&spec, [state]);
        cx.private.instance.is_only_in(places.iter().map(String::as_str));
    }
    keeping::end_apply(cx, claim, outcome).await
}

/// What is written, and waited for, once the cluster is claimed.
struct Job<'a> {
    spec: &'a Spec,
    prior: Option<&'a RemoteCluster>,
    /// The address for the watchers, where it had to be known before.
    found: Option<Endpoint>,
    reached: Reached<RemoteCluster>,
}

impl Job<'_> {
    async fn run(
        self,
        cx: &mut Cx,
        claim: &Claim,
        mut state: RemoteCluster,
    ) -> Result<RemoteCluster, Failed<RemoteCluster>> {
        let Job { spec, prior, found, reached } = self;
        let watched = claim.cluster();
        // Nothing is written yet: what the link is, state goes on saying.
        let as_before = |error| Failed { diagnostics: Diagnostics::from(error), partial: prior.cloned() };
        short::refuse_loosened(&watched, &claim.owner, spec, prior).await.map_err(as_before)?;
        refresh::note_sources(cx, &watched, spec, &state).await?;
        objects(cx, claim, spec, prior, &mut state).await?;
        // What an apply that fails leaves linked, state has to know.
        let linked = |state: &RemoteCluster, gone: &BTreeSet<String>| state::still_linked(state.clone(), prior, gone);
        let none_gone = BTreeSet::new();
        reached.set(linked(&state, &none_gone));

        let failed = |error: Diagnostic, state: &RemoteCluster| Failed::from(error).keeping(linked(state, &none_gone));
        let endpoint = match found {
            Some(found) => found,
            None => gather::endpoint(&watched, &spec.endpoint).await.map_err(|error| failed(error, &state))?,
        };
        state.server_url = endpoint.server.as_str().to_owned().into();
        state.certificate_authority_fingerprint =
            endpoint.certificate_authority.as_deref().map(secret::fingerprint).into();
        cx.private.authority = match spec.endpoint.certificate_authority {
            Some(_) => None,
            None => state.certificate_authority_fingerprint.known().cloned(),
        };

        let same = |prior: &RemoteCluster| {
            prior.server_url == state.server_url
                && prior.certificate_authority_fingerprint == state.certificate_authority_fingerprint
                && prior.tls_server_name == state.tls_server_name
                && prior.proxy_url == state.proxy_url
        };
        if (claim.interrupted || !prior.is_some_and(same))
            && let Some(refused) = diagnose::refused_before(&watched, &spec.endpoint, &endpoint).await
        {
            return Err(failed(refused, &state));
        }
        if claim.owner.unmarked {
            let marked = credential::mark(&watched, spec, &claim.owner).await;
            marked.map_err(|error| failed(Diagnostic::from(&error), &state))?;
        }
        let noted = noted(claim, spec, prior).await.map_err(|error| failed(Diagnostic::from(&error), &state))?;
        let errors = links(
            cx,
            &Links {
                watched: &watched,
                owner: &claim.owner,
                spec,
                endpoint: &endpoint,
                prior,
                interrupted: claim.interrupted,
                now: Timestamp::now().as_second(),
            },
            &mut state,
        )
        .await?;
        reached.set(linked(&state, &none_gone));
        if errors.has_errors() {
            return Err(Failed::from(errors).keeping(linked(&state, &none_gone)));
        }
        let dropped = prior.map(|prior| remove::dropped(prior, spec)).unwrap_or_default();
        let is_named = |name: &str| spec.watchers.contains(name) || dropped.contains(name);
        let strangers = remove::strangers(prior, &noted, is_named);
        let leaving = remove::Leaving { dropped: &dropped, strangers: &strangers, prior, state: &state };
        let (gone, errors) = remove::watchers(cx, claim, spec, leaving).await;
        reached.set(linked(&state, &gone));
        if errors.has_errors() {
            return Err(Failed::from(errors).keeping(linked(&state, &gone)));
        }
        if spec.link_token.is_some() && !gone.is_empty() {
            let forgotten = claim.forget_places(&gone).await;
            forgotten.map_err(|error| Failed::from(Diagnostic::from(&error)).keeping(state.clone()))?;
        }
        if spec.wait {
            match remote::ready(&watched, spec, cx.deadline()).await {
                Ok(warning) => warning.into_iter().for_each(|warning| cx.warn(warning)),
                Err(errors) => return Err(Failed::from(errors).keeping(state)),
            }
        }
        Ok(state)
    }
}

/// Watchers that an interrupted apply has noted. Those that are about to be added are noted now.
async fn noted(claim: &Claim, spec: &Spec, prior: Option<&RemoteCluster>) -> Result<BTreeSet<Place>, Error> {
    let noted = claim.noted_places().await?;
    claim.note_places(&remove::without_a_trace(prior, spec)).await?;
    Ok(noted)
}

/// Computed names that follow from others.
fn derive_names(model: &mut RemoteCluster) {
    if !model.cluster_name.is_known() {
        model.cluster_name = model.cluster.clone();
    }
    let (Some(cluster), Some(namespace), Some(id)) =
        (model.cluster.known(), model.namespace.known(), model.cluster_name.known())
    else {
        return;
    };
    model.id = format!("{cluster}/{namespace}/{id}").into();
    if !model.secret_name.is_known()
        && let (Ok(id), Some(mode)) = (crate::mesh::ClusterName::new(id.as_str()), model.mode.known())
    {
        let form = if mode == "config" { SecretForm::Config } else { SecretForm::Remote };
        model.secret_name = form.secret_name(&id).into();
    }
}

/// The clusters that hold something of the link.
fn places<'a>(spec: &Spec, states: impl IntoIterator<Item = &'a RemoteCluster>) -> BTreeSet<String> {
    let mut places = BTreeSet::new();
    for state in states {
        let watchers = state.sync.keys().chain(spec.watchers.iter().map(String::as_str));
        let held = watchers.flat_map(|watcher| [watcher, spec.secrets_of(watcher)]).chain([state.cluster.text()]);
        places.extend(held.map(str::to_owned));
    }
    places
}

/// The id and revision of the control plane that serves the cluster, in the mode `remote`.
fn served_by(spec: &Spec) -> Option<(&str, Option<&str>)> {
    let remote = spec.remote.as_ref()?;
    let name = remote.system_namespace.control_planes.first().unwrap_or(&spec.id);
    Some((name.as_str(), remote.data_plane.revision.as_ref().map(Revision::as_str)))
}

/// The same as [`follow`], once what the configuration declares of that control plane is known. `false` where the
/// version of the charts is not known yet.
async fn follow_in_plan(cx: &mut Cx, plan: &Plan<'_, RemoteCluster>, spec: &Spec) -> bool {
    let model = &plan.planned;
    if let Some((name, revision)) = served_by(spec) {
        let is_declared = |walk: &Walk| {
            let namespace = spec.namespace.as_str();
            let cluster = walk.runs_in(name, revision);
            cluster
                .is_some_and(|cluster| walk.has_planned(versions::Followed { cluster: &cluster, namespace, revision }))
        };
        versions::wait_for(cx, model.charts.known(), is_declared).await;
    }
    match follow(cx, model, spec).await {
        Followed::Known(_) | Followed::Named => true,
        // It may be planned after this one.
        Followed::Unknown => plan.prior.is_some(),
        Followed::Open => false,
    }
}

/// Takes the version of the control plane that serves the cluster for that of the charts.
async fn follow(cx: &mut Cx, model: &RemoteCluster, spec: &Spec) -> Followed {
    let Some((name, revision)) = served_by(spec) else { return Followed::Named };
    if cx.client().is_ok_and(|client| client.charts.names_version(model.charts.known())) {
        return Followed::Named;
    }
    let declared = cx.client().ok().and_then(|client| client.walk.runs_in(name, revision));
    let only = || spec.watchers.first().filter(|_| spec.watchers.len() == 1).cloned();
    let Some(cluster) = declared.or_else(only) else { return Followed::Unknown };
    let followed = versions::Followed { cluster: &cluster, namespace: spec.namespace.as_str(), revision };
    let version = versions::follow(cx, model.charts.known(), followed).await;
    if let Followed::Known(version) = &version {
        cx.private.chart_version = Some(version.clone());
    }
    version
}

/// The charts of the remote profile.
async fn charts(cx: &Cx, model: &RemoteCluster) -> Result<Charts, Unavailable> {
    let version = Version { asked: None, remembered: cx.private.chart_version.as_deref() };
    let store = &cx.client().map_err(Unavailable::Wrong)?.charts;
    cx.run(FETCHING, charts_of(store, model, version)).await.map_err(Unavailable::Wrong)?
}

async fn charts_of(store: &Store, model: &RemoteCluster, version: Version<'_>) -> Result<Charts, Unavailable> {
    let (base, istiod) = tokio::try_join!(
        store.chart("base", model.charts.known(), version),
        store.chart("istiod", model.charts.known(), version)
    )?;
    Ok(Charts { base, istiod, told: Told::default().answers_to_charts() })
}

/// The reader and, in the mode `remote`, the remote profile.
async fn objects(
    cx: &mut Cx,
    claim: &Claim,
    spec: &Spec,
    prior: Option<&RemoteCluster>,
    state: &mut RemoteCluster,
) -> Result<(), Failed<RemoteCluster>> {
    if cx.private.chart_version.is_none() {
        follow(cx, state, spec).await;
    }
    let mut charts = match spec.remote {
        Some(_) => Some(charts(cx, state).await.map_err(Diagnostics::from)?),
        None => None,
    };
    let asks = charts.as_ref().map(|charts| charts.asks(spec)).unwrap_or_default();
    let watched = claim.cluster();
    let told = keeping::told_to_apply(cx, &watched, asks).await?;
    let wanted = keeping::rendered_to_apply(cx, &watched, told, |told| {
        charts.iter_mut().for_each(|charts| charts.told.clone_from(told));
        build::wanted(spec, charts.as_ref())
    });
    let wanted = wanted.await?;
    cx.private.chart_version = charts.map(|charts| charts.istiod.version().to_owned());
    let Err(errors) = keeping::converge(cx, claim, &wanted, prior, state).await else { return Ok(()) };
    // No watcher has been touched yet.
    (state.sync, state.tokens, state.token_expires_at) = match prior {
        Some(prior) => (prior.sync.clone(), prior.tokens.clone(), prior.token_expires_at.clone()),
        None => (Value::Known(Map::new()), Value::Known(Map::new()), Value::Null),
    };
    Err(Failed::from(errors).keeping(state.clone()))
}

/// What the links have in common.
struct Links<'a> {
    watched: &'a Cluster,
    owner: &'a Owner,
    spec: &'a Spec,
    endpoint: &'a Endpoint,
    prior: Option<&'a RemoteCluster>,
    /// An apply before this one may have made what state does not know.
    interrupted: bool,
    /// Seconds since 1970.
    now: i64,
}

/// Links every watcher that the plan left open, several at a time, and marks the others where the state is older than
/// marks. What came of each is in state; the errors are returned.
async fn links(cx: &mut Cx, links: &Links<'_>, state: &mut RemoteCluster) -> Result<Diagnostics, Diagnostics> {
    let Links { watched, owner, spec, endpoint, prior, interrupted, now } = *links;
    let until = cx.deadline().checked_sub(FOR_REASONS).unwrap_or_else(|| cx.deadline());
    let client = cx.client()?.clone();
    let is_open = |watcher: &str| state.sync.entry(watcher).is_none_or(|link| link.verdict.is_unknown());
    let touched: Vec<&String> =
        spec.watchers.iter().filter(|watcher| owner.unmarked || is_open(watcher.as_str())).collect();
    let watchers: Vec<Cluster> = touched
        .iter()
        .map(|watcher| client::cluster(cx, watcher).map_err(|error| error.at("watchers")))
        .collect::<Result<_, _>>()?;
    let secrets: Vec<Cluster> = touched
        .iter()
        .map(|watcher| client::cluster(cx, spec.secrets_of(watcher)).map_err(|error| error.at("config_cluster")))
        .collect::<Result<_, _>>()?;
    let secret_name = state.secret_name.text().to_owned();
    let keeps = |watcher: &str| {
        let token = state.tokens.entry(watcher);
        token.is_some_and(|token| {
            matches!(token.condition.as_deref(), Some("valid" | "renewed")) && !token.expires_at.is_unknown()
        })
    };
    let (mut works, mut marks) = (Vec::new(), Vec::new());
    for (watcher, secrets) in watchers.iter().zip(&secrets) {
        let link = Link {
            walk: &client.walk,
            owner,
            watched,
            watcher,
            secrets,
            until,
            now,
            spec,
            endpoint,
            secret_name: &secret_name,
            known: prior.is_some_and(|prior| prior.sync.entry(watcher.name()).is_some()),
            may_have_tokens: prior.is_some() || interrupted,
            keep_token: keeps(watcher.name()),
            renewal_before: RenewalBefore::of(prior, interrupted),
        };
        match is_open(watcher.name()) {
            true => works.push(async move { (watcher, link::establish(link).await) }),
            false => marks.push(link::mark(link)),
        }
    }
    let unmarked: Vec<Option<Diagnostic>> = futures::stream::iter(marks).buffer_unordered(AT_ONCE).collect().await;
    let made: Vec<(&Cluster, Established)> = futures::stream::iter(works).buffer_unordered(AT_ONCE).collect().await;

    let mut errors: Diagnostics = unmarked.into_iter().flatten().collect();
    let (mut sync, mut tokens) = (state.sync.clone().or_default(), state.tokens.clone().or_default());
    for (watcher, made) in made {
        let name = watcher.name().to_owned();
        errors.extend(made.error);
        made.warning.into_iter().for_each(|warning| cx.warn(warning));
        let before =
            prior.and_then(|prior| Some((prior.sync.entry(&name)?.clone(), prior.tokens.entry(&name)?.clone())));
        let now = made.written.map(|standing| {
            let secret = state::expected_shape_of(spec, endpoint).into();
            let version = made
                .istiod_version
                .or_else(|| before.as_ref().and_then(|(link, _)| link.istiod_version.known().cloned()));
            // What the plan promised of a token that stays is kept to, though time has gone on.
            let planned = state.tokens.entry(&name).filter(|_| made.kept).cloned();
            (
                Sync { verdict: made.verdict.as_str().into(), istiod_version: version.into(), secret },
                planned.unwrap_or_else(|| state::token_state(&standing)),
            )
        });
        match now.or(before) {
            Some((link, token)) => {
                sync.insert(name.clone(), link.into());
                tokens.insert(name, token.into());
            }
            None => {
                sync.remove(&name);
                tokens.remove(&name);
            }
        }
    }
    (state.sync, state.tokens) = (Value::Known(sync), Value::Known(tokens));
    state.token_expires_at = state::earliest(&state.tokens);
    Ok(errors)
}
