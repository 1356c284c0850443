//! Go's `fmt`: what templates, `print`, `printf` and `quote` make of a value.
use super::KubeVersion;
use super::budget;
use super::number;
use super::value::{Element, MAX_DEPTH, Native, Value};

/// `%v`
pub(super) fn display(value: &Value) -> String {
    let mut out = String::new();
    format_value(value, &Verb::plain('v'), 0, &mut out);
    out
}

/// As a template puts it out, which sees the methods of a struct that a function gets as a copy without them.
pub(super) fn output(value: &Value) -> String {
    match value {
        Value::Native(Native::KubeVersion(caps)) => caps.kube_version.shown().to_owned(),
        value => display(value),
    }
}

/// `fmt.Sprint`: a space between two operands neither of which is a string.
pub(super) fn sprint(values: &[Value]) -> String {
    let mut out = String::new();
    for (i, value) in values.iter().enumerate() {
        let is_string = |v: &Value| matches!(v, Value::Str(_));
        if i > 0 && !is_string(value) && !is_string(&values[i - 1]) {
            out.push(' ');
        }
        let text = display(value);
        if !budget::goes_on(1, text.len()) {
            break;
        }
        out.push_str(&text);
    }
    out
}

/// `fmt.Sprintln`
pub(super) fn sprintln(values: &[Value]) -> String {
    let shown = values.iter().map(display).map_while(|text| budget::goes_on(1, text.len()).then_some(text));
    let mut out = shown.collect::<Vec<_>>().join(" ");
    out.push('\n');
    out
}

/// `%q` of a string.
pub(super) fn quote(text: &str) -> String {
    quote_with(text, '"', false)
}

fn quote_with(text: &str, quote: char, ascii: bool) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            c if c == quote || c == '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            ' '..='~' => out.push(c),
            c if u32::from(c) < 0x80 => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if is_printable(c) && !ascii => out.push(c),
            c if u32::from(c) < 0x10000 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push(quote);
    out
}

/// Letters, marks, numbers, punctuation and symbols: the classes that Rust's own escaping leaves alone, too.
fn is_printable(c: char) -> bool {
    let text: String = ['a', c].iter().collect();
    text.escape_debug().nth(1) == Some(c)
}

/// One `%…` directive.
struct Verb {
    verb: char,
    plus: bool,
    minus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

impl Verb {
    fn plain(verb: char) -> Self {
        Self { verb, plus: false, minus: false, sharp: false, space: false, zero: false, width: None, precision: None }
    }
}

/// Widths beyond this would only fill memory.
const MAX_WIDTH: usize = 1_000_000;

/// `fmt.Sprintf`
pub(super) fn sprintf(format: &str, args: &[Value]) -> String {
    let mut out = String::new();
    let mut rest = format;
    let mut next = 0;
    let mut reordered = false;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let mut directive = Verb::plain('v');
        loop {
            match rest.as_bytes().first() {
                Some(b'+') => directive.plus = true,
                Some(b'-') => {
                    directive.minus = true;
                    directive.zero = false;
                }
                Some(b'#') => directive.sharp = true,
                Some(b' ') => directive.space = true,
                Some(b'0') => directive.zero = !directive.minus,
                _ => break,
            }
            rest = &rest[1..];
        }
        rest = argument_number(rest, &mut next, args.len(), &mut reordered);
        match star(&mut rest, args, &mut next) {
            Some(Ok(width)) => {
                directive.minus |= width < 0;
                directive.zero &= width >= 0;
                directive.width = Some(width.unsigned_abs() as usize);
            }
            Some(Err(())) => out.push_str("%!(BADWIDTH)"),
            None => directive.width = digits(&mut rest),
        }
        if let Some(after) = rest.strip_prefix('.') {
            rest = argument_number(after, &mut next, args.len(), &mut reordered);
            match star(&mut rest, args, &mut next) {
                Some(Ok(precision)) if precision >= 0 => directive.precision = Some(precision as usize),
                Some(_) => out.push_str("%!(BADPREC)"),
                None => directive.precision = Some(digits(&mut rest).unwrap_or(0)),
            }
        }
        rest = argument_number(rest, &mut next, args.len(), &mut reordered);
        let Some(verb) = rest.chars().next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        rest = &rest[verb.len_utf8()..];
        directive.verb = verb;
        if verb == '%' {
            out.push('%');
            continue;
        }
        match args.get(next) {
            None => out.push_str(&format!("%!{verb}(MISSING)")),
            Some(arg) => {
                next += 1;
                format_value(arg, &directive, 0, &mut out);
            }
        }
    }
    out.push_str(rest);
    if !reordered && next < args.len() {
        let extra: Vec<String> = args[next..]
            .iter()
            .map(|arg| match arg {
                Value::Nil | Value::Invalid => "<nil>".to_owned(),
                arg => format!("{}={}", arg.type_name(), display(arg)),
            })
            .collect();
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

fn argument_number<'a>(rest: &'a str, next: &mut usize, count: usize, reordered: &mut bool) -> &'a str {
    let Some(inner) = rest.strip_prefix('[') else { return rest };
    let Some((digits, after)) = inner.split_once(']') else { return rest };
    match digits.parse::<usize>() {
        Ok(n) if n >= 1 && n <= count => *next = n - 1,
        _ => *next = count,
    }
    *reordered = true;
    after
}

