//! Plans by which somebody could make the review lie, leak or say nothing: each was made to do so once.

use serde_json::{Value, json};
use terraform_provider_mesh::review::{Format, Policy, Review, risk::Level};

use crate::review_edited::{CA, EAST, GATEWAY, LINK, Plan, WEST, judge, values};
use crate::review_pages::SCHEMAS;

const ISTIOD: &str = "Deployment istio-system/istiod";
const RESTARTED: &str = "spec.template.metadata.annotations.a: 1 -> 2";

/// Something is recreated in another cluster.
pub(crate) fn moved_to_north(address: &str) -> Plan {
    let mut plan = Plan::still();
    let change = &mut plan.resource(address)["change"];
    change["actions"] = json!(["delete", "create"]);
    change["after"]["cluster"] = "north".into();
    plan
}

#[tokio::test]
async fn what_is_recreated_in_another_cluster_leaves_its_own() {
    judge(vec![
        (
            "a control plane",
            moved_to_north(EAST),
            &["danger    R03", "(east, north: mesh_primary", "leaves east, and another one is created in north"],
            &["in between there is none"],
        ),
        (
            "a link",
            moved_to_north(LINK),
            &["R08", "west no longer sees east", "east | west | revoked"],
            &["The link is deleted and recreated", "does not see east"],
        ),
    ]);
    // A policy for the cluster that is left is a policy for this.
    let policy = "version: 1\nrules: [{risk: control-plane-replaced, clusters: [east], level: forbidden}]\n";
    let plan = moved_to_north(EAST).0.to_string();
    let review = Review::of(plan.as_bytes(), &Policy::parse(policy).unwrap(), &SCHEMAS).unwrap();
    assert_eq!(review.level(), Some(Level::Forbidden));
    let objects = review.json()["sections"]["objects"].to_string();
    assert!(objects.contains("removed") && objects.contains("added"), "{objects}");
}

#[tokio::test]
async fn clusters_that_cannot_be_told_apart_are_not_taken_for_one() {
    let mut plan = Plan::still();
    for address in [EAST, WEST] {
        plan = plan.field(address, ISTIOD, RESTARTED);
        let change = &mut plan.resource(address)["change"];
        for side in ["before_sensitive", "after_sensitive"] {
            change[side] = json!({ "cluster": true });
        }
    }
    judge(vec![("marked names", plan, &["danger    R27", "cannot tell clusters apart"], &["no risk found"])]);
}

#[tokio::test]
async fn a_copy_of_the_provider_is_not_passed_over() {
    let mut plan = Plan::recorded("mtls-off");
    let all = plan.0.to_string().replace("terraform-provider-mesh/mesh\"", "acme/mesh-fork\"");
    plan.0 = serde_json::from_str(&all).unwrap();
    let page = plan.page();
    for words in ["R27", "acme/mesh-fork", "which this review does not know"] {
        assert!(page.contains(words), "{words}: {page}");
    }
}

/// What a plan puts off can mark what the rest of it shows.
#[tokio::test]
async fn a_mark_in_a_change_that_is_put_off_hides_as_any_other() {
    let secret = "hunter2-of-the-database";
    let mut plan = Plan::still().update(EAST, &[("/values", Value::Null, values(&format!("a: {{b: {secret}}}")))]);
    plan.0["deferred_changes"] = json!([{ "reason": "provider_config_unknown", "resource_change": {
        "address": "helm_release.x", "mode": "managed", "type": "helm_release", "provider_name": "x/y/helm",
        "change": { "actions": ["create"], "before": null, "after": { "set": [secret] }, "after_unknown": {},
            "before_sensitive": false, "after_sensitive": { "set": [true] } },
    }}]);
    for (name, format) in Format::ALL {
        let written = plan.review().written(format, 1 << 20);
        assert!(!written.contains(secret), "{name}: {written}");
    }
    assert!(plan.page().contains("1 change put off to a later plan"), "{}", plan.page());
}

#[tokio::test]
async fn moves_imports_and_what_is_forgotten() {
    let mut moved = Plan::still();
    moved.resource(EAST)["previous_address"] = "module.old[\"a.b\"].helm_release.mesh_primary".into();
    let mut renamed = Plan::still();
    renamed.resource(EAST)["previous_address"] = "module.old[\"a.b\"].mesh_primary.istiod".into();
    let mut imported = Plan::still();
    imported.resource(GATEWAY)["change"]["importing"] = json!({ "id": "east/istio-system/x" });
    judge(vec![
        ("from another provider", moved, &["warning   R24", "helm_release.mesh_primary"], &["no risk found"]),
        ("from another name", renamed, &["no risk found"], &["R24"]),
        ("imported", imported, &["warning   R24", "imported"], &["no risk found"]),
        (
            "forgotten",
            Plan::still().actions(LINK, &["forget"]),
            &["warning   R28", "No apply renews or revokes its tokens"],
            &["no longer sees", "revoked"],
        ),
        (
            "a gateway that is forgotten",
            Plan::still().actions(GATEWAY, &["forget"]),
            &["warning   R28"],
            &["Reachable from outside", "R09", "R38"],
        ),
        ("a control plane that is forgotten", Plan::still().actions(EAST, &["forget"]), &["warning   R28"], &["R07"]),
        ("an authority", Plan::still().actions(CA, &["forget"]), &["warning   R28"], &["R25"]),
    ]);
}

