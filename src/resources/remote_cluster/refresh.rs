//! Refresh: what the watched cluster and each watcher hold now. A cluster that does not answer changes nothing but the
//! verdict on it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Cx;
use super::credential::{self, Condition, Judged, Leftovers};
use super::gather;
use super::model::{RemoteCluster, Sync, TokenState};
use super::renewal::{self, Look as RenewalLook};
use super::secret;
use super::spec::Spec;
use super::state::{self, LinkState, Seen, Told};
use crate::cluster::{Cluster, Error, Kind, Object, Owner, Query};
use crate::diag::{Diagnostic, Diagnostics, Severity};
use crate::istiod::{ReplicaView, Verdict};
use crate::kept::converge;
use crate::kept::handover::{self, LeaseOf};
use crate::kept::noted;
use crate::kept::objects::Recorded;
use crate::kept::read::Look;
use crate::kept::telling;
use crate::kept::unfinished;
use crate::resources::charts::{self, FETCHING};
use crate::resources::walk::Walk;
use crate::resources::{client, leaving};
use crate::value::{Map, Value};

/// Notes what the next plan is made from, beside what is in state: the API server's address and the charts. An apply
/// and a refresh note the same, so that a refresh after an apply finds nothing new.
pub async fn note_sources(
    cx: &mut Cx,
    watched: &Cluster,
    spec: &Spec,
    model: &RemoteCluster,
) -> Result<(), Diagnostics> {
    cx.private.server = watched.endpoint().await.ok().map(|endpoint| endpoint.server).or(cx.private.server.take());
    if spec.remote.is_some() {
        let (store, version) = (&cx.client()?.charts, cx.private.chart_version.clone());
        let noted = store.noted(model.charts.known(), &["base", "istiod"], version.as_deref());
        // Where the time is over, what was noted before stays.
        let Ok(noted) = cx.run(FETCHING, noted).await else { return Ok(()) };
        charts::remember(cx, |private| &mut private.charts, noted);
    }
    Ok(())
}

/// `now` in seconds since 1970.
pub async fn refresh(cx: &mut Cx, mut model: RemoteCluster, now: i64) -> Result<Option<RemoteCluster>, Diagnostics> {
    if client::without_clusters(cx)? {
        return Ok(Some(model));
    }
    let Some(spec) = Spec::parse(&model)? else {
        return Err(Diagnostic::bug("An attribute in state is unknown.").into());
    };
    client::all_own(cx, super::places(&spec, [&model])).await?;
    let watched = client::own(cx, model.cluster.text()).await?;
    note_sources(cx, &watched, &spec, &model).await?;
    let namespace = spec.namespace.as_str();
    let (accounts, secrets) = (Query::owned(Kind::SERVICE_ACCOUNT, namespace), Query::owned(Kind::SECRET, namespace));
    let recorded = Recorded::of(&model.objects, &cx.private.memory);
    let (memory, owner) = (cx.private.memory.clone(), cx.private.instance.owner(&spec.owner(), &model.instance));
    let of_objects =
        Look { cluster: &watched, recorded: &recorded, memory: &memory, owner: &owner, lease_in: Some(namespace) };
    let looks = async {
        tokio::try_join!(of_objects.seen(), watched.list(&accounts), watched.list(&secrets), authority(&watched, &spec))
    };
    let (looks, watchers) = tokio::join!(looks, look_at_watchers(cx, &spec, &owner, &model));
    let mut objects_left = true;
    let owned = match looks {
        Ok((seen, accounts, secrets, authority)) => {
            objects_left = !seen.is_gone;
            telling::refresh(&mut cx.private.memory, &watched).await;
            leaving::namespace(&watched, namespace, &seen).await.into_iter().for_each(|warning| cx.warn(warning));
            let lease = LeaseOf { cluster: &watched, namespace, owner: &owner };
            let unsaid = handover::refresh(lease, &mut cx.private.instance).await;
            seen.warnings(model.id.text()).into_iter().chain(unsaid).for_each(|warning| cx.warn(warning));
            note_added(cx, &watched, &spec, &model).await;
            (model.objects, model.changes) = seen.note(&mut cx.private.memory, &model.changes);
            cx.private.authority = authority.or(cx.private.authority.take());
            Some((accounts, secrets))
        }
        Err(error) if error.may_be_missed() => {
            cx.warn(converge::stale(&error));
            None
        }
        Err(error) => return Err(error.into()),
    };
    let watched = Watched { spec: &spec, owner: &owner, owned: owned.as_ref(), now };
    let renew_within = spec.renew_within();
    let links_left = note_watchers(cx, &watched, watchers?, &mut model)?;
    // What the server cut short is renewed within less, which the tokens say.
    if model.renew_within.is_null() || renew_within.is_none() {
        model.renew_within = renew_within.into();
    }
    Ok((objects_left || links_left).then_some(model))
}

