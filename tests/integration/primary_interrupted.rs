//! `mesh_primary` killed in the middle of an apply, at twenty points of it: the next apply finishes the work, and the
//! cluster then holds what a clean apply leaves, object for object, and nothing else. And killed at its end, when all
//! is made and no state knows it yet.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lab::{Cluster, Fault, Lab, Options};
use serde_json::{Value as Json, json};

use crate::support::cli::clis;
use crate::support::kill::Victim;
use crate::support::one_primary::OnePrimary;
use crate::support::random::Random;

const ROUNDS: u32 = 20;

/// Two configurations whose objects differ both ways: each has some that the other lacks.
const PLAIN: &str = "";
const OTHER: &str = "global: {networkPolicy: {enabled: true}}\nautoscaleEnabled: false\n";

#[test]
fn an_apply_killed_at_any_moment_is_finished_by_the_next() {
    let Some(cli) = clis().into_iter().next() else { return };
    let lab = Lab::start(&["east"], Options::default()).expect("a cluster");
    let east = lab.cluster("east");
    let run = OnePrimary::new(&cli, &OnePrimary::provider(), east);

    let timed = |values: &str| {
        run.configure(values);
        let begun = Instant::now();
        run.apply().ok();
        begun.elapsed()
    };
    timed(OTHER);
    let other = owned(east);
    run.destroy();
    let mut creation = timed(PLAIN);
    let plain = owned(east);
    let mut change = timed(OTHER);
    assert_same(&other, &owned(east), "changed");
    for (there, not_there) in [(&plain, &other), (&other, &plain)] {
        assert!(there.keys().any(|object| !not_there.contains_key(object)), "the configurations differ both ways");
    }

    let mut random = Random::new(5);
    let (mut round, mut late) = (0, 0);
    let mut is_plain = false;
    while round < ROUNDS {
        let creates = round % 2 == 0;
        run.configure(if creates { PLAIN } else { OTHER });
        if creates {
            run.destroy();
        } else {
            // The change begins where the round before ended, unless one came too late.
            if !is_plain {
                run.configure(PLAIN);
                run.apply().ok();
                run.configure(OTHER);
            }
        }
        // One of twenty equal parts of an apply each, in an order that mixes early and late; the core's own start is
        // left out.
        let part = f64::from(round * 7 % ROUNDS) + random.below(1000) as f64 / 1000.0;
        let lasts = if creates { &mut creation } else { &mut change };
        let moment = lasts.mul_f64(0.15 + 0.85 * part / f64::from(ROUNDS));
        let whom = if round % 3 == 2 { Victim::Provider } else { Victim::Both };
        println!("round {round}: {whom:?} killed after {} ms", moment.as_millis());
        if !killed_apply(&run, moment, whom) {
            // The machine has become quicker than it was.
            *lasts = lasts.mul_f64(0.8);
            late += 1;
            is_plain = false;
            assert!(late < ROUNDS, "an apply always ends before it can be killed");
            continue;
        }
        run.apply().ok();
        let expected = if creates { &plain } else { &other };
        assert_same(expected, &owned(east), &format!("round {round}"));
        run.settled();
        is_plain = creates;
        round += 1;
    }
    // What a killed apply added and the next one no longer wants goes as well.
    run.configure(PLAIN);
    run.apply().ok();
    run.configure(OTHER);
    let mut moment = change / 2;
    while !killed_apply(&run, moment, Victim::Both) {
        late += 1;
        assert!(late < ROUNDS, "an apply always ends before it can be killed");
        run.configure(PLAIN);
        run.apply().ok();
        run.configure(OTHER);
        moment = moment.mul_f64(0.8);
    }
    run.destroy();
    assert_eq!(owned(east).into_keys().collect::<Vec<_>>(), [] as [String; 0]);
}

/// The cluster has done all that a create asks for, and no state has it: whoever is killed before the answer arrives.
#[test]
fn a_create_that_no_state_knows_is_taken_up_by_the_next() {
    let Some(cli) = clis().into_iter().next() else { return };
    let lab = Lab::start(&["east"], Options::default()).expect("a cluster");
    let east = lab.cluster("east");
    let run = OnePrimary::new(&cli, &OnePrimary::provider(), east);
    run.configure(PLAIN);
    run.apply().ok();
    let plain = owned(east);
    let second = OnePrimary::new(&cli, &OnePrimary::provider(), east);
    second.configure(PLAIN);
    let refused = second.apply();
    assert!(refused.stderr.contains("exists already"), "what a state knows is not taken up:\n{}", refused.stderr);
    run.destroy();

    for victim in [Victim::Provider, Victim::Both] {
        // This process may be held up until the answer has arrived. The answer cannot come later than it does: renewals
        // are as late, and a provider that waits longer for them gives up its Lease.
        let mut tries = 0;
        while !killed_unanswered(&run, east, victim) {
            tries += 1;
            assert!(tries < 5, "it was killed before the answer arrived, and the state knows nothing");
            run.destroy();
        }

        run.apply().ok();
        assert_eq!(lease(east).as_deref(), Some("true"), "the core has asked the provider to leave");
        assert_same(&plain, &owned(east), &format!("{victim:?} killed"));
        run.settled();
        run.destroy();
    }

    // As a provider leaves it that is killed when the state has the instance already.
    run.apply().ok();
    let left = |hours: i64| {
        let renewed = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(hours);
        let spec = json!({"holderIdentity": "elsewhere/1/gone/x", "renewTime": renewed.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()});
        let patch = json!({"metadata": {"annotations": {COMPLETE: "made"}}, "spec": spec}).to_string();
        east.kubectl(&["-n", "istio-system", "patch", "lease", LEASE, "--type=merge", "-p", &patch]).expect("kubectl");
    };
    left(2);
    let refused = second.apply();
    assert!(refused.stderr.contains("exists already"), "that was long ago:\n{}", refused.stderr);
    run.settled();
    run.configure(OTHER);
    run.apply().ok();
    assert_eq!(lease(east).as_deref(), Some("true"), "whoever knows the mark has it from a state");
    run.destroy();
}

