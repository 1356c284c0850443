//! The plan review on what it cannot read, does not know or cannot know yet: each is said, and nothing is passed over.

use serde_json::{Value, json};
use terraform_provider_mesh::review::{Format, Policy, Review, risk::Level};

use crate::review_edited::{CA, EAST, GATEWAY, LINK, Plan, invocation, judge};
use crate::review_pages::SCHEMAS;

const COPY: &str = "registry.terraform.io/acme/mesh-fork";

fn with(member: &str, value: Value) -> Plan {
    let mut plan = Plan::still();
    plan.0[member] = value;
    plan
}

fn of_copy(mut one: Value) -> Value {
    one["provider_name"] = COPY.into();
    one
}

#[tokio::test]
async fn what_is_of_a_copy_of_the_provider_is_said_wherever_it_is() {
    let resource = |address: &str| Plan::still().resource(address).clone();
    let action = || of_copy(invocation("mesh_restart_workloads"));
    let mut without_mode = of_copy(resource(CA));
    without_mode.as_object_mut().unwrap().remove("mode");
    let says: &[&str] = &["warning   R27", "acme/mesh-fork", "which this review does not know", "whether it is a copy"];
    let mut left_out = Plan::recorded("one-resource-only");
    let resources = left_out.0["prior_state"]["values"]["root_module"]["resources"].as_array_mut().unwrap();
    resources.iter_mut().for_each(|one| one["provider_name"] = COPY.into());
    judge(vec![
        ("an action", with("action_invocations", json!([action()])), says, &[]),
        (
            "an action that is put off",
            with("deferred_action_invocations", json!([{ "reason": "x", "action_invocation": action() }])),
            &["R27", "1 action put off to a later plan", "action.mesh_restart_workloads.all"],
            &[],
        ),
        (
            "a change that is put off",
            with("deferred_changes", json!([{ "reason": "x", "resource_change": of_copy(resource(CA)) }])),
            &["R27", "1 change put off to a later plan", CA],
            &[],
        ),
        ("drift", with("resource_drift", json!([of_copy(resource(CA))])), says, &[]),
        ("a resource without a mode", with("resource_changes", json!([without_mode])), says, &[]),
        ("what the plan leaves out", left_out, says, &[]),
    ]);
}

#[tokio::test]
async fn an_action_of_another_provider_is_something_that_happens() {
    let mut action = invocation("aws_lambda_invoke");
    action["provider_name"] = "registry.terraform.io/hashicorp/aws".into();
    let page = with("action_invocations", json!([action])).page();
    assert!(page.contains("nothing changes in the mesh") && page.contains("1 change of other providers"), "{page}");
}

#[tokio::test]
async fn what_cannot_be_read_is_said_wherever_it_is() {
    let unreadable = |member: &str, value: Value| {
        let mut one = Plan::still().resource(EAST).clone();
        one["change"][member] = value;
        one
    };
    let mut state = Plan::recorded("one-resource-only");
    let resources = state.0["prior_state"]["values"]["root_module"]["resources"].as_array_mut().unwrap();
    let left = resources.iter_mut().find(|one| one["address"] == GATEWAY).unwrap();
    left["values"] = "nonsense".into();
    let list =
        |member: &'static str| (member, with(member, json!({ "a": 1 })), &["R27", "cannot be read"][..], &[][..]);
    judge(vec![
        ("drift", with("resource_drift", json!([unreadable("after", json!("x"))])), &["R27", "the values of"], &[]),
        (
            "what drift is",
            with("resource_drift", json!([unreadable("actions", json!(["future"]))])),
            &["R27", "what happens to", EAST],
            &[],
        ),
        ("what the plan leaves out", state, &["R27", &format!("the values of {GATEWAY}")], &[]),
        (
            "what a change ends in",
            Plan::still().update(EAST, &[]).without(EAST, "after"),
            &["R27", "the values of", EAST],
            &["nothing changes"],
        ),
        ("what a change begins with", Plan::still().update(EAST, &[]).without(EAST, "before"), &["R27", EAST], &[]),
        ("what is new", Plan::still().actions(EAST, &["create"]).without(EAST, "after"), &["R27", EAST], &[]),
        ("what goes", Plan::still().actions(EAST, &["delete"]).without(EAST, "before"), &["R27", EAST], &[]),
        ("one of the changes", with("resource_changes", json!(["nonsense"])), &["R27", "cannot be read"], &[]),
        list("resource_changes"),
        list("resource_drift"),
        list("action_invocations"),
        list("deferred_changes"),
        list("deferred_action_invocations"),
        list("checks"),
    ]);
}

