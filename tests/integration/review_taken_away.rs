//! The plan review on what a plan takes away: doors that close, names that are no longer accepted, and what is found of
//! several meshes, modules and states.

use serde_json::{Value, json};
use terraform_provider_mesh::review::{Format, Policy, Review, risk::Level};

use crate::review_edited::{CA, EAST, GATEWAY, LINK, Plan, WEST, judge, values};
use crate::review_pages::SCHEMAS;

const GATEWAY_OF_WEST: &str = "mesh_eastwest_gateway.this[\"west\"]";
const INJECTOR: &str = "MutatingWebhookConfiguration istio-sidecar-injector";

fn set(address: &str, pointer: &str, before: Value, after: Value) -> Plan {
    Plan::still().update(address, &[(pointer, before, after)])
}

/// West has no control plane of its own any more: it is served by the one in east.
fn with_remote(mut plan: Plan) -> Plan {
    let all = plan.0["resource_changes"].as_array_mut().unwrap();
    all.retain(|change| change["address"] != WEST);
    let link = &mut plan.resource("mesh_remote_cluster.this[\"west\"]")["change"];
    for side in ["before", "after"] {
        link[side]["mode"] = "remote".into();
        link[side]["network"] = "net-west".into();
        link[side]["control_plane_address"] = "10.210.0.1".into();
    }
    plan
}

const REMOTE: &str = "mesh_remote_cluster.this[\"west\"]";

#[tokio::test]
async fn doors_that_close() {
    let service = json!({ "annotations": null, "external_ips": null, "load_balancer_class": null, "source_ranges": ["10.0.0.0/8"] });
    let dialled = |plan: Plan| plan.update(GATEWAY, &[("/expose/control_plane", json!(true), json!(false))]);
    let mut moved = Plan::still();
    let mut drift = moved.resource(GATEWAY).clone();
    drift["change"]["actions"] = json!(["update"]);
    drift["change"]["after"]["addresses"][0]["value"] = "10.99.0.1".into();
    moved.0["resource_drift"] = json!([drift]);
    judge(vec![
        (
            "services of the only gateway",
            set(GATEWAY, "/expose/services", json!(true), json!(false)),
            &["danger    R09", "net-east", "R38"],
            &[],
        ),
        (
            "all that is exposed",
            set(GATEWAY, "/expose", json!({ "services": true, "hosts": null }), Value::Null),
            &["danger    R09", "R38"],
            &[],
        ),
        (
            "a host",
            set(
                GATEWAY,
                "/expose/hosts",
                json!(["a.b.svc.cluster.local", "c.b.svc.cluster.local"]),
                json!(["a.b.svc.cluster.local"]),
            ),
            &["warning   R38", "c.b.svc.cluster.local"],
            &["R09"],
        ),
        (
            "networks",
            set(GATEWAY, "/service/source_ranges", Value::Null, json!(["10.0.0.0/8"])),
            &["warning   R38"],
            &["R12"],
        ),
        (
            "the control plane, for remotes",
            dialled(with_remote(Plan::still())),
            &["danger    R38", "no certificate"],
            &[],
        ),
        ("the control plane, for nobody", dialled(Plan::still()), &["warning   R38"], &["danger    R38"]),
        (
            "the control plane's own load balancer",
            with_remote(Plan::still()).update(EAST, &[("/expose", service.clone(), Value::Null)]),
            &["danger    R38"],
            &[],
        ),
        (
            "the address of the control plane's own load balancer",
            Plan::still().update(
                EAST,
                &[
                    ("/expose", service.clone(), {
                        let mut other = service.clone();
                        other["load_balancer_class"] = "other".into();
                        other
                    }),
                    (
                        "/addresses",
                        json!([{ "kind": "ipv4", "value": "10.1.1.1" }]),
                        json!([{ "kind": "ipv4", "value": "10.1.1.1" }]),
                    ),
                ],
            ),
            &["warning   R10"],
            &[],
        ),
        ("an address that a cloud has changed", moved, &["warning   R10", "10.99.0.1"], &[]),
        (
            "a gateway that lets nothing through is no way in",
            set(GATEWAY, "/expose/services", json!(false), json!(false)).actions(GATEWAY, &["delete"]),
            &[],
            &["R09"],
        ),
        (
            "another control plane behind it",
            dialled(Plan::still()).update(
                GATEWAY,
                &[
                    ("/expose/control_plane", json!(true), json!(true)),
                    ("/expose/istiod_namespace", Value::Null, json!("other")),
                ],
            ),
            &["warning   R31", "other"],
            &["R38"],
        ),
        (
            "the API server",
            set(GATEWAY, "/expose/api_server", json!(true), json!(false)),
            &["warning   R38", "API server"],
            &[],
        ),
    ]);
}

