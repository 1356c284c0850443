//! A network without a way out, for programs of this machine: a closed network's pipeline runs here.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use crate::cluster::socket_path;
use crate::error::{Error, Result};
use crate::fabric::{self, Fabric, Inside};
use crate::home::Home;
use crate::lab::block;
use crate::process::Processes;
use crate::tools::{self, Tool};

/// Has a loopback address and nothing else. Some of its ports lead to the same ports of this machine.
pub struct ClosedNetwork {
    fabric: Fabric,
    processes: Processes,
    runtime: Option<tokio::runtime::Runtime>,
    home: Home,
}

const POD: &str = "closed";
/// Nobody has a way to it.
const ADDRESS: &str = "10.255.255.1";

impl ClosedNetwork {
    /// Its loopback address leads to these ports of this machine's.
    pub fn reaching(ports: &[u16]) -> Result<ClosedNetwork> {
        fabric::possible().map_err(Error::Usage)?;
        tools::ensure(&[Tool::Namespaces])?;
        let home = Home::temporary()?;
        let processes = Processes::new(&home.dir)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(Error::file("start threads in", &home.dir))?;
        let (dir, its) = (home.dir.clone(), processes.clone());
        let starting = async move { Fabric::start(socket_path(&dir.join("net.sock"), 0), &dir, &its).await };
        let fabric = block(runtime.handle(), starting)?;
        let closed = ClosedNetwork { fabric, processes, runtime: Some(runtime), home };
        closed.open(ports).map_err(Error::file("make the network in", closed.dir()))?;
        Ok(closed)
    }

    fn open(&self, ports: &[u16]) -> std::io::Result<()> {
        self.fabric.add_pod(POD, ADDRESS, &[])?;
        for port in ports {
            let listener = self.fabric.listen(POD, &format!("127.0.0.1:{port}"))?;
            let port = *port;
            std::thread::spawn(move || lead(&listener, port));
        }
        Ok(())
    }

    fn dir(&self) -> &Path {
        &self.home.dir
    }

    /// Runs a program to its end. These names are its own loopback address. Whether it succeeded, and what it printed.
    pub fn run(&self, command: &Command, names: &[&str]) -> Result<(bool, String)> {
        let file = |name: &str| self.home.dir.join(name);
        let (hosts, log) = (file("hosts"), file("program.log"));
        std::fs::write(&hosts, format!("127.0.0.1 localhost {}\n", names.join(" ")))
            .map_err(Error::file("write", &hosts))?;
        let _ = std::fs::remove_file(&log);
        let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
        let said = command.get_envs().filter_map(|(name, value)| Some((text(name), text(value?))));
        let mut env: Vec<(String, String)> = ["PATH", "HOME"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)))
            .collect();
        env.extend(said);
        let args: Vec<String> = std::iter::once(command.get_program()).chain(command.get_args()).map(text).collect();
        let dir = command.get_current_dir().unwrap_or(self.dir());
        let inside = Inside { pod: POD, dir, hosts: &hosts, log: &log, env: &env, args: &args };
        let Some(runtime) = &self.runtime else { return Err(Error::Usage("the network has ended".into())) };
        let running = {
            let _on = runtime.enter();
            self.fabric.run(&inside).map_err(Error::file("run a program in", self.dir()))?
        };
        let how = block(runtime.handle(), async move { running.ended().await });
        let printed = std::fs::read(&log).map_err(Error::file("read", &log))?;
        Ok((how == "it ended", String::from_utf8_lossy(&printed).into_owned()))
    }
}

impl Drop for ClosedNetwork {
    fn drop(&mut self) {
        self.fabric.end();
        self.processes.kill_all();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Joins each connection to the same port outside.
fn lead(listener: &TcpListener, port: u16) {
    for inner in listener.incoming().flatten() {
        let Ok(outer) = TcpStream::connect(("127.0.0.1", port)) else { continue };
        let (Ok(from), Ok(to)) = (inner.try_clone(), outer.try_clone()) else { continue };
        std::thread::spawn(move || carry(from, outer));
        std::thread::spawn(move || carry(to, inner));
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(std::net::Shutdown::Write);
}
