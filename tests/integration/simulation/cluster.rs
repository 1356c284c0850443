//! A cluster that answers as one does: its API, and what controllers and istiod make of what is applied, at once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value as Json, json};
use terraform_provider_mesh::cluster::Kind;
use tokio::sync::broadcast;

use super::store::{Change, Key, Refusal, Store, Write, absent, now, status};

/// What a request says.
pub struct Asked {
    pub method: String,
    pub path: Vec<String>,
    pub query: BTreeMap<String, String>,
    pub accept: String,
    pub content_type: String,
    pub body: Vec<u8>,
}

pub enum Said {
    Json(u16, Json),
    /// Changes so far, those to come, and which of them are meant.
    Watch {
        past: Vec<Change>,
        to_come: broadcast::Receiver<Change>,
        of: Selected,
        metadata_only: bool,
    },
    /// A stream to a port of a Pod.
    Forward,
}

/// Which objects of a kind are meant.
pub struct Selected {
    group: String,
    plural: String,
    namespace: String,
    name: Option<String>,
    labels: Vec<Requirement>,
}

pub struct Cluster {
    pub name: String,
    number: usize,
    authority: String,
    store: Mutex<Store>,
    pub requests: AtomicUsize,
}

/// What is asked for: a kind, and an object and a part of it where one is named.
struct Target {
    kind: Kind,
    namespace: String,
    name: String,
    part: String,
}

