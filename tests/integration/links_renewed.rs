//! Links whose tokens a job in the watcher renews. Their CronJobs are read from the API servers, their Pods run on this
//! machine, and istiods, istioctl and API servers judge.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use lab::{Cluster, Lab, Options, Proxies};
use serde_json::Value;

use crate::links_own_tokens::{login, trust};
use crate::links_topologies::{Run, knows_the_pod, no_secret_in_state, nothing_is_left, synced, web};
use crate::rbac::restricted;
use crate::support::cli::clis;
use crate::support::traffic::{passes, workload};

const EXAMPLE: &str = "multi-primary-one-network";
const NAMESPACE: &str = "istio-system";
const HOUR: Duration = Duration::from_secs(3_600);

/// The example, with these attributes of its control planes and of its links.
fn with(run: &Run<'_>, primary: &str, remote: &str) {
    let original = include_str!("../../examples/multi-primary-one-network/main.tf");
    let mut text = original.to_owned();
    for (line, more) in
        [("trust_root = mesh_ca.this.root_fingerprint", primary), ("allow_loopback_server = var.one_machine", remote)]
    {
        assert!(original.contains(line));
        text = text.replace(line, &format!("{line}\n  {more}"));
    }
    std::fs::write(run.workspace.path("main.tf"), text).expect("the configuration");
}

fn capped(longest_token: Duration) -> Lab {
    Lab::start(&["east", "west"], Options { longest_token: Some(longest_token), ..Options::default() })
        .expect("clusters")
}

fn job(watched: &str) -> String {
    format!("istio-mesh-renewal-{watched}")
}

/// What the remote secret in `watcher` says of `watched`.
fn kubeconfig(watcher: &Cluster, watched: &str) -> String {
    let name = format!("istio-remote-secret-{watched}");
    let secret = watcher.get(&["secret", &name, "-n", NAMESPACE]).expect("kubectl").expect("the remote secret");
    let data = secret["data"][watched].as_str().expect("the kubeconfig");
    String::from_utf8(STANDARD.decode(data).expect("base64")).expect("a text")
}

/// The token in it.
fn token(watcher: &Cluster, watched: &str) -> String {
    let text = kubeconfig(watcher, watched);
    let line = text.lines().find_map(|line| line.trim().strip_prefix("token: ")).expect("a token");
    line.trim_matches('"').to_owned()
}

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("a JSON web token");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64")).expect("claims")
}

fn number(claims: &Value, name: &str) -> i64 {
    claims[name].as_i64().expect("a number")
}

/// The job renews the token now; the new one.
#[track_caller]
fn renewed(watcher: &Cluster, watched: &str) -> String {
    let (before, text) = (token(watcher, watched), kubeconfig(watcher, watched));
    // Tokens tell their time in seconds.
    std::thread::sleep(Duration::from_millis(1_100));
    let ran = watcher.run_cron_job(NAMESPACE, &job(watched)).expect("the job");
    assert!(ran.success, "{}", ran.said);
    assert!(!ran.said.contains("eyJ"), "no token is printed: {}", ran.said);
    let after = token(watcher, watched);
    assert_eq!(kubeconfig(watcher, watched), text.replace(&before, &after), "nothing else changes");
    let (old, new) = (claims(&before), claims(&after));
    assert!(number(&new, "exp") > number(&old, "exp"), "{} {}", old["exp"], new["exp"]);
    assert_eq!(new["kubernetes.io"]["secret"], old["kubernetes.io"]["secret"], "deleting one Secret revokes both");
    after
}

/// istiod of the watcher logs in by this token: the watched API server says so of its requests.
fn is_used(watched: &Cluster, token: &str) {
    let id = format!("JTI={}", claims(token)["jti"].as_str().expect("an id"));
    let used = || {
        let log = std::fs::read_to_string(watched.dir().join("audit.log")).unwrap_or_default();
        log.lines().any(|line| line.contains(&id) && line.contains("pilot-discovery"))
    };
    watched.wait_until("istiod with its new token", used).expect("the token is used");
}

