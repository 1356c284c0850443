//! Kinds that a resource does not always bring, and other clusters that it writes to, noted in an instance's Lease
//! before objects are written: an apply that is killed leaves objects that no state names, and nothing else tells where
//! to look for them.

use std::collections::BTreeSet;

use serde_json::json;

use super::claim::Claim;
use super::lease::pointer;
use super::objects::Wanted;
use super::unfinished;
use crate::cluster::{Error, Kind, Object};

/// On a Lease: kinds with their groups, by commas.
const KINDS_ANNOTATION: &str = "terraform-provider-mesh/kinds";

/// On a Lease: namespaces of other clusters, a line for each.
const PLACES_ANNOTATION: &str = "terraform-provider-mesh/places";

/// A cluster, and a namespace of it.
pub type Place = (String, String);

impl Claim {
    /// Every kind in which an interrupted apply may have left objects: these, which the resource always brings, and
    /// those that were noted. None where nothing was interrupted.
    pub async fn orphan_kinds(&self, kinds: &[Kind]) -> Result<Vec<Kind>, Error> {
        if !self.interrupted || kinds.is_empty() {
            return Ok(Vec::new());
        }
        let mut kinds = kinds.to_vec();
        let cluster = self.cluster();
        for noted in noted_kinds(cluster.get(&self.lease).await?.as_ref()) {
            let (kind, group) = noted.split_once('.').unwrap_or((&noted, ""));
            if let Some(known) = Kind::ALL.iter().find(|known| known.kind == kind && known.group == group) {
                kinds.extend((!kinds.contains(known)).then(|| known.clone()));
                continue;
            }
            // There is nothing of a kind that the cluster has no definition of.
            kinds.extend(cluster.kind_in(group, kind).await?);
        }
        Ok(kinds)
    }

    /// Notes what is about to be written. Nothing is forgotten: an object that has gone is found to be gone.
    pub(super) async fn note_kinds(&self, wanted: &Wanted, kinds: &[Kind]) -> Result<(), Error> {
        let beyond = beyond(wanted, kinds);
        if beyond.is_empty() {
            return Ok(());
        }
        let Some(lease) = self.cluster().get(&self.lease).await? else { return Ok(()) };
        let before = noted_kinds(Some(&lease));
        if beyond.is_subset(&before) {
            return Ok(());
        }
        let all: Vec<String> = before.union(&beyond).cloned().collect();
        self.note(&lease, KINDS_ANNOTATION, &all.join(",")).await
    }

    /// Where in other clusters an interrupted apply may have left objects. Nowhere if nothing was interrupted.
    pub async fn noted_places(&self) -> Result<BTreeSet<Place>, Error> {
        if !self.interrupted {
            return Ok(BTreeSet::new());
        }
        Ok(places_of(self.cluster().get(&self.lease).await?.as_ref()))
    }

    /// Notes where in other clusters objects are about to be written.
    pub async fn note_places(&self, places: &BTreeSet<Place>) -> Result<(), Error> {
        if places.is_empty() {
            return Ok(());
        }
        let Some(lease) = self.cluster().get(&self.lease).await? else { return Ok(()) };
        let before = places_of(Some(&lease));
        if places.is_subset(&before) {
            return Ok(());
        }
        let all: BTreeSet<Place> = before.union(places).cloned().collect();
        self.note(&lease, PLACES_ANNOTATION, &lines(&all)).await
    }

    /// Forgets clusters in which nothing is left.
    pub async fn forget_places(&self, gone: &BTreeSet<String>) -> Result<(), Error> {
        let Some(lease) = self.cluster().get(&self.lease).await? else { return Ok(()) };
        let before = places_of(Some(&lease));
        let rest: BTreeSet<Place> = before.iter().filter(|(cluster, _)| !gone.contains(cluster)).cloned().collect();
        match rest == before {
            true => Ok(()),
            false => self.note(&lease, PLACES_ANNOTATION, &lines(&rest)).await,
        }
    }

