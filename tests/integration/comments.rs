//! Comments are wrapped where code is. rustfmt wraps code alone, unless it is built for nightly.
//!
//! `UPDATE_GENERATED=1` wraps those that are too long. It fills a paragraph only where one of its lines is too long,
//! and leaves tables and fenced blocks as they are.

use std::fs;
use std::path::{Path, PathBuf};

/// As `max_width` in rustfmt.toml.
const WIDTH: usize = 120;

/// Folders with files that people write.
const FOLDERS: &[&str] = &["src", "tests", "examples", "scripts", ".github"];

#[test]
fn comments_are_as_wide_as_code() {
    let update = std::env::var_os("UPDATE_GENERATED").is_some();
    let (mut read, mut long) = (0, Vec::new());
    for file in files() {
        let Some(marks) = marks(&file) else { continue };
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let wrapped = wrapped(&text, marks);
        read += 1;
        if wrapped != text {
            if update {
                fs::write(&file, wrapped).unwrap();
            } else {
                let at = text.lines().zip(wrapped.lines()).position(|(is, should)| is != should).unwrap_or_default();
                long.push(format!("{}:{}", file.display(), at + 1));
            }
        }
    }
    assert!(read > 300, "{read}");
    assert!(long.is_empty(), "comments of more than {WIDTH} columns; UPDATE_GENERATED=1 wraps them: {long:#?}");
}

#[test]
fn what_is_too_long_is_filled_and_nothing_else() {
    let rust = |text: &str| wrapped(text, &["///", "//!", "//"]);
    let words = |count: usize| vec!["four"; count].join(" ");
    let long = format!("    /// {}\n    /// end.\n    fn f() {{}}\n", words(30));
    let filled = format!("    /// {}\n    /// {} end.\n    fn f() {{}}\n", words(22), words(8));
    assert_eq!(rust(&long), filled);
    assert_eq!(rust(&filled), filled);
    let short = "// one\n// two\n";
    assert_eq!(rust(short), short);
    let item = format!("/// - {}\n/// - two\n", words(30));
    assert_eq!(rust(&item), format!("/// - {}\n///   {}\n/// - two\n", words(23), words(7)));
    for kept in [
        format!("/// | {} |\n", words(30)),
        format!("/// ```\n/// {}\n/// ```\n", words(30)),
        format!("let a = \"{}\"; // b\n", words(30)),
        format!("/// {}\n", "x".repeat(130)),
    ] {
        assert_eq!(rust(&kept), kept);
    }
    // A span of code stays on one line, and nothing that only looks like an item begins one.
    let span = format!("// {} `four four`\n", words(22));
    assert_eq!(rust(&span), format!("// {}\n// `four four`\n", words(22)));
    let dash = format!("// {} sixsixx - four\n", words(22));
    assert_eq!(rust(&dash), format!("// {}\n// sixsixx - four\n", words(22)));
    let nested = format!("//   - {}\n", words(30));
    assert_eq!(rust(&nested), format!("//   - {}\n//     {}\n", words(22), words(8)));
    let shell = format!("#!/bin/sh\n## {0}\n  # {0}\n", words(30));
    assert_eq!(
        wrapped(&shell, &["#"]),
        format!("#!/bin/sh\n## {0}\n  # {1}\n  # {2}\n", words(30), words(23), words(7))
    );
}

fn files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut open: Vec<PathBuf> = FOLDERS.iter().map(|folder| root.join(folder)).collect();
    let mut found = vec![root.join("Makefile"), root.join("Cargo.toml")];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let inside = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
            open.extend(inside.filter(|path| !path.file_name().unwrap().to_string_lossy().starts_with('.')));
        } else {
            found.push(path);
        }
    }
    // What programs wrote, and what is compared byte by byte.
    let is_generated =
        |file: &PathBuf| ["src/plugin/proto", "tests/fixtures"].iter().any(|at| file.starts_with(root.join(at)));
    found.retain(|file| !is_generated(file));
    found.sort();
    found
}

