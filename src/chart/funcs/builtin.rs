//! The builtins of `text/template`. `and` and `or` are in the evaluator, which must not evaluate all arguments.
use super::super::print;
use super::super::value::{List, MapKind, Native, Value};
use super::Param::{Any, Reflect, Str};
use super::{Row, range_native, text};

pub(super) const TABLE: &[Row] = &[
    ("and", &[Reflect], Some(Reflect), true, |args| Ok(args[0].clone())),
    ("or", &[Reflect], Some(Reflect), true, |args| Ok(args[0].clone())),
    ("not", &[Reflect], None, false, |args| Ok(Value::Bool(!args[0].is_true()))),
    ("eq", &[Reflect], Some(Reflect), false, |args| equal(args).map(Value::Bool)),
    ("ne", &[Reflect, Reflect], None, false, |args| equal(args).map(|b| Value::Bool(!b))),
    ("lt", &[Reflect, Reflect], None, false, |args| less(&args[0], &args[1]).map(Value::Bool)),
    ("le", &[Reflect, Reflect], None, false, |args| less_or_equal(args).map(Value::Bool)),
    ("gt", &[Reflect, Reflect], None, false, |args| less_or_equal(args).map(|b| Value::Bool(!b))),
    ("ge", &[Reflect, Reflect], None, false, |args| less(&args[0], &args[1]).map(|b| Value::Bool(!b))),
    ("index", &[Reflect], Some(Reflect), true, index),
    ("len", &[Reflect], None, false, length),
    ("call", &[Reflect], Some(Reflect), true, call),
    ("print", &[], Some(Any), false, |args| Ok(Value::str(print::sprint(args)))),
    ("println", &[], Some(Any), false, |args| Ok(Value::str(print::sprintln(args)))),
    ("printf", &[Str], Some(Any), false, |args| Ok(Value::str(print::sprintf(text(&args[0]), &args[1..])))),
    ("html", &[], Some(Any), false, |args| Ok(Value::str(html(&operand_text(args))))),
    ("js", &[], Some(Any), false, |args| Ok(Value::str(js(&operand_text(args))))),
    ("urlquery", &[], Some(Any), false, |args| Ok(Value::str(super::encode::query_escape(&operand_text(args))))),
];

#[derive(PartialEq, Clone, Copy)]
enum Basic {
    None,
    Bool,
    Int,
    Float,
    Str,
}

fn basic(value: &Value) -> Basic {
    match value {
        Value::Bool(_) => Basic::Bool,
        Value::Int(_) | Value::Int64(_) | Value::Native(Native::Duration(_)) => Basic::Int,
        Value::Float(_) => Basic::Float,
        Value::Str(_) => Basic::Str,
        _ => Basic::None,
    }
}

fn incompatible(a: &Value, b: &Value) -> String {
    format!("incompatible types for comparison: {} and {}", a.type_name(), b.type_name())
}

