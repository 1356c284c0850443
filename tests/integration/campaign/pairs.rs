//! Two runs at once: of two states that know nothing of each other, and of one state whose lock nobody took. One
//! refuses, or both end with what one alone would have made; and there is never a second root.

use std::time::Duration;

use lab::{Lab, Options};

use super::bystanders::Bystanders;
use super::disturb::LIMIT;
use super::world::{Scene, Wanted, World, ended};
use super::{CLUSTERS, Everything, argument, everything, laws, sweep};
use crate::support::cli::{Cli, Said, clis};
use crate::support::random::Random;

const APPLY: [&str; 4] = ["apply", "-auto-approve", "-input=false", "-lock=false"];
const DESTROY: [&str; 3] = ["destroy", "-auto-approve", "-input=false"];

#[test]
fn two_runs_at_once_make_one_mesh() {
    let clis = clis();
    let Some(cli) = clis.first() else { return };
    let (seed, pairs) = (argument("SEED", 19), argument("PAIRS", 1));
    let lab = Lab::start(&CLUSTERS, Options::default()).expect("two clusters");
    let before = everything(&lab);
    let mut random = Random::new(seed);
    let (mut refused, mut broken) = (0, Vec::new());
    for number in 0..pairs {
        let pair = Pair { lab: &lab, cli, before: &before, offset: Duration::from_millis(random.below(5000) as u64) };
        let how = ["two states", "one state without a lock", "two changes of one state"][number as usize % 3];
        println!("pair {number} of seed {seed}: {how}, the second {} ms later", pair.offset.as_millis());
        let outcome = match number % 3 {
            0 => pair.of_two_states(),
            1 => pair.of_one_state(false, &mut random),
            _ => pair.of_one_state(true, &mut random),
        };
        match outcome {
            Ok(refusals) => {
                println!("  {refusals} refused");
                refused += refusals;
            }
            Err(law) => {
                println!("  BROKEN: {law}");
                broken.push(format!("seed {seed}, pair {number}, {how} {} ms apart: {law}", pair.offset.as_millis()));
            }
        }
        sweep(&lab, &before);
    }
    println!("seed {seed}: {pairs} pairs of runs, {refused} runs refused, {} laws broken", broken.len());
    assert!(broken.is_empty(), "laws were broken:\n{}", broken.join("\n"));
}

struct Pair<'a> {
    lab: &'a Lab,
    cli: &'a Cli,
    before: &'a Everything,
    offset: Duration,
}

impl Pair<'_> {
    fn at_once(&self, first: &World, second: &World) -> [Said; 2] {
        let one = first.workspace.start(&APPLY);
        let one = std::thread::spawn(move || ended(one, LIMIT));
        std::thread::sleep(self.offset);
        let other = ended(second.workspace.start(&APPLY), LIMIT);
        [one.join().expect("it ends"), other]
    }

    fn of_two_states(&self) -> Result<usize, String> {
        let wanted = Wanted::whole();
        let bystanders = Bystanders::plant(self.lab, false);
        let worlds = [(); 2].map(|()| World::new(self.cli, self.lab, Scene::OneMesh));
        worlds.iter().for_each(|world| world.want(&wanted));
        let said = self.at_once(&worlds[0], &worlds[1]);
        one_root(self.lab)?;
        let made: Vec<usize> = (0..2).filter(|which| worlds[*which].phase() == "settled").collect();
        let [made] = made[..] else {
            return Err(format!("{} states have the authority: {}\n{}", made.len(), said[0].stderr, said[1].stderr));
        };
        let other = 1 - made;
        if said[other].code == Some(0) || !said[other].stderr.contains("exists already") {
            return Err(format!("the second is not refused: {}{}", said[other].stdout, said[other].stderr));
        }
        // What the other makes of it changes nothing.
        worlds[other].run(&DESTROY);
        if said[made].code != Some(0) {
            return Err(format!("the first fails: {}", said[made].stderr));
        }
        settled(&worlds[made])?;
        whole(laws::of_mesh(&worlds[made], self.lab, &wanted, &bystanders))?;
        self.ends(&worlds[made], bystanders)?;
        Ok(1)
    }

    fn of_one_state(&self, changes: bool, random: &mut Random) -> Result<usize, String> {
        let mut wanted = Wanted::whole();
        let bystanders = Bystanders::plant(self.lab, false);
        let world = World::new(self.cli, self.lab, Scene::OneMesh);
        world.want(&wanted);
        if changes {
            done(&world.run(&APPLY))?;
            println!("  {}", wanted.change(random));
            world.want(&wanted);
        }
        let said = self.at_once(&world, &world);
        one_root(self.lab)?;
        let refused = said.iter().filter(|said| said.code != Some(0)).count();
        if refused == 2 && !changes {
            return Err(format!("both fail:\n{}\n{}", said[0].stderr, said[1].stderr));
        }
        // Whoever wrote the state last may not have known what the other has made: that is imported, as the refusal
        // says.
        let mut imported = 0;
        for _ in 0..4 {
            let said = world.run(&APPLY);
            if said.code == Some(0) {
                break;
            }
            let more = world.import_what_exists(&said);
            if more == 0 {
                return Err(format!("the next apply fails: {}", said.stderr));
            }
            imported += more;
        }
        if imported > 0 {
            println!("  {imported} resources imported");
        }
        settled(&world)?;
        whole(laws::of_mesh(&world, self.lab, &wanted, &bystanders))?;
        self.ends(&world, bystanders)?;
        Ok(refused)
    }

    fn ends(&self, world: &World, bystanders: Bystanders) -> Result<(), String> {
        done(&world.run(&DESTROY))?;
        let left = laws::nothing_left(self.lab, self.before);
        bystanders.leave(self.lab);
        whole(left)
    }
}

fn one_root(lab: &Lab) -> Result<(), String> {
    let roots = laws::roots(lab).len();
    if roots == 1 { Ok(()) } else { Err(format!("there are {roots} roots")) }
}

fn settled(world: &World) -> Result<(), String> {
    let plan = world.run(&["plan", "-detailed-exitcode", "-input=false"]);
    if plan.code == Some(0) { Ok(()) } else { Err(format!("the plan is not empty:\n{}{}", plan.stdout, plan.stderr)) }
}

fn done(said: &Said) -> Result<(), String> {
    if said.code == Some(0) { Ok(()) } else { Err(said.stderr.clone()) }
}

fn whole(broken: Vec<String>) -> Result<(), String> {
    if broken.is_empty() { Ok(()) } else { Err(broken.join("\n")) }
}
