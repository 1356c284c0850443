//! Renders all templates of a chart, as Helm's engine does.
//!
//! Order matters: deeper paths first, then by name, both descending. All templates of a chart share one scope, so
//! that what one of them changes the next one sees. Istio's `zzz_profile.yaml` is named for that.
use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::Value as Json;

use super::budget::{self, Ends, TooMuch};
use super::funcs::{self, version_compatible};
use super::template::{Executor, Templates, parse};
use super::value::{Map, MapKind, Native, Value};
use super::{Capabilities, Chart, Error, Release, Values};

/// Rendering runs on a stack of its own: templates may include themselves a thousand times over.
const STACK: usize = 512 << 20;

/// The rendered texts by template path; partials and notes are left out.
pub(super) fn render_all(
    chart: &Chart,
    release: &Release,
    values: &Values,
    capabilities: &Capabilities,
) -> Result<BTreeMap<String, String>, Error> {
    let version = &capabilities.kube_version;
    let wanted = chart.text("kubeVersion");
    if !wanted.is_empty() && !version_compatible(wanted, version.shown()) {
        let (wanted, actual) = (wanted.to_owned(), version.version.clone());
        return Err(Error::KubeVersion { wanted, actual });
    }
    on_this_stack(chart, release, values, capabilities)
}

/// Runs a rendering, the checks before it included, on a thread of its own and within one budget.
pub(super) fn on_a_deep_stack<T: Send>(
    ends: &Ends,
    render: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<T, Error> {
    let rendered = || match budget::render_within(ends, render) {
        Ok(rendered) => rendered,
        Err(TooMuch::Stopped) => Err(Error::Stopped),
        Err(_) => Err(Error::Late),
    };
    #[cfg(test)]
    let rendered = super::hostile::metered(rendered);
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("chart".to_owned()).stack_size(STACK);
        match thread.spawn_scoped(scope, rendered) {
            Ok(handle) => handle.join().unwrap_or_else(|_| Err(Error::Render("rendering template failed".into()))),
            Err(error) => Err(Error::Render(format!("cannot start rendering: {error}"))),
        }
    })
}

/// A template, the scope it is executed in and the folder it counts as being in.
struct Renderable<'a> {
    text: &'a str,
    scope: Map,
    base_path: String,
}

fn on_this_stack(
    chart: &Chart,
    release: &Release,
    values: &Values,
    capabilities: &Capabilities,
) -> Result<BTreeMap<String, String>, Error> {
    let shared = Shared {
        release: release_value(release),
        capabilities: Value::Native(Native::Capabilities(Rc::new(capabilities.clone()))),
    };
    let mut renderables = BTreeMap::new();
    let values = values_value(values);
    let root = collect(chart, chart.name(), true, values, &shared, &mut renderables);
    let result = execute(&renderables);
    // A scope that templates have put into itself would never be freed.
    root.borrow_mut().clear();
    result
}

fn values_value(values: &Values) -> Value {
    let entries = values.map.iter().map(|(k, v)| (Rc::from(k.as_str()), Value::from_json(v))).collect();
    let root = Value::Map(Map::new(entries, MapKind::Values));
    values.integers.iter().fold(root, |root, path| with_integer(root, path))
}

/// The value with the number at `path` as an int64.
fn with_integer(value: Value, path: &[String]) -> Value {
    match (value, path) {
        (Value::Float(f), []) if f.fract() == 0.0 => Value::Int64(f as i64),
        (Value::Map(map), [key, rest @ ..]) => {
            if let Some(inner) = map.get(key) {
                map.insert(key, with_integer(inner, rest));
            }
            Value::Map(map)
        }
        (Value::List(list), [index, rest @ ..]) => {
            let at = index.parse().unwrap_or(usize::MAX);
            let items = list.items.iter().enumerate();
            Value::list(items.map(|(i, v)| if i == at { with_integer(v.clone(), rest) } else { v.clone() }).collect())
        }
        (value, _) => value,
    }
}

struct Shared {
    release: Value,
    capabilities: Value,
}

fn release_value(release: &Release) -> Value {
    let map = Map::empty();
    map.insert("Name", Value::str(&release.name));
    map.insert("Namespace", Value::str(&release.namespace));
    map.insert("IsUpgrade", Value::Bool(release.is_upgrade));
    map.insert("IsInstall", Value::Bool(!release.is_upgrade));
    map.insert("Revision", Value::Int(1));
    map.insert("Service", Value::str("Helm"));
    Value::Map(map)
}

