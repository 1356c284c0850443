//! The members of the objects Helm puts into scope: `.Files`, `.Capabilities` and what is below them.
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::LazyLock;

use base64::Engine as _;

use super::Param::Str;
use super::glob::Glob;
use super::{Call, Function, Param, Plain, room_for, text};
use crate::chart::value::{Element, Map, MapKind, Native, Value};
use crate::chart::{HELM_VERSION, budget, json, yaml};

/// A method of the object, which takes its receiver as the first argument.
pub(in crate::chart) fn method(native: &Native, name: &str) -> Option<&'static Function> {
    let object = match native {
        Native::Files(_) => "Files",
        Native::ApiVersions(_) => "APIVersions",
        Native::KubeVersion(_) => "KubeVersion",
        Native::Semver(..) => "Semver",
        Native::Duration(_) => "Duration",
        Native::Capabilities(_) | Native::HelmVersion => return None,
    };
    METHODS.iter().find(|((of, method), _)| *of == object && *method == name).map(|(_, function)| function)
}

type Methods = Vec<((&'static str, &'static str), Function)>;

static METHODS: LazyLock<Methods> = LazyLock::new(|| {
    const NONE: &[Param] = &[];
    let rows: &[(&str, &str, &[Param], Plain)] = &[
        ("Files", "Get", &[Str], |args| file_text(&args[0], text(&args[1])).map(Value::str)),
        ("Files", "GetBytes", &[Str], |args| Ok(bytes(file(&args[0], text(&args[1]))))),
        ("Files", "Lines", &[Str], |args| {
            let content = file_text(&args[0], text(&args[1]))?;
            if content.is_empty() {
                return Ok(Value::strings(Vec::<&str>::new()));
            }
            room_for(content.matches('\n').count() + 1, 0)?;
            Ok(Value::strings(content.strip_suffix('\n').unwrap_or(content).split('\n')))
        }),
        ("Files", "Glob", &[Str], glob),
        ("Files", "AsConfig", NONE, |args| {
            as_yaml(&args[0], |name, content| utf8(name, content).map(str::to_owned)).map(Value::str)
        }),
        ("Files", "AsSecrets", NONE, |args| {
            as_yaml(&args[0], |_, content| Ok(base64::engine::general_purpose::STANDARD.encode(content)))
                .map(Value::str)
        }),
        ("APIVersions", "Has", &[Str], |args| match &args[0] {
            Value::Native(Native::ApiVersions(caps)) => {
                Ok(Value::Bool(caps.api_versions.iter().any(|version| version == text(&args[1]))))
            }
            _ => Ok(Value::Bool(false)),
        }),
        ("KubeVersion", "GitVersion", NONE, |args| match &args[0] {
            Value::Native(Native::KubeVersion(caps)) => Ok(Value::str(&caps.kube_version.version)),
            _ => Ok(Value::Invalid),
        }),
        ("KubeVersion", "String", NONE, |args| Ok(Value::str(crate::chart::print::output(&args[0])))),
        ("Semver", "String", NONE, |args| Ok(Value::str(crate::chart::print::display(&args[0])))),
        ("Semver", "Original", NONE, |args| semver_part(&args[0], |_, text| Value::str(text))),
        ("Semver", "Major", NONE, |args| semver_part(&args[0], |v, _| Value::Int64(v.major as i64))),
        ("Semver", "Minor", NONE, |args| semver_part(&args[0], |v, _| Value::Int64(v.minor as i64))),
        ("Semver", "Patch", NONE, |args| semver_part(&args[0], |v, _| Value::Int64(v.patch as i64))),
        ("Semver", "Prerelease", NONE, |args| semver_part(&args[0], |v, _| Value::str(v.pre.as_str()))),
        ("Semver", "Metadata", NONE, |args| semver_part(&args[0], |v, _| Value::str(v.build.as_str()))),
        ("Duration", "String", NONE, |args| Ok(Value::str(crate::chart::print::display(&args[0])))),
    ];
    rows.iter()
        .map(|&(object, name, params, call)| {
            ((object, name), Function { params, variadic: None, boxed: false, call: Call::Plain(call) })
        })
        .collect()
});

