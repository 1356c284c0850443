//! sprig's arithmetic.
use super::Param::{Any, Float, Int};
use super::cast::{float64, int64};
use super::{MAX_ITEMS, Row, int};
use crate::chart::budget;
use crate::chart::value::Value;

pub(super) const TABLE: &[Row] = &[
    ("int", &[Any], None, false, |args| Ok(Value::Int(int64(&args[0])))),
    ("int64", &[Any], None, false, |args| Ok(Value::Int64(int64(&args[0])))),
    ("float64", &[Any], None, false, |args| Ok(Value::Float(float64(&args[0])))),
    ("atoi", &[super::Param::Str], None, false, |args| {
        let text = super::text(&args[0]);
        let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'-' || b == b'+');
        Ok(Value::Int(if plain { text.parse().unwrap_or(0) } else { 0 }))
    }),
    ("toDecimal", &[Any], None, false, |args| {
        let text = crate::chart::print::display(&args[0]);
        Ok(Value::Int64(i64::from_str_radix(&text, 8).unwrap_or(0)))
    }),
    ("add1", &[Any], None, false, |args| Ok(Value::Int64(int64(&args[0]).wrapping_add(1)))),
    ("add", &[], Some(Any), false, |args| {
        Ok(Value::Int64(args.iter().fold(0, |sum, arg| sum.wrapping_add(int64(arg)))))
    }),
    ("sub", &[Any, Any], None, false, |args| Ok(Value::Int64(int64(&args[0]).wrapping_sub(int64(&args[1]))))),
    ("mul", &[Any], Some(Any), false, |args| {
        Ok(Value::Int64(args.iter().fold(1, |product, arg| product.wrapping_mul(int64(arg)))))
    }),
    ("div", &[Any, Any], None, false, |args| divide(args, i64::wrapping_div)),
    ("mod", &[Any, Any], None, false, |args| divide(args, i64::wrapping_rem)),
    ("add1f", &[Any], None, false, |args| Ok(Value::Float(decimal(float64(&args[0]) + 1.0)))),
    ("addf", &[], Some(Any), false, |args| Ok(Value::Float(decimal(args.iter().map(float64).sum())))),
    ("subf", &[Any], Some(Any), false, |args| fold(args, |a, b| a - b)),
    ("mulf", &[Any], Some(Any), false, |args| fold(args, |a, b| a * b)),
    ("divf", &[Any], Some(Any), false, |args| {
        if args[1..].iter().any(|arg| float64(arg) == 0.0) {
            return Err("decimal division by 0".to_owned());
        }
        fold(args, |a, b| a / b)
    }),
    ("max", &[Any], Some(Any), false, |args| Ok(Value::Int64(args.iter().map(int64).max().unwrap_or(0)))),
    ("biggest", &[Any], Some(Any), false, |args| Ok(Value::Int64(args.iter().map(int64).max().unwrap_or(0)))),
    ("min", &[Any], Some(Any), false, |args| Ok(Value::Int64(args.iter().map(int64).min().unwrap_or(0)))),
    ("maxf", &[Any], Some(Any), false, |args| {
        Ok(Value::Float(args.iter().map(float64).fold(f64::NEG_INFINITY, f64::max)))
    }),
    ("minf", &[Any], Some(Any), false, |args| Ok(Value::Float(args.iter().map(float64).fold(f64::INFINITY, f64::min)))),
    ("floor", &[Any], None, false, |args| Ok(Value::Float(float64(&args[0]).floor()))),
    ("ceil", &[Any], None, false, |args| Ok(Value::Float(float64(&args[0]).ceil()))),
    ("round", &[Any, Int], Some(Float), false, round),
    ("until", &[Int], None, false, |args| {
        let count = int(&args[0]);
        steps(0, count, if count < 0 { -1 } else { 1 }).map(Value::ints)
    }),
    ("untilStep", &[Int, Int, Int], None, false, |args| {
        steps(int(&args[0]), int(&args[1]), int(&args[2])).map(Value::ints)
    }),
    ("seq", &[], Some(Int), false, sequence),
];

fn divide(args: &[Value], operation: fn(i64, i64) -> i64) -> Result<Value, String> {
    match int64(&args[1]) {
        0 => Err("runtime error: integer divide by zero".to_owned()),
        divisor => Ok(Value::Int64(operation(int64(&args[0]), divisor))),
    }
}

fn fold(args: &[Value], operation: fn(f64, f64) -> f64) -> Result<Value, String> {
    let first = float64(&args[0]);
    Ok(Value::Float(decimal(args[1..].iter().fold(first, |a, b| operation(a, float64(b))))))
}

/// sprig calculates these in decimals, so that 0.1 + 0.2 is 0.3.
fn decimal(value: f64) -> f64 {
    if value.is_finite() && value != 0.0 { format!("{value:.15e}").parse().unwrap_or(value) } else { value }
}

fn round(args: &[Value]) -> Result<Value, String> {
    let threshold = match args.get(2) {
        Some(Value::Float(f)) => *f,
        _ => 0.5,
    };
    let power = 10f64.powi(int(&args[1]).clamp(-400, 400) as i32);
    let digit = power * float64(&args[0]);
    let rounded = if digit.fract() >= threshold { digit.ceil() } else { digit.floor() };
    Ok(Value::Float(rounded / power))
}

fn steps(start: i64, stop: i64, step: i64) -> Result<Vec<i64>, String> {
    let mut items = Vec::new();
    let mut i = start;
    if (stop < start && step >= 0) || (stop >= start && step <= 0) {
        return Ok(items);
    }
    while if stop < start { i > stop } else { i < stop } {
        items.push(i);
        if items.len() > MAX_ITEMS {
            return Err("the list would have more items than is allowed here".to_owned());
        }
        if items.len() % 1000 == 0 {
            budget::pay(1000 / 16, 0)?;
        }
        i = i.saturating_add(step);
        if i == i64::MAX || i == i64::MIN {
            break;
        }
    }
    Ok(items)
}

fn sequence(args: &[Value]) -> Result<Value, String> {
    let params: Vec<i64> = args.iter().map(int).collect();
    let items = match params[..] {
        [end] => {
            let step = if end < 1 { -1 } else { 1 };
            steps(1, end.saturating_add(step), step)?
        }
        [start, end] => {
            let step = if end < start { -1 } else { 1 };
            steps(start, end.saturating_add(step), step)?
        }
        [start, step, end] if end < start => {
            if step > 0 {
                return Ok(Value::str(""));
            }
            steps(start, end.saturating_sub(1), step)?
        }
        [start, step, end] => steps(start, end.saturating_add(1), step)?,
        _ => Vec::new(),
    };
    Ok(Value::str(items.iter().map(i64::to_string).collect::<Vec<_>>().join(" ")))
}
