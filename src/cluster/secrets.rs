//! The secrets in use, struck from every text that somebody else wrote: servers echo headers in their complaints, and
//! plugins their environment.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::HeaderValue;
use memchr::memmem;

/// What is shorter would strike ordinary words, and is no secret.
const SHORTEST: usize = 4;
/// A part of a secret that is as long is hidden as the whole is.
const PART: usize = 16;
/// Bytes that are looked at of a page for people.
pub(super) const READ_OF_A_PAGE: usize = 64 << 10;
const MASK: &str = "(hidden)";

/// Texts that no message may show.
#[derive(Clone, Default)]
pub struct Secrets(BTreeSet<String>);

impl Secrets {
    /// One more; what is too short to be one is left out.
    pub fn add(&mut self, secret: &str) {
        let secret = secret.trim();
        if secret.len() >= SHORTEST {
            self.0.insert(secret.to_owned());
        }
    }

    /// The credential of an `Authorization` header; of a password also what it was before it was encoded.
    pub(super) fn of_header(value: Option<&HeaderValue>) -> Secrets {
        let mut secrets = Secrets::default();
        let text = value.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let Some((scheme, credential)) = text.split_once(' ') else { return secrets };
        secrets.add(credential);
        if scheme == "Basic"
            && let Some(pair) = BASE64.decode(credential).ok().and_then(|pair| String::from_utf8(pair).ok())
        {
            secrets.add(&pair);
            secrets.add(pair.split_once(':').map_or("", |(_, password)| password));
        }
        secrets
    }

    /// The text without them, as they are, in base64 and as JSON spells them; of a long one also without its parts, for
    /// who answers may quote the beginning, and what is shown may be cut. Strike before cutting all the same.
    pub fn struck_from(&self, text: &str) -> String {
        let mut hidden = vec![false; text.len()];
        for secret in &self.0 {
            let json = serde_json::Value::from(secret.as_str()).to_string();
            hide(text, secret, &mut hidden);
            hide(text, json.trim_matches('"'), &mut hidden);
            // What precedes a secret within what is encoded shifts its spelling.
            for offset in 0..3.min(secret.len()) {
                hide(text, BASE64.encode(&secret.as_bytes()[offset..]).trim_end_matches('='), &mut hidden);
            }
        }
        let mut struck = String::with_capacity(text.len());
        let mut before = false;
        for (start, character) in text.char_indices() {
            match (hidden[start], before) {
                (true, false) => struck.push_str(MASK),
                (true, true) => {}
                (false, _) => struck.push(character),
            }
            before = hidden[start];
        }
        struck
    }

    /// The beginning of what somebody answered, in one line of at most so many characters, for a message. The secrets
    /// go first: of one that is cut too little would be left to be recognised.
    pub(super) fn in_short(&self, body: &[u8], most: usize) -> String {
        let text = String::from_utf8_lossy(&body[..body.len().min(READ_OF_A_PAGE)]);
        self.struck_from(&text.split_whitespace().collect::<Vec<_>>().join(" ")).chars().take(most).collect()
    }
}

/// Marks where the text has the secret, or a part of it that is long enough to be nothing else.
fn hide(text: &str, secret: &str, hidden: &mut [bool]) {
    let (text, secret) = (text.as_bytes(), secret.as_bytes());
    if secret.len() < SHORTEST {
        return;
    }
    let longest = secret.len().min(PART);
    // A part that is long enough has one of these pieces whole.
    let piece = if longest < PART { longest } else { PART / 2 };
    for (number, searched) in secret.chunks_exact(piece).enumerate() {
        let at = number * piece;
        for found in memmem::find_iter(text, searched) {
            let before = text[..found].iter().rev().zip(secret[..at].iter().rev()).take_while(|(a, b)| a == b).count();
            let rest = text[found..].iter().zip(&secret[at..]).take_while(|(a, b)| a == b).count();
            if before + rest >= longest {
                hidden[found - before..found + rest].fill(true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_struck_from_what_comes_back() {
        let token = Secrets::of_header(Some(&HeaderValue::from_static("Bearer opaque-token")));
        assert_eq!(token.struck_from("bad header: Bearer opaque-token!"), "bad header: Bearer (hidden)!");
        let pair = format!("Basic {}", BASE64.encode("me:pass-word"));
        let basic = Secrets::of_header(Some(&HeaderValue::from_str(&pair).unwrap()));
        assert_eq!(
            basic.struck_from(&format!("{pair}; me:pass-word; pass-word")),
            "Basic (hidden); (hidden); (hidden)"
        );
        assert_eq!(basic.struck_from("a plain text"), "a plain text");
        assert_eq!(Secrets::of_header(None).struck_from("x"), "x");
    }

    #[test]
    fn a_part_of_a_long_secret_is_struck_too() {
        let long = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.marked-payload.marked-signature";
        let mut secrets = Secrets::default();
        secrets.add(long);
        for (text, struck) in [
            (format!("the token begins with {}", &long[..30]), "the token begins with (hidden)"),
            (format!("…{} is no token", &long[20..]), "…(hidden) is no token"),
            (format!("ends with {}, é", &long[40..60]), "ends with (hidden), é"),
            (format!("{}…", &long[..12]), "eyJhbGciOiJS…"),
        ] {
            assert_eq!(secrets.struck_from(&text), struck);
        }
        let encoded = BASE64.encode(format!("Authorization: Bearer {long}\r\n"));
        let shown = secrets.struck_from(&encoded);
        assert!(shown.contains(MASK) && !shown.contains(&BASE64.encode(&long[3..])[..40]), "{shown}");
    }
}
