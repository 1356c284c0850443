//! What a text from outside may do to whoever reads it: nothing. Characters that hide or command are written out, and a
//! text that would bury the message is cut.

use std::fmt::Write as _;

/// The longest text of a message, in bytes.
const LONGEST: usize = 12_000;

/// Whether a character does not show, or does something to what shows: controls, marks of direction, what has no width.
///
/// The joiners of Persian and of emoji (U+200C, U+200D) are letters of a kind, and stay.
pub fn hides(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Fillers of Hangul, Khmer and Mongolian, the empty cell of Braille, the joiner of graphemes.
            '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{2800}' | '\u{34f}'
            | '\u{ad}' | '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text of a message: what hides is written as `\u{202e}`, and of a text beyond all measure beginning and end are
/// left.
pub fn shown(text: String) -> String {
    let text = if text.len() > LONGEST { cut(&text) } else { text };
    let is_plain = |c: char| matches!(c, '\n' | '\t') || !hides(c);
    if text.chars().all(is_plain) {
        return text;
    }
    let mut written = String::with_capacity(text.len() + 16);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' if chars.peek() == Some(&'\n') => {}
            c if is_plain(c) => written.push(c),
            c => {
                let _ = write!(written, "{}", c.escape_unicode());
            }
        }
    }
    written
}

fn cut(text: &str) -> String {
    let begin = text.floor_char_boundary(LONGEST / 3 * 2);
    let end = text.ceil_char_boundary(text.len() - LONGEST / 6);
    format!("{} […{} bytes left out…] {}", &text[..begin], end - begin, &text[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hides_is_written_out() {
        let shown = |text: &str| shown(text.to_owned());
        assert_eq!(
            shown("plain, ÄÖ, \u{1F469}\u{200D}\u{1F4BB}\n\tyes"),
            "plain, ÄÖ, \u{1F469}\u{200D}\u{1F4BB}\n\tyes"
        );
        assert_eq!(shown("a\u{1b}[31mb\u{202e}c\u{200b}d\0"), r"a\u{1b}[31mb\u{202e}c\u{200b}d\u{0}");
        assert_eq!(shown("a\r\nb\rc"), "a\nb\\u{d}c");
        assert_eq!(shown("a\u{3164}\u{2800}\u{34f}"), r"a\u{3164}\u{2800}\u{34f}");
        let long = shown(&"ü".repeat(200_000));
        assert!(long.len() < LONGEST && long.starts_with('ü') && long.ends_with('ü'), "{}", long.len());
        assert!(long.contains("bytes left out"), "{long}");
    }
}
