//! What the processes of a program use while something is done: time of the processor, and memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Of a clock tick, which `/proc` counts in.
const TICK: f64 = 0.01;

pub struct Watched {
    over: Arc<AtomicBool>,
    watching: JoinHandle<Used>,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    /// The most that all of them held at once.
    pub peak_mib: f64,
    pub cpu_seconds: f64,
}

impl Watched {
    /// Watches every process of this executable.
    pub fn start(executable: &Path) -> Watched {
        let executable = fs::canonicalize(executable).unwrap_or_else(|_| executable.to_path_buf());
        let over = Arc::new(AtomicBool::new(false));
        let watching = {
            let over = over.clone();
            std::thread::spawn(move || watch(&executable, &over))
        };
        Watched { over, watching }
    }

    pub fn end(self) -> Used {
        self.over.store(true, Ordering::Relaxed);
        self.watching.join().expect("the watcher")
    }
}

fn watch(executable: &Path, over: &AtomicBool) -> Used {
    let mut peak = 0;
    // By process, as it was last seen.
    let mut ticks: BTreeMap<PathBuf, u64> = BTreeMap::new();
    while !over.load(Ordering::Relaxed) {
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten().map(|process| process.path());
        let ours = processes.filter(|process| fs::read_link(process.join("exe")).is_ok_and(|exe| exe == executable));
        let mut held = 0;
        for process in ours {
            held += resident_kib(&process);
            if let Some(used) = used_ticks(&process) {
                ticks.insert(process, used);
            }
        }
        peak = peak.max(held);
        std::thread::sleep(Duration::from_millis(10));
    }
    Used { peak_mib: peak as f64 / 1024.0, cpu_seconds: ticks.into_values().sum::<u64>() as f64 * TICK }
}

/// The high-water mark of one process.
fn resident_kib(process: &Path) -> u64 {
    let status = fs::read_to_string(process.join("status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or_default()
}

/// Of the user and of the kernel.
fn used_ticks(process: &Path) -> Option<u64> {
    let text = fs::read_to_string(process.join("stat")).ok()?;
    // The name of the program may hold anything; what follows it does not.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}
