//! The plan review, on real plans that are kept (`make review-plans` makes them anew) and on what becomes of them when
//! somebody tampers with them.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::{Value, json};
use terraform_provider_mesh::engine::Engine;
use terraform_provider_mesh::provider::Mesh;
use terraform_provider_mesh::resources;
use terraform_provider_mesh::review::{self, Format, Policy, Review, Schemas, risk};

use crate::review_edited::is_plain;
use crate::review_plans::fixtures;
use crate::support::cli::{Workspace, clis};
use crate::support::plugin_process::BINARY;
use crate::support::random::Random;

pub(crate) static SCHEMAS: LazyLock<Schemas> =
    LazyLock::new(|| Engine::new(Mesh, resources::registry()).schema().resources.clone());

fn review(plan: &[u8]) -> Result<Review, review::Error> {
    Review::of(plan, &Policy::default(), &SCHEMAS)
}

fn plans() -> Vec<PathBuf> {
    let entries = fs::read_dir(fixtures()).unwrap().map(|entry| entry.unwrap().path());
    let mut plans: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
    plans.sort();
    assert!(plans.len() >= 20, "{plans:?}");
    plans
}

#[tokio::test]
async fn generated_review_pages_are_current() {
    let mut stale = Vec::new();
    let mut verdicts = String::new();
    for plan in plans() {
        let review = review(&fs::read(&plan).unwrap()).unwrap();
        current(&plan.with_extension("md"), &review.written(Format::Markdown, 60_000), &mut stale);
        let name = plan.file_stem().unwrap().to_string_lossy().into_owned();
        let _ = writeln!(verdicts, "{name}: {}", review.written(Format::Text, 60_000).lines().next().unwrap());
    }
    current(&fixtures().join("verdicts.txt"), &verdicts, &mut stale);
    current(&root().join("docs/guides/plan-risks.md"), &risk_page(), &mut stale);
    assert!(
        stale.is_empty(),
        "these are not what the review says: {stale:?}. Run `make docs`, look, and commit the result."
    );
}

/// Rules of others are written by the guide, and by what a review prints.
#[tokio::test]
async fn the_guide_names_every_member_of_every_row() {
    let guide = fs::read_to_string(root().join("docs/guides/plan-review.md")).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for plan in plans() {
        let json = review(&fs::read(&plan).unwrap()).unwrap().json();
        for (section, rows) in json["sections"].as_object().unwrap() {
            let line = guide.lines().find(|line| line.starts_with(&format!("| `{section}` |")));
            let line = line.unwrap_or_else(|| panic!("the guide does not have the section {section}"));
            for member in rows[0].as_object().unwrap().keys() {
                assert!(line.contains(&format!("`{member}`")), "{section}: {member}");
            }
            seen.insert(section.clone());
        }
    }
    assert!(seen.len() >= 9, "{seen:?}");
}

/// Compares, or writes where that was asked for.
fn current(file: &Path, text: &str, stale: &mut Vec<String>) {
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        fs::write(file, text).unwrap();
    }
    if fs::read_to_string(file).ok().as_deref() != Some(text) {
        stale.push(file.file_name().unwrap().to_string_lossy().into_owned());
    }
}

fn risk_page() -> String {
    let mut page = "---\npage_title: \"The risks that a plan review knows\"\nsubcategory: \"\"\ndescription: |-\n  \
        What each risk of `terraform-provider-mesh review` means, why it matters and what to check.\n---\n\n\
        # The risks that a plan review knows\n\n[`review`](plan-review.md) numbers what a plan can break. A number is never given to another risk. The level is \
        the usual one; a plan may bring a lesser or a greater case of it, and a [policy](plan-review.md#a-policy) may say otherwise.\n\n\
        | number | name | level | |\n| --- | --- | --- | --- |\n"
        .to_owned();
    for kind in risk::ALL {
        let anchor = review::anchor(kind);
        let _ = writeln!(
            page,
            "| {} | [`{}`](#{anchor}) | {} | {} |",
            kind.number,
            kind.name,
            kind.level.word(),
            kind.title
        );
    }
    for kind in risk::ALL {
        let _ = write!(
            page,
            "\n## {} {}\n\n{}.\n\n**Why.** {}\n\n**To check.** {}\n",
            kind.number, kind.name, kind.title, kind.why, kind.check
        );
    }
    page
}

