//! Which workloads of a namespace are behind: their Pods are compared with what would be injected today, and with the
//! time at which the roots were written.

use std::collections::BTreeMap;

use futures::{StreamExt as _, stream};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cluster::{Cluster, Error, Kind, Object, ObjectRef, Query};
use crate::istiod::injection::{self, Proxy};
use crate::istiod::{HANDED_OUT, handed_out_since};

/// Pods asked for at once.
const AT_ONCE: usize = 8;

/// What counts as behind.
#[derive(Clone, Copy, Debug)]
pub struct By {
    pub proxy: bool,
    pub roots: bool,
}

/// What was found in one namespace.
#[derive(Debug, Default)]
pub struct Judged {
    /// To be restarted, and why.
    pub behind: Vec<(ObjectRef, String)>,
    /// How many workloads with proxies are not behind.
    pub current: usize,
    /// What is not restarted although it may be behind, and why.
    pub left: Vec<String>,
    /// What forbids that anything is restarted.
    pub refused: Vec<String>,
}

/// A Deployment, StatefulSet or DaemonSet with its Pods that have a proxy.
struct Workload<'a> {
    object: &'a Object,
    reference: ObjectRef,
    pods: Vec<(&'a Object, Proxy)>,
}

/// Judges every workload of a namespace.
pub async fn look(cluster: &Cluster, namespace: &str, by: By) -> Result<Judged, Error> {
    let list = |kind: Kind| async move { cluster.list_now(&Query::of(kind).namespace(namespace)).await };
    let roots = ObjectRef::namespaced(Kind::CONFIG_MAP, namespace, HANDED_OUT);
    let (pods, deployments, stateful_sets, daemon_sets, roots) = tokio::try_join!(
        list(Kind::POD),
        list(Kind::DEPLOYMENT),
        list(Kind::STATEFUL_SET),
        list(Kind::DAEMON_SET),
        cluster.get(&roots)
    )?;
    let kinds = [(Kind::DEPLOYMENT, deployments), (Kind::STATEFUL_SET, stateful_sets), (Kind::DAEMON_SET, daemon_sets)];
    let known: BTreeMap<(String, String), (Kind, &Object)> = kinds
        .iter()
        .flat_map(|(kind, objects)| objects.iter().map(move |object| (kind, object)))
        .map(|(kind, object)| ((kind.kind.to_string(), object.name().to_owned()), (kind.clone(), object)))
        .collect();
    let mut found = Judged::default();
    let since = match &roots {
        Some(roots) if by.roots => {
            let since = handed_out_since(roots);
            if since.is_none() {
                found.refused.push(format!("{roots} does not say when its roots were written"));
            }
            since
        }
        _ => None,
    };
    let workloads = workloads(&pods, &known, &mut found);
    let judged = workloads.into_iter().map(|workload| async move {
        let today = injection::of_today(cluster, workload.object, workload.pods[0].0).await;
        (workload, today)
    });
    let judged: Vec<_> = judged.collect();
    let judged: Vec<_> = stream::iter(judged).buffered(AT_ONCE).collect().await;
    for (workload, today) in judged {
        let today = match today {
            Err(error) if error.is_unreachable() || error.is_cancelled() => return Err(error),
            today => today.map_err(|error| error.to_string()),
        };
        judge(&workload, today, Since { by, roots: since }, &mut found);
    }
    Ok(found)
}

/// Pods by what has made them. What this action cannot restart is left, and named.
fn workloads<'a>(
    pods: &'a [Object],
    known: &BTreeMap<(String, String), (Kind, &'a Object)>,
    found: &mut Judged,
) -> Vec<Workload<'a>> {
    let mut workloads: BTreeMap<(String, String), Workload<'a>> = BTreeMap::new();
    for pod in pods {
        let is_over = pod.is_terminating() || matches!(pod.str("status.phase"), "Succeeded" | "Failed");
        let Some(proxy) = Proxy::read(pod).filter(|_| !is_over) else { continue };
        let maker = maker(pod);
        match maker.as_ref().and_then(|maker| Some((maker, known.get(maker)?))) {
            Some((maker, (kind, object))) => {
                let reference = object.reference_as(kind.clone());
                let fresh = Workload { object, reference, pods: Vec::new() };
                workloads.entry(maker.clone()).or_insert(fresh).pods.push((pod, proxy));
            }
            None => found.left.push(format!("{pod}: no Deployment, StatefulSet or DaemonSet has made it")),
        }
    }
    workloads.into_values().collect()
}

