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
        (
            "further roots by the other name of the field",
            with_values(EAST, "meshConfig: {ca_certificates: [{pem: x}]}"),
            &["danger    R30"],
            &[],
        ),
        (
            "rights of others",
            Plan::still().field(EAST, role, "rules[3].verbs: [\"get\"] -> [\"get\",\"impersonate\"]"),
            &["danger    R34", "impersonate"],
            &[],
        ),
        (
            "tokens of others",
            Plan::still().field(EAST, role, "rules[3].resources: [\"pods\"] -> [\"pods\",\"serviceaccounts/token\"]"),
            &["danger    R34"],
            &[],
        ),
        (
            "a shell in all of a kind",
            Plan::still().field(EAST, role, "rules[3].resources: [\"pods\"] -> [\"pods\",\"*/exec\"]"),
            &["danger    R34"],
            &[],
        ),
        (
            "a right less",
            Plan::still().field(EAST, role, "rules[3].verbs: [\"get\",\"bind\"] -> [\"bind\"]"),
            &[],
            &["R34"],
        ),
        (
            "rights that the plan does not show",
            Plan::still().field(EAST, role, "rules[3].resources: [\"pods\"] -> sha256:00 (900 bytes)"),
            &["warning   R27", "too long"],
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
        (
            "a new one that is exposed",
            {
                let mut plan = entry(&["create"], |all| all["w"]["expose"] = true.into());
                plan.resource("mesh_service_entry.pay")["change"]["before"] = Value::Null;
                plan
            },
            &["warning   R11"],
            &[],
        ),
    ]);
}

