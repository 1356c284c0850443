//! Keeps secrets out: whatever a plan marks as sensitive is taken out at its place on the way in (`blank.rs`), and
//! wherever else it stands on the way out.
//!
//! In between a mark does not blind anybody: a text that is marked somewhere is judged where it is not marked, by its
//! true value. Otherwise an output with the name of a cluster in it would make all clusters one, and hide from
//! policies.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

use aho_corasick::Anchored;
use aho_corasick::automaton::Automaton as _;
use aho_corasick::nfa::contiguous;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use regex::Regex;
use serde_json::Value;

use super::Error;
use crate::schema::names_a_secret;

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
    r"(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\z)",
    // With the lines that follow, as `base64` breaks a long text.
    r"|LS0tLS1CRUdJTiB(?:QUklWQVRF|SU0Eg|FQy|EU0Eg|FTkNS|PUEVO|QR1Ag)[A-Za-z0-9+/]*={0,2}",
    r"(?:\s+[A-Za-z0-9+/]{60,}={0,2})*(?:\s+[A-Za-z0-9+/]+={1,2})?",
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
    marked: contiguous::NFA,
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

/// A part of a text that is not shown.
struct Cut {
    start: usize,
    end: usize,
    of: Of,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Of {
    /// One of the marked texts.
    Marked(usize),
    /// This one, in which several overlap.
    Several(String),
    /// What only looks like a secret.
    Shape,
}

/// Takes what is marked out of texts, and knows the stand-ins that it has given: one text has the same everywhere, and
/// two have two.
#[derive(Debug)]
pub struct Hider<'a> {
    finder: Option<&'a Finder>,
    numbers: RefCell<HashMap<Of, usize>>,
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
            for text in [text.clone()].into_iter().chain(quoted).chain(spellings(text)) {
                texts.push(text);
                patterns.push(Pattern { of, base64: false });
            }
            for text in in_base64(text) {
                texts.push(text);
                patterns.push(Pattern { of, base64: true });
            }
        }
        // Not as tables of all transitions, which take seconds where texts are long.
        let marked = contiguous::NFA::new(&texts);
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

impl Finder {
    /// In their order, without overlaps: what overlaps is one, and the wider part says of what.
    fn cuts(&self, text: &str) -> Vec<Cut> {
        let shapes =
            self.shapes.find_iter(text).map(|found| Cut { start: found.start(), end: found.end(), of: Of::Shape });
        let mut all: Vec<Cut> = self.marked(text).into_iter().chain(shapes).collect();
        all.sort_by_key(|cut| (cut.start, std::cmp::Reverse(cut.end)));
        let mut cuts: Vec<Cut> = Vec::new();
        for cut in all {
            match cuts.last_mut().filter(|last| cut.start < last.end) {
                Some(last) if cut.end <= last.end => {}
                // Neither is the whole of it.
                Some(last) => {
                    let shapes = last.of == Of::Shape || cut.of == Of::Shape;
                    last.end = cut.end;
                    last.of = if shapes { Of::Shape } else { Of::Several(text[last.start..last.end].to_owned()) };
                }
                None => cuts.push(cut),
            }
        }
        cuts
    }

    /// At each place the longest of the marked texts that ends there, so that two that overlap are both found.
    fn marked(&self, text: &str) -> Vec<Cut> {
        let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_=".contains(byte);
        let bytes = text.as_bytes();
        let (mut cuts, mut run) = (Vec::new(), 0..0);
        let Ok(mut state) = self.marked.start_state(Anchored::No) else {
            return vec![Cut { start: 0, end: text.len(), of: Of::Shape }];
        };
        for (at, byte) in bytes.iter().enumerate() {
            state = self.marked.next_state(Anchored::No, state, *byte);
            if !self.marked.is_match(state) {
                continue;
            }
            let longest = self.marked.match_pattern(state, 0);
            let (start, end) = (at + 1 - self.marked.pattern_len(longest), at + 1);
            let Pattern { of, base64 } = self.patterns[longest.as_usize()];
            if base64 && (start < run.start || end > run.end) {
                // What is around a secret in base64 belongs to the same text.
                let before = bytes[..start].iter().rev().take_while(|byte| is_base64(byte)).count();
                let behind = bytes[end..].iter().take_while(|byte| is_base64(byte)).count();
                run = start - before..end + behind;
                cuts.push(Cut { start: run.start, end: run.end, of: Of::Marked(of) });
            } else if !base64 {
                cuts.push(Cut { start, end, of: Of::Marked(of) });
            }
        }
        cuts
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
        self.finder.is_none_or(|finder| !finder.cuts(text).is_empty())
    }

