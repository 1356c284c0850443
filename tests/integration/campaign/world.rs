//! A mesh under one state, and the commands that a user has for it.

use std::fs;
use std::process::Child;
use std::sync::mpsc;
use std::time::Duration;

use lab::Lab;
use lab::tools::{self, Istio};
use serde_json::{Value as Json, json};

use super::disturb::LIMIT;
use crate::support::cli::{Cli, Said, Workspace};
use crate::support::one_primary::OnePrimary;
use crate::support::random::Random;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    /// Two clusters of one mesh: each istiod watches the other cluster.
    OneMesh,
    /// Two meshes that import a service of each other.
    TwoMeshes,
}

impl Scene {
    pub fn title(self) -> &'static str {
        match self {
            Scene::OneMesh => "one mesh",
            Scene::TwoMeshes => "two meshes",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Scene::OneMesh => include_str!("one_mesh.tf"),
            Scene::TwoMeshes => include_str!("two_meshes.tf"),
        }
    }
}

/// What the configuration asks for: the variables of provider.tf.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub generation: u64,
    pub alone: bool,
    pub switches: [bool; 6],
}

/// Switches that an apply without them has off come first.
const SWITCHES: [&str; 6] = ["hosts", "values", "annotated", "exports", "gateways", "links"];

impl Wanted {
    pub fn whole() -> Wanted {
        Wanted { generation: 1, alone: false, switches: [false, false, false, false, true, true] }
    }

    /// One or two of the switches, or the second cluster comes or goes.
    pub fn change(&mut self, random: &mut Random) -> String {
        if random.below(6) == 0 {
            self.alone = !self.alone;
            return format!("west {}", if self.alone { "leaves" } else { "joins" });
        }
        let turned: Vec<usize> = (0..=random.below(2)).map(|_| random.below(SWITCHES.len())).collect();
        for switch in &turned {
            self.switches[*switch] = !self.switches[*switch];
        }
        let told = turned.iter().map(|switch| format!("{} = {}", SWITCHES[*switch], self.switches[*switch]));
        told.collect::<Vec<_>>().join(", ")
    }

    pub fn members(&self) -> &'static [&'static str] {
        if self.alone { &["east"] } else { &["east", "west"] }
    }

    /// Whether the istiods watch each other's clusters.
    pub fn watch_each_other(&self, scene: Scene) -> bool {
        scene == Scene::OneMesh && self.switches[5] && !self.alone
    }

    fn variables(&self) -> Json {
        let mut variables = json!({ "generation": self.generation, "members": self.members(), "adopt": false });
        for (name, on) in SWITCHES.iter().zip(self.switches) {
            variables[*name] = on.into();
        }
        variables
    }
}

pub struct World {
    pub scene: Scene,
    pub workspace: Workspace,
}

impl World {
    pub fn new(cli: &Cli, lab: &Lab, scene: Scene) -> World {
        let provider = fs::canonicalize(OnePrimary::provider()).expect("the build");
        let folder = provider.parent().expect("a folder");
        let workspace = Workspace::overriding(cli, "terraform-provider-mesh/mesh", folder);
        workspace.configure(&format!("{}\n{}", include_str!("provider.tf"), scene.text()));
        let kubeconfigs: serde_json::Map<String, Json> =
            lab.clusters().iter().map(|one| (one.name().to_owned(), json!(one.kubeconfig_path()))).collect();
        let charts = tools::charts(Istio::Current).expect("the charts");
        let variables = json!({ "kubeconfigs": kubeconfigs, "charts": charts.dir() });
        fs::write(workspace.path("terraform.tfvars.json"), variables.to_string()).expect("written");
        World { scene, workspace }
    }

    pub fn want(&self, wanted: &Wanted) {
        fs::write(self.workspace.path("step.auto.tfvars.json"), wanted.variables().to_string()).expect("written");
    }

    pub fn run(&self, arguments: &[&str]) -> Said {
        ended(self.workspace.start(arguments), LIMIT)
    }

    /// As a user does it who was told that the state is locked: nobody else is at work, and the lock goes.
    pub fn run_unlocked(&self, arguments: &[&str]) -> Said {
        let said = self.run(arguments);
        let Some(id) = lock_of(&said) else { return said };
        println!("  the state is locked, by {id}");
        self.workspace.run(&["force-unlock", "-force", &id]);
        self.run(arguments)
    }

    /// Addresses of what is in state, with the attributes.
    pub fn instances(&self) -> Vec<(String, Json)> {
        let text = fs::read_to_string(self.workspace.path("terraform.tfstate")).unwrap_or_default();
        let state: Json = serde_json::from_str(&text).unwrap_or_default();
        let mut found = Vec::new();
        for resource in state["resources"].as_array().into_iter().flatten() {
            let name = |member: &str| resource[member].as_str().unwrap_or_default().to_owned();
            for instance in resource["instances"].as_array().into_iter().flatten() {
                let key = instance.get("index_key").map(|key| format!("[{key}]")).unwrap_or_default();
                found.push((format!("{}.{}{key}", name("type"), name("name")), instance["attributes"].clone()));
            }
        }
        found
    }

    /// Follows the words of each refusal: what exists already and may not be taken up is imported.
    pub fn import_what_exists(&self, said: &Said) -> usize {
        let text: String =
            said.stderr.lines().map(|line| format!("{}\n", line.trim_start_matches(['│', ' ']))).collect();
        let refusals = text.split("Error: ").filter(|told| told.contains("exists already") && told.contains("import"));
        let mut imported = 0;
        for told in refusals {
            let after =
                |mark: &str, until: char| told.split_once(mark)?.1.split_once(until).map(|(found, _)| found.to_owned());
            let (Some(address), Some(id)) = (
                after("with ", ','),
                after("id = \"", '"').or_else(|| after("the id\n\"", '"')).or_else(|| after("the id \"", '"')),
            ) else {
                continue;
            };
            println!("  imported: {address} as {id}");
            let said = self.run_unlocked(&["import", "-input=false", &address, &id]);
            match said.code {
                Some(0) => imported += 1,
                _ => println!("  {}", said.stderr),
            }
        }
        imported
    }

    /// Where the rotation is, by the last apply.
    pub fn phase(&self) -> String {
        let instances = self.instances();
        let ca = instances.iter().find(|(address, _)| address.starts_with("mesh_ca."));
        ca.and_then(|(_, attributes)| attributes["phase"].as_str()).unwrap_or("none").to_owned()
    }
}

/// What a command says in the end. One that never ends is killed, and its code is none.
pub fn ended(core: Child, limit: Duration) -> Said {
    let group = format!("-{}", core.id());
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(core.wait_with_output()));
    let output = receiver.recv_timeout(limit).unwrap_or_else(|_| {
        println!("  it does not end within {limit:?}");
        let _ = std::process::Command::new("kill").args(["-KILL", "--", &group]).output();
        receiver.recv().expect("it was killed")
    });
    output.expect("what it said").into()
}

/// The id of a lock that kept a command out.
fn lock_of(said: &Said) -> Option<String> {
    let told = said.stderr.split_once("Error acquiring the state lock")?.1;
    let id = told.lines().find_map(|line| line.trim_start_matches(['│', ' ']).strip_prefix("ID:"))?;
    Some(id.trim().to_owned())
}
