//! `mesh_ca` on a true API server, with an in-process core: two clusters are two namespaces of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use terraform_provider_mesh::cluster::{Apply, Cluster, ClusterConfig, Delete, Kind, Object, ObjectRef, Query, Scope};
use terraform_provider_mesh::pki::{Bundle, Certificate, PrivateKey, root_of};
use terraform_provider_mesh::provider::Mesh;
use terraform_provider_mesh::resources::registry;
use terraform_provider_mesh::value::{Dyn, Path};
use tokio_util::sync::CancellationToken;

use crate::support::core::{Action, Applied, Core, Planned, Stored};

pub const CA: &str = "mesh_ca";

pub struct Place {
    pub core: Core,
    kubeconfig: String,
    pub api: Cluster,
    lab: Arc<lab::Cluster>,
    test: &'static str,
}

impl Place {
    /// `None`, said aloud, where there is no API server; in CI that is a failure.
    pub async fn new(test: &'static str) -> Option<Self> {
        let lab = tokio::task::spawn_blocking(crate::cluster_lab::lab_cluster).await.unwrap()?;
        let kubeconfig = lab.kubeconfig_path().display().to_string();
        let config = ClusterConfig { config_paths: vec![kubeconfig.clone()], ..ClusterConfig::default() };
        let api = Cluster::standalone("api", config, "0.0.0-test");
        let api = api.within(Scope::lasting(Duration::from_secs(120), CancellationToken::new()));
        let core = Core::new(Mesh, registry(), provider(&kubeconfig, &[])).await.unwrap();
        Some(Self { core, kubeconfig, api, lab, test })
    }

    /// The provider's configuration with every cluster up.
    pub fn provider(&self) -> Json {
        provider(&self.kubeconfig, &[])
    }

    /// A write of somebody else, who has every right; under the name of the manager that is given, which anybody may
    /// give.
    pub async fn as_somebody(&self, manager: &str, reference: &ObjectRef, content: &str, body: &Json) {
        let force = if content.contains("apply") { "&force=true" } else { "" };
        let request = http::Request::builder()
            .method("PATCH")
            .uri(format!("{}?fieldManager={manager}{force}", reference.path()))
            .header("content-type", content)
            .body(body.to_string().into_bytes())
            .unwrap();
        self.lab.request(request).await.unwrap();
    }

    pub fn namespace(&self, name: &str) -> String {
        format!("{}-{name}-{}", self.test, std::process::id())
    }

    pub fn config(&self, clusters: &[&str], changes: Json) -> Json {
        let clusters: BTreeMap<&str, Json> =
            clusters.iter().map(|name| (*name, json!({ "namespace": self.namespace(name) }))).collect();
        let store = json!({ "cluster": "east", "namespace": self.namespace("root"), "name": "root" });
        let mut config = json!({ "root": { "store": store }, "clusters": clusters, "rotation_pause": "0s" });
        merge(&mut config, changes);
        config
    }

    /// A plan of its own run: what the provider held for the last one is forgotten.
    pub async fn plan(&self, config: &Json, stored: Option<&Stored>) -> Planned {
        self.plan_without(&[], config, stored).await
    }

    /// A plan while some clusters are down.
    pub async fn plan_without(&self, down: &[&str], config: &Json, stored: Option<&Stored>) -> Planned {
        self.core.configure(provider(&self.kubeconfig, down)).await.unwrap();
        self.core.plan(CA, Some(config.clone()), stored).await.unwrap_or_else(|errors| panic!("{errors}"))
    }

    /// Applies a plan that must succeed.
    pub async fn apply(&self, planned: Planned) -> Stored {
        let Applied { stored, diagnostics } = self.core.apply(CA, planned).await;
        assert!(!diagnostics.has_errors(), "{diagnostics}");
        stored.unwrap()
    }

    /// Plans and applies; the plan after it must be empty.
    pub async fn settle(&self, config: &Json, stored: Option<&Stored>) -> Stored {
        let stored = self.apply(self.plan(config, stored).await).await;
        let second = self.plan(config, Some(&stored)).await;
        assert_eq!(second.action, Action::Nothing, "the second plan is not empty: {:?}", second.planned);
        stored
    }