impl Cluster {
    pub fn new(name: &str, number: usize, authority: &str) -> Cluster {
        let cluster = Cluster {
            name: name.to_owned(),
            number,
            authority: authority.to_owned(),
            store: Mutex::new(Store::new(number)),
            requests: AtomicUsize::new(0),
        };
        for namespace in ["default", "kube-system"] {
            let key = Key::new(&Kind::NAMESPACE, "", namespace);
            let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
            let mut store = cluster.store();
            store.put(&key, object);
            cluster.react(&mut store, &key);
        }
        cluster
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn answer(&self, asked: &Asked) -> Said {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.said(asked).unwrap_or_else(|Refusal(code, status)| Said::Json(code, status))
    }

    fn said(&self, asked: &Asked) -> Result<Said, Refusal> {
        let path: Vec<&str> = asked.path.iter().map(String::as_str).collect();
        let rest = match path.as_slice() {
            ["version"] => {
                return Ok(Said::Json(200, json!({"major": "1", "minor": "33", "gitVersion": "v1.33.0"})));
            }
            ["api"] => return Ok(Said::Json(200, self.discovery(true))),
            ["apis"] => return Ok(Said::Json(200, self.discovery(false))),
            ["api", "v1"] => return Ok(Said::Json(200, self.resources("", "v1")?)),
            ["apis", group, version] => return Ok(Said::Json(200, self.resources(group, version)?)),
            ["api", "v1", rest @ ..] => ("", rest),
            ["apis", group, _, rest @ ..] => (*group, rest),
            _ => return Err(not_served()),
        };
        if let (_, [review @ ("selfsubjectreviews" | "selfsubjectaccessreviews")]) = rest {
            return Ok(Said::Json(201, reviewed(review)));
        }
        let target = self.target(rest.0, rest.1)?;
        match (asked.method.as_str(), target.part.as_str()) {
            ("GET", "portforward") => Ok(Said::Forward),
            ("GET", "") if target.name.is_empty() && asked.query.contains_key("watch") => {
                Ok(self.watch(asked, &target))
            }
            ("GET", "") if target.name.is_empty() => Ok(Said::Json(200, self.list(asked, &target))),
            ("GET", "") => {
                let key = target.key();
                let object = self.store().get(&key).cloned().ok_or_else(|| absent(&key))?;
                Ok(Said::Json(200, shown(&object, asked)))
            }
            ("PATCH", "") => self.patch(asked, &target),
            ("POST", "token") => self.token(asked, &target),
            ("POST", "") if target.kind == Kind::POD => Ok(Said::Json(201, self.injected(asked, &target))),
            ("DELETE", "") => {
                let body: Json = serde_json::from_slice(&asked.body).unwrap_or_default();
                let mut store = self.store();
                let answer = store.delete(&target.key(), &body["preconditions"])?;
                self.react(&mut store, &target.key());
                Ok(Said::Json(200, answer))
            }
            _ => Err(not_served()),
        }
    }

    fn target(&self, group: &str, rest: &[&str]) -> Result<Target, Refusal> {
        let (namespace, plural, name, part) = match rest {
            [plural] => ("", *plural, "", ""),
            ["namespaces", name] => ("", "namespaces", *name, ""),
            ["namespaces", namespace, plural] => (*namespace, *plural, "", ""),
            ["namespaces", namespace, plural, name] => (*namespace, *plural, *name, ""),
            ["namespaces", namespace, plural, name, part, ..] => (*namespace, *plural, *name, *part),
            [plural, name] => ("", *plural, *name, ""),
            _ => return Err(not_served()),
        };
        let known = Kind::ALL.iter().find(|known| known.group == group && known.plural == plural);
        let kind = known.filter(|kind| self.serves(kind)).cloned().ok_or_else(not_served)?;
        let text = |text: &str| text.to_owned();
        Ok(Target { kind, namespace: text(namespace), name: text(name), part: text(part) })
    }

    /// Kinds that come by definitions are served once these are there.
    fn serves(&self, kind: &Kind) -> bool {
        let by_definition =
            kind.group.contains("istio.io") || kind.group.starts_with("gateway.") || kind.group.contains("cni.");
        let definition = Key::new(&Kind::CUSTOM_RESOURCE_DEFINITION, "", &format!("{}.{}", kind.plural, kind.group));
        !by_definition || self.store().get(&definition).is_some()
    }

    fn discovery(&self, core: bool) -> Json {
        let mut groups: BTreeMap<&str, BTreeMap<&str, Vec<Json>>> = BTreeMap::new();
        for kind in Kind::ALL.iter().filter(|kind| kind.group.is_empty() == core && self.serves(kind)) {
            let scope = if kind.namespaced { "Namespaced" } else { "Cluster" };
            let resource = json!({
                "resource": kind.plural, "scope": scope, "verbs": ["create", "delete", "get", "list", "patch", "watch"],
                "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
            });
            groups.entry(&kind.group).or_default().entry(&kind.version).or_default().push(resource);
        }
        let version = |(version, resources): (&str, Vec<Json>)| json!({"version": version, "freshness": "Current", "resources": resources});
        let items = groups.into_iter().map(|(group, versions)| {
            json!({"metadata": {"name": group}, "versions": versions.into_iter().map(version).collect::<Vec<_>>()})
        });
        json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items.collect::<Vec<_>>()})
    }

    fn resources(&self, group: &str, version: &str) -> Result<Json, Refusal> {
        let of_group =
            Kind::ALL.iter().filter(|kind| kind.group == group && kind.version == version && self.serves(kind));
        let resources: Vec<Json> = of_group
            .map(|kind| json!({"name": kind.plural, "kind": kind.kind, "namespaced": kind.namespaced}))
            .collect();
        if resources.is_empty() {
            return Err(not_served());
        }
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        Ok(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": resources}))
    }

    fn list(&self, asked: &Asked, target: &Target) -> Json {
        let (selected, store) = (Selected::of(asked, target), self.store());
        let found = store.of(&target.kind, &target.namespace).filter(|(key, object)| selected.has(key, object));
        let items: Vec<Json> = found.map(|(_, object)| shown(object, asked)).collect();
        let (api_version, kind) = match is_metadata_only(asked) {
            true => ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadataList".to_owned()),
            false => (target.kind.api_version(), format!("{}List", target.kind.kind)),
        };
        let version = store.version().to_string();
        json!({"apiVersion": api_version, "kind": kind, "metadata": {"resourceVersion": version}, "items": items})
    }

    fn watch(&self, asked: &Asked, target: &Target) -> Said {
        let (of, store) = (Selected::of(asked, target), self.store());
        let (mut past, to_come) = match asked.query.get("resourceVersion").and_then(|version| version.parse().ok()) {
            Some(version) => store.since(version),
            None => {
                let version = store.version();
                let found = store.of(&target.kind, &target.namespace);
                let added = |(key, object): (&Key, &Arc<Json>)| Change {
                    version,
                    what: "ADDED",
                    key: key.clone(),
                    object: object.clone(),
                };
                (found.map(added).collect(), store.since(version).1)
            }
        };
        past.retain(|change| of.has(&change.key, &change.object));
        Said::Watch { past, to_come, of, metadata_only: is_metadata_only(asked) }
    }

    fn patch(&self, asked: &Asked, target: &Target) -> Result<Said, Refusal> {
        let key = target.key();
        let body: Json = serde_json::from_slice(&asked.body).unwrap_or_default();
        let mut store = self.store();
        let (object, made) = match asked.content_type.contains("json-patch") {
            true => (store.patch(&key, &body)?, false),
            false => {
                let dry = asked.query.contains_key("dryRun");
                let applied = store.apply(Write { key: &key, kind: &target.kind, body, dry })?;
                if dry {
                    return Ok(Said::Json(200, shown(&applied.0, asked)));
                }
                applied
            }
        };
        self.react(&mut store, &key);
        Ok(Said::Json(if made { 201 } else { 200 }, shown(&object, asked)))
    }

    /// A token as the API server's are read: its signature is nobody's here.
    fn token(&self, asked: &Asked, target: &Target) -> Result<Said, Refusal> {
        let key = target.key();
        let account = self.store().get(&key).cloned().ok_or_else(|| absent(&key))?;
        let body: Json = serde_json::from_slice(&asked.body).unwrap_or_default();
        let seconds = body["spec"]["expirationSeconds"].as_i64().unwrap_or(3600);
        let issued = jiff::Timestamp::now().as_second();
        let bound = &body["spec"]["boundObjectRef"];
        let claims = json!({
            "iss": "https://kubernetes.default.svc", "aud": ["https://kubernetes.default.svc"], "iat": issued, "nbf": issued,
            "exp": issued + seconds, "sub": format!("system:serviceaccount:{}:{}", key.namespace, key.name),
            "jti": bound["uid"], "kubernetes.io": {
                "namespace": key.namespace, "serviceaccount": {"name": key.name, "uid": account["metadata"]["uid"]},
                "secret": {"name": bound["name"], "uid": bound["uid"]},
            },
        });
        let part = |json: Json| URL_SAFE_NO_PAD.encode(json.to_string());
        let token = format!("{}.{}.{}", part(json!({"alg": "RS256", "kid": "k"})), part(claims), "c2lnbmF0dXJl");
        let ends = jiff::Timestamp::from_second(issued + seconds).map(|ends| ends.to_string()).unwrap_or_default();
        let status = json!({"token": token, "expirationTimestamp": ends});
        Ok(Said::Json(
            201,
            json!({"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": {}, "status": status}),
        ))
    }

    /// The Pod that was asked for, with the proxy that istiod's webhook puts into it.
    fn injected(&self, asked: &Asked, target: &Target) -> Json {
        let mut pod: Json = serde_json::from_slice(&asked.body).unwrap_or_default();
        let store = self.store();
        let of_namespace = store.get(&Key::new(&Kind::NAMESPACE, "", &target.namespace)).cloned().unwrap_or_default();
        let network =
            of_namespace["metadata"]["labels"]["topology.istio.io/network"].as_str().unwrap_or_default().to_owned();
        if let Some(istiod) = store.of(&Kind::DEPLOYMENT, "").map(|(_, object)| object).find(|object| is_istiod(object))
        {
            let env = json!([
                {"name": "ISTIO_META_CLUSTER_ID", "value": env_of(istiod, "CLUSTER_ID")},
                {"name": "ISTIO_META_NETWORK", "value": network},
            ]);
            let proxy = json!({"name": "istio-proxy", "image": "proxyv2", "env": env});
            pod["spec"]["containers"].as_array_mut().into_iter().for_each(|all| all.push(proxy.clone()));
            pod["spec"]["initContainers"] = json!([{"name": "istio-init"}]);
        }
        pod
    }

    /// What istiod says on its debug page, of the clusters that it reads: those of the remote secrets beside it.
    pub fn debug(&self, page: &str) -> Option<Json> {
        if page != "/debug/clusterz" {
            return None;
        }
        let store = self.store();
        let istiod = store.of(&Kind::DEPLOYMENT, "").map(|(_, object)| object).find(|object| is_istiod(object))?;
        let mut clusters = vec![json!({"id": env_of(istiod, "CLUSTER_ID"), "secretName": "", "syncStatus": "synced"})];
        for (key, secret) in store.of(&Kind::SECRET, "") {
            if secret["metadata"]["labels"]["istio/multiCluster"] == "true" {
                let ids = secret["data"].as_object().into_iter().chain(secret["stringData"].as_object()).flatten();
                let name = format!("{}/{}", key.namespace, key.name);
                clusters.extend(ids.map(|(id, _)| json!({"id": id, "secretName": name, "syncStatus": "synced"})));
            }
        }
        Some(clusters.into())
    }

    /// What controllers and istiod make of a change.
    fn react(&self, store: &mut Store, key: &Key) {
        let object = store.get(key).map(|object| (**object).clone());
        match (key.plural.as_str(), object) {
            ("namespaces", Some(_)) => {
                let authority = json!({"ca.crt": self.authority});
                let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kube-root-ca.crt", "namespace": key.name}, "data": authority});
                store.put(&Key::new(&Kind::CONFIG_MAP, &key.name, "kube-root-ca.crt"), map);
                let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": key.name}});
                store.put(&Key::new(&Kind::SERVICE_ACCOUNT, &key.name, "default"), account);
            }
            ("services", Some(mut service)) => {
                service["spec"]["clusterIP"] = format!("10.96.{}.{}", self.number % 250, 1 + key.name.len()).into();
                if service["spec"]["type"] == "LoadBalancer" {
                    let ip = format!("198.18.{}.{}", self.number / 200, 1 + self.number % 200);
                    service["status"] = json!({"loadBalancer": {"ingress": [{"ip": ip}]}});
                }
                store.put(key, service);
            }
            ("deployments", Some(deployment)) => self.roll_out(store, key, deployment),
            ("deployments", None) => store.take(&Key::new(&Kind::POD, &key.namespace, &pod_name(&key.name))),
            ("mutatingwebhookconfigurations" | "validatingwebhookconfigurations", Some(mut configuration)) => {
                for webhook in configuration["webhooks"].as_array_mut().into_iter().flatten() {
                    webhook["clientConfig"]["caBundle"] = STANDARD.encode(&self.authority).into();
                }
                store.put(key, configuration);
            }
            _ => {}
        }
        if key.plural == "deployments" || key.plural == "secrets" && key.name == "cacerts" {
            hand_out_roots(store, &key.namespace);
        }
    }

    fn roll_out(&self, store: &mut Store, key: &Key, mut deployment: Json) {
        if deployment["spec"]["replicas"].is_null() {
            deployment["spec"]["replicas"] = 1.into();
        }
        let stored = store.put(key, deployment.clone());
        let condition = |kind: &str, reason: &str| json!({"type": kind, "status": "True", "reason": reason});
        deployment["status"] = json!({
            "observedGeneration": stored["metadata"]["generation"], "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1,
            "availableReplicas": 1,
            "conditions": [condition("Available", "MinimumReplicasAvailable"), condition("Progressing", "NewReplicaSetAvailable")],
        });
        store.put(key, deployment.clone());
        let name = pod_name(&key.name);
        let ip = format!("10.{}.{}.{}", 1 + self.number / 250, self.number % 250, 1 + key.name.len());
        let mut template = deployment["spec"]["template"].clone();
        // A gateway's proxy is put in by istiod.
        for container in template["spec"]["containers"].as_array_mut().into_iter().flatten() {
            if container["image"] == "auto" {
                container["image"] = "docker.io/istio/proxyv2:simulated".into();
            }
        }
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": key.namespace, "labels": template["metadata"]["labels"], "annotations": template["metadata"]["annotations"]},
            "spec": template["spec"],
            "status": {
                "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "startTime": now(),
                "conditions": [condition("Ready", ""), condition("ContainersReady", "")],
            },
        });
        store.put(&Key::new(&Kind::POD, &key.namespace, &name), pod);
    }
}

