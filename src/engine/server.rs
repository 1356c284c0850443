use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::provider::Provider;
use super::registry::Registry;
use super::rpc::*;
use crate::diag::Diagnostics;

/// The provider as the plugin layer sees it: one method per RPC. Every handler runs in a task of its own, so that a
/// panic becomes a diagnostic and a dropped connection cuts nothing short.
pub struct Engine {
    schema: ProviderSchema,
    stop: Mutex<CancellationToken>,
}

impl Engine {
    pub fn new<P: Provider>(provider: P, registry: Registry<P::Client>) -> Arc<Self> {
        let _ = (provider, registry);
        todo!()
    }

    /// GetProviderSchema, GetMetadata, GetFunctions, GetResourceIdentitySchemas.
    pub fn schema(&self) -> &ProviderSchema {
        &self.schema
    }

    /// StopProvider: cancels what runs; what comes later runs uncancelled.
    pub fn stop(&self) {
        let mut token = self.stop.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        std::mem::take(&mut *token).cancel();
    }

    pub async fn validate_provider_config(&self, _: ValidateProviderConfig) -> Diagnostics {
        todo!()
    }
    pub async fn configure_provider(&self, _: ConfigureProvider) -> Diagnostics {
        todo!()
    }
    pub async fn validate_resource_config(&self, _: ValidateConfig) -> Diagnostics {
        todo!()
    }
    pub async fn validate_data_resource_config(&self, _: ValidateConfig) -> Diagnostics {
        todo!()
    }
    pub async fn validate_ephemeral_resource_config(&self, _: ValidateConfig) -> Diagnostics {
        todo!()
    }
    pub async fn validate_list_resource_config(&self, _: ValidateConfig) -> Diagnostics {
        todo!()
    }
    pub async fn upgrade_resource_state(&self, _: UpgradeResourceState) -> UpgradedState {
        todo!()
    }
    pub async fn upgrade_resource_identity(&self, _: UpgradeResourceIdentity) -> UpgradedIdentity {
        todo!()
    }
    pub async fn read_resource(&self, _: ReadResource) -> ReadResourceResponse {
        todo!()
    }
    pub async fn plan_resource_change(&self, _: PlanResourceChange) -> PlanResourceChangeResponse {
        todo!()
    }
    pub async fn apply_resource_change(&self, _: ApplyResourceChange) -> ApplyResourceChangeResponse {
        todo!()
    }
    pub async fn import_resource_state(&self, _: ImportResourceState) -> ImportResourceStateResponse {
        todo!()
    }
    pub async fn move_resource_state(&self, _: MoveResourceState) -> MoveResourceStateResponse {
        todo!()
    }
    pub async fn read_data_source(&self, _: ReadDataSource) -> ReadDataSourceResponse {
        todo!()
    }
    pub async fn call_function(&self, _: CallFunction) -> CallFunctionResponse {
        todo!()
    }
    pub async fn open_ephemeral_resource(&self, _: OpenEphemeralResource) -> OpenEphemeralResourceResponse {
        todo!()
    }
    pub async fn renew_ephemeral_resource(&self, _: EphemeralResource) -> RenewEphemeralResourceResponse {
        todo!()
    }
    pub async fn close_ephemeral_resource(&self, _: EphemeralResource) -> Diagnostics {
        todo!()
    }
    /// Events arrive as they are found; dropping the receiver ends the search.
    pub fn list_resource(&self, _: ListResource) -> mpsc::Receiver<ListResourceEvent> {
        todo!()
    }
    pub async fn generate_resource_config(&self, _: GenerateResourceConfig) -> GenerateResourceConfigResponse {
        todo!()
    }
}
