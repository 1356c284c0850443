//! The real `terraform` and `tofu`, each in a folder of its own, with a provider found by dev_overrides or in a mirror.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lab::tools::{self, Tool};
use serde_json::Value;

use super::leaks;

/// Variables of a workspace whose identity has the rights to apply and no others.
pub const APPLIER: &str = "rights.auto.tfvars.json";
/// Those of its plans and searches, by an identity that only reads.
pub const PLANNER: &str = "planner.tfvars.json";

pub struct Cli {
    pub name: &'static str,
    program: PathBuf,
}

impl Cli {
    /// Its version, as far as features depend on it.
    pub fn version(&self) -> (u32, u32) {
        let said = Command::new(&self.program).args(["version", "-json"]).output().unwrap();
        let said: Value = serde_json::from_slice(&said.stdout).unwrap();
        let mut numbers = said["terraform_version"].as_str().unwrap().split('.').map(|number| number.parse().unwrap());
        (numbers.next().unwrap(), numbers.next().unwrap())
    }
}

/// The CLIs of this machine. Says which one is missing, and fails for it where `CI` is set.
pub fn clis() -> Vec<Cli> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = |name: &str| std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    let found = [
        ("terraform", on_path("terraform")),
        ("tofu", on_path("tofu").or_else(|| tools::find(Tool::Tofu).ok().flatten())),
    ];
    let mut clis = Vec::new();
    for (name, program) in found {
        match program {
            Some(program) => clis.push(Cli { name, program }),
            None => {
                assert!(std::env::var_os("CI").is_none(), "{name} is needed");
                println!("skipped for {name}: it is not on this machine");
            }
        }
    }
    clis
}

/// A Terraform of today, which can search (`query`) and import by identity. Says why there is none, and fails for it
/// where `CI` is set and there could be one.
pub fn newest() -> Option<Cli> {
    if !tools::all().contains(&Tool::Terraform) {
        println!("skipped for a Terraform of today: it is not packaged for this machine");
        return None;
    }
    match tools::path(Tool::Terraform) {
        Ok(program) => Some(Cli { name: "terraform 1.15", program }),
        Err(why) => {
            assert!(std::env::var_os("CI").is_none(), "{why}");
            println!("skipped for a Terraform of today: {why}");
            None
        }
    }
}

/// A configuration in a folder of its own.
pub struct Workspace {
    pub folder: tempfile::TempDir,
    program: PathBuf,
}

