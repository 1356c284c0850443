//! The plan: what [`decide`] comes to by what state remembers, put into attributes and words. Pure: the only clock is
//! that of the last refresh.

use std::collections::{BTreeMap, BTreeSet};

use time::{Duration, OffsetDateTime};

use super::chain;
use super::decide::{Action, Ask, Decision, NEW_ROOT, Seen, Wait, Wish, decide};
use super::memory::{self, Generation, Private};
use super::model::{Ca, ClusterCa};
use super::report;
use super::revoked;
use super::spec::{RootSpec, Spec, store_of};
use super::state;
use crate::diag::{Diagnostic, Diagnostics};
use crate::mesh::{Phase, Step};
use crate::pki::{Bundle, check_root, renewal_due, root_of};
use crate::value::{Path, Value};

/// What a plan is made from.
pub struct Inputs<'a> {
    pub spec: &'a Spec,
    pub prior: Option<&'a Ca>,
    /// What is remembered beside state, with the roots that were in the store, and the time, of the last refresh.
    pub memory: &'a Private,
    /// The configuration gives the key of a root that is brought.
    pub has_key: bool,
}

/// Settles the computed attributes of `planned`. Warnings say what the step will do and what it waits for.
pub fn settle(inputs: &Inputs<'_>, planned: &mut Ca) -> Result<Diagnostics, Diagnostics> {
    let Some(prior) = inputs.prior else {
        open_everything(planned);
        return Ok(Diagnostics::new());
    };
    refuse_moves(inputs.spec, prior)?;
    refuse_found(inputs, prior)?;
    let ask = ask(inputs, prior);
    let seen = remembered(inputs, prior, inputs.memory.observed_at());
    let decision = decide(&ask, &seen).map_err(|error| tangled(&error))?;
    keep_computed(planned, prior);
    let mut words = Diagnostics::new();
    note_root(inputs, prior, &ask, planned, &mut words);
    refuse_unsigned(inputs, prior, &decision)?;
    revoked::refuse_planned(&decision, &ask, prior)?;
    apply_actions(&decision, prior, planned);
    note_phase(&decision, prior, planned);
    words.extend(open_to_newcomers(inputs, prior, &decision, planned));
    words.append(describe(&ask, &decision, inputs));
    Ok(words)
}

/// What others made stays as an import found it while the configuration says just that and does not ask to take it
/// over; then this is the plan.
pub fn as_found(planned: &Ca, prior: &Ca) -> Option<Ca> {
    let others = prior.clusters.entries().any(|(_, cluster)| cluster.state.text() == state::FOREIGN);
    let asks_for_it = planned.adopt.get() == Some(true);
    let mut found = planned.clone();
    keep_computed(&mut found, prior);
    (others && !asks_for_it && found == *prior).then_some(found)
}

/// Whether the plan promises that a cluster keeps the intermediate it has.
pub fn keeps_intermediate(planned: &ClusterCa) -> bool {
    !planned.fingerprint.is_unknown()
}

/// At apply: what has become due since the plan is left to the next one. An intermediate that was not planned would
/// break this one's promise.
pub fn hold_to(planned: &Ca, seen: &mut BTreeMap<String, Seen>) {
    for (name, seen) in seen {
        let cluster = planned.clusters.entry(name);
        let stays =
            cluster.is_some_and(|cluster| keeps_intermediate(cluster) && !cluster.certificate_request.is_unknown());
        seen.due &= !stays;
    }
}

/// On creation nothing is known but the names.
pub fn open_everything(planned: &mut Ca) {
    if let Some(clusters) = planned.clusters.known_mut() {
        for cluster in clusters.values_mut().filter_map(Value::known_mut) {
            open_cluster(cluster);
            (cluster.certificate_request, cluster.trusted) = (Value::Unknown, Value::Unknown);
            cluster.revocation_lists = Value::Unknown;
        }
    }
    open_root(planned);
    (planned.phase, planned.phase_since, planned.root_certificates) = (Value::Unknown, Value::Unknown, Value::Unknown);
}