/// Whoever makes a plan can make a thousand of them.
#[tokio::test]
async fn doubts_are_few_and_short_however_many_there_are() {
    let mut plan = Plan::still();
    let template = plan.resource(EAST).clone();
    for number in 0..1_000 {
        let name = format!("{}{number}", "x".repeat(300));
        for (kind, provider, actions) in [
            ("mesh_future", "registry.terraform.io/terraform-provider-mesh/mesh", "update"),
            ("mesh_primary", COPY, "update"),
            ("mesh_primary", "registry.terraform.io/terraform-provider-mesh/mesh", "future"),
        ] {
            let mut one = template.clone();
            one["address"] = format!("{kind}.{name}").into();
            one["type"] = kind.into();
            one["provider_name"] = provider.into();
            one["change"]["actions"] = json!([actions]);
            plan.0["resource_changes"].as_array_mut().unwrap().push(one);
        }
    }
    plan.resource(EAST)["change"]["after"]["future"] = 1.into();
    let review = plan.review();
    assert!(review.risks.len() < 10, "{}", review.risks.len());
    for risk in review.json()["risks"].as_array().unwrap() {
        let what = risk["what"].as_str().unwrap();
        assert!(what.len() < 4_000, "{what}");
    }
    let page = plan.page();
    for words in ["and 992 more", "future", "acme/mesh-fork", "what happens to"] {
        assert!(page.contains(words), "{words}: {page}");
    }
}

#[tokio::test]
async fn what_is_unknown_within_hides_nothing_that_goes() {
    let mut exporters = Plan::still();
    let entry =
        |all: Value| json!({ "cluster": "east", "host": "a.b", "exporters": all, "objects": {}, "exported": {} });
    let exporter = |address: Value| json!({ "cluster": "west", "gateways": address, "expose": false });
    exporters.0["resource_changes"].as_array_mut().unwrap().push(json!({
        "address": "mesh_service_entry.pay", "mode": "managed", "type": "mesh_service_entry", "name": "pay",
        "provider_name": "registry.terraform.io/terraform-provider-mesh/mesh",
        "change": { "actions": ["update"],
            "before": entry(json!({ "w": exporter(json!([])), "e": exporter(json!([])) })),
            "after": entry(json!({ "e": exporter(Value::Null) })),
            "after_unknown": { "exporters": { "e": { "gateways": true } } } },
    }));
    let roots = |before: Value, after: Value, marks: Value| {
        let mut plan = Plan::still().update(CA, &[("/accept_roots", before, after)]);
        plan.resource(CA)["change"]["after_unknown"] = json!({ "accept_roots": marks });
        plan
    };
    let few = || json!(["aa", "bb"]);
    judge(vec![
        ("a key of a map", exporters, &["warning   R33", "Calls no longer go to w.", "R27"], &["go to e"]),
        ("as many as may stay", roots(few(), json!(["aa", null]), json!([false, true])), &["R27"], &["are refused"]),
        (
            "more than may stay",
            roots(few(), json!([null]), json!([true])),
            &["danger    R39", "at least 1 of aa, bb", "R27"],
            &[],
        ),
        ("all of it", roots(few(), Value::Null, true.into()), &["warning   R27", "accept_roots"], &["R39"]),
    ]);
}

/// A document that is not known yet may say more. What the others say is there to be judged.
#[tokio::test]
async fn values_that_are_known_are_judged_beside_those_that_are_not() {
    let weak = "meshConfig: {enableAutoMtls: false}";
    let partly = |before: Value, after: Value| {
        let mut plan = Plan::still().update(EAST, &[("/values", before, after)]);
        plan.resource(EAST)["change"]["after_unknown"] = json!({ "values": [false, true] });
        plan
    };
    judge(vec![
        ("weaker", partly(json!(["a: 1", "b: 1"]), json!([weak, null])), &["danger    R22", "warning   R27"], &[]),
        // What one document said all along, another may overrule as before.
        (
            "overruled",
            partly(json!([weak, "meshConfig: {enableAutoMtls: true}"]), json!([weak, null])),
            &["warning   R27"],
            &["R22"],
        ),
        // It may be in the one that is not known.
        ("no longer said", partly(json!(["a: 1", weak]), json!(["a: 1", null])), &["warning   R27"], &["R22"]),
    ]);
}