#[tokio::test]
async fn load_balancers_that_leave_the_inside() {
    let google = "networking.gke.io/load-balancer-type";
    let azure = "service.beta.kubernetes.io/azure-load-balancer-internal";
    let annotations = |before: Value, after: Value, ranges: Value| {
        Plan::still().update(
            GATEWAY,
            &[("/service/annotations", before, after), ("/service/source_ranges", ranges.clone(), ranges)],
        )
    };
    let ranges = json!(["10.0.0.0/8"]);
    judge(vec![
        ("GKE", annotations(json!({ google: "Internal" }), Value::Null, Value::Null), &["danger    R12"], &[]),
        ("AKS", annotations(json!({ azure: "true" }), json!({ azure: "false" }), Value::Null), &["danger    R12"], &[]),
        ("with ranges", annotations(json!({ azure: "true" }), Value::Null, ranges), &["warning   R12"], &["danger"]),
        (
            "another subnet inside",
            annotations(
                json!({ azure: "true", "azure-load-balancer-internal-subnet": "a" }),
                json!({ azure: "true", "azure-load-balancer-internal-subnet": "b" }),
                Value::Null,
            ),
            &["warning   R12"],
            &["danger"],
        ),
    ]);
}

#[tokio::test]
async fn ambient_mode_that_is_switched_off() {
    judge(vec![
        ("off", set(EAST, "/ambient", json!(true), json!(false)), &["danger    R22", "plain text"], &[]),
        ("on", set(EAST, "/ambient", json!(false), json!(true)), &[], &["R22"]),
        (
            "beside sidecars",
            set(EAST, "/ambient_beside_sidecars", json!(false), json!(true)),
            &["warning   R08", "istio.io/global"],
            &[],
        ),
        ("of a gateway", set(GATEWAY, "/ambient", json!(true), json!(false)), &["warning   R10", "another kind"], &[]),
    ]);
}

#[tokio::test]
async fn remote_clusters_are_judged_as_those_with_a_control_plane() {
    let remote = |pointer: &str, before: Value, after: Value| {
        with_remote(Plan::still()).update(REMOTE, &[(pointer, before, after)])
    };
    judge(vec![
        (
            "network",
            remote("/network", json!("net-west"), json!("net-far")),
            &["warning   R06", "west moves from network net-west to net-far", "by hand | the network"],
            &[],
        ),
        (
            "address",
            remote("/control_plane_address", json!("10.210.0.1"), json!("6.6.6.6")),
            &["danger    R31", "6.6.6.6"],
            &[],
        ),
        ("revision", remote("/revision", Value::Null, json!("canary")), &["warning   R35", "canary"], &[]),
        (
            "revision of a gateway",
            set(GATEWAY, "/revision", Value::Null, json!("canary")),
            &["note      R35 A cluster or a gateway is served by another control plane", "canary"],
            &["warning   R35"],
        ),
    ]);
}

#[tokio::test]
async fn code_that_comes_from_elsewhere() {
    let charts = |before: Value, after: Value| set(EAST, "/charts", before, after);
    let source: &[&str] = &["danger    R32"];
    let digest = |digest: &str| json!({ "repository": null, "digests": { "istiod": digest } });
    let job = |image: &str| json!({ "lifetime": "90d", "renewal": { "image": image } });
    judge(vec![
        ("a folder", charts(Value::Null, json!({ "directory": "./charts" })), source, &[]),
        ("definitions", charts(Value::Null, json!({ "gateway_api": "https://evil.example/crds.yaml" })), source, &[]),
        ("a digest goes", charts(digest("sha256:aa"), Value::Null), &["danger    R32", "no longer pinned"], &[]),
        ("another digest", charts(digest("sha256:aa"), digest("sha256:bb")), source, &[]),
        (
            "another digest of another version",
            charts(digest("sha256:aa"), digest("sha256:bb"))
                .update(EAST, &[("/istio_version", json!("1.30.0"), json!("1.30.1"))]),
            &[],
            &["R32"],
        ),
        (
            "a job that goes, with its image",
            set(LINK, "/token", job("a/istio:1"), json!({ "lifetime": "90d", "renewal": null })),
            &["R18"],
            &["R32"],
        ),
        ("the image of a job", set(LINK, "/token", job("a/istio:1"), job("evil.example/a:1")), source, &[]),
    ]);
}

