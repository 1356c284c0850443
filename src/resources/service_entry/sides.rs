//! The objects of one side of the border, in the importing cluster and in each that exports: made, read and removed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::model::{Exported, ServiceEntry};
use super::spec::Spec;
use super::{Cx, EXPORTED_KINDS, build};
use crate::cluster::{Adoption, Apply, Cluster, Error, Kind, Object, Owner};
use crate::diag::{Diagnostic, Diagnostics, Severity};
use crate::kept::changes::{self, Before};
use crate::kept::claim::Claim;
use crate::kept::converge::{Converge, Strays};
use crate::kept::instance::Instance;
use crate::kept::memory::Memory;
use crate::kept::noted::Place;
use crate::kept::objects::{Recorded, UNKNOWN, Wanted, state_key};
use crate::kept::read::{self, Look, Looked, Seen};
use crate::kept::remove::{Remaining, Removal};
use crate::kept::report;
use crate::kept::same;
use crate::resources::client;
use crate::value::Map;

/// What state says of the objects in an exporting cluster.
pub fn before_in<'a>(prior: &'a ServiceEntry, exporter: &str) -> Option<Before<'a>> {
    let exported = prior.exported.entry(exporter)?;
    Some(Before { objects: &exported.objects, changes: &exported.changes })
}

/// Whether clusters that do not answer are left as they are.
pub fn skips(state: &ServiceEntry) -> bool {
    state.skip_unreachable_on_destroy.get() == Some(true)
}

/// What stays in a cluster that is left as it is: `None` where the user has not asked for that, or it answers.
pub fn left_in<'a>(
    state: &ServiceEntry,
    cluster: &str,
    objects: impl Iterator<Item = &'a str>,
    errors: &[Error],
) -> Option<String> {
    let is_silent = |error: &Error| error.may_be_gone() && &*error.cluster == cluster;
    let is_left = skips(state) && !errors.is_empty() && errors.iter().all(is_silent);
    is_left.then(|| stays(cluster, &objects.collect::<Vec<_>>()))
}

pub fn stays(cluster: &str, objects: &[&str]) -> String {
    let objects =
        if objects.is_empty() { "what an interrupted apply has made there".to_owned() } else { objects.join(", ") };
    format!("cluster {cluster} does not answer, so these objects stay in it if it still exists: {objects}")
}

/// In whose name something is removed.
#[derive(Clone, Copy)]
pub struct Whose<'a> {
    pub owner: &'a Owner,
    /// Somebody was interrupted: there may be objects that no state knows.
    pub interrupted: bool,
}

/// Removes what is recorded in one cluster.
pub async fn removal(whose: Whose<'_>, cluster: &Cluster, recorded: &Recorded, memory: &Memory) -> Remaining {
    let removal = Removal {
        cluster,
        recorded,
        memory,
        owner: whose.owner,
        // They are recorded: see `Search`.
        orphan_kinds: &[],
        namespace: "",
        wait_for_definitions: true,
        stays: |_: &Object| None,
    };
    removal.run().await
}

/// One cluster to bring about, with what went wrong as diagnostics.
pub struct Step<'a> {
    pub cluster: &'a Cluster,
    pub wanted: &'a Wanted,
    pub prior: Recorded,
    pub kinds: &'a [Kind],
    pub claim: &'a Claim,
    pub spec: &'a Spec,
}

/// How far a step came.
pub struct Reached {
    pub recorded: Recorded,
    pub warning: Option<Diagnostic>,
    pub errors: Vec<Error>,
}

impl Step<'_> {
    pub async fn run(self, memory: &mut Memory) -> Reached {
        let step = Converge {
            cluster: self.cluster,
            wanted: self.wanted,
            prior: &self.prior,
            taken: &BTreeSet::new(),
            adopt: self.spec.adopt,
            force: self.spec.force_conflicts,
            kinds: self.kinds,
            strays: Strays::Added,
        };
        let reached = self.claim.converge(step, memory).await;
        Reached { warning: reached.warning(), recorded: reached.recorded, errors: reached.errors }
    }
}

/// Where objects go that the claim's own cluster and namespace do not tell.
fn places<'a>(wanted: impl Iterator<Item = (&'a str, &'a Wanted)>) -> BTreeSet<Place> {
    let of_cluster = |(cluster, wanted): (&'a str, &'a Wanted)| {
        let namespaces = wanted.iter().filter_map(|(_, entry)| entry.reference.namespace.clone());
        namespaces.map(move |namespace| (cluster.to_owned(), namespace))
    };
    wanted.flat_map(of_cluster).collect()
}

