//! Lists, which functions never change but copy.
use super::Param::{Any, Int, Str};
use super::builtin::{items, list_like};
use super::logic::empty;
use super::{Row, cast, int, limited, string_of, text};
use crate::chart::budget;
use crate::chart::value::{Element, List, Value};

/// Each function exists with and without `must`; the former panics instead of failing, with the same message.
macro_rules! both {
    ($name:literal, $must:literal, $params:expr, $variadic:expr, $boxed:expr, $call:expr) => {
        [($name, $params, $variadic, $boxed, $call as super::Plain), ($must, $params, $variadic, $boxed, $call)]
    };
}

pub(super) const TABLE: &[Row] = {
    const APPEND: [Row; 2] = both!("append", "mustAppend", &[Any, Any], None, false, append);
    const PUSH: [Row; 2] = both!("push", "mustPush", &[Any, Any], None, false, append);
    const PREPEND: [Row; 2] = both!("prepend", "mustPrepend", &[Any, Any], None, false, prepend);
    const FIRST: [Row; 2] = both!("first", "mustFirst", &[Any], None, true, first);
    const REST: [Row; 2] = both!("rest", "mustRest", &[Any], None, false, rest);
    const LAST: [Row; 2] = both!("last", "mustLast", &[Any], None, true, last);
    const INITIAL: [Row; 2] = both!("initial", "mustInitial", &[Any], None, false, initial);
    const REVERSE: [Row; 2] = both!("reverse", "mustReverse", &[Any], None, false, reverse);
    const UNIQ: [Row; 2] = both!("uniq", "mustUniq", &[Any], None, false, uniq);
    const WITHOUT: [Row; 2] = both!("without", "mustWithout", &[Any], Some(Any), false, without);
    const HAS: [Row; 2] = both!("has", "mustHas", &[Any, Any], None, false, has);
    const SLICE: [Row; 2] = both!("slice", "mustSlice", &[Any], Some(Any), true, slice);
    const COMPACT: [Row; 2] = both!("compact", "mustCompact", &[Any], None, false, compact);
    const CHUNK: [Row; 2] = both!("chunk", "mustChunk", &[Int, Any], None, false, chunk);
    &[
        ("list", &[], Some(Any), false, |args| Ok(Value::list(args.to_vec()))),
        ("tuple", &[], Some(Any), false, |args| Ok(Value::list(args.to_vec()))),
        ("concat", &[], Some(Any), true, concat),
        ("join", &[Str, Any], None, false, |args| {
            let parts = strings(&args[1]);
            let length: usize = parts.iter().map(String::len).sum();
            limited(length.saturating_add(parts.len().saturating_mul(text(&args[0]).len())))?;
            Ok(Value::str(parts.join(text(&args[0]))))
        }),
        ("sortAlpha", &[Any], None, false, |args| {
            let mut sorted = strings(&args[0]);
            sorted.sort();
            Ok(Value::strings(sorted))
        }),
        ("toStrings", &[Any], None, false, |args| Ok(Value::strings(strings(&args[0])))),
        APPEND[0],
        APPEND[1],
        PUSH[0],
        PUSH[1],
        PREPEND[0],
        PREPEND[1],
        FIRST[0],
        FIRST[1],
        REST[0],
        REST[1],
        LAST[0],
        LAST[1],
        INITIAL[0],
        INITIAL[1],
        REVERSE[0],
        REVERSE[1],
        UNIQ[0],
        UNIQ[1],
        WITHOUT[0],
        WITHOUT[1],
        HAS[0],
        HAS[1],
        SLICE[0],
        SLICE[1],
        COMPACT[0],
        COMPACT[1],
        CHUNK[0],
        CHUNK[1],
    ]
};

/// The items as strings; a single value counts as a list of one, and nothing is left out.
fn strings(value: &Value) -> Vec<String> {
    match items(value) {
        Some(list) => {
            let shown = list.items.iter().filter(|item| !item.is_nil()).map_while(|item| {
                let text = string_of(item);
                budget::goes_on(1, text.len()).then_some(text)
            });
            shown.collect()
        }
        None if value.is_nil() => Vec::new(),
        None => vec![string_of(value)],
    }
}

fn list_of(value: &Value, cannot: &str) -> Result<List, String> {
    if value.is_nil() {
        // reflect.TypeOf(nil).Kind()
        return Err("runtime error: invalid memory address or nil pointer dereference".to_owned());
    }
    items(value).ok_or_else(|| format!("{cannot} type {}", value.kind_name()))
}

