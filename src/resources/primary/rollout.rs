//! Upgrades in waves: a control plane that comes after others keeps its version until these run the new one, are
//! available and in sync, and enough of their proxies have followed.
//!
//! What the others are like, a refresh sees and notes beside the state: a plan asks no cluster, and comes out the same
//! when it is made again. The apply of an upgrade looks once more.

use std::collections::BTreeMap;

use futures::future::{join_all, try_join_all};

use super::ahead::{self, Ahead, Proxies, Question};
use super::model::{Primary, Rollout};
use super::{Cx, Private};
use crate::diag::Diagnostic;
use crate::engine::Plan;
use crate::resources::charts::Version;
use crate::resources::client;
use crate::resources::walk::Followed;
use crate::value::{Path, Set, Value};

/// Looks at the control planes that have to come first, at a refresh.
pub async fn look(cx: &Cx, state: &Primary) -> BTreeMap<String, Ahead> {
    let Some(rollout) = state.rollout.known() else { return BTreeMap::new() };
    let looks = rollout
        .after
        .items()
        .map(|name| async move { (name.clone(), ahead::look(cx, question(name, state, rollout)).await) });
    join_all(looks).await.into_iter().collect()
}

fn question<'a>(cluster: &'a str, state: &'a Primary, rollout: &Rollout) -> Question<'a> {
    let (namespace, revision) = (state.namespace.text(), state.revision.as_deref());
    Question { cluster, namespace, revision, proxies: percent(rollout) > 0, now: false }
}

/// The share of proxies that is asked for.
fn percent(rollout: &Rollout) -> u64 {
    rollout.updated_proxies_percent.get().and_then(|percent| u64::try_from(percent).ok()).unwrap_or_default()
}

/// Who comes first must be one of the provider's clusters, and must not come after this one in turn.
pub fn check(cx: &Cx, planned: &Primary) -> Result<(), Diagnostic> {
    let at = || Path::root("rollout").attr("after");
    for name in planned.rollout.known().into_iter().flat_map(names) {
        client::known_cluster(cx, name).map_err(|error| error.at(at()))?;
        if name.is_known() && *name == planned.cluster {
            return Err(Diagnostic::error("A control plane cannot come after itself").at(at()).detail(format!(
                "{} is the cluster of this control plane: it would never be upgraded. Leave it out of `rollout.after`.",
                name.text()
            )));
        }
    }
    let Some(cluster) = planned.cluster.known() else { return Ok(()) };
    let followed = Followed { cluster, namespace: planned.namespace.text(), revision: planned.revision.as_deref() };
    let others = planned.rollout.known().into_iter().flat_map(names).filter_map(|name| name.known().cloned()).collect();
    match cx.client()?.walk.upgraded_after(followed, others) {
        Some(circle) => Err(Diagnostic::error("Control planes wait for each other").at(at()).detail(format!(
            "{}: none of them would ever be upgraded. Leave one of these clusters out of `rollout.after`.",
            circle.join(" comes after ")
        ))),
        None => Ok(()),
    }
}

/// The version that the control plane keeps although another is asked for, and a word on what it waits for. It is told
/// by names alone: whatever else of the configuration is known, an apply that plans again must come to the same.
pub async fn keeps(cx: &mut Cx, plan: &Plan<'_, Primary>) -> Result<Option<String>, Diagnostic> {
    let Some(old) = plan.prior.and_then(|prior| prior.istio_version.known().cloned()) else {
        return recreated(cx, plan).await.map(|()| None);
    };
    if plan.planned.rollout.is_null() {
        return Ok(None);
    }
    let Some(wanted) = wanted(cx, plan, &old).await? else { return Ok(None) };
    if wanted == plain(&old) || goes_back(&cx.private, &wanted) {
        return Ok(None);
    }
    let known = |rollout: &&Rollout| {
        rollout.after.is_known() && names(rollout).all(Value::is_known) && !rollout.updated_proxies_percent.is_unknown()
    };
    let rollout = plan.planned.rollout.known().filter(known).ok_or_else(not_known)?;
    let waits: Vec<Waits> = rollout
        .after
        .items()
        .filter_map(|name| {
            waits_for(name, cx.private.ahead.get(name), Wanted { version: &wanted, percent: percent(rollout) })
        })
        .collect();
    if waits.is_empty() {
        return Ok(None);
    }
    cx.warn(held(&plan.planned, &old, &wanted, &waits));
    Ok(Some(old))
}