/// A cluster that no state names and that an interrupted apply may have written to. Where the provider no longer has
/// it, that is said.
pub fn noted_cluster(cx: &mut Cx, name: &str) -> Option<Cluster> {
    match client::cluster(cx, name) {
        Ok(cluster) => Some(cluster),
        Err(error) => {
            cx.warn(Diagnostic::warning(format!("What an interrupted apply left in {name} is not known")).detail(format!(
                "An apply of this service entry was cut off. It may have written a Gateway or a ServiceEntry in cluster {name}, which exports no longer: {}",
                error.detail
            )));
            None
        }
    }
}

/// A search for what an interrupted apply has left of one side in one cluster.
pub struct Search<'a> {
    pub cluster: &'a Cluster,
    pub kinds: &'a [Kind],
    /// Where objects were about to be written.
    pub noted: &'a BTreeSet<Place>,
    /// Other namespaces in which there may be some, beside those of what is recorded.
    pub namespaces: BTreeSet<String>,
    /// What the other side has in the same cluster.
    pub others: BTreeSet<String>,
}

impl Search<'_> {
    /// Adds what is found to what is recorded.
    pub async fn run(self, whose: Whose<'_>, recorded: &mut Recorded) -> Result<(), Error> {
        if !whose.interrupted {
            return Ok(());
        }
        let Search { cluster, kinds, noted, mut namespaces, others } = self;
        namespaces.extend(noted.iter().filter(|(name, _)| name == cluster.name()).map(|(_, place)| place.clone()));
        namespaces.extend(recorded.references().filter_map(|(_, reference)| reference.namespace));
        for namespace in namespaces {
            for reference in read::owned(cluster, kinds, &namespace, whose.owner).await?.into_keys() {
                let key = state_key(&reference);
                if !others.contains(&key) {
                    recorded.objects.entry(key).or_insert_with(|| UNKNOWN.to_owned());
                }
            }
        }
        Ok(())
    }
}

/// Namespaces of the importing cluster that the service says, whatever is recorded: its own, and that of a Service for
/// the host.
pub fn namespaces_of(model: &ServiceEntry) -> BTreeSet<String> {
    let own = model.namespace.known().cloned();
    own.into_iter().chain(build::stub_namespace(model.host.text()).map(str::to_owned)).collect()
}

/// What the importing side has in a cluster, as far as that is the importing one.
fn imported_in(cluster: &str, state: &ServiceEntry, prior: Option<&ServiceEntry>, wanted: &Wanted) -> BTreeSet<String> {
    if state.cluster.text() != cluster {
        return BTreeSet::new();
    }
    let recorded = prior.into_iter().flat_map(|prior| prior.objects.keys());
    wanted.iter().map(|(key, _)| key.to_owned()).chain(recorded.map(str::to_owned)).collect()
}

/// What the exporting side has in the importing cluster, if that exports as well.
pub fn exported_here(state: &ServiceEntry) -> BTreeSet<String> {
    let here = state.exported.entry(state.cluster.text());
    here.into_iter().flat_map(|exported| exported.objects.keys()).map(str::to_owned).collect()
}

