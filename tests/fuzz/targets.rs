//! What is fed with inputs of chance: every reader of something that others write. Each takes the number of its input,
//! from which alone the input follows, and must come back: with an answer or an error, soon, and without a panic.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Value as Json, json};
use terraform_provider_mesh::chart::{self, Capabilities, Chart, Release, Values};
use terraform_provider_mesh::cluster::{Cluster, ClusterConfig, Object, Secret};
use terraform_provider_mesh::engine::Engine;
use terraform_provider_mesh::engine::rpc::*;
use terraform_provider_mesh::kept::memory::Memory;
use terraform_provider_mesh::kept::{fields, objects};
use terraform_provider_mesh::mesh;
use terraform_provider_mesh::pki;
use terraform_provider_mesh::provider::Mesh;
use terraform_provider_mesh::resources;
use terraform_provider_mesh::review::{Format, Policy, Review};
use terraform_provider_mesh::value::{Dyn, Number, Type, json as state_json, msgpack};

use super::random::{self, Random};

pub struct Target {
    pub name: &'static str,
    /// How many inputs of this make one share of a run: cheap readers get more.
    pub share: u64,
    pub run: fn(&mut Random),
}

pub const TARGETS: &[Target] = &[
    Target { name: "msgpack", share: 30, run: decode_msgpack },
    Target { name: "state", share: 10, run: decode_state },
    Target { name: "requests", share: 6, run: requests },
    Target { name: "functions", share: 6, run: functions },
    Target { name: "kubeconfigs", share: 10, run: kubeconfigs },
    Target { name: "yaml", share: 12, run: yaml },
    Target { name: "templates", share: 5, run: templates },
    Target { name: "charts", share: 3, run: charts },
    Target { name: "certificates", share: 12, run: certificates },
    Target { name: "names", share: 20, run: names },
    Target { name: "objects", share: 10, run: live_objects },
    Target { name: "answers", share: 1, run: super::answers::answers },
    Target { name: "review", share: 2, run: review },
    Target { name: "policies", share: 4, run: policies },
];

static ENGINE: LazyLock<std::sync::Arc<Engine>> = LazyLock::new(|| Engine::new(Mesh, resources::registry()));

thread_local! {
    static RUNTIME: tokio::runtime::Runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
}

pub fn wait<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.with(|runtime| runtime.block_on(future))
}

/// The types of all that the provider offers.
static TYPES: LazyLock<Vec<(String, Type)>> = LazyLock::new(|| {
    let schema = ENGINE.schema();
    let all = schema.resources.iter().chain(&schema.data_sources).chain(&schema.list_resources);
    all.map(|(name, schema)| (name.clone(), schema.ty()))
        .chain([("provider".to_owned(), schema.provider.ty())])
        .collect()
});

/// A value of a type, with odd ones in it.
fn value(random: &mut Random, ty: &Type, depth: usize) -> Dyn {
    if depth > 0 && random.one_in(5) {
        return if random.one_in(3) { Dyn::UNKNOWN } else { Dyn::Null };
    }
    let count = random.below(3);
    match ty {
        Type::String => word(random).into(),
        Type::Bool => Dyn::Bool(random.one_in(2)),
        Type::Number => {
            let number = match random.below(5) {
                0 => "1e300".to_owned(),
                1 => (random.next() as i64).to_string(),
                2 => "0.1".to_owned(),
                _ => random.below(70_000).to_string(),
            };
            number.parse::<Number>().map_or(Dyn::Null, Dyn::Number)
        }
        Type::List(inner) => Dyn::List((0..count).map(|_| value(random, inner, depth + 1)).collect()),
        Type::Set(inner) => Dyn::set((0..count).map(|_| value(random, inner, depth + 1)).collect::<Vec<_>>()),
        Type::Map(inner) => Dyn::Map((0..count).map(|_| (word(random), value(random, inner, depth + 1))).collect()),
        Type::Object(types) => {
            Dyn::Object(types.iter().map(|(name, ty)| (name.clone(), value(random, ty, depth + 1))).collect())
        }
        Type::Tuple(types) => Dyn::Tuple(types.iter().map(|ty| value(random, ty, depth + 1)).collect()),
        Type::Dynamic => Dyn::Dynamic(Type::String, Box::new(word(random).into())),
    }
}

