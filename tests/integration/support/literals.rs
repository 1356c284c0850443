//! The string literals of Rust sources.

use std::fs;
use std::path::{Path, PathBuf};

/// All `.rs` files below a folder, sorted.
pub fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The string literals of a source, comments left out, with their escapes and continued lines undone.
pub fn literals(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(at) = rest.find(['"', '/', '\'', 'r']) {
        let (before, here) = rest.split_at(at);
        let is_word = before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        if here.starts_with("//") {
            rest = here.split_once('\n').map_or("", |(_, behind)| behind);
        } else if let Some(behind) = here.strip_prefix('"') {
            let (text, behind) = quoted(behind);
            found.push(text);
            rest = behind;
        } else if let Some(hashes) = here.strip_prefix('r').filter(|_| !is_word).and_then(raw) {
            let end = format!("\"{hashes}");
            let (text, behind) = here[2 + hashes.len()..].split_once(&end).unwrap_or_default();
            found.push(text.to_owned());
            rest = behind;
        } else if here.starts_with("'\"'") || here.starts_with("'\\") {
            rest = here[3..].trim_start_matches('\'');
        } else {
            rest = &here[here.chars().next().map_or(1, char::len_utf8)..];
        }
    }
    found
}

/// The hashes of a raw string that begins behind its `r`.
fn raw(behind: &str) -> Option<&str> {
    let hashes = behind.len() - behind.trim_start_matches('#').len();
    behind[hashes..].starts_with('"').then(|| &behind[..hashes])
}

/// A literal behind its first quote, and what follows.
fn quoted(source: &str) -> (String, &str) {
    let mut text = String::new();
    let mut at = source.char_indices().peekable();
    while let Some((place, c)) = at.next() {
        match c {
            '"' => return (text, &source[place + 1..]),
            '\\' => match at.next() {
                Some((_, '\n')) => while at.next_if(|(_, c)| c.is_whitespace()).is_some() {},
                Some((_, 'n')) => text.push('\n'),
                Some((_, c)) => text.push(c),
                None => {}
            },
            c => text.push(c),
        }
    }
    (text, "")
}

#[test]
fn literals_are_what_the_compiler_takes_for_them() {
    let source = concat!(
        "// \"no\"\nlet a = \"one \\\n      two\"; let b = '\"'; let c = r#\"three \"four\"#; for r in x { } f(\"fi\\\"ve\", '\\'', \"six\") // \"no\"\n",
        "let d = r\"seven\";"
    );
    assert_eq!(literals(source), ["one two", "three \"four", "fi\"ve", "six", "seven"]);
}
