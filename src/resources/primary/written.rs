//! What a control plane writes, for the page that lists it.

use super::build::{self, CNI_RELEASE, Releases, ZTUNNEL_RELEASE};
use super::spec::Spec;
use super::{Primary, charts_of};
use crate::diag::Diagnostics;
use crate::istiod::BASE_RELEASE;
use crate::kept::{namespace, render};
use crate::resources::charts::{Store, Version};
use crate::resources::keeping;
use crate::resources::parsing;
use crate::resources::written::Written;

pub async fn written(planned: &Primary, store: &Store) -> Result<Written, Diagnostics> {
    let spec = parsing::complete(Spec::parse(planned)?)?;
    let charts = charts_of(store, planned, spec.install_base, Version::default()).await.map_err(Diagnostics::from)?;
    let wanted = build::wanted(&spec, &charts, &Releases::default()).map_err(|error| render::diagnostic(&error))?;
    let (label, cluster) = (spec.owner(), planned.cluster.text());
    let mut written = Written::default();
    written.keep(cluster, &wanted);
    written.claim(cluster, keeping::place(planned, &label))?;
    if let Some(agents) = super::agents_elsewhere(&spec) {
        written.add(cluster, namespace::for_agents(agents, &label))?;
    }
    if let Some(base) = charts.base.as_ref().filter(|_| spec.install_base) {
        written.give(base, BASE_RELEASE, &spec.base_values);
    }
    written.give(&charts.istiod, &spec.release(), &spec.istiod_values);
    if let (Some(agents), Some(values)) = (&charts.agents, &spec.agents) {
        written.give(&agents.cni, CNI_RELEASE, &values.cni);
        if let (Some(ztunnel), Some(values)) = (&agents.ztunnel, &values.ztunnel) {
            written.give(ztunnel, ZTUNNEL_RELEASE, values);
        }
    }
    Ok(written)
}
