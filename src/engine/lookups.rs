//! Data sources, ephemeral resources and functions: their RPCs.

use std::sync::Arc;

use super::context::caught;
use super::erased::Outcome;
use super::erased_lookups::{ErasedDataSource, ErasedEphemeral};
use super::function::{Arguments, Function, FunctionError, Parameter};
use super::plan::defaults;
use super::rpc::*;
use super::server::Engine;
use super::{Timeouts, conform, wire};
use crate::diag::{Diagnostic, Diagnostics};
use crate::schema::Schema;
use crate::value::{Dyn, Type};

impl Engine {
    pub async fn validate_data_resource_config(&self, request: ValidateConfig) -> Diagnostics {
        let Some((schema, source)) = self.data_source(&request.type_name) else {
            return unknown_type("data source", &request.type_name);
        };
        let ValidateConfig { config, capabilities, .. } = request;
        self.validate_against(&schema, config, capabilities, move |config| source.validate(config)).await
    }

    pub async fn read_data_source(&self, request: ReadDataSource) -> ReadDataSourceResponse {
        let mut response = ReadDataSourceResponse::default();
        let Some((schema, source)) = self.data_source(&request.type_name) else {
            response.diagnostics = unknown_type("data source", &request.type_name);
            return response;
        };
        let ty = schema.ty();
        let config = match wire::decode(&request.config, &ty) {
            Ok(config) => config,
            Err(diagnostic) => return ReadDataSourceResponse { diagnostics: diagnostic.into(), ..response },
        };
        let call = self.call(request.capabilities).taking(Timeouts::DEFAULT.read);
        let mut asked = config.clone();
        defaults(&mut asked, &config, &schema.attributes);
        let outcome = caught("reading", async move { source.read(&call, asked).await }).await;
        let outcome = outcome.unwrap_or_else(Outcome::failed);
        response.diagnostics = outcome.diagnostics;
        response.deferred = outcome.deferred;
        let Some(state) = outcome.value else { return response };
        if conform::ENABLED && response.deferred.is_none() {
            let attributes = &schema.attributes;
            response.diagnostics.append(conform::plan(conform::Planned {
                attributes,
                prior: None,
                config: &config,
                planned: &state,
            }));
            response.diagnostics.append(conform::state(&state, attributes));
        }
        response.state = wire::encode(&state, &ty, &mut response.diagnostics).unwrap_or_default();
        response
    }

    pub async fn validate_ephemeral_resource_config(&self, request: ValidateConfig) -> Diagnostics {
        let Some((schema, ephemeral)) = self.ephemeral(&request.type_name) else {
            return unknown_type("ephemeral resource", &request.type_name);
        };
        let ValidateConfig { config, capabilities, .. } = request;
        self.validate_against(&schema, config, capabilities, move |config| ephemeral.validate(config)).await
    }

    pub async fn open_ephemeral_resource(&self, request: OpenEphemeralResource) -> OpenEphemeralResourceResponse {
        let mut response = OpenEphemeralResourceResponse::default();
        let Some((schema, ephemeral)) = self.ephemeral(&request.type_name) else {
            response.diagnostics = unknown_type("ephemeral resource", &request.type_name);
            return response;
        };
        let ty = schema.ty();
        let config = match wire::decode(&request.config, &ty) {
            Ok(config) => config,
            Err(diagnostic) => return OpenEphemeralResourceResponse { diagnostics: diagnostic.into(), ..response },
        };
        let call = self.call(request.capabilities).taking(Timeouts::DEFAULT.read);
        let mut asked = config.clone();
        defaults(&mut asked, &config, &schema.attributes);
        let opened = caught("opening", async move { ephemeral.open(&call, asked).await }).await;
        let (outcome, renew_at) = opened.unwrap_or_else(|diagnostic| (Outcome::failed(diagnostic), None));
        response.diagnostics = outcome.diagnostics;
        response.deferred = outcome.deferred;
        response.private = outcome.private;
        response.renew_at = renew_at;
        if let Some(result) = outcome.value {
            if conform::ENABLED && response.deferred.is_none() {
                let inputs =
                    conform::Planned { attributes: &schema.attributes, prior: None, config: &config, planned: &result };
                response.diagnostics.append(conform::plan(inputs));
            }
            response.result = wire::encode(&result, &ty, &mut response.diagnostics).unwrap_or_default();
        }
        response
    }

