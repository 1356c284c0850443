//! What a refresh found changed by others, and whether this plan reverts it. What was to be renewed is told apart.

use std::collections::{BTreeMap, BTreeSet};

use super::{Cx, values};
use crate::review::objects::{self, Fate, Field, Objects};
use crate::review::read::{Action, Instance, Type};
use crate::review::risk::{CANNOT_TELL, DRIFT, Level, MTLS};
use crate::review::section::Section;
use crate::review::text::{Name, Prose, count, names};

const COLUMNS: &[(&str, &str)] = &[
    ("cluster", "cluster"),
    ("address", "resource"),
    ("object", "object"),
    ("field", "field"),
    ("was", "was"),
    ("is", "is"),
    ("by", "by"),
    ("fate", "by this plan"),
];

pub fn of_plan(cx: &mut Cx<'_>) -> Section {
    let mut section = Section::new("drift", "Changed by others", COLUMNS);
    section.importance = 7;
    let plan = cx.plan;
    for drifted in &plan.drift {
        let planned =
            plan.instances.iter().position(|instance| instance.address == drifted.address && !instance.deposed);
        let planned = planned.map(|at| (&plan.instances[at], cx.objects[at].clone()));
        let mut found = gone(drifted).into_iter().collect::<Vec<_>>();
        found.extend(objects_of(drifted, planned.as_ref().map(|(_, objects)| objects.as_slice())));
        found.extend(states(cx, drifted));
        // What the plan does not touch stays as others left it.
        if planned.is_none_or(|(instance, _)| instance.action == Action::None) {
            found.iter_mut().for_each(|one| one.reverted = false);
        }
        judge(cx, drifted, &found);
        for difference in found {
            section.row(difference.row(drifted));
        }
    }
    section.sorted()
}

/// Something that is not as it was left.
struct Difference {
    cluster: String,
    object: Prose,
    field: Prose,
    was: Prose,
    is: Prose,
    by: Option<String>,
    /// Something that was there is not.
    lost: bool,
    /// Encryption, or a check of identity, is less than it was.
    weakens: bool,
    reverted: bool,
}

impl Difference {
    fn row(self, drifted: &Instance) -> [Prose; 8] {
        let fate = if self.reverted { "reverted" } else { "stays" };
        let by = self.by.as_deref().map_or_else(|| "not told".into(), Prose::name);
        [
            Prose::name(&self.cluster),
            Prose::name(&drifted.address),
            self.object,
            self.field,
            self.was,
            self.is,
            by,
            fate.into(),
        ]
    }
}

fn gone(drifted: &Instance) -> Option<Difference> {
    (drifted.action == Action::Delete).then(|| Difference {
        cluster: drifted.cluster().unwrap_or_default().to_owned(),
        object: "all of it".into(),
        field: Prose::default(),
        was: "there".into(),
        is: "gone".into(),
        by: None,
        lost: true,
        weakens: false,
        reverted: true,
    })
}

fn objects_of(drifted: &Instance, planned: Option<&[Objects]>) -> Vec<Difference> {
    if drifted.action == Action::Delete {
        return Vec::new();
    }
    // What the plan does to the same object: there stands who changed it.
    let mut back: BTreeMap<(&str, &str), &objects::Object> = BTreeMap::new();
    for of in planned.unwrap_or_default() {
        back.extend(of.changes.iter().map(|object| ((of.cluster.as_str(), object.name.as_str()), object)));
    }
    let unknown = planned.is_some_and(|planned| planned.iter().any(|of| of.unknown));
    let mut found = Vec::new();
    for of in objects::of(drifted) {
        for object in &of.changes {
            let planned = back.get(&(of.cluster.as_str(), object.name.as_str())).copied();
            let difference = |field: Prose, was: Prose, is: Prose, by: Option<String>| Difference {
                cluster: of.cluster.clone(),
                object: Prose::name(&object.name),
                field,
                was,
                is,
                by,
                lost: matches!(object.fate, Fate::Removed | Fate::Remade),
                weakens: object.fate == Fate::Removed && object.kind() == "PeerAuthentication",
                reverted: planned.is_some() || unknown,
            };
            match object.fate {
                Fate::Added => found.push(difference(Prose::default(), "not there".into(), "there".into(), None)),
                Fate::Removed | Fate::Remade => {
                    found.push(difference(Prose::default(), "there".into(), "gone".into(), None))
                }
                Fate::Changed => {
                    for field in fields(object, planned) {
                        let (was, is) = field.sides("not set");
                        let one = difference(Prose::name(&field.path), was, is, field.manager.clone());
                        let weakens = values::weakens(&field.path, field.before.as_deref(), field.after.as_deref());
                        found.push(Difference { weakens, ..one });
                    }
                    if fields(object, planned).is_empty() {
                        found.push(difference("not told".into(), "not told".into(), "not told".into(), None));
                    }
                }
            }
        }
    }
    found
}

