//! What the pages name exists: titles of messages, attributes, resources, files, commands and their options, as far as
//! a machine can judge.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;
use terraform_provider_mesh::engine::Engine;
use terraform_provider_mesh::provider::Mesh;
use terraform_provider_mesh::resources;
use terraform_provider_mesh::schema::Attribute;

use crate::support::literals::{literals, sources};
use crate::support::pages;
use crate::support::plugin_process::BINARY;

/// Names with an underscore that are the languages' own, other providers' or other programs'.
const OTHERS: &[&str] = &[
    // The configuration language and its CLIs.
    "action_trigger",
    "before_create",
    "config_path",
    "create_before_destroy",
    "depends_on",
    "destroy",
    "dev_overrides",
    "filesystem_mirror",
    "for_each",
    "force_unlock",
    "format_version",
    "prevent_destroy",
    "provider_installation",
    "replace_paths",
    "replace_triggered_by",
    "required_providers",
    "required_version",
    "resource_changes",
    // Other providers' resources.
    "helm_release",
    "kubernetes_manifest",
    "kubernetes_namespace",
    "kubernetes_secret",
    "null_resource",
    "terraform_data",
    "time_sleep",
    "tls_locally_signed_cert",
    "tls_private_key",
    "tls_self_signed_cert",
    // A name and an option of `terraform query` and a provider's query.
    "found_0",
    "found_1",
    "include_resource",
    // A key of the review's policy.
    "needs_reason",
    // A setting of Vault.
    "max_lease_ttl",
    // Envoy's and Kubernetes' own.
    "filter_chain_not_found",
    "nested_type",
    "outbound_",
];

/// Each heading of these sections of the troubleshooting guide is the title of a message.
const TITLES: &[&str] = &[
    "Reaching a cluster",
    "Charts and values",
    "Control planes and gateways",
    "Links between clusters",
    "Clusters that do not fit each other",
    "Certificates",
    "Services of other meshes",
    "Actions",
    "Runs",
];

