//! Managed resources.

use super::wire::{self, Answer as _};
use crate::engine::{Engine, rpc};
use crate::plugin::proto::tfplugin6 as pb;

pub(super) async fn validate_resource_config(
    engine: &Engine,
    request: pb::validate_resource_config::Request,
) -> pb::validate_resource_config::Response {
    let validate = rpc::ValidateConfig {
        type_name: request.type_name,
        config: wire::decoded(request.config),
        capabilities: wire::capabilities(request.client_capabilities),
    };
    let diagnostics = engine.validate_resource_config(validate).await;
    pb::validate_resource_config::Response { diagnostics: wire::diagnostics(diagnostics) }
}

pub(super) async fn upgrade_resource_state(
    engine: &Engine,
    request: pb::upgrade_resource_state::Request,
) -> pb::upgrade_resource_state::Response {
    let json = match wire::raw(request.raw_state) {
        Ok(json) => json,
        Err(error) => return pb::upgrade_resource_state::Response::failed(wire::diagnostic(error)),
    };
    let upgrade = rpc::UpgradeResourceState { type_name: request.type_name, version: request.version, json };
    let upgraded = engine.upgrade_resource_state(upgrade).await;
    pb::upgrade_resource_state::Response {
        upgraded_state: upgraded.state.and_then(wire::encoded),
        diagnostics: wire::diagnostics(upgraded.diagnostics),
    }
}

pub(super) async fn upgrade_resource_identity(
    engine: &Engine,
    request: pb::upgrade_resource_identity::Request,
) -> pb::upgrade_resource_identity::Response {
    let json = match wire::raw(request.raw_identity) {
        Ok(json) => json,
        Err(error) => return pb::upgrade_resource_identity::Response::failed(wire::diagnostic(error)),
    };
    let upgrade = rpc::UpgradeResourceIdentity { type_name: request.type_name, version: request.version, json };
    let upgraded = engine.upgrade_resource_identity(upgrade).await;
    pb::upgrade_resource_identity::Response {
        upgraded_identity: wire::encoded_identity(upgraded.identity),
        diagnostics: wire::diagnostics(upgraded.diagnostics),
    }
}

pub(super) async fn read_resource(engine: &Engine, request: pb::read_resource::Request) -> pb::read_resource::Response {
    let read = rpc::ReadResource {
        type_name: request.type_name,
        current_state: wire::decoded(request.current_state),
        private: request.private,
        current_identity: wire::decoded_identity(request.current_identity),
        capabilities: wire::capabilities(request.client_capabilities),
    };
    let read = engine.read_resource(read).await;
    pb::read_resource::Response {
        new_state: wire::encoded(read.new_state),
        diagnostics: wire::diagnostics(read.diagnostics),
        private: read.private,
        deferred: wire::deferred(read.deferred),
        new_identity: wire::encoded_identity(read.new_identity),
    }
}

pub(super) async fn plan_resource_change(
    engine: &Engine,
    request: pb::plan_resource_change::Request,
) -> pb::plan_resource_change::Response {
    let plan = rpc::PlanResourceChange {
        type_name: request.type_name,
        prior_state: wire::decoded(request.prior_state),
        proposed_new_state: wire::decoded(request.proposed_new_state),
        config: wire::decoded(request.config),
        prior_private: request.prior_private,
        planned_private: Vec::new(),
        prior_identity: wire::decoded_identity(request.prior_identity),
        capabilities: wire::capabilities(request.client_capabilities),
    };
    let planned = engine.plan_resource_change(plan).await;
    pb::plan_resource_change::Response {
        planned_state: wire::encoded(planned.planned_state),
        requires_replace: planned.requires_replace.iter().map(wire::path).collect(),
        planned_private: planned.planned_private,
        diagnostics: wire::diagnostics(planned.diagnostics),
        // Would turn the cores' consistency checks into warnings. Ours pass them.
        legacy_type_system: false,
        deferred: wire::deferred(planned.deferred),
        planned_identity: wire::encoded_identity(planned.planned_identity),
    }
}

pub(super) async fn apply_resource_change(
    engine: &Engine,
    request: pb::apply_resource_change::Request,
) -> pb::apply_resource_change::Response {
    let apply = rpc::ApplyResourceChange {
        type_name: request.type_name,
        prior_state: wire::decoded(request.prior_state),
        planned_state: wire::decoded(request.planned_state),
        config: wire::decoded(request.config),
        planned_private: request.planned_private,
        planned_identity: wire::decoded_identity(request.planned_identity),
        // The request has none: what the client can do was said when it planned.
        capabilities: wire::capabilities(None),
    };
    let applied = engine.apply_resource_change(apply).await;
    pb::apply_resource_change::Response {
        new_state: wire::encoded(applied.new_state),
        private: applied.private,
        diagnostics: wire::diagnostics(applied.diagnostics),
        legacy_type_system: false,
        new_identity: wire::encoded_identity(applied.new_identity),
    }
}

pub(super) async fn import_resource_state(
    engine: &Engine,
    request: pb::import_resource_state::Request,
) -> pb::import_resource_state::Response {
    let import = rpc::ImportResourceState {
        type_name: request.type_name,
        id: request.id,
        identity: wire::decoded_identity(request.identity),
        capabilities: wire::capabilities(request.client_capabilities),
    };
    let answer = engine.import_resource_state(import).await;
    let imported = |imported: rpc::ImportedResource| pb::import_resource_state::ImportedResource {
        type_name: imported.type_name,
        state: wire::encoded(imported.state),
        private: imported.private,
        identity: wire::encoded_identity(imported.identity),
    };
    pb::import_resource_state::Response {
        imported_resources: answer.imported.into_iter().map(imported).collect(),
        diagnostics: wire::diagnostics(answer.diagnostics),
        deferred: wire::deferred(answer.deferred),
    }
}

pub(super) async fn move_resource_state(
    engine: &Engine,
    request: pb::move_resource_state::Request,
) -> pb::move_resource_state::Response {
    let source_state = match wire::raw(request.source_state) {
        Ok(json) => json,
        Err(error) => return pb::move_resource_state::Response::failed(wire::diagnostic(error)),
    };
    let moving = rpc::MoveResourceState {
        source_provider_address: request.source_provider_address,
        source_type_name: request.source_type_name,
        source_schema_version: request.source_schema_version,
        source_state,
        target_type_name: request.target_type_name,
    };
    let moved = engine.move_resource_state(moving).await;
    pb::move_resource_state::Response {
        target_state: moved.target_state.and_then(wire::encoded),
        diagnostics: wire::diagnostics(moved.diagnostics),
        target_private: moved.target_private,
        target_identity: wire::encoded_identity(moved.target_identity),
    }
}

pub(super) async fn generate_resource_config(
    engine: &Engine,
    request: pb::generate_resource_config::Request,
) -> pb::generate_resource_config::Response {
    let generate = rpc::GenerateResourceConfig { type_name: request.type_name, state: wire::decoded(request.state) };
    let generated = engine.generate_resource_config(generate).await;
    pb::generate_resource_config::Response {
        config: wire::encoded(generated.config),
        diagnostics: wire::diagnostics(generated.diagnostics),
    }
}
