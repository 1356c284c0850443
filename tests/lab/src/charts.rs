//! Istio's charts as users get them: from a Helm repository and from an OCI registry, both on loopback.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::cluster::output;
use crate::error::{Error, Result};
use crate::home::Home;
use crate::tools::{self, Istio, Tool, charts};

/// An HTTP server of a folder, so far as a Helm repository needs one; it ends when dropped.
pub struct ChartRepository {
    home: Home,
    port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    ended: AtomicBool,
    served: Mutex<Vec<String>>,
    failures: AtomicUsize,
}

impl ChartRepository {
    /// Serves the charts of both versions of Istio.
    pub fn start() -> Result<ChartRepository> {
        let home = Home::temporary()?;
        for istio in [Istio::Current, Istio::Old] {
            let charts = charts(istio)?;
            for chart in ["base", "istiod", "gateway", "cni", "ztunnel"] {
                let archive = charts.archive(chart)?;
                let to = home.dir.join(archive.file_name().unwrap_or_default());
                std::fs::copy(&archive, &to).map_err(Error::file("copy", &archive))?;
            }
        }
        let mut index = Command::new(tools::path(Tool::Helm)?);
        index.args(["repo", "index"]).arg(&home.dir);
        output(index, None)?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(Error::file("serve", &home.dir))?;
        let port = listener.local_addr().map_err(Error::file("serve", &home.dir))?.port();
        let state = Arc::new(State::default());
        let (dir, shared) = (home.dir.clone(), state.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.ended.load(Ordering::Relaxed) {
                    return;
                }
                let (dir, shared) = (dir.clone(), shared.clone());
                std::thread::spawn(move || answer(&stream, &dir, &shared));
            }
        });
        Ok(ChartRepository { home, port, state })
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The folder it serves: a test may add to it or change it.
    pub fn dir(&self) -> PathBuf {
        self.home.dir.clone()
    }

    /// Paths asked for so far.
    pub fn served(&self) -> Vec<String> {
        self.state.served.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The next so many requests are answered with 503.
    pub fn fail_next(&self, times: usize) {
        self.state.failures.store(times, Ordering::Relaxed);
    }
}

impl Drop for ChartRepository {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port)); // wakes the thread that accepts
    }
}

fn answer(mut stream: &TcpStream, dir: &Path, state: &State) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first)? == 0 {
            return Ok(());
        }
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
        }
        let path = first.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
        state.served.lock().unwrap_or_else(PoisonError::into_inner).push(path.clone());
        let fails = state.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        let file = (!path.contains("..")).then(|| std::fs::read(dir.join(&path)).ok()).flatten();
        let (status, body) = match (fails, file) {
            (Ok(_), _) => ("503 Service Unavailable", Vec::new()),
            (_, Some(body)) => ("200 OK", body),
            (_, None) => ("404 Not Found", Vec::new()),
        };
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes())?;
        stream.write_all(&body)?;
    }
}

/// An OCI registry in memory, over plain HTTP; it ends when dropped.
pub struct OciRegistry {
    port: u16,
    process: Child,
    _home: Home,
}

impl OciRegistry {
    /// Holds the charts of both versions of Istio under `charts/`.
    pub fn start() -> Result<OciRegistry> {
        let home = Home::temporary()?;
        let log = home.dir.join("registry.log");
        let file = std::fs::File::create(&log).map_err(Error::file("create", &log))?;
        let mut command = Command::new(tools::path(Tool::Registry)?);
        command.args(["--port", "0"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        let process = command.spawn().map_err(|source| Error::Spawn { name: "registry".into(), source })?;
        let mut registry = OciRegistry { port: 0, process, _home: home };
        for _ in 0..500 {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let port = text.lines().find_map(|line| line.split_once("serving on port ")?.1.trim().parse().ok());
            if let Some(port) = port {
                registry.port = port;
                registry.fill()?;
                return Ok(registry);
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        Err(Error::NotReady { name: "registry".into(), seconds: 10, log: text })
    }

    /// `oci://localhost:PORT/charts`: append a chart's name.
    pub fn url(&self) -> String {
        format!("oci://localhost:{}/charts", self.port)
    }

    fn fill(&self) -> Result<()> {
        for istio in [Istio::Current, Istio::Old] {
            let charts = charts(istio)?;
            for chart in ["base", "istiod", "gateway"] {
                self.push(&charts.archive(chart)?)?;
            }
        }
        Ok(())
    }

    /// Adds a chart.
    pub fn push(&self, archive: &Path) -> Result<String> {
        let mut push = Command::new(tools::path(Tool::Helm)?);
        push.arg("push").arg(archive).arg(self.url()).arg("--plain-http");
        output(push, None)
    }
}

impl Drop for OciRegistry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
