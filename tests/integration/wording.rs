//! Plain words, as far as a machine can tell: no sentence that goes on for ever, nothing said twice, none of the
//! expressions that CONTRIBUTING lists.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use terraform_provider_mesh::engine::{Engine, Parameter};
use terraform_provider_mesh::provider::Mesh;
use terraform_provider_mesh::resources;
use terraform_provider_mesh::schema::Attribute;

use crate::support::literals::{literals, sources};
use crate::support::pages;

const MOST_WORDS: usize = 40;

/// Expressions that readers stumbled over, and what to write.
const DIALECT: &[(&str, &str)] = &[
    ("at a look", "at a glance"),
    ("arrive at", "the new root, the target root"),
    (" anew", "again; recreates, reissues, replaces"),
    ("go on ", "continue, stay"),
    ("goes on ", "continues, stays"),
    ("in silence", "and reports nothing"),
    ("in vain", "without end"),
    ("without storing it", "as a dry run"),
    ("tell of ", "report, say, name"),
    ("tells of ", "reports, says, names"),
    ("told of ", "informed about, given"),
    ("bring about", "cause"),
    ("taken along", "deleted with"),
    ("takes along", "deletes with"),
    ("nothing to this resource", "ignored"),
    (" such of ", "some of"),
    ("in case that", "if"),
    ("taken back", "reverted, removed"),
    ("takes back", "reverts, removes"),
    ("may dial", "can connect to"),
];