fn open_root(planned: &mut Ca) {
    for attribute in [
        &mut planned.root_fingerprint,
        &mut planned.root_certificate,
        &mut planned.root_serial,
        &mut planned.root_not_before,
        &mut planned.root_not_after,
    ] {
        *attribute = Value::Unknown;
    }
}

fn open_cluster(cluster: &mut ClusterCa) {
    for attribute in [
        &mut cluster.fingerprint,
        &mut cluster.serial,
        &mut cluster.not_before,
        &mut cluster.not_after,
        &mut cluster.issuer,
        &mut cluster.state,
    ] {
        *attribute = Value::Unknown;
    }
}

fn keep_computed(planned: &mut Ca, prior: &Ca) {
    planned.root_fingerprint = prior.root_fingerprint.clone();
    planned.root_certificate = prior.root_certificate.clone();
    planned.root_certificates = prior.root_certificates.clone();
    planned.root_serial = prior.root_serial.clone();
    planned.root_not_before = prior.root_not_before.clone();
    planned.root_not_after = prior.root_not_after.clone();
    planned.phase = prior.phase.clone();
    planned.phase_since = prior.phase_since.clone();
    let Some(clusters) = planned.clusters.known_mut() else { return };
    for (name, cluster) in clusters {
        let Some(cluster) = cluster.known_mut() else { continue };
        let was = prior.clusters.entry(name).cloned();
        let was = was.unwrap_or_else(|| ClusterCa { state: state::MISSING.into(), ..ClusterCa::default() });
        cluster.certificate_request = was.certificate_request;
        cluster.fingerprint = was.fingerprint;
        cluster.serial = was.serial;
        cluster.not_before = was.not_before;
        cluster.not_after = was.not_after;
        cluster.issuer = was.issuer;
        cluster.trusted = was.trusted;
        cluster.revocation_lists = was.revocation_lists;
        cluster.state = was.state;
    }
}

/// The question to [`decide`].
pub fn ask(inputs: &Inputs<'_>, prior: &Ca) -> Ask {
    let stored: BTreeSet<String> = inputs.memory.roots.values().cloned().collect();
    let (to, signers, external) = match &inputs.spec.root {
        RootSpec::Generated(generated) => match inputs.memory.roots.get(&generated.generation) {
            Some(fingerprint) => (fingerprint.clone(), stored, false),
            None if inputs.memory.generation(generated.generation, Some(prior)) == Generation::Lost => {
                // The root is known, its key is not in the store any more.
                (prior.root_fingerprint.text().to_owned(), stored, false)
            }
            None => (NEW_ROOT.to_owned(), stored.into_iter().chain([NEW_ROOT.to_owned()]).collect(), false),
        },
        RootSpec::Brought { certificate, .. } => {
            let to = certificate.fingerprint().to_string();
            let own = if inputs.has_key { [to.clone()].into() } else { BTreeSet::new() };
            (to, own, !inputs.has_key)
        }
    };
    let pause_over = is_pause_over(prior, inputs.memory.observed_at(), inputs.spec.pause);
    Ask { to, clusters: wishes(inputs.spec, inputs.memory), signers, external, pause_over, begun: inputs.memory.begun }
}

/// Whether the phase has lasted as long as the pause.
pub fn is_pause_over(prior: &Ca, now: Option<OffsetDateTime>, pause: Duration) -> bool {
    match (report::parse_instant(&prior.phase_since), now) {
        // Beyond the end of the calendar it is never over.
        (Some(since), Some(now)) => since.checked_add(pause).is_some_and(|end| now >= end),
        _ => pause.is_zero(),
    }
}

/// What is wanted of each cluster. A chain whose intermediate the cluster was given once answers no other request: its
/// key was in the Secret that had it.
pub fn wishes(spec: &Spec, memory: &Private) -> BTreeMap<String, Wish> {
    let root: Bundle = match &spec.root {
        RootSpec::Brought { certificate, .. } => [(**certificate).clone()].into_iter().collect(),
        RootSpec::Generated(_) => Bundle::default(),
    };
    let wish = |name: &str, cluster: &super::spec::ClusterSpec| {
        let chain = cluster.chain.as_ref().and_then(|chain| {
            let leads_to = root_of(chain, &root)?.fingerprint().to_string();
            Some((chain.first()?.fingerprint().to_string(), leads_to))
        });
        let is_used = |leaf: &str| cluster.request.is_none() && memory.has_issued(name, leaf);
        let chain = chain.filter(|(leaf, _)| !is_used(leaf));
        Wish { generation: cluster.generation, chain, asked_elsewhere: cluster.request.is_some() }
    };
    spec.clusters.iter().map(|(name, cluster)| (name.clone(), wish(name, cluster))).collect()
}

