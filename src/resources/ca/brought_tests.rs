use super::super::fixtures::{self, NOW};
use super::super::model::Root;
use super::tests::*;
use super::*;
use time::Duration;

/// A spec of a root that is brought.
fn brought(root: &Root) -> Result<Option<Spec>, Diagnostics> {
    Spec::parse(&Ca { root: Value::Known(root.clone()), ..configured(1) })
}

#[test]
fn unfit_roots_are_refused_at_their_attribute() {
    let (root, other) = (fixtures::root(), fixtures::root());
    let refusal = |root: Root| {
        brought(&root).err().map(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    };
    let good = Root { certificate: root.certificate.to_pem().into(), ..root_defaults(1) };
    assert_eq!(refusal(good.clone()), None);
    let with_key = |key: &str| Root { private_key_wo: key.into(), ..good.clone() };
    assert_eq!(refusal(with_key(&root.key.to_pem())), None);
    assert_eq!(
        refusal(with_key(&other.key.to_pem())).unwrap(),
        "Key and certificate do not match (root.private_key_wo): The private key does not belong to the certificate O=Istio, CN=Root CA."
    );
    assert_eq!(
        refusal(with_key("junk")).unwrap(),
        "Not a usable private key (root.private_key_wo): Cannot read the private key: line 1 is outside of any PEM block; remove it (comments too)."
    );
    let junk = Root { certificate: format!("# mine\n{}", root.certificate.to_pem()).into(), ..root_defaults(1) };
    assert_eq!(
        refusal(junk).unwrap(),
        "Not a certificate (root.certificate): Cannot read the certificate: line 1 is outside of any PEM block; remove it (comments too)."
    );
    let intermediate = fixtures::cacerts(&root, 365).chain.remove(0);
    let leaf = Root { certificate: intermediate.to_pem().into(), ..root_defaults(1) };
    assert!(refusal(leaf).unwrap().contains("is not self-signed, so it cannot be a root."));
    assert!(refusal(root_defaults(1)).unwrap().starts_with("No root (root)"));
}

/// What is wrong at any time is refused before anything is asked; what leads to another root may be of the past, and is
/// waited for.
#[test]
fn unfit_chains_are_refused_at_their_attribute() {
    let short = fixtures::root_until(NOW + Duration::days(100));
    let refusal = |root: &fixtures::Ca, chain: &str| {
        let mut config = configured(1);
        config.root = Value::Known(Root { certificate: root.certificate.to_pem().into(), ..root_defaults(1) });
        let clusters = config.clusters.known_mut().unwrap();
        clusters.get_mut("east").unwrap().known_mut().unwrap().certificate_chain = chain.into();
        let errors = Spec::parse(&config).err()?;
        Some(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    };
    let good = fixtures::cacerts(&short, 50).chain[0].to_pem();
    assert_eq!(refusal(&short, &good), None);
    assert_eq!(refusal(&fixtures::root(), &good), None);
    assert_eq!(
        refusal(&short, &format!("# from the HSM\n{good}")).unwrap(),
        "Not a chain of certificates (clusters[\"east\"].certificate_chain): Cannot read the certificate: line 1 is outside of any PEM block; remove it (comments too)."
    );
    let outliving = fixtures::outliving(&short, NOW + Duration::days(200)).to_pem();
    let told = refusal(&short, &outliving).unwrap();
    assert!(
        told.starts_with("Unfit as an intermediate (clusters[\"east\"].certificate_chain): The certificate O=Istio, CN=Intermediate CA is valid until")
            && told.contains("longer than its issuer O=Istio, CN=Root CA"),
        "{told}"
    );
}

#[test]
fn an_expired_root_that_is_brought_is_told() {
    let root = fixtures::root_until(NOW + Duration::days(1));
    let mut config = configured(1);
    config.root = Value::Known(Root { certificate: root.certificate.to_pem().into(), ..root_defaults(1) });
    let mut prior = config.clone();
    report::root(&mut prior, &root.certificate);
    let outcome = plan_at(NOW + Duration::days(2), &prior, config, &[]).unwrap();
    assert!(
        outcome.words.iter().any(|word| word.starts_with("The root is unfit (root.certificate)")),
        "{:?}",
        outcome.words
    );
}

/// The key of a chain goes with the Secret that had it: the chain answers nothing any more, whether this instance gave
/// the cluster its intermediate or one before a destroy.
#[test]
fn a_chain_whose_key_is_gone_is_no_answer() {
    let root = fixtures::root();
    let mut prior = configured(1);
    let brought = Root { certificate: root.certificate.to_pem().into(), ..root_defaults(1) };
    prior.root = Value::Known(brought);
    let chain = fixtures::cacerts(&root, 365).chain;
    let mut config = prior.clone();
    config.clusters.known_mut().unwrap().get_mut("east").unwrap().known_mut().unwrap().certificate_chain =
        chain[0].to_pem().into();
    report::root(&mut prior, &root.certificate);
    for issued in [vec![chain[0].fingerprint().to_string()], vec![]] {
        let mut memory = memory(&prior, &[]);
        memory.issued.insert("east".into(), issued);
        let outcome = plan_with(&memory, &prior, config.clone()).unwrap();
        let east = cluster(&outcome.planned, "east");
        assert!(east.certificate_request.is_unknown(), "{east:?}");
    }
    // The intermediate was exchanged: the key that is there is another.
    let mut exchanged = prior.clone();
    let east = exchanged.clusters.known_mut().unwrap().get_mut("east").unwrap().known_mut().unwrap();
    report::certificates(east, &fixtures::cacerts(&root, 700));
    east.state = state::INVALID.into();
    let mut memory = memory(&exchanged, &[]);
    memory.issued.insert("east".into(), vec![chain[0].fingerprint().to_string()]);
    let outcome = plan_with(&memory, &exchanged, config).unwrap();
    assert!(cluster(&outcome.planned, "east").certificate_request.is_unknown(), "{:?}", outcome.words);
}

/// The number of a root that another store holds names none in a new store, as the apply finds.
#[test]
fn a_root_in_another_store_is_not_promised_in_a_new_one() {
    let (old, new) = (fixtures::root(), fixtures::root());
    let mut memory = memory(&settled(&old, 1), &[(1, &old.certificate)]);
    memory.accepted.get_or_insert_default().insert(new.certificate.fingerprint().to_string());
    let certificate = Root { certificate: new.certificate.to_pem().into(), store: Value::Null, ..root_defaults(1) };
    let prior = Ca { root: Value::Known(certificate), ..settled(&new, 1) };
    let plan_in = |memory: &mut Private, name: &str, generation: i64| {
        let mut config = configured(generation);
        config.root.known_mut().unwrap().store.known_mut().unwrap().name = name.into();
        let spec = Spec::parse(&config).unwrap().unwrap();
        memory.turn_to(spec.root.store().unwrap(), &prior);
        plan_with(memory, &prior, config).map(|outcome| outcome.planned.root_fingerprint)
    };
    let back = plan_in(&mut memory, "r", 1).unwrap();
    assert_eq!(back.as_deref(), None, "the root of the store that it had is turned back to, which opens it");
    assert_eq!(memory.roots.len(), 1);
    let refused = plan_in(&mut memory.clone(), "other", 1).unwrap_err();
    let refused = refused.iter().map(ToString::to_string).collect::<String>();
    assert!(refused.contains("This generation of the root is over") && refused.contains("generation = 2"), "{refused}");
    assert!(plan_in(&mut memory, "other", 2).unwrap().is_unknown());
}
