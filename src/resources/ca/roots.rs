//! The roots at hand: those in the store, as far as it is what it was, and one that is brought. The only place that
//! makes roots, and that writes the store.
//!
//! Looking comes first, writing when everything else is decided: until [`Roots::save`] nothing is written.

use std::collections::{BTreeMap, BTreeSet};

use time::OffsetDateTime;

use super::Cx;
use super::gather::{self, Kept};
use super::issue::{BACKDATED, serial, too_long};
use super::memory::{self, Generation, Past};
use super::model::Ca;
use super::secret::{RootStore, StoredRoot, at_version};
use super::spec::{Generated, RootSpec, Spec, StoreRef, store_of};
use crate::cluster::{Adoption, Apply, Cluster, Error};
use crate::diag::{Diagnostic, Diagnostics};
use crate::kept::namespace;
use crate::pki::{Certificate, PrivateKey, RootRequest, Validity, check_root};
use crate::resources::client;
use crate::resources::signing::{generate, unmade};
use crate::value::Path;

/// What [`Roots::open`] goes by.
#[derive(Clone, Copy)]
pub struct Open<'a> {
    pub spec: &'a Spec,
    pub prior: Option<&'a Ca>,
    pub mark: &'a str,
    pub held: &'a Held,
    pub now: OffsetDateTime,
}

/// The roots that clusters hold in Secrets of this instance.
pub struct Held {
    pub roots: BTreeSet<String>,
    /// Every cluster has answered.
    pub complete: bool,
}

pub struct Roots {
    store: RootStore,
    to: Certificate,
    brought: Option<PrivateKey>,
    /// The version of the store's Secret; `None` where there is none yet.
    version: Option<String>,
    /// The instance's mark, which the store carries.
    mark: String,
    /// The store is not as it is to be.
    unsaved: bool,
}

/// Why a root was not kept.
pub struct Unsaved {
    pub diagnostic: Diagnostic,
    /// Nobody said so, and the Secret may have been written all the same.
    pub may_be_there: bool,
}

impl Unsaved {
    /// What is told of a create whose state keeps the resource.
    pub fn in_doubt(self) -> Diagnostic {
        let detail = format!(
            "{} Whether the root was written is not known. State keeps the resource, and the next apply deletes what there is of it and creates it again.",
            self.diagnostic.detail
        );
        self.diagnostic.detail(detail)
    }
}

impl From<Diagnostic> for Unsaved {
    fn from(diagnostic: Diagnostic) -> Unsaved {
        Unsaved { diagnostic, may_be_there: false }
    }
}

impl Roots {
    /// Looks at the store, and makes the root that is missing in it: in memory alone.
    pub async fn open(cx: &mut Cx, ask: Open<'_>) -> Result<Roots, Diagnostics> {
        match &ask.spec.root {
            // Which roots the store has that it had before is not forgotten: one of them may be turned back to.
            RootSpec::Brought { certificate, key, .. } => brought(certificate, key.as_ref(), ask.now),
            RootSpec::Generated(generated) => stored(cx, generated, ask).await,
        }
    }

    pub fn to(&self) -> &Certificate {
        &self.to
    }

    /// Certificate and key of a root that can sign.
    pub fn signer(&self, fingerprint: &str) -> Option<(&Certificate, &PrivateKey)> {
        if let Some(stored) = self.store.by_fingerprint(fingerprint) {
            return Some((&stored.certificate, &stored.key));
        }
        let own = self.to.fingerprint().to_string() == fingerprint;
        self.brought.as_ref().filter(|_| own).map(|key| (&self.to, key))
    }

    pub fn signers(&self) -> BTreeSet<String> {
        let stored = self.store.0.values().map(|root| root.certificate.fingerprint().to_string());
        stored.chain(self.brought.is_some().then(|| self.to.fingerprint().to_string())).collect()
    }

    /// Keeps the key of a new root before anything is signed with it. Refused where somebody has written the store
    /// since it was read.
    pub async fn save(&mut self, cx: &mut Cx, spec: &Spec) -> Result<(), Unsaved> {
        let RootSpec::Generated(generated) = &spec.root else { return Ok(()) };
        if !self.unsaved {
            return Ok(());
        }
        let path = Path::root("root").attr("store");
        let cluster = cluster(cx, &generated.store)?;
        let write = Write {
            cluster: &cluster,
            spec,
            store: &generated.store,
            mark: &self.mark,
            version: self.version.as_deref(),
        };
        match write.run(&self.store).await {
            Ok(Some(version)) => self.version = Some(version),
            Ok(None) => {
                let found = gather::store(&cluster, &generated.store).await.map_err(|error| error.at(path.clone()))?;
                return Err(match found {
                    Some(kept) => there_already(&generated.store, &kept).into(),
                    None => changed(&generated.store).into(),
                });
            }
            Err(error) if error.is_contention() => return Err(changed(&generated.store).into()),
            Err(error) => {
                return Err(Unsaved {
                    may_be_there: error.may_have_come_through(),
                    diagnostic: Diagnostic::from(&error).at(path),
                });
            }
        }
        self.unsaved = false;
        cx.private.note_store(&self.store);
        Ok(())
    }