fn remembered(inputs: &Inputs<'_>, prior: &Ca, now: Option<OffsetDateTime>) -> BTreeMap<String, Seen> {
    let renew_before = inputs.spec.intermediate.renew_before;
    let seen = |name: &str, cluster: &ClusterCa| {
        let adopt = inputs.memory.adopts(inputs.spec, name);
        report::seen(cluster, report::Judge { root: prior, renew_before, now, adopt })
    };
    prior.clusters.entries().map(|(name, cluster)| (name.to_owned(), seen(name, cluster))).collect()
}

fn note_root(inputs: &Inputs<'_>, prior: &Ca, ask: &Ask, planned: &mut Ca, words: &mut Diagnostics) {
    match &inputs.spec.root {
        RootSpec::Brought { certificate, .. } => {
            report::root(planned, certificate);
            if let Some(now) = inputs.memory.observed_at() {
                for problem in check_root(certificate, now) {
                    words.push(
                        Diagnostic::warning("The root is unfit")
                            .detail(format!("{problem}."))
                            .at(Path::root("root").attr("certificate")),
                    );
                }
                if renewal_due(certificate, inputs.spec.intermediate.validity, now) {
                    let certificate_at = Path::root("root").attr("certificate");
                    words.extend(
                        root_ends(
                            certificate.not_after(),
                            now,
                            "Bring the next root's `certificate` soon; the plan then begins its rotation.",
                        )
                        .map(|word| word.at(certificate_at)),
                    );
                }
            }
        }
        RootSpec::Generated(_) if prior.root_fingerprint.as_deref() != Some(ask.to.as_str()) => open_root(planned),
        RootSpec::Generated(_) => {
            let end = report::parse_instant(&prior.root_not_after);
            if let (Some(end), Some(now)) = (end, inputs.memory.observed_at())
                && end.checked_sub(inputs.spec.intermediate.validity).is_none_or(|from| now >= from)
            {
                let generation = Path::root("root").attr("generation");
                let near = root_ends(
                    end,
                    now,
                    "Raise `root.generation` soon; the plan then begins the rotation to a new root.",
                );
                words.push(near.unwrap_or_else(|| root_expired(end)).at(generation));
            }
        }
    }
}

/// Nothing where it has ended already: that is said by what is found wrong with it.
fn root_ends(end: OffsetDateTime, now: OffsetDateTime, remedy: &str) -> Option<Diagnostic> {
    let day = end.date();
    (now <= end).then(|| {
        Diagnostic::warning("The root is near its end").detail(format!(
            "The root is valid until {day}: intermediates made from now on would not live their full validity. {remedy}"
        ))
    })
}

fn root_expired(end: OffsetDateTime) -> Diagnostic {
    Diagnostic::warning("The root has expired").detail(format!(
        "The root was valid until {}: no certificate of the mesh is valid any more, and none can be renewed. Raise `root.generation` now: every cluster then gets an intermediate of a new root at once.",
        end.date()
    ))
}

fn apply_actions(decision: &Decision, prior: &Ca, planned: &mut Ca) {
    let mut trust_changes = false;
    let Some(clusters) = planned.clusters.known_mut() else { return };
    for (name, cluster) in clusters.iter_mut() {
        let Some(cluster) = cluster.known_mut() else { continue };
        match decision.actions.get(name) {
            None => {}
            // A request that is open stays open.
            Some(Action::Request) if cluster.certificate_request.is_known() => {}
            Some(Action::Request) => {
                cluster.certificate_request = Value::Unknown;
                cluster.state = Value::Unknown;
            }
            Some(Action::Write { issue, trusted }) => {
                let was: BTreeSet<String> = cluster.trusted.items().cloned().collect();
                if was != *trusted {
                    trust_changes = true;
                    cluster.trusted =
                        if trusted.contains(NEW_ROOT) { Value::Unknown } else { report::trusted_value(trusted) };
                }
                match issue {
                    Some(root) => {
                        open_cluster(cluster);
                        if root != NEW_ROOT {
                            cluster.issuer = root.clone().into();
                        }
                        cluster.certificate_request = Value::Null;
                    }
                    None => cluster.state = Value::Unknown,
                }
            }
        }
    }
    let removed = prior.clusters.keys().any(|name| planned.clusters.entry(name).is_none());
    if trust_changes || removed {
        planned.root_certificates = Value::Unknown;
    }
}

