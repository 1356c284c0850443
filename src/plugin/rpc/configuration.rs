//! The provider's own configuration, and its stop.

use super::wire;
use crate::engine::{Engine, rpc};
use crate::plugin::proto::tfplugin6 as pb;

pub(super) async fn validate_provider_config(
    engine: &Engine,
    request: pb::validate_provider_config::Request,
) -> pb::validate_provider_config::Response {
    let config = wire::decoded(request.config);
    let diagnostics = engine.validate_provider_config(rpc::ValidateProviderConfig { config }).await;
    pb::validate_provider_config::Response { diagnostics: wire::diagnostics(diagnostics) }
}

pub(super) async fn configure_provider(
    engine: &Engine,
    request: pb::configure_provider::Request,
) -> pb::configure_provider::Response {
    let configure = rpc::ConfigureProvider {
        terraform_version: request.terraform_version,
        config: wire::decoded(request.config),
        capabilities: wire::capabilities(request.client_capabilities),
    };
    let diagnostics = engine.configure_provider(configure).await;
    pb::configure_provider::Response { diagnostics: wire::diagnostics(diagnostics) }
}

/// The core goes on to use the process afterwards, so this ends the work under way and nothing else.
pub(super) async fn stop_provider(engine: &Engine, _: pb::stop_provider::Request) -> pb::stop_provider::Response {
    tracing::debug!("asked to stop");
    engine.stop();
    pb::stop_provider::Response::default()
}
