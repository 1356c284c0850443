use super::super::fixtures::{self, NOW};
use super::super::memory;
use super::super::model::{Intermediate, Root, Store};
use super::super::secret::CaCerts;
use super::*;
use crate::mesh::Phase;
use crate::pki::Certificate;
use time::Duration;

/// A CA of two clusters whose root is generated, as it is after its creation.
pub(super) fn settled(root: &fixtures::Ca, generation: i64) -> Ca {
    let mut model = configured(generation);
    report::root(&mut model, &root.certificate);
    let held = fixtures::cacerts(root, 730);
    let clusters = model.clusters.known_mut().unwrap();
    for cluster in clusters.values_mut().filter_map(Value::known_mut) {
        report::certificates(cluster, &held);
        cluster.state = state::READY.into();
    }
    model.root_certificates = root.certificate.to_pem().into();
    report::phase(&mut model, Phase::Settled, None, NOW - Duration::days(10));
    model
}

pub(super) fn configured(generation: i64) -> Ca {
    let cluster = ClusterCa { namespace: "istio-system".into(), generation: 1.into(), ..ClusterCa::default() };
    let root = Root {
        store: Value::Known(Store {
            cluster: "east".into(),
            namespace: "mesh-root-ca".into(),
            name: "r".into(),
            ..Store::default()
        }),
        ..root_defaults(generation)
    };
    Ca {
        id: "east/mesh-root-ca/r".into(),
        root: Value::Known(root),
        clusters: Value::Known(["east", "west"].map(|name| (name.to_owned(), Value::Known(cluster.clone()))).into()),
        rotation_pause: "24h".into(),
        adopt: false.into(),
        migrate_self_signed: false.into(),
        ..Ca::default()
    }
}

pub(super) fn root_defaults(generation: i64) -> Root {
    Root {
        generation: generation.into(),
        algorithm: "ECDSA-P256".into(),
        validity: "3650d".into(),
        organization: "Istio".into(),
        common_name: "Root CA".into(),
        ..Root::default()
    }
}

pub(super) struct Outcome {
    pub(super) planned: Ca,
    pub(super) words: Vec<String>,
}

/// Plans `config` on `prior` at a time, with the roots in the store by generation.
pub(super) fn plan_at(
    now: OffsetDateTime,
    prior: &Ca,
    config: Ca,
    stored: &[(i64, &Certificate)],
) -> Result<Outcome, Diagnostics> {
    plan_with(&Private { observed_at: Some(now.unix_timestamp()), ..memory(prior, stored) }, prior, config)
}

/// What is remembered beside a state and its store.
pub(super) fn memory(prior: &Ca, stored: &[(i64, &Certificate)]) -> Private {
    let roots = stored.iter().map(|(number, root)| (*number, root.fingerprint().to_string())).collect();
    let mut memory = Private { observed_at: Some(NOW.unix_timestamp()), roots, ..Private::default() };
    memory.recollect(prior);
    memory
}

pub(super) fn plan_with(memory: &Private, prior: &Ca, config: Ca) -> Result<Outcome, Diagnostics> {
    let spec = Spec::parse(&config).unwrap().unwrap();
    let inputs = Inputs { spec: &spec, prior: Some(prior), memory, has_key: false };
    let mut planned = config;
    let words = settle(&inputs, &mut planned)?;
    Ok(Outcome { planned, words: words.iter().map(ToString::to_string).collect() })
}

pub(super) fn cluster<'a>(model: &'a Ca, name: &str) -> &'a ClusterCa {
    model.clusters.entry(name).unwrap()
}

#[test]
fn nothing_due_is_an_empty_plan_at_any_later_refresh() {
    let root = fixtures::root();
    let prior = settled(&root, 1);
    for days in [0, 100, 549] {
        let outcome = plan_at(NOW + Duration::days(days), &prior, prior.clone(), &[(1, &root.certificate)]).unwrap();
        assert_eq!(outcome.planned, prior);
        assert_eq!(outcome.words, [""; 0]);
    }
}

#[test]
fn new_defaults_re_issue_nothing() {
    let root = fixtures::root();
    let prior = settled(&root, 1);
    let mut config = prior.clone();
    let changed = config.root.known_mut().unwrap();
    (changed.algorithm, changed.validity, changed.common_name) = ("RSA-4096".into(), "10d".into(), "Other".into());
    config.intermediate = Value::Known(Intermediate {
        algorithm: "RSA-4096".into(),
        validity: "300d".into(),
        renew_before: "20d".into(),
    });
    let outcome = plan_at(NOW, &prior, config.clone(), &[(1, &root.certificate)]).unwrap();
    assert_eq!(outcome.planned, config);
}