#[test]
fn titles_that_the_troubleshooting_guide_explains_are_printed() {
    let printed = texts();
    let page = read("docs/guides/troubleshooting.md");
    let mut section = "";
    let mut titles = Vec::new();
    for line in page.lines() {
        if let Some(name) = line.strip_prefix("## ") {
            section = name;
        } else if let Some(title) = line.strip_prefix("### ") {
            assert!(TITLES.contains(&section), "{title:?} is in a section that holds no titles");
            titles.push(title);
        }
    }
    assert!(titles.len() > 40, "{titles:?}");
    let unknown: Vec<_> = titles.iter().filter(|title| !printed.contains(**title)).collect();
    assert!(unknown.is_empty(), "titles that no message has: {unknown:#?}");
    let twice: Vec<_> =
        titles.iter().filter(|title| titles.iter().filter(|other| other == title).count() > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

/// Titles that the guide leaves out: what only a defect, an older client or a damaged state leads to, and what is at an
/// attribute or an id and says all.
const LEFT_OUT: &[&str] = &[
    "A null element",
    "An empty key",
    "An invisible character",
    "Import not supported",
    "Malformed state",
    "More than one line",
    "Move not supported",
    "No randomness",
    "No remote secret describes this cluster",
    "No such control plane",
    "No such gateway",
    "No such request",
    "No such ServiceEntry",
    "Not a cacerts Secret this provider can take over",
    "Not a state of this provider",
    "Not an id of a gateway",
    "Not an id of a request",
    "Not an id of a service entry",
    "Not an id of a watched cluster",
    "Not an import id of mesh_ca",
    "Not an import id of mesh_primary",
    "Not offered",
    "Not the name of a Service",
    "Not the store of a root",
    "Nothing to import",
    "Provider not configured",
    "State of an unknown form",
    "Unknown …",
    "White space around a text",
];

#[test]
fn titles_that_are_printed_are_in_the_troubleshooting_guide() {
    let page = read("docs/guides/troubleshooting.md");
    let explained: BTreeSet<&str> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let made =
        Regex::new(r#"(?:Diagnostic::(?:error|warning)\(|\bsummary:|\bsummary = )\s*(?:format!\(\s*)?"([^"]+)""#)
            .unwrap();
    // What a `match` or an `if` chooses from, alone or with more.
    let choice = Regex::new(r"(?s)\blet (?:summary|\(summary, \w+\)) = (.*?);\n").unwrap();
    let chosen = Regex::new(r#""([A-Z][^"]*)""#).unwrap();
    let (mut titles, mut choices, mut missing) = (0, BTreeSet::new(), BTreeSet::new());
    let has_none = |file: &PathBuf| file.ends_with("functions.rs") || file.starts_with(root().join("src/review"));
    for file in sources(&root().join("src")).into_iter().filter(|file| !has_none(file)) {
        let text = fs::read_to_string(&file).unwrap();
        let shipped = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let of_choices: Vec<String> = choice
            .captures_iter(shipped)
            .filter_map(|found| found.get(1))
            .flat_map(|found| chosen.captures_iter(found.as_str()))
            .map(|title| gaps(&title[1]))
            .collect();
        choices.extend(of_choices.iter().cloned());
        for title in made.captures_iter(shipped).map(|title| gaps(&title[1])).chain(of_choices) {
            titles += 1;
            if !explained.contains(title.as_str()) && !LEFT_OUT.contains(&title.as_str()) {
                missing.insert(title);
            }
        }
    }
    assert!(titles > 150, "{titles}");
    for seen in ["Interrupted", "The gateway has no address", "No control plane waits for this cluster"] {
        assert!(choices.contains(seen), "{seen:?} is no longer seen among those that are chosen: {choices:?}");
    }
    assert!(missing.is_empty(), "no section explains {missing:#?}");
}

/// Guides quote messages in italics, beginning with a capital letter or a gap.
#[test]
fn messages_that_the_guides_quote_are_printed() {
    let printed = texts();
    let mut unknown = Vec::new();
    let mut quoted = 0;
    for page in pages::all().into_iter().filter(|page| page.starts_with("docs/guides/")) {
        for quote in italics(&prose(&read(&page))) {
            quoted += 1;
            let parts: Vec<&str> = quote.split('…').map(str::trim).filter(|part| !part.is_empty()).collect();
            if !printed.iter().any(|text| parts.iter().all(|part| text.contains(part))) {
                unknown.push(format!("{page}: {quote:?}"));
            }
        }
    }
    assert!(quoted > 5, "{quoted}");
    assert!(unknown.is_empty(), "quoted, but in no message: {unknown:#?}");
}

#[test]
fn what_pages_name_in_code_exists() {
    let known = Known::gather();
    let mut wrong = BTreeSet::new();
    let mut judged = 0;
    // The lab's README names its functions.
    for page in pages::all().into_iter().filter(|page| !page.starts_with("tests/lab")) {
        let text = read(&page);
        for code in codes(&prose(&text)).into_iter().chain(commands(&text)) {
            match known.judge(&code) {
                Some(Ok(())) => judged += 1,
                Some(Err(why)) => drop(wrong.insert(format!("{page}: `{code}`: {why}"))),
                None => {}
            }
        }
    }
    assert!(judged > 300, "{judged}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn names_that_do_not_exist_are_found() {
    let known = Known::gather();
    let fine = [
        "mesh_ca",
        "trust_root",
        "root.generation",
        "mesh_primary.trust_root",
        "multi_root = true",
        "make test",
        "examples/demo",
        "data.mesh_status",
        "--fail-on drift",
        "token = { lifetime = \"1d\" }",
        "terraform-provider-mesh review",
        "clusters = { east = { generation = 2 }, west = {} }",
        "depends_on",
    ];
    for code in fine {
        assert_eq!(known.judge(code), Some(Ok(())), "{code}");
    }
    let wrong = [
        "mesh_gateway",
        "trust_rot",
        "root.generations",
        "mesh_primary.root",
        "mesh_service_entry.gateways",
        "multi_roots = true",
        "make everything",
        "examples/none",
        "data.mesh_state",
        "--fail-at",
        "token = { lifespan = \"1d\" }",
        "terraform-provider-mesh inspect",
        "docs/guides/none.md",
    ];
    for code in wrong {
        assert!(matches!(known.judge(code), Some(Err(_))), "{code}: {:?}", known.judge(code));
    }
    for code in ["cluster", "kubectl get pods", "cart.shop.svc.cluster.local", "istio-system"] {
        assert_eq!(known.judge(code), None, "{code}");
    }
}

/// Flags of kube-apiserver, which users set and no help of ours names.
const OF_API_SERVERS: &[&str] =
    &["--oidc-issuer-url", "--authentication-config", "--service-account-issuer", "--service-account-jwks-uri"];

struct Known {
    /// Names of resources, data sources and list resources.
    types: BTreeSet<String>,
    /// Every path of attributes, without keys, behind the name of what has it; the provider's has none.
    paths: BTreeSet<(String, Vec<String>)>,
    makefile: String,
    help: String,
    /// The texts of the sources: members of JSON, keys of policies.
    texts: BTreeSet<String>,
}

impl Known {
    fn gather() -> Self {
        let engine = Engine::new(Mesh, resources::registry());
        let schema = engine.schema();
        let (mut types, mut paths) = (BTreeSet::new(), BTreeSet::new());
        let named = [
            &schema.resources,
            &schema.data_sources,
            &schema.ephemeral_resources,
            &schema.list_resources,
            &schema.actions,
        ];
        for (name, schema) in named.into_iter().flatten() {
            types.insert(name.clone());
            walk(name, &mut Vec::new(), &schema.attributes, &mut paths);
        }
        walk("", &mut Vec::new(), &schema.provider.attributes, &mut paths);
        let help = |arguments: &[&str]| {
            let said = Command::new(BINARY).args(arguments).output().unwrap();
            [said.stdout, said.stderr].map(|text| String::from_utf8(text).unwrap()).concat()
        };
        let help = [["--help"].as_slice(), &["review", "--help"], &["template", "--help"]].map(help).concat();
        Self { types, paths, makefile: read("Makefile"), help, texts: texts() }
    }

    /// Whether what a code span says exists; nothing where that cannot be told.
    fn judge(&self, code: &str) -> Option<Result<(), String>> {
        let first = code.split_whitespace().next()?;
        if let Some(rest) = code.strip_prefix("make ") {
            let target = rest.split_whitespace().next().filter(|word| !word.starts_with('#'))?;
            return Some(ok(self.makefile.contains(&format!("\n{target}:")), "no such target of the Makefile"));
        }
        if let Some(rest) = code.strip_prefix("terraform-provider-mesh ") {
            let word = rest.split_whitespace().next()?;
            return Some(ok(self.help.contains(word), "no such subcommand or option"));
        }
        if first.starts_with("--") && !OF_API_SERVERS.contains(&first) {
            return Some(ok(self.help.contains(first), "the help does not name it"));
        }
        if let Some(path) = file(first) {
            return Some(ok(path.exists(), "no such file"));
        }
        let assigned = assignments(code);
        if !assigned.is_empty() {
            let judged = assigned.iter().map(|name| self.judge_name(name).unwrap_or_else(|| self.judge_assigned(name)));
            return Some(judged.collect());
        }
        if code == first && is_name(code) { self.judge_name(code) } else { None }
    }

    fn judge_name(&self, name: &str) -> Option<Result<(), String>> {
        let name = name.strip_prefix("data.").unwrap_or(name);
        let segments: Vec<String> = name.split('.').map(str::to_owned).collect();
        let (first, rest) = segments.split_first()?;
        if OTHERS.contains(&first.as_str()) {
            return Some(Ok(()));
        }
        if first.starts_with("mesh_") && !self.is_attribute(first) {
            if !self.types.contains(first) {
                return Some(Err("no such resource".to_owned()));
            }
            // A label may stand between, as in `mesh_primary.east.cluster`. What lies deeper is named by its whole
            // path.
            let has = |rest: &[String]| self.paths.iter().any(|(of, path)| of == first && path.starts_with(rest));
            return Some(ok(has(rest) || rest.len() > 1 && has(&rest[1..]), "the resource has no such attribute"));
        }
        if !rest.is_empty() {
            let nests = self.paths.iter().any(|(_, path)| path.windows(2).any(|pair| pair[0] == *first));
            let lies = |path: &Vec<String>| path.windows(segments.len()).any(|part| part == segments);
            let plain = |segment: &String| is_name(segment) && !segment.contains(|c: char| c.is_uppercase());
            return (nests && rest.iter().all(plain))
                .then(|| ok(self.paths.iter().any(|(_, path)| lies(path)), "no such attribute in there"));
        }
        if first.contains('_') && first.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
            return Some(ok(
                self.is_attribute(first) || self.texts.contains(first) || is_function(first),
                "no attribute or function of this name, and no text of the sources",
            ));
        }
        None
    }

    /// What is set must be an attribute, also where its name is a plain word.
    fn judge_assigned(&self, name: &str) -> Result<(), String> {
        let is_plain = !name.contains('.');
        ok(!is_plain || OTHERS.contains(&name) || self.is_attribute(name), "no attribute of this name")
    }

    fn is_attribute(&self, name: &str) -> bool {
        self.paths.iter().any(|(_, path)| path.iter().any(|segment| segment == name))
    }
}

fn ok(holds: bool, why: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why.to_owned()) }
}

fn walk(of: &str, path: &mut Vec<String>, attributes: &[Attribute], paths: &mut BTreeSet<(String, Vec<String>)>) {
    for attribute in attributes {
        path.push(attribute.name.clone());
        paths.insert((of.to_owned(), path.clone()));
        if let Some(nested) = attribute.nested() {
            walk(of, path, &nested.attributes, paths);
        }
        path.pop();
    }
}

/// A path in this repository, where a word begins as one does.
fn file(word: &str) -> Option<PathBuf> {
    const FOLDERS: &[&str] = &["docs/", "examples/", "scripts/", "src/", "templates/", "tests/", ".github/"];
    let word = word.trim_end_matches(['/', '.', ',']);
    let is_path = FOLDERS.iter().any(|folder| word.starts_with(folder)) && !word.contains(['*', '<', '…', '{', '=']);
    is_path.then(|| root().join(word.split("::").next().unwrap_or(word)))
}

fn is_function(name: &str) -> bool {
    ["spiffe_id", "parse_remote_secret", "sni"].contains(&name)
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.')
        && text.starts_with(|c: char| c.is_ascii_lowercase())
}

/// What stands on the left of ` = ` in a piece of configuration, as far as it is no key of a map.
fn assignments(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices(" = ") {
        let before = code[..at].trim_end();
        let name =
            before.rsplit(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.')).next().unwrap_or_default();
        names.push(name.to_owned());
    }
    // Below `clusters` and the like are names of somebody's choice.
    names.retain(|name| {
        is_name(name) && !["east", "west", "north", "south", "admin", "http", "istio", "api"].contains(&name.as_str())
    });
    names
}

/// The page without its fenced blocks.
fn prose(page: &str) -> String {
    let mut fence: Option<String> = None;
    let mut kept = String::new();
    for line in page.lines() {
        let mark: String = line.trim_start().chars().take_while(|c| *c == '`').collect();
        match &fence {
            Some(open) if mark.starts_with(open.as_str()) => fence = None,
            Some(_) => {}
            None if mark.len() >= 3 => fence = Some(mark),
            None => {
                kept.push_str(line);
                kept.push('\n');
            }
        }
    }
    kept
}

/// Code spans.
fn codes(prose: &str) -> Vec<String> {
    prose
        .split("\n\n")
        .flat_map(|paragraph| paragraph.split('`').skip(1).step_by(2).map(|code| code.replace('\n', " ")))
        .collect()
}

/// Lines of shell blocks, each from `make` or the provider's own command on.
fn commands(page: &str) -> Vec<String> {
    let blocks =
        pages::blocks(page).into_iter().filter(|block| ["sh", "shell", "bash"].contains(&block.language.as_str()));
    let lines: Vec<String> =
        blocks.flat_map(|block| block.text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    let begins = ["make ", "terraform-provider-mesh ", "scripts/"];
    lines
        .iter()
        .flat_map(|line| line.split('|'))
        .map(|part| part.trim().to_owned())
        .filter(|part| begins.iter().any(|word| part.starts_with(word)))
        .collect()
}

/// Spans in single asterisks that begin as a message does.
fn italics(prose: &str) -> Vec<String> {
    let plain = prose.replace("**", "");
    let without_code: String =
        plain.split('`').enumerate().map(|(at, part)| if at % 2 == 0 { part } else { "…" }).collect();
    let spans = without_code
        .split("\n\n")
        .flat_map(|paragraph| paragraph.split('*').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>());
    let spans = spans.map(|span| span.replace('\n', " "));
    spans
        .filter(|span| span.starts_with(|c: char| c.is_uppercase() || c == '…') && span.split_whitespace().count() > 2)
        .collect()
}

/// The texts of the sources, with a gap for each value that is put in.
fn texts() -> BTreeSet<String> {
    sources(&root().join("src"))
        .iter()
        .flat_map(|file| literals(&fs::read_to_string(file).unwrap()))
        .map(|text| gaps(&text))
        .collect()
}

fn gaps(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((_, behind)) = after.split_once('}') else { break };
        out.push_str(before);
        out.push('…');
        rest = behind;
    }
    out.push_str(rest);
    while out.contains("… …") {
        out = out.replace("… …", "…");
    }
    out
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What is told of cargo's settings is in them: nothing fails without them but the time of every start, and tests that
/// need as much stack as the provider has.
#[test]
fn cargo_sets_what_is_said_of_it() {
    let read = |file: &str| fs::read_to_string(root().join(file)).unwrap();
    let (settings, guide, main) = (read(".cargo/config.toml"), read("CONTRIBUTING.md"), read("src/main.rs"));
    let set = |name: &str| {
        let value = settings.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix('='));
        value.unwrap_or_else(|| panic!("{name} is not set: {settings}")).trim().trim_matches('"').to_owned()
    };
    assert_eq!(set("AWS_LC_SYS_NO_JITTER_ENTROPY"), "1");
    assert!(guide.contains("`AWS_LC_SYS_NO_JITTER_ENTROPY` in `.cargo/config.toml`"));
    let stack = Regex::new(r"const STACK: usize = (\d+) << (\d+);").unwrap().captures(&main).expect("the stack");
    let [factor, bits] = [1, 2].map(|at| stack[at].parse::<u32>().unwrap());
    assert_eq!(set("RUST_MIN_STACK"), (factor << bits).to_string());
}
