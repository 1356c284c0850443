//! Port-forward through a true API server and kubelet to a pod's port.

use std::time::Duration;

use serde_json::json;
use terraform_provider_mesh::cluster::{Apply, Kind, Object, PodPort, wait};
use terraform_provider_mesh::istiod::{Istiod, Looks};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::cluster_lab::{Place, place};
use crate::cluster_server::{Say, Server};

/// A pod that runs, with a local port standing for its port 15014. The lab leaves pods of istiod to its own kubelet,
/// which this cluster does without: the test says that the pod is ready.
async fn pod(place: &Place, name: &str, local: u16) -> PodPort {
    let account = Object::of(&place.at(Kind::SERVICE_ACCOUNT, "default"));
    place.cluster.apply(Apply::shared(account)).await.unwrap();
    let pod = Object::of(&place.at(Kind::POD, name)).with_label("app", "istiod").with_label("istio.io/rev", "default");
    let pod = pod.with("spec", json!({"containers": [{"name": "discovery", "image": "istiod"}]}));
    let applied = place.cluster.apply(Apply::shared(pod)).await.unwrap();
    let status = json!({"status": {"phase": "Running", "podIP": "10.99.99.9", "conditions": [{"type": "Ready", "status": "True"}]}});
    place.other("kubelet", "PATCH", &format!("{}/status", place.at(Kind::POD, name).path()), status).await;
    let running = place.cluster.wait_applied(&applied, &wait::condition("Ready")).await.unwrap().unwrap();
    place.lab.serve_pod_port(&place.namespace, name, running.str("status.podIP"), 15014, local);
    PodPort { namespace: place.namespace.clone(), pod: name.to_owned(), port: 15014 }
}

#[tokio::test]
async fn a_pods_page_is_read_and_istiod_is_understood() {
    let Some(place) = place("pods-http").await else { return };
    let server = Server::start(|seen, _| match seen.path.as_str() {
        "/debug/clusterz" => Say::Json(
            200,
            json!([{"id": "west", "secretName": "istio-system/istio-remote-secret-west", "syncStatus": "synced"}, {"id": "east", "syncStatus": "synced"}]),
        ),
        _ => Say::Text(404, "not found"),
    })
    .await;
    let port = pod(&place, "istiod-1", server.address.port()).await;
    let before = place.cluster.requests();
    let answer = place.cluster.pod_http_get(&port, "/debug/clusterz").await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(place.cluster.requests() - before, 1);
    assert_eq!(place.cluster.pod_http_get(&port, "/nothing").await.unwrap().status, 404);

    let istiod = Istiod::of(&place.cluster, &place.namespace);
    let views = istiod.clusterz(Some("default")).await.unwrap();
    let (clusters, _) = views[0].clusters.as_ref().unwrap();
    let seen: Vec<String> = clusters
        .iter()
        .map(|cluster| format!("{} {} {}", cluster.id, cluster.secret, cluster.status.as_str()))
        .collect();
    assert_eq!(seen, ["west istio-system/istio-remote-secret-west synced", "east  synced"]);
    let before = place.cluster.requests();
    let looks = Looks::default();
    looks.held(&place.cluster, &place.namespace).await.unwrap();
    looks.held(&place.cluster, &place.namespace).await.unwrap();
    assert_eq!(place.cluster.requests() - before, 1, "one list of pods: the port-forward of before is kept");
    assert!(istiod.clusterz(Some("canary")).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_stream_carries_bytes_both_ways() {
    let Some(place) = place("pods-stream").await else { return };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = pod(&place, "echo", listener.local_addr().unwrap().port()).await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await
    });
    let mut stream = place.cluster.pod_stream(&port).await.unwrap();
    let sent: Vec<u8> = (0..200_000u32).map(|number| number as u8).collect();
    let mut received = vec![0; sent.len()];
    let (mut read, mut write) = tokio::io::split(&mut stream);
    let exchange = async { tokio::join!(write.write_all(&sent), read.read_exact(&mut received)) };
    tokio::time::timeout(Duration::from_secs(120), exchange).await.expect("the echo comes back").1.unwrap();
    assert!(sent == received);
}

#[tokio::test]
async fn a_missing_pod_is_told() {
    let Some(place) = place("pods-missing").await else { return };
    let port = PodPort { namespace: place.namespace.clone(), pod: "nobody".into(), port: 1 };
    let error = place.cluster.pod_http_get(&port, "/").await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert!(error.to_string().contains("pods \"nobody\" not found"), "{error}");
}
