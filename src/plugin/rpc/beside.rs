//! What is beside managed resources: data sources, functions, ephemeral resources, lists, actions.

use futures::{Stream, StreamExt as _};
use tokio_stream::wrappers::ReceiverStream;

use super::wire;
use crate::engine::{Engine, rpc};
use crate::plugin::mask;
use crate::plugin::proto::tfplugin6 as pb;

pub(super) async fn validate_data_resource_config(
    engine: &Engine,
    request: pb::validate_data_resource_config::Request,
) -> pb::validate_data_resource_config::Response {
    let validate = validate(request.type_name, request.config);
    let diagnostics = engine.validate_data_resource_config(validate).await;
    pb::validate_data_resource_config::Response { diagnostics: wire::diagnostics(diagnostics) }
}

pub(super) async fn read_data_source(
    engine: &Engine,
    request: pb::read_data_source::Request,
) -> pb::read_data_source::Response {
    let read = rpc::ReadDataSource {
        type_name: request.type_name,
        config: wire::decoded(request.config),
        capabilities: wire::capabilities(request.client_capabilities),
    };
    let read = engine.read_data_source(read).await;
    pb::read_data_source::Response {
        state: wire::encoded(read.state),
        diagnostics: wire::diagnostics(read.diagnostics),
        deferred: wire::deferred(read.deferred),
    }
}

pub(super) async fn call_function(engine: &Engine, request: pb::call_function::Request) -> pb::call_function::Response {
    let arguments = request.arguments.into_iter().map(|argument| wire::decoded(Some(argument))).collect();
    match engine.call_function(rpc::CallFunction { name: request.name, arguments }).await.result {
        Ok(result) => pb::call_function::Response { result: wire::encoded(result), error: None },
        Err(error) => {
            let text = mask::secrets(&error.text).into_owned();
            let error = pb::FunctionError { text, function_argument: error.argument };
            pb::call_function::Response { result: None, error: Some(error) }
        }
    }
}

pub(super) async fn validate_ephemeral_resource_config(
    engine: &Engine,
    request: pb::validate_ephemeral_resource_config::Request,
) -> pb::validate_ephemeral_resource_config::Response {
    let validate = validate(request.type_name, request.config);
    let diagnostics = engine.validate_ephemeral_resource_config(validate).await;
    pb::validate_ephemeral_resource_config::Response { diagnostics: wire::diagnostics(diagnostics) }
}

pub(super) async fn open_ephemeral_resource(
    engine: &Engine,
    request: pb::open_ephemeral_resource::Request,
) -> pb::open_ephemeral_resource::Response {
    let open = rpc::OpenEphemeralResource {
        type_name: request.type_name,
        config: wire::decoded(request.config),
        capabilities: wire::capabilities(request.client_capabilities),
    };
    let opened = engine.open_ephemeral_resource(open).await;
    pb::open_ephemeral_resource::Response {
        diagnostics: wire::diagnostics(opened.diagnostics),
        renew_at: opened.renew_at.map(wire::timestamp),
        result: wire::encoded(opened.result),
        private: Some(opened.private),
        deferred: wire::deferred(opened.deferred),
    }
}

pub(super) async fn renew_ephemeral_resource(
    engine: &Engine,
    request: pb::renew_ephemeral_resource::Request,
) -> pb::renew_ephemeral_resource::Response {
    let renewed = engine.renew_ephemeral_resource(ephemeral(request.type_name, request.private)).await;
    pb::renew_ephemeral_resource::Response {
        diagnostics: wire::diagnostics(renewed.diagnostics),
        renew_at: renewed.renew_at.map(wire::timestamp),
        private: Some(renewed.private),
    }
}

pub(super) async fn close_ephemeral_resource(
    engine: &Engine,
    request: pb::close_ephemeral_resource::Request,
) -> pb::close_ephemeral_resource::Response {
    let diagnostics = engine.close_ephemeral_resource(ephemeral(request.type_name, request.private)).await;
    pb::close_ephemeral_resource::Response { diagnostics: wire::diagnostics(diagnostics) }
}

pub(super) async fn validate_list_resource_config(
    engine: &Engine,
    request: pb::validate_list_resource_config::Request,
) -> pb::validate_list_resource_config::Response {
    let validate = validate(request.type_name, request.config);
    let diagnostics = engine.validate_list_resource_config(validate).await;
    pb::validate_list_resource_config::Response { diagnostics: wire::diagnostics(diagnostics) }
}

pub(super) fn list_resource(
    engine: &Engine,
    request: pb::list_resource::Request,
) -> impl Stream<Item = pb::list_resource::Event> + Send + 'static {
    let found = engine.list_resource(rpc::ListResource {
        type_name: request.type_name,
        config: wire::decoded(request.config),
        include_resource_object: request.include_resource_object,
        limit: request.limit,
    });
    ReceiverStream::new(found).map(|event| pb::list_resource::Event {
        identity: wire::encoded_identity(event.identity),
        display_name: event.display_name,
        resource_object: event.resource_object.and_then(wire::encoded),
        diagnostic: wire::diagnostics(event.diagnostics),
    })
}

pub(super) async fn validate_action_config(
    engine: &Engine,
    request: pb::validate_action_config::Request,
) -> pb::validate_action_config::Response {
    let validate = validate(request.action_type, request.config);
    let diagnostics = engine.validate_action_config(validate).await;
    pb::validate_action_config::Response { diagnostics: wire::diagnostics(diagnostics) }
}

pub(super) async fn plan_action(engine: &Engine, request: pb::plan_action::Request) -> pb::plan_action::Response {
    let planned = engine.plan_action(rpc::Action {
        type_name: request.action_type,
        config: wire::decoded(request.config),
        capabilities: wire::capabilities(request.client_capabilities),
    });
    let planned = planned.await;
    pb::plan_action::Response {
        diagnostics: wire::diagnostics(planned.diagnostics),
        deferred: wire::deferred(planned.deferred),
    }
}

pub(super) fn invoke_action(
    engine: &Engine,
    request: pb::invoke_action::Request,
) -> impl Stream<Item = pb::invoke_action::Event> + Send + 'static {
    use pb::invoke_action::event::{Completed, Progress, Type};

    let events = engine.invoke_action(rpc::Action {
        type_name: request.action_type,
        config: wire::decoded(request.config),
        capabilities: wire::capabilities(request.client_capabilities),
    });
    ReceiverStream::new(events).map(|event| {
        let event = match event {
            rpc::InvokeActionEvent::Progress(line) => {
                Type::Progress(Progress { message: mask::secrets(&line).into_owned() })
            }
            rpc::InvokeActionEvent::Completed(diagnostics) => {
                let diagnostics = wire::diagnostics(diagnostics);
                wire::log_diagnostics(&diagnostics);
                Type::Completed(Completed { diagnostics })
            }
        };
        pb::invoke_action::Event { r#type: Some(event) }
    })
}

fn validate(type_name: String, config: Option<pb::DynamicValue>) -> rpc::ValidateConfig {
    let capabilities = wire::capabilities(None);
    rpc::ValidateConfig { type_name, config: wire::decoded(config), capabilities }
}

fn ephemeral(type_name: String, private: Option<Vec<u8>>) -> rpc::EphemeralResource {
    rpc::EphemeralResource { type_name, private: private.unwrap_or_default() }
}