fn equal(args: &[Value]) -> Result<bool, String> {
    let (first, rest) = (&args[0], &args[1..]);
    if rest.is_empty() {
        return Err("missing argument for comparison".to_owned());
    }
    for other in rest {
        let (a, b) = (basic(first), basic(other));
        let same = if a != b {
            if !first.is_nil() && !other.is_nil() {
                return Err(incompatible(first, other));
            }
            false
        } else {
            match (first, other) {
                (Value::Bool(x), Value::Bool(y)) => x == y,
                (Value::Float(x), Value::Float(y)) => x == y,
                (Value::Str(x), Value::Str(y)) => x == y,
                _ if a == Basic::Int => first.as_int() == other.as_int(),
                _ if first.is_nil() || other.is_nil() => first.is_nil() == other.is_nil(),
                _ if first.kind_name() != other.kind_name() => {
                    let (x, y) = (print::display(first), print::display(other));
                    return Err(format!("non-comparable types {x}: {}, {}: {y}", first.type_name(), other.type_name()));
                }
                _ => {
                    return Err(format!("non-comparable type {}: {}", as_text(other), other.type_name()));
                }
            }
        };
        if same {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `%s`, which these messages use on anything.
fn as_text(value: &Value) -> String {
    print::sprintf("%s", std::slice::from_ref(value))
}

fn less(a: &Value, b: &Value) -> Result<bool, String> {
    let (x, y) = (basic(a), basic(b));
    if x == Basic::None || y == Basic::None {
        return Err("invalid type for comparison".to_owned());
    }
    if x != y {
        return Err(incompatible(a, b));
    }
    match (a, b) {
        (Value::Float(x), Value::Float(y)) => Ok(x < y),
        (Value::Str(x), Value::Str(y)) => Ok(x < y),
        (Value::Bool(_), _) => Err("invalid type for comparison".to_owned()),
        _ => Ok(a.as_int() < b.as_int()),
    }
}

fn less_or_equal(args: &[Value]) -> Result<bool, String> {
    Ok(less(&args[0], &args[1])? || equal(args)?)
}

fn index(args: &[Value]) -> Result<Value, String> {
    let mut item = args[0].clone();
    if item.is_nil() {
        return Err("index of untyped nil".to_owned());
    }
    for index in &args[1..] {
        item = match &item {
            Value::Invalid | Value::Nil => return Err("index of nil pointer".to_owned()),
            Value::List(list) => {
                let at = position(index, list.items.len())?;
                let Some(found) = list.items.get(at) else { return Err(out_of_range(at, list.items.len())) };
                found.clone()
            }
            Value::Str(s) => {
                let at = position(index, s.len())?;
                let Some(byte) = s.as_bytes().get(at) else {
                    return Err(format!("reflect: string index out of range: {at}"));
                };
                Value::Int(i64::from(*byte))
            }
            Value::Map(map) => {
                let key = map_key(index)?;
                let absent = if map.kind() == MapKind::Strings { Value::str("") } else { Value::Nil };
                map.get(&key).unwrap_or(absent)
            }
            Value::Native(Native::Files(files)) => {
                let key = map_key(index)?;
                super::native::bytes(files.get(&key).map(|b| &**b).unwrap_or_default())
            }
            Value::Native(Native::ApiVersions(caps)) => {
                let at = position(index, caps.api_versions.len())?;
                let Some(found) = caps.api_versions.get(at) else {
                    return Err(out_of_range(at, caps.api_versions.len()));
                };
                Value::str(found)
            }
            other => return Err(format!("can't index item of type {}", other.type_name())),
        };
    }
    Ok(item)
}

/// `reflect` lets an index through that equals the length, and panics then.
fn out_of_range(_at: usize, _length: usize) -> String {
    "reflect: slice index out of range".to_owned()
}

fn map_key(index: &Value) -> Result<String, String> {
    match index {
        Value::Str(key) => Ok(key.to_string()),
        Value::Invalid | Value::Nil => Err("value is nil; should be of type string".to_owned()),
        other => Err(format!("value has type {}; should be string", other.type_name())),
    }
}

fn position(index: &Value, capacity: usize) -> Result<usize, String> {
    match index {
        Value::Invalid | Value::Nil => Err("cannot index slice/array with nil".to_owned()),
        Value::Int(i) | Value::Int64(i) => match usize::try_from(*i) {
            Ok(at) if at <= capacity => Ok(at),
            _ => Err(format!("index out of range: {i}")),
        },
        other => Err(format!("cannot index slice/array with type {}", other.type_name())),
    }
}

fn length(args: &[Value]) -> Result<Value, String> {
    let length = match &args[0] {
        Value::Nil => return Err("len of nil pointer".to_owned()),
        Value::Str(s) => s.len(),
        Value::List(List { items, .. }) => items.len(),
        Value::Map(map) => map.borrow().len(),
        Value::Native(Native::Files(files)) => files.len(),
        Value::Native(native) => match range_native(native) {
            Some(entries) => entries.len(),
            None => return Err(format!("len of type {}", args[0].type_name())),
        },
        other => return Err(format!("len of type {}", other.type_name())),
    };
    Ok(Value::Int(length as i64))
}

/// No value in a chart's scope is a function.
fn call(args: &[Value]) -> Result<Value, String> {
    match &args[0] {
        Value::Invalid | Value::Nil => Err("call of nil".to_owned()),
        other => Err(format!("non-function {} of type {}", print::display(other), other.type_name())),
    }
}

fn operand_text(args: &[Value]) -> String {
    match args {
        [Value::Str(s)] => s.to_string(),
        args => print::sprint(args),
    }
}

fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\0' => out.push('\u{fffd}'),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
    out
}

fn js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c if c < ' ' => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

/// The element type of lists made of elements of another one.
pub(super) fn list_like(list: &List, items: Vec<Value>) -> Value {
    Value::list_of(items, list.element)
}

/// The items of whatever `reflect` would call a slice.
pub(super) fn items(value: &Value) -> Option<List> {
    match value {
        Value::List(list) => Some(list.clone()),
        Value::Native(Native::ApiVersions(caps)) => match Value::strings(&caps.api_versions) {
            Value::List(list) => Some(list),
            _ => None,
        },
        _ => None,
    }
}