/// Of a plan that has this provider from two places, one may be somebody else's.
#[tokio::test]
async fn two_sources_of_the_provider_are_named() {
    let mut plan = Plan::still();
    plan.resource(CA)["provider_name"] = "evil.example/acme/mesh".into();
    judge(vec![
        ("two", plan, &["warning   R27", "evil.example/acme/mesh", "registry.terraform.io"], &["no risk found"]),
        ("one", Plan::still(), &["no risk found"], &["registry.terraform.io"]),
    ]);
}

#[tokio::test]
async fn what_a_plan_calls_no_change_is_one_where_it_is_unknown() {
    let mut called = Plan::still().unknown(EAST, "/mtls", true.into());
    let change = &mut called.resource(EAST)["change"];
    change["actions"] = json!(["no-op"]);
    change["after"] = change["before"].clone();
    judge(vec![("mtls", called, &["warning   R27", "mtls"], &["nothing changes"])]);
}

/// Which objects an exporting cluster will have.
#[tokio::test]
async fn objects_that_are_not_known_yet_are_not_removed() {
    let mut plan = Plan::still();
    let entry = |exported: Value| json!({ "cluster": "east", "host": "a.b", "exporters": {}, "objects": {}, "exported": exported });
    plan.0["resource_changes"].as_array_mut().unwrap().push(json!({
        "address": "mesh_service_entry.pay", "mode": "managed", "type": "mesh_service_entry", "name": "pay",
        "provider_name": "registry.terraform.io/terraform-provider-mesh/mesh",
        "change": { "actions": ["update"],
            "before": entry(json!({ "west": { "objects": { "Gateway istio-system/pay": "a" } } })),
            "after": entry(Value::Null), "after_unknown": { "exported": true } },
    }));
    judge(vec![("unknown", plan, &["warning   R27", "exported"], &["removed"])]);
}

/// Who is dialled, what runs and on which terms is no less a matter of danger for coming from another resource.
#[tokio::test]
async fn what_is_unknown_and_decides_is_a_warning() {
    judge(
        [
            (LINK, "/server"),
            (LINK, "/proxy_url"),
            (LINK, "/certificate_authority"),
            (LINK, "/token"),
            (LINK, "/mode"),
            (EAST, "/charts"),
            (EAST, "/images"),
            (EAST, "/network"),
            (EAST, "/force_conflicts"),
            (EAST, "/adopt"),
            (GATEWAY, "/network"),
        ]
        .map(|(address, pointer)| {
            let plan = Plan::still().unknown(address, pointer, true.into());
            (pointer, plan, &["warning   R27"][..], &["note      R27"][..])
        })
        .into_iter()
        .collect(),
    );
    judge(
        [(EAST, "/timeouts"), (GATEWAY, "/wait")]
            .map(|(address, pointer)| {
                let plan = Plan::still().unknown(address, pointer, true.into());
                (pointer, plan, &["note      R27"][..], &["warning   R27"][..])
            })
            .into_iter()
            .collect(),
    );
}

#[tokio::test]
async fn what_was_not_looked_at_is_not_allowed_by_a_rule() {
    let mut plan = Plan::still();
    let template = plan.resource(EAST).clone();
    for number in 0..5_001 {
        let mut one = template.clone();
        one["address"] = format!("mesh_primary.n{number}").into();
        one["change"]["actions"] = json!(["delete"]);
        plan.0["resource_changes"].as_array_mut().unwrap().push(one);
    }
    let policy = "version: 1\nrules: [{risk: '*', level: note}]\naccepted: [{risk: '*', reason: x}]\n";
    let review = Review::of(plan.0.to_string().as_bytes(), &Policy::parse(policy).unwrap(), &SCHEMAS).unwrap();
    assert_eq!(review.level(), Some(Level::Forbidden));
    let page = review.written(Format::Text, 60_000);
    assert!(page.contains("not looked at") && page.contains("several states"), "{page}");
    assert!(!page.lines().next().unwrap().contains("by the policy"), "{page}");
}

/// Rules of others compare it.
#[tokio::test]
async fn the_status_of_a_check_is_one_word_for_programs_and_a_sentence_for_people() {
    let check =
        |status: &str| json!([{ "address": { "to_display": "check.mesh" }, "status": status, "instances": [] }]);
    for (status, word, sentence) in
        [("error", "cannot be asked", "The check could not be evaluated"), ("fail", "fails", "The check fails")]
    {
        let plan = with("checks", check(status));
        assert_eq!(plan.review().json()["sections"]["checks"][0]["status"], word);
        assert!(plan.page().contains(sentence), "{}", plan.page());
    }
}
