//! The way back: clients forget the name before the gateways do. A cluster that is gone is gone on without, where the
//! user asked for that, and what had to be left is told.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Exported, ServiceEntry};
use super::sides::{Search, Whose, exported_here, left_in, namespaces_of, noted_cluster, removal, skips};
use super::spec::owner;
use super::{Cx, EXPORTED_KINDS, IMPORTED_KINDS, places};
use crate::cluster::Cluster;
use crate::diag::Diagnostics;
use crate::engine::Failed;
use crate::kept::claim::{self, Asked, Claim, Purpose};
use crate::kept::noted::Place;
use crate::kept::objects::Recorded;
use crate::kept::remove::Remaining;
use crate::kept::report::{self, SKIPPING};
use crate::resources::client;
use crate::resources::keeping;

pub async fn remove(cx: &mut Cx, state: ServiceEntry) -> Result<(), Failed<ServiceEntry>> {
    let label = owner(state.namespace.text(), state.name.text());
    client::all_own(cx, places([&state])).await?;
    let cluster = client::own(cx, state.cluster.text()).await?;
    let (place, mark) = (keeping::place(&state, &label), state.instance.as_deref());
    let asked = Asked { cluster: &cluster, place, purpose: Purpose::Destroy, kinds: &[], mark, adopt: false };
    let claim = match claim::claim(asked, &mut cx.private.instance).await {
        Ok(claim) => Some(claim),
        // Who is to go on without the importing cluster cannot ask it whether another run is at work.
        Err(error) if skips(&state) && !client::answers(&cluster).await => {
            tracing::debug!("no claim on a cluster that does not answer: {}", error.summary);
            None
        }
        Err(error) => return Err(error.into()),
    };
    let owner = match &claim {
        Some(claim) => claim.owner.clone(),
        None => cx.private.instance.owner(&label, &state.instance),
    };
    let whose = Whose { owner: &owner, interrupted: claim.as_ref().is_none_or(|claim| claim.interrupted) };
    let (here, noted) = match &claim {
        Some(claim) => in_importer(cx, claim, &cluster, &state).await,
        None => (Remaining { left: vec![stays(&state, cluster.name())], ..Remaining::default() }, BTreeSet::new()),
    };
    let (mut left, mut errors) = (here.left, report::at_destroy(&here.errors, SKIPPING));
    let mut rest = state.exported.clone();
    if here.errors.is_empty() {
        let there = in_exporters(cx, whose, &noted, &state).await;
        left.extend(there.left);
        errors.append(there.errors);
        rest = there.exported.into_iter().collect();
    }
    report::left(&left).into_iter().for_each(|warning| cx.warn(warning));
    if errors.has_errors() {
        let objects = here.recorded.objects_value();
        return Err(Failed::from(errors).keeping(ServiceEntry { objects, exported: rest, ..state }));
    }
    let Some(claim) = claim else { return Ok(()) };
    match claim.end().await {
        Err(error) if skips(&state) && error.may_be_gone() => Ok(()),
        ended => ended.map_err(|error| Failed::from(report::one_at_destroy(&error, SKIPPING)).keeping(state)),
    }
}

/// What comes of the importing cluster, and where an interrupted apply may have written besides.
async fn in_importer(cx: &Cx, claim: &Claim, cluster: &Cluster, state: &ServiceEntry) -> (Remaining, BTreeSet<Place>) {
    let whose = Whose { owner: &claim.owner, interrupted: claim.interrupted };
    let mut recorded = Recorded::of(&state.objects, &cx.private.memory);
    let (noted, unread) = match claim.noted_places().await {
        Ok(noted) => (noted, None),
        Err(error) => (BTreeSet::new(), Some(error)),
    };
    let search = Search {
        cluster,
        kinds: IMPORTED_KINDS,
        noted: &noted,
        namespaces: namespaces_of(state),
        others: exported_here(state),
    };
    let strays = search.run(whose, &mut recorded).await.err();
    let mut here = removal(whose, cluster, &recorded, &cx.private.memory).await;
    here.errors.extend(unread.into_iter().chain(strays));
    if let Some(left) = left_in(state, cluster.name(), state.objects.keys(), &here.errors) {
        here.left.push(left);
        here.errors.clear();
    }
    (here, noted)
}

fn stays(state: &ServiceEntry, cluster: &str) -> String {
    let objects: Vec<&str> = state.objects.keys().collect();
    super::sides::stays(cluster, &objects)
}

/// What comes of the exporting clusters.
#[derive(Default)]
struct Exporters {
    exported: BTreeMap<String, Exported>,
    left: Vec<String>,
    errors: Diagnostics,
}

async fn in_exporters(cx: &mut Cx, whose: Whose<'_>, noted: &BTreeSet<Place>, state: &ServiceEntry) -> Exporters {
    let mut all = Exporters::default();
    let known = state.exported.keys().map(str::to_owned);
    for name in &known.chain(noted.iter().map(|(name, _)| name.clone())).collect::<BTreeSet<_>>() {
        let exported = state.exported.entry(name);
        let cluster = match exported {
            Some(_) => client::cluster(cx, name),
            None => match noted_cluster(cx, name) {
                Some(cluster) => Ok(cluster),
                None => continue,
            },
        };
        let exported = exported.cloned().unwrap_or_default();
        let objects: Vec<&str> = exported.objects.keys().collect();
        let cluster = match cluster {
            Ok(cluster) => cluster,
            Err(_) if skips(state) => {
                all.left.push(super::sides::stays(name, &objects));
                continue;
            }
            Err(error) => {
                all.errors.push(error);
                all.exported.insert(name.to_owned(), exported);
                continue;
            }
        };
        let memory = cx.private.exported.get(name).cloned().unwrap_or_default();
        let mut recorded = Recorded::of(&exported.objects, &memory);
        let (namespaces, others) = (BTreeSet::new(), BTreeSet::new());
        let search = Search { cluster: &cluster, kinds: EXPORTED_KINDS, noted, namespaces, others };
        let strays = search.run(whose, &mut recorded).await.err();
        let mut there = removal(whose, &cluster, &recorded, &memory).await;
        there.errors.extend(strays);
        if let Some(left) = left_in(state, name, objects.iter().copied(), &there.errors) {
            all.left.push(left);
            continue;
        }
        all.errors.append(report::at_destroy(&there.errors, SKIPPING));
        all.left.extend(there.left.into_iter().map(|line| format!("cluster {name}: {line}")));
        all.exported.insert(name.to_owned(), Exported { objects: there.recorded.objects_value(), ..exported });
    }
    all
}
