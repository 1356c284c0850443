//! The way back: watchers first, so that no istiod is left reading a cluster that refuses it; then the credentials;
//! then what is in the watched cluster, webhooks before all else. A cluster that is gone is gone on without, where the
//! user asked for that, and what had to be left is told.

use std::collections::BTreeSet;

use super::credential::{self, Order};
use super::model::RemoteCluster;
use super::renewal;
use super::secret;
use super::spec::Spec;
use super::state;
use super::unlink::{self, Unlink};
use super::watcher::RenewalBefore;
use super::{Cx, KINDS};
use crate::cluster::{Cluster, Error, Object, Owner};
use crate::diag::{Diagnostic, Diagnostics};
use crate::engine::Failed;
use crate::istiod;
use crate::kept::claim::{self, Asked, Claim, Purpose};
use crate::kept::noted::Place;
use crate::kept::objects::Recorded;
use crate::kept::remove::{Remaining, Removal};
use crate::kept::report::{self, SKIPPING};
use crate::kept::same;
use crate::resources::client;
use crate::resources::keeping;
use crate::resources::parsing;
use crate::value::Value;

/// Watchers that shall watch no more.
#[derive(Clone, Copy)]
pub struct Leaving<'a> {
    pub dropped: &'a BTreeSet<String>,
    /// As [`strangers`] says.
    pub strangers: &'a BTreeSet<String>,
    /// What their links were made on.
    pub prior: Option<&'a RemoteCluster>,
    pub state: &'a RemoteCluster,
}

/// Watchers that no configuration names any more: the refresh saw their tokens, or an apply has noted them. One that
/// was killed has added them, and may have come as far as their remote secrets and renewals.
pub fn strangers(
    prior: Option<&RemoteCluster>,
    noted: &BTreeSet<Place>,
    is_named: impl Fn(&str) -> bool,
) -> BTreeSet<String> {
    let tokens = prior.into_iter().flat_map(|prior| prior.tokens.keys());
    let found = tokens.chain(noted.iter().map(|(watcher, _)| watcher.as_str()));
    found.filter(|name| !is_named(name)).map(str::to_owned).collect()
}

/// Watchers that an apply is about to add and of which nothing in the watched cluster would tell after a kill: no token
/// of theirs is bound to a Secret there.
pub fn without_a_trace(prior: Option<&RemoteCluster>, spec: &Spec) -> BTreeSet<Place> {
    let is_known = |watcher: &str| prior.is_some_and(|prior| prior.sync.entry(watcher).is_some());
    let added = spec.watchers.iter().filter(|watcher| spec.link_token.is_some() && !is_known(watcher));
    added.map(|watcher| (watcher.clone(), spec.namespace.to_string())).collect()
}

/// Watchers that the configuration names no longer. Of an apply that failed state holds links beside its watchers.
pub fn dropped(prior: &RemoteCluster, spec: &Spec) -> BTreeSet<String> {
    let linked = prior.watchers.items().map(String::as_str).chain(prior.sync.keys());
    linked.filter(|name| !spec.watchers.contains(*name)).map(str::to_owned).collect()
}

/// An outage of other clusters says nothing of these.
fn is_of(error: &Error, clusters: [&str; 2]) -> bool {
    clusters.contains(&&*error.cluster)
}

/// Whether a watcher goes on under another name: the very Secret that is there has just been written under that one, so
/// that only the token of the old name goes. Two clusters that were cloned from one have Secrets of their own. While
/// this cannot be told, the Secret must stay.
async fn goes_on(cx: &Cx, spec: &Spec, secret_name: &str, old: &str) -> Result<bool, Error> {
    if is_kept_in_the_same_place(spec, old) {
        return Ok(true);
    }
    // What the provider does not have is told by who takes the link away.
    let Ok(place) = client::cluster(cx, spec.secrets_of(old)) else { return Ok(false) };
    let others = spec.watchers.iter().filter_map(|watcher| client::cluster(cx, spec.secrets_of(watcher)).ok());
    let others: Vec<Cluster> = others.collect();
    same::are_one(&place, &others, &secret::reference(spec, secret_name), &cx.private.instance).await
}