/// Kind and name of the workload that a Pod belongs to. The ReplicaSets of a Deployment have its name and the hash of
/// its template.
fn maker(pod: &Object) -> Option<(String, String)> {
    let controls = |owner: &&Value| owner.get("controller").and_then(Value::as_bool) == Some(true);
    let owner = pod.items("metadata.ownerReferences").iter().find(controls)?;
    let (kind, name) = (owner.get("kind")?.as_str()?, owner.get("name")?.as_str()?);
    if kind != "ReplicaSet" {
        return Some((kind.to_owned(), name.to_owned()));
    }
    let name = name.strip_suffix(pod.label("pod-template-hash")?)?.strip_suffix('-')?;
    Some((Kind::DEPLOYMENT.kind.into_owned(), name.to_owned()))
}

/// What counts as behind, and since when the roots are those of today.
#[derive(Clone, Copy)]
struct Since {
    by: By,
    roots: Option<OffsetDateTime>,
}

fn judge(workload: &Workload<'_>, today: Result<Option<Proxy>, String>, since: Since, found: &mut Judged) {
    let Workload { object, reference, pods } = workload;
    let today = match today {
        Ok(Some(today)) => today,
        Ok(None) => return found.refused.push(format!("{reference} has a proxy, and a new Pod of it would get none")),
        Err(why) => {
            return found.refused.push(format!("it is not known what a new Pod of {reference} would get: {why}"));
        }
    };
    let why = |(pod, proxy): &(&Object, Proxy)| {
        let by_proxy = since.by.proxy.then(|| proxy.behind(&today)).flatten();
        by_proxy.or_else(|| since.roots.filter(|roots| is_older(pod, *roots)).map(older))
    };
    let behind: Vec<String> = pods.iter().filter_map(why).collect();
    let Some(why) = behind.first() else {
        found.current += 1;
        return;
    };
    let why = match (behind.len(), pods.len()) {
        (1, 1) => why.clone(),
        (some, all) => format!("{some} of {all} Pods; of the first, {why}"),
    };
    match held(object) {
        Some(held) => found.left.push(format!("{reference}: {held} ({why})")),
        None => found.behind.push((reference.clone(), why)),
    }
}

/// Whether a Pod was made before the roots were written. In the same second it was not: it reads them some time after
/// it was made.
fn is_older(pod: &Object, roots: OffsetDateTime) -> bool {
    let made = pod.creation_timestamp().and_then(|made| OffsetDateTime::parse(made, &Rfc3339).ok());
    made.is_none_or(|made| made < roots)
}

fn older(roots: OffsetDateTime) -> String {
    let written = roots.format(&Rfc3339).unwrap_or_default();
    format!("it is older than the roots of its namespace, written {written}")
}

