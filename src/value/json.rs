//! The JSON form of values: what stored state is made of.
//!
//! Numbers are read as text, so that no digit is lost.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::{Dyn, Error, MAX_DEPTH, Number, Problem, Type, normalise};

/// Reads one value of the given type.
pub fn decode(bytes: &[u8], ty: &Type) -> Result<Dyn, Error> {
    read(raw(bytes)?, ty, Attributes::Exact, 0)
}

/// Reads stored state: attributes the state lacks are null, attributes the type lacks are dropped.
pub fn decode_state(bytes: &[u8], ty: &Type) -> Result<Dyn, Error> {
    read(raw(bytes)?, ty, Attributes::Tolerant, 0)
}

/// Writes a wholly known value as the given type.
pub fn encode(value: &Dyn, ty: &Type) -> Result<String, Error> {
    let mut out = String::new();
    write(&mut out, value, ty)?;
    Ok(out)
}

/// Whether an object's attributes must be exactly the type's.
#[derive(Clone, Copy, PartialEq)]
enum Attributes {
    Exact,
    Tolerant,
}

fn raw(bytes: &[u8]) -> Result<&RawValue, Error> {
    serde_json::from_slice(bytes).map_err(malformed)
}

fn malformed(error: serde_json::Error) -> Error {
    // Only the kind and place: serde_json's own text may quote the input.
    Error::new(Problem::Malformed(format!("JSON {:?} error in line {}", error.classify(), error.line()).to_lowercase()))
}

