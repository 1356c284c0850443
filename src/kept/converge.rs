//! Brings a cluster to what a resource wants: applies, removes what is no longer wanted, and tells state what was
//! reached.
//!
//! Shared by every resource that keeps objects; the only place where their objects are written. What is half done
//! when something fails is told exactly, so that the next apply goes on from there.

use std::collections::{BTreeMap, BTreeSet};

use super::claim::Claim;
use super::kinds;
use super::left;
use super::memory::Memory;
use super::namespace;
use super::objects::{Recorded, Wanted, state_key};
use super::read;
use super::remove::{Doomed, Removed, Removing};
use super::report;
pub use super::report::{diagnostics, drift_warning, stale};
use crate::cluster::{
    Adoption, Applied, ApplyAll, Cluster, Error, INSTANCE_ANNOTATION, Kind, OWNER_LABEL, Object, ObjectRef, Owner,
};
use crate::diag::Diagnostic;

/// What to bring about in one cluster.
#[derive(Clone, Copy)]
pub struct Converge<'a> {
    pub cluster: &'a Cluster,
    pub wanted: &'a Wanted,
    /// What state says is there.
    pub prior: &'a Recorded,
    /// Objects that may be written whosever they are, as another resource of this provider has left them.
    pub taken: &'a BTreeSet<ObjectRef>,
    /// Take over what is someone else's.
    pub adopt: bool,
    /// Take fields that other managers hold.
    pub force: bool,
    /// Every kind that the resource always brings: in these, and in those noted, an interrupted apply may have left
    /// objects that state does not know.
    pub kinds: &'a [Kind],
    /// Where such objects are looked for. `Added` where `prior` names them already.
    pub strays: Strays,
}

/// Where an interrupted apply may have left objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strays {
    /// In the namespace of the claim.
    AtHome,
    /// Who converges has looked for them, and added them to what is recorded.
    Added,
}

/// What was reached; with errors, on the way.
#[derive(Debug, Default)]
pub struct Converged {
    pub recorded: Recorded,
    /// Objects that are no longer wanted and had to stay, and why.
    pub left: Vec<(String, String)>,
    pub errors: Vec<Error>,
}

impl Converged {
    /// What is to be said of objects that had to stay.
    pub fn warning(&self) -> Option<Diagnostic> {
        let lines: Vec<String> = self.left.iter().map(|(object, why)| format!("{object}: {why}")).collect();
        report::left(&lines)
    }
}

impl Claim {
    /// Applies in the order of kinds, then removes what is no longer wanted. How the API server spells them is noted on
    /// the way.
    pub async fn converge(&self, step: Converge<'_>, memory: &mut Memory) -> Converged {
        self.converge_but(step, self.all_marked, memory).await
    }

    /// The same; where it is `all_marked`, what is recorded as wanted is not written again.
    pub(super) async fn converge_but(&self, step: Converge<'_>, all_marked: bool, memory: &mut Memory) -> Converged {
        self.begin();
        let step = Step { step, owner: &self.owner, all_marked, namespace: &self.namespace };
        let mut reached = Converged { recorded: step.prior.clone(), ..Converged::default() };
        let sought: &[Kind] = if step.strays == Strays::AtHome { step.kinds } else { &[] };
        let orphan_kinds = match tokio::try_join!(self.orphan_kinds(sought), self.note_kinds(step.wanted, step.kinds)) {
            Ok((orphan_kinds, ())) => orphan_kinds,
            Err(error) => return Converged { errors: vec![error], ..reached },
        };
        let (applied, errors) = apply(&step).await;
        for applied in &applied {
            let key = state_key(&applied.reference);
            if let Some(entry) = step.wanted.get(&key) {
                reached.recorded.insert(&key, entry);
                memory.note(&key, entry, &applied.object);
            }
        }
        reached.errors = errors;
        if reached.errors.is_empty() {
            remove(&step, &orphan_kinds, memory, &mut reached).await;
        }
        reached
    }
}

/// A step, and in whose name it is taken.
struct Step<'a> {
    step: Converge<'a>,
    owner: &'a Owner,
    all_marked: bool,
    namespace: &'a str,
}

impl<'a> std::ops::Deref for Step<'a> {
    type Target = Converge<'a>;

    fn deref(&self) -> &Converge<'a> {
        &self.step
    }
}

