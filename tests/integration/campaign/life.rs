//! The life of one mesh: rounds that are drawn, disturbed and mended.

use lab::Lab;

use super::bystanders::Bystanders;
use super::disturb::Disturbance;
use super::world::{Scene, Wanted, World};
use super::{Everything, laws};
use crate::support::cli::{Cli, Said};
use crate::support::random::Random;

const APPLY: [&str; 3] = ["apply", "-auto-approve", "-input=false"];
const DESTROY: [&str; 3] = ["destroy", "-auto-approve", "-input=false"];
const PLAN: [&str; 3] = ["plan", "-detailed-exitcode", "-input=false"];
/// A rotation takes three, and one may be needed for what a kill left.
const MOST_APPLIES: usize = 6;

pub struct Life<'a> {
    lab: &'a Lab,
    cli: &'a str,
    before: &'a Everything,
    world: World,
    wanted: Wanted,
    bystanders: Bystanders,
}

/// What a round was, and what it came to.
pub struct Outcome {
    pub what: String,
    pub action: &'static str,
    pub disturbance: &'static str,
    /// Whether the disturbance came before the command had ended.
    pub in_time: bool,
    /// Whether the disturbed command failed.
    pub failed: bool,
    pub applies: usize,
    pub broken: Vec<String>,
}

impl Outcome {
    pub fn summary(&self) -> String {
        let came = if self.in_time { "came about" } else { "came too late" };
        let ended = if self.failed { "the command failed" } else { "the command went through" };
        format!("{came}, {ended}, {} applies after it", self.applies)
    }
}

