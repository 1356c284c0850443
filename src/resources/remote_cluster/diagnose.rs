//! Why a watcher is not in sync: the layer that failed, and the next step. istiod itself tells only that it is not; so
//! the same address, authority and token are tried from here, and what here and there have in common is told apart from
//! what only the watcher's network can know.

use std::time::Duration;

use super::spec::{Endpoint, EndpointSpec, Spec};
use crate::cluster::{Access, Cluster, ClusterConfig, Error, Layer, Scope, Secret};
use crate::diag::Diagnostic;
use crate::istiod::{self, ReplicaView, Verdict};
use crate::mesh::{RemoteSecret, Token};

const PROBE_WITHIN: Duration = Duration::from_secs(6);
const GREETING_WITHIN: Duration = Duration::from_secs(3);

/// A watcher that is not in sync.
#[derive(Clone, Copy)]
pub struct Case<'a> {
    pub watched: &'a Cluster,
    pub watcher: &'a Cluster,
    pub spec: &'a Spec,
    pub remote: &'a RemoteSecret,
    /// `namespace/name`
    pub secret: &'a str,
    pub views: &'a [ReplicaView],
    pub verdict: Verdict,
}

/// istiods that cannot be asked at all.
pub fn unasked(watcher: &Cluster, error: &Error) -> Diagnostic {
    Diagnostic::error("The watcher's istiod cannot be asked").at("watchers").detail(format!(
        "The remote secret is written, but it is not known whether the istiods of cluster {} read the cluster: {error}. {} Set `wait = false` to continue without knowing.",
        watcher.name(),
        error.remedy()
    ))
}

/// What waiting does not change.
pub fn hopeless(case: &Case<'_>, long_enough: bool) -> Option<Diagnostic> {
    let id = &case.spec.id;
    let watcher = case.watcher.name();
    if case.verdict == Verdict::Foreign && long_enough {
        let other = istiod::other_secret(case.views, id.as_str(), case.secret).unwrap_or_default();
        return Some(Diagnostic::error("The cluster is registered from another secret").at("watchers").detail(format!(
            "The istiods of cluster {watcher} know {id} from the Secret {other} and ignore {} for it. Remove the other one, or import it.",
            case.secret
        )));
    }
    if case.views.is_empty() && long_enough {
        return Some(Diagnostic::error("The watcher has no istiod").at("watchers").detail(format!(
            "No istiod runs in namespace {} of cluster {watcher}. Refer to its `mesh_primary` in `watchers`, so that the control plane is there first.",
            case.spec.namespace
        )));
    }
    if case.verdict == Verdict::Missing && long_enough {
        return Some(Diagnostic::error("The watcher's istiod ignores the remote secret").at("watchers").detail(format!(
            "{} An istiod lists a cluster as soon as it sees its Secret. One that had to drop a cluster it never reached (after a wrong address, say) may handle no \
             further Secret: restart it, with `kubectl -n {} rollout restart deployment -l app=istiod` in cluster {watcher}, and apply again. Otherwise its log says why it refuses the Secret.",
            said(case),
            case.spec.namespace
        )));
    }
    // One replica that may not be asked is enough: what it does not say is not known.
    let forbidden =
        case.views.iter().filter_map(|view| view.clusters.as_ref().err()).find(|error| error.is_forbidden())?;
    Some(Diagnostic::error("Not allowed to query the watcher's istiod").at("watchers").detail(format!(
        "The remote secret is written, but it is not known whether the istiods of cluster {watcher} read {id}: {forbidden}. Grant the provider's identity `get` and `create` on \
         `pods/portforward` (or `pods/exec`) in namespace {}, or set `wait = false` to continue without knowing.",
        case.spec.namespace
    )))
}