    pub async fn renew_ephemeral_resource(&self, request: EphemeralResource) -> RenewEphemeralResourceResponse {
        let Some((_, ephemeral)) = self.ephemeral(&request.type_name) else {
            let diagnostics = unknown_type("ephemeral resource", &request.type_name);
            return RenewEphemeralResourceResponse { diagnostics, ..Default::default() };
        };
        let call = self.call(ClientCapabilities::default()).taking(Timeouts::DEFAULT.read);
        let renewed = caught("renewing", async move { ephemeral.renew(&call, &request.private).await }).await;
        let (outcome, renew_at) = renewed.unwrap_or_else(|diagnostic| (Outcome::failed(diagnostic), None));
        RenewEphemeralResourceResponse { private: outcome.private, renew_at, diagnostics: outcome.diagnostics }
    }

    pub async fn close_ephemeral_resource(&self, request: EphemeralResource) -> Diagnostics {
        let Some((_, ephemeral)) = self.ephemeral(&request.type_name) else {
            return unknown_type("ephemeral resource", &request.type_name);
        };
        let call = self.call(ClientCapabilities::default()).taking(Timeouts::DEFAULT.read);
        caught("closing", async move { ephemeral.close(&call, &request.private).await })
            .await
            .unwrap_or_else(Diagnostics::from)
    }

    pub async fn call_function(&self, request: CallFunction) -> CallFunctionResponse {
        let Some(function) = self.registered_function(&request.name) else {
            return CallFunctionResponse {
                result: Err(FunctionError::new(format!("There is no function {:?}.", request.name))),
            };
        };
        let called = caught("calling a function", async move { called(&*function, request.arguments) }).await;
        CallFunctionResponse { result: called.unwrap_or_else(|diagnostic| Err(diagnostic.into())) }
    }
}

fn called(function: &dyn Function, encoded: Vec<Encoded>) -> Result<Encoded, FunctionError> {
    let signature = function.signature();
    let count = signature.parameters.len();
    if encoded.len() < count || encoded.len() > count && signature.variadic.is_none() {
        return Err(FunctionError::new(format!("Expected {count} arguments, got {}.", encoded.len())));
    }
    let parameters = signature.parameters.iter().chain(signature.variadic.iter().cycle());
    let decoded =
        encoded.iter().zip(parameters).enumerate().map(|(i, (value, parameter))| argument(i, value, parameter));
    let arguments = Arguments(decoded.collect::<Result<_, _>>()?);
    if arguments.0.iter().any(Dyn::is_unknown) {
        return Ok(encode_result(&Dyn::UNKNOWN, &signature.returns)?);
    }
    Ok(encode_result(&function.call(&arguments)?, &signature.returns)?)
}

fn argument(index: usize, value: &Encoded, parameter: &Parameter) -> Result<Dyn, FunctionError> {
    let value = wire::decode(value, &parameter.ty).map_err(|d| FunctionError::at(index, d.to_string()))?;
    if value.is_null() && !parameter.allow_null {
        return Err(FunctionError::at(index, format!("The argument {:?} must not be null.", parameter.name)));
    }
    Ok(value)
}

fn encode_result(value: &Dyn, ty: &Type) -> Result<Encoded, Diagnostic> {
    let mut diagnostics = Diagnostics::new();
    wire::encode(value, ty, &mut diagnostics)
        .ok_or_else(|| diagnostics.into_iter().next().unwrap_or_else(|| Diagnostic::bug("A result does not fit.")))
}

pub(super) fn unknown_type(kind: &str, name: &str) -> Diagnostics {
    Diagnostic::error(format!("Unknown {kind}")).detail(format!("This provider has no {kind} {name:?}.")).into()
}

type OfType<T> = Option<(Arc<Schema>, Arc<T>)>;

impl Engine {
    fn data_source(&self, name: &str) -> OfType<dyn ErasedDataSource> {
        self.found(&self.data_sources, name)
    }

    fn ephemeral(&self, name: &str) -> OfType<dyn ErasedEphemeral> {
        self.found(&self.ephemerals, name)
    }

    fn registered_function(&self, name: &str) -> Option<Arc<dyn Function>> {
        self.functions.get(name).cloned()
    }

    fn found<T: ?Sized>(
        &self,
        all: &std::collections::BTreeMap<String, (Arc<Schema>, Arc<T>)>,
        name: &str,
    ) -> OfType<T> {
        all.get(name).map(|(schema, thing)| (Arc::clone(schema), Arc::clone(thing)))
    }
}
