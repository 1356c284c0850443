//! JSON from an API server. Whoever may write one object decides how deep it is, and `managedFields` are as deep as the
//! object: one tenant's resource must not make a list unreadable.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// What lies deeper is passed over: no Kubernetes type comes near, the parser itself stops at 128, and walks over what
/// is read are recursive.
const MAX_DEPTH: usize = 100;

/// Stands where something was passed over, so that it is neither absent nor equal to anything.
pub(super) const TOO_DEEP: &str = "(nested too deeply to be read)";

/// How many values one answer may have: three bytes of text become ten times as many of memory. A page of 500 objects
/// may have 32,000 in each of them.
const MOST_VALUES: usize = 16_000_000;

pub(super) fn read(body: &[u8]) -> Result<Value, serde_json::Error> {
    read_within(body, MOST_VALUES)
}

fn read_within(body: &[u8], most: usize) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = At { depth: 0, left: &Cell::new(most) }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// Reads a value that lies this deep.
#[derive(Clone, Copy)]
struct At<'a> {
    depth: usize,
    /// How many values may still come.
    left: &'a Cell<usize>,
}

impl At<'_> {
    fn below(self) -> Self {
        At { depth: self.depth + 1, ..self }
    }
}

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let left = self.left.get().checked_sub(1);
        self.left.set(left.ok_or_else(|| D::Error::custom("it has too many values to be held"))?);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        if self.depth >= MAX_DEPTH {
            while items.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(TOO_DEEP.into());
        }
        let mut found = Vec::new();
        while let Some(item) = items.next_element_seed(self.below())? {
            found.push(item);
        }
        Ok(Value::Array(found))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        if self.depth >= MAX_DEPTH {
            while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(TOO_DEEP.into());
        }
        let mut found = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            let value = members.next_value_seed(self.below())?;
            found.insert(key, value);
        }
        Ok(Value::Object(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_nested_too_deeply_hides_nothing_else() {
        for depth in [99, 140, 100_000] {
            let deep = format!("{}1{}", "{\"f:a\":".repeat(depth), "}".repeat(depth));
            let body = format!(
                r#"{{"items":[{{"metadata":{{"name":"a","managedFields":[{deep}]}}}},{{"metadata":{{"name":"b"}}}}]}}"#
            );
            let value = read(body.as_bytes()).unwrap();
            assert_eq!(value["items"][0]["metadata"]["name"], "a", "{depth}");
            assert_eq!(value["items"][1]["metadata"]["name"], "b", "{depth}");
            assert!(body.len() < 1000 || value.to_string().contains(TOO_DEEP) || depth == 99);
            let list = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            assert!(read(list.as_bytes()).is_ok(), "{depth}");
        }
    }

    #[test]
    fn more_values_than_can_be_held_are_refused() {
        let list = |items: usize| format!("[{}{{\"a\":\"\"}}]", "\"\",".repeat(items));
        assert!(read_within(list(97).as_bytes(), 100).is_ok());
        let refused = read_within(list(98).as_bytes(), 100).unwrap_err().to_string();
        assert!(refused.contains("too many values"), "{refused}");
        assert!(read(list(MOST_VALUES).as_bytes()).is_err());
    }

    #[test]
    fn everything_else_is_read_as_it_is() {
        let value = json!({"a": [null, true, -1, u64::MAX, 1.5, "x\u{1F600}"], "b": {}, "c": []});
        assert_eq!(read(value.to_string().as_bytes()).unwrap(), value);
        for broken in ["", "{", "[1,]", "{} {}", "nul", "<html>"] {
            let own = serde_json::from_str::<Value>(broken).unwrap_err();
            assert_eq!(read(broken.as_bytes()).unwrap_err().to_string(), own.to_string(), "{broken}");
        }
    }
}
