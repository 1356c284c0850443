//! A law over the schemas: whatever attribute of a resource changes, in whichever direction, some risk judges it, or a
//! table here says why it needs no judgement. So nothing can be added to a resource that the plan review is silent
//! about.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use terraform_provider_mesh::review;
use terraform_provider_mesh::schema::{Attribute, Nested, Nesting, Shape};

use crate::review_edited::{CA, EAST, GATEWAY, LINK, Plan};
use crate::review_pages::SCHEMAS;

const ENTRY: &str = "mesh_service_entry.pay";
const REQUEST: &str = "mesh_ca_request.east";

const FOR_INTERMEDIATES: &str = "It is for the intermediates to come, and what is issued is in the table of trust.";
const FOR_ROOTS: &str = "It is for the roots to come, and what there is stays.";
const ANOTHER_ROOT: &str = "Another root is told by the phase and the fingerprint.";
const DOCUMENTS: &str = "Judged by what is in the documents.";
const PINS: &str = "Charts are pinned from then on.";
const TIMEOUTS: &str = "timeouts";

/// Resource, attribute, cases (all where nothing is said), and the reason.
const NEEDS_NONE: &[(&str, &str, &str, &str)] = &[
    ("mesh_ca", "adopt", "lowered", "Nothing is taken over from then on."),
    (
        "mesh_ca",
        "clusters.*.certificate_chain",
        "",
        "What it chains to is told by the phase and the fingerprint of the root.",
    ),
    ("mesh_ca", "clusters.*.generation", "", "What is issued anew, from the same root, is in the table of trust."),
    ("mesh_ca", "clusters.*.request", "", "The chain that answers it is told by the fingerprint of the root."),
    ("mesh_ca", "intermediate", "set unset", "Nothing is in it here; its members are judged."),
    ("mesh_ca", "intermediate.algorithm", "", FOR_INTERMEDIATES),
    ("mesh_ca", "intermediate.renew_before", "", FOR_INTERMEDIATES),
    ("mesh_ca", "intermediate.validity", "", FOR_INTERMEDIATES),
    ("mesh_ca", "root.algorithm", "", FOR_ROOTS),
    ("mesh_ca", "root.certificate", "", ANOTHER_ROOT),
    ("mesh_ca", "root.common_name", "", FOR_ROOTS),
    ("mesh_ca", "root.generation", "", ANOTHER_ROOT),
    ("mesh_ca", "root.organization", "", FOR_ROOTS),
    (
        "mesh_ca",
        "root.private_key_wo_version",
        "",
        "It says that a key is given again, and another root is told as such.",
    ),
    ("mesh_ca", "root.store", "set unset", ANOTHER_ROOT),
    ("mesh_ca", "root.store.readable_by_watchers", "lowered", "Fewer can read the key of the root."),
    ("mesh_ca", "root.validity", "", FOR_ROOTS),
    (
        "mesh_ca",
        "rotation_pause",
        "set unset back",
        "A longer pause is safer, and what is the usual one is not in the plan.",
    ),
    ("mesh_ca", "skip_unreachable_on_destroy", "lowered", "What does not answer is an error again."),
    ("mesh_ca", TIMEOUTS, "", "It decides when an apply gives up, and not what it does."),
    (
        "mesh_ca",
        "trust_domain",
        "",
        "It is what CAs are checked by; that of the mesh is an attribute of its control planes.",
    ),
    ("mesh_primary", "adopt", "lowered", "Nothing is taken over from then on."),
    ("mesh_primary", "ambient", "raised", "What comes with it is in the tables of objects and rights."),
    ("mesh_primary", "ambient_beside_sidecars", "lowered", "The plan refuses instead."),
    ("mesh_primary", "base_values", "", DOCUMENTS),
    ("mesh_primary", "chart_values", "", DOCUMENTS),
    ("mesh_primary", "chart_values.base", "", DOCUMENTS),
    ("mesh_primary", "chart_values.cni", "", DOCUMENTS),
    ("mesh_primary", "chart_values.istiod", "", DOCUMENTS),
    ("mesh_primary", "chart_values.ztunnel", "", DOCUMENTS),
    ("mesh_primary", "charts.digests", "set", PINS),
    ("mesh_primary", "charts", "set unset", "Nothing is in it here; its members are judged."),
    ("mesh_primary", "charts.version", "", "The version that is planned is judged."),
    ("mesh_primary", "cni", "raised", "What comes with it is in the tables of objects and rights."),
    ("mesh_primary", "custom_hosts", "set gains", "A further name in the certificate takes nothing away."),
    ("mesh_primary", "external_istiod", "raised", "Who can reach it is judged by its doors."),
    ("mesh_primary", "force_conflicts", "lowered", "Nothing is overwritten from then on."),
    ("mesh_primary", "gateway_api", "", "Definitions and versions of them that go are judged as objects."),
    ("mesh_primary", "images", "set unset", "Nothing is in it here; its members are judged."),
    ("mesh_primary", "images.pull_secrets", "", "It names credentials, and not what is pulled."),
    (
        "mesh_primary",
        "install_base",
        "",
        "Objects that go are judged as such, unless another control plane takes them.",
    ),
    (
        "mesh_primary",
        "istio_version",
        "set unset",
        "A plan knows the version of a control plane that stays, on both sides.",
    ),
    ("mesh_primary", "link_token", "set", "The links that use it are judged."),
    (
        "mesh_primary",
        "link_token.audiences",
        "set gains",
        "A token more takes nothing away; who accepts it is judged by the links.",
    ),
    ("mesh_primary", "link_token.lifetime", "", "The kubelet renews these tokens in time, whatever it is."),
    (
        "mesh_primary",
        "mesh_networks",
        "gains",
        "A network more takes nothing away; what it holds is seen in the settings.",
    ),
    ("mesh_primary", "mtls", "set back", "It is stricter than before."),
    ("mesh_primary", "multi_root", "raised", "A second root can be taken from then on."),
    ("mesh_primary", "platform", "", "What it changes in the charts is judged as objects."),
    ("mesh_primary", "read_remote_secrets", "", "The right is that of `read_secrets` of the link."),
    ("mesh_primary", "rollout", "set", "It waits for others from then on."),
    ("mesh_primary", "rollout.after", "set gains", "It waits for more from then on."),
    (
        "mesh_primary",
        "rollout.updated_proxies_percent",
        "",
        "It decides how many proxies must have moved first; whoever waits is named by the plan that keeps a version.",
    ),
    ("mesh_primary", "sensitive_values", "set gains", "More is hidden from then on."),
    ("mesh_primary", "tags", "set gains", "What is injected by a tag more is in the table of restarts."),
    ("mesh_primary", TIMEOUTS, "", "It decides when an apply gives up, and not what it does."),
    ("mesh_primary", "trust_root", "set", "It insists on a root from then on."),
    ("mesh_primary", "values", "", DOCUMENTS),
    ("mesh_eastwest_gateway", "adopt", "lowered", "Nothing is taken over from then on."),
    ("mesh_eastwest_gateway", "charts.digests", "set", PINS),
    ("mesh_eastwest_gateway", "charts", "set unset", "Nothing is in it here; its members are judged."),
    ("mesh_eastwest_gateway", "charts.version", "", "The version that is planned is judged."),
    ("mesh_eastwest_gateway", "expose", "set unset", "Nothing is in it here; its members are judged."),
    ("mesh_eastwest_gateway", "expose.control_plane_hosts", "set gains", "A further name takes nothing away."),
    (
        "mesh_eastwest_gateway",
        "expose.istiod_namespace",
        "",
        "Nothing without `control_plane`; with it `review_taken_away` has a test.",
    ),
    ("mesh_eastwest_gateway", "force_conflicts", "lowered", "Nothing is overwritten from then on."),
    ("mesh_eastwest_gateway", "sensitive_values", "set gains", "More is hidden from then on."),
    ("mesh_eastwest_gateway", "service.ports", "set unset", "Nothing is in it here; its members are judged."),
    ("mesh_eastwest_gateway", "service.type", "set unset", "A load balancer is what it is where nothing is set."),
    ("mesh_eastwest_gateway", "service", "set unset", "Nothing is in it here; its members are judged."),
    (
        "mesh_eastwest_gateway",
        "service.external_traffic_policy",
        "",
        "It decides which nodes answer, which load balancers ask them.",
    ),
    (
        "mesh_eastwest_gateway",
        "service.ports.istiod",
        "",
        "Nothing without `control_plane`, and with it there is only one.",
    ),
    ("mesh_eastwest_gateway", "service.ports.status", "", "Load balancers learn it from the Service."),
    (
        "mesh_eastwest_gateway",
        "service.ports.webhook",
        "",
        "Nothing without `control_plane`, and with it there is only one.",
    ),
    ("mesh_eastwest_gateway", TIMEOUTS, "", "It decides when an apply gives up, and not what it does."),
    ("mesh_eastwest_gateway", "values", "", DOCUMENTS),
    ("mesh_eastwest_gateway", "wait", "raised", "The apply looks from then on."),
    ("mesh_remote_cluster", "adopt", "lowered", "Nothing is taken over from then on."),
    ("mesh_remote_cluster", "allow_loopback_server", "", "The address itself is judged."),
    ("mesh_remote_cluster", "charts.digests", "set", PINS),
    ("mesh_remote_cluster", "charts", "set unset", "Nothing is in it here; its members are judged."),
    ("mesh_remote_cluster", "charts.version", "", "What it changes is judged as objects."),
    ("mesh_remote_cluster", "export_services", "lowered", "A right less; what is exported already stays."),
    ("mesh_remote_cluster", "force_conflicts", "lowered", "Nothing is overwritten from then on."),
    ("mesh_remote_cluster", "link_token", "set", "No token is stored from then on, as the table of tokens says."),
    ("mesh_remote_cluster", "read_secrets", "lowered", "Fewer can read Secrets."),
    ("mesh_remote_cluster", "sensitive_values", "set gains", "More is hidden from then on."),
    ("mesh_remote_cluster", "skip_unreachable_on_destroy", "lowered", "What does not answer is an error again."),
    ("mesh_remote_cluster", TIMEOUTS, "", "It decides when an apply gives up, and not what it does."),
    ("mesh_remote_cluster", "token", "set unset", "Nothing is in it here; its members are judged."),
    ("mesh_remote_cluster", "token.lifetime", "unset", "The usual 90 days are no long life."),
    ("mesh_remote_cluster", "token.rotate_before", "set changed", "Somebody has more time to come by."),
    (
        "mesh_remote_cluster",
        "token.rotate_on_affected_versions",
        "",
        "It decides whether a token that is due is renewed at once or later.",
    ),
    ("mesh_remote_cluster", "values", "", DOCUMENTS),
    ("mesh_remote_cluster", "wait", "raised", "The apply looks from then on."),
    ("mesh_service_entry", "addresses", "", "Clients find them by the name; which ones is seen in the settings."),
    ("mesh_service_entry", "adopt", "lowered", "Nothing is taken over from then on."),
    ("mesh_service_entry", "destination_rule_name", "", "The object is the same under another name."),
    (
        "mesh_service_entry",
        "export_to",
        "unset gains",
        "More namespaces see a service of which they can call no more than it lets in.",
    ),
    ("mesh_service_entry", "exporters.*.istiod_namespace", "", "It is where the plan looks, and decides nothing."),
    (
        "mesh_service_entry",
        "exporters.*.locality",
        "",
        "It decides which of the exporters that are known is the near one.",
    ),
    ("mesh_service_entry", "force_conflicts", "lowered", "Nothing is overwritten from then on."),
    ("mesh_service_entry", "outlier_detection", "raised", "Exporters that answer with errors get fewer calls."),
    ("mesh_service_entry", "ports", "gains", "A port more takes nothing away."),
    ("mesh_service_entry", "skip_unreachable_on_destroy", "lowered", "What does not answer is an error again."),
    ("mesh_service_entry", "stub_service", "raised", "A name more is resolved."),
    ("mesh_service_entry", "subsets", "set", "A subset more takes nothing away."),
    ("mesh_service_entry", TIMEOUTS, "", "It decides when an apply gives up, and not what it does."),
    ("mesh_ca_request", "adopt", "lowered", "Nothing is taken over from then on."),
    ("mesh_ca_request", "algorithm", "", "It is for the keys to come."),
    ("mesh_ca_request", "force_conflicts", "lowered", "Nothing is overwritten from then on."),
    ("mesh_ca_request", "generation", "", "The intermediate stays in use until a new one is signed."),
    ("mesh_ca_request", "organization", "", "It is for the requests to come."),
    ("mesh_ca_request", TIMEOUTS, "", "It decides when an apply gives up, and not what it does."),
];

