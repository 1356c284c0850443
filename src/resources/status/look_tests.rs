use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;

use super::*;
use crate::cluster::Failure;
use crate::istiod::{RemoteCluster, Replica, SyncStatus};
use crate::resources::status::judge::findings;

fn object(value: serde_json::Value) -> Object {
    Object::new(value).unwrap()
}

fn istiod() -> Object {
    let container =
        json!({"name": "discovery", "image": "istio/pilot:1.31.0", "env": [{"name": "CLUSTER_ID", "value": "east"}]});
    object(json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "istiod", "namespace": "istio-system"},
        "spec": {"replicas": 1, "template": {"spec": {"containers": [container]}}}, "status": {"availableReplicas": 1},
    }))
}

fn remote_secret(cluster: &str) -> Object {
    let kubeconfig = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: c, cluster: {{server: \"https://{cluster}.example.com:6443\"}}}}]\n\
         contexts: [{{name: c, context: {{cluster: c, user: c}}}}]\nusers: [{{name: c, user: {{token: abc}}}}]\n"
    );
    object(json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("remote-{cluster}"), "namespace": "istio-system"},
        "data": {cluster: STANDARD.encode(kubeconfig)},
    }))
}

fn seen() -> Seen {
    Seen {
        system_namespace: "istio-system".to_owned(),
        namespace: None,
        deployments: vec![istiod()],
        config_maps: BTreeMap::new(),
        cacerts: None,
        remote_secrets: vec![remote_secret("west")],
        views: Vec::new(),
        services: Vec::new(),
        further: Further::default(),
    }
}

fn view(clusters: &[(&str, &str)], way: Way) -> ReplicaView {
    let cluster = |(id, secret): &(&str, &str)| RemoteCluster {
        id: (*id).to_owned(),
        secret: (*secret).to_owned(),
        status: SyncStatus::Synced,
    };
    let replica =
        Replica { pod: "istiod-1".to_owned(), revision: "default".to_owned(), ready: true, ..Replica::default() };
    ReplicaView { replica, clusters: Ok((clusters.iter().map(cluster).collect(), way)) }
}

fn verdicts(seen: &Seen) -> Vec<(String, String)> {
    let status = sight(seen).shown;
    status.watches.entries().map(|(id, watch)| (id.to_owned(), watch.verdict.text().to_owned())).collect()
}

#[test]
fn proxies_are_shown_at_the_control_plane_of_their_revision() {
    let of = |revision: &str| {
        let connected = [("1.30.0".to_owned(), 2), ("1.31.0".to_owned(), 1)].into();
        let further = Further { proxies: [(revision.to_owned(), connected)].into(), ..Further::default() };
        let shown = sight(&Seen { further, ..seen() }).shown;
        let plane = shown.control_planes.entries().next().map(|(_, plane)| plane.clone());
        plane.map(|plane| (plane.proxies.entries().count(), plane.proxies_behind.get()))
    };
    assert_eq!(of("default"), Some((2, Some(2))));
    assert_eq!(of("canary"), Some((0, None)));
}

#[test]
fn metrics_say_what_is_in_sync_and_never_what_is_missing() {
    let of = |clusters: &[(&str, &str)], way| {
        let seen = Seen { views: vec![view(clusters, way)], ..seen() };
        verdicts(&seen)
    };
    let west = |verdict: &str| vec![("west".to_owned(), verdict.to_owned())];
    assert_eq!(of(&[("east", ""), ("west", "")], Way::Metrics), west("synced"));
    assert_eq!(of(&[("east", "")], Way::Metrics), west("unknown"));
    assert_eq!(of(&[("east", "")], Way::PortForward), west("missing"));
    assert_eq!(of(&[("east", ""), ("west", "istio-system/remote-west")], Way::Exec), west("synced"));
    assert_eq!(verdicts(&seen()), west("unknown"));
}

