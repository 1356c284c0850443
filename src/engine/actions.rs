//! The RPCs of actions.

use std::time::Duration;

use tokio::sync::mpsc;

use super::action::Progress;
use super::context::caught;
use super::erased::Outcome;
use super::lookups::unknown_type;
use super::rpc::*;
use super::server::Engine;
use super::{Timeouts, wire};
use crate::diag::Diagnostics;

/// Actions have no attribute `timeouts`: each step of one has its own time. This is the end of one that hangs all the
/// same.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

impl Engine {
    pub async fn validate_action_config(&self, request: ValidateConfig) -> Diagnostics {
        let Some((schema, action)) = self.actions.get(&request.type_name).cloned() else {
            return unknown_type("action", &request.type_name);
        };
        let ValidateConfig { config, capabilities, .. } = request;
        self.validate_against(&schema, config, capabilities, move |config| action.validate(config)).await
    }

    pub async fn plan_action(&self, request: Action) -> PlanActionResponse {
        let Some((schema, action)) = self.actions.get(&request.type_name).cloned() else {
            return PlanActionResponse { diagnostics: unknown_type("action", &request.type_name), deferred: None };
        };
        let config = match wire::decode(&request.config, &schema.ty()) {
            Ok(config) => config,
            Err(diagnostic) => return PlanActionResponse { diagnostics: diagnostic.into(), deferred: None },
        };
        let call = self.call(request.capabilities).taking(Timeouts::DEFAULT.read);
        let planned = caught("planning an action", async move { action.plan(&call, config).await }).await;
        let Outcome { diagnostics, deferred, .. } = planned.unwrap_or_else(Outcome::failed);
        PlanActionResponse { diagnostics, deferred }
    }

    /// Events arrive as they happen. Dropping the receiver ends nothing: a stop of the run does.
    pub fn invoke_action(&self, request: Action) -> mpsc::Receiver<InvokeActionEvent> {
        let (sender, receiver) = mpsc::channel(16);
        let prepared = self.actions.get(&request.type_name).cloned();
        let prepared = prepared.ok_or_else(|| unknown_type("action", &request.type_name));
        let prepared = prepared.and_then(|(schema, action)| Ok((wire::decode(&request.config, &schema.ty())?, action)));
        let call = self.call(request.capabilities).taking(LONGEST);
        tokio::spawn(async move {
            let diagnostics = match prepared {
                Ok((config, action)) => {
                    let progress = Progress::new(sender.clone());
                    let invoked = async move { action.invoke(&call, config, progress).await };
                    caught("invoking an action", invoked).await.unwrap_or_else(Diagnostics::from)
                }
                Err(diagnostics) => diagnostics,
            };
            // Who no longer listens wants to hear nothing.
            let _ = sender.send(InvokeActionEvent::Completed(diagnostics)).await;
        });
        receiver
    }
}
