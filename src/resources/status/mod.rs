//! `data.mesh_status`: the whole mesh at a look.

mod crossing;
mod door;
mod equal;
mod judge;
mod look;
mod model;
mod revoked;
mod served;

use std::collections::BTreeMap;
use std::sync::Arc;

use time::OffsetDateTime;

use self::judge::Sight;
pub use self::model::Status;
use super::client::{self, Client};
use super::system_namespaces::SystemNamespaces;
use crate::diag::Diagnostics;
use crate::engine::{Ctx, DataSource};

/// The mesh at a look.
pub struct MeshStatus;

/// Nobody knows how a mesh is that nobody has looked at.
const NO_CLUSTERS: &str =
    "no cluster was looked at: `clusters` is empty or not known before apply, here or in the provider block";

impl DataSource for MeshStatus {
    type Client = Client;
    type Model = Status;

    const NAME: &'static str = "status";

    async fn read(&self, cx: &mut Ctx<Client>, mut config: Status) -> Result<Status, Diagnostics> {
        let names: Vec<String> = match config.clusters.known() {
            Some(clusters) => clusters.iter().filter_map(|name| name.known().cloned()).collect(),
            None => cx.client()?.clusters.names().map(str::to_owned).collect(),
        };
        let namespaces = SystemNamespaces::new(&cx.client()?.clusters, &config.namespace, &config.namespaces)?;
        let client = Arc::clone(cx.client()?);
        let (mut looks, mut clusters) = (Vec::new(), BTreeMap::new());
        for name in names {
            let cluster = client::cluster(cx, &name)?;
            let (namespace, istiods) = (namespaces.of(&name).to_owned(), &client.walk.istiods);
            clusters.insert(name.clone(), cluster.clone());
            looks.push(async move { (name, look::look(istiods, &cluster, &namespace).await) });
        }
        let mut seen: BTreeMap<String, Sight> = futures::future::join_all(looks).await.into_iter().collect();
        revoked::look(&mut seen, &clusters).await;
        look::bring_together(&mut seen);
        served::read_policies(&mut seen, &clusters).await;
        judge::show_hosts(&mut seen);
        let mut findings = judge::findings(&seen, OffsetDateTime::now_utc());
        if seen.is_empty() {
            findings.push(NO_CLUSTERS.to_owned());
        }
        for members in judge::meshes(&seen) {
            findings.extend(equal::mesh_configurations(&seen, &members));
            findings.extend(equal::rules(&seen, &clusters, &members).await);
        }
        config.healthy = findings.is_empty().into();
        config.findings = findings.into_iter().collect();
        config.status = seen.into_iter().map(|(name, sight)| (name, sight.shown)).collect();
        Ok(config)
    }
}
