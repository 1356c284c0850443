//! A set of objects kept up to date by list and watch.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

/// Objects by `namespace/name`.
pub(crate) type Objects<K> = Arc<BTreeMap<String, Arc<K>>>;

/// Lists and watches until nobody listens any more. What is received first is the first full list.
pub(crate) fn reflect<K>(api: Api<K>, labels: Option<&str>, fields: Option<&str>) -> watch::Receiver<Objects<K>>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let mut list = ListParams::default();
    let mut params = WatchParams::default().timeout(280).disable_bookmarks();
    if let Some(labels) = labels {
        list = list.labels(labels);
        params = params.labels(labels);
    }
    if let Some(fields) = fields {
        list = list.fields(fields);
        params = params.fields(fields);
    }
    let (tell, receiver) = watch::channel(Objects::<K>::default());
    tokio::spawn(async move {
        while !tell.is_closed() {
            if let Ok(listed) = api.list(&list).await {
                let mut version = listed.metadata.resource_version.unwrap_or_default();
                let mut objects: BTreeMap<String, Arc<K>> = BTreeMap::new();
                for object in listed.items {
                    objects.insert(key(&object), Arc::new(object));
                }
                tell.send_replace(Arc::new(objects.clone()));
                while follow(&api, &params, &mut version, &mut objects, &tell).await {}
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    });
    receiver
}

/// One watch request. False if the objects must be listed again, or nobody listens.
async fn follow<K>(
    api: &Api<K>,
    params: &WatchParams,
    version: &mut String,
    objects: &mut BTreeMap<String, Arc<K>>,
    tell: &watch::Sender<Objects<K>>,
) -> bool
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let Ok(stream) = api.watch(params, version).await else { return false };
    let mut stream = std::pin::pin!(stream);
    loop {
        let event = tokio::select! {
            event = stream.next() => event,
            () = tell.closed() => return false,
        };
        let object = match event {
            None => return true,
            Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object))) => {
                objects.insert(key(&object), Arc::new(object.clone()));
                object
            }
            Some(Ok(WatchEvent::Deleted(object))) => {
                objects.remove(&key(&object));
                object
            }
            Some(Ok(WatchEvent::Bookmark(_))) => continue,
            Some(Ok(WatchEvent::Error(_)) | Err(_)) => return false,
        };
        if let Some(seen) = object.resource_version() {
            *version = seen;
        }
        tell.send_replace(Arc::new(objects.clone()));
    }
}

pub(crate) fn key<K: Resource>(object: &K) -> String {
    let meta = object.meta();
    format!("{}/{}", meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}
