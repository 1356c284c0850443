//! Computed attributes from certificates, and back. Pure.

use std::collections::{BTreeMap, BTreeSet};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::decide::Seen;
use super::gather::Live;
use super::memory::{KEEP_OR_DELETE, managed_by};
use super::model::{Ca, ClusterCa};
use super::secret::{CACERTS, CaCerts};
use super::spec::StoreRef;
use super::state;
use crate::cluster::{Object, Owner};
use crate::diag::Diagnostic;
use crate::kept::report::whose;
use crate::mesh::{Holding, Phase};
use crate::pki::{Bundle, Certificate};
use crate::resources::signing::OpenRequest;
use crate::value::{Path, Value};

/// A `cacerts` that this resource has written, and that is somebody else's by now.
pub fn recreated(name: &str, live: &Live) -> Option<Diagnostic> {
    let secret = live.secret.as_ref().filter(|_| !live.ours)?;
    let (namespace, whose) = (&live.namespace, whose(&live.owner, secret));
    let diagnostic = Diagnostic::warning(format!("The certificates of {name} are somebody else's"));
    Some(diagnostic.at(Path::root("clusters").key(name)).detail(format!(
        "Secret {namespace}/{CACERTS} in cluster {name}: {whose}. Its istiod signs with the key in it, which whoever wrote it may know. An apply does not write it, and a destroy leaves it. {KEEP_OR_DELETE}"
    )))
}

/// A `cacerts` of this resource's that is not as an apply has left it, and why.
pub fn invalid(name: &str, live: &Live, why: &str) -> Diagnostic {
    let (namespace, managers) = (&live.namespace, managed_by(&live.managers()));
    let diagnostic = Diagnostic::warning(format!("The certificates of {name} are invalid"));
    diagnostic.at(Path::root("clusters").key(name)).detail(format!(
        "Of the Secret {namespace}/{CACERTS} in cluster {name}: {why}.{managers} The plan shows the new intermediate that an apply makes. Find out who changed the Secret."
    ))
}

/// What is wrong with an intermediate.
pub fn unfit(held: &CaCerts, exchanged: bool, now: OffsetDateTime) -> String {
    let found = held.chain.first().map(|found| found.fingerprint().to_string()).unwrap_or_default();
    let exchanged = exchanged.then(|| {
        format!(
            "its intermediate (SHA-256 {found}) is not the one that was written last; who put it there may know its key"
        )
    });
    let problems = state::problems(held, now).into_iter().map(|problem| problem.to_string());
    exchanged.into_iter().chain(problems).collect::<Vec<_>>().join("; ")
}

/// The root's store, likewise. Its content was compared before: it holds what this resource made.
pub fn store_recreated(store: &StoreRef, secret: &Object, owner: &Owner) -> Option<Diagnostic> {
    if owner.has(secret, false) {
        return None;
    }
    let StoreRef { cluster, namespace, name } = store;
    let whose = whose(owner, secret);
    let diagnostic = Diagnostic::warning("The root's store is somebody else's");
    Some(diagnostic.at(Path::root("root").attr("store")).detail(format!(
        "Secret {namespace}/{name} in cluster {cluster}: {whose}. It holds the same roots as before, so that no certificate changes; but whoever wrote it may know their keys. The next apply that writes a root makes the Secret this resource's again, and a destroy leaves it. If you have not restored it from a backup, replace the root: raise `root.generation`."
    )))
}

/// A point in time as an attribute, in whole seconds as certificates have them.
pub fn instant(time: OffsetDateTime) -> Value<String> {
    time.replace_nanosecond(0).unwrap_or(time).format(&Rfc3339).map_or(Value::Null, Value::Known)
}

/// A point in time from an attribute.
pub fn parse_instant(value: &Value<String>) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(value.known()?, &Rfc3339).ok()
}

/// Of what an import found and nobody asked to take over.
pub fn as_found(model: &Ca) -> Diagnostic {
    let of_others = model.clusters.entries().filter(|(_, cluster)| cluster.state.text() == state::FOREIGN);
    let names: Vec<&str> = of_others.map(|(name, _)| name).collect();
    Diagnostic::warning("The certificates stay as they were found").at("adopt").detail(format!(
        "Others made the Secret cacerts in {}. This provider neither renews these intermediates nor rotates their root while it has not taken them over. Set `adopt = true` for that: the \
         intermediates stay in use.",
        names.join(", ")
    ))
}

/// Tells what a cluster holds.
pub fn certificates(model: &mut ClusterCa, held: &CaCerts) {
    let Some(intermediate) = held.chain.first() else { return };
    model.fingerprint = intermediate.fingerprint().to_string().into();
    model.serial = intermediate.serial().to_string().into();
    model.not_before = instant(intermediate.not_before());
    model.not_after = instant(intermediate.not_after());
    model.issuer = held.issuer().map(|root| root.fingerprint().to_string()).into();
    let trusted: BTreeSet<String> = held.roots.fingerprints().iter().map(ToString::to_string).collect();
    model.trusted = trusted_value(&trusted);
    let lists: Vec<String> = held.lists.iter().map(ToString::to_string).collect();
    model.revocation_lists =
        if lists.is_empty() { Value::Null } else { Value::Known(lists.into_iter().map(Value::Known).collect()) };
}

