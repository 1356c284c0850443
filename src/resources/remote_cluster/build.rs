//! From a spec and charts to the objects wanted in the watched cluster. Pure; what can fail here is a chart, with the
//! values given to it.

use std::sync::Arc;

use super::spec::{Remote, Spec};
use crate::chart::{Asks, Chart};
use crate::cluster::{Kind, Object};
use crate::istiod::BASE_RELEASE;
use crate::kept::objects::Wanted;
use crate::kept::render::{self, Rendering};
use crate::kept::told::Answers;
use crate::mesh::{injection_webhooks, istiod_name};

/// The charts whose remote profile is installed in the modes `remote` and `config`.
#[derive(Clone, Debug)]
pub struct Charts {
    pub base: Arc<Chart>,
    pub istiod: Arc<Chart>,
    /// What they are told about the cluster.
    pub told: Answers,
}

impl Charts {
    /// What they ask about it.
    pub fn asks(&self, spec: &Spec) -> Asks {
        let asks = |remote: &Remote| self.base.asks(&remote.base_values).or(self.istiod.asks(&remote.istiod_values));
        spec.remote.as_ref().map(asks).unwrap_or_default()
    }
}

/// The reader and, in the modes `remote` and `config`, namespace and remote profile. `charts` may be absent in the mode
/// `peer` only.
pub fn wanted(spec: &Spec, charts: Option<&Charts>) -> Result<Wanted, render::Error> {
    let owner = spec.owner();
    let mut wanted = Wanted::default();
    if let Some(remote) = &spec.remote
        && let Some(namespace) = Object::new(remote.system_namespace.object())
    {
        wanted.insert_shared(render::reference(&namespace)?, namespace);
    }
    let profile = remote_profile(spec, charts, &owner)?;
    let webhooks =
        profile.iter().map(|(_, entry)| &entry.reference).filter(|of| of.kind == Kind::MUTATING_WEBHOOK_CONFIGURATION);
    let webhooks: Vec<String> = webhooks.map(|reference| reference.name.clone()).collect();
    // In the mode config it is istiod's own account, which the charts bring.
    let reader = if spec.is_config_cluster() { Vec::new() } else { spec.reader.objects(&webhooks) };
    for object in reader.into_iter().filter_map(Object::new) {
        wanted.insert(render::reference(&object)?, object, &owner);
    }
    wanted.extend(profile);
    spec.remote.iter().for_each(|remote| wanted.hide(&remote.hidden));
    Ok(wanted)
}

fn remote_profile(spec: &Spec, charts: Option<&Charts>, owner: &str) -> Result<Wanted, render::Error> {
    let mut profile = Wanted::default();
    let (Some(remote), Some(charts)) = (&spec.remote, charts) else { return Ok(profile) };
    let (namespace, revision) = (spec.namespace.as_str(), remote.data_plane.revision.as_ref());
    let (told, values, hidden) = (&charts.told, &remote.base_values, &remote.hidden);
    let base = Rendering { chart: &charts.base, release: BASE_RELEASE, namespace, values, told, hidden };
    let (release, values) = (&istiod_name(revision), &remote.istiod_values);
    let istiod = Rendering { chart: &charts.istiod, release, namespace, values, told, hidden };
    base.insert(&mut profile, owner)?;
    istiod.insert(&mut profile, owner)?;
    if !spec.is_config_cluster() {
        // Never reached in a remote cluster: its custom resources count nowhere, and istiod fills in only the mutating
        // webhooks.
        profile.retain(|entry| entry.reference.kind != Kind::VALIDATING_WEBHOOK_CONFIGURATION);
    }
    Ok(profile)
}

/// The injection webhooks of the cluster, as the chart names them.
pub fn webhooks(spec: &Spec) -> String {
    let revision = spec.remote.as_ref().and_then(|remote| remote.data_plane.revision.as_ref());
    injection_webhooks(revision, spec.namespace.as_str())
}