fn word(random: &mut Random) -> String {
    const WORDS: &[&str] = &[
        "east",
        "west",
        "istio-system",
        "default",
        "a.example",
        "10.0.0.0/8",
        "::1",
        "https://a.example:6443",
        "24h",
        "99999999d",
        "ECDSA-P256",
        "peer",
        "remote",
        "config",
        "LoadBalancer",
        "*.local",
        "a/b",
        "cart.shop.svc.cluster.local",
        "HTTP",
        "",
        " ",
        "a: {b: [c]}\n",
        "{{ x }}",
        "e\u{301}",
        "\u{202e}",
        "\u{0}",
        "1.31.0",
        "Deployment a/b",
        "{\"spec.a\":\"b\"}",
        "2026-11-28T00:00:00Z",
        "unknown",
        "sha256:00",
    ];
    match random.below(8) {
        0 => "x".repeat(random.below(600)),
        1 => random::text(random, &[random_word(WORDS)]),
        _ => (*random.pick(WORDS)).to_owned(),
    }
}

fn random_word(words: &[&str]) -> Vec<u8> {
    words.concat().into_bytes()
}

fn decode_msgpack(random: &mut Random) {
    let (_, ty) = random.pick(&TYPES);
    let good = msgpack::encode(&value(random, ty, 0), ty).expect("values of a type fit it");
    let bytes = random::bytes(random, &[good]);
    let (_, other) = random.pick(&TYPES);
    let ty = if random.one_in(6) {
        &Type::Dynamic
    } else if random.one_in(10) {
        other
    } else {
        ty
    };
    if let Ok(read) = msgpack::decode(&bytes, ty) {
        let written = msgpack::encode(&read, ty).expect("what was read can be written");
        assert_eq!(msgpack::decode(&written, ty).as_ref(), Ok(&read), "what was written reads as another");
    }
}

fn decode_state(random: &mut Random) {
    let (_, ty) = random.pick(&TYPES);
    let known = known(value(random, ty, 0));
    let good = state_json::encode(&known, ty).expect("known values can be stored");
    let bytes = match random.one_in(2) {
        true => random::bytes(random, &[good.into_bytes()]),
        false => random::json(random, &serde_json::from_str(&good).expect("JSON")).to_string().into_bytes(),
    };
    let _ = state_json::decode_state(&bytes, ty);
    let _ = state_json::decode(&bytes, ty);
    if let Ok(json) = serde_json::from_slice(&bytes) {
        let _ = Type::from_json(&json);
    }
}

/// With null in place of what is unknown.
fn known(value: Dyn) -> Dyn {
    match value {
        Dyn::Unknown(_) => Dyn::Null,
        Dyn::List(elements) => Dyn::List(elements.into_iter().map(known).collect()),
        Dyn::Set(elements) => Dyn::set(elements.iter().cloned().map(known).collect::<Vec<_>>()),
        Dyn::Map(elements) => Dyn::Map(elements.into_iter().map(|(key, value)| (key, known(value))).collect()),
        Dyn::Object(members) => Dyn::Object(members.into_iter().map(|(key, value)| (key, known(value))).collect()),
        other => other,
    }
}

