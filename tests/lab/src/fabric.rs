//! The network of pods that are processes: a namespace for each, joined by a bridge.
//!
//! A program of ours (`tests/tools/istio/namespaces`) holds it, in a user namespace where the system allows that, so
//! that no root is needed. It ends with the lab, and with it all that runs inside. What it opens, it hands over.

use std::future::Future;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::sync::watch;

use crate::cluster::PATIENCE;
use crate::error::{Error, Result};
use crate::process::{Process, Processes, Program};
use crate::tools::{self, Tool};

#[derive(Debug)]
pub(crate) struct Fabric {
    socket: PathBuf,
    /// Carries calls, apart from the lab's other work: a disk that is slow must not hold up traffic.
    traffic: Mutex<Option<tokio::runtime::Runtime>>,
}

/// What the other side reads; see there.
#[derive(Serialize, Default)]
struct Order<'a> {
    #[serde(rename = "do")]
    what: &'a str,
    pod: &'a str,
    address: &'a str,
    from: &'a str,
    routes: &'a [String],
    gone: bool,
    millis: u64,
    dir: &'a str,
    hosts: &'a str,
    log: &'a str,
    env: &'a [String],
    args: &'a [String],
    pid: i32,
    signal: i32,
}

#[derive(Deserialize, Debug)]
struct Said {
    #[serde(default)]
    error: String,
    #[serde(default)]
    pid: i32,
}

/// A program to start in a pod.
pub(crate) struct Inside<'a> {
    pub pod: &'a str,
    /// Where its files are.
    pub dir: &'a Path,
    /// What it sees as /etc/hosts.
    pub hosts: &'a Path,
    pub log: &'a Path,
    pub env: &'a [(String, String)],
    pub args: &'a [String],
}

/// A program that runs in a pod.
#[derive(Clone)]
pub(crate) struct Running {
    pid: i32,
    /// How it ended.
    ended: watch::Receiver<Option<String>>,
}

/// Who may make the namespaces.
const AS_USER: [&str; 4] = ["--user", "--map-user=1337", "--map-group=1337", "--keep-caps"];
const NAMESPACES: [&str; 5] = ["--net", "--mount", "--pid", "--fork", "--kill-child"];

/// The arguments by which `unshare` makes namespaces here; or why it cannot.
pub fn possible() -> std::result::Result<Vec<&'static str>, String> {
    let attempt = |args: &[&'static str]| {
        let ran = Command::new("unshare").args(args).arg("true").output().map_err(|error| error.to_string())?;
        match ran.status.success() {
            true => Ok(args.to_vec()),
            false => Err(String::from_utf8_lossy(&ran.stderr).trim().to_owned()),
        }
    };
    let as_user = [&AS_USER[..], &NAMESPACES].concat();
    let refused = match attempt(&as_user) {
        Ok(args) => return Ok(args),
        Err(why) => why,
    };
    if rustix::process::geteuid().is_root() {
        return attempt(&NAMESPACES).map_err(|why| {
            format!("this machine lets not even root make network namespaces (unshare says: {why}); in a container, run it privileged")
        });
    }
    Err(format!(
        "proxies need network namespaces, and this machine forbids users to make them (unshare says: {refused}); allow \
         unprivileged user namespaces (kernel.apparmor_restrict_unprivileged_userns=0 on Ubuntu), or run as root"
    ))
}

impl Fabric {
    /// Starts the program and waits until it takes orders.
    pub async fn start(socket: PathBuf, dir: &Path, processes: &Processes) -> Result<Fabric> {
        let mut args: Vec<String> = possible().map_err(Error::Usage)?.into_iter().map(str::to_owned).collect();
        let program = tools::path(Tool::Namespaces)?.display().to_string();
        args.extend([program, "serve".into(), socket.display().to_string()]);
        let log = dir.join("namespaces.log");
        let what = Program { name: "namespaces", program: Path::new("unshare"), args, env: Vec::new(), dir, log };
        let process = processes.spawn(what).await?;
        let traffic = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("traffic")
            .enable_all()
            .build()
            .map_err(Error::file("start threads in", dir))?;
        let fabric = Fabric { socket, traffic: Mutex::new(Some(traffic)) };
        fabric.wait(&process).await.map(|()| fabric)
    }

