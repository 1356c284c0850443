//! A field of a Kubernetes object that changes, as a plan shows it in a line: `spec.replicas: "1" -> "2" (set by kubectl-edit)`.

use std::fmt;

/// In place of an object's name: what changes alike in several objects, such as the labels by which charts tell their version.
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
        let side = |value: &Option<String>| {
            value.as_ref().map_or_else(|| "(none)".to_owned(), |value| serde_json::json!(value).to_string())
        };
        write!(out, "{}: {} -> {}", self.path, side(&self.before), side(&self.after))?;
        match &self.manager {
            Some(manager) => write!(out, " (set by {manager})"),
            None => Ok(()),
        }
    }
}

impl FieldChange {
    /// Reads a line as [`fmt::Display`] writes it, whatever is noted behind it; `None` where it is no such line.
    pub fn parse(line: &str) -> Option<FieldChange> {
        let signs = [": \"", ": (none)"];
        let at = signs.iter().filter_map(|sign| line.find(sign)).min()?;
        let (path, rest) = line.split_at(at);
        let (before, rest) = side(rest.strip_prefix(": ")?)?;
        let (after, note) = side(rest.strip_prefix(" -> ")?)?;
        let manager = note.strip_prefix(" (set by ").and_then(|note| note.strip_suffix(')')).map(str::to_owned);
        Some(FieldChange { path: path.to_owned(), before, after, manager })
    }
}

/// A value as JSON writes a text, or none; and what follows it.
fn side(text: &str) -> Option<(Option<String>, &str)> {
    if let Some(rest) = text.strip_prefix("(none)") {
        return Some((None, rest));
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
            ("data[\"\u{202e}\"]", text(""), text("\u{202e}\n"), None),
        ] {
            let change = FieldChange { path: path.to_owned(), before, after, manager };
            assert_eq!(FieldChange::parse(&change.to_string()), Some(change));
        }
        assert_eq!(FieldChange::parse("x: \"1\" -> (none) (in 4 objects)").unwrap().manager, None);
    }

    #[test]
    fn what_is_no_such_line_is_none() {
        for line in [
            "",
            "every field: written anew",
            "x: 1 -> 2",
            ": \"",
            "x: \"1",
            "x: \"1\"",
            "x: \"1\" -> ",
            "x: (none) -> 2",
        ] {
            assert_eq!(FieldChange::parse(line), None, "{line}");
        }
    }
}
