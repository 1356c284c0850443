//! The identity with which a watching istiod reads another cluster: a ServiceAccount of our own (the chart's name would
//! give a later `helm install` an ownership conflict) and no more rights than istiod uses.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::name::{Namespace, ServiceAccountName};

/// What the watching istiod does here beside reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReaderMode {
    /// Discovery only.
    Peer,
    /// Its proxies are served from the other cluster: istiod also writes `istio-ca-root-cert` and patches the webhooks.
    Remote,
}

/// The reader of one watched cluster.
#[derive(Debug, Clone)]
pub struct Reader {
    /// Also the name of ClusterRole and ClusterRoleBinding, together with the namespace.
    pub service_account: ServiceAccountName,
    /// Where the ServiceAccount lives.
    pub namespace: Namespace,
    /// The names by which the API server knows watching istiods that come with tokens of their own clusters. If there
    /// are any, they have the rights, and no ServiceAccount is made.
    pub users: BTreeSet<String>,
    /// What istiod does here.
    pub mode: ReaderMode,
    /// Whether istiod may read every Secret. Gateways of this cluster that istiod serves from elsewhere need it for
    /// `credentialName`; without it the watching istiod must run with PILOT_ENABLE_REMOTE_CREDENTIALS_CONTROLLER=false
    /// (Istio 1.31), or it waits for a list it may not make.
    pub read_secrets: bool,
    /// Where the one token in a watcher is renewed by itself: how the names begin of the Secrets that tokens of the
    /// reader are bound to. The reader may then ask for tokens of its own that are bound so, and for none of anybody
    /// else.
    pub renewal: Option<String>,
    /// Whether the watching istiod exports Services through the Multi-Cluster Services API (ENABLE_MCS_AUTO_EXPORT).
    pub export_services: bool,
}

impl Reader {
    /// The name of the cluster-wide objects.
    pub fn cluster_role_name(&self) -> String {
        format!("{}-{}", self.service_account, self.namespace)
    }

