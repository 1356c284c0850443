//! Get, list and look up. Lists are held for the length of the walk and shared by all who ask the same.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::Value;
use tokio::sync::OnceCell;

use super::call::Call;
use super::kind::path_segment;
use super::session;
use super::{Applied, Cluster, Endpoint, Error, Failure, Kind, OWNER_LABEL, Object, ObjectRef};

/// What to list: one kind, in one namespace or in all, chosen by labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Query {
    pub kind: Kind,
    pub namespace: Option<String>,
    /// A label selector: `istio/multiCluster=true`, `key in (a,b)`, `!key`.
    pub labels: String,
    /// A field selector: `metadata.name=istiod`.
    pub fields: String,
    /// Only metadata (labels, annotations, `managedFields`, generation) without spec, status and data: the way to look
    /// at CRDs, whose bodies are large, and at Secrets whose content is no concern.
    pub metadata_only: bool,
}

impl Query {
    pub fn of(kind: Kind) -> Query {
        Query { kind, namespace: None, labels: String::new(), fields: String::new(), metadata_only: false }
    }

    /// All objects of the kind that carry this provider's label, whichever resource they belong to: the one list of a
    /// walk that all resources of a namespace share. Of a kind with namespaces only those in `namespace` are asked for:
    /// in others anybody may set the label. CRDs come as metadata alone.
    pub fn owned(kind: Kind, namespace: &str) -> Query {
        let metadata_only = kind == Kind::CUSTOM_RESOURCE_DEFINITION;
        let namespace = kind.namespaced.then(|| namespace.to_owned());
        Query { metadata_only, namespace, ..Query::of(kind).selector(OWNER_LABEL) }
    }

    pub fn namespace(mut self, namespace: impl Into<String>) -> Query {
        self.namespace = Some(namespace.into());
        self
    }

    /// Adds one `key=value` to the label selector.
    pub fn label(self, key: &str, value: &str) -> Query {
        self.selector(&format!("{key}={value}"))
    }

    /// Adds one requirement to the label selector: `key`, `!key`, `key!=value`, `key in (a,b)`.
    pub fn selector(mut self, requirement: &str) -> Query {
        let separator = if self.labels.is_empty() { "" } else { "," };
        self.labels = format!("{}{separator}{requirement}", self.labels);
        self
    }

    /// Adds one `path=value` to the field selector.
    pub fn field(mut self, path: &str, value: &str) -> Query {
        let separator = if self.fields.is_empty() { "" } else { "," };
        self.fields = format!("{}{separator}{path}={value}", self.fields);
        self
    }

