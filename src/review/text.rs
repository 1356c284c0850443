//! Words of ours with names of theirs in them: the one place that decides how a name from a plan is written.
//!
//! Names come from whoever opened the pull request. On a page they stand in code, where they can neither end a table,
//! nor open a tag, nor call a person; in a picture as numbered characters; nowhere with control characters or what
//! turns the direction of writing.

use std::collections::BTreeSet;
use std::fmt;

/// Around each name within [`Prose`]. Taken out of what comes in.
const OPEN: char = '\u{E000}';
const CLOSE: char = '\u{E001}';
/// Behind [`OPEN`]: a number, which is no code.
const NUMBER: char = '\u{E002}';
/// Behind [`OPEN`]: a word of our schemas, which nobody's mark hides.
const OWN: char = '\u{E003}';
/// Behind [`OPEN`]: a text whose beginning is enough.
const SHORT: char = '\u{E004}';

/// Longest name that is written whole.
const LONGEST: usize = 160;

/// A name or value from the plan, to be formatted into [`Prose`]. It stays whole until it is written: half a secret is
/// not found.
pub struct Name<'a>(pub &'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{OPEN}{}{CLOSE}", unmarked(self.0))
    }
}

/// The name of an attribute.
pub struct Own<'a>(pub &'a str);

impl fmt::Display for Own<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{OPEN}{OWN}{}{CLOSE}", unmarked(self.0))
    }
}

fn unmarked(text: &str) -> String {
    text.replace([OPEN, CLOSE, NUMBER, OWN, SHORT], "\u{FFFD}")
}

/// Names of attributes in their order.
pub fn own_names<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(|name| Own(name).to_string()).collect::<Vec<_>>().join(", ")
}

/// Names in their order, at most so many.
pub fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const MOST: usize = 8;
    let names: Vec<&str> = names.into_iter().collect();
    let shown: Vec<String> = names.iter().take(MOST).map(|name| Name(name).to_string()).collect();
    match names.len() {
        more if more > MOST => format!("{} and {} more", shown.join(", "), more - MOST),
        _ => shown.join(", "),
    }
}

/// Those names of which so many are meant: all of them, or `at least 1 of a, b`.
pub fn some_of<'a>(at_least: &str, number: usize, all: impl ExactSizeIterator<Item = &'a str>) -> String {
    if number < all.len() { format!("{at_least} {number} of {}", names(all)) } else { names(all) }
}

/// Names in their order, at most so many, or a word where there are none.
pub fn names_or<'a>(all: impl IntoIterator<Item = &'a str>, none: &str) -> Prose {
    let named = names(all);
    if named.is_empty() { none.into() } else { named.into() }
}

/// All of them, at most so many.
pub fn list(all: &BTreeSet<Prose>) -> Prose {
    const MOST: usize = 8;
    let shown: Vec<&str> = all.iter().take(MOST).map(|prose| prose.0.as_str()).collect();
    match all.len() {
        more if more > MOST => format!("{} and {} more", shown.join(", "), more - MOST).into(),
        _ => shown.join(", ").into(),
    }
}

/// Addresses of resources; many of one block as the block.
pub fn addresses(all: &BTreeSet<Prose>) -> Prose {
    const FEW: usize = 3;
    let blocks: BTreeSet<String> = all.iter().map(|address| block(&address.plain()).to_owned()).collect();
    match (all.len() > FEW, blocks.first()) {
        (true, Some(one)) if blocks.len() == 1 => format!("{} ({} of them)", Name(one), all.len()).into(),
        _ => list(all),
    }
}

/// The address of a block, without the key of an instance. Keys of modules are a part of it.
fn block(address: &str) -> &str {
    let open = outside_quotes(address).filter(|(_, c)| *c == '[').last().map(|(at, _)| at);
    open.filter(|_| address.ends_with(']')).map_or(address, |at| &address[..at])
}

/// The characters of an address that are in no quoted key, with their places: a key may hold dots and brackets.
pub fn outside_quotes(address: &str) -> impl Iterator<Item = (usize, char)> {
    let (mut quoted, mut escaped) = (false, false);
    address.char_indices().filter(move |(_, c)| match c {
        _ if escaped => {
            escaped = false;
            false
        }
        '\\' if quoted => {
            escaped = true;
            false
        }
        '"' => {
            quoted = !quoted;
            false
        }
        _ => !quoted,
    })
}