#[test]
fn what_metrics_leave_open_is_told_with_the_right_that_is_needed() {
    let unasked = Seen { views: vec![view(&[], Way::Metrics)], ..seen() };
    let told = findings(&[("east".to_owned(), sight(&unasked))].into(), OffsetDateTime::UNIX_EPOCH);
    assert!(told.len() == 1 && told[0].contains("only its metrics could be read"), "{told:?}");
}

fn root() -> String {
    use crate::pki::{KeyAlgorithm, PrivateKey, RootRequest, Serial, Subject, Validity};
    let begin = OffsetDateTime::UNIX_EPOCH;
    let request = RootRequest {
        subject: Subject { organization: None, common_name: "Root".to_owned(), locality: None },
        validity: Validity { not_before: begin, not_after: begin + time::Duration::days(9) },
        serial: Serial::from_random([1; 16]),
    };
    request.self_sign(&PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()).unwrap().to_pem()
}

#[test]
fn roots_that_workloads_have_are_known_without_cacerts_and_from_any_namespace() {
    let map = object(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": HANDED_OUT, "namespace": "shop"}, "data": {"root-cert.pem": root()},
    }));
    let near = Seen { config_maps: [(HANDED_OUT.to_owned(), map.clone())].into(), ..seen() };
    let far = Seen { further: Further { roots_elsewhere: Some(map), ..Further::default() }, ..seen() };
    for held in [near, far] {
        let trust = sight(&held).shown.trust.into_option().unwrap();
        assert_eq!((trust.roots.items().count(), trust.distributed_roots.items().count()), (0, 1));
    }
    assert!(sight(&seen()).shown.trust.is_null());
}

fn door(kind: serde_json::Value, metadata: serde_json::Value) -> Object {
    let mut metadata = metadata;
    metadata["name"] = "door".into();
    metadata["namespace"] = "istio-system".into();
    metadata["labels"][NETWORK_LABEL] = "net-east".into();
    object(json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": kind}))
}

fn addresses(seen: &Seen) -> (Vec<String>, i64) {
    let shown = sight(seen).shown;
    let gateway = shown.gateways.entry("door").unwrap();
    assert_eq!(gateway.network.text(), "net-east");
    (gateway.addresses.items().cloned().collect(), gateway.port.get().unwrap())
}

#[test]
fn a_waypoint_s_service_is_no_gateway_of_its_network() {
    let labels = json!({"labels": {"gateway.networking.k8s.io/gateway-class-name": "istio-waypoint"}});
    let mut waypoint = door(json!({"type": "ClusterIP"}), labels);
    assert_eq!(doors(std::slice::from_ref(&waypoint)), []);
    let labels = json!({"labels": {"gateway.networking.k8s.io/gateway-class-name": "istio"}});
    waypoint = door(json!({"type": "LoadBalancer"}), labels);
    assert_eq!(doors(&[waypoint.clone(), waypoint]).len(), 2);
}

#[test]
fn the_network_of_pods_is_the_one_that_injection_says() {
    let map = |name: &str, network: &str| {
        let values = json!({"global": {"network": network}}).to_string();
        let map =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"values": values}});
        (name.to_owned(), object(map))
    };
    let of =
        |maps: Vec<(String, Object)>| sight(&Seen { config_maps: maps.into_iter().collect(), ..seen() }).pods_network;
    let (usual, canary) = ("istio-sidecar-injector", "istio-sidecar-injector-canary");
    assert_eq!(of(vec![map(usual, "net-a")]).as_deref(), Some("net-a"));
    assert_eq!(of(vec![map(usual, "net-a"), map(canary, "net-a")]).as_deref(), Some("net-a"));
    assert_eq!(of(vec![map(usual, "net-a"), map(canary, "net-b")]), None);
    assert_eq!(of(vec![map(usual, "net-a"), map(canary, "")]), None, "those of the canary go by the label");
    assert_eq!(of(vec![map(usual, "")]), None);
    // Pods of a remote are injected by the istiod elsewhere: what lies in its own ConfigMap is read by nobody.
    let injected = InjectedAs { network: Some("net-b".to_owned()), ..InjectedAs::default() };
    let remote = |injected: InjectedAs| {
        let further = Further { injected, ..Further::default() };
        let config_maps = [map(usual, "net-a")].into();
        sight(&Seen { deployments: Vec::new(), config_maps, further, ..seen() }).pods_network
    };
    assert_eq!(remote(injected).as_deref(), Some("net-b"));
    assert_eq!(remote(InjectedAs::default()), None);
}

