//! The way to a cluster: which layer failed, what is sent again, how credentials are renewed, what it costs.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;
use terraform_provider_mesh::cluster::{
    Cluster, ClusterConfig, Clusters, Error, Exec, Failure, Kind, Layer, ObjectRef, PodPort, Query, Scope, Secret,
    TokenRequest, wait,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::cluster_server::{Say, Seen, Server, config_map, status};
use crate::support::best::best_of_three;

fn reference() -> ObjectRef {
    ObjectRef::namespaced(Kind::CONFIG_MAP, "n", "a")
}

fn standalone(config: ClusterConfig) -> Cluster {
    Cluster::standalone("east", config, "0.0.0-test")
}

fn at(host: impl Into<String>) -> ClusterConfig {
    ClusterConfig { host: Some(host.into()), ..ClusterConfig::default() }
}

async fn failure(cluster: &Cluster) -> Error {
    cluster.get(&reference()).await.expect_err("the request fails")
}

#[tokio::test]
async fn making_clusters_does_nothing() {
    let missing = ClusterConfig { config_paths: vec!["/nonexistent/kubeconfig".into()], ..ClusterConfig::default() };
    let clusters = Clusters::new([("east".to_owned(), missing)].into(), "0.0.0-test");
    let east = clusters.cluster("east").unwrap();
    assert_eq!(clusters.requests(), 0);
    assert_eq!(
        clusters.cluster("weast").unwrap_err().to_string(),
        "cluster weast: not among the provider's clusters (east)"
    );
    let error = failure(&east).await;
    assert_eq!(error.layer(), Layer::Configuration);
    assert!(error.is_not_configured());
    assert!(
        error.to_string().starts_with("cluster east: cannot read the kubeconfig /nonexistent/kubeconfig: "),
        "{error}"
    );
}

#[tokio::test]
async fn an_error_names_the_layer() {
    let error = failure(&standalone(at("https://no-such-host.invalid:6443"))).await;
    assert_eq!(error.layer(), Layer::Dns, "{error}");
    assert!(error.is_unreachable());
    assert!(error.to_string().starts_with("cluster east: cannot resolve no-such-host.invalid: "), "{error}");

    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = failure(&standalone(at(format!("https://{closed}")))).await;
    assert_eq!(error.layer(), Layer::Tcp, "{error}");
    assert!(error.is_unreachable());
    assert!(error.to_string().contains(&closed.to_string()), "{error}");

    // Nobody is ready behind a load balancer, or a gateway does not know the server name yet: no certificate is shown.
    let balancer = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = at(format!("https://{}", balancer.local_addr().unwrap()));
    tokio::spawn(async move { while balancer.accept().await.is_ok() {} });
    let error = failure(&standalone(config)).await;
    assert_eq!(error.layer(), Layer::Tcp, "{error}");
    assert!(error.is_unreachable() && error.to_string().contains("during the TLS handshake"), "{error}");

    let server = Server::start_tls(|_, _| config_map("a")).await;
    let stranger = Server::start_tls(|_, _| config_map("a")).await;
    let error =
        failure(&standalone(ClusterConfig { cluster_ca_certificate: stranger.certificate.clone(), ..server.config() }))
            .await;
    assert_eq!(error.layer(), Layer::Tls, "{error}");
    assert!(!error.is_unreachable(), "a wrong CA is no reason to plan without the cluster");
    let error =
        failure(&standalone(ClusterConfig { tls_server_name: Some("other.test".into()), ..server.config() })).await;
    assert_eq!(error.layer(), Layer::Tls, "{error}");
    let named = standalone(ClusterConfig { tls_server_name: Some("api.test".into()), ..server.config() });
    assert!(named.get(&reference()).await.unwrap().is_some());
    let careless = standalone(ClusterConfig { insecure: true, cluster_ca_certificate: None, ..server.config() });
    assert!(careless.get(&reference()).await.unwrap().is_some());
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let server = Server::start(|seen, _| match seen.path.as_str() {
        path if path.contains("/namespaces/unauthorized/") => status(401, "Unauthorized", "Unauthorized"),
        path if path.contains("/namespaces/forbidden/") => status(403, "Forbidden", "configmaps \"a\" is forbidden"),
        path if path.contains("/configmaps/gone") => {
            Say::Json(404, json!({"kind": "Status", "code": 404, "reason": "NotFound", "details": {"name": "gone", "kind": "configmaps"}}))
        }
        path if path.contains("/configmaps/in-no-namespace") => {
            Say::Json(404, json!({"kind": "Status", "code": 404, "reason": "NotFound", "message": "namespaces \"n\" not found", "details": {"name": "n"}}))
        }
        _ => Say::Text(404, "404 page not found\n"),
    })
    .await;
    let cluster = standalone(ClusterConfig { token: Some(Secret::new("very-secret")), ..server.config() });
    let get = async |namespace: &str, name: &str| {
        cluster.get(&ObjectRef::namespaced(Kind::CONFIG_MAP, namespace, name)).await
    };

    let error = get("unauthorized", "a").await.unwrap_err();
    assert_eq!(error.layer(), Layer::Authentication);
    assert_eq!(error.to_string(), "cluster east: the API server does not accept the credential (token): Unauthorized");
    let error = get("forbidden", "a").await.unwrap_err();
    assert_eq!(error.layer(), Layer::Authorization);
    assert!(get("n", "gone").await.unwrap().is_none(), "only this is gone");
    assert!(get("n", "in-no-namespace").await.unwrap_err().is_not_found());
    let error = get("n", "a").await.unwrap_err();
    assert!(error.is_unknown_kind(), "{error}");
    assert!(cluster.list(&Query::of(Kind::ISTIO_GATEWAY)).await.unwrap_err().is_unknown_kind());

    let shown = format!("{cluster:?} {:?} {error:?}", server.config());
    assert!(!shown.contains("very-secret"), "{shown}");
}

#[tokio::test]
async fn what_is_safe_is_sent_again_and_nothing_else() {
    let server = Server::start(|seen, number| match (seen.method.as_str(), number) {
        ("GET", 0) => Say::Later(503, 0),
        ("GET", 1) => Say::Cut,
        ("GET", 2) => Say::Later(429, 1),
        ("GET", 3) => status(500, "InternalError", "etcdserver: leader changed"),
        ("GET", _) => config_map("a"),
        _ => Say::Later(503, 0),
    })
    .await;
    let cluster = server.cluster();
    let started = Instant::now();
    assert!(cluster.get(&reference()).await.unwrap().is_some());
    assert!(started.elapsed() >= Duration::from_secs(1), "Retry-After is kept");
    assert_eq!((server.seen().len(), cluster.requests()), (5, 5));
    assert!(server.seen().iter().all(|seen| seen.user_agent == "terraform-provider-mesh/0.0.0-test"));

    let scoped = cluster.within(Scope::lasting(Duration::from_secs(5), CancellationToken::new()));
    let request = TokenRequest {
        namespace: "n".into(),
        service_account: "a".into(),
        audiences: vec![],
        expires_in: Duration::from_secs(600),
        bound_to: None,
    };
    let error = scoped.request_token(&request).await.unwrap_err();
    assert!(matches!(&error.failure, Failure::Api(status) if status.code == 503), "{error}");
    assert!(server.seen().len() > 6, "a token request stores nothing and is sent again");
}

#[tokio::test]
async fn a_deadline_and_a_cancellation_end_a_request() {
    best_of_three(Duration::from_secs(2), async || {
        let server = Server::start(|_, _| Say::Hang).await;
        let cluster = server.cluster();
        let started = Instant::now();
        let error =
            failure(&cluster.within(Scope::lasting(Duration::from_millis(200), CancellationToken::new()))).await;
        assert_eq!(error.layer(), Layer::Progress, "{error}");

        let cancel = CancellationToken::new();
        let scope = Scope { deadline: None, cancel: cancel.clone() };
        let (error, ()) = tokio::join!(async { failure(&cluster.within(scope)).await }, async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            cancel.cancel();
        });
        assert!(error.is_cancelled(), "{error}");
        started.elapsed()
    })
    .await;
}

