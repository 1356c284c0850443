//! Paths of fields in text: `spec.template.spec.containers[name=discovery].image`.

use std::fmt;

use serde_json::{Map, Value};

/// One step from a value to a value inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A member of a map.
    Field(String),
    /// The element of a list whose members have these values, as text.
    Keyed(Vec<(String, String)>),
    /// The element of a set that is this value, as text.
    Item(String),
    Index(usize),
}

/// Steps from the object's root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Path(pub Vec<Step>);

impl Path {
    pub fn then(&self, step: Step) -> Path {
        let mut steps = self.0.clone();
        steps.push(step);
        Path(steps)
    }

    /// Reads what `Display` has written; `None` where it is something else.
    pub fn parse(text: &str) -> Option<Path> {
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(inner) = rest.strip_prefix('[') {
                let (step, after) = parse_bracket(inner)?;
                steps.push(step);
                rest = after;
            } else {
                rest = rest.strip_prefix('.').unwrap_or(rest);
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                if end == 0 {
                    return None;
                }
                steps.push(Step::Field(rest[..end].to_owned()));
                rest = &rest[end..];
            }
        }
        Some(Path(steps))
    }

    pub fn find<'a>(&self, root: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(root, |value, step| step.find(value))
    }
}

impl Step {
    pub fn find<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        match (self, value) {
            (Step::Field(name), Value::Object(map)) => map.get(name),
            (Step::Index(index), Value::Array(items)) => items.get(*index),
            (Step::Keyed(keys), Value::Array(items)) => items.iter().find(|item| has_keys(item, keys)),
            // A quoted word is a member of a map or an element of a set, by what it stands on.
            (Step::Item(text), Value::Object(map)) => map.get(text),
            (Step::Item(text), Value::Array(items)) => items.iter().find(|item| plain(item) == *text),
            _ => None,
        }
    }
}

fn has_keys(item: &Value, keys: &[(String, String)]) -> bool {
    keys.iter().all(|(key, wanted)| match item.get(key) {
        Some(value) => plain(value) == *wanted,
        // The server fills in the one key that manifests leave out.
        None => key == "protocol" && wanted == "TCP",
    })
}

/// A scalar as text without quotes.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The keys of a `k:{…}` entry or of a list element.
pub(super) fn keys_of(map: &Map<String, Value>) -> Vec<(String, String)> {
    map.iter().map(|(key, value)| (key.clone(), plain(value))).collect()
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match step {
                Step::Field(name) if is_word(name) => write!(f, "{}{name}", if index == 0 { "" } else { "." })?,
                Step::Field(name) | Step::Item(name) => write!(f, "[{}]", quoted(name))?,
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Keyed(keys) => {
                    f.write_str("[")?;
                    for (index, (key, value)) in keys.iter().enumerate() {
                        let separator = if index == 0 { "" } else { "," };
                        let value = if is_bare(value) { value.clone() } else { quoted(value) };
                        write!(f, "{separator}{key}={value}")?;
                    }
                    f.write_str("]")?;
                }
            }
        }
        Ok(())
    }
}

fn parse_bracket(inner: &str) -> Option<(Step, &str)> {
    if inner.starts_with('"') {
        let (name, after) = parse_quoted(inner)?;
        return Some((Step::Item(name), after.strip_prefix(']')?));
    }
    if let Some((digits, after)) = inner.split_once(']')
        && let Ok(index) = digits.parse()
    {
        return Some((Step::Index(index), after));
    }
    let mut keys = Vec::new();
    let mut rest = inner;
    loop {
        let (key, after) = rest.split_once('=')?;
        let (value, after) = match after.starts_with('"') {
            true => parse_quoted(after)?,
            false => {
                let end = after.find([',', ']'])?;
                (after[..end].to_owned(), &after[end..])
            }
        };
        keys.push((key.to_owned(), value));
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => return Some((Step::Keyed(keys), after.strip_prefix(']')?)),
        }
    }
}

fn parse_quoted(text: &str) -> Option<(String, &str)> {
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let name = stream.next()?.ok()?;
    let end = stream.byte_offset();
    Some((name, text.get(end..)?))
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn is_word(name: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '$');
    !name.is_empty() && name.chars().all(word)
}

fn is_bare(value: &str) -> bool {
    !value.is_empty() && value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ':'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn text_reads_back() {
        for text in [
            "spec.replicas",
            "spec.template.spec.containers[name=discovery].env[name=A].value",
            "spec.ports[port=443,protocol=TCP].targetPort",
            r#"metadata.labels["istio.io/rev"]"#,
            r#"metadata.finalizers["a.b/c"]"#,
            "spec.servers[0].hosts",
            r#"data["a\"]b"]"#,
            r#"a[name="x,y]"].b"#,
        ] {
            assert_eq!(Path::parse(text).map(|path| path.to_string()).as_deref(), Some(text));
        }
        for text in ["a..b", "a[", "a[x]", "a[\"x"] {
            assert_eq!(Path::parse(text), None, "{text}");
        }
    }

    #[test]
    fn lists_are_searched_by_key_value_and_place() {
        let root = json!({"ports": [{"port": 80}, {"port": 443, "protocol": "TCP", "name": "b"}], "set": ["x", "y"], "m": {"a.b": 1}});
        let find = |text: &str| Path::parse(text).unwrap().find(&root).cloned();
        assert_eq!(find("ports[port=443,protocol=TCP].name"), Some(json!("b")));
        assert_eq!(find("ports[port=80,protocol=TCP].port"), Some(json!(80)));
        assert_eq!(find("ports[port=80,protocol=UDP]"), None);
        assert_eq!(find(r#"set["y"]"#), Some(json!("y")));
        assert_eq!(find(r#"m["a.b"]"#), Some(json!(1)));
        assert_eq!(find("ports[1].port"), Some(json!(443)));
    }
}