#[test]
fn a_certificate_in_its_window_is_renewed_and_the_root_is_not() {
    let root = fixtures::root();
    let prior = settled(&root, 1);
    let outcome = plan_at(NOW + Duration::days(551), &prior, prior.clone(), &[(1, &root.certificate)]).unwrap();
    for name in ["east", "west"] {
        let planned = cluster(&outcome.planned, name);
        assert!(planned.fingerprint.is_unknown() && planned.not_after.is_unknown());
        assert_eq!(
            (&planned.issuer, &planned.trusted),
            (&cluster(&prior, name).issuer, &cluster(&prior, name).trusted)
        );
    }
    assert_eq!(outcome.planned.root_fingerprint, prior.root_fingerprint);
    assert_eq!(outcome.planned.phase, prior.phase);
}

/// The plan says "ready"; the window is reached while it waits to be applied, or while it is.
#[test]
fn what_becomes_due_after_the_plan_is_left_to_the_next() {
    let root = fixtures::root();
    let prior = settled(&root, 1);
    let (before, after) = (NOW + Duration::days(549), NOW + Duration::days(551));
    let memory = memory(&prior, &[(1, &root.certificate)]);
    let spec = Spec::parse(&prior).unwrap().unwrap();
    let inputs = Inputs { spec: &spec, prior: Some(&prior), memory: &memory, has_key: false };
    let at_apply = |planned: &Ca| {
        let mut seen = remembered(&inputs, &prior, Some(after));
        hold_to(planned, &mut seen);
        decide(&ask(&inputs, &prior), &seen).unwrap().actions
    };
    let kept = plan_at(before, &prior, prior.clone(), &[(1, &root.certificate)]).unwrap().planned;
    assert_eq!(at_apply(&kept), BTreeMap::new());
    let renewed = plan_at(after, &prior, prior.clone(), &[(1, &root.certificate)]).unwrap().planned;
    assert_eq!(at_apply(&renewed).len(), 2, "what was planned is done");

    for (planned, told) in [("ready".into(), "ready"), (Value::Unknown, state::RENEWAL_DUE)] {
        let mut model = ClusterCa { state: state::RENEWAL_DUE.into(), ..ClusterCa::default() };
        report::keep_state(&mut model, planned);
        assert_eq!(model.state.as_deref(), Some(told));
    }
}

/// The clock of the machine that plans is a million seconds ahead, or a thousand times that: nothing is renewed before
/// its window, all is renewed at once within it, and beyond the root's own end there is nothing left to renew with.
#[test]
fn a_leap_of_the_clock_is_a_renewal_and_an_ending_root_a_warning() {
    let root = fixtures::root();
    let prior = settled(&root, 1);
    let leap = |from: OffsetDateTime, seconds: i64| {
        plan_at(from + Duration::seconds(seconds), &prior, prior.clone(), &[(1, &root.certificate)]).unwrap()
    };
    assert_eq!(leap(NOW, 1_000_000).planned, prior, "eleven days are far from the window");
    let window = NOW + Duration::days(550);
    assert_eq!(leap(window, -1_000_000).planned, prior);
    let renewed = leap(window - Duration::days(11), 1_000_000);
    assert!(["east", "west"].iter().all(|name| cluster(&renewed.planned, name).fingerprint.is_unknown()));
    assert_eq!((&renewed.planned.root_fingerprint, &renewed.words), (&prior.root_fingerprint, &vec![]));
    assert!(cluster(&leap(NOW, 100_000_000).planned, "east").fingerprint.is_unknown());
    let near = leap(NOW, 300_000_000).words;
    assert!(
        near[0].starts_with("The root is near its end (root.generation): The root is valid until 2036-11-20"),
        "{near:?}"
    );
    let expired = leap(NOW, 1_000_000_000);
    assert!(
        expired.words[0].starts_with("The root has expired (root.generation): The root was valid until 2036-11-20"),
        "{:?}",
        expired.words
    );
    assert_eq!(expired.planned, prior, "what cannot be renewed is not planned to be");
}

