//! An apply whose namespace goes away meanwhile begins again in the same run: what went with the namespace is made
//! again once it is gone, as the next apply would.
//!
//! Not for a `mesh_ca`: with its namespace a root's key may have gone, and who makes another one changes whom the mesh
//! trusts. That is for a plan to show. Nor for a change of a `mesh_remote_cluster`: with its namespace its tokens have
//! ended, which the plan says are kept. Nor for a `mesh_service_entry`, which makes no namespace.

use futures::future::BoxFuture;

use super::client::{self, Client};
use super::keeping::{self, Keeps, Remembers};
use crate::diag::Diagnostic;
use crate::engine::{Change, Ctx, Failed};
use crate::kept::namespace;

/// Whoever deletes the namespace again and again is not fought for ever.
const ATTEMPTS: u32 = 3;

/// One attempt of an apply.
pub type Attempt<M, P> = for<'a> fn(&'a mut Ctx<Client, P>, Change<M>) -> BoxFuture<'a, Result<M, Failed<M>>>;

pub async fn apply<M: Keeps, P: Remembers>(
    cx: &mut Ctx<Client, P>,
    mut change: Change<M>,
    attempt: Attempt<M, P>,
) -> Result<M, Failed<M>> {
    for _ in 1..ATTEMPTS {
        cx.private.instance().claimed = None;
        let failed = match attempt(cx, change.again()).await {
            Ok(state) => return Ok(state),
            Err(failed) => failed,
        };
        let Some(mark) = cx.private.instance().claimed.take() else { return Err(failed) };
        let Some(warning) = lost(cx, failed.partial.as_ref().unwrap_or(&change.planned)).await else {
            return Err(failed);
        };
        cx.warn(warning);
        // What the attempt has made outside the namespace carries this mark.
        if change.prior.is_none() {
            *change.planned.mark() = mark.into();
        }
    }
    attempt(cx, change).await
}

/// Whether the namespace of a claim has gone meanwhile, and the claim with it; one that is on its way out is waited
/// for. What cannot be read is not gone.
async fn lost<M: Keeps, P>(cx: &Ctx<Client, P>, state: &M) -> Option<Diagnostic> {
    if cx.cancellation().is_cancelled() {
        return None;
    }
    let (label, cluster) = (state.label(), client::cluster(cx, state.kept().cluster.text()).ok()?);
    let place = keeping::place(state, &label);
    let lost = namespace::is_lost(&cluster, &place).await.ok()?;
    lost.then(|| {
        Diagnostic::warning(format!("Namespace {} of {} was deleted during the apply", place.namespace, cluster.name())).detail(
            format!("Somebody has deleted it with all that was in it. The apply waited for its end, and began again for {} {}. Find out who deletes the namespace.", place.resource, place.id),
        )
    })
}
