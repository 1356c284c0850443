//! Keeps secrets out: whatever a plan marks as sensitive is taken out of what is read, at its place and wherever else
//! it stands.
//!
//! Done once, on the way in, so that nothing behind it can leak what it never had.

use std::borrow::Cow;
use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use regex::Regex;
use serde_json::Value;

use crate::schema::{Attribute, Nested, Nesting, Shape};

/// Stands for a value that is not shown.
pub const HIDDEN: &str = "(sensitive)";
/// For one that is not shown and changes.
pub const HIDDEN_ANEW: &str = "(sensitive, changed)";

/// Shorter values are looked for nowhere but at their place: they stand in too many words.
const SHORTEST: usize = 5;
const MOST: usize = 2_000;

/// What looks like a secret, marked or not: private keys, tokens, a password in an address.
const SHAPES: &str = concat!(
    r"(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\z)",
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
    r"|(?i:\bbearer\s+)[A-Za-z0-9._~+/-]{12,}=*",
    r"|://[^\s/@:]*:[^\s/@]+@",
);

/// Collects what is marked, then takes it out of texts.
#[derive(Debug, Default)]
pub struct Secrets {
    texts: BTreeSet<String>,
    pattern: Option<Regex>,
    too_many: bool,
}

impl Secrets {
    /// A change of a resource or an output: both sides and their marks.
    pub fn marked_in_change(&mut self, change: &Value) {
        for (values, marks) in [("before", "before_sensitive"), ("after", "after_sensitive")] {
            self.marked(&change[values], &change[marks]);
        }
    }

