//! Attributes whose change means the same whatever else a plan holds: one line for each, and what it takes away or lets
//! in. What needs more than the attribute itself is in the file of its subject.
//!
//! `tests/integration/review_every_attribute.rs` demands of every attribute that it is judged, here or there, or that
//! its table says why it needs no judgement.

use std::collections::BTreeSet;

use super::Cx;
use crate::review::read::{Action, Instance, Reading, Type};
use crate::review::risk::{
    ACCESS_NARROWED, ALL_AT_ONCE, AUTHORITY_REMOVED, DESTINATION_CHANGED, HOSTS_WIDENED, IDENTITIES_NARROWED,
    INJECTION_CHANGES, LAST_GATEWAY_REMOVED, LEFT_BEHIND, Level, MTLS, NETWORK_CHANGED, RIGHTS_WIDENED, ROLE_CHANGED,
    ROTATION_PREVENTED, ROTATION_STEP, RiskKind, SECRETS, SERVICE_REMOVED, SOURCE_CHANGED, WATCHER_REMOVED,
};
use crate::review::text::{Name, Prose};
use crate::schema::validate::parse_duration;

struct Rule {
    of: Type,
    /// A star stands for each element of a map.
    path: &'static str,
    when: When,
    risk: &'static RiskKind,
    level: Level,
    what: &'static str,
}

#[derive(Clone, Copy)]
enum When {
    Changes,
    /// A flag.
    Raised,
    Lowered,
    /// Whatever it is.
    Set,
    Unset,
    /// An item of a list, or an element of a map.
    Loses,
    /// From all, which is what nothing means, or from more.
    Narrows,
    /// A length of time.
    Shortens,
}