/// What the core could send, to a provider that has no clusters: nothing goes out.
fn requests(random: &mut Random) {
    let capabilities = ClientCapabilities { write_only_attributes_allowed: true, ..Default::default() };
    let (name, ty) = random.pick(&TYPES);
    let type_name = name.clone();
    let encoded = |random: &mut Random| {
        let mut msgpack = msgpack::encode(&value(random, ty, 0), ty).expect("values of a type fit it");
        if random.one_in(4) {
            msgpack = random::bytes(random, &[msgpack]);
        }
        Encoded { msgpack, json: Vec::new() }
    };
    let stored = |random: &mut Random| {
        let known = known(value(random, ty, 0));
        let text = state_json::encode(&known, ty).expect("known values can be stored");
        random::json(random, &serde_json::from_str(&text).expect("JSON")).to_string().into_bytes()
    };
    let private = |random: &mut Random| match random.below(3) {
        0 => Vec::new(),
        1 => random::json(
            random,
            &json!({"instance": {"mark": "x", "unfinished": true}, "spellings": {"fields": {}}, "roots": {}}),
        )
        .to_string()
        .into_bytes(),
        _ => random::bytes(random, &[b"{\"a\":1}".to_vec()]),
    };
    let config = encoded(random);
    let engine = &ENGINE;
    match random.below(8) {
        0 => drop(wait(engine.validate_provider_config(ValidateProviderConfig { config }))),
        1 => drop(wait(engine.validate_resource_config(ValidateConfig { type_name, config, capabilities }))),
        2 => drop(wait(engine.validate_data_resource_config(ValidateConfig { type_name, config, capabilities }))),
        3 => drop(wait(engine.upgrade_resource_state(UpgradeResourceState {
            type_name,
            version: random.below(3) as i64,
            json: stored(random),
        }))),
        4 => {
            let request = PlanResourceChange {
                type_name,
                proposed_new_state: config.clone(),
                prior_state: encoded(random),
                config,
                prior_private: private(random),
                planned_private: private(random),
                prior_identity: None,
                capabilities,
            };
            no_defect(&wait(engine.plan_resource_change(request)).diagnostics);
        }
        5 => {
            let request = ReadResource {
                type_name,
                current_state: config,
                private: private(random),
                current_identity: None,
                capabilities,
            };
            no_defect(&wait(engine.read_resource(request)).diagnostics);
        }
        6 => {
            let request = ImportResourceState { type_name, id: word(random), identity: None, capabilities };
            no_defect(&wait(engine.import_resource_state(request)).diagnostics);
        }
        _ => no_defect(&wait(engine.move_resource_state(moved(random, type_name))).diagnostics),
    }
}

/// A state of another provider, for a type of this one.
fn moved(random: &mut Random, target_type_name: String) -> MoveResourceState {
    let values = json!({"global": {"multiCluster": {"clusterName": word(random)}, "network": "n"}, "revision": "a"});
    let release = json!({
        "name": "istiod", "namespace": "istio-system", "chart": "oci://a.example/charts/istiod",
        "metadata": [{"values": random::json(random, &values).to_string()}],
        "values": [random::text(random, &[b"global:\n  multiCluster: {clusterName: east}\n".to_vec()])],
        "set": [{"name": "global.network", "value": "n"}, {"name": ".".repeat(random.below(100_000)), "value": 1}],
    });
    let secret = json!({
        "metadata": [{"name": "istio-remote-secret-east", "namespace": "istio-system",
            "labels": {"istio/multiCluster": "true"}, "annotations": {"networking.istio.io/cluster": "east"}}],
        "data": {"east": random::text(random, &[KUBECONFIG.as_bytes().to_vec()])},
    });
    let (provider, source_type_name, state) = match random.below(3) {
        0 => ("kubernetes", "kubernetes_secret_v1", secret),
        _ => ("helm", "helm_release", release),
    };
    MoveResourceState {
        source_provider_address: format!("registry.terraform.io/hashicorp/{provider}"),
        source_type_name: source_type_name.to_owned(),
        source_schema_version: random.below(3) as i64,
        source_state: random::json(random, &state).to_string().into_bytes(),
        target_type_name,
    }
}

/// A panic within a request becomes a diagnostic; here it is one again.
fn no_defect(diagnostics: &terraform_provider_mesh::diag::Diagnostics) {
    let panicked = diagnostics.iter().find(|diagnostic| diagnostic.detail.contains("panicked"));
    assert!(panicked.is_none(), "{panicked:?}");
}

