//! Go's `text/template`: lexer, parser, and an evaluator that walks the tree.
//!
//! Messages, positions and evaluation order follow the original. Which functions there are is the caller's matter.
mod ast;
mod exec;
mod failure;
mod lex;
mod literal;
mod parse;

pub(super) use exec::Executor;
pub(super) use parse::{Templates, parse};
