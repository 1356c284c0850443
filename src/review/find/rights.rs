//! Rights that are granted or taken, and who can read Secrets.

use std::collections::{BTreeMap, BTreeSet};

use super::Cx;
use crate::review::objects::{Fate, Object};
use crate::review::read::{Action, InCluster, Instance, Reading, Type};
use crate::review::risk::{CANNOT_TELL, Level, RIGHTS_WIDENED, SECRETS};
use crate::review::section::Section;
use crate::review::text::{Name, Prose, names, names_or};
use crate::review::topology::{UNKNOWN, watchers};

const COLUMNS: &[(&str, &str)] =
    &[("cluster", "cluster"), ("who", "who"), ("what", "what"), ("before", "before"), ("after", "after")];

pub fn of_plan(cx: &mut Cx<'_>) -> Section {
    let mut section = Section::new("rights", "Rights", COLUMNS);
    section.importance = 6;
    objects(cx, &mut section);
    readers(cx, &mut section);
    section.sorted()
}

fn objects(cx: &mut Cx<'_>, section: &mut Section) {
    let all: Vec<_> = cx.objects_of().map(|(instance, objects)| (instance, objects.clone())).collect();
    for (instance, of) in &all {
        for of in of {
            let mut whole: BTreeMap<(Fate, &str), usize> = BTreeMap::new();
            for object in of.changes.iter().filter(|object| is_right(object.kind()) && !object.is_relabelled()) {
                match object.fate {
                    Fate::Added | Fate::Removed if instance.action != Action::Update => {
                        *whole.entry((object.fate, object.kind())).or_default() += 1;
                    }
                    Fate::Remade => {}
                    _ => one(cx, section, At { instance, cluster: &of.cluster }, object),
                }
            }
            for fate in [Fate::Added, Fate::Removed] {
                let kinds = whole.iter().filter(|((of, _), _)| *of == fate);
                let kinds: Vec<String> = kinds.map(|((_, kind), number)| format!("{number} {}", Name(kind))).collect();
                if !kinds.is_empty() {
                    let (what, sides) = words(fate);
                    let what = format!("{what}: {}", kinds.join(", ")).into();
                    section.row([Prose::name(&of.cluster), Prose::name(&instance.address), what, sides.0, sides.1]);
                }
            }
        }
    }
}

/// Verbs and resources that give their holder the rights of others.
const VERBS: &[&str] = &["impersonate", "escalate", "bind"];
const RESOURCES: &[&str] =
    &["pods/exec", "pods/attach", "serviceaccounts/token", "nodes/proxy", "*/exec", "*/attach", "*/token", "*/proxy"];

fn is_right(kind: &str) -> bool {
    matches!(kind, "ClusterRole" | "ClusterRoleBinding" | "Role" | "RoleBinding")
}

fn words(fate: Fate) -> (&'static str, (Prose, Prose)) {
    match fate {
        Fate::Removed => ("taken", ("there".into(), "none".into())),
        _ => ("granted", ("none".into(), "there".into())),
    }
}

#[derive(Clone, Copy)]
struct At<'a> {
    instance: &'a Instance,
    cluster: &'a str,
}

