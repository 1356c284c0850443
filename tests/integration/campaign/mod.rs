//! A campaign against meshes: rounds drawn by a seed, each a create, a change, a rotation, a replacement or a destroy
//! that is disturbed, and after each the laws of [`laws`].
//!
//! The suite runs a few rounds; `make campaign SEED=… ROUNDS=…` as many as one likes. A round that breaks a law is
//! printed with its seed and number. Four rounds are the life of a mesh, from its create to its destroy, and no life
//! depends on another: `make campaign SEED=… FROM=… ROUNDS=4` repeats the life that the round is in.

mod bystanders;
mod disturb;
mod laws;
mod life;
mod page;
mod pairs;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use lab::{Lab, Options};

use crate::support::cli::{Cli, clis};
use crate::support::random::Random;
use life::Life;
use page::Tally;
use world::Scene;
pub use world::ended;

/// Rounds from the create of a mesh to its destroy.
const LIFE: u64 = 4;
const CLUSTERS: [&str; 2] = ["east", "west"];

#[test]
fn laws_hold_whatever_is_killed_or_fails() {
    let clis = clis();
    if clis.is_empty() {
        return;
    }
    let (seed, rounds) = (argument("SEED", 19), argument("ROUNDS", 2 * LIFE));
    // A life is whole: what is asked for begins with a create.
    let first = argument("FROM", 0) / LIFE * LIFE;
    let lab = Lab::start(&CLUSTERS, Options::default()).expect("two clusters");
    let mut campaign = Campaign { seed, before: everything(&lab), lab: &lab, clis, tally: Tally::default() };
    let begun = Instant::now();
    for life in 0..rounds.div_ceil(LIFE) {
        campaign.live(first + life * LIFE);
    }
    let tally = campaign.tally;
    println!("{}", tally.told(seed, begun.elapsed()));
    page::write(&tally, seed, begun.elapsed());
    assert!(tally.broken.is_empty(), "laws were broken:\n{}", tally.broken.join("\n"));
}

/// From the environment, as `make campaign` sets it.
fn argument(name: &str, default: u64) -> u64 {
    let given = std::env::var(format!("MESH_CAMPAIGN_{name}")).ok().filter(|given| !given.is_empty());
    given.map_or(default, |given| given.parse().unwrap_or_else(|_| panic!("{name} is a number, not {given:?}")))
}

/// What there is in each cluster, by its name.
type Everything = BTreeMap<String, BTreeSet<(String, String, String)>>;

fn everything(lab: &Lab) -> Everything {
    lab.clusters().iter().map(|cluster| (cluster.name().to_owned(), laws::everything(cluster))).collect()
}

struct Campaign<'a> {
    seed: u64,
    lab: &'a Lab,
    clis: Vec<Cli>,
    /// What there was before any mesh.
    before: Everything,
    tally: Tally,
}

impl Campaign<'_> {
    /// The rounds of one mesh, whose first has this number. A broken law ends it early.
    fn live(&mut self, first: u64) {
        let cli = &self.clis[(first / LIFE) as usize % self.clis.len()];
        let scene = [Scene::OneMesh, Scene::TwoMeshes, Scene::OneMesh][(first / LIFE) as usize % 3];
        let mut life = Life::begin(cli, self.lab, &self.before, scene, &mut self.random(first, "life"));
        for round in first..first + LIFE {
            let begun = Instant::now();
            let place = round - first;
            let outcome = life.round(place == 0, place == LIFE - 1, self.seed, round, &mut self.random(round, "round"));
            let broken: Vec<String> = outcome
                .broken
                .iter()
                .map(|law| format!("seed {}, round {round}, {}: {law}", self.seed, outcome.what))
                .collect();
            println!("  {} in {:.1} s", outcome.summary(), begun.elapsed().as_secs_f64());
            broken.iter().for_each(|law| println!("  BROKEN: {law}"));
            let ends = !broken.is_empty();
            self.tally.count(&outcome, broken);
            if ends {
                break;
            }
        }
        life.end();
        sweep(self.lab, &self.before);
    }

    fn random(&self, round: u64, what: &str) -> Random {
        let salt = if what == "life" { 7_919 } else { 0 };
        let mut random = Random::new(self.seed.wrapping_mul(1_000_003).wrapping_add(round).wrapping_add(salt));
        // The first draws of like seeds are alike.
        (0..8).for_each(|_| _ = random.below(2));
        random
    }
}

/// Removes by hand what a broken law has left, so that the next mesh begins in empty clusters.
fn sweep(lab: &Lab, before: &Everything) {
    let begun = Instant::now();
    for cluster in lab.clusters() {
        loop {
            let left: Vec<_> = laws::everything(cluster).difference(&before[cluster.name()]).cloned().collect();
            if left.is_empty() {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(120), "it cannot be swept away: {left:?}");
            for (kind, namespace, name) in left {
                let mut arguments = vec!["delete", &kind, &name, "--wait=false", "--ignore-not-found"];
                if !namespace.is_empty() {
                    arguments.extend(["-n", &namespace]);
                }
                let _ = cluster.kubectl(&arguments);
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}
