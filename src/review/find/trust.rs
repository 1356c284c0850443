//! Roots, the steps of a rotation, what is issued anew.

use super::{Cx, clusters};
use crate::review::read::{Action, Instance, Reading, Type};
use crate::review::risk::{AUTHORITY_REMOVED, CANNOT_TELL, Level, ROOT_WITHOUT_OVERLAP, ROTATION_STEP};
use crate::review::section::Section;
use crate::review::text::{Name, Prose, names_or};
use crate::review::topology::UNKNOWN;

/// What becomes of the mesh's trust.
pub struct Trust {
    pub section: Section,
    /// For the verdict; empty where there is no certificate authority in the plan.
    pub words: Prose,
}

const SETTLED: &str = "settled";

pub fn of_plan(cx: &mut Cx<'_>) -> Trust {
    let mut section = Section::new(
        "trust",
        "Trust",
        &[
            ("address", "resource"),
            ("root_before", "root before"),
            ("root_after", "root after"),
            ("phase", "phase"),
            ("issued_anew", "intermediates reissued"),
            ("until", "root valid until"),
        ],
    );
    section.importance = 8;
    let mut words: Vec<Prose> = Vec::new();
    for ca in cx.of(Type::Ca) {
        words.push(judge(cx, ca));
        if ca.changes() {
            section.row(row(ca));
        }
        cx.renewals += renewed(ca).len();
        clusters_left(cx, ca);
    }
    let goes = |request: &&Instance| {
        request.action == Action::Delete || request.action == Action::Replace && !request.leaves_old
    };
    for request in cx.of(Type::CaRequest).filter(goes) {
        let what = "The key goes that an intermediate is signed for: what answers its request can no longer be used.";
        let level = if cx.all_goes() { Level::Note } else { Level::Warning };
        cx.risk(&AUTHORITY_REMOVED, request, what).at(level).sides("there", "removed");
    }
    pinned_roots(cx);
    let moved = words.iter().find(|words| words.plain() != UNCHANGED);
    let words = moved.or(words.first()).cloned().unwrap_or_default();
    Trust { section: section.sorted(), words }
}

const UNCHANGED: &str = "roots unchanged";

fn row(ca: &Instance) -> Vec<Prose> {
    let phase = match ca.sides("phase") {
        Some((before, after)) if before.value() != after.value() || after.is_unknown() => {
            format!("{} → {}", phase_of(before), phase_of(after)).into()
        }
        _ => ca.latest("phase").shown(),
    };
    let issued: Vec<&str> = issued(ca);
    vec![
        Prose::name(&ca.address),
        fingerprint(ca.before().get("root_fingerprint")),
        fingerprint(ca.after().get("root_fingerprint")),
        phase,
        names_or(issued, "none"),
        ca.latest("root_not_after").shown(),
    ]
}

fn phase_of(reading: Reading<'_>) -> String {
    reading.shown().to_string()
}

fn fingerprint(reading: Reading<'_>) -> Prose {
    match reading.text() {
        Some(text) => Prose::short(text),
        None if reading.is_unknown() => "known after apply".into(),
        None => "none".into(),
    }
}

/// Clusters that get an intermediate.
fn issued(ca: &Instance) -> Vec<&str> {
    let clusters = ca.after().get("clusters").entries().into_iter();
    clusters
        .filter(|(_, cluster)| cluster.get("serial").is_unknown() || cluster.is_unknown())
        .map(|(name, _)| name)
        .collect()
}

/// Those of them whose time it was.
fn renewed(ca: &Instance) -> Vec<&str> {
    let before = ca.before().get("clusters");
    let due = |name: &str| before.get(name).get("state").text() == Some("renewal-due");
    issued(ca).into_iter().filter(|name| due(name)).collect()
}

fn judge(cx: &mut Cx<'_>, ca: &Instance) -> Prose {
    match ca.action {
        Action::Create if ca.importing => return UNCHANGED.into(),
        Action::Create => return "a new root of trust".into(),
        Action::Delete | Action::Forget => {
            if ca.action == Action::Delete {
                let root = fingerprint(ca.before().get("root_fingerprint"));
                let what = "The root's key and every cacerts of it are removed.";
                cx.risk(&AUTHORITY_REMOVED, ca, what).sides(root, "none");
                return "the certificate authority is removed".into();
            }
            return "the certificate authority is forgotten and stays".into();
        }
        Action::Replace => {
            let (before, after) = roots(ca);
            let what = match ca.leaves_old {
                true => "The certificate authority is forgotten, and another one with another root is created.",
                false => "The certificate authority is deleted and recreated, with another root.",
            };
            cx.risk(&ROOT_WITHOUT_OVERLAP, ca, what).sides(before, after);
            return "the root of trust is replaced without overlap".into();
        }
        Action::Update | Action::None => {}
    }
    if ca.after().get("phase").is_unknown() {
        let what = "The phase of the root is known after the apply only: whether the root changes, and with which overlap, cannot be told.";
        let (before, after) = (ca.before().get("phase").shown(), ca.after().get("phase").shown());
        cx.risk(&CANNOT_TELL, ca, what).sides(before, after);
        return "what happens to the root is known after the apply only".into();
    }
    let phase = |reading: Reading<'_>| reading.get("phase").text().unwrap_or_default().to_owned();
    let (before, after) = (phase(ca.before()), phase(ca.after()));
    if before != after {
        return step(cx, ca, &before, &after);
    }
    let same_root = ca.sides("root_fingerprint").is_none_or(|(before, after)| before.is_same(after));
    match (same_root, after.as_str()) {
        (false, SETTLED) => {
            let (before, after) = roots(ca);
            cx.risk(&ROOT_WITHOUT_OVERLAP, ca, "Every cluster gets an intermediate of another root at once.")
                .sides(before, after);
            "the root of trust changes without overlap".into()
        }
        (_, SETTLED | "") => UNCHANGED.into(),
        (_, waiting) => {
            let risk = cx.risk(&ROTATION_STEP, ca, format!("The rotation is at {} and waits.", Name(waiting)));
            risk.at(Level::Note).sides(Prose::name(waiting), Prose::name(waiting));
            format!("a rotation of the root waits at {}", Name(waiting)).into()
        }
    }
}

