//! Whether istiod's webhook injects proxies, and which: a Pod is asked for without storing it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cluster::{Cluster, Error, Failure, Kind, Object, ObjectRef};
use crate::mesh::Revision;

/// How often the webhook is asked until it answers.
const PAUSE: Duration = Duration::from_millis(500);

/// The Pod to ask for.
#[derive(Clone, Copy, Debug)]
pub struct Probe<'a> {
    pub namespace: &'a str,
    /// One that exists there.
    pub service_account: &'a str,
    /// Whose webhook is meant.
    pub revision: Option<&'a Revision>,
}

/// What an injected proxy says of itself, and how its Pod sets up its network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injected {
    pub cluster_id: String,
    /// Empty where there is none.
    pub network: String,
    /// The Pod has the init container `istio-init`: no node agent does its work.
    pub has_istio_init: bool,
}

/// Whether the answer will do.
#[derive(Debug)]
pub enum Judgement<T> {
    Done(T),
    /// istiod goes by an old configuration for some time: ask again. Why this answer will not do.
    Again(String),
}

/// How the asking ended.
#[derive(Debug)]
pub enum Outcome<T> {
    Done(T),
    /// Somebody else refuses the Pod, such as a quota, Pod security or missing rights: nothing is known of the webhook.
    Undecided(Error),
    /// Time is up, and the last answer would not do: why.
    Late(String),
}

/// Asks for the Pod until `judge` has an answer that will do, or it is `until`.
///
/// # Errors
///
/// Of a cluster that cannot be asked.
pub async fn wait<T>(
    cluster: &Cluster,
    probe: Probe<'_>,
    until: Instant,
    mut judge: impl FnMut(&Injected) -> Judgement<T>,
) -> Result<Outcome<T>, Error> {
    let pod = probe.pod();
    let mut last = "the API server did not answer in the time allowed".to_owned();
    loop {
        let Ok(answer) = tokio::time::timeout_at(until.into(), cluster.create_dry_run(&pod)).await else {
            return Ok(Outcome::Late(last));
        };
        last = match answer {
            Ok(pod) => match Injected::read(&pod).map(|injected| judge(&injected)) {
                Some(Judgement::Done(done)) => return Ok(Outcome::Done(done)),
                Some(Judgement::Again(why)) => why,
                None => "no webhook injected a proxy".to_owned(),
            },
            Err(error) if refused_by_webhook(&error) => error.to_string(),
            Err(error) if matches!(error.failure, Failure::Api(_) | Failure::Forbidden { .. }) => {
                return Ok(Outcome::Undecided(error));
            }
            Err(error) => return Err(error),
        };
        tokio::time::sleep(PAUSE).await;
    }
}

fn refused_by_webhook(error: &Error) -> bool {
    matches!(&error.failure, Failure::Api(status) if status.code >= 500 || status.message.contains("webhook"))
}

impl Probe<'_> {
    fn pod(&self) -> Object {
        let reference = ObjectRef::namespaced(Kind::POD, self.namespace, "terraform-provider-mesh-probe");
        Object::of(&reference)
            .with_label("istio.io/rev", Revision::label(self.revision))
            .with_label("sidecar.istio.io/inject", "true")
            .with(
                "spec",
                json!({
                    "serviceAccountName": self.service_account,
                    "containers": [{"name": "probe", "image": "probe"}],
                }),
            )
    }
}

impl Injected {
    /// `None` where there is no proxy in the Pod.
    fn read(pod: &Object) -> Option<Injected> {
        let mut proxy = Proxy::read(pod)?;
        let mut env = |name: &str| proxy.env.remove(name).unwrap_or_default();
        Some(Injected {
            cluster_id: env("ISTIO_META_CLUSTER_ID"),
            network: env("ISTIO_META_NETWORK"),
            has_istio_init: pod.items("spec.initContainers").iter().any(|container| is_named(container, "istio-init")),
        })
    }
}

/// The proxy of a Pod, as far as injection decides it and only a restart changes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    pub image: String,
    args: Vec<String>,
    /// What is said in as many words; what refers to the Pod itself is not the injection's.
    env: BTreeMap<String, String>,
}

