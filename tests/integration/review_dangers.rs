//! Dangers that hide in a plan of a few lines: addresses, images and rights that change, doors that open, drift that
//! stays.

use std::fmt::Write as _;

use serde_json::{Value, json};
use terraform_provider_mesh::review::Format;

use crate::review_edited::{CA, EAST, GATEWAY, LINK, Plan, WEST, judge, values};

const ISTIOD: &str = "Deployment istio-system/istiod";
const INJECTOR: &str = "MutatingWebhookConfiguration istio-sidecar-injector";
const POLICY: &str = "PeerAuthentication istio-system/default";

fn with_values(address: &str, text: &str) -> Plan {
    Plan::still().update(address, &[("/values", Value::Null, values(text))])
}

#[tokio::test]
async fn where_tokens_and_code_come_from_and_go_to() {
    let link = |name: &str, value: &str| Plan::still().update(LINK, &[(name, Value::Null, value.into())]);
    let moved: &[&str] = &["danger    R31", "a decision"];
    let source: &[&str] = &["danger    R32", "a decision"];
    let image = "spec.template.spec.containers[discovery].image: docker.io/istio/pilot:1.30.0 -> ";
    judge(vec![
        ("server", link("/server", "https://evil.example:6443"), moved, &[]),
        ("proxy", link("/proxy_url", "http://evil.example:3128"), moved, &[]),
        ("authority", link("/certificate_authority", "x"), moved, &[]),
        ("name in the certificate", link("/tls_server_name", "evil.example"), moved, &[]),
        (
            "a new link has no address before",
            link("/server", "https://a:6443").actions(LINK, &["create"]),
            &[],
            &["R31"],
        ),
        (
            "injection by a URL",
            Plan::still().field(
                EAST,
                INJECTOR,
                "webhooks[a.istio.io].clientConfig.url: (none) -> \"https://evil/inject\"",
            ),
            moved,
            &[],
        ),
        ("injection in values", with_values(EAST, "istiodRemote: {injectionURL: \"https://evil\"}"), moved, &[]),
        ("who signs", with_values(EAST, "global: {caAddress: \"evil:443\"}"), moved, &[]),
        (
            "repository of charts",
            Plan::still()
                .update(EAST, &[("/charts", Value::Null, json!({ "repository": "oci://evil.example/charts" }))]),
            source,
            &[],
        ),
        ("hub", with_values(EAST, "global: {hub: evil.example/istio}"), source, &[]),
        ("image", Plan::still().field(EAST, ISTIOD, &format!("{image}evil.example/pilot:1.30.0")), source, &[]),
        (
            "only the tag",
            Plan::still().field(EAST, ISTIOD, &format!("{image}docker.io/istio/pilot:1.30.1")),
            &[],
            &["R32"],
        ),
        (
            "only the digest",
            Plan::still().field(EAST, ISTIOD, &format!("{image}docker.io/istio/pilot:1.30.0@sha256:aa")),
            &[],
            &["R32"],
        ),
    ]);
}

#[tokio::test]
async fn who_is_trusted_and_may_do_more() {
    let store = |readable: bool| json!({ "cluster": "east", "name": "mesh-root-ca", "namespace": "mesh-root-ca", "readable_by_watchers": readable });
    let role = "ClusterRole istiod-clusterrole-istio-system";
    judge(vec![
        (
            "a further root",
            Plan::still().update(CA, &[("/accept_roots", Value::Null, json!(["aa"]))]),
            &["danger    R30", "roots"],
            &[],
        ),
        (
            "self-signed roots are taken in",
            Plan::still().update(CA, &[("/migrate_self_signed", json!(false), json!(true))]),
            &["warning   R30"],
            &[],
        ),
        (
            "watchers read the root's key",
            Plan::still().update(CA, &[("/root/store", store(false), store(true))]),
            &["danger    R16", "key of the root"],
            &[],
        ),
        (
            "further roots in values",
            with_values(EAST, "meshConfig: {caCertificates: [{pem: x}]}"),
            &["danger    R30"],
            &[],
        ),
        ("all verbs", Plan::still().field(EAST, role, "rules[3].verbs: [\"get\"] -> [\"*\"]"), &["danger    R34"], &[]),
        (
            "a binding more",
            Plan::still().object(EAST, "ClusterRoleBinding extra", None, Some("x")),
            &["warning   R34", "extra"],
            &[],
        ),
        (
            "injection fails open",
            Plan::still().field(EAST, INJECTOR, "webhooks[a.istio.io].failurePolicy: Fail -> Ignore"),
            &["warning   R22", "without a proxy"],
            &[],
        ),
        (
            "rotations",
            Plan::still().update(EAST, &[("/multi_root", json!(true), json!(false))]),
            &["warning   R36"],
            &[],
        ),
        ("a role", Plan::still().update(LINK, &[("/mode", json!("peer"), json!("remote"))]), &["warning   R35"], &[]),
        (
            "a link is made again",
            Plan::still().actions(LINK, &["delete", "create"]),
            &["warning   R08", "recreated"],
            &[],
        ),
    ]);
}

