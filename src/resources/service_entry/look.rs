//! A look at both sides of the border: does the service fit what the exporters really offer, and would this mesh trust
//! it?

use super::Cx;
use super::check::{self, Finding};
use super::model::ServiceEntry;
use super::spec::Spec;
use crate::cluster::Error;
use crate::diag::Diagnostic;
use crate::resources::client;
use crate::resources::parsing::sentence;
use crate::value::Path;

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
        for namespace in [spec.import.namespace.as_str(), "istio-system"] {
            meshes.here = match check::mesh(&cluster, namespace).await {
                Ok(here) => Some(here),
                Err(error) => {
                    cx.warn(unread(spec, &error));
                    None
                }
            };
            if meshes.here.as_ref().is_none_or(|here| here.trust_domain.is_some()) {
                break;
            }
        }
        if meshes.here.is_some() {
            meshes.findings.extend(check::shadow(&cluster, spec).await);
        }
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

/// Without it, the first thing an application team would hear is that the name does not exist.
pub fn unresolved(spec: &Spec) -> Diagnostic {
    Diagnostic::warning(format!("Not every client resolves {}", spec.import.host)).detail(format!(
        "{} is no Service here, so that only proxies which capture DNS know it, and this mesh does not capture by default. Set `ISTIO_META_DNS_CAPTURE = \"true\"` in \
         `meshConfig.defaultConfig.proxyMetadata` of its mesh_primary's `values`, or `stub_service = true` here, or let the clients' Pods capture by annotation.",
        spec.import.host
    ))
}

fn unread(spec: &Spec, error: &Error) -> Diagnostic {
    Diagnostic::warning(format!("The importing mesh of {} could not be checked", spec.import.host))
        .detail(format!(
            "{error}. {} Whether it trusts the exporters, and resolves the name, is not known.",
            error.remedy()
        ))
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
