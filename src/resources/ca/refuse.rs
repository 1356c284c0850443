//! What an apply refuses when it has looked: what others have put into clusters, and what the plan did not promise.
//! Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::decide::{Action, Decision};
use super::gather::Live;
use super::memory::{self, Private, Strange};
use super::model::Ca;
use super::plan;
use super::secret::{CACERTS, CaCerts, Fault, SELF_SIGNED};
use super::spec::Spec;
use crate::diag::{Diagnostic, Diagnostics};
use crate::pki::Certificate;
use crate::value::Path;

/// A create that adopts would end half-way, and the next apply would delete what it has adopted.
pub fn half_seen(failed: BTreeMap<String, Diagnostic>) -> Diagnostics {
    let silent = failed.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let told = failed.into_iter().map(|(name, error)| error.at(Path::root("clusters").key(name)));
    let why = Diagnostic::error("Not every cluster could be read").detail(format!(
        "These clusters could not be read: {silent}. With `adopt` or `migrate_self_signed`, a `mesh_ca` is created only when every one of its clusters answers. Otherwise it would fail half-way, and the next apply would delete what it has adopted. Nothing was written. Apply again when the clusters answer, or leave them out of `clusters` until then."
    ));
    told.chain([why]).collect()
}

/// A Secret that somebody else put there is no matter for a fight.
pub fn foreign(memory: &Private, spec: &Spec, live: &BTreeMap<String, Live>) -> Result<(), Diagnostics> {
    let mut refused = Diagnostics::new();
    for (name, live) in live {
        let path = Path::root("clusters").key(name);
        if let Some(root) = &live.self_signed
            && !memory.migrates(spec, name)
            && !spec.accept_roots.contains(&root.fingerprint().to_string())
        {
            refused.push(self_signed(spec, name, root).at(path.clone()));
        }
        refused.extend(foreign_secret(memory, spec, name, live).map(|error| error.at(path)));
    }
    refused.check()
}

fn self_signed(spec: &Spec, name: &str, root: &Certificate) -> Diagnostic {
    let (subject, fingerprint) = (root.subject(), root.fingerprint());
    let next = match spec.migrate_self_signed {
        // The cluster had its certificates of this resource.
        true => format!(
            "This resource has written {CACERTS} there before, so that `migrate_self_signed` no longer speaks of this cluster. Find out who deleted the Secret. To trust this root all the same, name it in `accept_roots`: {fingerprint}. Otherwise delete the Secret {SELF_SIGNED}, apply, and restart istiod."
        ),
        false => "Set `migrate_self_signed = true`: its root is then trusted beside this one until all workloads have followed.".to_owned(),
    };
    Diagnostic::error("istiod signs with a root of its own").detail(format!(
        "In cluster {name} istiod already runs without {CACERTS} and has made a root for itself ({subject}, SHA-256 {fingerprint}); it would ignore a new Secret. {next}"
    ))
}

fn foreign_secret(memory: &Private, spec: &Spec, name: &str, live: &Live) -> Option<Diagnostic> {
    live.secret.as_ref()?;
    let place = format!("The Secret {}/{CACERTS} in cluster {name}", live.namespace);
    match &live.fault {
        // An apply writes the plain form alone, and what istiod prefers would stay.
        Some(fault @ (Fault::CertManager { .. } | Fault::IstioGenerated)) if live.ours => {
            Some(Diagnostic::error("istiod prefers another key in cacerts").detail(format!(
                "{place} is this resource's, but {fault}. istiod takes that form before the one that this provider writes, so another intermediate would change nothing.{}{} Stop the tool that writes these keys, and delete the Secret: the next apply makes a new one. Nothing was written.",
                held_there(live.theirs.as_ref()),
                memory::managed_by(&live.managers()),
            )))
        }
        _ if live.ours => None,
        Some(fault @ (Fault::CertManager { .. } | Fault::IstioGenerated)) => {
            Some(Diagnostic::error("Somebody else makes this cluster's certificates").detail(format!(
                "{place} is kept by another tool: {fault}.{} Remove the cluster from that tool and delete the Secret, or leave the cluster out of `clusters`.",
                held_there(live.theirs.as_ref())
            )))
        }
        Some(fault) => Some(Diagnostic::error("The Secret cacerts cannot be read").detail(format!(
            "{place} is not this resource's, and {fault}. An istiod may be running with it all the same, so it is left alone. Correct what it holds, or delete it if nothing uses it."
        ))),
        None if memory.adopts(spec, name) => None,
        None => Some(Diagnostic::error("The Secret cacerts exists already").detail(format!(
            "{place} is not this resource's. {}",
            match memory.written.contains(name) {
                true => memory::KEEP_OR_DELETE,
                false => "Set `adopt = true` to take it over; its intermediate then stays in use.",
            }
        ))),
    }
}

/// The roots that clusters may trust.
pub struct Admitted {
    pub roots: BTreeSet<String>,
    /// What was taken over, as warnings: said even where it was asked for.
    pub told: Diagnostics,
}

