//! Paths to a value inside a resource, for diagnostics and for rules of replacement.

use std::fmt;

/// Where in a resource a value sits, as Terraform's diagnostics and replacement rules address it.
///
/// Elements of a set cannot be addressed: a path stops at the set.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(Vec<Step>);

/// One step of a [`Path`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// An attribute of an object.
    Attr(String),
    /// An element of a map.
    Key(String),
    /// An element of a list or tuple.
    Index(u64),
}

impl Path {
    /// The whole object.
    pub const fn empty() -> Self {
        Self(Vec::new())
    }

    /// An attribute at the top of the object.
    pub fn root(name: impl Into<String>) -> Self {
        Self::empty().attr(name)
    }

    pub fn attr(&self, name: impl Into<String>) -> Self {
        self.step(Step::Attr(name.into()))
    }

    pub fn key(&self, key: impl Into<String>) -> Self {
        self.step(Step::Key(key.into()))
    }

    pub fn index(&self, index: usize) -> Self {
        self.step(Step::Index(index as u64))
    }

    pub fn step(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// This path, seen from one step further out.
    pub fn within(mut self, step: Step) -> Self {
        self.0.insert(0, step);
        self
    }

    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The attribute at the top that this path lies in.
    pub fn root_attribute(&self) -> Option<&str> {
        match self.0.first() {
            Some(Step::Attr(name)) => Some(name),
            _ => None,
        }
    }
}

impl From<&str> for Path {
    fn from(name: &str) -> Self {
        Self::root(name)
    }
}

impl From<Vec<Step>> for Path {
    fn from(steps: Vec<Step>) -> Self {
        Self(steps)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            match step {
                Step::Attr(name) if i == 0 => f.write_str(name)?,
                Step::Attr(name) => write!(f, ".{name}")?,
                Step::Key(key) => write!(f, "[{key:?}]")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}
