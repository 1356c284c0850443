//! Who writes an instance's objects: a process on a machine. Another process of the same machine can tell when it has
//! ended.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::rand;

use super::fields;

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

    /// Whether this machine can tell that the holder's process has ended.
    pub fn is_gone(name: &str) -> bool {
        let parts: Vec<&str> = name.split('/').collect();
        let [_, pid, theirs, _] = parts[..] else { return false };
        let Some(ours) = machine().filter(|ours| ours == theirs) else { return false };
        if pid.parse() == Ok(std::process::id()) {
            return !AT_WORK.lock().unwrap_or_else(PoisonError::into_inner).contains(name);
        }
        !ours.is_empty() && !std::path::Path::new("/proc").join(pid).exists()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_of_this_process_is_at_work_until_it_is_dropped() {
        let holder = Holder::new().unwrap();
        let name = holder.name.clone();
        assert!(!Holder::is_gone(&name));
        drop(holder);
        assert_eq!(Holder::is_gone(&name), machine().is_some());
        assert!(!Holder::is_gone("elsewhere/1/another-machine/x"), "nobody here can tell");
    }
}