/// A killed apply may have added watchers that neither state nor its tokens name: the next apply has to take their
/// remote secrets away.
async fn note_added(cx: &mut Cx, watched: &Cluster, spec: &Spec, model: &RemoteCluster) {
    if spec.link_token.is_none() {
        return;
    }
    let label = spec.owner();
    let of = unfinished::Of { cluster: watched, namespace: spec.namespace.as_str(), label: &label };
    match noted::places_left(of).await {
        Ok(places) => {
            let is_known = |name: &String| spec.watchers.contains(name) || model.sync.entry(name).is_some();
            cx.private.instance.unfinished |= places.iter().any(|(watcher, _)| !is_known(watcher));
        }
        // Whoever may not list Leases refreshes all the same.
        Err(error) if error.is_forbidden() => {}
        Err(error) => cx.warn(converge::stale(&error)),
    }
}

/// The reader's ServiceAccount and what tokens are bound to, where they could be read.
type Owned = (Arc<[Object]>, Arc<[Object]>);

struct Watched<'a> {
    spec: &'a Spec,
    owner: &'a Owner,
    owned: Option<&'a Owned>,
    now: i64,
}

impl Watched<'_> {
    fn leftovers(&self) -> Option<Leftovers> {
        self.owned.map(|(_, secrets)| Leftovers::among(secrets, self.spec, self.owner))
    }
}

/// Fingerprint of the cluster's own authority, where the user gives no other.
async fn authority(watched: &Cluster, spec: &Spec) -> Result<Option<String>, Error> {
    if spec.endpoint.certificate_authority.is_some() {
        return Ok(None);
    }
    match gather::cluster_authority(watched).await {
        Ok(pem) => Ok(pem.as_deref().map(secret::fingerprint)),
        // What was seen before goes on: an identity with the rights of a namespace sees none.
        Err(error) if error.is_forbidden() => Ok(None),
        Err(error) => Err(error),
    }
}

/// One watcher as it answered.
struct Answered {
    watcher: String,
    found: Result<Holds, Diagnostic>,
}

enum Holds {
    /// There is no remote secret.
    Nothing,
    Secret {
        secret: Box<Object>,
        /// What the tokens of all remote secrets there are bound to.
        used: BTreeSet<String>,
        views: Result<Arc<[ReplicaView]>, Error>,
        /// What differs in the job that renews the token, where there shall be one.
        renewal: Result<Vec<String>, Error>,
    },
    /// The cluster did not answer.
    Silent(Error),
    /// The provider no longer has the cluster.
    Left(Diagnostic),
}

async fn look_at_watchers(
    cx: &Cx,
    spec: &Spec,
    owner: &Owner,
    model: &RemoteCluster,
) -> Result<Vec<Answered>, Diagnostic> {
    let walk = &cx.client()?.walk;
    // State may know watchers that the last apply failed to reach.
    let mut names: Vec<String> = model.sync.keys().map(str::to_owned).collect();
    names.extend(spec.watchers.iter().filter(|name| model.sync.entry(name).is_none()).cloned());
    let secret_name = model.secret_name.text();
    let looks = names.into_iter().map(|watcher| async move {
        let found = match client::cluster(cx, &watcher) {
            Ok(cluster) => match client::cluster(cx, spec.secrets_of(&watcher)) {
                Ok(secrets) => {
                    let is_held = model.sync.entry(&watcher).is_some();
                    look(Places { walk, owner, istiods: &cluster, secrets: &secrets }, spec, (secret_name, is_held))
                        .await
                }
                Err(error) => Ok(Holds::Left(error.at("config_cluster"))),
            },
            Err(error) => Ok(Holds::Left(error.at("watchers"))),
        };
        Answered { watcher, found }
    });
    Ok(futures::future::join_all(looks).await)
}

/// Where a watcher's istiods run, and where their remote secrets are kept.
struct Places<'a> {
    walk: &'a Walk,
    owner: &'a Owner,
    istiods: &'a Cluster,
    secrets: &'a Cluster,
}

