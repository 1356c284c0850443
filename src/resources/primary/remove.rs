//! Destroys a control plane so that the cluster stays usable: webhooks before what serves them, definitions only when
//! nothing is left of them, the namespace only when we made it and nobody else uses it.

use std::collections::{BTreeMap, BTreeSet};

use super::model::Primary;
use super::{Cx, KINDS, KINDS_OF_AGENTS, cluster, has_agents, kinds, owner, platform};
use super::{agents, base, build};
use crate::cluster::{Cluster, Error, INSTANCE_ANNOTATION, Kind, OWNER_LABEL, Object, ObjectRef, Owner, Query};
use crate::engine::Failed;
use crate::istiod;
use crate::kept::claim::{self, Asked, Claim, Purpose};
use crate::kept::namespace;
use crate::kept::objects::{Recorded, state_key};
use crate::kept::remove::{Doomed, Remaining, Removal, Removed, Removing};
use crate::kept::report::{self, FORGETTING};
use crate::mesh::{Platform, is_external};
use crate::resources::keeping;

pub async fn remove(cx: &mut Cx, state: Primary) -> Result<(), Failed<Primary>> {
    let cluster = cluster(cx, &state).await?;
    let namespace = state.namespace.text().to_owned();
    let label = owner(&state);
    let (place, mark) = (keeping::place(&state, &label), state.instance.as_deref());
    let asked = Asked { cluster: &cluster, place, purpose: Purpose::Destroy, kinds: &[], mark, adopt: false };
    let claim = claim::claim(asked, &mut cx.private.instance).await?;
    let (cluster, mut recorded) = (claim.cluster(), keeping::recorded(&state, &cx.private.memory));
    let elsewhere = places_of_agents(&state, &recorded);
    let stuck = |error: Error| report::one_at_destroy(&error, FORGETTING);
    let orphan_kinds = claim.orphan_kinds(&kinds(&state)).await.map_err(stuck)?;
    if claim.interrupted {
        agents::strays(&claim, elsewhere.clone(), &mut recorded).await.map_err(stuck)?;
    }
    let others = other_control_planes(&cluster, &namespace, &claim.owner).await.map_err(stuck)?;
    let Others { sharing, beside } = others;
    // In the cluster that it runs in an external control plane shares nothing, and its istiod writes nothing.
    let external = !state.config_cluster.is_null();
    let served_by = base::control_plane(&label);
    // What all control planes of a cluster share stays while there are others, but for webhooks that would call an
    // istiod that is gone.
    let (private, owner) = (&cx.private, claim.owner.clone());
    let removal = |sharing: Vec<String>| Removal {
        cluster: &cluster,
        recorded: &recorded,
        memory: &private.memory,
        owner: &owner,
        orphan_kinds: &orphan_kinds,
        namespace: &namespace,
        wait_for_definitions: false,
        stays: {
            let served_by = &served_by;
            move |live: &Object| {
                let stays = !sharing.is_empty() && build::is_shared(live, &private.releases);
                let stays = stays && !served_by.as_ref().is_some_and(|gone| calls(live, gone));
                stays.then(|| format!("the control plane {} uses it too", sharing.join(", ")))
            }
        },
    };
    let was_shared = !sharing.is_empty();
    let Remaining { recorded: mut rest, mut left, mut errors, mut defined } = removal(sharing.clone()).run().await;
    if errors.is_empty() && claim.taken_over_by().is_some() {
        // The istiod that is there is another instance's: what it writes, and the namespace, stay as they are.
        report::left(&left).into_iter().for_each(|warning| cx.warn(warning));
        return Ok(());
    }
    // Others may have gone meanwhile: whoever goes last takes the namespace along.
    let now = match errors.is_empty() && (beside || !sharing.is_empty()) {
        true => other_control_planes(&cluster, &namespace, &claim.owner).await,
        false => Ok(Others { sharing, beside }),
    };
    let Others { sharing, beside } = now.unwrap_or_else(|error| {
        errors.push(error);
        Others { sharing: Vec::new(), beside: true }
    });
    if errors.is_empty() && was_shared && sharing.is_empty() {
        // Whoever was there has gone, and may have looked while this istiod was still there: nobody else takes along
        // what was left to them.
        let again = removal(Vec::new()).run().await;
        (rest, left, errors) = (again.recorded, again.left, again.errors);
        defined |= again.defined;
    }
    let mut vanished = BTreeSet::new();
    if errors.is_empty() && !external {
        match last_one_out(&cluster, &namespace, &claim.owner).await {
            Ok(places) => vanished = places,
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        // Nothing of this provider's makes that namespace.
        vanished.extend(elsewhere.into_iter().filter(|place| place != "default"));
        let leaving = Leaving {
            cluster: &cluster,
            namespace: &namespace,
            own_objects: sharing.is_empty() && !external,
            others: vanished,
            written: recorded.written(&format!("Namespace {namespace}")),
            beside,
            defined,
        };
        for outcome in leave_all(claim, leaving).await {
            match outcome {
                Ok(why) => left.extend(why),
                Err(error) => errors.push(error),
            }
        }
    }
    report::left(&left).into_iter().for_each(|warning| cx.warn(warning));
    if errors.is_empty() {
        return Ok(());
    }
    let state = Primary { objects: cx.private.memory.record(&rest), ..state };
    Err(Failed::from(report::at_destroy(&errors, FORGETTING)).keeping(state))
}

/// Namespaces other than the system namespace in which there are, or may be, objects of the node agents.
pub fn places_of_agents(state: &Primary, recorded: &Recorded) -> BTreeSet<String> {
    let own = state.namespace.text();
    let mut places = agents::namespaces(recorded);
    if has_agents(state) {
        let usual = platform(state).and_then(Platform::namespace_of_agents).map(|usual| usual.to_string());
        places.extend(state.agents_namespace.known().cloned().or(usual));
    }
    places.remove(own);
    places
}

/// What is still to be done when the objects of a control plane are gone.
struct Leaving<'a> {
    cluster: &'a Cluster,
    namespace: &'a str,
    /// No other istiod serves the cluster: what they write into it goes.
    own_objects: bool,
    /// Other namespaces to leave.
    others: BTreeSet<String>,
    written: Vec<String>,
    /// Another control plane is in the namespace.
    beside: bool,
    /// Definitions were removed.
    defined: bool,
}

