//! Tokens to a document.
use std::borrow::Cow;
use std::collections::HashMap;

use super::Error;
use super::scan::{Mark, Scanner, Token};
use crate::chart::budget::{Budget, MAX_NESTING};

/// Each is held against all before it, and nobody declares more than a few.
const MAX_TAG_DIRECTIVES: usize = 100;

pub(super) struct Document<'a> {
    pub(super) nodes: Vec<Node<'a>>,
    /// The line of each node, counted from 0.
    pub(super) lines: Vec<usize>,
    pub(super) root: Option<usize>,
}

pub(super) enum Node<'a> {
    Scalar { text: Cow<'a, str>, plain: bool, tag: String },
    Sequence(Vec<usize>),
    Mapping(Vec<(usize, usize)>),
    Alias { name: String, target: usize },
}

struct Parser<'a, 'b> {
    scanner: Scanner<'a>,
    budget: &'b mut Budget,
    nodes: Vec<Node<'a>>,
    lines: Vec<usize>,
    anchors: HashMap<String, usize>,
    tag_prefixes: Vec<(String, String)>,
    depth: usize,
}

/// Which tokens end an empty node without being consumed.
#[derive(Clone, Copy)]
struct Context {
    block: bool,
    indentless: bool,
}

const BLOCK: Context = Context { block: true, indentless: false };
const BLOCK_OR_INDENTLESS: Context = Context { block: true, indentless: true };
const FLOW: Context = Context { block: false, indentless: false };

impl<'a> Document<'a> {
    pub(super) fn read(text: &'a str, budget: &mut Budget) -> Result<Self, Error> {
        let mut parser = Parser {
            scanner: Scanner::new(text),
            budget,
            nodes: Vec::new(),
            lines: Vec::new(),
            anchors: HashMap::new(),
            tag_prefixes: Vec::new(),
            depth: 0,
        };
        let root = parser.document()?;
        Ok(Self { nodes: parser.nodes, lines: parser.lines, root })
    }
}

