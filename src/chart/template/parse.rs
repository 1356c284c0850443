//! Tokens to trees, refusing what Go's parser refuses in the same words.
use std::collections::BTreeMap;
use std::rc::Rc;

use super::ast::{Branch, Command, Expr, Node, Number, Pipe, Source, Template, Term};
use super::lex::{Lexer, Token, TokenKind};
use super::literal;
use crate::chart::budget;

/// Named templates, of which a later one replaces an empty earlier one.
pub(in crate::chart) type Templates = BTreeMap<String, Rc<Template>>;

const MAX_PARENTHESES: usize = 200;
const MAX_BLOCKS: usize = 300;

/// Parses one file and adds it and its `define`s to `templates`.
pub(in crate::chart) fn parse(
    name: &str,
    text: &str,
    is_function: &dyn Fn(&str) -> bool,
    templates: &mut Templates,
) -> Result<(), String> {
    let source = Rc::new(Source { name: name.to_owned(), text: text.to_owned() });
    let mut found = Templates::new();
    let mut parser = Parser {
        source: source.clone(),
        lexer: Lexer::new(text),
        pushed_back: Vec::new(),
        first_line: 1,
        action_line: 0,
        variables: vec!["$".to_owned()],
        range_depth: 0,
        paren_depth: 0,
        block_depth: 0,
        is_function,
        found: &mut found,
    };
    let root = parser.file();
    budget::pay(0, 0)?;
    let root = root?;
    parser.define(name.to_owned(), root)?;
    for (name, template) in found {
        // Across files, too, the last definition wins, but an empty one never replaces a real one.
        let replaces = templates.get(&name).is_none_or(|old| is_empty(&old.root)) || !is_empty(&template.root);
        if replaces {
            templates.insert(name, template);
        }
    }
    Ok(())
}

fn is_empty(nodes: &[Node]) -> bool {
    nodes.iter().all(|node| match node {
        Node::Text(text) => text.trim().is_empty(),
        _ => false,
    })
}

struct Parser<'a> {
    source: Rc<Source>,
    lexer: Lexer<'a>,
    /// The last one is the next to be read.
    pushed_back: Vec<Token>,
    /// The line of the token read (not pushed back) last, which is where Go places a message.
    first_line: usize,
    action_line: usize,
    variables: Vec<String>,
    range_depth: usize,
    paren_depth: usize,
    block_depth: usize,
    is_function: &'a dyn Fn(&str) -> bool,
    found: &'a mut Templates,
}

/// What a list of nodes ended with.
enum End {
    End,
    Else,
}

enum Item {
    Node(Node),
    End(End),
}

