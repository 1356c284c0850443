//! Marks of secrecy and the plan review: what is marked is shown nowhere, and what is judged is not hidden by a mark.

use std::fs;

use serde_json::{Value, json};
use terraform_provider_mesh::review::{Format, Policy, Review, risk::Level};

use crate::review_edited::{EAST, GATEWAY, LINK, Plan, judge, values};
use crate::review_pages::SCHEMAS;
use crate::review_plans::fixtures;

/// A secret that an output brings into the plan.
fn marked(mut plan: Plan, texts: Value) -> Plan {
    plan.0["output_changes"] = json!({ "x": {
        "actions": ["create"], "before": null, "after": texts, "after_unknown": false,
        "before_sensitive": false, "after_sensitive": true,
    }});
    plan
}

/// As a sensitive variable that lists the clusters, with the names that Terraform gives their contexts.
fn of_production(plan: &str) -> Plan {
    let mut text = Plan::recorded(plan).0.to_string();
    for name in ["east", "west"] {
        for quote in ["\"", "\\\""] {
            text = text.replace(&format!("{quote}{name}{quote}"), &format!("{quote}prod-{name}{quote}"));
        }
    }
    let mut plan: Value = serde_json::from_str(&text).unwrap();
    plan["variables"]["clusters"] =
        json!({ "value": { "a": { "config_context": "prod-east" }, "b": { "config_context": "prod-west" } } });
    plan["configuration"]["root_module"]["variables"]["clusters"] = json!({ "sensitive": true });
    Plan(plan)
}

#[tokio::test]
async fn a_mark_on_names_of_clusters_hides_them_from_readers_and_not_from_a_policy() {
    let policy = "version: 1\nrules: [{risk: hosts-widened, clusters: [\"prod-*\"], level: forbidden}]\n";
    let exposed = of_production("gateway-exposed-to-all");
    let review = Review::of(exposed.0.to_string().as_bytes(), &Policy::parse(policy).unwrap(), &SCHEMAS).unwrap();
    assert_eq!(review.level(), Some(Level::Forbidden));
    let page = of_production("upgrade-in-place").page();
    assert!(page.contains("R04") && page.contains("2 control planes restart"), "{page}");
    for review in [review, of_production("upgrade-in-place").review()] {
        for (name, format) in Format::ALL {
            let written = review.written(format, 1 << 20);
            assert!(!written.contains("prod-east") && !written.contains("prod-west"), "{name}: {written}");
            assert!(written.contains("sensitive 1") && written.contains("sensitive 2"), "{name}: {written}");
        }
        assert_eq!(review.json()["topology"]["after"]["clusters"].as_array().unwrap().len(), 2);
        assert!(review.written(Format::Text, 1 << 20).contains("shows numbers for them"));
    }
}

/// Whoever opens the pull request can mark what they like.
#[tokio::test]
async fn no_mark_elsewhere_changes_what_is_found() {
    let texts = json!([
        "0.0.0.0/0",
        "10.0.0.0/8",
        "*.local",
        "*.shop.svc.cluster.local",
        "1.30.0",
        "1.31.0",
        "strict",
        "east",
        "west",
        "north",
        "net-east",
        "net-west",
        "source_ranges",
        "services",
        "watchers",
        "Deployment istio-system/istiod",
        "Deployment",
        "settled",
        "trust-widened",
        "STRICT",
        "cluster.local",
        "LoadBalancer",
        "false",
        "objects",
        "spec.template",
        "clusters",
        "istio_version",
        "default",
        "valid",
        "mesh_primary",
    ]);
    let kinds = |review: &Review| {
        let all = review.risks.iter().filter(|risk| !risk.what.plain().contains("shows numbers for them"));
        let mut kinds: Vec<_> = all.map(|risk| (risk.kind.number, risk.level, risk.clusters.len())).collect();
        kinds.sort_unstable();
        kinds
    };
    let mut seen = 0;
    for entry in fs::read_dir(fixtures()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(name) = name.strip_suffix(".terraform.json") else { continue };
        let (plain, hidden) = (Plan::recorded(name).review(), marked(Plan::recorded(name), texts.clone()).review());
        assert_eq!(kinds(&plain), kinds(&hidden), "{name}");
        assert_eq!(plain.topology.after.clusters.len(), hidden.topology.after.clusters.len(), "{name}");
        let written = hidden.written(Format::Markdown, 1 << 20);
        assert!(!written.contains("net-east") && !written.contains("0.0.0.0/0"), "{name}: {written}");
        seen += 1;
    }
    assert!(seen > 20);
}

/// A document of values is read, and what it says is shown in another spelling than it has.
#[tokio::test]
async fn a_marked_number_is_shown_in_no_spelling() {
    for (marked_as, in_values) in
        [("0x1a2b3c4d", "0x1a2b3c4d"), ("439041101", "0x1a2b3c4d"), ("0x1a2b3c4d", "439041101")]
    {
        let plan =
            Plan::still().update(EAST, &[("/values", Value::Null, values(&format!("pilot: {{seed: {in_values}}}")))]);
        let page = marked(plan, json!([marked_as])).page();
        assert!(page.contains("pilot.seed") && page.contains("(sensitive 1)"), "{page}");
        assert!(!page.contains("439041101") && !page.contains("1a2b3c4d"), "{marked_as}: {page}");
    }
}