    /// Generations that nobody holds or trusts any more leave no key behind. What others keep there stays.
    pub async fn retire(&mut self, cx: &mut Cx, spec: &Spec, state: &Ca) -> Result<(), Diagnostic> {
        let RootSpec::Generated(generated) = &spec.root else { return Ok(()) };
        // A backup that brought back old keys alone is no place to tidy up.
        if !self.store.0.contains_key(&generated.generation) {
            return Ok(());
        }
        let used: BTreeSet<String> =
            state.clusters.entries().flat_map(|(_, cluster)| memory::roots_held(cluster)).collect();
        let over = |number: i64, root: &StoredRoot| {
            number != generated.generation && !used.contains(&root.certificate.fingerprint().to_string())
        };
        let doomed: BTreeMap<i64, String> = self
            .store
            .0
            .iter()
            .filter(|(number, root)| over(**number, root))
            .map(|(number, root)| (*number, root.certificate.fingerprint().to_string()))
            .collect();
        if doomed.is_empty() {
            return Ok(());
        }
        let cluster = cluster(cx, &generated.store)?;
        let Some(mut kept) = gather::store(&cluster, &generated.store).await? else { return Ok(()) };
        let gone =
            |number: &i64, root: &StoredRoot| doomed.get(number) == Some(&root.certificate.fingerprint().to_string());
        kept.roots.0.retain(|number, root| !gone(number, root));
        let write =
            Write { cluster: &cluster, spec, store: &generated.store, mark: &self.mark, version: Some(&kept.version) };
        match write.run(&kept.roots).await {
            Ok(_) => {
                self.store.0.retain(|number, _| !doomed.contains_key(number));
                cx.private.note_store(&self.store);
                Ok(())
            }
            // The next plan finds it still there.
            Err(error) if error.is_contention() => Ok(()),
            Err(error) => Err(Diagnostic::from(&error).at(Path::root("root").attr("store"))),
        }
    }
}

fn brought(certificate: &Certificate, key: Option<&PrivateKey>, now: OffsetDateTime) -> Result<Roots, Diagnostics> {
    let problems: Vec<String> = check_root(certificate, now).iter().map(ToString::to_string).collect();
    if !problems.is_empty() {
        return Err(Diagnostic::error("The root is unfit")
            .detail(format!("{}. Bring another one.", problems.join(". ")))
            .at(Path::root("root").attr("certificate"))
            .into());
    }
    let brought = key.map(|key| PrivateKey::from_pem(&key.to_pem()).map_err(|error| unmade(&error))).transpose()?;
    Ok(Roots {
        store: RootStore::default(),
        to: certificate.clone(),
        brought,
        version: None,
        mark: String::new(),
        unsaved: false,
    })
}

async fn stored(cx: &mut Cx, generated: &Generated, ask: Open<'_>) -> Result<Roots, Diagnostics> {
    let Open { spec, prior, mark, held, now } = ask;
    let (path, place) = (Path::root("root").attr("store"), &generated.store);
    let cluster = cluster(cx, place)?;
    let found = gather::store(&cluster, place).await.map_err(|error| error.at(path.clone()))?;
    // One that is turned back to is still where it was, with the mark.
    let is_marked = found.as_ref().is_some_and(|kept| kept.mark.as_deref() == Some(mark));
    let was_left = cx.private.former_stores(None).contains(place) && is_marked;
    let ours = prior.and_then(store_of).as_ref() == Some(place) || was_left;
    match &found {
        Some(kept) if !ours && !spec.adopt => return Err(there_already(place, kept).into()),
        Some(kept) if !ours => {
            kept.roots.check().map_err(|why| memory::damaged(&why, place))?;
            cx.warn(taken_over(place, kept));
        }
        Some(kept) => cx.private.judge(&kept.roots, &kept.own).map_err(|why| memory::damaged(&why, place))?,
        None => {}
    }
    // One of before marks is marked.
    let is_marked = is_marked || mark.is_empty();
    let (mut store, version) = found.map_or_else(Default::default, |kept| (kept.roots, Some(kept.version)));
    let found = store.0.len();
    if ours {
        store = cx.private.believed(store, &held.roots);
    }
    let has_unknown = store.0.len() < found;
    if has_unknown && !held.complete {
        return Err(unknown(place).into());
    }
    cx.private.note_store(&store);
    cx.private.keeps_in(place);
    let number = generated.generation;
    let (to, unsaved) = match (cx.private.generation(number, prior), store.0.get(&number)) {
        (_, Some(root)) => (root.certificate.clone(), !is_marked || has_unknown),
        (Generation::Lost, _) => {
            cx.warn(memory::lost(place, number));
            let remembered = prior.and_then(|prior| Certificate::from_pem(prior.root_certificate.text()).ok());
            let past = Past { next: number.saturating_add(1), kept: None };
            (remembered.ok_or_else(|| memory::over(number, past))?, false)
        }
        (Generation::Over(past), _) => return Err(memory::over(number, past).into()),
        (Generation::ToMake | Generation::Kept, None) => {
            let root = make(generated, now).await?;
            let certificate = root.certificate.clone();
            store.0.insert(number, root);
            (certificate, true)
        }
    };
    Ok(Roots { store, to, brought: None, version, mark: mark.to_owned(), unsaved })
}

