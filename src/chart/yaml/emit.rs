//! JSON values to YAML text, as sigs.k8s.io/yaml writes it with go-yaml v2: block style, sequences not indented under
//! their key, lines folded at a space after column 80, keys in natural order.
use std::cmp::Ordering;

use serde_json::Value as Json;

use super::{allowed, resolve};
use crate::chart::{budget, number};

const BEST_WIDTH: usize = 80;
/// A key longer than this in JSON is no simple key for go-yaml, which then cannot read its own input.
const MAX_JSON_KEY: usize = 1022;

/// Writes a value, with a line break at the end; `None` where go-yaml fails (Helm's `toYaml` then gives nothing).
pub(in crate::chart) fn emit(value: &Json) -> Option<String> {
    if !readable(value) {
        return None;
    }
    let mut emitter = Emitter { out: String::new(), column: 0, indent: -1, whitespace: true, indention: true };
    emitter.node(value, Place::Root);
    emitter.write_indent();
    Some(emitter.out)
}

/// go-yaml first reads the JSON text, in which most control characters are escaped but not all.
fn readable(value: &Json) -> bool {
    let text_ok = |text: &str| text.chars().all(|c| c < '\u{7f}' || c == '\u{2028}' || c == '\u{2029}' || allowed(c));
    match value {
        Json::String(text) => text_ok(text),
        Json::Array(items) => items.iter().all(readable),
        Json::Object(fields) => fields.iter().all(|(k, v)| k.len() <= MAX_JSON_KEY && text_ok(k) && readable(v)),
        _ => true,
    }
}

struct Emitter {
    out: String,
    column: usize,
    indent: isize,
    /// The last character was white space, or an indicator that counts as such.
    whitespace: bool,
    /// Nothing but indentation and `-`, `?`, `:` indicators on this line so far.
    indention: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Root,
    Item,
    Value,
    SimpleKey,
}

#[derive(Clone, Copy, PartialEq)]
enum Style {
    Plain,
    SingleQuoted,
    DoubleQuoted,
    Literal,
}

impl Emitter {
    fn node(&mut self, value: &Json, place: Place) {
        // What is indented can come to far more than what it is made of.
        if self.out.len() > budget::MAX_TEXT {
            return;
        }
        match value {
            Json::Null => self.scalar("null", Style::Plain, place),
            Json::Bool(b) => self.scalar(if *b { "true" } else { "false" }, Style::Plain, place),
            Json::Number(n) => {
                let text = match n.as_f64() {
                    // On its way through JSON "-0" is read as an integer, of which there is but one zero.
                    Some(0.0) => "0".to_owned(),
                    Some(f) if n.is_f64() => number::general(f),
                    _ => n.to_string(),
                };
                self.scalar(&text, Style::Plain, place);
            }
            Json::String(text) => self.string(text, place),
            Json::Array(items) if items.is_empty() => self.empty("[", "]"),
            Json::Object(fields) if fields.is_empty() => self.empty("{", "}"),
            Json::Array(items) => self.sequence(items, place),
            Json::Object(fields) => self.mapping(fields),
        }
    }

    fn empty(&mut self, open: &str, close: &str) {
        self.indicator(open, true, true, false);
        self.indicator(close, false, false, false);
    }

    fn sequence(&mut self, items: &[Json], place: Place) {
        let outer = self.indent;
        let indentless = place == Place::Value && !self.indention;
        if self.indent < 0 {
            self.indent = 0;
        } else if !indentless {
            self.indent += 2;
        }
        for item in items {
            self.write_indent();
            self.indicator("-", true, false, true);
            self.node(item, Place::Item);
        }
        self.indent = outer;
    }

    fn mapping(&mut self, fields: &serde_json::Map<String, Json>) {
        let outer = self.indent;
        self.indent = if self.indent < 0 { 0 } else { self.indent + 2 };
        let mut entries: Vec<_> = fields.iter().collect();
        entries.sort_by(|a, b| natural(a.0, b.0));
        for (key, value) in entries {
            self.write_indent();
            if key.len() <= 128 && !key.chars().any(is_break) {
                self.string(key, Place::SimpleKey);
                self.indicator(":", false, false, false);
            } else {
                self.indicator("?", true, false, true);
                self.string(key, Place::Value);
                self.write_indent();
                self.indicator(":", true, false, true);
            }
            self.node(value, Place::Value);
        }
        self.indent = outer;
    }

    fn string(&mut self, text: &str, place: Place) {
        let style = if text.contains('\n') {
            Style::Literal
        } else if resolve::needs_quotes(text) {
            Style::DoubleQuoted
        } else {
            Style::Plain
        };
        self.scalar(text, style, place);
    }