/// What comments of a file begin with.
fn marks(file: &Path) -> Option<&'static [&'static str]> {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("rs" | "go") => Some(&["///", "//!", "//"]),
        Some("tf" | "hcl" | "yaml" | "yml" | "sh" | "toml") | None => Some(&["#"]),
        _ => None,
    }
}

/// A line of a comment: what stands before its text, and the text.
fn comment<'a>(line: &'a str, marks: &[&str]) -> Option<(&'a str, &'a str)> {
    let indented = line.len() - line.trim_start().len();
    let mark = marks.iter().find(|mark| line[indented..].starts_with(**mark))?;
    let (before, text) = line.split_at(indented + mark.len());
    // `#!`, `##` and `////` are something else.
    (text.is_empty() || text.starts_with(' ')).then(|| (before, text.strip_prefix(' ').unwrap_or(text)))
}

fn wrapped(text: &str, marks: &[&str]) -> String {
    let mut out = String::new();
    let mut open: Vec<&str> = Vec::new();
    let (mut before, mut is_fenced) = ("", false);
    for line in text.split_inclusive('\n') {
        let Some((its_before, inner)) = comment(line.trim_end_matches('\n'), marks) else {
            fill(&mut out, before, &std::mem::take(&mut open));
            is_fenced = false;
            out.push_str(line);
            continue;
        };
        let is_fence = inner.trim_start().starts_with("```");
        let is_alone = is_fence || is_fenced || inner.is_empty() || inner.starts_with(['|', '#']) || is_link(inner);
        is_fenced ^= is_fence;
        if its_before != before || is_alone || item(inner) > 0 {
            fill(&mut out, before, &std::mem::take(&mut open));
        }
        before = its_before;
        match is_alone {
            true => out.push_str(line),
            false => open.push(line),
        }
    }
    fill(&mut out, before, &open);
    out
}

/// Writes a paragraph or an item of a list, whose lines all begin with `before`.
fn fill(out: &mut String, before: &str, lines: &[&str]) {
    if lines.iter().all(|line| line.trim_end().chars().count() <= WIDTH) {
        return out.extend(lines.iter().copied());
    }
    let inner: Vec<&str> = lines.iter().map(|line| line[before.len()..].trim_end()).collect();
    let first = inner[0].strip_prefix(' ').unwrap_or(inner[0]);
    let indented = if item(first) > 0 { first.len() - first.trim_start().len() } else { 0 };
    // One space less than what stands before a word, which brings one itself.
    let mut line = format!("{before}{}", " ".repeat(indented));
    let mut is_empty = true;
    for word in words(&inner.join(" ")) {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(&line);
            out.push('\n');
            line = format!("{before}{}", " ".repeat(item(first)));
        }
        line.push(' ');
        line.push_str(&word);
        is_empty = false;
    }
    out.push_str(&line);
    out.push('\n');
}

/// `[name]: address`
fn is_link(inner: &str) -> bool {
    inner.starts_with('[') && inner.split_once("]: ").is_some_and(|(_, address)| !address.contains(' '))
}

/// How far the text of a list's item is indented; nothing where the line begins none.
fn item(inner: &str) -> usize {
    let indented = inner.len() - inner.trim_start().len();
    let mark = inner.split_whitespace().next().unwrap_or_default();
    let digits = mark.trim_end_matches(['.', ')']);
    let is_number = digits.len() + 1 == mark.len() && digits.chars().all(|c| c.is_ascii_digit()) && !digits.is_empty();
    if ["-", "*", "+"].contains(&mark) || is_number { indented + mark.len() + 1 } else { 0 }
}

/// What is not torn apart: words, spans of code, and a word with a dash behind it that would begin an item of a list.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut is_code = false;
    for (at, word) in text.split_whitespace().enumerate() {
        let begins_item = at > 0 && (item(&format!("{word} x")) > 0 || word.starts_with(['#', '|', '>', '+']));
        match words.last_mut().filter(|_| is_code || begins_item && at > 1) {
            Some(last) => {
                last.push(' ');
                last.push_str(word);
            }
            None => words.push(word.to_owned()),
        }
        is_code ^= word.matches('`').count() % 2 == 1;
    }
    words
}
