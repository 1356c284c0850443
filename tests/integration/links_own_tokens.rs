//! Links without a stored token: istiods log in to other clusters by projected tokens of their own ServiceAccounts, and
//! the API servers there trust the issuer. Judged by istioctl, by what istiods know of Pods made later, and by logins
//! that are refused.

use std::time::Duration;

use lab::tools::Tool;
use lab::{Cluster, Fault, Lab, Options};
use serde_json::{Value, json};

use crate::links_topologies::{Run, knows_the_pod, synced, web};
use crate::support::cli::clis;

const EXAMPLE: &str = "multi-primary-one-network";

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

/// Lets an API server trust the istiod of another cluster, as the guide says it.
pub fn trust(watched: &Cluster, watcher: &Cluster, prefix: &str) {
    let configuration = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
        "jwt": [{
            "issuer": {
                "url": watcher.issuer(), "audiences": ["istio-links"],
                "certificateAuthority": watcher.certificate_authority(),
            },
            "claimValidationRules": [{ "expression": "claims.sub == 'system:serviceaccount:istio-system:istiod'" }],
            "claimMappings": { "username": { "claim": "sub", "prefix": prefix } },
        }],
    });
    watched.trust(&configuration.to_string()).expect("the configuration");
}

/// Who somebody with this token is to the API server.
pub fn login(cluster: &Cluster, token: &str) -> Result<String, String> {
    let args = ["--kubeconfig=/dev/null", "auth", "whoami", "-o", "json", "--insecure-skip-tls-verify"];
    let (server, token) = (format!("--server={}", cluster.server()), format!("--token={token}"));
    let args: Vec<&str> = args.into_iter().chain([server.as_str(), token.as_str()]).collect();
    let said = cluster.kubectl(&args).map_err(|error| error.to_string())?;
    let said: Value = serde_json::from_str(&said).map_err(|error| error.to_string())?;
    Ok(said["status"]["userInfo"]["username"].as_str().unwrap_or_default().to_owned())
}

fn issued(cluster: &Cluster, account: &str, audience: &str) -> String {
    let (namespace, name) = account.split_once('/').expect("a namespace");
    let audience = format!("--audience={audience}");
    let token = cluster.kubectl(&["create", "token", name, "-n", namespace, &audience]).expect("a token");
    token.trim().to_owned()
}

fn secrets(cluster: &Cluster) -> String {
    cluster.kubectl(&["get", "secrets", "-n", "istio-system", "-o", "name"]).expect("kubectl")
}

/// What the remote secret in `watcher` says of `watched`.
fn kubeconfig(watcher: &Cluster, watched: &str) -> String {
    use base64::Engine as _;
    let name = format!("istio-remote-secret-{watched}");
    let secret = watcher.get(&["secret", &name, "-n", "istio-system"]).expect("kubectl").expect("the remote secret");
    let data = secret["data"][watched].as_str().expect("the kubeconfig");
    String::from_utf8(base64::engine::general_purpose::STANDARD.decode(data).expect("base64")).expect("a text")
}

/// Two clusters, each an issuer of its own whose keys anybody may read.
fn issuers(longest_token: Option<Duration>) -> Lab {
    let options = Options { own_issuers: true, longest_token, ..Options::default() };
    let lab = Lab::start(&["east", "west"], options).expect("clusters");
    for cluster in lab.clusters() {
        cluster.publish_keys().expect("the keys");
    }
    lab
}

#[test]
fn links_without_a_stored_token_outlive_every_token() {
    let Some(cli) = clis().into_iter().next() else { return };
    // API servers that grant stored tokens an hour refuse this kind of link nothing.
    let lab = issuers(Some(Duration::from_secs(3_600)));
    let run = Run::of_example(&cli, &lab, EXAMPLE);
    let (east, west) = (lab.cluster("east"), lab.cluster("west"));

    // A control plane that gives its istiod no token is found at plan.
    with(&run, "", "link_token = {}");
    let refused = run.plan();
    assert_eq!(refused.code, Some(1), "{}", refused.stdout);
    assert!(refused.stderr.contains("An istiod has no token for this link"), "{}", refused.stderr);

    // Nobody trusts anybody yet: nothing is written to a watcher, and the error says what the API server needs.
    with(&run, "link_token = {}", "link_token = {}");
    let refused = run.apply();
    assert_eq!(refused.code, Some(1), "{}", refused.stdout);
    for said in
        ["does not trust the watcher's tokens", "kind: AuthenticationConfiguration", &east.issuer(), &west.issuer()]
    {
        assert!(refused.stderr.contains(said), "{said}: {}", refused.stderr);
    }
    assert!(!secrets(east).contains("istio-remote-secret"), "{}", secrets(east));
    // Nothing else would tell after a kill that a remote secret is there: no token is bound to a Secret.
    let noted = lease(east)["metadata"]["annotations"]["terraform-provider-mesh/places"].clone();
    assert_eq!(noted, "istio-system/west\n", "it is noted before anything is written to the watcher");

    // A name that the rights are not bound to.
    trust(east, west, "hub:");
    trust(west, east, "east:");
    let refused = run.apply();
    assert_eq!(refused.code, Some(1), "{}", refused.stdout);
    for said in ["knows the istiod by another name", "hub:system:serviceaccount:istio-system:istiod"] {
        assert!(refused.stderr.contains(said), "{said}: {}", refused.stderr);
    }

    trust(east, west, "west:");
    run.apply().ok();
    run.settled();
    synced(east, &["west"]);
    synced(west, &["east"]);
    for (cluster, other) in [(east, "west"), (west, "east")] {
        let text = kubeconfig(cluster, other);
        assert!(text.contains("tokenFile: \"./var/run/secrets/istio-links/istio-links\""), "{text}");
        assert!(!text.contains("token:"), "{text}");
        assert!(!secrets(cluster).contains("istio-mesh-reader"), "no token is kept: {}", secrets(cluster));
    }

    // Who is let in: this audience of this ServiceAccount.
    let account = "istio-system/istiod";
    let user = login(east, &issued(west, account, "istio-links")).expect("istiod is let in");
    assert_eq!(user, "west:system:serviceaccount:istio-system:istiod");
    for (account, audience) in [(account, "another"), ("default/default", "istio-links")] {
        let refused = login(east, &issued(west, account, audience));
        assert!(
            refused.as_ref().is_err_and(|error| error.contains("nauthorized")),
            "{account} {audience}: {refused:?}"
        );
    }

    // Every token that the watcher has issued is void, no connection of before is left, and nobody applies. An API
    // server keeps an issuer's keys for as long as the issuer allows, which is an hour here; one that starts fetches
    // them.
    let before = issued(west, account, "istio-links");
    west.fault(Fault::tokens_expired()).expect("new keys");
    west.clear_faults().expect("the fault is over");
    east.fault(Fault::stopped()).expect("the API server ends");
    east.clear_faults().expect("the API server starts");
    let again = || login(east, &issued(west, account, "istio-links")).is_ok();
    east.wait_until("the new keys of west", again).expect("the issuer is trusted");
    assert!(login(east, &before).is_err(), "a token of before is void");
    knows_the_pod(west, &web(east));
    synced(west, &["east"]);
    run.settled();

    // By an apply and by a destroy.
    left_by_a_killed_apply(east);
    run.apply().ok();
    assert!(!secrets(east).contains("istio-remote-secret-east"), "{}", secrets(east));
    // No cluster watches itself but in this test: the Roles of its reader were taken for those of a renewal.
    run.apply().ok();
    run.settled();
    left_by_a_killed_apply(east);
    run.destroy().ok();
    assert!(!secrets(east).contains("istio-remote-secret-east"), "{}", secrets(east));
    assert!(east.get(&["clusterrole", "istio-mesh-reader-istio-system"]).expect("kubectl").is_none());
}