    /// A Lease that another run has taken is not this one's to write, nor are the objects: its requests end.
    async fn note(&self, lease: &Object, annotation: &str, text: &str) -> Result<(), Error> {
        let operations = json!([
            { "op": "test", "path": "/spec/holderIdentity", "value": lease.str("spec.holderIdentity") },
            { "op": "add", "path": pointer(annotation), "value": text },
        ]);
        self.cluster().patch_if(&self.lease, &operations).await.map(drop)
    }
}

/// Where in other clusters an apply that did not come to its end may have left objects, as a refresh sees it.
pub async fn places_left(of: unfinished::Of<'_>) -> Result<BTreeSet<Place>, Error> {
    Ok(places_of(unfinished::lease(of).await?.as_ref()))
}

/// The name of a cluster may have any form, and goes last.
fn lines(places: &BTreeSet<Place>) -> String {
    places.iter().map(|(cluster, namespace)| format!("{namespace}/{cluster}\n")).collect()
}

fn places_of(lease: Option<&Object>) -> BTreeSet<Place> {
    let noted = lease.and_then(|lease| lease.annotation(PLACES_ANNOTATION)).unwrap_or_default();
    let place =
        |line: &str| line.split_once('/').map(|(namespace, cluster)| (cluster.to_owned(), namespace.to_owned()));
    noted.lines().filter_map(place).collect()
}

/// Kinds of what is wanted that are not among these, which are looked through anyway. A namespace is nobody's stray.
fn beyond(wanted: &Wanted, kinds: &[Kind]) -> BTreeSet<String> {
    let wanted = wanted.iter().map(|(_, entry)| &entry.reference.kind);
    let beyond =
        wanted.filter(|kind| **kind != Kind::NAMESPACE && !kinds.iter().any(|known| known.is_version_of(kind)));
    beyond.map(|kind| format!("{kind}.{}", kind.group)).collect()
}

fn noted_kinds(lease: Option<&Object>) -> BTreeSet<String> {
    let noted = lease.and_then(|lease| lease.annotation(KINDS_ANNOTATION)).unwrap_or_default();
    noted.split(',').filter(|kind| !kind.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ObjectRef;

    #[test]
    fn places_come_back_whatever_clusters_are_called() {
        let lease = ObjectRef::namespaced(Kind::LEASE, "shop", "mesh-service-entry.cart");
        let clusters = ["west", "arn:aws:eks:eu-west-1:1:cluster/a,b"];
        let places: BTreeSet<Place> = clusters.map(|cluster| (cluster.to_owned(), "istio-system".to_owned())).into();
        let noted = Object::of(&lease).with_annotation(PLACES_ANNOTATION, &lines(&places));
        assert_eq!(places_of(Some(&noted)), places);
        assert_eq!(places_of(Some(&Object::of(&lease))), BTreeSet::new());
    }

    #[test]
    fn kinds_are_noted_that_the_resource_does_not_always_bring() {
        let monitor = Kind::discovered("monitoring.coreos.com/v1", "ServiceMonitor", "servicemonitors", true);
        let mut wanted = Wanted::default();
        for kind in [Kind::SERVICE, Kind::DAEMON_SET, monitor] {
            let reference = ObjectRef::namespaced(kind, "istio-system", "gateway");
            wanted.insert(reference.clone(), Object::of(&reference), "mesh_eastwest_gateway.gateway");
        }
        let namespace = ObjectRef::cluster(Kind::NAMESPACE, "istio-system");
        wanted.insert_shared(namespace.clone(), Object::of(&namespace));
        let found = beyond(&wanted, &[Kind::SERVICE, Kind::DEPLOYMENT]);
        assert_eq!(found, ["DaemonSet.apps", "ServiceMonitor.monitoring.coreos.com"].map(str::to_owned).into());
    }
}
