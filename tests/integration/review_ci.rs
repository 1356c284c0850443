//! `examples/pull-request`: every shell line of it is run, with the review's binary and stand-ins for what talks to a
//! forge or a cluster.

use std::collections::{BTreeMap, BTreeSet};
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

/// A policy that a pull request brings along to be judged by.
const LENIENT: &str = "version: 1\nrules:\n  - risk: \"*\"\n    level: note\n";

/// What all jobs of a pull request share: the plan, the release, what they hand over, and what programs were asked.
struct Forge {
    folder: tempfile::TempDir,
    plan: PathBuf,
    /// The digest of the release's archive.
    digest: String,
    /// Whether the branch that is merged into has a policy.
    has_policy: bool,
    /// Whether the plan runs a program of the pull request's, which replaces what could judge it.
    forges: bool,
}

impl Forge {
    fn new(plan: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::copy(example("policy/mesh-review.yaml"), path("policy.yaml")).unwrap();
        // A release, whose binary calls the one that is tested.
        executable(&path("released"), &format!("exec {BINARY} \"$@\""));
        let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/package");
        let packed =
            Command::new(package).arg("pack").arg(path("released")).arg("linux_amd64").arg(path("dist")).output();
        assert!(packed.unwrap().status.success());
        let archive = fs::read_dir(path("dist")).unwrap().next().unwrap().unwrap().path();
        let sums = Command::new("sha256sum").arg(&archive).output().unwrap().stdout;
        let digest = String::from_utf8(sums).unwrap().split_whitespace().next().unwrap().to_owned();
        fs::rename(archive, path("archive.zip")).unwrap();
        fs::write(path("list"), "[]").unwrap();
        let plan = fixtures().join(format!("{plan}.terraform.json"));
        Self { folder, plan, digest, has_policy: true, forges: true }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What programs were asked since the last time.
    fn asked(&self) -> String {
        let asked = fs::read_to_string(self.path("asked")).unwrap_or_default();
        let _ = fs::remove_file(self.path("asked"));
        asked
    }

    /// A workflow's jobs, each on a machine of its own; the last that ran.
    fn github(&self, workflow: &str) -> Said {
        let workflow = yaml(workflow);
        let mut last = None;
        for job in in_turn(workflow["jobs"].as_object().unwrap().iter().collect()) {
            let said = Machine::new(self).github(job);
            let failed = said.code != Some(0);
            last = Some(said);
            if failed {
                break;
            }
        }
        last.unwrap()
    }

    /// The jobs of GitLab's pipeline that this kind of pipeline has; the last that ran.
    fn gitlab(&self, source: &str) -> Said {
        let pipeline = yaml("gitlab/gitlab-ci.yml");
        assert!(pipeline["variables"]["TF_DATA_DIR"].as_str().unwrap().starts_with('/'));
        let mut last = None;
        let of_source = |(_, job): &(&String, &Value)| {
            job["rules"][0]["if"].as_str().is_some_and(|rule| rule.contains(&format!("\"{source}\"")))
        };
        for job in in_turn(pipeline.as_object().unwrap().iter().filter(of_source).collect()) {
            let said = Machine::new(self).gitlab(&pipeline["default"], job);
            let failed = said.code != Some(0);
            last = Some(said);
            if failed {
                break;
            }
        }
        last.unwrap()
    }
}

/// Jobs by their `needs`. One that names none runs first, whatever its place in the file: on a forge it could.
fn in_turn<'a>(mut jobs: Vec<(&'a String, &'a Value)>) -> Vec<&'a Value> {
    let needs = |job: &Value| match &job["needs"] {
        Value::String(one) => vec![one.clone()],
        Value::Array(all) => all.iter().map(|one| one.as_str().unwrap().to_owned()).collect(),
        Value::Null => Vec::new(),
        other => panic!("needs of a form that this test does not know: {other}"),
    };
    jobs.reverse();
    let (mut done, mut order) = (BTreeSet::new(), Vec::new());
    while !jobs.is_empty() {
        let ready = jobs.iter().position(|(_, job)| needs(job).iter().all(|needed| done.contains(needed)));
        let (name, job) = jobs.remove(ready.expect("a job waits for one that never runs"));
        done.insert(name.clone());
        order.push(job);
    }
    order
}

fn executable(file: &Path, lines: &str) {
    fs::write(file, format!("#!/bin/sh\n{lines}\n")).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
}

/// The machine of one job: a workspace, a folder for what is temporary, and programs that note what they are asked.
struct Machine<'a> {
    forge: &'a Forge,
    folder: tempfile::TempDir,
}