fn note_phase(decision: &Decision, prior: &Ca, planned: &mut Ca) {
    let after = decision.after.as_str();
    if prior.phase.as_deref() != Some(after) {
        planned.phase = after.into();
        planned.phase_since = Value::Unknown;
    }
}

/// What a cluster brings along that joins with certificates of its own is seen at the apply alone: it may be of the
/// mesh's root already, or take all clusters through a rotation.
fn open_to_newcomers(inputs: &Inputs<'_>, prior: &Ca, decision: &Decision, planned: &mut Ca) -> Option<Diagnostic> {
    let Spec { adopt, migrate_self_signed, .. } = inputs.spec;
    let brings = |name: &str| match prior.clusters.entry(name) {
        None => *adopt || *migrate_self_signed,
        // The refresh has seen that it has no `cacerts`, and does not look for what istiod made for itself.
        Some(was) => {
            let is_written = matches!(decision.actions.get(name), Some(Action::Write { issue: Some(_), .. }));
            *migrate_self_signed && is_written && report::holding(was).is_none()
        }
    };
    let clusters = planned.clusters.known_mut()?;
    let joining: Vec<String> = clusters.keys().filter(|name| brings(name)).cloned().collect();
    if joining.is_empty() {
        return None;
    }
    for (name, cluster) in clusters.iter_mut() {
        let Some(cluster) = cluster.known_mut() else { continue };
        cluster.trusted = Value::Unknown;
        if joining.contains(name) {
            open_cluster(cluster);
            (cluster.certificate_request, cluster.revocation_lists) = (Value::Unknown, Value::Unknown);
        }
    }
    (planned.phase, planned.phase_since, planned.root_certificates) = (Value::Unknown, Value::Unknown, Value::Unknown);
    Some(Diagnostic::warning("A cluster joins with what it has").at("clusters").detail(format!(
        "What {} may bring along (`adopt`, `migrate_self_signed`) is seen when this is applied. If it is another root, the apply takes the first step of a rotation that brings it under this one: all clusters then trust both for a while, and later plans end that.",
        joining.join(", ")
    )))
}

fn refuse_moves(spec: &Spec, prior: &Ca) -> Result<(), Diagnostic> {
    for (name, cluster) in &spec.clusters {
        let was = prior.clusters.entry(name).and_then(|was| was.namespace.known());
        if was.is_some_and(|was| was != cluster.namespace.as_str()) {
            return Err(Diagnostic::error("A system namespace cannot change")
                .detail("Remove this cluster from `clusters`, apply, and add it again with the new namespace: its istiod moves too.")
                .at(Path::root("clusters").key(name).attr("namespace")));
        }
    }
    match (store_of(prior), spec.root.store()) {
        (Some(was), Some(now)) if was != *now => Err(Diagnostic::error("The root's store cannot move")
            .detail(format!("The root is kept in {was}. Its key would have to leave that cluster for {now}. Keep the store as it is."))
            .at(Path::root("root").attr("store"))),
        _ => Ok(()),
    }
}

/// What was found, and is not what was there: a root in a cluster, or the store. And a generation that there was.
fn refuse_found(inputs: &Inputs<'_>, prior: &Ca) -> Result<(), Diagnostics> {
    let mut refused = inputs.memory.strangers(inputs.spec, prior);
    refused.append(chain::refuse_misfits(inputs.spec, prior));
    if let RootSpec::Generated(generated) = &inputs.spec.root {
        refused.extend(inputs.memory.damage.as_ref().map(|why| memory::damaged(why, &generated.store)));
        if let Generation::Over(past) = inputs.memory.generation(generated.generation, Some(prior)) {
            refused.push(memory::over(generated.generation, past));
        }
    }
    refused.check()
}

