//! From a spec and charts to the objects wanted. Pure; what can fail here is the chart, with the values given to it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::spec::Spec;
use crate::chart::Chart;
use crate::cluster::{Kind, Object, ObjectRef};
use crate::mesh::NETWORK_LABEL;
use crate::resources::objects::Wanted;
use crate::resources::render::{self, Error, Rendering};

/// The release of the chart `base`, as Istio's documentation names it.
pub const BASE_RELEASE: &str = "istio-base";

/// Both charts of one version of Istio.
#[derive(Clone, Debug)]
pub struct Charts {
    /// `None` where this control plane does not install the shared objects.
    pub base: Option<Arc<Chart>>,
    pub istiod: Arc<Chart>,
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
    if let Some(base) = charts.base.as_ref().filter(|_| spec.install_base) {
        let release = releases.base.as_deref().unwrap_or(BASE_RELEASE);
        let rendering = Rendering { chart: base, release, namespace, values: &spec.base_values };
        insert(&mut wanted, rendering, &owner)?;
    }
    let release = releases.istiod.clone().unwrap_or_else(|| spec.release());
    let rendering = Rendering { chart: &charts.istiod, release: &release, namespace, values: &spec.istiod_values };
    insert(&mut wanted, rendering, &owner)?;
    Ok(wanted)
}

fn insert(wanted: &mut Wanted, rendering: Rendering<'_>, owner: &str) -> Result<(), Error> {
    for object in rendering.objects()? {
        wanted.insert(render::reference(&object)?, object, owner);
    }
    Ok(())
}

/// The namespace, shared with whatever else is in it: only the label is ours.
fn system_namespace(spec: &Spec) -> (ObjectRef, Object) {
    let reference = ObjectRef::cluster(Kind::NAMESPACE, spec.control_plane.namespace.as_str());
    let mut object = Object::of(&reference);
    if let Some(network) = &spec.control_plane.network {
        object.set_label(NETWORK_LABEL, network.as_str());
    }
    (reference, object)
}
