//! The pages of the repository and their fenced blocks.

use std::fs;
use std::path::{Path, PathBuf};

/// A fenced block.
#[derive(Debug, Eq, PartialEq)]
pub struct Block {
    /// The line of the fence, counted from one.
    pub line: usize,
    /// The first word behind the fence, in small letters.
    pub language: String,
    pub text: String,
}

impl Block {
    pub fn is_configuration(&self) -> bool {
        ["terraform", "hcl", "tf", "opentofu", "tofu"].contains(&self.language.as_str())
    }

    /// The file that a comment in the first line names, or one of its own.
    pub fn file_name(&self) -> String {
        let first = self.text.lines().next().and_then(|line| line.strip_prefix("# "));
        let named = first.filter(|name| name.ends_with(".tf") && !name.contains(['/', ' ']));
        named.map_or_else(|| format!("line_{}.tf", self.line), str::to_owned)
    }

    /// Whether a line begins as a block of a module does.
    pub fn looks_like_configuration(&self) -> bool {
        const BLOCKS: &[&str] = &[
            "check",
            "data",
            "ephemeral",
            "import",
            "list",
            "locals",
            "module",
            "moved",
            "output",
            "provider",
            "provider_installation",
            "removed",
            "resource",
            "terraform",
            "variable",
        ];
        self.text.lines().any(|line| {
            let (word, rest) = line.trim_end().split_once(' ').unwrap_or((line, ""));
            BLOCKS.contains(&word) && rest.ends_with('{')
        })
    }
}

/// Every page that a reader may meet, by its path in the repository, sorted.
pub fn all() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = Vec::new();
    let mut folders: Vec<PathBuf> = ["docs", "examples", ".github", "tests/lab"].map(|name| root.join(name)).into();
    let mut files: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()) {
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    for file in
        files.iter().filter(|file| file.is_file() && file.extension().is_some_and(|extension| extension == "md"))
    {
        pages.push(file.strip_prefix(root).unwrap().display().to_string());
    }
    pages.sort();
    pages
}

/// The fenced blocks of a page, also those in lists and with longer fences.
pub fn blocks(page: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<(String, usize, Block)> = None;
    for (at, line) in page.lines().enumerate() {
        let inner = line.trim_start();
        let mark: String = inner.chars().take_while(|c| *c == '`' || *c == '~').collect();
        if let Some((fence, indent, block)) = &mut open {
            if mark.starts_with(fence.as_str()) && inner.trim_end().len() == mark.len() {
                found.extend(open.take().map(|(.., block)| block));
            } else {
                let spaces = line.len() - inner.len();
                block.text.push_str(&line[spaces.min(*indent)..]);
                block.text.push('\n');
            }
        } else if mark.len() >= 3 {
            let language = inner[mark.len()..].split_whitespace().next().unwrap_or_default().to_lowercase();
            let block = Block { line: at + 1, language, text: String::new() };
            open = Some((mark, line.len() - inner.len(), block));
        }
    }
    assert!(open.is_none(), "a block does not end: {open:?}");
    found
}

#[test]
fn blocks_are_found_wherever_they_are() {
    let page = "a\n```terraform\nx = 1\n```\n\n1. b\n\n   ~~~~ HCL more\n   y = 1\n     z = 2\n   ~~~\n   ~~~~\n```\nplain\n```\n";
    let block = |line, language: &str, text: &str| Block { line, language: language.to_owned(), text: text.to_owned() };
    let wanted = [block(2, "terraform", "x = 1\n"), block(8, "hcl", "y = 1\n  z = 2\n~~~\n"), block(13, "", "plain\n")];
    assert_eq!(blocks(page), wanted);
}
