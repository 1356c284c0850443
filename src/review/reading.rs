//! A value of a plan with what is not known of it yet, read without trust: what is missing, or of another shape than
//! was asked for, is nothing.

use std::collections::BTreeMap;

use serde_json::Value;

use super::blank::PLACE;
use super::secrets::{HIDDEN, HIDDEN_ANEW};
use super::text::{Prose, names_or};

/// A place in a value, and whether it is known before the apply. What is hidden and changes counts as not known.
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
        // What is below something hidden is hidden, and not absent.
        if self.value.is_string() && self.is_hidden() {
            return self;
        }
        let unknown = if self.is_unknown() { self.unknown } else { self.unknown.get(name).unwrap_or(NOTHING) };
        Self { value: self.value.get(name).unwrap_or(NOTHING), unknown }
    }

    /// There is a resource, or a value within it.
    pub fn is_there(self) -> bool {
        !self.value.is_null() || self.is_unknown()
    }

    pub fn is_unknown(self) -> bool {
        is_unknown(self.unknown)
    }

    /// Whether anything here or below is not known yet.
    pub fn is_partly_unknown(self) -> bool {
        any(self.unknown, &is_unknown)
    }

    /// Whether anything here or below is marked as sensitive, and changes.
    pub fn is_partly_hidden(self) -> bool {
        any(self.unknown, &is_hidden)
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

    /// There is something that is marked as sensitive, whether it changes or not.
    pub fn is_hidden(self) -> bool {
        is_hidden(self.unknown) || *self.value == HIDDEN || *self.value == HIDDEN_ANEW
    }

    pub fn items(self) -> Vec<Self> {
        let (known, unknown) = (items(self.value), items(self.unknown));
        let at = |list: &'a [Value], at: usize| list.get(at).unwrap_or(NOTHING);
        let all = (0..known.len().max(unknown.len()))
            .map(|place| Self { value: at(known, place), unknown: at(unknown, place) });
        // Behind those that there are, only what is not known yet.
        all.enumerate()
            .filter(|(place, item)| *place < known.len() || item.is_unknown())
            .map(|(_, item)| item)
            .collect()
    }

    /// How many items of a list are not known yet, or are hidden and change; nothing where that is so of the whole
    /// list.
    pub fn open_items(self) -> Option<usize> {
        let all = self.is_unknown() || self.is_hidden();
        (!all).then(|| self.items().into_iter().filter(|item| item.is_unknown()).count())
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

    /// For people, where what is in a map matters less than that there is one.
    pub fn shown_or_there(self) -> Prose {
        if self.value.is_object() { "there".into() } else { self.shown() }
    }

    /// For people.
    pub fn shown(self) -> Prose {
        if is_hidden(self.unknown) {
            return if *self.value == HIDDEN { HIDDEN.into() } else { HIDDEN_ANEW.into() };
        }
        if self.is_unknown() {
            return UNKNOWN.into();
        }
        match self.value {
            Value::Null => "not set".into(),
            Value::Bool(flag) => flag.to_string().into(),
            Value::Number(number) => Prose::number(number),
            Value::String(text) => Prose::name(text),
            Value::Array(items) if items.iter().all(Value::is_string) => {
                names_or(items.iter().filter_map(Value::as_str), "none")
            }
            other => Prose::name(&other.to_string()),
        }
    }
}

fn is_unknown(unknown: &Value) -> bool {
    *unknown == Value::Bool(true) || is_hidden(unknown)
}

fn is_hidden(unknown: &Value) -> bool {
    *unknown == PLACE
}

fn any(unknown: &Value, is: &dyn Fn(&Value) -> bool) -> bool {
    match unknown {
        Value::Array(items) => items.iter().any(|item| any(item, is)),
        Value::Object(members) => members.values().any(|member| any(member, is)),
        place => is(place),
    }
}

pub fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}
