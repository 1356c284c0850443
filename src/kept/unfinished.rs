//! Whether the last apply of an instance came to its end, as its Lease says it to another resource that relies on it.

use super::instance::{COMPLETE_ANNOTATION, MADE, lease_in};
use super::lease::{INTERRUPTED, LeaseSays, NOBODY};
use crate::cluster::{Cluster, Error, Kind, Object, Query};

/// The instances with an owner label, which a namespace has one of.
#[derive(Clone, Copy)]
pub struct Of<'a> {
    pub cluster: &'a Cluster,
    pub namespace: &'a str,
    pub label: &'a str,
}

/// Why it may lack what its configuration says; `None` where its last apply came to its end, or it has no Lease and so
/// is not ours. By the list of Leases that a walk holds; by one of its own where it must be as it is `now`.
pub async fn why(of: Of<'_>, now: bool) -> Result<Option<&'static str>, Error> {
    Ok(found(of, now).await?.as_ref().and_then(said_by))
}

/// Its Lease, where its last apply did not come to its end.
pub async fn lease(of: Of<'_>) -> Result<Option<Object>, Error> {
    Ok(found(of, false).await?.filter(|lease| said_by(lease).is_some()))
}

async fn found(of: Of<'_>, now: bool) -> Result<Option<Object>, Error> {
    let query = Query::owned(Kind::LEASE, of.namespace);
    let leases = if now { of.cluster.list_now(&query).await? } else { of.cluster.list(&query).await? };
    let name = lease_in(of.namespace, of.label).name;
    Ok(leases.iter().find(|lease| lease.name() == name).cloned())
}

fn said_by(lease: &Object) -> Option<&'static str> {
    let LeaseSays { complete, holder, .. } = LeaseSays::of(lease);
    // Whoever made it holds its Lease until a state knows it, and writes nothing more.
    if lease.annotation(COMPLETE_ANNOTATION) == Some(MADE) || complete && holder == NOBODY {
        return None;
    }
    match holder.as_str() {
        NOBODY | INTERRUPTED | "" => Some("its last apply did not finish"),
        _ => Some("an apply of it is at work, or was killed"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::ObjectRef;
    use crate::kept::instance::{COMPLETED, MARKING, UNFINISHED};

    #[test]
    fn only_what_was_given_back_or_just_made_came_to_its_end() {
        let says = |complete: &str, holder: &str| {
            let lease = Object::of(&ObjectRef::namespaced(Kind::LEASE, "n", "l"));
            let lease = lease.with_annotation(COMPLETE_ANNOTATION, complete);
            said_by(&lease.with("spec", json!({ "holderIdentity": holder }))).unwrap_or("done")
        };
        for (complete, holder, said) in [
            (COMPLETED, NOBODY, "done"),
            (MADE, "host/1/m/x", "done"),
            (MADE, INTERRUPTED, "done"),
            (COMPLETED, INTERRUPTED, "its last apply did not finish"),
            (COMPLETED, "", "its last apply did not finish"),
            (UNFINISHED, NOBODY, "its last apply did not finish"),
            (UNFINISHED, INTERRUPTED, "its last apply did not finish"),
            (MARKING, INTERRUPTED, "its last apply did not finish"),
            (COMPLETED, "host/1/m/x", "an apply of it is at work, or was killed"),
        ] {
            assert_eq!(says(complete, holder), said, "{complete} {holder}");
        }
    }
}