/// A control plane that is recreated has no version to keep: its plan, which a core makes after that of the one before,
/// would come out of turn.
async fn recreated(cx: &Cx, plan: &Plan<'_, Primary>) -> Result<(), Diagnostic> {
    let planned = &plan.planned;
    let (true, Some(cluster)) = (plan.replaces && !planned.rollout.is_null(), planned.cluster.known()) else {
        return Ok(());
    };
    let walk = &cx.client()?.walk;
    let before = Followed { cluster, namespace: planned.namespace.text(), revision: planned.revision.as_deref() };
    let kept = walk.has_planned(before).then(|| walk.version_of(before)).flatten().flatten();
    let Some(kept) = kept else { return Ok(()) };
    match wanted(cx, plan, &kept).await? {
        Some(wanted) if wanted != plain(&kept) => Err(out_of_turn(cluster, &kept, &wanted)),
        _ => Ok(()),
    }
}

/// The version that the configuration asks for, as far as it is known; `None` as well where it asks for none.
async fn wanted(cx: &Cx, plan: &Plan<'_, Primary>, old: &str) -> Result<Option<String>, Diagnostic> {
    let (store, charts) = (&cx.client()?.charts, &plan.planned.charts);
    if !plan.config.istio_version.is_null() {
        return Ok(plan.config.istio_version.known().map(|version| plain(version).to_owned()));
    }
    if store.is_open(charts) {
        return Ok(None);
    }
    let charts = charts.known();
    match store.named_version(charts) {
        Some(version) => Ok(Some(plain(version).to_owned())),
        None if store.is_folder(charts) => {
            let remembered = Version { asked: None, remembered: Some(old) };
            // Why there is none, whoever renders it says.
            let chart = store.chart("istiod", charts, remembered).await.ok();
            Ok(chart.map(|chart| plain(chart.version()).to_owned()))
        }
        None => Ok(None),
    }
}

/// Whether it goes back to the version of its last apply that came to its end, after one that did not. It waits for
/// nobody then, since it cannot stay between two versions. A change of anything else that did not come to its end is no
/// reason to come out of turn.
fn goes_back(private: &Private, wanted: &str) -> bool {
    private.instance.unfinished && private.finished.as_deref().is_some_and(|finished| plain(finished) == wanted)
}

fn plain(version: &str) -> &str {
    version.trim_start_matches('v')
}

/// At the apply of another version, before anything is written: whether those that come first still are as the plan saw
/// them. What this process changes in them at the same time is waited for.
pub async fn look_again(cx: &Cx, prior: Option<&Primary>, state: &Primary, version: &str) -> Result<(), Diagnostic> {
    let (Some(rollout), Some(old)) = (state.rollout.known(), prior.and_then(|prior| prior.istio_version.known()))
    else {
        return Ok(());
    };
    let wanted = plain(version);
    if plain(old) == wanted || goes_back(&cx.private, wanted) {
        return Ok(());
    }
    let client = cx.client()?;
    let looks = rollout.after.items().map(|name| async move {
        let asks = question(name, state, rollout);
        let first = Followed { cluster: name, namespace: asks.namespace, revision: asks.revision };
        cx.run(&format!("waiting for the apply of the control plane in {name}"), client.walk.applied(first)).await?;
        let seen = ahead::look(cx, Question { now: true, ..asks }).await;
        Ok::<_, Diagnostic>(waits_for(name, Some(&seen), Wanted { version: wanted, percent: percent(rollout) }))
    });
    let waits: Vec<Waits> = try_join_all(looks).await?.into_iter().flatten().collect();
    if waits.is_empty() { Ok(()) } else { Err(changed(state, wanted, &waits)) }
}

