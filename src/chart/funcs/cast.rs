//! Any value as a number: spf13/cast, which sprig uses. What is no number counts as 0.
use super::super::value::{Native, Value};

pub(super) fn int64(value: &Value) -> i64 {
    match value {
        Value::Int(i) | Value::Int64(i) => *i,
        Value::Float(f) => truncate(*f),
        Value::Bool(b) => i64::from(*b),
        Value::Str(s) => parse_int(trim_zero_decimal(s)).unwrap_or(0),
        Value::Native(Native::Duration(d)) => *d,
        _ => 0,
    }
}

pub(super) fn float64(value: &Value) -> f64 {
    match value {
        Value::Int(i) | Value::Int64(i) => *i as f64,
        Value::Float(f) => *f,
        Value::Bool(b) => f64::from(u8::from(*b)),
        Value::Str(s) => parse_float(s).unwrap_or(0.0),
        _ => 0.0,
    }
}

/// On amd64 a float64 out of range becomes the smallest int64.
fn truncate(f: f64) -> i64 {
    if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&f) { f as i64 } else { i64::MIN }
}

/// Cuts `.000` off.
fn trim_zero_decimal(s: &str) -> &str {
    let trimmed = s.trim_end_matches('0');
    match trimmed.strip_suffix('.') {
        Some(whole) if trimmed.len() < s.len() => whole,
        _ => s,
    }
}

/// `strconv.ParseInt(s, 0, 64)`
pub(super) fn parse_int(s: &str) -> Option<i64> {
    let (negative, digits) = match s.as_bytes().first()? {
        b'-' => (true, &s[1..]),
        b'+' => (false, &s[1..]),
        _ => (false, s),
    };
    let (base, body) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    let prefixed = body.len() != digits.len();
    if body.ends_with('_') || body.contains("__") || (body.starts_with('_') && !prefixed) {
        return None;
    }
    let plain: String = body.chars().filter(|c| *c != '_').collect();
    if plain.is_empty() || !plain.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let value = i128::from_str_radix(&plain, base).ok()?;
    i64::try_from(if negative { -value } else { value }).ok()
}

/// `strconv.ParseFloat(s, 64)`, hexadecimal floats left out.
pub(super) fn parse_float(s: &str) -> Option<f64> {
    if s.is_empty() || s.starts_with(char::is_whitespace) || s.ends_with(char::is_whitespace) {
        return None;
    }
    let value: f64 = s.parse().ok()?;
    // Too large a number is an error in Go.
    (value.is_finite() || s.to_ascii_lowercase().contains(['n', 'i'])).then_some(value)
}
