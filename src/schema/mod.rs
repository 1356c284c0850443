//! Schemas as data, and the one declaration per attribute from which model, schema, defaults and docs come.
//!
//! Declare a model with [`model!`](crate::model); its attribute options are the builder methods of [`Attribute`].

mod check;
mod model;
mod secret_names;
pub mod text;
pub mod validate;

use std::fmt;
use std::sync::Arc;

use crate::value::{Dyn, Type};

pub use check::{check, check_identity};
pub use model::{Field, Model, debug, decode_attr, markdown};
pub use secret_names::names_a_secret;
pub use validate::Validator;

/// The schema of the provider, a resource, a data source, an ephemeral resource or a list.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    pub version: i64,
    /// Markdown.
    pub description: String,
    /// Why not to use it any more, and what instead.
    pub deprecated: Option<String>,
    pub attributes: Vec<Attribute>,
}

/// One attribute: what it is, how the planner treats it, and what the docs say of it.
#[derive(Clone, Debug)]
pub struct Attribute {
    pub name: String,
    pub shape: Shape,
    /// Markdown.
    pub description: String,
    pub required: bool,
    pub optional: bool,
    pub computed: bool,
    pub sensitive: bool,
    pub write_only: bool,
    /// Holds documents, or texts for others to judge: more than one line, and white space at the ends.
    pub document: bool,
    /// Why not to use it any more, and what instead.
    pub deprecated: Option<String>,
    pub default: Option<Dyn>,
    /// Left alone by a plan that computes it anew: its value in state stays.
    pub keep: bool,
    /// Changing it means a new object.
    pub replace: bool,
    pub validators: Vec<Validator>,
    pub same: Option<Same>,
}

/// Tells whether two different spellings mean the same.
#[derive(Clone)]
pub struct Same(Arc<Comparison>);

type Comparison = dyn Fn(&Dyn, &Dyn) -> bool + Send + Sync;

/// What an attribute holds: a value of a type, or nested attributes.
#[derive(Clone, Debug)]
pub enum Shape {
    Type(Type),
    Nested(Nested),
}

/// Attributes within an attribute.
#[derive(Clone, Debug)]
pub struct Nested {
    pub nesting: Nesting,
    pub attributes: Vec<Attribute>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nesting {
    Single,
    List,
    Set,
    Map,
}

impl Schema {
    /// The schema of a model.
    pub fn of<M: Model>(version: i64) -> Self {
        Self { version, description: M::description(), deprecated: None, attributes: M::attributes() }
    }

    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }

    /// The type of values of this schema: always an object.
    pub fn ty(&self) -> Type {
        object_type(&self.attributes)
    }
}

/// Constructor and options. Inside [`model!`](crate::model) the options are written in `#[attr(...)]`, in any order.
impl Attribute {
    pub fn new(name: &str, shape: Shape) -> Self {
        Self {
            name: name.trim_start_matches("r#").to_owned(),
            shape,
            description: String::new(),
            required: false,
            optional: false,
            computed: false,
            sensitive: false,
            write_only: false,
            document: false,
            deprecated: None,
            default: None,
            keep: false,
            replace: false,
            validators: Vec::new(),
            same: None,
        }
    }

    pub fn describe(self, markdown: impl Into<String>) -> Self {
        Self { description: markdown.into(), ..self }
    }

    /// Its text may have more than one line, and white space at its ends.
    pub fn document(self) -> Self {
        Self { document: true, ..self }
    }

    /// The configuration must set it.
    pub fn required(self) -> Self {
        Self { required: true, ..self }
    }

    /// The configuration may set it.
    pub fn optional(self) -> Self {
        Self { optional: true, ..self }
    }

    /// The provider sets it; with `optional`, when the configuration does not.
    pub fn computed(self) -> Self {
        Self { computed: true, ..self }
    }

    /// The value when the configuration sets none. Implies `optional` and `computed`.
    pub fn default(self, value: impl Into<Dyn>) -> Self {
        Self { optional: true, computed: true, default: Some(value.into()), ..self }
    }

    /// For computed attributes that an update does not change: the plan keeps the value in state instead of announcing
    /// "known after apply".
    pub fn keep(self) -> Self {
        Self { keep: true, ..self }
    }

    /// Changing it means destroying the object and creating another.
    pub fn replace(self) -> Self {
        Self { replace: true, ..self }
    }

    /// Hidden in the output of plans. It still lies in state: a secret is better `write_only`.
    pub fn sensitive(self) -> Self {
        Self { sensitive: true, ..self }
    }

    /// Only in the configuration, never in plan or state. Pair it with a `…_version` attribute that says when it
    /// changed.
    pub fn write_only(self) -> Self {
        Self { write_only: true, ..self }
    }

    /// Why not to use it any more, and what instead.
    pub fn deprecated(self, message: impl Into<String>) -> Self {
        Self { deprecated: Some(message.into()), ..self }
    }

    /// A rule for the configured value. See [`validate`] for those at hand.
    pub fn validate(mut self, validator: Validator) -> Self {
        self.validators.push(validator);
        self
    }

    /// Two known values that differ only in spelling; plan and refresh then keep the one in state.
    pub fn same(self, same: impl Fn(&Dyn, &Dyn) -> bool + Send + Sync + 'static) -> Self {
        Self { same: Some(Same(Arc::new(same))), ..self }
    }

    pub fn ty(&self) -> Type {
        self.shape.ty()
    }

    /// True when only the provider sets it.
    pub fn is_computed_only(&self) -> bool {
        self.computed && !self.optional
    }

    pub fn nested(&self) -> Option<&Nested> {
        match &self.shape {
            Shape::Nested(nested) => Some(nested),
            Shape::Type(_) => None,
        }
    }
}

impl Same {
    pub fn holds(&self, a: &Dyn, b: &Dyn) -> bool {
        (self.0)(a, b)
    }
}

impl fmt::Debug for Same {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Same")
    }
}

impl Shape {
    pub fn ty(&self) -> Type {
        match self {
            Self::Type(ty) => ty.clone(),
            Self::Nested(nested) => nested.ty(),
        }
    }
}

impl Nested {
    pub fn ty(&self) -> Type {
        let object = self.element_ty();
        match self.nesting {
            Nesting::Single => object,
            Nesting::List => Type::list(object),
            Nesting::Set => Type::set(object),
            Nesting::Map => Type::map(object),
        }
    }

    /// The type of one nested object.
    pub fn element_ty(&self) -> Type {
        object_type(&self.attributes)
    }
}

fn object_type(attributes: &[Attribute]) -> Type {
    Type::object(attributes.iter().map(|attribute| (attribute.name.as_str(), attribute.ty())))
}
