//! What the clusters hold: all requests that only look.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use time::OffsetDateTime;

use super::Cx;
use super::decide::Seen;
use super::memory::Private;
use super::model::Ca;
use super::secret::{CaCerts, Fault, RootStore, SELF_SIGNED, request_in};
use super::spec::{Spec, StoreRef};
use super::state;
use crate::cluster::{Cluster, Error, FIELD_MANAGER, INSTANCE_ANNOTATION, Kind, Object, ObjectRef, Owner, Query};
use crate::diag::Diagnostic;
use crate::istiod::Istiod;
use crate::kept::converge;
use crate::mesh::Phase;
use crate::pki::Certificate;
use crate::resources::client;
use crate::resources::signing::OpenRequest;

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
    /// Whose the CA's objects here are.
    pub owner: Owner,
    /// The Secret is this instance's.
    pub ours: bool,
    pub open: Option<OpenRequest>,
    /// What a `mesh_ca_request` keeps here for a chain to answer.
    pub requested: Option<OpenRequest>,
    /// The root that a running istiod made for itself.
    pub self_signed: Option<Certificate>,
}

/// During a rotation: how long the certificates live that istiods have issued so far. Whoever tells istiod to issue for
/// less before anybody looks again would shorten the pause, and not what is about.
pub async fn note_lifetimes(cx: &mut Cx, state: &Ca, live: impl IntoIterator<Item = &Live>) {
    if state.phase.known().is_none_or(|phase| phase == Phase::Settled.as_str()) {
        cx.private.longest = None;
        return;
    }
    let asked = live.into_iter().map(|live| async move { live.istiod().longest_lifetime().await });
    for found in join_all(asked).await {
        match found {
            Ok(found) => cx.private.longest = cx.private.longest.max(found.map(|longest| longest.as_secs())),
            Err(error) => cx.warn(converge::stale(&error)),
        }
    }
}

/// Looks at one cluster.
pub async fn look(cluster: Cluster, namespace: &str, owner: Owner) -> Result<Live, Error> {
    let secret = match labelled(&cluster, &CaCerts::reference(namespace)).await? {
        Some(secret) => Some(secret),
        None => cluster.get(&CaCerts::reference(namespace)).await?,
    };
    // A key that others have put there may be known to them.
    let open = labelled(&cluster, &request_in(namespace)).await?.filter(|request| owner.has(request, false));
    let open = open.as_ref().and_then(OpenRequest::read);
    let ours = secret.as_ref().is_some_and(|secret| owner.has(secret, false));
    let read = if ours { CaCerts::read } else { CaCerts::read_theirs };
    let (held, fault) = match secret.as_ref().map(read) {
        Some(Ok(held)) => (Some(held), None),
        Some(Err(fault)) => (None, Some(fault)),
        None => (None, None),
    };
    let tls = secret.as_ref().filter(|_| matches!(fault, Some(Fault::CertManager { .. })));
    let theirs = tls.and_then(|secret| CaCerts::read_tls(secret).ok());
    let namespace = namespace.to_owned();
    let (requested, self_signed) = (None, None);
    Ok(Live { cluster, namespace, secret, held, fault, theirs, owner, ours, open, requested, self_signed })
}

/// A Secret that carries a label of this provider, by one request for all of them, which other resources share.
async fn labelled(cluster: &Cluster, reference: &ObjectRef) -> Result<Option<Object>, Error> {
    let labelled =
        cluster.list(&Query::owned(Kind::SECRET, reference.namespace.as_deref().unwrap_or_default())).await?;
    let named =
        |secret: &&Object| secret.name() == reference.name && secret.namespace() == reference.namespace.as_deref();
    Ok(labelled.iter().find(named).cloned())
}

/// The root a running istiod made for itself, where it has no `cacerts`.
pub async fn self_signed(live: &Live) -> Result<Option<Certificate>, Error> {
    let reference = ObjectRef::namespaced(Kind::SECRET, &live.namespace, SELF_SIGNED);
    let Some(secret) = live.cluster.get(&reference).await? else { return Ok(None) };
    if live.istiod().replicas(None).await?.is_empty() {
        return Ok(None);
    }
    let unreadable = |why: &str| {
        let detail = format!("{reference}, by which istiod signs, cannot be read: its key ca-cert.pem {why}");
        live.cluster.unexpected(detail)
    };
    // An istiod that waits for its Secret to be filled has signed nothing yet.
    let Some(pem) = secret.data("ca-cert.pem") else { return Ok(None) };
    let pem = String::from_utf8(pem).map_err(|_| unreadable("is not text"))?;
    let mut certificates =
        Certificate::all_in(&pem).map_err(|error| unreadable(&format!("is no certificate ({error})")))?;
    let root = certificates.remove(0);
    // One that an istiod of before has left signs nothing: it is not among what is handed out.
    let handed_out = live.istiod().handed_out().await?;
    let is_left = !handed_out.is_empty() && !handed_out.iter().any(|roots| roots.contains(&root));
    Ok((!is_left).then_some(root))
}

/// Fingerprints of the roots that clusters hold in Secrets of this instance.
pub fn roots_held<'a>(live: impl IntoIterator<Item = &'a Live>) -> BTreeSet<String> {
    let held = live.into_iter().filter(|live| live.ours).filter_map(|live| live.held.as_ref());
    held.flat_map(|held| held.roots.iter()).map(|root| root.fingerprint().to_string()).collect()
}

