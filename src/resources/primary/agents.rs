//! The node agents: on the nodes before istiod is told to rely on them, and gone only once it no longer does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::build::{CNI_RELEASE, ZTUNNEL_RELEASE};
use super::gateway_api;
use super::spec::Spec;
use super::{KINDS, KINDS_OF_AGENTS};
use crate::cluster::{Cluster, Error, Kind, Object, Owner, Query, wait};
use crate::diag::{Diagnostic, Diagnostics};
use crate::kept::claim::Claim;
use crate::kept::converge::{self, Converge, Converged};
use crate::kept::memory::Memory;
use crate::kept::objects::{Named, Recorded, UNKNOWN, Wanted, state_key};
use crate::kept::remove::{Doomed, Removed, Removing};
use crate::kept::{kinds, namespace, read, report};

/// The label of the charts' objects.
const RELEASE_LABEL: &str = "app.kubernetes.io/instance";
/// What istiod notes of the Pods that it has injected.
const INJECTED: &str = "sidecar.istio.io/status";
/// The init container of a Pod whose network is the agent's part.
const VALIDATION: &str = "istio-validation";

/// Whether an object is the node agent `cni`'s.
fn is_cni(object: &Object) -> bool {
    object.label(RELEASE_LABEL) == Some(CNI_RELEASE)
}

/// Brings the node agent onto every node before anything else changes, where sidecars are to rely on it. Returns what
/// state says then.
pub async fn come(
    claim: &Claim,
    step: Converge<'_>,
    spec: &Spec,
    memory: &mut Memory,
) -> Result<Recorded, (Recorded, Diagnostics)> {
    let mut reached = step.prior.clone();
    let mut first = Wanted::default();
    for (_, entry) in step.wanted.iter().filter(|(_, entry)| is_cni(&entry.object)) {
        first.add(Arc::new(entry.clone()));
    }
    let is_there = first.iter().all(|(key, entry)| step.prior.holds(key, entry));
    if !spec.control_plane.cni || first.is_empty() || is_there {
        return Ok(reached);
    }
    let mut prior = step.prior.clone();
    prior.retain(|key| first.get(key).is_some());
    let stage = Converge { wanted: &first, prior: &prior, kinds: &[], ..step };
    let Converged { recorded, errors, .. } = claim.converge(stage, memory).await;
    for key in recorded.objects.keys() {
        reached.keep(key, &recorded);
    }
    if !errors.is_empty() {
        return Err((reached, converge::diagnostics(&errors)));
    }
    for (_, agent) in first.iter().filter(|(_, entry)| entry.reference.kind == Kind::DAEMON_SET) {
        if let Err(error) = step.cluster.wait(&agent.reference, &wait::daemon_set_available()).await {
            return Err((reached, Diagnostic::from(&error).into()));
        }
    }
    Ok(reached)
}

/// What is recorded and no longer wanted, but goes only once istiod is its new self: node agents, on which it relies
/// until then, and the definitions of the Gateway API, for which an istiod that starts while they go would wait
/// forever. Apart from the rest.
pub fn departing(recorded: &Recorded, wanted: &Wanted) -> (Recorded, Recorded) {
    let goes = |key: &str| {
        // The charts name all that they bring after their release.
        let is_of = |name: &str, release: &str| {
            name.strip_prefix(release).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        let named = Named::parse(key).map(|named| named.name).unwrap_or_default();
        let goes_late = is_of(named, CNI_RELEASE) || is_of(named, ZTUNNEL_RELEASE) || gateway_api::is_named_so(named);
        wanted.get(key).is_none() && goes_late
    };
    let (mut going, mut rest) = (recorded.clone(), recorded.clone());
    going.retain(goes);
    rest.retain(|key| !goes(key));
    (going, rest)
}

/// What is to go late.
pub struct Going<'a> {
    pub cluster: &'a Cluster,
    pub owner: &'a Owner,
    pub going: Recorded,
    /// Sidecars have relied on the node agent, if it is among what goes.
    pub relied_on: bool,
}

/// What came of it.
#[derive(Default)]
pub struct Gone {
    pub warnings: Vec<Diagnostic>,
    pub errors: Vec<Error>,
}