const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/istio-system/leases/";
const LEASE: &str = "mesh-primary.istiod";
const COMPLETE: &str = "terraform-provider-mesh/complete";

/// What the Lease says of the instance.
fn lease(cluster: &Cluster) -> Option<String> {
    let lease = cluster.get(&["-n", "istio-system", "lease", LEASE]).expect("kubectl")?;
    lease["metadata"]["annotations"][COMPLETE].as_str().map(str::to_owned)
}

/// Whether the apply was killed when all was made and before the answer arrived: no state knows of it then.
fn killed_unanswered(run: &OnePrimary<'_>, east: &std::sync::Arc<Cluster>, victim: Victim) -> bool {
    east.fault(Fault::late(Duration::from_secs(5)).for_request(&format!("PATCH {PATH}{LEASE}"))).expect("a fault");
    let core = run.workspace.start(&["apply", "-auto-approve", "-input=false"]);
    let is_made = || matches!(lease(east).as_deref(), Some("made" | "true"));
    east.wait_until("all is made", is_made).expect("it is made");
    victim.kill(&core);
    let said = core.wait_with_output().expect("it ends");
    east.clear_faults().expect("no fault");
    let known = run.workspace.run(&["state", "list"]).stdout;
    !said.status.success() && known.trim().is_empty()
}

/// Whether it was killed before it ended.
fn killed_apply(run: &OnePrimary<'_>, moment: Duration, whom: Victim) -> bool {
    let core = run.workspace.start(&["apply", "-auto-approve", "-input=false"]);
    std::thread::sleep(moment);
    whom.kill(&core);
    // What it says is read, lest it wait for a reader.
    let said = core.wait_with_output().expect("it ends");
    println!("  {}", said.status);
    !said.status.success()
}

/// Everything that carries the provider's label, but for what the API server and controllers write.
fn owned(cluster: &Cluster) -> BTreeMap<String, Json> {
    const KINDS: &str = "secrets,configmaps,serviceaccounts,services,deployments,horizontalpodautoscalers,poddisruptionbudgets,networkpolicies,\
                         clusterroles,clusterrolebindings,roles,rolebindings,mutatingwebhookconfigurations,validatingwebhookconfigurations,\
                         validatingadmissionpolicies,validatingadmissionpolicybindings,customresourcedefinitions";
    let listed =
        cluster.get(&[KINDS, "-A", "-l", "terraform-provider-mesh/owner"]).expect("kubectl").unwrap_or_default();
    let objects = listed["items"].as_array().cloned().unwrap_or_default();
    let named = objects.into_iter().map(|object| {
        let text = |path: &str| object.pointer(path).and_then(Json::as_str).unwrap_or_default().to_owned();
        let name = format!("{} {}/{}", text("/kind"), text("/metadata/namespace"), text("/metadata/name"));
        (name, settled_part(object))
    });
    named.collect()
}

fn settled_part(mut object: Json) -> Json {
    let labels = object["metadata"]["labels"].take();
    let members = object.as_object_mut().expect("an object");
    members.remove("metadata");
    members.remove("status");
    members.insert("labels".into(), labels);
    for member in ["clusterIP", "clusterIPs"] {
        if let Some(spec) = members.get_mut("spec").and_then(Json::as_object_mut) {
            spec.remove(member);
        }
    }
    for webhook in members.get_mut("webhooks").and_then(Json::as_array_mut).into_iter().flatten() {
        webhook["clientConfig"]["caBundle"] = Json::Null;
        webhook["failurePolicy"] = Json::Null;
    }
    object
}

#[track_caller]
fn assert_same(expected: &BTreeMap<String, Json>, found: &BTreeMap<String, Json>, when: &str) {
    let missing: Vec<&String> = expected.keys().filter(|object| !found.contains_key(*object)).collect();
    let orphaned: Vec<&String> = found.keys().filter(|object| !expected.contains_key(*object)).collect();
    assert!(missing.is_empty() && orphaned.is_empty(), "{when}: missing {missing:?}, orphaned {orphaned:?}");
    for (object, wanted) in expected {
        assert_eq!(&found[object], wanted, "{when}: {object}");
    }
}
