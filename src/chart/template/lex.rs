//! Template text to tokens, with the positions Go's `text/template/parse` gives them.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    Error,
    Bool,
    Char,
    CharConstant,
    Complex,
    Assign,
    Declare,
    Eof,
    Field,
    Identifier,
    LeftDelim,
    LeftParen,
    Number,
    Pipe,
    RawString,
    RightDelim,
    RightParen,
    Space,
    String,
    Text,
    Variable,
    Block,
    Break,
    Continue,
    Dot,
    Define,
    Else,
    End,
    If,
    Nil,
    Range,
    Template,
    With,
}

#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    /// Byte offset in the text.
    pub(super) pos: usize,
    pub(super) text: String,
    /// Counted from 1.
    pub(super) line: usize,
}

impl Token {
    pub(super) fn describe(&self) -> String {
        match self.kind {
            TokenKind::Eof => "EOF".to_owned(),
            TokenKind::Error => self.text.clone(),
            kind if kind.is_keyword() => format!("<{}>", self.text),
            _ if self.text.len() > 10 => {
                let head: String = self.text.chars().take(10).collect();
                format!("{}...", crate::chart::print::quote(&head))
            }
            _ => crate::chart::print::quote(&self.text),
        }
    }
}

impl TokenKind {
    fn is_keyword(self) -> bool {
        use TokenKind::*;
        matches!(self, Block | Break | Continue | Dot | Define | Else | End | If | Nil | Range | Template | With)
    }

    fn keyword(word: &str) -> Option<Self> {
        Some(match word {
            "block" => Self::Block,
            "break" => Self::Break,
            "continue" => Self::Continue,
            "define" => Self::Define,
            "else" => Self::Else,
            "end" => Self::End,
            "if" => Self::If,
            "nil" => Self::Nil,
            "range" => Self::Range,
            "template" => Self::Template,
            "with" => Self::With,
            _ => return None,
        })
    }
}

pub(super) struct Lexer<'a> {
    input: &'a str,
    pos: usize,
    start: usize,
    line: usize,
    start_line: usize,
    inside_action: bool,
    paren_depth: usize,
    failed: bool,
}

const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

impl<'a> Lexer<'a> {
    pub(super) fn new(input: &'a str) -> Self {
        Self { input, pos: 0, start: 0, line: 1, start_line: 1, inside_action: false, paren_depth: 0, failed: false }
    }

    pub(super) fn next_token(&mut self) -> Token {
        if self.failed {
            return Token { kind: TokenKind::Eof, pos: 0, text: String::new(), line: self.start_line };
        }
        let result = if self.inside_action { self.action() } else { self.text() };
        result.unwrap_or_else(|message| {
            self.failed = true;
            Token { kind: TokenKind::Error, pos: self.start, text: message, line: self.start_line }
        })
    }

    fn text(&mut self) -> Result<Token, String> {
        loop {
            let Some(offset) = self.rest().find("{{") else {
                self.pos = self.input.len();
                let kind = if self.pos > self.start { TokenKind::Text } else { TokenKind::Eof };
                return Ok(self.emit(kind));
            };
            if offset > 0 {
                let delim = self.pos + offset;
                let before = &self.input[self.start..delim];
                let kept = if trim_marker_follows(&self.input[delim + 2..]) {
                    before.trim_end_matches(SPACES).len()
                } else {
                    before.len()
                };
                self.pos = self.start + kept;
                let token = self.emit(TokenKind::Text);
                self.pos = delim;
                self.ignore();
                if !token.text.is_empty() {
                    return Ok(token);
                }
            }
            let after_delim = self.pos + 2;
            let marker = if trim_marker_follows(&self.input[after_delim..]) { 2 } else { 0 };
            if self.input[after_delim + marker..].starts_with("/*") {
                self.pos = after_delim + marker;
                self.ignore();
                self.comment()?;
                continue;
            }
            self.pos = after_delim;
            let token = self.emit(TokenKind::LeftDelim);
            self.inside_action = true;
            self.paren_depth = 0;
            self.pos += marker;
            self.ignore();
            return Ok(token);
        }
    }

