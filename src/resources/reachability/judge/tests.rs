//! Every layer by itself, named; and the neighbour of each that is right.

use super::*;

const HOST: &str = "cart.shop.svc.cluster.local";

fn call() -> Call<'static> {
    Call {
        from: "east",
        to: "west",
        network: "net-west",
        host: HOST,
        port: 9000,
        sni: "outbound_.9000_._.cart.shop.svc.cluster.local",
    }
}

fn fine() -> There {
    let pod = PodPort { namespace: "istio-system".into(), pod: "gateway-1".into(), port: 15443 };
    There {
        service: Ok(ServiceState::Ready),
        port_name: Some("tcp-words".into()),
        gateway: Ok(GatewayState::Ready(pod)),
        exposed: Ok(true),
        off: Ok(Vec::new()),
        plain_text: Ok(PlainText::Taken),
        places: places(),
        ruled_in: "west".into(),
    }
}

fn here() -> Here {
    let port_name = Some("tcp-words".into());
    Here { service: Ok(ServiceState::Ready), port_name, off: Ok(Vec::new()), ruled_in: "east".into() }
}

fn places() -> Names {
    Names { gateway: "west".into(), opened_in: "west".into() }
}

fn synced() -> Watched {
    Watched::As("synced".into())
}

fn met(outcome: Outcome) -> Met {
    let identity = Some("spiffe://cluster.local/ns/shop/sa/cart".to_owned());
    match outcome {
        Outcome::Accepted | Outcome::Refused(_) => {
            Met { outcome, showed: true, vouched: Ok(()), identity, other_domain: None }
        }
        outcome => Met {
            outcome,
            showed: false,
            vouched: Err("it showed no certificate".into()),
            identity: None,
            other_domain: None,
        },
    }
}

fn answers(met: Met) -> Tried {
    let (address, spoken) = ("203.0.113.7".into(), Some(met));
    Tried { address, port: 15443, is_plain: false, dialled: Ok(()), spoken, forwarded: None }
}

fn silent(forwarded: Option<Asked<Met>>) -> Tried {
    Tried {
        address: "10.0.0.7".into(),
        port: 15443,
        is_plain: false,
        dialled: Err("no answer within 3 s".into()),
        spoken: None,
        forwarded,
    }
}

/// The verdict, the layer, and words of the sentence.
#[track_caller]
fn says(verdict: &Verdict, expected: &str, layer: &str, words: &[&str]) {
    let found = (verdict.verdict, verdict.layer.unwrap_or_default());
    assert_eq!(found, (expected, layer), "{verdict:?}");
    for word in words {
        assert!(verdict.detail.contains(word), "{word:?} in {verdict:?}");
    }
}

fn tried(one: Tried, there: &There) -> Verdict {
    of_all(call(), Way::Gateway, Unanswered::Unknown, &[one], Some(there))
}

#[test]
fn who_answers_is_told() {
    let verdict = of_all(call(), Way::Gateway, Unanswered::Unknown, &[answers(met(Outcome::Accepted))], None);
    says(&verdict, REACHABLE, "", &["spiffe://cluster.local/ns/shop/sa/cart answers at 203.0.113.7:15443"]);
    let nobody = Met { identity: None, ..met(Outcome::Accepted) };
    says(&tried(answers(nobody), &fine()), BROKEN, "identity", &["no SPIFFE id"]);
    let other = Met { identity: Some("spiffe://cluster.local/ns/bank/sa/cart".into()), ..met(Outcome::Accepted) };
    says(&tried(answers(other), &fine()), BROKEN, "identity", &["another namespace"]);
    let apart = |unsure: Option<&str>| {
        let other = OtherDomain { domain: "b".into(), unsure: unsure.map(str::to_owned) };
        Met { other_domain: Some(other), ..met(Outcome::Accepted) }
    };
    says(&tried(answers(apart(None)), &fine()), BROKEN, "trust", &["trust domain b", "`trust_domain_aliases`"]);
    says(&tried(answers(apart(Some("forbidden"))), &fine()), UNKNOWN, "trust", &["trust domain b", "forbidden"]);
}

