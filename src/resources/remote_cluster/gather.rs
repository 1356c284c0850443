//! What has to be known of the watched cluster before a remote secret can be written: its API server's address as
//! watchers dial it, and the authority they check it by.

use super::model::RemoteCluster;
use super::secret;
use super::spec::{self, Endpoint, EndpointSpec, Spec};
use crate::cluster::{Cluster, Error, Kind, ObjectRef};
use crate::diag::Diagnostic;
use crate::mesh::{ServerUrl, ServerUrlError};
use crate::resources::parsing::sentence;
use crate::value::Value;

/// The server's address: the user's, or the one this provider itself uses: as the last refresh saw that, if it did
/// (`seen`), and else as it is now. No request is made to find out. `None` while the cluster is not configured yet.
pub async fn server(
    watched: &Cluster,
    spec: &EndpointSpec,
    seen: Option<&str>,
) -> Result<Option<ServerUrl>, Diagnostic> {
    if let Some(server) = &spec.server {
        return Ok(Some(server.clone()));
    }
    let own = match (seen, watched.endpoint()) {
        (Some(seen), _) => seen.to_owned(),
        (None, endpoint) => match endpoint.await {
            Ok(endpoint) => endpoint.server,
            Err(error) if error.is_not_configured() => return Ok(None),
            Err(error) => return Err(error.into()),
        },
    };
    spec::server(&own, spec.allow_loopback).map(Some).map_err(|error| unusable(watched, &error))
}

fn unusable(watched: &Cluster, error: &ServerUrlError) -> Diagnostic {
    Diagnostic::error("Watchers cannot use this address").at("server").detail(format!(
        "{} It is the address that the provider itself uses for cluster {}. Set `server` to the address by which Pods of other clusters reach this API server; for \
         kind, k3d and minikube that is the IP address of the node. Set `allow_loopback_server = true` only if every watching istiod runs as a plain process on this machine.",
        sentence(&error.to_string()),
        watched.name()
    ))
}

/// The authority that Kubernetes itself gives every Pod of the cluster to check its API server by; PEM. It keeps a copy
/// in every namespace. Who may write in a namespace can change the copy there and keep Kubernetes from mending it
/// (`immutable`); in this one only administrators may.
const AUTHORITY_NAMESPACE: &str = "kube-system";
const AUTHORITY: &str = "kube-root-ca.crt";

/// The cluster's own authority; PEM. `None` where the cluster does not publish it.
pub async fn cluster_authority(watched: &Cluster) -> Result<Option<String>, Error> {
    let reference = ObjectRef::namespaced(Kind::CONFIG_MAP, AUTHORITY_NAMESPACE, AUTHORITY);
    let live = watched.get(&reference).await?;
    Ok(live.and_then(|live| live.strings("data").get("ca.crt").map(|pem| (*pem).to_owned())))
}

/// All of it, for a remote secret.
pub async fn endpoint(watched: &Cluster, spec: &EndpointSpec) -> Result<Endpoint, Diagnostic> {
    let server = server(watched, spec, None).await?.ok_or_else(|| {
        Diagnostic::error("The cluster is not configured")
            .at("cluster")
            .detail(format!("The provider's entry for cluster {} names no API server.", watched.name()))
    })?;
    let certificate_authority = match &spec.certificate_authority {
        Some(given) => Some(given.clone()),
        None => match cluster_authority(watched).await.map_err(|error| unreadable(watched, &error))? {
            Some(pem) => Some(pem),
            None => {
                return Err(Diagnostic::error("The cluster's certificate authority is unknown").at("certificate_authority").detail(format!(
                    "There is no ConfigMap {AUTHORITY_NAMESPACE}/{AUTHORITY} in cluster {}, which Kubernetes keeps in every namespace. Set `certificate_authority` to the \
                     certificates that watchers shall check its API server by.",
                    watched.name()
                )));
            }
        },
    };
    Ok(Endpoint {
        server,
        certificate_authority,
        tls_server_name: spec.tls_server_name.clone(),
        proxy_url: spec.proxy_url.clone(),
    })
}

/// Rights of a namespace do not reach to where the authority is read.
fn unreadable(watched: &Cluster, error: &Error) -> Diagnostic {
    let diagnostic = Diagnostic::from(error);
    if !error.is_forbidden() {
        return diagnostic;
    }
    let detail = format!(
        "{}\n\nThe certificate authority of cluster {} is read from the ConfigMap {AUTHORITY_NAMESPACE}/{AUTHORITY}. Allow this identity to get it, or set \
         `certificate_authority`.",
        diagnostic.detail,
        watched.name()
    );
    diagnostic.detail(detail).at("certificate_authority")
}

/// What the plan says of the watched cluster's address and authority must hold when it is applied: nothing is written
/// for another. Returns what was found out for that.
pub async fn refuse_another_endpoint(
    watched: &Cluster,
    spec: &Spec,
    planned: &RemoteCluster,
) -> Result<Option<Endpoint>, Diagnostic> {
    let (server, authority) = (&planned.server_url, &planned.certificate_authority_fingerprint);
    if !server.is_known() && !authority.is_known() {
        return Ok(None);
    }
    // What cannot be found out is said where it is needed.
    let Ok(found) = endpoint(watched, &spec.endpoint).await else { return Ok(None) };
    let seen = found.certificate_authority.as_deref().map(secret::fingerprint);
    let is_other = |planned: &Value<String>, found: Option<&str>| planned.is_known() && planned.as_deref() != found;
    let changed = |what: &str, planned: &Value<String>, found: Option<&str>| {
        Diagnostic::error("The cluster has changed since the plan").detail(format!(
            "The plan would write {what} {} into the remote secrets, but cluster {name} has {} by now. Nothing was written. Check the entry {name:?} in `clusters` of the provider block. If what it leads to is right, and you know who has changed it, plan again and apply.",
            planned.text(),
            found.unwrap_or("none"),
            name = watched.name()
        ))
    };
    if is_other(server, Some(found.server.as_str())) {
        return Err(changed("the address", server, Some(found.server.as_str())).at("server"));
    }
    if is_other(authority, seen.as_deref()) {
        return Err(changed("the certificate authority", authority, seen.as_deref()).at("certificate_authority"));
    }
    Ok(Some(found))
}