fn star(rest: &mut &str, args: &[Value], next: &mut usize) -> Option<Result<i64, ()>> {
    *rest = rest.strip_prefix('*')?;
    let value = args.get(*next).and_then(Value::as_int).filter(|n| n.unsigned_abs() as usize <= MAX_WIDTH);
    *next += 1;
    Some(value.ok_or(()))
}

fn digits(rest: &mut &str) -> Option<usize> {
    let length = rest.bytes().take_while(u8::is_ascii_digit).count();
    if length == 0 {
        return None;
    }
    let number = rest[..length].parse().ok().filter(|n| *n <= MAX_WIDTH);
    *rest = &rest[length..];
    number
}

fn format_value(value: &Value, verb: &Verb, depth: usize, out: &mut String) {
    if depth > MAX_DEPTH {
        out.push_str("...");
        return;
    }
    let made = match value {
        Value::Str(text) => text.len(),
        Value::Native(Native::Files(files)) => files.values().map(|content| content.len() * 5).sum(),
        _ => 8,
    };
    let padding = verb.width.unwrap_or(0).max(verb.precision.unwrap_or(0));
    if out.len() > budget::MAX_TEXT || !budget::goes_on(1, made.saturating_add(padding)) {
        return;
    }
    if verb.verb == 'T' {
        return pad(value.type_name(), verb, out);
    }
    match value {
        Value::Invalid | Value::Nil => match verb.verb {
            'v' => pad("<nil>", verb, out),
            other => out.push_str(&format!("%!{other}(<nil>)")),
        },
        Value::Bool(b) => match verb.verb {
            't' | 'v' => pad(if *b { "true" } else { "false" }, verb, out),
            _ => bad(value, verb, out),
        },
        Value::Int(i) | Value::Int64(i) => integer(*i, value, verb, out),
        Value::Float(f) => float(*f, value, verb, out),
        Value::Str(s) => string(s, value, verb, out),
        Value::List(list) if list.element == Element::Byte && matches!(verb.verb, 's' | 'q' | 'x' | 'X') => {
            let bytes: Vec<u8> = list.items.iter().filter_map(Value::as_int).map(|i| i as u8).collect();
            string(&String::from_utf8_lossy(&bytes), value, verb, out);
        }
        Value::List(list) => {
            out.push('[');
            for (i, item) in list.items.iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                format_value(item, verb, depth + 1, out);
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push_str("map[");
            for (i, (key, item)) in map.borrow().iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                format_value(&Value::Str(key.clone()), verb, depth + 1, out);
                out.push(':');
                format_value(item, verb, depth + 1, out);
            }
            out.push(']');
        }
        Value::Native(native) => string(&native_text(native), value, verb, out),
    }
}