/// Several watchers may keep their remote secrets in one cluster.
fn is_kept_in_the_same_place(spec: &Spec, old: &str) -> bool {
    spec.watchers.iter().any(|watcher| spec.secrets_of(watcher) == spec.secrets_of(old))
}

/// Takes watchers away from a cluster that stays watched by others. Returns those that are gone, and what failed.
pub async fn watchers(
    cx: &mut Cx,
    claim: &Claim,
    spec: &Spec,
    leaving: Leaving<'_>,
) -> (BTreeSet<String>, Diagnostics) {
    let before = RenewalBefore::of(leaving.prior, claim.interrupted);
    let Leaving { dropped, strangers, state, .. } = leaving;
    let all = Unlinking { owner: &claim.owner, spec, watchers: dropped, strangers, state, before, others_stay: true };
    let Unlinked { gone, left, mut errors } = unlink_all(cx, all).await;
    let watched = &claim.cluster();
    let retired = gone.iter().map(|watcher| async move {
        let order = Order { watched, owner: &claim.owner, spec, watcher, again: true, secrets: None };
        credential::retire(order, None).await
    });
    for result in futures::future::join_all(retired).await {
        if let Err(error) = result {
            errors.push(Diagnostic::from(error));
        }
    }
    tell(cx, left);
    (gone, errors)
}

pub async fn remove(cx: &mut Cx, mut state: RemoteCluster) -> Result<(), Failed<RemoteCluster>> {
    let spec = parsing::complete(Spec::parse(&state)?)?;
    client::all_own(cx, super::places(&spec, [&state])).await?;
    let watched = client::own(cx, state.cluster.text()).await?;
    let label = spec.owner();
    let place = keeping::place(&state, &label);
    let mark = state.instance.as_deref();
    let asked = Asked { cluster: &watched, place, purpose: Purpose::Destroy, kinds: &[], mark, adopt: false };
    let claim = match claim::claim(asked, &mut cx.private.instance).await {
        Ok(claim) => Some(claim),
        // Who is to go on without the watched cluster cannot ask it whether another run is at work.
        Err(error) if skips(&state) && !client::answers(&watched).await => {
            tracing::debug!("no claim on a cluster that does not answer: {}", error.summary);
            None
        }
        Err(error) => return Err(error.into()),
    };
    let owner = match &claim {
        Some(claim) => claim.owner.clone(),
        None => cx.private.instance.owner(&label, &state.instance),
    };
    let linked: BTreeSet<String> = state.sync.keys().map(str::to_owned).chain(spec.watchers.iter().cloned()).collect();
    let noted = match &claim {
        Some(claim) => claim.noted_places().await,
        None => Ok(BTreeSet::new()),
    };
    let noted = match noted {
        Ok(noted) => noted,
        Err(error) => return Err(Failed::from(report::one_at_destroy(&error, SKIPPING)).keeping(state)),
    };
    let strangers = strangers(Some(&state), &noted, |name| linked.contains(name));
    let before = RenewalBefore::of(Some(&state), claim.as_ref().is_some_and(|claim| claim.interrupted));
    let (watchers, strangers, state_before) = (&linked, &strangers, &state);
    let all =
        Unlinking { owner: &owner, spec: &spec, watchers, strangers, state: state_before, before, others_stay: false };
    let Unlinked { gone, mut left, errors } = unlink_all(cx, all).await;
    forget(&mut state, &gone);
    if errors.has_errors() {
        tell(cx, left);
        return Err(Failed::from(errors).keeping(state));
    }
    let stays = || {
        format!(
            "cluster {} does not answer, so these objects stay in it if it still exists: {}, and the Secrets that its readers' tokens are bound to",
            watched.name(),
            state.objects.keys().collect::<Vec<_>>().join(", ")
        )
    };
    let Some(claim) = claim else {
        left.push(stays());
        tell(cx, left);
        return Ok(());
    };
    match in_watched(cx, claim, &spec, &state).await {
        Ok(stays) => left.extend(stays),
        Err(Remaining { errors, .. }) if skips(&state) && errors.iter().all(Error::may_be_gone) => left.push(stays()),
        Err(Remaining { recorded, left: stay, errors, .. }) => {
            left.extend(stay);
            state.objects = cx.private.memory.record(&recorded);
            tell(cx, left);
            return Err(Failed::from(report::at_destroy(&errors, SKIPPING)).keeping(state));
        }
    }
    tell(cx, left);
    Ok(())
}