/// A field of the object.
pub(in crate::chart) fn field(native: &Native, name: &str) -> Option<Value> {
    Some(match (native, name) {
        (Native::Files(files), name) => bytes(files.get(name).map(|b| &**b).unwrap_or_default()),
        (Native::Capabilities(caps), "KubeVersion") => Value::Native(Native::KubeVersion(caps.clone())),
        (Native::Capabilities(caps), "APIVersions") => Value::Native(Native::ApiVersions(caps.clone())),
        (Native::Capabilities(_), "HelmVersion") => Value::Native(Native::HelmVersion),
        (Native::KubeVersion(caps), "Version") => Value::str(&caps.kube_version.version),
        (Native::KubeVersion(caps), "Major") => Value::str(&caps.kube_version.major),
        (Native::KubeVersion(caps), "Minor") => Value::str(&caps.kube_version.minor),
        (Native::HelmVersion, "Version") => Value::str(HELM_VERSION),
        (Native::HelmVersion, "GitCommit" | "GitTreeState" | "GoVersion" | "KubeClientVersion") => Value::str(""),
        _ => return None,
    })
}

/// What `range` goes over.
pub(in crate::chart) fn range(native: &Native) -> Option<Vec<(Value, Value)>> {
    match native {
        Native::Files(files) => {
            let entries = files.iter().take_while(|_| budget::goes_on(1, 0));
            Some(entries.map(|(k, v)| (Value::str(k), bytes(v))).collect())
        }
        Native::ApiVersions(caps) => {
            let versions = caps.api_versions.iter().enumerate();
            Some(versions.map(|(i, version)| (Value::Int(i as i64), Value::str(version))).collect())
        }
        _ => None,
    }
}

pub(super) fn bytes(content: &[u8]) -> Value {
    let content = if budget::goes_on(content.len() / 64, content.len() * budget::NODE) { content } else { &[] };
    Value::list_of(content.iter().map(|b| Value::Int(i64::from(*b))).collect(), Element::Byte)
}

fn file<'a>(receiver: &'a Value, name: &str) -> &'a [u8] {
    match receiver {
        Value::Native(Native::Files(files)) => files.get(name).map(|content| &**content).unwrap_or_default(),
        _ => &[],
    }
}

fn file_text<'a>(receiver: &'a Value, name: &str) -> Result<&'a str, String> {
    utf8(name, file(receiver, name))
}

/// A text here is UTF-8, unlike Go's. Other bytes put in the place of a file's would go unseen into the cluster.
fn utf8<'a>(name: &str, content: &'a [u8]) -> Result<&'a str, String> {
    std::str::from_utf8(content).map_err(|_| format!("{name} is not UTF-8 text: use .Files.AsSecrets"))
}

fn as_yaml(receiver: &Value, show: impl Fn(&str, &[u8]) -> Result<String, String>) -> Result<String, String> {
    let Value::Native(Native::Files(files)) = receiver else { return Ok(String::new()) };
    let mut entries: BTreeMap<Rc<str>, Value> = BTreeMap::new();
    for (name, content) in files.iter() {
        entries.insert(Rc::from(name.rsplit('/').next().unwrap_or(name)), Value::str(show(name, content)?));
    }
    let text = json::to_json(&Value::Map(Map::new(entries, MapKind::Any))).ok().and_then(|j| yaml::emit(&j));
    Ok(text.unwrap_or_default().trim_end_matches('\n').to_owned())
}

fn glob(args: &[Value]) -> Result<Value, String> {
    let Value::Native(Native::Files(files)) = &args[0] else { return Ok(Value::Invalid) };
    let pattern = Glob::new(text(&args[1]).as_bytes());
    let mut found = BTreeMap::new();
    for (name, content) in files.iter() {
        if pattern.matches(name.as_bytes())? {
            found.insert(name.clone(), content.clone());
        }
    }
    Ok(Value::Native(Native::Files(Rc::new(found))))
}

fn semver_part(value: &Value, part: impl Fn(&semver::Version, &str) -> Value) -> Result<Value, String> {
    match value {
        Value::Native(Native::Semver(version, text)) => Ok(part(version, text)),
        _ => Ok(Value::Invalid),
    }
}
