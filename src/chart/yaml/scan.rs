//! Characters to tokens, by YAML 1.1's rules as go-yaml v2 applies them.
//!
//! Where they differ from YAML 1.2 the difference is wanted: an under-indented continuation line of a quoted
//! scalar is accepted, a comment may follow a quoted scalar without a space, a tab may separate tokens.
//!
//! In one file because every rule of the scanner reads and moves the same position.
use std::borrow::Cow;
use std::collections::VecDeque;

use super::Error;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) line: usize,
    pub(super) column: usize,
    index: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'a> {
    StreamEnd,
    VersionDirective(u8, u8),
    TagDirective(String, String),
    DocumentStart,
    DocumentEnd,
    BlockSequenceStart,
    BlockMappingStart,
    BlockEnd,
    FlowSequenceStart,
    FlowSequenceEnd,
    FlowMappingStart,
    FlowMappingEnd,
    BlockEntry,
    FlowEntry,
    Key,
    Value,
    Alias(String),
    Anchor(String),
    Tag { handle: String, suffix: String },
    Scalar { text: Cow<'a, str>, plain: bool },
}

/// A token that may turn out to be a key once a `:` follows.
#[derive(Clone, Copy)]
struct SimpleKey {
    possible: bool,
    required: bool,
    token: usize,
    mark: Mark,
}

pub(super) struct Scanner<'a> {
    pub(super) text: &'a str,
    bytes: &'a [u8],
    pub(super) pos: usize,
    pub(super) mark: Mark,
    pub(super) tokens: VecDeque<(Token<'a>, Mark)>,
    taken: usize,
    /// Column of the current block collection; -1 outside of any.
    pub(super) indent: isize,
    indents: Vec<isize>,
    pub(super) simple_key_allowed: bool,
    /// One slot per flow level.
    simple_keys: Vec<SimpleKey>,
    pub(super) flow_level: usize,
    ended: bool,
}

