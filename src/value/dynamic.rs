//! Values whose type is known at run time only: what codecs read and write, and what the planner compares.

use std::collections::BTreeMap;
use std::ops::Deref;

use super::{Number, Path, Step, Type};

/// A value whose shape is known only at run time: what the codecs produce and the planner works on.
///
/// `Debug` shows everything, secrets too: for tests, never for logs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dyn {
    Null,
    /// Not known before apply; what is known about it all the same, if anything.
    Unknown(Option<Box<Refinements>>),
    Bool(bool),
    Number(Number),
    String(String),
    List(Vec<Dyn>),
    Set(DynSet),
    Map(BTreeMap<String, Dyn>),
    Object(BTreeMap<String, Dyn>),
    Tuple(Vec<Dyn>),
    /// The value of a dynamically typed attribute, with the type it has.
    Dynamic(Type, Box<Dyn>),
}

/// The elements of a set: in one order whatever the order they came in, and without repetition.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct DynSet(Vec<Dyn>);

/// What is known about an unknown value.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refinements {
    /// `Some(false)`: it will not be null.
    pub null: Option<bool>,
    pub prefix: Option<String>,
    pub min: Option<Bound>,
    pub max: Option<Bound>,
    pub min_length: Option<u64>,
    pub max_length: Option<u64>,
}

/// A bound of an unknown number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bound {
    pub number: Number,
    pub inclusive: bool,
}

impl Dyn {
    /// An unknown value of which nothing is known.
    pub const UNKNOWN: Dyn = Dyn::Unknown(None);

    pub fn object<N: Into<String>>(attributes: impl IntoIterator<Item = (N, Dyn)>) -> Self {
        Self::Object(attributes.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }

    pub fn set(elements: impl IntoIterator<Item = Dyn>) -> Self {
        Self::Set(elements.into_iter().collect())
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null) || matches!(self, Self::Dynamic(_, inner) if inner.is_null())
    }

    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown(_)) || matches!(self, Self::Dynamic(_, inner) if inner.is_unknown())
    }

    /// True when nothing in the value is unknown, at any depth.
    pub fn is_wholly_known(&self) -> bool {
        match self {
            Self::Unknown(_) => false,
            Self::Dynamic(_, inner) => inner.is_wholly_known(),
            Self::List(elements) | Self::Tuple(elements) => elements.iter().all(Self::is_wholly_known),
            Self::Set(elements) => elements.iter().all(Self::is_wholly_known),
            Self::Map(elements) | Self::Object(elements) => elements.values().all(Self::is_wholly_known),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::String(_) => true,
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    pub fn as_number(&self) -> Option<&Number> {
        match self {
            Self::Number(number) => Some(number),
            _ => None,
        }
    }

    pub fn as_object(&self) -> Option<&BTreeMap<String, Dyn>> {
        match self {
            Self::Object(attributes) => Some(attributes),
            _ => None,
        }
    }

    /// The attribute of an object; `None` when this is no object or has no such attribute.
    pub fn attr(&self, name: &str) -> Option<&Dyn> {
        self.as_object()?.get(name)
    }

    /// Sets an attribute, when this is an object.
    pub fn set_attr(&mut self, name: &str, value: Dyn) {
        if let Self::Object(attributes) = self {
            attributes.insert(name.to_owned(), value);
        }
    }

    /// The value at a path; `None` when the path leads nowhere.
    pub fn at(&self, path: &Path) -> Option<&Dyn> {
        path.steps().iter().try_fold(self, |value, step| match (value, step) {
            (Self::Object(attributes), Step::Attr(name)) => attributes.get(name),
            (Self::Map(elements), Step::Key(key)) => elements.get(key),
            (Self::List(elements) | Self::Tuple(elements), Step::Index(index)) => {
                elements.get(usize::try_from(*index).ok()?)
            }
            _ => None,
        })
    }

    /// What kind of value this is, in words.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Unknown(_) => "an unknown value",
            Self::Bool(_) => "a bool",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::List(_) => "a list",
            Self::Set(_) => "a set",
            Self::Map(_) => "a map",
            Self::Object(_) => "an object",
            Self::Tuple(_) => "a tuple",
            Self::Dynamic(..) => "a dynamic value",
        }
    }
}

impl FromIterator<Dyn> for DynSet {
    fn from_iter<I: IntoIterator<Item = Dyn>>(elements: I) -> Self {
        let mut elements: Vec<Dyn> = elements.into_iter().collect();
        elements.sort();
        // Two unknown elements may turn out to differ, so only known ones are the same element.
        elements.dedup_by(|a, b| a == b && a.is_wholly_known());
        Self(elements)
    }
}

impl Deref for DynSet {
    type Target = [Dyn];

    fn deref(&self) -> &[Dyn] {
        &self.0
    }
}

impl From<&str> for Dyn {
    fn from(text: &str) -> Self {
        Self::String(super::normalise(text))
    }
}

impl From<String> for Dyn {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<bool> for Dyn {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Dyn {
    fn from(value: i64) -> Self {
        Self::Number(value.into())
    }
}

impl From<Number> for Dyn {
    fn from(value: Number) -> Self {
        Self::Number(value)
    }
}

impl<T: Into<Dyn>> From<Vec<T>> for Dyn {
    fn from(elements: Vec<T>) -> Self {
        Self::List(elements.into_iter().map(Into::into).collect())
    }
}
