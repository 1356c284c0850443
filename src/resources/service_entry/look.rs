//! A look at both sides of the border: does the service fit what the exporters really offer, and would this mesh trust
//! it?

use std::collections::BTreeSet;

use super::Cx;
use super::check::{self, Finding};
use super::model::ServiceEntry;
use super::spec::Spec;
use crate::cluster::{Cluster, Error, Kind, ObjectRef};
use crate::diag::Diagnostic;
use crate::istiod::{Istiod, every_deployment};
use crate::resources::parsing::sentence;
use crate::resources::places::serving;
use crate::resources::{client, policies};
use crate::value::Path;

/// Istio's usual namespace.
const ISTIO_SYSTEM: &str = "istio-system";

/// What was seen on both sides of the border.
pub struct Meshes {
    pub findings: Vec<Finding>,
    /// The importing mesh, if it could be read.
    pub here: Option<check::Mesh>,
}

/// Looks at the importing mesh, and at every exporter that is among the provider's clusters. One that cannot be read is
/// no finding, but is said.
pub async fn look(cx: &mut Cx, model: &ServiceEntry, spec: &Spec) -> Meshes {
    let mut meshes = Meshes { findings: Vec::new(), here: None };
    if let Ok(cluster) = client::cluster(cx, model.cluster.text()) {
        here(cx, &cluster, model, spec, &mut meshes).await;
    }
    for exporter in &spec.exporters {
        let Some(name) = &exporter.cluster else { continue };
        let Ok(there) = client::cluster(cx, name) else { continue };
        match check::exporter(&there, exporter).await {
            Ok(there) => meshes.findings.extend(check::findings(spec, exporter, &there, meshes.here.as_ref())),
            Err(error) => cx.warn(unchecked(spec, &exporter.key, &error)),
        }
    }
    meshes
}

/// Looks at the importing mesh.
async fn here(cx: &mut Cx, cluster: &Cluster, model: &ServiceEntry, spec: &Spec, meshes: &mut Meshes) {
    let own = spec.import.namespace.as_str();
    let mut system = own;
    for namespace in [own, ISTIO_SYSTEM] {
        system = namespace;
        meshes.here = match check::mesh(cluster, namespace).await {
            Ok(here) => Some(here),
            Err(error) => {
                cx.warn(unread(spec, &error, "Whether it trusts the exporters, and resolves the name,"));
                None
            }
        };
        if meshes.here.as_ref().is_none_or(|here| here.trust_domain.is_some()) {
            break;
        }
    }
    match served_by(cx, cluster, own).await {
        Ok(served_by) => meshes.findings.extend(check::unread_here(cluster.name(), &served_by)),
        Err(error) => cx.warn(unread(spec, &error, "Whether an istiod reads what is imported there")),
    }
    if let Some(here) = &meshes.here {
        meshes.findings.extend(check::shadow(cluster, spec, here).await);
        match by_rule(cluster, system, spec, here).await {
            Ok(by_rule) => meshes.findings.extend(check::plain(cluster.name(), spec, here, by_rule)),
            Err(error) => cx.warn(unread(spec, &error, "Whether its proxies call the service by mTLS")),
        }
    }
    let networks = check::networks(model);
    if !networks.is_empty()
        && let Some(known) = known_networks(cx, cluster, own).await
    {
        meshes.findings.extend(check::unknown_networks(cluster, &networks, &known));
    }
}

/// The control planes elsewhere that serve a cluster without an istiod of its own, by its namespace of Istio or by what
/// is declared.
async fn served_by(cx: &Cx, cluster: &Cluster, namespace: &str) -> Result<Vec<String>, Error> {
    let mut named = Vec::new();
    for namespace in BTreeSet::from([namespace, ISTIO_SYSTEM]) {
        let system = cluster.get(&ObjectRef::cluster(Kind::NAMESPACE, namespace)).await?;
        named.extend(system.as_ref().map(serving).unwrap_or_default());
    }
    if named.is_empty() {
        named.extend(cx.client().ok().and_then(|client| client.walk.remote_of(cluster.name())));
    }
    let has_own = !named.is_empty() && !cluster.list(&every_deployment()).await?.is_empty();
    Ok(if has_own { Vec::new() } else { named })
}

/// Whether a rule has proxies that speak plain text use mTLS with the host.
async fn by_rule(cluster: &Cluster, namespace: &str, spec: &Spec, here: &check::Mesh) -> Result<bool, Error> {
    if !here.is_plain {
        return Ok(false);
    }
    Ok(policies::live(cluster, cluster, namespace).await?.is_mutual_with(spec.import.host.as_str()))
}

/// The networks that the importing istiod knows a gateway of, or will know one of by what is declared; `None` where
/// there is nobody to say so.
async fn known_networks(cx: &Cx, cluster: &Cluster, namespace: &str) -> Option<BTreeSet<String>> {
    let mut known = cx.client().ok()?.walk.networks_led_to(cluster.name());
    for namespace in BTreeSet::from([namespace, ISTIO_SYSTEM]) {
        let istiod = Istiod::of(cluster, namespace);
        let replicas = istiod.replicas(None).await.ok()?;
        let Some(replica) = replicas.into_iter().find(|replica| replica.ready) else { continue };
        let page = istiod.debug(&replica, "networkz").await.ok()?;
        let gateways = page.as_array().into_iter().flatten();
        known.extend(gateways.filter_map(|gateway| gateway["Network"].as_str().map(str::to_owned)));
        return Some(known);
    }
    None
}

/// Without it, the first thing an application team would hear is that the name does not exist.
pub fn unresolved(spec: &Spec) -> Diagnostic {
    Diagnostic::warning(format!("Not every client resolves {}", spec.import.host)).detail(format!(
        "{} is no Service here, so that only proxies which capture DNS know it, and this mesh does not capture by default. Set `ISTIO_META_DNS_CAPTURE = \"true\"` in \
         `meshConfig.defaultConfig.proxyMetadata` of its mesh_primary's `values`, or `stub_service = true` here, or let the clients' Pods capture by annotation.",
        spec.import.host
    ))
}

fn unread(spec: &Spec, error: &Error, what: &str) -> Diagnostic {
    Diagnostic::warning(format!("The importing mesh of {} could not be checked", spec.import.host))
        .detail(format!("{error}. {} {what} is not known.", error.remedy()))
        .at("cluster")
}

fn unchecked(spec: &Spec, key: &str, error: &Error) -> Diagnostic {
    Diagnostic::warning(format!("The exporter {key} of {} could not be checked", spec.import.host))
        .detail(format!("{error}. {} Whether SNI, ports and identities fit there is not known.", error.remedy()))
        .at(Path::root("exporters").key(key))
}

/// One warning for all that does not fit, with the host in its summary: of warnings with the same summary, a command
/// line shows the first alone.
pub fn warning(spec: &Spec, findings: &[Finding]) -> Option<Diagnostic> {
    let warning = || Diagnostic::warning(format!("{} does not fit its exporter", spec.import.host));
    match findings {
        [] => None,
        [finding] => Some(warning().detail(sentence(&finding.text)).at(finding.path.clone())),
        several => {
            let lines = several.iter().map(|finding| format!("- {} ({})", sentence(&finding.text), finding.path));
            Some(warning().detail(lines.collect::<Vec<_>>().join("\n")))
        }
    }
}
