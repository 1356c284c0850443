//! Values that nobody means, for a value of each type.

use terraform_provider_mesh::value::{Dyn, Number, Type};

/// What must become of an odd value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// An error at its place.
    NullElement,
    /// No error.
    Unknown,
    /// An error at its place, or the same as if it were left out.
    Empty,
    /// An error at its place, but for texts that may hold anything.
    Hidden,
    /// An error at its place, or taken for what it is.
    Other,
}

#[derive(Clone, Debug)]
pub struct Odd {
    pub what: String,
    pub sort: Sort,
    pub value: Dyn,
    /// Stands in the place of a text or a number.
    pub is_text: bool,
}

impl Odd {
    pub fn other(what: &str, value: Dyn) -> Self {
        Self { what: what.to_owned(), sort: Sort::Other, value, is_text: true }
    }
}

/// Odd values in place of `given`. An attribute that is null is one that is left out; an element that is null is odd.
pub fn odd_values(given: &Dyn, ty: &Type, element: bool) -> Vec<Odd> {
    let mut found = Vec::new();
    let mut add = |what: &str, sort: Sort, value: Dyn| {
        found.push(Odd { what: what.to_owned(), sort, value, is_text: matches!(ty, Type::String | Type::Number) })
    };
    if element {
        add("null", Sort::NullElement, Dyn::Null);
    }
    add("unknown", Sort::Unknown, Dyn::UNKNOWN);
    match ty {
        Type::String => {
            let text = given.as_str().unwrap_or("x");
            add("empty", Sort::Empty, "".into());
            add("a space", Sort::Empty, " ".into());
            add("tabs and line feeds", Sort::Empty, "\t\n\r\n".into());
            add("a no-break space", Sort::Empty, "\u{a0}".into());
            for (what, odd) in [
                ("a line feed at the end", "\n"),
                ("a space at the end", " "),
                ("a NUL", "\0"),
                ("an escape", "\u{1b}[31m"),
                ("a zero-width space", "\u{200b}"),
                ("a word joiner", "\u{2060}"),
                ("a right-to-left override", "\u{202e}txt"),
                ("an isolate", "\u{2066}"),
                ("a delete", "\u{7f}"),
                ("a next line", "\u{85}"),
                ("a line separator", "\u{2028}"),
            ] {
                add(what, Sort::Hidden, format!("{text}{odd}").into());
            }
            add("a byte order mark first", Sort::Hidden, format!("\u{feff}{text}").into());
            add("a space first", Sort::Hidden, format!(" {text}").into());
            add("a zero-width space in the middle", Sort::Hidden, middle(text, "\u{200b}").into());
            add("combining", Sort::Other, format!("{text}e\u{301}\u{301}\u{301}").into());
            add("astral", Sort::Other, format!("{text}\u{1F600}\u{10ffff}").into());
            add("the last of Unicode alone", Sort::Other, "\u{10ffff}".into());
            add("wide", Sort::Other, "\u{ff45}\u{ff41}\u{ff53}\u{ff54}".into());
            add("long", Sort::Other, "x".repeat(254).into());
            add("huge", Sort::Other, "x".repeat(300_000).into());
            add("huge and deep", Sort::Other, "[".repeat(20_000).into());
            add("dots", Sort::Other, "../..".into());
            add("a slash", Sort::Other, format!("{text}/x").into());
            add("quotes and braces", Sort::Other, "\"'`{{ $x }}${x}%{y}\\".into());
        }
        Type::Number => {
            for number in ["0", "-1", "1.5", "65536", "4294967296", "9223372036854775807", "1e30", "-1e300", "1e-300"] {
                add(number, Sort::Other, Dyn::Number(number.parse::<Number>().expect("a number")));
            }
        }
        Type::Bool => add("the opposite", Sort::Other, Dyn::Bool(given.as_bool() == Some(false))),
        Type::List(inner) => lists(given, inner, &mut add),
        Type::Set(inner) => {
            let elements = if let Dyn::Set(elements) = given { elements.to_vec() } else { Vec::new() };
            add("no element", Sort::Empty, Dyn::set([]));
            add("null as its only element", Sort::NullElement, Dyn::set([Dyn::Null]));
            add("a null more", Sort::NullElement, Dyn::set(elements.into_iter().chain([Dyn::Null])));
            add("an unknown element", Sort::Unknown, Dyn::set([Dyn::UNKNOWN]));
            let _ = inner;
        }
        Type::Map(_) => {
            let mut elements = if let Dyn::Map(elements) = given { elements.clone() } else { Default::default() };
            add("no element", Sort::Empty, Dyn::Map(Default::default()));
            add("null as its only element", Sort::NullElement, Dyn::Map([("a".to_owned(), Dyn::Null)].into()));
            // Of some maps the keys are no choice of the user's: the element has one that there is.
            let key = elements.keys().next().cloned().unwrap_or_else(|| "zz".to_owned());
            let mut with_null = elements.clone();
            with_null.insert("zz".to_owned(), Dyn::Null);
            add("a null more", Sort::NullElement, Dyn::Map(with_null));
            elements.insert(key, Dyn::UNKNOWN);
            add("an unknown element", Sort::Unknown, Dyn::Map(elements));
        }
        Type::Object(_) | Type::Tuple(_) | Type::Dynamic => {}
    }
    found
}

fn lists(given: &Dyn, inner: &Type, add: &mut impl FnMut(&str, Sort, Dyn)) {
    let elements = if let Dyn::List(elements) = given { elements.clone() } else { Vec::new() };
    let with = |more: &[Dyn]| Dyn::List(elements.iter().chain(more).cloned().collect());
    add("no element", Sort::Empty, Dyn::List(Vec::new()));
    add("null as its only element", Sort::NullElement, Dyn::List(vec![Dyn::Null]));
    add("a null more", Sort::NullElement, with(&[Dyn::Null]));
    add("an unknown element", Sort::Unknown, with(&[Dyn::UNKNOWN]));
    add("an element twice", Sort::Other, with(&elements));
    if let (Type::String, Some(first)) = (inner, elements.first()) {
        add("an element two thousand times", Sort::Other, Dyn::List(vec![first.clone(); 2000]));
    }
}

fn middle(text: &str, odd: &str) -> String {
    let at = text.char_indices().nth(text.chars().count() / 2).map_or(0, |(at, _)| at);
    format!("{}{odd}{}", &text[..at], &text[at..])
}