/// What hides something dangerous says so in its first line and on the first screen, and what does not is not cried
/// over. Dangers that nobody has recorded a plan of are in `review_edited` and `review_dangers`.
#[tokio::test]
async fn the_first_line_tells_which_plans_are_dangerous() {
    for (plan, danger) in [
        ("authority-replaced", Some("the root of trust changes without overlap")),
        ("control-plane-replaced", Some("a control plane is deleted and recreated")),
        ("gateway-exposed-to-all", Some("more services can be called from other networks")),
        ("gateway-removed", Some("a network loses its last gateway")),
        ("trust-domain-changed", Some("mesh id, trust domain or cluster name changes")),
        ("mtls-off", Some("encryption or identity checks are weakened")),
        ("watcher-removed", Some("a control plane no longer sees a cluster")),
        ("first-mesh", None),
        ("third-cluster-joins", None),
        ("values-change", None),
        ("rotation-1-widen", None),
        ("host-added", None),
        ("canary-1-second-revision", None),
    ] {
        let review = review(&fs::read(fixtures().join(format!("{plan}.terraform.json"))).unwrap()).unwrap();
        let verdict = review.written(Format::Text, 60_000).lines().next().unwrap().to_owned();
        match danger {
            Some(danger) => {
                assert!(verdict.contains(danger) && verdict.contains("decision"), "{plan}: {verdict}");
                assert!(is_plain(&review), "{plan}: {}", review.written(Format::Markdown, 60_000));
            }
            None => assert!(!verdict.contains("decision"), "{plan}: {verdict}"),
        }
    }
}

/// Marked as sensitive in the configuration, and by no mark in what the provider makes of it.
#[tokio::test]
async fn no_secret_is_in_any_form_of_a_page() {
    let plan = fs::read_to_string(fixtures().join("password-in-values.terraform.json")).unwrap();
    assert!(plan.contains("correct-horse-battery"));
    let review = review(plan.as_bytes()).unwrap();
    for (name, format) in Format::ALL {
        let written = review.written(format, 1 << 20);
        assert!(!written.contains("correct-horse") && !written.contains("Y29ycmVjdC"), "{name}: {written}");
    }
    assert!(review.written(Format::Text, 1 << 20).contains("(sensitive"));
}

/// As whoever opens a pull request could have named things.
#[tokio::test]
async fn names_that_would_break_out_stay_names() {
    let plan = fs::read_to_string(fixtures().join("third-cluster-joins.terraform.json")).unwrap();
    for name in [
        "x|y|z",
        "@octocat",
        "</details><script>alert(1)</script>",
        "``` \n# pwned",
        "a\\|b",
        "![i](http://evil/x)",
        "#1 GH-1",
    ] {
        let quoted = json!(name).to_string();
        let tampered = plan.replace("north", &quoted[1..quoted.len() - 1]);
        let page = review(tampered.as_bytes()).unwrap().written(Format::Markdown, 60_000);
        // A fenced block holds the graph, whose labels have tests of their own.
        let (before, rest) = page.split_once("```mermaid\n").unwrap();
        let (graph, after) = rest.split_once("```\n").unwrap();
        assert!(!name.contains(['@', '`', '|', '<', '[']) || !graph.contains(name), "{graph}");
        for line in before.lines().chain(after.lines()) {
            assert!(!line.starts_with("# pwned") && !line.contains("<script"), "{name}: {line}");
            // A row of a table keeps as many cells as its head has: nothing between the bars is a bar.
            let outside = outside_of_code(line);
            for word in ["@octocat", "](http://evil", "GH-1"] {
                assert!(!outside.contains(word), "{name}: {line}");
            }
        }
        let tables = page.split("\n\n").filter(|block| block.starts_with('|'));
        for table in tables {
            let cells = |line: &str| line.matches('|').count();
            let first = cells(table.lines().next().unwrap());
            assert!(table.lines().all(|line| cells(line) == first || line.starts_with('<')), "{name}: {table}");
        }
    }
}

/// What of a line a forge reads: neither `code` nor <code>.
fn outside_of_code(line: &str) -> String {
    let html = regex::Regex::new("<code>.*?</code>").unwrap();
    let spans = regex::Regex::new("`[^`]*`").unwrap();
    spans.replace_all(&html.replace_all(line, ""), "").into_owned()
}

/// Ten thousand each week (`.github/workflows/weekly.yml`), or by `MESH_TEST_MUTATIONS=10000`; one again:
/// `MESH_TEST_FROM=ROUND MESH_TEST_MUTATIONS=1`.
#[tokio::test]
async fn whatever_is_made_of_a_plan_gets_a_page_of_bounded_size_in_bounded_time() {
    let number = |name: &str, usual| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual);
    let (seed, first) = (number("MESH_TEST_SEED", 7), number("MESH_TEST_FROM", 0));
    let plans: Vec<Value> = plans()
        .iter()
        .filter(|path| !path.to_string_lossy().contains("twenty-four"))
        .map(|path| serde_json::from_slice(&fs::read(path).unwrap()).unwrap())
        .collect();
    let mut slowest = (Duration::ZERO, 0);
    for round in first..first + number("MESH_TEST_MUTATIONS", 500) {
        let mut random = Random::new(seed << 32 | round);
        let mut plan = plans[random.below(plans.len())].clone();
        for _ in 0..=random.below(6) {
            mutate(&mut plan, &mut random, 0);
        }
        let mut bytes = plan.to_string().into_bytes();
        if random.below(10) == 0 {
            let at = random.below(bytes.len());
            bytes[at] = random.below(256) as u8;
        }
        let most = 1_000 + random.below(60_000);
        let begun = on_processor();
        if let Ok(review) = review(&bytes) {
            for (name, format) in Format::ALL {
                let written = review.written(format, most);
                assert!(written.len() <= most, "round {round}: {name} has {} bytes of {most}", written.len());
                assert!(
                    format != Format::Json || serde_json::from_str::<Value>(&written).is_ok(),
                    "round {round}: {written}"
                );
            }
        }
        slowest = slowest.max((on_processor() - begun, round));
    }
    println!("slowest: {slowest:?}");
    assert!(slowest.0 < Duration::from_secs(5), "{slowest:?}");
}

