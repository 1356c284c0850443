//! `mesh_ca` over two real API servers: its Lease stays in one place, whichever of its Secrets an import names and
//! whatever root it has later; and the key of a root that nobody uses any more goes.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use lab::{Cluster, Fault, Lab, Options};
use serde_json::{Value as Json, json};
use terraform_provider_mesh::provider::Mesh;
use terraform_provider_mesh::resources::registry;

use crate::ca_found::Root;
use crate::ca_lifecycle::CA;
use crate::support::core::{Action, Applied, Core, Planned, Stored};

const MARK: &str = "terraform-provider-mesh/instance";
const OLD_KEY: &str = "The key of an old root is still kept";
const STORE: [&str; 4] = ["-n", "mesh-root-ca", "secret", "mesh-root-ca"];

struct Two {
    lab: Lab,
    core: Core,
}

impl Two {
    async fn start() -> Two {
        let options = Options { istiod: false, ..Options::default() };
        let start = || Lab::start(&["east", "west"], options).expect("two clusters");
        let lab = tokio::task::spawn_blocking(start).await.expect("a lab");
        let core = Core::new(Mesh, registry(), json!({})).await.expect("the provider can be configured");
        Two { lab, core }
    }

    fn cluster(&self, name: &str) -> &Arc<Cluster> {
        self.lab.cluster(name)
    }

    /// What every run of terraform begins with.
    async fn again(&self) {
        self.with(&[("east", true), ("west", true)]).await;
    }

    /// The same with these clusters, some of which do not answer.
    async fn with(&self, clusters: &[(&str, bool)]) {
        let entry = |(name, answers): &(&str, bool)| {
            let entry = match answers {
                true => json!({"config_path": self.cluster(name).kubeconfig_path()}),
                false => json!({"host": "https://127.0.0.1:1", "insecure": true}),
            };
            ((*name).to_owned(), entry)
        };
        let clusters: serde_json::Map<String, Json> = clusters.iter().map(entry).collect();
        self.core.configure(json!({"clusters": clusters})).await.expect("the provider can be configured");
    }

    /// Applies with these clusters.
    async fn apply_with(&self, clusters: &[(&str, bool)], config: Option<&Json>, stored: &Stored) -> Applied {
        self.with(clusters).await;
        let planned = self.core.plan(CA, config.cloned(), Some(stored)).await;
        let applied = self.core.apply(CA, planned.unwrap_or_else(|errors| panic!("{errors}"))).await;
        assert!(!applied.diagnostics.has_errors(), "{}", applied.diagnostics);
        applied
    }

    async fn plan(&self, config: Option<&Json>, stored: Option<&Stored>) -> Planned {
        self.again().await;
        self.core.plan(CA, config.cloned(), stored).await.unwrap_or_else(|errors| panic!("{errors}"))
    }

    async fn apply(&self, config: &Json, stored: Option<&Stored>) -> (Stored, String) {
        let planned = self.plan(Some(config), stored).await;
        let applied = self.core.apply(CA, planned).await;
        assert!(!applied.diagnostics.has_errors(), "{}", applied.diagnostics);
        (applied.stored.expect("a state"), applied.diagnostics.to_string())
    }

    async fn settled(&self, config: &Json, stored: &Stored) {
        let planned = self.plan(Some(config), Some(stored)).await;
        assert_eq!(planned.action, Action::Nothing, "{:?}", planned.planned);
    }

    /// Applies until nothing is left to do.
    async fn rotated(&self, config: &Json, mut stored: Stored) -> Stored {
        for _ in 0..4 {
            if self.plan(Some(config), Some(&stored)).await.action == Action::Nothing {
                break;
            }
            (stored, _) = self.apply(config, Some(&stored)).await;
        }
        self.settled(config, &stored).await;
        stored
    }

    async fn destroy(&self, stored: &Stored) {
        let planned = self.plan(None, Some(stored)).await;
        let gone = self.core.apply(CA, planned).await;
        assert!(gone.stored.is_none() && !gone.diagnostics.has_errors(), "{}", gone.diagnostics);
        assert_eq!(self.leases(), BTreeMap::new(), "{}", gone.diagnostics);
        for name in ["east", "west"] {
            for namespace in ["istio-system", "mesh-root-ca"] {
                let left = self.cluster(name).get(&["namespace", namespace]).expect("kubectl");
                assert!(left.is_none(), "{namespace} of {name}: {}", gone.diagnostics);
            }
        }
    }