const KUBECONFIG: &str = "\
apiVersion: v1
kind: Config
current-context: west
contexts:
- {name: west, context: {cluster: west, user: west, namespace: a}}
clusters:
- {name: west, cluster: {server: 'https://192.0.2.1:6443/a', certificate-authority-data: LS0tLS1CRUdJTg==, tls-server-name: a, proxy-url: 'http://a:1'}}
users:
- {name: west, user: {token: t, client-certificate-data: LS0tLS1CRUdJTg==, client-key-data: LS0tLS1CRUdJTg==, as: a, as-groups: [b], as-user-extra: {c: [d]}}}
- name: exec
  user:
    exec: {apiVersion: client.authentication.k8s.io/v1, command: /nowhere/at/all, args: [a], env: [{name: A, value: b}], interactiveMode: Never}
";

fn kubeconfig(random: &mut Random) -> String {
    static AS_JSON: LazyLock<Json> = LazyLock::new(|| {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "west",
            "contexts": [{"name": "west", "context": {"cluster": "west", "user": "west"}}],
            "clusters": [{"name": "west", "cluster": {"server": "https://192.0.2.1:6443", "certificate-authority-data": "LS0tLS1CRUdJTg==", "insecure-skip-tls-verify": false}}],
            "users": [{"name": "west", "user": {"token": "t", "tokenFile": "a", "username": "u", "password": "p", "as": "a", "as-uid": "b", "as-user-extra": {"c": ["d"]},
                "auth-provider": {"name": "oidc", "config": {"id-token": "a.b.c"}}, "exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "/nowhere/at/all"}}}],
        })
    });
    match random.one_in(2) {
        true => random::text(random, &[KUBECONFIG.as_bytes().to_vec()]),
        false => random::json(random, &AS_JSON).to_string(),
    }
}

fn kubeconfigs(random: &mut Random) {
    let text = kubeconfig(random);
    let _ = mesh::ParsedRemoteSecret::from_kubeconfig(&text);
    let context = if random.one_in(3) { Some(word(random)) } else { None };
    let config = ClusterConfig { config: Some(Secret::new(text)), config_context: context, ..ClusterConfig::default() };
    // Reads the kubeconfig and makes no request; runs no plugin and opens no connection.
    if let Err(error) = wait(Cluster::standalone("west", config, "0").endpoint()) {
        let _ = (error.to_string(), error.remedy(), error.is_unreachable(), error.is_not_configured());
    }
}

fn functions(random: &mut Random) {
    use base64::Engine as _;

    let secret = |random: &mut Random| {
        let text = kubeconfig(random);
        let (data, key) = match random.one_in(2) {
            true => (base64::engine::general_purpose::STANDARD.encode(&text), "data"),
            false => (text, "stringData"),
        };
        let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "istio-remote-secret-west"}, key: {"west": data}});
        random::json(random, &object).to_string()
    };
    let (name, signature) = {
        let all: Vec<_> = ENGINE.schema().functions.iter().collect();
        *random.pick(&all)
    };
    let encoded = signature.parameters.iter().map(|parameter| {
        let argument = match (&parameter.ty, name.as_str()) {
            (Type::String, "parse_remote_secret") if random.one_in(4) => Dyn::from(kubeconfig(random)),
            (Type::String, "parse_remote_secret") => Dyn::from(secret(random)),
            (ty, _) => value(random, ty, 0),
        };
        Encoded {
            msgpack: msgpack::encode(&argument, &parameter.ty).expect("values of a type fit it"),
            json: Vec::new(),
        }
    });
    let arguments = encoded.collect();
    if let Err(error) = wait(ENGINE.call_function(CallFunction { name: name.clone(), arguments })).result {
        assert!(!error.text.contains("panicked"), "{error:?}");
    }
}

static YAML: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let documents = include_str!("../fixtures/yaml.txt").split("=====\n");
    documents.map(|text| text.as_bytes().to_vec()).chain([KUBECONFIG.as_bytes().to_vec()]).collect()
});

