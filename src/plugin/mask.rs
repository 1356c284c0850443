//! A second line of defence for secrets: what looks like key material is cut out of every text that leaves the
//! process. The first line is that nobody puts it there.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

const MASK: &str = "(hidden)";

/// PEM private keys, the same once more in base64 (as Secrets and kubeconfigs carry them), and JSON web tokens.
#[allow(clippy::unwrap_used, reason = "a constant, compiled by a test")]
static SECRETS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"(?s:-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z))",
        r"|LS0tLS1CRUdJTi[A-Za-z0-9+/=]+",
        r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
    ))
    .unwrap()
});

/// What any of the patterns contains. The expressions are made only for a text that has one.
const HINTS: &[&str] = &["PRIVATE KEY", "LS0tLS1CRUdJTi", "eyJ"];

pub(super) fn secrets(text: &str) -> Cow<'_, str> {
    if HINTS.iter().any(|hint| text.contains(hint)) { SECRETS.replace_all(text, MASK) } else { Cow::Borrowed(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_material_is_cut_out_and_the_rest_kept() {
        let key = "a -----BEGIN EC PRIVATE KEY-----\nMHcCAQ\n-----END EC PRIVATE KEY----- b";
        assert_eq!(secrets(key), "a (hidden) b");
        assert_eq!(secrets("cut -----BEGIN PRIVATE KEY-----\nMHc"), "cut (hidden)");
        assert_eq!(secrets("token: eyJhbGciOiJSUzI1.eyJpc3MiOiJr.c2ln-_x!"), "token: (hidden)!");
        assert_eq!(secrets("key: LS0tLS1CRUdJTiBFQw== end"), "key: (hidden) end");
        let harmless = "a PRIVATE KEY is not here; eyJ neither";
        assert_eq!(secrets(harmless), harmless);
    }
}
