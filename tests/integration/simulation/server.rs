//! The API servers of a fleet, each at an address of its own, served by this one process over TLS and HTTP/2, as the
//! true ones are.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, Request, Response, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::cluster::{Asked, Cluster, Said, metadata_of};
use super::store::Change;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A fleet that is there until it is dropped.
pub struct Fleet {
    pub clusters: Vec<Arc<Cluster>>,
    folder: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Fleet {
    pub fn start(size: usize) -> Fleet {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
        let folder = tempfile::tempdir().expect("a folder");
        let signed = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).expect("a certificate");
        let authority = signed.cert.pem();
        let acceptor = acceptor(&signed);
        let mut clusters = Vec::new();
        for number in 0..size {
            let cluster = Arc::new(Cluster::new(&format!("c{:03}", number + 1), number, &authority));
            let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
            let address = listener.local_addr().expect("an address");
            let kubeconfig = json!({
                "apiVersion": "v1", "kind": "Config", "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "users": [{"name": "u", "user": {"token": "admin"}}],
                "clusters": [{"name": "c", "cluster": {
                    "server": format!("https://{address}"), "certificate-authority-data": STANDARD.encode(&authority),
                }}],
            });
            std::fs::write(folder.path().join(&cluster.name), kubeconfig.to_string()).expect("a kubeconfig");
            runtime.spawn(serve(listener, acceptor.clone(), cluster.clone()));
            clusters.push(cluster);
        }
        Fleet { clusters, folder, _runtime: runtime }
    }

    pub fn kubeconfig(&self, cluster: &Cluster) -> PathBuf {
        self.folder.path().join(&cluster.name)
    }

    /// Requests since this was asked before.
    pub fn take_requests(&self) -> usize {
        self.clusters.iter().map(|cluster| cluster.requests.swap(0, Ordering::Relaxed)).sum()
    }
}

fn acceptor(signed: &rcgen::CertifiedKey<rcgen::KeyPair>) -> TlsAcceptor {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let key = rustls::pki_types::PrivateKeyDer::try_from(signed.signing_key.serialize_der()).expect("a key");
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    let mut config = config.with_single_cert(vec![signed.cert.der().clone()], key).expect("a certificate");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, cluster: Arc<Cluster>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let (acceptor, cluster) = (acceptor.clone(), cluster.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(move |request| {
                let cluster = cluster.clone();
                async move { Ok::<_, Infallible>(answer(&cluster, request).await) }
            });
            let builder = Builder::new(TokioExecutor::new());
            drop(builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await);
        });
    }
}

