//! What one plan does to each cluster. Pure; the plan decides by what state remembers, the apply by what the clusters
//! hold, and both must come to the same.

use std::collections::{BTreeMap, BTreeSet};

use crate::mesh::{Holding, Phase, Rotation, Step, Untrusting};

/// What is to be.
#[derive(Debug)]
pub struct Ask {
    /// Fingerprint of the target root; [`NEW_ROOT`] while it is not generated yet.
    pub to: String,
    pub clusters: BTreeMap<String, Wish>,
    /// Roots whose key is at hand.
    pub signers: BTreeSet<String>,
    /// Intermediates are signed outside.
    pub external: bool,
    /// The pause after the last step is over.
    pub pause_over: bool,
    /// The step that an apply of ours has begun last.
    pub begun: Option<Step>,
}

/// Stands for the fingerprint of a root that the apply will generate.
pub const NEW_ROOT: &str = "a new root";

/// One cluster, as wanted.
#[derive(Debug, Default)]
pub struct Wish {
    pub generation: i64,
    /// The chain signed outside: fingerprints of its intermediate and of the root it leads to.
    pub chain: Option<(String, String)>,
    /// Another resource asks for the signature.
    pub asked_elsewhere: bool,
}

/// One cluster, as seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// `None` where it has no intermediate.
    pub holding: Option<Holding<String>>,
    pub fingerprint: Option<String>,
    /// It has a key for which a signature from outside is waited for.
    pub asked: bool,
    /// What was asked for last.
    pub generation: Option<i64>,
    /// Its intermediate is to be renewed: near its end, or broken.
    pub due: bool,
    /// The root of its intermediate has expired: whatever is issued there is refused everywhere.
    pub expired: bool,
    /// It could not be asked.
    pub unreachable: bool,
    /// Its Secret is someone else's, and not to be taken over.
    pub foreign: bool,
    /// Its Secret is someone else's, and is to be taken over.
    pub take: bool,
    /// Roots that its istiod made for itself.
    pub self_signed: BTreeSet<String>,
}

/// What happens to one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Write `cacerts`.
    Write {
        /// Issue a new intermediate from this root; none keeps the intermediate.
        issue: Option<String>,
        trusted: BTreeSet<String>,
    },
    /// Ask for a signature from outside, and leave `cacerts` as it is.
    Request,
}

/// What keeps the plan from doing more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// The pause between steps.
    Pause { step: Step },
    /// Clusters that cannot be asked.
    Unreachable { step: Option<Step>, clusters: Vec<String> },
    /// A Secret that is someone else's.
    Foreign { cluster: String },
    /// Nobody can sign.
    NoSigner { cluster: String, root: String },
    /// A cluster joins when all others trust its root.
    Joins { cluster: String },
    /// Signatures from outside.
    Signature { cluster: String },
}

/// The whole of it.
#[derive(Debug)]
pub struct Decision {
    pub actions: BTreeMap<String, Action>,
    /// The step of the rotation that is taken.
    pub step: Option<Step>,
    pub before: Phase,
    pub after: Phase,
    pub waits: Vec<Wait>,
    /// Clusters whose root has expired, and that get an intermediate of the target root without waiting: there is
    /// nothing left to interrupt.
    pub revived: Vec<String>,
    /// What clusters hold afterwards.
    pub holdings: BTreeMap<String, Holding<String>>,
}

impl Decision {
    /// Whether a cluster gets its first intermediate whose istiod has signed for itself so far: its workloads show
    /// certificates of that until they get others.
    pub fn brings_own_roots(&self, seen: &BTreeMap<String, Seen>) -> bool {
        let first = |name: &String| seen.get(name).is_some_and(|seen| seen.holding.is_none());
        let signed = |name: &String| seen.get(name).is_some_and(|seen| !seen.self_signed.is_empty());
        let issues = |action: &Action| matches!(action, Action::Write { issue: Some(_), .. });
        self.actions.iter().any(|(name, action)| issues(action) && first(name) && signed(name))
    }
}