impl<'a> Parser<'a, '_> {
    fn document(&mut self) -> Result<Option<usize>, Error> {
        let explicit = match self.scanner.peek()?.0 {
            Token::StreamEnd => return Ok(None),
            Token::VersionDirective(..) | Token::TagDirective(..) | Token::DocumentStart => true,
            _ => false,
        };
        if explicit {
            self.directives()?;
            let (token, mark) = self.scanner.peek()?;
            if *token != Token::DocumentStart {
                return Err(error(*mark, "did not find expected <document start>"));
            }
            self.scanner.take()?;
        }
        for (handle, prefix) in [("!", "!"), ("!!", "tag:yaml.org,2002:")] {
            if !self.tag_prefixes.iter().any(|(known, _)| known == handle) {
                self.tag_prefixes.push((handle.into(), prefix.into()));
            }
        }
        let empty = explicit
            && matches!(
                self.scanner.peek()?.0,
                Token::VersionDirective(..)
                    | Token::TagDirective(..)
                    | Token::DocumentStart
                    | Token::DocumentEnd
                    | Token::StreamEnd
            );
        let root = if empty { self.empty()? } else { self.node(BLOCK)? };
        // Whatever follows belongs to no document that is read, but must at least begin with a token.
        self.scanner.peek()?;
        Ok(Some(root))
    }

    fn directives(&mut self) -> Result<(), Error> {
        let mut versions = 0;
        loop {
            match self.scanner.peek()?.0 {
                Token::VersionDirective(..) | Token::TagDirective(..) => {}
                _ => return Ok(()),
            }
            let (token, mark) = self.scanner.take()?;
            match token {
                Token::VersionDirective(major, minor) => {
                    versions += 1;
                    if versions > 1 {
                        return Err(error(mark, "found duplicate %YAML directive"));
                    }
                    if (major, minor) != (1, 1) {
                        return Err(error(mark, "found incompatible YAML document"));
                    }
                }
                Token::TagDirective(handle, prefix) => {
                    if self.tag_prefixes.iter().any(|(known, _)| *known == handle) {
                        return Err(error(mark, "found duplicate %TAG directive"));
                    }
                    if self.tag_prefixes.len() >= MAX_TAG_DIRECTIVES {
                        return Err(error(mark, "found too many %TAG directives"));
                    }
                    self.tag_prefixes.push((handle, prefix));
                }
                _ => {}
            }
        }
    }

    fn node(&mut self, context: Context) -> Result<usize, Error> {
        if let (Token::Alias(_), _) = self.scanner.peek()? {
            let (Token::Alias(name), mark) = self.scanner.take()? else { return self.empty() };
            let Some(&target) = self.anchors.get(&name) else {
                return Err(unknown_anchor(&name, mark.line));
            };
            return self.add(Node::Alias { name, target });
        }
        let (anchor, tag, start) = self.properties()?;
        let tagged = anchor.is_some() || !tag.is_empty();
        self.depth += 1;
        if self.depth > MAX_NESTING {
            return Err(error(start, "exceeded max depth of 250"));
        }
        // The place is taken before the children are read, so that an anchor inside can refer to it.
        let id = self.add_at(Node::empty(), start.line)?;
        if let Some(anchor) = anchor {
            self.anchors.insert(anchor, id);
        }
        let (token, mark) = self.scanner.peek()?;
        let mark = *mark;
        let node = match token {
            Token::BlockEntry if context.indentless => self.indentless_sequence()?,
            Token::Scalar { .. } => {
                let (Token::Scalar { text, plain }, _) = self.scanner.take()? else { return Ok(id) };
                let implicit = (tag.is_empty() && plain) || tag == "!";
                Node::Scalar { text, plain: implicit, tag }
            }
            Token::FlowSequenceStart => self.flow_sequence(mark)?,
            Token::FlowMappingStart => self.flow_mapping(mark)?,
            Token::BlockSequenceStart if context.block => self.block_sequence(mark)?,
            Token::BlockMappingStart if context.block => self.block_mapping(mark)?,
            _ if tagged => Node::Scalar { text: Cow::Borrowed(""), plain: tag.is_empty(), tag },
            _ => return Err(error_at(mark, start, "did not find expected node content")),
        };
        self.depth -= 1;
        self.nodes[id] = node;
        Ok(id)
    }

    fn properties(&mut self) -> Result<(Option<String>, String, Mark), Error> {
        let start = self.scanner.peek()?.1;
        let mut anchor = None;
        let mut tag: Option<(String, String, Mark)> = None;
        for _ in 0..2 {
            match self.scanner.peek()?.0 {
                Token::Anchor(_) if anchor.is_none() => {
                    if let (Token::Anchor(name), _) = self.scanner.take()? {
                        anchor = Some(name);
                    }
                }
                Token::Tag { .. } if tag.is_none() => {
                    if let (Token::Tag { handle, suffix }, mark) = self.scanner.take()? {
                        tag = Some((handle, suffix, mark));
                    }
                }
                _ => break,
            }
        }
        let tag = match tag {
            None => String::new(),
            Some((handle, suffix, _)) if handle.is_empty() => suffix,
            Some((handle, suffix, mark)) => {
                let prefix = self.tag_prefixes.iter().find(|(known, _)| *known == handle).map(|(_, p)| p.as_str());
                let tag = match prefix {
                    Some(prefix) if !(prefix.is_empty() && suffix.is_empty()) => format!("{prefix}{suffix}"),
                    _ => return Err(error_at(mark, start, "found undefined tag handle")),
                };
                self.budget.pay_for_repetition(tag.len()).map_err(|_| too_large(mark.line))?;
                tag
            }
        };
        Ok((anchor, tag, start))
    }

    fn block_sequence(&mut self, start: Mark) -> Result<Node<'a>, Error> {
        self.scanner.take()?;
        let mut items = Vec::new();
        loop {
            let (token, mark) = self.scanner.take()?;
            match token {
                Token::BlockEntry => match self.scanner.peek()?.0 {
                    Token::BlockEntry | Token::BlockEnd => items.push(self.empty()?),
                    _ => items.push(self.node(BLOCK)?),
                },
                Token::BlockEnd => return Ok(Node::Sequence(items)),
                _ => return Err(error_at(mark, start, "did not find expected '-' indicator")),
            }
        }
    }

    fn indentless_sequence(&mut self) -> Result<Node<'a>, Error> {
        let mut items = Vec::new();
        while self.scanner.peek()?.0 == Token::BlockEntry {
            self.scanner.take()?;
            match self.scanner.peek()?.0 {
                Token::BlockEntry | Token::Key | Token::Value | Token::BlockEnd => items.push(self.empty()?),
                _ => items.push(self.node(BLOCK)?),
            }
        }
        Ok(Node::Sequence(items))
    }

    fn block_mapping(&mut self, start: Mark) -> Result<Node<'a>, Error> {
        self.scanner.take()?;
        let mut entries = Vec::new();
        loop {
            let (token, mark) = self.scanner.take()?;
            match token {
                Token::Key => {}
                Token::BlockEnd => return Ok(Node::Mapping(entries)),
                _ => return Err(error_at(mark, start, "did not find expected key")),
            }
            let key = self.block_part()?;
            let value = if self.scanner.peek()?.0 == Token::Value {
                self.scanner.take()?;
                self.block_part()?
            } else {
                self.empty()?
            };
            entries.push((key, value));
        }
    }

    /// A key or a value of a block mapping, which may be empty.
    fn block_part(&mut self) -> Result<usize, Error> {
        match self.scanner.peek()?.0 {
            Token::Key | Token::Value | Token::BlockEnd => self.empty(),
            _ => self.node(BLOCK_OR_INDENTLESS),
        }
    }

    fn flow_sequence(&mut self, start: Mark) -> Result<Node<'a>, Error> {
        self.scanner.take()?;
        let mut items = Vec::new();
        loop {
            if self.scanner.peek()?.0 == Token::FlowSequenceEnd {
                break;
            }
            if !items.is_empty() {
                let (token, mark) = self.scanner.peek()?;
                if *token != Token::FlowEntry {
                    return Err(error_at(*mark, start, "did not find expected ',' or ']'"));
                }
                self.scanner.take()?;
            }
            match self.scanner.peek()?.0 {
                Token::Key => {
                    self.scanner.take()?;
                    let pair = self.flow_pair()?;
                    items.push(self.add(Node::Mapping(vec![pair]))?);
                }
                Token::FlowSequenceEnd => break,
                _ => items.push(self.node(FLOW)?),
            }
        }
        self.scanner.take()?;
        Ok(Node::Sequence(items))
    }

    /// `key: value` directly inside a flow sequence.
    fn flow_pair(&mut self) -> Result<(usize, usize), Error> {
        let key = match self.scanner.peek()?.0 {
            Token::Value | Token::FlowEntry | Token::FlowSequenceEnd => {
                // go-yaml consumes the token here, whatever it is.
                self.scanner.take()?;
                self.empty()?
            }
            _ => self.node(FLOW)?,
        };
        if self.scanner.peek()?.0 != Token::Value {
            return Ok((key, self.empty()?));
        }
        self.scanner.take()?;
        let value = match self.scanner.peek()?.0 {
            Token::FlowEntry | Token::FlowSequenceEnd => self.empty()?,
            _ => self.node(FLOW)?,
        };
        Ok((key, value))
    }

    fn flow_mapping(&mut self, start: Mark) -> Result<Node<'a>, Error> {
        self.scanner.take()?;
        let mut entries = Vec::new();
        loop {
            if self.scanner.peek()?.0 == Token::FlowMappingEnd {
                break;
            }
            if !entries.is_empty() {
                let (token, mark) = self.scanner.peek()?;
                if *token != Token::FlowEntry {
                    return Err(error_at(*mark, start, "did not find expected ',' or '}'"));
                }
                self.scanner.take()?;
            }
            match self.scanner.peek()?.0 {
                Token::Key => {
                    self.scanner.take()?;
                    let key = self.flow_part()?;
                    let value = if self.scanner.peek()?.0 == Token::Value {
                        self.scanner.take()?;
                        self.flow_part()?
                    } else {
                        self.empty()?
                    };
                    entries.push((key, value));
                }
                Token::FlowMappingEnd => break,
                _ => {
                    let key = self.node(FLOW)?;
                    entries.push((key, self.empty()?));
                }
            }
        }
        self.scanner.take()?;
        Ok(Node::Mapping(entries))
    }

    fn flow_part(&mut self) -> Result<usize, Error> {
        match self.scanner.peek()?.0 {
            Token::Value | Token::FlowEntry | Token::FlowMappingEnd => self.empty(),
            _ => self.node(FLOW),
        }
    }

    fn empty(&mut self) -> Result<usize, Error> {
        self.add(Node::empty())
    }

    fn add(&mut self, node: Node<'a>) -> Result<usize, Error> {
        let line = self.scanner.mark.line;
        self.add_at(node, line)
    }

    fn add_at(&mut self, node: Node<'a>, line: usize) -> Result<usize, Error> {
        // Twice: a list that grows is copied as it grows.
        self.budget.pay(2 * std::mem::size_of::<Node<'_>>()).map_err(|_| too_large(line))?;
        self.nodes.push(node);
        self.lines.push(line);
        Ok(self.nodes.len() - 1)
    }
}

impl Node<'_> {
    fn empty() -> Self {
        Self::Scalar { text: Cow::Borrowed(""), plain: true, tag: String::new() }
    }
}

/// go-yaml counts lines from 0 in a parser's message and leaves a 0 out.
fn error(mark: Mark, problem: &str) -> Error {
    Error::syntax(mark.line, problem)
}

/// The problem's place, or that of the construct it is in when the former is on the first line.
fn error_at(mark: Mark, context: Mark, problem: &str) -> Error {
    Error::syntax(if mark.line == 0 { context.line } else { mark.line }, problem)
}

fn unknown_anchor(name: &str, line: usize) -> Error {
    const PROBLEM: &str = "what begins with * is an alias, and no anchor has its name: quote a text that begins so";
    Error::quoting(line + 1, format!("yaml: unknown anchor '{name}' referenced"), PROBLEM)
}

/// Aliases of aliases, tags with long prefixes, or simply much.
pub(super) fn too_large(line: usize) -> Error {
    Error::syntax(line + 1, "the document comes to more memory than it may")
}