    /// All Leases of the provider, by cluster, namespace and name, with the marks they carry.
    fn leases(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for name in ["east", "west"] {
            let list = self.cluster(name).get(&["-A", "leases", "-l", "terraform-provider-mesh/owner"]);
            let list = list.expect("kubectl").unwrap_or_default();
            for lease in list["items"].as_array().into_iter().flatten() {
                let text = |path: &str| lease.pointer(path).and_then(Json::as_str).unwrap_or_default();
                let place = format!("{name}/{}/{}", text("/metadata/namespace"), text("/metadata/name"));
                let mark = lease["metadata"]["annotations"][MARK].as_str().unwrap_or_default();
                found.insert(place, mark.to_owned());
            }
        }
        found
    }

    fn has_store(&self) -> bool {
        self.cluster("west").get(&STORE).expect("kubectl").is_some()
    }

    /// A value of the store's Secret.
    fn stored(&self, key: &str) -> String {
        let secret = self.cluster("west").get(&STORE).expect("kubectl").expect("the store");
        let encoded = secret["data"][key].as_str().expect("the key");
        String::from_utf8(BASE64_STANDARD.decode(encoded).expect("base64")).expect("text")
    }
}

fn kept_in_west(generation: i64) -> Json {
    json!({"root": {"store": {"cluster": "west"}, "generation": generation}, "clusters": {"east": {}, "west": {}}, "rotation_pause": "0s"})
}

fn brought(certificate: &str, key: &str) -> Json {
    json!({"root": {"certificate": certificate, "private_key_wo": key}, "clusters": {"east": {}, "west": {}}, "rotation_pause": "0s"})
}

fn of(root: &Root) -> Json {
    brought(&root.certificate.to_pem(), &root.key.to_pem())
}

fn attribute(stored: &Stored, name: &str) -> String {
    let state: Json = serde_json::from_str(&stored.json).expect("JSON");
    state[name].as_str().unwrap_or_default().to_owned()
}

/// Its first cluster is east; it is imported by west's Secret, and by a state that a core has kept no private data of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ca_that_is_imported_by_any_of_its_clusters_keeps_its_lease() {
    let two = Two::start().await;
    let config = of(&Root::new("Ours"));
    let (made, _) = two.apply(&config, None).await;
    let leases = BTreeMap::from([("east/istio-system/mesh-ca.brought".to_owned(), attribute(&made, "instance"))]);
    assert_eq!(two.leases(), leases);

    two.again().await;
    let imported = two.core.import(CA, "west/istio-system/cacerts").await.expect("an import").expect("it is there");
    assert_eq!(attribute(&imported, "instance"), attribute(&made, "instance"));
    let (stored, told) = two.apply(&config, Some(&imported)).await;
    assert_eq!(two.leases(), leases, "{told}");
    two.settled(&config, &stored).await;

    let mut renewed = config.clone();
    renewed["clusters"]["west"]["generation"] = json!(2);
    let forgotten = Stored { private: Vec::new(), ..stored };
    let (stored, told) = two.apply(&renewed, Some(&forgotten)).await;
    assert_eq!(two.leases(), leases, "{told}");
    two.settled(&renewed, &stored).await;
    two.destroy(&stored).await;
}

