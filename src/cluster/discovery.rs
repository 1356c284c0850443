//! What a cluster serves, asked where it decides about somebody else's objects: whether a definition is truly gone,
//! what is in a namespace, what charts ask, and what a kind is that the table lacks.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt as _;
use serde_json::Value;

use super::call::Call;
use super::kind::path_segment;
use super::read::{METADATA_LIST, MOST_PAGES, endless, items, lock, typed, unknown_kind};
use super::{Cluster, Error, Failure, Kind, Object, ObjectRef, Query};

/// The form of discovery that tells all groups in one answer.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
/// Kinds looked at side by side.
const AT_ONCE: usize = 16;
/// Objects in one answer.
const IN_A_PAGE: usize = 100;

/// What is in a namespace.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    /// Metadata of objects.
    pub objects: Vec<(ObjectRef, Object)>,
    /// Groups and kinds that could not be looked at.
    pub unseen: Vec<String>,
    /// Groups and names of the kinds that are in namespaces.
    namespaced: BTreeSet<(String, String)>,
}

impl Inventory {
    /// Whether the object goes when others of its namespace have gone. What a cluster-wide object owns outlives all
    /// that is in the namespace.
    pub fn goes_with_its_owners(&self, object: &Object) -> bool {
        let owners = object.items("metadata.ownerReferences");
        let is_namespaced = |owner: &Value| {
            let api_version = text(owner, "apiVersion");
            let group = api_version.split_once('/').map(|(group, _)| group).unwrap_or_default();
            self.namespaced.contains(&(group.to_owned(), text(owner, "kind")))
        };
        !owners.is_empty() && owners.iter().all(is_namespaced)
    }
}

