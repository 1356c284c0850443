//! What is remembered beside state of roots: which were made here, which are trusted by decision and not because they
//! were found. Pure.
//!
//! State tells what clusters hold, whoever put it there. So it cannot say what may be there: that is what this is for.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::decide::Decision;
use super::home::Home;
use super::model::{Ca, ClusterCa};
use super::secret::{CACERTS, RootStore};
use super::spec::{RootSpec, Spec, StoreRef, store_of};
use super::state;
use crate::diag::{Diagnostic, Diagnostics};
use crate::kept::instance::{HasInstance, Instance};
use crate::mesh::{Phase, Step};
use crate::value::Path;

/// Kept beside the state; no secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Private {
    #[serde(flatten)]
    pub instance: Instance,
    /// When the clusters were last looked at, in seconds since 1970: the only clock of a plan, which must come out the
    /// same when it is made again. Nothing else goes from a refresh to the second plan that an apply makes.
    #[serde(default)]
    pub observed_at: Option<i64>,
    /// Fingerprints of the roots whose keys are in the store, by generation.
    #[serde(default)]
    pub roots: BTreeMap<i64, String>,
    /// Fingerprints of all roots that ever were in the store, by generation: none is forgotten, so that none is made
    /// twice.
    #[serde(default)]
    pub made: BTreeMap<i64, String>,
    /// Fingerprints of the roots that clusters trust because an apply, or an import, decided so. `None` in states of
    /// before.
    #[serde(default)]
    pub accepted: Option<BTreeSet<String>>,
    /// Clusters whose `cacerts` an apply has written.
    #[serde(default)]
    pub written: BTreeSet<String>,
    /// Fingerprints of the intermediates that were written there, the present one last: none is forgotten, so that
    /// none comes back. States of before take what is there.
    #[serde(default)]
    pub issued: BTreeMap<String, Vec<String>>,
    /// Roots that the last refresh found in clusters, and that nobody accepted.
    #[serde(default)]
    pub strange: BTreeMap<String, Strange>,
    /// Seconds that certificates of workloads may live that istiods have issued; looked at during a rotation alone.
    #[serde(default)]
    pub longest: Option<u64>,
    /// The step of a rotation that an apply has begun last: it goes on without another pause.
    #[serde(default)]
    pub begun: Option<Step>,
    /// What is wrong with the store.
    #[serde(default)]
    pub damage: Option<String>,
    /// The Secrets in which this CA keeps roots, or kept them before its root was another: none is forgotten until it
    /// is gone. `None` in states of before.
    #[serde(default)]
    pub stores: Option<BTreeSet<StoreRef>>,
    /// Where its Lease is; `None` in states of before.
    #[serde(default)]
    pub home: Option<Home>,
}

/// Roots in one cluster that are somebody else's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strange {
    /// Subjects, by fingerprint.
    pub roots: BTreeMap<String, String>,
    /// Who wrote the Secret, by its managed fields.
    pub managers: Vec<String>,
}

/// What becomes of the generation of the root that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// Certificate and key are in the store.
    Kept,
    /// It is a new one.
    ToMake,
    /// It was there, and is the one that the clusters were brought to last.
    Lost,
    /// It was there, or a later one was.
    Over(Past),
}

/// What to do about a generation that there was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    /// The next that is free.
    pub next: i64,
    /// A later one that the store holds.
    pub kept: Option<i64>,
}

impl HasInstance for Private {
    fn instance(&mut self) -> &mut Instance {
        &mut self.instance
    }
}

impl Private {
    pub fn observed_at(&self) -> Option<OffsetDateTime> {
        OffsetDateTime::from_unix_timestamp(self.observed_at?).ok()
    }

    /// How long to wait between the steps of a rotation: where nothing is said, as long as certificates of an old root
    /// may live.
    pub fn pause(&self, spec: &Spec, said: bool) -> time::Duration {
        let longest = self.longest.and_then(|seconds| seconds.try_into().ok()).map(time::Duration::seconds);
        longest.filter(|longest| !said && *longest > spec.pause).unwrap_or(spec.pause)
    }

    /// Notes what an apply begins. What another apply does meanwhile leaves a step begun, unless it changes the phase:
    /// a cluster that joins may do so.
    pub fn begin(&mut self, decision: &Decision) {
        if decision.step.is_some() || decision.before != decision.after {
            self.begun = decision.step;
        }
    }