    /// A state, or what is planned of one.
    pub fn marked_in_state(&mut self, state: &Value) {
        match state {
            Value::Object(members) => {
                if let (Some(values), Some(marks)) = (members.get("values"), members.get("sensitive_values")) {
                    self.marked(values, marks);
                } else if members.get("sensitive") == Some(&Value::Bool(true)) {
                    members.get("value").into_iter().for_each(|value| self.all_in(value));
                } else {
                    members.values().for_each(|member| self.marked_in_state(member));
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.marked_in_state(item)),
            _ => {}
        }
    }

    fn marked(&mut self, value: &Value, marks: &Value) {
        match marks {
            Value::Bool(true) => self.all_in(value),
            Value::Array(marks) => {
                value.as_array().into_iter().flatten().zip(marks).for_each(|(value, marks)| self.marked(value, marks));
            }
            Value::Object(marks) => marks.iter().for_each(|(name, marks)| self.marked(&value[name], marks)),
            _ => {}
        }
    }

    pub fn all_in(&mut self, value: &Value) {
        match value {
            Value::String(text) => {
                let lines = text.lines().filter(|_| text.contains('\n'));
                for text in [text.as_str()].into_iter().chain(lines).map(str::trim) {
                    if text.len() >= SHORTEST && self.texts.len() <= MOST {
                        self.texts.insert(text.to_owned());
                    }
                }
            }
            Value::Number(number) => {
                let text = number.to_string();
                if text.len() >= SHORTEST {
                    self.texts.insert(text);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.all_in(item)),
            Value::Object(members) => members.values().for_each(|member| self.all_in(member)),
            Value::Bool(_) | Value::Null => {}
        }
    }

    /// After the last of them.
    pub fn prepare(&mut self) {
        self.too_many = self.texts.len() > MOST;
        let mut texts: Vec<Cow<'_, str>> = Vec::new();
        for text in self.texts.iter().take(MOST) {
            texts.push(text.into());
            texts.push(STANDARD.encode(text).into());
            let quoted = Value::from(text.as_str()).to_string();
            if quoted.len() > text.len() + 2 {
                texts.push(quoted[1..quoted.len() - 1].to_owned().into());
            }
        }
        // The longest first: one may be the beginning of another.
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        let found = texts.iter().map(|text| regex::escape(text));
        let pattern = found.chain([SHAPES.to_owned()]).collect::<Vec<_>>().join("|");
        self.pattern = regex::RegexBuilder::new(&pattern).size_limit(64 << 20).build().ok();
        if self.pattern.is_none() {
            self.too_many = true;
            self.pattern = Regex::new(SHAPES).ok();
        }
    }

    /// There are more than can be looked for: whoever shows a value shows none.
    pub fn is_too_many(&self) -> bool {
        self.too_many
    }

    pub fn scrubbed(&self, text: &str) -> String {
        match &self.pattern {
            Some(pattern) => pattern.replace_all(text, HIDDEN).into_owned(),
            None => HIDDEN.to_owned(),
        }
    }

    /// Everything below, names of members included; what is JSON within a text as what it is, since there a secret is
    /// spelled otherwise.
    pub fn scrub(&self, value: Value) -> Value {
        match value {
            Value::String(text) if text.starts_with('{') => match serde_json::from_str::<Value>(&text) {
                Ok(inner @ Value::Object(_)) => Value::String(self.scrub(inner).to_string()),
                _ => Value::String(self.scrubbed(&text)),
            },
            Value::String(text) => Value::String(self.scrubbed(&text)),
            Value::Array(items) => Value::Array(items.into_iter().map(|item| self.scrub(item)).collect()),
            Value::Object(members) => Value::Object(
                members.into_iter().map(|(name, value)| (self.scrubbed(&name), self.scrub(value))).collect(),
            ),
            Value::Number(number) if self.texts.contains(&number.to_string()) => HIDDEN.into(),
            other => other,
        }
    }
}

/// Takes out what is marked on either side, and what its schema calls sensitive. That it changes stays visible.
pub fn blank(before: (Value, &Value), after: (Value, &Value), attributes: &[Attribute]) -> (Value, Value) {
    let nested = Nested { nesting: Nesting::Single, attributes: attributes.to_vec() };
    let shape = Shape::Nested(nested);
    let marks = [before.1, after.1];
    let of = |other, anew| Blank { marks, other, shape: Some(&shape), anew };
    let blank = of(&after.0, HIDDEN).value(before.0.clone());
    (blank, of(&before.0, HIDDEN_ANEW).value(after.0.clone()))
}

/// A place in one side of a change.
struct Blank<'a> {
    marks: [&'a Value; 2],
    /// What the other side has there.
    other: &'a Value,
    shape: Option<&'a Shape>,
    /// Stands for a hidden value that the other side has not.
    anew: &'static str,
}

impl Blank<'_> {
    fn value(&self, value: Value) -> Value {
        if self.marks.iter().any(|mark| **mark == true) {
            return self.hidden(&value);
        }
        match value {
            Value::Object(members) => {
                Value::Object(members.into_iter().map(|(name, value)| self.member(name, value)).collect())
            }
            Value::Array(items) => {
                Value::Array(items.into_iter().enumerate().map(|(index, value)| self.item(index, value)).collect())
            }
            other => other,
        }
    }

    fn member(&self, name: String, value: Value) -> (String, Value) {
        let (secret, shape) = below(self.shape, &name);
        let inner =
            Blank { marks: self.marks.map(|marks| &marks[&name]), other: &self.other[&name], shape, anew: self.anew };
        let value = if secret { inner.hidden(&value) } else { inner.value(value) };
        (name, value)
    }

    fn item(&self, at: usize, value: Value) -> Value {
        let inner = Blank {
            marks: self.marks.map(|marks| &marks[at]),
            other: &self.other[at],
            shape: self.shape,
            anew: self.anew,
        };
        inner.value(value)
    }

    fn hidden(&self, value: &Value) -> Value {
        match value {
            Value::Null => Value::Null,
            value if value == self.other => HIDDEN.into(),
            _ => self.anew.into(),
        }
    }
}

/// What the schema says of a member, an attribute or an element of a map: whether it is secret, and what is below.
fn below<'a>(shape: Option<&'a Shape>, name: &str) -> (bool, Option<&'a Shape>) {
    let Some(Shape::Nested(nested)) = shape else { return (false, None) };
    match nested.attributes.iter().find(|attribute| attribute.name == name) {
        Some(attribute) => (attribute.sensitive || attribute.write_only, Some(&attribute.shape)),
        // An element of a map holds the same attributes.
        None => (false, shape),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn prepared(values: &[&str]) -> Secrets {
        let mut secrets = Secrets::default();
        secrets.all_in(&json!(values));
        secrets.prepare();
        secrets
    }

    #[test]
    fn what_is_marked_is_found_wherever_else_it_stands() {
        let secrets = prepared(&["hunter2 \"quoted\"", "x"]);
        let inner = json!({ "Deployment a/b": { "env": "is hunter2 \"quoted\" there" } }).to_string();
        let scrubbed =
            secrets.scrub(json!({ "fields": inner, "hunter2 \"quoted\"": "x", "n": ["aHVudGVyMiAicXVvdGVkIg=="] }));
        assert_eq!(
            scrubbed,
            json!({ "fields": json!({ "Deployment a/b": { "env": "is (sensitive) there" } }).to_string(), "(sensitive)": "x", "n": ["(sensitive)"] })
        );
    }

    #[test]
    fn what_looks_like_a_secret_goes_unasked() {
        let secrets = prepared(&[]);
        for (text, shown) in [
            ("a -----BEGIN EC PRIVATE KEY-----\nMHcC\n-----END EC PRIVATE KEY----- b", "a (sensitive) b"),
            ("-----BEGIN PRIVATE KEY-----\nMHcC", "(sensitive)"),
            ("token eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0xyz.c2ln end", "token (sensitive) end"),
            ("Authorization: Bearer abcdefghijklmnop", "Authorization: (sensitive)"),
            ("https://user:pass@proxy:3128", "https(sensitive)proxy:3128"),
            ("https://proxy:3128/a@b", "https://proxy:3128/a@b"),
        ] {
            assert_eq!(secrets.scrubbed(text), shown);
        }
    }

    #[test]
    fn a_hidden_value_shows_that_it_changes_and_nothing_else() {
        let (before, after) = (
            json!({ "a": ["one"], "b": { "c": "same" }, "d": null }),
            json!({ "a": ["two"], "b": { "c": "same" }, "d": "new" }),
        );
        let marks = json!({ "a": [true], "b": { "c": true } });
        let blanked = blank((before, &json!({})), (after, &json!({ "d": true })), &[]);
        assert_eq!(blanked.1["d"], HIDDEN_ANEW);
        let blanked = blank((blanked.0, &marks), (blanked.1, &json!(null)), &[]);
        assert_eq!(blanked.0, json!({ "a": [HIDDEN], "b": { "c": HIDDEN }, "d": null }));
        assert_eq!(blanked.1, json!({ "a": [HIDDEN_ANEW], "b": { "c": HIDDEN }, "d": HIDDEN_ANEW }));
    }
}
