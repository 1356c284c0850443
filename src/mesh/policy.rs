//! What the control planes of one mesh must be configured alike in. Each istiod serves its own proxies by its own
//! configuration alone, so that a difference is never an error for anybody: calls merely behave otherwise, by where
//! they come from.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value};

use super::mesh_config::mesh_field;
use super::service_host::{covers, without_domain};

/// A field of the mesh configuration, and what counts where nothing is said.
struct Field {
    path: &'static str,
    usual: &'static str,
    /// The order of its items means nothing.
    is_set: bool,
}

const fn field(path: &'static str, usual: &'static str) -> Field {
    Field { path, usual, is_set: false }
}

const fn set(path: &'static str, usual: &'static str) -> Field {
    Field { path, usual, is_set: true }
}

/// Trust domains are not among them: they may differ where each accepts the other's. Nor is what belongs to one
/// cluster, as addresses and resources.
const FIELDS: &[Field] = &[
    field("defaultConfig.proxyMetadata.ISTIO_META_DNS_AUTO_ALLOCATE", "false"),
    field("defaultConfig.proxyMetadata.ISTIO_META_DNS_CAPTURE", "false"),
    set("defaultDestinationRuleExportTo", "*"),
    set("defaultServiceExportTo", "*"),
    set("defaultVirtualServiceExportTo", "*"),
    // It hides services of other clusters, too.
    set("discoverySelectors", ""),
    field("enableAutoMtls", "true"),
    set("localityLbSetting.distribute", ""),
    field("localityLbSetting.enabled", "true"),
    set("localityLbSetting.failover", ""),
    field("localityLbSetting.failoverPriority", ""),
    set("meshMTLS.cipherSuites", ""),
    field("meshMTLS.minProtocolVersion", "TLS_AUTO"),
    field("outboundTrafficPolicy.mode", "ALLOW_ANY"),
    // By this a server understands the paths in AuthorizationPolicies.
    field("pathNormalization.normalization", "DEFAULT"),
    field("rootNamespace", "istio-system"),
    set("serviceScopeConfigs", ""),
];

/// Characters of what somebody else has written that a message shows.
const LONGEST: usize = 80;

/// Names of one value.
const SAME: &[(&str, &str)] = &[("BASE", "DEFAULT"), ("TLSV1_2", "TLS_AUTO")];

/// The fields of hosts that stay within their cluster.
const CLUSTER_LOCAL: &str = "serviceSettings.settings.clusterLocal of ";

/// Hosts that istiod keeps within their cluster unasked, without the domain.
const ALWAYS_LOCAL: &[&str] = &["*.kube-system.svc", "kubernetes.default.svc"];

/// Where proxies find istiod if nothing is said.
const USUAL_ADDRESS: &str = "istiod.istio-system.svc:15012";

/// The part of a mesh configuration that the control planes of one mesh must have alike.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MeshPolicy {
    /// What is not as usual, by field.
    said: BTreeMap<String, String>,
    /// What is said of hosts staying within their cluster.
    local: BTreeMap<String, bool>,
    /// The host of istiod itself, which it keeps within its cluster unasked.
    own_host: String,
}

/// A field in which clusters differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub field: String,
    /// Each value, with the clusters that have it.
    pub said: BTreeMap<String, BTreeSet<String>>,
}

impl MeshPolicy {
    /// Of a mesh configuration, as istiod reads it.
    pub fn of(mesh: &Map<String, Value>) -> MeshPolicy {
        let mut policy = MeshPolicy::default();
        for field in FIELDS {
            let text = text_at(mesh, field);
            if text != field.usual {
                policy.said.insert(field.path.to_owned(), text);
            }
        }
        let address = mesh_field(mesh, "defaultConfig.discoveryAddress").and_then(Value::as_str);
        let own_host = address.unwrap_or(USUAL_ADDRESS).rsplit_once(':').map_or("", |(host, _)| host);
        policy.own_host = without_domain(own_host).to_owned();
        let settings = mesh_field(mesh, "serviceSettings").and_then(Value::as_array).into_iter().flatten();
        for entry in settings {
            let local = entry.as_object().and_then(|entry| mesh_field(entry, "settings.clusterLocal")?.as_bool());
            let Some(local) = local else { continue };
            let hosts = entry.get("hosts").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
            policy.local.extend(hosts.map(|host| (without_domain(&host.to_ascii_lowercase()).to_owned(), local)));
        }
        policy
    }

