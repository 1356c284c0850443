//! The objects of one side of the border, in the importing cluster and in each that exports: made, read and removed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::model::{Exported, ServiceEntry};
use super::spec::Spec;
use super::{Cx, EXPORTED_KINDS, build};
use crate::cluster::{Adoption, Apply, Cluster, Error, Kind, Object, Owner};
use crate::diag::{Diagnostic, Diagnostics};
use crate::kept::changes::{self, Before};
use crate::kept::claim::Claim;
use crate::kept::converge::Converge;
use crate::kept::memory::Memory;
use crate::kept::noted::Place;
use crate::kept::objects::{Recorded, UNKNOWN, Wanted, state_key};
use crate::kept::read::{self, Look, Looked, Seen};
use crate::kept::remove::{Remaining, Removal};
use crate::kept::report;
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
    let is_left = skips(state) && !errors.is_empty() && errors.iter().all(Error::may_be_gone);
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

/// Removes what is in one cluster; orphans are looked for where somebody was interrupted.
pub async fn removal(
    whose: Whose<'_>,
    cluster: &Cluster,
    recorded: &Recorded,
    memory: &Memory,
    kinds: &'static [Kind],
) -> Remaining {
    let namespaces: BTreeSet<String> = recorded.references().filter_map(|(_, reference)| reference.namespace).collect();
    let removal = Removal {
        cluster,
        recorded,
        memory,
        owner: whose.owner,
        orphan_kinds: if whose.interrupted { kinds } else { &[] },
        namespace: namespaces.first().map(String::as_str).unwrap_or_default(),
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
        };
        let reached = self.claim.converge(step, memory).await;
        Reached { warning: reached.warning(), recorded: reached.recorded, errors: reached.errors }
    }
}

/// Where the objects of exporting clusters go.
fn places(wanted: &BTreeMap<String, Wanted>) -> BTreeSet<Place> {
    let of_cluster = |(cluster, wanted): (&String, &Wanted)| -> Vec<Place> {
        let namespaces = wanted.iter().filter_map(|(_, entry)| entry.reference.namespace.clone());
        namespaces.map(|namespace| (cluster.clone(), namespace)).collect()
    };
    wanted.iter().flat_map(of_cluster).collect()
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

/// Adds what an interrupted apply has left in the noted namespaces of an exporting cluster.
pub async fn add_strays(
    owner: &Owner,
    cluster: &Cluster,
    noted: &BTreeSet<Place>,
    recorded: &mut Recorded,
) -> Result<(), Error> {
    for (_, namespace) in noted.iter().filter(|(name, _)| name == cluster.name()) {
        for reference in read::owned(cluster, EXPORTED_KINDS, namespace, owner).await?.into_keys() {
            recorded.objects.entry(state_key(&reference)).or_insert_with(|| UNKNOWN.to_owned());
        }
    }
    Ok(())
}

/// Brings every exporting cluster about, also those that export no longer.
pub async fn export(
    cx: &mut Cx,
    claim: &Claim,
    spec: &Spec,
    prior: Option<&ServiceEntry>,
    state: &mut ServiceEntry,
) -> Result<(), Diagnostics> {
    let wanted = build::exported(spec);
    let mut exported: BTreeMap<String, Exported> = BTreeMap::new();
    let (mut errors, mut left) = (Diagnostics::new(), Vec::new());
    let noted = claim.noted_places().await?;
    claim.note_places(&places(&wanted)).await?;
    let before = prior.into_iter().flat_map(|prior| prior.exported.keys()).map(str::to_owned);
    let known: BTreeSet<String> = before.chain(wanted.keys().cloned()).collect();
    let noted_names = noted.iter().map(|(cluster, _)| cluster.clone());
    for name in noted_names.chain(known.iter().cloned()).collect::<BTreeSet<_>>() {
        let before = prior.and_then(|prior| before_in(prior, &name));
        let leaves = !wanted.contains_key(&name) && skips(state);
        let objects: Vec<&str> = before.map(|before| before.objects.keys().collect()).unwrap_or_default();
        let cluster = match known.contains(&name) {
            true => match client::cluster(cx, &name) {
                Err(_) if leaves => {
                    left.push(stays(&name, &objects));
                    continue;
                }
                cluster => cluster?,
            },
            false => match noted_cluster(cx, &name) {
                Some(cluster) => cluster,
                None => continue,
            },
        };
        let side = Exporting { cluster: &cluster, wanted: wanted.get(&name), before, noted: &noted };
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

/// What to do where a cluster that exports no longer is gone for good.
const LEAVING: &str = "take it out of `exporters` and set `skip_unreachable_on_destroy = true`";

/// An exporting cluster to bring about.
struct Exporting<'a> {
    cluster: &'a Cluster,
    /// `None` where it exports no longer.
    wanted: Option<&'a Wanted>,
    before: Option<Before<'a>>,
    noted: &'a BTreeSet<Place>,
}

impl Exporting<'_> {
    async fn run(
        self,
        cx: &mut Cx,
        claim: &Claim,
        spec: &Spec,
        state: &ServiceEntry,
    ) -> (Option<Exported>, Vec<Error>) {
        let Exporting { cluster, wanted, before, noted } = self;
        let nothing = Wanted::default();
        let wanted = wanted.unwrap_or(&nothing);
        let name = cluster.name();
        let memory = cx.private.exported.entry(name.to_owned()).or_default();
        let planned = state.exported.entry(name).map(|exported| exported.changes.clone());
        let planned = planned.unwrap_or_else(|| changes::planned(before, memory, &wanted.recorded()));
        let mut recorded = before.map(|before| Recorded::of(before.objects, memory)).unwrap_or_default();
        let strays = add_strays(&claim.owner, cluster, noted, &mut recorded).await.err();
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
        let cluster = client::cluster(cx, name)?;
        let memory = cx.private.exported.entry(name.to_owned()).or_default();
        let recorded = Recorded::of(&before.objects, memory);
        let look = Look { cluster: &cluster, recorded: &recorded, memory, owner, lease_in: None };
        match look.look().await? {
            Looked::Seen(seen) => {
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
        let wanted = [("north", "istio-system"), ("west", "doors")].map(|(name, at)| (name.to_owned(), gateway(at)));
        let expected =
            [("north", "istio-system"), ("west", "doors")].map(|(name, at)| (name.to_owned(), at.to_owned()));
        assert_eq!(places(&wanted.into()), expected.into());
    }
}
