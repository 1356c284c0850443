//! Which texts of a user's values are secrets, and that no field shows them.
//!
//! A provider cannot see that a value is sensitive: the cores keep that to themselves. So the user lists paths
//! (`sensitive_values`), and what a path's last key calls a secret is taken for one. The texts found there are looked
//! for in every field of what the charts make of the values: a field that holds one is shown as a digest. Pure.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

use super::fields;

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
                value if is_secret(key) => self.all_of(value),
                Json::Object(members) => self.add_named(members),
                Json::Array(items) => items.iter().filter_map(Json::as_object).for_each(|item| {
                    // `{name: API_TOKEN, value: …}`, as environments are written.
                    match (item.get("name").and_then(Json::as_str), item.get("value")) {
                        (Some(name), Some(value)) if is_secret(name) => self.all_of(value),
                        _ => self.add_named(item),
                    }
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

    /// A text of several lines is shown line by line in some places.
    fn text(&mut self, text: &str) {
        let lines = text.lines().map(str::trim);
        self.0.extend([text].into_iter().chain(lines).filter(|text| text.len() >= SHORTEST).map(str::to_owned));
    }
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

/// Whether a key calls its value a secret. What only names a Secret, or says where one is, is none.
fn is_secret(key: &str) -> bool {
    let plain: String = key.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
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
        "credentials",
        "connectionstring",
        "pwd",
    ];
    ENDS.iter().any(|end| plain.ends_with(end))
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
}
