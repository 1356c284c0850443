//! Where the core connects: a Unix socket in a folder only this user can enter, or, on Windows, a port of the
//! loopback address.

use std::io;
use std::ops::RangeInclusive;
#[cfg(unix)]
use std::path::Path;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tonic::transport::server::Connected;

use super::handshake::{Address, Environment};

/// A peer that connects and says nothing is dropped after this; the core's handshake takes milliseconds.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot make a folder for the socket in {}", parent.display())]
    MakeFolder { parent: PathBuf, source: io::Error },
    #[error("cannot listen on {address}")]
    Bind { address: String, source: io::Error },
    #[error("no port between {} and {} of the loopback address is free", ports.start(), ports.end())]
    NoFreePort { ports: RangeInclusive<u16> },
}

/// A place that listens. The socket's folder goes when this does.
pub(super) struct Bound {
    pub(super) listener: Listener,
    pub(super) address: Address,
    #[cfg(unix)]
    _socket: Option<unix::Socket>,
}

pub(super) async fn bind(environment: &Environment) -> Result<Bound, Error> {
    #[cfg(unix)]
    return unix::bind(environment.socket_folder.as_deref());
    #[cfg(not(unix))]
    bind_tcp(environment.ports.clone()).await
}

#[cfg_attr(all(unix, not(test)), allow(dead_code, reason = "Windows listens here; on Unix only a test does"))]
async fn bind_tcp(ports: RangeInclusive<u16>) -> Result<Bound, Error> {
    for port in ports.clone() {
        let address = format!("127.0.0.1:{port}");
        match TcpListener::bind(&address).await {
            Ok(listener) => {
                return Ok(Bound {
                    listener: Listener::Tcp(listener),
                    address: Address { network: "tcp", address },
                    #[cfg(unix)]
                    _socket: None,
                });
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(source) => return Err(Error::Bind { address, source }),
        }
    }
    Err(Error::NoFreePort { ports })
}

/// Removes what plugins that were killed have left: they could not.
pub(super) fn sweep(environment: &Environment) {
    #[cfg(unix)]
    unix::sweep(&environment.socket_folder.clone().unwrap_or_else(std::env::temp_dir));
    #[cfg(not(unix))]
    let _ = environment;
}

pub(super) enum Listener {
    #[cfg(unix)]
    Unix(tokio::net::UnixListener),
    #[cfg_attr(all(unix, not(test)), allow(dead_code, reason = "Windows listens here; on Unix only a test does"))]
    Tcp(TcpListener),
}

impl Listener {
    /// The connections of peers who proved who they are. Each handshake is a task of its own under a limit: accepted
    /// in turn, one silent peer would keep the core out.
    pub(super) fn accept_all(self, tls: Option<Arc<ServerConfig>>) -> impl Stream<Item = io::Result<Connection>> {
        let (accepted, connections) = mpsc::channel(8);
        let acceptor = tls.map(TlsAcceptor::from);
        tokio::spawn(async move {
            while !accepted.is_closed() {
                let Ok(connection) = self.accept().await else {
                    // Out of file descriptors, as a rule: some will be given back.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                };
                let (acceptor, accepted) = (acceptor.clone(), accepted.clone());
                tokio::spawn(async move {
                    let connection = match acceptor {
                        None => connection,
                        Some(acceptor) => {
                            match tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(connection)).await {
                                Ok(Ok(stream)) => Connection::new(stream),
                                Ok(Err(error)) => return tracing::debug!(%error, "a peer was refused"),
                                Err(_) => return tracing::debug!("a peer connected and said nothing"),
                            }
                        }
                    };
                    // An error means that the server is going away, and the connection with it.
                    let _ = accepted.send(Ok(connection)).await;
                });
            }
        });
        tokio_stream::wrappers::ReceiverStream::new(connections)
    }

    async fn accept(&self) -> io::Result<Connection> {
        match self {
            #[cfg(unix)]
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| Connection::new(stream)),
            Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| Connection::new(stream)),
        }
    }
}

#[cfg(unix)]
mod unix {
    use std::fs::DirBuilder;
    use std::os::unix::fs::DirBuilderExt;
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::{Address, Bound, Duration, Error, Listener, Path, PathBuf, io};

    /// `sockaddr_un` has room for 104 bytes on macOS and 108 on Linux, the final zero included.
    const LONGEST_PATH: usize = 103;
    const PREFIX: &str = "tf-mesh-";
    const ABANDONED: Duration = Duration::from_secs(60);

    pub(super) fn bind(parent: Option<&Path>) -> Result<Bound, Error> {
        let socket = Socket(fresh_folder(parent)?.join("socket"));
        let address = Address { network: "unix", address: socket.0.display().to_string() };
        let listener = tokio::net::UnixListener::bind(&socket.0)
            .map_err(|source| Error::Bind { address: address.address.clone(), source })?;
        Ok(Bound { listener: Listener::Unix(listener), address, _socket: Some(socket) })
    }