async fn make(generated: &Generated, now: OffsetDateTime) -> Result<StoredRoot, Diagnostic> {
    let not_after = now.checked_add(generated.validity).ok_or_else(|| too_long(Path::root("root").attr("validity")))?;
    let request = RootRequest {
        subject: generated.subject.clone(),
        validity: Validity { not_before: now - BACKDATED, not_after },
        serial: serial()?,
    };
    let key = generate(generated.algorithm).await?;
    let certificate = request.self_sign(&key).map_err(|error| unmade(&error))?;
    Ok(StoredRoot { certificate, key })
}

/// A write of the store.
struct Write<'a> {
    cluster: &'a Cluster,
    spec: &'a Spec,
    store: &'a StoreRef,
    mark: &'a str,
    /// What the Secret was when this was decided; `None` where there was none.
    version: Option<&'a str>,
}

impl Write<'_> {
    /// The version written; `None` where there is a Secret by now that was not there.
    async fn run(&self, store: &RootStore) -> Result<Option<String>, Error> {
        let owner = self.spec.owner(&self.store.namespace, self.mark);
        let object = store.object(self.store, &owner);
        let Some(version) = self.version else {
            self.ensure_namespace(&owner.label).await?;
            let made = self.cluster.apply_new(&object).await?;
            return Ok(made.and_then(|made| made.object.resource_version().map(str::to_owned)));
        };
        // What was read has proved to be this resource's, or is to be taken over: a backup may have come back without
        // its labels.
        let apply = Apply { adoption: Adoption::Take, ..Apply::new(at_version(object, version), owner) };
        let applied = self.cluster.apply(apply).await?;
        Ok(applied.object.resource_version().map(str::to_owned))
    }

    async fn ensure_namespace(&self, label: &str) -> Result<(), Error> {
        let namespace = &self.store.namespace;
        // Where a control plane lives, or may, gateways are to be injected.
        let shared = namespace == "istio-system"
            || self.spec.clusters.values().any(|cluster| cluster.namespace.as_str() == namespace);
        match shared {
            true => namespace::ensure(self.cluster, namespace, label).await.map(drop),
            false => namespace::ensure_without_pods(self.cluster, namespace, label).await.map(drop),
        }
    }
}

fn cluster(cx: &Cx, store: &StoreRef) -> Result<Cluster, Diagnostic> {
    let path = Path::root("root").attr("store").attr("cluster");
    client::cluster(cx, &store.cluster).map_err(|error| error.at(path))
}

/// A Secret that was there before us may have been put there, with a key that somebody knows.
fn there_already(store: &StoreRef, kept: &Kept) -> Diagnostic {
    Diagnostic::error("The root's store exists already")
        .detail(format!(
            "This resource has not made the Secret {store}. {} Whoever wrote it may know what it holds, and would be able to issue certificates for the whole mesh. If it is yours, import it with the id {:?}, or set `adopt = true`, after you have compared the fingerprint. If not, delete the Secret or give `root.store` another place. Nothing was written.",
            describe(kept),
            store.to_string()
        ))
        .at(Path::root("root").attr("store"))
}

/// Said even where it was asked for.
pub fn taken_over(store: &StoreRef, kept: &Kept) -> Diagnostic {
    Diagnostic::warning("A root that was there is taken over")
        .detail(format!(
            "The Secret {store} was there before this resource. {} Compare the fingerprint with the one you know: whoever wrote the Secret may know the key.",
            describe(kept)
        ))
        .at(Path::root("root").attr("store"))
}

fn describe(kept: &Kept) -> String {
    let roots: Vec<String> = kept
        .roots
        .0
        .iter()
        .map(|(number, root)| {
            format!("generation {number}, {} (SHA-256 {})", root.certificate.subject(), root.certificate.fingerprint())
        })
        .collect();
    let managers = memory::managed_by(&kept.managers);
    match roots.is_empty() {
        true => format!("It holds no root.{managers}"),
        false => format!("It holds the root of {}.{managers}", roots.join("; ")),
    }
}

fn changed(store: &StoreRef) -> Diagnostic {
    Diagnostic::error("The root's store has changed meanwhile")
        .detail(format!(
            "Somebody else, perhaps another run, has written the Secret {store} since it was read. Nothing was written. Plan again."
        ))
        .at(Path::root("root").attr("store"))
}

/// A root that nothing proves, and that a cluster may have been given.
fn unknown(store: &StoreRef) -> Diagnostic {
    Diagnostic::error("A root in the store is not known")
        .detail(format!(
            "The Secret {store} holds a root that no apply has noted. One that was cut off may have made it, and a cluster that may trust it does not answer. Nothing was written. Apply again when all clusters answer."
        ))
        .at(Path::root("root").attr("store"))
}
