//! Numbers as Terraform has them: decimal, exact, of any size.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A number exactly as written. Terraform's numbers are not floats: `0.1` must come back as `0.1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Number(Repr);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Repr {
    /// Every whole number that fits.
    Int(i64),
    /// Everything else: `digits` × 10^`exponent`, with no zero at either end of the digits.
    Decimal { negative: bool, digits: Box<str>, exponent: i32 },
}

/// Why a text is no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    #[error("not a decimal number")]
    Syntax,
    #[error("the number has too many digits")]
    TooLong,
    #[error("infinity and not-a-number are not values")]
    NotFinite,
}

/// Enough for every f64 written out in full; little enough that a hostile exponent allocates nothing much.
const MAX_DIGITS: usize = 1200;
const MAX_EXPONENT: i32 = 1200;

impl Number {
    /// The number, when it is whole and fits.
    pub fn as_i64(&self) -> Option<i64> {
        match self.0 {
            Repr::Int(value) => Some(value),
            Repr::Decimal { .. } => None,
        }
    }

    /// The nearest float. For ordering and display; never send it back.
    pub fn to_f64(&self) -> f64 {
        match &self.0 {
            Repr::Int(value) => *value as f64,
            Repr::Decimal { .. } => self.to_string().parse().unwrap_or(f64::NAN),
        }
    }

    /// The float that equals this number exactly, if there is one and the number is not whole.
    pub fn as_exact_fraction(&self) -> Option<f64> {
        match &self.0 {
            // The decimal expansion of a dyadic fraction ends in 5.
            Repr::Decimal { digits, exponent, .. } if *exponent < 0 && digits.ends_with('5') => {
                let float = self.to_f64();
                (Self::try_from(float).ok()? == *self).then_some(float)
            }
            _ => None,
        }
    }

    fn parts(&self) -> (bool, String, i32) {
        match &self.0 {
            Repr::Int(value) => {
                let digits = value.unsigned_abs().to_string();
                let trimmed = digits.trim_end_matches('0');
                (*value < 0, trimmed.to_owned(), (digits.len() - trimmed.len()) as i32)
            }
            Repr::Decimal { negative, digits, exponent } => (*negative, digits.to_string(), *exponent),
        }
    }
}

impl FromStr for Number {
    type Err = NumberError;

    fn from_str(text: &str) -> Result<Self, NumberError> {
        if let Ok(value) = text.parse::<i64>()
            && !text.starts_with('+')
        {
            return Ok(Self(Repr::Int(value)));
        }
        let (mantissa, exponent) = match text.find(['e', 'E']) {
            Some(at) => (&text[..at], text[at + 1..].parse::<i32>().map_err(|_| NumberError::Syntax)?),
            None => (text, 0),
        };
        let (negative, mantissa) = match mantissa.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, mantissa),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let is_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) || mantissa.ends_with('.') {
            return Err(NumberError::Syntax);
        }
        if whole.len() + fraction.len() > 2 * MAX_DIGITS || exponent.unsigned_abs() as i64 > 2 * MAX_EXPONENT as i64 {
            return Err(NumberError::TooLong);
        }
        let all = format!("{whole}{fraction}");
        let digits = all.trim_start_matches('0').trim_end_matches('0');
        if digits.is_empty() {
            return Ok(Self(Repr::Int(0)));
        }
        let zeros = (all.len() - all.trim_end_matches('0').len()) as i32;
        let exponent = exponent - fraction.len() as i32 + zeros;
        if digits.len() > MAX_DIGITS || exponent.abs() > MAX_EXPONENT {
            return Err(NumberError::TooLong);
        }
        let decimal = Self(Repr::Decimal { negative, digits: digits.into(), exponent });
        match decimal.to_string().parse::<i64>() {
            Ok(value) if exponent >= 0 => Ok(Self(Repr::Int(value))),
            _ => Ok(decimal),
        }
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        Self(Repr::Int(value))
    }
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        match i64::try_from(value) {
            Ok(value) => Self(Repr::Int(value)),
            Err(_) => {
                let digits = value.to_string();
                let trimmed = digits.trim_end_matches('0');
                let exponent = (digits.len() - trimmed.len()) as i32;
                Self(Repr::Decimal { negative: false, digits: trimmed.into(), exponent })
            }
        }
    }
}