#[tokio::test]
async fn a_dead_cluster_costs_all_resources_together_one_contact() {
    best_of_three(Duration::from_secs(2), async || {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let cluster = standalone(at(format!("http://{closed}")));
        let started = Instant::now();
        let errors = join_all((0..40).map(|_| failure(&cluster))).await;
        assert!(errors.iter().all(Error::is_unreachable));
        let took = started.elapsed();
        assert_eq!(cluster.requests(), 3);
        took
    })
    .await;
}

#[tokio::test]
async fn many_requests_share_one_connection_and_are_bounded() {
    let server =
        Server::start_tls(|seen, _| config_map(if seen.version == http::Version::HTTP_2 { "a" } else { "old" })).await;
    let cluster = server.cluster();
    let objects = join_all((0..100).map(|_| async { cluster.get(&reference()).await.unwrap().unwrap() })).await;
    assert!(objects.iter().all(|object| object.name() == "a"), "over HTTP/2");
    assert_eq!(server.connections(), 1);
    assert!((2..=16).contains(&server.busiest()), "{}", server.busiest());
}

#[tokio::test]
async fn a_list_is_asked_for_once() {
    let items = json!([{"metadata": {"name": "a", "namespace": "n"}}]);
    let list = move || Say::Json(200, json!({"apiVersion": "v1", "kind": "SecretList", "items": items}));
    let server = Server::start(move |seen, _| match seen.method.as_str() {
        "DELETE" if seen.path.ends_with("/a") => Say::Json(200, json!({"kind": "Status", "status": "Success"})),
        "DELETE" => {
            let metadata = json!({"name": "b", "namespace": "n", "deletionTimestamp": "2026-01-01T00:00:00Z"});
            Say::Json(200, json!({"kind": "Secret", "metadata": metadata}))
        }
        _ => list(),
    })
    .await;
    let cluster = server.cluster();
    let query = Query::of(Kind::SECRET).label("istio/multiCluster", "true");
    let lists = join_all((0..20).map(|_| cluster.list(&query))).await;
    assert!(lists.iter().all(|list| list.as_ref().unwrap()[0].to_string() == "Secret n/a"));
    assert_eq!(server.seen().len(), 1);
    assert_eq!(server.seen()[0].path, "/api/v1/secrets?labelSelector=istio%2FmultiCluster%3Dtrue&limit=500");

    use terraform_provider_mesh::cluster::Delete;
    cluster.delete(&Delete::new(ObjectRef::namespaced(Kind::SECRET, "n", "a"))).await.unwrap();
    assert!(cluster.list(&query).await.unwrap().is_empty(), "what we deleted, and what the answer says is gone");
    assert_eq!(server.seen().len(), 2, "the list is true but for that");
    cluster.delete(&Delete::new(ObjectRef::namespaced(Kind::SECRET, "n", "b"))).await.unwrap();
    assert_eq!(cluster.list(&query).await.unwrap().len(), 1);
    assert_eq!(server.seen().len(), 4, "after any other write of ours the list is asked for again");
    cluster.forget();
    cluster.list(&query).await.unwrap();
    assert_eq!(server.seen().len(), 5);
}

