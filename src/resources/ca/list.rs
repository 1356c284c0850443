//! Finds the CAs of the provider's clusters, for `terraform query`: the Secrets that generated roots are kept in, and
//! for roots from elsewhere the first `cacerts` Secret of each. Keys are in the Secrets that are looked into: nothing
//! of these is handed on but names and what certificates say.

use std::collections::{BTreeMap, BTreeSet};

use super::secret::{CACERTS, CaCerts, Fault, RootStore};
use super::{Identity, MeshCa};
use crate::cluster::{Kind, OWNER_LABEL, Object, Query as Lookup};
use crate::diag::{Diagnostic, Diagnostics};
use crate::engine::{Ctx, Found, FoundObject, Listable, Query};
use crate::model;
use crate::pki::Certificate;
use crate::resources::client::Client;
use crate::resources::listing;
use crate::value::Value;

model! {
    /// Finds CAs, for `terraform query`: every root that this provider generated, by the Secret it is kept in, and of
    /// roots from elsewhere each that `cacerts` Secrets hold, by the first of these. All clusters are looked into, as a
    /// root's store and what is issued of it may be in different ones.
    pub struct Roots {
        /// Only those whose Secret is in this cluster, a key of the provider's `clusters`.
        #[attr(optional, validate(non_empty()))]
        pub cluster: Value<String>,
        /// Only those whose Secret is in this namespace.
        #[attr(optional, validate(dns_label()))]
        pub namespace: Value<String>,
        /// `true`: only those whose Secret carries this provider's label, whichever state they are in. `false`: all
        /// others.
        #[attr(optional)]
        pub managed: Value<bool>,
    }
}

impl Listable for MeshCa {
    type Query = Roots;

