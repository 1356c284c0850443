//! The RPCs, one line each: what a request means is the engine's business, what travels is `wire`'s.
//!
//! A failure is always a diagnostic. A gRPC status would reach the user as "Plugin did not respond", and an RPC left
//! unimplemented as "Unsupported plugin method".

mod beside;
mod configuration;
mod managed;
mod not_offered;
mod offers;
mod schema;
mod wire;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use futures::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument as _;

use super::log::SPAN_TARGET;
use super::proto::tfplugin6 as pb;
use crate::engine::Engine;
use wire::Answer;

/// The plugin as such: what it offers and under which address.
#[derive(Clone)]
pub struct Plugin {
    pub engine: Arc<Engine>,
    /// Like `registry.terraform.io/namespace/name`.
    pub address: &'static str,
}

/// tfplugin6's Provider, answered by an engine.
pub(super) struct Service {
    engine: Arc<Engine>,
    address: &'static str,
    requests: AtomicU64,
}

impl Service {
    pub(super) fn new(plugin: Plugin) -> Self {
        Self { engine: plugin.engine, address: plugin.address, requests: AtomicU64::new(0) }
    }

    /// Runs a handler in a task of its own, so that what it began is finished even when the core drops the connection.
    /// What authors write has its net for panics in the engine; only a fault of the codecs arrives here as one.
    async fn answer<A, F>(&self, rpc: &'static str, about: &str, handler: F) -> Result<Response<A>, Status>
    where
        A: Answer + Send + 'static,
        F: Future<Output = A> + Send + 'static,
    {
        let span = self.span(rpc, about);
        let answer = async move {
            tracing::trace!("request");
            let start = Instant::now();
            let answer = match tokio::spawn(handler.in_current_span()).await {
                Ok(answer) => answer,
                Err(error) => A::failed(wire::panicked(rpc, &error)),
            };
            wire::log_diagnostics(answer.diagnostics());
            tracing::trace!(tf_req_duration_ms = start.elapsed().as_secs_f64() * 1e3, "answer");
            answer
        };
        Ok(Response::new(answer.instrument(span).await))
    }

    /// Gives every line of the log that is written inside a request the fields the cores' users search for.
    fn span(&self, rpc: &'static str, about: &str) -> tracing::Span {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        tracing::error_span!(
            target: SPAN_TARGET, "rpc",
            tf_rpc = rpc,
            tf_req_id = %RequestId { process: std::process::id(), number },
            tf_resource_type = (!about.is_empty()).then_some(about),
            tf_provider_addr = self.address,
        )
    }
}

struct RequestId {
    process: u32,
    number: u64,
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.process, self.number)
    }
}

type Events<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// One line per RPC: its method, its name, what the log calls the thing it is about, and the handler. The whole
/// `impl` comes out of the macro, because the attribute on it must see the methods.
macro_rules! provider {
    ({ $($method:ident $rpc:ident ($about:expr) => $handler:path;)* } { $($streams:item)* }) => {
        #[tonic::async_trait]
        impl pb::provider_server::Provider for Service {
            $(
                async fn $method(
                    &self,
                    request: Request<pb::$method::Request>,
                ) -> Result<Response<pb::$method::Response>, Status> {
                    let engine = Arc::clone(&self.engine);
                    let request = request.into_inner();
                    let about: fn(&pb::$method::Request) -> &str = $about;
                    let about = about(&request).to_owned();
                    self.answer(stringify!($rpc), &about, async move { $handler(&engine, request).await }).await
                }
            )*

            $($streams)*
        }
    };
}

