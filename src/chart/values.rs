//! Values: reading, laying one document over another, and joining them with a chart's own.
use serde_json::{Map, Value as Json};

use super::budget::Budget;
use super::{Chart, Error, Values, yaml};

impl Values {
    /// Reads one or more YAML documents and merges them in order; an empty text gives empty values.
    ///
    /// Safe for texts of anybody: what aliases repeat is at most 10 times their length and 1 MiB, all of it never more
    /// than 192 MiB; nothing in them is nested deeper than 250, aliases included. Past that it is an error, which names
    /// the line.
    pub fn from_yaml(text: &str) -> Result<Self, Error> {
        let mut values = Self::default();
        let mut budget = Budget::of(text);
        for document in documents(text) {
            match yaml::parse_within(&document, &mut budget) {
                Ok(Json::Object(map)) => values.merge(map.into()),
                Ok(Json::Null) => {}
                Ok(other) => {
                    let kind = match other {
                        Json::Array(_) => "array",
                        Json::Bool(_) => "bool",
                        Json::Number(_) => "number",
                        _ => "string",
                    };
                    return Err(Error::Values(format!(
                        "cannot unmarshal yaml document: error unmarshaling JSON: while decoding JSON: json: cannot \
                         unmarshal {kind} into Go value of type map[string]interface {{}}"
                    )));
                }
                Err(error) => {
                    return Err(Error::Document { words: error.to_string(), unquoted: error.unquoted() });
                }
            }
        }
        Ok(values)
    }

    /// Lays `over` on top, as a later `--values` file: mappings merge, all else (null too) replaces.
    pub fn merge(&mut self, over: Values) {
        merge_maps(&mut self.map, over.map);
        self.integers.extend(over.integers);
    }

    pub fn as_map(&self) -> &Map<String, Json> {
        &self.map
    }

    pub fn into_map(self) -> Map<String, Json> {
        self.map
    }
}

impl From<Map<String, Json>> for Values {
    fn from(map: Map<String, Json>) -> Self {
        Self { map, integers: Vec::new() }
    }
}

fn merge_maps(base: &mut Map<String, Json>, over: Map<String, Json>) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Json::Object(inner)), Json::Object(from)) => merge_maps(inner, from),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// Documents are separated by lines that begin with `---`, of which nothing else is kept.
fn documents(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for line in text.split_inclusive('\n') {
        let after = line.strip_prefix("---");
        match (after, documents.last_mut()) {
            (Some(after), _) if after.trim().is_empty() => documents.push(String::new()),
            (_, Some(document)) => document.push_str(line),
            _ => {}
        }
    }
    documents
}

/// The values a chart is rendered with: the user's, with the chart's own where the user says nothing.
///
/// A null of the user removes the chart's default. Subcharts find theirs under their name, beside `global`.
pub(super) fn coalesce(chart: &Chart, user: &Values) -> Result<Values, Error> {
    let mut values = user.clone();
    with_dependencies(chart, &mut values.map, false)?;
    Ok(values)
}

fn with_dependencies(chart: &Chart, values: &mut Map<String, Json>, keep_nulls: bool) -> Result<(), Error> {
    with_defaults(chart, values, keep_nulls);
    for subchart in &chart.dependencies {
        let name = subchart.name();
        let mut inner = match values.remove(name) {
            None => Map::new(),
            Some(Json::Object(map)) => map,
            Some(other) => return Err(Error::Values(format!("type mismatch on {name}: {other}"))),
        };
        with_globals(&mut inner, values);
        with_dependencies(subchart, &mut inner, keep_nulls)?;
        values.insert(name.to_owned(), Json::Object(inner));
    }
    Ok(())
}

fn with_defaults(chart: &Chart, values: &mut Map<String, Json>, keep_nulls: bool) {
    for (key, mut default) in chart.values.map.clone() {
        match (values.get_mut(&key), &mut default) {
            (Some(Json::Null), _) if !keep_nulls => {
                values.remove(&key);
            }
            (Some(Json::Object(given)), Json::Object(defaults)) => {
                let is_subchart = chart.dependencies.iter().any(|sub| sub.name() == key);
                let keep = keep_nulls || is_subchart;
                if !keep {
                    remove_nulls(defaults);
                }
                merge_tables(given, std::mem::take(defaults), keep);
            }
            (Some(_), _) => {}
            (None, Json::Null) if !keep_nulls => {}
            (None, value) => {
                if !keep_nulls && let Json::Object(defaults) = value {
                    remove_nulls(defaults);
                }
                values.insert(key, default);
            }
        }
    }
}

/// Fills `given` from `defaults`. A null in `given` removes what `defaults` has, and stays where that has nothing.
fn merge_tables(given: &mut Map<String, Json>, defaults: Map<String, Json>, keep_nulls: bool) {
    for (key, default) in defaults {
        match (given.get_mut(&key), default) {
            (None, default) => {
                given.insert(key, default);
            }
            (Some(Json::Null), default) if !keep_nulls && !default.is_null() => {
                given.remove(&key);
            }
            (Some(Json::Object(inner)), Json::Object(from)) => merge_tables(inner, from, keep_nulls),
            _ => {}
        }
    }
}

fn remove_nulls(map: &mut Map<String, Json>) {
    map.retain(|_, value| match value {
        Json::Null => false,
        Json::Object(inner) => {
            remove_nulls(inner);
            true
        }
        _ => true,
    });
}

/// A subchart sees its parent's globals, and those win over its own.
fn with_globals(inner: &mut Map<String, Json>, outer: &Map<String, Json>) {
    let empty = Map::new();
    let source = match outer.get("global") {
        None => &empty,
        Some(Json::Object(map)) => map,
        Some(_) => return,
    };
    let mut target = match inner.remove("global") {
        None => Map::new(),
        Some(Json::Object(map)) => map,
        Some(other) => {
            inner.insert("global".to_owned(), other);
            return;
        }
    };
    for (key, value) in source {
        match (target.get_mut(key), value) {
            (Some(Json::Object(own)), Json::Object(from)) => {
                let mut merged = from.clone();
                merge_tables(&mut merged, std::mem::take(own), true);
                *own = merged;
            }
            (Some(Json::Object(_)), _) => {}
            (Some(_), Json::Object(_)) => {}
            _ => {
                target.insert(key.clone(), value.clone());
            }
        }
    }
    inner.insert("global".to_owned(), Json::Object(target));
}