/// What a run said.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}\n{}", self.stdout, self.stderr);
        self
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap()
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Workspace {
    /// With a provider from a folder of executables, and no `init`.
    pub fn overriding(cli: &Cli, provider: &str, executables: &Path) -> Self {
        Self::overriding_all(cli, &[(provider, executables)])
    }

    /// The same with several, each from its own folder.
    pub fn overriding_all(cli: &Cli, providers: &[(&str, &Path)]) -> Self {
        let lines =
            providers.iter().map(|(provider, folder)| format!("    \"{provider}\" = \"{}\"\n", folder.display()));
        Self::new(cli, &format!("  dev_overrides {{\n{}  }}", lines.collect::<String>()))
    }

    /// With providers from a mirror on disk and from nowhere else.
    pub fn mirrored(cli: &Cli, mirror: &Path) -> Self {
        Self::new(cli, &format!("  filesystem_mirror {{\n    path = \"{}\"\n  }}", mirror.display()))
    }

    fn new(cli: &Cli, installation: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("cli.rc"), format!("provider_installation {{\n{installation}\n}}\n")).unwrap();
        Self { folder, program: cli.program.clone() }
    }

    /// The CLI itself.
    pub fn program(&self) -> &Path {
        &self.program
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn configure(&self, text: &str) {
        fs::write(self.path("main.tf"), text).unwrap();
    }

    /// With `MESH_TEST_TIMES` it says when each began and how long it took, to find what makes a test slow. Nothing may
    /// be lacking to the identities of a workspace that has the least rights.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Said {
        static FIRST: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        let began = std::time::Instant::now();
        let at = began.duration_since(*FIRST.get_or_init(|| began)).as_secs_f64();
        let said: Said = self.command(arguments).output().unwrap().into();
        self.lacks_no_right(arguments, &said);
        if std::env::var_os("MESH_TEST_TIMES").is_some() {
            println!("at {at:6.1} s for {:5.1} s: {}", began.elapsed().as_secs_f64(), arguments.join(" "));
        }
        said
    }

    /// The same for a plan whose file is applied: variables must not differ between the two, nor do identities then.
    #[track_caller]
    pub fn plans_to_apply(&self, file: &str) {
        let out = format!("-out={file}");
        let arguments = ["plan", "-input=false", &out];
        let said: Said = self.command(&arguments).env_remove("TF_CLI_ARGS_plan").output().unwrap().into();
        self.lacks_no_right(&arguments, &said);
        said.ok();
    }

    #[track_caller]
    fn lacks_no_right(&self, arguments: &[&str], said: &Said) {
        if self.path(PLANNER).exists() {
            let all = format!("{}{}", said.stdout, said.stderr);
            let lacks = all.contains("serviceaccount:pipeline:");
            assert!(!lacks, "{arguments:?} needs more than the rights of examples/rbac: {all}");
        }
    }

    /// There is nothing to do.
    #[track_caller]
    pub fn is_settled(&self) {
        let plan = self.run(&["plan", "-detailed-exitcode", "-input=false"]);
        assert_eq!(plan.code, Some(0), "the plan is not empty:\n{}\n{}", plan.stdout, plan.stderr);
    }

    /// There is nothing to do, and a refresh finds nothing new: neither in state nor in what is remembered beside it,
    /// of which nothing is printed, but for the time that `mesh_ca` notes.
    #[track_caller]
    pub fn is_settled_and_known(&self) {
        let plan = self.run(&["plan", "-detailed-exitcode", "-input=false", "-out=settled.plan"]);
        assert_eq!(plan.code, Some(0), "the plan is not empty:\n{}\n{}", plan.stdout, plan.stderr);
        let plan = fs::read(self.path("settled.plan")).unwrap();
        let states = leaks::unzipped(&plan).into_iter().filter_map(|file| serde_json::from_slice::<Value>(&file).ok());
        let states: Vec<Value> = states.filter(|state| state["resources"].is_array()).collect();
        let [after, before] = states.as_slice() else { panic!("{} states, not after and before", states.len()) };
        let instances = |state: &Value| {
            let resources = state["resources"].as_array().unwrap().iter().filter(|one| one["mode"] == "managed");
            resources.cloned().map(without_the_time).collect::<Vec<_>>()
        };
        for (before, after) in instances(before).iter().zip(instances(after)) {
            assert_eq!(*before, after, "a refresh finds a change in {}.{}", after["type"], after["name"]);
        }
    }

    /// With the log at its finest; the log comes with it.
    pub fn run_traced(&self, arguments: &[&str]) -> (Said, String) {
        let log = self.path("trace.log");
        let _ = fs::remove_file(&log);
        let said = self.command(arguments).env("TF_LOG", "trace").env("TF_LOG_PATH", &log).output().unwrap().into();
        (said, fs::read_to_string(&log).unwrap())
    }

    /// In a process group of its own, as a terminal does it: a signal to the group reaches the provider as well.
    pub fn start(&self, arguments: &[&str]) -> Child {
        use std::os::unix::process::CommandExt;

        let mut command = self.command(arguments);
        command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("TF_CLI_CONFIG_FILE", self.path("cli.rc"))
            .env("TF_IN_AUTOMATION", "1")
            .env("TF_CLI_ARGS", "-no-color")
            .env("CHECKPOINT_DISABLE", "1")
            .env_remove("TF_LOG")
            .stdin(Stdio::null());
        if self.path(PLANNER).exists() {
            let variables = format!("-var-file={PLANNER}");
            command.env("TF_CLI_ARGS_plan", &variables).env("TF_CLI_ARGS_query", &variables);
        }
        command
    }

    pub fn state(&self) -> serde_json::Value {
        serde_json::from_str(&fs::read_to_string(self.path("terraform.tfstate")).unwrap()).unwrap()
    }
}

/// The lines of a trace in which a core complains about a provider.
pub fn complaints(log: &str) -> Vec<&str> {
    log.lines()
        .filter(|line| line.contains("[WARN]") || line.contains("[ERROR]"))
        // Both cores race with the end of a plugin's standard output now and then; Go's own providers get it too.
        .filter(|line| !line.contains("file already closed"))
        .filter(|line| line.contains("provider") || line.contains("plugin"))
        .filter(|line| !line.contains("dev_overrides") && !line.contains("Provider development overrides"))
        .collect()
}

/// A resource of a state with what is remembered beside it as it reads, and not when `mesh_ca` was last refreshed.
fn without_the_time(mut resource: Value) -> Value {
    for instance in resource["instances"].as_array_mut().unwrap() {
        let private = BASE64.decode(instance["private"].as_str().unwrap_or_default()).unwrap();
        let mut private: Value = serde_json::from_slice(&private).unwrap_or_default();
        if let Some(remembered) = private.as_object_mut() {
            remembered.remove("observed_at");
        }
        instance["private"] = private;
    }
    resource
}
