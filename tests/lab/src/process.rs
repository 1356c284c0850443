//! Child processes: their output goes to a file, and they end with the lab however it ends.
//!
//! On Linux a child is told by the kernel when its parent dies (through `setpriv`, which sets this
//! without unsafe code here). Elsewhere, and as a second net, every pid is noted in the lab's folder so
//! that the next lab can end what a crash left behind.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio::sync::watch;

use crate::error::{Error, Result};

/// Every living child of one lab.
#[derive(Clone)]
pub(crate) struct Processes {
    notes: PathBuf,
    living: Arc<Mutex<HashMap<u32, String>>>,
    closed: Arc<AtomicBool>,
}

/// One child. Dropping the handle does not end it; [`Process::kill`] and [`Processes::kill_all`] do.
#[derive(Clone)]
pub(crate) struct Process {
    pub name: String,
    pub log: PathBuf,
    pid: u32,
    exit: watch::Receiver<Option<ExitStatus>>,
}

/// What to run.
pub(crate) struct Program<'a> {
    pub name: &'a str,
    pub program: &'a Path,
    pub args: Vec<String>,
    /// The whole environment apart from `PATH`, `HOME` and what says how Go collects garbage.
    pub env: Vec<(String, String)>,
    pub dir: &'a Path,
    pub log: PathBuf,
}

impl Processes {
    /// Notes pids in `dir`.
    pub fn new(dir: &Path) -> Result<Self> {
        let notes = dir.join("pids");
        fs::create_dir_all(&notes).map_err(Error::file("create", &notes))?;
        Ok(Processes { notes, living: Arc::default(), closed: Arc::default() })
    }

    /// Starts a child. Must run on a thread that lives as long as the lab: the kernel watches the thread.
    pub async fn spawn(&self, what: Program<'_>) -> Result<Process> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(Error::Usage("the lab is ending".into()));
        }
        let out = open_log(&what.log).map_err(Error::file("open", &what.log))?;
        let err = out.try_clone().map_err(Error::file("open", &what.log))?;
        let mut command = match &*SETPRIV {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "KILL"]).arg(what.program);
                command
            }
            None => Command::new(what.program),
        };
        command.args(&what.args).current_dir(what.dir).env_clear().envs(kept_env()).envs(GARBAGE).envs(what.env);
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        let spawned = command.spawn();
        let mut child = spawned.map_err(|source| Error::Spawn { name: what.name.to_owned(), source })?;
        let pid = child.id().unwrap_or_default();
        let note = self.notes.join(pid.to_string());
        let _ = fs::write(&note, what.name);
        self.lock().insert(pid, what.name.to_owned());
        let (tell, exit) = watch::channel(None);
        let processes = self.clone();
        tokio::spawn(async move {
            let status = child.wait().await;
            processes.lock().remove(&pid);
            let _ = fs::remove_file(note);
            let _ = tell.send(Some(status.unwrap_or_default()));
        });
        Ok(Process { name: what.name.to_owned(), log: what.log, pid, exit })
    }

    /// Name and pid of the children whose names begin with the text.
    pub fn named(&self, prefix: &str) -> Vec<(String, u32)> {
        self.lock()
            .iter()
            .filter(|(_, name)| name.starts_with(prefix))
            .map(|(pid, name)| (name.clone(), *pid))
            .collect()
    }

    /// Ends the children of that name and waits until they are gone.
    pub async fn kill_named(&self, name: &str) {
        loop {
            let pids: Vec<u32> = self.lock().iter().filter(|(_, n)| *n == name).map(|(pid, _)| *pid).collect();
            if pids.is_empty() {
                return;
            }
            pids.into_iter().for_each(|pid| signal(pid, Signal::KILL));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends every child at once, waits until they are gone, and starts no other.
    pub fn kill_all(&self) {
        self.closed.store(true, Ordering::Relaxed);
        for _ in 0..200 {
            let pids: Vec<u32> = self.lock().keys().copied().collect();
            if pids.is_empty() {
                return;
            }
            pids.into_iter().for_each(|pid| signal(pid, Signal::KILL));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends what an earlier lab left behind in this folder.
    pub fn kill_leftovers(dir: &Path) {
        for entry in fs::read_dir(dir.join("pids")).into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            // The number may by now belong to somebody else: ours have the folder in their arguments.
            let ps = std::process::Command::new("ps").args(["-o", "args=", "-p", &pid.to_string()]).output();
            let args = ps.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default();
            if args.contains(&*dir.to_string_lossy()) {
                signal(pid, Signal::KILL);
            }
            let _ = fs::remove_file(entry.path());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u32, String>> {
        self.living.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    pub fn running(&self) -> bool {
        self.exit.borrow().is_none()
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until it has ended.
    pub async fn ended(&self) {
        let _ = self.exit.clone().wait_for(Option::is_some).await;
    }

    /// Ends it and waits until it is gone.
    pub async fn kill(&self) {
        if self.running() {
            signal(self.pid, Signal::KILL);
        }
        self.ended().await;
    }

    /// Stops it in its tracks, or lets it go on.
    pub fn freeze(&self, frozen: bool) {
        if self.running() {
            signal(self.pid, if frozen { Signal::STOP } else { Signal::CONT });
        }
    }

    /// The end of its output; of a Go program's last words, those that say why.
    pub fn tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text[text.len().saturating_sub(20_000)..]).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        let end = lines.iter().position(|line| line.starts_with("panic:")).map_or(lines.len(), |at| at + 1);
        lines[end.saturating_sub(8)..end].join("\n")
    }

    pub fn ended_error(&self) -> Error {
        Error::Ended { name: self.name.clone(), log: self.tail() }
    }
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

fn open_log(path: &Path) -> std::io::Result<File> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

/// Nearly all that a lab runs is Go, and much of what it computes is collecting garbage: memory is given for it, within
/// bounds.
const GARBAGE: [(&str, &str); 2] = [("GOGC", "400"), ("GOMEMLIMIT", "600MiB")];

fn kept_env() -> impl Iterator<Item = (&'static str, std::ffi::OsString)> {
    ["PATH", "HOME"].into_iter().filter_map(|name| std::env::var_os(name).map(|value| (name, value)))
}

static SETPRIV: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    let path = std::env::var_os("PATH")?;
    let file = std::env::split_paths(&path).map(|dir| dir.join("setpriv")).find(|file| file.is_file())?;
    let known = std::process::Command::new(&file).args(["--pdeathsig", "KILL", "true"]).output();
    known.is_ok_and(|out| out.status.success()).then_some(file)
});
