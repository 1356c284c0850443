//! Replacing the root of a mesh without an outage, as a state machine: widen trust, switch issuers, narrow trust, and no cluster starts a
//! step before every cluster finished the one before. The phase is worked out from what the clusters hold, so that an interrupted
//! rotation goes on where it stopped. Roots are opaque ids here; who makes certificates does not matter.
//!
//! | phase | issuer | trusted |
//! | --- | --- | --- |
//! | settled on A | A | A |
//! | widening | A | some A, some A+B |
//! | widened | A | A+B |
//! | switching | some A, some B | A+B |
//! | switched | B | A+B |
//! | narrowing | B | some A+B, some B |
//! | settled on B | B | B |

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What one cluster holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding<R> {
    /// The root its intermediate chains to.
    pub issuer: R,
    /// The roots in its bundle.
    pub trusted: BTreeSet<R>,
}

/// What is to become of one cluster in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
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

/// The clusters' holdings cannot be reached by rotating between two roots; whatever was done next would cut clusters off.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Tangle<C: fmt::Display + fmt::Debug, R: fmt::Display + fmt::Debug> {
    /// A root that takes no part in the rotation.
    #[error("cluster {cluster} holds the root {root}, which is neither the present nor the wanted one")]
    ForeignRoot {
        /// The cluster.
        cluster: C,
        /// The root.
        root: R,
    },
    /// A cluster that does not trust its own issuer.
    #[error("cluster {cluster} issues from the root {root} without trusting it")]
    Untrusting {
        /// The cluster.
        cluster: C,
        /// The root.
        root: R,
    },
    /// Two clusters of which one does not trust what the other issues.
    #[error("cluster {distrusting} does not trust the root {root}, from which cluster {issuing} issues")]
    CutOff {
        /// Who issues.
        issuing: C,
        /// Who does not trust it.
        distrusting: C,
        /// The root.
        root: R,
    },
}

/// Two roots and the way from one to the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation<R> {
    /// Where the mesh comes from. Equal to `to` where no rotation is wanted.
    pub from: R,
    /// Where it is to go.
    pub to: R,
}

impl<R: Ord + Clone + fmt::Display + fmt::Debug> Rotation<R> {
    /// Works out the phase from what all clusters hold. An empty mesh is settled.
    pub fn phase<C>(&self, clusters: &BTreeMap<C, Holding<R>>) -> Result<Phase, Box<Tangle<C, R>>>
    where
        C: Ord + Clone + fmt::Display + fmt::Debug,
    {
        self.check(clusters)?;
        let all = |state: fn(&Self, &Holding<R>) -> bool| clusters.values().all(|holding| state(self, holding));
        let any = |state: fn(&Self, &Holding<R>) -> bool| clusters.values().any(|holding| state(self, holding));
        let (old_only, both, new_only) = (Self::trusts_old_only, Self::trusts_both, Self::trusts_new_only);
        let (from_old, from_new) = (Self::issues_from_old, Self::issues_from_new);
        Ok(match () {
            () if self.from == self.to || all(new_only) => Phase::Settled,
            () if all(old_only) => Phase::NotStarted,
            () if any(old_only) => Phase::Widening,
            () if any(new_only) => Phase::Narrowing,
            () if all(both) && all(from_old) => Phase::Widened,
            () if all(both) && all(from_new) => Phase::Switched,
            () => Phase::Switching,
        })
    }

