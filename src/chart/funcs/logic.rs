//! Defaults, tests and reflection.
use super::Param::{Any, Bool, Str};
use super::{Row, text};
use crate::chart::value::{Native, Value};

pub(super) const TABLE: &[Row] = &[
    ("default", &[Any], Some(Any), true, |args| {
        Ok(match args.get(1) {
            Some(given) if !empty(given) => given.clone(),
            _ => args[0].clone(),
        })
    }),
    ("empty", &[Any], None, false, |args| Ok(Value::Bool(empty(&args[0])))),
    ("coalesce", &[], Some(Any), true, |args| Ok(args.iter().find(|arg| !empty(arg)).cloned().unwrap_or(Value::Nil))),
    ("all", &[], Some(Any), false, |args| Ok(Value::Bool(!args.iter().any(empty)))),
    ("any", &[], Some(Any), false, |args| Ok(Value::Bool(args.iter().any(|arg| !empty(arg))))),
    ("ternary", &[Any, Any, Bool], None, true, |args| {
        Ok(if args[2].is_true() { args[0].clone() } else { args[1].clone() })
    }),
    ("typeOf", &[Any], None, false, |args| Ok(Value::str(args[0].type_name()))),
    ("typeIs", &[Str, Any], None, false, |args| Ok(Value::Bool(args[1].type_name() == text(&args[0])))),
    ("typeIsLike", &[Str, Any], None, false, |args| {
        let name = args[1].type_name();
        Ok(Value::Bool(name == text(&args[0]) || name.strip_prefix('*') == Some(text(&args[0]))))
    }),
    ("kindOf", &[Any], None, false, |args| Ok(Value::str(args[0].kind_name()))),
    ("kindIs", &[Str, Any], None, false, |args| Ok(Value::Bool(args[1].kind_name() == text(&args[0])))),
    ("deepEqual", &[Any, Any], None, false, |args| Ok(Value::Bool(args[0].deep_equal(&args[1])?))),
    ("hello", &[], None, false, |_| Ok(Value::str("Hello!"))),
    // Without a cluster both find nothing, as in `helm template`.
    ("lookup", &[Str, Str, Str, Str], None, false, |_| Ok(Value::Map(crate::chart::value::Map::empty()))),
    ("getHostByName", &[Str], None, false, |_| Ok(Value::str(""))),
];

/// sprig's notion of a value that is not set: nothing, zero, or without elements.
pub(super) fn empty(value: &Value) -> bool {
    match value {
        Value::Native(Native::Files(_) | Native::ApiVersions(_) | Native::Duration(_)) => !value.is_true(),
        Value::Native(_) => false,
        value => !value.is_true(),
    }
}

pub(super) fn required(args: &[Value]) -> Result<Value, String> {
    let missing = match &args[1] {
        Value::Nil | Value::Invalid => true,
        Value::Str(s) => s.is_empty(),
        _ => false,
    };
    if missing { Err(text(&args[0]).to_owned()) } else { Ok(args[1].clone()) }
}