/// A new intermediate was asked for, and nobody can sign it: that is no matter of waiting, as a renewal is.
fn refuse_unsigned(inputs: &Inputs<'_>, prior: &Ca, decision: &Decision) -> Result<(), Diagnostics> {
    let mut refused = Diagnostics::new();
    for wait in &decision.waits {
        let Wait::NoSigner { cluster, root } = wait else { continue };
        let was = prior.clusters.entry(cluster).and_then(|was| was.generation.get());
        let wanted = inputs.spec.clusters.get(cluster).map(|wanted| wanted.generation);
        if was.is_some() && was != wanted {
            refused.push(
                Diagnostic::error("The root's key is lost")
                    .detail(format!(
                        "Another intermediate is asked for, and the private key of its root {root} is not at hand. Restore the Secret of `root.store` from a backup, or raise `root.generation` to rotate to a new root; leave `generation` of this cluster as it was until then."
                    ))
                    .at(Path::root("clusters").key(cluster).attr("generation")),
            );
        }
    }
    refused.check()
}

pub fn tangled(error: &crate::mesh::Untrusting) -> Diagnostic {
    Diagnostic::error("A cluster does not trust its own certificates")
        .detail(format!(
            "{}. istiod refuses this pair. Delete the Secret cacerts there, and the next plan makes a new one.",
            crate::resources::parsing::sentence(&error.to_string()).trim_end_matches('.')
        ))
        .at(Path::root("clusters").key(&error.cluster))
}

/// The step in words.
pub fn describe(ask: &Ask, decision: &Decision, inputs: &Inputs<'_>) -> Diagnostics {
    let mut words = Diagnostics::new();
    if let Some(step) = decision.step {
        let clusters: Vec<&str> = decision.actions.keys().map(String::as_str).collect();
        words.push(
            Diagnostic::warning(format!("Rotation of the root, step {} of 3: {}", number(step), title(step)))
                .detail(explain(step, &clusters.join(", "), &ask.to)),
        );
    }
    let former = inputs.memory.former_stores(inputs.spec.root.store());
    let former: Vec<String> = former.iter().map(ToString::to_string).collect();
    let narrowing = inputs.prior.is_some_and(|prior| prior.phase.as_deref() == Some(Phase::Narrowing.as_str()));
    let leaves_store =
        inputs.prior.is_some_and(|prior| store_of(prior).is_some_and(|was| former.contains(&was.to_string())));
    let kept = match narrowing && decision.before == Phase::Settled {
        true if former.is_empty() => {
            Some("No cluster trusts that root any more: its key is removed from the store.".to_owned())
        }
        true => Some(format!("No cluster trusts that root any more: the Secret {} is deleted.", former.join(", "))),
        false if leaves_store || decision.step.is_some() && !former.is_empty() => Some(format!(
            "The Secret {} keeps it while any cluster trusts that root. The apply after which none does deletes the Secret, if it is still this resource's.",
            former.join(", ")
        )),
        false => None,
    };
    words.extend(kept.map(|detail| Diagnostic::warning("The key of an old root is still kept").detail(detail)));
    for name in &decision.revived {
        words.push(
            Diagnostic::warning("The root of a cluster has expired")
                .detail("The certificates of this cluster are refused already, so there is nothing to interrupt. The cluster gets an intermediate of the new root at once, without the steps of a rotation.")
                .at(Path::root("clusters").key(name)),
        );
    }
    for wait in &decision.waits {
        words.push(waiting(wait, decision, inputs));
    }
    words
}

fn number(step: Step) -> u8 {
    match step {
        Step::Widen => 1,
        Step::Switch => 2,
        Step::Narrow => 3,
    }
}

fn title(step: Step) -> &'static str {
    match step {
        Step::Widen => "widen trust",
        Step::Switch => "switch issuers",
        Step::Narrow => "narrow trust",
    }
}