/// `is_held`: state holds a link to the watcher.
async fn look(at: Places<'_>, spec: &Spec, (secret_name, is_held): (&str, bool)) -> Result<Holds, Diagnostic> {
    let views = at.walk.istiods.held(at.istiods, spec.namespace.as_str());
    let (secret, views) = tokio::join!(secret(at.secrets, spec, secret_name), views);
    match secret {
        Ok((Some(secret), used)) => {
            let renewal = renewal(at, spec, &secret).await;
            Ok(Holds::Secret { secret: Box::new(secret), used, views, renewal })
        }
        Ok((None, _)) => Ok(Holds::Nothing),
        Err(error) if error.may_be_missed() => Ok(Holds::Silent(error)),
        // A watcher that is still to be made.
        Err(error) if !is_held && error.is_not_configured() => Ok(Holds::Silent(error)),
        Err(error) => Err(Diagnostic::from(error).at("watchers")),
    }
}

/// What differs in the job that renews the token, where there shall be one.
async fn renewal(at: Places<'_>, spec: &Spec, secret: &Object) -> Result<Vec<String>, Error> {
    let token = spec.token.renewal.as_ref().and_then(|_| secret::token_of(secret, spec.id.as_str()));
    let Some(token) = token else { return Ok(Vec::new()) };
    let look = RenewalLook { watcher: at.istiods, owner: at.owner, spec, secret_name: secret.name(), token: &token };
    renewal::differences(look).await
}

/// From the list that all resources share; one that lost our label is asked for by name. And what the tokens of all
/// remote secrets in it are bound to.
async fn secret(watcher: &Cluster, spec: &Spec, name: &str) -> Result<(Option<Object>, BTreeSet<String>), Error> {
    let listed = watcher.list(&Query::owned(Kind::SECRET, spec.namespace.as_str())).await?;
    let used = credential::in_use(&listed, spec.namespace.as_str());
    let ours = |object: &&Object| object.name() == name && object.namespace() == Some(spec.namespace.as_str());
    match listed.iter().find(ours) {
        Some(secret) => Ok((Some(secret.clone()), used)),
        None => Ok((watcher.get(&secret::reference(spec, name)).await?, used)),
    }
}

/// Writes down what the watchers answered; whether any link is left.
fn note_watchers(
    cx: &mut Cx,
    watched: &Watched<'_>,
    looked: Vec<Answered>,
    model: &mut RemoteCluster,
) -> Result<bool, Diagnostics> {
    let (mut sync, mut tokens) = (Map::<Sync>::new(), Map::<TokenState>::new());
    let mut told: Option<Told> = None;
    let mut errors = Diagnostics::new();
    for Answered { watcher, found } in looked {
        match found {
            Ok(Holds::Nothing) if model.sync.entry(&watcher).is_some() => {
                cx.warn(unlinked(watched.spec, model.secret_name.text(), &watcher));
            }
            Ok(Holds::Nothing) => {}
            Ok(Holds::Secret { secret, used, views, renewal }) => {
                let mut entry = entry(watched, model, (&watcher, &secret, &used), views.as_deref().ok());
                note_renewal(cx, watched.spec, &watcher, &renewal, &mut entry);
                let unheard = match &views {
                    Ok(views) => views.iter().find_map(|view| view.clusters.as_ref().err()),
                    Err(error) => Some(error),
                };
                if let Some(error) = unheard {
                    cx.warn(unasked(&watcher, error));
                }
                told = told.or(entry.endpoint);
                sync.insert(watcher.clone(), entry.sync.into());
                tokens.insert(watcher, entry.token.into());
            }
            Ok(Holds::Silent(error)) => {
                cx.warn(converge::stale(&error));
                keep(model, &watcher, &mut sync, &mut tokens);
            }
            // Nothing can be seen of it, and nothing is wrong with the rest.
            Ok(Holds::Left(error)) => {
                cx.warn(Diagnostic { severity: Severity::Warning, ..error });
                keep(model, &watcher, &mut sync, &mut tokens);
            }
            // A plan that went on would say "No changes" of a link that nobody has looked at.
            Err(error) => errors.push(error),
        }
    }
    errors.check()?;
    let left = !sync.is_empty();
    // Tokens of watchers that are none: the plan, which has no place for them, then shows that they go.
    for watcher in watched.leftovers().iter().flat_map(Leftovers::watchers) {
        if !watched.spec.watchers.contains(watcher) && !tokens.contains_key(watcher) {
            let condition = Condition::Leftover.as_str().into();
            tokens.insert(watcher.to_owned(), TokenState { condition, ..TokenState::default() }.into());
        }
    }
    (model.sync, model.tokens) = (Value::Known(sync), Value::Known(tokens));
    model.token_expires_at = state::earliest(&model.tokens);
    if let Some(told) = told.filter(|_| model.server_url.is_null()) {
        model.server_url = told.server.into();
        model.certificate_authority_fingerprint = told.authority.into();
    }
    Ok(left)
}

