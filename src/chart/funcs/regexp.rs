//! Go's regular expressions on Rust's engine. Both are RE2 in spirit; where their syntaxes differ it is translated.
use regex::{NoExpand, Regex};

use super::Param::{Int, Str};
use super::{Row, int, text};
use crate::chart::value::Value;

pub(super) const TABLE: &[Row] = &[
    ("regexMatch", &[Str, Str], None, false, |args| {
        Ok(Value::Bool(compile(&args[0]).is_ok_and(|r| r.is_match(text(&args[1])))))
    }),
    ("mustRegexMatch", &[Str, Str], None, false, |args| Ok(Value::Bool(compile(&args[0])?.is_match(text(&args[1]))))),
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

fn compile(pattern: &Value) -> Result<Regex, String> {
    let pattern = text(pattern);
    Regex::new(&translate(pattern)).map_err(|_| format!("regexp: Compile(`{pattern}`): error parsing regexp"))
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
    Ok(Value::str(compile(&args[0])?.find(text(&args[1])).map_or("", |m| m.as_str())))
}

fn find_all(args: &[Value]) -> Result<Value, String> {
    let regex = compile(&args[0])?;
    Ok(Value::strings(regex.find_iter(text(&args[1])).take(limit(&args[2])).map(|m| m.as_str())))
}

fn replace(args: &[Value]) -> Result<Value, String> {
    Ok(Value::str(compile(&args[0])?.replace_all(text(&args[1]), text(&args[2]))))
}

fn replace_literal(args: &[Value]) -> Result<Value, String> {
    Ok(Value::str(compile(&args[0])?.replace_all(text(&args[1]), NoExpand(text(&args[2])))))
}

/// As Go splits: no empty piece before a match of nothing at the start.
fn split(args: &[Value]) -> Result<Value, String> {
    let (pattern, s) = (text(&args[0]), text(&args[1]));
    let limit = limit(&args[2]);
    let regex = compile(&args[0])?;
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