/// A service of another mesh, beside what there is.
fn entry(actions: &[&str], change: impl Fn(&mut Value)) -> Plan {
    let mut plan = Plan::still();
    let before = json!({
        "cluster": "east", "host": "pay.shop.svc.cluster.local", "name": "pay", "namespace": "istio-system",
        "exporters": { "w": { "cluster": "west", "gateways": [{ "value": "10.0.0.1", "port": 15443 }],
            "trust_domain": "cluster.local", "service_accounts": ["pay"], "expose": false } },
        "ports": { "http": { "number": 80, "protocol": "HTTP" } }, "objects": { "ServiceEntry istio-system/pay": "a" },
        "exported": {},
    });
    let mut after = before.clone();
    change(&mut after["exporters"]);
    if actions == ["delete"] {
        after = Value::Null;
    }
    plan.0["resource_changes"].as_array_mut().unwrap().push(json!({
        "address": "mesh_service_entry.pay", "mode": "managed", "type": "mesh_service_entry", "name": "pay",
        "provider_name": "registry.terraform.io/terraform-provider-mesh/mesh",
        "change": { "actions": actions, "before": before, "after": after, "after_unknown": {} },
    }));
    plan
}

#[tokio::test]
async fn services_of_other_meshes_that_go_or_are_answered_by_others() {
    let exporter =
        json!({ "cluster": null, "gateways": [], "trust_domain": "evil", "service_accounts": ["x"], "expose": false });
    let update = &["update"];
    judge(vec![
        ("deleted", entry(&["delete"], |_| {}), &["warning   R33"], &[]),
        (
            "trust domain",
            entry(update, |all| all["w"]["trust_domain"] = "evil".into()),
            &["warning   R30", "evil"],
            &[],
        ),
        ("a new exporter", entry(update, |all| all["e"] = exporter.clone()), &["warning   R30"], &[]),
        (
            "another gateway",
            entry(update, |all| all["w"]["gateways"][0]["value"] = "6.6.6.6".into()),
            &["warning   R31"],
            &[],
        ),
        ("exposed", entry(update, |all| all["w"]["expose"] = true.into()), &["warning   R11"], &[]),
    ]);
}

#[tokio::test]
async fn doors_that_open() {
    let service = |name: &str, before: Value, after: Value| {
        Plan::still().update(GATEWAY, &[(&format!("/service/{name}"), before, after)])
    };
    let scheme = "service.beta.kubernetes.io/aws-load-balancer-scheme";
    let everyone: &[&str] = &["danger    R12"];
    let domain = [("/cluster_domain", json!("corp.internal"), json!("corp.internal"))];
    let host = ("/expose/hosts", json!(["*.shop.svc.corp.internal"]), json!(["*.svc.corp.internal"]));
    judge(vec![
        (
            "two halves of all addresses",
            service("source_ranges", json!(["10.0.0.0/8"]), json!(["0.0.0.0/1", "128.0.0.0/1"])),
            everyone,
            &[],
        ),
        (
            "a balancer that faces the internet",
            service("annotations", Value::Null, json!({ scheme: "internet-facing" })),
            &["warning   R12"],
            &[],
        ),
        ("ports of nodes", service("type", json!("ClusterIP"), json!("NodePort")), &["warning   R12", "node"], &[]),
        (
            "by values",
            Plan::still().field(
                GATEWAY,
                "Service istio-system/istio-eastwestgateway",
                "spec.loadBalancerSourceRanges: [\"10.0.0.0/8\"] -> (none)",
            ),
            everyone,
            &[],
        ),
        (
            "all Services of another domain",
            Plan::still().update(GATEWAY, &[domain[0].clone(), host]),
            &["danger    R11", "Every Service"],
            &[],
        ),
    ]);
}