/// The Lease goes last: a run that is killed before that leaves what the next destroy finds. Returns what stays, and
/// why.
async fn leave_all(claim: Claim, leaving: Leaving<'_>) -> Vec<Result<Option<String>, Error>> {
    let Leaving { cluster, namespace, own_objects, others, written, beside, defined } = leaving;
    if own_objects && let Err(error) = istiod::remove_own_objects(cluster, namespace).await {
        return vec![Err(error)];
    }
    let mut outcomes = Vec::new();
    let others: Vec<&String> = others.iter().filter(|other| **other != namespace).collect();
    for other in &others {
        outcomes.push(namespace::depart(cluster, other, &[], None).await.map(|departed| told(other, departed.left)));
    }
    if outcomes.iter().any(Result::is_err) {
        return outcomes;
    }
    let owner = claim.owner.clone();
    let going = async {
        for other in others {
            namespace::gone(cluster, other).await?;
        }
        if defined { definitions_go(cluster, &owner).await } else { Ok(()) }
    };
    let leaving = async {
        match beside {
            true => claim.end().await.map(|()| None),
            false => claim.leave(&written).await.map(|why| told(namespace, why)),
        }
    };
    // Kubernetes takes seconds for either.
    let (gone, left) = futures::future::join(going, leaving).await;
    outcomes.extend([left, gone.map(|()| None)]);
    outcomes
}

fn told(namespace: &str, why: Option<String>) -> Option<String> {
    why.map(|why| format!("Namespace {namespace}: {why}"))
}

/// Whether a webhook calls the istiod of this Deployment: its Service has the same name.
fn calls(webhooks: &Object, istiod: &ObjectRef) -> bool {
    let text = |service: &serde_json::Value, key: &str| {
        service.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
    };
    webhooks.items("webhooks").iter().any(|webhook| {
        let service = webhook.get("clientConfig").and_then(|config| config.get("service"));
        service.is_some_and(|service| {
            text(service, "name") == istiod.name && Some(text(service, "namespace")) == istiod.namespace
        })
    })
}

/// Of several control planes that go at the same time each leaves what it shares to the others: whoever goes last takes
/// along what those that are gone have left. Returns their namespaces.
async fn last_one_out(cluster: &Cluster, namespace: &str, owner: &Owner) -> Result<BTreeSet<String>, Error> {
    if !other_control_planes(cluster, namespace, owner).await?.sharing.is_empty() {
        return Ok(BTreeSet::new());
    }
    let mut shared = Vec::new();
    for kind in [Kind::CUSTOM_RESOURCE_DEFINITION, Kind::VALIDATING_WEBHOOK_CONFIGURATION] {
        shared.extend(cluster.list_now(&Query::owned(kind, "")).await?.iter().cloned());
    }
    let mut places = BTreeSet::new();
    for (label, marks) in base::marks(shared.iter()) {
        let Some(istiod) = base::control_plane(&label).filter(|_| label != owner.label) else { continue };
        // One that lives on without its Deployment needs its objects: the next apply makes the Deployment anew.
        if cluster.get_metadata(&istiod).await?.is_none() && !base::is_kept(cluster, &label, &marks).await? {
            let place = istiod.namespace.unwrap_or_default();
            places.extend(remove_left_behind(cluster, &place, &label).await?);
            places.insert(place);
        }
    }
    Ok(places)
}