/// From a generated root to a brought one, and back: the Secret of the old root is kept while any cluster trusts it,
/// and then goes, also where the deletion was refused at first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_of_a_generated_root_goes_when_no_cluster_trusts_it() {
    let two = Two::start().await;
    let (made, _) = two.apply(&kept_in_west(1), None).await;
    let leases = BTreeMap::from([(
        "west/mesh-root-ca/mesh-ca.mesh-root-ca.mesh-root-ca".to_owned(),
        attribute(&made, "instance"),
    )]);
    let config = of(&Root::new("Ours"));

    // A rotation that has begun may end on another root of the store, which is this CA's still.
    let (mut stored, _) = two.apply(&config, Some(&made)).await;
    stored = two.rotated(&kept_in_west(2), stored).await;
    for _ in ["widen trust", "switch issuers"] {
        let told = two.plan(Some(&config), Some(&stored)).await.warnings.to_string();
        assert!(told.contains(OLD_KEY) && told.contains("west/mesh-root-ca/mesh-root-ca"), "{told}");
        (stored, _) = two.apply(&config, Some(&stored)).await;
        assert!(two.has_store(), "a cluster trusts its root");
        assert_eq!(two.leases(), leases);
        // Whoever turns back finds the key where it was.
        let back = two.plan(Some(&kept_in_west(2)), Some(&stored)).await;
        assert_eq!(back.action, Action::Update, "{}", back.warnings);
    }
    // The apply that narrows trust cannot delete it: that is said, and left to the next.
    let refused = Fault::status(403).for_request("DELETE /api/v1/namespaces/mesh-root-ca/secrets/mesh-root-ca");
    two.cluster("west").fault(refused).expect("a fault");
    let (narrowed, told) = two.apply(&config, Some(&stored)).await;
    assert!(two.has_store() && told.contains(OLD_KEY), "{told}");
    two.cluster("west").clear_faults().expect("no fault");
    // A core may have forgotten what is remembered beside state.
    let forgotten = Stored { private: Vec::new(), ..narrowed.clone() };
    for stored in [&forgotten, &narrowed] {
        let planned = two.plan(Some(&config), Some(stored)).await;
        assert_eq!(planned.action, Action::Update, "{}", planned.warnings);
        assert!(planned.warnings.to_string().contains("is deleted"), "{}", planned.warnings);
    }
    let (stored, told) = two.apply(&config, Some(&narrowed)).await;
    assert!(!two.has_store(), "{told}");
    two.settled(&config, &stored).await;
    assert_eq!(two.leases(), leases);
    back_to_a_generated_one(&two, stored).await;
}

/// Its Lease stays as well.
async fn back_to_a_generated_one(two: &Two, mut stored: Stored) {
    let leases = two.leases();
    for _ in 0..3 {
        (stored, _) = two.apply(&kept_in_west(3), Some(&stored)).await;
        assert_eq!(two.leases(), leases);
        assert!(two.has_store());
    }
    two.settled(&kept_in_west(3), &stored).await;
    two.destroy(&stored).await;
}

/// A root that was brought first. Its Lease is beside the first `cacerts`, and stays there when the root is generated.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_left_where_its_root_is_in_use_or_somebody_else_has_written_it() {
    let two = Two::start().await;
    let (mut stored, _) = two.apply(&of(&Root::new("Ours")), None).await;
    let leases = two.leases();
    assert_eq!(leases.keys().collect::<Vec<_>>(), ["east/istio-system/mesh-ca.brought"]);
    stored = two.rotated(&kept_in_west(1), stored).await;
    assert_eq!(two.leases(), leases);

    // The very root that is kept, brought: every cluster trusts it, and the Secret has what may be its only key.
    let same = brought(&two.stored("root-1.crt"), &two.stored("root-1.key"));
    let told = two.plan(Some(&same), Some(&stored)).await.warnings.to_string();
    assert!(told.contains(OLD_KEY), "{told}");
    (stored, _) = two.apply(&same, Some(&stored)).await;
    assert!(two.has_store());
    two.settled(&same, &stored).await;
    assert!(two.plan(None, Some(&stored)).await.warnings.to_string().contains("west/mesh-root-ca/mesh-root-ca"));

    // Another root, and meanwhile somebody else has a Secret of that name.
    let west = two.cluster("west");
    west.kubectl(&["-n", "mesh-root-ca", "delete", "secret", "mesh-root-ca"]).expect("kubectl");
    west.kubectl(&["-n", "mesh-root-ca", "create", "secret", "generic", "mesh-root-ca", "--from-literal=a=b"])
        .expect("kubectl");
    let other = of(&Root::new("Other"));
    let mut words = String::new();
    for _ in 0..3 {
        let (next, told) = two.apply(&other, Some(&stored)).await;
        words += &told;
        stored = next;
    }
    assert!(two.has_store() && words.contains("somebody else"), "{words}");
    two.settled(&other, &stored).await;
    west.kubectl(&["delete", "namespace", "mesh-root-ca"]).expect("kubectl");
    two.destroy(&stored).await;
}