const fn rule(
    of: Type,
    path: &'static str,
    when: When,
    (risk, level): (&'static RiskKind, Level),
    what: &'static str,
) -> Rule {
    Rule { of, path, when, risk, level, what }
}

use Level::{Danger, Note, Warning};
use Type::{Ca, Gateway, Primary, Remote, ServiceEntry};
use When::{Changes, Loses, Lowered, Narrows, Raised, Set, Shortens, Unset};

const PLAIN: &str = "What the values have at one of these paths is written into state and plans as it is.";
const LEFT: &str = "From now on clusters that do not answer are left as they are when they go.";

/// Of each resource in the order of its schema.
static RULES: &[Rule] = &[
    rule(Ca, "accept_roots", Loses, (&IDENTITIES_NARROWED, Danger), "Certificates of this root are refused."),
    rule(
        Ca,
        "clusters.*.namespace",
        Changes,
        (&AUTHORITY_REMOVED, Warning),
        "An istiod that stays in the earlier namespace makes a root of its own when it next starts.",
    ),
    rule(
        Ca,
        "migrate_self_signed",
        Lowered,
        (&IDENTITIES_NARROWED, Note),
        "Roots that istiods have made for themselves are no longer accepted.",
    ),
    rule(
        Ca,
        "root.store.cluster",
        Changes,
        (&SECRETS, Warning),
        "Whoever reads Secrets there can read the private key of the root.",
    ),
    rule(
        Ca,
        "root.store.namespace",
        Changes,
        (&SECRETS, Warning),
        "Whoever reads Secrets there can read the private key of the root.",
    ),
    rule(
        Ca,
        "root.store.name",
        Changes,
        (&SECRETS, Warning),
        "Whoever can read this Secret can read the private key of the root.",
    ),
    rule(
        Ca,
        "rotation_pause",
        Shortens,
        (&ROTATION_STEP, Warning),
        "Less time passes between the steps of a rotation: who learns late of a new root refuses others.",
    ),
    rule(Ca, "skip_unreachable_on_destroy", Raised, (&LEFT_BEHIND, Note), LEFT),
    rule(
        Primary,
        "agents_namespace",
        Changes,
        (&INJECTION_CHANGES, Warning),
        "The node agents move: while they do, a node may have none.",
    ),
    rule(
        Primary,
        "ambient",
        Lowered,
        (&MTLS, Danger),
        "The node agents go that encrypt what ambient workloads send: it is sent in plain text.",
    ),
    rule(
        Primary,
        "ambient_beside_sidecars",
        Raised,
        (&WATCHER_REMOVED, Warning),
        "Pods with sidecars see only those endpoints in other clusters whose Service has the label `istio.io/global=true`.",
    ),
    rule(
        Primary,
        "cni",
        Lowered,
        (&INJECTION_CHANGES, Warning),
        "The node agent goes that directs the traffic of Pods without an init container to their proxies.",
    ),
    rule(
        Primary,
        "config_cluster",
        Changes,
        (&ROLE_CHANGED, ROLE_CHANGED.level),
        "The control plane serves another cluster.",
    ),
    rule(
        Primary,
        "custom_hosts",
        Loses,
        (&ACCESS_NARROWED, Warning),
        "The certificate of istiod no longer has this name: who dials it by the name refuses it.",
    ),
    rule(
        Primary,
        "external_istiod",
        Lowered,
        (&ACCESS_NARROWED, Danger),
        "Proxies of remote clusters get neither configuration nor certificates from it any more.",
    ),
    rule(
        Primary,
        "link_token",
        Unset,
        (&WATCHER_REMOVED, Warning),
        "It no longer has the tokens by which it logs in to clusters it watches.",
    ),
    rule(
        Primary,
        "link_token.audiences",
        Loses,
        (&WATCHER_REMOVED, Warning),
        "It no longer has a token that API servers with this audience accept.",
    ),
    rule(
        Primary,
        "mesh_networks",
        Loses,
        (&LAST_GATEWAY_REMOVED, Warning),
        "Clients here no longer know a way to the network.",
    ),
    rule(
        Primary,
        "mesh_networks.*.endpoints",
        Changes,
        (&NETWORK_CHANGED, Warning),
        "Other endpoints count as those of the network.",
    ),
    rule(
        Primary,
        "mesh_networks.*.gateways",
        Changes,
        (&DESTINATION_CHANGED, Warning),
        "Calls to the network go to other gateways.",
    ),
    rule(
        Primary,
        "multi_root",
        Lowered,
        (&ROTATION_PREVENTED, Warning),
        "Istiod and proxies no longer take a second root.",
    ),
    rule(
        Primary,
        "rollout",
        Unset,
        (&ALL_AT_ONCE, Warning),
        "It no longer waits for other clusters with a new version.",
    ),
    rule(
        Primary,
        "rollout.after",
        Loses,
        (&ALL_AT_ONCE, Warning),
        "It no longer waits for this cluster with a new version.",
    ),
    rule(Primary, "sensitive_values", Loses, (&SECRETS, Warning), PLAIN),
    rule(
        Primary,
        "trust_domain_aliases",
        Loses,
        (&IDENTITIES_NARROWED, Warning),
        "Identities of this trust domain no longer count as the mesh's own.",
    ),
    rule(
        Gateway,
        "revision",
        Changes,
        (&ROLE_CHANGED, ROLE_CHANGED.level),
        "The gateway is served by another control plane.",
    ),
    rule(Gateway, "sensitive_values", Loses, (&SECRETS, Warning), PLAIN),
    rule(
        Remote,
        "certificate_authority",
        Changes,
        (&DESTINATION_CHANGED, Danger),
        "The watchers send their tokens by another `certificate_authority`.",
    ),
    rule(
        Remote,
        "config_cluster",
        Changes,
        (&ROLE_CHANGED, ROLE_CHANGED.level),
        "Proxies of the cluster are served by another control plane, or otherwise.",
    ),
    rule(
        Remote,
        "control_plane",
        Changes,
        (&ROLE_CHANGED, ROLE_CHANGED.level),
        "Proxies of the cluster are served by another control plane, or otherwise.",
    ),
    rule(
        Remote,
        "control_plane_address",
        Changes,
        (&DESTINATION_CHANGED, Danger),
        "Proxies of the cluster ask another address for configuration and certificates.",
    ),
    rule(
        Remote,
        "export_services",
        Raised,
        (&RIGHTS_WIDENED, Warning),
        "The watchers can write ServiceExports in the cluster.",
    ),
    rule(
        Remote,
        "link_token.audience",
        Changes,
        (&DESTINATION_CHANGED, Warning),
        "The API server is shown tokens for another audience.",
    ),
    rule(Remote, "link_token.users", Changes, (&RIGHTS_WIDENED, Warning), "Other users get the rights of the reader."),
    rule(
        Remote,
        "mode",
        Changes,
        (&ROLE_CHANGED, ROLE_CHANGED.level),
        "Proxies of the cluster are served by another control plane, or otherwise.",
    ),
    rule(
        Remote,
        "network",
        Changes,
        (&NETWORK_CHANGED, Warning),
        "Pods that run keep the old network until they are restarted.",
    ),
    rule(
        Remote,
        "proxy_url",
        Changes,
        (&DESTINATION_CHANGED, Danger),
        "The watchers send their tokens by another `proxy_url`.",
    ),
    rule(
        Remote,
        "revision",
        Changes,
        (&ROLE_CHANGED, ROLE_CHANGED.level),
        "Proxies of the cluster are served by a control plane of another revision.",
    ),
    rule(Remote, "sensitive_values", Loses, (&SECRETS, Warning), PLAIN),
    rule(
        Remote,
        "server",
        Changes,
        (&DESTINATION_CHANGED, Danger),
        "The watchers send their tokens by another `server`.",
    ),
    rule(
        Remote,
        "service_account",
        Changes,
        (&RIGHTS_WIDENED, Warning),
        "Another ServiceAccount gets the rights of the reader.",
    ),
    rule(Remote, "skip_unreachable_on_destroy", Raised, (&LEFT_BEHIND, Note), LEFT),
    rule(
        Remote,
        "tls_server_name",
        Changes,
        (&DESTINATION_CHANGED, Danger),
        "The watchers send their tokens by another `tls_server_name`.",
    ),
    rule(Remote, "token.renewal", Set, (&RIGHTS_WIDENED, Note), "A job of each watcher may ask for its tokens."),
    rule(
        Remote,
        "token.renewal.image",
        Changes,
        (&SOURCE_CHANGED, Danger),
        "The job that has the tokens runs another image.",
    ),
    rule(
        ServiceEntry,
        "export_to",
        Narrows,
        (&SERVICE_REMOVED, Warning),
        "Clients in other namespaces no longer find the service.",
    ),
    rule(
        ServiceEntry,
        "exported_host",
        Changes,
        (&DESTINATION_CHANGED, Warning),
        "Gateways of the exporters are asked for another service.",
    ),
    rule(ServiceEntry, "exporters", Loses, (&SERVICE_REMOVED, Warning), "Calls no longer go to this exporter."),
    rule(
        ServiceEntry,
        "exporters.*.cluster",
        Changes,
        (&DESTINATION_CHANGED, Warning),
        "Calls go to a service of another cluster.",
    ),
    rule(
        ServiceEntry,
        "exporters.*.cluster_domain",
        Changes,
        (&DESTINATION_CHANGED, Warning),
        "Calls go to a service of another name.",
    ),
    rule(
        ServiceEntry,
        "exporters.*.expose",
        Lowered,
        (&ACCESS_NARROWED, Warning),
        "The gateway of the exporter no longer lets calls to the service in, unless something else asks it to.",
    ),
    rule(
        ServiceEntry,
        "exporters.*.gateway_namespace",
        Changes,
        (&HOSTS_WIDENED, Warning),
        "Another gateway of the exporter is to let calls to the service in.",
    ),
    rule(
        ServiceEntry,
        "exporters.*.gateway_selector",
        Changes,
        (&HOSTS_WIDENED, Warning),
        "Another gateway of the exporter is to let calls to the service in.",
    ),
    rule(ServiceEntry, "exporters.*.gateways", Changes, (&DESTINATION_CHANGED, Warning), "Calls go to other gateways."),
    rule(ServiceEntry, "exporters.*.labels", Changes, (&DESTINATION_CHANGED, Note), "Subsets find other exporters."),
    rule(
        ServiceEntry,
        "exporters.*.namespace",
        Changes,
        (&DESTINATION_CHANGED, Warning),
        "Calls go to a service of another namespace.",
    ),
    rule(
        ServiceEntry,
        "exporters.*.network",
        Changes,
        (&DESTINATION_CHANGED, Warning),
        "Calls go by the gateways of another network.",
    ),
    rule(ServiceEntry, "exporters.*.service", Changes, (&DESTINATION_CHANGED, Warning), "Calls go to another service."),
    rule(
        ServiceEntry,
        "exporters.*.service_accounts",
        Loses,
        (&IDENTITIES_NARROWED, Warning),
        "Pods with this ServiceAccount are refused as those of the service.",
    ),
    rule(
        ServiceEntry,
        "exporters.*.trust_domain",
        Changes,
        (&IDENTITIES_NARROWED, Warning),
        "Pods with the earlier trust domain are refused as those of the service.",
    ),
    rule(
        ServiceEntry,
        "exporters.*.weight",
        Changes,
        (&DESTINATION_CHANGED, Note),
        "Another share of the calls goes there.",
    ),
    rule(
        ServiceEntry,
        "exporters.*.workload_labels",
        Changes,
        (&DESTINATION_CHANGED, Warning),
        "Calls go to other Pods.",
    ),
    rule(ServiceEntry, "host", Changes, (&SERVICE_REMOVED, Warning), "Clients find the service by another name only."),
    rule(
        ServiceEntry,
        "outlier_detection",
        Lowered,
        (&SERVICE_REMOVED, Note),
        "Clients keep calling exporters that answer with errors.",
    ),
    rule(ServiceEntry, "ports", Loses, (&SERVICE_REMOVED, Warning), "Clients no longer find this port."),
    rule(
        ServiceEntry,
        "ports.*.exporter_port",
        Changes,
        (&DESTINATION_CHANGED, Warning),
        "Calls go to another port of the service.",
    ),
    rule(
        ServiceEntry,
        "ports.*.number",
        Changes,
        (&SERVICE_REMOVED, Warning),
        "Clients find the service at another port only.",
    ),
    rule(
        ServiceEntry,
        "ports.*.protocol",
        Changes,
        (&SERVICE_REMOVED, Warning),
        "Clients must speak another protocol.",
    ),
    rule(
        ServiceEntry,
        "ports.*.target_port",
        Changes,
        (&DESTINATION_CHANGED, Warning),
        "Calls go to another port of the Pods.",
    ),
    rule(ServiceEntry, "skip_unreachable_on_destroy", Raised, (&LEFT_BEHIND, Note), LEFT),
    rule(
        ServiceEntry,
        "stub_service",
        Lowered,
        (&SERVICE_REMOVED, Warning),
        "The cluster's DNS no longer resolves the name.",
    ),
    rule(ServiceEntry, "subsets", Loses, (&SERVICE_REMOVED, Warning), "Clients no longer find this subset."),
    rule(ServiceEntry, "subsets.*", Changes, (&DESTINATION_CHANGED, Note), "The subset is of other exporters."),
];

pub fn of_plan(cx: &mut Cx<'_>) {
    for instance in &cx.plan.instances {
        // What goes, and what is new, is told as a whole.
        if instance.action == Action::None || !instance.before().is_there() || !instance.after().is_there() {
            continue;
        }
        for rule in RULES.iter().filter(|rule| rule.of == instance.kind) {
            let places = places((instance.before(), instance.after()), rule.path);
            for Place { elements, before, after } in places {
                if let Some(lost) = rule.when.meets(before, after) {
                    judge(cx, instance, rule, (&elements, lost.as_deref()), (before, after));
                }
            }
        }
    }
}

fn judge(
    cx: &mut Cx<'_>,
    instance: &Instance,
    rule: &Rule,
    (elements, lost): (&[&str], Option<&str>),
    (before, after): (Reading<'_>, Reading<'_>),
) {
    let of: String = elements.iter().copied().chain(lost).map(|name| format!("{}: ", Name(name))).collect();
    let shown = |side: Reading<'_>| if side.value().is_object() { "there".into() } else { side.shown() };
    let (before, after) = match (lost, before.value().is_object()) {
        (Some(_), true) => (Prose::from("there"), Prose::from("gone")),
        _ => (shown(before), shown(after)),
    };
    cx.risk(rule.risk, instance, of + rule.what).at(rule.level).sides(before, after);
}

/// An attribute, and the elements of maps that it is in.
struct Place<'a> {
    elements: Vec<&'a str>,
    before: Reading<'a>,
    after: Reading<'a>,
}