/// Returns the namespaces other than this one in which there was something.
async fn remove_left_behind(cluster: &Cluster, namespace: &str, label: &str) -> Result<BTreeSet<String>, Error> {
    let daemons = Query::of(Kind::DAEMON_SET).label(OWNER_LABEL, label);
    let daemons = cluster.list_now(&daemons).await?;
    let elsewhere: BTreeSet<String> = daemons
        .iter()
        .filter_map(|daemon| daemon.namespace().map(str::to_owned))
        .filter(|found| found != namespace)
        .collect();
    let agents = if daemons.is_empty() { &[] } else { KINDS_OF_AGENTS };
    let kinds = || KINDS.iter().chain(agents);
    let mut places: Vec<(&Kind, &str)> = kinds().map(|kind| (kind, namespace)).collect();
    places.extend(
        elsewhere
            .iter()
            .flat_map(|place| kinds().filter(|kind| kind.namespaced).map(move |kind| (kind, place.as_str()))),
    );
    if !daemons.is_empty() {
        places.push((&Kind::NETWORK_ATTACHMENT_DEFINITION, "default"));
    }
    let looks = places.into_iter().map(|(kind, namespace)| async move {
        let query = Query::owned(kind.clone(), namespace);
        let listed = match cluster.list_now(&query).await {
            Err(error) if error.is_unknown_kind() && cluster.lacks_definition_of(kind).await? => return Ok(Vec::new()),
            listed => listed?,
        };
        Ok(listed.iter().filter(|object| object.label(OWNER_LABEL) == Some(label)).cloned().collect::<Vec<_>>())
    });
    let found = futures::future::try_join_all(looks).await?;
    let mut by_mark: BTreeMap<String, Vec<Doomed>> = BTreeMap::new();
    for live in found.into_iter().flatten() {
        let Some(reference) = live.reference() else { continue };
        let mark = live.annotation(INSTANCE_ANNOTATION).unwrap_or_default().to_owned();
        let doomed = Doomed { key: state_key(&reference), reference, live: Some(live), known: false };
        by_mark.entry(mark).or_default().push(doomed);
    }
    for (mark, doomed) in by_mark {
        let owner = Owner { label: label.to_owned(), unmarked: mark.is_empty(), mark };
        let removing = Removing { cluster, owner: &owner, wait_for_definitions: false, stays: &|_: &Object| None };
        for (_, outcome) in removing.all(doomed).await {
            // A definition that has objects stays, as it would for the control plane that is gone.
            let _: Removed = outcome?;
        }
    }
    Ok(elsewhere)
}

/// Waits until no definition of ours is on its way out: they go some time after they were told to, and who comes next
/// would find them.
async fn definitions_go(cluster: &Cluster, owner: &Owner) -> Result<(), Error> {
    let query = Query::of(Kind::CUSTOM_RESOURCE_DEFINITION).label(OWNER_LABEL, &owner.label).metadata_only();
    cluster.wait_departed(&query).await
}

/// The other istiods of a cluster.
struct Others {
    /// Those that use the cluster's definitions too, by namespace and name: all but external control planes.
    sharing: Vec<String>,
    /// Whether there is one in the namespace.
    beside: bool,
}

async fn other_control_planes(cluster: &Cluster, namespace: &str, owner: &Owner) -> Result<Others, Error> {
    let deployments = cluster.list_now(&istiod::every_deployment()).await?;
    let ours = |deployment: &Object| {
        deployment.label(OWNER_LABEL) == Some(&owner.label) && deployment.namespace() == Some(namespace)
    };
    let others: Vec<&Object> =
        deployments.iter().filter(|deployment| !ours(deployment) && !deployment.is_terminating()).collect();
    let named = |other: &&Object| format!("{}/{}", other.namespace().unwrap_or_default(), other.name());
    Ok(Others {
        sharing: others.iter().filter(|other| !is_external(other.value())).map(named).collect(),
        beside: others.iter().any(|other| other.namespace() == Some(namespace)),
    })
}
