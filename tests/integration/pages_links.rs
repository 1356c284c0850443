//! Links between pages lead to a file that exists, and to a heading that the page has.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use regex::Regex;

use crate::support::pages;

#[test]
fn links_lead_to_a_page_and_to_a_heading_of_it() {
    let texts: BTreeMap<PathBuf, String> = pages::all()
        .into_iter()
        .map(|page| {
            let text = fs::read_to_string(root().join(&page)).unwrap();
            (PathBuf::from(page), text)
        })
        .collect();
    let (mut judged, mut broken) = (0, Vec::new());
    for (page, text) in &texts {
        for link in links(text) {
            judged += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if path.is_empty() { page.clone() } else { beside(page, path) };
            let has = match texts.get(&target) {
                Some(text) => anchor.is_empty() || anchors(text).contains(anchor),
                None => anchor.is_empty() && root().join(&target).exists(),
            };
            if !has {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(judged > 200, "{judged}");
    assert!(broken.is_empty(), "no such page or no such heading: {broken:#?}");
}

#[test]
fn anchors_are_those_that_github_and_the_registry_make() {
    let page = "# A page\n\n## R37 `api-server`: who's *that*?\n\n```sh\n# not one\n```\n\n## Again\n\n## Again\n\n<a id=\"nestedatt--root\"></a>\n### [Link](x.md), `b_c`\n";
    let wanted = ["a-page", "r37-api-server-whos-that", "again", "again-1", "link-b_c", "nestedatt--root"];
    assert_eq!(anchors(page), wanted.map(str::to_owned).into());
    let page = "[a](b.md#c) and [d](https://e.f/#g), ![h](i.png)\n```md\n[j](k.md)\n```\n`[l](m.md)` [n](#o)\n";
    assert_eq!(links(page), ["b.md#c", "i.png", "#o"]);
    assert_eq!(beside(Path::new("docs/guides/a.md"), "../b.md"), Path::new("docs/b.md"));
}

/// Where links of a page lead to, other sites left out.
fn links(page: &str) -> Vec<String> {
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let code = Regex::new(r"`[^`\n]*`").unwrap();
    let text = outside_fences(page).replace("\\`", "");
    let found = text.lines().flat_map(|line| {
        let line = code.replace_all(line, "");
        link.captures_iter(&line).map(|found| found[1].to_owned()).collect::<Vec<_>>()
    });
    found.filter(|link| !link.contains("://") && !link.starts_with("mailto:")).collect()
}

/// The anchors of a page's headings: the text in small letters, without punctuation, with hyphens for spaces, and a
/// number from the second of a name on. Generated pages name others by an element of their own.
fn anchors(page: &str) -> BTreeSet<String> {
    let heading = Regex::new(r"(?m)^#{1,6} +(.*)$").unwrap();
    let link = Regex::new(r"\[([^\]]*)\]\([^)]*\)").unwrap();
    let named = Regex::new(r#"<a id="([^"]+)">"#).unwrap();
    let text = outside_fences(page);
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut found: BTreeSet<String> = named.captures_iter(&text).map(|name| name[1].to_owned()).collect();
    for title in heading.captures_iter(&text) {
        let plain = link.replace_all(&title[1], "$1").trim().to_lowercase();
        let kept: String = plain.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | ' ')).collect();
        let anchor = kept.replace(' ', "-");
        let before = seen.entry(anchor.clone()).and_modify(|times| *times += 1).or_default();
        found.insert(if *before == 0 { anchor } else { format!("{anchor}-{before}") });
    }
    found
}

fn outside_fences(page: &str) -> String {
    // A fence, the text and a fence.
    let fenced: BTreeSet<usize> =
        pages::blocks(page).iter().flat_map(|block| block.line..block.line + block.text.lines().count() + 2).collect();
    let lines = page.lines().enumerate().filter(|(at, _)| !fenced.contains(&(at + 1)));
    lines.map(|(_, line)| format!("{line}\n")).collect()
}

/// A path as a page says it, from the repository's root.
fn beside(page: &Path, path: &str) -> PathBuf {
    let mut found = PathBuf::new();
    for part in page.parent().unwrap().join(path).components() {
        match part {
            Component::ParentDir => drop(found.pop()),
            part => found.push(part),
        }
    }
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