/// A certificate that no watcher would accept, found before one is told of the cluster: an istiod whose first try at a
/// cluster fails can be left unable to take a corrected secret until it restarts (seen with Istio 1.31). That nothing
/// answers here says nothing: other networks may reach what this one cannot.
pub async fn refused_before(watched: &Cluster, said: &EndpointSpec, endpoint: &Endpoint) -> Option<Diagnostic> {
    let cluster = there(watched, endpoint);
    // Whoever is asked answers, were it with a refusal, once the handshake is done.
    let error = cluster.whoami().await.err().filter(|error| error.layer() == Layer::Tls)?;
    let (what, path, step) = explained(&error, said);
    Some(
        Diagnostic::error("Watchers would not trust this API server")
            .at(path)
            .detail(format!("Tried from here as the watchers will, {what} ({}): {error}. {step}", endpoint.server)),
    )
}

/// The same for a token that was made by the watched cluster and is refused by whoever answers at the address the user
/// gave.
pub async fn token_refused(
    watched: &Cluster,
    said: &EndpointSpec,
    endpoint: &Endpoint,
    token: &Token,
) -> Option<Diagnostic> {
    let cluster = there(watched, endpoint).with_token(Secret::new(token.reveal()));
    let error = cluster.whoami().await.err().filter(|error| error.layer() == Layer::Authentication)?;
    let (what, path, step) = explained(&error, said);
    Some(Diagnostic::error("This is not the watched cluster's API server").at(path).detail(format!(
        "Tried from here as the watchers will, {what} ({}), which cluster {} has just issued: {error}. {step}",
        endpoint.server,
        watched.name()
    )))
}

/// The API server as the watchers will dial it, without a credential.
fn there(watched: &Cluster, endpoint: &Endpoint) -> Cluster {
    let config = ClusterConfig {
        host: Some(endpoint.server.as_str().to_owned()),
        cluster_ca_certificate: endpoint.certificate_authority.clone(),
        tls_server_name: endpoint.tls_server_name.clone(),
        proxy_url: endpoint.proxy_url.clone(),
        ..ClusterConfig::default()
    };
    let cluster = Cluster::standalone(watched.name(), config, env!("CARGO_PKG_VERSION"));
    cluster.within(Scope::lasting(GREETING_WITHIN, Default::default()))
}

/// A refusal that the watcher meets like we do: waiting for it is in vain.
pub async fn refused_here(case: &Case<'_>) -> Option<Diagnostic> {
    match probe(case).await {
        Probe::Failed(error) if matches!(error.layer(), Layer::Tls | Layer::Authentication | Layer::Authorization) => {
            Some(failed_here(case, &error))
        }
        Probe::Denied(rights) => Some(denied(case, &rights)),
        _ => None,
    }
}

/// The time is over.
pub async fn not_in_sync(case: &Case<'_>) -> Diagnostic {
    match probe(case).await {
        Probe::Failed(error) => failed_here(case, &error),
        Probe::Denied(rights) => denied(case, &rights),
        Probe::Works => Diagnostic::error(summary(case)).at("watchers").detail(format!(
            "{} From here the same address, certificate authority and token work. So look at what lies between the istiod Pods of cluster {} and {}: does that name mean \
             the same there, and do firewalls and network policies let them pass? istiod's log names the error.",
            said(case),
            case.watcher.name(),
            case.remote.server
        )),
    }
}

enum Probe {
    Works,
    /// Rights that the reader lacks.
    Denied(Vec<String>),
    Failed(Error),
}

/// Uses the remote secret from here.
async fn probe(case: &Case<'_>) -> Probe {
    let config =
        ClusterConfig { config: Some(Secret::new(case.remote.kubeconfig().as_str())), ..ClusterConfig::default() };
    let cluster = Cluster::standalone(case.watched.name(), config, env!("CARGO_PKG_VERSION"));
    let cluster = cluster.within(Scope::lasting(PROBE_WITHIN, Default::default()));
    if let Err(error) = cluster.whoami().await {
        return Probe::Failed(error);
    }
    let mut denied = Vec::new();
    for (group, resource) in needed(case.spec) {
        let access =
            Access { verb: "list".into(), group: group.into(), resource: resource.into(), ..Access::default() };
        match cluster.may(&access).await {
            Ok(answer) if !answer.allowed => denied.push(resource.to_owned()),
            Ok(_) => {}
            Err(error) => return Probe::Failed(error),
        }
    }
    if denied.is_empty() { Probe::Works } else { Probe::Denied(denied) }
}

