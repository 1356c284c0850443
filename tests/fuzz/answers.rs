//! A server that answers anything, and the client's real way of reading it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{LazyLock, Mutex, OnceLock};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use terraform_provider_mesh::cluster::{Cluster, ClusterConfig, Kind, ObjectRef, Query, Scope};

use super::random::{self, Random};
use super::targets::{live_object, wait};

/// Status, content type and body of the next answers.
static NEXT: Mutex<(u16, &str, Vec<u8>)> = Mutex::new((200, "", Vec::new()));

fn server() -> &'static str {
    static ADDRESS: OnceLock<String> = OnceLock::new();
    ADDRESS.get_or_init(|| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || serve(stream));
            }
        });
        address
    })
}

fn serve(mut stream: TcpStream) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        while !request.windows(4).any(|window| window == b"\r\n\r\n") {
            let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
            request.extend_from_slice(&buffer[..read]);
        }
        request.clear();
        let (status, kind, body) = NEXT.lock().ok()?.clone();
        let head = format!("HTTP/1.1 {status} Odd\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(&[head.as_bytes(), &body].concat()).ok()?;
    }
}

static BODIES: LazyLock<Vec<Json>> = LazyLock::new(|| {
    vec![
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403, "message": "pods is forbidden: User \"a\" cannot list", "details": {"name": "a", "group": "b", "kind": "pods",
        "causes": [{"reason": "FieldManagerConflict", "message": "conflict with \"kubectl\" using apps/v1", "field": ".spec.replicas"}], "retryAfterSeconds": 1}}),
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "v1", "resources": [{"name": "pods", "singularName": "pod", "namespaced": true, "kind": "Pod", "verbs": ["get", "list"]}]}),
        json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1", "continue": ""}, "items": []}),
        json!({"major": "1", "minor": "37", "gitVersion": "v1.37.2"}),
    ]
});

/// The bodies that others than Kubernetes send.
const PAGES: &[&[u8]] = &[
    b"<!DOCTYPE html><html><head><title>Log in</title></head><body><form action=/login></form></body></html>",
    b"404 page not found\n",
    b"default backend - 404",
    b"null",
    b"[]",
    b"\"x\"",
    b"",
    b"{",
    b"upstream connect error or disconnect/reset before headers",
];

pub fn answers(random: &mut Random) {
    let body = match random.below(4) {
        0 => {
            let pages: Vec<Vec<u8>> = PAGES.iter().map(|page| page.to_vec()).collect();
            random::bytes(random, &pages)
        }
        1 => {
            let body = random.pick(&BODIES).clone();
            random::json(random, &body).to_string().into_bytes()
        }
        2 => {
            let items: Vec<Json> = (0..random.below(3)).map(|_| live_object(random)).collect();
            let list = json!({"kind": "DeploymentList", "apiVersion": "apps/v1", "metadata": {}, "items": items});
            random::json(random, &list).to_string().into_bytes()
        }
        _ => live_object(random).to_string().into_bytes(),
    };
    // What is tried again would wait.
    let status = *random.pick(&[200, 200, 200, 201, 400, 401, 403, 404, 405, 406, 409, 410, 415, 422]);
    let kind = *random.pick(&[
        "application/json",
        "application/json",
        "text/html",
        "text/plain; charset=utf-8",
        "application/vnd.kubernetes.protobuf",
        "",
    ]);
    *NEXT.lock().expect("no one panics with it") = (status, kind, body);
    thread_local! {
        static CLUSTER: Cluster = {
            let config = ClusterConfig { host: Some(server().to_owned()), ..ClusterConfig::default() };
            Cluster::standalone("west", config, "0")
        };
    }
    let cluster = CLUSTER.with(Clone::clone);
    let scope = Scope { deadline: Some((Instant::now() + Duration::from_secs(20)).into()), ..Scope::default() };
    let cluster = cluster.within(scope);
    let reference = ObjectRef::namespaced(Kind::DEPLOYMENT, "istio-system", "istiod");
    let told = wait(async {
        match random.below(6) {
            0 => cluster.get(&reference).await.map(drop),
            1 => cluster.list_now(&Query::owned(Kind::DEPLOYMENT, "istio-system")).await.map(drop),
            2 => cluster.version().await.map(drop),
            3 => cluster.kind("example.com/v1", "Odd").await.map(drop),
            4 => cluster.inventory("istio-system", &["Event"]).await.map(drop),
            _ => cluster.get_metadata(&reference).await.map(drop),
        }
    });
    if let Err(error) = told {
        let said = (error.to_string(), error.remedy(), error.is_unreachable(), error.is_not_configured());
        assert!(said.0.len() < 200_000, "{} bytes of error", said.0.len());
    }
}
