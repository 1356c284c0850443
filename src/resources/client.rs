//! What Configure makes and every resource gets, and the way from it to a cluster.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;

use super::{blocks, charts, walk};
use crate::cluster::{Cluster, Clusters, Scope};
use crate::diag::{Diagnostic, Diagnostics};
use crate::engine::Ctx;
use crate::kept::instance::{HasInstance, Instance};
use crate::kept::renderer::Renderer;
use crate::kept::same;
use crate::value::{Path, Value};

/// What Configure makes and every resource gets: no connection is open, no chart fetched.
#[derive(Debug)]
pub struct Client {
    pub clusters: Clusters,
    pub charts: charts::Store,
    pub renderer: Renderer,
    pub walk: walk::Walk,
}

/// A cluster that is silent holds a plan up no longer than this.
const LOOK_WITHIN: Duration = Duration::from_secs(5);

/// A cluster of the provider, its requests bounded by the call's deadline and by cancellation.
pub fn cluster<P>(cx: &Ctx<Client, P>, name: &str) -> Result<Cluster, Diagnostic> {
    let scope = Scope { deadline: Some(cx.deadline().into()), cancel: cx.cancellation().clone() };
    let cluster = cx.client()?.clusters.cluster(name)?;
    Ok(cluster.within(scope))
}

/// Whether the cluster gives any answer, be it a refusal.
pub async fn answers(cluster: &Cluster) -> bool {
    !matches!(cluster.version().await, Err(error) if error.may_be_gone())
}

/// The same, of a cluster in which a resource keeps something: the very one that it was applied to. For what reads,
/// writes and removes that.
pub async fn own<P: HasInstance>(cx: &mut Ctx<Client, P>, name: &str) -> Result<Cluster, Diagnostic> {
    let cluster = cluster(cx, name)?;
    let warning = same::check(&cluster, cx.private.instance()).await?;
    if let Some(warning) = warning
        && cx.client()?.walk.says_first(warning.summary.clone())
    {
        cx.warn(warning);
    }
    Ok(cluster)
}

/// For what has no state, and remembers nothing: refuses a cluster that is not the one that the provider block means,
/// where that says which. The warning is that this cannot be told.
pub async fn meant(cluster: &Cluster) -> Result<Option<Diagnostic>, Diagnostic> {
    match cluster.meant() {
        Some(_) => same::check(cluster, &mut Instance::default()).await,
        None => Ok(None),
    }
}

/// The same as [`own`] of several, asked at once. What the provider does not have is for its user to tell.
pub async fn all_own<P: HasInstance>(
    cx: &mut Ctx<Client, P>,
    names: impl IntoIterator<Item = String>,
) -> Result<(), Diagnostics> {
    let names: BTreeSet<String> = names.into_iter().collect();
    let clusters: Vec<Cluster> = names.iter().filter_map(|name| cluster(cx, name).ok()).collect();
    // What each of them answers, or does not, counts below.
    join_all(clusters.iter().map(Cluster::uid)).await;
    let mut refused = Diagnostics::new();
    for cluster in &clusters {
        refused.extend(own(cx, cluster.name()).await.err());
    }
    refused.check()
}

/// Tells the walk which clusters these are, so that two names of one are not taken for two clusters. Nobody waits long
/// for that: a cluster that does not answer is told by who needs it.
pub async fn tell_apart<'a, P>(cx: &Ctx<Client, P>, names: impl IntoIterator<Item = &'a str>) {
    let Ok(client) = cx.client() else { return };
    if client.clusters.names().nth(1).is_none() {
        return;
    }
    let clusters: Vec<Cluster> = names.into_iter().filter_map(|name| briefly(cx, name)).collect();
    let asked = clusters.iter().map(|cluster| async move { (cluster.name(), cluster.uid().await) });
    for (name, uid) in join_all(asked).await {
        if let Ok(Some(uid)) = uid {
            client.walk.note_uid(name, uid);
        }
    }
}

/// Whether a refresh goes on with what state remembers, since the provider has no clusters, as when not even their
/// names are known before apply: it says so.
///
/// # Errors
///
/// Where there is known to be no cluster, and the provider block asks for answers. A plan that went on would say "No
/// changes" of what it has not looked at.
pub fn without_clusters<P>(cx: &mut Ctx<Client, P>) -> Result<bool, Diagnostic> {
    let clusters = &cx.client()?.clusters;
    let missed = clusters.may_be_missed();
    if missed {
        cx.warn(Diagnostic::warning("The provider has no clusters yet").detail(
            "`clusters` of the provider block is empty or not known before apply. The plan uses the state. A run \
                 that looks for drift fails instead with `unreachable_clusters = \"error\"`.",
        ));
    } else if clusters.is_empty() {
        return Err(Diagnostic::error("The provider has no clusters").detail(
            "`clusters` of the provider block is empty, and state holds this resource. Nothing can be read of it. \
             Check the variable or the `for` expression that `clusters` comes from. Keep a cluster among `clusters` \
             until its resources are destroyed. If it is gone for good, remove its resources from state with \
             `removed` blocks.",
        ));
    }
    Ok(missed)
}

/// A cluster that resources name must be one of the provider's, as far as both are known when planning.
pub fn known_cluster<P>(cx: &Ctx<Client, P>, name: &Value<String>) -> Result<(), Diagnostic> {
    let clusters = &cx.client()?.clusters;
    match name.known() {
        Some(name) if !clusters.may_be_missed() => clusters.cluster(name).map(drop).map_err(Diagnostic::from),
        _ => Ok(()),
    }
}

/// The same for several, each with the place that names it.
pub fn known_clusters<'a, P>(
    cx: &Ctx<Client, P>,
    named: impl IntoIterator<Item = (&'a str, Path)>,
) -> Result<(), Diagnostics> {
    let mut errors = Diagnostics::new();
    for (name, path) in named {
        let known = known_cluster(cx, &Value::Known(name.to_owned()));
        errors.extend(known.err().map(|error| error.at(path)));
    }
    errors.check()
}

/// The same cluster, its requests ending some time before the call must: what is kept back is for finding out why.
pub fn hurried<P>(cx: &Ctx<Client, P>, cluster: &Cluster, by: Duration) -> Cluster {
    let deadline = cx.deadline().checked_sub(by).unwrap_or_else(|| cx.deadline());
    cluster.within(Scope { deadline: Some(deadline.into()), cancel: cx.cancellation().clone() })
}

/// The same cluster, its requests ending within this time: one that is silent must not hold the rest up.
pub fn shortened<P>(cx: &Ctx<Client, P>, cluster: &Cluster, within: Duration) -> Cluster {
    let deadline = std::time::Instant::now().checked_add(within).unwrap_or_else(|| cx.deadline()).min(cx.deadline());
    cluster.within(Scope { deadline: Some(deadline.into()), cancel: cx.cancellation().clone() })
}

/// A cluster of the provider, for a look that a plan can do without; `None` where there is none of that name.
pub fn briefly<P>(cx: &Ctx<Client, P>, name: &str) -> Option<Cluster> {
    Some(shortened(cx, &cluster(cx, name).ok()?, LOOK_WITHIN))
}

/// Refuses a plan of a block that stands for the same thing as another one.
pub fn refuse_another<P>(cx: &Ctx<Client, P>, block: blocks::Block<'_>) -> Result<(), Diagnostic> {
    cx.client()?.walk.block(block).map_or(Ok(()), Err)
}