/// The API server lets nobody in by this token. It remembers for some seconds whom it has let in.
fn is_void(cluster: &Cluster, token: &str) {
    cluster.wait_until("the token to be void", || login(cluster, token).is_err()).expect("no token lives on");
}

/// A whole life of one token is granted, three are needed: the job of each link gives them, and nobody applies.
#[test]
fn a_token_cut_short_is_renewed_in_the_watcher_by_a_job_that_may_do_nothing_else() {
    let Some(cli) = clis().into_iter().next() else { return };
    let lab = capped(HOUR);
    let run = Run::of_example(&cli, &lab, EXAMPLE);
    let (east, west) = (lab.cluster("east"), lab.cluster("west"));

    with(&run, "", "");
    let refused = run.apply();
    assert_eq!(refused.code, Some(1), "{}", refused.stdout);
    assert!(refused.stderr.contains("renewal = {}"), "{}", refused.stderr);

    with(&run, "images = { pull_secrets = [\"pull\"] }", "token = { renewal = {} }");
    let said = run.apply().ok();
    let made = west.get(&["cronjob", &job("east"), "-n", NAMESPACE]).expect("kubectl").expect("the job");
    let pulls = &made["spec"]["jobTemplate"]["spec"]["template"]["spec"]["imagePullSecrets"];
    assert_eq!(*pulls, serde_json::json!([{ "name": "pull" }]), "as istiod's ServiceAccount does");
    assert!(!said.stdout.contains("shorter tokens"), "{}", said.stdout);
    run.settled();
    let first = token(west, "east");
    assert_eq!(number(&claims(&first), "exp") - number(&claims(&first), "iat"), 3_600, "what is granted");
    let schedules: BTreeSet<String> = [(west, "east"), (east, "west")].map(|(at, of)| schedule(at, of)).into();
    assert_eq!(schedules.len(), 2, "{schedules:?}");
    assert!(schedules.iter().all(|cron| cron.contains("-59/20 ")), "three runs in an hour: {schedules:?}");

    let mut last = first.clone();
    for _ in 0..3 {
        last = renewed(west, "east");
        renewed(east, "west");
    }
    is_used(east, &last);
    synced(west, &["east"]);
    synced(east, &["west"]);
    // What the job has done is what the configuration asks for.
    run.settled();
    let drift = run.workspace.run(&["plan", "-refresh-only", "-input=false"]).ok();
    assert!(drift.stdout.contains("found no differences"), "{}", drift.stdout);
    no_secret_in_state(&run);

    job_may_do_nothing_else(west);
    reader_gets_no_other_token(east, west, &last);
    refusals_are_told(east, west);

    // Connections of before are gone: istiod logs in anew, by what the job has written.
    let after = renewed(west, "east");
    east.fault(lab::Fault::stopped()).expect("the API server ends");
    east.clear_faults().expect("the API server starts");
    knows_the_pod(west, &web(east));
    is_used(east, &after);

    run.destroy().ok();
    for token in [&first, &after] {
        is_void(east, token);
    }
    nothing_is_left(&lab);
}

fn schedule(watcher: &Cluster, watched: &str) -> String {
    let job = watcher.get(&["cronjob", &job(watched), "-n", NAMESPACE]).expect("kubectl").expect("the job");
    job["spec"]["schedule"].as_str().expect("a schedule").to_owned()
}

