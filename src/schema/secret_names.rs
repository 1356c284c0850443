//! What a key calls a secret, where nothing else says that its value is one.

/// Whether a key calls its value a secret: `DB_PASSWORD`, `signingKey`, `tokens`. What only names a Secret, or says
/// where one is, is none.
pub fn names_a_secret(key: &str) -> bool {
    const ENDS: &[&str] = &[
        "password",
        "passwd",
        "passphrase",
        "token",
        "secret",
        "apikey",
        "secretkey",
        "privatekey",
        "accesskey",
        "credential",
        "connectionstring",
        "pwd",
    ];
    /// Too short to be looked for within a word.
    const WORDS: &[&str] = &["auth", "pass", "dsn", "cookie", "authorization"];
    /// A key that is shown to everybody, or finds something.
    const OPEN: &[&str] = &[
        "public",
        "pub",
        "topology",
        "label",
        "annotation",
        "config",
        "map",
        "header",
        "hash",
        "sort",
        "partition",
        "group",
        "routing",
        "index",
        "cache",
        "lookup",
        "primary",
        "foreign",
        "selector",
    ];
    const NAMES: &[&str] = &["pullsecrets", "secretref", "secretname", "secretnames", "serviceaccounttoken"];
    let words = words(key);
    let plain = words.concat();
    if NAMES.iter().any(|name| plain.ends_with(name)) {
        return false;
    }
    let one = plain.strip_suffix('s').unwrap_or(&plain);
    let Some((last, before)) = words.split_last() else { return false };
    let of_words = |word: &str| WORDS.contains(&word) || WORDS.contains(&word.trim_end_matches('s'));
    let is_key =
        matches!(last.as_str(), "key" | "keys") && before.last().is_some_and(|of| !OPEN.contains(&of.as_str()));
    ENDS.iter().any(|end| plain.ends_with(end) || one.ends_with(end)) || of_words(last) || is_key
}

/// `DB_PASSWORD`, `dbPassword` and `db-password` are the words `db` and `password`.
fn words(key: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut before = '_';
    for c in key.chars() {
        let begins = !before.is_ascii_alphanumeric() || c.is_ascii_uppercase() && !before.is_ascii_uppercase();
        if c.is_ascii_alphanumeric() {
            match words.last_mut().filter(|_| !begins) {
                Some(word) => word.push(c.to_ascii_lowercase()),
                None => words.push(c.to_ascii_lowercase().to_string()),
            }
        }
        before = c;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_from_what_only_sounds_like_them() {
        for key in [
            "SIGNING_KEY",
            "encryptionKey",
            "hmac-keys",
            "apiKeys",
            "DB_PASSWORDS",
            "tokens",
            "clientSecrets",
            "basicAuth",
            "AUTH",
            "SENTRY_DSN",
            "DB_PASS",
            "authorization",
            "sessionCookie",
            "credentials",
        ] {
            assert!(names_a_secret(key), "{key}");
        }
        for key in [
            "key",
            "publicKey",
            "sshPublicKey",
            "topologyKey",
            "configMapKey",
            "imagePullSecrets",
            "secretName",
            "bypass",
            "tokenAudience",
            "authority",
            "monkey",
            "keyId",
            "PILOT_CERT_PROVIDER",
            "secretRef",
            "automountServiceAccountToken",
            "oauth2Url",
        ] {
            assert!(!names_a_secret(key), "{key}");
        }
    }
}
