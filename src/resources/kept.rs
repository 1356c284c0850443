//! What every resource that keeps Kubernetes objects does alike: errors of charts and specs, removal, deadlines.

use std::time::Duration;

use super::Client;
use super::charts::Unavailable;
use super::converge;
use super::fields;
use super::objects::{Recorded, Spellings, state_key};
use super::render;
use crate::cluster::{Cluster, DeleteAll, Error, Kind, OWNER_LABEL, Object, ObjectRef, Scope};
use crate::diag::{Diagnostic, Diagnostics, Severity};
use crate::engine::Ctx;
use crate::value::Path;

/// The owner label of a resource's objects. A namespace other than the usual one is told too: the label is also on objects of the cluster.
pub fn owner(resource: &str, namespace: &str, name: &str) -> String {
    let owner = match namespace {
        "istio-system" => format!("{resource}.{name}"),
        other => format!("{resource}.{name}.{other}"),
    };
    if owner.len() <= 63 { owner } else { format!("{}.{}", &owner[..50], fields::short(&owner)) }
}

/// What was parsed, at apply: there nothing is unknown any more.
pub fn settled<T>(spec: Option<T>) -> Result<T, Diagnostics> {
    spec.ok_or_else(|| Diagnostic::bug("An attribute is still unknown at apply.").into())
}

/// The same cluster, its requests ending some time before the call must: what is kept back is for finding out why.
pub fn hurried<P>(cx: &Ctx<Client, P>, cluster: &Cluster, by: Duration) -> Cluster {
    let deadline = cx.deadline().checked_sub(by).unwrap_or_else(|| cx.deadline());
    cluster.within(Scope { deadline: Some(deadline.into()), cancel: cx.cancellation().clone() })
}

/// A chart that could not be had at plan: no error where only its place does not answer.
pub fn without_chart<T, P>(cx: &mut Ctx<Client, P>, unavailable: Unavailable) -> Result<Option<T>, Diagnostics> {
    match unavailable {
        Unavailable::Wrong(error) => Err(error.into()),
        Unavailable::Unreachable(why) => {
            cx.warn(Diagnostic { severity: Severity::Warning, ..why });
            Ok(None)
        }
    }
}

pub fn render_error(error: &render::Error) -> Diagnostic {
    match error {
        render::Error::Render { source, .. } => Diagnostic::error("The chart refuses these values")
            .detail(format!("{error}:\n\n{source}"))
            .at(Path::root("values")),
        render::Error::Kind { .. } => Diagnostic::error("The chart brings an unknown kind of object")
            .detail(error.to_string())
            .at(Path::root("charts")),
    }
}

/// What is left after a removal: nothing, or the objects that could not be removed.
#[derive(Debug, Default)]
pub struct Remaining {
    pub recorded: Recorded,
    pub errors: Vec<Error>,
}

/// Removes the recorded objects, the last applied first, waiting for each kind to be gone. What another resource has taken over stays.
pub async fn remove_all(cluster: &Cluster, recorded: &Recorded, owner: &str) -> Remaining {
    let live = match converge::live(cluster, recorded, &Spellings::default()).await {
        Ok(live) => live,
        Err(error) => return Remaining { recorded: recorded.clone(), errors: vec![error] },
    };
    let ours = |object: &&Object| object.label(OWNER_LABEL).is_none_or(|other| other == owner);
    // A namespace may hold what others put there, and definitions what others made of them.
    let removable =
        |reference: &ObjectRef| reference.kind != Kind::NAMESPACE && reference.kind != Kind::CUSTOM_RESOURCE_DEFINITION;
    let objects = live.values().filter(ours).filter_map(Object::reference).filter(removable).collect();
    match cluster.delete_all(&DeleteAll { objects, wait: true }).await {
        Ok(_) => Remaining::default(),
        Err(failed) => {
            let mut recorded = recorded.clone();
            for deleted in &failed.deleted {
                recorded.remove(&state_key(deleted));
            }
            Remaining { recorded, errors: failed.errors }
        }
    }
}