    /// ServiceAccount, roles and bindings, in the order to apply. `webhooks` are the injection webhooks of the cluster
    /// that istiod gives its certificate authority.
    pub fn objects(&self, webhooks: &[String]) -> Vec<Value> {
        let account = json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": { "name": self.service_account, "namespace": self.namespace },
        });
        let mut objects = if self.users.is_empty() { vec![account] } else { Vec::new() };
        objects.extend([
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRole",
                "metadata": { "name": self.cluster_role_name() },
                "rules": self.rules(webhooks),
            }),
            self.binding("ClusterRole", json!({ "name": self.cluster_role_name() })),
        ]);
        let metadata = json!({ "name": self.service_account, "namespace": self.namespace });
        let rules = self.own_rules();
        objects.push(json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": rules }));
        objects.push(self.binding("Role", metadata));
        objects.extend(self.renewal.iter().flat_map(|prefix| self.only_bound_tokens(prefix)));
        objects
    }

    /// Keeps who holds one of the reader's tokens from asking for one that outlives the Secrets: deleting these revokes
    /// all.
    fn only_bound_tokens(&self, prefix: &str) -> [Value; 2] {
        let (group, name) = ("admissionregistration.k8s.io/v1", self.cluster_role_name());
        let user = format!("system:serviceaccount:{}:{}", self.namespace, self.service_account);
        let kind = "object.spec.?boundObjectRef.?kind.orValue('') == 'Secret'";
        let begins = format!("object.spec.?boundObjectRef.?name.orValue('').startsWith('{prefix}')");
        let policy = json!({
            "apiVersion": group, "kind": "ValidatingAdmissionPolicy", "metadata": { "name": name },
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": { "resourceRules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["serviceaccounts/token"] }] },
                "matchConditions": [{ "name": "asked-by-the-reader", "expression": format!("request.userInfo.username == '{user}'") }],
                "validations": [{
                    "expression": format!("{kind} && {begins}"),
                    "message": format!("a token of this ServiceAccount must be bound to a Secret whose name begins with {prefix}"),
                }],
            },
        });
        let binding = json!({
            "apiVersion": group, "kind": "ValidatingAdmissionPolicyBinding", "metadata": { "name": name },
            "spec": { "policyName": name, "validationActions": ["Deny"] },
        });
        [policy, binding]
    }

    /// The rules of the Role in its own namespace.
    fn own_rules(&self) -> Vec<Value> {
        // The mesh configuration, for the trust domain; no other ConfigMap is istiod's concern in a peer.
        let mut rules = vec![rule(&[""], &["configmaps"], READ)];
        if self.renewal.is_some() {
            rules.push(named(rule(&[""], &["serviceaccounts/token"], &["create"]), &[&self.service_account]));
        }
        let elections: Vec<&str> = [
            (self.mode == ReaderMode::Remote, "istio-namespace-controller-election"),
            (self.export_services, "istio-serviceexport-controller-election"),
        ]
        .into_iter()
        .filter_map(|(takes_part, election)| takes_part.then_some(election))
        .collect();
        if !elections.is_empty() {
            // RBAC knows no name of what is yet to be made.
            rules.push(rule(&[""], &["configmaps"], &["create"]));
            rules.push(named(rule(&[""], &["configmaps"], &["update"]), &elections));
        }
        rules
    }

    /// The binding of a role, which bears the role's name.
    fn binding(&self, role: &str, metadata: Value) -> Value {
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": format!("{role}Binding"),
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": metadata["name"] },
            "metadata": metadata,
            "subjects": self.subjects(),
        })
    }

    fn subjects(&self) -> Vec<Value> {
        let user = |name| json!({ "kind": "User", "name": name, "apiGroup": "rbac.authorization.k8s.io" });
        match self.users.is_empty() {
            true => {
                vec![json!({ "kind": "ServiceAccount", "name": self.service_account, "namespace": self.namespace })]
            }
            false => self.users.iter().map(user).collect(),
        }
    }

    /// The rules of the ClusterRole.
    pub fn rules(&self, webhooks: &[String]) -> Vec<Value> {
        let mut core = vec!["namespaces", "nodes", "pods", "services"];
        if self.read_secrets {
            core.push("secrets");
        }
        let mut rules = vec![
            rule(&[""], &core, READ),
            rule(&["apiextensions.k8s.io"], &["customresourcedefinitions"], READ),
            rule(&["discovery.k8s.io"], &["endpointslices"], READ),
            rule(&["gateway.networking.k8s.io"], &["gateways"], READ),
            // WorkloadEntry is the only Istio resource that an istiod reads from another cluster.
            rule(&["networking.istio.io"], &["workloadentries"], READ),
            rule(&["multicluster.x-k8s.io"], &["serviceexports", "serviceimports"], READ),
        ];
        if self.export_services {
            rules.push(rule(&["multicluster.x-k8s.io"], &["serviceexports"], &["create", "delete"]));
        }
        if self.mode == ReaderMode::Remote {
            rules.push(rule(&[""], &["configmaps"], &["create"]));
            rules.push(named(rule(&[""], &["configmaps"], &["get", "list", "watch", "update"]), GIVEN_TO_NAMESPACES));
            // How it checks the tokens of proxies that claim to be of this cluster, and the credentials their gateways
            // ask for.
            rules.push(rule(&["authentication.k8s.io"], &["tokenreviews"], &["create"]));
            rules.push(rule(&["authorization.k8s.io"], &["subjectaccessreviews"], &["create"]));
            let admission = |verbs| rule(&["admissionregistration.k8s.io"], &["mutatingwebhookconfigurations"], verbs);
            rules.push(admission(READ));
            if !webhooks.is_empty() {
                rules.push(named(admission(&["update", "patch"]), webhooks));
            }
        }
        rules
    }
}

const READ: &[&str] = &["get", "list", "watch"];

/// ConfigMaps that istiod writes into every namespace, for the proxies in it.
const GIVEN_TO_NAMESPACES: &[&str] = &["istio-ca-root-cert", "istio-ca-crl"];

/// The rule for objects of these names alone.
fn named<T: serde::Serialize>(mut rule: Value, names: &[T]) -> Value {
    rule["resourceNames"] = json!(names);
    rule
}

