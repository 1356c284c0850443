//! Base64, hashes, URLs, JSON and YAML.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::Digest as _;

use super::Param::{Any, Str};
use super::{Row, map, text};
use crate::chart::budget::Budget;
use crate::chart::json::{self, Escape};
use crate::chart::value::{Map, Value};
use crate::chart::yaml;

pub(super) const TABLE: &[Row] = &[
    ("b64enc", &[Str], None, false, |args| Ok(Value::str(STANDARD.encode(text(&args[0]))))),
    ("b64dec", &[Str], None, false, |args| base64_decode(text(&args[0])).map(Value::str)),
    ("sha1sum", &[Str], None, false, |args| Ok(Value::str(sha1(text(&args[0]))))),
    ("sha256sum", &[Str], None, false, |args| Ok(Value::str(hex(&sha2::Sha256::digest(text(&args[0])))))),
    ("sha512sum", &[Str], None, false, |args| Ok(Value::str(hex(&sha2::Sha512::digest(text(&args[0])))))),
    ("adler32sum", &[Str], None, false, |args| Ok(Value::str(adler32(text(&args[0])).to_string()))),
    ("urlParse", &[Str], None, false, url_parse),
    // sprig's toJson and Helm's agree; on failure there is no text.
    ("toJson", &[Any], None, false, |args| Ok(Value::str(to_json(args, Escape::Html).unwrap_or_default()))),
    ("mustToJson", &[Any], None, false, |args| to_json(args, Escape::Html).map(Value::str)),
    ("toRawJson", &[Any], None, false, |args| to_json(args, Escape::Plain).map(Value::str)),
    ("mustToRawJson", &[Any], None, false, |args| to_json(args, Escape::Plain).map(Value::str)),
    ("toPrettyJson", &[Any], None, false, |args| {
        Ok(Value::str(json::to_json(&args[0]).map(|j| json::pretty(&j)).unwrap_or_default()))
    }),
    ("mustToPrettyJson", &[Any], None, false, |args| json::to_json(&args[0]).map(|j| Value::str(json::pretty(&j)))),
    ("fromJson", &[Str], None, false, |args| Ok(from_json(text(&args[0])))),
    ("fromJsonArray", &[Str], None, false, |args| Ok(from_json_array(text(&args[0])))),
    ("mustFromJson", &[Str], None, true, |args| {
        json_of(text(&args[0])).map(|j| Value::from_json(&j)).map_err(|e| e.to_string())
    }),
    ("toYaml", &[Any], None, false, |args| Ok(Value::str(to_yaml(&args[0]).unwrap_or_default()))),
    ("mustToYaml", &[Any], None, false, |args| to_yaml(&args[0]).map(Value::str)),
    ("fromYaml", &[Str], None, false, |args| Ok(from_yaml(text(&args[0])))),
    ("fromYamlArray", &[Str], None, false, |args| Ok(from_yaml_array(text(&args[0])))),
];

fn sha1(s: &str) -> String {
    use aws_lc_rs::digest;
    hex(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, s.as_bytes()).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn base64_decode(s: &str) -> Result<String, String> {
    let plain: String = s.chars().filter(|c| *c != '\n' && *c != '\r').collect();
    match STANDARD.decode(&plain) {
        Ok(bytes) => String::from_utf8(bytes)
            .map_err(|_| "the decoded text is not UTF-8, which is not supported here".to_owned()),
        Err(_) => Ok(format!("illegal base64 data at input byte {}", bad_base64_byte(s))),
    }
}

/// Where Go's decoder gives up: at the first byte that fits nowhere, or at the end of the input.
fn bad_base64_byte(s: &str) -> usize {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'\n' | b'\r');
    s.bytes().position(|b| !fits(b)).unwrap_or_else(|| {
        let count = s.bytes().filter(|b| !matches!(b, b'\n' | b'\r')).count();
        count - count % 4
    })
}

fn adler32(s: &str) -> u32 {
    let (a, b) = s.bytes().fold((1u32, 0u32), |(a, b), byte| {
        let a = (a + u32::from(byte)) % 65521;
        (a, (b + a) % 65521)
    });
    (b << 16) | a
}

fn to_json(args: &[Value], escape: Escape) -> Result<String, String> {
    Ok(json::compact(&json::to_json(&args[0])?, escape))
}

fn json_of(text: &str) -> Result<serde_json::Value, serde_json::Error> {
    json::parse(text.as_bytes(), &mut Budget::of(text))
}

fn from_json(s: &str) -> Value {
    match json_of(s) {
        Ok(serde_json::Value::Object(fields)) => Value::Map(Map::from_json(&fields)),
        Ok(serde_json::Value::Null) => Value::Map(Map::empty()),
        Ok(other) => {
            let kind = json_kind(&other);
            error_map(&format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"))
        }
        Err(_) if s.trim().is_empty() => error_map("unexpected end of JSON input"),
        Err(error) => error_map(&error.to_string()),
    }
}

fn from_json_array(s: &str) -> Value {
    match json_of(s) {
        Ok(array @ serde_json::Value::Array(_)) => Value::from_json(&array),
        Ok(serde_json::Value::Null) => Value::list(Vec::new()),
        Ok(other) => {
            let kind = json_kind(&other);
            Value::list(vec![Value::str(format!(
                "json: cannot unmarshal {kind} into Go value of type []interface {{}}"
            ))])
        }
        Err(_) if s.trim().is_empty() => Value::list(vec![Value::str("unexpected end of JSON input")]),
        Err(error) => Value::list(vec![Value::str(error.to_string())]),
    }
}

fn json_kind(json: &serde_json::Value) -> &'static str {
    match json {
        serde_json::Value::Null => "null",
        serde_json::Value::Bool(_) => "bool",
        serde_json::Value::Number(_) => "number",
        serde_json::Value::String(_) => "string",
        serde_json::Value::Array(_) => "array",
        serde_json::Value::Object(_) => "object",
    }
}