fn names(rollout: &Rollout) -> impl Iterator<Item = &Value<String>> {
    rollout.after.known().into_iter().flat_map(Set::iter)
}

/// What a control plane that comes first must have.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    version: &'a str,
    /// Of its proxies.
    percent: u64,
}

/// What is still to come of a cluster.
#[derive(Debug)]
struct Waits {
    why: String,
    /// Only its proxies have to follow.
    for_proxies: bool,
}

/// What is still to come of a cluster; `None` when it is done.
fn waits_for(name: &str, seen: Option<&Ahead>, wanted: Wanted<'_>) -> Option<Waits> {
    let why = waits_for_istiod(name, seen, wanted.version);
    let for_proxies = why.is_none() && wanted.percent > 0;
    let why = why.or_else(|| seen.filter(|_| for_proxies).and_then(|seen| waits_for_proxies(name, seen, wanted)));
    why.map(|why| Waits { why, for_proxies })
}

fn waits_for_istiod(name: &str, seen: Option<&Ahead>, wanted: &str) -> Option<String> {
    let Some(Ahead { version, trouble, .. }) = seen else {
        return Some(format!("{name} has not been looked at yet, which the next plan does"));
    };
    let version = version.as_deref();
    match (version, trouble) {
        (Some(version), None) if version == wanted => None,
        (Some(version), None) => Some(format!("{name} runs Istio {version}")),
        (Some(version), Some(trouble)) => Some(format!("{name} has Istio {version}, and {trouble}")),
        (None, Some(trouble)) => Some(format!("of {name} the version is not known: {trouble}")),
        (None, None) => Some(format!("of {name} the version is not known")),
    }
}

/// None at all have followed.
fn waits_for_proxies(name: &str, seen: &Ahead, wanted: Wanted<'_>) -> Option<String> {
    let Wanted { version, percent } = wanted;
    match &seen.proxies {
        Some(Proxies::Connected(connected)) => {
            let (runs, all) = Proxies::of_version(connected, version);
            let is_enough = u128::from(runs) * 100 >= u128::from(all) * u128::from(percent);
            (!is_enough)
                .then(|| format!("{runs} of {all} proxies of {name} run Istio {version}, asked for are {percent} %"))
        }
        Some(Proxies::Unknown(why)) => Some(format!("which version the proxies of {name} run is not known: {why}")),
        None => Some(format!("the proxies of {name} have not been counted yet, which the next plan does")),
    }
}

fn held(planned: &Primary, old: &str, wanted: &str, waits: &[Waits]) -> Diagnostic {
    let cluster = planned.cluster.text();
    Diagnostic::warning(format!("{cluster} stays at Istio {old} for now")).at(Path::root("rollout")).detail(format!(
        "The control plane is upgraded to Istio {wanted} once the clusters of `rollout.after` run it, are available and in sync, and enough of their proxies run it. It waits, as of the last refresh: {}.{} Apply this plan, then plan again. To go no \
         further, set `istio_version` back.",
        told(waits),
        moves(waits)
    ))
}

fn told(waits: &[Waits]) -> String {
    waits.iter().map(|waits| waits.why.as_str()).collect::<Vec<_>>().join("; ")
}

/// How proxies follow.
fn moves(waits: &[Waits]) -> &'static str {
    match waits.iter().any(|waits| waits.for_proxies) {
        true => " A proxy changes when its Pod restarts: the action `mesh_restart_workloads` restarts what is behind.",
        false => "",
    }
}

fn changed(state: &Primary, wanted: &str, waits: &[Waits]) -> Diagnostic {
    Diagnostic::error("The clusters have changed since the plan").at(Path::root("rollout")).detail(format!(
        "The plan upgrades {} to Istio {wanted}, but the clusters of `rollout.after` are not as they were at the last refresh: {}.{} Nothing was written. Repair them, then plan again.",
        state.cluster.text(),
        told(waits),
        moves(waits)
    ))
}