/// What this thread has had of a processor, which does not depend on what else the machine does.
fn on_processor() -> Duration {
    let said = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(said.split(' ').next().unwrap().parse().unwrap())
}

/// Something else in place of something: of another kind, longer, twice, or gone.
fn mutate(value: &mut Value, random: &mut Random, depth: usize) {
    let deeper = depth < 3 || random.below(3) > 0;
    match value {
        Value::Object(members) if deeper && !members.is_empty() => {
            let at = random.below(members.len());
            let name = members.keys().nth(at).unwrap().clone();
            match random.below(12) {
                0 if depth > 0 => drop(members.remove(&name)),
                1 if depth > 0 => {
                    let moved = members.remove(&name).unwrap();
                    members.insert(["", "|\n@x", "clusters", "objects", "*"][random.below(5)].to_owned(), moved);
                }
                _ => mutate(members.get_mut(&name).unwrap(), random, depth + 1),
            }
        }
        Value::Array(items) if deeper && !items.is_empty() => {
            let at = random.below(items.len());
            match random.below(8) {
                0 => drop(items.remove(at)),
                1 => {
                    let copies = 1 + random.below(200);
                    items.extend(std::iter::repeat_n(items[at].clone(), copies));
                }
                _ => mutate(&mut items[at], random, depth + 1),
            }
        }
        other => {
            *other = match random.below(12) {
                0 => Value::Null,
                1 => json!(true),
                2 => json!(-1),
                3 => json!(1e300),
                4 => json!("x".repeat(random.below(100_000))),
                5 => json!("`|\n</details>@octocat\u{202e}\u{0}\u{e000}"),
                6 => json!([]),
                7 => json!({}),
                8 => json!({ "a": [{ "b": null }] }),
                9 => json!("999999999999999999999.99999999999999"),
                10 => json!("known"),
                _ => json!(["", "*", "create", "delete"]),
            }
        }
    }
}

/// As nobody has it, and somebody could write it.
#[tokio::test]
async fn a_plan_of_far_too_many_resources_is_told_to_be_one() {
    let plan = fs::read_to_string(fixtures().join("first-mesh.terraform.json")).unwrap();
    let mut plan: Value = serde_json::from_str(&plan).unwrap();
    let changes = plan["resource_changes"].as_array().unwrap().clone();
    let numbered = |number: usize| {
        changes.iter().map(move |change| {
            change
                .to_string()
                .replace("mesh_east", "mesh_EAST")
                .replace("east", &format!("c{number}"))
                .replace("mesh_EAST", "mesh_east")
        })
    };
    let many: Vec<Value> = (0..2_000).flat_map(numbered).map(|text| serde_json::from_str(&text).unwrap()).collect();
    plan["resource_changes"] = many.into();
    let begun = on_processor();
    let review = review(plan.to_string().as_bytes()).unwrap();
    let page = review.written(Format::Markdown, 60_000);
    let took = on_processor() - begun;
    println!("{took:?}");
    // No rule of a policy can match what is not looked at.
    assert_eq!(review.level(), Some(risk::Level::Forbidden));
    assert!(page.contains("no more than the first 5000 are looked at") && page.len() <= 60_000, "{page}");
    assert!(took < Duration::from_secs(60), "{took:?}");
}

