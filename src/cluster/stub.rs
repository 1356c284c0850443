//! For tests alone: an API server that answers as a test says, for as long as the test runs.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Cluster, ClusterConfig};

/// A cluster whose API server gives these answers, by method and path: JSON, or the plain text of a string.
pub fn answering(name: &str, answer: impl Fn(&str, &str) -> (u16, Value) + Send + 'static) -> Cluster {
    serving(name, None, move |method, path, _| answer(method, path))
}

/// The same; each answer says this time, and depends also on the body.
pub fn with_clock(
    name: &str,
    time: Timestamp,
    answer: impl Fn(&str, &str, &str) -> (u16, Value) + Send + 'static,
) -> Cluster {
    serving(name, Some(time), answer)
}

fn serving(
    name: &str,
    time: Option<Timestamp>,
    answer: impl Fn(&str, &str, &str) -> (u16, Value) + Send + 'static,
) -> Cluster {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (head, body) = request(&mut stream);
            let mut words = head.split_whitespace();
            let (code, body) = answer(words.next().unwrap_or_default(), words.next().unwrap_or_default(), &body);
            let date = time.map(|time| time.strftime("Date: %a, %d %b %Y %H:%M:%S GMT\r\n").to_string());
            let date = date.unwrap_or_default();
            // An API server says in plain text of a path that it does not serve.
            let body = match body {
                Value::String(text) => text,
                json => json.to_string(),
            };
            let text = format!(
                "HTTP/1.1 {code} X\r\nContent-Type: application/json\r\nConnection: close\r\n{date}Content-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(text.as_bytes());
        }
    });
    Cluster::standalone(name, ClusterConfig { host: Some(host), ..ClusterConfig::default() }, "test")
}

/// Head and body of a request, read to its end: a connection that is closed before would be cut.
fn request(stream: &mut TcpStream) -> (String, String) {
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    loop {
        let length = stream.read(&mut buffer).unwrap_or_default();
        text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            if length == 0 {
                return (text, String::new());
            }
            continue;
        };
        let lower = head.to_ascii_lowercase();
        let announced = lower.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        if length == 0 || body.len() >= announced.unwrap_or(0_usize) {
            return (head.to_owned(), body.to_owned());
        }
    }
}

/// The list of namespaces, by which a cluster is known.
pub fn namespaces(uid: &str) -> (u16, Value) {
    let system = json!({"metadata": {"name": "kube-system", "uid": uid}});
    (200, json!({"kind": "NamespaceList", "apiVersion": "v1", "metadata": {}, "items": [system]}))
}

/// Of an object that is not there.
fn not_found(name: &str) -> (u16, Value) {
    let details = json!({"name": name});
    (404, json!({"kind": "Status", "code": 404, "reason": "NotFound", "message": "not found", "details": details}))
}

pub fn forbidden() -> (u16, Value) {
    (403, json!({"kind": "Status", "code": 403, "reason": "Forbidden", "message": "forbidden"}))
}

/// An API server that serves no kind beside its own, with or without a definition of the Gateways of Istio.
pub fn without_gateways(is_defined: bool) -> Cluster {
    const DEFINITION: &str = "gateways.networking.istio.io";
    answering("east", move |_, path| match path {
        path if path.contains("customresourcedefinitions") => match is_defined {
            true => (
                200,
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": DEFINITION}}),
            ),
            false => not_found(DEFINITION),
        },
        path if path.contains("apiservices") => not_found("v1.networking.istio.io"),
        _ => (404, json!("404 page not found")),
    })
}