fn explain(step: Step, clusters: &str, to: &str) -> String {
    match step {
        Step::Widen => format!(
            "The clusters {clusters} will trust {to} beside the roots in use. Intermediates stay as they are. The next step follows with a later plan, when all clusters have finished this one."
        ),
        Step::Switch => format!(
            "The clusters {clusters} get intermediates of {to}; all roots stay trusted. Workloads follow as their certificates are renewed. The next step follows with a later plan."
        ),
        Step::Narrow => format!(
            "The clusters {clusters} will trust {to} alone. Whatever still shows a certificate of another root is refused from then on."
        ),
    }
}

fn waiting(wait: &Wait, decision: &Decision, inputs: &Inputs<'_>) -> Diagnostic {
    let cluster = |name: &str| Path::root("clusters").key(name);
    match wait {
        Wait::Pause { step } => {
            let since = inputs.prior.map(|prior| prior.phase_since.text().to_owned()).unwrap_or_default();
            let until = inputs.prior.and_then(|prior| report::parse_instant(&prior.phase_since)?.checked_add(inputs.spec.pause));
            let until = until.map_or_else(|| "the year 9999".to_owned(), |until| report::instant(until).text().to_owned());
            Diagnostic::warning(format!("Rotation of the root: step {} waits", number(*step))).detail(format!(
                "The phase {} began at {since}; the next step ({}) comes {} later, so that every proxy has followed. That is `rotation_pause` or, if it is not set, the longest lifetime of workloads' certificates here. Plan again after {until}.",
                decision.before,
                title(*step),
                inputs.spec.pause
            ))
        }
        Wait::Unreachable { step, clusters } => {
            let what = match step {
                Some(Step::Widen) | None => "It is left out for now.".to_owned(),
                Some(step) => format!(
                    "Step {} of the rotation ({}) begins only when every cluster has finished the step before, and these clusters cannot be read.",
                    number(*step),
                    title(*step)
                ),
            };
            Diagnostic::warning("A cluster is down").detail(format!("No answer from {}. {what}", clusters.join(", "))).at(cluster(&clusters[0]))
        }
        Wait::Foreign { cluster: name } => Diagnostic::warning("Somebody else's cacerts")
            .detail(match inputs.memory.written.contains(name) {
                true => format!("The Secret cacerts of this cluster is no longer this provider's, and is left alone. {}", memory::KEEP_OR_DELETE),
                false => "The Secret cacerts of this cluster is not this provider's, and is left alone. Delete it, or set `adopt`.".to_owned(),
            })
            .at(cluster(name)),
        Wait::NoSigner { cluster: name, root } => Diagnostic::warning("No key available to sign with")
            .detail(format!(
                "This cluster needs an intermediate of the root {root}, whose private key the provider does not have. Begin the rotation to a new root: raise `root.generation`, or give `root.private_key_wo`."
            ))
            .at(cluster(name)),
        Wait::Joins { cluster: name } => Diagnostic::warning("A cluster joins later")
            .detail("The cluster gets its intermediate when all other clusters trust the new root.")
            .at(cluster(name)),
        Wait::Signature { cluster: name } if is_asked_elsewhere(inputs, name) => {
            Diagnostic::warning("A signature is needed")
                .detail("`certificate_chain` of this cluster is not for what is needed now, or is missing. Have `certificate_request` of its mesh_ca_request signed by the root, and give the result; for a new key, raise `generation` there. The intermediate that the cluster has stays in use until then.")
                .at(cluster(name).attr("certificate_chain"))
        }
        Wait::Signature { cluster: name } => Diagnostic::warning("A signature is needed")
            .detail("Have the attribute `certificate_request` of this cluster signed by the root, and give the result as its `certificate_chain`.")
            .at(cluster(name).attr("certificate_chain")),
    }
}

fn is_asked_elsewhere(inputs: &Inputs<'_>, name: &str) -> bool {
    inputs.spec.clusters.get(name).is_some_and(|cluster| cluster.request.is_some())
}

#[cfg(test)]
#[path = "brought_tests.rs"]
mod brought_tests;
#[cfg(test)]
#[path = "found_tests.rs"]
mod found_tests;
#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
