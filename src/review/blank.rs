//! Takes out what is marked as sensitive at its place, on the way in. That it changes stays visible.

use serde_json::Value;

use super::secrets::{HIDDEN, HIDDEN_ANEW};
use crate::schema::{Attribute, Nested, Nesting, Shape};

/// Both sides of a change without what is marked.
pub struct Blanked {
    pub before: Value,
    pub after: Value,
    /// Where something hidden differs, on each side: [`PLACE`] in the shape of the values.
    pub hidden: [Value; 2],
}

/// Marks a place whose value is hidden and is not what the other side has.
pub const PLACE: &str = "hidden";

/// Takes out what is marked on either side, and what its schema calls sensitive. That it changes stays visible.
pub fn blank(before: (Value, &Value), after: (Value, &Value), attributes: &[Attribute]) -> Blanked {
    let nested = Nested { nesting: Nesting::Single, attributes: attributes.to_vec() };
    let shape = Shape::Nested(nested);
    let marks = [before.1, after.1];
    let of = |other, anew| Blank { marks, other, shape: Some(&shape), anew };
    let (was, will) = (of(&after.0, HIDDEN), of(&before.0, HIDDEN_ANEW));
    Blanked {
        hidden: [was.places(&before.0), will.places(&after.0)],
        before: was.value(before.0.clone()),
        after: will.value(after.0.clone()),
    }
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
    fn is_marked(&self) -> bool {
        self.marks.iter().any(|mark| **mark == true)
    }

    fn value(&self, value: Value) -> Value {
        if self.is_marked() {
            return self.hidden(&value);
        }
        match value {
            Value::Object(members) => {
                let member = |(name, value): (String, Value)| {
                    let (secret, inner) = self.member(&name);
                    let value = if secret { inner.hidden(&value) } else { inner.value(value) };
                    (name, value)
                };
                Value::Object(members.into_iter().map(member).collect())
            }
            Value::Array(items) => Value::Array(
                items.into_iter().enumerate().map(|(index, value)| self.item(index).value(value)).collect(),
            ),
            other => other,
        }
    }

    /// Where something that is marked differs. What the schema hides always is nobody's to judge.
    fn places(&self, value: &Value) -> Value {
        let nothing = |places: &Value| places.is_null();
        match value {
            Value::Null => Value::Null,
            value if self.is_marked() => {
                if value == self.other {
                    Value::Null
                } else {
                    PLACE.into()
                }
            }
            Value::Object(members) => {
                let places = members.iter().map(|(name, value)| match self.member(name) {
                    (true, _) => (name.clone(), Value::Null),
                    (false, inner) => (name.clone(), inner.places(value)),
                });
                let places: serde_json::Map<String, Value> = places.filter(|(_, places)| !nothing(places)).collect();
                if places.is_empty() { Value::Null } else { Value::Object(places) }
            }
            Value::Array(items) => {
                let places: Vec<Value> =
                    items.iter().enumerate().map(|(index, value)| self.item(index).places(value)).collect();
                if places.iter().all(nothing) { Value::Null } else { Value::Array(places) }
            }
            _ => Value::Null,
        }
    }

    /// A member, and whether its schema hides it.
    fn member(&self, name: &str) -> (bool, Self) {
        let (secret, shape) = below(self.shape, name);
        (
            secret,
            Blank { marks: self.marks.map(|marks| &marks[name]), other: &self.other[name], shape, anew: self.anew },
        )
    }

    fn item(&self, at: usize) -> Self {
        Blank { marks: self.marks.map(|marks| &marks[at]), other: &self.other[at], shape: self.shape, anew: self.anew }
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

    #[test]
    fn a_hidden_value_shows_that_it_changes_and_nothing_else() {
        let (before, after) = (
            json!({ "a": ["one"], "b": { "c": "same" }, "d": null }),
            json!({ "a": ["two"], "b": { "c": "same" }, "d": "new" }),
        );
        let marks = json!({ "a": [true], "b": { "c": true } });
        let blanked = blank((before, &json!({})), (after, &json!({ "d": true })), &[]);
        assert_eq!(
            (&blanked.after["d"], &blanked.hidden),
            (&json!(HIDDEN_ANEW), &[json!(null), json!({ "d": PLACE })])
        );
        let blanked = blank((blanked.before, &marks), (blanked.after, &json!(null)), &[]);
        assert_eq!(blanked.before, json!({ "a": [HIDDEN], "b": { "c": HIDDEN }, "d": null }));
        assert_eq!(blanked.after, json!({ "a": [HIDDEN_ANEW], "b": { "c": HIDDEN }, "d": HIDDEN_ANEW }));
        assert_eq!(blanked.hidden, [json!({ "a": [PLACE] }), json!({ "a": [PLACE] })]);
    }
}
