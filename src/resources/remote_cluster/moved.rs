//! `moved` from the remote secret that the provider `kubernetes` kept.

use super::{Identity, RemoteCluster, list};
use crate::diag::{Diagnostic, Diagnostics};
use crate::engine::{Ctx, Moved};
use crate::mesh::MULTI_CLUSTER_LABEL;
use crate::resources::client::Client;
use crate::resources::moved::{MovedSecret, Sought, refused};

/// Which cluster a remote secret is about.
pub fn adopt(source: &Moved) -> Result<Option<RemoteCluster>, Diagnostic> {
    let Some(secret) = MovedSecret::of(source) else { return Ok(None) };
    let MovedSecret { namespace, name, .. } = &secret;
    if secret.label(MULTI_CLUSTER_LABEL) != Some("true") {
        let why = format!(
            "The Secret {namespace}/{name} is no remote secret: it lacks the label {MULTI_CLUSTER_LABEL}=\"true\"."
        );
        let instead = match name.as_str() {
            "cacerts" => {
                "Of `cacerts` one `mesh_ca` is made for all clusters: `import { to = mesh_ca.<name>, id = \"<cluster>/istio-system/cacerts\" }`."
            }
            _ => "Move the Secret by which an istiod watches the cluster.",
        };
        return Err(refused(&why, instead));
    }
    let keys = secret.keys();
    let [id] = keys[..] else {
        let why = format!(
            "The remote secret {namespace}/{name} describes {} clusters, and a `mesh_remote_cluster` is one.",
            keys.len()
        );
        return Err(refused(&why, "Import each: its id is `<cluster>/<namespace>/<cluster_name>`."));
    };
    Ok(Some(RemoteCluster {
        namespace: namespace.as_str().into(),
        cluster_name: id.into(),
        ..RemoteCluster::default()
    }))
}

/// The watched cluster: by the address that the remote secrets of this id have, as a search tells it.
pub async fn find(cx: &mut Ctx<Client>, moved: &RemoteCluster) -> Result<Identity, Diagnostics> {
    let (namespace, id) = (moved.namespace.text(), moved.cluster_name.text());
    let found = list::described_as(cx, namespace, id).await?;
    let sought = Sought {
        what: format!("the cluster that remote secrets in namespace {namespace} describe by the id {id}"),
        type_name: "mesh_remote_cluster",
        rest: format!("{namespace}/{id}"),
        is_common: false,
    };
    let cluster = sought.only(&found.iter().collect::<Vec<_>>(), &[])?;
    Ok(Identity {
        cluster: cluster.into(),
        namespace: moved.namespace.clone(),
        cluster_name: moved.cluster_name.clone(),
    })
}
