//! `examples/pull-request`: every shell line of it is run, with the review's binary and stand-ins for what talks to a
//! forge or a cluster.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use lab::tools::{self, Tool};
use serde_json::Value;
use terraform_provider_mesh::review::{Policy, Review};

use crate::review_pages::SCHEMAS;
use crate::review_plans::fixtures;
use crate::support::cli::Said;
use crate::support::plugin_process::BINARY;

fn example(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/pull-request").join(name)
}

fn yaml(name: &str) -> Value {
    serde_saphyr::from_str(&fs::read_to_string(example(name)).unwrap()).unwrap()
}

/// Where the core puts the provider, below its folder of data.
const INSTALLED: &str = "providers/registry.terraform.io/terraform-provider-mesh/mesh/0.1.0/linux_amd64";

/// A checkout of a module with the provider installed, and programs that note what they are asked.
struct Checkout {
    folder: tempfile::TempDir,
    plan: PathBuf,
}

impl Checkout {
    fn new(plan: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let plan = fixtures().join(format!("{plan}.terraform.json"));
        let checkout = Self { folder, plan };
        fs::create_dir_all(checkout.path("mesh")).unwrap();
        fs::copy(example("policy/mesh-review.yaml"), checkout.path("mesh/mesh-review.yaml")).unwrap();
        fs::create_dir(checkout.path("bin")).unwrap();
        let installs = format!(
            "folder=$TF_DATA_DIR/{INSTALLED}; mkdir -p \"$folder\"; ln -f {BINARY} \"$folder/terraform-provider-mesh_v0.1.0\" || cp {BINARY} \"$folder/terraform-provider-mesh_v0.1.0\""
        );
        checkout.program(
            "terraform",
            &format!("case \"$1\" in init) {installs};; show) cat \"$PLAN\";; plan) : > plan.bin;; esac"),
        );
        // What a pull request could bring along to be its own judge.
        for place in [format!("mesh/.terraform/{INSTALLED}"), "mesh".to_owned()] {
            fs::create_dir_all(checkout.path(&place)).unwrap();
            for name in ["terraform-provider-mesh_v9.9.9", "terraform-provider-mesh", "find-review"] {
                let file = checkout.path(&place).join(name);
                fs::write(&file, "#!/bin/sh\necho forged\n").unwrap();
                fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
        checkout.program("git", "case \"$1\" in show) cat mesh-review.yaml;; esac");
        checkout.program("gh", "case \"$*\" in *--jq*) cat \"$NOTES/comment\" 2>/dev/null || :;; *) : > \"$NOTES/comment\"; echo 77 > \"$NOTES/comment\"; cp review.md \"$NOTES/body\";; esac");
        checkout.program("apk", ":");
        checkout
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn program(&self, name: &str, does: &str) {
        let file = self.path("bin").join(name);
        let text = format!("#!/bin/sh\nprintf '%s\\n' \"{name} $*\" >> \"$NOTES/asked\"\n{does}\n");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn run(&self, shell: &str, lines: &str, folder: &str, variables: &BTreeMap<String, String>) -> Said {
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(shell);
        command.args(["-e", "-c", lines]).current_dir(self.path(folder)).env("PATH", path);
        command.env("PLAN", &self.plan).env("NOTES", self.folder.path()).env("TF_DATA_DIR", self.path("data"));
        let said: Said = command.envs(variables).output().unwrap().into();
        assert!(!said.stdout.contains("forged") && !said.stderr.contains("forged"), "{said:?}");
        said
    }

    /// What programs were asked since the last time.
    fn asked(&self) -> String {
        let asked = fs::read_to_string(self.path("asked")).unwrap_or_default();
        let _ = fs::remove_file(self.path("asked"));
        asked
    }

    /// The steps of a job of GitHub Actions that run something; the code of the last.
    fn github(&self, workflow: &str, job: &str) -> Said {
        let workflow = yaml(workflow);
        let summary = self.path("summary").display().to_string();
        let output = self.path("output").display().to_string();
        let _ = fs::remove_file(&output);
        let data = workflow["jobs"][job]["env"]["TF_DATA_DIR"].as_str().unwrap();
        assert!(
            data.starts_with('/'),
            "what is installed must not lie where a pull request could put something: {data}"
        );
        let mut last = None;
        for step in workflow["jobs"][job]["steps"].as_array().unwrap() {
            let Some(lines) = step["run"].as_str() else { continue };
            assert!(!lines.contains("${{"), "what a pull request chooses must not become part of a script: {lines}");
            let outputs = fs::read_to_string(&output).unwrap_or_default();
            let mut variables = BTreeMap::from([
                ("GITHUB_STEP_SUMMARY".to_owned(), summary.clone()),
                ("GITHUB_OUTPUT".to_owned(), output.clone()),
            ]);
            for name in step["env"].as_object().into_iter().flatten().map(|(name, _)| name) {
                let value = match name.as_str() {
                    "CODE" => outputs.trim().strip_prefix("code=").unwrap_or_default(),
                    "REPO" => "org/infra",
                    _ => "12",
                };
                variables.insert(name.clone(), value.to_owned());
            }
            let said = self.run("bash", lines, "mesh", &variables);
            let failed = said.code != Some(0);
            last = Some(said);
            if failed {
                break;
            }
        }
        last.unwrap()
    }
}

#[test]
fn github_gets_one_comment_that_is_updated_and_the_exit_code() {
    let checkout = Checkout::new("gateway-exposed-to-all");
    let said = checkout.github("github/plan.yml", "plan");
    assert_eq!(said.code, Some(0), "{said:?}");
    let asked = checkout.asked();
    assert!(asked.contains("--method POST repos/org/infra/issues/12/comments --field body=@review.md"), "{asked}");
    let body = fs::read_to_string(checkout.path("body")).unwrap();
    assert!(body.starts_with("<!-- terraform-provider-mesh review -->\n"), "{body}");
    assert!(fs::read_to_string(checkout.path("summary")).unwrap().contains("a decision"));

    let said = checkout.github("github/plan.yml", "plan");
    assert_eq!(said.code, Some(0), "{said:?}");
    let asked = checkout.asked();
    assert!(asked.contains("--method PATCH repos/org/infra/issues/comments/77") && !asked.contains("POST"), "{asked}");

    // The policy forbids it: the comment is made all the same.
    let checkout = Checkout::new("tokens-for-ever");
    let said = checkout.github("github/plan.yml", "plan");
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(checkout.asked().contains("--method POST"));
    assert!(fs::read_to_string(checkout.path("body")).unwrap().contains("forbidden"));
}

#[test]
fn a_nightly_job_fails_on_what_others_changed_alone() {
    for (plan, code) in [("nothing", 0), ("drift-by-managers", 2)] {
        let checkout = Checkout::new(plan);
        let said = checkout.github("github/drift.yml", "drift");
        assert_eq!(said.code, Some(code), "{plan}: {said:?}");
        let said = gitlab(&checkout, "mesh drift");
        assert_eq!(said.code, Some(code), "{plan}: {said:?}");
    }
}

#[test]
fn gitlab_gets_one_note_that_is_updated() {
    let checkout = Checkout::new("gateway-exposed-to-all");
    checkout.program("curl", "case \"$*\" in */user) echo '{\"id\": 5}';; *per_page*) cat \"$NOTES/list\";; esac");
    // jq is in no Debian by itself: what it is asked here is little.
    let jq = Command::new("jq").arg("--version").output().is_ok();
    if !jq {
        println!("skipped in part: there is no jq on this machine");
        checkout.program("jq", "case \"$*\" in .id) echo 5;; *) cat \"$NOTES/note\";; esac");
    }
    let mark = "<!-- terraform-provider-mesh review -->";
    for (notes, note, wanted) in [
        ("[]".to_owned(), "", "--request POST"),
        (
            format!(
                "[{{\"id\": 3, \"author\": {{\"id\": 9}}, \"body\": \"{mark}\"}}, {{\"id\": 4, \"author\": {{\"id\": 5}}, \"body\": \"{mark} x\"}}]"
            ),
            "4",
            "--request PUT",
        ),
    ] {
        fs::write(checkout.path("list"), notes).unwrap();
        fs::write(checkout.path("note"), note).unwrap();
        let said = gitlab(&checkout, "mesh plan");
        assert_eq!(said.code, Some(0), "{said:?}");
        let asked = checkout.asked();
        let sent = asked.lines().find(|line| line.contains("--request")).unwrap_or_default();
        assert!(
            sent.contains(wanted)
                && sent.contains("body@review.md")
                && sent
                    .ends_with(&format!("notes{}", if note.is_empty() { String::new() } else { format!("/{note}") })),
            "{asked}"
        );
    }
}

/// A job of GitLab: its lines are one script.
fn gitlab(checkout: &Checkout, job: &str) -> Said {
    let pipeline = yaml("gitlab/gitlab-ci.yml");
    assert!(pipeline["variables"]["TF_DATA_DIR"].as_str().unwrap().starts_with('/'));
    let lines = |value: &Value| {
        value.as_array().into_iter().flatten().map(|line| line.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let script = [lines(&pipeline["default"]["before_script"]), lines(&pipeline[job]["script"])].concat().join("\n");
    let variables = [
        ("CI_API_V4_URL", "https://gitlab.test/api/v4"),
        ("CI_PROJECT_ID", "1"),
        ("CI_MERGE_REQUEST_IID", "2"),
        ("MESH_NOTES_TOKEN", "t"),
        ("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "main"),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    checkout.run("sh", &script, ".", &variables)
}

/// What an Atlantis server makes of a configuration, by Atlantis' own parser.
fn atlantis(configuration: &Path) -> Result<Value, String> {
    let mut command = Command::new(tools::path(Tool::Atlantis).unwrap());
    let said: Said = command.arg(configuration).output().unwrap().into();
    if said.code == Some(0) { Ok(serde_json::from_str(&said.stdout).unwrap()) } else { Err(said.stderr) }
}

#[test]
fn atlantis_prints_the_review_and_stops_at_what_is_forbidden() {
    let project = atlantis(&example("atlantis/repos.yaml")).unwrap();
    // Without the second, Atlantis takes what a step prints for conftest's JSON and refuses every plan.
    assert_eq!((&project["policy_check"], &project["custom_policy_check"]), (&true.into(), &true.into()));
    let policy = example("policy/mesh-review.yaml").display().to_string();
    let step = |plan: &str, stage: &str, policy: &str| {
        let checkout = Checkout::new(plan);
        // The server's own.
        fs::hard_link(BINARY, checkout.path("bin/terraform-provider-mesh"))
            .or_else(|_| fs::copy(BINARY, checkout.path("bin/terraform-provider-mesh")).map(drop))
            .unwrap();
        let showfile = checkout.plan.display().to_string();
        let variables = [("SHOWFILE", showfile.as_str()), ("MESH_REVIEW_POLICY", policy)];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let steps = project[stage].as_array().unwrap();
        let lines = steps.iter().find_map(|step| step["run"].as_str().filter(|lines| !lines.is_empty())).unwrap();
        let said = checkout.run("sh", lines, "mesh", &variables);
        assert_eq!(said.code, Some(0), "{plan}: a step that ends with an error shows no page: {said:?}");
        said.stdout
    };
    assert!(step("values-change", "plan", "").contains("roots unchanged"));
    // Atlantis' rule for a policy check that is not conftest's: `doPolicyCheck` in
    // server/events/project_command_runner.go.
    let passes = |printed: &str| !printed.to_lowercase().contains("fail");
    for (plan, policy, passed) in [
        ("values-change", policy.as_str(), true),
        ("first-mesh", &policy, true),
        ("tokens-for-ever", &policy, false),
        // A server that names no policy, or one that is not there, lets nothing pass.
        ("values-change", "", false),
        ("values-change", "/nowhere/mesh-review.yaml", false),
    ] {
        let printed = step(plan, "policies", policy);
        assert_eq!(passes(&printed), passed, "{plan} {policy}: {printed}");
    }
    assert!(step("tokens-for-ever", "policies", &policy).contains("forbidden"), "the page is not shown");
}

#[test]
fn a_spoilt_configuration_is_none_that_atlantis_takes() {
    let folder = tempfile::tempdir().unwrap();
    let spoilt = folder.path().join("repos.yaml");
    let text = fs::read_to_string(example("atlantis/repos.yaml")).unwrap();
    fs::write(&spoilt, text.replace("        - show\n", "        - shaw\n")).unwrap();
    assert!(atlantis(&spoilt).unwrap_err().contains("\"shaw\" is not a valid step type"), "Atlantis judges nothing");
}

/// What conftest says of the review of a plan: the messages of `deny` and of `warn`.
fn conftest(plan: &str) -> (Vec<String>, Vec<String>) {
    let plan = fixtures().join(format!("{plan}.terraform.json"));
    let review = Command::new(BINARY).args(["review", "--format", "json"]).arg(&plan).output().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("review.json");
    fs::write(&input, &review.stdout).unwrap();
    let conftest = tools::path(Tool::Conftest).unwrap();
    let mut command = Command::new(conftest);
    command.args(["test", "--output", "json", "--policy"]).arg(example("policy/mesh.rego")).arg(&input);
    let said: Said = command.output().unwrap().into();
    let results: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    let messages = |level: &str| {
        let found = results[0][level].as_array().into_iter().flatten();
        found.map(|result| result["msg"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (denied, warned) = (messages("failures"), messages("warnings"));
    assert_eq!(said.code, Some(i32::from(!denied.is_empty())), "{said:?}");
    (denied, warned)
}

/// The sample rules, run by conftest itself on what the review says of real plans.
#[test]
fn conftest_stops_what_is_dangerous_and_lets_the_rest_pass() {
    for passes in ["nothing", "first-mesh", "values-change", "tokens-for-ever"] {
        assert_eq!(conftest(passes).0, Vec::<String>::new(), "{passes}");
    }
    let (denied, _) = conftest("mtls-off");
    assert!(denied.iter().any(|message| message.contains("mesh_primary.this")), "{denied:?}");
    let (denied, _) = conftest("authority-replaced");
    assert!(denied.iter().any(|message| message.contains("mesh_ca.this")), "{denied:?}");
    let (_, warned) = conftest("network-renamed");
    assert!(warned.iter().any(|message| message.contains("must be restarted")), "{warned:?}");
}

/// GitHub's workflows, ours and the examples, as their linter sees them.
#[test]
fn workflows_pass_their_linter() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut workflows = vec![example("github/plan.yml"), example("github/drift.yml")];
    workflows.extend(fs::read_dir(root.join(".github/workflows")).unwrap().map(|entry| entry.unwrap().path()));
    let mut command = Command::new(tools::path(Tool::Actionlint).unwrap());
    // Shell lines are run by the tests above.
    let said: Said =
        command.args(["-no-color", "-shellcheck=", "-pyflakes="]).args(&workflows).output().unwrap().into();
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), ""), "{}", said.stderr);
}

/// GitLab's pipeline against GitLab's own schema, which helm judges as that of a chart's values.
#[test]
fn the_pipeline_is_one_that_gitlab_takes() {
    let chart = tempfile::tempdir().unwrap();
    fs::create_dir(chart.path().join("templates")).unwrap();
    fs::write(chart.path().join("Chart.yaml"), "apiVersion: v2\nname: pipeline\nversion: 0.1.0\n").unwrap();
    fs::copy(tools::path(Tool::GitlabSchema).unwrap(), chart.path().join("values.schema.json")).unwrap();
    let judge = |pipeline: &Path| -> Said {
        let mut helm = Command::new(tools::path(Tool::Helm).unwrap());
        helm.arg("template").arg(chart.path()).arg("--values").arg(pipeline).output().unwrap().into()
    };
    let pipeline = example("gitlab/gitlab-ci.yml");
    let said = judge(&pipeline);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let spoilt = chart.path().join("spoilt.yml");
    fs::write(&spoilt, fs::read_to_string(&pipeline).unwrap().replace("entrypoint: [\"\"]", "entrypoint: 5")).unwrap();
    assert!(judge(&spoilt).stderr.contains("/default/image/entrypoint"), "the schema judges nothing");
}

#[test]
fn the_sample_policies_are_read() {
    Policy::parse(&fs::read_to_string(example("policy/mesh-review.yaml")).unwrap()).unwrap();
    // Those of the guide too.
    let guide = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guides/plan-review.md")).unwrap();
    let (_, rest) = guide.split_once("```yaml\n").unwrap();
    let policy = Policy::parse(rest.split("```").next().unwrap()).unwrap();
    // It accepts what it says it accepts: a root that is replaced in clusters for tests, and in no others.
    let plan = fs::read_to_string(fixtures().join("authority-replaced.terraform.json")).unwrap();
    let of_tests = plan.replace("east", "test-east").replace("west", "test-west");
    for (plan, accepted) in [(of_tests, true), (plan.replace("west", "test-west"), false)] {
        let review = Review::of(plan.as_bytes(), &policy, &SCHEMAS).unwrap();
        let risk = review.risks.iter().find(|risk| risk.kind.number == "R01").unwrap();
        assert_eq!((risk.accepted.is_some(), risk.clusters.len()), (accepted, 2), "{risk:?}");
    }
}