#[tokio::test]
async fn doors_that_open() {
    let service = |name: &str, before: Value, after: Value| {
        Plan::still().update(GATEWAY, &[(&format!("/service/{name}"), before, after)])
    };
    let scheme = "service.beta.kubernetes.io/aws-load-balancer-scheme";
    let everyone: &[&str] = &["danger    R12"];
    let by_values = |line: &str| Plan::still().field(GATEWAY, "Service istio-system/istio-eastwestgateway", line);
    let open = |line: &str| by_values(line).update(GATEWAY, &[("/service/source_ranges", Value::Null, Value::Null)]);
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
        ("by values", by_values("spec.loadBalancerSourceRanges: [\"10.0.0.0/8\"] -> (none)"), everyone, &[]),
        ("a load balancer by values", open("spec.type: ClusterIP -> LoadBalancer"), everyone, &[]),
        (
            "a load balancer for some by values",
            by_values("spec.type: ClusterIP -> LoadBalancer"),
            &["warning   R12"],
            &["danger    R12"],
        ),
        ("ports of nodes by values", by_values("spec.type: ClusterIP -> NodePort"), &["warning   R12", "node"], &[]),
        ("no longer a load balancer", by_values("spec.type: LoadBalancer -> ClusterIP"), &[], &["R12"]),
        (
            "the internet by values",
            open(&format!("metadata.annotations[\"{scheme}\"]: (none) -> internet-facing")),
            &["danger    R12", "face the internet"],
            &[],
        ),
        (
            "no longer inside by values",
            open(&format!("metadata.annotations[\"{scheme}\"]: internal -> (none)")),
            &["danger    R12", "stay inside"],
            &[],
        ),
        ("another annotation", by_values("metadata.annotations.team: a -> b"), &[], &["R12"]),
        (
            "two halves by values",
            by_values("spec.loadBalancerSourceRanges: [\"10.0.0.0/8\"] -> [\"0.0.0.0/1\",\"128.0.0.0/1\"]"),
            everyone,
            &[],
        ),
        (
            "further networks by values",
            by_values("spec.loadBalancerSourceRanges: [\"10.0.0.0/8\"] -> [\"10.0.0.0/8\",\"8.0.0.0/7\"]"),
            &["warning   R12", "Further networks"],
            &[],
        ),
        (
            "fewer networks by values",
            by_values("spec.loadBalancerSourceRanges: [\"10.0.0.0/8\"] -> [\"10.1.0.0/16\"]"),
            &[],
            &["R12"],
        ),
        (
            "networks that the plan does not show",
            by_values("spec.loadBalancerSourceRanges: [\"10.0.0.0/8\"] -> sha256:00 (900 bytes)"),
            &["warning   R12", "cannot read"],
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

/// What is deleted, and what is made in its place under another address, without a `moved` block.
fn renamed(change: impl Fn(&mut Value)) -> Plan {
    let mut plan = Plan::still();
    let mut new = plan.resource(GATEWAY).clone();
    for (pointer, value) in [("/service/source_ranges", json!(["10.0.0.0/8"])), ("/expose/hosts", json!(["a.b.svc"]))] {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        for of in [&mut new, plan.resource(GATEWAY)] {
            for side in ["before", "after"] {
                of["change"][side].pointer_mut(parent).unwrap()[name] = value.clone();
            }
        }
    }
    new["address"] = "mesh_eastwest_gateway.door[\"east\"]".into();
    new["name"] = "door".into();
    new["change"]["actions"] = json!(["create"]);
    new["change"]["before"] = Value::Null;
    change(&mut new["change"]["after"]);
    plan.0["resource_changes"].as_array_mut().unwrap().push(new);
    plan.actions(GATEWAY, &["delete"])
}

#[tokio::test]
async fn another_address_makes_no_new_door() {
    judge(vec![
        (
            "opened",
            renamed(|after| {
                after["service"]["source_ranges"] = Value::Null;
                after["expose"]["hosts"] = json!(["*.local"]);
            }),
            &["danger    R12", "danger    R11", "warning   R10", "takes its place"],
            &[],
        ),
        ("as it was", renamed(|_| {}), &["warning   R10"], &["R12", "R11"]),
        (
            "in a cluster that is not known",
            {
                let mut plan = renamed(|after| {
                    after["service"]["source_ranges"] = Value::Null;
                    after.as_object_mut().unwrap().remove("cluster");
                });
                plan.resource("mesh_eastwest_gateway.door[\"east\"]")["change"]["after_unknown"] =
                    json!({ "cluster": true });
                plan
            },
            &["danger    R12"],
            &[],
        ),
        (
            "in another network",
            renamed(|after| {
                after["service"]["source_ranges"] = Value::Null;
                after["network"] = "net-north".into();
            }),
            &[],
            &["danger    R12"],
        ),
    ]);
}

#[tokio::test]
async fn values_that_go_round_the_proxy_or_into_every_pod() {
    let env = |line: &str| format!("pilot: {{env: {{{line}}}}}");
    let cases: Vec<(String, &[&str])> = [
        ("global: {proxy: {autoInject: disabled}}", &["warning   R40"][..]),
        ("sidecarInjectorWebhook: {neverInjectSelector: [{matchLabels: {a: b}}]}", &["warning   R40"]),
        ("meshConfig: {discoverySelectors: [{matchLabels: {a: b}}]}", &["warning   R40"]),
        ("meshConfig: {discovery_selectors: [{matchLabels: {a: b}}]}", &["warning   R40"]),
        ("sidecarInjectorWebhook: {templates: {x: 'spec: {}'}}", &["danger    R32"]),
        ("sidecarInjectorWebhook: {defaultTemplates: [sidecar, x]}", &["danger    R32"]),
        ("global: {proxy: {excludeInboundPorts: '80'}}", &["danger    R22"]),
        ("global: {proxy: {excludeOutboundPorts: '80'}}", &["danger    R22"]),
        ("global: {proxy: {excludeIPRanges: 10.0.0.0/8}}", &["danger    R22"]),
        ("global: {proxy: {includeInboundPorts: ''}}", &["danger    R22"]),
        ("global: {proxy: {includeIPRanges: 10.0.0.0/8}}", &["danger    R22"]),
        ("meshConfig: {defaultConfig: {interceptionMode: NONE}}", &["danger    R22"]),
        ("meshConfig: {meshMTLS: {min_protocol_version: TLSV1_2}}", &["danger    R22"]),
        ("trustedZtunnelNamespace: x", &["danger    R30"]),
        ("pilot: {trustedZtunnelName: x}", &["danger    R30"]),
        ("pilot: {jwksResolverExtraRootCA: x}", &["danger    R30"]),
        ("global: {pilotCertProvider: kubernetes}", &["danger    R31"]),
        ("meshConfig: {defaultConfig: {proxyMetadata: {CA_ADDR: 'a:1'}}}", &["danger    R31"]),
        ("base: {validationURL: 'https://a'}", &["danger    R31"]),
    ]
    .into_iter()
    .map(|(text, says)| (text.to_owned(), says))
    .chain(
        [
            ("CA_TRUSTED_NODE_ACCOUNTS: a/b", &["danger    R30"][..]),
            ("TRUSTED_GATEWAY_CIDR: 10.0.0.0/8", &["danger    R30"]),
            ("JWKS_RESOLVER_INSECURE_SKIP_VERIFY: 'true'", &["danger    R22"]),
            ("ISTIO_WORKLOAD_ENTRY_VALIDATE_IDENTITY: 'false'", &["danger    R22"]),
            ("ENABLE_DEBUG_ENDPOINT_AUTH: 'false'", &["danger    R22"]),
            ("UNSAFE_ENABLE_ADMIN_ENDPOINTS: 'true'", &["danger    R22"]),
            ("ENABLE_XDS_API_GENERATOR_AUTH: 'false'", &["danger    R22"]),
            ("EXTERNAL_CA: ISTIOD_RA_KUBERNETES_API", &["danger    R31"]),
            ("K8S_SIGNER: a/b", &["danger    R31"]),
        ]
        .map(|(line, says)| (env(line), says)),
    )
    .collect();
    judge(cases.iter().map(|(text, says)| (text.as_str(), with_values(EAST, text), *says, &[][..])).collect());
    // The other way round nothing is lost.
    let back = |text: &str| Plan::still().update(EAST, &[("/values", values(text), Value::Null)]);
    judge(
        [
            "global: {proxy: {autoInject: disabled}}",
            "global: {proxy: {excludeInboundPorts: '80'}}",
            "global: {proxy: {includeIPRanges: 10.0.0.0/8}}",
            "pilot: {env: {CA_TRUSTED_NODE_ACCOUNTS: a/b}}",
            "sidecarInjectorWebhook: {templates: {x: 'spec: {}'}}",
        ]
        .map(|text| (text, back(text), &["no risk found"][..], &[][..]))
        .into(),
    );
}

/// A resource more, like one that there is.
fn beside(mut plan: Plan, of: &str, address: &str, change: impl Fn(&mut Value)) -> Plan {
    let mut new = plan.resource(of).clone();
    new["address"] = address.into();
    new["change"]["actions"] = json!(["create"]);
    new["change"]["before"] = Value::Null;
    change(&mut new["change"]["after"]);
    plan.0["resource_changes"].as_array_mut().unwrap().push(new);
    plan
}

#[tokio::test]
async fn what_is_new_comes_from_where_the_others_do() {
    let canary = |change: &dyn Fn(&mut Value)| {
        beside(Plan::still(), EAST, "mesh_primary.canary", |after| {
            after["revision"] = "canary".into();
            change(after);
        })
    };
    let evil = |after: &mut Value| after["images"] = json!({ "hub": "evil.example/istio", "pull_secrets": null });
    let first = canary(&evil).only(|address| address == "mesh_primary.canary");
    judge(vec![
        ("images", canary(&evil), &["warning   R32", "evil.example"], &[]),
        (
            "charts",
            canary(&|after| after["charts"] = json!({ "repository": "oci://evil.example/charts" })),
            &["warning   R32", "evil.example"],
            &[],
        ),
        ("as the others", canary(&|_| {}), &[], &["R32"]),
        ("the first one", first, &[], &["R32"]),
    ]);
}

#[tokio::test]
async fn an_authority_of_other_clusters_brings_no_root_and_a_stranger_no_identity() {
    let root = |plan: Plan| plan.update(EAST, &[("/trust_root", json!("aa"), json!("bb"))]);
    let lab = |cluster: &'static str| {
        move |after: &mut Value| after["clusters"] = json!({ cluster: { "namespace": "istio-system" } })
    };
    let moved = [
        ("/root_fingerprint", json!("aa"), json!("bb")),
        ("/clusters", json!({ "lab": { "namespace": "istio-system" } }), Value::Null),
    ];
    let elsewhere = Plan::still().update(CA, &moved).unknown(CA, "/clusters", true.into());
    let mut stranger = Plan::still().update(CA, &[]);
    stranger.resource(CA)["change"]["after"]["clusters"]["evil"] = json!({ "namespace": "istio-system" });
    judge(vec![
        (
            "of other clusters",
            root(beside(Plan::still(), CA, "mesh_ca.lab", lab("lab"))),
            &["danger    R01", "nothing in this plan brings it"],
            &[],
        ),
        ("of this one", root(beside(Plan::still(), CA, "mesh_ca.lab", lab("east"))), &[], &["brings it"]),
        ("perhaps of this one", root(elsewhere), &[], &["brings it"]),
        ("a cluster outside", stranger, &["warning   R30", "evil gets an intermediate"], &[]),
    ]);
}

#[tokio::test]
async fn what_is_scaled_to_nothing_is_gone() {
    let none = "spec.replicas: 2 -> 0";
    judge(vec![
        ("a control plane", Plan::still().field(EAST, ISTIOD, none), &["warning   R07"], &[]),
        (
            "a gateway",
            Plan::still().field(GATEWAY, "Deployment istio-system/istio-eastwestgateway", none),
            &["warning   R38"],
            &[],
        ),
        ("one less", Plan::still().field(EAST, ISTIOD, "spec.replicas: 2 -> 1"), &[], &["R07"]),
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
