//! Keeps secrets out: whatever a plan marks as sensitive is taken out at its place on the way in, and wherever else it
//! stands on the way out.
//!
//! In between a mark does not blind anybody: a text that is marked somewhere is judged where it is not marked, by its
//! true value. Otherwise an output with the name of a cluster in it would make all clusters one, and hide from
//! policies.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use regex::Regex;
use serde_json::Value;

use super::Error;
use crate::schema::{Attribute, Nested, Nesting, Shape, names_a_secret};

/// Stands for a value that is not shown.
pub const HIDDEN: &str = "(sensitive)";
/// For one that is not shown and changes.
pub const HIDDEN_ANEW: &str = "(sensitive, changed)";

/// Shorter values are looked for nowhere but at their place: they stand in too many words.
const SHORTEST: usize = 5;
/// Characters of base64 that are taken for a secret's own.
const SHORTEST_ENCODED: usize = 8;
const LONGEST_ENCODED: usize = 64;
/// MiB of marked text that are looked for.
const MOST: usize = 4;

/// What looks like a secret, marked or not: private keys, in base64 too; tokens of Kubernetes, GitHub, GitLab, AWS and
/// Slack; what a URL says of its user.
const SHAPES: &str = concat!(
    r"(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\z)",
    r"|LS0tLS1CRUdJTiB(?:QUklWQVRF|SU0Eg|FQy|EU0Eg|FTkNS|PUEVO)[A-Za-z0-9+/]*={0,2}",
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
    r"|\b(?:gh[oprsu]_|github_pat_|glpat-)[A-Za-z0-9_-]{16,}",
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    r"|\bxox[a-z]-[A-Za-z0-9-]{10,}",
    r"|(?i:\bbearer\s+)[A-Za-z0-9._~+/-]{12,}=*",
    r"|://[^\s/@?#]+@",
);

/// Whether a value is nobody's business, by its path: a key of it names a secret, or it has the word of one anywhere. A
/// reviewer misses less than a reader of a leaked page finds.
pub fn leads_to_a_secret(path: &str) -> bool {
    const WORDS: &[&str] = &[
        "password",
        "passwd",
        "secret",
        "token",
        "apikey",
        "api_key",
        "api-key",
        "credential",
        "privatekey",
        "private_key",
        "private-key",
    ];
    /// Names of such things, not the things.
    const NAMES: &[&str] = &[
        "secretname",
        "secretref",
        "secretkeyref",
        "imagepullsecrets",
        "tokenaudience",
        "jwt_policy",
        "serviceaccounttoken",
        "automountserviceaccounttoken",
    ];
    let lower = path.to_lowercase();
    let has_word = WORDS.iter().any(|word| lower.contains(word));
    let has_key = path.split(['.', '[', ']']).any(names_a_secret);
    (has_word || has_key) && !NAMES.iter().any(|name| lower.contains(name))
}

/// Collects what is marked, then takes it out of texts.
#[derive(Debug, Default)]
pub struct Secrets {
    texts: BTreeSet<String>,
    /// Of all texts.
    bytes: usize,
    finder: Option<Finder>,
}

#[derive(Debug)]
struct Finder {
    marked: AhoCorasick,
    patterns: Vec<Pattern>,
    shapes: Regex,
}

/// What one is of.
#[derive(Debug)]
struct Pattern {
    /// Which of the texts.
    of: usize,
    base64: bool,
}

/// Takes what is marked out of texts, and knows the stand-ins that it has given: one text has the same everywhere, and
/// two have two.
#[derive(Debug)]
pub struct Hider<'a> {
    finder: Option<&'a Finder>,
    numbers: RefCell<HashMap<usize, usize>>,
    known: RefCell<HashMap<String, String>>,
}

impl Secrets {
    /// A change of a resource or an output: both sides and their marks.
    pub fn marked_in_change(&mut self, change: &Value) {
        for (values, marks) in [("before", "before_sensitive"), ("after", "after_sensitive")] {
            self.marked(&change[values], &change[marks]);
        }
    }

