//! What a cluster holds of a resource's objects: those that state names, and those that it does not know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::changes;
use super::fields;
use super::instance::lease_in;
use super::kinds;
use super::managers;
use super::memory::Memory;
use super::objects::{Drift, Recorded, UNKNOWN, differences, state_key};
use super::report::{self, whose};
use crate::cluster::{
    Cluster, Error, FIELD_MANAGER, INSTANCE_ANNOTATION, Kind, OWNER_LABEL, Object, ObjectRef, Owner, Query,
    is_managed_by,
};
use crate::diag::Diagnostic;
use crate::value::{Map, Value};

/// A look at one cluster's objects of an instance, at refresh.
#[derive(Clone, Copy)]
pub struct Look<'a> {
    pub cluster: &'a Cluster,
    pub recorded: &'a Recorded,
    pub memory: &'a Memory,
    pub owner: &'a Owner,
    /// The namespace of the instance's Lease, where that is in this cluster.
    pub lease_in: Option<&'a str>,
}

/// What a look found.
#[derive(Debug, Default)]
pub struct Seen {
    /// What state says from now on: live values of what is recorded.
    pub recorded: Recorded,
    /// The objects that are this instance's.
    pub live: BTreeMap<String, Object>,
    pub drifts: Vec<Drift>,
    /// Objects that another instance of this provider holds by now, and whose they are. State keeps them as they were:
    /// a plan does not fight over them.
    pub taken_over: Vec<(String, String)>,
    /// Nothing that state names is there any more, whosever it is, nor the instance's Lease; a namespace does not
    /// count.
    pub is_gone: bool,
}

/// What came of a look.
pub enum Looked {
    Seen(Box<Seen>),
    /// The cluster gave no answer: state stays as it is, and the warning says so.
    Silent(Diagnostic),
}

impl Look<'_> {
    /// Reads the objects, tells whose they are, and what differs. A cluster that does not answer is no error here, and
    /// never "gone".
    pub async fn look(self) -> Result<Looked, Diagnostic> {
        match self.seen().await {
            Ok(seen) => Ok(Looked::Seen(Box::new(seen))),
            Err(error) if error.may_be_missed() => Ok(Looked::Silent(report::stale(&error))),
            Err(error) => Err(error.into()),
        }
    }

    /// The same, with the cluster's error as it is.
    pub async fn seen(self) -> Result<Seen, Error> {
        let Look { cluster, recorded, memory, owner, lease_in } = self;
        let live = live(cluster, recorded, memory).await?;
        let strays = strays(cluster, recorded, owner).await?;
        let is_namespace = |key: &str| key.starts_with("Namespace ");
        let is_gone = recorded.objects.keys().any(|key| !is_namespace(key))
            && live.keys().all(|key| is_namespace(key))
            && !holds_lease(cluster, lease_in, owner).await?;
        let (ours, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
            live.into_iter().partition(|(key, live)| is_namespace(key) || owner.has(live, true));
        let (mut seen, mut drifts) = recorded.seen(&ours, memory);
        let mut taken_over = Vec::new();
        for (key, live) in others {
            let by_whom = whose(owner, &live);
            if owner.is_taken_over(&live) {
                drifts.retain(|drift| drift.object != key);
                seen.keep(&key, recorded);
                taken_over.push((key, by_whom));
            } else if let Some(drift) = drifts.iter_mut().find(|drift| drift.object == key) {
                drift.is = Some(by_whom);
            }
        }
        // The plan then shows what becomes of them.
        for stray in strays {
            seen.objects.insert(stray, UNKNOWN.to_owned());
        }
        Ok(Seen { recorded: seen, live: ours, drifts, taken_over, is_gone })
    }
}

impl Seen {
    /// What state says from now on: the attributes `objects` and `changes`. The rest is remembered.
    pub fn note(&self, memory: &mut Memory, told: &Value<Map<String>>) -> (Value<Map<String>>, Value<Map<String>>) {
        memory.note_drifts(&self.drifts);
        memory.note_held(&self.live, &self.recorded);
        (memory.record(&self.recorded), changes::seen(told, &self.drifts, &self.recorded))
    }

    /// What is to be said of it: drift, and objects that are another instance's by now.
    pub fn warnings(&self, id: &str) -> Vec<Diagnostic> {
        report::taken_over(id, &self.taken_over).into_iter().chain(report::drift_warning(id, &self.drifts)).collect()
    }
}