/// Of all rights in all namespaces those on one Secret, beside what everybody has.
fn job_may_do_nothing_else(watcher: &Cluster) {
    let account = format!("system:serviceaccount:{NAMESPACE}:{}", job("east"));
    let list = |namespace: &str, user: &str| {
        let all = watcher.kubectl(&["auth", "can-i", "--list", "--no-headers", "-n", namespace, "--as", user]);
        let all = all.expect("the rights");
        all.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<BTreeSet<_>>()
    };
    for namespace in [NAMESPACE, "kube-system", "default"] {
        let everybody = list(namespace, &format!("system:serviceaccount:{namespace}:nobody"));
        let more: Vec<String> = list(namespace, &account).difference(&everybody).cloned().collect();
        let wanted = match namespace {
            NAMESPACE => vec!["secrets [] [istio-remote-secret-east] [get patch]".to_owned()],
            _ => Vec::new(),
        };
        assert_eq!(more, wanted, "{namespace}");
    }
}

/// Who steals the token of a link gets the next one, and none of anybody else; in the watcher it is nothing.
fn reader_gets_no_other_token(watched: &Cluster, watcher: &Cluster, token: &str) {
    let as_reader = |args: &[&str]| {
        let (server, token) = (format!("--server={}", watched.server()), format!("--token={token}"));
        let login = ["--kubeconfig=/dev/null", "--insecure-skip-tls-verify", &server, &token];
        watched.kubectl(&login.into_iter().chain(args.iter().copied()).collect::<Vec<_>>())
    };
    let own = ["create", "token", "istio-mesh-reader", "-n", NAMESPACE];
    let bound = |name| own.into_iter().chain(["--bound-object-kind=Secret", name]).collect::<Vec<_>>();
    as_reader(&bound("--bound-object-name=istio-mesh-reader.east.west.1")).expect("its own");
    watched.kubectl(&["create", "secret", "generic", "mine", "-n", NAMESPACE]).expect("a Secret");
    for unbound in [own.to_vec(), bound("--bound-object-name=mine")] {
        let refused = as_reader(&unbound);
        assert!(refused.is_err_and(|error| error.to_string().contains("must be bound to a Secret")), "{unbound:?}");
    }
    watched.kubectl(&["delete", "secret", "mine", "-n", NAMESPACE]).expect("deleted");
    for (account, namespace) in [("istiod", NAMESPACE), ("default", NAMESPACE), ("default", "kube-system")] {
        let refused = as_reader(&["create", "token", account, "-n", namespace]);
        assert!(refused.is_err_and(|error| error.to_string().contains("orbidden")), "{namespace}/{account}");
    }
    let secret = [
        "patch",
        "secret",
        "istio-mesh-reader.east.west.1",
        "-n",
        NAMESPACE,
        "-p",
        "{\"metadata\":{\"labels\":{\"a\":\"b\"}}}",
    ];
    assert!(as_reader(&secret).is_err_and(|error| error.to_string().contains("orbidden")), "it changes no Secret");
    assert!(login(watcher, token).is_err(), "in the watcher it lets nobody in");
}

/// Why a token was not renewed is said by the job, without the token, and the one there is stays.
fn refusals_are_told(watched: &Arc<Cluster>, watcher: &Arc<Cluster>) {
    let before = token(watcher, "east");
    let role = ["role", "istio-mesh-reader", "-n", NAMESPACE];
    let whole = watched.get(&role).expect("kubectl").expect("the role");
    let mut less = whole.clone();
    less["rules"].as_array_mut().expect("rules").retain(|rule| rule["resources"][0] != "serviceaccounts/token");
    less["metadata"].as_object_mut().expect("metadata").remove("resourceVersion");
    let apply = |role: &Value| {
        let mut role = role.clone();
        role["metadata"]
            .as_object_mut()
            .expect("metadata")
            .retain(|key, _| !["resourceVersion", "managedFields"].contains(&key.as_str()));
        watched.run(lab::tools::Tool::Kubectl, &["replace", "-f", "-"], Some(&role.to_string())).expect("the role");
    };
    apply(&less);
    let ask = || {
        let user = format!("system:serviceaccount:{NAMESPACE}:istio-mesh-reader");
        let args = [
            "auth",
            "can-i",
            "create",
            "serviceaccounts/istio-mesh-reader",
            "--subresource=token",
            "-n",
            NAMESPACE,
            "--as",
            &user,
        ];
        watched.kubectl(&args).is_ok()
    };
    watched.wait_until("the right to be gone", || !ask()).expect("the role");
    let ran = watcher.run_cron_job(NAMESPACE, &job("east")).expect("the job");
    assert!(
        !ran.success && ran.said.contains("does not let ServiceAccount istio-system/istio-mesh-reader ask"),
        "{}",
        ran.said
    );
    assert!(token(watcher, "east") == before, "the token stays");
    apply(&whole);
    watched.wait_until("the right to be back", ask).expect("the role");

    watched.fault(lab::Fault::unreachable()).expect("a fault");
    let ran = watcher.run_cron_job(NAMESPACE, &job("east")).expect("the job");
    watched.clear_faults().expect("no fault");
    assert!(!ran.success && ran.said.contains("does not answer"), "{}", ran.said);
    assert!(token(watcher, "east") == before, "the token stays");
}

