//! Good configurations that together set every attribute there is, for [`crate::every_input`] to put odd values into.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use serde_json::{Value as Json, json};
use terraform_provider_mesh::schema::{Nested, Nesting, Schema, Shape};
use terraform_provider_mesh::value::{Dyn, Type};

const FINGERPRINT: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Texts that may hold anything: documents, and what is passed on to others who decide.
pub fn takes_any_text(pattern: &str) -> bool {
    const ANY: &[&str] = &[
        "service.annotations.*",
        "expose.annotations.*",
        "values.*",
        "base_values.*",
        "chart_values.base.*",
        "chart_values.cni.*",
        "chart_values.istiod.*",
        "chart_values.ztunnel.*",
        "clusters.*.host",
        "clusters.*.config",
        "clusters.*.exec.args.*",
        "clusters.*.exec.env.*",
        "clusters.*.cluster_ca_certificate",
        "clusters.*.client_certificate",
        "clusters.*.client_key",
        "clusters.*.certificate_chain",
        "clusters.*.password",
        "charts.password",
        "root.certificate",
        "root.private_key_wo",
        "root_certificates",
        "certificate_authority",
        "parse_remote_secret.0",
    ];
    ANY.contains(&pattern)
}

/// Texts of which the empty one is a value like any other, and collections of which the empty one means all.
pub fn may_be_empty(pattern: &str) -> bool {
    const LABELS: &[&str] = &[
        "service.annotations.*",
        "expose.annotations.*",
        "exporters.*.labels.*",
        "exporters.*.workload_labels.*",
        "exporters.*.gateway_selector.*",
        "subsets.*",
        "subsets.*.*",
        "clusters.*.password",
        "clusters.*.exec.env.*",
    ];
    LABELS.contains(&pattern)
}

/// Attributes whose change is told of where it makes a difference.
pub fn is_told_elsewhere(pattern: &str) -> bool {
    ["exporters.*.labels", "exporters.*.labels.*", "subsets.*.*", "watchers"].contains(&pattern)
}

pub fn provider() -> Vec<Json> {
    let ca = Ca::new();
    let cluster = |more: Json| {
        let mut cluster = json!({"host": "https://127.0.0.1:9"});
        merge(&mut cluster, more);
        json!({"clusters": {"east": cluster}})
    };
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "a",
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "clusters": [{"name": "a", "cluster": {"server": "https://127.0.0.1:9"}}],
        "users": [{"name": "a", "user": {"token": "t"}}],
    });
    vec![
        cluster(json!({
            "token": "t", "cluster_ca_certificate": ca.root, "tls_server_name": "a.example", "proxy_url": "http://127.0.0.1:9", "insecure": false, "uid": "5f0e9d0c-7f3f-4a39-9d3b-0f3f4b1c2d3e",
        })),
        cluster(json!({"username": "u", "password": "p"})),
        cluster(json!({"client_certificate": ca.root, "client_key": ca.root_key})),
        cluster(json!({"exec": {
            "api_version": "client.authentication.k8s.io/v1", "command": "true", "args": ["--a"], "env": {"A": "b"},
        }})),
        json!({"clusters": {"east": {"config": kubeconfig.to_string(), "config_context": "a"}}}),
        json!({"clusters": {"east": {"config_path": "/nowhere/config"}, "west": {"config_paths": ["/nowhere/a", "/nowhere/b"]}}}),
        json!({"clusters": {"east": {"host": "127.0.0.1:9"}}, "charts": {
            "repository": "https://charts.example/istio", "version": "1.31.0", "digests": {"istiod": DIGEST}, "gateway_api": "https://charts.example/{version}.yaml", "username": "u", "password": "p",
        }}),
        json!({"clusters": {}, "charts": {"directory": "/nowhere"}, "unreachable_clusters": "error"}),
    ]
}

