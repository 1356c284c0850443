//! YAML as Helm reads and writes it: YAML 1.1 by go-yaml v2, seen through sigs.k8s.io/yaml, which converts to JSON.
//!
//! Written here because no crate does it: `yes` and `0o17` must be resolved as YAML 1.1 does, an under-indented
//! quoted scalar must be accepted, messages and line numbers must be go-yaml's, and the emitter must fold, quote and
//! sort exactly as go-yaml v2, since its output ends up as text inside ConfigMaps.
mod decode;
mod emit;
mod parse;
mod resolve;
mod scalar;
mod scan;

pub(super) use emit::emit;

use serde_json::Value as Json;

use super::budget::Budget;

/// A document that is not YAML, or has no counterpart in JSON; worded as go-yaml and sigs.k8s.io/yaml word it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum Error {
    #[error("error converting YAML to JSON: yaml: {}{problem}", line_prefix(*line))]
    Syntax { line: usize, problem: String },
    #[error("error converting YAML to JSON: {0}")]
    NotJson(String),
    /// Go's words show what the document says.
    #[error("error converting YAML to JSON: {}", .0.words)]
    Quoting(Box<Quoting>),
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Quoting {
    line: usize,
    words: String,
    problem: &'static str,
}

impl Error {
    fn syntax(line: usize, problem: impl Into<String>) -> Self {
        Self::Syntax { line, problem: problem.into() }
    }

    /// Made apart, since what reads a document recurs, and its frames must stay small.
    #[inline(never)]
    fn quoting(line: usize, words: String, problem: &'static str) -> Self {
        Self::Quoting(Box::new(Quoting { line, words, problem }))
    }

    /// The same with nothing out of the document, which may hold secrets, and with the line instead.
    pub(super) fn unquoted(&self) -> String {
        match self {
            Self::Quoting(quoting) => format!("{}{}", line_prefix(quoting.line), quoting.problem),
            Self::Syntax { line, problem } => format!("{}{problem}", line_prefix(*line)),
            Self::NotJson(problem) => problem.clone(),
        }
    }
}

fn line_prefix(line: usize) -> String {
    if line == 0 { String::new() } else { format!("line {line}: ") }
}

/// Reads the first document of `text`; an empty text is null.
pub(super) fn parse(text: &str) -> Result<Json, Error> {
    parse_within(text, &mut Budget::of(text))
}

/// The same of a part of a text, which has one budget for all its parts.
pub(super) fn parse_within(text: &str, budget: &mut Budget) -> Result<Json, Error> {
    if !text.chars().all(allowed) {
        return Err(Error::syntax(0, "control characters are not allowed"));
    }
    parse::Document::read(text, budget)?.decode(budget)
}

/// The characters go-yaml's reader lets through.
pub(super) fn allowed(c: char) -> bool {
    matches!(c,
        '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}
