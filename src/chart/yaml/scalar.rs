//! The text of scalars: block, quoted and plain ones, with YAML's folding of line breaks.
use std::borrow::Cow;

use super::Error;
use super::scan::{Scanner, Token};

impl<'a> Scanner<'a> {
    pub(super) fn scan_block_scalar(&mut self, literal: bool) -> Result<(), Error> {
        let mark = self.mark;
        self.skip();
        let (mut keep, mut strip, mut increment) = (false, false, 0usize);
        for _ in 0..2 {
            match self.at(0) {
                b'+' | b'-' if !keep && !strip => {
                    keep = self.at(0) == b'+';
                    strip = !keep;
                    self.skip();
                }
                b'0' if increment == 0 => {
                    return Err(self.error("found an indentation indicator equal to 0"));
                }
                c @ b'1'..=b'9' if increment == 0 => {
                    increment = usize::from(c - b'0');
                    self.skip();
                }
                _ => break,
            }
        }
        self.rest_of_line()?;
        let mut indent = match increment {
            0 => 0,
            n => n + self.indent.max(0) as usize,
        };
        let mut text = String::new();
        let mut break_before = String::new();
        let mut breaks = String::new();
        self.block_breaks(&mut indent, &mut breaks)?;
        let mut leading_blank = false;
        while self.mark.column == indent && !self.done() {
            let blank = self.at_blank(0);
            if !literal && !leading_blank && !blank && break_before.starts_with('\n') {
                if breaks.is_empty() {
                    text.push(' ');
                }
            } else {
                text.push_str(&break_before);
            }
            break_before.clear();
            text.push_str(&breaks);
            breaks.clear();
            leading_blank = blank;
            let start = self.pos;
            self.skip_to_line_end();
            text.push_str(&self.text[start..self.pos]);
            self.read_line(&mut break_before);
            self.block_breaks(&mut indent, &mut breaks)?;
        }
        if !strip {
            text.push_str(&break_before);
        }
        if keep {
            text.push_str(&breaks);
        }
        self.tokens.push_back((Token::Scalar { text: Cow::Owned(text), plain: false }, mark));
        Ok(())
    }

    /// Skips indentation and collects line breaks; finds out the indentation when it is not known (0).
    fn block_breaks(&mut self, indent: &mut usize, breaks: &mut String) -> Result<(), Error> {
        let mut widest = 0;
        loop {
            while (*indent == 0 || self.mark.column < *indent) && self.at(0) == b' ' {
                self.skip();
            }
            widest = widest.max(self.mark.column);
            if (*indent == 0 || self.mark.column < *indent) && self.at(0) == b'\t' {
                return Err(self.error("found a tab character where an indentation space is expected"));
            }
            if !self.at_break(0) {
                break;
            }
            self.read_line(breaks);
        }
        if *indent == 0 {
            *indent = widest.max((self.indent + 1).max(1) as usize);
        }
        Ok(())
    }

    pub(super) fn scan_quoted(&mut self, single: bool) -> Result<(), Error> {
        let mark = self.mark;
        self.skip();
        let quote = if single { b'\'' } else { b'"' };
        let start = self.pos;
        let mut text: Option<String> = None;
        let mut folded = Folding::default();
        loop {
            if self.mark.column == 0 && self.document_indicator() {
                return Err(self.error("found unexpected document indicator"));
            }
            if self.done() {
                return Err(self.error("found unexpected end of stream"));
            }
            let mut run = self.pos;
            let mut escaped_break = false;
            while !self.blank_or_end(0) {
                let c = self.at(0);
                if single && c == quote && self.at(1) == quote {
                    let out = text.get_or_insert_with(|| self.text[start..run].to_owned());
                    out.push_str(&self.text[run..=self.pos]);
                    self.skip();
                    self.skip();
                    run = self.pos;
                } else if c == quote {
                    break;
                } else if !single && c == b'\\' {
                    let out = text.get_or_insert_with(|| self.text[start..run].to_owned());
                    out.push_str(&self.text[run..self.pos]);
                    if self.at_break(1) {
                        self.skip();
                        self.skip_line();
                        escaped_break = true;
                        run = self.pos;
                        break;
                    }
                    let c = self.escape()?;
                    if let Some(out) = text.as_mut() {
                        out.push(c);
                    }
                    run = self.pos;
                } else {
                    self.skip();
                }
            }
            let finished = !escaped_break && self.at(0) == quote;
            if finished && text.is_none() && folded.untouched() {
                let whole = &self.text[start..self.pos];
                self.skip();
                self.tokens.push_back((Token::Scalar { text: Cow::Borrowed(whole), plain: false }, mark));
                return Ok(());
            }
            // From the first blank on, or with an escape, the text is no longer one slice of the input.
            let out = text.get_or_insert_with(|| self.text[start..run].to_owned());
            out.push_str(&self.text[run..self.pos]);
            if finished {
                break;
            }
            folded.leading_blanks = escaped_break;
            self.read_blanks(&mut folded, None)?;
            let out = text.get_or_insert_with(String::new);
            folded.write_to(out);
        }
        self.skip();
        let text = Cow::Owned(text.unwrap_or_default());
        self.tokens.push_back((Token::Scalar { text, plain: false }, mark));
        Ok(())
    }

