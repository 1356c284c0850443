//! Get, list and look up. Lists are held for the length of the walk and shared by all who ask the same.

use std::sync::Arc;

use super::{Cluster, Error, Kind, Object, ObjectRef};

/// What to list: one kind, in one namespace or in all, chosen by labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Query {
    pub kind: Kind,
    pub namespace: Option<String>,
    /// A label selector: `istio/multiCluster=true`, `key in (a,b)`, `!key`.
    pub labels: String,
    /// A field selector: `metadata.name=istiod`.
    pub fields: String,
    /// Only metadata (labels, annotations, `managedFields`, generation) without spec, status and data: the way to look at
    /// CRDs, whose bodies are large, and at Secrets whose content is no concern.
    pub metadata_only: bool,
}

impl Query {
    pub fn of(kind: Kind) -> Query {
        Query { kind, namespace: None, labels: String::new(), fields: String::new(), metadata_only: false }
    }

    pub fn namespace(mut self, namespace: impl Into<String>) -> Query {
        self.namespace = Some(namespace.into());
        self
    }

    /// Adds one `key=value` to the label selector.
    pub fn label(mut self, key: &str, value: &str) -> Query {
        let separator = if self.labels.is_empty() { "" } else { "," };
        self.labels = format!("{}{separator}{key}={value}", self.labels);
        self
    }

    pub fn metadata_only(mut self) -> Query {
        self.metadata_only = true;
        self
    }
}

/// How the cluster is reached from here, as the configuration says; no request is made to find out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `https://host:port`
    pub server: String,
    /// PEM; `None` where the machine's own trust store decides.
    pub certificate_authority: Option<String>,
    pub tls_server_name: Option<String>,
    pub proxy_url: Option<String>,
    pub insecure: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerVersion {
    pub major: u32,
    pub minor: u32,
    /// `v1.37.2`
    pub git_version: String,
}

impl Cluster {
    /// The object, or `None` on a true 404 of the object itself: an unreachable or forbidding server is an error, never "gone".
    pub async fn get(&self, reference: &ObjectRef) -> Result<Option<Object>, Error> {
        todo!("{reference}")
    }

    /// All objects of the query, asked for once and held until [`Cluster::forget`] or a write of ours to that kind.
    ///
    /// A kind whose CRD is not installed lists as empty.
    pub async fn list(&self, query: &Query) -> Result<Arc<[Object]>, Error> {
        todo!("{query:?}")
    }

    /// As [`Cluster::list`], but always from the server.
    pub async fn list_now(&self, query: &Query) -> Result<Arc<[Object]>, Error> {
        todo!("{query:?}")
    }

    /// Drops everything held of this cluster.
    pub fn forget(&self) {
        todo!()
    }

    /// The kind behind `apiVersion` and `kind` of a manifest: from the table, else asked of the cluster once.
    pub async fn kind(&self, api_version: &str, kind: &str) -> Result<Kind, Error> {
        todo!("{api_version} {kind}")
    }

    /// What finds an object in this cluster.
    pub async fn reference(&self, object: &Object) -> Result<ObjectRef, Error> {
        Ok(object.reference_as(self.kind(object.api_version(), object.kind()).await?))
    }

    /// The server's version, asked for once.
    pub async fn version(&self) -> Result<ServerVersion, Error> {
        todo!()
    }

    /// Reads the configuration (and the kubeconfig it names), makes no request.
    pub async fn endpoint(&self) -> Result<Endpoint, Error> {
        todo!()
    }
}
