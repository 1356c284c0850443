//! Import: the Secret of a request, as `mesh_ca_request` made it. What `mesh_ca` made belongs to that.

use super::model::{CaRequest, is_istios};
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
    refuse_istios(&cluster_name, &namespace, &name)?;
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

/// What an import would find there is not a `mesh_ca_request`: no configuration may name it.
fn refuse_istios(cluster: &str, namespace: &str, name: &str) -> Result<(), Diagnostic> {
    if !is_istios(name) {
        return Ok(());
    }
    Err(Diagnostic::error("Not an id of a request").detail(format!(
        "Secret {namespace}/{name} in cluster {cluster} is one that istiod or a `mesh_ca` uses, and a `mesh_ca_request` cannot have this name. Import the `mesh_ca` instead: by the store of its root, or by a Secret `cacerts` with the id `{cluster}/{namespace}/cacerts`. A request that it has open belongs to it."
    )))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_istiod_or_a_ca_uses_is_no_request() {
        for name in ["cacerts", "cacerts-request", "istio-ca-secret"] {
            let refused = refuse_istios("east", "istio-system", name).unwrap_err().to_string();
            assert!(refused.contains(&format!("Secret istio-system/{name} in cluster east")), "{refused}");
            assert!(
                refused.contains("Import the `mesh_ca`") && refused.contains("`east/istio-system/cacerts`"),
                "{refused}"
            );
        }
        assert!(refuse_istios("east", "istio-system", "mesh-ca-request").is_ok());
    }
}
