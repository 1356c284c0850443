//! What a template computes with: Go's dynamic values, of which maps have reference semantics.
//!
//! Istio's charts rely on that sharing (`set $ "Values"`, in-place `mustMergeOverwrite`), so a map is a counted cell
//! and everything else is immutable. Nothing about templates, YAML or Helm belongs here.
use std::cell::{Ref, RefCell, RefMut};
use std::collections::BTreeMap;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value as Json;

use super::Capabilities;
use super::budget::{self, TooMuch};

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
    pub(super) items: Rc<Items>,
    pub(super) element: Element,
}

/// What a list holds. A template can nest lists and maps as deep as it likes, so they are taken apart without
/// recursion.
#[derive(Debug)]
pub(super) struct Items(Vec<Value>);

impl Deref for Items {
    type Target = Vec<Value>;

    fn deref(&self) -> &Vec<Value> {
        &self.0
    }
}

impl Drop for Items {
    fn drop(&mut self) {
        take_apart(std::mem::take(&mut self.0));
    }
}

/// What a map holds.
#[derive(Debug)]
struct Entries(BTreeMap<Rc<str>, Value>);

impl Drop for Entries {
    fn drop(&mut self) {
        take_apart(std::mem::take(&mut self.0).into_values().collect());
    }
}

fn take_apart(mut open: Vec<Value>) {
    while let Some(value) = open.pop() {
        match value {
            Value::List(list) => {
                if let Some(mut items) = Rc::into_inner(list.items) {
                    open.append(&mut items.0);
                }
            }
            Value::Map(map) => {
                if let Some(cell) = Rc::into_inner(map.cell) {
                    open.extend(std::mem::take(&mut cell.into_inner().0).into_values());
                }
            }
            _ => {}
        }
    }
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
    cell: Rc<RefCell<Entries>>,
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
    Capabilities(Rc<Capabilities>),
    KubeVersion(Rc<Capabilities>),
    HelmVersion,
    ApiVersions(Rc<Capabilities>),
    Semver(Rc<semver::Version>, Rc<str>),
    Duration(i64),
}

impl Value {
    /// A text, empty where there is no room left for it.
    pub(super) fn str(text: impl AsRef<str>) -> Self {
        let text = text.as_ref();
        // One that was cut off where it became too long must not pass for a whole one.
        let made = if text.len() > budget::MAX_TEXT { usize::MAX } else { budget::NODE + text.len() };
        let fits = budget::goes_on(1 + text.len() / BYTES_A_STEP, made);
        Self::Str(Rc::from(if fits { text } else { "" }))
    }

    pub(super) fn list(items: Vec<Value>) -> Self {
        Self::list_of(items, Element::Any)
    }

    /// A list, empty where there is no room left for it.
    pub(super) fn list_of(items: Vec<Value>, element: Element) -> Self {
        let fits = budget::goes_on(1 + items.len() / ITEMS_A_STEP, budget::NODE * (items.len() + 2));
        Self::List(List { items: Rc::new(Items(if fits { items } else { Vec::new() })), element })
    }

    pub(super) fn strings<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> Self {
        Self::list_of(items.into_iter().map(Value::str).collect(), Element::Str)
    }

    pub(super) fn ints(items: impl IntoIterator<Item = i64>) -> Self {
        Self::list_of(items.into_iter().map(Value::Int).collect(), Element::Int)
    }

    /// How much work it is to look at the value once, without what its parts hold.
    pub(super) fn shallow_steps(&self) -> usize {
        match self {
            Self::Str(text) => text.len() / BYTES_A_STEP,
            Self::List(list) => list.items.len() / ITEMS_A_STEP,
            Self::Map(map) => map.borrow().len() / ITEMS_A_STEP,
            _ => 0,
        }
    }

    /// The values of a chart: every number becomes a float64, as Helm's detour over JSON makes it.
    pub(super) fn from_json(json: &Json) -> Self {
        if !budget::goes_on(1, 0) {
            return Self::Nil;
        }
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

    pub(super) fn deep_copy(&self, depth: usize) -> Result<Self, WalkError> {
        if depth > MAX_DEPTH {
            return Err(WalkError::TooDeep);
        }
        budget::pay(1, 0)?;
        Ok(match self {
            Self::List(l) => {
                let items = l.items.iter().map(|v| v.deep_copy(depth + 1)).collect::<Result<_, _>>()?;
                Self::list_of(items, l.element)
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
    pub(super) fn deep_equal(&self, other: &Self) -> Result<bool, TooMuch> {
        self.equal_at(other, 0)
    }

    fn equal_at(&self, other: &Self, depth: usize) -> Result<bool, TooMuch> {
        if depth > MAX_DEPTH {
            return Ok(false);
        }
        budget::pay(1, 0)?;
        Ok(match (self, other) {
            (Self::Invalid | Self::Nil, Self::Invalid | Self::Nil) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) | (Self::Int64(a), Self::Int64(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a == b,
            (Self::Str(a), Self::Str(b)) => a == b,
            (Self::List(a), Self::List(b)) => {
                if a.element != b.element || a.items.len() != b.items.len() {
                    return Ok(false);
                }
                for (x, y) in a.items.iter().zip(b.items.iter()) {
                    if !x.equal_at(y, depth + 1)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Self::Map(a), Self::Map(b)) => {
                if Rc::ptr_eq(&a.cell, &b.cell) {
                    return Ok(true);
                }
                let (x, y) = (a.borrow(), b.borrow());
                if x.len() != y.len() {
                    return Ok(false);
                }
                for (key, value) in x.iter() {
                    let Some(other) = y.get(key) else { return Ok(false) };
                    if !value.equal_at(other, depth + 1)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Self::Native(Native::Duration(a)), Self::Native(Native::Duration(b))) => a == b,
            _ => false,
        })
    }
}

/// How much of a long text or list is as much work as one node of a template.
const BYTES_A_STEP: usize = 64;
const ITEMS_A_STEP: usize = 16;

/// Why a walk over a value came to no end.
#[derive(Debug, thiserror::Error)]
pub(super) enum WalkError {
    /// A structure deeper than anything sensible, most likely one that contains itself.
    #[error("the value contains itself")]
    TooDeep,
    #[error(transparent)]
    TooMuch(#[from] TooMuch),
}

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
    /// A map, empty where there is no room left for it.
    pub(super) fn new(entries: BTreeMap<Rc<str>, Value>, kind: MapKind) -> Self {
        let fits = budget::goes_on(1 + entries.len() / ITEMS_A_STEP, budget::mapping(entries.len()));
        let entries = Entries(if fits { entries } else { BTreeMap::new() });
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
        Ref::map(self.cell.borrow(), |entries| &entries.0)
    }

    pub(super) fn borrow_mut(&self) -> RefMut<'_, BTreeMap<Rc<str>, Value>> {
        RefMut::map(self.cell.borrow_mut(), |entries| &mut entries.0)
    }

    pub(super) fn get(&self, key: &str) -> Option<Value> {
        self.borrow().get(key).cloned()
    }

    /// Puts an entry in, as far as there is room.
    pub(super) fn insert(&self, key: impl AsRef<str>, value: Value) {
        let key = key.as_ref();
        if budget::goes_on(1, budget::ENTRY + key.len()) {
            // What was there goes when the map is no longer held: it may hold the map.
            let replaced = self.borrow_mut().insert(Rc::from(key), value);
            drop(replaced);
        }
    }

    pub(super) fn kind(&self) -> MapKind {
        self.kind
    }

    pub(super) fn same_as(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.cell, &other.cell)
    }
}