/// Decides. Only clusters that are asked for count: one that is being removed holds up nobody.
pub fn decide(ask: &Ask, seen: &BTreeMap<String, Seen>) -> Result<Decision, Untrusting> {
    let rotation = Rotation { to: ask.to.clone() };
    let mut holdings: BTreeMap<String, Holding<String>> =
        ask.clusters.keys().filter_map(|name| Some((name.clone(), seen.get(name)?.holding.clone()?))).collect();
    let gone = |(name, holding): &(&String, &Holding<String>)| of(seen, name).expired && holding.issuer != ask.to;
    let revived: Vec<String> = holdings.iter().filter(gone).map(|(name, _)| name.clone()).collect();
    holdings.retain(|name, _| !revived.contains(name));
    let before = rotation.phase(&holdings)?;
    let mut decision =
        Decision { actions: BTreeMap::new(), step: None, before, after: before, waits: Vec::new(), revived, holdings };
    take_step(ask, seen, &rotation, &mut decision);
    admit_newcomers(ask, seen, &rotation, &mut decision);
    renew(ask, seen, &mut decision);
    take_over(ask, seen, &mut decision);
    decision.after = rotation.phase(&decision.holdings)?;
    Ok(decision)
}

fn take_step(ask: &Ask, seen: &BTreeMap<String, Seen>, rotation: &Rotation<String>, decision: &mut Decision) {
    let Some(step) = decision.before.step() else { return };
    let before = decision.holdings.clone();
    let down: Vec<String> = ask.clusters.keys().filter(|name| of(seen, name).unreachable).cloned().collect();
    if !down.is_empty() {
        decision.waits.push(Wait::Unreachable { step: Some(step), clusters: down.clone() });
        // Trust may be widened where it can be; whatever comes after it needs every cluster.
        if step != Step::Widen {
            return;
        }
    }
    // Only what our own apply has begun goes on at once. A cluster that joins can bring the others into the midst of a
    // step that nobody has waited for.
    let goes_on = matches!(decision.before, Phase::Switching | Phase::Narrowing) && ask.begun == Some(step);
    if step != Step::Widen && !goes_on && !ask.pause_over {
        decision.waits.push(Wait::Pause { step });
        return;
    }
    for name in rotation.outstanding(step, &before) {
        let Some(holding) = before.get(&name) else { continue };
        if of(seen, &name).foreign {
            decision.waits.push(Wait::Foreign { cluster: name });
            continue;
        }
        if down.contains(&name) {
            continue;
        }
        let target = rotation.target(step, holding, &before);
        let issue = (target.issuer != holding.issuer).then(|| target.issuer.clone());
        decision.step = Some(step);
        write(ask, (name.as_str(), of(seen, &name)), issue, target, decision);
    }
}

fn admit_newcomers(ask: &Ask, seen: &BTreeMap<String, Seen>, rotation: &Rotation<String>, decision: &mut Decision) {
    let held: Vec<String> = decision.holdings.keys().cloned().collect();
    let newcomers: Vec<&String> = ask.clusters.keys().filter(|name| !held.contains(name)).collect();
    let welcome = rotation.outstanding(Step::Widen, &decision.holdings).is_empty();
    let self_signed: BTreeSet<String> = seen.values().flat_map(|seen| seen.self_signed.iter().cloned()).collect();
    let mut target = rotation.newcomer(&decision.holdings);
    target.trusted.extend(self_signed);
    for name in newcomers {
        let seen = of(seen, name);
        if seen.unreachable {
            decision.waits.push(Wait::Unreachable { step: None, clusters: vec![name.clone()] });
        } else if seen.foreign {
            decision.waits.push(Wait::Foreign { cluster: name.clone() });
        } else if !welcome {
            decision.waits.push(Wait::Joins { cluster: name.clone() });
        } else {
            let mut target = target.clone();
            // A running istiod takes new roots only beside those it has.
            target.trusted.extend(seen.holding.iter().flat_map(|held| held.trusted.iter().cloned()));
            write(ask, (name.as_str(), seen), Some(target.issuer.clone()), target, decision);
        }
    }
}