impl<'a> Machine<'a> {
    fn new(forge: &'a Forge) -> Self {
        let machine = Self { forge, folder: tempfile::tempdir().unwrap() };
        for folder in ["work", "temp", "bin"] {
            fs::create_dir(machine.path(folder)).unwrap();
        }
        let installs = format!(
            "folder=$TF_DATA_DIR/{INSTALLED}; mkdir -p \"$folder\"; ln -f {BINARY} \"$folder/terraform-provider-mesh_v0.1.0\" || cp {BINARY} \"$folder/terraform-provider-mesh_v0.1.0\""
        );
        // What `data "external"` can do: whatever the user of the plan can.
        let forged = machine.path("forged");
        executable(&forged, "echo forged\nexit 0");
        let forges = format!(
            "for file in $(find {} -type f '(' -name 'terraform-provider-mesh*' -o -path '*/bin/gh' -o -path '*/bin/git' -o -path '*/bin/curl' ')'); do rm -f \"$file\"; cp {} \"$file\"; done",
            machine.path("").display(),
            forged.display()
        );
        let forges = if forge.forges { forges.as_str() } else { ":" };
        machine.program(
            "terraform",
            &format!("case \"$1\" in init) {installs};; show) cat \"$PLAN\";; plan) : > plan.bin; {forges};; esac"),
        );
        machine.program("git", "case \"$1\" in show) cat \"$NOTES/policy.yaml\";; esac");
        machine.program("gh", "case \"$*\" in *--jq*) cat \"$NOTES/comment\" 2>/dev/null || :;; *) : > \"$NOTES/comment\"; echo 77 > \"$NOTES/comment\"; cp review.md \"$NOTES/body\";; esac");
        let policy = if forge.has_policy { "cp \"$NOTES/policy.yaml\" policy.yaml; echo 200" } else { "echo 404" };
        machine.program(
            "curl",
            &format!("case \"$*\" in *archive.zip*) cp \"$NOTES/archive.zip\" archive.zip;; *repository/files*) {policy};; */user) echo '{{\"id\": 5}}';; *sort=asc*page=2*) cat \"$NOTES/list\";; *per_page*) echo '[]';; *body@*) cp review.md \"$NOTES/body\";; esac"),
        );
        // As BusyBox' own, which makes no folder.
        let unzip = "for folder; do :; done; [ -d \"$folder\" ] || { echo \"no $folder\" >&2; exit 1; }; PATH=${PATH#*:}; exec unzip \"$@\"";
        machine.program("unzip", unzip);
        machine.program("apk", ":");
        // jq is in no Debian by itself: what it is asked here is little.
        if Command::new("jq").arg("--version").output().is_err() {
            println!("skipped in part: there is no jq on this machine");
            machine.program("jq", "case \"$*\" in .id) echo 5;; *) cat \"$NOTES/note\";; esac");
        }
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn program(&self, name: &str, does: &str) {
        let lines = format!("printf '%s\\n' \"{name} $*\" >> \"$NOTES/asked\"\n{does}");
        executable(&self.path("bin").join(name), &lines);
    }

    /// What the pull request has, with all that it could bring along to be its own judge.
    fn check_out_the_pull_request(&self) {
        for place in [format!("work/mesh/.terraform/{INSTALLED}"), "work/mesh".to_owned()] {
            fs::create_dir_all(self.path(&place)).unwrap();
            for name in ["terraform-provider-mesh_v9.9.9", "terraform-provider-mesh", "find-review"] {
                executable(&self.path(&place).join(name), "echo forged");
            }
        }
        fs::write(self.path("work/mesh/mesh-review.yaml"), LENIENT).unwrap();
    }

    fn check_out_the_base(&self) {
        fs::create_dir_all(self.path("work/mesh")).unwrap();
        if self.forge.has_policy {
            fs::copy(self.forge.path("policy.yaml"), self.path("work/mesh/mesh-review.yaml")).unwrap();
        }
    }

    fn run(&self, shell: &str, lines: &str, folder: &Path, variables: &BTreeMap<String, String>) -> Said {
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(shell);
        command.args(["-e", "-c", lines]).current_dir(folder).env("PATH", path);
        command.env("PLAN", &self.forge.plan).env("NOTES", self.forge.folder.path()).envs(variables);
        command.env("TF_DATA_DIR", self.path("data")).env("TMPDIR", self.path("temp"));
        command.env("RUNNER_TEMP", self.path("temp"));
        let said: Said = command.output().unwrap().into();
        assert!(!said.stdout.contains("forged") && !said.stderr.contains("forged"), "{said:?}");
        said
    }

    /// The steps of a job of GitHub Actions, up to the first that fails; the last that ran.
    fn github(&self, job: &Value) -> Said {
        let summary = self.forge.path("summary").display().to_string();
        let output = self.path("output").display().to_string();
        if let Some(data) = job["env"]["TF_DATA_DIR"].as_str() {
            assert!(
                data.starts_with('/'),
                "what is installed must not lie where a pull request could put something: {data}"
            );
        }
        let folder = self.path("work").join(job["defaults"]["run"]["working-directory"].as_str().unwrap_or_default());
        let mut last = None;
        for step in job["steps"].as_array().unwrap() {
            self.uses(step);
            let Some(lines) = step["run"].as_str() else { continue };
            assert!(!lines.contains("${{"), "what a pull request chooses must not become part of a script: {lines}");
            let outputs = fs::read_to_string(&output).unwrap_or_default();
            let mut variables = BTreeMap::from([
                ("GITHUB_STEP_SUMMARY".to_owned(), summary.clone()),
                ("GITHUB_OUTPUT".to_owned(), output.clone()),
            ]);
            for (name, value) in step["env"].as_object().into_iter().flatten() {
                let value = match name.as_str() {
                    "CODE" => outputs.trim().strip_prefix("code=").unwrap_or_default(),
                    "REPO" => "org/infra",
                    "SHA256" => &self.forge.digest,
                    "ARCHIVE" => value.as_str().unwrap(),
                    _ => "12",
                };
                variables.insert(name.clone(), value.to_owned());
            }
            let said = self.run("bash", lines, &folder, &variables);
            let failed = said.code != Some(0);
            last = Some(said);
            if failed {
                break;
            }
        }
        last.unwrap()
    }

    /// What the actions do that steps use.
    fn uses(&self, step: &Value) {
        let Some((action, _)) = step["uses"].as_str().and_then(|uses| uses.split_once('@')) else { return };
        let handed = self.forge.path("artifacts").join(step["with"]["name"].as_str().unwrap_or_default());
        let path = step["with"]["path"].as_str().unwrap_or_default();
        match action {
            "actions/checkout" => match step["with"]["ref"].as_str() {
                None => self.check_out_the_pull_request(),
                Some(branch) => {
                    assert_eq!(branch, "refs/heads/${{ github.base_ref }}");
                    self.check_out_the_base();
                }
            },
            "actions/upload-artifact" => {
                fs::create_dir_all(&handed).unwrap();
                let file = self.path("work").join(path);
                fs::copy(&file, handed.join(file.file_name().unwrap())).unwrap();
            }
            "actions/download-artifact" => {
                let folder = path.replace("${{ runner.temp }}", &self.path("temp").display().to_string());
                fs::create_dir_all(&folder).unwrap();
                for file in fs::read_dir(handed).unwrap().map(|entry| entry.unwrap().path()) {
                    fs::copy(&file, Path::new(&folder).join(file.file_name().unwrap())).unwrap();
                }
            }
            "hashicorp/setup-terraform" => {}
            other => panic!("an action that this test does not know: {other}"),
        }
    }

    /// A job of GitLab: its lines are one script.
    fn gitlab(&self, default: &Value, job: &Value) -> Said {
        if job["variables"]["GIT_STRATEGY"] != "none" {
            self.check_out_the_pull_request();
        }
        for needed in job["needs"].as_array().into_iter().flatten() {
            let file = self.path("work/mesh/plan.json");
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::copy(self.forge.path("artifacts").join(needed.as_str().unwrap()), file).unwrap();
        }
        let lines = |value: &Value| {
            value.as_array().into_iter().flatten().map(|line| line.as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let script = [lines(&default["before_script"]), lines(&job["script"])].concat().join("\n");
        let mut variables: BTreeMap<String, String> = [
            ("CI_API_V4_URL", "https://gitlab.test/api/v4"),
            // The pipeline of a fork runs in the fork's project.
            ("CI_PROJECT_ID", "1"),
            ("CI_MERGE_REQUEST_PROJECT_ID", "7"),
            ("CI_MERGE_REQUEST_IID", "2"),
            ("MESH_NOTES_TOKEN", "t"),
            ("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "main"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        variables.insert("SHA256".to_owned(), self.forge.digest.clone());
        variables.extend(job["variables"]["ARCHIVE"].as_str().map(|url| ("ARCHIVE".to_owned(), url.to_owned())));
        let said = self.run("sh", &script, &self.path("work"), &variables);
        for path in lines(&job["artifacts"]["paths"]) {
            fs::create_dir_all(self.forge.path("artifacts")).unwrap();
            fs::copy(self.path("work").join(path), self.forge.path("artifacts/mesh plan")).unwrap();
        }
        said
    }
}

#[test]
fn github_gets_one_comment_that_is_updated_and_the_exit_code() {
    let forge = Forge::new("gateway-exposed-to-all");
    let said = forge.github("github/plan.yml");
    assert_eq!(said.code, Some(0), "{said:?}");
    let asked = forge.asked();
    assert!(asked.contains("--method POST repos/org/infra/issues/12/comments --field body=@review.md"), "{asked}");
    let body = fs::read_to_string(forge.path("body")).unwrap();
    assert!(body.starts_with("<!-- terraform-provider-mesh review -->\n"), "{body}");
    assert!(fs::read_to_string(forge.path("summary")).unwrap().contains("a decision"));
    // Whoever can read a repository can read what its jobs hand over.
    let handed = fs::read(forge.path("artifacts/mesh-plan/plan.json.enc")).unwrap();
    assert!(handed.starts_with(b"Salted__"), "the plan is handed over in the clear");

    let said = forge.github("github/plan.yml");
    assert_eq!(said.code, Some(0), "{said:?}");
    let asked = forge.asked();
    assert!(asked.contains("--method PATCH repos/org/infra/issues/comments/77") && !asked.contains("POST"), "{asked}");

    // The policy forbids it, and not the pull request's own: the comment is made all the same.
    let forge = Forge::new("tokens-for-ever");
    let said = forge.github("github/plan.yml");
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(forge.asked().contains("--method POST"));
    assert!(fs::read_to_string(forge.path("body")).unwrap().contains("forbidden"));
}

/// Neither what judges nor what may write is where the pull request's own programs run.
#[test]
fn a_job_that_plans_has_no_rights_and_no_say() {
    let workflow = yaml("github/plan.yml");
    assert_eq!(workflow["permissions"], serde_json::json!({}));
    for (name, job) in workflow["jobs"].as_object().unwrap() {
        let text = job.to_string();
        let plans = text.contains("terraform plan");
        let writes = text.contains("github.token") || job["permissions"]["pull-requests"] == "write";
        assert!(!(plans && (writes || text.contains(" review "))), "{name} plans, and judges or writes too");
        assert!(plans || text.contains("sha256sum"), "{name} runs what nobody has pinned");
    }
    for step in workflow["jobs"]["plan"]["steps"].as_array().unwrap() {
        let (text, name) = (step.to_string(), &step["name"]);
        assert!(!(text.contains("terraform ") && text.contains("secrets.")), "{name} has a key, and runs the plan");
        if text.contains("upload-artifact") {
            assert_eq!(step["with"]["overwrite"], true, "a job that runs again cannot hand over its plan");
        }
    }
    let pipeline = yaml("gitlab/gitlab-ci.yml");
    let plans = pipeline["mesh plan"].to_string();
    assert!(!plans.contains("MESH_NOTES_TOKEN") && !plans.contains(" review ") && !plans.contains("environment"));
    assert_eq!(pipeline["mesh review"]["environment"]["name"], "mesh-review");
    assert_eq!(pipeline["mesh plan"]["artifacts"]["access"], "developer");
}

#[test]
fn an_archive_that_is_not_the_pinned_one_reviews_nothing() {
    let mut forge = Forge::new("nothing");
    forge.digest = "0".repeat(64);
    let said = forge.github("github/plan.yml");
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(!forge.path("body").exists() && !forge.path("summary").exists());
    let said = forge.gitlab("merge_request_event");
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(!forge.path("body").exists());
    // As published they pin nothing yet.
    for file in ["github/plan.yml", "gitlab/gitlab-ci.yml"] {
        assert!(fs::read_to_string(example(file)).unwrap().contains(&format!("SHA256: \"{}\"", forge.digest)));
    }
}

#[test]
fn without_a_policy_the_page_is_shown_and_no_plan_passes() {
    let mut forge = Forge::new("nothing");
    forge.has_policy = false;
    let runs: [fn(&Forge) -> Said; 2] =
        [|forge| forge.github("github/plan.yml"), |forge| forge.gitlab("merge_request_event")];
    for run in runs {
        let said = run(&forge);
        assert_eq!(said.code, Some(2), "{said:?}");
        let body = fs::read_to_string(forge.path("body")).unwrap();
        assert!(body.contains("Merge the policy first") && body.contains("terraform-provider-mesh review"), "{body}");
        fs::remove_file(forge.path("body")).unwrap();
    }
}

#[test]
fn a_nightly_job_fails_on_what_others_changed_alone() {
    for (plan, code) in [("nothing", 0), ("drift-by-managers", 2)] {
        let mut forge = Forge::new(plan);
        forge.forges = false;
        let said = forge.github("github/drift.yml");
        assert_eq!(said.code, Some(code), "{plan}: {said:?}");
        let said = forge.gitlab("schedule");
        assert_eq!(said.code, Some(code), "{plan}: {said:?}");
    }
}

#[test]
fn gitlab_gets_one_note_that_is_updated() {
    let forge = Forge::new("gateway-exposed-to-all");
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
        fs::write(forge.path("list"), notes).unwrap();
        fs::write(forge.path("note"), note).unwrap();
        let said = forge.gitlab("merge_request_event");
        assert_eq!(said.code, Some(0), "{said:?}");
        let asked = forge.asked();
        let sent = asked.lines().find(|line| line.contains("--request")).unwrap_or_default();
        assert!(
            sent.contains(wanted)
                && sent.contains("body@review.md")
                && sent
                    .ends_with(&format!("notes{}", if note.is_empty() { String::new() } else { format!("/{note}") })),
            "{asked}"
        );
        assert!(asked.contains("/projects/7/repository/files/") && !asked.contains("/projects/1/"), "{asked}");
        assert!(sent.contains("/projects/7/merge_requests/2/notes"), "{asked}");
    }
    let forge = Forge::new("tokens-for-ever");
    let said = forge.gitlab("merge_request_event");
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(fs::read_to_string(forge.path("body")).unwrap().contains("forbidden"));
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
        let mut forge = Forge::new(plan);
        forge.forges = false;
        let machine = Machine::new(&forge);
        machine.check_out_the_pull_request();
        // The server's own.
        fs::hard_link(BINARY, machine.path("bin/terraform-provider-mesh"))
            .or_else(|_| fs::copy(BINARY, machine.path("bin/terraform-provider-mesh")).map(drop))
            .unwrap();
        let showfile = forge.plan.display().to_string();
        let variables = [("SHOWFILE", showfile.as_str()), ("MESH_REVIEW_POLICY", policy)];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let steps = project[stage].as_array().unwrap();
        let lines = steps.iter().find_map(|step| step["run"].as_str().filter(|lines| !lines.is_empty())).unwrap();
        let said = machine.run("sh", lines, &machine.path("work/mesh"), &variables);
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