/// `1 cluster`, `2 clusters`.
pub fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// A text in which names are told from words.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prose(String);

impl From<String> for Prose {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Prose {
    fn from(words: &str) -> Self {
        Self(words.to_owned())
    }
}

/// Into another prose; for people there is [`Prose::plain`].
impl fmt::Display for Prose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Prose {
    pub fn name(name: &str) -> Self {
        Self(Name(name).to_string())
    }

    /// A number from the plan.
    pub fn number(number: &dyn fmt::Display) -> Self {
        Self(format!("{OPEN}{NUMBER}{number}{CLOSE}"))
    }

    /// The name of an attribute.
    pub fn own(name: &str) -> Self {
        Self(Own(name).to_string())
    }

    /// Of which a dozen characters are shown.
    pub fn short(text: &str) -> Self {
        Self(format!("{OPEN}{SHORT}{}{CLOSE}", unmarked(text)))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// With other names: those that are not to be shown get stand-ins.
    pub fn renamed(&self, rename: &dyn Fn(&str) -> String) -> Self {
        let name = |name: &str| {
            let bare = name.trim_start_matches([NUMBER, SHORT]);
            let renamed = if name.starts_with(OWN) { bare.to_owned() } else { rename(bare) };
            if renamed == bare { format!("{OPEN}{name}{CLOSE}") } else { Name(&renamed).to_string() }
        };
        Self(self.spans(&str::to_owned, &name))
    }

    pub fn plain(&self) -> String {
        self.written(&str::to_owned, &str::to_owned)
    }

    /// For a line or a cell of Markdown.
    pub fn markdown(&self) -> String {
        self.written(&str::to_owned, &code)
    }

    /// For where Markdown is not read, as in `<summary>`.
    pub fn html(&self) -> String {
        self.written(&entities, &|name| format!("<code>{}</code>", entities(name)))
    }

    fn written(&self, words: &dyn Fn(&str) -> String, name: &dyn Fn(&str) -> String) -> String {
        const DOZEN: usize = 12;
        let shown = |named: &str| {
            let bare = clean(named.trim_start_matches([NUMBER, OWN, SHORT]));
            match named.chars().next() {
                Some(NUMBER) => words(&bare),
                Some(SHORT) => name(&bare.chars().take(DOZEN).collect::<String>()),
                _ => name(&bare),
            }
        };
        self.spans(words, &shown)
    }

    fn spans(&self, words: &dyn Fn(&str) -> String, name: &dyn Fn(&str) -> String) -> String {
        let mut written = String::with_capacity(self.0.len() + 16);
        let mut rest = self.0.as_str();
        while let Some((before, after)) = rest.split_once(OPEN) {
            let (named, behind) = after.split_once(CLOSE).unwrap_or((after, ""));
            written.push_str(&words(before));
            written.push_str(&name(named));
            rest = behind;
        }
        written + &words(rest)
    }
}

/// One line, nothing invisible, not too long.
pub fn clean(text: &str) -> String {
    let visible = text.chars().map(|c| match c {
        '\n' | '\r' | '\t' => ' ',
        c if is_hidden(c) => '\u{FFFD}',
        c => c,
    });
    let mut shown: String = visible.take(LONGEST + 1).collect();
    if shown.chars().count() > LONGEST {
        shown.pop();
        shown.push('…');
    }
    shown
}

/// Control characters, those that hide or turn others, and our own marks.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180E}'
            | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{3164}'
            | '\u{E000}'..='\u{F8FF}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFC}'
            | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{10FFFF}')
}

/// A span of code that holds whatever it is given, in a table too.
fn code(name: &str) -> String {
    match name {
        "" => String::new(),
        // Before a `|` of a table a backslash means something even in code: such names are written by number.
        _ if name.contains(['`', '|', '\\', '<', '>', '&']) || name.trim() != name => {
            format!("<code>{}</code>", entities(name))
        }
        _ => format!("`{name}`"),
    }
}

/// Everything that could mean something to HTML, Markdown or a forge by its number.
fn entities(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // GitHub makes a link of `www.` and what follows.
            '.' if written.ends_with(['w', 'W']) => written.push_str("&#46;"),
            c if c.is_alphanumeric() || matches!(c, ' ' | '-' | '.' | ',' | ';' | '/' | '(' | ')' | '→' | '…') => {
                written.push(c);
            }
            c => written.push_str(&format!("&#{};", u32::from(c))),
        }
    }
    written
}