fn append(args: &[Value]) -> Result<Value, String> {
    let list = list_of(&args[0], "Cannot push on")?;
    let mut items = list.items.to_vec();
    items.push(args[1].clone());
    Ok(Value::list(items))
}

fn prepend(args: &[Value]) -> Result<Value, String> {
    let list = list_of(&args[0], "Cannot prepend on")?;
    let mut items = vec![args[1].clone()];
    items.extend(list.items.iter().cloned());
    Ok(Value::list(items))
}

fn first(args: &[Value]) -> Result<Value, String> {
    let list = list_of(&args[0], "Cannot find first on")?;
    Ok(list.items.first().cloned().unwrap_or(Value::Nil))
}

fn last(args: &[Value]) -> Result<Value, String> {
    let list = list_of(&args[0], "Cannot find last on")?;
    Ok(list.items.last().cloned().unwrap_or(Value::Nil))
}

fn rest(args: &[Value]) -> Result<Value, String> {
    let list = list_of(&args[0], "Cannot find rest on")?;
    Ok(Value::list(list.items.iter().skip(1).cloned().collect()))
}

fn initial(args: &[Value]) -> Result<Value, String> {
    let list = list_of(&args[0], "Cannot find initial on")?;
    let count = list.items.len().saturating_sub(1);
    Ok(Value::list(list.items[..count].to_vec()))
}

fn reverse(args: &[Value]) -> Result<Value, String> {
    let list = list_of(&args[0], "Cannot find reverse on")?;
    Ok(Value::list(list.items.iter().rev().cloned().collect()))
}

fn compact(args: &[Value]) -> Result<Value, String> {
    let list = list_of(&args[0], "Cannot compact on")?;
    Ok(Value::list(list.items.iter().filter(|item| !empty(item)).cloned().collect()))
}

fn uniq(args: &[Value]) -> Result<Value, String> {
    let list = list_of(&args[0], "Cannot find uniq on")?;
    let mut found: Vec<Value> = Vec::new();
    for item in list.items.iter() {
        if !is_in(&found, item)? {
            found.push(item.clone());
        }
    }
    Ok(Value::list(found))
}

fn without(args: &[Value]) -> Result<Value, String> {
    let list = list_of(&args[0], "Cannot find without on")?;
    let mut kept = Vec::new();
    for item in list.items.iter() {
        if !is_in(&args[1..], item)? {
            kept.push(item.clone());
        }
    }
    Ok(Value::list(kept))
}

fn is_in(items: &[Value], wanted: &Value) -> Result<bool, String> {
    for item in items {
        if item.deep_equal(wanted)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn has(args: &[Value]) -> Result<Value, String> {
    if args[1].is_nil() {
        return Ok(Value::Bool(false));
    }
    let list = list_of(&args[1], "Cannot find has on")?;
    Ok(Value::Bool(is_in(&list.items, &args[0])?))
}

fn slice(args: &[Value]) -> Result<Value, String> {
    let list =
        list_of(&args[0], "list should be type of slice or array but").map_err(|e| e.replace("but type", "but"))?;
    let length = list.items.len();
    if length == 0 {
        return Ok(Value::Nil);
    }
    let start = args.get(1).map_or(0, cast::int64);
    let end = args.get(2).map_or(length as i64, cast::int64);
    match (usize::try_from(start), usize::try_from(end)) {
        (Ok(start), Ok(end)) if start <= end && end <= length => Ok(list_like(&list, list.items[start..end].to_vec())),
        _ => Err("reflect.Value.Slice: slice index out of bounds".to_owned()),
    }
}

fn concat(args: &[Value]) -> Result<Value, String> {
    let mut all = Vec::new();
    for arg in args {
        budget::pay(1, 0)?;
        let list = list_of(arg, "Cannot concat")
            .map_err(|e| if e.starts_with("Cannot") { format!("{e} as list") } else { e })?;
        budget::pay(0, list.items.len() * budget::NODE)?;
        all.extend(list.items.iter().cloned());
    }
    Ok(Value::list(all))
}

fn chunk(args: &[Value]) -> Result<Value, String> {
    let list = list_of(&args[1], "Cannot chunk")?;
    let Some(size) = usize::try_from(int(&args[0])).ok().filter(|size| *size > 0) else {
        return Err("runtime error: makeslice: len out of range".to_owned());
    };
    let chunks = list.items.chunks(size).map(|chunk| Value::list(chunk.to_vec())).collect();
    Ok(Value::list_of(chunks, Element::Lists))
}
