//! The plan review on plans that somebody has edited: a plan in which nothing happens, and one thing in it that is
//! dangerous, unknown or in another state.

use std::fs;

use serde_json::{Value, json};
use terraform_provider_mesh::review::{Format, Policy, Review};

use crate::review_pages::SCHEMAS;
use crate::review_plans::fixtures;

pub(crate) const CA: &str = "mesh_ca.this";
pub(crate) const EAST: &str = "mesh_primary.this[\"east\"]";
pub(crate) const WEST: &str = "mesh_primary.this[\"west\"]";
pub(crate) const GATEWAY: &str = "mesh_eastwest_gateway.this[\"east\"]";
pub(crate) const LINK: &str = "mesh_remote_cluster.this[\"east\"]";

/// A plan of two clusters.
pub(crate) struct Plan(pub(crate) Value);

impl Plan {
    /// In which everything stays as it is.
    pub(crate) fn still() -> Self {
        let mut plan = Self::recorded("nothing");
        for change in plan.0["resource_changes"].as_array_mut().unwrap() {
            let change = &mut change["change"];
            change["actions"] = json!(["no-op"]);
            change["before"] = change["after"].clone();
            change["after_unknown"] = json!({});
        }
        plan.0["resource_drift"] = json!([]);
        plan
    }

    pub(crate) fn recorded(name: &str) -> Self {
        let text = fs::read_to_string(fixtures().join(format!("{name}.terraform.json"))).unwrap();
        Self(serde_json::from_str(&text).unwrap())
    }

    pub(crate) fn resource(&mut self, address: &str) -> &mut Value {
        let all = self.0["resource_changes"].as_array_mut().unwrap();
        all.iter_mut().find(|change| change["address"] == address).unwrap()
    }

    /// What state knows is only of these.
    pub(crate) fn only(mut self, keeps: impl Fn(&str) -> bool) -> Self {
        let all = self.0["resource_changes"].as_array_mut().unwrap();
        all.retain(|change| keeps(change["address"].as_str().unwrap()));
        self.0["prior_state"] = Value::Null;
        self
    }

    pub(crate) fn actions(mut self, address: &str, actions: &[&str]) -> Self {
        let change = &mut self.resource(address)["change"];
        change["actions"] = json!(actions);
        match actions {
            ["create"] => change["before"] = Value::Null,
            ["delete" | "forget"] => change["after"] = Value::Null,
            _ => {}
        }
        self
    }

    /// Both sides of attributes, by pointers into them.
    pub(crate) fn update(mut self, address: &str, attributes: &[(&str, Value, Value)]) -> Self {
        let change = &mut self.resource(address)["change"];
        change["actions"] = json!(["update"]);
        for (pointer, before, after) in attributes {
            for (side, value) in [("before", before), ("after", after)] {
                let (parent, name) = pointer.rsplit_once('/').unwrap();
                change[side].pointer_mut(parent).unwrap()[name] = value.clone();
            }
        }
        self
    }

    pub(crate) fn unknown(mut self, address: &str, pointer: &str, unknown: Value) -> Self {
        let change = &mut self.resource(address)["change"];
        change["actions"] = json!(["update"]);
        let name = pointer.rsplit('/').next().unwrap();
        let parent = pointer.strip_suffix(&format!("/{name}")).unwrap();
        if unknown == true {
            change["after"].pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
        }
        change["after_unknown"] = unknown;
        for part in pointer.split('/').rev().filter(|part| !part.is_empty()) {
            change["after_unknown"] = json!({ part: change["after_unknown"].take() });
        }
        self
    }

    /// One side of a change is missing.
    pub(crate) fn without(mut self, address: &str, side: &str) -> Self {
        self.resource(address)["change"][side] = Value::Null;
        self
    }

    /// What a plan says of an object that stays.
    pub(crate) fn field(self, address: &str, object: &str, line: &str) -> Self {
        let mut plan = self.object(address, object, Some("old"), Some("new"));
        plan.resource(address)["change"]["after"]["changes"][object] = line.into();
        plan
    }

