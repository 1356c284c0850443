//! The modes `remote` and `config`, once the primary watches: its webhook has the primary's authority, and a Pod asked for without storing it comes back with a proxy of this cluster
//! and network. Whoever creates Pods later can rely on both.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::build;
use super::spec::{Remote, Spec};
use crate::cluster::{Cluster, Error, Failure, Kind, Object, ObjectRef, wait};
use crate::diag::{Diagnostic, Diagnostics};
use crate::kept::converge;
use crate::mesh::{Address, Revision};

const PAUSE: Duration = Duration::from_millis(400);
/// How long the webhook gets to answer once it has its authority.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Kept back from the time allowed, so that it is the webhook that is spoken of and not the time.
const BEFORE_THE_END: Duration = Duration::from_secs(2);

/// Waits until Pods of the cluster are injected by the primary.
pub async fn ready(watched: &Cluster, spec: &Spec, deadline: Instant) -> Result<(), Diagnostics> {
    let Some(remote) = &spec.remote else { return Ok(()) };
    let webhooks = ObjectRef::cluster(Kind::MUTATING_WEBHOOK_CONFIGURATION, build::webhooks(spec));
    match watched.wait(&webhooks, &wait::webhook_ca_bundle_set()).await {
        Ok(_) => {}
        Err(error) if matches!(error.failure, Failure::Timeout(_)) => {
            return Err(without_authority(watched, spec, remote, &error).into());
        }
        Err(error) => return Err(converge::diagnostic(&error).into()),
    }
    let until = (Instant::now() + ANSWER_WITHIN).min(deadline.checked_sub(BEFORE_THE_END).unwrap_or(deadline));
    injects(watched, spec, remote, until).await
}

fn without_authority(watched: &Cluster, spec: &Spec, remote: &Remote, error: &Error) -> Diagnostic {
    if spec.is_config_cluster() {
        return Diagnostic::error("The control plane has not set up this cluster's webhook").at("watchers").detail(format!(
            "Its istiod reads cluster {}, but has not put its certificate authority into the injection webhook there: {error}. istiod does so when its revision is {}, and when \
             it is allowed to: its log names what its ServiceAccount {} is denied.",
            watched.name(),
            Revision::label(remote.data_plane.revision.as_ref()),
            spec.reader.service_account,
        ));
    }
    let serving: Vec<&str> = remote.system_namespace.control_planes.iter().map(|name| name.as_str()).collect();
    Diagnostic::error("The primary has not set up this cluster's webhook").at("control_plane").detail(format!(
        "Its istiod reads cluster {}, but has not put its certificate authority into the injection webhook there: {error}. istiod does so when it was installed with \
         `external_istiod = true`, when its own cluster name is {} (the annotation on namespace {} names it), and when its revision is {}.",
        watched.name(),
        serving.join(", "),
        spec.namespace,
        Revision::label(remote.data_plane.revision.as_ref()),
    ))
}

async fn injects(watched: &Cluster, spec: &Spec, remote: &Remote, until: Instant) -> Result<(), Diagnostics> {
    let pod = probe(spec, remote);
    let mut last = "the API server did not answer in the time allowed".to_owned();
    loop {
        let Ok(answer) = tokio::time::timeout_at(until.into(), watched.create_dry_run(&pod)).await else {
            return Err(unanswered(watched, remote, &last).into());
        };
        let why = match answer {
            Ok(injected) => match identity(&injected) {
                Some(identity) => return agrees(&identity, spec, remote),
                None => "no webhook injected a proxy".to_owned(),
            },
            Err(error) if refused_by_webhook(&error) => error.to_string(),
            // Quotas, pod security and the like say nothing of the webhook.
            Err(error) if matches!(error.failure, Failure::Api(_) | Failure::Forbidden { .. }) => return Ok(()),
            Err(error) => return Err(converge::diagnostic(&error).into()),
        };
        last = why;
        tokio::time::sleep(PAUSE).await;
    }
}

fn unanswered(watched: &Cluster, remote: &Remote, why: &str) -> Diagnostic {
    let address = &remote.data_plane.istiod;
    let step = match address {
        Address::Ip(_) => {
            "The API server of this cluster calls the webhook through the Service istiod, whose endpoint is that address: do firewalls let it reach port 15017 there, and does the \
             gateway expose the control plane (`expose.control_plane` of its `mesh_eastwest_gateway`), or its load balancer lead there (`expose` of its `mesh_primary`)?"
                .to_owned()
        }
        Address::Hostname(host) => format!(
            "The API server of this cluster calls the webhook by URL, at port 15017 of {host}: does it resolve the name, do firewalls let it pass, does the gateway expose the control \
             plane (`expose.control_plane`), and is the name in istiod's certificate (among `custom_hosts` of the control plane's `mesh_primary`)?"
        ),
    };
    Diagnostic::error("The injection webhook does not answer").at("control_plane_address").detail(format!(
        "A Pod asked for without storing it in cluster {} was not injected by the control plane behind {address}: {why}. {step}",
        watched.name()
    ))
}

fn refused_by_webhook(error: &Error) -> bool {
    matches!(&error.failure, Failure::Api(status) if status.code >= 500 || status.message.contains("webhook"))
}

fn probe(spec: &Spec, remote: &Remote) -> Object {
    let reference = ObjectRef::namespaced(Kind::POD, spec.namespace.as_str(), "terraform-provider-mesh-probe");
    Object::of(&reference)
        .with_label("istio.io/rev", Revision::label(remote.data_plane.revision.as_ref()))
        .with_label("sidecar.istio.io/inject", "true")
        .with("spec", json!({ "serviceAccountName": spec.reader.service_account, "containers": [{ "name": "probe", "image": "probe" }] }))
}

/// What an injected proxy says of itself: cluster id and network.
fn identity(pod: &Object) -> Option<(String, String)> {
    let containers = pod.items("spec.containers").iter().chain(pod.items("spec.initContainers"));
    let proxy =
        containers.into_iter().find(|container| container.get("name").and_then(Json::as_str) == Some("istio-proxy"))?;
    let env = |name: &str| {
        let entries = proxy.get("env").and_then(Json::as_array).into_iter().flatten();
        let mut named = entries.filter(|entry| entry.get("name").and_then(Json::as_str) == Some(name));
        named.next().and_then(|entry| entry.get("value")?.as_str()).unwrap_or_default().to_owned()
    };
    Some((env("ISTIO_META_CLUSTER_ID"), env("ISTIO_META_NETWORK")))
}

fn agrees((cluster_id, network): &(String, String), spec: &Spec, remote: &Remote) -> Result<(), Diagnostics> {
    let differs = |what: &str, is: &str, should: &str, path: &str| {
        Err(Diagnostic::error("Injected proxies disagree with the configuration")
            .at(path)
            .detail(format!(
                "A Pod injected in this cluster has the {what} {is:?}, the configuration says {should:?}. Another injector, or an injection template of the primary, decides otherwise."
            ))
            .into())
    };
    if cluster_id != spec.id.as_str() {
        return differs("cluster id", cluster_id, spec.id.as_str(), "cluster_name");
    }
    match &remote.data_plane.network {
        Some(expected) if network != expected.as_str() => differs("network", network, expected.as_str(), "network"),
        _ => Ok(()),
    }
}