#[cfg(unix)]
#[tokio::test]
async fn an_exec_credential_is_renewed_when_refused_and_when_it_expires() {
    let folder = tempfile::tempdir().unwrap();
    let count = folder.path().join("count");
    // Each run gives the next token; the first is good for five seconds only, less than the margin.
    let script = format!(
        r#"n=$(($(cat {0} 2>/dev/null || echo 0)+1)); echo $n >{0}
        if [ $n = 1 ]; then e='"2020-01-01T00:00:00Z"'; else e='"2099-01-01T00:00:00Z"'; fi
        printf '{{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{{"token":"t%s","expirationTimestamp":%s}}}}' $n "$e""#,
        count.display()
    );
    let exec = Exec { command: "sh".into(), args: vec!["-c".into(), script], ..Exec::default() };
    let server = Server::start(|seen, _| match seen.authorization.as_str() {
        "Bearer t2" => status(401, "Unauthorized", "token has been revoked"),
        "Bearer t1" | "Bearer t3" => config_map("a"),
        _ => status(500, "Unexpected", "no such token"),
    })
    .await;
    let cluster = standalone(ClusterConfig { exec: Some(exec), ..server.config() });
    let tokens = || server.seen().into_iter().map(|seen: Seen| seen.authorization).collect::<Vec<_>>();
    cluster.get(&reference()).await.unwrap();
    assert_eq!(tokens(), ["Bearer t1"], "used even though it expires at once");
    cluster.get(&reference()).await.unwrap();
    assert_eq!(tokens(), ["Bearer t1", "Bearer t2", "Bearer t3"], "expired, then refused");
    cluster.get(&reference()).await.unwrap();
    assert_eq!(tokens().len(), 4, "held while it is good");

    let failing = Exec {
        command: "sh".into(),
        args: vec!["-c".into(), "echo 'please log in' >&2; exit 1".into()],
        ..Exec::default()
    };
    let error = failure(&standalone(ClusterConfig { exec: Some(failing), ..server.config() })).await;
    assert_eq!(error.layer(), Layer::Credential);
    assert_eq!(error.to_string(), "cluster east: the exec plugin sh failed (exit status: 1): please log in");
}