/// Brings every exporting cluster about, also those that export no longer.
pub async fn export(
    cx: &mut Cx,
    claim: &Claim,
    spec: &Spec,
    prior: Option<&ServiceEntry>,
    state: &mut ServiceEntry,
    noted: &BTreeSet<Place>,
) -> Result<(), Diagnostics> {
    let wanted = build::exported(spec);
    let imported = build::imported(spec, None);
    let mut exported: BTreeMap<String, Exported> = BTreeMap::new();
    let (mut errors, mut left) = (Diagnostics::new(), Vec::new());
    // The namespace of the claim is looked through anyway.
    let mut noting = places([(state.cluster.text(), &imported)].into_iter());
    noting.retain(|(_, namespace)| namespace != state.namespace.text());
    noting.extend(places(wanted.iter().map(|(name, wanted)| (name.as_str(), wanted))));
    claim.note_places(&noting).await?;
    let before = prior.into_iter().flat_map(|prior| prior.exported.keys()).map(str::to_owned);
    let known: BTreeSet<String> = before.chain(wanted.keys().cloned()).collect();
    let noted_names = noted.iter().map(|(cluster, _)| cluster.clone());
    let all: BTreeSet<String> = noted_names.chain(known.iter().cloned()).collect();
    // What is written under a new name of a cluster is there before anything is removed under the old one.
    let (first, last): (Vec<String>, Vec<String>) = all.into_iter().partition(|name| wanted.contains_key(name));
    for name in first.into_iter().chain(last) {
        let before = prior.and_then(|prior| before_in(prior, &name));
        let leaves = !wanted.contains_key(&name) && skips(state);
        let objects: Vec<&str> = before.map(|before| before.objects.keys().collect()).unwrap_or_default();
        let cluster = match known.contains(&name) {
            true => match client::cluster(cx, &name) {
                Ok(cluster) => cluster,
                Err(_) if leaves => {
                    left.push(stays(&name, &objects));
                    continue;
                }
                // What is in it goes on being known.
                Err(error) => {
                    errors.push(error);
                    let there = prior.and_then(|prior| prior.exported.entry(&name));
                    exported.extend(there.map(|there| (name, there.clone())));
                    continue;
                }
            },
            false => match noted_cluster(cx, &name) {
                Some(cluster) => cluster,
                None => continue,
            },
        };
        let others = imported_in(&name, state, prior, &imported);
        let twins = if wanted.contains_key(&name) { Vec::new() } else { exporting(cx, &wanted) };
        let side = Exporting { cluster: &cluster, wanted: wanted.get(&name), twins, before, noted, others };
        let (there, failed) = side.run(cx, claim, spec, state).await;
        match left_in(state, &name, objects.iter().copied(), &failed).filter(|_| leaves) {
            Some(stays) => left.push(stays),
            None => {
                errors.append(report::at_destroy(&failed, LEAVING));
                exported.extend(there.map(|there| (name, there)));
            }
        }
    }
    report::left(&left).into_iter().for_each(|warning| cx.warn(warning));
    state.exported = exported.into_iter().collect();
    if errors.has_errors() { Err(errors) } else { Ok(()) }
}

/// The clusters that export, each with what is wanted in it.
fn exporting<'a>(cx: &Cx, wanted: &'a BTreeMap<String, Wanted>) -> Vec<(Cluster, &'a Wanted)> {
    wanted.iter().filter_map(|(name, wanted)| Some((client::cluster(cx, name).ok()?, wanted))).collect()
}

/// What to do where a cluster that exports no longer is gone for good.
const LEAVING: &str = "take it out of `exporters` and set `skip_unreachable_on_destroy = true`";

/// An exporting cluster to bring about.
struct Exporting<'a> {
    cluster: &'a Cluster,
    /// `None` where it exports no longer.
    wanted: Option<&'a Wanted>,
    /// Of one that exports no longer: those that do, among which it may be under another name.
    twins: Vec<(Cluster, &'a Wanted)>,
    before: Option<Before<'a>>,
    noted: &'a BTreeSet<Place>,
    /// What the importing side has in this cluster.
    others: BTreeSet<String>,
}

impl Exporting<'_> {
    async fn run(
        self,
        cx: &mut Cx,
        claim: &Claim,
        spec: &Spec,
        state: &ServiceEntry,
    ) -> (Option<Exported>, Vec<Error>) {
        let Exporting { cluster, wanted, twins, before, noted, others } = self;
        let nothing = Wanted::default();
        let wanted = wanted.unwrap_or(&nothing);
        let name = cluster.name();
        let memory = cx.private.exported.entry(name.to_owned()).or_default();
        let planned = state.exported.entry(name).map(|exported| exported.changes.clone());
        let planned = planned.unwrap_or_else(|| changes::planned(before, memory, &wanted.recorded()));
        let mut recorded = before.map(|before| Recorded::of(before.objects, memory)).unwrap_or_default();
        let whose = Whose { owner: &claim.owner, interrupted: claim.interrupted };
        let search = Search { cluster, kinds: EXPORTED_KINDS, noted, namespaces: BTreeSet::new(), others };
        let strays = search.run(whose, &mut recorded).await.err();
        match kept_by(&twins, cluster, &recorded, &cx.private.instance).await {
            Ok(kept) => recorded.retain(|key| !kept.contains(key)),
            // What may be another's by now is not removed.
            Err(error) => {
                let changes = before.map(|before| before.changes.clone()).unwrap_or_default();
                let objects = memory.record(&recorded);
                return ((!recorded.objects.is_empty()).then_some(Exported { objects, changes }), vec![error]);
            }
        }
        let step = Step { cluster, wanted, prior: recorded, kinds: EXPORTED_KINDS, claim, spec };
        let Reached { recorded, warning, mut errors } = step.run(memory).await;
        errors.extend(strays);
        let objects = memory.record(&recorded);
        let told = before.map(|before| before.changes);
        let changes = changes::reached(&planned, told, &wanted.recorded(), &recorded);
        warning.into_iter().for_each(|warning| cx.warn(warning));
        ((!recorded.objects.is_empty()).then_some(Exported { objects, changes }), errors)
    }
}