impl Parser<'_> {
    fn file(&mut self) -> Result<Vec<Node>, String> {
        let mut root = Vec::new();
        while self.peek().kind != TokenKind::Eof {
            if self.peek().kind == TokenKind::LeftDelim {
                let delim = self.next();
                let token = self.next_non_space();
                if token.kind == TokenKind::Define {
                    self.definition()?;
                    continue;
                }
                self.push_back(token);
                self.push_back(delim);
            }
            match self.item()? {
                Item::Node(node) => root.push(node),
                Item::End(End::End) => return Err(self.error("unexpected {{end}}")),
                Item::End(End::Else) => return Err(self.error("unexpected {{else}}")),
            }
        }
        Ok(root)
    }

    fn definition(&mut self) -> Result<(), String> {
        const CONTEXT: &str = "define clause";
        let token = self.next_non_space();
        if !matches!(token.kind, TokenKind::String | TokenKind::RawString) {
            return Err(self.unexpected(&token, CONTEXT));
        }
        let name = self.unquote(&token)?;
        self.expect(TokenKind::RightDelim, CONTEXT)?;
        let root = self.separate_scope(CONTEXT)?;
        self.define(name, root)
    }

    /// The body of a `define` or `block`, which sees none of the variables around it.
    fn separate_scope(&mut self, context: &str) -> Result<Vec<Node>, String> {
        let outer = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let range_depth = std::mem::take(&mut self.range_depth);
        let (root, end) = self.items()?;
        if !matches!(end, End::End) {
            return Err(self.error(&format!("unexpected {{{{else}}}} in {context}")));
        }
        self.variables = outer;
        self.range_depth = range_depth;
        Ok(root)
    }

    fn define(&mut self, name: String, root: Vec<Node>) -> Result<(), String> {
        if let Some(known) = self.found.get(&name)
            && !is_empty(&known.root)
        {
            if !is_empty(&root) {
                return Err(self.error(&format!("template: multiple definition of template {name:?}")));
            }
            return Ok(());
        }
        self.found.insert(name, Rc::new(Template { root, source: self.source.clone() }));
        Ok(())
    }

    fn items(&mut self) -> Result<(Vec<Node>, End), String> {
        self.block_depth += 1;
        if self.block_depth > MAX_BLOCKS {
            return Err(self.error("max nesting depth exceeded"));
        }
        let mut nodes = Vec::new();
        while self.peek_non_space().kind != TokenKind::Eof {
            match self.item()? {
                Item::Node(node) => nodes.push(node),
                Item::End(end) => {
                    self.block_depth -= 1;
                    return Ok((nodes, end));
                }
            }
        }
        Err(self.error("unexpected EOF"))
    }

    fn item(&mut self) -> Result<Item, String> {
        let token = self.next_non_space();
        match token.kind {
            TokenKind::Text => Ok(Item::Node(Node::Text(token.text))),
            TokenKind::LeftDelim => {
                self.action_line = token.line;
                let item = self.action();
                self.action_line = 0;
                item
            }
            _ => Err(self.unexpected(&token, "input")),
        }
    }

    fn action(&mut self) -> Result<Item, String> {
        let token = self.next_non_space();
        let node = match token.kind {
            TokenKind::Block => self.block()?,
            TokenKind::Break | TokenKind::Continue => {
                let (name, node) = match token.kind {
                    TokenKind::Break => ("{{break}}", Node::Break),
                    _ => ("{{continue}}", Node::Continue),
                };
                let next = self.next_non_space();
                if next.kind != TokenKind::RightDelim {
                    return Err(self.unexpected(&next, name));
                }
                if self.range_depth == 0 {
                    return Err(self.error(&format!("{name} outside {{{{range}}}}")));
                }
                node
            }
            TokenKind::Else => return self.otherwise().map(Item::End),
            TokenKind::End => {
                self.expect(TokenKind::RightDelim, "end")?;
                return Ok(Item::End(End::End));
            }
            TokenKind::If => Node::If(self.branch("if")?),
            TokenKind::Range => Node::Range(self.branch("range")?),
            TokenKind::With => Node::With(self.branch("with")?),
            TokenKind::Template => self.template()?,
            _ => {
                let pos = token.pos;
                self.push_back(token);
                Node::Action { pos, pipe: self.pipeline("command", TokenKind::RightDelim)? }
            }
        };
        Ok(Item::Node(node))
    }

    fn otherwise(&mut self) -> Result<End, String> {
        let next = self.peek_non_space();
        if matches!(next.kind, TokenKind::If | TokenKind::With) {
            return Ok(End::Else);
        }
        self.expect(TokenKind::RightDelim, "else")?;
        Ok(End::Else)
    }

    fn branch(&mut self, context: &str) -> Result<Branch, String> {
        let scope = self.variables.len();
        let pipe = self.pipeline(context, TokenKind::RightDelim)?;
        if context == "range" {
            self.range_depth += 1;
        }
        let (body, end) = self.items()?;
        if context == "range" {
            self.range_depth -= 1;
        }
        let mut otherwise = None;
        if let End::Else = end {
            // `else if` and `else with` nest, and share the final `end`.
            let next = self.peek().kind;
            if context == "if" && next == TokenKind::If {
                self.next();
                otherwise = Some(vec![Node::If(self.nested(context)?)]);
            } else if context == "with" && next == TokenKind::With {
                self.next();
                otherwise = Some(vec![Node::With(self.nested(context)?)]);
            } else {
                let (nodes, end) = self.items()?;
                if !matches!(end, End::End) {
                    return Err(self.error("expected end; found {{else}}"));
                }
                otherwise = Some(nodes);
            }
        }
        self.variables.truncate(scope);
        Ok(Branch { pos: pipe.pos, pipe, body, otherwise })
    }

    fn nested(&mut self, context: &str) -> Result<Branch, String> {
        self.block_depth += 1;
        if self.block_depth > MAX_BLOCKS {
            return Err(self.error("max nesting depth exceeded"));
        }
        let branch = self.branch(context)?;
        self.block_depth -= 1;
        Ok(branch)
    }

    fn block(&mut self) -> Result<Node, String> {
        const CONTEXT: &str = "block clause";
        let token = self.next_non_space();
        let name = self.template_name(&token, CONTEXT)?;
        let pipe = self.pipeline(CONTEXT, TokenKind::RightDelim)?;
        let root = self.separate_scope(CONTEXT)?;
        self.define(name.clone(), root)?;
        Ok(Node::Template { pos: token.pos, name, pipe: Some(pipe) })
    }

    fn template(&mut self) -> Result<Node, String> {
        const CONTEXT: &str = "template clause";
        let token = self.next_non_space();
        let name = self.template_name(&token, CONTEXT)?;
        let next = self.next_non_space();
        let pipe = if next.kind == TokenKind::RightDelim {
            None
        } else {
            self.push_back(next);
            Some(self.pipeline(CONTEXT, TokenKind::RightDelim)?)
        };
        Ok(Node::Template { pos: token.pos, name, pipe })
    }

    fn template_name(&mut self, token: &Token, context: &str) -> Result<String, String> {
        match token.kind {
            TokenKind::String | TokenKind::RawString => self.unquote(token),
            _ => Err(self.unexpected(token, context)),
        }
    }

    fn pipeline(&mut self, context: &str, end: TokenKind) -> Result<Pipe, String> {
        let pos = self.peek_non_space().pos;
        let mut pipe = Pipe { pos, assigns: false, variables: Vec::new(), commands: Vec::new() };
        self.declarations(&mut pipe, context)?;
        loop {
            let token = self.next_non_space();
            match token.kind {
                kind if kind == end => break,
                TokenKind::Bool
                | TokenKind::CharConstant
                | TokenKind::Complex
                | TokenKind::Dot
                | TokenKind::Field
                | TokenKind::Identifier
                | TokenKind::Number
                | TokenKind::Nil
                | TokenKind::RawString
                | TokenKind::String
                | TokenKind::Variable
                | TokenKind::LeftParen => {
                    self.push_back(token);
                    let command = self.command()?;
                    pipe.commands.push(command);
                }
                _ => return Err(self.unexpected(&token, context)),
            }
        }
        if pipe.commands.is_empty() {
            return Err(self.error(&format!("missing value for {context}")));
        }
        for (i, command) in pipe.commands.iter().enumerate().skip(1) {
            if matches!(
                command.args[0].term,
                Term::Bool(_) | Term::Dot | Term::Nil | Term::Number(_) | Term::Str { .. }
            ) {
                return Err(self.error(&format!("non executable command in pipeline stage {}", i + 1)));
            }
        }
        Ok(pipe)
    }

    /// `$x :=`, `$x =`, and for range `$i, $x :=`.
    fn declarations(&mut self, pipe: &mut Pipe, context: &str) -> Result<(), String> {
        while self.peek_non_space().kind == TokenKind::Variable {
            let variable = self.next_non_space();
            let after = self.peek();
            let next = self.peek_non_space();
            match next.kind {
                TokenKind::Assign | TokenKind::Declare => {
                    pipe.assigns = next.kind == TokenKind::Assign;
                    self.next_non_space();
                    pipe.variables.push(variable.text.clone());
                    self.variables.push(variable.text);
                    return Ok(());
                }
                TokenKind::Char if next.text == "," => {
                    self.next_non_space();
                    pipe.variables.push(variable.text.clone());
                    self.variables.push(variable.text);
                    if context != "range" || pipe.variables.len() >= 2 {
                        return Err(self.error(&format!("too many declarations in {context}")));
                    }
                    if !matches!(
                        self.peek_non_space().kind,
                        TokenKind::Variable | TokenKind::RightDelim | TokenKind::RightParen
                    ) {
                        return Err(self.error("range can only initialize variables"));
                    }
                }
                _ => {
                    if after.kind == TokenKind::Space {
                        self.push_back(after);
                    }
                    self.push_back(variable);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn command(&mut self) -> Result<Command, String> {
        let pos = self.peek_non_space().pos;
        let mut args = Vec::new();
        loop {
            self.peek_non_space();
            if let Some(operand) = self.operand()? {
                args.push(operand);
            }
            let token = self.next();
            match token.kind {
                TokenKind::Space => continue,
                TokenKind::RightDelim | TokenKind::RightParen => self.push_back(token),
                TokenKind::Pipe => {}
                _ => return Err(self.unexpected(&token, "operand")),
            }
            break;
        }
        if args.is_empty() {
            return Err(self.error("empty command"));
        }
        Ok(Command { pos, args })
    }

    fn operand(&mut self) -> Result<Option<Expr>, String> {
        let Some(mut expr) = self.term()? else { return Ok(None) };
        let next = self.peek();
        if next.kind != TokenKind::Field {
            return Ok(Some(expr));
        }
        let mut fields = Vec::new();
        while self.peek().kind == TokenKind::Field {
            fields.push(self.next().text[1..].to_owned());
        }
        match &mut expr.term {
            Term::Field(names) | Term::Variable(names) => {
                names.append(&mut fields);
                // Go rebuilds the node here, at the position of the added fields.
                expr.pos = next.pos;
            }
            Term::Bool(_) | Term::Str { .. } | Term::Number(_) | Term::Nil | Term::Dot => {
                return Err(self.error(&format!("unexpected . after term {:?}", expr.to_string())));
            }
            _ => expr = Expr { pos: next.pos, term: Term::Chain(Box::new(expr), fields) },
        }
        Ok(Some(expr))
    }

    fn term(&mut self) -> Result<Option<Expr>, String> {
        let token = self.next_non_space();
        let term = match token.kind {
            TokenKind::Identifier => {
                if !(self.is_function)(&token.text) {
                    return Err(self.error(&format!("function {:?} not defined", token.text)));
                }
                Term::Function(token.text)
            }
            TokenKind::Dot => Term::Dot,
            TokenKind::Nil => Term::Nil,
            TokenKind::Variable => {
                if !self.variables.contains(&token.text) {
                    return Err(self.error(&format!("undefined variable {:?}", token.text)));
                }
                Term::Variable(vec![token.text])
            }
            TokenKind::Field => Term::Field(vec![token.text[1..].to_owned()]),
            TokenKind::Bool => Term::Bool(token.text == "true"),
            TokenKind::CharConstant | TokenKind::Complex | TokenKind::Number => Term::Number(self.number(token.text)?),
            TokenKind::LeftParen => {
                if self.paren_depth >= MAX_PARENTHESES {
                    return Err(self.error("max expression depth exceeded"));
                }
                self.paren_depth += 1;
                let pipe = self.pipeline("parenthesized pipeline", TokenKind::RightParen)?;
                self.paren_depth -= 1;
                return Ok(Some(Expr { pos: pipe.pos, term: Term::Pipe(pipe) }));
            }
            TokenKind::String | TokenKind::RawString => {
                Term::Str { text: Rc::from(self.unquote(&token)?), quoted: token.text }
            }
            _ => {
                self.push_back(token);
                return Ok(None);
            }
        };
        Ok(Some(Expr { pos: token.pos, term }))
    }

    fn number(&mut self, text: String) -> Result<Number, String> {
        literal::number(text).map_err(|message| self.error(&message))
    }

    fn unquote(&mut self, token: &Token) -> Result<String, String> {
        literal::unquote(&token.text).ok_or_else(|| self.error("invalid syntax"))
    }

    fn next(&mut self) -> Token {
        if let Some(token) = self.pushed_back.pop() {
            return token;
        }
        let token = self.lexer.next_token();
        self.first_line = token.line;
        // What it becomes in the tree. The parser goes on to the end of the text, and whoever asked for it finds out.
        if !budget::goes_on(1 + self.variables.len() / 16, 4 * budget::NODE) {
            return Token { kind: TokenKind::Eof, ..token };
        }
        token
    }

    fn push_back(&mut self, token: Token) {
        self.pushed_back.push(token);
    }

    fn peek(&mut self) -> Token {
        let token = self.next();
        self.push_back(token.clone());
        token
    }

    fn next_non_space(&mut self) -> Token {
        loop {
            let token = self.next();
            if token.kind != TokenKind::Space {
                return token;
            }
        }
    }

    /// Drops the spaces before the next token.
    fn peek_non_space(&mut self) -> Token {
        let token = self.next_non_space();
        self.push_back(token.clone());
        token
    }

    fn expect(&mut self, kind: TokenKind, context: &str) -> Result<Token, String> {
        let token = self.next_non_space();
        if token.kind == kind { Ok(token) } else { Err(self.unexpected(&token, context)) }
    }

    fn unexpected(&self, token: &Token, context: &str) -> String {
        if token.kind != TokenKind::Error {
            return self.error(&format!("unexpected {} in {context}", token.describe()));
        }
        let mut extra = String::new();
        if self.action_line != 0 && self.action_line != token.line {
            let prefix = if token.text.ends_with(" action") { "" } else { " in action" };
            extra = format!("{prefix} started at {}:{}", self.source.name, self.action_line);
        }
        self.error(&format!("{}{extra}", token.text))
    }

    fn error(&self, message: &str) -> String {
        format!("template: {}:{}: {message}", self.source.name, self.first_line)
    }
}