/// To the job and away from it, changed by somebody, and into a state that knows nothing: what is left of either way is
/// removed, and what is somebody else's stays.
#[test]
fn a_link_changes_to_a_job_and_back_and_is_imported() {
    let Some(cli) = clis().into_iter().next() else { return };
    let lab = capped(24 * HOUR);
    let run = Run::of_example(&cli, &lab, EXAMPLE);
    let (east, west) = (lab.cluster("east"), lab.cluster("west"));
    with(&run, "", "token = { lifetime = \"1d\" }");
    run.apply().ok();
    let kinds = "serviceaccounts,roles,rolebindings,configmaps,cronjobs,jobs";
    let objects = |cluster: &Cluster| {
        let all = cluster.kubectl(&["get", kinds, "-n", NAMESPACE, "-o", "name"]).expect("kubectl");
        all.lines().filter(|line| line.contains("istio-mesh-renewal")).map(str::to_owned).collect::<Vec<_>>()
    };
    west.kubectl(&["create", "configmap", "istio-mesh-renewal-mine", "-n", NAMESPACE]).expect("a bystander");
    let bystander = objects(west);
    assert_eq!(bystander.len(), 1, "{bystander:?}");
    let bound = || {
        let secrets = east.kubectl(&["get", "secrets", "-n", NAMESPACE, "-o", "name"]).expect("kubectl");
        secrets.lines().filter(|line| line.contains("istio-mesh-reader.east.west.")).count()
    };

    let plain = token(west, "east");
    with(&run, "", "token = { renewal = {} }");
    run.apply().ok();
    run.settled();
    synced(west, &["east"]);
    assert_eq!((objects(west).len(), bound()), (bystander.len() + 5, 1), "{:?}", objects(west));
    is_void(east, &plain);
    assert!(schedule(west, "east").ends_with("-23/8 * * *"), "three runs in a day: {}", schedule(west, "east"));
    let by_job = renewed(west, "east");
    run.settled();

    somebody_stops_the_job(&run, west);
    let address = "mesh_remote_cluster.this[\"east\"]";
    run.workspace.run(&["state", "rm", address]).ok();
    run.workspace.run(&["import", "-input=false", address, "east/istio-system/east"]).ok();
    run.settled();

    with(&run, "", "token = { long_lived = true }");
    run.apply().ok();
    run.settled();
    synced(west, &["east"]);
    assert_eq!((objects(west), bound()), (bystander.clone(), 1));
    assert_eq!(claims(&token(west, "east"))["exp"], Value::Null, "it never ends");
    // What the job made is revoked with the Secret that it is bound to.
    is_void(east, &by_job);

    with(&run, "", "token = { renewal = {} }");
    run.apply().ok();
    renewed(west, "east");
    tokens_that_nobody_renews_are_refused(&run, west);
    assert_eq!((objects(west).len(), bound()), (bystander.len() + 5, 1));
    with(&run, "", "token = { lifetime = \"1d\" }");
    run.apply().ok();
    run.settled();
    synced(west, &["east"]);
    assert_eq!((objects(west), bound()), (bystander.clone(), 1));

    with(&run, "", "token = { renewal = {} }");
    run.apply().ok();
    let last = renewed(west, "east");
    run.destroy().ok();
    assert_eq!(objects(west), bystander);
    is_void(east, &last);
}