impl Cluster {
    /// Whether the cluster truly has no definition of the kind: neither a CustomResourceDefinition nor an aggregated
    /// API server stands for it. Discovery that fails is an error, never an absence.
    pub async fn lacks_definition_of(&self, kind: &Kind) -> Result<bool, Error> {
        if !kind.group.contains('.') {
            return Ok(false);
        }
        let definition =
            ObjectRef::cluster(Kind::CUSTOM_RESOURCE_DEFINITION, format!("{}.{}", kind.plural, kind.group));
        if self.get_metadata(&definition).await?.is_some_and(|live| !live.is_terminating()) {
            return Ok(false);
        }
        let path = format!("/apis/apiregistration.k8s.io/v1/apiservices/{}.{}", kind.version, kind.group);
        match self.kind_json(Call::get(path), "APIService").await {
            // The API server registers the groups of definitions itself; a Service behind one is somebody else's API
            // server.
            Ok(service) => Ok(service.get("spec").and_then(|spec| spec.get("service")).is_none_or(Value::is_null)),
            Err(Error { failure: Failure::Api(status), .. }) if status.code == 404 => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Whether there is a definition by which the kind will be served in its version: an API server serves it a little
    /// later than it takes it.
    pub(super) async fn is_to_serve(&self, kind: &Kind) -> bool {
        if !kind.group.contains('.') {
            return false;
        }
        let definition =
            ObjectRef::cluster(Kind::CUSTOM_RESOURCE_DEFINITION, format!("{}.{}", kind.plural, kind.group));
        let Ok(Some(live)) = self.get(&definition).await else { return false };
        let is_served = |version: &Value| text(version, "name") == kind.version && version["served"] == true;
        !live.is_terminating() && live.items("spec.versions").iter().any(is_served)
    }

    /// The kind of this name in a group, in the version that the cluster prefers; `None` where truly nothing defines
    /// it. A definition that is there and not served yet is an error, as is a server that cannot be asked.
    pub async fn kind_in(&self, group: &str, kind: &str) -> Result<Option<Kind>, Error> {
        for api_version in self.versions_of(group).await? {
            if let Some(found) = self.served_as(&api_version, kind).await? {
                return Ok(Some(found));
            }
        }
        // The API server names a group even while who serves it is down. Only definitions come to it late.
        let definitions = self.list(&Query::of(Kind::CUSTOM_RESOURCE_DEFINITION).metadata_only()).await?;
        let of_the_group: Vec<ObjectRef> = definitions
            .iter()
            .filter(|definition| !definition.is_terminating())
            .map(|definition| definition.reference_as(Kind::CUSTOM_RESOURCE_DEFINITION))
            .filter(|reference| reference.name.split_once('.').is_some_and(|(_, of)| of == group))
            .collect();
        for reference in of_the_group {
            let definition = self.get(&reference).await?;
            if definition.is_some_and(|definition| definition.str("spec.names.kind") == kind) {
                return Err(self.error(unknown_kind(group, kind)));
            }
        }
        Ok(None)
    }

    /// The versions of a group that the server names, the one that it prefers first; none where it has no such group.
    async fn versions_of(&self, group: &str) -> Result<Vec<String>, Error> {
        if group.is_empty() {
            return Ok(vec!["v1".to_owned()]);
        }
        let held = lock(&self.shared.held.versions).get(group).cloned();
        if let Some(held) = held {
            return Ok(held);
        }
        let answer = match self.kind_json(Call::get(format!("/apis/{}", path_segment(group))), "APIGroup").await {
            Err(Error { failure: Failure::Api(status), .. }) if status.code == 404 => return Ok(Vec::new()),
            answer => answer?,
        };
        let preferred = answer.get("preferredVersion").map(|version| text(version, "groupVersion"));
        let mut versions: Vec<String> =
            list(&answer, "versions").iter().map(|version| text(version, "groupVersion")).collect();
        versions.sort_by_key(|version| Some(version) != preferred.as_ref());
        lock(&self.shared.held.versions).insert(group.to_owned(), versions.clone());
        Ok(versions)
    }

    /// The objects of every namespaced kind in the namespace, by metadata alone. Kinds whose names are in `passed_over`
    /// are not asked for.
    pub async fn inventory(&self, namespace: &str, passed_over: &[&str]) -> Result<Inventory, Error> {
        let mut inventory = Inventory::default();
        let (mut kinds, core) = tokio::try_join!(self.served("/apis", &mut inventory.unseen), async {
            let mut unseen = Vec::new();
            self.served("/api", &mut unseen).await
        })?;
        kinds.extend(core);
        inventory.namespaced = kinds.iter().map(|kind| (kind.group.to_string(), kind.kind.to_string())).collect();
        kinds.retain(|kind| !passed_over.contains(&&*kind.kind));
        let looks = kinds.into_iter().map(|kind| async move {
            let listed = self.all_in(namespace, &kind).await;
            (kind, listed)
        });
        let mut looks = futures::stream::iter(looks).buffer_unordered(AT_ONCE);
        while let Some((kind, listed)) = looks.next().await {
            match listed {
                Ok(objects) => inventory
                    .objects
                    .extend(objects.into_iter().map(|object| (object.reference_as(kind.clone()), object))),
                Err(error) if error.is_not_found() => {}
                Err(Error { failure: Failure::Api(status), .. }) if status.code == 405 => {}
                Err(error) if error.is_unreachable() || error.is_cancelled() => return Err(error),
                Err(_) => inventory.unseen.push(format!("{} ({})", kind.plural, kind.api_version())),
            }
        }
        inventory.objects.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(inventory)
    }

    /// Metadata of all objects of a kind in the namespace.
    async fn all_in(&self, namespace: &str, kind: &Kind) -> Result<Vec<Object>, Error> {
        let (mut objects, mut next) = (Vec::new(), String::new());
        for _ in 0..MOST_PAGES {
            let after = if next.is_empty() { String::new() } else { format!("&continue={}", path_segment(&next)) };
            let path = format!("{}?limit={IN_A_PAGE}{after}", kind.path(Some(namespace)));
            let list = self.list_json(Call { accept: METADATA_LIST, ..Call::get(path) }, kind).await?;
            let before = std::mem::take(&mut next);
            next = list.get("metadata").map(|metadata| text(metadata, "continue")).unwrap_or_default();
            objects.extend(items(list).into_iter().map(|item| typed(item, kind)));
            if next.is_empty() {
                return Ok(objects);
            }
            if next == before {
                break;
            }
        }
        Err(self.error(endless(kind)))
    }

    /// What the cluster serves as charts ask for it: `group/version` and `group/version/Kind`, in order. It is asked
    /// for once, until a definition changes.
    pub async fn api_versions(&self) -> Result<Arc<[String]>, Error> {
        let cell = lock(&self.shared.held.api_versions).clone();
        let asked = cell.get_or_try_init(|| async {
            let (groups, core) = tokio::try_join!(self.groups("/apis"), self.groups("/api"))?;
            let mut served = BTreeSet::new();
            for group in core.into_iter().chain(groups) {
                for (api_version, version) in versions(&group).filter(|(_, version)| !is_stale(version)) {
                    for resource in list(&version, "resources") {
                        let parts = list(&resource, "subresources");
                        let kinds = parts.iter().chain([&resource]).filter_map(response_kind);
                        served.extend(kinds.map(|kind| format!("{api_version}/{kind}")));
                    }
                    served.insert(api_version);
                }
            }
            Ok(served.into_iter().collect())
        });
        asked.await.cloned()
    }

    /// What the server says about its API groups.
    async fn groups(&self, path: &str) -> Result<Vec<Value>, Error> {
        let call = Call { accept: AGGREGATED, ..Call::get(path) };
        Ok(items(self.kind_json(call, "APIGroupDiscoveryList").await?))
    }

    /// The namespaced kinds that are stored and can be listed, each in the version that the server prefers.
    async fn served(&self, path: &str, unseen: &mut Vec<String>) -> Result<Vec<Kind>, Error> {
        let mut kinds: Vec<Kind> = Vec::new();
        for group in self.groups(path).await? {
            let name = group_name(&group);
            for (api_version, version) in versions(&group) {
                if is_stale(&version) {
                    unseen.push(format!("the API {api_version}"));
                    continue;
                }
                for resource in list(&version, "resources") {
                    let kind = response_kind(&resource).unwrap_or_default();
                    let verbs = list(&resource, "verbs");
                    let can = |verb: &str| verbs.iter().any(|known| known.as_str() == Some(verb));
                    let plural = text(&resource, "resource");
                    let is_new = kinds.iter().all(|known| known.group != name || known.plural != plural);
                    // What cannot be deleted is not kept: reviews, metrics.
                    if text(&resource, "scope") == "Namespaced" && can("list") && can("delete") && is_new {
                        kinds.push(Kind::discovered(&api_version, &kind, &plural, true));
                    }
                }
            }
        }
        Ok(kinds)
    }
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn list(value: &Value, key: &str) -> Vec<Value> {
    value.get(key).and_then(Value::as_array).cloned().unwrap_or_default()
}

fn group_name(group: &Value) -> String {
    group.get("metadata").map(|metadata| text(metadata, "name")).unwrap_or_default()
}

/// The versions of a group, each with the `apiVersion` of its objects.
fn versions(group: &Value) -> impl Iterator<Item = (String, Value)> {
    let group_name = group_name(group);
    list(group, "versions").into_iter().map(move |version| {
        let name = text(&version, "version");
        let api_version = if group_name.is_empty() { name } else { format!("{group_name}/{name}") };
        (api_version, version)
    })
}

/// The API server has not reached who serves this version for some time.
fn is_stale(version: &Value) -> bool {
    text(version, "freshness") == "Stale"
}

fn response_kind(resource: &Value) -> Option<String> {
    resource.get("responseKind").map(|kind| text(kind, "kind"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::stub::answering;

    /// What stands before an API server may drop what comes after the `?`.
    #[tokio::test]
    async fn a_list_without_an_end_is_given_up() {
        let resource = json!({
            "resource": "configmaps", "responseKind": {"kind": "ConfigMap"}, "scope": "Namespaced", "verbs": ["list", "delete"],
        });
        let core = json!({"metadata": {}, "versions": [{"version": "v1", "resources": [resource]}]});
        let groups = |items| json!({"kind": "APIGroupDiscoveryList", "metadata": {}, "items": items});
        let cluster = answering("east", move |_, path| match path {
            "/apis" => (200, groups(json!([]))),
            "/api" => (200, groups(json!([core.clone()]))),
            _ => {
                let item = json!({"metadata": {"name": "a", "namespace": "n"}});
                (
                    200,
                    json!({"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"continue": "x"}, "items": [item]}),
                )
            }
        });
        let looked = tokio::time::timeout(std::time::Duration::from_secs(20), cluster.inventory("n", &[])).await;
        assert_eq!(looked.expect("an end").unwrap().unseen, ["configmaps (v1)"]);
    }
}
