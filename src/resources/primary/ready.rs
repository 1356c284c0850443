//! Before and after an apply: is the cluster's root the one expected, is istiod available, does its webhook answer?

use std::time::{Duration, Instant};

use serde_json::Value as Json;

use super::model::{Primary, Status};
use super::spec::Spec;
use super::values;
use crate::cluster::{Cluster, Kind, Object, ObjectRef, wait};
use crate::diag::{Diagnostic, Diagnostics};
use crate::istiod::injection::{self, Injected, Judgement, Outcome, Probe};
use crate::istiod::{HANDED_OUT, cacerts, roots_of};
use crate::kept::objects::Wanted;
use crate::mesh::{Revision, istiod_name_of};
use crate::pki::{Certificate, Fingerprint};
use crate::resources::unproved;
use crate::value::{Path, Value};

/// Kept back from the time allowed, so that it is the webhook that is spoken of and not the time.
const BEFORE_THE_END: Duration = Duration::from_secs(2);
/// Kept back of the time allowed, to say which roots were seen last.
const MARGIN: Duration = Duration::from_secs(10);
/// How often it is looked which roots workloads are given.
const PAUSE: Duration = Duration::from_millis(500);
/// How long istiod may take to read what it injects by after a change of its ConfigMap: a kubelet brings it within a
/// minute or so.
const REREADS_WITHIN: Duration = Duration::from_secs(120);

/// Refuses to start istiod under a root other than the one expected: a mesh of two roots is two meshes.
pub async fn check_trust_root(cluster: &Cluster, spec: &Spec) -> Result<(), Diagnostics> {
    let Some(expected) = &spec.trust_root else { return Ok(()) };
    let signs = !values::leaves_signing_to_others(&spec.istiod_values);
    let reference = match signs {
        true => ObjectRef::namespaced(Kind::SECRET, spec.control_plane.namespace.as_str(), "cacerts"),
        false => handed_out(spec),
    };
    let found = cluster.get(&reference).await?;
    let why = misses(&reference, found.as_ref(), expected);
    let remedy = match (signs, &found) {
        (true, None) => {
            "istiod would sign with a root of its own. Let a `mesh_ca` with this cluster among its `clusters` make it first."
        }
        (true, Some(_)) => "Give this cluster an intermediate of the expected root before its istiod starts.",
        (false, _) => {
            "By `ENABLE_CA_SERVER` in `values`, istiod leaves signing to another CA, such as istio-csr: let that hand out the expected root first, or correct `trust_root`."
        }
    };
    why.map_or(Ok(()), |why| {
        Err(Diagnostic::error("The cluster does not hold the expected root")
            .detail(format!("{why} {remedy}"))
            .at(Path::root("trust_root"))
            .into())
    })
}

/// By which roots are handed out to workloads, whoever signs.
fn handed_out(spec: &Spec) -> ObjectRef {
    ObjectRef::namespaced(Kind::CONFIG_MAP, spec.control_plane.namespace.as_str(), HANDED_OUT)
}

/// Why the expected root is not among those of the Secret or ConfigMap.
fn misses(reference: &ObjectRef, found: Option<&Object>, expected: &Fingerprint) -> Option<String> {
    let Some(found) = found else { return Some(format!("{reference} does not exist.")) };
    let roots = match found.kind() {
        "Secret" => roots(found),
        _ => roots_of(found).unwrap_or_default().fingerprints(),
    };
    if roots.contains(expected) {
        return None;
    }
    let shown: Vec<String> = roots.iter().map(ToString::to_string).collect();
    let shown = if shown.is_empty() { "(none)".to_owned() } else { shown.join(", ") };
    Some(format!("{reference} holds the roots {shown}, expected is {expected}."))
}

/// Fingerprints of the root certificates, in the form of the Secret that istiod reads.
pub fn roots(secret: &Object) -> Vec<Fingerprint> {
    cacerts::roots(secret).iter().map(Certificate::fingerprint).collect()
}