/// Without the job, and by tokens of less than what is asked for, the link would end within a day: the job stays, with
/// its rights, and the next plan shows the change again.
#[track_caller]
fn tokens_that_nobody_renews_are_refused(run: &Run<'_>, watcher: &Arc<Cluster>) {
    let before = token(watcher, "east");
    with(run, "", "");
    let refused = run.apply();
    assert_eq!(refused.code, Some(1), "{}", refused.stdout);
    let words = refused.stderr.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
    for said in ["grants shorter tokens than asked for", "the link keeps the token that it has"] {
        assert!(words.contains(said), "{said}: {}", refused.stderr);
    }
    assert!(token(watcher, "east") == before, "the token stays");
    let plan = run.plan();
    assert_eq!(plan.code, Some(2), "{}{}", plan.stdout, plan.stderr);
    assert!(plan.stdout.contains("renewal"), "{}", plan.stdout);
    renewed(watcher, "east");
    synced(watcher, &["east"]);
}

/// A job that is suspended, and a Role that is missing, are said and made good; the plan shows it.
fn somebody_stops_the_job(run: &Run<'_>, watcher: &Cluster) {
    let before = token(watcher, "east");
    let suspend =
        ["patch", "cronjob", &job("east"), "-n", NAMESPACE, "--type=merge", "-p", "{\"spec\":{\"suspend\":true}}"];
    watcher.kubectl(&suspend).expect("suspended");
    let image =
        ["set", "image", &format!("cronjob/{}", job("east")), "renew=registry.example/theirs:1", "-n", NAMESPACE];
    watcher.kubectl(&image).expect("another image");
    watcher.kubectl(&["delete", "role", &job("east"), "-n", NAMESPACE]).expect("deleted");
    let plan = run.plan();
    assert_eq!(plan.code, Some(2), "{}{}", plan.stdout, plan.stderr);
    let words = plan.stdout.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
    for said in [
        "is not as it was made",
        "spec.suspend",
        "has the image of somebody else",
        "Role istio-system/istio-mesh-renewal-east is missing",
        "\"unrenewed\" -> \"renewed\"",
    ] {
        assert!(words.contains(said), "{said}: {}", plan.stdout);
    }
    run.apply().ok();
    run.settled();
    assert!(token(watcher, "east") == before, "the token stays");
    let live = watcher.get(&["cronjob", &job("east"), "-n", NAMESPACE]).expect("kubectl").expect("the job");
    assert!(!live.to_string().contains("registry.example/theirs:1"), "{live}");
    let works = || watcher.run_cron_job(NAMESPACE, &job("east")).is_ok_and(|ran| ran.success);
    watcher.wait_until("the Role to be heard of", works).expect("the job works again");
}

/// The provider has the rights of examples/rbac and no others.
fn with_documented_rights(run: &Run<'_>) {
    let file = run.workspace.path("lab.auto.tfvars.json");
    let text = std::fs::read_to_string(&file).expect("the variables");
    let mut variables: Value = serde_json::from_str(&text).expect("JSON");
    for cluster in run.lab.clusters() {
        let kubeconfig = run.workspace.path(&format!("{}.kubeconfig", cluster.name()));
        restricted(cluster, &kubeconfig);
        variables["kubeconfigs"][cluster.name()] = serde_json::json!(kubeconfig);
    }
    std::fs::write(&file, variables.to_string()).expect("the variables");
}

