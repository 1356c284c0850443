//! Texts as they are configured: what nobody can see in them is refused, whatever the attribute.
//!
//! Two names that look alike and are not, a line feed that a file left behind, a mark that turns the order of what
//! follows: each reaches a cluster as a name of something else, and a plan that shows it shows nothing.

use super::{Attribute, Nesting, Shape};
use crate::diag::{Diagnostic, Diagnostics, hides};
use crate::value::{Dyn, Path};

/// Refuses texts and keys that hold what does not show. Whether there were any.
pub fn unfit_text(attribute: &Attribute, value: &Dyn, path: &Path, diagnostics: &mut Diagnostics) -> bool {
    let before = diagnostics.len();
    match &attribute.shape {
        // What is nested has attributes of its own.
        Shape::Nested(nested) if nested.nesting == Nesting::Map => keys(value, path, diagnostics),
        Shape::Nested(_) => {}
        Shape::Type(_) => {
            let rule = Rule { many_lines: attribute.document, free_ends: attribute.document || attribute.sensitive };
            rule.walk(value, path, diagnostics);
        }
    }
    diagnostics.len() > before
}

#[derive(Clone, Copy)]
struct Rule {
    many_lines: bool,
    free_ends: bool,
}

impl Rule {
    fn walk(self, value: &Dyn, path: &Path, diagnostics: &mut Diagnostics) {
        match value {
            Dyn::String(text) => diagnostics.extend(self.complaint(text).map(|complaint| complaint.at(path.clone()))),
            Dyn::List(elements) | Dyn::Tuple(elements) => {
                elements.iter().enumerate().for_each(|(i, element)| self.walk(element, &path.index(i), diagnostics));
            }
            // Elements of a set have no address.
            Dyn::Set(elements) => elements.iter().for_each(|element| self.walk(element, path, diagnostics)),
            Dyn::Map(elements) => {
                keys(value, path, diagnostics);
                elements.iter().for_each(|(key, element)| self.walk(element, &path.key(key), diagnostics));
            }
            Dyn::Object(members) => {
                members.iter().for_each(|(name, member)| self.walk(member, &path.attr(name), diagnostics));
            }
            Dyn::Dynamic(_, inner) => self.walk(inner, path, diagnostics),
            Dyn::Null | Dyn::Unknown(_) | Dyn::Bool(_) | Dyn::Number(_) => {}
        }
    }

    fn complaint(self, text: &str) -> Option<Diagnostic> {
        // Editors put a byte order mark before a document, and every reader of one takes it off.
        let text = if self.many_lines { text.strip_prefix('\u{feff}').unwrap_or(text) } else { text };
        let is_line_end = |c: char| matches!(c, '\n' | '\r' | '\t');
        if let Some(odd) = text.chars().find(|c| hides(*c) && !is_line_end(*c)) {
            let detail = format!(
                "This text holds the character U+{:04X}, which does not show or changes how what follows is shown. Remove it; it often comes along when a text is copied.",
                u32::from(odd)
            );
            return Some(Diagnostic::error("An invisible character").detail(detail));
        }
        let inner = text.trim();
        // What is blank altogether is for the rules of the attribute to judge.
        if !self.free_ends && inner.len() < text.len() && !inner.is_empty() {
            let detail = "This text begins or ends with white space, which a file or a command often leaves behind. Take it off with `trimspace()`.";
            return Some(Diagnostic::error("White space around a text").detail(detail));
        }
        (!self.many_lines && text.contains(is_line_end) && !inner.is_empty()).then(|| {
            let detail = "This text holds a line feed or a tab, but it must be one line. If it comes from a file, `trimspace()` takes off the line feed at its end.";
            Diagnostic::error("More than one line").detail(detail)
        })
    }
}

fn keys(value: &Dyn, path: &Path, diagnostics: &mut Diagnostics) {
    let Dyn::Map(elements) = value else { return };
    for key in elements.keys() {
        let complaint = match key.trim().is_empty() {
            true => Some(Diagnostic::error("An empty key").detail("A key names its element, so it cannot be empty.")),
            false => Rule { many_lines: false, free_ends: false }.complaint(key),
        };
        diagnostics.extend(complaint.map(|complaint| complaint.at(path.key(key))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Type;

    fn complaints(attribute: &Attribute, value: Dyn) -> Vec<String> {
        let mut found = Diagnostics::new();
        unfit_text(attribute, &value, &Path::root("x"), &mut found);
        found.iter().map(|one| format!("{}: {}", one.path.clone().unwrap_or_default(), one.summary)).collect()
    }

    #[test]
    fn what_does_not_show_is_refused_at_its_place() {
        let name = Attribute::new("x", Shape::Type(Type::String));
        for fine in ["east", "Ä é \u{1F469}\u{200D}\u{1F4BB}", "", " "] {
            assert_eq!(complaints(&name, fine.into()), Vec::<String>::new(), "{fine:?}");
        }
        for (odd, summary) in [
            ("a\u{200b}b", "An invisible character"),
            ("a\0", "An invisible character"),
            ("\u{feff}a", "An invisible character"),
            ("a\n", "White space around a text"),
            ("\u{a0}a", "White space around a text"),
            ("a\nb", "More than one line"),
        ] {
            assert_eq!(complaints(&name, odd.into()), [format!("x: {summary}")], "{odd:?}");
        }
        let list = Attribute::new("x", Shape::Type(Type::list(Type::String)));
        assert_eq!(complaints(&list, vec!["a", "b\u{202e}"].into()), ["x[1]: An invisible character"]);
        let map = Attribute::new("x", Shape::Type(Type::map(Type::String))).document();
        let odd = Dyn::Map([("".to_owned(), "a\nb\n".into()), ("b ".to_owned(), "c".into())].into());
        assert_eq!(complaints(&map, odd), ["x[\"\"]: An empty key", "x[\"b \"]: White space around a text"]);
    }

    #[test]
    fn documents_have_lines_and_secrets_their_ends() {
        let document = Attribute::new("x", Shape::Type(Type::String)).document();
        assert_eq!(complaints(&document, "\u{feff}a:\r\n\tb\n".into()), Vec::<String>::new());
        assert_eq!(complaints(&document, "a: \u{1b}[2J".into()), ["x: An invisible character"]);
        let secret = Attribute::new("x", Shape::Type(Type::String)).sensitive();
        assert_eq!(complaints(&secret, " p ".into()), Vec::<String>::new());
        assert_eq!(complaints(&secret, "p\n".into()), ["x: More than one line"]);
    }
}
