//! Functions for configurations: what one takes, gives back, and refuses.

use crate::diag::{Diagnostic, shown};
use crate::schema::Field;
use crate::value::{self, Dyn, Type};

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
    /// The argument at an index, as a Rust type: `arguments.get::<String>(0)?`, or `Value<String>` where null is
    /// allowed.
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
