//! The kinds of Kubernetes objects this provider meets: group, version, plural, scope and place in the order of an
//! apply.
//!
//! The table replaces discovery: a request needs nothing but the path, and the paths are known. A kind that the table
//! lacks is asked of the cluster.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

/// One kind of object as the API server serves it.
///
/// Two kinds are equal when group, version and kind are; the order is the order in which objects are applied.
#[derive(Clone, Debug)]
pub struct Kind {
    pub group: Cow<'static, str>,
    pub version: Cow<'static, str>,
    pub kind: Cow<'static, str>,
    pub plural: Cow<'static, str>,
    pub namespaced: bool,
    /// Level in an apply: lower levels are applied, and where it matters ready, before higher ones. Deletion goes the
    /// other way.
    pub order: u8,
}

/// Levels of an apply. Within a level objects do not need one another.
mod level {
    pub const NAMESPACE: u8 = 0;
    pub const DEFINITION: u8 = 1;
    /// Accounts, configuration and rules: what workloads and bindings refer to.
    pub const BASE: u8 = 2;
    pub const BINDING: u8 = 3;
    pub const SERVICE: u8 = 4;
    pub const WORKLOAD: u8 = 5;
    pub const SCALING: u8 = 6;
    pub const CUSTOM: u8 = 7;
    /// Webhooks last: from the moment they exist the API server calls what must serve them.
    pub const WEBHOOK: u8 = 8;
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $group:literal / $version:literal $kind:literal $plural:literal $scope:ident $level:ident;)*) => {
        impl Kind {
            $($(#[$doc])* pub const $name: Kind = Kind {
                group: Cow::Borrowed($group),
                version: Cow::Borrowed($version),
                kind: Cow::Borrowed($kind),
                plural: Cow::Borrowed($plural),
                namespaced: kinds!(@scope $scope),
                order: level::$level,
            };)*

            /// Every kind known without asking a cluster.
            pub const ALL: &'static [Kind] = &[$(Kind::$name),*];
        }
    };
    (@scope Cluster) => { false };
    (@scope Namespaced) => { true };
}