/// A create that adopts and ends half-way would be deleted by the next apply, with what it has adopted.
async fn an_adoption_reads_every_cluster_first(two: &Two) {
    let east = two.cluster("east");
    let theirs = ["-n", "istio-system", "secret", "cacerts"];
    east.kubectl(&["create", "namespace", "istio-system"]).expect("kubectl");
    let root = Root::new("Theirs");
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "cacerts", "namespace": "istio-system" },
        "data": root.cacerts(),
    });
    east.apply(&secret.to_string()).expect("kubectl");
    let before = east.get(&theirs).expect("kubectl");
    let mut config = of(&root);
    for takes_over in ["adopt", "migrate_self_signed"] {
        config[takes_over] = json!(true);
        two.with(&[("east", true), ("west", false)]).await;
        let planned = two.core.plan(CA, Some(config.clone()), None).await.unwrap_or_else(|errors| panic!("{errors}"));
        let refused = two.core.apply(CA, planned).await;
        let said = refused.diagnostics.to_string();
        assert!(refused.stored.is_none() && said.contains("Not every cluster could be read"), "{said}");
        assert_eq!((east.get(&theirs).expect("kubectl"), two.leases()), (before.clone(), BTreeMap::new()), "{said}");
    }
    east.kubectl(&["delete", "namespace", "istio-system"]).expect("kubectl");
}

/// The cluster that has its Lease is taken out: one that answers, one that is gone, and one that the provider does not
/// have any more either. Nothing of the CA stays where somebody could remove it, and the CA goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ca_leaves_the_cluster_that_has_its_lease() {
    let two = Two::start().await;
    an_adoption_reads_every_cluster_first(&two).await;
    let both = of(&Root::new("Ours"));
    let only = |name: &str, skips: bool| {
        let mut config = both.clone();
        config["clusters"] = json!({ name: {} });
        config["skip_unreachable_on_destroy"] = json!(skips);
        config
    };
    let lease = |clusters: &[&str], stored: &Stored| -> BTreeMap<String, String> {
        let mark = attribute(stored, "instance");
        clusters.iter().map(|name| (format!("{name}/istio-system/mesh-ca.brought"), mark.clone())).collect()
    };
    let (made, _) = two.apply(&both, None).await;
    assert_eq!(two.leases(), lease(&["east"], &made));
    let (stored, told) = two.apply(&only("west", false), Some(&made)).await;
    assert_eq!(two.leases(), lease(&["west"], &stored), "{told}");
    assert!(two.cluster("east").get(&["namespace", "istio-system"]).expect("kubectl").is_none(), "{told}");
    two.settled(&only("west", false), &stored).await;
    let imported = two.core.import(CA, "west/istio-system/cacerts").await.expect("an import").expect("it is there");
    assert_eq!(attribute(&imported, "instance"), attribute(&made, "instance"));
    let (stored, told) = two.apply(&both, Some(&stored)).await;
    assert_eq!(two.leases(), lease(&["west"], &stored), "it stays where it is: {told}");

    let gone = [("east", true), ("west", false)];
    let left = two.apply_with(&gone, Some(&only("east", true)), &stored).await;
    let told = left.diagnostics.to_string();
    assert!(told.contains("Clusters that cannot be reached were left as they are"), "{told}");
    let stored = left.stored.expect("a state");
    assert_eq!(two.leases(), lease(&["east", "west"], &stored), "nobody could ask west");
    two.settled(&only("east", true), &stored).await;

    let (stored, _) = two.apply(&both, Some(&stored)).await;
    let left = two.apply_with(&[("west", true)], Some(&only("west", true)), &stored).await;
    let told = left.diagnostics.to_string();
    assert!(told.contains("Clusters that cannot be reached were left as they are"), "{told}");
    let stored = left.stored.expect("a state");
    two.settled(&only("west", true), &stored).await;
    two.cluster("east").kubectl(&["delete", "namespace", "istio-system"]).expect("kubectl");
    assert_eq!(two.leases(), lease(&["west"], &stored));

    // A destroy goes on without it too.
    let (stored, _) = two.apply(&only("west", true), Some(&stored)).await;
    let gone = two.apply_with(&[("east", true), ("west", false)], None, &stored).await;
    assert!(gone.stored.is_none(), "{}", gone.diagnostics);
    two.cluster("west").kubectl(&["delete", "namespace", "istio-system"]).expect("kubectl");
}