#[test]
fn without_a_client_nothing_is_known_unless_istiod_itself_refuses() {
    let unknown = without_caller(call(), &Trouble::unknown("no right".into()));
    says(&unknown, UNKNOWN, "caller", &["east", "no right"]);
    says(&without_caller(call(), &Trouble::broken("it signs nothing".into())), BROKEN, "caller", &["signs nothing"]);
}

#[test]
fn why_nothing_is_sent_is_told_by_the_first_layer_that_fails() {
    let of = |watched: &Watched, here: &Here, there: &There| sends_nothing(call(), Way::Gateway, watched, here, there);
    says(&of(&Watched::Not, &here(), &fine()), BROKEN, "link", &["no remote secret", "mesh_remote_cluster of west"]);
    says(&of(&Watched::As("timeout".into()), &here(), &fine()), BROKEN, "link", &["timeout"]);
    says(&of(&Watched::Unknown("forbidden".into()), &here(), &fine()), UNKNOWN, "link", &["forbidden"]);
    let there = |state| There { service: state, ..fine() };
    says(&of(&synced(), &here(), &there(Ok(ServiceState::Missing))), BROKEN, "service", &["no Service"]);
    says(&of(&synced(), &here(), &there(Ok(ServiceState::NoPods))), BROKEN, "service", &["no Pod"]);
    says(&of(&synced(), &here(), &there(Ok(ServiceState::Ports(vec![9001])))), BROKEN, "port", &["in west", "9001"]);
    says(&of(&synced(), &here(), &there(Ok(ServiceState::NoSidecar))), BROKEN, "mtls", &["no sidecar"]);
    let tunnelled = of(&synced(), &here(), &there(Ok(ServiceState::Tunnelled)));
    says(&tunnelled, UNKNOWN, "link", &["in west are in ambient mode", "HBONE"]);
    says(&of(&synced(), &here(), &there(Err("forbidden".into()))), UNKNOWN, "link", &["forbidden"]);
    let ports = Here { service: Ok(ServiceState::Ports(vec![80])), ..here() };
    says(&of(&synced(), &ports, &fine()), BROKEN, "port", &["in east"]);
    let named = |name: Option<&str>| There { port_name: name.map(str::to_owned), ..fine() };
    let words = ["port 9000", "is called tcp-words in east", "is called web in west", "by that name"];
    says(&of(&synced(), &here(), &named(Some("web"))), BROKEN, "port", &words);
    says(&of(&synced(), &here(), &named(Some(""))), BROKEN, "port", &["has no name in west"]);
    says(&of(&synced(), &here(), &named(None)), BROKEN, "link", &["exportTo"]);
    let off = Here { off: Ok(vec!["PeerAuthentication shop/a".into()]), ..here() };
    says(&of(&synced(), &off, &fine()), BROKEN, "mtls", &["PeerAuthentication shop/a", "in east"]);
    let unread = Here { off: Err("forbidden".into()), ..here() };
    says(&of(&synced(), &unread, &fine()), UNKNOWN, "link", &["forbidden"]);
    says(&of(&synced(), &here(), &fine()), BROKEN, "link", &["exportTo"]);
    let local = || Ok(ServiceState::NodeLocal);
    let here_local = Here { service: local(), ..here() };
    says(&of(&synced(), &here_local, &fine()), BROKEN, "service", &["`internalTrafficPolicy: Local` in east"]);
    let only_there = Here { service: Ok(ServiceState::Missing), ..here() };
    says(&of(&synced(), &only_there, &there(local())), BROKEN, "service", &["`internalTrafficPolicy: Local` in west"]);
    says(&of(&synced(), &here(), &there(local())), BROKEN, "link", &["exportTo"]);
    // What is behind a name outside the mesh, or written by hand, is not known by Pods.
    let outside = of(&synced(), &here(), &there(Ok(ServiceState::Other)));
    says(&outside, UNKNOWN, "service", &["cart.shop.svc.cluster.local:9000", "no Service of it with Pods"]);
    let tunnelled = of(&synced(), &off, &there(Ok(ServiceState::Tunnelled)));
    says(&tunnelled, UNKNOWN, "link", &["in ambient mode"]);
    // Within a network plain text is spoken as well.
    let verdict = sends_nothing(call(), Way::Direct, &synced(), &off, &there(Ok(ServiceState::NoSidecar)));
    says(&verdict, BROKEN, "link", &["exportTo"]);
}

