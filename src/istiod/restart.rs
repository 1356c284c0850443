//! Restarting istiod: its Pods are replaced one after the other, so that proxies always find one that answers.

use super::{Istiod, Replica};
use crate::cluster::{Delete, Error, Kind, ObjectRef, wait};
use crate::mesh::istiod_name_of;

impl Istiod {
    /// Replaces these replicas. Each is waited for until its Deployment is available again; one that is gone by then is
    /// waited for no longer.
    ///
    /// # Errors
    ///
    /// Of a Deployment that does not become available in the time of the cluster's scope, with what its Pods wait for.
    pub async fn restart(&self, replicas: &[Replica]) -> Result<(), Error> {
        for replica in replicas {
            let pod = ObjectRef::namespaced(Kind::POD, self.namespace.as_str(), replica.pod.as_str());
            self.cluster.delete(&Delete::new(pod)).await?;
            let revision = Some(replica.revision.as_str()).filter(|revision| !matches!(*revision, "" | "default"));
            let deployment = ObjectRef::namespaced(Kind::DEPLOYMENT, self.namespace.as_str(), istiod_name_of(revision));
            if self.cluster.get(&deployment).await?.is_some() {
                self.cluster.wait(&deployment, &wait::deployment_available()).await?;
            }
        }
        Ok(())
    }
}
