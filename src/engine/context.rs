//! What a handler gets beside its arguments, and the guard that it runs under: deadline, cancellation, panic.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use tokio_util::sync::CancellationToken;

use super::calls::Calls;
use super::rpc::{ClientCapabilities, DeferredReason};
use crate::diag::{Diagnostic, Diagnostics};

/// How long past its deadline a handler may take to notice, before it is dropped.
const GRACE: Duration = Duration::from_secs(10);

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
    calls: Arc<Calls>,
    diagnostics: Diagnostics,
    deferred: Option<DeferredReason>,
}

impl<C, P> Ctx<C, P> {
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

    /// When this call must be over, by the `timeouts` attribute.
    pub fn deadline(&self) -> Instant {
        self.deadline
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

    /// Waits until the core has had nothing else under way for so long, as when it has planned all that it can plan
    /// before this. `false` where that cannot be told, as it changes things by now or plans one resource after the
    /// other, and where the call is to end.
    pub async fn others_are_done(&self, quiet: Duration) -> bool {
        self.run("waiting for other resources", self.calls.others_done(quiet)).await.unwrap_or(false)
    }

    /// The same, but waits for changes too. For what a plan must know: an apply plans each resource once more, and must
    /// come to the same.
    pub async fn others_are_quiet(&self, quiet: Duration) {
        // The end of the call is told by what the call does next.
        let _ = self.run("waiting for other resources", self.calls.others_quiet(quiet)).await;
    }

    /// Whether the core changes things by now. It plans each resource once more before it applies it, and what was
    /// known before was said before.
    pub fn is_changing(&self) -> bool {
        self.calls.has_changes()
    }

    /// Says something that stops nothing.
    pub fn warn(&mut self, warning: Diagnostic) {
        self.diagnostics.push(warning);
    }

    /// Puts this one object off to a later round, where the client allows that; elsewhere without effect. Return as if
    /// it had none.
    pub fn defer(&mut self, reason: DeferredReason) {
        if self.capabilities.deferral_allowed {
            self.deferred = Some(reason);
        }
    }
}

impl<C: Send + Sync + 'static, P> Ctx<C, P> {
    pub(super) fn new(call: &Call, private: P) -> Self {
        Self {
            private,
            client: call.client.clone().and_then(|client| client.downcast().ok()),
            cancel: call.cancel.clone(),
            deadline: Instant::now() + call.time,
            capabilities: call.capabilities,
            calls: Arc::clone(&call.calls),
            diagnostics: Diagnostics::new(),
            deferred: None,
        }
    }
}

impl<C, P> Ctx<C, P> {
    pub(super) fn into_parts(self) -> (P, Diagnostics, Option<DeferredReason>) {
        (self.private, self.diagnostics, self.deferred)
    }
}

/// The part of a context that depends on the call alone.
#[derive(Clone)]
pub(super) struct Call {
    pub client: Option<Arc<dyn Any + Send + Sync>>,
    pub cancel: CancellationToken,
    pub time: Duration,
    pub capabilities: ClientCapabilities,
    pub calls: Arc<Calls>,
}

impl Call {
    pub fn taking(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }

    /// Runs a handler: a panic becomes a diagnostic, and one that ignores its deadline is dropped. It is boxed since it
    /// is large, and would lie on the stack once for each of these calls.
    pub async fn guard<T>(&self, what: &str, handler: Pin<Box<impl Future<Output = T>>>) -> Result<T, Diagnostic> {
        let _under_way = self.calls.begin();
        self.bounded(what, handler).await
    }

    /// The same for one that changes something.
    pub async fn guard_change<T>(
        &self,
        what: &str,
        handler: Pin<Box<impl Future<Output = T>>>,
    ) -> Result<T, Diagnostic> {
        let _under_way = self.calls.begin_change();
        self.bounded(what, handler).await
    }

    async fn bounded<T>(&self, what: &str, handler: Pin<Box<impl Future<Output = T>>>) -> Result<T, Diagnostic> {
        match tokio::time::timeout(self.time + GRACE, caught(what, handler)).await {
            Ok(done) => done,
            Err(_) => Err(timed_out(what)),
        }
    }
}

/// The net for panics, under everything that an author writes: what panics becomes a diagnostic.
pub(super) async fn caught<T>(what: &str, handler: impl Future<Output = T>) -> Result<T, Diagnostic> {
    AssertUnwindSafe(Box::pin(handler)).catch_unwind().await.map_err(|panic| panicked(what, &*panic))
}

/// The diagnostic of a caught panic. A formatted message may hold a secret, so only literal ones are passed on; the
/// panic hook has logged the place.
fn panicked(what: &str, panic: &(dyn Any + Send)) -> Diagnostic {
    let message = panic.downcast_ref::<&'static str>().map(|text| format!(" ({text})")).unwrap_or_default();
    Diagnostic::bug(format!("The provider panicked while {what}{message}. The log at TF_LOG=ERROR names the place."))
}

fn interrupted(what: &str) -> Diagnostic {
    Diagnostic::error("Interrupted").detail(format!(
        "The run was stopped while {what}. What exists by now is kept in state; apply again to continue."
    ))
}

fn timed_out(what: &str) -> Diagnostic {
    Diagnostic::error("Timed out").detail(format!(
        "The time allowed was over while {what}. What exists by now is kept in state; apply again to continue, \
         or allow more time in the attribute `timeouts`."
    ))
}
