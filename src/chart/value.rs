//! What a template computes with: Go's dynamic values, of which maps have reference semantics.
//!
//! Istio's charts rely on that sharing (`set $ "Values"`, in-place `mustMergeOverwrite`), so a map is a counted cell
//! and everything else is immutable. Nothing about templates, YAML or Helm belongs here.
use std::cell::{Ref, RefCell, RefMut};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value as Json;

/// Deeper structures are refused by every recursive walk: a template can build a map that contains itself.
pub(super) const MAX_DEPTH: usize = 1000;

#[derive(Clone, Debug)]
pub(super) enum Value {
    /// No value at all: the zero `reflect.Value`, whose fields are silently absent.
    Invalid,
    /// An interface that holds nothing; taking a field of it is an error.
    Nil,
    Bool(bool),
    Int(i64),
    Int64(i64),
    Float(f64),
    Str(Rc<str>),
    List(List),
    Map(Map),
    Native(Native),
}

#[derive(Clone, Debug)]
pub(super) struct List {
    pub(super) items: Rc<Vec<Value>>,
    pub(super) element: Element,
}

/// The static element type of a Go slice or map, which only error messages and `typeOf` show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    Any,
    Str,
    Int,
    Byte,
    Lists,
}

#[derive(Clone, Debug)]
pub(super) struct Map {
    cell: Rc<RefCell<BTreeMap<Rc<str>, Value>>>,
    kind: MapKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MapKind {
    Any,
    /// Helm's own `common.Values`.
    Values,
    /// `map[string]string`, which `split` returns.
    Strings,
}

/// Objects that Helm puts into a template's scope as Go structs.
#[derive(Clone, Debug)]
pub(super) enum Native {
    Files(Rc<BTreeMap<String, Arc<[u8]>>>),
    Capabilities(Rc<CapabilitiesObject>),
    KubeVersion(Rc<CapabilitiesObject>),
    HelmVersion,
    ApiVersions(Rc<CapabilitiesObject>),
    Semver(Rc<semver::Version>, Rc<str>),
    Duration(i64),
}

#[derive(Debug)]
pub(super) struct CapabilitiesObject {
    pub(super) version: String,
    pub(super) normalized: String,
    pub(super) major: String,
    pub(super) minor: String,
    pub(super) api_versions: Vec<String>,
}

impl Value {
    pub(super) fn str(text: impl AsRef<str>) -> Self {
        Self::Str(Rc::from(text.as_ref()))
    }

    pub(super) fn list(items: Vec<Value>) -> Self {
        Self::List(List { items: Rc::new(items), element: Element::Any })
    }

    pub(super) fn strings<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> Self {
        let items = items.into_iter().map(Value::str).collect();
        Self::List(List { items: Rc::new(items), element: Element::Str })
    }

    pub(super) fn ints(items: impl IntoIterator<Item = i64>) -> Self {
        let items = items.into_iter().map(Value::Int).collect();
        Self::List(List { items: Rc::new(items), element: Element::Int })
    }

    /// The values of a chart: every number becomes a float64, as Helm's detour over JSON makes it.
    pub(super) fn from_json(json: &Json) -> Self {
        match json {
            Json::Null => Self::Nil,
            Json::Bool(b) => Self::Bool(*b),
            Json::Number(n) => Self::Float(n.as_f64().unwrap_or(0.0)),
            Json::String(s) => Self::str(s),
            Json::Array(items) => Self::list(items.iter().map(Self::from_json).collect()),
            Json::Object(fields) => Self::Map(Map::from_json(fields)),
        }
    }

    pub(super) fn is_nil(&self) -> bool {
        matches!(self, Self::Nil | Self::Invalid)
    }

