//! The protocol-neutral resource lifecycle: validate, plan, apply, read, import, upgrade.
//!
//! The only caller of resources. Knows no gRPC, no Kubernetes and no Istio. A provider's author implements
//! [`Provider`], [`Resource`] and its siblings, lists them in a [`Registry`], and hands both to [`Engine::new`]; the
//! plugin layer calls the [`Engine`] with the structs of [`rpc`].
//!
//! What no resource uses today (ephemeral resources, deferral, null arguments, forced replacement) is here because the
//! protocol has it. The specimens of `tests/integration/support` use it, and both cores judge it.

mod action;
mod actions;
mod calls;
mod conform;
mod context;
mod erased;
mod erased_lookups;
mod function;
mod lifecycle;
mod lookups;
mod moved;
mod plan;
mod provider;
mod registry;
mod resource;
pub mod rpc;
mod server;
mod timeouts;
mod wire;

pub use action::{Action, Progress};
pub use context::Ctx;
pub use function::{Arguments, Function, FunctionError, Parameter, Signature};
pub use provider::{Configure, DataSource, Ephemeral, Opened, Provider};
pub use registry::Registry;
pub use resource::{Change, Failed, Found, FoundObject, Import, Listable, Moved, Plan, Query, Reached, Resource};
pub use rpc::DeferredReason;
pub use server::Engine;
pub use timeouts::Timeouts;
