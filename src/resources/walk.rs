//! What is shared by all resources of the process while Terraform walks the configuration: looks at istiod that several
//! wait for at once, and what each resource declares of the mesh, so that contradictions between resources are found at
//! plan. Dropped when Configure comes again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OnceCell, watch};

use crate::diag::{Diagnostic, Diagnostics};
use crate::istiod::Looks;
use crate::kept::managers::HeldByOthers;
use crate::mesh::{
    Absence, ControlPlaneAt, DeclaredCa, DeclaredGateway, DiscoverySelectors, Finding, FindingSeverity, MeshPolicy,
    Pending, Registry, Ruling, Topology, WatchedCluster, istiod_name_of, only_or_in,
};
use crate::resources::blocks::{Block, Blocks};
use crate::resources::policies::Policies;

/// Policies that decide over mTLS; or why they cannot be read.
type PoliciesSeen = Result<Policies, String>;

/// A control plane by its cluster, namespace and revision.
type ControlPlane = (String, String, Option<String>);

/// A control plane whose version others follow.
#[derive(Clone, Copy, Debug)]
pub struct Followed<'a> {
    /// The provider's name for the cluster it runs in.
    pub cluster: &'a str,
    pub namespace: &'a str,
    /// Its revision, or a tag of it.
    pub revision: Option<&'a str>,
}

/// What the first who asks finds out for all others.
type Seen<T> = Arc<OnceCell<T>>;

/// Shared by the resources of one walk.
#[derive(Debug, Default)]
pub struct Walk {
    /// What istiods say.
    pub istiods: Looks,
    topology: Mutex<Topology>,
    blocks: Mutex<Blocks>,
    /// Versions of Istio that control planes are to have, by cluster, namespace and release; `None` where that is not
    /// known yet.
    versions: Mutex<BTreeMap<String, Option<String>>>,
    /// The clusters after which a control plane is upgraded, by the control plane.
    after: Mutex<BTreeMap<ControlPlane, BTreeSet<String>>>,
    /// The control planes that are being applied, by the ids of their resources.
    applied_now: watch::Sender<BTreeSet<String>>,
    /// What has been said once, and need not be said by the next.
    said: Mutex<BTreeSet<String>>,
    /// What a cluster has of policies that decide over mTLS, by its name and the namespace of Istio; or why that is not
    /// known.
    policies: Mutex<BTreeMap<(String, String), Seen<PoliciesSeen>>>,
    /// What other managers hold of the objects of a resource, by its id, for its plan.
    held_by_others: Mutex<BTreeMap<String, HeldByOthers>>,
    /// Who waits for all others, to tell what is missing.
    turn: tokio::sync::Mutex<()>,
}

impl Walk {
    /// Hands what a refresh has seen of other managers on to the plan of the resource.
    pub fn hand_on(&self, id: &str, by_others: HeldByOthers) {
        held(&self.held_by_others).insert(id.to_owned(), by_others);
    }

    /// What the refresh of this walk has handed on; nothing where there was none.
    pub fn handed_on(&self, id: &str) -> HeldByOthers {
        held(&self.held_by_others).get(id).cloned().unwrap_or_default()
    }

    /// Notes what tells a cluster from all others, by the provider's name for it.
    pub fn note_uid(&self, name: &str, uid: &str) {
        held(&self.topology).note_uid(name, uid);
    }

    /// Declares a control plane, by the id of its resource; what it and earlier declarations contradict each other in.
    pub fn control_plane(&self, id: &str, declared: ControlPlaneAt) -> Diagnostics {
        diagnostics(held(&self.topology).control_plane(id, declared))
    }

    /// The same for a watched cluster.
    pub fn watched(&self, id: &str, declared: WatchedCluster) -> Diagnostics {
        diagnostics(held(&self.topology).watched(id, declared))
    }

    /// The same for a certificate authority.
    pub fn authority(&self, id: &str, declared: DeclaredCa) -> Diagnostics {
        diagnostics(held(&self.topology).authority(id, declared))
    }