/// Waits until the expected root is what workloads are given. An istiod that was there before may go on with another:
/// it reads some forms of `cacerts` only at its start. Where its namespace is given none, as `discoverySelectors` can
/// have it, nothing is known.
async fn hands_out_root(cluster: &Cluster, spec: &Spec) -> Result<(), Diagnostics> {
    let Some(expected) = &spec.trust_root else { return Ok(()) };
    let (reference, since) = (handed_out(spec), Instant::now());
    loop {
        let found = cluster.get(&reference).await?;
        let Some(why) = found.as_ref().and_then(|found| misses(&reference, Some(found), expected)) else {
            return Ok(());
        };
        let time_left = cluster.scope().deadline.map(|end| end.into_std().saturating_duration_since(Instant::now()));
        if since.elapsed() >= REREADS_WITHIN || time_left.is_some_and(|left| left < MARGIN) {
            let signs = !values::leaves_signing_to_others(&spec.istiod_values);
            let remedy = match signs {
                true => {
                    "An istiod that was there before has not taken the change: its log says why. Restart it: it then reads `cacerts` again."
                }
                false => "Look at the CA that signs.",
            };
            return Err(Diagnostic::error("Workloads are given another root")
                .detail(format!("{why} {remedy} Until then workloads of this cluster and those of the expected root refuse each other."))
                .at(Path::root("trust_root"))
                .into());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits until istiod is available, its webhook injects with the cluster's name and network, and ambient's agents run
/// on every node.
///
/// Beside the status comes a warning of what could not be checked.
pub async fn wait(
    cluster: &Cluster,
    spec: &Spec,
    wanted: &Wanted,
) -> Result<(Status, Option<Diagnostic>), Diagnostics> {
    let revision = spec.control_plane.revision.as_ref().map(Revision::as_str);
    let namespace = spec.control_plane.namespace.as_str();
    let reference = ObjectRef::namespaced(Kind::DEPLOYMENT, namespace, istiod_name_of(revision));
    if spec.control_plane.is_external {
        // It starts when the `mesh_remote_cluster` of its configuration cluster, which comes after it, has brought the
        // kubeconfig.
        return Ok((status(cluster.get(&reference).await?.as_ref()), None));
    }
    let deployment = cluster.wait(&reference, &wait::deployment_available()).await?;
    let unproved = injects(cluster, spec).await?;
    hands_out_root(cluster, spec).await?;
    for (_, agent) in wanted.iter().filter(|(_, entry)| entry.reference.kind == Kind::DAEMON_SET) {
        cluster.wait(&agent.reference, &wait::daemon_set_available()).await?;
    }
    Ok((status(deployment.as_ref()), unproved))
}

/// Waits until istiod's webhook makes a proxy of this cluster and network of a Pod.
async fn injects(cluster: &Cluster, spec: &Spec) -> Result<Option<Diagnostic>, Diagnostics> {
    let wanted = &spec.control_plane;
    let release = spec.release();
    let probe =
        Probe { namespace: wanted.namespace.as_str(), service_account: &release, revision: wanted.revision.as_ref() };
    let deadline = cluster.scope().deadline.map(Instant::from);
    let until = deadline.and_then(|deadline| deadline.checked_sub(BEFORE_THE_END));
    let mut disagrees: Option<(Instant, Diagnostic)> = None;
    let judge = |injected: &Injected| {
        // istiod reads its injection template anew some time after it was changed.
        if let Some(why) = wrong_init(injected, spec) {
            return Judgement::Again(why.to_owned());
        }
        // An istiod that was there before goes by its old configuration for a moment.
        let Err(difference) = agrees(injected, spec) else { return Judgement::Done(Ok(())) };
        let since = disagrees.as_ref().map_or_else(Instant::now, |(since, _)| *since);
        if since.elapsed() >= REREADS_WITHIN {
            return Judgement::Done(Err(difference));
        }
        let why = difference.summary.clone();
        disagrees = Some((since, difference));
        Judgement::Again(why)
    };
    let until = until.unwrap_or_else(|| Instant::now() + REREADS_WITHIN * 2);
    match injection::wait(cluster, probe, until, judge).await {
        Ok(Outcome::Done(outcome)) => outcome.map(|()| None).map_err(Into::into),
        Ok(Outcome::Undecided(error)) => Ok(Some(unproved::injection(&error))),
        Ok(Outcome::Late(why)) => {
            Err(disagrees.map_or_else(|| unanswered(cluster, &why), |(_, difference)| difference).into())
        }
        Err(error) => Err(error.into()),
    }
}

fn unanswered(cluster: &Cluster, why: &str) -> Diagnostic {
    Diagnostic::error("The injection webhook does not answer").detail(format!(
        "istiod is available in cluster {}, but a Pod created as a dry run was not injected as it should be: {why}. Check that the API server \
         reaches port 15017 of istiod's Pods.",
        cluster.name()
    ))
}

/// Why a Pod sets up its network itself where the node agent is to, or the other way round. An injection template of
/// the user's decides for itself.
fn wrong_init(injected: &Injected, spec: &Spec) -> Option<&'static str> {
    let values = spec.istiod_values.as_map();
    let has_own_templates = values
        .get("sidecarInjectorWebhook")
        .and_then(|webhook| webhook.get("templates"))
        .is_some_and(|own| !own.is_null());
    if has_own_templates || spec.control_plane.ambient {
        return None;
    }
    match (injected.has_istio_init, values::leaves_network_to_cni(&spec.istiod_values)) {
        (true, true) => Some("it still has the init container istio-init, although the node agent is there"),
        (false, false) => Some("it has no init container istio-init, although there is no node agent"),
        _ => None,
    }
}

fn agrees(Injected { cluster_id, network, .. }: &Injected, spec: &Spec) -> Result<(), Diagnostic> {
    let wanted = &spec.control_plane;
    let expected = wanted.network.as_ref().map_or("", |network| network.as_str());
    let differs = |what: &str, is: &str, should: &str, path: &str| {
        let diagnostic = Diagnostic::error("Injected proxies disagree with the configuration").detail(format!(
            "A Pod injected by this istiod has the {what} {is:?}, the configuration says {should:?}, and {} seconds of waiting have not changed that. Another injector, or an injection template in `values`, sets it; or istiod cannot read its ConfigMaps: look at its log.",
            REREADS_WITHIN.as_secs()
        ));
        Err(diagnostic.at(Path::root(path)))
    };
    if cluster_id != wanted.cluster.as_str() {
        return differs("cluster id", cluster_id, wanted.cluster.as_str(), "cluster_name");
    }
    if !expected.is_empty() && network != expected {
        return differs("network", network, expected, "network");
    }
    Ok(())
}

/// The Deployment of the control plane that state describes.
pub fn deployment(model: &Primary) -> Option<ObjectRef> {
    let namespace = model.namespace.known()?;
    Some(ObjectRef::namespaced(Kind::DEPLOYMENT, namespace.as_str(), istiod_name_of(model.revision.as_deref())))
}

/// The status after an apply, so far as a plan can tell it. An istiod that a refresh found on its way is not changed
/// for that alone; but an apply that has another reason waits for it.
pub fn planned(prior: Option<&Primary>, planned: &Primary) -> Value<Status> {
    let Some(prior) = prior else { return Value::Unknown };
    let same = prior.objects == planned.objects;
    let is_available = prior.status.known().and_then(|status| status.available.get()) == Some(true);
    let is_untouched = *prior == Primary { status: prior.status.clone(), ..planned.clone() };
    if is_untouched || same && is_available { prior.status.clone() } else { Value::Unknown }
}

/// A control plane that a refresh finds without a Pod, or with a rollout that is stuck: no field of it differs, and
/// nothing works.
pub fn at_fault(model: &Primary, istiod: &Object) -> Option<Diagnostic> {
    let count = |path: &str| istiod.get(path).and_then(Json::as_i64);
    let condition = |name: &str, bad: bool| {
        let found = istiod.condition(name).filter(|condition| condition.is_true() == bad)?;
        Some(format!("{}: {}", found.reason, found.message))
    };
    let (what, next) = if count("spec.replicas") == Some(0) {
        let (namespace, name) = (istiod.namespace().unwrap_or_default(), istiod.name());
        let scale = format!("kubectl --namespace {namespace} scale deployment {name} --replicas=1");
        (
            "it is scaled to no replica".to_owned(),
            format!("No apply changes the number of replicas, since an autoscaler may set it: run `{scale}`."),
        )
    } else {
        let stuck = condition("ReplicaFailure", true).or_else(|| condition("Progressing", false));
        let none =
            || (count("status.availableReplicas").unwrap_or(0) == 0).then(|| "no replica is available".to_owned());
        (stuck.or_else(none)?, "Look at its Pods and their events.".to_owned())
    };
    let reference = istiod.reference_as(Kind::DEPLOYMENT);
    Some(Diagnostic::warning(format!("The istiod of {} does not run", model.id.text())).detail(format!(
        "{reference} in cluster {}: {what}. Running proxies keep the configuration that they have. New ones get no configuration and no certificate, and Pods may start without a sidecar or not at all. An apply that changes this control plane waits until it runs. {next}",
        model.cluster.text()
    )))
}

pub fn status(deployment: Option<&Object>) -> Status {
    let available = wait::deployment_available().check(deployment) == wait::Verdict::Ready;
    let image = deployment.map(|deployment| deployment.str("spec.template.spec.containers.0.image").to_owned());
    Status { available: available.into(), image: image.into() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(available: bool) -> Primary {
        let status = Status { available: available.into(), image: "pilot:1.31.0".to_owned().into() };
        Primary { status: status.into(), adopt: false.into(), ..Primary::default() }
    }

    /// As cert-manager writes it, what istiod prefers counts; as istio-csr leaves it, what workloads are given.
    #[test]
    fn the_root_that_istiod_hands_out_counts_in_whatever_form_it_is_there() {
        use crate::pki::{KeyAlgorithm, PrivateKey, RootRequest, Serial, Subject, Validity};
        let now = time::OffsetDateTime::UNIX_EPOCH;
        let root = |name: &str| {
            let request = RootRequest {
                subject: Subject { organization: None, common_name: name.into(), locality: None },
                validity: Validity { not_before: now, not_after: now + time::Duration::days(9) },
                serial: Serial::from_random([1; 16]),
            };
            request.self_sign(&PrivateKey::generate(KeyAlgorithm::EcdsaP256).expect("a key")).expect("a root")
        };
        let (one, other) = (root("one"), root("other"));
        let object = |kind: &str, data: Json| {
            let metadata = json!({"name": "a", "namespace": "istio-system"});
            Object::new(json!({"apiVersion": "v1", "kind": kind, "metadata": metadata, "data": data}))
                .expect("an object")
        };
        let encoded = |text: String| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
        let plain = encoded(format!("with a comment\n{}", one.to_pem()));
        let reference = ObjectRef::namespaced(Kind::SECRET, "istio-system", "a");
        let misses = |object: Option<&Object>| misses(&reference, object, &one.fingerprint());
        assert_eq!(misses(Some(&object("Secret", json!({"root-cert.pem": plain})))), None);
        let tls =
            |root: &Certificate| json!({"tls.crt": "eA==", "ca.crt": encoded(root.to_pem()), "root-cert.pem": plain});
        assert_eq!(misses(Some(&object("Secret", tls(&one)))), None);
        let why = misses(Some(&object("Secret", tls(&other)))).unwrap_or_default();
        assert!(why.contains(&format!("holds the roots {}", other.fingerprint())), "{why}");
        assert_eq!(misses(Some(&object("ConfigMap", json!({"root-cert.pem": one.to_pem()})))), None);
        assert!(misses(Some(&object("ConfigMap", json!({})))).is_some_and(|why| why.contains("(none)")));
        assert!(misses(None).is_some_and(|why| why.contains("does not exist")));
        let values = |text: &str| crate::chart::Values::from_yaml(text).expect("values");
        assert!(values::leaves_signing_to_others(&values("pilot: {env: {ENABLE_CA_SERVER: 'false'}}")));
        assert!(!values::leaves_signing_to_others(&values("pilot: {env: {ENABLE_CA_SERVER: 'true'}}")));
        assert!(!values::leaves_signing_to_others(&values("{}")));
    }

    #[test]
    fn an_istiod_without_a_pod_and_a_stuck_rollout_are_told() {
        let istiod = |replicas: i64, available: i64, conditions: Json| {
            Object::new(json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "istiod", "namespace": "istio-system"},
                "spec": {"replicas": replicas}, "status": {"availableReplicas": available, "conditions": conditions}}))
            .expect("an object")
        };
        let told = |istiod: &Object| at_fault(&seen(true), istiod).map(|told| told.detail);
        let progressing = |status: &str| json!([{"type": "Progressing", "status": status, "reason": "ProgressDeadlineExceeded", "message": "has timed out"}]);
        assert_eq!(told(&istiod(2, 2, progressing("True"))), None);
        assert_eq!(told(&istiod(2, 1, progressing("True"))), None, "on its way");
        assert!(told(&istiod(0, 0, json!([]))).unwrap().contains("scale deployment istiod --replicas=1"));
        assert!(told(&istiod(1, 0, json!([]))).unwrap().contains("no replica is available"));
        assert!(told(&istiod(2, 1, progressing("False"))).unwrap().contains("ProgressDeadlineExceeded: has timed out"));
        let quota = json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota"}]);
        assert!(told(&istiod(2, 1, quota)).unwrap().contains("exceeded quota"));
    }

    #[test]
    fn a_plan_promises_no_status_that_the_apply_waits_to_change() {
        let changed = |prior: &Primary| Primary { adopt: true.into(), ..prior.clone() };
        for (prior, plans_status) in [(seen(true), true), (seen(false), false)] {
            assert_eq!(planned(Some(&prior), &prior), prior.status, "an istiod on its way is nothing to do");
            assert_eq!(planned(Some(&prior), &changed(&prior)).is_known(), plans_status);
        }
        assert!(planned(None, &seen(true)).is_unknown());
    }
}