    /// The clusters that have not finished the step.
    pub fn outstanding<'a, C: Ord>(&self, step: Step, clusters: &'a BTreeMap<C, Holding<R>>) -> Vec<&'a C> {
        clusters.iter().filter(|(_, holding)| !self.has_done(step, holding)).map(|(cluster, _)| cluster).collect()
    }

    /// Whether a cluster may take the step now: every other cluster must have finished the one before, also those that cannot be
    /// asked at the moment, which count as not finished.
    pub fn barrier<'a, C: Ord>(
        &self,
        step: Step,
        clusters: &'a BTreeMap<C, Holding<R>>,
        unreachable: impl IntoIterator<Item = &'a C>,
    ) -> Vec<&'a C> {
        let mut behind: Vec<&C> = match step {
            Step::Widen => Vec::new(),
            Step::Switch => self.outstanding(Step::Widen, clusters),
            Step::Narrow => self.outstanding(Step::Switch, clusters),
        };
        if step != Step::Widen {
            behind.extend(unreachable);
        }
        behind
    }

    /// What a cluster holds after the step.
    pub fn target(&self, step: Step) -> Holding<R> {
        let both = || BTreeSet::from([self.from.clone(), self.to.clone()]);
        match step {
            Step::Widen => Holding { issuer: self.from.clone(), trusted: both() },
            Step::Switch => Holding { issuer: self.to.clone(), trusted: both() },
            Step::Narrow => Holding { issuer: self.to.clone(), trusted: [self.to.clone()].into() },
        }
    }

    /// The same two roots the other way round: how a rotation is taken back, one phase at a time. From `Widened` the way back is to
    /// narrow to the old root, from `Switched` to switch to the old issuers, from `Narrowing` to widen again.
    pub fn reversed(&self) -> Self {
        Self { from: self.to.clone(), to: self.from.clone() }
    }

    fn has_done(&self, step: Step, holding: &Holding<R>) -> bool {
        match step {
            Step::Widen => !self.trusts_old_only(holding),
            Step::Switch => self.issues_from_new(holding),
            Step::Narrow => self.trusts_new_only(holding),
        }
    }

    fn check<C>(&self, clusters: &BTreeMap<C, Holding<R>>) -> Result<(), Box<Tangle<C, R>>>
    where
        C: Ord + Clone + fmt::Display + fmt::Debug,
    {
        for (cluster, holding) in clusters {
            let foreign =
                holding.trusted.iter().chain([&holding.issuer]).find(|root| **root != self.from && **root != self.to);
            if let Some(root) = foreign {
                return Err(Box::new(Tangle::ForeignRoot { cluster: cluster.clone(), root: root.clone() }));
            }
            if !holding.trusted.contains(&holding.issuer) {
                return Err(Box::new(Tangle::Untrusting { cluster: cluster.clone(), root: holding.issuer.clone() }));
            }
        }
        for (issuing, holding) in clusters {
            if let Some((distrusting, _)) = clusters.iter().find(|(_, other)| !other.trusted.contains(&holding.issuer))
            {
                return Err(Box::new(Tangle::CutOff {
                    issuing: issuing.clone(),
                    distrusting: distrusting.clone(),
                    root: holding.issuer.clone(),
                }));
            }
        }
        Ok(())
    }

    fn trusts_old_only(&self, holding: &Holding<R>) -> bool {
        !holding.trusted.contains(&self.to)
    }

    fn trusts_new_only(&self, holding: &Holding<R>) -> bool {
        !holding.trusted.contains(&self.from)
    }

    fn trusts_both(&self, holding: &Holding<R>) -> bool {
        holding.trusted.contains(&self.from) && holding.trusted.contains(&self.to)
    }

    fn issues_from_old(&self, holding: &Holding<R>) -> bool {
        holding.issuer == self.from
    }

    fn issues_from_new(&self, holding: &Holding<R>) -> bool {
        holding.issuer == self.to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Mesh = BTreeMap<&'static str, Holding<char>>;

    const ROTATION: Rotation<char> = Rotation { from: 'A', to: 'B' };

    /// A mesh from texts such as `A:AB`, issuer and trusted roots.
    fn mesh(clusters: &[&str]) -> Mesh {
        let names = ["east", "west", "north"];
        let holding = |text: &&str| {
            let (issuer, trusted) = text.split_once(':').unwrap();
            Holding { issuer: issuer.chars().next().unwrap(), trusted: trusted.chars().collect() }
        };
        names.into_iter().zip(clusters.iter().map(holding)).collect()
    }

    #[test]
    fn phase_is_read_from_what_clusters_hold() {
        let cases: [(&[&str], Phase); 10] = [
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
        ];
        for (clusters, phase) in cases {
            assert_eq!(ROTATION.phase(&mesh(clusters)), Ok(phase), "{clusters:?}");
        }
        assert_eq!(Rotation { from: 'A', to: 'A' }.phase(&mesh(&["A:A"])), Ok(Phase::Settled));
    }

    #[test]
    fn tangles_are_refused_with_their_reason() {
        let text = |clusters: &[&str]| ROTATION.phase(&mesh(clusters)).unwrap_err().to_string();
        assert_eq!(
            text(&["A:A", "C:C"]),
            "cluster west holds the root C, which is neither the present nor the wanted one"
        );
        assert_eq!(text(&["A:B"]), "cluster east issues from the root A without trusting it");
        assert_eq!(text(&["A:A", "B:AB"]), "cluster east does not trust the root B, from which cluster west issues");
        assert_eq!(text(&["A:AB", "B:B"]), "cluster west does not trust the root A, from which cluster east issues");
    }

    #[test]
    fn no_step_begins_before_all_finished_the_one_before() {
        let clusters = mesh(&["A:AB", "A:A"]);
        assert_eq!(ROTATION.barrier(Step::Switch, &clusters, []), [&"west"]);
        assert_eq!(ROTATION.barrier(Step::Widen, &clusters, []), Vec::<&&str>::new());
        let clusters = mesh(&["A:AB", "A:AB"]);
        assert_eq!(ROTATION.barrier(Step::Switch, &clusters, []), Vec::<&&str>::new());
        assert_eq!(ROTATION.barrier(Step::Switch, &clusters, [&"gone"]), [&"gone"]);
        assert_eq!(ROTATION.barrier(Step::Narrow, &clusters, []), [&"east", &"west"]);
    }

    /// Every order in which clusters can be reached, interrupted anywhere: at each moment each cluster trusts every issuer, the step stays the
    /// one that was begun, and the end is reached.
    #[test]
    fn any_interleaving_keeps_every_pair_talking_and_arrives() {
        let mut seen = BTreeSet::new();
        let mut open = vec![mesh(&["A:A", "A:A", "A:A"])];
        let mut settled = 0;
        while let Some(clusters) = open.pop() {
            if !seen.insert(format!("{clusters:?}")) {
                continue;
            }
            let phase = ROTATION.phase(&clusters).unwrap();
            for (issuing, trusting) in clusters.values().flat_map(|a| clusters.values().map(move |b| (a, b))) {
                assert!(trusting.trusted.contains(&issuing.issuer), "{clusters:?}");
            }
            let Some(step) = phase.step() else {
                settled += 1;
                continue;
            };
            assert_eq!(ROTATION.barrier(step, &clusters, []), Vec::<&&str>::new(), "{clusters:?}");
            let outstanding = ROTATION.outstanding(step, &clusters);
            assert!(!outstanding.is_empty(), "{clusters:?}");
            for cluster in outstanding {
                let mut next = clusters.clone();
                next.insert(cluster, ROTATION.target(step));
                open.push(next);
            }
        }
        assert_eq!((settled, seen.len()), (1, 22));
    }

    /// Turning round anywhere leads back to A through the same doors.
    #[test]
    fn going_back_takes_one_phase_at_a_time() {
        let back = ROTATION.reversed();
        let steps = |clusters: &[&str]| back.phase(&mesh(clusters)).map(Phase::step);
        assert_eq!(steps(&["A:AB", "A:AB"]), Ok(Some(Step::Narrow)));
        assert_eq!(steps(&["A:AB", "A:A"]), Ok(Some(Step::Narrow)));
        assert_eq!(steps(&["B:AB", "A:AB"]), Ok(Some(Step::Switch)));
        assert_eq!(steps(&["B:AB", "B:AB"]), Ok(Some(Step::Switch)));
        assert_eq!(steps(&["B:AB", "B:B"]), Ok(Some(Step::Widen)));
        assert_eq!(steps(&["A:A", "A:A"]), Ok(None));
    }
}