kinds! {
    NAMESPACE = ""/"v1" "Namespace" "namespaces" Cluster NAMESPACE;
    NODE = ""/"v1" "Node" "nodes" Cluster BASE;
    POD = ""/"v1" "Pod" "pods" Namespaced WORKLOAD;
    EVENT = ""/"v1" "Event" "events" Namespaced BASE;
    SERVICE = ""/"v1" "Service" "services" Namespaced SERVICE;
    ENDPOINTS = ""/"v1" "Endpoints" "endpoints" Namespaced SERVICE;
    SERVICE_ACCOUNT = ""/"v1" "ServiceAccount" "serviceaccounts" Namespaced BASE;
    SECRET = ""/"v1" "Secret" "secrets" Namespaced BASE;
    CONFIG_MAP = ""/"v1" "ConfigMap" "configmaps" Namespaced BASE;
    RESOURCE_QUOTA = ""/"v1" "ResourceQuota" "resourcequotas" Namespaced BASE;
    LEASE = "coordination.k8s.io"/"v1" "Lease" "leases" Namespaced BASE;
    LIMIT_RANGE = ""/"v1" "LimitRange" "limitranges" Namespaced BASE;
    ENDPOINT_SLICE = "discovery.k8s.io"/"v1" "EndpointSlice" "endpointslices" Namespaced SERVICE;

    CUSTOM_RESOURCE_DEFINITION = "apiextensions.k8s.io"/"v1" "CustomResourceDefinition" "customresourcedefinitions" Cluster DEFINITION;

    CLUSTER_ROLE = "rbac.authorization.k8s.io"/"v1" "ClusterRole" "clusterroles" Cluster BASE;
    ROLE = "rbac.authorization.k8s.io"/"v1" "Role" "roles" Namespaced BASE;
    CLUSTER_ROLE_BINDING = "rbac.authorization.k8s.io"/"v1" "ClusterRoleBinding" "clusterrolebindings" Cluster BINDING;
    ROLE_BINDING = "rbac.authorization.k8s.io"/"v1" "RoleBinding" "rolebindings" Namespaced BINDING;

    DEPLOYMENT = "apps"/"v1" "Deployment" "deployments" Namespaced WORKLOAD;
    DAEMON_SET = "apps"/"v1" "DaemonSet" "daemonsets" Namespaced WORKLOAD;
    STATEFUL_SET = "apps"/"v1" "StatefulSet" "statefulsets" Namespaced WORKLOAD;
    REPLICA_SET = "apps"/"v1" "ReplicaSet" "replicasets" Namespaced WORKLOAD;
    JOB = "batch"/"v1" "Job" "jobs" Namespaced WORKLOAD;
    CRON_JOB = "batch"/"v1" "CronJob" "cronjobs" Namespaced WORKLOAD;
    HORIZONTAL_POD_AUTOSCALER = "autoscaling"/"v2" "HorizontalPodAutoscaler" "horizontalpodautoscalers" Namespaced SCALING;
    POD_DISRUPTION_BUDGET = "policy"/"v1" "PodDisruptionBudget" "poddisruptionbudgets" Namespaced BASE;
    NETWORK_POLICY = "networking.k8s.io"/"v1" "NetworkPolicy" "networkpolicies" Namespaced BASE;
    INGRESS_CLASS = "networking.k8s.io"/"v1" "IngressClass" "ingressclasses" Cluster BASE;
    PRIORITY_CLASS = "scheduling.k8s.io"/"v1" "PriorityClass" "priorityclasses" Cluster BASE;

    MUTATING_WEBHOOK_CONFIGURATION = "admissionregistration.k8s.io"/"v1" "MutatingWebhookConfiguration" "mutatingwebhookconfigurations" Cluster WEBHOOK;
    VALIDATING_WEBHOOK_CONFIGURATION = "admissionregistration.k8s.io"/"v1" "ValidatingWebhookConfiguration" "validatingwebhookconfigurations" Cluster WEBHOOK;
    VALIDATING_ADMISSION_POLICY = "admissionregistration.k8s.io"/"v1" "ValidatingAdmissionPolicy" "validatingadmissionpolicies" Cluster CUSTOM;
    VALIDATING_ADMISSION_POLICY_BINDING = "admissionregistration.k8s.io"/"v1" "ValidatingAdmissionPolicyBinding" "validatingadmissionpolicybindings" Cluster WEBHOOK;

    /// Istio's Gateway; the Gateway API has its own, [`Kind::GATEWAY_API_GATEWAY`].
    ISTIO_GATEWAY = "networking.istio.io"/"v1" "Gateway" "gateways" Namespaced CUSTOM;
    VIRTUAL_SERVICE = "networking.istio.io"/"v1" "VirtualService" "virtualservices" Namespaced CUSTOM;
    DESTINATION_RULE = "networking.istio.io"/"v1" "DestinationRule" "destinationrules" Namespaced CUSTOM;
    SERVICE_ENTRY = "networking.istio.io"/"v1" "ServiceEntry" "serviceentries" Namespaced CUSTOM;
    WORKLOAD_ENTRY = "networking.istio.io"/"v1" "WorkloadEntry" "workloadentries" Namespaced CUSTOM;
    WORKLOAD_GROUP = "networking.istio.io"/"v1" "WorkloadGroup" "workloadgroups" Namespaced CUSTOM;
    SIDECAR = "networking.istio.io"/"v1" "Sidecar" "sidecars" Namespaced CUSTOM;
    ENVOY_FILTER = "networking.istio.io"/"v1alpha3" "EnvoyFilter" "envoyfilters" Namespaced CUSTOM;
    PROXY_CONFIG = "networking.istio.io"/"v1beta1" "ProxyConfig" "proxyconfigs" Namespaced CUSTOM;
    PEER_AUTHENTICATION = "security.istio.io"/"v1" "PeerAuthentication" "peerauthentications" Namespaced CUSTOM;
    REQUEST_AUTHENTICATION = "security.istio.io"/"v1" "RequestAuthentication" "requestauthentications" Namespaced CUSTOM;
    AUTHORIZATION_POLICY = "security.istio.io"/"v1" "AuthorizationPolicy" "authorizationpolicies" Namespaced CUSTOM;
    TELEMETRY = "telemetry.istio.io"/"v1" "Telemetry" "telemetries" Namespaced CUSTOM;
    WASM_PLUGIN = "extensions.istio.io"/"v1alpha1" "WasmPlugin" "wasmplugins" Namespaced CUSTOM;
    GATEWAY_CLASS = "gateway.networking.k8s.io"/"v1" "GatewayClass" "gatewayclasses" Cluster CUSTOM;
    GATEWAY_API_GATEWAY = "gateway.networking.k8s.io"/"v1" "Gateway" "gateways" Namespaced CUSTOM;
    /// Brought by Istio's chart `cni` on OpenShift.
    NETWORK_ATTACHMENT_DEFINITION = "k8s.cni.cncf.io"/"v1" "NetworkAttachmentDefinition" "network-attachment-definitions" Namespaced CUSTOM;
    HTTP_ROUTE = "gateway.networking.k8s.io"/"v1" "HTTPRoute" "httproutes" Namespaced CUSTOM;
}

