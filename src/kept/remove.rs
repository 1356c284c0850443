//! Removal: only of what is this instance's, webhooks before what serves them. What somebody else has made anew or
//! taken over stays, and is told.

use std::collections::BTreeMap;

use super::kinds;
use super::memory::Memory;
use super::objects::{Recorded, state_key};
use super::read;
use super::report::whose;
use crate::cluster::{Cluster, Delete, Error, Failure, Kind, Object, ObjectRef, Owner, Propagation};
use crate::istiod;

/// How often a removal is tried anew when others write the object between the look and the removal.
const ATTEMPTS: u32 = 6;

/// Everything of an instance in one cluster.
pub struct Removal<'a, S> {
    pub cluster: &'a Cluster,
    pub recorded: &'a Recorded,
    pub memory: &'a Memory,
    pub owner: &'a Owner,
    /// Kinds and the namespace in which an interrupted apply may have left objects that state does not know. None are
    /// looked at when empty.
    pub orphan_kinds: &'a [Kind],
    pub namespace: &'a str,
    /// Wait for the end of CustomResourceDefinitions too, which go on their own. All else is waited for in any case.
    pub wait_for_definitions: bool,
    /// Why an object stays all the same.
    pub stays: S,
}

/// What is left after a removal.
#[derive(Debug, Default)]
pub struct Remaining {
    /// What is still this instance's, for the next attempt.
    pub recorded: Recorded,
    /// Objects that stay and are not this instance's any more, and why.
    pub left: Vec<String>,
    pub errors: Vec<Error>,
    /// CustomResourceDefinitions were among those removed.
    pub defined: bool,
}

impl<S: Fn(&Object) -> Option<String>> Removal<'_, S> {
    /// Removes what state names and what an interrupted apply has left, but for the namespace.
    pub async fn run(self) -> Remaining {
        let doomed = match self.doomed().await {
            Ok(doomed) => doomed,
            Err(error) => {
                return Remaining { recorded: self.recorded.clone(), errors: vec![error], ..Remaining::default() };
            }
        };
        let mut remaining = Remaining { recorded: self.recorded.clone(), ..Remaining::default() };
        // What of the namespace is this resource's is still to be removed.
        remaining.recorded.retain(|key| key.starts_with("Namespace ") || doomed.iter().any(|doomed| doomed.key == key));
        remaining.defined = doomed.iter().any(|doomed| doomed.reference.kind == Kind::CUSTOM_RESOURCE_DEFINITION);
        let Removal { cluster, owner, wait_for_definitions, .. } = self;
        let removing = Removing { cluster, owner, wait_for_definitions, stays: &self.stays };
        for (key, outcome) in removing.all(doomed).await {
            match outcome {
                Ok(removed) => {
                    remaining.recorded.remove(&key);
                    remaining.left.extend(removed.stays().map(|why| format!("{key}: {why}")));
                }
                Err(error) => remaining.errors.push(error),
            }
        }
        remaining
    }

    async fn doomed(&self) -> Result<Vec<Doomed>, Error> {
        let references = kinds::references(self.cluster, self.recorded).await?;
        let mut live = read::there(self.cluster, self.recorded, self.memory).await?;
        // The end of an earlier removal is waited for as well.
        live.retain(|_, object| !goes_on_its_own(object));
        let found = live.into_iter().filter_map(|(key, live)| {
            let reference = references.get(key.as_str())?.clone();
            Some((reference.clone(), Doomed { key, reference, live: Some(live), known: true }))
        });
        let mut doomed: BTreeMap<ObjectRef, Doomed> = found.collect();
        for (reference, live) in read::owned(self.cluster, self.orphan_kinds, self.namespace, self.owner).await? {
            if goes_on_its_own(&live) {
                continue;
            }
            let key = state_key(&reference);
            let orphan = Doomed { key, reference: reference.clone(), live: Some(live), known: false };
            doomed.entry(reference).or_insert(orphan);
        }
        // A namespace is left, not removed: it may hold what others put there.
        doomed.retain(|reference, _| reference.kind != Kind::NAMESPACE);
        Ok(doomed.into_values().collect())
    }
}

/// An object to remove, and what is known of it already.
pub struct Doomed {
    pub key: String,
    pub reference: ObjectRef,
    pub live: Option<Object>,
    /// State names it.
    pub known: bool,
}

/// How to remove.
pub struct Removing<'a, S> {
    pub cluster: &'a Cluster,
    pub owner: &'a Owner,
    pub wait_for_definitions: bool,
    pub stays: &'a S,
}

/// What came of a removal.
pub enum Removed {
    Gone,
    /// It stays, and is no longer this instance's.
    Left(String),
    /// It is somebody else's, who has made it anew.
    NotOurs(String),
    /// Another instance of this provider holds it by now, as a tag that was moved.
    TakenOver(String),
}

impl Removed {
    /// Why the object is still there.
    pub fn stays(self) -> Option<String> {
        match self {
            Removed::Gone => None,
            Removed::Left(why) | Removed::NotOurs(why) | Removed::TakenOver(why) => Some(why),
        }
    }
}