/// No rotation could be proved with certificates that nobody takes, and none has to be: there is nothing left to
/// interrupt.
#[test]
fn an_expired_root_is_replaced_at_once() {
    let (old, new) = (fixtures::root_until(NOW + Duration::days(100)), fixtures::root());
    let prior = settled(&old, 1);
    let mut config = prior.clone();
    config.root.known_mut().unwrap().generation = 2.into();
    let stored = [(1, &old.certificate), (2, &new.certificate)];
    let outcome = plan_at(NOW + Duration::days(101), &prior, config, &stored).unwrap();
    assert_eq!(outcome.planned.phase.as_deref(), Some("issuers-switched"));
    for name in ["east", "west"] {
        let planned = cluster(&outcome.planned, name);
        assert_eq!(planned.issuer.as_deref(), Some(new.certificate.fingerprint().to_string().as_str()));
        assert_eq!(planned.trusted.items().count(), 2);
        let told = format!("The root of a cluster has expired (clusters[\"{name}\"])");
        assert!(outcome.words.iter().any(|word| word.starts_with(&told)), "{:?}", outcome.words);
    }
}

/// What an apply that was killed at its very end leaves for the next one.
#[test]
fn a_key_that_was_left_is_removed_by_a_plan_that_says_so() {
    let (old, new) = (fixtures::root(), fixtures::root());
    let mut prior = settled(&new, 2);
    report::phase(&mut prior, Phase::Narrowing, None, NOW);
    let outcome = plan_at(NOW, &prior, prior.clone(), &[(1, &old.certificate), (2, &new.certificate)]).unwrap();
    assert_eq!(outcome.planned.phase.as_deref(), Some("settled"));
    assert!(outcome.words[0].starts_with("The key of an old root is still kept"), "{:?}", outcome.words);
    assert_eq!(outcome.planned.clusters, prior.clusters);
}

#[test]
fn an_intermediate_that_lives_as_long_as_its_root_is_not_made_again_and_again() {
    let root = fixtures::root_until(NOW + Duration::days(100));
    let prior = settled(&root, 1);
    let outcome = plan_at(NOW + Duration::days(50), &prior, prior.clone(), &[(1, &root.certificate)]).unwrap();
    assert_eq!(outcome.planned, prior);
    assert!(outcome.words[0].starts_with("The root is near its end"), "{:?}", outcome.words);
}

#[test]
fn a_plan_made_again_is_the_same() {
    let root = fixtures::root();
    let prior = settled(&root, 1);
    let plan = || plan_at(NOW + Duration::days(600), &prior, prior.clone(), &[(1, &root.certificate)]).unwrap().planned;
    assert_eq!(plan(), plan());
}

#[test]
fn a_higher_generation_begins_a_rotation_and_says_so() {
    let root = fixtures::root();
    let prior = settled(&root, 1);
    let mut config = prior.clone();
    config.root.known_mut().unwrap().generation = 2.into();
    let outcome = plan_at(NOW, &prior, config, &[(1, &root.certificate)]).unwrap();
    let planned = &outcome.planned;
    assert_eq!(planned.phase.as_deref(), Some("trust-widened"));
    assert!(planned.root_fingerprint.is_unknown() && planned.root_certificates.is_unknown());
    let east = cluster(planned, "east");
    assert!(east.trusted.is_unknown());
    assert_eq!(
        (&east.fingerprint, &east.issuer),
        (&cluster(&prior, "east").fingerprint, &cluster(&prior, "east").issuer)
    );
    assert!(
        outcome.words[0].starts_with(
            "Rotation of the root, step 1 of 3: widen trust: The clusters east, west will trust a new root"
        )
    );
}

/// After the first step of a rotation from `old` to `new`.
fn widened(old: &fixtures::Ca, new: &fixtures::Ca, since: OffsetDateTime) -> Ca {
    let mut model = settled(old, 2);
    report::root(&mut model, &new.certificate);
    let trusted = [old, new].map(|root| root.certificate.fingerprint().to_string()).into();
    for cluster in model.clusters.known_mut().unwrap().values_mut().filter_map(Value::known_mut) {
        cluster.trusted = report::trusted_value(&trusted);
    }
    report::phase(&mut model, Phase::Widened, None, since);
    model
}

