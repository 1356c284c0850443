use super::*;
use crate::resources::charts::DEFAULT_VERSION;
use crate::resources::primary::model::{Endpoints, Gateway, MeshNetwork};
use crate::schema::Model as _;

fn model() -> Primary {
    Primary {
        cluster: "east".into(),
        namespace: "istio-system".into(),
        mesh_id: "mesh1".into(),
        network: "net-east".into(),
        ..Primary::default()
    }
}

fn refusals(model: &Primary) -> Vec<String> {
    let refused = Spec::parse(model).err().unwrap_or_default();
    refused
        .iter()
        .map(|refusal| format!("{}: {}", refusal.path.as_ref().unwrap_or(&Path::empty()), refusal.summary))
        .collect()
}

fn network(endpoints: Vec<Endpoints>, gateways: Vec<Gateway>) -> Value<MeshNetwork> {
    Value::Known(MeshNetwork { endpoints: endpoints.into_iter().collect(), gateways: gateways.into_iter().collect() })
}

fn cidr(text: &str) -> Endpoints {
    Endpoints { from_cidr: text.into(), ..Endpoints::default() }
}

fn registry(name: &str) -> Endpoints {
    Endpoints { from_registry: name.into(), ..Endpoints::default() }
}

fn networks<const N: usize>(networks: [(&str, Value<MeshNetwork>); N]) -> Primary {
    let networks = networks.into_iter().map(|(name, network)| (name.to_owned(), network)).collect();
    Primary { mesh_networks: Value::Known(networks), ..model() }
}

#[test]
fn the_cluster_name_is_the_key_of_the_cluster_unless_said_otherwise() {
    let spec = Spec::parse(&model()).unwrap().unwrap();
    assert_eq!(spec.istiod_values.as_map()["global"]["multiCluster"]["clusterName"], "east");
    let named = Primary { cluster_name: "c1".into(), ..model() };
    assert_eq!(
        Spec::parse(&named).unwrap().unwrap().istiod_values.as_map()["global"]["multiCluster"]["clusterName"],
        "c1"
    );
}

#[test]
fn what_is_not_known_yet_is_no_error_and_what_is_known_is_checked_all_the_same() {
    let unknown = Primary { network: Value::Unknown, trust_root: Value::Unknown, ..model() };
    assert!(Spec::parse(&unknown).unwrap().is_none());
    let both = Primary { network: Value::Unknown, revision: "1.31".into(), ..model() };
    assert_eq!(refusals(&both), ["revision: Unsuitable value"]);
}

