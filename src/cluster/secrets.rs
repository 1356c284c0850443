//! The secrets in use, struck from every text that somebody else wrote: servers echo headers in their complaints, and
//! plugins their environment.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::HeaderValue;

/// What is shorter would strike ordinary words, and is no secret.
const SHORTEST: usize = 4;
const MASK: &str = "(hidden)";

#[derive(Default)]
pub(super) struct Secrets(BTreeSet<String>);

impl Secrets {
    pub fn add(&mut self, secret: &str) {
        let secret = secret.trim();
        if secret.len() >= SHORTEST {
            self.0.insert(secret.to_owned());
        }
    }

    /// The credential of an `Authorization` header; of a password also what it was before it was encoded.
    pub fn of_header(value: Option<&HeaderValue>) -> Secrets {
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

    /// The text without them, as they are, in base64 and as JSON spells them.
    pub fn struck_from(&self, text: &str) -> String {
        let mut text = text.to_owned();
        // The longest first, lest a part of one stay.
        let mut secrets: Vec<&String> = self.0.iter().collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        for secret in secrets {
            let json = serde_json::Value::from(secret.as_str()).to_string();
            for form in [secret.as_str(), json.trim_matches('"'), &BASE64.encode(secret)] {
                if text.contains(form) {
                    text = text.replace(form, MASK);
                }
            }
        }
        text
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
}
