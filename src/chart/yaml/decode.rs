//! A document to JSON, as go-yaml and sigs.k8s.io/yaml decode it: aliases, merge keys, scalars, and which keys a map
//! may have.
use base64::Engine as _;
use serde_json::{Map, Number, Value as Json};

use super::parse::{Document, Node, too_large};
use super::{Error, resolve};
use crate::chart::budget::{self, Budget, MAX_NESTING};
use crate::chart::{number, print};

impl Document<'_> {
    pub(super) fn decode(&self, budget: &mut Budget) -> Result<Json, Error> {
        let Some(root) = self.root else { return Ok(Json::Null) };
        Decoder { document: self, budget, depth: 0, line: 0, steps: 0, alias_steps: 0, aliases: Vec::new() }.node(root)
    }
}

struct Decoder<'d, 'a> {
    document: &'d Document<'a>,
    budget: &'d mut Budget,
    /// Of the value being made: an alias lies as deep as where it stands, and what it stands for below that.
    depth: usize,
    /// Of the node that is read, for what goes wrong there.
    line: usize,
    steps: usize,
    alias_steps: usize,
    aliases: Vec<usize>,
}

impl Decoder<'_, '_> {
    fn node(&mut self, id: usize) -> Result<Json, Error> {
        self.count()?;
        self.line = self.document.lines[id];
        match &self.document.nodes[id] {
            Node::Scalar { text, plain, tag } => {
                self.pay(budget::NODE + text.len())?;
                scalar(text, *plain, tag, self.line + 1)
            }
            Node::Sequence(items) => {
                self.pay(budget::NODE * (items.len() + 1))?;
                self.deeper(|decoder| items.iter().map(|item| decoder.node(*item)).collect())
            }
            Node::Mapping(entries) => {
                self.pay(budget::mapping(entries.len()))?;
                let mut out = Map::new();
                self.deeper(|decoder| decoder.mapping(entries, &mut out))?;
                Ok(Json::Object(out))
            }
            Node::Alias { name, target } => self.alias(id, name, |decoder| decoder.node(*target)),
        }
    }

    fn pay(&mut self, bytes: usize) -> Result<(), Error> {
        let paid = match self.aliases.is_empty() {
            true => self.budget.pay(bytes),
            false => self.budget.pay_for_repetition(bytes),
        };
        paid.map_err(|_| too_large(self.line))
    }

    /// Every step down that recurs in this program is counted, whatever it is in the document.
    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.depth >= MAX_NESTING {
            return Err(Error::syntax(self.line + 1, format!("exceeded max depth of {MAX_NESTING}, aliases included")));
        }
        self.depth += 1;
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn alias<T>(
        &mut self,
        id: usize,
        name: &str,
        read: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if self.aliases.contains(&id) {
            return Err(contains_itself(name, self.line));
        }
        self.aliases.push(id);
        let value = self.deeper(read);
        self.aliases.pop();
        value
    }

    /// Refuses documents whose size comes mostly from aliases.
    fn count(&mut self) -> Result<(), Error> {
        const LOW: f64 = 400_000.0;
        const HIGH: f64 = 4_000_000.0;
        self.steps += 1;
        if !self.aliases.is_empty() {
            self.alias_steps += 1;
        }
        let steps = self.steps as f64;
        let share = if steps <= LOW {
            0.99
        } else if steps >= HIGH {
            0.10
        } else {
            0.99 - 0.89 * (steps - LOW) / (HIGH - LOW)
        };
        if self.alias_steps > 100 && self.steps > 1000 && self.alias_steps as f64 / steps > share {
            return Err(Error::syntax(0, "document contains excessive aliasing"));
        }
        Ok(())
    }

    fn mapping(&mut self, entries: &[(usize, usize)], out: &mut Map<String, Json>) -> Result<(), Error> {
        for &(key, value) in entries {
            if self.is_merge(key) {
                self.merge(value, out)?;
                continue;
            }
            let key = self.key(key)?;
            let value = self.node(value)?;
            match key {
                Key::Text(key) => {
                    out.insert(key, value);
                }
                Key::Unsupported { kind, shown } => {
                    return Err(unsupported_key(kind, &shown, &value, self.line));
                }
            }
        }
        Ok(())
    }

    fn is_merge(&self, id: usize) -> bool {
        matches!(&self.document.nodes[id], Node::Scalar { text, plain, tag }
            if text == "<<" && (*plain || tag == "tag:yaml.org,2002:merge"))
    }

    fn merge(&mut self, id: usize, out: &mut Map<String, Json>) -> Result<(), Error> {
        match &self.document.nodes[id] {
            Node::Sequence(items) => {
                // Backwards, since earlier mappings take precedence.
                for item in items.iter().rev() {
                    self.merge_one(*item, out)?;
                }
                Ok(())
            }
            _ => self.merge_one(id, out),
        }
    }

    fn merge_one(&mut self, id: usize, out: &mut Map<String, Json>) -> Result<(), Error> {
        self.count()?;
        match &self.document.nodes[id] {
            Node::Mapping(entries) => self.deeper(|decoder| decoder.mapping(entries, out)),
            Node::Alias { name, target } => {
                let Node::Mapping(entries) = &self.document.nodes[*target] else { return Err(want_map()) };
                self.alias(id, name, |decoder| decoder.mapping(entries, out))
            }
            _ => Err(want_map()),
        }
    }

