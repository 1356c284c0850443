//! Which subcharts take part in a rendering: those that Chart.yaml lists may be turned off by values.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

use super::{Chart, Error, Values, values};

/// The chart without the subcharts that these values turn off.
pub(super) fn enabled<'a>(chart: &'a Chart, values: &Values) -> Result<Cow<'a, Chart>, Error> {
    let listed = listed(chart);
    if listed.is_empty() {
        return Ok(Cow::Borrowed(chart));
    }
    let is_missing = |name: &&str| chart.dependencies.iter().all(|subchart| subchart.name() != *name);
    let missing: Vec<&str> = listed.iter().map(name).filter(is_missing).collect();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        return Err(Error::Load(format!("found in Chart.yaml, but missing in charts/ directory: {missing}")));
    }
    let mut chart = chart.clone();
    turn_off(&mut chart, values, "")?;
    Ok(Cow::Owned(chart))
}

/// As Helm does it, which lays the values of each subchart beside those of its parent, and looks there.
fn turn_off(chart: &mut Chart, values: &Values, path: &str) -> Result<(), Error> {
    let mut listed = listed(chart);
    if listed.is_empty() {
        return Ok(());
    }
    let values = values::coalesce(chart, values)?;
    let off: BTreeSet<String> = listed
        .iter()
        .filter(|entry| !is_on(entry, values.as_map(), path))
        .map(|entry| name(entry).to_owned())
        .collect();
    listed.retain(|entry| !off.contains(name(entry)));
    for entry in &mut listed {
        for unsupported in ["alias", "import-values"] {
            if entry.get(unsupported).is_some_and(says_something) {
                return Err(Error::Load(format!(
                    "Chart.yaml of {} lists {} with `{unsupported}`, which is not supported here",
                    chart.name(),
                    name(entry)
                )));
            }
        }
        if let Json::Object(entry) = entry {
            entry.insert("enabled".to_owned(), true.into());
        }
    }
    chart.metadata.insert("dependencies".to_owned(), listed.into());
    chart.dependencies.retain(|subchart| !off.contains(subchart.name()));
    for subchart in &mut chart.dependencies {
        let path = format!("{path}{}.", subchart.name());
        turn_off(subchart, &values, &path)?;
    }
    Ok(())
}

/// The first path of `condition` that leads to true or false decides; without one the tags do.
fn is_on(entry: &Json, values: &Map<String, Json>, path: &str) -> bool {
    let condition = entry.get("condition").and_then(Json::as_str).unwrap_or_default();
    let paths = condition.trim().split(',').filter(|condition| !condition.is_empty());
    let said = paths.map(|condition| at(values, &format!("{path}{condition}"))).find_map(|found| found?.as_bool());
    said.unwrap_or_else(|| {
        let tags = entry.get("tags").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str);
        let said: Vec<bool> = tags.filter_map(|tag| values.get("tags")?.get(tag)?.as_bool()).collect();
        said.is_empty() || said.contains(&true)
    })
}

fn at<'a>(values: &'a Map<String, Json>, path: &str) -> Option<&'a Json> {
    let mut keys = path.split('.');
    let first = values.get(keys.next()?);
    keys.try_fold(first?, |value, key| value.get(key))
}

fn listed(chart: &Chart) -> Vec<Json> {
    let listed = chart.metadata.get("dependencies").and_then(Json::as_array);
    listed.into_iter().flatten().filter(|entry| entry.is_object()).cloned().collect()
}

fn name(entry: &Json) -> &str {
    entry.get("name").and_then(Json::as_str).unwrap_or_default()
}

fn says_something(value: &Json) -> bool {
    match value {
        Json::Null => false,
        Json::String(text) => !text.is_empty(),
        Json::Array(items) => !items.is_empty(),
        _ => true,
    }
}