    /// Whether a host is nobody's business in other clusters: what is most exactly said of it counts. `false` for a
    /// default of istiod's, or for one host of it, ends the whole default.
    pub fn keeps_within(&self, host: &str) -> bool {
        let host = without_domain(host);
        let own = Some(self.own_host.as_str()).filter(|own| !own.is_empty());
        let unasked = ALWAYS_LOCAL.iter().copied().chain(own).filter(|default| {
            let within = |said: &str| default.strip_prefix('*').is_some_and(|end| said.ends_with(end));
            !self.local.iter().any(|(said, local)| !local && (said == default || within(said)))
        });
        let said = self.local.iter().map(|(pattern, local)| (pattern.as_str(), *local));
        let all = said.chain(unasked.map(|default| (default, true))).filter(|(pattern, _)| covers(pattern, host));
        // A pattern for one namespace is more exact than one for a domain, which may be longer.
        let exactness = |pattern: &str| (!pattern.starts_with('*'), pattern.ends_with("svc"), pattern.len());
        all.max_by_key(|(pattern, _)| exactness(pattern)).is_some_and(|(_, local)| local)
    }

    /// Whether proxies speak plain text unless a rule says otherwise.
    pub fn is_plain(&self) -> bool {
        self.value("enableAutoMtls") == "false"
    }

    /// The namespace whose policies are for the whole mesh.
    pub fn root_namespace(&self) -> &str {
        self.value("rootNamespace")
    }

    fn value(&self, name: &str) -> &str {
        let usual = || FIELDS.iter().find(|field| field.path == name).map_or("", |field| field.usual);
        self.said.get(name).map_or_else(usual, String::as_str)
    }
}

/// The trust domains that proxies accept beside their own: aliases, and those of roots that are added.
pub fn accepted_domains(mesh: &Map<String, Value>) -> BTreeSet<String> {
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let roots = list(mesh_field(mesh, "caCertificates"));
    let of_roots = roots.iter().filter_map(Value::as_object).flat_map(|root| list(mesh_field(root, "trustDomains")));
    let domains = list(mesh_field(mesh, "trustDomainAliases")).into_iter().chain(of_roots);
    domains.filter_map(|domain| domain.as_str().map(str::to_owned)).collect()
}

/// Where control planes differ, by cluster. One that has several, as a canary upgrade does, agrees with the others as
/// long as one of them does.
pub fn differences<'a>(planes: impl IntoIterator<Item = (&'a str, &'a MeshPolicy)>) -> Vec<Difference> {
    let mut clusters: BTreeMap<&str, Vec<&MeshPolicy>> = BTreeMap::new();
    for (cluster, policy) in planes {
        clusters.entry(cluster).or_default().push(policy);
    }
    let all = || clusters.values().flatten();
    let said: BTreeSet<&String> = all().flat_map(|policy| policy.said.keys()).collect();
    let fields = said.into_iter().filter_map(|name| difference(&clusters, name.clone(), |policy| policy.value(name)));
    // Of hosts it counts what comes of all that is said.
    let hosts: BTreeSet<&String> = all().flat_map(|policy| policy.local.keys()).collect();
    let stays = |policy: &MeshPolicy, host: &str| if policy.keeps_within(host) { "true" } else { "false" };
    let hosts = hosts.into_iter().filter_map(|host| {
        difference(&clusters, format!("{CLUSTER_LOCAL}{}", shown(host)), |policy| stays(policy, host))
    });
    fields.chain(hosts).collect()
}