/// A key of which a line is marked, as when a sensitive output is one of several keys.
#[tokio::test]
async fn no_marked_line_uncovers_a_key() {
    let key = |name: &str| {
        format!("-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEI{name}Nnd1l9xUvLkDDeGmZ0Q\n-----END EC PRIVATE KEY-----\n")
    };
    for texts in [json!([key("A")]), json!(["-----BEGIN EC PRIVATE KEY-----"]), json!(["BEGIN EC PRIVATE"])] {
        let document = json!({ "pilot": { "env": { "A": format!("{}{}", key("A"), key("B")), "B": key("C") } } });
        let plan = Plan::still().update(EAST, &[("/values", Value::Null, values(&document.to_string()))]);
        let review = marked(plan, texts.clone()).review();
        for (name, format) in Format::ALL {
            let written = review.written(format, 1 << 20);
            assert!(!written.contains("MHcC"), "{name}, {texts}: {written}");
        }
    }
}

/// A word that is marked is not a name because it is in what stands for an unknown one.
#[tokio::test]
async fn what_is_not_known_yet_is_no_name_that_is_hidden() {
    let plan = Plan::still().unknown(LINK, "/watchers", true.into());
    let page = marked(plan, json!(["apply", "known"])).page();
    assert!(page.contains("known after apply") && !page.contains("numbers"), "{page}");
}

/// An attribute that is marked where it stands, on both sides or on the new one.
fn at_its_place(address: &str, pointer: &str, before: Value, after: Value) -> Plan {
    let mut plan = Plan::still().update(address, &[(pointer, before, after)]);
    let change = &mut plan.resource(address)["change"];
    for side in ["before_sensitive", "after_sensitive"] {
        let mut marks = json!(true);
        for part in pointer.split('/').rev().filter(|part| !part.is_empty()) {
            marks = json!({ part: marks });
        }
        change[side] = marks;
    }
    plan
}

#[tokio::test]
async fn what_is_marked_at_its_place_is_unknown_and_not_absent() {
    let ranges = |before: Value, after: Value| at_its_place(GATEWAY, "/service/source_ranges", before, after);
    let untold: &[&str] = &["danger    R27", "Marked as sensitive and changed"];
    let untrue: &[&str] = &["no risk found", "everyone", "Everyone", "R12"];
    judge(vec![
        ("source ranges", ranges(json!(["10.0.0.0/8"]), json!(["0.0.0.0/0"])), untold, untrue),
        (
            "source ranges of a new gateway",
            ranges(Value::Null, json!(["10.0.0.0/8"])).actions(GATEWAY, &["create"]),
            untold,
            &["everyone", "Everyone"],
        ),
        (
            "source ranges that are taken out",
            ranges(json!(["10.0.0.0/8"]), Value::Null),
            &["danger    R12", "Everyone can connect"],
            &["10.0.0.0/8"],
        ),
        (
            "source ranges that stay",
            ranges(json!(["10.0.0.0/8"]), json!(["10.0.0.0/8"]))
                .update(GATEWAY, &[("/wait", json!(true), json!(false))]),
            &["R29"],
            &["R27", "everyone"],
        ),
        (
            "hosts",
            at_its_place(GATEWAY, "/expose/hosts", json!(["a.b.svc.cluster.local"]), json!(["*"])),
            untold,
            &["no risk found", "R38"],
        ),
        ("watchers", at_its_place(LINK, "/watchers", json!(["west"]), json!([])), untold, &["no risk found"]),
        ("mtls", at_its_place(EAST, "/mtls", json!("strict"), json!("off")), untold, &["no risk found", "\"off\""]),
        ("a network", at_its_place(EAST, "/network", json!("net-east"), json!("net-far")), untold, &["net-far"]),
        (
            "an address",
            at_its_place(LINK, "/server", json!("https://10.0.0.1"), json!("https://10.6.6.6")),
            untold,
            &["10.6.6.6"],
        ),
        (
            "what decides nothing but how an apply goes",
            at_its_place(GATEWAY, "/wait", json!(true), json!(false)),
            &["warning   R27", "Marked as sensitive and changed"],
            &["danger"],
        ),
        (
            "whether objects of others are taken over",
            at_its_place(EAST, "/adopt", json!(false), json!(true)),
            untold,
            &["no risk found"],
        ),
        (
            "mtls that is taken out",
            at_its_place(EAST, "/mtls", json!("strict"), Value::Null),
            &["danger    R22"],
            &["strict"],
        ),
        (
            "all of a door",
            at_its_place(GATEWAY, "/service", Value::Null, json!({ "type": "NodePort" })),
            untold,
            &["NodePort"],
        ),
        (
            "a field of an object, under hidden values",
            at_its_place(EAST, "/values", values("a: 1"), values("a: 1")).field(
                EAST,
                "PeerAuthentication istio-system/default",
                "spec.mtls.mode: STRICT -> DISABLE",
            ),
            &["danger    R22"],
            &["DISABLE"],
        ),
    ]);
}