#[tokio::test]
async fn drift_is_told_by_what_becomes_of_it() {
    let drifted = |address: &str, change: &dyn Fn(&mut Value)| {
        let mut plan = Plan::still();
        let mut drift = plan.resource(address).clone();
        drift["change"]["actions"] = json!(["update"]);
        change(&mut drift["change"]);
        plan.0["resource_drift"] = json!([drift]);
        plan
    };
    let policy = |change: &mut Value| {
        change["before"]["objects"][POLICY] = "a".into();
        change["after"]["objects"][POLICY] = "b".into();
        change["after"]["changes"][POLICY] = "spec.mtls.mode: STRICT -> DISABLE (set by kubectl-edit)".into();
    };
    let no_istiod = |change: &mut Value| drop(change["after"]["objects"].as_object_mut().unwrap().remove(ISTIOD));
    let gone = |change: &mut Value| {
        change["actions"] = json!(["delete"]);
        change["after"] = Value::Null;
    };
    judge(vec![
        (
            "mTLS is off and stays so",
            drifted(EAST, &policy),
            &["danger    R22", "kubectl-edit", "stays"],
            &["reverted"],
        ),
        ("a Deployment is gone and stays so", drifted(EAST, &no_istiod), &["warning   R26", "stays"], &["reverted"]),
        (
            "all of it is gone and is not made again",
            drifted(GATEWAY, &gone).only(|address| address != GATEWAY),
            &["warning   R26", "stays"],
            &["reverted"],
        ),
        ("made again", Plan::recorded("drift-by-managers"), &["R26", "reverted"], &["taken back"]),
    ]);
}

#[tokio::test]
async fn what_is_forgotten_or_put_off_is_called_so() {
    let mut put_off = Plan::still();
    let mut deferred = put_off.resource(CA).clone();
    deferred["change"]["actions"] = json!(["delete"]);
    put_off.0["deferred_changes"] = json!([{ "reason": "absent_prereq", "resource_change": deferred }]);
    judge(vec![
        (
            "an authority",
            Plan::still().actions(CA, &["forget"]),
            &["the certificate authority is forgotten", "R28"],
            &["is removed"],
        ),
        ("one of before", Plan::still().actions(EAST, &["create", "forget"]), &["R28", "forgotten"], &[]),
        ("a change", put_off, &["R27", "put off to a later plan", "mesh_ca.this"], &[]),
    ]);
}

#[tokio::test]
async fn what_does_not_fit_is_left_out_and_said_to_be() {
    let mut plan = Plan::recorded("gateway-exposed-to-all");
    for number in 0..30 {
        let mut more = plan.resource(GATEWAY).clone();
        more["address"] = format!("mesh_eastwest_gateway.this[\"a-rather-long-name-{number}\"]").into();
        more["change"]["after"]["cluster"] = format!("a-rather-long-name-{number}").into();
        more["change"]["after"]["expose"]["hosts"] = json!([format!("*.n{number}.svc.cluster.local")]);
        plan.0["resource_changes"].as_array_mut().unwrap().push(more);
    }
    let review = plan.review();
    for most in [1_000, 1_500, 3_000, 6_000] {
        let page = review.written(Format::Markdown, most);
        assert!(page.len() <= most && page.contains("Shortened or left out"), "{most}: {page}");
        assert_eq!(page.matches("<details>").count(), page.matches("</details>").count(), "{most}: {page}");
    }
    let mut many = Plan::still();
    let primary = many.resource(WEST).clone();
    for number in 0..45 {
        let mut more = primary.clone();
        let mut address = String::new();
        let _ = write!(address, "mesh_primary.this[\"c{number}\"]");
        more["address"] = address.into();
        for side in ["before", "after"] {
            more["change"][side]["cluster"] = format!("c{number}").into();
        }
        many.0["resource_changes"].as_array_mut().unwrap().push(more);
    }
    let graph = many.review().written(Format::Mermaid, 1 << 20);
    assert!(graph.contains("7 clusters are not drawn"), "{graph}");
}
