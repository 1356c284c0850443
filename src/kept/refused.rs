//! What becomes of a Lease whose apply did not come to its end.
//!
//! Others may write then, and the next apply continues. A create that was refused before it wrote anything leaves
//! nothing to continue: no state knows it, and nobody would ever remove its Lease. So the Lease goes again, and with it
//! the namespace that was made for it.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::lease::lets_go;
use super::namespace;
use crate::cluster::{Cluster, Delete, Error, ObjectRef, Patched, Scope};

/// How long a cluster is asked to take it. Whether it does or not: a Lease runs out.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a create has made before it writes an object.
#[derive(Clone, Debug)]
pub(super) struct Fresh {
    /// The namespace, where there was none.
    pub namespace: Option<String>,
}

/// A Lease that is given back by a run that did not come to its end.
pub(super) struct Refused {
    pub cluster: Cluster,
    pub lease: ObjectRef,
    pub holder: String,
    /// Nothing else was made, and no state knows of it: it goes again.
    pub fresh: Option<Fresh>,
}

impl Refused {
    /// Returns what stays all the same, and why.
    pub async fn give_back(self) -> Option<String> {
        // The time of the apply may be over, and the user may have stopped it.
        let cluster = self.cluster.within(Scope::lasting(PATIENCE, CancellationToken::new()));
        let failed = |error: &Error| Some(format!("{} in cluster {}: {error}", self.lease, cluster.name()));
        let lease = match cluster.patch_if(&self.lease, &lets_go(&self.holder)).await {
            Ok(Patched::Done(lease)) => lease,
            Ok(Patched::Refused | Patched::Absent) => return None,
            Err(error) => return failed(&error),
        };
        let Fresh { namespace } = self.fresh?;
        let resource_version = lease.resource_version().map(str::to_owned);
        match cluster.delete(&Delete { resource_version, ..Delete::new(self.lease.clone()) }).await {
            Ok(_) => {}
            // Another create has taken it up meanwhile.
            Err(error) if error.is_contention() => return None,
            Err(error) => return failed(&error),
        }
        let namespace = namespace?;
        let why = match namespace::depart(&cluster, &namespace, &[], None).await {
            Ok(departed) => departed.left?,
            Err(error) => error.to_string(),
        };
        Some(format!("Namespace {namespace} of cluster {}: {why}", cluster.name()))
    }
}