#[tokio::test]
async fn every_attribute_that_changes_is_judged_or_needs_no_judgement() {
    let (mut silent, mut used) = (Vec::new(), BTreeSet::new());
    for (address, resource) in [
        (CA, "mesh_ca"),
        (EAST, "mesh_primary"),
        (GATEWAY, "mesh_eastwest_gateway"),
        (LINK, "mesh_remote_cluster"),
        (ENTRY, "mesh_service_entry"),
        (REQUEST, "mesh_ca_request"),
    ] {
        let base = with_all_resources();
        let risks = |plan: &Plan| {
            let review = plan.review();
            review.risks.iter().map(|risk| risk.kind.number).filter(|number| *number != "R27").collect::<Vec<_>>()
        };
        let still = Plan(base.0.clone()).update(address, &[]);
        assert!(risks(&still).is_empty(), "{address}: {:?}", risks(&still));
        for case in cases(&SCHEMAS[resource].attributes) {
            let plan = case.in_plan(Plan(base.0.clone()), address);
            let excuse = NEEDS_NONE.iter().position(|(of, path, which, _)| {
                // What is below an attribute has a line of its own, so that a new member asks for a judgement.
                let is_of = *path == case.path || *path == TIMEOUTS && case.path.starts_with("timeouts.");
                *of == resource && is_of && (which.is_empty() || which.split(' ').any(|which| which == case.name))
            });
            match (risks(&plan).is_empty(), excuse) {
                (true, None) => silent.push(format!("{resource}: {} {}", case.path, case.name)),
                (true, Some(at)) => drop(used.insert(at)),
                (false, _) => {}
            }
        }
    }
    assert!(silent.is_empty(), "no risk judges these, and no reason is given:\n{}", silent.join("\n"));
    let idle: Vec<_> = (0..NEEDS_NONE.len()).filter(|at| !used.contains(at)).map(|at| NEEDS_NONE[at]).collect();
    assert!(idle.is_empty(), "these are judged, or there is no such attribute: {idle:?}");
    // A sentence, and no word like `none`.
    let reasons = NEEDS_NONE.iter().filter(|(.., reason)| !reason.ends_with('.') || reason.split(' ').count() < 4);
    assert_eq!(reasons.collect::<Vec<_>>(), Vec::<&_>::new());
}

