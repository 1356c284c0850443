//! Reading models on the way to a spec: what is wrong is collected with its path, what is not known yet is noted.
//!
//! Shared by the specs of the resources. Nothing here knows what a particular resource wants.

use std::fmt::Display;

use crate::chart;
use crate::diag::{Diagnostic, Diagnostics};
use crate::kept::hidden::Hidden;
use crate::schema::validate::{is_dns_label, is_dns_subdomain};
use crate::value::{List, Map, Path, Value};

/// Collects what is wrong, and notes whether anything was not known yet.
#[derive(Default)]
pub struct Parser {
    diagnostics: Diagnostics,
    unknown: bool,
}

impl Parser {
    /// What was read: an error with all complaints, `None` where something it needs is not known yet.
    pub fn finish<T>(self, spec: Option<T>) -> Result<Option<T>, Diagnostics> {
        match self.diagnostics.has_errors() {
            true => Err(self.diagnostics),
            false => Ok(spec.filter(|_| !self.unknown)),
        }
    }

    /// Whether everything read so far was known.
    pub fn knows_all(&self) -> bool {
        !self.unknown
    }

    /// Notes that something needed is not known yet, unless it is.
    pub fn note(&mut self, known: bool) {
        self.unknown |= !known;
    }

    /// A known value; null is `None`, and so is unknown, which is noted.
    pub fn plain<T: Clone>(&mut self, value: &Value<T>) -> Option<T> {
        self.unknown |= value.is_unknown();
        value.known().cloned()
    }

    /// A text that must be of some form.
    pub fn parse<T, E: Display>(
        &mut self,
        value: &Value<String>,
        path: impl Into<Path>,
        parse: impl FnOnce(String) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.plain(value)?;
        parse(text).map_err(|error| self.refuse(path, "Unsuitable value", sentence(&error.to_string()))).ok()
    }

    /// The texts of a list; what is not known yet is left out.
    pub fn list(&mut self, list: &Value<List<String>>) -> Vec<String> {
        self.unknown |= !list.is_wholly_known();
        list.items().cloned().collect()
    }

    /// The texts of a map; what is not known yet is left out.
    pub fn map(&mut self, map: &Value<Map<String>>) -> std::collections::BTreeMap<String, String> {
        self.unknown |= !map.is_wholly_known();
        map.entries().map(|(key, value)| (key.to_owned(), value.clone())).collect()
    }

    /// Values documents, merged in order.
    pub fn values(&mut self, documents: &Value<List<String>>) -> chart::Values {
        self.values_at("values", documents)
    }

    /// The same for an attribute of another name.
    pub fn values_at(&mut self, attribute: &str, documents: &Value<List<String>>) -> chart::Values {
        self.values_under(&Path::root(attribute), documents)
    }

    /// The same for an attribute anywhere.
    pub fn values_under(&mut self, attribute: &Path, documents: &Value<List<String>>) -> chart::Values {
        self.unknown |= !documents.is_wholly_known();
        let mut values = chart::Values::default();
        for (index, document) in documents.known().into_iter().flatten().enumerate() {
            let Some(text) = document.known() else { continue };
            match chart::Values::from_yaml(text) {
                Ok(document) => values.merge(document),
                Err(error) => {
                    let detail = format!(
                        "{}. Give a YAML mapping, as in a file for `helm --values`.",
                        sentence(&error.unquoted()).trim_end_matches('.')
                    );
                    self.refuse(attribute.index(index), "Not a values document", detail);
                }
            }
        }
        values
    }

    /// What is secret in values: what keys call so, and what the user lists by path.
    pub fn hidden<'a>(
        &mut self,
        values: impl IntoIterator<Item = &'a chart::Values>,
        paths: &Value<List<String>>,
    ) -> Hidden {
        let values: Vec<_> = values.into_iter().map(chart::Values::as_map).collect();
        let mut hidden = Hidden::default();
        values.iter().for_each(|values| hidden.add_named(values));
        self.unknown |= !paths.is_wholly_known();
        let known = self.knows_all();
        for (index, path) in paths.known().into_iter().flatten().enumerate() {
            let Some(path) = path.known() else { continue };
            // Not `any`: all documents may have it.
            let found = values.iter().filter(|values| hidden.add(values, path)).count();
            if found == 0 && known {
                let detail = format!(
                    "The values have nothing at {path:?}, so nothing would be hidden. Write the keys that lead to it, joined by dots, and a dot within a key as `\\.`."
                );
                self.refuse(Path::root("sensitive_values").index(index), "No such value", detail);
            }
        }
        hidden
    }

    pub fn refuse(&mut self, path: impl Into<Path>, summary: &str, detail: impl Display) {
        self.diagnostics.push(Diagnostic::error(summary).detail(detail.to_string()).at(path));
    }
}

