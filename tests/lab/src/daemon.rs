//! A lab that outlives the command that started it: `lab up` starts it in the background, `lab down` ends it.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::audit::{self, Requests};
use crate::cluster::output;
use crate::error::{Error, Result, describe};
use crate::front::Fault;
use crate::home::Home;
use crate::lab::{Lab, Options, Proxies};
use crate::tools::{self, Istio, Tool};
use crate::traffic::{self, Answer};

/// What a running lab says of itself, in `lab.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    pub pid: u32,
    /// Loopback port that takes commands.
    pub control: u16,
    pub seconds_to_ready: f64,
    /// One file with a context for each cluster.
    pub kubeconfig: PathBuf,
    /// Whether injected pods are real.
    pub proxies: bool,
    pub clusters: Vec<ClusterStatus>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClusterStatus {
    pub name: String,
    pub server: String,
    pub kubeconfig: PathBuf,
}

#[derive(Serialize, Deserialize)]
enum Order {
    Fault(String, Fault),
    Clear(String),
    Destroy(String),
    Call(String, String),
    Memory,
    Down,
}

/// The folder of `lab up` without `--dir`.
pub fn default_dir() -> PathBuf {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let state = state.or_else(|| std::env::home_dir().map(|home| home.join(".local/state")));
    state.unwrap_or_else(std::env::temp_dir).join("terraform-provider-mesh/lab")
}

/// Starts the clusters in the background and waits until they are ready, with these tools built beside those that they
/// need; if the same clusters run already, that is all.
pub fn up(dir: &Path, names: &[&str], proxies: bool, with: &[Tool]) -> Result<Status> {
    if Home::is_locked(dir) {
        let status = wait_for_status(dir, None)?;
        let running: Vec<&str> = status.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
        if running == names && status.proxies == proxies {
            return Ok(status);
        }
        return Err(Error::Usage(format!(
            "a lab with {}{} is already running in {}: end it with `lab down`, or choose another --dir",
            running.join(", "),
            if status.proxies { " and proxies" } else { "" },
            dir.display()
        )));
    }
    let mut needed = crate::lab::FOR_CLUSTERS.to_vec();
    needed.push(Istio::Current.pilot_discovery());
    needed.extend(with);
    if proxies {
        crate::fabric::possible().map_err(Error::Usage)?;
        needed.extend(crate::lab::FOR_PROXIES);
    }
    tools::ensure(&needed)?; // here, where progress can be seen
    std::fs::create_dir_all(dir).map_err(Error::file("create", dir))?;
    Home::clear_dead(dir);
    let log = dir.join("lab.log");
    let out = std::fs::File::create(&log).map_err(Error::file("create", &log))?;
    let err = out.try_clone().map_err(Error::file("open", &log))?;
    let exe = std::env::current_exe().map_err(Error::file("find", "this program"))?;
    let mut command = Command::new(exe);
    command.arg("serve").arg("--dir").arg(dir).args(names).args(proxies.then_some("--proxies")).process_group(0);
    let spawned = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
    let mut child = spawned.map_err(|source| Error::Spawn { name: "the lab".into(), source })?;
    wait_for_status(dir, Some(&mut child))
}

/// Runs the clusters until `lab down`; what `lab up` starts.
pub fn serve(dir: &Path, names: &[&str], proxies: bool) -> Result<()> {
    let began = Instant::now();
    let kind = if proxies { Proxies::NetworkEach } else { Proxies::None };
    let options = Options { dir: Some(dir.to_owned()), limited: false, proxies: kind, ..Options::default() };
    let lab = Lab::start(names, options)?;
    let control = TcpListener::bind(("127.0.0.1", 0)).map_err(Error::file("listen for", "commands"))?;
    let status = Status {
        pid: std::process::id(),
        control: control.local_addr().map_err(Error::file("listen for", "commands"))?.port(),
        seconds_to_ready: (began.elapsed().as_secs_f64() * 10.0).round() / 10.0,
        kubeconfig: lab.kubeconfig_path(),
        proxies,
        clusters: lab
            .clusters()
            .iter()
            .map(|cluster| ClusterStatus {
                name: cluster.name().to_owned(),
                server: cluster.server(),
                kubeconfig: cluster.kubeconfig_path(),
            })
            .collect(),
    };
    let (file, next) = (status_file(lab.dir()), lab.dir().join("lab.json.next"));
    let text = serde_json::to_string_pretty(&status).unwrap_or_default();
    std::fs::write(&next, text).map_err(Error::file("write", &next))?;
    std::fs::rename(&next, &file).map_err(Error::file("write", &file))?;
    for stream in control.incoming().flatten() {
        if let Ok(true) = obey(&lab, stream) {
            break;
        }
    }
    Ok(())
}

/// What runs in the folder.
pub fn status(dir: &Path) -> Result<Status> {
    let running = Home::is_locked(dir);
    let read = std::fs::read_to_string(status_file(dir)).ok().and_then(|text| serde_json::from_str(&text).ok());
    match read {
        Some(status) if running => Ok(status),
        _ => Err(Error::Usage(format!("no lab is running in {}: start one with `lab up east west`", dir.display()))),
    }
}