/// The fields that drifted; where state keeps none, those that the plan reverts, turned round.
fn fields(object: &objects::Object, planned: Option<&objects::Object>) -> Vec<Field> {
    let planned = planned.map(|planned| planned.fields.as_slice()).unwrap_or_default();
    if object.fields.is_empty() {
        let theirs = planned.iter().filter(|field| field.manager.is_some());
        return theirs.map(Field::turned).collect();
    }
    let manager = |path: &str| planned.iter().find(|field| field.path == path).and_then(|field| field.manager.clone());
    let with_manager =
        |field: &Field| Field { manager: field.manager.clone().or_else(|| manager(&field.path)), ..field.clone() };
    object.fields.iter().map(with_manager).collect()
}

/// What is no object that a map names: certificates, tokens, remote secrets.
fn states(cx: &mut Cx<'_>, drifted: &Instance) -> Vec<Difference> {
    let (map, member, thing) = match drifted.kind {
        Type::Ca => ("clusters", "state", "Secret cacerts"),
        Type::Remote => ("tokens", "condition", "token"),
        _ => return Vec::new(),
    };
    let mut found = Vec::new();
    let mut compare = |map: &str, member: &str, thing: &str, lost: &[&str], silent: &[&str]| {
        let after = drifted.after().get(map).entries();
        for (name, before) in drifted.before().get(map).entries() {
            let is = after.get(name).map(|after| after.get(member));
            let was = before.get(member);
            let word = is.and_then(|is| is.text()).unwrap_or("missing");
            if was.text() == Some(word) || drifted.after.is_null() {
                continue;
            }
            if silent.contains(&word) {
                let what =
                    format!("{} of {} is {}: the cluster could not be asked.", Name(thing), Name(name), Name(word));
                cx.risk(&CANNOT_TELL, drifted, what).of(name).sides(was.shown(), Prose::name(word));
            }
            if lost.contains(&word) {
                found.push(Difference {
                    cluster: name.to_owned(),
                    object: thing.into(),
                    field: member.into(),
                    was: was.shown(),
                    is: Prose::name(word),
                    by: None,
                    lost: true,
                    weakens: false,
                    reverted: true,
                });
            }
        }
    };
    match drifted.kind {
        Type::Ca => compare(map, member, thing, &["missing", "foreign", "invalid"], &["unreachable"]),
        _ => {
            compare(map, member, thing, &["revoked", "missing"], &["unreadable"]);
            compare("sync", "verdict", "remote secret", &["missing", "foreign", "closed", "timeout"], &["unknown"]);
        }
    }
    found
}

fn judge(cx: &mut Cx<'_>, drifted: &Instance, found: &[Difference]) {
    let Some(first) = found.first() else { return };
    cx.drift += found.len();
    let who: BTreeSet<&str> = found.iter().filter_map(|one| one.by.as_deref()).collect();
    let who = if who.is_empty() { "not told".to_owned() } else { names(who) };
    let (back, stays) =
        (found.iter().filter(|one| one.reverted).count(), found.iter().filter(|one| !one.reverted).count());
    let fate = match (back, stays) {
        (_, 0) => "reverted by this plan".to_owned(),
        (0, _) => "left in place by this plan".to_owned(),
        _ => format!("of which this plan reverts {back}"),
    };
    let what = format!("{} made outside, {fate}. By whom: {who}.", count(found.len(), "change"));
    // What is gone and is not made again is missed by somebody; other changes that stay were seen before.
    let level = if back > 0 || found.iter().any(|one| one.lost) { Level::Warning } else { Level::Note };
    let clusters: BTreeSet<&str> = found.iter().map(|one| one.cluster.as_str()).collect();
    cx.risk(&DRIFT, drifted, what).of_all(clusters).at(level).sides(first.is.clone(), first.was.clone());
    for one in found.iter().filter(|one| one.weakens && !one.reverted) {
        let by = one.by.as_deref().map_or_else(|| "not told".into(), Prose::name);
        let what = format!("{} of {} was changed outside, and stays so. By whom: {by}.", one.field, one.object);
        cx.risk(&MTLS, drifted, what).of(&one.cluster).sides(one.was.clone(), one.is.clone());
    }
}