    /// The same for a gateway.
    pub fn gateway(&self, id: &str, declared: DeclaredGateway) -> Diagnostics {
        diagnostics(held(&self.topology).gateway(id, declared))
    }

    /// Another block of the configuration that stands for the same thing, if there is one.
    pub fn block(&self, block: Block<'_>) -> Option<Diagnostic> {
        held(&self.blocks).meet(block)
    }

    /// What nobody has declared so far, and nobody has told.
    pub fn absences(&self) -> Vec<Absence> {
        held(&self.topology).absences()
    }

    pub fn tell(&self, absence: &Absence) {
        held(&self.topology).tell(absence);
    }

    /// Declares something that is not known in full yet.
    pub fn pending(&self, what: Pending) {
        held(&self.topology).pending(what);
    }

    /// The networks that the istiod whose configuration is in a cluster is declared to know a gateway of.
    pub fn networks_led_to(&self, cluster: &str) -> BTreeSet<String> {
        held(&self.topology).led_to(cluster)
    }

    /// The id of the control plane that a cluster is declared to be a remote of.
    pub fn remote_of(&self, cluster: &str) -> Option<String> {
        held(&self.topology).remote_of(cluster).map(str::to_owned)
    }

    /// What the control planes look into whose configuration is in a cluster, of the meshes of a namespace.
    pub fn selectors_of(&self, cluster: &str, namespace: &str) -> Vec<DiscoverySelectors> {
        held(&self.topology).selectors_of(cluster, namespace)
    }

    /// What the control planes look into for which a gateway in this cluster and namespace must be there.
    pub fn discovering(&self, cluster: &str, namespace: &str) -> Vec<DiscoverySelectors> {
        held(&self.topology).discovering(cluster, namespace)
    }

    /// Whether a gateway of this id has been declared.
    pub fn knows_gateway(&self, id: &str) -> bool {
        held(&self.topology).knows_gateway(id)
    }

    /// The one at a time who waits for all others.
    pub fn take_turn(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        self.turn.try_lock().ok()
    }

    /// Whether nobody has said this yet.
    pub fn says_first(&self, what: String) -> bool {
        held(&self.said).insert(what)
    }

    /// What a cluster has of policies that decide over mTLS: the first of a walk who asks looks, and the others take
    /// what it saw.
    pub async fn policies(
        &self,
        cluster: &str,
        namespace: &str,
        look: impl Future<Output = PoliciesSeen>,
    ) -> PoliciesSeen {
        let place = (cluster.to_owned(), namespace.to_owned());
        let seen = held(&self.policies).entry(place).or_default().clone();
        seen.get_or_init(|| look).await.clone()
    }

    /// Notes the version that a control plane is to have, by the id of its resource.
    pub fn note_version(&self, id: &str, version: Option<String>) {
        held(&self.versions).insert(id.to_owned(), version);
    }

    /// The version that a control plane is to have; the inner `None` where that is not known yet. One of another
    /// namespace is taken where it is the only one: who follows may be in a namespace of its own.
    pub fn version_of(&self, followed: Followed<'_>) -> Option<Option<String>> {
        let release = istiod_name_of(followed.revision);
        let versions = held(&self.versions);
        let there = versions.iter().filter_map(|(id, version)| {
            let mut parts = id.split('/');
            let (cluster, namespace, name) = (parts.next()?, parts.next()?, parts.next()?);
            (cluster == followed.cluster && name == release).then(|| (namespace, version.clone()))
        });
        only_or_in(there, followed.namespace)
            .or_else(|| held(&self.topology).version_of(followed.cluster, followed.namespace, followed.revision))
    }

    /// Whether a control plane has been planned that is just this one.
    pub fn has_planned(&self, followed: Followed<'_>) -> bool {
        held(&self.versions).contains_key(&id(followed))
    }

    /// Notes the clusters after which a control plane is upgraded; those that wait for each other, beginning and ending
    /// with this one, if there is such a circle now.
    pub fn upgraded_after(&self, followed: Followed<'_>, others: BTreeSet<String>) -> Option<Vec<String>> {
        let key =
            |cluster: &str| (cluster.to_owned(), followed.namespace.to_owned(), followed.revision.map(str::to_owned));
        let mut after = held(&self.after);
        after.insert(key(followed.cluster), others);
        circle(followed.cluster, |name| after.get(&key(name)))
    }

