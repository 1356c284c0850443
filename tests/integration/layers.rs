//! The layers of CONTRIBUTING.md, enforced: a module names only what stands below it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Module, what of this crate it may name, and which outside crates it must not name.
const LAYERS: &[(&str, &[&str], &[&str])] = &[
    ("diag", &["value"], &["tonic", "prost", "kube", "tokio"]),
    ("value", &["diag"], &["tonic", "prost", "kube", "tokio"]),
    ("schema", &["diag", "value"], &["tonic", "prost", "kube", "tokio"]),
    ("mesh", &[], &["tonic", "prost", "kube", "tokio"]),
    ("pki", &[], &["tonic", "prost", "kube", "tokio"]),
    ("chart", &[], &["tonic", "prost", "kube", "tokio"]),
    ("files", &[], &["tonic", "prost", "kube", "tokio"]),
    ("cluster", &["files"], &["tonic", "prost"]),
    ("engine", &["diag", "value", "schema"], &["tonic", "prost", "kube"]),
    ("source", &["files", "chart"], &["tonic", "prost", "kube"]),
    // It asks istiods as proxies do, by gRPC.
    ("istiod", &["schema", "mesh", "pki", "cluster"], &["kube"]),
    ("kept", &["diag", "value", "schema", "chart", "cluster", "istiod"], &["tonic", "prost"]),
    ("plugin", &["diag", "value", "schema", "engine"], &["kube"]),
    (
        "resources",
        &["diag", "value", "schema", "mesh", "pki", "chart", "cluster", "engine", "source", "istiod", "kept"],
        &["tonic", "prost"],
    ),
    (
        "provider",
        &[
            "files",
            "diag",
            "value",
            "schema",
            "mesh",
            "pki",
            "chart",
            "cluster",
            "engine",
            "source",
            "istiod",
            "kept",
            "resources",
        ],
        &["tonic", "prost"],
    ),
    ("docs", &["diag", "value", "schema", "engine", "resources", "provider"], &["tonic", "prost", "kube"]),
    ("review", &["diag", "value", "schema", "mesh"], &["tonic", "prost", "kube", "tokio"]),
];

#[test]
fn modules_name_only_what_stands_below_them() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut broken = Vec::new();
    for (module, may_name, must_not_name) in LAYERS {
        for file in rust_files(&src.join(module)) {
            let text = fs::read_to_string(&file).unwrap();
            for (number, line) in text.lines().enumerate() {
                let line = line.split("//").next().unwrap_or_default();
                for named in named_modules(line) {
                    let known = LAYERS.iter().any(|(other, ..)| *other == named);
                    if known && named != *module && !may_name.contains(&named.as_str()) {
                        broken.push(format!("{}:{}: `{module}` must not name `{named}`", file.display(), number + 1));
                    }
                }
                for outside in *must_not_name {
                    if names_crate(line, outside) {
                        broken.push(format!("{}:{}: `{module}` must not name {outside}", file.display(), number + 1));
                    }
                }
            }
        }
    }
    assert!(broken.is_empty(), "layers are broken:\n{}", broken.join("\n"));
}

/// What resources may share: everything directly in `src/resources` that is a file. A folder there is a resource, and
/// resources do not know one another.
#[test]
fn resources_do_not_name_one_another() {
    let resources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/resources");
    let folders: Vec<String> = fs::read_dir(&resources)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    let mut broken = Vec::new();
    for own in &folders {
        for file in rust_files(&resources.join(own)) {
            let text = fs::read_to_string(&file).unwrap();
            for other in folders.iter().filter(|other| *other != own) {
                for named in [format!("resources::{other}"), format!("super::super::{other}")] {
                    if text.contains(&named) {
                        broken.push(format!("{}: `{own}` must not name `{other}`", file.display()));
                    }
                }
            }
        }
    }
    assert!(broken.is_empty(), "resources know one another:\n{}", broken.join("\n"));
}