fn collect<'a>(
    chart: &'a Chart,
    path: &str,
    is_root: bool,
    values: Value,
    shared: &Shared,
    renderables: &mut BTreeMap<String, Renderable<'a>>,
) -> Map {
    let subcharts = Map::empty();
    let scope = Map::new(BTreeMap::new(), MapKind::Values);
    scope.insert("Chart", chart_value(chart, is_root));
    scope.insert("Files", Value::Native(Native::Files(Rc::new(chart.files.clone()))));
    scope.insert("Release", shared.release.clone());
    scope.insert("Capabilities", shared.capabilities.clone());
    scope.insert("Values", values.clone());
    scope.insert("Subcharts", Value::Map(subcharts.clone()));
    for subchart in &chart.dependencies {
        let name = subchart.name();
        let inner = match &values {
            Value::Map(map) => map.get(name).filter(|v| matches!(v, Value::Map(_))),
            _ => None,
        };
        let inner = inner.unwrap_or_else(|| Value::Map(Map::new(BTreeMap::new(), MapKind::Values)));
        let path = format!("{path}/charts/{name}");
        let map = collect(subchart, &path, false, inner, shared, renderables);
        subcharts.insert(name, Value::Map(map));
    }
    let library = chart.text("type") == "library";
    for (name, text) in &chart.templates {
        if library && !is_partial(name) {
            continue;
        }
        let renderable = Renderable { text, scope: scope.clone(), base_path: format!("{path}/templates") };
        renderables.insert(format!("{path}/{name}"), renderable);
    }
    scope
}

/// `.Chart`, whose fields are named as in Helm's structure.
fn chart_value(chart: &Chart, is_root: bool) -> Value {
    let map = Map::empty();
    for (field, key) in [
        ("Name", "name"),
        ("Home", "home"),
        ("Version", "version"),
        ("Description", "description"),
        ("Icon", "icon"),
        ("APIVersion", "apiVersion"),
        ("Condition", "condition"),
        ("Tags", "tags"),
        ("AppVersion", "appVersion"),
        ("KubeVersion", "kubeVersion"),
        ("Type", "type"),
    ] {
        map.insert(field, Value::str(chart.text(key)));
    }
    for (field, key) in [("Sources", "sources"), ("Keywords", "keywords")] {
        map.insert(field, list_field(chart, key, Value::from_json));
    }
    map.insert("Maintainers", list_field(chart, "maintainers", |item| pascal_fields(item, &["name", "email", "url"])));
    let dependency = ["name", "version", "repository", "condition", "tags", "enabled", "alias"];
    map.insert("Dependencies", list_field(chart, "dependencies", |item| pascal_fields(item, &dependency)));
    map.insert("Deprecated", Value::Bool(chart.metadata.get("deprecated") == Some(&Json::Bool(true))));
    map.insert("Annotations", chart.metadata.get("annotations").map_or(Value::Nil, Value::from_json));
    map.insert("IsRoot", Value::Bool(is_root));
    Value::Map(map)
}

fn list_field(chart: &Chart, key: &str, read: impl Fn(&Json) -> Value) -> Value {
    let items = chart.metadata.get(key).and_then(Json::as_array);
    Value::list(items.map(|items| items.iter().map(read).collect()).unwrap_or_default())
}

fn pascal_fields(item: &Json, keys: &[&str]) -> Value {
    let map = Map::empty();
    for key in keys {
        let name = match *key {
            "url" => "URL".to_owned(),
            key => format!("{}{}", key[..1].to_uppercase(), &key[1..]),
        };
        map.insert(name, item.get(key).map_or_else(|| Value::str(""), Value::from_json));
    }
    Value::Map(map)
}

fn execute(renderables: &BTreeMap<String, Renderable<'_>>) -> Result<BTreeMap<String, String>, Error> {
    let mut names: Vec<&String> = renderables.keys().collect();
    names.sort_by_key(|name| std::cmp::Reverse((name.matches('/').count(), (*name).clone())));
    let mut templates = Templates::new();
    for name in &names {
        parse(name, renderables[*name].text, &|function| funcs::find(function).is_some(), &mut templates)
            .map_err(|message| Error::Render(parse_message(name, &message)))?;
    }
    let mut executor = Executor::new(templates);
    let mut rendered = BTreeMap::new();
    for name in names {
        if is_partial(name) {
            continue;
        }
        let renderable = &renderables[name];
        let template = Map::new(BTreeMap::new(), MapKind::Values);
        template.insert("Name", Value::str(name));
        template.insert("BasePath", Value::str(&renderable.base_path));
        renderable.scope.insert("Template", Value::Map(template));
        let text = executor
            .execute(name, Value::Map(renderable.scope.clone()))
            .map_err(|failure| Error::Render(failure.helm_message()))?;
        if !name.ends_with("NOTES.txt") {
            let text = if text.contains("<no value>") { text.replace("<no value>", "") } else { text };
            rendered.insert(name.clone(), text);
        }
    }
    Ok(rendered)
}

fn is_partial(name: &str) -> bool {
    name.rsplit('/').next().unwrap_or(name).starts_with('_')
}

/// Helm keeps the place and the last part of the parser's message.
fn parse_message(name: &str, message: &str) -> String {
    let parts: Vec<&str> = message.split(": ").collect();
    match parts[..] {
        [_, location, .., last] => format!("parse error at ({location}): {last}"),
        [_, location] => format!("parse error at ({location}): {location}"),
        _ => format!("parse error in ({name}): {message}"),
    }
}