impl Going<'_> {
    /// Removes what istiod no longer relies on, and the namespaces that it leaves empty. `recorded` says afterwards
    /// what is still there.
    pub async fn go(self, recorded: &mut Recorded, memory: &mut Memory) -> Gone {
        let mut gone = Gone::default();
        let mut left = Vec::new();
        let references = match kinds::references(self.cluster, &self.going).await {
            Ok(references) => references,
            Err(error) => return Gone { errors: vec![error], ..gone },
        };
        // Nothing is left of a kind that the cluster has no definition of.
        recorded.retain(|key| !self.going.objects.contains_key(key) || references.contains_key(key));
        let doomed = references.into_iter().map(|(key, reference)| Doomed {
            key: key.to_owned(),
            reference,
            live: None,
            known: true,
        });
        let removing = Removing {
            cluster: self.cluster,
            owner: self.owner,
            wait_for_definitions: false,
            stays: &|_: &Object| None,
        };
        for (key, outcome) in removing.all(doomed.collect()).await {
            match outcome {
                Ok(removed) => {
                    recorded.remove(&key);
                    memory.forget(&key);
                    if let Removed::Left(why) | Removed::NotOurs(why) = removed {
                        left.push(format!("{key}: {why}"));
                    }
                }
                Err(error) => gone.errors.push(error),
            }
        }
        if gone.errors.is_empty() {
            self.leave(recorded, &mut left, &mut gone.errors).await;
        }
        gone.warnings.extend(report::left(&left));
        let went = self.going.references().any(|(_, reference)| reference.kind == Kind::DAEMON_SET);
        if went && self.relied_on {
            gone.warnings.extend(relying(self.cluster).await);
        }
        gone
    }

    async fn leave(&self, recorded: &Recorded, left: &mut Vec<String>, errors: &mut Vec<Error>) {
        let stayed = namespaces(recorded);
        // Nothing of this provider's makes the namespace `default`.
        for place in namespaces(&self.going).difference(&stayed).filter(|place| *place != "default") {
            match namespace::leave(self.cluster, place, &[]).await {
                Ok(why) => left.extend(why.map(|why| format!("Namespace {place}: {why}"))),
                Err(error) => errors.push(error),
            }
        }
    }
}

/// Says which Pods were injected to rely on the node agent that is gone: they go on as they are, until they are put
/// onto a node anew.
async fn relying(cluster: &Cluster) -> Option<Diagnostic> {
    let query = Query::of(Kind::POD).label("security.istio.io/tlsMode", "istio").metadata_only();
    let advice = "Restart them (`kubectl rollout restart`), so that istiod injects them again.";
    let warning = Diagnostic::warning("Pods were made for the node agent that is gone");
    let Ok(pods) = cluster.list_now(&query).await else {
        let detail = format!(
            "The Pods of cluster {} cannot be listed. Those that were injected while the node agent ran cannot start again without it. {advice}",
            cluster.name()
        );
        return Some(warning.detail(detail));
    };
    let relies = |pod: &&Object| pod.annotation(INJECTED).is_some_and(|status| status.contains(VALIDATION));
    let mut by_namespace: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in pods.iter().filter(relies) {
        *by_namespace.entry(pod.namespace().unwrap_or_default()).or_default() += 1;
    }
    let listed: Vec<String> = by_namespace.iter().map(|(namespace, count)| format!("{namespace} ({count})")).collect();
    (!listed.is_empty()).then(|| {
        let detail = format!(
            "In cluster {} Pods that were injected while the node agent ran cannot start again without it. Namespaces: {}. {advice}",
            cluster.name(),
            listed.join(", ")
        );
        warning.detail(detail)
    })
}

/// Adds what an interrupted apply has left outside the system namespace, which its owner's label alone leads to.
pub async fn strays(
    claim: &Claim,
    namespaces: impl IntoIterator<Item = String>,
    recorded: &mut Recorded,
) -> Result<(), Error> {
    let cluster = claim.cluster();
    let kinds: Vec<Kind> = KINDS.iter().chain(KINDS_OF_AGENTS).cloned().collect();
    let mut kinds = claim.orphan_kinds(&kinds).await?;
    kinds.retain(|kind| kind.namespaced);
    for namespace in namespaces {
        for reference in read::owned(&cluster, &kinds, &namespace, &claim.owner).await?.into_keys() {
            recorded.objects.entry(state_key(&reference)).or_insert_with(|| UNKNOWN.to_owned());
        }
    }
    Ok(())
}

/// The namespaces of what is recorded.
pub fn namespaces(recorded: &Recorded) -> BTreeSet<String> {
    recorded.objects.keys().filter_map(|key| Named::parse(key)?.namespace.map(str::to_owned)).collect()
}