/// A plugin whose tokens are t1, t2 and so on, and have no end.
#[cfg(unix)]
fn numbered_tokens(count: &std::path::Path) -> Exec {
    let script = format!(
        r#"n=$(($(cat {0} 2>/dev/null || echo 0)+1)); echo $n >{0}
        printf '{{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{{"token":"t%s"}}}}' $n"#,
        count.display()
    );
    Exec { command: "sh".into(), args: vec!["-c".into(), script], ..Exec::default() }
}

/// Watches and port-forwards have ways of their own to the server, and must not be the first to give up.
#[cfg(unix)]
#[tokio::test]
async fn a_watch_and_a_port_forward_are_asked_for_again_with_a_renewed_credential() {
    let folder = tempfile::tempdir().unwrap();
    let count = folder.path().join("count");
    let exec = || numbered_tokens(&count);
    let server = Server::start(|seen, _| {
        let (watches, forwards) = (seen.path.contains("watch=1"), seen.path.contains("/portforward"));
        match seen.authorization.as_str() {
            // What is asked for by ordinary requests is answered with either.
            "Bearer t1" if watches || forwards => status(401, "Unauthorized", "token has expired"),
            _ if watches => Say::Text(200, "{\"type\": \"ADDED\", \"object\": {\"metadata\": {\"name\": \"a\"}}}\n"),
            _ if forwards => status(403, "Forbidden", "pods \"p\" is forbidden"),
            _ => Say::Json(200, json!({"kind": "ConfigMapList", "metadata": {"resourceVersion": "1"}, "items": []})),
        }
    })
    .await;
    let exists = wait::Until::new("to exist", |object| match object {
        Some(_) => wait::Verdict::Ready,
        None => wait::Verdict::pending("it is not there"),
    });
    let cluster = standalone(ClusterConfig { exec: Some(exec()), ..server.config() });
    cluster.wait(&reference(), &exists).await.unwrap();

    std::fs::remove_file(&count).unwrap();
    let cluster = standalone(ClusterConfig { exec: Some(exec()), ..server.config() });
    let port = PodPort { namespace: "n".into(), pod: "p".into(), port: 1 };
    let Err(error) = cluster.pod_stream(&port).await else { panic!("no such Pod") };
    assert_eq!(error.layer(), Layer::Authorization, "{error}: of the second answer, not of the first");
}

