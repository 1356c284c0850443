//! What the clusters hold: all requests that only look.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use time::{Duration, OffsetDateTime};

use super::Cx;
use super::decide::Seen;
use super::model::Ca;
use super::report;
use super::secret::{CaCerts, Fault, OpenRequest, RootStore, SELF_SIGNED};
use super::spec::{Spec, StoreRef};
use crate::cluster::{Cluster, Error, Kind, OWNER_LABEL, Object, ObjectRef, Query};
use crate::diag::Diagnostic;
use crate::kept::converge;
use crate::pki::Certificate;
use crate::resources::client;

/// One cluster, as it is.
#[derive(Debug)]
pub struct Live {
    pub cluster: Cluster,
    pub namespace: String,
    /// The Secret `cacerts`, if there is one, and what it holds.
    pub secret: Option<Object>,
    pub held: Option<CaCerts>,
    pub fault: Option<Fault>,
    /// What it holds where it has the form of a TLS Secret: told, and never taken over.
    pub theirs: Option<CaCerts>,
    /// The Secret carries this resource's label.
    pub ours: bool,
    pub open: Option<OpenRequest>,
    /// The root that a running istiod made for itself.
    pub self_signed: Option<Certificate>,
}

/// Looks at one cluster.
pub async fn look(cluster: Cluster, namespace: &str, owner: &str) -> Result<Live, Error> {
    let secret = match marked(&cluster, &CaCerts::reference(namespace)).await? {
        Some(secret) => Some(secret),
        None => cluster.get(&CaCerts::reference(namespace)).await?,
    };
    let open = marked(&cluster, &OpenRequest::reference(namespace)).await?;
    let open = open.and_then(|secret| OpenRequest::read(&secret).ok());
    let (held, fault) = match secret.as_ref().map(CaCerts::read) {
        Some(Ok(held)) => (Some(held), None),
        Some(Err(fault)) => (None, Some(fault)),
        None => (None, None),
    };
    let tls = secret.as_ref().filter(|_| matches!(fault, Some(Fault::CertManager { .. })));
    let theirs = tls.and_then(|secret| CaCerts::read_tls(secret).ok());
    let ours = secret.as_ref().is_some_and(|secret| secret.label(OWNER_LABEL) == Some(owner));
    Ok(Live { cluster, namespace: namespace.to_owned(), secret, held, fault, theirs, ours, open, self_signed: None })
}

/// A Secret that carries a label of this provider, by one request for all of them, which other resources share.
async fn marked(cluster: &Cluster, reference: &ObjectRef) -> Result<Option<Object>, Error> {
    let marked = cluster.list(&Query::owned(Kind::SECRET, reference.namespace.as_deref().unwrap_or_default())).await?;
    let named =
        |secret: &&Object| secret.name() == reference.name && secret.namespace() == reference.namespace.as_deref();
    Ok(marked.iter().find(named).cloned())
}

/// The root a running istiod made for itself, where it has no `cacerts`.
pub async fn self_signed(live: &Live) -> Result<Option<Certificate>, Error> {
    let reference = ObjectRef::namespaced(Kind::SECRET, &live.namespace, SELF_SIGNED);
    let Some(secret) = live.cluster.get(&reference).await? else { return Ok(None) };
    if istiods(live).await?.is_empty() {
        return Ok(None);
    }
    let pem = secret.data("ca-cert.pem").and_then(|pem| String::from_utf8(pem).ok());
    Ok(pem.and_then(|pem| Certificate::from_pem(&pem).ok()))
}

/// The Pods of istiod.
pub async fn istiods(live: &Live) -> Result<Vec<Object>, Error> {
    let query = Query::of(Kind::POD).namespace(&live.namespace).label("app", "istiod");
    Ok(live.cluster.list_now(&query).await?.iter().filter(|pod| !pod.is_terminating()).cloned().collect())
}

/// Looks at all clusters at once. Those that give no answer are apart.
pub async fn look_at_all(cx: &Cx, spec: &Spec) -> (BTreeMap<String, Live>, BTreeMap<String, Diagnostic>) {
    let looks = spec.clusters.iter().map(|(name, wanted)| async move {
        let cluster = match client::cluster(cx, name) {
            Ok(cluster) => cluster,
            Err(diagnostic) => return (name, Err(diagnostic)),
        };
        let owner = spec.owner(wanted.namespace.as_str());
        let live = async {
            // What was held for the walk may be older than the plan.
            cluster.forget();
            let mut live = look(cluster, wanted.namespace.as_str(), &owner).await?;
            if live.secret.is_none() {
                live.self_signed = self_signed(&live).await?;
            }
            Ok(live)
        };
        (name, live.await.map_err(|error: Error| converge::diagnostic(&error)))
    });
    let (mut found, mut failed) = (BTreeMap::new(), BTreeMap::new());
    for (name, live) in join_all(looks).await {
        match live {
            Ok(live) => drop(found.insert(name.clone(), live)),
            Err(diagnostic) => drop(failed.insert(name.clone(), diagnostic)),
        }
    }
    (found, failed)
}

/// The store of generated roots; empty where there is none yet.
pub async fn store(cluster: &Cluster, store: &StoreRef) -> Result<Option<RootStore>, Diagnostic> {
    let secret = cluster.get(&RootStore::reference(store)).await.map_err(|error| converge::diagnostic(&error))?;
    let Some(secret) = secret else { return Ok(None) };
    RootStore::read(&secret).map(Some).map_err(|key| {
        Diagnostic::error("The root's store cannot be read").detail(format!(
            "The key {key} of the Secret {store} is missing or damaged. Restore the Secret from a backup; without it no certificate can be signed."
        ))
    })
}

impl Live {
    /// What counts for the decision.
    pub fn seen(
        &self,
        prior: Option<&Ca>,
        name: &str,
        renew_before: Duration,
        now: OffsetDateTime,
        adopt: bool,
    ) -> Seen {
        let generation = prior.and_then(|prior| prior.clusters.entry(name)?.generation.get());
        let due =
            self.held.as_ref().is_some_and(|held| report::state_of(held, renew_before, now) != report::state::READY);
        let self_signed: BTreeSet<String> =
            self.self_signed.iter().map(|root| root.fingerprint().to_string()).collect();
        Seen {
            holding: self.held.as_ref().and_then(CaCerts::holding),
            fingerprint: self.held.as_ref().and_then(|held| Some(held.chain.first()?.fingerprint().to_string())),
            generation,
            due,
            expired: self.held.as_ref().and_then(CaCerts::issuer).is_some_and(|root| now > root.not_after()),
            unreachable: false,
            foreign: self.secret.is_some() && !self.ours && !adopt,
            take: self.secret.is_some() && !self.ours && adopt,
            self_signed,
        }
    }
}