/// What came of unlinking watchers.
#[derive(Default)]
struct Unlinked {
    gone: BTreeSet<String>,
    left: Vec<String>,
    errors: Diagnostics,
}

/// Links to take away.
#[derive(Clone, Copy)]
struct Unlinking<'a> {
    owner: &'a Owner,
    spec: &'a Spec,
    watchers: &'a BTreeSet<String>,
    strangers: &'a BTreeSet<String>,
    state: &'a RemoteCluster,
    before: RenewalBefore,
    /// The watchers of `spec` are linked from now on.
    others_stay: bool,
}

async fn unlink_all(cx: &Cx, all: Unlinking<'_>) -> Unlinked {
    let Unlinking { owner, spec, watchers, strangers, state, before, others_stay } = all;
    let mut unlinked = Unlinked::default();
    let walk = match cx.client() {
        Ok(client) => &client.walk,
        Err(error) => return Unlinked { errors: error.into(), ..unlinked },
    };
    let secret_name = state.secret_name.text();
    let of_state = watchers.iter().map(|name| (name, true, before));
    let of_nobody = strangers.iter().map(|name| (name, false, RenewalBefore::Perhaps));
    let works = of_state.chain(of_nobody).map(|(name, known, before)| async move {
        match if others_stay { goes_on(cx, spec, secret_name, name).await } else { Ok(false) } {
            Ok(false) => {}
            Ok(true) => return (name, Ok(None)),
            Err(error) => return (name, Err(error)),
        }
        let place = spec.secrets_of(name);
        let of_provider = |name: &str| client::cluster(cx, name).map_err(|_| name.to_owned());
        let (watcher, secrets) = match of_provider(name).and_then(|watcher| Ok((watcher, of_provider(place)?))) {
            Ok(clusters) => clusters,
            Err(missing) => {
                let reference = renewal::left(&secret::reference(spec, secret_name), spec, before);
                let left = format!(
                    "{missing} is no longer among the provider's clusters, so {reference} stays in cluster {place}"
                );
                return (name, Ok(Some(left)));
            }
        };
        let (watcher, secrets) = (&watcher, &secrets);
        let unlink =
            Unlink { walk, owner, watcher, secrets, spec, secret_name, known, renewal_before: before, wait: spec.wait };
        (name, unlink::unlink(unlink).await)
    });
    for (name, result) in futures::future::join_all(works).await {
        match result {
            Ok(left) => {
                unlinked.left.extend(left);
                unlinked.gone.insert(name.clone());
            }
            Err(error) if skips(state) && error.may_be_gone() && is_of(&error, [name, spec.secrets_of(name)]) => {
                let reference = renewal::left(&secret::reference(spec, secret_name), spec, before);
                unlinked.left.push(format!(
                    "cluster {} does not answer, so {reference} stays in cluster {} if it still exists",
                    error.cluster,
                    spec.secrets_of(name)
                ));
                unlinked.gone.insert(name.clone());
            }
            Err(error) => unlinked.errors.append(report::at_destroy([&error], SKIPPING)),
        }
    }
    unlinked
}

fn forget(state: &mut RemoteCluster, gone: &BTreeSet<String>) {
    if let Value::Known(sync) = &mut state.sync {
        sync.retain(|name, _| !gone.contains(name));
    }
    if let Value::Known(tokens) = &mut state.tokens {
        tokens.retain(|name, _| !gone.contains(name));
    }
    state.token_expires_at = state::earliest(&state.tokens);
}

