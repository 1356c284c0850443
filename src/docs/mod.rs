//! Registry pages rendered from schema, prose and example.
//!
//! Pure: the caller (a test that owns `docs/`) reads the examples and writes the pages, in the layout that both
//! registries and tfplugindocs accept.

mod attributes;

use std::fmt::Write as _;

use crate::engine::Signature;
use crate::schema::Schema;
use crate::value::Type;

/// What a page documents; decides its folder and headings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageKind {
    Provider,
    Resource,
    DataSource,
    EphemeralResource,
    ListResource,
    Action,
}

/// What goes into a page beside the schema.
#[derive(Clone, Copy, Debug, Default)]
pub struct Content<'a> {
    /// Markdown after the example: how to use it well.
    pub prose: Option<&'a str>,
    /// `resource.tf` and its like, HCL.
    pub example: Option<&'a str>,
    /// Shell lines that import by id.
    pub import: Option<&'a str>,
    /// An `import` block by identity, HCL.
    pub import_by_identity: Option<&'a str>,
}

/// A file of `docs/`: its path below that folder, and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub path: String,
    pub text: String,
}

impl PageKind {
    fn folder(self) -> Option<&'static str> {
        match self {
            Self::Provider => None,
            Self::Resource => Some("resources"),
            Self::DataSource => Some("data-sources"),
            Self::EphemeralResource => Some("ephemeral-resources"),
            Self::ListResource => Some("list-resources"),
            Self::Action => Some("actions"),
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Provider => "Provider",
            Self::Resource => "Resource",
            Self::DataSource => "Data Source",
            Self::EphemeralResource => "Ephemeral Resource",
            Self::ListResource => "List Resource",
            Self::Action => "Action",
        }
    }
}

/// The page of anything that has a schema. `name` is the full type name, or the provider's.
pub fn page(kind: PageKind, name: &str, schema: &Schema, content: Content) -> Page {
    let short = name.strip_prefix("mesh_").unwrap_or(name);
    // The registries file every page but the provider's own.
    let filed = kind.folder().is_some();
    let mut text = front_matter(&format!("{name} {}", kind.title()), &schema.description, filed);
    let heading =
        if kind == PageKind::Provider { format!("{name} Provider") } else { format!("{name} ({})", kind.title()) };
    let _ = write!(text, "\n# {heading}\n\n{}\n", schema.description.trim());
    if let Some(message) = &schema.deprecated {
        let _ = write!(text, "\n~> **Deprecated** {message}\n");
    }
    if let Some(example) = content.example {
        let _ = write!(text, "\n## Example Usage\n\n```terraform\n{}\n```\n", example.trim());
    }
    if let Some(prose) = content.prose {
        let _ = write!(text, "\n{}\n", prose.trim());
    }
    attributes::render(&mut text, &schema.attributes);
    import_section(&mut text, content);
    let path = kind.folder().map_or_else(|| "index.md".to_owned(), |folder| format!("{folder}/{short}.md"));
    Page { path, text }
}

/// The page of a function.
pub fn function_page(name: &str, signature: &Signature, example: Option<&str>) -> Page {
    let mut text = front_matter(&format!("{name} function"), &signature.summary, true);
    let _ = write!(text, "\n# function: {name}\n\n{}\n", signature.description.trim());
    if let Some(example) = example {
        let _ = write!(text, "\n## Example Usage\n\n```terraform\n{}\n```\n", example.trim());
    }
    let fixed = signature.parameters.iter().map(|parameter| format!("{} {}", parameter.name, spelled(&parameter.ty)));
    let variadic =
        signature.variadic.iter().map(|parameter| format!("{} {}...", parameter.name, spelled(&parameter.ty)));
    let parameters: Vec<String> = fixed.chain(variadic).collect();
    let _ = write!(
        text,
        "\n## Signature\n\n```text\n{name}({}) {}\n```\n\n## Arguments\n\n",
        parameters.join(", "),
        spelled(&signature.returns)
    );
    for (at, parameter) in signature.parameters.iter().chain(&signature.variadic).enumerate() {
        let kind = attributes::type_name(&parameter.ty);
        let _ = writeln!(text, "{}. `{}` ({kind}) {}", at + 1, parameter.name, one_paragraph(&parameter.description));
    }
    Page { path: format!("functions/{name}.md"), text }
}

/// A type as signatures spell it.
fn spelled(ty: &Type) -> String {
    attributes::type_name(ty).to_lowercase()
}

fn front_matter(title: &str, description: &str, filed: bool) -> String {
    let subcategory = if filed { "subcategory: \"\"\n" } else { "" };
    let first = description.split("\n\n").next().unwrap_or_default();
    format!(
        "---\n# Generated from the schema: `make docs` rewrites it.\npage_title: \"{title}\"\n{subcategory}description: |-\n  {}\n---\n",
        one_paragraph(first)
    )
}

fn import_section(text: &mut String, content: Content) {
    if content.import.is_none() && content.import_by_identity.is_none() {
        return;
    }
    text.push_str("\n## Import\n");
    if let Some(lines) = content.import {
        let _ = write!(text, "\nBy id:\n\n```shell\n{}\n```\n", lines.trim());
    }
    if let Some(block) = content.import_by_identity {
        let _ = write!(
            text,
            "\nBy identity, with an `import` block (Terraform 1.12 or OpenTofu 1.12 and later):\n\n```terraform\n{}\n```\n",
            block.trim()
        );
    }
}

/// Markdown on one line: list items and table cells of the page cannot hold a line break.
fn one_paragraph(markdown: &str) -> String {
    markdown.split_whitespace().collect::<Vec<_>>().join(" ")
}