impl Recorded {
    /// What the cluster holds in place of what is recorded: the same maps with live values, and each difference.
    pub fn seen(&self, live: &BTreeMap<String, Object>, memory: &Memory) -> (Recorded, Vec<Drift>) {
        let mut seen = Recorded::default();
        let mut drifts = Vec::new();
        for (key, digest) in &self.objects {
            let Some(object) = live.get(key) else {
                drifts.push(Drift { object: key.clone(), path: None, was: None, is: None, manager: None });
                continue;
            };
            let Some(recorded) = self.fields.get(key) else {
                let as_it_is = memory.is_of_an_earlier_version().then_some(digest.as_str());
                seen.recover(key, as_it_is, object);
                continue;
            };
            let mut differences = differences(recorded, object, memory.spelled(key));
            if object.get("spec").is_none() && memory.is_as_applied(key, object) {
                differences.retain(|difference| difference.path.starts_with("metadata."));
            }
            let mut fields = recorded.clone();
            for difference in &differences {
                match &difference.is {
                    Some(is) => fields.insert(difference.path.clone(), is.clone()),
                    None => fields.remove(&difference.path),
                };
            }
            let digest = if differences.is_empty() { digest.clone() } else { fields::digest(&fields) };
            seen.objects.insert(key.clone(), digest);
            seen.fields.insert(key.clone(), fields);
            drifts.extend(differences.into_iter().map(|difference| Drift {
                object: key.clone(),
                manager: managers::last_of(object, &difference.path),
                path: Some(difference.path),
                was: difference.was,
                is: difference.is,
            }));
        }
        (seen, drifts)
    }

    /// The fields of an object of which none are remembered: those that the API server has as ours. Where nobody knows
    /// any more what they were when they were applied (`as_it_is` is none), they are what is seen, and the plan shows
    /// what an apply makes of them.
    fn recover(&mut self, key: &str, as_it_is: Option<&str>, object: &Object) {
        let fields = managers::ours(object);
        let digest = match (as_it_is, fields.is_empty()) {
            (Some(digest), _) => digest.to_owned(),
            (None, false) => fields::digest(&fields),
            (None, true) => UNKNOWN.to_owned(),
        };
        self.objects.insert(key.to_owned(), digest);
        self.fields.insert(key.to_owned(), fields);
    }
}

/// Whether the instance still has its Lease. Without it a create finds nobody's name. With it, when its objects were
/// deleted by hand, a create would be refused as another instance's, so that the instance stays in state and the next
/// apply makes its objects anew.
pub async fn holds_lease(cluster: &Cluster, namespace: Option<&str>, owner: &Owner) -> Result<bool, Error> {
    let Some(namespace) = namespace.filter(|_| !owner.mark.is_empty()) else { return Ok(false) };
    let lease = cluster.get(&lease_in(namespace, &owner.label)).await?;
    Ok(lease.is_some_and(|lease| lease.annotation(INSTANCE_ANNOTATION) == Some(owner.mark.as_str())))
}

/// Where the Lease of the instance with this mark is, of a resource whose Lease may be in several places: its
/// namespace, and its owner label.
pub async fn lease_of(resource: &str, cluster: &Cluster, mark: &str) -> Result<Option<(String, String)>, Error> {
    let leases = cluster.list_now(&Query::of(Kind::LEASE).selector(OWNER_LABEL).metadata_only()).await?;
    let of_resource = |label: &str| label.split_once('.').is_some_and(|(prefix, _)| prefix == resource);
    Ok(leases.iter().find_map(|lease| {
        let (namespace, label) = (lease.namespace()?, lease.label(OWNER_LABEL).filter(|label| of_resource(label))?);
        let is_its = *lease.name() == lease_in(namespace, label).name
            && lease.annotation(INSTANCE_ANNOTATION) == Some(mark)
            && is_managed_by(lease, FIELD_MANAGER);
        is_its.then(|| (namespace.to_owned(), label.to_owned()))
    }))
}

/// A kind, and the namespace of its objects.
type Place = (Kind, Option<String>);

/// The live objects that state names: one request per kind and namespace, and one per object that does not carry our
/// label yet. An object on its way out is not there any more.
pub async fn live(cluster: &Cluster, recorded: &Recorded, memory: &Memory) -> Result<BTreeMap<String, Object>, Error> {
    let mut found = there(cluster, recorded, memory).await?;
    found.retain(|_, object| !object.is_terminating());
    Ok(found)
}

