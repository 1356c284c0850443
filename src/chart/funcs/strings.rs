//! Text. Lengths and offsets are in bytes, as Go's; a cut inside a character leaves a replacement character.
use std::collections::BTreeMap;
use std::rc::Rc;

use super::Param::{Any, Int, Str};
use super::{Row, int, limited, room_for, string_of, text};
use crate::chart::value::{Map, MapKind, Value};
use crate::chart::{budget, print};

pub(super) const TABLE: &[Row] = &[
    ("trim", &[Str], None, false, |args| Ok(Value::str(text(&args[0]).trim_matches(is_space)))),
    ("trimAll", &[Str, Str], None, false, trim_all),
    ("trimall", &[Str, Str], None, false, trim_all),
    ("trimSuffix", &[Str, Str], None, false, |args| {
        let (suffix, s) = (text(&args[0]), text(&args[1]));
        Ok(Value::str(s.strip_suffix(suffix).unwrap_or(s)))
    }),
    ("trimPrefix", &[Str, Str], None, false, |args| {
        let (prefix, s) = (text(&args[0]), text(&args[1]));
        Ok(Value::str(s.strip_prefix(prefix).unwrap_or(s)))
    }),
    ("upper", &[Str], None, false, |args| Ok(Value::str(per_char(text(&args[0]), simple_upper)))),
    ("lower", &[Str], None, false, |args| Ok(Value::str(per_char(text(&args[0]), simple_lower)))),
    ("title", &[Str], None, false, |args| Ok(Value::str(title(text(&args[0]))))),
    ("untitle", &[Str], None, false, |args| Ok(Value::str(untitle(text(&args[0]))))),
    ("swapcase", &[Str], None, false, |args| Ok(Value::str(swap_case(text(&args[0]))))),
    ("nospace", &[Str], None, false, |args| Ok(Value::str(text(&args[0]).replace(is_space, "")))),
    ("initials", &[Str], None, false, |args| {
        Ok(Value::str(text(&args[0]).split(is_space).filter_map(|w| w.chars().next()).collect::<String>()))
    }),
    ("repeat", &[Int, Str], None, false, |args| {
        let Ok(count) = usize::try_from(int(&args[0])) else {
            return Err("strings: negative Repeat count".to_owned());
        };
        let s = text(&args[1]);
        limited(s.len().saturating_mul(count))?;
        Ok(Value::str(s.repeat(count)))
    }),
    ("substr", &[Int, Int, Str], None, false, substr),
    ("trunc", &[Int, Str], None, false, |args| {
        let (count, s) = (int(&args[0]), text(&args[1]));
        let length = s.len() as i64;
        Ok(Value::str(if count < 0 && length + count > 0 {
            cut(s, (length + count) as usize, s.len())
        } else if count >= 0 && length > count {
            cut(s, 0, count as usize)
        } else {
            s.to_owned()
        }))
    }),
    ("abbrev", &[Int, Str], None, false, |args| Ok(Value::str(abbreviate(0, int(&args[0]), text(&args[1]))))),
    ("abbrevboth", &[Int, Int, Str], None, false, |args| {
        let (left, right, s) = (int(&args[0]), int(&args[1]), text(&args[2]));
        Ok(Value::str(if right < 4 || (left > 0 && right < 7) { s.to_owned() } else { abbreviate(left, right, s) }))
    }),
    ("wrap", &[Int, Str], None, false, |args| Ok(Value::str(wrap(text(&args[1]), int(&args[0]), "\n", false)))),
    ("wrapWith", &[Int, Str, Str], None, false, |args| {
        let lines = text(&args[2]).len() / usize::try_from(int(&args[0])).unwrap_or(1).max(1) + 1;
        limited(lines.saturating_mul(text(&args[1]).len() + 1).saturating_add(text(&args[2]).len()))?;
        Ok(Value::str(wrap(text(&args[2]), int(&args[0]), text(&args[1]), true)))
    }),
    ("contains", &[Str, Str], None, false, |args| Ok(Value::Bool(text(&args[1]).contains(text(&args[0]))))),
    ("hasPrefix", &[Str, Str], None, false, |args| Ok(Value::Bool(text(&args[1]).starts_with(text(&args[0]))))),
    ("hasSuffix", &[Str, Str], None, false, |args| Ok(Value::Bool(text(&args[1]).ends_with(text(&args[0]))))),
    ("quote", &[], Some(Any), false, |args| Ok(Value::str(each(args, |v| print::quote(&string_of(v)))))),
    ("squote", &[], Some(Any), false, |args| Ok(Value::str(each(args, |v| format!("'{}'", print::display(v)))))),
    ("cat", &[], Some(Any), false, |args| Ok(Value::str(each(args, print::display)))),
    ("indent", &[Int, Str], None, false, |args| indent("", args)),
    ("nindent", &[Int, Str], None, false, |args| indent("\n", args)),
    ("replace", &[Str, Str, Str], None, false, |args| {
        let (old, new, s) = (text(&args[0]), text(&args[1]), text(&args[2]));
        limited(s.len().saturating_add((s.len() / old.len().max(1) + 1).saturating_mul(new.len())))?;
        Ok(Value::str(s.replace(old, new)))
    }),
    ("plural", &[Str, Str, Int], None, false, |args| Ok(args[if int(&args[2]) == 1 { 0 } else { 1 }].clone())),
    ("toString", &[Any], None, false, |args| Ok(Value::str(string_of(&args[0])))),
    ("split", &[Str, Str], None, false, |args| Ok(numbered(split(text(&args[1]), text(&args[0]), -1)?))),
    ("splitn", &[Str, Int, Str], None, false, |args| {
        Ok(numbered(split(text(&args[2]), text(&args[0]), int(&args[1]))?))
    }),
    ("splitList", &[Str, Str], None, false, |args| Ok(Value::strings(split(text(&args[1]), text(&args[0]), -1)?))),
    ("base", &[Str], None, false, |args| Ok(Value::str(base(text(&args[0]))))),
    ("osBase", &[Str], None, false, |args| Ok(Value::str(base(text(&args[0]))))),
    ("dir", &[Str], None, false, |args| Ok(Value::str(dir(text(&args[0]))))),
    ("osDir", &[Str], None, false, |args| Ok(Value::str(dir(text(&args[0]))))),
    ("clean", &[Str], None, false, |args| Ok(Value::str(clean(text(&args[0]))))),
    ("osClean", &[Str], None, false, |args| Ok(Value::str(clean(text(&args[0]))))),
    ("ext", &[Str], None, false, |args| Ok(Value::str(extension(text(&args[0]))))),
    ("osExt", &[Str], None, false, |args| Ok(Value::str(extension(text(&args[0]))))),
    ("isAbs", &[Str], None, false, |args| Ok(Value::Bool(text(&args[0]).starts_with('/')))),
    ("osIsAbs", &[Str], None, false, |args| Ok(Value::Bool(text(&args[0]).starts_with('/')))),
];

