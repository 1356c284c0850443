//! Revocation lists that others put beside a cluster's certificates. istiod refuses a `cacerts` whose lists lack one of
//! its own CAs, and proxies refuse every chain of which they have some lists and not all: so no intermediate may come
//! that the lists do not know. Pure.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use super::Answer;
use super::decide::{Action, Ask, Decision};
use super::gather::Live;
use super::model::Ca;
use super::secret::CaCerts;
use super::spec::Spec;
use crate::diag::{Diagnostic, Diagnostics};
use crate::pki::{RevocationList, unlisted};
use crate::value::Path;

/// At the plan: an intermediate that is to be signed here is in no list that is there already.
pub fn refuse_planned(decision: &Decision, ask: &Ask, prior: &Ca) -> Result<(), Diagnostics> {
    let issued = decision
        .actions
        .iter()
        .find(|(_, action)| matches!(action, Action::Write { issue: Some(root), .. } if ask.signers.contains(root)));
    let Some((issued, _)) = issued else { return Ok(()) };
    let listed = prior.clusters.entries().filter(|(_, cluster)| cluster.revocation_lists.items().next().is_some());
    listed.map(|(name, _)| refused(name, issued)).collect::<Diagnostics>().check()
}

/// At the apply: the same by what the clusters hold, and for chains that were signed outside by what these lists cover.
pub fn refuse(spec: &Spec, decision: &Decision, live: &BTreeMap<String, Live>) -> Result<(), Diagnostics> {
    let mut told = Diagnostics::new();
    for (name, live) in live {
        let Some(held) = live.held.as_ref().filter(|held| !held.lists.is_empty()) else { continue };
        let uncovered = decision.actions.iter().find(|(issued, action)| {
            let answer = spec.clusters.get(*issued).and_then(|cluster| cluster.chain.as_ref());
            let is_new = matches!(action, Action::Write { issue: Some(_), .. });
            is_new && answer.is_none_or(|chain| unlisted(&held.lists, chain).is_some())
        });
        told.extend(uncovered.map(|(issued, _)| refused(name, issued)));
    }
    told.check()
}

fn refused(name: &str, issued: &str) -> Diagnostic {
    Diagnostic::error("Revocation lists do not cover a new intermediate").at(Path::root("clusters").key(name)).detail(format!(
        "Cluster {issued} is to get another intermediate, and the `ca-crl.pem` in the Secret cacerts of cluster {name} has no list of that. Proxies that have lists of some CAs refuse the chains of all others, and istiod refuses the Secret. Remove `ca-crl.pem` from cacerts in every cluster and restart istiod there, apply, and put new lists there afterwards. Or sign outside, and give lists of the new \
         intermediate first. Nothing was written."
    ))
}

/// What is wrong with lists that are there.
pub fn warnings(clusters: &[(String, Answer<Live>)], now: OffsetDateTime) -> Diagnostics {
    let held: Vec<(&str, &CaCerts)> = clusters
        .iter()
        .filter_map(|(name, looked)| Some((name.as_str(), looked.as_ref().ok()?.as_ref().ok()?.held.as_ref()?)))
        .collect();
    let mut told = Diagnostics::new();
    for (name, own) in &held {
        let ended = own.lists.iter().filter(|list| list.has_ended(now)).map(RevocationList::issuer);
        told.extend(ended.map(|issuer| warning(
            name,
            format!("A revocation list has ended in {name}"),
            &format!("The list of {issuer} in `ca-crl.pem` is not valid any more: proxies of this cluster refuse every certificate of that CA. Put a new list there."),
        )));
        if own.has_unreadable_lists {
            let why = "`ca-crl.pem` cannot be read as revocation lists: istiod refuses this Secret when it next reads it. Put lists there, or remove `ca-crl.pem`.";
            told.push(warning(name, format!("A revocation list is missing in {name}"), why));
        }
        for (other, theirs) in &held {
            let Some(ca) = unlisted(&own.lists, theirs.authorities()) else { continue };
            let what = match name == other {
                true => "istiod refuses this Secret when it next reads it.".to_owned(),
                false => format!("Proxies of this cluster refuse those of cluster {other}."),
            };
            let why = format!(
                "`ca-crl.pem` has no list of {}, though it has others. {what} Add the list, or remove `ca-crl.pem`.",
                ca.subject()
            );
            told.push(warning(name, format!("A revocation list is missing in {name}"), &why));
        }
    }
    told
}

fn warning(name: &str, summary: String, detail: &str) -> Diagnostic {
    Diagnostic::warning(summary).detail(detail).at(Path::root("clusters").key(name))
}
