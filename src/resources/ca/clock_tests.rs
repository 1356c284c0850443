use super::super::clock;
use super::super::fixtures::{self, NOW};
use super::super::model::Intermediate;
use super::tests::*;
use super::*;
use time::Duration;

/// The time that a refresh leaves behind so many days after the one that the CA was made at, in days after that one.
fn noted(prior: &Ca, memory: &Private, days: i64) -> i64 {
    let mut memory = memory.clone();
    clock::note(&mut memory, Spec::parse(prior).unwrap(), prior, NOW + Duration::days(days));
    (memory.observed_at().unwrap() - NOW).whole_days()
}

#[test]
fn a_refresh_changes_nothing_until_something_is_due() {
    let root = fixtures::root();
    let prior = settled(&root, 1);
    let memory = memory(&prior, &[(1, &root.certificate)]);
    // Of intermediates of 730 days, 180 before their end; of the root, 730 before its own; and its end.
    for (days, left) in [(0, 0), (1, 0), (549, 0), (550, 550), (2919, 2919), (3651, 3651)] {
        assert_eq!(noted(&prior, &memory, days), left, "after {days} days");
    }
    let later = Private { observed_at: Some((NOW + Duration::days(551)).unix_timestamp()), ..memory.clone() };
    assert_eq!(noted(&prior, &later, 560), 551, "due then, due now");
    assert_eq!(noted(&prior, &later, 2), 2, "a clock that was wrong and is put right");
    let never = Private { observed_at: None, ..memory };
    assert_eq!(noted(&prior, &never, 3), 3);
}

#[test]
fn the_pause_of_a_rotation_ends_in_a_refresh() {
    let (old, new) = (fixtures::root(), fixtures::root());
    let mut prior = settled(&old, 2);
    report::root(&mut prior, &new.certificate);
    let both: BTreeSet<String> = [&old, &new].map(|root| root.certificate.fingerprint().to_string()).into();
    for cluster in prior.clusters.known_mut().unwrap().values_mut().filter_map(Value::known_mut) {
        cluster.trusted = report::trusted_value(&both);
    }
    (prior.phase, prior.phase_since) = (Phase::Widened.as_str().into(), report::instant(NOW));
    let memory = memory(&prior, &[(1, &old.certificate), (2, &new.certificate)]);
    assert_eq!([0, 1, 2].map(|days| noted(&prior, &memory, days)), [0, 1, 2]);
    let over = Private { observed_at: Some((NOW + Duration::days(1)).unix_timestamp()), ..memory.clone() };
    assert_eq!(noted(&prior, &over, 9), 1, "over then, over now");
    // Where no pause is given, it lasts as long as certificates of the old root may live.
    let until = |longest: Option<u64>| {
        let at = (NOW + Duration::days(2)).unix_timestamp();
        noted(&prior, &Private { longest, observed_at: Some(at), ..memory.clone() }, 5)
    };
    assert_eq!((until(None), until(Some(5 * 86_400))), (2, 5));
}

#[test]
fn another_window_of_renewal_is_asked_of_the_time_that_it_is() {
    let root = fixtures::root();
    let prior = settled(&root, 1);
    let mut config = prior.clone();
    let (algorithm, validity) = ("ECDSA-P256".into(), "730d".into());
    config.intermediate = Value::Known(Intermediate { algorithm, validity, renew_before: "600d".into() });
    let before = memory(&prior, &[(1, &root.certificate)]);
    let asked = |config: &Ca, days: i64| {
        let mut memory = before.clone();
        let spec = Spec::parse(config).unwrap().unwrap();
        clock::ask_anew(&mut memory, &spec, &prior, NOW + Duration::days(days));
        (memory.observed_at().unwrap() - NOW).whole_days()
    };
    assert_eq!(asked(&config, 200), 200);
    assert_eq!(asked(&config, -200), 0, "never earlier than a refresh has seen");
    assert_eq!(asked(&prior, 200), 0, "nothing else is asked");
}
