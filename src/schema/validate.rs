//! Rules for configured values. None of them sees null or unknown, so none can fail a plan that is not ready yet.
//!
//! In a model: `#[attr(required, validate(dns_label()))]`. A rule of one's own: `text("a colour", |s| ...)`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::diag::{Diagnostic, Diagnostics};
use crate::value::{Dyn, Number, Path};

/// A rule for one attribute, with the words for it that docs and errors use.
#[derive(Clone)]
pub struct Validator {
    /// Completes "must be …".
    pub description: String,
    check: Arc<Check>,
}

type Check = dyn Fn(&Dyn, &Path, &mut Diagnostics) + Send + Sync;

impl Validator {
    /// The rule as a function that reports what it finds, with paths built on the one it is given.
    pub fn new(
        description: impl Into<String>,
        check: impl Fn(&Dyn, &Path, &mut Diagnostics) + Send + Sync + 'static,
    ) -> Self {
        Self { description: description.into(), check: Arc::new(check) }
    }

    /// Applies the rule to a configured value; null and unknown pass.
    pub fn check(&self, value: &Dyn, path: &Path, diagnostics: &mut Diagnostics) {
        if !value.is_null() && !value.is_unknown() {
            (self.check)(value, path, diagnostics);
        }
    }
}

impl fmt::Debug for Validator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Validator({})", self.description)
    }
}

/// Nulls among the elements of a list, set or map, at any depth. What is null would be dropped where the value is used,
/// and with it what it stood for: a list of names to check, of which all are null, checks nothing.
pub fn null_elements(value: &Dyn, path: &Path, diagnostics: &mut Diagnostics) {
    let mut element = |element: &Dyn, path: &Path, instead: &str| match element.is_null() {
        true => diagnostics.push(
            Diagnostic::error("A null element")
                .detail(format!("An element cannot be null. Leave it out where there is no value for it: `{instead}`."))
                .at(path.clone()),
        ),
        false => null_elements(element, path, diagnostics),
    };
    const OF_LIST: &str = "[for x in … : x if x != null]";
    match value {
        Dyn::List(elements) => elements.iter().enumerate().for_each(|(i, e)| element(e, &path.index(i), OF_LIST)),
        // Elements of a set have no address.
        Dyn::Set(elements) => elements.iter().for_each(|e| element(e, path, OF_LIST)),
        Dyn::Map(elements) => {
            elements.iter().for_each(|(key, e)| element(e, &path.key(key), "{for key, x in … : key => x if x != null}"))
        }
        Dyn::Object(attributes) => {
            attributes.iter().for_each(|(name, value)| null_elements(value, &path.attr(name), diagnostics));
        }
        Dyn::Tuple(elements) => {
            elements.iter().enumerate().for_each(|(i, value)| null_elements(value, &path.index(i), diagnostics));
        }
        Dyn::Dynamic(_, value) => null_elements(value, path, diagnostics),
        Dyn::Null | Dyn::Unknown(_) | Dyn::Bool(_) | Dyn::Number(_) | Dyn::String(_) => {}
    }
}

/// A rule for strings; `Err` is the detail of the error, a full sentence.
pub fn text(
    description: impl Into<String>,
    rule: impl Fn(&str) -> Result<(), String> + Send + Sync + 'static,
) -> Validator {
    let description = description.into();
    let words = description.clone();
    Validator::new(description, move |value, path, diagnostics| {
        if let Some(Err(detail)) = value.as_str().map(&rule) {
            diagnostics.push(unsuitable(path, &words, &detail));
        }
    })
}

/// A rule for numbers; `Err` is the detail of the error, a full sentence.
pub fn number(
    description: impl Into<String>,
    rule: impl Fn(&Number) -> Result<(), String> + Send + Sync + 'static,
) -> Validator {
    let description = description.into();
    let words = description.clone();
    Validator::new(description, move |value, path, diagnostics| {
        if let Some(Err(detail)) = value.as_number().map(&rule) {
            diagnostics.push(unsuitable(path, &words, &detail));
        }
    })
}

/// Every element of a list, set or map.
pub fn each(rule: Validator) -> Validator {
    Validator::new(format!("of elements each {}", rule.description), move |value, path, diagnostics| match value {
        Dyn::List(elements) => {
            for (i, element) in elements.iter().enumerate() {
                rule.check(element, &path.index(i), diagnostics);
            }
        }
        Dyn::Set(elements) => elements.iter().for_each(|element| rule.check(element, path, diagnostics)),
        Dyn::Map(elements) => {
            elements.iter().for_each(|(key, element)| rule.check(element, &path.key(key), diagnostics));
        }
        _ => {}
    })
}