/// istiod gives every namespace the roots of `cacerts`; here it is its own alone.
fn hand_out_roots(store: &mut Store, namespace: &str) {
    let has_istiod = store.of(&Kind::DEPLOYMENT, namespace).any(|(_, object)| is_istiod(object));
    let cacerts = store.get(&Key::new(&Kind::SECRET, namespace, "cacerts")).cloned();
    let Some(cacerts) = cacerts.filter(|_| has_istiod) else { return };
    let roots = cacerts["data"]["root-cert.pem"].as_str().and_then(|text| STANDARD.decode(text).ok());
    let Some(roots) = roots.and_then(|roots| String::from_utf8(roots).ok()) else { return };
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": {"root-cert.pem": roots},
        "metadata": {"name": "istio-ca-root-cert", "namespace": namespace, "labels": {"istio.io/config": "true"}},
    });
    store.put(&Key::new(&Kind::CONFIG_MAP, namespace, "istio-ca-root-cert"), map);
}

fn pod_name(deployment: &str) -> String {
    format!("{deployment}-5d8f6c7b9-x2x2x")
}

fn is_istiod(deployment: &Json) -> bool {
    deployment["metadata"]["labels"]["app"] == "istiod"
}

fn env_of(deployment: &Json, name: &str) -> String {
    let entries = deployment["spec"]["template"]["spec"]["containers"][0]["env"].as_array().into_iter().flatten();
    let mut named = entries.filter(|entry| entry["name"] == name);
    named.next().and_then(|entry| entry["value"].as_str()).unwrap_or_default().to_owned()
}

