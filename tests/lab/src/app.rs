//! The application of a pod: it says who it is and what it was asked, over HTTP and over TCP.
//!
//! It listens behind the pod's proxy, on the pod's loopback address, where a `Sidecar` object sends what comes in.

use std::convert::Infallible;
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::fabric::Fabric;
use crate::proxy::blocking;

/// Where it listens for HTTP and for TCP.
pub(crate) const HTTP: u16 = 18080;
pub(crate) const TCP: u16 = 19000;

/// What it says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    pub cluster: String,
    pub pod: String,
}

pub(crate) async fn start(fabric: Arc<Fabric>, pod: String, who: Who) -> std::io::Result<()> {
    let carrier = fabric.clone();
    let listen = move |port: u16| {
        let (fabric, pod) = (fabric.clone(), pod.clone());
        async move {
            let listener = blocking(move || fabric.listen(&pod, &format!("127.0.0.1:{port}"))).await?;
            listener.set_nonblocking(true)?;
            Ok::<_, std::io::Error>(listener)
        }
    };
    let (http, tcp) = (listen(HTTP).await?, listen(TCP).await?);
    let (asked, greeted) = (who.clone(), who);
    carrier.carry(async move {
        let Ok(http) = TcpListener::from_std(http) else { return };
        while let Ok((stream, _)) = http.accept().await {
            let who = asked.clone();
            let service = service_fn(move |request| answer(who.clone(), request));
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    carrier.carry(async move {
        let Ok(tcp) = TcpListener::from_std(tcp) else { return };
        while let Ok((stream, _)) = tcp.accept().await {
            tokio::spawn(greet(stream, greeted.clone()));
        }
    });
    Ok(())
}

async fn answer(who: Who, request: http::Request<Incoming>) -> Result<http::Response<Full<Bytes>>, Infallible> {
    let headers: serde_json::Map<String, serde_json::Value> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), json!(String::from_utf8_lossy(value.as_bytes()))))
        .collect();
    let body = json!({ "cluster": who.cluster, "pod": who.pod, "headers": headers });
    Ok(http::Response::new(Full::from(body.to_string())))
}

/// Some bytes, and who has read them: one exchange a connection.
async fn greet(mut stream: TcpStream, who: Who) -> std::io::Result<()> {
    let mut word = [0; 64];
    if stream.read(&mut word).await? > 0 {
        stream.write_all(format!("{}/{}\n", who.cluster, who.pod).as_bytes()).await?;
    }
    stream.shutdown().await
}