/// Every key of a map.
pub fn each_key(rule: Validator) -> Validator {
    Validator::new(format!("of keys each {}", rule.description), move |value, path, diagnostics| {
        if let Dyn::Map(elements) = value {
            elements.keys().for_each(|key| rule.check(&Dyn::from(key.as_str()), &path.key(key), diagnostics));
        }
    })
}

/// One of the given words.
pub fn one_of(words: &'static [&'static str]) -> Validator {
    let listed = words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    text(format!("one of {listed}"), |_| Ok(())).refine(move |value| match value.as_str() {
        Some(found) if !words.contains(&found) => Err(format!("{found:?} is not among them.")),
        _ => Ok(()),
    })
}

/// Not the empty string, list, set or map.
pub fn non_empty() -> Validator {
    text("non-empty", |_| Ok(())).refine(|value| match value {
        Dyn::String(text) if text.trim().is_empty() => Err("It is empty.".to_owned()),
        Dyn::List(elements) if elements.is_empty() => Err("It has no element.".to_owned()),
        Dyn::Set(elements) if elements.is_empty() => Err("It has no element.".to_owned()),
        Dyn::Map(elements) if elements.is_empty() => Err("It has no element.".to_owned()),
        _ => Ok(()),
    })
}

/// A name that people read: two that differ look different. Spaces of other widths, what joins characters and what
/// picks a variant of one are letters nowhere in a name; the non-joiner of Persian (U+200C) is.
pub fn readable() -> Validator {
    text("without characters that look like others or like nothing", |found| {
        let odd = |c: &char| match c {
            ' ' | '\u{200c}' => false,
            '\u{200d}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' => true,
            c => c.is_whitespace(),
        };
        match found.chars().find(odd) {
            Some(c) => Err(format!("It has U+{:04X}. Remove it, or put a plain space.", u32::from(c))),
            None => Ok(()),
        }
    })
}

/// A URL (or a path) without a user or password: those would lie in state, and in every text that names the place.
pub fn without_user_info() -> Validator {
    text("without a user or password in it", |_| Ok(())).refine(|value| {
        match value.as_str().is_some_and(has_user_info) {
            true => Err("It has one, which would lie in state and be shown by plans.".to_owned()),
            false => Ok(()),
        }
    })
}

/// However many slashes follow the scheme, and whichever: readers of URLs pass over them
/// (<https://url.spec.whatwg.org/#special-authority-ignore-slashes-state>). Proxies are written without a scheme as
/// well.
fn has_user_info(url: &str) -> bool {
    const SLASHES: [char; 2] = ['/', '\\'];
    let authority = |rest: &'_ str| rest.split(['/', '\\', '?', '#']).next().unwrap_or_default().to_owned();
    match url.split_once(':') {
        // A single letter is a drive of Windows.
        Some((scheme, rest)) if scheme.len() > 1 && rest.starts_with(SLASHES) => {
            authority(rest.trim_start_matches(SLASHES)).contains('@')
        }
        _ => authority(url).split_once('@').is_some_and(|(user, _)| user.contains(':')),
    }
}

/// A URL (or a path) without a query that logs in: it would lie in state as well. Of the names that such a query has,
/// these are enough for the signed URLs of the large clouds, GitHub and GitLab.
pub fn without_signature() -> Validator {
    const SIGNED: &[&str] =
        &["sig", "signature", "token", "secret", "password", "passwd", "credential", "auth", "key", "jwt"];
    text("without a signature or token in it", |_| Ok(())).refine(|value| {
        let Some((_, rest)) = value.as_str().and_then(|url| url.split_once("://")) else { return Ok(()) };
        let query = rest.split('#').next().unwrap_or_default().split_once('?').map_or("", |(_, query)| query);
        let mut names = query.split('&').map(|pair| pair.split('=').next().unwrap_or_default().to_ascii_lowercase());
        match names.find(|name| SIGNED.iter().any(|word| name.ends_with(word))) {
            Some(name) => Err(format!("It has `{name}`, which would lie in state and be shown by plans.")),
            None => Ok(()),
        }
    })
}

/// A URL (or a path) without a query: it would not be sent.
pub fn without_query() -> Validator {
    text("without a query", |_| Ok(())).refine(|value| match value.as_str().and_then(|url| url.split_once("://")) {
        Some((_, rest)) if rest.contains(['?', '#']) => {
            Err("It has one, which would lie in state and not be sent.".to_owned())
        }
        _ => Ok(()),
    })
}

/// A whole number within bounds, both included.
pub fn between(min: i64, max: i64) -> Validator {
    number(format!("a whole number from {min} to {max}"), move |found| match found.as_i64() {
        Some(value) if (min..=max).contains(&value) => Ok(()),
        _ => Err(format!("{found} is not.")),
    })
}