pub fn of(name: &str, schema: &Schema) -> Vec<Json> {
    match name {
        "mesh_ca" => ca(),
        "mesh_ca_request" => vec![json!({
            "cluster": "east", "namespace": "istio-system", "name": "mesh-ca-request", "generation": 1, "algorithm": "ECDSA-P256", "organization": "Istio",
            "adopt": false, "force_conflicts": false, "timeouts": timeouts(),
        })],
        "mesh_primary" => primary(),
        "mesh_eastwest_gateway" => gateway(),
        "mesh_remote_cluster" => remote_cluster(),
        "mesh_service_entry" => service_entry(),
        "mesh_status" => vec![
            json!({"clusters": ["east", "west"], "namespace": "istio-system", "namespaces": {"west": "istio-west"}}),
        ],
        "mesh_reachability" => vec![json!({
            "from": ["east"], "to": ["west"], "namespace": "istio-system", "namespaces": {"west": "istio-west"}, "services": [{"host": "cart.shop.svc.cluster.local", "port": 8080}],
            "caller_namespace": "shop", "caller_service_account": "default", "unanswered_address": "broken",
        })],
        "mesh_restart_workloads" => vec![json!({
            "cluster": "east", "namespaces": ["shop", "carts"], "behind_by": ["proxy", "roots"], "rollout_timeout": "10m", "root_certificates": Ca::new().root,
        })],
        _ => of_list(schema),
    }
}

/// For what has nothing but names.
pub fn of_list(schema: &Schema) -> Vec<Json> {
    let configurable = schema.attributes.iter().filter(|attribute| !attribute.is_computed_only());
    let one = |shape: &Shape| match shape {
        Shape::Type(ty) => plain(ty),
        Shape::Nested(Nested { nesting: Nesting::Single, attributes }) => attributes
            .iter()
            .map(|attribute| {
                (
                    attribute.name.clone(),
                    match &attribute.shape {
                        Shape::Type(ty) => plain(ty),
                        Shape::Nested(_) => panic!("give {} a configuration of its own", attribute.name),
                    },
                )
            })
            .collect(),
        Shape::Nested(_) => panic!("give it a configuration of its own"),
    };
    vec![configurable.map(|attribute| (attribute.name.clone(), one(&attribute.shape))).collect()]
}

fn plain(ty: &Type) -> Json {
    match ty {
        Type::String => json!("east"),
        Type::Bool => json!(false),
        Type::Number => json!(1),
        Type::List(ty) | Type::Set(ty) => json!([plain(ty)]),
        Type::Map(ty) => json!({"east": plain(ty)}),
        other => panic!("give {} a configuration of its own", other.describe()),
    }
}

fn charts() -> Json {
    json!({"repository": "oci://charts.example/istio", "version": "1.31.1"})
}

fn timeouts() -> Json {
    json!({"create": "1m", "update": "1m", "delete": "1m", "read": "1m"})
}

fn ca() -> Vec<Json> {
    let ca = Ca::new();
    vec![
        json!({
            "root": {
                "store": {"cluster": "west", "namespace": "mesh-root-ca", "name": "mesh-root-ca", "readable_by_watchers": true},
                "generation": 2, "algorithm": "ECDSA-P256", "validity": "3650d", "organization": "Istio", "common_name": "Root CA",
            },
            "clusters": {
                "east": {"namespace": "istio-system", "generation": 1},
                "west": {"namespace": "istio-system", "generation": 1},
            },
            "intermediate": {"algorithm": "ECDSA-P256", "validity": "730d", "renew_before": "180d"},
            "rotation_pause": "24h", "adopt": false, "accept_roots": [FINGERPRINT], "migrate_self_signed": true, "trust_domain": "cluster.local",
            "skip_unreachable_on_destroy": true,
            "timeouts": timeouts(),
        }),
        json!({
            "root": {"certificate": ca.root, "private_key_wo": ca.root_key, "private_key_wo_version": 1},
            "clusters": {"east": {}, "west": {}},
        }),
        json!({"root": {"certificate": ca.root}, "clusters": {"east": {"certificate_chain": ca.chain, "request": "mesh-ca-request"}}}),
    ]
}

