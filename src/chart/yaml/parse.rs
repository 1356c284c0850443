//! Tokens to a document, and a document to JSON.
use std::borrow::Cow;
use std::collections::HashMap;

use base64::Engine as _;
use serde_json::{Map, Number, Value as Json};

use super::scan::{Mark, Scanner, Token};
use super::{Error, resolve};
use crate::chart::budget::{self, Budget, MAX_NESTING};
use crate::chart::{number, print};

/// Each is held against all before it, and nobody declares more than a few.
const MAX_TAG_DIRECTIVES: usize = 100;

pub(super) struct Document<'a> {
    nodes: Vec<Node<'a>>,
    /// The line of each node, counted from 0.
    lines: Vec<usize>,
    root: Option<usize>,
}

enum Node<'a> {
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

    pub(super) fn decode(&self, budget: &mut Budget) -> Result<Json, Error> {
        let Some(root) = self.root else { return Ok(Json::Null) };
        Decoder { document: self, budget, depth: 0, line: 0, steps: 0, alias_steps: 0, aliases: Vec::new() }.node(root)
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
            let (Token::Alias(name), _) = self.scanner.take()? else { return self.empty() };
            let Some(&target) = self.anchors.get(&name) else {
                return Err(Error::syntax(0, format!("unknown anchor '{name}' referenced")));
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

/// Aliases of aliases, tags with long prefixes, or simply much.
fn too_large(line: usize) -> Error {
    Error::syntax(line + 1, "the document comes to more memory than it may")
}

struct Decoder<'d, 'a> {
    document: &'d Document<'a>,
    budget: &'d mut Budget,
    /// Of the value being made: an alias lies as deep as where it stands, and what it stands for below that.
    depth: usize,
    /// Of the node that is read, for what goes wrong there.
    line: usize,
    steps: usize,
    alias_steps: usize,
    aliases: Vec<usize>,
}

impl Decoder<'_, '_> {
    fn node(&mut self, id: usize) -> Result<Json, Error> {
        self.count()?;
        self.line = self.document.lines[id];
        match &self.document.nodes[id] {
            Node::Scalar { text, plain, tag } => {
                self.pay(budget::NODE + text.len())?;
                scalar(text, *plain, tag)
            }
            Node::Sequence(items) => {
                self.pay(budget::NODE * (items.len() + 1))?;
                self.deeper(|decoder| items.iter().map(|item| decoder.node(*item)).collect())
            }
            Node::Mapping(entries) => {
                self.pay(budget::mapping(entries.len()))?;
                let mut out = Map::new();
                self.deeper(|decoder| decoder.mapping(entries, &mut out))?;
                Ok(Json::Object(out))
            }
            Node::Alias { name, target } => self.alias(id, name, |decoder| decoder.node(*target)),
        }
    }

    fn pay(&mut self, bytes: usize) -> Result<(), Error> {
        let paid = match self.aliases.is_empty() {
            true => self.budget.pay(bytes),
            false => self.budget.pay_for_repetition(bytes),
        };
        paid.map_err(|_| too_large(self.line))
    }

    /// Every step down that recurs in this program is counted, whatever it is in the document.
    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.depth >= MAX_NESTING {
            return Err(Error::syntax(self.line + 1, format!("exceeded max depth of {MAX_NESTING}, aliases included")));
        }
        self.depth += 1;
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn alias<T>(
        &mut self,
        id: usize,
        name: &str,
        read: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if self.aliases.contains(&id) {
            return Err(Error::syntax(0, format!("anchor '{name}' value contains itself")));
        }
        self.aliases.push(id);
        let value = self.deeper(read);
        self.aliases.pop();
        value
    }

    /// Refuses documents whose size comes mostly from aliases.
    fn count(&mut self) -> Result<(), Error> {
        const LOW: f64 = 400_000.0;
        const HIGH: f64 = 4_000_000.0;
        self.steps += 1;
        if !self.aliases.is_empty() {
            self.alias_steps += 1;
        }
        let steps = self.steps as f64;
        let share = if steps <= LOW {
            0.99
        } else if steps >= HIGH {
            0.10
        } else {
            0.99 - 0.89 * (steps - LOW) / (HIGH - LOW)
        };
        if self.alias_steps > 100 && self.steps > 1000 && self.alias_steps as f64 / steps > share {
            return Err(Error::syntax(0, "document contains excessive aliasing"));
        }
        Ok(())
    }

    fn mapping(&mut self, entries: &[(usize, usize)], out: &mut Map<String, Json>) -> Result<(), Error> {
        for &(key, value) in entries {
            if self.is_merge(key) {
                self.merge(value, out)?;
                continue;
            }
            let key = self.key(key)?;
            let value = self.node(value)?;
            match key {
                Key::Text(key) => {
                    out.insert(key, value);
                }
                Key::Unsupported { kind, shown } => {
                    let value = go_syntax(&value, true);
                    let message = format!("unsupported map key of type: {kind}, key: {shown}, value: {value}");
                    return Err(Error::NotJson(message));
                }
            }
        }
        Ok(())
    }

    fn is_merge(&self, id: usize) -> bool {
        matches!(&self.document.nodes[id], Node::Scalar { text, plain, tag }
            if text == "<<" && (*plain || tag == "tag:yaml.org,2002:merge"))
    }

    fn merge(&mut self, id: usize, out: &mut Map<String, Json>) -> Result<(), Error> {
        match &self.document.nodes[id] {
            Node::Sequence(items) => {
                // Backwards, since earlier mappings take precedence.
                for item in items.iter().rev() {
                    self.merge_one(*item, out)?;
                }
                Ok(())
            }
            _ => self.merge_one(id, out),
        }
    }

    fn merge_one(&mut self, id: usize, out: &mut Map<String, Json>) -> Result<(), Error> {
        self.count()?;
        match &self.document.nodes[id] {
            Node::Mapping(entries) => self.deeper(|decoder| decoder.mapping(entries, out)),
            Node::Alias { name, target } => {
                let Node::Mapping(entries) = &self.document.nodes[*target] else { return Err(want_map()) };
                self.alias(id, name, |decoder| decoder.mapping(entries, out))
            }
            _ => Err(want_map()),
        }
    }

    /// A mapping's key as the string JSON needs.
    fn key(&mut self, id: usize) -> Result<Key, Error> {
        if let Node::Scalar { text, plain, tag } = &self.document.nodes[id]
            && tag.is_empty()
        {
            self.count()?;
            self.pay(text.len())?;
            return Ok(if *plain { Key::plain(text) } else { Key::Text(text.to_string()) });
        }
        Ok(match self.node(id)? {
            Json::String(text) => Key::Text(text),
            Json::Bool(b) => Key::Text(b.to_string()),
            Json::Number(n) => Key::Text(match n.as_f64() {
                Some(f) if n.is_f64() => number::general_f32(f),
                _ => n.to_string(),
            }),
            Json::Null => Key::null(),
            collection => {
                return Err(Error::syntax(0, format!("invalid map key: {}", go_syntax(&collection, true))));
            }
        })
    }
}

enum Key {
    Text(String),
    /// What sigs.k8s.io/yaml refuses once the whole document is read.
    Unsupported {
        kind: &'static str,
        shown: String,
    },
}

impl Key {
    fn plain(text: &str) -> Self {
        Self::Text(match resolve::resolve(text) {
            resolve::Scalar::Str => text.to_owned(),
            resolve::Scalar::Null => return Self::null(),
            resolve::Scalar::Bool(b) => b.to_string(),
            resolve::Scalar::Int(i) => i.to_string(),
            resolve::Scalar::Uint(u) => return Self::Unsupported { kind: "uint64", shown: format!("{u:#x}") },
            resolve::Scalar::Float(f) if f.is_nan() => ".nan".to_owned(),
            resolve::Scalar::Float(f) if f.is_infinite() => if f > 0.0 { ".inf" } else { "-.inf" }.to_owned(),
            resolve::Scalar::Float(f) => number::general_f32(f),
        })
    }

    fn null() -> Self {
        Self::Unsupported { kind: "%!s(<nil>)", shown: "<nil>".to_owned() }
    }
}

/// `%#v`
fn go_syntax(value: &Json, outermost: bool) -> String {
    match value {
        Json::Null if outermost => "<nil>".to_owned(),
        Json::Null => "interface {}(nil)".to_owned(),
        Json::Bool(b) => b.to_string(),
        Json::Number(n) => n.to_string(),
        Json::String(text) => print::quote(text),
        Json::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| go_syntax(item, false)).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Json::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(k, v)| format!("{}:{}", print::quote(k), go_syntax(v, false))).collect();
            format!("map[interface {{}}]interface {{}}{{{}}}", fields.join(", "))
        }
    }
}

