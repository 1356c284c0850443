//! `docs/` is generated from the schema: this test owns it. `make docs` rewrites it, which sets UPDATE_GENERATED.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lab::tools::{self, Tool};
use serde_json::json;
use terraform_provider_mesh::docs::{self, Content, Page, PageKind};
use terraform_provider_mesh::engine::Engine;
use terraform_provider_mesh::provider::Mesh;
use terraform_provider_mesh::resources;
use terraform_provider_mesh::schema::{self, Attribute, Schema};

use crate::support::cli::{Workspace, clis};
use crate::support::plugin_process::BINARY;

#[tokio::test]
async fn generated_pages_are_current() {
    let pages = pages();
    let folder = root().join("docs");
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        pages.iter().for_each(|page| write(&folder, page));
    }
    let stale: Vec<&str> = pages
        .iter()
        .filter(|page| fs::read_to_string(folder.join(&page.path)).ok().as_deref() != Some(&page.text))
        .map(|page| page.path.as_str())
        .collect();
    assert!(stale.is_empty(), "docs/ is not what the schema says: {stale:?}. Run `make docs` and commit the result.");
    let known: BTreeSet<PathBuf> = pages.iter().map(|page| folder.join(&page.path)).collect();
    for sub in ["resources", "data-sources", "functions", "ephemeral-resources", "list-resources", "actions"] {
        for file in files(&folder.join(sub)) {
            assert!(known.contains(&file), "{} documents nothing that exists", file.display());
        }
    }
}

/// The registries' own tool accepts the pages, beside the schema as a core exports it.
#[test]
fn pages_are_as_the_registries_want_them() {
    let Some(cli) = clis().into_iter().next() else { return };
    let provider = Path::new(BINARY).parent().unwrap();
    let workspace = Workspace::overriding(&cli, "terraform-provider-mesh/mesh", provider);
    workspace.configure(
        "terraform {\n  required_providers {\n    mesh = { source = \"terraform-provider-mesh/mesh\" }\n  }\n}\n",
    );
    let exported = workspace.run(&["providers", "schema", "-json"]).ok().json();
    let schema = exported["provider_schemas"].as_object().unwrap().values().next().unwrap();
    // It looks for the address that it gives a provider which it builds itself.
    let named =
        json!({ "format_version": "1.0", "provider_schemas": { "registry.terraform.io/hashicorp/mesh": schema } });
    fs::write(workspace.path("schema.json"), named.to_string()).unwrap();
    let mut validate = Command::new(tools::path(Tool::Tfplugindocs).unwrap());
    validate.args(["validate", "--provider-name", "terraform-provider-mesh", "--providers-schema"]);
    let said = validate.arg(workspace.path("schema.json")).arg("--provider-dir").arg(root()).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}

#[tokio::test]
async fn every_schema_keeps_the_cores_rules_and_describes_everything() {
    for (name, schema) in schemas() {
        assert_eq!(schema::check(&schema), Vec::<String>::new(), "{name}");
        assert!(!schema.description.is_empty(), "{name} is not described");
        described(&name, &schema.attributes);
    }
}

#[tokio::test]
async fn everything_has_an_example() {
    let engine = engine();
    let schema = engine.schema();
    let examples = root().join("examples");
    let resources = schema.resources.keys().map(|name| format!("resources/{name}/resource.tf"));
    let imports = schema.resources.keys().map(|name| format!("resources/{name}/import.sh"));
    let sources = schema.data_sources.keys().map(|name| format!("data-sources/{name}/data-source.tf"));
    let functions = schema.functions.keys().map(|name| format!("functions/{name}/function.tf"));
    let lists = schema.list_resources.keys().map(|name| format!("list-resources/{name}/list-resource.tfquery.hcl"));
    let actions = schema.actions.keys().map(|name| format!("actions/{name}/action.tf"));
    let missing: Vec<String> = resources
        .chain(imports)
        .chain(lists)
        .chain(actions)
        .chain(sources)
        .chain(functions)
        .filter(|file| !examples.join(file).is_file())
        .collect();
    assert!(missing.is_empty(), "examples/ lacks {missing:?}");
}

fn described(of: &str, attributes: &[Attribute]) {
    for attribute in attributes {
        let name = format!("{of}.{}", attribute.name);
        let text = attribute.description.trim();
        assert!(text.ends_with(['.', ')']), "{name} is not described in sentences: {text:?}");
        if let Some(nested) = attribute.nested() {
            described(&name, &nested.attributes);
        }
    }
}

fn engine() -> std::sync::Arc<Engine> {
    Engine::new(Mesh, resources::registry())
}

fn schemas() -> Vec<(String, Schema)> {
    let engine = engine();
    let schema = engine.schema();
    let named =
        [&schema.resources, &schema.data_sources, &schema.ephemeral_resources, &schema.list_resources, &schema.actions];
    let mut schemas: Vec<(String, Schema)> =
        named.into_iter().flatten().map(|(name, schema)| (name.clone(), schema.clone())).collect();
    schemas.push(("mesh".to_owned(), schema.provider.clone()));
    schemas
}

fn pages() -> Vec<Page> {
    let engine = engine();
    let schema = engine.schema();
    let example = |path: String| fs::read_to_string(root().join("examples").join(path)).ok();
    let mut pages = Vec::new();
    let provider = example("provider/provider.tf".to_owned());
    let prose = fs::read_to_string(root().join("templates/index.md")).ok();
    let content = Content { example: provider.as_deref(), prose: prose.as_deref(), ..Content::default() };
    pages.push(docs::page(PageKind::Provider, "mesh", &schema.provider, content));
    for (kind, folder, file, schemas) in [
        (PageKind::Resource, "resources", "resource.tf", &schema.resources),
        (PageKind::DataSource, "data-sources", "data-source.tf", &schema.data_sources),
        (PageKind::EphemeralResource, "ephemeral-resources", "ephemeral-resource.tf", &schema.ephemeral_resources),
        (PageKind::ListResource, "list-resources", "list-resource.tfquery.hcl", &schema.list_resources),
        (PageKind::Action, "actions", "action.tf", &schema.actions),
    ] {
        for (name, schema) in schemas {
            let files = |file: &str| example(format!("{folder}/{name}/{file}"));
            let (usage, import, identity) = (files(file), files("import.sh"), files("import-by-identity.tf"));
            let prose = fs::read_to_string(root().join(format!("templates/{folder}/{name}.md"))).ok();
            let content = Content {
                prose: prose.as_deref(),
                example: usage.as_deref(),
                import: import.as_deref(),
                import_by_identity: identity.as_deref(),
            };
            pages.push(docs::page(kind, name, schema, content));
        }
    }
    for (name, signature) in &schema.functions {
        let example = example(format!("functions/{name}/function.tf"));
        pages.push(docs::function_page(name, signature, example.as_deref()));
    }
    pages
}

fn write(folder: &Path, page: &Page) {
    let path = folder.join(&page.path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, &page.text).unwrap();
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