fn native_text(native: &Native) -> String {
    match native {
        Native::Files(files) => {
            let entries: Vec<String> = files.iter().map(|(k, v)| format!("{k}:{v:?}").replace(',', "")).collect();
            format!("map[{}]", entries.join(" "))
        }
        Native::Capabilities(caps) => {
            let api_versions = caps.api_versions.join(" ");
            let version = version_text(&caps.kube_version);
            format!("&{{{version} [{api_versions}] {{{}   }}}}", super::HELM_VERSION)
        }
        Native::KubeVersion(caps) => version_text(&caps.kube_version),
        Native::HelmVersion => format!("{{{}   }}", super::HELM_VERSION),
        Native::ApiVersions(caps) => format!("[{}]", caps.api_versions.join(" ")),
        Native::Semver(version, _) => version.to_string(),
        Native::Duration(nanoseconds) => duration_text(*nanoseconds),
    }
}

/// As Go prints the struct. What a template puts out itself is another text, see [`output`].
fn version_text(version: &KubeVersion) -> String {
    let KubeVersion { version, normalized, major, minor } = version;
    format!("{{{version} {normalized} {major} {minor}}}")
}

fn integer(i: i64, value: &Value, verb: &Verb, out: &mut String) {
    let magnitude = i.unsigned_abs();
    let (prefix, digits) = match verb.verb {
        'd' | 'v' => ("", magnitude.to_string()),
        'b' => (if verb.sharp { "0b" } else { "" }, format!("{magnitude:b}")),
        'o' => (if verb.sharp { "0" } else { "" }, format!("{magnitude:o}")),
        'O' => ("0o", format!("{magnitude:o}")),
        'x' => (if verb.sharp { "0x" } else { "" }, format!("{magnitude:x}")),
        'X' => (if verb.sharp { "0X" } else { "" }, format!("{magnitude:X}")),
        'c' | 'q' | 'U' => {
            let c = u32::try_from(i).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
            let text = match verb.verb {
                'c' => c.to_string(),
                'q' => quote_with(&c.to_string(), '\'', verb.plus),
                _ => format!("U+{magnitude:04X}"),
            };
            return pad(&text, verb, out);
        }
        _ => return bad(value, verb, out),
    };
    let mut digits = digits;
    let sign = if i < 0 {
        "-"
    } else if verb.plus && verb.verb != 'v' {
        "+"
    } else if verb.space {
        " "
    } else {
        ""
    };
    let mut wanted = verb.precision.unwrap_or(0);
    if verb.precision == Some(0) && i == 0 {
        digits.clear();
    }
    if verb.zero && verb.precision.is_none() {
        wanted = verb.width.unwrap_or(0).saturating_sub(sign.len());
    }
    let zeros = wanted.saturating_sub(digits.len());
    let text = format!("{sign}{prefix}{}{digits}", "0".repeat(zeros));
    pad_with(&text, verb, ' ', out);
}