/// Looks at all clusters at once. Those that give no answer are apart.
pub async fn look_at_all(cx: &Cx, spec: &Spec, mark: &str) -> (BTreeMap<String, Live>, BTreeMap<String, Diagnostic>) {
    let looks = spec.clusters.iter().map(|(name, wanted)| async move {
        let cluster = match client::cluster(cx, name) {
            Ok(cluster) => cluster,
            Err(diagnostic) => return (name, Err(diagnostic)),
        };
        let owner = spec.owner(wanted.namespace.as_str(), mark);
        let live = async {
            // What was held for the walk may be older than the plan.
            cluster.forget();
            let mut live = look(cluster, wanted.namespace.as_str(), owner).await?;
            if live.secret.is_none() {
                live.self_signed = self_signed(&live).await?;
            }
            if let Some(request) = &wanted.request {
                let reference = ObjectRef::namespaced(Kind::SECRET, &live.namespace, request);
                live.requested = live.cluster.get(&reference).await?.as_ref().and_then(OpenRequest::read);
            }
            Ok(live)
        };
        (name, live.await.map_err(|error: Error| Diagnostic::from(error)))
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

/// The store of generated roots, as it is.
pub struct Kept {
    pub roots: RootStore,
    pub version: String,
    pub managers: Vec<String>,
    /// The data keys that this provider wrote.
    pub own: BTreeSet<String>,
    /// The mark of the instance that wrote it last; `None` where it is older than marks.
    pub mark: Option<String>,
}

/// The store of generated roots; `None` where there is none yet.
pub async fn store(cluster: &Cluster, store: &StoreRef) -> Result<Option<Kept>, Diagnostic> {
    let secret = cluster.get(&RootStore::reference(store)).await?;
    let Some(secret) = secret else { return Ok(None) };
    let kept = |roots| Kept {
        roots,
        version: secret.resource_version().unwrap_or_default().to_owned(),
        managers: crate::cluster::managers(&secret),
        own: own_keys(&secret),
        mark: secret.annotation(INSTANCE_ANNOTATION).map(str::to_owned),
    };
    RootStore::read(&secret).map(|roots| Some(kept(roots))).map_err(|key| {
        Diagnostic::error("The root's store cannot be read").detail(format!(
            "The key {key} of the Secret {store} is missing or damaged. Restore the Secret from a backup; without it no certificate can be signed."
        ))
    })
}

/// The data keys of a Secret that this provider wrote, by what the API server notes of who wrote what.
pub fn own_keys(secret: &Object) -> BTreeSet<String> {
    let ours = secret.items("metadata.managedFields").iter().filter(|entry| {
        let text = |key: &str| entry.get(key).and_then(|value| value.as_str());
        text("manager") == Some(FIELD_MANAGER) && text("operation") == Some("Apply")
    });
    let keys = ours.filter_map(|entry| entry.get("fieldsV1")?.get("f:data")?.as_object()).flatten();
    keys.filter_map(|(key, _)| Some(key.strip_prefix("f:")?.to_owned())).collect()
}

impl Live {
    pub fn istiod(&self) -> Istiod {
        Istiod::of(&self.cluster, &self.namespace)
    }

    /// Who writes the Secret, by its managed fields.
    pub fn managers(&self) -> Vec<String> {
        self.secret.as_ref().map(crate::cluster::managers).unwrap_or_default()
    }

    /// Whether somebody has put another intermediate there.
    pub fn is_exchanged(&self, name: &str, memory: &Private) -> bool {
        let Some((secret, held)) = self.secret.as_ref().zip(self.held.as_ref()).filter(|_| self.ours) else {
            return false;
        };
        let own = own_keys(secret);
        let wrote = ["ca-cert.pem", "ca-key.pem"].iter().all(|key| own.contains(*key));
        held.chain.first().is_some_and(|found| memory.is_exchanged(name, &found.fingerprint().to_string(), wrote))
    }

    /// What counts for the decision.
    pub fn seen(&self, name: &str, memory: &Private, spec: &Spec, prior: Option<&Ca>, now: OffsetDateTime) -> Seen {
        let generation = prior.and_then(|prior| prior.clusters.entry(name)?.generation.get());
        let renew_before = spec.intermediate.renew_before;
        let due = self.held.as_ref().is_some_and(|held| state::of(held, renew_before, now) != state::READY);
        let self_signed: BTreeSet<String> =
            self.self_signed.iter().map(|root| root.fingerprint().to_string()).collect();
        let (theirs, adopt) = (self.secret.is_some() && !self.ours, memory.adopts(spec, name));
        Seen {
            holding: self.held.as_ref().and_then(CaCerts::holding),
            fingerprint: self.held.as_ref().and_then(|held| Some(held.chain.first()?.fingerprint().to_string())),
            asked: self.open.is_some(),
            generation,
            due: due || self.is_exchanged(name, memory),
            expired: self.held.as_ref().and_then(CaCerts::issuer).is_some_and(|root| now > root.not_after()),
            unreachable: false,
            foreign: theirs && !adopt,
            take: theirs && adopt,
            self_signed,
        }
    }
}