    fn escape(&mut self) -> Result<char, Error> {
        let simple = match self.at(1) {
            b'0' => '\0',
            b'a' => '\x07',
            b'b' => '\x08',
            b't' | b'\t' => '\t',
            b'n' => '\n',
            b'v' => '\x0b',
            b'f' => '\x0c',
            b'r' => '\r',
            b'e' => '\x1b',
            b' ' => ' ',
            b'"' => '"',
            b'\'' => '\'',
            b'\\' => '\\',
            b'N' => '\u{85}',
            b'_' => '\u{a0}',
            b'L' => '\u{2028}',
            b'P' => '\u{2029}',
            width @ (b'x' | b'u' | b'U') => {
                let digits = match width {
                    b'x' => 2,
                    b'u' => 4,
                    _ => 8,
                };
                self.skip();
                self.skip();
                let mut code = 0u32;
                for k in 0..digits {
                    let Some(digit) = char::from(self.at(k)).to_digit(16) else {
                        return Err(self.error("did not find expected hexdecimal number"));
                    };
                    code = (code << 4) | digit;
                }
                let Some(c) = char::from_u32(code) else {
                    return Err(self.error("found invalid Unicode character escape code"));
                };
                for _ in 0..digits {
                    self.skip();
                }
                return Ok(c);
            }
            _ => return Err(self.error("found unknown escape character")),
        };
        self.skip();
        self.skip();
        Ok(simple)
    }

    pub(super) fn scan_plain(&mut self) -> Result<(), Error> {
        let mark = self.mark;
        let indent = self.indent + 1;
        let mut text = Cow::Borrowed("");
        let mut folded = Folding::default();
        loop {
            if (self.mark.column == 0 && self.document_indicator()) || self.at(0) == b'#' {
                break;
            }
            let start = self.pos;
            while !self.blank_or_end(0) {
                let c = self.at(0);
                if (c == b':' && self.blank_or_end(1))
                    || (self.flow_level > 0 && matches!(c, b',' | b'?' | b'[' | b']' | b'{' | b'}'))
                {
                    break;
                }
                self.skip();
            }
            let word = &self.text[start..self.pos];
            if !word.is_empty() {
                if text.is_empty() && folded.untouched() {
                    text = Cow::Borrowed(word);
                } else {
                    let out = text.to_mut();
                    folded.write_to(out);
                    out.push_str(word);
                }
            }
            if !(self.at_blank(0) || self.at_break(0)) {
                break;
            }
            self.read_blanks(&mut folded, Some(indent))?;
            if self.flow_level == 0 && (self.mark.column as isize) < indent {
                break;
            }
        }
        if folded.leading_blanks {
            self.simple_key_allowed = true;
        }
        self.tokens.push_back((Token::Scalar { text, plain: true }, mark));
        Ok(())
    }

    /// Reads the white space between two words of a plain or quoted scalar.
    fn read_blanks(&mut self, folded: &mut Folding, indent: Option<isize>) -> Result<(), Error> {
        loop {
            if self.at_blank(0) {
                if let Some(indent) = indent
                    && folded.leading_blanks
                    && (self.mark.column as isize) < indent
                    && self.at(0) == b'\t'
                {
                    return Err(self.error("found a tab character that violates indentation"));
                }
                if !folded.leading_blanks {
                    folded.blanks.push(char::from(self.at(0)));
                }
                self.skip();
            } else if self.at_break(0) {
                if folded.leading_blanks {
                    self.read_line(&mut folded.more_breaks);
                } else {
                    folded.blanks.clear();
                    self.read_line(&mut folded.first_break);
                    folded.leading_blanks = true;
                }
            } else {
                return Ok(());
            }
        }
    }
}

/// White space inside a scalar, of which a line break counts as a space and further ones as themselves.
#[derive(Default)]
struct Folding {
    leading_blanks: bool,
    blanks: String,
    first_break: String,
    more_breaks: String,
}

impl Folding {
    fn untouched(&self) -> bool {
        !self.leading_blanks && self.blanks.is_empty()
    }

    fn write_to(&mut self, out: &mut String) {
        if self.leading_blanks {
            if self.first_break.starts_with('\n') {
                if self.more_breaks.is_empty() {
                    out.push(' ');
                }
            } else {
                out.push_str(&self.first_break);
            }
            out.push_str(&self.more_breaks);
        } else {
            out.push_str(&self.blanks);
        }
        self.leading_blanks = false;
        self.blanks.clear();
        self.first_break.clear();
        self.more_breaks.clear();
    }
}
