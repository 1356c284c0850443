//! Kinds that a resource does not always bring, noted in an instance's Lease before objects of them are written: an
//! apply that is killed leaves objects that no state names, and nothing else tells where to look for them.

use std::collections::BTreeSet;

use serde_json::json;

use super::claim::Claim;
use super::lease::pointer;
use super::objects::Wanted;
use crate::cluster::{Error, Kind, Object};

/// On a Lease: kinds with their groups, by commas.
const KINDS_ANNOTATION: &str = "terraform-provider-mesh/kinds";

impl Claim {
    /// Every kind in which an interrupted apply may have left objects: these, which the resource always brings, and
    /// those that were noted. None where nothing was interrupted.
    pub async fn orphan_kinds(&self, kinds: &[Kind]) -> Result<Vec<Kind>, Error> {
        if !self.interrupted || kinds.is_empty() {
            return Ok(Vec::new());
        }
        let mut kinds = kinds.to_vec();
        let cluster = self.cluster();
        for noted in noted(cluster.get(&self.lease).await?.as_ref()) {
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
        let cluster = self.cluster();
        let Some(lease) = cluster.get(&self.lease).await? else { return Ok(()) };
        let before = noted(Some(&lease));
        if beyond.is_subset(&before) {
            return Ok(());
        }
        let all: Vec<String> = before.union(&beyond).cloned().collect();
        // A Lease that another run has taken is not this one's to write, nor are the objects: its requests end.
        let operations = json!([
            { "op": "test", "path": "/spec/holderIdentity", "value": lease.str("spec.holderIdentity") },
            { "op": "add", "path": pointer(KINDS_ANNOTATION), "value": all.join(",") },
        ]);
        cluster.patch_if(&self.lease, &operations).await.map(drop)
    }
}

/// Kinds of what is wanted that are not among these, which are looked through anyway. A namespace is nobody's stray.
fn beyond(wanted: &Wanted, kinds: &[Kind]) -> BTreeSet<String> {
    let wanted = wanted.iter().map(|(_, entry)| &entry.reference.kind);
    let beyond =
        wanted.filter(|kind| **kind != Kind::NAMESPACE && !kinds.iter().any(|known| known.is_version_of(kind)));
    beyond.map(|kind| format!("{kind}.{}", kind.group)).collect()
}

fn noted(lease: Option<&Object>) -> BTreeSet<String> {
    let noted = lease.and_then(|lease| lease.annotation(KINDS_ANNOTATION)).unwrap_or_default();
    noted.split(',').filter(|kind| !kind.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ObjectRef;

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