#[tokio::test]
async fn what_a_plan_calls_a_step_is_not_believed() {
    let mut still = Plan::still().update(EAST, &[("/mtls", json!("strict"), json!("off"))]);
    still.resource(EAST)["change"]["actions"] = json!(["no-op"]);
    let mut replaced = Plan::still().actions(LINK, &["delete", "create"]);
    replaced.resource(LINK)["change"]["after"].as_object_mut().unwrap().remove("tokens");
    replaced.resource(LINK)["change"]["after_unknown"] = json!({ "tokens": true });
    let mut marked = Plan::still().update(EAST, &[("/mtls", json!("strict"), json!("off"))]);
    marked.resource(EAST)["change"]["after_sensitive"] = true.into();
    judge(vec![
        ("something that differs", still, &["danger    R22"], &["nothing changes"]),
        ("tokens of a link that is recreated", replaced, &["east | west | reissued"], &["revoked"]),
        ("all of it is marked", marked, &["danger    R27", "cluster_name"], &["revision, watchers"]),
        (
            "the old one stays",
            Plan::still().actions(EAST, &["create", "forget"]),
            &["danger    R03", "stays as it is"],
            &["recreated\n", "it is deleted and recreated"],
        ),
    ]);
}

/// Which may be the one there is.
fn unknown_watcher() -> Plan {
    let mut plan = Plan::still().update(LINK, &[("/watchers", json!(["west"]), json!([null]))]);
    plan.resource(LINK)["change"]["after_unknown"] = json!({ "watchers": [true] });
    plan
}

#[tokio::test]
async fn an_unknown_version_of_what_runs_is_told() {
    judge(vec![
        (
            "a control plane that runs",
            Plan::still().unknown(EAST, "/istio_version", true.into()),
            &["warning   R27", "istio_version"],
            &["no risk found"],
        ),
        (
            "one of the watchers",
            unknown_watcher(),
            &["warning   R27", "watchers"],
            &["no longer sees", "gone: west", "| nothing\n"],
        ),
        (
            "whose certificates are kept",
            Plan::still().unknown(CA, "/clusters", true.into()),
            &["warning   R27", "clusters"],
            &["no risk found"],
        ),
        (
            "whether watchers read Secrets",
            Plan::still().unknown(LINK, "/read_secrets", true.into()),
            &["warning   R27", "read_secrets"],
            &[],
        ),
    ]);
}

/// Whatever a name is, it neither ends a table, nor turns the writing, nor makes a link, and it is cut.
#[tokio::test]
async fn names_are_names_and_nothing_else() {
    let names = [
        "a\u{202e}b",
        "x](https://evil.example)",
        "| a |\n| --- |",
        "<img src=x onerror=alert(1)>",
        "</details> www.evil.example",
        "`` ` ``",
        "@octocat #1 !1",
        "\u{0}\u{1b}[31mred",
    ];
    let long = "x".repeat(100 << 10);
    for name in names.into_iter().chain([long.as_str()]) {
        let mut plan = Plan::still().field(EAST, ISTIOD, RESTARTED);
        for change in plan.0["resource_changes"].as_array_mut().unwrap() {
            let address = change["address"].as_str().unwrap().to_owned();
            let key = json!(name).to_string();
            change["address"] = format!("module.mesh[{key}].{address}").into();
            for side in ["before", "after"] {
                let side = &mut change["change"][side];
                for attribute in ["cluster", "network", "revision"] {
                    if side[attribute].is_string() && side[attribute] != "west" {
                        side[attribute] = name.into();
                    }
                }
            }
        }
        let review = plan.review();
        // Whatever it is called, it is one cluster, and its control plane restarts.
        let json = review.json();
        assert!(json["verdict"].as_str().unwrap().contains("1 control plane restarts"), "{name}: {}", json["verdict"]);
        assert_eq!(json["topology"]["after"]["clusters"].as_array().unwrap().len(), 2, "{name}: {}", json["topology"]);
        for (format, of) in Format::ALL {
            let written = review.written(of, of.usual_most());
            assert!(written.len() <= of.usual_most() && !written.contains(&long), "{format}");
            let hidden = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
            assert!(!written.contains(hidden), "{format}: {written}");
        }
        let page = review.written(Format::Markdown, 60_000);
        for raw in ["<img", "</details> www", "<code>&#60;/details&#62; www.evil"] {
            assert!(!page.contains(raw), "{raw}: {page}");
        }
        // In each table all rows have as many cells as its head.
        let bars = |line: &str| line.replace("\\|", "").matches('|').count();
        let mut width = None;
        for line in page.lines() {
            match (line.starts_with('|'), width) {
                (true, Some(width)) => assert_eq!(bars(line), width, "{name}: {line}"),
                (true, None) => width = Some(bars(line)),
                (false, _) => width = None,
            }
        }
    }
}