/// What is to be said of a token that a job renews.
fn note_renewal(cx: &mut Cx, spec: &Spec, watcher: &str, found: &Result<Vec<String>, Error>, entry: &mut LinkState) {
    if spec.token.renewal.is_none() {
        return;
    }
    let is = |condition: Condition| entry.token.condition.as_deref() == Some(condition.as_str());
    let (renewed, late) = (is(Condition::Renewed), is(Condition::Rotate) || is(Condition::Expired));
    match found {
        Err(error) => cx.warn(renewal::unseen(spec, watcher, error)),
        Ok(differences) if !differences.is_empty() => {
            cx.warn(renewal::changed(spec, watcher, differences));
            if renewed {
                entry.token.condition = Condition::Unrenewed.as_str().into();
            }
        }
        Ok(_) if late => cx.warn(renewal::overdue(spec, (watcher, entry.token.expires_at.text()))),
        Ok(_) => {}
    }
}

fn entry(
    watched: &Watched<'_>,
    model: &RemoteCluster,
    (watcher, secret, used): (&str, &Object, &BTreeSet<String>),
    views: Option<&[ReplicaView]>,
) -> LinkState {
    let judged = Judged {
        now: watched.now,
        spec: &watched.spec.token,
        service_account: watched.spec.reader.service_account.as_str(),
        live: watched.owned.map(|(accounts, secrets)| (&accounts[..], &secrets[..])),
    };
    let seen = Seen { spec: watched.spec, secret_name: model.secret_name.text(), secret, views, judged };
    let mut entry = state::entry(&seen);
    let token = secret::token_of(secret, watched.spec.id.as_str());
    let leftover = watched.leftovers().is_some_and(|leftovers| match &token {
        Some(token) => leftovers.beside(watched.spec, watcher, token, used),
        None => leftovers.has(watcher, used),
    });
    let holds = [Condition::Valid, Condition::Projected, Condition::Renewed].map(Condition::as_str);
    if leftover && entry.token.condition.as_deref().is_some_and(|condition| holds.contains(&condition)) {
        entry.token.condition = Condition::Leftover.as_str().into();
    }
    entry
}

fn keep(model: &RemoteCluster, watcher: &str, sync: &mut Map<Sync>, tokens: &mut Map<TokenState>) {
    let (Some(link), Some(token)) = (model.sync.entry(watcher), model.tokens.entry(watcher)) else { return };
    let link = Sync { verdict: Verdict::Unknown.as_str().into(), ..link.clone() };
    sync.insert(watcher.to_owned(), link.into());
    tokens.insert(watcher.to_owned(), token.clone().into());
}

/// A remote secret that was there: the watcher's istiod has dropped the cluster by now.
fn unlinked(spec: &Spec, secret: &str, watcher: &str) -> Diagnostic {
    let (namespace, place, id) = (&spec.namespace, spec.secrets_of(watcher), &spec.id);
    Diagnostic::warning(format!("{watcher} has lost its link to {id}")).at("watchers").detail(format!(
        "Secret {namespace}/{secret} in cluster {place}, by which the istiod of {watcher} watches {id}, is missing. The istiod has dropped all endpoints of {id}, so that workloads of {watcher} cannot call them. \
         An apply creates the Secret again, with a new token, which the plan shows. Find out who deleted the Secret."
    ))
}

fn unasked(watcher: &str, error: &Error) -> Diagnostic {
    // Of several warnings with one summary Terraform shows the first alone.
    Diagnostic::warning(format!("The istiods of {watcher} cannot be asked"))
        .at("watchers")
        .detail(format!("Whether cluster {watcher} is in sync is not known: {error}. {}", error.remedy()))
}
