//! What a gateway tells the other resources of a plan, and what they contradict.

use super::spec::Spec;
use super::{Cx, Gateway, build};
use crate::diag::{Diagnostic, Diagnostics};
use crate::engine::Plan;
use crate::mesh::DeclaredGateway;
use crate::resources::{absent, discovery};

/// What other resources contradict, and what is missing.
pub async fn declare(cx: &mut Cx, plan: &Plan<'_, Gateway>, spec: &Spec) -> Result<(), Diagnostics> {
    let id = plan.planned.id.text();
    let declared = DeclaredGateway {
        cluster: plan.planned.cluster.text().to_owned(),
        name: spec.name.clone(),
        network: spec.gateway.network.to_string(),
        selector: build::pods_label(spec).to_owned(),
        is_ambient: spec.ambient,
        exposes_services: spec.exposure.hosts.is_some(),
        stands: plan.prior.is_some(),
        revision: spec.gateway.revision.as_ref().map(ToString::to_string),
        exposes_istiod_of: spec.exposure.control_plane.as_ref().map(ToString::to_string),
    };
    let mut found = cx.client()?.walk.gateway(id, declared);
    found.check()?;
    found.extend(left_out(cx, plan, spec).await);
    found.into_iter().chain(spec.unmatched_hosts()).for_each(|warning| cx.warn(warning));
    absent::tell(cx, id).await?;
    Ok(())
}

/// A namespace that istiods do not look into. The plan before an apply has told it.
async fn left_out(cx: &Cx, plan: &Plan<'_, Gateway>, spec: &Spec) -> Option<Diagnostic> {
    let cluster = plan.planned.cluster.text();
    let namespace = discovery::Namespace { cluster, name: spec.namespace.as_str(), given: &[] };
    let discovering = cx.client().ok()?.walk.discovering(cluster, namespace.name);
    for selectors in discovering.iter().filter(|_| !cx.is_changing()) {
        if discovery::is_left_out(cx, selectors, namespace).await {
            return Some(discovery::of_gateway(namespace, &spec.name));
        }
    }
    None
}