#[test]
fn the_next_step_waits_for_the_pause_and_then_comes_by_itself() {
    let (old, new) = (fixtures::root(), fixtures::root());
    let prior = widened(&old, &new, NOW);
    let stored = [(1, &old.certificate), (2, &new.certificate)];
    let early = plan_at(NOW + Duration::hours(23), &prior, prior.clone(), &stored).unwrap();
    assert_eq!(early.planned, prior);
    assert!(early.words[0].starts_with("Rotation of the root: step 2 waits"), "{:?}", early.words);
    // A pause beyond the end of the calendar holds the rotation.
    let held = Ca { rotation_pause: "9999999d".to_owned().into(), ..prior.clone() };
    let outcome = plan_at(NOW + Duration::days(2), &held, held.clone(), &stored).unwrap();
    assert_eq!(outcome.planned, held);
    assert!(outcome.words[0].contains("Plan again after the year 9999"), "{:?}", outcome.words);
    let later = plan_at(NOW + Duration::hours(24), &prior, prior.clone(), &stored).unwrap();
    assert_eq!(later.planned.phase.as_deref(), Some("issuers-switched"));
    let east = cluster(&later.planned, "east");
    assert_eq!(east.issuer.as_deref(), Some(new.certificate.fingerprint().to_string().as_str()));
    assert_eq!(east.trusted, cluster(&prior, "east").trusted);
    assert!(east.fingerprint.is_unknown());
}

#[test]
fn a_cluster_down_in_phase_one_stops_phase_two_and_is_named() {
    let (old, new) = (fixtures::root(), fixtures::root());
    let mut prior = widened(&old, &new, NOW - Duration::days(2));
    let clusters = prior.clusters.known_mut().unwrap();
    clusters.get_mut("west").unwrap().known_mut().unwrap().state = state::UNREACHABLE.into();
    let outcome = plan_at(NOW, &prior, prior.clone(), &[(1, &old.certificate), (2, &new.certificate)]).unwrap();
    assert_eq!(outcome.planned, prior);
    assert!(
        outcome.words[0].starts_with("A cluster is down (clusters[\"west\"]): No answer from west. Step 2"),
        "{:?}",
        outcome.words
    );
}

#[test]
fn a_rotation_is_turned_back_by_the_old_generation() {
    let (old, new) = (fixtures::root(), fixtures::root());
    let prior = widened(&old, &new, NOW);
    let mut config = prior.clone();
    config.root.known_mut().unwrap().generation = 1.into();
    let outcome =
        plan_at(NOW + Duration::days(2), &prior, config, &[(1, &old.certificate), (2, &new.certificate)]).unwrap();
    assert_eq!(outcome.planned.phase.as_deref(), Some("settled"));
    assert!(outcome.words[0].starts_with("Rotation of the root, step 3 of 3: narrow trust"), "{:?}", outcome.words);
}

#[test]
fn a_cluster_more_or_less_touches_no_other() {
    let root = fixtures::root();
    let prior = settled(&root, 1);
    let mut config = prior.clone();
    let clusters = config.clusters.known_mut().unwrap();
    clusters.remove("west");
    let north = ClusterCa { namespace: "istio-system".into(), generation: 1.into(), ..ClusterCa::default() };
    clusters.insert("north".into(), Value::Known(north));
    let outcome = plan_at(NOW, &prior, config, &[(1, &root.certificate)]).unwrap();
    assert_eq!(cluster(&outcome.planned, "east"), cluster(&prior, "east"));
    assert!(cluster(&outcome.planned, "north").fingerprint.is_unknown());
    assert_eq!(outcome.planned.phase, prior.phase);
}

#[test]
fn moves_are_refused() {
    let root = fixtures::root();
    let prior = settled(&root, 1);
    let refused = |config: Ca| {
        plan_at(NOW, &prior, config, &[(1, &root.certificate)]).err().unwrap().iter().next().unwrap().to_string()
    };
    let mut moved = prior.clone();
    moved.root.known_mut().unwrap().store.known_mut().unwrap().cluster = "west".into();
    assert!(refused(moved).starts_with("The root's store cannot move (root.store)"));
    let mut moved = prior.clone();
    moved.clusters.known_mut().unwrap().get_mut("east").unwrap().known_mut().unwrap().namespace = "mesh".into();
    assert!(refused(moved).starts_with("A system namespace cannot change (clusters[\"east\"].namespace)"));
}

