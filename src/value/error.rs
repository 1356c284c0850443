//! Why a value does not fit a type, and at which path.

use super::{NumberError, Path, Step};

/// A value that does not fit, and where.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{}{problem}", if path.is_empty() { String::new() } else { format!("{path}: ") })]
pub struct Error {
    pub path: Path,
    pub problem: Problem,
}

/// What is wrong with a value. The texts never quote the value: it may be a secret.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Problem {
    #[error("expected {expected}, found {found}")]
    Expected { expected: String, found: &'static str },
    #[error("a value is required, found null")]
    Null,
    #[error("the value is not known yet")]
    Unknown,
    #[error("attribute {0:?} is missing")]
    MissingAttribute(String),
    #[error("attribute {0:?} is not part of the schema")]
    UnexpectedAttribute(String),
    #[error("expected {expected} elements, found {found}")]
    Length { expected: usize, found: usize },
    #[error("{0}")]
    Number(NumberError),
    #[error("a whole number between {min} and {max} is required")]
    NotWhole { min: i64, max: i64 },
    #[error("a string is not UTF-8")]
    Utf8,
    #[error("the encoded value ends too early")]
    Truncated,
    #[error("{0} bytes follow the encoded value")]
    Trailing(usize),
    #[error("the value nests too deeply")]
    TooDeep,
    #[error("the type of a dynamic value is malformed")]
    Type,
    #[error("the encoded value is malformed: {0}")]
    Malformed(String),
}

impl Error {
    pub fn new(problem: Problem) -> Self {
        Self { path: Path::empty(), problem }
    }

    pub fn expected(expected: impl Into<String>, found: &'static str) -> Self {
        Self::new(Problem::Expected { expected: expected.into(), found })
    }

    /// The same error, seen from one step further out. Decoders add steps while they unwind, so that success costs
    /// no paths.
    pub fn within(self, step: Step) -> Self {
        Self { path: self.path.within(step), problem: self.problem }
    }

    pub fn in_attr(self, name: &str) -> Self {
        self.within(Step::Attr(name.to_owned()))
    }

    pub fn in_key(self, key: &str) -> Self {
        self.within(Step::Key(key.to_owned()))
    }

    pub fn in_index(self, index: usize) -> Self {
        self.within(Step::Index(index as u64))
    }
}
