//! The tree of a parsed template. Every node knows its byte offset, for messages, and prints as Go prints it.
use std::fmt;
use std::rc::Rc;

pub(in crate::chart) type Pos = usize;

/// A named template: a whole file, or a `define` inside of one.
#[derive(Debug)]
pub(in crate::chart) struct Template {
    pub(super) root: Vec<Node>,
    /// The file the text comes from, for locations.
    pub(super) source: Rc<Source>,
}

#[derive(Debug)]
pub(in crate::chart) struct Source {
    pub(super) name: String,
    pub(super) text: String,
}

#[derive(Debug)]
pub(super) enum Node {
    Text(String),
    Action { pos: Pos, pipe: Pipe },
    If(Branch),
    With(Branch),
    Range(Branch),
    Template { pos: Pos, name: String, pipe: Option<Pipe> },
    Break,
    Continue,
}

#[derive(Debug)]
pub(super) struct Branch {
    pub(super) pos: Pos,
    pub(super) pipe: Pipe,
    pub(super) body: Vec<Node>,
    pub(super) otherwise: Option<Vec<Node>>,
}

#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) pos: Pos,
    /// `=` rather than `:=`.
    pub(super) assigns: bool,
    pub(super) variables: Vec<String>,
    pub(super) commands: Vec<Command>,
}

#[derive(Debug)]
pub(super) struct Command {
    pub(super) pos: Pos,
    pub(super) args: Vec<Expr>,
}

#[derive(Debug)]
pub(super) struct Expr {
    pub(super) pos: Pos,
    pub(super) term: Term,
}

#[derive(Debug)]
pub(super) enum Term {
    Dot,
    Nil,
    Bool(bool),
    Number(Number),
    Str { quoted: String, text: Rc<str> },
    Field(Vec<String>),
    Variable(Vec<String>),
    Function(String),
    Chain(Box<Expr>, Vec<String>),
    Pipe(Pipe),
}

/// A constant that can be several things until its use decides.
#[derive(Debug)]
pub(super) struct Number {
    pub(super) text: String,
    pub(super) int: Option<i64>,
    pub(super) unsigned: bool,
    pub(super) float: Option<f64>,
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            f.write_str(&self.variables.join(", "))?;
            f.write_str(if self.assigns { " = " } else { " := " })?;
        }
        for (i, command) in self.commands.iter().enumerate() {
            if i > 0 {
                f.write_str(" | ")?;
            }
            command.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, arg) in self.args.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            match &arg.term {
                Term::Pipe(pipe) => write!(f, "({pipe})")?,
                _ => arg.fmt(f)?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.term {
            Term::Dot => f.write_str("."),
            Term::Nil => f.write_str("nil"),
            Term::Bool(b) => b.fmt(f),
            Term::Number(n) => f.write_str(&n.text),
            Term::Str { quoted, .. } => f.write_str(quoted),
            Term::Field(names) => write_fields(f, names),
            Term::Variable(names) => f.write_str(&names.join(".")),
            Term::Function(name) => f.write_str(name),
            Term::Chain(inner, names) => {
                match &inner.term {
                    Term::Pipe(pipe) => write!(f, "({pipe})")?,
                    _ => inner.fmt(f)?,
                }
                write_fields(f, names)
            }
            Term::Pipe(pipe) => pipe.fmt(f),
        }
    }
}

fn write_fields(f: &mut fmt::Formatter<'_>, names: &[String]) -> fmt::Result {
    names.iter().try_for_each(|name| write!(f, ".{name}"))
}