    pub async fn destroy(&self, stored: &Stored) {
        self.core.configure(provider(&self.kubeconfig, &[])).await.unwrap();
        let planned = self.core.plan(CA, None, Some(stored)).await.unwrap();
        assert!(planned.warnings.to_string().contains("certificate authority"), "{}", planned.warnings);
        let applied = self.core.apply(CA, planned).await;
        assert!(applied.stored.is_none() && !applied.diagnostics.has_errors(), "{}", applied.diagnostics);
    }

    pub async fn secret(&self, namespace: &str, name: &str) -> Option<Object> {
        self.api.get(&ObjectRef::namespaced(Kind::SECRET, self.namespace(namespace), name)).await.unwrap()
    }

    /// A cluster's `cacerts`, judged as istiod judges it.
    pub async fn held(&self, cluster: &str) -> Held {
        let secret = self.secret(cluster, "cacerts").await.expect("the Secret is there");
        let text = |key: &str| String::from_utf8(secret.data(key).unwrap()).unwrap();
        let intermediate = Certificate::from_pem(&text("ca-cert.pem")).unwrap();
        let roots = Bundle::from_pem(&text("root-cert.pem")).unwrap();
        let key = PrivateKey::from_pem(&text("ca-key.pem")).unwrap();
        assert_eq!(key.public_key_info(), intermediate.public_key_info());
        let issuer = root_of(std::slice::from_ref(&intermediate), &roots).expect("it chains to a root").clone();
        Held { intermediate, issuer, roots }
    }

    pub fn state(&self, stored: &Stored) -> Dyn {
        self.core.state(CA, stored)
    }

    pub fn text(&self, stored: &Stored, path: Path) -> String {
        self.state(stored).at(&path).and_then(Dyn::as_str).unwrap_or_default().to_owned()
    }

    pub fn phase(&self, stored: &Stored) -> String {
        self.text(stored, Path::root("phase"))
    }

    /// Every private key in the test's namespaces, as texts that must be nowhere else.
    pub async fn keys(&self) -> Vec<String> {
        let secrets = self.api.list_now(&Query::of(Kind::SECRET)).await.unwrap();
        let ours = secrets.iter().filter(|secret| secret.namespace().is_some_and(|name| name.starts_with(self.test)));
        let mut keys = Vec::new();
        for secret in ours {
            for (name, encoded) in secret.strings("data").into_iter().filter(|(name, _)| name.contains("key")) {
                let pem = String::from_utf8(secret.data(name).unwrap()).unwrap();
                keys.extend(pem.lines().filter(|line| !line.starts_with("-----")).map(str::to_owned));
                keys.push(encoded[60..100].to_owned());
            }
        }
        assert!(!keys.is_empty());
        keys
    }
}

pub struct Held {
    pub intermediate: Certificate,
    pub issuer: Certificate,
    pub roots: Bundle,
}

/// Every cluster's name leads to the one API server, but for those that are down.
fn provider(kubeconfig: &str, down: &[&str]) -> Json {
    let cluster = |name: &&str| match down.contains(name) {
        true => json!({ "host": "https://127.0.0.1:1", "token": "x" }),
        false => json!({ "config_path": kubeconfig }),
    };
    let clusters: BTreeMap<&str, Json> = ["east", "west", "north"].iter().map(|name| (*name, cluster(name))).collect();
    json!({ "clusters": clusters })
}

pub fn merge(into: &mut Json, changes: Json) {
    match (into, changes) {
        (Json::Object(into), Json::Object(changes)) => {
            for (key, value) in changes {
                merge(into.entry(key).or_insert(Json::Null), value);
            }
        }
        (into, changes) => *into = changes,
    }
}

pub fn generation(number: i64) -> Json {
    json!({ "root": { "generation": number } })
}