fn primary() -> Vec<Json> {
    vec![
        json!({
            "cluster": "east", "namespace": "istio-system", "cluster_name": "east", "mesh_id": "mesh1", "network": "net-east", "revision": "canary",
            "tags": ["prod", "test"], "istio_version": "1.31.0", "trust_domain": "east.example", "trust_domain_aliases": ["a.example", "b.example"],
            "trust_root": FINGERPRINT, "multi_root": true, "read_remote_secrets": true,
            "mesh_networks": {
                "net-west": {
                    "endpoints": [{"from_registry": "west"}],
                    "gateways": [{"registry_service_name": "gw.istio-system.svc.cluster.local", "port": 15443}, {"address": "192.0.2.9"}],
                },
                "net-flat": {"endpoints": [{"from_cidr": "10.0.0.0/8"}], "gateways": [{"address": "192.0.2.9"}]},
            },
            "external_istiod": true, "ambient": false, "custom_hosts": ["a.example", "b.example"],
            "expose": {
                "annotations": {"a.example/b": "c"}, "load_balancer_class": "a.example/b", "source_ranges": ["10.0.0.0/8"],
                "external_ips": ["192.0.2.1"],
            },
            "values": ["pilot: {env: {A: b}}\n"], "base_values": ["global: {}\n"], "sensitive_values": ["pilot.env.A"],
            "install_base": false, "adopt": false, "force_conflicts": false, "timeouts": timeouts(),
        }),
        json!({"cluster": "east", "mesh_id": "mesh1", "config_cluster": "west", "expose": {"source_ranges": ["10.0.0.0/8", "10.1.0.0/16"]}}),
        json!({
            "cluster": "east", "mesh_id": "mesh1", "platform": "gke", "cni": true, "agents_namespace": "kube-system", "images": {"hub": "registry.example/istio", "pull_secrets": ["pull-a", "pull-b"]}, "mtls": "strict", "install_base": false,
            "chart_values": {"istiod": ["a: bcde\n"], "cni": ["a: bcde\n"]}, "rollout": {"after": ["west"], "updated_proxies_percent": 90},
        }),
        json!({
            "cluster": "east", "mesh_id": "mesh1", "ambient": true, "ambient_beside_sidecars": true, "install_base": false,
            "chart_values": {"base": ["a: bcde\n"], "ztunnel": ["a: bcde\n"]},
        }),
        json!({"cluster": "east", "mesh_id": "mesh1", "gateway_api": "1.3.0", "charts": charts_with_digests()}),
        json!({
            "cluster": "east", "mesh_id": "mesh1", "charts": {"directory": crate::every_input::charts_folder()},
            "link_token": {"audiences": ["links-east", "links-north"], "lifetime": "1h"},
        }),
    ]
}

/// A repository that nobody can reach: a plan goes on without the chart.
fn charts_with_digests() -> Json {
    let mut charts = charts();
    charts["repository"] = json!("https://127.0.0.1:9/istio");
    charts["digests"] = json!({"istiod": DIGEST});
    charts["gateway_api"] = json!("https://127.0.0.1:9/{version}.yaml");
    charts
}

