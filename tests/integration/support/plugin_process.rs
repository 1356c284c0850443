//! The provider as a process, started and talked to as a core does it: magic cookie, handshake line, mutual TLS, gRPC.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{Buf as _, BufMut as _};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, PKCS_ECDSA_P521_SHA512};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder, Streaming};

pub const BINARY: &str = env!("CARGO_BIN_EXE_terraform-provider-mesh");
const COOKIE: (&str, &str) =
    ("TF_PLUGIN_MAGIC_COOKIE", "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2");

/// Who we claim to be: a certificate like the ones both cores make, P-521 and its own authority.
pub struct Identity {
    pub certificate: CertificateDer<'static>,
    pub pem: String,
    key: Vec<u8>,
}

impl Identity {
    pub fn new() -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512).unwrap();
        let mut parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).unwrap();
        Self { certificate: certificate.der().clone(), pem: certificate.pem(), key: key.serialize_der() }
    }

    /// This certificate in the hands of somebody who has not its key.
    pub fn stolen(&self) -> Self {
        Self { key: Self::new().key, certificate: self.certificate.clone(), pem: self.pem.clone() }
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.clone()).into()
    }
}

/// How a peer comes.
#[derive(Clone, Copy)]
pub enum Door<'a> {
    Plain,
    Tls { identity: Option<&'a Identity>, version: &'static SupportedProtocolVersion },
}

pub struct Process {
    pub child: Child,
    pub socket: PathBuf,
    /// The folder that the socket's folder was made in.
    pub folder: tempfile::TempDir,
    server_certificate: Option<CertificateDer<'static>>,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Process {
    /// Starts the binary as a core does and reads its handshake.
    pub fn start(identity: Option<&Identity>, environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(BINARY);
        command.envs(environment.iter().copied());
        Self::start_command(command, identity)
    }