    /// A state, or what is planned of one.
    pub fn marked_in_state(&mut self, state: &Value) {
        match state {
            Value::Object(members) => {
                if let (Some(values), Some(marks)) = (members.get("values"), members.get("sensitive_values")) {
                    self.marked(values, marks);
                } else if members.get("sensitive") == Some(&Value::Bool(true)) {
                    members.get("value").into_iter().for_each(|value| self.all_in(value));
                } else {
                    members.values().for_each(|member| self.marked_in_state(member));
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.marked_in_state(item)),
            _ => {}
        }
    }

    pub fn marked(&mut self, value: &Value, marks: &Value) {
        match marks {
            Value::Bool(true) => self.all_in(value),
            Value::Array(marks) => {
                value.as_array().into_iter().flatten().zip(marks).for_each(|(value, marks)| self.marked(value, marks));
            }
            Value::Object(marks) => marks.iter().for_each(|(name, marks)| self.marked(&value[name], marks)),
            _ => {}
        }
    }

    pub fn all_in(&mut self, value: &Value) {
        match value {
            Value::String(text) => {
                let lines = text.lines().filter(|_| text.contains('\n'));
                for text in [text.as_str()].into_iter().chain(lines).map(str::trim) {
                    self.add(text);
                }
            }
            Value::Number(number) => self.add(&number.to_string()),
            Value::Array(items) => items.iter().for_each(|item| self.all_in(item)),
            Value::Object(members) => members.values().for_each(|member| self.all_in(member)),
            Value::Bool(_) | Value::Null => {}
        }
    }

    fn add(&mut self, text: &str) {
        if text.len() >= SHORTEST && self.bytes <= MOST << 20 && self.texts.insert(text.to_owned()) {
            self.bytes += text.len();
        }
    }

    /// After the last of them. An error where not all of them can be looked for.
    pub fn prepare(&mut self) -> Result<(), Error> {
        let too_many = Error::TooManySecrets(MOST);
        if self.bytes > MOST << 20 {
            return Err(too_many);
        }
        let (mut texts, mut patterns) = (Vec::new(), Vec::new());
        for (of, text) in self.texts.iter().enumerate() {
            let quoted = Value::from(text.as_str()).to_string();
            let quoted = (quoted.len() > text.len() + 2).then(|| quoted[1..quoted.len() - 1].to_owned());
            for text in [text.clone()].into_iter().chain(quoted) {
                texts.push(text);
                patterns.push(Pattern { of, base64: false });
            }
            for text in in_base64(text) {
                texts.push(text);
                patterns.push(Pattern { of, base64: true });
            }
        }
        // The longest: one may be the beginning of another. A table of all transitions, which is chosen for a few
        // patterns, takes seconds where these are long.
        let kind = Some(AhoCorasickKind::ContiguousNFA);
        let marked = AhoCorasick::builder().kind(kind).match_kind(MatchKind::LeftmostLongest).build(&texts);
        self.finder = match (marked, Regex::new(SHAPES)) {
            (Ok(marked), Ok(shapes)) => Some(Finder { marked, patterns, shapes }),
            _ => return Err(too_many),
        };
        Ok(())
    }

    pub fn hider(&self) -> Hider<'_> {
        Hider { finder: self.finder.as_ref(), numbers: RefCell::default(), known: RefCell::default() }
    }
}