    async fn list(
        &self,
        cx: &mut Ctx<Client>,
        query: Query<Roots>,
        found: &mut Found<Self>,
    ) -> Result<(), Diagnostics> {
        let asked = &query.config;
        listing::known(cx, &asked.cluster, "cluster")?;
        let all = listing::clusters(cx, &Value::Null, "cluster")?;
        let labelled = Lookup::of(Kind::SECRET).selector(OWNER_LABEL);
        let cacerts = Lookup::of(Kind::SECRET).field("metadata.name", CACERTS);
        let seen = listing::search(cx, &all, &[labelled, cacerts]).await?;
        let (roots, left_out) = roots(&seen, asked);
        left_out.into_iter().for_each(|warning| cx.warn(warning));
        for root in roots {
            if !found.push(root).await {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn is_asked_for(cluster: &str, secret: &Object, asked: &Roots) -> bool {
    listing::is(&asked.cluster, cluster)
        && listing::is(&asked.namespace, secret.namespace().unwrap_or_default())
        && listing::chosen(secret, &asked.managed)
}

/// A root from elsewhere, and the `cacerts` Secrets of it, by cluster.
struct Brought<'a> {
    root: Certificate,
    holders: Vec<(&'a String, &'a Object)>,
}

fn roots(seen: &BTreeMap<String, Vec<Object>>, asked: &Roots) -> (Vec<FoundObject<MeshCa>>, Vec<Diagnostic>) {
    let (mut found, mut left_out) = (Vec::new(), Vec::new());
    let secrets = || seen.iter().flat_map(|(cluster, secrets)| secrets.iter().map(move |secret| (cluster, secret)));
    // Of all stores, whichever are asked for: their roots are theirs.
    let mut kept = BTreeSet::new();
    for (cluster, secret) in secrets().filter(|(_, secret)| secret.name() != CACERTS) {
        let store = match RootStore::read(secret) {
            Ok(store) => store,
            Err(key) => {
                left_out.extend(is_asked_for(cluster, secret, asked).then(|| damaged(cluster, secret, &key)));
                continue;
            }
        };
        kept.extend(store.0.values().map(|root| root.certificate.fingerprint()));
        if let Some((generation, newest)) = store.0.last_key_value().filter(|_| is_asked_for(cluster, secret, asked)) {
            let what = format!("root {}, generation {generation}", newest.certificate.subject());
            found.push(authority(cluster, secret, &what));
        }
    }
    let mut brought: BTreeMap<String, Brought<'_>> = BTreeMap::new();
    let mut seen_before = BTreeSet::new();
    for (cluster, secret) in secrets().filter(|(_, secret)| secret.name() == CACERTS) {
        // What carries the label answers to both questions.
        if !seen_before.insert((cluster, secret.namespace())) {
            continue;
        }
        let root = CaCerts::read_theirs(secret).map(|held| held.issuer().cloned());
        match root {
            Ok(Some(root)) if kept.contains(&root.fingerprint()) => {}
            Ok(Some(_)) if of_a_store(secret) => left_out.extend(without_store(cluster, secret, asked)),
            Ok(Some(root)) => {
                let fingerprint = root.fingerprint().to_string();
                let of_root = brought.entry(fingerprint).or_insert_with(|| Brought { root, holders: Vec::new() });
                of_root.holders.push((cluster, secret));
            }
            // istiod's own: nothing was given to it.
            Ok(None) | Err(Fault::IstioGenerated) => {}
            Err(fault) if is_asked_for(cluster, secret, asked) => left_out.push(unreadable(cluster, secret, &fault)),
            Err(_) => {}
        }
    }
    for Brought { root, holders } in brought.into_values() {
        let Some((cluster, secret)) = holders.iter().find(|(cluster, secret)| is_asked_for(cluster, secret, asked))
        else {
            continue;
        };
        let clusters: BTreeSet<&str> = holders.iter().map(|(cluster, _)| cluster.as_str()).collect();
        let clusters = clusters.into_iter().collect::<Vec<_>>().join(", ");
        found.push(authority(cluster, secret, &format!("root {} of {clusters}", root.subject())));
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    (found, left_out)
}

/// Issued of a root that this provider keeps somewhere.
fn of_a_store(secret: &Object) -> bool {
    secret
        .label(OWNER_LABEL)
        .is_some_and(|owner| owner.starts_with("mesh_ca.") && !owner.starts_with("mesh_ca.brought"))
}

fn authority(cluster: &str, secret: &Object, what: &str) -> FoundObject<MeshCa> {
    let (namespace, name) = (secret.namespace().unwrap_or_default(), secret.name());
    FoundObject {
        name: format!("{cluster}/{namespace}/{name}, {what}{}", listing::maker(secret)),
        identity: Identity { cluster: cluster.into(), namespace: namespace.into(), name: name.into() },
        warnings: Diagnostics::new(),
    }
}

fn without_store(cluster: &str, secret: &Object, asked: &Roots) -> Option<Diagnostic> {
    is_asked_for(cluster, secret, asked).then(|| {
        Diagnostic::warning(format!("The root of {cluster} was not found")).detail(format!(
            "The Secret {}/{CACERTS} of cluster {cluster} is issued of a root that this provider keeps. The Secret with that root is in none of the clusters that could be searched: \
             add the cluster that has it to the provider block, and search again.",
            secret.namespace().unwrap_or_default()
        ))
    })
}

fn damaged(cluster: &str, secret: &Object, key: &str) -> Diagnostic {
    Diagnostic::warning(format!("A store of roots in {cluster} is left out")).detail(format!(
        "The Secret {}/{} of cluster {cluster} looks like one that roots are kept in, but its key {key} cannot be read.",
        secret.namespace().unwrap_or_default(),
        secret.name()
    ))
}

fn unreadable(cluster: &str, secret: &Object, fault: &Fault) -> Diagnostic {
    Diagnostic::warning(format!("The cacerts of {cluster} is left out")).detail(format!(
        "The Secret {}/{CACERTS} of cluster {cluster} is none that `mesh_ca` could take over: {fault}.",
        secret.namespace().unwrap_or_default()
    ))
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
