//! One word, one meaning, as CONTRIBUTING lists them: what a machine can hold of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use regex::Regex;

use crate::support::literals::sources;

/// Names of types that several files once had, and the one that has each now.
const TYPES: &[(&str, &str)] = &[
    ("Entry", "kept/objects.rs"),
    ("Found", "engine/resource.rs"),
    ("Kind", "cluster/kind.rs"),
    ("Looked", "kept/read.rs"),
    ("Reader", "mesh/reader.rs"),
];

/// What is said of rotations, and may be settled.
const ROTATIONS: &[&str] = &["mesh/rotation.rs", "resources/ca/", "review/find/trust.rs"];

#[test]
fn a_type_of_these_names_is_one() {
    let defined = Regex::new(r"(?m)^\s*(?:pub(?:\([^)]*\))? )?(?:struct|enum|type|trait) (\w+)\b").unwrap();
    let mut found: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (file, text) in code() {
        for name in defined.captures_iter(&text).filter_map(|found| found.get(1)) {
            if let Some((known, _)) = TYPES.iter().find(|(known, _)| *known == name.as_str()) {
                found.entry(known).or_default().push(file.clone());
            }
        }
    }
    let wanted = TYPES.iter().map(|(name, file)| (*name, vec![(*file).to_owned()])).collect();
    assert_eq!(found, wanted, "another type needs another name");
}

/// Of resources an identity is what Terraform calls so. Nothing else is one.
#[test]
fn an_identity_is_a_resources() {
    let defined = Regex::new(r"(?:struct|enum|trait) Identity\b").unwrap();
    let elsewhere: Vec<String> = code()
        .into_iter()
        .filter(|(file, text)| !file.starts_with("resources/") && defined.is_match(text))
        .map(|(file, _)| file)
        .collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
}

#[test]
fn settled_is_a_rotation_that_is_finished() {
    let settled = Regex::new(r"(?i)\b\w*settle[sd]?(?:_\w+)?\b").unwrap();
    let mut wrong = Vec::new();
    for (file, text) in code() {
        if !ROTATIONS.iter().any(|known| file.starts_with(known)) {
            wrong.extend(settled.find_iter(&text).map(|word| format!("{file}: {}", word.as_str())));
        }
    }
    assert!(wrong.is_empty(), "say what is meant: {wrong:#?}");
}

/// To look is to read a cluster, and to change nothing.
#[test]
fn a_look_is_at_a_cluster() {
    let look = Regex::new(r"(?m)^\s*(?:pub(?:\([^)]*\))? )?(async )?fn look\w*").unwrap();
    let (mut looks, mut wrong) = (0, Vec::new());
    for (file, text) in code() {
        for found in look.captures_iter(&text) {
            looks += 1;
            if found.get(1).is_none() {
                wrong.push(format!("{file}: {}", found[0].trim()));
            }
        }
    }
    assert!(looks > 5, "{looks}");
    assert!(wrong.is_empty(), "these read no cluster: {wrong:#?}");
}

/// What is shipped, by file.
fn code() -> Vec<(String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = sources(&src).into_iter().filter(|file| !file.starts_with(src.join("plugin/proto")));
    let named = files.map(|file| {
        let text = fs::read_to_string(&file).unwrap();
        let shipped = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
        (file.strip_prefix(&src).unwrap().display().to_string(), shipped)
    });
    named.filter(|(file, _)| !file.ends_with("tests.rs")).collect()
}