impl Hider<'_> {
    pub fn hidden(&self, text: &str) -> String {
        if let Some(known) = self.known.borrow().get(text) {
            return known.clone();
        }
        let hidden = self.found(text);
        self.known.borrow_mut().insert(text.to_owned(), hidden.clone());
        hidden
    }

    /// Whether something in it is not shown.
    pub fn hides(&self, text: &str) -> bool {
        self.finder.is_none_or(|finder| finder.marked.is_match(text) || finder.shapes.is_match(text))
    }

    fn found(&self, text: &str) -> String {
        let Some(Finder { marked, patterns, shapes }) = self.finder else { return HIDDEN.to_owned() };
        let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(byte);
        let (mut shown, mut from) = (String::with_capacity(text.len()), 0);
        for found in marked.find_iter(text) {
            let (mut start, mut end) = (found.start().max(from), found.end());
            let pattern = &patterns[found.pattern().as_usize()];
            // What is around a secret in base64 belongs to the same text.
            if pattern.base64 {
                start -= text.as_bytes()[from..start].iter().rev().take_while(|byte| is_base64(byte)).count();
                end += text.as_bytes()[end..].iter().take_while(|byte| is_base64(byte)).count();
            }
            if end > from {
                shown.push_str(&text[from..start]);
                shown.push_str(&self.stand_in(pattern.of));
                from = end;
            }
        }
        shown.push_str(&text[from..]);
        shapes.replace_all(&shown, HIDDEN).into_owned()
    }

    /// Numbered in the order in which the page needs them, which says nothing of what is hidden.
    fn stand_in(&self, text: usize) -> String {
        let mut numbers = self.numbers.borrow_mut();
        let next = numbers.len() + 1;
        format!("(sensitive {})", numbers.entry(text).or_insert(next))
    }
}

/// What of a text is the same in any base64 that it stands in: alone, with a newline behind it, or in the middle of
/// something, as in `user:password`.
fn in_base64(text: &str) -> Vec<String> {
    let mut found = BTreeSet::new();
    // Three bytes are four characters, so a text may begin in three places. The first characters are of both.
    for (before, shared) in [(0, 0), (1, 2), (2, 3)] {
        let bytes = [vec![0; before], text.as_bytes().to_vec()].concat();
        let own = STANDARD_NO_PAD.encode(&bytes[..bytes.len() / 3 * 3]);
        // The beginning of a long one is enough: what follows belongs to it.
        let own = own.get(shared..own.len().min(LONGEST_ENCODED)).filter(|own| own.len() >= SHORTEST_ENCODED);
        found.extend(own.map(str::to_owned));
    }
    if found.is_empty() {
        found.extend(["", "\n"].map(|end| STANDARD_NO_PAD.encode(format!("{text}{end}"))));
    }
    let of_urls: Vec<String> = found.iter().map(|text| text.replace('+', "-").replace('/', "_")).collect();
    found.extend(of_urls);
    found.into_iter().collect()
}

/// Both sides of a change without what is marked.
pub struct Blanked {
    pub before: Value,
    pub after: Value,
    /// Where something hidden differs, on each side: [`PLACE`] in the shape of the values.
    pub hidden: [Value; 2],
}

/// Marks a place whose value is hidden and is not what the other side has.
pub const PLACE: &str = "hidden";

/// Takes out what is marked on either side, and what its schema calls sensitive. That it changes stays visible.
pub fn blank(before: (Value, &Value), after: (Value, &Value), attributes: &[Attribute]) -> Blanked {
    let nested = Nested { nesting: Nesting::Single, attributes: attributes.to_vec() };
    let shape = Shape::Nested(nested);
    let marks = [before.1, after.1];
    let of = |other, anew| Blank { marks, other, shape: Some(&shape), anew };
    let (was, will) = (of(&after.0, HIDDEN), of(&before.0, HIDDEN_ANEW));
    Blanked {
        hidden: [was.places(&before.0), will.places(&after.0)],
        before: was.value(before.0.clone()),
        after: will.value(after.0.clone()),
    }
}

/// A place in one side of a change.
struct Blank<'a> {
    marks: [&'a Value; 2],
    /// What the other side has there.
    other: &'a Value,
    shape: Option<&'a Shape>,
    /// Stands for a hidden value that the other side has not.
    anew: &'static str,
}

