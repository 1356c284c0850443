//! A value of a plan with what is not known of it yet, read without trust: what is missing, or of another shape than
//! was asked for, is nothing.

use std::collections::BTreeMap;

use serde_json::Value;

use super::text::{Prose, names};

/// A place in a value, and whether it is known before the apply.
#[derive(Clone, Copy)]
pub struct Reading<'a> {
    value: &'a Value,
    unknown: &'a Value,
}

const NOTHING: &Value = &Value::Null;
/// Stands for a value that is not known yet.
pub const UNKNOWN: &str = "known after apply";

impl<'a> Reading<'a> {
    pub fn new(value: &'a Value, unknown: &'a Value) -> Self {
        Self { value, unknown }
    }

    pub fn nothing() -> Self {
        Self { value: NOTHING, unknown: NOTHING }
    }

    pub fn get(self, name: &str) -> Self {
        let unknown = if self.is_unknown() { self.unknown } else { self.unknown.get(name).unwrap_or(NOTHING) };
        Self { value: self.value.get(name).unwrap_or(NOTHING), unknown }
    }

    /// There is a resource, or a value within it.
    pub fn is_there(self) -> bool {
        !self.value.is_null() || self.is_unknown()
    }

    pub fn is_unknown(self) -> bool {
        *self.unknown == Value::Bool(true)
    }

    /// Whether anything here or below is not known yet.
    pub fn is_partly_unknown(self) -> bool {
        fn any(unknown: &Value) -> bool {
            match unknown {
                Value::Bool(unknown) => *unknown,
                Value::Array(items) => items.iter().any(any),
                Value::Object(members) => members.values().any(any),
                _ => false,
            }
        }
        any(self.unknown)
    }

    pub fn text(self) -> Option<&'a str> {
        if self.is_unknown() { None } else { self.value.as_str() }
    }

    pub fn flag(self) -> bool {
        !self.is_unknown() && self.value.as_bool() == Some(true)
    }

    pub fn number(self) -> Option<i64> {
        if self.is_unknown() { None } else { self.value.as_i64() }
    }

    pub fn items(self) -> Vec<Self> {
        let unknown = items(self.unknown);
        let known = items(self.value).iter().enumerate();
        known.map(|(at, value)| Self { value, unknown: unknown.get(at).unwrap_or(NOTHING) }).collect()
    }

    pub fn texts(self) -> Vec<&'a str> {
        self.items().into_iter().filter_map(Self::text).collect()
    }

    /// The elements of a map, those included that are not known yet.
    pub fn entries(self) -> BTreeMap<&'a str, Self> {
        let keys = |value: &'a Value| value.as_object().into_iter().flat_map(|members| members.keys());
        let names = keys(self.value).chain(keys(self.unknown));
        names.map(|name| (name.as_str(), self.get(name))).collect()
    }

    pub fn value(self) -> &'a Value {
        self.value
    }

    /// The same, as far as can be told.
    pub fn is_same(self, other: Self) -> bool {
        self.value == other.value && !self.is_partly_unknown() && !other.is_partly_unknown()
    }

    /// For people.
    pub fn shown(self) -> Prose {
        if self.is_unknown() {
            return UNKNOWN.into();
        }
        match self.value {
            Value::Null => "not set".into(),
            Value::Bool(flag) => flag.to_string().into(),
            Value::Number(number) => number.to_string().into(),
            Value::String(text) => Prose::name(text),
            Value::Array(items) if items.is_empty() => "none".into(),
            Value::Array(items) if items.iter().all(Value::is_string) => {
                names(items.iter().filter_map(Value::as_str)).into()
            }
            other => Prose::name(&other.to_string()),
        }
    }
}

pub fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}