/// The Lease of the link to a cluster.
fn lease(watched: &Cluster) -> Value {
    let name = format!("mesh-remote-cluster.{}", watched.name());
    watched.get(&["lease", &name, "-n", "istio-system"]).expect("kubectl").expect("the Lease")
}

/// A run has added the cluster itself to those that watch it, and was killed when the remote secret was written. The
/// configuration names that watcher no longer.
fn left_by_a_killed_apply(watched: &Cluster) {
    let lease = lease(watched);
    let metadata = &lease["metadata"];
    let (mark, owner) = ("terraform-provider-mesh/instance", "terraform-provider-mesh/owner");
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": {
        "name": format!("istio-remote-secret-{}", watched.name()), "namespace": "istio-system",
        "labels": { owner: metadata["labels"][owner] }, "annotations": { mark: metadata["annotations"][mark] } } });
    let apply = ["apply", "--server-side", "--field-manager=terraform-provider-mesh", "-f", "-"];
    watched.run(Tool::Kubectl, &apply, Some(&secret.to_string())).expect("a Secret");
    let places = format!("istio-system/west\nistio-system/{}\n", watched.name());
    let patch = json!({ "metadata": { "annotations": { "terraform-provider-mesh/places": places } },
        "spec": { "holderIdentity": "interrupted" } });
    let name = metadata["name"].as_str().expect("a name");
    watched
        .kubectl(&["patch", "lease", name, "-n", "istio-system", "--type=merge", "-p", &patch.to_string()])
        .expect("the Lease");
}

/// From tokens to none, back again, and into a state that knows nothing: what is left of either is removed, and what is
/// somebody else's stays.
#[test]
fn a_link_changes_its_kind_of_token_and_is_imported() {
    let Some(cli) = clis().into_iter().next() else { return };
    let lab = issuers(None);
    let run = Run::of_example(&cli, &lab, EXAMPLE);
    let (east, west) = (lab.cluster("east"), lab.cluster("west"));
    for (watched, watcher) in [(east, west), (west, east)] {
        trust(watched, watcher, &format!("{}:", watcher.name()));
    }
    with(&run, "link_token = {}", "");
    run.apply().ok();
    assert!(secrets(east).contains("istio-mesh-reader.east.west"), "{}", secrets(east));
    let theirs = ["create", "secret", "generic", "istio-mesh-reader.mine", "-n", "istio-system"];
    east.kubectl(&theirs).expect("a bystander");

    with(&run, "link_token = {}", "link_token = {}");
    run.apply().ok();
    run.settled();
    synced(east, &["west"]);
    synced(west, &["east"]);
    knows_the_pod(west, &web(east));
    let left = secrets(east);
    assert!(!left.contains("istio-mesh-reader.east") && left.contains("istio-mesh-reader.mine"), "{left}");
    let account = east.get(&["serviceaccount", "istio-mesh-reader", "-n", "istio-system"]).expect("kubectl");
    assert!(account.is_none(), "nobody logs in by it: {account:?}");

    let addresses = ["mesh_remote_cluster.this[\"east\"]", "mesh_primary.this[\"west\"]"];
    for (address, id) in addresses.into_iter().zip(["east/istio-system/east", "west/istio-system/istiod"]) {
        run.workspace.run(&["state", "rm", address]).ok();
        run.workspace.run(&["import", "-input=false", address, id]).ok();
    }
    run.settled();

    with(&run, "link_token = {}", "");
    run.apply().ok();
    run.settled();
    synced(east, &["west"]);
    synced(west, &["east"]);
    assert!(secrets(east).contains("istio-mesh-reader.east.west"), "{}", secrets(east));
}