impl Kind {
    /// The known kind that serves `api_version` (`v1`, `apps/v1`) and `kind`, in that version.
    ///
    /// The version need not be the table's: a chart may write an older one, and plural and scope do not differ between
    /// versions.
    pub fn known(api_version: &str, kind: &str) -> Option<Kind> {
        let (group, version) = split_api_version(api_version);
        let known = Kind::ALL.iter().find(|known| known.group == group && known.kind == kind)?;
        if known.version == version {
            return Some(known.clone());
        }
        Some(Kind { version: Cow::Owned(version.to_owned()), ..known.clone() })
    }

    /// The known kind that a CRD of this name (`<plural>.<group>`) defines, in the table's version.
    pub fn defined_by(name: &str) -> Option<Kind> {
        let (plural, group) = name.split_once('.')?;
        Kind::ALL.iter().find(|known| known.plural == plural && known.group == group).cloned()
    }

    /// A kind that only a cluster knows of. It takes the place of custom resources in an apply.
    pub fn discovered(api_version: &str, kind: &str, plural: &str, namespaced: bool) -> Kind {
        let (group, version) = split_api_version(api_version);
        Kind {
            group: Cow::Owned(group.to_owned()),
            version: Cow::Owned(version.to_owned()),
            kind: Cow::Owned(kind.to_owned()),
            plural: Cow::Owned(plural.to_owned()),
            namespaced,
            order: level::CUSTOM,
        }
    }

    /// The same group and kind, in this version or another.
    pub fn is_version_of(&self, other: &Kind) -> bool {
        self.group == other.group && self.kind == other.kind
    }

    /// `v1` or `apps/v1`, as manifests write it.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_string() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The path of the collection: `/apis/apps/v1/namespaces/istio-system/deployments`, or over all namespaces without
    /// one.
    pub fn path(&self, namespace: Option<&str>) -> String {
        let root = self.group_path();
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("{root}/namespaces/{}/{}", path_segment(namespace), self.plural),
            None => format!("{root}/{}", self.plural),
        }
    }

    /// The path of the group-version: `/api/v1` or `/apis/apps/v1`.
    pub fn group_path(&self) -> String {
        if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        }
    }
}

pub(super) fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.group == other.group && self.version == other.version && self.kind == other.kind
    }
}

impl Eq for Kind {}

impl std::hash::Hash for Kind {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (&self.group, &self.version, &self.kind).hash(state);
    }
}

impl Ord for Kind {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |kind: &Kind| (kind.order, kind.kind.clone(), kind.group.clone(), kind.version.clone());
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Kind {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)
    }
}

/// Names come from users: nothing in one may reach into the path or the query. RBAC names may hold colons.
pub(super) fn path_segment(name: &str) -> String {
    const KEPT: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');
    percent_encoding::utf8_percent_encode(name, KEPT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_follow_group_and_scope() {
        assert_eq!(Kind::NAMESPACE.path(None), "/api/v1/namespaces");
        assert_eq!(Kind::SECRET.path(Some("istio-system")), "/api/v1/namespaces/istio-system/secrets");
        assert_eq!(Kind::DEPLOYMENT.path(None), "/apis/apps/v1/deployments");
        assert_eq!(
            Kind::CLUSTER_ROLE.path(Some("ignored")),
            "/apis/rbac.authorization.k8s.io/v1/clusterroles",
            "a cluster-scoped kind has no namespace"
        );
    }

    #[test]
    fn an_older_version_of_a_known_kind_keeps_plural_and_scope() {
        let kind = Kind::known("networking.istio.io/v1alpha3", "Gateway").unwrap();
        assert_eq!(kind.path(Some("a")), "/apis/networking.istio.io/v1alpha3/namespaces/a/gateways");
        assert_eq!(Kind::known("gateway.networking.k8s.io/v1", "Gateway"), Some(Kind::GATEWAY_API_GATEWAY));
        assert_eq!(Kind::known("example.com/v1", "Gateway"), None);
    }

    #[test]
    fn a_definition_is_named_after_what_it_defines() {
        assert_eq!(Kind::defined_by("gateways.networking.istio.io"), Some(Kind::ISTIO_GATEWAY));
        assert_eq!(Kind::defined_by("gateways.gateway.networking.k8s.io"), Some(Kind::GATEWAY_API_GATEWAY));
        assert_eq!(Kind::defined_by("widgets.example.com"), None);
    }

    #[test]
    fn webhooks_come_last_and_namespaces_first() {
        let mut kinds = Kind::ALL.to_vec();
        kinds.sort();
        assert_eq!(kinds.first(), Some(&Kind::NAMESPACE));
        assert_eq!(kinds.last(), Some(&Kind::VALIDATING_WEBHOOK_CONFIGURATION));
    }
}