#[test]
fn outside_signatures_are_asked_for_and_taken() {
    let root = fixtures::root();
    let mut config = configured(1);
    config.root = Value::Known(Root { certificate: root.certificate.to_pem().into(), ..root_defaults(1) });
    let mut prior = config.clone();
    report::root(&mut prior, &root.certificate);
    let asked = plan_at(NOW, &prior, config.clone(), &[]).unwrap();
    assert!(cluster(&asked.planned, "east").certificate_request.is_unknown());
    assert!(
        asked.words[0].starts_with("A signature is needed (clusters[\"east\"].certificate_chain)"),
        "{:?}",
        asked.words
    );
    let mut open = prior.clone();
    for cluster in open.clusters.known_mut().unwrap().values_mut().filter_map(Value::known_mut) {
        cluster.certificate_request = "-----BEGIN".into();
    }
    let again = plan_at(NOW, &open, open.clone(), &[]).unwrap();
    assert_eq!(again.planned.clusters, open.clusters, "an open request is not asked for again");
    let CaCerts { chain, .. } = fixtures::cacerts(&root, 365);
    let answer = chain[0].to_pem();
    config.clusters.known_mut().unwrap().get_mut("east").unwrap().known_mut().unwrap().certificate_chain =
        answer.into();
    let answered = plan_at(NOW, &open, config.clone(), &[]).unwrap();
    let east = cluster(&answered.planned, "east");
    assert!(east.fingerprint.is_unknown());
    assert_eq!(east.certificate_request, Value::Null);
}

/// One cluster holds a root that nobody decided on, under our label or not: nothing of it gets to another cluster,
/// whatever the plan is about.
#[test]
fn a_root_that_was_found_is_somebody_else_s() {
    let (root, evil) = (fixtures::root(), fixtures::root());
    let before = settled(&root, 1);
    for (state, adopt) in [("ready", false), ("foreign", false), ("foreign", true)] {
        for generation in [1, 2] {
            let mut memory = memory(&before, &[(1, &root.certificate)]);
            let managers = vec!["kubectl-patch".to_owned()];
            let evil_print = evil.certificate.fingerprint().to_string();
            let roots = [(evil_print.clone(), "O=Evil, CN=X".to_owned())].into();
            memory.strange.insert("west".into(), memory::Strange { roots, managers });
            let mut prior = before.clone();
            let west = prior.clusters.known_mut().unwrap().get_mut("west").unwrap().known_mut().unwrap();
            report::certificates(west, &fixtures::cacerts(&evil, 700));
            west.state = state.into();
            let mut config = configured(generation);
            config.adopt = adopt.into();
            let refused = plan_with(&memory, &prior, config.clone()).err().expect("it is refused").to_string();
            for told in ["clusters[\"west\"]", "O=Evil, CN=X", evil_print.as_str(), "kubectl-patch", "accept_roots"] {
                assert!(refused.contains(told), "{told:?} is missing: {refused}");
            }
            config.accept_roots = Value::Known([Value::Known(evil_print.to_uppercase())].into_iter().collect());
            assert!(plan_with(&memory, &prior, config).is_ok());
        }
    }
}

/// What is written once and replaced is not what `adopt` was given for; what was never written is.
#[test]
fn adopting_speaks_of_clusters_that_join() {
    let (root, theirs) = (fixtures::root(), fixtures::root());
    let mut prior = settled(&root, 1);
    let mut memory = memory(&prior, &[(1, &root.certificate)]);
    memory.written.remove("west");
    let west = prior.clusters.known_mut().unwrap().get_mut("west").unwrap().known_mut().unwrap();
    report::certificates(west, &fixtures::cacerts(&theirs, 700));
    west.state = state::FOREIGN.into();
    let mut config = configured(1);
    config.adopt = true.into();
    assert!(plan_with(&memory, &prior, config).is_ok());
}

#[test]
fn no_root_is_made_under_an_old_number() {
    let (first, second) = (fixtures::root(), fixtures::root());
    let prior = settled(&second, 2);
    // Generation 1 was given up; an old backup of the store brought it back, and the key of the present one is gone.
    for stored in [vec![], vec![(2, &second.certificate)], vec![(1, &first.certificate)]] {
        let memory = memory(&prior, &stored);
        let outcome = plan_with(&memory, &prior, configured(2)).unwrap();
        assert_eq!(outcome.planned.root_fingerprint, prior.root_fingerprint, "the root stays");
        assert!(plan_with(&memory, &prior, configured(3)).unwrap().planned.root_fingerprint.is_unknown());
        let back = plan_with(&memory, &prior, configured(1));
        match stored.iter().any(|(number, _)| *number == 1) {
            true => assert!(back.is_ok()),
            false => {
                let refused = back.err().expect("it is refused").to_string();
                assert!(refused.contains("root.generation") && refused.contains("generation = 3"), "{refused}");
            }
        }
    }
}

