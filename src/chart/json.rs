//! JSON as Go's `encoding/json` writes it.
use serde_json::{Map as Object, Number, Value as Json};

use super::budget::{self, Budget};
use super::number;
use super::value::{MAX_DEPTH, Native, Value};

/// The JSON counterpart of a template's value; an error is worded as `json.Marshal` words it.
pub(super) fn to_json(value: &Value) -> Result<Json, String> {
    nested(value, 0)
}

fn nested(value: &Value, depth: usize) -> Result<Json, String> {
    if depth > MAX_DEPTH {
        return Err("json: unsupported value: encountered a cycle".to_owned());
    }
    let made = match value {
        Value::Str(text) => text.len(),
        Value::Map(map) => budget::mapping(map.borrow().len()),
        // One that grows has room for four at least.
        Value::List(list) => budget::NODE * list.items.len().max(3),
        _ => 0,
    };
    budget::pay(1, budget::NODE + made)?;
    Ok(match value {
        Value::Invalid | Value::Nil => Json::Null,
        Value::Bool(b) => Json::Bool(*b),
        Value::Int(i) | Value::Int64(i) => Json::from(*i),
        Value::Float(f) => float(*f)?,
        Value::Str(s) => Json::String(s.to_string()),
        Value::List(l) => l.items.iter().map(|v| nested(v, depth + 1)).collect::<Result<_, _>>()?,
        Value::Map(m) => {
            let mut object = Object::new();
            for (k, v) in m.borrow().iter() {
                object.insert(k.to_string(), nested(v, depth + 1)?);
            }
            Json::Object(object)
        }
        Value::Native(native) => native_json(native),
    })
}

/// Reads a JSON text; what it comes to is paid for.
pub(super) fn parse(text: &[u8], budget: &mut Budget) -> Result<Json, serde_json::Error> {
    use serde::de::DeserializeSeed as _;
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let json = Paid(budget).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(json)
}

/// Reads a value and pays for it. The parser itself refuses what is deeper than 128.
struct Paid<'b>(&'b mut Budget);

impl Paid<'_> {
    fn pay<E: serde::de::Error>(&mut self, bytes: usize) -> Result<(), E> {
        self.0.pay(bytes).map_err(|_| E::custom("the document comes to more memory than it may"))
    }
}

impl<'de> serde::de::DeserializeSeed<'de> for Paid<'_> {
    type Value = Json;

    fn deserialize<D: serde::Deserializer<'de>>(mut self, deserializer: D) -> Result<Json, D::Error> {
        self.pay(budget::NODE)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> serde::de::Visitor<'de> for Paid<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any valid JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Number::from_f64(value).map_or(Json::Null, Json::Number))
    }

    fn visit_str<E: serde::de::Error>(mut self, value: &str) -> Result<Json, E> {
        self.pay(value.len())?;
        Ok(Json::String(value.to_owned()))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(mut self, mut items: A) -> Result<Json, A::Error> {
        let mut found = Vec::new();
        while let Some(item) = items.next_element_seed(Paid(self.0))? {
            // A list that grows is copied as it grows.
            self.pay(budget::NODE)?;
            found.push(item);
        }
        Ok(Json::Array(found))
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(mut self, mut members: A) -> Result<Json, A::Error> {
        let mut found = Object::new();
        while let Some(key) = members.next_key::<String>()? {
            self.pay(key.len() + if found.is_empty() { budget::mapping(1) } else { budget::ENTRY })?;
            let value = members.next_value_seed(Paid(self.0))?;
            found.insert(key, value);
        }
        Ok(Json::Object(found))
    }
}

fn native_json(native: &Native) -> Json {
    use base64::Engine as _;
    let string = |s: &str| Json::String(s.to_owned());
    match native {
        Native::Files(files) if !budget::goes_on(files.len(), files.values().map(|file| file.len() * 4 / 3).sum()) => {
            Json::Null
        }
        Native::Files(files) => files
            .iter()
            .map(|(k, v)| (k.clone(), Json::String(base64::engine::general_purpose::STANDARD.encode(v))))
            .collect::<Object<_, _>>()
            .into(),
        Native::KubeVersion(caps) => {
            serde_json::json!({"Version": caps.kube_version.version, "Major": caps.kube_version.major, "Minor": caps.kube_version.minor})
        }
        Native::Capabilities(caps) => serde_json::json!({
            "KubeVersion": native_json(&Native::KubeVersion(caps.clone())),
            "APIVersions": caps.api_versions,
            "HelmVersion": native_json(&Native::HelmVersion),
        }),
        Native::HelmVersion => serde_json::json!({"version": super::HELM_VERSION}),
        Native::ApiVersions(caps) => caps.api_versions.clone().into(),
        Native::Semver(_, text) => string(text),
        Native::Duration(nanoseconds) => Json::from(*nanoseconds),
    }
}

/// A whole number below 1e21 has no exponent and no point in JSON, and reads back as an integer.
fn float(value: f64) -> Result<Json, String> {
    let Some(text) = number::json(value) else {
        return Err(format!("json: unsupported value: {}", number::general(value)));
    };
    let parsed = text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from));
    Ok(match parsed {
        Ok(number) if value != 0.0 || text == "0" => Json::Number(number),
        _ => Number::from_f64(value).map_or(Json::Null, Json::Number),
    })
}

/// How strings are written.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Escape {
    /// `<`, `>` and `&` as `\u003c` and so on, which is Go's default.
    Html,
    Plain,
}

/// One line, no spaces.
pub(super) fn compact(json: &Json, escape: Escape) -> String {
    let mut out = String::new();
    write(json, escape, None, &mut out);
    out
}

/// Two spaces per level.
pub(super) fn pretty(json: &Json) -> String {
    let mut out = String::new();
    write(json, Escape::Html, Some(0), &mut out);
    out
}

fn write(json: &Json, escape: Escape, level: Option<usize>, out: &mut String) {
    // What is indented can come to far more than what it is made of.
    if out.len() > budget::MAX_TEXT {
        return;
    }
    match json {
        Json::Null => out.push_str("null"),
        Json::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Json::Number(n) => match n.as_f64() {
            Some(f) if n.is_f64() => out.push_str(&number::json(f).unwrap_or_default()),
            _ => out.push_str(&n.to_string()),
        },
        Json::String(s) => write_string(s, escape, out),
        Json::Array(items) => {
            write_all(items.iter(), ('[', ']'), level, out, |item, inner, out| write(item, escape, inner, out));
        }
        Json::Object(fields) => {
            write_all(fields.iter(), ('{', '}'), level, out, |(key, value), inner, out| {
                write_string(key, escape, out);
                out.push(':');
                if inner.is_some() {
                    out.push(' ');
                }
                write(value, escape, inner, out);
            });
        }
    }
}

fn write_all<T>(
    items: impl ExactSizeIterator<Item = T>,
    (open, close): (char, char),
    level: Option<usize>,
    out: &mut String,
    each: impl Fn(T, Option<usize>, &mut String),
) {
    out.push(open);
    let inner = level.map(|l| l + 1);
    let empty = items.len() == 0;
    for (i, item) in items.enumerate() {
        if i > 0 {
            out.push(',');
        }
        new_line(inner, out);
        each(item, inner, out);
    }
    if !empty {
        new_line(level, out);
    }
    out.push(close);
}

fn new_line(level: Option<usize>, out: &mut String) {
    if let Some(level) = level {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", level));
    }
}

fn write_string(text: &str, escape: Escape, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '<' | '>' | '&' if escape == Escape::Html => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}