fn want_map() -> Error {
    Error::syntax(0, "map merge requires map or sequence of maps as the value")
}

fn scalar(text: &str, plain: bool, tag: &str) -> Result<Json, Error> {
    let short = tag.strip_prefix("tag:yaml.org,2002:");
    if tag.is_empty() && !plain {
        return Ok(Json::String(text.to_owned()));
    }
    match short {
        None if tag.is_empty() => json_of(text, resolve::resolve(text)),
        Some("str" | "timestamp") => Ok(Json::String(text.to_owned())),
        Some("binary") => base64::engine::general_purpose::STANDARD
            .decode(text.replace(['\n', '\r'], ""))
            .map(|bytes| Json::String(String::from_utf8_lossy(&bytes).into_owned()))
            .map_err(|_| Error::syntax(0, "!!binary value contains invalid base64 data")),
        Some(wanted @ ("bool" | "int" | "float" | "null")) => {
            let found = resolve::resolve(text);
            let name = match found {
                resolve::Scalar::Null => "null",
                resolve::Scalar::Bool(_) => "bool",
                resolve::Scalar::Int(_) if wanted == "float" => "float",
                resolve::Scalar::Int(_) | resolve::Scalar::Uint(_) => "int",
                resolve::Scalar::Float(_) => "float",
                resolve::Scalar::Str => "str",
            };
            if name != wanted {
                return Err(Error::syntax(0, format!("cannot decode !!{name} `{text}` as a !!{wanted}")));
            }
            json_of(text, found)
        }
        _ => Ok(Json::String(text.to_owned())),
    }
}

fn json_of(text: &str, scalar: resolve::Scalar) -> Result<Json, Error> {
    Ok(match scalar {
        resolve::Scalar::Null => Json::Null,
        resolve::Scalar::Bool(b) => Json::Bool(b),
        resolve::Scalar::Int(i) => Json::from(i),
        resolve::Scalar::Uint(u) => Json::from(u),
        resolve::Scalar::Float(f) => return float(f),
        resolve::Scalar::Str => Json::String(text.to_owned()),
    })
}

/// 2.0 is written as 2 in JSON, and is an integer from then on.
fn float(value: f64) -> Result<Json, Error> {
    let negative_zero = value == 0.0 && value.is_sign_negative();
    if value.fract() == 0.0 && value.abs() < 9.2e18 && !negative_zero {
        return Ok(Json::from(value as i64));
    }
    match Number::from_f64(value) {
        Some(number) => Ok(Json::Number(number)),
        None => Err(Error::NotJson(format!("json: unsupported value: {}", number::general(value)))),
    }
}
