//! The Schema section: attributes grouped by who sets them, nested ones under anchors of their own.

use std::fmt::Write as _;

use super::one_paragraph;
use crate::schema::{Attribute, Nested, Nesting, Shape};
use crate::value::{Dyn, Type};

/// Appends the section, nested attributes after their parents, depth first.
pub(super) fn render(text: &mut String, attributes: &[Attribute]) {
    text.push_str("\n## Schema\n");
    let mut nested = Vec::new();
    groups(text, attributes, &[], &mut nested);
    while !nested.is_empty() {
        let (path, attributes) = nested.remove(0);
        let dotted = path.join(".");
        let _ = write!(text, "\n<a id=\"{}\"></a>\n### Nested Schema for `{dotted}`\n", anchor(&path));
        let mut inner = Vec::new();
        groups(text, attributes, &path, &mut inner);
        inner.append(&mut nested);
        nested = inner;
    }
}

type Pending<'a> = Vec<(Vec<String>, &'a [Attribute])>;

fn groups<'a>(text: &mut String, attributes: &'a [Attribute], path: &[String], nested: &mut Pending<'a>) {
    let level = if path.is_empty() { "###" } else { "" };
    let heading = |name: &str| if level.is_empty() { format!("{name}:") } else { format!("{level} {name}") };
    type Belongs = fn(&Attribute) -> bool;
    let kinds: [(&str, Belongs); 3] = [
        ("Required", |attribute| attribute.required),
        ("Optional", |attribute| attribute.optional),
        ("Read-Only", |attribute| attribute.is_computed_only()),
    ];
    for (name, belongs) in kinds {
        let mut members: Vec<&Attribute> = attributes.iter().filter(|attribute| belongs(attribute)).collect();
        if members.is_empty() {
            continue;
        }
        members.sort_by(|a, b| a.name.cmp(&b.name));
        let _ = write!(text, "\n{}\n\n", heading(name));
        for attribute in members {
            line(text, attribute, path);
            if let Some(Nested { attributes, .. }) = attribute.nested() {
                let mut path = path.to_vec();
                path.push(attribute.name.clone());
                nested.push((path, attributes));
            }
        }
    }
}

fn line(text: &mut String, attribute: &Attribute, path: &[String]) {
    let mut traits = vec![shape_name(&attribute.shape)];
    if attribute.sensitive {
        traits.push("Sensitive".to_owned());
    }
    if attribute.write_only {
        traits.push("Write-only".to_owned());
    }
    if attribute.deprecated.is_some() {
        traits.push("Deprecated".to_owned());
    }
    let _ = write!(text, "- `{}` ({}) {}", attribute.name, traits.join(", "), one_paragraph(&attribute.description));
    if let Some(default) = attribute.default.as_ref().and_then(literal) {
        let _ = write!(text, " Default: `{default}`.");
    }
    if attribute.replace {
        text.push_str(" Changing it replaces the resource.");
    }
    if let Some(message) = &attribute.deprecated {
        let _ = write!(text, " **Deprecated:** {}", one_paragraph(message));
    }
    if attribute.nested().is_some() {
        let mut path = path.to_vec();
        path.push(attribute.name.clone());
        let _ = write!(text, " (see [below for nested schema](#{}))", anchor(&path));
    }
    text.push('\n');
}

fn anchor(path: &[String]) -> String {
    format!("nestedatt--{}", path.join("--"))
}

fn shape_name(shape: &Shape) -> String {
    match shape {
        Shape::Type(ty) => type_name(ty),
        Shape::Nested(Nested { nesting, .. }) => match nesting {
            Nesting::Single => "Attributes".to_owned(),
            Nesting::List => "Attributes List".to_owned(),
            Nesting::Set => "Attributes Set".to_owned(),
            Nesting::Map => "Attributes Map".to_owned(),
        },
    }
}

/// A type as registry pages spell it.
pub(super) fn type_name(ty: &Type) -> String {
    match ty {
        Type::String => "String".to_owned(),
        Type::Bool => "Boolean".to_owned(),
        Type::Number => "Number".to_owned(),
        Type::Dynamic => "Dynamic".to_owned(),
        Type::List(element) => format!("List of {}", type_name(element)),
        Type::Set(element) => format!("Set of {}", type_name(element)),
        Type::Map(element) => format!("Map of {}", type_name(element)),
        Type::Object(_) => "Object".to_owned(),
        Type::Tuple(_) => "Tuple".to_owned(),
    }
}

/// A default as HCL; none for values that read better in the description.
fn literal(value: &Dyn) -> Option<String> {
    match value {
        Dyn::String(text) => Some(format!("\"{text}\"")),
        Dyn::Bool(flag) => Some(flag.to_string()),
        Dyn::Number(number) => Some(number.to_string()),
        Dyn::List(items) => {
            let items: Option<Vec<String>> = items.iter().map(literal).collect();
            items.map(|items| format!("[{}]", items.join(", ")))
        }
        _ => None,
    }
}