#[test]
fn networks_without_a_gateway_and_with_ambients_are_told_apart() {
    says(&no_gateway(call(), &synced()), BROKEN, "link", &["no gateway of network net-west", "mesh_eastwest_gateway"]);
    says(&no_gateway(call(), &Watched::Not), BROKEN, "link", &["no remote secret"]);
    says(&hbone(call()), UNKNOWN, "link", &["HBONE"]);
    says(&no_auto_mtls(call()), BROKEN, "mtls", &["enableAutoMtls", "east"]);
    says(&rules_unread(call(), "forbidden"), UNKNOWN, "mtls", &["enableAutoMtls", "east", "forbidden"]);
}

#[test]
fn a_headless_service_is_not_said_to_be_reached_through_a_gateway() {
    assert_eq!(headless(call(), Ok(false)), None);
    let told = headless(call(), Ok(true)).expect("a verdict");
    says(&told, UNKNOWN, "service", &["is headless", "Pods in east", "PILOT_ENABLE_EDS_FOR_HEADLESS_SERVICES"]);
    says(&headless(call(), Err("forbidden".into())).expect("a verdict"), UNKNOWN, "service", &["forbidden"]);
}

#[test]
fn trust_is_judged_both_ways() {
    let verdict = tried(answers(met(Outcome::Refused("UnknownCA".into()))), &fine());
    says(&verdict, BROKEN, "trust", &["west does not take a certificate of east", "UnknownCA"]);
    let untrusted = Met { vouched: Err("none of its roots has signed the chain".into()), ..met(Outcome::Accepted) };
    says(&tried(answers(untrusted), &fine()), BROKEN, "trust", &["the roots of east do not vouch"]);
    let neither = Met { vouched: Err("none".into()), ..met(Outcome::Refused("UnknownCA".into())) };
    says(&tried(answers(neither), &fine()), BROKEN, "trust", &["do not vouch", "does not take"]);
}

#[test]
fn why_a_gateway_closes_the_connection_is_told() {
    let of = |there: &There| tried(answers(met(Outcome::Closed)), there);
    let gone = There { gateway: Ok(GatewayState::NotReady { service: "Service a/b".into(), pods: 0 }), ..fine() };
    says(&of(&gone), BROKEN, "gateway", &["no Pod of the gateway in west", "Service a/b"]);
    says(
        &of(&There { exposed: Ok(false), ..fine() }),
        BROKEN,
        "exposure",
        &["no Gateway in west exposes", "outbound_.9000_._."],
    );
    says(&of(&There { exposed: Err("forbidden".into()), ..fine() }), UNKNOWN, "exposure", &["forbidden"]);
    says(&of(&There { service: Ok(ServiceState::Ports(vec![])), ..fine() }), BROKEN, "port", &["it has none"]);
    says(&of(&There { service: Ok(ServiceState::Missing), ..fine() }), BROKEN, "service", &[]);
    says(&of(&There { off: Ok(vec!["PeerAuthentication a/b".into()]), ..fine() }), BROKEN, "mtls", &["a/b", "in west"]);
    let tunnelled = There { service: Ok(ServiceState::Tunnelled), ..fine() };
    says(&of(&tunnelled), UNKNOWN, "link", &["in ambient mode", "HBONE"]);
    says(&of(&fine()), BROKEN, "exposure", &["istioctl proxy-config"]);
}

