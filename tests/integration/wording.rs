//! Plain words, as far as a machine can tell: no sentence that goes on for ever, nothing said twice, none of the
//! expressions that CONTRIBUTING lists.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;
use terraform_provider_mesh::engine::{Engine, Parameter};
use terraform_provider_mesh::provider::Mesh;
use terraform_provider_mesh::resources;
use terraform_provider_mesh::schema::Attribute;

use crate::support::literals::{literals, sources};
use crate::support::pages;

const MOST_WORDS: usize = 40;

/// Expressions that readers stumbled over, and what to write. CONTRIBUTING's table has the reasons.
const DIALECT: &[(&str, &str)] = &[
    (r"\bat a look\b", "at a glance"),
    (r"\barrive at\b", "the new root, the target root"),
    (r"\banew\b", "again; recreates, reissues, replaces"),
    (r"\b(go|goes|going|went|gone) on\b", "continue, stay"),
    (r"\bin silence\b", "and reports nothing"),
    (r"\bin vain\b", "without end"),
    (r"\bwithout storing it\b", "as a dry run"),
    (r"\b(say|says|said|know|knows|known|hear|hears|heard|tell|tells|told) of\b", "about; report, name, warn"),
    (r"\bbring about\b", "cause"),
    (r"\bnothing to this resource\b", "ignored"),
    (r"\bsuch of\b", "some of"),
    (r"\b[Ss]uch an? \w", "name the thing again"),
    (r"\bin case that\b", "if"),
    (
        r"\b(take|takes|taking|taken|took)( (it|them|(the|a|an|this|these|those) \w+))? (back|away|along)\b",
        "overwrite, revert; delete, remove",
    ),
    (r"\b(stand|stands|standing|stood)\b", "is, lies, appears"),
    (r"\bof before\b", "earlier, from before"),
    (r"\bas soon as there is\b", "when, if"),
    (r"\b[Ff]oreign \w", "somebody else's, another tool's"),
    // "May" for "is allowed to", as far as the verb tells it from "perhaps".
    (r"\bmay (read|list|sign|create|write|push|only)\b", "can, is allowed to"),
    (r"\bmay not (be )?(read|list|set|write|lead)\b", "cannot, is not allowed to, must not"),
    (r"\b([Ww]ho|[Ww]hoever) may\b", "can, is allowed to"),
    (r"\b[Ww]hat( \w+){1,3} may (do|read)\b", "can, is allowed to"),
    (r"\bmay dial\b", "can connect to"),
];

/// What begins like an expression above and is good English.
const FINE: &[&str] = &["stand for", "stands for", "stood for"];

/// A pronoun at the beginning, and what makes it one: `This cluster` is a noun.
const PRONOUN: &str = r"^(It|They|Its|Their|(This|That|These|Those) (is|are|was|were|has|have|can|could|must|may|will|would|does|do|means|says|needs|takes|holds|makes|lets|asks|exposes|happens|comes|follows)) ";

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
    for page in pages::all()
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
    for page in pages::all() {
        for paragraph in paragraphs(&read(&page)) {
            wrong.extend(long_sentences(&paragraph).into_iter().map(|sentence| format!("{page}: {sentence}")));
        }
    }
    assert!(wrong.is_empty(), "sentences of over {MOST_WORDS} words: {wrong:#?}");
}