#[tokio::test]
async fn clusters_come_and_go_and_nothing_stays() {
    let Some(place) = Place::new("ca-life").await else { return };
    let stored = place.settle(&place.config(&["east", "west"], json!({})), None).await;
    let (east, west) = (place.held("east").await, place.held("west").await);
    assert_eq!(east.issuer, west.issuer);
    assert_ne!(east.intermediate, west.intermediate);
    let root = east.issuer.fingerprint().to_string();
    assert_eq!(place.text(&stored, Path::root("root_fingerprint")), root);
    assert_eq!(place.phase(&stored), "settled");
    let told = |name: &str, attribute: &str| place.text(&stored, Path::root("clusters").key(name).attr(attribute));
    assert_eq!(told("west", "fingerprint"), west.intermediate.fingerprint().to_string());
    assert_eq!(told("east", "state"), "ready");

    let stored = place.settle(&place.config(&["east", "north"], json!({})), Some(&stored)).await;
    assert_eq!(place.held("east").await.intermediate, east.intermediate, "a neighbour is left alone");
    assert_eq!(place.held("north").await.issuer, east.issuer);
    assert!(place.secret("west", "cacerts").await.is_none());

    let imported = format!("east/{}/root", place.namespace("root"));
    let imported = place.core.import(CA, &imported).await.unwrap().unwrap();
    assert_eq!(place.text(&imported, Path::root("root_fingerprint")), root);

    place.destroy(&stored).await;
    assert!(place.secret("east", "cacerts").await.is_none() && place.secret("root", "root").await.is_none());
}

#[tokio::test]
async fn a_root_is_rotated_by_three_plans_and_resumes() {
    let Some(place) = Place::new("ca-rotate").await else { return };
    let config = |number| place.config(&["east", "west"], generation(number));
    let stored = place.settle(&config(1), None).await;
    let old = place.held("east").await;

    let planned = place.plan(&config(2), Some(&stored)).await;
    assert!(planned.warnings.to_string().contains("step 1 of 3: widen trust"), "{}", planned.warnings);
    let widened = place.apply(planned).await;
    assert_eq!(place.phase(&widened), "trust-widened");
    for name in ["east", "west"] {
        let held = place.held(name).await;
        assert_eq!((held.issuer, held.roots.len()), (old.issuer.clone(), 2));
    }

    // West goes down: whatever comes after widening waits for it, and says so.
    let waiting = place.plan_without(&["west"], &config(2), Some(&widened)).await;
    let words = waiting.warnings.to_string();
    assert!(words.contains("A cluster is down") && words.contains("west"), "{words}");
    assert_eq!(place.held("east").await.issuer, old.issuer);

    let switched = place.apply(place.plan(&config(2), Some(&widened)).await).await;
    assert_eq!(place.phase(&switched), "issuers-switched");
    let new = place.held("east").await;
    assert_ne!(new.issuer, old.issuer);
    assert_eq!(new.roots, Bundle::from_iter([old.issuer.clone(), new.issuer.clone()]));

    let narrowed = place.settle(&config(2), Some(&switched)).await;
    assert_eq!(place.phase(&narrowed), "settled");
    for name in ["east", "west"] {
        assert_eq!(place.held(name).await.roots, Bundle::from_iter([new.issuer.clone()]));
    }
    let store = place.secret("root", "root").await.unwrap();
    assert_eq!(
        store.strings("data").into_keys().collect::<Vec<_>>(),
        ["root-2.crt", "root-2.key"],
        "the old key is gone"
    );
    place.destroy(&narrowed).await;
}