/// For a quoted label of a picture.
pub fn label(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    for c in clean(text).chars() {
        match c {
            c if c.is_alphanumeric() || matches!(c, ' ' | '-' | '.' | '/' | '_' | ',') => written.push(c),
            c => written.push_str(&format!("#{};", u32::from(c))),
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_neither_ends_a_table_nor_calls_anybody() {
        let prose = |name: &str| Prose::from(format!("cluster {} leaves", Name(name))).markdown();
        assert_eq!(prose("east"), "cluster `east` leaves");
        // Mentions and references are not read in code.
        assert_eq!(prose("@octocat"), "cluster `@octocat` leaves");
        assert_eq!(prose("a|b"), "cluster <code>a&#124;b</code> leaves");
        assert_eq!(prose(r"a\|b"), "cluster <code>a&#92;&#124;b</code> leaves");
        assert_eq!(prose("``` x"), "cluster <code>&#96;&#96;&#96; x</code> leaves");
        assert_eq!(prose("< www.evil.example"), "cluster <code>&#60; www&#46;evil.example</code> leaves");
        let tag = prose("</details><img src=x>@all");
        assert_eq!(tag, "cluster <code>&#60;/details&#62;&#60;img src&#61;x&#62;&#64;all</code> leaves");
        assert_eq!(prose("a\n\n# b\u{202e}\u{E001}c"), "cluster `a  # b\u{FFFD}\u{FFFD}c` leaves");
        assert_eq!(prose(&"x".repeat(500)).chars().count(), LONGEST + 1 + "cluster `` leaves".len());
    }

    #[test]
    fn what_is_renamed_is_a_name_and_no_word() {
        let prose = Prose::from(format!("the secret of {} and {}", Name("secret"), Own("secret")));
        let renamed = prose.renamed(&|name| name.replace("secret", "(hidden)"));
        assert_eq!(renamed.plain(), "the secret of (hidden) and secret");
        assert_eq!(Prose::number(&15_443).markdown(), "15443");
        assert_eq!(Prose::number(&15_443).renamed(&|_| "@x".to_owned()).markdown(), "`@x`");
    }

    #[test]
    fn a_block_is_an_address_without_its_own_key() {
        for (address, name) in [
            ("mesh_primary.this", "mesh_primary.this"),
            ("mesh_primary.this[\"east\"]", "mesh_primary.this"),
            ("mesh_primary.this[0]", "mesh_primary.this"),
            ("module.mesh[\"eu\"].mesh_primary.this[\"a[b].c\"]", "module.mesh[\"eu\"].mesh_primary.this"),
            ("module.mesh[\"eu\"].mesh_primary.this", "module.mesh[\"eu\"].mesh_primary.this"),
            ("mesh_primary.this[\"a\\\"[\"]", "mesh_primary.this"),
        ] {
            assert_eq!(block(address), name);
        }
        let all = (0..4).map(|at| Prose::name(&format!("module.a[\"x\"].mesh_ca.b[{at}]"))).collect();
        assert_eq!(addresses(&all).plain(), "module.a[\"x\"].mesh_ca.b (4 of them)");
    }

    #[test]
    fn a_label_keeps_its_quotes() {
        assert_eq!(label("net \"a\"]; click"), "net #34;a#34;#93;#59; click");
        assert_eq!(Prose::from(format!("a {} b", Name("<b>@x"))).html(), "a <code>&#60;b&#62;&#64;x</code> b");
        assert_eq!(Prose::from(format!("a {} b", Name("|x|"))).plain(), "a |x| b");
    }
}