fn reviewed(review: &str) -> Json {
    let (kind, group, status) = match review {
        "selfsubjectreviews" => (
            "SelfSubjectReview",
            "authentication.k8s.io/v1",
            json!({"userInfo": {"username": "admin", "groups": ["system:masters"]}}),
        ),
        _ => ("SelfSubjectAccessReview", "authorization.k8s.io/v1", json!({"allowed": true})),
    };
    json!({"kind": kind, "apiVersion": group, "metadata": {}, "status": status})
}

fn not_served() -> Refusal {
    Refusal(404, status(404, "NotFound", "the server could not find the requested resource", json!({})))
}

fn is_metadata_only(asked: &Asked) -> bool {
    asked.accept.contains("PartialObjectMetadata")
}

fn shown(object: &Json, asked: &Asked) -> Json {
    match is_metadata_only(asked) {
        true => metadata_of(object),
        false => object.clone(),
    }
}

pub fn metadata_of(object: &Json) -> Json {
    json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": object["metadata"]})
}

impl Target {
    fn key(&self) -> Key {
        Key::new(&self.kind, &self.namespace, &self.name)
    }
}

/// What a label must be.
enum Requirement {
    Is(String, Vec<String>),
    Exists(String, bool),
}

impl Requirement {
    fn parse(text: &str) -> Requirement {
        if let Some((key, values)) = text.split_once(" in (") {
            let values = values.trim_end_matches(')').split(',').map(|value| value.trim().to_owned());
            return Requirement::Is(key.trim().to_owned(), values.collect());
        }
        match (text.split_once('='), text.strip_prefix('!')) {
            (Some((key, value)), _) => Requirement::Is(key.to_owned(), vec![value.trim_start_matches('=').to_owned()]),
            (None, Some(key)) => Requirement::Exists(key.to_owned(), false),
            (None, None) => Requirement::Exists(text.to_owned(), true),
        }
    }