    fn comment(&mut self) -> Result<(), String> {
        let Some(end) = self.input[self.pos + 2..].find("*/") else {
            return Err("unclosed comment".to_owned());
        };
        self.pos += 2 + end + 2;
        let Some(trims) = self.right_delim() else {
            return Err("comment ends before closing delimiter".to_owned());
        };
        self.pos += 2;
        if trims {
            self.pos += 2;
            self.skip_spaces();
        }
        self.ignore();
        Ok(())
    }

    fn action(&mut self) -> Result<Token, String> {
        if let Some(trims) = self.right_delim() {
            if self.paren_depth == 0 {
                return Ok(self.close_action(trims));
            }
            return Err("unclosed left paren".to_owned());
        }
        let Some(c) = self.next() else { return Err("unclosed action".to_owned()) };
        match c {
            ' ' | '\t' | '\r' | '\n' => Ok(self.space()),
            '=' => Ok(self.emit(TokenKind::Assign)),
            ':' if self.next() == Some('=') => Ok(self.emit(TokenKind::Declare)),
            ':' => Err("expected :=".to_owned()),
            '|' => Ok(self.emit(TokenKind::Pipe)),
            '"' => self.quoted('"', "unterminated quoted string", TokenKind::String),
            '\'' => self.quoted('\'', "unterminated character constant", TokenKind::CharConstant),
            '`' => self.raw_string(),
            '$' => self.name(TokenKind::Variable),
            '.' if !self.rest().starts_with(|c: char| c.is_ascii_digit()) && !self.rest().is_empty() => {
                self.name(TokenKind::Field)
            }
            '.' | '+' | '-' | '0'..='9' => {
                self.pos = self.start;
                self.number()
            }
            c if is_alphanumeric(c) => self.identifier(),
            '(' => {
                self.paren_depth += 1;
                Ok(self.emit(TokenKind::LeftParen))
            }
            ')' if self.paren_depth == 0 => Err("unexpected right paren".to_owned()),
            ')' => {
                self.paren_depth -= 1;
                Ok(self.emit(TokenKind::RightParen))
            }
            ' '..='~' => Ok(self.emit(TokenKind::Char)),
            c => Err(format!("unrecognized character in action: {}", code_point(Some(c)))),
        }
    }

    fn close_action(&mut self, trims: bool) -> Token {
        if trims {
            self.pos += 2;
            self.ignore();
        }
        self.pos += 2;
        let token = self.emit(TokenKind::RightDelim);
        if trims {
            self.skip_spaces();
            self.ignore();
        }
        self.inside_action = false;
        token
    }

    /// A run of spaces, of which the last one may already belong to a ` -}}`.
    fn space(&mut self) -> Token {
        let mut count = 1;
        while self.rest().starts_with(SPACES) {
            self.next();
            count += 1;
        }
        if self.input[self.pos - 1..].get(1..).is_some_and(|rest| rest.starts_with("-}}")) {
            if self.input[self.pos - 1..].starts_with('\n') {
                self.line -= 1;
            }
            self.pos -= 1;
            if count == 1 {
                return self.close_action(true);
            }
        }
        self.emit(TokenKind::Space)
    }

    fn quoted(&mut self, quote: char, unterminated: &str, kind: TokenKind) -> Result<Token, String> {
        loop {
            match self.next() {
                Some('\\') => match self.next() {
                    None | Some('\n') => return Err(unterminated.to_owned()),
                    Some(_) => {}
                },
                None | Some('\n') => return Err(unterminated.to_owned()),
                Some(c) if c == quote => return Ok(self.emit(kind)),
                Some(_) => {}
            }
        }
    }

    fn raw_string(&mut self) -> Result<Token, String> {
        loop {
            match self.next() {
                None => return Err("unterminated raw quoted string".to_owned()),
                Some('`') => return Ok(self.emit(TokenKind::RawString)),
                Some(_) => {}
            }
        }
    }

    /// `.field`, `$variable`, `.` or `$`; the first character has been read.
    fn name(&mut self, kind: TokenKind) -> Result<Token, String> {
        if self.at_terminator() {
            return Ok(self.emit(if kind == TokenKind::Variable { kind } else { TokenKind::Dot }));
        }
        self.skip_alphanumeric();
        if !self.at_terminator() {
            return Err(format!("bad character {}", code_point(self.rest().chars().next())));
        }
        Ok(self.emit(kind))
    }

