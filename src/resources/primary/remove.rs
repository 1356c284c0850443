//! Destroys a control plane so that the cluster stays usable: webhooks before what serves them, definitions only when nothing is left of them,
//! the namespace only when we made it and nobody else uses it.

use std::collections::BTreeMap;

use super::base;
use super::build::Releases;
use super::model::Primary;
use super::spec;
use super::{Cx, KINDS, cluster, recorded_of};
use crate::cluster::{Cluster, Error, Kind, OWNER_LABEL, ObjectRef, Prune, Query};
use crate::diag::Diagnostic;
use crate::engine::Failed;
use crate::resources::converge::{self, Removal};
use crate::resources::namespace;
use crate::resources::objects::{parse_key, state_key};

pub async fn remove(cx: &mut Cx, state: Primary) -> Result<(), Failed<Primary>> {
    let cluster = cluster(cx, &state)?;
    let namespace = state.namespace.text().to_owned();
    let owner = spec::owner(&namespace, &spec::release(state.revision.as_deref()));
    let recorded = recorded_of(&state);
    let mut doomed: BTreeMap<ObjectRef, String> =
        recorded.objects.keys().filter_map(|key| Some((parse_key(key)?, key.clone()))).collect();
    let prune = Prune { owner: owner.clone(), kinds: KINDS.to_vec(), ..Prune::default() };
    let orphans = cluster.prunable(&prune).await.map_err(|error| converge::diagnostic(&error))?;
    doomed.extend(orphans.into_iter().map(|orphan| (orphan.clone(), state_key(&orphan))));
    let others =
        other_control_planes(&cluster, &namespace, &owner).await.map_err(|error| converge::diagnostic(&error))?;

    let mut left = Vec::new();
    let mut errors = Vec::new();
    for (reference, key) in doomed.iter().rev() {
        if reference.kind == Kind::NAMESPACE {
            continue;
        }
        match remove_one(&cluster, reference, &owner, &others, &cx.private.releases).await {
            Ok(Removal::Gone) => {}
            Ok(Removal::Left(why)) => left.push(format!("{key}: {why}")),
            Err(error) => errors.push(error),
        }
    }
    let written = recorded.written(&format!("Namespace {namespace}"));
    if errors.is_empty()
        && others.is_empty()
        && let Err(error) = namespace::withdraw(&cluster, &namespace, &written).await
    {
        errors.push(error);
    }
    if errors.is_empty() {
        match namespace::remove(&cluster, &namespace, &owner).await {
            Ok(Some(why)) => left.push(format!("Namespace {namespace}: {why}")),
            Ok(None) => {}
            Err(error) => errors.push(error),
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

/// As [`converge::remove_one`], but what all control planes of the cluster share stays while there are others.
async fn remove_one(
    cluster: &Cluster,
    reference: &ObjectRef,
    owner: &str,
    others: &[String],
    releases: &Releases,
) -> Result<Removal, Error> {
    if !others.is_empty()
        && let Some(live) = cluster.get(reference).await?
        && base::is_shared(&live, releases)
    {
        return Ok(Removal::Left(format!("the control plane {} uses it too", others.join(", "))));
    }
    converge::remove_one(cluster, reference, owner).await
}

/// Other istiods of the cluster, by namespace and name: they use the definitions too.
async fn other_control_planes(cluster: &Cluster, namespace: &str, owner: &str) -> Result<Vec<String>, Error> {
    let deployments = cluster.list_now(&Query::of(Kind::DEPLOYMENT).label("app", "istiod")).await?;
    let ours = |deployment: &&crate::cluster::Object| {
        deployment.label(OWNER_LABEL) == Some(owner) && deployment.namespace() == Some(namespace)
    };
    Ok(deployments
        .iter()
        .filter(|deployment| !ours(deployment))
        .map(|other| {
            other.reference().map_or_else(String::new, |r| format!("{}/{}", r.namespace.unwrap_or_default(), r.name))
        })
        .collect())
}
