//! One lab cluster for all tests of `cluster`, and a namespace for each.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::Value;
use terraform_provider_mesh::cluster::{
    Apply, Cluster, ClusterConfig, Kind, OWNER_LABEL, Object, ObjectRef, Scope, Secret,
};
use tokio_util::sync::CancellationToken;

/// A handle to the lab's cluster and a namespace of the test's own.
pub struct Place {
    pub lab: Arc<lab::Cluster>,
    pub cluster: Cluster,
    pub namespace: String,
}

/// `None` where there is no lab on this machine, after having said so. Faults that others set are not on the way: the
/// first one cuts every connection, and a request that is sent again counts twice.
pub async fn place(test: &str) -> Option<Place> {
    let lab = tokio::task::spawn_blocking(lab_cluster).await.unwrap()?;
    let config = ClusterConfig {
        host: Some(lab.direct_server()),
        token: Some(Secret::new(lab.token())),
        cluster_ca_certificate: Some(lab.certificate_authority().to_owned()),
        ..ClusterConfig::default()
    };
    Some(place_by(test, lab, config).await)
}

/// The same with the faults of this test, and of others, on the way.
pub async fn place_with_faults(test: &str) -> Option<Place> {
    let lab = tokio::task::spawn_blocking(lab_cluster).await.unwrap()?;
    let config =
        ClusterConfig { config_paths: vec![lab.kubeconfig_path().display().to_string()], ..ClusterConfig::default() };
    Some(place_by(test, lab, config).await)
}

async fn place_by(test: &str, lab: Arc<lab::Cluster>, config: ClusterConfig) -> Place {
    // The version in the user agent tells this test's requests from the others'.
    let cluster = Cluster::standalone("east", config, test);
    let cluster = cluster.within(Scope::lasting(Duration::from_secs(120), CancellationToken::new()));
    let namespace = Object::of(&ObjectRef::cluster(Kind::NAMESPACE, test));
    cluster.apply(Apply::shared(namespace)).await.unwrap();
    Place { lab, cluster, namespace: test.to_owned() }
}

/// The cluster that all tests share which need no istiod.
pub fn lab_cluster() -> Option<Arc<lab::Cluster>> {
    static LAB: OnceLock<Option<lab::Lab>> = OnceLock::new();
    let started = LAB.get_or_init(|| {
        let options = lab::Options { istiod: false, ..lab::Options::default() };
        match lab::Lab::start(&["east"], options) {
            Ok(lab) => Some(lab),
            Err(error) if std::env::var_os("CI").is_none() => {
                println!("skipped: no lab cluster on this machine: {}", lab::describe(&error));
                None
            }
            Err(error) => panic!("no lab cluster on this machine: {}", lab::describe(&error)),
        }
    });
    started.as_ref().map(|lab| lab.cluster("east").clone())
}

impl Place {
    pub fn at(&self, kind: Kind, name: &str) -> ObjectRef {
        ObjectRef::namespaced(kind, &self.namespace, name)
    }

    pub fn config_map(&self, name: &str, data: Value) -> Object {
        Object::of(&self.at(Kind::CONFIG_MAP, name)).with("data", data).with_label(OWNER_LABEL, &self.owner())
    }

    pub fn owner(&self) -> String {
        format!("test.{}", self.namespace)
    }

    /// Shorter than the test's own patience.
    pub fn for_seconds(&self, seconds: u64) -> Cluster {
        self.cluster.within(Scope::lasting(Duration::from_secs(seconds), CancellationToken::new()))
    }

    /// Someone else at work, with a field manager of their own.
    pub async fn other(&self, manager: &str, method: &str, path: &str, body: Value) -> Value {
        let content = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{path}?fieldManager={manager}"))
            .header("content-type", content)
            .body(body.to_string().into_bytes())
            .unwrap();
        self.lab.request(request).await.unwrap()
    }
}