fn gateway() -> Vec<Json> {
    let all = json!({
        "cluster": "east", "namespace": "istio-system", "name": "istio-eastwestgateway", "network": "net-east", "revision": "canary",
        "service": {
            "type": "LoadBalancer", "annotations": {"a.example/b": "c"}, "load_balancer_class": "a.example/b", "load_balancer_ip": "192.0.2.1",
            "source_ranges": ["10.0.0.0/8", "10.1.0.0/16"], "external_ips": ["192.0.2.2", "192.0.2.3"], "external_traffic_policy": "Local",
            "ip_family_policy": "SingleStack", "ports": {"status": 15021, "tls": 15443, "istiod": 15012, "webhook": 15017},
        },
        "expose": {
            "services": true, "hosts": ["*.shop.svc.cluster.local", "*.pay.svc.cluster.local"], "control_plane": true, "istiod_namespace": "istio-system",
            "control_plane_hosts": ["a.example", "b.example"], "api_server": true,
        },
        "ambient": false, "gateway_api": false, "values": ["labels: {a: bcde}\n"], "sensitive_values": ["labels.a"], "cluster_domain": "cluster.local", "adopt": false, "force_conflicts": false, "wait": true,
        "timeouts": timeouts(),
    });
    let elsewhere = json!({"cluster": "east", "network": "net-east", "charts": charts_with_digests()});
    let folder =
        json!({"cluster": "east", "network": "net-east", "charts": {"directory": crate::every_input::charts_folder()}});
    let made = json!({"cluster": "east", "network": "net-east", "gateway_api": true, "service": {"annotations": {"a.example/b": "c"}}});
    vec![all, elsewhere, folder, made]
}

fn remote_cluster() -> Vec<Json> {
    let ca = Ca::new();
    let common = json!({
        "cluster": "east", "cluster_name": "east", "namespace": "istio-system", "watchers": ["west"], "server": "https://192.0.2.1:6443",
        "certificate_authority": ca.root, "tls_server_name": "a.example", "proxy_url": "http://192.0.2.2:3128", "allow_loopback_server": false,
        "token": {"lifetime": "90d", "rotate_before": "30d", "long_lived": false, "rotate_on_affected_versions": true},
        "adopt": false, "force_conflicts": false, "wait": true, "skip_unreachable_on_destroy": false, "timeouts": timeouts(),
    });
    let with = |more: Json| {
        let mut config = common.clone();
        merge(&mut config, more);
        config
    };
    let remote = json!({
        "mode": "remote", "control_plane": "west", "control_plane_address": "192.0.2.9", "network": "net-east", "revision": "canary",
        "values": ["global: {}\n"], "sensitive_values": ["global"],
    });
    let mut own =
        with(json!({"mode": "peer", "link_token": {"audience": "links-east", "users": {"west": "west:istiod"}}}));
    own.as_object_mut().expect("a configuration").remove("token");
    vec![
        own,
        with(
            json!({"mode": "peer", "service_account": "istio-mesh-reader", "read_secrets": true, "export_services": true}),
        ),
        with(json!({"mode": "peer", "token": {"renewal": {"image": "registry.example/pilot:1.31.1"}}})),
        with(remote.clone()),
        with(
            json!({"mode": "remote", "control_plane_address": "192.0.2.9", "config_cluster": "east", "charts": charts_with_digests()}),
        ),
        with(
            json!({"mode": "remote", "control_plane_address": "192.0.2.9", "charts": {"directory": crate::every_input::charts_folder()}}),
        ),
    ]
}

fn service_entry() -> Vec<Json> {
    let exporter = json!({
        "cluster": "west", "namespace": "shop", "service": "cart", "service_accounts": ["cart", "till"], "trust_domain": "west.example",
        "cluster_domain": "cluster.local", "gateways": [{"value": "192.0.2.10", "port": 15443}, {"value": "192.0.2.11"}],
        "locality": "r1/z1", "weight": 5, "labels": {"version": "v1"}, "expose": true, "workload_labels": {"app": "cart"},
        "gateway_namespace": "istio-system", "istiod_namespace": "istio-system", "gateway_selector": {"istio": "eastwestgateway"},
    });
    vec![
        json!({
            "cluster": "east", "namespace": "istio-system", "name": "cart", "destination_rule_name": "cart", "host": "cart.shop.global",
            "ports": {
                "http": {"number": 8080, "protocol": "HTTP", "exporter_port": 80, "target_port": 8081},
                "tcp": {"number": 9090, "protocol": "TCP"},
            },
            "exporters": {"west": exporter, "east": {"namespace": "shop", "service": "cart", "service_accounts": ["cart"], "gateways": [{"value": "192.0.2.12"}]}},
            "exported_host": "cart.mesh.example", "addresses": ["240.0.0.1", "240.0.0.2"], "stub_service": false, "export_to": ["*"],
            "subsets": {"v1": {"version": "v1"}}, "outlier_detection": true, "adopt": false, "force_conflicts": false,
            "skip_unreachable_on_destroy": true, "timeouts": timeouts(),
        }),
        json!({
            "cluster": "east", "host": "cart.shop.global", "ports": {"http": {"number": 8080}},
            "exporters": {"west": {"namespace": "shop", "service": "cart", "service_accounts": ["cart"], "network": "net-west"}},
        }),
    ]
}