/// A whole number of at least `min`.
pub fn at_least(min: i64) -> Validator {
    number(format!("a whole number of at least {min}"), move |found| match found.as_i64() {
        Some(value) if value >= min => Ok(()),
        _ => Err(format!("{found} is not.")),
    })
}

/// A DNS label as Kubernetes names are (RFC 1123): at most 63 of a-z, 0-9 and `-`, not at the ends.
pub fn dns_label() -> Validator {
    text("a DNS label (at most 63 of `a`-`z`, `0`-`9`, `-`; `-` not first or last)", |found| {
        if is_dns_label(found) { Ok(()) } else { Err(format!("{found:?} is not.")) }
    })
}

/// DNS labels joined by dots (RFC 1123), at most 253 characters.
pub fn dns_subdomain() -> Validator {
    text(
        "a DNS name in lower case (labels of `a`-`z`, `0`-`9`, `-`, joined by dots; at most 253 characters)",
        |found| {
            if is_dns_subdomain(found) { Ok(()) } else { Err(format!("{found:?} is not.")) }
        },
    )
}

/// An IPv4 or IPv6 network such as `10.0.0.0/8`.
pub fn cidr() -> Validator {
    text("an IP network such as `10.0.0.0/8`", |found| {
        let fits = || {
            let (address, bits) = found.split_once('/')?;
            let address: std::net::IpAddr = address.parse().ok()?;
            let bits: u8 = bits.parse().ok()?;
            Some(bits <= if address.is_ipv4() { 32 } else { 128 })
        };
        if fits() == Some(true) { Ok(()) } else { Err(format!("{found:?} is not.")) }
    })
}

/// An IPv4 or IPv6 address.
pub fn ip_address() -> Validator {
    text("an IP address", |found| found.parse::<std::net::IpAddr>().map(drop).map_err(|_| format!("{found:?} is not.")))
}

/// A length of time such as `24h`, or none: `0s`.
pub fn duration_or_none() -> Validator {
    text("a length of time such as `24h`, or `0s`", |found| match parse_duration(found) {
        Some(length) if length > LONGEST => Err(too_long(found)),
        Some(_) => Ok(()),
        None => Err(no_length(found)),
    })
}

/// Longer ones lead beyond the year 9999, where calendars and X.509 certificates end.
pub const LONGEST: Duration = Duration::from_secs(365_000 * 86_400);

fn too_long(found: &str) -> String {
    format!("{found:?} is longer than 1000 years.")
}

fn no_length(found: &str) -> String {
    format!("{found:?} is not: write numbers with the units `d`, `h`, `m`, `s` or `ms`.")
}

/// A positive length of time such as `90s`, `1h30m`, `7d`.
pub fn duration() -> Validator {
    text("a length of time such as `90s`, `1h30m` or `7d`", |found| match parse_duration(found) {
        Some(length) if length > LONGEST => Err(too_long(found)),
        Some(length) if !length.is_zero() => Ok(()),
        _ => Err(no_length(found)),
    })
}

pub fn is_dns_label(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(fits) && !text.starts_with('-') && !text.ends_with('-')
}

pub fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
}

/// Reads a length of time such as `1h30m`. The units are `d` (24 hours), `h`, `m`, `s` and `ms`, each number whole or
/// with a fraction.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let amount: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let seconds = match &rest[..unit] {
            "d" => 86_400.0,
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(amount * seconds).ok()?)?;
        rest = &rest[unit..];
    }
    Some(total)
}

impl Validator {
    /// The same words with another rule.
    fn refine(self, rule: impl Fn(&Dyn) -> Result<(), String> + Send + Sync + 'static) -> Self {
        let words = self.description.clone();
        Self::new(self.description, move |value, path, diagnostics| {
            if let Err(detail) = rule(value) {
                diagnostics.push(unsuitable(path, &words, &detail));
            }
        })
    }
}