fn error_map(message: &str) -> Value {
    let map = Map::empty();
    map.insert("Error", Value::str(message));
    Value::Map(map)
}

pub(super) fn to_yaml(value: &Value) -> Result<String, String> {
    let json = json::to_json(value).map_err(|e| format!("error marshaling into JSON: {e}"))?;
    let mut text = yaml::emit(&json).ok_or("yaml: control characters are not allowed")?;
    if text.ends_with('\n') {
        text.pop();
    }
    Ok(text)
}

fn from_yaml(s: &str) -> Value {
    match yaml::parse(s) {
        Ok(serde_json::Value::Object(fields)) => Value::Map(Map::from_json(&fields)),
        Ok(serde_json::Value::Null) => Value::Map(Map::empty()),
        Ok(other) => error_map(&format!(
            "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {} into Go value of type \
             map[string]interface {{}}",
            json_kind(&other)
        )),
        Err(error) => error_map(&error.to_string()),
    }
}

fn from_yaml_array(s: &str) -> Value {
    match yaml::parse(s) {
        Ok(array @ serde_json::Value::Array(_)) => Value::from_json(&array),
        Ok(serde_json::Value::Null) => Value::list(Vec::new()),
        Ok(other) => Value::list(vec![Value::str(format!(
            "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {} into Go value of type \
             []interface {{}}",
            json_kind(&other)
        ))]),
        Err(error) => Value::list(vec![Value::str(error.to_string())]),
    }
}

/// `url.QueryEscape`
pub(super) fn query_escape(s: &str) -> String {
    s.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(b).to_string(),
            b' ' => "+".to_owned(),
            b => format!("%{b:02X}"),
        })
        .collect()
}

fn url_parse(args: &[Value]) -> Result<Value, String> {
    let whole = text(&args[0]);
    let (rest, fragment) = whole.split_once('#').unwrap_or((whole, ""));
    let (scheme, rest) = match rest.split_once(':') {
        Some((scheme, after)) if is_scheme(scheme) => (scheme.to_lowercase(), after),
        Some(("", _)) => {
            return Err(format!("unable to parse url: parse {whole:?}: missing protocol scheme"));
        }
        _ => (String::new(), rest),
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (mut opaque, mut host, mut userinfo, mut path) = ("", "", "", rest);
    if let Some(after) = rest.strip_prefix("//") {
        let slash = after.find('/').unwrap_or(after.len());
        let authority = &after[..slash];
        path = &after[slash..];
        (userinfo, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    } else if !scheme.is_empty() && !rest.starts_with('/') {
        (opaque, path) = (rest, "");
    }
    let hostname = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(v6),
        None => host.split(':').next().unwrap_or(host),
    };
    let decode = |s: &str| percent_encoding::percent_decode_str(s).decode_utf8_lossy().into_owned();
    let map = Map::empty();
    for (key, value) in [
        ("scheme", scheme),
        ("host", decode(host)),
        ("hostname", decode(hostname)),
        ("path", decode(path)),
        ("query", query.to_owned()),
        ("opaque", opaque.to_owned()),
        ("fragment", decode(fragment)),
        ("userinfo", userinfo.to_owned()),
    ] {
        map.insert(key, Value::str(value));
    }
    Ok(Value::Map(map))
}

fn is_scheme(s: &str) -> bool {
    s.starts_with(|c: char| c.is_ascii_alphabetic())
        && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

pub(super) fn url_join(args: &[Value]) -> Result<Value, String> {
    let part = |key: &str| match map(&args[0]).and_then(|m| m.get(key)) {
        None => Ok(String::new()),
        Some(Value::Str(s)) => Ok(s.to_string()),
        Some(other) => {
            let kind = other.kind_name();
            Err(format!("unable to parse {key} key, must be of type string, but {kind} found"))
        }
    };
    let (scheme, host, userinfo, path) = (part("scheme")?, part("host")?, part("userinfo")?, part("path")?);
    let mut url = String::new();
    if !scheme.is_empty() {
        url.push_str(&format!("{scheme}:"));
    }
    let opaque = part("opaque")?;
    if opaque.is_empty() {
        if !host.is_empty() || !userinfo.is_empty() || !scheme.is_empty() {
            url.push_str("//");
            if !userinfo.is_empty() {
                url.push_str(&format!("{userinfo}@"));
            }
            url.push_str(&host);
        }
        if !path.is_empty() && !path.starts_with('/') && !host.is_empty() {
            url.push('/');
        }
        url.push_str(&escape_path(&path));
    } else {
        url.push_str(&opaque);
    }
    for (mark, key) in [('?', "query"), ('#', "fragment")] {
        let value = part(key)?;
        if !value.is_empty() {
            url.push(mark);
            url.push_str(&value);
        }
    }
    Ok(Value::str(url))
}

fn escape_path(path: &str) -> String {
    path.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(b).to_string(),
            b if b"-_.~$&+,/:;=@!'()*".contains(&b) => char::from(b).to_string(),
            b => format!("%{b:02X}"),
        })
        .collect()
}