    /// A mapping's key as the string JSON needs.
    fn key(&mut self, id: usize) -> Result<Key, Error> {
        if let Node::Scalar { text, plain, tag } = &self.document.nodes[id]
            && tag.is_empty()
        {
            self.count()?;
            self.pay(text.len())?;
            return Ok(if *plain { Key::plain(text) } else { Key::Text(text.to_string()) });
        }
        Ok(match self.node(id)? {
            Json::String(text) => Key::Text(text),
            Json::Bool(b) => Key::Text(b.to_string()),
            Json::Number(n) => Key::Text(match n.as_f64() {
                Some(f) if n.is_f64() => number::general_f32(f),
                _ => n.to_string(),
            }),
            Json::Null => Key::null(),
            collection => {
                return Err(invalid_key(&collection, self.line));
            }
        })
    }
}

enum Key {
    Text(String),
    /// What sigs.k8s.io/yaml refuses once the whole document is read.
    Unsupported {
        kind: &'static str,
        shown: String,
    },
}

impl Key {
    fn plain(text: &str) -> Self {
        Self::Text(match resolve::resolve(text) {
            resolve::Scalar::Str => text.to_owned(),
            resolve::Scalar::Null => return Self::null(),
            resolve::Scalar::Bool(b) => b.to_string(),
            resolve::Scalar::Int(i) => i.to_string(),
            resolve::Scalar::Uint(u) => return Self::Unsupported { kind: "uint64", shown: format!("{u:#x}") },
            resolve::Scalar::Float(f) if f.is_nan() => ".nan".to_owned(),
            resolve::Scalar::Float(f) if f.is_infinite() => if f > 0.0 { ".inf" } else { "-.inf" }.to_owned(),
            resolve::Scalar::Float(f) => number::general_f32(f),
        })
    }

    fn null() -> Self {
        Self::Unsupported { kind: "%!s(<nil>)", shown: "<nil>".to_owned() }
    }
}

/// `%#v`
fn go_syntax(value: &Json, outermost: bool) -> String {
    match value {
        Json::Null if outermost => "<nil>".to_owned(),
        Json::Null => "interface {}(nil)".to_owned(),
        Json::Bool(b) => b.to_string(),
        Json::Number(n) => n.to_string(),
        Json::String(text) => print::quote(text),
        Json::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| go_syntax(item, false)).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Json::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(k, v)| format!("{}:{}", print::quote(k), go_syntax(v, false))).collect();
            format!("map[interface {{}}]interface {{}}{{{}}}", fields.join(", "))
        }
    }
}

fn contains_itself(name: &str, line: usize) -> Error {
    let words = format!("yaml: anchor '{name}' value contains itself");
    Error::quoting(line + 1, words, "the value of an anchor contains itself")
}

fn unsupported_key(kind: &str, shown: &str, value: &Json, line: usize) -> Error {
    let value = go_syntax(value, true);
    let words = format!("unsupported map key of type: {kind}, key: {shown}, value: {value}");
    Error::quoting(line + 1, words, "a key is null, or a number too large for a key")
}

fn invalid_key(collection: &Json, line: usize) -> Error {
    const PROBLEM: &str = "a key is a list or a mapping: quote a text that begins with a bracket or brace";
    Error::quoting(line + 1, format!("yaml: invalid map key: {}", go_syntax(collection, true)), PROBLEM)
}

fn want_map() -> Error {
    Error::syntax(0, "map merge requires map or sequence of maps as the value")
}

fn scalar(text: &str, plain: bool, tag: &str, line: usize) -> Result<Json, Error> {
    let short = tag.strip_prefix("tag:yaml.org,2002:");
    if tag.is_empty() && !plain {
        return Ok(Json::String(text.to_owned()));
    }
    match short {
        None if tag.is_empty() => json_of(text, resolve::resolve(text)),
        Some("str" | "timestamp") => Ok(Json::String(text.to_owned())),
        Some("binary") => base64::engine::general_purpose::STANDARD
            .decode(text.replace(['\n', '\r'], ""))
            .map(|bytes| Json::String(String::from_utf8_lossy(&bytes).into_owned()))
            .map_err(|_| Error::syntax(0, "!!binary value contains invalid base64 data")),
        Some(wanted @ ("bool" | "int" | "float" | "null")) => {
            let found = resolve::resolve(text);
            let name = match found {
                resolve::Scalar::Null => "null",
                resolve::Scalar::Bool(_) => "bool",
                resolve::Scalar::Int(_) if wanted == "float" => "float",
                resolve::Scalar::Int(_) | resolve::Scalar::Uint(_) => "int",
                resolve::Scalar::Float(_) => "float",
                resolve::Scalar::Str => "str",
            };
            if name != wanted {
                let words = format!("yaml: cannot decode !!{name} `{text}` as a !!{wanted}");
                return Err(Error::quoting(line, words, "a value is not of the type that its tag names"));
            }
            json_of(text, found)
        }
        _ => Ok(Json::String(text.to_owned())),
    }
}

fn json_of(text: &str, scalar: resolve::Scalar) -> Result<Json, Error> {
    Ok(match scalar {
        resolve::Scalar::Null => Json::Null,
        resolve::Scalar::Bool(b) => Json::Bool(b),
        resolve::Scalar::Int(i) => Json::from(i),
        resolve::Scalar::Uint(u) => Json::from(u),
        resolve::Scalar::Float(f) => return float(f),
        resolve::Scalar::Str => Json::String(text.to_owned()),
    })
}

/// 2.0 is written as 2 in JSON, and is an integer from then on.
fn float(value: f64) -> Result<Json, Error> {
    let negative_zero = value == 0.0 && value.is_sign_negative();
    if value.fract() == 0.0 && value.abs() < 9.2e18 && !negative_zero {
        return Ok(Json::from(value as i64));
    }
    match Number::from_f64(value) {
        Some(number) => Ok(Json::Number(number)),
        None => Err(Error::NotJson(format!("json: unsupported value: {}", number::general(value)))),
    }
}
