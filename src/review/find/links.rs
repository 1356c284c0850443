//! Who no longer sees whom.

use std::collections::BTreeSet;

use super::Cx;
use crate::review::read::{Action, InCluster, Instance, Type};
use crate::review::risk::{Level, WATCHER_REMOVED};
use crate::review::text::{Name, names, names_or, some_of};
use crate::review::topology::watchers;

pub fn of_plan(cx: &mut Cx<'_>) {
    for remote in cx.of(Type::Remote) {
        for one in remote.in_clusters() {
            lost(cx, remote, one);
        }
        let again = remote.action == Action::Replace && !remote.leaves_old && remote.left_cluster().is_none();
        if again && remote.before().is_there() {
            recreated(cx, remote);
        }
    }
}

fn lost(cx: &mut Cx<'_>, remote: &Instance, InCluster { cluster: watched, before: was, after: will }: InCluster<'_>) {
    if !was.is_there() {
        return;
    }
    let (before, after) = (watchers(was), watchers(will));
    // Who leaves the mesh takes its links along. Whom this plan does not keep stays.
    let leaves = |name: &str| cx.topology.leaves(name);
    let lost: Vec<String> = before.difference(&after).filter(|watcher| !leaves(watcher)).cloned().collect();
    // Each of those that are not known yet may be one of them.
    let sure = will.get("watchers").open_items().map_or(0, |open| lost.len().saturating_sub(open));
    if sure == 0 || leaves(watched) {
        return;
    }
    let last = cx.topology.after.watchers_of(watched).next().is_none();
    let secret = was.get("secret_name").text().unwrap_or("the remote secret");
    let who = some_of("At least", sure, lost.iter().map(String::as_str));
    let token = if was.get("link_token").is_there() { "" } else { ", the token is revoked" };
    let end = if last { " No control plane sees it any more." } else { "" };
    let what = format!(
        "{who} no longer sees {}: {} goes there{token}, and clients lose all its endpoints.{end}",
        Name(watched),
        Name(secret)
    );
    let shown = |all: &BTreeSet<String>| names_or(all.iter().map(String::as_str), "nobody");
    let level = if last { Level::Danger } else { Level::Warning };
    cx.risk(&WATCHER_REMOVED, remote, what).of(watched).at(level).sides(shown(&before), shown(&after));
}

/// Who stays a watcher of a link that is deleted and recreated.
fn recreated(cx: &mut Cx<'_>, remote: &Instance) {
    let (watchers, watched) = (watchers(remote.before()), remote.cluster().unwrap_or_default());
    if watchers.is_empty() {
        return;
    }
    let who = names(watchers.iter().map(String::as_str));
    let what = format!("The link is deleted and recreated: in between {who} does not see {}.", Name(watched));
    cx.risk(&WATCHER_REMOVED, remote, what).of(watched).sides("there", "deleted and recreated");
}
