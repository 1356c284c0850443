//! What a plain scalar means in YAML 1.1, by go-yaml v2's rules.

#[derive(Debug, PartialEq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Str,
}

/// Resolves the text of an untagged plain scalar.
pub(super) fn resolve(text: &str) -> Scalar {
    let Some(&first) = text.as_bytes().first() else { return Scalar::Null };
    match first {
        b'+' | b'-' | b'0'..=b'9' => special_float(text).or_else(|| number(text)).unwrap_or(Scalar::Str),
        b'.' => special_float(text).or_else(|| float(text).map(Scalar::Float)).unwrap_or(Scalar::Str),
        b'y' | b'Y' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'o' | b'O' | b'~' => word(text),
        _ => Scalar::Str,
    }
}

/// Whether a string would be read back as something else, or as something else by another YAML 1.1 parser.
pub(super) fn needs_quotes(text: &str) -> bool {
    text == "<<" || resolve(text) != Scalar::Str || is_timestamp(text) || is_base_60(text)
}

fn word(text: &str) -> Scalar {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Scalar::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Scalar::Bool(false),
        "~" | "null" | "Null" | "NULL" => Scalar::Null,
        _ => Scalar::Str,
    }
}

fn special_float(text: &str) -> Option<Scalar> {
    let value = match text {
        ".nan" | ".NaN" | ".NAN" => f64::NAN,
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => f64::INFINITY,
        "-.inf" | "-.Inf" | "-.INF" => f64::NEG_INFINITY,
        _ => return None,
    };
    Some(Scalar::Float(value))
}

fn number(text: &str) -> Option<Scalar> {
    let plain: String = text.chars().filter(|c| *c != '_').collect();
    if let Some(value) = integer(&plain) {
        if let Ok(int) = i64::try_from(value) {
            return Some(Scalar::Int(int));
        }
        // Unsigned parsing takes no sign, not even a plus.
        if let Ok(uint) = u64::try_from(value)
            && !plain.starts_with('+')
        {
            return Some(Scalar::Uint(uint));
        }
    }
    float(&plain).map(Scalar::Float)
}

/// `strconv.ParseInt(text, 0, …)`: 0x, 0o, 0b and a leading 0 choose the base.
fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (base, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let value = i128::from_str_radix(digits, base).ok()?;
    Some(if negative { -value } else { value })
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`, and not beyond the range of a float64.
fn float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(i) => (&unsigned[..i], Some(&unsigned[i + 1..])),
        None => (unsigned, None),
    };
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if !digits(whole) || !digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    if let Some(exponent) = exponent {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        if exponent.is_empty() || !digits(exponent) {
            return None;
        }
    }
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

/// `[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?`
fn is_base_60(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (unsigned, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let mut parts = unsigned.split(':');
    let digit_or_underscore = |s: &str| s.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    let Some(head) = parts.next() else { return false };
    let mut rest = parts.peekable();
    head.starts_with(|c: char| c.is_ascii_digit())
        && digit_or_underscore(head)
        && digit_or_underscore(fraction)
        && rest.peek().is_some()
        && rest.all(|p| match p.as_bytes() {
            [d] => d.is_ascii_digit(),
            [tens, d] => (b'0'..=b'5').contains(tens) && d.is_ascii_digit(),
            _ => false,
        })
}

/// The four layouts go-yaml tries: RFC 3339 with `T` or `t`, a space and no zone, the date alone; fields may be short.
fn is_timestamp(text: &str) -> bool {
    let mut rest = text;
    let Some(year) = number_of(&mut rest, 4, 4) else { return false };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let (Some(month), Some(day)) = (after(&mut rest, "-", 1, 2), after(&mut rest, "-", 1, 2)) else { return false };
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return false,
    };
    if day == 0 || day > days {
        return false;
    }
    if rest.is_empty() {
        return true;
    }
    let zoned = rest.starts_with(['T', 't']);
    if !zoned && !rest.starts_with(' ') {
        return false;
    }
    rest = &rest[1..];
    let Some(hour) = number_of(&mut rest, 1, 2) else { return false };
    let (Some(minute), Some(second)) = (after(&mut rest, ":", 1, 2), after(&mut rest, ":", 1, 2)) else { return false };
    if hour > 23 || minute > 59 || second > 59 {
        return false;
    }
    if let Some(fraction) = rest.strip_prefix(['.', ',']) {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return false;
        }
        rest = &fraction[digits..];
    }
    if !zoned {
        return rest.is_empty();
    }
    match rest.as_bytes() {
        [b'Z'] => true,
        [b'+' | b'-', a, b, b':', c, d] => {
            [a, b, c, d].iter().all(|x| x.is_ascii_digit())
                && (a - b'0') * 10 + (b - b'0') <= 24
                && (c - b'0') * 10 + (d - b'0') < 60
        }
        _ => false,
    }
}

fn after(rest: &mut &str, separator: &str, min: usize, max: usize) -> Option<u32> {
    *rest = rest.strip_prefix(separator)?;
    number_of(rest, min, max)
}

fn number_of(rest: &mut &str, min: usize, max: usize) -> Option<u32> {
    let digits = rest.bytes().take(max).take_while(u8::is_ascii_digit).count();
    if digits < min {
        return None;
    }
    let value = rest[..digits].parse().ok();
    *rest = &rest[digits..];
    value
}
