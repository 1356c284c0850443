//! The plan review on what is recreated in another cluster, or leaves its predecessor behind: both clusters matter, and
//! what nobody keeps any more is still there.

use serde_json::{Value, json};

use crate::review_edited::{CA, EAST, GATEWAY, LINK, Plan, judge};
use crate::review_hostile::moved_to_north;

const TOKEN: &str = "/tokens";

/// The rows of a section that are of a cluster, each as a list of texts.
fn rows(plan: &Plan, section: &str, cluster: &str) -> Vec<String> {
    let json = plan.review().json();
    let rows = json["sections"][section].as_array().cloned().unwrap_or_default();
    rows.iter().filter(|row| row["cluster"] == cluster).map(Value::to_string).collect()
}

fn says(rows: &[String], words: &[&str]) -> bool {
    rows.iter().any(|row| words.iter().all(|word| row.contains(word)))
}

#[tokio::test]
async fn a_door_closes_in_the_cluster_that_is_left_and_opens_in_the_other() {
    let moved = moved_to_north(GATEWAY);
    let (east, north) = (rows(&moved, "exposure", "east"), rows(&moved, "exposure", "north"));
    assert!(says(&east, &["\"services\"", "\"after\":\"none\""]), "{east:?}");
    assert!(says(&north, &["\"services\"", "\"before\":\"none\""]), "{north:?}");
    let mut leads_in = moved_to_north(GATEWAY);
    for side in ["before", "after"] {
        leads_in.resource(GATEWAY)["change"][side]["expose"]["control_plane"] = true.into();
    }
    let mut opened = moved_to_north(GATEWAY);
    opened.resource(GATEWAY)["change"]["after"]["expose"]["hosts"] = json!(["*"]);
    judge(vec![
        (
            "the address",
            moved,
            &["warning   R10", "in north", "R11", "north: mesh_eastwest"],
            &["is recreated: a cloud"],
        ),
        ("the control plane", leads_in, &["warning   R38", "(east: mesh_eastwest"], &[]),
        // That it is a new door there makes it no smaller danger.
        ("more hosts", opened, &["danger    R11"], &[]),
    ]);
}

#[tokio::test]
async fn rights_and_tokens_go_in_the_cluster_that_is_left_and_come_in_the_other() {
    let moved = moved_to_north(LINK);
    let (east, north) = (rows(&moved, "rights", "east"), rows(&moved, "rights", "north"));
    assert!(says(&east, &["istiods of west", "\"before\":\"Secrets too\"", "\"after\":\"nothing\""]), "{east:?}");
    assert!(says(&north, &["istiods of west", "\"before\":\"nothing\"", "\"after\":\"Secrets too\""]), "{north:?}");
    judge(vec![("Secrets", moved, &["R16", "reads every Secret of north"], &["reads every Secret of east"])]);
    let mut renamed = moved_to_north(EAST);
    renamed.resource(EAST)["change"]["after"]["network"] = "net-north".into();
    assert!(!renamed.page().contains("moves from network"), "{}", renamed.page());
    let (east, north) = (rows(&renamed, "versions", "east"), rows(&renamed, "versions", "north"));
    assert!(says(&east, &["control plane", "\"after\":\"none\""]), "{east:?}");
    assert!(says(&north, &["control plane", "\"before\":\"none\""]), "{north:?}");
    let mut tagged = moved_to_north(EAST);
    for side in ["before", "after"] {
        tagged.resource(EAST)["change"][side]["tags"] = json!(["prod"]);
    }
    judge(vec![("a tag", tagged, &["warning   R40", "(east: mesh_primary", "the tag prod"], &[])]);
}

/// It is created first, and the old one is forgotten: nothing is removed.
fn left_behind(address: &str) -> Plan {
    Plan::still().actions(address, &["create", "forget"])
}