impl Proxy {
    /// `None` where there is no proxy in the Pod.
    pub fn read(pod: &Object) -> Option<Proxy> {
        let mut containers = pod.items("spec.containers").iter().chain(pod.items("spec.initContainers"));
        let proxy = containers.find(|container| is_named(container, "istio-proxy"))?;
        let list = |member: &str| proxy.get(member).and_then(Value::as_array).into_iter().flatten();
        let text = |value: &Value, member: &str| Some(value.get(member)?.as_str()?.to_owned());
        Some(Proxy {
            image: text(proxy, "image").unwrap_or_default(),
            args: list("args").filter_map(|arg| arg.as_str().map(str::to_owned)).collect(),
            env: list("env").filter_map(|entry| Some((text(entry, "name")?, text(entry, "value")?))).collect(),
        })
    }

    /// What is another in the proxy that would be injected today; `None` where nothing is. Of variables the name alone
    /// is told, since a value may be anything.
    pub fn behind(&self, today: &Proxy) -> Option<String> {
        if self.image != today.image {
            return Some(format!("the image of its proxy is {}, and would be {}", self.image, today.image));
        }
        let names: Vec<&str> = self.env.keys().chain(today.env.keys()).map(String::as_str).collect();
        let mut others: Vec<&str> =
            names.into_iter().filter(|name| self.env.get(*name) != today.env.get(*name)).collect();
        others.sort_unstable();
        others.dedup();
        if !others.is_empty() {
            return Some(format!("its proxy has another {} than it would get today", others.join(", ")));
        }
        (self.args != today.args).then(|| "its proxy has other arguments than it would get today".to_owned())
    }
}

/// The proxy that a new Pod of a Deployment, StatefulSet or DaemonSet would get today, by the webhooks of the cluster.
/// The Pod is asked for as the workload's controller would make it, and not stored. `None` where it would get none.
///
/// # Errors
///
/// Of a cluster that cannot be asked, or does not let the Pod in.
pub async fn of_today(cluster: &Cluster, workload: &Object, pod: &Object) -> Result<Option<Proxy>, Error> {
    cluster.create_dry_run(&next_pod(workload, pod)).await.map(|made| Proxy::read(&made))
}

/// As the controller that has made `pod` would make the next one: istiod derives names of the workload from its owner.
fn next_pod(workload: &Object, pod: &Object) -> Object {
    let mut spec = workload.get("spec.template.spec").cloned().unwrap_or_default();
    // The controller of a StatefulSet adds its volumes, and mounts that lack theirs are refused.
    let claims = workload.items("spec.volumeClaimTemplates").iter();
    let claims = claims.filter_map(|claim| Some(json!({"name": claim.get("metadata")?.get("name")?, "emptyDir": {}})));
    let claims: Vec<Value> = claims.collect();
    if let (Some(spec), false) = (spec.as_object_mut(), claims.is_empty()) {
        let volumes = spec.entry("volumes").or_insert_with(|| json!([]));
        volumes.as_array_mut().into_iter().for_each(|volumes| volumes.extend(claims.iter().cloned()));
    }
    let owners = pod.items("metadata.ownerReferences").iter().cloned().map(|mut owner| {
        // To block the deletion of an owner takes a right of its own.
        owner.as_object_mut().and_then(|owner| owner.remove("blockOwnerDeletion"));
        owner
    });
    let owner = owners.clone().find_map(|owner| Some(owner.get("name")?.as_str()?.to_owned())).unwrap_or_default();
    let mut labels = workload.get("spec.template.metadata.labels").cloned().unwrap_or_else(|| json!({}));
    for label in ["pod-template-hash", "controller-revision-hash"] {
        if let (Some(labels), Some(hash)) = (labels.as_object_mut(), pod.label(label)) {
            labels.insert(label.to_owned(), hash.into());
        }
    }
    let annotations = workload.get("spec.template.metadata.annotations").cloned().unwrap_or_else(|| json!({}));
    let reference = ObjectRef::namespaced(Kind::POD, pod.namespace().unwrap_or_default(), "");
    let metadata = json!({
        "namespace": reference.namespace, "generateName": format!("{owner}-"),
        "labels": labels, "annotations": annotations, "ownerReferences": owners.collect::<Vec<_>>(),
    });
    Object::of(&reference).with("metadata", metadata).with("spec", spec)
}

