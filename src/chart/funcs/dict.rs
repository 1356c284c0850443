//! Maps, which templates share and change in place.
use std::collections::BTreeMap;
use std::rc::Rc;

use super::Param::{Any, Map as MapParam, Str};
use super::logic::empty;
use super::{Row, map, string_of, text};
use crate::chart::budget;
use crate::chart::value::{MAX_DEPTH, Map, MapKind, Value};

pub(super) const TABLE: &[Row] = &[
    ("dict", &[], Some(Any), false, |args| {
        let map = Map::empty();
        for pair in args.chunks(2) {
            map.insert(string_of(&pair[0]), pair.get(1).cloned().unwrap_or_else(|| Value::str("")));
        }
        Ok(Value::Map(map))
    }),
    ("get", &[MapParam, Str], None, true, |args| {
        Ok(map(&args[0]).and_then(|m| m.get(text(&args[1]))).unwrap_or_else(|| Value::str("")))
    }),
    ("set", &[MapParam, Str, Any], None, false, |args| match map(&args[0]) {
        Some(map) => {
            map.insert(text(&args[1]), args[2].clone());
            Ok(args[0].clone())
        }
        None => Err("assignment to entry in nil map".to_owned()),
    }),
    ("unset", &[MapParam, Str], None, false, |args| {
        if let Some(map) = map(&args[0]) {
            map.borrow_mut().remove(text(&args[1]));
        }
        Ok(args[0].clone())
    }),
    ("hasKey", &[MapParam, Str], None, false, |args| {
        Ok(Value::Bool(map(&args[0]).is_some_and(|m| m.borrow().contains_key(text(&args[1])))))
    }),
    ("pluck", &[Str], Some(MapParam), false, |args| {
        let key = text(&args[0]);
        Ok(Value::list(args[1..].iter().filter_map(|arg| map(arg)?.get(key)).collect()))
    }),
    // Go returns these in no particular order; sorted ones keep a plan stable.
    ("keys", &[], Some(MapParam), false, |args| {
        let keys = args.iter().filter_map(map).flat_map(|m| m.borrow().keys().cloned().collect::<Vec<_>>());
        let keys = keys.take_while(|_| budget::goes_on(1, 0));
        Ok(Value::strings(keys))
    }),
    ("values", &[MapParam], None, false, |args| {
        Ok(Value::list(map(&args[0]).map(|m| m.borrow().values().cloned().collect()).unwrap_or_default()))
    }),
    ("pick", &[MapParam], Some(Str), false, |args| {
        Ok(filtered(&args[0], |key| args[1..].iter().any(|k| text(k) == key)))
    }),
    ("omit", &[MapParam], Some(Str), false, |args| {
        Ok(filtered(&args[0], |key| !args[1..].iter().any(|k| text(k) == key)))
    }),
    ("merge", &[MapParam], Some(MapParam), true, |args| Ok(merge_all(args, false).unwrap_or_else(|_| Value::str("")))),
    ("mustMerge", &[MapParam], Some(MapParam), true, |args| merge_all(args, false)),
    ("mergeOverwrite", &[MapParam], Some(MapParam), true, |args| {
        Ok(merge_all(args, true).unwrap_or_else(|_| Value::str("")))
    }),
    ("mustMergeOverwrite", &[MapParam], Some(MapParam), true, |args| merge_all(args, true)),
    ("deepCopy", &[Any], None, true, deep_copy),
    ("mustDeepCopy", &[Any], None, true, deep_copy),
    ("dig", &[], Some(Any), true, dig),
];

fn filtered(value: &Value, keep: impl Fn(&str) -> bool) -> Value {
    let mut entries = BTreeMap::new();
    if let Some(map) = map(value) {
        let steps = map.borrow().len();
        if !budget::goes_on(steps, 0) {
            return Value::Map(Map::empty());
        }
        for (key, value) in map.borrow().iter().filter(|(key, _)| keep(key)) {
            entries.insert(key.clone(), value.clone());
        }
    }
    Value::Map(Map::new(entries, MapKind::Any))
}

/// mergo's merge of maps into the first one, which is changed; what it lacks is shared, not copied.
fn merge_all(args: &[Value], overwrite: bool) -> Result<Value, String> {
    let target = map(&args[0]).cloned().unwrap_or_else(Map::empty);
    for source in args[1..].iter().filter_map(map) {
        merge(&target, source, overwrite, 0)?;
    }
    Ok(Value::Map(target))
}

fn merge(target: &Map, source: &Map, overwrite: bool, depth: usize) -> Result<(), String> {
    if target.same_as(source) {
        return Ok(());
    }
    if depth > MAX_DEPTH {
        return Err("the maps to merge contain themselves".to_owned());
    }
    budget::pay(source.borrow().len(), 0)?;
    let entries: Vec<(Rc<str>, Value)> = source.borrow().iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    for (key, value) in entries {
        budget::pay(1, budget::ENTRY)?;
        if value.is_nil() {
            if overwrite {
                target.borrow_mut().insert(key, Value::Nil);
            }
            continue;
        }
        let present = target.get(&key);
        if let (Some(Value::Map(inner)), Value::Map(from)) = (&present, &value) {
            merge(inner, from, overwrite, depth + 1)?;
        }
        if let Some(present) = &present
            && !empty(present)
        {
            match (&value, present) {
                (Value::List(_), _) => {
                    // A list never replaces anything but in overwriting.
                    if overwrite {
                        target.borrow_mut().insert(key, value);
                    }
                    continue;
                }
                (Value::Map(_), Value::Map(_)) => continue,
                _ if !overwrite => continue,
                _ => {}
            }
        }
        target.borrow_mut().insert(key, value);
    }
    Ok(())
}

fn deep_copy(args: &[Value]) -> Result<Value, String> {
    args[0].deep_copy(0).map_err(|error| format!("deepCopy error: {error}"))
}

fn dig(args: &[Value]) -> Result<Value, String> {
    let [keys @ .., default, last] = args else { return Err("dig needs at least three arguments".to_owned()) };
    if keys.is_empty() {
        return Err("dig needs at least three arguments".to_owned());
    }
    let not_a_map = |value: &Value| {
        let found = if value.is_nil() { "nil" } else { value.type_name() };
        format!("interface conversion: interface {{}} is {found}, not map[string]interface {{}}")
    };
    let is_any_map = |value: &Value| matches!(value, Value::Map(m) if m.kind() == MapKind::Any);
    if !is_any_map(last) {
        return Err(not_a_map(last));
    }
    for key in keys {
        if !matches!(key, Value::Str(_)) {
            let found = if key.is_nil() { "nil" } else { key.type_name() };
            return Err(format!("interface conversion: interface {{}} is {found}, not string"));
        }
    }
    let mut current = last.clone();
    for (i, key) in keys.iter().enumerate() {
        if !is_any_map(&current) {
            return Err(not_a_map(&current));
        }
        match map(&current).and_then(|m| m.get(text(key))) {
            None => return Ok(default.clone()),
            Some(found) if i + 1 == keys.len() => return Ok(found),
            Some(found) => current = found,
        }
    }
    Ok(current)
}
