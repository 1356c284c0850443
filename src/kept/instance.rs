//! One instance of a resource: the mark that tells its objects from those of any other, and the Lease that says how far
//! its creation came.
//!
//! A resource's name does not tell whose an object is: a second state, a second block or a replacement carries the same
//! name. So every create draws a mark, which stands in state and on each object as an annotation. The instance's Lease
//! carries it too: see [`super::claim`].

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::fields;
use crate::cluster::{Cluster, Error, INSTANCE_ANNOTATION, Kind, OWNER_LABEL, Object, ObjectRef, Owner};
use crate::schema::validate::is_dns_subdomain;
use crate::value::Value;

/// On a Lease: whether the instance's first apply has come to its end.
pub(super) const COMPLETE_ANNOTATION: &str = "terraform-provider-mesh/complete";
/// It has.
pub(super) const COMPLETED: &str = "true";
/// It has, but no state may know it yet: see [`super::handover`].
pub(super) const MADE: &str = "made";
/// The first apply has not come to its end: whoever creates the instance next takes it up.
pub(super) const UNFINISHED: &str = "false";
/// The instance is older than its Lease, and not all of its objects are marked: nobody takes it up but the state that
/// has no mark of it yet.
pub(super) const MARKING: &str = "marking";

/// On a Lease: which create made the instance. One that takes up what another left keeps its mark and is a create of
/// its own, so that a state that knows the one before removes nothing of it.
pub(super) const CREATION_ANNOTATION: &str = "terraform-provider-mesh/creation";

/// What is remembered of the instance beside its mark. A core forgets it when the provider ends in the middle of an
/// update; the mark is in state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Every object of the instance carries the mark: what carries none is somebody else's.
    #[serde(default)]
    pub(super) marked: bool,
    /// The last apply did not finish: it may have left objects that state does not know.
    #[serde(default)]
    pub unfinished: bool,
    /// Which create made it, as its Lease says it; none where a state is older than that, or a core forgot it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) creation: Option<String>,
    /// When its create came to its end, in seconds since 1970, as long as state does not know that it is called
    /// complete: see [`super::handover`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) made: Option<i64>,
    /// Imported and not applied since: its fields are still those of whoever installed it.
    #[serde(default)]
    pub imported: bool,
    /// The mark of the claim that this run has made.
    #[serde(skip)]
    pub claimed: Option<String>,
    /// Which clusters it is in, by their names: see [`super::same`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) uids: BTreeMap<String, String>,
}

/// Private data that remembers an instance.
pub trait HasInstance {
    fn instance(&mut self) -> &mut Instance;
}

impl Instance {
    /// The owner of the instance's objects, by the mark that state has.
    pub fn owner(&self, label: &str, mark: &Value<String>) -> Owner {
        Owner { label: label.to_owned(), mark: mark.text().to_owned(), unmarked: !self.marked }
    }

    /// Forgets which clusters those are that it is no longer in: their names are free for others.
    pub fn is_only_in<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) {
        let names: BTreeSet<&str> = names.into_iter().collect();
        self.uids.retain(|name, _| names.contains(name.as_str()));
    }

    /// Whether objects may be left to mark, or to take over from whoever installed them.
    pub fn is_all_marked(&self) -> bool {
        self.marked && !self.unfinished && !self.imported
    }

    /// The mark as it is planned for an instance that is there: an older state has none, and an apply that did not come
    /// to its end has not told its Lease. Either is for the next apply to mend, which an update shows.
    pub fn plan_mark(&self, mark: &mut Value<String>, is_update: bool) {
        if is_update && mark.is_null() || self.unfinished {
            *mark = Value::Unknown;
        }
    }

    /// Whether the Lease may be of the create that made this instance. A core forgets what private data says when the
    /// provider ends in the middle of an update, and older Leases do not say it.
    pub(super) fn may_be_of(&self, lease: &Object) -> bool {
        let (known, said) = (self.creation.as_deref(), lease.annotation(CREATION_ANNOTATION));
        known.zip(said).is_none_or(|(known, said)| known == said)
    }

    /// The apply has come to its end: everything is marked.
    pub fn finish(&mut self) {
        (self.unfinished, self.imported, self.marked, self.made) = (false, false, true, None);
    }

    /// An instance that an import found, and its mark. What this provider has marked goes on under its mark.
    pub async fn imported(cluster: &Cluster, place: &Place<'_>) -> Result<(Instance, Value<String>), Error> {
        let lease = cluster.get(&place.lease()).await?;
        let mark = lease.as_ref().and_then(|lease| lease.annotation(INSTANCE_ANNOTATION)).map(str::to_owned);
        let complete = lease.as_ref().is_some_and(is_complete);
        let has_mark = mark.is_some();
        let instance = Instance {
            marked: lease.as_ref().is_some_and(is_marked),
            unfinished: has_mark && !complete,
            creation: lease.as_ref().and_then(created_by),
            made: None,
            imported: !has_mark,
            claimed: None,
            uids: BTreeMap::new(),
        };
        Ok((instance, mark.into()))
    }
}

