//! What the author of a provider implements beside resources: the provider itself, data sources, ephemeral resources.

use std::future::Future;
use std::time::SystemTime;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::context::Ctx;
use super::rpc::ClientCapabilities;
use crate::diag::Diagnostics;
use crate::schema::Model;

/// The provider itself: its configuration, and the client made of it.
pub trait Provider: Send + Sync + 'static {
    type Config: Model;
    type Client: Send + Sync + 'static;

    /// The prefix of all type names: `mesh`.
    const NAME: &'static str;

    /// Rules over several attributes. Runs with unknown values in it: never complain of unknown.
    fn validate(&self, config: &Self::Config, diagnostics: &mut Diagnostics) {
        let _ = (config, diagnostics);
    }

    /// Makes the client. Does not connect; tolerates unknown values; may be called again.
    fn configure(
        &self,
        configure: Configure<Self::Config>,
    ) -> impl Future<Output = Result<Self::Client, Diagnostics>> + Send;
}

/// The provider's configuration, and who asks.
pub struct Configure<M> {
    pub config: M,
    /// Of Terraform or OpenTofu.
    pub terraform_version: String,
    pub capabilities: ClientCapabilities,
}

/// Something to look up.
pub trait DataSource: Send + Sync + 'static {
    type Client: Send + Sync + 'static;
    type Model: Model;

    /// The name without the provider's prefix.
    const NAME: &'static str;

    /// Rules over several attributes: never complain of unknown.
    fn validate(&self, config: &Self::Model, diagnostics: &mut Diagnostics) {
        let _ = (config, diagnostics);
    }

    /// Returns the configuration with the computed attributes filled in. Defaults have been applied; nothing is
    /// unknown.
    fn read(
        &self,
        cx: &mut Ctx<Self::Client>,
        config: Self::Model,
    ) -> impl Future<Output = Result<Self::Model, Diagnostics>> + Send;
}

/// Something that lives for one run only and never enters state or plan, such as a token.
pub trait Ephemeral: Send + Sync + 'static {
    type Client: Send + Sync + 'static;
    type Model: Model;
    /// What renewing and closing need. Lives in the core's memory only.
    type Private: Serialize + DeserializeOwned + Default + Send + 'static;

    /// The name without the provider's prefix.
    const NAME: &'static str;

    fn validate(&self, config: &Self::Model, diagnostics: &mut Diagnostics) {
        let _ = (config, diagnostics);
    }

    fn open(
        &self,
        cx: &mut Ctx<Self::Client, Self::Private>,
        config: Self::Model,
    ) -> impl Future<Output = Result<Opened<Self::Model>, Diagnostics>> + Send;

    /// Renews; returns when to renew again.
    fn renew(
        &self,
        cx: &mut Ctx<Self::Client, Self::Private>,
    ) -> impl Future<Output = Result<Option<SystemTime>, Diagnostics>> + Send {
        let _ = cx;
        async { Ok(None) }
    }

    fn close(&self, cx: &mut Ctx<Self::Client, Self::Private>) -> impl Future<Output = Result<(), Diagnostics>> + Send {
        let _ = cx;
        async { Ok(()) }
    }
}

/// An open ephemeral resource.
pub struct Opened<M> {
    pub result: M,
    pub renew_at: Option<SystemTime>,
}
