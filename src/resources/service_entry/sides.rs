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
use crate::kept::converge::{self, Converge};
use crate::kept::memory::Memory;
use crate::kept::objects::{Recorded, Wanted};
use crate::kept::read::{Look, Looked, Seen};
use crate::kept::remove::{Remaining, Removal};
use crate::resources::client;
use crate::value::Map;

/// What state says of the objects in an exporting cluster.
pub fn before_in<'a>(prior: &'a ServiceEntry, exporter: &str) -> Option<Before<'a>> {
    let exported = prior.exported.entry(exporter)?;
    Some(Before { objects: &exported.objects, changes: &exported.changes })
}

/// Removes what is in one cluster; orphans are looked for where somebody was interrupted.
pub async fn removal(
    claim: &Claim,
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
        owner: &claim.owner,
        orphan_kinds: if claim.interrupted { kinds } else { &[] },
        namespace: namespaces.first().map(String::as_str).unwrap_or_default(),
        wait: true,
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
    pub errors: Diagnostics,
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
        let (warning, errors) = (reached.warning(), converge::diagnostics(&reached.errors));
        Reached { recorded: reached.recorded, warning, errors }
    }
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
    let nothing = Wanted::default();
    let mut exported: BTreeMap<String, Exported> = BTreeMap::new();
    let mut errors = Diagnostics::new();
    let known = prior.into_iter().flat_map(|prior| prior.exported.keys()).map(str::to_owned);
    for name in known.chain(wanted.keys().cloned()).collect::<BTreeSet<_>>() {
        let cluster = client::cluster(cx, &name)?;
        let wanted = wanted.get(&name).unwrap_or(&nothing);
        let before = prior.and_then(|prior| before_in(prior, &name));
        let memory = cx.private.exported.entry(name.clone()).or_default();
        let planned = state.exported.entry(&name).map(|exported| exported.changes.clone());
        let planned = planned.unwrap_or_else(|| changes::planned(before, memory, &wanted.recorded()));
        let recorded = before.map(|before| Recorded::of(before.objects, memory)).unwrap_or_default();
        let step = Step { cluster: &cluster, wanted, prior: recorded, kinds: EXPORTED_KINDS, claim, spec };
        let Reached { recorded, warning, errors: failed } = step.run(memory).await;
        let objects = memory.record(&recorded);
        let told = before.map(|before| before.changes);
        let changes = changes::reached(&planned, told, &wanted.recorded(), &recorded);
        warning.into_iter().for_each(|warning| cx.warn(warning));
        errors.append(failed);
        if !recorded.objects.is_empty() {
            exported.insert(name, Exported { objects, changes });
        }
    }
    state.exported = exported.into_iter().collect();
    if errors.has_errors() { Err(errors) } else { Ok(()) }
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
