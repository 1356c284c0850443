//! Times and durations, in UTC. A plan must not depend on the moment or place of its making, so what formats the
//! current time is not here.
use super::Param::{Any, Str};
use super::{Row, cast, text};
use crate::chart::print;
use crate::chart::value::{Native, Value};

pub(super) const TABLE: &[Row] = &[
    ("duration", &[Any], None, false, |args| {
        let seconds = match &args[0] {
            Value::Str(s) => s.parse().unwrap_or(0),
            Value::Int64(i) => *i,
            _ => 0i64,
        };
        Ok(Value::str(print::duration_text(seconds.wrapping_mul(SECOND))))
    }),
    ("durationRound", &[Any], None, false, |args| {
        let nanoseconds = match &args[0] {
            Value::Str(s) => parse_duration(s).unwrap_or(0),
            Value::Int64(i) => *i,
            _ => 0,
        };
        Ok(Value::str(rounded(nanoseconds)))
    }),
    ("mustToDuration", &[Any], None, false, |args| to_duration(&args[0]).map(|d| Value::Native(Native::Duration(d)))),
    ("durationSeconds", &[Any], None, false, |args| Ok(Value::Float(in_units(&args[0], SECOND)))),
    ("durationMinutes", &[Any], None, false, |args| Ok(Value::Float(in_units(&args[0], MINUTE)))),
    ("durationHours", &[Any], None, false, |args| Ok(Value::Float(in_units(&args[0], HOUR)))),
    ("durationDays", &[Any], None, false, |args| Ok(Value::Float(in_units(&args[0], 24 * HOUR)))),
    ("durationWeeks", &[Any], None, false, |args| Ok(Value::Float(in_units(&args[0], 7 * 24 * HOUR)))),
    ("durationMilliseconds", &[Any], None, false, |args| {
        Ok(Value::Int64(to_duration(&args[0]).unwrap_or(0) / 1_000_000))
    }),
    ("durationMicroseconds", &[Any], None, false, |args| Ok(Value::Int64(to_duration(&args[0]).unwrap_or(0) / 1000))),
    ("durationNanoseconds", &[Any], None, false, |args| Ok(Value::Int64(to_duration(&args[0]).unwrap_or(0)))),
    ("unixEpoch", &[Any], None, false, |_| not_here()),
    ("now", &[], Some(Any), false, |_| not_here()),
    ("ago", &[Any], None, false, |_| not_here()),
    ("date", &[Str, Any], None, false, |_| not_here()),
    ("dateInZone", &[Str, Any, Str], None, false, |_| not_here()),
    ("date_in_zone", &[Str, Any, Str], None, false, |_| not_here()),
    ("dateModify", &[Str, Any], None, false, |_| not_here()),
    ("date_modify", &[Str, Any], None, false, |_| not_here()),
    ("mustDateModify", &[Str, Any], None, false, |_| not_here()),
    ("must_date_modify", &[Str, Any], None, false, |_| not_here()),
    ("htmlDate", &[Any], None, false, |_| not_here()),
    ("htmlDateInZone", &[Any, Str], None, false, |_| not_here()),
    ("toDate", &[Str, Str], None, false, |_| not_here()),
    ("mustToDate", &[Str, Str], None, false, |_| not_here()),
];

const SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

fn not_here() -> Result<Value, String> {
    Err("this function of sprig is not supported here: a plan must not depend on the time it is made".to_owned())
}

/// `time.ParseDuration`
fn parse_duration(s: &str) -> Option<i64> {
    let (sign, mut rest) = match s.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, s.strip_prefix('+').unwrap_or(s)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0.0;
    while !rest.is_empty() || total == 0.0 {
        let length = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..length].parse().ok()?;
        rest = &rest[length..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => SECOND,
            "m" => MINUTE,
            "h" => HOUR,
            _ => return None,
        };
        rest = &rest[end..];
        total += number * unit as f64;
        if rest.is_empty() {
            break;
        }
    }
    Some((sign * total) as i64)
}

fn to_duration(value: &Value) -> Result<i64, String> {
    match value {
        Value::Native(Native::Duration(d)) => Ok(*d),
        Value::Str(s) => match parse_duration(s) {
            Some(d) => Ok(d),
            None => match cast::parse_float(s) {
                Some(seconds) => Ok((seconds * SECOND as f64) as i64),
                None => Err(format!("time: invalid duration {}", print::quote(text(value)))),
            },
        },
        Value::Int(i) | Value::Int64(i) => Ok(i.saturating_mul(SECOND)),
        Value::Float(f) => Ok((f * SECOND as f64) as i64),
        other => Err(format!("unsupported duration type {}", other.type_name())),
    }
}

fn in_units(value: &Value, unit: i64) -> f64 {
    to_duration(value).unwrap_or(0) as f64 / unit as f64
}

/// The largest unit that fits, rounded down.
fn rounded(nanoseconds: i64) -> String {
    let magnitude = nanoseconds.unsigned_abs();
    let units =
        [("y", 365 * 24 * HOUR), ("mo", 30 * 24 * HOUR), ("d", 24 * HOUR), ("h", HOUR), ("m", MINUTE), ("s", SECOND)];
    units
        .into_iter()
        .find(|(_, unit)| magnitude > *unit as u64)
        .map_or("0s".to_owned(), |(name, unit)| format!("{}{name}", magnitude / unit as u64))
}
