//! The folder of one lab, locked while the lab lives, so that a crashed lab's remains can be told from
//! a living one's and swept away.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Result};
use crate::process::Processes;

pub(crate) struct Home {
    pub dir: PathBuf,
    lock: Option<PathBuf>,
    _held: File,
}

impl Home {
    /// A new folder among the temporary files; first sweeps what crashed labs left there.
    pub fn temporary() -> Result<Home> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let user = rustix::process::getuid().as_raw();
        let base = std::env::temp_dir().join(format!("mesh-lab-{user}"));
        fs::create_dir_all(&base).map_err(Error::file("create", &base))?;
        sweep(&base);
        loop {
            let id = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let (dir, lock) = (base.join(&id), base.join(format!("{id}.lock")));
            let held = open(&lock)?;
            // A sweeper may have taken the file away between opening and locking.
            if held.try_lock().is_ok() && lock.exists() {
                fs::create_dir_all(&dir).map_err(Error::file("create", &dir))?;
                return Ok(Home { dir, lock: Some(lock), _held: held });
            }
        }
    }

    /// A folder of the user's choice; what a crashed lab left there is ended and removed.
    pub fn at(dir: &Path) -> Result<Home> {
        fs::create_dir_all(dir).map_err(Error::file("create", dir))?;
        let dir = dir.canonicalize().map_err(Error::file("find", dir))?;
        let held = open(&dir.join("lock"))?;
        if held.try_lock().is_err() {
            return Err(Error::Usage(format!("a lab is already running in {}", dir.display())));
        }
        clear(&dir);
        Ok(Home { dir, lock: None, _held: held })
    }

    /// Whether a lab lives there now.
    pub fn is_locked(dir: &Path) -> bool {
        let file = File::options().write(true).open(dir.join("lock"));
        file.is_ok_and(|file| file.try_lock().is_err())
    }

    /// Ends and removes what a lab that is no more left in the folder.
    pub fn clear_dead(dir: &Path) {
        if !Home::is_locked(dir) {
            clear(dir);
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if std::env::var_os("LAB_KEEP").is_some() {
            eprintln!("lab: kept {}", self.dir.display());
            // The next lab takes away what has a lock that nobody holds.
            if let Some(lock) = &self.lock {
                let _ = fs::remove_file(lock);
            }
            return;
        }
        match &self.lock {
            Some(lock) => {
                let _ = fs::remove_dir_all(&self.dir);
                let _ = fs::remove_file(lock);
            }
            None => clear(&self.dir),
        }
    }
}

fn sweep(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let lock = entry.path();
        let Some(id) = lock.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".lock"))
        else {
            continue;
        };
        let Ok(file) = File::options().write(true).open(&lock) else { continue };
        if file.try_lock().is_ok() {
            let dir = base.join(id);
            Processes::kill_leftovers(&dir);
            let _ = fs::remove_dir_all(&dir);
            let _ = fs::remove_file(&lock);
        }
    }
}

/// Removes everything but the lock and the log that the lab itself may be writing.
fn clear(dir: &Path) {
    Processes::kill_leftovers(dir);
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name() != "lock" && entry.file_name() != "lab.log" {
            let _ = fs::remove_dir_all(entry.path()).or_else(|_| fs::remove_file(entry.path()));
        }
    }
}

fn open(path: &Path) -> Result<File> {
    File::options().create(true).truncate(false).write(true).open(path).map_err(Error::file("open", path))
}