impl<S: Fn(&Object) -> Option<String>> Removing<'_, S> {
    /// Removes in the reverse of the order of an apply, a level at a time, and no further than a level that fails.
    pub async fn all(&self, mut doomed: Vec<Doomed>) -> Vec<(String, Result<Removed, Error>)> {
        doomed.sort_by(|a, b| b.reference.kind.order.cmp(&a.reference.kind.order).then_with(|| a.key.cmp(&b.key)));
        let mut outcomes = Vec::new();
        for level in doomed.chunk_by(|a, b| a.reference.kind.order == b.reference.kind.order) {
            let removals = level.iter().map(|doomed| self.one(doomed));
            let level: Vec<_> =
                level.iter().map(|doomed| doomed.key.clone()).zip(futures::future::join_all(removals).await).collect();
            let failed = level.iter().any(|(_, outcome)| outcome.is_err());
            outcomes.extend(level);
            if failed {
                break;
            }
        }
        outcomes
    }

    /// Removes one object, if it is this instance's as it is now.
    pub async fn one(&self, doomed: &Doomed) -> Result<Removed, Error> {
        let Doomed { reference, live, known, .. } = doomed;
        let mut live = live.clone();
        for attempt in 1.. {
            let looked = match live.take() {
                Some(live) => Some(live),
                None => get(self.cluster, reference).await?,
            };
            let Some(looked) = looked else { return Ok(Removed::Gone) };
            if !self.owner.has(&looked, *known) {
                let whose = whose(self.owner, &looked);
                let taken_over = self.owner.is_taken_over(&looked);
                return Ok(if taken_over { Removed::TakenOver(whose) } else { Removed::NotOurs(whose) });
            }
            if let Some(why) = self.why_it_stays(reference, &looked).await? {
                return Ok(Removed::Left(why));
            }
            // Only this object as it was looked at: not one that took its name since, nor one that others have taken
            // over.
            let after_pods = goes_after_its_pods(&reference.kind);
            let delete = Delete {
                uid: looked.uid().map(str::to_owned),
                resource_version: looked.resource_version().map(str::to_owned),
                propagation: if after_pods { Propagation::Foreground } else { Propagation::Background },
                ..Delete::new(reference.clone())
            };
            // A finalizer keeps an object until something outside has gone, such as the load balancer of a Service:
            // whoever is told of the end may take the cluster away next. What the answer says is gone is not looked
            // for.
            let waits = self.wait_for_definitions || reference.kind != Kind::CUSTOM_RESOURCE_DEFINITION;
            let deleted = match waits {
                true => self.cluster.delete_and_wait(&delete).await,
                false => self.cluster.delete(&delete).await,
            };
            match deleted {
                Ok(true) => break,
                // What has its name by now may be somebody else's: it is looked at again.
                Ok(false) if attempt < ATTEMPTS => {}
                Ok(false) => return Ok(Removed::NotOurs("others keep recreating it".to_owned())),
                Err(Error { failure: Failure::Api(status), .. }) if status.code == 409 && attempt < ATTEMPTS => {}
                Err(error) if error.is_unknown_kind() && self.cluster.lacks_definition_of(&reference.kind).await? => {
                    return Ok(Removed::Gone);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Removed::Gone)
    }

    async fn why_it_stays(&self, reference: &ObjectRef, live: &Object) -> Result<Option<String>, Error> {
        if reference.kind == Kind::NAMESPACE {
            return Ok(Some("it may hold what others put there".to_owned()));
        }
        if let Some(why) = (self.stays)(live) {
            return Ok(Some(why));
        }
        if reference.kind == Kind::CUSTOM_RESOURCE_DEFINITION {
            let of_classes = format!("{}.{}", Kind::GATEWAY_CLASS.plural, Kind::GATEWAY_CLASS.group);
            let instances = match reference.name == of_classes {
                true => istiod::gateway_classes_of_others(self.cluster).await?,
                false => self.cluster.instances(live).await?,
            };
            return Ok((!instances.is_empty()).then(|| in_use(&instances)));
        }
        Ok(None)
    }
}

/// A definition that was told to go.
fn goes_on_its_own(object: &Object) -> bool {
    object.is_terminating() && object.kind() == Kind::CUSTOM_RESOURCE_DEFINITION.kind
}

/// Whether such an object stays until the Pods that it runs are gone. Otherwise an istiod of before still answers
/// proxies, webhooks and whoever waits for the istiods of a cluster, half a minute and more after its control plane is
/// said to be gone: the garbage collector is slow after definitions were deleted.
fn goes_after_its_pods(kind: &Kind) -> bool {
    *kind == Kind::DEPLOYMENT || *kind == Kind::DAEMON_SET
}

/// The object; none where the cluster truly has no definition of its kind.
async fn get(cluster: &Cluster, reference: &ObjectRef) -> Result<Option<Object>, Error> {
    let live = match cluster.get(reference).await {
        Err(error) if error.is_unknown_kind() && cluster.lacks_definition_of(&reference.kind).await? => None,
        live => live?,
    };
    Ok(live)
}

fn in_use(instances: &[ObjectRef]) -> String {
    let named: Vec<String> = instances.iter().take(3).map(ToString::to_string).collect();
    let more = if instances.len() > 3 { format!(" and {} more", instances.len() - 3) } else { String::new() };
    format!("it still has objects, which would be deleted with it: {}{more}", named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::INSTANCE_ANNOTATION;
    use crate::cluster::stub::without_gateways;

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_not_served_for_the_moment_is_not_gone() {
        let reference = ObjectRef::namespaced(Kind::ISTIO_GATEWAY, "a", "g");
        let owner = Owner { label: "o".to_owned(), mark: "m".to_owned(), unmarked: false };
        let live = owner.put_on(Object::of(&reference)).with_annotation(INSTANCE_ANNOTATION, "m");
        for is_defined in [true, false] {
            let cluster = without_gateways(is_defined);
            let removing =
                Removing { cluster: &cluster, owner: &owner, wait_for_definitions: false, stays: &|_: &Object| None };
            let (key, live) = ("Gateway a/g".to_owned(), Some(live.clone()));
            let removed = removing.one(&Doomed { key, reference: reference.clone(), live, known: true }).await;
            match is_defined {
                true => assert!(removed.as_ref().is_err_and(Error::is_unknown_kind)),
                false => assert!(matches!(removed, Ok(Removed::Gone))),
            }
        }
    }
}