fn read(raw: &RawValue, ty: &Type, attributes: Attributes, depth: usize) -> Result<Dyn, Error> {
    if depth > MAX_DEPTH {
        return Err(Error::new(Problem::TooDeep));
    }
    let text = raw.get().trim();
    if text == "null" {
        return Ok(Dyn::Null);
    }
    let fits = match ty {
        Type::String => text.starts_with('"'),
        Type::Bool => text == "true" || text == "false",
        // Terraform itself writes numbers bare, but accepts them quoted.
        Type::Number => text.starts_with(['-', '"', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']),
        Type::List(_) | Type::Set(_) | Type::Tuple(_) => text.starts_with('['),
        Type::Map(_) | Type::Object(_) | Type::Dynamic => text.starts_with('{'),
    };
    if !fits {
        return Err(Error::expected(ty.describe(), kind(text)));
    }
    match ty {
        Type::String => Ok(Dyn::String(string(text)?)),
        Type::Bool => Ok(Dyn::Bool(text == "true")),
        Type::Number => {
            let number = if text.starts_with('"') { string(text)? } else { text.to_owned() };
            number.parse::<Number>().map(Dyn::Number).map_err(|e| Error::new(Problem::Number(e)))
        }
        Type::List(ty) => Ok(Dyn::List(elements(text, ty, attributes, depth)?)),
        Type::Set(ty) => Ok(Dyn::set(elements(text, ty, attributes, depth)?)),
        Type::Map(ty) => {
            let mut map = BTreeMap::new();
            for (key, raw) in members(text)? {
                let value = read(raw, ty, attributes, depth + 1).map_err(|e| e.in_key(&key))?;
                map.insert(normalise(&key), value);
            }
            Ok(Dyn::Map(map))
        }
        Type::Object(types) => object(text, types, attributes, depth),
        Type::Tuple(types) => {
            let raws: Vec<&RawValue> = serde_json::from_str(text).map_err(malformed)?;
            if raws.len() != types.len() {
                return Err(Error::new(Problem::Length { expected: types.len(), found: raws.len() }));
            }
            let each = raws.iter().zip(types).enumerate();
            let read =
                |(i, (raw, ty)): (_, (&&RawValue, _))| read(raw, ty, attributes, depth + 1).map_err(|e| e.in_index(i));
            Ok(Dyn::Tuple(each.map(read).collect::<Result<_, _>>()?))
        }
        Type::Dynamic => {
            let members = members(text)?;
            let (Some(ty), Some(value)) = (members.get("type"), members.get("value")) else {
                return Err(Error::new(Problem::Type));
            };
            let ty = serde_json::from_str(ty.get()).map_err(|_| Error::new(Problem::Type))?;
            let ty = Type::from_json(&ty).ok_or(Error::new(Problem::Type))?;
            let value = read(value, &ty, attributes, depth + 1)?;
            Ok(Dyn::Dynamic(ty, Box::new(value)))
        }
    }
}

fn object(text: &str, types: &BTreeMap<String, Type>, tolerance: Attributes, depth: usize) -> Result<Dyn, Error> {
    let members = members(text)?;
    if tolerance == Attributes::Exact
        && let Some(extra) = members.keys().find(|name| !types.contains_key(*name))
    {
        return Err(Error::new(Problem::UnexpectedAttribute(extra.clone())));
    }
    let mut attributes = BTreeMap::new();
    for (name, ty) in types {
        let value = match members.get(name) {
            Some(raw) => read(raw, ty, tolerance, depth + 1).map_err(|e| e.in_attr(name))?,
            None if tolerance == Attributes::Tolerant => Dyn::Null,
            None => return Err(Error::new(Problem::MissingAttribute(name.clone()))),
        };
        attributes.insert(name.clone(), value);
    }
    Ok(Dyn::Object(attributes))
}

fn elements(text: &str, ty: &Type, attributes: Attributes, depth: usize) -> Result<Vec<Dyn>, Error> {
    let raws: Vec<&RawValue> = serde_json::from_str(text).map_err(malformed)?;
    let read = |(i, raw): (usize, &&RawValue)| read(raw, ty, attributes, depth + 1).map_err(|e| e.in_index(i));
    raws.iter().enumerate().map(read).collect()
}

fn members(text: &str) -> Result<BTreeMap<String, &RawValue>, Error> {
    serde_json::from_str(text).map_err(malformed)
}

fn string(text: &str) -> Result<String, Error> {
    serde_json::from_str::<String>(text).map(|text| normalise(&text)).map_err(malformed)
}

fn kind(text: &str) -> &'static str {
    match text.as_bytes().first() {
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a bool",
        Some(b'[') => "a list",
        Some(b'{') => "an object",
        _ => "a number",
    }
}

fn write(out: &mut String, value: &Dyn, ty: &Type) -> Result<(), Error> {
    match (value, ty) {
        (Dyn::Null, _) => out.push_str("null"),
        (Dyn::Unknown(_), _) => return Err(Error::new(Problem::Unknown)),
        (Dyn::Dynamic(ty, value), Type::Dynamic) => {
            out.push_str("{\"type\":");
            out.push_str(&ty.to_json().to_string());
            out.push_str(",\"value\":");
            write(out, value, ty)?;
            out.push('}');
        }
        (Dyn::Bool(value), Type::Bool) => out.push_str(if *value { "true" } else { "false" }),
        (Dyn::Number(number), Type::Number) => out.push_str(&number.to_string()),
        (Dyn::String(text), Type::String) => out.push_str(&quoted(text)),
        (Dyn::List(elements), Type::List(ty)) => write_elements(out, elements, ty)?,
        (Dyn::Set(elements), Type::Set(ty)) => write_elements(out, elements, ty)?,
        (Dyn::Tuple(elements), Type::Tuple(types)) if elements.len() == types.len() => {
            for (i, (element, ty)) in elements.iter().zip(types).enumerate() {
                out.push(if i == 0 { '[' } else { ',' });
                write(out, element, ty).map_err(|e| e.in_index(i))?;
            }
            out.push_str(if elements.is_empty() { "[]" } else { "]" });
        }
        (Dyn::Map(elements), Type::Map(ty)) => {
            let members = elements.iter().map(|(key, value)| (key, value, &**ty));
            write_members(out, members, |e, key| e.in_key(key))?;
        }
        (Dyn::Object(attributes), Type::Object(types)) => {
            let members = types.iter().map(|(name, ty)| (name, attributes.get(name).unwrap_or(&Dyn::Null), ty));
            write_members(out, members, |e, name| e.in_attr(name))?;
        }
        (value, ty) => return Err(Error::expected(ty.describe(), value.kind())),
    }
    Ok(())
}

fn write_elements(out: &mut String, elements: &[Dyn], ty: &Type) -> Result<(), Error> {
    out.push('[');
    for (i, element) in elements.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        write(out, element, ty).map_err(|e| e.in_index(i))?;
    }
    out.push(']');
    Ok(())
}

fn write_members<'a>(
    out: &mut String,
    members: impl Iterator<Item = (&'a String, &'a Dyn, &'a Type)>,
    within: impl Fn(Error, &str) -> Error,
) -> Result<(), Error> {
    out.push('{');
    for (i, (name, value, ty)) in members.enumerate() {
        if i > 0 {
            out.push(',');
        }
        out.push_str(&quoted(name));
        out.push(':');
        write(out, value, ty).map_err(|e| within(e, name))?;
    }
    out.push('}');
    Ok(())
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(normalise(text)).to_string()
}