    pub fn metadata_only(mut self) -> Query {
        self.metadata_only = true;
        self
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerVersion {
    pub major: u32,
    pub minor: u32,
    /// `v1.37.2`
    pub git_version: String,
    /// Major and minor version as the server spells them: some vendors write `33+`.
    pub spelled: (String, String),
}

/// Objects in one answer to a list.
const PAGE: usize = 500;
/// Answers that are asked for to one list: a million objects.
pub(super) const MOST_PAGES: usize = 2000;

/// Asks for an object without spec, status and data.
pub(super) const METADATA_ALONE: &str = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";

/// The same of a list.
pub(super) const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";

/// Lists by question; who comes while a question is under way waits for the same answer. `None`: the kind is not
/// served, and nobody has defined anything in this run.
type Lists = Mutex<HashMap<Query, Arc<OnceCell<Option<Arc<[Object]>>>>>>;

/// What is held of a cluster for the length of the walk.
#[derive(Default)]
pub(super) struct Held {
    lists: Lists,
    /// A definition was written or removed in this run: whether a kind is served may change at any time since, for an
    /// API server serves a definition some time after it has taken it.
    defines: AtomicBool,
    /// Resources by group-version, for kinds the table lacks.
    discovered: Mutex<HashMap<String, Arc<[Kind]>>>,
    /// Versions by group, for the same.
    pub(super) versions: Mutex<HashMap<String, Vec<String>>>,
    version: OnceCell<ServerVersion>,
    /// What the cluster serves, as charts ask for it.
    pub(super) api_versions: Mutex<Arc<OnceCell<Arc<[String]>>>>,
    /// Objects as we last wrote them, where the next who writes begins with that.
    written: Mutex<HashMap<ObjectRef, Object>>,
}

impl Held {
    /// After a write of ours, lists of the kind are no longer true.
    pub(super) fn forget_kind(&self, kind: &Kind) {
        self.forget_what_is_defined_by(kind);
        lock(&self.lists).retain(|query, _| query.kind.group != kind.group || query.kind.kind != kind.kind);
    }

    /// After a removal of ours, lists of the kind are true but for this object. One that is still asked for may have
    /// it.
    pub(super) fn forget_object(&self, gone: &ObjectRef) {
        self.forget_what_is_defined_by(&gone.kind);
        let is_gone = |object: &Object| object.name() == gone.name && object.namespace() == gone.namespace.as_deref();
        lock(&self.lists).retain(|query, cell| {
            if query.kind.group != gone.kind.group || query.kind.kind != gone.kind.kind {
                return true;
            }
            let Some(Some(listed)) = cell.get() else { return false };
            if listed.iter().any(is_gone) {
                let rest: Arc<[Object]> = listed.iter().filter(|object| !is_gone(object)).cloned().collect();
                *cell = Arc::new(OnceCell::new_with(Some(Some(rest))));
            }
            true
        });
    }

    fn forget_what_is_defined_by(&self, kind: &Kind) {
        if *kind == Kind::CUSTOM_RESOURCE_DEFINITION {
            self.defines.store(true, Ordering::Relaxed);
            *lock(&self.api_versions) = Arc::default();
            lock(&self.discovered).clear();
            lock(&self.versions).clear();
            lock(&self.lists).retain(|_, cell| cell.get().is_none_or(Option::is_some));
        }
    }

    fn forget(&self) {
        lock(&self.lists).clear();
        lock(&self.discovered).clear();
        lock(&self.versions).clear();
        lock(&self.written).clear();
        *lock(&self.api_versions) = Arc::default();
    }
}

/// A poisoned lock only means that another task has panicked; the maps behind these are whole at every step.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The namespace that a cluster has from its beginning to its end.
const SYSTEM: &str = "kube-system";

/// That namespace and the one that Istio is mostly in. They are asked for in one list, by a label that the API server
/// sets on every namespace:
/// <https://kubernetes.io/docs/reference/labels-annotations-taints/#kubernetes-io-metadata-name>.
const USUAL_NAMESPACES: [&str; 2] = [SYSTEM, "istio-system"];

impl Cluster {
    /// What tells the cluster from all others, whatever its name and address are: the uid of its namespace
    /// `kube-system`. Asked for once in a run. `None` where that may not be read, or is not there.
    pub async fn uid(&self) -> Result<Option<&str>, Error> {
        let look = async || match self.namespace(SYSTEM).await {
            Ok(found) => Ok(found.and_then(|found| found.uid().map(str::to_owned))),
            Err(error) if error.is_forbidden() => Ok(None),
            Err(error) => Err(error),
        };
        self.shared.uid.get_or_try_init(look).await.map(Option::as_deref)
    }

    /// A namespace, or `None` on a true 404 of it. The usual ones are asked for together, and held as lists are.
    pub async fn namespace(&self, name: &str) -> Result<Option<Object>, Error> {
        let usual = format!("kubernetes.io/metadata.name in ({})", USUAL_NAMESPACES.join(","));
        let listed = match USUAL_NAMESPACES.contains(&name) {
            true => self.list(&Query::of(Kind::NAMESPACE).selector(&usual)).await,
            false => Ok(Arc::default()),
        };
        let found = match listed {
            Ok(listed) => listed.iter().find(|namespace| namespace.name() == name).cloned(),
            // Who may not list namespaces may still look at one.
            Err(error) if error.is_forbidden() => None,
            Err(error) => return Err(error),
        };
        match found {
            Some(found) => Ok(Some(found)),
            None => self.get(&ObjectRef::cluster(Kind::NAMESPACE, name)).await,
        }
    }

    /// The object, or `None` on a true 404 of the object itself: an unreachable or forbidding server is an error, never
    /// "gone", and neither is a kind that the cluster does not serve.
    pub async fn get(&self, reference: &ObjectRef) -> Result<Option<Object>, Error> {
        self.get_as(reference, Call::JSON).await
    }

    /// As [`Cluster::get`], metadata alone.
    pub async fn get_metadata(&self, reference: &ObjectRef) -> Result<Option<Object>, Error> {
        self.get_as(reference, METADATA_ALONE).await
    }

    /// The same; `None` as well where the cluster truly has no definition of the kind.
    pub async fn get_metadata_if_defined(&self, reference: &ObjectRef) -> Result<Option<Object>, Error> {
        match self.get_metadata(reference).await {
            Err(error) if error.is_unknown_kind() && self.lacks_definition_of(&reference.kind).await? => Ok(None),
            live => live,
        }
    }

    async fn get_as(&self, reference: &ObjectRef, accept: &'static str) -> Result<Option<Object>, Error> {
        let call = Call { accept, ..Call::get(reference.path()) };
        match self.object_json(call, reference).await {
            Ok((_, value)) => Ok(Some(typed(value, &reference.kind))),
            Err(error) => match self.kind_served(error, &reference.kind) {
                Error { failure: Failure::Api(status), .. } if status.is_absence_of(&reference.name) => Ok(None),
                error => Err(error),
            },
        }
    }

    /// All objects of the query, asked for once and held until [`Cluster::forget`] or a write of ours to that kind.
    /// What we delete is taken out of it.
    pub async fn list(&self, query: &Query) -> Result<Arc<[Object]>, Error> {
        let held = self.held_list(query);
        match held.get_or_try_init(async || self.list_now(query).await.map(Some)).await? {
            Some(listed) => Ok(listed.clone()),
            None => self.list_now(query).await,
        }
    }

    /// As [`Cluster::list`], for kinds that a cluster may not serve: it has no objects of these. That is held as well,
    /// until a definition is written.
    pub async fn list_if_served(&self, query: &Query) -> Result<Arc<[Object]>, Error> {
        let held = self.held_list(query);
        let unserved = Error::is_unknown_kind;
        let listed = held.get_or_try_init(async || match self.list_now(query).await {
            Err(error) if unserved(&error) && !self.shared.held.defines.load(Ordering::Relaxed) => Ok(None),
            listed => listed.map(Some),
        });
        match listed.await {
            Ok(Some(listed)) => Ok(listed.clone()),
            // The definition may have come while the kind was asked for.
            Ok(None) if self.shared.held.defines.load(Ordering::Relaxed) => self.list_now_if_served(query).await,
            Ok(None) => Ok(Arc::default()),
            Err(error) if unserved(&error) => Ok(Arc::default()),
            Err(error) => Err(error),
        }
    }

    /// The same, always from the server.
    pub async fn list_now_if_served(&self, query: &Query) -> Result<Arc<[Object]>, Error> {
        match self.list_now(query).await {
            Err(error) if error.is_unknown_kind() => Ok(Arc::default()),
            listed => listed,
        }
    }

    fn held_list(&self, query: &Query) -> Arc<OnceCell<Option<Arc<[Object]>>>> {
        lock(&self.shared.held.lists).entry(query.clone()).or_default().clone()
    }

    /// As [`Cluster::list`], but always from the server.
    pub async fn list_now(&self, query: &Query) -> Result<Arc<[Object]>, Error> {
        let accept = match query.metadata_only {
            true => METADATA_LIST,
            false => Call::JSON,
        };
        let mut found = Vec::new();
        let mut next = String::new();
        for _ in 0..MOST_PAGES {
            let answer = self.list_json(Call { accept, ..Call::get(query.page(&next)) }, &query.kind).await;
            let list = answer.map_err(|error| self.kind_served(error, &query.kind))?;
            let metadata = list.get("metadata");
            let before = std::mem::take(&mut next);
            next = metadata.and_then(|metadata| metadata.get("continue")?.as_str()).unwrap_or_default().to_owned();
            found.extend(items(list).into_iter().map(|item| typed(item, &query.kind)));
            if next.is_empty() {
                return Ok(found.into());
            }
            // The next page begins where this one did.
            if next == before {
                break;
            }
        }
        Err(self.error(endless(&query.kind)))
    }

    /// Keeps an object as it was written, for whoever writes it next in this walk.
    pub fn remember(&self, applied: &Applied) {
        lock(&self.shared.held.written).insert(applied.reference.clone(), applied.object.clone());
    }

    /// Takes the object that was kept. Others may have written it since: it is good for a write that carries its
    /// version.
    pub fn remembered(&self, reference: &ObjectRef) -> Option<Object> {
        lock(&self.shared.held.written).remove(reference)
    }

    /// Drops everything held of this cluster.
    pub fn forget(&self) {
        self.shared.held.forget();
    }

    /// The kind behind `apiVersion` and `kind` of a manifest: from the table, else asked of the cluster once.
    pub async fn kind(&self, api_version: &str, kind: &str) -> Result<Kind, Error> {
        if let Some(known) = Kind::known(api_version, kind) {
            return Ok(known);
        }
        let found = self.served_as(api_version, kind).await?;
        found.ok_or_else(|| self.error(unknown_kind(api_version, kind)))
    }

    /// A kind in one version, asked of the cluster; `None` where that serves none.
    pub(super) async fn served_as(&self, api_version: &str, kind: &str) -> Result<Option<Kind>, Error> {
        let held = lock(&self.shared.held.discovered).get(api_version).cloned();
        let kinds = match held {
            Some(kinds) => kinds,
            None => {
                let kinds = self.discover(api_version).await?;
                lock(&self.shared.held.discovered).insert(api_version.to_owned(), kinds.clone());
                kinds
            }
        };
        Ok(kinds.iter().find(|candidate| candidate.kind == kind).cloned())
    }

    /// The kinds of one group-version; none where it is not served.
    pub(super) async fn discover(&self, api_version: &str) -> Result<Arc<[Kind]>, Error> {
        let path = Kind::discovered(api_version, "", "", false).group_path();
        let value = match self.kind_json(Call::get(path), "APIResourceList").await {
            Err(Error { failure: Failure::Api(status), .. }) if status.code == 404 => return Ok(Arc::new([])),
            answer => answer?,
        };
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let resources = value.get("resources").and_then(Value::as_array).into_iter().flatten();
        Ok(resources
            .filter(|resource| !text(resource, "name").contains('/'))
            .map(|resource| {
                let namespaced = resource.get("namespaced").and_then(Value::as_bool).unwrap_or(false);
                Kind::discovered(api_version, &text(resource, "kind"), &text(resource, "name"), namespaced)
            })
            .collect())
    }

    /// What finds an object in this cluster.
    pub async fn reference(&self, object: &Object) -> Result<ObjectRef, Error> {
        Ok(object.reference_as(self.kind(object.api_version(), object.kind()).await?))
    }

    /// The server's version, asked for once.
    pub async fn version(&self) -> Result<ServerVersion, Error> {
        let asked = self.shared.held.version.get_or_try_init(|| async {
            let value = self.json(Call::get("/version")).await?;
            let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
            // Some vendors write `33+`.
            let number = |key: &str| text(key).trim_end_matches(|c: char| !c.is_ascii_digit()).parse().ok();
            let (Some(major), Some(minor)) = (number("major"), number("minor")) else {
                let detail = "/version names no major and minor version: is this a Kubernetes API server?".to_owned();
                return Err(self.error(Failure::Unexpected { detail }));
            };
            let spelled = (text("major").to_owned(), text("minor").to_owned());
            Ok(ServerVersion { major, minor, git_version: text("gitVersion").to_owned(), spelled })
        });
        asked.await.cloned()
    }

    /// Reads the configuration (and the kubeconfig it names), makes no request.
    pub async fn endpoint(&self) -> Result<Endpoint, Error> {
        session::endpoint(&self.shared.connections).map_err(|failure| self.error(failure))
    }

    /// Tells a path the server does not know from an object that is not there.
    pub(super) fn kind_served(&self, error: Error, kind: &Kind) -> Error {
        match &error.failure {
            Failure::Api(status) if status.code == 404 && status.name.is_none() => {
                Error { failure: unknown_kind(&kind.api_version(), &kind.kind), ..error }
            }
            _ => error,
        }
    }
}

/// Of a list whose pages do not come to an end.
pub(super) fn endless(kind: &Kind) -> Failure {
    Failure::Unexpected { detail: format!("the list of {} has no end", kind.plural) }
}

pub(super) fn unknown_kind(api_version: &str, kind: &str) -> Failure {
    Failure::UnknownKind { api_version: api_version.to_owned(), kind: kind.to_owned() }
}

impl Query {
    pub(super) fn path(&self) -> String {
        let mut path = self.kind.path(self.namespace.as_deref());
        let mut separator = '?';
        for (name, selector) in [("labelSelector", &self.labels), ("fieldSelector", &self.fields)] {
            if !selector.is_empty() {
                path = format!("{path}{separator}{name}={}", path_segment(selector));
                separator = '&';
            }
        }
        path
    }

    /// One page of the answer: a list may be longer than what is good to hold as text at once.
    fn page(&self, next: &str) -> String {
        let path = self.path();
        let separator = if path.contains('?') { '&' } else { '?' };
        match next {
            "" => format!("{path}{separator}limit={PAGE}"),
            next => format!("{path}{separator}limit={PAGE}&continue={}", path_segment(next)),
        }
    }
}

pub(super) fn items(list: Value) -> Vec<Value> {
    match list {
        Value::Object(mut list) => match list.remove("items") {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// Lists of built-in kinds leave `apiVersion` and `kind` out of their items, and metadata alone has a kind of its own.
pub(super) fn typed(value: Value, kind: &Kind) -> Object {
    let mut object = Object::raw(value);
    object = object.with("apiVersion", kind.api_version());
    object.with("kind", kind.kind.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ClusterConfig;
    use crate::cluster::stub::without_gateways;

    /// An API server that starts, or one whose aggregated part fails, does not serve what it has a definition of.
    #[tokio::test(flavor = "multi_thread")]
    async fn an_object_is_gone_with_its_definition_and_not_with_an_answer_that_fails() {
        let gateway = ObjectRef::namespaced(Kind::ISTIO_GATEWAY, "a", "g");
        for is_defined in [true, false] {
            let cluster = without_gateways(is_defined);
            let found = cluster.get_metadata_if_defined(&gateway).await;
            match is_defined {
                true => assert!(found.as_ref().is_err_and(Error::is_unknown_kind), "{found:?}"),
                false => assert!(found.as_ref().is_ok_and(Option::is_none), "{found:?}"),
            }
        }
    }

    /// A definition is written while the list is under way that finds the kind unserved.
    #[tokio::test]
    async fn a_kind_that_was_not_served_is_asked_for_again_once_anything_is_defined() {
        let cluster = Cluster::standalone("east", ClusterConfig::default(), "test");
        let query = Query::of(Kind::ISTIO_GATEWAY);
        let unserved = || Arc::new(OnceCell::new_with(Some(None)));
        lock(&cluster.shared.held.lists).insert(query.clone(), unserved());
        assert!(cluster.list_if_served(&query).await.unwrap().is_empty(), "what is held is not asked for");
        cluster.shared.held.defines.store(true, Ordering::Relaxed);
        assert!(cluster.list_if_served(&query).await.is_err(), "it is asked for, and there is no connection");
        cluster.shared.held.forget_kind(&Kind::CUSTOM_RESOURCE_DEFINITION);
        assert!(lock(&cluster.shared.held.lists).is_empty());
    }
}