/// An image without a shell is refused before anything is written, and another can be named.
#[test]
fn a_job_needs_an_image_with_a_shell() {
    let Some(cli) = clis().into_iter().next() else { return };
    let lab = capped(HOUR);
    let run = Run::of_example(&cli, &lab, EXAMPLE);
    with_documented_rights(&run);
    let west = lab.cluster("west");
    let distroless = "values = [yamlencode({ global = { tag = \"1.31.1-distroless\" } })]";
    with(&run, distroless, "token = { renewal = {} }");
    let refused = run.apply();
    assert_eq!(refused.code, Some(1), "{}", refused.stdout);
    for said in ["The image of istiod has no shell", "1.31.1-distroless"] {
        assert!(refused.stderr.contains(said), "{said}: {}", refused.stderr);
    }
    let secrets = west.kubectl(&["get", "secrets", "-n", NAMESPACE, "-o", "name"]).expect("kubectl");
    assert!(!secrets.contains("istio-remote-secret") && !secrets.contains("istio-mesh-reader"), "{secrets}");

    with(&run, distroless, "token = { renewal = { image = \"registry.example/pilot:1.31.1\" } }");
    run.apply().ok();
    run.settled();
    renewed(west, "east");
    let address = "mesh_remote_cluster.this[\"east\"]";
    run.workspace.run(&["state", "rm", address]).ok();
    run.workspace.run(&["import", "-input=false", address, "east/istio-system/east"]).ok();
    run.settled();
    synced(west, &["east"]);
}