    /// The meaning of a value in `if`, `with`, `and`, `or` and `not`.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Invalid | Self::Nil => false,
            Self::Bool(b) => *b,
            Self::Int(i) | Self::Int64(i) => *i != 0,
            Self::Float(f) => *f != 0.0,
            Self::Str(s) => !s.is_empty(),
            Self::List(l) => !l.items.is_empty(),
            Self::Map(m) => !m.borrow().is_empty(),
            Self::Native(Native::Files(files)) => !files.is_empty(),
            Self::Native(Native::ApiVersions(caps)) => !caps.api_versions.is_empty(),
            Self::Native(Native::Duration(d)) => *d != 0,
            Self::Native(_) => true,
        }
    }

    pub(super) fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(i) | Self::Int64(i) => Some(*i),
            Self::Native(Native::Duration(d)) => Some(*d),
            _ => None,
        }
    }

    /// Go's name of the type, as `%T` prints it.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Invalid | Self::Nil => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Int64(_) => "int64",
            Self::Float(_) => "float64",
            Self::Str(_) => "string",
            Self::List(l) => match l.element {
                Element::Any => "[]interface {}",
                Element::Str => "[]string",
                Element::Int => "[]int",
                Element::Byte => "[]uint8",
                Element::Lists => "[][]interface {}",
            },
            Self::Map(m) => match m.kind {
                MapKind::Any => "map[string]interface {}",
                MapKind::Values => "common.Values",
                MapKind::Strings => "map[string]string",
            },
            Self::Native(native) => native.type_name(),
        }
    }

    /// Go's name of the kind, as `kindOf` prints it.
    pub(super) fn kind_name(&self) -> &'static str {
        match self {
            Self::Invalid | Self::Nil => "invalid",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Int64(_) => "int64",
            Self::Float(_) => "float64",
            Self::Str(_) => "string",
            Self::List(_) => "slice",
            Self::Map(_) => "map",
            Self::Native(native) => match native {
                Native::Files(_) => "map",
                Native::ApiVersions(_) => "slice",
                Native::Capabilities(_) | Native::Semver(..) => "ptr",
                Native::KubeVersion(_) | Native::HelmVersion => "struct",
                Native::Duration(_) => "int64",
            },
        }
    }

    pub(super) fn deep_copy(&self, depth: usize) -> Result<Self, TooDeep> {
        if depth > MAX_DEPTH {
            return Err(TooDeep);
        }
        Ok(match self {
            Self::List(l) => {
                let items = l.items.iter().map(|v| v.deep_copy(depth + 1)).collect::<Result<_, _>>()?;
                Self::List(List { items: Rc::new(items), element: l.element })
            }
            Self::Map(m) => {
                let mut copy = BTreeMap::new();
                for (k, v) in m.borrow().iter() {
                    copy.insert(k.clone(), v.deep_copy(depth + 1)?);
                }
                Self::Map(Map::new(copy, m.kind))
            }
            other => other.clone(),
        })
    }

    /// `reflect.DeepEqual`: types must agree too.
    pub(super) fn deep_equal(&self, other: &Self, depth: usize) -> bool {
        if depth > MAX_DEPTH {
            return false;
        }
        match (self, other) {
            (Self::Invalid | Self::Nil, Self::Invalid | Self::Nil) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) | (Self::Int64(a), Self::Int64(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a == b,
            (Self::Str(a), Self::Str(b)) => a == b,
            (Self::List(a), Self::List(b)) => {
                a.element == b.element
                    && a.items.len() == b.items.len()
                    && a.items.iter().zip(b.items.iter()).all(|(x, y)| x.deep_equal(y, depth + 1))
            }
            (Self::Map(a), Self::Map(b)) => {
                if Rc::ptr_eq(&a.cell, &b.cell) {
                    return true;
                }
                let (x, y) = (a.borrow(), b.borrow());
                x.len() == y.len() && x.iter().all(|(k, v)| y.get(k).is_some_and(|w| v.deep_equal(w, depth + 1)))
            }
            (Self::Native(Native::Duration(a)), Self::Native(Native::Duration(b))) => a == b,
            _ => false,
        }
    }
}

/// A structure deeper than anything sensible, most likely one that contains itself.
#[derive(Debug)]
pub(super) struct TooDeep;

impl Native {
    fn type_name(&self) -> &'static str {
        match self {
            Self::Files(_) => "engine.files",
            Self::Capabilities(_) => "*common.Capabilities",
            Self::KubeVersion(_) => "common.KubeVersion",
            Self::HelmVersion => "version.BuildInfo",
            Self::ApiVersions(_) => "common.VersionSet",
            Self::Semver(..) => "*semver.Version",
            Self::Duration(_) => "time.Duration",
        }
    }
}

impl Map {
    pub(super) fn new(entries: BTreeMap<Rc<str>, Value>, kind: MapKind) -> Self {
        Self { cell: Rc::new(RefCell::new(entries)), kind }
    }

    pub(super) fn empty() -> Self {
        Self::new(BTreeMap::new(), MapKind::Any)
    }

    pub(super) fn from_json(fields: &serde_json::Map<String, Json>) -> Self {
        let entries = fields.iter().map(|(k, v)| (Rc::from(k.as_str()), Value::from_json(v))).collect();
        Self::new(entries, MapKind::Any)
    }

    pub(super) fn borrow(&self) -> Ref<'_, BTreeMap<Rc<str>, Value>> {
        self.cell.borrow()
    }

    pub(super) fn borrow_mut(&self) -> RefMut<'_, BTreeMap<Rc<str>, Value>> {
        self.cell.borrow_mut()
    }

    pub(super) fn get(&self, key: &str) -> Option<Value> {
        self.cell.borrow().get(key).cloned()
    }

    pub(super) fn insert(&self, key: impl AsRef<str>, value: Value) {
        self.cell.borrow_mut().insert(Rc::from(key.as_ref()), value);
    }

    pub(super) fn kind(&self) -> MapKind {
        self.kind
    }

    pub(super) fn same_as(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.cell, &other.cell)
    }
}