fn renew(ask: &Ask, seen: &BTreeMap<String, Seen>, decision: &mut Decision) {
    for (name, wish) in &ask.clusters {
        let seen = of(seen, name);
        let Some(holding) = seen.holding.clone() else { continue };
        // An expired root can sign nothing that anybody would take.
        if seen.unreachable
            || seen.expired
            || matches!(decision.actions.get(name), Some(Action::Write { issue: Some(_), .. } | Action::Request))
        {
            continue;
        }
        let answered = wish
            .chain
            .as_ref()
            .is_some_and(|(leaf, root)| Some(leaf) != seen.fingerprint.as_ref() && *root == holding.issuer);
        let asked = seen.generation.is_some_and(|generation| generation != wish.generation);
        if !(answered || asked || seen.due) {
            continue;
        }
        if seen.foreign {
            decision.waits.push(Wait::Foreign { cluster: name.clone() });
            continue;
        }
        let target = decision.holdings.get(name).cloned().unwrap_or_else(|| holding.clone());
        write(ask, (name.as_str(), seen), Some(target.issuer.clone()), target, decision);
    }
}

/// What is taken over is written once as it is: from then on it is ours.
fn take_over(ask: &Ask, seen: &BTreeMap<String, Seen>, decision: &mut Decision) {
    for name in ask.clusters.keys().filter(|name| of(seen, name).take) {
        if let Some(holding) = decision.holdings.get(name) {
            let as_it_is = Action::Write { issue: None, trusted: holding.trusted.clone() };
            decision.actions.entry(name.clone()).or_insert(as_it_is);
        }
    }
}

/// Notes a write, or what stands in for it where nobody can sign here.
fn write(
    ask: &Ask,
    (name, seen): (&str, &Seen),
    issue: Option<String>,
    target: Holding<String>,
    decision: &mut Decision,
) {
    let Holding { issuer, trusted } = &target;
    if let Some(root) = &issue
        && !ask.signers.contains(root)
    {
        let wish = ask.clusters.get(name);
        // What the cluster has already is no answer to a request for another one; nor is anything where nobody has
        // asked.
        let has_key = seen.asked || seen.holding.is_some() || wish.is_some_and(|wish| wish.asked_elsewhere);
        let answered = has_key
            && wish
                .and_then(|wish| wish.chain.as_ref())
                .is_some_and(|(leaf, leads_to)| leads_to == issuer && Some(leaf) != seen.fingerprint.as_ref());
        if !answered {
            decision.waits.push(match ask.external {
                true => Wait::Signature { cluster: name.to_owned() },
                false => Wait::NoSigner { cluster: name.to_owned(), root: root.clone() },
            });
            let asks = ask.external && !wish.is_some_and(|wish| wish.asked_elsewhere);
            if asks && !decision.actions.contains_key(name) {
                decision.actions.insert(name.to_owned(), Action::Request);
            }
            return;
        }
    }
    decision.actions.insert(name.to_owned(), Action::Write { issue, trusted: trusted.clone() });
    decision.holdings.insert(name.to_owned(), target);
}