    /// A folder that did not exist a moment ago and that nobody else may enter.
    fn fresh_folder(parent: Option<&Path>) -> Result<PathBuf, Error> {
        let mut parent = parent.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let name = |attempt: u32| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            format!("{PREFIX}{:x}-{:x}", std::process::id(), now.subsec_nanos().wrapping_add(attempt))
        };
        if parent.join(name(0)).join("socket").as_os_str().len() > LONGEST_PATH {
            parent = PathBuf::from("/tmp");
        }
        let mut attempt = 0;
        loop {
            let folder = parent.join(name(attempt));
            match DirBuilder::new().mode(0o700).create(&folder) {
                Ok(()) => return Ok(folder),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < 100 => attempt += 1,
                Err(source) => return Err(Error::MakeFolder { parent, source }),
            }
        }
    }

    /// A folder whose process is gone and whose socket nobody listens on. Another container may share the folder and
    /// not the processes, so both are asked; and a plugin that has just made its folder has its time.
    pub(super) fn sweep(parent: &Path) {
        let Ok(entries) = std::fs::read_dir(parent) else { return };
        for folder in entries.flatten().map(|entry| entry.path()) {
            let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some(process) = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()) else { continue };
            let Ok(process) = u32::from_str_radix(process, 16) else { continue };
            if Path::new("/proc").join(process.to_string()).exists() || !is_old(&folder) {
                continue;
            }
            let socket = folder.join("socket");
            match std::os::unix::net::UnixStream::connect(&socket) {
                Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {
                    drop(Socket(socket));
                }
                // Somebody listens, or it is somebody else's.
                _ => {}
            }
        }
    }

    fn is_old(folder: &Path) -> bool {
        let made = folder.symlink_metadata().and_then(|metadata| metadata.modified());
        made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age > ABANDONED))
    }

    pub(super) struct Socket(PathBuf);

    impl Drop for Socket {
        fn drop(&mut self) {
            // Nothing is left to do about a folder that cannot be removed.
            let _ = std::fs::remove_file(&self.0);
            if let Some(folder) = self.0.parent() {
                let _ = std::fs::remove_dir(folder);
            }
        }
    }
}

/// A byte stream from a peer, whatever carries it.
pub(super) struct Connection(Pin<Box<dyn Duplex>>);

trait Duplex: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> Duplex for T {}

impl Connection {
    fn new(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        Self(Box::pin(stream))
    }
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.as_mut().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.as_mut().poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tcp_takes_the_first_free_port_of_the_range() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let bound = bind_tcp(port..=port.saturating_add(20)).await.unwrap();
        assert_eq!(bound.address.network, "tcp");
        assert_ne!(bound.address.address, format!("127.0.0.1:{port}"));
        assert!(matches!(bind_tcp(port..=port).await, Err(Error::NoFreePort { .. })));
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn socket_is_in_a_private_folder_that_goes_with_the_listener() {
        use std::os::unix::fs::PermissionsExt;

        let parent = tempfile::tempdir().unwrap();
        let bound = unix::bind(Some(parent.path())).unwrap();
        let socket = PathBuf::from(&bound.address.address);
        let folder = socket.parent().unwrap();
        assert!(folder.starts_with(parent.path()));
        assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        drop(bound);
        assert_eq!(parent.path().read_dir().unwrap().count(), 0);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn what_a_killed_plugin_left_goes_and_what_lives_stays() {
        let parent = tempfile::tempdir().unwrap();
        let bound = unix::bind(Some(parent.path())).unwrap();
        let age = std::time::SystemTime::now() - Duration::from_secs(600);
        let make = |name: &str, age: Option<std::time::SystemTime>| {
            let folder = parent.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            // Binds and closes: the file stays, as after a kill.
            drop(std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap());
            if let Some(age) = age {
                std::fs::File::open(&folder).unwrap().set_modified(age).unwrap();
            }
        };
        // No process has a number beyond 2^22.
        make("tf-mesh-ffffff-1", Some(age));
        make("tf-mesh-fffffe-1", None);
        make("other-ffffff-1", Some(age));
        std::fs::File::open(PathBuf::from(&bound.address.address).parent().unwrap())
            .unwrap()
            .set_modified(age)
            .unwrap();
        unix::sweep(parent.path());
        let mut left: Vec<_> =
            parent.path().read_dir().unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left.len(), 3, "{left:?}");
        assert!(!left.contains(&"tf-mesh-ffffff-1".to_owned()) && left.contains(&"other-ffffff-1".to_owned()));
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn long_folder_name_does_not_break_the_socket() {
        let parent = tempfile::tempdir().unwrap();
        let long = parent.path().join("x".repeat(120));
        std::fs::create_dir(&long).unwrap();
        assert!(unix::bind(Some(&long)).unwrap().address.address.len() <= 103);
    }
}
