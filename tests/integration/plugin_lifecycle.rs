//! A resource with every kind of attribute under the real terraform and tofu: the laws of a resource's life.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::best::best_of_three;
use crate::support::cli::{Cli, Said, Workspace, clis, complaints};
use crate::support::plugin_process::send_signal;
use crate::support::probe;

struct World {
    workspace: Workspace,
    things: tempfile::TempDir,
    _executables: tempfile::TempDir,
}

impl World {
    fn new(cli: &Cli) -> Self {
        let executables = tempfile::tempdir().unwrap();
        probe::install(executables.path());
        let workspace = Workspace::overriding(cli, probe::ADDRESS, executables.path());
        Self { workspace, things: tempfile::tempdir().unwrap(), _executables: executables }
    }

    fn configure(&self, body: &str) {
        let (source, folder) = (probe::ADDRESS, self.things.path().display());
        self.workspace.configure(&format!(
            "terraform {{\n  required_providers {{\n    probe = {{\n      source = \"{source}\"\n    }}\n  }}\n}}\n\n\
             provider \"probe\" {{\n  folder = \"{folder}\"\n}}\n\n{body}\n"
        ));
    }

    fn thing(&self, attributes: &str) {
        self.configure(&format!("resource \"probe_thing\" \"it\" {{\n{attributes}\n}}"));
    }

    fn apply(&self) -> Said {
        self.workspace.run(&["apply", "-auto-approve"])
    }

    /// The change that a plan makes: `no-op`, `create`, `update`, `delete`, `delete create`.
    #[track_caller]
    fn planned(&self) -> (String, Value) {
        self.workspace.run(&["plan", "-out=plan"]).ok();
        let plan = self.workspace.run(&["show", "-json", "plan"]).ok().json();
        let change = plan["resource_changes"][0]["change"].clone();
        let actions = change["actions"].as_array().map_or_else(String::new, |actions| {
            actions.iter().map(|action| action.as_str().unwrap()).collect::<Vec<_>>().join(" ")
        });
        (actions, plan)
    }

    fn instance(&self) -> Value {
        self.workspace.state()["resources"][0]["instances"][0].clone()
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.things.path().join(format!("{name}.json"))
    }
}

const EVERYTHING: &str = r#"
  name              = "one"
  text              = "Caf\u00e9"
  ratio             = 0.1
  hosts             = ["b", "a", "b"]
  tags              = ["b", "a"]
  labels            = { x = "1", "y.z" = "2" }
  groups            = { big = [9223372036854775808, 0.1, -3], none = [] }
  single            = { size = 1, inner = { deep = { size = 7 } } }
  parts             = [{ size = 2, colour = "blue" }, { size = 3 }]
  bag               = [{ size = 2 }, { size = 1, note = "n" }]
  named             = { p = { size = 4 } }
  anything          = { list = [1, "two", true], nothing = null }
  hidden            = "hush"
  secret_wo         = "sehr-geheim"
  secret_wo_version = 1
"#;

#[test]
fn life_of_a_thing() {
    for cli in clis() {
        let world = World::new(&cli);

        // Create, then nothing to do.
        world.thing(EVERYTHING);
        let (actions, plan) = world.planned();
        assert_eq!(actions, "create");
        // The configuration is part of a plan file; what counts is what the provider planned.
        let values = format!("{}{}", plan["resource_changes"], plan["planned_values"]);
        assert!(!values.contains("sehr-geheim"), "the plan holds the secret");
        world.apply().ok();
        let (actions, plan) = world.planned();
        assert_eq!(actions, "no-op", "{}: {:#}", cli.name, plan["resource_changes"]);
        let state = world.instance()["attributes"].clone();
        assert_eq!(state["generation"], 1);
        assert_eq!(state["secret_length"], "sehr-geheim".len());
        assert_eq!(state["secret_wo"], Value::Null);
        assert_eq!(state["groups"]["big"][0], json!(9223372036854775808u64));
        assert_eq!(state["named"]["p"], json!({ "size": 4, "colour": "red", "double": 8, "inner": null }));
        assert!(!world.workspace.state().to_string().contains("sehr-geheim"), "the state holds the secret");

        // Another spelling of the same is no change.
        world.thing(&EVERYTHING.replace("Caf\\u00e9", "caf\\u00e9"));
        assert_eq!(world.planned().0, "no-op");

        // Update in place.
        world.thing(&EVERYTHING.replace("labels            = { x = \"1\"", "labels            = { x = \"9\""));
        let (actions, plan) = world.planned();
        assert_eq!(actions, "update");
        assert_eq!(plan["resource_changes"][0]["change"]["after_unknown"]["generation"], true);
        assert_eq!(plan["resource_changes"][0]["change"]["after"]["id"], "one");
        world.apply().ok();
        assert_eq!(world.instance()["attributes"]["generation"], 2);
        assert_eq!(world.planned().0, "no-op");

        // Drift is seen and taken back.
        let stored = fs::read_to_string(world.file("one")).unwrap();
        fs::write(world.file("one"), stored.replace("\"9\"", "\"drifted\"")).unwrap();
        assert_eq!(world.planned().0, "update");
        world.apply().ok();
        assert!(!fs::read_to_string(world.file("one")).unwrap().contains("drifted"));

        // Gone is created again.
        fs::remove_file(world.file("one")).unwrap();
        assert_eq!(world.planned().0, "create");
        world.apply().ok();

        // Replace.
        world.thing(&EVERYTHING.replace("\"one\"", "\"two\""));
        let (actions, plan) = world.planned();
        assert_eq!(actions, "delete create");
        assert_eq!(plan["resource_changes"][0]["change"]["replace_paths"], json!([["name"]]));
        world.apply().ok();
        assert!(world.file("two").exists() && !world.file("one").exists());
        assert_eq!(world.planned().0, "no-op");

        // Destroy.
        world.workspace.run(&["destroy", "-auto-approve"]).ok();
        assert!(!world.file("two").exists());
    }
}

