//! Constants inside templates, by Go's syntax.
use super::ast::Number;

/// `strconv.Unquote` for `"…"` and `` `…` ``.
pub(super) fn unquote(text: &str) -> Option<String> {
    if let Some(raw) = text.strip_prefix('`') {
        return Some(raw.strip_suffix('`')?.replace('\r', ""));
    }
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(inner.to_owned());
    }
    let mut bytes = Vec::new();
    let mut rest = inner;
    while let Some(c) = rest.chars().next() {
        if c == '\\' {
            rest = escape(&rest[1..], '"', &mut bytes)?;
        } else {
            bytes.extend_from_slice(&rest.as_bytes()[..c.len_utf8()]);
            rest = &rest[c.len_utf8()..];
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads one escape after its backslash, appends what it stands for and returns what follows.
fn escape<'a>(rest: &'a str, quote: char, out: &mut Vec<u8>) -> Option<&'a str> {
    let c = rest.chars().next()?;
    let after = &rest[c.len_utf8()..];
    let simple = match c {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' => b'\\',
        c if c == quote => quote as u8,
        'x' | 'u' | 'U' => {
            let width = match c {
                'x' => 2,
                'u' => 4,
                _ => 8,
            };
            let digits = after.get(..width)?;
            if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                return None;
            }
            let code = u32::from_str_radix(digits, 16).ok()?;
            if c == 'x' {
                out.push(code as u8);
            } else {
                let mut buffer = [0; 4];
                out.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut buffer).as_bytes());
            }
            return Some(&after[width..]);
        }
        '0'..='7' => {
            let digits = rest.get(..3)?;
            out.push(u8::try_from(u32::from_str_radix(digits, 8).ok()?).ok()?);
            return Some(&rest[3..]);
        }
        _ => return None,
    };
    out.push(simple);
    Some(after)
}

/// A number, or a character in single quotes, as all that it can be.
pub(super) fn number(text: String) -> Result<Number, String> {
    if let Some(inner) = text.strip_prefix('\'') {
        let c = character(inner).ok_or_else(|| format!("malformed character constant: {text}"))?;
        let code = i64::from(u32::from(c));
        return Ok(Number { text, int: Some(code), unsigned: true, float: Some(code as f64) });
    }
    if text.ends_with('i') {
        return Err(format!("complex numbers are not supported: {text:?}"));
    }
    let mut int = integer(&text).filter(|v| i64::try_from(*v).is_ok() || (*v > 0 && u64::try_from(*v).is_ok()));
    let mut float = None;
    if let Some(value) = int {
        float = Some(value as f64);
    } else if let Some(value) = floating(&text) {
        if !text.contains(['.', 'e', 'E', 'p', 'P']) {
            return Err(format!("integer overflow: {text:?}"));
        }
        float = Some(value);
        // 1e3 is an integer too.
        if value.fract() == 0.0 && value.abs() < 9.2e18 {
            int = Some(value as i128);
        }
    }
    if int.is_none() && float.is_none() {
        return Err(format!("illegal number syntax: {text:?}"));
    }
    let unsigned = int.is_some_and(|v| v >= 0);
    Ok(Number { text, int: int.and_then(|v| i64::try_from(v).ok()), unsigned, float })
}

fn character(inner: &str) -> Option<char> {
    let inner = inner.strip_suffix('\'')?;
    if let Some(rest) = inner.strip_prefix('\\') {
        let mut bytes = Vec::new();
        if !escape(rest, '\'', &mut bytes)?.is_empty() {
            return None;
        }
        return match bytes.as_slice() {
            [byte] => Some(char::from(*byte)),
            bytes => std::str::from_utf8(bytes).ok()?.chars().next(),
        };
    }
    let mut chars = inner.chars();
    let c = chars.next()?;
    chars.next().is_none().then_some(c)
}

/// `strconv.ParseInt(text, 0, …)`, underscores only between digits or after a base prefix.
fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
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
    Some(if negative { -value } else { value })
}

fn floating(text: &str) -> Option<f64> {
    let lower = text.to_ascii_lowercase();
    if lower.contains("inf") || lower.contains("nan") || lower.contains('_') {
        return None;
    }
    let unsigned = lower.strip_prefix(['+', '-']).unwrap_or(&lower);
    let value = match unsigned.strip_prefix("0x") {
        Some(hex) => {
            let (mantissa, exponent) = hex.split_once('p')?;
            let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
            let digits = format!("{whole}{fraction}");
            let bits = u64::from_str_radix(&digits, 16).ok()? as f64;
            let shift = exponent.parse::<i32>().ok()? - 4 * i32::try_from(fraction.len()).ok()?;
            bits * 2f64.powi(shift)
        }
        None => unsigned.parse().ok()?,
    };
    let value: f64 = if lower.starts_with('-') { -value } else { value };
    value.is_finite().then_some(value)
}