#[test]
fn what_is_no_tls_means_that_mtls_is_off() {
    let off = There { off: Ok(vec!["PeerAuthentication a/b".into()]), ..fine() };
    for outcome in [Outcome::NotTls, Outcome::Silent] {
        says(&tried(answers(met(outcome)), &off), BROKEN, "mtls", &["a/b"]);
    }
    says(&tried(answers(met(Outcome::NotTls)), &fine()), BROKEN, "mtls", &["speaks no TLS"]);
    says(&tried(answers(met(Outcome::Silent)), &fine()), UNKNOWN, "exposure", &["does not answer the handshake"]);
}

#[test]
fn an_address_that_does_not_answer_here_may_answer_the_callers() {
    let good = || silent(Some(Ok(met(Outcome::Accepted))));
    let of = |unanswered, one: Tried| of_all(call(), Way::Gateway, unanswered, &[one], Some(&fine()));
    says(
        &of(Unanswered::Unknown, good()),
        UNKNOWN,
        "address",
        &["a private address", "Behind it all is right", "unanswered_address"],
    );
    says(&of(Unanswered::Broken, good()), BROKEN, "address", &["load balancer"]);
    says(&of(Unanswered::Ignored, good()), REACHABLE, "", &["sa/cart answers", "is untried"]);
    // What is wrong behind it is wrong whoever dials.
    let refused = silent(Some(Ok(met(Outcome::Refused("UnknownCA".into())))));
    says(&of(Unanswered::Unknown, refused), BROKEN, "trust", &["UnknownCA"]);
    let gone = There { gateway: Ok(GatewayState::NotReady { service: "Service a/b".into(), pods: 2 }), ..fine() };
    says(&tried(silent(None), &gone), BROKEN, "gateway", &["Pods: 2"]);
    let nobody = There { gateway: Ok(GatewayState::Elsewhere), ..fine() };
    says(&tried(silent(None), &nobody), UNKNOWN, "address", &["are not found"]);
    says(&of(Unanswered::Ignored, silent(Some(Err("forbidden".into())))), UNKNOWN, "address", &["forbidden"]);
}

#[test]
fn who_answers_here_may_be_another_machine_than_for_the_callers() {
    let stranger = || answers(met(Outcome::Refused("NoApplicationProtocol".into())));
    let of = |one: Tried| of_all(call(), Way::Gateway, Unanswered::Unknown, &[one], Some(&fine()));
    let behind = |outcome| Tried { forwarded: Some(Ok(met(outcome))), ..stranger() };
    says(&of(behind(Outcome::Accepted)), UNKNOWN, "address", &["something else answers", "Behind it all is right"]);
    says(&of(behind(Outcome::Refused("UnknownCA".into()))), BROKEN, "trust", &["UnknownCA"]);
    says(&of(stranger()), UNKNOWN, "exposure", &["NoApplicationProtocol"]);
    // Nobody could compare: what is wrong at a public address is wrong.
    let refused = || answers(met(Outcome::Refused("UnknownCA".into())));
    says(&of(refused()), BROKEN, "trust", &[]);
    let private = Tried { address: "10.0.0.7".into(), ..refused() };
    says(&of(private), UNKNOWN, "trust", &["may meet another machine"]);
}