/// Three times the limit of the API servers passes after one apply, in each way: who says nothing is refused; then
/// east's tokens are renewed by jobs, west's never end, north's are its watcher's own. In the end calls of new Pods
/// arrive over every link, so that each istiod reads the others' clusters.
fn outlive(limit: Duration) {
    let Some(cli) = clis().into_iter().next() else { return };
    if let Err(why) = lab::proxies_possible() {
        panic!("{why}");
    }
    let options =
        Options { longest_token: Some(limit), own_issuers: true, proxies: Proxies::OneNetwork, ..Options::default() };
    let lab = Lab::start(&["east", "west", "north"], options).expect("clusters");
    let run = Run::of_example(&cli, &lab, EXAMPLE);
    let (east, west, north) = (lab.cluster("east"), lab.cluster("west"), lab.cluster("north"));
    for cluster in lab.clusters() {
        cluster.publish_keys().expect("the keys");
    }
    with(&run, "link_token = {}", "");
    let refused = run.apply();
    assert_eq!(refused.code, Some(1), "{}", refused.stdout);
    assert!(refused.stderr.contains("grants shorter tokens"), "{}", refused.stderr);
    for cluster in lab.clusters() {
        let linked = ["get", "secrets", "-A", "-l", "istio/multiCluster=true", "-o", "name"];
        assert_eq!(cluster.kubectl(&linked).expect("kubectl").trim(), "", "nothing is linked");
    }

    // One file holds one issuer here: north trusts east's istiod, and nobody else watches it.
    trust(north, east, "east:");
    let attributes = "link_token = each.key == \"north\" ? {} : null\n  \
         token = each.key == \"north\" ? null : { long_lived = each.key == \"west\", renewal = each.key == \"east\" ? {} : null }";
    with(&run, "link_token = {}", attributes);
    let file = run.workspace.path("main.tf");
    let text = std::fs::read_to_string(&file).expect("the configuration");
    let all = "[for name in local.clusters : mesh_primary.this[name].cluster if name != each.key]";
    let some = "[for name in each.key == \"north\" ? [\"east\"] : sort(local.clusters) : mesh_primary.this[name].cluster if name != each.key]";
    assert!(text.contains(all));
    std::fs::write(&file, text.replace(all, some)).expect("the configuration");
    run.apply().ok();
    run.settled();
    let begun = Instant::now();
    let first: Vec<(&Arc<Cluster>, String)> = [west, north].map(|watcher| (watcher, token(watcher, "east"))).into();
    let granted = limit.as_secs() as i64;
    for (watcher, token) in &first {
        let claims = claims(token);
        assert_eq!(number(&claims, "exp") - number(&claims, "iat"), granted, "what is granted");
        println!("{} watches east by a token from {} to {}", watcher.name(), claims["iat"], claims["exp"]);
    }
    assert_eq!(claims(&token(east, "west"))["exp"], Value::Null, "it never ends");

    let in_sync = || {
        synced(east, &["west", "north"]);
        synced(west, &["east"]);
        synced(north, &["east", "west"]);
        println!("{} s: every istiod is in sync", begun.elapsed().as_secs());
    };
    let (mut runs, mut seen, mut passed) = (Vec::new(), BTreeSet::new(), 0);
    while begun.elapsed() < limit * 3 + limit / 10 {
        if begun.elapsed() > limit * (passed + 1) {
            in_sync();
            passed += 1;
        }
        for watcher in [west, north] {
            for pod in new_pods(watcher, &mut seen) {
                let ran = watcher.run_pod(NAMESPACE, &pod).expect("the Pod");
                assert!(ran.success, "{}", ran.said);
                let until = number(&claims(&token(watcher, "east")), "exp");
                println!("{} s: the job in {} renews until {until}", begun.elapsed().as_secs(), watcher.name());
                runs.push(watcher.name().to_owned());
            }
        }
        std::thread::sleep(Duration::from_secs(2));
    }
    println!("{} s have passed, and {} runs of jobs", begun.elapsed().as_secs(), runs.len());
    for (watcher, token) in &first {
        assert!(login(east, token).is_err(), "the token of the apply has ended");
        assert!(runs.iter().filter(|name| *name == watcher.name()).count() >= 3, "{runs:?}");
    }
    in_sync();
    let [orders, cart, stock] = [("orders", 9001, "east"), ("cart", 9000, "west"), ("stock", 9002, "north")]
        .map(|(name, port, at)| workload(&lab, name, port, at));
    for (from, to, words) in [
        (&cart, &orders, 9001),
        (&stock, &orders, 9001),
        (&orders, &cart, 9000),
        (&stock, &cart, 9000),
        (&orders, &stock, 9002),
    ] {
        let answer = passes(from, to, words);
        println!("{} s: {} calls {}: {answer:?}", begun.elapsed().as_secs(), from.cluster, to.cluster);
    }
    run.settled();

    // And without the jobs it would not have held.
    let begun = Instant::now();
    while begun.elapsed() < limit * 2 / 3 + Duration::from_secs(30) {
        std::thread::sleep(Duration::from_secs(5));
    }
    let plan = run.plan();
    assert_eq!(plan.code, Some(2), "{}{}", plan.stdout, plan.stderr);
    assert!(plan.stdout.contains("was not renewed in time"), "{}", plan.stdout);
    run.apply().ok();
    run.settled();
    run.destroy().ok();
}

/// Pods that the CronJob for east has made since the last look.
fn new_pods(watcher: &Cluster, seen: &mut BTreeSet<String>) -> Vec<String> {
    let label = format!("app={}", job("east"));
    let pods = watcher.kubectl(&["get", "pods", "-n", NAMESPACE, "-l", &label, "-o", "name"]).unwrap_or_default();
    let names = pods.lines().filter_map(|line| line.strip_prefix("pod/"));
    names.filter(|pod| seen.insert(format!("{} {pod}", watcher.name()))).map(str::to_owned).collect()
}

#[test]
#[ignore = "it lasts forty minutes: three times ten minutes, the lowest limit that an API server can have"]
fn each_way_outlives_three_times_the_limit_of_the_api_server() {
    outlive(Duration::from_secs(600));
}

#[test]
#[ignore = "it lasts four hours: three times an hour, the lowest limit of API servers that sign tokens themselves"]
fn each_way_outlives_three_times_the_limit_of_an_api_server_that_signs() {
    outlive(HOUR);
}