/// Where the configuration says nothing of a pause, it follows from what the istiods there may have issued.
#[tokio::test]
async fn a_rotation_waits_for_the_longest_certificate_that_an_istiod_issued() {
    let Some(place) = Place::new("ca-pause").await else { return };
    let unsaid = |number| {
        let mut config = place.config(&["east", "west"], generation(number));
        config.as_object_mut().unwrap().remove("rotation_pause");
        config
    };
    let stored = place.settle(&unsaid(1), None).await;
    let env = json!([
        { "name": "ISTIO_MULTIROOT_MESH", "value": "true" },
        { "name": "DEFAULT_WORKLOAD_CERT_TTL", "value": "72h" },
    ]);
    let labels = json!({ "app": "istiod" });
    let containers = json!([{ "name": "discovery", "image": "istiod", "env": env }]);
    let template = json!({ "metadata": { "labels": labels }, "spec": { "containers": containers } });
    let istiod = ObjectRef::namespaced(Kind::DEPLOYMENT, place.namespace("west"), "istiod");
    let body = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "istiod", "labels": labels },
        "spec": { "replicas": 0, "selector": { "matchLabels": labels }, "template": template },
    });
    place.as_somebody("helm", &istiod, "application/apply-patch+yaml", &body).await;

    let widened = place.apply(place.plan(&unsaid(2), Some(&stored)).await).await;
    assert_eq!(place.phase(&widened), "trust-widened");
    let waiting = place.plan(&unsaid(2), Some(&widened)).await;
    let words = waiting.warnings.to_string();
    assert!(words.contains("step 2 waits") && words.contains(" comes 3d later"), "{words}");
    assert_eq!(waiting.action, Action::Nothing);
    // What istiod has issued once is still in use when it is told to issue for less: the apply knows it, and so does a
    // refresh that is kept.
    let (known, _) = place.core.refresh_told(CA, &widened).await.unwrap();
    let known = known.expect("it is there");
    let cut = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "discovery", "env": [{ "name": "DEFAULT_WORKLOAD_CERT_TTL", "value": "1h" }] }] } } } });
    place.as_somebody("kubectl", &istiod, "application/strategic-merge-patch+json", &cut).await;
    for (kept, by) in [(&widened, "the apply"), (&known, "a refresh")] {
        let (seen, _) = place.core.refresh_told(CA, kept).await.unwrap();
        let waiting = place.plan(&unsaid(2), seen.as_ref()).await;
        assert!(waiting.warnings.to_string().contains(" comes 3d later"), "kept by {by}: {}", waiting.warnings);
    }
    // Who says a pause has said it.
    let switched = place.apply(place.plan(&place.config(&["east", "west"], generation(2)), Some(&widened)).await).await;
    assert_eq!(place.phase(&switched), "issuers-switched");
    place.destroy(&switched).await;
}

#[tokio::test]
async fn a_rotation_turns_back() {
    let Some(place) = Place::new("ca-back").await else { return };
    let config = |number| place.config(&["east", "west"], generation(number));
    let stored = place.settle(&config(1), None).await;
    let old = place.held("east").await.issuer;
    let widened = place.apply(place.plan(&config(2), Some(&stored)).await).await;
    let switched = place.apply(place.plan(&config(2), Some(&widened)).await).await;
    let back = place.apply(place.plan(&config(1), Some(&switched)).await).await;
    assert_eq!(place.phase(&back), "issuers-switched");
    assert_eq!(place.held("west").await.issuer, old);
    let settled = place.settle(&config(1), Some(&back)).await;
    assert_eq!((place.phase(&settled), place.held("east").await.roots.len()), ("settled".to_owned(), 1));
    place.destroy(&settled).await;
}

#[tokio::test]
async fn certificates_are_renewed_by_date_and_on_request() {
    let Some(place) = Place::new("ca-renew").await else { return };
    let soon = json!({ "intermediate": { "validity": "100h", "renew_before": "99h59m57s" } });
    let config = place.config(&["east"], soon);
    let stored = place.apply(place.plan(&config, None).await).await;
    let before = place.held("east").await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let planned = place.plan(&config, Some(&stored)).await;
    assert_eq!(planned.action, Action::Update);
    let renewed = place.apply(planned).await;
    let after = place.held("east").await;
    assert_ne!(after.intermediate, before.intermediate);
    assert_eq!(after.issuer, before.issuer, "the root stays");

    let namespace = place.namespace("east");
    let again = json!({ "intermediate": null, "clusters": { "east": { "generation": 2, "namespace": namespace } } });
    let config = place.config(&["east"], again);
    let asked = place.settle(&config, Some(&renewed)).await;
    assert_ne!(place.held("east").await.intermediate, after.intermediate);
    place.destroy(&asked).await;
}