    /// Notes that a control plane is being applied, by the id of its resource, until what is returned is dropped.
    pub fn applies(&self, id: &str) -> Applying {
        self.applied_now.send_modify(|ids| {
            ids.insert(id.to_owned());
        });
        Applying { ids: self.applied_now.clone(), id: id.to_owned() }
    }

    /// Waits until a control plane is not being applied here.
    pub async fn applied(&self, followed: Followed<'_>) {
        let id = id(followed);
        // The sender lives as long as the walk.
        let _ = self.applied_now.subscribe().wait_for(|ids| !ids.contains(&id)).await;
    }

    /// The provider's name for the cluster in which the control plane of this id in Istio runs.
    pub fn runs_in(&self, name: &str, revision: Option<&str>) -> Option<String> {
        held(&self.topology).runs_in(name, revision)
    }

    /// The watchers that are in the network of the cluster they watch.
    pub fn neighbours(&self, watched: &WatchedCluster) -> Vec<String> {
        held(&self.topology).neighbours(watched)
    }

    /// The clusters whose policies count at both ends of a link.
    pub fn ruling(&self, watched: &WatchedCluster) -> Ruling {
        held(&self.topology).ruling(watched)
    }

    /// The clusters whose rules the istiods of a link read, each with what is known of their mesh configurations.
    pub fn configured(&self, watched: &WatchedCluster) -> Vec<(String, Vec<MeshPolicy>)> {
        held(&self.topology).configured(watched)
    }

    /// What a registry that mesh networks name is known as so far.
    pub fn registry(&self, name: &str) -> Registry {
        held(&self.topology).registry(name)
    }
}

/// A control plane is being applied as long as this is held.
#[derive(Debug)]
pub struct Applying {
    ids: watch::Sender<BTreeSet<String>>,
    id: String,
}

impl Drop for Applying {
    fn drop(&mut self) {
        self.ids.send_modify(|ids| {
            ids.remove(&self.id);
        });
    }
}

/// The id of the resource.
fn id(followed: Followed<'_>) -> String {
    format!("{}/{}/{}", followed.cluster, followed.namespace, istiod_name_of(followed.revision))
}

/// A way from a name back to it, over what each name leads to.
fn circle<'a>(start: &str, leads_to: impl Fn(&str) -> Option<&'a BTreeSet<String>>) -> Option<Vec<String>> {
    let mut ways = vec![vec![start.to_owned()]];
    let mut visited = BTreeSet::new();
    while let Some(way) = ways.pop() {
        let last = way.last().map_or(start, String::as_str);
        for next in leads_to(last).into_iter().flatten() {
            let longer = [way.as_slice(), std::slice::from_ref(next)].concat();
            match next == start {
                true => return Some(longer),
                false if visited.insert(next.clone()) => ways.push(longer),
                false => {}
            }
        }
    }
    None
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn diagnostics(findings: Vec<Finding>) -> Diagnostics {
    let diagnostic = |finding: Finding| {
        let diagnostic = match finding.severity {
            FindingSeverity::Error => Diagnostic::error(finding.summary),
            FindingSeverity::Warning => Diagnostic::warning(finding.summary),
        };
        diagnostic.detail(finding.detail).at(finding.attribute)
    };
    findings.into_iter().map(diagnostic).collect()
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn what_is_being_applied_is_waited_for() {
        let walk = Walk::default();
        let north = Followed { cluster: "north", namespace: "istio-system", revision: None };
        walk.applied(north).now_or_never().expect("nobody applies it");
        let applying = walk.applies("north/istio-system/istiod");
        let others = walk.applies("north/istio-system/istiod-canary");
        assert!(walk.applied(north).now_or_never().is_none(), "it is being applied");
        drop(applying);
        walk.applied(north).await;
        drop(others);
    }
}
