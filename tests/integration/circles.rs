//! No two files of a module need each other: whoever reads one should not have to read the other first.
//!
//! A file names another where a path in its code leads there, re-exports followed. A folder's `mod.rs` puts its files
//! together and holds what they share, so that its ties with them do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use regex::Regex;

use crate::support::literals::sources;

/// Files that need each other for a reason.
const CIRCLES: &[(&[&str], &str)] = &[];

/// By its path as a module: `kept::plan`.
type File = Vec<String>;

#[test]
fn no_files_of_a_module_need_each_other() {
    let known: BTreeSet<Vec<&str>> = CIRCLES.iter().map(|(files, _)| files.to_vec()).collect();
    let source = Source::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(source.files.len() > 200, "{}", source.files.len());
    let ties = source.ties();
    assert!(ties.values().map(BTreeSet::len).sum::<usize>() > 500, "ties are not found");
    let mut found = Vec::new();
    for circle in circles(&ties) {
        let names: Vec<String> = circle.iter().map(|file| file.join("::")).collect();
        if !known.contains(&names.iter().map(String::as_str).collect::<Vec<_>>()) {
            found.push(names);
        }
    }
    assert!(found.is_empty(), "files need each other, directly or by others: {found:#?}");
}

#[test]
fn a_circle_is_found_however_it_is_written() {
    let of = |files: &[(&str, &str)]| {
        let files = files.iter().map(|(name, text)| (path(name), parsed(text))).collect();
        let circles = circles(&Source { files }.ties());
        circles.iter().map(|circle| circle.iter().map(|file| file.join("::")).collect()).collect::<Vec<Vec<_>>>()
    };
    let (a, b) = (("m::a", "use super::b::B;"), ("m::b", "fn f() { super::a::g() }"));
    assert_eq!(of(&[a, b]), [["m::a", "m::b"]]);
    assert_eq!(of(&[a, ("m::b", "#[cfg(test)]\nmod tests { use super::super::a::X; }")]), [[""; 0]; 0]);
    assert_eq!(of(&[a, ("m::b", "// use super::a::A;")]), [[""; 0]; 0]);
    // By way of a re-export, and of a third file.
    let (parent, c) = (("m", "pub use a::{A, X};\npub use c::C;"), ("m::c", "use super::{Y, b};"));
    assert_eq!(of(&[parent, a, ("m::b", "use crate::m::{A as Z};")]), [["m::a", "m::b"]]);
    assert_eq!(of(&[parent, a, ("m::b", "use super::C;"), ("m::c", "use super::A;")]), [["m::a", "m::b", "m::c"]]);
    assert_eq!(of(&[parent, ("m::a", ""), c, ("m::b", "use super::A;")]), [[""; 0]; 0]);
    // A folder and its files.
    assert_eq!(of(&[("m", "use self::a::A;"), ("m::a", "use super::Shared;")]), [[""; 0]; 0]);
}

/// What a file says.
struct Said {
    /// Every path that begins with a module.
    paths: Vec<Vec<String>>,
    /// What it re-exports, by name.
    exports: BTreeMap<String, Vec<String>>,
}

struct Source {
    files: BTreeMap<File, Said>,
}

impl Source {
    fn read(src: &Path) -> Source {
        let is_for_tests = |name: &str| name.ends_with("tests.rs") || ["fixtures.rs", "hostile.rs"].contains(&name);
        let mut files = BTreeMap::new();
        for file in sources(src) {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            let module = file.strip_prefix(src).unwrap().with_extension("").display().to_string();
            if is_for_tests(&name) || module.starts_with("plugin/proto/") {
                continue;
            }
            let module = module.trim_end_matches("/mod").replace('/', "::");
            files.insert(path(&module), parsed(&fs::read_to_string(&file).unwrap()));
        }
        Source { files }
    }

    fn ties(&self) -> BTreeMap<File, BTreeSet<File>> {
        let mut ties = BTreeMap::new();
        for (file, said) in &self.files {
            let exported: BTreeSet<&Vec<String>> = said.exports.values().collect();
            let used = said.paths.iter().filter(|path| !exported.contains(path));
            let named = used.filter_map(|path| self.resolve(file, path, 8));
            let others = named.filter(|other| !other.starts_with(file) && !file.starts_with(other));
            ties.insert(file.clone(), others.collect());
        }
        ties
    }

