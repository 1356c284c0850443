//! A field of a Kubernetes object that changes, as a plan shows it in a line:
//! `spec.replicas: 1 -> 2 (set by kubectl-edit)`.

use std::borrow::Cow;
use std::fmt;

/// In place of an object's name: what changes alike in several objects, such as the labels by which charts tell their
/// version.
pub const ALIKE: &str = "several objects";

/// A field before and after.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldChange {
    /// `spec.template.spec.containers[discovery].image`
    pub path: String,
    /// `None` where the field is not set.
    pub before: Option<String>,
    pub after: Option<String>,
    /// The field manager that set it last, where it was not this provider.
    pub manager: Option<String>,
}

impl fmt::Display for FieldChange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {} -> {}", self.path, shown(self.before.as_deref()), shown(self.after.as_deref()))?;
        match &self.manager {
            Some(manager) => write!(out, " (set by {manager})"),
            None => Ok(()),
        }
    }
}

impl FieldChange {
    /// Reads a line as [`fmt::Display`] writes it, whatever is noted behind it; `None` where it is no such line.
    pub fn parse(line: &str) -> Option<FieldChange> {
        let (path, rest) = line.split_at(end_of_path(line)?);
        let (before, rest) = side(rest.strip_prefix(": ")?)?;
        let (after, note) = side(rest.strip_prefix(ARROW)?)?;
        let manager = note.strip_prefix(NOTES[0]).and_then(|note| note.strip_suffix(')')).map(str::to_owned);
        Some(FieldChange { path: path.to_owned(), before, after, manager })
    }
}

const NONE: &str = "(none)";
const ARROW: &str = " -> ";
/// What may be noted behind a change.
const NOTES: [&str; 2] = [" (set by ", " (in "];

/// A value as it is, or as JSON writes it where it could be taken for something else.
fn shown(value: Option<&str>) -> Cow<'_, str> {
    let Some(value) = value else { return NONE.into() };
    let odd = value.trim() != value
        || value.is_empty()
        || value.starts_with(['"', '('])
        || value.chars().any(char::is_control)
        || ends(value).next().is_some();
    if odd { serde_json::json!(value).to_string().into() } else { value.into() }
}

/// Where a value that is written as it is may end.
fn ends(text: &str) -> impl Iterator<Item = usize> {
    [ARROW].into_iter().chain(NOTES).filter_map(|sign| text.find(sign))
}

/// Where a path ends: at the first colon that is not within a quoted key.
fn end_of_path(line: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in line.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ':' if !quoted && line[at..].starts_with(": ") => return (at > 0).then_some(at),
            _ => {}
        }
    }
    None
}

/// A value, and what follows it.
fn side(text: &str) -> Option<(Option<String>, &str)> {
    if let Some(rest) = text.strip_prefix(NONE) {
        return Some((None, rest));
    }
    if !text.starts_with('"') {
        let (value, rest) = text.split_at(ends(text).min().unwrap_or(text.len()));
        return (!value.is_empty()).then(|| (Some(value.to_owned()), rest));
    }
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let value = values.next()?.ok()?;
    Some((Some(value), text.get(values.byte_offset()..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read_as_it_was_written() {
        let text = |text: &str| Some(text.to_owned());
        for (path, before, after, manager) in [
            ("spec.replicas", text("1"), text("2"), None),
            ("metadata.labels[\"a: \\\"b\"]", None, text("a \"b\" -> c (set by d)"), text("kubectl-edit")),
            ("data.x", text("(none)"), None, text("a (b)")),
            ("spec.image", text("docker.io/a:1"), text("sha256:1 (2 bytes)"), text("x")),
            ("data[\"\u{202e}\"]", text(""), text("\u{202e}\n"), None),
        ] {
            let change = FieldChange { path: path.to_owned(), before, after, manager };
            assert_eq!(FieldChange::parse(&change.to_string()), Some(change));
        }
        assert_eq!(FieldChange::parse("x: 1 -> (none) (in 4 objects)").unwrap().manager, None);
    }

    #[test]
    fn what_is_no_such_line_is_none() {
        for line in ["", "every field is written", ": 1 -> 2", "x: \"1", "x: \"1\"", "x: 1", "x: 1 -> "] {
            assert_eq!(FieldChange::parse(line), None, "{line}");
        }
    }
}
