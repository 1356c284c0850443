use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::rpc::ClientCapabilities;
use crate::diag::{Diagnostic, Diagnostics};

/// What a handler gets beside its arguments: the configured client, cancellation, its deadline, its private data, and a
/// place for warnings.
///
/// `C` is the provider's client, `P` the resource's private data. Code shared by resources takes `&Ctx<C, P>` or just
/// what it needs of it.
pub struct Ctx<C, P = ()> {
    /// Data that Terraform keeps beside the state, unencrypted: what the handler leaves here is there next time.
    pub private: P,
    client: Option<Arc<C>>,
    cancel: CancellationToken,
    deadline: Instant,
    capabilities: ClientCapabilities,
    diagnostics: Diagnostics,
}

impl<C, P> Ctx<C, P> {
    pub(super) fn new(client: Option<Arc<C>>, private: P, call: &Call) -> Self {
        let Call { cancel, deadline, capabilities } = call.clone();
        Self { private, client, cancel, deadline, capabilities, diagnostics: Diagnostics::new() }
    }

    /// The configured client. An error when the provider is not configured, which the cores see to.
    pub fn client(&self) -> Result<&Arc<C>, Diagnostic> {
        self.client.as_ref().ok_or_else(|| {
            Diagnostic::error("Provider not configured").detail("This call needs the provider's configuration.")
        })
    }

    /// Fires when the user stops the run. Finish what must be finished, keep in state what exists, and return.
    pub fn cancellation(&self) -> &CancellationToken {
        &self.cancel
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// When this call must be over, by the `timeouts` attribute.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Waits for `work`, but no longer than the deadline and not past a stop; `what` completes "… while ".
    pub async fn run<T>(&self, what: &str, work: impl Future<Output = T>) -> Result<T, Diagnostic> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            () = self.cancel.cancelled() => Err(interrupted(what)),
            () = tokio::time::sleep_until(self.deadline.into()) => Err(timed_out(what)),
        }
    }

    pub fn capabilities(&self) -> ClientCapabilities {
        self.capabilities
    }

    /// Says something that stops nothing.
    pub fn warn(&mut self, warning: Diagnostic) {
        self.diagnostics.push(warning);
    }

    pub(super) fn into_parts(self) -> (P, Diagnostics) {
        (self.private, self.diagnostics)
    }
}

fn interrupted(what: &str) -> Diagnostic {
    Diagnostic::error("Interrupted")
        .detail(format!("The run was stopped while {what}. What exists by now is kept in state; apply again to go on."))
}

pub(super) fn timed_out(what: &str) -> Diagnostic {
    Diagnostic::error("Timed out").detail(format!(
        "The time allowed was over while {what}. What exists by now is kept in state; apply again to go on, \
         or allow more time in the attribute `timeouts`."
    ))
}

/// The part of a context that depends on the call alone.
#[derive(Clone)]
pub struct Call {
    pub(super) cancel: CancellationToken,
    pub(super) deadline: Instant,
    pub(super) capabilities: ClientCapabilities,
}