fn of<'a>(seen: &'a BTreeMap<String, Seen>, name: &str) -> &'a Seen {
    static NOTHING: Seen = Seen {
        holding: None,
        fingerprint: None,
        asked: false,
        generation: None,
        due: false,
        expired: false,
        unreachable: false,
        foreign: false,
        take: false,
        self_signed: BTreeSet::new(),
    };
    seen.get(name).unwrap_or(&NOTHING)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(to: &str, clusters: &[&str]) -> Ask {
        Ask {
            to: to.into(),
            clusters: clusters
                .iter()
                .map(|name| ((*name).to_owned(), Wish { generation: 1, ..Wish::default() }))
                .collect(),
            signers: ["A", "B"].map(str::to_owned).into(),
            external: false,
            pause_over: true,
            begun: None,
        }
    }

    fn holds(text: &str) -> Seen {
        let (issuer, trusted) = text.split_once(':').unwrap();
        let trusted = trusted.chars().map(String::from).collect();
        Seen {
            holding: Some(Holding { issuer: issuer.into(), trusted }),
            fingerprint: Some("leaf".into()),
            generation: Some(1),
            ..Seen::default()
        }
    }

    fn seen<const N: usize>(clusters: [(&str, Seen); N]) -> BTreeMap<String, Seen> {
        clusters.into_iter().map(|(name, seen)| (name.to_owned(), seen)).collect()
    }

    fn issue(root: Option<&str>, trusted: &str) -> Action {
        Action::Write { issue: root.map(str::to_owned), trusted: trusted.chars().map(String::from).collect() }
    }

    fn wish(leaf: &str) -> Wish {
        Wish { generation: 1, chain: Some((leaf.into(), "A".into())), ..Wish::default() }
    }

    #[test]
    fn first_certificates_are_issued_everywhere() {
        let decision = decide(&ask("A", &["east", "west"]), &BTreeMap::new()).unwrap();
        assert_eq!(decision.actions["east"], issue(Some("A"), "A"));
        assert_eq!((decision.actions.len(), decision.after), (2, Phase::Settled));
    }

    #[test]
    fn what_is_well_is_left_alone() {
        let decision = decide(&ask("A", &["east"]), &seen([("east", holds("A:A"))])).unwrap();
        assert!(decision.actions.is_empty() && decision.waits.is_empty());
    }

    #[test]
    fn a_rotation_takes_one_step_per_plan() {
        let mut clusters = seen([("east", holds("A:A")), ("west", holds("A:A"))]);
        let mut phases = Vec::new();
        for _ in 0..4 {
            let decision = decide(&ask("B", &["east", "west"]), &clusters).unwrap();
            phases.push((decision.step, decision.after));
            clusters = decision
                .holdings
                .into_iter()
                .map(|(name, holding)| (name, Seen { holding: Some(holding), generation: Some(1), ..Seen::default() }))
                .collect();
        }
        assert_eq!(
            phases,
            [
                (Some(Step::Widen), Phase::Widened),
                (Some(Step::Switch), Phase::Switched),
                (Some(Step::Narrow), Phase::Settled),
                (None, Phase::Settled)
            ]
        );
    }

    #[test]
    fn a_cluster_that_is_down_stops_what_comes_after_widening() {
        let down = |text| Seen { unreachable: true, ..holds(text) };
        let decision =
            decide(&ask("B", &["east", "west"]), &seen([("east", holds("A:A")), ("west", down("A:A"))])).unwrap();
        assert_eq!(decision.actions.keys().collect::<Vec<_>>(), ["east"]);
        assert_eq!(decision.after, Phase::Widening);
        let decision =
            decide(&ask("B", &["east", "west"]), &seen([("east", holds("A:AB")), ("west", down("A:AB"))])).unwrap();
        assert!(decision.actions.is_empty());
        assert_eq!(decision.waits, [Wait::Unreachable { step: Some(Step::Switch), clusters: vec!["west".into()] }]);
    }

    #[test]
    fn the_pause_is_kept_before_a_step_and_not_within_one() {
        let hasty = Ask { pause_over: false, ..ask("B", &["east", "west"]) };
        let begun = seen([("east", holds("A:AB")), ("west", holds("A:AB"))]);
        assert_eq!(decide(&hasty, &begun).unwrap().waits, [Wait::Pause { step: Step::Switch }]);
        let within = seen([("east", holds("B:AB")), ("west", holds("A:AB"))]);
        let ours = Ask { begun: Some(Step::Switch), ..hasty };
        assert_eq!(decide(&ours, &within).unwrap().actions["west"], issue(Some("B"), "AB"));
    }

    #[test]
    fn a_cluster_that_joins_does_not_end_the_pause_of_the_others() {
        let hasty = |clusters: &[&str]| Ask { pause_over: false, ..ask("B", clusters) };
        let after = |begun, step, clusters: [(&str, Seen); 2]| {
            let names = clusters.each_ref().map(|(name, _)| *name);
            let decision = decide(&Ask { begun, ..hasty(&names) }, &seen(clusters)).unwrap();
            assert_eq!((&decision.actions, &decision.waits[..]), (&BTreeMap::new(), &[Wait::Pause { step }][..]));
        };
        // It was adopted with a root of its own, or it was issued from the next root while the others had just widened.
        after(Some(Step::Widen), Step::Switch, [("east", holds("B:AB")), ("west", holds("A:AB"))]);
        after(None, Step::Switch, [("east", holds("A:AB")), ("new", holds("B:AB"))]);
        // Its istiod signed for itself, and its workloads still show that.
        after(None, Step::Narrow, [("east", holds("B:B")), ("west", holds("B:BS"))]);
    }

    #[test]
    fn a_newcomer_in_the_midst_of_a_rotation_trusts_both() {
        let decision = decide(&ask("B", &["east", "new"]), &seen([("east", holds("A:A"))])).unwrap();
        assert_eq!(decision.actions["east"], issue(None, "AB"));
        assert_eq!(decision.actions["new"], issue(Some("B"), "AB"));
        assert_eq!(decision.after, Phase::Switching);
    }

    #[test]
    fn renewals_and_asked_for_generations_issue_from_the_present_root() {
        let due = Seen { due: true, ..holds("A:A") };
        assert_eq!(
            decide(&ask("A", &["east"]), &seen([("east", due)])).unwrap().actions["east"],
            issue(Some("A"), "A")
        );
        let other = Seen { generation: Some(0), ..holds("A:A") };
        assert_eq!(
            decide(&ask("A", &["east"]), &seen([("east", other)])).unwrap().actions["east"],
            issue(Some("A"), "A")
        );
        let rotating = Seen { due: true, ..holds("A:A") };
        let decision = decide(&ask("B", &["east"]), &seen([("east", rotating)])).unwrap();
        assert_eq!(decision.actions["east"], issue(Some("A"), "AB"));
    }

    #[test]
    fn without_a_key_it_says_so_or_asks_outside() {
        let lost = Ask { signers: BTreeSet::new(), ..ask("A", &["east"]) };
        let decision = decide(&lost, &BTreeMap::new()).unwrap();
        assert_eq!(decision.waits, [Wait::NoSigner { cluster: "east".into(), root: "A".into() }]);
        let external = Ask { external: true, ..lost };
        assert_eq!(decide(&external, &BTreeMap::new()).unwrap().actions["east"], Action::Request);
        let mut answered = external;
        answered.clusters.insert("east".into(), wish("new"));
        let asked = seen([("east", Seen { asked: true, ..Seen::default() })]);
        assert_eq!(decide(&answered, &asked).unwrap().actions["east"], issue(Some("A"), "A"));
        // After a destroy, or where the Secret with the key has gone, the old answer is none.
        assert_eq!(decide(&answered, &BTreeMap::new()).unwrap().actions["east"], Action::Request);
        let held = seen([("east", holds("A:A"))]);
        assert_eq!(decide(&answered, &held).unwrap().actions["east"], issue(Some("A"), "A"));
        // Near its end, the chain that is held is asked for anew, and not taken for the answer.
        let due = || Seen { due: true, ..holds("A:A") };
        let mut old = answered;
        old.clusters.insert("east".into(), wish("leaf"));
        assert_eq!(decide(&old, &seen([("east", due())])).unwrap().actions["east"], Action::Request);
        old.clusters.insert("east".into(), wish("next"));
        assert_eq!(decide(&old, &seen([("east", due())])).unwrap().actions["east"], issue(Some("A"), "A"));
    }

    #[test]
    fn what_another_resource_asks_for_is_waited_for_and_not_asked_for_again() {
        let mut external = Ask { signers: BTreeSet::new(), external: true, ..ask("A", &["east"]) };
        for chain in [None, Some(("leaf".to_owned(), "A".to_owned()))] {
            external.clusters.insert("east".into(), Wish { generation: 1, chain, asked_elsewhere: true });
            let due = Seen { due: true, ..holds("A:A") };
            let decision = decide(&external, &seen([("east", due)])).unwrap();
            assert!(decision.actions.is_empty(), "{:?}", decision.actions);
            assert_eq!(decision.waits, [Wait::Signature { cluster: "east".into() }]);
        }
    }

    #[test]
    fn an_external_rotation_widens_first_and_asks_then() {
        let external = Ask { signers: BTreeSet::new(), external: true, ..ask("B", &["east"]) };
        assert_eq!(decide(&external, &seen([("east", holds("A:A"))])).unwrap().actions["east"], issue(None, "AB"));
        let decision = decide(&external, &seen([("east", holds("A:AB"))])).unwrap();
        assert_eq!((&decision.actions["east"], decision.after), (&Action::Request, Phase::Widened));
    }

    #[test]
    fn self_signed_roots_are_trusted_by_every_newcomer() {
        let own = |root: &str| Seen { self_signed: [root.to_owned()].into(), ..Seen::default() };
        let decision = decide(&ask("B", &["east", "west"]), &seen([("east", own("S")), ("west", own("T"))])).unwrap();
        assert_eq!(decision.actions["east"], issue(Some("B"), "BST"));
        assert_eq!(decision.actions["west"], issue(Some("B"), "BST"));
        assert_eq!(decision.after, Phase::Switched);
        // The pause begins with each that joins so, also where the phase stays.
        let brings = |seen: &BTreeMap<String, Seen>| {
            let names: Vec<&str> = seen.keys().map(String::as_str).collect();
            decide(&Ask { pause_over: false, ..ask("B", &names) }, seen).unwrap().brings_own_roots(seen)
        };
        assert!(brings(&seen([("east", holds("B:AB")), ("west", own("S"))])));
        assert!(!brings(&seen([("east", holds("B:AB")), ("west", Seen::default())])), "it has signed nothing");
        let renewed = Seen { due: true, ..holds("B:BS") };
        assert!(!brings(&seen([("east", holds("B:AB")), ("west", renewed)])), "it is no newcomer");
    }

    #[test]
    fn what_is_taken_over_is_written_once_as_it_is() {
        let theirs = Seen { take: true, ..holds("A:A") };
        let decision = decide(&ask("A", &["east"]), &seen([("east", theirs)])).unwrap();
        assert_eq!((&decision.actions["east"], decision.after), (&issue(None, "A"), Phase::Settled));
    }

    #[test]
    fn an_expired_root_is_left_at_once_and_signs_nothing() {
        let gone = || Seen { expired: true, due: true, ..holds("A:A") };
        let decision = decide(&ask("B", &["east", "west"]), &seen([("east", gone()), ("west", gone())])).unwrap();
        assert_eq!(
            (&decision.actions["east"], &decision.actions["west"]),
            (&issue(Some("B"), "AB"), &issue(Some("B"), "AB"))
        );
        assert_eq!((decision.after, decision.revived.len()), (Phase::Switched, 2));
        let decision = decide(&ask("A", &["east"]), &seen([("east", gone())])).unwrap();
        assert!(decision.actions.is_empty(), "{:?}", decision.actions);
        // A cluster of another root, which is valid, must trust the new one first.
        let decision = decide(&ask("B", &["east", "west"]), &seen([("east", gone()), ("west", holds("C:C"))])).unwrap();
        assert_eq!(decision.actions["west"], issue(None, "BC"));
        assert_eq!(decision.actions["east"], issue(Some("B"), "ABC"));
    }

    #[test]
    fn foreign_secrets_are_not_touched() {
        let foreign = Seen { foreign: true, due: true, ..holds("A:A") };
        let decision = decide(&ask("B", &["east"]), &seen([("east", foreign)])).unwrap();
        assert!(decision.actions.is_empty());
        assert!(decision.waits.contains(&Wait::Foreign { cluster: "east".into() }));
    }
}