/// Which of these objects are the very ones that have just been written under another name of the cluster.
async fn kept_by(
    twins: &[(Cluster, &Wanted)],
    cluster: &Cluster,
    recorded: &Recorded,
    before: &Instance,
) -> Result<BTreeSet<String>, Error> {
    let mut kept = BTreeSet::new();
    for (twin, wanted) in twins {
        for (key, entry) in wanted.iter().filter(|(key, _)| recorded.objects.contains_key(*key)) {
            if same::are_one(cluster, std::slice::from_ref(twin), &entry.reference, before).await? {
                kept.insert(key.to_owned());
            }
        }
    }
    Ok(kept)
}

/// Applies the stub Service, whose ClusterIP the ServiceEntry needs.
pub async fn stub_address(claim: &Claim, spec: &Spec) -> Result<Option<IpAddr>, Error> {
    let Some(stub) = build::stub(spec) else { return Ok(None) };
    let stub = claim.owner.put_on(stub);
    let adoption = if spec.adopt { Adoption::Take } else { Adoption::Refuse };
    // That it is recorded is not known here; a Service without a mark in an older state has the label.
    let apply = Apply { adoption, force: spec.force_conflicts, ..Apply::new(stub, claim.owner.clone()) };
    let applied = claim.cluster().apply(apply).await?;
    Ok(applied.object.str("spec.clusterIP").parse().ok())
}

pub async fn read_exported(
    cx: &mut Cx,
    state: &mut ServiceEntry,
    owner: &Owner,
    here: &mut Seen,
) -> Result<(), Diagnostics> {
    let mut exported: Map<Exported> = Map::new();
    for (name, before) in state.exported.entries() {
        let cluster = match client::cluster(cx, name) {
            Ok(cluster) => cluster,
            // Its destroy leaves what is there as well.
            Err(error) if skips(state) => {
                cx.warn(Diagnostic { severity: Severity::Warning, ..error });
                exported.insert(name.to_owned(), before.clone().into());
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let memory = cx.private.exported.entry(name.to_owned()).or_default();
        let recorded = Recorded::of(&before.objects, memory);
        let look = Look { cluster: &cluster, recorded: &recorded, memory, owner, lease_in: None };
        match look.look().await? {
            Looked::Seen(mut seen) => {
                let model: &ServiceEntry = state;
                let others = imported_in(name, model, Some(model), &Wanted::default());
                without(&mut seen, before.objects.keys(), &others);
                let memory = cx.private.exported.entry(name.to_owned()).or_default();
                let (objects, changes) = seen.note(memory, &before.changes);
                if !seen.recorded.objects.is_empty() {
                    exported.insert(name.to_owned(), Exported { objects, changes }.into());
                }
                here.drifts.extend(seen.drifts);
                here.taken_over.extend(seen.taken_over);
            }
            Looked::Silent(warning) => {
                cx.warn(warning);
                exported.insert(name.to_owned(), before.clone().into());
            }
        }
    }
    state.exported = exported.into();
    Ok(())
}

/// What a look found that state does not name, without what is the other side's in the same cluster.
pub fn without<'a>(seen: &mut Seen, known: impl Iterator<Item = &'a str>, others: &BTreeSet<String>) {
    let known: BTreeSet<&str> = known.collect();
    seen.recorded.retain(|key| known.contains(key) || !others.contains(key));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ObjectRef;

    #[test]
    fn every_namespace_that_is_written_to_is_noted() {
        let gateway = |namespace: &str| {
            let reference = ObjectRef::namespaced(Kind::ISTIO_GATEWAY, namespace, "cart");
            let mut wanted = Wanted::default();
            wanted.insert(reference.clone(), Object::of(&reference), "mesh_service_entry.cart");
            wanted
        };
        let wanted = [("north", "istio-system"), ("west", "doors")].map(|(name, at)| (name, gateway(at)));
        let expected =
            [("north", "istio-system"), ("west", "doors")].map(|(name, at)| (name.to_owned(), at.to_owned()));
        assert_eq!(places(wanted.iter().map(|(name, wanted)| (*name, wanted))), expected.into());
    }
}