fn yaml(random: &mut Random) {
    let text = random::text(random, &YAML);
    if let Ok(values) = Values::from_yaml(&text) {
        let mut merged = values.clone();
        merged.merge(values);
        assert_eq!(merged.as_map().len(), merged.clone().into_map().len());
    }
}

static TEMPLATES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    include_str!("../fixtures/templates.txt").split("=====\n").map(|text| text.as_bytes().to_vec()).collect()
});

fn templates(random: &mut Random) {
    let template = random::bytes(random, &TEMPLATES);
    rendered(BTreeMap::from([
        ("Chart.yaml".to_owned(), b"apiVersion: v2\nname: c\nversion: 1.0.0\n".to_vec()),
        (
            "values.yaml".to_owned(),
            b"s: x\nn: 3\nf: 1.5\nb: true\nnil: null\nl: [1, 2, 3]\nm: {a: 1, b: {c: d}}\ne: []\nzero: 0\n".to_vec(),
        ),
        ("templates/t.yaml".to_owned(), template),
    ]));
}

fn charts(random: &mut Random) {
    let mut files = BTreeMap::from([
        ("Chart.yaml".to_owned(), b"apiVersion: v2\nname: c\nversion: 1.0.0\nkubeVersion: '>=1.20'\ndependencies:\n- {name: d, version: '1', condition: d.on, import-values: [a]}\n".to_vec()),
        ("values.yaml".to_owned(), b"a: {b: c}\nd: {on: true}\nglobal: {g: h}\n".to_vec()),
        (
            "values.schema.json".to_owned(),
            br##"{"type":"object","properties":{"a":{"$ref":"#/$defs/x"},"n":{"type":"integer","minimum":1}},"$defs":{"x":{"type":"object","patternProperties":{"^(a+)+$":{"enum":["c"]}}}}}"##.to_vec(),
        ),
        ("templates/_h.tpl".to_owned(), b"{{ define \"a\" }}{{ .Values.a.b | upper }}{{ end }}".to_vec()),
        ("templates/t.yaml".to_owned(), b"kind: ConfigMap\napiVersion: v1\nmetadata: {name: {{ include \"a\" . | lower }}}\ndata:\n{{ toYaml .Values.a | indent 2 }}\n".to_vec()),
        ("charts/d/Chart.yaml".to_owned(), b"apiVersion: v2\nname: d\nversion: 1.0.0\n".to_vec()),
        ("charts/d/values.yaml".to_owned(), b"exports: {a: {x: y}}\n".to_vec()),
        ("charts/d/templates/t.yaml".to_owned(), b"kind: Secret\napiVersion: v1\nmetadata: {name: d}\n".to_vec()),
        ("crds/a.yaml".to_owned(), b"kind: CustomResourceDefinition\napiVersion: apiextensions.k8s.io/v1\nmetadata: {name: a.b}\n".to_vec()),
    ]);
    let names: Vec<String> = files.keys().cloned().collect();
    for _ in 0..=random.below(2) {
        let name = random.pick(&names);
        let changed = random::bytes(random, &[files[name].clone()]);
        files.insert(name.clone(), changed);
    }
    rendered(files);
}

fn rendered(files: BTreeMap<String, Vec<u8>>) {
    let Ok(chart) = Chart::from_files(files) else { return };
    let release = Release { name: "r".to_owned(), namespace: "n".to_owned(), is_upgrade: false };
    if let Ok(manifests) = chart::render(&chart, &release, &Values::default(), &Capabilities::default()) {
        for object in manifests.into_iter().filter_map(|manifest| Object::new(manifest.object)) {
            let _ = fields::digest(&fields::fields(&object));
        }
    }
}

/// A chain of real shape, and a request.
static CERTIFICATES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let all = include_str!("corpus/certificates.pem");
    x509_parser::pem::Pem::iter_from_buffer(all.as_bytes()).map(|block| block.expect("PEM").contents).collect()
});