    fn holds(&self, labels: &Json) -> bool {
        match self {
            Requirement::Is(key, values) => {
                labels[key].as_str().is_some_and(|value| values.iter().any(|wanted| wanted == value))
            }
            Requirement::Exists(key, wanted) => labels.get(key).is_some() == *wanted,
        }
    }
}

impl Selected {
    fn of(asked: &Asked, target: &Target) -> Selected {
        let text = |name: &str| asked.query.get(name).map(String::as_str).unwrap_or_default();
        let name = text("fieldSelector").split(',').find_map(|field| field.strip_prefix("metadata.name="));
        // Nothing happens here that is worth an event.
        let nothing = (target.kind == Kind::EVENT).then(|| "-".to_owned());
        let (mut labels, mut rest) = (Vec::new(), text("labelSelector"));
        while !rest.is_empty() {
            let inside = rest.find(" in (").and_then(|from| Some(from + rest[from..].find(')')? + 1));
            let end = inside.filter(|_| rest.find(',').is_none_or(|comma| comma > rest.find(" in (").unwrap_or(0)));
            let end = end.or_else(|| rest.find(',')).unwrap_or(rest.len());
            labels.push(Requirement::parse(&rest[..end]));
            rest = rest[end..].trim_start_matches(',');
        }
        Selected {
            group: target.kind.group.to_string(),
            plural: target.kind.plural.to_string(),
            namespace: target.namespace.clone(),
            name: nothing.or_else(|| name.map(str::to_owned)),
            labels,
        }
    }

    pub fn has(&self, key: &Key, object: &Json) -> bool {
        key.group == self.group
            && key.plural == self.plural
            && (self.namespace.is_empty() || key.namespace == self.namespace)
            && self.name.as_ref().is_none_or(|name| *name == key.name)
            && self.labels.iter().all(|requirement| requirement.holds(&object["metadata"]["labels"]))
    }
}