#[test]
fn node_ports_external_ips_and_ambient_gateways_have_their_addresses() {
    let node = object(json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": "a", "labels": {"edge": "yes"}},
        "status": {"addresses": [{"type": "ExternalIP", "address": "198.51.100.1"}]},
    }));
    let ports = json!([{"port": 15443, "nodePort": 31443}]);
    let selected = json!({"annotations": {NODE_SELECTOR_ANNOTATION: "{\"edge\":\"yes\"}"}});
    let by_node = Seen {
        services: vec![door(json!({"type": "NodePort", "ports": ports}), selected)],
        further: Further { nodes: vec![node], ..Further::default() },
        ..seen()
    };
    assert_eq!(addresses(&by_node), (vec!["198.51.100.1".to_owned()], 31443));
    let spec = json!({"type": "ClusterIP", "externalIPs": ["192.0.2.7"], "ports": ports});
    let by_ip = Seen { services: vec![door(spec, json!({}))], ..seen() };
    assert_eq!(addresses(&by_ip), (vec!["192.0.2.7".to_owned()], 15443));

    let ambient = |programmed: &str, services: Vec<Object>| {
        let gateway = object(json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway",
            "metadata": {"name": "door", "namespace": "istio-system", "labels": {NETWORK_LABEL: "net-east"}},
            "spec": {"gatewayClassName": AMBIENT_CLASS},
            "status": {"addresses": [{"value": "192.0.2.9"}], "conditions": [{"type": "Programmed", "status": programmed}]},
        }));
        Seen { services, further: Further { gateways: vec![gateway], ..Further::default() }, ..seen() }
    };
    let service = door(json!({"type": "LoadBalancer"}), json!({"labels": {GATEWAY_NAME_LABEL: "door"}}));
    for services in [Vec::new(), vec![service.clone()]] {
        assert_eq!(addresses(&ambient("True", services)), (vec!["192.0.2.9".to_owned()], 15008));
    }
    let waiting = ambient("False", vec![service]);
    assert_eq!(addresses(&waiting), (Vec::new(), 15008));
    assert!(
        sight(&waiting).no_address["door"].contains("the cluster's load balancer has given the Service no address")
    );
}

#[test]
fn a_node_port_that_no_node_is_chosen_for_says_so() {
    let waiting = Seen { services: vec![door(json!({"type": "NodePort"}), json!({}))], ..seen() };
    assert_eq!(addresses(&waiting), (Vec::new(), 15443));
    assert!(sight(&waiting).no_address["door"].contains(NODE_SELECTOR_ANNOTATION));
}

#[test]
fn what_leads_to_a_network_is_read_from_the_mesh_configuration_too() {
    let networks = "networks:\n  net-west:\n    endpoints: []\n    gateways: [{address: 192.0.2.1, port: 15443}]\n  net-north:\n    gateways: []\n";
    let map = object(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio", "namespace": "istio-system"},
        "data": {"meshNetworks": networks, "mesh": "enableAutoMtls: false\ncaCertificates: [{pem: x, trustDomains: [x.y]}, {pem: y}]\ndefaultConfig: {meshId: m}\n"},
    }));
    let seen = Seen { config_maps: [("istio".to_owned(), map)].into(), ..seen() };
    let sight = sight(&seen);
    assert_eq!(sight.led_to.iter().collect::<Vec<_>>(), ["net-west"]);
    assert!(sight.describes_networks && !sight.injects_network);
    assert!(sight.no_auto_mtls && sight.trusts_more_roots);
    let configured = sight.configured[0].as_ref().expect("it is read");
    assert_eq!(configured.aliases, ["x.y".to_owned()].into());
    assert!(!configured.any_trust_domain, "a root has the trust domains that it names");
    assert_eq!(sight.shown.control_planes.entry("default").unwrap().mesh_id.text(), "m");
}