#[test]
fn networks_are_refused_at_the_attribute_that_is_wrong() {
    assert_eq!(
        refusals(&networks([("a", network(vec![cidr("10.0.0.1/8")], vec![]))])),
        [r#"mesh_networks["a"].endpoints[0].from_cidr: Unsuitable value"#]
    );
    assert_eq!(
        refusals(&networks([
            ("a", network(vec![cidr("10.0.0.0/8")], vec![])),
            ("b", network(vec![cidr("10.1.0.0/16")], vec![]))
        ])),
        [r#"mesh_networks["b"].endpoints: Networks contradict each other"#]
    );
    assert_eq!(
        refusals(&networks([("a", network(vec![registry("east")], vec![]))])),
        [r#"mesh_networks["a"].endpoints: This entry would never count"#]
    );
    let both = Endpoints { from_cidr: "10.0.0.0/8".into(), ..registry("west") };
    assert_eq!(
        refusals(&networks([("a", network(vec![both], vec![]))])),
        [r#"mesh_networks["a"].endpoints[0]: Two kinds of endpoints at once"#]
    );
}

#[test]
fn a_gateway_service_needs_a_cluster_to_be_found_in() {
    let gateway = || Gateway {
        registry_service_name: "gw.istio-system.svc.cluster.local".into(),
        port: 15443.into(),
        ..Gateway::default()
    };
    assert_eq!(
        refusals(&networks([("a", network(vec![cidr("10.0.0.0/8")], vec![gateway()]))])),
        [r#"mesh_networks["a"].gateways[0].registry_service_name: No cluster to find the gateway's Service in"#]
    );
    assert_eq!(refusals(&networks([("a", network(vec![registry("west")], vec![gateway()]))])), [] as [String; 0]);
    assert_eq!(
        refusals(&networks([("a", network(vec![registry("west")], vec![Gateway::default()]))])),
        [r#"mesh_networks["a"].gateways[0]: Gateway without an address"#]
    );
}

#[test]
fn a_fingerprint_is_read_as_openssl_prints_it_too() {
    let colons = ["AB"; 32].join(":");
    let spec = Spec::parse(&Primary { trust_root: colons.as_str().into(), ..model() }).unwrap().unwrap();
    assert_eq!(spec.trust_root.map(|root| root.to_string()), Some("ab".repeat(32)));
    assert_eq!(refusals(&Primary { trust_root: "abc".into(), ..model() }), ["trust_root: Unsuitable value"]);
}

#[test]
fn tags_are_names_and_not_the_revision() {
    let tags = |tags: [&str; 1]| Value::Known(tags.into_iter().map(str::to_owned).collect());
    assert_eq!(refusals(&Primary { tags: tags(["1.31"]), ..model() }), ["tags: Invalid tag"]);
    assert_eq!(
        refusals(&Primary { tags: tags(["canary"]), revision: "canary".into(), ..model() }),
        ["tags: A tag is named like the revision"]
    );
    let spec = Spec::parse(&Primary { tags: tags(["prod"]), revision: "canary".into(), ..model() }).unwrap().unwrap();
    assert_eq!(spec.istiod_values.as_map()["revisionTags"][0], "prod");
    assert_eq!(spec.owner(), "mesh_primary.istiod-canary");
}

#[test]
fn custom_hosts_reach_istiods_environment_beside_what_values_put_there() {
    let hosts = || Value::Known(vec!["a.example".into(), "b.example".into()]);
    let documents = |text: &str| Value::Known(vec![text.into()]);
    let wanted = Primary { custom_hosts: hosts(), values: documents("pilot: {env: {A: b}}"), ..model() };
    let spec = Spec::parse(&wanted).unwrap().unwrap();
    let env = &spec.istiod_values.as_map()["pilot"]["env"];
    assert_eq!(env, &serde_json::json!({"A": "b", "ISTIOD_CUSTOM_HOST": "a.example,b.example"}));
    let otherwise = documents("pilot: {env: {ISTIOD_CUSTOM_HOST: c.example}}");
    assert_eq!(
        refusals(&Primary { custom_hosts: hosts(), values: otherwise.clone(), ..model() }),
        ["values: A value contradicts an attribute"]
    );
    assert_eq!(refusals(&Primary { values: otherwise, ..model() }), [] as [String; 0]);
}

#[test]
fn node_agents_get_what_their_platform_needs_unless_the_user_says_otherwise() {
    let of = |document: &str| {
        let values = Value::Known(vec![document.into()]);
        let spec = Spec::parse(&Primary { ambient: true.into(), values, ..model() }).unwrap().unwrap();
        let cni = spec.agents.unwrap().cni;
        let bin_dir = cni.as_map().get("cni").and_then(|cni| cni["cniBinDir"].as_str()).map(str::to_owned);
        let trusted = spec.istiod_values.as_map().get("trustedZtunnelNamespace").cloned();
        (bin_dir, trusted.and_then(|trusted| trusted.as_str().map(str::to_owned)))
    };
    let (gke, own) = (Some("/home/kubernetes/bin".to_owned()), Some("/opt".to_owned()));
    assert_eq!(of("a: b"), (None, None));
    assert_eq!(of("global: {platform: k3d}"), (None, None));
    assert_eq!(of("global: {platform: gke}"), (gke.clone(), None));
    assert_eq!(of("platform: gke"), (gke.clone(), None));
    assert_eq!(of("{global: {platform: gke}, cni: {cniBinDir: ''}}"), (gke, None));
    assert_eq!(of("{global: {platform: gke}, cni: {cniBinDir: /opt}}"), (own, None));
    assert_eq!(of("global: {platform: openshift}"), (None, Some("istio-system".to_owned())));
    assert_eq!(
        of("{global: {platform: openshift}, trustedZtunnelNamespace: kube-system}"),
        (None, Some("kube-system".to_owned()))
    );
    assert_eq!(of("{global: {platform: openshift}, pilot: {trustedZtunnelNamespace: kube-system}}"), (None, None));
    let chart = "k8s.cni.cncf.io/v1";
    assert!(crate::cluster::Kind::known(chart, "NetworkAttachmentDefinition").is_some(), "the chart brings it there");
}

#[test]
fn a_platform_decides_what_is_not_said() {
    let of = |model: Primary| Spec::parse(&model).unwrap().unwrap();
    let agents_in = |spec: &Spec| spec.control_plane.namespace_of_agents().to_string();
    let openshift = of(Primary { platform: "openshift".into(), ..model() });
    assert_eq!((openshift.control_plane.cni, agents_in(&openshift).as_str()), (true, "kube-system"));
    assert!(openshift.agents.as_ref().unwrap().ztunnel.is_none(), "sidecars have no ztunnel");
    assert!(values::leaves_network_to_cni(&openshift.istiod_values));
    let without = of(Primary { platform: "openshift".into(), cni: false.into(), ..model() });
    assert!(without.agents.is_none() && values::leaves_network_to_cni(&without.istiod_values));
    let eks = of(Primary { platform: "eks".into(), cni: true.into(), ..model() });
    assert_eq!(agents_in(&eks), "istio-system");
    let plain = of(model());
    assert!(plain.agents.is_none() && !values::leaves_network_to_cni(&plain.istiod_values));
    // istiod trusts the ztunnels where they are: OpenShift's profile says kube-system by itself.
    let trusted = |more: Primary| {
        let spec = of(Primary { ambient: true.into(), ..more });
        spec.istiod_values.as_map().get(values::TRUSTED_ZTUNNEL).and_then(|trusted| trusted.as_str()).map(str::to_owned)
    };
    assert_eq!(trusted(Primary { platform: "openshift".into(), ..model() }), None);
    assert_eq!(trusted(Primary { agents_namespace: "agents".into(), ..model() }).as_deref(), Some("agents"));
    assert_eq!(trusted(model()), None);
}

#[test]
fn what_has_no_node_agents_has_no_use_for_what_is_said_of_them() {
    assert_eq!(
        refusals(&Primary { agents_namespace: "agents".into(), ..model() }),
        ["agents_namespace: No node agents for this namespace"]
    );
    assert_eq!(
        refusals(&Primary { ambient: true.into(), cni: false.into(), ..model() }),
        ["cni: Ambient mode needs the node agent"]
    );
    let external = || Primary { config_cluster: "west".into(), ..model() };
    assert_eq!(
        refusals(&Primary { cni: true.into(), gateway_api: "1.6.0".into(), ..external() }),
        [
            "cni: No node agent with an external control plane",
            "gateway_api: No Gateway API with an external control plane"
        ]
    );
    assert_eq!(refusals(&Primary { platform: "openshift".into(), ..external() }), [] as [String; 0]);
    let documents = |text: &str| Value::Known(vec![text.into()]);
    for values in ["global: {platform: k3s}", "platform: k3s"] {
        let two = Primary { platform: "gke".into(), values: documents(values), ..model() };
        assert_eq!(refusals(&two), ["values: A value contradicts an attribute"]);
    }
    let off = Primary { cni: true.into(), values: documents("pilot: {cni: {enabled: false}}"), ..model() };
    assert_eq!(refusals(&off), ["values: A value contradicts an attribute"]);
}

#[test]
fn each_chart_has_values_of_its_own_over_those_for_all() {
    use crate::resources::primary::model::ChartValues;
    let documents = |text: &str| Value::Known(vec![text.into()]);
    let own = ChartValues {
        istiod: documents("env: {A: istiod}"),
        cni: documents("env: {A: cni}"),
        base: documents("x: base"),
        ..ChartValues::default()
    };
    let wanted = Primary {
        ambient: true.into(),
        values: documents("{env: {A: all}, hub: h}"),
        chart_values: Value::Known(own),
        ..model()
    };
    let spec = Spec::parse(&wanted).unwrap().unwrap();
    let agents = spec.agents.unwrap();
    let ztunnel = agents.ztunnel.unwrap();
    let env = |values: &Values| values.as_map()["env"]["A"].as_str().map(str::to_owned).unwrap();
    assert_eq!([&spec.istiod_values, &agents.cni, &ztunnel].map(env), ["istiod", "cni", "all"]);
    assert_eq!((&spec.base_values.as_map()["x"], &spec.base_values.as_map()["hub"]), (&"base".into(), &"h".into()));
    assert_eq!(spec.said_to_all, ["env"]);
    let broken = Primary {
        chart_values: Value::Known(ChartValues { cni: documents("["), ..ChartValues::default() }),
        ..model()
    };
    assert_eq!(refusals(&broken), ["chart_values.cni[0]: Not a values document"]);
}

#[test]
fn ambient_mode_is_not_another_profile_at_the_same_time() {
    let of = |document: &str| Primary { ambient: true.into(), values: Value::Known(vec![document.into()]), ..model() };
    assert_eq!(refusals(&of("profile: remote")), ["values: A value contradicts an attribute"]);
    let spec = Spec::parse(&of("hub: registry.example/istio")).unwrap().unwrap();
    let agents = spec.agents.unwrap();
    let ztunnel = agents.ztunnel.unwrap();
    for values in [&agents.cni, &ztunnel, &spec.istiod_values] {
        assert_eq!(values.as_map()["hub"], "registry.example/istio", "all charts take the user's values");
    }
    assert_eq!(ztunnel.as_map()["network"], "net-east");
    assert!(Spec::parse(&model()).unwrap().unwrap().agents.is_none());
}

#[test]
fn an_external_control_plane_is_named_after_its_config_cluster_and_installs_nothing_shared() {
    let external = || Primary { config_cluster: "west".into(), expose: Value::Known(Default::default()), ..model() };
    let spec = Spec::parse(&external()).unwrap().unwrap();
    assert_eq!(spec.istiod_values.as_map()["global"]["multiCluster"]["clusterName"], "west");
    assert!(!spec.install_base && spec.control_plane.is_external && spec.exposure.is_some());
    let same = Primary { config_cluster: "east".into(), ..model() };
    assert_eq!(refusals(&same), ["config_cluster: Not another cluster"]);
    let tags = Value::Known(std::iter::once("prod".to_owned()).collect());
    assert_eq!(
        refusals(&Primary { tags, ambient: true.into(), ..external() }),
        ["ambient: No ambient mode with an external control plane", "tags: No tags of an external control plane"]
    );
    let everywhere = Value::Known(vec!["global: {resourceScope: all}".into()]);
    assert_eq!(refusals(&Primary { values: everywhere, ..external() }), ["values: A value contradicts an attribute"]);
}

#[test]
fn mtls_is_made_true_by_a_policy_and_the_mesh_configuration() {
    let with = |mtls: &str| Primary { mtls: mtls.into(), ..model() };
    for (mtls, mode, auto) in
        [("strict", Some("STRICT"), None), ("permissive", None, None), ("off", Some("DISABLE"), Some(false))]
    {
        let spec = Spec::parse(&with(mtls)).unwrap().unwrap();
        let policy = super::super::build::policy(&spec, &Default::default());
        assert_eq!(policy.as_ref().map(|policy| policy.str("spec.mtls.mode")), mode, "{mtls}");
        assert_eq!(policy.as_ref().map(|policy| policy.namespace()), mode.map(|_| Some("istio-system")));
        let said = values::at(&spec.istiod_values, &["meshConfig", "enableAutoMtls"]);
        assert_eq!(said.and_then(serde_json::Value::as_bool), auto, "{mtls}");
    }
    // The chart writes `rootNamespace` itself, and of two spellings istiod takes that.
    for (field, namespace) in [("rootNamespace", "istio-config"), ("root_namespace", "istio-system")] {
        let values = Value::Known(vec![format!("meshConfig: {{{field}: istio-config}}").into()]);
        let spec = Spec::parse(&Primary { values, ..with("strict") }).unwrap().unwrap();
        let policy = super::super::build::policy(&spec, &Default::default()).unwrap();
        assert_eq!(policy.namespace(), Some(namespace), "{field}");
    }
    let second = Primary { install_base: false.into(), ..with("off") };
    assert!(super::super::build::policy(&Spec::parse(&second).unwrap().unwrap(), &Default::default()).is_none());
    assert_eq!(refusals(&Primary { ambient: true.into(), ..with("off") }), ["mtls: Ambient mode needs mTLS"]);
    assert!(Spec::parse(&Primary { ambient: true.into(), ..with("strict") }).is_ok());
    let external = Primary { config_cluster: "west".into(), ..with("strict") };
    assert_eq!(refusals(&external), ["mtls: Not with an external control plane"]);
    for otherwise in ["meshConfig: {enableAutoMtls: true}", "meshConfig: {enable_auto_mtls: true}"] {
        let values = Value::Known(vec![otherwise.into()]);
        let refused = refusals(&Primary { values: values.clone(), ..with("off") });
        assert_eq!(refused, ["values: A value contradicts an attribute"], "{otherwise}");
        assert_eq!(refusals(&Primary { values, ..model() }), [] as [String; 0], "{otherwise}");
    }
}

#[test]
fn owner_labels_fit() {
    assert_eq!(owner("istio-system", "istiod"), "mesh_primary.istiod");
    assert_eq!(owner("other", "istiod"), "mesh_primary.istiod.other");
    assert_eq!(owner(&"n".repeat(63), "istiod").len(), 63);
}

#[test]
fn tokens_for_links_have_audiences_and_last_as_long_as_a_kubelet_can_ask_for() {
    use crate::resources::primary::model::LinkTokens as Said;
    let with = |said: Said| Primary { link_token: said.into(), ..model() };
    let tokens = Spec::parse(&with(Said::default())).unwrap().unwrap().link_tokens.unwrap();
    assert_eq!(tokens.audiences.iter().map(Audience::as_str).collect::<Vec<_>>(), [DEFAULT_AUDIENCE]);
    assert_eq!(tokens.lifetime, Duration::from_secs(3600));
    let each = ["links-east", "links-north"].map(str::to_owned).into_iter().collect();
    let each = Said { audiences: Value::Known(each), lifetime: "10m".into() };
    assert_eq!(Spec::parse(&with(each)).unwrap().unwrap().link_tokens.unwrap().audiences.len(), 2);
    let short = Said { lifetime: "5m".into(), ..Said::default() };
    assert_eq!(refusals(&with(short)), ["link_token.lifetime: Too short a lifetime"]);
    let strange = Said { audiences: Value::Known(["a/b".to_owned()].into_iter().collect()), ..Said::default() };
    assert_eq!(refusals(&with(strange)), ["link_token.audiences: Unsuitable value"]);
    let external = Primary { config_cluster: "west".into(), ..with(Said::default()) };
    assert_eq!(refusals(&external), ["link_token: Not with an external control plane"]);
}

#[test]
fn images_come_from_where_it_is_said_once() {
    use crate::resources::primary::model::Images;
    let from = |hub: &str, secrets: &[&str]| Images {
        hub: hub.into(),
        pull_secrets: Value::Known(secrets.iter().map(|name| (*name).to_owned()).collect()),
    };
    let of = |images: Images, document: &str| Primary {
        ambient: true.into(),
        images: Value::Known(images),
        values: Value::Known(vec![document.into()]),
        ..model()
    };
    let spec = Spec::parse(&of(from("registry.example:5000/istio", &["b", "a"]), "a: b")).unwrap().unwrap();
    let agents = spec.agents.unwrap();
    for values in [&spec.istiod_values, &agents.cni, &agents.ztunnel.unwrap()] {
        let global = &values.as_map()["global"];
        assert_eq!(global["hub"], "registry.example:5000/istio");
        assert_eq!(global["imagePullSecrets"], serde_json::json!(["a", "b"]));
    }
    for same in
        ["global: {hub: a.b/c}", "hub: a.b/c", "hub: ''", "image: d.e/pilot:1", "global: {imagePullSecrets: [a]}"]
    {
        assert_eq!(refusals(&of(from("a.b/c", &["a"]), same)), [] as [String; 0], "{same}");
    }
    for other in [
        "global: {hub: d.e/f}",
        "hub: d.e/f",
        "global: {imagePullSecrets: [b]}",
        "imagePullSecrets: [b]",
        "pilot: {hub: d.e/f}",
    ] {
        let refused = refusals(&of(from("a.b/c", &["a"]), other));
        assert_eq!(refused, ["values: A value contradicts an attribute"], "{other}");
    }
    for odd in ["", " ", "https://a.b/c", "a.b/c/", "a.b/c:1.31.1", "a.b//c", "A.b/c", "a.b:x/c", "a.b/c@sha256:00"] {
        assert_eq!(refusals(&of(from(odd, &["a"]), "a: b")), ["images.hub: Unsuitable value"], "{odd}");
    }
}

#[test]
fn the_version_that_the_description_names_is_the_default_one() {
    let attributes = Primary::attributes();
    let version = attributes.iter().find(|attribute| attribute.name == "istio_version").unwrap();
    assert!(version.description.contains(&format!("else {DEFAULT_VERSION},")), "{}", version.description);
}
