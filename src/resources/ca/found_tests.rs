//! Plans by what others brought, put back or took away.

use std::collections::BTreeSet;

use super::super::fixtures::{self, NOW};
use super::super::memory::Past;
use super::super::secret::{RootStore, StoredRoot};
use super::tests::{cluster, configured, memory, plan_with, settled};
use super::*;
use crate::pki::PrivateKey;
use time::Duration;

fn with_north(mut config: Ca, adopt: bool, migrate: bool) -> Ca {
    let north = ClusterCa { namespace: "istio-system".into(), generation: 1.into(), ..ClusterCa::default() };
    config.clusters.known_mut().unwrap().insert("north".into(), Value::Known(north));
    (config.adopt, config.migrate_self_signed) = (adopt.into(), migrate.into());
    config
}

/// What a newcomer holds is seen at the apply: nothing is promised that depends on it, and all else is.
#[test]
fn a_cluster_that_may_bring_a_root_leaves_open_what_depends_on_it() {
    let root = fixtures::root();
    let prior = settled(&root, 1);
    let memory = memory(&prior, &[(1, &root.certificate)]);
    for (adopt, migrate) in [(false, false), (true, false), (false, true)] {
        let outcome = plan_with(&memory, &prior, with_north(configured(1), adopt, migrate)).unwrap();
        let (planned, open) = (&outcome.planned, adopt || migrate);
        for (name, value) in [("phase", &planned.phase), ("since", &planned.phase_since)] {
            assert_eq!(value.is_unknown(), open, "{name}: {adopt} {migrate}");
        }
        assert!(planned.root_certificates.is_unknown());
        let (east, north) = (cluster(planned, "east"), cluster(planned, "north"));
        assert_eq!((east.trusted.is_unknown(), north.issuer.is_unknown()), (open, open));
        assert_eq!(east.fingerprint, cluster(&prior, "east").fingerprint, "it keeps what it has");
        assert_eq!(planned.root_fingerprint, prior.root_fingerprint);
        let told = outcome.words.iter().any(|word| word.starts_with("A cluster joins with what it has (clusters)"));
        assert_eq!(told, open, "{:?}", outcome.words);
    }

    // One that was there before and waits for nothing: `adopt` that stays makes no plan.
    let mut config = prior.clone();
    config.adopt = true.into();
    let mut before = prior.clone();
    before.adopt = true.into();
    let outcome = plan_with(&memory, &before, config).unwrap();
    assert_eq!((outcome.planned, outcome.words), (before, vec![]));

    // Its `cacerts` is gone, and its istiod may have made a root for itself meanwhile.
    let mut lost = prior.clone();
    let west = lost.clusters.known_mut().unwrap().get_mut("west").unwrap().known_mut().unwrap();
    report::nothing(west, state::MISSING);
    for migrate in [false, true] {
        let config = Ca { migrate_self_signed: migrate.into(), ..configured(1) };
        let outcome = plan_with(&memory, &lost, config).unwrap();
        assert_eq!(cluster(&outcome.planned, "east").trusted.is_unknown(), migrate);
    }
}

#[test]
fn a_root_that_the_store_has_left_behind_is_over_whatever_state_says() {
    let (first, second) = (fixtures::root(), fixtures::root());
    let prior = settled(&first, 1);
    let rolled_back = memory(&prior, &[(2, &second.certificate)]);
    assert_eq!(rolled_back.generation(1, Some(&prior)), Generation::Over(Past { next: 3, kept: Some(2) }));
    let refused = plan_with(&rolled_back, &prior, configured(1)).err().expect("it is refused").to_string();
    assert!(refused.contains("`generation = 2`") && refused.contains("`generation = 3`"), "{refused}");
    assert_eq!(memory(&prior, &[]).generation(1, Some(&prior)), Generation::Lost, "nothing came after it");
}

/// Whoever may write the store may write it under any name.
#[test]
fn a_root_counts_where_it_is_remembered_or_given_to_a_cluster() {
    let (first, second) = (fixtures::root(), fixtures::root());
    let memory = memory(&settled(&first, 1), &[(1, &first.certificate)]);
    let store = || {
        let stored = |ca: &fixtures::Ca| StoredRoot {
            certificate: ca.certificate.clone(),
            key: PrivateKey::from_pem(&ca.key.to_pem()).unwrap(),
        };
        RootStore([(1, stored(&first)), (2, stored(&second))].into())
    };
    let of = |held: &[&str]| {
        let held: BTreeSet<String> = held.iter().map(|root| (*root).to_owned()).collect();
        memory.believed(store(), &held).0.into_keys().collect::<Vec<_>>()
    };
    assert_eq!(of(&[]), [1], "of an apply that gave it to nobody, or of somebody else");
    assert_eq!(of(&[&second.certificate.fingerprint().to_string()]), [1, 2], "of an apply that was cut off");
}