fn is_named(container: &Value, name: &str) -> bool {
    container.get("name").and_then(Value::as_str) == Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: Value) -> Object {
        let probe = Probe { namespace: "istio-system", service_account: "istiod", revision: None };
        probe.pod().with("spec", spec)
    }

    #[test]
    fn a_proxy_is_read_whether_it_is_a_container_or_a_native_sidecar() {
        let proxy = json!({"name": "istio-proxy", "env": [
            {"name": "ISTIO_META_NETWORK", "value": "north"},
            {"name": "ISTIO_META_CLUSTER_ID", "value": "east"},
            {"name": "POD_NAME", "valueFrom": {}},
        ]});
        let expected = Injected { cluster_id: "east".to_owned(), network: "north".to_owned(), has_istio_init: false };
        let beside = pod(json!({"containers": [{"name": "probe"}, proxy.clone()]}));
        assert_eq!(Injected::read(&beside), Some(expected.clone()));
        let native = pod(json!({"containers": [{"name": "probe"}], "initContainers": [{"name": "istio-init"}, proxy]}));
        assert_eq!(Injected::read(&native), Some(Injected { has_istio_init: true, ..expected }));
        assert_eq!(Injected::read(&pod(json!({"containers": [{"name": "probe"}]}))), None);
    }

    fn of_shop(spec: Value) -> Object {
        let metadata = json!({
            "name": "cart-7d9-x", "namespace": "shop", "labels": {"pod-template-hash": "7d9", "security.istio.io/tlsMode": "istio"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "cart-7d9", "controller": true, "blockOwnerDeletion": true}],
        });
        Object::new(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})).unwrap()
    }

    #[test]
    fn a_proxy_is_behind_by_image_variables_and_arguments_and_no_value_is_told() {
        let proxy = |image: &str, secret: &str, args: Value| {
            let env = json!([{"name": "SECRET", "value": secret}, {"name": "POD_NAME", "valueFrom": {}}]);
            let pod =
                of_shop(json!({"containers": [{"name": "istio-proxy", "image": image, "args": args, "env": env}]}));
            Proxy::read(&pod).unwrap()
        };
        let today = proxy("proxyv2:2", "a", json!(["proxy"]));
        assert_eq!(today.behind(&today), None);
        let image = proxy("proxyv2:1", "a", json!(["proxy"])).behind(&today).unwrap();
        assert_eq!(image, "the image of its proxy is proxyv2:1, and would be proxyv2:2");
        let variable = proxy("proxyv2:2", "t0ken", json!(["proxy"])).behind(&today).unwrap();
        assert!(variable.contains("another SECRET") && !variable.contains("t0ken"), "{variable}");
        assert!(proxy("proxyv2:2", "a", json!([])).behind(&today).is_some());
    }

    #[test]
    fn the_next_pod_is_made_as_its_controller_would() {
        let workload = Object::new(json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "cart", "namespace": "shop"},
            "spec": {
                "volumeClaimTemplates": [{"metadata": {"name": "data"}}],
                "template": {"metadata": {"labels": {"app": "cart"}}, "spec": {"containers": [], "volumes": [{"name": "own"}]}},
            },
        }));
        let next = next_pod(&workload.unwrap(), &of_shop(json!({})));
        assert_eq!(next.get("metadata.generateName"), Some(&json!("cart-7d9-")));
        assert_eq!(next.get("metadata.labels"), Some(&json!({"app": "cart", "pod-template-hash": "7d9"})));
        assert_eq!(next.get("metadata.ownerReferences.0.blockOwnerDeletion"), None);
        assert_eq!(next.get("metadata.ownerReferences.0.name"), Some(&json!("cart-7d9")));
        let volumes: Vec<_> = next.items("spec.volumes").iter().map(|volume| volume["name"].clone()).collect();
        assert_eq!(volumes, ["own", "data"]);
        assert_eq!(next.get("metadata.name"), None, "a name would be one that is there already");
    }
}
