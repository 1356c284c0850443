//! Types of Terraform values, and their form in JSON.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::MAX_DEPTH;

/// The type of a Terraform value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Type {
    String,
    Bool,
    Number,
    Dynamic,
    List(Box<Type>),
    Set(Box<Type>),
    Map(Box<Type>),
    Object(BTreeMap<String, Type>),
    Tuple(Vec<Type>),
}

impl Type {
    pub fn list(element: Type) -> Self {
        Self::List(Box::new(element))
    }

    pub fn set(element: Type) -> Self {
        Self::Set(Box::new(element))
    }

    pub fn map(element: Type) -> Self {
        Self::Map(Box::new(element))
    }

    pub fn object<N: Into<String>>(attributes: impl IntoIterator<Item = (N, Type)>) -> Self {
        Self::Object(attributes.into_iter().map(|(name, ty)| (name.into(), ty)).collect())
    }

    /// The type as schemas and dynamic values spell it: `"string"`, `["list","string"]`, `["object",{"a":"bool"}]`.
    pub fn to_json(&self) -> Json {
        let of = |kind: &str, inner: Json| Json::Array(vec![Json::from(kind), inner]);
        match self {
            Self::String => "string".into(),
            Self::Bool => "bool".into(),
            Self::Number => "number".into(),
            Self::Dynamic => "dynamic".into(),
            Self::List(element) => of("list", element.to_json()),
            Self::Set(element) => of("set", element.to_json()),
            Self::Map(element) => of("map", element.to_json()),
            Self::Object(attributes) => {
                of("object", attributes.iter().map(|(name, ty)| (name.clone(), ty.to_json())).collect())
            }
            Self::Tuple(elements) => of("tuple", elements.iter().map(Self::to_json).collect()),
        }
    }

    /// The inverse of [`Type::to_json`]; `None` for anything else. Optional attributes, which only constraints have,
    /// are read as plain ones.
    pub fn from_json(json: &Json) -> Option<Self> {
        Self::parse(json, 0)
    }

    fn parse(json: &Json, depth: usize) -> Option<Self> {
        if depth > MAX_DEPTH {
            return None;
        }
        let inner = |json: &Json| Self::parse(json, depth + 1);
        match json {
            Json::String(name) => match name.as_str() {
                "string" => Some(Self::String),
                "bool" => Some(Self::Bool),
                "number" => Some(Self::Number),
                "dynamic" => Some(Self::Dynamic),
                _ => None,
            },
            Json::Array(parts) => match (parts.first()?.as_str()?, parts.get(1)?, parts.len()) {
                ("list", element, 2) => Some(Self::list(inner(element)?)),
                ("set", element, 2) => Some(Self::set(inner(element)?)),
                ("map", element, 2) => Some(Self::map(inner(element)?)),
                ("object", Json::Object(attributes), 2 | 3) => {
                    let attributes = attributes.iter().map(|(name, ty)| Some((name.clone(), inner(ty)?)));
                    Some(Self::Object(attributes.collect::<Option<_>>()?))
                }
                ("tuple", Json::Array(elements), 2) => {
                    Some(Self::Tuple(elements.iter().map(inner).collect::<Option<_>>()?))
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// The type in words, for error messages.
    pub fn describe(&self) -> &'static str {
        match self {
            Self::String => "a string",
            Self::Bool => "a bool",
            Self::Number => "a number",
            Self::Dynamic => "a value of any type",
            Self::List(_) => "a list",
            Self::Set(_) => "a set",
            Self::Map(_) => "a map",
            Self::Object(_) => "an object",
            Self::Tuple(_) => "a tuple",
        }
    }
}