#[test]
fn an_intermediate_is_exchanged_unless_an_apply_that_was_cut_off_wrote_it() {
    let root = fixtures::root();
    let state = settled(&root, 1);
    let mut memory = memory(&state, &[(1, &root.certificate)]);
    let present = cluster(&state, "west").fingerprint.text().to_owned();
    assert_eq!(memory.issued["west"], [present.as_str()], "a state of before: what it says");
    let next = |name: &str, fingerprint: &str| (name.to_owned(), fingerprint.to_owned());
    let nothing = BTreeSet::new();
    memory.settle(&state, &nothing, [next("west", "second"), next("east", "other")].into_iter());
    for (found, wrote, exchanged) in [
        ("second", true, false),
        ("second", false, false),
        (&*present, true, true),
        (&*present, false, true),
        ("other", true, true),
        ("third", true, false),
        ("third", false, true),
    ] {
        assert_eq!(memory.is_exchanged("west", found, wrote), exchanged, "{found} {wrote}");
    }
    assert!(!memory.is_exchanged("north", "third", false), "nothing is known of it");
    memory.settle(&state, &nothing, [next("west", &present)].into_iter());
    assert!(!memory.is_exchanged("west", &present, false) && memory.is_exchanged("west", "second", true));
}

/// A `cacerts` of the same root that somebody put in the place of ours: `adopt` was given for what was there at first.
/// After an import, or under another name of its cluster, no apply has written what is there and well.
#[test]
fn what_an_import_found_well_is_remembered_as_written() {
    let root = fixtures::root();
    let mut memory = Private { accepted: Some(BTreeSet::new()), ..Private::default() };
    memory.recollect(&settled(&root, 1));
    assert!(memory.is_exchanged("west", "other", false));
    let adopting = Ca { adopt: true.into(), ..configured(1) };
    assert!(!memory.adopts(&Spec::parse(&adopting).unwrap().unwrap(), "west"));
}

#[test]
fn what_was_written_once_is_not_taken_over_again() {
    let root = fixtures::root();
    let mut prior = settled(&root, 1);
    prior.adopt = true.into();
    let mut memory = memory(&prior, &[(1, &root.certificate)]);
    let west = prior.clusters.known_mut().unwrap().get_mut("west").unwrap().known_mut().unwrap();
    west.state = state::FOREIGN.into();
    assert_eq!(plan_with(&memory, &prior, prior.clone()).unwrap().planned, prior);
    let mut asked = prior.clone();
    let west = asked.clusters.known_mut().unwrap().get_mut("west").unwrap().known_mut().unwrap();
    west.generation = 2.into();
    let words = plan_with(&memory, &prior, asked).unwrap().words;
    assert!(
        words.iter().any(|word| word.contains("Somebody else's cacerts") && word.contains("add it again")),
        "{words:?}"
    );
    memory.written.clear();
    assert!(cluster(&plan_with(&memory, &prior, prior.clone()).unwrap().planned, "west").state.is_unknown());
}

/// The refresh has noted for how long workloads' certificates live: that counts where nothing is said, and only then.
#[test]
fn a_pause_is_as_long_as_certificates_live_unless_it_is_said() {
    let spec = Spec::parse(&configured(1)).unwrap().unwrap();
    let of = |longest: Option<u64>, said: bool| Private { longest, ..Private::default() }.pause(&spec, said);
    let days = |days: u64| Some(days * 86_400);
    assert_eq!([of(None, false), of(days(0), false)], [Duration::days(1); 2]);
    assert_eq!((of(days(3), false), of(days(3), true)), (Duration::days(3), Duration::days(1)));

    let (old, new) = (fixtures::root(), fixtures::root());
    let mut prior = settled(&old, 1);
    report::phase(&mut prior, Phase::Widened, None, NOW - Duration::days(2));
    let stored = [(1, &old.certificate), (2, &new.certificate)];
    let both = Bundle::from_iter([old.certificate.clone(), new.certificate.clone()]);
    for name in ["east", "west"] {
        let west = prior.clusters.known_mut().unwrap().get_mut(name).unwrap().known_mut().unwrap();
        report::certificates(
            west,
            &super::super::secret::CaCerts { roots: both.clone(), ..fixtures::cacerts(&old, 700) },
        );
    }
    for (longest, waits) in [(None, false), (days(3), true)] {
        let memory = Private { longest, ..memory(&prior, &stored) };
        let mut spec = Spec::parse(&configured(2)).unwrap().unwrap();
        spec.pause = memory.pause(&spec, false);
        let inputs = Inputs { spec: &spec, prior: Some(&prior), memory: &memory, has_key: false };
        let words = settle(&inputs, &mut configured(2)).unwrap().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(words.iter().any(|word| word.contains("step 2 waits")), waits, "{words:?}");
    }
}