/// Where an instance's Lease is, and what to call the resource.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// `mesh_primary`
    pub resource: &'static str,
    /// The id by which the resource is imported.
    pub id: &'a str,
    pub namespace: &'a str,
    /// Value of the owner label.
    pub label: &'a str,
}

impl Place<'_> {
    pub fn lease(&self) -> ObjectRef {
        lease_in(self.namespace, self.label)
    }

    /// The Lease of an instance whose first apply has ended.
    pub fn completed(&self, mark: &str) -> Object {
        self.object(mark, COMPLETED, serde_json::json!({}))
    }

    pub(super) fn object(&self, mark: &str, complete: &str, spec: serde_json::Value) -> Object {
        Object::of(&self.lease())
            .with_label(OWNER_LABEL, self.label)
            .with_annotation(INSTANCE_ANNOTATION, mark)
            .with_annotation(COMPLETE_ANNOTATION, complete)
            .with("spec", spec)
    }
}

/// The Lease of the instances with an owner label.
pub(super) fn lease_in(namespace: &str, label: &str) -> ObjectRef {
    ObjectRef::namespaced(Kind::LEASE, namespace, lease_name(label))
}

/// A label may hold what an object's name may not; two labels never share a name.
fn lease_name(label: &str) -> String {
    let (resource, name) = label.split_once('.').unwrap_or(("", label));
    let resource = resource.replace('_', "-");
    let plain = name.to_lowercase().replace('_', "-");
    let short = fields::short(label);
    let as_it_is = (plain == name).then(|| format!("{resource}.{plain}"));
    let usual = format!("{resource}.{}.{short}", plain.trim_end_matches(['.', '-']));
    if let Some(name) = as_it_is.into_iter().chain([usual]).find(|name| is_dns_subdomain(name)) {
        return name;
    }
    // A label that was cut in the middle of a name, or one such as `a..b`.
    let parts = plain.split('.').map(|part| part.trim_matches('-')).filter(|part| !part.is_empty());
    [resource.as_str()].into_iter().chain(parts).chain([short.as_str()]).collect::<Vec<_>>().join(".")
}

/// Which create made the instance, as far as its Lease says it.
pub(super) fn created_by(lease: &Object) -> Option<String> {
    lease.annotation(CREATION_ANNOTATION).map(str::to_owned)
}

pub(super) fn is_complete(lease: &Object) -> bool {
    lease.annotation(COMPLETE_ANNOTATION).is_some_and(|said| [COMPLETED, MADE].contains(&said))
}

/// Whether every object of the instance with this Lease carries its mark. A core forgets what private data says of it
/// when the provider ends in the middle of an update; the Lease does not.
pub(super) fn is_marked(lease: &Object) -> bool {
    lease.annotation(COMPLETE_ANNOTATION).is_some_and(|said| said != MARKING)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_lease_has_a_name_that_no_other_label_has() {
        assert_eq!(lease_name("mesh_primary.istiod"), "mesh-primary.istiod");
        let cut = crate::kept::owner;
        let mut odd: Vec<String> = ["A", "a", "a_", "a-", "a..b", "a.b", "a-.b", "..", "-"]
            .map(|name| format!("mesh_remote_cluster.{name}"))
            .into();
        odd.push(cut("mesh_eastwest_gateway", "istio-eastwest-gateway", "istio-eastwestgateway"));
        let gke = "gke_my-project-prod-123456_us-central1-c_mesh";
        odd.extend(["istio-system", "istio-blue"].map(|namespace| cut("mesh_remote_cluster", namespace, gke)));
        odd.extend((30..60).map(|length| cut("mesh_primary", "istio-system", &"a.-".repeat(length))));
        let names: BTreeSet<String> = odd.iter().map(|label| lease_name(label)).collect();
        assert_eq!(names.len(), odd.len(), "{names:?}");
        assert!(names.iter().all(|name| is_dns_subdomain(name)), "{names:#?}");
        assert_eq!(
            lease_name("mesh_remote_cluster.a-"),
            format!("mesh-remote-cluster.a.{}", fields::short("mesh_remote_cluster.a-"))
        );
    }

    #[test]
    fn private_data_without_a_mark_reads_as_an_older_state() {
        let old: Instance = serde_json::from_value(json!({"unfinished": false})).unwrap();
        assert!(old.owner("l", &Value::Null).unmarked && !old.is_all_marked());
    }
}