    fn scalar(&mut self, text: &str, style: Style, place: Place) {
        let style = Analysis::of(text).allowed_style(style, place);
        let outer = self.indent;
        self.indent = if self.indent < 0 { 2 } else { self.indent + 2 };
        let may_fold = place != Place::SimpleKey;
        match style {
            Style::Plain => self.plain(text, may_fold),
            Style::SingleQuoted => self.single_quoted(text, may_fold),
            Style::DoubleQuoted => self.double_quoted(text, may_fold),
            Style::Literal => self.literal(text),
        }
        self.indent = outer;
    }

    fn plain(&mut self, text: &str, may_fold: bool) {
        if !self.whitespace {
            self.put(' ');
        }
        let mut spaces = false;
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            if c == ' ' {
                if may_fold && !spaces && self.column > BEST_WIDTH && chars.peek() != Some(&' ') {
                    self.write_indent();
                } else {
                    self.put(c);
                }
                spaces = true;
            } else {
                self.put(c);
                self.indention = false;
                spaces = false;
            }
        }
        self.whitespace = false;
        self.indention = false;
    }

    fn single_quoted(&mut self, text: &str, may_fold: bool) {
        self.indicator("'", true, false, false);
        let (mut spaces, mut breaks) = (false, false);
        for (i, c) in text.char_indices() {
            if c == ' ' {
                let inner = i > 0 && i < text.len() - 1 && !text[i + 1..].starts_with(' ');
                if may_fold && !spaces && self.column > BEST_WIDTH && inner {
                    self.write_indent();
                } else {
                    self.put(c);
                }
                spaces = true;
            } else if is_break(c) {
                if !breaks && c == '\n' {
                    self.put_break('\n');
                }
                self.put_break(c);
                self.indention = true;
                breaks = true;
            } else {
                if breaks {
                    self.write_indent();
                }
                if c == '\'' {
                    self.put(c);
                }
                self.put(c);
                self.indention = false;
                spaces = false;
                breaks = false;
            }
        }
        self.indicator("'", false, false, false);
        self.whitespace = false;
        self.indention = false;
    }

    fn double_quoted(&mut self, text: &str, may_fold: bool) {
        self.indicator("\"", true, false, false);
        // go-yaml looks for a byte order mark at the start of the text whatever the position: then all is escaped.
        let escape_all = text.starts_with('\u{feff}');
        let mut spaces = false;
        for (i, c) in text.char_indices() {
            if escape_all || !is_printable(c) || is_break(c) || c == '"' || c == '\\' {
                self.escape(c);
                spaces = false;
            } else if c == ' ' {
                if may_fold && !spaces && self.column > BEST_WIDTH && i > 0 && i < text.len() - 1 {
                    self.write_indent();
                    if text[i + 1..].starts_with(' ') {
                        self.put('\\');
                    }
                } else {
                    self.put(c);
                }
                spaces = true;
            } else {
                self.put(c);
                spaces = false;
            }
        }
        self.indicator("\"", false, false, false);
        self.whitespace = false;
        self.indention = false;
    }

    fn escape(&mut self, c: char) {
        let text = match c {
            '\0' => "\\0".to_owned(),
            '\x07' => "\\a".to_owned(),
            '\x08' => "\\b".to_owned(),
            '\t' => "\\t".to_owned(),
            '\n' => "\\n".to_owned(),
            '\x0b' => "\\v".to_owned(),
            '\x0c' => "\\f".to_owned(),
            '\r' => "\\r".to_owned(),
            '\x1b' => "\\e".to_owned(),
            '"' => "\\\"".to_owned(),
            '\\' => "\\\\".to_owned(),
            '\u{85}' => "\\N".to_owned(),
            '\u{a0}' => "\\_".to_owned(),
            '\u{2028}' => "\\L".to_owned(),
            '\u{2029}' => "\\P".to_owned(),
            c if u32::from(c) <= 0xff => format!("\\x{:02X}", u32::from(c)),
            c if u32::from(c) <= 0xffff => format!("\\u{:04X}", u32::from(c)),
            c => format!("\\U{:08X}", u32::from(c)),
        };
        for c in text.chars() {
            self.put(c);
        }
    }

    fn literal(&mut self, text: &str) {
        self.indicator("|", true, false, false);
        let mut chars = text.chars();
        if chars.next().is_some_and(|c| c == ' ' || is_break(c)) {
            self.indicator("2", false, false, false);
        }
        let mut backwards = text.chars().rev();
        let chomp = match (backwards.next(), backwards.next()) {
            (Some(last), before) if is_break(last) => match before {
                Some(before) if !is_break(before) => "",
                _ => "+",
            },
            _ => "-",
        };
        if !chomp.is_empty() {
            self.indicator(chomp, false, false, false);
        }
        self.put_break('\n');
        self.indention = true;
        self.whitespace = true;
        let mut breaks = true;
        for c in text.chars() {
            if is_break(c) {
                self.put_break(c);
                self.indention = true;
                breaks = true;
            } else {
                if breaks {
                    self.write_indent();
                }
                self.put(c);
                self.indention = false;
                breaks = false;
            }
        }
    }

    fn indicator(&mut self, text: &str, needs_space: bool, whitespace: bool, indention: bool) {
        if needs_space && !self.whitespace {
            self.put(' ');
        }
        for c in text.chars() {
            self.put(c);
        }
        self.whitespace = whitespace;
        self.indention = self.indention && indention;
    }

    fn write_indent(&mut self) {
        let indent = self.indent.max(0) as usize;
        if !self.indention || self.column > indent || (self.column == indent && !self.whitespace) {
            self.put_break('\n');
        }
        while self.column < indent {
            self.put(' ');
        }
        self.whitespace = true;
        self.indention = true;
    }

    fn put(&mut self, c: char) {
        self.out.push(c);
        self.column += 1;
    }

    fn put_break(&mut self, c: char) {
        self.out.push(c);
        self.column = 0;
    }
}

