//! Takes out what is marked as sensitive at its place, on the way in. That it changes stays visible.

use serde_json::Value;

use super::secrets::{HIDDEN, HIDDEN_ANEW};
use crate::schema::{Attribute, Nesting, Shape};

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
    let marks = [before.1, after.1];
    let of = |other, anew| Blank { marks, other, place: Place::Attributes(attributes), anew };
    let (was, will) = (of(&after.0, HIDDEN), of(&before.0, HIDDEN_ANEW));
    Blanked {
        hidden: [was.places(&before.0), will.places(&after.0)],
        before: was.value(before.0.clone()),
        after: will.value(after.0.clone()),
    }
}

/// Whether anything that a configuration sets is marked, besides what its own schema hides always.
pub fn is_guarded(marks: &Value, attributes: &[Attribute]) -> bool {
    let place = Place::Attributes(attributes);
    let is_configured = |name: &str| {
        let attribute = attributes.iter().find(|attribute| attribute.name == name);
        attribute.is_none_or(|attribute| !attribute.is_computed_only())
    };
    match marks {
        Value::Object(members) => members.iter().any(|(name, marks)| {
            let (secret, place) = place.member(name);
            is_configured(name) && !secret && any_marked(marks, place)
        }),
        marks => *marks == true,
    }
}

fn any_marked(marks: &Value, place: Place<'_>) -> bool {
    match marks {
        Value::Bool(marked) => *marked,
        Value::Array(items) => items.iter().any(|marks| any_marked(marks, place.item())),
        Value::Object(members) => members.iter().any(|(name, marks)| {
            let (secret, place) = place.member(name);
            !secret && any_marked(marks, place)
        }),
        _ => false,
    }
}

/// What the schema says of a place.
#[derive(Clone, Copy)]
enum Place<'a> {
    Attributes(&'a [Attribute]),
    /// A list or a map, whose elements have these. A key may be called as one of them.
    Elements(&'a [Attribute]),
    /// It says nothing.
    Open,
}

impl<'a> Place<'a> {
    fn of(shape: &'a Shape) -> Self {
        match shape {
            Shape::Nested(nested) if nested.nesting == Nesting::Single => Self::Attributes(&nested.attributes),
            Shape::Nested(nested) => Self::Elements(&nested.attributes),
            Shape::Type(_) => Self::Open,
        }
    }

    /// A member, and whether its schema hides it.
    fn member(self, name: &str) -> (bool, Self) {
        match self {
            Self::Attributes(all) => match all.iter().find(|attribute| attribute.name == name) {
                Some(attribute) => (attribute.sensitive || attribute.write_only, Self::of(&attribute.shape)),
                None => (false, Self::Open),
            },
            Self::Elements(_) => (false, self.item()),
            Self::Open => (false, Self::Open),
        }
    }

    fn item(self) -> Self {
        match self {
            Self::Elements(all) => Self::Attributes(all),
            other => other,
        }
    }
}

/// A place in one side of a change.
struct Blank<'a> {
    marks: [&'a Value; 2],
    /// What the other side has there.
    other: &'a Value,
    place: Place<'a>,
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
        let (secret, place) = self.place.member(name);
        let marks = self.marks.map(|marks| &marks[name]);
        (secret, Blank { marks, other: &self.other[name], place, anew: self.anew })
    }

    fn item(&self, at: usize) -> Self {
        let marks = self.marks.map(|marks| &marks[at]);
        Blank { marks, other: &self.other[at], place: self.place.item(), anew: self.anew }
    }

    fn hidden(&self, value: &Value) -> Value {
        match value {
            Value::Null => Value::Null,
            value if value == self.other => HIDDEN.into(),
            _ => self.anew.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::Nested;
    use crate::value::Type;

    /// A map whose elements have a key that is hidden, and a name that is not.
    fn keyed() -> Vec<Attribute> {
        let text = |name: &str| Attribute::new(name, Shape::Type(Type::String)).optional();
        let attributes = vec![text("key").sensitive(), text("name")];
        let nested = Nested { nesting: Nesting::Map, attributes };
        vec![
            Attribute::new("all", Shape::Nested(nested)).optional(),
            Attribute::new("state", Shape::Type(Type::String)).computed(),
        ]
    }

    #[test]
    fn an_element_may_be_called_as_an_attribute() {
        let all = json!({ "all": { "key": { "key": "secret", "name": "open" } } });
        let nothing = json!({});
        let blanked = blank((Value::Null, &nothing), (all, &nothing), &keyed());
        assert_eq!(blanked.after, json!({ "all": { "key": { "key": HIDDEN_ANEW, "name": "open" } } }));
    }

    #[test]
    fn what_the_configuration_marks_is_told_from_what_the_schema_hides() {
        let guarded = |marks: Value| is_guarded(&marks, &keyed());
        assert!(guarded(json!(true)) && guarded(json!({ "all": true })));
        assert!(guarded(json!({ "all": { "key": { "name": true } } })));
        assert!(guarded(json!({ "all": { "a": { "name": true, "key": true } } })));
        assert!(!guarded(json!({ "all": { "a": { "key": true } } })) && !guarded(json!({ "state": true })));
        assert!(!guarded(json!({})) && !guarded(json!(false)));
    }

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