impl Blank<'_> {
    fn is_marked(&self) -> bool {
        self.marks.iter().any(|mark| **mark == true)
    }

    fn value(&self, value: Value) -> Value {
        if self.is_marked() {
            return self.hidden(&value);
        }
        match value {
            Value::Object(members) => {
                let member = |(name, value): (String, Value)| {
                    let (secret, inner) = self.member(&name);
                    let value = if secret { inner.hidden(&value) } else { inner.value(value) };
                    (name, value)
                };
                Value::Object(members.into_iter().map(member).collect())
            }
            Value::Array(items) => Value::Array(
                items.into_iter().enumerate().map(|(index, value)| self.item(index).value(value)).collect(),
            ),
            other => other,
        }
    }

    /// Where something that is marked differs. What the schema hides always is nobody's to judge.
    fn places(&self, value: &Value) -> Value {
        let nothing = |places: &Value| places.is_null();
        match value {
            Value::Null => Value::Null,
            value if self.is_marked() => {
                if value == self.other {
                    Value::Null
                } else {
                    PLACE.into()
                }
            }
            Value::Object(members) => {
                let places = members.iter().map(|(name, value)| match self.member(name) {
                    (true, _) => (name.clone(), Value::Null),
                    (false, inner) => (name.clone(), inner.places(value)),
                });
                let places: serde_json::Map<String, Value> = places.filter(|(_, places)| !nothing(places)).collect();
                if places.is_empty() { Value::Null } else { Value::Object(places) }
            }
            Value::Array(items) => {
                let places: Vec<Value> =
                    items.iter().enumerate().map(|(index, value)| self.item(index).places(value)).collect();
                if places.iter().all(nothing) { Value::Null } else { Value::Array(places) }
            }
            _ => Value::Null,
        }
    }

    /// A member, and whether its schema hides it.
    fn member(&self, name: &str) -> (bool, Self) {
        let (secret, shape) = below(self.shape, name);
        (
            secret,
            Blank { marks: self.marks.map(|marks| &marks[name]), other: &self.other[name], shape, anew: self.anew },
        )
    }

    fn item(&self, at: usize) -> Self {
        Blank { marks: self.marks.map(|marks| &marks[at]), other: &self.other[at], shape: self.shape, anew: self.anew }
    }

    fn hidden(&self, value: &Value) -> Value {
        match value {
            Value::Null => Value::Null,
            value if value == self.other => HIDDEN.into(),
            _ => self.anew.into(),
        }
    }
}