#[tokio::test]
async fn what_is_left_behind_is_not_removed() {
    let mut link = left_behind(LINK);
    let change = &mut link.resource(LINK)["change"];
    change["after"]["watchers"] = json!([]);
    change["after"]["tokens"] = json!({});
    let topology = link.review().json()["topology"]["after"]["links"].to_string();
    assert!(topology.contains(r#"{"watched":"east","watcher":"west"}"#), "{topology}");
    let mut elsewhere = left_behind(LINK);
    elsewhere.resource(LINK)["change"]["after"]["cluster"] = "north".into();
    let mut tagged = left_behind(EAST);
    tagged.resource(EAST)["change"]["before"]["tags"] = json!(["prod"]);
    let mut gateway = left_behind(GATEWAY);
    gateway.resource(GATEWAY)["change"]["after"]["network"] = "net-north".into();
    judge(vec![
        ("a link", link, &["R28", "stays as it is"], &["no longer sees", "revoked", "recreated", "| nothing\n"]),
        ("a link to another cluster", elsewhere, &["R28", "north | west"], &["no longer sees", "revoked", "leaves"]),
        ("a tag", tagged, &["R28"], &["R40"]),
        ("a gateway", gateway, &["R28"], &["R09", "The Service is recreated"]),
        ("an authority", left_behind(CA), &["danger    R01", "R28", "is forgotten"], &["is deleted and recreated"]),
    ]);
}

/// What the predecessor was allowed to do, the successor does again.
#[tokio::test]
async fn a_successor_takes_over_and_issues_anew() {
    let both = |mut plan: Plan, address: &str, name: &str, value: Value| {
        for side in ["before", "after"] {
            plan.resource(address)["change"][side][name] = value.clone();
        }
        plan
    };
    let endless = || json!({ "long_lived": true });
    judge(vec![
        ("elsewhere", both(moved_to_north(EAST), EAST, "adopt", true.into()), &["R24", "are taken over"], &[]),
        ("beside the old one", both(left_behind(EAST), EAST, "adopt", true.into()), &["R24", "are taken over"], &[]),
        ("fields of others", both(moved_to_north(EAST), EAST, "force_conflicts", true.into()), &["R23"], &[]),
        ("a token", both(moved_to_north(LINK), LINK, "token", endless()), &["R17", "(north: mesh_remote"], &[]),
        ("it stays", both(Plan::still(), LINK, "token", endless()).update(LINK, &[]), &[], &["R17"]),
    ]);
}

/// Of a replacement that was cut off: what is left of the old one goes with this plan.
#[tokio::test]
async fn what_an_earlier_replacement_left_over_is_not_deleted_in_silence() {
    let deposed = |address: &str, actions: &[&str]| {
        let mut plan = Plan::still();
        let mut old = plan.resource(address).clone();
        old["deposed"] = "a1b2c3d4".into();
        old["change"]["actions"] = json!(actions);
        old["change"]["after"] = Value::Null;
        plan.0["resource_changes"].as_array_mut().unwrap().push(old);
        plan
    };
    let says: &[&str] = &["warning   R42", "left over"];
    judge(
        [CA, EAST, GATEWAY, LINK]
            .map(|address| (address, deposed(address, &["delete"]), says, &["no risk found", "R25", "R07", "R09"][..]))
            .into_iter()
            .collect(),
    );
    judge(vec![("forgotten", deposed(LINK, &["forget"]), &["warning   R28"], &["R42"])]);
}

#[tokio::test]
async fn what_becomes_of_tokens_is_said_as_it_is() {
    let with = |pointer: &str, value: Value| {
        let plan = Plan::still().update(LINK, &[(pointer, value, Value::Null)]);
        plan.actions(LINK, &["forget"])
    };
    judge(vec![
        (
            "bounded",
            Plan::still().actions(LINK, &["forget"]),
            &["No apply renews or revokes its tokens"],
            &["for ever"],
        ),
        ("endless", with("/token", json!({ "long_lived": true })), &["have no end"], &["until its end"]),
        (
            "renewed",
            with("/token", json!({ "renewal": { "image": "x" } })),
            &["a job in each watcher continues to renew"],
            &["until its end"],
        ),
        (
            "of istiod itself",
            with("/link_token", json!({ "audience": "x" })),
            &["No token is stored"],
            &["until its end"],
        ),
        (
            "of a watcher without a stored token",
            Plan::still().update(
                LINK,
                &[
                    ("/link_token", json!({ "audience": "x" }), json!({ "audience": "x" })),
                    ("/watchers", json!(["west"]), json!([])),
                    (TOKEN, json!({}), json!({})),
                ],
            ),
            &["danger    R08"],
            &["token is revoked"],
        ),
    ]);
}

#[tokio::test]
async fn watchers_that_are_not_known_hide_none_that_go() {
    let unknown = |before: Value, after: Value, marks: Value| {
        let mut plan = Plan::still().update(LINK, &[("/watchers", before, after)]);
        plan.resource(LINK)["change"]["after_unknown"] = json!({ "watchers": marks });
        plan
    };
    let mut elsewhere = moved_to_north(LINK);
    let change = &mut elsewhere.resource(LINK)["change"];
    change["after"]["watchers"] = Value::Null;
    change["after_unknown"] = json!({ "watchers": true });
    judge(vec![
        (
            "of another cluster",
            elsewhere,
            &["R08", "west no longer sees east", "warning   R27", "watchers"],
            &["west no longer sees north"],
        ),
        (
            "one for two",
            unknown(json!(["south", "west"]), json!([null]), json!([true])),
            &["R08", "At least 1 of south, west no longer sees east", "warning   R27"],
            &[],
        ),
        (
            "one for one",
            unknown(json!(["south", "west"]), json!(["south", null]), json!([false, true])),
            &["warning   R27"],
            &["no longer sees"],
        ),
    ]);
}