async fn apply(step: &Step<'_>) -> (Vec<Applied>, Vec<Error>) {
    let mut applied: Vec<Applied> = Vec::new();
    let known: BTreeSet<ObjectRef> = match kinds::references(step.cluster, step.prior).await {
        // To adopt is to take even what state names: an import names what is still someone else's.
        Ok(references) => references.into_values().filter(|_| !step.adopt).collect(),
        Err(error) => return (applied, vec![error]),
    };
    let namespaces = step.wanted.iter().filter(|(_, entry)| entry.reference.kind == Kind::NAMESPACE);
    for (key, entry) in namespaces {
        let written = step.prior.written(key);
        let share = namespace::Share { object: &entry.object, written: &written, owner: &step.owner.label };
        match namespace::apply(step.cluster, share).await {
            Ok(made) => applied.push(made),
            Err(error) => return (applied, vec![error]),
        }
    }
    let mut done = step.cluster.apply_all(all(step, &known, step.taken.clone())).await;
    if let Err(failed) = &done
        && let Ok(left) = left::behind(step.cluster, &failed.errors, step.owner).await
        && !left.is_empty()
    {
        done = step.cluster.apply_all(all(step, &known, step.taken.union(&left).cloned().collect())).await;
    }
    match done {
        Ok(all) => {
            applied.extend(all);
            (applied, Vec::new())
        }
        Err(failed) => {
            applied.extend(failed.applied);
            (applied, failed.errors)
        }
    }
}

/// Everything that is to be written, but for namespaces.
fn all(step: &Step<'_>, known: &BTreeSet<ObjectRef>, taken: BTreeSet<ObjectRef>) -> ApplyAll {
    let wanted = step.wanted.iter().filter(|(_, entry)| entry.reference.kind != Kind::NAMESPACE);
    let changed = wanted.filter(|(key, entry)| !(step.all_marked && step.prior.holds(key, entry)));
    let objects = changed.map(|(_, entry)| marked(&entry.object, step.owner)).collect();
    let adoption = if step.adopt { Adoption::Take } else { Adoption::Refuse };
    ApplyAll { objects, owner: step.owner.clone(), known: known.clone(), taken, adoption, force: step.force }
}

/// The object with the mark of its instance. What several resources share carries none.
fn marked(object: &Object, owner: &Owner) -> Object {
    let object = object.clone();
    match object.label(OWNER_LABEL).is_some() && !owner.mark.is_empty() {
        true => object.with_annotation(INSTANCE_ANNOTATION, &owner.mark),
        false => object,
    }
}

async fn remove(step: &Step<'_>, orphan_kinds: &[Kind], memory: &mut Memory, reached: &mut Converged) {
    let mut unwanted = reached.recorded.clone();
    unwanted.retain(|key| step.wanted.get(key).is_none());
    let references = match kinds::references(step.cluster, &unwanted).await {
        Ok(references) => references,
        Err(error) => return reached.errors.push(error),
    };
    // Another version of the provider may have given an object another key: what is wanted stays.
    let wanted: BTreeSet<&ObjectRef> = step.wanted.iter().map(|(_, entry)| &entry.reference).collect();
    let references: BTreeMap<_, _> =
        references.into_iter().filter(|(_, reference)| !wanted.contains(reference)).collect();
    // Nothing is left of a kind that the cluster has no definition of.
    reached.recorded.retain(|key| step.wanted.get(key).is_some() || references.contains_key(key));
    let mut doomed: BTreeMap<ObjectRef, Doomed> = BTreeMap::new();
    for (key, reference) in references {
        doomed.insert(reference.clone(), Doomed { key: key.to_owned(), reference, live: None, known: true });
    }
    match read::owned(step.cluster, orphan_kinds, step.namespace, step.owner).await {
        Ok(orphans) => {
            for (reference, live) in orphans {
                let key = state_key(&reference);
                if step.wanted.get(&key).is_none() {
                    let orphan = Doomed { key, reference: reference.clone(), live: Some(live), known: false };
                    doomed.entry(reference).or_insert(orphan);
                }
            }
        }
        Err(error) => reached.errors.push(error),
    }
    let removing =
        Removing { cluster: step.cluster, owner: step.owner, wait_for_definitions: false, stays: &|_: &Object| None };
    for (key, outcome) in removing.all(doomed.into_values().collect()).await {
        match outcome {
            Ok(removal) => {
                reached.recorded.remove(&key);
                memory.forget(&key);
                match removal {
                    // Who moves an object from one resource to another says so in the configuration of both.
                    Removed::Gone | Removed::TakenOver(_) => {}
                    Removed::NotOurs(why) | Removed::Left(why) => reached.left.push((key, why)),
                }
            }
            Err(error) => reached.errors.push(error),
        }
    }
}
