//! Who writes an instance's objects: a process on a machine. Another process of the same machine can tell when it has
//! ended.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::rand;

use super::fields;
use crate::diag::Diagnostic;

/// Who writes: a process on a machine.
pub(super) struct Holder {
    /// `host/pid/machine/nonce`
    pub name: String,
}

/// The claims of this process. A claim that was dropped is at work no more, though nobody could tell its Lease.
static AT_WORK: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

impl Holder {
    pub fn new() -> io::Result<Holder> {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = host.trim().replace('/', "-");
        let host = if host.is_empty() { "unknown-host".to_owned() } else { host };
        let name = format!("{host}/{}/{}/{}", std::process::id(), machine().unwrap_or_default(), new_mark()?);
        AT_WORK.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone());
        Ok(Holder { name })
    }

    /// Whether the holder is at work, where this machine can tell.
    pub fn is_at_work(name: &str) -> Option<bool> {
        let parts: Vec<&str> = name.split('/').collect();
        let [_, pid, theirs, _] = parts[..] else { return None };
        machine().filter(|ours| ours == theirs)?;
        if pid.parse() == Ok(std::process::id()) {
            return Some(AT_WORK.lock().unwrap_or_else(PoisonError::into_inner).contains(name));
        }
        is_running(pid)
    }

    /// Whether the holder is this process, or another one of the same run: a core starts one for each configuration of
    /// a provider.
    pub fn is_of_this_run(name: &str) -> bool {
        let parts: Vec<&str> = name.split('/').collect();
        let [_, pid, theirs, _] = parts[..] else { return false };
        let is_here = machine().is_some_and(|ours| ours == theirs);
        is_here
            && (pid.parse() == Ok(std::process::id()) || parent(pid).is_some_and(|core| parent("self") == Some(core)))
    }

    /// For people: host and process.
    pub fn shown(name: &str) -> String {
        let mut parts = name.split('/');
        match (parts.next(), parts.next()) {
            (Some(host), Some(pid)) => format!("process {pid} on {host}"),
            _ => name.to_owned(),
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        AT_WORK.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

/// `None` where it cannot be told: what may not be read is not gone, and some machines show nobody another user's
/// processes. A process that has ended and that nobody has asked about is still listed.
fn is_running(pid: &str) -> Option<bool> {
    let said = match std::fs::read_to_string(std::path::Path::new("/proc").join(pid).join("stat")) {
        Ok(said) => said,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return std::path::Path::new("/proc/1/stat").exists().then_some(false);
        }
        Err(_) => return None,
    };
    // The name of the program stands in brackets before its state, and may hold any character.
    let state = said.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next())?;
    Some(!['Z', 'X'].contains(&state))
}

/// The process that has started this one.
fn parent(pid: &str) -> Option<u32> {
    let said = std::fs::read_to_string(std::path::Path::new("/proc").join(pid).join("stat")).ok()?;
    said.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// What two processes share that see each other in `/proc`: the boot, and the namespace of process ids. `None` where
/// there is no `/proc`.
fn machine() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let namespace = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(fields::short(&format!("{} {}", boot.trim(), namespace.display())))
}

pub(super) fn new_mark() -> io::Result<String> {
    let mut bytes = [0_u8; 16];
    rand::fill(&mut bytes).map_err(|_| io::Error::other("the system gives no random bytes"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

pub(super) fn no_randomness(error: &io::Error) -> Diagnostic {
    Diagnostic::error("No randomness").detail(format!("The operating system gave no random bytes for the mark of this instance: {error}. Nothing was written. Apply again."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_of_this_process_is_at_work_until_it_is_dropped() {
        let holder = Holder::new().unwrap();
        let name = holder.name.clone();
        assert_eq!(Holder::is_at_work(&name), machine().map(|_| true));
        drop(holder);
        assert_eq!(Holder::is_at_work(&name), machine().map(|_| false));
        assert_eq!(Holder::is_at_work("elsewhere/1/another-machine/x"), None, "nobody here can tell");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn processes_of_one_core_are_one_run() {
        let holder = Holder::new().unwrap();
        assert!(Holder::is_of_this_run(&holder.name));
        let of = |pid: u32| format!("host/{pid}/{}/x", machine().unwrap());
        assert!(!Holder::is_of_this_run(&of(1)), "nobody has started it");
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(!Holder::is_of_this_run(&of(child.id())), "it is a run of its own");
        assert_eq!(parent(&child.id().to_string()), Some(std::process::id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_that_was_killed_is_gone_though_nobody_has_asked_about_it() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id().to_string();
        assert_eq!(is_running(&pid), Some(true));
        child.kill().unwrap();
        let ended = (0..500).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            is_running(&pid) == Some(false)
        });
        assert!(ended && std::path::Path::new("/proc").join(&pid).exists());
        child.wait().unwrap();
        assert_ne!(is_running(&pid), Some(true));
    }
}