/// Of many credentials nobody says when they end, and a long apply outlives several of them.
#[cfg(unix)]
#[tokio::test]
async fn a_credential_without_an_end_is_renewed_whenever_it_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let exec = numbered_tokens(&folder.path().join("count"));
    let used = std::sync::Mutex::new(std::collections::BTreeMap::<String, usize>::new());
    let server = Server::start(move |seen, _| {
        let mut used = used.lock().unwrap();
        let times = used.entry(seen.authorization.clone()).or_default();
        *times += 1;
        // The fifth is refused at once, and what comes after it as well.
        let is_late = ["Bearer t5", "Bearer t6"].contains(&seen.authorization.as_str());
        if *times <= 2 && !is_late { config_map("a") } else { status(401, "Unauthorized", "token has expired") }
    })
    .await;
    let cluster = standalone(ClusterConfig { exec: Some(exec), ..server.config() });
    for request in 1..=8 {
        cluster.get(&reference()).await.unwrap_or_else(|error| panic!("request {request}: {error}"));
    }
    assert_eq!(server.seen().len(), 8 + 3, "three renewals");
    assert_eq!(failure(&cluster).await.layer(), Layer::Authentication);
    let asked = server.seen().len();
    assert_eq!(failure(&cluster).await.layer(), Layer::Authentication);
    assert!(server.seen().len() <= asked + 2, "and none in a circle");
}

#[tokio::test]
async fn a_proxy_is_used_and_its_refusal_is_its_own() {
    let server = Server::start_tls(|_, _| config_map("a")).await;
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = proxy.local_addr().unwrap();
    let target = server.address;
    tokio::spawn(async move {
        loop {
            let (mut client, _) = proxy.accept().await.unwrap();
            let mut request = vec![0; 1024];
            let length = client.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            if !request.starts_with("CONNECT api.test:443 ") || !request.contains("dXNlcjpwQHNz") {
                client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await.unwrap();
                continue;
            }
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            let mut upstream = TcpStream::connect(target).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut upstream).await });
        }
    });
    let through = |proxy_url: String| ClusterConfig {
        host: Some("https://api.test".into()),
        proxy_url: Some(proxy_url),
        ..server.config()
    };
    let cluster = standalone(through(format!("http://user:p%40ss@{address}")));
    assert!(cluster.get(&reference()).await.unwrap().is_some());
    let error = failure(&standalone(through(format!("http://user:wrong@{address}")))).await;
    assert_eq!(error.layer(), Layer::Proxy, "{error}");
    assert!(!error.to_string().contains("wrong"), "{error}");
    assert!(
        error.to_string().contains(&format!("the proxy http://{address} does not connect to api.test:443")),
        "{error}"
    );
}

#[tokio::test]
async fn a_token_can_be_tried_beside_ours() {
    let server = Server::start(|seen, _| match seen.authorization.as_str() {
        "Bearer theirs" => {
            let status = json!({"userInfo": {"username": "system:serviceaccount:n:reader"}});
            Say::Json(201, json!({"kind": "SelfSubjectReview", "status": status}))
        }
        _ => status(401, "Unauthorized", "Unauthorized"),
    })
    .await;
    let cluster = standalone(ClusterConfig { token: Some(Secret::new("ours")), ..server.config() });
    assert_eq!(
        cluster.with_token(Secret::new("theirs")).whoami().await.unwrap().username,
        "system:serviceaccount:n:reader"
    );
    assert_eq!(cluster.whoami().await.unwrap_err().layer(), Layer::Authentication);
}

/// `make fuzz` found that a far end which always has one more page was asked until the time was over.
#[tokio::test]
async fn a_list_without_end_is_an_error_at_once() {
    let page = json!({"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"continue": "more"}, "items": []});
    let server = Server::start(move |_, _| Say::Json(200, page.clone())).await;
    let begun = Instant::now();
    let error = server.cluster().list_now(&Query::owned(Kind::CONFIG_MAP, "n")).await.expect_err("it has no end");
    assert!(error.to_string().contains("the list of configmaps has no end"), "{error}");
    assert!(server.seen().len() <= 3 && begun.elapsed() < Duration::from_secs(10), "{} requests", server.seen().len());
}
