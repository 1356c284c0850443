//! `moved` from Helm's release of the chart `istiod`.

use super::{Identity, Primary};
use crate::cluster::{Kind, Object, Query};
use crate::diag::{Diagnostic, Diagnostics};
use crate::engine::{Ctx, Moved};
use crate::mesh::{is_external, istiod_name_of};
use crate::resources::client::Client;
use crate::resources::listing;
use crate::resources::moved::{Release, Sought, refused};
use crate::value::Value;

/// The id that the charts give a cluster where nobody says one.
const USUAL: &str = "Kubernetes";

/// Which control plane a release is.
pub fn adopt(source: &Moved) -> Result<Option<Primary>, Diagnostic> {
    let Some(release) = Release::of(source) else { return Ok(None) };
    if release.chart != "istiod" {
        let why = match release.chart.as_str() {
            "base" | "cni" | "ztunnel" => format!(
                "The chart {} is part of `mesh_primary`, which finds its objects with those of istiod: move the release of istiod.",
                release.chart
            ),
            other => format!("`mesh_primary` takes over releases of the chart istiod, and this is of {other}."),
        };
        return Err(refused(&why, "No block but that is needed for it."));
    }
    let is_remote = release.value(&["profile"]).as_deref() == Some("remote")
        || release.value(&["global", "remotePilotAddress"]).is_some();
    if is_remote {
        let why = "By its values this release serves a cluster from the istiod of another: it is part of a `mesh_remote_cluster` with `mode = \"remote\"`.";
        return Err(refused(why, "Import that one: its id is `<cluster>/<namespace>/<cluster_name>`."));
    }
    let revision = release.value(&["revision"]).filter(|revision| revision != "default");
    let id = release.value(&["global", "multiCluster", "clusterName"]).unwrap_or_else(|| USUAL.to_owned());
    Ok(Some(Primary {
        namespace: release.namespace.into(),
        revision: revision.into(),
        cluster_name: id.into(),
        ..Primary::default()
    }))
}

/// The control plane, by the id that istiod was given.
pub async fn find(cx: &mut Ctx<Client>, moved: &Primary) -> Result<Identity, Diagnostics> {
    let (namespace, id) = (moved.namespace.text(), moved.cluster_name.text());
    let names = listing::clusters(cx, &Value::Null, "cluster")?;
    let istiods = [Query::of(Kind::DEPLOYMENT).label("app", "istiod").namespace(namespace)];
    let seen = listing::search(cx, &names, &istiods).await?;
    let is_it = |istiod: &Object| {
        let revision = istiod.label("istio.io/rev").filter(|revision| *revision != "default");
        !is_external(istiod.value()) && revision == moved.revision.as_deref() && cluster_id(istiod) == Some(id)
    };
    let found: Vec<&String> =
        seen.iter().filter(|(_, istiods)| istiods.iter().any(is_it)).map(|(name, _)| name).collect();
    let unread: Vec<&String> = names.iter().filter(|name| !seen.contains_key(*name)).collect();
    let release = istiod_name_of(moved.revision.as_deref());
    let sought = Sought {
        what: format!("a Deployment {namespace}/{release} with the CLUSTER_ID {id}"),
        type_name: "mesh_primary",
        rest: format!("{namespace}/{release}"),
        is_common: id == USUAL,
    };
    let cluster = sought.only(&found, &unread)?;
    Ok(Identity { cluster: cluster.into(), namespace: moved.namespace.clone(), revision: moved.revision.clone() })
}

fn cluster_id(istiod: &Object) -> Option<&str> {
    let containers = istiod.items("spec.template.spec.containers").iter();
    let mut env = containers.filter_map(|container| container["env"].as_array()).flatten();
    env.find(|entry| entry["name"] == "CLUSTER_ID")?["value"].as_str()
}
