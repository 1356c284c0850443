//! Which texts of a user's values are secrets, and that no field shows them.
//!
//! A provider cannot see that a value is sensitive: the cores keep that to themselves. So the user lists paths
//! (`sensitive_values`), and what a path's last key calls a secret is taken for one. The texts found there are looked
//! for in every field of what the charts make of the values: a field that holds one is shown as a digest. Pure.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

use super::fields;
use crate::cluster::Secrets;
use crate::schema::names_a_secret;

/// Secrets among values.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Hidden(BTreeSet<String>);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hidden({} texts)", self.0.len())
    }
}

/// Shorter texts are in everything.
const SHORTEST: usize = 4;
/// These are as well, and a setting whose name sounds like a secret's may have them.
const SETTINGS: &[&str] = &["true", "false", "none", "null", "default", "enabled", "disabled", "auto"];

impl Hidden {
    /// Adds what a path of the values leads to: keys joined by dots, a dot within a key as `\.`. `false` where it leads
    /// to nothing.
    pub fn add(&mut self, values: &Map<String, Json>, path: &str) -> bool {
        let keys = keys(path);
        let Some((first, rest)) = keys.split_first() else { return false };
        let found = rest.iter().try_fold(values.get(first), |value, key| Some(value?.get(key)));
        let Some(Some(found)) = found else { return false };
        self.all_of(found);
        true
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a field's text holds one of them.
    pub fn is_in(&self, text: &str) -> bool {
        self.0.iter().any(|secret| text.contains(secret.as_str()))
    }

    /// A message without any of them, nor a long part of one.
    pub fn struck_from(&self, text: &str) -> String {
        let mut secrets = Secrets::default();
        self.0.iter().for_each(|secret| secrets.add(secret));
        secrets.struck_from(text)
    }

    /// The fields with digests in place of what holds a secret; `None` where none does.
    pub fn fields(&self, fields: &fields::Fields) -> Option<fields::Fields> {
        let is_shown = |text: &String| !fields::is_digest(text) && self.is_in(text);
        fields.values().any(is_shown).then(|| {
            let hide = |(path, text): (&String, &String)| {
                let text = if is_shown(text) { fields::shown_digest(text.as_bytes()) } else { text.clone() };
                (path.clone(), text)
            };
            fields.iter().map(hide).collect()
        })
    }

    /// Adds what keys of these values call a secret.
    pub fn add_named(&mut self, values: &Map<String, Json>) {
        for (key, value) in values {
            match value {
                value if names_a_secret(key) => self.all_of(value),
                Json::String(text) if has_password(text) => self.text(text),
                Json::Object(members) => self.add_named(members),
                Json::Array(items) => items.iter().for_each(|item| match item {
                    // `{name: API_TOKEN, value: …}`, as environments are written.
                    Json::Object(item) => match (item.get("name").and_then(Json::as_str), item.get("value")) {
                        (Some(name), Some(value)) if names_a_secret(name) => self.all_of(value),
                        _ => self.add_named(item),
                    },
                    Json::String(text) if has_password(text) => self.text(text),
                    _ => {}
                }),
                _ => {}
            }
        }
    }

    fn all_of(&mut self, value: &Json) {
        match value {
            Json::String(text) => self.text(text),
            Json::Number(number) => self.text(&number.to_string()),
            Json::Array(items) => items.iter().for_each(|item| self.all_of(item)),
            Json::Object(members) => members.values().for_each(|member| self.all_of(member)),
            Json::Bool(_) | Json::Null => {}
        }
    }

    /// A text of several lines is shown line by line in some places, and within JSON as JSON spells it.
    fn text(&mut self, text: &str) {
        let lines = text.lines().map(str::trim);
        let is_secret = |text: &&str| text.len() >= SHORTEST && !SETTINGS.contains(&text.to_ascii_lowercase().as_str());
        for secret in [text].into_iter().chain(lines).filter(is_secret) {
            self.0.extend([secret.to_owned(), spelled_in_json(secret), spelled_by_go(secret)]);
        }
    }
}

fn spelled_in_json(text: &str) -> String {
    let quoted = Json::from(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

/// As `toJson` of a chart writes it.
fn spelled_by_go(text: &str) -> String {
    [("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026"), ("\u{2028}", "\\u2028"), ("\u{2029}", "\\u2029")]
        .into_iter()
        .fold(spelled_in_json(text), |text, (sign, spelling)| text.replace(sign, spelling))
}

fn keys(path: &str) -> Vec<String> {
    let mut keys = vec![String::new()];
    let mut chars = path.chars();
    while let Some(c) = chars.next() {
        match (c, keys.last_mut()) {
            ('.', _) => keys.push(String::new()),
            ('\\', Some(key)) => key.extend(chars.next()),
            (c, Some(key)) => key.push(c),
            (_, None) => {}
        }
    }
    keys
}

/// Whether a text is a URL with a password in it, as the addresses of databases are.
fn has_password(text: &str) -> bool {
    let Some((_, rest)) = text.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').is_some_and(|(user, _)| user.split_once(':').is_some_and(|(_, word)| !word.is_empty()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn values() -> Map<String, Json> {
        let values = json!({
            "pilot": {"env": {"AUTH_TOKEN": "hunter2-very-secret", "PLAIN": "shown"}, "extra": [{"name": "DB_PASSWORD", "value": "opensesame"}, {"name": "A", "value": "b"}]},
            "global": {"imagePullSecrets": ["regcred"], "tokenAudience": "istio-ca", "jwtPolicy": "third-party-jwt"},
            "a.b": {"c": {"d": "listed", "e": ["also", 123_456]}},
            "privateKey": "-----BEGIN\nline of a key\n-----END",
        });
        values.as_object().cloned().unwrap()
    }

    fn by_name(values: &Map<String, Json>) -> Hidden {
        let mut hidden = Hidden::default();
        hidden.add_named(values);
        hidden
    }

    #[test]
    fn what_keys_call_a_secret_is_one_and_what_names_one_is_not() {
        let hidden = by_name(&values());
        for secret in ["hunter2-very-secret", "x opensesame y", "{\"a\":\"hunter2-very-secret\"}", "line of a key"] {
            assert!(hidden.is_in(secret), "{secret}");
        }
        for plain in ["shown", "regcred", "istio-ca", "third-party-jwt", "listed"] {
            assert!(!hidden.is_in(plain), "{plain}");
        }
        assert!(!format!("{hidden:?}").contains("hunter2"));
    }

    /// A list is shown as JSON, and a chart may write JSON into an annotation.
    #[test]
    fn a_secret_is_found_as_json_spells_it() {
        let secret = "a\"b\\c<d>&e\u{1}";
        let hidden = by_name(json!({ "password": secret }).as_object().unwrap());
        for text in [secret.to_owned(), json!([secret]).to_string(), format!("x {}", json!({ "a": secret }))] {
            assert!(hidden.is_in(&text), "{text}");
        }
        assert!(hidden.is_in(r#"{"a":"a\"b\\c\u003cd\u003e\u0026e\u0001"}"#), "as Go writes it");
        assert!(!hidden.struck_from(&json!([secret]).to_string()).contains("b\\\\c"));
    }

    #[test]
    fn listed_paths_hide_all_below_them_and_a_wrong_one_is_told() {
        let mut hidden = Hidden::default();
        assert!(hidden.add(&values(), r"a\.b.c"));
        assert!(hidden.is_in("listed") && hidden.is_in("also") && hidden.is_in("123456") && !hidden.is_in("shown"));
        for wrong in ["", "a.b.c", "pilot.env.NONE", r"a\.b.c.d.e"] {
            assert!(!hidden.add(&values(), wrong), "{wrong}");
        }
    }

    #[test]
    fn a_field_that_holds_one_is_a_digest_and_stays_the_same_one() {
        let hidden = by_name(&values());
        let fields = fields::Fields::from([
            ("env[A].value".to_owned(), "hunter2-very-secret".to_owned()),
            ("b".to_owned(), "c".to_owned()),
        ]);
        let shown = hidden.fields(&fields).unwrap();
        assert!(fields::is_digest(&shown["env[A].value"]) && shown["b"] == "c", "{shown:?}");
        assert_eq!(hidden.fields(&shown), None);
        // The cluster holds the text itself, which is no difference; another text is.
        assert_eq!(fields::like(&shown["env[A].value"], "hunter2-very-secret"), shown["env[A].value"]);
        assert_ne!(fields::like(&shown["env[A].value"], "hunter3"), shown["env[A].value"]);
        assert!(fields::is_digest(&fields::like(&shown["env[A].value"], "hunter3")));
        assert_eq!(fields::like("plain", "hunter3"), "hunter3");
    }

    #[test]
    fn addresses_with_a_password_are_secrets() {
        let values = json!({
            "a": "postgres://me:opensesame@db/x", "b": "https://plain.example:443/@x", "c": "redis://me@cache",
            "ENABLE_AUTH": "true", "d": ["mysql://me:inalist@db"],
        });
        let hidden = by_name(values.as_object().unwrap());
        assert!(hidden.is_in("postgres://me:opensesame@db/x") && hidden.is_in("mysql://me:inalist@db"));
        for plain in ["https://plain.example:443/@x", "redis://me@cache", "true"] {
            assert!(!hidden.is_in(plain), "{plain}");
        }
    }
}