/// Credentials, objects, and in the mode `remote` what the primary wrote. Returns what stays.
async fn in_watched(cx: &Cx, claim: Claim, spec: &Spec, state: &RemoteCluster) -> Result<Vec<String>, Remaining> {
    let recorded = Recorded::of(&state.objects, &cx.private.memory);
    let failed = |error: Error| Remaining { recorded: recorded.clone(), errors: vec![error], ..Remaining::default() };
    let (watched, namespace) = (claim.cluster(), spec.namespace.as_str());
    credential::retire_all(&watched, namespace, &claim.owner).await.map_err(failed)?;
    let orphan_kinds = claim.orphan_kinds(KINDS).await.map_err(failed)?;
    let removal = Removal {
        cluster: &watched,
        recorded: &recorded,
        memory: &cx.private.memory,
        owner: &claim.owner,
        orphan_kinds: &orphan_kinds,
        namespace,
        wait_for_definitions: true,
        stays: |_: &Object| None,
    };
    let remaining = removal.run().await;
    if !remaining.errors.is_empty() {
        return Err(remaining);
    }
    let mut left = remaining.left;
    if claim.taken_over_by().is_some() {
        // What another instance keeps serves the cluster from now on.
        return Ok(left);
    }
    let mut written = Vec::new();
    if spec.remote.is_some() {
        istiod::remove_own_objects(&watched, namespace).await.map_err(failed)?;
        written = recorded.written(&format!("Namespace {namespace}"));
    }
    let stays = claim.leave(&written).await.map_err(failed)?;
    left.extend(stays.map(|why| format!("Namespace {namespace}: {why}")));
    Ok(left)
}

fn skips(state: &RemoteCluster) -> bool {
    state.skip_unreachable_on_destroy.get() == Some(true)
}

fn tell(cx: &mut Cx, left: Vec<String>) {
    report::left(&left).into_iter().for_each(|warning| cx.warn(warning));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::remote_cluster::model::{Sync, TokenState};

    #[test]
    fn a_watcher_that_only_a_killed_apply_has_named_is_found_by_its_token() {
        let tokens = ["east", "north", "south"].map(|name| (name.to_owned(), Value::Known(TokenState::default())));
        let prior = RemoteCluster { tokens: Value::Known(tokens.into()), ..RemoteCluster::default() };
        let found = |noted: &BTreeSet<Place>| strangers(Some(&prior), noted, |name| name == "east" || name == "north");
        assert_eq!(found(&BTreeSet::new()), ["south".to_owned()].into());
        let noted = ["north", "west"].map(|name| (name.to_owned(), "istio-system".to_owned())).into();
        assert_eq!(found(&noted), ["south".to_owned(), "west".to_owned()].into());
        assert_eq!(strangers(None, &noted, |_| false).len(), 2);
    }

    #[test]
    fn a_remote_secret_that_other_watchers_use_is_not_taken_from_them() {
        let config = |config_cluster: Option<&str>| RemoteCluster {
            cluster: "east".into(),
            namespace: "istio-system".into(),
            watchers: Value::Known(["north".to_owned()].into_iter().collect()),
            mode: "remote".into(),
            control_plane: "north".into(),
            control_plane_address: "10.0.0.9".into(),
            service_account: "istio-mesh-reader".into(),
            config_cluster: config_cluster.map(str::to_owned).into(),
            ..RemoteCluster::default()
        };
        let spec = |config_cluster| Spec::parse(&config(config_cluster)).unwrap().unwrap();
        assert!(!is_kept_in_the_same_place(&spec(None), "south"));
        assert!(is_kept_in_the_same_place(&spec(Some("hub")), "south"), "the other one's link is in that Secret");
    }

    #[test]
    fn a_watcher_that_a_failed_apply_has_left_linked_is_taken_away_by_the_next() {
        let config = RemoteCluster {
            cluster: "east".into(),
            namespace: "istio-system".into(),
            watchers: Value::Known(["north".to_owned()].into_iter().collect()),
            mode: "peer".into(),
            service_account: "istio-mesh-reader".into(),
            ..RemoteCluster::default()
        };
        let spec = Spec::parse(&config).unwrap().unwrap();
        let sync = ["north", "west"].map(|name| (name.to_owned(), Value::Known(Sync::default())));
        let prior = RemoteCluster { sync: Value::Known(sync.into()), ..config };
        assert_eq!(dropped(&prior, &spec), ["west".to_owned()].into());
    }
}