/// A rule for an attribute that was renamed or removed would never be met again.
#[test]
fn every_rule_is_about_an_attribute_that_there_is() {
    let mut judged = BTreeSet::new();
    for (resource, path) in review::judged_attributes() {
        let mut attributes = SCHEMAS[resource].attributes.as_slice();
        for part in path.split('.').filter(|part| *part != "*") {
            let attribute = attributes.iter().find(|attribute| attribute.name == part);
            let attribute = attribute.unwrap_or_else(|| panic!("{resource} has no {path}"));
            assert!(!attribute.is_computed_only(), "{resource}: no configuration sets {path}");
            attributes = match &attribute.shape {
                Shape::Nested(nested) => &nested.attributes,
                Shape::Type(_) => &[],
            };
        }
        judged.insert(resource);
    }
    // All but `mesh_ca_request`: none of its attributes needs a rule.
    let with_rules: Vec<&str> = SCHEMAS.keys().map(String::as_str).filter(|name| judged.contains(name)).collect();
    assert_eq!(
        with_rules,
        ["mesh_ca", "mesh_eastwest_gateway", "mesh_primary", "mesh_remote_cluster", "mesh_service_entry"]
    );
}

/// An attribute that differs.
struct Case {
    path: String,
    name: &'static str,
    before: Value,
    after: Value,
    replaces: bool,
}

