//! What the pages give to paste: every block of configuration in README and guides is taken as it stands, installed
//! from a mirror and validated.
//!
//! Which block is what can be seen on the page. One with `required_providers` is a whole module, and must be valid in a
//! folder of its own. One without is an addition: it must be valid in the folder of the whole module above it on its
//! page, in the file that a comment in its first line names. One with `provider_installation` is the CLI's own
//! configuration: with it, the CLI must find the provider. There is no other kind.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::package::{PLATFORM, registry};
use crate::support::cli::{Cli, Workspace, clis, newest};
use crate::support::pages::{Block, all, blocks};
use crate::support::plugin_process::BINARY;

/// What no CLI of this age understands: the page says which version it needs. A whole module is left to a Terraform of
/// today, an addition to `fmt`.
const NEWER: &[(&str, (u32, u32))] = &[("identity = {", (1, 12)), ("\nlist \"", (1, 14)), ("\naction \"", (1, 14))];

#[test]
fn every_module_on_a_page_can_be_installed_and_is_valid() {
    let mirror = mirror();
    let mut wrong = Vec::new();
    for (at, cli) in clis().iter().enumerate() {
        for page in all() {
            // One CLI reads everything, the other what newcomers begin with.
            let first_hour = ["README.md", "docs/index.md", "docs/guides/getting-started.md"].contains(&page.as_str());
            if at == 0 || first_hour {
                wrong.extend(judge(cli, &page, mirror.path()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// What is wrong with the blocks of one page.
fn judge(cli: &Cli, page: &str, mirror: &Path) -> Vec<String> {
    let text = fs::read_to_string(root().join(page)).unwrap();
    let mut module: Option<Workspace> = None;
    let mut wrong = Vec::new();
    for block in blocks(&text).iter().filter(|block| block.is_configuration()) {
        let place = format!("{page}:{} by {}", block.line, cli.name);
        if block.text.contains("provider_installation") {
            wrong.extend(installs(cli, block, mirror).map(|why| format!("{place}: {why}")));
        } else if let Err(why) = is_formatted(cli, block, mirror) {
            wrong.push(format!("{place}: {why}"));
        } else if block.text.contains("required_providers") {
            let newer = if needs_newer(cli, block) { newest() } else { None };
            if needs_newer(cli, block) && newer.is_none() {
                continue;
            }
            let workspace = Workspace::mirrored(newer.as_ref().unwrap_or(cli), mirror);
            workspace.configure(&block.text);
            wrong.extend(fails(&workspace, &["init", "validate"]).map(|why| format!("{place}: {why}")));
            module = Some(workspace);
        } else if is_of_another(block) {
            println!("{place}: only formatted, its provider is not on this machine");
        } else if needs_newer(cli, block) {
            println!("{place}: only formatted, {} is too old to read it", cli.name);
        } else if let Some(module) = &module {
            fs::write(module.path(&block.file_name()), &block.text).unwrap();
            wrong.extend(fails(module, &["validate"]).map(|why| format!("{place}: with the module above it, {why}")));
        } else {
            wrong.push(format!("{place}: has no required_providers, and no module above it on its page has"));
        }
    }
    wrong
}

/// What another provider, which no mirror here has, must be asked about.
fn is_of_another(block: &Block) -> bool {
    let mut types = block
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("resource \"").or_else(|| line.trim_start().strip_prefix("from = ")));
    types.any(|rest| ["tls_", "vault_", "aws_", "helm_"].iter().any(|prefix| rest.starts_with(prefix)))
}

/// The first of these commands that fails, and what it says.
fn fails(workspace: &Workspace, commands: &[&str]) -> Option<String> {
    commands.iter().find_map(|command| {
        let more: &[&str] = if *command == "init" { &["init", "-input=false"] } else { &[command] };
        let said = workspace.run(more);
        (said.code != Some(0)).then(|| format!("{command} fails:\n{}{}", said.stdout, said.stderr))
    })
}

/// Whether the CLI finds the provider with this configuration of its own, the folders of which are put in.
fn installs(cli: &Cli, block: &Block, mirror: &Path) -> Option<String> {
    let built = Path::new(BINARY).parent().unwrap().display().to_string();
    let folders =
        [("/srv/providers", mirror.display().to_string()), ("/home/you/terraform-provider-mesh/target/release", built)];
    let named: Vec<_> = folders.iter().filter(|(folder, _)| block.text.contains(&format!("\"{folder}\""))).collect();
    let [(folder, instead)] = named[..] else {
        return Some(format!("names none or several of the folders {folders:?}"));
    };
    let workspace = Workspace::mirrored(cli, mirror);
    fs::write(workspace.path("cli.rc"), block.text.replace(folder, instead)).unwrap();
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    workspace.configure(&blocks(&readme).iter().find(|block| block.is_configuration()).unwrap().text);
    let commands: &[&str] = if block.text.contains("dev_overrides") { &["validate"] } else { &["init", "validate"] };
    fails(&workspace, commands)
}

fn is_formatted(cli: &Cli, block: &Block, mirror: &Path) -> Result<(), String> {
    let workspace = Workspace::mirrored(cli, mirror);
    let mut command = workspace.command(&["fmt", "-check", "-diff", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(block.text.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    let said = [done.stdout, done.stderr].concat();
    if done.status.success() { Ok(()) } else { Err(format!("fmt:\n{}", String::from_utf8_lossy(&said))) }
}

fn needs_newer(cli: &Cli, block: &Block) -> bool {
    NEWER.iter().any(|(words, since)| format!("\n{}", block.text).contains(words) && cli.version() < *since)
}

/// The provider that was built, unpacked, beside both registries' hosts.
pub fn mirror() -> tempfile::TempDir {
    let mirror = tempfile::tempdir().unwrap();
    for cli in ["terraform", "tofu"] {
        let version = env!("CARGO_PKG_VERSION");
        let folder =
            mirror.path().join(registry(cli)).join("terraform-provider-mesh/mesh").join(version).join(PLATFORM);
        fs::create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink(BINARY, folder.join(format!("terraform-provider-mesh_v{version}"))).unwrap();
    }
    mirror
}

/// Configuration in a block that does not say so would escape.
#[test]
fn configuration_says_that_it_is() {
    let mut wrong = Vec::new();
    for page in all() {
        let text = fs::read_to_string(root().join(&page)).unwrap();
        let hidden =
            blocks(&text).into_iter().filter(|block| !block.is_configuration() && block.looks_like_configuration());
        wrong.extend(hidden.map(|block| format!("{page}:{}", block.line)));
    }
    assert!(wrong.is_empty(), "configuration in blocks that are not of the language `terraform`: {wrong:?}");
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