const MAX_NESTING: usize = 1000;
const MAX_SIMPLE_KEY: usize = 1024;

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let mark = Mark { line: 0, column: 0, index: 0 };
        Self {
            text,
            bytes: text.as_bytes(),
            pos: 0,
            mark,
            tokens: VecDeque::new(),
            taken: 0,
            indent: -1,
            indents: Vec::new(),
            simple_key_allowed: true,
            simple_keys: vec![SimpleKey { possible: false, required: false, token: 0, mark }],
            flow_level: 0,
            ended: false,
        }
    }

    pub(super) fn peek(&mut self) -> Result<&(Token<'a>, Mark), Error> {
        self.fill()?;
        // `fill` leaves at least one token, the end of the stream being repeated for ever.
        static END: (Token<'static>, Mark) = (Token::StreamEnd, Mark { line: 0, column: 0, index: 0 });
        Ok(self.tokens.front().unwrap_or(&END))
    }

    pub(super) fn take(&mut self) -> Result<(Token<'a>, Mark), Error> {
        self.fill()?;
        self.taken += 1;
        Ok(self.tokens.pop_front().unwrap_or((Token::StreamEnd, self.mark)))
    }

    fn fill(&mut self) -> Result<(), Error> {
        loop {
            if !self.tokens.is_empty() {
                let mut undecided = false;
                for i in 0..self.simple_keys.len() {
                    let key = self.simple_keys[i];
                    if key.possible && key.token == self.taken {
                        undecided = self.still_valid(i)?;
                        break;
                    }
                }
                if !undecided {
                    return Ok(());
                }
            }
            if self.ended {
                if self.tokens.is_empty() {
                    self.tokens.push_back((Token::StreamEnd, self.mark));
                }
                return Ok(());
            }
            self.fetch()?;
        }
    }

    fn still_valid(&mut self, slot: usize) -> Result<bool, Error> {
        let key = self.simple_keys[slot];
        if !key.possible {
            return Ok(false);
        }
        if key.mark.line < self.mark.line || key.mark.index + MAX_SIMPLE_KEY < self.mark.index {
            if key.required {
                return Err(self.error("could not find expected ':'"));
            }
            self.simple_keys[slot].possible = false;
            return Ok(false);
        }
        Ok(true)
    }

    fn fetch(&mut self) -> Result<(), Error> {
        self.skip_to_token();
        self.unroll(self.mark.column as isize);
        let (c, next) = (self.at(0), self.at(1));
        if self.done() {
            return self.fetch_end();
        }
        if self.mark.column == 0 {
            if c == b'%' {
                self.unroll(-1);
                self.drop_simple_key()?;
                self.simple_key_allowed = false;
                return self.scan_directive();
            }
            if self.document_indicator() {
                self.unroll(-1);
                self.drop_simple_key()?;
                self.simple_key_allowed = false;
                let token = if c == b'-' { Token::DocumentStart } else { Token::DocumentEnd };
                return self.push_indicator(token, 3);
            }
        }
        let flow = self.flow_level > 0;
        match c {
            b'[' => self.flow_start(Token::FlowSequenceStart),
            b'{' => self.flow_start(Token::FlowMappingStart),
            b']' => self.flow_end(Token::FlowSequenceEnd),
            b'}' => self.flow_end(Token::FlowMappingEnd),
            b',' => {
                self.drop_simple_key()?;
                self.simple_key_allowed = true;
                self.push_indicator(Token::FlowEntry, 1)
            }
            b'-' if self.blank_or_end(1) => self.block_entry(),
            b'?' if flow || self.blank_or_end(1) => self.explicit_key(),
            b':' if flow || self.blank_or_end(1) => self.value(),
            b'*' | b'&' => {
                self.save_simple_key()?;
                self.simple_key_allowed = false;
                self.scan_anchor(c == b'*')
            }
            b'!' => {
                self.save_simple_key()?;
                self.simple_key_allowed = false;
                self.scan_tag()
            }
            b'|' | b'>' if !flow => {
                self.drop_simple_key()?;
                self.simple_key_allowed = true;
                self.scan_block_scalar(c == b'|')
            }
            b'\'' | b'"' => {
                self.save_simple_key()?;
                self.simple_key_allowed = false;
                self.scan_quoted(c == b'\'')
            }
            b'-' if next != b' ' && next != b'\t' => self.plain(),
            b'?' | b':' if !flow && !self.blank_or_end(1) => self.plain(),
            b'-' | b'?' | b':' | b'#' | b'%' | b'@' | b'`' | b'|' | b'>' | b' ' | b'\t' => {
                Err(self.error("found character that cannot start any token"))
            }
            _ => self.plain(),
        }
    }

    fn plain(&mut self) -> Result<(), Error> {
        self.save_simple_key()?;
        self.simple_key_allowed = false;
        self.scan_plain()
    }

    fn fetch_end(&mut self) -> Result<(), Error> {
        if self.mark.column != 0 {
            self.mark.column = 0;
            self.mark.line += 1;
        }
        self.unroll(-1);
        self.drop_simple_key()?;
        self.simple_key_allowed = false;
        self.tokens.push_back((Token::StreamEnd, self.mark));
        self.ended = true;
        Ok(())
    }

    fn flow_start(&mut self, token: Token<'a>) -> Result<(), Error> {
        self.save_simple_key()?;
        self.simple_keys.push(SimpleKey {
            possible: false,
            required: false,
            token: self.next_number(),
            mark: self.mark,
        });
        self.flow_level += 1;
        if self.flow_level > MAX_NESTING {
            return Err(self.error("exceeded max depth of 1000"));
        }
        self.simple_key_allowed = true;
        self.push_indicator(token, 1)
    }

    fn flow_end(&mut self, token: Token<'a>) -> Result<(), Error> {
        self.drop_simple_key()?;
        if self.flow_level > 0 {
            self.flow_level -= 1;
            self.simple_keys.pop();
        }
        self.simple_key_allowed = false;
        self.push_indicator(token, 1)
    }

    fn block_entry(&mut self) -> Result<(), Error> {
        if self.flow_level == 0 {
            if !self.simple_key_allowed {
                return Err(self.error("block sequence entries are not allowed in this context"));
            }
            self.roll(self.mark.column, None, Token::BlockSequenceStart, self.mark)?;
        }
        self.drop_simple_key()?;
        self.simple_key_allowed = true;
        self.push_indicator(Token::BlockEntry, 1)
    }

    fn explicit_key(&mut self) -> Result<(), Error> {
        if self.flow_level == 0 {
            if !self.simple_key_allowed {
                return Err(self.error("mapping keys are not allowed in this context"));
            }
            self.roll(self.mark.column, None, Token::BlockMappingStart, self.mark)?;
        }
        self.drop_simple_key()?;
        self.simple_key_allowed = self.flow_level == 0;
        self.push_indicator(Token::Key, 1)
    }

    fn value(&mut self) -> Result<(), Error> {
        let slot = self.simple_keys.len() - 1;
        if self.still_valid(slot)? {
            let key = self.simple_keys[slot];
            self.tokens.insert(key.token - self.taken, (Token::Key, key.mark));
            self.roll(key.mark.column, Some(key.token), Token::BlockMappingStart, key.mark)?;
            self.simple_keys[slot].possible = false;
            self.simple_key_allowed = false;
        } else {
            if self.flow_level == 0 {
                if !self.simple_key_allowed {
                    return Err(self.error("mapping values are not allowed in this context"));
                }
                self.roll(self.mark.column, None, Token::BlockMappingStart, self.mark)?;
            }
            self.simple_key_allowed = self.flow_level == 0;
        }
        self.push_indicator(Token::Value, 1)
    }

    fn push_indicator(&mut self, token: Token<'a>, width: usize) -> Result<(), Error> {
        let mark = self.mark;
        for _ in 0..width {
            self.skip();
        }
        self.tokens.push_back((token, mark));
        Ok(())
    }

    fn next_number(&self) -> usize {
        self.taken + self.tokens.len()
    }

    fn save_simple_key(&mut self) -> Result<(), Error> {
        if !self.simple_key_allowed {
            return Ok(());
        }
        let required = self.flow_level == 0 && self.indent == self.mark.column as isize;
        self.drop_simple_key()?;
        let key = SimpleKey { possible: true, required, token: self.next_number(), mark: self.mark };
        if let Some(slot) = self.simple_keys.last_mut() {
            *slot = key;
        }
        Ok(())
    }

    fn drop_simple_key(&mut self) -> Result<(), Error> {
        let Some(slot) = self.simple_keys.last_mut() else { return Ok(()) };
        if slot.possible && slot.required {
            return Err(self.error("could not find expected ':'"));
        }
        slot.possible = false;
        Ok(())
    }

    fn roll(&mut self, column: usize, number: Option<usize>, token: Token<'a>, mark: Mark) -> Result<(), Error> {
        if self.flow_level > 0 || self.indent >= column as isize {
            return Ok(());
        }
        self.indents.push(self.indent);
        self.indent = column as isize;
        if self.indents.len() > MAX_NESTING {
            return Err(self.error("exceeded max depth of 1000"));
        }
        match number {
            Some(number) => self.tokens.insert(number - self.taken, (token, mark)),
            None => self.tokens.push_back((token, mark)),
        }
        Ok(())
    }

    fn unroll(&mut self, column: isize) {
        if self.flow_level > 0 {
            return;
        }
        while self.indent > column {
            self.tokens.push_back((Token::BlockEnd, self.mark));
            self.indent = self.indents.pop().unwrap_or(-1);
        }
    }

    fn skip_to_token(&mut self) {
        loop {
            if self.mark.column == 0 && self.text.get(self.pos..).is_some_and(|rest| rest.starts_with('\u{feff}')) {
                self.skip();
            }
            while self.at(0) == b' ' || (self.at(0) == b'\t' && (self.flow_level > 0 || !self.simple_key_allowed)) {
                self.skip();
            }
            if self.at(0) == b'#' {
                self.skip_to_line_end();
            }
            if !self.at_break(0) {
                return;
            }
            self.skip_line();
            if self.flow_level == 0 {
                self.simple_key_allowed = true;
            }
        }
    }

    fn scan_directive(&mut self) -> Result<(), Error> {
        let mark = self.mark;
        self.skip();
        let name = self.word();
        if name.is_empty() {
            return Err(self.error("could not find expected directive name"));
        }
        if !self.blank_or_end(0) {
            return Err(self.error("found unexpected non-alphabetical character"));
        }
        let token = match name.as_str() {
            "YAML" => {
                self.skip_blanks();
                let major = self.version_number()?;
                if self.at(0) != b'.' {
                    return Err(self.error("did not find expected digit or '.' character"));
                }
                self.skip();
                Token::VersionDirective(major, self.version_number()?)
            }
            "TAG" => {
                self.skip_blanks();
                let handle = self.tag_handle(true)?;
                if !self.at_blank(0) {
                    return Err(self.error("did not find expected whitespace"));
                }
                self.skip_blanks();
                let prefix = self.tag_uri(String::new(), false)?;
                if !self.blank_or_end(0) {
                    return Err(self.error("did not find expected whitespace or line break"));
                }
                Token::TagDirective(handle, prefix)
            }
            _ => return Err(self.error("found unknown directive name")),
        };
        self.rest_of_line()?;
        self.tokens.push_back((token, mark));
        Ok(())
    }

    /// Nothing but blanks and a comment up to the end of the line.
    pub(super) fn rest_of_line(&mut self) -> Result<(), Error> {
        self.skip_blanks();
        if self.at(0) == b'#' {
            self.skip_to_line_end();
        }
        if !self.break_or_end(0) {
            return Err(self.error("did not find expected comment or line break"));
        }
        if self.at_break(0) {
            self.skip_line();
        }
        Ok(())
    }

    fn version_number(&mut self) -> Result<u8, Error> {
        let mut value = 0u8;
        let mut length = 0;
        while self.at(0).is_ascii_digit() {
            length += 1;
            if length > 2 {
                return Err(self.error("found extremely long version number"));
            }
            value = value * 10 + (self.at(0) - b'0');
            self.skip();
        }
        if length == 0 {
            return Err(self.error("did not find expected version number"));
        }
        Ok(value)
    }

    fn scan_anchor(&mut self, alias: bool) -> Result<(), Error> {
        let mark = self.mark;
        self.skip();
        let name = self.word();
        let follows =
            self.blank_or_end(0) || matches!(self.at(0), b'?' | b':' | b',' | b']' | b'}' | b'%' | b'@' | b'`');
        if name.is_empty() || !follows {
            return Err(self.error("did not find expected alphabetic or numeric character"));
        }
        let token = if alias { Token::Alias(name) } else { Token::Anchor(name) };
        self.tokens.push_back((token, mark));
        Ok(())
    }

    fn scan_tag(&mut self) -> Result<(), Error> {
        let mark = self.mark;
        let (mut handle, mut suffix) = (String::new(), String::new());
        if self.at(1) == b'<' {
            self.skip();
            self.skip();
            suffix = self.tag_uri(suffix, false)?;
            if self.at(0) != b'>' {
                return Err(self.error("did not find the expected '>'"));
            }
            self.skip();
        } else {
            handle = self.tag_handle(false)?;
            if handle.len() > 1 && handle.ends_with('!') {
                suffix = self.tag_uri(suffix, false)?;
            } else {
                suffix = self.tag_uri(handle[1..].to_owned(), true)?;
                handle = "!".to_owned();
                if suffix.is_empty() {
                    std::mem::swap(&mut handle, &mut suffix);
                }
            }
        }
        if !self.blank_or_end(0) {
            return Err(self.error("did not find expected whitespace or line break"));
        }
        self.tokens.push_back((Token::Tag { handle, suffix }, mark));
        Ok(())
    }

    fn tag_handle(&mut self, directive: bool) -> Result<String, Error> {
        if self.at(0) != b'!' {
            return Err(self.error("did not find expected '!'"));
        }
        self.skip();
        let mut handle = format!("!{}", self.word());
        if self.at(0) == b'!' {
            handle.push('!');
            self.skip();
        } else if directive && handle != "!" {
            return Err(self.error("did not find expected '!'"));
        }
        Ok(handle)
    }

    fn tag_uri(&mut self, head: String, may_be_empty: bool) -> Result<String, Error> {
        let mut octets = head.into_bytes();
        let mut found = may_be_empty;
        loop {
            let c = self.at(0);
            if c == b'%' {
                let digit = |b: u8| char::from(b).to_digit(16);
                let (Some(high), Some(low)) = (digit(self.at(1)), digit(self.at(2))) else {
                    return Err(self.error("did not find URI escaped octet"));
                };
                octets.push((high * 16 + low) as u8);
                self.skip();
                self.skip();
                self.skip();
            } else if c.is_ascii_alphanumeric() || (c != 0 && b"_-;/?:@&=+$,.!~*'()[]".contains(&c)) {
                octets.push(c);
                self.skip();
            } else {
                break;
            }
            found = true;
        }
        if !found {
            return Err(self.error("did not find expected tag URI"));
        }
        String::from_utf8(octets).map_err(|_| self.error("found an incorrect trailing UTF-8 octet"))
    }

    fn word(&mut self) -> String {
        let start = self.pos;
        while self.at(0).is_ascii_alphanumeric() || matches!(self.at(0), b'_' | b'-') {
            self.skip();
        }
        self.text[start..self.pos].to_owned()
    }

    // Characters. Beyond the end every byte reads as NUL, which the input cannot contain.

    pub(super) fn at(&self, ahead: usize) -> u8 {
        self.bytes.get(self.pos + ahead).copied().unwrap_or(0)
    }

    pub(super) fn done(&self) -> bool {
        self.pos >= self.bytes.len()
    }

    pub(super) fn at_blank(&self, ahead: usize) -> bool {
        matches!(self.at(ahead), b' ' | b'\t')
    }

    /// CR, LF, NEL (C2 85), LS and PS (E2 80 A8/A9) all break lines in YAML 1.1.
    pub(super) fn at_break(&self, ahead: usize) -> bool {
        match self.at(ahead) {
            b'\r' | b'\n' => true,
            0xc2 => self.at(ahead + 1) == 0x85,
            0xe2 => self.at(ahead + 1) == 0x80 && matches!(self.at(ahead + 2), 0xa8 | 0xa9),
            _ => false,
        }
    }

    fn break_or_end(&self, ahead: usize) -> bool {
        self.pos + ahead >= self.bytes.len() || self.at_break(ahead)
    }

    pub(super) fn blank_or_end(&self, ahead: usize) -> bool {
        self.at_blank(ahead) || self.break_or_end(ahead)
    }

    pub(super) fn document_indicator(&self) -> bool {
        let three = |c| self.at(0) == c && self.at(1) == c && self.at(2) == c;
        (three(b'-') || three(b'.')) && self.blank_or_end(3)
    }

    pub(super) fn skip(&mut self) {
        self.pos += match self.at(0) {
            0..0x80 => 1,
            0x80..0xe0 => 2,
            0xe0..0xf0 => 3,
            _ => 4,
        };
        self.mark.index += 1;
        self.mark.column += 1;
    }

    fn skip_blanks(&mut self) {
        while self.at_blank(0) {
            self.skip();
        }
    }

    pub(super) fn skip_to_line_end(&mut self) {
        while !self.break_or_end(0) {
            self.skip();
        }
    }

    pub(super) fn skip_line(&mut self) {
        let (bytes, chars) = match (self.at(0), self.at(1)) {
            (b'\r', b'\n') => (2, 2),
            (b'\r' | b'\n', _) => (1, 1),
            (0xc2, _) => (2, 1),
            _ => (3, 1),
        };
        self.pos += bytes;
        self.mark.index += chars;
        self.mark.column = 0;
        self.mark.line += 1;
    }

    /// Consumes a line break, if there is one, and appends it in its normal form.
    pub(super) fn read_line(&mut self, out: &mut String) {
        if !self.at_break(0) {
            return;
        }
        match (self.at(0), self.at(2)) {
            (0xe2, 0xa8) => out.push('\u{2028}'),
            (0xe2, _) => out.push('\u{2029}'),
            _ => out.push('\n'),
        }
        self.skip_line();
    }

    pub(super) fn error(&self, problem: &'static str) -> Error {
        // go-yaml leaves the line out when it is the first one.
        let line = if self.mark.line > 0 { self.mark.line + 1 } else { 0 };
        Error::syntax(line, problem)
    }
}
