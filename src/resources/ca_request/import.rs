//! Import: the Secret of a request, as `mesh_ca_request` or `mesh_ca` made it.

use super::model::CaRequest;
use super::{Cx, Identity, derive_id, generation_of, reference, wanted};
use crate::diag::{Diagnostic, Diagnostics};
use crate::engine::Import;
use crate::kept::memory::Memory;
use crate::kept::objects::state_key;
use crate::resources::client;
use crate::resources::keeping;
use crate::resources::parsing;
use crate::resources::signing::OpenRequest;
use crate::value::{Map, Value};

pub async fn import(cx: &mut Cx, from: Import<Identity>) -> Result<CaRequest, Diagnostics> {
    let (cluster_name, namespace, name) = target(from)?;
    parsing::import_of(&namespace, &[&name])?;
    let cluster = client::cluster(cx, &cluster_name)?;
    let mut model = CaRequest {
        cluster: cluster_name.into(),
        namespace: namespace.into(),
        name: name.into(),
        organization: "Istio".to_owned().into(),
        adopt: false.into(),
        force_conflicts: false.into(),
        changes: Value::Known(Map::new()),
        ..CaRequest::default()
    };
    derive_id(&mut model);
    let place_of = reference(&model);
    let live = cluster.get(&place_of).await?;
    let refused = |why: &str| {
        Diagnostic::error("No such request").detail(format!("{place_of} in cluster {} {why}.", cluster.name()))
    };
    let live = live.ok_or_else(|| refused("does not exist"))?;
    let open = OpenRequest::read(&live)
        .ok_or_else(|| refused("holds no request (`request.pem`) with its key (`ca-key.pem`)"))?;
    model.algorithm = open.key.algorithm().as_str().to_owned().into();
    model.certificate_request = open.request.to_pem().into();
    model.generation = generation_of(&live).into();
    keeping::imported(cx, &cluster, &mut model).await.map_err(Diagnostic::from)?;
    if let Some(wanted) = wanted(&model) {
        let (recorded, _) = wanted.recorded().seen(&[(state_key(&place_of), live)].into(), &Memory::default());
        model.objects = cx.private.memory.record(&recorded);
    }
    Ok(model)
}

fn target(from: Import<Identity>) -> Result<(String, String, String), Diagnostics> {
    let part = |value: Value<String>, default: &str| value.known().cloned().unwrap_or_else(|| default.to_owned());
    match from {
        Import::Identity(Identity { cluster, namespace, name }) => {
            Ok((cluster.or_default(), part(namespace, "istio-system"), part(name, "mesh-ca-request")))
        }
        Import::Id(id) => match id.split('/').collect::<Vec<_>>()[..] {
            [cluster, namespace, name] => Ok((cluster.to_owned(), namespace.to_owned(), name.to_owned())),
            _ => Err(Diagnostic::error("Not an id of a request")
                .detail(format!(
                    "{id:?} is not of the form `cluster/namespace/name`, such as `east/istio-system/mesh-ca-request`."
                ))
                .into()),
        },
    }
}
