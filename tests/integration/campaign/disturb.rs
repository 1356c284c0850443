//! What befalls a command: a kill at some write, an API server that answers wrong or not at all, an object that is
//! deleted under its hands.

use std::fmt;
use std::process::Child;
use std::time::{Duration, Instant};

use lab::{Cluster, Fault, Lab};

use super::laws;
use super::world::{World, ended};
use crate::support::cli::Said;
use crate::support::kill::Victim;
use crate::support::random::Random;

const AGENT: &str = "terraform-provider-mesh";
/// No command takes as long, whatever befalls it.
pub const LIMIT: Duration = Duration::from_secs(240);

pub struct Disturbance {
    what: What,
    /// Comes about as soon as the provider has written so often.
    writes: usize,
    /// And so much later.
    later: Duration,
}

enum What {
    Kill(Victim),
    /// Cluster and fault, from the first request on.
    Faults(Vec<(usize, String, Fault)>),
    /// A cluster that nobody outside reaches for a while.
    Outage(usize, Duration),
    /// So many objects are deleted in a cluster. The number says which.
    Gone(usize, usize, usize),
}

impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = format!("after {} writes and {} ms", self.writes, self.later.as_millis());
        match &self.what {
            What::Kill(victim) => write!(f, "{victim:?} killed {when}"),
            What::Faults(faults) => {
                let told: Vec<&str> = faults.iter().map(|(_, told, _)| told.as_str()).collect();
                write!(f, "{}", told.join("; "))
            }
            What::Outage(cluster, time) => write!(f, "cluster {cluster} unreachable for {time:?} {when}"),
            What::Gone(cluster, count, which) => {
                write!(f, "{count} objects deleted in cluster {cluster} (draw {which}) {when}")
            }
        }
    }
}

impl Disturbance {
    /// Of a command that writes at most about so often.
    pub fn draw(random: &mut Random, most: usize) -> Disturbance {
        let what = match random.below(10) {
            0 | 1 => What::Kill(Victim::Both),
            2 | 3 => What::Kill(Victim::Provider),
            4 => What::Kill(Victim::Core),
            5..=7 => What::Faults((0..=random.below(3)).map(|_| fault(random)).collect()),
            8 => What::Outage(random.below(2), Duration::from_millis(300 + random.below(4000) as u64)),
            _ => What::Gone(random.below(2), 1 + random.below(3), random.below(1000)),
        };
        // Many commands write far less often: early moments are drawn more often than late ones.
        let bound = 1 + random.below(most);
        Disturbance { what, writes: random.below(bound), later: Duration::from_millis(random.below(250) as u64) }
    }

    pub fn kind(&self) -> &'static str {
        match &self.what {
            What::Kill(Victim::Both) => "both killed",
            What::Kill(Victim::Provider) => "provider killed",
            What::Kill(Victim::Core) => "CLI killed",
            What::Faults(_) => "wrong answers",
            What::Outage(..) => "outage",
            What::Gone(..) => "objects deleted",
        }
    }

    /// Whether a state could not be told of what was made.
    pub fn may_lose(&self) -> bool {
        matches!(self.what, What::Kill(_))
    }

    /// Whether the CLI itself may have ended without a word.
    pub fn ends_the_core(&self) -> bool {
        matches!(self.what, What::Kill(Victim::Both | Victim::Core))
    }

    /// Runs the command and lets it happen. Whether it came about in time. A command without a code was killed, or did
    /// not end.
    pub fn during(&self, world: &World, lab: &Lab, arguments: &[&str]) -> (Said, bool) {
        lab.clusters().iter().for_each(|cluster| cluster.reset_requests());
        if let What::Faults(faults) = &self.what {
            for (cluster, _, fault) in faults {
                lab.clusters()[*cluster].fault(fault.clone()).expect("a fault");
            }
        }
        let mut core = world.workspace.start(arguments);
        let in_time = match &self.what {
            What::Faults(_) => true,
            _ => self.wait(&mut core, lab),
        };
        if in_time {
            match &self.what {
                What::Kill(victim) => victim.kill(&core),
                What::Faults(_) => {}
                What::Outage(cluster, time) => {
                    let cluster = &lab.clusters()[*cluster];
                    cluster.fault(Fault::unreachable()).expect("a fault");
                    std::thread::sleep(*time);
                    cluster.clear_faults().expect("none");
                }
                What::Gone(cluster, count, which) => delete_some(&lab.clusters()[*cluster], *count, *which),
            }
        }
        let said = ended(core, LIMIT);
        lab.clusters().iter().for_each(|cluster| cluster.clear_faults().expect("none"));
        (said, in_time)
    }

    /// Until the moment comes, or the command has ended before.
    fn wait(&self, core: &mut Child, lab: &Lab) -> bool {
        let begun = Instant::now();
        let running = |core: &mut Child| core.try_wait().expect("its state").is_none();
        while running(core) && begun.elapsed() < LIMIT {
            if lab.clusters().iter().map(|cluster| writes(cluster)).sum::<usize>() >= self.writes {
                std::thread::sleep(self.later);
                return running(core);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

/// How often the provider has written since the command began.
fn writes(cluster: &Cluster) -> usize {
    let of_provider = cluster.requests().by_agent(AGENT);
    of_provider.0.iter().filter(|request| !["get", "list", "watch"].contains(&request.verb.as_str())).count()
}

fn fault(random: &mut Random) -> (usize, String, Fault) {
    let cluster = random.below(2);
    let (told, fault) = match random.below(10) {
        0 => ("429", Fault::status_retry_after(429, 1)),
        1 => ("500", Fault::status(500)),
        2 => ("503", Fault::status(503)),
        3 => ("504", Fault::status(504)),
        4 => ("401", Fault::status(401)),
        5 => ("403", Fault::status(403)),
        6 => ("409", Fault::status(409)),
        7 => ("410", Fault::status(410)),
        8 => ("cut", Fault::cut()),
        _ => ("slow", Fault::slow(Duration::from_millis(200 + random.below(2500) as u64))),
    };
    let request = ["", "GET ", "PATCH ", "POST ", "DELETE ", "leases", "secrets", "namespaces/"][random.below(8)];
    let (after, times) = (random.below(40), 1 + random.below(12));
    let told = format!("{told} in cluster {cluster} for {times} of {request:?} after {after}");
    (cluster, told, fault.for_agent(AGENT).for_request(request).after(after).times(times))
}

/// Somebody deletes objects of the mesh. The key of the root is spared: with it goes what no apply can bring back.
fn delete_some(cluster: &Cluster, count: usize, which: usize) {
    let names: Vec<(String, String, String)> = laws::ours(cluster)
        .into_iter()
        .filter(|(kind, _, name)| kind != "Namespace" && name != "mesh-root-ca")
        .collect();
    for number in 0..count.min(names.len()) {
        let (kind, namespace, name) = &names[(which + number * 7) % names.len()];
        println!("  deleted: {kind} {namespace}/{name}");
        let mut arguments = vec!["delete", kind, name, "--wait=false", "--ignore-not-found"];
        if !namespace.is_empty() {
            arguments.extend(["-n", namespace]);
        }
        if let Err(error) = cluster.kubectl(&arguments) {
            println!("  {error}");
        }
    }
}