/// No root of somebody else's gets to where it was not.
pub fn strangers(
    memory: &Private,
    spec: &Spec,
    prior: Option<&Ca>,
    live: &BTreeMap<String, Live>,
) -> Result<Admitted, Diagnostics> {
    let (mut allowed, mut told) = (memory.allowed(spec), Diagnostics::new());
    for (name, live) in live {
        let taken = live.held.as_ref().filter(|_| !live.ours && memory.adopts(spec, name));
        told.extend(taken.map(|held| taken_over(name, live, held)));
        let migrated = live.self_signed.iter().filter(|_| memory.migrates(spec, name));
        let named = taken.into_iter().flat_map(|held| held.roots.iter()).chain(migrated);
        allowed.extend(named.map(|root| root.fingerprint().to_string()));
    }
    let mut refused = Diagnostics::new();
    for (name, live) in live {
        let roots = live.held.iter().flat_map(|held| held.roots.iter());
        let roots = roots.map(|root| (root.fingerprint().to_string(), root.subject().to_owned()));
        let strange =
            Strange { roots: roots.filter(|(root, _)| !allowed.contains(root)).collect(), managers: live.managers() };
        if !strange.roots.is_empty() {
            refused.push(memory.stranger(name, &strange));
        }
    }
    // What cannot be asked goes by what it was when it last answered.
    let silent = prior.filter(|_| refused.is_empty()).into_iter().flat_map(|prior| memory.strangers(spec, prior));
    let silent = silent.filter(|stranger| {
        spec.clusters
            .keys()
            .any(|name| !live.contains_key(name) && stranger.path == Some(Path::root("clusters").key(name)))
    });
    refused.extend(silent.collect::<Vec<_>>());
    refused.check()?;
    Ok(Admitted { roots: allowed, told })
}

fn taken_over(name: &str, live: &Live, held: &CaCerts) -> Diagnostic {
    let told = |certificate: &crate::pki::Certificate| {
        format!("{} (SHA-256 {})", certificate.subject(), certificate.fingerprint())
    };
    let roots: Vec<String> = held.roots.iter().map(told).collect();
    Diagnostic::warning(format!("The certificates of {name} are taken over")).at(Path::root("clusters").key(name)).detail(format!(
        "The Secret {}/{CACERTS} in cluster {name} was there before this resource. Its intermediate {} stays in use, and the clusters are to trust what it trusts: {}.{} Compare the fingerprints with those you know: whoever wrote the Secret may know the key.",
        live.namespace,
        held.chain.first().map(told).unwrap_or_default(),
        roots.join("; "),
        memory::managed_by(&live.managers())
    ))
}

/// By which the administrator of the other tool knows it.
fn held_there(theirs: Option<&CaCerts>) -> String {
    let known = theirs.and_then(|theirs| Some((theirs.chain.first()?, theirs.issuer()?)));
    known.map_or_else(String::new, |(intermediate, root)| {
        format!(
            " It holds the intermediate {} of the root {}, valid until {}.",
            intermediate.subject(),
            root.subject(),
            intermediate.not_after().date()
        )
    })
}

/// The plan promised something that the clusters, as they are now, do not lead to.
pub fn surprise(planned: &Ca, decision: &Decision, live: &BTreeMap<String, Live>) -> Result<(), Diagnostic> {
    let changed = |what: String| {
        Diagnostic::error("The clusters have changed since the plan")
            .detail(format!("{what} Nothing was written. Plan again."))
    };
    if let Some(phase) = planned.phase.as_deref().filter(|phase| *phase != decision.after.as_str()) {
        return Err(changed(format!(
            "The plan leads to the phase {phase}, but from what they hold now it would be {}.",
            decision.after
        )));
    }
    for (name, cluster) in planned.clusters.entries() {
        let issues = matches!(decision.actions.get(name), Some(Action::Write { issue: Some(_), .. }));
        let held = live.get(name).and_then(|live| live.held.as_ref());
        let held = held.and_then(|held| Some(held.chain.first()?.fingerprint().to_string()));
        if plan::keeps_intermediate(cluster) && (issues || cluster.fingerprint.known() != held.as_ref()) {
            return Err(changed(format!(
                "Cluster {name} holds another intermediate than at the last refresh, or needs one that was not planned."
            ))
            .at(Path::root("clusters").key(name)));
        }
        if cluster.certificate_request.is_null() && matches!(decision.actions.get(name), Some(Action::Request)) {
            return Err(changed(format!(
                "Cluster {name} needs a signature from outside, which was not planned: it did not answer at the last refresh, has lost its intermediate since, or the root's key is no longer given."
            ))
            .at(Path::root("clusters").key(name)));
        }
        let Some(holding) = decision.holdings.get(name).filter(|_| cluster.trusted.is_known()) else { continue };
        let trusted: BTreeSet<String> = cluster.trusted.items().cloned().collect();
        if trusted != holding.trusted {
            return Err(changed(format!("Cluster {name} holds other roots than at the last refresh."))
                .at(Path::root("clusters").key(name)));
        }
    }
    Ok(())
}