    pub fn start_command(mut command: Command, identity: Option<&Identity>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        command
            .env(COOKIE.0, COOKIE.1)
            .env("PLUGIN_PROTOCOL_VERSIONS", "5,6")
            .env("PLUGIN_UNIX_SOCKET_DIR", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        if let Some(identity) = identity {
            command.env("PLUGIN_CLIENT_CERT", &identity.pem);
        }
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let fields: Vec<_> = line.trim_end_matches('\n').split('|').collect();
        let ["1", "6", "unix", socket, "grpc", certificate] = fields[..] else { panic!("handshake: {line:?}") };
        let server_certificate = (!certificate.is_empty()).then(|| STANDARD_NO_PAD.decode(certificate).unwrap().into());
        Self { child, socket: PathBuf::from(socket), folder, server_certificate, stdout }
    }

    /// A connection that has proved who it is, or why it has none. A refusal under TLS 1.3 shows only in the first
    /// answer, so one is asked for.
    pub async fn connect(&self, door: Door<'_>) -> Result<Client, String> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| error.to_string())?;
        let mut client = match door {
            Door::Plain => Client::new(stream).await?,
            Door::Tls { identity, version } => {
                let connector = tokio_rustls::TlsConnector::from(self.client_config(identity, version));
                let name = ServerName::try_from("localhost").unwrap();
                Client::new(connector.connect(name, stream).await.map_err(|error| error.to_string())?).await?
            }
        };
        let health: tonic_health::pb::HealthCheckResponse = client
            .call("/grpc.health.v1.Health/Check", tonic_health::pb::HealthCheckRequest { service: "plugin".to_owned() })
            .await
            .map_err(|status| status.to_string())?;
        assert_eq!(health.status, tonic_health::pb::health_check_response::ServingStatus::Serving as i32);
        Ok(client)
    }

    fn client_config(
        &self,
        identity: Option<&Identity>,
        version: &'static SupportedProtocolVersion,
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.server_certificate.clone().expect("the provider serves TLS")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        let builder = builder.with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                // Unchecked, because a thief's key does not fit the certificate.
                let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&identity.key()).unwrap();
                let pair = rustls::sign::CertifiedKey::new(vec![identity.certificate.clone()], key);
                builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(pair)))
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(config)
    }

    /// What the process wrote to standard output after its handshake; call it when the process is gone.
    pub fn rest_of_stdout(&mut self) -> String {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        rest
    }

    /// Waits until the process has ended by itself; `None` when it still runs after `limit`.
    pub fn ended_within(&mut self, limit: Duration) -> Option<std::process::ExitStatus> {
        let start = Instant::now();
        while start.elapsed() < limit {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        None
    }

    pub fn signal(&self, signal: &str) {
        send_signal(self.child.id(), signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn send_signal(process: u32, signal: &str) -> bool {
    Command::new("kill").args([signal, &process.to_string()]).stderr(Stdio::null()).status().unwrap().success()
}

/// Folders that a process left in the place its socket was to be.
pub fn left_behind(folder: &Path) -> usize {
    folder.read_dir().unwrap().count()
}

type Service = tower::util::BoxCloneService<http::Request<Body>, http::Response<hyper::body::Incoming>, hyper::Error>;

/// A gRPC client over one connection.
#[derive(Clone)]
pub struct Client(tonic::client::Grpc<Service>);

const LARGEST_MESSAGE: usize = 256 << 20;

impl Client {
    async fn new(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Self, String> {
        let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        let service = tower::service_fn(move |request| {
            let mut sender = sender.clone();
            async move { sender.send_request(request).await }
        });
        let service = Service::new(service);
        let client = tonic::client::Grpc::with_origin(service, http::Uri::from_static("http://localhost"));
        let client = client.max_decoding_message_size(LARGEST_MESSAGE).max_encoding_message_size(LARGEST_MESSAGE);
        Ok(Self(client))
    }

    /// One call of the provider, with the message that its name says.
    pub async fn provider<Q, A>(&mut self, rpc: &str, request: Q) -> A
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        self.call(&format!("/tfplugin6.Provider/{rpc}"), request).await.unwrap()
    }

    pub async fn call<Q, A>(&mut self, path: &str, request: Q) -> Result<A, tonic::Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        self.0.ready().await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
        let codec = tonic_prost::ProstCodec::default();
        let answer = self.0.unary(tonic::Request::new(request), path.parse().unwrap(), codec).await?;
        Ok(answer.into_inner())
    }

    pub async fn stream<Q, A>(&mut self, path: &str, request: Q) -> Result<Streaming<A>, tonic::Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        self.0.ready().await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
        let codec = tonic_prost::ProstCodec::default();
        let answer = self.0.server_streaming(tonic::Request::new(request), path.parse().unwrap(), codec).await?;
        Ok(answer.into_inner())
    }

    pub async fn both_stream<Q, A>(
        &mut self,
        path: &str,
        requests: impl futures::Stream<Item = Q> + Send + 'static,
    ) -> Result<Streaming<A>, tonic::Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        self.0.ready().await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
        let codec = tonic_prost::ProstCodec::default();
        let answer = self.0.streaming(tonic::Request::new(requests), path.parse().unwrap(), codec).await?;
        Ok(answer.into_inner())
    }
}

impl Client {
    /// A call with bytes that need not be a message; the answers' bytes.
    pub async fn raw(&mut self, path: &str, request: Vec<u8>) -> Result<Streaming<Vec<u8>>, tonic::Status> {
        self.0.ready().await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
        let answer = self.0.server_streaming(tonic::Request::new(request), path.parse().unwrap(), Raw).await?;
        Ok(answer.into_inner())
    }
}

/// Messages as the bytes they are.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = tonic::Status;

    fn encode(&mut self, bytes: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), tonic::Status> {
        out.put_slice(&bytes);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = tonic::Status;

    fn decode(&mut self, input: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, tonic::Status> {
        Ok(Some(input.copy_to_bytes(input.remaining()).to_vec()))
    }
}
