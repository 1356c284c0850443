//! Replacing the root of a mesh without an outage, as a state machine: widen trust, switch issuers, narrow trust, and
//! no cluster starts a step before every cluster finished the one before. The phase is worked out from what the
//! clusters hold, so that an interrupted rotation goes on where it stopped, and one that is given up turns round: only
//! the target root is an input. Roots are opaque ids here; who makes certificates does not matter.
//!
//! On the way from A to B:
//!
//! | phase | issuer | trusted |
//! | --- | --- | --- |
//! | not started | A | A |
//! | widening | A | some A, some A+B |
//! | widened | A | A+B |
//! | switching | some A, some B | A+B |
//! | switched | B | A+B |
//! | narrowing | B | some A+B, some B |
//! | settled | B | B |
//!
//! Meshes that come from roots of their own (two that are to become one, or istiods that signed themselves) go the same
//! way: widening then means that each trusts all issuers there are.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

/// What one cluster holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding<R> {
    /// The root its intermediate chains to.
    pub issuer: R,
    /// The roots in its bundle.
    pub trusted: BTreeSet<R>,
}

/// What is to become of one cluster in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Trust both roots; issue as before.
    Widen,
    /// Issue from the new root; trust both.
    Switch,
    /// Trust the new root alone.
    Narrow,
}

/// Where the whole mesh stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Every cluster issues from and trusts the wanted root alone.
    Settled,
    /// Every cluster issues from and trusts the old root alone.
    NotStarted,
    /// Some trust both.
    Widening,
    /// All trust both, all issue from the old.
    Widened,
    /// Some issue from the new.
    Switching,
    /// All issue from the new, all trust both.
    Switched,
    /// Some trust the new alone.
    Narrowing,
}