/// What the schema says of a member, an attribute or an element of a map: whether it is secret, and what is below.
fn below<'a>(shape: Option<&'a Shape>, name: &str) -> (bool, Option<&'a Shape>) {
    let Some(Shape::Nested(nested)) = shape else { return (false, None) };
    match nested.attributes.iter().find(|attribute| attribute.name == name) {
        Some(attribute) => (attribute.sensitive || attribute.write_only, Some(&attribute.shape)),
        // An element of a map holds the same attributes.
        None => (false, shape),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn prepared(values: &[&str]) -> Secrets {
        let mut secrets = Secrets::default();
        secrets.all_in(&json!(values));
        secrets.prepare().unwrap();
        secrets
    }

    #[test]
    fn what_is_marked_is_found_wherever_else_it_stands() {
        let secrets = prepared(&["hunter2 \"quoted\"", "another", "x"]);
        let hider = secrets.hider();
        for (text, shown) in [
            ("is another there", "is (sensitive 1) there"),
            ("is hunter2 \"quoted\" there", "is (sensitive 2) there"),
            (r#"["hunter2 \"quoted\"", "x"]"#, r#"["(sensitive 2)", "x"]"#),
            ("another aHVudGVyMiAicXVvdGVkIg==", "(sensitive 1) (sensitive 2)"),
        ] {
            assert_eq!(hider.hidden(text), shown);
            assert!(hider.hides(text) && !hider.hides(shown), "{text}");
        }
    }

    #[test]
    fn in_base64_it_is_found_wherever_it_begins() {
        let secret = "correct-horse-battery";
        let secrets = prepared(&[secret, "short"]);
        for text in [
            secret.to_owned(),
            format!("{secret}\n"),
            format!("u:{secret}"),
            format!("us:{secret}"),
            format!("user:{secret}\n"),
            "short".to_owned(),
            "short\n".to_owned(),
        ] {
            for engine in [&STANDARD_NO_PAD, &base64::engine::general_purpose::URL_SAFE_NO_PAD] {
                let encoded = engine.encode(&text);
                let shown = secrets.hider().hidden(&format!("a: {encoded}== b"));
                assert_eq!(shown, "a: (sensitive 1) b", "{text}");
            }
        }
    }

    /// As a plan with the values of many others has them.
    #[test]
    fn thousands_of_marks_are_all_looked_for() {
        let texts: Vec<String> = (0..20_000).map(|number| format!("a-secret-{number:05}")).collect();
        let secrets = prepared(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(secrets.hider().hidden("FOO=a-secret-19999 a-secre"), "FOO=(sensitive 1) a-secre");
        let mut secrets = Secrets::default();
        secrets.all_in(&json!(["x".repeat((MOST << 20) + 1)]));
        assert_eq!(secrets.prepare(), Err(Error::TooManySecrets(MOST)));
    }

    #[test]
    fn what_looks_like_a_secret_goes_unasked() {
        let secrets = prepared(&[]);
        for (text, shown) in [
            ("a -----BEGIN EC PRIVATE KEY-----\nMHcC\n-----END EC PRIVATE KEY----- b", "a (sensitive) b"),
            ("-----BEGIN PRIVATE KEY-----\nMHcC", "(sensitive)"),
            ("token eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0xyz.c2ln end", "token (sensitive) end"),
            ("Authorization: Bearer abcdefghijklmnop", "Authorization: (sensitive)"),
            ("https://user:pass@proxy:3128", "https(sensitive)proxy:3128"),
            ("https://ghp_token@git/a", "https(sensitive)git/a"),
            ("a ghp_0123456789abcdefABCD b", "a (sensitive) b"),
            ("github_pat_11AAAAAAA0123456789_abc", "(sensitive)"),
            ("id AKIAIOSFODNN7EXAMPLE", "id (sensitive)"),
            ("xoxb-1234567890-abcdef", "(sensitive)"),
            ("key: LS0tLS1CRUdJTiBSU0EgUFJJVkFURSBLRVktLS0tLQo= end", "key: (sensitive) end"),
            ("key: LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCg==", "key: (sensitive)"),
            ("ca: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg==", "ca: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg=="),
            ("docker.io/istio/pilot:1.30.0@sha256:aa", "docker.io/istio/pilot:1.30.0@sha256:aa"),
            ("https://proxy:3128/a@b", "https://proxy:3128/a@b"),
        ] {
            assert_eq!(secrets.hider().hidden(text), shown);
        }
    }

    #[test]
    fn a_hidden_value_shows_that_it_changes_and_nothing_else() {
        let (before, after) = (
            json!({ "a": ["one"], "b": { "c": "same" }, "d": null }),
            json!({ "a": ["two"], "b": { "c": "same" }, "d": "new" }),
        );
        let marks = json!({ "a": [true], "b": { "c": true } });
        let blanked = blank((before, &json!({})), (after, &json!({ "d": true })), &[]);
        assert_eq!(
            (&blanked.after["d"], &blanked.hidden),
            (&json!(HIDDEN_ANEW), &[json!(null), json!({ "d": PLACE })])
        );
        let blanked = blank((blanked.before, &marks), (blanked.after, &json!(null)), &[]);
        assert_eq!(blanked.before, json!({ "a": [HIDDEN], "b": { "c": HIDDEN }, "d": null }));
        assert_eq!(blanked.after, json!({ "a": [HIDDEN_ANEW], "b": { "c": HIDDEN }, "d": HIDDEN_ANEW }));
        assert_eq!(blanked.hidden, [json!({ "a": [PLACE] }), json!({ "a": [PLACE] })]);
    }
}