    async fn wait(&self, process: &Process) -> Result<()> {
        let began = Instant::now();
        while UnixStream::connect(&self.socket).is_err() {
            if !process.running() {
                return Err(process.ended_error());
            }
            if began.elapsed() > PATIENCE {
                let seconds = PATIENCE.as_secs();
                return Err(Error::NotReady { name: process.name.clone(), seconds, log: process.tail() });
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Does what carries calls.
    pub fn carry(&self, work: impl Future<Output = ()> + Send + 'static) -> Option<tokio::task::JoinHandle<()>> {
        self.traffic().as_ref().map(|runtime| runtime.spawn(work))
    }

    /// Carries no more calls. What carries them holds this, so that dropping it would not do.
    pub fn end(&self) {
        if let Some(runtime) = self.traffic().take() {
            runtime.shutdown_background();
        }
    }

    fn traffic(&self) -> MutexGuard<'_, Option<tokio::runtime::Runtime>> {
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a pod's namespace. It reaches the routes and nothing else.
    pub fn add_pod(&self, pod: &str, address: &str, routes: &[String]) -> std::io::Result<()> {
        self.ask(&Order { what: "pod", pod, address, routes, ..Order::default() }).map(drop)
    }

    pub fn remove_pod(&self, pod: &str) -> std::io::Result<()> {
        self.ask(&Order { what: "remove", pod, ..Order::default() }).map(drop)
    }

    /// Gives an address to the bridge, or takes it back.
    pub fn set_address(&self, address: &str, there: bool) -> std::io::Result<()> {
        self.ask(&Order { what: "address", address, gone: !there, ..Order::default() }).map(drop)
    }

    /// From now on what is sent to an address of the bridge is lost without a word, as by a firewall that drops; or
    /// arrives again. A pod that has the address, and no way back to anybody, takes it.
    pub fn lose(&self, address: &str, lost: bool) -> std::io::Result<()> {
        let hole = format!("instead of {address}");
        if lost {
            self.set_address(address, false)?;
            return self.add_pod(&hole, address, &[]);
        }
        self.remove_pod(&hole)?;
        self.set_address(address, true)
    }

    /// A socket that listens in a pod; in the bridge's own namespace where no pod is named.
    pub fn listen(&self, pod: &str, address: &str) -> std::io::Result<TcpListener> {
        let (_, socket) = self.ask(&Order { what: "listen", pod, address, ..Order::default() })?;
        socket.map(TcpListener::from).ok_or_else(|| std::io::Error::other("no socket came"))
    }

    /// A connection from a pod.
    pub fn connect(&self, pod: &str, address: &str, patience: Duration) -> std::io::Result<TcpStream> {
        self.open(Order { what: "connect", pod, address, ..Order::default() }, patience)
    }

    /// A connection from an address of the bridge, to which pods of all networks have a way back.
    pub fn connect_from(&self, from: &str, address: &str, patience: Duration) -> std::io::Result<TcpStream> {
        self.open(Order { what: "connect", from, address, ..Order::default() }, patience)
    }

    fn open(&self, order: Order<'_>, patience: Duration) -> std::io::Result<TcpStream> {
        let millis = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        let (_, socket) = self.ask(&Order { millis, ..order })?;
        let stream = socket.map(TcpStream::from).ok_or_else(|| std::io::Error::other("no socket came"))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Starts a program. Must run on the lab's threads.
    pub fn run(&self, what: &Inside<'_>) -> std::io::Result<Running> {
        let env: Vec<String> = what.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let text = |path: &Path| path.display().to_string();
        let order = Order {
            what: "start",
            pod: what.pod,
            dir: &text(what.dir),
            hosts: &text(what.hosts),
            log: &text(what.log),
            env: &env,
            args: what.args,
            ..Order::default()
        };
        let mut stream = self.send(&order)?;
        let (said, _) = receive(&mut stream)?;
        stream.set_nonblocking(true)?;
        let mut stream = tokio::net::UnixStream::from_std(stream)?;
        let (tell, ended) = watch::channel(None);
        tokio::spawn(async move {
            let mut text = String::new();
            let _ = stream.read_to_string(&mut text).await;
            let said = serde_json::from_str::<Said>(text.trim()).map(|said| said.error);
            let _ = tell.send(Some(said.unwrap_or_else(|_| "the lab's network ended".into())));
        });
        Ok(Running { pid: said.pid, ended })
    }

    pub fn signal(&self, running: &Running, signal: Signal) -> std::io::Result<()> {
        if running.ended.borrow().is_some() {
            return Ok(());
        }
        let order = Order { what: "signal", pid: running.pid, signal: signal.as_raw(), ..Order::default() };
        self.ask(&order).map(drop)
    }

    fn ask(&self, order: &Order<'_>) -> std::io::Result<(Said, Option<OwnedFd>)> {
        receive(&mut self.send(order)?)
    }

    fn send(&self, order: &Order<'_>) -> std::io::Result<UnixStream> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.write_all(format!("{}\n", serde_json::to_string(order)?).as_bytes())?;
        Ok(stream)
    }
}

impl Running {
    /// Waits until it has ended, and says how.
    pub async fn ended(&self) -> String {
        let mut ended = self.ended.clone();
        let found = ended.wait_for(Option::is_some).await.map(|how| how.clone().unwrap_or_default());
        found.unwrap_or_default()
    }
}

/// One line, and the socket that came with it.
fn receive(stream: &mut UnixStream) -> std::io::Result<(Said, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut line = vec![0; 4096];
    let got = recvmsg(&*stream, &mut [IoSliceMut::new(&mut line)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    line.truncate(got.bytes);
    let mut socket = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut sockets) = message {
            socket = sockets.next();
        }
    }
    while !line.ends_with(b"\n") {
        let mut byte = [0];
        if stream.read(&mut byte)? == 0 {
            return Err(std::io::Error::other("the lab's network ended"));
        }
        line.push(byte[0]);
    }
    let said: Said = serde_json::from_slice(&line)?;
    match said.error.is_empty() {
        true => Ok((said, socket)),
        false => Err(std::io::Error::other(said.error)),
    }
}