#[test]
fn pods_of_ones_own_network_are_only_known_where_they_answer() {
    let of = |way, one: Tried| of_all(call(), way, Unanswered::Unknown, &[one], Some(&fine()));
    says(&of(Way::Direct, silent(None)), UNKNOWN, "address", &["own addresses"]);
    says(&of(Way::Direct, answers(met(Outcome::Accepted))), REACHABLE, "", &[]);
    says(&of(Way::Direct, Tried { spoken: None, ..answers(met(Outcome::Accepted)) }), REACHABLE, "", &["plain text"]);
    // That an address takes connections is no proof that plain text is taken there.
    let plain = |takes: Asked<PlainText>| {
        let one = Tried { spoken: None, is_plain: true, ..answers(met(Outcome::Accepted)) };
        let there = There { plain_text: takes, ruled_in: "hub".into(), ..fine() };
        of_all(call(), Way::Direct, Unanswered::Unknown, &[one], Some(&there))
    };
    let policy = "PeerAuthentication shop/a".to_owned();
    says(&plain(Ok(PlainText::Refused(policy.clone()))), BROKEN, "mtls", &["PeerAuthentication shop/a in hub", "east"]);
    says(&plain(Ok(PlainText::Unsure(policy))), UNKNOWN, "mtls", &["PeerAuthentication shop/a in hub may be"]);
    says(&plain(Err("forbidden".into())), UNKNOWN, "mtls", &["forbidden"]);
    says(&plain(Ok(PlainText::Taken)), REACHABLE, "", &["plain text"]);
    // Without a proxy nobody goes by policies; and of two kinds of Pods it is not known which they are for.
    let open = Tried { spoken: None, is_plain: true, ..answers(met(Outcome::Accepted)) };
    let strict = |service| There { service, plain_text: Ok(PlainText::Refused("a".into())), ..fine() };
    for service in [ServiceState::NoSidecar, ServiceState::Other] {
        let there = strict(Ok(service));
        let found = of_all(call(), Way::Direct, Unanswered::Unknown, std::slice::from_ref(&open), Some(&there));
        says(&found, REACHABLE, "", &["plain text"]);
    }
    let there = strict(Ok(ServiceState::Tunnelled));
    let found = of_all(call(), Way::Direct, Unanswered::Unknown, std::slice::from_ref(&open), Some(&there));
    says(&found, BROKEN, "mtls", &["take mTLS alone"]);
    let both = [open, answers(met(Outcome::Accepted))];
    let there = strict(Ok(ServiceState::Ready));
    says(&of_all(call(), Way::Direct, Unanswered::Unknown, &both, Some(&there)), REACHABLE, "", &[]);
    let refused = There { plain_text: Ok(PlainText::Refused("PeerAuthentication shop/a".into())), ..fine() };
    let away = [Tried { is_plain: true, ..silent(None) }];
    let away = of_all(call(), Way::Direct, Unanswered::Unknown, &away, Some(&refused));
    says(&away, BROKEN, "mtls", &["PeerAuthentication shop/a"]);
    for one in [silent(None), answers(met(Outcome::Refused("NoApplicationProtocol".into())))] {
        says(&of(Way::NoGateway, one), BROKEN, "link", &["no gateway of network"]);
    }
}

#[test]
fn of_several_addresses_the_worst_counts() {
    let all = [answers(met(Outcome::Accepted)), silent(Some(Ok(met(Outcome::Accepted))))];
    says(&of_all(call(), Way::Gateway, Unanswered::Unknown, &all, Some(&fine())), UNKNOWN, "address", &[]);
    let all = [silent(None), answers(met(Outcome::Refused("UnknownCA".into()))), answers(met(Outcome::Accepted))];
    says(&of_all(call(), Way::Gateway, Unanswered::Unknown, &all, Some(&fine())), BROKEN, "trust", &[]);
    says(&of_all(call(), Way::Gateway, Unanswered::Unknown, &[], None), UNKNOWN, "link", &[]);
}

#[test]
fn private_addresses_are_told() {
    for (at, expected) in [
        ("10.1.2.3:15443", true),
        ("100.64.0.1:15443", true),
        ("fd00::1:15443", true),
        ("203.0.113.7:15443", false),
        ("lb.example.com:15443", false),
    ] {
        assert_eq!(!private(at).is_empty(), expected, "{at}");
    }
}