/// Which styles a scalar's characters leave open.
struct Analysis {
    empty: bool,
    multiline: bool,
    plain: bool,
    single_quoted: bool,
    block: bool,
}

impl Analysis {
    fn of(text: &str) -> Self {
        if text.is_empty() {
            return Self { empty: true, multiline: false, plain: true, single_quoted: true, block: false };
        }
        let mut indicators = text.starts_with("---") || text.starts_with("...");
        let (mut breaks, mut special) = (false, false);
        let (mut break_space, mut space_break) = (false, false);
        let mut previous: Option<char> = None;
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let next = chars.peek().copied();
            let before_blank = next.is_none_or(|n| n == ' ' || n == '\t');
            let after_blank = previous.is_none_or(|p| p == ' ' || p == '\t' || p == '\0' || is_break(p));
            indicators |= match (previous, c) {
                (
                    None,
                    '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`',
                ) => true,
                (None, '?' | ':' | '-') => before_blank,
                (Some(_), ':') => before_blank,
                (Some(_), '#') => after_blank,
                _ => false,
            };
            special |= !is_printable(c);
            if c == ' ' {
                break_space |= previous.is_some_and(is_break);
            } else if is_break(c) {
                breaks = true;
                space_break |= previous == Some(' ');
            }
            previous = Some(c);
        }
        let edge = |c: Option<char>| c.is_some_and(|c| c == ' ' || is_break(c));
        let (first, last) = (text.chars().next(), text.chars().next_back());
        Self {
            empty: false,
            multiline: breaks,
            plain: !(edge(first) || edge(last) || break_space || space_break || special || breaks || indicators),
            single_quoted: !(break_space || space_break || special),
            block: !(last == Some(' ') || space_break || special),
        }
    }

    fn allowed_style(&self, wanted: Style, place: Place) -> Style {
        let key = place == Place::SimpleKey;
        let mut style = wanted;
        if key && self.multiline {
            style = Style::DoubleQuoted;
        }
        if style == Style::Plain && (!self.plain || (self.empty && key)) {
            style = Style::SingleQuoted;
        }
        if style == Style::SingleQuoted && !self.single_quoted {
            style = Style::DoubleQuoted;
        }
        if style == Style::Literal && (!self.block || key) {
            style = Style::DoubleQuoted;
        }
        style
    }
}

fn is_break(c: char) -> bool {
    matches!(c, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// go-yaml's notion, in which a tab is not printable and neither is anything beyond the basic plane.
fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}') && c != '\u{feff}'
}

/// Letters before digits' values, numbers inside by value: `a2` before `a10`, `_` before `a`.
fn natural(a: &str, b: &str) -> Ordering {
    if natural_less(a, b) {
        Ordering::Less
    } else if natural_less(b, a) {
        Ordering::Greater
    } else {
        Ordering::Equal
    }
}

fn natural_less(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let Some(i) = a.iter().zip(&b).position(|(x, y)| x != y) else { return a.len() < b.len() };
    let (x, y) = (a[i], b[i]);
    match (x.is_alphabetic(), y.is_alphabetic()) {
        (true, true) => return x < y,
        (false, false) => {}
        (_, y_is_letter) => return y_is_letter,
    }
    // A zero that continues a number is compared as a digit of it, not as a leading zero.
    let mut lead = 0i64;
    if x == '0' || y == '0' {
        for c in a[..i].iter().rev().take_while(|c| c.is_ascii_digit()) {
            if *c != '0' {
                lead = 1;
                break;
            }
        }
    }
    let run = |s: &[char]| {
        let digits = s.iter().take_while(|c| c.is_ascii_digit());
        digits.fold((0usize, lead), |(length, value), c| {
            let digit = i64::from(c.to_digit(10).unwrap_or(0));
            (length + 1, value.wrapping_mul(10).wrapping_add(digit))
        })
    };
    let ((x_length, x_value), (y_length, y_value)) = (run(&a[i..]), run(&b[i..]));
    if x_value != y_value {
        return x_value < y_value;
    }
    if x_length != y_length {
        return x_length < y_length;
    }
    x < y
}