    /// The file that a path of another leads to.
    fn resolve(&self, from: &File, path: &[String], hops: u8) -> Option<File> {
        let (mut at, mut rest) = (from.clone(), path);
        match rest.first()?.as_str() {
            "crate" => (at, rest) = (Vec::new(), &rest[1..]),
            "self" => rest = &rest[1..],
            "super" => {}
            // A module beside, or another crate.
            child if self.files.contains_key(&[at.as_slice(), &[child.to_owned()]].concat()) => {}
            _ => return None,
        }
        while rest.first().is_some_and(|step| step == "super") {
            at.pop();
            rest = &rest[1..];
        }
        while let Some(step) = rest.first() {
            let inner = [at.as_slice(), std::slice::from_ref(step)].concat();
            if !self.files.contains_key(&inner) {
                break;
            }
            (at, rest) = (inner, &rest[1..]);
        }
        let export = rest.first().and_then(|name| self.files.get(&at)?.exports.get(name));
        match export.filter(|_| hops > 0) {
            Some(export) => self.resolve(&at, export, hops - 1),
            None => self.files.contains_key(&at).then_some(at),
        }
    }
}

fn path(module: &str) -> Vec<String> {
    module.split("::").map(str::to_owned).collect()
}

fn parsed(text: &str) -> Said {
    let patterns = ["//[^\n]*", r"(?m)^#\[cfg\(test\)\](?s:.*)", r"(?m)^mod \w+ \{\n(?s:.*?)^\}\n"];
    let mut text = text.to_owned();
    for pattern in patterns {
        text = Regex::new(pattern).unwrap().replace_all(&text, "").into_owned();
    }
    let mut said = Said { paths: Vec::new(), exports: BTreeMap::new() };
    let uses = Regex::new(r"(?m)^\s*(pub(?:\([^)]*\))? )?use ([^;]+);").unwrap();
    for found in uses.captures_iter(&text) {
        for path in spread(&found[2]) {
            if let (Some(_), Some(name)) = (found.get(1), path.last()) {
                said.exports.insert(name.clone(), path.clone());
            }
            said.paths.push(path);
        }
    }
    let body = uses.replace_all(&text, "");
    let paths = Regex::new(r"\b(?:crate|super|self)(?:::\w+)+").unwrap();
    said.paths.extend(paths.find_iter(&body).map(|found| path(found.as_str())));
    said
}

/// The paths of one `use`.
fn spread(tree: &str) -> Vec<Vec<String>> {
    let Some((head, inner)) = tree.split_once('{') else {
        let whole = tree.split(" as ").next().unwrap_or_default().trim();
        let mut path = path(whole);
        path.retain(|step| !step.is_empty() && step != "*");
        return vec![path];
    };
    let mut head = path(head.trim());
    head.retain(|step| !step.is_empty());
    let inner = inner.rsplit_once('}').map_or(inner, |(inner, _)| inner);
    let (mut depth, mut items) = (0, vec![String::new()]);
    for c in inner.chars() {
        match c {
            ',' if depth == 0 => items.push(String::new()),
            _ => items.last_mut().unwrap().push(c),
        }
        depth += i32::from(c == '{') - i32::from(c == '}');
    }
    let items = items.iter().filter(|item| !item.trim().is_empty());
    let paths = items.flat_map(|item| spread(item.trim()));
    paths.map(|path| head.iter().cloned().chain(path.into_iter().filter(|step| step != "self")).collect()).collect()
}

/// The sets of files that all lead to one another.
fn circles(ties: &BTreeMap<File, BTreeSet<File>>) -> Vec<Vec<File>> {
    let reached: BTreeMap<&File, BTreeSet<&File>> = ties.keys().map(|file| (file, reachable(file, ties))).collect();
    let mut found: BTreeSet<Vec<File>> = BTreeSet::new();
    for (file, there) in &reached {
        let back = there.iter().filter(|other| reached.get(**other).is_some_and(|back| back.contains(*file)));
        let mut circle: Vec<File> = back.map(|file| (*file).clone()).collect();
        circle.sort();
        if circle.len() > 1 {
            found.insert(circle);
        }
    }
    found.into_iter().collect()
}

fn reachable<'a>(from: &'a File, ties: &'a BTreeMap<File, BTreeSet<File>>) -> BTreeSet<&'a File> {
    let (mut found, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(file) = open.pop() {
        for next in ties.get(file).into_iter().flatten() {
            if found.insert(next) {
                open.push(next);
            }
        }
    }
    found
}
