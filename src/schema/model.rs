//! From a struct to a schema, and from a value to the struct and back: the traits, and the macro that implements them.

use std::collections::BTreeMap;
use std::fmt;

use super::{Attribute, Nested, Nesting, Shape};
use crate::value::{Dyn, DynSet, Error, Number, Problem, Set, Type, Value};

/// A struct whose fields are a schema's attributes. Made by [`model!`](crate::model).
pub trait Model: Clone + fmt::Debug + Default + PartialEq + Send + Sync + Sized + 'static {
    /// Markdown, from the struct's doc comment.
    fn description() -> String;
    fn attributes() -> Vec<Attribute>;
    /// Reads an object. Attributes that the model lacks are left out of account, those the object lacks are null.
    fn decode(value: &Dyn) -> Result<Self, Error>;
    fn encode(&self) -> Dyn;
}

/// What a [`Value`] may hold: a Rust type that stands for a Terraform type.
pub trait Field: Sized {
    fn shape() -> Shape;
    /// Never sees null or unknown: [`Value`] holds those.
    fn decode(value: &Dyn) -> Result<Self, Error>;
    fn encode(&self) -> Dyn;
}

/// Declares a model: the struct, and from the same lines its schema, defaults, docs, and codecs.
///
/// Every field is a [`Value`](crate::value::Value) and has a doc comment, which becomes its description, and
/// `#[attr(...)]` with options, each of them a method of [`Attribute`](crate::schema::Attribute). A model may be the
/// field of another, by itself or within `List`, `Set` or `Map`.
///
/// ```
/// use terraform_provider_mesh::model;
/// use terraform_provider_mesh::value::{Map, Value};
///
/// model! {
///     /// A bookshelf.
///     pub struct Shelf {
///         /// Room that it stands in.
///         #[attr(required, replace, validate(dns_label()))]
///         pub room: Value<String>,
///         /// Boards it has.
///         #[attr(default(5), validate(between(1, 20)))]
///         pub boards: Value<i64>,
///         /// Books by title.
///         #[attr(optional)]
///         pub books: Value<Map<Book>>,
///         /// Identity of the shelf.
///         #[attr(computed, keep)]
///         pub id: Value<String>,
///     }
/// }
///
/// model! {
///     /// A book.
///     pub struct Book {
///         /// Who wrote it.
///         #[attr(required)]
///         pub author: Value<String>,
///     }
/// }
/// ```
#[macro_export]
macro_rules! model {
    (
        $(#[doc = $doc:literal])*
        $vis:vis struct $name:ident {
            $(
                $(#[doc = $field_doc:literal])*
                #[attr( $( $option:ident $( ( $($argument:tt)* ) )? ),* $(,)? )]
                $field_vis:vis $field:ident : $ty:ty
            ),* $(,)?
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Default, PartialEq)]
        $vis struct $name {
            $( $(#[doc = $field_doc])* $field_vis $field: $ty, )*
        }

        impl $crate::schema::Model for $name {
            fn description() -> String {
                $crate::schema::markdown(&[$($doc),*])
            }

            fn attributes() -> Vec<$crate::schema::Attribute> {
                #[allow(unused_imports, reason = "validators are in scope for every #[attr(validate(...))]")]
                use $crate::schema::validate::*;
                vec![ $(
                    $crate::schema::Attribute::new(stringify!($field), <$ty as $crate::schema::Field>::shape())
                        .describe($crate::schema::markdown(&[$($field_doc),*]))
                        $( .$option( $( $($argument)* )? ) )*
                ),* ]
            }

            fn decode(value: &$crate::value::Dyn) -> Result<Self, $crate::value::Error> {
                Ok(Self { $( $field: $crate::schema::decode_attr(value, stringify!($field))? ),* })
            }

            fn encode(&self) -> $crate::value::Dyn {
                $crate::value::Dyn::object::<&str>([ $(
                    (stringify!($field).trim_start_matches("r#"), $crate::schema::Field::encode(&self.$field))
                ),* ])
            }
        }

        impl $crate::schema::Field for $name {
            fn shape() -> $crate::schema::Shape {
                $crate::schema::Shape::Nested($crate::schema::Nested {
                    nesting: $crate::schema::Nesting::Single,
                    attributes: <Self as $crate::schema::Model>::attributes(),
                })
            }

            fn decode(value: &$crate::value::Dyn) -> Result<Self, $crate::value::Error> {
                <Self as $crate::schema::Model>::decode(value)
            }

            fn encode(&self) -> $crate::value::Dyn {
                <Self as $crate::schema::Model>::encode(self)
            }
        }

        /// Sensitive and write-only attributes are masked.
        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                let attributes = <Self as $crate::schema::Model>::attributes();
                $crate::schema::debug(f, stringify!($name), &attributes, &[ $( &self.$field ),* ])
            }
        }
    };
}

/// No attributes: for what a resource does not have, such as an identity.
impl Model for () {
    fn description() -> String {
        String::new()
    }

    fn attributes() -> Vec<Attribute> {
        Vec::new()
    }

    fn decode(_: &Dyn) -> Result<Self, Error> {
        Ok(())
    }

    fn encode(&self) -> Dyn {
        Dyn::object::<&str>([])
    }
}

/// Reads one attribute of an object. Used by [`model!`](crate::model).
pub fn decode_attr<F: Field>(object: &Dyn, name: &str) -> Result<F, Error> {
    let name = name.trim_start_matches("r#");
    match object {
        Dyn::Object(attributes) => {
            F::decode(attributes.get(name).unwrap_or(&Dyn::Null)).map_err(|error| error.in_attr(name))
        }
        Dyn::Null => Err(Error::new(Problem::Null)),
        Dyn::Unknown(_) => Err(Error::new(Problem::Unknown)),
        other => Err(Error::expected("an object", other.kind())),
    }
}

/// Doc comment lines as Markdown.
pub fn markdown(lines: &[&str]) -> String {
    let lines: Vec<&str> = lines.iter().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    lines.join("\n").trim().to_owned()
}

/// Prints a model without its secrets. Used by [`model!`](crate::model).
pub fn debug(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    attributes: &[Attribute],
    fields: &[&dyn fmt::Debug],
) -> fmt::Result {
    let mut out = f.debug_struct(name);
    for (attribute, field) in attributes.iter().zip(fields) {
        if attribute.sensitive || attribute.write_only {
            out.field(&attribute.name, &format_args!("(sensitive)"));
        } else {
            out.field(&attribute.name, field);
        }
    }
    out.finish()
}

impl<F: Field> Field for Value<F> {
    fn shape() -> Shape {
        F::shape()
    }

    fn decode(value: &Dyn) -> Result<Self, Error> {
        match value {
            Dyn::Null => Ok(Self::Null),
            Dyn::Unknown(_) => Ok(Self::Unknown),
            known => F::decode(known).map(Self::Known),
        }
    }

    fn encode(&self) -> Dyn {
        match self {
            Self::Known(value) => value.encode(),
            Self::Null => Dyn::Null,
            Self::Unknown => Dyn::UNKNOWN,
        }
    }
}

impl Field for String {
    fn shape() -> Shape {
        Shape::Type(Type::String)
    }

    fn decode(value: &Dyn) -> Result<Self, Error> {
        value.as_str().map(str::to_owned).ok_or_else(|| Error::expected("a string", value.kind()))
    }

    fn encode(&self) -> Dyn {
        self.as_str().into()
    }
}

impl Field for bool {
    fn shape() -> Shape {
        Shape::Type(Type::Bool)
    }

    fn decode(value: &Dyn) -> Result<Self, Error> {
        value.as_bool().ok_or_else(|| Error::expected("a bool", value.kind()))
    }

    fn encode(&self) -> Dyn {
        Dyn::Bool(*self)
    }
}

impl Field for Number {
    fn shape() -> Shape {
        Shape::Type(Type::Number)
    }

    fn decode(value: &Dyn) -> Result<Self, Error> {
        value.as_number().cloned().ok_or_else(|| Error::expected("a number", value.kind()))
    }

    fn encode(&self) -> Dyn {
        Dyn::Number(self.clone())
    }
}

impl Field for i64 {
    fn shape() -> Shape {
        Shape::Type(Type::Number)
    }

    fn decode(value: &Dyn) -> Result<Self, Error> {
        let not_whole = || Error::new(Problem::NotWhole { min: i64::MIN, max: i64::MAX });
        <Number as Field>::decode(value)?.as_i64().ok_or_else(not_whole)
    }

    fn encode(&self) -> Dyn {
        Dyn::from(*self)
    }
}

/// A dynamically typed attribute.
impl Field for Dyn {
    fn shape() -> Shape {
        Shape::Type(Type::Dynamic)
    }

    fn decode(value: &Dyn) -> Result<Self, Error> {
        Ok(value.clone())
    }

    fn encode(&self) -> Dyn {
        self.clone()
    }
}

impl<F: Field> Field for Vec<Value<F>> {
    fn shape() -> Shape {
        collection(F::shape(), Nesting::List, Type::list)
    }

    fn decode(value: &Dyn) -> Result<Self, Error> {
        match value {
            Dyn::List(elements) => elements_of(elements),
            other => Err(Error::expected("a list", other.kind())),
        }
    }

    fn encode(&self) -> Dyn {
        Dyn::List(self.iter().map(Field::encode).collect())
    }
}

impl<F: Field> Field for Set<F> {
    fn shape() -> Shape {
        collection(F::shape(), Nesting::Set, Type::set)
    }

    fn decode(value: &Dyn) -> Result<Self, Error> {
        match value {
            Dyn::Set(elements) => {
                elements.iter().map(Value::decode).collect::<Result<Vec<Value<F>>, _>>().map(Self::from_iter)
            }
            other => Err(Error::expected("a set", other.kind())),
        }
    }

    fn encode(&self) -> Dyn {
        Dyn::Set(self.iter().map(Field::encode).collect::<DynSet>())
    }
}

impl<F: Field> Field for BTreeMap<String, Value<F>> {
    fn shape() -> Shape {
        collection(F::shape(), Nesting::Map, Type::map)
    }

    fn decode(value: &Dyn) -> Result<Self, Error> {
        match value {
            Dyn::Map(elements) => elements
                .iter()
                .map(|(key, element)| Ok((key.clone(), Field::decode(element).map_err(|e: Error| e.in_key(key))?)))
                .collect(),
            other => Err(Error::expected("a map", other.kind())),
        }
    }

    fn encode(&self) -> Dyn {
        Dyn::Map(self.iter().map(|(key, value)| (key.clone(), value.encode())).collect())
    }
}

fn elements_of<F: Field>(elements: &[Dyn]) -> Result<Vec<Value<F>>, Error> {
    elements.iter().enumerate().map(|(i, e)| Field::decode(e).map_err(|e: Error| e.in_index(i))).collect()
}

/// A collection of models is nested attributes, a collection of anything else a type.
fn collection(element: Shape, nesting: Nesting, of: fn(Type) -> Type) -> Shape {
    match element {
        Shape::Nested(Nested { nesting: Nesting::Single, attributes }) => Shape::Nested(Nested { nesting, attributes }),
        other => Shape::Type(of(other.ty())),
    }
}