    pub(crate) fn object(mut self, address: &str, object: &str, before: Option<&str>, after: Option<&str>) -> Self {
        let change = &mut self.resource(address)["change"];
        change["actions"] = json!(["update"]);
        for (side, digest) in [("before", before), ("after", after)] {
            let objects = change[side]["objects"].as_object_mut().unwrap();
            match digest {
                Some(digest) => drop(objects.insert(object.to_owned(), digest.into())),
                None => drop(objects.remove(object)),
            }
        }
        self
    }

    pub(crate) fn review(&self) -> Review {
        Review::of(self.0.to_string().as_bytes(), &Policy::default(), &SCHEMAS).unwrap()
    }

    pub(crate) fn page(&self) -> String {
        self.review().written(Format::Text, 1 << 20)
    }
}

/// Each page says all of the first words and none of the second; a danger is on its first screen.
pub(crate) fn judge(cases: Vec<(&str, Plan, &[&str], &[&str])>) {
    let mut wrong = Vec::new();
    for (name, plan, says, silent) in cases {
        let page = plan.page();
        // To look at one by hand: `MESH_TEST_PLANS=FOLDER`.
        if let Some(folder) = std::env::var_os("MESH_TEST_PLANS") {
            fs::write(
                std::path::Path::new(&folder).join(format!("{}.json", name.replace([' ', '/'], "-"))),
                plan.0.to_string(),
            )
            .unwrap();
        }
        let missing: Vec<_> = says.iter().filter(|words| !page.contains(**words)).collect();
        let untrue: Vec<_> = silent.iter().filter(|words| page.contains(**words)).collect();
        if !missing.is_empty() || !untrue.is_empty() {
            wrong.push(format!("{name}: misses {missing:?}, says {untrue:?}:\n{page}"));
        }
        if says.iter().any(|words| words.starts_with("danger")) && !is_plain(&plan.review()) {
            wrong.push(format!("{name}: the danger is not on the first screen:\n{page}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whether somebody who reads nothing but the first screen learns that there is something to decide.
pub(crate) fn is_plain(review: &Review) -> bool {
    const SCREEN: usize = 25;
    let page = review.written(Format::Markdown, 60_000);
    let screen: Vec<&str> = page.lines().take(SCREEN).collect();
    let verdict = screen.iter().any(|line| line.starts_with("**") && line.contains(" a decision ("));
    verdict && screen.iter().any(|line| line.starts_with("| **danger** | R"))
}

pub(crate) fn values(text: &str) -> Value {
    json!([text])
}

#[tokio::test]
async fn mtls_that_gets_weaker_is_seen_wherever_it_is_said() {
    let weak = "meshConfig: {enableAutoMtls: false}";
    let charts = |text: &str| json!({ "istiod": [text], "base": null, "cni": null, "ztunnel": null });
    let attribute = |before: Value, after: Value| Plan::still().update(EAST, &[("/mtls", before, after)]);
    let policy = "PeerAuthentication istio-system/default";
    let found: &[&str] = &["danger    R22", "needs a decision (encryption or identity checks are weakened)"];
    judge(vec![
        ("strict to nothing", attribute(json!("strict"), Value::Null), found, &[]),
        ("strict to permissive", attribute(json!("strict"), json!("permissive")), found, &[]),
        ("strict to off", attribute(json!("strict"), json!("off")), found, &[]),
        ("nothing to off", attribute(Value::Null, json!("off")), found, &[]),
        ("nothing to permissive", attribute(Value::Null, json!("permissive")), &["no risk found"], &["R22"]),
        ("off to strict", attribute(json!("off"), json!("strict")), &["no risk found"], &["R22"]),
        ("a new one with off", attribute(Value::Null, json!("off")).actions(EAST, &["create"]), found, &[]),
        ("the policy goes", Plan::still().object(EAST, policy, Some("x"), None), found, &[]),
        (
            "the policy that turned it off goes",
            attribute(json!("off"), Value::Null).object(EAST, policy, Some("x"), None),
            &[],
            &["R22"],
        ),
        (
            "a policy is no longer strict",
            Plan::still().field(EAST, policy, "spec.mtls.mode: STRICT -> (none)"),
            found,
            &[],
        ),
        (
            "in the values of one chart",
            Plan::still().update(EAST, &[("/chart_values", Value::Null, charts(weak))]),
            found,
            &[],
        ),
        (
            "in the values of one chart of a new one",
            Plan::still().update(EAST, &[("/chart_values", Value::Null, charts(weak))]).actions(EAST, &["create"]),
            found,
            &[],
        ),
        (
            "from the values of all charts to those of one",
            Plan::still()
                .update(EAST, &[("/chart_values", Value::Null, charts(weak)), ("/values", values(weak), Value::Null)]),
            &["no risk found"],
            &["R22"],
        ),
        (
            "as Go reads a flag",
            Plan::still().update(EAST, &[("/values", Value::Null, values("pilot: {env: {XDS_AUTH: F}}"))]),
            found,
            &[],
        ),
        (
            "a document that cannot be read",
            Plan::still().update(EAST, &[("/values", Value::Null, values("a: ["))]),
            &["R27", "cannot be compared"],
            &[],
        ),
    ]);
}

#[tokio::test]
async fn what_another_state_keeps_has_not_left_the_mesh() {
    let east_only = |address: &str| address.contains("east") && address != CA;
    let no_watcher = || {
        Plan::still().update(
            LINK,
            &[
                ("/watchers", json!(["west"]), json!([])),
                ("/tokens", json!({ "west": { "condition": "valid" } }), json!({})),
            ],
        )
    };
    let lost: &[&str] = &["danger    R08", "No control plane sees it any more"];
    judge(vec![
        ("a watcher of another state goes", no_watcher().only(east_only), lost, &[]),
        (
            "a link of another state's watcher is deleted",
            Plan::still().actions(LINK, &["delete"]).only(east_only),
            lost,
            &[],
        ),
        (
            "a link in a state of links",
            Plan::still().actions(LINK, &["delete"]).only(|address| address == LINK),
            &["danger    R08", "west no longer sees east"],
            &["the mesh of 1 cluster is removed"],
        ),
        ("an authority alone loses a cluster", without_west(), &["danger    R25"], &[]),
        (
            "the gateway of a state of gateways",
            Plan::still().actions(GATEWAY, &["delete"]).only(|address| address.starts_with("mesh_eastwest_gateway")),
            &["danger    R09", "net-east"],
            &[],
        ),
        (
            "the gateway of a cluster with a state of its own",
            Plan::still().actions(GATEWAY, &["delete"]).only(east_only),
            &["danger    R09"],
            &[],
        ),
        ("of two meshes the one with networks of the same names", two_meshes(), &["danger    R09", "net-east"], &[]),
    ]);
    // A cluster that leaves as a whole takes its links, its gateway and its certificate along.
    let leaves = Plan::recorded("cluster-leaves").page();
    for kind in ["R08", "R09", "R25"] {
        assert!(!leaves.contains(&format!("danger    {kind}")), "{leaves}");
    }
}

/// In a state of the authority alone.
fn without_west() -> Plan {
    let mut plan = Plan::still().update(CA, &[]).only(|address| address == CA);
    plan.resource(CA)["change"]["after"]["clusters"].as_object_mut().unwrap().remove("west");
    plan
}

/// One of them loses a gateway, the other keeps its own.
fn two_meshes() -> Plan {
    let mut plan = Plan::still();
    let other = plan.0["resource_changes"].to_string();
    let other =
        other.replace("this[", "other[").replace("mesh_ca.this", "mesh_ca.other").replace("\"mesh1\"", "\"mesh2\"");
    let other = ["east", "west"].iter().fold(other, |text, name| {
        text.replace(&format!("\"cluster\":\"{name}\""), &format!("\"cluster\":\"{name}2\""))
            .replace(&format!("\"watchers\":[\"{name}\"]"), &format!("\"watchers\":[\"{name}2\"]"))
    });
    let other: Vec<Value> = serde_json::from_str(&other).unwrap();
    plan.0["resource_changes"].as_array_mut().unwrap().extend(other);
    plan.0["prior_state"] = Value::Null;
    plan.actions(GATEWAY, &["delete"])
}

pub(crate) fn invocation(kind: &str) -> Value {
    json!({
        "address": format!("action.{kind}.all"), "type": kind, "name": "all",
        "provider_name": "registry.terraform.io/terraform-provider-mesh/mesh",
        "config_values": { "cluster": "east", "namespaces": ["shop"] }, "config_sensitive": {}, "config_unknown": {},
        "invoke_action_trigger": {},
    })
}

/// With `-target` a plan has some of the resources. The others stay, and the mesh of the page is the whole one.
#[tokio::test]
async fn what_a_plan_leaves_out_stays_in_the_mesh() {
    let plan = Plan::recorded("one-resource-only");
    let json: Value = serde_json::from_str(&plan.review().written(Format::Json, 1 << 20)).unwrap();
    let names = |list: &Value, member: &str| -> Vec<String> {
        list.as_array().unwrap().iter().map(|one| one[member].as_str().unwrap().to_owned()).collect()
    };
    for side in ["before", "after"] {
        let topology = &json["topology"][side];
        assert_eq!(names(&topology["clusters"], "name"), ["east", "west"], "{side}: {topology}");
        assert_eq!(names(&topology["links"], "watcher"), ["east", "west"], "{side}: {topology}");
        assert_eq!(names(&topology["gateways"], "network"), ["net-east", "net-west"], "{side}: {topology}");
    }
    let risks = json["risks"].as_array().unwrap();
    assert!(risks.iter().all(|risk| risk["number"] == "R27"), "nothing leaves the mesh: {risks:#?}");
    let left_out = risks.iter().map(|risk| risk["what"].as_str().unwrap()).find(|what| what.contains("leaves out"));
    let left_out = left_out.unwrap_or_else(|| panic!("not named: {risks:#?}"));
    for address in [GATEWAY, WEST, LINK] {
        assert!(left_out.contains(address), "{address}: {left_out}");
    }
    for address in [CA, EAST] {
        assert!(!left_out.contains(address), "{address} is planned: {left_out}");
    }

    // In modules below it is found as well; what is read, or is another provider's, is not of the mesh.
    let mut deeper = Plan::recorded("one-resource-only");
    let state = &mut deeper.0["prior_state"]["values"];
    let mut moved = state["root_module"]["resources"].take();
    let mut more = moved.as_array().unwrap()[..2].to_vec();
    more[0]["mode"] = json!("data");
    more[1]["provider_name"] = json!("registry.terraform.io/hashicorp/null");
    more[1]["type"] = json!("null_resource");
    for (index, resource) in more.iter_mut().enumerate() {
        resource["address"] = json!(format!("other.{index}"));
    }
    moved.as_array_mut().unwrap().extend(more);
    state["root_module"] = json!({ "child_modules": [{ "child_modules": [{ "resources": moved }] }] });
    assert_eq!(deeper.page(), plan.page());

    // What is no resource is none, and ends nothing.
    let mut odd = Plan::recorded("one-resource-only");
    let resources = odd.0["prior_state"]["values"]["root_module"]["resources"].as_array_mut().unwrap();
    resources.extend([json!(7), json!("x"), json!([1]), Value::Null]);
    assert_eq!(odd.page(), plan.page());

    // A secret of what is left out is as little shown as one of what changes.
    let mut marked = Plan::recorded("one-resource-only");
    let resources = marked.0["prior_state"]["values"]["root_module"]["resources"].as_array_mut().unwrap();
    let west = resources.iter_mut().find(|resource| resource["address"] == WEST).unwrap();
    west["sensitive_values"]["network"] = json!(true);
    let page = |plan: &Plan| plan.review().written(Format::Markdown, 60_000);
    assert!(page(&plan).contains("net-west") && !page(&marked).contains("net-west"), "{}", page(&marked));
}

#[tokio::test]
async fn an_action_is_something_that_happens() {
    let with = |member: &str, value: Value, changes: bool| {
        let mut plan = Plan::still();
        plan.0[member] = json!([value]);
        if !changes {
            plan.0["resource_changes"] = json!([]);
            plan.0["prior_state"] = Value::Null;
        }
        plan
    };
    let restart = || invocation("mesh_restart_workloads");
    let put_off = json!({ "reason": "absent_prereq", "action_invocation": restart() });
    let invoked: &[&str] = &["1 action is invoked", "shop"];
    let none: &[&str] = &["nothing changes", "Nothing in this plan"];
    judge(vec![
        ("in a plan that changes nothing", with("action_invocations", restart(), true), invoked, none),
        ("in a plan of nothing else", with("action_invocations", restart(), false), invoked, none),
        (
            "of a kind that is not known",
            with("action_invocations", invocation("mesh_future"), true),
            &["R27", "action.mesh_future.all"],
            &[],
        ),
        (
            "put off",
            with("deferred_action_invocations", put_off, true),
            &["R27", "put off to a later plan", "action.mesh_restart_workloads.all"],
            &[],
        ),
    ]);
    let alone = with("action_invocations", restart(), false).review();
    assert!(alone.concerns_mesh && alone.written(Format::Markdown, 60_000).contains("Restarts"));
}

#[tokio::test]
async fn what_is_not_known_yet_is_not_told_as_none() {
    let mut upgrade = Plan::still();
    for address in [EAST, WEST] {
        upgrade = upgrade.update(address, &[("/istio_version", json!("1.30.0"), json!("1.31.0"))]).unknown(
            address,
            "/objects",
            true.into(),
        );
    }
    let phase = Plan::still().unknown(CA, "/phase", true.into());
    judge(vec![
        (
            "source ranges",
            Plan::still().unknown(GATEWAY, "/service/source_ranges", true.into()),
            &["can connect | 10.0.0.0/8 | known after apply", "warning   R27"],
            &[],
        ),
        (
            "hosts",
            Plan::still().unknown(GATEWAY, "/expose/hosts", true.into()),
            &["services | *.shop.svc.cluster.local | known after apply", "warning   R27"],
            &[],
        ),
        (
            "one host of several",
            Plan::still()
                .update(
                    GATEWAY,
                    &[("/expose/hosts", json!(["a.b.svc.cluster.local"]), json!(["a.b.svc.cluster.local", null]))],
                )
                .unknown(GATEWAY, "/expose/hosts", json!([false, true])),
            &["and more, known after apply", "warning   R27"],
            &[],
        ),
        (
            "the type of a Service",
            Plan::still()
                .update(
                    GATEWAY,
                    &[
                        ("/service/type", json!("ClusterIP"), Value::Null),
                        ("/service/source_ranges", Value::Null, Value::Null),
                    ],
                )
                .unknown(GATEWAY, "/service/type", true.into()),
            &["Service | ClusterIP | known after apply", "The type of its Service is known after the apply only"],
            &["Service | ClusterIP | LoadBalancer", "It gets a load balancer"],
        ),
        (
            "the type of a Service whose ranges go",
            Plan::still().update(GATEWAY, &[("/service/source_ranges", json!(["10.0.0.0/8"]), Value::Null)]).unknown(
                GATEWAY,
                "/service/type",
                true.into(),
            ),
            &["danger    R12"],
            &[],
        ),
        (
            "the network of a gateway while another goes",
            Plan::still()
                .unknown("mesh_eastwest_gateway.this[\"west\"]", "/network", true.into())
                .actions(GATEWAY, &["delete"]),
            &["warning   R09", "net-east any more, unless one does whose network is known after the apply only"],
            &["danger    R09"],
        ),
        ("objects of control planes", upgrade, &["2 control planes may restart", "R04"], &[]),
        ("the phase of a rotation", phase, &["warning   R27", "phase of the root"], &["moves to ;", "moves to ."]),
        ("mtls", Plan::still().unknown(EAST, "/mtls", true.into()), &["warning   R27", "mtls"], &[]),
    ]);
}

#[tokio::test]
async fn what_others_providers_change_is_counted_beside_the_mesh() {
    let mut plan = Plan::still();
    plan.0["resource_changes"].as_array_mut().unwrap().push(json!({
        "address": "helm_release.istiod", "mode": "managed", "type": "helm_release", "name": "istiod",
        "provider_name": "registry.terraform.io/hashicorp/helm",
        "change": { "actions": ["delete"], "before": { "name": "istiod" }, "after": null, "after_unknown": false },
    }));
    assert!(plan.page().lines().next().unwrap().contains("; 1 change of other providers"), "{}", plan.page());
}