#[test]
fn without_a_service_what_is_broken_is_told_and_the_rest_is_unknown() {
    let call = Call { host: "", port: 0, sni: "", ..call() };
    let all = || Unnamed {
        watched: synced(),
        neighbours: Vec::new(),
        places: places(),
        gateway: fine().gateway,
        exposed: Ok(true),
        trust: Some(Ok(())),
        dialled: Some(("203.0.113.7:15443".into(), Ok(()))),
    };
    let of = |way, found: Unnamed| without_service(call, way, Unanswered::Unknown, &found);
    says(&of(Way::Gateway, all()), UNKNOWN, "service", &["trust each other", "name one in `services`"]);
    let untested = of(Way::Gateway, Unnamed { trust: None, ..all() });
    assert!(!untested.detail.contains("trust"), "{untested:?}");
    says(&of(Way::Direct, Unnamed { watched: Watched::Not, ..all() }), BROKEN, "link", &["no remote secret"]);
    // A ServiceEntry may bring what the mesh configuration's gateway leads to.
    let unread = of(Way::Gateway, Unnamed { watched: Watched::Not, ..all() });
    says(&unread, UNKNOWN, "service", &["does not read west", "ServiceEntry", "name one in `services`"]);
    says(&of(Way::NoGateway, all()), BROKEN, "link", &["no gateway of network"]);
    let gone = Ok(GatewayState::NotReady { service: "Service a/b".into(), pods: 0 });
    says(&of(Way::Gateway, Unnamed { gateway: gone, ..all() }), BROKEN, "gateway", &["Service a/b"]);
    says(&of(Way::Gateway, Unnamed { trust: Some(Err("no root".into())), ..all() }), BROKEN, "trust", &["no root"]);
    says(&of(Way::Gateway, Unnamed { exposed: Ok(false), ..all() }), BROKEN, "exposure", &["`expose`"]);
    says(&of(Way::Direct, Unnamed { exposed: Ok(false), dialled: None, ..all() }), UNKNOWN, "service", &[]);
    let silent = Some(("203.0.113.7:15443".to_owned(), Err("refused".to_owned())));
    says(&of(Way::Gateway, Unnamed { dialled: silent, ..all() }), UNKNOWN, "address", &["refused", "`services`"]);
}

#[test]
fn a_neighbour_s_gateway_leads_to_whom_its_istiod_reads() {
    let neighbour = |reads: Watched| [Neighbour { cluster: "north".into(), reads }];
    let of = |watched: Watched, reads: Watched| past_neighbours(call(), &watched, &neighbour(reads));
    assert_eq!(of(synced(), synced()), None);
    assert_eq!(of(Watched::Not, synced()), None);
    assert_eq!(past_neighbours(call(), &Watched::Not, &[]), None, "a gateway of its own, or one that is only listed");
    let unread = of(synced(), Watched::Not).unwrap();
    says(
        &unread,
        BROKEN,
        "link",
        &["no gateway of network net-west is in west", "the istiod that serves north has no remote secret of west"],
    );
    let unseen = of(Watched::Not, Watched::Not).unwrap();
    says(&unseen, BROKEN, "link", &["the istiod of east does not read west", "only through the gateway of north"]);
    says(&of(synced(), Watched::As("timeout".into())).unwrap(), BROKEN, "link", &["reports west as timeout"]);
    says(&of(synced(), Watched::Unknown("forbidden".into())).unwrap(), UNKNOWN, "link", &["forbidden"]);
    // One that leads nowhere counts before one that nobody could ask.
    let both = [neighbour(Watched::Unknown("forbidden".into())), neighbour(Watched::Not)].concat();
    says(&past_neighbours(call(), &synced(), &both).unwrap(), BROKEN, "link", &["no remote secret"]);
}

#[test]
fn what_is_wrong_is_said_of_the_cluster_that_it_is_in() {
    let served = || There {
        places: Names { gateway: "west".into(), opened_in: "hub".into() },
        ruled_in: "hub".into(),
        ..fine()
    };
    let closed = |there: &There| tried(answers(met(Outcome::Closed)), there);
    says(&closed(&There { exposed: Ok(false), ..served() }), BROKEN, "exposure", &["no Gateway in hub exposes"]);
    let off = There { off: Ok(vec!["PeerAuthentication shop/a".into()]), ..served() };
    says(&closed(&off), BROKEN, "mtls", &["policies in hub turn mTLS off"]);
    let gone = Ok(GatewayState::NotReady { service: "Service a/b".into(), pods: 0 });
    let neighbour =
        There { gateway: gone, places: Names { gateway: "north".into(), opened_in: "north".into() }, ..fine() };
    says(&closed(&neighbour), BROKEN, "gateway", &["the gateway in north"]);
}