    fn identifier(&mut self) -> Result<Token, String> {
        self.skip_alphanumeric();
        if !self.at_terminator() {
            return Err(format!("bad character {}", code_point(self.rest().chars().next())));
        }
        let word = &self.input[self.start..self.pos];
        let kind = match word {
            "true" | "false" => TokenKind::Bool,
            word => TokenKind::keyword(word).unwrap_or(TokenKind::Identifier),
        };
        Ok(self.emit(kind))
    }

    fn number(&mut self) -> Result<Token, String> {
        let bad = |lexer: &Self| {
            let text = &lexer.input[lexer.start..lexer.pos];
            Err(format!("bad number syntax: {}", crate::chart::print::quote(text)))
        };
        if !self.scan_number() {
            return bad(self);
        }
        if self.rest().starts_with(['+', '-']) {
            if !self.scan_number() || !self.input[..self.pos].ends_with('i') {
                return bad(self);
            }
            return Ok(self.emit(TokenKind::Complex));
        }
        Ok(self.emit(TokenKind::Number))
    }

    fn scan_number(&mut self) -> bool {
        self.accept("+-");
        let mut digits = "0123456789_";
        if self.accept("0") {
            if self.accept("xX") {
                digits = "0123456789abcdefABCDEF_";
            } else if self.accept("oO") {
                digits = "01234567_";
            } else if self.accept("bB") {
                digits = "01_";
            }
        }
        self.accept_run(digits);
        if self.accept(".") {
            self.accept_run(digits);
        }
        if (digits.len() == 11 && self.accept("eE")) || (digits.len() == 23 && self.accept("pP")) {
            self.accept("+-");
            self.accept_run("0123456789_");
        }
        self.accept("i");
        if self.rest().starts_with(is_alphanumeric) {
            self.next();
            return false;
        }
        true
    }

    /// Whether an action ends here, and if so whether it trims what follows.
    fn right_delim(&self) -> Option<bool> {
        let rest = self.rest();
        if rest.starts_with(SPACES) && rest[1..].starts_with("-}}") {
            return Some(true);
        }
        rest.starts_with("}}").then_some(false)
    }

    fn at_terminator(&self) -> bool {
        let rest = self.rest();
        match rest.chars().next() {
            None | Some(' ' | '\t' | '\r' | '\n' | '.' | ',' | '|' | ':' | ')' | '(') => true,
            Some(_) => rest.starts_with("}}"),
        }
    }

    fn accept(&mut self, valid: &str) -> bool {
        let accepted = self.rest().starts_with(|c| valid.contains(c));
        if accepted {
            self.next();
        }
        accepted
    }

    fn accept_run(&mut self, valid: &str) {
        while self.accept(valid) {}
    }

    fn skip_alphanumeric(&mut self) {
        while self.rest().starts_with(is_alphanumeric) {
            self.next();
        }
    }

    fn skip_spaces(&mut self) {
        while self.rest().starts_with(SPACES) {
            self.pos += 1;
        }
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest().chars().next()?;
        self.pos += c.len_utf8();
        if c == '\n' {
            self.line += 1;
        }
        Some(c)
    }

    fn rest(&self) -> &'a str {
        &self.input[self.pos..]
    }

    fn emit(&mut self, kind: TokenKind) -> Token {
        let text = &self.input[self.start..self.pos];
        let line = self.start_line;
        if kind == TokenKind::Text {
            self.line += text.matches('\n').count();
        }
        let token = Token { kind, pos: self.start, text: text.to_owned(), line };
        self.start = self.pos;
        self.start_line = self.line;
        token
    }

    fn ignore(&mut self) {
        self.line += self.input[self.start..self.pos].matches('\n').count();
        self.start = self.pos;
        self.start_line = self.line;
    }
}

fn trim_marker_follows(rest: &str) -> bool {
    rest.starts_with('-') && rest[1..].starts_with(SPACES)
}

fn is_alphanumeric(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// `%#U`
fn code_point(c: Option<char>) -> String {
    match c {
        None => "U+FFFFFFFFFFFFFFFF".to_owned(),
        Some(c) => format!("U+{:04X} '{c}'", u32::from(c)),
    }
}
