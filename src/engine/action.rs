//! Actions: what is done once when it is asked for, and has no state. What their author implements, and the same
//! without its types, as the registry holds it.

use std::future::Future;

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::context::{Call, Ctx};
use super::erased::{Outcome, close, flatten};
use super::rpc::InvokeActionEvent;
use crate::diag::Diagnostics;
use crate::schema::{Model, Schema};
use crate::value::Dyn;

/// Something that is done once, when it is asked for.
pub trait Action: Send + Sync + 'static {
    type Client: Send + Sync + 'static;
    type Model: Model;

    /// The name without the provider's prefix.
    const NAME: &'static str;

    /// Rules over several attributes: never complain of unknown.
    fn validate(&self, config: &Self::Model, diagnostics: &mut Diagnostics) {
        let _ = (config, diagnostics);
    }

    /// Judges the configuration when planning, with unknown values in it. Changes nothing.
    fn plan(
        &self,
        cx: &mut Ctx<Self::Client>,
        config: &Self::Model,
    ) -> impl Future<Output = Result<(), Diagnostics>> + Send {
        let _ = (cx, config);
        async { Ok(()) }
    }

    /// Does it. Nothing in the configuration is unknown.
    fn invoke(
        &self,
        cx: &mut Ctx<Self::Client>,
        config: Self::Model,
        progress: &Progress,
    ) -> impl Future<Output = Result<(), Diagnostics>> + Send;
}

/// Where an action says how far it has come.
pub struct Progress(mpsc::Sender<InvokeActionEvent>);

impl Progress {
    pub(super) fn new(sender: mpsc::Sender<InvokeActionEvent>) -> Progress {
        Progress(sender)
    }

    /// A line for the user, who reads it at once. Whoever no longer listens does not end the action: what it has begun
    /// it finishes, and a stop of the run tells it by its context.
    pub async fn say(&self, line: String) {
        let _ = self.0.send(InvokeActionEvent::Progress(line)).await;
    }
}

#[async_trait]
pub(super) trait ErasedAction: Send + Sync {
    fn schema(&self) -> Schema;
    fn validate(&self, config: &Dyn) -> Diagnostics;
    async fn plan(&self, call: &Call, config: Dyn) -> Outcome;
    async fn invoke(&self, call: &Call, config: Dyn, progress: Progress) -> Diagnostics;
}

/// Wraps the typed trait.
pub(super) struct TypedAction<A>(pub A);

#[async_trait]
impl<A: Action> ErasedAction for TypedAction<A> {
    fn schema(&self) -> Schema {
        Schema::of::<A::Model>(0)
    }

    fn validate(&self, config: &Dyn) -> Diagnostics {
        let mut diagnostics = Diagnostics::new();
        match A::Model::decode(config) {
            Ok(config) => self.0.validate(&config, &mut diagnostics),
            Err(error) => diagnostics.push(error),
        }
        diagnostics
    }

    async fn plan(&self, call: &Call, config: Dyn) -> Outcome {
        let mut cx = Ctx::<A::Client>::new(call, ());
        let config = match A::Model::decode(&config) {
            Ok(config) => config,
            Err(error) => return Outcome::failed(error),
        };
        let planned = flatten(call.guard("planning an action", Box::pin(self.0.plan(&mut cx, &config))).await);
        close(cx, planned)
    }

    async fn invoke(&self, call: &Call, config: Dyn, progress: Progress) -> Diagnostics {
        let mut cx = Ctx::<A::Client>::new(call, ());
        let config = match A::Model::decode(&config) {
            Ok(config) => config,
            Err(error) => return Diagnostics::from(error),
        };
        let invoked = Box::pin(self.0.invoke(&mut cx, config, &progress));
        let invoked = flatten(call.guard_change("invoking an action", invoked).await);
        close(cx, invoked).diagnostics
    }
}