fn float(f: f64, value: &Value, verb: &Verb, out: &mut String) {
    let text = match verb.verb {
        'v' | 'g' | 'G' => match verb.precision {
            None => number::general(f),
            Some(p) => number::with_precision(f, b'g', p),
        },
        'e' | 'E' => number::with_precision(f, b'e', verb.precision.unwrap_or(6)),
        'f' | 'F' => number::with_precision(f, b'f', verb.precision.unwrap_or(6)),
        _ => return bad(value, verb, out),
    };
    let text = if matches!(verb.verb, 'E' | 'G') { text.to_uppercase() } else { text };
    let text = if f.is_nan() || f.is_infinite() || text.starts_with('-') {
        if verb.plus || f < 0.0 { text } else { text.trim_start_matches('+').to_owned() }
    } else if verb.plus && verb.verb != 'v' {
        format!("+{text}")
    } else if verb.space {
        format!(" {text}")
    } else {
        text
    };
    // `%v` prints an infinity with its sign.
    let text = if f == f64::INFINITY && !text.starts_with('+') { format!("+{text}") } else { text };
    if verb.zero && !verb.minus && f.is_finite() {
        let (sign, digits) = match text.strip_prefix(['-', '+', ' ']) {
            Some(digits) => (&text[..1], digits),
            None => ("", text.as_str()),
        };
        let zeros = verb.width.unwrap_or(0).saturating_sub(text.len());
        out.push_str(&format!("{sign}{}{digits}", "0".repeat(zeros)));
        return;
    }
    pad_with(&text, verb, ' ', out);
}

fn string(s: &str, value: &Value, verb: &Verb, out: &mut String) {
    let cut: String;
    let s = match verb.precision {
        Some(p) if matches!(verb.verb, 'v' | 's' | 'q') => {
            cut = s.chars().take(p).collect();
            &cut
        }
        _ => s,
    };
    match verb.verb {
        'v' if verb.sharp => pad(&quote(s), verb, out),
        'v' | 's' => pad(s, verb, out),
        'q' if verb.sharp && !s.contains('`') && !s.chars().any(|c| c < ' ' && c != '\t' || c == '\u{7f}') => {
            pad(&format!("`{s}`"), verb, out);
        }
        'q' => pad(&quote_with(s, '"', verb.plus), verb, out),
        'x' | 'X' => {
            let hex: String = s
                .bytes()
                .take(verb.precision.unwrap_or(usize::MAX))
                .map(|b| if verb.verb == 'x' { format!("{b:02x}") } else { format!("{b:02X}") })
                .collect();
            pad(&hex, verb, out);
        }
        _ => bad(value, verb, out),
    }
}

fn pad(text: &str, verb: &Verb, out: &mut String) {
    pad_with(text, verb, if verb.zero && !verb.minus { '0' } else { ' ' }, out);
}

fn pad_with(text: &str, verb: &Verb, fill: char, out: &mut String) {
    let missing = verb.width.unwrap_or(0).saturating_sub(text.chars().count());
    if verb.minus {
        out.push_str(text);
        out.extend(std::iter::repeat_n(' ', missing));
    } else {
        out.extend(std::iter::repeat_n(fill, missing));
        out.push_str(text);
    }
}

fn bad(value: &Value, verb: &Verb, out: &mut String) {
    out.push_str(&format!("%!{}({}={})", verb.verb, value.type_name(), display(value)));
}

/// `time.Duration.String`
pub fn duration_text(nanoseconds: i64) -> String {
    let magnitude = nanoseconds.unsigned_abs();
    let sign = if nanoseconds < 0 { "-" } else { "" };
    if magnitude < 1_000_000_000 {
        let (unit, divisor) = match magnitude {
            0 => return "0s".to_owned(),
            1..1_000 => ("ns", 1),
            1_000..1_000_000 => ("µs", 1_000),
            _ => ("ms", 1_000_000),
        };
        return format!("{sign}{}{unit}", with_fraction(magnitude, divisor));
    }
    let seconds = with_fraction(magnitude % 60_000_000_000, 1_000_000_000);
    let (hours, minutes) = (magnitude / 3_600_000_000_000, magnitude % 3_600_000_000_000 / 60_000_000_000);
    match (hours, minutes) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

fn with_fraction(value: u64, divisor: u64) -> String {
    let (whole, fraction) = (value / divisor, value % divisor);
    if fraction == 0 {
        return whole.to_string();
    }
    let width = divisor.ilog10() as usize;
    format!("{whole}.{}", format!("{fraction:0width$}").trim_end_matches('0'))
}