impl Case {
    /// Both sides have what is around the attribute.
    fn in_plan(&self, mut plan: Plan, address: &str) -> Plan {
        let change = &mut plan.resource(address)["change"];
        let actions: &[&str] = if self.replaces { &["delete", "create"] } else { &["update"] };
        change["actions"] = json!(actions);
        for (side, value) in [("before", &self.before), ("after", &self.after)] {
            let mut at = &mut change[side];
            for part in self.path.split('.') {
                if at.is_null() {
                    *at = json!({});
                }
                at = &mut at[if part == "*" { "x" } else { part }];
            }
            *at = value.clone();
        }
        plan
    }
}

fn cases(attributes: &[Attribute]) -> Vec<Case> {
    let mut all = Vec::new();
    into(&mut all, "", attributes, false);
    all
}

fn into(all: &mut Vec<Case>, prefix: &str, attributes: &[Attribute], replaces: bool) {
    let configured = attributes.iter().filter(|attribute| !attribute.is_computed_only() && !attribute.write_only);
    for attribute in configured {
        let path = format!("{prefix}{}", attribute.name);
        let replaces = replaces || attribute.replace;
        let mut add = |name: &'static str, before: Value, after: Value| {
            all.push(Case { path: path.clone(), name, before, after, replaces });
        };
        match &attribute.shape {
            Shape::Nested(Nested { nesting: Nesting::Single, attributes }) => {
                if attribute.optional {
                    add("set", Value::Null, json!({}));
                    add("unset", json!({}), Value::Null);
                }
                into(all, &format!("{path}."), attributes, replaces);
            }
            Shape::Nested(Nested { nesting: Nesting::Map, attributes }) => {
                add("gains", json!({}), json!({ "x": {} }));
                add("loses", json!({ "x": {} }), json!({}));
                into(all, &format!("{path}.*."), attributes, replaces);
            }
            Shape::Nested(Nested { attributes, .. }) => {
                let element = |text: &str| json!([{ attributes[0].name.as_str(): text }]);
                add("changed", element("10.0.0.1"), element("10.0.0.2"));
            }
            Shape::Type(ty) => {
                for (name, before, after) in of_type(&path, &format!("{ty:?}")) {
                    add(name, before, after);
                }
            }
        }
    }
}