async fn answer(cluster: &Arc<Cluster>, mut request: Request<Incoming>) -> Response<Body> {
    let upgrade = request.headers().contains_key(header::UPGRADE).then(|| hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    let text = |headers: &HeaderMap, name: header::HeaderName| {
        headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let segments = parts.uri.path().split('/').filter(|segment| !segment.is_empty());
    let pairs = parts.uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let asked = Asked {
        method: parts.method.to_string(),
        path: segments.map(decoded).collect(),
        query: pairs.map(|(name, value)| (name.to_owned(), decoded(value))).collect(),
        accept: text(&parts.headers, header::ACCEPT),
        content_type: text(&parts.headers, header::CONTENT_TYPE),
        body: body.collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default(),
    };
    let json = |code: u16, json: &Json| {
        let body = Full::from(json.to_string()).boxed_unsync();
        Response::builder().status(code).header("content-type", "application/json").body(body).expect("an answer")
    };
    match (cluster.answer(&asked), upgrade) {
        (Said::Json(code, said), _) => json(code, &said),
        (Said::Watch { past, to_come, of, metadata_only }, _) => {
            let line = move |change: &Change| {
                let object = if metadata_only { metadata_of(&change.object) } else { (*change.object).clone() };
                let line = format!("{}\n", json!({"type": change.what, "object": object}));
                Ok::<_, Infallible>(Frame::data(Bytes::from(line)))
            };
            let first: Vec<_> = past.iter().map(line).collect();
            let later = futures::stream::unfold((to_come, of), move |(mut to_come, of)| async move {
                loop {
                    let change = to_come.recv().await.ok()?;
                    if of.has(&change.key, &change.object) {
                        return Some((line(&change), (to_come, of)));
                    }
                }
            });
            let body = StreamBody::new(futures::stream::iter(first).chain(later)).boxed_unsync();
            Response::builder().header("content-type", "application/json").body(body).expect("an answer")
        }
        (Said::Forward, Some(upgrade)) => {
            let cluster = cluster.clone();
            tokio::spawn(async move {
                if let Ok(upgraded) = upgrade.await {
                    // Whoever asks may go at any time.
                    drop(forward(&cluster, TokioIo::new(upgraded)).await);
                }
            });
            let key = text(&parts.headers, header::SEC_WEBSOCKET_KEY);
            let accepts = digest::digest(
                &digest::SHA1_FOR_LEGACY_USE_ONLY,
                format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes(),
            );
            Response::builder()
                .status(101)
                .header(header::UPGRADE, "websocket")
                .header(header::CONNECTION, "Upgrade")
                .header(header::SEC_WEBSOCKET_ACCEPT, STANDARD.encode(accepts))
                .header(header::SEC_WEBSOCKET_PROTOCOL, "v4.channel.k8s.io")
                .body(Full::default().boxed_unsync())
                .expect("an answer")
        }
        (Said::Forward, None) => json(400, &json!({"kind": "Status", "code": 400})),
    }
}

type Stream = TokioIo<hyper::upgrade::Upgraded>;

/// A port of istiod, over a WebSocket in Kubernetes' framing: a byte that names the channel, and data.
async fn forward(cluster: &Cluster, mut stream: Stream) -> std::io::Result<()> {
    // Each of the two channels begins with the port.
    for channel in [0, 1] {
        send(&mut stream, &[&[channel], &15014_u16.to_le_bytes()[..]].concat()).await?;
    }
    let mut asked = Vec::new();
    loop {
        let (opcode, payload) = receive(&mut stream).await?;
        match (opcode, payload.split_first()) {
            (8, _) => return Ok(()),
            (2, Some((0, data))) => asked.extend_from_slice(data),
            _ => {}
        }
        while let Some(end) = asked.windows(4).position(|window| window == b"\r\n\r\n") {
            let head: Vec<u8> = asked.drain(..end + 4).collect();
            let head = String::from_utf8_lossy(&head).into_owned();
            let path = head.split(' ').nth(1).unwrap_or_default();
            let (code, body) = match cluster.debug(path) {
                Some(page) => ("200 OK", page.to_string()),
                None => ("404 Not Found", String::new()),
            };
            let answer = format!(
                "HTTP/1.1 {code}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            send(&mut stream, &[&[0], answer.as_bytes()].concat()).await?;
        }
    }
}

async fn send(stream: &mut Stream, payload: &[u8]) -> std::io::Result<()> {
    let mut frame = vec![0x82];
    match u16::try_from(payload.len()) {
        Ok(length) if length < 126 => frame.push(length as u8),
        Ok(length) => frame.extend([&[126][..], &length.to_be_bytes()].concat()),
        Err(_) => frame.extend([&[127][..], &(payload.len() as u64).to_be_bytes()].concat()),
    }
    frame.extend_from_slice(payload);
    stream.write_all(&frame).await?;
    stream.flush().await
}

/// A frame of a client: its kind and what it carries, unmasked.
async fn receive(stream: &mut Stream) -> std::io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).await?;
    let length = match head[1] & 0x7f {
        126 => u64::from(stream.read_u16().await?),
        127 => stream.read_u64().await?,
        length => u64::from(length),
    };
    let mut mask = [0; 4];
    if head[1] & 0x80 != 0 {
        stream.read_exact(&mut mask).await?;
    }
    let mut payload = vec![0; usize::try_from(length).unwrap_or_default()];
    stream.read_exact(&mut payload).await?;
    payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    Ok((head[0] & 0x0f, payload))
}