#[test]
fn injection_may_name_the_network_that_the_namespace_does_not() {
    let with = |network: &str| {
        let values = json!({"global": {"network": network}}).to_string();
        let map = object(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": {"values": values},
            "metadata": {"name": "istio-sidecar-injector-canary", "namespace": "istio-system"},
        }));
        sight(&Seen { config_maps: [(map.name().to_owned(), map)].into(), ..seen() }).injects_network
    };
    assert_eq!([with("net-east"), with("")], [true, false]);
}

#[test]
fn the_worst_replica_of_a_revision_speaks() {
    let west = || view(&[("east", ""), ("west", "istio-system/remote-west")], Way::PortForward);
    let beside = |other: ReplicaView| verdicts(&Seen { views: vec![west(), other], ..seen() });
    let said = |verdict: &str| vec![("west".to_owned(), verdict.to_owned())];
    assert_eq!(beside(west()), said("synced"));
    assert_eq!(beside(view(&[("east", "")], Way::PortForward)), said("missing"));
    assert_eq!(beside(view(&[("east", "")], Way::Metrics)), said("unknown"));
    let failure = Failure::Unexpected { detail: "no answer".to_owned() };
    let error = Error { cluster: "east".into(), request: None, failure, must_answer: false, repeated: false };
    assert_eq!(beside(ReplicaView { clusters: Err(error), ..west() }), said("unknown"));
    // Of a Pod that is not ready yet, that alone is told.
    let mut starting = view(&[], Way::PortForward);
    starting.replica.ready = false;
    assert_eq!(beside(starting), said("synced"));
    // Another control plane in the namespace may be of another mesh.
    let mut canary = view(&[("east", "")], Way::PortForward);
    canary.replica.revision = "canary".to_owned();
    assert_eq!(beside(canary), said("synced"));
    // Nobody is to know a cluster that has no remote secret any more.
    let gone = [("east", ""), ("north", "istio-system/remote-north"), ("west", "istio-system/remote-west")];
    let views = vec![view(&gone, Way::PortForward), west()];
    assert_eq!(verdicts(&Seen { views, ..seen() })[0], ("north".to_owned(), "synced".to_owned()));
}

#[test]
fn an_external_istiod_hands_out_no_roots_where_it_runs() {
    let map = object(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": HANDED_OUT, "namespace": "istio-system"}, "data": {"root-cert.pem": root()},
    }));
    let mut external = istiod().value().clone();
    let volume = json!({"name": CONFIG_SECRET, "secret": {"secretName": CONFIG_SECRET}});
    external["spec"]["template"]["spec"]["volumes"] = json!([volume]);
    let external = object(external);
    let with = |deployments: Vec<Object>| {
        let config_maps = [(HANDED_OUT.to_owned(), map.clone())].into();
        let trust = sight(&Seen { deployments, config_maps, ..seen() }).shown.trust.into_option();
        trust.map_or(0, |trust| trust.distributed_roots.items().count())
    };
    assert_eq!([with(vec![external.clone()]), with(vec![external, istiod()]), with(Vec::new())], [0, 1, 1]);
}

#[test]
fn gateways_of_one_name_are_told_apart_by_their_namespace() {
    let spec = json!({"type": "ClusterIP", "externalIPs": ["192.0.2.7"], "ports": [{"port": 15443}]});
    let near = door(json!({"type": "NodePort"}), json!({}));
    let mut far = door(spec.clone(), json!({})).value().clone();
    far["metadata"]["namespace"] = "istio-gateways".into();
    let mut other = door(spec, json!({})).value().clone();
    other["metadata"]["name"] = "other".into();
    let seen = Seen { services: vec![near, object(far), object(other)], ..seen() };
    let sight = sight(&seen);
    let shown: Vec<&str> = sight.shown.gateways.keys().collect();
    assert_eq!(shown, ["istio-gateways/door", "istio-system/door", "other"]);
    assert_eq!(sight.no_address.keys().collect::<Vec<_>>(), ["istio-system/door"]);
}

