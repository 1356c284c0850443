//! Whether istiod's webhook injects proxies, and which: a Pod is asked for without storing it.

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
    /// Somebody else refuses the Pod, such as a quota or Pod security: nothing is known of the webhook.
    Undecided,
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
                return Ok(Outcome::Undecided);
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
        let name_of = |container: &Value| container.get("name").and_then(Value::as_str).map(str::to_owned);
        let init = pod.items("spec.initContainers");
        let mut containers = pod.items("spec.containers").iter().chain(init);
        let proxy = containers.find(|container| name_of(container).as_deref() == Some("istio-proxy"))?;
        let env = |name: &str| {
            let entries = proxy.get("env").and_then(Value::as_array).into_iter().flatten();
            let mut named = entries.filter(|entry| entry.get("name").and_then(Value::as_str) == Some(name));
            named.next().and_then(|entry| entry.get("value")?.as_str()).unwrap_or_default().to_owned()
        };
        Some(Injected {
            cluster_id: env("ISTIO_META_CLUSTER_ID"),
            network: env("ISTIO_META_NETWORK"),
            has_istio_init: init.iter().any(|container| name_of(container).as_deref() == Some("istio-init")),
        })
    }
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
}