/// The same, and what is on its way out: a finalizer keeps it until something else is done, such as the removal of a
/// load balancer.
pub async fn there(cluster: &Cluster, recorded: &Recorded, memory: &Memory) -> Result<BTreeMap<String, Object>, Error> {
    let mut places: BTreeMap<Place, Vec<(&str, ObjectRef)>> = BTreeMap::new();
    for (key, reference) in kinds::references(cluster, recorded).await? {
        places.entry((reference.kind.clone(), reference.namespace.clone())).or_default().push((key, reference));
    }
    let looks = places
        .into_iter()
        .map(|((kind, namespace), references)| live_of_kind(cluster, kind, namespace, references, memory));
    let found = futures::future::try_join_all(looks).await?;
    Ok(found.into_iter().flatten().collect())
}

/// Objects of this owner that state does not know, in the kinds and namespaces of those it knows: what an apply made
/// that was killed before it could tell. Nothing is asked for that [`live`] has not asked for.
pub async fn strays(cluster: &Cluster, recorded: &Recorded, owner: &Owner) -> Result<Vec<String>, Error> {
    let references = kinds::references(cluster, recorded).await?;
    let places: BTreeSet<Place> =
        references.into_values().map(|reference| (reference.kind, reference.namespace)).collect();
    let mut found = orphans(cluster, places, owner).await?;
    found.retain(|_, object| !object.is_terminating());
    Ok(found.keys().map(state_key).filter(|key| !recorded.objects.contains_key(key)).collect())
}

/// All objects of this owner in kinds of one namespace and of the cluster, what is on its way out among them: no state
/// knows that any more after a refresh.
pub async fn owned(
    cluster: &Cluster,
    kinds: &[Kind],
    namespace: &str,
    owner: &Owner,
) -> Result<BTreeMap<ObjectRef, Object>, Error> {
    let place = |kind: &Kind| (kind.clone(), kind.namespaced.then(|| namespace.to_owned()));
    orphans(cluster, kinds.iter().map(place).collect(), owner).await
}

async fn orphans(
    cluster: &Cluster,
    places: BTreeSet<Place>,
    owner: &Owner,
) -> Result<BTreeMap<ObjectRef, Object>, Error> {
    let places = places.into_iter().filter(|(kind, _)| *kind != Kind::NAMESPACE);
    let looks = places.map(|(kind, namespace)| async move {
        let listed = listed(cluster, &Query::owned(kind.clone(), namespace.as_deref().unwrap_or_default())).await?;
        // Controllers copy labels to what they make of our objects (EndpointSlices of a Service): that goes with its
        // owner.
        let made = |object: &&Object| object.get("metadata.ownerReferences").is_none();
        let ours = listed.iter().filter(made).filter(|object| owner.has(object, false));
        Ok(ours.map(|object| (object.reference_as(kind.clone()), object.clone())).collect::<Vec<_>>())
    });
    Ok(futures::future::try_join_all(looks).await?.into_iter().flatten().collect())
}

/// The list, empty where the cluster truly has no definition of the kind: then there is nothing of it.
async fn listed(cluster: &Cluster, query: &Query) -> Result<Arc<[Object]>, Error> {
    match cluster.list(query).await {
        Err(error) if error.is_unknown_kind() && cluster.lacks_definition_of(&query.kind).await? => Ok(Arc::new([])),
        listed => listed,
    }
}

async fn live_of_kind(
    cluster: &Cluster,
    kind: Kind,
    namespace: Option<String>,
    references: Vec<(&str, ObjectRef)>,
    memory: &Memory,
) -> Result<Vec<(String, Object)>, Error> {
    let metadata_only = kind == Kind::CUSTOM_RESOURCE_DEFINITION;
    let query = Query::owned(kind.clone(), namespace.as_deref().unwrap_or_default());
    let listed = match kind == Kind::NAMESPACE {
        true => None,
        false => match cluster.list(&query).await {
            Err(error) if error.is_unknown_kind() && cluster.lacks_definition_of(&kind).await? => {
                return Ok(Vec::new());
            }
            listed => Some(listed?),
        },
    };
    let listed: BTreeMap<(Option<&str>, &str), &Object> = listed
        .iter()
        .flat_map(|listed| listed.iter())
        .map(|object| ((object.namespace(), object.name()), object))
        .collect();
    let looks = references.into_iter().map(|(key, reference)| {
        let held = listed.get(&(reference.namespace.as_deref(), reference.name.as_str())).copied();
        let held = held.filter(|object| !metadata_only || memory.is_as_applied(key, object)).cloned();
        async move {
            let object = match held {
                Some(held) => Some(held),
                None if reference.kind == Kind::NAMESPACE => cluster.namespace(&reference.name).await?,
                None => cluster.get(&reference).await?,
            };
            Ok(object.map(|object| (key.to_owned(), object)))
        }
    });
    Ok(futures::future::try_join_all(looks).await?.into_iter().flatten().collect())
}