    /// What is marked and what looks like a secret are both looked for in the text as it came: what is cut out for the
    /// one reason could be the beginning by which the other is known.
    fn found(&self, text: &str) -> String {
        let Some(finder) = self.finder else { return HIDDEN.to_owned() };
        let (mut shown, mut from) = (String::with_capacity(text.len()), 0);
        for Cut { start, end, of } in finder.cuts(text) {
            shown.push_str(&text[from..start]);
            shown.push_str(&self.stand_in(of));
            from = end;
        }
        shown + &text[from..]
    }

    /// Numbered in the order in which the page needs them, which says nothing of what is hidden.
    fn stand_in(&self, of: Of) -> String {
        if of == Of::Shape {
            return HIDDEN.to_owned();
        }
        let mut numbers = self.numbers.borrow_mut();
        let next = numbers.len() + 1;
        format!("(sensitive {})", numbers.entry(of).or_insert(next))
    }
}

/// How else a number may be written: a document of values is read, and shows 439041101 for what is marked as
/// 0x1a2b3c4d.
fn spellings(text: &str) -> Vec<String> {
    const LONGEST_NUMBER: usize = 400;
    let may_be = text.len() <= LONGEST_NUMBER && text.contains(|c: char| c.is_ascii_digit());
    let Some(Value::Number(number)) = may_be.then(|| serde_saphyr::from_str(text).ok()).flatten() else {
        return Vec::new();
    };
    let mut all = vec![number.to_string()];
    if let Some(whole) = number.as_u64() {
        all.extend([format!("0x{whole:x}"), format!("0x{whole:X}"), format!("0o{whole:o}"), format!("0{whole:o}")]);
    }
    all.retain(|spelling| spelling.len() >= SHORTEST && spelling != text);
    all
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

    /// The lines of a marked key are those of any other key as well.
    #[test]
    fn a_marked_part_of_a_key_uncovers_no_other_key() {
        let key = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIBase64OfAKey\n-----END EC PRIVATE KEY-----";
        let other = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIOfAnotherKey\n-----END EC PRIVATE KEY-----\n";
        for marked in
            [&[key][..], &["-----BEGIN EC PRIVATE KEY-----"], &["BEGIN EC"], &["PRIVATE KEY-----", "-----END"]]
        {
            for text in [other.to_owned(), format!("{key}\n{other}"), format!("a\n{other}{other}b")] {
                let shown = prepared(marked).hider().hidden(&text);
                assert!(!shown.contains("MHcC") && !shown.contains("KEY"), "{marked:?}: {shown}");
            }
        }
    }

    #[test]
    fn of_two_that_overlap_nothing_is_shown() {
        let secrets = prepared(&["admin:hunter2", "hunter2-of-the-database", "hunter2"]);
        for (text, shown) in [
            ("a admin:hunter2-of-the-database b", "a (sensitive 1) b"),
            ("a admin:hunter2 b hunter2 c", "a (sensitive 1) b (sensitive 2) c"),
        ] {
            assert_eq!(secrets.hider().hidden(text), shown);
        }
        // Two that are put together are still told apart.
        let secrets = prepared(&["prod-", "-east", "-west"]);
        let hider = secrets.hider();
        assert_ne!(hider.hidden("prod-east"), hider.hidden("prod-west"));
    }

    #[test]
    fn a_marked_number_is_hidden_in_any_spelling() {
        for marked in [json!("0x1a2b3c4d"), json!(439_041_101), json!("439041101"), json!("+439041101")] {
            let mut secrets = Secrets::default();
            secrets.all_in(&marked);
            secrets.prepare().unwrap();
            for text in ["439041101", "0x1a2b3c4d", "0x1A2B3C4D", "0o3212636115", "03212636115"] {
                assert_eq!(secrets.hider().hidden(text), "(sensitive 1)", "{marked}: {text}");
            }
        }
        assert_eq!(prepared(&["12345e3"]).hider().hidden("12345000.0"), "(sensitive 1)");
        assert_eq!(prepared(&["0x0001"]).hider().hidden("1 of 10"), "1 of 10");
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
            ("-----BEGIN PGP PRIVATE KEY BLOCK-----\nlQ\n-----END PGP PRIVATE KEY BLOCK----- b", "(sensitive) b"),
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
            (
                "LS0tLS1CRUdJTiBFQyBQUklWQVRFIEtFWS0tLS0tCk1IY0NBUUVFSUlGdTRBSkpN\n  ZUNqUndlRmRDbjJzQm5PZ0RnNVpXaGJnU0ttTm5kMWw5eFV2b0FvR0NDcUdTTTQ5QXdFSG9V\n  UURR==\nb: c",
                "(sensitive)\nb: c",
            ),
            ("ca: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg==", "ca: LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg=="),
            ("docker.io/istio/pilot:1.30.0@sha256:aa", "docker.io/istio/pilot:1.30.0@sha256:aa"),
            ("https://proxy:3128/a@b", "https://proxy:3128/a@b"),
        ] {
            assert_eq!(secrets.hider().hidden(text), shown);
        }
    }
}