#[test]
fn every_folder_of_src_has_its_layer() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in fs::read_dir(src).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let is_layer = LAYERS.iter().any(|(module, ..)| *module == name);
        assert!(is_layer || ["lib", "main"].contains(&name.as_str()), "`{name}` has no place among the layers");
    }
}

/// Where the time of day is read, and why there: what begins an operation, and what speaks to somebody who has a clock.
/// Everything else is given it.
const CLOCKS: &[(&str, &str)] = &[
    ("cluster/session.rs", "credentials end, and servers say their time"),
    ("kept/lease.rs", "its holder renews it, and it says when"),
    ("plugin/listen.rs", "sockets that others left behind have an age"),
    ("plugin/log.rs", "a line of the log has its time"),
    ("resources/ca/apply.rs", "an apply begins"),
    ("resources/ca/mod.rs", "a refresh begins"),
    ("resources/reachability/mod.rs", "a read begins"),
    ("resources/remote_cluster/mod.rs", "a refresh or an apply begins"),
    ("resources/restart_workloads/mod.rs", "an action begins"),
    ("resources/status/mod.rs", "a read begins"),
];

#[test]
fn the_clock_is_an_argument() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let reads = ["SystemTime::now", "Timestamp::now", "Zoned::now", "Utc::now", "now_utc", "now_local"];
    let mut found = BTreeSet::new();
    for file in rust_files(&src) {
        let text = fs::read_to_string(&file).unwrap();
        let shipped = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let name = file.strip_prefix(&src).unwrap().display().to_string();
        if !name.ends_with("tests.rs") && reads.iter().any(|read| shipped.contains(read)) {
            found.insert(name);
        }
    }
    let wanted: BTreeSet<String> = CLOCKS.iter().map(|(file, _)| (*file).to_owned()).collect();
    assert_eq!(found, wanted, "pass the time in, or say here why it is read");
}

#[test]
fn every_file_of_src_says_what_it_is_for() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let generated = src.join("plugin/proto");
    let silent: Vec<PathBuf> = rust_files(&src)
        .into_iter()
        .filter(|file| !file.starts_with(&generated) && !file.ends_with("tests.rs"))
        .filter(|file| !file.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("_tests")))
        .filter(|file| !fs::read_to_string(file).unwrap().lines().take(3).any(|line| line.starts_with("//!")))
        .collect();
    assert!(silent.is_empty(), "a file begins with `//!`, and says what it is for: {silent:#?}");
}

/// A file that is longer says at its top why it is one: `In one file because ...`. What a generator writes is left out.
#[test]
fn no_file_is_longer_than_can_be_read() {
    const LONGEST: usize = 600;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut long = Vec::new();
    for file in ["src", "tests"].iter().flat_map(|folder| rust_files(&root.join(folder))) {
        let text = fs::read_to_string(&file).unwrap();
        let lines = text.lines().count();
        let top: String = text.lines().take(12).collect();
        if lines > LONGEST && !top.contains("In one file because") && !top.contains("@generated") {
            long.push(format!("{}: {lines} lines", file.display()));
        }
    }
    assert!(long.is_empty(), "split them, or say why they are one:\n{}", long.join("\n"));
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}

/// The modules that `crate::a` and `crate::{a::…, b::…}` of one line name.
fn named_modules(line: &str) -> Vec<String> {
    let mut named = Vec::new();
    for rest in line.split("crate::").skip(1) {
        let list = match rest.strip_prefix('{') {
            Some(list) => top_level_items(list),
            None => vec![rest],
        };
        named.extend(
            list.into_iter()
                .map(|item| item.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()),
        );
    }
    named
}

fn top_level_items(list: &str) -> Vec<&str> {
    let (mut items, mut depth, mut start) = (Vec::new(), 0usize, 0);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                items.push(&list[start..at]);
                return items;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(&list[start..]);
    items
}

fn names_crate(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = &line[at + name.len()..];
        let starts = before.is_none_or(|c| !(c.is_alphanumeric() || c == '_' || c == '"' || c == ':'));
        starts && after.starts_with("::")
    })
}
