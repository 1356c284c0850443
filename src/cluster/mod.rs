//! All Kubernetes I/O: lazy connections, list, server-side apply, delete, wait, port-forward.
//!
//! It knows nothing of Terraform, of charts or of meshes; nothing here may read the
//! environment for a cluster to talk to, and nothing here may print.
//!
//! [`Clusters`] is made by Configure and does no I/O. A [`Cluster`] connects on its first request and is cheap to
//! clone; [`Cluster::within`] gives one whose requests end at a deadline or on cancellation. What is listed is held for
//! the length of the walk, so that a plan costs one request per kind and cluster; `Clusters` is replaced when Configure
//! comes again.

mod advice;
mod answer;
mod call;
mod config;
mod connect;
mod error;
mod kind;
mod kubeconfig;
mod login;
mod object;
mod refusal;
mod resolve;
mod secrets;
mod session;

mod apply;
mod delete;
mod discovery;
mod forward;
mod owner;
mod patch;
mod read;
mod replicas;
mod review;
#[cfg(test)]
pub mod stub;
pub mod wait;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use apply::{Adoption, Apply, ApplyAll, ApplyAllError};
pub use config::{ClusterConfig, Endpoint, Exec, Secret};
pub use delete::{Delete, Propagation};
pub use discovery::Inventory;
pub use error::{Cause, Conflict, ConflictingField, Error, Failure, Foreign, Layer, Status, Timeout};
pub use forward::{ExecOutput, HttpAnswer, PodPort, PodStream};
pub use kind::Kind;
pub use object::{Applied, Condition, Object, ObjectRef};
pub use owner::{INSTANCE_ANNOTATION, Owner, is_managed_by, managers};
pub use patch::Patched;
pub use read::{Query, ServerVersion};
pub use resolve::without_user_info;
pub use review::{Access, AccessAnswer, BoundTo, Token, TokenRequest, User};
pub use secrets::Secrets;
pub use wait::{Until, Verdict};

/// The field manager of everything this provider writes.
pub const FIELD_MANAGER: &str = "terraform-provider-mesh";

/// Label that names the resource an object belongs to: `<resource type>.<release>`.
pub const OWNER_LABEL: &str = "terraform-provider-mesh/owner";

/// The clusters of a provider configuration, by name. Making it reads nothing and runs nothing.
#[derive(Debug)]
pub struct Clusters {
    clusters: BTreeMap<String, Cluster>,
    /// While the names themselves are not known, any name may turn out to be one of them: the provider's version.
    unknown: Option<String>,
    /// Whether a refresh must not go on without them.
    must_answer: bool,
}

/// A handle to one cluster: connects on first use, clones share everything but the scope.
#[derive(Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
    scope: Scope,
    why_ended: Why,
}

/// Why the requests of a handle end before their time, said by whoever ends them.
pub type Why = Arc<OnceLock<String>>;

/// How long requests may go on: until the deadline, or until cancelled.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    pub deadline: Option<Instant>,
    pub cancel: CancellationToken,
}

struct Shared {
    name: String,
    version: String,
    connections: session::Connections,
    held: read::Held,
    uid: OnceCell<Option<String>>,
    pods: forward::PodConnections,
}

impl Clusters {
    /// `version` is the provider's, for the user agent.
    pub fn new(configs: BTreeMap<String, ClusterConfig>, version: &str) -> Clusters {
        let cluster =
            |(name, config): (String, ClusterConfig)| (name.clone(), Cluster::standalone(&name, config, version));
        Clusters { clusters: configs.into_iter().map(cluster).collect(), unknown: None, must_answer: false }
    }

    /// Clusters that are not known yet, not even by name: each answers that it is not configured.
    pub fn unknown(version: &str) -> Clusters {
        Clusters { clusters: BTreeMap::new(), unknown: Some(version.to_owned()), must_answer: false }
    }

    /// The same clusters; whether a refresh must not go on without any.
    pub fn answering(self, must_answer: bool) -> Clusters {
        Clusters { must_answer, ..self }
    }

    /// There is no cluster, or none that is known, and a refresh may go on without.
    pub fn may_be_missed(&self) -> bool {
        self.clusters.is_empty() && !self.must_answer
    }

    /// It is known that there is no cluster.
    pub fn is_empty(&self) -> bool {
        self.unknown.is_none() && self.clusters.is_empty()
    }

    /// The cluster of this name; the error lists the names there are.
    pub fn cluster(&self, name: &str) -> Result<Cluster, Error> {
        if let Some(version) = &self.unknown {
            let must_answer = self.must_answer;
            let config = ClusterConfig { not_known: true, must_answer, ..ClusterConfig::default() };
            return Ok(Cluster::standalone(name, config, version));
        }
        self.clusters.get(name).cloned().ok_or_else(|| {
            let known = self.clusters.keys().cloned().collect();
            Error::new(name, Failure::UnknownCluster { known })
        })
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.clusters.keys().map(String::as_str)
    }

    /// Requests sent so far, over all clusters.
    pub fn requests(&self) -> u64 {
        self.clusters.values().map(Cluster::requests).sum()
    }
}

impl Cluster {
    /// A cluster outside the provider configuration, such as the one a remote secret describes.
    pub fn standalone(name: &str, config: ClusterConfig, version: &str) -> Cluster {
        let connections = session::Connections::new(config, version);
        let (held, uid, pods) = (read::Held::default(), OnceCell::new(), forward::PodConnections::default());
        let shared = Shared { name: name.to_owned(), version: version.to_owned(), connections, held, uid, pods };
        Cluster { shared: Arc::new(shared), scope: Scope::default(), why_ended: Why::default() }
    }

    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The same cluster, its requests and waits bounded by `scope`.
    pub fn within(&self, scope: Scope) -> Cluster {
        Cluster { shared: self.shared.clone(), scope, why_ended: self.why_ended.clone() }
    }

    /// The same server and trust, another credential, a connection of its own: to prove a token. It acts as nobody
    /// else.
    pub fn with_token(&self, token: Secret) -> Cluster {
        let config = ClusterConfig { token: Some(token), alone: true, ..self.shared.connections.config().clone() };
        Cluster { scope: self.scope.clone(), ..Cluster::standalone(self.name(), config, &self.shared.version) }
    }

    /// The same cluster, its requests ending also when `cancel` says so, for the reason in `why`. The token ends with
    /// the scope's own.
    pub fn until(&self, cancel: CancellationToken, why: Why) -> Cluster {
        let scope = Scope { deadline: self.scope.deadline, cancel };
        Cluster { why_ended: why, ..self.within(scope) }
    }

    /// Which cluster the configuration means by this name, where it says so.
    pub fn meant(&self) -> Option<&str> {
        self.shared.connections.config().uid.as_deref()
    }

    /// By how many seconds this machine's clock is ahead of the cluster's, as the last answer told; negative where it
    /// is behind.
    pub fn clock_ahead(&self) -> Option<i64> {
        self.shared.connections.ahead()
    }

    /// The time by the cluster's clock, as well as it is known.
    pub fn now(&self) -> Timestamp {
        self.shared.connections.now()
    }

    /// When and by what the requests of this handle end.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Requests sent so far, repetitions included.
    pub fn requests(&self) -> u64 {
        self.shared.connections.requests()
    }
}

impl Scope {
    /// Ends after `time` from now, or when cancelled.
    pub fn lasting(time: Duration, cancel: CancellationToken) -> Scope {
        Scope { deadline: Instant::now().checked_add(time), cancel }
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("name", &self.shared.name).finish_non_exhaustive()
    }
}
