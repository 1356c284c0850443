//! Destroys a control plane so that the cluster stays usable: webhooks before what serves them, definitions only when nothing is left of them,
//! the namespace only when we made it and nobody else uses it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::build;
use super::model::Primary;
use super::spec;
use super::{Cx, cluster, kinds, recorded_of};
use crate::cluster::{Cluster, Error, Kind, OWNER_LABEL, Object, ObjectRef, Prune, Query, wait};
use crate::diag::Diagnostic;
use crate::engine::Failed;
use crate::kept::converge::{self, Doomed, Removal};
use crate::kept::namespace;
use crate::kept::objects::{parse_key, state_key};
use crate::kept::traces;
use crate::mesh::is_external;

/// Until here definitions are all asked for at once.
const LAST_PAUSE: Duration = Duration::from_millis(400);

pub async fn remove(cx: &mut Cx, state: Primary) -> Result<(), Failed<Primary>> {
    let cluster = cluster(cx, &state)?;
    let namespace = state.namespace.text().to_owned();
    let owner = spec::owner(&namespace, &spec::release(state.revision.as_deref()));
    let recorded = recorded_of(&state);
    let failed = |error: Error| converge::diagnostic(&error);
    let live = converge::live(&cluster, &recorded, &cx.private.spellings).await.map_err(failed)?;
    let found = live.into_iter().filter_map(|(key, live)| Some((parse_key(&key)?, (key, Some(live)))));
    let mut doomed: BTreeMap<ObjectRef, (String, Option<Object>)> = found.collect();
    // An apply that was killed told nobody what it had added. Of most kinds the list is at hand.
    let prune = Prune { owner: owner.clone(), kinds: kinds(&state), ..Prune::default() };
    for orphan in cluster.prunable(&prune).await.map_err(failed)? {
        doomed.entry(orphan.clone()).or_insert_with(|| (state_key(&orphan), None));
    }
    doomed.retain(|reference, _| reference.kind != Kind::NAMESPACE);
    let Others { sharing: others, beside } =
        other_control_planes(&cluster, &namespace, &owner).await.map_err(failed)?;
    // In the cluster that it runs in an external control plane shares nothing, and its istiod writes nothing.
    let external = !state.config_cluster.is_null();

    // What all control planes of a cluster share stays while there are others.
    let shared = |live: &Object| {
        let stays = !others.is_empty() && build::is_shared(live, &cx.private.releases);
        stays.then(|| format!("the control plane {} uses it too", others.join(", ")))
    };
    let doomed: Vec<Doomed> =
        doomed.into_iter().map(|(reference, (key, live))| Doomed { key, reference, live }).collect();
    let mut left = Vec::new();
    let mut errors = Vec::new();
    let defined = doomed.iter().any(|doomed| doomed.reference.kind == Kind::CUSTOM_RESOURCE_DEFINITION);
    for (key, outcome) in converge::remove_all(&cluster, doomed, &owner, shared).await {
        match outcome {
            Ok(Removal::Gone | Removal::TakenOver) => {}
            Ok(Removal::Left(why)) => left.push(format!("{key}: {why}")),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        let written = recorded.written(&format!("Namespace {namespace}"));
        let going = async { if defined { definitions_go(&cluster, &owner).await } else { Ok(()) } };
        let leaving = async {
            let traces = match others.is_empty() && !external {
                true => traces::remove(&cluster, &namespace).await,
                false => Ok(()),
            };
            let left = match beside {
                true => Ok(None),
                false => namespace::leave(&cluster, &namespace, &written).await,
            };
            [traces.map(|()| None), left]
        };
        // Kubernetes takes seconds for either.
        let (gone, outcomes) = futures::future::join(going, leaving).await;
        for outcome in outcomes.into_iter().chain([gone.map(|()| None)]) {
            match outcome {
                Ok(why) => left.extend(why.map(|why| format!("Namespace {namespace}: {why}"))),
                Err(error) => errors.push(error),
            }
        }
    }
    if !left.is_empty() {
        cx.warn(
            Diagnostic::warning("Some objects stay behind")
                .detail(left.iter().map(|line| format!("- {line}")).collect::<Vec<_>>().join("\n")),
        );
    }
    if errors.is_empty() { Ok(()) } else { Err(Failed::from(converge::diagnostics(&errors)).keeping(state)) }
}

/// Waits until no definition of ours is on its way out: they go some time after they were told to, and who comes next would find them.
async fn definitions_go(cluster: &Cluster, owner: &str) -> Result<(), Error> {
    let query = Query::of(Kind::CUSTOM_RESOURCE_DEFINITION).label(OWNER_LABEL, owner).metadata_only();
    let mut pause = Duration::from_millis(50);
    while let Some(going) = cluster.list_now(&query).await?.iter().find(|definition| definition.is_terminating()) {
        match pause < LAST_PAUSE {
            true => tokio::time::sleep(pause).await,
            // Something holds it: the wait tells what.
            false => drop(cluster.wait(&going.reference_as(query.kind.clone()), &wait::deleted()).await?),
        }
        pause *= 2;
    }
    Ok(())
}

/// The other istiods of a cluster.
struct Others {
    /// Those that use the cluster's definitions too, by namespace and name: all but external control planes.
    sharing: Vec<String>,
    /// Whether there is one in the namespace.
    beside: bool,
}

async fn other_control_planes(cluster: &Cluster, namespace: &str, owner: &str) -> Result<Others, Error> {
    let deployments = cluster.list_now(&Query::of(Kind::DEPLOYMENT).label("app", "istiod")).await?;
    let ours =
        |deployment: &Object| deployment.label(OWNER_LABEL) == Some(owner) && deployment.namespace() == Some(namespace);
    let others: Vec<&Object> = deployments.iter().filter(|deployment| !ours(deployment)).collect();
    let named = |other: &&Object| format!("{}/{}", other.namespace().unwrap_or_default(), other.name());
    Ok(Others {
        sharing: others.iter().filter(|other| !is_external(other.value())).map(named).collect(),
        beside: others.iter().any(|other| other.namespace() == Some(namespace)),
    })
}
