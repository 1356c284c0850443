//! Go's regular expressions on Rust's engine. Both are RE2 in spirit; where their syntaxes differ it is translated.
use std::cell::RefCell;
use std::collections::HashMap;

use regex::{Captures, Regex, RegexBuilder};

use super::Param::{Int, Str};
use super::{Row, int, limited, text};
use crate::chart::budget::{self, TooMuch};
use crate::chart::value::Value;

pub(super) const TABLE: &[Row] = &[
    ("regexMatch", &[Str, Str], None, false, |args| {
        Ok(Value::Bool(compile(&args[0], text(&args[1])).is_ok_and(|r| r.is_match(text(&args[1])))))
    }),
    ("mustRegexMatch", &[Str, Str], None, false, |args| {
        Ok(Value::Bool(compile(&args[0], text(&args[1]))?.is_match(text(&args[1]))))
    }),
    ("regexFindAll", &[Str, Str, Int], None, false, find_all),
    ("mustRegexFindAll", &[Str, Str, Int], None, false, find_all),
    ("regexFind", &[Str, Str], None, false, find),
    ("mustRegexFind", &[Str, Str], None, false, find),
    ("regexReplaceAll", &[Str, Str, Str], None, false, replace),
    ("mustRegexReplaceAll", &[Str, Str, Str], None, false, replace),
    ("regexReplaceAllLiteral", &[Str, Str, Str], None, false, replace_literal),
    ("mustRegexReplaceAllLiteral", &[Str, Str, Str], None, false, replace_literal),
    ("regexSplit", &[Str, Str, Int], None, false, split),
    ("mustRegexSplit", &[Str, Str, Int], None, false, split),
    ("regexQuoteMeta", &[Str], None, false, |args| {
        let quoted = text(&args[0]).chars().fold(String::new(), |mut out, c| {
            if r"\.+*?()|[]{}^$".contains(c) {
                out.push('\\');
            }
            out.push(c);
            out
        });
        Ok(Value::str(quoted))
    }),
];

/// What one expression may come to: ten thousand states, many times what any chart needs.
pub(in crate::chart) const MAX_SIZE: usize = 512 << 10;
const MAX_PATTERN: usize = 16 << 10;
/// As much work as making one of that size.
const STEPS_TO_COMPILE: usize = 20_000;

thread_local! {
    /// Charts ask for the same few expressions over and over. Kept for the life of the thread, which is that of a
    /// rendering.
    static COMPILED: RefCell<HashMap<String, Regex>> = RefCell::default();
}

/// The expression, and the work of holding it against a text paid for.
fn compile(pattern: &Value, held_against: &str) -> Result<Regex, String> {
    let pattern = text(pattern);
    let invalid = || format!("regexp: Compile(`{pattern}`): error parsing regexp");
    if pattern.len() > MAX_PATTERN {
        return Err(invalid());
    }
    budget::pay(held_against.len().saturating_mul(states(pattern)) / 64, 0)?;
    if let Some(known) = COMPILED.with_borrow(|compiled| compiled.get(pattern).cloned()) {
        return Ok(known);
    }
    pay_for_compiling(pattern)?;
    let regex = RegexBuilder::new(&translate(pattern)).size_limit(MAX_SIZE).build().map_err(|_| invalid())?;
    COMPILED.with_borrow_mut(|compiled| {
        if compiled.len() >= 100 {
            compiled.clear();
        }
        compiled.insert(pattern.to_owned(), regex.clone());
    });
    Ok(regex)
}

/// For an expression that is made outside of the functions, too.
pub(in crate::chart) fn pay_for_compiling(pattern: &str) -> Result<(), TooMuch> {
    budget::pay(STEPS_TO_COMPILE, 4096 + 64 * states(pattern))
}

/// How many states an expression has at the most, by its length and the counts in braces.
fn states(pattern: &str) -> usize {
    let counts = pattern
        .split('{')
        .skip(1)
        .filter_map(|rest| rest.split(['}', ',']).rfind(|part| part.parse::<usize>().is_ok()));
    let repeated = counts
        .filter_map(|count| count.parse::<usize>().ok())
        .fold(1usize, |product, count| product.saturating_mul(count.max(1)));
    repeated.saturating_mul(pattern.len() + 1).min(MAX_SIZE / 32)
}

