//! The modes `remote` and `config`, once the primary watches: its webhook has the primary's authority, and a Pod asked
//! for without storing it comes back with a proxy of this cluster and network. Whoever creates Pods later can rely on
//! both.

use std::time::{Duration, Instant};

use super::build;
use super::spec::{Remote, Spec};
use crate::cluster::{Cluster, Error, Failure, Kind, ObjectRef, wait};
use crate::diag::{Diagnostic, Diagnostics};
use crate::istiod::injection::{self, Injected, Judgement, Outcome, Probe};
use crate::mesh::{Address, Revision};
use crate::resources::unproved;

/// How long the webhook gets to answer once it has its authority.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Kept back from the time allowed, so that it is the webhook that is spoken of and not the time.
const BEFORE_THE_END: Duration = Duration::from_secs(2);

/// Waits until Pods of the cluster are injected by the primary. A warning says what could not be checked.
pub async fn ready(watched: &Cluster, spec: &Spec, deadline: Instant) -> Result<Option<Diagnostic>, Diagnostics> {
    let Some(remote) = &spec.remote else { return Ok(None) };
    let webhooks = ObjectRef::cluster(Kind::MUTATING_WEBHOOK_CONFIGURATION, build::webhooks(spec));
    match watched.wait(&webhooks, &wait::webhook_ca_bundle_set()).await {
        Ok(_) => {}
        Err(error) if matches!(error.failure, Failure::Timeout(_)) => {
            return Err(without_authority(watched, spec, remote, &error).into());
        }
        Err(error) => return Err(error.into()),
    }
    let until = (Instant::now() + ANSWER_WITHIN).min(deadline.checked_sub(BEFORE_THE_END).unwrap_or(deadline));
    injects(watched, spec, remote, until).await
}

fn without_authority(watched: &Cluster, spec: &Spec, remote: &Remote, error: &Error) -> Diagnostic {
    if spec.is_config_cluster() {
        return Diagnostic::error("The control plane has not set up this cluster's webhook").at("watchers").detail(format!(
            "The istiod of the control plane reads cluster {}, but has not put its certificate authority into the injection webhook there: {error}. istiod does so when its revision is {}, and when \
             it is allowed to: its log names what its ServiceAccount {} is denied.",
            watched.name(),
            Revision::label(remote.data_plane.revision.as_ref()),
            spec.reader.service_account,
        ));
    }
    let serving: Vec<&str> = remote.system_namespace.control_planes.iter().map(|name| name.as_str()).collect();
    Diagnostic::error("The primary has not set up this cluster's webhook").at("control_plane").detail(format!(
        "The istiod of the primary reads cluster {}, but has not put its certificate authority into the injection webhook there: {error}. istiod does so when it was installed with \
         `external_istiod = true`, when its own cluster name is {} (the annotation on namespace {} names it), and when its revision is {}.",
        watched.name(),
        serving.join(", "),
        spec.namespace,
        Revision::label(remote.data_plane.revision.as_ref()),
    ))
}

async fn injects(
    watched: &Cluster,
    spec: &Spec,
    remote: &Remote,
    until: Instant,
) -> Result<Option<Diagnostic>, Diagnostics> {
    let probe = Probe {
        namespace: spec.namespace.as_str(),
        service_account: spec.reader.service_account.as_str(),
        revision: remote.data_plane.revision.as_ref(),
    };
    let judge = |injected: &Injected| Judgement::Done(agrees(injected, spec, remote));
    match injection::wait(watched, probe, until, judge).await {
        Ok(Outcome::Done(outcome)) => outcome.map(|()| None),
        Ok(Outcome::Undecided(error)) => Ok(Some(unproved::injection(&error))),
        Ok(Outcome::Late(why)) => Err(unanswered(watched, remote, &why).into()),
        Err(error) => Err(error.into()),
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
        "A Pod created as a dry run in cluster {} was not injected by the control plane behind {address}: {why}. {step}",
        watched.name()
    ))
}

fn agrees(Injected { cluster_id, network, .. }: &Injected, spec: &Spec, remote: &Remote) -> Result<(), Diagnostics> {
    let differs = |what: &str, is: &str, should: &str, path: &str| {
        Err(Diagnostic::error("Injected proxies disagree with the configuration")
            .at(path)
            .detail(format!(
                "A Pod injected in this cluster has the {what} {is:?}, the configuration says {should:?}. Another injector, or an injection template in the `values` of its `mesh_primary`, sets it: remove that, or change this resource to it."
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