fn certificates(random: &mut Random) {
    let der = random::bytes(random, &CERTIFICATES);
    let roots: pki::Bundle = CERTIFICATES.iter().filter_map(|der| pki::Certificate::from_der(der)).collect();
    let now = time::OffsetDateTime::from_unix_timestamp(1_795_000_000).expect("a time");
    let names =
        pki::MeshNames { dns: vec!["istiod.istio-system.svc".to_owned()], trust_domain: "cluster.local".to_owned() };
    if let Some(certificate) = pki::Certificate::from_der(&der) {
        let chain = [certificate.clone()];
        let check = pki::CheckIntermediate { chain: &chain, roots: &roots, public_key_info: None, now };
        let problems = pki::check_intermediate(check).into_iter().chain(pki::check_root(&certificate, now));
        let problems =
            problems.chain(pki::check_use(&chain, &roots, &names)).chain(pki::check_limits(&certificate, &names));
        problems.for_each(|problem| drop(problem.to_string()));
        let _ = (pki::root_of(&chain, &roots), certificate.subject().len(), certificate.to_pem());
    }
    let _ = pki::SigningRequest::from_der(&der);
    let text = random::text(random, &[include_bytes!("corpus/certificates.pem").to_vec()]);
    let _ = (pki::Certificate::all_from_pem(&text), pki::Bundle::from_pem(&text), pki::SigningRequest::from_pem(&text));
    let _ = (pki::PrivateKey::from_pem(&text).is_ok(), pki::PrivateKey::first_in(&text).is_ok());
}

fn names(random: &mut Random) {
    const NAMES: &[&[u8]] = &[
        b"outbound_.80_.v1_.cart.shop.svc.cluster.local",
        b"spiffe://cluster.local/ns/a/sa/b",
        b"https://[fe80::1%25eth0]:6443/a?b#c",
        b"10.0.0.0/8",
        b"oci://a.example/b:1@sha256:00",
        b"istio-system",
        b"1h30m5.5s2d",
        b"*.shop.svc.cluster.local",
        b"Deployment istio-system/istiod",
        b"east/istio-system/istiod",
        b"192.0.2.1:15443",
    ];
    let corpus: Vec<Vec<u8>> = NAMES.iter().map(|name| name.to_vec()).collect();
    let text = random::text(random, &corpus);
    let _ = (
        mesh::Sni::parse(&text),
        mesh::SpiffeId::parse(&text),
        mesh::ServerUrl::parse(&text),
        mesh::Address::parse(&text),
    );
    let _ = (
        mesh::Host::new(text.as_str()),
        mesh::Namespace::new(text.as_str()),
        mesh::ClusterName::new(text.as_str()),
        mesh::Revision::new(text.as_str()),
    );
    let _ =
        (mesh::TrustDomain::new(text.as_str()), mesh::MeshId::new(text.as_str()), mesh::Network::new(text.as_str()));
    let _ = (
        terraform_provider_mesh::schema::validate::parse_duration(&text),
        terraform_provider_mesh::source::Location::parse(&text),
    );
    let _ = (
        text.parse::<Number>(),
        pki::Fingerprint::parse(&text),
        objects::parse_key(&text),
        fields::metadata_key(&text),
    );
    let shown = terraform_provider_mesh::diag::shown(text);
    assert!(!shown.chars().any(|c| !matches!(c, '\n' | '\t') && terraform_provider_mesh::diag::hides(c)));
}