    /// An apply that was killed in a step could not note it. The step is known by where state ends, if its pause was
    /// over by then.
    pub fn notice_killed(&mut self, state: &Ca, phase: Phase, pause_over: bool) {
        let follows = |was: Phase| state.phase.as_deref() == Some(was.as_str()) && pause_over;
        let is_midst = match phase {
            Phase::Switching => follows(Phase::Widened),
            Phase::Narrowing => follows(Phase::Switched),
            _ => false,
        };
        if is_midst {
            self.begun = phase.step();
        }
    }

    /// Fills in what a state of before knew: what its last apply or refresh had seen was taken for granted then.
    pub fn recollect(&mut self, state: &Ca) {
        for (number, root) in &self.roots {
            self.made.entry(*number).or_insert_with(|| root.clone());
        }
        if let (Some(number), Some(root)) = (generation_of(state), state.root_fingerprint.known()) {
            self.made.entry(number).or_insert_with(|| root.clone());
        }
        if self.stores.is_none() {
            // The id is of the creation.
            let made_in = state.id.known().and_then(|id| store_in(id));
            self.stores = Some(made_in.into_iter().chain(store_of(state)).collect());
        }
        if self.accepted.is_none() {
            self.take_for_granted(state);
        }
        // What is well carries the mark, and is the one that was written. After an import, or under another name of its
        // cluster, no apply has written it.
        for (name, cluster) in state.clusters.entries() {
            let is_well = matches!(cluster.state.as_deref(), Some(state::READY | state::RENEWAL_DUE));
            if let Some(found) = cluster.fingerprint.known().filter(|_| is_well) {
                self.written.insert(name.to_owned());
                self.issued.entry(name.to_owned()).or_insert_with(|| vec![found.clone()]);
            }
        }
    }

    fn take_for_granted(&mut self, state: &Ca) {
        let held = state.clusters.entries().flat_map(|(_, cluster)| roots_held(cluster));
        self.accepted = Some(held.chain(state.root_fingerprint.known().cloned()).collect());
        let ours = |state: &str| state != state::FOREIGN && state != state::MISSING;
        let clusters = state.clusters.entries();
        let written = clusters.filter(|(_, cluster)| cluster.fingerprint.is_known() && ours(cluster.state.text()));
        self.written = written.map(|(name, _)| name.to_owned()).collect();
    }