#[test]
fn descriptions_are_short_sentences_that_say_nothing_twice() {
    let mut wrong = BTreeSet::new();
    for (name, text) in descriptions() {
        wrong.extend(
            long_sentences(&text).into_iter().map(|sentence| format!("{name}: over {MOST_WORDS} words: {sentence}")),
        );
        wrong.extend(said_twice(&text).map(|words| format!("{name}: begins two sentences with {words:?}")));
    }
    // As pages show them, with what is added to a description.
    for page in read_by_users()
        .into_iter()
        .filter(|page| page.starts_with("docs/resources/") || page.starts_with("docs/data-sources/"))
    {
        let items = paragraphs(&read(&page)).into_iter().filter(|paragraph| paragraph.starts_with("- `"));
        wrong
            .extend(items.filter_map(|item| said_twice(&item).map(|words| format!("{page}: {words:?} twice: {item}"))));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn pages_are_made_of_short_sentences() {
    let mut wrong = Vec::new();
    for page in read_by_users() {
        for paragraph in paragraphs(&read(&page)) {
            wrong.extend(long_sentences(&paragraph).into_iter().map(|sentence| format!("{page}: {sentence}")));
        }
    }
    assert!(wrong.is_empty(), "sentences of over {MOST_WORDS} words: {wrong:#?}");
}

#[test]
fn nobody_has_to_guess_what_an_expression_means() {
    let mut wrong = Vec::new();
    let mut look = |place: &str, text: &str| {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let found = DIALECT.iter().filter(|(words, _)| format!("{text} ").contains(words));
        wrong.extend(found.map(|(words, instead)| {
            format!("{place}: {words:?}, better {instead:?}: {}", text.chars().take(160).collect::<String>())
        }));
    };
    for (name, text) in descriptions() {
        look(&name, &text);
    }
    for page in read_by_users() {
        paragraphs(&read(&page)).iter().for_each(|paragraph| look(&page, paragraph));
    }
    for file in sources(&root().join("src")) {
        let place = file.strip_prefix(root()).unwrap().display().to_string();
        let text = fs::read_to_string(&file).unwrap();
        let shipped = text.split("#[cfg(test)]").next().unwrap_or_default();
        literals(shipped).iter().for_each(|text| look(&place, text));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_is_long_or_doubled_is_found() {
    let long = "word ".repeat(MOST_WORDS + 1);
    assert_eq!(long_sentences(&format!("Short. {long}. Short.")).len(), 1);
    assert!(long_sentences(&format!("{0}end. {0}end.", "word ".repeat(MOST_WORDS - 1))).is_empty());
    assert!(long_sentences(&format!("Code counts once: `{long}`.")).is_empty());
    let twice = "The cluster. Changing it replaces the control plane. Changing it replaces the resource.";
    assert_eq!(said_twice(twice).as_deref(), Some("Changing it replaces"));
    assert_eq!(said_twice("Changing it replaces the resource. Changing the other does not."), None);
}

/// The pages that users read; contributors have a page of their own.
fn read_by_users() -> Vec<String> {
    let of_users = |page: &String| !page.starts_with("tests/") && page != "CONTRIBUTING.md";
    pages::all().into_iter().filter(of_users).collect()
}

/// Everything that schemas and functions say of themselves, by name.
fn descriptions() -> Vec<(String, String)> {
    let engine = Engine::new(Mesh, resources::registry());
    let schema = engine.schema();
    let mut found = Vec::new();
    let named =
        [&schema.resources, &schema.data_sources, &schema.ephemeral_resources, &schema.list_resources, &schema.actions];
    let provider = [(&"mesh".to_owned(), &schema.provider)].map(|(name, schema)| (name.clone(), schema.clone()));
    for (name, schema) in
        named.into_iter().flatten().map(|(name, schema)| (name.clone(), schema.clone())).chain(provider)
    {
        found.push((name.clone(), schema.description.clone()));
        walk(&name, &schema.attributes, &mut found);
    }
    for (name, signature) in &schema.functions {
        found.push((name.clone(), signature.description.clone()));
        let parameter = |parameter: &Parameter| (format!("{name}({})", parameter.name), parameter.description.clone());
        found.extend(signature.parameters.iter().chain(&signature.variadic).map(parameter));
    }
    found
}

fn walk(of: &str, attributes: &[Attribute], found: &mut Vec<(String, String)>) {
    for attribute in attributes {
        let name = format!("{of}.{}", attribute.name);
        found.push((name.clone(), attribute.description.clone()));
        if let Some(nested) = attribute.nested() {
            walk(&name, &nested.attributes, found);
        }
    }
}

fn long_sentences(text: &str) -> Vec<String> {
    sentences(text).into_iter().filter(|sentence| sentence.split_whitespace().count() > MOST_WORDS).collect()
}

/// The first words that two sentences share.
fn said_twice(text: &str) -> Option<String> {
    let begins = |sentence: &String| {
        let words: Vec<&str> = sentence.split_whitespace().take(3).collect();
        (words.len() == 3).then(|| words.join(" "))
    };
    let mut seen = BTreeSet::new();
    sentences(text).iter().filter_map(begins).find(|words| !seen.insert(words.clone()))
}

/// Sentences, a code span and a link's address counted as no more than a word.
fn sentences(text: &str) -> Vec<String> {
    let plain: String = text.split('`').enumerate().map(|(at, part)| if at % 2 == 0 { part } else { "code" }).collect();
    let mut found = vec![String::new()];
    for word in plain.split_whitespace() {
        let last = found.last_mut().unwrap();
        last.push_str(word);
        last.push(' ');
        if word.ends_with(['.', '!', '?', ';']) || word.ends_with(".)") {
            found.push(String::new());
        }
    }
    found
}

/// Paragraphs, items of lists and cells of tables, without fenced blocks and front matter.
fn paragraphs(page: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut fenced = false;
    let body = page.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---\n")).map_or(page, |(_, body)| body);
    for line in body.lines() {
        let inner = line.trim_start();
        if inner.starts_with("```") || inner.starts_with("~~~") {
            fenced = !fenced;
        } else if fenced {
            continue;
        } else if inner.starts_with('|') {
            found.extend(inner.split('|').map(str::to_owned));
        } else if inner.is_empty()
            || inner.starts_with(['#', '-', '*', '>'])
            || inner.starts_with(|c: char| c.is_ascii_digit())
        {
            found.push(inner.to_owned());
        } else {
            let last = found.last_mut().unwrap();
            last.push(' ');
            last.push_str(inner);
        }
    }
    found
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