fn difference<'a>(
    clusters: &BTreeMap<&str, Vec<&'a MeshPolicy>>,
    field: String,
    value: impl Fn(&'a MeshPolicy) -> &'a str,
) -> Option<Difference> {
    let of = |policies: &Vec<&'a MeshPolicy>| -> BTreeSet<&'a str> { policies.iter().copied().map(&value).collect() };
    let common = clusters.values().map(of).reduce(|common, values| &common & &values)?;
    let mut said: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (cluster, policies) in clusters {
        for value in of(policies) {
            said.entry(value.to_owned()).or_default().insert((*cluster).to_owned());
        }
    }
    common.is_empty().then_some(Difference { field, said })
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is ", self.field)?;
        for (at, (value, clusters)) in self.said.iter().enumerate() {
            let separator = if at == 0 { "" } else { "; " };
            let value = if value.is_empty() { "not set" } else { value };
            let value = match value.char_indices().nth(LONGEST) {
                Some((end, _)) => Cow::Owned(format!("{}…", &value[..end])),
                None => Cow::Borrowed(value),
            };
            let clusters: Vec<&str> = clusters.iter().map(String::as_str).collect();
            write!(f, "{separator}{value} in {}", clusters.join(", "))?;
        }
        Ok(())
    }
}

/// What a field says, in one form.
fn text_at(mesh: &Map<String, Value>, field: &Field) -> String {
    let text = match mesh_field(mesh, field.path) {
        None | Some(Value::Null) => field.usual.to_owned(),
        Some(Value::Array(items)) if field.is_set => {
            let mut items: Vec<String> = items.iter().map(plain).collect();
            items.sort();
            items.dedup();
            items.join(", ")
        }
        Some(Value::Array(items)) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        Some(value) => plain(value),
    };
    let text = if text.is_empty() { field.usual.to_owned() } else { text };
    SAME.iter().find(|(other, _)| *other == text).map_or(text, |(_, one)| (*one).to_owned())
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What is somebody's own text, and is no longer than it need be.
pub(super) fn shown(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._*/".contains(c);
    let end = text.find(|c: char| !is_plain(c)).unwrap_or(text.len()).min(LONGEST);
    if end == text.len() { text.to_owned() } else { format!("{}…", text.get(..end).unwrap_or_default()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(mesh: Value) -> MeshPolicy {
        MeshPolicy::of(mesh.as_object().expect("an object"))
    }

    fn told(planes: &[(&str, Value)]) -> Vec<String> {
        let planes: Vec<(&str, MeshPolicy)> =
            planes.iter().map(|(cluster, mesh)| (*cluster, policy(mesh.clone()))).collect();
        differences(planes.iter().map(|(cluster, policy)| (*cluster, policy))).iter().map(ToString::to_string).collect()
    }

    /// istiod takes the names of protobuf as well.
    #[test]
    fn a_field_counts_by_either_of_its_names() {
        assert!(policy(json!({"enable_auto_mtls": false})).is_plain());
        assert_eq!(policy(json!({"root_namespace": "istio-config"})).root_namespace(), "istio-config");
        let kept = json!({"service_settings": [{"settings": {"cluster_local": true}, "hosts": ["web.shop.svc"]}]});
        assert!(policy(kept).keeps_within("web.shop.svc"));
        let tls = |mesh: Value| policy(mesh).value("meshMTLS.minProtocolVersion").to_owned();
        assert_eq!(tls(json!({"meshMTLS": {"min_protocol_version": "TLSV1_3"}})), "TLSV1_3");
        let mesh = json!({"trust_domain_aliases": ["a"], "ca_certificates": [{"pem": "x", "trust_domains": ["b"]}]});
        let accepted = accepted_domains(mesh.as_object().expect("an object"));
        assert_eq!(accepted.into_iter().collect::<Vec<_>>(), ["a", "b"]);
    }

    /// Each field: what differs, and beside it the other way to say the same.
    #[test]
    fn every_field_is_compared_by_what_it_means() {
        let cases = [
            (
                json!({"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}}),
                json!({"outboundTrafficPolicy": {"mode": "ALLOW_ANY"}}),
                "outboundTrafficPolicy.mode",
            ),
            (json!({"enableAutoMtls": false}), json!({"enableAutoMtls": true}), "enableAutoMtls"),
            (
                json!({"localityLbSetting": {"enabled": false}}),
                json!({"localityLbSetting": {"enabled": true, "failover": []}}),
                "localityLbSetting.enabled",
            ),
            (
                json!({"localityLbSetting": {"failover": [{"from": "a", "to": "b"}]}}),
                json!({"localityLbSetting": null}),
                "localityLbSetting.failover",
            ),
            (
                json!({"localityLbSetting": {"failoverPriority": ["topology.istio.io/network"]}}),
                json!({"localityLbSetting": {}}),
                "localityLbSetting.failoverPriority",
            ),
            (
                json!({"defaultServiceExportTo": ["."]}),
                json!({"defaultServiceExportTo": ["*"]}),
                "defaultServiceExportTo",
            ),
            (
                json!({"defaultVirtualServiceExportTo": ["."]}),
                json!({"defaultVirtualServiceExportTo": []}),
                "defaultVirtualServiceExportTo",
            ),
            (
                json!({"defaultDestinationRuleExportTo": ["a", "b"]}),
                json!({"defaultDestinationRuleExportTo": ["*", "*"]}),
                "defaultDestinationRuleExportTo",
            ),
            (
                json!({"discoverySelectors": [{"matchLabels": {"a": "b"}}]}),
                json!({"discoverySelectors": []}),
                "discoverySelectors",
            ),
            (json!({"rootNamespace": "istio-config"}), json!({"rootNamespace": "istio-system"}), "rootNamespace"),
            (
                json!({"pathNormalization": {"normalization": "NONE"}}),
                json!({"pathNormalization": {"normalization": "BASE"}}),
                "pathNormalization.normalization",
            ),
            (
                json!({"meshMTLS": {"minProtocolVersion": "TLSV1_3"}}),
                json!({"meshMTLS": {"minProtocolVersion": "TLS_AUTO"}}),
                "meshMTLS.minProtocolVersion",
            ),
            (
                json!({"meshMTLS": {"minProtocolVersion": "TLSV1_3"}}),
                json!({"meshMTLS": {"minProtocolVersion": "TLSV1_2"}}),
                "meshMTLS.minProtocolVersion",
            ),
            (
                json!({"defaultConfig": {"proxyMetadata": {"ISTIO_META_DNS_CAPTURE": "true"}}}),
                json!({"defaultConfig": {"proxyMetadata": {"ISTIO_META_DNS_CAPTURE": "false"}}}),
                "defaultConfig.proxyMetadata.ISTIO_META_DNS_CAPTURE",
            ),
            (
                json!({"serviceSettings": [{"settings": {"clusterLocal": true}, "hosts": ["web.shop.svc.cluster.local"]}]}),
                json!({"serviceSettings": [{"settings": {"clusterLocal": false}, "hosts": ["web.shop.svc.cluster.local"]}]}),
                "serviceSettings.settings.clusterLocal of web.shop.svc",
            ),
        ];
        for (unlike, alike, field) in cases {
            let found = told(&[("east", unlike.clone()), ("west", json!({}))]);
            assert!(found.len() == 1 && found[0].starts_with(&format!("`{field}` is ")), "{unlike}: {found:?}");
            assert_eq!(told(&[("east", alike.clone()), ("west", json!({}))]), [""; 0], "{alike}");
            assert_eq!(told(&[("east", unlike.clone()), ("west", unlike)]), [""; 0]);
        }
    }

    #[test]
    fn differences_name_value_and_clusters_and_order_means_something_where_it_does() {
        let mode = |mode: &str| json!({"outboundTrafficPolicy": {"mode": mode}});
        let found = told(&[("east", mode("REGISTRY_ONLY")), ("north", json!({})), ("west", mode("ALLOW_ANY"))]);
        assert_eq!(found, ["`outboundTrafficPolicy.mode` is ALLOW_ANY in north, west; REGISTRY_ONLY in east"]);
        let found = told(&[("east", mode(&"ü".repeat(100_000))), ("west", json!({}))]);
        assert!(found[0].len() < 300 && found[0].ends_with("ü… in east"), "{}", found[0].len());
        let exported = |to: &[&str]| json!({"defaultServiceExportTo": to});
        assert_eq!(told(&[("east", exported(&["a", "b"])), ("west", exported(&["b", "a"]))]), [""; 0]);
        let first = |labels: &[&str]| json!({"localityLbSetting": {"failoverPriority": labels}});
        assert_eq!(told(&[("east", first(&["a", "b"])), ("west", first(&["b", "a"]))]).len(), 1);
    }

    #[test]
    fn a_canary_agrees_while_one_of_its_control_planes_does_and_one_cluster_with_itself() {
        let only = json!({"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}});
        assert_eq!(told(&[("east", only.clone()), ("east", json!({})), ("west", json!({}))]), [""; 0]);
        assert_eq!(told(&[("east", only.clone()), ("east", only.clone()), ("west", json!({}))]).len(), 1);
        assert_eq!(told(&[("east", only), ("east", json!({}))]), [""; 0]);
    }

    #[test]
    fn what_stays_within_a_cluster_is_compared_by_what_comes_of_it() {
        let said = |local: bool, host: &str| json!({"serviceSettings": [{"settings": {"clusterLocal": local}, "hosts": [host]}]});
        let differ = |local: bool, host: &str| told(&[("east", said(local, host)), ("west", json!({}))]);
        // What istiod does unasked.
        for host in [
            "*.kube-system.svc.cluster.local",
            "dns.kube-system.svc.cluster.local",
            "kubernetes.default.svc.cluster.local",
        ] {
            assert_eq!(differ(true, host), [""; 0], "{host}");
        }
        assert_eq!(differ(false, "web.shop.svc.cluster.local"), [""; 0]);
        assert_eq!(
            differ(false, "*.kube-system.svc.cluster.local"),
            ["`serviceSettings.settings.clusterLocal of *.kube-system.svc` is false in east; true in west"]
        );
        // One Service of the namespace takes the whole default away.
        assert_eq!(differ(false, "dns.kube-system.svc.cluster.local").len(), 1);
        let dns = policy(said(false, "dns.kube-system.svc.cluster.local"));
        assert!(!dns.keeps_within("web.kube-system.svc.cluster.local"));
        // A wider pattern does not.
        assert!(policy(said(false, "*.svc.cluster.local")).keeps_within("web.kube-system.svc.cluster.local"));
        // One by a pattern, the other by name.
        let named = |hosts: &[&str]| json!({"serviceSettings": [{"settings": {"clusterLocal": true}, "hosts": hosts}]});
        let (all, both) =
            (named(&["*.shop.svc.cluster.local"]), named(&["*.shop.svc.cluster.local", "web.shop.svc.cluster.local"]));
        assert_eq!(told(&[("east", all), ("west", both)]), [""; 0]);
    }

    #[test]
    fn the_most_exact_word_says_whether_a_host_stays() {
        let settings = json!({"serviceSettings": [
            {"settings": {"clusterLocal": true}, "hosts": ["*.shop.svc.cluster.local"]},
            {"settings": {"clusterLocal": false}, "hosts": ["web.shop.svc.cluster.local", "*.kube-system.svc.cluster.local"]},
        ]});
        let (usual, own) = (policy(json!({})), policy(settings));
        for (host, without, with) in [
            ("web.shop.svc.cluster.local", false, false),
            ("db.shop.svc.cluster.local", false, true),
            ("dns.kube-system.svc.cluster.local", true, false),
            ("kubernetes.default.svc.cluster.local", true, true),
            ("istiod.istio-system.svc.cluster.local", true, true),
            ("web.shop.svc.mesh.example", false, false),
            ("db.shop.svc.mesh.example", false, true),
        ] {
            assert_eq!((usual.keeps_within(host), own.keeps_within(host)), (without, with), "{host}");
        }
    }
}