/// Tells what another tool keeps there. What it trusts is left out: it has no part in a rotation.
pub fn foreign(model: &mut ClusterCa, theirs: &CaCerts) {
    certificates(model, theirs);
    model.trusted = Value::Null;
}

/// Fingerprints, sorted: istiod compares sets.
pub fn trusted_value(trusted: &BTreeSet<String>) -> Value<crate::value::List<String>> {
    Value::Known(trusted.iter().map(|root| Value::Known(root.clone())).collect())
}

/// Tells that a cluster holds nothing.
pub fn nothing(model: &mut ClusterCa, state: &str) {
    (model.fingerprint, model.serial, model.not_before) = (Value::Null, Value::Null, Value::Null);
    (model.not_after, model.issuer, model.trusted) = (Value::Null, Value::Null, Value::Null);
    model.revocation_lists = Value::Null;
    model.state = state.into();
}

/// Keeps to the state that was planned. Time may have led on to another since, which the next refresh tells.
pub fn keep_state(model: &mut ClusterCa, planned: Value<String>) {
    if !planned.is_unknown() {
        model.state = planned;
    }
}

/// The open request, if there is one.
pub fn request(model: &mut ClusterCa, open: Option<&OpenRequest>) {
    model.certificate_request = open.map(|open| open.request.to_pem()).into();
}

/// What a cluster holds, as state remembers it.
pub fn holding(model: &ClusterCa) -> Option<Holding<String>> {
    let trusted: BTreeSet<String> = model.trusted.items().cloned().collect();
    let issuer = model.issuer.known().filter(|_| !trusted.is_empty())?;
    Some(Holding { issuer: issuer.clone(), trusted })
}

/// By what a cluster that state remembers is judged.
#[derive(Clone, Copy)]
pub struct Judge<'a> {
    pub root: &'a Ca,
    pub renew_before: time::Duration,
    pub now: Option<OffsetDateTime>,
    pub adopt: bool,
}

/// A cluster as state remembers it.
pub fn seen(model: &ClusterCa, judge: Judge<'_>) -> Seen {
    let Judge { root, renew_before, now, adopt } = judge;
    let ends = parse_instant(&model.not_after).zip(now);
    let of_this_root = model.issuer == root.root_fingerprint;
    let lives_as_long = of_this_root && model.not_after == root.root_not_after;
    let near =
        !lives_as_long && ends.is_some_and(|(end, now)| end.checked_sub(renew_before).is_none_or(|from| now >= from));
    Seen {
        holding: holding(model),
        fingerprint: model.fingerprint.known().cloned(),
        asked: model.certificate_request.is_known(),
        generation: model.generation.get(),
        due: near || model.state.as_deref() == Some(state::INVALID),
        expired: now.zip(end_of_root(model, root)).is_some_and(|(now, end)| now > end),
        unreachable: model.state.as_deref() == Some(state::UNREACHABLE),
        foreign: !adopt && model.state.as_deref() == Some(state::FOREIGN),
        take: adopt && model.state.as_deref() == Some(state::FOREIGN),
        self_signed: BTreeSet::new(),
    }
}

/// The end of the root that a cluster's intermediate is of.
fn end_of_root(model: &ClusterCa, ca: &Ca) -> Option<OffsetDateTime> {
    let issuer = model.issuer.known()?;
    let trusted = Bundle::from_pem(ca.root_certificates.known()?).ok()?;
    trusted.iter().find(|root| root.fingerprint().to_string() == *issuer).map(Certificate::not_after)
}

/// Tells the root that is arrived at.
pub fn root(model: &mut Ca, root: &Certificate) {
    model.root_fingerprint = root.fingerprint().to_string().into();
    model.root_certificate = root.to_pem().into();
    model.root_serial = root.serial().to_string().into();
    model.root_not_before = instant(root.not_before());
    model.root_not_after = instant(root.not_after());
}

/// All roots that clusters trust, in an order that nothing but the set decides.
pub fn roots<'a>(bundles: impl IntoIterator<Item = &'a Bundle>) -> BTreeMap<String, Certificate> {
    bundles.into_iter().flatten().map(|root| (root.fingerprint().to_string(), root.clone())).collect()
}

/// Writes the roots of [`roots`].
pub fn pem(roots: &BTreeMap<String, Certificate>) -> String {
    roots.values().map(Certificate::to_pem).collect()
}

/// Tells the phase; a change of it starts the clock anew.
pub fn phase(model: &mut Ca, phase: Phase, prior: Option<&Ca>, now: OffsetDateTime) {
    let since =
        prior.filter(|prior| prior.phase.as_deref() == Some(phase.as_str())).map(|prior| prior.phase_since.clone());
    model.phase = phase.as_str().into();
    model.phase_since = match since {
        Some(Value::Known(since)) => Value::Known(since),
        _ => instant(now),
    };
}