/// Go's `unicode.IsSpace`.
pub(in crate::chart) fn is_space(c: char) -> bool {
    matches!(
        c,
        '\t' | '\n' | '\x0b' | '\x0c' | '\r' | ' ' | '\u{85}' | '\u{a0}' | '\u{1680}' | '\u{2000}'
            ..='\u{200a}' | '\u{2028}' | '\u{2029}' | '\u{202f}' | '\u{205f}' | '\u{3000}'
    )
}

fn cut(s: &str, start: usize, end: usize) -> String {
    String::from_utf8_lossy(&s.as_bytes()[start..end]).into_owned()
}

fn each(args: &[Value], show: impl Fn(&Value) -> String) -> String {
    let shown = args.iter().filter(|arg| !arg.is_nil()).map_while(|arg| {
        let text = show(arg);
        budget::goes_on(1, text.len()).then_some(text)
    });
    shown.collect::<Vec<_>>().join(" ")
}

fn indent(before: &str, args: &[Value]) -> Result<Value, String> {
    let Ok(width) = usize::try_from(int(&args[0])) else {
        return Err("strings: negative Repeat count".to_owned());
    };
    let s = text(&args[1]);
    limited((s.matches('\n').count() + 1).saturating_mul(width).saturating_add(s.len()))?;
    let pad = " ".repeat(width);
    Ok(Value::str(format!("{before}{pad}{}", s.replace('\n', &format!("\n{pad}")))))
}

fn trim_all(args: &[Value]) -> Result<Value, String> {
    let cutset = text(&args[0]);
    Ok(Value::str(text(&args[1]).trim_matches(|c| cutset.contains(c))))
}

fn substr(args: &[Value]) -> Result<Value, String> {
    let (start, end, s) = (int(&args[0]), int(&args[1]), text(&args[2]));
    let length = s.len() as i64;
    let (from, to) = if start < 0 {
        (0, end)
    } else if end < 0 || end > length {
        (start, length)
    } else {
        (start, end)
    };
    if from > to || to > length || to < 0 {
        return Err(if to > length || to < 0 {
            format!("runtime error: slice bounds out of range [:{to}] with length {length}")
        } else {
            format!("runtime error: slice bounds out of range [{from}:{to}]")
        });
    }
    Ok(Value::str(cut(s, from as usize, to as usize)))
}

fn abbreviate(offset: i64, width: i64, s: &str) -> String {
    let (length, mut offset) = (s.len() as i64, offset);
    if width < 4 || length <= width {
        return s.to_owned();
    }
    offset = offset.min(length);
    if length - offset < width - 3 {
        offset = length - (width - 3);
    }
    if offset <= 4 {
        return format!("{}...", cut(s, 0, (width - 3) as usize));
    }
    if offset + width - 3 < length {
        return format!("...{}", abbreviate(0, width - 3, &cut(s, offset as usize, s.len())));
    }
    format!("...{}", cut(s, (length - (width - 3)) as usize, s.len()))
}

