//! From a spec and charts to the objects wanted. Pure; what can fail here is the chart, with the values given to it.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::gateway_api;
use super::spec::Spec;
use super::values;
use crate::chart::{Asks, Chart};
use crate::cluster::{Kind, Object, ObjectRef};
use crate::istiod::BASE_RELEASE;
use crate::kept::objects::{Entry, Wanted};
use crate::kept::render::{self, Error, Rendering};
use crate::kept::told::Answers;
use crate::mesh::{self, NETWORK_LABEL};

/// The releases of ambient's charts, as Istio's documentation calls them.
pub const CNI_RELEASE: &str = "istio-cni";
pub const ZTUNNEL_RELEASE: &str = "ztunnel";

/// The charts of one version of Istio.
#[derive(Clone, Debug)]
pub struct Charts {
    /// `None` where this control plane neither installs the shared objects nor has them from before.
    pub base: Option<Arc<Chart>>,
    pub istiod: Arc<Chart>,
    /// The node agents; `None` where there are none.
    pub agents: Option<Agents>,
    /// The definitions of the Gateway API, where they are this control plane's to install.
    pub gateway_api: Vec<Arc<Entry>>,
    /// What the charts are told about the cluster.
    pub told: Answers,
}

/// The node agents.
#[derive(Clone, Debug)]
pub struct Agents {
    pub cni: Arc<Chart>,
    /// In ambient mode.
    pub ztunnel: Option<Arc<Chart>>,
}

impl Charts {
    /// What they ask about the cluster.
    pub fn asks(&self, spec: &Spec) -> Asks {
        let base = self.base.as_ref().map(|chart| chart.asks(&spec.base_values));
        let agents = self.agents.as_ref().zip(spec.agents.as_ref()).map(|(charts, values)| {
            let ztunnel = charts.ztunnel.as_ref().zip(values.ztunnel.as_ref());
            let ztunnel = ztunnel.map(|(chart, values)| chart.asks(values)).unwrap_or_default();
            charts.cni.asks(&values.cni).or(ztunnel)
        });
        [base, agents].into_iter().flatten().fold(self.istiod.asks(&spec.istiod_values), Asks::or)
    }
}

/// The names of the releases where an import found others than the usual: the charts write them into labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Releases {
    pub base: Option<String>,
    pub istiod: Option<String>,
}

/// Renders everything the control plane consists of, its namespace included.
pub fn wanted(spec: &Spec, charts: &Charts, releases: &Releases) -> Result<Wanted, Error> {
    let namespace = spec.control_plane.namespace.as_str();
    let owner = spec.owner();
    let mut wanted = Wanted::default();
    let (reference, object) = system_namespace(spec);
    wanted.insert_shared(reference, object);
    let mut told = Cow::Borrowed(&charts.told);
    if spec.install_base {
        if let Some(base) = base(spec, charts, releases) {
            base.insert(&mut wanted, &owner)?;
        }
        charts.gateway_api.iter().for_each(|entry| wanted.add(entry.clone()));
        if charts.asks(spec).api_versions {
            // Served once they are applied: the next plan must come to the same.
            told.to_mut().capabilities.add(wanted.served());
        }
        for rendering in agents(spec, charts, &told) {
            rendering.insert(&mut wanted, &owner)?;
        }
    }
    let release = releases.istiod.clone().unwrap_or_else(|| spec.release());
    let (chart, values) = (&charts.istiod, &spec.istiod_values);
    let rendering = Rendering { chart, release: &release, namespace, values, told: &told, hidden: &spec.hidden };
    rendering.insert(&mut wanted, &owner)?;
    if let Some(policy) = policy(spec, releases) {
        wanted.insert(render::reference(&policy)?, policy, &owner);
    }
    if let Some(service) = spec.exposure.as_ref().and_then(|exposure| Object::new(exposure.object())) {
        wanted.insert(render::reference(&service)?, service, &owner);
    }
    if spec.control_plane.is_external {
        change_deployments(&mut wanted, &owner, |deployment| {
            mesh::externalize(deployment, spec.control_plane.revision.as_ref());
        });
    }
    if let Some(tokens) = &spec.link_tokens {
        change_deployments(&mut wanted, &owner, |deployment| tokens.give(deployment));
    }
    wanted.hide(&spec.hidden);
    Ok(wanted)
}