#[test]
fn nobody_has_to_guess_what_an_expression_means() {
    let dialect: Vec<(Regex, &str)> =
        DIALECT.iter().map(|(words, instead)| (Regex::new(words).unwrap(), *instead)).collect();
    let mut wrong = Vec::new();
    let mut look = |place: &str, text: &str| {
        for (found, instead) in unclear(&dialect, text) {
            wrong.push(format!(
                "{place}: {found:?}, better {instead:?}: {}",
                text.split_whitespace().take(30).collect::<Vec<_>>().join(" ")
            ));
        }
    };
    for (name, text) in descriptions() {
        look(&name, &text);
    }
    for page in pages::all() {
        paragraphs(&read(&page)).iter().for_each(|paragraph| look(&page, paragraph));
    }
    for (file, comments) in examples_comments() {
        comments.iter().for_each(|text| look(&file, text));
    }
    for (file, text) in shipped() {
        literals(&text).iter().for_each(|text| look(&file, text));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What a section, an item of a list, a description or the detail of a message begins with is named, and not called
/// "it": nothing is before it, or only a title that somebody may have jumped over.
#[test]
fn no_text_begins_with_a_pronoun() {
    let pronoun = Regex::new(PRONOUN).unwrap();
    let mut wrong = Vec::new();
    let mut look = |place: &str, text: &str| {
        if pronoun.is_match(&format!("{} ", text.trim_start())) {
            wrong.push(format!("{place}: {}", text.chars().take(100).collect::<String>()));
        }
    };
    for (name, text) in descriptions() {
        text.split("\n\n").next().into_iter().for_each(|first| look(&name, first));
    }
    let mut begun = 0;
    for page in pages::all() {
        for text in beginnings(&read(&page)) {
            begun += 1;
            look(&page, &text);
        }
    }
    assert!(begun > 1000, "{begun}");
    let detail =
        Regex::new(r#"(?:\.detail\(|\bdetail: |\bdetail = |Diagnostic::bug\()\s*(?:format!\(\s*)?"([^"]*)"#).unwrap();
    let mut details = 0;
    for (file, text) in shipped() {
        for found in detail.captures_iter(&text) {
            details += 1;
            look(&file, &found[1]);
        }
    }
    assert!(details > 300, "{details}");
    assert!(wrong.is_empty(), "say what is meant: {wrong:#?}");
}

#[test]
fn what_is_unclear_is_found() {
    let dialect: Vec<(Regex, &str)> =
        DIALECT.iter().map(|(words, instead)| (Regex::new(words).unwrap(), *instead)).collect();
    for text in [
        "what is not looked for could stand on the page",
        "Could a second one stand beside it first?",
        "roots that are added and taken away",
        "It may read and change that one remote secret",
        "It went on for\n    two minutes",
        "States of before are read",
        "takes the Secret back",
        "Whoever may\nread Secrets",
        "What it may do",
    ] {
        assert!(!unclear(&dialect, text).is_empty(), "{text}");
    }
    for text in ["A star stands for everything", "an older istiod may not understand them", "The address may change"] {
        assert!(unclear(&dialect, text).is_empty(), "{text}");
    }
    let page = "# A\n\nIt is.\n\n- This is one\n- This cluster\n- `a` (String) They are\n\nB. It is.\n\nIts.\n";
    let pronoun = Regex::new(PRONOUN).unwrap();
    let begun: Vec<String> =
        beginnings(page).into_iter().filter(|text| pronoun.is_match(&format!("{text} "))).collect();
    assert_eq!(begun, ["It is.", "This is one", "They are"]);
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

/// The expressions of a text that somebody would stumble over, each with what to write instead.
fn unclear<'a>(dialect: &[(Regex, &'a str)], text: &str) -> Vec<(String, &'a str)> {
    let mut text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for fine in FINE {
        text = text.replace(fine, "…");
    }
    let found = dialect.iter().filter_map(|(words, instead)| Some((words.find(&text)?.as_str().to_owned(), *instead)));
    found.collect()
}

/// The comments of the examples, a run of lines as one text, by file.
fn examples_comments() -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("examples")];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let commented = path
                .extension()
                .is_some_and(|extension| ["tf", "yaml", "yml", "hcl"].iter().any(|known| extension == *known));
            if path.is_dir() {
                folders.push(path);
            } else if commented {
                let text = fs::read_to_string(&path).unwrap();
                let lines: Vec<&str> = text.lines().collect();
                let runs =
                    lines.chunk_by(|one, other| is_comment(one) == is_comment(other)).filter(|run| is_comment(run[0]));
                let texts = runs.map(|run| {
                    run.iter().map(|line| line.trim_start().trim_start_matches('#')).collect::<Vec<_>>().join(" ")
                });
                found.push((path.strip_prefix(root()).unwrap().display().to_string(), texts.collect()));
            }
        }
    }
    assert!(found.len() > 30, "{}", found.len());
    found
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// What is shipped of each source, by file.
fn shipped() -> Vec<(String, String)> {
    let without_tests = |file: &PathBuf| {
        let text = fs::read_to_string(file).unwrap();
        let shipped = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned();
        (file.strip_prefix(root()).unwrap().display().to_string(), shipped)
    };
    let is_test = |file: &PathBuf| file.file_stem().is_some_and(|name| name.to_string_lossy().ends_with("tests"));
    sources(&root().join("src")).iter().filter(|file| !is_test(file)).map(without_tests).collect()
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
        } else if inner.starts_with('#') {
            found.extend([inner.to_owned(), String::new()]);
        } else if inner.is_empty()
            || inner.starts_with(['-', '*', '>'])
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

/// What begins a section or an item of a list; of an attribute's item what is behind its name.
fn beginnings(page: &str) -> Vec<String> {
    let item = Regex::new(r"^(?:[-*] |\d+\. )(?:`[^`]*` \([^)]*\) )?(?:\[\s*[x ]\s*\] )?(.*)").unwrap();
    let mut found = Vec::new();
    let mut after_heading = false;
    for paragraph in paragraphs(page).iter().filter(|paragraph| !paragraph.trim().is_empty()) {
        if let Some(item) = item.captures(paragraph) {
            found.push(item[1].to_owned());
        } else if after_heading {
            found.push(paragraph.trim().to_owned());
        }
        after_heading = paragraph.starts_with('#');
    }
    found
}

/// A page, without CONTRIBUTING's table of words, which shows what not to write.
fn read(path: &str) -> String {
    let text = fs::read_to_string(root().join(path)).unwrap();
    let table = text.split_once("\n### Words\n").and_then(|(before, rest)| Some((before, rest.split_once("\n## ")?.1)));
    table.map_or(text.clone(), |(before, behind)| format!("{before}\n## {behind}"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