#[tokio::test]
async fn what_was_deleted_or_spoilt_is_put_back() {
    let Some(place) = Place::new("ca-repair").await else { return };
    let config = place.config(&["east", "west"], json!({}));
    let stored = place.settle(&config, None).await;
    let cacerts = |name: &str| ObjectRef::namespaced(Kind::SECRET, place.namespace(name), "cacerts");
    place.api.delete(&Delete::new(cacerts("east"))).await.unwrap();
    let west = place.held("west").await;
    let repaired = place.settle(&config, Some(&stored)).await;
    assert_eq!(place.held("east").await.issuer, west.issuer);
    assert_eq!(place.held("west").await.intermediate, west.intermediate);
    place.destroy(&repaired).await;
}

#[tokio::test]
async fn a_foreign_secret_is_refused_and_adopted_on_request() {
    let Some(place) = Place::new("ca-adopt").await else { return };
    // Somebody's cacerts, of a root of their own.
    let made_before = place.settle(&place.config(&["east"], json!({})), None).await;
    let theirs = place.held("east").await;
    let secret = place.secret("east", "cacerts").await.unwrap();
    let (data, namespace) = (secret.get("data").unwrap().clone(), place.namespace("west"));
    let foreign = ObjectRef::namespaced(Kind::SECRET, &namespace, "cacerts");
    let home = Object::of(&ObjectRef::cluster(Kind::NAMESPACE, &namespace));
    place.api.apply(Apply::shared(home)).await.unwrap();
    place.api.apply(Apply::shared(Object::of(&foreign).with("data", data))).await.unwrap();

    let root = theirs.issuer.to_pem();
    let own = json!({ "root": { "store": null, "certificate": root, "private_key_wo": null } });
    let config = place.config(&["west"], own.clone());
    let planned = place.plan(&config, None).await;
    let refused = place.core.apply(CA, planned).await.diagnostics.to_string();
    assert!(refused.contains("The Secret cacerts exists already (clusters[\"west\"])"), "{refused}");
    let leases = async |name: &str| {
        let ours = Query::of(Kind::LEASE).namespace(place.namespace(name)).selector("terraform-provider-mesh/owner");
        place.api.list_now(&ours).await.unwrap().iter().map(|lease| lease.name().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(leases("west").await, [""; 0], "a create that wrote nothing leaves its Lease");
    // With a root of its own, in a namespace that nobody else has.
    let fresh =
        json!({ "root": { "store": { "cluster": "east", "namespace": place.namespace("fresh"), "name": "root" } } });
    let refused = place.core.apply(CA, place.plan(&place.config(&["west"], fresh), None).await).await;
    assert!(refused.stored.is_none() && refused.diagnostics.to_string().contains("exists already"));
    let made = place.api.get(&ObjectRef::cluster(Kind::NAMESPACE, place.namespace("fresh"))).await.unwrap();
    assert!(made.is_none_or(|namespace| namespace.is_terminating()), "the namespace of a create that wrote nothing");

    let mut adopting = own;
    merge(&mut adopting, json!({ "adopt": true }));
    let adopted = place.settle(&place.config(&["west"], adopting), None).await;
    assert_eq!(place.held("west").await.intermediate, theirs.intermediate, "it stays in use");
    place.destroy(&adopted).await;
    place.destroy(&made_before).await;
}

#[tokio::test]
async fn no_key_is_anywhere_but_in_its_secret() {
    let Some(place) = Place::new("ca-keys").await else { return };
    let config = |number| place.config(&["east", "west"], generation(number));
    let mut texts = Vec::new();
    let mut stored: Option<Stored> = None;
    let mut keys = Vec::new();
    for number in [1, 2, 2, 2] {
        let planned = place.plan(&config(number), stored.as_ref()).await;
        texts.push(format!("{:?} {:?} {}", planned.planned, planned.private, planned.warnings));
        texts.push(String::from_utf8_lossy(&planned.private).into_owned());
        let next = place.apply(planned).await;
        texts.push(next.json.clone());
        texts.push(String::from_utf8_lossy(&next.private).into_owned());
        keys.extend(place.keys().await);
        stored = Some(next);
    }
    for key in &keys {
        assert!(
            !texts.iter().any(|text| text.contains(key.as_str())),
            "a line of a private key is in state, plan or private data"
        );
    }
    place.destroy(&stored.unwrap()).await;
}
