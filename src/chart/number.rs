//! Numbers as Go writes them: `strconv.FormatFloat` and the variant of `encoding/json`.

/// The shortest decimal digits that read back as `value`, and the position of the decimal point after them.
fn shortest(value: f64) -> (String, i32) {
    parts(&format!("{value:e}"))
}

fn parts(text: &str) -> (String, i32) {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let exponent: i32 = exponent.parse().unwrap_or(0);
    (digits, exponent + 1)
}

fn special(value: f64) -> Option<&'static str> {
    if value.is_nan() {
        Some("NaN")
    } else if value == f64::INFINITY {
        Some("+Inf")
    } else if value == f64::NEG_INFINITY {
        Some("-Inf")
    } else {
        None
    }
}

fn scientific(digits: &str, point: i32, negative: bool) -> String {
    let exponent = if digits == "0" { 0 } else { point - 1 };
    let sign = if exponent < 0 { '-' } else { '+' };
    let mut out = String::new();
    if negative {
        out.push('-');
    }
    out.push_str(&digits[..1]);
    if digits.len() > 1 {
        out.push('.');
        out.push_str(&digits[1..]);
    }
    out.push_str(&format!("e{sign}{:02}", exponent.abs()));
    out
}

fn positional(digits: &str, point: i32, negative: bool) -> String {
    let mut out = String::new();
    if negative {
        out.push('-');
    }
    if point <= 0 {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', point.unsigned_abs() as usize));
        out.push_str(digits);
    } else {
        let point = point as usize;
        if digits.len() <= point {
            out.push_str(digits);
            out.extend(std::iter::repeat_n('0', point - digits.len()));
        } else {
            out.push_str(&digits[..point]);
            out.push('.');
            out.push_str(&digits[point..]);
        }
    }
    out
}

/// `FormatFloat(value, 'g', -1, 64)`, which is what `%v` and go-yaml use: an exponent from 1e+06 on, and below 1e-04.
pub(super) fn general(value: f64) -> String {
    if let Some(text) = special(value) {
        return text.to_owned();
    }
    general_digits(value == 0.0, value.is_sign_negative(), shortest(value.abs()))
}

/// The same at 32 bits, which sigs.k8s.io/yaml uses for a number that is a map key.
pub(super) fn general_f32(value: f64) -> String {
    let narrow = value as f32;
    if let Some(text) = special(f64::from(narrow)) {
        return text.to_owned();
    }
    let text = format!("{:e}", narrow.abs());
    general_digits(narrow == 0.0, narrow.is_sign_negative(), parts(&text))
}

fn general_digits(zero: bool, negative: bool, (digits, point): (String, i32)) -> String {
    if zero {
        return if negative { "-0".to_owned() } else { "0".to_owned() };
    }
    let exponent = point - 1;
    if !(-4..6).contains(&exponent) {
        // A number with more digits than the default precision of 6 still gets an exponent: 1.234567e+06.
        scientific(&digits, point, negative)
    } else {
        positional(&digits, point, negative)
    }
}

/// A float64 as `encoding/json` writes it: plain digits between 1e-6 and 1e21, exponents without a leading zero.
/// JSON has no NaN and no infinity.
pub(super) fn json(value: f64) -> Option<String> {
    if !value.is_finite() {
        return None;
    }
    let negative = value.is_sign_negative();
    if value == 0.0 {
        return Some(if negative { "-0".to_owned() } else { "0".to_owned() });
    }
    let (digits, point) = shortest(value.abs());
    let magnitude = value.abs();
    if !(1e-6..1e21).contains(&magnitude) {
        let text = scientific(&digits, point, negative);
        // e-09 becomes e-9, as in ES6.
        return Some(match text.rsplit_once("e-0") {
            Some((head, tail)) => format!("{head}e-{tail}"),
            None => text,
        });
    }
    Some(positional(&digits, point, negative))
}

/// `FormatFloat(value, verb, precision, 64)` for an explicit precision; `verb` is one of `e`, `f`, `g`.
pub(super) fn with_precision(value: f64, verb: u8, precision: usize) -> String {
    if let Some(text) = special(value) {
        return text.to_owned();
    }
    let negative = value.is_sign_negative();
    match verb {
        b'f' => format!("{value:.precision$}"),
        b'e' => {
            let (digits, point) = parts(&format!("{:.precision$e}", value.abs()));
            scientific(&digits, if value == 0.0 { 1 } else { point }, negative)
        }
        _ => {
            let significant = precision.max(1);
            let (digits, point) = parts(&format!("{:.*e}", significant - 1, value.abs()));
            let trimmed = digits.trim_end_matches('0');
            let digits = if trimmed.is_empty() { "0" } else { trimmed };
            if value == 0.0 {
                return if negative { "-0".to_owned() } else { "0".to_owned() };
            }
            let exponent = point - 1;
            let limit = i32::try_from(significant).unwrap_or(i32::MAX);
            if exponent < -4 || exponent >= limit {
                scientific(digits, point, negative)
            } else {
                positional(digits, point, negative)
            }
        }
    }
}