impl Phase {
    /// The word for computed attributes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::NotStarted => "not-started",
            Self::Widening => "widening-trust",
            Self::Widened => "trust-widened",
            Self::Switching => "switching-issuers",
            Self::Switched => "issuers-switched",
            Self::Narrowing => "narrowing-trust",
        }
    }

    /// The step that leads on from here; `None` when settled.
    pub fn step(self) -> Option<Step> {
        match self {
            Self::Settled => None,
            Self::NotStarted | Self::Widening => Some(Step::Widen),
            Self::Widened | Self::Switching => Some(Step::Switch),
            Self::Switched | Self::Narrowing => Some(Step::Narrow),
        }
    }

    /// The phase a mesh is in once every cluster finished the step.
    pub fn after(step: Step) -> Self {
        match step {
            Step::Widen => Self::Widened,
            Step::Switch => Self::Switched,
            Step::Narrow => Self::Settled,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A cluster that does not trust its own issuer: istiod refuses such a pair, and whatever came next would cut its
/// workloads off.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cluster {cluster} issues from the root {root} without trusting it")]
pub struct Untrusting {
    /// The cluster.
    pub cluster: String,
    /// The root.
    pub root: String,
}

/// The root that every cluster is to issue from, and to trust alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation<R> {
    /// Where the mesh is to go.
    pub to: R,
}

impl<R: Ord + Clone + fmt::Display> Rotation<R> {
    /// Works out the phase from what all clusters hold. An empty mesh is settled.
    pub fn phase<C: Ord + fmt::Display>(&self, clusters: &BTreeMap<C, Holding<R>>) -> Result<Phase, Untrusting> {
        for (cluster, holding) in clusters {
            if !holding.trusted.contains(&holding.issuer) {
                return Err(Untrusting { cluster: cluster.to_string(), root: holding.issuer.to_string() });
            }
        }
        let any = |state: &dyn Fn(&Holding<R>) -> bool| clusters.values().any(state);
        let needed = self.needed(clusters);
        Ok(match () {
            () if !any(&|holding| holding.issuer != self.to) => match () {
                () if !any(&|holding| holding.trusted.len() > 1) => Phase::Settled,
                () if any(&|holding| holding.trusted.len() == 1) => Phase::Narrowing,
                () => Phase::Switched,
            },
            () if !any(&|holding| holding.trusted.contains(&self.to)) => Phase::NotStarted,
            () if any(&|holding| !needed.is_subset(&holding.trusted)) => Phase::Widening,
            () if any(&|holding| holding.issuer == self.to) => Phase::Switching,
            () => Phase::Widened,
        })
    }

    /// The clusters that have not finished the step.
    pub fn outstanding<C: Ord + Clone>(&self, step: Step, clusters: &BTreeMap<C, Holding<R>>) -> Vec<C> {
        let needed = self.needed(clusters);
        let done = |holding: &Holding<R>| match step {
            Step::Widen => needed.is_subset(&holding.trusted),
            Step::Switch => holding.issuer == self.to,
            Step::Narrow => holding.issuer == self.to && holding.trusted.len() == 1,
        };
        clusters.iter().filter(|(_, holding)| !done(holding)).map(|(cluster, _)| cluster.clone()).collect()
    }

    /// What a cluster holds after the step.
    pub fn target<C: Ord>(&self, step: Step, holding: &Holding<R>, clusters: &BTreeMap<C, Holding<R>>) -> Holding<R> {
        match step {
            Step::Widen => {
                let trusted = holding.trusted.union(&self.needed(clusters)).cloned().collect();
                Holding { issuer: holding.issuer.clone(), trusted }
            }
            Step::Switch => Holding { issuer: self.to.clone(), trusted: holding.trusted.clone() },
            Step::Narrow => Holding { issuer: self.to.clone(), trusted: [self.to.clone()].into() },
        }
    }

    /// What a cluster that joins gets: it issues from the target root, and trusts what the others issue from. It may
    /// join once all others trust that root.
    pub fn newcomer<C: Ord>(&self, clusters: &BTreeMap<C, Holding<R>>) -> Holding<R> {
        let mut trusted = self.needed(clusters);
        // As long as others have not narrowed their trust, proxies with certificates of the old roots may still be
        // about.
        trusted.extend(clusters.values().flat_map(|holding| holding.trusted.iter().cloned()));
        Holding { issuer: self.to.clone(), trusted }
    }

    /// The roots that each cluster must trust for all to talk: those issued from, and the target root.
    fn needed<C: Ord>(&self, clusters: &BTreeMap<C, Holding<R>>) -> BTreeSet<R> {
        clusters.values().map(|holding| holding.issuer.clone()).chain([self.to.clone()]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Mesh = BTreeMap<&'static str, Holding<char>>;

    const TO_B: Rotation<char> = Rotation { to: 'B' };

    /// A mesh from texts such as `A:AB`, issuer and trusted roots.
    fn mesh(clusters: &[&str]) -> Mesh {
        let names = ["east", "west", "north"];
        let holding = |text: &&str| {
            let (issuer, trusted) = text.split_once(':').unwrap();
            Holding { issuer: issuer.chars().next().unwrap(), trusted: trusted.chars().collect() }
        };
        names.into_iter().zip(clusters.iter().map(holding)).collect()
    }

    fn after(rotation: &Rotation<char>, step: Step, clusters: &Mesh, cluster: &'static str) -> Mesh {
        let mut next = clusters.clone();
        next.insert(cluster, rotation.target(step, &clusters[cluster], clusters));
        next
    }

    #[test]
    fn phase_is_read_from_what_clusters_hold() {
        let cases: [(&[&str], Phase); 12] = [
            (&[], Phase::Settled),
            (&["B:B", "B:B"], Phase::Settled),
            (&["A:A", "A:A"], Phase::NotStarted),
            (&["A:A", "A:AB"], Phase::Widening),
            (&["A:AB", "A:AB"], Phase::Widened),
            (&["A:AB", "B:AB"], Phase::Switching),
            (&["B:AB", "B:AB"], Phase::Switched),
            (&["B:AB", "B:B"], Phase::Narrowing),
            (&["A:A"], Phase::NotStarted),
            (&["A:A", "A:AB", "A:A"], Phase::Widening),
            // A newcomer while the others are not ready, and two meshes of their own: trust comes first.
            (&["A:A", "B:AB"], Phase::Widening),
            (&["A:A", "C:C"], Phase::NotStarted),
        ];
        for (clusters, phase) in cases {
            assert_eq!(TO_B.phase(&mesh(clusters)), Ok(phase), "{clusters:?}");
        }
    }

    #[test]
    fn a_cluster_that_distrusts_itself_is_told() {
        let error = TO_B.phase(&mesh(&["A:B"])).unwrap_err();
        assert_eq!(error.to_string(), "cluster east issues from the root A without trusting it");
    }

    /// The clusters that keep all others from the step: those that have not finished the one before.
    fn barrier(rotation: &Rotation<char>, step: Step, clusters: &Mesh) -> Vec<&'static str> {
        match step {
            Step::Widen => Vec::new(),
            Step::Switch => rotation.outstanding(Step::Widen, clusters),
            Step::Narrow => rotation.outstanding(Step::Switch, clusters),
        }
    }

    #[test]
    fn no_step_begins_before_all_finished_the_one_before() {
        let half = mesh(&["A:AB", "A:A"]);
        assert_eq!(barrier(&TO_B, Step::Switch, &half), ["west"]);
        assert_eq!(barrier(&TO_B, Step::Widen, &half), [""; 0]);
        let widened = mesh(&["A:AB", "A:AB"]);
        assert_eq!(barrier(&TO_B, Step::Switch, &widened), [""; 0]);
        assert_eq!(barrier(&TO_B, Step::Narrow, &widened), ["east", "west"]);
    }

    /// Every order in which clusters can be reached, interrupted anywhere: the way never skips a step, and the end is
    /// reached. Once all trusted each other, they do at each moment.
    fn walk(rotation: &Rotation<char>, start: Mesh) -> usize {
        let talks =
            |clusters: &Mesh| clusters.values().all(|a| clusters.values().all(|b| b.trusted.contains(&a.issuer)));
        let mut seen = BTreeSet::new();
        let mut open = vec![start];
        let mut settled = 0;
        while let Some(clusters) = open.pop() {
            if !seen.insert(format!("{clusters:?}")) {
                continue;
            }
            let Some(step) = rotation.phase(&clusters).unwrap().step() else {
                settled += 1;
                continue;
            };
            assert_eq!(barrier(rotation, step, &clusters), [""; 0], "{clusters:?}");
            let outstanding = rotation.outstanding(step, &clusters);
            assert!(!outstanding.is_empty(), "{clusters:?}");
            for cluster in outstanding {
                let next = after(rotation, step, &clusters, cluster);
                assert!(talks(&next) || !talks(&clusters), "{clusters:?} to {next:?}");
                open.push(next);
            }
        }
        assert_eq!(settled, 1);
        seen.len()
    }

    #[test]
    fn any_interleaving_keeps_every_pair_talking_and_arrives() {
        assert_eq!(walk(&TO_B, mesh(&["A:A", "A:A", "A:A"])), 22);
        walk(&TO_B, mesh(&["A:A", "C:C", "D:D"]));
    }

    #[test]
    fn turning_round_anywhere_arrives_too() {
        for start in
            [["A:A", "A:AB"], ["A:AB", "A:AB"], ["B:AB", "A:AB"], ["B:AB", "B:AB"], ["B:AB", "B:B"], ["B:B", "B:B"]]
        {
            for to in ['A', 'C'] {
                walk(&Rotation { to }, mesh(&start));
            }
        }
    }

    #[test]
    fn going_back_takes_one_phase_at_a_time() {
        let back = Rotation { to: 'A' };
        let step = |clusters: &[&str]| back.phase(&mesh(clusters)).map(Phase::step);
        assert_eq!(step(&["A:AB", "A:AB"]), Ok(Some(Step::Narrow)));
        assert_eq!(step(&["A:AB", "A:A"]), Ok(Some(Step::Narrow)));
        assert_eq!(step(&["B:AB", "A:AB"]), Ok(Some(Step::Switch)));
        assert_eq!(step(&["B:AB", "B:AB"]), Ok(Some(Step::Switch)));
        assert_eq!(step(&["B:B", "B:B"]), Ok(Some(Step::Widen)));
        assert_eq!(step(&["A:A", "A:A"]), Ok(None));
    }

    #[test]
    fn a_newcomer_trusts_what_the_others_issue_from() {
        let newcomer = |clusters: &[&str]| TO_B.newcomer(&mesh(clusters));
        assert_eq!(newcomer(&[]), Holding { issuer: 'B', trusted: ['B'].into() });
        assert_eq!(newcomer(&["B:B"]), Holding { issuer: 'B', trusted: ['B'].into() });
        assert_eq!(newcomer(&["A:AB"]), Holding { issuer: 'B', trusted: ['A', 'B'].into() });
    }
}