#[tokio::test]
async fn names_and_tags_that_are_no_longer_there() {
    let tags = |address: &str, before: Value, after: Value| set(address, "/tags", before, after);
    let handed = tags(EAST, json!(["prod"]), json!([]));
    let mut other = handed.0.clone();
    let second =
        other["resource_changes"].as_array().unwrap().iter().find(|change| change["address"] == EAST).unwrap().clone();
    let mut second = second.to_string().replace("this[\\\"east\\\"]", "canary");
    second = second.replace("\"revision\":null", "\"revision\":\"canary\"");
    let mut second: Value = serde_json::from_str(&second).unwrap();
    second["change"]["before"]["tags"] = json!([]);
    second["change"]["after"]["tags"] = json!(["prod"]);
    other["resource_changes"].as_array_mut().unwrap().push(second);
    let gateways =
        |address: &str| json!({ "far": { "gateways": [{ "address": address, "port": 15443 }], "endpoints": [] } });
    judge(vec![
        ("a root", set(CA, "/accept_roots", json!(["aa", "bb"]), json!(["bb"])), &["danger    R39", "aa"], &[]),
        (
            "several roots",
            set(CA, "/accept_roots", json!(["aa", "bb", "cc"]), json!(["bb"])),
            &["danger    R39", "Certificates of aa, cc are refused."],
            &[],
        ),
        (
            "an alias",
            set(EAST, "/trust_domain_aliases", json!(["old.example"]), Value::Null),
            &["warning   R39", "old.example"],
            &[],
        ),
        ("a tag", handed, &["warning   R40", "prod"], &[]),
        ("a tag that is handed over", Plan(other), &[], &["R40"]),
        ("a webhook", Plan::still().object(EAST, INJECTOR, Some("x"), None), &["warning   R40"], &[]),
        (
            "the webhook that validates",
            Plan::still().object(EAST, "ValidatingWebhookConfiguration istio-validator", Some("x"), None),
            &["warning   R13"],
            &[],
        ),
        ("remotes served", set(EAST, "/external_istiod", json!(true), json!(false)), &["danger    R38"], &[]),
        (
            "the way to a network",
            set(EAST, "/mesh_networks", gateways("1.1.1.1"), json!({})),
            &["warning   R09", "far"],
            &[],
        ),
        (
            "another way to a network",
            set(EAST, "/mesh_networks", gateways("1.1.1.1"), gateways("6.6.6.6")),
            &["warning   R31", "far"],
            &[],
        ),
        (
            "waiting for others",
            set(EAST, "/rollout", json!({ "after": ["west"] }), Value::Null),
            &["note      R04", "no longer waits", "or may at the next upgrade"],
            &[],
        ),
    ]);
}

/// The same mesh again, with other names and one more id.
fn with_second_mesh(mut plan: Plan) -> Plan {
    let other =
        plan.0["resource_changes"].to_string().replace("this[", "other[").replace("mesh_ca.this", "mesh_ca.other");
    let other = ["east", "west"].iter().fold(other.replace("\"mesh1\"", "\"mesh2\""), |text, name| {
        text.replace(&format!("\"cluster\":\"{name}\""), &format!("\"cluster\":\"{name}2\""))
            .replace(&format!("\"watchers\":[\"{name}\"]"), &format!("\"watchers\":[\"{name}2\"]"))
    });
    let other: Vec<Value> = serde_json::from_str(&other).unwrap();
    plan.0["resource_changes"].as_array_mut().unwrap().extend(other);
    plan.0["prior_state"] = Value::Null;
    plan
}

#[tokio::test]
async fn two_meshes_in_one_plan_are_told_apart() {
    let restarted = "spec.template.metadata.annotations.a: 1 -> 2";
    let mut both = with_second_mesh(Plan::still());
    for address in [EAST, WEST] {
        both = both.field(address, "Deployment istio-system/istiod", restarted);
    }
    let mut newer = with_second_mesh(Plan::still());
    for address in [EAST, WEST] {
        newer = newer.update(address, &[("/istio_version", json!("1.30.0"), json!("1.32.0"))]);
    }
    judge(vec![
        ("all of one mesh restarts", both, &["R04", "2 control planes restart side by side: east, west"], &[]),
        ("one is far newer than the other", newer, &["R19"], &["R21"]),
    ]);
}

