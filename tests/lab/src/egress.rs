//! The way from an API server into its cluster's network.
//!
//! kube-apiserver sends what is meant for pods and nodes through an HTTP proxy when an egress selector
//! says so. That proxy is here: it joins `CONNECT <pod or node>:<port>` to the process that stands there,
//! so that webhooks and port-forward work without routes, containers or root.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::control_plane::Layout;
use crate::error::{Error, Result};
use crate::fabric::Fabric;
use crate::lab::Routes;
use crate::network::{Network, join};
use crate::proxy::blocking;

pub(crate) async fn serve(listener: UnixListener, cluster: usize, network: Arc<Network>) {
    while let Ok((stream, _)) = listener.accept().await {
        let network = network.clone();
        tokio::spawn(async move { connect(stream, cluster, &network).await });
    }
}

/// What a `CONNECT` asks for. None where the caller left before it had said so.
async fn target(stream: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<Option<String>> {
    let (mut first, mut line) = (String::new(), String::new());
    stream.read_line(&mut first).await?;
    while line != "\r\n" {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(first.split(' ').nth(1).unwrap_or_default().to_owned()))
}

async fn connect(stream: UnixStream, cluster: usize, network: &Network) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let Some(target) = target(&mut stream).await? else { return Ok(()) };
    let (host, port) = target.rsplit_once(':').unwrap_or((&target, ""));
    let port = port.parse().unwrap_or(0);
    let Some(local) = network.resolve(cluster, host.trim_matches(['[', ']']), port) else {
        return stream.write_all(b"HTTP/1.1 502 Nothing of the lab stands at that address\r\n\r\n").await;
    };
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    join(stream, local).await
}

/// Opens the way of a cluster's istiods, which are processes of this machine, into the pods' network: an HTTP proxy
/// that dials as a pod of the cluster does, and reaches no more. Loopback addresses are not asked of it. Its URL.
pub(crate) async fn open_to_istiods(layout: &Layout, fabric: Arc<Fabric>, ip: &str, routes: &Routes) -> Result<String> {
    let failed = || Error::file("open a way into", Path::new("the pods' network"));
    let (pod, reached) = (format!("{}/istiods", layout.name), routes.of(layout.index, None));
    let (maker, name, ip) = (fabric.clone(), pod.clone(), ip.to_owned());
    blocking(move || maker.add_pod(&name, &ip, &reached)).await.map_err(failed())?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed())?;
    let at = listener.local_addr().map_err(failed())?;
    tokio::spawn(serve_istiods(listener, fabric, pod));
    Ok(format!("http://{at}"))
}

async fn serve_istiods(listener: TcpListener, fabric: Arc<Fabric>, pod: String) {
    while let Ok((stream, _)) = listener.accept().await {
        let (fabric, pod) = (fabric.clone(), pod.clone());
        tokio::spawn(async move { dial_out(stream, fabric, pod).await });
    }
}

async fn dial_out(stream: TcpStream, fabric: Arc<Fabric>, pod: String) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let Some(target) = target(&mut stream).await? else { return Ok(()) };
    let dialled = blocking(move || fabric.connect(&pod, &target, Duration::from_secs(3))).await;
    let Ok(to) = dialled else {
        return stream.write_all(b"HTTP/1.1 502 A pod does not reach that address\r\n\r\n").await;
    };
    to.set_nonblocking(true)?;
    let mut to = TcpStream::from_std(to)?;
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    tokio::io::copy_bidirectional(&mut stream, &mut to).await.map(|_| ())
}

/// Pods that have a network of their own, and what the names there of this cluster's begin with.
#[derive(Clone)]
pub(crate) struct Inside {
    pub fabric: Arc<Fabric>,
    pub cluster: String,
}

/// Answers the kubelet program: where a pod's port is, what its process printed, and which program it is.
pub(crate) async fn serve_kubelet(
    listener: TcpListener,
    cluster: usize,
    network: Arc<Network>,
    inside: Option<Inside>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let (network, inside) = (network.clone(), inside.clone());
        tokio::spawn(async move { answer_kubelet(stream, cluster, &network, inside).await });
    }
}

/// A port of a pod that has a network of its own, from its own loopback address, as a kubelet dials it.
async fn dial(inside: Inside, namespace: &str, pod: &str, port: &str) -> std::io::Result<TcpStream> {
    let (name, address) = (format!("{}/{namespace}/{pod}", inside.cluster), format!("127.0.0.1:{port}"));
    let stream = blocking(move || inside.fabric.connect(&name, &address, Duration::from_secs(3))).await?;
    stream.set_nonblocking(true)?;
    TcpStream::from_std(stream)
}

async fn answer_kubelet(
    stream: TcpStream,
    cluster: usize,
    network: &Network,
    inside: Option<Inside>,
) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let mut question = String::new();
    (&mut stream).take(1024).read_line(&mut question).await?;
    let words: Vec<&str> = question.split_whitespace().collect();
    let [action, namespace, pod, ..] = words.as_slice() else { return Ok(()) };
    let is_real = |_: &Inside| {
        let mut real = network.proxies(cluster).into_iter();
        *action != "logs" && *action != "program" && real.any(|real| real.namespace == *namespace && real.name == *pod)
    };
    if let Some(inside) = inside.filter(is_real) {
        let port = words.get(3).copied().unwrap_or_default();
        return match dial(inside, namespace, pod, port).await {
            Err(error) => stream.write_all(format!("port {port} of {namespace}/{pod}: {error}\n").as_bytes()).await,
            Ok(mut to) => {
                to.set_nodelay(true)?;
                stream.write_all(b"ok\n").await?;
                tokio::io::copy_bidirectional(&mut stream, &mut to).await.map(|_| ())
            }
        };
    }
    let Some(process) = network.pod(cluster, namespace, pod) else {
        return stream.write_all(format!("pod {namespace}/{pod} has no process in the lab\n").as_bytes()).await;
    };
    if *action == "logs" {
        let log = process.log.and_then(|file| std::fs::read(file).ok()).unwrap_or_default();
        stream.write_all(b"ok\n").await?;
        return stream.write_all(&log).await;
    }
    if *action == "program" {
        let program = process.program.unwrap_or_default();
        return stream.write_all(format!("ok\n{}", program.display()).as_bytes()).await;
    }
    let port: u16 = words.get(3).and_then(|text| text.parse().ok()).unwrap_or(0);
    let Some(local) = process.ports.get(&port) else {
        return stream.write_all(format!("nothing listens on port {port} of {namespace}/{pod}\n").as_bytes()).await;
    };
    match TcpStream::connect(("127.0.0.1", *local)).await {
        Err(error) => stream.write_all(format!("port {port} of {namespace}/{pod}: {error}\n").as_bytes()).await,
        Ok(mut to) => {
            to.set_nodelay(true)?;
            stream.write_all(b"ok\n").await?;
            tokio::io::copy_bidirectional(&mut stream, &mut to).await.map(|_| ())
        }
    }
}