impl<'a> Life<'a> {
    pub fn begin(cli: &'a Cli, lab: &'a Lab, before: &'a Everything, scene: Scene, random: &mut Random) -> Life<'a> {
        let bystanders = Bystanders::plant(lab, random.below(2) == 0);
        let world = World::new(cli, lab, scene);
        Life { lab, cli: cli.name, before, world, wanted: Wanted::whole(), bystanders }
    }

    pub fn round(&mut self, first: bool, last: bool, seed: u64, number: u64, random: &mut Random) -> Outcome {
        let (action, told, arguments, most) = self.draw(first, last, random);
        let disturbance = Disturbance::draw(random, most);
        let place = if self.bystanders.in_the_mesh { ", its namespaces a bystander's" } else { "" };
        let what = format!("{} by {}{place}: {action} ({told}); {disturbance}", self.world.scene.title(), self.cli);
        println!("round {number} of seed {seed}: {what}");
        self.world.want(&self.wanted);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (said, in_time) = disturbance.during(&self.world, self.lab, &arguments);
        let mut outcome = Outcome {
            what,
            action,
            disturbance: disturbance.kind(),
            in_time,
            failed: said.code != Some(0),
            applies: 0,
            broken: Vec::new(),
        };
        if let Some(line) = said.stderr.lines().find(|line| line.contains("Error: ")) {
            println!("  {}", line.trim_start_matches(['│', '╷', ' ']));
        }
        if said.stderr.contains("panicked") || said.stderr.contains("plugin crashed") && !disturbance.may_lose() {
            outcome.broken.push(format!("the provider ended by itself: {}", said.stderr));
        }
        if said.code.is_none() && !disturbance.ends_the_core() {
            outcome.broken.push(format!("the command does not end: {}", said.stdout));
        }
        let mended = match action {
            "destroy" => self.destroyed(outcome.failed && random.below(3) == 0, &disturbance, &mut outcome),
            "create" if outcome.failed && !disturbance.may_lose() && random.below(3) == 0 => {
                self.given_up(&disturbance, &mut outcome)
            }
            _ => self.mended(&disturbance, &mut outcome),
        };
        if let Err(broken) = mended {
            outcome.broken.push(broken);
        }
        if action == "create" && outcome.broken.is_empty() {
            self.bystanders.copy_marks(self.lab);
        }
        outcome
    }

    /// What is done, in words, by which command, and about how often that writes at most.
    fn draw(&mut self, first: bool, last: bool, random: &mut Random) -> (&'static str, String, Vec<String>, usize) {
        let command = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        if first {
            return ("create", "all".to_owned(), command(&APPLY), 140);
        }
        if last {
            return ("destroy", "all".to_owned(), command(&DESTROY), 140);
        }
        match random.below(4) {
            0 => {
                self.wanted.generation += 1;
                ("rotation", format!("to root {}", self.wanted.generation), command(&APPLY), 12)
            }
            1 => {
                // An authority is not replaced: with it goes the root that the mesh stands on.
                let mut addresses: Vec<String> =
                    self.world.instances().into_iter().map(|(address, _)| address).collect();
                addresses.retain(|address| !address.starts_with("mesh_ca."));
                let address = addresses.swap_remove(random.below(addresses.len()));
                let mut arguments = command(&APPLY);
                arguments.push(format!("-replace={address}"));
                ("replace", address, arguments, 60)
            }
            _ => {
                let told = self.wanted.change(random);
                ("change", told, command(&APPLY), 30)
            }
        }
    }

    /// The next applies bring about what is wanted, and the laws hold.
    fn mended(&self, disturbance: &Disturbance, outcome: &mut Outcome) -> Result<(), String> {
        outcome.applies += self.converge(disturbance)?;
        let broken = laws::of_mesh(&self.world, self.lab, &self.wanted, &self.bystanders);
        outcome.broken.extend(broken);
        Ok(())
    }

    /// A create that failed is destroyed: what it made is in state, or it would stay. Then the mesh is made after all.
    fn given_up(&self, disturbance: &Disturbance, outcome: &mut Outcome) -> Result<(), String> {
        println!("  given up");
        self.gone()?;
        self.mended(disturbance, outcome)
    }

    fn destroyed(&self, changed_mind: bool, disturbance: &Disturbance, outcome: &mut Outcome) -> Result<(), String> {
        if changed_mind {
            println!("  the mesh is to stay after all");
            self.mended(disturbance, outcome)?;
        }
        self.gone()
    }

    /// A destroy leaves nothing.
    fn gone(&self) -> Result<(), String> {
        let said = self.world.run_unlocked(&DESTROY);
        if said.code != Some(0) {
            return Err(format!("the next destroy fails:\n{}{}", said.stdout, said.stderr));
        }
        let mut broken = laws::nothing_left(self.lab, self.before);
        broken.extend(self.bystanders.untouched(self.lab));
        if broken.is_empty() { Ok(()) } else { Err(format!("{}\nafter:\n{}", broken.join("\n"), warnings(&said))) }
    }

    /// How many applies it took.
    fn converge(&self, disturbance: &Disturbance) -> Result<usize, String> {
        let mut applies = 0;
        let mut said;
        loop {
            said = self.world.run_unlocked(&APPLY);
            applies += 1;
            // A root that is found is not trusted, so it is not taken up as the rest is.
            let refusals = ["The root's store exists already", "Error: mesh_ca "];
            let is_root = disturbance.may_lose() && refusals.iter().any(|refusal| said.stderr.contains(refusal));
            let imported = if is_root { self.world.import_what_exists(&said) } else { 0 };
            if said.code != Some(0) && imported == 0 {
                return Err(format!("the next apply fails:\n{}", said.stderr));
            }
            let plan = self.world.run(&PLAN);
            match plan.code {
                Some(0) if self.world.phase() == "settled" => return Ok(applies),
                Some(1) | None => return Err(format!("the plan after it fails:\n{}", plan.stderr)),
                _ if applies == MOST_APPLIES => {
                    return Err(format!("the plan after {MOST_APPLIES} applies is not empty:\n{}", plan.stdout));
                }
                // A step of a rotation is an apply of its own.
                Some(2) if imported == 0 && !plan.stdout.contains("step ") => {
                    return Err(format!(
                        "the plan after it is not empty:\n{}\nafter:\n{}",
                        plan.stdout,
                        warnings(&said)
                    ));
                }
                _ => {}
            }
        }
    }

    /// The mesh goes, with whatever a broken law has left, and the bystanders with it.
    pub fn end(self) {
        if !self.world.instances().is_empty() {
            self.world.run_unlocked(&DESTROY);
        }
        self.bystanders.leave(self.lab);
    }
}

/// What a command warned of.
fn warnings(said: &Said) -> String {
    let text = format!("{}{}", said.stdout, said.stderr);
    let begins = text.find("Warning: ").or_else(|| text.find("Error: "));
    begins.map_or_else(|| "no warning".to_owned(), |at| text[at..].to_owned())
}