/// Elements that only one side has are told by their map.
fn places<'a>((before, after): (Reading<'a>, Reading<'a>), path: &str) -> Vec<Place<'a>> {
    let mut found = vec![Place { elements: Vec::new(), before, after }];
    for part in path.split('.') {
        let below = |Place { elements, before, after }: Place<'a>| match part {
            "*" => {
                let others = after.entries();
                let both = before.entries().into_iter().filter_map(move |(name, before)| {
                    let elements = elements.iter().copied().chain([name]).collect();
                    others.get(name).map(|after| Place { elements, before, after: *after })
                });
                both.collect()
            }
            name => vec![Place { elements, before: before.get(name), after: after.get(name) }],
        };
        found = found.into_iter().flat_map(below).collect();
    }
    found
}

impl When {
    /// Whether it is so, and what is lost where one thing is. What is not known, or hidden, is told as such.
    fn meets(self, before: Reading<'_>, after: Reading<'_>) -> Option<Option<String>> {
        let unknown = before.is_partly_unknown() || after.is_partly_unknown();
        let met = match self {
            Changes => {
                before.value() != after.value() && !after.is_partly_hidden() && !before.is_partly_hidden()
                    || after.is_unknown() && !after.is_hidden()
            }
            Raised => after.flag() && !before.flag(),
            Lowered => before.flag() && !after.is_unknown() && !after.flag(),
            Set => !before.is_there() && after.is_there(),
            Unset => before.is_there() && !after.is_there(),
            Narrows => {
                let (was, will) = (members(before), members(after));
                !unknown && !will.is_empty() && (was.is_empty() || !was.is_subset(&will))
            }
            Shortens => {
                let [was, will] = [before, after].map(|side| side.text().and_then(parse_duration));
                was.zip(will).is_some_and(|(was, will)| will < was)
            }
            Loses => {
                let lost = members(before).difference(&members(after)).next().cloned();
                return lost.filter(|_| !unknown).map(Some);
            }
        };
        met.then_some(None)
    }
}

/// Items of a list, or keys of a map.
fn members(reading: Reading<'_>) -> BTreeSet<String> {
    match reading.value().is_object() {
        true => reading.entries().into_keys().map(str::to_owned).collect(),
        false => reading.texts().into_iter().map(str::to_owned).collect(),
    }
}