    /// Compares the store, of which this provider wrote these keys, with what was there before. Nothing of one that was
    /// tampered with is believed.
    pub fn judge(&self, store: &RootStore, own: &BTreeSet<String>) -> Result<(), String> {
        store.check()?;
        for (number, root) in &store.0 {
            let found = root.certificate.fingerprint().to_string();
            let root = format!("its root of generation {number} is {} (SHA-256 {found})", root.certificate.subject());
            match self.made.get(number) {
                Some(made) if *made != found => {
                    return Err(format!("{root}, and not the one that was made (SHA-256 {made})"));
                }
                // An apply that was cut off after it had made a root leaves one that is not remembered.
                None if !own.contains(&format!("root-{number}.crt"))
                    || !own.contains(&format!("root-{number}.key")) =>
                {
                    return Err(format!("{root}, and was not written by this provider"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What of a store counts: the roots that are remembered, or that a cluster has been given. Who may write the store
    /// may give any name as the writer, so nothing else proves that a root was made here. What an apply that was cut
    /// off had made, and given to nobody, is made again.
    pub fn believed(&self, mut store: RootStore, held: &BTreeSet<String>) -> RootStore {
        store.0.retain(|number, root| {
            self.made.contains_key(number) || held.contains(&root.certificate.fingerprint().to_string())
        });
        store
    }

    /// Notes what the store holds, once that is believed.
    pub fn note_store(&mut self, store: &RootStore) {
        self.roots = store.fingerprints();
        self.made.extend(self.roots.iter().map(|(number, root)| (*number, root.clone())));
    }

    /// Notes where a root is kept from here on.
    pub fn keeps_in(&mut self, store: &StoreRef) {
        self.stores.get_or_insert_default().insert(store.clone());
    }

    /// The Secrets of roots that the CA had before it was told to have this one.
    pub fn former_stores(&self, current: Option<&StoreRef>) -> BTreeSet<StoreRef> {
        self.stores.iter().flatten().filter(|store| Some(*store) != current).cloned().collect()
    }

    /// A Secret of a root is gone, or is not this CA's any more.
    pub fn forget_store(&mut self, store: &StoreRef) {
        self.stores.get_or_insert_default().remove(store);
    }

    /// What becomes of a generation, by what the store holds now and by what is remembered.
    pub fn generation(&self, wanted: i64, prior: Option<&Ca>) -> Generation {
        if self.roots.contains_key(&wanted) {
            return Generation::Kept;
        }
        let current = prior.and_then(generation_of);
        let last = self.roots.keys().chain(self.made.keys()).chain(&current).max().copied();
        // Where the store has gone on, the wanted one was given up, whatever a state of before says.
        let kept = self.roots.keys().filter(|number| **number > wanted).max().copied();
        match last {
            _ if kept.is_none() && current == Some(wanted) && self.made.contains_key(&wanted) => Generation::Lost,
            Some(last) if wanted <= last => Generation::Over(Past { next: last.saturating_add(1), kept }),
            _ => Generation::ToMake,
        }
    }

    /// The roots that may be given to clusters: decided on before, or named by the configuration.
    pub fn allowed(&self, spec: &Spec) -> BTreeSet<String> {
        let mut allowed = self.accepted.clone().unwrap_or_default();
        allowed.extend(self.roots.values().cloned());
        allowed.extend(spec.accept_roots.iter().cloned());
        if let RootSpec::Brought { certificate, .. } = &spec.root {
            allowed.insert(certificate.fingerprint().to_string());
        }
        allowed
    }

    /// Whether clusters trust a root by decision.
    pub fn is_accepted(&self, root: &str) -> bool {
        self.accepted.iter().flatten().any(|other| other == root) || self.roots.values().any(|other| other == root)
    }

    /// Whether a cluster has another intermediate than the one that was written: one of before or of another cluster,
    /// or one that others wrote. A new one of this provider's is of an apply that was cut off.
    pub fn is_exchanged(&self, cluster: &str, found: &str, wrote: bool) -> bool {
        let Some(written) = self.issued.get(cluster).and_then(|issued| issued.last()) else { return false };
        let is_known = self.issued.values().flatten().any(|other| other == found);
        written != found && (is_known || !wrote)
    }

    /// Whether a cluster was given this intermediate: the chain that brought it has been used.
    pub fn has_issued(&self, cluster: &str, intermediate: &str) -> bool {
        self.issued.get(cluster).is_some_and(|issued| issued.iter().any(|other| other == intermediate))
    }

    /// Whether `adopt` speaks of this cluster: once an apply has written its Secret, whoever replaces that is not taken
    /// over unasked.
    pub fn adopts(&self, spec: &Spec, cluster: &str) -> bool {
        spec.adopt && !self.written.contains(cluster)
    }

    /// Whether `migrate_self_signed` speaks of this cluster: the same holds of it.
    pub fn migrates(&self, spec: &Spec, cluster: &str) -> bool {
        spec.migrate_self_signed && !self.written.contains(cluster)
    }

    /// The clusters that hold roots of somebody else, as state remembers them.
    pub fn strangers(&self, spec: &Spec, prior: &Ca) -> Diagnostics {
        let allowed = self.allowed(spec);
        let mut diagnostics = Diagnostics::new();
        for name in spec.clusters.keys() {
            let Some(cluster) = prior.clusters.entry(name) else { continue };
            let taken = cluster.state.as_deref() == Some(state::FOREIGN) && self.adopts(spec, name);
            let strange: BTreeSet<String> =
                roots_held(cluster).filter(|root| !taken && !allowed.contains(root)).collect();
            if strange.is_empty() {
                continue;
            }
            let known = self.strange.get(name).cloned().unwrap_or_default();
            let subject = |root: String| (root.clone(), known.roots.get(&root).cloned().unwrap_or_default());
            let roots = strange.into_iter().map(subject).collect();
            diagnostics.push(self.stranger(name, &Strange { roots, managers: known.managers }));
        }
        diagnostics
    }

    /// A cluster that holds roots of somebody else.
    pub fn stranger(&self, cluster: &str, strange: &Strange) -> Diagnostic {
        let given_up = |root: &String| self.made.iter().find(|(_, made)| *made == root).map(|(number, _)| *number);
        let roots = strange.roots.iter().map(|(root, subject)| {
            let name = if subject.is_empty() { String::new() } else { format!("{subject}, ") };
            let past =
                given_up(root).map(|number| format!(", this CA's own of generation {number}, which was given up"));
            format!("{name}SHA-256 {root}{}", past.unwrap_or_default())
        });
        let roots: Vec<String> = roots.collect();
        let managers = managed_by(&strange.managers);
        Diagnostic::error("A cluster has a root of somebody else")
            .detail(format!(
                "The Secret cacerts in cluster {cluster} brings a root that no apply has put there: {}.{managers} No other cluster gets it: the plan stops here, and nothing was written. If you do not know this root, find out who wrote the Secret, then delete the Secret; the next apply makes a new one. If the mesh is to trust this root, add its fingerprint to `accept_roots`.",
                roots.join("; ")
            ))
            .at(Path::root("clusters").key(cluster))
    }

    /// Notes what an apply has decided: of what clusters hold now, what was allowed. And the intermediates it has
    /// written, by cluster.
    pub fn settle(&mut self, state: &Ca, allowed: &BTreeSet<String>, written: impl Iterator<Item = (String, String)>) {
        let held = state.clusters.entries().flat_map(|(_, cluster)| roots_held(cluster));
        let mut accepted: BTreeSet<String> = held.filter(|root| allowed.contains(root)).collect();
        accepted.extend(state.root_fingerprint.known().cloned());
        self.accepted = Some(accepted);
        for (name, intermediate) in written {
            let issued = self.issued.entry(name.clone()).or_default();
            issued.retain(|other| *other != intermediate);
            issued.push(intermediate);
            self.written.insert(name);
        }
        self.written.retain(|name| state.clusters.entry(name).is_some());
        self.issued.retain(|name, _| state.clusters.entry(name).is_some());
        self.strange.clear();
        self.damage = None;
    }
}

/// The store of a root that the id of a CA names; `None` where it names a `cacerts`.
fn store_in(id: &str) -> Option<StoreRef> {
    match id.split('/').collect::<Vec<_>>()[..] {
        [_, _, CACERTS] => None,
        [cluster, namespace, name] => {
            Some(StoreRef { cluster: cluster.into(), namespace: namespace.into(), name: name.into() })
        }
        _ => None,
    }
}

fn generation_of(state: &Ca) -> Option<i64> {
    let root = state.root.known()?;
    root.generation.get().filter(|_| root.store.is_known())
}

/// What to do about a store that is not as it was.
pub fn damaged(why: &str, store: &StoreRef) -> Diagnostic {
    Diagnostic::error("The root's store was changed")
        .detail(format!(
            "Of the Secret {store}, {why}. Nothing is signed with what it holds. Find out who wrote it, and restore it from a backup. Without one, delete the Secret and raise `root.generation`: the clusters then go over to a new root."
        ))
        .at(Path::root("root").attr("store"))
}

/// A generation that there was.
pub fn over(generation: i64, past: Past) -> Diagnostic {
    let Past { next, kept } = past;
    let kept = kept.map(|kept| format!(" Set `generation = {kept}` for the root that it holds, which came later."));
    Diagnostic::error("This generation of the root is over")
        .detail(format!(
            "The store no longer holds the key of generation {generation}, and no new root is made under an old number.{} Set `generation = {next}` for a new root.",
            kept.unwrap_or_default()
        ))
        .at(Path::root("root").attr("generation"))
}

/// What to do about a `cacerts` that was written once and is somebody else's by now.
pub const KEEP_OR_DELETE: &str = "Delete it, and the next apply issues a new intermediate. To keep it instead, compare the certificate, remove the cluster from `clusters`, apply, and add it again with `adopt = true`.";

/// Fingerprints of the roots that a cluster holds, by what state remembers.
pub fn roots_held(model: &ClusterCa) -> impl Iterator<Item = String> {
    model.trusted.items().chain(model.issuer.known()).cloned().collect::<BTreeSet<_>>().into_iter()
}

/// Who writes a Secret, as a sentence of its own.
pub fn managed_by(managers: &[String]) -> String {
    match managers {
        [] => String::new(),
        managers => format!(" Fields of the Secret are managed by {}.", managers.join(", ")),
    }
}

/// The key of the root that the clusters issue from is not in its store any more.
pub fn lost(store: &StoreRef, generation: i64) -> Diagnostic {
    Diagnostic::warning("The root's key is lost").detail(format!(
        "The Secret {store} does not hold generation {generation} of the root any more. The clusters keep the intermediates they have, and none can be renewed. Restore the Secret from a backup, or raise `root.generation` to rotate to a new root."
    ))
}