#[test]
fn the_end_of_a_token_and_of_what_signs_is_read() {
    let secret = |token: &str| {
        let mut secret = remote_secret("west").value().clone();
        let kubeconfig = STANDARD.decode(secret["data"]["west"].as_str().unwrap()).unwrap();
        let kubeconfig = String::from_utf8(kubeconfig).unwrap().replace("token: abc", &format!("token: {token}"));
        secret["data"]["west"] = STANDARD.encode(kubeconfig).into();
        object(secret)
    };
    let token = format!("e30.{}.s", URL_SAFE_NO_PAD.encode("{\"exp\": 86400}"));
    let end = OffsetDateTime::UNIX_EPOCH + time::Duration::days(1);
    let with = |token: &str| sight(&Seen { remote_secrets: vec![secret(token)], ..seen() }).tokens;
    assert_eq!(with(&token), [("istio-system/remote-west".to_owned(), "west".to_owned(), end)]);
    assert_eq!(with("abc"), []);
    let bound = json!({"exp": 86400, "kubernetes.io": {
        "namespace": "istio-system", "secret": {"name": "r.w.1", "uid": "s-1"}, "serviceaccount": {"name": "reader", "uid": "a-1"}}});
    let bound = format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(bound.to_string()));
    let claims = |token: &str| sight(&Seen { remote_secrets: vec![secret(token)], ..seen() }).claims;
    let found = claims(&bound);
    let [(held_in, id, said)] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((held_in.as_str(), id.as_str()), ("istio-system/remote-west", "west"));
    assert_eq!(said.secret.as_ref().map(|secret| (secret.name.as_str(), secret.uid.as_str())), Some(("r.w.1", "s-1")));
    assert_eq!((said.namespace.as_str(), said.service_account.uid.as_str()), ("istio-system", "a-1"));
    assert_eq!(claims(&token), [], "of nobody that a cluster knows");
    let root = STANDARD.encode(root());
    let cacerts = object(json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cacerts", "namespace": "istio-system"},
        "data": {"root-cert.pem": root, "ca-cert.pem": root},
    }));
    let held = sight(&Seen { cacerts: Some(cacerts), ..seen() });
    let roots: Vec<&String> = held.shown.trust.known().unwrap().roots.items().collect();
    assert_eq!(held.signed_by.iter().collect::<Vec<_>>(), roots);
    let signs_by = held.signs_by;
    let begin = OffsetDateTime::UNIX_EPOCH;
    assert_eq!(signs_by, [("intermediate", begin, begin + time::Duration::days(9))]);
    let leaving = object(json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "istio-system", "deletionTimestamp": "2026-01-01T00:00:00Z"},
    }));
    assert!(sight(&Seen { namespace: Some(leaving), ..seen() }).is_leaving && !sight(&seen()).is_leaving);
}

#[test]
fn roots_that_the_mesh_configuration_adds_are_read() {
    let with = |entries: serde_json::Value| {
        let mesh = json!({"caCertificates": entries}).to_string();
        let map = object(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio", "namespace": "istio-system"},
            "data": {"mesh": mesh},
        }));
        let sight = sight(&Seen { config_maps: [("istio".to_owned(), map)].into(), ..seen() });
        (sight.more_roots.len(), sight.trusts_more_roots)
    };
    assert_eq!(with(json!([{"pem": root()}])), (1, false));
    assert_eq!(with(json!([{"pem": root()}, {"spiffeBundleUrl": "https://example.com"}])), (1, true));
    assert_eq!(with(json!([])), (0, false));
}