pub fn arguments(function: &str, types: &[Type]) -> Vec<Dyn> {
    match function {
        "sni" => vec!["cart.shop.svc.cluster.local".into(), 80.into(), "v1".into()],
        "spiffe_id" => vec!["cluster.local".into(), "shop".into(), "cart".into()],
        "parse_remote_secret" => vec![REMOTE_SECRET.into()],
        _ => types
            .iter()
            .map(|ty| match ty {
                Type::String => Dyn::from("east"),
                Type::Number => 1.into(),
                other => panic!("give {function} arguments of its own: {}", other.describe()),
            })
            .collect(),
    }
}

const REMOTE_SECRET: &str = "\
apiVersion: v1
kind: Secret
metadata: {name: istio-remote-secret-west, labels: {istio/multiCluster: 'true'}}
stringData:
  west: |
    apiVersion: v1
    kind: Config
    current-context: west
    contexts: [{name: west, context: {cluster: west, user: west}}]
    clusters: [{name: west, cluster: {server: 'https://192.0.2.1:6443'}}]
    users: [{name: west, user: {token: t}}]
";

/// Further texts for an argument.
pub fn odd_arguments(function: &str) -> &'static [&'static str] {
    match function {
        "parse_remote_secret" => &[
            "data: x\nstringData: {a: b}\n",
            "data: []\nstringData: {a: b}\n",
            "data: 1\nstringData: {a: b}\n",
            "data: {a: 1}\nstringData: {a: [b]}\n",
            "stringData: []\n",
            "kind: Config\n",
            "kind: Config\ncurrent-context: []\ncontexts: x\n",
            "[1, 2]\n",
            "null\n",
            "kind: Secret\ndata: {a: '%%%'}\n",
            "a: &a [*a]\n",
            "a: &a [1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d]\n",
        ],
        _ => &[],
    }
}

fn merge(into: &mut Json, more: Json) {
    let (Json::Object(into), Json::Object(more)) = (into, more) else { panic!("objects") };
    into.extend(more);
}

/// A root of one's own, and an intermediate of it.
struct Ca {
    root: String,
    root_key: String,
    chain: String,
}

impl Ca {
    fn new() -> Self {
        let usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::OrganizationName, "Example");
        params.distinguished_name.push(DnType::CommonName, "Root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = usages.clone();
        let key = KeyPair::generate().expect("a key");
        let root = params.self_signed(&key).expect("a root");
        let mut inner = CertificateParams::default();
        inner.distinguished_name.push(DnType::CommonName, "Intermediate");
        inner.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        inner.key_usages = usages;
        inner.use_authority_key_identifier_extension = true;
        inner.subject_alt_names = vec![SanType::DnsName("istiod.istio-system.svc".try_into().expect("ASCII"))];
        let inner_key = KeyPair::generate().expect("a key");
        let intermediate = inner.signed_by(&inner_key, &Issuer::from_params(&params, &key)).expect("an intermediate");
        Self { root: root.pem(), root_key: key.serialize_pem(), chain: format!("{}{}", intermediate.pem(), root.pem()) }
    }
}
