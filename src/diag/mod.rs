//! Diagnostics: what a user reads when something is wrong.
//!
//! A summary in the user's words, a detail with cause and remedy, and the attribute it is about. Never a secret, never
//! the text of an encoded value.

mod change;

pub use change::{ALIKE, FieldChange};

use crate::value::{self, Path};

mod shown;

pub use shown::{hides, shown};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
}

/// One message to the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    pub severity: Severity,
    pub summary: String,
    pub detail: String,
    pub path: Option<Path>,
}

/// The messages of one call, in the order they arose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostic {
    pub fn error(summary: impl Into<String>) -> Self {
        Self { severity: Severity::Error, summary: shown(summary.into()), detail: String::new(), path: None }
    }

    pub fn warning(summary: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(summary) }
    }

    /// What only a defect of this provider can cause.
    pub fn bug(detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self::error("Provider bug").detail(format!(
            "{detail}\n\nThis is a defect of the provider, not of your configuration. Please report it to its developers."
        ))
    }

    pub fn detail(self, detail: impl Into<String>) -> Self {
        Self { detail: shown(detail.into()), ..self }
    }

    /// The attribute this is about; the empty path stands for the whole body.
    pub fn at(self, path: impl Into<Path>) -> Self {
        let path = path.into();
        Self { path: (!path.is_empty()).then_some(path), ..self }
    }

    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// Summary, attribute and detail in one text, as logs and tests want it.
impl std::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.summary)?;
        if let Some(path) = &self.path {
            write!(f, " ({path})")?;
        }
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}

/// A value that the codecs or a model refused.
impl From<value::Error> for Diagnostic {
    fn from(error: value::Error) -> Self {
        Self::error("Unsuitable value").detail(format!("{}.", capitalised(&error.problem.to_string()))).at(error.path)
    }
}

impl Diagnostics {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn push(&mut self, diagnostic: impl Into<Diagnostic>) {
        self.0.push(diagnostic.into());
    }

    /// Adds an error at a path.
    pub fn error_at(&mut self, path: impl Into<Path>, summary: impl Into<String>, detail: impl Into<String>) {
        self.push(Diagnostic::error(summary).detail(detail).at(path));
    }

    pub fn append(&mut self, other: impl Into<Diagnostics>) {
        self.0.extend(other.into().0);
    }

    pub fn has_errors(&self) -> bool {
        self.0.iter().any(Diagnostic::is_error)
    }

    /// `Err` with everything said so far if any of it is an error.
    pub fn check(&mut self) -> Result<(), Diagnostics> {
        if self.has_errors() { Err(std::mem::take(self)) } else { Ok(()) }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Extend<Diagnostic> for Diagnostics {
    fn extend<I: IntoIterator<Item = Diagnostic>>(&mut self, diagnostics: I) {
        self.0.extend(diagnostics);
    }
}

impl FromIterator<Diagnostic> for Diagnostics {
    fn from_iter<I: IntoIterator<Item = Diagnostic>>(diagnostics: I) -> Self {
        Self(diagnostics.into_iter().collect())
    }
}

impl<D: Into<Diagnostic>> From<D> for Diagnostics {
    fn from(diagnostic: D) -> Self {
        Self(vec![diagnostic.into()])
    }
}

impl std::fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, diagnostic) in self.0.iter().enumerate() {
            write!(f, "{}{diagnostic}", if i > 0 { "\n" } else { "" })?;
        }
        Ok(())
    }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