fn roots(ca: &Instance) -> (Prose, Prose) {
    (fingerprint(ca.before().get("root_fingerprint")), fingerprint(ca.after().get("root_fingerprint")))
}

fn step(cx: &mut Cx<'_>, ca: &Instance, before: &str, after: &str) -> Prose {
    let (number, what, next) = match after {
        "trust-widened" => {
            (1, "every cluster trusts the old and the new root", "the next waits until every istiod hands out both")
        }
        "issuers-switched" => {
            (2, "certificates are issued from the new root", "the next waits until every istiod signs with it")
        }
        SETTLED => {
            (3, "the old root is trusted no more", "certificates of the old root that are still in use are refused")
        }
        _ => {
            cx.risk(&ROTATION_STEP, ca, "The rotation moves on.").sides(Prose::name(before), Prose::name(after));
            return format!("a rotation of the root moves to {}", Name(after)).into();
        }
    };
    let pause = ca.latest("rotation_pause").text().unwrap_or("its pause");
    let what_happens = format!("Step {number} of 3: {what}; {next}, and for {}.", Name(pause));
    let what_happens = if number == 3 { format!("Step 3 of 3: {what}; {next}.") } else { what_happens };
    cx.risk(&ROTATION_STEP, ca, what_happens).sides(Prose::name(before), Prose::name(after));
    format!("rotation of the root, step {number} of 3: {what}").into()
}

/// Clusters that lose their `cacerts` and stay in the mesh.
fn clusters_left(cx: &mut Cx<'_>, ca: &Instance) {
    let Some((before, after)) = ca.sides("clusters") else { return };
    if after.is_unknown() || ca.leaves_old {
        return;
    }
    let after = after.entries();
    for name in before.entries().into_keys().filter(|name| !after.contains_key(name)) {
        if !cx.topology.leaves(name) {
            let keeps = cx.topology.after.clusters.get(name).is_some_and(|cluster| !cluster.control_planes.is_empty());
            let what = match keeps {
                true => format!("{} keeps its control plane and loses its cacerts.", Name(name)),
                false => {
                    format!("{} loses its cacerts; this plan does not say whether it has a control plane.", Name(name))
                }
            };
            cx.risk(&AUTHORITY_REMOVED, ca, what).of(name).sides("in the authority", "not in it");
        }
    }
}

/// Control planes that are told another root, with no authority in the plan that brings it.
fn pinned_roots(cx: &mut Cx<'_>) {
    let moves = |ca: &Instance| {
        let same = |name: &str| ca.sides(name).is_some_and(|(before, after)| before.is_same(after));
        !same("root_fingerprint") || !same("phase")
    };
    // One of other clusters brings nothing. Which ones it is of may be known after the apply only.
    let brings = |ca: &Instance, primary: &Instance| {
        let of = clusters(ca);
        moves(ca)
            && (of.is_empty() || of.contains(UNKNOWN) || primary.cluster().is_none_or(|cluster| of.contains(cluster)))
    };
    for primary in cx.of(Type::Primary) {
        if cx.of(Type::Ca).any(|ca| brings(ca, primary)) {
            continue;
        }
        let Some((before, after)) = primary.sides("trust_root") else { continue };
        match (before.text(), after.text()) {
            (Some(was), Some(will)) if was != will => {
                let what = "The control plane must find another root, and nothing in this plan brings it.";
                cx.risk(&ROOT_WITHOUT_OVERLAP, primary, what).sides(fingerprint(before), fingerprint(after));
            }
            (Some(_), None) if !after.is_unknown() => {
                let what = "The control plane no longer insists on a root: it may start with one of its own.";
                cx.risk(&ROOT_WITHOUT_OVERLAP, primary, what).at(Level::Warning).sides(fingerprint(before), "any");
            }
            _ => {}
        }
    }
}