fn one(cx: &mut Cx<'_>, section: &mut Section, at: At<'_>, object: &Object) {
    let mut row = |what: Prose, before: Prose, after: Prose| {
        section.row([Prose::name(at.cluster), Prose::name(&object.name), what, before, after]);
    };
    if object.fate != Fate::Changed {
        let (what, sides) = words(object.fate);
        row(what.into(), sides.0.clone(), sides.1.clone());
        // What an import adds is what the resource would have made.
        if object.fate == Fate::Added && object.kind().ends_with("Binding") && !at.instance.importing {
            let what = format!("{} is new: somebody gets the rights of a role.", Name(&object.name));
            cx.risk(&RIGHTS_WIDENED, at.instance, what).of(at.cluster).sides(sides.0, sides.1);
        }
        return;
    }
    if !object.is_told() {
        return row("changed".into(), "not told".into(), "not told".into());
    }
    for field in object.fields.iter().filter(|field| !field.path.starts_with("metadata.")) {
        let (before, after) = field.sides("none");
        row(Prose::name(&field.path), before.clone(), after.clone());
        let all = |side: &Option<String>| side.as_deref().is_some_and(|text| text.contains("\"*\"") || text == "*");
        let list = ["verbs", "resources", "apiGroups"].iter().any(|name| field.path.contains(name));
        let subject = field.path.starts_with("subjects") || field.path.starts_with("roleRef");
        let new = |word: &str| {
            let word = format!("\"{word}\"");
            let says = |side: &Option<String>| side.as_deref().is_some_and(|text| text.contains(&word));
            says(&field.after) && !says(&field.before)
        };
        let leads_on = field.path.ends_with("verbs") && VERBS.iter().any(|verb| new(verb))
            || field.path.ends_with("resources") && RESOURCES.iter().any(|resource| new(resource));
        let grown = match () {
            () if list && all(&field.after) && !all(&field.before) || leads_on => Some(Level::Danger),
            () if subject && field.after.is_some() => Some(RIGHTS_WIDENED.level),
            () => None,
        };
        if let Some(level) = grown {
            let what = format!("{} of {}.", Name(&field.path), Name(&object.name));
            cx.risk(&RIGHTS_WIDENED, at.instance, what).of(at.cluster).at(level).sides(before.clone(), after.clone());
        }
        if field.after.as_deref().is_some_and(|text| text.starts_with("sha256:")) {
            let what = format!("{} of {} is too long to be shown in the plan.", Name(&field.path), Name(&object.name));
            cx.risk(&CANNOT_TELL, at.instance, what).of(at.cluster).sides(before.clone(), after.clone());
        }
        let secrets = |side: &Option<String>| {
            side.as_deref().is_some_and(|text| text.contains("secrets") || text.contains("\"*\""))
        };
        if field.path.ends_with("resources") && secrets(&field.after) && !secrets(&field.before) {
            let what = format!("{} covers Secrets from now on.", Name(&object.name));
            cx.risk(&SECRETS, at.instance, what).of(at.cluster).sides(before, after);
        }
    }
}

/// Tokens by which watchers read a cluster.
fn readers(cx: &mut Cx<'_>, section: &mut Section) {
    for remote in cx.of(Type::Remote).filter(|remote| remote.changes()) {
        for one in remote.in_clusters() {
            readers_of(cx, section, remote, one);
        }
    }
}

fn readers_of(cx: &mut Cx<'_>, section: &mut Section, remote: &Instance, of: InCluster<'_>) {
    let InCluster { cluster: watched, before, after } = of;
    let reads = |side: Reading<'_>| side.is_there() && side.get("read_secrets").value() != false;
    let (was, will) = (watchers(before), watchers(after));
    let word = |reads: bool| if reads { "Secrets too" } else { "no Secrets" };
    for watcher in was.union(&will) {
        let side = |there: bool, reads: bool| Prose::from(if there { word(reads) } else { "nothing" });
        let one = side(was.contains(watcher), reads(before));
        let other = match will.contains(watcher) || !will.contains(UNKNOWN) {
            true => side(will.contains(watcher), reads(after)),
            false => "known after apply".into(),
        };
        if one != other {
            let who = format!("istiods of {}", Name(watcher)).into();
            section.row([Prose::name(watched), who, "read the cluster".into(), one, other]);
        }
    }
    let new: Vec<&str> =
        will.iter().filter(|watcher| !was.contains(*watcher) || !reads(before)).map(String::as_str).collect();
    if !reads(after) || new.is_empty() {
        return;
    }
    let joins = !cx.topology.before.clusters.contains_key(watched);
    let level = if joins { Level::Note } else { Level::Warning };
    let what =
        format!("Whoever holds the istiods of {} reads every Secret of {}.", names(new.iter().copied()), Name(watched));
    let sides =
        |list: &BTreeSet<String>, reads: bool| names_or(list.iter().map(String::as_str).filter(|_| reads), "nobody");
    let (before, after) = (sides(&was, reads(before)), sides(&will, true));
    cx.risk(&SECRETS, remote, what).of(watched).at(level).sides(before, after);
}
