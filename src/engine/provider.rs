use std::future::Future;
use std::time::SystemTime;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::context::Ctx;
use super::rpc::ClientCapabilities;
use crate::diag::{Diagnostic, Diagnostics, shown};
use crate::schema::{Field, Model};
use crate::value::{self, Dyn, Type};

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

    /// Returns the configuration with the computed attributes filled in. Defaults have been applied; nothing is unknown.
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

/// A pure function for configurations. Offline, and the same answer for the same arguments.
pub trait Function: Send + Sync + 'static {
    fn name(&self) -> &'static str;

    fn signature(&self) -> Signature;

    fn call(&self, arguments: &Arguments) -> Result<Dyn, FunctionError>;
}

/// What a function takes and returns.
#[derive(Clone, Debug)]
pub struct Signature {
    /// One line.
    pub summary: String,
    /// Markdown.
    pub description: String,
    pub parameters: Vec<Parameter>,
    /// Takes any number of further arguments like this.
    pub variadic: Option<Parameter>,
    pub returns: Type,
    pub deprecated: Option<String>,
}

/// A parameter of a function. Unknown arguments never reach a function, null only where allowed.
#[derive(Clone, Debug)]
pub struct Parameter {
    pub name: String,
    pub ty: Type,
    /// Markdown.
    pub description: String,
    pub allow_null: bool,
}

impl Parameter {
    pub fn new(name: &str, ty: Type, description: &str) -> Self {
        Self { name: name.to_owned(), ty, description: description.to_owned(), allow_null: false }
    }

    pub fn allow_null(self) -> Self {
        Self { allow_null: true, ..self }
    }
}

/// The arguments of a call, variadic ones at the end.
pub struct Arguments(pub(super) Vec<Dyn>);

impl Arguments {
    /// The argument at an index, as a Rust type: `arguments.get::<String>(0)?`, or `Value<String>` where null is allowed.
    pub fn get<F: Field>(&self, index: usize) -> Result<F, FunctionError> {
        F::decode(self.0.get(index).unwrap_or(&Dyn::Null))
            .map_err(|error: value::Error| FunctionError::at(index, error.to_string()))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Why a function refuses its arguments, and which one.
#[derive(Clone, Debug, PartialEq)]
pub struct FunctionError {
    pub text: String,
    pub argument: Option<i64>,
}

impl FunctionError {
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: shown(text.into()), argument: None }
    }

    pub fn at(argument: usize, text: impl Into<String>) -> Self {
        Self { text: shown(text.into()), argument: Some(argument as i64) }
    }
}

impl From<Diagnostic> for FunctionError {
    fn from(diagnostic: Diagnostic) -> Self {
        Self::new(diagnostic.to_string())
    }
}
