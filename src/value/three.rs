//! The three states of an attribute (known, null, unknown), in types, so that no code forgets one of them.

use std::collections::BTreeMap;
use std::ops::Deref;

/// A field of a model: known, null, or not known before apply.
///
/// Plans hold all three; configuration and state at apply hold no `Unknown` except where the plan left one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Value<T> {
    Known(T),
    #[default]
    Null,
    Unknown,
}

/// A list of attributes' values; each element may be unknown by itself.
pub type List<T> = Vec<Value<T>>;

/// A map with string keys; each element may be unknown by itself.
pub type Map<T> = BTreeMap<String, Value<T>>;

/// A set: order and repetition do not count.
#[derive(Clone, Debug, Default)]
pub struct Set<T>(Vec<Value<T>>);

impl<T> Value<T> {
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            _ => None,
        }
    }

    pub fn known_mut(&mut self) -> Option<&mut T> {
        match self {
            Self::Known(value) => Some(value),
            _ => None,
        }
    }

    pub fn into_option(self) -> Option<T> {
        match self {
            Self::Known(value) => Some(value),
            _ => None,
        }
    }

    /// The known value, else the type's default.
    pub fn or_default(self) -> T
    where
        T: Default,
    {
        self.into_option().unwrap_or_default()
    }

    pub fn is_known(&self) -> bool {
        matches!(self, Self::Known(_))
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown)
    }

    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Value<U> {
        match self {
            Self::Known(value) => Value::Known(f(value)),
            Self::Null => Value::Null,
            Self::Unknown => Value::Unknown,
        }
    }

    /// The known value as what it derefs to: `Value<String>` as `Option<&str>`.
    pub fn as_deref(&self) -> Option<&T::Target>
    where
        T: Deref,
    {
        self.known().map(Deref::deref)
    }

    /// Sets a value that the plan left open: one that is unknown. What is known or null stays.
    pub fn fill(&mut self, value: impl FnOnce() -> T) {
        if self.is_unknown() {
            *self = Self::Known(value());
        }
    }
}

impl Value<String> {
    /// The known string, else the empty one.
    pub fn text(&self) -> &str {
        self.known().map_or("", String::as_str)
    }
}

impl<T: Copy> Value<T> {
    /// The known value, copied.
    pub fn get(&self) -> Option<T> {
        self.known().copied()
    }
}

impl<T> Value<List<T>> {
    /// The known elements; none when the list is null or unknown.
    pub fn items(&self) -> impl Iterator<Item = &T> {
        self.known().into_iter().flatten().filter_map(Value::known)
    }

    /// True when the list and all its elements are known, or it is null.
    pub fn is_wholly_known(&self) -> bool {
        !self.is_unknown() && self.known().into_iter().flatten().all(|element| !element.is_unknown())
    }
}

impl<T> Value<Map<T>> {
    /// The known elements with their keys; none when the map is null or unknown.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &T)> {
        self.known().into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), value.known()?)))
    }

    /// Every key, also those whose value is unknown or null; none when the map is null or unknown.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.known().into_iter().flat_map(|map| map.keys().map(String::as_str))
    }

    /// The known element at a key.
    pub fn entry(&self, key: &str) -> Option<&T> {
        self.known()?.get(key)?.known()
    }

    /// True when the map and all its elements are known, or it is null.
    pub fn is_wholly_known(&self) -> bool {
        !self.is_unknown() && self.known().into_iter().flatten().all(|(_, element)| !element.is_unknown())
    }
}

impl<T> Value<Set<T>> {
    /// The known elements; none when the set is null or unknown.
    pub fn items(&self) -> impl Iterator<Item = &T> {
        self.known().into_iter().flat_map(|set| set.0.iter().filter_map(Value::known))
    }

    /// True when the set and all its elements are known, or it is null.
    pub fn is_wholly_known(&self) -> bool {
        !self.is_unknown() && self.known().into_iter().flat_map(|set| &set.0).all(|element| !element.is_unknown())
    }
}

impl<T> Set<T> {
    pub fn iter(&self) -> impl Iterator<Item = &Value<T>> {
        self.0.iter()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T: PartialEq> PartialEq for Set<T> {
    fn eq(&self, other: &Self) -> bool {
        let within = |a: &Self, b: &Self| a.0.iter().all(|element| b.0.contains(element));
        self.0.len() == other.0.len() && within(self, other) && within(other, self)
    }
}

impl<T> FromIterator<Value<T>> for Set<T> {
    fn from_iter<I: IntoIterator<Item = Value<T>>>(elements: I) -> Self {
        Self(elements.into_iter().collect())
    }
}

impl<T> FromIterator<T> for Set<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        Self(elements.into_iter().map(Value::Known).collect())
    }
}

impl<T> From<T> for Value<T> {
    fn from(value: T) -> Self {
        Self::Known(value)
    }
}

impl From<&str> for Value<String> {
    fn from(value: &str) -> Self {
        Self::Known(value.to_owned())
    }
}

/// `None` is null; use [`Value::Unknown`] for what only apply can tell.
impl<T> From<Option<T>> for Value<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Self::Known)
    }
}

/// Collects plain elements into a known list.
impl<T> FromIterator<T> for Value<List<T>> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        Self::Known(elements.into_iter().map(Value::Known).collect())
    }
}

/// Collects plain entries into a known map.
impl<K: Into<String>, T> FromIterator<(K, T)> for Value<Map<T>> {
    fn from_iter<I: IntoIterator<Item = (K, T)>>(entries: I) -> Self {
        Self::Known(entries.into_iter().map(|(key, value)| (key.into(), Value::Known(value))).collect())
    }
}
