//! How many clusters may run on this machine at once, over all test processes.
//!
//! A slot is a locked file, so that it is free again however its holder ends.

use std::fs::{self, File};
use std::path::Path;

use crate::error::{Error, Result};
use crate::tools::cache_dir;

/// Slots held; dropping them gives them back.
#[derive(Debug, Default)]
pub(crate) struct Slots(#[allow(dead_code, reason = "held for the locks")] Vec<File>);

/// Waits until `count` clusters may start. All at once, so that two labs cannot each hold half of what
/// the other needs.
pub(crate) fn acquire(count: usize) -> Result<Slots> {
    let limit = limit();
    let dir = cache_dir().join("slots");
    fs::create_dir_all(&dir).map_err(Error::file("create", &dir))?;
    let turn = open(&dir.join("turn"))?;
    turn.lock().map_err(Error::file("lock", dir.join("turn")))?;
    let mut held = Vec::new();
    // A lab larger than the limit runs alone.
    let wanted = count.min(limit);
    while held.len() < wanted {
        for n in 0..limit {
            let slot = open(&dir.join(n.to_string()))?;
            if held.len() < wanted && slot.try_lock().is_ok() {
                held.push(slot);
            }
        }
        if held.len() < wanted {
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
    Ok(Slots(held))
}

/// As many as fit into memory at 0.8 GiB each with a quarter left, and no more than eight: with six, two cores were
/// idle for a quarter of the suite's time, since most tests wait. `LAB_MAX_CLUSTERS` overrides it.
fn limit() -> usize {
    let asked = std::env::var("LAB_MAX_CLUSTERS").ok().and_then(|text| text.parse::<usize>().ok());
    let by_memory = || {
        let text = fs::read_to_string("/proc/meminfo").ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        let kib: usize = line.trim().trim_end_matches(" kB").parse().ok()?;
        Some((kib / 1024 * 3 / 4 / 820).clamp(1, 8))
    };
    asked.filter(|n| *n > 0).or_else(by_memory).unwrap_or(4)
}

fn open(path: &Path) -> Result<File> {
    File::options().create(true).truncate(false).write(true).open(path).map_err(Error::file("open", path))
}