fn of_type(path: &str, ty: &str) -> Vec<(&'static str, Value, Value)> {
    let (one, other) = specimens(path);
    let all = |one: Value, other: Value| {
        let set = vec![("set", Value::Null, one.clone()), ("unset", one.clone(), Value::Null)];
        set.into_iter().chain([("changed", one.clone(), other.clone()), ("back", other, one)]).collect::<Vec<_>>()
    };
    match ty {
        ty if ty.starts_with("Bool") => {
            vec![("raised", json!(false), json!(true)), ("lowered", json!(true), json!(false))]
        }
        ty if ty.starts_with("Number") => vec![("changed", json!(1), json!(2)), ("back", json!(2), json!(1))],
        ty if ty.starts_with("String") => all(json!(one), json!(other)),
        ty if ty.starts_with("List") || ty.starts_with("Set") => {
            let (few, more) = (json!([one]), json!([one, other]));
            vec![
                ("set", Value::Null, few.clone()),
                ("unset", few.clone(), Value::Null),
                ("gains", few.clone(), more.clone()),
                ("loses", more, few),
            ]
        }
        ty if ty.starts_with("Map(Map") => all(json!({ "k": { "l": one } }), json!({ "k": { "l": other } })),
        ty if ty.starts_with("Map") => all(json!({ "k": one }), json!({ "k": other })),
        other => panic!("{path} is of a type that nobody thought of: {other}"),
    }
}

/// Two values that an attribute can have. Most are judged by whether they differ. These are judged by which of two is
/// more, and so they need values of which one is: stricter, open to all, of a version that skips others, shorter,
/// wider.
fn specimens(path: &str) -> (&'static str, &'static str) {
    match path {
        "mtls" => ("strict", "off"),
        "mode" => ("peer", "remote"),
        "service.type" => ("LoadBalancer", "NodePort"),
        "istio_version" | "gateway_api" => ("1.30.0", "1.33.0"),
        "rotation_pause" => ("2h", "1h"),
        "token.lifetime" | "token.rotate_before" => ("60d", "500d"),
        path if path.ends_with("source_ranges") => ("10.0.0.0/8", "192.168.0.0/16"),
        path if path.contains("values") => ("a: 1", "a: 2"),
        _ => ("a.example", "b.example"),
    }
}

/// A plan with one of each.
fn with_all_resources() -> Plan {
    let mut plan = Plan::still();
    let nothing = |resource: &str| {
        let attributes = SCHEMAS[resource].attributes.iter().map(|attribute| (attribute.name.clone(), Value::Null));
        Value::Object(attributes.collect())
    };
    let mut entry = nothing("mesh_service_entry");
    let mut request = nothing("mesh_ca_request");
    for (name, value) in [
        ("cluster", json!("east")),
        ("host", json!("pay.shop.svc.cluster.local")),
        ("exporters", json!({ "x": {}, "y": {} })),
        ("ports", json!({ "x": {}, "y": {} })),
        ("objects", json!({})),
        ("exported", json!({})),
    ] {
        entry[name] = value;
    }
    for (name, value) in [("cluster", json!("east")), ("objects", json!({}))] {
        request[name] = value;
    }
    for (address, resource, values) in [(ENTRY, "mesh_service_entry", entry), (REQUEST, "mesh_ca_request", request)] {
        plan.0["resource_changes"].as_array_mut().unwrap().push(json!({
            "address": address, "mode": "managed", "type": resource, "name": "x",
            "provider_name": "registry.terraform.io/terraform-provider-mesh/mesh",
            "change": { "actions": ["no-op"], "before": values, "after": values, "after_unknown": {} },
        }));
    }
    plan
}
