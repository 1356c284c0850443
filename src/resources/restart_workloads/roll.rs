//! Restarting one workload: its template gets a new annotation, and its rollout is waited for.

use serde_json::{Value, json};

use crate::cluster::{Cluster, Error, Kind, ObjectRef, Patched, Until, wait};

/// By which `kubectl rollout restart` restarts, and tools that compare templates expect it.
const RESTARTED_AT: &str = "kubectl.kubernetes.io~1restartedAt";
/// How often a workload that others change at the same time is looked at again.
const ATTEMPTS: u32 = 5;

/// How it ended.
#[derive(Debug)]
pub enum Rolled {
    Done,
    /// It is gone: there is nothing to restart.
    Gone,
    /// The API server refused each attempt, or others kept changing it.
    Refused,
}

/// Restarts a workload and waits until all its Pods are new and available.
///
/// The annotation is written by a patch, and not by an apply: an apply of the same object by this provider, as of a
/// gateway, would take the annotation out again and so restart it once more.
pub async fn roll(cluster: &Cluster, workload: &ObjectRef, at: &str) -> Result<Rolled, Error> {
    for _ in 0..ATTEMPTS {
        let Some(live) = cluster.get(workload).await? else { return Ok(Rolled::Gone) };
        let mut operations = vec![json!({ "op": "test", "path": "/metadata/generation", "value": live.generation() })];
        if live.get("spec.template.metadata.annotations").is_none_or(Value::is_null) {
            operations.push(json!({ "op": "add", "path": "/spec/template/metadata/annotations", "value": {} }));
        }
        let path = format!("/spec/template/metadata/annotations/{RESTARTED_AT}");
        operations.push(json!({ "op": "add", "path": path, "value": at }));
        match cluster.patch_if(workload, &Value::Array(operations)).await? {
            Patched::Done(_) => return cluster.wait(workload, &available(&workload.kind)).await.map(|_| Rolled::Done),
            Patched::Absent => return Ok(Rolled::Gone),
            Patched::Refused => {}
        }
    }
    Ok(Rolled::Refused)
}

fn available(kind: &Kind) -> Until {
    match kind {
        kind if *kind == Kind::STATEFUL_SET => wait::stateful_set_available(),
        kind if *kind == Kind::DAEMON_SET => wait::daemon_set_available(),
        _ => wait::deployment_available(),
    }
}