fn change_deployments(wanted: &mut Wanted, owner: &str, change: impl Fn(&mut Value)) {
    let deployments = wanted.iter().filter(|(_, entry)| entry.reference.kind == Kind::DEPLOYMENT);
    for entry in deployments.map(|(_, entry)| entry.clone()).collect::<Vec<_>>() {
        let mut object = entry.object;
        change(object.value_mut());
        wanted.insert(entry.reference, object, owner);
    }
}

/// To be awaited before [`wanted`]: it then finds rendered what is the same for every cluster.
pub async fn prepare(spec: &Spec, charts: &Charts, releases: &Releases) -> Result<(), Error> {
    match base(spec, charts, releases).filter(|_| spec.install_base) {
        Some(rendering) => rendering.prepare(&spec.owner()).await,
        None => Ok(()),
    }
}

fn base<'a>(spec: &'a Spec, charts: &'a Charts, releases: &'a Releases) -> Option<Rendering<'a>> {
    let release = releases.base.as_deref().unwrap_or(BASE_RELEASE);
    let namespace = spec.control_plane.namespace.as_str();
    let (values, told, hidden) = (&spec.base_values, &charts.told, &spec.hidden);
    charts.base.as_ref().map(|chart| Rendering { chart, release, namespace, values, told, hidden })
}

/// What all control planes of a cluster share.
pub fn shared(spec: &Spec, charts: &Charts, releases: &Releases) -> Result<Wanted, Error> {
    let owner = spec.owner();
    let mut shared = Wanted::default();
    for rendering in base(spec, charts, releases).into_iter().chain(agents(spec, charts, &charts.told)) {
        rendering.insert(&mut shared, &owner)?;
    }
    charts.gateway_api.iter().for_each(|entry| shared.add(entry.clone()));
    if let Some(policy) = policy(&Spec { install_base: true, ..spec.clone() }, releases) {
        shared.insert(render::reference(&policy)?, policy, &owner);
    }
    Ok(shared)
}

fn agents<'a>(spec: &'a Spec, charts: &'a Charts, told: &'a Answers) -> Vec<Rendering<'a>> {
    let namespace = spec.control_plane.namespace_of_agents().as_str();
    let hidden = &spec.hidden;
    let rendering =
        |chart: &'a Arc<Chart>, release, values| Rendering { chart, release, namespace, values, told, hidden };
    let mut agents = Vec::new();
    if let (Some(charts), Some(values)) = (&charts.agents, &spec.agents) {
        agents.push(rendering(&charts.cni, CNI_RELEASE, &values.cni));
        if let (Some(chart), Some(values)) = (&charts.ztunnel, &values.ztunnel) {
            agents.push(rendering(chart, ZTUNNEL_RELEASE, values));
        }
    }
    agents
}

/// The policy of mTLS for the whole mesh, one for all control planes of the cluster: labelled as the release that they
/// share, and handed on with it.
pub fn policy(spec: &Spec, releases: &Releases) -> Option<Object> {
    let system = spec.control_plane.namespace.as_str();
    let root = values::at(&spec.istiod_values, &["meshConfig", "rootNamespace"]).and_then(|root| root.as_str());
    let policy = spec.control_plane.mtls_policy(root.unwrap_or(system)).filter(|_| spec.install_base)?;
    let release = releases.base.as_deref().unwrap_or(BASE_RELEASE);
    Object::new(policy).map(|policy| policy.with_label("app.kubernetes.io/instance", release))
}

/// Whether an object is of a release that control planes share.
pub fn is_shared(object: &Object, releases: &Releases) -> bool {
    if gateway_api::is_part(object) {
        return true;
    }
    let base = releases.base.as_deref().unwrap_or(BASE_RELEASE);
    let release = object.label("app.kubernetes.io/instance").or_else(|| object.label("release"));
    release.is_some_and(|release| [base, CNI_RELEASE, ZTUNNEL_RELEASE].contains(&release))
}

/// The namespace, shared with whatever else is in it: only the label is ours.
fn system_namespace(spec: &Spec) -> (ObjectRef, Object) {
    let reference = ObjectRef::cluster(Kind::NAMESPACE, spec.control_plane.namespace.as_str());
    let mut object = Object::of(&reference);
    // An external control plane's network is that of the cluster it serves.
    if let Some(network) = spec.control_plane.network.as_ref().filter(|_| !spec.control_plane.is_external) {
        object.set_label(NETWORK_LABEL, network.as_str());
    }
    (reference, object)
}