fn unsuitable(path: &Path, words: &str, detail: &str) -> Diagnostic {
    Diagnostic::error("Unsuitable value").detail(format!("The value must be {words}. {detail}")).at(path.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(rule: &Validator, value: impl Into<Dyn>) -> Vec<String> {
        let mut found = Diagnostics::new();
        rule.check(&value.into(), &Path::root("x"), &mut found);
        found.iter().map(|d| format!("{}: {}", d.path.clone().unwrap_or_default(), d.detail)).collect()
    }

    #[test]
    fn accepts_what_fits() {
        for (rule, value) in [
            (one_of(&["a", "b"]), "b"),
            (non_empty(), "x"),
            (dns_label(), "a-1"),
            (dns_subdomain(), "a.b-c.d"),
            (cidr(), "10.0.0.0/8"),
            (cidr(), "fd00::/64"),
            (ip_address(), "::1"),
            (duration(), "1h30m"),
            (without_user_info(), "https://a.example/x@y?z=@"),
            (readable(), "Müller & Söhne \u{200c}x"),
            (without_user_info(), "./charts@1"),
            (without_user_info(), "/a:b@c/charts"),
            (without_user_info(), "C:\\charts@1"),
            (without_signature(), "https://a.example/gw.yaml?channel=experimental&monkeys=1"),
            (without_signature(), "./a?token=b"),
            (without_query(), "oci://a.example/x"),
            (without_query(), "./what?"),
        ] {
            assert_eq!(verdict(&rule, value), Vec::<String>::new(), "{value}");
        }
        assert!(verdict(&between(1, 3), 3).is_empty());
        for rule in [one_of(&["a"]), dns_label(), each(dns_label()), between(1, 2)] {
            assert!(verdict(&rule, Dyn::Null).is_empty() && verdict(&rule, Dyn::UNKNOWN).is_empty());
        }
        assert!(verdict(&each(dns_label()), Dyn::List(vec![Dyn::UNKNOWN])).is_empty());
    }

    #[test]
    fn null_elements_are_found_at_any_depth() {
        let value = Dyn::object([
            ("a", Dyn::List(vec![Dyn::from("x"), Dyn::Null])),
            ("b", Dyn::Map([("k".to_owned(), Dyn::List(vec![Dyn::Null]))].into())),
            ("c", Dyn::set([Dyn::Null])),
            ("d", Dyn::Null),
            (
                "e",
                Dyn::List(vec![Dyn::object([("f", Dyn::Map([("k".to_owned(), Dyn::Null)].into())), ("g", Dyn::Null)])]),
            ),
            ("h", Dyn::List(vec![Dyn::UNKNOWN])),
        ]);
        let mut found = Diagnostics::new();
        null_elements(&value, &Path::empty(), &mut found);
        let places: Vec<String> = found.iter().map(|d| d.path.clone().unwrap_or_default().to_string()).collect();
        assert_eq!(places, ["a[1]", "b[\"k\"][0]", "c", "e[0].f[\"k\"]"]);
    }

    #[test]
    fn says_what_must_be_and_where() {
        assert_eq!(
            verdict(&one_of(&["a", "b"]), "c"),
            [r#"x: The value must be one of `a`, `b`. "c" is not among them."#]
        );
        assert_eq!(verdict(&between(1, 3), 4), ["x: The value must be a whole number from 1 to 3. 4 is not."]);
        let labels = each(one_of(&["a"]));
        assert_eq!(verdict(&labels, vec!["a", "c"])[0].split(':').next(), Some("x[1]"));
        let long = "a".repeat(64);
        for (rule, value) in [
            (dns_label(), "-a"),
            (dns_label(), "A"),
            (dns_label(), long.as_str()),
            (dns_subdomain(), "a..b"),
            (cidr(), "10.0.0.0/33"),
            (cidr(), "10.0.0.0"),
            (ip_address(), "1.2.3"),
            (duration(), "10"),
            (duration(), "0s"),
            (duration(), "1w"),
            (duration(), "-1s"),
            (duration(), "99999999999999999999d"),
            (duration(), "9999999999999999999s"),
            (duration(), "365000d1ms"),
            (duration_or_none(), "365001d"),
            (duration_or_none(), "-1s"),
            (non_empty(), " "),
            (without_user_info(), "https://me@a.example"),
            (without_user_info(), "oci://me:pw@a.example/x"),
            (without_user_info(), "https:///me:pw@a.example"),
            (without_user_info(), "https:/\\me:pw@a.example"),
            (without_user_info(), "me:pw@a.example:3128"),
            (readable(), "A\u{a0}B"),
            (readable(), "A\u{200d}B"),
            (readable(), "A\u{fe0f}B"),
            (readable(), "A\u{3000}B"),
            (without_signature(), "https://a.example/gw.yaml?sv=1&sig=abc"),
            (without_signature(), "https://a.example/gw.yaml?X-Amz-Signature=abc"),
            (without_signature(), "https://a.example/gw.yaml?private_token=abc"),
            (without_query(), "https://a.example/x?sig=abc"),
            (without_query(), "oci://a.example/x#y"),
        ] {
            assert_eq!(verdict(&rule, value).len(), 1, "{value}");
        }
    }

    #[test]
    fn reads_lengths_of_time() {
        assert_eq!(parse_duration("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(parse_duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_duration("7d"), Some(Duration::from_secs(604_800)));
        assert_eq!(parse_duration(""), None);
    }
}