impl TryFrom<f64> for Number {
    type Error = NumberError;

    /// The float's exact value, not its shortest spelling.
    fn try_from(value: f64) -> Result<Self, NumberError> {
        if !value.is_finite() {
            return Err(NumberError::NotFinite);
        }
        format!("{value:.1074}").parse()
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Int(value) => write!(f, "{value}"),
            Repr::Decimal { negative, digits, exponent } => {
                if *negative {
                    f.write_str("-")?;
                }
                let point = digits.len() as i32 + exponent;
                if *exponent >= 0 {
                    write!(f, "{digits}{}", "0".repeat(*exponent as usize))
                } else if point > 0 {
                    let (whole, fraction) = digits.split_at(point as usize);
                    write!(f, "{whole}.{fraction}")
                } else {
                    write!(f, "0.{}{digits}", "0".repeat(-point as usize))
                }
            }
        }
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        if let (Repr::Int(a), Repr::Int(b)) = (&self.0, &other.0) {
            return a.cmp(b);
        }
        let (a_negative, a_digits, a_exponent) = self.parts();
        let (b_negative, b_digits, b_exponent) = other.parts();
        let sign = |negative: bool, digits: &str| match (negative, digits.is_empty()) {
            (_, true) => 0,
            (true, _) => -1,
            (false, _) => 1,
        };
        let (a_sign, b_sign) = (sign(a_negative, &a_digits), sign(b_negative, &b_digits));
        if a_sign != b_sign || a_sign == 0 {
            return a_sign.cmp(&b_sign);
        }
        let magnitude = (a_digits.len() as i64 + a_exponent as i64)
            .cmp(&(b_digits.len() as i64 + b_exponent as i64))
            .then_with(|| a_digits.cmp(&b_digits));
        if a_negative { magnitude.reverse() } else { magnitude }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_was_written() {
        for text in ["0", "-1", "0.1", "-0.25", "9223372036854775807", "9223372036854775808", "100000000000000000000"] {
            assert_eq!(text.parse::<Number>().unwrap().to_string(), text);
        }
        for (text, same) in
            [("1e2", "100"), ("1.50", "1.5"), ("-0", "0"), ("0.0", "0"), ("25e-2", "0.25"), ("1.0", "1")]
        {
            assert_eq!(text.parse::<Number>().unwrap(), same.parse::<Number>().unwrap());
            assert_eq!(text.parse::<Number>().unwrap().to_string(), same);
        }
    }

    #[test]
    fn refuses_what_is_no_number() {
        for text in ["", "-", ".", "1.", "1e", "0x1", "1 ", "--1", "+1", "NaN", "inf", "1e99999", "1e-2147483648"] {
            assert!(text.parse::<Number>().is_err(), "{text}");
        }
        assert!("9".repeat(100_000).parse::<Number>().is_err());
        assert!(Number::try_from(f64::NAN).is_err());
    }

    #[test]
    fn knows_which_floats_are_exact() {
        assert_eq!("0.5".parse::<Number>().unwrap().as_exact_fraction(), Some(0.5));
        assert_eq!("0.1".parse::<Number>().unwrap().as_exact_fraction(), None);
        assert_eq!("5".parse::<Number>().unwrap().as_exact_fraction(), None);
        assert_eq!(Number::try_from(0.5).unwrap().to_string(), "0.5");
        assert_ne!(Number::try_from(0.1).unwrap(), "0.1".parse().unwrap());
        assert_eq!(Number::try_from(5e-324).unwrap().as_exact_fraction(), Some(5e-324));
        assert_eq!(Number::try_from(1e300).unwrap().to_f64(), 1e300);
    }

    #[test]
    fn orders_by_size() {
        let mut texts = ["2", "-1", "0.1", "-0.25", "10", "9223372036854775808", "0", "1.5", "-9223372036854775809"];
        texts.sort_by_key(|text| text.parse::<Number>().unwrap());
        assert_eq!(texts, ["-9223372036854775809", "-1", "-0.25", "0", "0.1", "1.5", "2", "10", "9223372036854775808"]);
    }
}