fn wrap(s: &str, width: i64, new_line: &str, wrap_long_words: bool) -> String {
    let new_line = if new_line.is_empty() { "\n" } else { new_line };
    let width = usize::try_from(width).unwrap_or(1).max(1);
    let bytes = s.as_bytes();
    let mut out = String::new();
    let mut offset = 0;
    while bytes.len() - offset > width {
        if bytes[offset] == b' ' {
            offset += 1;
            continue;
        }
        let end = offset + width;
        if let Some(space) = bytes[offset..=end].iter().rposition(|b| *b == b' ') {
            out.push_str(&cut(s, offset, offset + space));
            out.push_str(new_line);
            offset += space + 1;
        } else if wrap_long_words {
            out.push_str(&cut(s, offset, end));
            out.push_str(new_line);
            offset = end;
        } else {
            match bytes[end..].iter().position(|b| *b == b' ') {
                None => {
                    out.push_str(&cut(s, offset, bytes.len()));
                    offset = bytes.len();
                }
                Some(space) => {
                    out.push_str(&cut(s, offset, end + space));
                    out.push_str(new_line);
                    offset = end + space + 1;
                }
            }
        }
    }
    out.push_str(&cut(s, offset, bytes.len()));
    out
}

/// Go maps character to character, Rust to several where Unicode says so (ß).
fn simple_upper(c: char) -> char {
    let mut mapped = c.to_uppercase();
    match (mapped.next(), mapped.next()) {
        (Some(upper), None) => upper,
        _ => c,
    }
}

fn simple_lower(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

fn per_char(s: &str, change: fn(char) -> char) -> String {
    s.chars().map(change).collect()
}

fn title(s: &str) -> String {
    let mut previous = ' ';
    s.chars()
        .map(|c| {
            let starts_word = !(previous.is_alphanumeric() || previous == '_' || previous == '\'')
                && (is_space(previous) || !is_letter_like(previous));
            previous = c;
            if starts_word { simple_upper(c) } else { c }
        })
        .collect()
}

/// Go's (deprecated) `strings.Title` takes only these ASCII characters, letters and digits as part of a word.
fn is_letter_like(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_alphanumeric() || c == '_' } else { !is_space(c) }
}

fn untitle(s: &str) -> String {
    let mut starts_word = true;
    s.chars()
        .map(|c| {
            if is_space(c) {
                starts_word = true;
                c
            } else if std::mem::take(&mut starts_word) {
                simple_lower(c)
            } else {
                c
            }
        })
        .collect()
}

fn swap_case(s: &str) -> String {
    let mut after_space = true;
    s.chars()
        .map(|c| {
            if c.is_uppercase() {
                after_space = false;
                simple_lower(c)
            } else if c.is_lowercase() {
                after_space = false;
                simple_upper(c)
            } else {
                after_space = is_space(c);
                c
            }
        })
        .collect()
}

/// `strings.SplitN`
fn split(s: &str, separator: &str, count: i64) -> Result<Vec<String>, String> {
    let pieces = if separator.is_empty() { s.len() } else { s.matches(separator).count() + 1 };
    room_for(pieces, s.len())?;
    Ok(match usize::try_from(count) {
        Ok(0) => Vec::new(),
        _ if separator.is_empty() => {
            let chars: Vec<String> = s.chars().map(String::from).collect();
            match usize::try_from(count) {
                Ok(limit) if limit < chars.len() => {
                    let mut parts = chars[..limit - 1].to_vec();
                    parts.push(chars[limit - 1..].concat());
                    parts
                }
                _ => chars,
            }
        }
        Ok(limit) => s.splitn(limit, separator).map(str::to_owned).collect(),
        Err(_) => s.split(separator).map(str::to_owned).collect(),
    })
}

fn numbered(parts: Vec<String>) -> Value {
    let entries: BTreeMap<Rc<str>, Value> =
        parts.into_iter().enumerate().map(|(i, part)| (Rc::from(format!("_{i}")), Value::str(part))).collect();
    Value::Map(Map::new(entries, MapKind::Strings))
}

fn base(path: &str) -> String {
    if path.is_empty() {
        return ".".to_owned();
    }
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() {
        return "/".to_owned();
    }
    trimmed.rsplit('/').next().unwrap_or(trimmed).to_owned()
}

fn dir(path: &str) -> String {
    clean(path.rfind('/').map_or("", |slash| &path[..=slash]))
}

fn extension(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rfind('.').map_or(String::new(), |dot| name[dot..].to_owned())
}

/// `path.Clean`
pub(in crate::chart) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if parts.last().is_some_and(|last| *last != "..") {
                    parts.pop();
                } else if !rooted {
                    parts.push("..");
                }
            }
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}