/// Refuses an import of what cannot be there: the names go into the addresses that the API server is asked by, where a
/// part such as `..` leads elsewhere.
pub fn import_of(namespace: &str, names: &[&str]) -> Result<(), Diagnostic> {
    let odd = (!is_dns_label(namespace)).then_some(namespace);
    match odd.or_else(|| names.iter().copied().find(|name| !is_dns_subdomain(name))) {
        Some(odd) => Err(Diagnostic::error("Not a name that Kubernetes has").detail(format!(
            "{odd:?} is no name of a namespace or object: those have lower-case letters, digits, `-` and, but for namespaces, `.`. Correct the import's id or identity."
        ))),
        None => Ok(()),
    }
}

/// An error's text as a sentence.
pub fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let capital: String = chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default();
    if capital.ends_with(['.', '!', '?']) { capital } else { format!("{capital}.") }
}

/// What was parsed, at apply: there nothing is unknown any more.
pub fn complete<T>(spec: Option<T>) -> Result<T, Diagnostics> {
    spec.ok_or_else(|| Diagnostic::bug("An attribute is still unknown at apply.").into())
}

/// The elements of a list, each read at its path; what is not known yet is left out and noted.
pub fn each<T: Clone, U>(
    parser: &mut Parser,
    list: &Value<List<T>>,
    path: &Path,
    read: impl Fn(&mut Parser, &T, &Path) -> Option<U>,
) -> Vec<U> {
    let list = parser.plain(list).unwrap_or_default();
    let mut elements = Vec::new();
    for (index, value) in list.iter().enumerate() {
        let Some(element) = parser.plain(value) else { continue };
        elements.extend(read(parser, &element, &path.index(index)));
    }
    elements
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_import_of_no_name_is_refused() {
        for (namespace, name) in [("istio-system", "a.b-c"), ("x1", "istiod")] {
            assert!(import_of(namespace, &[name]).is_ok(), "{namespace} {name}");
        }
        for (namespace, name) in [
            ("..", "istiod"),
            ("istio-system", ".."),
            ("istio-system", ""),
            ("", "istiod"),
            ("a.b", "istiod"),
            ("istio-system", "a/b"),
            ("istio-system", "a?watch=1"),
            ("istio-system", "%2e%2e"),
            ("istio-system", "A"),
        ] {
            let error = import_of(namespace, &[name]).unwrap_err();
            assert!(error.detail.contains("is no name of"), "{namespace} {name}");
        }
    }

    #[test]
    fn what_is_wrong_with_values_is_said_without_quoting_them() {
        for text in [
            "AUTH_TOKEN: *Zq7hunter2",
            "a:\n  AUTH_TOKEN: !!int Zq7hunter2",
            "a: 1\n{Zq7hunter2: b}: c",
            "Zq7hunter2",
            "[Zq7hunter2]",
            "a: &Zq7hunter2 [*Zq7hunter2]",
            "a: 'Zq7hunter2",
            "a: Zq7hunter2: b",
            "a: %Zq7hunter2",
            "a: @Zq7hunter2",
            "a: !<Zq7hunter2",
            "a: &Zq7hunter2 &b",
            "%YAML Zq7hunter2\n---\n",
            "%TAG !e! Zq7hunter2\n---\na: !f!x y",
            "a: \"\\Zq7hunter2\"",
            "? null\n: Zq7hunter2",
            "a: !!binary Zq7hunter2*",
            "a: !!float Zq7hunter2",
            "- Zq7hunter2\nb: c",
            "a: Zq7hunter2\n\tb: c",
            "18446744073709551615: Zq7hunter2",
        ] {
            let mut parser = Parser::default();
            parser.values(&[text.to_owned()].into_iter().collect());
            let said = parser.finish(Some(())).map_err(|diagnostics| format!("{diagnostics:?}"));
            let Err(said) = said else { panic!("{text} was read") };
            assert!(!said.contains("Zq7"), "{text}: {said}");
        }
    }
}