fn out_of_turn(cluster: &str, kept: &str, wanted: &str) -> Diagnostic {
    Diagnostic::error("This plan recreates the control plane out of its turn").at(Path::root("rollout")).detail(format!(
        "The control plane of {cluster} stays at Istio {kept} until the clusters of `rollout.after` run Istio {wanted}. By `-replace`, or by an attribute whose change recreates it, this plan recreates it, and a control plane that is recreated has no version to keep: it would run Istio {wanted} before its turn. Set `istio_version` back to {kept} for this apply, or undo the change and recreate it in its wave."
    ))
}

fn not_known() -> Diagnostic {
    Diagnostic::error("`rollout` is not known yet")
        .detail("The plan must know what this control plane waits for. Set `rollout.after` to keys of the provider's `clusters`, and `rollout.updated_proxies_percent` to a number, that are known when planning, not to values of an apply.")
        .at(Path::root("rollout"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(version: Option<&str>, trouble: Option<&str>) -> Ahead {
        Ahead { version: version.map(str::to_owned), trouble: trouble.map(str::to_owned), proxies: None }
    }

    #[test]
    fn only_a_cluster_that_runs_the_version_without_trouble_is_done() {
        let wanted = Wanted { version: "1.31.0", percent: 0 };
        let waits = |seen: Option<Ahead>| waits_for("east", seen.as_ref(), wanted).map(|waits| waits.why);
        assert_eq!(waits(Some(seen(Some("1.31.0"), None))), None);
        for (seen, why) in [
            (None, "has not been looked at"),
            (Some(seen(Some("1.30.0"), None)), "runs Istio 1.30.0"),
            (Some(seen(Some("1.31.0"), Some("its rollout is not complete"))), "its rollout is not complete"),
            (Some(seen(None, Some("it could not be read"))), "could not be read"),
            (Some(seen(None, None)), "not known"),
        ] {
            assert!(waits(seen.clone()).is_some_and(|said| said.contains(why)), "{seen:?}");
        }
    }

    #[test]
    fn a_share_of_its_proxies_must_run_the_version_too() {
        let done = |proxies: Option<Proxies>| Ahead { proxies, ..seen(Some("1.31.0"), None) };
        let connected = |old: u64, new: u64| {
            Some(Proxies::Connected([("1.30.0".to_owned(), old), ("1.31.0".to_owned(), new)].into()))
        };
        let waits = |percent: u64, proxies: Option<Proxies>| {
            waits_for("east", Some(&done(proxies)), Wanted { version: "1.31.0", percent })
        };
        for (percent, proxies) in [
            (0, connected(9, 0)),
            (0, None),
            (0, Some(Proxies::Unknown("no".into()))),
            (90, connected(1, 9)),
            (100, connected(0, 9)),
            (100, Some(Proxies::Connected(Default::default()))),
            (1, connected(99, 1)),
        ] {
            assert!(waits(percent, proxies.clone()).is_none(), "{percent} {proxies:?}");
        }
        for (percent, proxies, why) in [
            (90, connected(2, 9), "9 of 11 proxies of east run Istio 1.31.0, asked for are 90 %"),
            (1, connected(100, 1), "1 of 101 proxies"),
            (100, connected(1, 0), "0 of 1 proxies"),
            (1, None, "not been counted"),
            (1, Some(Proxies::Unknown("no way in".into())), "is not known: no way in"),
        ] {
            let said = waits(percent, proxies.clone()).unwrap_or_else(|| panic!("{percent} {proxies:?}"));
            assert!(said.for_proxies && said.why.contains(why), "{said:?}");
            assert!(moves(&[said]).contains("mesh_restart_workloads"));
        }
        let old = Ahead { version: Some("1.30.0".into()), ..done(connected(1, 0)) };
        let said = waits_for("east", Some(&old), Wanted { version: "1.31.0", percent: 100 }).unwrap();
        assert_eq!((said.why.as_str(), said.for_proxies), ("east runs Istio 1.30.0", false));
    }
}