/// Why a change of its template would not replace its Pods.
fn held(object: &Object) -> Option<&'static str> {
    if object.get("spec.paused").and_then(Value::as_bool) == Some(true) {
        return Some("its rollout is paused");
    }
    if object.str("spec.updateStrategy.type") == "OnDelete" {
        return Some("its update strategy is OnDelete, so that its Pods must be deleted by hand");
    }
    let partition = object.get("spec.updateStrategy.rollingUpdate.partition").and_then(Value::as_i64);
    partition.is_some_and(|partition| partition > 0).then_some("its update strategy has a partition, which keeps Pods")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const BOTH: By = By { proxy: true, roots: true };

    fn pod(name: &str, owner: Value, made: &str, image: &str) -> Object {
        let metadata = json!({
            "name": name, "namespace": "shop", "creationTimestamp": made, "labels": {"pod-template-hash": "7d9"},
            "ownerReferences": [owner],
        });
        let spec = json!({"containers": [{"name": "istio-proxy", "image": image}]});
        Object::new(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})).unwrap()
    }

    fn deployment(spec: Value) -> Object {
        let metadata = json!({"name": "cart", "namespace": "shop"});
        Object::new(json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec})).unwrap()
    }

    fn of_cart() -> Value {
        json!({"kind": "ReplicaSet", "name": "cart-7d9", "controller": true})
    }

    fn at(text: &str) -> OffsetDateTime {
        OffsetDateTime::parse(text, &Rfc3339).unwrap()
    }

    /// What comes of Pods of one Deployment where a new one would get this image.
    fn found(pods: &[Object], object: &Object, today: Result<Option<&str>, &str>, by: By) -> Judged {
        let known = [(("Deployment".to_owned(), "cart".to_owned()), (Kind::DEPLOYMENT, object))].into();
        let mut found = Judged::default();
        let since = Since { by, roots: by.roots.then(|| at("2026-01-01T00:00:10Z")) };
        for workload in workloads(pods, &known, &mut found) {
            let proxy = |image: &str| Proxy::read(&pod("x", json!({}), "", image)).unwrap();
            judge(&workload, today.map(|image| image.map(proxy)).map_err(str::to_owned), since, &mut found);
        }
        found
    }

    #[test]
    fn a_workload_is_behind_by_its_proxy_or_by_the_age_of_a_pod() {
        let cart = deployment(json!({}));
        let (old, new) = ("2026-01-01T00:00:09Z", "2026-01-01T00:00:10Z");
        let pods = [pod("a", of_cart(), new, "v1"), pod("b", of_cart(), old, "v1")];
        let roots = found(&pods, &cart, Ok(Some("v1")), BOTH);
        assert_eq!(roots.behind.len(), 1);
        assert!(roots.behind[0].1.starts_with("1 of 2 Pods; of the first, it is older"), "{:?}", roots.behind);
        let only_proxy = found(&pods, &cart, Ok(Some("v1")), By { proxy: true, roots: false });
        assert_eq!((only_proxy.behind.len(), only_proxy.current), (0, 1));
        let proxy = found(&pods[..1], &cart, Ok(Some("v2")), BOTH);
        assert_eq!(proxy.behind[0].1, "the image of its proxy is v1, and would be v2");
        assert_eq!(found(&pods[..1], &cart, Ok(Some("v2")), By { proxy: false, roots: true }).current, 1);
    }

    #[test]
    fn what_would_lose_its_proxy_or_cannot_be_judged_forbids_everything() {
        let cart = deployment(json!({}));
        let pods = [pod("a", of_cart(), "2026-01-01T00:00:09Z", "v1")];
        let lost = found(&pods, &cart, Ok(None), BOTH);
        assert!(lost.behind.is_empty() && lost.refused[0].contains("would get none"), "{lost:?}");
        let unknown = found(&pods, &cart, Err("exceeded quota"), BOTH);
        assert!(unknown.behind.is_empty() && unknown.refused[0].contains("exceeded quota"), "{unknown:?}");
    }

    #[test]
    fn what_a_new_template_would_not_replace_is_left_and_named() {
        let pods = [pod("a", of_cart(), "2026-01-01T00:00:09Z", "v1")];
        for spec in [
            json!({"paused": true}),
            json!({"updateStrategy": {"type": "OnDelete"}}),
            json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}}),
        ] {
            let found = found(&pods, &deployment(spec), Ok(Some("v2")), BOTH);
            assert!(found.behind.is_empty() && found.left[0].starts_with("Deployment shop/cart: "), "{found:?}");
        }
        let job = [pod("a", json!({"kind": "Job", "name": "j", "controller": true}), "2026-01-01T00:00:09Z", "v1")];
        let found = found(&job, &deployment(json!({})), Ok(Some("v2")), BOTH);
        assert!(found.behind.is_empty() && found.left[0].starts_with("Pod shop/a: "), "{found:?}");
    }
}
