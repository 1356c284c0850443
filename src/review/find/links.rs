//! Who no longer sees whom.

use std::collections::BTreeSet;

use super::Cx;
use crate::review::read::{Action, Instance, Type};
use crate::review::risk::{Level, WATCHER_REMOVED};
use crate::review::text::{Name, names, names_or};
use crate::review::topology::watchers;

pub fn of_plan(cx: &mut Cx<'_>) {
    for remote in cx.of(Type::Remote) {
        if !remote.before().is_there() {
            continue;
        }
        let before = watchers(remote.before());
        // Another cluster is watched from now on, and this one by nobody.
        let after = if remote.left_cluster().is_some() { BTreeSet::new() } else { watchers(remote.after()) };
        if remote.after().get("watchers").is_partly_unknown() {
            continue;
        }
        let watched = remote.before().get("cluster").text().unwrap_or_default();
        if remote.action == Action::Replace && remote.left_cluster().is_none() {
            again(cx, remote, watched, &before);
        }
        // Who leaves the mesh takes its links along. Whom this plan does not keep stays.
        let leaves = |name: &str| cx.topology.leaves(name);
        let lost: Vec<String> = before.difference(&after).filter(|watcher| !leaves(watcher)).cloned().collect();
        if lost.is_empty() || leaves(watched) {
            continue;
        }
        let last = cx.topology.after.watchers_of(watched).next().is_none();
        let secret = remote.before().get("secret_name").text().unwrap_or("the remote secret");
        let who = names(lost.iter().map(String::as_str));
        let end = if last { " No control plane sees it any more." } else { "" };
        let what = format!(
            "{who} no longer sees {}: {} goes there, the token is revoked, and clients lose all its endpoints.{end}",
            Name(watched),
            Name(secret)
        );
        let shown = |all: &BTreeSet<String>| names_or(all.iter().map(String::as_str), "nobody");
        let level = if last { Level::Danger } else { Level::Warning };
        cx.risk(&WATCHER_REMOVED, remote, what).of(watched).at(level).sides(shown(&before), shown(&after));
    }
}

/// Who stays a watcher of a link that is deleted and recreated.
fn again(cx: &mut Cx<'_>, remote: &Instance, watched: &str, watchers: &BTreeSet<String>) {
    if watchers.is_empty() {
        return;
    }
    let who = names(watchers.iter().map(String::as_str));
    let what = format!("The link is deleted and recreated: in between {who} does not see {}.", Name(watched));
    cx.risk(&WATCHER_REMOVED, remote, what).of(watched).sides("there", "deleted and recreated");
}
