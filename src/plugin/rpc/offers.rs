//! What the provider offers: schemas, names, functions, identities, capabilities.

use std::collections::BTreeMap;

use super::schema;
use crate::engine::Engine;
use crate::plugin::proto::tfplugin6 as pb;
use crate::schema::Schema;

const CAPABILITIES: pb::ServerCapabilities = pb::ServerCapabilities {
    plan_destroy: true,
    // The cores may keep the schema for the other processes of a run: ours need not be asked for it.
    get_provider_schema_optional: true,
    move_resource_state: true,
    generate_resource_config: true,
};

pub(super) async fn get_metadata(engine: &Engine, _: pb::get_metadata::Request) -> pb::get_metadata::Response {
    use pb::get_metadata::{
        ActionMetadata, DataSourceMetadata, EphemeralResourceMetadata, FunctionMetadata, ListResourceMetadata,
        ResourceMetadata,
    };

    let offered = engine.schema();
    pb::get_metadata::Response {
        server_capabilities: Some(CAPABILITIES),
        resources: offered.resources.keys().cloned().map(|type_name| ResourceMetadata { type_name }).collect(),
        data_sources: offered.data_sources.keys().cloned().map(|type_name| DataSourceMetadata { type_name }).collect(),
        functions: offered.functions.keys().cloned().map(|name| FunctionMetadata { name }).collect(),
        ephemeral_resources: offered
            .ephemeral_resources
            .keys()
            .cloned()
            .map(|type_name| EphemeralResourceMetadata { type_name })
            .collect(),
        list_resources: offered
            .list_resources
            .keys()
            .cloned()
            .map(|type_name| ListResourceMetadata { type_name })
            .collect(),
        actions: offered.actions.keys().cloned().map(|type_name| ActionMetadata { type_name }).collect(),
        ..pb::get_metadata::Response::default()
    }
}

pub(super) async fn get_provider_schema(
    engine: &Engine,
    _: pb::get_provider_schema::Request,
) -> pb::get_provider_schema::Response {
    let offered = engine.schema();
    let all = |schemas: &BTreeMap<String, Schema>| {
        schemas.iter().map(|(name, schema)| (name.clone(), schema::schema(schema))).collect()
    };
    pb::get_provider_schema::Response {
        provider: Some(schema::schema(&offered.provider)),
        resource_schemas: all(&offered.resources),
        data_source_schemas: all(&offered.data_sources),
        ephemeral_resource_schemas: all(&offered.ephemeral_resources),
        list_resource_schemas: all(&offered.list_resources),
        action_schemas: offered
            .actions
            .iter()
            .map(|(name, schema)| (name.clone(), pb::ActionSchema { schema: Some(schema::schema(schema)) }))
            .collect(),
        functions: functions(engine),
        server_capabilities: Some(CAPABILITIES),
        ..pb::get_provider_schema::Response::default()
    }
}

pub(super) async fn get_resource_identity_schemas(
    engine: &Engine,
    _: pb::get_resource_identity_schemas::Request,
) -> pb::get_resource_identity_schemas::Response {
    let identities = &engine.schema().identities;
    pb::get_resource_identity_schemas::Response {
        identity_schemas: identities.iter().map(|(name, schema)| (name.clone(), schema::identity(schema))).collect(),
        diagnostics: Vec::new(),
    }
}

pub(super) async fn get_functions(engine: &Engine, _: pb::get_functions::Request) -> pb::get_functions::Response {
    pb::get_functions::Response { functions: functions(engine), diagnostics: Vec::new() }
}

fn functions<M: FromIterator<(String, pb::Function)>>(engine: &Engine) -> M {
    engine.schema().functions.iter().map(|(name, signature)| (name.clone(), schema::function(signature))).collect()
}