fn rule(groups: &[&str], resources: &[&str], verbs: &[&str]) -> Value {
    json!({ "apiGroups": groups, "resources": resources, "verbs": verbs })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(mode: ReaderMode, read_secrets: bool) -> Reader {
        Reader {
            service_account: ServiceAccountName::new("mesh-reader").unwrap(),
            namespace: Namespace::new("istio-system").unwrap(),
            users: BTreeSet::new(),
            mode,
            read_secrets,
            renewal: None,
            export_services: false,
        }
    }

    const WEBHOOK: &str = "istio-sidecar-injector";

    /// All (resource, verb) pairs.
    fn grants(reader: &Reader) -> Vec<(String, String)> {
        let strings = |value: &Value| -> Vec<String> {
            value.as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_owned()).collect()
        };
        let mut grants = Vec::new();
        for rule in reader.rules(&[WEBHOOK.to_owned()]) {
            for resource in strings(&rule["resources"]) {
                grants.extend(strings(&rule["verbs"]).into_iter().map(|verb| (resource.clone(), verb)));
            }
        }
        grants
    }

    #[test]
    fn a_peer_s_reader_changes_nothing() {
        for (resource, verb) in grants(&reader(ReaderMode::Peer, true)) {
            assert!(["get", "list", "watch"].contains(&verb.as_str()), "{verb} {resource}");
        }
    }

    #[test]
    fn secrets_are_read_only_on_request() {
        let reads = |reader| grants(&reader).iter().any(|(resource, _)| resource == "secrets");
        assert!(!reads(reader(ReaderMode::Peer, false)));
        assert!(reads(reader(ReaderMode::Peer, true)));
    }

    #[test]
    fn a_remote_s_reader_writes_what_istiod_writes_there() {
        let grants = grants(&reader(ReaderMode::Remote, true));
        for (resource, verb) in
            [("configmaps", "create"), ("configmaps", "update"), ("mutatingwebhookconfigurations", "patch")]
        {
            assert!(grants.contains(&(resource.to_owned(), verb.to_owned())), "{verb} {resource}");
        }
        assert!(!grants.iter().any(|(resource, verb)| resource == "*" || verb == "*"));
    }

    /// What would let a stolen token own the cluster: other webhooks, other ConfigMaps.
    #[test]
    fn what_a_reader_changes_it_changes_by_name() {
        let remote = Reader { export_services: true, ..reader(ReaderMode::Remote, true) };
        let all = remote.objects(&[WEBHOOK.to_owned()]);
        let rules = all.iter().flat_map(|object| object["rules"].as_array().cloned().unwrap_or_default());
        let mut changed = 0;
        for rule in rules {
            let has = |member: &str, names: &[&str]| {
                rule[member].as_array().unwrap().iter().any(|found| names.contains(&found.as_str().unwrap()))
            };
            if has("verbs", &["update", "patch", "delete"]) && !has("resources", &["serviceexports"]) {
                assert!(!rule["resourceNames"].as_array().unwrap().is_empty(), "{rule}");
                changed += 1;
            }
        }
        assert_eq!(changed, 3, "webhooks, what every namespace gets, and elections");
        assert!(
            reader(ReaderMode::Remote, true).rules(&[]).iter().all(|rule| rule["verbs"] != json!(["update", "patch"]))
        );
    }

    #[test]
    fn a_reader_that_renews_itself_asks_for_its_own_tokens_alone() {
        let renewal = Some("mesh-reader.east.".to_owned());
        let objects = Reader { renewal, ..reader(ReaderMode::Peer, false) }.objects(&[]);
        let rules = objects.iter().flat_map(|object| object["rules"].as_array().cloned().unwrap_or_default());
        let more: Vec<Value> = rules.filter(|rule| rule["verbs"] != json!(READ)).collect();
        assert_eq!(
            more,
            [
                json!({ "apiGroups": [""], "resources": ["serviceaccounts/token"], "resourceNames": ["mesh-reader"], "verbs": ["create"] })
            ]
        );
        let policy = objects.iter().find(|object| object["kind"] == "ValidatingAdmissionPolicy").unwrap();
        let condition = &policy["spec"]["matchConditions"][0]["expression"];
        assert_eq!(condition, "request.userInfo.username == 'system:serviceaccount:istio-system:mesh-reader'");
        assert!(
            policy["spec"]["validations"][0]["expression"]
                .as_str()
                .unwrap()
                .ends_with("startsWith('mesh-reader.east.')")
        );
    }

    #[test]
    fn users_of_other_clusters_take_the_place_of_the_account() {
        let users = ["north:istiod", "west:istiod"].map(str::to_owned).into();
        let objects = Reader { users, ..reader(ReaderMode::Peer, false) }.objects(&[]);
        assert!(objects.iter().all(|object| object["kind"] != "ServiceAccount"));
        let bindings: Vec<&Value> = objects.iter().filter(|object| object.get("subjects").is_some()).collect();
        assert_eq!(bindings.len(), 2);
        for binding in bindings {
            assert_eq!(binding["subjects"][1]["name"], "west:istiod");
            assert!(binding["subjects"].as_array().unwrap().iter().all(|subject| subject["kind"] == "User"));
        }
    }

    #[test]
    fn binding_joins_role_and_account() {
        let objects = reader(ReaderMode::Peer, false).objects(&[]);
        assert_eq!(objects[1]["metadata"]["name"], "mesh-reader-istio-system");
        for pair in objects[1..].chunks(2) {
            let (role, binding) = (&pair[0], &pair[1]);
            assert_eq!(binding["roleRef"]["name"], role["metadata"]["name"]);
            assert_eq!(binding["roleRef"]["kind"], role["kind"]);
            assert_eq!(binding["subjects"][0]["name"], objects[0]["metadata"]["name"]);
        }
    }
}