#[test]
fn import_finds_what_exists() {
    for cli in clis() {
        let world = World::new(&cli);
        let thing = "  name   = \"one\"\n  text   = \"x\"\n  labels = { a = \"b\" }\n";
        world.thing(thing);
        world.apply().ok();
        world.workspace.run(&["state", "rm", "probe_thing.it"]).ok();
        world.workspace.run(&["import", "probe_thing.it", "one"]).ok();
        let (actions, plan) = world.planned();
        assert_eq!(actions, "no-op", "{}: {:#}", cli.name, plan["resource_changes"]);
        world.workspace.run(&["state", "rm", "probe_thing.it"]).ok();
        let said = world.workspace.run(&["import", "probe_thing.it", "another"]);
        assert_ne!(said.code, Some(0), "imported what is not there");
    }
}

#[test]
fn failure_midway_keeps_what_exists_and_the_next_apply_goes_on() {
    for cli in clis() {
        let world = World::new(&cli);
        for (fail, exists) in [("before", false), ("after", true), ("panic", true)] {
            let name = format!("fails-{fail}");
            world.thing(&format!("  name = \"{name}\"\n  fail = \"{fail}\""));
            let said = world.apply();
            assert_ne!(said.code, Some(0));
            assert!(said.stderr.contains(if fail == "panic" { "Provider bug" } else { "Failed" }), "{}", said.stderr);
            assert_eq!(world.file(&name).exists(), exists);
            let kept = world.instance();
            assert_eq!(kept.is_object(), exists, "{} {fail}: {kept}", cli.name);
            if exists {
                assert_eq!(kept["status"], "tainted");
            }
            world.thing(&format!("  name = \"{name}\""));
            world.apply().ok();
            assert_eq!(world.planned().0, "no-op");

            // The same in an update: the object stays, with what was reached.
            world.thing(&format!("  name = \"{name}\"\n  text = \"new\"\n  fail = \"{fail}\""));
            assert_ne!(world.apply().code, Some(0));
            let kept = world.instance();
            assert_eq!(kept["status"], Value::Null, "an update must not taint");
            assert_eq!(kept["attributes"]["text"] == "new", exists);
            world.thing(&format!("  name = \"{name}\"\n  text = \"new\""));
            world.apply().ok();
            assert_eq!(world.planned().0, "no-op");
        }
    }
}

#[tokio::test]
async fn interrupt_during_apply_loses_nothing() {
    for cli in clis() {
        best_of_three(Duration::from_secs(10), async || {
            let world = World::new(&cli);
            world.thing("  name  = \"slow\"\n  delay = 20000");
            let child = world.workspace.start(&["apply", "-auto-approve"]);
            while !world.file("slow").exists() {
                std::thread::sleep(Duration::from_millis(20));
            }
            // What a terminal's Ctrl-C does: everybody in the group gets it.
            let group = child.id();
            let begin = std::time::Instant::now();
            let status =
                std::process::Command::new("kill").args(["-INT", "--", &format!("-{group}")]).status().unwrap();
            assert!(status.success());
            let said: Said = child.wait_with_output().unwrap().into();
            println!("{}: Ctrl-C to the end of the run: {:?}", cli.name, begin.elapsed());
            let took = begin.elapsed();
            assert_ne!(said.code, Some(0));
            assert!(said.stderr.contains("Interrupted"), "{}{}", said.stdout, said.stderr);
            assert_eq!(world.instance()["attributes"]["id"], "slow", "{}", cli.name);
            assert!(!send_signal(group, "-0"));

            world.thing("  name = \"slow\"");
            world.apply().ok();
            assert_eq!(world.planned().0, "no-op");
            took
        })
        .await;
    }
}

#[test]
fn data_source_ephemeral_resource_and_write_only_work_together() {
    for cli in clis() {
        let world = World::new(&cli);
        world.configure(
            r#"
ephemeral "probe_secret" "it" {
  length = 9
}

resource "probe_thing" "it" {
  name      = "one"
  secret_wo = ephemeral.probe_secret.it.value
}

data "probe_things" "all" {
  prefix     = "o"
  depends_on = [probe_thing.it]
}

output "names" {
  value = data.probe_things.all.names
}
"#,
        );
        let (said, log) = world.workspace.run_traced(&["apply", "-auto-approve"]);
        said.ok();
        assert_eq!(complaints(&log), Vec::<&str>::new(), "{}", cli.name);
        assert!(!log.contains("geheimgeh"), "the log holds the secret");
        let state = world.workspace.state();
        assert_eq!(state["outputs"]["names"]["value"], json!(["one"]));
        assert!(!state.to_string().contains("geheimgeh"), "the state holds the secret");
        assert!(state.to_string().contains("\"secret_length\":9"), "{state}");
    }
}

#[test]
fn unknown_values_are_planned_around() {
    for cli in clis() {
        let world = World::new(&cli);
        world.configure(
            r#"
resource "probe_thing" "first" {
  name = "first"
}

resource "probe_thing" "second" {
  name   = "second"
  text   = "n${probe_thing.first.generation}"
  hosts  = [probe_thing.first.generation, "b"]
  single = { size = probe_thing.first.generation }
  named  = { x = { size = probe_thing.first.generation } }
  tags   = [probe_thing.first.generation]
}
"#,
        );
        world.apply().ok();
        let said = world.workspace.run(&["plan", "-detailed-exitcode"]);
        assert_eq!(said.code, Some(0), "{}", said.stdout);
    }
}