/// What istiod must list before it calls a cluster synced.
fn needed(spec: &Spec) -> Vec<(&'static str, &'static str)> {
    let mut needed = vec![
        ("", "namespaces"),
        ("", "pods"),
        ("", "services"),
        ("", "nodes"),
        ("discovery.k8s.io", "endpointslices"),
        ("apiextensions.k8s.io", "customresourcedefinitions"),
    ];
    if spec.reader.read_secrets {
        needed.push(("", "secrets"));
    }
    needed
}

fn failed_here(case: &Case<'_>, error: &Error) -> Diagnostic {
    let server = &case.remote.server;
    let (what, path, step) = explained(error, &case.spec.endpoint);
    Diagnostic::error(summary(case)).at(path).detail(format!(
        "{} Tried from here with the same remote secret, {what} ({server}): {error}. {step}",
        said(case)
    ))
}

/// What the layer's failure means, the attribute that mends it, and how.
fn explained(error: &Error, said: &EndpointSpec) -> (&'static str, &'static str, &'static str) {
    match error.layer() {
        Layer::Dns => (
            "the name of the API server cannot be resolved",
            "server",
            "Set `server` to an address that the watchers know.",
        ),
        Layer::Tcp | Layer::Proxy => (
            "the API server cannot be reached",
            "server",
            "Set `server` to an address that the istiod Pods of the watchers reach, and check firewalls between them. (It may be right all the same, where only they can reach it.)",
        ),
        Layer::Tls => (
            "the API server's certificate is not accepted",
            // What the user gave is more likely wrong than what the cluster says of itself.
            match said {
                EndpointSpec { certificate_authority: Some(_), .. } => "certificate_authority",
                EndpointSpec { tls_server_name: Some(_), .. } => "tls_server_name",
                EndpointSpec { server: Some(_), .. } => "server",
                _ => "certificate_authority",
            },
            "If another cluster, or a proxy that ends TLS, is at this address, set `server` to this cluster's own. Otherwise set `certificate_authority` to the certificates that signed what \
             the server presents there, and `tls_server_name` if its certificate carries another name.",
        ),
        Layer::Authentication => (
            "the API server does not accept the reader's token",
            "server",
            "Is another cluster, or a proxy with logins of its own, at this address?",
        ),
        Layer::Authorization => (
            "the API server denies the reader what it asks",
            "service_account",
            "Another authorizer than RBAC seems to refuse it: look at the configuration of the API server.",
        ),
        _ => (
            "the API server does not answer as one should",
            "server",
            "Check that the address is that of a Kubernetes API server.",
        ),
    }
}

fn denied(case: &Case<'_>, rights: &[String]) -> Diagnostic {
    Diagnostic::error(summary(case)).at("service_account").detail(format!(
        "{} The reader is not allowed to list {} in cluster {}, without which istiod is never in sync. Is its ClusterRole as this resource made it, and does RBAC decide in this cluster?",
        said(case),
        rights.join(", "),
        case.watched.name()
    ))
}

fn summary(case: &Case<'_>) -> String {
    format!("{} does not read {}", case.watcher.name(), case.spec.id)
}

fn said(case: &Case<'_>) -> String {
    let each = case.views.iter().map(|view| {
        let said = match &view.clusters {
            Ok(_) => {
                istiod::verdict(std::slice::from_ref(view), case.spec.id.as_str(), case.secret).as_str().to_owned()
            }
            Err(error) => format!("no answer ({error})"),
        };
        format!("{}: {said}", view.replica.pod)
    });
    let each: Vec<String> = each.collect();
    let hint = match case.verdict {
        Verdict::Missing => {
            " A replica that does not know the cluster has not seen the Secret, or refused its content, or is stuck with what it said before; its log says why."
        }
        _ => "",
    };
    format!("The istiods of cluster {} report about {}: {}.{hint}", case.watcher.name(), case.spec.id, each.join(", "))
}