#[test]
fn what_is_asked_of_a_lost_key_is_refused_and_what_is_not_goes_on() {
    let root = fixtures::root();
    let prior = settled(&root, 1);
    let memory = memory(&prior, &[]);
    let mut config = prior.clone();
    let west = config.clusters.known_mut().unwrap().get_mut("west").unwrap().known_mut().unwrap();
    west.generation = 2.into();
    let refused = plan_with(&memory, &prior, config).err().expect("it is refused").to_string();
    assert!(
        refused.contains("The root's key is lost") && refused.contains("clusters[\"west\"].generation"),
        "{refused}"
    );
    assert_eq!(plan_with(&memory, &prior, prior.clone()).unwrap().planned, prior);
}

#[test]
fn a_store_that_was_tampered_with_is_an_error_whatever_is_planned() {
    let root = fixtures::root();
    let prior = settled(&root, 1);
    let mut memory = memory(&prior, &[(1, &root.certificate)]);
    memory.damage = Some("its root of generation 1 is another".into());
    for generation in [1, 2] {
        let refused = plan_with(&memory, &prior, configured(generation)).err().expect("it is refused").to_string();
        assert!(refused.contains("root.store") && refused.contains("its root of generation 1 is another"), "{refused}");
    }
}

/// What the provider before this one remembered: the fingerprints in the store, and nothing of what was accepted.
#[test]
fn a_memory_of_before_takes_what_state_says_for_granted() {
    let (old, new) = (fixtures::root(), fixtures::root());
    let mut state = settled(&old, 1);
    let both = Bundle::from_iter([old.certificate.clone(), new.certificate.clone()]);
    let west = state.clusters.known_mut().unwrap().get_mut("west").unwrap().known_mut().unwrap();
    report::certificates(west, &CaCerts { roots: both, ..fixtures::cacerts(&old, 700) });
    let before = r#"{"observed_at":1,"roots":{"1":"x"}}"#;
    let mut memory: Private = serde_json::from_str(before).unwrap();
    memory.recollect(&state);
    let accepted = memory.accepted.clone().unwrap();
    assert!([&old, &new].iter().all(|root| accepted.contains(&root.certificate.fingerprint().to_string())));
    assert_eq!(memory.written.iter().collect::<Vec<_>>(), ["east", "west"]);
    assert_eq!(memory.made[&1], "x");
    // Once is enough: what later refreshes find is not taken for granted.
    memory.accepted = Some([].into());
    memory.recollect(&state);
    assert_eq!(memory.accepted, Some([].into()));
}

#[test]
fn a_store_is_compared_with_what_was_made() {
    let (root, other) = (fixtures::root(), fixtures::root());
    let stored = |certificate: &Certificate, key: &crate::pki::PrivateKey| {
        let key = crate::pki::PrivateKey::from_pem(&key.to_pem()).unwrap();
        super::super::secret::StoredRoot { certificate: certificate.clone(), key }
    };
    let store = |roots: Vec<(i64, super::super::secret::StoredRoot)>| {
        super::super::secret::RootStore(roots.into_iter().collect())
    };
    let memory = memory(&settled(&root, 1), &[(1, &root.certificate)]);
    let own: BTreeSet<String> = ["root-1.crt", "root-1.key", "root-2.crt", "root-2.key"].map(str::to_owned).into();
    let judge = |roots, own: &BTreeSet<String>| memory.judge(&store(roots), own).err().unwrap_or_default();
    assert_eq!(judge(vec![(1, stored(&root.certificate, &root.key))], &own), "");
    let swapped = judge(vec![(1, stored(&other.certificate, &other.key))], &own);
    assert!(swapped.contains("not the one that was made"), "{swapped}");
    let unfit = judge(vec![(1, stored(&root.certificate, &other.key))], &own);
    assert!(unfit.contains("does not belong to the certificate"), "{unfit}");
    // One that an apply which was cut off has made, and one that somebody planted for the next rotation.
    let both = || vec![(1, stored(&root.certificate, &root.key)), (2, stored(&other.certificate, &other.key))];
    assert_eq!(judge(both(), &own), "");
    let planted = judge(both(), &["root-1.crt".to_owned(), "root-1.key".to_owned()].into());
    assert!(planted.contains("generation 2") && planted.contains("not written by this provider"), "{planted}");
}

