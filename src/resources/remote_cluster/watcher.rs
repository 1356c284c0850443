//! One watcher of the cluster: what a link to it needs to know.

use std::time::Instant;

use super::credential::Order;
use super::model::RemoteCluster;
use super::secret;
use super::spec::{Endpoint, Spec};
use crate::cluster::{Cluster, Error, ObjectRef, Owner};
use crate::diag::Diagnostic;
use crate::istiod::Istiod;
use crate::resources::walk::Walk;

/// Whether a watcher may have a renewal from before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenewalBefore {
    /// State says so.
    Made,
    /// An apply was cut off before it could tell.
    Perhaps,
    No,
}

impl RenewalBefore {
    pub fn of(prior: Option<&RemoteCluster>, interrupted: bool) -> Self {
        match prior.and_then(|prior| prior.token.known()) {
            Some(token) if token.renewal.is_known() => Self::Made,
            _ if interrupted => Self::Perhaps,
            _ => Self::No,
        }
    }
}

/// A link to make or to renew.
#[derive(Clone, Copy)]
pub struct Link<'a> {
    pub walk: &'a Walk,
    pub owner: &'a Owner,
    pub watched: &'a Cluster,
    pub watcher: &'a Cluster,
    /// Where the watcher's istiods look for remote secrets: in their own cluster, but for an external control plane.
    pub secrets: &'a Cluster,
    /// When to give up waiting: early enough to find out why.
    pub until: Instant,
    /// The time when the links were begun, in seconds since 1970.
    pub now: i64,
    pub spec: &'a Spec,
    pub endpoint: &'a Endpoint,
    pub secret_name: &'a str,
    /// The watcher has had this link before.
    pub known: bool,
    /// State knows the cluster, or a create of it was cut off: the watcher may have tokens although no link is known.
    pub may_have_tokens: bool,
    /// The token it has shall stay, if it can be read.
    pub keep_token: bool,
    pub renewal_before: RenewalBefore,
}

impl Link<'_> {
    pub fn reference(&self) -> ObjectRef {
        secret::reference(self.spec, self.secret_name)
    }

    /// The watcher's istiods.
    pub fn istiod(&self) -> Istiod {
        Istiod::of(self.watcher, self.spec.namespace.as_str())
    }

    /// By what istiod knows the cluster.
    pub fn secret(&self) -> String {
        self.spec.registered_by(self.secret_name)
    }

    pub fn order(&self) -> Order<'_> {
        Order {
            watched: self.watched,
            owner: self.owner,
            spec: self.spec,
            watcher: self.watcher.name(),
            again: self.known || self.may_have_tokens,
            secrets: None,
        }
    }
}

/// A failure that is the watcher's is told at the watchers.
pub fn failed(link: Link<'_>, error: &Error) -> Diagnostic {
    let diagnostic = Diagnostic::from(error);
    if *error.cluster == *link.watcher.name() && diagnostic.path.is_none() {
        diagnostic.at("watchers")
    } else {
        diagnostic
    }
}