provider! {
    {
        get_metadata GetMetadata (|_| "") => offers::get_metadata;
        get_provider_schema GetProviderSchema (|_| "") => offers::get_provider_schema;
        get_resource_identity_schemas GetResourceIdentitySchemas (|_| "") => offers::get_resource_identity_schemas;
        get_functions GetFunctions (|_| "") => offers::get_functions;

        validate_provider_config ValidateProviderConfig (|_| "") => configuration::validate_provider_config;
        configure_provider ConfigureProvider (|_| "") => configuration::configure_provider;
        stop_provider StopProvider (|_| "") => configuration::stop_provider;

        validate_resource_config ValidateResourceConfig (|r| &r.type_name) => managed::validate_resource_config;
        upgrade_resource_state UpgradeResourceState (|r| &r.type_name) => managed::upgrade_resource_state;
        upgrade_resource_identity UpgradeResourceIdentity (|r| &r.type_name) => managed::upgrade_resource_identity;
        read_resource ReadResource (|r| &r.type_name) => managed::read_resource;
        plan_resource_change PlanResourceChange (|r| &r.type_name) => managed::plan_resource_change;
        apply_resource_change ApplyResourceChange (|r| &r.type_name) => managed::apply_resource_change;
        import_resource_state ImportResourceState (|r| &r.type_name) => managed::import_resource_state;
        move_resource_state MoveResourceState (|r| &r.target_type_name) => managed::move_resource_state;
        generate_resource_config GenerateResourceConfig (|r| &r.type_name) => managed::generate_resource_config;

        validate_data_resource_config ValidateDataResourceConfig (|r| &r.type_name) => beside::validate_data_resource_config;
        read_data_source ReadDataSource (|r| &r.type_name) => beside::read_data_source;
        call_function CallFunction (|r| &r.name) => beside::call_function;
        validate_ephemeral_resource_config ValidateEphemeralResourceConfig (|r| &r.type_name) => beside::validate_ephemeral_resource_config;
        open_ephemeral_resource OpenEphemeralResource (|r| &r.type_name) => beside::open_ephemeral_resource;
        renew_ephemeral_resource RenewEphemeralResource (|r| &r.type_name) => beside::renew_ephemeral_resource;
        close_ephemeral_resource CloseEphemeralResource (|r| &r.type_name) => beside::close_ephemeral_resource;
        validate_list_resource_config ValidateListResourceConfig (|r| &r.type_name) => beside::validate_list_resource_config;

        validate_action_config ValidateActionConfig (|r| &r.action_type) => beside::validate_action_config;
        plan_action PlanAction (|r| &r.action_type) => beside::plan_action;
        validate_state_store_config ValidateStateStoreConfig (|r| &r.type_name) => not_offered::validate_state_store_config;
        configure_state_store ConfigureStateStore (|r| &r.type_name) => not_offered::configure_state_store;
        lock_state LockState (|r| &r.type_name) => not_offered::lock_state;
        unlock_state UnlockState (|r| &r.type_name) => not_offered::unlock_state;
        get_states GetStates (|r| &r.type_name) => not_offered::get_states;
        delete_state DeleteState (|r| &r.type_name) => not_offered::delete_state;
    }
    {
        type ListResourceStream = Events<pb::list_resource::Event>;

        async fn list_resource(
            &self,
            request: Request<pb::list_resource::Request>,
        ) -> Result<Response<Self::ListResourceStream>, Status> {
            let request = request.into_inner();
            let _inside = self.span("ListResource", &request.type_name).entered();
            Ok(Response::new(beside::list_resource(&self.engine, request).map(Ok).boxed()))
        }

        type InvokeActionStream = Events<pb::invoke_action::Event>;

        async fn invoke_action(
            &self,
            request: Request<pb::invoke_action::Request>,
        ) -> Result<Response<Self::InvokeActionStream>, Status> {
            let request = request.into_inner();
            let _inside = self.span("InvokeAction", &request.action_type).entered();
            Ok(Response::new(beside::invoke_action(&self.engine, request).map(Ok).boxed()))
        }

        type ReadStateBytesStream = Events<pb::read_state_bytes::ResponseChunk>;

        async fn read_state_bytes(
            &self,
            _request: Request<pb::read_state_bytes::Request>,
        ) -> Result<Response<Self::ReadStateBytesStream>, Status> {
            let chunk = not_offered::read_state_bytes();
            Ok(Response::new(futures::stream::once(async { Ok(chunk) }).boxed()))
        }

        async fn write_state_bytes(
            &self,
            _request: Request<Streaming<pb::write_state_bytes::RequestChunk>>,
        ) -> Result<Response<pb::write_state_bytes::Response>, Status> {
            Ok(Response::new(not_offered::write_state_bytes()))
        }
    }
}