/// Perl's classes are ASCII in Go; a bracket or operator inside a class is a plain character there.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars().peekable();
    let mut in_class = false;
    let mut class_start = false;
    while let Some(c) = chars.next() {
        let first = std::mem::take(&mut class_start);
        match c {
            '\\' => {
                let Some(escaped) = chars.next() else {
                    out.push('\\');
                    break;
                };
                let class = match escaped {
                    'd' => "0-9",
                    'w' => "0-9A-Za-z_",
                    's' => r"\t\n\x0C\r ",
                    'D' => "^0-9",
                    'W' => "^0-9A-Za-z_",
                    'S' => r"^\t\n\x0C\r ",
                    'b' if !in_class => {
                        out.push_str(r"(?-u:\b)");
                        continue;
                    }
                    'C' | 'Q' | 'E' => {
                        if escaped == 'Q' {
                            while let Some(c) = chars.next() {
                                if c == '\\' && chars.peek() == Some(&'E') {
                                    chars.next();
                                    break;
                                }
                                out.push_str(&regex::escape(&c.to_string()));
                            }
                        }
                        continue;
                    }
                    other => {
                        out.push('\\');
                        out.push(other);
                        continue;
                    }
                };
                if in_class && !class.starts_with('^') {
                    out.push_str(class);
                } else {
                    out.push_str(&format!("[{class}]"));
                }
            }
            '[' if !in_class => {
                in_class = true;
                class_start = true;
                out.push('[');
                if chars.peek() == Some(&'^') {
                    chars.next();
                    out.push('^');
                }
            }
            ']' if in_class && first => out.push_str(r"\]"),
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '[' if chars.peek() == Some(&':') => {
                out.push('[');
                for c in chars.by_ref() {
                    out.push(c);
                    if c == ']' {
                        break;
                    }
                }
            }
            '[' | '&' | '~' if in_class => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    out
}

fn limit(value: &Value) -> usize {
    usize::try_from(int(value)).unwrap_or(usize::MAX)
}

fn find(args: &[Value]) -> Result<Value, String> {
    Ok(Value::str(compile(&args[0], text(&args[1]))?.find(text(&args[1])).map_or("", |m| m.as_str())))
}

fn find_all(args: &[Value]) -> Result<Value, String> {
    let regex = compile(&args[0], text(&args[1]))?;
    Ok(Value::strings(regex.find_iter(text(&args[1])).take(limit(&args[2])).map(|m| m.as_str())))
}

fn replace(args: &[Value]) -> Result<Value, String> {
    let by = text(&args[2]);
    let groups = by.matches('$').count();
    replaced(
        args,
        |found| by.len().saturating_add(groups.saturating_mul(found.get(0).map_or(0, |m| m.len()))),
        |found, out| {
            found.expand(by, out);
        },
    )
}

fn replace_literal(args: &[Value]) -> Result<Value, String> {
    let by = text(&args[2]);
    replaced(args, |_| by.len(), |_, out| out.push_str(by))
}

/// As `replace_all`, asking for room before each replacement.
fn replaced(
    args: &[Value],
    length: impl Fn(&Captures<'_>) -> usize,
    replace: impl Fn(&Captures<'_>, &mut String),
) -> Result<Value, String> {
    let s = text(&args[1]);
    let (mut out, mut end) = (String::new(), 0);
    for found in compile(&args[0], s)?.captures_iter(s) {
        limited(out.len().saturating_add(s.len()).saturating_add(length(&found)))?;
        let Some(whole) = found.get(0) else { continue };
        out.push_str(&s[end..whole.start()]);
        replace(&found, &mut out);
        end = whole.end();
    }
    out.push_str(&s[end..]);
    Ok(Value::str(out))
}

/// As Go splits: no empty piece before a match of nothing at the start.
fn split(args: &[Value]) -> Result<Value, String> {
    let (pattern, s) = (text(&args[0]), text(&args[1]));
    let limit = limit(&args[2]);
    let regex = compile(&args[0], s)?;
    if limit == 0 {
        return Ok(Value::strings(Vec::<&str>::new()));
    }
    if !pattern.is_empty() && s.is_empty() {
        return Ok(Value::strings([""]));
    }
    let mut pieces = Vec::new();
    let (mut start, mut end) = (0, 0);
    for found in regex.find_iter(s) {
        if limit != usize::MAX && pieces.len() + 1 == limit {
            break;
        }
        end = found.start();
        if found.end() != 0 {
            pieces.push(&s[start..end]);
        }
        start = found.end();
    }
    if end != s.len() {
        pieces.push(&s[start..]);
    }
    Ok(Value::strings(pieces))
}