/// What an import found of others.
fn found() -> Ca {
    let mut found = settled(&fixtures::root(), 1);
    for cluster in found.clusters.known_mut().unwrap().values_mut().filter_map(Value::known_mut) {
        cluster.state = state::FOREIGN.into();
    }
    found
}

/// The configuration that says so, with nothing in it that is not the user's to say.
fn said_of(found: &Ca) -> Ca {
    let mut said = found.clone();
    open_everything(&mut said);
    said
}

#[test]
fn what_others_made_stays_as_found_until_it_is_asked_for_or_something_else_is_wanted() {
    let found = found();
    assert_eq!(as_found(&said_of(&found), &found).as_ref(), Some(&found));
    let word = report::as_found(&found);
    assert!(word.detail.contains("east, west") && word.detail.contains("`adopt = true`"), "{word:?}");
    let asked = Ca { adopt: true.into(), ..said_of(&found) };
    assert_eq!(as_found(&asked, &found), None);
    let changed = Ca { rotation_pause: "1h".into(), ..said_of(&found) };
    assert_eq!(as_found(&changed, &found), None);
    let mut fewer = said_of(&found);
    fewer.clusters.known_mut().unwrap().remove("west");
    assert_eq!(as_found(&fewer, &found), None);
    let ours = settled(&fixtures::root(), 1);
    assert_eq!(as_found(&said_of(&ours), &ours), None, "ours is renewed when it is due");
}

#[test]
fn a_key_in_the_store_signs_nothing_for_a_root_that_was_brought() {
    let (old, new) = (fixtures::root(), fixtures::root());
    let prior = settled(&old, 1);
    let memory = memory(&prior, &[(1, &old.certificate)]);
    let brought = Root { certificate: new.certificate.to_pem().into(), store: Value::Null, ..root_defaults(1) };
    let config = Ca { root: Value::Known(brought), ..configured(1) };
    let spec = Spec::parse(&config).unwrap().unwrap();
    let signers = |has_key| ask(&Inputs { spec: &spec, prior: Some(&prior), memory: &memory, has_key }, &prior).signers;
    assert_eq!(signers(false), BTreeSet::new(), "the apply reads no store");
    assert_eq!(signers(true), [new.certificate.fingerprint().to_string()].into());
    assert_eq!(memory.generation(1, Some(&prior)), memory::Generation::Kept, "the root is turned back to");
}

#[test]
fn a_step_goes_on_if_this_resource_has_begun_it() {
    let root = fixtures::root();
    let (in_phase, mut memory) =
        (|phase: Phase| Ca { phase: phase.as_str().into(), ..settled(&root, 1) }, Private::default());
    for (was, now, over, begun) in [
        (Phase::Widened, Phase::Switching, false, None),
        (Phase::Switching, Phase::Switching, true, None),
        (Phase::Settled, Phase::Switching, true, None),
        (Phase::Widened, Phase::Switching, true, Some(Step::Switch)),
        (Phase::Switched, Phase::Narrowing, true, Some(Step::Narrow)),
        (Phase::Narrowing, Phase::Narrowing, false, Some(Step::Narrow)),
    ] {
        memory.notice_killed(&in_phase(was), now, over);
        assert_eq!(memory.begun, begun, "{was} to {now}");
    }
    let applied = |step, before, after| {
        let (actions, holdings) = (BTreeMap::new(), BTreeMap::new());
        Decision { actions, step, before, after, waits: Vec::new(), revived: Vec::new(), holdings }
    };
    for (decision, begun) in [
        (applied(Some(Step::Switch), Phase::Widened, Phase::Switching), Some(Step::Switch)),
        (applied(None, Phase::Switching, Phase::Switching), Some(Step::Switch)),
        (applied(Some(Step::Widen), Phase::Settled, Phase::Switching), Some(Step::Widen)),
        (applied(None, Phase::Widened, Phase::Switching), None),
    ] {
        memory.begin(&decision);
        assert_eq!(memory.begun, begun, "{decision:?}");
    }
}