/// Ends the lab of the folder, and what a crashed one left there.
pub fn down(dir: &Path) -> Result<()> {
    if let Ok(status) = status(dir) {
        send(&status, &Order::Down)?;
        let began = Instant::now();
        while Home::is_locked(dir) && began.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Home::clear_dead(dir);
    Ok(())
}

/// Requests of all clusters since the start, by cluster.
pub fn requests(dir: &Path) -> Result<Vec<(String, Requests)>> {
    let read = |name: &str| {
        let log = dir.join(name).join("audit.log");
        audit::read(&log, 0).map(|(requests, _)| requests).map_err(Error::file("read", log))
    };
    status(dir)?.clusters.into_iter().map(|cluster| Ok((cluster.name.clone(), read(&cluster.name)?))).collect()
}

pub fn fault(dir: &Path, cluster: &str, fault: Fault) -> Result<String> {
    send(&status(dir)?, &Order::Fault(cluster.to_owned(), fault))
}

pub fn clear_faults(dir: &Path, cluster: &str) -> Result<String> {
    send(&status(dir)?, &Order::Clear(cluster.to_owned()))
}

pub fn destroy(dir: &Path, cluster: &str) -> Result<String> {
    send(&status(dir)?, &Order::Destroy(cluster.to_owned()))
}

/// A call from a pod of one cluster to a Service whose only pod is in another; both are made first if need be.
pub fn call(dir: &Path, from: &str, to: &str) -> Result<Answer> {
    let said = send(&status(dir)?, &Order::Call(from.to_owned(), to.to_owned()))?;
    serde_json::from_str(&said).map_err(|error| Error::Usage(format!("the lab's answer: {error}")))
}

/// Resident memory, one line a process.
pub fn memory(dir: &Path) -> Result<String> {
    send(&status(dir)?, &Order::Memory)
}

/// Runs kubectl against a cluster of the folder's lab.
pub fn kubectl(dir: &Path, cluster: &str, args: &[&str]) -> Result<String> {
    let status = status(dir)?;
    let mut command = Command::new(tools::path(Tool::Kubectl)?);
    command.args(["--context", cluster]).args(args).env("KUBECONFIG", status.kubeconfig);
    output(command, None)
}

/// Carries a command out; true if it was the last.
fn obey(lab: &Lab, stream: TcpStream) -> std::io::Result<bool> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut line = String::new();
    BufReader::new(stream.try_clone()?).read_line(&mut line)?;
    let Ok(command) = serde_json::from_str::<Order>(&line) else { return Ok(false) };
    let find = |name: &str| lab.clusters().iter().find(|cluster| cluster.name() == name);
    let unknown = |name: &str| Error::Usage(format!("no cluster {name:?} in this lab"));
    let last = matches!(command, Order::Down);
    let done = match command {
        Order::Fault(name, fault) => find(&name).map_or_else(|| Err(unknown(&name)), |c| c.fault(fault)),
        Order::Clear(name) => find(&name).map_or_else(|| Err(unknown(&name)), |c| c.clear_faults()),
        Order::Destroy(name) => find(&name).map_or_else(|| Err(unknown(&name)), |c| c.destroy()),
        Order::Down => Ok(()),
        Order::Call(from, to) => {
            let ends = (find(&from).cloned(), find(&to).cloned());
            let others: Vec<_> = lab.clusters().iter().filter(|cluster| cluster.name() != to).cloned().collect();
            // Pods may have to start first: nobody else waits for that.
            std::thread::spawn(move || {
                let called = match ends {
                    (Some(from), Some(to)) => traffic::call(&from, &to, &others),
                    (None, _) => Err(unknown(&from)),
                    (_, None) => Err(unknown(&to)),
                };
                let line = match called {
                    Ok(answer) => format!("+{}", serde_json::to_string(&answer)?),
                    Err(error) => format!("-{}", describe(&error).replace('\n', " ")),
                };
                (&stream).write_all(format!("{line}\n").as_bytes())
            });
            return Ok(false);
        }
        Order::Memory => {
            let lines = lab.memory().into_iter().map(|(name, kib)| format!("{:6} MiB  {name}", kib / 1024));
            (&stream).write_all(format!("+{}\n", lines.collect::<Vec<_>>().join("\u{1}")).as_bytes())?;
            return Ok(false);
        }
    };
    let answer = match done {
        Ok(()) => "+".to_owned(),
        Err(error) => format!("-{}", describe(&error).replace('\n', " ")),
    };
    (&stream).write_all(format!("{answer}\n").as_bytes())?;
    Ok(last)
}

fn send(status: &Status, command: &Order) -> Result<String> {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", status.control))?;
        stream.write_all(format!("{}\n", serde_json::to_string(command)?).as_bytes())?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(Error::file("send a command to", "the lab"))?;
    match answer.trim_end().split_at_checked(1) {
        Some(("+", text)) => Ok(text.replace('\u{1}', "\n")),
        Some((_, text)) => Err(Error::Usage(text.to_owned())),
        None => Err(Error::Usage("the lab ended before it answered".into())),
    }
}

fn wait_for_status(dir: &Path, mut child: Option<&mut std::process::Child>) -> Result<Status> {
    loop {
        if let Ok(status) = status(dir) {
            return Ok(status);
        }
        let ended = match &mut child {
            Some(child) => child.try_wait().is_ok_and(|status| status.is_some()),
            None => !Home::is_locked(dir),
        };
        if ended {
            let log = std::fs::read_to_string(dir.join("lab.log")).unwrap_or_default();
            return Err(Error::Usage(format!("the lab could not start: {}", log.trim_start_matches("lab: ").trim())));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn status_file(dir: &Path) -> PathBuf {
    dir.join("lab.json")
}