#[tokio::test]
async fn modules_keep_the_names_of_what_is_in_them() {
    let mut plan = Plan::still();
    for address in [EAST, WEST] {
        plan = plan.field(address, "Deployment istio-system/istiod", "spec.template.metadata.annotations.a: 1 -> 2");
    }
    let text = plan.0.to_string().replace("\"address\":\"mesh_", "\"address\":\"module.mesh[\\\"eu\\\"].mesh_");
    let policy = "version: 1\nrules: [{risk: R04, addresses: [\"*mesh_primary.this*\"], level: forbidden}]\n";
    let review = Review::of(text.as_bytes(), &Policy::parse(policy).unwrap(), &SCHEMAS).unwrap();
    let all: Vec<&str> =
        review.risks.iter().filter(|risk| risk.kind.number == "R04").map(|risk| risk.address.as_str()).collect();
    let module = "module.mesh[\"eu\"].";
    assert_eq!(all, [format!("{module}{EAST}"), format!("{module}{WEST}")]);
    assert_eq!(review.level(), Some(Level::Forbidden), "{}", review.written(Format::Text, 1 << 20));
}

#[tokio::test]
async fn a_cluster_with_a_state_of_its_own_joins_and_leaves() {
    let of_state = |actions: &[&str]| {
        let mut plan = Plan::recorded("third-cluster-joins").only(|address| address.contains("north"));
        let all = plan.0["resource_changes"].as_array_mut().unwrap();
        assert!(!all.is_empty(), "nothing of the plan is of north");
        for change in all.iter_mut() {
            let after = change["change"]["after"].clone();
            change["change"]["actions"] = json!(actions);
            if actions == ["delete"] {
                change["change"]["before"] = after;
                change["change"]["after"] = Value::Null;
                change["change"]["after_unknown"] = json!({});
            }
        }
        plan
    };
    judge(vec![
        ("joins", of_state(&["create"]), &["north joins 2 clusters"], &["a new mesh"]),
        ("leaves", of_state(&["delete"]), &["north leaves 2 clusters"], &["the mesh of"]),
    ]);
}

#[tokio::test]
async fn tokens_versions_and_checks() {
    let own = json!({ "audience": "istio-links", "users": null });
    let mut failing = Plan::still().update(GATEWAY, &[("/wait", json!(true), json!(false))]);
    failing.0["checks"] = json!([
        { "address": { "kind": "check", "name": "mesh", "to_display": "check.mesh" }, "status": "fail",
          "instances": [{ "address": { "to_display": "check.mesh" }, "status": "fail",
              "problems": [{ "message": "@octocat </details> is not healthy" }, { "message": "x".repeat(10_000) }] }] },
        { "address": { "to_display": "check.other" }, "status": "pass", "instances": [] },
    ]);
    let page = failing.review().written(Format::Markdown, 60_000);
    assert!(!page.contains(" @octocat") && page.contains("&#64;octocat") && page.len() < 20_000, "{page}");
    let mut capped = Plan::still();
    let planned = capped.0["timestamp"].as_str().unwrap().to_owned();
    let soon = (planned.parse::<jiff::Timestamp>().unwrap() + jiff::SignedDuration::from_hours(20)).to_string();
    let tokens = json!({ "west": { "condition": "valid", "expires_at": soon } });
    capped = capped.update(LINK, &[("/tokens", tokens.clone(), tokens)]);
    capped = capped.unknown(LINK, "/tokens/west/expires_at", true.into());
    judge(vec![
        ("stored again", set(LINK, "/link_token", own, Value::Null), &["R18", "at least every 30 d"], &[]),
        ("cut short", capped, &["30 d, or more often"], &[]),
        (
            "another tag of images",
            Plan::still().update(EAST, &[("/values", Value::Null, values("global: {tag: 1.20.0}"))]),
            &["danger    R21", "1.20.0"],
            &[],
        ),
        (
            "the tag of the charts",
            Plan::still().update(EAST, &[("/values", Value::Null, values("global: {tag: 1.30.0}"))]),
            &[],
            &["R21"],
        ),
        ("a check", failing, &["warning   R41", "check.mesh", "The check fails, with 2 messages."], &["check.other"]),
        (
            "the new one first",
            Plan::still().actions(EAST, &["create", "delete"]),
            &["danger    R03", "the new one before the old one goes"],
            &["in between"],
        ),
        (
            "the old one stays",
            Plan::still().actions(EAST, &["create", "forget"]),
            &["danger    R03", "stays as it is"],
            &["in between"],
        ),
        ("what it was", Plan::still().unknown(EAST, "/mtls", true.into()), &["not set -> known after apply"], &[]),
        ("of west", set(GATEWAY_OF_WEST, "/expose/services", json!(true), json!(false)), &["danger    R09"], &[]),
    ]);
}