static OBJECTS: LazyLock<Vec<Json>> = LazyLock::new(|| {
    vec![
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "istiod", "namespace": "istio-system", "uid": "u", "resourceVersion": "5", "generation": 2,
        "labels": {"app": "istiod"}, "annotations": {"a.b/c": "d"}, "finalizers": ["f"], "ownerReferences": [{"kind": "A", "name": "b", "uid": "c"}],
        "managedFields": [{"manager": "kubectl", "operation": "Apply", "time": "2026-11-28T00:00:00Z", "fieldsV1": {"f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"discovery\"}": {".": {}, "f:image": {}}}}}}}}]},
        "spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "discovery", "image": "a", "env": [{"name": "A", "value": "b"}], "resources": {"requests": {"cpu": "500m"}}}]}}},
        "status": {"availableReplicas": 1, "conditions": [{"type": "Available", "status": "True", "lastTransitionTime": "2026-11-28T00:00:00Z"}]}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio"}, "data": {"mesh": "trustDomain: a\nx: [1, 2]\n", "values": "{\"global\": {\"a\": 1}}", "meshNetworks": "networks: {}\n"}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "aHVzaA=="}}),
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "d"}, "spec": {"group": "g", "versions": [{"name": "v1", "served": true, "schema": {}}]}}),
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": {"name": "w"}, "webhooks": [{"name": "a", "failurePolicy": "Ignore", "rules": [{"operations": ["*"]}]}]}),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "g", "namespace": "n"}, "spec": {"ports": [{"name": "tls", "port": 15443}], "clusterIP": "10.0.0.1"}, "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}),
    ]
});

pub fn live_object(random: &mut Random) -> Json {
    let object = random.pick(&OBJECTS).clone();
    random::json(random, &object)
}

/// What a cluster holds of an object of ours, whatever it is.
fn live_objects(random: &mut Random) {
    let good = random.pick(&OBJECTS);
    let Some(ours) = Object::new(good.clone()) else { return };
    let recorded = fields::fields(&ours);
    let Some(live) = Object::new(random::json(random, good)) else { return };
    let now = fields::fields(&live);
    for (path, was) in &recorded {
        let _ = fields::same(path, was, now.get(path).map(String::as_str));
    }
    let key = "Deployment istio-system/istiod".to_owned();
    let record = objects::Recorded {
        objects: BTreeMap::from([(key.clone(), fields::digest(&recorded))]),
        fields: BTreeMap::from([(key.clone(), recorded)]),
    };
    let _ = record.seen(&BTreeMap::from([(key, live.clone())]), &Memory::default());
    let _ = (
        live.labels(),
        live.annotations(),
        live.finalizers(),
        live.is_terminating(),
        live.generation(),
        live.data("a"),
    );
    let _ = (live.conditions().count(), live.reference(), terraform_provider_mesh::cluster::managers(&live).len());
    if let Ok(secret) = mesh::ParsedRemoteSecret::from_object(live.value()) {
        drop(secret);
    }
    let _ = mesh::ParsedRemoteSecret::from_config_object(live.value());
}

static PLANS: LazyLock<Vec<Json>> = LazyLock::new(|| {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/review");
    let mut paths: Vec<_> =
        std::fs::read_dir(folder).expect("plans").map(|entry| entry.expect("a plan").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "json"));
    paths.sort();
    // The small ones: a plan of a whole mesh takes milliseconds.
    let texts = paths.iter().map(|path| std::fs::read(path).expect("a plan")).filter(|text| text.len() < 60_000);
    texts.map(|text| serde_json::from_slice(&text).expect("JSON")).collect()
});

fn review(random: &mut Random) {
    let plan = random.pick(&PLANS);
    let bytes = match random.one_in(4) {
        true => random::bytes(random, &[plan.to_string().into_bytes()]),
        false => random::json(random, plan).to_string().into_bytes(),
    };
    if let Ok(review) = Review::of(&bytes, &Policy::default(), &ENGINE.schema().resources) {
        for format in [Format::Markdown, Format::Json, Format::Mermaid, Format::Text] {
            let written = review.written(format, 60_000);
            assert!(format == Format::Json || written.len() <= 60_000, "{} bytes", written.len());
        }
    }
}

fn policies(random: &mut Random) {
    const POLICY: &[u8] = b"version: 1\nrules:\n- {risk: M1, level: high, needs_reason: true}\naccepted:\n- {risk: M2, cluster: east, reason: x, until: 2026-12-01}\n";
    let _ = Policy::parse(&random::text(random, &[POLICY.to_vec()]));
}