#[tokio::test]
async fn what_is_no_plan_is_told_what_it_is() {
    for (bytes, words) in [
        (&b""[..], "empty"),
        (b"PK\x03\x04\x14", "saved plan itself"),
        (b"{\"@level\":\"info\"}\n{\"@level\":\"info\"}\n", "log of `plan -json`"),
        (b"{\"format_version\":\"1.0\",\"values\":{}}", "a state"),
        (b"{\"format_version\":\"1.0\"}", "not a plan"),
        (b"[1]", "not JSON"),
        (b"{\"format_version\": \"1.2\", ", "not JSON (line 1"),
        (b"{\"format_version\":\"2.0\",\"resource_changes\":[]}", "format 2.0"),
        (b"Error: No plan", "not JSON"),
    ] {
        let error = review(bytes).map(drop).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    assert!(review("[".repeat(100_000).as_bytes()).is_err());
}

#[tokio::test]
async fn a_plan_of_others_only_gets_one_line() {
    let change = |actions: &[&str]| {
        json!({ "address": "aws_vpc.a", "mode": "managed", "type": "aws_vpc", "provider_name": "registry.terraform.io/hashicorp/aws",
        "change": { "actions": actions, "before": null, "after": {} } })
    };
    let plan = json!({ "format_version": "1.2", "resource_changes": [change(&["create"]), change(&["no-op"])] });
    let page = review(plan.to_string().as_bytes()).unwrap().written(Format::Markdown, 60_000);
    assert!(page.contains("**Nothing in this plan is of the mesh: 1 change of other providers.**"), "{page}");
    assert_eq!(page.lines().filter(|line| !line.is_empty()).count(), 3, "{page}");
    // As a shell of Windows saves it.
    let wide: Vec<u8> =
        [0xFEFF_u16].into_iter().chain(plan.to_string().encode_utf16()).flat_map(u16::to_le_bytes).collect();
    assert!(review(&wide).is_ok());
}

#[test]
fn the_command_reads_files_and_pipes_and_ends_as_it_is_told() {
    let plan = fixtures().join("gateway-exposed-to-all.terraform.json");
    let file = plan.to_str().unwrap();
    let bytes = fs::read(&plan).unwrap();
    let policies = tempfile::tempdir().unwrap();
    let policy = |name: &str, text: &str| {
        let path = policies.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let forbids = policy("forbids.yaml", "version: 1\nrules: [{risk: hosts-widened, level: forbidden}]\n");
    let accepts = policy(
        "accepts.yaml",
        "version: 1\nrules: [{risk: '*', needs_reason: true}]\naccepted: [{risk: '*', clusters: ['*'], reason: 'CHG-1 | agreed'}]\n",
    );
    let broken = policy("broken.yaml", "version: 1\nrules: [{risk: nonsense, level: note}]\n");
    for (arguments, code, words) in [
        (&[file][..], 0, "### Mesh review"),
        (&["-"], 0, "### Mesh review"),
        (&[], 0, "### Mesh review"),
        (&[file, "--fail-on", "danger"], 2, "### Mesh review"),
        (&[file, "--fail-on=never"], 0, "### Mesh review"),
        (&[file, "--fail-on", "drift"], 0, "### Mesh review"),
        (&[file, "--format", "json"], 0, "\"format\": 1"),
        (&[file, "--format", "mermaid"], 0, "flowchart LR"),
        (&[file, "--format=text", "--max-bytes=1000"], 0, "decision"),
        (&[file, "--policy", &forbids], 2, "forbidden"),
        (&[file, "--policy", &accepts, "--fail-on", "note"], 0, "agreed"),
        (&[file, "--policy", &broken], 1, "nonsense"),
        (&[file, "--format", "html"], 1, "html"),
        (&[file, "--max-bytes", "9"], 1, "--max-bytes"),
        (&[file, file], 1, "only one plan"),
        (&["/nowhere.json"], 1, "cannot read /nowhere.json"),
        (&["--help"], 0, "--fail-on LEVEL"),
    ] {
        let output = command(arguments, &bytes);
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    assert_eq!(command(&[file, "--max-bytes", "2000"], &[]).stdout.len().max(2_001), 2_001);
}

fn command(arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(BINARY);
    command.arg("review").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that does not read its input closes it.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// A plan as each CLI makes it today, of clusters that are not there yet.
#[test]
fn both_clis_plans_are_read() {
    let main = fs::read_to_string(fixtures().join("walk/main.tf")).unwrap();
    for cli in clis() {
        let provider = Path::new(BINARY).parent().unwrap();
        let workspace = Workspace::overriding(&cli, "terraform-provider-mesh/mesh", provider);
        workspace.configure(&main);
        let variables = json!({ "kubeconfigs": { "east": "east.yaml", "west": "west.yaml" }, "members": ["east", "west"], "charts": {}, "later": true });
        fs::write(workspace.path("step.auto.tfvars.json"), variables.to_string()).unwrap();
        workspace.run(&["plan", "-input=false", "-out=plan.bin"]).ok();
        let shown = workspace.run(&["show", "-json", "plan.bin"]).ok();
        let output = command(&["--format=text"], shown.stdout.as_bytes());
        let page = String::from_utf8(output.stdout).unwrap();
        assert!(page.starts_with("a new mesh of 2 clusters"), "{}: {page}", cli.name);
        assert!(page.contains("Something cannot be told"), "{}: {page}", cli.name);
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
